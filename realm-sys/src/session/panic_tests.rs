//! A bug in the library ends the session that meets it, and no other.

use super::many_tests::*;
use super::{DoneReason, Event, InputKind, Session};
use crate::error::{Error, Status};
use crate::guest::tests::guest;
use crate::panics::provoke;
use alloc::vec;
use alloc::vec::Vec;

fn is_a_bug(e: &Error) -> bool {
    e.status() == Status::Internal && e.message() == "a bug in the library: provoked by a test"
}

/// Whether every call says what the first failure was.
fn is_unusable(s: &mut Session) -> bool {
    let mut logits = vec![0.0; 5000];
    let results = [
        s.check().err(),
        s.poll(0).err(),
        s.prompt(InputKind::Ids, &[0; 12]).err(),
        s.set_param("temp", Some("1")).err(),
        s.rewind(0).err(),
        s.fork().err(),
        s.save(&mut |_| Ok(())).err(),
        s.logits(&mut logits).err(),
    ];
    results.iter().flatten().filter(|e| is_a_bug(e)).count() == results.len()
}

#[test]
fn a_panic_in_a_step_fails_its_session_for_good() {
    let room = Room::new();
    let mut bad = room.prompted(2.0, 6, 4);
    let events: Vec<_> = provoke(|| (0..3).map(|_| bad.poll(0)).collect());
    assert!(
        matches!(events[..2], [Ok(Event::Token(_)), Ok(Event::Token(_))]),
        "{events:?}"
    );
    assert!(is_a_bug(events[2].as_ref().unwrap_err()), "{events:?}");
    assert!(is_unusable(&mut bad));
    bad.cancel();
    // The guest, the program and the backend are shared with this one.
    let other = room.prompted(1.0, 3, NEVER);
    let want = alone(room.prompted(1.0, 3, NEVER));
    drop(bad);
    assert_eq!(alone(other), want);
    assert_eq!(want.end, Some(Ok(DoneReason::Length)));
}

#[test]
fn of_sessions_that_are_polled_together_only_that_one_fails() {
    let make = |room: &Room| -> Vec<Session> {
        (0..5)
            .map(|i| room.prompted(i as f32, 6, if i == 2 { 3 } else { NEVER }))
            .collect()
    };
    for threads in [1, 3] {
        let mut room = Room::new();
        room.threads = threads;
        let mut want = all(make(&room));
        assert_eq!(want[2].end, Some(Err(Status::InvalidArgument)));
        want[2].end = Some(Err(Status::Internal));
        for budget in [0, 1, 100] {
            let (mut sessions, mut turns) = (make(&room), fresh(5));
            // A small step runs on the polling thread, which is the one that panics are provoked on.
            provoke(|| together(&mut sessions, &mut turns, budget));
            assert_eq!(turns, want, "{threads} threads, budget {budget}");
            let failed = sessions.iter().map(|s| s.check().is_err());
            assert!(failed.eq([false, false, true, false, false]));
            assert!(is_unusable(&mut sessions[2]));
            // The others go on, with it in the same calls.
            let mut turns = fresh(5);
            for i in [0, 1, 3, 4] {
                prompt(&mut sessions[i], i as f32, 4, NEVER);
            }
            together(&mut sessions, &mut turns, budget);
            for (i, turn) in turns.iter().enumerate() {
                let end = match i {
                    2 => Err(Status::Internal),
                    _ => Ok(DoneReason::Length),
                };
                assert_eq!(turn.end, Some(end));
            }
        }
    }
}

#[test]
fn a_panic_behind_the_interpreter_fails_its_session_alone() {
    // A wrong pointer, if the turn's input is not empty.
    let shared = guest(
        "",
        "(if (i32.eq (local.get $kind) (i32.const 1)) (then (return (i32.const 0))))
         (if (local.get $b) (then (drop (call $realm_emit (i32.const 1) (i32.const -1) (i32.const 9)))))
         (i32.const 1)",
    );
    let room = Room::new();
    let mut sessions: Vec<Session> = (0..3)
        .map(|_| Session::open(room.options(&shared)).unwrap())
        .collect();
    for many in [false, true] {
        let mut bad = Session::open(room.options(&shared)).unwrap();
        bad.prompt(InputKind::Text, b"x").unwrap();
        for s in &mut sessions {
            s.prompt(InputKind::Text, b"").unwrap();
        }
        if many {
            sessions.insert(1, bad);
            let mut turns = fresh(4);
            provoke(|| poll(&mut sessions, &mut turns, 0));
            let ends: Vec<_> = turns.iter().map(|t| t.end.unwrap()).collect();
            let well = Ok(DoneReason::Eos);
            assert_eq!(ends, [well, Err(Status::Internal), well, well]);
            bad = sessions.remove(1);
        } else {
            assert!(is_a_bug(&provoke(|| bad.poll(0)).unwrap_err()));
            for s in &mut sessions {
                assert_eq!(s.poll(0).unwrap(), Event::Done(DoneReason::Eos));
            }
        }
        assert!(is_unusable(&mut bad));
    }
}
