//! Choosing among a row of logits, and what changes the row before the choice.
//!
//! **Order**: a larger value comes first, 0 and -0 are equal, a NaN comes after everything else
//! (minus infinity included), and equals go by the lower index. It is total, so there is one answer,
//! however it is found.
//!
//! `logsumexp`: `m` = the largest `x * scale` (0 where that is infinite; NaNs are passed over); `s` =
//! the sum of `exp(fma(x, scale, -m))` in 16 lanes and the tree; the result is `m + ln(s)` with the
//! logarithm (libm's) and the sum in f64, rounded once to f32.
//!
//! The penalties, the bias and the mask are single operations, in the order written at each.

use crate::num::cpu::{Isa, instances};
use crate::num::{LANES, math, tree};

/// The place of a value in the order: larger is better.
#[inline(always)]
fn rank(x: f32) -> u32 {
    let bits = x.to_bits();
    let key = if bits >> 31 == 0 {
        bits | 0x8000_0000
    } else {
        !bits
    };
    // -0 to the place of 0, NaNs to the end.
    let key = if x == 0.0 { 0x8000_0000 } else { key };
    if x.is_nan() { 0 } else { key }
}

/// Rank, then lower index, as one number: larger is better, and no two are equal.
#[inline(always)]
fn key(x: f32, index: usize) -> u64 {
    u64::from(rank(x)) << 32 | u64::from(!(index as u32))
}

/// The index of the largest where there is no number.
pub const NO_INDEX: u32 = u32::MAX;

#[inline(always)]
fn argmax_body<I: Isa>(_: I, x: &[f32]) -> u32 {
    // Lanes keep the first of their best; a strictly better rank replaces it.
    let mut best = [0u32; LANES];
    let mut at = [0u32; LANES];
    let mut base = 0u32;
    let mut look = |chunk: &[f32]| {
        for (((best, at), &x), lane) in best.iter_mut().zip(&mut at).zip(chunk).zip(0u32..) {
            let r = rank(x);
            *at = if r > *best {
                base.wrapping_add(lane)
            } else {
                *at
            };
            *best = if r > *best { r } else { *best };
        }
        base = base.wrapping_add(LANES as u32);
    };
    let (whole, rest) = x.as_chunks::<LANES>();
    whole.iter().for_each(|chunk| look(chunk));
    look(rest);
    let pick = |(r, i): (u32, u32), (&s, &j): (&u32, &u32)| {
        if s > r || s == r && s > 0 && j < i {
            (s, j)
        } else {
            (r, i)
        }
    };
    // A rank of 0 is a NaN, which never replaced anything.
    best.iter().zip(&at).fold((0, NO_INDEX), pick).1
}

#[inline(always)]
fn top_k_body<I: Isa>(_: I, x: &[f32], ids: &mut [i32], values: &mut [f32]) -> usize {
    let k = ids.len().min(values.len()).min(x.len());
    let (Some(ids), Some(values)) = (ids.get_mut(..k), values.get_mut(..k)) else {
        return 0;
    };
    if k == 0 {
        return 0;
    }
    // A heap whose root is the worst of the best so far.
    let (first, rest) = x.split_at(k);
    for (i, &v) in first.iter().enumerate() {
        set(ids, values, i, (v, i));
    }
    for i in (0..k / 2).rev() {
        sink(ids, values, i, k);
    }
    let root = |ids: &[i32], values: &[f32]| get(ids, values, 0).map_or(0, |(v, i)| key(v, i));
    let mut worst = root(ids, values);
    for (c, chunk) in rest.chunks(LANES).enumerate() {
        // Hardly any chunk of a long row has one that is good enough, and to see that takes few vector operations.
        let best = chunk.iter().fold(0, |best, &v| best.max(rank(v)));
        if best <= (worst >> 32) as u32 {
            continue;
        }
        for (i, &v) in chunk.iter().enumerate() {
            // Later elements lose ties, so the rank alone decides.
            if rank(v) > (worst >> 32) as u32 {
                set(ids, values, 0, (v, k + c * LANES + i));
                sink(ids, values, 0, k);
                worst = root(ids, values);
            }
        }
    }
    // Heap sort: the worst goes to the end each time.
    for end in (1..k).rev() {
        ids.swap(0, end);
        values.swap(0, end);
        sink(ids, values, 0, end);
    }
    k
}

#[inline(always)]
fn get(ids: &[i32], values: &[f32], i: usize) -> Option<(f32, usize)> {
    Some((*values.get(i)?, *ids.get(i)? as u32 as usize))
}

#[inline(always)]
fn set(ids: &mut [i32], values: &mut [f32], i: usize, (v, id): (f32, usize)) {
    if let (Some(to_id), Some(to_v)) = (ids.get_mut(i), values.get_mut(i)) {
        (*to_id, *to_v) = (id as u32 as i32, v);
    }
}

/// Restores the heap below `i`, among the first `len`.
fn sink(ids: &mut [i32], values: &mut [f32], mut i: usize, len: usize) {
    let at = |ids: &[i32], values: &[f32], i: usize| {
        get(ids, values, i).map_or(u64::MAX, |(v, id)| key(v, id))
    };
    loop {
        let left = 2 * i + 1;
        if left >= len {
            return;
        }
        let right = left + 1;
        let child = if right < len && at(ids, values, right) < at(ids, values, left) {
            right
        } else {
            left
        };
        if at(ids, values, i) <= at(ids, values, child) {
            return;
        }
        ids.swap(i, child);
        values.swap(i, child);
        i = child;
    }
}

/// `x[id] = x[id] + bias`, in the order of the list; ids outside the row are passed over.
pub fn logit_bias(x: &mut [f32], ids: &[i32], bias: &[f32]) {
    for (&id, &b) in ids.iter().zip(bias) {
        if let Some(x) = usize::try_from(id).ok().and_then(|i| x.get_mut(i)) {
            *x += b;
        }
    }
}

/// Repetition, frequency and presence penalties of the tokens listed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Penalties {
    /// Divides positive logits and multiplies others; 1 for none.
    pub repeat: f32,
    /// Subtracted once per occurrence; 0 for none.
    pub frequency: f32,
    /// Subtracted once; 0 for none.
    pub presence: f32,
}

/// `x = x > 0 ? x / repeat : x * repeat`, then `x = x - (count * frequency + presence)`, each
/// operation rounded; ids outside the row are passed over.
pub fn penalties(x: &mut [f32], ids: &[i32], counts: &[i32], p: Penalties) {
    for (&id, &count) in ids.iter().zip(counts) {
        if let Some(x) = usize::try_from(id).ok().and_then(|i| x.get_mut(i)) {
            let y = if *x > 0.0 {
                *x / p.repeat
            } else {
                *x * p.repeat
            };
            *x = y - (count as f32 * p.frequency + p.presence);
        }
    }
}

/// `x[i]` becomes minus infinity where bit `i % 32` of `bits[i / 32]` is 0 (or where there are too
/// few words).
pub fn mask(x: &mut [f32], bits: &[i32]) {
    let words = bits.iter().copied().chain(core::iter::repeat(0));
    for (chunk, word) in x.chunks_mut(32).zip(words) {
        for (j, x) in chunk.iter_mut().enumerate() {
            if word >> j & 1 == 0 {
                *x = f32::NEG_INFINITY;
            }
        }
    }
}

#[inline(always)]
fn logsumexp_body<I: Isa>(i: I, x: &[f32], scale: f32) -> f32 {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut top = [f32::NEG_INFINITY; LANES];
    let wider = |top: &mut [f32], x: &[f32]| {
        for (top, &x) in top.iter_mut().zip(x) {
            let y = x * scale;
            *top = if y > *top { y } else { *top };
        }
    };
    for x in whole {
        wider(&mut top, x);
    }
    wider(&mut top, rest);
    let m = top
        .iter()
        .fold(f32::NEG_INFINITY, |m, &y| if y > m { y } else { m });
    let m = if m.is_finite() { m } else { 0.0 };
    let mut sum = [0.0; LANES];
    let add = |sum: &mut [f32], x: &[f32]| {
        for (sum, &x) in sum.iter_mut().zip(x) {
            *sum += math::exp(i, i.fma(x, scale, -m));
        }
    };
    for x in whole {
        add(&mut sum, x);
    }
    add(&mut sum, rest);
    (f64::from(m) + libm::log(f64::from(tree(&sum)))) as f32
}

instances! {
    /// The index of the best element of the order; 0 for an empty row.
    pub fn argmax / argmax_at(x: &[f32]) -> u32 = argmax_body
}
instances! {
    /// The best `min(ids.len(), values.len(), x.len())` elements, best first; returns how many.
    ///
    /// O(v log k), without memory beside the destinations.
    pub fn top_k / top_k_at(x: &[f32], ids: &mut [i32], values: &mut [f32]) -> usize = top_k_body
}
instances! {
    /// `ln of the sum of exp(x * scale)`; minus infinity for an empty row.
    pub fn logsumexp / logsumexp_at(x: &[f32], scale: f32) -> f32 = logsumexp_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::cpu::Level;
    use crate::num::tests::{Rng, same};
    use std::vec;
    use std::vec::Vec;

    fn sorted(x: &[f32]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..x.len()).collect();
        let v = |i: usize| if x[i].is_nan() { None } else { Some(x[i]) };
        order.sort_by(|&a, &b| match (v(a), v(b)) {
            (Some(p), Some(q)) => q.partial_cmp(&p).unwrap().then(a.cmp(&b)),
            (p, q) => q.is_some().cmp(&p.is_some()).then(a.cmp(&b)),
        });
        order
    }

    #[test]
    fn selection_is_a_stable_sort() {
        let mut r = Rng::new(11);
        for n in [1, 2, 3, 16, 17, 100, 1000] {
            for kind in 0..4 {
                let x: Vec<f32> = (0..n)
                    .map(|_| match kind {
                        0 => r.normal(),
                        1 => r.below(3) as f32,
                        2 => [f32::NAN, 0.0, -0.0, f32::NEG_INFINITY, f32::INFINITY][r.below(5)],
                        _ => [f32::NAN, f32::NEG_INFINITY][r.below(2)],
                    })
                    .collect();
                let want = sorted(&x);
                let none = x.iter().all(|v| v.is_nan());
                let best = if none { NO_INDEX } else { want[0] as u32 };
                assert_eq!(argmax(&x), best, "{x:?}");
                for k in [0, 1, 2, 40, n / 2, n, n + 3] {
                    let (mut ids, mut values) = (vec![-7; k], vec![9.0; k]);
                    let got = top_k(&x, &mut ids, &mut values);
                    assert_eq!(got, k.min(n));
                    for j in 0..got {
                        assert_eq!(ids[j] as usize, want[j]);
                        same(values[j], x[want[j]], "value");
                    }
                    assert!(ids[got..].iter().all(|&i| i == -7), "the rest is untouched");
                }
            }
        }
        assert_eq!(argmax(&[]), NO_INDEX);
        assert_eq!(argmax(&[f32::NAN; 40]), NO_INDEX);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 40]), 0);
    }

    #[test]
    fn logits_are_changed_as_said() {
        let mut x = [1.0, -1.0, 2.0, 0.0];
        logit_bias(&mut x, &[0, 3, 4, -1], &[0.5, 1.0, 9.0, 9.0]);
        assert_eq!(x, [1.5, -1.0, 2.0, 1.0]);
        let p = Penalties {
            repeat: 2.0,
            frequency: 0.5,
            presence: 0.25,
        };
        penalties(&mut x, &[0, 1, 99], &[2, 0, 1], p);
        assert_eq!(x, [0.75 - 1.25, -2.0 - 0.25, 2.0, 1.0]);
        let mut y = [1.0; 40];
        mask(&mut y, &[5]);
        assert!(
            y.iter()
                .enumerate()
                .all(|(i, &v)| (v == 1.0) == (i == 0 || i == 2))
        );
    }

    #[test]
    fn logsumexp_against_double_precision() {
        let mut r = Rng::new(12);
        for n in [1, 15, 16, 1000, 32_000] {
            let x: Vec<f32> = (0..n).map(|_| 12.0 * r.normal()).collect();
            let got = logsumexp_at(Level::portable(), &x, 0.7);
            same(got, logsumexp(&x, 0.7), "levels");
            let want = x
                .iter()
                .map(|&v| (f64::from(v) * f64::from(0.7f32)).exp())
                .sum::<f64>()
                .ln();
            assert!(
                (f64::from(got) - want).abs() < 1e-6 * want.abs().max(1.0),
                "{got} {want}"
            );
        }
        assert_eq!(logsumexp(&[], 1.0), f32::NEG_INFINITY);
        assert_eq!(logsumexp(&[f32::NEG_INFINITY; 3], 1.0), f32::NEG_INFINITY);
        assert_eq!(logsumexp(&[f32::INFINITY, 0.0], 1.0), f32::INFINITY);
    }
}
