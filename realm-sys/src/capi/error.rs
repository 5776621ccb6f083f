//! Statuses and messages.

use crate::error::{Error, Status};
use core::ffi::c_char;
use core::ptr;

/// The result of a call: 0 (`REALM_STATUS_OK`) or a negative number. Numbers are never reused.
pub type realm_status = i32;

/// Success.
pub const REALM_STATUS_OK: i32 = 0;
/// An argument is NULL, out of range, or inconsistent with another.
pub const REALM_STATUS_INVALID_ARGUMENT: i32 = -1;
/// Memory could not be had from the platform.
pub const REALM_STATUS_NO_MEMORY: i32 = -2;
/// Nothing has that name, id or index.
pub const REALM_STATUS_NOT_FOUND: i32 = -3;
/// The id already names other bytes.
pub const REALM_STATUS_ID_CONFLICT: i32 = -4;
/// The bytes are not a well-formed file, module or program of the expected format.
pub const REALM_STATUS_FORMAT: i32 = -5;
/// Well-formed, but a version, type, operation or architecture that this build does not know.
pub const REALM_STATUS_UNSUPPORTED: i32 = -6;
/// A limit that the caller set would be exceeded.
pub const REALM_STATUS_LIMIT: i32 = -7;
/// The call is not allowed in the object's present state.
pub const REALM_STATUS_STATE: i32 = -8;
/// The guest trapped or broke the guest ABI; its session is of no more use. Or a module of your own trapped. (A guest that runs out
/// of memory or fuel while a session is opened, or while it reads a prompt or a parameter, is a `REALM_STATUS_LIMIT`, and its session
/// goes on, where that can be taken back: see `max_guest_memory_bytes`.)
pub const REALM_STATUS_GUEST: i32 = -9;
/// A backend reported a failure.
pub const REALM_STATUS_BACKEND: i32 = -10;
/// The work was cancelled.
pub const REALM_STATUS_CANCELLED: i32 = -11;
/// The caller's buffer is too small; the size needed has been reported.
pub const REALM_STATUS_BUFFER_TOO_SMALL: i32 = -12;
/// Reading a file or device failed.
pub const REALM_STATUS_IO: i32 = -13;
/// A bug in the library, caught at the boundary. What met it (a session, linked instances of modules) is of no more use, everything
/// else goes on.
pub const REALM_STATUS_INTERNAL: i32 = -14;

/// What went wrong, in a struct of the caller's: nothing is allocated and nothing is global.
///
/// Written on failure only, and NULL may be passed wherever one is asked for, but not for the array of
/// `realm_poll_many`, where each session has one.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_error {
    /// The status that the call returned.
    pub status: realm_status,
    /// One line of UTF-8 without a newline, NUL-terminated.
    pub message: [c_char; 252],
}

impl realm_error {
    /// Fills the caller's struct and returns the status.
    ///
    /// # Safety
    /// `this` is NULL or writable.
    pub(crate) unsafe fn fill(this: *mut Self, e: &Error) -> realm_status {
        let status = e.status() as i32;
        if !this.is_null() {
            let value = Self {
                status,
                message: super::fixed(e.message()),
            };
            // SAFETY: not NULL, and the caller's promise.
            unsafe { this.write(value) };
        }
        status
    }

    /// Says that nothing went wrong.
    ///
    /// # Safety
    /// `this` is writable.
    pub(crate) unsafe fn clear(this: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe {
            ptr::addr_of_mut!((*this).status).write(REALM_STATUS_OK);
            ptr::addr_of_mut!((*this).message).cast::<c_char>().write(0);
        }
    }
}

/// The name of a status: `"REALM_STATUS_NO_MEMORY"`.
///
/// `status`: any number.
///
/// **Valid until** the library is unloaded.
///
/// **Threads**: any, at any time.
///
/// **Returns** a NUL-terminated text, never NULL; `"REALM_STATUS_UNKNOWN"` for a number that is no status.
#[unsafe(no_mangle)]
pub extern "C" fn realm_status_name(status: realm_status) -> *const c_char {
    let name = match Status::from_code(status) {
        None if status == REALM_STATUS_OK => c"REALM_STATUS_OK",
        None => c"REALM_STATUS_UNKNOWN",
        Some(status) => status.name(),
    };
    name.as_ptr()
}
