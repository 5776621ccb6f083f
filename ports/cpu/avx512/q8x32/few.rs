//! Few activation rows: weights pass once, four rows at a time, as they lie in the file.
//!
//! A step takes four blocks of each row. Four rows' integer sums meet in one tree of shuffles that leaves, in
//! each 128-bit lane, one block's sums of the four rows: the chain of additions then runs on four lanes at once.

#![allow(
    clippy::indexing_slicing,
    reason = "arrays that stand for registers, constant indices"
)]

use super::act::{LANES, LANES_SCALES, LANES_STARTS, RECORD, SUMS, lanes_at};
use super::format::{Format, scales};
use super::gather;
use crate::cpu::avx512::walk::tree;
use core::arch::x86_64::*;
use core::array::from_fn;
use core::mem::MaybeUninit;

/// # Safety
/// `blocks` blocks are at each of `w`, the last one of which ends the soonest before `end`; their records are at each
/// of `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
pub(super) unsafe fn four<F: Format, const T: usize>(
    mut w: [*const u8; 4],
    end: *const u8,
    blocks: usize,
    x: [*const u8; T],
    mut ahead: *const u8,
) -> [__m128; T] {
    // SAFETY: both parts of a row are there.
    let mut x = x.map(|x| [x, unsafe { x.add(lanes_at(blocks)) }]);
    let mut y = [_mm_setzero_ps(); T];
    let mut left = blocks;
    let mut rest = MaybeUninit::<Rest>::uninit();
    while left > 0 {
        // SAFETY: the caller's promise.
        unsafe {
            let mut mask = 0xffff;
            if left < 4 {
                // What is read behind a row meets activations of zero, but may have scales that are not finite.
                mask >>= 16 - 4 * left;
                let there = 4 * F::BYTES <= (end as usize).wrapping_sub(w[3] as usize);
                if !there {
                    w = fill_up(w, left * F::BYTES, &mut rest);
                }
                left = 4;
            }
            for line in (0..16 * F::BYTES).step_by(64) {
                _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(line).cast());
            }
            ahead = ahead.wrapping_add(16 * F::BYTES);
            step::<F, T>(w, x, mask, &mut y);
            w = w.map(|w| w.add(4 * F::BYTES));
            x = x.map(|[x, l]| [x.add(RECORD), l.add(LANES)]);
            left -= 4;
        }
    }
    y
}

/// Four blocks of four rows.
type Rest = [[u8; 160]; 4];

/// Copies the last `bytes` of each row, and zeros behind them: blocks of zeros change nothing.
///
/// # Safety
/// They are there, at most as many as fit.
#[cold]
unsafe fn fill_up(w: [*const u8; 4], bytes: usize, to: &mut MaybeUninit<Rest>) -> [*const u8; 4] {
    let to = to.write([[0; 160]; 4]);
    from_fn(|r| {
        let to = to[r].as_mut_ptr();
        // SAFETY: the caller's promise.
        unsafe { core::ptr::copy_nonoverlapping(w[r], to, bytes) };
        to.cast_const()
    })
}

/// Four blocks.
///
/// # Safety
/// They are at each of `w`, records at each of `x`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
unsafe fn step<F: Format, const T: usize>(
    w: [*const u8; 4],
    x: [[*const u8; 2]; T],
    mask: u16,
    y: &mut [__m128; T],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (q, d, m) = if F::NIBBLES {
            gather::four::<F>(w)
        } else {
            let (d, m) = scales::<F>(|i| w[i % 4].add(i / 4 * F::BYTES));
            (w.map(|w| bytes::<F>(w)), d, m)
        };
        for ([x, l], y) in x.into_iter().zip(y) {
            let at = if F::NIBBLES { l } else { x };
            let a: [__m512i; 2] = from_fn(|i| _mm512_load_si512(at.add(64 * i).cast()));
            let isum = if F::NIBBLES {
                let start = match F::OFFSET {
                    0 => _mm512_setzero_si512(),
                    by => {
                        let eight = _mm512_load_si512(l.add(LANES_STARTS).cast());
                        _mm512_sllv_epi32(eight, _mm512_set1_epi32((by / 8).ilog2() as i32))
                    }
                };
                let s = q.map(|q| {
                    _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(start, q[0], a[0]), q[1], a[1])
                });
                tree(s, |a, b| _mm512_add_epi32(a, b))
            } else {
                let s: [__m512i; 2] = from_fn(|i| {
                    let zero = _mm512_setzero_si512();
                    let offset = _mm512_set1_epi8(F::OFFSET as i8);
                    let start = _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, offset, a[i]));
                    tree(q.map(|q| _mm512_dpbusd_epi32(start, q[i], a[i])), |a, b| {
                        _mm512_add_epi32(a, b)
                    })
                });
                _mm512_add_epi32(
                    _mm512_shuffle_i32x4::<0b10_00_10_00>(s[0], s[1]),
                    _mm512_shuffle_i32x4::<0b11_01_11_01>(s[0], s[1]),
                )
            };
            let isum = _mm512_cvtepi32_ps(isum);
            let da = _mm512_load_ps(l.add(LANES_SCALES).cast());
            let [d, m] = [d, m].map(|d| _mm512_maskz_mul_ps(mask, d, da));
            macro_rules! chain {
                ($($i:literal)*) => {$(
                    let s = _mm512_extractf32x4_ps::<$i>(isum);
                    *y = _mm_fmadd_ps(_mm512_extractf32x4_ps::<$i>(d), s, *y);
                    if F::MIN {
                        let s = _mm_set1_ps(*x.add(SUMS).cast::<f32>().add($i));
                        *y = _mm_fmadd_ps(_mm512_extractf32x4_ps::<$i>(m), s, *y);
                    }
                )*};
            }
            chain!(0 1 2 3);
        }
    }
}

/// The integers of four blocks of bytes, two and two.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn bytes<F: Format>(w: *const u8) -> [__m512i; 2] {
    let flip = _mm512_set1_epi8(-128);
    [0, 2].map(|i| {
        // SAFETY: the caller's promise.
        let half = |i: usize| unsafe { _mm256_loadu_si256(w.add(i * F::BYTES + F::QUANTS).cast()) };
        let v = _mm512_castsi256_si512(half(i));
        _mm512_xor_si512(_mm512_inserti64x4::<1>(v, half(i + 1)), flip)
    })
}
