//! The formats with one scale for each short block: Q4_0 to Q8_1, and the one- and two-bit Q1_0 and
//! Q2_0.
//!
//! Layouts: ggml-common.h. In the four- and five-bit formats, byte `j` holds element `j` in its low
//! and element `j + 16` in its high nibble.
#![allow(
    clippy::indexing_slicing,
    reason = "arrays of fixed size, indices within them whatever the data"
)]

use super::half_at;

/// `f16 d, [u8; 16]`: `d * (q - 8)`.
pub(super) fn q4_0(b: &[u8; 18], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for j in 0..16 {
        y[j] = d * (i32::from(b[2 + j] & 15) - 8) as f32;
        y[j + 16] = d * (i32::from(b[2 + j] >> 4) - 8) as f32;
    }
}

/// `f16 d, f16 m, [u8; 16]`: `d * q + m`.
pub(super) fn q4_1(b: &[u8; 20], y: &mut [f32; 32]) {
    let (d, m) = (half_at(b, 0), half_at(b, 2));
    for j in 0..16 {
        y[j] = d * f32::from(b[4 + j] & 15) + m;
        y[j + 16] = d * f32::from(b[4 + j] >> 4) + m;
    }
}

/// `f16 d, u32 fifth bits, [u8; 16]`: `d * (q - 16)`.
pub(super) fn q5_0(b: &[u8; 22], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    let fifth = u32::from_le_bytes([b[2], b[3], b[4], b[5]]);
    for j in 0..16 {
        let q = u32::from(b[6 + j]);
        let lo = (q & 15) | (fifth >> j << 4 & 16);
        let hi = (q >> 4) | (fifth >> (j + 12) & 16);
        y[j] = d * (lo as i32 - 16) as f32;
        y[j + 16] = d * (hi as i32 - 16) as f32;
    }
}

/// `f16 d, f16 m, u32 fifth bits, [u8; 16]`: `d * q + m`.
pub(super) fn q5_1(b: &[u8; 24], y: &mut [f32; 32]) {
    let (d, m) = (half_at(b, 0), half_at(b, 2));
    let fifth = u32::from_le_bytes([b[4], b[5], b[6], b[7]]);
    for j in 0..16 {
        let q = u32::from(b[8 + j]);
        let lo = (q & 15) | (fifth >> j << 4 & 16);
        let hi = (q >> 4) | (fifth >> (j + 12) & 16);
        y[j] = d * (lo as i32) as f32 + m;
        y[j + 16] = d * (hi as i32) as f32 + m;
    }
}

/// `f16 d, [i8; 32]`: `d * q`.
pub(super) fn q8_0(b: &[u8; 34], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for j in 0..32 {
        y[j] = d * f32::from(b[2 + j] as i8);
    }
}

/// `f16 d, f16 s, [i8; 32]`: `d * q`. `s` is `d` times the sum of the quants, for dot products.
pub(super) fn q8_1(b: &[u8; 36], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for j in 0..32 {
        y[j] = d * f32::from(b[4 + j] as i8);
    }
}

/// `f16 d, [u8; 16]`, bit 0 first: `d` for a one, `-d` for a zero.
pub(super) fn q1_0(b: &[u8; 18], y: &mut [f32; 128]) {
    let d = half_at(b, 0).to_bits();
    for j in 0..16 {
        for i in 0..8 {
            let zero = u32::from(!b[2 + j]) >> i & 1;
            y[8 * j + i] = f32::from_bits(d ^ zero << 31);
        }
    }
}

/// `f16 d, [u8; 16]`, low bits first: `d * (q - 1)`, so one of `-d`, 0, `d` and `2 d`.
pub(super) fn q2_0(b: &[u8; 18], y: &mut [f32; 64]) {
    let d = half_at(b, 0);
    for j in 0..16 {
        for i in 0..4 {
            let q = i32::from(b[2 + j] >> (2 * i) & 3);
            y[4 * j + i] = d * (q - 1) as f32;
        }
    }
}
