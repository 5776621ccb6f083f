//! The K formats: super-blocks of 256 elements whose sub-blocks of 16 or 32 have small integer
//! scales (and minima), multiplied by one half each for the super-block. And Q8_K, their counterpart
//! for activations.
//!
//! Layouts: ggml-common.h. The order of the float operations is ggml's: first the sub-block's scale,
//! then the element, then the minimum.
#![allow(
    clippy::indexing_slicing,
    reason = "arrays of fixed size, indices within them whatever the data"
)]

use super::half_at;

/// `[u8; 16] scale and minimum nibbles, [u8; 64] quants, f16 d, f16 dmin`; sub-blocks of 16.
pub(super) fn q2_k(b: &[u8; 84], y: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 80), half_at(b, 82));
    for sub in 0..16 {
        let scale = d * f32::from(b[sub] & 15);
        let min = dmin * f32::from(b[sub] >> 4);
        // Two runs of 32 bytes; each run holds four layers of 32 elements, two bits apart.
        let (at, shift) = (16 + 32 * (sub / 8) + 16 * (sub % 2), sub / 2 % 4 * 2);
        for l in 0..16 {
            y[16 * sub + l] = scale * f32::from(b[at + l] >> shift & 3) - min;
        }
    }
}

/// `[u8; 32] third bits, [u8; 64] low bits, [u8; 12] packed scales, f16 d`; sub-blocks of 16.
pub(super) fn q3_k(b: &[u8; 110], y: &mut [f32; 256]) {
    let d = half_at(b, 108);
    for sub in 0..16 {
        // Scales have six bits: four in the first eight bytes, two in the last four.
        let low = b[96 + sub % 8] >> (4 * (sub / 8)) & 15;
        let high = b[104 + sub % 4] >> (2 * (sub / 4)) & 3;
        let scale = d * (i32::from(low | high << 4) - 32) as f32;
        let (at, shift) = (32 + 32 * (sub / 8) + 16 * (sub % 2), sub / 2 % 4 * 2);
        let (mask_at, bit) = (16 * (sub % 2), sub / 2);
        for l in 0..16 {
            let low = b[at + l] >> shift & 3;
            let high = b[mask_at + l] >> bit & 1;
            y[16 * sub + l] = scale * (i32::from(low | high << 2) - 4) as f32;
        }
    }
}

/// Scale and minimum of sub-block `j` of 8, six bits each, out of the twelve bytes of Q4_K and Q5_K.
#[inline]
fn scale_min(s: &[u8; 12], j: usize) -> (f32, f32) {
    let (scale, min) = if j < 4 {
        (s[j] & 63, s[j + 4] & 63)
    } else {
        (
            s[j + 4] & 15 | s[j - 4] >> 6 << 4,
            s[j + 4] >> 4 | s[j] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}

/// The twelve bytes of packed scales, which Q4_K and Q5_K have in the same place.
#[inline]
fn packed<const B: usize>(b: &[u8; B]) -> [u8; 12] {
    core::array::from_fn(|i| b[4 + i])
}

/// `f16 d, f16 dmin, [u8; 12] packed scales and minima, [u8; 128] quants`; sub-blocks of 32.
pub(super) fn q4_k(b: &[u8; 144], y: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    let scales = packed(b);
    for sub in 0..8 {
        let (scale, min) = scale_min(&scales, sub);
        let (scale, min) = (d * scale, dmin * min);
        let (at, shift) = (16 + 32 * (sub / 2), 4 * (sub % 2));
        for l in 0..32 {
            y[32 * sub + l] = scale * f32::from(b[at + l] >> shift & 15) - min;
        }
    }
}

/// As Q4_K, with `[u8; 32] fifth bits` (one layer per sub-block) before the quants.
pub(super) fn q5_k(b: &[u8; 176], y: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    let scales = packed(b);
    for sub in 0..8 {
        let (scale, min) = scale_min(&scales, sub);
        let (scale, min) = (d * scale, dmin * min);
        let (at, shift) = (48 + 32 * (sub / 2), 4 * (sub % 2));
        for l in 0..32 {
            let fifth = b[16 + l] >> sub & 1;
            let q = b[at + l] >> shift & 15 | fifth << 4;
            y[32 * sub + l] = scale * f32::from(q) - min;
        }
    }
}

/// `[u8; 128] low nibbles, [u8; 64] upper two bits, [i8; 16] scales, f16 d`; sub-blocks of 16.
pub(super) fn q6_k(b: &[u8; 210], y: &mut [f32; 256]) {
    let d = half_at(b, 208);
    for sub in 0..16 {
        let scale = d * f32::from(b[192 + sub] as i8);
        // In each half of the super-block: 64 nibble pairs (elements 64 apart) and 32 bytes of four
        // layers.
        let (n, layer, part) = (sub / 8, sub / 2 % 4, 16 * (sub % 2));
        let (low_at, low_shift) = (64 * n + 32 * (layer % 2) + part, 4 * (layer / 2));
        let (high_at, high_shift) = (128 + 32 * n + part, 2 * layer);
        for l in 0..16 {
            let low = b[low_at + l] >> low_shift & 15;
            let high = b[high_at + l] >> high_shift & 3;
            y[16 * sub + l] = scale * (i32::from(low | high << 4) - 32) as f32;
        }
    }
}

/// `f32 d, [i8; 256] quants, [i16; 16] sums`: `d * q`.
pub(super) fn q8_k(b: &[u8; 292], y: &mut [f32; 256]) {
    let d = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    for j in 0..256 {
        y[j] = d * f32::from(b[4 + j] as i8);
    }
}
