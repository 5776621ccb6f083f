//! Sessions: one conversation with one model, driven by polling.
//!
//! ```text
//! realm_session_open → realm_session_prompt → realm_session_poll … DONE → prompt → … → close
//! ```

pub mod budget;
pub mod many;
pub mod models;
pub mod plan;
pub mod record;
pub mod state;
pub mod values;

use super::error::{realm_error, realm_status};
use super::guest::realm_guest;
use super::model::realm_progress_fn;
use super::runtime::{realm_runtime, runtime_ref};
use super::{check, guard, new_handle, null, put, read_struct, slice, text, write_struct};
use crate::bail;
use crate::error::{Result, Short, Status};
use crate::guest::host::{LogSink, ProgressSink};
use crate::panics::caught;
use crate::platform::no_extension;
use crate::session::limits::Limits;
use crate::session::params::{MAX_PARAMS, Params};
use crate::session::{Event, InputKind, Options, Session};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::{c_char, c_void};
use core::mem::{offset_of, size_of};
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

/// A conversation.
pub struct realm_session {
    /// Beside the session, so that cancelling touches nothing that a poll is using.
    cancel: Arc<AtomicBool>,
    session: Session,
}

/// A parameter for the guest.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_param {
    /// Its name, NUL-terminated UTF-8 of 1 to 64 bytes.
    pub key: *const c_char,
    /// Its value as text, NUL-terminated UTF-8 of at most 1 MiB.
    pub value: *const c_char,
}

/// Takes a line of a guest's log.
///
/// `ctx`: that of the `realm_session_options`.
/// `level`: 0 error, 1 warning, 2 information, 3 for debugging.
/// `text`, `bytes`: UTF-8, not terminated, valid until the function returns.
///
/// It may not use the session.
///
/// **Threads**: called on the thread that calls the library for the session, or `realm_plan`.
pub type realm_log_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, level: i32, text: *const c_char, bytes: usize)>;

/// `realm_session_options.flags`: the guest may read the platform's clock.
pub const REALM_SESSION_GRANT_CLOCK: u32 = 1;

/// What a session is opened with. Zero is the default for every field but the first two.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_session_options {
    /// Size of the caller's struct in bytes. Set by `REALM_SESSION_OPTIONS_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_SESSION_OPTIONS_INIT`.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// First argument of `log` and `progress`.
    pub ctx: *mut c_void,
    /// The guest; it may be unloaded afterwards. NULL: the one that comes with the library, `UNSUPPORTED` in a build without.
    pub guest: *const realm_guest,
    /// The name of a backend, NUL-terminated; not needed afterwards. NULL: the preferred one: that added last, else `"cpu"`,
    /// else `"reference"`.
    pub backend: *const c_char,
    /// The guest's parameters, copied: `temp`, `top_k`, `seed`, `n_predict`, `ctx`, … (`guest/README.md`).
    pub params: *const realm_param,
    /// How many there are, at most 128.
    pub param_count: usize,
    /// Most linear memory of the guest, in bytes. 0: 16 MiB. A session for which it does not suffice is not opened:
    /// `REALM_STATUS_LIMIT`. A prompt or parameter for which it does not suffice is refused with that status, and the session is as it
    /// was before: the library keeps a copy of that memory while such input is read, and needs another one to go back. Where it cannot
    /// (in firmware, without memory for these, with a guest that cannot be forked), and for what needs more after the first step of a
    /// turn, the session ends with `REALM_STATUS_GUEST`. Lost is what it was, its context and the turn; models, the runtime, other sessions
    /// and states that were saved before are not. Who cannot lose a conversation has a fork of it from before the turn
    /// (`realm_session_fork`), and goes on with that. Linear memory grows and never shrinks: what a large prompt or parameter took is
    /// the guest's to use again, for whatever replaces it, and given back when the session is closed.
    pub max_guest_memory_bytes: u64,
    /// Most session buffers, in bytes. 0: 256 MiB.
    pub max_buffer_bytes: u64,
    /// Most KV cache, in bytes. 0: unlimited, so that the guest's context length decides.
    pub max_kv_bytes: u64,
    /// Most scratch memory of a step, in bytes. 0: unlimited.
    pub max_scratch_bytes: u64,
    /// Most bytes of models that the guest registers itself. 0: none.
    pub max_guest_model_bytes: u64,
    /// Most fuel for one event of the guest, about one per instruction. 0: 4000000000, some seconds. Opening is one event, and so is
    /// a long prompt: leave room for reading it. Where it does not suffice: as above.
    pub fuel_per_event: u64,
    /// `REALM_SESSION_GRANT_CLOCK`, or 0.
    pub flags: u32,
    /// Most tasks to split a step into, through the platform's `parallel_for`; no more are used than its
    /// `parallel_width`, and small steps are not split. 0 or 1: the polling thread does all work itself.
    /// Results do not depend on it.
    pub thread_count: u32,
    /// (optional) Takes the guest's log. NULL: the platform's log does.
    pub log: realm_log_fn,
    /// (optional) Told while a prompt is evaluated how many of its tokens are in, after each of the guest's steps. Called on the
    /// thread that polls the session, which it may not use. Giving up ends the turn as `realm_session_cancel` does.
    pub progress: realm_progress_fn,
    /// (optional) Further models of the runtime's store that the guest may use, by their ids: adapters, for instance. What for, a
    /// parameter says. `realm_session_set_models` replaces them later. The ids are not needed afterwards.
    pub models: *const u32,
    /// How many there are, at most 64.
    pub model_count: usize,
}

const OPTIONS_MIN: usize = offset_of!(realm_session_options, log) + size_of::<realm_log_fn>();

/// Input: text to be continued as it stands.
pub const REALM_INPUT_TEXT: u32 = 0;
/// Input: token ids, verbatim: an array of `uint32_t`, `bytes` = 4 · count.
pub const REALM_INPUT_IDS: u32 = 1;
/// Input: a user's message, which the guest puts into the model's chat format.
pub const REALM_INPUT_CHAT: u32 = 2;
/// Input: a whole conversation, as a JSON array of messages in OpenAI's form. Only what the context does not hold is evaluated; an
/// assistant's message at the end is gone on with.
pub const REALM_INPUT_MESSAGES: u32 = 3;
/// Input: what the assistant is made to say, in the reply that the last chat turn asked for; the model goes on behind it.
pub const REALM_INPUT_REPLY: u32 = 4;
/// Input: none. Instead of generating, the guest tells what the last reply says, in one text event without a token: a message in
/// OpenAI's JSON, with `content`, `reasoning_content` and `tool_calls`. Nothing enters the context. Where the session has no `tools`,
/// JSON that only looks like a call is content.
pub const REALM_INPUT_PARSE: u32 = 5;

/// The budget is spent; poll again.
pub const REALM_EVENT_AGAIN: u32 = 0;
/// A token, text, or both.
pub const REALM_EVENT_TOKEN: u32 = 1;
/// The turn has ended.
pub const REALM_EVENT_DONE: u32 = 2;

/// The model ended its answer.
pub const REALM_DONE_EOS: u32 = 1;
/// A stop string came up.
pub const REALM_DONE_STOP: u32 = 2;
/// As many tokens as were asked for.
pub const REALM_DONE_LENGTH: u32 = 3;
/// The context is full.
pub const REALM_DONE_CONTEXT: u32 = 4;
/// The turn was cancelled.
pub const REALM_DONE_CANCELLED: u32 = 5;

/// What a poll brought.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_event {
    /// Size of the caller's struct in bytes. Set by `REALM_EVENT_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_EVENT_INIT`.
    pub abi_version: u32,
    /// `REALM_EVENT_...`.
    pub kind: u32,
    /// With DONE: `REALM_DONE_...`; else 0.
    pub reason: u32,
    /// With TOKEN: the token's id, -1 for text alone; else -1.
    pub token: i32,
    /// 0.
    pub reserved: u32,
    /// With TOKEN: whole characters of UTF-8, not terminated, perhaps none; else NULL.
    /// **Valid until** the next call for the session.
    pub text: *const c_char,
    /// Bytes of `text`.
    pub text_bytes: usize,
    /// Tokens of the input that have been evaluated; 0 until the guest knows.
    pub progress_done: u64,
    /// Tokens of the input in all.
    pub progress_total: u64,
    /// With TOKEN and `logprob_known`: the natural logarithm of the probability that the model gave the token, at most 0,
    /// before bias, penalties, temperature and other samplers; else 0. The library's guest says it if its parameter `logprobs` is 1.
    pub logprob: f32,
    /// 1 if `logprob` is there.
    pub logprob_known: u32,
}

const EVENT_MIN: usize = offset_of!(realm_event, progress_total) + size_of::<u64>();

/// What a session has cost. Times are nanoseconds, 0 without a platform clock.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_session_stats {
    /// Size of the caller's struct in bytes. Set by `REALM_SESSION_STATS_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_SESSION_STATS_INIT`.
    pub abi_version: u32,
    /// Linear memory of the guest now, in bytes.
    pub guest_linear_memory_bytes: u64,
    /// What the interpreter holds besides, in bytes; 0 if it does not tell.
    pub guest_engine_bytes: u64,
    /// KV cache now, in bytes.
    pub kv_bytes: u64,
    /// Scratch memory now, in bytes.
    pub scratch_bytes: u64,
    /// Session buffers now, in bytes.
    pub buffer_bytes: u64,
    /// Tokens of all ended turns' inputs.
    pub prompt_tokens: u64,
    /// Tokens that ended turns have generated.
    pub generated_tokens: u64,
    /// Time in the interpreter, imports included, steps not.
    pub guest_ns: u64,
    /// Events the guest has handled.
    pub guest_events: u64,
    /// Time in the backend.
    pub step_ns: u64,
    /// Time polled (interpreter and backend) from the beginning of a turn to its first token.
    pub prefill_ns: u64,
    /// Time polled from there to the turn's end.
    pub decode_ns: u64,
    /// Operations that ran on the reference kernels because the backend has none for them.
    pub fallback_ops: u64,
    /// The part of `guest_ns` that is in `decode_ns`.
    pub guest_decode_ns: u64,
    /// Generated tokens but the first of each turn: what `decode_ns` was spent on.
    pub decode_tokens: u64,
}

const STATS_MIN: usize = offset_of!(realm_session_stats, decode_tokens) + size_of::<u64>();

/// The session behind a handle, without touching the flag that others may be setting.
///
/// # Safety
/// `p` is NULL or a live session that no other thread is using, but for `realm_session_cancel`.
unsafe fn session_mut<'a>(p: *mut realm_session) -> Result<&'a mut Session> {
    if p.is_null() {
        return Err(null("session"));
    }
    // SAFETY: only the field is borrowed, and only by this thread.
    Ok(unsafe { &mut *ptr::addr_of_mut!((*p).session) })
}

/// Runs the body of a session function. A panic makes the session unusable.
///
/// # Safety
/// As for [`session_mut`]; `error` is NULL or writable.
unsafe fn with(
    p: *mut realm_session,
    error: *mut realm_error,
    body: impl FnOnce(&mut Session) -> Result<()>,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let session = unsafe { session_mut(p) }?;
        let result = caught(|| body(session));
        if let Err(e) = &result
            && e.status() == Status::Internal
        {
            session.poison(e.clone());
        }
        result
    })
}

/// Opens a session with a model of the runtime's store. The guest reads the model's metadata and records its
/// programs in the call.
///
/// `options`: NULL for the defaults.
/// `out` receives the session. **Owns**: the caller, until `realm_session_close`.
///
/// **Threads**: any, at any time; the session may then be used by any one thread at a time.
///
/// **Returns** `NOT_FOUND` for the model or the backend, `UNSUPPORTED` for a model or a guest that this build does not
/// know, `LIMIT` (for the guest's memory and fuel, too), `NO_MEMORY`, `GUEST` if the guest fails, `INVALID_ARGUMENT`, and what else
/// the guest says.
///
/// # Safety
/// `runtime` is live; `options` is NULL or a struct as described; `out` points to a pointer; `error` is
/// NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_open(
    runtime: *mut realm_runtime,
    model_id: u32,
    options: *const realm_session_options,
    out: *mut *mut realm_session,
    error: *mut realm_error,
) -> realm_status {
    // SAFETY: the caller's promise.
    unsafe { open_with(runtime, model_id, options, out, error, Session::open) }
}

/// Makes a session from a caller's options.
///
/// # Safety
/// As for `realm_session_open`.
unsafe fn open_with(
    runtime: *mut realm_runtime,
    model_id: u32,
    options: *const realm_session_options,
    out: *mut *mut realm_session,
    error: *mut realm_error,
    make: impl FnOnce(Options) -> Result<Session>,
) -> realm_status {
    // SAFETY: the caller's promise.
    let body = |options| unsafe { put_session(out, || make(options)) };
    // SAFETY: the caller's promise.
    unsafe { with_options(runtime, model_id, options, error, body) }
}

/// Does something with a caller's options.
///
/// # Safety
/// As for `realm_session_open`.
unsafe fn with_options(
    runtime: *mut realm_runtime,
    model_id: u32,
    options: *const realm_session_options,
    error: *mut realm_error,
    body: impl FnOnce(Options) -> Result<()>,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let runtime = unsafe { runtime_ref(runtime) }?;
        let given = if options.is_null() {
            None
        } else {
            // SAFETY: the caller's promise.
            let given = unsafe { read_struct(options, "realm_session_options", OPTIONS_MIN) }?;
            no_extension(given.next, "realm_session_options")?;
            Some(given)
        };
        // SAFETY: the caller's promise.
        let options = unsafe { convert(runtime, model_id, given.as_ref()) }?;
        body(options)
    })
}

/// Makes a session and gives it to the caller.
///
/// # Safety
/// `out` is NULL or points to a pointer.
unsafe fn put_session(
    out: *mut *mut realm_session,
    make: impl FnOnce() -> Result<Session>,
) -> Result<()> {
    check(out, "out")?;
    let session = make()?;
    let handle = realm_session {
        cancel: Arc::clone(session.cancel_flag()),
        session,
    };
    // SAFETY: the caller's promise.
    unsafe { put(out, new_handle(handle, "session")?, "out") }
}

/// The options in the library's own terms.
///
/// # Safety
/// The pointers in `given` are what its fields' comments say.
unsafe fn convert(
    runtime: &realm_runtime,
    model_id: u32,
    given: Option<&realm_session_options>,
) -> Result<Options> {
    let backend = match given {
        // SAFETY: the caller's promise.
        Some(o) if !o.backend.is_null() => Some(unsafe { text(o.backend, "backend") }?),
        _ => None,
    };
    let mut options = Options {
        guest: match given {
            // SAFETY: the caller's promise.
            Some(o) if !o.guest.is_null() => unsafe { &*o.guest }.guest.clone(),
            _ => runtime.embedded_guest()?,
        },
        store: runtime.store.clone(),
        model_id,
        model: runtime.store.open(model_id)?,
        granted: Vec::new(),
        backend: runtime.backends.select(backend)?,
        platform: runtime.platform,
        params: Params::new(),
        limits: Limits::default(),
        grant_clock: false,
        thread_count: 1,
        log: None,
        watch: None,
    };
    let Some(o) = given else {
        return Ok(options);
    };
    if o.param_count > MAX_PARAMS {
        bail!(
            Limit,
            "{} parameters, at most {MAX_PARAMS} are taken",
            o.param_count
        );
    }
    // SAFETY: the caller's promise.
    for (i, p) in unsafe { slice(o.params, o.param_count, "params") }?
        .iter()
        .enumerate()
    {
        // SAFETY: the caller's promise.
        let key = unsafe { text(p.key, format_args!("params[{i}].key")) }?;
        // SAFETY: the caller's promise.
        let value = unsafe {
            text(
                p.value,
                format_args!("params[{i}].value ('{}')", Short(key)),
            )
        }?;
        options.params.set(key, value)?;
    }
    // SAFETY: the caller's promise.
    let ids = unsafe { slice(o.models, o.model_count, "models") }?;
    options.granted = models::opened(&runtime.store, ids)?;
    let l = &mut options.limits;
    for (to, from) in [
        (&mut l.guest_memory_bytes, o.max_guest_memory_bytes),
        (&mut l.buffer_bytes, o.max_buffer_bytes),
        (&mut l.kv_bytes, o.max_kv_bytes),
        (&mut l.scratch_bytes, o.max_scratch_bytes),
        (&mut l.guest_model_bytes, o.max_guest_model_bytes),
        (&mut l.fuel_per_event, o.fuel_per_event),
    ] {
        if from != 0 {
            *to = from;
        }
    }
    if o.flags & !REALM_SESSION_GRANT_CLOCK != 0 {
        bail!(
            InvalidArgument,
            "realm_session_options: unknown flags {:#x} (known: REALM_SESSION_GRANT_CLOCK)",
            o.flags
        );
    }
    options.grant_clock = o.flags & REALM_SESSION_GRANT_CLOCK != 0;
    options.thread_count = o.thread_count.max(1);
    options.log = o.log.map(|call| LogSink { call, ctx: o.ctx });
    options.watch = o.progress.map(|call| ProgressSink { call, ctx: o.ctx });
    Ok(options)
}

/// Closes a session at any point. KV and buffers are zeroed and freed.
///
/// `session`: NULL is fine; nothing happens.
///
/// **Threads**: any; no other thread may be using it, nor cancel it.
///
/// # Safety
/// `session` is NULL or came from `realm_session_open`, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_close(session: *mut realm_session) {
    let _ = guard(ptr::null_mut(), || {
        if !session.is_null() {
            // SAFETY: made by `new_handle`, and the caller's promise.
            drop(unsafe { Box::from_raw(session) });
        }
        Ok(())
    });
}

/// Sets a parameter of the guest, which reads it when the next turn begins.
///
/// `key`: NUL-terminated UTF-8 of 1 to 64 bytes.
/// `value`: NUL-terminated UTF-8 of at most 1 MiB, copied. NULL takes the parameter away.
///
/// Between turns the guest is asked in the call whether it will do, and what it refuses leaves the parameter as it was. While a turn
/// is running, from `realm_session_prompt` on, the guest cannot be asked. It reads the parameters in a turn's first poll: what is set
/// before that counts for this turn, what is set later for the next, and that turn fails with what the guest says of it. A parameter
/// that it would refuse then has to be repaired or taken away first: until it is, others are taken as during a turn.
///
/// **Threads**: one at a time for a session.
///
/// **Returns** `INVALID_ARGUMENT` for a name that the guest does not know (unless it is to be taken away) or a value that it does not take (the message has the
/// nearest name or what is expected), `LIMIT` for what is too long or for more than 128 parameters, `NO_MEMORY`, `GUEST` if the
/// guest fails, what else the guest says, and the first failure of a session that has failed.
///
/// # Safety
/// `session` is live; `key` is NUL-terminated, `value` NULL or NUL-terminated; `error` is NULL or points
/// to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_set_param(
    session: *mut realm_session,
    key: *const c_char,
    value: *const c_char,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        // SAFETY: the caller's promise.
        let key = unsafe { text(key, "key") }?;
        let value = if value.is_null() {
            None
        } else {
            // SAFETY: the caller's promise.
            Some(unsafe { text(value, "value") }?)
        };
        session.set_param(key, value)
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}

/// Begins a turn; `realm_session_poll` runs it. What earlier turns put into the KV cache stays.
///
/// `kind`: `REALM_INPUT_...`.
/// `data`, `bytes`: the input, copied; below 2 GiB. Text must be UTF-8.
///
/// **Threads**: one at a time for a session.
///
/// **Returns** `STATE` while a turn is running, `INVALID_ARGUMENT`, `LIMIT` for 2 GiB, `NO_MEMORY`, and the first failure
/// of a session that has failed.
///
/// # Safety
/// `session` is live; `data` points to `bytes` bytes (NULL with 0); `error` is NULL or points to a
/// `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_prompt(
    session: *mut realm_session,
    kind: u32,
    data: *const c_void,
    bytes: usize,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        // SAFETY: the caller's promise.
        let data = unsafe { slice(data.cast::<u8>(), bytes, "data") }?;
        begin(session, kind, data)
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}

/// Begins a turn.
fn begin(session: &mut Session, kind: u32, data: &[u8]) -> Result<()> {
    let kind = match kind {
        REALM_INPUT_TEXT => InputKind::Text,
        REALM_INPUT_CHAT => InputKind::Chat,
        REALM_INPUT_MESSAGES => InputKind::Messages,
        REALM_INPUT_REPLY => InputKind::Reply,
        REALM_INPUT_PARSE => InputKind::Parse,
        REALM_INPUT_IDS => return prompt_ids(session, data),
        kind => bail!(
            InvalidArgument,
            "there is no kind of input {kind} (REALM_INPUT_TEXT, _IDS, _CHAT, _MESSAGES, _REPLY and _PARSE are 0 to 5)"
        ),
    };
    session.prompt(kind, data)
}

/// Ids come in the host's order and go to the guest in little-endian.
fn prompt_ids(session: &mut Session, data: &[u8]) -> Result<()> {
    if cfg!(target_endian = "little") {
        return session.prompt(InputKind::Ids, data);
    }
    let mut ids = crate::error::try_vec(data.len(), "bytes of input")?;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        ids.extend_from_slice(&u32::from_ne_bytes(*word).to_le_bytes());
    }
    ids.extend_from_slice(rest);
    session.prompt(InputKind::Ids, &ids)
}

/// Runs the turn on, and returns with the next event.
///
/// `budget_us`: return with AGAIN after about so many microseconds; a first slice of work is always done. A prompt is made
/// into tokens in one slice, some 10 ms for each 100 KB of it.
/// `REALM_BUDGET_UNLIMITED`, or a platform without a clock: run to the next TOKEN or DONE. What is left of a frame:
/// `realm_budget_left`.
/// `event`: receives it; its `struct_size` and `abi_version` are set by the caller.
///
/// After DONE, and after an error but one of the arguments, no turn is running. An error of the turn (`LIMIT` where the KV cache would grow too
/// large, say) leaves the session usable: its next turn begins after the last step that succeeded. After `GUEST` and
/// `INTERNAL` every call returns the same error, and all that is left is to close it.
///
/// **Threads**: one at a time for a session. The backend and the platform are called from this thread.
///
/// **Returns** `STATE` if no turn is running, `LIMIT`, `NO_MEMORY`, `BACKEND`, `GUEST`, `INVALID_ARGUMENT`, and what else
/// the guest says.
///
/// # Safety
/// `session` is live; `event` is a struct as described; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_poll(
    session: *mut realm_session,
    budget_us: u64,
    event: *mut realm_event,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        if event.is_null() {
            return Err(null("event"));
        }
        // Checked before an event is taken, which would be lost.
        // SAFETY: the caller's promise.
        unsafe { read_struct(event.cast_const(), "realm_event", EVENT_MIN) }?;
        let got = session.poll(budget_us)?;
        // SAFETY: the caller's promise.
        unsafe { write_event(event, session, got) }
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}

/// Writes what a poll brought.
///
/// # Safety
/// `event` is a struct as described, whose head is set.
unsafe fn write_event(event: *mut realm_event, session: &Session, got: Event) -> Result<()> {
    let (progress_done, progress_total) = session.progress();
    let mut value = realm_event {
        struct_size: 0,
        abi_version: 0,
        kind: REALM_EVENT_AGAIN,
        reason: 0,
        token: -1,
        reserved: 0,
        text: ptr::null(),
        text_bytes: 0,
        progress_done,
        progress_total,
        logprob: 0.0,
        logprob_known: 0,
    };
    match got {
        Event::Again => {}
        Event::Token(token) => {
            let text = session.text();
            value.kind = REALM_EVENT_TOKEN;
            value.token = token;
            value.text = text.as_ptr().cast();
            value.text_bytes = text.len();
            value.logprob = session.logprob().unwrap_or(0.0);
            value.logprob_known = session.logprob().is_some().into();
        }
        Event::Done(reason) => {
            value.kind = REALM_EVENT_DONE;
            value.reason = reason.into();
        }
    }
    // SAFETY: the caller's promise.
    unsafe { write_struct(event, "realm_event", EVENT_MIN, &value) }
}

/// Asks for the running turn to end. A poll in progress notices at the next slice of a step (of several sessions: see
/// `realm_poll_many`), within milliseconds; what the guest does in an event it does to its end, which takes some 10 ms for each 100 KB
/// of a prompt and is bounded by `fuel_per_event`. The turn then ends with DONE and `REALM_DONE_CANCELLED`, after events that
/// were there already, or with the error that the event ended with. Without a running turn nothing happens.
///
/// `session`: NULL is fine; nothing happens.
///
/// **Threads**: any, and a signal handler, at any time before `realm_session_close`.
///
/// # Safety
/// `session` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_cancel(session: *mut realm_session) {
    if !session.is_null() {
        // SAFETY: only this field is borrowed, which nobody changes.
        let cancel = unsafe { &*ptr::addr_of!((*session).cancel) };
        cancel.store(true, Ordering::Release);
    }
}

/// Writes what the session has cost so far.
///
/// `stats`: receives it; its `struct_size` and `abi_version` are set by the caller.
///
/// **Threads**: one at a time for a session.
///
/// **Returns** `INVALID_ARGUMENT`. A session that has failed has statistics too.
///
/// # Safety
/// `session` is live and not being polled; `stats` is a struct as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_get_stats(
    session: *const realm_session,
    stats: *mut realm_session_stats,
) -> realm_status {
    guard(ptr::null_mut(), || {
        if session.is_null() {
            return Err(null("session"));
        }
        // SAFETY: only this field is borrowed.
        let s = unsafe { &*ptr::addr_of!((*session).session) }.stats();
        let value = realm_session_stats {
            struct_size: 0,
            abi_version: 0,
            guest_linear_memory_bytes: s.guest_linear_memory_bytes,
            guest_engine_bytes: 0,
            kv_bytes: s.kv_bytes,
            scratch_bytes: s.scratch_bytes,
            buffer_bytes: s.buffer_bytes,
            prompt_tokens: s.prompt_tokens,
            generated_tokens: s.generated_tokens,
            guest_ns: s.guest_ns,
            guest_events: s.guest_events,
            step_ns: s.step_ns,
            prefill_ns: s.prefill_ns,
            decode_ns: s.decode_ns,
            fallback_ops: s.fallback_ops,
            guest_decode_ns: s.guest_decode_ns,
            decode_tokens: s.decode_tokens,
        };
        // SAFETY: the caller's promise.
        unsafe { write_struct(stats, "realm_session_stats", STATS_MIN, &value) }
    })
}
