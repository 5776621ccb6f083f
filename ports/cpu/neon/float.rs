//! Products with weights that are floats, or that are turned into floats exactly.
//!
//! Sixteen lanes per output, as the reference defines them: four registers. A single activation row takes four weight
//! rows at once, a batch two by two, so that about sixteen chains of additions are under way.

use super::dot::{halves, zero};
use super::tiles::{TILE, Tile, each_tile};
use crate::cpu::kernels::Product;
use crate::num::tree;
use crate::quant::{GgmlType, block_kernel};
use core::arch::aarch64::*;
use core::marker::PhantomData;
use core::ops::Range;

/// A type of weights that stands for itself.
trait Source {
    /// Bytes of a weight.
    const BYTES: usize;
    /// Sixteen of them.
    ///
    /// # Safety
    /// They can be read.
    unsafe fn read(b: *const u8) -> [float32x4_t; 4];
    /// One of them.
    ///
    /// # Safety
    /// It can be read.
    unsafe fn one(b: *const u8) -> f32;
}

struct F32;
impl Source for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn read(b: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller's promise; a load of bytes has no alignment.
        unsafe { [0, 16, 32, 48].map(|at| vreinterpretq_f32_u8(vld1q_u8(b.add(at)))) }
    }
    #[inline(always)]
    unsafe fn one(b: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { b.cast::<f32>().read_unaligned() }
    }
}

struct F16;
impl Source for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn read(b: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller's promise; a load of bytes has no alignment.
        unsafe { [0, 8, 16, 24].map(|at| halves(vreinterpret_u16_u8(vld1_u8(b.add(at))))) }
    }
    #[inline(always)]
    unsafe fn one(b: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        crate::quant::f16::f16_to_f32(unsafe { b.cast::<u16>().read_unaligned() })
    }
}

struct Bf16;
impl Source for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn read(b: *const u8) -> [float32x4_t; 4] {
        // SAFETY: the caller's promise; a load of bytes has no alignment.
        unsafe {
            [0, 8, 16, 24].map(|at| {
                let h = vreinterpret_u16_u8(vld1_u8(b.add(at)));
                vreinterpretq_f32_u32(vshll_n_u16::<16>(h))
            })
        }
    }
    #[inline(always)]
    unsafe fn one(b: *const u8) -> f32 {
        // SAFETY: the caller's promise.
        f32::from_bits(u32::from(unsafe { b.cast::<u16>().read_unaligned() }) << 16)
    }
}

/// Goes on with `R` weight rows and `T` activation rows for `n` elements.
#[inline(always)]
unsafe fn go_on<S: Source, const R: usize, const T: usize>(
    acc: &mut [[[float32x4_t; 4]; T]; R],
    w: [*const u8; R],
    act: [*const f32; T],
    n: usize,
) {
    let whole = n / 16;
    for i in 0..whole {
        // SAFETY: the caller's promise.
        unsafe {
            let x = act.map(|x| F32::read(x.add(16 * i).cast()));
            for (acc, w) in acc.iter_mut().zip(w) {
                let w = S::read(w.add(16 * i * S::BYTES));
                for (acc, x) in acc.iter_mut().zip(&x) {
                    for ((acc, w), x) in acc.iter_mut().zip(w).zip(x) {
                        *acc = vfmaq_f32(*acc, w, *x);
                    }
                }
            }
        }
    }
    let rest = n % 16;
    if rest == 0 {
        return;
    }
    for (acc, w) in acc.iter_mut().zip(w) {
        for (acc, x) in acc.iter_mut().zip(act) {
            let mut lanes = lanes(acc);
            for (i, lane) in lanes.iter_mut().enumerate().take(rest) {
                let i = 16 * whole + i;
                // SAFETY: the caller's promise.
                unsafe {
                    let (w, x) = (S::one(w.add(i * S::BYTES)), x.add(i).read());
                    *lane = vfmas_lane_f32::<0>(*lane, w, vdup_n_f32(x));
                }
            }
            for (acc, lanes) in acc.iter_mut().zip(lanes.chunks_exact(4)) {
                // SAFETY: four lanes.
                *acc = unsafe { vld1q_f32(lanes.as_ptr()) };
            }
        }
    }
}

#[inline(always)]
fn lanes(acc: &[float32x4_t; 4]) -> [f32; 16] {
    let mut lanes = [0.0; 16];
    for (acc, lanes) in acc.iter().zip(lanes.chunks_exact_mut(4)) {
        // SAFETY: four lanes.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), *acc) }
    }
    lanes
}

/// Puts the output of weight row `r` into a tile's result.
#[inline(always)]
fn put(y: &mut float32x4_t, r: usize, acc: &[float32x4_t; 4]) {
    let dot = tree(&lanes(acc));
    let mut all = [0.0; 4];
    // SAFETY: four lanes.
    unsafe {
        vst1q_f32(all.as_mut_ptr(), *y);
        all[r] = dot;
        *y = vld1q_f32(all.as_ptr());
    }
}

struct Plain<S>(PhantomData<S>);

impl<S: Source> Tile for Plain<S> {
    unsafe fn tile(
        p: &Product<'_>,
        w: &[*const u8; 4],
        act: &[*const u8; TILE],
        n: usize,
    ) -> [float32x4_t; TILE] {
        let mut y = [zero(); TILE];
        if n == 1 {
            let mut acc = [[[zero(); 4]; 1]; 4];
            // SAFETY: the caller's promise.
            unsafe { go_on::<S, 4, 1>(&mut acc, *w, [act[0].cast()], p.k) };
            for (r, acc) in acc.iter().enumerate() {
                put(&mut y[0], r, &acc[0]);
            }
            return y;
        }
        for t in (0..n).step_by(2) {
            for r in [0, 2] {
                let mut acc = [[[zero(); 4]; 2]; 2];
                let x = [act[t].cast(), act[t + 1].cast()];
                // SAFETY: the caller's promise.
                unsafe { go_on::<S, 2, 2>(&mut acc, [w[r], w[r + 1]], x, p.k) };
                for (i, acc) in acc.iter().enumerate() {
                    put(&mut y[t], r + i, &acc[0]);
                    put(&mut y[t + 1], r + i, &acc[1]);
                }
            }
        }
        y
    }
}

/// Whatever `quant` dequantizes: through a buffer.
struct Any;

/// Elements of a piece: whole blocks of every type.
const PIECE: usize = 256;

impl Tile for Any {
    unsafe fn tile(
        p: &Product<'_>,
        w: &[*const u8; 4],
        act: &[*const u8; TILE],
        n: usize,
    ) -> [float32x4_t; TILE] {
        let (len, bytes) = (p.ty.block_len(), p.ty.block_bytes());
        let row_bytes = p.k / len * bytes;
        let kernel = block_kernel(p.ty);
        let mut acc = [[[[zero(); 4]; 1]; 4]; TILE];
        let mut buffer = [[0.0f32; PIECE]; 4];
        for first in (0..p.k).step_by(PIECE) {
            let here = (p.k - first).min(PIECE);
            for (w, buffer) in w.iter().zip(&mut buffer) {
                // SAFETY: a row's bytes can be read.
                let w = unsafe { core::slice::from_raw_parts(*w, row_bytes) };
                let at = first / len * bytes;
                kernel(&w[at..at + here / len * bytes], &mut buffer[..here]);
            }
            for (acc, act) in acc.iter_mut().zip(act).take(n) {
                let w = buffer.each_ref().map(|b| b.as_ptr().cast::<u8>());
                // SAFETY: the buffer and the prepared row hold `here` more.
                unsafe { go_on::<F32, 4, 1>(acc, w, [act.cast::<f32>().add(first)], here) };
            }
        }
        let mut y = [zero(); TILE];
        for (y, acc) in y.iter_mut().zip(&acc).take(n) {
            for (r, acc) in acc.iter().enumerate() {
                put(y, r, &acc[0]);
            }
        }
        y
    }
}

/// # Safety
/// As the slot.
pub(super) unsafe fn product(p: &Product<'_>, rows: Range<usize>) {
    let row_bytes = p.k / p.ty.block_len() * p.ty.block_bytes();
    // SAFETY: the caller's promise.
    unsafe {
        match p.ty {
            GgmlType::F32 => each_tile::<Plain<F32>>(p, rows, row_bytes),
            GgmlType::F16 => each_tile::<Plain<F16>>(p, rows, row_bytes),
            GgmlType::BF16 => each_tile::<Plain<Bf16>>(p, rows, row_bytes),
            _ => each_tile::<Any>(p, rows, row_bytes),
        }
    }
}
