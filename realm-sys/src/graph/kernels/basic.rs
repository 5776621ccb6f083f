//! Sums and products, element by element: one IEEE operation each. `scale` is `x * s`, rounded, then
//! `+ b`, rounded, also when `b` is zero (which turns -0 into 0).
//!
//! A weighted sum begins with 0 and adds `fma(weight, x, sum)`, part by part.
//!
//! The sum of a row runs in 16 lanes and the tree of [`crate::num`], starting at +0.
//!
//! The second operand may be a weight: little-endian floats at any alignment.

use crate::num::cpu::{Isa, instances};
use crate::num::{LANES, tree};

/// `a = a + b`.
pub fn add(a: &mut [f32], b: &[f32]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// `a = a * b`.
pub fn mul(a: &mut [f32], b: &[f32]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a *= b;
    }
}

/// `a = a + b`, `b` little-endian floats of a weight.
pub fn add_weight(a: &mut [f32], b: &[u8]) {
    for (a, &b) in a.iter_mut().zip(b.as_chunks::<4>().0) {
        *a += f32::from_le_bytes(b);
    }
}

/// `a = a * b`, `b` little-endian floats of a weight.
pub fn mul_weight(a: &mut [f32], b: &[u8]) {
    for (a, &b) in a.iter_mut().zip(b.as_chunks::<4>().0) {
        *a *= f32::from_le_bytes(b);
    }
}

/// `a = a / b`; by the one element of `b` if it has no more.
pub fn div(a: &mut [f32], b: &[f32]) {
    if let &[b] = b {
        a.iter_mut().for_each(|a| *a /= b);
        return;
    }
    for (a, &b) in a.iter_mut().zip(b) {
        *a /= b;
    }
}

/// The sum of a row.
pub fn sum(x: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    for x in x.chunks(LANES) {
        sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += x);
    }
    tree(&sums)
}

/// `x = x * s + b`, both operations rounded.
pub fn scale(x: &mut [f32], s: f32, b: f32) {
    for x in x {
        *x = *x * s + b;
    }
}

#[inline(always)]
fn add_scaled_body<I: Isa>(i: I, sum: &mut [f32], x: &[f32], weight: f32) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum = i.fma(weight, x, *sum);
    }
}

instances! {
    /// `sum = fma(weight, x, sum)`.
    pub fn add_scaled / add_scaled_at(sum: &mut [f32], x: &[f32], weight: f32) = add_scaled_body
}

/// The sum of the parts of `x`, each `sum.len()` long, times their weights; in the order of their ids, lowest first and the
/// earlier where two are equal, or as they come if there are no ids.
pub fn weighted_sum(sum: &mut [f32], x: &[f32], weights: &[f32], ids: Option<&[i32]>) {
    sum.fill(0.0);
    let len = sum.len().max(1);
    let part = |slot: usize| x.chunks_exact(len).nth(slot).zip(weights.get(slot));
    let Some(ids) = ids else {
        for slot in 0..weights.len() {
            if let Some((x, &weight)) = part(slot) {
                add_scaled(sum, x, weight);
            }
        }
        return;
    };
    // Few enough that looking for the next one each time is no work.
    let mut last = None;
    while let Some(next) = (ids.iter().copied().zip(0usize..))
        .filter(|key| last.is_none_or(|last| *key > last))
        .min()
    {
        if let Some((x, &weight)) = part(next.1) {
            add_scaled(sum, x, weight);
        }
        last = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_added_by_ascending_id() {
        let x = [1e8, 1.0, -1e8, 2.0, 3.0, 4.0];
        let mut sum = [9.0; 2];
        weighted_sum(&mut sum, &x, &[1.0, 1.0, 2.0], None);
        assert_eq!(sum, [6.0, 11.0]);
        // 6 first: beside 1e8 it becomes 8.
        weighted_sum(&mut sum, &x, &[1.0, 1.0, 2.0], Some(&[5, 7, 1]));
        assert_eq!(sum, [8.0, 11.0]);
        weighted_sum(&mut sum, &x, &[1.0, 1.0, 2.0], Some(&[4, 4, 4]));
        assert_eq!(sum, [6.0, 11.0]);
        weighted_sum(&mut sum, &x[..2], &[0.5], Some(&[0]));
        assert_eq!(sum, [5e7, 0.5]);
    }

    #[test]
    fn basics() {
        let mut x = [1.0, 2.0, 3.0];
        add(&mut x, &[1.0, 1.0, 1.0]);
        mul(&mut x, &[2.0, 3.0, 4.0]);
        assert_eq!(x, [4.0, 9.0, 16.0]);
        // An odd address.
        let bytes = [9, 0, 0, 128, 63, 0, 0, 0, 64];
        add_weight(&mut x, &bytes[1..]);
        mul_weight(&mut x, &bytes[1..]);
        assert_eq!(x, [5.0, 22.0, 16.0]);
        scale(&mut x, 0.5, 1.0);
        assert_eq!(x, [3.5, 12.0, 9.0]);
        div(&mut x, &[2.0]);
        div(&mut x, &[1.0, 6.0, 0.5]);
        assert_eq!(x, [1.75, 1.0, 9.0]);
        assert_eq!(sum(&x), 11.75);
        let many: std::vec::Vec<f32> = (0..100u8).map(f32::from).collect();
        assert_eq!((sum(&many), sum(&[])), (4950.0, 0.0));
        // Not fused: the product overflows its 24 bits and is rounded first.
        let mut y = [1.0 + f32::EPSILON];
        let product = y[0] * y[0];
        scale(&mut y, 1.0 + f32::EPSILON, -1.0);
        assert_eq!(y[0], product - 1.0);
    }
}
