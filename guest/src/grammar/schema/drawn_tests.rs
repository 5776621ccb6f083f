//! Schemas that were drawn by `tests/golden/schemas.py`, with documents that the package jsonschema calls valid, or not.

use super::to_gbnf;
use crate::grammar::gbnf;
use crate::grammar::tests::matches;
use crate::testdata::Json;
use alloc::format;
use alloc::vec::Vec;

/// How many documents there were, and how many of the valid ones the other grammar takes.
fn check(cases: &str) -> [usize; 2] {
    let (mut counts, mut wrong) = ([0; 2], Vec::new());
    for line in cases.lines() {
        let case = Json::parse(line);
        let schema = case.get("schema").text();
        let grammar = to_gbnf(schema).unwrap_or_else(|e| panic!("{schema}: {e:?}"));
        for (name, expected) in [("valid", true), ("invalid", false)] {
            for document in case.get(name).list().iter().map(Json::text) {
                let found = matches(&grammar, document.as_bytes());
                if found != Ok(expected) {
                    wrong.push(format!("{name}: {document}\n{schema}\n"));
                }
                counts[0] += 1;
                let other = case.get("gbnf").text();
                if expected && !other.is_empty() && gbnf::compile(other).is_ok() {
                    counts[1] += usize::from(matches(other, document.as_bytes()) == Ok(true));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
    counts
}

#[test]
fn what_is_valid_is_taken_and_what_is_not_is_refused() {
    let cases = include_str!("../../../../tests/golden/schemas.jsonl");
    assert!(check(cases)[0] > 500);
}

/// Other ones: `REALM_SCHEMA_CASES=FILE`.
#[test]
fn own_schemas() {
    let Ok(path) = std::env::var("REALM_SCHEMA_CASES") else {
        return;
    };
    let [documents, theirs] = check(&std::fs::read_to_string(path).unwrap());
    std::println!("{documents} documents; llama.cpp's grammars take {theirs} of the valid ones");
}
