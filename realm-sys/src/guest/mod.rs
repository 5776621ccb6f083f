//! The wasmi host: what runs a guest and what a guest may ask for.
//!
//! | file        | what it is |
//! |-------------|------------|
//! | `engine`    | a loaded module with an engine of its own, checked against `guest/ABI.md` |
//! | `globals`   | a module's mutable globals, made visible for saving |
//! | `instance`  | one session's instance: event calls, sliced by fuel |
//! | `host`      | what the imports work on: the state of one session |
//! | `memory`    | guest pointers, checked |
//! | `imports`   | the functions of the module `realm`, one file per section of `guest/ABI.md` |
//!
//! A guest is data of unknown origin. Nothing it does may reach memory that is not its own, exceed
//! a limit or stop the host: pointers are checked before anything else happens, every import that
//! takes time is paid for with fuel, and a trap ends its session only.

pub mod engine;
mod globals;
pub mod host;
pub mod imports;
pub mod instance;
pub mod memory;

#[cfg(test)]
pub(crate) mod tests;

use core::fmt;
pub use engine::LoadedGuest;
pub use host::HostState;
pub use instance::{Instance, Slice};

/// What the interpreter says of an error.
#[cfg(feature = "validate")]
fn said(e: impl Into<wasmi::Error>) -> impl fmt::Display {
    e.into()
}

/// The same without a validator: guests are such as have been seen to load, so of its words only those of traps are linked.
#[cfg(not(feature = "validate"))]
fn said(e: impl Into<wasmi::Error>) -> impl fmt::Display {
    use wasmi::errors::ErrorKind;
    let e = e.into();
    match (e.as_trap_code(), e.kind()) {
        (Some(trap), _) => trap.trap_message(),
        (_, ErrorKind::Memory(_) | ErrorKind::Translation(_)) => "out of memory",
        _ => "the interpreter refuses it",
    }
}

/// The major number of the guest ABI this host offers.
pub const ABI_MAJOR: u32 = 0;
/// The minor number of the guest ABI this host offers; a guest that needs a higher one is refused.
pub const ABI_MINOR: u32 = 2;

/// Events: the first argument of `realm_guest_event`.
pub mod event {
    /// Opens the session.
    pub const OPEN: u32 = 1;
    /// A turn begins; its input can be read.
    pub const PROMPT: u32 = 2;
    /// The submitted step ended.
    pub const STEP: u32 = 3;
    /// The turn was cancelled.
    pub const CANCEL: u32 = 4;
    /// The context ends earlier than it did. For guests of ABI 0.2 and later.
    pub const REWIND: u32 = 5;
    /// Parameters have changed between turns. For guests of ABI 0.2 and later.
    pub const PARAMS: u32 = 6;
}
