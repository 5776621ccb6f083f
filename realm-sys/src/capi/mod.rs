//! The C functions, one file per noun of `include/realm.h`; their doc comments are its text.
//!
//! | file        | what it is |
//! |-------------|------------|
//! | [`version`] | versions of library and interface |
//! | [`error`]   | statuses and the caller's error struct |
//! | [`runtime`] | platform, backends and kernels that sessions run on |
//! | [`store`]   | a table of models apart from the process-wide one |
//! | [`model`]   | registering models, and reading what is in them |
//!
//! This file is the boundary itself. Every function runs its body in [`guard`] (or [`quietly`], where it
//! has no status) and looks at pointers only through the helpers here, which answer anything but a dangling
//! pointer with a status. Outputs are written on success only, and are checked before anything is done, so
//! that a call which fails has changed nothing. Two exceptions: the caller's `realm_error` is written by
//! every call, and `BUFFER_TOO_SMALL` comes with the needed count.
#![allow(
    clippy::missing_safety_doc,
    reason = "the comments are the C header's; its contract is that pointers are NULL or valid for what is said"
)]

pub mod error;
pub mod version;

#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::platform::check_head;
use crate::{bail, err};
use alloc::alloc::{Layout, alloc};
use alloc::boxed::Box;
use core::ffi::{CStr, c_char, c_void};
use core::mem::{align_of, size_of};
use core::ptr::{self, NonNull};
use error::{realm_error, realm_status};

/// Runs the body of a function that returns a status, and reports its result to the caller's `error`.
///
/// With the feature `hosted` a panic becomes `REALM_STATUS_INTERNAL`; without, it ends in the
/// application's panic handler.
///
/// # Safety
/// `error` is NULL or writable for a whole [`realm_error`].
pub(crate) unsafe fn guard(
    error: *mut realm_error,
    body: impl FnOnce() -> Result<()>,
) -> realm_status {
    let result = caught(body).and_then(|r| r);
    // SAFETY: handed on.
    unsafe { realm_error::fill(error, result.as_ref().copied()) }
}

/// Runs the body of a function that cannot report anything; `otherwise` is what it returns after a panic.
pub(crate) fn quietly<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    caught(body).unwrap_or(otherwise)
}

#[cfg(feature = "hosted")]
fn caught<T>(body: impl FnOnce() -> T) -> Result<T> {
    // What a panic leaves half done is visible afterwards; the header lets the caller only destroy it.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).map_err(|payload| {
        let text = match payload.downcast_ref::<&str>() {
            Some(text) => text,
            None => payload
                .downcast_ref::<std::string::String>()
                .map_or("", |s| s.as_str()),
        };
        err!(Internal, "a bug in the library: {text}")
    })
}

#[cfg(not(feature = "hosted"))]
fn caught<T>(body: impl FnOnce() -> T) -> Result<T> {
    Ok(body())
}

/// Refuses NULL and misaligned pointers.
fn check<T>(p: *const T, what: &str) -> Result<()> {
    if p.is_null() {
        bail!(InvalidArgument, "{what} is NULL");
    }
    if !p.is_aligned() {
        bail!(
            InvalidArgument,
            "{what} is not aligned to {} bytes",
            align_of::<T>()
        );
    }
    Ok(())
}

/// A handle or struct of the caller's.
///
/// # Safety
/// `p` is NULL, misaligned, or valid for reads throughout `'a`.
pub(crate) unsafe fn reference<'a, T>(p: *const T, what: &str) -> Result<&'a T> {
    check(p, what)?;
    // SAFETY: neither NULL nor misaligned, so valid by contract.
    Ok(unsafe { &*p })
}

/// Types of which every bit pattern is a value: what may be read from the caller's arrays.
///
/// # Safety
/// Every bit pattern is a valid value.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: numbers, and structs of numbers and raw pointers.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for i8 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}

/// An array of the caller's: NULL is allowed if it is empty.
///
/// # Safety
/// `p` is NULL, misaligned, or valid for reads of `len` items throughout `'a`.
pub(crate) unsafe fn slice<'a, T: Plain>(p: *const T, len: usize, what: &str) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    check_array(p, len, what)?;
    // SAFETY: checked as far as that is possible, the rest is the contract.
    Ok(unsafe { core::slice::from_raw_parts(p, len) })
}

/// A buffer of the caller's for output: NULL is allowed if it is empty. Its content is undefined.
///
/// # Safety
/// `p` is NULL, misaligned, or valid for writes of `len` items throughout `'a`, and nothing else uses it.
pub(crate) unsafe fn slice_mut<'a, T: Plain>(
    p: *mut T,
    len: usize,
    what: &str,
) -> Result<&'a mut [T]> {
    if len == 0 {
        return Ok(&mut []);
    }
    check_array(p, len, what)?;
    // SAFETY: as above; memory from C has a value, whatever it is, and every value is valid.
    Ok(unsafe { core::slice::from_raw_parts_mut(p, len) })
}

fn check_array<T>(p: *const T, len: usize, what: &str) -> Result<()> {
    check(p, what)?;
    let fits = len
        .checked_mul(size_of::<T>())
        .filter(|bytes| *bytes <= isize::MAX as usize)
        .is_some_and(|bytes| p.addr().checked_add(bytes).is_some());
    if !fits {
        bail!(
            InvalidArgument,
            "{what}: {len} items do not fit an address space"
        );
    }
    Ok(())
}

/// Text with its length: any bytes that are UTF-8.
///
/// # Safety
/// As for [`slice`].
pub(crate) unsafe fn text<'a>(p: *const c_char, bytes: usize, what: &str) -> Result<&'a str> {
    // SAFETY: handed on.
    let bytes = unsafe { slice(p.cast::<u8>(), bytes, what) }?;
    core::str::from_utf8(bytes).map_err(|_| err!(InvalidArgument, "{what} is not UTF-8"))
}

/// NUL-terminated text.
///
/// # Safety
/// `p` is NULL or NUL-terminated, and unchanged throughout `'a`.
pub(crate) unsafe fn c_text<'a>(p: *const c_char, what: &str) -> Result<&'a str> {
    check(p, what)?;
    // SAFETY: not NULL, and terminated by contract.
    let text = unsafe { CStr::from_ptr(p) };
    text.to_str()
        .map_err(|_| err!(InvalidArgument, "{what} is not UTF-8"))
}

/// NUL-terminated text, or nothing for NULL.
///
/// # Safety
/// As for [`c_text`].
pub(crate) unsafe fn c_text_or_null<'a>(p: *const c_char, what: &str) -> Result<Option<&'a str>> {
    if p.is_null() {
        return Ok(None);
    }
    // SAFETY: handed on.
    unsafe { c_text(p, what) }.map(Some)
}

/// An output of the caller's that has been checked, so that writing it cannot fail any more.
pub(crate) struct Out<T>(Option<NonNull<T>>);

impl<T> Out<T> {
    /// Checks an output that must be there.
    ///
    /// # Safety
    /// `p` is NULL, misaligned, or valid for writes until the call returns.
    pub unsafe fn new(p: *mut T, what: &str) -> Result<Self> {
        check(p, what)?;
        Ok(Self(NonNull::new(p)))
    }

    /// Checks an output that the caller may leave out.
    ///
    /// # Safety
    /// As for [`new`](Self::new).
    pub unsafe fn optional(p: *mut T, what: &str) -> Result<Self> {
        if p.is_null() {
            return Ok(Self(None));
        }
        // SAFETY: handed on.
        unsafe { Self::new(p, what) }
    }

    /// Writes it; what was there is not dropped.
    pub fn set(&self, value: T) {
        if let Some(p) = self.0 {
            // SAFETY: the contract of `new`.
            unsafe { p.write(value) }
        }
    }
}

/// The output of a two-call function: the caller's buffer, and the count it learns the size from.
pub(crate) struct TwoCall<'a, T> {
    buffer: &'a mut [T],
    count: Out<usize>,
    what: &'a str,
}

impl<'a, T: Plain> TwoCall<'a, T> {
    /// Checks both. A capacity of 0, with NULL if the caller likes, asks for the size only.
    ///
    /// # Safety
    /// As for [`slice_mut`] and [`Out::new`].
    pub unsafe fn new(
        buffer: *mut T,
        capacity: usize,
        count: *mut usize,
        what: &'a str,
    ) -> Result<Self> {
        Ok(Self {
            // SAFETY: handed on.
            buffer: unsafe { slice_mut(buffer, capacity, what) }?,
            // SAFETY: handed on.
            count: unsafe { Out::new(count, "the count") }?,
            what,
        })
    }

    /// The first `needed` items of the buffer, or `BUFFER_TOO_SMALL` with the count set. Set the count with
    /// [`done`](Self::done) once they are written.
    pub fn room(&mut self, needed: usize) -> Result<&mut [T]> {
        let capacity = self.buffer.len();
        match self.buffer.get_mut(..needed) {
            Some(room) => Ok(room),
            None => {
                self.count.set(needed);
                bail!(
                    BufferTooSmall,
                    "{}: room for {capacity}, {needed} needed",
                    self.what
                );
            }
        }
    }

    /// Sets the count.
    pub fn done(&self, count: usize) {
        self.count.set(count);
    }

    /// Copies the whole result out, or fails with the count set.
    pub fn copy(&mut self, from: &[T]) -> Result<()> {
        self.room(from.len())?.copy_from_slice(from);
        self.done(from.len());
        Ok(())
    }
}

impl TwoCall<'_, u8> {
    /// Copies text out, with a NUL behind it if there is room. The NUL is not counted.
    pub fn copy_text(&mut self, from: &[u8]) -> Result<()> {
        self.copy(from)?;
        if let Some(end) = self.buffer.get_mut(from.len()) {
            *end = 0;
        }
        Ok(())
    }
}

/// A struct that opens with `struct_size` and `abi_version`.
///
/// # Safety
/// The type is `repr(C)` and starts with those two `u32`; all zeros is a valid value of it; any bytes a
/// caller of the header can put there are valid too; it has no padding.
pub(crate) unsafe trait Versioned: Copy {
    /// Its C name.
    const NAME: &'static str;
    /// The end of the last field of the first version: never changes.
    const MIN_BYTES: usize;
}

/// The head of a versioned struct.
#[repr(C)]
#[derive(Clone, Copy)]
struct Head {
    struct_size: u32,
    abi_version: u32,
}

/// Checks the head and returns the bytes that both sides know.
///
/// # Safety
/// `p` is NULL, misaligned, or valid for reads of its `struct_size`, at least that of the head.
unsafe fn common_bytes<T: Versioned>(p: *const T) -> Result<usize> {
    check(p, T::NAME)?;
    // SAFETY: every such struct is at least as long as its head, by contract.
    let head = unsafe { p.cast::<Head>().read() };
    check_head(T::NAME, head.struct_size, head.abi_version, T::MIN_BYTES)?;
    Ok(size_of::<T>().min(head.struct_size as usize))
}

/// Copies an options struct in; what an older caller's lacks is zero.
///
/// # Safety
/// As for [`common_bytes`].
pub(crate) unsafe fn read_struct<T: Versioned>(p: *const T) -> Result<T> {
    // SAFETY: handed on.
    let bytes = unsafe { common_bytes(p) }?;
    // SAFETY: zeros are a valid value, and the caller's struct has that many bytes.
    unsafe {
        let mut all = core::mem::zeroed::<T>();
        ptr::copy_nonoverlapping(p.cast::<u8>(), (&raw mut all).cast::<u8>(), bytes);
        Ok(all)
    }
}

/// An output struct of the caller's, whose head has been checked.
pub(crate) struct OutStruct<T> {
    to: *mut T,
    bytes: usize,
}

impl<T: Versioned> OutStruct<T> {
    /// Checks the head that the caller has filled in.
    ///
    /// # Safety
    /// `p` is NULL, misaligned, or valid for reads and writes of its `struct_size` until the call returns.
    pub unsafe fn new(p: *mut T) -> Result<Self> {
        // SAFETY: handed on.
        let bytes = unsafe { common_bytes(p.cast_const()) }?;
        Ok(Self { to: p, bytes })
    }

    /// Writes the fields that the caller knows; the head stays the caller's.
    pub fn set(&self, value: &T) {
        let head = size_of::<Head>();
        // SAFETY: `bytes` are common to both, and at least a head (MIN_BYTES is larger).
        unsafe {
            let from = ptr::from_ref(value).cast::<u8>();
            let rest = self.bytes.saturating_sub(head);
            ptr::copy_nonoverlapping(from.add(head), self.to.cast::<u8>().add(head), rest);
        }
    }
}

/// Refuses extensions: a chain that is silently ignored would be worse than an error.
pub(crate) fn no_extension(next: *const c_void, what: &str) -> Result<()> {
    if !next.is_null() {
        bail!(
            Unsupported,
            "{what}: this version knows no extensions, next must be NULL"
        );
    }
    Ok(())
}

/// Refuses flags that are not in `known`.
pub(crate) fn known_flags(flags: u32, known: u32, what: &str) -> Result<()> {
    if flags & !known != 0 {
        bail!(
            InvalidArgument,
            "{what}: flags {flags:#x}, known are {known:#x}"
        );
    }
    Ok(())
}

/// A fixed array of characters: as much of `text` as fits, cut between characters, always terminated.
pub(crate) fn fixed_text<const N: usize>(text: &[u8]) -> [c_char; N] {
    let mut end = text.len().min(N.saturating_sub(1));
    // Continuation bytes belong to what is before them.
    while end < text.len() && end > 0 && text.get(end).is_some_and(|b| b & 0xc0 == 0x80) {
        end -= 1;
    }
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(text.get(..end).unwrap_or(&[])) {
        *to = *from as c_char;
    }
    out
}

/// Moves a value to the heap for a handle; take it back with [`drop_handle`].
pub(crate) fn new_handle<T>(value: T, what: &str) -> Result<*mut T> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the size is not zero. `Box::new` would abort where memory is out.
    let p = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if p.is_null() {
        return Err(no_memory(what));
    }
    // SAFETY: freshly allocated with the type's layout.
    unsafe { p.write(value) };
    Ok(p)
}

#[cold]
fn no_memory(what: &str) -> Error {
    err!(NoMemory, "no memory for {what}")
}

/// Destroys a handle; NULL is allowed.
///
/// # Safety
/// `p` is NULL or from [`new_handle`], and used by nobody any more.
pub(crate) unsafe fn drop_handle<T>(p: *mut T) {
    if !p.is_null() && p.is_aligned() {
        // SAFETY: allocated by the global allocator with this layout, which is what a box is.
        quietly((), || drop(unsafe { Box::from_raw(p) }));
    }
}
