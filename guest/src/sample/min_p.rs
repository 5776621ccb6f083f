//! Min-p: candidates at least p times as probable as the best that is left.

use super::Result;
use super::candidates::Candidates;

/// Keeps candidates with probability ≥ p · best; p ≤ 0 keeps all; at least one is kept.
pub fn apply(c: &mut Candidates<'_>, p: f32) -> Result<()> {
    if p <= 0.0 {
        return Ok(());
    }
    let ranks = c.ranks();
    let least = f64::from(p) * c.weight(ranks.start)?;
    for rank in ranks.start + 1..ranks.end {
        if c.weight(rank)? < least {
            c.keep_ranks(ranks.start..rank);
            break;
        }
    }
    Ok(())
}
