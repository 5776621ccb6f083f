//! What runs a guest and what a guest may ask for.
//!
//! A guest is a module, which wasmi interprets, or an image of one, which [`crate::replay`] plays.
//!
//! | file        | what it is |
//! |-------------|------------|
//! | `either`    | a guest of either kind, loaded and running: what sessions work with |
//! | `engine`    | a loaded module with an engine of its own, checked against `guest/ABI.md` |
//! | `globals`   | a module's mutable globals, made visible for saving |
//! | `instance`  | one session's instance: event calls, sliced by fuel |
//! | `host`      | what the imports work on: the state of one session |
//! | `limiter`   | what an instance may grow to |
//! | `memory`    | guest pointers, checked |
//! | `imports`   | the functions of the module `realm`, one file per section of `guest/ABI.md` |
//!
//! A guest is data of unknown origin. Nothing it does may reach memory that is not its own, exceed
//! a limit or stop the host: pointers are checked before anything else happens, every import that
//! takes time is paid for with fuel, and a trap ends its session only.

mod either;
#[cfg(feature = "interpreter")]
pub mod engine;
#[cfg(feature = "interpreter")]
mod globals;
pub mod host;
#[cfg(feature = "interpreter")]
pub mod imports;
#[cfg(feature = "interpreter")]
pub mod instance;
#[cfg(feature = "interpreter")]
mod limiter;
#[cfg(feature = "interpreter")]
pub mod memory;

#[cfg(test)]
pub(crate) mod tests;

pub use either::{Instance, LoadedGuest, Slice};
pub use host::HostState;

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
    /// The guest is to say how it makes steps and picks tokens. For guests of ABI 0.2 and later.
    pub const RECORD: u32 = 7;
}
