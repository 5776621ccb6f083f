//! Input that is too large for the guest's memory or fuel is refused, and nobody is the worse for it.

use super::state_tests::{Demo, Shown, at_event, chat, finish};
use super::tests::{after_a_step, options};
use super::{Event, InputKind, Session};
use crate::error::{Error, Status};
use crate::guest::event;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// A JSON schema of many properties.
fn schema(properties: usize) -> String {
    let mut all = String::new();
    for i in 0..properties {
        all += &format!("\"property-{i}\":{{\"type\":\"string\",\"maxLength\":{i}}},");
    }
    format!("{{\"type\":\"object\",\"properties\":{{{all}\"last\":{{\"type\":\"null\"}}}}}}")
}

/// A grammar of many rules.
fn grammar(rules: usize) -> String {
    let mut all = String::from("root ::= r0\n");
    for i in 0..rules {
        all += &format!("r{i} ::= \"word {i}\" [a-z]{{1,9}} r{} | \"end\"\n", i + 1);
    }
    all + &format!("r{rules} ::= \"x\"\n")
}

/// A conversation of many messages.
fn messages(count: usize) -> String {
    let mut all = String::from("[");
    for i in 0..count {
        let role = ["user", "assistant"][i % 2];
        all += &format!("{{\"role\":\"{role}\",\"content\":\"Message number {i}.\"}},");
    }
    all + "{\"role\":\"user\",\"content\":\"Hello\"}]"
}

fn tools(count: usize) -> String {
    let mut all = String::from("[");
    for i in 0..count {
        all += &format!(
            "{{\"type\":\"function\",\"function\":{{\"name\":\"tool_{i}\",\"parameters\":{}}}}},",
            schema(3)
        );
    }
    all.pop();
    all + "]"
}

/// A template that makes much of little.
const TEMPLATE: &str =
    "{% for i in range(99999) %}{% set x = messages | tojson %}{{ x }}{{ i }}{% endfor %}";

enum Bad {
    Param(&'static str, String),
    Input(InputKind, String),
    /// A parameter that is not looked at before there is something to say.
    Both(&'static str, String),
}

fn bad() -> [Bad; 9] {
    [
        Bad::Param("json_schema", schema(4000)),
        Bad::Param("grammar", grammar(4000)),
        Bad::Param("tools", tools(800)),
        Bad::Both("system", "System text. ".repeat(30_000)),
        Bad::Both("chat_template", TEMPLATE.into()),
        Bad::Input(InputKind::Messages, messages(6000)),
        Bad::Input(InputKind::Chat, "a word ".repeat(60_000)),
        Bad::Input(InputKind::Text, "a word ".repeat(60_000)),
        Bad::Input(InputKind::Reply, "a word ".repeat(60_000)),
    ]
}

/// Has it refused, and what was set for it taken back.
fn refuse(s: &mut Session, bad: &Bad) -> Error {
    let refused = |s: &mut Session, kind, text: &str| {
        s.prompt(kind, text.as_bytes()).unwrap();
        loop {
            match s.poll(50) {
                Ok(Event::Again) => {}
                Ok(event) => panic!("{event:?}"),
                Err(e) => return e,
            }
        }
    };
    match bad {
        Bad::Param(key, value) => s.set_param(key, Some(value)).unwrap_err(),
        Bad::Input(kind, text) => refused(s, *kind, text),
        Bad::Both(key, value) => match s.set_param(key, Some(value)) {
            Err(e) => e,
            Ok(()) => {
                let e = refused(s, InputKind::Chat, "Hello");
                s.set_param(key, None).unwrap();
                e
            }
        },
    }
}

#[test]
fn input_that_is_too_large_is_refused() {
    let demo = Demo::new();
    let open = |memory: Option<u64>, fuel: Option<u64>| {
        let mut o = demo.options(&[("n_predict", "8"), ("seed", "1"), ("temp", "0.8")]);
        o.limits.guest_memory_bytes = memory.unwrap_or(o.limits.guest_memory_bytes);
        o.limits.fuel_per_event = fuel.unwrap_or(o.limits.fuel_per_event);
        Session::open(o).unwrap()
    };
    let mut counts = [0; 2];
    for (memory, fuel) in [
        (Some(400 << 10), None),
        (Some(512 << 10), None),
        (Some(1 << 20), None),
        (None, Some(2_000_000)),
    ] {
        let mut undisturbed = open(None, None);
        let mut s = open(memory, fuel);
        let turn = |s: &mut Session, i: usize| -> Shown {
            match i {
                0 => chat(s, "What is the capital of France?"),
                _ => chat(s, "And of Italy?"),
            }
        };
        assert_eq!(turn(&mut s, 0), turn(&mut undisturbed, 0));
        let position = s.position();
        for (i, bad) in bad().iter().enumerate() {
            let e = refuse(&mut s, bad);
            assert!(s.check().is_ok(), "{i}: {e}");
            assert_eq!(e.status(), Status::Limit, "{i}: {e}");
            counts[match e.message() {
                m if m.contains("max_guest_memory_bytes") => 0,
                m if m.contains("fuel_per_event") => 1,
                m => panic!("{i}: {m}"),
            }] += 1;
            assert_eq!(s.position(), position);
        }
        assert_eq!(turn(&mut s, 1), turn(&mut undisturbed, 1));
        s.prompt(InputKind::Reply, b" And").unwrap();
        undisturbed.prompt(InputKind::Reply, b" And").unwrap();
        assert_eq!(finish(&mut s), finish(&mut undisturbed));
    }
    assert!(counts.iter().all(|n| *n > 0), "{counts:?}");
}

/// The session of a guest of ABI 0.2 that does this at an event, what is said of it, and how much memory it had before.
fn at(kind: u32, body: &str) -> (Session, Status, u64) {
    let mut o = options(&at_event(kind, body, "0"));
    o.limits.guest_memory_bytes = 1 << 20;
    o.limits.fuel_per_event = 1_000_000;
    let mut s = Session::open(o).unwrap();
    let there = s.stats().guest_linear_memory_bytes;
    let e = match kind {
        event::PARAMS => s.set_param("a", Some("1")).unwrap_err(),
        event::REWIND => s.rewind(0).unwrap_err(),
        _ => {
            s.prompt(InputKind::Text, b"x").unwrap();
            s.poll(0).unwrap_err()
        }
    };
    (s, e.status(), there)
}

#[test]
fn what_broke_for_want_of_memory_or_fuel_leaves_nothing_behind() {
    // It fills its memory, makes and writes buffers, says something, and then has no more room, or no more fuel.
    let busy = "(i32.store (i32.const 64) (i32.const 7))
        (drop (call $realm_buffer_create (i32.const 0) (i32.const 4) (i32.const 1)))
        (drop (call $realm_publish (i32.const 1) (i32.const 0)))
        (drop (call $realm_progress (i32.const 1) (i32.const 2)))
        (drop (call $realm_emit (i32.const -1) (i32.const 64) (i32.const 1)))";
    let full =
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    for kind in [event::PROMPT, event::REWIND, event::PARAMS] {
        for end in [full, "(loop $l (br $l))"] {
            let (s, status, there) = at(kind, &format!("{busy} {end}"));
            assert_eq!((status, s.check()), (Status::Limit, Ok(())));
            let host = s.instance.host();
            assert_eq!(s.instance.memory().get(64), Some(&0));
            assert_eq!(s.stats().guest_linear_memory_bytes, there);
            assert_eq!(s.stats().buffer_bytes, 0);
            assert_eq!((host.progress, host.compute.published), ((0, 0), None));
            assert!(host.outbox.is_empty() && host.params.get("a").is_none());
        }
        // One that breaks for another reason is not to be trusted any more.
        let (s, status, _) = at(kind, "unreachable");
        assert_eq!(status, Status::Guest);
        assert!(s.check().is_err());
    }
    // Also if it has grown before, wherever slices of its fuel ended.
    let grown = "(drop (memory.grow (i32.const 60)))".repeat(3);
    for budget in [0, 20] {
        let body = format!("{grown} unreachable");
        let mut s = Session::open(options(&at_event(event::PROMPT, &body, "0"))).unwrap();
        s.prompt(InputKind::Text, b"x").unwrap();
        let e = loop {
            match s.poll(budget) {
                Ok(e) => assert_eq!(e, Event::Again),
                Err(e) => break e,
            }
        };
        assert_eq!(e.status(), Status::Guest, "{e}");
    }
    // Nor is what it did after a step taken back.
    let mut o = options(&after_a_step(full));
    o.limits.guest_memory_bytes = 1 << 20;
    let mut s = Session::open(o).unwrap();
    s.prompt(InputKind::Text, b"x").unwrap();
    assert_eq!(s.poll(0).unwrap_err().status(), Status::Guest);
    assert!(s.check().is_err());
}

#[test]
fn what_opening_has_no_memory_or_fuel_for_is_a_limit() {
    let full =
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    for (body, status, said) in [
        (full, Status::Limit, "max_guest_memory_bytes"),
        ("(loop $l (br $l))", Status::Limit, "fuel_per_event"),
        ("unreachable", Status::Guest, "trapped"),
    ] {
        let mut o = options(&at_event(event::OPEN, body, "0"));
        o.limits.guest_memory_bytes = 1 << 20;
        o.limits.fuel_per_event = 1_000_000;
        let e = Session::open(o).err().unwrap();
        assert!(e.message().contains(said), "{e}");
        assert_eq!(e.status(), status, "{e}");
    }
    let demo = Demo::new();
    let mut o = demo.options(&[]);
    o.limits.fuel_per_event = 10_000;
    assert_eq!(Session::open(o).err().unwrap().status(), Status::Limit);
}

/// A guest's memory never shrinks, but what has been replaced makes room for what comes.
#[test]
fn parameters_that_replace_one_another_take_the_memory_of_one() {
    let demo = Demo::new();
    let mut s = demo.open(&[("n_predict", "2")]);
    let held = |s: &Session| s.stats().guest_linear_memory_bytes;
    let mut most = 0;
    for i in 0..20 {
        // Not the same twice, and of different lengths: up to a megabyte.
        let title = "x".repeat(950_000 - 9_000 * i);
        let (key, other, value) = match i % 2 {
            0 => (
                "json_schema",
                "grammar",
                format!("{{\"title\":\"{title}\",\"allOf\":[{}]}}", schema(800 + i)),
            ),
            _ => (
                "grammar",
                "json_schema",
                format!("# {title}\n{}", grammar(800 + i)),
            ),
        };
        s.set_param(other, None).unwrap();
        s.set_param(key, Some(&value)).unwrap();
        if i % 5 == 0 {
            chat(&mut s, "Hello");
            s.rewind(0).unwrap();
        }
        if i < 6 {
            most = held(&s);
        }
    }
    // But for what lies between others, and is too small for the next.
    assert!(held(&s) <= most + most / 4, "{} {most}", held(&s));
    assert!(held(&demo.open(&[])) < most);
}

/// What ends a session in the midst of a turn does not end its fork, from before the turn.
#[test]
fn a_fork_goes_on_where_a_session_ran_out_of_fuel() {
    let demo = Demo::new();
    let open = |fuel: Option<u64>| {
        let mut o = demo.options(&[("n_predict", "8")]);
        o.limits.fuel_per_event = fuel.unwrap_or(o.limits.fuel_per_event);
        Session::open(o).unwrap()
    };
    let (mut s, mut undisturbed) = (open(Some(2_000_000)), open(None));
    let question = "What is the capital of France?";
    assert_eq!(chat(&mut s, question), chat(&mut undisturbed, question));
    let mut fork = s.fork().unwrap();
    // The first token for which all of the vocabulary is gone through, behind a step.
    s.set_param("grammar", Some(r#"root ::= ("Xq" | "Zw")+"#))
        .unwrap();
    s.prompt(InputKind::Chat, b"And of Italy?").unwrap();
    let e = loop {
        match s.poll(0) {
            Ok(event) => assert!(!matches!(event, Event::Done(_)), "{event:?}"),
            Err(e) => break e,
        }
    };
    assert_eq!(e.status(), Status::Guest, "{e}");
    assert!(e.message().contains("fuel_per_event"), "{e}");
    assert!(s.check().is_err() && s.save(&mut |_| Ok(())).is_err());
    drop(s);
    let next = "And of Italy?";
    assert_eq!(chat(&mut fork, next), chat(&mut undisturbed, next));
}

#[test]
fn buffers_and_pages_come_back() {
    let demo = Demo::new();
    let mut s = demo.open(&[("n_predict", "4")]);
    chat(&mut s, &"A long message. ".repeat(10));
    let held = |s: &Session| -> Vec<Vec<u8>> {
        let memory = &s.instance.host().compute.memory;
        let buffers = (0..memory.buffer_descs().len() as u32).map(|i| {
            let mut bytes = vec![0; memory.buffer(i).unwrap().bytes() as usize];
            memory.buffer_read(i, 0, &mut bytes).unwrap();
            bytes
        });
        let pages = (0..memory.group_count()).flat_map(|g| memory.pages(g).0);
        let pages = pages.map(|page| {
            let mut bytes = vec![0; page.bytes() as usize];
            page.read(0, &mut bytes).unwrap();
            bytes
        });
        buffers.chain(pages).collect()
    };
    let (before, position, usage) = (held(&s), s.position(), s.stats().kv_bytes);
    assert!(position > 64);
    let memory = &mut s.instance.host_mut().compute.memory;
    memory.watch();
    for _ in 0..2 {
        memory.buffer_write(0, 0, &[9; 8]).unwrap();
        memory.buffer_write(0, 4, &[8; 4]).unwrap();
        memory.buffer_create(0, 3, 3).unwrap();
    }
    memory.kv_truncate(65).unwrap();
    memory.kv_truncate(3).unwrap();
    memory.undo().unwrap();
    assert!(memory.undo().is_err(), "once");
    assert_eq!(
        (held(&s), s.position(), s.stats().kv_bytes),
        (before, position, usage)
    );
    let mut other = demo.open(&[("n_predict", "4")]);
    chat(&mut other, &"A long message. ".repeat(10));
    assert_eq!(chat(&mut s, "Hello"), chat(&mut other, "Hello"));
}

#[test]
fn a_page_that_a_fork_shares_comes_back_to_both() {
    let demo = Demo::new();
    let mut s = demo.open(&[("n_predict", "4")]);
    chat(&mut s, &"A long message. ".repeat(10));
    let mut fork = s.fork().unwrap();
    let memory = &mut s.instance.host_mut().compute.memory;
    memory.watch();
    memory.kv_truncate(3).unwrap();
    memory.undo().unwrap();
    let mut other = demo.open(&[("n_predict", "4")]);
    chat(&mut other, &"A long message. ".repeat(10));
    let wanted = chat(&mut other, "Hello");
    assert_eq!(chat(&mut fork, "Hello"), wanted);
    assert_eq!(chat(&mut s, "Hello"), wanted);
}

#[test]
fn what_overwrites_much_is_not_kept() {
    let demo = Demo::new();
    let mut s = demo.open(&[]);
    let memory = &mut s.instance.host_mut().compute.memory;
    let buffer = memory.buffer_create(0, 1 << 19, 1).unwrap();
    memory.watch();
    let half = vec![1; 1 << 19];
    for _ in 0..2 {
        memory.buffer_write(buffer, 8, &half).unwrap();
    }
    memory.undo().unwrap();
    let mut bytes = [9; 16];
    memory.buffer_read(buffer, 0, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 16]);
    memory.watch();
    for _ in 0..3 {
        memory.buffer_write(buffer, 8, &half).unwrap();
    }
    assert!(memory.undo().is_err());
}
