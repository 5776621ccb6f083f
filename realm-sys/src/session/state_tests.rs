//! The rest of a session's life: going back, and what must come out the same afterwards.
//!
//! Mostly with the guest and the demo model that come with the library, because what a session keeps is mostly theirs.

use super::tests::{MODEL, options, stepping};
use super::{DoneReason, Event, InputKind, Options, Session};
use crate::error::Status;
use crate::guest::LoadedGuest;
use crate::guest::tests::wat;
use crate::store::{Store, StoreRef};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(std::format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The library's guest with the demo model.
struct Demo {
    guest: Arc<LoadedGuest>,
    store: StoreRef,
}

impl Demo {
    fn new() -> Self {
        let models = Store::new();
        let bytes = file("examples-c/demo/realm-demo.gguf");
        models
            .register_copy(&[&bytes], MODEL, &crate::gguf::Limits::default())
            .unwrap();
        Self {
            guest: LoadedGuest::load(&file("guest/realm_guest.wasm")).unwrap(),
            store: StoreRef::Own(Arc::new(models)),
        }
    }

    fn options(&self, params: &[(&str, &str)]) -> Options {
        let mut o = options(&self.guest);
        o.store = self.store.clone();
        o.model = self.store.open(MODEL).unwrap();
        o.params.set("ctx", "256").unwrap();
        for (key, value) in params {
            o.params.set(key, value).unwrap();
        }
        o
    }

    fn open(&self, params: &[(&str, &str)]) -> Session {
        Session::open(self.options(params)).unwrap()
    }
}

/// What a turn showed: tokens, text, the logits' bits after it.
type Shown = (Vec<i32>, String, Vec<u32>);

fn finish(s: &mut Session) -> Shown {
    let (mut tokens, mut text) = (vec![], String::new());
    loop {
        match s.poll(0).unwrap() {
            Event::Token(t) => {
                tokens.push(t);
                text.push_str(s.text());
            }
            Event::Done(reason) => {
                assert_ne!(reason, DoneReason::Cancelled);
                return (tokens, text, logits(s));
            }
            Event::Again => {}
        }
    }
}

fn logits(s: &Session) -> Vec<u32> {
    let mut v = vec![0.0; s.logits_len().unwrap()];
    s.logits(&mut v).unwrap();
    v.iter().map(|x| x.to_bits()).collect()
}

fn chat(s: &mut Session, text: &str) -> Shown {
    s.prompt(InputKind::Chat, text.as_bytes()).unwrap();
    finish(s)
}

fn ids(s: &mut Session, tokens: &[u32]) -> Shown {
    let bytes: Vec<u8> = tokens.iter().flat_map(|t| t.to_le_bytes()).collect();
    s.prompt(InputKind::Ids, &bytes).unwrap();
    finish(s)
}

/// Kinds of sampling and of cache: whatever a session keeps is in one of them.
const KINDS: [&[(&str, &str)]; 4] = [
    &[],
    &[
        ("kv_type", "q8_0"),
        ("n_batch", "7"),
        ("repeat_penalty", "1.3"),
    ],
    &[("kv_type", "f16"), ("temp", "0.9"), ("seed", "5")],
    &[
        ("temp", "0.8"),
        ("top_k", "0"),
        ("frequency_penalty", "0.4"),
        ("repeat_last_n", "5"),
        ("logit_bias", "300:1.5"),
        ("ignore_eos", "1"),
        ("n_predict", "40"),
    ],
];

#[test]
fn a_rewound_session_is_one_that_never_went_further() {
    let demo = Demo::new();
    for params in KINDS {
        // Sampling runs on through a rewind, so that tokens are compared where it has no say.
        let greedy = !params.iter().any(|p| p.0 == "temp");
        let mut s = demo.open(params);
        assert_eq!(s.position(), 0);
        chat(&mut s, "What is the capital of France?");
        let at = s.position();
        let small = s.stats().kv_bytes;
        chat(
            &mut s,
            "And of Italy? Tell me at once, and at length, what you know of it.",
        );
        chat(&mut s, "Hello");
        assert!(s.position() > at + 64 && s.stats().kv_bytes > small);
        s.rewind(at).unwrap();
        assert_eq!((s.position(), s.stats().kv_bytes), (at, small));
        assert_eq!(
            s.logits(&mut vec![0.0; 4096]).unwrap_err().status(),
            Status::State
        );

        let mut never = demo.open(params);
        chat(&mut never, "What is the capital of France?");
        never.rewind(at).unwrap();
        if greedy {
            assert_eq!(
                chat(&mut s, "And of Spain?"),
                chat(&mut never, "And of Spain?")
            );
        } else {
            // The same tokens give the same logits, whatever is picked then.
            for x in [&mut s, &mut never] {
                x.set_param("n_predict", Some("0")).unwrap();
            }
            let tokens: Vec<u32> = (260..300).collect();
            assert_eq!(ids(&mut s, &tokens), ids(&mut never, &tokens));
        }
        assert_eq!(s.position(), never.position());

        // Into the midst of a page and of a turn, one position after the other.
        for x in [&mut s, &mut never] {
            x.set_param("n_predict", Some("0")).unwrap();
            while x.position() > at - 3 {
                x.rewind(x.position() - 1).unwrap();
            }
        }
        let mut fresh = demo.open(params);
        chat(&mut fresh, "What is the capital of France?");
        fresh.rewind(at - 3).unwrap();
        fresh.set_param("n_predict", Some("0")).unwrap();
        let want = ids(&mut fresh, &[301, 302, 303]);
        assert_eq!(ids(&mut s, &[301, 302, 303]), want);
        assert_eq!(ids(&mut never, &[301, 302, 303]), want);
    }
}

#[test]
fn rewound_to_its_beginning_a_session_is_new() {
    let demo = Demo::new();
    for params in KINDS {
        let mut s = demo.open(params);
        let want = chat(&mut s, "What is the capital of France?");
        chat(&mut s, "And of Italy?");
        s.rewind(0).unwrap();
        assert_eq!((s.position(), s.stats().kv_bytes), (0, 0));
        assert_eq!(chat(&mut s, "What is the capital of France?"), want);
    }
}

#[test]
fn rewinding_is_refused_where_it_makes_no_sense() {
    let demo = Demo::new();
    let mut s = demo.open(&[]);
    let status = |r: crate::error::Result<()>| r.unwrap_err().status();
    assert_eq!(status(s.rewind(1)), Status::InvalidArgument);
    s.rewind(0).unwrap();
    s.prompt(InputKind::Chat, b"Hello").unwrap();
    assert_eq!(status(s.rewind(0)), Status::State);
    assert!(matches!(s.poll(0).unwrap(), Event::Token(_)));
    assert_eq!(status(s.rewind(0)), Status::State);
    s.cancel();
    while s.is_busy() {
        s.poll(0).unwrap();
    }
    let at = s.position();
    assert!(at > 0);
    assert_eq!(status(s.rewind(at + 1)), Status::InvalidArgument);
    s.rewind(at).unwrap();

    // A guest of ABI 0.1 was never told of rewinding.
    let mut old = Session::open(options(&stepping(1, 1, 4))).unwrap();
    assert_eq!(status(old.rewind(0)), Status::Unsupported);
    old.prompt(InputKind::Text, b"x").unwrap();

    // One of 0.2 may refuse, fail, or break the rules.
    for (answer, want, usable) in [("-8", Status::State, true), ("3", Status::Guest, false)] {
        let mut s = Session::open(options(&newer("", answer))).unwrap();
        assert_eq!(status(s.rewind(0)), want);
        assert_eq!(s.check().is_ok(), usable);
    }
    let mut s = Session::open(options(&newer("(unreachable)", "0"))).unwrap();
    assert_eq!(status(s.rewind(0)), Status::Guest);
    assert!(s.check().is_err());
    let submits = "(if (i32.ne (call $realm_step_submit (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)) (i32.const -8)) (then unreachable))";
    let mut s = Session::open(options(&newer(submits, "0"))).unwrap();
    s.rewind(0).unwrap();
}

/// A guest of ABI 0.2 that does this at REWIND and nothing else.
fn newer(body: &str, answer: &str) -> Arc<LoadedGuest> {
    let body = std::format!(
        "(if (i32.eq (local.get $kind) (i32.const 5)) (then {body} (return (i32.const {answer})))) (i32.const 0)"
    );
    let old = wat("", &body);
    // `wat` writes the ABI function first: its constant is what is changed.
    let marks: Vec<usize> = old
        .windows(4)
        .enumerate()
        .filter(|(_, w)| *w == [0, 0x41, 1, 0x0b])
        .map(|(i, _)| i)
        .collect();
    let [at] = marks[..] else { panic!("{marks:?}") };
    let mut new = old;
    new[at + 2] = 2;
    LoadedGuest::load(&new).unwrap()
}
