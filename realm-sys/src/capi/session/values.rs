//! What a turn leaves in numbers: logits and probabilities, or an embedding.

use super::super::error::{realm_error, realm_status};
use super::super::{put, slice};
use super::{REALM_INPUT_IDS, REALM_INPUT_TEXT, begin, realm_session, with};
use crate::error::Result;
use crate::session::{DoneReason, Event, Session};
use crate::{bail, err};
use core::ffi::c_void;
use core::ptr;

/// Copies the raw logits of the last evaluated position, one float per token of the vocabulary, in two calls. Zeros
/// before the first.
///
/// `values`, `capacity`: where they go, and for how many there is room.
/// `count` receives how many there are, also if they do not fit.
///
/// **Threads**: one at a time for a session.
///
/// **Returns** `NOT_FOUND` if the guest has published none, `STATE` while a step is half done (after AGAIN) and after a
/// rewind until a step has run, `BUFFER_TOO_SMALL`, `INVALID_ARGUMENT`, and the first failure of a session that has
/// failed.
///
/// # Safety
/// `session` is live; `values` points to `capacity` floats (NULL with 0), `count` to a `size_t`; `error`
/// is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_logits(
    session: *mut realm_session,
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        session.check()?;
        let n = session.logits_len()?;
        // SAFETY: the caller's promise.
        session.logits(unsafe { floats(values, capacity, count, n, "logits") }?)
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}

/// Whether there is room for `n` floats, and how many they are in `count`.
///
/// # Safety
/// `count` points to a `size_t`.
unsafe fn room(
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
    n: usize,
    what: &str,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { put(count, n, "count") }?;
    if n > capacity {
        bail!(BufferTooSmall, "{n} {what}, room for {capacity}");
    }
    if values.is_null() || !values.is_aligned() {
        return Err(err!(InvalidArgument, "values is NULL or misaligned"));
    }
    Ok(())
}

/// Room for `n` floats in the caller's memory, and how many they are in `count`.
///
/// # Safety
/// `values` points to `capacity` floats (NULL with 0), `count` to a `size_t`.
unsafe fn floats<'a>(
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
    n: usize,
    what: &str,
) -> Result<&'a mut [f32]> {
    // SAFETY: the caller's promise.
    unsafe { room(values, capacity, count, n, what) }?;
    // SAFETY: zeros are floats, so that what is borrowed is initialised; there is room for `capacity`, in the
    // caller's memory, which is not ours.
    unsafe {
        ptr::write_bytes(values, 0, n);
        Ok(core::slice::from_raw_parts_mut(values, n))
    }
}

/// Says which tokens the model finds most probable behind the last evaluated position, best first, and how probable: the natural
/// logarithm, at most 0, before bias, penalties, temperature and other samplers, as `realm_event.logprob` is. Right behind a TOKEN they
/// are what that token was chosen among, unless `draft_max` or a stop string has tokens come later than they are evaluated.
///
/// `ids`, `logprobs`, `capacity`: where they go, and for how many there is room in each.
/// `count` receives how many there are: `capacity`, or all of the vocabulary.
///
/// **Threads**: one at a time for a session.
///
/// **Returns** `NO_MEMORY` for a copy of the logits, and what `realm_session_logits` does but `BUFFER_TOO_SMALL`.
///
/// # Safety
/// `session` is live; `ids` points to `capacity` integers and `logprobs` to as many floats (NULL with 0), `count` to a `size_t`;
/// `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_top_logprobs(
    session: *mut realm_session,
    ids: *mut i32,
    logprobs: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        session.check()?;
        let n = session.logits_len()?.min(capacity);
        // SAFETY: the caller's promise.
        unsafe { put(count, n, "count") }?;
        if n == 0 {
            return Ok(());
        }
        if ids.is_null() || logprobs.is_null() || !ids.is_aligned() || !logprobs.is_aligned() {
            bail!(InvalidArgument, "ids or logprobs is NULL or misaligned");
        }
        let best = session.top_logprobs(n)?;
        // SAFETY: there is room for `n` in each, and so many there are, in memory of ours.
        unsafe {
            ptr::copy_nonoverlapping(best.0.as_ptr(), ids, n);
            ptr::copy_nonoverlapping(best.1.as_ptr(), logprobs, n);
        }
        Ok(())
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}

/// Copies the embedding of the last turn's input, in two calls, of a model that makes embeddings instead of text, or is asked to by the
/// parameter `pooling` of the library's guest: such a turn ends with LENGTH and has no tokens, and its input replaces the one before.
/// Zeros before the first.
///
/// `values`, `capacity`: where its elements go, and for how many there is room.
/// `count` receives how many there are, also if they do not fit.
///
/// **Threads**: one at a time for a session.
///
/// **Returns** what `realm_session_logits` does; and `STATE` from the beginning of a turn on, and after a rewind, until a turn has
/// come to its end: one that was cancelled or failed leaves none, not even that of the input before.
///
/// # Safety
/// As `realm_session_logits`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_embedding(
    session: *mut realm_session,
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        session.check()?;
        let n = session.embedding_len()?;
        // SAFETY: the caller's promise.
        session.embedding(unsafe { floats(values, capacity, count, n, "elements") }?)
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}

/// Makes the embedding of an input, in one call: begins a turn with it as `realm_session_prompt` does, polls to the turn's end, and
/// copies what `realm_session_embedding` would. For models that make embeddings. Parameters of the library's guest say how rows are
/// pooled and how the vector is scaled: `pooling`, with which any model makes embeddings, and `embd_normalize`.
///
/// `kind`: `REALM_INPUT_TEXT` or `REALM_INPUT_IDS`.
/// `data`, `bytes`: the input.
/// `values`, `capacity`: where the elements go, and for how many there is room; written when all has gone well, and as it was if
/// not. It may be the memory that `data` is in.
/// `count` receives how many there are, also if they do not fit; nothing is computed then, so that a capacity of 0 asks for it.
///
/// **Threads**: one at a time for a session. `realm_session_cancel` ends it.
///
/// **Returns** `INVALID_ARGUMENT` for another kind, `NOT_FOUND` if the model makes no embeddings, `BUFFER_TOO_SMALL`, `CANCELLED`,
/// and what `realm_session_prompt` and `realm_session_poll` do. Without OK, `realm_session_embedding` has none either once the turn
/// has begun.
///
/// # Safety
/// `session` is live; `data` points to `bytes` bytes (NULL with 0), `values` to `capacity` floats (NULL with 0), `count` to a
/// `size_t`; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_embed(
    session: *mut realm_session,
    kind: u32,
    data: *const c_void,
    bytes: usize,
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        session.check()?;
        if kind != REALM_INPUT_TEXT && kind != REALM_INPUT_IDS {
            bail!(
                InvalidArgument,
                "embeddings are made of REALM_INPUT_TEXT (0) or _IDS (1), not of kind {kind}"
            );
        }
        let n = session.embedding_len()?;
        // SAFETY: the caller's promise.
        unsafe { room(values, capacity, count, n, "elements") }?;
        // SAFETY: the caller's promise.
        let data = unsafe { slice(data.cast::<u8>(), bytes, "data") }?;
        begin(session, kind, data)?;
        loop {
            match session.poll(0)? {
                Event::Done(DoneReason::Cancelled) => bail!(Cancelled, "the turn was cancelled"),
                Event::Done(_) => break,
                Event::Again | Event::Token(_) => {}
            }
        }
        // Only now, because the data may be where the elements go.
        // SAFETY: the caller's promise.
        session.embedding(unsafe { floats(values, capacity, count, n, "elements") }?)
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}
