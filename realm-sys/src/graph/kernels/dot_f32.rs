//! Products with weights that are floats, or that are turned into floats exactly.
//!
//! F32, F16 and BF16 are converted (exactly); every other type that does not have integer arithmetic of
//! its own is dequantized by [`crate::quant`]. Then
//!
//! ```text
//! lane[i % 16] = fma(w[i], x[i], lane[i % 16])     i ascending, lanes start at 0
//! dot          = tree(lane)
//! ```
//!
//! Weights pass through a buffer of 256 (a multiple of every block's length and of the lanes), which
//! serves a tile of tokens.

use core::ops::Range;

use super::matmul::{ActKind, Job, TILE};
use crate::num::cpu::{Isa, Level, at_level};
use crate::num::{LANES, tree};
use crate::quant::{GgmlType, block_kernel};

/// Elements of a piece.
const PIECE: usize = 256;

/// A way to turn the bytes of up to 256 weights into floats.
trait Source {
    /// Elements and bytes of a block.
    fn block(ty: GgmlType) -> (usize, usize) {
        (ty.block_len(), ty.block_bytes())
    }
    fn read<I: Isa>(i: I, ty: GgmlType, src: &[u8], dst: &mut [f32]);
}

struct F32;
impl Source for F32 {
    #[inline(always)]
    fn read<I: Isa>(_: I, _: GgmlType, src: &[u8], dst: &mut [f32]) {
        for (to, &w) in dst.iter_mut().zip(src.as_chunks::<4>().0) {
            *to = f32::from_le_bytes(w);
        }
    }
}

struct F16;
impl Source for F16 {
    #[inline(always)]
    fn read<I: Isa>(i: I, _: GgmlType, src: &[u8], dst: &mut [f32]) {
        let (whole, rest) = src.as_chunks::<32>();
        let (to, to_rest) = dst.as_chunks_mut::<16>();
        for (to, h) in to.iter_mut().zip(whole) {
            *to = i.halves(h);
        }
        if !rest.is_empty() {
            let mut h = [0; 32];
            h.iter_mut().zip(rest).for_each(|(h, &b)| *h = b);
            to_rest
                .iter_mut()
                .zip(i.halves(&h))
                .for_each(|(to, v)| *to = v);
        }
    }
}

struct Bf16;
impl Source for Bf16 {
    #[inline(always)]
    fn read<I: Isa>(_: I, _: GgmlType, src: &[u8], dst: &mut [f32]) {
        for (to, &w) in dst.iter_mut().zip(src.as_chunks::<2>().0) {
            *to = f32::from_bits(u32::from(u16::from_le_bytes(w)) << 16);
        }
    }
}

/// Whatever `quant` dequantizes.
struct Any;
impl Source for Any {
    #[inline(always)]
    fn read<I: Isa>(_: I, ty: GgmlType, src: &[u8], dst: &mut [f32]) {
        block_kernel(ty)(src, dst);
    }
}

/// `acc = fma(w, x, acc)` in lanes, for `T` tokens at once so that their chains overlap.
#[inline(always)]
fn add<I: Isa, const T: usize>(
    i: I,
    acc: &mut [[f32; LANES]; T],
    w: &[f32],
    x: [&[[u8; 64]]; T],
    rest: [&[u8]; T],
) {
    let (whole, tail) = w.as_chunks::<LANES>();
    let mut sums = *acc;
    for (c, w) in whole.iter().enumerate() {
        for (sum, x) in sums.iter_mut().zip(&x) {
            let Some(x) = x.get(c) else { continue };
            for ((sum, &w), &x) in sum.iter_mut().zip(w).zip(x.as_chunks::<4>().0) {
                *sum = i.fma(w, f32::from_ne_bytes(x), *sum);
            }
        }
    }
    for (sum, x) in sums.iter_mut().zip(&rest) {
        for ((sum, &w), &x) in sum.iter_mut().zip(tail).zip(x.as_chunks::<4>().0) {
            *sum = i.fma(w, f32::from_ne_bytes(x), *sum);
        }
    }
    *acc = sums;
}

/// The products of one weight row with `T` rows of activations.
#[inline(always)]
fn dots<I: Isa, S: Source, const T: usize>(i: I, job: Job<'_>, w: &[u8], tok: usize) -> [f32; T] {
    let k = job.k();
    let (len, bytes) = S::block(job.ty());
    let piece_bytes = PIECE / len * bytes;
    let acts: [&[u8]; T] = core::array::from_fn(|t| job.act(ActKind::F32, tok + t));
    let mut acc = [[0.0; LANES]; T];
    let mut buffer = [0.0; PIECE];
    for (p, w) in w.chunks(piece_bytes).enumerate() {
        let n = (k - p * PIECE).min(PIECE);
        let Some(buffer) = buffer.get_mut(..n) else {
            break;
        };
        S::read(i, job.ty(), w, buffer);
        let x = acts.map(|a| a.get(4 * p * PIECE..4 * (p * PIECE + n)).unwrap_or(&[]));
        add(
            i,
            &mut acc,
            buffer,
            x.map(|x| x.as_chunks().0),
            x.map(|x| x.as_chunks::<64>().1),
        );
    }
    acc.map(|a| tree(&a))
}

#[inline(always)]
fn rows<I: Isa, S: Source>(i: I, job: Job<'_>, rows: Range<usize>) {
    let (len, bytes) = S::block(job.ty());
    job.each_tile(rows, job.k() / len * bytes, |w, tok, n| {
        let mut y = [0.0; TILE];
        let mut t = 0;
        for y in y.as_chunks_mut::<4>().0 {
            match n - t {
                0 => break,
                1 => [y[0]] = dots::<I, S, 1>(i, job, w, tok + t),
                2 => [y[0], y[1]] = dots::<I, S, 2>(i, job, w, tok + t),
                3 => [y[0], y[1], y[2]] = dots::<I, S, 3>(i, job, w, tok + t),
                _ => *y = dots::<I, S, 4>(i, job, w, tok + t),
            }
            t = (t + 4).min(n);
        }
        y
    });
}

at_level! { fn f32(job: Job<'_>, r: Range<usize>) = rows::<_, F32> }
at_level! { fn f16(job: Job<'_>, r: Range<usize>) = rows::<_, F16> }
at_level! { fn bf16(job: Job<'_>, r: Range<usize>) = rows::<_, Bf16> }
at_level! { fn any(job: Job<'_>, r: Range<usize>) = rows::<_, Any> }

pub(super) fn run(level: Level, job: Job<'_>, rows: Range<usize>) {
    match job.ty() {
        GgmlType::F32 => f32(level, job, rows),
        GgmlType::F16 => f16(level, job, rows),
        GgmlType::BF16 => bf16(level, job, rows),
        _ => any(level, job, rows),
    }
}
