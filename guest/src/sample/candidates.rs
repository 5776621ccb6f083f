//! The candidates of one token: logits in descending order, read from the host a window at a time.
//!
//! Samplers shorten the list from the end, so a candidate is its rank, and the walk over a whole
//! vocabulary costs the guest one window of memory.

use crate::abi::Result;

/// Candidates per read; a usual top-k fits one window.
const WINDOW: usize = 256;

/// Reads logits of ranks `first ..`.
pub type Fetch<'a> = &'a mut dyn FnMut(u32, &mut [f32]) -> Result<()>;

/// A descending list of logits.
pub struct Candidates<'a> {
    fetch: Fetch<'a>,
    window: [f32; WINDOW],
    first: u32,
    filled: u32,
    count: u32,
    /// How many there were before any sampler.
    total: u32,
    best: f32,
}

impl<'a> Candidates<'a> {
    /// `count` ≥ 1 candidates that `fetch` reads.
    pub fn new(count: u32, fetch: Fetch<'a>) -> Result<Self> {
        let window = [0.0; WINDOW];
        let mut c = Self { fetch, window, first: 0, filled: 0, count, total: count, best: 0.0 };
        c.best = c.logit(0)?;
        Ok(c)
    }

    /// How many are left.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether nothing has been removed.
    pub fn complete(&self) -> bool {
        self.count == self.total
    }

    /// Keeps the first `count`, at least one.
    pub fn keep(&mut self, count: u32) {
        self.count = count.clamp(1, self.count);
    }

    /// The largest logit.
    pub fn best(&self) -> f32 {
        self.best
    }

    /// Logit of rank `rank`.
    pub fn logit(&mut self, rank: u32) -> Result<f32> {
        if rank < self.first || rank - self.first >= self.filled {
            self.first = rank - rank % WINDOW as u32;
            self.filled = (self.total - self.first).min(WINDOW as u32);
            if let Some(window) = self.window.get_mut(..self.filled as usize) {
                (self.fetch)(self.first, window)?;
            }
        }
        Ok(self.window.get((rank - self.first) as usize).copied().unwrap_or(f32::NEG_INFINITY))
    }
}
