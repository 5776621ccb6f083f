//! Parameters: what the guest refuses is refused where it is said.

use super::state_tests::{Demo, at_event, chat, finish, saved};
use super::tests::{options, stepping};
use super::{InputKind, Session};
use crate::error::Status;
use crate::guest::event;
use alloc::vec::Vec;

#[test]
fn parameters_are_checked_when_they_are_set() {
    let demo = Demo::new();
    let mut s = demo.open(&[("n_predict", "3"), ("seed", "1")]);
    chat(&mut s, "Hello");
    let before = saved(&s);
    let refused = [
        ("tmep", "1", "did you mean 'temp'?"),
        ("top_p", "2", "top_p is '2', expected a number from 0 to 1"),
        (
            "ctx",
            "64",
            "ctx is fixed when a session opens, here at 256",
        ),
        ("logit_bias", "9999:1", "logit_bias has token 9999"),
        ("stop", "\n", "parameter stop"),
        ("seed", "x", "seed is 'x', expected an integer from -1"),
    ];
    for (key, value, said) in refused {
        let e = s.set_param(key, Some(value)).unwrap_err();
        assert_eq!(e.status(), Status::InvalidArgument, "{e}");
        assert!(e.message().contains(said), "{e}");
        let e = Session::load_bytes(demo.options(&[(key, value)]), &before)
            .err()
            .unwrap();
        assert_eq!(e.status(), Status::InvalidArgument, "{e}");
        assert!(e.message().contains(said), "{e}");
        let e = Session::open(demo.options(&[(key, value)])).err();
        // A session may be opened with any context.
        assert_eq!(
            e.map(|e| e.message().contains(said)),
            (key != "ctx").then_some(true)
        );
    }
    // Taking away what was fixed is a change too.
    assert!(s.set_param("ctx", None).is_err());
    let host = s.instance.host();
    let all: Vec<_> = host.params.iter().collect();
    assert_eq!(all, [("ctx", "256"), ("n_predict", "3"), ("seed", "1")]);
    // Nobody was disturbed: both go on as if nobody had asked.
    let mut other = Session::load_bytes(demo.options(&[]), &before).unwrap();
    s.set_param("temp", Some("0.9")).unwrap();
    other.set_param("temp", Some("0.9")).unwrap();
    assert_eq!(
        chat(&mut s, "And of Italy?"),
        chat(&mut other, "And of Italy?")
    );
    // In the midst of a turn nobody can be asked; the next turn does.
    s.prompt(InputKind::Chat, b"Hello").unwrap();
    s.poll(0).unwrap();
    s.set_param("top_p", Some("2")).unwrap();
    finish(&mut s);
    s.prompt(InputKind::Chat, b"Hello").unwrap();
    assert!(s.poll(0).unwrap_err().message().contains("top_p is '2'"));
    // One is repaired after the other; what is bad by itself is said as soon as all others are good.
    s.prompt(InputKind::Chat, b"Hello").unwrap();
    s.set_param("min_p", Some("-1")).unwrap();
    assert!(s.poll(0).unwrap_err().message().contains("is '"));
    s.set_param("temp", Some("1")).unwrap();
    s.set_param("top_p", Some("0.9")).unwrap();
    s.set_param("min_p", None).unwrap();
    s.set_param("top_k", Some("x")).unwrap_err();
    chat(&mut s, "Hello");
}

#[test]
fn guests_that_are_asked_may_fail() {
    let said = |answer: &str, body: &str| {
        let mut s = Session::open(options(&at_event(event::PARAMS, body, answer))).unwrap();
        let result = s.set_param("a", Some("1"));
        let there = s.instance.host().params.get("a").is_some();
        (result.err().map(|e| e.status()), s.check().is_ok(), there)
    };
    assert_eq!(said("0", ""), (None, true, true));
    assert_eq!(said("-4", ""), (Some(Status::IdConflict), true, false));
    assert_eq!(said("1", ""), (Some(Status::Guest), false, false));
    assert_eq!(
        said("0", "(unreachable)"),
        (Some(Status::Guest), false, false)
    );
    // A step cannot be submitted.
    let submits = "(if (i32.ne (call $realm_step_submit (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)) (i32.const -8)) (then unreachable))";
    assert_eq!(said("0", submits), (None, true, true));
    // One of ABI 0.1 is not asked.
    let mut old = Session::open(options(&stepping(1, 1, 4))).unwrap();
    let events = old.stats().guest_events;
    old.set_param("a", Some("1")).unwrap();
    assert_eq!(old.stats().guest_events, events);
}

#[test]
fn the_slim_guest_chooses_as_the_whole_one_and_names_what_it_lacks() {
    let demos = ["guest/realm_guest.wasm", "guest/realm_guest_slim.wasm"].map(Demo::with);
    let kinds: [&[(&str, &str)]; 4] = [
        &[],
        &[("temp", "0.9"), ("seed", "5")],
        &[
            ("temp", "1.5"),
            ("top_k", "0"),
            ("top_p", "0.8"),
            ("min_p", "0.01"),
        ],
        &[
            ("temp", "2"),
            ("samplers", "temperature;top_p;top_k"),
            ("kv_type", "q8_0"),
        ],
    ];
    for params in kinds {
        let [whole, slim] = demos.each_ref().map(|demo| {
            let mut s = demo.open(params);
            s.set_param("n_predict", Some("12")).unwrap();
            s.set_param("ignore_eos", Some("1")).unwrap();
            s.prompt(InputKind::Text, b"The capital").unwrap();
            let first = finish(&mut s);
            s.prompt(InputKind::Text, b" of").unwrap();
            (first, finish(&mut s))
        });
        assert_eq!(whole, slim, "{params:?}");
        assert_eq!(whole.0.0.len(), 12);
    }
    let [_, slim] = &demos;
    for (key, value) in [
        ("dry_multiplier", "1"),
        ("logit_bias", "5:1"),
        ("chat_template", "chatml"),
    ] {
        let e = Session::open(slim.options(&[(key, value)])).err().unwrap();
        assert_eq!(e.status(), Status::Unsupported);
        let said = alloc::format!("parameter {key} is not known to this slim guest");
        assert!(e.message().contains(&said), "{e}");
    }
    let mut s = slim.open(&[]);
    s.prompt(InputKind::Chat, b"Hello").unwrap();
    let e = s.poll(0).unwrap_err();
    assert!(e.message().contains("chat formats are not known"), "{e}");
}

/// More of them than there were rows for: the program that is there has been recorded with other buffers.
#[test]
fn biases_and_penalties_grow_between_turns() {
    let demo = Demo::new();
    let many: alloc::string::String = (300..340).map(|id| std::format!("{id}:-9,")).collect();
    let later = [
        ("logit_bias", many.trim_end_matches(',')),
        ("repeat_last_n", "200"),
    ];
    let mut s = demo.open(&[
        ("logit_bias", "300:-9"),
        ("repeat_last_n", "2"),
        ("repeat_penalty", "1.3"),
        ("n_predict", "8"),
    ]);
    let mut other = s.fork().unwrap();
    chat(&mut s, "Hello");
    for (key, value) in later {
        s.set_param(key, Some(value)).unwrap();
        other.set_param(key, Some(value)).unwrap();
    }
    // One that has not recorded anything yet is the control.
    s.rewind(0).unwrap();
    assert_eq!(chat(&mut s, "Hello"), chat(&mut other, "Hello"));
}
