//! Not written yet: the reference's kernels.

use crate::cpu::kernels::Attention;
use crate::cpu::scalar;
use crate::graph::kernels::attention::KvLayout;
use core::ops::Range;

pub(super) fn scratch_bytes(_layout: &KvLayout, _n_head: usize, _rows: usize) -> usize {
    0
}

pub(super) unsafe fn attend(
    a: &Attention<'_>,
    rows: Range<usize>,
    heads: Range<usize>,
    scratch: *mut u8,
) {
    // SAFETY: the caller's promise.
    unsafe { scalar::attend(a, rows, heads, scratch) }
}
