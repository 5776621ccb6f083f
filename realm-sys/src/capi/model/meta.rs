//! Metadata of a model: entries by index, values by key.

use super::super::error::{realm_error, realm_status};
use super::super::store::realm_store;
use super::super::{Out, TwoCall, guard, text};
use super::open;
use crate::error::Result;
use crate::gguf::{Metadata, Value};
use crate::{bail, err};
use core::ffi::c_char;

/// Metadata type: 8-bit unsigned integer.
pub const REALM_META_U8: u32 = 0;
/// Metadata type: 8-bit signed integer.
pub const REALM_META_I8: u32 = 1;
/// Metadata type: 16-bit unsigned integer.
pub const REALM_META_U16: u32 = 2;
/// Metadata type: 16-bit signed integer.
pub const REALM_META_I16: u32 = 3;
/// Metadata type: 32-bit unsigned integer.
pub const REALM_META_U32: u32 = 4;
/// Metadata type: 32-bit signed integer.
pub const REALM_META_I32: u32 = 5;
/// Metadata type: 32-bit float.
pub const REALM_META_F32: u32 = 6;
/// Metadata type: boolean, read as an integer 0 or 1.
pub const REALM_META_BOOL: u32 = 7;
/// Metadata type: string.
pub const REALM_META_STRING: u32 = 8;
/// Metadata type: array. The elements' type is in the second byte: `type >> 8`.
pub const REALM_META_ARRAY: u32 = 9;
/// Metadata type: 64-bit unsigned integer.
pub const REALM_META_U64: u32 = 10;
/// Metadata type: 64-bit signed integer.
pub const REALM_META_I64: u32 = 11;
/// Metadata type: 64-bit float.
pub const REALM_META_F64: u32 = 12;

/// `index` of the metadata functions: the value is no array.
pub const REALM_META_SCALAR: i64 = -1;

fn type_of(value: &Value<'_>) -> u32 {
    match value.as_array() {
        Some(array) => REALM_META_ARRAY | (array.element_type() as u32) << 8,
        None => value.value_type() as u32,
    }
}

fn find<'a>(metadata: Metadata<'a>, key: &str) -> Result<Value<'a>> {
    metadata
        .get(key)
        .ok_or_else(|| err!(NotFound, "no metadata '{key}'"))
}

/// A value, or an element of an array. For arrays of strings see [`string`].
fn item<'a>(metadata: Metadata<'a>, key: &str, index: i64) -> Result<Value<'a>> {
    let value = find(metadata, key)?;
    match (value.as_array(), index) {
        (None, REALM_META_SCALAR) => Ok(value),
        (None, _) => bail!(
            InvalidArgument,
            "metadata '{key}' is no array: its index is -1"
        ),
        (Some(array), _) => {
            let Some(at) = usize::try_from(index).ok().filter(|i| *i < array.len()) else {
                bail!(
                    NotFound,
                    "metadata '{key}' has {} elements, none of index {index}",
                    array.len()
                );
            };
            let element = match array.strings() {
                Some(mut strings) => strings.nth(at).map(Value::Str),
                None => array.get(at),
            };
            element.ok_or_else(|| err!(Format, "metadata '{key}' has been overwritten"))
        }
    }
}

fn wrong_type<T>(key: &str, value: &Value<'_>, wanted: &str) -> Result<T> {
    bail!(
        InvalidArgument,
        "metadata '{key}' has values of the type {:?}, not {wanted}",
        value.value_type()
    )
}

/// Enumerates metadata: the key and type of an entry, in the order of the file.
///
/// `index`: 0 up to `realm_model_info.kv_count`. `key`, `capacity`, `bytes`: receive the key, in bytes without the NUL
/// that is put behind it if there is room; call with a capacity of 0 for the size. `type`: (optional) receives
/// `REALM_META_...`, for arrays with the elements' type in the second byte.
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND` past the last entry; `BUFFER_TOO_SMALL` with `*bytes` set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_meta_key(
    store: *mut realm_store,
    id: u32,
    index: usize,
    key: *mut c_char,
    capacity: usize,
    bytes: *mut usize,
    r#type: *mut u32,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let mut out = unsafe { TwoCall::new(key.cast::<u8>(), capacity, bytes, "key") }?;
        // SAFETY: contract of the function.
        let out_type = unsafe { Out::optional(r#type, "type") }?;
        // SAFETY: contract of the function.
        let model = unsafe { open(store, id) }?;
        let metadata = model.metadata();
        let Some((key, value)) = metadata.entry(index) else {
            bail!(
                NotFound,
                "there are {} metadata entries, none of index {index}",
                metadata.len()
            );
        };
        out.copy_text(key.as_bytes())?;
        out_type.set(type_of(&value));
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// Reads a string of the metadata.
///
/// `key`, `key_bytes`: the key, UTF-8. `index`: `REALM_META_SCALAR`, or the element of an array; finding it takes time
/// in proportion to the index. `text`, `capacity`, `bytes`: receive the string, in bytes without the NUL that is put
/// behind it if there is room; call with a capacity of 0 for the size. Strings may hold any bytes, NUL among them.
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND` for the model, the key or the index; `INVALID_ARGUMENT` for
/// another type; `BUFFER_TOO_SMALL` with `*bytes` set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_meta_string(
    store: *mut realm_store,
    id: u32,
    key: *const c_char,
    key_bytes: usize,
    index: i64,
    text: *mut c_char,
    capacity: usize,
    bytes: *mut usize,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let mut out = unsafe { TwoCall::new(text.cast::<u8>(), capacity, bytes, "text") }?;
        // SAFETY: contract of the function.
        let key = unsafe { self::text(key, key_bytes, "key") }?;
        // SAFETY: contract of the function.
        let model = unsafe { open(store, id) }?;
        let value = item(model.metadata(), key, index)?;
        match value.as_bytes() {
            Some(string) => out.copy_text(string),
            None => wrong_type(key, &value, "a string"),
        }
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// Reads an integer or boolean of the metadata, of any width.
///
/// `key`, `key_bytes`: the key, UTF-8. `index`: `REALM_META_SCALAR`, or the element of an array.
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND` for the model, the key or the index; `INVALID_ARGUMENT` for
/// another type; `LIMIT` for a number over 2^63 - 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_meta_int(
    store: *mut realm_store,
    id: u32,
    key: *const c_char,
    key_bytes: usize,
    index: i64,
    value: *mut i64,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let out = unsafe { Out::new(value, "value") }?;
        // SAFETY: contract of the function.
        let key = unsafe { text(key, key_bytes, "key") }?;
        // SAFETY: contract of the function.
        let model = unsafe { open(store, id) }?;
        let value = item(model.metadata(), key, index)?;
        let number = value.as_i64().or_else(|| value.as_bool().map(i64::from));
        match (number, value) {
            (Some(number), _) => out.set(number),
            (None, Value::U64(n)) => bail!(Limit, "metadata '{key}' is {n}, over 2^63 - 1"),
            (None, value) => return wrong_type(key, &value, "an integer"),
        }
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// Reads a float of the metadata, of either width.
///
/// `key`, `key_bytes`: the key, UTF-8. `index`: `REALM_META_SCALAR`, or the element of an array.
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND` for the model, the key or the index; `INVALID_ARGUMENT` for
/// another type, integers among them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_meta_float(
    store: *mut realm_store,
    id: u32,
    key: *const c_char,
    key_bytes: usize,
    index: i64,
    value: *mut f64,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let out = unsafe { Out::new(value, "value") }?;
        // SAFETY: contract of the function.
        let key = unsafe { text(key, key_bytes, "key") }?;
        // SAFETY: contract of the function.
        let model = unsafe { open(store, id) }?;
        match item(model.metadata(), key, index)? {
            Value::F32(number) => out.set(number.into()),
            Value::F64(number) => out.set(number),
            value => return wrong_type(key, &value, "a float"),
        }
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// The number of elements of an array of the metadata.
///
/// `key`, `key_bytes`: the key, UTF-8.
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND` for the model or the key; `INVALID_ARGUMENT` for a value that
/// is no array.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_meta_count(
    store: *mut realm_store,
    id: u32,
    key: *const c_char,
    key_bytes: usize,
    count: *mut u64,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let out = unsafe { Out::new(count, "count") }?;
        // SAFETY: contract of the function.
        let key = unsafe { text(key, key_bytes, "key") }?;
        // SAFETY: contract of the function.
        let model = unsafe { open(store, id) }?;
        let value = find(model.metadata(), key)?;
        match value.as_array() {
            Some(array) => out.set(array.len() as u64),
            None => return wrong_type(key, &value, "an array"),
        }
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}
