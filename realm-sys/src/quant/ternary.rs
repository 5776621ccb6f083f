//! The ternary formats: super-blocks of 256 elements out of -1, 0 and 1, with one scale.
//!
//! Layouts: ggml-common.h.
#![allow(
    clippy::indexing_slicing,
    reason = "arrays of fixed size, indices within them whatever the data"
)]

use super::half_at;

/// Digit `n` of a byte that holds five base-three digits as a fraction of 256: multiplying by three,
/// modulo 256, drops a digit, and the next one is what a further multiplication carries out.
#[inline]
fn digit(q: u8, power: u8) -> f32 {
    let rest = u16::from(q.wrapping_mul(power));
    (((rest * 3) >> 8) as i16 - 1).into()
}

/// `[u8; 48] of five digits, [u8; 4] of four digits, f16 d`: `d * (digit - 1)`.
///
/// Digit `n` of 32 bytes makes 32 neighbouring elements, then of 16 bytes 16, then of 4 bytes 4.
pub(super) fn tq1_0(b: &[u8; 54], y: &mut [f32; 256]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let d = half_at(b, 52);
    for (n, &power) in POWERS.iter().enumerate() {
        for l in 0..32 {
            y[32 * n + l] = d * digit(b[l], power);
        }
        for l in 0..16 {
            y[160 + 16 * n + l] = d * digit(b[32 + l], power);
        }
    }
    for (n, &power) in POWERS.iter().take(4).enumerate() {
        for l in 0..4 {
            y[240 + 4 * n + l] = d * digit(b[48 + l], power);
        }
    }
}

/// `[u8; 64] of four two-bit layers of 32, f16 d`: `d * (q - 1)`.
pub(super) fn tq2_0(b: &[u8; 66], y: &mut [f32; 256]) {
    let d = half_at(b, 64);
    for run in 0..8 {
        let (at, shift) = (32 * (run / 4), 2 * (run % 4));
        for l in 0..32 {
            y[32 * run + l] = d * (i32::from(b[at + l] >> shift & 3) - 1) as f32;
        }
    }
}
