//! Products with weights in blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, MXFP4.
//!
//! With `q` the weight's integers (Q4_0: nibble - 8, Q5_0: -16, IQ4_NL and MXFP4: the table's value),
//! `dw` its scale as a float, `a` and `da` the activation's integers and scale:
//!
//! ```text
//! acc = 0
//! for each block, ascending:
//!     isum = sum of q * a                          exact, |isum| <= 32 * 128 * 127
//!     acc  = fma(dw * da, f32(isum), acc)          the product of scales rounded once
//!     acc  = fma(mw * da, f32(asum), acc)          Q4_1 and Q5_1 only; asum = sum of a, mw the minimum
//! ```
//!
//! MXFP4's table is doubled and its scale halved, as in ggml. All integers here are below 2^24, so
//! their conversion is exact.

use core::marker::PhantomData;
use core::ops::Range;

use super::matmul::{ActKind, Job, Quants, TILE, Tile};
use crate::num::cpu::{Isa, Level, at_level};
use crate::quant::float4::{E2M1_DOUBLED, e8m0_halved};
use crate::quant::iq::IQ4_VALUES;
use crate::quant::types::{GgmlType, IQ, LEGACY, OTHER};

/// How far ahead weights are asked for: about what memory takes to answer.
const AHEAD: usize = 2048;

/// A block format.
trait Format {
    /// Bytes of a block.
    const BYTES: usize;
    /// Whether blocks have a minimum.
    const MIN: bool = false;
    /// Writes the integers; returns the bits of scale and minimum.
    fn unpack<I: Isa>(i: I, b: &[u8], q: &mut [i8; 32]) -> Option<Scales>;
    /// The product of a whole row at once, where the machine has a way.
    #[inline(always)]
    fn row<I: Isa>(_: I, _w: &[u8], _x: &Quants<'_>) -> Option<f32> {
        None
    }
    /// Eight scales, then eight minima, from their bytes.
    #[inline(always)]
    fn scales<I: Isa>(i: I, bytes: &[u8; 32]) -> [f32; 16] {
        i.store(i.halves(bytes))
    }
}

/// The bytes of a block's scale and minimum.
type Scales = ([u8; 2], [u8; 2]);

#[inline(always)]
fn two(b: &[u8]) -> Option<([u8; 2], &[u8])> {
    let (head, rest) = b.split_first_chunk::<2>()?;
    Some((*head, rest))
}

const PLAIN: [i8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const LESS_8: [i8; 16] = [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7];

/// Puts the fifth bits on: ors `ONE` onto elements that have theirs set, `ZERO` onto the others.
#[inline(always)]
fn fifth<const ONE: u8, const ZERO: u8>(bits: &[u8; 4], q: &mut [i8; 32]) {
    const EACH: u64 = u64::from_le_bytes([1; 8]);
    let q: &mut [[u8; 8]; 4] = bytemuck::cast_mut(q);
    for (q, &bits) in q.iter_mut().zip(bits) {
        // Bit j of the byte, moved to the top of byte j.
        let spread = (u64::from(bits) * EACH) & 0x8040_2010_0804_0201;
        let low = EACH * 0x7f;
        let top = ((((spread & low) + low) | spread) >> 7) & EACH;
        let with = (top * u64::from(ONE)) | ((top ^ EACH) * u64::from(ZERO));
        *q = (u64::from_le_bytes(*q) | with).to_le_bytes();
    }
}

struct Q4_0;
impl Format for Q4_0 {
    const BYTES: usize = 18;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], q: &mut [i8; 32]) -> Option<Scales> {
        let (d, b) = two(b)?;
        *q = i.lookup(&LESS_8, b.first_chunk::<16>()?);
        Some((d, [0; 2]))
    }
}

struct Q4_1;
impl Format for Q4_1 {
    const BYTES: usize = 20;
    const MIN: bool = true;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], q: &mut [i8; 32]) -> Option<Scales> {
        let (d, b) = two(b)?;
        let (m, b) = two(b)?;
        *q = i.lookup(&PLAIN, b.first_chunk::<16>()?);
        Some((d, m))
    }
}

struct Q5_0;
impl Format for Q5_0 {
    const BYTES: usize = 22;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], q: &mut [i8; 32]) -> Option<Scales> {
        let (d, b) = two(b)?;
        let (bits, b) = b.split_first_chunk::<4>()?;
        *q = i.lookup(&PLAIN, b.first_chunk::<16>()?);
        // Minus 16 where the bit is 0, in two's complement.
        fifth::<0, 0xf0>(bits, q);
        Some((d, [0; 2]))
    }
}

struct Q5_1;
impl Format for Q5_1 {
    const BYTES: usize = 24;
    const MIN: bool = true;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], q: &mut [i8; 32]) -> Option<Scales> {
        let (d, b) = two(b)?;
        let (m, b) = two(b)?;
        let (bits, b) = b.split_first_chunk::<4>()?;
        *q = i.lookup(&PLAIN, b.first_chunk::<16>()?);
        fifth::<0x10, 0>(bits, q);
        Some((d, m))
    }
}

struct Q8_0;
impl Format for Q8_0 {
    const BYTES: usize = 34;
    #[inline(always)]
    fn unpack<I: Isa>(_: I, b: &[u8], q: &mut [i8; 32]) -> Option<Scales> {
        let (d, b) = two(b)?;
        *q = bytemuck::cast(*b.first_chunk::<32>()?);
        Some((d, [0; 2]))
    }
    #[inline(always)]
    fn row<I: Isa>(i: I, w: &[u8], x: &Quants<'_>) -> Option<f32> {
        let q = x.q.as_flattened().as_chunks().0;
        i.row_q8_0(w.as_chunks().0, q, x.d.as_chunks().0)
    }
}

struct Iq4Nl;
impl Format for Iq4Nl {
    const BYTES: usize = 18;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], q: &mut [i8; 32]) -> Option<Scales> {
        let (d, b) = two(b)?;
        *q = i.lookup(&IQ4_VALUES, b.first_chunk::<16>()?);
        Some((d, [0; 2]))
    }
}

struct Mxfp4;
impl Format for Mxfp4 {
    const BYTES: usize = 17;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], q: &mut [i8; 32]) -> Option<Scales> {
        let (&e, b) = b.split_first()?;
        *q = i.lookup(&E2M1_DOUBLED, b.first_chunk::<16>()?);
        Some(([e, 0], [0; 2]))
    }
    #[inline(always)]
    fn scales<I: Isa>(_: I, bytes: &[u8; 32]) -> [f32; 16] {
        let mut out = [0.0; 16];
        for (out, &[e, _]) in out.iter_mut().zip(bytes.as_chunks::<2>().0.iter().take(8)) {
            *out = e8m0_halved(e);
        }
        out
    }
}

/// Scales or sums of eight blocks from a prepared row.
#[inline(always)]
fn eight<const B: usize, T>(
    bytes: &[u8],
    group: usize,
    f: impl Fn([u8; B]) -> T,
) -> Option<[T; 8]> {
    let at = bytes
        .get(8 * B * group..)?
        .as_chunks::<B>()
        .0
        .first_chunk::<8>()?;
    Some(at.map(f))
}

/// The products of one weight row with the first `n` of `T` rows of activations, eight blocks at a
/// time.
#[inline(always)]
fn dots<I: Isa, F: Format, const T: usize>(
    i: I,
    w: &[u8],
    x: &[Quants<'_>; T],
    n: usize,
) -> [f32; T] {
    let mut acc = [0.0; T];
    let mut q = [[0i8; 32]; 8];
    for (group, w) in w.chunks(8 * F::BYTES).enumerate() {
        for line in (0..8 * F::BYTES).step_by(64) {
            i.soon(w.as_ptr().wrapping_add(AHEAD + line));
        }
        let mut bytes = [[[0u8; 2]; 8]; 2];
        let [d, m] = &mut bytes;
        let mut count = 0;
        let to = q.iter_mut().zip(d.iter_mut().zip(m));
        for (b, (q, (d, m))) in w.chunks_exact(F::BYTES).zip(to) {
            let Some(scales) = F::unpack(i, b, q) else {
                continue;
            };
            (*d, *m) = scales;
            count += 1;
        }
        let scales: [f32; 16] = F::scales(i, bytemuck::cast_ref(&bytes));
        let [d, m]: [[f32; 8]; 2] = bytemuck::cast(scales);
        let q: &[i8; 256] = bytemuck::cast_ref(&q);
        for (acc, x) in acc.iter_mut().zip(x).take(n) {
            let Some(a) = x.q.get(group) else { continue };
            let Some(da) = eight(x.d, group, f32::from_ne_bytes) else {
                continue;
            };
            let Some(sums) = eight(x.sums, group, i16::from_ne_bytes) else {
                continue;
            };
            let isums = i.dots32(q, a).map(|s| s as f32);
            let asums = sums.map(f32::from);
            let (mut scales, mut mins) = (d, m);
            for ((d, m), da) in scales.iter_mut().zip(&mut mins).zip(&da) {
                *d *= da;
                *m *= da;
            }
            let mut y = *acc;
            let blocks = scales.iter().zip(&isums).zip(&mins).zip(&asums);
            for (((&d, &s), &m), &a) in blocks.take(count) {
                y = i.fma(d, s, y);
                if F::MIN {
                    y = i.fma(m, a, y);
                }
            }
            *acc = y;
        }
    }
    acc
}

struct Rows<'a, I, F>(I, Job<'a>, PhantomData<F>);

impl<I: Isa, F: Format> Rows<'_, I, F> {
    #[inline(always)]
    fn act(&self, tok: usize) -> Quants<'_> {
        let kind = ActKind::Q8x32;
        Quants::new(kind, self.1.act(kind, tok), self.1.k())
    }
}

impl<I: Isa, F: Format> Tile for Rows<'_, I, F> {
    #[inline(always)]
    fn tile(&self, w: &[u8], tok: usize, n: usize) -> [f32; TILE] {
        let mut y = [0.0; TILE];
        if n == 1 || TILE == 1 {
            for (t, y) in y.iter_mut().enumerate().take(n) {
                let x = self.act(tok + t);
                *y = F::row(self.0, w, &x).unwrap_or_else(|| {
                    let [y] = dots::<I, F, 1>(self.0, w, &[x], 1);
                    y
                });
            }
        } else {
            let mut x = [Quants::EMPTY; TILE];
            for (t, x) in x.iter_mut().enumerate().take(n) {
                *x = self.act(tok + t);
            }
            y = dots::<I, F, TILE>(self.0, w, &x, n);
        }
        y
    }
}

#[inline(always)]
fn rows<I: Isa, F: Format>(i: I, job: Job<'_>, rows: Range<usize>) {
    let row_bytes = job.k() / 32 * F::BYTES;
    job.each_tile(rows, row_bytes, &Rows::<I, F>(i, job, PhantomData));
}

at_level! { fn q4_0(job: Job<'_>, r: Range<usize>) = rows::<_, Q4_0> }
at_level! { fn q4_1(job: Job<'_>, r: Range<usize>) = rows::<_, Q4_1> }
at_level! { fn q5_0(job: Job<'_>, r: Range<usize>) = rows::<_, Q5_0> }
at_level! { fn q5_1(job: Job<'_>, r: Range<usize>) = rows::<_, Q5_1> }
at_level! { fn q8_0(job: Job<'_>, r: Range<usize>) = rows::<_, Q8_0> }
at_level! { fn iq4_nl(job: Job<'_>, r: Range<usize>) = rows::<_, Iq4Nl> }
at_level! { fn mxfp4(job: Job<'_>, r: Range<usize>) = rows::<_, Mxfp4> }

pub(super) fn run(level: Level, job: Job<'_>, rows: Range<usize>) {
    match job.ty() {
        GgmlType::Q4_0 if LEGACY => q4_0(level, job, rows),
        GgmlType::Q4_1 if LEGACY => q4_1(level, job, rows),
        GgmlType::Q5_0 if LEGACY => q5_0(level, job, rows),
        GgmlType::Q5_1 if LEGACY => q5_1(level, job, rows),
        GgmlType::Q8_0 => q8_0(level, job, rows),
        GgmlType::IQ4_NL if IQ => iq4_nl(level, job, rows),
        GgmlType::MXFP4 if OTHER => mxfp4(level, job, rows),
        // `act_kind` sends no others here, and no model is let in whose types are not built.
        _ => {}
    }
}
