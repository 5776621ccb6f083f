//! Arithmetic that gives the same bits on every machine.
//!
//! | file     | what it is |
//! |----------|------------|
//! | this one | the fused multiply-add, in software; sixteen-lane sums |
//! | [`math`] | exp, tanh, sigmoid and the activations, as polynomials of our own |
//! | [`cpu`]  | what the processor can do, and the two instances of each kernel |
//! | `arm`    | what Cortex-M has in assembly |
//! | [`env`]  | the floating-point control word |
//!
//! # What "the same bits" rests on
//!
//! - `+ - * /`, square root and conversions are IEEE 754, rounded to nearest even, subnormals
//!   included. Rust neither contracts nor reorders them. (32-bit x86 needs SSE2, as Rust's own
//!   `i686` target has it.)
//! - [`Isa::fma`](cpu::Isa::fma) is the true fused operation everywhere: the machine's where the
//!   kernel was compiled for one, else [`fma`].
//! - A sum of many numbers runs in [`LANES`] lanes: element `i` goes to lane `i % 16`, and at the end
//!   [`tree`] folds 16 lanes to 8 (`i` and `i + 8`), 4, 2 and 1.
//! - Not promised: the sign and payload of a NaN. A result that is a NaN is a NaN everywhere.

#[cfg(any(arm_fma, arm_dsp))]
mod arm;
pub mod cpu;
pub mod env;
pub mod math;
#[cfg(test)]
pub(crate) mod tests;

pub use env::FpGuard;

/// Lanes of every long sum of floats.
pub const LANES: usize = 16;

/// Folds the lanes of a sum: 16 to 8 (lane `i` plus lane `i + 8`), to 4, to 2, to 1.
#[inline(always)]
pub fn tree(lanes: &[f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *lanes;
    let (a, b, c, d) = (a + i, b + j, c + k, d + l);
    let (e, f, g, h) = (e + m, f + n, g + o, h + p);
    let (a, b, c, d) = (a + e, b + f, c + g, d + h);
    (a + c) + (b + d)
}

/// `a * b + c`, rounded once: the portable fused multiply-add.
///
/// The product of two floats is exact in double precision. The sum is not, and rounding it to a
/// double and then to a float could round twice; so it is rounded to odd first (Boldo and Melquiond,
/// "Emulation of a FMA and correctly rounded sums"): where the sum was inexact and came out even, it
/// is moved one step towards the error, which leaves the second rounding a correct sticky bit. A
/// double has more than two bits beyond a float's, subnormals included, so the result is correctly
/// rounded for all inputs. No branches, so that loops of it can become vector code.
#[inline(always)]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    let (p, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let s = p + c;
    // TwoSum (Knuth): the exact error of s. NaN if anything is infinite or a NaN.
    let t = s - p;
    let e = (p - (s - t)) + (c - t);
    let bits = s.to_bits();
    // Away from zero if the error has the sign of the sum, else towards zero.
    let step = if (e > 0.0) == (s > 0.0) { 1 } else { u64::MAX };
    let inexact = (e > 0.0) | (e < 0.0);
    let odd = if inexact & (bits & 1 == 0) {
        bits.wrapping_add(step)
    } else {
        bits
    };
    f64::from_bits(odd) as f32
}
