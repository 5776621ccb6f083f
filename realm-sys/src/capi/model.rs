//! Models: registration in a store, and what is known of them.

use super::error::{realm_error, realm_status};
use super::store::{realm_store, store_ref};
use super::{check, fixed, guard, null, put, put_all, read_struct, slice, write_struct};
use crate::bail;
use crate::error::{Result, try_vec};
use crate::gguf::Limits;
use crate::platform::no_extension;
use crate::store::{MAX_PARTS, Mode, Model, Part, Progress, Release};
use alloc::sync::Arc;
use core::ffi::{c_char, c_void};
use core::mem::{offset_of, size_of};
use core::ptr;

/// Tells the application that the library is finished with a part of a model.
///
/// `ctx`: that of the `realm_model_source`.
/// `data`, `bytes`: the part, as it was given.
///
/// It may call the library, unlike other callbacks. It may not unwind.
///
/// **Threads**: called on any thread that uses the library, from `realm_model_register`, `realm_model_remove`, and
/// what closes or destroys a session, runtime or store.
pub type realm_release_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, data: *const c_void, bytes: usize)>;

/// Told how far a long call is; may end it.
///
/// `ctx`: that of the options or of the call that it was given with.
/// `done`, `total`: bytes or tokens, as whoever takes it says.
///
/// It may not use the object that the call is for.
///
/// **Threads**: called on the thread of that call, every few milliseconds while bytes are hashed.
///
/// **Returns** 0 to go on, another number to give the work up.
pub type realm_progress_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, done: u64, total: u64) -> i32>;

/// Bytes of the caller's.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_bytes {
    /// The first byte. Any alignment; 64 lets every backend use weights in place.
    pub data: *const c_void,
    /// How many there are.
    pub bytes: usize,
}

/// What a model file may claim before it is refused with `LIMIT`. Zero is the default for every
/// field but the first two.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_model_limits {
    /// Size of the caller's struct in bytes. Set by `REALM_MODEL_LIMITS_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_MODEL_LIMITS_INIT`.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// Reserved; NULL.
    pub ctx: *mut c_void,
    /// Bytes of everything before the tensors. 0: 512 MiB.
    pub max_metadata_bytes: u64,
    /// Tensors in all parts. 0: 65536.
    pub max_tensor_count: u64,
    /// Metadata entries. 0: 65536.
    pub max_kv_count: u64,
    /// Elements of a metadata array. 0: 16777216.
    pub max_array_count: u64,
    /// Bytes of a string. 0: 64 MiB.
    pub max_string_bytes: u64,
}

const LIMITS_MIN: usize = offset_of!(realm_model_limits, max_string_bytes) + size_of::<u64>();

/// `realm_model_source.flags`: copy the parts; they are released before the call returns.
pub const REALM_MODEL_COPY: u32 = 1;

/// A model to be registered.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_model_source {
    /// Size of the caller's struct in bytes. Set by `REALM_MODEL_SOURCE_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_MODEL_SOURCE_INIT`.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// First argument of `release` and `progress`.
    pub ctx: *mut c_void,
    /// The bytes of a GGUF file, or of all files of a split one in order. The array itself is not
    /// needed after the call; the bytes are **valid until** `release` has been called for them.
    pub parts: *const realm_bytes,
    /// How many parts there are, 1 to 65535.
    pub part_count: usize,
    /// The id to register the model under. 0: derived from the SHA-256 of all bytes, which reads
    /// them all; with an id nothing but the metadata is read.
    pub id: u32,
    /// `REALM_MODEL_COPY`, or 0: the bytes are used where they are, and never changed.
    pub flags: u32,
    /// (optional) Called exactly once for each part when the library is finished with it, also if
    /// the registration fails. NULL: the bytes live as long as the process, or their owner knows.
    pub release: realm_release_fn,
    /// (optional) Bounds for the parser, not needed after the call. NULL: the defaults.
    pub limits: *const realm_model_limits,
    /// (optional) Told how many bytes have been hashed, if `id` is 0. Giving up is `CANCELLED`. NULL: nobody is told.
    pub progress: realm_progress_fn,
}

const SOURCE_MIN: usize =
    offset_of!(realm_model_source, limits) + size_of::<*const realm_model_limits>();

/// What is known of a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_model_info {
    /// Size of the caller's struct in bytes. Set by `REALM_MODEL_INFO_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_MODEL_INFO_INIT`.
    pub abi_version: u32,
    /// Bytes of all parts.
    pub file_bytes: u64,
    /// Elements of all tensors.
    pub parameter_count: u64,
    /// The id it was asked for by.
    pub id: u32,
    /// Parts it was registered from.
    pub part_count: u32,
    /// Tensors in all parts.
    pub tensor_count: u32,
    /// Metadata entries of the first part.
    pub kv_count: u32,
    /// Registrations under this id that have not been removed.
    pub registration_count: u32,
    /// References that sessions, their programs and calls in progress hold; 0 if nothing uses it. Not a
    /// number of sessions: one session holds several.
    pub user_count: u32,
    /// GGUF version of the first part: 2 or 3.
    pub gguf_version: u32,
    /// 1 if `sha256` is there; `realm_model_digest` computes it.
    pub digest_known: u32,
    /// SHA-256 of all bytes in order; zeros if not known.
    pub sha256: [u8; 32],
    /// `general.architecture`, cut to fit, NUL-terminated; empty if missing.
    pub architecture: [c_char; 64],
    /// `general.name`, likewise.
    pub name: [c_char; 128],
}

const INFO_MIN: usize = offset_of!(realm_model_info, name) + size_of::<[c_char; 128]>();

/// A model of a store, kept alive by what is returned.
///
/// # Safety
/// `store` is NULL or a live store.
pub(crate) unsafe fn open(store: *const realm_store, id: u32) -> Result<Arc<Model>> {
    // SAFETY: the caller's promise.
    unsafe { store_ref(store) }.open(id)
}

/// The parser's limits from the caller's; NULL and 0 are the defaults.
///
/// # Safety
/// `p` is NULL or a struct as described.
unsafe fn limits(p: *const realm_model_limits) -> Result<Limits> {
    let mut limits = Limits::default();
    if p.is_null() {
        return Ok(limits);
    }
    // SAFETY: the caller's promise.
    let given = unsafe { read_struct(p, "realm_model_limits", LIMITS_MIN) }?;
    no_extension(given.next, "realm_model_limits")?;
    for (to, from) in [
        (&mut limits.metadata_bytes, given.max_metadata_bytes),
        (&mut limits.tensor_count, given.max_tensor_count),
        (&mut limits.kv_count, given.max_kv_count),
        (&mut limits.array_count, given.max_array_count),
        (&mut limits.string_bytes, given.max_string_bytes),
    ] {
        if from != 0 {
            *to = from;
        }
    }
    Ok(limits)
}

/// Registers a model: its bytes are borrowed, not copied, and shared by everything that opens it.
///
/// Registering the same bytes under the same id again counts one registration more; the new parts are then
/// released at once.
///
/// `source`: the parts and what is wanted; the struct is not needed after the call.
/// `id` (optional) receives the id.
///
/// **Owns**: each part goes to the library, whatever the result, and comes back by `release` exactly once. (Only if
/// `source` itself is NULL, too short or of another interface major, or `parts` is NULL, is nothing called.)
///
/// **Threads**: any, at any time.
///
/// **Returns** `FORMAT`, `UNSUPPORTED` or `LIMIT` for what the parser refuses, `ID_CONFLICT` if the id names other
/// bytes, `CANCELLED` if `progress` says so, `NO_MEMORY`, `INVALID_ARGUMENT`.
///
/// # Safety
/// `source` is a struct as described; `store` is NULL or live; `id` is NULL or points to a `uint32_t`;
/// `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_register(
    store: *mut realm_store,
    source: *const realm_model_source,
    id: *mut u32,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let source = unsafe { read_struct(source, "realm_model_source", SOURCE_MIN) }?;
        // SAFETY: the caller's promise.
        let parts = unsafe { slice(source.parts, source.part_count, "parts") }?;
        let release = source.release.map(|call| Release {
            call,
            ctx: source.ctx,
        });
        // From here on the parts are released whatever happens: first by hand, then by the store.
        let prepared = prepare(&source, parts, store, id);
        let (list, limits, mode) = match prepared {
            Ok(prepared) => prepared,
            Err(e) => {
                for part in parts {
                    if let Some(r) = release {
                        // SAFETY: the contract of `realm_release_fn`.
                        unsafe { (r.call)(r.ctx, part.data, part.bytes) }
                    }
                }
                return Err(e);
            }
        };
        // SAFETY: the caller's promise.
        let store = unsafe { store_ref(store) };
        let mut watch = watch(source.progress, source.ctx);
        let progress = watch.as_mut().map(|w| w as Progress<'_>);
        // SAFETY: the caller's promise about the parts and `release`.
        let new = unsafe { store.register(&list, source.id, mode, &limits, release, progress) }?;
        if !id.is_null() {
            // SAFETY: not NULL, and the caller's promise.
            unsafe { id.write(new) };
        }
        Ok(())
    })
}

/// A caller's progress function as the store wants it.
fn watch(call: realm_progress_fn, ctx: *mut c_void) -> Option<impl FnMut(u64, u64) -> bool> {
    // SAFETY: the contract of `realm_progress_fn`.
    call.map(|call| move |done, total| unsafe { call(ctx, done, total) } == 0)
}

/// Everything that can be refused before the parts go to the store.
fn prepare(
    source: &realm_model_source,
    parts: &[realm_bytes],
    store: *const realm_store,
    id: *const u32,
) -> Result<(alloc::vec::Vec<Part>, Limits, Mode)> {
    no_extension(source.next, "realm_model_source")?;
    if !id.is_null() {
        check(id, "id")?;
    }
    if !store.is_null() {
        check(store, "store")?;
    }
    // SAFETY: the promise of `realm_model_register`'s caller.
    let limits = unsafe { limits(source.limits) }?;
    let mode = match source.flags {
        0 => Mode::Borrow,
        REALM_MODEL_COPY => Mode::Copy,
        flags => bail!(
            InvalidArgument,
            "realm_model_source: unknown flags {flags:#x} (known: REALM_MODEL_COPY)"
        ),
    };
    if parts.is_empty() || parts.len() > MAX_PARTS {
        bail!(
            InvalidArgument,
            "a model has 1 to {MAX_PARTS} parts, not {}",
            parts.len()
        );
    }
    let mut list = try_vec(parts.len(), "parts")?;
    list.extend(parts.iter().map(|p| Part {
        data: p.data.cast(),
        bytes: p.bytes,
    }));
    Ok((list, limits, mode))
}

/// Takes back one registration. With the last one the id is free at once; the bytes are released when the last
/// session that uses them is closed, or in this call.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND`.
///
/// # Safety
/// `store` is NULL or live; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_remove(
    store: *mut realm_store,
    id: u32,
    error: *mut realm_error,
) -> realm_status {
    // SAFETY: the caller's promise.
    guard(error, || unsafe { store_ref(store) }.remove(id))
}

/// Lists the ids of a store in ascending order, in two calls.
///
/// `ids`, `capacity`: where they go, and for how many there is room.
/// `count` receives how many there are, also if they do not fit.
///
/// **Threads**: any, at any time; others may change the store between two calls.
///
/// **Returns** `BUFFER_TOO_SMALL`, `INVALID_ARGUMENT`, `NO_MEMORY`.
///
/// # Safety
/// `store` is NULL or live; `ids` points to `capacity` items (NULL with 0), `count` to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_list(
    store: *mut realm_store,
    ids: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> realm_status {
    guard(core::ptr::null_mut(), || {
        // SAFETY: the caller's promise.
        let store = unsafe { store_ref(store) };
        // One more than there are now, in case another thread adds one.
        let mut list = try_vec::<u32>(store.ids(&mut []).saturating_add(1), "ids")?;
        list.resize(list.capacity(), 0);
        let n = store.ids(&mut list).min(list.len());
        // SAFETY: the caller's promise.
        unsafe {
            put_all(
                list.get(..n).unwrap_or(&[]),
                (ids, "ids"),
                capacity,
                (count, "count"),
            )
        }
    })
}

/// Writes what is known of a model.
///
/// `info`: receives it; its `struct_size` and `abi_version` are set by the caller.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND`, `INVALID_ARGUMENT`.
///
/// # Safety
/// `store` is NULL or live; `info` is a struct as described; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_get_info(
    store: *mut realm_store,
    id: u32,
    info: *mut realm_model_info,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let store = unsafe { store_ref(store) };
        let known = store.info(id)?;
        let model = store.open(id)?;
        let meta = model.metadata();
        let value = realm_model_info {
            struct_size: 0,
            abi_version: 0,
            file_bytes: known.file_bytes,
            parameter_count: known.parameter_count,
            id,
            part_count: known.part_count,
            tensor_count: known.tensor_count,
            kv_count: known.kv_count,
            registration_count: known.registrations,
            user_count: known.users,
            gguf_version: model.gguf(0).map_or(0, |g| g.version()),
            digest_known: u32::from(known.digest.is_some()),
            sha256: known.digest.unwrap_or([0; 32]),
            architecture: fixed(meta.str("general.architecture").unwrap_or("")),
            name: fixed(meta.str("general.name").unwrap_or("")),
        };
        // SAFETY: the caller's promise.
        unsafe { write_struct(info, "realm_model_info", INFO_MIN, &value) }
    })
}

/// Computes the SHA-256 of all of a model's bytes in order. The first call reads them all; later ones, and
/// `realm_model_get_info`, know it.
///
/// `sha256` receives 32 bytes.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND`, `INVALID_ARGUMENT`.
///
/// # Safety
/// `store` is NULL or live; `sha256` points to 32 bytes; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_digest(
    store: *mut realm_store,
    id: u32,
    sha256: *mut u8,
    error: *mut realm_error,
) -> realm_status {
    // SAFETY: the caller's promise.
    unsafe { realm_model_digest_watched(store, id, None, ptr::null_mut(), sha256, error) }
}

/// As `realm_model_digest`, with a way to see how far it is and to give up.
///
/// `progress`, `ctx`: (optional) told how many bytes have been hashed; `ctx` is its first argument. Not called if
/// the digest is known. What was hashed when it gives up is hashed again the next time.
/// `sha256` receives 32 bytes.
///
/// **Threads**: any, at any time. Two calls for the same model at a time both hash.
///
/// **Returns** `CANCELLED` if `progress` says so, `NOT_FOUND`, `INVALID_ARGUMENT`.
///
/// # Safety
/// As for `realm_model_digest`; `progress` keeps its contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_digest_watched(
    store: *mut realm_store,
    id: u32,
    progress: realm_progress_fn,
    ctx: *mut c_void,
    sha256: *mut u8,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        if sha256.is_null() {
            return Err(null("sha256"));
        }
        let mut watch = watch(progress, ctx);
        let progress = watch.as_mut().map(|w| w as Progress<'_>);
        // SAFETY: the caller's promise.
        let digest = unsafe { open(store, id) }?.digest(progress)?;
        // SAFETY: not NULL, and the caller's promise.
        unsafe { put(sha256.cast::<[u8; 32]>(), digest, "sha256") }
    })
}
