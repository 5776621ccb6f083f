//! The candidates of one token: logits in descending order, read from the host a window at a time.
//!
//! Samplers shorten the list from the end, so a candidate is its rank, and the walk over a whole
//! vocabulary costs the guest one window of memory. What they look at is a candidate's weight, its
//! probability relative to the best one; weights are computed once per window and temperature.

use crate::abi::Result;
use crate::num::exp;

/// Candidates per read; a usual top-k fits one window.
const WINDOW: usize = 64;

/// Reads logits of ranks `first ..`.
pub type Fetch<'a> = &'a mut dyn FnMut(u32, &mut [f32]) -> Result<()>;

/// A descending list of candidates, at least one.
pub struct Candidates<'a> {
    fetch: Fetch<'a>,
    logits: [f32; WINDOW],
    weights: [f64; WINDOW],
    /// Rank of the first logit in the window, and how many are valid.
    first: u32,
    filled: u32,
    /// How many weights of the window are valid: they are computed in order, as they are needed.
    weighed: u32,
    count: u32,
    /// How many there were before any sampler.
    total: u32,
    best: f32,
    /// 1 / temperature.
    scale: f64,
}

impl<'a> Candidates<'a> {
    /// `count` ≥ 1 candidates that `fetch` reads, at temperature 1.
    pub fn new(count: u32, fetch: Fetch<'a>) -> Result<Self> {
        let mut c = Self {
            fetch,
            logits: [0.0; WINDOW],
            weights: [0.0; WINDOW],
            first: 0,
            filled: 0,
            weighed: 0,
            count,
            total: count,
            best: 0.0,
            scale: 1.0,
        };
        c.load(0)?;
        c.best = c.logits[0];
        Ok(c)
    }

    /// How many are left.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Keeps the first `count`, at least one.
    pub fn keep(&mut self, count: u32) {
        self.count = count.clamp(1, self.count);
    }

    /// Makes weights those of `1 / scale` as the temperature.
    pub fn rescale(&mut self, scale: f64) {
        if self.scale != scale {
            self.scale = scale;
            self.weighed = 0;
        }
    }

    /// exp((logit - best) · scale) of a rank: 1 for the best.
    pub fn weight(&mut self, rank: u32) -> Result<f64> {
        if rank < self.first || rank - self.first >= self.filled {
            self.load(rank - rank % WINDOW as u32)?;
        }
        let at = rank - self.first;
        while self.weighed <= at {
            let i = self.weighed as usize;
            if let (Some(weight), Some(logit)) = (self.weights.get_mut(i), self.logits.get(i)) {
                *weight = exp((f64::from(*logit) - f64::from(self.best)) * self.scale);
            }
            self.weighed += 1;
        }
        Ok(self.weights.get(at as usize).copied().unwrap_or(0.0))
    }

    /// The sum of all weights that are left. `log_sum` is the log-sum-exp of all candidates at this
    /// temperature if the host computed it: it saves the walk while none has been removed.
    pub fn sum(&mut self, log_sum: Option<f32>) -> Result<f64> {
        if let Some(log_sum) = log_sum.filter(|_| self.count == self.total) {
            return Ok(exp(f64::from(log_sum) - f64::from(self.best) * self.scale));
        }
        let mut sum = 0.0;
        for rank in 0..self.count {
            sum += self.weight(rank)?;
        }
        Ok(sum)
    }

    fn load(&mut self, first: u32) -> Result<()> {
        self.first = first;
        self.filled = (self.total - first).min(WINDOW as u32);
        self.weighed = 0;
        match self.logits.get_mut(..self.filled as usize) {
            Some(window) => (self.fetch)(first, window),
            None => Ok(()),
        }
    }
}
