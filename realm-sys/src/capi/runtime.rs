//! Runtimes: a platform, a store and the backends that sessions choose from.

use super::error::{realm_error, realm_status};
use super::store::{realm_store, store_ref};
use super::{check, guard, new_handle, null, put, read_struct};
use crate::backend::host::{Backend, Backends, Kernel};
use crate::backend::table::{realm_backend, realm_kernel_fn};
use crate::err;
use crate::error::Result;
use crate::guest::LoadedGuest;
use crate::panics::caught;
use crate::platform::{Platform, no_extension, realm_platform};
use crate::store::{Lazy, StoreRef};
use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_void};
use core::mem::{offset_of, size_of};
use core::ptr;

/// A platform, a store and backends: what sessions are opened in.
pub struct realm_runtime {
    pub(crate) platform: Platform,
    pub(crate) store: StoreRef,
    pub(crate) backends: Backends,
    /// Terminated copies of backend names, for `realm_runtime_backend_name`.
    names: Vec<CString>,
    embedded: Lazy<Arc<LoadedGuest>>,
}

/// What a runtime is created with. Zero is the default for every field but the first two.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_runtime_options {
    /// Size of the caller's struct in bytes. Set by `REALM_RUNTIME_OPTIONS_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_RUNTIME_OPTIONS_INIT`.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// Reserved; NULL.
    pub ctx: *mut c_void,
    /// What the library needs from the machine; copied. NULL: the library's own allocator, no
    /// clock (budgets are ignored), no threads. On hosted systems pass `realm_posix_platform()`.
    pub platform: *const realm_platform,
    /// The store that sessions find their models in; kept alive by the runtime. NULL: the
    /// process-wide store.
    pub store: *mut realm_store,
}

const OPTIONS_MIN: usize = offset_of!(realm_runtime_options, store) + size_of::<*mut realm_store>();

impl realm_runtime {
    /// The guest that comes with the library, translated when first asked for.
    pub(crate) fn embedded_guest(&self) -> Result<Arc<LoadedGuest>> {
        #[cfg(feature = "embedded-guest")]
        {
            let guest = self.embedded.get_or_build(LoadedGuest::embedded)?;
            Ok(Arc::clone(&*guest))
        }
        #[cfg(not(feature = "embedded-guest"))]
        {
            self.embedded.get().map(|g| Arc::clone(&*g)).ok_or_else(|| {
                err!(
                    Unsupported,
                    "this build has no guest of its own: load one and name it in the options"
                )
            })
        }
    }
}

/// Creates a runtime, with the library's own backends in it: `"cpu"`, where it was built with the CPU port, and
/// `"reference"`.
///
/// `options`: NULL for the defaults.
/// `out` receives the runtime. **Owns**: the caller, until `realm_runtime_destroy`.
///
/// **Threads**: any, at any time.
///
/// **Returns** `INVALID_ARGUMENT`, `UNSUPPORTED` for another interface major, `NO_MEMORY`.
///
/// # Safety
/// `options` is NULL or a struct as described, whose pointers are what their comments say; `out`
/// points to a pointer; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_create(
    options: *const realm_runtime_options,
    out: *mut *mut realm_runtime,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(out, "out")?;
        let (platform, store) = if options.is_null() {
            (ptr::null(), ptr::null_mut())
        } else {
            // SAFETY: the caller's promise.
            let o = unsafe { read_struct(options, "realm_runtime_options", OPTIONS_MIN) }?;
            no_extension(o.next, "realm_runtime_options")?;
            (o.platform, o.store)
        };
        if !platform.is_null() {
            check(platform, "realm_platform")?;
        }
        if !store.is_null() {
            check(store, "store")?;
        }
        // SAFETY: the caller's promise.
        let platform = unsafe { Platform::from_table(platform) }?;
        let runtime = realm_runtime {
            backends: Backends::new(&platform)?,
            platform,
            // SAFETY: the caller's promise.
            store: unsafe { store_ref(store) },
            names: Vec::new(),
            embedded: Lazy::new(),
        };
        // SAFETY: the caller's promise.
        unsafe { put(out, new_handle(runtime, "runtime")?, "out") }
    })
}

/// Destroys a runtime. Sessions keep what they need and may be closed later. What the platform and the backends
/// point to must live until the last of them is closed.
///
/// `runtime`: NULL is fine; nothing happens.
///
/// **Threads**: any; no other thread may be using the handle.
///
/// # Safety
/// `runtime` is NULL or came from `realm_runtime_create`, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_destroy(runtime: *mut realm_runtime) {
    let _ = guard(ptr::null_mut(), || {
        if !runtime.is_null() {
            // SAFETY: made by `new_handle`, and the caller's promise.
            drop(unsafe { Box::from_raw(runtime) });
        }
        Ok(())
    });
}

/// A runtime to read.
///
/// # Safety
/// `runtime` is NULL or a live runtime that nobody is changing.
pub(crate) unsafe fn runtime_ref<'a>(runtime: *const realm_runtime) -> Result<&'a realm_runtime> {
    // SAFETY: the caller's promise.
    unsafe { runtime.as_ref() }.ok_or_else(|| null("runtime"))
}

/// Adds a backend. Of several the one added last is preferred by sessions that name none.
///
/// `backend`: the table, which is copied; its `ctx` must outlive the runtime and its sessions.
///
/// **Threads**: any, but not while another uses the runtime.
///
/// **Returns** `INVALID_ARGUMENT` for a table that lacks what it needs or has the name of one that is there,
/// `UNSUPPORTED` for another interface major.
///
/// # Safety
/// `runtime` is a live runtime, `backend` a table that keeps the contract of `realm_backend`;
/// `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_add_backend(
    runtime: *mut realm_runtime,
    backend: *const realm_backend,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let runtime = unsafe { runtime.as_mut() }.ok_or_else(|| null("runtime"))?;
        check(backend, "backend")?;
        // SAFETY: the caller's promise.
        let backend = unsafe { Backend::from_table(backend, &runtime.platform) }?;
        let name = CString::new(backend.name())
            .map_err(|_| err!(InvalidArgument, "a backend's name has a zero in it"))?;
        // Room first: once the backend is added nothing may fail.
        runtime
            .names
            .try_reserve(1)
            .map_err(|_| err!(NoMemory, "no memory for a backend's name"))?;
        runtime.backends.add(backend)?;
        runtime.names.push(name);
        Ok(())
    })
}

/// Adds one kernel of the host's own, for one operation on one weight type: used instead of the backend's by
/// sessions that are opened later. Of several for the same the one added last is used.
///
/// `op`: the operation's code in `guest/ABI.md`.
/// `type`: the ggml type of its first source, `UINT32_MAX` for any. For a type that never comes up it is never called.
/// `kernel`, `ctx`: the function and its first argument, which must outlive the runtime and its sessions.
///
/// **Threads**: any, but not while another uses the runtime.
///
/// **Returns** `INVALID_ARGUMENT`, `UNSUPPORTED` for an unknown operation.
///
/// # Safety
/// `runtime` is a live runtime, `kernel` keeps the contract of `realm_kernel_fn`; `error` is NULL or
/// points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_add_kernel(
    runtime: *mut realm_runtime,
    op: u32,
    r#type: u32,
    kernel: realm_kernel_fn,
    ctx: *mut c_void,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let runtime = unsafe { runtime.as_mut() }.ok_or_else(|| null("runtime"))?;
        if kernel.is_none() {
            return Err(null("kernel"));
        }
        runtime.backends.add_kernel(Kernel {
            op,
            ty: r#type,
            call: kernel,
            ctx,
        })
    })
}

/// The number of backends.
///
/// `runtime`: NULL is fine.
///
/// **Threads**: any, but not while another adds to the runtime.
///
/// **Returns** at least 1; 0 for NULL.
///
/// # Safety
/// `runtime` is NULL or a live runtime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_backend_count(runtime: *const realm_runtime) -> usize {
    // SAFETY: the caller's promise.
    unsafe { runtime.as_ref() }.map_or(0, |r| r.backends.count())
}

/// The name of a backend, the preferred first, `"cpu"` and `"reference"` last.
///
/// `runtime`: NULL is fine.
/// `index`: from 0, below `realm_runtime_backend_count`.
///
/// **Valid until** the runtime is destroyed.
///
/// **Threads**: any, but not while another adds to the runtime.
///
/// **Returns** a NUL-terminated text; NULL past the last, and for a NULL.
///
/// # Safety
/// `runtime` is NULL or a live runtime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_backend_name(
    runtime: *const realm_runtime,
    index: usize,
) -> *const c_char {
    let found = caught(|| {
        // SAFETY: the caller's promise.
        let runtime = unsafe { runtime_ref(runtime) }?;
        let backend = runtime.backends.get(index);
        let name = backend.map_or("", |b| b.name()).as_bytes();
        let names = runtime.names.iter().map(CString::as_c_str);
        let own = [c"cpu", c"reference"];
        let found = names.chain(own).find(|n| n.to_bytes() == name);
        Ok(found.map_or(ptr::null(), CStr::as_ptr))
    });
    found.unwrap_or(ptr::null())
}
