//! Weights that are floats: F32, F16, BF16.
//!
//! A sum's sixteen lanes are two registers. Two or four rows by one activation row, or two by three, keep enough
//! chains in flight to hide an addition's latency. What is left of a row behind the last sixteen elements is added
//! lane by lane: zeros instead would turn a minus zero into a plus zero.

use super::step::{Job, Step};
use crate::cpu::kernels::Product;
use core::arch::x86_64::*;
use core::marker::PhantomData;
use core::ops::Range;

/// Weight rows that stay near while activation rows pass.
const ROWS: usize = 32;

/// A type of weights.
pub(super) trait Format {
    const BYTES: usize;

    /// Eight weights as floats.
    ///
    /// # Safety
    /// Within `enter`; they are there.
    unsafe fn eight(w: *const u8) -> __m256;

    /// One weight in the lowest lane.
    ///
    /// # Safety
    /// As `eight`.
    unsafe fn one(w: *const u8) -> __m128;
}

pub(super) struct F32;
impl Format for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn eight(w: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(w.cast()) }
    }
    #[inline(always)]
    unsafe fn one(w: *const u8) -> __m128 {
        // SAFETY: the caller's promise.
        unsafe { _mm_set_ss(w.cast::<f32>().read_unaligned()) }
    }
}

pub(super) struct F16;
impl Format for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn eight(w: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(w.cast())) }
    }
    #[inline(always)]
    unsafe fn one(w: *const u8) -> __m128 {
        // SAFETY: the caller's promise.
        unsafe {
            let h = w.cast::<u16>().read_unaligned();
            _mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(h)))
        }
    }
}

pub(super) struct Bf16;
impl Format for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn eight(w: *const u8) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let x = _mm256_cvtepu16_epi32(_mm_loadu_si128(w.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x))
        }
    }
    #[inline(always)]
    unsafe fn one(w: *const u8) -> __m128 {
        // SAFETY: the caller's promise.
        unsafe {
            let h = u32::from(w.cast::<u16>().read_unaligned());
            _mm_set_ss(f32::from_bits(h << 16))
        }
    }
}

/// The sum of sixteen lanes, as `num::tree` folds them.
#[inline(always)]
pub(super) unsafe fn tree(lanes: [__m256; 2]) -> f32 {
    // SAFETY: within `enter`.
    unsafe {
        let x = _mm256_add_ps(lanes[0], lanes[1]);
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
    }
}

/// What is asked for while 16 elements are read: see `avx512/float.rs`, which does the same.
#[inline(always)]
fn ahead<F: Format>(w: *const u8) {
    // SAFETY: hints.
    unsafe {
        if F::BYTES == 4 {
            _mm_prefetch::<_MM_HINT_T1>(w.wrapping_add(28672).cast());
        } else {
            _mm_prefetch::<_MM_HINT_T1>(w.wrapping_add(16384).cast());
            _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(2048).cast());
        }
    }
}

/// The products of `R` rows with `T` activation rows.
#[inline(always)]
unsafe fn dots<F: Format, const R: usize, const T: usize>(
    w: [*const u8; R],
    x: [*const f32; T],
    k: usize,
) -> [[f32; T]; R] {
    // SAFETY: the caller's rows; within `enter`.
    unsafe {
        let mut acc = [[[_mm256_setzero_ps(); 2]; T]; R];
        let whole = k / 16 * 16;
        for i in (0..whole).step_by(16) {
            for r in 0..R {
                let w = w[r].add(i * F::BYTES);
                if R == 1 && T == 1 {
                    ahead::<F>(w);
                }
                let w = [F::eight(w), F::eight(w.add(8 * F::BYTES))];
                for t in 0..T {
                    for h in 0..2 {
                        let x = _mm256_loadu_ps(x[t].add(i + 8 * h));
                        acc[r][t][h] = _mm256_fmadd_ps(w[h], x, acc[r][t][h]);
                    }
                }
            }
        }
        let mut out = [[0.0; T]; R];
        for r in 0..R {
            for t in 0..T {
                if k == whole {
                    out[r][t] = tree(acc[r][t]);
                    continue;
                }
                let mut lanes = [0f32; 16];
                _mm256_storeu_ps(lanes.as_mut_ptr(), acc[r][t][0]);
                _mm256_storeu_ps(lanes.as_mut_ptr().add(8), acc[r][t][1]);
                for i in whole..k {
                    let w = F::one(w[r].add(i * F::BYTES));
                    let lane = &mut lanes[i - whole];
                    let y = _mm_fmadd_ss(w, _mm_set_ss(x[t].add(i).read()), _mm_set_ss(*lane));
                    *lane = _mm_cvtss_f32(y);
                }
                let p = lanes.as_ptr();
                out[r][t] = tree([_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))]);
            }
        }
        out
    }
}

/// A product of the format.
pub(super) struct Run<'a, F>(pub &'a Product<'a>, pub Range<usize>, pub PhantomData<F>);

impl<F: Format> Run<'_, F> {
    /// `R` rows from `r` on (never past the end) with `T` activation rows from `t` on.
    #[inline(always)]
    unsafe fn part<const R: usize, const T: usize>(&self, r: usize, t: usize) {
        let p = self.0;
        let bytes = p.k * F::BYTES;
        // SAFETY: the caller's promise.
        unsafe {
            let mut w = [p.w.as_ptr(); R];
            for (i, w) in w.iter_mut().enumerate() {
                *w = w.add((r + i) * bytes);
            }
            let mut x = [core::ptr::null::<f32>(); T];
            for (i, x) in x.iter_mut().enumerate() {
                *x = p.act[t + i].cast();
            }
            let y = dots::<F, R, T>(w, x, p.k);
            for (i, y) in y.iter().enumerate() {
                let bias = p.bias.map(|b| {
                    let b = b.as_ptr().add(4 * (r + i)).cast::<f32>();
                    b.read_unaligned()
                });
                for (j, &y) in y.iter().enumerate() {
                    let y = bias.map_or(y, |b| y + b);
                    p.dst[t + j].add(r + i).write_unaligned(y);
                }
            }
        }
    }

    /// All of a range of rows, `R` at a time, with `T` activation rows.
    #[inline(always)]
    unsafe fn column<const R: usize, const T: usize>(&self, rows: Range<usize>, t: usize) {
        let mut r = rows.start;
        // SAFETY: the caller's promise.
        unsafe {
            while r + R <= rows.end {
                self.part::<R, T>(r, t);
                r += R;
            }
            while r < rows.end {
                self.part::<1, T>(r, t);
                r += 1;
            }
        }
    }
}

impl<F: Format> Job for Run<'_, F> {
    #[inline(always)]
    unsafe fn run<S: Step>(self) {
        for first in self.1.clone().step_by(ROWS) {
            let rows = first..self.1.end.min(first + ROWS);
            let mut t = 0;
            // SAFETY: the caller's promise.
            unsafe {
                while t + 3 <= self.0.act.len() {
                    self.column::<2, 3>(rows.clone(), t);
                    t += 3;
                }
                while t < self.0.act.len() {
                    // One after the other: the processor's own prefetchers keep up with one stream only.
                    self.column::<1, 1>(rows.clone(), t);
                    t += 1;
                }
            }
        }
    }
}
