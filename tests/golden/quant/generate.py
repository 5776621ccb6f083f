#!/usr/bin/env python3
"""Golden vectors for realm-sys/src/quant, from the PyPI package `gguf` (0.19; needs numpy).

    generate.py                     writes vectors.bin beside this file
    generate.py --check             compares vectors.bin, iq_grids.rs and gguf's table of sizes; exit status 1 if they differ
    generate.py --out - --seed 7 --blocks 200
                                    other vectors, to standard output (what the Rust test asks for when REALM_PYTHON is set)
    generate.py --grids             prints the tables of realm-sys/src/quant/iq_grids.rs

Blocks are uniformly random bytes except that scales are finite: a NaN has no bits worth agreeing on.

vectors.bin, little-endian: "RQV1", then records until the end:
    u32 kind (0: dequantize, bytes to f32; 1: quantize, f32 to bytes; 2: sizes, no payload), u32 ggml type id,
    u32 elements per block, u32 bytes per block, u32 blocks, the bytes, the floats.

The types that gguf cannot dequantize (Q8_1, Q8_K, Q1_0, Q2_0, integers, F64) are computed here by the formulas of
ggml-quants.c.
"""

import argparse
import pathlib
import re
import struct
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf import quants

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE / "vectors.bin"
GRIDS_RS = HERE.parents[2] / "realm-sys/src/quant/iq_grids.rs"

# Offsets of the f16 scales in a block.
HALVES = {
    "F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0], "IQ1_S": [0], "IQ4_NL": [0], "IQ4_XS": [0],
    "TQ1_0": [52], "TQ2_0": [64], "Q8_1": [0, 2], "Q1_0": [0], "Q2_0": [0],
}


def halves(rng, n):
    """Finite halves: any bits, the first ones zero, subnormal and the largest."""
    h = rng.integers(0, 1 << 16, n, dtype=np.uint16)
    h = np.where(h & 0x7C00 == 0x7C00, h ^ 0x4000, h).astype("<u2")
    edge = np.array([0x8000, 0x0001, 0xFBFF], dtype="<u2")
    h[: min(n, 3)] = edge[: min(n, 3)]
    rng.shuffle(h)
    return h


def floats(rng, n):
    return (rng.standard_normal(n) * np.exp2(rng.integers(-20, 21, n))).astype("<f4")


def random_blocks(rng, name, size, n):
    b = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in HALVES.get(name, []):
        b[:, at : at + 2] = halves(rng, n).view(np.uint8).reshape(n, 2)
    if name == "F32" or name == "Q8_K":
        b[:, 0:4] = floats(rng, n).view(np.uint8).reshape(n, 4)
    elif name == "F64":
        b[:] = (rng.standard_normal(n) * np.exp2(rng.integers(-160, 120, n))).astype("<f8").view(np.uint8).reshape(n, 8)
    elif name == "BF16":
        h = rng.integers(0, 1 << 16, n, dtype=np.uint16)
        b[:] = np.where(h & 0x7F80 == 0x7F80, h ^ 0x4000, h).astype("<u2").view(np.uint8).reshape(n, 2)
    elif name == "IQ1_M":
        h = halves(rng, n)
        for i in range(4):
            b[:, 49 + 2 * i] = (b[:, 49 + 2 * i] & 0x0F) | ((h >> (4 * i) & 15) << 4).astype(np.uint8)
    return b


def dequantize(name, blocks):
    n = blocks.shape[0]
    half = lambda at: blocks[:, at : at + 2].copy().view("<f2").astype(np.float32)
    if name in ("I8", "I16", "I32", "I64", "F64"):
        kind = {"I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F64": "<f8"}[name]
        with np.errstate(over="ignore"):
            return blocks.copy().view(kind).astype(np.float32)
    if name == "Q8_1":
        return half(0) * blocks[:, 4:].view(np.int8).astype(np.float32)
    if name == "Q8_K":
        return blocks[:, 0:4].copy().view("<f4") * blocks[:, 4:260].copy().view(np.int8).astype(np.float32)
    if name == "Q1_0":
        bits = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little")
        return np.where(bits == 1, half(0), -half(0)).astype(np.float32)
    if name == "Q2_0":
        q = (blocks[:, 2:, None] >> np.array([0, 2, 4, 6], dtype=np.uint8)) & 3
        return half(0) * (q.reshape(n, 64).astype(np.float32) - np.float32(1))
    return quants.dequantize(blocks, T[name])


def types():
    """Name, id, elements and bytes per block, of every type."""
    table = {t.name: (t.value, *GGML_QUANT_SIZES[t]) for t in GGML_QUANT_SIZES}
    table["Q8_1"] = (9, 32, 36)  # as in ggml-common.h; gguf says 40
    table.setdefault("Q1_0", (41, 128, 18))
    table.setdefault("Q2_0", (42, 64, 18))
    return sorted((id, name, n, size) for name, (id, n, size) in table.items())


def record(kind, id, n, size, blocks, data, values):
    return struct.pack("<5I", kind, id, n, size, blocks) + data.tobytes() + values.astype("<f4").tobytes()


def vectors(seed, scale):
    out = [b"RQV1"]
    for id, name, n, size in types():
        rng = np.random.default_rng([seed, id])
        out.append(struct.pack("<5I", 2, id, n, size, 0))
        blocks = scale * max(2, 64 // n)
        data = random_blocks(rng, name, size, blocks)
        with np.errstate(over="ignore"):
            values = dequantize(name, data)
        assert values.dtype == np.float32 and values.size == n * blocks and not np.isnan(values).any()
        out.append(record(0, id, n, size, blocks, data, values))
    for name in ("F32", "F16", "BF16", "Q8_0"):
        id, (n, size) = T[name].value, GGML_QUANT_SIZES[T[name]]
        rng = np.random.default_rng([seed, 1000 + id])
        blocks = scale * max(4, 64 // n)
        values = floats(rng, n * blocks)
        if name == "Q8_0":
            # One magnitude per block; some blocks full of ties, one of zeros.
            values = (rng.standard_normal((blocks, n)) * np.exp2(rng.integers(-20, 21, (blocks, 1)))).astype("<f4")
            values[0] = 0
            values[1::3] = rng.integers(-254, 255, values[1::3].shape) / 2
            values[1::3, 5] = 127
        with np.errstate(over="ignore", divide="ignore"):
            data = quants.quantize(values, T[name])
        out.append(record(1, id, n, size, blocks, data, values))
    return b"".join(out)


def grid_words(cls):
    """A codebook as 16-bit words: eight elements of two bits or four of four, the first in the lowest."""
    return np.frombuffer(bytes.fromhex(cls.grid_hex.decode()), dtype="<u2")


GRIDS = [
    ("IQ2XXS", quants.IQ2_XXS, "IQ2_XXS: eight elements of two bits; 0, 1, 2 stand for 8, 25, 43."),
    ("IQ2XS", quants.IQ2_XS, "IQ2_XS, packed likewise."),
    ("IQ2S", quants.IQ2_S, "IQ2_S, packed likewise."),
    ("IQ1S", quants.IQ1_S, "IQ1_S and IQ1_M: eight elements of two bits; 0, 1, 2 stand for -1, 0, 1."),
    ("IQ3XXS", quants.IQ3_XXS, "IQ3_XXS: four elements of four bits (three used); they stand for 4, 12, 20, 28, 36, 44, 52, 62."),
    ("IQ3S", quants.IQ3_S, "IQ3_S: four elements of four bits (three used); they stand for 1, 3, 5, and so on to 15."),
]


def grids():
    yield "//! The codebooks of the IQ formats: data of ggml (ggml-common.h; MIT licence, © the ggml authors), packed as in its Python"
    yield "//! package `gguf`, one entry in 16 bits with the first element in the lowest ones."
    yield "//!"
    yield "//! Made by `tests/golden/quant/generate.py --grids`; its `--check` compares. Long, being a table."
    for name, cls, what in GRIDS:
        words = grid_words(cls)
        yield ""
        yield f"/// {what}"
        yield f"pub(super) static {name}: [u16; {len(words)}] = ["
        for i in range(0, len(words), 12):
            yield "    " + " ".join(f"0x{w:04x}," for w in words[i : i + 12])
        yield "];"


def check():
    bad = []
    if VECTORS.read_bytes() != vectors(1, 1):
        bad.append("vectors.bin differs: regenerate it")
    text = GRIDS_RS.read_text()
    for name, cls, _ in GRIDS:
        body = re.search(rf"static {name}: \[u16; \d+\] = \[(.*?)\];", text, re.S)
        if not body or [int(w, 16) for w in re.findall(r"0x[0-9a-f]+", body[1])] != list(grid_words(cls)):
            bad.append(f"iq_grids.rs: {name} differs")
    print("\n".join(bad) or "vectors and grids agree with gguf")
    return 1 if bad else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--check", action="store_true")
    p.add_argument("--grids", action="store_true")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--blocks", type=int, default=1, help="multiplies the number of blocks")
    p.add_argument("--out", default=str(VECTORS))
    a = p.parse_args()
    if a.check:
        return check()
    if a.grids:
        print("\n".join(grids()))
    elif a.out == "-":
        sys.stdout.buffer.write(vectors(a.seed, a.blocks))
    else:
        pathlib.Path(a.out).write_bytes(vectors(a.seed, a.blocks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
