//! RMS norm and layer norm of a row, in groups of `g` elements (usually the whole row).
//!
//! Sums run in 16 lanes and the tree of [`crate::num`], starting at +0.
//!
//! RMS: `s` = the sum of squares, `lane = fma(x, x, lane)`; `scale = 1 / sqrt(s / g + eps)`, each
//! operation rounded; `y = (x * scale) * w`.
//!
//! Layer norm: `mean = (sum of x, lane = lane + x) / g`; `c = x - mean`; `s` = the sum of squares of
//! `c`, as above; `scale` as above; `y = fma(c * scale, w, b)`. Without a weight the product, without a
//! bias the sum is left out: `y = (c * scale) * w`, `fma` only where there are both, `c * scale + b`
//! for a bias alone.

use crate::num::cpu::{Isa, instances};
use crate::num::{LANES, tree};

/// Sum of `f(lane, x)` over the lanes.
#[inline(always)]
fn lanes(x: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut acc = [0.0; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for (acc, &x) in acc.iter_mut().zip(x) {
            *acc = f(*acc, x);
        }
    }
    for (acc, &x) in acc.iter_mut().zip(rest) {
        *acc = f(*acc, x);
    }
    tree(&acc)
}

#[inline(always)]
fn weights(w: &[u8]) -> impl Iterator<Item = f32> + '_ {
    w.as_chunks::<4>().0.iter().map(|&w| f32::from_le_bytes(w))
}

#[inline(always)]
fn inverse_rms(squares: f32, n: usize, eps: f32) -> f32 {
    1.0 / libm::sqrtf(squares / n as f32 + eps)
}

#[inline(always)]
fn rms_body<I: Isa>(i: I, x: &mut [f32], w: Option<&[u8]>, group: usize, eps: f32) {
    for x in x.chunks_mut(group.max(1)) {
        let scale = inverse_rms(lanes(x, |acc, x| i.fma(x, x, acc)), x.len(), eps);
        match w {
            Some(w) => {
                for (x, w) in x.iter_mut().zip(weights(w)) {
                    *x = *x * scale * w;
                }
            }
            None => x.iter_mut().for_each(|x| *x *= scale),
        }
    }
}

#[inline(always)]
fn layer_body<I: Isa>(
    i: I,
    x: &mut [f32],
    w: Option<&[u8]>,
    b: Option<&[u8]>,
    group: usize,
    eps: f32,
) {
    for x in x.chunks_mut(group.max(1)) {
        let mean = lanes(x, |acc, x| acc + x) / x.len() as f32;
        x.iter_mut().for_each(|x| *x -= mean);
        let scale = inverse_rms(lanes(x, |acc, x| i.fma(x, x, acc)), x.len(), eps);
        x.iter_mut().for_each(|x| *x *= scale);
        match (w, b) {
            (Some(w), Some(b)) => {
                for ((x, w), b) in x.iter_mut().zip(weights(w)).zip(weights(b)) {
                    *x = i.fma(*x, w, b);
                }
            }
            (Some(w), None) => x.iter_mut().zip(weights(w)).for_each(|(x, w)| *x *= w),
            (None, Some(b)) => x.iter_mut().zip(weights(b)).for_each(|(x, b)| *x += b),
            (None, None) => {}
        }
    }
}

instances! {
    /// RMS norm of one row in place. `w` is `group` little-endian floats at any alignment, used for
    /// every group; `group` is at least 1, and the last group may be short.
    pub fn rms_norm / rms_norm_at(x: &mut [f32], w: Option<&[u8]>, group: usize, eps: f32) = rms_body
}
instances! {
    /// Layer norm of one row in place, with weight and bias as [`rms_norm`]'s weight.
    pub fn layer_norm / layer_norm_at(
        x: &mut [f32], w: Option<&[u8]>, b: Option<&[u8]>, group: usize, eps: f32,
    ) = layer_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::cpu::Level;
    use crate::num::tests::{Rng, golden, same_all};
    use std::vec::Vec;

    fn le(x: &[f32]) -> Vec<u8> {
        x.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn against_double_precision_at_both_levels() {
        let mut r = Rng::new(3);
        let mut all: Vec<f32> = Vec::new();
        for (n, g) in [
            (1, 1),
            (7, 7),
            (16, 16),
            (96, 32),
            (100, 100),
            (2048, 2048),
            (8192, 128),
        ] {
            let (x, w, b) = (r.normals(n), r.normals(g), r.normals(g));
            let (wb, bb) = (le(&w), le(&b));
            for kind in 0..8 {
                let (layer, w_, b_) =
                    (kind & 1 != 0, kind & 2 != 0, kind & 4 != 0 && kind & 1 != 0);
                let (wo, bo) = (w_.then_some(&wb[..]), b_.then_some(&bb[..]));
                let run = |level| {
                    let mut y = x.clone();
                    if layer {
                        layer_norm_at(level, &mut y, wo, bo, g, 1e-5);
                    } else {
                        rms_norm_at(level, &mut y, wo, g, 1e-5);
                    }
                    y
                };
                let y = run(Level::portable());
                same_all(&y, &run(Level::current()), "norm");
                for (k, x) in x.chunks(g).enumerate() {
                    let d: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
                    let mean = if layer {
                        d.iter().sum::<f64>() / g as f64
                    } else {
                        0.0
                    };
                    let var = d.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / g as f64;
                    let scale = 1.0 / (var + 1e-5f32 as f64).sqrt();
                    for (j, v) in d.iter().enumerate() {
                        let mut want = (v - mean) * scale;
                        if w_ {
                            want *= f64::from(w[j]);
                        }
                        if b_ {
                            want += f64::from(b[j]);
                        }
                        let got = f64::from(y[k * g + j]);
                        assert!(
                            (got - want).abs() < 2e-6 * (1.0 + want.abs()),
                            "{got} {want}"
                        );
                    }
                }
                all.extend(y);
            }
        }
        golden("norm", &all, GOLDEN);
    }
    const GOLDEN: u64 = 0x0eea_bdd7_45c4_2e59;
}
