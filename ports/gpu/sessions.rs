//! Models on the emulated device: the tokens that llama.cpp picks, those of the reference, and nothing that falls back.
//!
//! Compiled as a child of `session`, whose tests it borrows from.

use super::state_tests::ended;
use super::tests::options;
use super::{InputKind, Session};
use crate::backend::host::Backends;
use crate::gguf::Limits;
use crate::gpu::emulated::Emulated;
use crate::graph::gpu_conformance::tested;
use crate::guest::LoadedGuest;
use crate::store::{Store, StoreRef};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use std::io::Write;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

struct Room {
    backends: Backends,
    device: Option<Arc<Emulated>>,
    /// The port's name on the device that is tested.
    gpu: &'static str,
    guest: Arc<LoadedGuest>,
}

/// What a turn picked, its last logits, and operations that were run elsewhere.
struct Turn {
    tokens: Vec<i32>,
    logits: Vec<f32>,
    fallback: u64,
}

impl Room {
    fn new() -> Self {
        let guest = std::fs::read(root().join("guest/realm_guest.wasm")).unwrap();
        let (backends, gpu, device) = tested();
        Self {
            backends,
            device,
            gpu,
            guest: LoadedGuest::load(&guest).unwrap(),
        }
    }

    fn turn(&self, model: &Path, backend: &str, ids: &[u32], params: &[(&str, &str)]) -> Turn {
        let store = Arc::new(Store::new());
        let bytes = std::fs::read(model).unwrap();
        store
            .register_copy(&[&bytes], 1, &Limits::default())
            .unwrap();
        let mut o = options(&self.guest);
        o.model_id = 1;
        o.model = store.open(1).unwrap();
        o.store = StoreRef::Own(store);
        o.backend = self.backends.select(Some(backend)).unwrap();
        for (key, value) in params {
            o.params.set(key, value).unwrap();
        }
        let mut s = Session::open(o).unwrap();
        let input: Vec<u8> = ids.iter().flat_map(|i| i.to_le_bytes()).collect();
        s.prompt(InputKind::Ids, &input).unwrap();
        let ((tokens, _, logits), _) = ended(&mut s);
        Turn {
            tokens,
            logits: logits.into_iter().map(f32::from_bits).collect(),
            fallback: s.stats().fallback_ops,
        }
    }
}

/// The largest difference, of the largest logit.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    let most = b.iter().fold(0f32, |m, x| m.max(x.abs()));
    let pairs = a.iter().zip(b);
    pairs.fold(0f32, |d, (a, b)| d.max((a - b).abs())) / most
}

/// The normalised mean squared error.
fn nmse(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    error / b.iter().map(|b| square(*b)).sum::<f64>()
}

#[test]
fn architectures_pick_the_tokens_of_llama_cpp() {
    let room = Room::new();
    let folder = root().join("tests/golden/arch");
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let numbers = |v: &serde_json::Value| -> Vec<u32> {
        v.as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap() as u32)
            .collect()
    };
    let mut compared = 0;
    for (name, model) in expected.as_object().unwrap() {
        // Of another guest's architecture, or for embeddings.
        if model.get("guest").is_some() || model["cases"][0].get("greedy_ids").is_none() {
            continue;
        }
        for case in model["cases"].as_array().unwrap() {
            let (ids, want) = (numbers(&case["prompt_ids"]), numbers(&case["greedy_ids"]));
            let count = std::format!("{}", want.len());
            let params = [
                ("temp", "0"),
                ("ignore_eos", "1"),
                ("n_predict", count.as_str()),
            ];
            let path = folder.join(std::format!("{name}.gguf"));
            let got = room.turn(&path, room.gpu, &ids, &params);
            let tokens: Vec<u32> = got.tokens.iter().map(|&t| t as u32).collect();
            assert_eq!(tokens, want, "{name}");
            assert_eq!(got.fallback, 0, "{name}: operations fell back");
            let reference = room.turn(&path, "reference", &ids, &params);
            let off = difference(&got.logits, &reference.logits);
            assert!(off < 1e-4, "{name}: logits differ by {off:e}");
            compared += 1;
        }
    }
    assert!(compared >= 28, "{compared} prompts");
}

#[test]
fn files_pick_the_tokens_of_the_reference() {
    let room = Room::new();
    let data =
        std::env::var("REALM_TEST_DATA").map_or(root().join("../shared/data"), PathBuf::from);
    let mut files = vec![root().join("examples-c/demo/realm-demo.gguf")];
    match std::fs::read_dir(data.join("models/stories260K")) {
        Ok(all) => {
            let paths = all.map(|f| f.unwrap().path());
            files.extend(paths.filter(|p| p.extension().is_some_and(|e| e == "gguf")));
        }
        // Past the test runner, which keeps what passing tests print.
        Err(_) => writeln!(
            std::io::stderr(),
            "SKIPPED: the 260K llama on a GPU: {} does not have it",
            data.display()
        )
        .unwrap(),
    }
    for path in files {
        // The little llama's heads are too short for blocks.
        let kinds = match path.ends_with("realm-demo.gguf") {
            true => &["f32", "f16", "q8_0"][..],
            false => &["f32", "f16"],
        };
        let name = String::from(path.file_name().unwrap().to_string_lossy());
        let prompt: Vec<u32> = (0..40).map(|i| 3 + i * 7 % 300).collect();
        let turns = |backend: &str| {
            let turn = |kv: &&str| {
                let params = [
                    ("temp", "0"),
                    ("ignore_eos", "1"),
                    ("n_predict", "24"),
                    ("kv_type", *kv),
                ];
                room.turn(&path, backend, &prompt, &params)
            };
            kinds.iter().map(turn).collect::<Vec<_>>()
        };
        let (want, got) = (turns("reference"), turns(room.gpu));
        // With quantized weights a last bit can turn the rounding of an input's byte in some layer, and from there on numbers differ by
        // what such roundings do: all layers together by no more than what ggml allows one product of such weights, and floats one
        // other operation.
        let floats = ["F32", "F16"].iter().any(|ty| name.contains(ty));
        let most = if floats { 1e-7 } else { 5e-4 };
        for ((kv, got), want) in kinds.iter().zip(&got).zip(&want) {
            assert_eq!(got.tokens, want.tokens, "{name} {kv}");
            let off = nmse(&got.logits, &want.logits);
            assert!(
                off <= most,
                "{name} {kv}: logits differ by {off:e}, at most {most:e}"
            );
            std::eprintln!("{name} {kv}: {off:.1e}, {} elsewhere", got.fallback);
        }
    }
}

#[test]
fn a_token_of_a_llama_takes_few_launches() {
    let room = Room::new();
    let Some(device) = &room.device else {
        return; // Only the emulated one counts.
    };
    let launched = |tokens: &str, kv: &str| {
        let params = [
            ("temp", "0"),
            ("ignore_eos", "1"),
            ("n_predict", tokens),
            ("kv_type", kv),
        ];
        let before = device.launched.load(Relaxed);
        let path = root().join("examples-c/demo/realm-demo.gguf");
        room.turn(&path, room.gpu, &[1, 2, 3], &params);
        device.launched.load(Relaxed) - before
    };
    // Four layers, whose operations alone take 16 each. Seven are the row of the table, the norm with its rounding, the logits, and what picks a token.
    for (kv, layer) in [("f16", 11), ("q8_0", 12)] {
        let token = launched("9", kv) - launched("8", kv);
        assert!(token <= 4 * layer + 7, "{kv}: {token} launches");
        std::eprintln!("{kv}: {token} launches for a token");
    }
}
