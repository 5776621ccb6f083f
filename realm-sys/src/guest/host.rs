//! What the imports work on: everything of a session that its guest can reach.

use crate::error::{Error, Result, try_vec};
use crate::graph::memory::Memory;
use crate::graph::prepared::Prepared;
use crate::graph::program::{MAX_FURTHER_MODELS, model_ids};
use crate::graph::run::Run;
use crate::platform::Platform;
use crate::session::limits::Limits;
use crate::session::outbox::Outbox;
use crate::session::params::Params;
use crate::store::{Model, StoreRef};
use crate::vocab::{Detokenizer, Vocab};
use crate::{bail, err};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ffi::{c_char, c_void};

use super::event;
#[cfg(feature = "interpreter")]
use super::limiter::Limiter;

/// Programs that exist at the same time.
pub const MAX_PROGRAMS: usize = 16;
/// Models a guest may have registered at the same time.
const MAX_REGISTERED: usize = 64;

/// What an attempt at a model's vocabulary costs that comes to nothing.
const VOCAB_FUEL: u64 = 20_000_000;

/// Where a session's log goes, beside the platform's.
#[derive(Clone, Copy)]
pub struct LogSink {
    /// Called with `ctx`, a level (0 error … 3 debug) and a line of UTF-8.
    pub call: unsafe extern "C" fn(ctx: *mut c_void, level: i32, text: *const c_char, bytes: usize),
    /// Handed to `call` as it is.
    pub ctx: *mut c_void,
}

// SAFETY: `realm_log_fn` is called on whatever thread polls the session; its header says so.
unsafe impl Send for LogSink {}
// SAFETY: as above.
unsafe impl Sync for LogSink {}

/// Who is told how far a prompt is.
#[derive(Clone, Copy)]
pub struct ProgressSink {
    /// Called with `ctx`, tokens done and tokens in all; not 0: the turn is to end.
    pub call: unsafe extern "C" fn(ctx: *mut c_void, done: u64, total: u64) -> i32,
    /// Handed to `call` as it is.
    pub ctx: *mut c_void,
}

// SAFETY: `realm_progress_fn` is called on whatever thread polls the session; its header says so.
unsafe impl Send for ProgressSink {}
// SAFETY: as above.
unsafe impl Sync for ProgressSink {}

/// The models a guest may name: the session's, those that the host has granted, and those it registered itself.
pub struct Models {
    /// Where guests register, and what is searched for what they registered.
    pub store: StoreRef,
    /// The session's id and model; kept even if it is removed from the store meanwhile.
    pub own: (u32, Arc<Model>),
    /// Further ones that the host lets it use: adapters.
    pub granted: Vec<(u32, Arc<Model>)>,
    /// What this guest registered: id, model, bytes counted against the quota.
    registered: Vec<(u32, Arc<Model>, u64)>,
    /// What it took back but its programs may still use, with bytes as above.
    leaving: Vec<(Weak<Model>, u64)>,
    /// Bytes that may be registered in all.
    quota: u64,
}

impl Models {
    /// The model of that id, if the guest may name it.
    pub fn get(&self, id: u32) -> Result<&Arc<Model>> {
        if id == self.own.0 {
            return Ok(&self.own.1);
        }
        let granted = self.granted.iter().map(|g| (g.0, &g.1));
        let registered = self.registered.iter().map(|r| (r.0, &r.1));
        granted
            .chain(registered)
            .find(|m| m.0 == id)
            .map(|m| m.1)
            .ok_or_else(|| err!(NotFound, "the guest may not use model {id}"))
    }

    /// The models that a recorded program names, in its order.
    pub fn of_program(&self, bytes: &[u8]) -> Result<Vec<Arc<Model>>> {
        let mut models = try_vec(1 + MAX_FURTHER_MODELS as usize, "models")?;
        for id in model_ids(bytes)? {
            models.push(Arc::clone(self.get(id)?));
        }
        Ok(models)
    }

    /// Registers a copy of `bytes`.
    pub fn register(&mut self, bytes: &[u8], id: u32) -> Result<u32> {
        self.leaving.retain(|m| m.0.strong_count() > 0);
        let held: u64 = self.leaving.iter().map(|m| m.1).sum();
        let used = self.registered.iter().fold(held, |n, r| n + r.2);
        let size = bytes.len() as u64;
        if size > self.quota.saturating_sub(used)
            || self.registered.len() + self.leaving.len() >= MAX_REGISTERED
        {
            bail!(
                Limit,
                "a model of {size} bytes is over the guest's quota of {} (max_guest_model_bytes)",
                self.quota
            );
        }
        self.registered
            .try_reserve(1)
            .map_err(|_| err!(NoMemory, "no memory for a registration"))?;
        let id = self
            .store
            .register_copy(&[bytes], id, &crate::gguf::Limits::default())?;
        match self.store.open(id) {
            Ok(model) => self.registered.push((id, model, size)),
            Err(e) => {
                // Someone removed what is not theirs; nothing is left to take back.
                return Err(e);
            }
        }
        Ok(id)
    }

    /// Whether the guest has models of its own, in use or not.
    pub fn has_registered(&self) -> bool {
        !self.registered.is_empty() || self.leaving.iter().any(|m| m.0.strong_count() > 0)
    }

    /// Takes back one registration this guest made.
    pub fn remove(&mut self, id: u32) -> Result<()> {
        let at = self
            .registered
            .iter()
            .position(|r| r.0 == id)
            .ok_or_else(|| err!(NotFound, "the guest has not registered model {id}"))?;
        self.leaving
            .try_reserve(1)
            .map_err(|_| err!(NoMemory, "no memory for a removal"))?;
        let (_, model, size) = self.registered.swap_remove(at);
        self.leaving.push((Arc::downgrade(&model), size));
        drop(model);
        self.store.remove(id)
    }
}

impl Drop for Models {
    fn drop(&mut self) {
        while let Some((id, model, _)) = self.registered.pop() {
            drop(model);
            // Gone already if the host removed it.
            let _ = self.store.remove(id);
        }
    }
}

/// Programs, buffers, KV and the booked step.
pub struct Compute {
    /// Programs by handle.
    pub programs: Vec<Option<Arc<Prepared>>>,
    /// The step submitted in this event.
    pub booked: Option<Run>,
    /// The published buffer: of logits, or, if `embeds`, an embedding.
    pub published: Option<u32>,
    /// See `published`.
    pub embeds: bool,
    /// The buffer in which the guest says how it works.
    pub recipe: Option<u32>,
    /// All buffers that were one: no image has them.
    pub recipes: Vec<u32>,
    /// A step has run: KV layers are fixed.
    pub stepped: bool,
    /// Tasks a step is split into.
    pub thread_count: u32,
    /// Buffers, KV pages, scratch.
    pub memory: Memory,
}

impl Compute {
    /// The program of that handle.
    pub fn program(&self, handle: u32) -> Result<&Arc<Prepared>> {
        self.programs
            .get(handle as usize)
            .and_then(Option::as_ref)
            .ok_or_else(|| err!(NotFound, "no program has the handle {handle}"))
    }

    /// Notes a recipe that the guest has published.
    pub fn add_recipe(&mut self, buffer: u32) -> Result<()> {
        if !self.recipes.contains(&buffer) {
            self.recipes
                .try_reserve(1)
                .map_err(|_| err!(NoMemory, "no memory for a recipe"))?;
            self.recipes.push(buffer);
        }
        self.recipe = Some(buffer);
        Ok(())
    }

    /// Takes over another session's programs and what else a fork of it needs. Memory is not among it.
    pub fn share(&mut self, other: &Self) -> Result<()> {
        self.programs = try_vec(other.programs.len(), "programs")?;
        self.programs.extend_from_slice(&other.programs);
        self.recipes = try_vec(other.recipes.len(), "recipes")?;
        self.recipes.extend_from_slice(&other.recipes);
        (self.published, self.embeds) = (other.published, other.embeds);
        self.stepped = other.stepped;
        Ok(())
    }

    /// Puts a saved program, or none, under the next handle.
    pub fn restore_program(&mut self, program: Option<Arc<Prepared>>) -> Result<()> {
        if self.programs.len() >= MAX_PROGRAMS {
            bail!(Limit, "a guest may have {MAX_PROGRAMS} programs at a time");
        }
        self.programs
            .try_reserve(1)
            .map_err(|_| err!(NoMemory, "no memory for a program"))?;
        self.programs.push(program);
        Ok(())
    }

    /// Keeps a program under the lowest free handle.
    pub fn add_program(&mut self, program: Arc<Prepared>) -> Result<u32> {
        let free = self.programs.iter().position(Option::is_none);
        let at = free.unwrap_or(self.programs.len());
        if free.is_none() {
            if at >= MAX_PROGRAMS {
                bail!(Limit, "a guest may have {MAX_PROGRAMS} programs at a time");
            }
            self.programs
                .try_reserve(1)
                .map_err(|_| err!(NoMemory, "no memory for a program"))?;
            self.programs.push(None);
        }
        if let Some(slot) = self.programs.get_mut(at) {
            *slot = Some(program);
        }
        Ok(at as u32)
    }
}

/// What a new [`HostState`] is made of.
pub struct HostParts {
    /// Where the guest's own models go.
    pub store: StoreRef,
    /// The session's model and its id.
    pub model: (u32, Arc<Model>),
    /// Further models that the guest may use, with their ids.
    pub granted: Vec<(u32, Arc<Model>)>,
    /// Bounds.
    pub limits: Limits,
    /// Buffers and KV of the session's backend.
    pub memory: Memory,
    /// The guest's parameters.
    pub params: Params,
    /// Clock, log and memory.
    pub platform: Platform,
    /// Whether the guest may read the clock.
    pub grant_clock: bool,
    /// Tasks a step is split into.
    pub thread_count: u32,
    /// The session's log.
    pub log: Option<LogSink>,
    /// Who is told of progress.
    pub watch: Option<ProgressSink>,
}

/// The data of a session's wasmi store.
pub struct HostState {
    /// The guest's memory; `None` until it is instantiated and its version is known.
    #[cfg(feature = "interpreter")]
    pub memory: Option<wasmi::Memory>,
    /// Most bytes it may grow to.
    pub memory_limit: u64,
    #[cfg(feature = "interpreter")]
    pub(super) limiter: Limiter,
    /// Fuel that the present import costs beyond its base price.
    pub(super) cost: u64,
    /// Fuel that imports cost beyond what the slice had.
    pub(super) fuel_debt: u64,
    /// The event that is being handled; 0 outside.
    pub event: u32,
    /// What the last import that failed said: the best message there is if the guest gives none.
    pub last_error: Option<Error>,
    /// The bug in the library that an import has met: it ends the session.
    #[cfg(feature = "interpreter")]
    pub(super) bug: Option<Error>,
    /// What `realm_fail` was given in this event.
    pub fail_message: Option<Error>,
    /// The models the guest may name.
    pub models: Models,
    /// The guest's parameters.
    pub params: Params,
    /// The turn's input.
    pub input: Vec<u8>,
    /// What the guest emitted and the host has not fetched yet.
    pub outbox: Outbox,
    /// Prefill progress: tokens done, tokens in all.
    pub progress: (u64, u64),
    /// The session's streaming detokenizer.
    pub detokenizer: Detokenizer,
    /// The vocabulary of the session's own model, from its first use by `realm_emit_token` on.
    #[cfg(feature = "interpreter")]
    pub(super) own_vocab: Option<Arc<Vocab>>,
    /// Reused room for text and ids.
    pub text: Vec<u8>,
    /// Programs, buffers, KV.
    pub compute: Compute,
    /// Clock and log.
    pub platform: Platform,
    /// Whether the guest may read the clock.
    pub grant_clock: bool,
    /// The session's log.
    pub log: Option<LogSink>,
    /// Who is told of progress.
    pub watch: Option<ProgressSink>,
    /// Who is told of progress wants the turn to end.
    pub give_up: bool,
}

impl HostState {
    /// The state of a new session.
    pub fn new(parts: HostParts) -> Self {
        let memory_limit = parts.limits.guest_memory_bytes;
        Self {
            #[cfg(feature = "interpreter")]
            memory: None,
            memory_limit,
            #[cfg(feature = "interpreter")]
            limiter: Limiter::new(memory_limit),
            cost: 0,
            fuel_debt: 0,
            event: 0,
            last_error: None,
            #[cfg(feature = "interpreter")]
            bug: None,
            fail_message: None,
            models: Models {
                store: parts.store,
                own: parts.model,
                granted: parts.granted,
                registered: Vec::new(),
                leaving: Vec::new(),
                quota: parts.limits.guest_model_bytes,
            },
            params: parts.params,
            input: Vec::new(),
            outbox: Outbox::new(),
            progress: (0, 0),
            detokenizer: Detokenizer::continuing(false),
            #[cfg(feature = "interpreter")]
            own_vocab: None,
            text: Vec::new(),
            compute: Compute {
                programs: Vec::new(),
                booked: None,
                published: None,
                embeds: false,
                recipe: None,
                recipes: Vec::new(),
                stepped: false,
                thread_count: parts.thread_count.max(1),
                memory: parts.memory,
            },
            platform: parts.platform,
            grant_clock: parts.grant_clock,
            log: parts.log,
            watch: parts.watch,
            give_up: false,
        }
    }

    /// What a session with the same means is made of.
    pub fn parts(&self, limits: Limits, memory: Memory, params: Params) -> Result<HostParts> {
        let mut granted = try_vec(self.models.granted.len(), "models")?;
        granted.extend_from_slice(&self.models.granted);
        Ok(HostParts {
            store: self.models.store.clone(),
            model: self.models.own.clone(),
            granted,
            limits,
            memory,
            params,
            platform: self.platform,
            grant_clock: self.grant_clock,
            thread_count: self.compute.thread_count,
            log: self.log,
            watch: self.watch,
        })
    }

    /// Notes how far the prompt is, and says so.
    pub fn note_progress(&mut self, done: u64, total: u64) {
        self.progress = (done, total);
        if let Some(watch) = self.watch {
            // SAFETY: the contract of `realm_progress_fn`.
            self.give_up |= unsafe { (watch.call)(watch.ctx, done, total) } != 0;
        }
    }

    pub(crate) fn begin_event(&mut self, kind: u32) {
        self.event = kind;
        self.last_error = None;
        self.fail_message = None;
        self.outbox.forget_logprob();
        self.fuel_debt = 0;
        #[cfg(feature = "interpreter")]
        self.limiter.forget();
    }

    /// Whether the present event belongs to a running turn.
    pub fn in_turn(&self) -> bool {
        matches!(self.event, event::PROMPT | event::STEP)
    }

    /// Lets the guest pay for work on so many bytes, at about the price of copying them itself.
    pub fn charge_bytes(&mut self, bytes: usize) {
        self.charge(bytes as u64 / 8);
    }

    /// Lets the guest pay.
    pub fn charge(&mut self, fuel: u64) {
        self.cost = self.cost.saturating_add(fuel);
    }

    /// The vocabulary of a model the guest may name.
    pub fn vocab(&mut self, id: u32) -> Result<Arc<Vocab>> {
        let vocab = self.models.get(id)?.vocab();
        if vocab.is_err() {
            // Nothing is kept of a failure, so that each further attempt takes as long.
            self.charge(VOCAB_FUEL);
        }
        vocab
    }

    /// Passes a line to the session's log and the platform's.
    pub fn write_log(&self, level: i32, text: &str) {
        if let Some(log) = self.log {
            // SAFETY: the contract of `realm_log_fn`; the text lives through the call.
            unsafe { (log.call)(log.ctx, level, text.as_ptr().cast(), text.len()) }
        } else {
            self.platform.log(level, text);
        }
    }

    /// Replaces the input by a copy of `bytes`.
    pub fn set_input(&mut self, bytes: &[u8]) -> Result<()> {
        let mut input = try_vec(bytes.len(), "bytes of input")?;
        input.extend_from_slice(bytes);
        self.input = input;
        Ok(())
    }
}
