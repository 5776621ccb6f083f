//! What the targets that use the C interface share: models, options, checked calls, and what the model says.

use realm_sys::capi::error::{REALM_STATUS_INTERNAL, realm_error};
use realm_sys::capi::guest::{realm_guest, realm_guest_load};
use realm_sys::capi::session::*;
use realm_sys::gguf::Limits;
use realm_sys::platform::REALM_ABI_VERSION;
use realm_sys::store::Store;
use std::ffi::CStr;
use std::mem::{MaybeUninit, size_of};
use std::ptr::null_mut;
use std::sync::OnceLock;

/// The model that the library's own guest runs.
pub const TINY: u32 = 1;
/// A model of bytes, for the guests in `tests/guests`.
pub const TOY: u32 = 2;
/// A small model that makes embeddings.
pub const EMBEDDING: u32 = 3;

/// The file of [`TINY`].
pub fn tiny_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(crate::tiny::llama)
}

/// A struct with only its head set.
pub fn init<T>() -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: every struct that this is used for opens with these two words and may be zero.
    unsafe {
        let head = [size_of::<T>() as u32, REALM_ABI_VERSION];
        value.as_mut_ptr().cast::<[u32; 2]>().write(head);
        value.assume_init()
    }
}

/// A call whose status and message must go together, and which must not be a bug.
pub fn checked(call: impl FnOnce(*mut realm_error) -> i32) -> i32 {
    let mut e = realm_error {
        status: 77,
        message: [1; 252],
    };
    e.message[251] = 0;
    let status = call(&mut e);
    if status == 0 {
        assert!(
            e.status == 77 && e.message[0] == 1,
            "success writes an error"
        );
        return status;
    }
    // SAFETY: terminated, by us at the latest.
    let text = unsafe { CStr::from_ptr(e.message.as_ptr()) }
        .to_str()
        .expect("UTF-8");
    assert_eq!(status, e.status, "{text}");
    assert!((-14..0).contains(&status), "{status}: {text}");
    assert_ne!(status, REALM_STATUS_INTERNAL, "{text}");
    assert!(!text.is_empty() && !text.contains('\n'), "{text}");
    status
}

/// Registers the models once.
pub fn models() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let limits = Limits::default();
        let id = Store::global().register_static(tiny_bytes(), TINY, &limits);
        assert_eq!(id.ok(), Some(TINY));
        let toy = realm_sys::gguf::write::sample();
        let id = Store::global().register_copy(&[&toy], TOY, &limits);
        assert_eq!(id.ok(), Some(TOY));
        let bert = include_bytes!("../../golden/arch/bert.gguf");
        let id = Store::global().register_copy(&[bert], EMBEDDING, &limits);
        assert_eq!(id.ok(), Some(EMBEDDING));
    });
}

/// Pointers that are safe from any thread; only their types do not know.
pub struct Shared<T>(pub *mut T);
// SAFETY: the C interface says so.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

fn guest(wasm: &[u8]) -> Shared<realm_guest> {
    let mut guest = null_mut();
    // SAFETY: valid pointers.
    let status =
        checked(|e| unsafe { realm_guest_load(wasm.as_ptr().cast(), wasm.len(), &mut guest, e) });
    assert_eq!(status, 0);
    Shared(guest)
}

/// The guests in `tests/guests`, loaded once: one that echoes, one that computes, one that does what its prompt says.
pub fn guests() -> &'static [Shared<realm_guest>; 3] {
    static GUESTS: OnceLock<[Shared<realm_guest>; 3]> = OnceLock::new();
    GUESTS.get_or_init(|| {
        [
            guest(include_bytes!("../../guests/echo.wasm")),
            guest(include_bytes!("../../guests/double.wasm")),
            guest(include_bytes!("../../guests/driver.wasm")),
        ]
    })
}

/// What a session may use at most; small, so that the sanitizer's limit finds what goes beyond.
pub fn options() -> realm_session_options {
    let mut options: realm_session_options = init();
    options.max_guest_memory_bytes = 8 << 20;
    options.max_buffer_bytes = 4 << 20;
    options.max_kv_bytes = 8 << 20;
    options.max_scratch_bytes = 16 << 20;
    options.max_guest_model_bytes = 1 << 16;
    options.fuel_per_event = 100_000_000;
    options
}

/// The question whose answer is compared, with so many tokens.
pub const QUESTION: &[u8] = b"What is the capital of France?";
pub const ANSWER_TOKENS: &CStr = c"6";

/// Puts the question; the status.
///
/// # Safety
/// `session` is live.
pub unsafe fn ask(session: *mut realm_session) -> i32 {
    // SAFETY: the caller's promise.
    checked(|e| unsafe {
        let (text, bytes) = (QUESTION.as_ptr().cast(), QUESTION.len());
        realm_session_prompt(session, REALM_INPUT_CHAT, text, bytes, e)
    })
}

/// Polls to the end of the turn; the text, or the status.
///
/// # Safety
/// `session` is live.
pub unsafe fn answer(session: *mut realm_session, budget_us: u64) -> Result<Vec<u8>, i32> {
    let mut text = Vec::new();
    let mut event: realm_event = init();
    for _ in 0..20_000 {
        // SAFETY: the caller's promise.
        match checked(|e| unsafe { realm_session_poll(session, budget_us, &mut event, e) }) {
            0 => {}
            status => return Err(status),
        }
        match event.kind {
            REALM_EVENT_DONE => return Ok(text),
            // SAFETY: the text is valid until the next call.
            REALM_EVENT_TOKEN => text.extend_from_slice(unsafe { text_of(&event) }),
            _ => {}
        }
    }
    panic!("a turn without end");
}

/// # Safety
/// No call was made since the poll that wrote `event`.
pub unsafe fn text_of(event: &realm_event) -> &[u8] {
    if event.text_bytes == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(event.text.cast::<u8>(), event.text_bytes) };
    assert!(std::str::from_utf8(bytes).is_ok());
    bytes
}
