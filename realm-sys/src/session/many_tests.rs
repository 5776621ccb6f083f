//! Sessions polled together: the same bits as alone, whatever the others do, and batches where there can be.

use super::many::poll_many;
use super::tests::{after_a_step, model_bytes, options, platform_table, stepping, store};
use super::{DoneReason, Event, InputKind, Options, Session};
use crate::backend::host::{Backend, Backends};
use crate::backend::table::{realm_backend, realm_cursor, realm_step, realm_weight};
use crate::error::{Result, Status};
use crate::graph::op::Code;
use crate::guest::LoadedGuest;
use crate::guest::tests::guest;
use crate::platform::{Platform, realm_task_fn};
use crate::store::{Store, StoreRef};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ffi::c_void;
use core::sync::atomic::Ordering;
use std::thread;

std::thread_local! {
    /// Batches that were submitted on this thread, by their number of steps.
    static SUBMITTED: Cell<[u32; 65]> = const { Cell::new([0; 65]) };
    static BOUND: Cell<i32> = const { Cell::new(0) };
    /// A clock that goes on by half a microsecond whenever it is read, in place of the real one: then what is done within a
    /// budget does not depend on what else the machine does.
    static STEPPED: Cell<Option<u64>> = const { Cell::new(None) };
}

unsafe extern "C" fn clock(ctx: *mut c_void) -> u64 {
    match STEPPED.get() {
        Some(now) => {
            STEPPED.set(Some(now + 500));
            now
        }
        // SAFETY: as the caller's.
        None => unsafe { platform_table().clock_ns.unwrap()(ctx) },
    }
}

fn submitted() -> [u32; 65] {
    SUBMITTED.replace([0; 65])
}

fn merged(counts: &[u32; 65]) -> u32 {
    counts[2..].iter().sum()
}

unsafe extern "C" fn counting(
    _: *mut c_void,
    _: *mut c_void,
    _: *const realm_step,
    count: u32,
    _: *mut realm_cursor,
) -> i32 {
    let mut seen = SUBMITTED.get();
    seen[count as usize] += 1;
    SUBMITTED.set(seen);
    0
}

unsafe extern "C" fn one_at_a_time(
    ctx: *mut c_void,
    plan: *mut c_void,
    steps: *const realm_step,
    count: u32,
    cursor: *mut realm_cursor,
) -> i32 {
    // SAFETY: as the caller's.
    unsafe { counting(ctx, plan, steps, count, cursor) };
    if count > 1 {
        return Status::Unsupported as i32;
    }
    0
}

unsafe extern "C" fn bind(_: *mut c_void, _: *mut realm_weight) -> i32 {
    BOUND.set(BOUND.get() + 1);
    0
}

unsafe extern "C" fn release(_: *mut c_void, _: *const realm_weight) {
    BOUND.set(BOUND.get() - 1);
}

unsafe extern "C" fn parallel_for(_: *mut c_void, n: u32, run: realm_task_fn, task: *mut c_void) {
    let task = task as usize;
    thread::scope(|s| {
        for i in 0..n {
            s.spawn(move || {
                // SAFETY: the contract of `parallel_for`.
                unsafe { run.unwrap()(task as *mut c_void, i) }
            });
        }
    });
}

unsafe extern "C" fn width(_: *mut c_void) -> u32 {
    3
}

pub(super) fn platform() -> Platform {
    let mut table = platform_table();
    table.clock_ns = Some(clock);
    table.parallel_for = Some(parallel_for);
    table.parallel_width = Some(width);
    // SAFETY: the table keeps its contract.
    unsafe { Platform::from_table(&table) }.unwrap()
}

/// The reference under another name, with its batches and binds counted.
fn backends(change: impl FnOnce(&mut realm_backend)) -> Backends {
    let platform = platform();
    // The table points to it for as long as the tests run.
    let mut table = crate::graph::reference::table(Box::leak(Box::new(platform)));
    table.name = c"counting".as_ptr();
    table.submit = Some(counting);
    table.weight_bind = Some(bind);
    table.weight_release = Some(release);
    change(&mut table);
    let mut backends = Backends::new(&platform).unwrap();
    // SAFETY: the reference's table.
    let backend = unsafe { Backend::from_table(&raw const table, &platform) }.unwrap();
    backends.add(backend).unwrap();
    backends
}

/// How often buffer 0 is changed by a step.
const PASSES: usize = 40;

/// In place, `PASSES` times, buffer 0 = buffer 0 · -1.001 + 0.37: run twice, it would be another number. Then a row of the
/// model, which fails the step if there is no such row.
fn program() -> Vec<u8> {
    let mut words = vec![
        0x4752_5052_u32,
        1 << 16,
        0,
        0,
        PASSES as u32 + 1,
        super::tests::MODEL,
        0,
        0,
    ];
    let buffer = |i: u32| 3 << 28 | i;
    for _ in 0..PASSES {
        let mut op = [0_u32; 32];
        op[0] = Code::Scale as u32;
        op[1] = buffer(0);
        op[2] = buffer(0);
        op[12] = (-1.001_f32).to_bits();
        op[13] = 0.37_f32.to_bits();
        words.extend(op);
    }
    let mut op = [0_u32; 32];
    op[0] = Code::GetRows as u32;
    op[1] = buffer(2);
    op[2] = 1 << 28;
    op[3] = buffer(1);
    words.extend(op);
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// A guest whose tokens are the bits of what the program makes of a number. Its input: the number, how many tokens, and
/// before which of them (counted backwards) a step fails.
fn deriving(cols: u32) -> Arc<LoadedGuest> {
    persistent(cols, "(return (local.get $a))")
}

/// The same, with what it does when a step has failed.
fn persistent(cols: u32, failed: &str) -> Arc<LoadedGuest> {
    let bytes = program();
    let data: String = bytes.iter().map(|b| format!("\\{b:02x}")).collect();
    let n = bytes.len();
    let more = format!(
        "(data (i32.const 1024) \"{data}\")
         (global $left (mut i32) (i32.const 0))
         (func $submit (result i32)
           (i32.store (i32.const 32) (if (result i32) (i32.eq (global.get $left) (i32.load (i32.const 8)))
             (then (i32.const 9)) (else (i32.and (global.get $left) (i32.const 1)))))
           (drop (call $realm_buffer_write (i32.const 1) (i32.const 0) (i32.const 32) (i32.const 4)))
           (call $realm_step_submit (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)))"
    );
    let body = format!(
        "(if (i32.eq (local.get $kind) (i32.const 1)) (then
           (drop (call $realm_buffer_create (i32.const 0) (i32.const {cols}) (i32.const 1)))
           (drop (call $realm_buffer_create (i32.const 26) (i32.const 1) (i32.const 1)))
           (drop (call $realm_buffer_create (i32.const 0) (i32.const 4) (i32.const 1)))
           (drop (call $realm_publish (i32.const 1) (i32.const 0)))
           (return (call $realm_program_create (i32.const 1024) (i32.const {n})))))
         (if (i32.eq (local.get $kind) (i32.const 4)) (then (return (i32.const 0))))
         (if (i32.eq (local.get $kind) (i32.const 2)) (then
           (drop (call $realm_input_read (i32.const 0) (i32.const 0) (i32.const 12)))
           (drop (call $realm_buffer_write (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))
           (global.set $left (i32.load (i32.const 4)))
           (return (call $submit))))
         (if (local.get $a) (then {failed}))
         (drop (call $realm_buffer_read (i32.const 0) (i32.const 0) (i32.const 40) (i32.const 4)))
         (drop (call $realm_emit (i32.and (i32.load (i32.const 40)) (i32.const 0x7fffffff)) (i32.const 0) (i32.const 0)))
         (global.set $left (i32.sub (global.get $left) (i32.const 1)))
         (if (i32.eqz (global.get $left)) (then (return (i32.const 3))))
         (call $submit)"
    );
    guest(&more, &body)
}

pub(super) const NEVER: u32 = 1000;

/// Sessions of one runtime.
pub(super) struct Room {
    backends: Backends,
    guest: Arc<LoadedGuest>,
    store: StoreRef,
    pub(super) threads: u32,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            backends: backends(|_| ()),
            guest: deriving(4096),
            store: store(),
            threads: 1,
        }
    }

    pub(super) fn options(&self, guest: &Arc<LoadedGuest>) -> Options {
        Options {
            backend: self.backends.select(None).unwrap(),
            model: self.store.open(super::tests::MODEL).unwrap(),
            granted: std::vec::Vec::new(),
            store: self.store.clone(),
            platform: platform(),
            thread_count: self.threads,
            ..options(guest)
        }
    }

    fn open(&self) -> Session {
        Session::open(self.options(&self.guest)).unwrap()
    }

    pub(super) fn prompted(&self, start: f32, tokens: u32, bad: u32) -> Session {
        let mut s = self.open();
        prompt(&mut s, start, tokens, bad);
        s
    }

    /// Sessions with numbers and lengths of their own.
    pub(super) fn some(&self, count: usize) -> Vec<Session> {
        (0..count)
            .map(|i| self.prompted(i as f32 * 0.7 - 1.0, 3 + (i as u32 * 5) % 7, NEVER))
            .collect()
    }
}

pub(super) fn prompt(s: &mut Session, start: f32, tokens: u32, bad: u32) {
    let input: Vec<u8> = [start.to_bits(), tokens, bad]
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .collect();
    s.prompt(InputKind::Ids, &input).unwrap();
}

/// What a turn brought: tokens, each with a digest of the logits at its event, and how it ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Turn {
    pub(super) tokens: Vec<(i32, u64)>,
    pub(super) end: Option<core::result::Result<DoneReason, Status>>,
}

impl Turn {
    /// Notes an event; false for AGAIN.
    fn note(&mut self, s: &Session, got: Result<Event>) -> bool {
        match got {
            Ok(Event::Again) => return false,
            Ok(Event::Token(t)) => {
                let mut logits = vec![0.0; s.logits_len().unwrap()];
                s.logits(&mut logits).unwrap();
                let sum = logits.iter().fold(0_u64, |h, x| {
                    h.wrapping_mul(31).wrapping_add(x.to_bits().into())
                });
                self.tokens.push((t, sum));
            }
            Ok(Event::Done(reason)) => self.end = Some(Ok(reason)),
            Err(e) => self.end = Some(Err(e.status())),
        }
        true
    }
}

pub(super) fn alone(mut s: Session) -> Turn {
    let mut turn = Turn::default();
    while turn.end.is_none() {
        let got = s.poll(0);
        turn.note(&s, got);
    }
    turn
}

pub(super) fn all(sessions: Vec<Session>) -> Vec<Turn> {
    sessions.into_iter().map(alone).collect()
}

/// One call for those whose turn is running.
pub(super) fn poll(sessions: &mut [Session], turns: &mut [Turn], budget: u64) -> usize {
    let mut again = 0;
    let running = |i: &usize| turns[*i].end.is_none();
    let places: Vec<usize> = (0..sessions.len()).filter(running).collect();
    let mut some: Vec<&mut Session> = sessions
        .iter_mut()
        .enumerate()
        .filter(|(i, _)| places.contains(i))
        .map(|(_, s)| s)
        .collect();
    let mut told = vec![0; some.len()];
    poll_many(&mut some, budget, |i, s, got| {
        told[i] += 1;
        again += usize::from(!turns[places[i]].note(s, got));
    });
    assert!(told.iter().all(|&n| n == 1), "{told:?}");
    again
}

pub(super) fn together(sessions: &mut [Session], turns: &mut [Turn], budget: u64) -> usize {
    let mut again = 0;
    while turns.iter().any(|t| t.end.is_none()) {
        again += poll(sessions, turns, budget);
    }
    again
}

pub(super) fn fresh(count: usize) -> Vec<Turn> {
    vec![Turn::default(); count]
}

#[test]
fn one_to_eight_sessions_get_the_bits_they_get_alone() {
    for threads in [1, 3] {
        let mut room = Room::new();
        room.threads = threads;
        let mut again = 0;
        for count in 1..=8 {
            let want = all(room.some(count));
            for budget in [0, 1, 30, 200] {
                let (mut sessions, mut turns) = (room.some(count), fresh(count));
                submitted();
                again += together(&mut sessions, &mut turns, budget);
                assert_eq!(turns, want, "{count} sessions, budget {budget}");
                let seen = submitted();
                assert_eq!(merged(&seen) > 0, count > 1, "{count}: {seen:?}");
                if budget == 0 {
                    // All begin together, so that a step is alone only when all others have ended.
                    let mut lengths: Vec<u32> =
                        want.iter().map(|t| t.tokens.len() as u32).collect();
                    lengths.extend([0, 0]);
                    lengths.sort_unstable_by(|a, b| b.cmp(a));
                    assert_eq!(seen[1], lengths[0] - lengths[1], "{seen:?}");
                    assert_eq!(seen[count], 3, "{seen:?}");
                }
            }
        }
        assert!(again > 0);
    }
}

#[test]
fn a_step_that_fails_fails_its_own_session() {
    let room = Room::new();
    let make = || {
        vec![
            room.prompted(1.0, 6, NEVER),
            room.prompted(2.0, 6, 3),
            room.prompted(3.0, 6, NEVER),
        ]
    };
    let want = all(make());
    assert_eq!(want[1].end, Some(Err(Status::InvalidArgument)));
    assert_eq!(want[1].tokens.len(), 3);
    for budget in [0, 1, 100] {
        let (mut sessions, mut turns) = (make(), fresh(3));
        together(&mut sessions, &mut turns, budget);
        assert_eq!(turns, want, "budget {budget}");
        // It goes on with the others in its next turn.
        let mut turns = fresh(3);
        for (i, s) in sessions.iter_mut().enumerate() {
            prompt(s, i as f32, 4, NEVER);
        }
        submitted();
        together(&mut sessions, &mut turns, 0);
        assert_eq!(submitted()[3], 4);
        assert!(turns.iter().all(|t| t.end == Some(Ok(DoneReason::Length))));
    }
}

#[test]
fn who_fails_once_runs_alone_for_the_rest_of_its_turn() {
    let mut room = Room::new();
    let (well, stubborn) = (
        room.guest.clone(),
        persistent(4096, "(return (call $submit))"),
    );
    let make = |room: &mut Room| {
        room.guest = stubborn.clone();
        let bad = room.prompted(5.0, 9, 8);
        room.guest = well.clone();
        vec![
            room.prompted(1.0, 6, NEVER),
            bad,
            room.prompted(2.0, 6, NEVER),
        ]
    };
    let want = all(vec![
        room.prompted(1.0, 6, NEVER),
        room.prompted(2.0, 6, NEVER),
    ]);
    let (mut sessions, mut turns) = (make(&mut room), fresh(3));
    submitted();
    // It never gets anywhere: a budget is needed.
    while turns[0].end.is_none() || turns[2].end.is_none() {
        poll(&mut sessions, &mut turns, 300);
    }
    assert_eq!((&turns[0], &turns[2]), (&want[0], &want[1]));
    let seen = submitted();
    assert_eq!(seen[3], 2, "{seen:?}");
    assert!(seen[2] >= 4, "{seen:?}");
}

#[test]
fn more_sessions_than_a_batch_holds_all_get_their_turn() {
    STEPPED.set(Some(1));
    let mut room = Room::new();
    room.guest = deriving(64);
    let make = || -> Vec<Session> {
        (0..70)
            .map(|i| room.prompted(i as f32 / 16.0, 12, NEVER))
            .collect()
    };
    let want = all(make());
    for budget in [0, 20] {
        let (mut sessions, mut turns) = (make(), fresh(70));
        submitted();
        while turns.iter().any(|t| t.end.is_none()) {
            poll(&mut sessions, &mut turns, budget);
            let counts = turns.iter().map(|t| t.tokens.len());
            let (least, most) = (counts.clone().min(), counts.max());
            // Nobody is left out twice in a row.
            assert!(
                most.unwrap() <= 2 * least.unwrap() + 2,
                "{least:?} {most:?}"
            );
        }
        assert_eq!(turns, want);
        let seen = submitted();
        assert!(seen[64] > 0, "{seen:?}");
    }
}

#[test]
fn who_comes_later_falls_into_step() {
    let room = Room::new();
    let make = |tokens| {
        vec![
            room.prompted(1.0, tokens, NEVER),
            room.prompted(2.0, tokens, NEVER),
            room.prompted(3.0, tokens, NEVER),
        ]
    };
    let want = all(make(30));
    // A budget of about a third of a step: they are apart at every moment.
    let (mut sessions, mut turns) = (make(30), fresh(3));
    while turns[0].tokens.len() < 2 {
        poll(&mut sessions[..2], &mut turns[..2], 10);
    }
    submitted();
    together(&mut sessions, &mut turns, 10);
    assert_eq!(turns, want);
    let seen = submitted();
    assert!(seen[3] >= 25, "{seen:?}");
}

/// Polls until a batch is half done.
fn into_a_batch(sessions: &mut [Session], turns: &mut [Turn]) {
    loop {
        poll(sessions, turns, 1);
        let batch = |s: &Session| {
            let run = s.instance.host().compute.booked.as_ref();
            s.turn.step_begun && run.and_then(|r| r.batch()).is_some()
        };
        if sessions.iter().all(batch) {
            return;
        }
        assert!(turns.iter().all(|t| t.end.is_none()), "never half done");
    }
}

#[test]
fn a_batch_is_left_without_a_trace() {
    let room = Room::new();
    let make = || {
        (0..4)
            .map(|i| room.prompted(i as f32, 12, NEVER))
            .collect::<Vec<_>>()
    };
    let want = all(make());
    // One is closed, one polled alone, two polled together.
    let (mut sessions, mut turns) = (make(), fresh(4));
    into_a_batch(&mut sessions, &mut turns);
    let e = sessions[0].logits(&mut [0.0; 4096]).unwrap_err();
    assert_eq!(e.status(), Status::State);
    drop(sessions.remove(0));
    turns.remove(0);
    let got = sessions[0].poll(0);
    turns[0].note(&sessions[0], got);
    together(&mut sessions, &mut turns, 50);
    assert_eq!(turns, want[1..]);
    // Each goes to a thread of its own in the midst of it.
    for _ in 0..20 {
        let (mut sessions, mut turns) = (make(), fresh(4));
        into_a_batch(&mut sessions, &mut turns);
        let threads: Vec<_> = sessions
            .into_iter()
            .zip(turns)
            .map(|(mut s, mut turn)| {
                thread::spawn(move || {
                    while turn.end.is_none() {
                        let got = s.poll(0);
                        turn.note(&s, got);
                    }
                    turn
                })
            })
            .collect();
        let turns: Vec<Turn> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(turns, want);
    }
}

#[test]
fn cancelling_one_leaves_the_others() {
    let room = Room::new();
    let make = || {
        (0..3)
            .map(|i| room.prompted(i as f32, 8, NEVER))
            .collect::<Vec<_>>()
    };
    let want = all(make());
    let (mut sessions, mut turns) = (make(), fresh(3));
    into_a_batch(&mut sessions, &mut turns);
    let had = turns[1].tokens.len();
    sessions[1].cancel();
    together(&mut sessions, &mut turns, 20);
    assert_eq!(turns[1].end, Some(Ok(DoneReason::Cancelled)));
    assert_eq!(turns[1].tokens[..], want[1].tokens[..had]);
    assert_eq!((&turns[0], &turns[2]), (&want[0], &want[2]));
    // All of them: the batch is abandoned at once.
    let (mut sessions, mut turns) = (make(), fresh(3));
    into_a_batch(&mut sessions, &mut turns);
    for s in &sessions {
        s.cancel_flag().store(true, Ordering::Release);
    }
    poll(&mut sessions, &mut turns, 0);
    for turn in &turns {
        assert_eq!(turn.end, Some(Ok(DoneReason::Cancelled)));
    }
}

#[test]
fn what_has_no_turn_fails_by_itself() {
    let room = Room::new();
    let endless = after_a_step("(loop $l (br $l)) (i32.const 0)");
    let mut o = room.options(&endless);
    o.limits.fuel_per_event = 30_000_000;
    let mut hog = Session::open(o).unwrap();
    hog.prompt(InputKind::Text, b"x").unwrap();
    let mut sessions = vec![
        room.prompted(1.0, 5, NEVER),
        hog,
        room.open(),
        room.prompted(2.0, 5, NEVER),
    ];
    let want = all(vec![
        room.prompted(1.0, 5, NEVER),
        room.prompted(2.0, 5, NEVER),
    ]);
    let mut turns = fresh(4);
    submitted();
    together(&mut sessions, &mut turns, 100);
    assert_eq!((&turns[0], &turns[3]), (&want[0], &want[1]));
    assert_eq!(turns[1].end, Some(Err(Status::Guest)));
    assert_eq!(turns[2].end, Some(Err(Status::State)));
    // The hog was not waited for.
    assert!(submitted()[2] > 3);
    assert_eq!(sessions[1].check().unwrap_err().status(), Status::Guest);
}

#[test]
fn other_models_runtimes_and_guests_run_beside() {
    let (a, b) = (Room::new(), Room::new());
    // The same bytes as another model of another store.
    let mut c = Room::new();
    let other = Store::new();
    other
        .register_copy(
            &[&model_bytes()],
            super::tests::MODEL,
            &crate::gguf::Limits::default(),
        )
        .unwrap();
    c.store = StoreRef::Own(Arc::new(other));
    c.guest = deriving(64);
    let long = |room: &Room| {
        let mut s = Session::open(room.options(&stepping(2, 65_536, 64))).unwrap();
        s.prompt(InputKind::Text, b"hi").unwrap();
        s
    };
    let make = || {
        let mut all = vec![];
        for i in 0..2 {
            all.push(a.prompted(i as f32, 6, NEVER));
            all.push(b.prompted(i as f32 + 2.0, 6, NEVER));
            all.push(c.prompted(i as f32 + 4.0, 6, NEVER));
        }
        all.push(long(&a));
        all
    };
    let want = all(make());
    for budget in [0, 40, 500] {
        let (mut sessions, mut turns) = (make(), fresh(7));
        submitted();
        together(&mut sessions, &mut turns, budget);
        assert_eq!(turns, want, "budget {budget}");
        let seen = submitted();
        assert!(seen[2] >= 3 * 3 && merged(&seen) == seen[2], "{seen:?}");
    }
    // Long steps and short ones take turns.
    let (mut sessions, mut turns) = (make(), fresh(7));
    while turns[6].tokens.is_empty() {
        poll(&mut sessions, &mut turns, 300);
    }
    assert!(turns[0].tokens.len() > 1, "{turns:?}");
}

#[test]
fn threads_counts_and_ports_that_take_one_step_are_respected() {
    let mut room = Room::new();
    let one = room.prompted(1.0, 4, NEVER);
    room.threads = 2;
    let two = room.prompted(1.0, 4, NEVER);
    let (mut sessions, mut turns) = (vec![one, two], fresh(2));
    submitted();
    together(&mut sessions, &mut turns, 0);
    assert_eq!((turns[0] == turns[1], merged(&submitted())), (true, 0));

    room.backends = backends(|t| t.submit = Some(one_at_a_time));
    let want = all(room.some(4));
    let (mut sessions, mut turns) = (room.some(4), fresh(4));
    submitted();
    together(&mut sessions, &mut turns, 0);
    assert_eq!(turns, want);
    // Asked once, and never again.
    assert_eq!(merged(&submitted()), 1);
}

#[test]
fn equal_programs_are_prepared_once() {
    let mut room = Room::new();
    let alive = |room: &Room| room.backends.select(None).unwrap().shared.alive();
    BOUND.set(0);
    let first = room.open();
    let bound = BOUND.get();
    assert!(bound > 0);
    let second = room.open();
    assert_eq!((alive(&room), BOUND.get()), (1, bound));
    drop(first);
    assert_eq!((alive(&room), BOUND.get()), (1, bound));
    // Another shape of a buffer, another backend.
    room.guest = deriving(8);
    let third = room.open();
    assert_eq!((alive(&room), BOUND.get()), (2, 2 * bound));
    let mut o = room.options(&room.guest);
    o.backend = room.backends.select(Some("reference")).unwrap();
    let fourth = Session::open(o).unwrap();
    assert_eq!((alive(&room), BOUND.get()), (3, 2 * bound));
    // Limits are every session's own.
    let mut o = room.options(&room.guest);
    o.limits.buffer_bytes = 51;
    assert!(Session::open(o).is_err());
    drop((second, third, fourth));
    assert_eq!((alive(&room), BOUND.get()), (0, 0));
    // More than are remembered.
    let many: Vec<Session> = (1..80)
        .map(|cols| {
            room.guest = deriving(cols);
            room.open()
        })
        .collect();
    assert!(alive(&room) <= 64);
    drop(many);
    assert_eq!((alive(&room), BOUND.get()), (0, 0));
}

/// The checked-in guest and demo model, with other questions and other sampling.
#[test]
fn the_guest_that_comes_with_the_library_is_merged() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
    let read = |name: &str| std::fs::read(format!("{root}{name}")).unwrap();
    let mut room = Room::new();
    room.guest = LoadedGuest::load(&read("guest/realm_guest.wasm")).unwrap();
    let models = Store::new();
    let demo = read("examples-c/demo/realm-demo.gguf");
    models
        .register_copy(
            &[&demo],
            super::tests::MODEL,
            &crate::gguf::Limits::default(),
        )
        .unwrap();
    room.store = StoreRef::Own(Arc::new(models));
    let make = || -> Vec<Session> {
        let sampled: &[(&str, &str)] = &[("temp", "0.8"), ("top_k", "20"), ("n_predict", "12")];
        let mut all = vec![];
        for (i, (question, params)) in [
            ("What is the capital of France?", &[("temp", "0")][..]),
            ("And of Italy?", sampled),
            ("Hello", &[("temp", "0"), ("ignore_eos", "1"), ("n_predict", "40")]),
            ("What is the capital of Spain?", sampled),
            ("What is the capital of Norway? Tell me at once, and at length, what you know of it.", &[("temp", "0")]),
            ("Hm", &[("temp", "0.5"), ("top_k", "0"), ("repeat_penalty", "1.2"), ("n_predict", "9")]),
        ]
        .into_iter()
        .enumerate()
        {
            let mut o = room.options(&room.guest);
            o.params.set("seed", &format!("{i}")).unwrap();
            o.params.set("ctx", "256").unwrap();
            for (key, value) in params {
                o.params.set(key, value).unwrap();
            }
            let mut s = Session::open(o).unwrap();
            s.prompt(InputKind::Chat, question.as_bytes()).unwrap();
            all.push(s);
        }
        all
    };
    let want = all(make());
    assert!(want.iter().all(|t| t.tokens.len() > 5), "{want:?}");
    for budget in [0, 200] {
        let (mut sessions, mut turns) = (make(), fresh(6));
        submitted();
        together(&mut sessions, &mut turns, budget);
        assert_eq!(turns, want, "budget {budget}");
        // Two kinds of sampling: three and two sessions. The sixth has a program of its own.
        let seen = submitted();
        assert!(seen[3] > 4 && seen[2] > 4, "{seen:?}");
    }
    // Nothing is left of a batch in the next turn, whoever runs it.
    let (mut sessions, mut turns) = (make(), fresh(6));
    while turns[2].tokens.len() < 8 {
        poll(&mut sessions, &mut turns, 30);
    }
    for (i, (s, turn)) in sessions.iter_mut().zip(&mut turns).enumerate() {
        while turn.end.is_none() {
            let got = s.poll(0);
            turn.note(s, got);
        }
        assert_eq!(*turn, want[i]);
    }
}
