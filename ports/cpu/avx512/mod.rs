//! AVX-512 with VNNI (F, BW, DQ, VL, VNNI).
//!
//! | file        | what |
//! |-------------|------|
//! | `walk`      | the ways over weights in blocks, for both families |
//! | `q8x32`     | products of weights in blocks of 32 |
//! | `q8x256`    | products of weights in super-blocks of 256 |
//! | `float`     | products of weights that are floats, or dequantized to floats |
//! | `lanes`     | sixteen floats, of which attention and append are made |
//! | `math`      | sums of sixteen lanes |

use super::isa::Isa;
use super::kernels::{Kernels, Product};
use super::lanes::{append::append, attention};
use crate::graph::kernels::matmul::{ActKind, act_kind};
use crate::quant::GgmlType;
use core::ops::Range;

mod float;
mod lanes;
mod math;
mod q8x256;
mod q8x32;
mod walk;

/// The table.
pub const KERNELS: Kernels = Kernels {
    isa: Isa::Avx512,
    act_row_bytes,
    prepare_act,
    product_scratch_bytes,
    product,
    attend_scratch_bytes: attention::scratch_bytes,
    attend: attention::attend::<lanes::One>,
    append: append::<lanes::One>,
};

fn act_row_bytes(kind: ActKind, k: usize) -> usize {
    match kind {
        ActKind::F32 => float::act_row_bytes(k),
        ActKind::Q8x32 => q8x32::act_row_bytes(k),
        ActKind::Q8x256 => q8x256::act_row_bytes(k),
    }
}

unsafe fn prepare_act(kind: ActKind, x: &[f32], dst: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match kind {
            ActKind::F32 => float::prepare_act(x, dst),
            ActKind::Q8x32 => q8x32::prepare_act(x, dst),
            ActKind::Q8x256 => q8x256::prepare_act(x, dst),
        }
    }
}

fn product_scratch_bytes(ty: GgmlType, k: usize, tokens: usize) -> usize {
    match act_kind(ty) {
        ActKind::F32 => float::scratch_bytes(ty, k, tokens),
        ActKind::Q8x32 => q8x32::scratch_bytes(ty, k, tokens),
        ActKind::Q8x256 => q8x256::scratch_bytes(ty, k, tokens),
    }
}

unsafe fn product(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match act_kind(p.ty) {
            ActKind::F32 => float::product(p, rows, scratch),
            ActKind::Q8x32 => q8x32::product(p, rows, scratch),
            ActKind::Q8x256 => q8x256::product(p, rows, scratch),
        }
    }
}
