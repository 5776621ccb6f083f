//! Super-blocks as they lie in the file, for one pass.
//!
//! Integers come unsigned, 64 to a vector, in an order that costs least; activations are loaded to match. Products of
//! four neighbours fit a word for all types but IQ4_XS, so that two vectors of sums become one of words, and one
//! `vpdpwssd` multiplies them by the scales of their sub-blocks.

#![allow(
    clippy::indexing_slicing,
    reason = "arrays that stand for registers, indexed by constants once unrolled"
)]

use super::act::NIBBLES;
use super::{Format, Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K};
use crate::cpu::avx512::walk::lanes;
use core::arch::x86_64::*;

/// What four rows have once per super-block: a row to each lane of 128 bits.
pub(super) struct Head {
    /// Scales of sub-blocks as words, eight and eight, where [`Read::PLACES`] says.
    pub scales: [__m512i; 2],
    /// As words, to be multiplied with sums of activations: minima, or scales. The first eight and the second.
    pub side: [__m512i; 2],
    /// The factors.
    pub d: __m128,
    /// Those of the minima.
    pub dmin: __m128,
}

/// How a type is read.
pub(super) trait Read: Format + Sized {
    /// # Safety
    /// A super-block is at each of `w`.
    unsafe fn head(w: [*const u8; 4]) -> Head;
    /// All integers of a super-block.
    ///
    /// # Safety
    /// It is at `w`.
    unsafe fn quants(w: *const u8) -> [__m512i; 4];
    /// Activations in the same order.
    ///
    /// # Safety
    /// A record is at `x`.
    unsafe fn acts(x: *const u8) -> [__m512i; 4];
    /// Of the words that `packs` leaves of the first two vectors, and of the last two: which of the eight scales belong
    /// to the first vector's lanes, then to the second's.
    const PLACES: [[i16; 8]; 2];
    /// Which of the head's vectors of scales each of them takes.
    const FROM: [usize; 2] = [0, 1];
    /// Row `R`'s scales as [`Self::sums`] wants them.
    ///
    /// # Safety
    /// The level is available.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn scales<const R: usize>(head: &Head) -> [__m512i; 2] {
        let spread = const { &Spread::<Self>::TABLE[R] };
        [0, 1].map(|i| {
            // SAFETY: a table is as long as a vector.
            let order = unsafe { _mm512_loadu_si512(spread[i].as_ptr().cast()) };
            _mm512_permutexvar_epi16(order, head.scales[Self::FROM[i]])
        })
    }
    /// Sixteen sums that add up to the sum over sub-blocks of scale times products.
    ///
    /// # Safety
    /// The level is available.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn sums(q: [__m512i; 4], a: [__m512i; 4], scale: [__m512i; 2]) -> __m512i {
        let z = _mm512_setzero_si512();
        let p = |i: usize| _mm512_dpbusd_epi32(z, q[i], a[i]);
        let s = _mm512_dpwssd_epi32(z, _mm512_packs_epi32(p(0), p(1)), scale[0]);
        _mm512_dpwssd_epi32(s, _mm512_packs_epi32(p(2), p(3)), scale[1])
    }
}

/// Sixteen bytes of each of four rows.
///
/// # Safety
/// They are at `w[i] + at`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn lanes_at(w: [*const u8; 4], at: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { lanes(w.map(|w| w.add(at))) }
}

/// The first doubleword of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn firsts(v: __m512i) -> __m128i {
    let first = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    _mm512_castsi512_si128(_mm512_permutexvar_epi32(first, v))
}

/// A doubleword of each row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn dwords(w: [*const u8; 4], at: usize) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let word = |i: usize| w[i].add(at).cast::<i32>().read_unaligned();
        _mm_setr_epi32(word(0), word(1), word(2), word(3))
    }
}

/// Halves in the low words, and in the high words, as floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn factors(v: __m128i) -> (__m128, __m128) {
    (
        _mm_cvtph_ps(_mm_cvtepi32_epi16(v)),
        _mm_cvtph_ps(_mm_cvtepi32_epi16(_mm_srli_epi32::<16>(v))),
    )
}

/// Sixteen bytes in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn every(b: [i8; 16]) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(b.as_ptr().cast())) }
}

/// Two halves of 32 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn two(low: *const u8, high: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm512_castsi256_si512(_mm256_loadu_si256(low.cast()));
        _mm512_inserti64x4::<1>(low, _mm256_loadu_si256(high.cast()))
    }
}

/// 32 bytes, twice.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn twice(p: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_broadcast_i64x4(_mm256_loadu_si256(p.cast())) }
}

/// A number of bits for the words of each half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn halves(low: i16, high: i16) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_set1_epi16(low), _mm256_set1_epi16(high))
}

/// `a | (b & mask)`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn or_masked(a: __m512i, b: __m512i, mask: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0b1111_1000>(a, b, mask)
}

/// Where the words of scales come from, for each row.
struct Spread<F>(core::marker::PhantomData<F>);

impl<F: Read> Spread<F> {
    const TABLE: [[[i16; 32]; 2]; 4] = {
        let mut t = [[[0; 32]; 2]; 4];
        let mut i = 0;
        while i < 256 {
            let (row, pair, word) = (i / 64, i / 32 % 2, i % 32);
            // Each lane has four words of the first vector's and four of the second's.
            let place = F::PLACES[pair][word / 8 + word % 8 / 4 * 4];
            t[row][pair][word] = 8 * row as i16 + place;
            i += 1;
        }
        t
    };
}

/// In order: four lanes of the first vector, four of the second.
const ASCENDING: [[i16; 8]; 2] = [[0, 1, 2, 3, 4, 5, 6, 7]; 2];

/// Scales and minima of six bits, as Q4_K and Q5_K have them behind their factors: eight scales in a lane's first eight
/// bytes, eight minima in the last.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn six_bits(w: [*const u8; 4]) -> (__m512i, __m128i) {
    // SAFETY: the caller's promise.
    unsafe {
        let v = lanes_at(w, 0);
        // Bytes 4 to 7 and 8 to 11 have six bits as they stand; 12 to 15 have low nibbles of the upper scales and minima,
        // whose upper two bits are above the others.
        let low = _mm512_shuffle_epi8(
            v,
            every([4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15]),
        );
        let low = _mm512_srlv_epi32(low, _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0, 4)));
        let low = _mm512_and_si512(
            low,
            _mm512_broadcast_i32x4(_mm_setr_epi32(
                0x3f3f_3f3f,
                0x0f0f_0f0f,
                0x3f3f_3f3f,
                0x0f0f_0f0f,
            )),
        );
        let top = _mm512_shuffle_epi8(
            v,
            every([-1, -1, -1, -1, 4, 5, 6, 7, -1, -1, -1, -1, 8, 9, 10, 11]),
        );
        let top = _mm512_srli_epi32::<2>(top);
        (or_masked(low, top, _mm512_set1_epi8(0x30)), firsts(v))
    }
}

/// The head of Q4_K and Q5_K.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn head_45(w: [*const u8; 4]) -> Head {
    // SAFETY: the caller's promise.
    unsafe {
        let (scales, d) = six_bits(w);
        let (d, dmin) = factors(d);
        let zero = _mm512_setzero_si512();
        Head {
            scales: [_mm512_unpacklo_epi8(scales, zero), zero],
            side: [_mm512_unpackhi_epi8(scales, zero), zero],
            d,
            dmin,
        }
    }
}

/// Sub-blocks of nibbles: the low ones of 64 bytes are sub-blocks 0 and 2, the high ones 1 and 3.
const PLACES_45: [[i16; 8]; 2] = [[0, 0, 2, 2, 1, 1, 3, 3], [4, 4, 6, 6, 5, 5, 7, 7]];

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn acts_45(x: *const u8) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    [0, 1, 2, 3].map(|i| unsafe { _mm512_loadu_si512(x.add(NIBBLES + 64 * i).cast()) })
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn nibbles(v: __m512i) -> [__m512i; 2] {
    let low = _mm512_set1_epi8(15);
    [
        _mm512_and_si512(v, low),
        _mm512_and_si512(_mm512_srli_epi16::<4>(v), low),
    ]
}

impl Read for Q4K {
    const PLACES: [[i16; 8]; 2] = PLACES_45;
    const FROM: [usize; 2] = [0, 0];
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn head(w: [*const u8; 4]) -> Head {
        // SAFETY: the caller's promise.
        unsafe { head_45(w) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn quants(w: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b] = nibbles(_mm512_loadu_si512(w.add(16).cast()));
            let [c, d] = nibbles(_mm512_loadu_si512(w.add(80).cast()));
            [a, b, c, d]
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn acts(x: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe { acts_45(x) }
    }
}

impl Read for Q5K {
    const PLACES: [[i16; 8]; 2] = PLACES_45;
    const FROM: [usize; 2] = [0, 0];
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn head(w: [*const u8; 4]) -> Head {
        // SAFETY: the caller's promise.
        unsafe { head_45(w) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn quants(w: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            // Bit s of byte l is the fifth bit of element l of sub-block s: it goes to bit 4.
            let (bits, sixteen) = (twice(w.add(16)), _mm512_set1_epi8(16));
            let [a, b] = nibbles(_mm512_loadu_si512(w.add(48).cast()));
            let [c, d] = nibbles(_mm512_loadu_si512(w.add(112).cast()));
            [
                or_masked(a, _mm512_sllv_epi16(bits, halves(4, 2)), sixteen),
                or_masked(b, _mm512_sllv_epi16(bits, halves(3, 1)), sixteen),
                or_masked(c, _mm512_srlv_epi16(bits, halves(0, 2)), sixteen),
                or_masked(d, _mm512_srlv_epi16(bits, halves(1, 3)), sixteen),
            ]
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn acts(x: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe { acts_45(x) }
    }
}

/// Bytes with a sign as words: the first eight of each lane, and the second.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn words(v: __m512i) -> [__m512i; 2] {
    [
        _mm512_srai_epi16::<8>(_mm512_unpacklo_epi8(v, v)),
        _mm512_srai_epi16::<8>(_mm512_unpackhi_epi8(v, v)),
    ]
}

impl Read for Q6K {
    const PLACES: [[i16; 8]; 2] = ASCENDING;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn head(w: [*const u8; 4]) -> Head {
        // SAFETY: the caller's promise.
        unsafe {
            let scales = lanes_at(w, 192);
            // The factor is the last two bytes of the super-block.
            let (_, d) = factors(dwords(w, 206));
            let scales = words(scales);
            Head {
                scales,
                side: scales,
                d,
                dmin: d,
            }
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn quants(w: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let top = _mm512_set1_epi8(0x30);
            let half = |n: usize| {
                let [low, high] = nibbles(_mm512_loadu_si512(w.add(64 * n).cast()));
                // Pairs of bits of elements l, 32 + l, 64 + l, 96 + l.
                let bits = twice(w.add(128 + 32 * n));
                [
                    or_masked(low, _mm512_sllv_epi16(bits, halves(4, 2)), top),
                    or_masked(high, _mm512_srlv_epi16(bits, halves(0, 2)), top),
                ]
            };
            let ([a, b], [c, d]) = (half(0), half(1));
            [a, b, c, d]
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn acts(x: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe { [0, 64, 128, 192].map(|at| _mm512_loadu_si512(x.add(at).cast())) }
    }
}

/// Pairs of bits of 32 bytes: layer s of the first 32 bytes is elements 32 s and following, of the second 128 + 32 s.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn layers(v: __m512i) -> [__m512i; 4] {
    let low = _mm512_set1_epi8(3);
    [
        _mm512_and_si512(v, low),
        _mm512_and_si512(_mm512_srli_epi16::<2>(v), low),
        _mm512_and_si512(_mm512_srli_epi16::<4>(v), low),
        _mm512_and_si512(_mm512_srli_epi16::<6>(v), low),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn acts_layers(x: *const u8) -> [__m512i; 4] {
    // SAFETY: the caller's promise.
    unsafe { [0, 32, 64, 96].map(|at| two(x.add(at), x.add(at + 128))) }
}

/// Scales in the order of layers: those of the first two vectors' lanes, then of the last two's.
const LAYERED: [i8; 16] = [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15];

impl Read for Q2K {
    const PLACES: [[i16; 8]; 2] = ASCENDING;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn head(w: [*const u8; 4]) -> Head {
        // SAFETY: the caller's promise.
        unsafe {
            let [scales, mins] = nibbles(lanes_at(w, 0));
            let (d, dmin) = factors(dwords(w, 80));
            let zero = _mm512_setzero_si512();
            let words = |v| [_mm512_unpacklo_epi8(v, zero), _mm512_unpackhi_epi8(v, zero)];
            Head {
                scales: words(_mm512_shuffle_epi8(scales, every(LAYERED))),
                side: words(mins),
                d,
                dmin,
            }
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn quants(w: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe { layers(_mm512_loadu_si512(w.add(16).cast())) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn acts(x: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe { acts_layers(x) }
    }
}

impl Read for Q3K {
    const PLACES: [[i16; 8]; 2] = ASCENDING;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn head(w: [*const u8; 4]) -> Head {
        // SAFETY: the caller's promise.
        unsafe {
            // Twelve bytes at 96, read from 94 on: the super-block ends with the factor, at 108.
            let v = lanes_at(w, 94);
            let low =
                _mm512_shuffle_epi8(v, every([2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9]));
            let low = _mm512_srlv_epi32(low, _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 4, 4)));
            let low = _mm512_and_si512(low, _mm512_set1_epi8(15));
            let top = _mm512_shuffle_epi8(
                v,
                every([
                    10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13,
                ]),
            );
            let top = _mm512_srlv_epi32(top, _mm512_broadcast_i32x4(_mm_setr_epi32(0, 2, 4, 6)));
            let top = _mm512_slli_epi32::<4>(_mm512_and_si512(top, _mm512_set1_epi8(3)));
            let scales = _mm512_sub_epi8(_mm512_or_si512(low, top), _mm512_set1_epi8(32));
            let (_, d) = factors(dwords(w, 106));
            Head {
                scales: words(_mm512_shuffle_epi8(scales, every(LAYERED))),
                side: words(scales),
                d,
                dmin: d,
            }
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn quants(w: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, b, c, d] = layers(_mm512_loadu_si512(w.add(32).cast()));
            // Bit s of byte l belongs to element 32 s + l; the upper four to the second half.
            let bits = _mm512_srlv_epi16(twice(w), halves(0, 4));
            let four = _mm512_set1_epi8(4);
            [
                or_masked(a, _mm512_slli_epi16::<2>(bits), four),
                or_masked(b, _mm512_slli_epi16::<1>(bits), four),
                or_masked(c, bits, four),
                or_masked(d, _mm512_srli_epi16::<1>(bits), four),
            ]
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn acts(x: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe { acts_layers(x) }
    }
}

/// [`crate::quant::iq::IQ4_VALUES`] with 128 added.
pub(super) const IQ4_UNSIGNED: [i8; 16] = {
    let mut t = crate::quant::iq::IQ4_VALUES;
    let mut i = 0;
    while i < 16 {
        t[i] = (t[i] as u8 ^ 0x80) as i8;
        i += 1;
    }
    t
};

impl Read for Iq4Xs {
    const PLACES: [[i16; 8]; 2] = [[0, 1, 2, 3, 0, 1, 2, 3], [4, 5, 6, 7, 4, 5, 6, 7]];
    const FROM: [usize; 2] = [0, 0];
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn head(w: [*const u8; 4]) -> Head {
        // SAFETY: the caller's promise.
        unsafe {
            let v = lanes_at(w, 0);
            // Nibbles at bytes 4 to 7, even scales low; pairs of bits in the word at byte 2.
            let low = _mm512_shuffle_epi8(
                v,
                every([4, 4, 5, 5, 6, 6, 7, 7, -1, -1, -1, -1, -1, -1, -1, -1]),
            );
            let odd = _mm512_set1_epi16(0xff00u16 as i16);
            let fifteen = _mm512_set1_epi8(15);
            let shifted = _mm512_and_si512(_mm512_srli_epi16::<4>(low), odd);
            let low = _mm512_and_si512(
                _mm512_ternarylogic_epi32::<0b1100_1010>(odd, shifted, low),
                fifteen,
            );
            let top = _mm512_shuffle_epi8(
                v,
                every([2, -1, 2, -1, 2, -1, 2, -1, 3, -1, 3, -1, 3, -1, 3, -1]),
            );
            let by = _mm512_broadcast_i32x4(_mm_setr_epi16(0, 2, 4, 6, 0, 2, 4, 6));
            let top = _mm512_and_si512(_mm512_srlv_epi16(top, by), _mm512_set1_epi16(3));
            let top = _mm512_packus_epi16(_mm512_slli_epi16::<4>(top), _mm512_setzero_si512());
            let scales = _mm512_sub_epi8(_mm512_or_si512(low, top), _mm512_set1_epi8(32));
            let (d, _) = factors(firsts(v));
            let scales = words(scales);
            Head {
                scales,
                side: scales,
                d,
                dmin: d,
            }
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn quants(w: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let values = every(IQ4_UNSIGNED);
            let [a, b] = nibbles(_mm512_loadu_si512(w.add(8).cast()));
            let [c, d] = nibbles(_mm512_loadu_si512(w.add(72).cast()));
            [a, b, c, d].map(|q| _mm512_shuffle_epi8(values, q))
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn acts(x: *const u8) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            // The first halves of four sub-blocks, then the second halves.
            let load = |at: usize| _mm512_loadu_si512(x.add(at).cast());
            let (a, b, c, d) = (load(0), load(64), load(128), load(192));
            [
                _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
                _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d),
                _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d),
            ]
        }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
    unsafe fn sums(q: [__m512i; 4], a: [__m512i; 4], scale: [__m512i; 2]) -> __m512i {
        // Products of four bytes do not fit a word here.
        let z = _mm512_setzero_si512();
        let s =
            |i: usize| _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(z, q[i], a[i]), q[i + 1], a[i + 1]);
        // Every scale is in both words of a doubleword.
        let [a, b] = scale.map(|s| _mm512_srai_epi32::<16>(s));
        _mm512_add_epi32(_mm512_mullo_epi32(s(0), a), _mm512_mullo_epi32(s(2), b))
    }
}
