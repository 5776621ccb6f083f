//! Repetition, frequency and presence penalties: applied by the program to the tokens counted here.
//!
//! The counts cover the last `repeat_last_n` tokens of the context, the prompt included. They are kept
//! up to date per token, so that a long window costs no recount. All tokens of the context are remembered, four
//! bytes each, because a rewind must find what the window held then.

use crate::abi::{self, Result, kind};
use crate::params::{Params, Step};
use crate::program::{Dim, Operand, Recorder};
use crate::slim;
use alloc::vec::Vec;

/// Longest window: counting is a walk over the distinct tokens, so this bounds it to microseconds.
const MAX_WINDOW: u32 = 4096;

/// The context's tokens, and counts of the recent ones.
#[derive(Debug, Default)]
pub struct Penalties {
    /// The context, oldest first.
    history: Vec<u32>,
    window: usize,
    /// Distinct tokens of the window and how often they occur, in the same order.
    ids: Vec<u32>,
    counts: Vec<u32>,
    active: bool,
    factors: [f32; 3],
    capacity: u32,
    ids_buffer: u32,
    counts_buffer: u32,
    factors_buffer: Option<u32>,
}

impl Penalties {
    /// Takes over a turn's parameters. True if any penalty has an effect.
    pub fn configure(&mut self, p: &Params, ctx: u32) -> Result<bool> {
        let factors = [p.repeat_penalty, p.frequency_penalty, p.presence_penalty];
        let window = u32::try_from(p.repeat_last_n)
            .unwrap_or(ctx)
            .min(ctx)
            .min(MAX_WINDOW) as usize;
        let named = p.sampling.samplers.contains(&Step::Penalties);
        self.active = named && factors != [1.0, 0.0, 0.0] && window > 0;
        self.window = window;
        self.recount();
        if !self.active {
            return Ok(false);
        }
        let buffer = match self.factors_buffer {
            Some(buffer) => buffer,
            None => abi::buffer(kind::F32, 3, 1)?,
        };
        self.factors_buffer = Some(buffer);
        if self.factors != factors {
            abi::buffer_write(buffer, 0, &factors)?;
            self.factors = factors;
        }
        let rows = window as u32;
        if rows > self.capacity {
            self.capacity = rows.next_power_of_two();
            self.ids_buffer = abi::buffer(kind::I32, 1, self.capacity)?;
            self.counts_buffer = abi::buffer(kind::I32, 1, self.capacity)?;
        }
        Ok(true)
    }

    /// Rows of the buffers.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Distinct tokens.
    pub fn count(&self) -> u32 {
        self.ids.len() as u32
    }

    /// Appends the operation.
    pub fn record(&self, r: &mut Recorder, logits: Operand, count: Dim) {
        let (ids, counts) = (
            Operand::buffer(self.ids_buffer),
            Operand::buffer(self.counts_buffer),
        );
        let factors = Operand::buffer(self.factors_buffer.unwrap_or(0));
        r.penalties(logits, ids, counts, factors, count);
    }

    /// Tokens have entered the context.
    pub fn accept(&mut self, tokens: &[u32]) -> Result<()> {
        if self.history.try_reserve(tokens.len()).is_err() {
            return Err(fail!(
                NO_MEMORY,
                "the guest's memory limit is too small for the context"
            ));
        }
        for &token in tokens {
            if slim::SAMPLERS && self.active {
                let leaves = self.history.len().checked_sub(self.window);
                if let Some(oldest) = leaves.and_then(|i| self.history.get(i).copied()) {
                    self.forget(oldest);
                }
                self.note(token);
            }
            self.history.push(token);
        }
        Ok(())
    }

    /// The context ends after its first `count` tokens.
    pub fn keep(&mut self, count: usize) {
        self.history.truncate(count);
        self.recount();
    }

    /// The context's tokens, oldest first.
    pub fn history(&self) -> &[u32] {
        &self.history
    }

    /// Writes the table for the next step.
    pub fn write(&self) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        abi::buffer_write(self.ids_buffer, 0, self.ids.as_slice())?;
        abi::buffer_write(self.counts_buffer, 0, self.counts.as_slice())
    }

    fn recount(&mut self) {
        self.ids.clear();
        self.counts.clear();
        if slim::SAMPLERS && self.active {
            for i in self.history.len().saturating_sub(self.window)..self.history.len() {
                if let Some(token) = self.history.get(i).copied() {
                    self.note(token);
                }
            }
        }
    }

    fn note(&mut self, token: u32) {
        match self.ids.iter().position(|id| *id == token) {
            Some(at) => {
                if let Some(count) = self.counts.get_mut(at) {
                    *count += 1;
                }
            }
            None => {
                self.ids.push(token);
                self.counts.push(1);
            }
        }
    }

    fn forget(&mut self, token: u32) {
        let Some(at) = self.ids.iter().position(|id| *id == token) else {
            return;
        };
        if let Some(count) = self.counts.get_mut(at) {
            *count -= 1;
            if *count == 0 {
                self.ids.swap_remove(at);
                self.counts.swap_remove(at);
            }
        }
    }
}
