//! The bytes of one file of a model: borrowed from the application or owned, given back once.

use crate::error::Result;
use crate::{bail, err};
use alloc::alloc::{alloc, dealloc};
use core::alloc::Layout;
use core::ffi::c_void;

/// One file of a model, as the caller hands it over.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Part {
    /// The first byte; any alignment, although 64 or more lets every port use the weights in place.
    pub data: *const u8,
    /// The length in bytes.
    pub bytes: usize,
}

impl Part {
    /// The part that these bytes are.
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            bytes: bytes.len(),
        }
    }
}

/// How the application learns that the library is finished with a buffer.
///
/// Called exactly once for each part that was passed in, whatever the result of the registration:
/// before `register` returns if it fails, if the same bytes were there already or if it copied;
/// else when the model's last user goes, on that user's thread. Never called under a lock, so it
/// may call back into the store.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// Receives `ctx`, the part's first byte and its length. Must not unwind.
    pub call: unsafe extern "C" fn(ctx: *mut c_void, data: *const c_void, bytes: usize),
    /// Handed to `call` as it is.
    pub ctx: *mut c_void,
}

impl Release {
    fn run(self, part: Part) {
        // SAFETY: whoever registered promised a function that may be called with this context
        // from any thread; `Buffer` calls it once, from `drop` or in place of being made.
        unsafe { (self.call)(self.ctx, part.data.cast(), part.bytes) }
    }
}

/// The alignment of copies: a cache line, and the widest vector there is.
const COPY_ALIGN: usize = 64;

enum Owner {
    /// The application's memory.
    Borrowed(Option<Release>),
    /// Memory from the global allocator.
    Copied(Layout),
}

/// Bytes that stay where they are, unchanged, until this is dropped.
pub(super) struct Buffer {
    part: Part,
    owner: Owner,
}

// SAFETY: the bytes are only read while shared. Whoever registered them promised that they stay
// valid and unchanged until the release, and that the release may run on any thread.
unsafe impl Send for Buffer {}
// SAFETY: as above; `&Buffer` gives only `&[u8]`.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Takes over the duty to release `part`.
    ///
    /// # Safety
    /// Unless `part.data` is null, it is valid for reads of `part.bytes` bytes, which nobody
    /// changes, until `release` has run (without one: for ever). `release` may be called from any
    /// thread.
    pub unsafe fn borrow(part: Part, release: Option<Release>) -> Self {
        Self {
            part,
            owner: Owner::Borrowed(release),
        }
    }

    /// Releases a part that no buffer could be made for.
    ///
    /// # Safety
    /// As for [`borrow`](Self::borrow).
    pub unsafe fn release_now(part: Part, release: Option<Release>) {
        // SAFETY: the caller's promise is the same.
        drop(unsafe { Self::borrow(part, release) });
    }

    /// Whether this is something that may be read.
    pub fn check(&self, index: usize) -> Result<()> {
        if self.part.bytes > isize::MAX as usize {
            bail!(
                InvalidArgument,
                "parts[{index}].bytes is {}: no memory is as large",
                self.part.bytes
            );
        }
        if self.part.data.is_null() {
            bail!(InvalidArgument, "parts[{index}].data is NULL");
        }
        Ok(())
    }

    /// An owned copy, aligned to 64 bytes.
    pub fn copy(&self) -> Result<Self> {
        let bytes = self.bytes();
        let no_memory = || err!(NoMemory, "no memory to copy {} bytes of model", bytes.len());
        let layout =
            Layout::from_size_align(bytes.len().max(1), COPY_ALIGN).map_err(|_| no_memory())?;
        // SAFETY: the layout's size is not zero.
        let data = unsafe { alloc(layout) };
        if data.is_null() {
            return Err(no_memory());
        }
        // SAFETY: both are valid for `bytes.len()` bytes, and new memory overlaps nothing.
        unsafe { data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(Self {
            part: Part {
                data,
                bytes: bytes.len(),
            },
            owner: Owner::Copied(layout),
        })
    }

    pub fn is_copied(&self) -> bool {
        matches!(self.owner, Owner::Copied(_))
    }

    pub fn bytes(&self) -> &[u8] {
        if self.check(0).is_err() {
            return &[];
        }
        // SAFETY: not null, at most isize::MAX, and by the contract of `borrow` (or because it is
        // our own copy) valid and unchanged for as long as `self` lives.
        unsafe { core::slice::from_raw_parts(self.part.data, self.part.bytes) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match self.owner {
            Owner::Borrowed(None) => {}
            Owner::Borrowed(Some(release)) => release.run(self.part),
            // SAFETY: `copy` allocated it with this layout, and nothing points into it any more.
            Owner::Copied(layout) => unsafe { dealloc(self.part.data.cast_mut(), layout) },
        }
    }
}
