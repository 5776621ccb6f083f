use super::machine::{DEAD, Full, Machine};
use super::vocab::Vocabulary;
use super::{gbnf, schema};
use crate::fake::{Host, host};
use crate::rng::Rng;
use crate::testdata::{self, Json};

/// Whether a grammar matches a text.
pub fn matches(grammar: &str, text: &[u8]) -> Result<bool, Full> {
    let code = gbnf::compile(grammar).unwrap_or_else(|e| panic!("{grammar}: {e:?}"));
    let mut machine = Machine::new(code)?;
    let mut state = machine.start()?;
    for byte in text {
        state = machine.step(state, *byte)?;
        if state == DEAD {
            return Ok(false);
        }
        let mut kept = [state];
        machine.rest(&mut kept)?;
        [state] = kept;
    }
    Ok(machine.accepts(state))
}

#[test]
fn grammars_match() {
    let arithmetic =
        "root ::= expr\nexpr ::= term (\"+\" term)*\nterm ::= [0-9]+ | \"(\" expr \")\"";
    for (grammar, yes, no) in [
        (
            arithmetic,
            &["1", "12+3", "(1+(2))+3"][..],
            &["", "+", "1+", "(1", "1)"][..],
        ),
        ("root ::= \"a\"{2,3}", &["aa", "aaa"], &["a", "aaaa"]),
        (
            "root ::= (\"a\" | \"b\"?){3}",
            &["", "a", "bab"],
            &["aaaa", "c"],
        ),
        (
            "root ::= \"x\" \"\"{1,5} (\"y\"?){2,}",
            &["x", "xy", "xyyy"],
            &["y"],
        ),
        ("root ::= ( [x]* )*", &["", "xxx"], &["y"]),
        ("root ::= [^a]", &["b", "é", "🔵", "\n"], &["a", "", "bb"]),
        ("root ::= . \"\\u00e9\"", &["xé", "éé"], &["x", "é"]),
        ("root ::= \"x\"+?", &["", "x", "xx"], &["y"]),
        (
            "root ::= a | b\na ::= \"x\" a | \"y\"\nb ::= \"xx\" b | \"z\"",
            &["xxy", "xxz", "y"],
            &["xz", "x"],
        ),
        ("root ::= \"a\"{0,1000000}", &["", "aaaa"], &["b"]),
        (
            "root ::= (\"a\"{2,} \"b\"){1,2}",
            &["aab", "aaaabaab"],
            &["ab", "aabab"],
        ),
        (
            "root ::= [a-c\\-\\]é-ü]{2}",
            &["a-", "]b", "éü"],
            &["d", "ad"],
        ),
    ] {
        for text in yes {
            assert_eq!(
                matches(grammar, text.as_bytes()),
                Ok(true),
                "{grammar} {text}"
            );
        }
        for text in no {
            assert_eq!(
                matches(grammar, text.as_bytes()),
                Ok(false),
                "{grammar} {text}"
            );
        }
    }
}

fn refusal(grammar: &str) -> (usize, usize, String) {
    match gbnf::compile(grammar) {
        Ok(_) => panic!("{grammar} is taken"),
        Err(e) => {
            let (line, column) = super::position(grammar.as_bytes(), e.at);
            (line, column, e.what)
        }
    }
}

#[test]
fn refusals_say_where() {
    for (grammar, line, column, what) in [
        ("", 1, 1, "rule 'root' is not defined"),
        ("root ::= \"a", 1, 10, "expected \" to end this text"),
        ("root ::= [a", 1, 10, "expected ] to end"),
        (
            "root ::= (\"a\"\n",
            2,
            1,
            "expected ) for the ( of line 1, column 10",
        ),
        ("root ::= \"é\" x\n", 1, 14, "rule 'x' is not defined"),
        ("root = \"a\"", 1, 6, "expected ::="),
        (
            "root ::= \"a\"\n  | \"b\"",
            2,
            3,
            "expected the name of a rule: a rule ends with its line, so put this | at the end of the line before",
        ),
        (
            "\u{feff}root ::= \"a\"",
            1,
            1,
            "no byte order mark (U+FEFF)",
        ),
        (
            "root ::= \"a\"\nmy_rule ::= \"b\"",
            2,
            3,
            "expected no _ in the name",
        ),
        ("root ::= my_rule", 1, 12, "expected no _ in the name"),
        ("root ::= _my", 1, 10, "expected no _ in the name"),
        ("_my ::= \"a\"", 1, 1, "expected no _ in the name"),
        (
            "root ::= * \"a\"",
            1,
            10,
            "expected an item before its repetition",
        ),
        ("root ::= \"a\"{3,2}", 1, 16, "expected a number from 3"),
        ("root ::= \"a\"{2", 1, 15, "expected , or }"),
        ("root ::= \"\\q\"", 1, 11, "expected one of"),
        ("root ::= \"\\x0\"", 1, 11, "expected 2 hexadecimal digits"),
        ("root ::= [z-a]", 1, 11, "expected a range that ascends"),
        ("root ::= \"a\" )", 1, 14, "expected a character, a name"),
        (
            "root ::= root \"a\" | \"b\"",
            1,
            1,
            "rule 'root' is left recursive",
        ),
        (
            "root ::= a\na ::= \"\"? a \"x\" | \"y\"",
            2,
            1,
            "rule 'a' is left recursive",
        ),
        (
            "root ::= a\na ::= b\nb ::= a \"x\" | \"y\"",
            2,
            1,
            "rule 'a' is left recursive",
        ),
        (
            "root ::= \"c\"\n  a ::= (b \"x\"){2,3}\nb ::= a?",
            2,
            3,
            "rule 'a' is left recursive",
        ),
    ] {
        let (l, c, said) = refusal(grammar);
        assert_eq!((l, c), (line, column), "{grammar}: {said}");
        assert!(said.contains(what), "{grammar}: {said}");
    }
}

/// What looks like work for ever ends, with an answer or with a bound that says its name.
#[test]
fn bounds_hold() {
    // Twice as many readings with every character, and one answer.
    let grammar = "root ::= s \"!\"\ns ::= \"a\" s \"b\" | \"a\" s \"c\" | \"a\" s s | \"\"";
    assert_eq!(matches(grammar, "aabc!".as_bytes()), Ok(true));
    let text = [b'a'; 60];
    assert_eq!(matches(grammar, &text), Ok(false));
    // As deep as one likes.
    let deep = "root ::= v\nv ::= \"[\" v? \"]\"";
    let text = ["[".repeat(2000), "]".repeat(2000)].concat();
    assert_eq!(matches(deep, text.as_bytes()), Ok(true));
    // A rule that ends with itself needs no room.
    let list = "root ::= \"a\" tail\ntail ::= more | \"\"\nmore ::= \",\" root";
    let code = gbnf::compile(list).unwrap();
    let mut machine = Machine::new(code).unwrap();
    let mut state = machine.start().unwrap();
    for byte in "a,".repeat(10_000).bytes() {
        state = machine.step(state, byte).unwrap();
        assert!(state < 20, "states pile up");
    }
    // Groups in groups.
    let nested = format!("root ::= {}\"a\"{}", "(".repeat(900), ")*".repeat(900));
    assert_eq!(matches(&nested, b"aaa"), Ok(true));
    let nested = format!("root ::= {}\"a\"{}", "(".repeat(2000), ")".repeat(2000));
    assert!(gbnf::compile(&nested).is_err());
    let nested = format!(
        "root ::= {}\"a\"{}",
        "(".repeat(900),
        "){0,1000}".repeat(900)
    );
    assert!(matches(&nested, b"aaa").is_ok());
    // A chain of rules.
    let mut chain = String::from("root ::= r0\n");
    for i in 0..3000 {
        chain += &format!("r{i} ::= r{} | \"{i}\"\n", i + 1);
    }
    chain += "r3000 ::= \"x\"\n";
    assert_eq!(matches(&chain, b"x"), Ok(true));
    let wide = format!("root ::= {} \"z\"", "\"a\" | ".repeat(30_000));
    assert!(matches(&wide, b"a").is_err());
    assert!(gbnf::compile(&format!("root ::= \"{}\"", "a".repeat(200_000))).is_err());
    // Repetitions of repetitions, each of which moves everything.
    let (opens, closes) = ("(".repeat(900), ")*+?*+?*+".repeat(900));
    let nested = format!("root ::= {opens}{}{closes}", "\"a\" ".repeat(40_000));
    assert!(gbnf::compile(&nested).is_err());
    // References repeat what they mean, and that counts.
    let parts = vec!["{\"$ref\":\"#/$defs/a\"}"; 3000].join(",");
    let names: Vec<_> = (0..1000).map(|i| format!("\"p{i}\":{{}}")).collect();
    let names = names.join(",");
    let schema = format!(
        "{{\"allOf\":[{parts}],\"$defs\":{{\"a\":{{\"type\":\"object\",\"properties\":{{{names}}}}}}}}}"
    );
    let refused = schema::to_gbnf(&schema).unwrap_err();
    assert_eq!(refused.what, "the schema comes to more than 20000 schemas");
}

/// States are forgotten when there are too many, and what goes on is the same.
#[test]
fn states_are_forgotten() {
    let grammar = "root ::= v\nv ::= \"[\" v? \"]\"";
    let mut machine = Machine::new(gbnf::compile(grammar).unwrap()).unwrap();
    let mut state = machine.start().unwrap();
    for byte in ["[".repeat(9000), "]".repeat(9000)].concat().bytes() {
        state = machine.step(state, byte).unwrap();
        let mut kept = [state];
        machine.rest(&mut kept).unwrap();
        [state] = kept;
    }
    assert!(machine.is_end(state));
    for _ in 0..100_000 {
        let Ok(next) = machine.step(state, b'[') else {
            break;
        };
        state = next;
    }
}

/// Cases of llama.cpp's, as the shared test data has them.
#[test]
fn shared_grammars() {
    let Some(text) = testdata::read("grammar/integration.json") else {
        return;
    };
    let mut count = 0;
    for case in Json::parse(&text).list() {
        let (kind, grammar) = (case.get("kind").text(), case.get("grammar").text());
        let grammar = match kind {
            "gbnf" => grammar.into(),
            _ => schema::to_gbnf(grammar).unwrap(),
        };
        let grammar = grammar.as_str();
        count += 1;
        for (key, expected) in [("accept", true), ("reject", false)] {
            for text in case.get(key).list() {
                let text = text.text();
                assert_eq!(
                    matches(grammar, text.as_bytes()),
                    Ok(expected),
                    "{grammar}\n{text}"
                );
            }
        }
    }
    assert!(count > 40);
}

/// Where llama.cpp's rules are not followed: their text would not be JSON, as with -05, a pattern would be ignored, or a `-` is written otherwise.
const OTHERWISE: [&str; 6] = [
    "max -5",
    "regexp quote",
    "regexp",
    "regexp with unsupported shorthand",
    "regexp with escaped hyphen outside a character class",
    "unsupported regexp in a property",
];

/// What llama.cpp makes of schemas, to the letter.
#[test]
fn shared_schemas() {
    let Some(text) = testdata::read("grammar/json_schema_to_gbnf.json") else {
        return;
    };
    let (mut count, mut otherwise) = (0, 0);
    for case in Json::parse(&text).list() {
        let (name, schema) = (case.get("name").text(), case.get("schema").text());
        let made = schema::to_gbnf(schema);
        if case.get("status").text() == "FAILURE" {
            assert!(made.is_err(), "{name}");
            continue;
        }
        // Names of properties with a backslash in them that says nothing, or a line end, would be no JSON.
        let gbnf = case.get("gbnf").text().lines().map(|line| match line {
            names if names.contains("additional-k ::= ") => {
                names.replace(r#"[^""#, r#"[^"\\\x7F\x00-\x1F"#)
            }
            line => line.into(),
        });
        let gbnf: Vec<String> = gbnf.collect();
        let lines = gbnf.iter().map(|line| line.trim());
        let expected: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        if OTHERWISE.contains(&name) {
            let made = made.unwrap_or_default();
            assert_ne!(made.lines().collect::<Vec<_>>(), expected, "{name}");
            otherwise += 1;
            continue;
        }
        let made = made.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(made.lines().collect::<Vec<_>>(), expected, "{name}");
        gbnf::compile(&made).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        count += 1;
    }
    assert!(count > 65);
    assert_eq!(otherwise, OTHERWISE.len());
}

/// The walk over a vocabulary finds what trying every token finds, at every place of a text.
#[test]
fn masks_are_what_trying_every_token_gives() {
    host(|h| {
        *h = Host::tiny("llama");
        // Beginnings of one another, equal ones, bytes of characters, zeros, one that is too long.
        let pieces = [
            "a", "ab", "abc", "b", "ab", "\"", "\":", "{", "{\"", "}", " ", "1", "12", "é",
            "\u{0}", "a\u{0}",
        ];
        h.pieces = pieces.iter().map(|p| p.as_bytes().to_vec()).collect();
        h.pieces.extend([
            vec![0xC3],
            vec![0xA9, b'a'],
            vec![b'a'; 300],
            vec![],
            vec![b'a'; 9],
            b"aaaaaaaab".to_vec(),
        ]);
    });
    let count = host(|h| h.pieces.len()) as u32;
    let vocabulary = Vocabulary::read(1, count).unwrap();
    for grammar in [
        "root ::= [a-cé]*",
        "root ::= \"{\" ( \"\\\"\" [^\"]{1,3} \"\\\":\" [0-9]+ )? \"}\"",
        "root ::= [^é]{2,9}",
    ] {
        let mut machine = Machine::new(gbnf::compile(grammar).unwrap()).unwrap();
        for text in [
            "", "a", "ab", "{", "{\"", "{\"a", "{\"abc", "{\"a\":1", "aaaaaaaa",
        ] {
            let mut state = machine.start().unwrap();
            for byte in text.bytes() {
                state = machine.step(state, byte).unwrap();
            }
            let mut mask = [0; 1];
            let found = vocabulary
                .allowed(&mut machine, &mut state, &mut mask)
                .unwrap();
            let mut expected = 0u32;
            for id in 0..count {
                let piece = host(|h| h.pieces[id as usize].clone());
                let mut at = state;
                for byte in &piece {
                    at = machine.step(at, *byte).unwrap();
                }
                if at != DEAD && !piece.is_empty() && piece.len() < 256 {
                    expected |= 1 << id;
                }
            }
            assert_eq!(
                (mask[0], found),
                (expected, expected.count_ones()),
                "{grammar} {text}"
            );
        }
    }
}

/// Whatever is written as a grammar or a schema is taken or refused, and what is taken runs: no panic, no endless loop.
#[test]
fn any_text_ends_in_an_answer() {
    let grammar = [
        "root",
        " ::= ",
        "\"a\"",
        "[a-",
        "c]",
        "(",
        ")",
        "*",
        "+",
        "?",
        "{",
        "2",
        ",",
        "}",
        "|",
        "\n",
        "x",
        "\\",
        "\"\"",
        ".",
        "[^é]",
        " ",
        "x ::= ",
        "root ::= ",
        "{2,3}",
        "{0,1000000}",
        "<",
        "\u{0}",
        "é",
        "# b\n",
    ];
    let schema = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"type\":",
        "\"object\"",
        "\"string\"",
        "\"integer\"",
        "\"properties\":",
        "{\"a\":{}}",
        "\"$ref\":\"#/properties/a\"",
        "\"allOf\":[",
        "\"anyOf\":[{}",
        "\"enum\":[1,2]",
        "\"minimum\":-5",
        "\"maxLength\":9",
        "\"pattern\":\"^(a|b){2}$\"",
        "\"items\":{}",
        "null",
        "1e5",
        "\"required\":[\"a\"]",
        "\"additionalProperties\":",
        "true",
        "{\"type\":\"string\"}",
    ];
    let mut rng = Rng::new(7);
    let mut below = |n: usize| (rng.uniform() * n as f64) as usize;
    let (mut taken, mut made) = (0, 0);
    for round in 0..1200 {
        let (pieces, start): (&[&str], &str) = match round % 2 {
            0 => (&grammar, "root ::= "),
            _ => (&schema, "{"),
        };
        let mut text = String::from(start);
        for _ in 0..below(14) {
            text.push_str(pieces[below(pieces.len())]);
        }
        let gbnf = if round % 2 == 0 {
            text
        } else {
            match schema::to_gbnf(&(text + "}")) {
                Ok(gbnf) => gbnf,
                Err(_) => continue,
            }
        };
        made += round % 2;
        let Ok(code) = gbnf::compile(&gbnf) else {
            continue;
        };
        taken += 1;
        let mut machine = Machine::new(code).unwrap();
        let mut state = machine.start().unwrap();
        for _ in 0..20 {
            let byte = b"abc\"{}: 2\xC3\xA9,"[below(12)];
            state = machine.step(state, byte).unwrap();
        }
    }
    assert!(
        taken > 90 && made > 9,
        "{taken} grammars, {made} of schemas"
    );
}
