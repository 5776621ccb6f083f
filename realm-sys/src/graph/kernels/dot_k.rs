//! Products with weights in super-blocks of 256: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS.
//!
//! With `q` the weight's integers, `scale` and `min` the integers of their sub-blocks, `d` and `dmin`
//! the super-block's factors as floats, `a` and `da` the activation's integers and scale:
//!
//! ```text
//! acc = 0
//! for each super-block, ascending:
//!     isum = sum over sub-blocks of scale * (sum of q * a)       exact
//!     acc  = fma(d * da, f32(isum), acc)
//!     msum = sum over sub-blocks of min * (sum of a)             Q2_K, Q4_K, Q5_K only; exact
//!     acc  = fma(-(dmin * da), f32(msum), acc)
//! ```
//!
//! | type   | q          | scale      | largest isum | min |
//! |--------|------------|------------|--------------|-----|
//! | Q2_K   | 0..=3      | 0..=15     | 1.5e6        | 0..=15 |
//! | Q3_K   | -4..=3     | -32..=31   | 4.2e6        | |
//! | Q4_K   | 0..=15     | 0..=63     | 3.1e7        | 0..=63 |
//! | Q5_K   | 0..=31     | 0..=63     | 6.4e7        | 0..=63 |
//! | Q6_K   | -32..=31   | -128..=127 | 1.4e8        | |
//! | IQ4_XS | -127..=113 | -32..=31   | 1.4e8        | |
//!
//! (256 * 127 * |q| * |scale|): all fit in an `i32`. Above 2^24 the conversion to a float rounds, to
//! nearest even.

use core::marker::PhantomData;
use core::ops::Range;

use super::matmul::{ActKind, Job, Quants, TILE, Tile};
use crate::num::cpu::{Isa, Level, at_level};
use crate::quant::f16::f16_to_f32;
use crate::quant::iq::IQ4_VALUES;
use crate::quant::types::{GgmlType, IQ, K};

/// How far ahead weights are asked for: about what memory takes to answer.
const AHEAD: usize = 2048;

/// An unpacked super-block.
struct Super {
    q: [i8; 256],
    /// Per run of 16 elements, also where the format has sub-blocks of 32.
    scale: [i16; 16],
    min: [i16; 16],
    d: f32,
    dmin: f32,
}

/// A super-block format.
trait Format {
    /// Bytes of a super-block.
    const BYTES: usize;
    /// Whether integers may be negative.
    const SIGNED: bool;
    /// Whether there are minima.
    const MIN: bool = false;
    /// Takes apart a super-block of `BYTES` bytes.
    fn unpack<I: Isa>(i: I, b: &[u8], s: &mut Super) -> Option<()>;
}

#[inline(always)]
fn half(b: &[u8], at: usize) -> Option<f32> {
    Some(f16_to_f32(u16::from_le_bytes(*b.get(at..)?.first_chunk()?)))
}

/// A part of the block, as an array.
#[inline(always)]
fn part<const N: usize>(b: &[u8], at: usize) -> Option<&[u8; N]> {
    b.get(at..)?.first_chunk()
}

/// One layer of a run of bytes: `q = (b >> DOWN & MASK) << UP`, or'ed onto what is there if `OR`. The
/// shifts are constants because one by a variable would be slow.
#[inline(always)]
fn layer<I: Isa, const DOWN: i32, const MASK: u8, const UP: i32, const OR: bool>(
    i: I,
    b: &[u8],
    q: &mut [i8],
) {
    let q = bytemuck::cast_slice_mut::<i8, u8>(q)
        .as_chunks_mut::<32>()
        .0;
    for (q, b) in q.iter_mut().zip(b.as_chunks::<32>().0) {
        let or = if OR { *q } else { [0; 32] };
        *q = i.bits::<DOWN, MASK, UP>(b, &or);
    }
}

/// Nibbles: each run of `R` bytes holds two layers of `R` elements.
#[inline(always)]
fn nibbles<I: Isa, const R: usize>(i: I, b: &[u8; 128], q: &mut [i8; 256]) {
    for (b, q) in b.as_chunks::<R>().0.iter().zip(q.chunks_exact_mut(2 * R)) {
        let (q0, q1) = q.split_at_mut(R);
        layer::<I, 0, 15, 0, false>(i, b, q0);
        layer::<I, 4, 15, 0, false>(i, b, q1);
    }
}

/// Pairs of bits: each run of 32 bytes holds four layers of 32 elements.
#[inline(always)]
fn pairs<I: Isa, const UP: i32, const OR: bool>(i: I, b: &[u8; 64], q: &mut [i8; 256]) {
    for (b, q) in b.as_chunks::<32>().0.iter().zip(q.as_chunks_mut::<128>().0) {
        if let [q0, q1, q2, q3] = q.as_chunks_mut::<32>().0 {
            layer::<I, 0, 3, UP, OR>(i, b, q0);
            layer::<I, 2, 3, UP, OR>(i, b, q1);
            layer::<I, 4, 3, UP, OR>(i, b, q2);
            layer::<I, 6, 3, UP, OR>(i, b, q3);
        }
    }
}

/// Single bits, or'ed on: 32 bytes hold eight layers of 32 elements.
#[inline(always)]
fn singles<I: Isa, const UP: i32>(i: I, b: &[u8; 32], q: &mut [i8; 256]) {
    if let [q0, q1, q2, q3, q4, q5, q6, q7] = q.as_chunks_mut::<32>().0 {
        layer::<I, 0, 1, UP, true>(i, b, q0);
        layer::<I, 1, 1, UP, true>(i, b, q1);
        layer::<I, 2, 1, UP, true>(i, b, q2);
        layer::<I, 3, 1, UP, true>(i, b, q3);
        layer::<I, 4, 1, UP, true>(i, b, q4);
        layer::<I, 5, 1, UP, true>(i, b, q5);
        layer::<I, 6, 1, UP, true>(i, b, q6);
        layer::<I, 7, 1, UP, true>(i, b, q7);
    }
}

/// The twelve bytes of Q4_K and Q5_K: eight scales and eight minima of six bits.
#[inline(always)]
fn scales_mins<I: Isa>(i: I, b: &[u8; 12], s: &mut Super) {
    let [w0, w1, w2] = *b.as_chunks::<4>().0 else {
        return;
    };
    let (w0, w1, w2) = (
        u32::from_le_bytes(w0),
        u32::from_le_bytes(w1),
        u32::from_le_bytes(w2),
    );
    // Four bytes at a time: the first four are six bits as they stand, the last four have their
    // upper two bits on top of the first four.
    let six = 0x3f3f_3f3f;
    let (low, top) = (0x0f0f_0f0f, 0x3030_3030);
    let scales = [w0 & six, (w2 & low) | (w0 >> 2 & top)];
    let mins = [w1 & six, (w2 >> 4 & low) | (w1 >> 2 & top)];
    let bytes = |[a, b]: [u32; 2]| (u64::from(a) | u64::from(b) << 32).to_le_bytes();
    s.scale = i.doubled(&bytes(scales));
    s.min = i.doubled(&bytes(mins));
}

struct Q2K;
impl Format for Q2K {
    const BYTES: usize = 84;
    const SIGNED: bool = false;
    const MIN: bool = true;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], s: &mut Super) -> Option<()> {
        for ((scale, min), &b) in s.scale.iter_mut().zip(&mut s.min).zip(part::<16>(b, 0)?) {
            (*scale, *min) = (i16::from(b & 15), i16::from(b >> 4));
        }
        pairs::<I, 0, false>(i, part(b, 16)?, &mut s.q);
        (s.d, s.dmin) = (half(b, 80)?, half(b, 82)?);
        Some(())
    }
}

struct Q3K;
impl Format for Q3K {
    const BYTES: usize = 110;
    const SIGNED: bool = true;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], s: &mut Super) -> Option<()> {
        pairs::<I, 0, false>(i, part(b, 32)?, &mut s.q);
        singles::<I, 2>(i, part(b, 0)?, &mut s.q);
        for q in &mut s.q {
            *q -= 4;
        }
        // Four bits in the first eight bytes, low nibbles first; two in the last four.
        let (low, high) = (part::<8>(b, 96)?, part::<4>(b, 104)?);
        for (n, scale) in s.scale.chunks_exact_mut(8).enumerate() {
            for (scale, &b) in scale.iter_mut().zip(low) {
                *scale = i16::from(b >> (4 * n) & 15);
            }
        }
        for (n, scale) in s.scale.chunks_exact_mut(4).enumerate() {
            for (scale, &b) in scale.iter_mut().zip(high) {
                *scale = (*scale | i16::from(b >> (2 * n) & 3) << 4) - 32;
            }
        }
        s.d = half(b, 108)?;
        Some(())
    }
}

struct Q4K;
impl Format for Q4K {
    const BYTES: usize = 144;
    const SIGNED: bool = false;
    const MIN: bool = true;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], s: &mut Super) -> Option<()> {
        (s.d, s.dmin) = (half(b, 0)?, half(b, 2)?);
        scales_mins(i, part(b, 4)?, s);
        nibbles::<I, 32>(i, part(b, 16)?, &mut s.q);
        Some(())
    }
}

struct Q5K;
impl Format for Q5K {
    const BYTES: usize = 176;
    const SIGNED: bool = false;
    const MIN: bool = true;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], s: &mut Super) -> Option<()> {
        (s.d, s.dmin) = (half(b, 0)?, half(b, 2)?);
        scales_mins(i, part(b, 4)?, s);
        nibbles::<I, 32>(i, part(b, 48)?, &mut s.q);
        singles::<I, 4>(i, part(b, 16)?, &mut s.q);
        Some(())
    }
}

struct Q6K;
impl Format for Q6K {
    const BYTES: usize = 210;
    const SIGNED: bool = true;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], s: &mut Super) -> Option<()> {
        // In each half: 64 bytes of two layers of nibbles, 32 bytes of four layers of upper bits.
        nibbles::<I, 64>(i, part(b, 0)?, &mut s.q);
        pairs::<I, 4, true>(i, part(b, 128)?, &mut s.q);
        for q in &mut s.q {
            *q -= 32;
        }
        for (scale, &b) in s.scale.iter_mut().zip(part::<16>(b, 192)?) {
            *scale = i16::from(b as i8);
        }
        s.d = half(b, 208)?;
        Some(())
    }
}

struct Iq4Xs;
impl Format for Iq4Xs {
    const BYTES: usize = 136;
    const SIGNED: bool = true;
    #[inline(always)]
    fn unpack<I: Isa>(i: I, b: &[u8], s: &mut Super) -> Option<()> {
        s.d = half(b, 0)?;
        let (high, low) = (
            u16::from_le_bytes(*part(b, 2)?),
            u32::from_le_bytes(*part(b, 4)?),
        );
        for (n, scale) in s.scale.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let low = (low >> (4 * n) & 15) as i16;
            let high = (high >> (2 * n) & 3) as i16;
            *scale = [(low | high << 4) - 32; 2];
        }
        let runs = part::<128>(b, 8)?.as_chunks::<16>().0;
        for (q, b) in s.q.as_chunks_mut::<32>().0.iter_mut().zip(runs) {
            *q = i.lookup(&IQ4_VALUES, b);
        }
        Some(())
    }
}

/// The products of one weight row with the first `n` of `T` rows of activations.
#[inline(always)]
fn dots<I: Isa, F: Format, const T: usize>(
    i: I,
    w: &[u8],
    x: &[Quants<'_>; T],
    n: usize,
) -> [f32; T] {
    let mut acc = [0.0; T];
    let mut s = Super {
        q: [0; 256],
        scale: [0; 16],
        min: [0; 16],
        d: 0.0,
        dmin: 0.0,
    };
    for (block, w) in w.chunks_exact(F::BYTES).enumerate() {
        for line in (0..F::BYTES).step_by(64) {
            i.soon(w.as_ptr().wrapping_add(AHEAD + line));
        }
        if F::unpack(i, w, &mut s).is_none() {
            break;
        }
        for (acc, x) in acc.iter_mut().zip(x).take(n) {
            let Some(a) = x.q.get(block) else { continue };
            let Some(&da) = x.d.as_chunks::<4>().0.get(block) else {
                continue;
            };
            let da = f32::from_ne_bytes(da);
            let isum = if F::SIGNED {
                i.dot256::<true>(&s.q, &s.scale, a)
            } else {
                i.dot256::<false>(&s.q, &s.scale, a)
            };
            *acc = i.fma(s.d * da, isum as f32, *acc);
            if F::MIN {
                let Some(sums) = x.sums.as_chunks::<32>().0.get(block) else {
                    continue;
                };
                let mut msum = 0;
                for (&min, &sum) in s.min.iter().zip(sums.as_chunks::<2>().0) {
                    msum += i32::from(min) * i32::from(i16::from_ne_bytes(sum));
                }
                *acc = i.fma(-(s.dmin * da), msum as f32, *acc);
            }
        }
    }
    acc
}

struct Rows<'a, I, F>(I, Job<'a>, PhantomData<F>);

impl<I: Isa, F: Format> Rows<'_, I, F> {
    #[inline(always)]
    fn act(&self, tok: usize) -> Quants<'_> {
        let kind = ActKind::Q8x256;
        Quants::new(kind, self.1.act(kind, tok), self.1.k())
    }
}

impl<I: Isa, F: Format> Tile for Rows<'_, I, F> {
    #[inline(always)]
    fn tile(&self, w: &[u8], tok: usize, n: usize) -> [f32; TILE] {
        let mut y = [0.0; TILE];
        if n == 1 || TILE == 1 {
            for (t, y) in y.iter_mut().enumerate().take(n) {
                [*y] = dots::<I, F, 1>(self.0, w, &[self.act(tok + t)], 1);
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
    let row_bytes = job.k() / 256 * F::BYTES;
    job.each_tile(rows, row_bytes, &Rows::<I, F>(i, job, PhantomData));
}

at_level! { fn q2_k(job: Job<'_>, r: Range<usize>) = rows::<_, Q2K> }
at_level! { fn q3_k(job: Job<'_>, r: Range<usize>) = rows::<_, Q3K> }
at_level! { fn q4_k(job: Job<'_>, r: Range<usize>) = rows::<_, Q4K> }
at_level! { fn q5_k(job: Job<'_>, r: Range<usize>) = rows::<_, Q5K> }
at_level! { fn q6_k(job: Job<'_>, r: Range<usize>) = rows::<_, Q6K> }
at_level! { fn iq4_xs(job: Job<'_>, r: Range<usize>) = rows::<_, Iq4Xs> }

pub(super) fn run(level: Level, job: Job<'_>, rows: Range<usize>) {
    match job.ty() {
        GgmlType::Q2_K if K => q2_k(level, job, rows),
        GgmlType::Q3_K if K => q3_k(level, job, rows),
        GgmlType::Q4_K if K => q4_k(level, job, rows),
        GgmlType::Q5_K if K => q5_k(level, job, rows),
        GgmlType::Q6_K if K => q6_k(level, job, rows),
        GgmlType::IQ4_XS if IQ => iq4_xs(level, job, rows),
        // `act_kind` sends no others here, and no model is let in whose types are not built.
        _ => {}
    }
}
