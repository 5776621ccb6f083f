//! One session's instance of a guest: event calls, run in slices of fuel.
//!
//! A call that is out of fuel is suspended with its wasm stack and goes on at the next slice.
//! wasmi panics when a suspended call meets a store that is not its own, so both live here and
//! never leave.

use super::engine::LoadedGuest;
use super::host::HostState;
use super::{ABI_MAJOR, ABI_MINOR};
use crate::error::Result;
use crate::{bail, err};
use alloc::sync::Arc;
use wasmi::{Memory, Store, TypedFunc, TypedResumableCall, TypedResumableCallOutOfFuel};

/// How far a slice brought an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// The guest has returned this.
    Returned(i32),
    /// The slice is used up; the event goes on with the next.
    More,
}

/// Fuel for `realm_guest_abi`, which returns a constant.
const ABI_FUEL: u64 = 100_000;

/// A running guest.
pub struct Instance {
    suspended: Option<TypedResumableCallOutOfFuel<i32>>,
    /// The event that `begin` announced and no slice has started yet.
    announced: Option<(i32, i32, i32)>,
    store: Store<HostState>,
    event: TypedFunc<(i32, i32, i32), i32>,
    memory: Memory,
    /// What the present event may still burn.
    fuel_left: u64,
    /// What the suspended call needs at least to get on.
    fuel_needed: u64,
    /// The minor number of the ABI that the guest was written for.
    abi_minor: u32,
    _guest: Arc<LoadedGuest>,
}

impl Instance {
    /// Instantiates a guest and asks for its ABI version.
    ///
    /// # Errors
    /// `Limit` if its memory does not fit; `Unsupported` for another ABI version; `Guest` if it
    /// traps.
    pub fn new(guest: &Arc<LoadedGuest>, host: HostState) -> Result<Self> {
        let mut store = Store::new(guest.engine(), host);
        store.limiter(|host| &mut host.limiter);
        store
            .set_fuel(ABI_FUEL)
            .map_err(|e| err!(Internal, "fuel: {e}"))?;
        if guest.initial_memory_bytes() > store.data().memory_limit {
            bail!(
                Limit,
                "the guest starts with {} bytes of memory; max_guest_memory_bytes is {}",
                guest.initial_memory_bytes(),
                store.data().memory_limit
            );
        }
        let instance = guest
            .linker()
            .instantiate_and_start(&mut store, guest.module())
            .map_err(|e| err!(Guest, "the guest cannot be instantiated: {e}"))?;
        // Loading has checked the exports; this cannot fail.
        let missing = |what| err!(Format, "the guest does not export '{what}'");
        let memory = instance
            .get_memory(&store, "memory")
            .ok_or_else(|| missing("memory"))?;
        let abi: TypedFunc<(), i32> = instance
            .get_typed_func(&store, "realm_guest_abi")
            .map_err(|_| missing("realm_guest_abi"))?;
        let event = instance
            .get_typed_func(&store, "realm_guest_event")
            .map_err(|_| missing("realm_guest_event"))?;
        let version = abi
            .call(&mut store, ())
            .map_err(|e| err!(Guest, "the guest trapped in realm_guest_abi: {e}"))?
            as u32;
        let (major, minor) = (version >> 16, version & 0xffff);
        if major != ABI_MAJOR || minor > ABI_MINOR {
            bail!(
                Unsupported,
                "the guest is written for guest ABI {major}.{minor}, this host has {ABI_MAJOR}.{ABI_MINOR}"
            );
        }
        // Only now: until here imports answer `State`.
        store.data_mut().memory = Some(memory);
        Ok(Self {
            suspended: None,
            announced: None,
            store,
            event,
            memory,
            fuel_left: 0,
            fuel_needed: 0,
            abi_minor: minor,
            _guest: Arc::clone(guest),
        })
    }

    /// What the imports work on.
    pub fn host(&self) -> &HostState {
        self.store.data()
    }

    /// What the imports work on.
    pub fn host_mut(&mut self) -> &mut HostState {
        self.store.data_mut()
    }

    /// The minor number of the ABI that the guest was written for.
    pub fn abi_minor(&self) -> u32 {
        self.abi_minor
    }

    /// Bytes of linear memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.data_size(&self.store) as u64
    }

    /// Announces an event, which may burn `fuel` in all.
    pub fn begin(&mut self, kind: u32, a: u32, b: u32, fuel: u64) {
        self.suspended = None;
        self.announced = Some((kind as i32, a as i32, b as i32));
        self.fuel_left = fuel;
        self.fuel_needed = 0;
        let host = self.store.data_mut();
        host.begin_event(kind);
    }

    /// Takes back an event that no slice has run of. False if there is none.
    pub fn withdraw(&mut self) -> bool {
        self.announced.take().is_some()
    }

    /// Runs the event on for about `fuel`.
    ///
    /// # Errors
    /// `Guest` if the guest traps or has burnt the event's fuel; it must not be called again then.
    pub fn run(&mut self, fuel: u64) -> Result<Slice> {
        let grant = fuel.max(self.fuel_needed).min(self.fuel_left);
        if grant == 0 || grant < self.fuel_needed {
            bail!(
                Guest,
                "the guest used up its fuel for one event (fuel_per_event)"
            );
        }
        self.store
            .set_fuel(grant)
            .map_err(|e| err!(Internal, "fuel: {e}"))?;
        let result = match (self.suspended.take(), self.announced.take()) {
            (Some(call), _) => call.resume(&mut self.store),
            (None, Some(args)) => self.event.call_resumable(&mut self.store, args),
            (None, None) => bail!(Internal, "no event is running"),
        };
        let rest = self.store.get_fuel().unwrap_or(0);
        let host = self.store.data_mut();
        let burnt = (grant - rest.min(grant)).saturating_add(core::mem::take(&mut host.fuel_debt));
        self.fuel_left = self.fuel_left.saturating_sub(burnt);
        match result {
            Ok(TypedResumableCall::Finished(value)) => Ok(Slice::Returned(value)),
            Ok(TypedResumableCall::OutOfFuel(call)) => {
                self.fuel_needed = call.required_fuel();
                self.suspended = Some(call);
                Ok(Slice::More)
            }
            // No import returns a host error.
            Ok(TypedResumableCall::HostTrap(call)) => {
                bail!(Internal, "an import failed: {}", call.host_error())
            }
            Err(e) => bail!(Guest, "the guest trapped: {e}"),
        }
    }
}
