"""Embeddings: what is made of the last rows, by pooling, heads and scales. For tests/e2e.py.

The model is a bert whose matrices are zeros, so that its last rows are its embeddings, normed three times: what comes of them
is computed here in a few lines. That matrices do what they should is shown by the models of tests/golden/arch.
"""

import math
import random
from pathlib import Path

from adapters import Matrix, entry, single, write

ARCH = Path(__file__).resolve().parent / "golden" / "arch"
D, VOCAB, CTX, SCORES = 16, 20, 32, 2
EPS = 1e-12
PROMPT = [3, 0, 19, 7, 7]


def zeros(*ne):
    return Matrix(ne, [0.0] * (ne[0] * (ne[1] if len(ne) > 1 else 1)))


def make(rng, head):
    def norm(name):
        return {f"{name}.weight": Matrix.random(rng, D, mean=1.0), f"{name}.bias": Matrix.random(rng, D)}

    tensors = {"token_embd.weight": Matrix.random(rng, D, VOCAB, deviation=1), "position_embd.weight": Matrix.random(rng, D, CTX)}
    tensors |= norm("token_embd_norm") | norm("blk.0.attn_output_norm") | norm("blk.0.layer_output_norm")
    for name in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"]:
        tensors[f"blk.0.{name}.weight"] = zeros(D, D)
    if "cls" in head:
        tensors |= {"cls.weight": Matrix.random(rng, D, D, deviation=0.5), "cls.bias": Matrix.random(rng, D)}
    if "output" in head:
        tensors |= {"cls.output.weight": Matrix.random(rng, D, SCORES, deviation=0.5), "cls.output.bias": Matrix.random(rng, SCORES)}
    return tensors


def entries(pooling=None, arch="bert", eps="epsilon"):
    numbers = {"context_length": CTX, "embedding_length": D, "block_count": 1, "feed_forward_length": D, "attention.head_count": 2}
    numbers |= {} if pooling is None else {"pooling_type": pooling}
    return [
        entry("general.architecture", "str", arch), entry(f"{arch}.attention.layer_norm_{eps}", "f", EPS),
        *(entry(f"{arch}.{key}", "I", value) for key, value in numbers.items()),
        entry("tokenizer.ggml.model", "str", "llama"), entry("tokenizer.ggml.tokens", "[str", [f"t{i}" for i in range(VOCAB)]),
        entry("tokenizer.ggml.scores", "[f", [0.0] * VOCAB), entry("tokenizer.ggml.token_type", "[i", [1] * VOCAB),
    ]


def rows(tensors, ids):
    def row(name, i):
        return tensors[name].values[i * D : (i + 1) * D]

    for position, token in enumerate(ids):
        x = [a + b for a, b in zip(row("token_embd.weight", token), row("position_embd.weight", position))]
        for norm in ["token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"]:
            mean = sum(x) / D
            scale = 1 / math.sqrt(sum((v - mean) ** 2 for v in x) / D + EPS)
            x = [(v - mean) * scale * w + b for v, w, b in zip(x, row(f"{norm}.weight", 0), row(f"{norm}.bias", 0))]
        yield x


def pooled(rows, how):
    return {"mean": [sum(column) / len(rows) for column in zip(*rows)], "cls": rows[0], "last": rows[-1]}[how]


def scaled(x, p):
    size = {-1: 1, 0: max(map(abs, x)) / 32760}.get(p) or sum(abs(v) ** p for v in x) ** (1 / p)
    return [v / size for v in x]


def scores(tensors, x, head):
    def layer(name, x):
        w, b = tensors[f"{name}.weight"].values, tensors[f"{name}.bias"].values
        return [b[i] + sum(a * c for a, c in zip(w[i * D : (i + 1) * D], x)) for i in range(len(b))]

    x = [math.tanh(v) for v in layer("cls", x)] if "cls" in head else x
    return layer("cls.output", x) if "output" in head else x


def near(must, what, got, want):
    worst = max(abs(a - b) for a, b in zip(got, want)) / max(map(abs, want))
    must(len(got) == len(want) and worst < 1e-5, f"{what}: largest difference {worst:.3g} of the largest element")


def poolings(tools, must):
    rng = random.Random(7)
    tensors = make(rng, [])
    model = write(tools.scratch / "bert.gguf", entries(), tensors)
    last = list(rows(tensors, PROMPT))
    for how in ["mean", "cls", "last"]:
        for p in [-1, 0, 1, 2, 3, 7]:
            got = tools.embedding(model, PROMPT, "--pooling", how, "--embd-normalize", p)
            near(must, f"{how}, {p}", got, scaled(pooled(last, how), p))
    # What the file says; the mean where it says nothing. And a length of 1, if nobody says otherwise.
    for says, how in [(None, "mean"), (0, "mean"), (1, "mean"), (2, "cls"), (3, "last")]:
        write(model, entries(says), tensors)
        near(must, f"type {says}", tools.embedding(model, PROMPT), scaled(pooled(last, how), 2))


def rankers(tools, must):
    for head in [["cls", "output"], ["output"], ["cls"]]:
        tensors = make(random.Random(8), head)
        model = write(tools.scratch / "ranker.gguf", entries(4), tensors)
        first = list(rows(tensors, PROMPT))[0]
        near(must, f"a head of {head}", tools.embedding(model, PROMPT), scores(tensors, first, head))
        near(must, "a ranker's mean", tools.embedding(model, PROMPT, "--pooling", "mean"), scaled(pooled(list(rows(tensors, PROMPT)), "mean"), 2))


def decoders(tools, must):
    # Layers of zeros: the last rows are those of the table, normed.
    rng = random.Random(9)
    tensors = {"token_embd.weight": Matrix.random(rng, D, VOCAB, deviation=1), "output_norm.weight": Matrix.random(rng, D, mean=1.0)}
    tensors |= {f"blk.0.{name}.weight": zeros(D, D) for name in "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split()}
    tensors |= {f"blk.0.{name}.weight": Matrix.random(rng, D, mean=1.0) for name in ["attn_norm", "ffn_norm"]}
    model = write(tools.scratch / "llama.gguf", entries(arch="llama", eps="rms_epsilon"), tensors)
    last = []
    for token in PROMPT:
        x = tensors["token_embd.weight"].values[token * D :][:D]
        scale = 1 / math.sqrt(sum(v * v for v in x) / D + EPS)
        last.append([v * scale * w for v, w in zip(x, tensors["output_norm.weight"].values)])
    for how in ["mean", "cls", "last"]:
        for p in [-1, 2]:
            got = tools.embedding(model, PROMPT, "--pooling", how, "--embd-normalize", p)
            near(must, f"{how}, {p}", got, scaled(pooled(last, how), p))
    # Of a model whose layers do something: no row depends on those behind it, nor any on the chunks.
    for name in ["mistral3", "gemma3-linear", "lfm2"]:
        model, plain = ARCH / f"{name}.gguf", ["--embd-normalize", -1, "--pooling"]
        last = [tools.embedding(model, PROMPT[: n + 1], *plain, "last") for n in range(len(PROMPT))]
        must(last[0] != last[-1], f"{name}: the same for any text")
        for how in ["mean", "cls", "last"]:
            got = tools.embedding(model, PROMPT, *plain, how)
            near(must, f"{name}, {how}", got, pooled(last, how))
            must(tools.embedding(model, PROMPT, *plain, how, "--param", "n_batch=2") == got, f"{name}, {how}: other bits in chunks")


def printed(tools, must, succeed):
    import json

    model = write(tools.scratch / "bert.gguf", entries(), make(random.Random(7), []))
    ids = " ".join(map(str, PROMPT))
    said = json.loads(succeed(tools.run, "-m", model, "--ids", ids, "--embedding", *tools.options).stdout)
    must([single(x) for x in said] == list(tools.embedding(model, PROMPT)), f"{said}")
    # Such a model has nothing else to print.
    must(json.loads(succeed(tools.run, "-m", model, "--ids", ids, *tools.options).stdout) == said, "without --embedding")


def run(tools, check, must, succeed, tells, demo):
    check("pooling and scales of embeddings", poolings, tools, must)
    check("rerankers", rankers, tools, must)
    check("embeddings of a model that could make text", decoders, tools, must)
    check("realm-run --embedding", printed, tools, must, succeed)
    model = write(tools.scratch / "bert.gguf", entries(), make(random.Random(7), []))
    for want, *args in [
        ("the model has no head that ranks (cls.weight, cls.output.weight), which pooling 'rank' needs", "-m", model, "--pooling", "rank"),
        ("parameter pooling is 'none', expected auto, mean, cls, last or rank", "-m", model, "--pooling", "none"),
        ("the model has no head that ranks (cls.weight, cls.output.weight), which pooling 'rank' needs", "-m", demo, "--pooling", "rank"),
    ]:
        check(f"realm-run tells: {want}", tells, tools.run, 1, want, "--ids", "1", *args)
