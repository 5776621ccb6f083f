//! More activation rows: 32 weight rows are expanded to bytes once, then multiplied with all of them.
//!
//! A lane is a weight row, so nothing is ever summed across lanes. Each group of four activations is broadcast to two
//! vectors of 16 rows; with up to six activation rows at once there are 12 sums of a sub-block and 12 of a super-block in
//! registers, and fewer loads than multiplications. A tile has for each super-block, of each of the 32 rows:
//!
//! | bytes             | what |
//! |-------------------|------|
//! | 64 times 128      | four integers each, unsigned |
//! | sub-blocks * 128  | scales, i32 |
//! | sub-blocks * 64   | what sums of activations are multiplied by, pairs of i16: minima, or the scale times -offset |
//! | 2 times 128       | the factors, and those of minima |

#![allow(
    clippy::indexing_slicing,
    reason = "arrays that stand for registers, indexed by constants once unrolled"
)]

use super::act::{RECORD, SCALE, SUMS_16, SUMS_32};
use super::expand::Expand;
use crate::cpu::avx512::walk::{Ahead, STEP, word};
use core::arch::x86_64::*;
use core::array::from_fn;

/// Where parts of a super-block begin in a tile.
pub(super) struct At<F>(core::marker::PhantomData<F>);

impl<F: super::Format> At<F> {
    /// Sub-blocks.
    pub const SUBS: usize = 256 / F::SUB;
    /// Scales.
    pub const SCALES: usize = 64 * STEP;
    /// Pairs.
    pub const SIDE: usize = Self::SCALES + Self::SUBS * STEP;
    /// Factors.
    pub const D: usize = Self::SIDE + Self::SUBS / 2 * STEP;
    /// Factors of minima.
    pub const DMIN: usize = Self::D + STEP;
    /// The next super-block.
    pub const END: usize = Self::DMIN + STEP;
}

/// The tile times activation rows.
///
/// # Safety
/// They are there.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
pub(super) unsafe fn multiply<F: Expand, const T: usize>(
    tile: *const u8,
    blocks: usize,
    x: [*const u8; T],
    ahead: Ahead,
) -> [[__m512; 2]; T] {
    let mut ahead = ahead.finer(At::<F>::SUBS);
    // SAFETY: the caller's promise.
    unsafe {
        let mut y = [[_mm512_setzero_ps(); 2]; T];
        let zero = _mm512_setzero_si512();
        for b in 0..blocks {
            let w = tile.add(b * At::<F>::END);
            let x = x.map(|x| x.add(b * RECORD));
            let vector = |at: usize, v: usize| _mm512_load_si512(w.add(at + 64 * v).cast());
            // Products of pairs with sums of activations.
            let side = || {
                let mut m = [[zero; 2]; T];
                for c in 0..At::<F>::SUBS / 2 {
                    let at = At::<F>::SIDE + STEP * c;
                    let w = [vector(at, 0), vector(at, 1)];
                    let sums = if F::SUB == 32 { SUMS_32 } else { SUMS_16 };
                    for (m, x) in m.iter_mut().zip(x) {
                        let x = word(x.add(sums + 4 * c));
                        *m = [
                            _mm512_dpwssd_epi32(m[0], w[0], x),
                            _mm512_dpwssd_epi32(m[1], w[1], x),
                        ];
                    }
                }
                m
            };
            let mut isum = if F::MIN { [[zero; 2]; T] } else { side() };
            for s in 0..At::<F>::SUBS {
                ahead.ask();
                let mut sum = [[zero; 2]; T];
                for l in 0..F::SUB / 4 {
                    let l = s * (F::SUB / 4) + l;
                    let w = [vector(STEP * l, 0), vector(STEP * l, 1)];
                    for (sum, x) in sum.iter_mut().zip(x) {
                        let x = word(x.add(4 * l));
                        *sum = [
                            _mm512_dpbusd_epi32(sum[0], w[0], x),
                            _mm512_dpbusd_epi32(sum[1], w[1], x),
                        ];
                    }
                }
                let at = At::<F>::SCALES + STEP * s;
                let scale = [vector(at, 0), vector(at, 1)];
                for (isum, sum) in isum.iter_mut().zip(sum) {
                    for v in 0..2 {
                        isum[v] = _mm512_add_epi32(isum[v], _mm512_mullo_epi32(sum[v], scale[v]));
                    }
                }
            }
            let float = |at: usize, v: usize| _mm512_castsi512_ps(vector(at, v));
            let da: [__m512; T] = from_fn(|t| _mm512_castsi512_ps(word(x[t].add(SCALE))));
            for ((y, isum), da) in y.iter_mut().zip(isum).zip(da) {
                for v in 0..2 {
                    let d = _mm512_mul_ps(float(At::<F>::D, v), da);
                    y[v] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(isum[v]), y[v]);
                }
            }
            if F::MIN {
                for ((y, m), da) in y.iter_mut().zip(side()).zip(da) {
                    for v in 0..2 {
                        let d = _mm512_mul_ps(float(At::<F>::DMIN, v), da);
                        y[v] = _mm512_fnmadd_ps(d, _mm512_cvtepi32_ps(m[v]), y[v]);
                    }
                }
            }
        }
        y
    }
}

/// Sixteen rows into their half of a tile.
///
/// # Safety
/// They are there, and the tile is ours.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
pub(super) unsafe fn expand<F: Expand>(
    rows: [*const u8; 16],
    blocks: usize,
    tile: *mut u8,
    mut ahead: Ahead,
) {
    for b in 0..blocks {
        ahead.ask();
        // SAFETY: the caller's promise.
        unsafe {
            F::expand(
                rows.map(|r| r.add(b * F::BYTES)),
                tile.add(b * At::<F>::END),
            )
        };
    }
}
