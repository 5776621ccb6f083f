//! Products of several weight rows at once, the loops that both block families share.
//!
//! **Few activation rows**: eight plain weight rows side by side. Every row's partial sums are a vector; eight of them
//! are folded together into one vector with a lane per row, so that the scales and the chains of additions are
//! vectors too, and nothing is left over at the end of a row.
//!
//! **Many**: 16 weight rows by 256 elements are expanded once to words, two elements of eight rows in a vector, and
//! meet the broadcast words of four activation rows at a time. Words and not bytes because `vpmaddubsw` wants one side
//! unsigned and saturates with eight-bit weights, and because a super-block's scales can be multiplied into words, once
//! for all activation rows (|q * scale| <= 4096): then a step is `vpmaddwd` and an addition, for every format alike.
//! The expanded weights (8 KiB) stay in the nearest cache while activation rows pass; sums that are not finished wait
//! as floats in the scratch, which changes nothing.

use super::step::{Job, Step, load, transpose8};
use crate::cpu::kernels::{Product, ahead};
use core::arch::x86_64::*;
use core::marker::PhantomData;
use core::ops::Range;

/// Activation rows from which on weights are expanded.
const MANY: usize = 5;
/// How far ahead, at least, few rows' memory is asked for: about what it takes to answer.
pub(super) const AHEAD: usize = 32768;
/// Activation rows that pass over a tile before the next tile: what a second-level cache holds.
const PASS: usize = 256;

/// Weights of 16 rows by up to 256 elements.
#[repr(C, align(64))]
pub(super) struct Tile {
    /// Pairs of elements: `[pair][row]`.
    pub w: [[i32; 16]; 128],
    /// Pairs of minima, as pairs of elements are.
    pub min: [[i32; 16]; 8],
    /// Factors `[block][row]`.
    pub d: [[f32; 16]; 8],
    pub m: [[f32; 16]; 8],
}

/// A block family's format.
pub(super) trait Weights {
    /// Elements and bytes of a block.
    const BLOCK: (usize, usize);

    /// Multiplies eight rows with `T` activation rows, `k` elements; `ahead` is memory to ask for on the way.
    ///
    /// # Safety
    /// Within `enter`; the rows are there.
    unsafe fn rows<S: Step, const T: usize>(
        w: &[*const u8; 8],
        k: usize,
        act: [*const u8; T],
        ahead: *const u8,
    ) -> [__m256; T];

    /// Expands elements from `256 * group` on, of half (0 or 1) of the tile's rows.
    ///
    /// # Safety
    /// As `rows`.
    unsafe fn expand(w: &[*const u8; 8], k: usize, group: usize, tile: *mut Tile, half: usize);

    /// Goes on with the sums of `T` activation rows.
    ///
    /// # Safety
    /// As `rows`; `sums` are 16 floats for each.
    unsafe fn multiply<S: Step, const T: usize>(
        tile: *const Tile,
        k: usize,
        group: usize,
        act: [*const u8; T],
        sums: *mut f32,
    );
}

pub(super) fn scratch_bytes(tokens: usize) -> usize {
    if tokens < MANY {
        0
    } else {
        size_of::<Tile>() + tokens.min(PASS) * 64
    }
}

/// A product of the format.
pub(super) struct Run<'a, W>(
    pub &'a Product<'a>,
    pub Range<usize>,
    pub *mut u8,
    pub PhantomData<W>,
);

impl<W: Weights> Job for Run<'_, W> {
    #[inline(always)]
    unsafe fn run<S: Step>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.0.act.len() < MANY {
                few::<W, S>(self.0, self.1);
            } else {
                many::<W, S>(self.0, self.1, self.2);
            }
        }
    }
}

/// Eight rows from `first` on; past the end, the last one again.
#[inline(always)]
unsafe fn eight(p: &Product<'_>, first: usize, end: usize, row_bytes: usize) -> [*const u8; 8] {
    let mut w = [p.w.as_ptr(); 8];
    for (i, w) in w.iter_mut().enumerate() {
        // SAFETY: a row below `end`, which is not empty.
        *w = unsafe { w.add((first + i).min(end - 1) * row_bytes) };
    }
    w
}

/// Stores up to eight outputs with the bias added.
#[inline(always)]
unsafe fn store(p: &Product<'_>, t: usize, first: usize, end: usize, y: __m256) {
    // SAFETY: rows below `end` may be written, and have a bias if any has.
    unsafe {
        let dst = p.dst[t].add(first);
        let bias = p.bias.map(|b| b.as_ptr().add(4 * first).cast::<f32>());
        if end - first >= 8 {
            let y = bias.map_or(y, |b| _mm256_add_ps(y, _mm256_loadu_ps(b)));
            return _mm256_storeu_ps(dst, y);
        }
        let mut out = [0.0; 8];
        _mm256_storeu_ps(out.as_mut_ptr(), y);
        for (i, y) in out.into_iter().enumerate().take(end - first) {
            let y = bias.map_or(y, |b| y + b.add(i).read_unaligned());
            dst.add(i).write_unaligned(y);
        }
    }
}

#[inline(always)]
unsafe fn few<W: Weights, S: Step>(p: &Product<'_>, rows: Range<usize>) {
    let row_bytes = p.k / W::BLOCK.0 * W::BLOCK.1;
    let ahead = ahead(8, row_bytes, AHEAD);
    for first in rows.clone().step_by(8) {
        // SAFETY: the caller's promise.
        unsafe {
            let w = eight(p, first, rows.end, row_bytes);
            macro_rules! tokens {
                ($n:literal) => {{
                    let mut act = [p.act[0]; $n];
                    act.copy_from_slice(p.act);
                    let y = W::rows::<S, $n>(&w, p.k, act, w[0].wrapping_add(ahead));
                    for (t, &y) in y.iter().enumerate() {
                        store(p, t, first, rows.end, y);
                    }
                }};
            }
            match p.act.len() {
                1 => tokens!(1),
                2 => tokens!(2),
                3 => tokens!(3),
                4 => tokens!(4),
                _ => {}
            }
        }
    }
}

#[inline(always)]
unsafe fn many<W: Weights, S: Step>(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    let row_bytes = p.k / W::BLOCK.0 * W::BLOCK.1;
    let tile: *mut Tile = scratch.cast();
    // SAFETY: the scratch is as long as asked for.
    let sums = unsafe { scratch.add(size_of::<Tile>()).cast::<f32>() };
    for from in (0..p.act.len()).step_by(PASS) {
        let act = &p.act[from..p.act.len().min(from + PASS)];
        for first in rows.clone().step_by(16) {
            // SAFETY: the caller's promise.
            unsafe {
                sums.write_bytes(0, 16 * act.len());
                let w = [
                    eight(p, first, rows.end, row_bytes),
                    eight(p, first + 8, rows.end, row_bytes),
                ];
                for group in 0..p.k.div_ceil(256) {
                    W::expand(&w[0], p.k, group, tile, 0);
                    W::expand(&w[1], p.k, group, tile, 1);
                    let (fours, rest) = act.as_chunks::<4>();
                    for (i, &act) in fours.iter().enumerate() {
                        W::multiply::<S, 4>(tile, p.k, group, act, sums.add(64 * i));
                    }
                    let sums = sums.add(64 * fours.len());
                    for (i, &act) in rest.iter().enumerate() {
                        W::multiply::<S, 1>(tile, p.k, group, [act], sums.add(16 * i));
                    }
                }
                for t in 0..act.len() {
                    for half in [0, 8] {
                        if first + half < rows.end {
                            let y = _mm256_load_ps(sums.add(16 * t + half));
                            store(p, from + t, first + half, rows.end, y);
                        }
                    }
                }
            }
        }
    }
}

/// Asks for `bytes` of memory.
#[inline(always)]
pub(super) fn ask(at: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: a hint.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(line).cast()) };
    }
}

/// Sums of products of words: `steps` pairs of each of 16 rows with each of `T` activation rows.
#[inline(always)]
pub(super) unsafe fn dots<S: Step, const T: usize>(
    w: *const [i32; 16],
    act: [*const i16; T],
    steps: usize,
) -> [[__m256i; 2]; T] {
    // SAFETY: the caller's memory; within `enter`.
    unsafe {
        let mut acc = [[_mm256_setzero_si256(); 2]; T];
        for s in 0..steps {
            let w0 = _mm256_load_si256(w.add(s).cast());
            let w1 = _mm256_load_si256(w.add(s).cast::<__m256i>().add(1));
            for t in 0..T {
                let a = _mm256_set1_epi32(act[t].cast::<i32>().add(s).read());
                acc[t][0] = S::words(acc[t][0], w0, a);
                acc[t][1] = S::words(acc[t][1], w1, a);
            }
        }
        acc
    }
}

/// Puts eight rows of words, `n` vectors each, side by side in pairs.
#[inline(always)]
pub(super) unsafe fn interleave<const N: usize>(
    rows: &[[i16; N]; 8],
    to: *mut [i32; 16],
    half: usize,
    n: usize,
) {
    for c in 0..n {
        // SAFETY: within both; within `enter`.
        unsafe {
            let mut v = [_mm256_setzero_si256(); 8];
            for (v, row) in v.iter_mut().zip(rows) {
                *v = load(row.as_ptr().add(16 * c).cast());
            }
            for (i, v) in transpose8(&v).into_iter().enumerate() {
                _mm256_store_si256(to.add(8 * c + i).cast::<__m256i>().add(half), v);
            }
        }
    }
}
