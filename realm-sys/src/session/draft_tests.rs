//! Speculative decoding: what a turn shows, what it leaves and what comes after it is what it would be without, to the bit.

use super::state_tests::{Demo, Shown, file, finish, saved};
use super::{Event, InputKind, Options, Session};
use crate::error::Status;
use crate::graph::memory::Memory;
use crate::graph::op::TYPE_F32;
use crate::guest::host::LogSink;
use alloc::vec;
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

/// Models that draft: the model itself, and the same with half of its last norm wiped out, which is right and wrong by turns.
const ITSELF: (&str, u32) = ("30", 30);
const WORSE: (&str, u32) = ("31", 31);
/// Of 192 f32, which the file ends with.
const HALF_A_NORM: usize = 96 * 4;

fn with_draft_models() -> Demo {
    let demo = Demo::new();
    let mut bytes = file("examples-c/demo/realm-demo.gguf");
    for (_, id) in [ITSELF, WORSE] {
        let limits = crate::gguf::Limits::default();
        demo.store.register_copy(&[&bytes], id, &limits).unwrap();
        bytes
            .iter_mut()
            .rev()
            .take(HALF_A_NORM)
            .for_each(|b| *b = 0);
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

/// A saved state holds nothing of what was guessed and was wrong, but traces in the guest's memory and the ids that were fed last: no
/// logits, no keys and values.
#[test]
fn rejected_drafts_are_not_saved() {
    let demo = Demo::new();
    let [plain, guessed] = [false, true].map(|guesses| {
        let mut s = open(&demo, &[("temp", "1.5"), ("seed", "3")], true);
        let set = |s: &mut Session, n: &str| s.set_param("draft_max", Some(n));
        assert!(set(&mut s, "7").is_err(), "longer than at OPEN");
        set(&mut s, if guesses { "6" } else { "0" }).unwrap();
        s.prompt(InputKind::Text, TEXT.as_bytes()).unwrap();
        finish(&mut s);
        set(&mut s, "6").unwrap();
        assert_eq!(ACCEPTED.take() > 0, guesses);
        s
    });
    assert_eq!(saved(&plain).len(), saved(&guessed).len());
    let memories = [&plain, &guessed].map(|s| &s.instance.host().compute.memory);
    let [a, b] = memories.map(|m| {
        let buffers = m.buffer_descs().iter().enumerate();
        let floats = buffers.filter(|(_, desc)| desc.r#type == TYPE_F32);
        let floats = floats.map(|(i, _)| {
            let mut bytes = vec![0; m.buffer(i as u32).unwrap().bytes() as usize];
            m.buffer_read(i as u32, 0, &mut bytes).unwrap();
            bytes
        });
        floats.collect::<Vec<_>>()
    });
    assert_eq!(a, b);
    assert_eq!(kept_pages(memories[0]), kept_pages(memories[1]));
}

/// What a saved state has of the pages.
fn kept_pages(m: &Memory) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for group in 0..m.group_count() {
        let (pages, size) = m.pages(group);
        all.extend((0..pages.len()).map(|page| {
            let mut bytes = vec![0; size as usize];
            // In parts that are no whole rows, as states are written.
            for (i, part) in bytes.chunks_mut(999).enumerate() {
                m.page_read(group, page, i as u64 * 999, part).unwrap();
            }
            bytes
        }));
    }
    all
}

#[test]
fn what_was_taken_back_is_not_saved() {
    let demo = Demo::new();
    for kv in ["f32", "f16", "q8_0"] {
        let mut s = open(&demo, &[("kv_type", kv)], false);
        let mut other = open(&demo, &[("kv_type", kv)], false);
        for s in [&mut s, &mut other] {
            s.prompt(InputKind::Text, b"The capital of Peru").unwrap();
            finish(s);
        }
        let position = s.position();
        s.prompt(InputKind::Text, TEXT.as_bytes()).unwrap();
        finish(&mut s);
        s.rewind(position).unwrap();
        let memories = [&s, &other].map(|s| &s.instance.host().compute.memory);
        let raw = memories.map(|m| {
            let (pages, bytes) = m.pages(0);
            let mut page = vec![0; bytes as usize];
            pages[0].read(0, &mut page).unwrap();
            page
        });
        assert_ne!(raw[0], raw[1], "{kv}: there is something to leave out");
        assert_eq!(kept_pages(memories[0]), kept_pages(memories[1]), "{kv}");
        assert!(kept_pages(memories[0])[0].iter().any(|b| *b != 0));
    }
}

#[test]
fn the_same_calls_make_the_same_state() {
    let demo = Demo::new();
    let [whole, sliced] = [0, 1].map(|budget| {
        let mut s = open(&demo, &[("temp", "1.2")], true);
        for text in [TEXT, " and"] {
            s.prompt(InputKind::Text, text.as_bytes()).unwrap();
            while !matches!(s.poll(budget).unwrap(), Event::Done(_)) {}
        }
        s.rewind(20).unwrap();
        saved(&s)
    });
    assert!(whole == sliced);
}
