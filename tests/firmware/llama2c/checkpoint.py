#!/usr/bin/env python3
"""Writes a llama in GGUF as the checkpoint of llama2.c that has the same weights.

    checkpoint.py MODEL.gguf OUT.bin
    checkpoint.py --alike MODEL.gguf PROMPT THEIRS OURS    how many tokens both answers begin with

F32 becomes what run.c reads, Q8_0 what runq.c reads, with groups of 32. Norms are F32 in both. THEIRS is what main.c printed, OURS
what firmware.c did.
"""
import math
import re
import struct
import sys

F32, Q8_0 = 0, 8
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, kind):
        value = struct.unpack_from("<" + kind, self.data, self.at)
        self.at += struct.calcsize("<" + kind)
        return value[0] if len(value) == 1 else value

    def string(self):
        size = self.take("Q")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            kind, count = self.take("I"), self.take("Q")
            return [self.value(kind) for _ in range(count)]
        return self.take(SCALARS[kind])


def gguf(data):
    """Metadata, and of each tensor its type, dimensions and bytes."""
    r = Reader(data)
    assert r.take("4s") == b"GGUF" and r.take("I") == 3, "a GGUF file of version 3"
    count, entries = r.take("Q"), r.take("Q")
    meta = {}
    for _ in range(entries):
        key = r.string()
        meta[key] = r.value(r.take("I"))
    heads = []
    for _ in range(count):
        name, dims = r.string(), r.take("I")
        heads.append((name, [r.take("Q") for _ in range(dims)], r.take("I"), r.take("Q")))
    begin = r.at + -r.at % meta.get("general.alignment", 32)
    tensors = {}
    for name, ne, kind, offset in heads:
        assert kind in (F32, Q8_0), f"{name} is neither F32 nor Q8_0"
        size = math.prod(ne) * 4 if kind == F32 else math.prod(ne) // 32 * 34
        tensors[name] = kind, ne, data[begin + offset : begin + offset + size]
    return meta, tensors


def quantized(data):
    """Blocks of a scale and 32 integers as all integers and then all scales."""
    blocks = [data[i : i + 34] for i in range(0, len(data), 34)]
    return b"".join(b[2:] for b in blocks) + b"".join(struct.pack("<f", *struct.unpack("<e", b[:2])) for b in blocks)


def shown(meta, token):
    """What a token is in an answer: bytes that are no character by themselves are U+FFFD there, the unknown token is nothing."""
    piece = meta["tokenizer.ggml.tokens"][token]
    byte = re.fullmatch("<0x(..)>", piece)
    if byte:
        return bytes.fromhex(byte[1]).decode(errors="replace")
    return "" if meta["tokenizer.ggml.token_type"][token] == 2 else piece.replace("\u2581", " ")


def alike(meta, prompt, theirs, ours):
    """How many tokens both answers have in common, from the beginning, and how many there are."""
    ids = [int(i) for i in theirs.split(b"\n")[0].split()]
    text = ours.replace(b"\0", b"").decode().split("text:         " + prompt, 1)[1].split("\ntokens: ")[0]
    for i, token in enumerate(ids):
        if not text.startswith(shown(meta, token)):
            return f"{i} of {len(ids)}"
        text = text[len(shown(meta, token)) :]
    return f"{len(ids)} of {len(ids)}"


def main():
    if sys.argv[1] == "--alike":
        model, prompt, theirs, ours = sys.argv[2:]
        print(alike(gguf(open(model, "rb").read())[0], prompt, open(theirs, "rb").read(), open(ours, "rb").read()))
        return
    meta, tensors = gguf(open(sys.argv[1], "rb").read())
    kind, (dim, vocabulary), _ = tensors["token_embd.weight"]
    layers = range(meta["llama.block_count"])
    heads = meta["llama.attention.head_count"]
    config = [dim, meta["llama.feed_forward_length"], len(layers), heads, meta["llama.attention.head_count_kv"], vocabulary,
              meta["llama.context_length"]]
    shared = "output.weight" not in tensors

    def all_of(name, wanted):
        parts = []
        for layer in layers:
            of, _, data = tensors[f"blk.{layer}.{name}.weight"]
            assert of == wanted, f"{name} is of another type"
            parts.append(quantized(data) if of == Q8_0 else data)
        return b"".join(parts)

    def one(name):
        of, _, data = tensors[name]
        return quantized(data) if of == Q8_0 else data

    attention = [all_of(name, kind) for name in ("attn_q", "attn_k", "attn_v", "attn_output")]
    feed_forward = [all_of(name, kind) for name in ("ffn_gate", "ffn_down", "ffn_up")]
    norms = [all_of("attn_norm", F32), all_of("ffn_norm", F32), one("output_norm.weight")]
    last = [] if shared else [one("output.weight")]
    if kind == Q8_0:
        head = struct.pack("<Ii7i?i", 0x616B3432, 2, *config, shared, 32)
        parts = [head.ljust(256, b"\0"), *norms, one("token_embd.weight"), *attention, *feed_forward, *last]
    else:
        head = struct.pack("<7i", *config[:5], vocabulary if shared else -vocabulary, config[6])
        rotations = bytes(config[6] * dim // heads * 4)  # an older version's, which are skipped
        parts = [head, one("token_embd.weight"), norms[0], *attention, norms[1], *feed_forward, norms[2], rotations, *last]
    with open(sys.argv[2], "wb") as out:
        out.write(b"".join(parts))


if __name__ == "__main__":
    main()
