//! Softmax of a row: `e = exp(fma(x, scale, -m))`, `m` = the largest `x * scale`, then `e / s`.
//!
//! `m` is 0 where the largest is not finite. `s` is the sum of the `e` in 16 lanes and the tree of [`crate::num`], starting
//! at +0; `exp` is [`math::exp`]. A row of nothing but minus infinity, or with a NaN or plus infinity, gives NaNs.

use crate::num::cpu::{Isa, instances};
use crate::num::{LANES, math, tree};

#[inline(always)]
fn soft_max_body<I: Isa>(i: I, x: &mut [f32], scale: f32) {
    let largest = |m: f32, x: &f32| {
        let y = *x * scale;
        if y > m { y } else { m }
    };
    let m = x.iter().fold(f32::NEG_INFINITY, largest);
    let m = if m.is_finite() { m } else { 0.0 };
    for x in x.iter_mut() {
        *x = math::exp(i, i.fma(*x, scale, -m));
    }
    let mut sum = [0.0; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        sum.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
    }
    sum.iter_mut().zip(rest).for_each(|(sum, &x)| *sum += x);
    let sum = tree(&sum);
    x.iter_mut().for_each(|x| *x /= sum);
}

instances! {
    /// `x = exp(x * scale) / the sum of that`, in place.
    pub fn soft_max / soft_max_at(x: &mut [f32], scale: f32) = soft_max_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::cpu::Level;
    use crate::num::tests::{Rng, same_all};
    use std::vec::Vec;

    #[test]
    fn against_double_precision_at_both_levels() {
        let mut r = Rng::new(21);
        for n in [1, 2, 8, 15, 16, 33, 128, 1000] {
            let x: Vec<f32> = (0..n).map(|_| 6.0 * r.normal()).collect();
            let (mut p, mut w) = (x.clone(), x.clone());
            soft_max_at(Level::portable(), &mut p, 0.7);
            soft_max(&mut w, 0.7);
            same_all(&p, &w, "softmax");
            let e = |&x: &f32| (f64::from(x) * f64::from(0.7f32)).exp();
            let sum: f64 = x.iter().map(e).sum();
            for (x, &y) in x.iter().zip(&p) {
                assert!((f64::from(y) - e(x) / sum).abs() < 1e-6);
            }
        }
        let mut x = [0.0, f32::NEG_INFINITY, 0.0];
        soft_max(&mut x, 1.0);
        assert_eq!(x, [0.5, 0.0, 0.5]);
        let mut x = [f32::NEG_INFINITY; 3];
        soft_max(&mut x, 1.0);
        assert!(x.iter().all(|x| x.is_nan()));
    }
}
