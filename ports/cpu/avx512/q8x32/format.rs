//! The types, as descriptions that the kernels are compiled for, and how blocks are read.

#![allow(
    clippy::indexing_slicing,
    reason = "arrays that stand for registers, constant indices"
)]

use crate::quant::float4::E2M1_DOUBLED;
use crate::quant::iq::IQ4_VALUES;
use core::arch::x86_64::*;

/// A block format. A weight is what the kernels multiply, a byte without sign, less `OFFSET`.
pub(super) trait Format {
    /// Bytes of a block.
    const BYTES: usize;
    /// Where its integers begin: 32 bytes or 16 of nibbles, byte `j` holding elements `j` (low) and `j + 16`.
    const QUANTS: usize;
    /// Whether elements are nibbles.
    const NIBBLES: bool = true;
    /// What a nibble stands for, if not for itself.
    const TABLE: Option<[u8; 16]> = None;
    /// Whether fifth bits are in the four bytes before the nibbles, element `j`'s in bit `j`.
    const FIFTH: bool = false;
    /// Whether a minimum follows the scale. Such weights have no offset.
    const MIN: bool = false;
    /// Whether the scale is a byte's power of two; else it is a half.
    const POWER: bool = false;
    /// Two places whose next 64 bytes have all nibbles of four blocks, and the halves, on whole words.
    const LOADS: [usize; 2] = [0, (4 * Self::BYTES).saturating_sub(64)];
    /// 128, 16, 8 or 0.
    const OFFSET: u8;
}

pub(super) struct Q8_0;
impl Format for Q8_0 {
    const BYTES: usize = 34;
    const QUANTS: usize = 2;
    const NIBBLES: bool = false;
    const OFFSET: u8 = 128;
}

pub(super) struct Q4_0;
impl Format for Q4_0 {
    const BYTES: usize = 18;
    const QUANTS: usize = 2;
    const OFFSET: u8 = 8;
}

pub(super) struct Q4_1;
impl Format for Q4_1 {
    const BYTES: usize = 20;
    const QUANTS: usize = 4;
    const MIN: bool = true;
    const OFFSET: u8 = 0;
}

pub(super) struct Q5_0;
impl Format for Q5_0 {
    const BYTES: usize = 22;
    const QUANTS: usize = 6;
    const FIFTH: bool = true;
    const OFFSET: u8 = 16;
}

pub(super) struct Q5_1;
impl Format for Q5_1 {
    const BYTES: usize = 24;
    const QUANTS: usize = 8;
    const FIFTH: bool = true;
    const MIN: bool = true;
    const OFFSET: u8 = 0;
}

pub(super) struct Iq4Nl;
impl Format for Iq4Nl {
    const BYTES: usize = 18;
    const QUANTS: usize = 2;
    const TABLE: Option<[u8; 16]> = Some(above(&IQ4_VALUES));
    const OFFSET: u8 = 128;
}

pub(super) struct Mxfp4;
impl Format for Mxfp4 {
    const BYTES: usize = 17;
    const QUANTS: usize = 1;
    const TABLE: Option<[u8; 16]> = Some(above(&E2M1_DOUBLED));
    const POWER: bool = true;
    const LOADS: [usize; 2] = [1, 4];
    const OFFSET: u8 = 128;
}

/// The values plus 128.
const fn above(values: &[i8; 16]) -> [u8; 16] {
    let mut t = [0; 16];
    let mut i = 0;
    while i < 16 {
        t[i] = values[i] as u8 ^ 0x80;
        i += 1;
    }
    t
}

/// The low and high nibbles as bytes to multiply, fifth bits aside.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn nibbles<F: Format>(v: __m512i) -> [__m512i; 2] {
    let low = _mm512_set1_epi8(15);
    let q = [v, _mm512_srli_epi16::<4>(v)].map(|v| _mm512_and_si512(v, low));
    match F::TABLE {
        Some(t) => {
            // SAFETY: sixteen bytes.
            let t = _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(t.as_ptr().cast()) });
            q.map(|q| _mm512_shuffle_epi8(t, q))
        }
        None => q,
    }
}

/// The scales and minima of sixteen blocks, in order. Minima are zero where the format has none.
///
/// # Safety
/// `at(i)` is the block `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
pub(super) unsafe fn scales<F: Format>(at: impl Fn(usize) -> *const u8) -> (__m512, __m512) {
    // SAFETY: the caller's promise.
    unsafe {
        if F::POWER {
            let e = |i: usize| i32::from(*at(i));
            macro_rules! bytes {
                ($v:expr, $($i:literal)*) => {{ let v = $v; $(let v = _mm_insert_epi8::<$i>(v, e($i));)* v }};
            }
            let zero = _mm_setzero_si128();
            let e = bytes!(zero, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
            return (power(_mm512_cvtepu8_epi32(e)), _mm512_setzero_ps());
        }
        if F::MIN {
            let dm = dwords(at);
            let d = _mm512_cvtepi32_epi16(dm);
            let m = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(dm));
            return (_mm512_cvtph_ps(d), _mm512_cvtph_ps(m));
        }
        let half = |i: usize| i32::from(at(i).cast::<i16>().read_unaligned());
        macro_rules! halves {
            ($from:literal: $($i:literal)*) => {{
                let v = _mm_setzero_si128();
                $(let v = _mm_insert_epi16::<$i>(v, half($from + $i));)*
                v
            }};
        }
        let (low, high) = (halves!(0: 0 1 2 3 4 5 6 7), halves!(8: 0 1 2 3 4 5 6 7));
        let d = _mm512_cvtph_ps(_mm256_set_m128i(high, low));
        (d, _mm512_setzero_ps())
    }
}

/// 2^(e - 128), which may be subnormal: `float4::e8m0_halved`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn power(e: __m512i) -> __m512 {
    let e = _mm512_cvtepi32_ps(_mm512_sub_epi32(e, _mm512_set1_epi32(128)));
    _mm512_scalef_ps(_mm512_set1_ps(1.0), e)
}

/// Four bytes of each of sixteen places.
///
/// # Safety
/// They are at `at(i)`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn dwords(at: impl Fn(usize) -> *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    let four = |i: usize| unsafe {
        let word = |j| at(i + j).cast::<i32>().read_unaligned();
        let v = _mm_cvtsi32_si128(word(0));
        let v = _mm_insert_epi32::<1>(v, word(1));
        let v = _mm_insert_epi32::<2>(v, word(2));
        _mm_insert_epi32::<3>(v, word(3))
    };
    let low = _mm256_set_m128i(four(4), four(0));
    let high = _mm256_set_m128i(four(12), four(8));
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}
