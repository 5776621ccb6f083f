//! Min-p: candidates at least p times as probable as the best.

use super::candidates::Candidates;
use crate::abi::Result;

/// Keeps candidates with probability ≥ p · best; p ≤ 0 keeps all; at least one is kept.
pub fn apply(c: &mut Candidates<'_>, p: f32) -> Result<()> {
    if p <= 0.0 {
        return Ok(());
    }
    for rank in 1..c.count() {
        if c.weight(rank)? < f64::from(p) {
            c.keep(rank);
            break;
        }
    }
    Ok(())
}
