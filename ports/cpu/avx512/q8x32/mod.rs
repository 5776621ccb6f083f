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
//! | `tile`   | more: 32 weight rows are expanded to bytes once, then meet all activation rows |

use crate::cpu::kernels::Product;
use crate::quant::GgmlType;
use core::ops::Range;

mod act;
mod few;
mod format;
mod gather;
mod tile;

pub(super) use act::{act_row_bytes, prepare_act};
use format::{Format, Iq4Nl, Mxfp4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

/// From this many activation rows on, expanding weights pays.
const MANY: usize = 3;

pub(super) fn scratch_bytes(ty: GgmlType, k: usize, tokens: usize) -> usize {
    if tokens < MANY {
        return 0;
    }
    match ty {
        GgmlType::Q4_1 | GgmlType::Q5_1 => tile::bytes::<Q4_1>(k),
        _ => tile::bytes::<Q8_0>(k),
    }
}

pub(super) unsafe fn product(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match p.ty {
            GgmlType::Q4_0 => run::<Q4_0>(p, rows, scratch),
            GgmlType::Q4_1 => run::<Q4_1>(p, rows, scratch),
            GgmlType::Q5_0 => run::<Q5_0>(p, rows, scratch),
            GgmlType::Q5_1 => run::<Q5_1>(p, rows, scratch),
            GgmlType::Q8_0 => run::<Q8_0>(p, rows, scratch),
            GgmlType::IQ4_NL => run::<Iq4Nl>(p, rows, scratch),
            GgmlType::MXFP4 => run::<Mxfp4>(p, rows, scratch),
            // `act_kind` sends no others here.
            _ => {}
        }
    }
}

unsafe fn run<F: Format>(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    if rows.is_empty() {
        return;
    }
    // SAFETY: the caller's promise; the level has the features.
    unsafe {
        match *p.act {
            [] => {}
            [a] => few::rows::<F, 1>(p, rows, [a]),
            [a, b] => few::rows::<F, 2>(p, rows, [a, b]),
            _ => tile::rows::<F>(p, rows, scratch),
        }
    }
}
