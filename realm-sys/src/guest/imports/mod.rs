//! The functions of the module `realm`: what a guest may ask of the host.
//!
//! Each import is a small function from checked arguments to a result; [`call`] finds the memory,
//! turns errors into status numbers and takes the price in fuel. No import traps.

mod compute;
mod io;
mod model;
mod store;

use super::host::HostState;
use super::memory::GuestMemory;
use crate::err;
use crate::error::{Result, Status};
use crate::panics::{caught, unless_provoked};
use wasmi::{Caller, Linker};

/// Name, parameters and result of every import: `i` is i32, `I` is i64.
pub const SIGNATURES: &[(&str, &str, &str)] = &[
    ("realm_store_model", "iiii", "i"),
    ("realm_remove_model", "i", "i"),
    ("realm_get_model_info", "iii", "i"),
    ("realm_get_tensor", "iiiiiii", "i"),
    ("realm_meta_get", "iiiiiii", "i"),
    ("realm_tensor_find", "iii", "i"),
    ("realm_tensor_info", "iiii", "i"),
    ("realm_tensor_name", "iiii", "i"),
    ("realm_vocab_info", "iii", "i"),
    ("realm_tokenize", "iiiiii", "i"),
    ("realm_token_find", "iii", "i"),
    ("realm_token_is_eog", "ii", "i"),
    ("realm_token_piece", "iiii", "i"),
    ("realm_detok_reset", "", "i"),
    ("realm_detok_push", "iii", "i"),
    ("realm_detok_flush", "ii", "i"),
    ("realm_param_get", "iiii", "i"),
    ("realm_param_key", "iii", "i"),
    ("realm_input_read", "iii", "i"),
    ("realm_emit", "iii", "i"),
    ("realm_emit_token", "i", "i"),
    ("realm_logprob", "i", "i"),
    ("realm_publish", "ii", "i"),
    ("realm_progress", "ii", "i"),
    ("realm_log", "iii", "i"),
    ("realm_fail", "ii", "i"),
    ("realm_clock_ns", "", "I"),
    ("realm_buffer_create", "iii", "i"),
    ("realm_buffer_write", "iiii", "i"),
    ("realm_buffer_read", "iiii", "i"),
    ("realm_kv_create", "ii", "i"),
    ("realm_kv_bytes", "i", "I"),
    ("realm_kv_truncate", "i", "i"),
    ("realm_program_create", "ii", "i"),
    ("realm_program_destroy", "i", "i"),
    ("realm_step_submit", "iiii", "i"),
];

/// Fuel that every import costs: a few dozen nanoseconds' worth.
const BASE_FUEL: u64 = 32;

/// Fuel for making a message, about a microsecond's worth: every import that fails does.
const MESSAGE_FUEL: u64 = 1000;

/// Defines all imports.
pub fn define(linker: &mut Linker<HostState>) -> core::result::Result<(), wasmi::Error> {
    store::define(linker)?;
    model::define(linker)?;
    io::define(linker)?;
    compute::define(linker)
}

/// What an import does, from checked arguments to a result. It is called once.
type Body<'a> = &'a mut dyn FnMut(&mut GuestMemory<'_>, &mut HostState) -> Result<i64>;

/// Runs an import that returns an `i32`.
fn call(
    caller: Caller<'_, HostState>,
    mut f: impl FnMut(&mut GuestMemory<'_>, &mut HostState) -> Result<i32>,
) -> i32 {
    run(caller, &mut |memory, host| f(memory, host).map(i64::from)) as i32
}

/// Runs an import that returns an `i64`.
fn call64(
    caller: Caller<'_, HostState>,
    mut f: impl FnMut(&mut GuestMemory<'_>, &mut HostState) -> Result<i64>,
) -> i64 {
    run(caller, &mut f)
}

/// What all imports have in common. It is not generic, because it would be there as many times as there are imports.
fn run(mut caller: Caller<'_, HostState>, f: Body<'_>) -> i64 {
    let Some(memory) = caller.data().memory.filter(|_| caller.data().bug.is_none()) else {
        return Status::State as i32 as i64;
    };
    let (bytes, host) = memory.data_and_store_mut(&mut caller);
    host.cost = BASE_FUEL;
    let mut memory = GuestMemory::new(bytes);
    // The interpreter cannot unwind, so a panic has to stop before it.
    let result = caught(|| f(&mut memory, host).map_err(unless_provoked));
    host.charge_bytes(memory.examined());
    let mut cost = host.cost;
    let value = match result {
        Ok(value) => value,
        Err(e) => {
            cost = cost.saturating_add(MESSAGE_FUEL);
            let status = e.status();
            if status == Status::Internal {
                // All of the fuel: the guest stops as soon as it may.
                cost = u64::MAX;
                host.bug = Some(e);
            } else {
                host.last_error = Some(e);
            }
            status as i32 as i64
        }
    };
    pay(&mut caller, cost);
    value
}

/// Takes the price of an import. What the slice cannot pay is owed by the event.
fn pay(caller: &mut Caller<'_, HostState>, cost: u64) {
    let fuel = caller.get_fuel().unwrap_or(0);
    if cost > fuel {
        let host = caller.data_mut();
        host.fuel_debt = host.fuel_debt.saturating_add(cost - fuel);
    }
    // Fuel metering is on, so this cannot fail.
    let _ = caller.set_fuel(fuel.saturating_sub(cost));
}

/// A handle or count as an import's result.
fn small(n: u32) -> Result<i32> {
    i32::try_from(n).map_err(|_| err!(Limit, "{n} is more than an import can return"))
}
