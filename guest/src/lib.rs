//! Realm's prebuilt guest: it decides architecture, graph, chat format, sampling and when to stop,
//! and leaves every weight, activation and vocabulary table to the host.
//!
//! The contract with the host is `ABI.md`. The map: [`abi`] is the only file that talks to the host,
//! [`session`] is the event loop, [`program`] records programs, [`arch`] has one file per model
//! family, [`sample`] one per sampler, [`chat`] one per template family.
//!
//! Guests of other people's may be built upon it: a crate that depends on this one without the feature `exports` and
//! [`export!`]s architectures of its own (README.md, "A model that it does not know").
#![cfg_attr(target_arch = "wasm32", no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a panic is how a test fails"
    )
)]

extern crate alloc;

#[macro_use]
pub mod abi;
pub mod arch;
pub mod chat;
pub mod embed;
#[cfg(not(target_arch = "wasm32"))]
mod fake;
pub mod grammar;
#[cfg(any(test, target_arch = "wasm32"))]
mod heap;
pub mod json;
pub mod lora;
pub mod num;
pub mod params;
pub mod program;
pub mod recipe;
pub mod recur;
pub mod rng;
pub mod sample;
pub mod session;
pub mod slim;
pub mod stop;
#[cfg(test)]
mod testdata;
pub mod unsay;

use arch::Architecture;
use core::cell::UnsafeCell;
use session::Session;

/// `major << 16 | minor` of the ABI that this guest was written for.
pub const ABI_VERSION: i32 = 0x0000_0002;

/// The one session of this instance. WebAssembly runs one thread, and the host never re-enters.
struct Slot(UnsafeCell<Option<Session>>);

// SAFETY: the instance has one thread (threads are not among the features the host enables), and
// no import calls back into an export, so two references never exist at once.
unsafe impl Sync for Slot {}

static SLOT: Slot = Slot(UnsafeCell::new(None));

/// `export!(("starcoder2", open))`: the functions that the host calls, of a guest that knows these [`Architecture`]s beside
/// those of this crate, and before them.
#[macro_export]
macro_rules! export {
    ($($more:expr),*) => {
        /// The ABI version, see [`ABI_VERSION`]($crate::ABI_VERSION).
        #[unsafe(no_mangle)]
        pub extern "C" fn realm_guest_abi() -> i32 {
            $crate::ABI_VERSION
        }

        /// Handles one event of the host; see "Life of a guest" in `ABI.md`.
        #[unsafe(no_mangle)]
        pub extern "C" fn realm_guest_event(kind: i32, a: i32, b: i32) -> i32 {
            // SAFETY: the host calls it, which has one thread for an instance, and no import calls back.
            unsafe { $crate::event(&[$($more),*], kind, a, b) }
        }
    };
}

#[cfg(feature = "exports")]
export!();

/// What `realm_guest_event` does, for a guest that knows `more` architectures. [`export!`] makes a call of it.
///
/// # Safety
/// From one thread, and not while it is running.
pub unsafe fn event(more: &[Architecture], kind: i32, a: i32, b: i32) -> i32 {
    // SAFETY: by the contract above this is the only reference.
    let slot = unsafe { &mut *SLOT.0.get() };
    session::event(slot, more, kind, a, b)
}

/// Panics are bugs; the message goes to the host before the trap, so that it can be reported.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    abi::report_panic(info);
    core::arch::wasm32::unreachable()
}
