//! Temperature: scales the logits before the draw.

use super::Result;
use super::candidates::Candidates;
use super::num::{exp, ln};

/// Divides the logits by `temp`; at 0 or below only the best candidate is left.
pub fn apply(c: &mut Candidates<'_>, temp: f64) {
    if temp <= 0.0 {
        c.keep(1);
    } else {
        c.rescale(c.scale() / temp);
    }
}

/// Entropy-dependent temperature: from `temp - range` where one candidate is certain, to `temp + range` where all are
/// equally probable, along a curve with this exponent (dynatemp, <https://github.com/ggml-org/llama.cpp/pull/4972>).
#[inline(never)]
pub fn dynamic(c: &mut Candidates<'_>, temp: f32, range: f32, exponent: f32) -> Result<()> {
    let (temp, range) = (f64::from(temp), f64::from(range));
    if range <= 0.0 {
        apply(c, temp);
        return Ok(());
    }
    if c.count() <= 1 {
        return Ok(());
    }
    let least = (temp - range).max(0.0);
    let (entropy, _) = c.entropy()?;
    let share = (entropy / ln(f64::from(c.count()))).clamp(0.0, 1.0);
    // 0 to the power of 0 is 1, as it is everywhere.
    let curve = if exponent == 0.0 {
        1.0
    } else {
        exp(f64::from(exponent) * ln(share))
    };
    apply(c, least + (temp + range - least) * curve);
    Ok(())
}
