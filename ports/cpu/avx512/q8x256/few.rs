//! Few activation rows: weights pass once, four rows at a time, as they lie in the file.
//!
//! Of each row and super-block sixteen partial sums are left, already multiplied by the sub-blocks' scales; the
//! four rows' meet in one tree of shuffles. What belongs to a row once per super-block (scales, minima, factors) is
//! decoded for the four rows together, a row to a lane of 128 bits.

#![allow(
    clippy::indexing_slicing,
    reason = "arrays that stand for registers, indexed by constants once unrolled"
)]

use super::act::{RECORD, SCALE, SUMS_16, SUMS_32};
use super::read::{Head, Read};
use crate::cpu::avx512::walk::tree;
use core::arch::x86_64::*;
use core::array::from_fn;

/// # Safety
/// `blocks` super-blocks are at each of `w`, their records at each of `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
pub(super) unsafe fn four<F: Read, const T: usize>(
    w: [*const u8; 4],
    blocks: usize,
    x: [*const u8; T],
    ahead: *const u8,
) -> [__m128; T] {
    let mut y = [_mm_setzero_ps(); T];
    for b in 0..blocks {
        // SAFETY: the caller's promise.
        unsafe {
            for line in (0..4 * F::BYTES).step_by(64) {
                let ahead = ahead.wrapping_add(4 * F::BYTES * b + line);
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
            }
            let w = w.map(|w| w.add(b * F::BYTES));
            let x = x.map(|x| x.add(b * RECORD));
            let head = F::head(w);
            let mut s = [[_mm512_setzero_si512(); 4]; T];
            let a: [[__m512i; 4]; T] = from_fn(|t| F::acts(x[t]));
            macro_rules! row {
                ($($r:literal)*) => {$(
                    let q = F::quants(w[$r]);
                    let scale = F::scales::<$r>(&head);
                    for t in 0..T {
                        s[t][$r] = F::sums(q, a[t], scale);
                    }
                )*};
            }
            row!(0 1 2 3);
            for ((x, s), y) in x.into_iter().zip(s).zip(&mut y) {
                *y = add::<F>(&head, sums(s), x, *y);
            }
        }
    }
    y
}

/// The sums of four vectors, side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn sums(s: [__m512i; 4]) -> __m128i {
    let s = tree(s, |a, b| _mm512_add_epi32(a, b));
    let s = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64::<1>(s));
    _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256::<1>(s))
}

/// One super-block of four rows onto the chains.
///
/// # Safety
/// A record is at `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
unsafe fn add<F: Read>(head: &Head, isum: __m128i, x: *const u8, y: __m128) -> __m128 {
    // SAFETY: the caller's promise.
    unsafe {
        // The minima, or the scales whose products with the offset are too much, times sums of activations.
        let sums = |at: usize| _mm512_broadcast_i32x4(_mm_load_si128(x.add(at).cast()));
        let mut side = _mm512_setzero_si512();
        if F::SUB == 32 {
            side = _mm512_dpwssd_epi32(side, head.side[0], sums(SUMS_32));
        } else {
            side = _mm512_dpwssd_epi32(side, head.side[0], sums(SUMS_16));
            side = _mm512_dpwssd_epi32(side, head.side[1], sums(SUMS_16 + 16));
        }
        let side = _mm512_add_epi32(side, _mm512_shuffle_epi32::<0b01_00_11_10>(side));
        let side = _mm512_add_epi32(side, _mm512_shuffle_epi32::<0b10_11_00_01>(side));
        let first = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
        let side = _mm512_castsi512_si128(_mm512_permutexvar_epi32(first, side));
        let da = _mm_set1_ps(x.add(SCALE).cast::<f32>().read());
        let d = _mm_mul_ps(head.d, da);
        if F::MIN {
            let y = _mm_fmadd_ps(d, _mm_cvtepi32_ps(isum), y);
            _mm_fnmadd_ps(_mm_mul_ps(head.dmin, da), _mm_cvtepi32_ps(side), y)
        } else {
            let by = _mm_cvtsi32_si128(F::OFFSET.trailing_zeros() as i32);
            let isum = _mm_sub_epi32(isum, _mm_sll_epi32(side, by));
            _mm_fmadd_ps(d, _mm_cvtepi32_ps(isum), y)
        }
    }
}
