//! Activations, prepared once for all seven types.
//!
//! A row has two parts, each a sequence of records of four blocks, the last one filled up with zeros. Tiles read
//! the first part only, which keeps what they stream small:
//!
//! | bytes   | what |
//! |---------|------|
//! | 0..128  | the integers |
//! | 128..192| the four scales; their sums times -128; their sums as floats; nothing |
//!
//! And the second part:
//!
//! | bytes   | what |
//! |---------|------|
//! | 0..128  | the integers, the first halves of the four blocks before the second halves: as nibbles lie in weights |
//! | 128..192| each block's scale four times: lanes of four weight rows |
//! | 192..256| -8 times the sums of 4 + 4 elements that meet in a lane when halves are multiplied |
//!
//! Multiplying bytes takes one factor without a sign, so signed weights get an offset, and the sums times the
//! offset are where integer sums start.

#![allow(
    clippy::indexing_slicing,
    reason = "arrays that stand for registers, constant indices"
)]

use crate::cpu::avx512::walk::tree;
use core::arch::x86_64::*;

/// Bytes of a record of the first part, and where its parts begin.
pub(super) const RECORD: usize = 192;
pub(super) const SCALES: usize = 128;
pub(super) const LESS_128: usize = 144;
pub(super) const SUMS: usize = 160;
/// The same of the second part.
pub(super) const LANES: usize = 256;
pub(super) const LANES_SCALES: usize = 128;
pub(super) const LANES_STARTS: usize = 192;

/// Where the second part of a row of so many blocks begins.
pub(super) fn lanes_at(blocks: usize) -> usize {
    blocks.div_ceil(4) * RECORD
}

pub(in super::super) fn act_row_bytes(k: usize) -> usize {
    k.div_ceil(128).saturating_mul(RECORD + LANES)
}

/// # Safety
/// As the slot.
pub(in super::super) unsafe fn prepare_act(x: &[f32], dst: *mut u8) {
    let second = lanes_at(x.len().div_ceil(32));
    for (i, x) in x.chunks(128).enumerate() {
        // SAFETY: the caller's promise: a record for each 128 elements, and the level.
        unsafe {
            let to = dst.add(i * RECORD);
            let lanes = dst.add(second + i * LANES);
            if let Some(x) = x.first_chunk::<128>() {
                record(x.as_ptr(), to, lanes);
            } else {
                let mut full = [0.0f32; 128];
                for (to, x) in full.iter_mut().zip(x) {
                    *to = *x;
                }
                record(full.as_ptr(), to, lanes);
            }
        }
    }
}

/// # Safety
/// 128 floats are at `x`, aligned records at `to` and `lanes`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn record(x: *const f32, to: *mut u8, lanes: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        let load = |i: usize| _mm512_loadu_ps(x.add(16 * i));
        let x: [__m512; 8] = core::array::from_fn(load);
        // The largest magnitudes, as integers: NaNs are above infinity. Lane by lane, then across.
        let clear = _mm512_set1_epi32(0x7fff_ffff);
        let top: [__m512i; 4] = core::array::from_fn(|b| {
            let low = _mm512_and_si512(_mm512_castps_si512(x[2 * b]), clear);
            let high = _mm512_and_si512(_mm512_castps_si512(x[2 * b + 1]), clear);
            _mm512_max_epi32(low, high)
        });
        let top = tree(top, |a, b| _mm512_max_epi32(a, b));
        let top = _mm512_max_epi32(top, _mm512_shuffle_i32x4::<0b01_00_11_10>(top, top));
        let top = _mm512_max_epi32(top, _mm512_shuffle_i32x4::<0b10_11_00_01>(top, top));
        let top = _mm512_castsi512_si128(top);
        // As `matmul::quantize` has it: NaN where anything is infinite, 0 where the inverse could overflow.
        let wild = _mm_cmpge_epi32_mask(top, _mm_set1_epi32(0x7f80_0000));
        let d = _mm_div_ps(_mm_castsi128_ps(top), _mm_set1_ps(127.0));
        let tiny = _mm_cmp_ps_mask::<_CMP_LT_OQ>(d, _mm_set1_ps(f32::MIN_POSITIVE));
        let inverse = _mm_maskz_div_ps(!(wild | tiny), _mm_set1_ps(1.0), d);
        let d = _mm_maskz_mov_ps(!tiny, d);
        let d = _mm_mask_mov_ps(d, wild, _mm_set1_ps(f32::NAN));
        let replicate = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
        let each = _mm512_permutexvar_ps(replicate, _mm512_castps128_ps512(d));
        _mm512_store_ps(lanes.add(LANES_SCALES).cast(), each);
        _mm_store_ps(to.add(SCALES).cast(), d);

        // Ties to even, within 127; an infinity or NaN times zero converts to a number whose low byte is zero.
        let inverse = _mm512_castps128_ps512(inverse);
        let integers = |i: usize| {
            let each = _mm512_permutexvar_ps(_mm512_set1_epi32(i as i32 / 2), inverse);
            _mm512_cvtps_epi32(_mm512_mul_ps(x[i], each))
        };
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let low_byte = _mm512_set1_epi32(0xff);
        let pairs: [__m512i; 2] = core::array::from_fn(|i| {
            // Without a sign, the narrowing keeps low bytes.
            let q = |j| _mm512_and_si512(integers(4 * i + j), low_byte);
            let a = _mm512_packus_epi32(q(0), q(1));
            let b = _mm512_packus_epi32(q(2), q(3));
            _mm512_permutexvar_epi32(order, _mm512_packus_epi16(a, b))
        });
        let [a, b] = pairs;
        let low = _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b);
        let high = _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b);
        _mm512_store_si512(to.cast(), a);
        _mm512_store_si512(to.add(64).cast(), b);
        _mm512_store_si512(lanes.cast(), low);
        _mm512_store_si512(lanes.add(64).cast(), high);

        let zero = _mm512_setzero_si512();
        let ones = _mm512_set1_epi8(1);
        let sums = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, ones, low), ones, high);
        let starts = _mm512_slli_epi32::<3>(_mm512_sub_epi32(zero, sums));
        _mm512_store_si512(lanes.add(LANES_STARTS).cast(), starts);
        let sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32::<0b01_00_11_10>(sums));
        let sums = _mm512_add_epi32(sums, _mm512_shuffle_epi32::<0b10_11_00_01>(sums));
        let first = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
        let sums = _mm512_castsi512_si128(_mm512_permutexvar_epi32(first, sums));
        let less = _mm_slli_epi32::<7>(_mm_sub_epi32(_mm_setzero_si128(), sums));
        _mm_store_si128(to.add(LESS_128).cast(), less);
        _mm_store_ps(to.add(SUMS).cast(), _mm_cvtepi32_ps(sums));
        // Never read, but whoever compares rows sees the same bytes.
        _mm_store_si128(to.add(SUMS + 16).cast(), _mm_setzero_si128());
    }
}
