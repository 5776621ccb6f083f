//! How a product is cut into tiles, and where the results go: common to all families of weights.
//!
//! A tile is four weight rows and up to [`TILE`] activation rows. The four rows lie in the lanes of the float
//! accumulators, so that the chain of one output, whose order is fixed, never waits for itself alone.

use crate::cpu::kernels::Product;
use core::arch::aarch64::*;
use core::ops::Range;

/// Activation rows of a tile.
pub(super) const TILE: usize = 16;
/// Weight rows that stay in the nearer caches while tiles of activations pass over them.
const ROWS: usize = 32;

/// The arithmetic of a tile.
pub(super) trait Tile {
    /// Dot products of four weight rows with the first `n` activation rows, `1 <= n <= TILE`. All the pointers are
    /// good: those past `n` repeat the last row.
    ///
    /// # Safety
    /// The level is available; rows are `k` elements long.
    unsafe fn tile(
        p: &Product<'_>,
        w: &[*const u8; 4],
        act: &[*const u8; TILE],
        n: usize,
    ) -> [float32x4_t; TILE];
}

/// Computes the outputs of the weight rows in `rows`.
///
/// # Safety
/// As the slot `product`.
#[inline(always)]
pub(super) unsafe fn each_tile<T: Tile>(p: &Product<'_>, rows: Range<usize>, row_bytes: usize) {
    let Some(rows_there) = p.w.len().checked_div(row_bytes) else {
        return;
    };
    let end = rows.end.min(p.m).min(rows_there);
    let mut first = rows.start;
    while first < end {
        let last = end.min(first + ROWS);
        for (act, dst) in p.act.chunks(TILE).zip(p.dst.chunks(TILE)) {
            let n = act.len();
            let mut acts = [act[n - 1]; TILE];
            acts[..n].copy_from_slice(act);
            let mut r = first;
            while r < last {
                let there = (last - r).min(4);
                // SAFETY: row `r + i` is within the weights; the others are the caller's promise.
                unsafe {
                    let at = |i: usize| p.w.as_ptr().add((r + i.min(there - 1)) * row_bytes);
                    let y = T::tile(p, &[at(0), at(1), at(2), at(3)], &acts, n);
                    store(p, r, there, dst, &y);
                }
                r += 4;
            }
        }
        first = last;
    }
}

/// Adds the bias and stores columns `r..r + there`.
///
/// # Safety
/// They can be written.
#[inline(always)]
unsafe fn store(
    p: &Product<'_>,
    r: usize,
    there: usize,
    dst: &[*mut f32],
    y: &[float32x4_t; TILE],
) {
    let mut bias = [0u8; 16];
    let add = match p.bias.and_then(|b| b.get(4 * r..4 * (r + there))) {
        Some(b) => {
            bias[..b.len()].copy_from_slice(b);
            true
        }
        None => false,
    };
    // SAFETY: the caller's promise.
    unsafe {
        let bias = vld1q_f32(bias.as_ptr().cast());
        for (&dst, &y) in dst.iter().zip(y) {
            // Not always added: -0 + 0 is another number.
            let y = if add { vaddq_f32(y, bias) } else { y };
            if there == 4 {
                vst1q_f32(dst.add(r), y);
            } else {
                let mut lanes = [0.0f32; 4];
                vst1q_f32(lanes.as_mut_ptr(), y);
                for (i, &y) in lanes.iter().enumerate().take(there) {
                    dst.add(r + i).write(y);
                }
            }
        }
    }
}
