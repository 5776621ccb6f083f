//! Top-p (nucleus): the fewest most probable candidates whose probabilities sum to p.

use super::candidates::Candidates;
use crate::abi::Result;
use crate::num::exp;

/// Keeps the nucleus. `log_sum` is the log-sum-exp of all candidates if the host computed it; else
/// they are summed here. p ≥ 1 keeps all; at least one is kept.
pub fn apply(c: &mut Candidates<'_>, p: f32, log_sum: Option<f32>) -> Result<()> {
    if p >= 1.0 {
        return Ok(());
    }
    let best = f64::from(c.best());
    let total = match log_sum.filter(|_| c.complete()) {
        Some(log_sum) => exp(f64::from(log_sum) - best),
        None => {
            let mut sum = 0.0;
            for rank in 0..c.count() {
                sum += exp(f64::from(c.logit(rank)?) - best);
            }
            sum
        }
    };
    let target = f64::from(p) * total;
    let mut sum = 0.0;
    for rank in 0..c.count() {
        sum += exp(f64::from(c.logit(rank)?) - best);
        if sum >= target {
            c.keep(rank + 1);
            break;
        }
    }
    Ok(())
}
