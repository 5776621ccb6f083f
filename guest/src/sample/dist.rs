//! Temperature and the final draw.

use super::candidates::Candidates;
use crate::abi::Result;
use crate::num::exp;

/// Rank of the candidate that `u` in `[0, 1)` falls on, with probabilities softmax(logit / temp).
/// `log_sum` is the log-sum-exp of all candidates at this temperature, if the host computed it.
pub fn pick(c: &mut Candidates<'_>, temp: f32, log_sum: Option<f32>, u: f64) -> Result<u32> {
    if temp <= 0.0 {
        return Ok(0);
    }
    let scale = 1.0 / f64::from(temp);
    let best = f64::from(c.best());
    let total = match log_sum.filter(|_| c.complete()) {
        Some(log_sum) => exp(f64::from(log_sum) - best * scale),
        None => {
            let mut sum = 0.0;
            for rank in 0..c.count() {
                sum += exp((f64::from(c.logit(rank)?) - best) * scale);
            }
            sum
        }
    };
    let target = u * total;
    let mut sum = 0.0;
    for rank in 0..c.count() {
        sum += exp((f64::from(c.logit(rank)?) - best) * scale);
        if sum > target {
            return Ok(rank);
        }
    }
    // Rounding left the sum a hair below the target.
    Ok(c.count() - 1)
}
