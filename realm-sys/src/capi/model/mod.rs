//! Models: registering them, finding them, and what is known of them.
//!
//! | file       | what it is |
//! |------------|------------|
//! | [`meta`]   | metadata entries by index and by key |
//! | [`tensor`] | tensors: finding, describing, reading as floats |
//! | [`text`]   | text to token ids and back |

pub mod meta;
pub mod tensor;
pub mod text;

#[cfg(test)]
mod tests;

use super::error::{realm_error, realm_status};
use super::store::{Held, realm_store};
use super::{
    Out, OutStruct, Plain, TwoCall, Versioned, fixed_text, guard, known_flags, no_extension,
    read_struct, slice,
};
use crate::error::Result;
use crate::gguf::Limits;
use crate::platform::REALM_ABI_VERSION;
use crate::store::{Mode, Model, Part, Release};
use alloc::sync::Arc;
use core::ffi::{c_char, c_void};
use core::mem::{offset_of, size_of};
use core::ptr;

/// How the application learns that the library is finished with bytes it was given.
///
/// Called exactly once for each part of a model, whatever the result of the registration: before
/// `realm_model_register` returns if that fails, copies, or finds the same bytes there already; else when the model is
/// removed and its last session closed.
///
/// `ctx`: that of the source. `data`, `bytes`: the part as it was given.
///
/// **Threads**: that of the call which let go of the model. No lock is held: it may call back into the library. It must
/// not unwind (no C++ exception, no `longjmp`).
pub type realm_release_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, data: *const c_void, bytes: usize)>;

/// A run of bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_bytes {
    /// The first byte. Any alignment will do; a multiple of 64 lets every backend use weights in place.
    pub data: *const c_void,
    /// Length in bytes.
    pub bytes: usize,
}

// SAFETY: a pointer and a number, of which every bit pattern is a value.
unsafe impl Plain for realm_bytes {}

/// What a model file may claim before registering it fails with `REALM_STATUS_LIMIT`.
///
/// Zero gives the default, which passes every published model. Whatever the limits, a file cannot make the library
/// allocate more than a small multiple of its own metadata.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_model_limits {
    /// Size of the caller's struct in bytes. Set by `REALM_MODEL_LIMITS_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_MODEL_LIMITS_INIT`.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// Not used; NULL.
    pub ctx: *mut c_void,
    /// Bytes of everything before the tensor data, per file. 0: 512 MiB.
    pub max_metadata_bytes: u64,
    /// Tensors, of all files together. 0: 65 536.
    pub max_tensor_count: u64,
    /// Metadata entries, per file. 0: 65 536.
    pub max_kv_count: u64,
    /// Elements of one metadata array. 0: 16 777 216.
    pub max_array_count: u64,
    /// Bytes of one string. 0: 64 MiB.
    pub max_string_bytes: u64,
}

// SAFETY: repr(C), opens with the head, and is made of numbers and raw pointers.
unsafe impl Versioned for realm_model_limits {
    const NAME: &'static str = "realm_model_limits";
    const MIN_BYTES: usize = offset_of!(Self, max_string_bytes) + size_of::<u64>();
}

impl realm_model_limits {
    /// The core's limits, defaults filled in.
    fn limits(&self) -> Limits {
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        let d = Limits::default();
        Limits {
            metadata_bytes: or(self.max_metadata_bytes, d.metadata_bytes),
            tensor_count: or(self.max_tensor_count, d.tensor_count),
            kv_count: or(self.max_kv_count, d.kv_count),
            array_count: or(self.max_array_count, d.array_count),
            string_bytes: or(self.max_string_bytes, d.string_bytes),
            ..d
        }
    }
}

/// `realm_model_source.flags`: the library copies the bytes and releases them before it returns.
pub const REALM_MODEL_COPY: u32 = 1;

/// A model to be registered: its bytes, and what is to become of them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_model_source {
    /// Size of the caller's struct in bytes. Set by `REALM_MODEL_SOURCE_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_MODEL_SOURCE_INIT`.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// First argument of `release`.
    pub ctx: *mut c_void,
    /// The model's files in order: one GGUF, or the parts of a split one. The array is read during the call only; the
    /// bytes it points to are used where they are, and nobody may change them, **valid until** `release` is called for
    /// them (without a `release`: for as long as the process runs; with `REALM_MODEL_COPY`: until the call returns).
    pub parts: *const realm_bytes,
    /// Number of parts, 1 to 65 535.
    pub part_count: usize,
    /// The id the model is to have. 0: derived from the SHA-256 of its bytes, all of which are read for it.
    pub id: u32,
    /// `REALM_MODEL_COPY`, or 0.
    pub flags: u32,
    /// (optional) Told when the library is finished with a part. NULL: nobody is told.
    pub release: realm_release_fn,
    /// (optional) What the files may claim. NULL: the defaults.
    pub limits: *const realm_model_limits,
}

// SAFETY: repr(C), opens with the head, and is made of numbers and raw pointers; a function pointer is NULL or valid
// by contract.
unsafe impl Versioned for realm_model_source {
    const NAME: &'static str = "realm_model_source";
    const MIN_BYTES: usize = offset_of!(Self, limits) + size_of::<*const c_void>();
}

/// Parts that nobody has taken over yet: released when dropped.
struct Unclaimed<'a> {
    parts: &'a [realm_bytes],
    release: Option<Release>,
}

impl Unclaimed<'_> {
    /// Hands the duty to release on.
    fn claim(mut self) -> (*const Part, usize) {
        self.release = None;
        // `Part` has the same two fields, of the same size.
        const { assert!(size_of::<Part>() == size_of::<realm_bytes>()) };
        const { assert!(offset_of!(Part, bytes) == offset_of!(realm_bytes, bytes)) };
        (self.parts.as_ptr().cast(), self.parts.len())
    }
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            for part in self.parts {
                // SAFETY: the caller's own function with the caller's own arguments, once for each part.
                unsafe { (release.call)(release.ctx, part.data, part.bytes) }
            }
        }
    }
}

/// Registers a model under an id.
///
/// The bytes are borrowed and indexed, not loaded: this takes milliseconds, unless the id is to be derived or the same
/// id is there already and the bytes have to be compared. If the same bytes are there under that id, the model has one
/// registration more, and this call's parts are released at once.
///
/// `store`: NULL for the process-wide one. `id`: (optional) receives the model's id.
///
/// **Owns**: takes over every part whatever the result, and calls `release` exactly once for each; see
/// `realm_release_fn`. Only if `source` is NULL or its head is refused (`struct_size`, `abi_version`), or if `parts`
/// itself cannot be read, there is nothing that could be released.
/// **Threads**: any, at any time.
/// **Returns** `ID_CONFLICT` if the id names other bytes; `FORMAT`, `UNSUPPORTED` or `LIMIT` for the files;
/// `INVALID_ARGUMENT` for NULL, parts that are missing or out of order, and unknown flags; `NO_MEMORY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_register(
    store: *mut realm_store,
    source: *const realm_model_source,
    id: *mut u32,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let source = unsafe { read_struct(source) }?;
        let unclaimed = Unclaimed {
            // SAFETY: contract of the function.
            parts: unsafe { slice(source.parts, source.part_count, "parts") }?,
            release: source.release.map(|call| Release {
                call,
                ctx: source.ctx,
            }),
        };
        // Whatever fails from here to `claim` releases the parts.
        no_extension(source.next, realm_model_source::NAME)?;
        known_flags(source.flags, REALM_MODEL_COPY, realm_model_source::NAME)?;
        // SAFETY: contract of the function.
        let out = unsafe { Out::optional(id, "id") }?;
        // SAFETY: contract of the function.
        let store = unsafe { Held::new(store) }?;
        let limits = match source.limits.is_null() {
            true => Limits::default(),
            false => {
                // SAFETY: contract of the function.
                let limits = unsafe { read_struct(source.limits) }?;
                no_extension(limits.next, realm_model_limits::NAME)?;
                limits.limits()
            }
        };
        let mode = match source.flags & REALM_MODEL_COPY {
            0 => Mode::Borrow,
            _ => Mode::Copy,
        };
        let release = unclaimed.release;
        let (parts, count) = unclaimed.claim();
        // SAFETY: the same array; `Part` is laid out as `realm_bytes`. NULL only with a count of 0 was turned into
        // the address of an empty slice.
        let parts = unsafe { core::slice::from_raw_parts(parts, count) };
        // SAFETY: contract of the function.
        out.set(unsafe { store.register(parts, source.id, mode, &limits, release, None) }?);
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// Takes back one registration of a model.
///
/// With the last one the id is free at once. Sessions that have the model open go on; its bytes are released when the
/// last of them is closed, or before this returns if there is none.
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_remove(
    store: *mut realm_store,
    id: u32,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        unsafe { Held::new(store) }?.remove(id)
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// Lists the ids of a store, ascending.
///
/// Call it with a `capacity` of 0 (`ids` may be NULL) for the count, then with room for them. Other threads may add
/// models in between; after `BUFFER_TOO_SMALL` the content of `ids` is undefined.
///
/// **Threads**: any, at any time. **Returns** `BUFFER_TOO_SMALL` with `*count` set; `INVALID_ARGUMENT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_list(
    store: *mut realm_store,
    ids: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let store = unsafe { Held::new(store) }?;
        // SAFETY: contract of the function.
        let mut out = unsafe { TwoCall::new(ids, capacity, count, "ids") }?;
        // All the room there is, so that models which are added meanwhile are taken along.
        out.room(store.ids(&mut []))?;
        let now = store.ids(out.room(capacity)?);
        out.room(now)?;
        out.done(now);
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(ptr::null_mut(), body) }
}

/// What is known of a model without reading its tensors.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_model_info {
    /// Size of the caller's struct in bytes; set it before the call. Set by `REALM_MODEL_INFO_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_MODEL_INFO_INIT`.
    pub abi_version: u32,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Elements of all tensors.
    pub parameter_count: u64,
    /// The id.
    pub id: u32,
    /// Files.
    pub part_count: u32,
    /// Tensors of all files.
    pub tensor_count: u32,
    /// Metadata entries of the first file.
    pub kv_count: u32,
    /// Registrations that have not been removed.
    pub registration_count: u32,
    /// Sessions that have it open, and calls that are reading it at the moment.
    pub user_count: u32,
    /// Version of the file format, 2 or 3.
    pub gguf_version: u32,
    /// 1 if `sha256` is known, 0 if nobody has asked for it; see `realm_model_digest`.
    pub digest_known: u32,
    /// SHA-256 of all files' bytes in order. Zeros if not known.
    pub sha256: [u8; 32],
    /// `general.architecture`, NUL-terminated, cut if need be. Empty if the file has none.
    pub architecture: [c_char; 64],
    /// `general.name`, NUL-terminated, cut if need be. Empty if the file has none.
    pub name: [c_char; 128],
}

// SAFETY: repr(C), opens with the head, made of numbers, and its fields follow each other without gaps.
unsafe impl Versioned for realm_model_info {
    const NAME: &'static str = "realm_model_info";
    const MIN_BYTES: usize = offset_of!(Self, name) + 128;
}

/// Describes a model.
///
/// `info`: set `struct_size` and `abi_version` first (`REALM_MODEL_INFO_INIT`).
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND`; `INVALID_ARGUMENT` or `UNSUPPORTED` for the head of `info`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_get_info(
    store: *mut realm_store,
    id: u32,
    info: *mut realm_model_info,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let out = unsafe { OutStruct::new(info) }?;
        // SAFETY: contract of the function.
        let store = unsafe { Held::new(store) }?;
        // Counted before this call becomes a user itself.
        let known = store.info(id)?;
        let model = store.open(id)?;
        let metadata = model.metadata();
        let text = |key| metadata.get(key).and_then(|v| v.as_bytes()).unwrap_or(&[]);
        out.set(&realm_model_info {
            struct_size: size_of::<realm_model_info>() as u32,
            abi_version: REALM_ABI_VERSION,
            file_bytes: known.file_bytes,
            parameter_count: known.parameter_count,
            id,
            part_count: known.part_count,
            tensor_count: known.tensor_count,
            kv_count: known.kv_count,
            registration_count: known.registrations,
            user_count: known.users,
            gguf_version: model.gguf(0).map_or(0, |g| g.version()),
            digest_known: known.digest.is_some().into(),
            sha256: known.digest.unwrap_or_default(),
            architecture: fixed_text(text("general.architecture")),
            name: fixed_text(text("general.name")),
        });
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// The SHA-256 of all files' bytes in order.
///
/// Reads all of them on the first call, which takes seconds for a large model, and remembers the result.
///
/// `sha256`: 32 bytes. **Threads**: any, at any time. **Returns** `NOT_FOUND`; `INVALID_ARGUMENT` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_digest(
    store: *mut realm_store,
    id: u32,
    sha256: *mut u8,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let out = unsafe { Out::new(sha256.cast::<[u8; 32]>(), "sha256") }?;
        // SAFETY: contract of the function.
        out.set(unsafe { open(store, id) }?.digest(None)?);
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// A model, by store and id.
///
/// # Safety
/// As for [`Held::new`].
unsafe fn open(store: *const realm_store, id: u32) -> Result<Arc<Model>> {
    // SAFETY: handed on.
    unsafe { Held::new(store) }?.open(id)
}
