//! Many sessions polled in one call.

use super::super::error::{realm_error, realm_status};
use super::super::{check, guard, read_struct, slice};
use super::{EVENT_MIN, realm_event, realm_session, session_mut, write_event};
use crate::bail;
use crate::error::{Error, Result, try_vec};
use crate::panics::caught;
use crate::session::many::poll_many;
use crate::session::{Event, Session};
use core::mem::size_of;
use core::ptr;

/// Runs the turns of several sessions on, until each has an event or the budget is spent. Where sessions have
/// come to steps of the same program (the same guest, model, backend and kind of sampling, the same `ctx`, `n_batch`,
/// `kv_type` and `thread_count`) and the steps are small, as those that make a token are, the backend gets them as one
/// batch and reads the weights once for all. What a session computes is bit for bit what it computes alone.
///
/// `sessions`, `session_count`: the sessions, each at most once; those of different runtimes take turns, but share no batch. 0: nothing happens.
/// `budget_us`: as for `realm_session_poll`, for all sessions together, by the clock of the first that has one.
/// Sessions take turns within it and from call to call. The call may return before it is spent, with AGAIN for a session
/// whose step can run together with others' in the next. `REALM_BUDGET_UNLIMITED`: until every session has a TOKEN or DONE, however long
/// the slowest takes.
/// `events`: one for each session, as an array whose elements are `struct_size` of the first apart; `struct_size` and
/// `abi_version` of all are set and the same. Written where the session's status is 0.
/// `errors`: one for each session: 0 and an empty line, or what `realm_session_poll` would return for it.
/// Always written. A session that fails leaves the others as they are; those without a turn get `STATE`.
///
/// A session that is cancelled while its step is part of a batch ends its turn when the batch has ended, within one
/// step. Sessions that were left with AGAIN may be polled alone or with others next, or closed: a batch that was half done
/// is abandoned then, and its steps run again from their beginning. A batch's time is shared equally among its sessions in
/// `realm_session_get_stats`.
///
/// **Threads**: this one uses all of the sessions. Backends and platforms are called from it.
///
/// **Returns** `INVALID_ARGUMENT` for NULL, for a session that is named twice, and for structs that are not as described;
/// `NO_MEMORY`. Nothing has been polled or written then.
///
/// # Safety
/// `sessions` points to `session_count` live sessions that no other thread is using, but for `realm_session_cancel`; `events`
/// and `errors` are arrays as described; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_poll_many(
    sessions: *const *mut realm_session,
    session_count: usize,
    budget_us: u64,
    events: *mut realm_event,
    errors: *mut realm_error,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let handles = unsafe { slice(sessions, session_count, "sessions") }?;
        if handles.is_empty() {
            return Ok(());
        }
        distinct(handles)?;
        check(errors, "errors")?;
        // SAFETY: the caller's promise.
        let stride = unsafe { stride(events, session_count) }?;
        let mut polled = try_vec(session_count, "sessions")?;
        for &handle in handles {
            // SAFETY: the caller's promise; no two are the same.
            polled.push(unsafe { session_mut(handle) }?);
        }
        let report = |i: usize, session: &mut Session, got: Result<Event>| {
            // SAFETY: `i` is below `session_count`; the arrays are the caller's promise, and checked.
            let (event, error) = unsafe { (events.byte_add(i * stride), errors.add(i)) };
            // SAFETY: as above.
            let written = got.and_then(|got| unsafe { write_event(event, session, got) });
            match written {
                // SAFETY: as above.
                Ok(()) => unsafe { realm_error::clear(error) },
                Err(e) => {
                    // SAFETY: as above.
                    let _ = unsafe { realm_error::fill(error, &e) };
                }
            }
        };
        let result = caught(|| {
            poll_many(&mut polled, budget_us, report);
            Ok(())
        });
        if let Err(e) = &result {
            for session in &mut polled {
                session.poison(e.clone());
            }
        }
        result
    })
}

/// Refuses NULL and what is there twice.
fn distinct(handles: &[*mut realm_session]) -> Result<()> {
    let mut sorted = try_vec(handles.len(), "sessions")?;
    for (i, &handle) in handles.iter().enumerate() {
        if handle.is_null() {
            bail!(InvalidArgument, "session {i} is NULL");
        }
        sorted.push(handle);
    }
    sorted.sort_unstable();
    let twice = sorted.windows(2).find_map(|pair| match *pair {
        [a, b] if a == b => Some(a),
        _ => None,
    });
    match twice.and_then(|a| handles.iter().rposition(|&h| h == a)) {
        Some(i) => Err(named_twice(i)),
        None => Ok(()),
    }
}

#[cold]
fn named_twice(i: usize) -> Error {
    crate::err!(InvalidArgument, "session {i} is named twice")
}

/// How far apart the events are. All are checked before any session is polled, whose event would be lost.
///
/// # Safety
/// `events` is NULL or an array of `count` structs as described.
unsafe fn stride(events: *mut realm_event, count: usize) -> Result<usize> {
    let what = "realm_event";
    // SAFETY: the caller's promise.
    unsafe { read_struct(events.cast_const(), what, EVENT_MIN) }?;
    // SAFETY: just read.
    let size = unsafe { ptr::addr_of!((*events).struct_size).read() };
    let stride = size as usize;
    if !stride.is_multiple_of(align_of::<realm_event>())
        || count > isize::MAX as usize / stride.max(size_of::<realm_event>())
    {
        bail!(InvalidArgument, "{what}: {count} of {stride} bytes");
    }
    for i in 1..count {
        // SAFETY: within the array, if the elements are what they should be; the first that is not ends the loop.
        let event = unsafe { events.byte_add(i * stride) };
        // SAFETY: as above.
        unsafe { read_struct(event.cast_const(), what, EVENT_MIN) }?;
        // SAFETY: just read.
        if unsafe { ptr::addr_of!((*event).struct_size).read() } != size {
            bail!(
                InvalidArgument,
                "{what}: event {i} has another struct_size than the first"
            );
        }
    }
    Ok(stride)
}
