//! Samplers against llama.cpp's cases, and properties that must hold for any distribution.

use super::*;
use crate::testdata::{Json, read};
use alloc::vec::Vec;

/// The fake host does not ask.
const MODEL: u32 = 1;

/// Runs `f` over candidates with these logits, sorted descending as the program leaves them.
fn with<R>(logits: &[f32], f: impl FnOnce(&mut Candidates<'_>) -> R) -> R {
    with_sums(logits, [None, None], f)
}

/// The same, where the program has computed these sums.
fn with_sums<R>(
    logits: &[f32],
    sums: [Option<LogSum>; 2],
    f: impl FnOnce(&mut Candidates<'_>) -> R,
) -> R {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let mut fetch = |first: u32, out: &mut [f32]| {
        out.copy_from_slice(&sorted[first as usize..][..out.len()]);
        Ok(())
    };
    let mut c = Candidates::new(logits.len() as u32, sums, &mut fetch).unwrap();
    f(&mut c)
}

/// Probabilities of the candidates that are left, descending.
fn probabilities(c: &mut Candidates<'_>) -> Vec<f64> {
    let w: Vec<f64> = c.ranks().map(|i| c.weight(i).unwrap()).collect();
    let sum: f64 = w.iter().sum();
    w.iter().map(|x| x / sum).collect()
}

fn logits_of(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

fn log_sum(logits: &[f32], scale: f64) -> Option<LogSum> {
    let weights = logits.iter().map(|x| (f64::from(*x) * scale).exp());
    let value = weights.sum::<f64>().ln() as f32;
    Some(LogSum { scale, value })
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
        if name == "test_dry" {
            repetitions(args);
            seen += 1;
            continue;
        }
        if !matches!(
            name,
            "test_top_k"
                | "test_top_p"
                | "test_min_p"
                | "test_temp"
                | "test_temp_ext"
                | "test_typical"
                | "test_top_n_sigma"
                | "test_xtc"
        ) {
            continue;
        }
        seen += 1;
        let (logits, p) = (logits_of(&args[0].floats()), args[2].number() as f32);
        let more = |i: usize| args[i].number() as f32;
        let mut expected = args[1].floats();
        expected.sort_by(|a, b| b.total_cmp(a));
        for sum in [None, log_sum(&logits, 1.0)] {
            let got = with_sums(&logits, [sum, None], |c| {
                match name {
                    "test_top_k" if p > 0.0 => c.keep(p as u32),
                    "test_top_p" => top_p::apply(c, p).unwrap(),
                    "test_typical" => typical::apply(c, p).unwrap(),
                    "test_top_n_sigma" => top_n_sigma::apply(c, p).unwrap(),
                    "test_temp_ext" => temp::dynamic(c, p, more(3), more(4)).unwrap(),
                    // As there, the chance comes true.
                    "test_xtc" => xtc::apply(c, p, more(3), &mut Rng::new(1)).unwrap(),
                    "test_min_p" => min_p::apply(c, p).unwrap(),
                    "test_temp" => temp::apply(c, f64::from(p)),
                    _ => {}
                }
                probabilities(c)
            });
            let expected: Vec<f32> = expected.iter().copied().filter(|p| *p > 0.0).collect();
            assert_eq!(got.len(), expected.len(), "{name} {p}");
            // XTC's are the probabilities from before.
            let sum: f32 = expected.iter().sum();

            for (g, e) in got.iter().zip(&expected) {
                assert!(
                    (g - f64::from(*e / sum)).abs() < 1e-3,
                    "{name} {p}: {got:?} {expected:?}"
                );
            }
        }
    }
    assert_eq!(seen, 24 + 4 + 4 + 9 + 2 + 2 + 2 + 3 + 4 + 5);
}

/// Probabilities after DRY's penalties; tokens are the bytes of the fake vocabulary.
fn repetitions(args: &[Json]) {
    let ids = |j: &Json| -> Vec<u32> { j.list().iter().map(|n| n.number() as u32).collect() };
    let settings = crate::params::Dry {
        multiplier: args[3].number() as f32,
        base: args[4].number() as f32,
        allowed_length: args[5].number() as u32,
        last_n: args[6].number() as i32,
        breakers: args[7]
            .list()
            .iter()
            .map(|b| ids(b).iter().map(|id| *id as u8).collect())
            .collect(),
    };
    let history = ids(&args[1]);
    let mut dry = Dry::default();
    dry.configure(&settings, MODEL, &history).unwrap();
    let mut weights: Vec<f64> = args[0].floats().iter().map(|p| f64::from(*p)).collect();
    for (id, bias) in dry.penalties(MODEL, &history).unwrap() {
        weights[id as usize] *= f64::from(bias).exp();
    }
    let sum: f64 = weights.iter().sum();
    for (got, want) in weights.iter().zip(args[2].floats()) {
        assert!(
            (got / sum - f64::from(want)).abs() < 1e-5,
            "{args:?}: {weights:?}"
        );
    }
}

/// Against comparing every pair of places.
#[test]
fn repetitions_are_measured_as_if_by_hand() {
    let mut rng = Rng::new(3);
    for _ in 0..300 {
        let n = (rng.uniform() * 40.0) as usize;
        let recent: Vec<u32> = (0..n).map(|_| (rng.uniform() * 3.0) as u32).collect();
        let settings = crate::params::Dry {
            multiplier: 1.0,
            base: 1.0,
            allowed_length: 2,
            last_n: -1,
            breakers: Vec::new(),
        };
        let mut dry = Dry::default();
        dry.configure(&settings, MODEL, &recent).unwrap();
        let mut got: Vec<u32> = dry
            .penalties(MODEL, &recent)
            .unwrap()
            .iter()
            .map(|(id, _)| *id)
            .collect();
        got.sort_unstable();
        let mut want: Vec<u32> = (1..n)
            .filter(|d| {
                let same = |i: &usize| recent[n - 1 - i] == recent[n - 1 - i - d];
                (0..n - d).take_while(same).count() >= 2
            })
            .map(|d| recent[n - d])
            .collect();
        want.sort_unstable();
        want.dedup();
        assert_eq!(got, want, "{recent:?}");
    }
}

/// The bound makes the information of what is chosen come near the target.
#[test]
fn mirostat_reaches_its_target() {
    let logits: Vec<f32> = (0..500).map(|i| -1.1 * (1.0 + i as f32).ln()).collect();
    for version in [1, 2] {
        let settings = mirostat::Settings {
            version,
            tau: 3.0,
            eta: 0.1,
        };
        let mut mirostat = Mirostat::default();
        mirostat.reset(&settings);
        let mut rng = Rng::new(5);
        let mut sum = 0.0;
        for i in 0..2000 {
            let u = rng.uniform();
            let surprise = with(&logits, |c| {
                let rank = mirostat.pick(c, &settings, 500, u).unwrap();
                -probabilities(c)[rank as usize].log2()
            });
            sum += if i >= 500 { surprise } else { 0.0 };
        }
        let mean = sum / 1500.0;
        assert!((mean - 3.0).abs() < 0.05, "version {version}: {mean} bits");
    }
}

/// What is left after typical sampling is what sorting by distance from the entropy leaves.
#[test]
fn typical_ranges_are_those_of_the_definition() {
    let mut rng = Rng::new(11);
    for _ in 0..200 {
        let n = 1 + (rng.uniform() * 100.0) as usize;
        let mut logits: Vec<f32> = (0..n).map(|_| (rng.uniform() * 12.0) as f32).collect();
        logits.sort_by(|a, b| b.total_cmp(a));
        let p = rng.uniform() as f32;
        let all = with(&logits, probabilities);
        let entropy: f64 = all.iter().map(|p| -p * p.ln()).sum();
        let mut order: Vec<usize> = (0..n).collect();
        let distance = |i: usize| (-all[i].ln() - entropy).abs();
        order.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
        let mut sum = 0.0;
        let mut want: Vec<usize> = order
            .into_iter()
            .take_while(|i| {
                let before = sum;
                sum += all[*i];
                before <= f64::from(p)
            })
            .collect();
        want.sort_unstable();
        let got: Vec<usize> = with(&logits, |c| {
            typical::apply(c, p).unwrap();
            c.ranks().map(|rank| rank as usize).collect()
        });
        assert_eq!(got, want, "{p} {logits:?}");
    }
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
                'p' if p >= 1.0 => top_p::apply(c, p).unwrap(),
                'p' => {
                    top_p::apply(c, p).unwrap();
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
            temp::apply(c, f64::from(temp));
            probabilities(c)
        });
        for _ in 0..40_000 {
            let u = rng.uniform();
            let draw = |sum| {
                with_sums(&logits, [None, sum], |c| {
                    temp::apply(c, f64::from(temp));
                    dist::pick(c, u).unwrap()
                })
            };
            let (rank, quick) = (draw(None), draw(sum));
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
        top_p::apply(c, 0.9).unwrap();
        assert!(c.count() > 800 && c.count() < 900);
        assert_eq!(dist::pick(c, 0.0), Ok(0));
        assert_eq!(dist::pick(c, 1.0 - 1e-12), Ok(c.count() - 1));
    });
}
