//! Rotary embedding.
//!
//! Angles are computed in double precision and rounded once, so that long contexts lose nothing:
//! pair `i` of `n_dims / 2` turns by `w[i]` radians per position,
//!
//! ```text
//! t     = freq_base ^ (-2 i / n_dims)            libm::pow
//! t     = t / factor[i]                          where there are factors
//! w[i]  = freq_scale * t                         ext_factor = 0
//! w[i]  = freq_scale * t * (1 - mix) + t * mix   otherwise (YaRN)
//! mix   = ext_factor * (1 - clamp((i - low) / max(0.001, high - low), 0, 1))
//! low   = max(0, floor(c(beta_fast))), high = min(n_dims - 1, ceil(c(beta_slow)))
//! c(b)  = n_dims * ln(n_ctx_orig / (2 pi b)) / (2 ln freq_base)
//! m     = attn_factor                            ext_factor = 0
//! m     = attn_factor * (1 + 0.1 ln(1 / freq_scale))
//! cos   = f32(libm::cos(position * w[i]) * m), sin alike
//! ```
//!
//! all in f64, left to right, and the pair (a, b) becomes
//! `(fma(a, cos, -(b * sin)), fma(a, sin, b * cos))` in f32: the second product is rounded, the first
//! is not. Elements from `n_dims` on stay. `libm` is the crate: software, the same everywhere; a test
//! notices if another version of it changes a bit.
#![allow(
    clippy::indexing_slicing,
    reason = "halves and strides of slices whose lengths were just taken from each other"
)]

use crate::num::cpu::{Isa, instances};

/// What a ROPE operation says, as in the guest ABI.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeParams {
    /// Elements of a head that turn: even, at least 2.
    pub n_dims: usize,
    /// The base of the geometric series of angles, e.g. 10000.
    pub freq_base: f32,
    /// 1, or less where positions are compressed.
    pub freq_scale: f32,
    /// 0, or how much of YaRN's mixing to apply.
    pub ext_factor: f32,
    /// Multiplies cosine and sine; usually 1.
    pub attn_factor: f32,
    /// YaRN: turns above which a dimension is not interpolated.
    pub beta_fast: f32,
    /// YaRN: turns below which a dimension is fully interpolated.
    pub beta_slow: f32,
    /// YaRN: the context the model was trained with.
    pub n_ctx_orig: u32,
}

/// Radians per position of each pair, into `w` (`n_dims / 2`): once per program.
///
/// `factors` are little-endian floats, one per pair.
pub fn rope_rates(p: &RopeParams, factors: Option<&[u8]>, w: &mut [f64]) {
    let (n, base) = (p.n_dims as f64, f64::from(p.freq_base));
    let (scale, ext) = (f64::from(p.freq_scale), f64::from(p.ext_factor));
    let corr = |beta: f32| {
        let turns = f64::from(p.n_ctx_orig) / (2.0 * core::f64::consts::PI * f64::from(beta));
        n * libm::log(turns) / (2.0 * libm::log(base))
    };
    let low = libm::fmax(0.0, libm::floor(corr(p.beta_fast)));
    let high = libm::fmin(n - 1.0, libm::ceil(corr(p.beta_slow)));
    for (i, w) in w.iter_mut().enumerate() {
        let mut t = libm::pow(base, -2.0 * i as f64 / n);
        if let Some(f) = factors.and_then(|f| f.as_chunks::<4>().0.get(i)) {
            t /= f64::from(f32::from_le_bytes(*f));
        }
        *w = scale * t;
        if ext != 0.0 {
            let ramp = (i as f64 - low) / libm::fmax(0.001, high - low);
            let mix = ext * (1.0 - libm::fmin(1.0, libm::fmax(0.0, ramp)));
            *w = scale * t * (1.0 - mix) + t * mix;
        }
    }
}

/// Cosines, then sines of the pairs at one position, into `table` (`n_dims`): once per row.
pub fn rope_table(p: &RopeParams, w: &[f64], position: u32, table: &mut [f32]) {
    let mut m = f64::from(p.attn_factor);
    if p.ext_factor != 0.0 {
        m *= 1.0 + 0.1 * libm::log(1.0 / f64::from(p.freq_scale));
    }
    let half = table.len() / 2;
    let (cos, sin) = table.split_at_mut(half);
    for ((&w, c), s) in w.iter().zip(cos).zip(sin) {
        let theta = f64::from(position) * w;
        *c = (libm::cos(theta) * m) as f32;
        *s = (libm::sin(theta) * m) as f32;
    }
}

#[inline(always)]
fn turn<I: Isa>(i: I, a: &mut f32, b: &mut f32, c: f32, s: f32) {
    let (x, y) = (*a, *b);
    *a = i.fma(x, c, -(y * s));
    *b = i.fma(x, s, y * c);
}

#[inline(always)]
fn rope_body<I: Isa>(i: I, x: &mut [f32], head_dim: usize, neox: bool, table: &[f32]) {
    let half = table.len() / 2;
    let (cos, sin) = table.split_at(half);
    for head in x.chunks_exact_mut(head_dim.max(1)) {
        if head.len() < 2 * half {
            return;
        }
        let head = &mut head[..2 * half];
        if neox {
            let (a, b) = head.split_at_mut(half);
            for (((a, b), &c), &s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                turn(i, a, b, c, s);
            }
        } else {
            for (([a, b], &c), &s) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                turn(i, a, b, c, s);
            }
        }
    }
}

instances! {
    /// Turns every head of one row `[h * head_dim]` in place, by a table from [`rope_table`].
    ///
    /// Pairs are `(i, i + n_dims / 2)` if `neox`, else `(2 i, 2 i + 1)`; `n_dims` is the table's length.
    pub fn rope_row / rope_row_at(x: &mut [f32], head_dim: usize, neox: bool, table: &[f32]) = rope_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::cpu::Level;
    use crate::num::tests::{Rng, golden, same_all};
    use std::vec;
    use std::vec::Vec;

    fn params() -> RopeParams {
        RopeParams {
            n_dims: 64,
            freq_base: 10000.0,
            freq_scale: 1.0,
            ext_factor: 0.0,
            attn_factor: 1.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            n_ctx_orig: 4096,
        }
    }

    #[test]
    fn turns_and_goldens() {
        let mut r = Rng::new(5);
        let mut all: Vec<f32> = Vec::new();
        let factors: Vec<u8> = (0..64)
            .flat_map(|i| (1.0 + i as f32 / 9.0).to_le_bytes())
            .collect();
        for (k, (dims, head, neox)) in [
            (64, 64, false),
            (64, 64, true),
            (32, 80, true),
            (2, 8, false),
            (8, 8, false),
        ]
        .into_iter()
        .enumerate()
        {
            for position in [0, 1, 77, 131_071] {
                let mut p = RopeParams {
                    n_dims: dims,
                    ..params()
                };
                if k == 1 {
                    (p.ext_factor, p.freq_scale) = (1.0, 0.25);
                }
                let mut w = vec![0.0; dims / 2];
                rope_rates(&p, (k == 2).then_some(&factors[..]), &mut w);
                let mut table = vec![0.0; dims];
                rope_table(&p, &w, position, &mut table);
                let x = r.normals(3 * head);
                let (mut y, mut z) = (x.clone(), x.clone());
                rope_row_at(Level::portable(), &mut y, head, neox, &table);
                rope_row(&mut z, head, neox, &table);
                same_all(&y, &z, "rope");
                for h in 0..3 {
                    for (d, &w) in w.iter().enumerate() {
                        let (a, b) = if neox {
                            (d, d + dims / 2)
                        } else {
                            (2 * d, 2 * d + 1)
                        };
                        let (a, b) = (h * head + a, h * head + b);
                        let theta = f64::from(position) * w;
                        let m = if k == 1 { 1.0 + 0.1 * 4f64.ln() } else { 1.0 };
                        let (s, c) = (theta.sin() * m, theta.cos() * m);
                        let (x0, x1) = (f64::from(x[a]), f64::from(x[b]));
                        assert!((f64::from(y[a]) - (x0 * c - x1 * s)).abs() < 1e-6);
                        assert!((f64::from(y[b]) - (x0 * s + x1 * c)).abs() < 1e-6);
                    }
                    same_all(
                        &y[h * head + dims..(h + 1) * head],
                        &x[h * head + dims..(h + 1) * head],
                        "rest",
                    );
                }
                if position == 0 && k != 1 {
                    same_all(&x, &y, "no turn at position 0");
                }
                all.extend(y);
            }
        }
        golden("rope", &all, GOLDEN);
    }
    const GOLDEN: u64 = 0xb408_f5a4_f951_d8f9;

    #[test]
    fn yarn_interpolates_slow_dimensions_only() {
        let p = RopeParams {
            ext_factor: 1.0,
            freq_scale: 0.25,
            ..params()
        };
        let (mut plain, mut yarn) = ([0.0; 32], [0.0; 32]);
        rope_rates(&params(), None, &mut plain);
        rope_rates(&p, None, &mut yarn);
        assert_eq!(yarn[0], plain[0]);
        assert_eq!(yarn[31], 0.25 * plain[31]);
        assert_eq!(plain[16], 0.01);
    }
}
