//! What schemas take, refuse, and say about it.

use super::to_gbnf;
use crate::grammar::tests::matches;
use crate::json::{self, Kind, Value};
use alloc::format;
use alloc::string::String;

/// A schema takes these texts, which are JSON, and not those.
#[allow(dead_code)]
fn check(schema: &str, yes: &[&str], no: &[&str]) {
    let grammar = to_gbnf(schema).unwrap_or_else(|e| panic!("{schema}: {e:?}"));
    for (texts, expected) in [(yes, true), (no, false)] {
        for text in texts {
            let found = matches(&grammar, text.as_bytes());
            assert_eq!(found, Ok(expected), "{schema} {text}\n{grammar}");
        }
    }
    for text in yes {
        assert!(json::parse(text).is_ok(), "{schema} {text}");
    }
}

fn refused(schema: &str, what: &str) {
    match to_gbnf(schema) {
        Ok(grammar) => panic!("{schema} is taken:\n{grammar}"),
        Err(e) => assert!(e.what.contains(what), "{schema}: {}", e.what),
    }
}

fn written(text: &str) -> String {
    let mut out = String::new();
    json::write_text(text, &mut out);
    out
}

/// A pattern takes these texts, as JSON writes them, and not those.
fn pattern(pattern: &str, yes: &[&str], no: &[&str]) {
    let schema = format!("{{\"type\":\"string\",\"pattern\":{}}}", written(pattern));
    let grammar = to_gbnf(&schema).unwrap_or_else(|e| panic!("{pattern}: {e:?}"));
    for (texts, expected) in [(yes, true), (no, false)] {
        for text in texts {
            let text = written(text);
            let found = matches(&grammar, text.as_bytes());
            assert_eq!(found, Ok(expected), "{pattern} {text}\n{grammar}");
        }
    }
}

/// The first characters, twice between quotes: what a rule takes is JSON of that character.
#[test]
fn what_a_pattern_takes_is_json() {
    for (class, has) in [
        (r"[\x00-\x1f]", (|c| c < ' ') as fn(char) -> bool),
        (".", |c| c != '\n' && c != '\r'),
        (r"[^a-z]", |c| !c.is_ascii_lowercase()),
        (r"[\s\S]", |_| true),
        (r"[\\]", |c| c == '\\'),
        (r#"["]"#, |c| c == '"'),
        (r"\S", |c| !c.is_whitespace() || c == '\u{85}'),
        (r"\D", |c| !c.is_ascii_digit()),
        (r"[^\W_]", |c| c.is_ascii_alphanumeric()),
    ] {
        let schema = format!("{{\"pattern\":{}}}", written(&format!("^{class}{{2}}$")));
        let grammar = to_gbnf(&schema).unwrap();
        for c in ('\0'..'\u{A3}').chain(['é', '\u{1F535}']) {
            let text = written(&format!("{c}{c}"));
            let found = matches(&grammar, text.as_bytes());
            assert_eq!(found, Ok(has(c)), "{class} {text}\n{grammar}");
            let raw = format!("\"{c}{c}\"");
            if c < ' ' || c == '"' || c == '\\' {
                assert_eq!(
                    matches(&grammar, raw.as_bytes()),
                    Ok(false),
                    "{class} {raw}"
                );
            }
            if let Ok(Value {
                kind: Kind::Text(text),
                ..
            }) = json::parse(&text)
            {
                assert_eq!(text, format!("{c}{c}"));
            }
        }
    }
}

#[test]
fn patterns_match() {
    for (text, yes, no) in [
        ("^a\"b$", &["a\"b"][..], &["ab", "a\\b"][..]),
        ("^\\n$", &["\n"], &["n", "\\n"]),
        ("^\n$", &["\n"], &["n"]),
        ("^\\t+$", &["\t", "\t\t"], &["", "t"]),
        ("^a\\\\b$", &["a\\b"], &["ab", "a\\\\b"]),
        (r"^\\{2}$", &["\\\\"], &["\\"]),
        (r"^\d{3}$", &["123"], &["12", "1234", "abc"]),
        (r"^\w+$", &["a_9"], &["", "a b", "é"]),
        (r"^\s\S$", &[" x", "\tx", "\u{a0}x"], &["x ", "xx"]),
        (r"^[\d]$", &["1"], &["d", "\\"]),
        (r"^[A-Z]{2}\/\d+$", &["AB/12"], &["AB12", "AB\\/1"]),
        (
            r"^[\w.-]+@[\w-]+\.[a-z]{2,}$",
            &["a.b-c@d-e.org"],
            &["a@b", "a b@c.de"],
        ),
        (r"^[\w-z]$", &["-", "z", "a"], &["!"]),
        (r"^[a-\d]$", &["-", "a", "1"], &["b"]),
        (r"^[\]^[-]+$", &["]^[-"], &["a"]),
        (r"^[^^]$", &["a", "]"], &["^"]),
        (r"^[\b]$", &["\u{8}"], &["b"]),
        (r"^[^\d\s]$", &["a", "é"], &["1", " "]),
        (r"^x{3}?$", &["xxx"], &["xx"]),
        (r"^x+?y*?z??$", &["x", "xxyyz"], &["y"]),
        (r"^(?<year>\d{4})-(?P<m>\d\d)$", &["2024-01"], &["2024"]),
        (r"^a$|^b$", &["a", "b"], &["ab", "c"]),
        (r"^(a|)$", &["a", ""], &["b"]),
        (r"^\u00e9\x41\u{1F535}\ud83d\udd35$", &["éA🔵🔵"], &["é"]),
        (r"^\.\-\$\^\_\@\é$", &[".-$^_@é"], &["x"]),
        (r"^$", &[""], &["x"]),
        (r"^é{2}$", &["éé"], &["é"]),
        // Not anchored at both ends: not enforced.
        (r"^a\$", &["b"], &[]),
        (r"^a", &["b"], &[]),
        (r"\ba\b", &["b"], &[]),
    ] {
        pattern(text, yes, no);
    }
}

#[test]
fn patterns_are_refused_by_what_they_have() {
    for (text, what) in [
        (
            "^(?=a)a$",
            "the pattern ^(?=a)a$ has '(?=', which is not known",
        ),
        ("^(?<!a)b$", "'(?<!', which is not known"),
        ("^(?i)a$", "'(?i', which is not known"),
        (r"^a\b$", "'\\b', which is not known"),
        (r"^(a)\1$", "'\\1', which is not known"),
        (r"^\p{L}$", "'\\p', which is not known"),
        ("^[[:alpha:]]$", "'[:', a named class"),
        (r"^[\B]$", "'\\B'"),
        ("^a*+$", "'+' behind a repetition"),
        ("^*$", "nothing to repeat before '*'"),
        ("^a|*$", "nothing to repeat before '*'"),
        ("^a{x}$", "write \\{"),
        ("^a{3,2}$", "numbers descend"),
        ("^a^b$", "a '^' that is at no end"),
        ("^(a$)$", "a '$' that is at no end"),
        ("^[]$", "with none in it"),
        ("^[b-a]$", "descends"),
        ("^[a$", "does not end"),
        (r"^[^\s\S]$", "no character is in"),
        (r"^\ud800$", "half of a surrogate pair"),
        (r"^\x4$", "without 2 hexadecimal digits"),
        ("^(a$", "unbalanced parentheses"),
        ("^a)$", "unbalanced parentheses"),
    ] {
        refused(&format!("{{\"pattern\":{}}}", written(text)), what);
    }
    let open = "(".repeat(101);
    refused(
        &format!("{{\"pattern\":\"^{open}$\"}}"),
        "more than 100 groups",
    );
}
