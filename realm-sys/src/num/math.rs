//! The functions of one real variable, defined by what is written here.
//!
//! | function       | how | largest error measured |
//! |----------------|-----|------------------------|
//! | [`exp`]        | `2^n * p(r)`, p of degree 6 | 0.92 ulp; 0 instead of subnormal results |
//! | [`sigmoid`]    | `1 / (1 + exp(-x))` | 2.4 ulp |
//! | [`tanh`]       | polynomial below 0.6, else `1 - 2 / (exp(2x) + 1)` | 1.4 ulp |
//! | [`silu`]       | `x / (1 + exp(-x))` | 2.3 ulp |
//! | [`gelu_tanh`]  | `x / (1 + exp(-2y))`, the same number as `0.5 x (1 + tanh y)` | 13 ulp above -3 |
//! | [`gelu_quick`] | `x / (1 + exp(-1.702 x))` | 21 ulp above -10 |
//! | [`gelu_erf`]   | polynomial below 1, else `exp(-x^2/2)` times a polynomial in `1 / (1 + 0.4 a)`, `a` the magnitude | 12 ulp above -5 |
//!
//! Errors are measured in the tests, against double precision. All functions are free of branches, so
//! loops of them become vector code. NaN in, NaN out; the limits at infinity hold, except that `silu`
//! and the GELUs of minus infinity are NaN (infinity over infinity), as in ggml.

use super::cpu::Isa;

/// Adding this to a number below 2^22 in magnitude rounds it to an integer, ties to even, and leaves
/// that integer in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `e^x`. Exactly 1 at 0 and -0; infinity from 88.72284 on; 0 below -87.33654, where the result would
/// be subnormal.
#[inline(always)]
pub fn exp<I: Isa>(i: I, x: f32) -> f32 {
    // Past these the result does not change; a NaN passes both comparisons.
    let y = if x > 89.0 { 89.0 } else { x };
    let y = if y < -88.0 { -88.0 } else { y };
    // n = round(y / ln 2), r = y - n ln 2 with ln 2 in two parts.
    let t = i.fma(y, core::f32::consts::LOG2_E, ROUND);
    let n = t - ROUND;
    let r = i.fma(n, -0.693_145_75, y);
    let r = i.fma(n, -1.428_606_8e-6, r);
    // p(r) = 1 + r + r^2 q(r), so that p(0) is 1.
    let q = i.fma(r, 0.001_395_06, 0.008_368_954);
    let q = i.fma(q, r, 0.041_666_206);
    let q = i.fma(q, r, 0.166_665_18);
    let q = i.fma(q, r, 0.5);
    let p = i.fma(i.fma(q, r, 1.0), r, 1.0);
    // 2^n in two factors: 2^128 is not a float.
    let n = (t.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let pow2 = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let e = p * pow2(half) * pow2(n.wrapping_sub(half));
    if x < -87.336_54 { 0.0 } else { e }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid<I: Isa>(i: I, x: f32) -> f32 {
    1.0 / (1.0 + exp(i, -x))
}

/// `tanh x`.
#[inline(always)]
pub fn tanh<I: Isa>(i: I, x: f32) -> f32 {
    let a = f32::from_bits(x.to_bits() & 0x7fff_ffff);
    // Of the magnitude; the sign is put back at the end. Small: a + a^3 q(a^2).
    let u = x * x;
    let q = i.fma(u, -0.005_905_860_6, 0.020_805_378);
    let q = i.fma(q, u, -0.053_786_68);
    let q = i.fma(q, u, 0.133_319_59);
    let q = i.fma(q, u, -0.333_333);
    let small = i.fma(q * u, a, a);
    let large = 1.0 - 2.0 / (exp(i, a + a) + 1.0);
    let t = if a < 0.6 { small } else { large };
    f32::from_bits(t.to_bits() | x.to_bits() & 0x8000_0000)
}

/// `x sigmoid(x)`, as `x / (1 + e^-x)`.
#[inline(always)]
pub fn silu<I: Isa>(i: I, x: f32) -> f32 {
    x / (1.0 + exp(i, -x))
}

/// GELU by the tanh formula, `0.5 x (1 + tanh(y))` with `y = sqrt(2/pi) (x + 0.044715 x^3)`, computed
/// as `x / (1 + e^(-2y))`, which does not cancel for negative `x`.
#[inline(always)]
pub fn gelu_tanh<I: Isa>(i: I, x: f32) -> f32 {
    // -2 sqrt(2/pi) and that times 0.044715.
    let c = i.fma(x * x, -0.071_354_81, -1.595_769_2);
    x / (1.0 + exp(i, c * x))
}

/// GELU by the sigmoid formula, `x / (1 + e^(-1.702 x))`.
#[inline(always)]
pub fn gelu_quick<I: Isa>(i: I, x: f32) -> f32 {
    x / (1.0 + exp(i, -1.702 * x))
}

/// GELU as it is defined, `0.5 x (1 + erf(x / sqrt 2))`: `x` times the normal distribution's
/// cumulative function, whose lower tail keeps its relative precision.
#[inline(always)]
pub fn gelu_erf<I: Isa>(i: I, x: f32) -> f32 {
    let a = f32::from_bits(x.to_bits() & 0x7fff_ffff);
    let u = x * x;
    // Small: 0.5 + x q(x^2).
    let q = i.fma(u, -7.530_305_5e-6, 0.000_113_143_644);
    let q = i.fma(q, u, -0.001_185_984_7);
    let q = i.fma(q, u, 0.009_973_171);
    let q = i.fma(q, u, -0.066_490_33);
    let q = i.fma(q, u, 0.398_942_3);
    let small = i.fma(q, x, 0.5);
    // Large: the upper tail, e^(-x^2/2) t p(t) with t = 1 / (1 + 0.4 |x|).
    let t = 1.0 / i.fma(a, 0.4, 1.0);
    let p = i.fma(t, 0.068_121_05, -0.186_427_07);
    let p = i.fma(p, t, 0.105_362_08);
    let p = i.fma(p, t, 0.055_541_217);
    let p = i.fma(p, t, 0.139_002_09);
    let p = i.fma(p, t, 0.159_100_03);
    let p = i.fma(p, t, 0.159_595_79);
    let tail = exp(i, -0.5 * u) * (t * p);
    let large = if x < 0.0 { tail } else { 1.0 - tail };
    x * if a < 1.0 { small } else { large }
}
