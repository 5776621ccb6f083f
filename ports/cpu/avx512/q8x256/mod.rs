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

use crate::cpu::kernels::Product;
use crate::quant::GgmlType;
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

/// From this many activation rows on, expanding weights pays.
const MANY: usize = 4;

pub(super) fn scratch_bytes(ty: GgmlType, k: usize, tokens: usize) -> usize {
    if tokens < MANY {
        return 0;
    }
    match ty {
        GgmlType::Q2_K => tile::bytes::<Q2K>(k),
        GgmlType::Q3_K | GgmlType::Q6_K => tile::bytes::<Q6K>(k),
        GgmlType::IQ4_XS => tile::bytes::<Iq4Xs>(k),
        _ => tile::bytes::<Q4K>(k),
    }
}

pub(super) unsafe fn product(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match p.ty {
            GgmlType::Q2_K => run::<Q2K>(p, rows, scratch),
            GgmlType::Q3_K => run::<Q3K>(p, rows, scratch),
            GgmlType::Q4_K => run::<Q4K>(p, rows, scratch),
            GgmlType::Q5_K => run::<Q5K>(p, rows, scratch),
            GgmlType::Q6_K => run::<Q6K>(p, rows, scratch),
            GgmlType::IQ4_XS => run::<Iq4Xs>(p, rows, scratch),
            // `act_kind` sends no others here.
            _ => {}
        }
    }
}

unsafe fn run<F: read::Read + expand::Expand>(
    p: &Product<'_>,
    rows: Range<usize>,
    scratch: *mut u8,
) {
    if rows.is_empty() {
        return;
    }
    // SAFETY: the caller's promise; the level has the features.
    unsafe {
        match *p.act {
            [] => {}
            [a] => few::rows::<F, 1>(p, rows, [a]),
            [a, b] => few::rows::<F, 2>(p, rows, [a, b]),
            [a, b, c] => few::rows::<F, 3>(p, rows, [a, b, c]),
            _ => tile::rows::<F>(p, rows, scratch),
        }
    }
}
