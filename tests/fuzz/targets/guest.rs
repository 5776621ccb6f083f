//! Any bytes as a guest, or as the calls of a well-formed one, in a session with small limits.
//!
//! The first byte chooses: an even one and the rest is a WebAssembly module; an odd one and the rest
//! is a script for `tests/guests/driver.wasm`, which makes the imports' calls that it says. Everything
//! goes through the C interface, as it would in an application.

use realm_sys::capi::error::REALM_STATUS_OK;
use realm_sys::capi::guest::{realm_guest, realm_guest_load, realm_guest_unload};
use realm_sys::capi::runtime::{realm_runtime, realm_runtime_create};
use realm_sys::capi::session::*;
use realm_sys::gguf::{Limits, write};
use realm_sys::platform::REALM_ABI_VERSION;
use realm_sys::store::Store;
use std::mem::{size_of, zeroed};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

static DRIVER: &[u8] = include_bytes!("../../guests/driver.wasm");
const MODEL: u32 = 1;
/// More events than a script can need.
const POLLS: u32 = 600;

/// A runtime is safe from any thread; only its pointer type does not know.
struct Runtime(*mut realm_runtime);
// SAFETY: the C interface says so.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}

fn runtime() -> *mut realm_runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            let model = write::sample();
            let id = Store::global().register_copy(&[&model], MODEL, &Limits::default());
            assert_eq!(id.ok(), Some(MODEL));
            let mut runtime = null_mut();
            // SAFETY: NULL options are the defaults.
            let status = unsafe { realm_runtime_create(null(), &mut runtime, null_mut()) };
            assert_eq!(status, REALM_STATUS_OK);
            Runtime(runtime)
        })
        .0
}

fn options(guest: *const realm_guest) -> realm_session_options {
    // SAFETY: zero is every field's default.
    let mut options: realm_session_options = unsafe { zeroed() };
    options.struct_size = size_of::<realm_session_options>() as u32;
    options.abi_version = REALM_ABI_VERSION;
    options.guest = guest;
    options.max_guest_memory_bytes = 1 << 20;
    options.max_buffer_bytes = 1 << 20;
    options.max_kv_bytes = 1 << 20;
    options.max_scratch_bytes = 1 << 22;
    options.max_guest_model_bytes = 1 << 16;
    options.fuel_per_event = 2_000_000;
    options
}

/// One turn, however it ends.
///
/// # Safety
/// `session` is live.
unsafe fn turn(session: *mut realm_session, input: &[u8]) {
    // SAFETY: zero is a valid event; the two fields are set.
    let mut event: realm_event = unsafe { zeroed() };
    event.struct_size = size_of::<realm_event>() as u32;
    event.abi_version = REALM_ABI_VERSION;
    let whole = input.len() / 4 * 4;
    // SAFETY: the session is live and the input is as long as said.
    let status = unsafe {
        realm_session_prompt(
            session,
            REALM_INPUT_IDS,
            input.as_ptr().cast(),
            whole,
            null_mut(),
        )
    };
    if status != REALM_STATUS_OK {
        return;
    }
    for _ in 0..POLLS {
        // SAFETY: as above.
        let status = unsafe { realm_session_poll(session, 0, &mut event, null_mut()) };
        if status != REALM_STATUS_OK || event.kind == REALM_EVENT_DONE {
            return;
        }
    }
    // SAFETY: as above. What was begun can be cancelled and closed.
    unsafe { realm_session_cancel(session) };
}

/// One input.
pub fn run(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let (wasm, input) = if choice & 1 == 0 {
        (rest, &b"\x01\0\0\0\x02\0\0\0"[..])
    } else {
        (DRIVER, rest)
    };
    let mut guest = null_mut();
    let mut session = null_mut();
    // SAFETY: every pointer is to a live local or as long as said; handles come from the library.
    unsafe {
        if realm_guest_load(wasm.as_ptr().cast(), wasm.len(), &mut guest, null_mut())
            != REALM_STATUS_OK
        {
            return;
        }
        let options = options(guest);
        let status = realm_session_open(runtime(), MODEL, &options, &mut session, null_mut());
        realm_guest_unload(guest);
        if status == REALM_STATUS_OK {
            turn(session, input);
            turn(session, input);
            realm_session_close(session);
        }
    }
}
