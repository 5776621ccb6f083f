//! The four-bit float formats: MXFP4 (one power of two per 32 elements) and NVFP4 (one E4M3 per 16).
//!
//! Elements are E2M1, tabulated here doubled so that they are integers; the scales are halved to
//! match, as in ggml.
#![allow(
    clippy::indexing_slicing,
    reason = "arrays of fixed size, indices within them whatever the data"
)]

/// Twice the value of each E2M1 code. Code 8, minus zero, counts as plus zero in ggml.
pub const E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Half of `2^(e - 127)`. The code 255, a NaN in the OCP specification, is 2^127 here, as in ggml.
#[inline]
pub fn e8m0_halved(e: u8) -> f32 {
    let e = u32::from(e);
    // The two smallest are subnormal floats.
    let bits = if e < 2 {
        0x0020_0000 << e
    } else {
        (e - 1) << 23
    };
    f32::from_bits(bits)
}

/// Half of an E4M3 whose sign bit is ignored; the code 0x7f, a NaN, counts as zero, as in ggml.
#[inline]
pub(super) fn e4m3_halved(x: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(x >> 3 & 15), x & 7);
    if x == 0x7f {
        0.0
    } else if exponent == 0 {
        // m * 2^-9, halved
        f32::from(mantissa) * f32::from_bits((127 - 10) << 23)
    } else {
        // (8 + m) / 8 * 2^(e - 7), halved
        f32::from(8 + mantissa) * f32::from_bits((exponent + 127 - 11) << 23)
    }
}

/// `u8 exponent, [u8; 16]`: byte `j` holds element `j` (low nibble) and `j + 16`.
pub(super) fn mxfp4(b: &[u8; 17], y: &mut [f32; 32]) {
    let d = e8m0_halved(b[0]);
    for j in 0..16 {
        let q = usize::from(b[1 + j]);
        y[j] = d * f32::from(E2M1_DOUBLED[q & 15]);
        y[j + 16] = d * f32::from(E2M1_DOUBLED[q >> 4]);
    }
}

/// `[u8; 4] scales, [u8; 32]`: four sub-blocks of 16, in 8 bytes each; byte `j` of a sub-block holds
/// its element `j` (low nibble) and `j + 8`.
pub(super) fn nvfp4(b: &[u8; 36], y: &mut [f32; 64]) {
    for sub in 0..4 {
        let d = e4m3_halved(b[sub]);
        for j in 0..8 {
            let q = usize::from(b[4 + 8 * sub + j]);
            y[16 * sub + j] = d * f32::from(E2M1_DOUBLED[q & 15]);
            y[16 * sub + j + 8] = d * f32::from(E2M1_DOUBLED[q >> 4]);
        }
    }
}
