//! One session's instance of a guest: event calls, run in slices of fuel.
//!
//! A call that is out of fuel is suspended with its wasm stack and goes on at the next slice.
//! wasmi panics when a suspended call meets a store that is not its own, so both live here and
//! never leave.

use super::Slice;
use super::engine::{WasmGuest, said};
use super::host::HostState;
use super::{ABI_MAJOR, ABI_MINOR, globals};
use crate::error::{Error, Result, try_vec};
use crate::{bail, err};
use alloc::vec::Vec;
use wasmi::{
    F32, F64, Global, Memory, Store, TypedFunc, TypedResumableCall, TypedResumableCallOutOfFuel,
    Val,
};

/// Fuel for `realm_guest_abi`, which returns a constant.
const ABI_FUEL: u64 = 100_000;

/// A running guest.
pub struct WasmInstance {
    suspended: Option<TypedResumableCallOutOfFuel<i32>>,
    /// The event that `begin` announced and no slice has started yet.
    announced: Option<(i32, i32, i32)>,
    store: Store<HostState>,
    event: TypedFunc<(i32, i32, i32), i32>,
    memory: Memory,
    /// Its mutable globals; none: they cannot be had.
    globals: Option<Vec<Global>>,
    /// What the present event might burn in all.
    fuel: u64,
    /// What the present event may still burn.
    fuel_left: u64,
    /// What the suspended call needs at least to get on.
    fuel_needed: u64,
    /// The present event has burnt all that it might.
    burnt_out: bool,
    /// The minor number of the ABI that the guest was written for.
    abi_minor: u32,
    /// Fuel that may be given at once.
    slice_fuel: u64,
}

/// Bytes of a page of linear memory.
pub const PAGE_BYTES: u64 = 65_536;

/// Asks a guest for its ABI version, in slices of at most `slice` fuel.
fn abi_version(store: &mut Store<HostState>, abi: &TypedFunc<(), i32>, slice: u64) -> Result<u32> {
    let (mut left, mut suspended) = (ABI_FUEL, None::<TypedResumableCallOutOfFuel<i32>>);
    loop {
        let needed = suspended.as_ref().map_or(1, |call| call.required_fuel());
        if needed > left {
            bail!(
                Guest,
                "the guest used up its fuel in realm_guest_abi, {ABI_FUEL}"
            );
        }
        let grant = slice.max(needed).min(left);
        store
            .set_fuel(grant)
            .map_err(|e| err!(Internal, "fuel: {}", said(e)))?;
        let ended = match suspended.take() {
            Some(call) => call.resume(&mut *store),
            None => abi.call_resumable(&mut *store, ()),
        };
        left -= grant - store.get_fuel().unwrap_or(0).min(grant);
        match ended {
            Ok(TypedResumableCall::Finished(version)) => return Ok(version as u32),
            Ok(TypedResumableCall::OutOfFuel(call)) => suspended = Some(call),
            // No import returns a host error.
            Ok(TypedResumableCall::HostTrap(_)) => bail!(Internal, "an import failed"),
            Err(e) => bail!(Guest, "the guest trapped in realm_guest_abi: {}", said(e)),
        }
    }
}

/// The globals that loading has exposed.
fn exposed(
    instance: &wasmi::Instance,
    store: &Store<HostState>,
    count: u32,
) -> Result<Vec<Global>> {
    let mut all = try_vec(count as usize, "globals of a guest")?;
    for i in 0..count {
        let found = instance.get_global(store, &globals::name(i));
        all.push(found.ok_or_else(|| err!(Internal, "global {i} is gone"))?);
    }
    Ok(all)
}

impl WasmInstance {
    /// Instantiates a guest and asks for its ABI version.
    ///
    /// # Errors
    /// `Limit` if its memory does not fit; `Unsupported` for another ABI version; `Guest` if it
    /// traps.
    pub fn new(guest: &WasmGuest, host: HostState) -> Result<Self> {
        let mut store = Store::new(guest.engine(), host);
        store.limiter(|host| &mut host.limiter);
        // There is no start function that could need any.
        store
            .set_fuel(0)
            .map_err(|e| err!(Internal, "fuel: {}", said(e)))?;
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
            .map_err(|e| err!(Guest, "the guest cannot be instantiated: {}", said(e)))?;
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
        let version = abi_version(&mut store, &abi, guest.slice_fuel())?;
        let (major, minor) = (version >> 16, version & 0xffff);
        if major != ABI_MAJOR || minor > ABI_MINOR {
            bail!(
                Unsupported,
                "the guest is written for guest ABI {major}.{minor}, this host has {ABI_MAJOR}.{ABI_MINOR}"
            );
        }
        let globals = match guest.globals() {
            Some(count) => Some(exposed(&instance, &store, count)?),
            None => None,
        };
        // Only now: until here imports answer `State`.
        store.data_mut().memory = Some(memory);
        Ok(Self {
            suspended: None,
            announced: None,
            store,
            event,
            memory,
            globals,
            fuel: 0,
            fuel_left: 0,
            fuel_needed: 0,
            burnt_out: false,
            abi_minor: minor,
            slice_fuel: guest.slice_fuel(),
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

    /// Linear memory.
    pub fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    /// Linear memory, grown to `bytes`.
    ///
    /// # Errors
    /// `Format` for a size that it cannot have; `Limit` if it may not grow so far.
    pub fn memory_grown(&mut self, bytes: u64) -> Result<&mut [u8]> {
        let there = self.memory_bytes();
        if bytes < there || !bytes.is_multiple_of(PAGE_BYTES) {
            bail!(
                Format,
                "{bytes} bytes of guest memory, of which it begins with {there}"
            );
        }
        if bytes > self.host().memory_limit {
            bail!(
                Limit,
                "the guest has {bytes} bytes of memory; max_guest_memory_bytes is {}",
                self.host().memory_limit
            );
        }
        let pages = (bytes - there) / PAGE_BYTES;
        self.memory
            .grow(&mut self.store, pages)
            .map_err(|e| err!(NoMemory, "{bytes} bytes of guest memory: {}", said(e)))?;
        Ok(self.memory.data_mut(&mut self.store))
    }

    /// Its mutable globals: each one's type (0 i32, 1 i64, 2 f32, 3 f64) and bits.
    ///
    /// # Errors
    /// `Unsupported` if it has some that cannot be read.
    pub fn globals(&self) -> Result<impl Iterator<Item = (u32, u64)> + '_> {
        let Some(globals) = &self.globals else {
            bail!(
                Unsupported,
                "the guest has mutable globals that are no numbers, or too many: it can be neither saved nor forked"
            );
        };
        Ok(globals.iter().map(|g| match g.get(&self.store) {
            Val::I32(v) => (0, u64::from(v as u32)),
            Val::I64(v) => (1, v as u64),
            Val::F32(v) => (2, v.to_bits().into()),
            Val::F64(v) => (3, v.to_bits()),
            // `globals::expose` leaves out what is no number.
            _ => (u32::MAX, 0),
        }))
    }

    /// How many there are.
    pub fn global_count(&self) -> usize {
        self.globals.as_ref().map_or(0, Vec::len)
    }

    /// Sets the `i`-th of them.
    ///
    /// # Errors
    /// `Format` if it is of another type, or not there.
    pub fn set_global(&mut self, i: usize, ty: u32, bits: u64) -> Result<()> {
        let value = match ty {
            0 => Val::I32(bits as u32 as i32),
            1 => Val::I64(bits as i64),
            2 => Val::F32(F32::from_bits(bits as u32)),
            3 => Val::F64(F64::from_bits(bits)),
            _ => bail!(Format, "a global of type {ty}"),
        };
        let globals = self.globals.as_deref().unwrap_or(&[]);
        globals
            .get(i)
            .ok_or_else(|| err!(Format, "the guest has no global {i}"))?
            .set(&mut self.store, value)
            .map_err(|e| err!(Format, "global {i}: {}", said(e)))
    }

    /// Announces an event, which may burn `fuel` in all.
    pub fn begin(&mut self, kind: u32, a: u32, b: u32, fuel: u64) {
        self.suspended = None;
        self.announced = Some((kind as i32, a as i32, b as i32));
        (self.fuel, self.fuel_left) = (fuel, fuel);
        (self.fuel_needed, self.burnt_out) = (0, false);
        let host = self.store.data_mut();
        host.begin_event(kind);
    }

    /// What the present event has run out of, if it has: why it broke, if it did.
    pub fn lacking(&self) -> Option<Error> {
        match self.burnt_out {
            true => Some(err!(
                Limit,
                "the guest needs more fuel for it than it may use, {} (fuel_per_event)",
                self.fuel
            )),
            false => self.host().limiter.refusal(),
        }
    }

    /// Goes on with the host of another instance of the same guest.
    pub fn take_host(&mut self, from: &mut Self) {
        core::mem::swap(self.host_mut(), from.host_mut());
        // The handle is good for its own store only.
        core::mem::swap(&mut self.host_mut().memory, &mut from.host_mut().memory);
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
        let mut left = fuel;
        loop {
            let before = self.fuel_left;
            let slice = self.run_slice(left.min(self.slice_fuel))?;
            left = left.saturating_sub(before.saturating_sub(self.fuel_left));
            if left == 0 || !matches!(slice, Slice::More) {
                return Ok(slice);
            }
        }
    }

    /// Runs it on for as long as the native stack need not be unwound.
    fn run_slice(&mut self, fuel: u64) -> Result<Slice> {
        let grant = fuel.max(self.fuel_needed).min(self.fuel_left);
        if grant == 0 || grant < self.fuel_needed {
            self.burnt_out = true;
            bail!(
                Guest,
                "the guest used up its fuel for one event, {} (fuel_per_event)",
                self.fuel
            );
        }
        self.store
            .set_fuel(grant)
            .map_err(|e| err!(Internal, "fuel: {}", said(e)))?;
        let result = match (self.suspended.take(), self.announced.take()) {
            (Some(call), _) => call.resume(&mut self.store),
            (None, Some(args)) => self.event.call_resumable(&mut self.store, args),
            (None, None) => bail!(Internal, "no event is running"),
        };
        let rest = self.store.get_fuel().unwrap_or(0);
        let host = self.store.data_mut();
        let burnt = (grant - rest.min(grant)).saturating_add(core::mem::take(&mut host.fuel_debt));
        self.fuel_left = self.fuel_left.saturating_sub(burnt);
        if let Some(bug) = host.bug.take() {
            return Err(bug);
        }
        match result {
            Ok(TypedResumableCall::Finished(value)) => Ok(Slice::Returned(value)),
            Ok(TypedResumableCall::OutOfFuel(call)) => {
                self.fuel_needed = call.required_fuel();
                self.suspended = Some(call);
                Ok(Slice::More)
            }
            // No import returns a host error.
            Ok(TypedResumableCall::HostTrap(_)) => bail!(Internal, "an import failed"),
            // Guests that end by a panic say why before they trap.
            Err(e) => match self.host_mut().fail_message.take() {
                Some(why) => bail!(Guest, "the guest trapped: {why}"),
                None => bail!(Guest, "the guest trapped: {}", said(e)),
            },
        }
    }
}
