"""LoRA adapters: what a model says with them is what one says whose weights were merged beforehand. For tests/e2e.py.

Models and adapters of random weights are made here, with nothing but Python: a dense llama, and one with experts.
"""

import random
import struct

from firmware.tiny import entry, string

D, LAYERS, HEADS, HEADS_KV, FFN, VOCAB, EXPERTS = 32, 2, 4, 2, 48, 50, 4
PROMPT = [1, 7, 42, 3, 3, 19, 49, 0, 11]


class Matrix:
    """Rows of columns, or several such in one another."""

    def __init__(self, ne, values):
        self.ne, self.values = ne, values

    @classmethod
    def random(cls, rng, *ne, deviation=0.1, mean=0.0):
        count = 1
        for n in ne:
            count *= n
        return cls(ne, [single(rng.gauss(mean, deviation)) for _ in range(count)])

    def bytes(self):
        return struct.pack(f"<{len(self.values)}f", *self.values)


def single(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def write(path, entries, tensors):
    head, data = b"", b""
    for name, t in tensors.items():
        head += string(name) + struct.pack(f"<I{len(t.ne)}QIQ", len(t.ne), *t.ne, 0, len(data))
        data += t.bytes()
        data += b"\0" * (-len(data) % 32)
    top = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries) + head
    path.write_bytes(top + b"\0" * (-len(top) % 32) + data)
    return path


def matrices(experts):
    """Names and shapes: columns, rows, and how many there are."""
    ffn = [("ffn_gate", D, FFN), ("ffn_up", D, FFN), ("ffn_down", FFN, D)]
    if experts:
        ffn = [("ffn_gate_inp", D, EXPERTS)] + [(f"{name}_exps", k, m, EXPERTS) for name, k, m in ffn]
    kv = D // HEADS * HEADS_KV
    layer = [("attn_q", D, D), ("attn_k", D, kv), ("attn_v", D, kv), ("attn_output", D, D)] + ffn
    return {f"blk.{il}.{name}.weight": ne for il in range(LAYERS) for name, *ne in layer} | {
        "output.weight": [D, VOCAB],
        "token_embd.weight": [D, VOCAB],
    }


def base(rng, experts):
    tensors = {name: Matrix.random(rng, *ne, deviation=0.15) for name, ne in matrices(experts).items()}
    norms = [f"blk.{il}.{name}" for il in range(LAYERS) for name in ("attn_norm", "ffn_norm")] + ["output_norm"]
    return tensors | {f"{name}.weight": Matrix.random(rng, D, mean=1.0) for name in norms}


def model_entries(experts):
    return [
        entry("general.architecture", "str", "llama"), entry("tokenizer.ggml.model", "str", "llama"),
        entry("tokenizer.ggml.tokens", "[str", ["<unk>", "<s>", "</s>"] + [f"t{i}" for i in range(3, VOCAB)]),
        entry("tokenizer.ggml.scores", "[f", [0.0] * VOCAB), entry("tokenizer.ggml.token_type", "[i", [2, 3, 3] + [1] * (VOCAB - 3)),
        entry("llama.context_length", "I", 64),
        entry("llama.embedding_length", "I", D), entry("llama.block_count", "I", LAYERS),
        entry("llama.feed_forward_length", "I", FFN), entry("llama.attention.head_count", "I", HEADS),
        entry("llama.attention.head_count_kv", "I", HEADS_KV), entry("llama.attention.layer_norm_rms_epsilon", "f", 1e-5),
        *([entry("llama.expert_count", "I", EXPERTS), entry("llama.expert_used_count", "I", 2)] if experts else []),
    ]


def adapter_entries(alpha, **other):
    entries = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"} | other
    return [entry(key, "str", value) for key, value in entries.items()] + [entry("adapter.lora.alpha", "f", alpha)]


def adapter(rng, experts, rank, names):
    tensors = {}
    for name, (k, m, *count) in matrices(experts).items():
        if any(part in name for part in names):
            a = [rank, VOCAB] if name == "token_embd.weight" else [k, rank, *count]
            b = [rank, D] if name == "token_embd.weight" else [rank, m, *count]
            tensors[f"{name}.lora_a"] = Matrix.random(rng, *a, deviation=0.2)
            tensors[f"{name}.lora_b"] = Matrix.random(rng, *b, deviation=0.2)
    return tensors


def merged(tensors, *adapters):
    """W + s B A, for each adapter with its s."""
    out = {name: Matrix(t.ne, list(t.values)) for name, t in tensors.items()}
    for of, s in adapters:
        for name, t in out.items():
            if f"{name}.lora_a" not in of:
                continue
            a, b = of[f"{name}.lora_a"], of[f"{name}.lora_b"]
            k, m, rank = t.ne[0], t.ne[1], b.ne[0]
            table = name == "token_embd.weight"
            for at in range(len(t.values)):
                e, row, col = at // (k * m), at // k % m, at % k
                if table:
                    pair = ((a.values[row * rank + r], b.values[col * rank + r]) for r in range(rank))
                else:
                    pair = ((a.values[(e * rank + r) * k + col], b.values[(e * m + row) * rank + r]) for r in range(rank))
                t.values[at] += s * sum(x * y for x, y in pair)
            t.values = [single(x) for x in t.values]
    return out


def same(tools, must, want, got, what):
    worst = max(abs(a - b) for a, b in zip(want, got)) / max(map(abs, want))
    must(len(want) == len(got) and worst <= 1e-4, f"{what}: largest difference {worst:.3g} of the largest logit")


def compare(tools, must, experts):
    rng, folder = random.Random(5), tools.scratch
    tensors = base(rng, experts)
    model = write(folder / "base.gguf", model_entries(experts), tensors)
    one, two = adapter(rng, experts, 4, [""]), adapter(rng, experts, 3, ["attn_q", "ffn_down"])
    files = [write(folder / "one.gguf", adapter_entries(8.0), one), write(folder / "two.gguf", adapter_entries(0.0), two)]
    plain = tools.logits(model, PROMPT)
    # alpha / rank is 2; an alpha of 0 counts for nothing.
    for what, options, parts in [
        ("one", ["--lora", files[0]], [(one, 2.0)]),
        ("scaled", ["--lora-scaled", f"{files[0]}:-0.25"], [(one, -0.5)]),
        ("two", ["--lora-scaled", f"{files[1]}:0.7"], [(two, 0.7)]),
        ("stacked", ["--lora", files[0], "--lora-scaled", f"{files[1]}:1.5"], [(one, 2.0), (two, 1.5)]),
        ("twice", ["--lora", f"{files[1]},{files[1]}"], [(two, 2.0)]),
    ]:
        want = tools.logits(write(folder / "merged.gguf", model_entries(experts), merged(tensors, *parts)), PROMPT)
        got = tools.logits(model, PROMPT, *options)
        same(tools, must, want, got, what)
        must(max(abs(a - b) for a, b in zip(plain, got)) > 0.01 * max(map(abs, plain)), f"{what}: hardly another model")
        for how in [["-t", 2], ["--param", "n_batch=1"], ["--budget-us", 50], ["--backend", "reference"]]:
            must(tools.logits(model, PROMPT, *options, *how) == got, f"{what}: other bits with {how}")
        tokens = tools.greedy(model, PROMPT, 16, *options)
        must(tokens == tools.greedy(folder / "merged.gguf", PROMPT, 16), f"{what}: other tokens")
    must(tools.logits(model, PROMPT, "--lora-scaled", f"{files[0]}:0") == plain, "a scale of 0 changes something")


def refusals(tools, tells):
    rng, folder = random.Random(6), tools.scratch
    model = write(folder / "base.gguf", model_entries(False), base(rng, False))
    good = adapter(rng, False, 2, ["attn_q"])
    name = "blk.0.attn_q.weight"
    wide = good | {f"{name}.lora_a": Matrix.random(rng, D + 1, 2)}
    vector = {"output_norm.weight.lora_a": Matrix.random(rng, D, 2), "output_norm.weight.lora_b": Matrix.random(rng, 2, 1)}
    half = {key: t for key, t in good.items() if not key.startswith(f"{name}.lora_b")}
    for want, entries, tensors in [
        ("model 2 is no LoRA adapter: its general.type is 'model', expected 'adapter'", adapter_entries(1, **{"general.type": "model"}), good),
        ("adapter 2 is for the architecture 'qwen3', the model's is 'llama'", adapter_entries(1, **{"general.architecture": "qwen3"}), good),
        ("model 2 is a control vector, which this guest does not know; a LoRA adapter is expected",
         [entry("general.architecture", "str", "controlvector")], {"direction.1": Matrix.random(rng, D)}),
        ("adapter 2 is an activated LoRA (it has adapter.alora.invocation_tokens), which this guest does not know",
         adapter_entries(1) + [entry("adapter.alora.invocation_tokens", "[i", [5])], good),
        (f"adapter 2: {name} is [32, 32], its lora_a is [33, 2] and its lora_b [2, 32], which do not go together", adapter_entries(1), wide),
        (f"adapter 2 has no tensor {name}.lora_b, which belongs to another that it has", adapter_entries(1), half),
        ("adapter 2 changes tensor output_norm.weight, for which this guest takes no adapters", adapter_entries(1), vector),
        ("adapter 2 has tensor blk.9.attn_q.weight.lora_a, but the model has no tensor blk.9.attn_q.weight: it was made for another model",
         adapter_entries(1), {key.replace("blk.0", "blk.9"): t for key, t in good.items()}),
    ]:
        path = write(folder / "bad.gguf", entries, tensors)
        yield want, tells, tools.run, 1, want, "-m", model, "--ids", "1", "--lora", path
    for want, value in [("--lora-scaled: 'bad.gguf' is not FILE:SCALE", "bad.gguf"), ("--lora-scaled: 'much' is not a scale, which FILE:SCALE ends with", "bad.gguf:much")]:
        yield want, tells, tools.run, 2, want, "-m", model, "--ids", "1", "--lora-scaled", value


def run(tools, check, must, tells):
    for what, experts in [("a dense model", False), ("experts", True)]:
        check(f"adapters of {what}", compare, tools, must, experts)
    for want, *test in refusals(tools, tells):
        check(f"realm-run tells: {want}", *test)
