//! Whole sessions with small guests: a turn's life, budgets, limits, cancellation, hostile guests.
//!
//! One long file, because the tests share the guests and the polling loop at its top.

use super::limits::Limits;
use super::params::Params;
use super::{DoneReason, Event, InputKind, Options, Session};
use crate::backend::host::Backends;
use crate::error::{Result, Status};
use crate::gguf::write::Writer;
use crate::guest::LoadedGuest;
use crate::guest::tests::{guest, imports, wat};
use crate::platform::{Platform, REALM_ABI_VERSION, realm_platform};
use crate::store::{Store, StoreRef};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::c_void;
use std::thread;
use std::time::{Duration, Instant};

pub const MODEL: u32 = 7;

/// A model with a vocabulary of bytes and one tensor.
pub fn model_bytes() -> Vec<u8> {
    let mut names: Vec<String> = ["<unk>", "<s>", "</s>"].map(Into::into).into();
    names.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    let types: Vec<i32> = (0..259).map(|i| if i < 3 { 3 } else { 6 }).collect();
    Writer::new()
        .str("general.architecture", "toy")
        .u32("toy.block_count", 3)
        .f32("toy.eps", 0.5)
        .bool("tokenizer.ggml.add_space_prefix", false)
        .str("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &names)
        .f32s("tokenizer.ggml.scores", &[0.0; 259])
        .i32s("tokenizer.ggml.token_type", &types)
        .tensor_f32("w", &[4, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
        .bytes()
}

pub fn store() -> StoreRef {
    let store = Store::new();
    store
        .register_copy(&[&model_bytes()], MODEL, &crate::gguf::Limits::default())
        .unwrap();
    StoreRef::Own(Arc::new(store))
}

unsafe extern "C" fn clock(_: *mut c_void) -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

unsafe extern "C" fn alloc_(_: *mut c_void, bytes: usize, align: usize) -> *mut c_void {
    // SAFETY: a valid layout of a size that is not zero.
    unsafe { std::alloc::alloc(std::alloc::Layout::from_size_align(bytes, align).unwrap()) }.cast()
}

unsafe extern "C" fn free_(_: *mut c_void, p: *mut c_void, bytes: usize, align: usize) {
    // SAFETY: what `alloc_` was given.
    unsafe {
        std::alloc::dealloc(
            p.cast(),
            std::alloc::Layout::from_size_align(bytes, align).unwrap(),
        );
    }
}

/// The standard allocator and a clock.
pub fn platform_table() -> realm_platform {
    realm_platform {
        struct_size: size_of::<realm_platform>() as u32,
        abi_version: REALM_ABI_VERSION,
        next: core::ptr::null(),
        ctx: core::ptr::null_mut(),
        alloc: Some(alloc_),
        free: Some(free_),
        clock_ns: Some(clock),
        log: None,
        parallel_for: None,
        parallel_width: None,
    }
}

pub fn options(guest: &Arc<LoadedGuest>) -> Options {
    let store = store();
    // SAFETY: the table keeps its contract.
    let platform = unsafe { Platform::from_table(&platform_table()) }.unwrap();
    Options {
        guest: guest.clone(),
        model: store.open(MODEL).unwrap(),
        granted: Vec::new(),
        store,
        model_id: MODEL,
        backend: Backends::new(&platform).unwrap().select(None).unwrap(),
        platform,
        params: Params::new(),
        limits: Limits::default(),
        grant_clock: false,
        thread_count: 1,
        log: None,
        watch: None,
    }
}

fn open(more: &str, body: &str) -> Result<Session> {
    Session::open(options(&guest(more, body)))
}

/// Opens a session whose guest runs `body` at PROMPT, begins a turn, and polls once.
fn on_prompt(body: &str) -> (Session, Result<Event>) {
    let body = format!(
        "(if (i32.eq (local.get $kind) (i32.const 1)) (then (return (i32.const 0)))) {body}"
    );
    let mut s = open("(data (i32.const 0) \"abcdefgh\")", &body).unwrap();
    s.prompt(InputKind::Text, b"hello").unwrap();
    let e = s.poll(0);
    (s, e)
}

fn returns(body: &str) -> i32 {
    // The value comes back as the token of an event.
    let (_, e) = on_prompt(&format!(
        "(drop (call $realm_emit (i32.add (i32.const 1000) {body}) (i32.const 0) (i32.const 0))) (i32.const 2)"
    ));
    match e {
        Ok(Event::Token(t)) => t - 1000,
        other => panic!("{other:?}"),
    }
}

/// The bytes of a program: buffer 0 = buffer 0 · 1, with one register that nothing uses.
fn scale_program() -> String {
    let mut words = vec![0x4752_5052_u32, 1 << 16, 1, 0, 1, MODEL, 0, 0];
    words.extend([0, 1 << 20, 0, 0]);
    let mut op = vec![0_u32; 32];
    op[0] = 12;
    op[1] = 3 << 28;
    op[2] = 3 << 28;
    op[12] = 1.0_f32.to_bits();
    words.extend(op);
    words
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .map(|b| format!("\\{b:02x}"))
        .collect()
}

/// A guest that runs a step per token: `tokens` of them, each step replayed `repeat` times.
pub fn stepping(tokens: u32, repeat: u32, cols: u32) -> Arc<LoadedGuest> {
    publishing(1, tokens, repeat, cols)
}

/// The same, which publishes logits (1) or an embedding (2).
fn publishing(what: u32, tokens: u32, repeat: u32, cols: u32) -> Arc<LoadedGuest> {
    let more = format!(
        "(data (i32.const 1024) \"{}\") (data (i32.const 16) \"ab\\c3\\bc\")
         (global $left (mut i32) (i32.const 0))
         (func $submit (result i32)
           (call $realm_step_submit (i32.const 0) (i32.const 0) (i32.const 1) (i32.const {repeat})))",
        scale_program()
    );
    let body = format!(
        "(if (i32.eq (local.get $kind) (i32.const 1)) (then
           (drop (call $realm_buffer_create (i32.const 0) (i32.const {cols}) (i32.const 1)))
           (drop (call $realm_publish (i32.const {what}) (i32.const 0)))
           (return (call $realm_program_create (i32.const 1024) (i32.const 176)))))
         (if (i32.eq (local.get $kind) (i32.const 4)) (then (return (i32.const 0))))
         (if (i32.eq (local.get $kind) (i32.const 2)) (then
           (global.set $left (i32.const {tokens}))
           (return (call $submit))))
         (if (local.get $a) (then (return (local.get $a))))
         (drop (call $realm_progress (i32.const 5) (i32.const 5)))
         (if (i32.eqz (global.get $left)) (then (return (i32.const 3))))
         (drop (call $realm_emit (global.get $left) (i32.const 16) (i32.const 4)))
         (global.set $left (i32.sub (global.get $left) (i32.const 1)))
         (call $submit)"
    );
    guest(&more, &body)
}

/// A guest that submits a step at PROMPT, and then does this.
pub fn after_a_step(body: &str) -> Arc<LoadedGuest> {
    let more = format!("(data (i32.const 1024) \"{}\")", scale_program());
    let body = format!(
        "(if (i32.eq (local.get $kind) (i32.const 1)) (then
           (drop (call $realm_buffer_create (i32.const 0) (i32.const 4) (i32.const 1)))
           (return (call $realm_program_create (i32.const 1024) (i32.const 176)))))
         (if (i32.eq (local.get $kind) (i32.const 2)) (then
           (return (call $realm_step_submit (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)))))
         {body}"
    );
    guest(&more, &body)
}

fn run(s: &mut Session, budget: u64) -> (Vec<i32>, DoneReason, usize) {
    let (mut tokens, mut again) = (vec![], 0);
    loop {
        match s.poll(budget).unwrap() {
            Event::Again => again += 1,
            Event::Token(t) => {
                assert_eq!(s.text(), "abü");
                tokens.push(t);
            }
            Event::Done(reason) => return (tokens, reason, again),
        }
    }
}

#[test]
fn sessions_move_between_threads() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_send::<Session>();
    is_shared::<LoadedGuest>();
}

#[test]
fn an_embedding_is_of_the_last_turn_or_not_there() {
    let mut s = Session::open(options(&publishing(2, 3, 1, 4))).unwrap();
    let there = |s: &Session| s.embedding(&mut [1.0; 4]).map_err(|e| e.status());
    assert_eq!(there(&s), Ok(()), "zeros");
    for _ in 0..2 {
        s.prompt(InputKind::Text, b"one").unwrap();
        assert_eq!(there(&s), Err(Status::State), "it has begun");
        // A step has run, and not the last.
        assert_eq!(s.poll(0).unwrap(), Event::Token(3));
        assert_eq!(there(&s), Err(Status::State));
        assert_eq!(run(&mut s, 0).0, [2, 1]);
        assert_eq!(there(&s), Ok(()));
    }
    // One that was cancelled leaves none, before its first event and later.
    for polls in [0, 1] {
        s.prompt(InputKind::Text, b"two").unwrap();
        for _ in 0..polls {
            s.poll(0).unwrap();
        }
        s.cancel();
        while s.poll(0).unwrap() != Event::Done(DoneReason::Cancelled) {}
        assert_eq!(there(&s), Err(Status::State));
    }
    s.prompt(InputKind::Text, b"three").unwrap();
    run(&mut s, 0);
    assert_eq!(there(&s), Ok(()));
}

#[test]
fn a_turn_from_prompt_to_done() {
    let mut s = Session::open(options(&stepping(3, 1, 4))).unwrap();
    assert_eq!(s.poll(0).unwrap_err().status(), Status::State);
    for turn in 1..4 {
        s.prompt(InputKind::Chat, b"hi").unwrap();
        assert_eq!(
            s.prompt(InputKind::Chat, b"hi").unwrap_err().status(),
            Status::State
        );
        assert_eq!(run(&mut s, 0), (vec![3, 2, 1], DoneReason::Length, 0));
        assert_eq!(s.poll(0).unwrap_err().status(), Status::State);
        let stats = s.stats();
        assert_eq!(stats.generated_tokens, 3 * turn);
        assert_eq!(stats.decode_tokens, 2 * turn);
        assert_eq!(stats.prompt_tokens, 5 * turn);
        assert_eq!(stats.guest_events, 1 + 5 * turn);
        assert!(stats.guest_decode_ns > 0 && stats.guest_decode_ns < stats.guest_ns);
        assert!(stats.prefill_ns > 0 && stats.decode_ns > 0 && stats.step_ns > 0);
        assert_eq!(stats.guest_linear_memory_bytes, 131_072);
    }
    assert_eq!(s.progress(), (5, 5));
    let mut logits = [1.0; 5];
    assert_eq!(s.logits_len().unwrap(), 4);
    s.logits(&mut logits).unwrap();
    assert_eq!(logits, [0.0, 0.0, 0.0, 0.0, 1.0]);
    assert!(s.logits(&mut [0.0; 3]).is_err());
}

#[test]
fn a_turn_is_the_same_under_any_budget() {
    for budget in [1, 50, 1000] {
        let mut s = Session::open(options(&stepping(3, 65_536, 32))).unwrap();
        s.prompt(InputKind::Text, b"hi").unwrap();
        let (tokens, reason, again) = run(&mut s, budget);
        assert_eq!((tokens, reason), (vec![3, 2, 1], DoneReason::Length));
        assert!(again > 0, "budget {budget}");
    }
}

#[test]
fn an_endless_guest_is_sliced_and_then_stopped() {
    let mut o = options(&after_a_step("(loop $l (br $l)) (i32.const 0)"));
    o.limits.fuel_per_event = 20_000_000;
    let mut s = Session::open(o).unwrap();
    s.prompt(InputKind::Text, b"hi").unwrap();
    let mut again = 0;
    let e = loop {
        match s.poll(100) {
            Ok(Event::Again) => again += 1,
            Ok(e) => panic!("{e:?}"),
            Err(e) => break e,
        }
    };
    assert!(again > 3, "{again}");
    assert_eq!(e.status(), Status::Guest);
    // The session is failed, and says why.
    for e in [
        s.poll(0).unwrap_err(),
        s.prompt(InputKind::Text, b"x").unwrap_err(),
        s.set_param("a", Some("b")).unwrap_err(),
        s.logits(&mut [0.0]).unwrap_err(),
    ] {
        assert_eq!(e.status(), Status::Guest);
        assert!(
            e.message()
                .contains("fuel for one event, 20000000 (fuel_per_event)"),
            "{e}"
        );
    }
    s.stats();
}

#[test]
fn endless_opening_is_stopped_too() {
    let g = guest("", "(loop $l (br $l)) (i32.const 0)");
    let mut o = options(&g);
    o.limits.fuel_per_event = 1_000_000;
    assert_eq!(Session::open(o).err().unwrap().status(), Status::Limit);
}

#[test]
fn traps_fail_the_session() {
    for (body, what) in [
        ("unreachable", "unreachable"),
        (
            "(drop (call $realm_fail (i32.const 8) (i32.const 4))) unreachable",
            "the guest trapped: oops",
        ),
        ("(i32.load (i32.const -1))", "out of bounds"),
        ("(i32.div_u (i32.const 1) (i32.const 0))", "divide by zero"),
        ("(call $down)", "stack"),
        ("(call_indirect (result i32) (i32.const 0))", ""),
    ] {
        let more =
            "(func $down (result i32) (i32.add (call $down) (i32.const 1))) (table 1 funcref)
                    (data (i32.const 8) \"oops\")";
        let body = format!(
            "(if (i32.eq (local.get $kind) (i32.const 1)) (then (return (i32.const 0)))) {body}"
        );
        let mut s = open(more, &body).unwrap();
        s.prompt(InputKind::Text, b"hi").unwrap();
        let e = s.poll(0).unwrap_err();
        assert_eq!(e.status(), Status::Guest, "{body}: {e}");
        assert!(e.message().contains(what), "{body}: {e}");
        assert_eq!(s.poll(0).unwrap_err(), e);
    }
}

#[test]
fn an_error_has_a_message_though_the_guest_says_an_empty_one() {
    let (s, e) = on_prompt("(drop (call $realm_fail (i32.const 0) (i32.const 0))) (i32.const -6)");
    let e = e.unwrap_err();
    assert_eq!((e.status(), s.check()), (Status::Unsupported, Ok(())));
    assert!(e.message().contains("failed the turn"), "{e}");
}

#[test]
fn memory_is_bounded() {
    let g = guest(
        "",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (i32.const 0)",
    );
    let mut o = options(&g);
    o.limits.guest_memory_bytes = 1 << 20;
    let s = Session::open(o).unwrap();
    assert_eq!(s.stats().guest_linear_memory_bytes, 1 << 20);
    let mut o = options(&g);
    o.limits.guest_memory_bytes = 65_536;
    let e = Session::open(o).err().unwrap();
    assert_eq!(e.status(), Status::Limit, "{e}");
    // Bulk operations burn fuel in proportion, and are sliced.
    let g = guest(
        "",
        "(if (i32.eq (local.get $kind) (i32.const 1)) (then (return (i32.const 0)))) (loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 131072)) (br $l)) (i32.const 0)",
    );
    let mut o = options(&g);
    o.limits.fuel_per_event = 3_000_000;
    let mut s = Session::open(o).unwrap();
    s.prompt(InputKind::Text, b"hi").unwrap();
    let e = loop {
        match s.poll(20) {
            Ok(e) => assert_eq!(e, Event::Again),
            Err(e) => break e,
        }
    };
    assert!(e.message().contains("fuel"), "{e}");
}

#[test]
fn versions_are_checked() {
    for (version, ok) in [
        (0, true),
        (1, true),
        (2, true),
        (3, false),
        (0x1_0000, false),
        (-1, false),
    ] {
        let bytes = wat::parse_str(format!(
            "(module (memory (export \"memory\") 1)
             (func (export \"realm_guest_abi\") (result i32) (i32.const {version}))
             (func (export \"realm_guest_event\") (param i32 i32 i32) (result i32) (i32.const 0)))"
        ))
        .unwrap();
        let got = Session::open(options(&LoadedGuest::load(&bytes).unwrap()));
        match got {
            Ok(_) => assert!(ok, "{version}"),
            Err(e) => assert_eq!((e.status(), ok), (Status::Unsupported, false), "{e}"),
        }
    }
    // Imports are not usable before the version is known.
    let bytes = wat::parse_str(format!(
        "(module {} (memory (export \"memory\") 1)
         (func (export \"realm_guest_abi\") (result i32) (i32.add (i32.const 9) (call $realm_emit (i32.const 1) (i32.const 0) (i32.const 0))))
         (func (export \"realm_guest_event\") (param i32 i32 i32) (result i32) (i32.const 0)))",
        imports()
    ))
    .unwrap();
    Session::open(options(&LoadedGuest::load(&bytes).unwrap())).unwrap();
}

#[test]
fn a_failed_turn_leaves_the_session_usable() {
    let (mut s, e) =
        on_prompt("(drop (call $realm_fail (i32.const 0) (i32.const 3))) (i32.const -6)");
    let e = e.unwrap_err();
    assert_eq!((e.status(), e.message()), (Status::Unsupported, "abc"));
    s.prompt(InputKind::Text, b"again").unwrap();
    assert!(s.poll(0).is_err());
    s.check().unwrap();
    // Without a message the last failed import speaks.
    let (_, e) = on_prompt(
        "(call $realm_param_get (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 0))",
    );
    let e = e.unwrap_err();
    assert_eq!(e.status(), Status::NotFound);
    assert!(e.message().contains("'ab'"), "{e}");
    // Numbers that are no status.
    let (s, e) = on_prompt("(i32.const -1000)");
    assert_eq!(e.unwrap_err().status(), Status::Guest);
    s.check().unwrap();
    // The same while opening.
    let e = open("", "(i32.const -6)").err().unwrap();
    assert_eq!(e.status(), Status::Unsupported);
    assert_eq!(
        open("", "(i32.const 1)").err().unwrap().status(),
        Status::Guest
    );
}

#[test]
fn broken_rules_fail_the_session() {
    let (s, e) = on_prompt("(i32.const 5)");
    assert_eq!(e.unwrap_err().status(), Status::Guest);
    assert!(s.check().is_err());
    // Ending the turn with a step booked.
    let g = guest(
        &format!("(data (i32.const 1024) \"{}\")", scale_program()),
        "(if (i32.eq (local.get $kind) (i32.const 1)) (then
           (drop (call $realm_buffer_create (i32.const 0) (i32.const 4) (i32.const 1)))
           (return (call $realm_program_create (i32.const 1024) (i32.const 176)))))
         (drop (call $realm_step_submit (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)))
         (i32.const 1)",
    );
    let mut s = Session::open(options(&g)).unwrap();
    s.prompt(InputKind::Text, b"hi").unwrap();
    assert_eq!(s.poll(0).unwrap_err().status(), Status::Guest);
    assert!(s.check().is_err());
}

#[test]
fn one_step_per_event_and_memory_stays_meanwhile() {
    let g = guest(
        &format!("(data (i32.const 1024) \"{}\")", scale_program()),
        "(local.set $n (i32.const 0))
         (if (i32.eq (local.get $kind) (i32.const 1)) (then
           (drop (call $realm_buffer_create (i32.const 0) (i32.const 4) (i32.const 1)))
           (if (i32.ne (call $realm_program_create (i32.const 1024) (i32.const 176)) (i32.const 0)) (then unreachable))
           ;; No step while opening: STATE.
           (if (i32.ne (call $realm_step_submit (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)) (i32.const -8)) (then unreachable))
           (return (i32.const 0))))
         (if (i32.eq (local.get $kind) (i32.const 3)) (then (return (i32.const 1))))
         (if (i32.ne (call $realm_step_submit (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)) (i32.const 0)) (then unreachable))
         (if (i32.ne (call $realm_step_submit (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)) (i32.const -8)) (then unreachable))
         (if (i32.ne (call $realm_buffer_create (i32.const 0) (i32.const 4) (i32.const 1)) (i32.const -8)) (then unreachable))
         (if (i32.ne (call $realm_program_create (i32.const 1024) (i32.const 176)) (i32.const -8)) (then unreachable))
         (if (i32.ne (call $realm_kv_truncate (i32.const 0)) (i32.const -8)) (then unreachable))
         (if (i32.ne (call $realm_program_destroy (i32.const 0)) (i32.const 0)) (then unreachable))
         (i32.const 0)",
    );
    let mut s = Session::open(options(&g)).unwrap();
    s.prompt(InputKind::Text, b"hi").unwrap();
    assert_eq!(s.poll(0).unwrap(), Event::Done(DoneReason::Eos));
}

#[test]
fn imports_answer_and_check() {
    let bad = Status::InvalidArgument as i32;
    let unsupported = Status::Unsupported as i32;
    let limit = Status::Limit as i32;
    let missing = Status::NotFound as i32;
    let small = Status::BufferTooSmall as i32;
    for (body, want) in [
        (
            "(call $realm_emit (i32.const 1) (i32.const -4) (i32.const 8))",
            bad,
        ),
        (
            "(call $realm_emit (i32.const 1) (i32.const 131072) (i32.const 1))",
            bad,
        ),
        (
            "(call $realm_emit (i32.const -2) (i32.const 0) (i32.const 1))",
            bad,
        ),
        (
            "(call $realm_log (i32.const 4) (i32.const 0) (i32.const 1))",
            bad,
        ),
        (
            "(call $realm_input_read (i32.const 0) (i32.const 16) (i32.const 100))",
            5,
        ),
        (
            "(call $realm_input_read (i32.const 3) (i32.const 16) (i32.const 100))",
            2,
        ),
        (
            "(call $realm_input_read (i32.const 6) (i32.const 16) (i32.const 100))",
            bad,
        ),
        (
            "(call $realm_param_key (i32.const 0) (i32.const 16) (i32.const 100))",
            missing,
        ),
        (
            "(call $realm_tensor_find (i32.const 7) (i32.const 0) (i32.const 1))",
            missing,
        ),
        (
            "(call $realm_tensor_find (i32.const 8) (i32.const 0) (i32.const 1))",
            missing,
        ),
        (
            "(call $realm_tensor_info (i32.const 7) (i32.const 0) (i32.const 16) (i32.const 40))",
            40,
        ),
        (
            "(call $realm_get_model_info (i32.const 7) (i32.const 16) (i32.const 0))",
            64,
        ),
        (
            "(call $realm_vocab_info (i32.const 7) (i32.const 16) (i32.const 28))",
            28,
        ),
        (
            "(call $realm_tokenize (i32.const 7) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 64) (i32.const 2))",
            4,
        ),
        (
            "(call $realm_tokenize (i32.const 7) (i32.const 0) (i32.const 4) (i32.const 1) (i32.const 64) (i32.const 2))",
            5,
        ),
        (
            "(call $realm_tokenize (i32.const 7) (i32.const 0) (i32.const 4) (i32.const 0) (i32.const 64) (i32.const 0x40000001))",
            bad,
        ),
        ("(call $realm_token_is_eog (i32.const 7) (i32.const 2))", 1),
        (
            "(call $realm_token_is_eog (i32.const 7) (i32.const 100))",
            0,
        ),
        (
            "(call $realm_detok_push (i32.const 100) (i32.const 16) (i32.const 256))",
            1,
        ),
        (
            "(call $realm_detok_push (i32.const 100) (i32.const 16) (i32.const 0))",
            small,
        ),
        (
            "(call $realm_detok_push (i32.const 9999) (i32.const 16) (i32.const 256))",
            missing,
        ),
        ("(call $realm_detok_flush (i32.const 16) (i32.const 0))", 0),
        (
            "(call $realm_buffer_create (i32.const 0) (i32.const 65536) (i32.const 65536))",
            limit,
        ),
        (
            "(call $realm_buffer_create (i32.const 0) (i32.const -1) (i32.const -1))",
            bad,
        ),
        (
            "(call $realm_buffer_create (i32.const 77) (i32.const 1) (i32.const 1))",
            unsupported,
        ),
        (
            "(call $realm_store_model (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 16))",
            limit,
        ),
        ("(call $realm_remove_model (i32.const 7))", missing),
        (
            "(call $realm_step_submit (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1))",
            missing,
        ),
        (
            "(call $realm_step_submit (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 1))",
            bad,
        ),
        ("(call $realm_publish (i32.const 1) (i32.const 0))", missing),
        ("(i32.wrap_i64 (call $realm_clock_ns))", 0),
    ] {
        assert_eq!(returns(body), want, "{body}");
    }
}

#[test]
fn metadata_and_tensors_reach_the_guest() {
    let more = "(data (i32.const 16) \"toy.block_count\") (data (i32.const 48) \"toy.eps\") (data (i32.const 64) \"w\")
                (data (i32.const 80) \"tokenizer.ggml.tokens\")";
    let body = "(if (i32.ne (call $realm_meta_get (i32.const 7) (i32.const 16) (i32.const 15) (i32.const -1) (i32.const 10) (i32.const 512) (i32.const 8)) (i32.const 8)) (then unreachable))
        (if (i64.ne (i64.load (i32.const 512)) (i64.const 3)) (then unreachable))
        (if (i32.ne (call $realm_meta_get (i32.const 7) (i32.const 48) (i32.const 7) (i32.const -1) (i32.const 4) (i32.const 512) (i32.const 8)) (i32.const -1)) (then unreachable))
        (if (i32.ne (call $realm_meta_get (i32.const 7) (i32.const 48) (i32.const 7) (i32.const -1) (i32.const 6) (i32.const 512) (i32.const 3)) (i32.const -12)) (then unreachable))
        (if (i32.ne (call $realm_meta_get (i32.const 7) (i32.const 48) (i32.const 7) (i32.const -1) (i32.const 12) (i32.const 512) (i32.const 8)) (i32.const 8)) (then unreachable))
        (if (f64.ne (f64.load (i32.const 512)) (f64.const 0.5)) (then unreachable))
        (if (i32.ne (call $realm_meta_get (i32.const 7) (i32.const 80) (i32.const 21) (i32.const -1) (i32.const 9) (i32.const 512) (i32.const 8)) (i32.const 8)) (then unreachable))
        (if (i32.ne (i32.load (i32.const 512)) (i32.const 259)) (then unreachable))
        (if (i32.ne (call $realm_meta_get (i32.const 7) (i32.const 80) (i32.const 21) (i32.const 1) (i32.const 8) (i32.const 512) (i32.const 2)) (i32.const 3)) (then unreachable))
        (if (i32.ne (i32.load16_u (i32.const 512)) (i32.const 0x733c)) (then unreachable))
        (if (i32.ne (call $realm_meta_get (i32.const 7) (i32.const 80) (i32.const 21) (i32.const 259) (i32.const 8) (i32.const 512) (i32.const 2)) (i32.const -3)) (then unreachable))
        (if (i32.ne (call $realm_get_tensor (i32.const 7) (i32.const 64) (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 513) (i32.const 16)) (i32.const 1)) (then unreachable))
        (if (f32.ne (f32.load (i32.const 525)) (f32.const 8)) (then unreachable))
        (if (i32.ne (call $realm_get_tensor (i32.const 7) (i32.const 64) (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 513) (i32.const 15)) (i32.const -12)) (then unreachable))
        (if (i32.ne (call $realm_get_tensor (i32.const 7) (i32.const 64) (i32.const 1) (i32.const 1) (i32.const 2) (i32.const 513) (i32.const 64)) (i32.const -1)) (then unreachable))
        (i32.const 0)";
    open(more, body).unwrap();
}

#[test]
fn guests_register_models_within_their_quota() {
    let file = model_bytes();
    let data: String = file.iter().map(|b| format!("\\{b:02x}")).collect();
    let n = file.len();
    let more = format!("(data (i32.const 4096) \"{data}\")");
    let body = format!(
        "(if (i32.ne (call $realm_store_model (i32.const 4096) (i32.const {n}) (i32.const 99) (i32.const 16)) (i32.const 0)) (then unreachable))
         (if (i32.ne (i32.load (i32.const 16)) (i32.const 99)) (then unreachable))
         (if (i32.ne (call $realm_store_model (i32.const 4096) (i32.const {n}) (i32.const 98) (i32.const 16)) (i32.const -7)) (then unreachable))
         (if (i32.ne (call $realm_get_model_info (i32.const 99) (i32.const 64) (i32.const 64)) (i32.const 64)) (then unreachable))
         (i32.const 0)"
    );
    let mut o = options(&guest(&more, &body));
    o.limits.guest_model_bytes = n as u64 + 1;
    let store = o.store.clone();
    let s = Session::open(o).unwrap();
    assert_eq!(store.ids(&mut []), 2);
    drop(s);
    // What a guest registered goes with it.
    assert_eq!(store.ids(&mut []), 1);
}

#[test]
fn parameters_reach_the_guest_at_the_next_turn() {
    let body = "(if (i32.eq (local.get $kind) (i32.const 1)) (then (return (i32.const 0))))
      (local.set $n (call $realm_param_get (i32.const 0) (i32.const 2) (i32.const 64) (i32.const 8)))
      (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (i32.const 3))))
      (drop (call $realm_emit (i32.const -1) (i32.const 64) (local.get $n)))
      (i32.const 1)";
    let mut s = open("(data (i32.const 0) \"ab\")", body).unwrap();
    s.prompt(InputKind::Ids, &[1, 0, 0, 0]).unwrap();
    assert_eq!(s.poll(0).unwrap(), Event::Done(DoneReason::Length));
    s.set_param("ab", Some("0.5")).unwrap();
    s.prompt(InputKind::Ids, &[1, 0, 0, 0]).unwrap();
    assert_eq!(s.poll(0).unwrap(), Event::Token(-1));
    assert_eq!(s.text(), "0.5");
    assert_eq!(s.poll(0).unwrap(), Event::Done(DoneReason::Eos));
    assert_eq!(s.stats().prompt_tokens, 2);
    assert!(s.prompt(InputKind::Ids, &[1, 0]).is_err());
    assert!(s.prompt(InputKind::Text, &[0xff]).is_err());
}

#[test]
fn a_token_is_shown_with_the_text_it_completes() {
    // The two bytes of é are two tokens, then a token that is text at once.
    let body = "(if (i32.eq (local.get $kind) (i32.const 1))
        (then (return (call $realm_emit_token (i32.const 100)))))
      (if (i32.ne (call $realm_emit_token (i32.const 9999)) (i32.const -3)) (then unreachable))
      (if (i32.ne (call $realm_emit_token (i32.const -1)) (i32.const -1)) (then unreachable))
      (drop (call $realm_emit_token (i32.const 198)))
      (if (i32.ne (call $realm_emit_token (i32.const 9999)) (i32.const -3)) (then unreachable))
      (drop (call $realm_emit_token (i32.const 172)))
      (drop (call $realm_emit_token (i32.const 100)))
      (i32.const 1)";
    let opened = open("", body);
    assert_eq!(opened.err().unwrap().status(), Status::State);
    let body = body.replace(
        "(call $realm_emit_token (i32.const 100)))))",
        "(i32.const 0))))",
    );
    let mut s = open("", &body).unwrap();
    s.prompt(InputKind::Text, b"x").unwrap();
    for (token, text) in [(198, ""), (172, "é"), (100, "a")] {
        assert_eq!(s.poll(0).unwrap(), Event::Token(token));
        assert_eq!(s.text(), text);
    }
    assert_eq!(s.poll(0).unwrap(), Event::Done(DoneReason::Eos));
}

#[test]
fn a_flood_of_events_is_cut_off() {
    let body = "(if (i32.eq (local.get $kind) (i32.const 1)) (then (return (i32.const 0))))
      (loop $l (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $l (i32.eqz (call $realm_emit (i32.const 1) (i32.const 0) (i32.const 1)))))
      (i32.const 1)";
    let mut s = open("", body).unwrap();
    s.prompt(InputKind::Text, b"x").unwrap();
    let mut n = 0;
    while let Event::Token(_) = s.poll(0).unwrap() {
        n += 1;
    }
    // What was fetched while the guest ran makes room again, but not without end.
    assert!((1024..100_000).contains(&n), "{n}");
}

#[test]
fn cancel_from_another_thread_during_a_step() {
    let mut s = Session::open(options(&stepping(1000, 65_536, 50_000))).unwrap();
    for _ in 0..2 {
        s.prompt(InputKind::Text, b"hi").unwrap();
        let flag = s.cancel_flag().clone();
        let t = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            flag.store(true, core::sync::atomic::Ordering::Release);
        });
        let start = Instant::now();
        assert_eq!(s.poll(0).unwrap(), Event::Done(DoneReason::Cancelled));
        assert!(start.elapsed() < Duration::from_secs(5));
        t.join().unwrap();
    }
    // Cancelled before it began: the guest hears nothing of it.
    let events = s.stats().guest_events;
    s.prompt(InputKind::Text, b"hi").unwrap();
    s.cancel();
    assert_eq!(s.poll(0).unwrap(), Event::Done(DoneReason::Cancelled));
    assert_eq!(s.stats().guest_events, events + 1);
    // Without a turn it means nothing.
    s.cancel();
    s.prompt(InputKind::Text, b"hi").unwrap();
    assert_eq!(s.poll(50).unwrap(), Event::Again);
}

#[test]
fn sessions_close_at_any_point() {
    // In the middle of a step.
    let mut s = Session::open(options(&stepping(9, 65_536, 50_000))).unwrap();
    s.prompt(InputKind::Text, b"hi").unwrap();
    assert_eq!(s.poll(100).unwrap(), Event::Again);
    assert_eq!(s.logits(&mut [0.0; 4]).unwrap_err().status(), Status::State);
    drop(s);
    // In the middle of a guest's event.
    let mut s = open("", "(if (i32.eq (local.get $kind) (i32.const 1)) (then (return (i32.const 0)))) (loop $l (br $l)) (i32.const 0)").unwrap();
    s.prompt(InputKind::Text, b"hi").unwrap();
    assert_eq!(s.poll(1).unwrap(), Event::Again);
    // On another thread.
    thread::spawn(move || {
        assert_eq!(s.poll(1).unwrap(), Event::Again);
        drop(s);
    })
    .join()
    .unwrap();
    // With events waiting, and before the first poll.
    let mut s = Session::open(options(&stepping(9, 1, 4))).unwrap();
    s.prompt(InputKind::Text, b"hi").unwrap();
    drop(s);
}

/// A guest that calls the imports its input names: words of `which, arguments…`.
fn interpreter() -> Vec<u8> {
    use crate::guest::imports::SIGNATURES;
    let mut calls = String::new();
    for (i, (name, params, result)) in SIGNATURES.iter().enumerate() {
        let args: String = (0..params.len())
            .map(|k| format!("(i32.load offset={} (local.get $i))", 4 + 4 * k))
            .collect();
        let call = format!("(call ${name} {args})");
        let call = match *result {
            "I" => format!("(drop {call})"),
            _ => format!("(drop {call})"),
        };
        calls +=
            &format!("(if (i32.eq (i32.load (local.get $i)) (i32.const {i})) (then {call}))\n");
    }
    let body = format!(
        "(if (i32.ne (local.get $kind) (i32.const 2)) (then (return (i32.const 0))))
         (local.set $n (call $realm_input_read (i32.const 0) (i32.const 65536) (i32.const 32768)))
         (local.set $i (i32.const 65536))
         (local.set $n (i32.add (local.get $n) (local.get $i)))
         (loop $l
           {calls}
           (local.set $i (i32.add (local.get $i) (i32.const 32)))
           (br_if $l (i32.lt_u (local.get $i) (local.get $n))))
         (i32.const 0)"
    );
    wat("(data (i32.const 0) \"w\\00toy.eps\")", &body)
}

#[test]
fn random_imports_with_random_arguments_do_no_harm() {
    let g = LoadedGuest::load(&interpreter()).unwrap();
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    let imports = crate::guest::imports::SIGNATURES.len() as u64;
    for _ in 0..60 {
        let mut o = options(&g);
        o.limits.buffer_bytes = 1 << 20;
        o.limits.kv_bytes = 1 << 20;
        o.limits.scratch_bytes = 1 << 20;
        o.limits.guest_model_bytes = 1 << 16;
        o.limits.fuel_per_event = 50_000_000;
        let mut s = Session::open(o).unwrap();
        for _ in 0..3 {
            let mut input = vec![];
            for _ in 0..200 {
                input.extend(((next() % imports) as u32).to_le_bytes());
                for _ in 0..7 {
                    let word = match next() % 8 {
                        0 => next() as u32,
                        1 => u32::MAX,
                        2 => 131_072 - (next() % 9) as u32,
                        3 => MODEL,
                        4 => 65_536 + (next() % 6400) as u32,
                        _ => (next() % 70) as u32,
                    };
                    input.extend(word.to_le_bytes());
                }
            }
            if s.prompt(InputKind::Ids, &input).is_err() {
                break;
            }
            while let Ok(Event::Again | Event::Token(_)) = s.poll(0) {}
        }
    }
}

#[test]
fn long_texts_that_come_to_nothing_burn_fuel() {
    for call in [
        "(call $realm_tensor_find (i32.const 7) (i32.const 0) (i32.const 65536))",
        "(call $realm_param_get (i32.const 0) (i32.const 65536) (i32.const 0) (i32.const 0))",
        "(call $realm_log (i32.const 0) (i32.const 0) (i32.const 65536))",
    ] {
        let body = format!("(loop $l (drop {call}) (br $l)) (i32.const 0)");
        let mut o = options(&guest("", &body));
        o.limits.fuel_per_event = 20_000_000;
        let start = Instant::now();
        assert_eq!(
            Session::open(o).err().map(|e| e.status()),
            Some(Status::Limit)
        );
        // Some two thousand calls; without a price some four hundred thousand.
        let took = start.elapsed();
        assert!(took < Duration::from_secs(4), "{call}: {took:?}");
    }
}

#[test]
fn removed_models_count_while_they_are_in_use() {
    let mut o = options(&guest("", "(i32.const 0)"));
    let bytes = model_bytes();
    o.limits.guest_model_bytes = bytes.len() as u64;
    let mut s = Session::open(o).unwrap();
    let models = &mut s.instance.host_mut().models;
    models.register(&bytes, 9).unwrap();
    // As a program does.
    let held = models.get(9).unwrap().clone();
    models.remove(9).unwrap();
    let e = models.register(&bytes, 10).unwrap_err();
    assert_eq!(e.status(), Status::Limit);
    drop(held);
    models.register(&bytes, 10).unwrap();
}
