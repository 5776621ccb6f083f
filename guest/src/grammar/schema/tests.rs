//! What schemas take, refuse, and say about it.

use super::to_gbnf;
use crate::grammar::tests::matches;
use crate::json::{self, Kind, Value};
use alloc::format;
use alloc::string::String;

/// A schema takes these texts, which are JSON, and not those.
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
        (
            r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$",
            &["1", "+00.50", "-.5", "5.", "0"],
            &["", "+", ".", "-.", "1.2.3", "a"],
        ),
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

#[test]
fn all_of_is_what_its_members_are() {
    let defs = r##""$defs":{"i":{"type":"integer"},"o":{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"null"}},"required":["a"]},"e":{"enum":["x","y"]},"n":{"properties":{"next":{"allOf":[{"$ref":"#/$defs/n"}]}}}}"##;
    for (schema, yes, no) in [
        (
            r##""allOf":[{"type":"integer"}]"##,
            &["1"][..],
            &["{}", "true"][..],
        ),
        (
            r##""allOf":[{"$ref":"#/$defs/i"}],"title":"t""##,
            &["-7"],
            &["{}"],
        ),
        (
            r##""allOf":[{"$ref":"#/$defs/o"}]"##,
            &[r#"{"a":1}"#, r#"{"a":1,"b":null}"#],
            &["{}"],
        ),
        (
            r##""allOf":[{"$ref":"#/$defs/n"}]"##,
            &["{}", r#"{"next":{"next":{}}}"#],
            &["1"],
        ),
        (
            r##""allOf":[{"type":"integer"},{"type":"integer"},{"$ref":"#/$defs/i"},true,{"title":"x"}]"##,
            &["1"],
            &["{}"],
        ),
        (
            r##""allOf":[{"allOf":[{"type":"boolean"}]}]"##,
            &["true"],
            &["1"],
        ),
        (
            r##""allOf":[{"anyOf":[{"type":"boolean"},{"type":"null"}]}]"##,
            &["true", "null"],
            &["{}"],
        ),
        (
            r##""type":"string","allOf":[{"pattern":"^a$"}]"##,
            &["\"a\""],
            &["\"b\""],
        ),
        (
            r##""type":"string","allOf":[{"title":"x"}]"##,
            &["\"b\""],
            &["1"],
        ),
        (
            r##""type":"object","allOf":[{"if":{}}]"##,
            &["{}", r#"{"x":[]}"#],
            &["1"],
        ),
        (
            r##""allOf":[{"$ref":"#/$defs/e"},{"const":"x"}]"##,
            &["\"x\""],
            &["\"y\""],
        ),
        (
            r##""properties":{"c":{"type":"null"}},"required":["c"],"allOf":[{"properties":{"d":{"type":"null"}}}]"##,
            &[r#"{"c":null,"d":null}"#],
            &["{}", r#"{"c":null}"#],
        ),
        (
            r##""allOf":[{"$ref":"#/$defs/o"},{"properties":{"a":true,"z":{"type":"null"}}}]"##,
            &[r#"{"a":1,"b":null,"z":null}"#],
            &[r#"{"a":[],"b":null,"z":null}"#],
        ),
        (
            r##""type":"object","allOf":[{"required":["q"]}]"##,
            &[r#"{"q":[1]}"#],
            &["{}"],
        ),
    ] {
        check(&format!("{{{schema},{defs}}}"), yes, no);
    }
    for (schema, what) in [
        (
            r##"{"allOf":[{"type":"integer"},{"type":"string"}]}"##,
            "all objects, all enumerations, or equal",
        ),
        (
            r##"{"allOf":[{"minLength":2},{"maxLength":3}]}"##,
            "or equal",
        ),
        (
            r##"{"allOf":[{"type":"integer"},{"properties":{}}]}"##,
            "or equal",
        ),
        (
            r##"{"allOf":[{"enum":[1]},{"enum":[2]}]}"##,
            "share no value",
        ),
        (
            r##"{"properties":{"a":{}},"allOf":[{"type":"integer"}]}"##,
            "beside properties",
        ),
        (
            r##"{"allOf":[{"properties":{"a":{"type":"null"}}},{"properties":{"a":{"type":"boolean"}}}]}"##,
            "no other schema of 'a'",
        ),
        (r##"{"allOf":[false]}"##, "schema false"),
        (r##"{"allOf":[{"$ref":"#/allOf/0"}]}"##, "ends somewhere"),
    ] {
        refused(schema, what);
    }
}

#[test]
fn references_are_json_pointers() {
    check(
        r##"{"type":"object","properties":{"v":{"type":"integer"},"next":{"$ref":"#"}},"required":["v"]}"##,
        &[r#"{"v":1}"#, r#"{"v":1,"next":{"v":2,"next":{"v":3}}}"#],
        &[r#"{"v":1,"next":{}}"#, r#"{"v":1,"next":2}"#],
    );
    // All of the schema, and not what a part of it is.
    check(
        r##"{"anyOf":[{"type":"null"},{"type":"array","items":{"$ref":"#"}},{"allOf":[{"properties":{"a":{"$ref":"#"}}},{"required":["a"]}]}]}"##,
        &["null", "[null,[]]", r#"{"a":[{"a":null}]}"#],
        &["1", "[1]", r#"{"a":{}}"#, "{}"],
    );
    check(
        r##"{"allOf":[{"properties":{"a":{"anyOf":[{"$ref":"#"},{"type":"null"}]}}},{"properties":{"b":{"type":"null"}},"required":["b"]}]}"##,
        &[
            r#"{"a":null,"b":null}"#,
            r#"{"a":{"a":null,"b":null},"b":null}"#,
        ],
        &[r#"{"a":{"a":1}}"#],
    );
    for (name, pointer) in [
        ("a/b", "a~1b"),
        ("a~b", "a~0b"),
        ("a~1b", "a~01b"),
        ("a b", "a%20b"),
        ("a b", "a b"),
        ("a/b", "a%7e1b"),
        ("é%", "%C3%a9%25"),
        ("100%", "100%"),
        ("%+1", "%+1"),
        ("", ""),
    ] {
        check(
            &format!(
                "{{\"definitions\":{{\"no\":false,{}:{{\"type\":\"null\"}}}},\"items\":{{\"$ref\":{}}}}}",
                written(name),
                written(&format!("#/definitions/{pointer}"))
            ),
            &["[null]"],
            &["[1]"],
        );
    }
    refused(r##"{"$ref":"#/a~1b"}"##, "there is no 'a/b'");
    refused(r##"{"$ref":"#/%FF"}"##, "expected UTF-8");
    // Rules have letters, digits and -, and so these would all have one name; two of them lead to themselves.
    let node = |of: &str, name: &str| {
        let next = format!(r##"{{"$ref":"#/$defs/{name}"}}"##);
        format!(r#"{{"anyOf":[{of},{{"type":"array","items":{next}}}]}}"#)
    };
    check(
        &format!(
            r##"{{"$defs":{{"a_b":{},"a-b":{},"a.b":{{"const":"c"}}}},"properties":{{"ref":{{"$ref":"#/$defs/a_b"}},"y":{{"$ref":"#/$defs/a-b"}},"z":{{"$ref":"#/$defs/a.b"}},"w":{{"$ref":"#/$defs/a_b"}}}},"required":["ref","y","z","w"]}}"##,
            node(r##"{"const":1},{"items":{"$ref":"#/$defs/a-b"}}"##, "a_b"),
            node(r#"{"const":2}"#, "a-b"),
        ),
        &[
            r#"{"ref":[1],"y":[2,[2]],"z":"c","w":[[1]]}"#,
            r#"{"ref":[2],"y":2,"z":"c","w":1}"#,
        ],
        &[
            r#"{"ref":[1],"y":[1],"z":"c","w":1}"#,
            r#"{"ref":2,"y":2,"z":"c","w":1}"#,
        ],
    );
    for reference in ["", "a", "#a", "https://example.org/#/a"] {
        let schema = format!(r#"{{"items":{{"$ref":"{reference}"}}}}"#);
        refused(&schema, "expected a $ref that is # or begins with #/");
    }
}

#[test]
fn counts_are_whole_however_they_are_written() {
    for two in ["2", "2.0", "2.000", "2e0", "0.2e1", "20e-1"] {
        let schema = format!(r#"{{"type":"string","minLength":{two},"maxLength":{two}}}"#);
        check(&schema, &[r#""ab""#], &[r#""a""#, r#""abc""#]);
        let schema = format!(r#"{{"items":{{"const":1}},"minItems":0.0,"maxItems":{two}}}"#);
        check(&schema, &["[]", "[1,1]"], &["[1,1,1]"]);
    }
    for count in ["2.5", "-1.0", "25e-1", "1e10", "1e99999", "1e-9"] {
        let schema = format!(r#"{{"type":"string","maxLength":{count}}}"#);
        refused(&schema, "expected maxLength to be an integer from 0");
    }
}

#[test]
fn what_is_required_is_there() {
    check(
        r#"{"type":"object","required":["a","b"]}"#,
        &[r#"{"a":1,"b":[]}"#, r#"{"a":1,"b":[],"c":0}"#],
        &["{}", r#"{"a":1}"#, r#"{"c":1}"#],
    );
    check(
        r#"{"properties":{"a":{"type":"null"}},"required":["x"]}"#,
        &[r#"{"x":{}}"#, r#"{"x":1,"a":null}"#],
        &["{}", r#"{"a":null}"#],
    );
    check(
        r#"{"properties":{"a":{"type":"null"}},"required":["x","x"],"additionalProperties":{"type":"integer"}}"#,
        &[r#"{"x":1}"#, r#"{"x":1,"a":null,"y":2}"#],
        &["{}", r#"{"x":null}"#],
    );
    refused(
        r#"{"properties":{"a":{}},"required":["x"],"additionalProperties":false}"#,
        "'x' is required, is not in properties",
    );
}

#[test]
fn schemas_may_be_true_or_false() {
    check("true", &["1", "{}", "[null]"], &["x"]);
    refused("false", "nothing fits the schema false");
    refused("1", "an object, true or false");
    check(
        r#"{"properties":{"a":true,"b":false},"required":["a"],"additionalProperties":{"type":"null"}}"#,
        &[r#"{"a":[]}"#, r#"{"a":1,"c":null}"#],
        &["{}", r#"{"a":1,"b":null}"#],
    );
    refused(
        r#"{"properties":{"b":false},"required":["b"]}"#,
        "'b' is required, and is false",
    );
    check(r#"{"anyOf":[false,{"type":"null"}]}"#, &["null"], &["1"]);
    refused(r#"{"anyOf":[false,false]}"#, "every alternative is false");
    check(
        r#"{"type":"array","items":true}"#,
        &["[]", "[1,{}]"],
        &["1"],
    );
    check(r#"{"type":"array","items":false}"#, &["[]"], &["[1]"]);
    refused(
        r#"{"type":"array","items":false,"minItems":1}"#,
        "schema false",
    );
    check(
        r#"{"type":"array","prefixItems":[{"type":"null"},true],"items":false}"#,
        &["[null,1]"],
        &["[]", "[1,1]", "[null,1,2]"],
    );
}

#[test]
fn integers_have_bounds_of_64_bits() {
    for (schema, yes, no) in [
        (
            r#""minimum":1600000000000000000"#,
            &[
                "1600000000000000000",
                "1999999999999999999",
                "9223372036854775807",
            ][..],
            &[
                "1599999999999999999",
                "9",
                "16",
                "-1600000000000000000",
                "9223372036854775808",
            ][..],
        ),
        (
            r#""maximum":-1600000000000000000"#,
            &["-1600000000000000000", "-9223372036854775807"],
            &["-1599999999999999999", "1600000000000000000", "-2", "0"],
        ),
        (
            r#""minimum":-9223372036854775808"#,
            &["-9223372036854775808", "-1", "0", "1234567890123456"],
            &["-9223372036854775809", "00"],
        ),
        (
            r#""minimum":-1600000000000000000,"maximum":1600000000000000000"#,
            &["-1600000000000000000", "0", "1600000000000000000", "-7"],
            &["-1600000000000000001", "1600000000000000001"],
        ),
        (
            r#""exclusiveMinimum":9223372036854775807"#,
            &["9223372036854775808", "18446744073709551615"],
            &["9223372036854775807", "18446744073709551616"],
        ),
        (
            r#""minimum":1000000000000000"#,
            &["1000000000000000", "2345678901234567"],
            &["999999999999999", "0"],
        ),
        (
            r#""minimum":999999999999999"#,
            &["999999999999999", "1000000000000000", "9999999999999999"],
            &["999999999999998", "1"],
        ),
        (r#""minimum":5,"maximum":1e30"#, &["5", "12"], &["4", "-5"]),
        (
            r#""maximum":-5"#,
            &["-5", "-9", "-10", "-123"],
            &["-4", "-05", "-012", "-0", "5"],
        ),
    ] {
        check(&format!("{{\"type\":\"integer\",{schema}}}"), yes, no);
    }
    refused(
        r#"{"type":"integer","minimum":1e20}"#,
        "that integers of 64 bits reach",
    );
    refused(r#"{"type":"integer","maximum":-1e50}"#, "64 bits");
}

#[test]
fn other_names_are_json_and_none_of_those_that_are_known() {
    let schema = r#"{"properties":{"ab":{"type":"null"},"a-z]":true,"q\"r":true,"^":true},"additionalProperties":{"type":"integer"}}"#;
    check(
        schema,
        &[
            r#"{"ab":null}"#,
            r#"{"abc":1}"#,
            r#"{"a-z]x":1}"#,
            r#"{"a-y":1}"#,
            r#"{"b\"c":1}"#,
            r#"{"]":1}"#,
            r#"{"z^":1}"#,
            r#"{"^":"anything"}"#,
            r#"{"q\"r":[]}"#,
        ],
        &[
            r#"{"ab":1}"#,
            r#"{"\":1}"#,
            r#"{"\q":1}"#,
            r#"{"a\x":1}"#,
            "{\"a\n\":1}",
            r#"{"a"b":1}"#,
        ],
    );
    check(
        r#"{"properties":{"\"":true},"additionalProperties":{"type":"integer"}}"#,
        &[r#"{"a":1}"#, r#"{"":1}"#],
        &[r#"{"a":"x"}"#],
    );
}

#[test]
fn what_is_beside_references_and_alternatives_is_enforced_of_objects() {
    // One of two must be there.
    check(
        r#"{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"null"}},"anyOf":[{"required":["a"]},{"required":["b"]}]}"#,
        &[r#"{"a":1}"#, r#"{"b":null}"#, r#"{"a":1,"b":null}"#],
        &["{}", "1", r#"{"a":null}"#, r#"{"a":1,"c":1}"#],
    );
    // What all have, and what each has.
    check(
        r#"{"properties":{"kind":{"type":"string"}},"required":["kind"],"oneOf":[{"properties":{"x":{"type":"integer"}},"required":["x"]},false,{"properties":{"y":{"type":"null"}}}]}"#,
        &[
            r#"{"kind":"k","x":1}"#,
            r#"{"kind":"k","y":null}"#,
            r#"{"kind":"k"}"#,
        ],
        &[
            r#"{"x":1}"#,
            r#"{"kind":1,"x":1}"#,
            r#"{"kind":"k","x":1,"y":null}"#,
        ],
    );
    // A reference, with more than it says.
    let defs = r##""$defs":{"o":{"properties":{"a":{"type":"integer"}}},"n":{"type":"null"}}"##;
    check(
        &format!(r##"{{{defs},"$ref":"#/$defs/o","properties":{{"b":true}},"required":["a"]}}"##),
        &[r#"{"a":1,"b":[]}"#, r#"{"a":1}"#],
        &[r#"{"b":1}"#, "{}", "null"],
    );
    // What is no object is as before.
    check(
        &format!(r##"{{{defs},"$ref":"#/$defs/n","properties":{{"b":true}}}}"##),
        &["null"],
        &["{}"],
    );
    for (schema, what) in [
        (
            r#"{"required":["a"],"anyOf":[false]}"#,
            "every alternative is false",
        ),
        (
            r#"{"required":["a"],"anyOf":[{"properties":{},"additionalProperties":false}]}"#,
            "'a' is required",
        ),
        (
            r#"{"properties":{"a":true},"required":["a"],"oneOf":[{"properties":{"a":false}}]}"#,
            "'a' is required, and is false",
        ),
    ] {
        refused(schema, what);
    }
}

#[test]
fn unions_are_told_apart_by_a_property_beside_them() {
    let (circle, square) = (
        r#""properties":{"kind":{"const":"circle"},"r":{"type":"number"}},"required":["kind","r"]"#,
        r#""properties":{"kind":{"enum":["square"]},"side":{"type":"number"}},"required":["kind","side"]"#,
    );
    let yes = [
        r#"{"kind":"circle","r":1.5}"#,
        r#"{"kind":"square","side":2}"#,
    ];
    let no = [
        r#"{"kind":"circle","side":2}"#,
        r#"{"kind":"round","r":1}"#,
        r#"{"r":1}"#,
        r#"{"kind":"square"}"#,
    ];
    // As generators of OpenAPI write it: whatever the property is beside the alternatives, each has its own.
    let defs =
        r#""$defs":{"kind":{"type":"string","title":"Kind"},"e":{"enum":["circle","square"]}}"#;
    for kind in [
        r#"{"type":"string"}"#,
        r#"{"type":"string","description":"d"}"#,
        r#"{"enum":["circle","square","line"]}"#,
        r#"{"type":["string","null"]}"#,
        r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#,
        r##"{"$ref":"#/$defs/kind"}"##,
        r##"{"$ref":"#/$defs/e"}"##,
        r#"{}"#,
        "true",
        r#"{"type":"string","pattern":"^[a-z]+$"}"#,
        // No value is both: what the alternative says counts.
        r#"{"type":"integer"}"#,
        r#"{"enum":["line"]}"#,
    ] {
        let schema = format!(
            r#"{{"type":"object","properties":{{"kind":{kind}}},"required":["kind"],"oneOf":[{{{circle}}},{{{square}}}],{defs}}}"#
        );
        check(&schema, &yes, &no);
    }
    // As pydantic writes it, in a property that may be null.
    let schema = format!(
        r##"{{"$defs":{{"C":{{"type":"object",{circle}}},"S":{{"type":"object",{square}}}}},
            "type":"object","properties":{{"shape":{{"anyOf":[{{"oneOf":[{{"$ref":"#/$defs/C"}},{{"$ref":"#/$defs/S"}}],
                "discriminator":{{"propertyName":"kind","mapping":{{"circle":"#/$defs/C","square":"#/$defs/S"}}}}}},
                {{"type":"null"}}],"default":null,"title":"Shape"}}}}}}"##
    );
    check(
        &schema,
        &[
            r#"{"shape":null}"#,
            r#"{"shape":{"kind":"circle","r":1}}"#,
            r#"{"shape":{"kind":"square","side":1}}"#,
            "{}",
        ],
        &[r#"{"shape":1}"#, r#"{"shape":{"kind":"square","r":1}}"#],
    );
    // A union of references, with what all have beside it.
    let schema = format!(
        r##"{{"$defs":{{"C":{{{circle}}},"S":{{{square}}}}},"type":"object","properties":{{"kind":{{"type":"string"}}}},"required":["kind"],
            "oneOf":[{{"$ref":"#/$defs/C"}},{{"$ref":"#/$defs/S"}}],"discriminator":{{"propertyName":"kind"}}}}"##
    );
    check(&schema, &yes, &no);
}

#[test]
fn of_two_schemas_of_a_property_the_narrower_counts() {
    for (beside, own, yes, no) in [
        (r#"{"type":"number"}"#, r#"{"type":"integer"}"#, "1", "1.5"),
        (r#"{"type":"integer"}"#, r#"{"type":"number"}"#, "1", "1.5"),
        (
            r#"{"type":"string","maxLength":2}"#,
            r#"{"type":"string"}"#,
            "\"ab\"",
            "\"abc\"",
        ),
        (
            r#"{"type":"string"}"#,
            r#"{"type":"string","maxLength":2}"#,
            "\"ab\"",
            "\"abc\"",
        ),
        (
            r#"{"const":1}"#,
            r#"{"type":["integer","null"]}"#,
            "1",
            "null",
        ),
        (r#"{"enum":[1,2,3]}"#, r#"{"enum":[3,1]}"#, "3", "2"),
        (r#"{"enum":[1,2]}"#, r#"{"enum":[2,3]}"#, "3", "1"),
        (
            r#"{"type":"array"}"#,
            r#"{"type":"array","items":{"type":"null"}}"#,
            "[null]",
            "[1]",
        ),
        (
            r#"{"properties":{"x":{"type":"null"}}}"#,
            r#"{"type":"object"}"#,
            r#"{"x":null}"#,
            r#"{"x":1}"#,
        ),
        (
            r#"{"properties":{"x":{"type":"null"}}}"#,
            r#"{"properties":{"x":{"type":"integer"}}}"#,
            r#"{"x":1}"#,
            r#"{"x":null}"#,
        ),
    ] {
        let [yes, no] = [yes, no].map(|value| format!("{{\"a\":{value}}}"));
        let schema = format!(
            r#"{{"properties":{{"a":{beside}}},"required":["a"],"anyOf":[{{"properties":{{"a":{own}}}}}]}}"#
        );
        check(&schema, &[&yes], &[&no, "{}"]);
    }
    // In allOf too, where two of which none is narrower are refused.
    check(
        r#"{"allOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"a":{"const":"x"}}}]}"#,
        &[r#"{"a":"x"}"#],
        &[r#"{"a":"y"}"#],
    );
    refused(
        r#"{"allOf":[{"properties":{"a":{"maxLength":2}}},{"properties":{"a":{"minLength":1}}}]}"#,
        "no other schema of 'a'",
    );
    // What nothing fits is left out where something else does.
    check(
        r#"{"properties":{"a":{"type":"null"},"b":{"type":"null"}},"anyOf":[
            {"properties":{"a":false},"required":["b"]},{"properties":{"b":false},"required":["a"]},{"properties":{"a":false},"required":["a"]}]}"#,
        &[r#"{"a":null}"#, r#"{"b":null}"#],
        &["{}", r#"{"a":null,"b":null}"#],
    );
}

#[test]
fn schemas_lead_to_themselves_whatever_is_beside_the_reference() {
    for (defs, yes, no) in [
        (
            r##""n":{"properties":{"v":{"type":"integer"},"next":{"$ref":"#/$defs/n","required":["v"]}}}"##,
            r#"{"v":1,"next":{"v":2,"next":{"v":3}}}"#,
            r#"{"v":1,"next":{"next":{"v":3}}}"#,
        ),
        (
            r##""n":{"type":"object","properties":{"v":{"type":"integer"},"kids":{"type":"array","items":{"$ref":"#/$defs/n","properties":{"w":{"type":"null"}}}}},"required":["v"]}"##,
            r#"{"v":1,"kids":[{"v":2,"w":null,"kids":[{"v":3}]}]}"#,
            r#"{"v":1,"kids":[{"v":2,"w":1}]}"#,
        ),
        (
            r##""n":{"properties":{"kind":{"type":"string"}},"required":["kind"],"oneOf":[{"properties":{"kind":{"const":"leaf"}}},
                {"properties":{"kind":{"const":"pair"},"l":{"$ref":"#/$defs/n"},"r":{"$ref":"#/$defs/n"}},"required":["l","r"]}]}"##,
            r#"{"kind":"pair","l":{"kind":"leaf"},"r":{"kind":"pair","l":{"kind":"leaf"},"r":{"kind":"leaf"}}}"#,
            r#"{"kind":"pair","l":{"kind":"leaf"},"r":{"kind":"pair"}}"#,
        ),
        // What is beside a reference says nothing, or of nothing that is an object.
        (
            r##""n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n","description":"d","default":null}}}"##,
            r#"{"next":{"next":{}}}"#,
            r#"{"next":null}"#,
        ),
        (
            r##""n":{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}],"default":null,"required":["next"]}}}"##,
            r#"{"next":{"next":null}}"#,
            r#"{"next":1}"#,
        ),
    ] {
        let schema = format!(r##"{{"$defs":{{{defs}}},"$ref":"#/$defs/n"}}"##);
        check(&schema, &[yes], &[no]);
    }
}
