//! From a session to an image of its guest.

use super::super::error::{realm_error, realm_status};
use super::state::{realm_write_fn, sink};
use super::{realm_session, with};
use crate::error::Result;
use crate::session::Session;
use alloc::vec::Vec;
use core::ffi::c_void;

/// Writes an image: what the session's guest has decided for its model and parameters, to be replayed by a library that has no
/// interpreter, as in small firmware. `realm_guest_load` takes it in place of the guest.
///
/// The session has just been opened. The image holds its program, the sizes of its caches and buffers, and the settings by which
/// tokens are picked; not the model, whose digest it names, and whose vocabulary the replaying library reads from the model. A
/// version and a SHA-256 are in it. The model's digest is computed if it is not known, which reads the whole model.
///
/// What images know: text and token ids as input, greedy picking, temperature, top-k, top-p, min-p, biases, stop strings, end tokens. Not:
/// chat formats, penalties of repetitions, other samplers, grammars, log-probabilities, adapters, embeddings and recurrent models.
///
/// `write`, `ctx`: takes the bytes, in order; `ctx` is its first argument.
///
/// **Threads**: one at a time for a session.
///
/// **Returns** `STATE` once the session has begun a turn; `UNSUPPORTED` for what images do not know, for a guest that is older than guest
/// ABI 0.2 or an image itself, and in builds that cannot record; what `write` returns if that is a status; `NO_MEMORY`, `BACKEND`,
/// `INVALID_ARGUMENT`, and what else the guest says.
///
/// # Safety
/// `session` is live; `write` keeps its contract; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_record(
    session: *mut realm_session,
    write: realm_write_fn,
    ctx: *mut c_void,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        // SAFETY: the caller's promise.
        let mut write = unsafe { sink(write, ctx) }?;
        write(&record(session)?)
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}

#[cfg(all(feature = "interpreter", feature = "replay"))]
fn record(session: &mut Session) -> Result<Vec<u8>> {
    session.record()
}

#[cfg(not(all(feature = "interpreter", feature = "replay")))]
fn record(_session: &mut Session) -> Result<Vec<u8>> {
    crate::bail!(
        Unsupported,
        "this build cannot record: that takes its features interpreter and replay"
    )
}
