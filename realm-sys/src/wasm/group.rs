//! What instances share that are linked with each other: one wasmi store, one fuel tank, one set of limits.
//!
//! A group is used by one thread at a time. While a call runs it is locked; the host functions that
//! the call reaches get at it through the caller that wasmi hands them, which is noted here.

use super::MAX_VALUES;
use crate::error::{Error, Result};
use crate::{bail, err};
use alloc::sync::{Arc, Weak};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};
use spin::{Mutex, MutexGuard};
use wasmi::errors::{MemoryError, TableError};
use wasmi::{
    AsContextMut, Caller, Engine, Func, ResourceLimiter, ResumableCall, ResumableCallOutOfFuel,
    Store, StoreContextMut, TrapCode, Val,
};
use wasmi_core::LimiterError;

const _: () = assert!(MAX_VALUES <= 1000, "wasmi takes no more");

/// Instances of a group, those that could not be made included; tables and memories likewise.
pub(super) const MAX_INSTANCES: usize = 1000;

/// Fuel of a group, unless the caller says otherwise.
const FUEL: u64 = 4_000_000_000;
/// Bytes of linear memory, likewise.
const MEMORY_BYTES: u64 = 16 << 20;
/// Elements of tables, likewise.
const TABLE_ELEMENTS: u64 = 1 << 16;

/// What a group may use in all. Zero is the default.
#[derive(Clone, Copy, Default)]
pub struct Limits {
    /// Fuel to begin with.
    pub fuel: u64,
    /// Bytes of all memories.
    pub memory_bytes: u64,
    /// Elements of all tables.
    pub table_elements: u64,
}

impl Limits {
    fn or_default(self) -> Self {
        let or = |value, default| if value == 0 { default } else { value };
        Self {
            fuel: or(self.fuel, FUEL),
            memory_bytes: or(self.memory_bytes, MEMORY_BYTES),
            table_elements: or(self.table_elements, TABLE_ELEMENTS),
        }
    }

    /// Whether every field is the default.
    pub(super) fn is_default(&self) -> bool {
        self.fuel == 0 && self.memory_bytes == 0 && self.table_elements == 0
    }
}

/// What is left of something that all memories, or all tables, take from.
pub(super) struct Pool {
    all: u64,
    left: usize,
    /// The last that was asked for, and whether it was given.
    last: usize,
    given: bool,
    /// What it is, and the option that bounds it, for messages.
    what: &'static str,
    option: &'static str,
}

impl Pool {
    fn new(all: u64, what: &'static str, option: &'static str) -> Self {
        Self {
            all,
            left: usize::try_from(all).unwrap_or(usize::MAX),
            last: 0,
            given: false,
            what,
            option,
        }
    }

    fn take(&mut self, current: usize, desired: usize) -> bool {
        self.last = desired.saturating_sub(current);
        self.given = self.last <= self.left;
        if self.given {
            self.left -= self.last;
        }
        self.given
    }

    /// Takes back what was given, as its taker came to nothing.
    fn undo(&mut self) {
        if core::mem::take(&mut self.given) {
            self.left = self.left.saturating_add(self.last);
        }
    }

    /// Why the last that was asked for could not be had; `None` if it was, or if nothing has been asked for.
    pub(super) fn refusal(&self) -> Option<Error> {
        let (last, left, all) = (self.last, self.left, self.all);
        let (what, option) = (self.what, self.option);
        if self.given || last == 0 {
            return None;
        }
        Some(if last > left {
            err!(
                Limit,
                "{last} {what} are wanted, {left} are left of realm_wasm_options.{option}, {all} for all linked instances"
            )
        } else {
            err!(NoMemory, "the system does not give {last} {what}")
        })
    }
}

pub(super) struct Limiter {
    pub(super) memory: Pool,
    pub(super) tables: Pool,
}

impl Limiter {
    /// Nothing has been asked for, before something new begins.
    pub(super) fn forget(&mut self) {
        for pool in [&mut self.memory, &mut self.tables] {
            (pool.last, pool.given) = (0, false);
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> core::result::Result<bool, LimiterError> {
        Ok(self.memory.take(current, desired))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> core::result::Result<bool, LimiterError> {
        Ok(self.tables.take(current, desired))
    }

    fn memory_grow_failed(
        &mut self,
        _error: &MemoryError,
    ) -> core::result::Result<(), LimiterError> {
        self.memory.undo();
        Ok(())
    }

    fn table_grow_failed(&mut self, _error: &TableError) -> core::result::Result<(), LimiterError> {
        self.tables.undo();
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_INSTANCES
    }

    fn memories(&self) -> usize {
        MAX_INSTANCES
    }
}

/// What wasmi keeps for the group.
pub(super) struct State {
    pub(super) limiter: Limiter,
    /// The group, for the handles that host functions get.
    pub(super) group: Weak<Group>,
    /// What a host function failed with, in the call that is ending.
    pub(super) failure: Option<Error>,
    /// Fuel that was ever given.
    pub(super) fuel: u64,
    /// A call runs, or was ended by a panic.
    entered: bool,
    /// Fuel that code may be given at once: the least of what its modules may (`growth`).
    slice_fuel: u64,
    /// Fuel that the running call has left beside its slice.
    reserve: u64,
    /// The call that runs has met a bug in the library.
    pub(super) broken: bool,
}

/// A store with its limits; `fuel` is what it begins with.
pub(super) fn new_store(
    engine: &Engine,
    limits: Limits,
    fuel: u64,
    group: Weak<Group>,
) -> Store<State> {
    let state = State {
        limiter: Limiter {
            memory: Pool::new(limits.memory_bytes, "bytes of memory", "max_memory_bytes"),
            tables: Pool::new(
                limits.table_elements,
                "elements of tables",
                "max_table_elements",
            ),
        },
        group,
        failure: None,
        fuel,
        entered: false,
        slice_fuel: u64::MAX,
        reserve: 0,
        broken: false,
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    // It only fails where fuel is off, and it is on in every engine of ours.
    let _ = store.set_fuel(fuel);
    store
}

impl State {
    /// Marks that wasm is going to run.
    pub(super) fn enter(&mut self) -> Result<()> {
        if self.entered {
            bail!(
                State,
                "a call was ended by a bug in the library; these instances are of no more use"
            );
        }
        self.entered = true;
        self.failure = None;
        Ok(())
    }

    /// Holds for the code of one more module.
    pub(super) fn limit_slices(&mut self, fuel: u64) {
        self.slice_fuel = self.slice_fuel.min(fuel);
    }

    /// Marks that it has ended, and gives what a host function failed with.
    pub(super) fn leave(&mut self) -> Option<Error> {
        self.entered = self.broken;
        self.failure.take()
    }
}

/// Fuel that is left, during a call as well.
pub(super) fn fuel(ctx: &StoreContextMut<'_, State>) -> Result<u64> {
    let now = ctx.get_fuel().map_err(|e| err!(Internal, "fuel: {e}"))?;
    Ok(now.saturating_add(ctx.data().reserve))
}

/// Adds fuel. What runs gets it with a later slice.
pub(super) fn add_fuel(ctx: &mut StoreContextMut<'_, State>, more: u64) -> Result<()> {
    let reserve = ctx.data().reserve;
    let given = &mut ctx.data_mut().fuel;
    *given = given.saturating_add(more);
    if ctx.data().entered {
        ctx.data_mut().reserve = reserve.saturating_add(more);
        return Ok(());
    }
    let left = fuel(ctx)?;
    ctx.set_fuel(left.saturating_add(more))
        .map_err(|e| err!(Internal, "fuel: {e}"))
}

/// Calls a function to its end, slice by slice.
pub(super) fn call(
    store: &mut Store<State>,
    func: Func,
    args: &[Val],
    results: &mut [Val],
) -> core::result::Result<(), wasmi::Error> {
    let mut suspended = None;
    let outcome = loop {
        let total = store.get_fuel()?.saturating_add(store.data().reserve);
        let needed = suspended
            .as_ref()
            .map_or(0, ResumableCallOutOfFuel::required_fuel);
        if needed > total {
            break Err(wasmi::Error::from(TrapCode::OutOfFuel));
        }
        let slice = store.data().slice_fuel.max(needed).min(total);
        store.data_mut().reserve = total - slice;
        store.set_fuel(slice)?;
        let ended = match suspended.take() {
            None => func.call_resumable(&mut *store, args, results),
            Some(call) => ResumableCallOutOfFuel::resume(call, &mut *store, results),
        };
        match ended {
            Ok(ResumableCall::Finished) => break Ok(()),
            Ok(ResumableCall::OutOfFuel(call)) => suspended = Some(call),
            Ok(ResumableCall::HostTrap(call)) => break Err(call.into_host_error()),
            Err(e) => break Err(e),
        }
    };
    let reserve = core::mem::take(&mut store.data_mut().reserve);
    let total = store.get_fuel()?.saturating_add(reserve);
    store.set_fuel(total)?;
    outcome
}

/// Instances that may be linked with each other.
pub(super) struct Group {
    store: Mutex<Store<State>>,
    /// The caller of the host function that runs; NULL if none does. Points into that function's frame.
    caller: AtomicPtr<Caller<'static, State>>,
    pub(super) engine: Arc<Engine>,
    pub(super) limits: Limits,
}

impl Group {
    pub(super) fn new(engine: &Arc<Engine>, limits: Limits) -> Arc<Self> {
        let limits = limits.or_default();
        Arc::new_cyclic(|group| Self {
            store: Mutex::new(new_store(engine, limits, limits.fuel, Weak::clone(group))),
            caller: AtomicPtr::new(ptr::null_mut()),
            engine: Arc::clone(engine),
            limits,
        })
    }

    /// The store, for what may not be done while wasm runs.
    ///
    /// # Errors
    /// `State` from a host function, or if another thread has it.
    pub(super) fn outside(&self) -> Result<MutexGuard<'_, Store<State>>> {
        match self.store.try_lock() {
            Some(store) => Ok(store),
            None => bail!(
                State,
                "the instance, or one that is linked with it, is running; host functions may not do this"
            ),
        }
    }

    /// Does something with the store that may be done at any time, in a host function too.
    ///
    /// # Errors
    /// Those of `body`; `State` if another thread has the store.
    pub(super) fn with<R>(
        &self,
        body: impl FnOnce(StoreContextMut<'_, State>) -> Result<R>,
    ) -> Result<R> {
        let caller = self.caller.load(Ordering::Acquire);
        if caller.is_null() {
            return body(self.outside()?.as_context_mut());
        }
        // SAFETY: it is set for as long as a host function runs, whose caller it is, and which does nothing
        // with it meanwhile. A group is used by one thread at a time, so that function is below us on this stack.
        body(unsafe { &mut *caller }.as_context_mut())
    }

    /// Notes the caller of a host function until the result is dropped.
    pub(super) fn running<'a>(&'a self, caller: &'a mut Caller<'_, State>) -> Running<'a> {
        let caller = ptr::from_mut(caller).cast::<Caller<'static, State>>();
        self.caller.store(caller, Ordering::Release);
        Running(self)
    }
}

/// While a host function runs.
pub(super) struct Running<'a>(&'a Group);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.caller.store(ptr::null_mut(), Ordering::Release);
    }
}
