//! Tensors of a model: finding, describing, and reading them as floats.

use super::super::error::{realm_error, realm_status};
use super::super::store::realm_store;
use super::super::{Out, OutStruct, TwoCall, Versioned, fixed_text, guard, text};
use super::open;
use crate::error::Result;
use crate::platform::REALM_ABI_VERSION;
use crate::quant::GgmlType;
use crate::store::{Model, TensorInfo};
use crate::{bail, err};
use core::ffi::c_char;
use core::mem::{offset_of, size_of};

/// What a tensor is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_tensor_info {
    /// Size of the caller's struct in bytes; set it before the call. Set by `REALM_TENSOR_INFO_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_TENSOR_INFO_INIT`.
    pub abi_version: u32,
    /// Elements per dimension, `ne[0]` along a row; 1 beyond `n_dims`.
    pub ne: [u64; 4],
    /// Size in the file in bytes.
    pub bytes: u64,
    /// ggml type id of the elements.
    pub r#type: u32,
    /// Dimensions in use, 0 to 4.
    pub n_dims: u32,
    /// Name, NUL-terminated, cut if need be.
    pub name: [c_char; 128],
    /// Name of the type, such as `"q4_K"`, NUL-terminated.
    pub type_name: [c_char; 16],
}

// SAFETY: repr(C), opens with the head, made of numbers, and its fields follow each other without gaps.
unsafe impl Versioned for realm_tensor_info {
    const NAME: &'static str = "realm_tensor_info";
    const MIN_BYTES: usize = offset_of!(Self, type_name) + 16;
}

fn tensor(model: &Model, index: u32) -> Result<TensorInfo<'_>> {
    let count = model.tensor_count();
    model
        .tensor(index)
        .ok_or_else(|| err!(NotFound, "there are {count} tensors, none of index {index}"))
}

/// Finds a tensor by name.
///
/// `name`, `name_bytes`: UTF-8. `tensor`: receives its index, which counts from 0 through all files in order.
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND` for the model or the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_tensor_find(
    store: *mut realm_store,
    id: u32,
    name: *const c_char,
    name_bytes: usize,
    tensor: *mut u32,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let out = unsafe { Out::new(tensor, "tensor") }?;
        // SAFETY: contract of the function.
        let name = unsafe { text(name, name_bytes, "name") }?;
        // SAFETY: contract of the function.
        let model = unsafe { open(store, id) }?;
        let found = model.find_tensor(name);
        out.set(found.ok_or_else(|| err!(NotFound, "no tensor '{name}'"))?);
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// Describes a tensor.
///
/// `tensor`: its index, 0 up to `realm_model_info.tensor_count`. `info`: set `struct_size` and `abi_version` first
/// (`REALM_TENSOR_INFO_INIT`).
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND` for the model or the index; `INVALID_ARGUMENT` or
/// `UNSUPPORTED` for the head of `info`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_tensor_info(
    store: *mut realm_store,
    id: u32,
    tensor: u32,
    info: *mut realm_tensor_info,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let out = unsafe { OutStruct::new(info) }?;
        // SAFETY: contract of the function.
        let model = unsafe { open(store, id) }?;
        let t = self::tensor(&model, tensor)?;
        let type_name = GgmlType::from_id(t.type_id).map_or("", GgmlType::name);
        out.set(&realm_tensor_info {
            struct_size: size_of::<realm_tensor_info>() as u32,
            abi_version: REALM_ABI_VERSION,
            ne: t.dims,
            bytes: t.data.len() as u64,
            r#type: t.type_id,
            n_dims: t.n_dims,
            name: fixed_text(t.name.as_bytes()),
            type_name: fixed_text(type_name.as_bytes()),
        });
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// Reads rows of a tensor as floats, dequantizing them.
///
/// A row has `ne[0]` elements; there are `ne[1] * ne[2] * ne[3]` of them. `row_first`: the first row to read.
/// `row_count`: how many; 0 for the rest. `values`, `capacity`, `count`: receive row after row, all counted in floats;
/// call with a capacity of 0 for the size.
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND` for the model or the index; `INVALID_ARGUMENT` for rows past
/// the end; `BUFFER_TOO_SMALL` with `*count` set; `UNSUPPORTED` for a type that cannot be dequantized; `LIMIT` for more
/// floats than an address space has room for.
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
    let body = || {
        // SAFETY: contract of the function.
        let mut out = unsafe { TwoCall::new(values, capacity, count, "values") }?;
        // SAFETY: contract of the function.
        let model = unsafe { open(store, id) }?;
        let t = self::tensor(&model, tensor)?;
        let rows = t.rows();
        let rest = rows.checked_sub(row_first);
        let Some(row_count) = rest.and_then(|rest| match row_count {
            0 => Some(rest),
            n => (n <= rest).then_some(n),
        }) else {
            bail!(
                InvalidArgument,
                "tensor '{}' has {rows} rows, not {row_count} from {row_first} on",
                t.name
            );
        };
        let needed = row_count
            .checked_mul(t.row_len())
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n <= isize::MAX as usize / size_of::<f32>());
        let Some(needed) = needed else {
            bail!(
                Limit,
                "tensor '{}': {row_count} rows fit no address space",
                t.name
            );
        };
        let room = out.room(needed)?;
        model.read_tensor_f32(tensor, row_first, row_count, room)?;
        out.done(needed);
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}
