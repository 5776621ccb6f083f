//! A llama of some ten kilobytes with weights by chance, whose steps cost next to nothing under a sanitizer: what is to be
//! found here is in what surrounds the arithmetic, which has tests of its own.
#![allow(dead_code, reason = "a target uses what it needs")]

use realm_sys::gguf::write::Writer;

const LAYERS: u32 = 2;
const WIDTH: u64 = 32;
const HEADS: u64 = 2;
/// As many as a block of q8_0 has.
const HEAD: u64 = 32;
const FEED_FORWARD: u64 = 32;
/// Three of control, the bytes, and some words.
const WORDS: [&str; 5] = ["\u{2581}", "\u{2581}of", "\u{2581}the", "is", "t"];
const VOCAB: usize = 3 + 256 + WORDS.len();
const Q8_0: u32 = 8;

/// Said before each message, so that a question takes more than a page of KV.
const TEMPLATE: &str = "{% for m in messages %}{{ '[' + m['role'] + ' says:] ' + m['content'] }}\n{% endfor %}\
    {% if add_generation_prompt %}{{ '[assistant says:]' }}{% endif %}";

/// The upper byte of an f16 that a matrix is multiplied with: 1/1024, or more, so that attention picks single positions and each
/// token depends on all before it.
fn scale(name: &str) -> u8 {
    match name {
        _ if name.contains("attn_q") || name.contains("attn_k") => 0x20,
        _ if name.contains("ffn") || name.contains("token_embd") => 0x18,
        _ => 0x14,
    }
}

/// A matrix of blocks of 32 elements: an f16, and bytes by chance.
fn matrix(w: Writer, name: &str, dims: [u64; 2], state: &mut u32) -> Writer {
    let blocks = dims[0] / 32 * dims[1];
    let mut data = Vec::new();
    for _ in 0..blocks {
        data.extend([0x00, scale(name)]);
        data.extend((0..32).map(|_| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (*state >> 24) as u8
        }));
    }
    w.tensor(name, &dims, Q8_0, &data)
}

/// The file.
pub fn llama() -> Vec<u8> {
    let mut names: Vec<String> = ["<unk>", "<s>", "</s>"].map(Into::into).into();
    names.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    names.extend(WORDS.map(Into::into));
    let kinds: Vec<i32> = (0..VOCAB)
        .map(|i| match i {
            0 => 2,
            1..3 => 3,
            3..259 => 6,
            _ => 1,
        })
        .collect();
    let scores: Vec<f32> = (0..VOCAB).map(|i| -(i as f32)).collect();
    let mut w = Writer::new()
        .str("general.architecture", "llama")
        .str("general.name", "by chance")
        .u32("llama.block_count", LAYERS)
        .u32("llama.context_length", 256)
        .u32("llama.embedding_length", WIDTH as u32)
        .u32("llama.feed_forward_length", FEED_FORWARD as u32)
        .u32("llama.attention.head_count", HEADS as u32)
        .u32("llama.attention.head_count_kv", 1)
        .u32("llama.attention.key_length", HEAD as u32)
        .u32("llama.attention.value_length", HEAD as u32)
        .u32("llama.rope.dimension_count", HEAD as u32)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .str("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &names)
        .f32s("tokenizer.ggml.scores", &scores)
        .i32s("tokenizer.ggml.token_type", &kinds)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
        .str("tokenizer.chat_template", TEMPLATE);
    let (vocab, ones, mut state) = (VOCAB as u64, vec![1.0; WIDTH as usize], 7);
    w = matrix(w, "token_embd.weight", [WIDTH, vocab], &mut state);
    for layer in 0..LAYERS {
        let name = |what: &str| format!("blk.{layer}.{what}.weight");
        for norm in ["attn_norm", "ffn_norm"] {
            w = w.tensor_f32(&name(norm), &[WIDTH], &ones);
        }
        for (what, dims) in [
            ("attn_q", [WIDTH, HEADS * HEAD]),
            ("attn_k", [WIDTH, HEAD]),
            ("attn_v", [WIDTH, HEAD]),
            ("attn_output", [HEADS * HEAD, WIDTH]),
            ("ffn_gate", [WIDTH, FEED_FORWARD]),
            ("ffn_up", [WIDTH, FEED_FORWARD]),
            ("ffn_down", [FEED_FORWARD, WIDTH]),
        ] {
            w = matrix(w, &name(what), dims, &mut state);
        }
    }
    w = w.tensor_f32("output_norm.weight", &[WIDTH], &ones);
    matrix(w, "output.weight", [WIDTH, vocab], &mut state).bytes()
}
