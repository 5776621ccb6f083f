//! Any bytes as text, through a vocabulary of every kind.
//!
//! Ids are in range. Byte-level BPE and RWKV's have all 256 bytes and change nothing, so the pieces of the ids
//! are the text.

use realm_sys::gguf::write::Writer;
use realm_sys::gguf::{Gguf, Limits};
use realm_sys::vocab::Vocab;
use std::sync::OnceLock;

const PRE_TOKENIZERS: [&str; 11] = [
    "default",
    "gpt-2",
    "llama-bpe",
    "qwen2",
    "smollm",
    "gpt-4o",
    "deepseek-v3",
    "deepseek-llm",
    "bloom",
    "laguna",
    "falcon",
];

fn build(writer: Writer) -> Vocab {
    let bytes = writer.bytes();
    let gguf = Gguf::parse(&bytes, &Limits::default()).expect("a well-formed file");
    Vocab::build(gguf.metadata(&bytes)).expect("a well-formed vocabulary")
}

/// Pieces with U+2581 for spaces, for the kinds that write them so.
fn pieces(model: &str) -> Vocab {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    tokens.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    let mut kinds = vec![2, 3, 3];
    kinds.extend([6; 256]);
    for text in [
        "\u{2581}",
        "a",
        "b",
        "\u{2581}a",
        "ab",
        "\u{2581}ab",
        "\u{f6}",
        "\u{1f30d}",
        "1",
        "11",
    ] {
        tokens.push(text.to_owned());
        kinds.push(1);
    }
    let scores: Vec<f32> = (0..tokens.len()).map(|i| -(i as f32)).collect();
    build(
        Writer::new()
            .str("tokenizer.ggml.model", model)
            .strings("tokenizer.ggml.tokens", &tokens)
            .strings(
                "tokenizer.ggml.merges",
                &["a b", "\u{2581} a", "\u{2581} ab"],
            )
            .u32("tokenizer.ggml.unknown_token_id", 0)
            .f32s("tokenizer.ggml.scores", &scores)
            .i32s("tokenizer.ggml.token_type", &kinds),
    )
}

fn rwkv() -> Vocab {
    let mut tokens: Vec<String> = (0..256).map(|b| format!("\\x{b:02x}")).collect();
    tokens.extend(["ab", "\\n\\n", "\u{f6}a"].map(String::from));
    build(
        Writer::new()
            .str("tokenizer.ggml.model", "rwkv")
            .strings("tokenizer.ggml.tokens", &tokens),
    )
}

/// GPT-2's letters for bytes: printable ones stand for themselves, the others follow from U+0100.
fn byte_letters() -> Vec<String> {
    let plain = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    (0..256)
        .map(|b| {
            let code = if plain(b) {
                b
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).map(String::from).unwrap_or_default()
        })
        .collect()
}

fn bpe(pre: &str) -> Vocab {
    let mut tokens = byte_letters();
    let merges = ["a b", "\u{120} a", "1 1", "\u{c3} \u{b6}", "ab ab"];
    tokens.extend(merges.iter().map(|m| m.replace(' ', "")));
    tokens.push("<|end|>".to_owned());
    let mut kinds = vec![1; tokens.len() - 1];
    kinds.push(3);
    build(
        Writer::new()
            .str("tokenizer.ggml.model", "gpt2")
            .str("tokenizer.ggml.pre", pre)
            .strings("tokenizer.ggml.tokens", &tokens)
            .strings("tokenizer.ggml.merges", &merges)
            .i32s("tokenizer.ggml.token_type", &kinds),
    )
}

fn round_trip(vocab: &Vocab, text: &[u8], parse_special: bool) -> Vec<u8> {
    let (mut ids, mut back) = (Vec::new(), Vec::new());
    vocab
        .tokenize(text, false, parse_special, &mut ids)
        .expect("any bytes can be tokenized");
    for id in ids {
        assert!(id < vocab.len());
        vocab
            .piece(id, true, &mut back)
            .expect("an id of the vocabulary");
    }
    back
}

/// The vocabularies, and how many of the first of them give back what they got.
fn vocabularies() -> (Vec<Vocab>, usize) {
    let mut all: Vec<Vocab> = PRE_TOKENIZERS.map(bpe).into();
    all.push(rwkv());
    let exact = all.len();
    all.extend(["llama", "gemma4", "t5", "bert"].map(pieces));
    (all, exact)
}

/// One input.
pub fn run(data: &[u8]) {
    static ALL: OnceLock<(Vec<Vocab>, usize)> = OnceLock::new();
    let Some((&choice, text)) = data.split_first() else {
        return;
    };
    let (all, exact) = ALL.get_or_init(vocabularies);
    let which = usize::from(choice & 0x7f) % all.len();
    let back = round_trip(&all[which], text, choice & 0x80 != 0);
    if which < *exact {
        assert_eq!(back, text);
    }
}
