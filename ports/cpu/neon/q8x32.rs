//! Products with weights in blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, MXFP4.
//!
//! A block is unpacked into two registers of signed bytes, for four weight rows at once, and serves all
//! activation rows of the tile out of the registers.

use super::dot::{Dot, bytes, halves_at, pair, signed, smmla, sums, zero};
use super::tiles::{TILE, Tile, each_tile};
use crate::cpu::kernels::Product;
use crate::quant::GgmlType;
use crate::quant::float4::{E2M1_DOUBLED, e8m0_halved};
use crate::quant::iq::IQ4_VALUES;
use core::arch::aarch64::*;
use core::marker::PhantomData;
use core::ops::Range;

/// A block format.
trait Format {
    /// Bytes of a block.
    const BYTES: usize;
    /// Whether blocks have a minimum: a half behind the scale.
    const MIN: bool = false;
    /// The integers.
    ///
    /// # Safety
    /// A block can be read.
    unsafe fn unpack(b: *const u8) -> [int8x16_t; 2];
    /// The scales of four blocks.
    ///
    /// # Safety
    /// They can be read.
    #[inline(always)]
    unsafe fn scales(b: &[*const u8; 4]) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { halves_at(b, 0) }
    }
}

/// Low nibbles of 16 bytes, then high ones.
#[inline(always)]
unsafe fn nibbles(b: *const u8) -> [uint8x16_t; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let b = bytes(b);
        [vandq_u8(b, vdupq_n_u8(15)), vshrq_n_u8::<4>(b)]
    }
}

/// 16 where the fifth bit is set, of 32 elements.
#[inline(always)]
unsafe fn fifth(b: *const u8) -> [uint8x16_t; 2] {
    const EACH: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    const WHICH: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];
    // SAFETY: the caller's promise.
    unsafe {
        let bits = vdupq_n_u32(b.cast::<u32>().read_unaligned());
        let (bits, each) = (vreinterpretq_u8_u32(bits), vld1q_u8(EACH.as_ptr()));
        let which = vld1q_u8(WHICH.as_ptr());
        [which, vaddq_u8(which, vdupq_n_u8(2))].map(|which| {
            let set = vtstq_u8(vqtbl1q_u8(bits, which), each);
            vandq_u8(set, vdupq_n_u8(16))
        })
    }
}

/// Minus `n`.
#[inline(always)]
fn less(q: [uint8x16_t; 2], n: i8) -> [int8x16_t; 2] {
    // SAFETY: NEON is in the baseline.
    q.map(|q| unsafe { vsubq_s8(vreinterpretq_s8_u8(q), vdupq_n_s8(n)) })
}

/// By a table.
#[inline(always)]
unsafe fn lookup(table: &[i8; 16], b: *const u8) -> [int8x16_t; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let table = vld1q_s8(table.as_ptr());
        nibbles(b).map(|q| vqtbl1q_s8(table, q))
    }
}

struct Q4_0;
impl Format for Q4_0 {
    const BYTES: usize = 18;
    #[inline(always)]
    unsafe fn unpack(b: *const u8) -> [int8x16_t; 2] {
        // SAFETY: the caller's promise.
        less(unsafe { nibbles(b.add(2)) }, 8)
    }
}

struct Q4_1;
impl Format for Q4_1 {
    const BYTES: usize = 20;
    const MIN: bool = true;
    #[inline(always)]
    unsafe fn unpack(b: *const u8) -> [int8x16_t; 2] {
        // SAFETY: the caller's promise.
        less(unsafe { nibbles(b.add(4)) }, 0)
    }
}

struct Q5_0;
impl Format for Q5_0 {
    const BYTES: usize = 22;
    #[inline(always)]
    unsafe fn unpack(b: *const u8) -> [int8x16_t; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let (q, h) = (nibbles(b.add(6)), fifth(b.add(2)));
            less([vorrq_u8(q[0], h[0]), vorrq_u8(q[1], h[1])], 16)
        }
    }
}

struct Q5_1;
impl Format for Q5_1 {
    const BYTES: usize = 24;
    const MIN: bool = true;
    #[inline(always)]
    unsafe fn unpack(b: *const u8) -> [int8x16_t; 2] {
        // SAFETY: the caller's promise.
        unsafe {
            let (q, h) = (nibbles(b.add(8)), fifth(b.add(4)));
            less([vorrq_u8(q[0], h[0]), vorrq_u8(q[1], h[1])], 0)
        }
    }
}

struct Q8_0;
impl Format for Q8_0 {
    const BYTES: usize = 34;
    #[inline(always)]
    unsafe fn unpack(b: *const u8) -> [int8x16_t; 2] {
        // SAFETY: the caller's promise.
        unsafe { [signed(b.add(2)), signed(b.add(18))] }
    }
}

struct Iq4Nl;
impl Format for Iq4Nl {
    const BYTES: usize = 18;
    #[inline(always)]
    unsafe fn unpack(b: *const u8) -> [int8x16_t; 2] {
        // SAFETY: the caller's promise.
        unsafe { lookup(&IQ4_VALUES, b.add(2)) }
    }
}

struct Mxfp4;
impl Format for Mxfp4 {
    const BYTES: usize = 17;
    #[inline(always)]
    unsafe fn unpack(b: *const u8) -> [int8x16_t; 2] {
        // SAFETY: the caller's promise.
        unsafe { lookup(&E2M1_DOUBLED, b.add(1)) }
    }
    #[inline(always)]
    unsafe fn scales(b: &[*const u8; 4]) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_f32(b.map(|b| e8m0_halved(b.read())).as_ptr()) }
    }
}

/// Where the scales and the sums of a prepared row start, in bytes.
fn parts(k: usize) -> (usize, usize) {
    let groups = k.div_ceil(256);
    (groups * 256, groups * (256 + 32))
}

/// Four weight rows and `T` activation rows, by dot products.
#[inline(always)]
unsafe fn dots<D: Dot, F: Format, const T: usize>(
    k: usize,
    w: &[*const u8; 4],
    act: &[*const u8; T],
) -> [float32x4_t; T] {
    let (scales, asums) = parts(k);
    let mut acc = [zero(); T];
    for block in 0..k / 32 {
        // SAFETY: rows are `k` elements long, prepared rows too.
        unsafe {
            let b = w.map(|w| w.add(block * F::BYTES));
            let q = b.map(|b| F::unpack(b));
            let d = F::scales(&b);
            let m = if F::MIN { halves_at(&b, 2) } else { d };
            for (acc, act) in acc.iter_mut().zip(act) {
                let x = act.add(32 * block);
                let x = [signed(x), signed(x.add(16))];
                let da = act.add(scales + 4 * block).cast::<f32>().read();
                let s = vcvtq_f32_s32(sums(q.map(|q| D::dot32(q, x))));
                *acc = vfmaq_f32(*acc, vmulq_n_f32(d, da), s);
                if F::MIN {
                    let sum = act.add(asums + 2 * block).cast::<i16>().read();
                    *acc = vfmaq_n_f32(*acc, vmulq_n_f32(m, da), f32::from(sum));
                }
            }
        }
    }
    acc
}

/// Four weight rows and `T` activation rows, an even number, by products of 2 x 2 pairs.
#[inline(always)]
unsafe fn pairs<F: Format, const T: usize>(
    k: usize,
    w: &[*const u8; 4],
    act: &[*const u8; T],
) -> [float32x4_t; T] {
    let (scales, asums) = parts(k);
    // Each pair of activation rows: [row 0 x 0, row 0 x 1, row 1 x 0, row 1 x 1], then rows 2 and 3.
    let mut acc = [zero(); T];
    for block in 0..k / 32 {
        // SAFETY: rows are `k` elements long, prepared rows too.
        unsafe {
            let b = w.map(|w| w.add(block * F::BYTES));
            let q = b.map(|b| F::unpack(b));
            let q = [0, 2].map(|r| [0, 1].map(|h| pair(q[r][h], q[r + 1][h])));
            let twice = |x| [vzip1q_f32(x, x), vzip2q_f32(x, x)];
            let d = twice(F::scales(&b));
            let m = if F::MIN { twice(halves_at(&b, 2)) } else { d };
            for (acc, act) in acc.chunks_exact_mut(2).zip(act.chunks_exact(2)) {
                let x = [0, 16].map(|at| {
                    let at = 32 * block + at;
                    pair(signed(act[0].add(at)), signed(act[1].add(at)))
                });
                let da = both(act, scales + 4 * block);
                for ((acc, q), (&d, &m)) in acc.iter_mut().zip(&q).zip(d.iter().zip(&m)) {
                    let s = smmla(vdupq_n_s32(0), q[0][0], x[0][0]);
                    let s = smmla(s, q[0][1], x[0][1]);
                    let s = smmla(s, q[1][0], x[1][0]);
                    let s = smmla(s, q[1][1], x[1][1]);
                    *acc = vfmaq_f32(*acc, vmulq_f32(d, da), vcvtq_f32_s32(s));
                    if F::MIN {
                        let sum = |t: usize| {
                            let sum = act[t].add(asums + 2 * block).cast::<i16>().read();
                            f32::from(sum)
                        };
                        let sum = vld1_f32([sum(0), sum(1)].as_ptr());
                        let sum = vcombine_f32(sum, sum);
                        *acc = vfmaq_f32(*acc, vmulq_f32(m, da), sum);
                    }
                }
            }
        }
    }
    for acc in acc.chunks_exact_mut(2) {
        // SAFETY: NEON is in the baseline.
        (acc[0], acc[1]) = unsafe { (vuzp1q_f32(acc[0], acc[1]), vuzp2q_f32(acc[0], acc[1])) };
    }
    acc
}

/// The floats that lie `at` bytes into two prepared rows, twice.
#[inline(always)]
pub(super) unsafe fn both(act: &[*const u8], at: usize) -> float32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        let x = vld1_dup_f32(act[0].add(at).cast());
        let x = vld1_lane_f32::<1>(act[1].add(at).cast(), x);
        vcombine_f32(x, x)
    }
}

struct Rows<D, F>(PhantomData<(D, F)>);

#[inline(always)]
unsafe fn batch<D: Dot, F: Format, const T: usize>(
    k: usize,
    w: &[*const u8; 4],
    act: &[*const u8; TILE],
    first: usize,
    y: &mut [float32x4_t; TILE],
) {
    let mut rows = [act[0]; T];
    rows.copy_from_slice(&act[first..first + T]);
    // SAFETY: the caller's promise.
    let part = unsafe {
        if D::MATRIX {
            pairs::<F, T>(k, w, &rows)
        } else {
            dots::<D, F, T>(k, w, &rows)
        }
    };
    y[first..first + T].copy_from_slice(&part);
}

impl<D: Dot, F: Format> Tile for Rows<D, F> {
    unsafe fn tile(
        p: &Product<'_>,
        w: &[*const u8; 4],
        act: &[*const u8; TILE],
        n: usize,
    ) -> [float32x4_t; TILE] {
        let mut y = [zero(); TILE];
        // SAFETY: the caller's promise.
        unsafe {
            if n == 1 {
                [y[0]] = dots::<D, F, 1>(p.k, w, &[act[0]]);
            } else {
                let mut first = 0;
                while first < n {
                    if n - first > 4 {
                        batch::<D, F, 8>(p.k, w, act, first, &mut y);
                        first += 8;
                    } else {
                        batch::<D, F, 4>(p.k, w, act, first, &mut y);
                        first += 4;
                    }
                }
            }
        }
        y
    }
}

unsafe fn run<D: Dot, F: Format>(p: &Product<'_>, rows: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { each_tile::<Rows<D, F>>(p, rows, p.k / 32 * F::BYTES) }
}

/// # Safety
/// As the slot.
pub(super) unsafe fn product<D: Dot>(p: &Product<'_>, rows: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe {
        match p.ty {
            GgmlType::Q4_0 => run::<D, Q4_0>(p, rows),
            GgmlType::Q4_1 => run::<D, Q4_1>(p, rows),
            GgmlType::Q5_0 => run::<D, Q5_0>(p, rows),
            GgmlType::Q5_1 => run::<D, Q5_1>(p, rows),
            GgmlType::Q8_0 => run::<D, Q8_0>(p, rows),
            GgmlType::IQ4_NL => run::<D, Iq4Nl>(p, rows),
            GgmlType::MXFP4 => run::<D, Mxfp4>(p, rows),
            // `act_kind` sends no others here.
            _ => {}
        }
    }
}
