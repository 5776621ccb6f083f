//! Bugs in the library as a C program meets them: a status, a message, and everything else goes on.

use super::error::*;
use super::guest::*;
use super::model::realm_model_remove;
use super::runtime::*;
use super::session::many::realm_poll_many;
use super::session::state::realm_session_position;
use super::session::*;
use super::store::realm_store_destroy;
use super::tests::*;
use super::wasm::state::*;
use super::wasm_host_tests::{ASK, host, hosted};
use super::wasm_tests::{call, checked, size, write};
use crate::guest::tests::wat;
use crate::panics::provoke;
use crate::session::tests::model_bytes;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Emits a token, from a wrong place if the input is not empty.
const GUEST: &str = "(if (i32.eq (local.get $kind) (i32.const 1)) (then (return (i32.const 0))))
  (drop (call $realm_emit (i32.const 42) (i32.sub (i32.const 0) (local.get $b)) (i32.const 2)))
  (i32.const 1)";

const SAID: &str = "a bug in the library: provoked by a test";

#[test]
fn a_panic_is_a_status_of_its_session() {
    let (bytes, counter) = (model_bytes(), AtomicUsize::new(0));
    let wasm = wat("(data (i32.const 0) \"hi\")", GUEST);
    let mut e = no_error();
    // SAFETY: pointers to live values of the right types, handles used while they live.
    unsafe {
        let (store, id) = registered(&bytes, &counter);
        let mut options: realm_runtime_options = init();
        options.store = store;
        let (mut runtime, mut guest) = (null_mut(), null_mut());
        assert_eq!(realm_runtime_create(&options, &mut runtime, &mut e), 0);
        let loaded = realm_guest_load(wasm.as_ptr().cast(), wasm.len(), &mut guest, &mut e);
        assert_eq!(loaded, 0);
        let mut options: realm_session_options = init();
        options.guest = guest;
        let mut sessions = [null_mut(); 3];
        for s in &mut sessions {
            assert_eq!(realm_session_open(runtime, id, &options, s, &mut e), 0);
        }
        let prompt = |s, bytes| {
            let x = b"x".as_ptr().cast();
            realm_session_prompt(s, REALM_INPUT_TEXT, x, bytes, null_mut())
        };
        // Alone.
        let mut event: realm_event = init();
        let bad = sessions[1];
        assert_eq!(prompt(bad, 1), 0);
        let status = provoke(|| realm_session_poll(bad, 0, &mut event, &mut e));
        assert_eq!((status, message(&e)), (REALM_STATUS_INTERNAL, SAID));
        assert_eq!(event.kind, REALM_EVENT_AGAIN);
        // Every later call says so again.
        let mut at = 0;
        for status in [
            realm_session_poll(bad, 0, &mut event, &mut e),
            realm_session_position(bad, &mut at, &mut e),
            realm_session_set_param(bad, c"a".as_ptr(), null(), &mut e),
            prompt(bad, 1),
        ] {
            assert_eq!((status, message(&e)), (REALM_STATUS_INTERNAL, SAID));
        }
        let mut stats: realm_session_stats = init();
        assert_eq!(realm_session_get_stats(bad, &mut stats), 0);
        realm_session_close(bad);
        // Among others.
        assert_eq!(
            realm_session_open(runtime, id, &options, &mut sessions[1], &mut e),
            0
        );
        for (i, &s) in sessions.iter().enumerate() {
            assert_eq!(prompt(s, usize::from(i == 1)), 0);
        }
        let (mut events, mut errors) = ([init::<realm_event>(); 3], [no_error(); 3]);
        let (to, fails) = (events.as_mut_ptr(), errors.as_mut_ptr());
        let status = provoke(|| realm_poll_many(sessions.as_ptr(), 3, 0, to, fails, &mut e));
        assert_eq!(status, 0);
        let codes = errors.map(|e| e.status);
        assert_eq!(codes, [0, REALM_STATUS_INTERNAL, 0]);
        assert_eq!(message(&errors[1]), SAID);
        assert_eq!([events[0].token, events[2].token], [42; 2]);
        assert_eq!(
            realm_session_poll(sessions[1], 0, &mut event, &mut e),
            REALM_STATUS_INTERNAL
        );
        assert_eq!(realm_session_poll(sessions[2], 0, &mut event, &mut e), 0);
        assert_eq!(event.kind, REALM_EVENT_DONE);
        // All of it can be given back: nothing is held by what failed.
        sessions.iter().for_each(|&s| realm_session_close(s));
        realm_guest_unload(guest);
        realm_runtime_destroy(runtime);
        assert_eq!(realm_model_remove(store, id, &mut e), 0);
        realm_store_destroy(store);
    }
    assert_eq!(counter.load(Ordering::SeqCst), 1);
}

#[test]
fn a_panic_is_a_status_of_its_module() {
    let fails = host(|_, _, _| 5);
    let made = hosted(ASK, &fails, c"i(i)").unwrap();
    let works = host(|_, _, _| 0);
    let other = hosted(ASK, &works, c"i(i)").unwrap();
    let (status, text) = provoke(|| call(made.0, "ask", &[1], 1)).unwrap_err();
    assert_eq!((status, text.as_str()), (REALM_STATUS_INTERNAL, SAID));
    // Not called again, but looked into; nothing is locked.
    let (status, text) = call(made.0, "ask", &[1], 1).unwrap_err();
    assert_eq!(status, REALM_STATUS_STATE, "{text}");
    assert!(text.contains("a bug in the library"), "{text}");
    assert_eq!(size(made.0), Ok(65_536));
    assert_eq!(write(made.0, 0, b"x"), Ok(()));
    let mut fuel = 0;
    // SAFETY: a live instance.
    let asked = checked(|e| unsafe { realm_wasm_fuel(made.0, &raw mut fuel, e) });
    assert_eq!(asked, Ok(()));
    assert_eq!(call(other.0, "ask", &[1], 1), Ok(0));
    drop(made);
}
