//! The final static and shared library: what `realm-sys` must not decide by itself.
//!
//! With the feature `hosted` (the default) memory and panics are the standard library's and
//! `ports/posix` is included. Without it the library is for firmware: memory comes from two C
//! functions that the firmware defines, and a panic, which is always a bug in this library, ends
//! in a third. See `firmware.rs` for their contracts.
#![cfg_attr(not(feature = "hosted"), no_std)]

// Named so that the linker sees them; their C functions are the library's contents.
#[cfg(feature = "hosted")]
use realm_posix as _;
use realm_sys as _;

#[cfg(not(feature = "hosted"))]
mod firmware;
