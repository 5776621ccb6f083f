//! Sixteen floats in two registers.

use super::step::transpose8;
use crate::cpu::lanes::attention::OnPage;
use crate::cpu::lanes::page::Store;
use crate::cpu::lanes::{Job, Lanes};
use core::arch::x86_64::*;

/// Lanes 0 to 7 and 8 to 15.
#[derive(Clone, Copy)]
pub(super) struct Two(__m256, __m256);

/// The eight lanes whose bits are the low ones.
#[inline(always)]
unsafe fn mask(bits: u16) -> __m256 {
    // SAFETY: within `enter`.
    unsafe {
        let each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        let bits = _mm256_and_si256(_mm256_set1_epi32(i32::from(bits)), each);
        _mm256_castsi256_ps(_mm256_cmpeq_epi32(bits, each))
    }
}

/// Eight of `to_bytes`, in 32 bits each.
#[inline(always)]
unsafe fn nearest(v: __m256) -> __m256i {
    // SAFETY: within `enter`.
    unsafe {
        let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), v);
        let a = _mm256_min_ps(magnitude, _mm256_set1_ps(127.0));
        let a = _mm256_and_ps(a, _mm256_cmp_ps::<_CMP_ORD_Q>(v, v));
        // Halves to even; a half that was rounded down is 0.5 more than the result.
        let integers = _mm256_set1_ps(8_388_608.0);
        let shifted = _mm256_add_ps(a, integers);
        let rest = _mm256_sub_ps(a, _mm256_sub_ps(shifted, integers));
        let down = _mm256_cmp_ps::<_CMP_EQ_OQ>(rest, _mm256_set1_ps(0.5));
        let n = _mm256_and_si256(_mm256_castps_si256(shifted), _mm256_set1_epi32(255));
        let n = _mm256_sub_epi32(n, _mm256_castps_si256(down));
        // Where the number is 0, or a NaN of any sign, so is the integer.
        _mm256_sign_epi32(n, _mm256_castps_si256(v))
    }
}

/// An operation on both registers of one, two or three.
macro_rules! each {
    ($f:ident, $($x:expr),+) => {
        // SAFETY: within `enter`.
        unsafe { Self($f($($x.0),+), $f($($x.1),+)) }
    };
}

impl Lanes for Two {
    const EIGHT: bool = false;

    #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2")]
    unsafe fn enter<J: Job>(job: J) {
        // SAFETY: the caller's promise.
        unsafe { job.run::<Self>() }
    }
    unsafe fn pass<S: Store>(on: OnPage<'_>, n: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match n {
                1 => Self::enter(on.tile::<S, 1, 4>()),
                2 => Self::enter(on.tile::<S, 2, 2>()),
                3 => Self::enter(on.tile::<S, 3, 2>()),
                4 => Self::enter(on.tile::<S, 4, 1>()),
                _ => Self::enter(on.tile::<S, 6, 1>()),
            }
        }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: within `enter`.
        unsafe { Self(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            _mm256_storeu_ps(p, self.0);
            _mm256_storeu_ps(p.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn load_halves(p: *const u16) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            Self(
                _mm256_cvtph_ps(_mm_loadu_si128(p.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast())),
            )
        }
    }
    #[inline(always)]
    unsafe fn store_halves(self, p: *mut u16) {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
            let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.1);
            _mm_storeu_si128(p.cast(), low);
            _mm_storeu_si128(p.add(8).cast(), high);
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const i8) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()));
            let high = _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.add(8).cast()));
            Self(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        each!(_mm256_add_ps, self, b)
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        each!(_mm256_sub_ps, self, b)
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        each!(_mm256_mul_ps, self, b)
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        each!(_mm256_div_ps, self, b)
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        each!(_mm256_fmadd_ps, self, b, c)
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: within `enter`.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self(
                _mm256_andnot_ps(sign, self.0),
                _mm256_andnot_ps(sign, self.1),
            )
        }
    }
    #[inline(always)]
    unsafe fn signs_of(self, x: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self(
                _mm256_or_ps(self.0, _mm256_and_ps(x.0, sign)),
                _mm256_or_ps(self.1, _mm256_and_ps(x.1, sign)),
            )
        }
    }
    #[inline(always)]
    unsafe fn larger(self, b: Self) -> Self {
        // The second operand where one is a NaN.
        each!(_mm256_max_ps, self, b)
    }
    #[inline(always)]
    unsafe fn smaller(self, b: Self) -> Self {
        // The second operand where one is a NaN: here the first.
        each!(_mm256_min_ps, b, self)
    }
    #[inline(always)]
    unsafe fn only(self, lanes: u16, other: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe {
            Self(
                _mm256_blendv_ps(other.0, self.0, mask(lanes)),
                _mm256_blendv_ps(other.1, self.1, mask(lanes >> 8)),
            )
        }
    }
    #[inline(always)]
    unsafe fn where_below(self, x: Self, limit: f32, other: Self) -> Self {
        // SAFETY: within `enter`.
        unsafe {
            let limit = _mm256_set1_ps(limit);
            let below = [
                _mm256_cmp_ps::<_CMP_LT_OQ>(x.0, limit),
                _mm256_cmp_ps::<_CMP_LT_OQ>(x.1, limit),
            ];
            Self(
                _mm256_blendv_ps(other.0, self.0, below[0]),
                _mm256_blendv_ps(other.1, self.1, below[1]),
            )
        }
    }
    #[inline(always)]
    unsafe fn zero_below(self, x: Self, limit: f32) -> Self {
        // SAFETY: within `enter`.
        unsafe {
            let limit = _mm256_set1_ps(limit);
            let below = [
                _mm256_cmp_ps::<_CMP_LT_OQ>(x.0, limit),
                _mm256_cmp_ps::<_CMP_LT_OQ>(x.1, limit),
            ];
            Self(
                _mm256_andnot_ps(below[0], self.0),
                _mm256_andnot_ps(below[1], self.1),
            )
        }
    }
    #[inline(always)]
    unsafe fn scale(self, _: Self, n_bits: Self) -> Self {
        // SAFETY: within `enter`. The exponent's bits, and no others: the product keeps a NaN one.
        unsafe {
            let one = _mm256_set1_epi32(127 << 23);
            let bits = [
                _mm256_slli_epi32::<23>(_mm256_castps_si256(n_bits.0)),
                _mm256_slli_epi32::<23>(_mm256_castps_si256(n_bits.1)),
            ];
            let powers = [
                _mm256_castsi256_ps(_mm256_add_epi32(bits[0], one)),
                _mm256_castsi256_ps(_mm256_add_epi32(bits[1], one)),
            ];
            Self(
                _mm256_mul_ps(self.0, powers[0]),
                _mm256_mul_ps(self.1, powers[1]),
            )
        }
    }
    #[inline(always)]
    unsafe fn to_bytes(self) -> [i8; 16] {
        // SAFETY: within `enter`.
        unsafe {
            let words = _mm256_packs_epi32(nearest(self.0), nearest(self.1));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let (low, high) = (
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            let mut out = [0; 16];
            _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_packs_epi16(low, high));
            out
        }
    }
    #[inline(always)]
    unsafe fn tree(self) -> f32 {
        // SAFETY: within `enter`.
        unsafe { super::float::tree([self.0, self.1]) }
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        // SAFETY: within `enter`.
        unsafe {
            let x = _mm256_max_ps(self.0, self.1);
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }
    #[inline(always)]
    unsafe fn transpose(x: &mut [Self; 16]) {
        // SAFETY: within `enter`.
        unsafe {
            let rows = *x;
            for (half, rows) in rows.as_chunks::<8>().0.iter().enumerate() {
                let mut parts = [[_mm256_setzero_si256(); 8]; 2];
                for (i, row) in rows.iter().enumerate() {
                    parts[0][i] = _mm256_castps_si256(row.0);
                    parts[1][i] = _mm256_castps_si256(row.1);
                }
                for (c, part) in parts.iter().enumerate() {
                    for (i, column) in transpose8(part).into_iter().enumerate() {
                        let column = _mm256_castsi256_ps(column);
                        let to = &mut x[8 * c + i];
                        *(if half == 0 { &mut to.0 } else { &mut to.1 }) = column;
                    }
                }
            }
        }
    }
}
