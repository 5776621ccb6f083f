//! A session's state as a whole: how long its context is, back to an earlier length, a second one from here, to bytes and back.

use super::super::error::{realm_error, realm_status};
use super::super::runtime::realm_runtime;
use super::super::{check_room, null, put, slice};
use super::{open_with, put_session, realm_session, realm_session_options, with};
use crate::bail;
use crate::error::{Error, Result, Status};
use crate::session::Session;
use core::ffi::c_void;

/// Takes the next bytes of a saved session, or of an image. It may not use the session.
///
/// `ctx`: that of `realm_session_save_to` or `realm_session_record`.
/// `data`, `bytes`: the bytes, valid until the function returns.
///
/// **Threads**: called on the thread that saves or records.
///
/// **Returns** 0; else it ends with that status, `REALM_STATUS_IO` if it is none that a callback can say.
pub type realm_write_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, data: *const c_void, bytes: usize) -> i32>;

/// Gives the next bytes of a saved session.
///
/// `ctx`: that of `realm_session_load_from`.
/// `data`, `bytes`: to be filled with exactly so many bytes.
///
/// **Threads**: called on the thread that loads.
///
/// **Returns** 0; else loading ends with that status, `REALM_STATUS_IO` if it is none that a callback can say: `REALM_STATUS_FORMAT` where there
/// are no more, for instance.
pub type realm_read_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, data: *mut c_void, bytes: usize) -> i32>;

/// Says how many tokens are in the session's context: what `realm_session_rewind` takes. While a turn is running, those of
/// the step under way are counted. A token that was shown last and that the next turn begins with (as after
/// `REALM_DONE_LENGTH`) is not.
///
/// `position` receives the number.
///
/// **Threads**: one at a time for a session.
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
/// **Threads**: one at a time for a session.
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

/// Opens a second session that goes on from where this one is, between turns: several answers to one question, several
/// characters after one introduction. From here on neither can notice the other.
///
/// The KV cache is shared, page by page, until one of the two writes to a page (64 positions) and gets a copy of its own;
/// the guest's memory and the session buffers are copied. Shared pages count against both sessions' limits and in both
/// sessions' statistics. Limits, parameters, callbacks, clock and threads are the first one's, statistics begin anew.
///
/// `out` receives the session. **Owns**: the caller, until `realm_session_close`; in any order.
///
/// **Threads**: one at a time for a session; the two may then be used by two threads.
///
/// **Returns** `STATE` while a turn is running, `UNSUPPORTED` for a guest that has registered models of its own or has mutable
/// globals that are no numbers, `LIMIT`, `NO_MEMORY`, `BACKEND`.
///
/// # Safety
/// `session` is live; `out` points to a pointer; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_fork(
    session: *mut realm_session,
    out: *mut *mut realm_session,
    error: *mut realm_error,
) -> realm_status {
    // SAFETY: the caller's promise.
    let body = |session: &mut Session| unsafe { put_session(out, || session.fork()) };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}

/// Writes the session's state to the caller's buffer, between turns, in two calls. In the midst of one a session cannot be
/// saved: poll until DONE first, or `realm_session_cancel` and poll until DONE, which comes soon and keeps in the
/// context what had entered it.
///
/// It is what `realm_session_load` goes on from, in any process with the same model and guest, on any processor: the guest's
/// memory, session buffers, parameters and the KV cache so far, little-endian, with a version and a SHA-256. What is zero is
/// left out. It holds what was said in the session, and is not encrypted. Of what was rewound, or guessed in vain, keys and values are
/// left out; but nothing else is erased that nobody reads any more: token ids, the last logits, leftovers of the guest's stack and heap,
/// also of a parameter before. So a session that is opened anew has nothing of another, and one that is rewound may have.
///
/// The same calls make the same bytes, on any CPU and under any budget. Sessions that came to the same conversation in
/// other ways, with drafts and without, say, go on equally, and their states differ in such leftovers.
///
/// The first time a model's digest is needed it is computed, which reads the whole model (`realm_model_digest`).
///
/// `data`, `capacity`: where the state goes, and for how many bytes there is room.
/// `bytes` receives its size, also if it does not fit.
///
/// **Threads**: one at a time for a session.
///
/// **Returns** `BUFFER_TOO_SMALL`, `STATE` while a turn is running, `UNSUPPORTED` for a guest that has registered models of its
/// own or has mutable globals that are no numbers, `BACKEND`, `NO_MEMORY`, `INVALID_ARGUMENT`.
///
/// # Safety
/// `session` is live; `data` points to `capacity` bytes (NULL with 0), `bytes` to a `size_t`; `error` is NULL or points to a
/// `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_save(
    session: *mut realm_session,
    data: *mut c_void,
    capacity: usize,
    bytes: *mut usize,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        let data = data.cast::<u8>();
        check_room(data, capacity, "data")?;
        let need = session.saved_bytes()?;
        let Ok(need) = usize::try_from(need) else {
            bail!(Limit, "a state of {need} bytes cannot be addressed");
        };
        // SAFETY: the caller's promise.
        unsafe { put(bytes, need, "bytes") }?;
        if need > capacity {
            bail!(
                BufferTooSmall,
                "a state of {need} bytes, room for {capacity}"
            );
        }
        let mut at = 0;
        session.save(&mut |part| {
            if part.len() > capacity - at {
                bail!(Internal, "the state has grown while it was saved");
            }
            // SAFETY: within the caller's `capacity` bytes, which are not ours.
            unsafe { core::ptr::copy_nonoverlapping(part.as_ptr(), data.add(at), part.len()) };
            at += part.len();
            Ok(())
        })
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}

/// As `realm_session_save`, to a callback, which is called with up to some thousand bytes at a time.
///
/// `write`, `ctx`: takes the bytes, in order; `ctx` is its first argument.
///
/// **Threads**: one at a time for a session.
///
/// **Returns** what `write` returns if that is a status, and what `realm_session_save` returns.
///
/// # Safety
/// `session` is live; `write` keeps its contract; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_save_to(
    session: *mut realm_session,
    write: realm_write_fn,
    ctx: *mut c_void,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        // SAFETY: the caller's promise.
        session.save(&mut unsafe { sink(write, ctx) }?)
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}

/// Opens a session in a saved state: what follows is bit for bit what would have followed in the session that was saved.
///
/// `options`: as for `realm_session_open`, with the guest that the state was saved with. Parameters in them replace those of
/// the state, if the guest takes them; those that are fixed when a session opens (`ctx`, …) may not differ. Limits hold for what
/// the state asks for.
/// `data`, `bytes`: the state, not needed afterwards. Nothing in it is trusted: a damaged or made-up one gives an error, or a
/// session that can do no more than any other.
/// `out` receives the session. **Owns**: the caller, until `realm_session_close`.
///
/// The model may have another id than when it was saved, and so may further models that were in use (adapters), which have to be among
/// those of `options`. Statistics begin anew.
///
/// **Threads**: any, at any time; the session may then be used by any one thread at a time.
///
/// **Returns** `FORMAT` for what is no state, is cut short or damaged; `INVALID_ARGUMENT` for the state of another model or guest;
/// `NOT_FOUND` if a further model that was in use is not given, `ID_CONFLICT` if its id of then is given for another one;
/// `UNSUPPORTED` for one of another version of the format or another page layout; and what `realm_session_open` returns.
///
/// # Safety
/// As for `realm_session_open`; `data` points to `bytes` bytes (NULL with 0).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_load(
    runtime: *mut realm_runtime,
    model_id: u32,
    options: *const realm_session_options,
    data: *const c_void,
    bytes: usize,
    out: *mut *mut realm_session,
    error: *mut realm_error,
) -> realm_status {
    // SAFETY: the caller's promise.
    unsafe {
        open_with(runtime, model_id, options, out, error, |options| {
            let data = slice(data.cast::<u8>(), bytes, "data")?;
            Session::load_bytes(options, data)
        })
    }
}

/// As `realm_session_load`, from a callback. What comes behind the state is not asked for. Damage is found at the end, unless
/// it shows before, and may then be called something else than `FORMAT`.
///
/// `options`: as for `realm_session_load`.
/// `read`, `ctx`: gives the bytes, in order; `ctx` is its first argument.
/// `out` receives the session. **Owns**: the caller, until `realm_session_close`.
///
/// **Threads**: any, at any time; the session may then be used by any one thread at a time.
///
/// **Returns** what `read` returns if that is a status, and what `realm_session_load` returns.
///
/// # Safety
/// As for `realm_session_open`; `read` keeps its contract.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_load_from(
    runtime: *mut realm_runtime,
    model_id: u32,
    options: *const realm_session_options,
    read: realm_read_fn,
    ctx: *mut c_void,
    out: *mut *mut realm_session,
    error: *mut realm_error,
) -> realm_status {
    let make = |options| {
        let Some(read) = read else {
            return Err(null("read"));
        };
        Session::load(options, &mut |part| {
            // SAFETY: the caller's promise; the bytes are there and initialised.
            let code = unsafe { read(ctx, part.as_mut_ptr().cast(), part.len()) };
            answered(code, "read")
        })
    };
    // SAFETY: the caller's promise.
    unsafe { open_with(runtime, model_id, options, out, error, make) }
}

/// What hands bytes to a callback.
///
/// # Safety
/// `write` keeps its contract as long as what is returned is used.
pub(super) unsafe fn sink(
    write: realm_write_fn,
    ctx: *mut c_void,
) -> Result<impl FnMut(&[u8]) -> Result<()>> {
    let write = write.ok_or_else(|| null("write"))?;
    Ok(move |part: &[u8]| {
        // SAFETY: the caller's promise; the bytes live through the call.
        let code = unsafe { write(ctx, part.as_ptr().cast(), part.len()) };
        answered(code, "write")
    })
}

/// What a callback's answer means.
fn answered(code: i32, what: &str) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    // What is said of a bug in the library is not for others to say.
    let status = Status::from_code(code)
        .filter(|s| *s != Status::Internal)
        .unwrap_or(Status::Io);
    Err(Error::new(
        status,
        format_args!("{what}: the callback answered {code}"),
    ))
}
