//! Vocabularies as a whole: small made-up ones checked against ids worked out by hand and by the
//! reference tokenizers, hostile ones, and, where the data is there, real ones.

use super::*;
use crate::error::Status;
use crate::gguf::{Gguf, Limits};
use std::boxed::Box;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::time::Instant;
use std::vec;
use std::{format, println};

use TokenKind::{Byte, Control, Normal, Unknown, UserDefined};

pub(super) fn parts<'a>(model: &'a str, list: &[(&'a str, f32, TokenKind)]) -> Parts<'a> {
    Parts {
        model,
        tokens: list.iter().map(|t| t.0.as_bytes()).collect(),
        scores: list.iter().map(|t| t.1).collect(),
        kinds: list.iter().map(|t| t.2).collect(),
        ..Parts::default()
    }
}

/// Token `i` is byte `i`.
pub(super) fn byte_vocab() -> Vocab {
    let names: Vec<String> = (0..256).map(|b| format!("<0x{b:02X}>")).collect();
    let list: Vec<_> = names.iter().map(|n| (n.as_str(), 0.0, Byte)).collect();
    Vocab::from_parts(Parts {
        add_space_prefix: Some(false),
        ..parts("llama", &list)
    })
    .unwrap()
}

pub(super) fn ids(v: &Vocab, text: &[u8], add_special: bool, parse_special: bool) -> Vec<u32> {
    let mut out = Vec::new();
    v.tokenize(text, add_special, parse_special, &mut out)
        .unwrap();
    out
}

pub(super) fn text(v: &Vocab, ids: &[u32], special: bool) -> Vec<u8> {
    let mut d = Detokenizer::new(special);
    let mut out = Vec::new();
    for &id in ids {
        d.push(v, id, &mut out).unwrap();
    }
    d.finish(&mut out).unwrap();
    out
}

/// `<unk> <s> </s>`, bytes from 3, then pieces from 259.
pub(super) fn small_spm(pieces: &[(&'static str, f32, TokenKind)]) -> Vocab {
    let mut list = vec![
        ("<unk>", 0.0, Unknown),
        ("<s>", 0.0, Control),
        ("</s>", 0.0, Control),
    ];
    for b in 0..256 {
        let name: &'static str = Box::leak(format!("<0x{b:02X}>").into_boxed_str());
        list.push((name, 0.0, Byte));
    }
    list.extend_from_slice(pieces);
    Vocab::from_parts(parts("llama", &list)).unwrap()
}

#[test]
fn spm_joins_by_score_then_leftmost() {
    let v = small_spm(&[
        ("▁", -9.0, Normal),       // 259
        ("a", -9.0, Normal),       // 260
        ("b", -9.0, Normal),       // 261
        ("ab", -1.0, Normal),      // 262
        ("ba", -1.0, Normal),      // 263
        ("▁a", -2.0, Normal),      // 264
        ("aba", -0.5, Normal),     // 265
        ("[x]", 0.0, UserDefined), // 266
    ]);
    assert_eq!(ids(&v, b"ab", false, false), [259, 262]);
    assert_eq!(ids(&v, b"aba", false, false), [259, 265]);
    assert_eq!(ids(&v, b"abba", false, false), [259, 262, 263]);
    assert_eq!(ids(&v, b"aa", true, false), [1, 264, 260]);
    // é is in no piece: two byte tokens.
    assert_eq!(
        ids(&v, "é".as_bytes(), false, false),
        [259, 3 + 0xc3, 3 + 0xa9]
    );
    assert_eq!(ids(&v, b"\xff", false, false), [259, 3 + 0xff]);
    assert_eq!(ids(&v, b"", true, false), [1]);
    // A space is put before each stretch of text, and user-defined tokens are always found.
    assert_eq!(ids(&v, b"a[x]a", false, false), [264, 266, 264]);
    assert_eq!(ids(&v, b"a</s>a", false, true), [264, 2, 264]);
    assert!(!ids(&v, b"a</s>a", false, false).contains(&2));
    assert!(v.add_bos() && !v.add_eos() && v.is_eog(2) && !v.is_eog(1));
    assert_eq!((v.bos(), v.eos(), v.unk()), (Some(1), Some(2), Some(0)));
    assert_eq!(text(&v, &[1, 264, 260, 266, 2], false), b"aa[x]");
    assert_eq!(text(&v, &[1, 264, 2], true), b"<s> a</s>");
    let mut d = Detokenizer::continuing(false);
    let mut out = Vec::new();
    d.push(&v, 264, &mut out).unwrap();
    assert_eq!(out, b" a");
    assert_eq!(
        d.push(&v, 9999, &mut out).unwrap_err().status(),
        Status::NotFound
    );
}

#[test]
fn spm_without_bytes_merges_unknown_runs() {
    let list = [
        ("<unk>", 0.0, Unknown),
        ("<s>", 0.0, Control),
        ("</s>", 0.0, Control),
        ("▁", 0.0, Normal),
        ("a", 0.0, Normal),
    ];
    let v = Vocab::from_parts(parts("llama", &list)).unwrap();
    assert_eq!(ids(&v, "aéüab".as_bytes(), false, false), [3, 4, 0, 4, 0]);
}

/// The byte alphabet, then `pieces`, with a merge list.
pub(super) fn small_bpe(
    pre: &'static str,
    pieces: &[&'static str],
    merges: &[&'static str],
) -> Vocab {
    let mut list: Vec<(&'static str, f32, TokenKind)> = Vec::new();
    let printable = (0x21..=0x7e).chain(0xa1..=0xac).chain(0xae..=0xff);
    for c in printable.chain(0x100..=0x143) {
        let c = char::from_u32(c).unwrap().to_string();
        list.push((Box::leak(c.into_boxed_str()), 0.0, Normal));
    }
    assert_eq!(list.len(), 256);
    list.extend(pieces.iter().map(|p| (*p, 0.0, Normal)));
    list.push(("<|im_end|>", 0.0, Normal));
    Vocab::from_parts(Parts {
        pre,
        merges: merges.iter().map(|m| m.as_bytes()).collect(),
        ..parts("gpt2", &list)
    })
    .unwrap()
}

#[test]
fn bpe_joins_by_rank_inside_words() {
    let merges = [
        "l l", "h e", "Ġ he", "Ġhe ll", "o o", "no such", "broken", "Ġhell o",
    ];
    let pieces = ["ll", "he", "Ġhe", "Ġhell", "Ġhello"];
    let v = small_bpe("gpt-2", &pieces, &merges);
    let byte = |b: &[u8]| v.find(b).unwrap();
    assert_eq!(ids(&v, b" hello", true, false), [260]);
    assert_eq!(ids(&v, b"hello", false, false), [257, 256, byte(b"o")]);
    // "oo" is no token, so its merge can never apply.
    assert_eq!(ids(&v, b"oo", false, false), [byte(b"o"), byte(b"o")]);
    // A well-known control token is one even where the file calls it text.
    assert_eq!(v.kind(261), Some(Control));
    assert_eq!(ids(&v, b"he<|im_end|>", false, true), [257, 261]);
    assert_eq!(ids(&v, b"<|im_end|>", false, false).len(), 10);
    assert!(v.is_eog(261));
    assert_eq!(v.eot(), Some(261));
    assert_eq!(v.bos(), None);
    assert_eq!(text(&v, &[260, 261, 256], false), b" helloll");
    // Whole words are taken as they are where the pre-tokenizer says so.
    let v = small_bpe("llama3", &["hey"], &[]);
    assert_eq!(ids(&v, b"hey", false, false), [256]);
    assert_eq!(ids(&v, b"heyy", false, false).len(), 4);
}

/// Neither random bytes nor random ids upset anything.
#[test]
fn random_bytes_do_no_harm() {
    let spm = small_spm(&[
        ("▁", -1.0, Normal),
        ("ab", -1.0, Normal),
        ("a", -2.0, Normal),
    ]);
    let passes = [
        "llama3",
        "qwen35",
        "smollm",
        "default",
        "falcon",
        "deepseek-coder",
    ];
    let mut all: Vec<Vocab> = passes
        .iter()
        .map(|p| small_bpe(p, &["ll"], &["l l"]))
        .collect();
    all.push(small_bpe("deepseek-v3", &[], &[]));
    all.push(spm);
    let alphabet = b"ab l12\n\r '\"<|\xc3\xa9\xe2\x96\x81\xf0\x9f\x98\x80\xff\xe4\xb8\xad";
    let mut seed = 11u64;
    let mut random = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % n
    };
    for v in &all {
        for _ in 0..2000 {
            let n = random(40);
            let bytes: Vec<u8> = (0..n).map(|_| alphabet[random(alphabet.len())]).collect();
            let mut back = Vec::new();
            for id in ids(v, &bytes, false, true) {
                v.piece(id, true, &mut back).unwrap();
            }
            // U+2581 comes back as the space that it stands for.
            if v.add_space_prefix() {
                let mut want = b" ".to_vec();
                want.truncate(n);
                unescape_spaces(&bytes, &mut want);
                assert_eq!(back, want, "{bytes:x?}");
            } else {
                assert_eq!(back, bytes);
            }
            // Behind other text nothing is put before it.
            let (mut on, mut back, mut want) = (Vec::new(), Vec::new(), Vec::new());
            v.tokenize_on(&bytes, true, &mut on).unwrap();
            for id in on {
                v.piece(id, true, &mut back).unwrap();
            }
            match v.add_space_prefix() {
                true => unescape_spaces(&bytes, &mut want),
                false => want = bytes,
            }
            assert_eq!(back, want);
        }
    }
}

#[test]
fn bpe_gives_back_any_bytes() {
    let v = small_bpe("smollm", &["ll"], &["l l"]);
    let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
    let mut back = Vec::new();
    for id in ids(&v, &bytes, false, false) {
        v.piece(id, false, &mut back).unwrap();
    }
    assert_eq!(back, bytes);
}

#[test]
fn phi3_swallows_blanks_after_control_tokens() {
    let list = [
        ("<unk>", 0.0, Unknown),
        ("<s>", 0.0, Control),
        ("</s>", 0.0, Control),
        ("▁", 0.0, Normal),
        ("a", 0.0, Normal),
        ("<|user|>", 0.0, Control),
    ];
    let phi = Parts {
        name: "Microsoft Phi-3 mini",
        ..parts("llama", &list)
    };
    let v = Vocab::from_parts(phi).unwrap();
    assert_eq!(ids(&v, b"<|user|> \n a", false, true), [5, 3, 4]);
    assert_eq!(ids(&v, b"<s> a", false, true), [1, 3, 3, 4]);
}

#[test]
fn hostile_parts_are_refused_or_tolerated() {
    let good = [("<unk>", 0.0, Unknown), ("a", 0.0, Normal)];
    let status = |p: Parts<'_>| Vocab::from_parts(p).err().map(|e| e.status());
    assert_eq!(status(parts("llama", &good)), None);
    assert_eq!(status(parts("plamo2", &good)), Some(Status::Unsupported));
    assert_eq!(status(parts("t5", &good)), Some(Status::Format)); // no unknown token
    assert_eq!(status(parts("", &good)), Some(Status::Unsupported));
    let nan = [("<unk>", 0.0, Unknown), ("a", f32::NAN, Normal)];
    assert_eq!(status(parts("llama", &nan)), Some(Status::Format));
    let mut p = parts("gpt2", &good);
    p.pre = "who knows";
    assert_eq!(status(p), Some(Status::Unsupported));
    // No bytes, no unknown token, empty and repeated strings, infinite scores.
    let bare = [
        ("", f32::INFINITY, Normal),
        ("a", f32::NEG_INFINITY, Normal),
    ];
    let v = Vocab::from_parts(parts("gpt2", &[bare[0], bare[1], bare[1]])).unwrap();
    assert_eq!(ids(&v, b"abba", true, true), [1, 1]);
    let mut out = Vec::new();
    v.piece(0, true, &mut out).unwrap();
    assert!(out.is_empty());
    assert_eq!(
        v.piece(3, true, &mut out).unwrap_err().status(),
        Status::NotFound
    );
}

#[test]
fn metadata_is_checked() {
    use crate::gguf::write::Writer;
    let build = |w: Writer| {
        let bytes = w.bytes();
        let file = Gguf::parse(&bytes, &Limits::default()).unwrap();
        Vocab::build(file.metadata(&bytes)).map_err(|e| e.status())
    };
    let model = || Writer::new().str("tokenizer.ggml.model", "llama");
    let tokens = || model().strings("tokenizer.ggml.tokens", &["<unk>", "a", "b"]);
    assert_eq!(build(Writer::new()).err(), Some(Status::Format));
    assert_eq!(build(model()).err(), Some(Status::Format));
    assert!(build(tokens()).is_ok());
    let bad = [
        model().i32s("tokenizer.ggml.tokens", &[1, 2]),
        model().u32("tokenizer.ggml.tokens", 2),
        tokens().f32s("tokenizer.ggml.scores", &[0.0, 1.0]),
        tokens().strings("tokenizer.ggml.scores", &["x", "y", "z"]),
        tokens().i32s("tokenizer.ggml.token_type", &[1, 1]),
        tokens().f32s("tokenizer.ggml.token_type", &[1.0; 3]),
    ];
    for w in bad {
        assert_eq!(build(w).err(), Some(Status::Format));
    }
    let odd = tokens()
        .f32s("tokenizer.ggml.scores", &[0.0; 9])
        .i32s("tokenizer.ggml.token_type", &[2, -7, 99, 4])
        .u32("tokenizer.ggml.bos_token_id", 77)
        .u32("tokenizer.ggml.eos_token_id", u32::MAX)
        .bool("tokenizer.ggml.add_eos_token", true);
    let v = build(odd).unwrap();
    assert_eq!((v.bos(), v.eos(), v.add_eos()), (Some(1), Some(2), true));
    assert_eq!(v.kind(2), Some(TokenKind::Unused));
}

/// Text that provokes many, long or deep merges.
#[test]
fn hostile_texts_take_linear_time() {
    let mut pieces = vec![
        ("▁", -1.0, Normal),
        ("a", -1.0, Normal),
        ("▁▁", -0.1, Normal),
        ("▁a", -0.2, Normal),
        ("a▁", -0.2, Normal),
        ("<x", -0.2, UserDefined),
    ];
    for n in 2..=64usize {
        let name: &'static str = Box::leak("a".repeat(n).into_boxed_str());
        pieces.push((name, n as f32, Normal));
    }
    let spm = small_spm(&pieces);
    let merges = ["a a", "aa aa", "Ġ Ġ", "ĠĠ ĠĠ", "ĠĠĠĠ ĠĠĠĠ", "aaaa aaaa"];
    let bpe = small_bpe(
        "llama3",
        &["aa", "aaaa", "ĠĠ", "ĠĠĠĠ", "aaaaaaaa", "ĠĠĠĠĠĠĠĠ"],
        &merges,
    );
    let cased = small_bpe("gpt-4o", &[], &[]);
    let size = 1 << 20;
    for unit in [
        "A", "\u{301}A", "a", " ", "\n", " a", "a ", "<", "1", "é", "'", "\n a", "\u{301}", "=\n",
    ] {
        let text = unit.repeat(size / unit.len());
        for v in [&spm, &bpe, &cased] {
            let start = Instant::now();
            let n = ids(v, text.as_bytes(), true, true).len();
            let took = start.elapsed();
            assert!(took.as_secs() < 20, "{unit:?}: {took:?}");
            println!("{unit:?} -> {n} tokens in {took:?}");
        }
    }
}

fn data() -> Option<PathBuf> {
    let root = std::env::var_os("REALM_TEST_DATA").map(PathBuf::from);
    let root =
        root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    if root.is_dir() {
        return Some(root);
    }
    println!("skipped: no test data at {}", root.display());
    None
}

/// Builds the vocabulary of a file, with another pre-tokenizer if `pre` is given.
fn load(path: &Path, pre: Option<&str>) -> Vocab {
    let bytes = std::fs::read(path).unwrap();
    let file = Gguf::parse(&bytes, &Limits::default()).unwrap();
    let start = Instant::now();
    let mut parts = Parts::read(file.metadata(&bytes)).unwrap();
    parts.pre = pre.unwrap_or(parts.pre);
    let v = Vocab::from_parts(parts).unwrap();
    println!("{}: built in {:?}", path.display(), start.elapsed());
    v
}

#[test]
fn llama_cpp_vectors() {
    let Some(data) = data() else { return };
    let names = [
        "llama-spm",
        "phi-3",
        "llama-bpe",
        "gpt-2",
        "qwen2",
        "starcoder",
        "falcon",
        "deepseek-coder",
        "bert-bge",
    ];
    for name in names {
        let base = data.join(format!("vocab/ggml-vocab-{name}.gguf"));
        let v = load(&base, None);
        let read = |ext| std::fs::read_to_string(base.with_extension(ext)).unwrap();
        let (inp, out) = (read("gguf.inp"), read("gguf.out"));
        let texts = inp.split("\n__ggml_vocab_test__\n");
        let mut count = 0;
        for (text, want) in texts.zip(out.lines()) {
            let want: Vec<u32> = want
                .split_whitespace()
                .map(|n| n.parse().unwrap())
                .collect();
            let got = ids(&v, text.as_bytes(), false, false);
            assert_eq!(got, want, "{name}: {text:?}");
            // WordPiece normalizes.
            if name != "bert-bge" {
                assert_eq!(self::text(&v, &got, false), text.as_bytes(), "{name}");
            }
            count += 1;
        }
        assert!(count > 40);
        println!("{name}: {count} texts");
    }
}

/// `{"gguf": …, "pre": …, "cases": [{"text": …, "ids": […]}]}`, as in `tok/`; further files of that
/// form are read from the folder `REALM_TEST_TOK`.
#[test]
fn reference_vectors() {
    let Some(data) = data() else { return };
    let mut folders = vec![data.join("tok")];
    folders.extend(std::env::var_os("REALM_TEST_TOK").map(PathBuf::from));
    for path in folders
        .iter()
        .flat_map(|f| std::fs::read_dir(f).unwrap())
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
    {
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let v = load(
            &data.join(json["gguf"].as_str().unwrap()),
            json["pre"].as_str(),
        );
        // StarCoder's vocabulary, for one, lacks some bytes that UTF-8 can contain.
        let lossless = (0..=255).all(|b| !ids(&v, &[b], false, false).is_empty());
        let parse_special = json["parse_special"].as_bool().unwrap_or(false);
        let (mut wrong, mut count) = (0, 0);
        for case in json["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let want: Vec<u32> = case["ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_u64().unwrap() as u32)
                .collect();
            let got = ids(&v, text.as_bytes(), false, parse_special);
            count += 1;
            if got != want {
                wrong += 1;
                if wrong <= 10 {
                    println!("{text:?}\n  want {want:?}\n  got  {got:?}");
                }
            }
            if lossless && !text.contains('▁') {
                let back = self::text(&v, &got, parse_special);
                assert_eq!(back, text.as_bytes(), "{text:?}");
            }
        }
        println!("{}: {count} texts, {wrong} wrong", path.display());
        assert_eq!(wrong, 0, "{}", path.display());
    }
}

/// Random characters of many scripts come back as they went in.
#[test]
fn random_text_comes_back() {
    let Some(data) = data() else { return };
    let folder = data.join("vocab");
    let cases = [
        ("ggml-vocab-llama-spm.gguf", None),
        ("ggml-vocab-gpt-2.gguf", None),
        ("ggml-vocab-llama-bpe.gguf", None),
        ("ggml-vocab-qwen2.gguf", None),
        ("ggml-vocab-gpt-2.gguf", Some("smollm")),
        ("ggml-vocab-gpt-2.gguf", Some("default")),
        ("ggml-vocab-gpt-2.gguf", Some("deepseek-v3")),
    ];
    let mut seed = 3u64;
    let mut random = move |n: u32| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as u32 % n
    };
    for (file, pre) in cases {
        let v = load(&folder.join(file), pre);
        for _ in 0..500 {
            let mut s = String::new();
            for _ in 0..random(60) {
                let top = [0x80, 0x100, 0x800, 0x3100, 0xffff, 0x1_1000, 0x10_ffff];
                let top = top[random(7) as usize];
                let c = random(top);
                s.extend(char::from_u32(c).filter(|&c| c != '▁'));
                if random(4) == 0 {
                    s.push(' ');
                }
            }
            for special in [false, true] {
                let got = ids(&v, s.as_bytes(), special, false);
                assert_eq!(text(&v, &got, false), s.as_bytes(), "{file} {s:?}");
            }
        }
    }
}

/// Prints how long a megabyte takes; run with `--release --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn speed() {
    let Some(data) = data() else { return };
    let line = "The quick brown fox (aged 12,345) doesn't jump over the lazy dog.\n\tСъешь же ещё \
                этих мягких французских булок; 你好，世界! fn main() { println!(\"x\"); }\n";
    let mixed = line.repeat((1 << 20) / line.len());
    for name in ["llama-spm", "llama-bpe", "qwen2", "gpt-2"] {
        let v = load(&data.join(format!("vocab/ggml-vocab-{name}.gguf")), None);
        for (what, text) in [
            ("mixed", mixed.clone()),
            ("a", "a".repeat(1 << 20)),
            ("spaces", " ".repeat(1 << 20)),
            ("CJK", "天地玄黄宇宙洪荒".repeat((1 << 20) / 24)),
        ] {
            let start = Instant::now();
            let n = ids(&v, text.as_bytes(), false, false).len();
            println!(
                "{name}: 1 MiB of {what}: {n} tokens in {:?}",
                start.elapsed()
            );
        }
    }
}
