//! `include/realm_cuda.h`: the backend for C.

use super::{Cuda, Options};
use crate::backend::table::realm_backend;
use crate::capi::error::{realm_error, realm_status};
use crate::capi::guard;
use crate::gpu::Gpu;
use crate::platform::{check_head, no_extension};
use crate::{bail, err};
use alloc::boxed::Box;
use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr;

/// As in the header.
#[repr(C)]
#[allow(missing_docs, reason = "the header has the documents")]
pub struct realm_cuda_options {
    pub struct_size: u32,
    pub abi_version: u32,
    pub next: *const c_void,
    pub device: i32,
    pub reserved: u32,
    pub context: *mut c_void,
    pub stream: *mut c_void,
    pub memory_limit_bytes: u64,
}

const OPTIONS_MIN_BYTES: usize = offset_of!(realm_cuda_options, memory_limit_bytes) + 8;

/// As in the header: a backend and its table.
pub struct realm_cuda_backend {
    gpu: Box<Gpu>,
    table: realm_backend,
}

/// See `include/realm_cuda.h`.
///
/// # Safety
/// `options` is NULL or an options struct; `out` is writable; `error` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_cuda_backend_create(
    options: *const realm_cuda_options,
    out: *mut *mut realm_cuda_backend,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        if out.is_null() {
            bail!(InvalidArgument, "out: NULL");
        }
        let mut given = Options::default();
        // SAFETY: the caller's promise.
        if let Some(o) = unsafe { options.as_ref() } {
            check_head(
                "realm_cuda_options",
                o.struct_size,
                o.abi_version,
                OPTIONS_MIN_BYTES,
            )?;
            no_extension(o.next, "realm_cuda_options")?;
            if o.context.is_null() && !o.stream.is_null() {
                bail!(
                    InvalidArgument,
                    "realm_cuda_options: a stream without its context"
                );
            }
            given = Options {
                device: o.device,
                context: o.context,
                stream: o.stream,
                memory_limit: o.memory_limit_bytes,
            };
        }
        let device = Cuda::new(given).map_err(|e| err!(Unsupported, "{e}"))?;
        let gpu = Gpu::new(device);
        let table = gpu.table();
        // SAFETY: the caller's promise.
        unsafe { *out = Box::into_raw(Box::new(realm_cuda_backend { gpu, table })) };
        Ok(())
    })
}

/// See `include/realm_cuda.h`.
///
/// # Safety
/// `backend` is NULL or made by [`realm_cuda_backend_create`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_cuda_backend_table(
    backend: *const realm_cuda_backend,
) -> *const realm_backend {
    // SAFETY: the caller's promise.
    unsafe { backend.as_ref() }.map_or(ptr::null(), |b| &raw const b.table)
}

/// See `include/realm_cuda.h`.
///
/// # Safety
/// `backend` is NULL or made by [`realm_cuda_backend_create`], and no runtime uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_cuda_backend_destroy(backend: *mut realm_cuda_backend) {
    if !backend.is_null() {
        // SAFETY: the caller's promise.
        let owned = unsafe { Box::from_raw(backend) };
        drop(owned.gpu);
    }
}
