//! Sixteen floats in four registers.

use super::dot::{halves, to_halves};
use crate::cpu::lanes::attention::OnPage;
use crate::cpu::lanes::page::Store;
use crate::cpu::lanes::{Job, Lanes};
use crate::num;
use core::arch::aarch64::*;

/// Lanes 0 to 3 and so on.
#[derive(Clone, Copy)]
pub(super) struct Four([float32x4_t; 4]);

impl Four {
    /// An operation on each of the registers and its number.
    #[inline(always)]
    fn each(f: impl Fn(usize) -> float32x4_t) -> Self {
        Self([f(0), f(1), f(2), f(3)])
    }
}

/// An operation of the baseline on the registers of one, two or three.
macro_rules! each {
    ($f:ident, $($x:expr),+) => {
        // SAFETY: NEON is in the baseline.
        Self::each(|i| unsafe { $f($($x.0[i]),+) })
    };
}

impl Lanes for Four {
    const EIGHT: bool = false;

    unsafe fn enter<J: Job>(job: J) {
        // SAFETY: the caller's promise; NEON is in the baseline.
        unsafe { job.run::<Self>() }
    }
    unsafe fn pass<S: Store>(on: OnPage<'_>, n: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match n {
                1 => Self::enter(on.tile::<S, 1, 4>()),
                2 => Self::enter(on.tile::<S, 2, 2>()),
                3 => Self::enter(on.tile::<S, 3, 1>()),
                4 => Self::enter(on.tile::<S, 4, 1>()),
                _ => Self::enter(on.tile::<S, 6, 1>()),
            }
        }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: NEON is in the baseline.
        Self([unsafe { vdupq_n_f32(x) }; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's promise; a load of bytes has no alignment.
        Self::each(|i| unsafe { vreinterpretq_f32_u8(vld1q_u8(p.add(4 * i).cast())) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        for (i, x) in self.0.into_iter().enumerate() {
            // SAFETY: the caller's promise; a store of bytes has no alignment.
            unsafe { vst1q_u8(p.add(4 * i).cast(), vreinterpretq_u8_f32(x)) }
        }
    }
    #[inline(always)]
    unsafe fn load_halves(p: *const u16) -> Self {
        // SAFETY: the caller's promise.
        Self::each(|i| unsafe { halves(vreinterpret_u16_u8(vld1_u8(p.add(4 * i).cast()))) })
    }
    #[inline(always)]
    unsafe fn store_halves(self, p: *mut u16) {
        for (i, x) in self.0.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { vst1_u8(p.add(4 * i).cast(), vreinterpret_u8_u16(to_halves(x))) }
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const i8) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let q = vld1q_s8(p);
            let (low, high) = (vmovl_s8(vget_low_s8(q)), vmovl_high_s8(q));
            Self([
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_high_s16(low)),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_high_s16(high)),
            ])
        }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        each!(vaddq_f32, self, b)
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        each!(vsubq_f32, self, b)
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        each!(vmulq_f32, self, b)
    }
    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        each!(vdivq_f32, self, b)
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        each!(vfmaq_f32, c, self, b)
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        each!(vabsq_f32, self)
    }
    #[inline(always)]
    unsafe fn signs_of(self, x: Self) -> Self {
        // SAFETY: NEON is in the baseline.
        Self::each(|i| unsafe { vbslq_f32(vdupq_n_u32(1 << 31), x.0[i], self.0[i]) })
    }
    #[inline(always)]
    unsafe fn larger(self, b: Self) -> Self {
        // SAFETY: NEON is in the baseline. `fmaxnm` gives a NaN for a signalling one.
        Self::each(|i| unsafe { vbslq_f32(vcgtq_f32(self.0[i], b.0[i]), self.0[i], b.0[i]) })
    }
    #[inline(always)]
    unsafe fn smaller(self, b: Self) -> Self {
        // A NaN where one is.
        each!(vminq_f32, self, b)
    }
    #[inline(always)]
    unsafe fn only(self, lanes: u16, other: Self) -> Self {
        const EACH: [u32; 4] = [1, 2, 4, 8];
        // SAFETY: NEON is in the baseline.
        Self::each(|i| unsafe {
            let lanes = vdupq_n_u32(u32::from(lanes >> (4 * i)));
            vbslq_f32(
                vtstq_u32(lanes, vld1q_u32(EACH.as_ptr())),
                self.0[i],
                other.0[i],
            )
        })
    }
    #[inline(always)]
    unsafe fn where_below(self, x: Self, limit: f32, other: Self) -> Self {
        // SAFETY: NEON is in the baseline.
        Self::each(|i| unsafe {
            vbslq_f32(vcltq_f32(x.0[i], vdupq_n_f32(limit)), self.0[i], other.0[i])
        })
    }
    #[inline(always)]
    unsafe fn zero_below(self, x: Self, limit: f32) -> Self {
        // SAFETY: NEON is in the baseline.
        Self::each(|i| unsafe {
            let below = vcltq_f32(x.0[i], vdupq_n_f32(limit));
            vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(self.0[i]), below))
        })
    }
    #[inline(always)]
    unsafe fn scale(self, _: Self, n_bits: Self) -> Self {
        // SAFETY: NEON is in the baseline. The exponent's bits, and no others: the product keeps a NaN one.
        Self::each(|i| unsafe {
            let bits = vshlq_n_s32::<23>(vreinterpretq_s32_f32(n_bits.0[i]));
            let power = vaddq_s32(bits, vdupq_n_s32(127 << 23));
            vmulq_f32(self.0[i], vreinterpretq_f32_s32(power))
        })
    }
    #[inline(always)]
    unsafe fn to_bytes(self) -> [i8; 16] {
        // SAFETY: NEON is in the baseline. `fcvtas` rounds halves away from zero, and a NaN to 0.
        unsafe {
            let n = |i: usize| {
                let x = vminq_f32(self.0[i], vdupq_n_f32(127.0));
                vcvtaq_s32_f32(vmaxq_f32(x, vdupq_n_f32(-127.0)))
            };
            let low = vmovn_high_s32(vmovn_s32(n(0)), n(1));
            let high = vmovn_high_s32(vmovn_s32(n(2)), n(3));
            let mut out = [0; 16];
            vst1q_s8(out.as_mut_ptr(), vmovn_high_s16(vmovn_s16(low), high));
            out
        }
    }
    #[inline(always)]
    unsafe fn tree(self) -> f32 {
        let mut lanes = [0.0; 16];
        // SAFETY: sixteen floats.
        unsafe { self.store(lanes.as_mut_ptr()) };
        num::tree(&lanes)
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        let [a, b, c, d] = self.0;
        // SAFETY: NEON is in the baseline.
        unsafe { vmaxvq_f32(vmaxq_f32(vmaxq_f32(a, b), vmaxq_f32(c, d))) }
    }
}
