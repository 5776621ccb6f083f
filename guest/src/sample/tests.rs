//! Samplers against llama.cpp's cases, and properties that must hold for any distribution.

use super::*;
use crate::testdata::{Json, read};
use alloc::vec::Vec;

/// Runs `f` over candidates with these logits, sorted descending as the program leaves them.
fn with<R>(logits: &[f32], f: impl FnOnce(&mut Candidates<'_>) -> R) -> R {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let mut fetch = |first: u32, out: &mut [f32]| {
        out.copy_from_slice(&sorted[first as usize..][..out.len()]);
        Ok(())
    };
    let mut c = Candidates::new(logits.len() as u32, &mut fetch).unwrap();
    f(&mut c)
}

/// Probabilities of the candidates that are left, descending.
fn probabilities(c: &mut Candidates<'_>) -> Vec<f64> {
    let w: Vec<f64> = (0..c.count()).map(|i| c.weight(i).unwrap()).collect();
    let sum: f64 = w.iter().sum();
    w.iter().map(|x| x / sum).collect()
}

fn logits_of(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

fn log_sum(logits: &[f32], scale: f64) -> f32 {
    logits
        .iter()
        .map(|x| (f64::from(*x) * scale).exp())
        .sum::<f64>()
        .ln() as f32
}

#[test]
fn llama_cpp_cases() {
    let Some(text) = read("sampling/llamacpp_cases.json") else {
        return;
    };
    let mut seen = 0;
    for case in Json::parse(&text).list() {
        let (name, args) = (case.get("sampler").text(), case.get("args").list());
        if name == "test_sampler_queue" {
            queue(args);
            seen += 1;
            continue;
        }
        if !matches!(
            name,
            "test_top_k" | "test_top_p" | "test_min_p" | "test_temp"
        ) {
            continue;
        }
        seen += 1;
        let (logits, p) = (logits_of(&args[0].floats()), args[2].number() as f32);
        let mut expected = args[1].floats();
        expected.sort_by(|a, b| b.total_cmp(a));
        for sum in [None, Some(log_sum(&logits, 1.0))] {
            let got = with(&logits, |c| {
                match name {
                    "test_top_k" if p > 0.0 => c.keep(p as u32),
                    "test_top_p" => top_p::apply(c, p, sum).unwrap(),
                    "test_min_p" => min_p::apply(c, p).unwrap(),
                    "test_temp" => temp::apply(c, p),
                    _ => {}
                }
                probabilities(c)
            });
            let expected: Vec<f32> = expected.iter().copied().filter(|p| *p > 0.0).collect();
            assert_eq!(got.len(), expected.len(), "{name} {p}");
            for (g, e) in got.iter().zip(&expected) {
                assert!(
                    (g - f64::from(*e)).abs() < 1e-3,
                    "{name} {p}: {got:?} {expected:?}"
                );
            }
        }
    }
    assert_eq!(seen, 24 + 4 + 4 + 9 + 2);
}

/// Token i of n has probability i / Σ: what is left after each sampler can be counted.
fn queue(args: &[Json]) {
    let n = args[0].number() as usize;
    let logits: Vec<f32> = (0..n).map(|i| (i as f32).ln()).collect();
    let (k, p, m) = (
        args[2].number() as u32,
        args[3].number() as f32,
        args[4].number() as f32,
    );
    with(&logits, |c| {
        let mut left = n; // tokens n - left .. n
        for sampler in args[1].text().chars() {
            match sampler {
                'k' => {
                    c.keep(k);
                    left = left.min(k as usize);
                }
                'p' if p >= 1.0 => top_p::apply(c, p, None).unwrap(),
                'p' => {
                    top_p::apply(c, p, None).unwrap();
                    let all: usize = (n - left..n).sum();
                    let (mut kept, mut sum) = (1, n - 1);
                    while (sum as f64) < f64::from(p) * all as f64 {
                        kept += 1;
                        sum += n - kept;
                    }
                    left = kept;
                }
                _ => {
                    min_p::apply(c, m).unwrap();
                    let least = (f64::from(m) * (n - 1) as f64).ceil() as usize;
                    left = left.min(n - least).max(1);
                }
            }
            let got = c.count() as usize;
            assert!(
                got.abs_diff(left) <= 1,
                "{args:?} {sampler}: {got} left, expected {left}"
            );
            left = got;
        }
    });
}

#[test]
fn draws_follow_the_distribution_and_the_shortcut_agrees() {
    let logits = logits_of(&[0.5, 0.2, 0.2, 0.05, 0.05]);
    for temp in [0.5f32, 1.0, 2.0] {
        let mut counts = [0u32; 5];
        let mut rng = Rng::new(7);
        let sum = log_sum(&logits, 1.0 / f64::from(temp));
        let expected = with(&logits, |c| {
            temp::apply(c, temp);
            probabilities(c)
        });
        for _ in 0..40_000 {
            let u = rng.uniform();
            let draw = |sum| {
                with(&logits, |c| {
                    temp::apply(c, temp);
                    dist::pick(c, sum, u).unwrap()
                })
            };
            let (rank, quick) = (draw(None), draw(Some(sum)));
            assert!(rank == quick, "{rank} {quick} {u}");
            counts[rank as usize] += 1;
        }
        for (count, p) in counts.iter().zip(expected) {
            assert!(
                (f64::from(*count) / 40_000.0 - p).abs() < 0.01,
                "{temp}: {counts:?}"
            );
        }
    }
}

#[test]
fn long_lists_are_read_in_windows() {
    let logits: Vec<f32> = (0..1000).map(|i| -(i as f32) * 1e-3).collect();
    with(&logits, |c| {
        assert!((c.weight(999).unwrap() - (-0.999f64).exp()).abs() < 1e-6);
        assert_eq!(c.weight(0), Ok(1.0));
        top_p::apply(c, 0.9, None).unwrap();
        assert!(c.count() > 800 && c.count() < 900);
        assert_eq!(dist::pick(c, None, 0.0), Ok(0));
        assert_eq!(dist::pick(c, None, 1.0 - 1e-12), Ok(c.count() - 1));
    });
}
