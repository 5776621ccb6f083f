//! What an instance holds: globals, memory and fuel.

use super::{from_c, instance_ref, realm_wasm_instance, realm_wasm_value, to_c};
use crate::bail;
use crate::capi::error::{realm_error, realm_status};
use crate::capi::{check, check_room, guard, put, slice, text_of};
use crate::error::Short;
use core::ffi::{c_char, c_void};
use core::ptr;

/// Reads an exported global.
///
/// `name`, `name_bytes`: its name in UTF-8, not terminated.
/// `value` receives its type and number.
///
/// **Threads**: one at a time for instances that are linked with each other.
///
/// **Returns** `NOT_FOUND`; `UNSUPPORTED` if it is a reference; `STATE` for a host function's `caller`; `INVALID_ARGUMENT`.
///
/// # Safety
/// `instance` is live, `name` points to `name_bytes` bytes, `value` to a `realm_wasm_value`; `error` is NULL or points to a
/// `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_global_get(
    instance: *const realm_wasm_instance,
    name: *const c_char,
    name_bytes: usize,
    value: *mut realm_wasm_value,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(value, "value")?;
        // SAFETY: the caller's promise.
        let name = unsafe { text_of(name, name_bytes, "name") }?;
        // SAFETY: the caller's promise.
        let found = unsafe { instance_ref(instance) }?.get_global(name)?;
        let Some(found) = to_c(&found) else {
            bail!(Unsupported, "global '{}' is not a number", Short(name));
        };
        // SAFETY: the caller's promise.
        unsafe { put(value, found, "value") }
    })
}

/// Writes an exported global.
///
/// `name`, `name_bytes`: its name in UTF-8, not terminated.
/// `value`: the number, of the global's type.
///
/// **Threads**: one at a time for instances that are linked with each other.
///
/// **Returns** `NOT_FOUND`; `INVALID_ARGUMENT` if it is constant or of another type; `STATE` for a host function's
/// `caller`.
///
/// # Safety
/// As for `realm_wasm_global_get`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_global_set(
    instance: *const realm_wasm_instance,
    name: *const c_char,
    name_bytes: usize,
    value: *const realm_wasm_value,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(value, "value")?;
        // SAFETY: not NULL, and the caller's promise.
        let value = unsafe { value.read() };
        let Some(val) = from_c(&value) else {
            bail!(
                InvalidArgument,
                "the value has the unknown type {}, expected REALM_WASM_I32, _I64, _F32 or _F64 (1 to 4)",
                value.r#type
            );
        };
        // SAFETY: the caller's promise.
        unsafe { instance_ref(instance)?.set_global(text_of(name, name_bytes, "name")?, val) }
    })
}

/// The size of an instance's memory: of the export `memory`, else of the first export that is a memory.
///
/// `bytes` receives it.
///
/// **Threads**: one at a time for instances that are linked with each other.
///
/// **Returns** `NOT_FOUND` if it exports none; `INVALID_ARGUMENT`.
///
/// # Safety
/// `instance` is live, or the `caller` of the host function that runs; `bytes` points to a `uint64_t`; `error` is NULL
/// or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_memory_size(
    instance: *const realm_wasm_instance,
    bytes: *mut u64,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(bytes, "bytes")?;
        // SAFETY: the caller's promise.
        let size = unsafe { instance_ref(instance) }?.memory_bytes()?;
        // SAFETY: the caller's promise.
        unsafe { put(bytes, size, "bytes") }
    })
}

/// Copies bytes out of an instance's memory (`realm_wasm_memory_size` says which), all or none.
///
/// `offset`: where they begin.
/// `dst`, `bytes`: where they go, and how many; 0 is fine, within the memory.
///
/// **Threads**: one at a time for instances that are linked with each other.
///
/// **Returns** `INVALID_ARGUMENT` if they are not all inside; `NOT_FOUND` if it exports no memory.
///
/// # Safety
/// `instance` is live, or the `caller` of the host function that runs; `dst` points to `bytes` bytes or is NULL with 0;
/// `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_memory_read(
    instance: *const realm_wasm_instance,
    offset: u64,
    dst: *mut c_void,
    bytes: usize,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        let dst = dst.cast::<u8>();
        check_room(dst, bytes, "dst")?;
        // SAFETY: the caller's promise.
        unsafe { instance_ref(instance) }?.with_memory(offset, bytes, |memory| {
            if bytes > 0 {
                // SAFETY: not NULL, room for `bytes`, and the caller's memory, which is not a module's.
                unsafe { ptr::copy_nonoverlapping(memory.as_ptr(), dst, bytes) };
            }
        })
    })
}

/// Copies bytes into an instance's memory (`realm_wasm_memory_size` says which), all or none.
///
/// `offset`: where they go.
/// `src`, `bytes`: the bytes, and how many; 0 is fine, within the memory.
///
/// **Threads**: one at a time for instances that are linked with each other.
///
/// **Returns** `INVALID_ARGUMENT` if they do not all fit; `NOT_FOUND` if it exports no memory.
///
/// # Safety
/// As for `realm_wasm_memory_read`, with `src` readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_memory_write(
    instance: *const realm_wasm_instance,
    offset: u64,
    src: *const c_void,
    bytes: usize,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let src = unsafe { slice(src.cast::<u8>(), bytes, "src") }?;
        // SAFETY: the caller's promise.
        unsafe { instance_ref(instance) }?
            .with_memory(offset, bytes, |memory| memory.copy_from_slice(src))
    })
}

/// Grows an instance's memory (`realm_wasm_memory_size` says which). What is added is zero.
///
/// `pages`: how many pages of 64 KiB are added; 0 is fine.
/// `old_bytes` (optional) receives the size before.
///
/// **Threads**: one at a time for instances that are linked with each other.
///
/// **Returns** `LIMIT` if it would be larger than its own maximum, `max_memory_bytes`, or what the system gives;
/// `NOT_FOUND` if it exports no memory.
///
/// # Safety
/// `instance` is live, or the `caller` of the host function that runs; `old_bytes` is NULL or points to a `uint64_t`;
/// `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_memory_grow(
    instance: *const realm_wasm_instance,
    pages: u64,
    old_bytes: *mut u64,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let before = unsafe { instance_ref(instance) }?.grow_memory(pages)?;
        if old_bytes.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        unsafe { put(old_bytes, before, "old_bytes") }
    })
}

/// The fuel that an instance, and those linked with it, have left.
///
/// `fuel` receives it; about one per instruction.
///
/// **Threads**: one at a time for instances that are linked with each other.
///
/// **Returns** `INVALID_ARGUMENT` for a NULL, `STATE` while another thread calls one of them.
///
/// # Safety
/// `instance` is live, or the `caller` of the host function that runs; `fuel` points to a `uint64_t`; `error` is NULL or
/// points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_fuel(
    instance: *const realm_wasm_instance,
    fuel: *mut u64,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(fuel, "fuel")?;
        // SAFETY: the caller's promise.
        let left = unsafe { instance_ref(instance) }?.fuel()?;
        // SAFETY: the caller's promise.
        unsafe { put(fuel, left, "fuel") }
    })
}

/// Gives an instance, and those linked with it, more fuel; the sum ends at `UINT64_MAX`.
///
/// `more`: about one per instruction; 0 is fine.
///
/// **Threads**: one at a time for instances that are linked with each other.
///
/// **Returns** what `realm_wasm_fuel` does.
///
/// # Safety
/// `instance` is live, or the `caller` of the host function that runs; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_add_fuel(
    instance: *const realm_wasm_instance,
    more: u64,
    error: *mut realm_error,
) -> realm_status {
    // SAFETY: the caller's promise.
    guard(error, || unsafe { instance_ref(instance) }?.add_fuel(more))
}
