//! Guests: the WebAssembly modules that decide what a session does.

use super::error::{realm_error, realm_status};
use super::{check, guard, new_handle, put, slice};
use crate::guest::LoadedGuest;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ffi::c_void;

/// A loaded guest, shared by any number of sessions.
pub struct realm_guest {
    pub(crate) guest: Arc<LoadedGuest>,
}

/// Validates and translates a guest, a WebAssembly module as described in `guest/ABI.md`.
///
/// A guest that grows its memory (`memory.grow`, in at most 256 places of its code) is interpreted in short slices, so that
/// growing takes no more than 192 KiB of the polling thread's stack: about half as fast as one whose memory is as large as it
/// needs from the start.
///
/// `wasm`, `bytes`: the module, at most 4 MiB; not needed afterwards.
/// `out` receives the guest. **Owns**: the caller, until `realm_guest_unload`.
///
/// **Threads**: any, at any time. Takes some milliseconds per 100 KB.
///
/// **Returns** `FORMAT` for what is no module or cannot be a guest (the message names an unknown import or missing
/// export), `LIMIT`, `NO_MEMORY`, `INVALID_ARGUMENT`.
///
/// # Safety
/// `wasm` points to `bytes` bytes, `out` to a pointer; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_guest_load(
    wasm: *const c_void,
    bytes: usize,
    out: *mut *mut realm_guest,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(out, "out")?;
        // SAFETY: the caller's promise.
        let wasm = unsafe { slice(wasm.cast::<u8>(), bytes, "wasm") }?;
        let guest = LoadedGuest::load(wasm)?;
        // SAFETY: the caller's promise.
        unsafe { put(out, new_handle(realm_guest { guest }, "guest")?, "out") }
    })
}

/// Gives a guest back. Sessions opened with it go on; its memory is freed with the last of them.
///
/// `guest`: NULL is fine; nothing happens.
///
/// **Threads**: any; no other thread may be using the handle.
///
/// # Safety
/// `guest` is NULL or came from `realm_guest_load`, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_guest_unload(guest: *mut realm_guest) {
    let _ = guard(core::ptr::null_mut(), || {
        if !guest.is_null() {
            // SAFETY: made by `new_handle`, and the caller's promise.
            drop(unsafe { Box::from_raw(guest) });
        }
        Ok(())
    });
}
