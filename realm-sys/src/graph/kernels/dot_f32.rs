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

use core::marker::PhantomData;
use core::ops::Range;

use super::matmul::{ActKind, Job, TILE, Tile};
use crate::num::cpu::{Isa, Level, at_level};
use crate::num::{LANES, tree};
use crate::quant::types::{IQ, OTHER};
use crate::quant::{GgmlType, block_kernel};

/// How far ahead weights are asked for: about what memory takes to answer.
const AHEAD: usize = 2048;

/// Elements of a piece.
const PIECE: usize = 256;

/// A way to turn the bytes of up to 256 weights into floats.
trait Source {
    /// Elements and bytes of a block.
    fn block(ty: GgmlType) -> (usize, usize) {
        (ty.block_len(), ty.block_bytes())
    }
    fn read<I: Isa>(i: I, ty: GgmlType, src: &[u8], dst: &mut [f32]);
    /// One weight, where a block is one and `lanes` has left some over.
    #[inline(always)]
    fn one<I: Isa>(_: I, _w: &[u8]) -> f32 {
        0.0
    }
    /// Adds the whole sixteens of a row to the lanes at once, where the machine has a way.
    #[inline(always)]
    fn lanes<I: Isa>(_: I, _w: &[u8], _x: &[[u8; 64]], _lanes: &mut [f32; LANES]) -> bool {
        false
    }
}

struct F32;
impl Source for F32 {
    #[inline(always)]
    fn read<I: Isa>(_: I, _: GgmlType, src: &[u8], dst: &mut [f32]) {
        for (to, &w) in dst.iter_mut().zip(src.as_chunks::<4>().0) {
            *to = f32::from_le_bytes(w);
        }
    }
    #[inline(always)]
    fn one<I: Isa>(_: I, w: &[u8]) -> f32 {
        w.first_chunk().map_or(0.0, |&w| f32::from_le_bytes(w))
    }
    #[inline(always)]
    fn lanes<I: Isa>(i: I, w: &[u8], x: &[[u8; 64]], lanes: &mut [f32; LANES]) -> bool {
        i.row_f32(w.as_chunks().0, x, lanes)
    }
}

struct F16;
impl Source for F16 {
    #[inline(always)]
    fn read<I: Isa>(i: I, _: GgmlType, src: &[u8], dst: &mut [f32]) {
        let (whole, rest) = src.as_chunks::<32>();
        let (to, to_rest) = dst.as_chunks_mut::<16>();
        for (to, h) in to.iter_mut().zip(whole) {
            *to = i.store(i.halves(h));
        }
        if !rest.is_empty() {
            let mut h = [0; 32];
            for (h, &b) in h.iter_mut().zip(rest) {
                *h = b;
            }
            for (to, v) in to_rest.iter_mut().zip(i.store(i.halves(&h))) {
                *to = v;
            }
        }
    }
    #[inline(always)]
    fn one<I: Isa>(i: I, w: &[u8]) -> f32 {
        w.first_chunk()
            .map_or(0.0, |&w| i.half(u16::from_le_bytes(w)))
    }
    #[inline(always)]
    fn lanes<I: Isa>(i: I, w: &[u8], x: &[[u8; 64]], lanes: &mut [f32; LANES]) -> bool {
        i.row_f16(w.as_chunks().0, x, lanes)
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

/// The products of one weight row with `T` rows of activations, whose chains of additions overlap.
#[inline(always)]
fn dots<I: Isa, S: Source, const T: usize>(i: I, job: Job<'_>, w: &[u8], tok: usize) -> [f32; T] {
    let k = job.k();
    let (len, bytes) = S::block(job.ty());
    let piece_bytes = PIECE / len * bytes;
    let mut acts: [&[u8]; T] = [&[]; T];
    for (t, act) in acts.iter_mut().enumerate() {
        *act = job.act(ActKind::F32, tok + t).get(..4 * k).unwrap_or(&[]);
    }
    let mut acc = [i.splat(0.0); T];
    let mut tail = [[0.0; LANES]; T];
    let mut buffer = [0.0; PIECE];
    for (p, w) in w.chunks(piece_bytes).enumerate() {
        let n = (k - p * PIECE).min(PIECE);
        let Some(buffer) = buffer.get_mut(..n) else {
            break;
        };
        for line in (0..piece_bytes).step_by(64) {
            i.soon(w.as_ptr().wrapping_add(AHEAD + line));
        }
        S::read(i, job.ty(), w, buffer);
        let (whole, rest) = buffer.as_chunks::<LANES>();
        let mut x: [&[[u8; 64]]; T] = [&[]; T];
        for (x, act) in x.iter_mut().zip(&acts) {
            // As long as `whole` where the row is as long as it should be, else nothing.
            let piece = act.as_chunks().0.get(p * PIECE / LANES..);
            *x = piece.and_then(|x| x.get(..whole.len())).unwrap_or(&[]);
        }
        // A microcontroller, which does one token at a time, may have a way to do all of these at once.
        let done = match (acc.as_mut_slice(), x.as_slice()) {
            ([acc], [x]) if TILE == 1 => i.add_row(whole, x, acc),
            _ => false,
        };
        if !done {
            for (c, w) in whole.iter().enumerate() {
                let w = i.load(w);
                for (acc, x) in acc.iter_mut().zip(&x) {
                    if let Some(x) = x.get(c) {
                        *acc = i.fmas(w, native(i, x), *acc);
                    }
                }
            }
        }
        if !rest.is_empty() {
            for ((tail, acc), act) in tail.iter_mut().zip(&acc).zip(&acts) {
                *tail = i.store(*acc);
                for ((lane, &w), &x) in tail
                    .iter_mut()
                    .zip(rest)
                    .zip(act.as_chunks::<64>().1.as_chunks::<4>().0)
                {
                    *lane = i.fma(w, f32::from_ne_bytes(x), *lane);
                }
            }
            return tail.map(|lanes| tree(&lanes));
        }
    }
    for (tail, acc) in tail.iter_mut().zip(&acc) {
        *tail = i.store(*acc);
    }
    tail.map(|lanes| tree(&lanes))
}

/// The product of one weight row with one row of activations, by the whole sixteens at once where the machine has a way.
#[inline(always)]
fn dot<I: Isa, S: Source>(i: I, job: Job<'_>, w: &[u8], tok: usize) -> f32 {
    let (len, bytes) = S::block(job.ty());
    let mut lanes = [0.0; LANES];
    if let Some(x) = job.act(ActKind::F32, tok).get(..4 * job.k())
        && let Some(w_rest) = w.get(job.k() / LANES * LANES / len * bytes..)
        && S::lanes(i, w, x.as_chunks().0, &mut lanes)
    {
        let x_rest = x.as_chunks::<64>().1.as_chunks::<4>().0;
        for ((lane, w), &x) in lanes.iter_mut().zip(w_rest.chunks(bytes)).zip(x_rest) {
            *lane = i.fma(S::one(i, w), f32::from_ne_bytes(x), *lane);
        }
        return tree(&lanes);
    }
    let [y] = dots::<I, S, 1>(i, job, w, tok);
    y
}

/// Sixteen floats of a prepared row, which is in the machine's byte order.
#[inline(always)]
fn native<I: Isa>(i: I, x: &[u8; 64]) -> I::Lanes {
    if cfg!(target_endian = "little") {
        return i.floats(x);
    }
    let mut out = [0.0; LANES];
    for (out, &x) in out.iter_mut().zip(x.as_chunks::<4>().0) {
        *out = f32::from_ne_bytes(x);
    }
    i.load(&out)
}

struct Rows<'a, I, S>(I, Job<'a>, PhantomData<S>);

impl<I: Isa, S: Source> Tile for Rows<'_, I, S> {
    #[inline(always)]
    fn tile(&self, w: &[u8], tok: usize, n: usize) -> [f32; TILE] {
        let &Self(i, job, _) = self;
        let mut y = [0.0; TILE];
        if TILE == 1 {
            // Whole rows at once, where registers are for one chain of sixteen.
            for (t, y) in y.iter_mut().enumerate().take(n) {
                *y = dot::<I, S>(i, job, w, tok + t);
            }
            return y;
        }
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
    }
}

#[inline(always)]
fn rows<I: Isa, S: Source>(i: I, job: Job<'_>, rows: Range<usize>) {
    let (len, bytes) = S::block(job.ty());
    job.each_tile(
        rows,
        job.k() / len * bytes,
        &Rows::<I, S>(i, job, PhantomData),
    );
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
        // The types of the other features have products of their own; no model is let in whose types are not built.
        _ if IQ || OTHER => any(level, job, rows),
        _ => {}
    }
}
