//! Products with weights that are floats, or that are turned into floats exactly.

use crate::cpu::kernels::Product;
use crate::cpu::scalar;
use core::ops::Range;

/// # Safety
/// As the slot.
pub(super) unsafe fn product(p: &Product<'_>, rows: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { scalar::product(p, rows, core::ptr::null_mut()) }
}
