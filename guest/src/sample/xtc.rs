//! XTC (exclude top choices): now and then all candidates above a threshold are removed but the least probable of them
//! (p-e-w 2024, <https://github.com/oobabooga/text-generation-webui/pull/6335>).

use super::candidates::Candidates;
use crate::abi::Result;
use crate::rng::Rng;

/// With this probability, removes what is more probable than the least probable candidate at or above
/// the threshold. Above one half there can be no two such candidates. Draws a random number if it can have an effect.
#[inline(never)]
pub fn apply(
    c: &mut Candidates<'_>,
    probability: f32,
    threshold: f32,
    rng: &mut Rng,
) -> Result<()> {
    if probability <= 0.0 || threshold > 0.5 || c.count() < 2 {
        return Ok(());
    }
    if rng.uniform() > f64::from(probability) {
        return Ok(());
    }
    let ranks = c.ranks();
    let least = f64::from(threshold) * c.sum()?;
    let mut last = ranks.start;
    for rank in ranks.clone() {
        if c.weight(rank)? < least {
            break;
        }
        last = rank;
    }
    c.keep_ranks(last..ranks.end);
    Ok(())
}
