//! The final libraries have the standard library to themselves (feature `own-std`): a panic inside prints nothing and says where it
//! was, and one that is not the library's goes to whatever hook there was.
//!
//! It runs itself again, to see what is printed.
#![allow(clippy::result_large_err, reason = "errors carry their text")]

use realm_sys::panics::{caught, slot, tasks};
use std::process::{Command, Output};

fn again(what: &str) -> Output {
    let me = std::env::current_exe().expect("a path");
    let mut command = Command::new(me);
    command
        .env("REALM_QUIET_TEST", what)
        .env("RUST_BACKTRACE", "1");
    command.output().expect("it starts")
}

fn inside() {
    for _ in 0..3 {
        let e = caught::<()>(|| panic!("first")).expect_err("a panic");
        let text = e.message();
        assert!(text.starts_with("a bug in the library: first ("), "{text}");
        assert!(text.contains("quiet.rs:"), "{text}");
        // On another thread, which says its place to this one.
        let body = |_: u32| panic!("second");
        let run = |task: &(dyn Fn(u32) + Sync)| {
            std::thread::scope(|s| {
                s.spawn(|| task(0));
            });
        };
        let e = caught(|| {
            tasks(&body, run);
            Ok(())
        });
        let e = e.expect_err("a panic");
        let text = e.message();
        assert!(
            text.contains("second (") && text.contains("quiet.rs:"),
            "{text}"
        );
        assert_eq!(slot(|| panic!("third")), -14);
    }
}

fn main() {
    match std::env::var("REALM_QUIET_TEST").as_deref() {
        Ok("inside") => inside(),
        // After a call, the hook is there.
        Ok("outside") => {
            inside();
            let _ = std::panic::catch_unwind(|| panic!("not the library's"));
        }
        Ok("own") => {
            inside();
            std::panic::set_hook(Box::new(|_| eprintln!("the host's own hook")));
            let _ = caught::<()>(|| panic!("again"));
        }
        _ => {
            for (what, said) in [
                ("inside", ""),
                ("outside", "not the library's"),
                ("own", "the host's own hook"),
            ] {
                let output = again(what);
                let text = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{what}: {text}");
                assert!(text.contains(said), "{what}: {text}");
                let lines = text
                    .lines()
                    .filter(|l| l.contains("first") || l.contains("second"));
                assert_eq!(lines.count(), 0, "{what}: {text}");
                assert!(!said.is_empty() || text.is_empty(), "{what}: {text}");
            }
            println!("panics of the library are quiet");
        }
    }
}
