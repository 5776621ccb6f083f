//! Tensors of a model: the directory, and values as floats. All safe from any thread.

use super::error::{realm_error, realm_status};
use super::model::open;
use super::store::realm_store;
use super::{check_room, fixed, guard, put, text_of, write_struct};
use crate::error::Short;
use crate::quant::GgmlType;
use crate::{bail, err};
use core::ffi::c_char;
use core::mem::{offset_of, size_of};

/// What is known of a tensor.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_tensor_info {
    /// Size of the caller's struct in bytes. Set by `REALM_TENSOR_INFO_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_TENSOR_INFO_INIT`.
    pub abi_version: u32,
    /// Elements per dimension, `ne[0]` along a row; 1 where unused.
    pub ne: [u64; 4],
    /// Its size in the file, in bytes.
    pub bytes: u64,
    /// The element type, as ggml numbers them.
    pub r#type: u32,
    /// Dimensions in use, 0 to 4.
    pub n_dims: u32,
    /// The name, cut to fit, NUL-terminated.
    pub name: [c_char; 128],
    /// The type's name, such as `"q4_K"`.
    pub type_name: [c_char; 16],
}

const INFO_MIN: usize = offset_of!(realm_tensor_info, type_name) + size_of::<[c_char; 16]>();

/// Finds a tensor by name.
///
/// `name`, `name_bytes`: the name in UTF-8 and its length; no terminating zero is needed.
/// `tensor` receives its index, which counts from 0 through all parts.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND` for the model or the name, `INVALID_ARGUMENT`.
///
/// # Safety
/// `store` is NULL or live; `name` points to `name_bytes` bytes, `tensor` to a `uint32_t`; `error` is
/// NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_tensor_find(
    store: *mut realm_store,
    id: u32,
    name: *const c_char,
    name_bytes: usize,
    tensor: *mut u32,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let name = unsafe { text_of(name, name_bytes, "name") }?;
        // SAFETY: the caller's promise.
        let model = unsafe { open(store, id) }?;
        let found = model
            .find_tensor(name)
            .ok_or_else(|| err!(NotFound, "the model has no tensor '{}'", Short(name)))?;
        // SAFETY: the caller's promise.
        unsafe { put(tensor, found, "tensor") }
    })
}

/// Writes what is known of a tensor.
///
/// `tensor`: its index, below `realm_model_info.tensor_count`.
/// `info`: receives it; its `struct_size` and `abi_version` are set by the caller.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND` for the model or past the last tensor, `INVALID_ARGUMENT`.
///
/// # Safety
/// `store` is NULL or live; `info` is a struct as described; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_tensor_info(
    store: *mut realm_store,
    id: u32,
    tensor: u32,
    info: *mut realm_tensor_info,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let model = unsafe { open(store, id) }?;
        let Some(t) = model.tensor(tensor) else {
            bail!(
                NotFound,
                "no tensor {tensor}: the model has {}",
                model.tensor_count()
            );
        };
        let value = realm_tensor_info {
            struct_size: 0,
            abi_version: 0,
            ne: t.dims,
            bytes: t.data.len() as u64,
            r#type: t.type_id,
            n_dims: t.n_dims,
            name: fixed(t.name),
            type_name: fixed(GgmlType::from_id(t.type_id).map_or("?", GgmlType::name)),
        };
        // SAFETY: the caller's promise.
        unsafe { write_struct(info, "realm_tensor_info", INFO_MIN, &value) }
    })
}

/// Dequantizes rows of a tensor to floats, in two calls. A row has `ne[0]` of them.
///
/// `tensor`: its index, below `realm_model_info.tensor_count`.
/// `row_first`, `row_count`: which rows, of `ne[1]·ne[2]·ne[3]`. A count of 0: all from the first on.
/// `values`, `capacity`: where the floats go, and for how many there is room.
/// `count` receives how many floats that is, also if they do not fit.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND` for the model or the tensor, `INVALID_ARGUMENT` for rows past the end, `BUFFER_TOO_SMALL`,
/// `UNSUPPORTED` for a type that cannot be dequantized, `LIMIT` for more floats than can be addressed.
///
/// # Safety
/// `store` is NULL or live; `values` points to `capacity` floats (NULL with 0), `count` to a `size_t`;
/// `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_tensor_read(
    store: *mut realm_store,
    id: u32,
    tensor: u32,
    row_first: u64,
    row_count: u64,
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let model = unsafe { open(store, id) }?;
        let Some(t) = model.tensor(tensor) else {
            bail!(
                NotFound,
                "no tensor {tensor}: the model has {}",
                model.tensor_count()
            );
        };
        let rows = t.rows();
        let wanted = match row_count {
            0 => rows.saturating_sub(row_first),
            n => n,
        };
        if row_first.checked_add(wanted).is_none_or(|end| end > rows) {
            bail!(
                InvalidArgument,
                "'{}' has {rows} rows, not {wanted} from {row_first} on",
                t.name
            );
        }
        let floats = wanted
            .checked_mul(t.row_len())
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n <= isize::MAX as usize / size_of::<f32>())
            .ok_or_else(|| err!(Limit, "more floats than this machine can address"))?;
        check_room(values, capacity, "values")?;
        // SAFETY: the caller's promise.
        unsafe { put(count, floats, "count") }?;
        if floats > capacity {
            bail!(BufferTooSmall, "{floats} floats, room for {capacity}");
        }
        if floats == 0 {
            return Ok(());
        }
        // SAFETY: zeros are floats, so that what is borrowed below is initialised; there is room
        // for `capacity`, in the caller's memory, which is not ours.
        let dst = unsafe {
            core::ptr::write_bytes(values, 0, floats);
            core::slice::from_raw_parts_mut(values, floats)
        };
        model.read_tensor_f32(tensor, row_first, wanted, dst)
    })
}
