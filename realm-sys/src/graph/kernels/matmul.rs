//! Matrix products of quantized weights and float activations: `dst = x Wᵀ + b`.
//!
//! # The activations
//!
//! A row of `x` is first turned into the form its weights' type asks for ([`act_kind`]), once per row
//! however many weights read it:
//!
//! | [`ActKind`] | for | form |
//! |-------------|-----|------|
//! | `F32`       | F32, F16, BF16, and all types that are dequantized exactly | the floats |
//! | `Q8x32`     | Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, MXFP4 | int8 and one f32 scale per 32 elements |
//! | `Q8x256`    | Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS | int8 and one f32 scale per 256 elements |
//!
//! Quantizing a block: `m` = the largest magnitude; `d = m / 127`; `q = round(x * (1 / d))`, ties to
//! even, which is within ±127. Where `d` is below 2^-126 (its inverse could overflow), `d` and all
//! `q` are 0. If any element is infinite or a NaN, `d` is a NaN and all `q` are 0: the outputs that
//! read the block are NaN. `d` stays a float; it is not rounded to a half.
//!
//! # The products
//!
//! Defined at `dot_f32`, `dot_q32`, `dot_k`; one output depends on one weight row and one activation
//! row only. The bias is added last: `y = dot + b`.

use core::ops::Range;

use super::{dot_f32, dot_k, dot_q32};
use crate::num::cpu::{Isa, Level, instances};
use crate::quant::GgmlType;

/// The form in which a product takes its activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActKind {
    /// Floats as they are.
    F32,
    /// Signed bytes, a scale and a sum for each 32.
    Q8x32,
    /// Signed bytes and a scale for each 256, a sum for each 16.
    Q8x256,
}

/// The form that weights of this type ask for.
pub fn act_kind(ty: GgmlType) -> ActKind {
    use GgmlType as T;
    match ty {
        T::Q4_0 | T::Q4_1 | T::Q5_0 | T::Q5_1 | T::Q8_0 | T::IQ4_NL | T::MXFP4 => ActKind::Q8x32,
        T::Q2_K | T::Q3_K | T::Q4_K | T::Q5_K | T::Q6_K | T::IQ4_XS => ActKind::Q8x256,
        _ => ActKind::F32,
    }
}

/// Bytes of a prepared row of `k` elements: a multiple of 64, so that rows of an aligned buffer are
/// aligned. (No kernel here needs it.) Saturates rather than overflows.
pub fn act_row_bytes(kind: ActKind, k: usize) -> usize {
    let padded = k.div_ceil(256).saturating_mul(256);
    let bytes = match kind {
        ActKind::F32 => k.saturating_mul(4),
        // The bytes, then f32 scales, then i16 sums.
        ActKind::Q8x32 => padded.saturating_add(padded / 32 * 6),
        ActKind::Q8x256 => padded.saturating_add(padded / 256 * 36),
    };
    bytes.div_ceil(64).saturating_mul(64)
}

/// The parts of a prepared row: signed bytes in runs of 256 (padded with zeros), scales, and sums.
/// Numbers are in the machine's byte order: a prepared row never leaves the machine.
#[derive(Clone, Copy)]
pub(super) struct Quants<'a> {
    pub q: &'a [[i8; 256]],
    /// Per 256 elements: `SCALES` floats, as bytes.
    pub d: &'a [u8],
    /// Per 256 elements: `SUMS` 16-bit integers, as bytes.
    pub sums: &'a [u8],
}

impl<'a> Quants<'a> {
    /// No elements.
    pub const EMPTY: Self = Self {
        q: &[],
        d: &[],
        sums: &[],
    };

    /// Takes a prepared row apart; empty if it is too short.
    #[inline(always)]
    pub fn new(kind: ActKind, row: &'a [u8], k: usize) -> Self {
        let groups = k.div_ceil(256);
        let scales = if kind == ActKind::Q8x256 { 4 } else { 32 };
        let sums = if kind == ActKind::Q8x256 { 32 } else { 16 };
        let Some((q, rest)) = row.split_at_checked(groups * 256) else {
            return Self::EMPTY;
        };
        let Some((d, rest)) = rest.split_at_checked(groups * scales) else {
            return Self::EMPTY;
        };
        let Some(sums) = rest.get(..groups * sums) else {
            return Self::EMPTY;
        };
        Self {
            q: bytemuck::cast_slice::<u8, i8>(q).as_chunks::<256>().0,
            d,
            sums,
        }
    }
}

/// Quantizes one block, as the file's text defines it; returns the scale.
#[inline(always)]
fn quantize(x: &[f32], q: &mut [u8]) -> f32 {
    /// Adding it rounds to an integer, ties to even, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const INFINITY: u32 = 0x7f80_0000;
    // Magnitudes order as integers, and NaNs are above infinity.
    let mut top = [0u32; 16];
    for x in x.as_chunks::<16>().0 {
        for (top, x) in top.iter_mut().zip(x) {
            *top = (*top).max(x.to_bits() & 0x7fff_ffff);
        }
    }
    for (top, x) in top.iter_mut().zip(x.as_chunks::<16>().1) {
        *top = (*top).max(x.to_bits() & 0x7fff_ffff);
    }
    let top = top.into_iter().fold(0, u32::max);
    let d = f32::from_bits(top) / 127.0;
    if top >= INFINITY || d < f32::MIN_POSITIVE {
        q.fill(0);
        return if top >= INFINITY { f32::NAN } else { 0.0 };
    }
    let inverse = 1.0 / d;
    for (q, &x) in q.iter_mut().zip(x) {
        *q = (x * inverse + ROUND).to_bits() as u8;
    }
    d
}

/// The sum of signed bytes, at most 256 of them.
#[inline(always)]
fn sum(q: &[u8]) -> i16 {
    q.iter()
        .fold(0i16, |s, &q| s.wrapping_add(i16::from(q as i8)))
}

#[inline(always)]
fn prepare_body<I: Isa>(_: I, kind: ActKind, x: &[f32], dst: &mut [u8]) {
    let k = x.len();
    if kind == ActKind::F32 {
        for (to, x) in dst.as_chunks_mut::<4>().0.iter_mut().zip(x) {
            *to = x.to_ne_bytes();
        }
        return;
    }
    dst.fill(0);
    let groups = k.div_ceil(256);
    let wide = kind == ActKind::Q8x256;
    let Some((q, rest)) = dst.split_at_mut_checked(groups * 256) else {
        return;
    };
    let Some((d, sums)) = rest.split_at_mut_checked(groups * if wide { 4 } else { 32 }) else {
        return;
    };
    let (block, run) = if wide { (256, 16) } else { (32, 32) };
    let ds = d.as_chunks_mut::<4>().0;
    for ((x, q), d) in x.chunks(block).zip(q.chunks_mut(block)).zip(ds) {
        *d = quantize(x, q).to_ne_bytes();
    }
    for (q, to) in q.chunks(run).zip(sums.as_chunks_mut::<2>().0) {
        *to = sum(q).to_ne_bytes();
    }
}

instances! {
    /// Turns one row into the form `kind`; `dst` is [`act_row_bytes`] long, at any alignment.
    pub fn prepare_act / prepare_act_at(kind: ActKind, x: &[f32], dst: &mut [u8]) = prepare_body
}

/// One matrix product. All lengths are the caller's promise, but only `dst` is trusted: what is too
/// short elsewhere leaves outputs unwritten.
#[derive(Clone, Copy)]
pub struct MulMat<'a> {
    /// Type of the weights.
    pub ty: GgmlType,
    /// `m` rows of `k` elements, little-endian, at any alignment.
    pub w: &'a [u8],
    /// Elements of a row: whole blocks of the type.
    pub k: usize,
    /// Rows of the weights.
    pub m: usize,
    /// `n_tok` prepared rows of [`act_row_bytes`] each, of the type's [`act_kind`].
    pub act: &'a [u8],
    /// Rows of activations.
    pub n_tok: usize,
    /// `m` little-endian floats, at any alignment.
    pub bias: Option<&'a [u8]>,
    /// Where output row 0 begins. Raw, because several threads write their own columns of it.
    pub dst: *mut f32,
    /// Floats from one output row to the next.
    pub dst_stride: usize,
}

/// A product whose `dst` has been promised to be good: made by [`mul_mat`] only.
#[derive(Clone, Copy)]
pub(super) struct Job<'a>(&'a MulMat<'a>);

/// Tokens whose activations are read for one unpacked piece of weights. A microcontroller has better uses of its flash than
/// code for many at once, and what each row would spend on room for their outputs shows there.
pub(super) const TILE: usize = if cfg!(target_os = "none") { 1 } else { 16 };
/// Weight rows that stay in the nearest cache while tiles of tokens pass over them.
const ROWS: usize = 32;

/// What [`Job::each_tile`] calls. A trait and not a closure, because a closure is compiled for the
/// baseline unless the optimiser happens to inline it.
pub(super) trait Tile {
    /// The products of a weight row with `n` tokens from `tok` on.
    fn tile(&self, w: &[u8], tok: usize, n: usize) -> [f32; TILE];
}

impl<'a> Job<'a> {
    /// Calls `tile` for all of `rows` and every token, and stores what it returns with the bias added.
    /// The order is for the caches; results do not depend on it.
    #[inline(always)]
    pub fn each_tile(self, rows: Range<usize>, row_bytes: usize, tile: &impl Tile) {
        let a = self.0;
        let rows = rows.start..rows.end.min(a.m);
        for first in rows.clone().step_by(ROWS) {
            for tok in (0..a.n_tok).step_by(TILE) {
                let n = (a.n_tok - tok).min(TILE);
                for r in first..rows.end.min(first.saturating_add(ROWS)) {
                    let Some(w) = a.w.get(r * row_bytes..(r + 1) * row_bytes) else {
                        return;
                    };
                    let bias = a.bias.and_then(|b| b.as_chunks::<4>().0.get(r));
                    let y = tile.tile(w, tok, n);
                    for (t, &y) in y.iter().enumerate().take(n) {
                        let y = bias.map_or(y, |&b| y + f32::from_le_bytes(b));
                        // SAFETY: `mul_mat`'s caller promised row `tok + t` and column `r` of `dst`.
                        unsafe { a.dst.add((tok + t) * a.dst_stride + r).write(y) };
                    }
                }
            }
        }
    }

    pub fn k(self) -> usize {
        self.0.k
    }

    pub fn ty(self) -> GgmlType {
        self.0.ty
    }

    /// A prepared row; empty if there is none.
    #[inline(always)]
    pub fn act(self, kind: ActKind, tok: usize) -> &'a [u8] {
        let bytes = act_row_bytes(kind, self.0.k);
        self.0
            .act
            .get(tok * bytes..(tok + 1) * bytes)
            .unwrap_or(&[])
    }
}

/// Computes the outputs of the weight rows in `rows` for all tokens.
///
/// # Safety
/// `dst + t * dst_stride + r` can be written for every `t < n_tok` and `r` in `rows`, `r < m`, and
/// nobody else reads or writes there meanwhile. Disjoint ranges of rows may run at once.
pub unsafe fn mul_mat(a: &MulMat<'_>, rows: Range<usize>) {
    // SAFETY: the caller's promise, passed on.
    unsafe { mul_mat_at(Level::current(), a, rows) }
}

/// The same at a given level.
///
/// # Safety
/// As [`mul_mat`].
pub(crate) unsafe fn mul_mat_at(level: Level, a: &MulMat<'_>, rows: Range<usize>) {
    let job = Job(a);
    match act_kind(a.ty) {
        ActKind::F32 => dot_f32::run(level, job, rows),
        ActKind::Q8x32 => dot_q32::run(level, job, rows),
        ActKind::Q8x256 => dot_k::run(level, job, rows),
    }
}

#[cfg(test)]
#[path = "matmul_tests.rs"]
mod tests;
