//! Several sessions polled together, their steps merged where they can be.
//!
//! Work is cut into units: a slice of one guest, a slice of one session's step, a slice of a batch of steps. The unit
//! whose sessions have waited longest is next, so that a long prompt and other sessions' tokens take turns. A session is
//! done with as soon as it has an event; nothing of it runs then until the next call, so that what it published is
//! still that event's.
//!
//! A small step waits for company, within bounds:
//!
//! 1. for sessions with the same program whose guest is at work, unless one of them takes long;
//! 2. for a running batch of the same program: one that begins meanwhile would stay out of step for good;
//! 3. not twice in a row, under a budget, for the next call, when sessions with the same program have their events already.

use super::{Event, Phase, Session};
use crate::err;
use crate::error::{Error, Result, try_vec};
use crate::graph::batch::Batch;
use crate::graph::run::Run;
use crate::panics::caught;
use crate::platform::Platform;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

/// Slices of a guest that others wait for: some tenths of a millisecond. Handling a token takes one.
const PATIENCE: u32 = 8;

/// An odd number without pattern (2⁶⁴ over the golden ratio): orders things as if by chance.
const MIXER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A session's place among those it is polled with.
#[derive(Default)]
pub(super) struct Place {
    /// It has no event yet in this call.
    pending: bool,
    /// Whether it was passed over, to run with others in the next call.
    held: Held,
    /// When it was last worked for: the greater, the later.
    stamp: u64,
    /// When its step was last worked on in a batch.
    batched: u64,
}

/// A session is passed over in one call at a time.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Held {
    #[default]
    No,
    /// In this call, or the last that there was.
    Now,
    /// In the call before this one.
    Before,
}

/// What is worked on next.
enum Unit {
    /// A session's guest or step, by itself.
    Alone(usize),
    /// A batch that has begun.
    Batch(Arc<Batch>),
    /// The steps that merge with this session's.
    Merge(usize),
}

/// Polls every session until each has an event or the budget is spent (0, or no clock: no end). `report` is called once
/// for each, with what [`Session::poll`] would return.
pub fn poll_many(
    sessions: &mut [&mut Session],
    budget_us: u64,
    mut report: impl FnMut(usize, &mut Session, Result<Event>),
) {
    let clock = clock(sessions);
    let now = || clock.and_then(|p| p.now_ns());
    let deadline = match budget_us {
        0 => None,
        us => now().map(|now| now.saturating_add(us.saturating_mul(1000))),
    };
    let late = || deadline.is_some_and(|end| now().unwrap_or(end) >= end);
    let mut stamp = 0;
    for (i, s) in sessions.iter_mut().enumerate() {
        stamp = s.place.stamp.max(stamp);
        s.place.pending = false;
        if s.place.held == Held::Now {
            s.place.held = Held::Before;
        }
        match s.check_turn() {
            Ok(()) => s.place.pending = true,
            Err(e) => report(i, s, Err(e)),
        }
    }
    disband(sessions);
    let mut begun = false;
    loop {
        for i in 0..sessions.len() {
            let heeds = cancelled(sessions, i);
            if let Some(s) = sessions.get_mut(i)
                && s.place.pending
                && let Some(event) = s.gather(heeds)
            {
                s.place.pending = false;
                report(i, s, event);
            }
        }
        // The first unit always runs, however small the budget.
        if begun && late() {
            break;
        }
        let Some(unit) = choose(sessions, deadline.is_some()) else {
            break;
        };
        begun = true;
        stamp += 1;
        let left = deadline.map(|end| end.saturating_sub(now().unwrap_or(end)));
        match unit {
            Unit::Alone(i) => alone(sessions, i, stamp, left, &mut report),
            Unit::Batch(batch) => advance(sessions, &batch, stamp, left),
            Unit::Merge(i) => match merge(sessions, i, stamp) {
                Some(batch) => advance(sessions, &batch, stamp, left),
                None => alone(sessions, i, stamp, left, &mut report),
            },
        }
    }
    for (i, s) in sessions.iter_mut().enumerate() {
        if core::mem::take(&mut s.place.pending) {
            report(i, s, Ok(Event::Again));
        }
    }
}

/// The first platform that has a clock: budgets are kept by it.
fn clock(sessions: &[&mut Session]) -> Option<Platform> {
    sessions
        .iter()
        .map(|s| s.instance.host().platform)
        .find(|p| p.now_ns().is_some())
}

/// Whether every member of a batch is among the sessions: it can only run on with all of them.
fn whole(sessions: &[&mut Session], batch: &Arc<Batch>) -> bool {
    batch.is_alive() && members(sessions, batch).count() == batch.len()
}

fn members(sessions: &[&mut Session], batch: &Arc<Batch>) -> impl Iterator<Item = usize> {
    let mut i = 0;
    core::iter::from_fn(move || {
        while let Some(s) = sessions.get(i) {
            i += 1;
            if s.is_in(batch) {
                return Some(i - 1);
            }
        }
        None
    })
}

/// Ends batches of earlier calls that have members elsewhere.
fn disband(sessions: &mut [&mut Session]) {
    for i in 0..sessions.len() {
        let batch = sessions.get(i).and_then(|s| s.run()?.batch().cloned());
        if let Some(batch) = batch
            && !whole(sessions, &batch)
            && let Some(s) = sessions.get_mut(i)
        {
            s.on_run(Run::settle);
        }
    }
}

/// Whether a session's cancellation is to be heeded now. A step of a batch is waited for, as long as one of the others
/// wants it.
fn cancelled(sessions: &[&mut Session], i: usize) -> bool {
    let Some(s) = sessions.get(i).filter(|s| s.wants_to_end()) else {
        return false;
    };
    match s.run().and_then(Run::batch) {
        Some(batch) => {
            !members(sessions, batch).any(|k| sessions.get(k).is_some_and(|s| !s.wants_to_end()))
        }
        None => true,
    }
}

/// What has waited longest of all that can run now.
fn choose(sessions: &mut [&mut Session], budgeted: bool) -> Option<Unit> {
    let mut best: Option<(u64, Unit)> = None;
    for i in 0..sessions.len() {
        let Some(s) = sessions.get(i).filter(|s| s.place.pending) else {
            continue;
        };
        let stamp = s.place.stamp;
        if best.as_ref().is_some_and(|b| b.0 <= stamp) {
            continue;
        }
        let unit = match s.run().filter(|_| matches!(s.phase, Phase::Step)) {
            Some(run) => match run.batch() {
                Some(batch) if batch.is_alive() => Unit::Batch(Arc::clone(batch)),
                None if s.merging().is_some() => {
                    if waits(sessions, run) {
                        continue;
                    }
                    if budgeted && s.place.held != Held::Before && missed(sessions, run) {
                        if let Some(s) = sessions.get_mut(i) {
                            s.place.held = Held::Now;
                        }
                        continue;
                    }
                    Unit::Merge(i)
                }
                Some(_) | None => Unit::Alone(i),
            },
            None => Unit::Alone(i),
        };
        best = Some((stamp, unit));
    }
    best.map(|b| b.1)
}

/// Whether a step has reason to wait in this call (1 and 2 above).
fn waits(sessions: &[&mut Session], run: &Run) -> bool {
    sessions.iter().filter(|s| s.place.pending).any(|s| {
        let busy = matches!(s.phase, Phase::Event(_)) && s.turn.slices < PATIENCE;
        let batch = s.run().and_then(Run::batch);
        busy && s.has_program(run) || batch.is_some_and(|b| b.is_of(run.prepared()))
    })
}

/// Whether it would have company in the next call (3 above).
fn missed(sessions: &[&mut Session], run: &Run) -> bool {
    sessions
        .iter()
        .filter(|s| !s.place.pending)
        .filter_map(|s| s.merging())
        .any(|other| other.merges_with(run))
}

/// Makes a batch of the steps that merge with the `i`-th session's. Of too many those are taken that were not in a batch for
/// the longest, of equals others each time. None: there are no others, or no memory.
fn merge(sessions: &mut [&mut Session], i: usize, stamp: u64) -> Option<Arc<Batch>> {
    let first = sessions.get(i)?.merging()?;
    let mut found = try_vec(sessions.len(), "steps of a batch").ok()?;
    for (k, s) in sessions.iter().enumerate() {
        if s.place.pending && s.merging().is_some_and(|run| run.merges_with(first)) {
            let turn = (k as u64 ^ stamp << 20).wrapping_mul(MIXER);
            found.push((s.place.batched, turn, k));
        }
    }
    if found.len() < 2 {
        return None;
    }
    found.sort_unstable();
    let mut batch = Batch::new(first, found.len()).ok()?;
    // Those that cannot be taken in stay as they are.
    found.retain(|&(_, _, k)| {
        let Some(s) = sessions.get_mut(k) else {
            return false;
        };
        let compute = &mut s.instance.host_mut().compute;
        let run = compute.booked.as_mut();
        run.is_some_and(|run| batch.add(run, &compute.memory).unwrap_or(false))
    });
    if found.len() < 2 {
        return None;
    }
    let batch = Arc::new(batch);
    for &(_, _, k) in &found {
        if let Some(s) = sessions.get_mut(k) {
            s.turn.step_begun = true;
            s.on_run(|run, _| {
                run.join(&batch);
                Ok(())
            });
        }
    }
    Some(batch)
}

/// Works on a batch, and tells its sessions when it has ended. Its time is shared equally among them.
fn advance(sessions: &mut [&mut Session], batch: &Arc<Batch>, stamp: u64, left: Option<u64>) {
    let clock = clock(sessions);
    let now = || clock.and_then(|p| p.now_ns());
    let start = now();
    let quantum = super::poll::quantum(start, left);
    // SAFETY: `sessions` are borrowed exclusively, and batches with members elsewhere have been disbanded.
    let result = unsafe { batch.advance(quantum) };
    let ns = match (start, now()) {
        (Some(start), Some(end)) => end.saturating_sub(start),
        _ => 0,
    };
    let share = ns / batch.len().max(1) as u64;
    for s in sessions.iter_mut().filter(|s| s.is_in(batch)) {
        s.place.stamp = stamp;
        s.place.batched = stamp;
        s.place.held = Held::No;
        s.count_step(share);
        match &result {
            Ok(false) => {}
            Ok(true) => {
                s.on_run(|run, _| {
                    run.complete();
                    Ok(())
                });
                // One that is to end hears of that instead, when its events are gathered.
                if !s.wants_to_end() {
                    s.step_ended(Ok(()));
                }
            }
            Err(_) => s.on_run(Run::retry_alone),
        }
    }
}

/// A slice of one session. What fails it fails nobody else.
fn alone(
    sessions: &mut [&mut Session],
    i: usize,
    stamp: u64,
    left: Option<u64>,
    report: &mut impl FnMut(usize, &mut Session, Result<Event>),
) {
    let Some(s) = sessions.get_mut(i) else { return };
    s.place.stamp = stamp;
    s.place.held = Held::No;
    // A long slice would keep the others waiting, as if there were a budget.
    let left = left.or(Some(u64::MAX));
    if let Err(e) = caught(|| s.slice(left)) {
        s.poison(e.clone());
        s.place.pending = false;
        report(i, s, Err(e));
    }
}

impl Session {
    /// The booked step.
    fn run(&self) -> Option<&Run> {
        self.instance.host().compute.booked.as_ref()
    }

    /// The booked step, if it may run with others'.
    fn merging(&self) -> Option<&Run> {
        let may = matches!(self.phase, Phase::Step) && !self.turn.apart;
        self.run().filter(|run| may && run.may_merge())
    }

    fn is_in(&self, batch: &Arc<Batch>) -> bool {
        let of = self.run().and_then(Run::batch);
        of.is_some_and(|b| Arc::ptr_eq(b, batch))
    }

    fn has_program(&self, run: &Run) -> bool {
        let programs = &self.instance.host().compute.programs;
        let mut made = programs.iter().flatten();
        made.any(|p| Arc::ptr_eq(p, run.prepared()))
    }

    fn wants_to_end(&self) -> bool {
        self.cancel.load(Ordering::Acquire)
    }

    /// Does something to the booked step that may fail it.
    fn on_run(
        &mut self,
        f: impl FnOnce(&mut Run, &mut crate::graph::memory::Memory) -> Result<()>,
    ) {
        let compute = &mut self.instance.host_mut().compute;
        let result = match compute.booked.as_mut() {
            Some(run) => f(run, &mut compute.memory),
            None => Err(no_step()),
        };
        if let Err(e) = result {
            self.step_ended(Err(e));
        }
    }
}

#[cold]
fn no_step() -> Error {
    err!(Internal, "no step is booked")
}
