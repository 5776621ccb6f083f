//! Repetition, frequency and presence penalties: applied by the program to the tokens counted here.
//!
//! The counts cover the last `repeat_last_n` tokens of the context, the prompt included. They are kept
//! up to date per token, so that a long window costs no recount.

use crate::abi::{self, Result, kind};
use crate::params::Params;
use crate::program::{Dim, Operand, Recorder};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// History kept while the penalties are off, so that a later turn that turns them on sees it.
const KEEP: usize = 64;
/// Longest window: counting is a walk over the distinct tokens, so this bounds it to microseconds.
const MAX_WINDOW: u32 = 4096;

/// Recent tokens and their counts.
#[derive(Debug, Default)]
pub struct Penalties {
    /// The last tokens, oldest first.
    recent: VecDeque<u32>,
    window: usize,
    /// Distinct tokens of `recent` and how often they occur, in the same order.
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
        self.active = factors != [1.0, 0.0, 0.0] && window > 0;
        self.window = if self.active { window } else { KEEP };
        while self.recent.len() > self.window {
            self.recent.pop_front();
        }
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

    /// A token has entered the context.
    pub fn accept(&mut self, token: u32) {
        if self.recent.len() >= self.window
            && let Some(oldest) = self.recent.pop_front()
        {
            self.forget(oldest);
        }
        self.recent.push_back(token);
        if self.active {
            self.note(token);
        }
    }

    /// The last `count` tokens have left it again.
    pub fn retract(&mut self, count: u32) {
        for _ in 0..count {
            if let Some(token) = self.recent.pop_back() {
                self.forget(token);
            }
        }
    }

    /// The newest token of the context, if it is remembered.
    pub fn last(&self) -> Option<u32> {
        self.recent.back().copied()
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
        if self.active {
            for i in 0..self.recent.len() {
                if let Some(token) = self.recent.get(i).copied() {
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
