//! Sixteen floats in one register.

#![allow(
    clippy::indexing_slicing,
    reason = "arrays of registers, indexed by constants once unrolled"
)]

use super::math;
use crate::cpu::lanes::attention::OnPage;
use crate::cpu::lanes::page::Store;
use crate::cpu::lanes::{Job, Lanes};
use core::arch::x86_64::*;

/// A register.
#[derive(Clone, Copy)]
pub(super) struct One(__m512);

/// The lanes below `n`.
#[inline(always)]
fn mask(n: usize) -> u16 {
    !0 >> (16 - n.clamp(1, 16))
}

/// To halves, ties to even whatever the control word says.
#[inline(always)]
unsafe fn halves(x: __m512) -> __m256i {
    // SAFETY: within `enter`.
    unsafe { _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
}

impl Lanes for One {
    const EIGHT: bool = true;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn enter<J: Job>(job: J) {
        // SAFETY: the caller's promise.
        unsafe { job.run::<Self>() }
    }
    unsafe fn pass<S: Store>(on: OnPage<'_>, n: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match n {
                1 => Self::enter(on.tile::<S, 1, 4>()),
                2 => Self::enter(on.tile::<S, 2, 4>()),
                3 => Self::enter(on.tile::<S, 3, 4>()),
                4 => Self::enter(on.tile::<S, 4, 4>()),
                6 => Self::enter(on.tile::<S, 6, 4>()),
                _ => Self::enter(on.tile::<S, 8, 2>()),
            }
        }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: within `enter`.
        unsafe { Self(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(_mm512_loadu_ps(p)) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn load_halves(p: *const u16) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(_mm512_cvtph_ps(_mm256_loadu_si256(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_halves(self, p: *mut u16) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_si256(p.cast(), halves(self.0)) }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const i8) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let q = _mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()));
            Self(_mm512_cvtepi32_ps(q))
        }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe { Self(_mm512_add_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe { Self(_mm512_sub_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe { Self(_mm512_mul_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe { Self(_mm512_div_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe { Self(_mm512_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: within `enter`.
        unsafe { Self(_mm512_abs_ps(self.0)) }
    }
    #[inline(always)]
    unsafe fn signs_of(self, x: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe {
            let signs = _mm512_and_ps(x.0, _mm512_set1_ps(-0.0));
            Self(_mm512_or_ps(self.0, signs))
        }
    }
    #[inline(always)]
    unsafe fn larger(self, b: Self) -> Self {
        // SAFETY: within `enter`. The second operand where one is a NaN.
        unsafe { Self(_mm512_max_ps(self.0, b.0)) }
    }
    #[inline(always)]
    unsafe fn smaller(self, b: Self) -> Self {
        // SAFETY: within `enter`. The second operand where one is a NaN.
        unsafe { Self(_mm512_min_ps(b.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn only(self, lanes: u16, other: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe { Self(_mm512_mask_mov_ps(other.0, lanes, self.0)) }
    }
    #[inline(always)]
    unsafe fn where_below(self, x: Self, limit: f32, other: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe {
            let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x.0, _mm512_set1_ps(limit));
            Self(_mm512_mask_mov_ps(other.0, below, self.0))
        }
    }
    #[inline(always)]
    unsafe fn zero_below(self, x: Self, limit: f32) -> Self {
        // SAFETY: within `enter`.
        unsafe {
            let not = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x.0, _mm512_set1_ps(limit));
            Self(_mm512_maskz_mov_ps(not, self.0))
        }
    }
    #[inline(always)]
    unsafe fn scale(self, n: Self, _: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe { Self(_mm512_scalef_ps(self.0, n.0)) }
    }
    #[inline(always)]
    unsafe fn to_bytes(self) -> [i8; 16] {
        let v = self.0;
        // SAFETY: within `enter`.
        unsafe {
            let a = _mm512_min_ps(_mm512_abs_ps(v), _mm512_set1_ps(127.0));
            let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(v, v);
            let a = _mm512_maskz_mov_ps(number, a);
            // Halves to even; a half that was rounded down is 0.5 more than the result.
            let integers = _mm512_set1_ps(8_388_608.0);
            let shifted = _mm512_add_ps(a, integers);
            let rest = _mm512_sub_ps(a, _mm512_sub_ps(shifted, integers));
            let down = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(rest, _mm512_set1_ps(0.5));
            let n = _mm512_and_si512(_mm512_castps_si512(shifted), _mm512_set1_epi32(255));
            let n = _mm512_mask_add_epi32(n, down, n, _mm512_set1_epi32(1));
            let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(v, _mm512_setzero_ps());
            let n = _mm512_mask_sub_epi32(n, negative, _mm512_setzero_si512(), n);
            let mut out = [0; 16];
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(n));
            out
        }
    }
    #[inline(always)]
    unsafe fn tree(self) -> f32 {
        // SAFETY: within `enter`.
        unsafe { math::tree(self.0) }
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        // SAFETY: within `enter`.
        unsafe {
            let x = self.0;
            let x = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(_mm512_maskz_loadu_ps(mask(n), p)) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_ps(p, mask(n), self.0) }
    }
    #[inline(always)]
    unsafe fn load_halves_part(p: *const u16, n: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask(n), p.cast()))) }
    }
    #[inline(always)]
    unsafe fn store_halves_part(self, p: *mut u16, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_mask_storeu_epi16(p.cast(), mask(n), halves(self.0)) }
    }
    #[inline(always)]
    unsafe fn transpose(x: &mut [Self; 16]) {
        // SAFETY: within `enter`.
        unsafe {
            // Squares of 2, of 4 by pairs, then quarters.
            let mut y = [_mm512_setzero_ps(); 16];
            for i in 0..8 {
                y[2 * i] = _mm512_unpacklo_ps(x[2 * i].0, x[2 * i + 1].0);
                y[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i].0, x[2 * i + 1].0);
            }
            let y = y.map(|y| _mm512_castps_pd(y));
            let mut z = [_mm512_setzero_ps(); 16];
            for i in (0..16).step_by(4) {
                z[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(y[i], y[i + 2]));
                z[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(y[i], y[i + 2]));
                z[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(y[i + 1], y[i + 3]));
                z[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(y[i + 1], y[i + 3]));
            }
            // Quarter q of z[4 g + c] is column 4 q + c of rows 4 g ..; gather the quarters of all g.
            for c in 0..4 {
                let (a, b, d, e) = (z[c], z[4 + c], z[8 + c], z[12 + c]);
                let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
                let high = _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b);
                let low2 = _mm512_shuffle_f32x4::<0b01_00_01_00>(d, e);
                let high2 = _mm512_shuffle_f32x4::<0b11_10_11_10>(d, e);
                x[c].0 = _mm512_shuffle_f32x4::<0b10_00_10_00>(low, low2);
                x[4 + c].0 = _mm512_shuffle_f32x4::<0b11_01_11_01>(low, low2);
                x[8 + c].0 = _mm512_shuffle_f32x4::<0b10_00_10_00>(high, high2);
                x[12 + c].0 = _mm512_shuffle_f32x4::<0b11_01_11_01>(high, high2);
            }
        }
    }
}
