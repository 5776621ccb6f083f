//! DRY (don't repeat yourself): a token that would go on with a repetition of what is already in the context is
//! penalized, the more the longer the repetition is (p-e-w 2024,
//! <https://github.com/oobabooga/text-generation-webui/pull/5677>).
//!
//! The penalties are biases, which the program adds. Repetitions do not reach across a sequence breaker. The lengths of all of
//! them come from one walk over the recent tokens (the Z-algorithm, on the reversed sequence).

use super::bias::Bias;
use crate::abi::{self, Result};
use crate::num::{exp, ln};
use crate::params::Dry as Settings;
use crate::program::{Dim, Operand, Recorder};
use alloc::vec::Vec;

/// At most so many tokens are penalized, those with the longest repetitions.
const MAX_PENALIZED: usize = 256;

/// The penalties of the next token.
#[derive(Debug, Default)]
pub struct Dry {
    settings: Settings,
    /// Tokens of the context since the last breaker.
    since: usize,
    /// The end of the context's text, where the next breaker may have begun.
    tail: Vec<u8>,
    /// Scratch: per distance from the end, how long the tokens before repeat.
    lengths: Vec<u32>,
    bias: Bias,
}

impl Dry {
    /// Takes over a turn's parameters. True if there is a penalty.
    #[inline(never)]
    pub fn configure(&mut self, settings: &Settings, model: u32, history: &[u32]) -> Result<bool> {
        let active = settings.multiplier != 0.0 && settings.base >= 1.0 && settings.last_n != 0;
        self.settings = settings.clone();
        if !active {
            self.settings.multiplier = 0.0;
            return Ok(false);
        }
        self.bias.reserve(MAX_PENALIZED as u32)?;
        self.restart(model, history)?;
        Ok(true)
    }

    /// The context is this now.
    pub fn restart(&mut self, model: u32, history: &[u32]) -> Result<()> {
        self.since = 0;
        self.tail.clear();
        let recent = history.len().saturating_sub(self.window(history.len()));
        self.accept(model, history.get(recent..).unwrap_or_default())
    }

    /// Tokens have entered the context.
    #[inline(never)]
    pub fn accept(&mut self, model: u32, tokens: &[u32]) -> Result<()> {
        if self.settings.multiplier == 0.0 {
            return Ok(());
        }
        let longest = self.settings.breakers.iter().map(Vec::len).max();
        for &token in tokens {
            let old = self.tail.len();
            abi::piece(model, token, &mut self.tail)?;
            self.since += 1;
            if self.breaks(old) {
                self.since = 0;
            }
            let keep = longest.unwrap_or(0).saturating_sub(1);
            self.tail.drain(..self.tail.len().saturating_sub(keep));
        }
        Ok(())
    }

    /// Whether a breaker ends in the tail behind its first `old` bytes.
    fn breaks(&self, old: usize) -> bool {
        self.settings.breakers.iter().any(|breaker| {
            let mut ends = breaker.len().max(old + 1)..=self.tail.len();
            ends.any(|end| self.tail.get(..end).is_some_and(|t| t.ends_with(breaker)))
        })
    }

    fn window(&self, len: usize) -> usize {
        usize::try_from(self.settings.last_n).map_or(len, |n| n.min(len))
    }

    /// Writes the penalties of the next token.
    #[inline(never)]
    pub fn write(&mut self, model: u32, history: &[u32]) -> Result<()> {
        let penalties = self.penalties(model, history)?;
        self.bias.configure(&penalties)?;
        Ok(())
    }

    /// The tokens to penalize and their biases, if this is the context.
    pub fn penalties(&mut self, model: u32, history: &[u32]) -> Result<Vec<(u32, f32)>> {
        let recent = history.len() - self.window(history.len());
        let recent = history.get(recent..).unwrap_or_default();
        let mut found = self.find(recent)?;
        let mut text = Vec::new();
        let mut keeps = Ok(());
        found.retain(|(token, _)| {
            // A token that is a breaker ends every repetition.
            text.clear();
            let read = abi::piece(model, *token, &mut text);
            keeps = core::mem::replace(&mut keeps, Ok(())).and(read);
            let holds = |b: &Vec<u8>| text.windows(b.len()).any(|w| w == b.as_slice());
            !self.settings.breakers.iter().any(holds)
        });
        keeps?;
        Ok(found)
    }

    /// What would go on with a repetition in these tokens, and the biases for that.
    #[inline(never)]
    fn find(&mut self, recent: &[u32]) -> Result<Vec<(u32, f32)>> {
        let Settings {
            multiplier,
            base,
            allowed_length,
            ..
        } = self.settings;
        let allowed = allowed_length as usize;
        let limit = self.since.min(recent.len());
        let mut longest: Vec<(u32, u32)> = Vec::new();
        if recent.len() <= allowed || limit < allowed {
            return Ok(Vec::new());
        }
        self.measure(recent)?;
        for (distance, &length) in self.lengths.iter().enumerate().skip(1) {
            let length = length.min(limit as u32);
            if length < allowed_length {
                continue;
            }
            // What followed the earlier occurrence.
            let Some(&token) = recent
                .len()
                .checked_sub(distance)
                .and_then(|i| recent.get(i))
            else {
                continue;
            };
            match longest.iter_mut().find(|(id, _)| *id == token) {
                Some((_, known)) => *known = (*known).max(length),
                None => longest.push((token, length)),
            }
        }
        // Rarely more than a few, so that looking for the least is cheaper than the code of a sort.
        while longest.len() > MAX_PENALIZED {
            let least = longest.iter().enumerate().min_by_key(|(_, found)| found.1);
            let Some((at, _)) = least else { break };
            longest.swap_remove(at);
        }
        let log_base = ln(f64::from(base));
        let penalty = |length: u32| {
            // As an f32 it must stay finite.
            let power = (f64::from(length - allowed_length) * log_base).min(88.0);
            -(f64::from(multiplier) * exp(power)) as f32
        };
        Ok(longest
            .into_iter()
            .map(|(id, n)| (id, penalty(n).max(f32::MIN)))
            .collect())
    }

    /// For each distance d > 0: how many tokens at the end equal those that end d tokens before.
    #[inline(never)]
    fn measure(&mut self, recent: &[u32]) -> Result<()> {
        let n = recent.len();
        self.lengths.clear();
        if self.lengths.try_reserve(n).is_err() {
            return Err(abi::Fail(abi::status::NO_MEMORY));
        }
        self.lengths.resize(n, 0);
        let back = |i: usize| n.checked_sub(i + 1).and_then(|i| recent.get(i));
        // The match that reaches furthest: from `start` to before `end`.
        let (mut start, mut end) = (0, 0);
        for d in 1..n {
            let mut length = if d < end {
                let mirrored = self.lengths.get(d - start).copied().unwrap_or(0) as usize;
                mirrored.min(end - d)
            } else {
                0
            };
            if d + length >= end {
                while d + length < n && back(length) == back(d + length) {
                    length += 1;
                }
                (start, end) = (d, d + length);
            }
            if let Some(slot) = self.lengths.get_mut(d) {
                *slot = length as u32;
            }
        }
        Ok(())
    }

    /// Rows of the buffers.
    pub fn capacity(&self) -> u32 {
        self.bias.capacity()
    }

    /// Rows in use.
    pub fn count(&self) -> u32 {
        self.bias.count()
    }

    /// Appends the operation.
    pub fn record(&self, r: &mut Recorder, logits: Operand, count: Dim) {
        self.bias.record(r, logits, count);
    }
}
