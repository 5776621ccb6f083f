//! Sessions: one guest, one model, one conversation, driven by polling.
//!
//! A session is used by one thread at a time and may move between threads. Between events of its
//! guest the wasm stack is empty, so that a suspended session is an instance and a few integers.
//!
//! | file     | what it is |
//! |----------|------------|
//! | `poll`   | the state machine: guest slice, step slice, guest slice, … |
//! | `many`   | several sessions at once: their steps in one batch |
//! | `fork`   | a second session from where one is |
//! | `state`  | a session as bytes, and back |
//! | `undo`   | taking back an event for which memory or fuel did not suffice |
//! | `record` | an image of what its guest has decided |
//! | `limits` | what a session may take |
//! | `params` | what the host tells the guest |
//! | `outbox` | what the guest tells the host |
//! | `stats`  | what it cost |

mod fork;
pub mod limits;
pub mod many;
pub mod outbox;
pub mod params;
mod poll;
#[cfg(all(feature = "interpreter", feature = "replay"))]
mod record;
pub mod state;
pub mod stats;
mod undo;

#[cfg(test)]
mod draft_tests;
#[cfg(all(test, feature = "cpu", feature = "gpu-emulation"))]
#[path = "../../../ports/gpu/sessions.rs"]
mod gpu_sessions;
#[cfg(test)]
mod grant_tests;
#[cfg(test)]
mod many_tests;
#[cfg(test)]
mod panic_tests;
#[cfg(test)]
mod param_tests;
#[cfg(test)]
mod record_tests;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod undo_tests;

use crate::backend::host::Selected;
use crate::error::{Error, Result, Status, try_vec, utf8};
use crate::graph::kernels::select;
use crate::graph::memory::{Memory, MemoryLimits};
use crate::guest::host::{HostParts, HostState, LogSink, ProgressSink};
use crate::guest::{Instance, LoadedGuest, event};
use crate::num::FpGuard;
use crate::platform::Platform;
use crate::store::{Model, StoreRef};
use crate::{bail, err};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use limits::Limits;
use params::Params;
pub use poll::{DoneReason, Event};
use stats::Stats;

/// Further models that a guest may be granted.
pub const MAX_GRANTED: usize = 64;

/// What a session is opened with.
pub struct Options {
    /// The guest.
    pub guest: Arc<LoadedGuest>,
    /// Where the guest's own models go.
    pub store: StoreRef,
    /// The id the guest knows its model by.
    pub model_id: u32,
    /// The model.
    pub model: Arc<Model>,
    /// Further models that the guest may use, with their ids: at most [`MAX_GRANTED`].
    pub granted: Vec<(u32, Arc<Model>)>,
    /// The backend and what stands in for it.
    pub backend: Selected,
    /// Memory, clock, log, threads.
    pub platform: Platform,
    /// The guest's parameters.
    pub params: Params,
    /// Bounds.
    pub limits: Limits,
    /// Whether the guest may read the clock.
    pub grant_clock: bool,
    /// Tasks a step is split into; 0 and 1: the polling thread only.
    pub thread_count: u32,
    /// The session's log; the platform's if there is none.
    pub log: Option<LogSink>,
    /// Told how far a prompt is, and asked whether to go on.
    pub watch: Option<ProgressSink>,
}

impl Options {
    /// The guest with a host of its own, before any event.
    fn instantiate(self, memory: fn(Selected, MemoryLimits) -> Memory) -> Result<Instance> {
        let limits = self.limits;
        let memory = memory(
            self.backend,
            MemoryLimits {
                buffer_bytes: limits.buffer_bytes,
                kv_bytes: limits.kv_bytes,
                scratch_bytes: limits.scratch_bytes,
            },
        );
        let host = HostState::new(HostParts {
            store: self.store,
            model: (self.model_id, self.model),
            granted: self.granted,
            limits,
            memory,
            params: self.params,
            platform: self.platform,
            grant_clock: self.grant_clock,
            thread_count: self.thread_count,
            log: self.log,
            watch: self.watch,
        });
        Instance::new(&self.guest, host)
    }
}

/// What a session will hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The guest's linear memory when the session has been opened.
    pub guest_linear_memory_bytes: u64,
    /// The most that it may grow to.
    pub guest_linear_memory_limit: u64,
    /// Session buffers.
    pub buffer_bytes: u64,
    /// Scratch memory of a step, with the backend's workspace.
    pub scratch_bytes: u64,
    /// The KV cache with as many positions as were asked about.
    pub kv_bytes: u64,
    /// What 64 positions more take.
    pub kv_page_bytes: u64,
    /// Most positions.
    pub max_positions: u32,
}

/// What kind of input a turn begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Text to be continued as it stands.
    Text = 0,
    /// Token ids, four little-endian bytes each.
    Ids = 1,
    /// A user's message.
    Chat = 2,
    /// A conversation, as a JSON array of messages.
    Messages = 3,
    /// What the assistant says next.
    Reply = 4,
    /// Nothing: the guest tells what the last reply says.
    Parse = 5,
}

/// Where a session is.
enum Phase {
    /// No turn is running.
    Idle,
    /// The guest handles an event, begun or not.
    Event(u32),
    /// The backend runs the booked step.
    Step,
}

/// A conversation.
pub struct Session {
    instance: Instance,
    phase: Phase,
    /// How the turn ended, until it is told.
    ending: Option<Result<DoneReason>>,
    /// Why the session is unusable.
    failed: Option<Error>,
    /// What the step that the guest is told about failed with.
    step_error: Option<Error>,
    /// Parameters were set during a turn, which the guest has not been asked about.
    unasked: bool,
    cancel: Arc<AtomicBool>,
    /// The logits are of a position that the context does not have any more; the embedding, of another input than the last.
    rewound: bool,
    limits: Limits,
    stats: Stats,
    turn: Turn,
    /// How things were before the present event, while it can be taken back.
    before: Option<undo::Before>,
    place: many::Place,
}

/// What a session that is not opened by its guest goes on with.
struct Origin {
    limits: Limits,
    rewound: bool,
}

/// What is counted per turn.
#[derive(Default)]
struct Turn {
    /// Tokens the outbox had seen when the turn began.
    tokens_before: u64,
    /// Ids in the input, if it was ids.
    input_ids: u64,
    /// Whether the present event began after the first token of the turn.
    decoding: bool,
    /// Whether a slice of the booked step has run.
    step_begun: bool,
    /// A step has failed: those that follow run alone, so as not to fail others' batches again and again.
    apart: bool,
    /// Slices of the guest since the present event began.
    slices: u32,
}

impl Session {
    /// Opens a session: instantiates the guest and lets it handle OPEN, in the call.
    ///
    /// # Errors
    /// What the guest says, `Guest` if it traps, `Limit`, `Unsupported`, `NoMemory`.
    pub fn open(options: Options) -> Result<Self> {
        Self::open_with(options, Memory::new)
    }

    /// What a session opened with these options would hold, and its KV cache with so many positions. The guest handles
    /// OPEN for it, as it would, and the backend prepares its programs; buffers, scratch and KV are counted and not made.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn plan(options: Options, positions: u32) -> Result<Plan> {
        let limit = options.limits.guest_memory_bytes;
        let session = Self::open_with(options, Memory::counting)?;
        let memory = &session.instance.host().compute.memory;
        let usage = memory.usage();
        let layers = memory.kv_layers().iter();
        Ok(Plan {
            guest_linear_memory_bytes: session.instance.memory_bytes(),
            guest_linear_memory_limit: limit,
            buffer_bytes: usage.buffer_bytes,
            scratch_bytes: usage.scratch_bytes,
            kv_bytes: memory.kv_planned(positions),
            kv_page_bytes: memory.kv_planned(1),
            max_positions: layers.map(|l| l.max_positions).max().unwrap_or(0),
        })
    }

    fn open_with(options: Options, make: fn(Selected, MemoryLimits) -> Memory) -> Result<Self> {
        let (limits, model_id) = (options.limits, options.model_id);
        let instance = options.instantiate(make)?;
        let rewound = false;
        let mut session = Self::of(instance, Origin { limits, rewound });
        session.run_open(model_id)?;
        Ok(session)
    }

    /// A session between turns.
    fn of(instance: Instance, origin: Origin) -> Self {
        Self {
            instance,
            phase: Phase::Idle,
            ending: None,
            failed: None,
            step_error: None,
            unasked: false,
            cancel: Arc::new(AtomicBool::new(false)),
            rewound: origin.rewound,
            limits: origin.limits,
            stats: Stats::default(),
            turn: Turn::default(),
            before: None,
            place: many::Place::default(),
        }
    }

    /// Set from any thread to end the running turn; see [`cancel`](Self::cancel).
    pub fn cancel_flag(&self) -> &Arc<AtomicBool> {
        &self.cancel
    }

    /// Asks for the running turn to end, at the next poll or within the present one. Without a
    /// running turn nothing happens: beginning a turn clears the flag.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Release);
    }

    /// Why the session cannot be used any more, if it cannot.
    pub fn check(&self) -> Result<()> {
        match &self.failed {
            Some(e) => Err(e.clone()),
            None => Ok(()),
        }
    }

    /// Sets a parameter, or forgets it with `None`. Between turns the guest is asked whether it will do; while one is running,
    /// the guest may be in the midst of an event, and says so when the next turn begins. So it does while it refuses others,
    /// that were set during a turn.
    ///
    /// # Errors
    /// As for [`Params::set`]; what the guest says. The parameter is what it was then. And if the session has failed.
    pub fn set_param(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        self.check()?;
        let params = &mut self.instance.host_mut().params;
        let before = params.set_or_unset(key, value)?;
        if self.between_turns().is_err() {
            self.unasked = true;
            return Ok(());
        }
        let Err(refusal) = self.check_params() else {
            self.unasked = false;
            return Ok(());
        };
        self.instance.host_mut().params.undo(before);
        // What was set during a turn may be refused as well: then one has to be repaired after the other.
        if self.failed.is_some() || !self.unasked || self.check_params().is_ok() {
            return Err(refusal);
        }
        self.check()?;
        let params = &mut self.instance.host_mut().params;
        params.set_or_unset(key, value).map(|_| ())
    }

    /// Where its models are.
    pub fn store(&self) -> &StoreRef {
        &self.instance.host().models.store
    }

    /// Replaces the further models that the guest may use. What its programs use of those that were granted before is kept
    /// until it has recorded others; until then an id stands for the model that they use by it.
    ///
    /// # Errors
    /// `State` while a turn is running; `IdConflict` for an id by which a program uses a model of other bytes; and if the
    /// session has failed. The models are what they were then.
    pub fn grant(&mut self, models: Vec<(u32, Arc<Model>)>) -> Result<()> {
        self.check()?;
        self.between_turns()?;
        self.check_ids(&models)?;
        let before = core::mem::replace(&mut self.instance.host_mut().models.granted, models);
        drop(before);
        Ok(())
    }

    /// Whether the ids stand for what programs use by them.
    fn check_ids(&self, models: &[(u32, Arc<Model>)]) -> Result<()> {
        for program in self.instance.host().compute.programs.iter().flatten() {
            for (id, used) in program.models()? {
                let Some((_, given)) = models.iter().find(|m| m.0 == id) else {
                    continue;
                };
                if !Arc::ptr_eq(used, given) && used.digest(None)? != given.digest(None)? {
                    bail!(
                        IdConflict,
                        "the session still uses another model with the id {id}: take the id out of the parameters and have a turn first, or register the new one with an id of its own"
                    );
                }
            }
        }
        Ok(())
    }

    /// Begins a turn with a copy of the input; polling runs it.
    ///
    /// # Errors
    /// `State` while a turn is running; `InvalidArgument` for text that is not UTF-8 or ids that
    /// are not whole; `Limit` for 2 GiB; `NoMemory`; and if the session has failed.
    pub fn prompt(&mut self, kind: InputKind, data: &[u8]) -> Result<()> {
        self.check()?;
        if self.is_busy() {
            return Err(poll::running());
        }
        let len = i32::try_from(data.len()).map_err(|_| {
            err!(
                Limit,
                "an input of {} bytes; it must be below 2 GiB",
                data.len()
            )
        })?;
        match kind {
            InputKind::Ids if !data.len().is_multiple_of(4) => {
                bail!(
                    InvalidArgument,
                    "a token id has 4 bytes: {len} bytes are no whole number of them"
                )
            }
            InputKind::Ids => {}
            _ => {
                utf8(data, "the prompt")?;
            }
        }
        let host = self.instance.host_mut();
        host.set_input(data)?;
        host.progress = (0, 0);
        host.give_up = false;
        host.outbox.clear();
        self.turn = Turn {
            tokens_before: host.outbox.tokens(),
            input_ids: match kind {
                InputKind::Ids => data.len() as u64 / 4,
                _ => 0,
            },
            ..Turn::default()
        };
        // What is there is another input's.
        self.rewound |= self.embeds();
        self.step_error = None;
        self.cancel.store(false, Ordering::Release);
        self.begin(event::PROMPT, kind as u32, len as u32);
        Ok(())
    }

    /// Whether a turn is running or its end has not been told yet.
    pub fn is_busy(&self) -> bool {
        !matches!(self.phase, Phase::Idle) || self.ending.is_some()
    }

    /// The text of the event that [`poll`](Self::poll) returned last.
    pub fn text(&self) -> &str {
        self.instance.host().outbox.text()
    }

    /// The logarithm of the probability that the model gave the token that [`poll`](Self::poll) returned last, if the guest
    /// said it.
    pub fn logprob(&self) -> Option<f32> {
        self.instance.host().outbox.logprob()
    }

    /// Tokens in the context. While a turn is running, with those of the step under way.
    pub fn position(&self) -> u32 {
        self.instance.host().compute.memory.positions()
    }

    /// How many logits there are: the columns of the buffer the guest published.
    ///
    /// # Errors
    /// `NotFound` if the guest has published none.
    pub fn logits_len(&self) -> Result<usize> {
        self.published_len(false)
    }

    /// How many elements an embedding has.
    ///
    /// # Errors
    /// `NotFound` if the guest has published none.
    pub fn embedding_len(&self) -> Result<usize> {
        self.published_len(true)
    }

    /// Whether what is published is an embedding.
    fn embeds(&self) -> bool {
        let compute = &self.instance.host().compute;
        compute.embeds && compute.published.is_some()
    }

    fn published_len(&self, embedding: bool) -> Result<usize> {
        let compute = &self.instance.host().compute;
        compute
            .published
            .filter(|_| compute.embeds == embedding)
            .and_then(|b| compute.memory.buffer_desc(b))
            .map(|b| b.cols as usize)
            .ok_or_else(|| match (compute.published.is_some(), embedding) {
                (false, true) => err!(NotFound, "the guest has published no embedding"),
                (false, false) => err!(NotFound, "the guest has published no logits"),
                (true, true) => err!(
                    NotFound,
                    "this model makes text: the guest has published logits, and no embedding"
                ),
                (true, false) => err!(
                    NotFound,
                    "this model makes embeddings: the guest has published one, and no logits"
                ),
            })
    }

    /// Copies the raw logits of the last evaluated position.
    ///
    /// # Errors
    /// `NotFound` if the guest has published none, `BufferTooSmall`, `State` while a step that
    /// may be changing them is half done, and after a rewind until the next step.
    pub fn logits(&self, dst: &mut [f32]) -> Result<()> {
        self.published(false, dst)
    }

    /// The `n` most probable tokens behind the last evaluated position, best first, with the logarithms of their probabilities.
    ///
    /// # Errors
    /// As [`Self::logits`], and `NoMemory`.
    pub fn top_logprobs(&self, n: usize) -> Result<(Vec<i32>, Vec<f32>)> {
        let len = self.logits_len()?;
        let mut logits = try_vec(len, "logits")?;
        logits.resize(len, 0.0);
        self.logits(&mut logits)?;
        let n = n.min(len);
        let (mut ids, mut values) = (try_vec(n, "ids")?, try_vec(n, "logits")?);
        ids.resize(n, 0);
        values.resize(n, 0.0);
        let _fp = FpGuard::new();
        select::top_k(&logits, &mut ids, &mut values);
        // As the guest's LOGSUMEXP has it: the same bits as `logprob`.
        let total = select::logsumexp(&logits, 1.0);
        for value in &mut values {
            *value = (*value - total).min(0.0);
        }
        Ok((ids, values))
    }

    /// Copies the embedding of the last turn's input.
    ///
    /// # Errors
    /// As [`Self::logits`]; `State` from a turn's beginning on, and after a rewind, until a turn has come to its end.
    pub fn embedding(&self, dst: &mut [f32]) -> Result<()> {
        self.published(true, dst)
    }

    fn published(&self, embedding: bool, dst: &mut [f32]) -> Result<()> {
        self.check()?;
        let n = self.published_len(embedding)?;
        if self.turn.step_begun {
            bail!(State, "a step is half done: poll to the next event first");
        }
        match (self.rewound, embedding) {
            (false, _) => {}
            (true, false) => bail!(
                State,
                "the context was rewound: the next step brings new ones"
            ),
            (true, true) => bail!(
                State,
                "the embedding of the last input was not finished: a turn that comes to its end brings one"
            ),
        }
        let Some(dst) = dst.get_mut(..n) else {
            bail!(BufferTooSmall, "{n} elements");
        };
        let compute = &self.instance.host().compute;
        let buffer = compute.published.unwrap_or(0);
        let mut bytes = [0_u8; 1024];
        for (i, part) in dst.chunks_mut(bytes.len() / 4).enumerate() {
            let offset = i as u64 * bytes.len() as u64;
            let bytes = bytes.get_mut(..part.len() * 4).unwrap_or(&mut []);
            compute.memory.buffer_read(buffer, offset, bytes)?;
            for (to, from) in part.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *to = f32::from_le_bytes(*from);
            }
        }
        Ok(())
    }

    /// What the session has cost so far.
    pub fn stats(&self) -> Stats {
        let usage = self.instance.host().compute.memory.usage();
        Stats {
            guest_linear_memory_bytes: self.instance.memory_bytes(),
            kv_bytes: usage.kv_bytes,
            scratch_bytes: usage.scratch_bytes,
            buffer_bytes: usage.buffer_bytes,
            fallback_ops: usage.fallback_ops,
            ..self.stats
        }
    }

    /// Makes every later call fail, with this error.
    pub fn poison(&mut self, e: Error) {
        if self.failed.is_none() {
            self.failed = Some(e);
        }
        self.drop_step();
        self.phase = Phase::Idle;
        self.ending = None;
        self.instance.host_mut().outbox.clear();
    }

    /// Abandons the booked step, begun or not.
    fn drop_step(&mut self) {
        let compute = &mut self.instance.host_mut().compute;
        if let Some(mut run) = compute.booked.take() {
            run.cancel();
        }
        self.turn.step_begun = false;
    }

    /// The error for a negative return: the guest's message, else the best there is.
    fn guest_error(&mut self, value: i32) -> Error {
        let mut status = Status::from_code(value).unwrap_or(Status::Guest);
        if let (Status::NoMemory, Some(lacking)) = (status, self.instance.lacking()) {
            // Memory that it may not have, unless the machine has none either.
            status = lacking.status();
        }
        let host = self.instance.host_mut();
        if let Some(mut message) = host.fail_message.take() {
            message.set_status(status);
            return message;
        }
        let same = |e: &Error| e.status() == status;
        host.last_error
            .take()
            .filter(same)
            .or_else(|| self.step_error.take().filter(same))
            .unwrap_or_else(|| {
                let mut e = err!(Guest, "the guest failed the turn ({value})");
                e.set_status(status);
                e
            })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The backend must let go of the buffers before they are given back.
        self.drop_step();
    }
}
