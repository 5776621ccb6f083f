//! Products with weights in super-blocks of 256: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS.
//!
//! A single activation row reads each quarter of a super-block straight from the unpacking registers; a batch reads
//! four weight rows that were unpacked to a buffer in the nearest cache, for `smmla` in pairs of rows.

use super::dot::{Dot, bytes, halves_at, pair, signed, smmla, sums, zero};
use super::q8x32::both;
use super::tiles::{TILE, Tile, each_tile};
use crate::cpu::kernels::Product;
use crate::quant::GgmlType;
use crate::quant::iq::IQ4_VALUES;
use core::arch::aarch64::*;
use core::marker::PhantomData;
use core::ops::Range;

/// The integers of sub-blocks.
#[derive(Clone, Copy)]
struct Subs {
    scale: [i32; 16],
    /// Per run of 16 elements, or of 32 in the first half.
    min: [i16; 16],
}

/// A super-block format.
trait Format {
    /// Bytes of a super-block.
    const BYTES: usize;
    /// Where the factor is.
    const D: usize;
    /// Where the factor of the minima is, if there are.
    const DMIN: Option<usize> = None;
    /// Whether sub-blocks have 32 elements, else 16.
    const LONG: bool;
    /// Elements `64 j..64 j + 64`.
    ///
    /// # Safety
    /// A super-block can be read.
    unsafe fn quarter(b: *const u8, j: usize) -> [int8x16_t; 4];
    /// Scales and minima.
    ///
    /// # Safety
    /// A super-block can be read.
    unsafe fn subs(b: *const u8, s: &mut Subs);
}

/// Two runs of 16 bytes.
#[inline(always)]
unsafe fn run32(b: *const u8) -> [uint8x16_t; 2] {
    // SAFETY: the caller's promise.
    unsafe { [bytes(b), bytes(b.add(16))] }
}

/// `b >> n & mask`.
#[inline(always)]
fn field(b: [uint8x16_t; 2], n: usize, mask: u8) -> [uint8x16_t; 2] {
    // SAFETY: NEON is in the baseline.
    b.map(|b| unsafe { vandq_u8(vshlq_u8(b, vdupq_n_s8(-(n as i8))), vdupq_n_u8(mask)) })
}

/// `a | b << n`.
#[inline(always)]
fn with(a: [uint8x16_t; 2], b: [uint8x16_t; 2], n: i8) -> [uint8x16_t; 2] {
    // SAFETY: NEON is in the baseline.
    [0, 1].map(|i| unsafe { vorrq_u8(a[i], vshlq_u8(b[i], vdupq_n_s8(n))) })
}

/// Four registers, minus `n`.
#[inline(always)]
fn less(a: [uint8x16_t; 2], b: [uint8x16_t; 2], n: i8) -> [int8x16_t; 4] {
    // SAFETY: NEON is in the baseline.
    [a[0], a[1], b[0], b[1]].map(|q| unsafe { vsubq_s8(vreinterpretq_s8_u8(q), vdupq_n_s8(n)) })
}

/// The twelve bytes of Q4_K and Q5_K: eight scales and eight minima of six bits.
#[inline(always)]
unsafe fn six_bits(b: *const u8, s: &mut Subs) {
    // SAFETY: the caller's promise.
    let [w0, w1, w2] = unsafe { b.cast::<[u32; 3]>().read_unaligned() };
    // The first four are six bits as they stand; the last four have their upper two on top of the first four.
    let (six, low, top) = (0x3f3f_3f3f, 0x0f0f_0f0f, 0x3030_3030);
    let join = |a: u32, b: u32| u64::from(a) | u64::from(b) << 32;
    let scales = join(w0 & six, (w2 & low) | (w0 >> 2 & top));
    let mins = join(w1 & six, (w2 >> 4 & low) | (w1 >> 2 & top));
    // SAFETY: the arrays are longer than what is stored.
    unsafe {
        let scales = vreinterpretq_s16_u16(vmovl_u8(vcreate_u8(scales)));
        vst1q_s32(s.scale.as_mut_ptr(), vmovl_s16(vget_low_s16(scales)));
        vst1q_s32(s.scale.as_mut_ptr().add(4), vmovl_high_s16(scales));
        let mins = vreinterpretq_s16_u16(vmovl_u8(vcreate_u8(mins)));
        vst1q_s16(s.min.as_mut_ptr(), mins);
    }
}

/// Stores sixteen scales.
#[inline(always)]
fn sixteen(q: int8x16_t, s: &mut Subs) {
    // SAFETY: the array is as long as what is stored.
    unsafe {
        let (low, high) = (vmovl_s8(vget_low_s8(q)), vmovl_high_s8(q));
        let to = s.scale.as_mut_ptr();
        vst1q_s32(to, vmovl_s16(vget_low_s16(low)));
        vst1q_s32(to.add(4), vmovl_high_s16(low));
        vst1q_s32(to.add(8), vmovl_s16(vget_low_s16(high)));
        vst1q_s32(to.add(12), vmovl_high_s16(high));
    }
}

struct Q2K;
impl Format for Q2K {
    const BYTES: usize = 84;
    const D: usize = 80;
    const DMIN: Option<usize> = Some(82);
    const LONG: bool = false;
    #[inline(always)]
    unsafe fn quarter(b: *const u8, j: usize) -> [int8x16_t; 4] {
        // SAFETY: the caller's promise.
        let q = unsafe { run32(b.add(16 + 32 * (j / 2))) };
        let n = 4 * (j % 2);
        less(field(q, n, 3), field(q, n + 2, 3), 0)
    }
    #[inline(always)]
    unsafe fn subs(b: *const u8, s: &mut Subs) {
        // SAFETY: the caller's promise; the array is as long as what is stored.
        unsafe {
            let b = bytes(b);
            sixteen(vreinterpretq_s8_u8(vandq_u8(b, vdupq_n_u8(15))), s);
            let min = vreinterpretq_s8_u8(vshrq_n_u8::<4>(b));
            vst1q_s16(s.min.as_mut_ptr(), vmovl_s8(vget_low_s8(min)));
            vst1q_s16(s.min.as_mut_ptr().add(8), vmovl_high_s8(min));
        }
    }
}

struct Q3K;
impl Format for Q3K {
    const BYTES: usize = 110;
    const D: usize = 108;
    const LONG: bool = false;
    #[inline(always)]
    unsafe fn quarter(b: *const u8, j: usize) -> [int8x16_t; 4] {
        // SAFETY: the caller's promise.
        let (q, h) = unsafe { (run32(b.add(32 + 32 * (j / 2))), run32(b)) };
        let n = 4 * (j % 2);
        let layer = |i: usize| with(field(q, n + 2 * i, 3), field(h, 2 * j + i, 1), 2);
        less(layer(0), layer(1), 4)
    }
    #[inline(always)]
    unsafe fn subs(b: *const u8, s: &mut Subs) {
        // SAFETY: the caller's promise.
        let (low, high) = unsafe {
            let low = b.add(96).cast::<u64>().read_unaligned();
            (low, b.add(104).cast::<u32>().read_unaligned())
        };
        // Four bits in the first eight bytes, low nibbles first; two in the last four.
        let nibble = 0x0f0f_0f0f_0f0f_0f0f;
        let two = |n: u32| u64::from((high >> n) & 0x0303_0303) << 4;
        let scales = [
            (low & nibble) | two(0) | two(2) << 32,
            (low >> 4 & nibble) | two(4) | two(6) << 32,
        ];
        // SAFETY: NEON is in the baseline.
        unsafe {
            let q = vcombine_s8(vcreate_s8(scales[0]), vcreate_s8(scales[1]));
            sixteen(vsubq_s8(q, vdupq_n_s8(32)), s);
        }
    }
}

struct Q4K;
impl Format for Q4K {
    const BYTES: usize = 144;
    const D: usize = 0;
    const DMIN: Option<usize> = Some(2);
    const LONG: bool = true;
    #[inline(always)]
    unsafe fn quarter(b: *const u8, j: usize) -> [int8x16_t; 4] {
        // SAFETY: the caller's promise.
        let q = unsafe { run32(b.add(16 + 32 * j)) };
        less(field(q, 0, 15), field(q, 4, 15), 0)
    }
    #[inline(always)]
    unsafe fn subs(b: *const u8, s: &mut Subs) {
        // SAFETY: the caller's promise.
        unsafe { six_bits(b.add(4), s) }
    }
}

struct Q5K;
impl Format for Q5K {
    const BYTES: usize = 176;
    const D: usize = 0;
    const DMIN: Option<usize> = Some(2);
    const LONG: bool = true;
    #[inline(always)]
    unsafe fn quarter(b: *const u8, j: usize) -> [int8x16_t; 4] {
        // SAFETY: the caller's promise.
        let (q, h) = unsafe { (run32(b.add(48 + 32 * j)), run32(b.add(16))) };
        let layer = |i: usize| with(field(q, 4 * i, 15), field(h, 2 * j + i, 1), 4);
        less(layer(0), layer(1), 0)
    }
    #[inline(always)]
    unsafe fn subs(b: *const u8, s: &mut Subs) {
        // SAFETY: the caller's promise.
        unsafe { six_bits(b.add(4), s) }
    }
}

struct Q6K;
impl Format for Q6K {
    const BYTES: usize = 210;
    const D: usize = 208;
    const LONG: bool = false;
    #[inline(always)]
    unsafe fn quarter(b: *const u8, j: usize) -> [int8x16_t; 4] {
        // In each half: 64 bytes of two layers of nibbles, 32 bytes of four layers of upper bits.
        let (half, n) = (j / 2, 4 * (j % 2));
        // SAFETY: the caller's promise.
        unsafe {
            let q = b.add(64 * half);
            let (q0, q1, h) = (run32(q), run32(q.add(32)), run32(b.add(128 + 32 * half)));
            less(
                with(field(q0, n, 15), field(h, n, 3), 4),
                with(field(q1, n, 15), field(h, n + 2, 3), 4),
                32,
            )
        }
    }
    #[inline(always)]
    unsafe fn subs(b: *const u8, s: &mut Subs) {
        // SAFETY: the caller's promise.
        sixteen(unsafe { signed(b.add(192)) }, s);
    }
}

struct Iq4Xs;
impl Format for Iq4Xs {
    const BYTES: usize = 136;
    const D: usize = 0;
    const LONG: bool = true;
    #[inline(always)]
    unsafe fn quarter(b: *const u8, j: usize) -> [int8x16_t; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let table = vld1q_s8(IQ4_VALUES.as_ptr());
            let q = run32(b.add(8 + 32 * j));
            let (low, high) = (field(q, 0, 15), field(q, 4, 15));
            [low[0], high[0], low[1], high[1]].map(|q| vqtbl1q_s8(table, q))
        }
    }
    #[inline(always)]
    unsafe fn subs(b: *const u8, s: &mut Subs) {
        // SAFETY: the caller's promise.
        let (high, low) = unsafe {
            let high = b.add(2).cast::<u16>().read_unaligned();
            (high, b.add(4).cast::<u32>().read_unaligned())
        };
        for (n, scale) in s.scale.iter_mut().enumerate().take(8) {
            let (low, high) = (low >> (4 * n) & 15, u32::from(high) >> (2 * n) & 3);
            *scale = (low | high << 4) as i32 - 32;
        }
    }
}

/// Where the scales and the sums of a prepared row start, in bytes.
fn parts(k: usize) -> (usize, usize) {
    let groups = k / 256;
    (groups * 256, groups * (256 + 4))
}

/// Sixteen sums of a super-block; where `LONG`, eight, in the first vector.
#[inline(always)]
unsafe fn act_sums<F: Format>(p: *const u8) -> [int16x8_t; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let s = [vld1q_s16(p.cast()), vld1q_s16(p.add(16).cast())];
        if F::LONG {
            [vpaddq_s16(s[0], s[1]), s[1]]
        } else {
            s
        }
    }
}

/// Four integers whose sum is the product of minima and sums.
#[inline(always)]
fn min_dot<F: Format>(min: &[i16; 16], sums: [int16x8_t; 2]) -> int32x4_t {
    // SAFETY: the array is as long as what is read.
    unsafe {
        let m = vld1q_s16(min.as_ptr());
        let s = vmull_s16(vget_low_s16(m), vget_low_s16(sums[0]));
        let s = vmlal_high_s16(s, m, sums[0]);
        if F::LONG {
            return s;
        }
        let m = vld1q_s16(min.as_ptr().add(8));
        let s = vmlal_s16(s, vget_low_s16(m), vget_low_s16(sums[1]));
        vmlal_high_s16(s, m, sums[1])
    }
}

/// Adds a quarter's products, times their scales.
#[inline(always)]
unsafe fn add_quarter<D: Dot, F: Format>(
    acc: int32x4_t,
    q: [int8x16_t; 4],
    x: [int8x16_t; 4],
    scale: &[i32; 16],
    j: usize,
) -> int32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        if F::LONG {
            let acc = vmlaq_n_s32(acc, D::dot32([q[0], q[1]], [x[0], x[1]]), scale[2 * j]);
            vmlaq_n_s32(acc, D::dot32([q[2], q[3]], [x[2], x[3]]), scale[2 * j + 1])
        } else {
            let acc = vmlaq_n_s32(acc, D::dot16(q[0], x[0]), scale[4 * j]);
            let acc = vmlaq_n_s32(acc, D::dot16(q[1], x[1]), scale[4 * j + 1]);
            let acc = vmlaq_n_s32(acc, D::dot16(q[2], x[2]), scale[4 * j + 2]);
            vmlaq_n_s32(acc, D::dot16(q[3], x[3]), scale[4 * j + 3])
        }
    }
}

/// Elements `64 j..64 j + 64` of unpacked or prepared bytes.
#[inline(always)]
unsafe fn four(p: *const u8, j: usize) -> [int8x16_t; 4] {
    // SAFETY: the caller's promise.
    unsafe { [0, 16, 32, 48].map(|at| signed(p.add(64 * j + at))) }
}

const NONE: Subs = Subs {
    scale: [0; 16],
    min: [0; 16],
};

/// Four weight rows and one activation row if `!BATCH`, else the first `n`, by dot products.
#[inline(always)]
unsafe fn dots<D: Dot, F: Format, const BATCH: bool>(
    k: usize,
    w: &[*const u8; 4],
    act: &[*const u8; TILE],
    n: usize,
    y: &mut [float32x4_t; TILE],
) {
    let (scales, asums) = parts(k);
    let mut subs = [NONE; 4];
    let mut buffer = [[0u8; 256]; 4];
    let n = if BATCH { n } else { 1 };
    for block in 0..k / 256 {
        // SAFETY: rows are `k` elements long, prepared rows too, and the buffer a super-block.
        unsafe {
            let b = w.map(|w| w.add(block * F::BYTES));
            for ((&b, s), buffer) in b.iter().zip(&mut subs).zip(&mut buffer) {
                F::subs(b, s);
                if BATCH {
                    for j in 0..4 {
                        for (i, q) in F::quarter(b, j).into_iter().enumerate() {
                            vst1q_s8(buffer.as_mut_ptr().add(64 * j + 16 * i).cast(), q);
                        }
                    }
                }
            }
            let d = halves_at(&b, F::D);
            for (acc, act) in y.iter_mut().zip(act).take(n) {
                let x = act.add(256 * block);
                let mut isum = [vdupq_n_s32(0); 4];
                for j in 0..4 {
                    let x = four(x, j);
                    for r in 0..4 {
                        let q = if BATCH {
                            four(buffer[r].as_ptr(), j)
                        } else {
                            F::quarter(b[r], j)
                        };
                        isum[r] = add_quarter::<D, F>(isum[r], q, x, &subs[r].scale, j);
                    }
                }
                let da = act.add(scales + 4 * block).cast::<f32>().read();
                *acc = vfmaq_f32(*acc, vmulq_n_f32(d, da), vcvtq_f32_s32(sums(isum)));
                if let Some(at) = F::DMIN {
                    let x = act_sums::<F>(act.add(asums + 32 * block));
                    let m = [0, 1, 2, 3].map(|r| min_dot::<F>(&subs[r].min, x));
                    let dmin = vmulq_n_f32(halves_at(&b, at), da);
                    *acc = vfmsq_f32(*acc, dmin, vcvtq_f32_s32(sums(m)));
                }
            }
        }
    }
}

/// Four weight rows and the first `n` activation rows, by products of 2 x 2 pairs.
#[inline(always)]
unsafe fn pairs<F: Format>(
    k: usize,
    w: &[*const u8; 4],
    act: &[*const u8; TILE],
    n: usize,
    y: &mut [float32x4_t; TILE],
) {
    let (scales, asums) = parts(k);
    let mut subs = [NONE; 4];
    // Of two rows each: 16 elements, by eights in turn; and the scales, [row 0, 0, row 1, 1] of a sub-block.
    let mut buffer = [[[0u8; 32]; 16]; 2];
    let mut scale = [[[0i32; 4]; 16]; 2];
    for block in 0..k / 256 {
        // SAFETY: rows are `k` elements long, prepared rows too, and the buffers a super-block.
        unsafe {
            let b = w.map(|w| w.add(block * F::BYTES));
            for (&b, s) in b.iter().zip(&mut subs) {
                F::subs(b, s);
            }
            for (h, (buffer, scale)) in buffer.iter_mut().zip(&mut scale).enumerate() {
                for j in 0..4 {
                    let (q0, q1) = (F::quarter(b[2 * h], j), F::quarter(b[2 * h + 1], j));
                    for i in 0..4 {
                        let q = pair(q0[i], q1[i]);
                        let to = buffer[4 * j + i].as_mut_ptr().cast::<i8>();
                        vst1q_s8(to, q[0]);
                        vst1q_s8(to.add(16), q[1]);
                    }
                }
                for (i, to) in scale
                    .iter_mut()
                    .enumerate()
                    .take(if F::LONG { 8 } else { 16 })
                {
                    let (a, b) = (subs[2 * h].scale[i], subs[2 * h + 1].scale[i]);
                    *to = [a, a, b, b];
                }
            }
            let twice = |x| [vzip1q_f32(x, x), vzip2q_f32(x, x)];
            let d = twice(halves_at(&b, F::D));
            let dmin = twice(halves_at(&b, F::DMIN.unwrap_or(F::D)));
            for (acc, act) in y
                .chunks_exact_mut(2)
                .zip(act.chunks_exact(2))
                .take(n.div_ceil(2))
            {
                let mut isum = [vdupq_n_s32(0); 2];
                let x = [act[0].add(256 * block), act[1].add(256 * block)];
                let step = if F::LONG { 2 } else { 1 };
                for sub in 0..16 / step {
                    let mut s = [vdupq_n_s32(0); 2];
                    for i in sub * step..(sub + 1) * step {
                        let x = pair(signed(x[0].add(16 * i)), signed(x[1].add(16 * i)));
                        for (s, buffer) in s.iter_mut().zip(&buffer) {
                            let q = buffer[i].as_ptr();
                            *s = smmla(*s, signed(q), x[0]);
                            *s = smmla(*s, signed(q.add(16)), x[1]);
                        }
                    }
                    for ((isum, s), scale) in isum.iter_mut().zip(s).zip(&scale) {
                        *isum = vmlaq_s32(*isum, s, vld1q_s32(scale[sub].as_ptr()));
                    }
                }
                let da = both(act, scales + 4 * block);
                for (h, acc) in acc.iter_mut().enumerate() {
                    *acc = vfmaq_f32(*acc, vmulq_f32(d[h], da), vcvtq_f32_s32(isum[h]));
                }
                if F::DMIN.is_some() {
                    let x = [0, 1].map(|t| act_sums::<F>(act[t].add(asums + 32 * block)));
                    for (h, acc) in acc.iter_mut().enumerate() {
                        let m = |r: usize, t: usize| min_dot::<F>(&subs[2 * h + r].min, x[t]);
                        let m = sums([m(0, 0), m(0, 1), m(1, 0), m(1, 1)]);
                        *acc = vfmsq_f32(*acc, vmulq_f32(dmin[h], da), vcvtq_f32_s32(m));
                    }
                }
            }
        }
    }
    for acc in y.chunks_exact_mut(2) {
        // SAFETY: NEON is in the baseline.
        (acc[0], acc[1]) = unsafe { (vuzp1q_f32(acc[0], acc[1]), vuzp2q_f32(acc[0], acc[1])) };
    }
}

struct Rows<D, F>(PhantomData<(D, F)>);

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
                dots::<D, F, false>(p.k, w, act, n, &mut y);
            } else if D::MATRIX {
                pairs::<F>(p.k, w, act, n, &mut y);
            } else {
                dots::<D, F, true>(p.k, w, act, n, &mut y);
            }
        }
        y
    }
}

unsafe fn run<D: Dot, F: Format>(p: &Product<'_>, rows: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe { each_tile::<Rows<D, F>>(p, rows, p.k / 256 * F::BYTES) }
}

/// # Safety
/// As the slot.
pub(super) unsafe fn product<D: Dot>(p: &Product<'_>, rows: Range<usize>) {
    // SAFETY: the caller's promise.
    unsafe {
        match p.ty {
            GgmlType::Q2_K => run::<D, Q2K>(p, rows),
            GgmlType::Q3_K => run::<D, Q3K>(p, rows),
            GgmlType::Q4_K => run::<D, Q4K>(p, rows),
            GgmlType::Q5_K => run::<D, Q5K>(p, rows),
            GgmlType::Q6_K => run::<D, Q6K>(p, rows),
            GgmlType::IQ4_XS => run::<D, Iq4Xs>(p, rows),
            // `act_kind` sends no others here.
            _ => {}
        }
    }
}
