//! Sampling: what is appended to the model's program, and how a token is picked from its results.
//!
//! Whatever is as wide as the vocabulary happens in the program (bias, penalties, top-k, argmax); the
//! guest sees candidates only. The chain is bias, penalties, top-k, top-p, min-p, temperature, dist.

pub mod bias;
pub mod candidates;
pub mod dist;
pub mod min_p;
pub mod penalties;
pub mod temp;
pub mod top_k;
pub mod top_p;

use crate::abi::{self, Result};
use crate::params::Params;
use crate::program::{Dim, Operand, Recorder};
use crate::rng::Rng;
use bias::Bias;
use candidates::Candidates;
use penalties::Penalties;

/// What the recorded program depends on. If it changes, the program is recorded anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    bias: bool,
    penalties: bool,
    /// Candidates; 0: greedy.
    top_k: u32,
    /// 1 / temperature where the sum over the whole vocabulary is needed, else 0.
    full: f32,
}

/// Registers of the sampling part.
#[derive(Clone, Copy, Debug)]
pub struct Regs {
    n_bias: Dim,
    n_penalties: Dim,
}

/// The sampler of a session.
pub struct Sampler {
    n_vocab: u32,
    /// i32, cols 1: the program's input. Without sampling the program writes the most probable token
    /// to its first row, so that the next step needs nothing from here.
    tokens: u32,
    top_k: top_k::Buffers,
    bias: Bias,
    penalties: Penalties,
    rng: Rng,
    seed: u32,
    key: Key,
    temp: f32,
    top_p: f32,
    min_p: f32,
}

impl Sampler {
    /// A sampler for logits of this width, and a program that takes its tokens from this buffer.
    pub fn new(n_vocab: u32, tokens: u32) -> Self {
        Self {
            n_vocab,
            tokens,
            top_k: top_k::Buffers::default(),
            bias: Bias::default(),
            penalties: Penalties::default(),
            rng: Rng::new(0),
            seed: 0,
            key: Key {
                bias: false,
                penalties: false,
                top_k: 0,
                full: 0.0,
            },
            temp: 0.0,
            top_p: 1.0,
            min_p: 0.0,
        }
    }

    /// Takes over the parameters of a turn. `first` starts the random numbers afresh, as does a new
    /// seed. Returns what the program must look like.
    pub fn configure(&mut self, p: &Params, ctx: u32, first: bool) -> Result<Key> {
        if first || self.seed != p.seed {
            self.seed = p.seed;
            self.rng = Rng::new(u64::from(p.seed));
        }
        (self.temp, self.top_p, self.min_p) = (p.temp, p.top_p, p.min_p);
        let bias = self.bias.configure(&p.logit_bias)?;
        let penalties = self.penalties.configure(p, ctx)?;
        let mut key = Key {
            bias,
            penalties,
            top_k: 0,
            full: 0.0,
        };
        if p.temp > 0.0 {
            let all = p.top_k == 0 || p.top_k >= self.n_vocab;
            key.top_k = if all { self.n_vocab } else { p.top_k };
            if all {
                key.full = 1.0 / p.temp;
            }
            self.top_k.reserve(key.top_k)?;
        }
        self.key = key;
        Ok(key)
    }

    /// About how many operations [`Sampler::record`] adds.
    pub const OPS: usize = 8;

    /// Declares the registers of the sampling part, in the order of [`Sampler::regs`].
    pub fn declare(&self, r: &mut Recorder) -> Regs {
        Regs {
            n_bias: r.reg(0, self.bias.capacity()),
            n_penalties: r.reg(0, self.penalties.capacity()),
        }
    }

    /// Appends the sampling operations to the program; `logits` `[n_out, n_vocab]` may be changed.
    pub fn record(&self, r: &mut Recorder, regs: &Regs, logits: Operand, n_out: Dim) {
        if self.key.bias {
            self.bias.record(r, logits, regs.n_bias);
        }
        if self.key.penalties {
            self.penalties.record(r, logits, regs.n_penalties);
        }
        if self.key.top_k == 0 {
            r.argmax(Operand::buffer(self.tokens), logits);
        } else {
            self.top_k
                .record(r, logits, n_out, self.key.top_k, self.key.full);
        }
    }

    /// Register values of the sampling part.
    pub fn regs(&self) -> [u32; 2] {
        [
            if self.key.bias { self.bias.count() } else { 0 },
            if self.key.penalties {
                self.penalties.count()
            } else {
                0
            },
        ]
    }

    /// Notes tokens that are about to enter the context.
    pub fn accept(&mut self, tokens: &[u32]) -> Result<()> {
        self.penalties.accept(tokens)
    }

    /// The newest token of the context.
    pub fn last(&self) -> Option<u32> {
        self.penalties.last()
    }

    /// Takes back the last `count` accepted tokens.
    pub fn retract(&mut self, count: u32) {
        if count > 0 {
            let kept = self.penalties.len().saturating_sub(count as usize);
            self.penalties.keep(kept);
        }
    }

    /// Takes back all tokens but the first `count`.
    pub fn rewind(&mut self, count: u32) {
        self.penalties.keep(count as usize);
    }

    /// Writes what the program reads, before a step whose logits are wanted.
    pub fn prepare(&mut self) -> Result<()> {
        if self.key.penalties {
            self.penalties.write()
        } else {
            Ok(())
        }
    }

    /// Whether the program itself puts the token that is picked where the next step reads it.
    pub fn feeds_back(&self) -> bool {
        self.key.top_k == 0
    }

    /// Picks the token after a step whose logits were wanted.
    pub fn pick(&mut self) -> Result<u32> {
        if self.key.top_k == 0 {
            let mut token = [0u32];
            abi::buffer_read(self.tokens, 0, &mut token)?;
            let [token] = token;
            return Ok(token);
        }
        self.draw()
    }

    /// Draws from the candidates.
    #[inline(never)]
    fn draw(&mut self) -> Result<u32> {
        let mut fetch = |first: u32, out: &mut [f32]| self.top_k.values(first, out);
        let mut c = Candidates::new(self.key.top_k, &mut fetch)?;
        let sums = if self.key.full > 0.0 {
            Some(self.top_k.sums()?)
        } else {
            None
        };
        top_p::apply(&mut c, self.top_p, sums.map(|s| s.plain))?;
        min_p::apply(&mut c, self.min_p)?;
        let u = self.rng.uniform();
        temp::apply(&mut c, self.temp);
        let chosen = dist::pick(&mut c, sums.map(|s| s.tempered), u)?;
        self.top_k.id(chosen)
    }
}

#[cfg(test)]
mod tests;
