//! The candidates of one token: logits in descending order, read from the host a window at a time.
//!
//! Whatever the samplers remove, what is left is a range of ranks, because each of them cuts off the unlikely, the too
//! likely, or both. So a candidate is its rank, no list is kept, and the walk over a whole vocabulary costs
//! the guest one window of memory. What samplers look at is a candidate's weight, its probability relative to
//! the best one; weights are computed once per window and temperature.

use super::Result;
use super::num::{exp, ln};

/// Candidates per read; a usual top-k fits one window.
const WINDOW: usize = 64;

/// Reads logits of ranks `first ..`.
pub type Fetch<'a> = &'a mut dyn FnMut(u32, &mut [f32]) -> Result<()>;

/// The log-sum-exp of all logits times a scale, as the program computed it.
#[derive(Clone, Copy, Debug)]
pub struct LogSum {
    /// 1 / temperature.
    pub scale: f64,
    /// ln Σ exp(logit · scale).
    pub value: f32,
}

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
    /// The ranks that are left.
    from: u32,
    to: u32,
    /// How many there were before any sampler.
    total: u32,
    best: f32,
    /// 1 / temperature.
    scale: f64,
    sums: [Option<LogSum>; 2],
}

impl<'a> Candidates<'a> {
    /// `count` ≥ 1 candidates that `fetch` reads, at temperature 1. `sums` save walks while none has been removed.
    pub fn new(count: u32, sums: [Option<LogSum>; 2], fetch: Fetch<'a>) -> Result<Self> {
        let mut c = Self {
            fetch,
            logits: [0.0; WINDOW],
            weights: [0.0; WINDOW],
            first: 0,
            filled: 0,
            weighed: 0,
            from: 0,
            to: count,
            total: count,
            best: 0.0,
            scale: 1.0,
            sums,
        };
        c.load(0)?;
        c.best = c.logits[0];
        Ok(c)
    }

    /// The largest logit there was; NaN if there is no number among them.
    pub fn best(&self) -> f32 {
        self.best
    }

    /// How many are left.
    pub fn count(&self) -> u32 {
        self.to - self.from
    }

    /// The ranks that are left, never none.
    pub fn ranks(&self) -> core::ops::Range<u32> {
        self.from..self.to
    }

    /// Keeps the most probable `count`, at least one.
    pub fn keep(&mut self, count: u32) {
        self.to = self.from + count.clamp(1, self.count());
    }

    /// Keeps these ranks, which must be some that are left.
    pub fn keep_ranks(&mut self, ranks: core::ops::Range<u32>) {
        self.from = ranks.start.clamp(self.from, self.to - 1);
        self.to = ranks.end.clamp(self.from + 1, self.to);
    }

    /// Makes weights those of `1 / scale` as the temperature.
    pub fn rescale(&mut self, scale: f64) {
        if self.scale != scale {
            self.scale = scale;
            self.weighed = 0;
        }
    }

    /// 1 / temperature.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The logit of a rank.
    pub fn logit(&mut self, rank: u32) -> Result<f64> {
        let at = self.reach(rank)?;
        Ok(self.logits.get(at).copied().map_or(0.0, f64::from))
    }

    /// (logit - best) · scale of a rank, the logarithm of its weight; 0 for the best.
    #[inline(never)]
    pub fn log_weight(&mut self, rank: u32) -> Result<f64> {
        Ok((self.logit(rank)? - f64::from(self.best)) * self.scale)
    }

    /// exp((logit - best) · scale) of a rank: 1 for the best.
    #[inline(never)]
    pub fn weight(&mut self, rank: u32) -> Result<f64> {
        let at = self.reach(rank)?;
        while self.weighed as usize <= at {
            let i = self.weighed as usize;
            if let (Some(weight), Some(logit)) = (self.weights.get_mut(i), self.logits.get(i)) {
                *weight = exp((f64::from(*logit) - f64::from(self.best)) * self.scale);
            }
            self.weighed += 1;
        }
        Ok(self.weights.get(at).copied().unwrap_or(0.0))
    }

    /// The sum of all weights that are left.
    #[inline(never)]
    pub fn sum(&mut self) -> Result<f64> {
        let known = self.sums.iter().flatten().find(|s| s.scale == self.scale);
        if let Some(known) = known.filter(|_| self.count() == self.total) {
            return Ok(exp(
                f64::from(known.value) - f64::from(self.best) * self.scale
            ));
        }
        let mut sum = 0.0;
        for rank in self.ranks() {
            sum += self.weight(rank)?;
        }
        Ok(sum)
    }

    /// Entropy in nats of what is left, and the sum of its weights.
    #[inline(never)]
    pub fn entropy(&mut self) -> Result<(f64, f64)> {
        let (mut sum, mut weighted) = (0.0, 0.0);
        for rank in self.ranks() {
            let weight = self.weight(rank)?;
            // What has no weight has no share, also where its logarithm is infinite.
            if weight > 0.0 {
                sum += weight;
                weighted += weight * self.log_weight(rank)?;
            }
        }
        Ok((ln(sum) - weighted / sum, sum))
    }

    /// Brings a rank into the window; returns where it is.
    fn reach(&mut self, rank: u32) -> Result<usize> {
        if rank < self.first || rank - self.first >= self.filled {
            self.load(rank - rank % WINDOW as u32)?;
        }
        Ok((rank - self.first) as usize)
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
