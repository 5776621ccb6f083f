//! A recipe: how steps are made and tokens picked, in words of 32 bits (`guest/ABI.md`, "Recipes").

use super::sample::recipe as codes;
use crate::backend::table::{realm_buffer, realm_register};
use crate::error::{Error, Result, try_vec};
use crate::graph::op::{TYPE_F32, TYPE_I32};
use crate::graph::program::{MAX_EXTENT, MAX_REGISTERS};
use crate::{bail, err};
use alloc::string::String;
use alloc::vec::Vec;

/// What a register is given for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// Always this.
    Constant(u32),
    /// Tokens in the step.
    Tokens,
    /// The position of the first of them.
    Position,
    /// The row of the last of them.
    LastRow,
    /// 1 if a token is to be picked after the step, else 0.
    Outputs,
}

/// What removes or weighs candidates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Keeps so many.
    TopK(u32),
    /// Keeps the most probable up to this sum of probabilities.
    TopP(f32),
    /// Keeps those at least this probable relative to the best.
    MinP(f32),
    /// Divides logits by this.
    Temperature(f32),
}

/// Where a step of the model leaves candidates, and what is done with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// How many there are.
    pub count: u32,
    /// i32 `[1, count]`.
    pub ids: u32,
    /// f32 `[1, count]`, descending.
    pub values: u32,
    /// f32 `[2, 1]`: log-sum-exp of all logits, as they are and divided by `temp`.
    pub sums: Option<u32>,
    /// See `sums`.
    pub temp: f32,
    /// The samplers, in their order; a draw is the last.
    pub steps: Vec<Step>,
}

/// How steps are made and tokens picked.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The session's program, by its handle; in an image there is one.
    pub program: u32,
    /// i32, cols 1: the tokens of a step.
    pub tokens: u32,
    /// Most tokens of a step.
    pub n_batch: u32,
    /// Most positions.
    pub ctx: u32,
    /// Tokens are below this.
    pub n_vocab: u32,
    /// End tokens are as others.
    pub ignore_eos: bool,
    /// The model has a vocabulary.
    pub vocabulary: bool,
    /// Tokens that a turn generates at most; below 0: no limit.
    pub n_predict: i32,
    /// Where the random numbers begin.
    pub seed: u32,
    /// None: the program leaves the most probable token in the first row of `tokens`.
    pub sampling: Option<Sampling>,
    /// The program's registers.
    pub registers: Vec<Register>,
    /// Texts that end a turn.
    pub stops: Vec<String>,
}

/// Reads words off the front.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> Result<u32> {
        let Some((word, rest)) = self.0.split_first_chunk::<4>() else {
            bail!(Format, "recipe: it is cut short");
        };
        self.0 = rest;
        Ok(u32::from_le_bytes(*word))
    }

    fn count(&mut self, what: &str, most: u32) -> Result<u32> {
        match self.next()? {
            n if n <= most => Ok(n),
            n => Err(err!(Limit, "recipe: {n} {what}, at most {most}")),
        }
    }

    fn register(&mut self) -> Result<Register> {
        Ok(match (self.next()?, self.next()?) {
            (codes::REGISTER_CONSTANT, value) => Register::Constant(value),
            (codes::REGISTER_TOKENS, 0) => Register::Tokens,
            (codes::REGISTER_POSITION, 0) => Register::Position,
            (codes::REGISTER_LAST_ROW, 0) => Register::LastRow,
            (codes::REGISTER_OUTPUTS, 0) => Register::Outputs,
            (kind, value) => bail!(Unsupported, "recipe: a register of kind {kind}, {value}"),
        })
    }

    fn step(&mut self) -> Result<Step> {
        let (code, bits) = (self.next()?, self.next()?);
        let number = f32::from_bits(bits);
        let step = match code {
            codes::SAMPLER_TOP_K => return Ok(Step::TopK(bits)),
            codes::SAMPLER_TOP_P => Step::TopP(number),
            codes::SAMPLER_MIN_P => Step::MinP(number),
            codes::SAMPLER_TEMPERATURE => Step::Temperature(number),
            _ => bail!(Unsupported, "recipe: sampler {code} is unknown"),
        };
        if !number.is_finite() || number < 0.0 {
            bail!(Format, "recipe: a sampler's setting is {number}");
        }
        Ok(step)
    }

    fn text(&mut self) -> Result<String> {
        let bytes = self.count("bytes of a stop string", codes::MAX_STOP_BYTES)? as usize;
        let padded = bytes.next_multiple_of(4);
        let Some((text, rest)) = self.0.split_at_checked(padded) else {
            bail!(Format, "recipe: it is cut short");
        };
        self.0 = rest;
        let text = text.get(..bytes).unwrap_or(&[]);
        let mut copy = try_vec(bytes, "bytes of a stop string")?;
        copy.extend_from_slice(text);
        String::from_utf8(copy).map_err(|_| err!(Format, "recipe: a stop string is not UTF-8"))
    }
}

/// As many as `count` things that `read` reads.
fn list<T>(count: u32, mut read: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    let mut all = try_vec(count as usize, "entries of a recipe")?;
    for _ in 0..count {
        all.push(read()?);
    }
    Ok(all)
}

impl Recipe {
    /// Reads a recipe and looks whether it makes sense with these buffers.
    ///
    /// # Errors
    /// `Format`, `Limit`, `NoMemory`; `Unsupported` for another version, registers or samplers.
    pub fn parse(bytes: &[u8], buffers: &[realm_buffer]) -> Result<Self> {
        let mut w = Words(bytes);
        let version = w.next()?;
        if version != codes::VERSION {
            bail!(
                Unsupported,
                "recipe: version {version}, this library knows {}",
                codes::VERSION
            );
        }
        let program = w.next()?;
        let (tokens, n_batch, ctx, n_vocab) = (w.next()?, w.next()?, w.next()?, w.next()?);
        let flags = w.next()?;
        let (n_predict, seed) = (w.next()? as i32, w.next()?);
        let count = w.next()?;
        let (ids, values, sums) = (w.next()?, w.next()?, w.next()?.checked_sub(1));
        let temp = f32::from_bits(w.next()?);
        let registers = w.count("registers", MAX_REGISTERS)?;
        let steps = w.count("samplers", codes::MAX_SAMPLERS)?;
        let stops = w.count("stop strings", codes::MAX_STOPS)?;
        if w.next()? != 0 || flags & !(codes::FLAG_IGNORE_EOS | codes::FLAG_VOCABULARY) != 0 {
            bail!(Unsupported, "recipe: flags that this library does not know");
        }
        let registers = list(registers, || w.register())?;
        let steps = list(steps, || w.step())?;
        let stops = list(stops, || w.text())?;
        if !w.0.is_empty() {
            bail!(Format, "recipe: {} bytes too many", w.0.len());
        }
        let recipe = Self {
            program,
            tokens,
            n_batch,
            ctx,
            n_vocab,
            ignore_eos: flags & codes::FLAG_IGNORE_EOS != 0,
            vocabulary: flags & codes::FLAG_VOCABULARY != 0,
            n_predict,
            seed,
            sampling: (count > 0).then_some(Sampling {
                count,
                ids,
                values,
                sums,
                temp,
                steps,
            }),
            registers,
            stops,
        };
        recipe.check(buffers)?;
        Ok(recipe)
    }

    /// Whether what it names is there and large enough.
    fn check(&self, buffers: &[realm_buffer]) -> Result<()> {
        let has = |handle: u32, ty: u32, cols: u32, rows: u32| {
            let b = buffers.get(handle as usize);
            b.is_some_and(|b| b.r#type == ty && b.cols == cols && b.rows >= rows)
        };
        let range = |n: u32| (1..=MAX_EXTENT).contains(&n);
        let mut whole = range(self.n_batch) && range(self.ctx) && range(self.n_vocab);
        whole &= has(self.tokens, TYPE_I32, 1, self.n_batch);
        if let Some(s) = &self.sampling {
            whole &= has(s.ids, TYPE_I32, s.count, 1) && has(s.values, TYPE_F32, s.count, 1);
            whole &= s.sums.is_none_or(|sums| has(sums, TYPE_F32, 1, 2));
            whole &= s.temp.is_finite() && s.temp > 0.0;
        }
        match whole {
            true => Ok(()),
            false => Err(err!(
                Format,
                "recipe: its buffers are not there, or others than it says"
            )),
        }
    }

    /// Whether it gives this program's registers what they may be, whatever the step, and no more is planned for those that
    /// depend on the step than it ever gives.
    ///
    /// # Errors
    /// `Format`.
    pub fn fits(&self, registers: &[realm_register]) -> Result<()> {
        let bad = |i: usize| -> Error { err!(Format, "recipe: register {i} is not as it says") };
        if registers.len() != self.registers.len() {
            return Err(bad(registers.len()));
        }
        for (i, (source, r)) in self.registers.iter().zip(registers).enumerate() {
            let (least, most) = match *source {
                Register::Constant(value) => (value, value),
                Register::Tokens => (1, self.n_batch),
                Register::Position => (0, self.ctx - 1),
                Register::LastRow => (0, self.n_batch - 1),
                Register::Outputs => (0, 1),
            };
            let constant = matches!(source, Register::Constant(_));
            if least < r.min || most > r.max || (!constant && most < r.max) {
                return Err(bad(i));
            }
        }
        Ok(())
    }
}
