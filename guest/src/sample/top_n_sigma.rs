//! Top-nσ: candidates whose logit is within n standard deviations of the best (Tang et al. 2024,
//! <https://arxiv.org/abs/2411.07641>).

use super::candidates::Candidates;
use crate::abi::Result;
use crate::num::sqrt;

/// Keeps candidates with logit ≥ best - n · σ; n ≤ 0 keeps all. Banned candidates (-inf) do not count.
#[inline(never)]
pub fn apply(c: &mut Candidates<'_>, n: f32) -> Result<()> {
    if n <= 0.0 || c.count() <= 1 {
        return Ok(());
    }
    let ranks = c.ranks();
    let best = c.logit(ranks.start)?;
    // Relative to the best, so that squares of large logits do not swallow small differences.
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for rank in ranks.clone() {
        let below = best - c.logit(rank)?;
        if below.is_finite() {
            count += 1.0;
            sum += below;
            squares += below * below;
        }
    }
    if count == 0.0 {
        return Ok(());
    }
    let mean = sum / count;
    let sigma = sqrt(squares / count - mean * mean);
    for rank in ranks.start + 1..ranks.end {
        if c.logit(rank)? < best - f64::from(n) * sigma {
            c.keep_ranks(ranks.start..rank);
            break;
        }
    }
    Ok(())
}
