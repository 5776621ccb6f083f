//! Products of weights in blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, MXFP4.
//!
//! What an output is: `crate::graph::kernels::dot_q32`. The integer sums are exact in any order; the chain of
//! fused additions runs in the order of blocks, one lane per output. Outputs are independent, so lanes are
//! weight rows in both ways to compute:
//!
//! | file     | what |
//! |----------|------|
//! | `act`    | prepared activations |
//! | `format` | what the types are, and how their blocks are read |
//! | `few`    | few activation rows: weights are streamed once, four rows at a time |
//! | `gather` | reading nibbles for it |
//! | `rows`   | the same for bytes: row after row |
//! | `tile`   | more: 32 weight rows are expanded to bytes once, then meet all activation rows |

use super::walk::{self, Ahead, Blocks};
use crate::cpu::kernels::Product;
use crate::quant::GgmlType;
use core::arch::x86_64::{__m128, __m512};
use core::marker::PhantomData;
use core::ops::Range;

mod act;
mod few;
mod format;
mod gather;
mod rows;
mod tile;

pub(super) use act::{act_row_bytes, prepare_act};
use format::{Format, Iq4Nl, Mxfp4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

/// A type's way over the weights.
struct Of<F>(PhantomData<F>);

impl<F: Format> Blocks for Of<F> {
    const LEN: usize = 32;
    const BYTES: usize = F::BYTES;
    const TILE: usize = tile::block::<F>();
    const MANY: usize = 3;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
    unsafe fn four<const T: usize>(
        w: [*const u8; 4],
        end: *const u8,
        blocks: usize,
        x: [*const u8; T],
        ahead: *const u8,
    ) -> [__m128; T] {
        // SAFETY: the caller's promise.
        unsafe { few::four::<F, T>(w, end, blocks, x, ahead) }
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
        GgmlType::Q4_0 => walk::scratch_bytes::<Of<Q4_0>>(k, tokens),
        GgmlType::Q4_1 => walk::scratch_bytes::<Of<Q4_1>>(k, tokens),
        GgmlType::Q5_0 => walk::scratch_bytes::<Of<Q5_0>>(k, tokens),
        GgmlType::Q5_1 => walk::scratch_bytes::<Of<Q5_1>>(k, tokens),
        GgmlType::IQ4_NL => walk::scratch_bytes::<Of<Iq4Nl>>(k, tokens),
        GgmlType::MXFP4 => walk::scratch_bytes::<Of<Mxfp4>>(k, tokens),
        _ => walk::scratch_bytes::<Of<Q8_0>>(k, tokens).max(rows::scratch_bytes(k, tokens)),
    }
}

pub(super) unsafe fn product(p: &Product<'_>, range: Range<usize>, scratch: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match p.ty {
            GgmlType::Q4_0 => walk::product::<Of<Q4_0>>(p, range, scratch),
            GgmlType::Q4_1 => walk::product::<Of<Q4_1>>(p, range, scratch),
            GgmlType::Q5_0 => walk::product::<Of<Q5_0>>(p, range, scratch),
            GgmlType::Q5_1 => walk::product::<Of<Q5_1>>(p, range, scratch),
            GgmlType::IQ4_NL => walk::product::<Of<Iq4Nl>>(p, range, scratch),
            GgmlType::MXFP4 => walk::product::<Of<Mxfp4>>(p, range, scratch),
            GgmlType::Q8_0 => match p.act.len() {
                1 if p.k >= rows::LONG => rows::few::<1>(p, range, scratch),
                2 if p.k >= rows::LONG => rows::few::<2>(p, range, scratch),
                _ => walk::product::<Of<Q8_0>>(p, range, scratch),
            },
            // `act_kind` sends no others here.
            _ => {}
        }
    }
}
