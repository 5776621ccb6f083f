//! Text to token ids and back, by a model's vocabulary. All safe from any thread.
//!
//! The tables are built on the first call for a model, which takes some tens of milliseconds and
//! megabytes for a large vocabulary, and are shared from then on.

use super::error::{realm_error, realm_status};
use super::model::open;
use super::store::realm_store;
use super::{guard, put_all, put_text, slice};
use crate::bail;
use crate::vocab::Detokenizer;
use alloc::vec::Vec;
use core::ffi::c_char;

/// Add BOS and EOS as the vocabulary says.
pub const REALM_TOKENIZE_ADD_SPECIAL: u32 = 1;
/// Control tokens that are written out in the text become their ids; without, they are text.
pub const REALM_TOKENIZE_PARSE_SPECIAL: u32 = 2;

/// Control tokens appear as they are written in the vocabulary; without, they yield nothing.
pub const REALM_DETOKENIZE_SPECIAL: u32 = 1;

/// Turns text into token ids, in two calls.
///
/// `text`, `text_bytes`: any bytes; those that are not UTF-8 become the tokens of single bytes.
/// `flags`: `REALM_TOKENIZE_...`, or 0.
/// `tokens`, `capacity`: where the ids go, and for how many there is room.
/// `count` receives how many there are, also if they do not fit.
///
/// **Threads**: any, at any time. The first call for a model builds tables, for some tens of milliseconds and megabytes
/// with a large vocabulary; all that use the model share them.
///
/// **Returns** `NOT_FOUND`, `BUFFER_TOO_SMALL`, `UNSUPPORTED` for a vocabulary this build does not know, `FORMAT` for a
/// broken one, `LIMIT` for more than 256 MiB of text, `NO_MEMORY`, `INVALID_ARGUMENT`.
///
/// # Safety
/// `store` is NULL or live; `text` points to `text_bytes` bytes, `tokens` to `capacity` items (NULL with
/// 0), `count` to a `size_t`; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_tokenize(
    store: *mut realm_store,
    id: u32,
    text: *const c_char,
    text_bytes: usize,
    flags: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let text = unsafe { slice(text.cast::<u8>(), text_bytes, "text") }?;
        if flags & !(REALM_TOKENIZE_ADD_SPECIAL | REALM_TOKENIZE_PARSE_SPECIAL) != 0 {
            bail!(
                InvalidArgument,
                "realm_model_tokenize: the flags are {flags:#x}, expected any of REALM_TOKENIZE_ADD_SPECIAL (1) and REALM_TOKENIZE_PARSE_SPECIAL (2)"
            );
        }
        // SAFETY: the caller's promise.
        let vocab = unsafe { open(store, id) }?.vocab()?;
        let mut ids = Vec::new();
        vocab.tokenize(
            text,
            flags & REALM_TOKENIZE_ADD_SPECIAL != 0,
            flags & REALM_TOKENIZE_PARSE_SPECIAL != 0,
            &mut ids,
        )?;
        // SAFETY: the caller's promise.
        unsafe { put_all(&ids, (tokens, "tokens"), capacity, (count, "count")) }
    })
}

/// Turns token ids into text, always valid UTF-8, in two calls.
///
/// `tokens`, `count`: the ids, and how many there are.
/// `flags`: `REALM_DETOKENIZE_SPECIAL`, or 0.
/// `text`, `capacity`: where the text goes, and for how many bytes there is room.
/// `bytes` receives its length, also if it does not fit; without the terminating zero that is added where there is
/// room.
///
/// **Threads**: any, at any time; the first call for a model as with `realm_model_tokenize`.
///
/// **Returns** `NOT_FOUND` for the model or an id that is none, `BUFFER_TOO_SMALL`, `UNSUPPORTED`, `FORMAT`, `NO_MEMORY`,
/// `INVALID_ARGUMENT`.
///
/// # Safety
/// `store` is NULL or live; `tokens` points to `count` items, `text` to `capacity` bytes (NULL with 0),
/// `bytes` to a `size_t`; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_model_detokenize(
    store: *mut realm_store,
    id: u32,
    tokens: *const u32,
    count: usize,
    flags: u32,
    text: *mut c_char,
    capacity: usize,
    bytes: *mut usize,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let tokens = unsafe { slice(tokens, count, "tokens") }?;
        if flags & !REALM_DETOKENIZE_SPECIAL != 0 {
            bail!(
                InvalidArgument,
                "realm_model_detokenize: the flags are {flags:#x}, expected REALM_DETOKENIZE_SPECIAL (1) or 0"
            );
        }
        // SAFETY: the caller's promise.
        let vocab = unsafe { open(store, id) }?.vocab()?;
        let mut detokenizer = Detokenizer::new(flags & REALM_DETOKENIZE_SPECIAL != 0);
        let mut out = Vec::new();
        for token in tokens {
            detokenizer.push(&vocab, *token, &mut out)?;
        }
        detokenizer.finish(&mut out)?;
        // SAFETY: the caller's promise.
        unsafe { put_text(&out, (text, "text"), capacity, bytes) }
    })
}
