//! Activations, prepared once for all six types: a record for each super-block.
//!
//! | bytes    | what |
//! |----------|------|
//! | 0..256   | the integers |
//! | 256..288 | 16 i16: sums of each 16 |
//! | 288..304 | 8 i16: sums of each 32 |
//! | 304..308 | the scale, a float |
//! | 320..576 | the integers once more, sub-blocks of 32 in the order 0 2, 1 3, 4 6, 5 7: as the nibbles of Q4_K and Q5_K lie |

use core::arch::x86_64::*;
use core::array::from_fn;

/// Bytes of a record.
pub(super) const RECORD: usize = 576;
/// Where parts of a record begin.
pub(super) const SUMS_16: usize = 256;
pub(super) const SUMS_32: usize = 288;
pub(super) const SCALE: usize = 304;
pub(super) const NIBBLES: usize = 320;

pub(in super::super) fn act_row_bytes(k: usize) -> usize {
    k.div_ceil(256).saturating_mul(RECORD)
}

/// # Safety
/// As the slot.
pub(in super::super) unsafe fn prepare_act(x: &[f32], dst: *mut u8) {
    for (i, x) in x.chunks(256).enumerate() {
        // SAFETY: the caller's promise: a record for each 256 elements, and the level.
        unsafe {
            let to = dst.add(i * RECORD);
            if let Some(x) = x.first_chunk::<256>() {
                record(x, to);
            } else {
                let mut full = [0.0; 256];
                full.iter_mut().zip(x).for_each(|(to, x)| *to = *x);
                record(&full, to);
            }
        }
    }
}

/// # Safety
/// An aligned record is at `to`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn record(x: &[f32; 256], to: *mut u8) {
    // SAFETY: the caller's promise, and the array's length.
    unsafe {
        let x: [__m512; 16] = from_fn(|i| _mm512_loadu_ps(x.as_ptr().add(16 * i)));
        // The largest magnitude, as an integer: NaNs are above infinity.
        let clear = _mm512_set1_epi32(0x7fff_ffff);
        let top = x.iter().fold(_mm512_setzero_si512(), |top, &x| {
            _mm512_max_epi32(top, _mm512_and_si512(_mm512_castps_si512(x), clear))
        });
        let top = _mm512_reduce_max_epi32(top);
        // As `matmul::quantize` has it: NaN where anything is infinite, 0 where the inverse could overflow.
        let wild = top >= 0x7f80_0000;
        let mut d = f32::from_bits(top as u32) / 127.0;
        let mut inverse = 1.0 / d;
        if wild || d < f32::MIN_POSITIVE {
            d = if wild { f32::NAN } else { 0.0 };
            inverse = 0.0;
        }
        // Ties to even, within 127; an infinity or NaN times zero converts to a number whose low byte is zero.
        let inverse = _mm512_set1_ps(inverse);
        for (i, &x) in x.iter().enumerate() {
            let q = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
            _mm_store_si128(to.add(16 * i).cast(), _mm512_cvtepi32_epi8(q));
        }
        let quants = |i: usize| _mm512_load_si512(to.add(64 * i).cast());
        let (a, b, c, e) = (quants(0), quants(1), quants(2), quants(3));
        let order = [
            _mm512_shuffle_i32x4::<0b01_00_01_00>(a, b),
            _mm512_shuffle_i32x4::<0b11_10_11_10>(a, b),
            _mm512_shuffle_i32x4::<0b01_00_01_00>(c, e),
            _mm512_shuffle_i32x4::<0b11_10_11_10>(c, e),
        ];
        for (i, v) in order.into_iter().enumerate() {
            _mm512_store_si512(to.add(NIBBLES + 64 * i).cast(), v);
        }
        // Sums of fours, then of 16 and of 32.
        let (ones, zero) = (_mm512_set1_epi8(1), _mm512_setzero_si512());
        let fours: [__m512i; 4] = from_fn(|i| _mm512_dpbusd_epi32(zero, ones, quants(i)));
        // Pairs of vectors as words: in each lane four sums of one and four of the other.
        let words = |a, b| _mm512_madd_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(1));
        let (a, b) = (words(fours[0], fours[1]), words(fours[2], fours[3]));
        // Two 32-bit sums for each run of 16: lane L has runs L, 4 + L (a) and 8 + L, 12 + L (b).
        let c = _mm512_madd_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(1));
        // Lane L: runs L, 4 + L, 8 + L, 12 + L. Transposed: ascending.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let runs = _mm512_permutexvar_epi32(order, c);
        let runs = _mm512_cvtepi32_epi16(runs);
        _mm256_store_si256(to.add(SUMS_16).cast(), runs);
        let twos = _mm256_madd_epi16(runs, _mm256_set1_epi16(1));
        _mm_store_si128(to.add(SUMS_32).cast(), _mm256_cvtepi32_epi16(twos));
        to.add(SCALE).cast::<f32>().write(d);
    }
}
