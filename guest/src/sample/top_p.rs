//! Top-p (nucleus): the fewest most probable candidates whose probabilities sum to p.

use super::Result;
use super::candidates::Candidates;

/// Keeps the nucleus; p ≥ 1 keeps all, and at least one is kept.
pub fn apply(c: &mut Candidates<'_>, p: f32) -> Result<()> {
    if p >= 1.0 {
        return Ok(());
    }
    let target = f64::from(p) * c.sum()?;
    let mut sum = 0.0;
    for rank in c.ranks() {
        sum += c.weight(rank)?;
        if sum >= target {
            c.keep_ranks(c.ranks().start..rank + 1);
            break;
        }
    }
    Ok(())
}
