//! The C functions: one file per noun of `include/realm.h`, which is generated from them.
//!
//! These functions check pointers, translate types and nothing else; what they do is in the
//! modules they call. Every one passes through [`guard`], so that a status comes back whatever
//! happens.
//!
//! The header's four chapters (`tests/headers/realm_intro.h`) in short:
//!
//! **Ownership.** What a `_create`, `_open`, `_load` or `_register` function gives is taken back
//! by its `_destroy`, `_close`, `_unload` or `_remove`; those that take a handle accept NULL.
//! Handles may be given back in any order: what is still in use stays alive inside.
//! Ownership never depends on the result of a call.
//!
//! **Threads.** Stores, models, guests and modules may be used from any thread at any time. A runtime is
//! set up by one thread, and sessions may then be opened from any. A session is used by one
//! thread at a time and may move; only `realm_session_cancel` may be called at any time. No
//! function holds a lock while it computes or calls back. Callbacks may not use the session that
//! calls them. Instances of modules of your own are used by one thread at a time, those that are linked with each other together.
//!
//! **Errors.** Functions return a `realm_status`: 0 or a negative number. The last argument, a
//! `realm_error` of the caller's, receives a line of text on failure and is left alone on success;
//! NULL is fine. Outputs are written on success only, except for sizes and counts of two-call
//! functions: with too little room these return `REALM_STATUS_BUFFER_TOO_SMALL` and the size
//! needed. Nothing aborts on a caller's mistake; wild pointers are the exception. A bug in the library is `REALM_STATUS_INTERNAL` in
//! hosted builds, and ends the session or the linked instances that met it (`panics.rs`).
//!
//! **Versions.** Structs that may grow open with `struct_size` and `abi_version`, set by their
//! `REALM_..._INIT`. Fields are only ever appended; 0 is always the default.

pub mod cpu;
pub mod error;
pub mod guest;
pub mod meta;
pub mod model;
pub mod runtime;
pub mod session;
pub mod store;
pub mod tensor;
pub mod version;
pub mod vocab;
#[cfg(feature = "interpreter")]
pub mod wasm;

#[cfg(test)]
mod boundary_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod panic_tests;
#[cfg(test)]
mod runtime_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wasm_host_tests;
#[cfg(test)]
mod wasm_message_tests;
#[cfg(test)]
mod wasm_tests;

use crate::error::{Error, Result, utf8};
use crate::panics::caught;
use crate::platform::check_head;
use crate::{bail, err};
use alloc::alloc::{Layout, alloc};
use core::ffi::{CStr, c_char};
use core::fmt::Display;
use core::mem::{MaybeUninit, size_of};
use core::ptr;
use error::{REALM_STATUS_OK, realm_error, realm_status};

/// Runs the body of a C function: turns its result into a status and a message.
///
/// Panics stop here, as `REALM_STATUS_INTERNAL` ([`crate::panics`]).
pub(crate) fn guard(error: *mut realm_error, body: impl FnOnce() -> Result<()>) -> realm_status {
    match caught(body) {
        Ok(()) => REALM_STATUS_OK,
        // SAFETY: every C function's contract: `error` is NULL or the caller's struct.
        Err(e) => unsafe { realm_error::fill(error, &e) },
    }
}

/// The error for a NULL that may not be one.
#[cold]
pub(crate) fn null(what: impl Display) -> Error {
    err!(InvalidArgument, "{what} is NULL")
}

/// Refuses NULL and misaligned pointers.
pub(crate) fn check<T>(p: *const T, what: impl Display) -> Result<()> {
    if p.is_null() {
        return Err(null(what));
    }
    if !p.is_aligned() {
        bail!(InvalidArgument, "{what} is misaligned");
    }
    Ok(())
}

/// Refuses output buffers that cannot be; NULL is fine with a capacity of 0.
pub(crate) fn check_room<T>(p: *const T, capacity: usize, what: &str) -> Result<()> {
    if capacity == 0 {
        return Ok(());
    }
    if capacity > isize::MAX as usize / size_of::<T>().max(1) {
        bail!(InvalidArgument, "{what}: a capacity of {capacity} items");
    }
    check(p, what)
}

/// Moves a value to the heap for a handle, to be taken back with `Box::from_raw`. `Box::new` would
/// abort where memory is out.
pub(crate) fn new_handle<T>(value: T, what: &str) -> Result<*mut T> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the size is not zero.
    let p = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if p.is_null() {
        bail!(NoMemory, "no memory for a {what}");
    }
    // SAFETY: freshly allocated with the type's layout, as a box is.
    unsafe { p.write(value) };
    Ok(p)
}

/// Copies a struct that opens with `struct_size` and `abi_version`; what the caller's version
/// lacks is zero.
///
/// # Safety
/// `p` is NULL or points to `struct_size` readable bytes. All-zero bytes are a valid `T`.
pub(crate) unsafe fn read_struct<T: Copy>(p: *const T, what: &str, min: usize) -> Result<T> {
    check(p, what)?;
    // SAFETY: at least the two-word head is there.
    let [size, version] = unsafe { p.cast::<[u32; 2]>().read() };
    check_head(what, size, version, min)?;
    let mut value = MaybeUninit::<T>::zeroed();
    let bytes = (size as usize).min(size_of::<T>());
    // SAFETY: both sides have that many bytes, and `T` is valid with any tail of zeros.
    unsafe {
        ptr::copy_nonoverlapping(p.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), bytes);
        Ok(value.assume_init())
    }
}

/// Writes what fits of a struct to the caller's, whose head stays as it is.
///
/// # Safety
/// `p` is NULL or points to `struct_size` writable bytes, of which the head is initialised.
pub(crate) unsafe fn write_struct<T: Copy>(
    p: *mut T,
    what: &str,
    min: usize,
    value: &T,
) -> Result<()> {
    check(p, what)?;
    // SAFETY: at least the two-word head is there.
    let [size, version] = unsafe { p.cast::<[u32; 2]>().read() };
    check_head(what, size, version, min)?;
    let bytes = (size as usize).min(size_of::<T>());
    const HEAD: usize = 8;
    // SAFETY: both sides have that many bytes.
    unsafe {
        ptr::copy_nonoverlapping(
            ptr::from_ref(value).cast::<u8>().add(HEAD),
            p.cast::<u8>().add(HEAD),
            bytes.saturating_sub(HEAD),
        );
    }
    Ok(())
}

/// A caller's items; NULL only with a count of 0.
///
/// # Safety
/// `p` is NULL or points to `count` items that nobody changes for `'a`.
pub(crate) unsafe fn slice<'a, T>(p: *const T, count: usize, what: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    check(p, what)?;
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        bail!(InvalidArgument, "{what}: no memory has {count} items");
    }
    // SAFETY: not NULL, aligned, of a possible size, and the caller's promise.
    Ok(unsafe { core::slice::from_raw_parts(p, count) })
}

/// A NUL-terminated string of the caller's.
///
/// # Safety
/// `p` is NULL or points to a terminated string that nobody changes for `'a`.
pub(crate) unsafe fn text<'a>(p: *const c_char, what: impl Display) -> Result<&'a str> {
    if p.is_null() {
        return Err(null(what));
    }
    // SAFETY: not NULL, and the caller's promise.
    utf8(unsafe { CStr::from_ptr(p) }.to_bytes(), what)
}

/// A string of the caller's with a length.
///
/// # Safety
/// As for [`slice`].
pub(crate) unsafe fn text_of<'a>(p: *const c_char, bytes: usize, what: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    utf8(unsafe { slice(p.cast::<u8>(), bytes, what) }?, what)
}

/// Writes an output.
///
/// # Safety
/// `p` is NULL or points to a writable `T`.
pub(crate) unsafe fn put<T>(p: *mut T, value: T, what: &str) -> Result<()> {
    check(p, what)?;
    // SAFETY: not NULL, aligned, and the caller's promise.
    unsafe { p.write(value) };
    Ok(())
}

/// The second half of a two-call function: the count and the items, or the count alone if they do not fit. The arguments' names
/// are for messages.
///
/// # Safety
/// `dst` points to `capacity` writable items (or is NULL with 0), `count` to a `size_t`.
pub(crate) unsafe fn put_all<T: Copy>(
    items: &[T],
    (dst, dst_name): (*mut T, &str),
    capacity: usize,
    (count, count_name): (*mut usize, &str),
) -> Result<()> {
    check_room(dst, capacity, dst_name)?;
    // SAFETY: the caller's promise.
    unsafe { put(count, items.len(), count_name) }?;
    if items.len() > capacity {
        let all = items.len();
        bail!(
            BufferTooSmall,
            "{dst_name} has room for {capacity}, {all} are needed"
        );
    }
    if items.is_empty() {
        return Ok(());
    }
    // SAFETY: not NULL, as `capacity` is not 0; there is room for `capacity` items, in the caller's memory, which is not ours.
    unsafe { ptr::copy_nonoverlapping(items.as_ptr(), dst, items.len()) };
    Ok(())
}

/// [`put_all`] for text: adds a terminating zero where there is room.
///
/// # Safety
/// As for [`put_all`].
pub(crate) unsafe fn put_text(
    text: &[u8],
    (dst, dst_name): (*mut c_char, &str),
    capacity: usize,
    bytes: *mut usize,
) -> Result<()> {
    let to = (dst.cast::<u8>(), dst_name);
    // SAFETY: the caller's promise.
    unsafe { put_all(text, to, capacity, (bytes, "bytes")) }?;
    if text.len() < capacity && !dst.is_null() {
        // SAFETY: below `capacity`.
        unsafe { dst.add(text.len()).write(0) };
    }
    Ok(())
}

/// Fills a fixed text field, cut at a character, terminated.
pub(crate) fn fixed<const N: usize>(text: &str) -> [c_char; N] {
    let mut out = [0; N];
    let mut end = text.len().min(N.saturating_sub(1));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for (to, from) in out.iter_mut().zip(text.as_bytes().iter().take(end)) {
        *to = *from as c_char;
    }
    out
}
