//! The IQ formats: codebooks. IQ1 to IQ3 store an index into a table of 8 (IQ1, IQ2) or 4 (IQ3)
//! elements at a time, IQ4 an index into a non-linear scale of 16 values.
//!
//! Layouts: ggml-common.h. A table entry is packed into 16 bits ([`super::iq_grids`]) and unpacked
//! with shifts, which costs about as much as loading it ready made and keeps 9 KB of tables instead
//! of 34. The order of the float operations is ggml's.
#![allow(
    clippy::indexing_slicing,
    reason = "arrays of fixed size, indices masked to the tables' sizes"
)]

use super::half_at;
use super::iq_grids::{IQ1S, IQ2S, IQ2XS, IQ2XXS, IQ3S, IQ3XXS};

/// The scale of IQ4.
pub const IQ4_VALUES: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Seven sign bits, made eight: the number of minus signs is even.
#[inline]
fn even_signs(s: u32) -> u32 {
    let s = s & 127;
    s | (s.count_ones() & 1) << 7
}

/// Eight elements of an IQ2 codeword, each out of 8, 25 and 43, with signs.
#[inline]
fn put_iq2(y: &mut [f32; 8], db: f32, codeword: u16, signs: u32) {
    for (i, y) in y.iter_mut().enumerate() {
        let q = i32::from(codeword >> (2 * i) & 3);
        let minus = signs << (31 - i) & 1 << 31;
        let magnitude = db * (8 + 17 * q + (q >> 1)) as f32;
        *y = f32::from_bits(magnitude.to_bits() ^ minus);
    }
}

/// `f16 d`, then eight times `[u8; 4] indices, u32` of four sign fields and a scale.
pub(super) fn iq2_xxs(b: &[u8; 66], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    let (y, _) = y.as_chunks_mut::<8>();
    for sub in 0..8 {
        let at = 2 + 8 * sub;
        let aux = u32::from_le_bytes([b[at + 4], b[at + 5], b[at + 6], b[at + 7]]);
        let db = d * (0.5 + (aux >> 28) as f32) * 0.25;
        for k in 0..4 {
            let codeword = IQ2XXS[usize::from(b[at + k])];
            put_iq2(
                &mut y[4 * sub + k],
                db,
                codeword,
                even_signs(aux >> (7 * k)),
            );
        }
    }
}

/// The scale of codewords `2 n` and `2 n + 1`, for IQ2_XS and IQ2_S, from the byte with nibble `n`.
#[inline]
fn iq2_scale(d: f32, scales: u8, k: usize) -> f32 {
    d * (0.5 + f32::from(scales >> (4 * (k / 2 % 2)) & 15)) * 0.25
}

/// `f16 d, [u16; 32] of index and signs, [u8; 8] scales`.
pub(super) fn iq2_xs(b: &[u8; 74], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    let (y, _) = y.as_chunks_mut::<8>();
    for (k, y) in y.iter_mut().enumerate() {
        let q = u16::from_le_bytes([b[2 + 2 * k], b[3 + 2 * k]]);
        let db = iq2_scale(d, b[66 + k / 4], k);
        let codeword = IQ2XS[usize::from(q & 511)];
        put_iq2(y, db, codeword, even_signs(u32::from(q >> 9)));
    }
}

/// `f16 d, [u8; 32] low indices, [u8; 32] signs, [u8; 8] high indices, [u8; 8] scales`.
pub(super) fn iq2_s(b: &[u8; 82], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    let (y, _) = y.as_chunks_mut::<8>();
    for (k, y) in y.iter_mut().enumerate() {
        let high = usize::from(b[66 + k / 4] >> (2 * (k % 4)) & 3);
        let codeword = IQ2S[usize::from(b[2 + k]) | high << 8];
        put_iq2(
            y,
            iq2_scale(d, b[74 + k / 4], k),
            codeword,
            b[34 + k].into(),
        );
    }
}

/// Eight elements of two IQ3 codewords; an element is `value(three bits)`.
#[inline]
fn put_iq3(y: &mut [f32; 8], db: f32, codewords: [u16; 2], signs: u32, value: impl Fn(i32) -> i32) {
    // One word of eight four-bit fields, the first codeword in the lower half.
    let fields = u32::from(codewords[0]) | u32::from(codewords[1]) << 16;
    for (i, y) in y.iter_mut().enumerate() {
        let magnitude = db * value((fields >> (4 * i) & 7) as i32) as f32;
        let minus = signs << (31 - i) & 1 << 31;
        *y = f32::from_bits(magnitude.to_bits() ^ minus);
    }
}

/// `f16 d, [u8; 64] indices, [u32; 8]` of four sign fields and a scale.
pub(super) fn iq3_xxs(b: &[u8; 98], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    let (y, _) = y.as_chunks_mut::<8>();
    for sub in 0..8 {
        let at = 66 + 4 * sub;
        let aux = u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let db = d * (0.5 + (aux >> 28) as f32) * 0.5;
        for k in 0..4 {
            let at = 2 + 8 * sub + 2 * k;
            let codewords = [IQ3XXS[usize::from(b[at])], IQ3XXS[usize::from(b[at + 1])]];
            let signs = even_signs(aux >> (7 * k));
            // 4, 12, 20, 28, 36, 44, 52 and 62
            let value = |q| 4 + 8 * q + ((q + 1) >> 3 << 1);
            put_iq3(&mut y[4 * sub + k], db, codewords, signs, value);
        }
    }
}

/// `f16 d, [u8; 64] low indices, [u8; 8] ninth bits, [u8; 32] signs, [u8; 4] scales`.
pub(super) fn iq3_s(b: &[u8; 110], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    let (y, _) = y.as_chunks_mut::<8>();
    for sub in 0..8 {
        let scale = b[106 + sub / 2] >> (4 * (sub % 2)) & 15;
        let db = d * f32::from(1 + 2 * scale);
        let ninth = usize::from(b[66 + sub]);
        for k in 0..4 {
            let at = 2 + 8 * sub + 2 * k;
            let index = |i| usize::from(b[at + i]) | (ninth >> (2 * k + i) & 1) << 8;
            let codewords = [IQ3S[index(0)], IQ3S[index(1)]];
            let signs = b[74 + 4 * sub + k].into();
            put_iq3(&mut y[4 * sub + k], db, codewords, signs, |q| 1 + 2 * q);
        }
    }
}

/// Eight elements of an IQ1 codeword, each out of -1, 0 and 1, shifted by an eighth.
#[inline]
fn put_iq1(y: &mut [f32; 8], dl: f32, codeword: u16, delta_minus: bool) {
    let delta = if delta_minus { -0.125 } else { 0.125 };
    for (i, y) in y.iter_mut().enumerate() {
        let q = i32::from(codeword >> (2 * i) & 3) - 1;
        *y = dl * (q as f32 + delta);
    }
}

/// `f16 d, [u8; 32] low indices, [u16; 8]` of high indices, a scale and the sign of the shift.
pub(super) fn iq1_s(b: &[u8; 50], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    let (y, _) = y.as_chunks_mut::<8>();
    for sub in 0..8 {
        let high = u16::from_le_bytes([b[34 + 2 * sub], b[35 + 2 * sub]]);
        let dl = d * f32::from(2 * (high >> 12 & 7) + 1);
        for k in 0..4 {
            let index = u16::from(b[2 + 4 * sub + k]) | (high >> (3 * k) & 7) << 8;
            let codeword = IQ1S[usize::from(index)];
            put_iq1(&mut y[4 * sub + k], dl, codeword, high & 0x8000 != 0);
        }
    }
}

/// `[u8; 32] low indices, [u8; 16]` of high indices and signs of the shift, `[u16; 4]` of scales, in
/// whose upper nibbles the super-block's half is scattered.
pub(super) fn iq1_m(b: &[u8; 56], y: &mut [f32; 256]) {
    let scales: [u16; 4] =
        core::array::from_fn(|i| u16::from_le_bytes([b[48 + 2 * i], b[49 + 2 * i]]));
    let half =
        scales[0] >> 12 | scales[1] >> 12 << 4 | scales[2] >> 12 << 8 | scales[3] >> 12 << 12;
    let d = super::f16::f16_to_f32(half);
    let (y, _) = y.as_chunks_mut::<8>();
    for (k, y) in y.iter_mut().enumerate() {
        let scale = scales[k / 8] >> (3 * (k / 2 % 4)) & 7;
        let dl = d * f32::from(2 * scale + 1);
        let high = b[32 + k / 2] >> (4 * (k % 2));
        let codeword = IQ1S[usize::from(b[k]) | usize::from(high & 7) << 8];
        put_iq1(y, dl, codeword, high & 8 != 0);
    }
}

/// `f16 d, [u8; 16]`: byte `j` holds element `j` (low nibble) and `j + 16`.
pub(super) fn iq4_nl(b: &[u8; 18], y: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for j in 0..16 {
        let q = usize::from(b[2 + j]);
        y[j] = d * f32::from(IQ4_VALUES[q & 15]);
        y[j + 16] = d * f32::from(IQ4_VALUES[q >> 4]);
    }
}

/// `f16 d, u16 high scales, [u8; 4] low scales, [u8; 128]`: sub-blocks of 32, laid out as in IQ4_NL.
pub(super) fn iq4_xs(b: &[u8; 136], y: &mut [f32; 256]) {
    let d = half_at(b, 0);
    let high = u16::from_le_bytes([b[2], b[3]]);
    for sub in 0..8 {
        let low = u16::from(b[4 + sub / 2] >> (4 * (sub % 2)) & 15);
        let scale = low | (high >> (2 * sub) & 3) << 4;
        let dl = d * (i32::from(scale) - 32) as f32;
        for j in 0..16 {
            let q = usize::from(b[8 + 16 * sub + j]);
            y[32 * sub + j] = dl * f32::from(IQ4_VALUES[q & 15]);
            y[32 * sub + j + 16] = dl * f32::from(IQ4_VALUES[q >> 4]);
        }
    }
}
