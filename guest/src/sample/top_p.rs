//! Top-p (nucleus): the fewest most probable candidates whose probabilities sum to p.

use super::candidates::Candidates;
use crate::abi::Result;

/// Keeps the nucleus; p ≥ 1 keeps all, and at least one is kept. `log_sum`: see [`Candidates::sum`].
pub fn apply(c: &mut Candidates<'_>, p: f32, log_sum: Option<f32>) -> Result<()> {
    if p >= 1.0 {
        return Ok(());
    }
    let target = f64::from(p) * c.sum(log_sum)?;
    let mut sum = 0.0;
    for rank in 0..c.count() {
        sum += c.weight(rank)?;
        if sum >= target {
            c.keep(rank + 1);
            break;
        }
    }
    Ok(())
}
