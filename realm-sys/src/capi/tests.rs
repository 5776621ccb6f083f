//! The C functions as a C program would call them: life cycles, NULLs, sizes.

use super::error::*;
use super::guest::*;
use super::meta::*;
use super::model::*;
use super::runtime::*;
use super::session::values::realm_session_logits;
use super::session::*;
use super::store::*;
use super::tensor::*;
use super::version::*;
use super::vocab::*;
use crate::guest::tests::wat;
use crate::platform::REALM_ABI_VERSION;
use crate::session::tests::{model_bytes, platform_table};
use alloc::vec;
use core::ffi::{CStr, c_void};
use core::mem::{MaybeUninit, size_of};
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

/// A struct with only its head set.
pub(super) fn init<T>() -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: every struct that is used here opens with these two words and may be zero.
    unsafe {
        value
            .as_mut_ptr()
            .cast::<[u32; 2]>()
            .write([size_of::<T>() as u32, REALM_ABI_VERSION]);
        value.assume_init()
    }
}

pub(super) fn message(e: &realm_error) -> &str {
    // SAFETY: messages are terminated.
    unsafe { CStr::from_ptr(e.message.as_ptr()) }
        .to_str()
        .unwrap()
}

pub(super) fn no_error() -> realm_error {
    realm_error {
        status: 0,
        message: [0; 252],
    }
}

static RELEASED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn release(ctx: *mut c_void, _: *const c_void, _: usize) {
    // SAFETY: every registration here passes a counter.
    unsafe { &*ctx.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
}

/// Registers the test model in a new store.
pub(super) unsafe fn registered(bytes: &[u8], counter: &AtomicUsize) -> (*mut realm_store, u32) {
    let mut store = null_mut();
    let parts = [realm_bytes {
        data: bytes.as_ptr().cast(),
        bytes: bytes.len(),
    }];
    let mut source: realm_model_source = init();
    source.parts = parts.as_ptr();
    source.part_count = 1;
    source.release = Some(release);
    source.ctx = core::ptr::from_ref(counter).cast_mut().cast();
    let (mut id, mut e) = (0, no_error());
    // SAFETY: pointers to live values of the right types.
    unsafe {
        assert_eq!(realm_store_create(&mut store, &mut e), 0);
        assert_eq!(
            realm_model_register(store, &source, &mut id, &mut e),
            0,
            "{}",
            message(&e)
        );
    }
    (store, id)
}

const GUEST: &str = "(if (i32.eq (local.get $kind) (i32.const 1)) (then (return (i32.const 0))))
  (drop (call $realm_emit (i32.const 42) (i32.const 0) (i32.const 2)))
  (i32.const 1)";

#[test]
fn a_program_from_start_to_end() {
    let bytes = model_bytes();
    let counter = AtomicUsize::new(0);
    let wasm = wat("(data (i32.const 0) \"hi\")", GUEST);
    let mut e = no_error();
    // SAFETY: pointers to live values of the right types, handles used while they live.
    unsafe {
        let (store, id) = registered(&bytes, &counter);
        let platform = platform_table();
        let mut options: realm_runtime_options = init();
        options.store = store;
        options.platform = &platform;
        let (mut runtime, mut guest, mut session) = (null_mut(), null_mut(), null_mut());
        assert_eq!(realm_runtime_create(&options, &mut runtime, &mut e), 0);
        let own = [c"cpu", c"reference"];
        let own = &own[usize::from(!cfg!(feature = "cpu"))..];
        assert_eq!(realm_runtime_backend_count(runtime), own.len());
        for (i, &want) in own.iter().enumerate() {
            assert_eq!(CStr::from_ptr(realm_runtime_backend_name(runtime, i)), want);
        }
        assert!(realm_runtime_backend_name(runtime, own.len()).is_null());
        let loaded = realm_guest_load(wasm.as_ptr().cast(), wasm.len(), &mut guest, &mut e);
        assert_eq!(loaded, 0, "{}", message(&e));
        let mut options: realm_session_options = init();
        options.guest = guest;
        let params = [realm_param {
            key: c"temp".as_ptr(),
            value: c"0".as_ptr(),
        }];
        options.params = params.as_ptr();
        options.param_count = 1;
        let opened = realm_session_open(runtime, id, &options, &mut session, &mut e);
        assert_eq!(opened, 0, "{}", message(&e));
        // Everything else may go; the session keeps what it needs.
        realm_guest_unload(guest);
        realm_runtime_destroy(runtime);
        assert_eq!(realm_model_remove(store, id, &mut e), 0);
        realm_store_destroy(store);
        assert_eq!(counter.load(Ordering::SeqCst), 0);

        assert_eq!(
            realm_session_set_param(session, c"seed".as_ptr(), c"1".as_ptr(), &mut e),
            0
        );
        assert_eq!(
            realm_session_set_param(session, c"seed".as_ptr(), null(), &mut e),
            0
        );
        let mut event: realm_event = init();
        assert_eq!(
            realm_session_poll(session, 0, &mut event, &mut e),
            REALM_STATUS_STATE
        );
        let text = b"hello";
        let begun =
            realm_session_prompt(session, REALM_INPUT_TEXT, text.as_ptr().cast(), 5, &mut e);
        assert_eq!(begun, 0);
        assert_eq!(
            realm_session_poll(session, 1000, &mut event, &mut e),
            0,
            "{}",
            message(&e)
        );
        assert_eq!((event.kind, event.token), (REALM_EVENT_TOKEN, 42));
        let text = core::slice::from_raw_parts(event.text.cast::<u8>(), event.text_bytes);
        assert_eq!(text, b"hi");
        assert_eq!(realm_session_poll(session, 0, &mut event, &mut e), 0);
        assert_eq!(
            (event.kind, event.reason),
            (REALM_EVENT_DONE, REALM_DONE_EOS)
        );
        let mut stats: realm_session_stats = init();
        assert_eq!(realm_session_get_stats(session, &mut stats), 0);
        assert_eq!(stats.generated_tokens, 1);
        let mut count = 0;
        let logits = realm_session_logits(session, null_mut(), 0, &mut count, &mut e);
        assert_eq!(logits, REALM_STATUS_NOT_FOUND);
        realm_session_cancel(session);
        realm_session_close(session);
    }
    assert_eq!(counter.load(Ordering::SeqCst), 1);
}

#[test]
fn models_are_looked_into() {
    let bytes = model_bytes();
    let counter = AtomicUsize::new(0);
    let mut e = no_error();
    // SAFETY: as above.
    unsafe {
        let (store, id) = registered(&bytes, &counter);
        let mut info: realm_model_info = init();
        assert_eq!(realm_model_get_info(store, id, &mut info, &mut e), 0);
        assert_eq!((info.id, info.tensor_count, info.digest_known), (id, 1, 1));
        assert_eq!(CStr::from_ptr(info.architecture.as_ptr()), c"toy");
        let mut digest = [0; 32];
        assert_eq!(
            realm_model_digest(store, id, digest.as_mut_ptr(), &mut e),
            0
        );
        assert_eq!(digest, info.sha256);
        let (mut ids, mut count) = ([0; 1], 0);
        assert_eq!(
            realm_model_list(store, null_mut(), 0, &mut count),
            REALM_STATUS_BUFFER_TOO_SMALL
        );
        assert_eq!(
            realm_model_list(store, ids.as_mut_ptr(), count, &mut count),
            0
        );
        assert_eq!((ids, count), ([id], 1));

        let (mut text, mut n, mut ty) = ([1_i8 as core::ffi::c_char; 64], 0, 0);
        let key =
            realm_model_meta_key(store, id, 0, text.as_mut_ptr(), 64, &mut n, &mut ty, &mut e);
        assert_eq!((key, n, ty), (0, 20, 8));
        assert_eq!(CStr::from_ptr(text.as_ptr()), c"general.architecture");
        let past = realm_model_meta_key(
            store,
            id,
            99,
            text.as_mut_ptr(),
            64,
            &mut n,
            &mut ty,
            &mut e,
        );
        assert_eq!(past, REALM_STATUS_NOT_FOUND);
        let k = "tokenizer.ggml.tokens";
        let small = realm_model_meta_string(
            store,
            id,
            k.as_ptr().cast(),
            k.len(),
            1,
            null_mut(),
            0,
            &mut n,
            &mut e,
        );
        assert_eq!((small, n), (REALM_STATUS_BUFFER_TOO_SMALL, 3));
        let mut many = 0;
        assert_eq!(
            realm_model_meta_count(store, id, k.as_ptr().cast(), k.len(), &mut many, &mut e),
            0
        );
        assert_eq!(many, 259);
        let (k, mut int, mut float) = ("toy.block_count", 0, 0.0);
        assert_eq!(
            realm_model_meta_int(store, id, k.as_ptr().cast(), k.len(), -1, &mut int, &mut e),
            0
        );
        assert_eq!(
            realm_model_meta_float(
                store,
                id,
                k.as_ptr().cast(),
                k.len(),
                -1,
                &mut float,
                &mut e
            ),
            0
        );
        assert_eq!((int, float), (3, 3.0));
        assert_eq!(
            realm_model_meta_int(store, id, k.as_ptr().cast(), k.len(), -2, &mut int, &mut e),
            REALM_STATUS_INVALID_ARGUMENT
        );

        let mut tensor = 9;
        assert_eq!(
            realm_model_tensor_find(store, id, c"w".as_ptr(), 1, &mut tensor, &mut e),
            0
        );
        let mut info: realm_tensor_info = init();
        assert_eq!(
            realm_model_tensor_info(store, id, tensor, &mut info, &mut e),
            0
        );
        assert_eq!((info.ne, info.bytes, info.n_dims), ([4, 2, 1, 1], 32, 2));
        let mut row = [0.0; 4];
        let read =
            realm_model_tensor_read(store, id, tensor, 1, 0, row.as_mut_ptr(), 4, &mut n, &mut e);
        assert_eq!((read, n, row), (0, 4, [5.0, 6.0, 7.0, 8.0]));
        for (first, rows) in [(2, 1), (0, 3), (u64::MAX, 1), (1, u64::MAX)] {
            let read = realm_model_tensor_read(
                store,
                id,
                tensor,
                first,
                rows,
                row.as_mut_ptr(),
                4,
                &mut n,
                &mut e,
            );
            assert_eq!(read, REALM_STATUS_INVALID_ARGUMENT);
        }

        let mut tokens = vec![0; 8];
        let t = "ab";
        let made = realm_model_tokenize(
            store,
            id,
            t.as_ptr().cast(),
            2,
            REALM_TOKENIZE_ADD_SPECIAL,
            tokens.as_mut_ptr(),
            8,
            &mut n,
            &mut e,
        );
        assert_eq!(
            (made, &tokens[..n]),
            (0, &[1, 100, 101][..]),
            "{}",
            message(&e)
        );
        let made = realm_model_detokenize(
            store,
            id,
            tokens.as_ptr(),
            n,
            0,
            text.as_mut_ptr(),
            64,
            &mut n,
            &mut e,
        );
        assert_eq!((made, n), (0, 2));
        assert_eq!(CStr::from_ptr(text.as_ptr()), c"ab");
        realm_store_destroy(store);
    }
    assert_eq!(counter.load(Ordering::SeqCst), 1);
}

#[test]
fn mistakes_get_a_status_and_release_runs_once() {
    let mut e = no_error();
    let (mut id, mut n) = (0, 0);
    // SAFETY: NULLs, and pointers to live values.
    unsafe {
        for status in [
            realm_store_create(null_mut(), &mut e),
            realm_runtime_create(null(), null_mut(), &mut e),
            realm_guest_load(null(), 4, null_mut(), &mut e),
            realm_model_register(null_mut(), null(), &mut id, &mut e),
            realm_session_open(null_mut(), 1, null(), null_mut(), &mut e),
            realm_session_poll(null_mut(), 0, null_mut(), &mut e),
            realm_session_prompt(null_mut(), 0, null(), 0, &mut e),
            realm_session_logits(null_mut(), null_mut(), 0, &mut n, &mut e),
            realm_session_get_stats(null(), null_mut()),
            realm_runtime_add_backend(null_mut(), null(), &mut e),
            realm_runtime_add_kernel(null_mut(), 1, 0, None, null_mut(), &mut e),
            realm_model_list(null_mut(), null_mut(), 0, null_mut()),
        ] {
            assert_eq!(status, REALM_STATUS_INVALID_ARGUMENT);
        }
        assert!(message(&e).contains("NULL"), "{}", message(&e));
        realm_store_destroy(null_mut());
        realm_runtime_destroy(null_mut());
        realm_guest_unload(null_mut());
        realm_session_close(null_mut());
        realm_session_cancel(null_mut());
        assert_eq!(realm_runtime_backend_count(null()), 0);
        assert_eq!(
            realm_model_remove(null_mut(), 0x7777_7777, null_mut()),
            REALM_STATUS_NOT_FOUND
        );

        // Wrong heads.
        let mut options: realm_runtime_options = init();
        let mut runtime = null_mut();
        options.struct_size -= 1;
        assert_eq!(
            realm_runtime_create(&options, &mut runtime, &mut e),
            REALM_STATUS_INVALID_ARGUMENT
        );
        let mut options: realm_runtime_options = init();
        options.abi_version = REALM_ABI_VERSION + 0x1_0000;
        assert_eq!(
            realm_runtime_create(&options, &mut runtime, &mut e),
            REALM_STATUS_UNSUPPORTED
        );
        assert!(runtime.is_null());

        // Refused before and by the parser: released all the same.
        let junk = [0_u8; 64];
        let parts = [realm_bytes {
            data: junk.as_ptr().cast(),
            bytes: 64,
        }; 2];
        let mut source: realm_model_source = init();
        source.parts = parts.as_ptr();
        source.part_count = 2;
        source.release = Some(release);
        source.ctx = core::ptr::from_ref(&RELEASED).cast_mut().cast();
        assert_eq!(
            realm_model_register(null_mut(), &source, null_mut(), &mut e),
            REALM_STATUS_FORMAT
        );
        assert_eq!(RELEASED.load(Ordering::SeqCst), 2);
        source.flags = 0x80;
        assert_eq!(
            realm_model_register(null_mut(), &source, null_mut(), &mut e),
            REALM_STATUS_INVALID_ARGUMENT
        );
        assert_eq!(RELEASED.load(Ordering::SeqCst), 4);
    }
}

#[test]
fn names_and_versions() {
    // SAFETY: terminated constants.
    unsafe {
        assert_eq!(CStr::from_ptr(realm_status_name(0)), c"REALM_STATUS_OK");
        assert_eq!(
            CStr::from_ptr(realm_status_name(-14)),
            c"REALM_STATUS_INTERNAL"
        );
        assert_eq!(
            CStr::from_ptr(realm_status_name(5)),
            c"REALM_STATUS_UNKNOWN"
        );
        let version = CStr::from_ptr(realm_version()).to_str().unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
    }
    assert_eq!(realm_abi_version(), REALM_ABI_VERSION);
}

#[test]
#[cfg(feature = "embedded-guest")]
fn the_embedded_guest_refuses_what_it_does_not_know() {
    let bytes = model_bytes();
    let counter = AtomicUsize::new(0);
    let mut e = no_error();
    // SAFETY: as above.
    unsafe {
        let (store, id) = registered(&bytes, &counter);
        let mut options: realm_runtime_options = init();
        options.store = store;
        let (mut runtime, mut session) = (null_mut(), null_mut());
        assert_eq!(realm_runtime_create(&options, &mut runtime, &mut e), 0);
        let opened = realm_session_open(runtime, id, null(), &mut session, &mut e);
        assert_eq!(opened, REALM_STATUS_UNSUPPORTED, "{}", message(&e));
        assert!(message(&e).contains("toy"), "{}", message(&e));
        realm_runtime_destroy(runtime);
        realm_store_destroy(store);
    }
}
