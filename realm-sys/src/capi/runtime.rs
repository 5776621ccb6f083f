//! Runtimes: the platform, backends and kernels that sessions run on.

use super::error::{realm_error, realm_status};
use super::store::{Held, realm_store};
use super::{
    Out, Versioned, check, drop_handle, guard, new_handle, no_extension, quietly, read_struct,
    reference,
};
use crate::backend::host::{Backend, Backends, Kernel, Selected};
use crate::backend::table::{realm_backend, realm_kernel_fn};
use crate::error::Result;
use crate::platform::{Platform, REALM_ABI_VERSION, realm_platform};
use crate::store::Store;
use core::ffi::{c_char, c_void};
use core::mem::{offset_of, size_of};
use core::ptr;
use spin::RwLock;

/// What sessions are opened on: memory, clock and threads of the platform, backends, kernels, and a store of models.
///
/// An application has one, or one for each platform it wants apart. It can be used from any thread.
pub struct realm_runtime {
    platform: Platform,
    store: Held,
    /// Written while an application sets itself up, and read for an instant whenever a session opens.
    backends: RwLock<Backends>,
}

impl realm_runtime {
    /// The backends a session keeps: the named one, or the preferred one.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn select(&self, name: Option<&str>) -> Result<Selected> {
        self.backends.read().select(name)
    }

    /// Memory, clock, log and threads.
    pub(crate) fn platform(&self) -> &Platform {
        &self.platform
    }

    /// Where model ids are looked up.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}

/// `type` of `realm_runtime_add_kernel`: whatever the type of source 0.
pub const REALM_KERNEL_ANY_TYPE: u32 = 0xffff_ffff;

/// How a runtime is made. Zeros after the head give the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_runtime_options {
    /// Size of the caller's struct in bytes. Set by `REALM_RUNTIME_OPTIONS_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_RUNTIME_OPTIONS_INIT`.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// Not used; NULL.
    pub ctx: *mut c_void,
    /// Memory, clock, log and threads. NULL: the library's allocator, no clock (time budgets are ignored), no log, no
    /// threads. Copied; what its `ctx` points to must outlive the runtime and its sessions.
    pub platform: *const realm_platform,
    /// Where sessions look up their models. NULL: the process-wide store. The runtime keeps it, so that store and
    /// runtime may be destroyed in any order.
    pub store: *mut realm_store,
}

// SAFETY: repr(C), opens with the head, has no padding on 32 or 64 bits, and pointers may be anything.
unsafe impl Versioned for realm_runtime_options {
    const NAME: &'static str = "realm_runtime_options";
    const MIN_BYTES: usize = offset_of!(Self, store) + size_of::<*const c_void>();
}

/// Makes a runtime, with the reference backend only.
///
/// `options` may be NULL for the defaults. It is not kept.
///
/// **Owns**: the caller has to call `realm_runtime_destroy`. **Threads**: any, at any time.
/// **Returns** `INVALID_ARGUMENT` if `out` is NULL, the options' size is too small or the platform lacks a function it
/// needs; `UNSUPPORTED` for options or a platform of another interface version, or an extension; `NO_MEMORY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_create(
    options: *const realm_runtime_options,
    out: *mut *mut realm_runtime,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let out = unsafe { Out::new(out, "out") }?;
        let options = if options.is_null() {
            realm_runtime_options {
                struct_size: size_of::<realm_runtime_options>() as u32,
                abi_version: REALM_ABI_VERSION,
                next: ptr::null(),
                ctx: ptr::null_mut(),
                platform: ptr::null(),
                store: ptr::null_mut(),
            }
        } else {
            // SAFETY: contract of the function.
            unsafe { read_struct(options) }?
        };
        no_extension(options.next, realm_runtime_options::NAME)?;
        if !options.platform.is_null() {
            check(options.platform, "realm_platform")?;
        }
        // SAFETY: NULL or aligned, and a table by contract.
        let platform = unsafe { Platform::from_table(options.platform) }?;
        let runtime = realm_runtime {
            platform,
            // SAFETY: contract of the function.
            store: unsafe { Held::new(options.store) }?,
            backends: RwLock::new(Backends::new(&platform)?),
        };
        out.set(new_handle(runtime, "a runtime")?);
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// Destroys a runtime; NULL is allowed.
///
/// Sessions that are open keep what they need of it and go on; what the platform's and the backends' `ctx` point to is
/// used until they are closed.
///
/// **Threads**: any, once no other call is using the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_destroy(runtime: *mut realm_runtime) {
    // SAFETY: contract of the function.
    unsafe { drop_handle(runtime) }
}

/// Adds a backend, which becomes the preferred one of sessions that are opened from now on.
///
/// The table is copied. Its `ctx` and `name` must outlive the runtime and its sessions.
///
/// **Owns**: nothing. **Threads**: any, at any time.
/// **Returns** `INVALID_ARGUMENT` for NULL, a size that is too small, a missing function, a name that is not 1 to 64
/// bytes of UTF-8 or is taken already; `UNSUPPORTED` for a table of another interface version; `NO_MEMORY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_add_backend(
    runtime: *mut realm_runtime,
    backend: *const realm_backend,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let runtime = unsafe { reference(runtime.cast_const(), "the runtime") }?;
        check(backend, "realm_backend")?;
        // SAFETY: aligned, and a table by contract.
        let backend = unsafe { Backend::from_table(backend, &runtime.platform) }?;
        runtime.backends.write().add(backend)
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// Adds a kernel of the application's own for one operation, preferred over earlier ones and over every backend in
/// sessions that are opened from now on.
///
/// `op`: an operation code of `guest/ABI.md`. `type`: the ggml type of source 0, or `REALM_KERNEL_ANY_TYPE`.
/// `ctx`: the kernel's first argument; what it points to must outlive the runtime and its sessions.
///
/// **Owns**: nothing. **Threads**: any, at any time.
/// **Returns** `INVALID_ARGUMENT` if `kernel` is NULL; `UNSUPPORTED` for an unknown operation; `NO_MEMORY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_add_kernel(
    runtime: *mut realm_runtime,
    op: u32,
    r#type: u32,
    kernel: realm_kernel_fn,
    ctx: *mut c_void,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let runtime = unsafe { reference(runtime.cast_const(), "the runtime") }?;
        runtime.backends.write().add_kernel(Kernel {
            op,
            ty: r#type,
            call: kernel,
            ctx,
        })
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// How many backends there are, the reference included.
///
/// **Threads**: any, at any time. **Returns** at least 1; 0 if `runtime` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_backend_count(runtime: *const realm_runtime) -> usize {
    quietly(0, || {
        // SAFETY: contract of the function.
        unsafe { reference(runtime, "the runtime") }.map_or(0, |r| r.backends.read().count())
    })
}

/// The name of a backend: 0 is the preferred one, the last is `"reference"`.
///
/// Adding a backend moves the others up by one.
///
/// **Valid until** the runtime is destroyed, as long as the name in the backend's table is. **Threads**: any, at any
/// time. **Returns** NULL past the last, or if `runtime` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_runtime_backend_name(
    runtime: *const realm_runtime,
    index: usize,
) -> *const c_char {
    let name = || {
        // SAFETY: contract of the function.
        let runtime = unsafe { reference(runtime, "the runtime") }.ok()?;
        // The string of the table itself: it is terminated, and outlives the runtime by contract.
        Some(runtime.backends.read().get(index)?.table.name)
    };
    quietly(None, name).unwrap_or(ptr::null())
}

#[cfg(test)]
mod tests;
