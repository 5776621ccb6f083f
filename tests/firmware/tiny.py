#!/usr/bin/env python3
"""Writes a llama of random weights that has a matrix of every type of ggml that weights are stored in.

    tiny.py OUT.gguf [--plain]      --plain: only of the types that no build of the library is without
    tiny.py OUT.gguf --only TYPE    all matrices of one type
    tiny.py OUT.gguf --seed N       a smaller one, whose shape and types are drawn, too; prints a prompt that is

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
PLAIN = ["F32", "F16", "BF16", "Q8_0"]
# What a drawn prompt is made of.
WORDS = "Once upon a time there was a little bird who could not sing, and 7 foxes; \u00fc \u4f60 \U0001f98a!".split(" ")


class Shape:
    """Dimensions, and the type of each matrix in turn."""

    def __init__(self, embd, layers, heads, heads_kv, ffn, types):
        self.embd, self.layers, self.heads, self.heads_kv, self.ffn, self.types = embd, layers, heads, heads_kv, ffn, types
        self.context = 256

    def matrices(self):
        d, kv = self.embd, self.embd // self.heads * self.heads_kv
        return [("attn_q", d, d), ("attn_k", d, kv), ("attn_v", d, kv), ("attn_output", d, d), ("ffn_gate", d, self.ffn),
                ("ffn_up", d, self.ffn), ("ffn_down", self.ffn, d)]

    def type_of(self, layer, i, cols):
        """The type of matrix `i` of a layer: the next one whose blocks fill a row."""
        wanted = (layer * 7 + i) % len(self.types)
        fitting = [t for t in self.types[wanted:] + self.types[:wanted] + ["F16"] if cols % TYPES[t][1] == 0]
        return fitting[0]


def drawn(rng):
    """A shape of any width, with tails behind the kernels' sixteens and blocks."""
    heads_kv = rng.choice([1, 2, 3])
    heads = heads_kv * rng.choice([1, 2])
    embd = heads * 2 * rng.randrange(8, 20)
    if rng.random() < 0.5:
        embd, heads, heads_kv = 256, 8, 4  # of a width that every type has
    types = list(TYPES)
    rng.shuffle(types)
    return Shape(embd, 2, heads, heads_kv, rng.choice([rng.randrange(50, 200) * 2, 256]), types[:14])


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
    args = sys.argv[2:]
    plain, seed = "--plain" in args, int(args[args.index("--seed") + 1]) if "--seed" in args else 0
    only = args[args.index("--only") + 1] if "--only" in args else None
    rng = random.Random(1 + seed)
    shape = Shape(256, 2 if plain else 4, 4, 2, 256, PLAIN if plain else list(TYPES))
    if only:
        shape.types = [only]
        shape.layers = 1 if TYPES[only][1] == 1 else 4  # what 4 MB of flash have room for
    if seed:
        shape = drawn(rng)
        print(" ".join(rng.choices(WORDS, k=rng.randrange(3, 12))))
    d = shape.embd
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + [f"\u2581{chr(97 + i)}" for i in range(26)]
    names += [f"{chr(97 + i)}{chr(97 + j)}" for i in range(26) for j in range(26)][: 320 - len(names)]
    entries = [
        entry("general.architecture", "str", "llama"), entry("general.name", "str", "tiny"),
        entry("llama.context_length", "I", shape.context), entry("llama.embedding_length", "I", d),
        entry("llama.block_count", "I", shape.layers), entry("llama.feed_forward_length", "I", shape.ffn),
        entry("llama.attention.head_count", "I", shape.heads), entry("llama.attention.head_count_kv", "I", shape.heads_kv),
        entry("llama.rope.dimension_count", "I", d // shape.heads), entry("llama.attention.layer_norm_rms_epsilon", "f", 1e-5),
        entry("llama.rope.freq_base", "f", 10000.0), entry("llama.vocab_size", "I", len(names)),
        entry("tokenizer.ggml.model", "str", "llama"), entry("tokenizer.ggml.tokens", "[str", names),
        entry("tokenizer.ggml.scores", "[f", [0.0] * 259 + [-float(i) for i in range(len(names) - 259)]),
        entry("tokenizer.ggml.token_type", "[i", [2, 3, 3] + [6] * 256 + [1] * (len(names) - 259)),
        entry("tokenizer.ggml.bos_token_id", "I", 1), entry("tokenizer.ggml.eos_token_id", "I", 2),
        entry("tokenizer.ggml.add_bos_token", "?", True),
    ]
    embedding, output = only or "Q8_0", only or ("Q8_0" if plain else "Q6_K")
    if seed:
        embedding, output = (rng.choice([t for t in TYPES if d % TYPES[t][1] == 0]) for _ in range(2))
    tensors = [("token_embd.weight", embedding, (d, len(names))), ("output.weight", output, (d, len(names))),
               ("output_norm.weight", "F32", (d,))]
    for layer in range(shape.layers):
        for norm in ("attn_norm", "ffn_norm"):
            tensors.append((f"blk.{layer}.{norm}.weight", "F32", (d,)))
        for i, (name, cols, rows) in enumerate(shape.matrices()):
            tensors.append((f"blk.{layer}.{name}.weight", shape.type_of(layer, i, cols), (cols, rows)))
    assert seed or {t[1] for t in tensors} == {"F32", *shape.types}, "every type is somewhere"
    head, data = b"", b""
    for name, kind, ne in tensors:
        head += string(name) + struct.pack(f"<I{len(ne)}QIQ", len(ne), *ne, TYPES[kind][0], len(data))
        if len(ne) == 1:
            data += struct.pack(f"<{d}f", *(1 + rng.gauss(0, 0.1) for _ in range(d)))
        else:
            data += weights(rng, kind, *ne)
        data += b"\0" * (-len(data) % 32)
    top = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries) + head
    with open(sys.argv[1], "wb") as out:
        out.write(top + b"\0" * (-len(top) % 32) + data)


if __name__ == "__main__":
    main()
