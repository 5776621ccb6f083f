//! Any bytes as a sequence of calls of the C interface, on a platform and backends that fail when the sequence says so.
//!
//! Four bytes are a call: what, on which session, and two arguments. What must hold, whatever is called in whatever order, and
//! whatever fails meanwhile:
//!
//! - statuses and messages go together, and no call panics or says `INTERNAL`;
//! - a failed call loses nothing: a session that has not failed for good ends its turn, goes back to the beginning, and says
//!   what the model says, as soon as nothing fails any more;
//! - when everything has been given back, the platform and the sanitizer have everything back.

use crate::faults::{self, Clock};
use crate::world::*;
use realm_sys::capi::error::*;
use realm_sys::capi::model::{realm_model_get_info, realm_model_info, realm_model_remove};
use realm_sys::capi::runtime::*;
use realm_sys::capi::session::many::realm_poll_many;
use realm_sys::capi::session::models::realm_session_set_models;
use realm_sys::capi::session::plan::{realm_memory_plan, realm_plan};
use realm_sys::capi::session::state::*;
use realm_sys::capi::session::values::*;
use realm_sys::capi::session::*;
use realm_sys::capi::vocab::realm_model_tokenize;
use realm_sys::gguf::Limits;
use realm_sys::store::Store;
use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

const SLOTS: usize = 5;
/// Calls of one sequence.
const MOST_CALLS: usize = 48;
/// The id of a damaged copy of the model.
const DAMAGED: u32 = 9;

#[derive(Clone, Copy)]
struct Slot {
    session: *mut realm_session,
    /// Opened so that the question gets the known answer.
    plain: bool,
}

const EMPTY: Slot = Slot {
    session: null_mut(),
    plain: false,
};

struct World {
    runtime: *mut realm_runtime,
    slots: [Slot; SLOTS],
    saved: Vec<u8>,
    saved_plain: bool,
}

/// What the model says, computed once while nothing fails.
fn expected() -> &'static [u8] {
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    TEXT.get_or_init(|| {
        faults::fail(0, 0);
        let mut w = World::new();
        w.open(0, 0, 0);
        // SAFETY: just opened.
        let text = unsafe {
            assert_eq!(ask(w.slots[0].session), 0);
            answer(w.slots[0].session, 0).expect("an answer")
        };
        assert!(!text.is_empty());
        w.end();
        text
    })
}

unsafe extern "C" fn write_to(ctx: *mut c_void, _: *const c_void, bytes: usize) -> i32 {
    // SAFETY: `ctx` is a count of bytes that still succeed.
    let left = unsafe { &mut *ctx.cast::<usize>() };
    match left.checked_sub(bytes) {
        Some(rest) => {
            *left = rest;
            0
        }
        None => [REALM_STATUS_IO, 5, -77][*left % 3],
    }
}

/// Bytes that are read, and after how many reading fails.
struct Source<'a>(&'a [u8], usize);

unsafe extern "C" fn read_from(ctx: *mut c_void, data: *mut c_void, bytes: usize) -> i32 {
    // SAFETY: `ctx` is a `Source`, and there is room for `bytes`.
    unsafe {
        let source = &mut *ctx.cast::<Source<'_>>();
        if bytes > source.0.len().min(source.1) {
            // A short read: what is there is written, and said to be too little.
            source
                .0
                .as_ptr()
                .copy_to_nonoverlapping(data.cast(), source.0.len().min(bytes));
            return REALM_STATUS_FORMAT;
        }
        source.0.as_ptr().copy_to_nonoverlapping(data.cast(), bytes);
        source.0 = &source.0[bytes..];
        source.1 -= bytes;
    }
    0
}

impl World {
    fn new() -> Self {
        models();
        let mut w = Self {
            runtime: null_mut(),
            slots: [EMPTY; SLOTS],
            saved: Vec::new(),
            saved_plain: false,
        };
        w.renew();
        w
    }

    /// A new runtime in place of the old one, whose sessions go on.
    fn renew(&mut self) {
        let platform = faults::platform();
        let mut options: realm_runtime_options = init();
        options.platform = &platform;
        let (faulty, device) = (faults::backend(), faults::device());
        // SAFETY: valid pointers; the tables' functions live as long as the process.
        unsafe {
            realm_runtime_destroy(self.runtime);
            self.runtime = null_mut();
            let status = checked(|e| realm_runtime_create(&options, &mut self.runtime, e));
            assert_eq!(status, 0);
            // "cpu" is to be the one without a name: it is added last of all those that count.
            for table in [&faulty, &device] {
                assert_eq!(
                    checked(|e| realm_runtime_add_backend(self.runtime, table, e)),
                    0
                );
            }
        }
    }

    fn open(&mut self, slot: usize, a: u8, b: u8) {
        self.close(slot);
        let (options, model, _params) = self.options(a, b);
        let mut session = null_mut();
        // SAFETY: valid pointers.
        let status = checked(|e| unsafe {
            realm_session_open(self.runtime, model, &options, &mut session, e)
        });
        self.keep(
            slot,
            status,
            session,
            Self::is_plain(a, b),
            !faults::are_on(),
        );
    }

    /// Keeps what a call has made, which must be there if nothing could fail.
    fn keep(
        &mut self,
        slot: usize,
        status: i32,
        session: *mut realm_session,
        plain: bool,
        must: bool,
    ) {
        assert_eq!(status == 0, !session.is_null());
        assert!(
            status == 0 || !plain || !must,
            "a plain session is not made: {status}"
        );
        self.slots[slot] = Slot {
            session,
            plain: plain && status == 0,
        };
    }

    /// Whether a session with these options is to say what the model says.
    fn is_plain(a: u8, b: u8) -> bool {
        a & 0x60 == 0 && b >> 6 == 0
    }

    /// Options by two bytes: backend, model, guest, batch size, limits.
    fn options(&self, a: u8, b: u8) -> (realm_session_options, u32, Box<[realm_param]>) {
        let mut o = options();
        o.backend =
            [c"cpu", faults::FAULTY, faults::DEVICE, c"reference"][usize::from(a & 3)].as_ptr();
        o.thread_count = u32::from(a >> 2 & 3);
        let text = |key: &'static CStr, value: &'static CStr| realm_param {
            key: key.as_ptr(),
            value: value.as_ptr(),
        };
        let batch = [c"128", c"1", c"7", c"32"][usize::from(b & 3)];
        let params: Box<[realm_param]> = Box::new([
            text(c"n_predict", ANSWER_TOKENS),
            text(c"n_batch", batch),
            text(c"temp", c"0"),
            text(c"kv_type", if b & 0x40 == 0 { c"f32" } else { c"q8_0" }),
        ]);
        let model = match a >> 5 & 3 {
            0 => TINY,
            1 => {
                o.guest = guests()[usize::from(b >> 2) % 3].0;
                TOY
            }
            2 => DAMAGED,
            _ if b & 0x20 == 0 => EMBEDDING,
            _ => 12345,
        };
        if model != TOY {
            o.params = params.as_ptr();
            o.param_count = params.len();
        }
        if b & 0x80 != 0 {
            // One limit, small.
            let small = 1 << (b >> 2 & 15) << 6;
            match b & 3 {
                0 => o.max_guest_memory_bytes = small * 64,
                1 => o.max_kv_bytes = small,
                2 => o.max_scratch_bytes = small,
                _ => o.fuel_per_event = small * 16,
            }
        }
        (o, model, params)
    }

    fn close(&mut self, slot: usize) {
        // SAFETY: NULL or live, and forgotten.
        unsafe { realm_session_close(self.slots[slot].session) };
        self.slots[slot] = EMPTY;
    }

    fn poll_many(&mut self, mask: u8, budget_us: u64) {
        let some: Vec<_> = (0..SLOTS)
            .filter(|i| mask >> i & 1 == 1)
            .map(|i| self.slots[i].session)
            .filter(|s| !s.is_null())
            .collect();
        let mut events: Vec<realm_event> = some.iter().map(|_| init()).collect();
        let blank = realm_error {
            status: 77,
            message: [1; 252],
        };
        let mut errors = vec![blank; some.len()];
        let (e, n) = (events.as_mut_ptr(), some.len());
        let to = errors.as_mut_ptr();
        // SAFETY: arrays of live sessions, each once, and as long as said.
        let status =
            checked(|error| unsafe { realm_poll_many(some.as_ptr(), n, budget_us, e, to, error) });
        if status != 0 {
            return;
        }
        for (event, error) in events.iter().zip(&errors) {
            assert!((-13..=0).contains(&error.status), "{}", error.status);
            assert_eq!(error.status == 0, error.message[0] == 0);
            if error.status == 0 && event.kind == REALM_EVENT_TOKEN {
                // SAFETY: just polled.
                unsafe { text_of(event) };
            }
        }
    }

    /// When nothing fails any more, a session that has not failed for good says what it should.
    fn settle(&mut self, slot: usize, budget_us: u64) {
        let Slot { session, plain } = self.slots[slot];
        if session.is_null() {
            return;
        }
        faults::fail(0, 0);
        faults::set_clock(Clock::On);
        let mut at = 0;
        // SAFETY: live; pointers are valid.
        unsafe {
            realm_session_cancel(session);
            let first = answer(session, budget_us).err();
            if checked(|e| realm_session_position(session, &mut at, e)) == REALM_STATUS_GUEST {
                // For good: it says so whatever is asked.
                assert_eq!(answer(session, 0), Err(REALM_STATUS_GUEST));
                assert_eq!(ask(session), REALM_STATUS_GUEST);
                assert!(!plain, "the library's own guest broke");
                return;
            }
            // The turn has ended, in whatever way.
            assert_eq!(answer(session, 0), Err(REALM_STATUS_STATE), "{first:?}");
            if !plain {
                return;
            }
            assert_eq!(checked(|e| realm_session_rewind(session, 0, e)), 0);
            assert_eq!(ask(session), 0);
            let text = answer(session, budget_us);
            assert_eq!(text.as_deref(), Ok(expected()), "slot {slot}");
        }
    }

    fn load(&mut self, slot: usize, a: u8, b: u8, from: bool) {
        self.close(slot);
        // The model and the guest of the options; what was saved decides whether they are the right ones.
        let (options, model, _params) = self.options(a, b);
        let mut session = null_mut();
        let status = if from {
            let mut source = Source(&self.saved, usize::from(b) << (a & 7) << 4);
            // SAFETY: valid pointers.
            checked(|e| unsafe {
                let ctx = (&raw mut source).cast();
                realm_session_load_from(
                    self.runtime,
                    model,
                    &options,
                    Some(read_from),
                    ctx,
                    &mut session,
                    e,
                )
            })
        } else {
            let (data, bytes) = (self.saved.as_ptr().cast(), self.saved.len());
            // SAFETY: valid pointers.
            checked(|e| unsafe {
                realm_session_load(self.runtime, model, &options, data, bytes, &mut session, e)
            })
        };
        // Fixed parameters of the state may be others than these.
        self.keep(
            slot,
            status,
            session,
            self.saved_plain && Self::is_plain(a, b),
            false,
        );
    }

    /// Gives everything back.
    fn end(mut self) {
        // Not in the order in which it was made.
        // SAFETY: made by `renew`.
        unsafe { realm_runtime_destroy(self.runtime) };
        (0..SLOTS).for_each(|i| self.close(i));
        assert_eq!(
            faults::live(),
            (0, 0),
            "the platform's memory has not come back"
        );
    }

    fn call(&mut self, op: u8, slot: usize, a: u8, b: u8) {
        let s = self.slots[slot].session;
        let budget = [0, 1, 100, 5000][usize::from(a & 3)];
        // SAFETY: sessions are live, pointers valid, arrays as long as said.
        unsafe {
            match op % 29 {
                0 | 1 => self.open(slot, a, b),
                2 => faults::fail(u32::from(a), 0),
                3 => faults::fail(0, u32::from(a)),
                4 => faults::fail(0, 0),
                5 => faults::set_clock(
                    [Clock::On, Clock::Still, Clock::Back, Clock::Leaps][usize::from(a & 3)],
                ),
                6 => self.renew(),
                7 => self.close(slot),
                8 => self.load(slot, a, b, false),
                9 => self.load(slot, a, b, true),
                10 => self.poll_many(a, [0, 1, 100, 5000][usize::from(b & 3)]),
                11 => {
                    let mut damaged = tiny_bytes().to_vec();
                    let at = usize::from(a) << 6 | usize::from(slot) << 3;
                    damaged[at + usize::from(b & 7)] ^= b | 1;
                    let _ = Store::global().remove(DAMAGED);
                    let _ = Store::global().register_copy(&[&damaged], DAMAGED, &Limits::default());
                }
                12 => {
                    let _ = checked(|e| realm_model_remove(null_mut(), DAMAGED, e));
                    let mut info: realm_model_info = init();
                    checked(|e| realm_model_get_info(null_mut(), TINY, &mut info, e));
                    assert_eq!(info.registration_count, 1);
                }
                13 => {
                    let (mut ids, mut n) = ([0; 16], 0);
                    let text = &QUESTION[..usize::from(a) % QUESTION.len()];
                    let (p, len) = (text.as_ptr().cast(), text.len());
                    let id = if b & 1 == 0 { TINY } else { DAMAGED };
                    checked(|e| {
                        realm_model_tokenize(
                            null_mut(),
                            id,
                            p,
                            len,
                            0,
                            ids.as_mut_ptr(),
                            ids.len(),
                            &mut n,
                            e,
                        )
                    });
                }
                14 => {
                    let (options, model, _params) = self.options(a, b);
                    let mut plan: realm_memory_plan = init();
                    checked(|e| {
                        realm_plan(self.runtime, model, &options, u32::from(a), &mut plan, e)
                    });
                }
                _ if s.is_null() => {}
                15 => {
                    ask(s);
                }
                16 => {
                    // Words, or what is not UTF-8, or ids, some of which the vocabulary does not have.
                    let bytes: Vec<u8> = (0..u16::from(b) * 4)
                        .map(|i| (i as u8).wrapping_mul(a) & 0x3f)
                        .collect();
                    let kind = u32::from(a >> 5 & 3);
                    checked(|e| {
                        realm_session_prompt(s, kind, bytes.as_ptr().cast(), bytes.len(), e)
                    });
                }
                17 => {
                    let mut event: realm_event = init();
                    for _ in 0..b % 8 {
                        checked(|e| realm_session_poll(s, budget, &mut event, e));
                    }
                }
                18 => {
                    let _ = answer(s, budget);
                }
                19 => {
                    checked(|e| realm_session_rewind(s, u32::from(a), e));
                }
                20 => {
                    let to = usize::from(a) % SLOTS;
                    if to != slot {
                        self.close(to);
                        let mut made = null_mut();
                        let status = checked(|e| realm_session_fork(s, &mut made, e));
                        let plain = self.slots[slot].plain;
                        self.keep(to, status, made, plain, false);
                    }
                }
                21 => {
                    let mut bytes = 0;
                    if checked(|e| realm_session_save(s, null_mut(), 0, &mut bytes, e))
                        == REALM_STATUS_BUFFER_TOO_SMALL
                    {
                        let mut state = vec![0_u8; bytes];
                        let to = state.as_mut_ptr().cast();
                        if checked(|e| realm_session_save(s, to, state.len(), &mut bytes, e)) == 0 {
                            assert_eq!(bytes, state.len());
                            self.saved = state;
                            self.saved_plain = self.slots[slot].plain;
                        }
                    }
                }
                22 => {
                    let mut left = usize::from(b) << (a & 15);
                    let ctx = (&raw mut left).cast();
                    checked(|e| realm_session_save_to(s, Some(write_to), ctx, e));
                }
                23 => realm_session_cancel(s),
                24 => {
                    let (mut n, mut at) = (0, 0);
                    let mut floats = vec![0.0; usize::from(b) * 8];
                    let to = floats.as_mut_ptr();
                    checked(|e| realm_session_logits(s, to, floats.len(), &mut n, e));
                    checked(|e| realm_session_position(s, &mut at, e));
                    let mut stats: realm_session_stats = init();
                    assert_eq!(realm_session_get_stats(s, &mut stats), 0);
                    // A parameter that changes nothing that is compared.
                    let value = if a & 1 == 0 { null() } else { c"3".as_ptr() };
                    checked(|e| realm_session_set_param(s, c"seed".as_ptr(), value, e));
                }
                25 => self.settle(slot, budget),
                26 => Self::embed(s, a, b),
                28 => Self::overload(s, a, usize::from(b) * 16),
                _ => {
                    let ids: Vec<u32> = (0..a % 66)
                        .map(|i| [TINY, TOY, EMBEDDING, DAMAGED, 12345][usize::from(i ^ b) % 5])
                        .collect();
                    checked(|e| realm_session_set_models(s, ids.as_ptr(), ids.len(), e));
                }
            }
        }
    }

    /// Input for which the guest may have no memory or fuel: whatever comes of it, the session goes on (`settle`).
    ///
    /// # Safety
    /// The session is live.
    unsafe fn overload(s: *mut realm_session, a: u8, many: usize) {
        let several = |one: fn(usize) -> String| (0..many).map(one).collect::<Vec<_>>();
        let (key, text) = match a & 3 {
            0 => {
                let all = several(|i| format!("\"name {i}\":{{\"maxLength\":{i}}}")).join(",");
                (c"json_schema", format!("{{\"properties\":{{{all}}}}}"))
            }
            1 => {
                let all = several(|i| format!("r{i} ::= [a-{i}]{{1,{i}}} \"{i}\"\n")).concat();
                (c"grammar", format!("root ::= \"x\"\n{all}"))
            }
            2 => (c"system", "It is said again and again. ".repeat(many)),
            _ => {
                let all =
                    several(|i| format!("{{\"role\":\"user\",\"content\":\"{i}\"}}")).join(",");
                let text = format!("[{all}]");
                let (data, bytes) = (text.as_ptr().cast(), text.len());
                // SAFETY: the caller's promise, and pointers are valid.
                unsafe {
                    checked(|e| realm_session_prompt(s, REALM_INPUT_MESSAGES, data, bytes, e));
                    let _ = answer(s, 0);
                }
                return;
            }
        };
        let Ok(text) = std::ffi::CString::new(text) else {
            return;
        };
        // SAFETY: the caller's promise, and pointers are valid.
        unsafe {
            checked(|e| realm_session_set_param(s, key.as_ptr(), text.as_ptr(), e));
            if a & 4 != 0 {
                ask(s);
                let _ = answer(s, 0);
            }
            checked(|e| realm_session_set_param(s, key.as_ptr(), null(), e));
        }
    }

    /// An embedding of words or ids, of a model that makes text too, with room for some elements.
    ///
    /// # Safety
    /// The session is live.
    unsafe fn embed(s: *mut realm_session, a: u8, b: u8) {
        let bytes: Vec<u8> = (0..b % 64)
            .map(|i| {
                if i & 3 == 0 {
                    b'0' | i.wrapping_mul(a) & 7
                } else {
                    0
                }
            })
            .collect();
        let kind = u32::from(a & 7);
        let mut floats = vec![0.5; usize::from(a >> 3)];
        let (input, to, mut n) = (bytes.as_ptr().cast(), floats.as_mut_ptr(), 0);
        let status = checked(|e| {
            // SAFETY: the caller's promise, and pointers are valid.
            unsafe { realm_session_embed(s, kind, input, bytes.len(), to, floats.len(), &mut n, e) }
        });
        if status == 0 {
            assert!(n <= floats.len() && floats[..n].iter().all(|x| x.is_finite()));
            assert!(floats[n..].iter().all(|x| *x == 0.5));
        }
    }
}

/// One input.
pub fn run(data: &[u8]) {
    expected();
    let mut w = World::new();
    let (calls, _) = data.as_chunks::<4>();
    for &[op, slot, a, b] in calls.iter().take(MOST_CALLS) {
        w.call(op, usize::from(slot) % SLOTS, a, b);
    }
    for slot in 0..SLOTS {
        w.settle(slot, 0);
    }
    let _ = Store::global().remove(DAMAGED);
    w.end();
}
