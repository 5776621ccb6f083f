//! Keys and values into a page, rounded as `crate::quant::quantize_row` rounds.
//!
//! Values lie as they come. Keys lie across, so where many positions are appended, sixteen of them are transposed in
//! registers and a run of slots is written at once; few are written slot by slot.
#![allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "arrays of registers, indexed by constants once unrolled"
)]

use super::math;
use crate::graph::kernels::attention::{KvLayout, PAGE};
use crate::quant::GgmlType;
use crate::quant::f16::f32_to_f16;
use core::arch::x86_64::*;
use core::ops::Range;

/// Elements and bytes of a Q8_0 block.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 34;
/// From so many positions on, keys are transposed.
const MANY: usize = 4;

/// To halves, ties to even whatever the control word says; NaNs as `f32_to_f16` has them.
#[inline(always)]
unsafe fn halves(x: __m512) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
}

/// The lanes below `n`.
#[inline(always)]
fn mask(n: usize) -> u16 {
    !0 >> (16 - n.clamp(1, 16))
}

/// `x[i]`'s lane `j` becomes the result's `[j]`'s lane `i`.
#[inline(always)]
unsafe fn transpose(x: &mut [__m512; 16]) {
    // SAFETY: the caller's promise.
    unsafe {
        // Squares of 2, of 4 by pairs, then quarters.
        let mut y = *x;
        for i in 0..8 {
            y[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
            y[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
        }
        let pd = |x| _mm512_castps_pd(x);
        let ps = |x| _mm512_castpd_ps(x);
        for i in (0..16).step_by(4) {
            x[i] = ps(_mm512_unpacklo_pd(pd(y[i]), pd(y[i + 2])));
            x[i + 1] = ps(_mm512_unpackhi_pd(pd(y[i]), pd(y[i + 2])));
            x[i + 2] = ps(_mm512_unpacklo_pd(pd(y[i + 1]), pd(y[i + 3])));
            x[i + 3] = ps(_mm512_unpackhi_pd(pd(y[i + 1]), pd(y[i + 3])));
        }
        // Quarter q of x[4 g + c] is column 4 q + c of rows 4 g ..; gather the quarters of all g.
        for c in 0..4 {
            let (a, b, d, e) = (x[c], x[4 + c], x[8 + c], x[12 + c]);
            let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
            let high = _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b);
            let low2 = _mm512_shuffle_f32x4::<0b01_00_01_00>(d, e);
            let high2 = _mm512_shuffle_f32x4::<0b11_10_11_10>(d, e);
            y[c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(low, low2);
            y[4 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(low, low2);
            y[8 + c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(high, high2);
            y[12 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(high, high2);
        }
        *x = y;
    }
}

/// Keys of floats or halves.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn keys<const HALF: bool>(
    page: *mut u8,
    slots: Range<usize>,
    k: *const f32,
    stride: usize,
    dk: usize,
) {
    let n = slots.len();
    // SAFETY: the caller's promise.
    unsafe {
        if n < MANY {
            for (i, slot) in slots.enumerate() {
                for d in (0..dk).step_by(16) {
                    let m = mask(dk - d);
                    let x = _mm512_maskz_loadu_ps(m, k.add(i * stride + d));
                    let (mut f, mut h) = ([0.0f32; 16], [0u16; 16]);
                    if HALF {
                        _mm256_storeu_si256(h.as_mut_ptr().cast(), halves(x));
                    } else {
                        _mm512_storeu_ps(f.as_mut_ptr(), x);
                    }
                    for j in 0..16.min(dk - d) {
                        let at = (d + j) * PAGE + slot;
                        if HALF {
                            page.cast::<u16>().add(at).write_unaligned(h[j]);
                        } else {
                            page.cast::<f32>().add(at).write_unaligned(f[j]);
                        }
                    }
                }
            }
            return;
        }
        for first in (0..n).step_by(16) {
            let m = mask(n - first);
            for d in (0..dk).step_by(16) {
                let wide = mask(dk - d);
                let mut x = [_mm512_setzero_ps(); 16];
                for (i, x) in x.iter_mut().enumerate().take(n - first) {
                    *x = _mm512_maskz_loadu_ps(wide, k.add((first + i) * stride + d));
                }
                transpose(&mut x);
                for (j, &x) in x.iter().enumerate().take(dk - d) {
                    let at = (d + j) * PAGE + slots.start + first;
                    if HALF {
                        _mm256_mask_storeu_epi16(page.cast::<i16>().add(at), m, halves(x));
                    } else {
                        _mm512_mask_storeu_ps(page.cast::<f32>().add(at), m, x);
                    }
                }
            }
        }
    }
}

/// Values of floats or halves.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn values<const HALF: bool>(
    page: *mut u8,
    slots: Range<usize>,
    v: *const f32,
    stride: usize,
    dv: usize,
) {
    for (i, slot) in slots.enumerate() {
        for d in (0..dv).step_by(16) {
            let m = mask(dv - d);
            let at = slot * dv + d;
            // SAFETY: the caller's promise.
            unsafe {
                let x = _mm512_maskz_loadu_ps(m, v.add(i * stride + d));
                if HALF {
                    _mm256_mask_storeu_epi16(page.cast::<i16>().add(at), m, halves(x));
                } else {
                    _mm512_mask_storeu_ps(page.cast::<f32>().add(at), m, x);
                }
            }
        }
    }
}

/// One block as `quantize_row` makes it: the scale and 32 signed bytes.
#[inline(always)]
unsafe fn quantize(x: *const f32) -> (u16, [u8; BLOCK]) {
    // SAFETY: the caller's promise.
    unsafe {
        let x = [_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(16))];
        // The second operand where the first is a NaN.
        let top = _mm512_max_ps(_mm512_abs_ps(x[0]), _mm512_setzero_ps());
        let largest = math::largest(_mm512_max_ps(_mm512_abs_ps(x[1]), top));
        let d = largest / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let mut q = [0; BLOCK];
        for (x, q) in x.into_iter().zip(q.as_chunks_mut::<16>().0) {
            let v = _mm512_mul_ps(x, _mm512_set1_ps(inverse));
            // Within 127, and 0 for a NaN; then the nearest integer, halves away from zero.
            let a = _mm512_min_ps(_mm512_abs_ps(v), _mm512_set1_ps(127.0));
            let number = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(v, v);
            let a = _mm512_maskz_mov_ps(number, a);
            let integers = _mm512_set1_ps(8_388_608.0);
            let shifted = _mm512_add_ps(a, integers);
            let rest = _mm512_sub_ps(a, _mm512_sub_ps(shifted, integers));
            let down = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(rest, _mm512_set1_ps(0.5));
            let n = _mm512_and_si512(_mm512_castps_si512(shifted), _mm512_set1_epi32(255));
            let n = _mm512_mask_add_epi32(n, down, n, _mm512_set1_epi32(1));
            let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(v, _mm512_setzero_ps());
            let n = _mm512_mask_sub_epi32(n, negative, _mm512_setzero_si512(), n);
            _mm_storeu_si128(q.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(n));
        }
        (f32_to_f16(d), q)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn keys_q8(page: *mut u8, slots: Range<usize>, k: *const f32, stride: usize, dk: usize) {
    for (i, slot) in slots.enumerate() {
        for b in 0..dk / BLOCK {
            // SAFETY: the caller's promise.
            unsafe {
                let (d, q) = quantize(k.add(i * stride + b * BLOCK));
                let page = page.add(b * PAGE * BLOCK_BYTES);
                page.cast::<u16>().add(slot).write_unaligned(d);
                for (j, q) in q.into_iter().enumerate() {
                    page.add((2 + j) * PAGE + slot).write(q);
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn values_q8(page: *mut u8, slots: Range<usize>, v: *const f32, stride: usize, dv: usize) {
    let blocks = dv / BLOCK;
    for (i, slot) in slots.enumerate() {
        for b in 0..blocks {
            // SAFETY: the caller's promise.
            unsafe {
                let (d, q) = quantize(v.add(i * stride + b * BLOCK));
                let to = page.add((slot * blocks + b) * BLOCK_BYTES);
                to.cast::<u16>().write_unaligned(d);
                to.add(2).cast::<[u8; BLOCK]>().write(q);
            }
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the slot's")]
pub(super) unsafe fn append(
    layout: &KvLayout,
    page: *mut u8,
    slots: Range<usize>,
    k: *const f32,
    k_stride: usize,
    v: *const f32,
    v_stride: usize,
    head: usize,
) {
    let (dk, dv) = layout.head_dims();
    let (key_bytes, value_bytes) = layout.head_bytes();
    // SAFETY: the caller's promise.
    unsafe {
        let to_k = page.add(head * key_bytes);
        let to_v = page.add(layout.values_at() + head * value_bytes);
        match layout.ty() {
            GgmlType::F16 => {
                keys::<true>(to_k, slots.clone(), k, k_stride, dk);
                values::<true>(to_v, slots, v, v_stride, dv);
            }
            GgmlType::Q8_0 => {
                keys_q8(to_k, slots.clone(), k, k_stride, dk);
                values_q8(to_v, slots, v, v_stride, dv);
            }
            _ => {
                keys::<false>(to_k, slots.clone(), k, k_stride, dk);
                values::<false>(to_v, slots, v, v_stride, dv);
            }
        }
    }
}
