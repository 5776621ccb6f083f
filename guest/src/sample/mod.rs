//! Sampling: what is appended to the model's program, and how a token is picked from its results.
//!
//! Whatever is as wide as the vocabulary happens in the program (bias, penalties, DRY, top-k, argmax); the
//! guest sees candidates only. The chain is that of the parameter `samplers` and ends with a draw; what changes logits
//! before any candidate is chosen (bias, penalties, DRY) comes first wherever it is named.

pub mod bias;
pub mod candidates;
pub mod dist;
pub mod dry;
pub mod min_p;
pub mod mirostat;
pub mod penalties;
mod recipe;
pub mod temp;
pub mod top_k;
pub mod top_n_sigma;
pub mod top_p;
pub mod typical;
pub mod xtc;

use crate::abi::{self, Result};
use crate::num;
use crate::params::{Params, Step};
use crate::program::{Dim, Operand, Recorder};
use crate::rng::Rng;
use crate::slim;
use alloc::vec::Vec;
use bias::Bias;
use candidates::{Candidates, LogSum};
use dry::Dry;
use mirostat::Mirostat;
use penalties::Penalties;

/// What the recorded program depends on. If it changes, the program is recorded anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// Rows of the buffers of biases, penalties and DRY, which are others once they have grown; 0: none.
    bias: u32,
    penalties: u32,
    dry: u32,
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
    n_dry: Dim,
}

/// What the samplers of candidates are told; the parameters of these names.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Temperature; 0: the most probable token, always.
    pub temp: f32,
    /// Keep so many candidates; 0: all.
    pub top_k: u32,
    /// Keep the most probable candidates up to this sum of probabilities; 1: all.
    pub top_p: f32,
    /// Keep candidates at least this probable relative to the best; 0: all.
    pub min_p: f32,
    /// Keep the most typical candidates up to this sum of probabilities; 1: all.
    pub typical_p: f32,
    /// Keep candidates within so many standard deviations of the best logit; 0 or below: all.
    pub top_n_sigma: f32,
    /// How often XTC removes the top choices, and from which probability on they are such.
    pub xtc_probability: f32,
    /// See `xtc_probability`.
    pub xtc_threshold: f32,
    /// The temperature varies by so much with the entropy; 0: off.
    pub dynatemp_range: f32,
    /// The curve it follows.
    pub dynatemp_exponent: f32,
    /// Mirostat, instead of the samplers that remove candidates.
    pub mirostat: mirostat::Settings,
    /// The samplers, in their order.
    pub samplers: Vec<Step>,
}

impl Settings {
    /// Whether a sampler of candidates can have an effect.
    fn acts(&self, step: Step) -> bool {
        match step {
            Step::Penalties | Step::Dry => false,
            Step::Temperature => true,
            _ if !step.known() => false,
            // Mirostat stands in for everything that removes candidates.
            _ if self.mirostat.version > 0 => false,
            Step::TopNSigma => self.top_n_sigma > 0.0,
            Step::TopK => self.top_k > 0,
            Step::Typical => self.typical_p < 1.0,
            Step::TopP => self.top_p < 1.0,
            Step::MinP => self.min_p > 0.0,
            Step::Xtc => self.xtc_probability > 0.0,
        }
    }

    /// Without the samplers that have no effect on candidates.
    fn acting(&self) -> Self {
        let mut acting = self.clone();
        acting.samplers.retain(|step| self.acts(*step));
        acting
    }

    /// How many candidates are needed: as many as the chain's first sampler leaves, if that is top-k, else all.
    /// A plain temperature before it changes neither their order nor what it keeps.
    fn candidates(&self, n_vocab: u32) -> u32 {
        let plain = self.dynatemp_range <= 0.0;
        let mut first = self.samplers.iter();
        match first.find(|s| !plain || **s != Step::Temperature) {
            Some(Step::TopK) => self.top_k.min(n_vocab),
            _ => n_vocab,
        }
    }

    /// Runs the chain.
    fn apply(&self, c: &mut Candidates<'_>, rng: &mut Rng) -> Result<()> {
        for step in self.samplers.iter().filter(|step| step.known()) {
            match step {
                Step::TopNSigma => top_n_sigma::apply(c, self.top_n_sigma)?,
                Step::TopK => c.keep(self.top_k),
                Step::Typical => typical::apply(c, self.typical_p)?,
                Step::TopP => top_p::apply(c, self.top_p)?,
                Step::MinP => min_p::apply(c, self.min_p)?,
                Step::Xtc => xtc::apply(c, self.xtc_probability, self.xtc_threshold, rng)?,
                Step::Temperature if !slim::SAMPLERS => temp::apply(c, f64::from(self.temp)),
                Step::Temperature => {
                    temp::dynamic(c, self.temp, self.dynatemp_range, self.dynatemp_exponent)?;
                }
                Step::Penalties | Step::Dry => {}
            }
        }
        Ok(())
    }
}

/// The sampler of a session.
pub struct Sampler {
    model: u32,
    n_vocab: u32,
    /// i32, cols 1: the program's input. Without sampling the program writes the most probable token
    /// to its first row, so that the next step needs nothing from here.
    tokens: u32,
    top_k: top_k::Buffers,
    bias: Bias,
    penalties: Penalties,
    dry: Dry,
    mirostat: Mirostat,
    rng: Rng,
    seed: u32,
    key: Key,
    settings: Settings,
}

impl Sampler {
    /// A sampler for a model's logits, of this width, and a program that takes its tokens from this buffer.
    pub fn new(model: u32, n_vocab: u32, tokens: u32) -> Self {
        Self {
            model,
            n_vocab,
            tokens,
            top_k: top_k::Buffers::default(),
            bias: Bias::default(),
            penalties: Penalties::default(),
            dry: Dry::default(),
            mirostat: Mirostat::default(),
            rng: Rng::new(0),
            seed: 0,
            key: Key {
                bias: 0,
                penalties: 0,
                dry: 0,
                top_k: 0,
                full: 0.0,
            },
            settings: Params::default().sampling,
        }
    }

    /// Takes over the parameters of a turn. `first` starts the random numbers and mirostat's bound afresh, as does a new
    /// seed or other settings of mirostat. Returns what the program must look like.
    pub fn configure(&mut self, p: &Params, ctx: u32, first: bool) -> Result<Key> {
        if first || self.seed != p.seed {
            self.seed = p.seed;
            self.rng = Rng::new(u64::from(p.seed));
        }
        if first || self.settings.mirostat != p.sampling.mirostat {
            self.mirostat.reset(&p.sampling.mirostat);
        }
        self.settings = p.sampling.acting();
        let bias = slim::SAMPLERS && self.bias.configure(&p.logit_bias)?;
        let penalties = slim::SAMPLERS && self.penalties.configure(p, ctx)?;
        let off = crate::params::Dry::default();
        let named = p.sampling.samplers.contains(&Step::Dry);
        let settings = if named { &p.dry } else { &off };
        let history = self.penalties.history();
        let dry = slim::SAMPLERS && self.dry.configure(settings, self.model, history)?;
        let rows = |is_on: bool, rows: u32| if is_on { rows } else { 0 };
        let mut key = Key {
            bias: rows(bias, self.bias.capacity()),
            penalties: rows(penalties, self.penalties.capacity()),
            dry: rows(dry, self.dry.capacity()),
            top_k: 0,
            full: 0.0,
        };
        let temp = p.sampling.temp;
        if temp > 0.0 {
            key.top_k = self.settings.candidates(self.n_vocab);
            if key.top_k == self.n_vocab {
                key.full = 1.0 / temp;
            }
            self.top_k.reserve(key.top_k)?;
        }
        self.key = key;
        Ok(key)
    }

    /// About how many operations [`Sampler::record`] adds.
    pub const OPS: usize = 9;

    /// Declares the registers of the sampling part, in the order of [`Sampler::regs`].
    pub fn declare(&self, r: &mut Recorder) -> Regs {
        Regs {
            n_bias: r.reg(0, self.bias.capacity()),
            n_penalties: r.reg(0, self.penalties.capacity()),
            n_dry: r.reg(0, self.dry.capacity()),
        }
    }

    /// Appends what changes logits before any candidate is chosen: biases, penalties, DRY.
    pub fn record_changes(&self, r: &mut Recorder, regs: &Regs, logits: Operand) {
        if slim::SAMPLERS && self.key.bias > 0 {
            self.bias.record(r, logits, regs.n_bias);
        }
        if slim::SAMPLERS && self.key.penalties > 0 {
            self.penalties.record(r, logits, regs.n_penalties);
        }
        if slim::SAMPLERS && self.key.dry > 0 {
            self.dry.record(r, logits, regs.n_dry);
        }
    }

    /// Appends the sampling operations to the program; `logits` `[n_out, n_vocab]` may be changed.
    pub fn record(&self, r: &mut Recorder, regs: &Regs, logits: Operand, n_out: Dim) {
        self.record_changes(r, regs, logits);
        if self.key.top_k == 0 {
            r.argmax(Operand::buffer(self.tokens), logits);
        } else {
            self.top_k
                .record(r, logits, n_out, self.key.top_k, self.key.full);
        }
    }

    /// Register values of the sampling part.
    pub fn regs(&self) -> [u32; 3] {
        let used = |is_on: bool, count: u32| if is_on { count } else { 0 };
        [
            used(self.key.bias > 0, self.bias.count()),
            used(self.key.penalties > 0, self.penalties.count()),
            used(self.key.dry > 0, self.dry.count()),
        ]
    }

    /// Notes tokens that are about to enter the context.
    pub fn accept(&mut self, tokens: &[u32]) -> Result<()> {
        self.penalties.accept(tokens)?;
        match slim::SAMPLERS {
            true => self.dry.accept(self.model, tokens),
            false => Ok(()),
        }
    }

    /// The tokens of the context.
    pub fn context(&self) -> &[u32] {
        self.penalties.history()
    }

    /// The newest token of the context.
    pub fn last(&self) -> Option<u32> {
        self.penalties.history().last().copied()
    }

    /// Takes back the last `count` accepted tokens.
    pub fn retract(&mut self, count: u32) {
        if count > 0 {
            let kept = self.penalties.history().len();
            self.rewind((kept as u32).saturating_sub(count));
        }
    }

    /// Takes back all tokens but the first `count`.
    pub fn rewind(&mut self, count: u32) {
        self.penalties.keep(count as usize);
        // It only fails for want of memory that it had before; the next turn starts it afresh in any case.
        if slim::SAMPLERS {
            let _ = self.dry.restart(self.model, self.penalties.history());
        }
    }

    /// Writes what the program reads, before a step whose logits are wanted.
    pub fn prepare(&mut self) -> Result<()> {
        if slim::SAMPLERS && self.key.penalties > 0 {
            self.penalties.write()?;
        }
        if slim::SAMPLERS && self.key.dry > 0 {
            self.dry.write(self.model, self.penalties.history())?;
        }
        Ok(())
    }

    /// How many of the best candidates a pick depends on; None for all of the vocabulary.
    pub fn looks_at(&self) -> Option<u32> {
        (self.key.full == 0.0).then(|| self.key.top_k.max(1))
    }

    /// Whether the program itself puts the token that is picked where the next step reads it.
    pub fn feeds_back(&self) -> bool {
        self.key.top_k == 0
    }

    /// Picks the token after a step whose logits were wanted, of which all but `most` are banned.
    pub fn pick(&mut self, most: u32) -> Result<u32> {
        if self.key.top_k == 0 {
            let mut token = [0u32];
            abi::buffer_read(self.tokens, 0, &mut token)?;
            return match token {
                [abi::NO_INDEX] => Err(no_numbers()),
                [token] => Ok(token),
            };
        }
        self.draw(self.key.top_k.min(most))
    }

    /// Draws from the best `count` candidates.
    #[inline(never)]
    fn draw(&mut self, count: u32) -> Result<u32> {
        let sums = if self.key.full > 0.0 {
            let sums = self.top_k.sums()?;
            [
                (1.0, sums.plain),
                (1.0 / f64::from(self.settings.temp), sums.tempered),
            ]
            .map(|(scale, value)| Some(LogSum { scale, value }))
        } else {
            [None, None]
        };
        let mut fetch = |first: u32, out: &mut [f32]| self.top_k.values(first, out);
        let mut c = Candidates::new(count, sums, &mut fetch)?;
        if c.best().is_nan() {
            return Err(no_numbers());
        }
        self.settings.apply(&mut c, &mut self.rng)?;
        let u = self.rng.uniform();
        let mirostat = &self.settings.mirostat;
        let chosen = if slim::SAMPLERS && mirostat.version > 0 {
            self.mirostat.pick(&mut c, mirostat, self.n_vocab, u)?
        } else {
            dist::pick(&mut c, u)?
        };
        self.top_k.id(chosen)
    }
}

/// Nothing can be picked.
#[cold]
fn no_numbers() -> abi::Fail {
    fail!(
        FORMAT,
        "the model's logits are no numbers: its weights are damaged"
    )
}

#[cfg(test)]
mod tests;
