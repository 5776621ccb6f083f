//! Saved states with any changes: `realm_session_load`, and what can be done with the session, if there is one.
//!
//! The first byte chooses the state and whether its checksum is made right again; then four bytes are a change: three say
//! where, one what is written there. A state with a right checksum is trusted no more than another: it is a session like any
//! other, which uses no more than its limits, and can be polled, saved, forked and closed.

use crate::faults;
use crate::world::*;
use realm_sys::capi::runtime::*;
use realm_sys::capi::session::state::*;
use realm_sys::capi::session::*;
use std::ptr::null_mut;
use std::sync::OnceLock;

fn runtime() -> *mut realm_runtime {
    static RUNTIME: OnceLock<Shared<realm_runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        models();
        let platform = faults::platform();
        let mut options: realm_runtime_options = init();
        options.platform = &platform;
        let mut runtime = null_mut();
        // SAFETY: valid pointers.
        let status = checked(|e| unsafe { realm_runtime_create(&options, &mut runtime, e) });
        assert_eq!(status, 0);
        Shared(runtime)
    });
    made.0
}

fn options_of(which: usize) -> (realm_session_options, u32) {
    let mut o = options();
    // Enough for the answers that are given here, and little enough for many runs.
    o.fuel_per_event = 20_000_000;
    if which == 0 {
        return (o, TINY);
    }
    o.guest = guests()[which - 1].0;
    (o, TOY)
}

/// States between two turns: of a model, and of two guests.
fn states() -> &'static [Vec<u8>; 3] {
    static STATES: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    STATES.get_or_init(|| {
        [0, 1, 2].map(|which| {
            let (options, model) = options_of(which);
            let (mut s, mut bytes) = (null_mut(), 0);
            // SAFETY: valid pointers, a live session.
            unsafe {
                assert_eq!(
                    checked(|e| realm_session_open(runtime(), model, &options, &mut s, e)),
                    0
                );
                if which == 0 {
                    realm_session_set_param(
                        s,
                        c"n_predict".as_ptr(),
                        ANSWER_TOKENS.as_ptr(),
                        null_mut(),
                    );
                    assert_eq!(ask(s), 0);
                    answer(s, 0).expect("an answer");
                }
                realm_session_save(s, null_mut(), 0, &mut bytes, null_mut());
                let mut state = vec![0_u8; bytes];
                let to = state.as_mut_ptr().cast();
                assert_eq!(
                    checked(|e| realm_session_save(s, to, state.len(), &mut bytes, e)),
                    0
                );
                realm_session_close(s);
                state
            }
        })
    })
}

/// A turn of at most so many polls.
///
/// # Safety
/// `s` is live.
unsafe fn turn(s: *mut realm_session, polls: u32) {
    let mut event: realm_event = init();
    // SAFETY: the caller's promise.
    unsafe {
        if ask(s) == 0 {
            for _ in 0..polls {
                if checked(|e| realm_session_poll(s, 0, &mut event, e)) != 0
                    || event.kind == REALM_EVENT_DONE
                {
                    break;
                }
            }
        }
    }
}

/// One input.
pub fn run(data: &[u8]) {
    let Some((&choice, changes)) = data.split_first() else {
        return;
    };
    let which = usize::from(choice) % 3;
    let mut state = states()[which].clone();
    let before = faults::live();
    let (changes, rest) = changes.as_chunks::<4>();
    for &[a, b, c, value] in changes {
        let at = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        let len = state.len();
        state[at % len] = value;
    }
    if let [cut, ..] = rest {
        // What is left over cuts the state short.
        state.truncate(state.len() * usize::from(*cut) / 256);
    }
    if choice & 0x80 == 0 && state.len() > 32 {
        let end = state.len() - 32;
        let (head, sum) = state.split_at_mut(end);
        let digest = realm_sys::store::sha256([&*head].into_iter(), None).expect("not watched");
        sum.copy_from_slice(&digest);
    }
    faults::most();
    let (options, model) = options_of(which);
    let mut s = null_mut();
    // SAFETY: valid pointers; the session is live until it is closed.
    unsafe {
        let (data, bytes) = (state.as_ptr().cast(), state.len());
        let load = |e| realm_session_load(runtime(), model, &options, data, bytes, &mut s, e);
        if checked(load) == 0 {
            turn(s, 4);
            realm_session_cancel(s);
            turn(s, 2);
            realm_session_cancel(s);
            let _ = answer(s, 0);
            let (mut n, mut other) = (0, null_mut());
            checked(|e| realm_session_rewind(s, 0, e));
            checked(|e| realm_session_save(s, null_mut(), 0, &mut n, e));
            if checked(|e| realm_session_fork(s, &mut other, e)) == 0 {
                turn(other, 2);
            }
            realm_session_close(s);
            realm_session_close(other);
        }
    }
    assert_eq!(
        faults::live(),
        before,
        "the platform's memory has not come back"
    );
    // The limits of `options`, twice with the fork; pages that are being replaced are there once more.
    assert!(faults::most() < 96 << 20);
}
