//! Speculative decoding: what a turn shows, what it leaves and what comes after it is what it would be without, to the bit.

use super::state_tests::{Demo, Shown, file, finish, saved};
use super::{Event, InputKind, Options, Session};
use crate::error::Status;
use crate::guest::host::LogSink;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ffi::{c_char, c_void};

const TEXT: &str = "The capital of France is Paris. The capital of Peru is Lima. The capital of France is Paris. The capital";

/// Kinds of sampling, each of which sees the tokens before it in another way.
const KINDS: [&[(&str, &str)]; 6] = [
    &[],
    &[("temp", "0.9"), ("seed", "5"), ("kv_type", "q8_0")],
    &[
        ("temp", "1.1"),
        ("top_k", "0"),
        ("repeat_penalty", "1.2"),
        ("n_batch", "4"),
    ],
    &[("dry_multiplier", "0.5"), ("logit_bias", "300:1.5")],
    &[("mirostat", "2"), ("temp", "1"), ("seed", "9")],
    &[("grammar", r#"root ::= (" " [A-Z] [a-z]+ | [a-z .]+)*"#)],
];

std::thread_local! {
    /// Drafted tokens that this thread's sessions have accepted.
    static ACCEPTED: Cell<usize> = const { Cell::new(0) };
}

/// The guest's log says at the end of a turn what became of its drafts.
unsafe extern "C" fn note(_: *mut c_void, _: i32, text: *const c_char, bytes: usize) {
    // SAFETY: a line of the log.
    let line = unsafe { core::slice::from_raw_parts(text.cast::<u8>(), bytes) };
    let line = core::str::from_utf8(line).unwrap();
    if let Some((_, rest)) = line.split_once(" drafted tokens ") {
        let count: usize = rest.split_once(' ').unwrap().0.parse().unwrap();
        ACCEPTED.set(ACCEPTED.get() + count);
    }
}

fn options(demo: &Demo, params: &[(&str, &str)]) -> Options {
    Options {
        log: Some(LogSink {
            call: note,
            ctx: core::ptr::null_mut(),
        }),
        ..demo.options(params)
    }
}

const ALL: [(&str, &str); 3] = [("ignore_eos", "1"), ("logprobs", "1"), ("n_predict", "14")];
const LOOKUP: [(&str, &str); 2] = [("draft_max", "6"), ("spec_ngram_size_n", "2")];

fn open(demo: &Demo, params: &[(&str, &str)], drafts: bool) -> Session {
    let drafts = if drafts { &LOOKUP[..] } else { &[] };
    Session::open(options(demo, &[params, &ALL, drafts].concat())).unwrap()
}

/// Models that draft: the model itself, and the same with its last weights wiped out, which is wrong more often than not.
const ITSELF: (&str, u32) = ("30", 30);
const WORSE: (&str, u32) = ("31", 31);

fn with_draft_models() -> Demo {
    let demo = Demo::new();
    let mut bytes = file("examples-c/demo/realm-demo.gguf");
    for (_, id) in [ITSELF, WORSE] {
        let limits = crate::gguf::Limits::default();
        demo.store.register_copy(&[&bytes], id, &limits).unwrap();
        let wiped = bytes.len() / 8;
        bytes.iter_mut().rev().take(wiped).for_each(|b| *b = 0);
    }
    demo
}

fn drafting(demo: &Demo, (name, id): (&str, u32), params: &[(&str, &str)]) -> Options {
    let drafts = [("model_draft", name), ("draft_max", "6")];
    let mut options = options(demo, &[&ALL, &drafts[..], params].concat());
    options.granted = [(id, demo.store.open(id).unwrap())].into();
    options
}

/// Two turns, with the log probability of each token, and where they end.
fn turns(s: &mut Session) -> (Vec<Option<u32>>, u32, Shown) {
    let mut logprobs = Vec::new();
    s.prompt(InputKind::Text, TEXT.as_bytes()).unwrap();
    loop {
        match s.poll(0).unwrap() {
            Event::Done(_) => break,
            _ => logprobs.push(s.logprob().map(f32::to_bits)),
        }
    }
    let position = s.position();
    s.prompt(InputKind::Text, b" and").unwrap();
    (logprobs, position, finish(s))
}

#[test]
fn drafts_leave_every_bit_as_it_was() {
    let demo = Demo::new();
    for params in KINDS {
        let mut plain = open(&demo, params, false);
        let mut drafted = open(&demo, params, true);
        let want = turns(&mut plain);
        assert_eq!(ACCEPTED.take(), 0);
        assert_eq!(turns(&mut drafted), want, "{params:?}");
        assert!(ACCEPTED.take() > 0, "{params:?}: no draft was accepted");
    }
}

/// What is kept of a turn that is cut off, in the midst of a draft too, is what was there without.
#[test]
fn a_turn_with_drafts_can_be_cancelled_anywhere() {
    let demo = Demo::new();
    let mut plain = open(&demo, &[], false);
    let (_, end, _) = turns(&mut plain);
    for polls in [1, 2, 5, 6, 9] {
        let mut cut = open(&demo, &[], true);
        cut.prompt(InputKind::Text, TEXT.as_bytes()).unwrap();
        for _ in 0..polls {
            cut.poll(0).unwrap();
        }
        cut.cancel();
        while !matches!(cut.poll(0).unwrap(), Event::Done(_)) {}
        // The second token is the first that can have been guessed.
        assert_eq!(ACCEPTED.take() > 0, polls > 1, "{polls}");
        let kept = cut.position();
        assert!(kept < end);
        let mut other = open(&demo, &[], false);
        turns(&mut other);
        other.rewind(kept).unwrap();
        for s in [&mut cut, &mut other] {
            s.prompt(InputKind::Text, b" more").unwrap();
        }
        assert_eq!(finish(&mut cut), finish(&mut other), "{polls}");
    }
}

#[test]
fn a_draft_model_changes_nothing_whatever_it_is_worth() {
    let demo = with_draft_models();
    for params in KINDS {
        let want = turns(&mut open(&demo, params, false));
        let accepted = [ITSELF, WORSE].map(|by| {
            let mut s = Session::open(drafting(&demo, by, params)).unwrap();
            assert_eq!(turns(&mut s), want, "{params:?}, drafted by {by:?}");
            ACCEPTED.take()
        });
        assert!(accepted[0] > accepted[1], "{params:?}: {accepted:?}");
    }
}

/// Cut off at any event, while it guesses too; and what is forgotten in one cache is in the other.
#[test]
fn a_draft_model_forgets_what_the_model_does() {
    let demo = with_draft_models();
    for by in [ITSELF, WORSE] {
        for polls in [0, 1, 2, 3, 4, 5, 6, 9] {
            let mut cut = Session::open(drafting(&demo, by, &[])).unwrap();
            cut.prompt(InputKind::Text, TEXT.as_bytes()).unwrap();
            for _ in 0..polls {
                cut.poll(0).unwrap();
            }
            // A moment, in which a step may have been booked.
            cut.poll(1).unwrap();
            cut.cancel();
            while !matches!(cut.poll(0).unwrap(), Event::Done(_)) {}
            let kept = cut.position();
            let mut other = open(&demo, &[], false);
            turns(&mut other);
            other.rewind(kept).unwrap();
            for s in [&mut cut, &mut other] {
                s.prompt(InputKind::Text, b" more").unwrap();
            }
            let want = finish(&mut other);
            assert_eq!(finish(&mut cut), want, "{by:?} {polls}");
            for s in [&mut cut, &mut other] {
                s.rewind(kept / 2).unwrap();
                s.prompt(InputKind::Text, TEXT.as_bytes()).unwrap();
            }
            assert_eq!(finish(&mut cut), finish(&mut other), "{by:?} {polls}");
        }
        assert!(ACCEPTED.take() > 0);
    }
}

#[test]
fn forks_and_saved_sessions_keep_their_draft_model() {
    let demo = with_draft_models();
    let sampled = [("temp", "0.7"), ("seed", "2")];
    let mut s = Session::open(drafting(&demo, ITSELF, &sampled)).unwrap();
    s.prompt(InputKind::Text, TEXT.as_bytes()).unwrap();
    finish(&mut s);
    let mut fork = s.fork().unwrap();
    let mut given = options(&demo, &[]);
    let bytes = saved(&s);
    let missing = Session::load_bytes(options(&demo, &[]), &bytes);
    assert_eq!(missing.err().map(|e| e.status()), Some(Status::NotFound));
    given.granted = [(ITSELF.1, demo.store.open(ITSELF.1).unwrap())].into();
    let mut loaded = Session::load_bytes(given, &bytes).unwrap();
    ACCEPTED.take();
    let want = turns(&mut s);
    let accepted = ACCEPTED.take();
    assert!(accepted > 0);
    for other in [&mut fork, &mut loaded] {
        assert_eq!(turns(other), want);
        assert_eq!(ACCEPTED.take(), accepted);
    }
}

#[test]
fn a_draft_model_that_will_not_do_is_refused() {
    let demo = with_draft_models();
    let refused = |options: Options| {
        let error = Session::open(options).err().unwrap();
        (error.status(), std::format!("{error}"))
    };
    let mut alone = drafting(&demo, ITSELF, &[]);
    alone.granted.clear();
    let (status, why) = refused(alone);
    assert_eq!(status, Status::NotFound);
    assert!(why.contains("model_draft names model 30"), "{why}");
    let mut s = Session::open(drafting(&demo, ITSELF, &[])).unwrap();
    let error = s.set_param("model_draft", Some("31")).unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument);
}

#[test]
fn forks_and_saved_sessions_go_on_with_drafts() {
    let demo = Demo::new();
    let mut s = open(&demo, &[("temp", "0.7"), ("seed", "2")], true);
    s.prompt(InputKind::Text, TEXT.as_bytes()).unwrap();
    finish(&mut s);
    assert!(ACCEPTED.take() > 0);
    let mut fork = s.fork().unwrap();
    let mut loaded = Session::load_bytes(options(&demo, &[]), &saved(&s)).unwrap();
    let want = turns(&mut s);
    let accepted = ACCEPTED.take();
    assert!(accepted > 0);
    for other in [&mut fork, &mut loaded] {
        assert_eq!(turns(other), want);
        assert_eq!(ACCEPTED.take(), accepted);
    }
}
