//! A second pick from the best candidates is the one that would be made from all tokens that fit.

use super::Again;
use crate::fake::{Host, host};
use crate::rng::Rng;
use crate::session::tests::{Chat, tiny};
use crate::session::{PROMPT, STEP, TEXT, event};
use std::boxed::Box;
use std::string::String;
use std::vec::Vec;

/// Of the vocabulary, and of the model, which has some more.
const TOKENS: usize = 700;
const LOGITS: usize = 704;

/// A host whose model says something else at each position, with equal logits among it.
fn random(seed: u64, params: &[(&str, &str)]) -> Host {
    let mut h = tiny(params);
    h.tensors[0].2 = [8, LOGITS as u64].into();
    h.pieces = (0..=255u8).map(|byte| [byte].into()).collect();
    h.pieces.extend([Vec::new(), Vec::new()]);
    let mut rng = Rng::new(seed);
    let mut below = |n: usize| rng.next_u32() as usize % n;
    while h.pieces.len() < TOKENS {
        let piece = (0..=below(4)).map(|_| b"abcdef 0129xyz"[below(14)]);
        h.pieces.push(piece.collect());
    }
    h.logits = Some(Box::new(move |position| {
        let mut rng = Rng::new(seed << 32 | position as u64);
        let mut logit = || (0..4).map(|_| rng.uniform()).sum::<f64>() * 6.0 - 12.0;
        (0..LOGITS)
            .map(|_| ((logit() * 8.0).round() / 8.0) as f32)
            .collect()
    }));
    h
}

/// What a turn shows and ends with, and how often the best candidates were enough. With `walk` they are not looked at.
fn turn(seed: u64, params: &[(&str, &str)], walk: bool) -> (Vec<i32>, i32, usize) {
    let mut c = Chat::open(random(seed, params)).unwrap();
    host(|h| h.input = b"p".to_vec());
    let mut rc = event(&mut c.0, &[], PROMPT, TEXT, 1);
    let mut enough = 0;
    while rc == 0 {
        let session = c.0.as_mut().unwrap();
        if walk {
            session.constrained.look = None;
        }
        let looking = matches!(session.constrained.again, Some(Again::Look));
        host(Host::complete);
        rc = event(&mut c.0, &[], STEP, 0, 0);
        let session = c.0.as_ref().unwrap();
        if let (true, Some(Again::Pick(n))) = (looking, session.constrained.again) {
            enough += usize::from(session.sampler.looks_at() == Some(n));
        }
    }
    (host(|h| h.emits.iter().map(|e| e.0).collect()), rc, enough)
}

#[test]
fn a_second_pick_from_the_best_candidates_is_that_from_all_tokens() {
    let ban = |ids: core::ops::Range<u32>| {
        let each: Vec<String> = ids.map(|id| format!("{id}:-inf")).collect();
        each.join(",")
    };
    let (some, most) = (ban(290..420), ban(258..690));
    let (mut seen, mut seed) = ([0; 3], 0);
    for grammar in [
        "root ::= [a-f0-9 ]+",
        "root ::= (\"ab\" | \"c\"+ | [0-9] \" \")+",
        "root ::= ([a-d ]+ | <[300]> [0-9] | \"x\" !<[301]>)+",
    ] {
        for (temp, top_k, kind) in [
            ("0", "40", 0),
            ("0.8", "1", 0),
            ("0.8", "40", 1),
            ("1.5", "40", 1),
            ("0.8", "256", 1),
            ("0.8", "257", 2),
            ("0.8", "0", 2),
        ] {
            for more in [
                &[][..],
                &[("repeat_penalty", "1.3"), ("frequency_penalty", "0.5")],
                &[("logit_bias", some.as_str()), ("ignore_eos", "1")],
                &[("logit_bias", most.as_str())],
                &[("ignore_eos", "1"), ("min_p", "0"), ("top_p", "1")],
                &[("dry_multiplier", "0.8"), ("dry_allowed_length", "1")],
            ] {
                let set = [
                    ("grammar", grammar),
                    ("temp", temp),
                    ("top_k", top_k),
                    ("n_predict", "12"),
                ];
                let params = [&set, more].concat();
                seed += 1;
                let (looked, walked) = (turn(seed, &params, false), turn(seed, &params, true));
                assert_eq!(looked.0, walked.0, "{params:?}");
                assert_eq!((looked.1, walked.2), (walked.1, 0), "{params:?}");
                seen[kind] += looked.2;
            }
        }
    }
    // Each way was gone often.
    let [one, some, none] = seen;
    assert!(one > 150 && some > 50 && none == 0, "{seen:?}");
}
