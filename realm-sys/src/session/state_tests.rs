//! The rest of a session's life: going back, and what must come out the same afterwards.
//!
//! Mostly with the guest and the demo model that come with the library, because what a session keeps is mostly theirs.
//!
//! One long file, because its tests compare sessions by the helpers at its top.

use super::tests::{MODEL, options, stepping};
use super::{DoneReason, Event, InputKind, Options, Session};
use crate::backend::host::Backends;
use crate::error::Status;
use crate::guest::host::ProgressSink;
use crate::guest::tests::wat;
use crate::guest::{LoadedGuest, event};
use crate::platform::Platform;
use crate::store::{Store, StoreRef};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ffi::c_void;

pub fn file(name: &str) -> Vec<u8> {
    std::fs::read(std::format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The library's guest with the demo model.
pub struct Demo {
    guest: Arc<LoadedGuest>,
    pub store: StoreRef,
}

impl Demo {
    pub fn new() -> Self {
        Self::with("guest/realm_guest.wasm")
    }

    pub fn with(guest: &str) -> Self {
        let models = Store::new();
        let bytes = file("examples-c/demo/realm-demo.gguf");
        models
            .register_copy(&[&bytes], MODEL, &crate::gguf::Limits::default())
            .unwrap();
        Self {
            guest: LoadedGuest::load(&file(guest)).unwrap(),
            store: StoreRef::Own(Arc::new(models)),
        }
    }

    pub fn options(&self, params: &[(&str, &str)]) -> Options {
        let mut o = options(&self.guest);
        o.store = self.store.clone();
        o.model = self.store.open(MODEL).unwrap();
        o.params.set("ctx", "256").unwrap();
        for (key, value) in params {
            o.params.set(key, value).unwrap();
        }
        o
    }

    pub fn open(&self, params: &[(&str, &str)]) -> Session {
        Session::open(self.options(params)).unwrap()
    }
}

/// What a turn showed: tokens, text, the logits' bits after it.
pub type Shown = (Vec<i32>, String, Vec<u32>);

pub fn finish(s: &mut Session) -> Shown {
    ended(s).0
}

/// The rest of a turn, and how it ended.
pub fn ended(s: &mut Session) -> (Shown, DoneReason) {
    let (mut tokens, mut text) = (vec![], String::new());
    loop {
        match s.poll(0).unwrap() {
            Event::Token(t) => {
                tokens.push(t);
                text.push_str(s.text());
            }
            Event::Done(reason) => {
                assert_ne!(reason, DoneReason::Cancelled);
                return ((tokens, text, logits(s)), reason);
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

pub fn chat(s: &mut Session, text: &str) -> Shown {
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
    at_event(event::REWIND, body, answer)
}

/// A guest of ABI 0.2 that does this at one kind of event and nothing else.
pub fn at_event(kind: u32, body: &str, answer: &str) -> Arc<LoadedGuest> {
    let body = std::format!(
        "(if (i32.eq (local.get $kind) (i32.const {kind})) (then {body} (return (i32.const {answer})))) (i32.const 0)"
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

/// All that two sessions show from here on, a chat turn and one of fixed tokens.
fn goes_on_equally(a: &mut Session, b: &mut Session, what: &str) {
    assert_eq!(a.position(), b.position(), "{what}");
    assert_eq!(chat(a, "And of Italy?"), chat(b, "And of Italy?"), "{what}");
    assert_eq!(a.position(), b.position(), "{what}");
    let tokens: Vec<u32> = (265..285).collect();
    assert_eq!(ids(a, &tokens), ids(b, &tokens), "{what}");
}

pub fn saved(s: &Session) -> Vec<u8> {
    let mut bytes = vec![];
    s.save(&mut |part| {
        bytes.extend_from_slice(part);
        Ok(())
    })
    .unwrap();
    assert_eq!(bytes.len() as u64, s.saved_bytes().unwrap());
    bytes
}

#[test]
fn a_loaded_session_goes_on_as_the_saved_one() {
    let demo = Demo::new();
    for (i, params) in KINDS.into_iter().enumerate() {
        let mut s = demo.open(params);
        // Before anything has happened.
        let mut early = Session::load_bytes(demo.options(&[]), &saved(&s)).unwrap();
        let want = chat(&mut s, "What is the capital of France?");
        assert_eq!(chat(&mut early, "What is the capital of France?"), want);
        let bytes = saved(&s);
        // Saving changes nothing, and is the same each time, also of what was loaded.
        assert!(bytes == saved(&s));
        let mut options = demo.options(&[]);
        options.thread_count = 3;
        // The model has another id now, which the guest need not know.
        options.model_id = 99;
        let mut t = Session::load_bytes(options, &bytes).unwrap();
        assert!(bytes == saved(&t));
        assert_eq!(logits(&s), logits(&t));
        let (a, b) = (s.stats(), t.stats());
        assert_eq!(
            (
                a.kv_bytes,
                a.buffer_bytes,
                a.scratch_bytes,
                a.guest_linear_memory_bytes
            ),
            (
                b.kv_bytes,
                b.buffer_bytes,
                b.scratch_bytes,
                b.guest_linear_memory_bytes
            )
        );
        goes_on_equally(&mut s, &mut t, &std::format!("kind {i}"));
        // Back, and once more from there.
        for x in [&mut s, &mut t] {
            x.rewind(20).unwrap();
        }
        let mut u = Session::load_bytes(demo.options(&[]), &saved(&t)).unwrap();
        assert!(u.logits(&mut [0.0; 4096]).is_err());
        goes_on_equally(&mut s, &mut u, &std::format!("kind {i}, rewound"));
    }
}

#[test]
fn a_state_loads_on_another_backend() {
    let demo = Demo::new();
    let mut s = demo.open(&[]);
    chat(&mut s, "What is the capital of France?");
    let mut options = demo.options(&[]);
    let backends = Backends::new(&options.platform).unwrap();
    options.backend = backends.select(Some("reference")).unwrap();
    let mut t = Session::load_bytes(options, &saved(&s)).unwrap();
    goes_on_equally(&mut s, &mut t, "reference");
}

#[test]
fn foreign_cut_and_damaged_states_are_refused() {
    let demo = Demo::new();
    let mut s = demo.open(&[("ctx", "64"), ("n_predict", "3")]);
    chat(&mut s, "Hello");
    let bytes = saved(&s);
    let status = |o: Options, b: &[u8]| Session::load_bytes(o, b).err().map(|e| e.status());
    let open = || demo.options(&[("ctx", "64")]);
    assert_eq!(status(open(), &bytes), None);
    for n in (0..bytes.len())
        .step_by(997)
        .chain([7, 8, 39, 40, bytes.len() - 1])
    {
        assert_eq!(
            status(open(), &bytes[..n]),
            Some(Status::Format),
            "cut at {n}"
        );
        let mut bad = bytes.clone();
        bad[n] ^= 0x10;
        assert_eq!(status(open(), &bad), Some(Status::Format), "damaged at {n}");
    }
    let mut long = bytes.clone();
    long.push(0);
    assert_eq!(status(open(), &long), Some(Status::Format));
    // Another model, another guest, another version: the checksum is right.
    let mut o = open();
    o.model = options(&demo.guest).model;
    assert_eq!(status(o, &bytes), Some(Status::InvalidArgument));
    let mut o = open();
    o.guest = stepping(1, 1, 4);
    assert_eq!(status(o, &bytes), Some(Status::InvalidArgument));
    let mut newer = bytes.clone();
    newer[8] = 2;
    sign(&mut newer);
    assert_eq!(status(open(), &newer), Some(Status::Unsupported));
    // Limits hold.
    for limit in 0..4 {
        let mut o = open();
        let l = &mut o.limits;
        *[
            &mut l.guest_memory_bytes,
            &mut l.buffer_bytes,
            &mut l.kv_bytes,
            &mut l.scratch_bytes,
        ][limit] = 1000;
        let e = Session::load_bytes(o, &bytes).err().unwrap();
        assert_eq!(e.status(), Status::Limit, "limit {limit}");
        // Which field was too small is said.
        let field = [
            "max_guest_memory_bytes",
            "max_buffer_bytes",
            "max_kv_bytes",
            "max_scratch_bytes",
        ][limit];
        assert!(e.message().contains(field), "{e}");
    }
}

/// Notes what it is told, and gives up at the number in `ctx`.
unsafe extern "C" fn watch(ctx: *mut c_void, done: u64, total: u64) -> i32 {
    TOLD.with_borrow_mut(|t| t.push((done, total)));
    i32::from(done as usize >= ctx as usize)
}

std::thread_local! {
    static TOLD: core::cell::RefCell<Vec<(u64, u64)>> = const { core::cell::RefCell::new(vec![]) };
}

#[test]
fn a_prompt_can_be_watched_and_given_up() {
    let demo = Demo::new();
    let tokens: Vec<u8> = (0..100_u32).flat_map(|_| 261_u32.to_le_bytes()).collect();
    for give_up in [1000_usize, 40, 100, 0] {
        let mut o = demo.options(&[("n_batch", "20"), ("n_predict", "2"), ("ignore_eos", "1")]);
        o.watch = Some(ProgressSink {
            call: watch,
            ctx: give_up as *mut c_void,
        });
        let mut s = Session::open(o).unwrap();
        s.prompt(InputKind::Ids, &tokens).unwrap();
        let mut count = 0;
        let end = loop {
            match s.poll(0).unwrap() {
                Event::Token(_) => count += 1,
                Event::Done(reason) => break reason,
                Event::Again => {}
            }
        };
        let told: Vec<_> = TOLD.take().iter().map(|t| t.0).collect();
        let (want, tokens, last): (&[u64], _, _) = match give_up {
            1000 => (&[0, 20, 40, 60, 80, 100], 2, DoneReason::Length),
            // The first token is there already when the turn ends.
            100 => (&[0, 20, 40, 60, 80, 100], 1, DoneReason::Cancelled),
            40 => (&[0, 20, 40], 0, DoneReason::Cancelled),
            _ => (&[0], 0, DoneReason::Cancelled),
        };
        assert_eq!(
            (told.as_slice(), count, end),
            (want, tokens, last),
            "{give_up}"
        );
        // It is a turn cancelled, and nothing worse; what is in stays in.
        assert_eq!(s.position() as usize, give_up.min(101));
        s.prompt(InputKind::Ids, &[9, 1, 0, 0]).unwrap();
        let next = s.poll(0).unwrap();
        assert!(matches!(
            next,
            Event::Token(_) | Event::Done(DoneReason::Cancelled)
        ));
        TOLD.take();
    }
}

std::thread_local! {
    /// Bytes that this thread has had of `counting_alloc`.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

unsafe extern "C" fn counting_alloc(_: *mut c_void, bytes: usize, align: usize) -> *mut c_void {
    ALLOCATED.set(ALLOCATED.get() + bytes);
    // SAFETY: a valid layout of a size that is not zero.
    unsafe { std::alloc::alloc(std::alloc::Layout::from_size_align(bytes, align).unwrap()) }.cast()
}

#[test]
fn a_plan_is_what_is_used_then() {
    let demo = Demo::new();
    for params in KINDS {
        let mut o = demo.options(params);
        let mut table = super::tests::platform_table();
        table.alloc = Some(counting_alloc);
        // SAFETY: the table keeps its contract.
        o.platform = unsafe { Platform::from_table(&table) }.unwrap();
        o.backend = Backends::new(&o.platform).unwrap().select(None).unwrap();
        ALLOCATED.set(0);
        let plan = Session::plan(o, u32::MAX).unwrap();
        // Nothing was made of what was planned.
        let made = ALLOCATED.get() as u64;
        assert!(made < plan.scratch_bytes / 4, "{made}: {plan:?}");
        let mut s = demo.open(params);
        let opened = s.stats();
        assert_eq!(
            plan.guest_linear_memory_bytes,
            opened.guest_linear_memory_bytes
        );
        assert_eq!(
            (plan.max_positions, plan.guest_linear_memory_limit),
            (256, 16 << 20)
        );
        chat(&mut s, "What is the capital of France?");
        let at = s.position();
        let now = Session::plan(demo.options(params), at).unwrap();
        assert_eq!(now.kv_bytes, s.stats().kv_bytes);
        assert_eq!(
            s.stats().kv_bytes,
            u64::from(at.div_ceil(64)) * plan.kv_page_bytes
        );
        // To the last position.
        s.rewind(at).unwrap();
        s.set_param("n_predict", Some("0")).unwrap();
        ids(&mut s, &vec![261; 256 - at as usize]);
        assert_eq!(s.position(), 256);
        let full = s.stats();
        assert_eq!(
            (plan.buffer_bytes, plan.scratch_bytes, plan.kv_bytes),
            (full.buffer_bytes, full.scratch_bytes, full.kv_bytes)
        );
        assert!(full.guest_linear_memory_bytes <= plan.guest_linear_memory_limit);
    }
    // Limits are those of opening.
    let mut o = demo.options(&[]);
    o.limits.scratch_bytes = 1000;
    let e = Session::plan(o, 1).unwrap_err();
    assert_eq!(e.status(), Status::Limit);
    assert!(e.message().contains("max_scratch_bytes"), "{e}");
}

/// What second picks take is in the plan, and there before one is made.
#[test]
fn a_plan_has_what_a_grammar_takes() {
    let demo = Demo::new();
    let grammar = ("grammar", "root ::= [0-9]{8}");
    for sampling in [
        &[][..],
        &[("temp", "0.8"), ("repeat_penalty", "1.3")],
        &[("temp", "0.8"), ("top_k", "0")],
    ] {
        let params = [sampling, &[grammar]].concat();
        let plan = Session::plan(demo.options(&params), 1).unwrap();
        let plain = Session::plan(demo.options(sampling), 1).unwrap();
        assert!(plain.buffer_bytes < plan.buffer_bytes);
        let digits = |s: &mut Session| {
            let text = chat(s, "What is the capital of France?").1;
            assert!(text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()));
            let used = s.stats();
            assert_eq!(used.buffer_bytes, plan.buffer_bytes, "{params:?}");
            assert_eq!(used.scratch_bytes, plan.scratch_bytes, "{params:?}");
        };
        digits(&mut demo.open(&params));
        // A limit that is too small is met when the session opens,
        let tight = |params: &[(&str, &str)]| {
            let mut o = demo.options(params);
            o.limits.buffer_bytes = plan.buffer_bytes - 1;
            Session::open(o)
        };
        let e = tight(&params).err().unwrap();
        assert_eq!(e.status(), Status::Limit);
        assert!(e.message().contains("max_buffer_bytes"), "{e}");
        // or, of a grammar that is set later, when a turn begins; and the session goes on.
        let mut s = tight(sampling).unwrap();
        s.set_param(grammar.0, Some(grammar.1)).unwrap();
        let e = s.prompt(InputKind::Text, b"x").and_then(|()| s.poll(0));
        assert_eq!(e.err().unwrap().status(), Status::Limit);
        s.set_param(grammar.0, None).unwrap();
        chat(&mut s, "What is the capital of France?");
        // One that has the room has the same in the end.
        let mut s = demo.open(sampling);
        s.set_param(grammar.0, Some(grammar.1)).unwrap();
        digits(&mut s);
    }
}

#[test]
fn the_probability_of_a_token_is_that_of_the_logits() {
    let demo = Demo::new();
    for params in KINDS {
        let mut s = demo.open(params);
        let turn = |s: &mut Session| {
            let mut seen: Vec<(i32, Option<f32>, Vec<u32>)> = vec![];
            s.prompt(InputKind::Chat, b"What is the capital of France?")
                .unwrap();
            loop {
                match s.poll(0).unwrap() {
                    Event::Token(t) => seen.push((t, s.logprob(), logits(s))),
                    Event::Done(_) => return seen,
                    Event::Again => {}
                }
            }
        };
        let plain = turn(&mut s);
        assert!(plain.iter().all(|t| t.1.is_none()));
        s.rewind(0).unwrap();
        s.set_param("logprobs", Some("1")).unwrap();
        let said = turn(&mut s);
        assert!(said.len() > 3);
        for ((token, value, logits), (same, _, _)) in said.iter().zip(&plain) {
            assert_eq!(token, same, "asking changes nothing");
            if *token < 0 {
                assert_eq!(*value, None);
                continue;
            }
            let x: Vec<f64> = logits.iter().map(|b| f32::from_bits(*b).into()).collect();
            let top = x.iter().copied().fold(f64::MIN, f64::max);
            let sum: f64 = x.iter().map(|v| (v - top).exp()).sum();
            let want = x[*token as usize] - top - sum.ln();
            let got = f64::from(value.unwrap());
            assert!((got - want).abs() < 1e-4, "{token}: {got}, not {want}");
        }
        assert!(said.iter().any(|t| t.1.is_some_and(|v| v < 0.0)));
    }
}

/// Makes the checksum right again.
fn sign(state: &mut [u8]) {
    use sha2::Digest;
    let (body, sum) = state.split_last_chunk_mut::<32>().unwrap();
    *sum = sha2::Sha256::digest(&*body).into();
}

#[test]
fn made_up_states_do_no_harm() {
    let demo = Demo::new();
    let mut s = demo.open(&[("ctx", "64"), ("n_predict", "3"), ("temp", "0.5")]);
    chat(&mut s, "Hello");
    let bytes = saved(&s);
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as usize
    };
    let (mut loaded, mut refused) = (0, 0);
    // Where the structure is, each word by itself; anywhere, several at once.
    for round in 0..700 {
        let mut bad = bytes.clone();
        let places = if round < 400 { 1 } else { 1 + next() % 8 };
        for _ in 0..places {
            let at = match round {
                0..200 => round + 8,
                200..400 => 8 + next() % 2000,
                _ => next() % (bad.len() - 40),
            };
            let word = match next() % 4 {
                0 => u32::MAX,
                1 => next() as u32,
                2 => next() as u32 % 4,
                _ => 1 << (next() % 32),
            };
            bad[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        sign(&mut bad);
        let mut o = demo.options(&[("ctx", "64")]);
        o.limits.guest_memory_bytes = 8 << 20;
        o.limits.buffer_bytes = 8 << 20;
        o.limits.kv_bytes = 8 << 20;
        o.limits.scratch_bytes = 8 << 20;
        o.limits.fuel_per_event = 20_000_000;
        let Ok(mut s) = Session::load_bytes(o, &bad) else {
            refused += 1;
            continue;
        };
        loaded += 1;
        if s.prompt(InputKind::Chat, b"Hi").is_ok() {
            for _ in 0..40 {
                if !matches!(s.poll(0), Ok(Event::Again | Event::Token(_))) {
                    break;
                }
            }
        }
        let _ = s.rewind(1);
    }
    assert!(loaded > 50 && refused > 50, "{loaded} {refused}");
}

#[test]
fn what_cannot_be_taken_out_of_a_session_is_not_saved() {
    let demo = Demo::new();
    let mut s = demo.open(&[]);
    let status = |s: &Session| {
        let fork = s.fork().err().map(|e| e.status());
        assert_eq!(s.saved_bytes().err().map(|e| e.status()), fork);
        fork
    };
    assert_eq!(status(&s), None);
    s.prompt(InputKind::Chat, b"Hello").unwrap();
    assert_eq!(status(&s), Some(Status::State));
    assert!(matches!(s.poll(0).unwrap(), Event::Token(_)));
    assert_eq!(status(&s), Some(Status::State));
    while s.is_busy() {
        s.poll(0).unwrap();
    }
    assert_eq!(status(&s), None);
    // What a sink or a source says is what comes out.
    let full = |_: &[u8]| Err(crate::err!(Io, "disk full"));
    assert_eq!(s.save(&mut { full }).unwrap_err().status(), Status::Io);
    let gone = |_: &mut [u8]| Err(crate::err!(Io, "no disk"));
    let got = Session::load(demo.options(&[]), &mut { gone });
    assert_eq!(got.err().map(|e| e.status()), Some(Status::Io));
    // A model of the guest's own.
    let mut o = options(&newer("", "0"));
    o.limits.guest_model_bytes = 1 << 20;
    let mut s = Session::open(o).unwrap();
    let models = &mut s.instance.host_mut().models;
    models.register(&super::tests::model_bytes(), 9).unwrap();
    assert_eq!(status(&s), Some(Status::Unsupported));
    // A global that is no number.
    let g = crate::guest::tests::guest(
        "(global (mut externref) (ref.null extern))",
        "(i32.const 0)",
    );
    let s = Session::open(options(&g)).unwrap();
    assert_eq!(status(&s), Some(Status::Unsupported));
}

/// A guest that counts its turns in globals of every type, and says the count.
#[test]
fn globals_are_part_of_the_state() {
    let more = "(global $a (mut i32) (i32.const 5)) (global i64 (i64.const 3)) (global $b (mut i64) (i64.const -1))
                (global $c (mut f32) (f32.const 0.5)) (global $d (mut f64) (f64.const -2))";
    let body = "(if (i32.ne (local.get $kind) (i32.const 2)) (then (return (i32.const 0))))
        (global.set $a (i32.add (global.get $a) (i32.const 1)))
        (global.set $b (i64.sub (global.get $b) (i64.const 0x100000000)))
        (global.set $c (f32.add (global.get $c) (f32.const 1)))
        (global.set $d (f64.sub (global.get $d) (f64.const 1)))
        (drop (call $realm_emit (global.get $a) (i32.const 0) (i32.const 0)))
        (drop (call $realm_emit (i32.wrap_i64 (i64.shr_s (i64.sub (i64.const 0) (global.get $b)) (i64.const 32))) (i32.const 0) (i32.const 0)))
        (drop (call $realm_emit (i32.trunc_f32_s (global.get $c)) (i32.const 0) (i32.const 0)))
        (drop (call $realm_emit (i32.trunc_f64_s (f64.neg (global.get $d))) (i32.const 0) (i32.const 0)))
        (i32.const 1)";
    let g = crate::guest::tests::guest(more, body);
    let turn = |s: &mut Session| {
        let mut tokens = vec![];
        s.prompt(InputKind::Text, b"x").unwrap();
        while let Event::Token(t) = s.poll(0).unwrap() {
            tokens.push(t);
        }
        tokens
    };
    let mut s = Session::open(options(&g)).unwrap();
    assert_eq!(turn(&mut s), [6, 1, 1, 3]);
    assert_eq!(turn(&mut s), [7, 2, 2, 4]);
    let mut loaded = Session::load_bytes(options(&g), &saved(&s)).unwrap();
    let mut forked = s.fork().unwrap();
    for x in [&mut loaded, &mut forked, &mut s] {
        assert_eq!(turn(x), [8, 3, 3, 5]);
    }
}

#[test]
fn a_fork_is_a_separate_session() {
    let demo = Demo::new();
    for (i, params) in KINDS.into_iter().enumerate() {
        let open = || {
            let mut s = demo.open(params);
            let shown = chat(&mut s, "What is the capital of France?");
            (s, shown)
        };
        // What two sessions do that never knew of each other.
        let ((mut one, shown), (mut other, _)) = (open(), open());
        let italy = chat(&mut one, "And of Italy?");
        let spain = chat(&mut other, "And of Spain? Tell me at once, and at length.");

        let (mut a, _) = open();
        let mut b = a.fork().unwrap();
        let mut c = b.fork().unwrap();
        assert_eq!(logits(&b), shown.2, "kind {i}");
        assert_eq!(
            chat(&mut b, "And of Spain? Tell me at once, and at length."),
            spain
        );
        assert_eq!(chat(&mut a, "And of Italy?"), italy);
        assert_eq!(a.stats().kv_bytes, one.stats().kv_bytes);
        // The first of the two is gone; the third has seen nothing of all that.
        drop(a);
        assert_eq!(chat(&mut c, "And of Italy?"), italy);
        // A rewound one writes to pages that others still have.
        let at = 10;
        for x in [&mut b, &mut other] {
            x.rewind(at).unwrap();
        }
        let mut d = c.fork().unwrap();
        goes_on_equally(&mut b, &mut other, "rewound");
        goes_on_equally(&mut c, &mut one, "third");
        drop(c);
        let mut e = demo.open(params);
        chat(&mut e, "What is the capital of France?");
        chat(&mut e, "And of Italy?");
        goes_on_equally(&mut d, &mut e, "fourth");
    }
}

#[test]
fn forks_share_pages_until_they_write() {
    let demo = Demo::new();
    let mut s = demo.open(&[("n_predict", "0")]);
    let tokens: Vec<u32> = (260..260 + 150).map(|t| 260 + t % 30).collect();
    ids(&mut s, &tokens);
    let handles = |s: &Session| -> Vec<usize> {
        let memory = &s.instance.host().compute.memory;
        memory
            .pages(0)
            .0
            .iter()
            .map(|p| p.handle() as usize)
            .collect()
    };
    let mut t = s.fork().unwrap();
    let before = handles(&s);
    assert_eq!((before.len(), handles(&t)), (3, before.clone()));
    ids(&mut t, &[261]);
    // Only the page that was written to is another.
    let after = handles(&t);
    assert_eq!(after[..2], before[..2]);
    assert_ne!(after[2], before[2]);
    assert_eq!(handles(&s), before);
    // The other has the third page for itself now, and writes to it as it is.
    ids(&mut s, &[262]);
    assert_eq!(handles(&s), before);
    // Forks run on other threads.
    let other = std::thread::spawn(move || ids(&mut t, &[263; 70]));
    ids(&mut s, &[263; 70]);
    other.join().unwrap();
}

#[test]
fn forks_polled_together_are_as_each_alone() {
    let demo = Demo::new();
    let mut s = demo.open(&[("n_predict", "12"), ("ignore_eos", "1")]);
    chat(&mut s, "What is the capital of France?");
    let questions = [
        "And of Italy?",
        "Hello",
        "And of Spain? Tell me.",
        "And of Italy?",
    ];
    let want: Vec<Shown> = questions
        .iter()
        .map(|q| chat(&mut s.fork().unwrap(), q))
        .collect();
    for budget in [0, 50] {
        let mut forks: Vec<Session> = questions.iter().map(|_| s.fork().unwrap()).collect();
        for (fork, q) in forks.iter_mut().zip(questions) {
            fork.prompt(InputKind::Chat, q.as_bytes()).unwrap();
        }
        let mut shown: Vec<Shown> = vec![Shown::default(); questions.len()];
        while forks.iter().any(Session::is_busy) {
            let busy: Vec<usize> = (0..forks.len()).filter(|i| forks[*i].is_busy()).collect();
            let mut refs: Vec<&mut Session> = forks.iter_mut().filter(|f| f.is_busy()).collect();
            super::many::poll_many(&mut refs, budget, |i, s, got| {
                let to = &mut shown[busy[i]];
                match got.unwrap() {
                    Event::Token(t) => {
                        to.0.push(t);
                        to.1.push_str(s.text());
                    }
                    Event::Done(_) => to.2 = logits(s),
                    Event::Again => {}
                }
            });
        }
        assert_eq!(shown, want, "budget {budget}");
    }
}
