//! The final draw.

use super::candidates::Candidates;
use crate::abi::Result;

/// Rank of the candidate that `u` in `[0, 1)` falls on. `log_sum`: see [`Candidates::sum`].
pub fn pick(c: &mut Candidates<'_>, log_sum: Option<f32>, u: f64) -> Result<u32> {
    let target = u * c.sum(log_sum)?;
    let mut sum = 0.0;
    for rank in 0..c.count() {
        sum += c.weight(rank)?;
        if sum > target {
            return Ok(rank);
        }
    }
    // Rounding left the sum a hair below the target.
    Ok(c.count() - 1)
}
