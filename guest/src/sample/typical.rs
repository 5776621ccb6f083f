//! Locally typical sampling: the candidates whose information is nearest to the entropy, up to a sum of
//! probabilities (Meister et al. 2022, <https://arxiv.org/abs/2202.00666>).

use super::candidates::Candidates;
use crate::abi::Result;
use crate::num::ln;

/// Keeps the most typical candidates whose probabilities sum to more than p; p ≥ 1 keeps all.
///
/// Information grows with the rank, so the nearest lie around one place, and taking them in order is
/// growing a range from there.
#[inline(never)]
pub fn apply(c: &mut Candidates<'_>, p: f32) -> Result<()> {
    if p >= 1.0 {
        return Ok(());
    }
    let (entropy, sum) = c.entropy()?;
    let log_sum = ln(sum);
    let information = |c: &mut Candidates<'_>, rank| Ok(log_sum - c.log_weight(rank)?);
    let ranks = c.ranks();
    let (mut low, mut high) = (ranks.start, ranks.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if information(c, middle)? < entropy {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let (mut from, mut to) = (low, low);
    let mut taken = 0.0;
    while taken <= f64::from(p) * sum && (from > ranks.start || to < ranks.end) {
        // The nearer of the two neighbours; the more probable one if they are equally near.
        let below = if from > ranks.start {
            entropy - information(c, from - 1)?
        } else {
            f64::INFINITY
        };
        let above = if to < ranks.end {
            information(c, to)? - entropy
        } else {
            f64::INFINITY
        };
        if to == ranks.end || (from > ranks.start && below <= above) {
            from -= 1;
            taken += c.weight(from)?;
        } else {
            taken += c.weight(to)?;
            to += 1;
        }
    }
    c.keep_ranks(from..to);
    Ok(())
}
