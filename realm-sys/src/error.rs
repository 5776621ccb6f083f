//! Statuses and messages: every fallible function of the library returns [`Result`].
//!
//! A message lives in a fixed array, so that reporting an error allocates nothing and works when
//! memory is what ran out; in terse builds it is the sentence in the source, without its values. The numbers are part of the C ABI and are never reused.

use alloc::vec::Vec;
use core::ffi::CStr;
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

    /// Its name in `realm.h`.
    pub fn name(self) -> &'static CStr {
        match self {
            Status::InvalidArgument => c"REALM_STATUS_INVALID_ARGUMENT",
            Status::NoMemory => c"REALM_STATUS_NO_MEMORY",
            Status::NotFound => c"REALM_STATUS_NOT_FOUND",
            Status::IdConflict => c"REALM_STATUS_ID_CONFLICT",
            Status::Format => c"REALM_STATUS_FORMAT",
            Status::Unsupported => c"REALM_STATUS_UNSUPPORTED",
            Status::Limit => c"REALM_STATUS_LIMIT",
            Status::State => c"REALM_STATUS_STATE",
            Status::Guest => c"REALM_STATUS_GUEST",
            Status::Backend => c"REALM_STATUS_BACKEND",
            Status::Cancelled => c"REALM_STATUS_CANCELLED",
            Status::BufferTooSmall => c"REALM_STATUS_BUFFER_TOO_SMALL",
            Status::Io => c"REALM_STATUS_IO",
            Status::Internal => c"REALM_STATUS_INTERNAL",
        }
    }
}

/// As messages show it.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().to_str().unwrap_or_default())
    }
}

/// A status and one line of text that says what, where and which limit.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    status: Status,
    text: Text,
}

/// What fallible functions return.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// An error with a formatted message, cut at a character boundary if it is too long.
    #[cold]
    #[cfg_attr(feature = "terse", inline(always))]
    pub fn new(status: Status, message: fmt::Arguments<'_>) -> Self {
        Self {
            status,
            text: Text::new(message),
        }
    }

    /// An error with the sentence as it stands in the source, places for values and all.
    #[cfg(feature = "terse")]
    pub fn plain(status: Status, text: &'static str) -> Self {
        Self {
            status,
            text: Text(text),
        }
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
        self.text.get()
    }

    /// The same error, its message behind a word on where it happened; in terse builds as it is.
    #[cfg_attr(feature = "terse", inline(always))]
    pub fn at(&self, place: fmt::Arguments<'_>) -> Self {
        if cfg!(feature = "terse") {
            return self.clone();
        }
        Self::new(self.status, format_args!("{place}: {}", self.message()))
    }
}

/// Bytes of message text kept with an error, the terminating zero of the C side included.
#[cfg(not(feature = "terse"))]
pub const MESSAGE_BYTES: usize = 240;

/// The text of an error.
#[cfg(not(feature = "terse"))]
#[derive(Clone, PartialEq, Eq)]
struct Text {
    len: u8,
    text: [u8; MESSAGE_BYTES],
}

#[cfg(not(feature = "terse"))]
impl Text {
    fn new(message: fmt::Arguments<'_>) -> Self {
        let mut text = Self {
            len: 0,
            text: [0; MESSAGE_BYTES],
        };
        // Writing to the fixed array cannot fail: it truncates.
        let _ = fmt::write(&mut text, message);
        text
    }

    fn get(&self) -> &str {
        self.text
            .get(..usize::from(self.len))
            .and_then(|b| core::str::from_utf8(b).ok())
            .unwrap_or("")
    }
}

#[cfg(not(feature = "terse"))]
impl fmt::Write for Text {
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

/// The text of an error where nothing is formatted: a part of the program, which takes neither code nor memory to make.
#[cfg(feature = "terse")]
#[derive(Clone, PartialEq, Eq)]
struct Text(&'static str);

#[cfg(feature = "terse")]
impl Text {
    #[inline(always)]
    fn new(message: fmt::Arguments<'_>) -> Self {
        // What somebody else says, such as a guest, is all value.
        Self(
            message
                .as_str()
                .unwrap_or("the reason given is not kept in this build"),
        )
    }

    fn get(&self) -> &str {
        self.0
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
#[cfg(not(feature = "terse"))]
#[macro_export]
macro_rules! err {
    ($status:ident, $($arg:tt)*) => {
        $crate::error::Error::new($crate::error::Status::$status, format_args!($($arg)*))
    };
}

/// Builds an [`Error`]. The values are named, and not looked at.
#[cfg(feature = "terse")]
#[macro_export]
macro_rules! err {
    ($status:ident, $text:literal $($arg:tt)*) => {{
        let _ = || {
            let _ = format_args!($text $($arg)*);
        };
        $crate::error::Error::plain($crate::error::Status::$status, $text)
    }};
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

/// A caller's bytes as text.
///
/// # Errors
/// `InvalidArgument`, which says from where on they are not UTF-8.
pub fn utf8(bytes: &[u8], what: impl fmt::Display) -> Result<&str> {
    core::str::from_utf8(bytes).map_err(|e| {
        err!(
            InvalidArgument,
            "{what} is not UTF-8 from byte {} of {} on",
            e.valid_up_to(),
            bytes.len()
        )
    })
}

/// A caller's text in a message, which has more to say: the beginning of one that is long.
pub struct Short<'a>(pub &'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BYTES: usize = 64;
        let fits = |(start, c): &(usize, char)| start + c.len_utf8() <= BYTES;
        let end = self.0.char_indices().take_while(fits).last();
        let end = end.map_or(0, |(start, c)| start + c.len_utf8());
        f.write_str(self.0.get(..end).unwrap_or_default())?;
        f.write_str(if end < self.0.len() { "..." } else { "" })
    }
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

#[cfg(all(test, not(feature = "terse")))]
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
    fn long_texts_are_shortened() {
        let shown = |text: &str| std::format!("{}", Short(text));
        assert_eq!(shown("kurz"), "kurz");
        assert_eq!(shown(""), "");
        assert_eq!(shown(&"ü".repeat(32)), "ü".repeat(32));
        assert_eq!(shown(&"ü".repeat(33)), "ü".repeat(32) + "...");
        assert_eq!(shown(&"€".repeat(30)), "€".repeat(21) + "...");
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
