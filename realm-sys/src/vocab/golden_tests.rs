//! Made-up vocabularies against the reference tokenizers' ids (`tests/golden/vocab.py`).

use super::tests::{ids, parts, small_bpe, small_spm, text as text_of};
use super::*;
use TokenKind::{Byte, Control, Normal};
use std::boxed::Box;
use std::string::{String, ToString};
use std::vec;

fn golden(name: &str) -> serde_json::Value {
    let json = include_str!("../../../tests/golden/vocab.json");
    let mut json: serde_json::Value = serde_json::from_str(json).unwrap();
    json[name].take()
}

fn case_of(case: &serde_json::Value) -> (&str, Vec<u32>) {
    let want = serde_json::from_value(case["ids"].clone()).unwrap();
    (case["text"].as_str().unwrap(), want)
}

#[test]
fn golden_vectors() {
    let string = |v: &serde_json::Value| -> &'static str {
        Box::leak(v.as_str().unwrap().to_string().into_boxed_str())
    };
    let check = |v: &Vocab, case: &serde_json::Value| {
        let (text, want) = case_of(case);
        let got = ids(v, text.as_bytes(), false, false);
        assert_eq!(got, want, "{:?} {text:?}", case["pre"]);
        assert_eq!(text_of(v, &got, false), text.as_bytes());
    };

    let spm = golden("spm");
    let piece = |p: &serde_json::Value| (string(&p[0]), p[1].as_f64().unwrap() as f32, Normal);
    let pieces: Vec<_> = spm["pieces"]
        .as_array()
        .unwrap()
        .iter()
        .map(piece)
        .collect();
    let v = small_spm(&pieces);
    for case in spm["cases"].as_array().unwrap() {
        check(&v, case);
    }

    let bpe = golden("bpe");
    let merges: Vec<_> = bpe["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(string)
        .collect();
    let joined = |m: &&str| -> &'static str { Box::leak(m.replace(' ', "").into_boxed_str()) };
    let pieces: Vec<_> = merges.iter().map(joined).collect();
    for case in bpe["cases"].as_array().unwrap() {
        let v = small_bpe(string(&case["pre"]), &pieces, &merges);
        check(&v, case);
    }
}

/// A vocabulary of these tokens, all normal but those in angle or square brackets.
fn made_up<'a>(model: &'a str, tokens: &[&'a str]) -> Parts<'a> {
    let kind = |t: &str| match t.as_bytes() {
        [b'<', b'0', b'x', ..] if t.len() == 6 => Byte,
        [b'[', .., b']'] => Control,
        _ => Normal,
    };
    let list: Vec<_> = tokens.iter().map(|t| (*t, 0.0, kind(t))).collect();
    parts(model, &list)
}

fn strings(v: &serde_json::Value) -> Vec<&str> {
    let list = v.as_array().unwrap().iter();
    list.map(|s| s.as_str().unwrap()).collect()
}

#[test]
fn golden_vectors_of_marked_spaces() {
    let json = golden("marked");
    let v = Vocab::from_parts(Parts {
        merges: strings(&json["merges"])
            .iter()
            .map(|m| m.as_bytes())
            .collect(),
        ..made_up("gemma4", &strings(&json["tokens"]))
    })
    .unwrap();
    for case in json["cases"].as_array().unwrap() {
        let (text, want) = case_of(case);
        let got = ids(&v, text.as_bytes(), false, false);
        assert_eq!(got, want, "{text:?}");
        assert_eq!(text_of(&v, &got, false), text.as_bytes());
    }
}

#[cfg(feature = "wpm")]
#[test]
fn golden_vectors_of_word_piece() {
    let json = golden("wpm");
    let tokens = strings(&json["tokens"]);
    let id = |name: &str| tokens.iter().position(|t| *t == name).map(|i| i as u32);
    for case in json["cases"].as_array().unwrap() {
        let v = Vocab::from_parts(Parts {
            lowercase: case["lowercase"].as_bool(),
            ids: Ids {
                bos: id("[CLS]"),
                separator: id("[SEP]"),
                unknown: id("[UNK]"),
                ..Ids::default()
            },
            ..made_up("bert", &tokens)
        })
        .unwrap();
        let (text, want) = case_of(case);
        assert_eq!(ids(&v, text.as_bytes(), false, false), want, "{case}");
        let whole = [&[2], want.as_slice(), &[3]].concat();
        assert_eq!(ids(&v, text.as_bytes(), true, false), whole);
        assert_eq!(
            ids(&v, b"[MASK] the", false, true),
            [4, id("▁the").unwrap()]
        );
        // What Unicode has not assigned is a word that nobody knows; what formats is none at all.
        assert_eq!(ids(&v, "\u{378} \u{200d}".as_bytes(), false, false), [1]);
        // "The" is no token.
        let lower = case["lowercase"] == true;
        let want: &[u8] = if lower { b"the realm" } else { b"realm" };
        let got = ids(&v, b"The realm", true, false);
        assert_eq!(text_of(&v, &got, false), want);
    }
}

#[test]
fn golden_vectors_of_unigram() {
    for json in golden("ugm").as_array().unwrap() {
        let kind = |n: &serde_json::Value| TokenKind::from_number(n.as_i64().unwrap() as i32);
        let list: Vec<_> = json["pieces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| {
                (
                    p[0].as_str().unwrap(),
                    p[1].as_f64().unwrap() as f32,
                    kind(&p[2]),
                )
            })
            .collect();
        let map = base64(json["map"].as_str().unwrap());
        let v = Vocab::from_parts(Parts {
            ids: Ids {
                unknown: Some(0),
                eos: Some(2),
                ..Ids::default()
            },
            chars_map: &map,
            merge_spaces: json["merge_spaces"].as_bool(),
            add_space_prefix: Some(true),
            ..parts("t5", &list)
        })
        .unwrap();
        for case in json["cases"].as_array().unwrap() {
            let (text, want) = case_of(case);
            assert_eq!(ids(&v, text.as_bytes(), false, false), want, "{text:?}");
        }
        let mut text = ids(&v, b"the realm", true, false);
        assert_eq!(text.pop(), Some(2));
        assert_eq!(text_of(&v, &text, false), b"the realm");
        assert!(
            Vocab::from_parts(Parts {
                chars_map: &map[..9],
                ids: Ids {
                    unknown: Some(0),
                    ..Ids::default()
                },
                ..parts("t5", &list)
            })
            .is_err()
        );
        // Damaged maps give other ids and nothing else.
        for at in 0..map.len() {
            let mut damaged = map.clone();
            damaged[at] ^= 0x55;
            let v = Vocab::from_parts(Parts {
                ids: Ids {
                    unknown: Some(0),
                    ..Ids::default()
                },
                chars_map: &damaged,
                ..parts("t5", &list)
            });
            let Ok(v) = v else { continue };
            ids(&v, "Ä ß café \u{3000}½".as_bytes(), false, false);
        }
    }
}

/// Bytes that are written in base 64.
fn base64(text: &str) -> Vec<u8> {
    let digit = |b: u8| match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|&b| b != b'=').map(digit).collect();
    let bits = digits
        .iter()
        .flat_map(|d| (0..6).rev().map(move |i| d >> i & 1));
    let bits: Vec<u8> = bits.collect();
    let byte = |bits: &[u8; 8]| bits.iter().fold(0, |byte, bit| byte << 1 | bit);
    bits.as_chunks().0.iter().map(byte).collect()
}

#[test]
fn rwkv_takes_the_longest_token() {
    let list: Vec<&str> = vec![
        "<s>",
        r"a",
        r"\n",
        r"ab",
        r"abc\\",
        r"\xe6\x97",
        r"b",
        r"\n\n",
    ];
    let v = Vocab::from_parts(made_up("rwkv", &list)).unwrap();
    let check = |text: &[u8], want: &[u32]| {
        assert_eq!(ids(&v, text, true, false), want);
        assert_eq!(
            text_of(&v, want, false),
            String::from_utf8_lossy(text).as_bytes()
        );
    };
    check(b"abc\\ab", &[4, 3]);
    check(b"aab\n\n\n", &[1, 3, 7, 2]);
    check(b"\xe6\x97b", &[5, 6]);
    // What begins no token is dropped, for there is no unknown token.
    assert_eq!(ids(&v, b"abcd", false, false), [3]);
    assert_eq!(v.token_bytes_raw(4), Some(&b"abc\\"[..]));
}
