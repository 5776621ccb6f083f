//! Products with weights that are floats, or that are turned into floats exactly.
//!
//! A tile of `R` weight rows by `T` tokens keeps its sums, sixteen lanes each as the definition has them, in registers.
//! One token reads its weights where they lie. Where many tokens share them, weights that are not floats are turned into
//! floats once per block of rows, in the scratch, and rows longer than a piece are multiplied piece by piece, so that the
//! tokens of a tile stay in the first-level cache while rows of weights pass from the second; the sums wait in the
//! scratch from one piece to the next. (The blocking is that of Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication", without packing.)
#![allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "arrays of registers, indexed by constants once unrolled"
)]

use super::math;
use crate::cpu::kernels::Product;
use crate::cpu::scalar;
use crate::graph::kernels::matmul::{self, ActKind};
use crate::quant::{GgmlType, block_kernel};
use core::arch::x86_64::*;
use core::ops::Range;
use core::slice::from_raw_parts_mut;

/// Elements of a piece: six tokens' are 24 KiB. Half of that would have sums stored and loaded again twice as often.
const PIECE: usize = 1024;
/// Bytes of weights, as floats, that stay in the second-level cache while all tokens pass. All activations come from further away
/// once per so many bytes: at a third of this, rows of 5632 ran at two thirds of the speed. Processors with AVX-512 and a second
/// level of 1 MiB have room for this and the tokens of a tile.
const NEAR: usize = 768 << 10;
/// The same for one token, which has each row once.
const NEAR_SINGLE: usize = 16 << 10;
/// From so many tokens on, weights are turned into floats first.
const WIDEN: usize = 9;
/// Tokens of the widest tile, and rows of a tile that has several tokens.
const TOKENS: usize = 6;
const ROWS: usize = 4;
/// How far ahead of one token's reading halves are asked for from memory, and into the first cache.
const AHEAD: usize = 16384;
const NEAR_AHEAD: usize = 2048;
/// How far ahead the pages of floats are looked up.
const PAGES_AHEAD: usize = 28672;

/// Weights that can be read in place.
trait Source {
    /// Bytes of an element.
    const BYTES: usize;
    /// Sixteen elements.
    ///
    /// # Safety
    /// AVX-512 F, BW, VL; the memory is readable.
    unsafe fn whole(p: *const u8) -> __m512;
    /// Those elements that the mask has, else 0.
    ///
    /// # Safety
    /// As `whole`, for those elements.
    unsafe fn part(p: *const u8, mask: u16) -> __m512;
}

struct F32;
impl Source for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn whole(p: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(p.cast()) }
    }
    #[inline(always)]
    unsafe fn part(p: *const u8, mask: u16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_ps(mask, p.cast()) }
    }
}

struct F16;
impl Source for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn whole(p: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn part(p: *const u8, mask: u16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p.cast())) }
    }
}

struct Bf16;
impl Bf16 {
    #[inline(always)]
    unsafe fn float(h: __m256i) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(h))) }
    }
}
impl Source for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn whole(p: *const u8) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { Self::float(_mm256_loadu_si256(p.cast())) }
    }
    #[inline(always)]
    unsafe fn part(p: *const u8, mask: u16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { Self::float(_mm256_maskz_loadu_epi16(mask, p.cast())) }
    }
}

/// Rows of weights that are worked on together.
#[derive(Clone, Copy)]
struct Block<'a> {
    p: &'a Product<'a>,
    /// Row `first`, and the bytes from one row to the next.
    w: *const u8,
    stride: usize,
    first: usize,
    /// Where sums wait between pieces; null if rows are multiplied whole.
    sums: *mut f32,
}

/// A tile's place.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    token: usize,
    /// The elements to multiply, and where the sums wait.
    from: usize,
    to: usize,
    sums: *mut f32,
}

/// Multiplies the elements `from..to` of `R` rows and `T` tokens; the last piece writes the results.
#[inline(always)]
unsafe fn tile<S: Source, const R: usize, const T: usize>(b: &Block<'_>, at: Place) {
    let p = b.p;
    // SAFETY: the caller's promise; a part of a vector is read where a row ends within it.
    unsafe {
        let w = b.w.add((at.row - b.first) * b.stride);
        let mut x = [core::ptr::null::<f32>(); T];
        for (t, x) in x.iter_mut().enumerate() {
            *x = p.act.get_unchecked(at.token + t).cast();
        }
        let mut acc = [[_mm512_setzero_ps(); T]; R];
        if at.from > 0 {
            for r in 0..R {
                for t in 0..T {
                    acc[r][t] = _mm512_loadu_ps(at.sums.add(16 * (r * T + t)));
                }
            }
        }
        let mut i = at.from;
        while i + 16 <= at.to {
            let mut v = [_mm512_setzero_ps(); T];
            for t in 0..T {
                v[t] = _mm512_loadu_ps(x[t].add(i));
            }
            for r in 0..R {
                let w = S::whole(w.add(r * b.stride + i * S::BYTES));
                for t in 0..T {
                    acc[r][t] = _mm512_fmadd_ps(w, v[t], acc[r][t]);
                }
            }
            i += 16;
        }
        if i < at.to {
            let mask = (1u16 << (at.to - i)) - 1;
            for r in 0..R {
                let w = S::part(w.add(r * b.stride + i * S::BYTES), mask);
                for t in 0..T {
                    let x = _mm512_maskz_loadu_ps(mask, x[t].add(i));
                    acc[r][t] = _mm512_mask3_fmadd_ps(w, x, acc[r][t], mask);
                }
            }
        }
        if at.to < p.k {
            for r in 0..R {
                for t in 0..T {
                    _mm512_storeu_ps(at.sums.add(16 * (r * T + t)), acc[r][t]);
                }
            }
            return;
        }
        finish::<R, T>(p, at, &acc);
    }
}

/// Folds the lanes and writes the results.
#[inline(always)]
unsafe fn finish<const R: usize, const T: usize>(
    p: &Product<'_>,
    at: Place,
    acc: &[[__m512; T]; R],
) {
    // SAFETY: the caller's promise.
    unsafe {
        // Sixteen sums at a time: `R` of a token, then of the next.
        let mut y = [0.0f32; 32];
        for first in (0..R * T).step_by(16) {
            let mut lanes = [_mm512_setzero_ps(); 16];
            for (i, lanes) in lanes.iter_mut().enumerate() {
                let n = first + i;
                if n < R * T {
                    *lanes = acc[n % R][n / R];
                }
            }
            _mm512_storeu_ps(y.as_mut_ptr().add(first), math::trees(&lanes));
        }
        let mut bias = [0.0f32; R];
        if let Some(b) = p.bias {
            let b = b.as_ptr().add(4 * at.row);
            core::ptr::copy_nonoverlapping(b, bias.as_mut_ptr().cast(), 4 * R);
        }
        for t in 0..T {
            let dst = p.dst.get_unchecked(at.token + t).add(at.row);
            if p.bias.is_some() {
                for r in 0..R {
                    *dst.add(r) = y[t * R + r] + bias[r];
                }
            } else {
                core::ptr::copy_nonoverlapping(y.as_ptr().add(t * R), dst, R);
            }
        }
    }
}

/// Rows `at.row..end`, with the tokens of one tile.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn rows<S: Source, const T: usize>(b: &Block<'_>, mut at: Place, end: usize) {
    let waiting = at.sums;
    // SAFETY: the caller's promise.
    unsafe {
        while at.row + ROWS <= end {
            if !waiting.is_null() {
                at.sums = waiting.add((at.row - b.first) * 16 * TOKENS);
            }
            tile::<S, ROWS, T>(b, at);
            at.row += ROWS;
        }
        while at.row < end {
            if !waiting.is_null() {
                at.sums = waiting.add((at.row - b.first) * 16 * TOKENS);
            }
            tile::<S, 1, T>(b, at);
            at.row += 1;
        }
    }
}

/// One token: rows one after the other, as they lie in memory. The processor's own prefetchers keep up with one stream, and
/// only with one: rows side by side come at half the speed.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn single<S: Source>(b: &Block<'_>, token: usize, end: usize) {
    let p = b.p;
    // SAFETY: the caller's promise.
    unsafe {
        let x = p.act.get_unchecked(token).cast::<f32>();
        let dst = *p.dst.get_unchecked(token);
        let mut w = b.w;
        for first in (b.first..end).step_by(16) {
            let n = (end - first).min(16);
            let mut acc = [_mm512_setzero_ps(); 16];
            for acc in acc.iter_mut().take(n) {
                *acc = chain::<S>(w, x, p.k);
                w = w.wrapping_add(b.stride);
            }
            let mask = !0 >> (16 - n);
            let mut y = math::trees(&acc);
            if let Some(b) = p.bias {
                let b = b.as_ptr().cast::<f32>().wrapping_add(first);
                y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, b));
            }
            _mm512_mask_storeu_ps(dst.wrapping_add(first), mask, y);
        }
    }
}

/// One row by one token: the sixteen sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn chain<S: Source>(w: *const u8, x: *const f32, k: usize) -> __m512 {
    const STEP: usize = 64;
    let mut acc = _mm512_setzero_ps();
    let mut i = 0;
    // SAFETY: the caller's promise; a part of a vector is read where the row ends within it.
    unsafe {
        while i + STEP <= k {
            let at = w.add(i * S::BYTES);
            if S::BYTES == 4 {
                // Whole lines are loaded faster than they come, which is what starts the prefetchers. They stop at the end
                // of a page, whose successor's address is therefore looked up in time.
                _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(PAGES_AHEAD).cast());
            } else {
                // The chain of additions is about as slow as memory: to be asked for early, and brought close.
                for line in (0..STEP * S::BYTES).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(line + AHEAD).cast());
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line + NEAR_AHEAD).cast());
                }
            }
            for j in (i..i + STEP).step_by(16) {
                let w = S::whole(w.add(j * S::BYTES));
                acc = _mm512_fmadd_ps(w, _mm512_loadu_ps(x.add(j)), acc);
            }
            i += STEP;
        }
        while i + 16 <= k {
            let w = S::whole(w.add(i * S::BYTES));
            acc = _mm512_fmadd_ps(w, _mm512_loadu_ps(x.add(i)), acc);
            i += 16;
        }
        if i < k {
            let mask = (1u16 << (k - i)) - 1;
            let w = S::part(w.add(i * S::BYTES), mask);
            let x = _mm512_maskz_loadu_ps(mask, x.add(i));
            acc = _mm512_mask3_fmadd_ps(w, x, acc, mask);
        }
    }
    acc
}

/// Rows up to `end` of a block, with all tokens.
unsafe fn block<S: Source>(b: &Block<'_>, end: usize) {
    let p = b.p;
    let n = p.act.len();
    let mut at = Place {
        row: b.first,
        token: 0,
        from: 0,
        to: p.k,
        sums: b.sums,
    };
    while at.token < n {
        let tokens = match n - at.token {
            6.. => 6,
            5 => 3,
            left => left,
        };
        let piece = if b.sums.is_null() { p.k } else { PIECE };
        for from in (0..p.k).step_by(piece) {
            (at.from, at.to) = (from, p.k.min(from + piece));
            // SAFETY: the caller's promise.
            unsafe {
                match tokens {
                    1 if b.sums.is_null() => single::<S>(b, at.token, end),
                    1 => rows::<S, 1>(b, at, end),
                    2 => rows::<S, 2>(b, at, end),
                    3 => rows::<S, 3>(b, at, end),
                    4 => rows::<S, 4>(b, at, end),
                    _ => rows::<S, 6>(b, at, end),
                }
            }
        }
        at.token += tokens;
    }
}

/// Turns rows of halves into floats.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn widen<S: Source>(w: &[u8], to: *mut f32) {
    let n = w.len() / S::BYTES;
    let mut i = 0;
    // SAFETY: the caller's promise: room for all of `w`.
    unsafe {
        while i + 16 <= n {
            _mm512_storeu_ps(to.add(i), S::whole(w.as_ptr().add(i * S::BYTES)));
            i += 16;
        }
        if i < n {
            let mask = (1u16 << (n - i)) - 1;
            let x = S::part(w.as_ptr().add(i * S::BYTES), mask);
            _mm512_mask_storeu_ps(to.add(i), mask, x);
        }
    }
}

/// Rows that are worked on together.
fn block_rows(k: usize, tokens: usize) -> usize {
    let near = if tokens == 1 { NEAR_SINGLE } else { NEAR };
    (near / (4 * k.max(1)) / ROWS * ROWS).clamp(ROWS, 64)
}

fn in_place(ty: GgmlType, tokens: usize) -> bool {
    match ty {
        GgmlType::F32 => true,
        GgmlType::F16 | GgmlType::BF16 => tokens < WIDEN,
        _ => false,
    }
}

/// Floats from one row of turned weights to the next: not a power of two, which all rows' lines would share few places of a
/// cache by.
fn turned_stride(k: usize) -> usize {
    k.next_multiple_of(16) + 16
}

/// Floats of the sums that wait between pieces, and of the turned weights.
fn scratch_floats(ty: GgmlType, k: usize, tokens: usize) -> (usize, usize) {
    let rows = block_rows(k, tokens);
    let sums = if tokens > 1 && k > PIECE {
        rows * 16 * TOKENS
    } else {
        0
    };
    let floats = if in_place(ty, tokens) {
        0
    } else {
        rows * turned_stride(k)
    };
    (sums, floats)
}

pub(super) fn act_row_bytes(k: usize) -> usize {
    matmul::act_row_bytes(ActKind::F32, k)
}

pub(super) unsafe fn prepare_act(x: &[f32], dst: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { scalar::prepare_act(ActKind::F32, x, dst) }
}

pub(super) fn scratch_bytes(ty: GgmlType, k: usize, tokens: usize) -> usize {
    // Fewer tokens may take larger sums or more weights: room for either.
    let (sums, floats) = scratch_floats(ty, k, tokens);
    4 * (sums + floats)
}

pub(super) unsafe fn product(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    let n = p.act.len();
    let Some(row_bytes) = p.ty.row_bytes(p.k as u64) else {
        return;
    };
    let row_bytes = row_bytes as usize;
    let rows = rows.start..rows.end.min(p.m);
    let (sums, _) = scratch_floats(p.ty, p.k, n);
    let waiting = scratch.cast::<f32>();
    let floats = waiting.wrapping_add(sums);
    let direct = in_place(p.ty, n);
    // One token passes over all rows at once, in place.
    let step = if direct && sums == 0 && n == 1 {
        rows.len().max(1)
    } else {
        block_rows(p.k, n)
    };
    for first in rows.clone().step_by(step) {
        let end = rows.end.min(first + step);
        let Some(w) = p.w.get(first * row_bytes..end * row_bytes) else {
            return;
        };
        let mut b = Block {
            p,
            w: w.as_ptr(),
            stride: row_bytes,
            first,
            sums: if sums > 0 {
                waiting
            } else {
                core::ptr::null_mut()
            },
        };
        // SAFETY: the caller's promise; the scratch has the room that `scratch_floats` says.
        unsafe {
            if !direct {
                let stride = turned_stride(p.k);
                for (r, w) in w.chunks_exact(row_bytes).enumerate() {
                    let to = floats.add(r * stride);
                    match p.ty {
                        GgmlType::F16 => widen::<F16>(w, to),
                        GgmlType::BF16 => widen::<Bf16>(w, to),
                        _ => {
                            to.write_bytes(0, p.k);
                            block_kernel(p.ty)(w, from_raw_parts_mut(to, p.k));
                        }
                    }
                }
                (b.w, b.stride) = (floats.cast(), 4 * stride);
            }
            match p.ty {
                GgmlType::F16 if direct => block::<F16>(&b, end),
                GgmlType::BF16 if direct => block::<Bf16>(&b, end),
                _ => block::<F32>(&b, end),
            }
        }
    }
}
