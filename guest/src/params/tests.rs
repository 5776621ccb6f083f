//! Values that are taken and refused, and what is said of them; and whether the documents know all.

use super::names::NAMES;
use super::*;
use crate::abi::{Fail, status};
use crate::fake::{Host, host};

#[test]
fn values_are_read_and_refused() {
    let mut p = Params::default();
    for (key, value) in [
        ("temp", "0.8"),
        ("top_k", "-1"),
        ("seed", "4294967295"),
        ("logit_bias", "5:-inf, 7:+1.5"),
        ("stop", "a\\nb\n\n</s>"),
        ("chat_template", "chatml"),
        ("kv_type", "q8_0"),
        ("ignore_eos", "1"),
        ("samplers", "top_p; temperature"),
        ("dry_sequence_breakers", "\\n\n###"),
    ] {
        assert_eq!(p.set(key, value), Ok(()), "{key}");
    }
    assert_eq!(
        (p.sampling.temp, p.sampling.top_k, p.seed),
        (0.8, 0, u32::MAX)
    );
    assert_eq!(p.logit_bias, [(5, f32::NEG_INFINITY), (7, 1.5)]);
    assert_eq!(p.stop, ["a\nb", "</s>"]);
    assert_eq!(p.sampling.samplers, [Step::TopP, Step::Temperature]);
    assert_eq!(p.dry.breakers, [&b"\n"[..], b"###"]);
    for (key, value) in [
        ("temp", "hot"),
        ("temp", "-1"),
        ("temp", "inf"),
        ("n_predict", "1.5"),
        ("n_predict", ""),
        ("logit_bias", "5"),
        ("logit_bias", "x:1"),
        ("chat_template", "foo"),
        ("tmep", "1"),
        ("samplers", "top_k;nonsense"),
        ("samplers", "top_k;top_k"),
        ("mirostat", "3"),
        ("dry_allowed_length", "0"),
        ("min_p", "-1"),
        ("top_p", "2"),
        ("typical_p", "1.01"),
        ("xtc_probability", "-0.1"),
        ("dry_multiplier", "-1"),
        ("mirostat_eta", "-1"),
        ("logit_bias", "5:inf"),
        ("logit_bias", "5:nan"),
        ("logit_bias", "5:1;6:1"),
        ("logit_bias", "-5:1"),
        ("stop", "\n"),
        ("stop", "\n\n"),
    ] {
        assert_eq!(
            p.set(key, value),
            Err(Fail(status::INVALID_ARGUMENT)),
            "{key} {value}"
        );
    }
}

/// The names in the table of `README.md`, with what is said of each.
fn documented() -> Vec<(&'static str, &'static str)> {
    let text = include_str!("../../README.md");
    let (_, table) = text.split_once("## Parameters").unwrap();
    let (table, _) = table.split_once("Samplers run").unwrap();
    let row = |line: &'static str| line.strip_prefix("| `")?.split_once("` | ");
    table.lines().filter_map(row).collect()
}

#[test]
fn what_is_known_is_what_is_documented() {
    let names: Vec<_> = documented().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, NAMES);
    for name in NAMES {
        host(|h| *h = Host::tiny("llama"));
        let _ = Params::default().set(name, "no value \u{0}");
        assert!(!host(|h| h.message.contains("unknown parameter")), "{name}");
    }
}

fn message(key: &str, value: &str) -> String {
    host(|h| *h = Host::tiny("llama"));
    assert!(Params::default().set(key, value).is_err(), "{key} {value}");
    host(|h| h.message.clone())
}

#[test]
fn refusals_say_what_would_do() {
    let long = "9".repeat(1000);
    for (key, value, said) in [
        (
            "tmep",
            "1",
            "unknown parameter 'tmep'; did you mean 'temp'?",
        ),
        (
            "Temperature",
            "1",
            "unknown parameter 'Temperature'; did you mean 'temp'?",
        ),
        (
            "TOP_K",
            "1",
            "unknown parameter 'TOP_K'; did you mean 'top_k'?",
        ),
        (
            "top-k",
            "1",
            "unknown parameter 'top-k'; did you mean 'top_k'?",
        ),
        (
            "temperature",
            "1",
            "unknown parameter 'temperature'; did you mean 'temp'?",
        ),
        (
            "max_new_tokens",
            "1",
            "unknown parameter 'max_new_tokens'; guest/README.md has a table of them",
        ),
        (
            "npredict",
            "1",
            "unknown parameter 'npredict'; did you mean 'n_predict'?",
        ),
        (
            "repeatpenalty",
            "1",
            "unknown parameter 'repeatpenalty'; did you mean 'repeat_penalty'?",
        ),
        (
            "min_p",
            "-1",
            "parameter min_p is '-1', expected a number from 0 to 1",
        ),
        (
            "temp",
            "-0.5",
            "parameter temp is '-0.5', expected a number from 0",
        ),
        (
            "n_predict",
            "x",
            "parameter n_predict is 'x', expected an integer from -1 to 2147483647",
        ),
        (
            "kv_type",
            "q4",
            "parameter kv_type is 'q4', expected auto, f32, f16 or q8_0",
        ),
    ] {
        assert_eq!(message(key, value), said);
    }
    let said = message("top_p", &long);
    assert!(
        said.ends_with("9', expected a number from 0 to 1") && said.len() < 120,
        "{said}"
    );
    assert!(message("stop", "\n").ends_with("is written \\n"));
    assert_eq!(
        message("chat_template", "a {# b"),
        "parameter chat_template, line 1, column 3: expected '#}' to end this comment"
    );
    assert_eq!(
        message("tools", "[\n{\"a\" 1}]"),
        "parameter tools, line 2, column 6: JSON: expected ':', found '1'"
    );
    assert!(message("tools", "\u{feff}[]").contains("byte order mark"));
    assert!(message("logit_bias", "1:inf").contains("or -inf"));
    // Nothing is near to what is far from everything.
    assert!(message("", "1").contains("''") && !message("zzzzzzzz", "1").contains("did you mean"));
}
