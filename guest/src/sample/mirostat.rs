//! Mirostat: keeps the information of the chosen tokens near a target by cutting off what is more surprising than a
//! bound, and moving the bound (Basu et al. 2020, <https://arxiv.org/abs/2007.14966>).

use super::candidates::Candidates;
use super::dist;
use crate::abi::Result;
use crate::num::{exp, ln};
use core::f64::consts::LN_2;

/// How many of the most probable candidates version 1 looks at to estimate how fast probabilities fall.
const M: u32 = 100;

/// Which version, and how it moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// 1 or 2; 0: off.
    pub version: u32,
    /// The target, in bits.
    pub tau: f32,
    /// How fast the bound moves.
    pub eta: f32,
}

/// The bound, in bits.
#[derive(Debug, Default)]
pub struct Mirostat {
    mu: f64,
}

impl Mirostat {
    /// Where every generation begins.
    pub fn reset(&mut self, s: &Settings) {
        self.mu = 2.0 * f64::from(s.tau);
    }

    /// Cuts, draws with `u` in `[0, 1)`, and moves the bound. Returns the rank.
    #[inline(never)]
    pub fn pick(
        &mut self,
        c: &mut Candidates<'_>,
        s: &Settings,
        n_vocab: u32,
        u: f64,
    ) -> Result<u32> {
        if s.version == 1 {
            let k = self.estimate(c, n_vocab)?;
            c.keep(k);
        } else {
            let sum = c.sum()?;
            let least = sum * exp(-self.mu * LN_2);
            let ranks = c.ranks();
            for rank in ranks.start + 1..ranks.end {
                if c.weight(rank)? < least {
                    c.keep_ranks(ranks.start..rank);
                    break;
                }
            }
        }
        let rank = dist::pick(c, u)?;
        let surprise = (ln(c.sum()?) - c.log_weight(rank)?) / LN_2;
        self.mu -= f64::from(s.eta) * (surprise - f64::from(s.tau));
        Ok(rank)
    }

    /// How many candidates are within the bound, if probabilities fall like a power of the rank.
    fn estimate(&self, c: &mut Candidates<'_>, n_vocab: u32) -> Result<u32> {
        let ranks = c.ranks();
        let (mut tb, mut tt) = (0.0, 0.0);
        for i in 0..(M - 1).min(c.count() - 1) {
            let fall = c.log_weight(ranks.start + i)? - c.log_weight(ranks.start + i + 1)?;
            // A banned candidate has fallen infinitely far.
            if !fall.is_finite() {
                break;
            }
            let t = ln(f64::from(i + 2) / f64::from(i + 1));
            tb += t * fall;
            tt += t * t;
        }
        let s = tb / tt;
        let epsilon = s - 1.0;
        let top = epsilon * exp(self.mu * LN_2);
        let bottom = 1.0 - exp(-epsilon * ln(f64::from(n_vocab)));
        let k = exp(ln(top / bottom) / s);
        // Not a number where all are equal: then nothing is more surprising than anything else.
        Ok(if k.is_nan() {
            c.count()
        } else {
            k.clamp(1.0, 1e9) as u32
        })
    }
}
