//! Products of weights in super-blocks of 256: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS.
//!
//! What an output is: `crate::graph::kernels::dot_k`. The integer sums are exact in any order; the chain of fused
//! additions runs super-block by super-block, one lane per output. Outputs are independent, so lanes are weight rows in
//! both ways to compute:
//!
//! | file     | what |
//! |----------|------|
//! | `act`    | prepared activations |
//! | `few`    | few activation rows: weights are streamed once, four rows at a time |
//! | `read`   | reading super-blocks for it, by type |
//! | `tile`   | more: 32 weight rows are expanded to bytes once, then meet all activation rows |
//! | `expand` | expanding for it, by type |

use super::walk::{self, Ahead, Blocks};
use crate::cpu::kernels::Product;
use crate::quant::GgmlType;
use core::arch::x86_64::{__m128, __m512};
use core::marker::PhantomData;
use core::ops::Range;

mod act;
mod expand;
mod few;
mod read;
mod tile;

pub(super) use act::{act_row_bytes, prepare_act};

/// What a type is, to both ways.
trait Format {
    /// Bytes of a super-block.
    const BYTES: usize;
    /// Elements that share a scale: 16 or 32.
    const SUB: usize;
    /// Whether there are minima.
    const MIN: bool = false;
    /// What is added to the integers to make them unsigned.
    const OFFSET: i32 = 0;
}

struct Q2K;
impl Format for Q2K {
    const BYTES: usize = 84;
    const SUB: usize = 16;
    const MIN: bool = true;
}

struct Q3K;
impl Format for Q3K {
    const BYTES: usize = 110;
    const SUB: usize = 16;
    const OFFSET: i32 = 4;
}

struct Q4K;
impl Format for Q4K {
    const BYTES: usize = 144;
    const SUB: usize = 32;
    const MIN: bool = true;
}

struct Q5K;
impl Format for Q5K {
    const BYTES: usize = 176;
    const SUB: usize = 32;
    const MIN: bool = true;
}

struct Q6K;
impl Format for Q6K {
    const BYTES: usize = 210;
    const SUB: usize = 16;
    const OFFSET: i32 = 32;
}

struct Iq4Xs;
impl Format for Iq4Xs {
    const BYTES: usize = 136;
    const SUB: usize = 32;
    const OFFSET: i32 = 128;
}

/// A type's way over the weights.
struct Of<F>(PhantomData<F>);

impl<F: read::Read + expand::Expand> Blocks for Of<F> {
    const LEN: usize = 256;
    const BYTES: usize = F::BYTES;
    const TILE: usize = tile::At::<F>::END;
    const MANY: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
    unsafe fn four<const T: usize>(
        w: [*const u8; 4],
        _: *const u8,
        blocks: usize,
        x: [*const u8; T],
        ahead: *const u8,
    ) -> [__m128; T] {
        // SAFETY: the caller's promise.
        unsafe { few::four::<F, T>(w, blocks, x, ahead) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
    unsafe fn expand(w: [*const u8; 16], blocks: usize, tile: *mut u8, ahead: Ahead) {
        // SAFETY: the caller's promise.
        unsafe { tile::expand::<F>(w, blocks, tile, ahead) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
    unsafe fn multiply<const T: usize>(
        tile: *const u8,
        blocks: usize,
        x: [*const u8; T],
        ahead: Ahead,
    ) -> [[__m512; 2]; T] {
        // SAFETY: the caller's promise.
        unsafe { tile::multiply::<F, T>(tile, blocks, x, ahead) }
    }
}

pub(super) fn scratch_bytes(ty: GgmlType, k: usize, tokens: usize) -> usize {
    match ty {
        GgmlType::Q2_K => walk::scratch_bytes::<Of<Q2K>>(k, tokens),
        GgmlType::Q3_K => walk::scratch_bytes::<Of<Q3K>>(k, tokens),
        GgmlType::Q5_K => walk::scratch_bytes::<Of<Q5K>>(k, tokens),
        GgmlType::Q6_K => walk::scratch_bytes::<Of<Q6K>>(k, tokens),
        GgmlType::IQ4_XS => walk::scratch_bytes::<Of<Iq4Xs>>(k, tokens),
        _ => walk::scratch_bytes::<Of<Q4K>>(k, tokens),
    }
}

pub(super) unsafe fn product(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match p.ty {
            GgmlType::Q2_K => walk::product::<Of<Q2K>>(p, rows, scratch),
            GgmlType::Q3_K => walk::product::<Of<Q3K>>(p, rows, scratch),
            GgmlType::Q4_K => walk::product::<Of<Q4K>>(p, rows, scratch),
            GgmlType::Q5_K => walk::product::<Of<Q5K>>(p, rows, scratch),
            GgmlType::Q6_K => walk::product::<Of<Q6K>>(p, rows, scratch),
            GgmlType::IQ4_XS => walk::product::<Of<Iq4Xs>>(p, rows, scratch),
            // `act_kind` sends no others here.
            _ => {}
        }
    }
}
