//! The selective scan of Mamba 2 (<https://arxiv.org/abs/2405.21060>), head by head: a state of `N` rows is carried from token
//! to token.
//!
//! For a head with the rate `a` and a token with the step `dt`, `delta = softplus(dt)` and `decay = exp(delta * a)`; then for
//! every column `y = d * x`, and for `s` ascending from 0 to `N`
//!
//! ```text
//! state[s] = fma(b[s] * delta, x, state[s] * decay)
//! y        = fma(c[s], state[s], y)
//! ```
//!
//! where all products are rounded, and `softplus(t) = max(t, 0) + ln(1 + e^-|t|)`: the logarithm in double precision by
//! [`ln_1p`], its sum with `max(t, 0)` rounded once to a float.

use crate::num::cpu::{Isa, instances};
use crate::num::math;

/// `ln(1 + u)` for `u` from 0 to 1: `2 atanh(u / (2 + u))`, by its series up to the 21st power.
fn ln_1p(u: f64) -> f64 {
    let s = u / (2.0 + u);
    let q = s * s;
    let mut sum = 0.0;
    for odd in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        sum = (sum + 1.0 / odd) * q;
    }
    2.0 * (s + s * sum)
}

#[inline(always)]
fn rates_body<I: Isa>(i: I, dt: f32, a: f32) -> (f32, f32) {
    let tail = ln_1p(f64::from(math::exp(i, -dt.abs())));
    let delta = (f64::from(if dt > 0.0 { dt } else { 0.0 }) + tail) as f32;
    (delta, math::exp(i, delta * a))
}

#[inline(always)]
fn step_body<I: Isa>(i: I, state: &mut [f32], y: &mut [f32], x: &[f32], rates: [f32; 3]) {
    let [decay, b, c] = rates;
    for ((state, y), &x) in state.iter_mut().zip(y).zip(x) {
        *state = i.fma(b, x, *state * decay);
        *y = i.fma(c, *state, *y);
    }
}

instances! {
    /// `delta` and `decay` of a token with the step `dt`, in a head with the rate `a`.
    pub fn rates / rates_at(dt: f32, a: f32) -> (f32, f32) = rates_body
}
instances! {
    /// Carries one row of the state on by a token, and adds what it gives: `rates` are `decay`, `b * delta` and `c`.
    pub fn step / step_at(state: &mut [f32], y: &mut [f32], x: &[f32], rates: [f32; 3]) = step_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::cpu::Level;
    use crate::num::tests::{Rng, same, same_all};

    #[test]
    fn steps_are_softplus_of_what_is_given() {
        let mut r = Rng::new(5);
        let numbers = (0..2000).map(|i| r.normal() * (i % 40) as f32);
        for dt in numbers.chain([0.0, -0.0, 100.0, -100.0, 20.0, -87.0, 1e30, -1e30]) {
            let (delta, decay) = rates(dt, -0.7);
            let want = f64::from(dt).max(0.0) + libm::log1p(libm::exp(-f64::from(dt).abs()));
            let error = (f64::from(delta) - want).abs();
            assert!(
                error <= 2e-7 * want + 1e-37,
                "softplus({dt}) = {delta}, {want}"
            );
            let want = libm::exp(f64::from(delta * -0.7));
            assert!((f64::from(decay) - want).abs() <= 2e-7 * want + 1e-37);
            let (x, y) = rates_at(Level::portable(), dt, -0.7);
            same(x, delta, "delta");
            same(y, decay, "decay");
        }
        assert!(rates(f32::NAN, 1.0).0.is_nan());
    }

    #[test]
    fn levels_agree() {
        let mut r = Rng::new(6);
        for n in [1, 3, 8, 17, 64] {
            let (x, mut state, mut y) = (r.normals(n), r.normals(n), r.normals(n));
            let (mut other, mut z) = (state.clone(), y.clone());
            step(&mut state, &mut y, &x, [0.9, 0.3, -1.1]);
            step_at(Level::portable(), &mut other, &mut z, &x, [0.9, 0.3, -1.1]);
            same_all(&state, &other, "state");
            same_all(&y, &z, "y");
        }
    }
}
