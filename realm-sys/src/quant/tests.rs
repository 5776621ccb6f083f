//! Against gguf's numbers (tests/golden/quant), the data directory's, and the rules of the module.
//!
//! With `REALM_PYTHON` naming a Python that has `gguf`, the vectors are also generated afresh, many
//! more of them; with `REALM_TEST_DATA` (or ../shared/data beside the repository), the vectors found
//! there are checked, too.

use super::*;
use crate::error::Status;
use std::path::{Path, PathBuf};
use std::vec::Vec;
use std::{env, format, fs, println, process, vec};

const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/quant/vectors.bin");

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().unwrap())
}

fn floats(b: &[u8]) -> Vec<f32> {
    b.as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect()
}

fn assert_bits(ty: GgmlType, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert_eq!(
            g.to_bits(),
            w.to_bits(),
            "{ty:?} element {i}: {g} is not {w}"
        );
    }
}

/// Checks all records of the file that generate.py describes; returns how many of each kind.
fn check_vectors(bytes: &[u8]) -> [usize; 3] {
    assert_eq!(&bytes[..4], b"RQV1");
    let (mut at, mut seen) = (4, [0; 3]);
    while at < bytes.len() {
        let [kind, id, len, size, blocks] =
            core::array::from_fn(|i| u32_at(bytes, at + 4 * i) as usize);
        at += 20;
        let ty = GgmlType::from_id(id as u32).unwrap();
        assert_eq!((ty.block_len(), ty.block_bytes()), (len, size), "{ty:?}");
        let data = &bytes[at..at + blocks * size];
        at += data.len();
        let values = floats(&bytes[at..at + 4 * blocks * len]);
        at += 4 * values.len();
        seen[kind] += 1;
        match kind {
            0 => {
                let mut got = vec![f32::NAN; values.len()];
                dequantize_row(ty, data, &mut got).unwrap();
                assert_bits(ty, &got, &values);
            }
            1 => {
                let mut got = vec![0xAA; data.len()];
                quantize_row(ty, &values, &mut got).unwrap();
                assert_eq!(got, data, "{ty:?}");
            }
            _ => assert_eq!(blocks, 0),
        }
    }
    seen
}

#[test]
fn golden_vectors() {
    let [dequantized, quantized, sizes] = check_vectors(GOLDEN);
    assert_eq!(
        (dequantized, quantized, sizes),
        (GgmlType::ALL.len(), 4, GgmlType::ALL.len())
    );
}

#[test]
fn fresh_vectors_from_python() {
    let Some(python) = env::var_os("REALM_PYTHON") else {
        println!("skipped: REALM_PYTHON does not name a Python with gguf");
        return;
    };
    let script = repository().join("tests/golden/quant/generate.py");
    let run = |args: &[&str]| {
        let out = process::Command::new(&python)
            .arg(&script)
            .args(args)
            .output()
            .unwrap();
        assert!(out.status.success(), "{args:?}: {out:?}");
        out.stdout
    };
    run(&["--check"]);
    for seed in 2..5 {
        check_vectors(&run(&[
            "--out",
            "-",
            "--blocks",
            "100",
            "--seed",
            &format!("{seed}"),
        ]));
    }
}

#[test]
fn vectors_of_the_data_directory() {
    let dir = env::var_os("REALM_TEST_DATA")
        .map_or_else(|| repository().join("../shared/data"), PathBuf::from)
        .join("quants");
    let Ok(files) = fs::read_dir(&dir) else {
        println!("skipped: no {}", dir.display());
        return;
    };
    let mut checked = 0;
    for path in files.map(|f| f.unwrap().path()) {
        if path.extension().is_none_or(|e| e != "bin") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        assert_eq!(&bytes[..4], b"QORA", "{path:?}");
        let ty = GgmlType::from_id(u32_at(&bytes, 8)).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let name = name.split('.').next().unwrap();
        assert_eq!(GgmlType::from_name(name), Some(ty));
        assert_eq!(u32_at(&bytes, 12) as usize, ty.block_len(), "{ty:?}");
        assert_eq!(u32_at(&bytes, 16) as usize, ty.block_bytes(), "{ty:?}");
        let blocks = u32_at(&bytes, 20) as usize;
        let (data, want) = bytes[28..].split_at(blocks * ty.block_bytes());
        let mut got = vec![0.0; blocks * ty.block_len()];
        dequantize_row(ty, data, &mut got).unwrap();
        assert_bits(ty, &got, &floats(want));
        checked += 1;
    }
    assert!(checked > 0, "no vectors in {}", dir.display());
    println!("{checked} files of {}", dir.display());
}

#[test]
fn the_type_table() {
    for ty in GgmlType::ALL {
        assert_eq!(GgmlType::from_id(ty.id()), Some(ty));
        assert_eq!(GgmlType::from_name(ty.name()), Some(ty));
        assert_eq!(ty.name().to_lowercase(), format!("{ty:?}").to_lowercase());
    }
    assert!(GgmlType::ALL.is_sorted());
    for id in [4, 5, 31, 32, 33, 36, 37, 38, 43, 1000, u32::MAX] {
        assert_eq!(GgmlType::from_id(id), None, "{id}");
    }
    assert_eq!(GgmlType::from_name("q4_2"), None);
}

#[test]
fn row_sizes() {
    assert_eq!(GgmlType::Q4_K.row_bytes(512), Some(288));
    assert_eq!(GgmlType::Q4_K.row_bytes(0), Some(0));
    assert_eq!(GgmlType::Q4_K.row_bytes(128), None);
    assert_eq!(GgmlType::F32.row_bytes(3), Some(12));
    assert_eq!(GgmlType::F32.row_bytes(u64::MAX), None);
    assert_eq!(GgmlType::Q8_K.row_bytes(u64::MAX - 255), None);
    // A block that is smaller than its elements are many cannot overflow.
    assert!(GgmlType::Q8_0.row_bytes(u64::MAX - 31).is_none());
    assert!(GgmlType::Q4_0.row_bytes(u64::MAX - 31).is_some());
}

#[test]
fn wrong_lengths_are_refused() {
    for ty in GgmlType::ALL {
        let (len, size) = (ty.block_len(), ty.block_bytes());
        let (bytes, mut out) = (vec![0; 3 * size], vec![7.0; 3 * len]);
        for (b, n) in [
            (2 * size, 3 * len),
            (3 * size, 2 * len),
            (size, 0),
            (0, len),
        ] {
            let e = dequantize_row(ty, &bytes[..b], &mut out[..n]).unwrap_err();
            assert_eq!(e.status(), Status::InvalidArgument);
        }
        let e = dequantize_row(ty, &bytes[1..], &mut out).unwrap_err();
        assert_eq!(e.status(), Status::InvalidArgument);
        if len > 1 {
            assert!(dequantize_row(ty, &bytes, &mut out[1..]).is_err());
            assert!(dequantize_row(ty, &bytes[..size], &mut out[..1]).is_err());
        }
        assert!(out.iter().all(|&x| x == 7.0), "written before the check");
        dequantize_row(ty, &[], &mut []).unwrap();
    }
    let mut q = [0; 34];
    for n in [0, 31, 33, 64] {
        let e = quantize_row_q8_0(&vec![1.0; n], &mut q).unwrap_err();
        assert_eq!(e.status(), Status::InvalidArgument);
    }
    let e = quantize_row(GgmlType::Q4_0, &[1.0; 32], &mut q[..18]).unwrap_err();
    assert_eq!(e.status(), Status::Unsupported);
}

#[test]
fn any_bytes_are_valid() {
    // A small generator of bytes; every pattern of scales, NaN and infinity included.
    let mut state = 1u64;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    for ty in GgmlType::ALL {
        let noise: Vec<u8> = (0..500 * ty.block_bytes()).map(|_| byte()).collect();
        for bytes in [noise, vec![0xff; ty.block_bytes()]] {
            let mut out = vec![0.0; bytes.len() / ty.block_bytes() * ty.block_len()];
            dequantize_row(ty, &bytes, &mut out).unwrap();
        }
    }
}

#[test]
fn q8_0_is_close() {
    let x: Vec<f32> = (0..256)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.01)
        .collect();
    let (mut q, mut y) = (vec![0; 8 * 34], vec![0.0; 256]);
    quantize_row_q8_0(&x, &mut q).unwrap();
    dequantize_row(GgmlType::Q8_0, &q, &mut y).unwrap();
    for (x, y) in x.iter().zip(&y) {
        assert!((x - y).abs() <= 0.5 / 127.0 * 0.5 + 5e-4, "{x} {y}");
    }
}
