//! The format as it should be, as writers get it wrong, and as attackers have tried it.

use super::write::{Writer, sample, string};
use super::*;
use crate::error::Status;
use alloc::format;
use alloc::vec;
use std::time::Instant;

fn parse(bytes: &[u8]) -> Result<Gguf> {
    Gguf::parse(bytes, &Limits::default())
}

#[track_caller]
fn refused(bytes: &[u8], status: Status, words: &str) {
    let e = parse(bytes).expect_err("must be refused");
    assert_eq!(e.status(), status, "{e}");
    assert!(
        e.message().contains(words),
        "'{}' lacks '{words}'",
        e.message()
    );
}

fn lcg(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    *state >> 33
}

#[test]
fn reads_what_was_written() {
    for version in [2, 3] {
        let mut file = sample();
        file[4] = version;
        let g = parse(&file).unwrap();
        assert_eq!(g.version(), u32::from(version));
        assert_eq!((g.alignment(), g.kv_count(), g.tensors().len()), (32, 7, 3));
        let m = g.metadata(&file);
        assert_eq!(m.str("general.architecture"), Some("llama"));
        assert_eq!(m.u32("llama.block_count"), Some(2));
        assert_eq!(m.i64("llama.block_count"), Some(2));
        assert_eq!(m.f32("llama.attention.layer_norm_rms_epsilon"), Some(1e-5));
        assert_eq!(m.bool("tokenizer.ggml.add_bos_token"), Some(true));
        assert_eq!(m.get("nothing"), None);
        assert_eq!(m.u32("general.architecture"), None);
        let tokens = m.array("tokenizer.ggml.tokens").unwrap();
        assert_eq!(tokens.len(), 5);
        assert_eq!(tokens.strings().unwrap().len(), 5);
        assert_eq!(tokens.strings().unwrap().nth(4), Some(&b"<t4>"[..]));
        let scores = m.array("tokenizer.ggml.scores").unwrap();
        assert_eq!(scores.f32s().unwrap().sum::<f32>(), -10.0);
        assert_eq!(scores.get(1), Some(Value::F32(-1.0)));
        assert_eq!(scores.get(5), None);
        let types = m.array("tokenizer.ggml.token_type").unwrap();
        assert_eq!(types.i32s().unwrap().last(), Some(6));
        assert_eq!(m.iter().count(), 7);
        assert_eq!(m.iter().next().unwrap().0, "general.architecture");

        let i = g.find_tensor(&file, "output_norm.weight").unwrap();
        let t = &g.tensors()[i as usize];
        assert_eq!(
            (t.name(&file), t.dims, t.n_dims),
            ("output_norm.weight", [8, 1, 1, 1], 1)
        );
        assert_eq!((t.elements(), t.rows(), t.bytes), (8, 1, 32));
        assert_eq!(t.offset % 32, 0);
        assert_eq!(&t.data(&file)[4..8], 0.25_f32.to_le_bytes());
        assert_eq!(g.find_tensor(&file, "output_norm.weigh"), None);
        let q = &g.tensors()[g.find_tensor(&file, "blk.0.attn_q.weight").unwrap() as usize];
        assert_eq!((q.rows(), q.bytes, q.type_id), (2, 68, 8));
        assert!(q.data(&file).iter().all(|&b| b == 7));
    }
}

#[test]
fn every_integer_width_converts_when_it_fits() {
    let file = Writer::new()
        .raw(b"u8", 0, &[200])
        .raw(b"i8", 1, &[0x80])
        .raw(b"u16", 2, &[0xff, 0xff])
        .raw(b"i16", 3, &[0xff, 0xff])
        .i32("i32", -5)
        .raw(b"f64", 12, &0.1_f64.to_le_bytes())
        .u64("big", u64::MAX)
        .raw(b"i64", 11, &7_i64.to_le_bytes())
        .bytes();
    let g = parse(&file).unwrap();
    let m = g.metadata(&file);
    assert_eq!(m.u32("u8"), Some(200));
    assert_eq!((m.u32("i8"), m.i64("i8")), (None, Some(-128)));
    assert_eq!((m.u64("u16"), m.i64("i16")), (Some(65535), Some(-1)));
    assert_eq!((m.u32("i32"), m.i64("i32")), (None, Some(-5)));
    assert_eq!(
        (m.u64("big"), m.i64("big"), m.u32("big")),
        (Some(u64::MAX), None, None)
    );
    assert_eq!(m.u32("i64"), Some(7));
    assert_eq!(m.f32("f64"), Some(0.1_f32));
    assert_eq!((m.f32("i64"), m.bool("u8")), (None, None));
}

#[test]
fn a_file_of_vocabulary_only() {
    let g = parse(
        &Writer::new()
            .strings("tokenizer.ggml.tokens", &["a"])
            .bytes(),
    )
    .unwrap();
    assert!(g.tensors().is_empty());
    assert!(
        parse(&Writer::new().bytes()).is_ok(),
        "an empty file is a file"
    );
}

#[test]
fn tokens_may_be_any_bytes() {
    let file = Writer::new()
        .strings("t", &[&b"\xff\xfe"[..], b"", b"\0"])
        .raw(b"s", 8, &string(b"\xc3("))
        .bytes();
    let g = parse(&file).unwrap();
    let strings: Vec<_> = g
        .metadata(&file)
        .array("t")
        .unwrap()
        .strings()
        .unwrap()
        .collect();
    assert_eq!(strings, [&b"\xff\xfe"[..], b"", b"\0"]);
    assert_eq!(g.metadata(&file).str("s"), None);
    assert_eq!(g.metadata(&file).get("s"), Some(Value::Str(b"\xc3(")));
}

#[test]
fn other_formats_are_named() {
    refused(b"", Status::Format, "magic");
    refused(b"PK\x03\x04____", Status::Format, "not a GGUF");
    refused(b"lmgg____", Status::Unsupported, "old GGML");
    refused(b"FUGG\0\0\0\x03", Status::Unsupported, "big-endian");
    refused(
        b"GGUF\0\0\0\x03________________",
        Status::Unsupported,
        "big-endian",
    );
    refused(
        &Writer::new().version(0).bytes(),
        Status::Format,
        "version 0",
    );
    refused(
        &Writer::new().version(1).bytes(),
        Status::Unsupported,
        "version 1",
    );
    refused(
        &Writer::new().version(4).bytes(),
        Status::Unsupported,
        "version 4",
    );
    refused(
        &Writer::new().version(u32::MAX).bytes(),
        Status::Unsupported,
        "version 4294967295",
    );
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let file = sample();
    for n in 0..file.len() {
        let e = parse(&file[..n]).expect_err("a cut file");
        assert_eq!(e.status(), Status::Format, "at {n}: {e}");
    }
    parse(&file).unwrap();
}

#[test]
fn names_are_unique_utf8_and_not_empty() {
    let twice = Writer::new().u32("a", 1).u32("b", 1).u32("a", 2);
    refused(&twice.bytes(), Status::Format, "'a' comes twice");
    let tensors = Writer::new()
        .tensor_f32("x", &[1], &[0.0])
        .tensor_f32("x", &[1], &[0.0]);
    refused(&tensors.bytes(), Status::Format, "'x' comes twice");
    refused(
        &Writer::new().raw(b"\xff", 0, &[0]).bytes(),
        Status::Format,
        "not UTF-8",
    );
    refused(
        &Writer::new().raw(b"", 4, &[0; 4]).bytes(),
        Status::Format,
        "empty",
    );
    refused(
        &Writer::new().tensor_at(b"\xff", &[1], 0, 0).bytes(),
        Status::Format,
        "not UTF-8",
    );
    refused(
        &Writer::new().tensor_at(b"", &[1], 0, 0).bytes(),
        Status::Format,
        "empty",
    );
}

#[test]
fn values_are_checked() {
    refused(
        &Writer::new().raw(b"k", 13, &[0; 8]).bytes(),
        Status::Unsupported,
        "type 13",
    );
    refused(
        &Writer::new().raw(b"k", 7, &[2]).bytes(),
        Status::Format,
        "boolean",
    );
    refused(
        &Writer::new().raw_array("k", 7, 2, &[1, 3]).bytes(),
        Status::Format,
        "boolean",
    );
    refused(
        &Writer::new().raw_array("k", 99, 0, &[]).bytes(),
        Status::Unsupported,
        "type 99",
    );
    let e = parse(&Writer::new().raw(b"evil\nname", 13, &[0; 8]).bytes()).unwrap_err();
    assert!(!e.message().contains('\n'));
}

#[test]
fn array_lengths_may_not_overflow() {
    for ty in [0, 2, 4, 8, 10, 12] {
        for len in [u64::MAX, 1 << 61, (1 << 62) + 1, 1 << 40, 17] {
            let file = Writer::new().raw_array("k", ty, len, &[0; 16]).bytes();
            refused(&file, Status::Format, "more than");
        }
    }
}

#[test]
fn shapes_are_checked() {
    let at = |dims: &[u64], ty| Writer::new().tensor_at(b"x", dims, ty, 0).bytes();
    refused(&at(&[1; 5], 0), Status::Format, "5 dimensions");
    refused(&at(&[4, 0], 0), Status::Format, "dimension of 0");
    refused(&at(&[33], 8), Status::Format, "multiple of");
    refused(&at(&[u64::MAX], 0), Status::Format, "overflow");
    refused(&at(&[1 << 63], 24), Status::Format, "overflow");
    refused(
        &at(&[1 << 20, 1 << 20, 1 << 20, 1 << 20], 24),
        Status::Format,
        "overflow",
    );
    refused(&at(&[1 << 61], 10), Status::Format, "past the end");
    for unknown in [4, 5, 31, 33, 36, 1000, u32::MAX] {
        refused(
            &at(&[256], unknown),
            Status::Unsupported,
            &format!("type {unknown}"),
        );
    }
    let scalar = Writer::new().tensor("s", &[], 0, &[0; 4]).bytes();
    assert_eq!(parse(&scalar).unwrap().tensors()[0].elements(), 1);
}

#[test]
fn places_are_checked() {
    let at = |offset| {
        Writer::new()
            .tensor_f32("a", &[8], &[0.0; 8])
            .tensor_at(b"b", &[8], 0, offset)
            .tensor_f32("c", &[8], &[0.0; 8])
            .bytes()
    };
    refused(&at(16), Status::Format, "not aligned");
    refused(&at(64), Status::Format, "past the end");
    refused(&at(u64::MAX - 31), Status::Format, "past the end");
    refused(&at(0), Status::Format, "overlap");
    // `c` follows what `a` wrote, and b claims the same place.
    refused(&at(32), Status::Format, "overlap");
}

#[test]
fn the_callers_limits_hold() {
    let file = sample();
    let with = |change: fn(&mut Limits)| {
        let mut l = Limits::default();
        change(&mut l);
        Gguf::parse(&file, &l).map(|_| ()).map_err(|e| e.status())
    };
    assert_eq!(with(|_| ()), Ok(()));
    assert_eq!(with(|l| l.kv_count = 6), Err(Status::Limit));
    assert_eq!(with(|l| l.tensor_count = 2), Err(Status::Limit));
    assert_eq!(with(|l| l.key_bytes = 10), Err(Status::Limit));
    assert_eq!(with(|l| l.name_bytes = 10), Err(Status::Limit));
    assert_eq!(with(|l| l.string_bytes = 3), Err(Status::Limit));
    assert_eq!(with(|l| l.array_count = 4), Err(Status::Limit));
    assert_eq!(with(|l| l.dims = 1), Err(Status::Limit));
    // Whose fault it is, and which limit, is said.
    let said = |change: fn(&mut Limits)| {
        let mut l = Limits::default();
        change(&mut l);
        std::string::String::from(Gguf::parse(&file, &l).unwrap_err().message())
    };
    assert_eq!(
        said(|l| l.kv_count = 6),
        "7 metadata entries, over the limit of 6 (max_kv_count)"
    );
    assert_eq!(
        said(|l| l.tensor_count = 2),
        "3 tensors, over the limit of 2 (max_tensor_count)"
    );
    assert_eq!(
        said(|l| l.array_count = 4),
        "5 elements of metadata 'tokenizer.ggml.tokens', over the limit of 4 (max_array_count)"
    );
    let long = said(|l| l.string_bytes = 3);
    assert!(long.starts_with("general.architecture at byte "), "{long}");
    assert!(
        long.ends_with("has a string of 5 bytes, over the limit of 3 (max_string_bytes)"),
        "{long}"
    );
    let cut = said(|l| l.metadata_bytes = 500);
    assert!(cut.contains("passes the limit of 500 bytes (max_metadata_bytes); the largest entry before it is 'tokenizer.ggml.tokens' with"), "{cut}");
    let room = said(|l| l.metadata_bytes = 40);
    assert_eq!(
        room,
        "room for 7 metadata entries passes the limit of 40 bytes (max_metadata_bytes)"
    );
    let before_data = parse(&file).unwrap().data_offset();
    for n in 0..before_data - 32 {
        let l = Limits {
            metadata_bytes: n,
            ..Limits::default()
        };
        assert_eq!(
            Gguf::parse(&file, &l).unwrap_err().status(),
            Status::Limit,
            "{n}"
        );
    }
    let l = Limits {
        metadata_bytes: before_data,
        ..Limits::default()
    };
    assert!(Gguf::parse(&file, &l).is_ok());
}

/// llama.cpp#26690: a token score array declared as bytes was read as floats, past its end.
#[test]
fn advisory_26690_arrays_are_read_as_the_type_they_have() {
    let file = Writer::new()
        .strings("tokenizer.ggml.tokens", &["a", "b", "c", "d"])
        .raw_array("tokenizer.ggml.scores", 0, 4, &[1, 2, 3, 4])
        .raw_array("tokenizer.ggml.token_type", 0, 4, &[1, 1, 1, 1])
        .bytes();
    let g = parse(&file).unwrap();
    let scores = g.metadata(&file).array("tokenizer.ggml.scores").unwrap();
    assert_eq!(scores.element_type(), ValueType::U8);
    assert!(scores.f32s().is_none());
    assert!(scores.strings().is_none());
    assert_eq!(scores.raw().len(), 4);
    assert_eq!(scores.get(3), Some(Value::U8(4)));
    assert_eq!(scores.get(4), None);
    let types = g
        .metadata(&file)
        .array("tokenizer.ggml.token_type")
        .unwrap();
    assert!(types.i32s().is_none() && types.u32s().is_none());
}

/// llama.cpp#25969: a byte token named `<0x-1>` indexed before a table. Here a token is only bytes;
/// what the vocabulary makes of them is tested with it.
#[test]
fn advisory_25969_byte_tokens_stay_text() {
    let tokens = ["<0x-1>", "<0xZZ>", "<0x", "<0xFF>"];
    let file = Writer::new()
        .strings("tokenizer.ggml.tokens", &tokens)
        .bytes();
    let g = parse(&file).unwrap();
    let read = g.metadata(&file).array("tokenizer.ggml.tokens").unwrap();
    assert!(
        read.strings()
            .unwrap()
            .eq(tokens.iter().map(|t| t.as_bytes()))
    );
}

/// llama.cpp#18674: a dimension of 2^42 + 1 made the size wrap to something small.
#[test]
fn advisory_18674_sizes_do_not_wrap() {
    let wrap = (1_u64 << 42) + 1;
    for (dims, ty) in [
        (&[1152, wrap][..], 8),
        (&[1 << 22, wrap], 0),
        (&[1 << 20, 1 << 20, 1 << 20, 16], 0),
        (&[1 << 32, 1 << 30], 0),
        (&[i64::MAX as u64, 2], 24),
        (&[256, u64::MAX / 144 + 2], 12),
    ] {
        let file = Writer::new()
            .tensor_at(b"token_embd.weight", dims, ty, 0)
            .tensor_f32("next", &[8], &[0.0; 8])
            .bytes();
        let e = parse(&file).unwrap_err();
        assert_eq!(e.status(), Status::Format, "{e}");
        assert!(e.message().contains("token_embd.weight"), "{e}");
    }
}

/// llama.cpp#25821: `block_count` indexed fixed arrays. Here it is a number that sizes nothing, and
/// one that does not fit is absent, not truncated.
#[test]
fn advisory_25821_layer_counts_are_only_numbers() {
    let file = Writer::new()
        .u32("llama.block_count", u32::MAX)
        .i32("a.block_count", -1)
        .u64("b.block_count", (1 << 32) + 2)
        .bytes();
    let g = parse(&file).unwrap();
    let m = g.metadata(&file);
    assert_eq!(m.u32("llama.block_count"), Some(u32::MAX));
    assert_eq!(m.u32("a.block_count"), None);
    assert_eq!(m.u32("b.block_count"), None);
    assert!(g.index_bytes() < 4096);
}

/// ggml#1516: files of 160 bytes claimed strings and arrays of 2^30, or such an alignment.
#[test]
fn advisory_1516_claims_cost_nothing() {
    let gib = 1_u64 << 30;
    refused(
        &Writer::new().raw(b"k", 8, &gib.to_le_bytes()).bytes(),
        Status::Format,
        "needs",
    );
    refused(
        &Writer::new().raw(b"k", 8, &u64::MAX.to_le_bytes()).bytes(),
        Status::Format,
        "needs",
    );
    refused(
        &Writer::new().raw_array("k", 8, gib, &[]).bytes(),
        Status::Format,
        "more than",
    );
    refused(
        &Writer::new().raw_array("k", 0, gib, &[]).bytes(),
        Status::Format,
        "more than",
    );
    refused(
        &Writer::new().u32("general.alignment", 1 << 30).bytes(),
        Status::Limit,
        "alignment",
    );
    for bad in [0, 3, 33, u32::MAX] {
        refused(
            &Writer::new().u32("general.alignment", bad).bytes(),
            Status::Format,
            "power of two",
        );
    }
    let word = Writer::new().str("general.alignment", "32");
    refused(&word.bytes(), Status::Format, "general.alignment");
    let negative = Writer::new().i32("general.alignment", -32);
    refused(&negative.bytes(), Status::Format, "general.alignment");
    for count in [u64::MAX, i64::MAX as u64, 1 << 60, 1 << 32, 3] {
        refused(
            &Writer::new().claim_kv_count(count).bytes(),
            Status::Format,
            "claims",
        );
        refused(
            &Writer::new().claim_tensor_count(count).bytes(),
            Status::Format,
            "claims",
        );
    }
    for alignment in [1, 8, 64, 4096] {
        let file = Writer::new()
            .alignment(alignment)
            .tensor_f32("x", &[1], &[1.0])
            .bytes();
        assert_eq!(
            u64::from(parse(&file).unwrap().alignment()),
            u64::from(alignment)
        );
    }
}

/// The classic of hand-written parsers: arrays in arrays, a level of recursion per 12 bytes.
#[test]
fn arrays_of_arrays_do_not_nest() {
    let mut inner = vec![];
    for _ in 0..100_000 {
        inner.extend_from_slice(&9_u32.to_le_bytes());
        inner.extend_from_slice(&1_u64.to_le_bytes());
    }
    let file = Writer::new().raw_array("k", 9, 1, &inner).bytes();
    refused(&file, Status::Unsupported, "array of arrays");
}

/// Names that agree in all but the last byte, in the worst order: the index must stay cheap.
#[test]
fn hostile_names_are_not_quadratic() {
    let mut w = Writer::new();
    for i in (0..20_000).rev() {
        w = w.u32(&format!("{:a>200}{i:05}", ""), i);
    }
    let file = w.bytes();
    let start = Instant::now();
    let g = parse(&file).unwrap();
    assert_eq!(
        g.metadata(&file).u32(&format!("{:a>200}{:05}", "", 777)),
        Some(777)
    );
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn a_large_vocabulary_costs_one_entry() {
    let tokens: Vec<_> = (0..150_000).map(|i| format!("token{i}")).collect();
    let file = Writer::new()
        .strings("tokenizer.ggml.tokens", &tokens)
        .bytes();
    let g = parse(&file).unwrap();
    assert!(g.index_bytes() < 1024);
    let read = g.metadata(&file).array("tokenizer.ggml.tokens").unwrap();
    assert_eq!(read.strings().unwrap().last(), Some(&b"token149999"[..]));
}

/// Flipped bytes: either refused, or consistent with itself.
#[test]
fn random_damage_never_breaks_an_invariant() {
    let file = sample();
    let mut seed = 7;
    let mut accepted = 0;
    for _ in 0..40_000 {
        let mut bad = file.clone();
        for _ in 0..1 + lcg(&mut seed) % 4 {
            let at = lcg(&mut seed) as usize % bad.len();
            bad[at] = match lcg(&mut seed) % 4 {
                0 => 0,
                1 => 0xff,
                2 => bad[at] ^ (1 << (lcg(&mut seed) % 8)),
                _ => lcg(&mut seed) as u8,
            };
        }
        let Ok(g) = parse(&bad) else { continue };
        accepted += 1;
        for t in g.tensors() {
            assert_eq!(t.data(&bad).len() as u64, t.bytes);
            assert!(!t.name(&bad).is_empty());
            assert!(g.find_tensor(&bad, t.name(&bad)).is_some());
        }
        assert_eq!(g.metadata(&bad).iter().count(), g.kv_count());
        for (key, value) in g.metadata(&bad).iter() {
            assert_eq!(
                g.metadata(&bad).get(key).map(|v| v.value_type()),
                Some(value.value_type())
            );
            if let Some(a) = value.as_array() {
                let n = a
                    .strings()
                    .map_or_else(|| a.values().count(), Iterator::count);
                assert_eq!(n, a.len());
            }
        }
    }
    assert!(
        accepted > 100,
        "damage in the data is not noticed, so some must pass"
    );
}

/// An index used on bytes it was not made from answers nonsense, but answers.
#[test]
fn other_bytes_are_harmless() {
    let file = sample();
    let g = parse(&file).unwrap();
    let mut seed = 3;
    for n in [0, 10, 100, file.len() - 1, file.len()] {
        let other: Vec<u8> = (0..n).map(|_| lcg(&mut seed) as u8).collect();
        for (_, value) in g.metadata(&other).iter() {
            if let Some(a) = value.as_array() {
                let _ = a.strings().map(Iterator::count);
                let _ = a.values().count();
            }
        }
        for t in g.tensors() {
            let _ = (t.name(&other), t.data(&other));
        }
    }
}

/// Every published-looking file beside the checkout parses, cut ones do not.
#[test]
fn shared_files_parse() {
    let root = std::env::var_os("REALM_TEST_DATA").map(std::path::PathBuf::from);
    let root = root.unwrap_or_else(|| {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data")
    });
    let mut dirs = vec![root.clone()];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for path in entries.flatten().map(|e| e.path()) {
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "gguf") {
                let bytes = std::fs::read(&path).unwrap();
                let g = parse(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                assert_eq!(g.metadata(&bytes).iter().count(), g.kv_count());
                if !g.tensors().is_empty() {
                    assert!(
                        parse(&bytes[..bytes.len() - 64]).is_err(),
                        "{}",
                        path.display()
                    );
                }
                files += 1;
            }
        }
    }
    if files == 0 {
        std::eprintln!("skipped: no .gguf files under {}", root.display());
    }
}
