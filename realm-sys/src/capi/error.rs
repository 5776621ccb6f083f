//! Statuses as C sees them, and the caller's error struct.

use crate::error::{Error, MESSAGE_BYTES, Status};
use core::ffi::c_char;

/// What a call came to: 0 is OK, errors are negative. Numbers are never reused; treat one you do not know as an error.
pub type realm_status = i32;

/// Success.
pub const REALM_STATUS_OK: i32 = 0;
/// An argument is NULL, misaligned, out of range, or inconsistent with another.
pub const REALM_STATUS_INVALID_ARGUMENT: i32 = -1;
/// Memory could not be had, from the platform or within the caller's quota.
pub const REALM_STATUS_NO_MEMORY: i32 = -2;
/// Nothing has that name, id or index.
pub const REALM_STATUS_NOT_FOUND: i32 = -3;
/// The id already names other bytes.
pub const REALM_STATUS_ID_CONFLICT: i32 = -4;
/// The bytes are not a well-formed file, module or program of the expected format.
pub const REALM_STATUS_FORMAT: i32 = -5;
/// Well-formed, but a version, type, operation, extension or architecture that this build does not know.
pub const REALM_STATUS_UNSUPPORTED: i32 = -6;
/// A limit (memory, counts, KV, fuel) would be exceeded.
pub const REALM_STATUS_LIMIT: i32 = -7;
/// The call is not allowed in the object's present state.
pub const REALM_STATUS_STATE: i32 = -8;
/// The guest trapped or broke the guest interface.
pub const REALM_STATUS_GUEST: i32 = -9;
/// A backend reported a failure.
pub const REALM_STATUS_BACKEND: i32 = -10;
/// The work was cancelled.
pub const REALM_STATUS_CANCELLED: i32 = -11;
/// The caller's buffer is too small. The needed size has been written to the count.
pub const REALM_STATUS_BUFFER_TOO_SMALL: i32 = -12;
/// Reading a file or a device failed.
pub const REALM_STATUS_IO: i32 = -13;
/// A bug in the library, caught before it reached the caller. Objects that the call used can still be destroyed.
pub const REALM_STATUS_INTERNAL: i32 = -14;

/// Bytes of `realm_error.message`, the terminating NUL included.
pub const REALM_ERROR_MESSAGE_BYTES: usize = 252;

/// A status with one line of text that says what, where and which limit.
///
/// The caller owns it, and every call that is given one writes it: on success `status` is `REALM_STATUS_OK` and
/// `message` empty. It needs no initialisation. Wherever a function takes one, NULL is allowed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_error {
    /// What the call returned.
    pub status: realm_status,
    /// UTF-8 without line breaks, NUL-terminated, cut between characters if need be. Empty on success.
    pub message: [c_char; 252],
}

impl realm_error {
    /// A success; any content will do before a call.
    pub const OK: Self = Self {
        status: REALM_STATUS_OK,
        message: [0; REALM_ERROR_MESSAGE_BYTES],
    };

    /// The message, up to its NUL.
    pub fn text(&self) -> &str {
        let bytes: &[u8] = bytemuck::cast_slice(&self.message);
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(0);
        let text = bytes.get(..end).unwrap_or(&[]);
        core::str::from_utf8(text).unwrap_or("")
    }

    /// Writes the outcome of a call to the caller's struct, if there is one, and returns its status.
    ///
    /// Only the bytes up to the message's NUL are touched, so that success costs two stores.
    ///
    /// # Safety
    /// `to` is NULL or writable for the size of the struct. It may be unaligned and uninitialised.
    pub(crate) unsafe fn fill(to: *mut Self, result: Result<(), &Error>) -> realm_status {
        let (status, message) = match result {
            Ok(()) => (REALM_STATUS_OK, ""),
            Err(e) => (e.status() as i32, e.message()),
        };
        const { assert!(MESSAGE_BYTES < REALM_ERROR_MESSAGE_BYTES) };
        if !to.is_null() {
            // SAFETY: writable by contract. A message has at most MESSAGE_BYTES, so the NUL fits behind it.
            unsafe {
                (&raw mut (*to).status).write_unaligned(status);
                let text = (&raw mut (*to).message).cast::<u8>();
                text.copy_from_nonoverlapping(message.as_ptr(), message.len());
                text.add(message.len()).write(0);
            }
        }
        status
    }
}

/// The name of a status, such as `"REALM_STATUS_NO_MEMORY"`.
///
/// **Valid until** the process ends. **Threads**: any, at any time. **Returns** never NULL: for a number that this
/// version does not know, `"REALM_STATUS_UNKNOWN"`.
#[unsafe(no_mangle)]
pub extern "C" fn realm_status_name(status: realm_status) -> *const c_char {
    name(status).as_ptr()
}

fn name(status: realm_status) -> &'static core::ffi::CStr {
    if status == REALM_STATUS_OK {
        return c"REALM_STATUS_OK";
    }
    match Status::from_code(status) {
        Some(Status::InvalidArgument) => c"REALM_STATUS_INVALID_ARGUMENT",
        Some(Status::NoMemory) => c"REALM_STATUS_NO_MEMORY",
        Some(Status::NotFound) => c"REALM_STATUS_NOT_FOUND",
        Some(Status::IdConflict) => c"REALM_STATUS_ID_CONFLICT",
        Some(Status::Format) => c"REALM_STATUS_FORMAT",
        Some(Status::Unsupported) => c"REALM_STATUS_UNSUPPORTED",
        Some(Status::Limit) => c"REALM_STATUS_LIMIT",
        Some(Status::State) => c"REALM_STATUS_STATE",
        Some(Status::Guest) => c"REALM_STATUS_GUEST",
        Some(Status::Backend) => c"REALM_STATUS_BACKEND",
        Some(Status::Cancelled) => c"REALM_STATUS_CANCELLED",
        Some(Status::BufferTooSmall) => c"REALM_STATUS_BUFFER_TOO_SMALL",
        Some(Status::Io) => c"REALM_STATUS_IO",
        Some(Status::Internal) => c"REALM_STATUS_INTERNAL",
        None => c"REALM_STATUS_UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::err;
    use std::format;

    #[test]
    fn the_numbers_are_those_of_the_core() {
        let all = [
            (REALM_STATUS_INVALID_ARGUMENT, Status::InvalidArgument),
            (REALM_STATUS_NO_MEMORY, Status::NoMemory),
            (REALM_STATUS_NOT_FOUND, Status::NotFound),
            (REALM_STATUS_ID_CONFLICT, Status::IdConflict),
            (REALM_STATUS_FORMAT, Status::Format),
            (REALM_STATUS_UNSUPPORTED, Status::Unsupported),
            (REALM_STATUS_LIMIT, Status::Limit),
            (REALM_STATUS_STATE, Status::State),
            (REALM_STATUS_GUEST, Status::Guest),
            (REALM_STATUS_BACKEND, Status::Backend),
            (REALM_STATUS_CANCELLED, Status::Cancelled),
            (REALM_STATUS_BUFFER_TOO_SMALL, Status::BufferTooSmall),
            (REALM_STATUS_IO, Status::Io),
            (REALM_STATUS_INTERNAL, Status::Internal),
        ];
        for (i, (code, status)) in all.into_iter().enumerate() {
            assert_eq!(code, status as i32);
            assert_eq!(code, -1 - i as i32);
            // REALM_STATUS_NO_MEMORY and NoMemory, spelt alike.
            let spelt = name(code)
                .to_str()
                .unwrap()
                .replace("REALM_STATUS_", "")
                .replace('_', "");
            assert_eq!(spelt, format!("{status:?}").to_uppercase());
        }
        assert_eq!(name(0), c"REALM_STATUS_OK");
        for unknown in [1, -15, i32::MIN, i32::MAX] {
            assert_eq!(name(unknown), c"REALM_STATUS_UNKNOWN");
        }
    }

    #[test]
    fn an_error_is_written_whatever_was_there() {
        let mut e = realm_error {
            status: 77,
            message: [b'x' as c_char; 252],
        };
        let long = "ü".repeat(300);
        // SAFETY: a whole struct.
        let code = unsafe { realm_error::fill(&raw mut e, Err(&err!(Io, "{long}"))) };
        assert_eq!((code, e.status), (REALM_STATUS_IO, REALM_STATUS_IO));
        assert!(e.text().len() > 200 && e.text().chars().all(|c| c == 'ü'));
        // SAFETY: as above.
        assert_eq!(unsafe { realm_error::fill(&raw mut e, Ok(())) }, 0);
        assert_eq!((e.status, e.text()), (0, ""));
        // SAFETY: NULL is allowed.
        let code = unsafe { realm_error::fill(core::ptr::null_mut(), Err(&err!(Io, "x"))) };
        assert_eq!(code, REALM_STATUS_IO);
    }
}
