//! The state machine of a turn, a slice at a time.
//!
//! ```text
//! prompt ─► PROMPT event ─► step ─► STEP event ─► step ─► … ─► STEP event ─► the turn's end
//!            guest slices    backend slices
//! ```
//!
//! Every slice is short, so that a budget is kept and a cancellation noticed: guest slices by
//! fuel, backend slices by the quantum they are given.

use super::{Phase, Session};
use crate::error::{Error, Result, Status};
use crate::guest::{Slice, event};
use crate::{bail, err};
use core::sync::atomic::Ordering;

/// What is said to whoever asks for something that can only be had between turns.
#[cold]
pub(super) fn running() -> Error {
    err!(
        State,
        "a turn is running: poll until it is done first, or cancel it and poll until it is done"
    )
}

/// What a poll brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The budget is spent, the turn is running.
    Again,
    /// The guest emitted a token (-1: none) and text ([`Session::text`]).
    Token(i32),
    /// The turn has ended.
    Done(DoneReason),
}

/// Why a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoneReason {
    /// An end token.
    Eos = 1,
    /// A stop string, or the guest had no more to do.
    Stop = 2,
    /// As many tokens as were asked for.
    Length = 3,
    /// The context is full.
    Context = 4,
    /// It was cancelled.
    Cancelled = 5,
}

/// The minor number of the ABI from which on guests handle REWIND and PARAMS.
const REWIND_MINOR: u32 = 2;
const PARAMS_MINOR: u32 = 2;
/// Fuel of a guest slice under a budget: some tens of microseconds; of a microcontroller, a millisecond.
const SLICE_FUEL: u64 = if cfg!(target_os = "none") {
    10_000
} else {
    100_000
};
/// Fuel of a guest slice without: only cancellation needs to be noticed.
const LONG_SLICE_FUEL: u64 = 5_000_000;
/// How long a backend is to work. Without a clock a quantum means nothing, and the step runs to its end.
pub(super) fn quantum(start: Option<u64>, left_ns: Option<u64>) -> u64 {
    match (start, left_ns) {
        (None, _) => 0,
        (Some(_), None) => MAX_QUANTUM_NS,
        (Some(_), Some(left)) => left.clamp(1, MAX_QUANTUM_NS),
    }
}

/// Longest backend slice, in nanoseconds: what a cancellation waits for.
const MAX_QUANTUM_NS: u64 = 5_000_000;

impl Session {
    /// Runs the turn on until a token, its end, or the end of the budget (0, or no clock: none).
    ///
    /// # Errors
    /// `State` if no turn is running. What the turn failed with: then it has ended, and the session
    /// can be used on, unless [`check`](Self::check) fails too.
    pub fn poll(&mut self, budget_us: u64) -> Result<Event> {
        self.check_turn()?;
        let deadline = match budget_us {
            0 => None,
            us => self
                .now()
                .map(|now| now.saturating_add(us.saturating_mul(1000))),
        };
        loop {
            let cancelled = self.cancel.load(Ordering::Acquire);
            if let Some(event) = self.gather(cancelled) {
                return event;
            }
            let left = deadline.map(|end| end.saturating_sub(self.now().unwrap_or(end)));
            // The first slice of a poll always runs, however small the budget.
            if let Err(e) = self.slice(left) {
                self.poison(e.clone());
                return Err(e);
            }
            let waits = !self.instance.host().outbox.is_empty() || self.ending.is_some();
            if let Some(end) = deadline
                && !waits
                && self.now().unwrap_or(end) >= end
            {
                return Ok(Event::Again);
            }
        }
    }

    /// Whether there is something to poll for.
    pub(super) fn check_turn(&self) -> Result<()> {
        self.check()?;
        if !self.is_busy() && self.instance.host().outbox.is_empty() {
            bail!(State, "no turn is running: prompt first");
        }
        Ok(())
    }

    /// The event that is there without further work, if one is. Otherwise a cancellation is heeded, which may be one.
    pub(super) fn gather(&mut self, cancelled: bool) -> Option<Result<Event>> {
        if let Some(token) = self.instance.host_mut().outbox.take() {
            return Some(Ok(Event::Token(token)));
        }
        if cancelled && self.ending.is_none() {
            self.heed_cancel();
        }
        let ending = self.ending.take()?;
        self.phase = Phase::Idle;
        self.forget();
        if self.embeds() && matches!(&ending, Ok(reason) if *reason != DoneReason::Cancelled) {
            self.rewound = false;
        }
        self.count_turn();
        if let Err(e) = &ending
            && e.status() == Status::Internal
        {
            self.poison(e.clone());
        }
        Some(ending.map(Event::Done))
    }

    /// Prefill progress of the turn, in tokens: done, in all. 0 until the guest says.
    pub fn progress(&self) -> (u64, u64) {
        self.instance.host().progress
    }

    /// Lets the guest handle OPEN, to its end.
    pub(super) fn run_open(&mut self, model_id: u32) -> Result<()> {
        let ended = self.run_event(event::OPEN, model_id);
        self.opened(&ended)
    }

    /// If memory or fuel did not suffice, that is said: there is nothing to take back. (By itself, so that what errors take of the stack
    /// is not below the guest.)
    #[inline(never)]
    fn opened(&mut self, ended: &Result<i32>) -> Result<()> {
        match ended {
            Ok(0) => Ok(()),
            Ok(v) if *v < 0 => Err(self.guest_error(*v)),
            Ok(v) => bail!(Guest, "the guest returned {v} after OPEN"),
            Err(e) if e.status() == Status::Internal => Err(e.clone()),
            Err(e) => Err(self.instance.lacking().unwrap_or_else(|| e.clone())),
        }
    }

    /// Lets the guest handle an event outside of turns, to its end. An error fails the session.
    fn run_event(&mut self, kind: u32, a: u32) -> Result<i32> {
        self.begin(kind, a, 0);
        let value = loop {
            if let Slice::Returned(value) = self.run_guest(LONG_SLICE_FUEL)? {
                break value;
            }
        };
        self.phase = Phase::Idle;
        self.instance.host_mut().event = 0;
        Ok(value)
    }

    /// Takes the context back to its first `position` tokens. What follows is, bit for bit, what would have followed had
    /// no more tokens ever come.
    ///
    /// # Errors
    /// `State` while a turn is running; `InvalidArgument` for more tokens than there are; `Unsupported` for a guest that is
    /// written for an ABI without it; what the guest says. Nothing has changed then, unless [`check`](Self::check) fails.
    pub fn rewind(&mut self, position: u32) -> Result<()> {
        self.check()?;
        self.between_turns()?;
        let there = self.position();
        if position > there {
            bail!(
                InvalidArgument,
                "the context has {there} tokens, it cannot go back to {position}"
            );
        }
        let minor = self.instance.abi_minor();
        if minor < REWIND_MINOR {
            bail!(
                Unsupported,
                "the guest is written for guest ABI 0.{minor}; rewinding takes 0.{REWIND_MINOR}"
            );
        }
        self.step_error = None;
        let result = match self.run_event(event::REWIND, position) {
            Ok(0) => self
                .instance
                .host_mut()
                .compute
                .memory
                .kv_truncate(position),
            Ok(v) if v < 0 => return Err(self.guest_error(v)),
            Ok(v) => Err(err!(Guest, "the guest returned {v} after REWIND")),
            Err(e) => Err(e),
        };
        match result {
            Ok(()) => {
                // The logits that are there are a later position's.
                self.rewound |= position < there;
                Ok(())
            }
            Err(e) => {
                self.poison(e.clone());
                Err(e)
            }
        }
    }

    /// Asks the guest, between turns, whether the parameters will do. Older guests say so when the next turn begins.
    ///
    /// # Errors
    /// What the guest says; nothing has changed then, unless [`check`](Self::check) fails.
    pub(super) fn check_params(&mut self) -> Result<()> {
        if self.instance.abi_minor() < PARAMS_MINOR {
            return Ok(());
        }
        self.ask(event::PARAMS, "PARAMS")
    }

    /// Lets the guest handle an event that changes nothing of the context, between turns.
    ///
    /// # Errors
    /// What the guest says; and what fails the session.
    pub(super) fn ask(&mut self, kind: u32, name: &str) -> Result<()> {
        self.step_error = None;
        let broken = match self.run_event(kind, 0) {
            Ok(0) => return Ok(()),
            Ok(v) if v < 0 => return Err(self.guest_error(v)),
            Ok(v) => err!(Guest, "the guest returned {v} after {name}"),
            Err(e) => e,
        };
        self.poison(broken.clone());
        Err(broken)
    }

    /// Refuses what cannot be done while a turn is running.
    pub(super) fn between_turns(&self) -> Result<()> {
        if self.is_busy() || !self.instance.host().outbox.is_empty() {
            return Err(running());
        }
        Ok(())
    }

    /// Announces an event to the guest.
    pub(super) fn begin(&mut self, kind: u32, a: u32, b: u32) {
        self.turn.decoding =
            kind != event::OPEN && self.instance.host().outbox.tokens() > self.turn.tokens_before;
        self.remember(kind);
        self.instance.begin(kind, a, b, self.limits.fuel_per_event);
        self.stats.guest_events += 1;
        self.turn.slices = 0;
        self.phase = Phase::Event(kind);
    }

    fn now(&self) -> Option<u64> {
        self.instance.host().platform.now_ns()
    }

    /// One slice of whatever is to be done. An error fails the session.
    pub(super) fn slice(&mut self, left_ns: Option<u64>) -> Result<()> {
        match self.phase {
            // The ending was told before.
            Phase::Idle => Ok(()),
            Phase::Event(kind) => {
                let fuel = match left_ns {
                    Some(_) => SLICE_FUEL,
                    None => LONG_SLICE_FUEL,
                };
                match self.run_guest(fuel)? {
                    Slice::More => Ok(()),
                    Slice::Returned(value) => self.returned(kind, value),
                }
            }
            Phase::Step => self.run_step(left_ns),
        }
    }

    fn run_guest(&mut self, fuel: u64) -> Result<Slice> {
        let start = self.now();
        self.turn.slices = self.turn.slices.saturating_add(1);
        let result = match self.instance.run(fuel) {
            Err(broken) => self.take_back(broken).map(Slice::Returned),
            went_on => went_on,
        };
        if !matches!(result, Ok(Slice::More)) {
            self.forget();
        }
        let running = self.instance.host().in_turn();
        if core::mem::take(&mut self.instance.host_mut().give_up) && running {
            self.cancel();
        }
        let ns = self.since(start);
        self.stats.guest_ns = self.stats.guest_ns.saturating_add(ns);
        self.count_phase(ns);
        if self.turn.decoding {
            self.stats.guest_decode_ns = self.stats.guest_decode_ns.saturating_add(ns);
        }
        result
    }

    /// What a step fails with is told to the guest, but for a bug in the library, after which nothing is known.
    fn run_step(&mut self, left_ns: Option<u64>) -> Result<()> {
        let start = self.now();
        let quantum = quantum(start, left_ns);
        self.turn.step_begun = true;
        let compute = &mut self.instance.host_mut().compute;
        let result = match compute.booked.as_mut() {
            Some(run) => run.advance(&mut compute.memory, quantum),
            None => Err(err!(Internal, "no step is booked")),
        };
        self.count_step(self.since(start));
        match result {
            Ok(false) => {}
            Ok(true) => self.step_ended(Ok(())),
            Err(e) if e.status() == Status::Internal => return Err(e),
            Err(e) => self.step_ended(Err(e)),
        }
        Ok(())
    }

    /// Counts time that a backend has spent on the step.
    pub(super) fn count_step(&mut self, ns: u64) {
        self.stats.step_ns = self.stats.step_ns.saturating_add(ns);
        self.turn.decoding = self.instance.host().outbox.tokens() > self.turn.tokens_before;
        self.count_phase(ns);
    }

    /// The booked step is over: the guest is told.
    pub(super) fn step_ended(&mut self, result: Result<()>) {
        match result {
            Ok(()) => {
                self.instance.host_mut().compute.booked = None;
                self.turn.step_begun = false;
                // An embedding takes all steps of a turn.
                self.rewound &= self.embeds();
                self.begin(event::STEP, 0, 0);
            }
            Err(e) => {
                let status = e.status() as i32;
                self.drop_step();
                self.turn.apart = true;
                self.step_error = Some(e);
                self.begin(event::STEP, status as u32, 0);
            }
        }
    }

    /// The guest has handled an event. An error is a broken rule.
    fn returned(&mut self, kind: u32, value: i32) -> Result<()> {
        let booked = self.instance.host().compute.booked.is_some();
        self.ending = match (kind, value) {
            (event::CANCEL, 0..) => Some(Ok(DoneReason::Cancelled)),
            (_, ..0) => {
                self.drop_step();
                Some(Err(self.guest_error(value)))
            }
            (_, 0) if booked => {
                self.phase = Phase::Step;
                None
            }
            (_, 0) => Some(Ok(DoneReason::Stop)),
            (_, 1..=4) if booked => bail!(
                Guest,
                "the guest submitted a step in the event that ended the turn"
            ),
            (_, 1) => Some(Ok(DoneReason::Eos)),
            (_, 2) => Some(Ok(DoneReason::Stop)),
            (_, 3) => Some(Ok(DoneReason::Length)),
            (_, 4) => Some(Ok(DoneReason::Context)),
            (_, v) => bail!(Guest, "the guest returned {v}, which means nothing"),
        };
        self.instance.host_mut().event = 0;
        Ok(())
    }

    /// The host wants the turn to end.
    ///
    /// A guest that is handling an event finishes it first: its state would be half changed. The
    /// fuel limit bounds that.
    fn heed_cancel(&mut self) {
        match self.phase {
            Phase::Event(event::PROMPT) if self.instance.withdraw() => {
                self.ending = Some(Ok(DoneReason::Cancelled));
            }
            Phase::Step => {
                self.drop_step();
                self.begin(event::CANCEL, 0, 0);
            }
            Phase::Event(_) | Phase::Idle => return,
        }
        self.cancel.store(false, Ordering::Release);
    }

    fn since(&self, start: Option<u64>) -> u64 {
        match (start, self.now()) {
            (Some(start), Some(end)) => end.saturating_sub(start),
            _ => 0,
        }
    }

    fn count_phase(&mut self, ns: u64) {
        match self.phase {
            Phase::Event(event::OPEN | event::REWIND | event::PARAMS) => {}
            _ if self.turn.decoding => {
                self.stats.decode_ns = self.stats.decode_ns.saturating_add(ns)
            }
            _ => self.stats.prefill_ns = self.stats.prefill_ns.saturating_add(ns),
        }
    }

    /// Adds the ended turn to the counters.
    fn count_turn(&mut self) {
        let host = self.instance.host();
        let generated = host.outbox.tokens() - self.turn.tokens_before;
        self.stats.prompt_tokens += host.progress.0.max(self.turn.input_ids);
        self.stats.generated_tokens += generated;
        self.stats.decode_tokens += generated.saturating_sub(1);
        self.turn.tokens_before = host.outbox.tokens();
    }
}

impl From<DoneReason> for u32 {
    fn from(reason: DoneReason) -> Self {
        reason as Self
    }
}
