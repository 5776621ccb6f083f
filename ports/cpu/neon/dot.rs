//! Dot products of signed bytes, by level, and the few instructions that stable Rust has no intrinsics for.
//!
//! `sdot`, `smmla`, `fcvtl` and `fcvtn` are written as inline assembly: their intrinsics are unstable, or newer than the
//! oldest compiler that the project promises. `.arch_extension` lets the assembler accept an instruction in a
//! function that is compiled for the baseline, so nothing here has to be a function of another target feature,
//! and everything can be inlined. Whether the processor has the instruction is the caller's promise.

use core::arch::aarch64::*;
use core::arch::asm;

/// Exact dot products of signed bytes. `a` is within -127..=127, `w` is any.
pub(super) trait Dot: Copy {
    /// Whether batches go through [`smmla`], 2 x 2 outputs at a time.
    const MATRIX: bool = false;

    /// Four integers whose sum is the dot product of 16 bytes.
    ///
    /// # Safety
    /// The processor has the level's instructions.
    unsafe fn dot16(w: int8x16_t, a: int8x16_t) -> int32x4_t;

    /// The same of 32.
    ///
    /// # Safety
    /// As `dot16`.
    unsafe fn dot32(w: [int8x16_t; 2], a: [int8x16_t; 2]) -> int32x4_t;
}

/// The baseline: widening products.
#[derive(Clone, Copy)]
pub(super) struct Baseline;

/// Eight sums of two products each: at most 2 * 128 * 127, which fits 16 bits.
#[inline(always)]
fn twos(w: int8x16_t, a: int8x16_t) -> int16x8_t {
    // SAFETY: NEON is in the baseline.
    unsafe {
        let low = vmull_s8(vget_low_s8(w), vget_low_s8(a));
        vmlal_high_s8(low, w, a)
    }
}

impl Dot for Baseline {
    #[inline(always)]
    unsafe fn dot16(w: int8x16_t, a: int8x16_t) -> int32x4_t {
        // SAFETY: NEON is in the baseline.
        unsafe { vpaddlq_s16(twos(w, a)) }
    }
    #[inline(always)]
    unsafe fn dot32(w: [int8x16_t; 2], a: [int8x16_t; 2]) -> int32x4_t {
        // SAFETY: NEON is in the baseline.
        unsafe { vpadalq_s16(vpaddlq_s16(twos(w[0], a[0])), twos(w[1], a[1])) }
    }
}

/// With `sdot`.
#[derive(Clone, Copy)]
pub(super) struct Sdot;

/// `acc[i] + sum of w[4i..4i + 4] * a[4i..4i + 4]`.
#[inline(always)]
unsafe fn sdot(mut acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    // SAFETY: the caller's promise; nothing but registers is touched.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {acc:v}.4s, {w:v}.16b, {a:v}.16b",
            acc = inout(vreg) acc,
            w = in(vreg) w,
            a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

impl Dot for Sdot {
    #[inline(always)]
    unsafe fn dot16(w: int8x16_t, a: int8x16_t) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { sdot(vdupq_n_s32(0), w, a) }
    }
    #[inline(always)]
    unsafe fn dot32(w: [int8x16_t; 2], a: [int8x16_t; 2]) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { sdot(sdot(vdupq_n_s32(0), w[0], a[0]), w[1], a[1]) }
    }
}

/// With `sdot`, and `smmla` for batches.
#[derive(Clone, Copy)]
pub(super) struct Smmla;

impl Dot for Smmla {
    const MATRIX: bool = true;
    #[inline(always)]
    unsafe fn dot16(w: int8x16_t, a: int8x16_t) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { Sdot::dot16(w, a) }
    }
    #[inline(always)]
    unsafe fn dot32(w: [int8x16_t; 2], a: [int8x16_t; 2]) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { Sdot::dot32(w, a) }
    }
}

/// With `w` and `a` two rows of eight bytes each: `acc + [w0 a0, w0 a1, w1 a0, w1 a1]`.
///
/// # Safety
/// The processor has I8MM.
#[inline(always)]
pub(super) unsafe fn smmla(mut acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    // SAFETY: the caller's promise; nothing but registers is touched.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {acc:v}.4s, {w:v}.16b, {a:v}.16b",
            acc = inout(vreg) acc,
            w = in(vreg) w,
            a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// The values of four IEEE halves.
#[inline(always)]
pub(super) fn halves(h: uint16x4_t) -> float32x4_t {
    let out: float32x4_t;
    // SAFETY: an instruction of the baseline, on registers.
    unsafe {
        asm!(
            "fcvtl {out:v}.4s, {h:v}.4h",
            out = lateout(vreg) out,
            h = in(vreg) h,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    out
}

/// The halves nearest to four floats, ties to even.
#[inline(always)]
pub(super) fn to_halves(x: float32x4_t) -> uint16x4_t {
    let out: uint16x4_t;
    // SAFETY: an instruction of the baseline, on registers.
    unsafe {
        asm!(
            "fcvtn {out:v}.4h, {x:v}.4s",
            out = lateout(vreg) out,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    out
}

/// The values of the halves that lie `at` bytes into four blocks.
///
/// # Safety
/// They can be read.
#[inline(always)]
pub(super) unsafe fn halves_at(b: &[*const u8; 4], at: usize) -> float32x4_t {
    // SAFETY: the caller's promise.
    let v = unsafe {
        let mut v = vdup_n_u16(0);
        v = vset_lane_u16::<0>(b[0].add(at).cast::<u16>().read_unaligned(), v);
        v = vset_lane_u16::<1>(b[1].add(at).cast::<u16>().read_unaligned(), v);
        v = vset_lane_u16::<2>(b[2].add(at).cast::<u16>().read_unaligned(), v);
        v = vset_lane_u16::<3>(b[3].add(at).cast::<u16>().read_unaligned(), v);
        v
    };
    halves(v)
}

/// The low halves of two rows, then their high ones: how [`smmla`] takes a pair.
#[inline(always)]
pub(super) fn pair(x: int8x16_t, y: int8x16_t) -> [int8x16_t; 2] {
    // SAFETY: NEON is in the baseline.
    unsafe {
        let (x, y) = (vreinterpretq_s64_s8(x), vreinterpretq_s64_s8(y));
        [
            vreinterpretq_s8_s64(vtrn1q_s64(x, y)),
            vreinterpretq_s8_s64(vtrn2q_s64(x, y)),
        ]
    }
}

/// The sums of four vectors.
#[inline(always)]
pub(super) fn sums(p: [int32x4_t; 4]) -> int32x4_t {
    // SAFETY: NEON is in the baseline.
    unsafe { vpaddq_s32(vpaddq_s32(p[0], p[1]), vpaddq_s32(p[2], p[3])) }
}

/// Four zeros.
#[inline(always)]
pub(super) fn zero() -> float32x4_t {
    // SAFETY: NEON is in the baseline.
    unsafe { vdupq_n_f32(0.0) }
}

/// Sixteen bytes from memory.
///
/// # Safety
/// They can be read.
#[inline(always)]
pub(super) unsafe fn bytes(p: *const u8) -> uint8x16_t {
    // SAFETY: the caller's promise.
    unsafe { vld1q_u8(p) }
}

/// Sixteen signed bytes from memory.
///
/// # Safety
/// They can be read.
#[inline(always)]
pub(super) unsafe fn signed(p: *const u8) -> int8x16_t {
    // SAFETY: the caller's promise.
    unsafe { vld1q_s8(p.cast()) }
}
