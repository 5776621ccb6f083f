//! Sums of sixteen lanes, as `crate::num::tree` has them.
//!
//! All functions are inlined into callers that have the features.

use core::arch::x86_64::*;

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
