//! Functions and sums of sixteen lanes: the operations of `crate::num::math` and `crate::num::tree`, in their order,
//! so that every lane has the reference's bits.
//!
//! All functions are inlined into callers that have the features.

use core::arch::x86_64::*;

/// As `num::math`'s.
const ROUND: f32 = 12_582_912.0;

/// `num::math::exp`.
///
/// # Safety
/// AVX-512 F.
#[inline(always)]
pub unsafe fn exp(x: __m512) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let c = |c: f32| _mm512_set1_ps(c);
        // `min` and `max` give their second operand where one is a NaN.
        let y = _mm512_min_ps(c(89.0), x);
        let y = _mm512_max_ps(c(-88.0), y);
        let t = _mm512_fmadd_ps(y, c(core::f32::consts::LOG2_E), c(ROUND));
        let n = _mm512_sub_ps(t, c(ROUND));
        let r = _mm512_fmadd_ps(n, c(-0.693_145_75), y);
        let r = _mm512_fmadd_ps(n, c(-1.428_606_8e-6), r);
        let q = _mm512_fmadd_ps(r, c(0.001_395_06), c(0.008_368_954));
        let q = _mm512_fmadd_ps(q, r, c(0.041_666_206));
        let q = _mm512_fmadd_ps(q, r, c(0.166_665_18));
        let q = _mm512_fmadd_ps(q, r, c(0.5));
        let p = _mm512_fmadd_ps(_mm512_fmadd_ps(q, r, c(1.0)), r, c(1.0));
        // The reference multiplies by two halves of 2^n. The first product is exact, so both round once: the same
        // number as this one.
        let e = _mm512_scalef_ps(p, n);
        let zero = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, c(-87.336_54));
        _mm512_mask_mov_ps(e, zero, _mm512_setzero_ps())
    }
}

/// `num::math::tanh`.
///
/// # Safety
/// AVX-512 F and DQ.
#[inline(always)]
pub unsafe fn tanh(x: __m512) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let c = |c: f32| _mm512_set1_ps(c);
        let a = _mm512_abs_ps(x);
        let u = _mm512_mul_ps(x, x);
        let q = _mm512_fmadd_ps(u, c(-0.005_905_860_6), c(0.020_805_378));
        let q = _mm512_fmadd_ps(q, u, c(-0.053_786_68));
        let q = _mm512_fmadd_ps(q, u, c(0.133_319_59));
        let q = _mm512_fmadd_ps(q, u, c(-0.333_333));
        let small = _mm512_fmadd_ps(_mm512_mul_ps(q, u), a, a);
        let e = exp(_mm512_add_ps(a, a));
        let large = _mm512_sub_ps(c(1.0), _mm512_div_ps(c(2.0), _mm512_add_ps(e, c(1.0))));
        let is_small = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, c(0.6));
        let t = _mm512_mask_mov_ps(large, is_small, small);
        _mm512_or_ps(t, _mm512_and_ps(x, c(-0.0)))
    }
}

/// `num::tree`.
///
/// # Safety
/// AVX-512 F and DQ.
#[inline(always)]
pub unsafe fn tree(x: __m512) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
    }
}

/// The largest lane; no lane is a NaN. Which zero it is where both are largest is not said.
///
/// # Safety
/// AVX-512 F and DQ.
#[inline(always)]
pub unsafe fn largest(x: __m512) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let x = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
        let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
    }
}

/// `num::tree` of sixteen vectors at once: result `i` is that of `x[i]`.
///
/// Two vectors at a time are interleaved and added, so that half of the lanes of every addition are each one's.
///
/// # Safety
/// AVX-512 F.
#[inline(always)]
pub unsafe fn trees(x: &[__m512; 16]) -> __m512 {
    /// Lanes `i` and `i + 8`.
    #[inline(always)]
    unsafe fn eights(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
            _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b))
        }
    }
    /// Then `i` and `i + 4`.
    #[inline(always)]
    unsafe fn fours(a: __m512, b: __m512, c: __m512, d: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let (a, b) = (eights(a, b), eights(c, d));
            let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
            _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b))
        }
    }
    /// Then `i` and `i + 2`, within quarters.
    #[inline(always)]
    unsafe fn twos(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm512_shuffle_ps::<0b01_00_01_00>(a, b);
            _mm512_add_ps(low, _mm512_shuffle_ps::<0b11_10_11_10>(a, b))
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        // Quarter q of the result has vector 4 q + p at place p.
        let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = x;
        let left = twos(fours(a, e, i, m), fours(b, f, j, n));
        let right = twos(fours(c, g, k, o), fours(d, h, l, p));
        let low = _mm512_shuffle_ps::<0b10_00_10_00>(left, right);
        _mm512_add_ps(low, _mm512_shuffle_ps::<0b11_01_11_01>(left, right))
    }
}
