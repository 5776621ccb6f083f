//! Temperature: scales the logits before the draw.

use super::candidates::Candidates;

/// Divides the logits by `temp`; at 0 or below only the best candidate is left.
pub fn apply(c: &mut Candidates<'_>, temp: f32) {
    if temp <= 0.0 {
        c.keep(1);
    } else {
        c.rescale(1.0 / f64::from(temp));
    }
}
