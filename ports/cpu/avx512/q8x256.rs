//! Not written yet: the reference's kernels.

use crate::cpu::kernels::Product;
use crate::cpu::scalar;
use crate::graph::kernels::matmul::{self, ActKind};
use crate::quant::GgmlType;
use core::ops::Range;

pub(super) fn act_row_bytes(k: usize) -> usize {
    matmul::act_row_bytes(ActKind::Q8x256, k)
}

pub(super) unsafe fn prepare_act(x: &[f32], dst: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { scalar::prepare_act(ActKind::Q8x256, x, dst) }
}

pub(super) fn scratch_bytes(_ty: GgmlType, _k: usize, _tokens: usize) -> usize {
    0
}

pub(super) unsafe fn product(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { scalar::product(p, rows, scratch) }
}
