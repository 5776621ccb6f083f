//! Products with weights in super-blocks of 256: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS.

use super::dot::Dot;
use crate::cpu::kernels::Product;
use crate::cpu::scalar;
use core::ops::Range;

/// # Safety
/// As the slot.
pub(super) unsafe fn product<D: Dot>(p: &Product<'_>, rows: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { scalar::product(p, rows, core::ptr::null_mut()) }
}
