//! Q8_0, few activation rows, long rows of weights: they pass once, row after row.
//!
//! Its blocks cost less to multiply than memory takes to bring them. Read in the order of memory they come as fast as the
//! processor's prefetchers can ask; four rows side by side, as `few` reads the other types, come a quarter slower. So
//! blocks' integer sums wait until four rows have theirs, and then the chains of additions run on four lanes: four blocks of
//! them after every sixteen of the next rows, because alone they would wait for themselves and leave memory idle.

#![allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "arrays that stand for registers, constant indices"
)]

use super::act::{LESS_128, RECORD, SCALES};
use super::format::{Format, Q8_0};
use crate::cpu::avx512::walk::AHEAD;
use crate::cpu::kernels::Product;
use core::arch::x86_64::*;
use core::array::from_fn;
use core::ops::Range;

/// Rows of so many elements and more are read one after the other; of shorter ones there is little to wait for.
pub(super) const LONG: usize = 512;

/// Four blocks' sums of four rows.
type Sums = [__m128; 4];
/// Their factors, `[block][row]`, as halves.
type Factors = [[u16; 4]; 4];

/// Scratch bytes for up to two tokens: what waits of four rows, and of the next four.
pub(super) fn scratch_bytes(k: usize, tokens: usize) -> usize {
    let unit = tokens.min(2) * size_of::<Sums>() + size_of::<Factors>();
    (2 * k.div_ceil(128) * unit).next_multiple_of(64)
}

/// Four rows.
struct Rows<const T: usize> {
    w: [*const u8; 4],
    /// `[four blocks][token]`.
    sums: *mut [Sums; T],
    /// `[four blocks]`.
    factors: *mut Factors,
    y: [__m128; T],
}

/// # Safety
/// As the slot, for `T` tokens; there are scratch bytes for as many.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
pub(super) unsafe fn few<const T: usize>(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    let blocks = p.k / 32;
    let units = blocks.div_ceil(4);
    let row_bytes = blocks * Q8_0::BYTES;
    let Some(x) = p.act.first_chunk::<T>() else {
        return;
    };
    let mut before: Option<Rows<T>> = None;
    for (n, first) in rows.clone().step_by(4).enumerate() {
        // SAFETY: the caller's promise: the rows and the scratch are there.
        let now = unsafe {
            let row = |i: usize| p.w.as_ptr().add((first + i).min(rows.end - 1) * row_bytes);
            Rows {
                w: from_fn(row),
                sums: scratch.cast::<[Sums; T]>().add(n % 2 * units),
                factors: scratch
                    .cast::<[Sums; T]>()
                    .add(2 * units)
                    .cast::<Factors>()
                    .add(n % 2 * units),
                y: [_mm_setzero_ps(); T],
            }
        };
        let mut step = 0;
        for r in 0..4 {
            for from in (0..units).step_by(4) {
                // SAFETY: the caller's promise; of the rows before, all sums have been written.
                unsafe {
                    for u in from..units.min(from + 4) {
                        add_up::<T>(&now, r, u, blocks - 4 * u, x);
                    }
                    if let Some(before) = &mut before {
                        if step < units {
                            chain::<T>(before, step, blocks - 4 * step, x);
                        }
                        step += 1;
                    }
                }
            }
        }
        if let Some(before) = &before {
            // SAFETY: the caller's promise: these columns may be written.
            unsafe { store(p, first - 4, 4, &before.y) };
        }
        before = Some(now);
    }
    if let Some(mut last) = before {
        let first = rows.start + (rows.len() - 1) / 4 * 4;
        // SAFETY: as above.
        unsafe {
            for u in 0..units {
                chain::<T>(&mut last, u, blocks - 4 * u, x);
            }
            store(p, first, rows.end - first, &last.y);
        }
    }
}

/// The sums of row `r`'s four blocks `u`, of which `left` are there. In place of a missing one the last is read; its sum
/// is not used.
///
/// # Safety
/// Blocks, records and scratch are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn add_up<const T: usize>(
    rows: &Rows<T>,
    r: usize,
    u: usize,
    left: usize,
    x: &[*const u8; T],
) {
    let flip = _mm256_set1_epi8(-128);
    // SAFETY: the caller's promise.
    unsafe {
        let w = rows.w.get_unchecked(r).add(4 * u * Q8_0::BYTES);
        for line in (0..4 * Q8_0::BYTES).step_by(64) {
            _mm_prefetch::<_MM_HINT_T1>(w.wrapping_add(AHEAD + line).cast());
        }
        let factors = rows.factors.add(u).cast::<u16>().add(r);
        let q: [__m256i; 4] = from_fn(|i| {
            let w = w.add(i.min(left - 1) * Q8_0::BYTES);
            factors.add(4 * i).write(w.cast::<u16>().read_unaligned());
            _mm256_xor_si256(_mm256_loadu_si256(w.add(Q8_0::QUANTS).cast()), flip)
        });
        for (t, x) in x.iter().enumerate() {
            let x = x.add(u * RECORD);
            let [a, b, c, d] = from_fn(|i| {
                let x = _mm256_load_si256(x.add(32 * i).cast());
                _mm256_dpbusd_epi32(_mm256_setzero_si256(), q[i], x)
            });
            let ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            let s = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
            let less = _mm_load_si128(x.add(LESS_128).cast());
            let s = _mm_add_epi32(
                _mm_add_epi32(_mm256_castsi256_si128(s), less),
                _mm256_extracti128_si256::<1>(s),
            );
            let to = rows.sums.add(u).cast::<__m128>().add(4 * t + r);
            to.write(_mm_cvtepi32_ps(s));
        }
    }
}

/// Four blocks, of which `left` are there, of four rows onto the chains.
///
/// # Safety
/// As [`add_up`], which has been there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
unsafe fn chain<const T: usize>(rows: &mut Rows<T>, u: usize, left: usize, x: &[*const u8; T]) {
    // SAFETY: the caller's promise.
    unsafe {
        let s = (*rows.sums.add(u)).map(|[a, b, c, d]| {
            let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
            let (ef, gh) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
            [
                _mm_movelh_ps(ab, cd),
                _mm_movehl_ps(cd, ab),
                _mm_movelh_ps(ef, gh),
                _mm_movehl_ps(gh, ef),
            ]
        });
        for i in 0..4 {
            if i < left {
                let d = _mm_loadl_epi64((*rows.factors.add(u)).as_ptr().add(i).cast());
                let d = _mm_cvtph_ps(d);
                for (t, (y, x)) in rows.y.iter_mut().zip(x).enumerate() {
                    let da = x.add(u * RECORD + SCALES).cast::<f32>().add(i).read();
                    *y = _mm_fmadd_ps(_mm_mul_ps(d, _mm_set1_ps(da)), s[t][i], *y);
                }
            }
        }
    }
}

/// The outputs of `count` rows.
///
/// # Safety
/// The columns may be written.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn store<const T: usize>(p: &Product<'_>, first: usize, count: usize, y: &[__m128; T]) {
    let mask = 0xf >> (4 - count);
    for (&y, &dst) in y.iter().zip(p.dst) {
        // SAFETY: the caller's promise.
        unsafe {
            let y = match p.bias {
                Some(b) => {
                    let b = b.as_ptr().cast::<f32>().wrapping_add(first);
                    _mm_add_ps(y, _mm_maskz_loadu_ps(mask, b))
                }
                None => y,
            };
            _mm_mask_storeu_ps(dst.wrapping_add(first), mask, y);
        }
    }
}
