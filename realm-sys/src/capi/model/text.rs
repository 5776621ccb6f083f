//! Text to token ids and back, with a model's vocabulary.

use super::super::error::{realm_error, realm_status};
use super::super::store::realm_store;
use super::super::{TwoCall, guard, known_flags, slice};
use super::open;
use crate::vocab::Detokenizer;
use alloc::vec::Vec;
use core::ffi::c_char;

/// `flags` of `realm_model_tokenize`: BOS and EOS are added where the vocabulary wants them.
pub const REALM_TOKENIZE_ADD_SPECIAL: u32 = 1;
/// `flags` of `realm_model_tokenize`: control tokens that are written out in the text become their ids. Without it they
/// are ordinary text, which is what text from users should be.
pub const REALM_TOKENIZE_PARSE_SPECIAL: u32 = 2;

/// Turns text into token ids.
///
/// The vocabulary is built by the first call for a model, which takes a fraction of a second for a large one, and shared
/// with its sessions.
///
/// `text`, `text_bytes`: at most 256 MiB; what is not UTF-8 becomes the tokens of the single bytes. `flags`:
/// `REALM_TOKENIZE_...`. `tokens`, `capacity`, `count`: receive the ids; call with a capacity of 0 for the size, or
/// with room for `text_bytes + 2`, which is mostly enough.
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND`; `UNSUPPORTED` or `FORMAT` for the model's vocabulary;
/// `BUFFER_TOO_SMALL` with `*count` set; `LIMIT` for a text that is too long; `INVALID_ARGUMENT`; `NO_MEMORY`.
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
    let body = || {
        // SAFETY: contract of the function.
        let mut out = unsafe { TwoCall::new(tokens, capacity, count, "tokens") }?;
        // SAFETY: contract of the function.
        let text = unsafe { slice(text.cast::<u8>(), text_bytes, "text") }?;
        let all = REALM_TOKENIZE_ADD_SPECIAL | REALM_TOKENIZE_PARSE_SPECIAL;
        known_flags(flags, all, "realm_model_tokenize")?;
        // SAFETY: contract of the function.
        let vocab = unsafe { open(store, id) }?.vocab()?;
        let add = flags & REALM_TOKENIZE_ADD_SPECIAL != 0;
        let parse = flags & REALM_TOKENIZE_PARSE_SPECIAL != 0;
        let mut ids = Vec::new();
        vocab.tokenize(text, add, parse, &mut ids)?;
        out.copy(&ids)
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// `flags` of `realm_model_detokenize`: control tokens appear as they are written in the vocabulary. Without it they
/// yield nothing.
pub const REALM_DETOKENIZE_SPECIAL: u32 = 1;

/// Turns token ids into text.
///
/// The text is UTF-8: bytes that make no character become U+FFFD. The space that the vocabulary puts before a text is
/// taken off again.
///
/// `tokens`, `count`: the ids. `flags`: `REALM_DETOKENIZE_SPECIAL`, or 0. `text`, `capacity`, `bytes`: receive the
/// text, in bytes without the NUL that is put behind it if there is room; call with a capacity of 0 for the size.
///
/// **Threads**: any, at any time. **Returns** `NOT_FOUND` for the model or an id outside its vocabulary; `UNSUPPORTED` or
/// `FORMAT` for the vocabulary; `BUFFER_TOO_SMALL` with `*bytes` set; `INVALID_ARGUMENT`; `NO_MEMORY`.
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
    let body = || {
        // SAFETY: contract of the function.
        let mut out = unsafe { TwoCall::new(text.cast::<u8>(), capacity, bytes, "text") }?;
        // SAFETY: contract of the function.
        let tokens = unsafe { slice(tokens, count, "tokens") }?;
        known_flags(flags, REALM_DETOKENIZE_SPECIAL, "realm_model_detokenize")?;
        // SAFETY: contract of the function.
        let vocab = unsafe { open(store, id) }?.vocab()?;
        let mut detokenizer = Detokenizer::new(flags & REALM_DETOKENIZE_SPECIAL != 0);
        let mut utf8 = Vec::new();
        for token in tokens {
            detokenizer.push(&vocab, *token, &mut utf8)?;
        }
        detokenizer.finish(&mut utf8)?;
        out.copy_text(&utf8)
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}
