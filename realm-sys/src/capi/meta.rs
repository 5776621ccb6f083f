//! Metadata of a model: keys and typed values.
//!
//! `key`, `key_bytes`: the key's text and its length. `index`: -1 for a scalar, else the element of
//! an array. All of these are safe from any thread.

use super::error::{realm_error, realm_status};
use super::model::open;
use super::store::realm_store;
use super::{guard, put, put_text, text_of};
use crate::error::Result;
use crate::gguf::convert::{Number, array_len, lookup};
use crate::{bail, err};
use core::ffi::c_char;

fn index_of(index: i64) -> Result<Option<u64>> {
    match index {
        -1 => Ok(None),
        i => u64::try_from(i).map(Some).map_err(|_| {
            err!(
                InvalidArgument,
                "index {i}: an element's number, or -1 for what is no array"
            )
        }),
    }
}

/// The key and type of a metadata entry, in two calls.
///
/// `index`: from 0, in the order of the file, below `realm_model_info.kv_count`.
/// `key`, `capacity`: where the key goes, and for how many bytes there is room.
/// `bytes` receives the key's length, also if it does not fit; without the terminating zero that is added where
/// there is room.
/// `type` (optional) receives, with the key, the GGUF value type: 0 u8, 1 i8, 2 u16, 3 i16, 4 u32, 5 i32, 6 f32,
/// 7 bool, 8 string, 9 array, 10 u64, 11 i64, 12 f64.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND` for the model or past the last entry, `BUFFER_TOO_SMALL`, `INVALID_ARGUMENT`.
///
/// # Safety
/// `store` is NULL or live; `key` points to `capacity` bytes (NULL with 0), `bytes` to a `size_t`;
/// `type` is NULL or points to a `uint32_t`; `error` is NULL or points to a `realm_error`.
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
    guard(error, || {
        // SAFETY: the caller's promise.
        let model = unsafe { open(store, id) }?;
        let meta = model.metadata();
        let Some((name, value)) = meta.entry(index) else {
            bail!(
                NotFound,
                "no metadata entry {index}: the model has {}",
                meta.len()
            );
        };
        // SAFETY: the caller's promise.
        unsafe { put_text(name.as_bytes(), (key, "key"), capacity, bytes) }?;
        if !r#type.is_null() {
            // SAFETY: not NULL, and the caller's promise.
            unsafe { r#type.write(value.value_type() as u32) };
        }
        Ok(())
    })
}

/// A string, or a string of an array, in two calls. It may hold any bytes, zeros included.
///
/// `key`, `key_bytes`: the key and its length; no terminating zero is needed.
/// `index`: -1 for an entry that is no array, else the element, from 0. An element takes time in proportion to its
/// index.
/// `text`, `capacity`: where the string goes, and for how many bytes there is room.
/// `bytes` receives its length, also if it does not fit; without the terminating zero that is added where there is
/// room.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND` for the model, the key or the index, `INVALID_ARGUMENT` for what is no string, for an index
/// into what is no array and for none into what is one, `BUFFER_TOO_SMALL`.
///
/// # Safety
/// `store` is NULL or live; `key` points to `key_bytes` bytes, `text` to `capacity` bytes (NULL with
/// 0), `bytes` to a `size_t`; `error` is NULL or points to a `realm_error`.
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
    guard(error, || {
        // SAFETY: the caller's promise.
        let key = unsafe { text_of(key, key_bytes, "key") }?;
        // SAFETY: the caller's promise.
        let model = unsafe { open(store, id) }?;
        let (value, _) = lookup(&model.metadata(), key, index_of(index)?)?;
        match value.as_bytes() {
            // SAFETY: the caller's promise.
            Some(value) => unsafe { put_text(value, (text, "text"), capacity, bytes) },
            None => bail!(InvalidArgument, "'{key}' is not a string"),
        }
    })
}

/// An integer of any type, a float without a fraction, or a boolean (0 or 1).
///
/// `key`, `key_bytes`, `index`: as for `realm_model_meta_string`.
/// `value` receives the number.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND` for the model, the key or the index, `INVALID_ARGUMENT` for what is no integer or does not fit.
///
/// # Safety
/// `store` is NULL or live; `key` points to `key_bytes` bytes, `value` to an `int64_t`; `error` is NULL
/// or points to a `realm_error`.
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
    guard(error, || {
        // SAFETY: the caller's promise.
        let key = unsafe { text_of(key, key_bytes, "key") }?;
        // SAFETY: the caller's promise.
        let model = unsafe { open(store, id) }?;
        let (found, _) = lookup(&model.metadata(), key, index_of(index)?)?;
        let int = found.as_bool().map(i64::from).or_else(|| {
            Number::of(&found)
                .and_then(Number::int)
                .and_then(|i| i64::try_from(i).ok())
        });
        match int {
            // SAFETY: the caller's promise.
            Some(int) => unsafe { put(value, int, "value") },
            None => bail!(InvalidArgument, "'{key}' is not an integer that fits"),
        }
    })
}

/// A float of either type, or an integer that a double holds exactly.
///
/// `key`, `key_bytes`, `index`: as for `realm_model_meta_string`.
/// `value` receives the number.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND` for the model, the key or the index, `INVALID_ARGUMENT` for what is no such number.
///
/// # Safety
/// `store` is NULL or live; `key` points to `key_bytes` bytes, `value` to a `double`; `error` is NULL or
/// points to a `realm_error`.
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
    guard(error, || {
        // SAFETY: the caller's promise.
        let key = unsafe { text_of(key, key_bytes, "key") }?;
        // SAFETY: the caller's promise.
        let model = unsafe { open(store, id) }?;
        let (found, _) = lookup(&model.metadata(), key, index_of(index)?)?;
        match Number::of(&found).and_then(Number::f64) {
            // SAFETY: the caller's promise.
            Some(float) => unsafe { put(value, float, "value") },
            None => bail!(InvalidArgument, "'{key}' is not a number a double can hold"),
        }
    })
}

/// The number of elements of an array.
///
/// `key`, `key_bytes`: the key and its length; no terminating zero is needed.
/// `count` receives the number.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND` for the model or the key, `INVALID_ARGUMENT` for what is no array.
///
/// # Safety
/// `store` is NULL or live; `key` points to `key_bytes` bytes, `count` to a `uint64_t`; `error` is NULL
/// or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_meta_count(
    store: *mut realm_store,
    id: u32,
    key: *const c_char,
    key_bytes: usize,
    count: *mut u64,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let key = unsafe { text_of(key, key_bytes, "key") }?;
        // SAFETY: the caller's promise.
        let model = unsafe { open(store, id) }?;
        let n = array_len(&model.metadata(), key)?;
        // SAFETY: the caller's promise.
        unsafe { put(count, n, "count") }
    })
}
