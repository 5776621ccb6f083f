//! The final draw.

use super::Result;
use super::candidates::Candidates;

/// Rank of the candidate that `u` in `[0, 1)` falls on.
pub fn pick(c: &mut Candidates<'_>, u: f64) -> Result<u32> {
    let target = u * c.sum()?;
    let mut sum = 0.0;
    for rank in c.ranks() {
        sum += c.weight(rank)?;
        if sum > target {
            return Ok(rank);
        }
    }
    // Rounding left the sum a hair below the target.
    Ok(c.ranks().end - 1)
}
