//! Guests: the WebAssembly modules that decide what a session does, and images of what they have decided.

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

/// Loads a guest: validates and translates a WebAssembly module as described in `guest/ABI.md`, or reads an image that
/// `realm_session_record` has written, which takes no interpreter.
///
/// A session with an image does, bit for bit, what the one did of which it was recorded, with any text or token ids as input; it
/// has no chat formats (`REALM_INPUT_CHAT` and what follows it), takes no parameters but `n_predict` and `seed`, and can be
/// neither saved nor forked. It opens with the model of the image only, whose digest is computed if it is not known.
///
/// A guest that grows its memory (`memory.grow`, in at most 256 places of its code) is interpreted in short slices, so that
/// growing takes no more than 192 KiB of the polling thread's stack: about half as fast as one whose memory is as large as it
/// needs from the start.
///
/// `data`, `bytes`: the module, at most 4 MiB, or the image; not needed afterwards.
/// `out` receives the guest. **Owns**: the caller, until `realm_guest_unload`.
///
/// **Threads**: any, at any time. Takes some milliseconds per 100 KB.
///
/// **Returns** `FORMAT` for what is no module or cannot be a guest (the message names an unknown import or missing
/// export), and for a damaged image; `UNSUPPORTED` for an image of another version, and for what the build has nothing to run with;
/// `LIMIT`, `NO_MEMORY`, `INVALID_ARGUMENT`.
///
/// # Safety
/// `data` points to `bytes` bytes, `out` to a pointer; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_guest_load(
    data: *const c_void,
    bytes: usize,
    out: *mut *mut realm_guest,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(out, "out")?;
        // SAFETY: the caller's promise.
        let data = unsafe { slice(data.cast::<u8>(), bytes, "data") }?;
        let guest = LoadedGuest::load(data)?;
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
