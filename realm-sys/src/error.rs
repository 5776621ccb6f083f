//! Statuses and messages: every fallible function of the library returns [`Result`].
//!
//! A message lives in a fixed array, so that reporting an error allocates nothing and works when
//! memory is what ran out. The numbers are part of the C ABI and are never reused.

use alloc::vec::Vec;
use core::fmt;

/// What went wrong, as the number that crosses the C boundary.
///
/// Zero is success; errors are negative; numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// An argument is null, out of range, or inconsistent with another.
    InvalidArgument = -1,
    /// Memory could not be had, from the platform or within the caller's quota.
    NoMemory = -2,
    /// Nothing has that name, id or index.
    NotFound = -3,
    /// The id already names other bytes.
    IdConflict = -4,
    /// The bytes are not a well-formed file, module or program of the expected format.
    Format = -5,
    /// Well-formed, but a version, type, operation or architecture this build does not know.
    Unsupported = -6,
    /// A limit the caller set (memory, counts, KV, fuel) would be exceeded.
    Limit = -7,
    /// The call is not allowed in the object's present state.
    State = -8,
    /// The guest trapped or broke the guest ABI.
    Guest = -9,
    /// A backend reported a failure.
    Backend = -10,
    /// The work was cancelled.
    Cancelled = -11,
    /// The caller's buffer is too small; the needed size was reported.
    BufferTooSmall = -12,
    /// Reading a file or device failed.
    Io = -13,
    /// A bug in the library, caught at the boundary.
    Internal = -14,
}

impl Status {
    /// The status with this number; anything that is not one of ours is `None`.
    pub fn from_code(code: i32) -> Option<Self> {
        const ALL: [Status; 14] = [
            Status::InvalidArgument,
            Status::NoMemory,
            Status::NotFound,
            Status::IdConflict,
            Status::Format,
            Status::Unsupported,
            Status::Limit,
            Status::State,
            Status::Guest,
            Status::Backend,
            Status::Cancelled,
            Status::BufferTooSmall,
            Status::Io,
            Status::Internal,
        ];
        ALL.into_iter().find(|s| *s as i32 == code)
    }
}

/// Bytes of message text kept with an error, the terminating zero of the C side included.
pub const MESSAGE_BYTES: usize = 240;

/// A status and one line of text that says what, where and which limit.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    status: Status,
    len: u8,
    text: [u8; MESSAGE_BYTES],
}

/// What fallible functions return.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// An error with a formatted message, cut at a character boundary if it is too long.
    #[cold]
    pub fn new(status: Status, message: fmt::Arguments<'_>) -> Self {
        let mut e = Self {
            status,
            len: 0,
            text: [0; MESSAGE_BYTES],
        };
        // Writing to the fixed array cannot fail: it truncates.
        let _ = fmt::write(&mut e, message);
        e
    }

    /// The number for C.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The same message under another status.
    pub fn set_status(&mut self, status: Status) {
        self.status = status;
    }

    /// The message, without a trailing newline.
    pub fn message(&self) -> &str {
        self.text
            .get(..usize::from(self.len))
            .and_then(|b| core::str::from_utf8(b).ok())
            .unwrap_or("")
    }
}

impl fmt::Write for Error {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            // A message is one line: control characters from hostile names would break that.
            let c = if c.is_control() { '?' } else { c };
            let mut utf8 = [0; 4];
            let bytes = c.encode_utf8(&mut utf8).as_bytes();
            let start = usize::from(self.len);
            let end = start + bytes.len();
            if end >= MESSAGE_BYTES {
                break;
            }
            if let Some(to) = self.text.get_mut(start..end) {
                to.copy_from_slice(bytes);
                self.len = end as u8;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.status, self.message())
    }
}

impl core::error::Error for Error {}

/// Builds an [`Error`]: `err!(Format, "tensor '{name}' ends past the file")`.
#[macro_export]
macro_rules! err {
    ($status:ident, $($arg:tt)*) => {
        $crate::error::Error::new($crate::error::Status::$status, format_args!($($arg)*))
    };
}

/// Returns early with an [`Error`].
#[macro_export]
macro_rules! bail {
    ($status:ident, $($arg:tt)*) => { return Err($crate::err!($status, $($arg)*)) };
}

/// A `Vec` with room for `len` items, or `NoMemory`: the way to allocate anything whose size an
/// input can influence.
pub fn try_vec<T>(len: usize, what: &str) -> Result<Vec<T>> {
    let mut v = Vec::new();
    match v.try_reserve_exact(len) {
        Ok(()) => Ok(v),
        Err(_) => Err(no_memory(len, what)),
    }
}

/// Not in [`try_vec`], which there is one of for each type.
#[cold]
#[inline(never)]
fn no_memory(len: usize, what: &str) -> Error {
    err!(NoMemory, "no memory for {len} {what}")
}

/// Names in a message: `a, b, c`.
pub struct List<I>(pub I);

impl<'a, I: Iterator<Item = &'a str> + Clone> fmt::Display for List<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.clone().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let long = "ü".repeat(300);
        let e = err!(Format, "{long}");
        assert!(e.message().len() < MESSAGE_BYTES);
        assert!(e.message().chars().all(|c| c == 'ü'));
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(err!(Io, "a\nb").message(), "a?b");
    }

    #[test]
    fn names_are_listed() {
        let names = ["cpu", "reference"];
        assert_eq!(
            err!(NotFound, "one of {}", List(names.into_iter())).message(),
            "one of cpu, reference"
        );
        assert_eq!(
            err!(NotFound, "{}", List(core::iter::empty())).message(),
            ""
        );
    }
}
