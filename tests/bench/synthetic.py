#!/usr/bin/env python3
"""Writes a GGUF of a real model's shape with random weights, for measuring speed and memory.

    synthetic.py SHAPE MIX OUT.gguf [--vocab FILE.gguf] [--layers N]
    synthetic.py SHAPE llama2.c OUT.bin     a checkpoint of llama2.c's first format, F32
    synthetic.py --info FILE.gguf           what a token costs, as JSON

SHAPE is one of those below. MIX is a name that llama.cpp's quantizer knows (Q4_K_M, Q3_K_M, Q8_0, F16, ...): tensors get
the types that it would give them. Blocks are random bits with scales patched so that weights have a deviation of about
0.02, so the text is noise but the work is real. Vocabulary tokens are made up unless a file to take them from is named.
Needs numpy and the PyPI package gguf.
"""
import argparse
import json
import struct
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

SHAPES = {
    # arch, layers, d, heads, heads_kv, head_dim, ffn, vocab, context, tied, rope base
    "tinyllama-1.1b": ("llama", 22, 2048, 32, 4, 64, 5632, 32000, 2048, False, 10000.0),
    "llama-3.2-1b": ("llama", 16, 2048, 32, 8, 64, 8192, 128256, 131072, True, 500000.0),
    "qwen3-0.6b": ("qwen3", 28, 1024, 16, 8, 128, 3072, 151936, 40960, True, 1000000.0),
    "llama-3-8b": ("llama", 32, 4096, 32, 8, 128, 14336, 128256, 8192, False, 500000.0),
    "stories15m": ("llama", 6, 288, 6, 6, 48, 768, 32000, 256, True, 10000.0),
    "stories260k": ("llama", 5, 64, 8, 4, 8, 172, 512, 512, True, 10000.0),
}
FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_M": 12, "Q4_K_M": 15,
    "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "BF16": 32, "MXFP4": 38,
}
# Where the scales of a block are (offset, count) and what makes the weights' deviation 0.02.
SCALES = {
    T.Q4_0: [(0, 1, 0.02 / 4.6)], T.Q8_0: [(0, 1, 0.02 / 74)],
    T.Q4_1: [(0, 1, 0.02 / 4.6), (2, 1, -7.5 * 0.02 / 4.6)],
    T.Q5_0: [(0, 1, 0.02 / 9.2)], T.Q5_1: [(0, 1, 0.02 / 9.2), (2, 1, -15.5 * 0.02 / 9.2)],
    T.Q2_K: [(80, 1, 0.02 / 12), (82, 1, 1.5 * 0.02 / 12)], T.Q3_K: [(108, 1, 0.02 / 45)],
    T.Q4_K: [(0, 1, 0.02 / 200), (2, 1, 7.5 * 0.02 / 200)],
    T.Q5_K: [(0, 1, 0.02 / 400), (2, 1, 15.5 * 0.02 / 400)],
    T.Q6_K: [(208, 1, 0.02 / 1400)], T.IQ4_NL: [(0, 1, 0.02 / 70)], T.IQ4_XS: [(0, 1, 0.02 / 1300)],
}


def mixed(mix, role, layer, layers):
    """The type of a tensor; a tied model's embedding has the role "output"."""
    important = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    if mix in ("Q4_K_M", "Q5_K_M"):
        return T.Q6_K if role == "output" or (role in ("attn_v", "ffn_down") and important) else T[mix[:-2]]
    if mix == "Q3_K_M":
        if role == "output":
            return T.Q6_K
        if role == "attn_v":
            return T.Q5_K if layer < 2 else T.Q4_K
        if role == "ffn_down":
            return T.Q5_K if layer < layers // 16 else T.Q4_K if important else T.Q3_K
        return T.Q4_K if role == "attn_output" else T.Q3_K
    if mix == "Q2_K":
        if role == "output":
            return T.Q6_K
        return T.Q3_K if role in ("attn_v", "attn_output", "ffn_down") else T.Q2_K
    if role == "output" and mix in ("Q4_0", "IQ4_NL", "IQ4_XS"):
        return T.Q6_K
    if mix == "MXFP4" and role in ("output", "token_embd"):
        return T.Q8_0
    return T[mix]


def weights(rng, kind, rows, cols):
    if kind == T.F32:
        return rng.normal(0, 0.02, (rows, cols)).astype(np.float32)
    if kind == T.F16:
        return rng.normal(0, 0.02, (rows, cols)).astype(np.float16)
    if kind == T.BF16:
        x = rng.normal(0, 0.02, (rows, cols)).astype(np.float32).view(np.uint32) >> 16
        return x.astype(np.uint16).view(np.uint8)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows * cols // block, size), dtype=np.uint8)
    if kind == T.MXFP4:
        blocks[:, 0] = 119
    for offset, count, scale in SCALES.get(kind, []):
        half = np.array([scale] * count, np.float16).view(np.uint8)
        blocks[:, offset : offset + len(half)] = half
    return blocks.reshape(rows, cols // block * size)


def vocabulary(writer, source, count):
    if source:
        fields = gguf.GGUFReader(source).fields
        for key, field in fields.items():
            if key.startswith("tokenizer.") and key != "tokenizer.chat_template":
                kind = field.types[0]
                if kind == gguf.GGUFValueType.ARRAY:
                    writer.add_array(key, field.contents())
                else:
                    writer.add_key_value(key, field.contents(), kind)
        return
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += [f"\u2581t{i}" for i in range(count - len(tokens))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([float(-i) for i in range(count)])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (count - 259))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)


def llama2c(shape, out):
    _, layers, d, heads, heads_kv, dim, ffn, vocab, context, tied, _ = SHAPES[shape]
    rng = np.random.default_rng(1)
    kv = heads_kv * dim
    sizes = [vocab * d, None, d * d, d * kv, d * kv, d * d, None, d * ffn, ffn * d, d * ffn]
    with open(out, "wb") as f:
        f.write(struct.pack("<7i", d, ffn, layers, heads, heads_kv, vocab if tied else -vocab, context))
        for i, size in enumerate(sizes):
            for _ in range(1 if i == 0 else layers):
                f.write((weights(rng, T.F32, 1, size) if size else np.ones(d, np.float32)).tobytes())
        f.write(np.ones(d, np.float32).tobytes())
        f.write(np.zeros(context * dim, np.float32).tobytes())
        if not tied:
            f.write(weights(rng, T.F32, vocab, d).tobytes())


def info(path):
    """Bytes of weights that a token reads, and multiply-adds of a token that is not asked for its logits."""
    tensors = gguf.GGUFReader(path).tensors
    tied = all(t.name != "output.weight" for t in tensors)
    matrices = [t for t in tensors if len(t.shape) == 2 and t.name not in ("token_embd.weight", "output.weight")]
    kinds = {}
    for t in matrices:
        kinds[t.tensor_type.name] = kinds.get(t.tensor_type.name, 0) + int(t.n_elements)
    return {
        "bytes": sum(int(t.n_bytes) for t in tensors if tied or t.name != "token_embd.weight"),
        "multiply_adds": sum(kinds.values()),
        "kind": max(kinds, key=kinds.get),
    }


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--info":
        print(json.dumps(info(sys.argv[2])))
        return
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("shape", choices=SHAPES)
    p.add_argument("mix", choices=[*FILE_TYPES, "llama2.c"])
    p.add_argument("out")
    p.add_argument("--vocab")
    p.add_argument("--layers", type=int)
    a = p.parse_args()
    if a.mix == "llama2.c":
        llama2c(a.shape, a.out)
        return
    arch, layers, d, heads, heads_kv, dim, ffn, vocab, context, tied, base = SHAPES[a.shape]
    layers = a.layers or layers
    rng = np.random.default_rng(1)
    w = gguf.GGUFWriter(a.out, arch)
    w.add_name(f"synthetic {a.shape} {a.mix}")
    w.add_context_length(context)
    w.add_embedding_length(d)
    w.add_block_count(layers)
    w.add_feed_forward_length(ffn)
    w.add_head_count(heads)
    w.add_head_count_kv(heads_kv)
    w.add_key_length(dim)
    w.add_value_length(dim)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(dim)
    w.add_rope_freq_base(base)
    w.add_vocab_size(vocab)
    w.add_file_type(FILE_TYPES[a.mix])
    vocabulary(w, a.vocab, vocab)

    def add(prefix, role, rows, cols, layer=0, name=None):
        kind = mixed(a.mix, role, layer, layers)
        plain = kind in (T.F32, T.F16)
        w.add_tensor(f"{prefix}{name or role}.weight", weights(rng, kind, rows, cols), raw_dtype=None if plain else kind)

    def norm(name, n):
        w.add_tensor(name + ".weight", np.ones(n, np.float32))

    add("", "output" if tied else "token_embd", vocab, d, name="token_embd")
    norm("output_norm", d)
    if not tied:
        add("", "output", vocab, d)
    if a.shape == "llama-3.2-1b":
        wave = 2 * np.pi * base ** (np.arange(0, dim, 2) / dim)
        smooth = np.clip((8192 / wave - 1) / 3, 0, 1)
        w.add_tensor("rope_freqs.weight", (1 / ((1 - smooth) / 32 + smooth)).astype(np.float32))
    for i in range(layers):
        b = f"blk.{i}."
        norm(b + "attn_norm", d)
        norm(b + "ffn_norm", d)
        add(b, "attn_q", heads * dim, d, i)
        add(b, "attn_k", heads_kv * dim, d, i)
        add(b, "attn_v", heads_kv * dim, d, i)
        add(b, "attn_output", d, heads * dim, i)
        add(b, "ffn_gate", ffn, d, i)
        add(b, "ffn_up", ffn, d, i)
        add(b, "ffn_down", d, ffn, i)
        if arch == "qwen3":
            norm(b + "attn_q_norm", dim)
            norm(b + "attn_k_norm", dim)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    sys.exit(main())
