//! Short causal convolution, column by column: the last `L` rows with `L` weights for each column.
//!
//! `y[c] = fma(w[c][j], row[j][c], y[c])` for `j` ascending, from +0, where `row` are the `L - 1` rows before this one and
//! this one. Weights are `[columns][L]`, little-endian floats at any alignment.

use crate::num::cpu::{Isa, instances};

#[inline(always)]
fn tap_body<I: Isa>(i: I, y: &mut [f32], x: &[f32], w: &[u8], taps: usize, tap: usize) {
    let w = w.as_chunks::<4>().0.iter().skip(tap).step_by(taps.max(1));
    for ((y, &x), &w) in y.iter_mut().zip(x).zip(w) {
        *y = i.fma(f32::from_le_bytes(w), x, *y);
    }
}

instances! {
    /// Adds what one of the `taps` rows gives: row `tap` of them is `x`, the last is the present one.
    pub fn add_tap / add_tap_at(y: &mut [f32], x: &[f32], w: &[u8], taps: usize, tap: usize) = tap_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::cpu::Level;
    use crate::num::tests::{Rng, same_all};
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn columns_have_weights_of_their_own() {
        let mut r = Rng::new(17);
        for (columns, taps) in [(1, 2), (5, 3), (64, 4), (33, 3)] {
            let rows: Vec<Vec<f32>> = (0..taps).map(|_| r.normals(columns)).collect();
            let w = r.normals(columns * taps);
            let bytes: Vec<u8> = w.iter().flat_map(|w| w.to_le_bytes()).collect();
            let (mut y, mut z) = (vec![0.0; columns], vec![0.0; columns]);
            for (tap, x) in rows.iter().enumerate() {
                add_tap_at(Level::portable(), &mut y, x, &bytes, taps, tap);
                add_tap(&mut z, x, &bytes, taps, tap);
            }
            same_all(&y, &z, "convolution");
            for (c, y) in y.iter().enumerate() {
                let products =
                    (0..taps).map(|j| f64::from(w[c * taps + j]) * f64::from(rows[j][c]));
                assert!((f64::from(*y) - products.sum::<f64>()).abs() < 1e-6);
            }
        }
    }
}
