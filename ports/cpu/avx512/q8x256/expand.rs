//! Super-blocks of sixteen rows into a tile: bytes are transposed four at a time, then taken apart, so that each
//! instruction serves all rows.

#![allow(
    clippy::indexing_slicing,
    reason = "arrays that stand for registers, indexed by constants once unrolled"
)]

use super::read::IQ4_UNSIGNED;
use super::tile::At;
use super::{Format, Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K};
use crate::cpu::avx512::walk::{STEP, across};
use core::arch::x86_64::*;

/// How a type is expanded.
pub(super) trait Expand: Format {
    /// Fills in the sixteen rows' half of a super-block in a tile.
    ///
    /// # Safety
    /// A super-block is at each of `w`, the half tile, aligned, at `to`; the level is available.
    unsafe fn expand(w: [*const u8; 16], to: *mut u8);
}

/// Sixteen bytes of each row, transposed.
///
/// # Safety
/// They are at `w[i] + at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn across_at(w: &[*const u8; 16], at: usize) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    unsafe { across(|i| w[i].add(at)) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn store(to: *mut u8, at: usize, v: __m512i) {
    // SAFETY: the caller's promise.
    unsafe { _mm512_store_si512(to.add(at).cast(), v) }
}

/// `(v >> DOWN) & mask`, doubleword by doubleword.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn bits<const DOWN: u32>(v: __m512i, mask: u8) -> __m512i {
    _mm512_and_si512(_mm512_srli_epi32::<DOWN>(v), _mm512_set1_epi8(mask as i8))
}

/// The factor in the low words, and the one in the high words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn factors(v: __m512i) -> [__m512i; 2] {
    let float = |v| _mm512_castps_si512(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)));
    [float(v), float(_mm512_srli_epi32::<16>(v))]
}

/// Four unsigned scales of each row, from sub-block `4 i` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn scales<F: Format>(to: *mut u8, i: usize, v: __m512i) {
    // SAFETY: the caller's promise.
    unsafe {
        let at = |j: usize| At::<F>::SCALES + STEP * (4 * i + j);
        let low = _mm512_set1_epi32(0xff);
        store(to, at(0), _mm512_and_si512(v, low));
        store(to, at(1), _mm512_and_si512(_mm512_srli_epi32::<8>(v), low));
        store(to, at(2), _mm512_and_si512(_mm512_srli_epi32::<16>(v), low));
        store(to, at(3), _mm512_srli_epi32::<24>(v));
    }
}

/// Four minima of each row, from sub-block `4 i` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn minima<F: Format>(to: *mut u8, i: usize, v: __m512i) {
    // SAFETY: the caller's promise.
    unsafe {
        let at = |c: usize| At::<F>::SIDE + STEP * (2 * i + c);
        // Bytes 0 and 1 of each doubleword to its words, then 2 and 3.
        let low = _mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1);
        let low = _mm512_broadcast_i32x4(low);
        store(to, at(0), _mm512_shuffle_epi8(v, low));
        store(
            to,
            at(1),
            _mm512_shuffle_epi8(_mm512_srli_epi32::<16>(v), low),
        );
    }
}

/// Four scales with a sign of each row, from sub-block `4 i` on, and what makes up for the offset.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn signed<F: Format>(to: *mut u8, i: usize, v: __m512i) {
    // SAFETY: the caller's promise.
    unsafe {
        let at = |j: usize| At::<F>::SCALES + STEP * (4 * i + j);
        store(
            to,
            at(0),
            _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(v)),
        );
        store(
            to,
            at(1),
            _mm512_srai_epi32::<24>(_mm512_slli_epi32::<16>(v)),
        );
        store(
            to,
            at(2),
            _mm512_srai_epi32::<24>(_mm512_slli_epi32::<8>(v)),
        );
        store(to, at(3), _mm512_srai_epi32::<24>(v));
        let at = |c: usize| At::<F>::SIDE + STEP * (2 * i + c);
        let high = _mm_setr_epi8(-1, 0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13);
        let high = _mm512_broadcast_i32x4(high);
        let by = _mm_cvtsi32_si128(8 - F::OFFSET.trailing_zeros() as i32);
        let less = |v| {
            let times = _mm512_sra_epi16(_mm512_shuffle_epi8(v, high), by);
            _mm512_sub_epi16(_mm512_setzero_si512(), times)
        };
        store(to, at(0), less(v));
        store(to, at(1), less(_mm512_srli_epi32::<16>(v)));
    }
}

/// Factors, scales and minima of Q4_K and Q5_K: the first sixteen bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn head_45<F: Format>(w: &[*const u8; 16], to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let [d, a, b, c] = across_at(w, 0);
        let [d, dmin] = factors(d);
        store(to, At::<F>::D, d);
        store(to, At::<F>::DMIN, dmin);
        let top = |v| bits::<2>(v, 0x30);
        scales::<F>(to, 0, bits::<0>(a, 0x3f));
        scales::<F>(to, 1, _mm512_or_si512(bits::<0>(c, 0x0f), top(a)));
        minima::<F>(to, 0, bits::<0>(b, 0x3f));
        minima::<F>(to, 1, _mm512_or_si512(bits::<4>(c, 0x0f), top(b)));
    }
}

/// Where the four integers from element `e` on are.
const fn element(e: usize) -> usize {
    e / 4 * STEP
}

impl Expand for Q4K {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn expand(w: [*const u8; 16], to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            head_45::<Self>(&w, to);
            for c in 0..8 {
                let q = across_at(&w, 16 + 16 * c);
                // Bytes 32 n + l have elements 64 n + l and 64 n + 32 + l.
                let e = 64 * (c / 2) + 16 * (c % 2);
                for (j, q) in q.into_iter().enumerate() {
                    store(to, element(e + 4 * j), bits::<0>(q, 15));
                    store(to, element(e + 32 + 4 * j), bits::<4>(q, 15));
                }
            }
        }
    }
}

impl Expand for Q5K {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn expand(w: [*const u8; 16], to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            head_45::<Self>(&w, to);
            for half in 0..2 {
                // Bit s of byte l is the fifth bit of element l of sub-block s.
                let mut fifth = across_at(&w, 16 + 16 * half);
                for n in 0..4 {
                    let q = across_at(&w, 48 + 32 * n + 16 * half);
                    let e = 64 * n + 16 * half;
                    for (j, (q, fifth)) in q.into_iter().zip(&mut fifth).enumerate() {
                        let one = |v, by| _mm512_slli_epi32::<4>(_mm512_and_si512(v, by));
                        let low = one(*fifth, _mm512_set1_epi8(1));
                        let high = one(_mm512_srli_epi32::<1>(*fifth), _mm512_set1_epi8(1));
                        store(
                            to,
                            element(e + 4 * j),
                            _mm512_or_si512(bits::<0>(q, 15), low),
                        );
                        store(
                            to,
                            element(e + 32 + 4 * j),
                            _mm512_or_si512(bits::<4>(q, 15), high),
                        );
                        *fifth = _mm512_srli_epi32::<2>(*fifth);
                    }
                }
            }
        }
    }
}

impl Expand for Q6K {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn expand(w: [*const u8; 16], to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let [.., d] = across_at(&w, 194);
            store(to, At::<Self>::D, factors(d)[1]);
            for (i, v) in across_at(&w, 192).into_iter().enumerate() {
                signed::<Self>(to, i, v);
            }
            for n in 0..2 {
                for half in 0..2 {
                    // Elements l, 32 + l, 64 + l and 96 + l of 128.
                    let (a, b) = (
                        across_at(&w, 64 * n + 16 * half),
                        across_at(&w, 64 * n + 32 + 16 * half),
                    );
                    let top = across_at(&w, 128 + 32 * n + 16 * half);
                    let e = 128 * n + 16 * half;
                    for (j, ((a, b), top)) in a.into_iter().zip(b).zip(top).enumerate() {
                        let e = e + 4 * j;
                        let pair = |v| _mm512_and_si512(v, _mm512_set1_epi8(0x30));
                        let or = |low, top| _mm512_or_si512(low, pair(top));
                        store(
                            to,
                            element(e),
                            or(bits::<0>(a, 15), _mm512_slli_epi32::<4>(top)),
                        );
                        store(
                            to,
                            element(e + 32),
                            or(bits::<0>(b, 15), _mm512_slli_epi32::<2>(top)),
                        );
                        store(to, element(e + 64), or(bits::<4>(a, 15), top));
                        store(
                            to,
                            element(e + 96),
                            or(bits::<4>(b, 15), _mm512_srli_epi32::<2>(top)),
                        );
                    }
                }
            }
        }
    }
}

impl Expand for Q2K {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn expand(w: [*const u8; 16], to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let [.., d] = across_at(&w, 68);
            let [d, dmin] = factors(d);
            store(to, At::<Self>::D, d);
            store(to, At::<Self>::DMIN, dmin);
            for (i, v) in across_at(&w, 0).into_iter().enumerate() {
                scales::<Self>(to, i, bits::<0>(v, 15));
                minima::<Self>(to, i, bits::<4>(v, 15));
            }
            for c in 0..4 {
                let e = 128 * (c / 2) + 16 * (c % 2);
                for (j, q) in across_at(&w, 16 + 16 * c).into_iter().enumerate() {
                    let e = e + 4 * j;
                    store(to, element(e), bits::<0>(q, 3));
                    store(to, element(e + 32), bits::<2>(q, 3));
                    store(to, element(e + 64), bits::<4>(q, 3));
                    store(to, element(e + 96), bits::<6>(q, 3));
                }
            }
        }
    }
}

impl Expand for Q3K {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn expand(w: [*const u8; 16], to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let [.., d] = across_at(&w, 94);
            store(to, At::<Self>::D, factors(d)[1]);
            let [_, a, b, top] = across_at(&w, 92);
            let scale = |low, top| {
                let v = _mm512_or_si512(low, _mm512_slli_epi32::<4>(top));
                _mm512_sub_epi8(v, _mm512_set1_epi8(32))
            };
            signed::<Self>(to, 0, scale(bits::<0>(a, 15), bits::<0>(top, 3)));
            signed::<Self>(to, 1, scale(bits::<0>(b, 15), bits::<2>(top, 3)));
            signed::<Self>(to, 2, scale(bits::<4>(a, 15), bits::<4>(top, 3)));
            signed::<Self>(to, 3, scale(bits::<4>(b, 15), bits::<6>(top, 3)));
            for half in 0..2 {
                // Bit s of byte l is the third bit of element 32 s + l.
                let mut third = across_at(&w, 16 * half);
                for n in 0..2 {
                    let q = across_at(&w, 32 + 32 * n + 16 * half);
                    let e = 128 * n + 16 * half;
                    for (j, (q, third)) in q.into_iter().zip(&mut third).enumerate() {
                        let e = e + 4 * j;
                        let bit = |v| _mm512_and_si512(v, _mm512_set1_epi8(4));
                        let or = |low, top| _mm512_or_si512(low, bit(top));
                        store(
                            to,
                            element(e),
                            or(bits::<0>(q, 3), _mm512_slli_epi32::<2>(*third)),
                        );
                        store(
                            to,
                            element(e + 32),
                            or(bits::<2>(q, 3), _mm512_slli_epi32::<1>(*third)),
                        );
                        store(to, element(e + 64), or(bits::<4>(q, 3), *third));
                        store(
                            to,
                            element(e + 96),
                            or(bits::<6>(q, 3), _mm512_srli_epi32::<1>(*third)),
                        );
                        *third = _mm512_srli_epi32::<4>(*third);
                    }
                }
            }
        }
    }
}

impl Expand for Iq4Xs {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn expand(w: [*const u8; 16], to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            let [d, low, ..] = across_at(&w, 0);
            store(to, At::<Self>::D, factors(d)[0]);
            let top = _mm512_srli_epi32::<16>(d);
            for i in 0..2 {
                // Scales 4 i to 4 i + 3: nibbles of word i, pairs of bits of byte i, each to a byte of its own.
                let gather = |v: __m512i, step: i32, mask: i32| {
                    let mut all = _mm512_setzero_si512();
                    for j in 0..4 {
                        let one = _mm512_srl_epi32(v, _mm_cvtsi32_si128(step * j));
                        let one = _mm512_and_si512(one, _mm512_set1_epi32(mask));
                        all = _mm512_or_si512(all, _mm512_sll_epi32(one, _mm_cvtsi32_si128(8 * j)));
                    }
                    all
                };
                let low = gather(_mm512_srl_epi32(low, _mm_cvtsi32_si128(16 * i)), 4, 15);
                let top = gather(_mm512_srl_epi32(top, _mm_cvtsi32_si128(8 * i)), 2, 3);
                let scale = _mm512_or_si512(low, _mm512_slli_epi32::<4>(top));
                signed::<Self>(to, i as usize, _mm512_sub_epi8(scale, _mm512_set1_epi8(32)));
            }
            let values = _mm512_broadcast_i32x4(_mm_loadu_si128(IQ4_UNSIGNED.as_ptr().cast()));
            for s in 0..8 {
                for (j, q) in across_at(&w, 8 + 16 * s).into_iter().enumerate() {
                    let e = 32 * s + 4 * j;
                    store(
                        to,
                        element(e),
                        _mm512_shuffle_epi8(values, bits::<0>(q, 15)),
                    );
                    store(
                        to,
                        element(e + 16),
                        _mm512_shuffle_epi8(values, bits::<4>(q, 15)),
                    );
                }
            }
        }
    }
}
