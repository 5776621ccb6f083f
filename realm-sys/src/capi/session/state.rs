//! A session's context as a whole: how long it is, and back to an earlier length.

use super::super::error::{realm_error, realm_status};
use super::super::put;
use super::{realm_session, with};
use crate::session::Session;

/// Writes how many tokens are in the session's context to `position`: what `realm_session_rewind` takes. While a turn is
/// running, those of the step under way are counted. A token that was shown last and that the next turn begins with (as
/// after `REALM_DONE_LENGTH`) is not.
///
/// **Returns** `INVALID_ARGUMENT`, and the first failure of a session that has failed.
///
/// # Safety
/// `session` is live; `position` points to a `uint32_t`; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_position(
    session: *mut realm_session,
    position: *mut u32,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        session.check()?;
        // SAFETY: the caller's promise.
        unsafe { put(position, session.position(), "position") }
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}

/// Takes the context back to its first `position` tokens, between turns: another question after the same introduction,
/// another answer to the same question. Given the same tokens, what follows is bit for bit what follows in a session that
/// never went further; only the random numbers of sampling run on, unless `position` is 0. Whole pages of the KV cache
/// that are not needed any more are zeroed and freed.
///
/// `position`: at most `realm_session_position`. What was shown behind it, and has not entered the context, is forgotten too.
///
/// The guest is told in the call. Until a step has run again there are no logits.
///
/// **Returns** `STATE` while a turn is running, `INVALID_ARGUMENT`, `UNSUPPORTED` if the guest is older than guest ABI 0.2,
/// and what else the guest says; the context is as it was then. `GUEST` if the guest fails.
///
/// # Safety
/// `session` is live; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_rewind(
    session: *mut realm_session,
    position: u32,
    error: *mut realm_error,
) -> realm_status {
    // SAFETY: the caller's promise.
    unsafe { with(session, error, |session| session.rewind(position)) }
}
