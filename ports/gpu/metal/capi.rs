//! `include/realm_metal.h`: the backend for C.

use crate::backend::table::realm_backend;
use crate::bail;
use crate::capi::error::{realm_error, realm_status};
use crate::capi::guard;
use crate::error::Error;
use crate::gpu::Gpu;
use crate::platform::{check_head, no_extension};
use alloc::boxed::Box;
use core::ffi::{c_char, c_void};
use core::mem::offset_of;
use core::ptr;

/// As in the header.
#[repr(C)]
#[allow(missing_docs, reason = "the header has the documents")]
pub struct realm_metal_options {
    pub struct_size: u32,
    pub abi_version: u32,
    pub next: *const c_void,
    pub queue: *mut c_void,
    pub library_path: *const c_char,
    pub library_path_bytes: usize,
    pub memory_limit_bytes: u64,
}

const OPTIONS_MIN_BYTES: usize = offset_of!(realm_metal_options, memory_limit_bytes) + 8;

/// As in the header: a backend and its table.
pub struct realm_metal_backend {
    gpu: Box<Gpu>,
    table: realm_backend,
}

/// The device that the options ask for.
///
/// # Safety
/// The options are as the header says.
#[cfg(target_vendor = "apple")]
unsafe fn open(given: Option<&realm_metal_options>) -> Result<Box<Gpu>, Error> {
    use super::device::{Metal, Options};
    use crate::err;
    let mut options = Options {
        queue: ptr::null_mut(),
        library: None,
        memory_limit: 0,
    };
    if let Some(o) = given {
        options.queue = o.queue;
        options.memory_limit = o.memory_limit_bytes;
        if !o.library_path.is_null() {
            // SAFETY: the caller's promise.
            let path = unsafe {
                core::slice::from_raw_parts(o.library_path.cast::<u8>(), o.library_path_bytes)
            };
            let path = core::str::from_utf8(path).map_err(|_| {
                err!(
                    InvalidArgument,
                    "realm_metal_options: library_path is not UTF-8"
                )
            })?;
            options.library = Some(path.into());
        }
    }
    // SAFETY: the caller's promise.
    let device = unsafe { Metal::new(&options) }.map_err(|e| err!(Unsupported, "{e}"))?;
    Ok(Gpu::new(device))
}

/// There is none.
///
/// # Safety
/// None is needed.
#[cfg(not(target_vendor = "apple"))]
unsafe fn open(_: Option<&realm_metal_options>) -> Result<Box<Gpu>, Error> {
    bail!(
        Unsupported,
        "Metal is not available: this is none of Apple's systems"
    );
}

/// See `include/realm_metal.h`.
///
/// # Safety
/// `options` is NULL or an options struct; `out` is writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_metal_backend_create(
    options: *const realm_metal_options,
    out: *mut *mut realm_metal_backend,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        if out.is_null() {
            bail!(InvalidArgument, "out: NULL");
        }
        // SAFETY: the caller's promise.
        let given = unsafe { options.as_ref() };
        if let Some(o) = given {
            check_head(
                "realm_metal_options",
                o.struct_size,
                o.abi_version,
                OPTIONS_MIN_BYTES,
            )?;
            no_extension(o.next, "realm_metal_options")?;
        }
        // SAFETY: the caller's promise.
        let gpu = unsafe { open(given)? };
        let table = gpu.table();
        // SAFETY: the caller's promise.
        unsafe { *out = Box::into_raw(Box::new(realm_metal_backend { gpu, table })) };
        Ok(())
    })
}

/// See `include/realm_metal.h`.
///
/// # Safety
/// `backend` is NULL or made by [`realm_metal_backend_create`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_metal_backend_table(
    backend: *const realm_metal_backend,
) -> *const realm_backend {
    // SAFETY: the caller's promise.
    unsafe { backend.as_ref() }.map_or(ptr::null(), |b| &raw const b.table)
}

/// See `include/realm_metal.h`.
///
/// # Safety
/// `backend` is NULL or made by [`realm_metal_backend_create`], and no runtime uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_metal_backend_destroy(backend: *mut realm_metal_backend) {
    if !backend.is_null() {
        // SAFETY: the caller's promise.
        let owned = unsafe { Box::from_raw(backend) };
        drop(owned.gpu);
    }
}

#[cfg(all(test, not(target_vendor = "apple")))]
mod tests {
    use super::*;

    #[test]
    fn elsewhere_it_is_not_available() {
        let mut backend = ptr::null_mut();
        let mut error = realm_error {
            status: 0,
            message: [0; 252],
        };
        // SAFETY: no options, and places to write to.
        let status =
            unsafe { realm_metal_backend_create(ptr::null(), &raw mut backend, &raw mut error) };
        assert_eq!(status, crate::error::Status::Unsupported as i32);
        assert!(backend.is_null());
        // SAFETY: NULL is allowed.
        unsafe {
            assert!(realm_metal_backend_table(backend).is_null());
            realm_metal_backend_destroy(backend);
        }
    }
}
