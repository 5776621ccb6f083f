#!/usr/bin/env python3
"""Writes a llama of random weights that has a matrix of every type of ggml that weights are stored in.

    tiny.py OUT.gguf [--plain]      --plain: only of the types that no build of the library is without

The same bytes every time, with nothing but Python. What it says is noise, but every kind of product is done, with scales that
keep numbers in range: blocks are random bits, and their scales are set so that weights have a deviation of about 0.05.
"""
import random
import struct
import sys

# ggml's number, elements and bytes of a block, and its scales: (offset, count, value) of halves.
TYPES = {
    "F32": (0, 1, 4, []), "F16": (1, 1, 2, []), "BF16": (30, 1, 2, []),
    "Q4_0": (2, 32, 18, [(0, 1, 0.05 / 4.6)]), "Q4_1": (3, 32, 20, [(0, 1, 0.05 / 4.6), (2, 1, -7.5 * 0.05 / 4.6)]),
    "Q5_0": (6, 32, 22, [(0, 1, 0.05 / 9.2)]), "Q5_1": (7, 32, 24, [(0, 1, 0.05 / 9.2), (2, 1, -15.5 * 0.05 / 9.2)]),
    "Q8_0": (8, 32, 34, [(0, 1, 0.05 / 74)]), "Q2_K": (10, 256, 84, [(80, 1, 0.05 / 12), (82, 1, 1.5 * 0.05 / 12)]),
    "Q3_K": (11, 256, 110, [(108, 1, 0.05 / 45)]), "Q4_K": (12, 256, 144, [(0, 1, 0.05 / 200), (2, 1, 7.5 * 0.05 / 200)]),
    "Q5_K": (13, 256, 176, [(0, 1, 0.05 / 400), (2, 1, 15.5 * 0.05 / 400)]), "Q6_K": (14, 256, 210, [(208, 1, 0.05 / 1400)]),
    "IQ2_XXS": (16, 256, 66, [(0, 1, 0.002)]), "IQ2_XS": (17, 256, 74, [(0, 1, 0.002)]),
    "IQ3_XXS": (18, 256, 98, [(0, 1, 0.001)]), "IQ1_S": (19, 256, 50, [(0, 1, 0.004)]),
    "IQ4_NL": (20, 32, 18, [(0, 1, 0.05 / 70)]), "IQ3_S": (21, 256, 110, [(0, 1, 0.001)]),
    "IQ2_S": (22, 256, 82, [(0, 1, 0.002)]), "IQ4_XS": (23, 256, 136, [(0, 1, 0.05 / 1300)]),
    "IQ1_M": (29, 256, 56, []), "TQ1_0": (34, 256, 54, [(52, 1, 0.05)]), "TQ2_0": (35, 256, 66, [(64, 1, 0.05)]),
    "MXFP4": (39, 32, 17, []), "NVFP4": (40, 64, 36, []), "Q1_0": (41, 128, 18, [(0, 1, 0.05)]), "Q2_0": (42, 64, 18, [(0, 1, 0.04)]),
}
D, LAYERS, HEADS, HEADS_KV, FFN, CONTEXT = 256, 4, 4, 2, 256, 256
MATRICES = [("attn_q", D, D), ("attn_k", D, D // 2), ("attn_v", D, D // 2), ("attn_output", D, D), ("ffn_gate", D, FFN),
            ("ffn_up", D, FFN), ("ffn_down", FFN, D)]


def weights(rng, name, cols, rows):
    _, block, size, scales = TYPES[name]
    count = rows * cols // block
    if name == "F32":
        return b"".join(struct.pack("<f", rng.gauss(0, 0.05)) for _ in range(count))
    if name == "F16":
        return b"".join(struct.pack("<e", rng.gauss(0, 0.05)) for _ in range(count))
    if name == "BF16":
        return b"".join(struct.pack("<f", rng.gauss(0, 0.05))[2:] for _ in range(count))
    data = bytearray(rng.randbytes(count * size))
    for at in range(0, len(data), size):
        for offset, _, value in scales:
            data[at + offset : at + offset + 2] = struct.pack("<e", value)
        if name == "MXFP4":
            data[at] = 121
        if name == "NVFP4":
            data[at : at + 4] = b"\x08\x0a\x0c\x0e"
        if name == "IQ1_M":  # the scale's bits are the upper quarters of four words: 0x1c18 is about 0.004
            for i, nibble in enumerate([0x8, 0x1, 0xC, 0x1]):
                data[at + 49 + 2 * i] = (data[at + 49 + 2 * i] & 0x0F) | nibble << 4
    return bytes(data)


def string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def entry(key, kind, value):
    if kind == "str":
        return string(key) + struct.pack("<I", 8) + string(value)
    if isinstance(value, list):
        body = b"".join(string(v) if kind == "[str" else struct.pack("<" + kind[1], v) for v in value)
        return string(key) + struct.pack("<IIQ", 9, {"[str": 8, "[f": 6, "[i": 5}[kind], len(value)) + body
    return string(key) + struct.pack("<I", {"I": 4, "f": 6, "?": 7}[kind]) + struct.pack("<" + kind, value)


def main():
    rng = random.Random(1)
    plain = "--plain" in sys.argv[2:]
    layers = 2 if plain else LAYERS
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + [f"\u2581{chr(97 + i)}" for i in range(26)]
    names += [f"{chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(26)][: 320 - len(names)]
    entries = [
        entry("general.architecture", "str", "llama"), entry("general.name", "str", "tiny"),
        entry("llama.context_length", "I", CONTEXT), entry("llama.embedding_length", "I", D),
        entry("llama.block_count", "I", layers), entry("llama.feed_forward_length", "I", FFN),
        entry("llama.attention.head_count", "I", HEADS), entry("llama.attention.head_count_kv", "I", HEADS_KV),
        entry("llama.rope.dimension_count", "I", D // HEADS), entry("llama.attention.layer_norm_rms_epsilon", "f", 1e-5),
        entry("llama.rope.freq_base", "f", 10000.0), entry("llama.vocab_size", "I", len(names)),
        entry("tokenizer.ggml.model", "str", "llama"), entry("tokenizer.ggml.tokens", "[str", names),
        entry("tokenizer.ggml.scores", "[f", [0.0] * 259 + [-float(i) for i in range(len(names) - 259)]),
        entry("tokenizer.ggml.token_type", "[i", [2, 3, 3] + [6] * 256 + [1] * (len(names) - 259)),
        entry("tokenizer.ggml.bos_token_id", "I", 1), entry("tokenizer.ggml.eos_token_id", "I", 2),
        entry("tokenizer.ggml.add_bos_token", "?", True),
    ]
    kinds = ["F32", "F16", "BF16", "Q8_0"] if plain else list(TYPES)
    tensors = [("token_embd.weight", "Q8_0", (D, len(names))), ("output.weight", "Q8_0" if plain else "Q6_K", (D, len(names))),
               ("output_norm.weight", "F32", (D,))]
    for layer in range(layers):
        for norm in ("attn_norm", "ffn_norm"):
            tensors.append((f"blk.{layer}.{norm}.weight", "F32", (D,)))
        for i, (name, cols, rows) in enumerate(MATRICES):
            tensors.append((f"blk.{layer}.{name}.weight", kinds[(layer * len(MATRICES) + i) % len(kinds)], (cols, rows)))
    assert {t[1] for t in tensors} == set(kinds), "every type is somewhere"
    head, data = b"", b""
    for name, kind, shape in tensors:
        head += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, TYPES[kind][0], len(data))
        if len(shape) == 1:
            data += struct.pack(f"<{D}f", *(1 + rng.gauss(0, 0.1) for _ in range(D)))
        else:
            data += weights(rng, kind, *shape)
        data += b"\0" * (-len(data) % 32)
    top = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries) + head
    with open(sys.argv[1], "wb") as out:
        out.write(top + b"\0" * (-len(top) % 32) + data)


if __name__ == "__main__":
    main()
