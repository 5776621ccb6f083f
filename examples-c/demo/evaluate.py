"""Asks the quantized demo model everything, by an independent reader: numpy, greedy, no training code.

Prints exact-match accuracies; exits with 1 when one is under its target.
"""

import argparse
import random
import sys
from collections import defaultdict

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import corpus as C
import facts as F
import names as N


class Model:
    """A llama-architecture GGUF, dequantized."""

    def __init__(self, path):
        r = gguf.GGUFReader(path)
        meta = {k: f.contents() for k, f in r.fields.items()}
        self.meta = meta
        self.w = {
            t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in r.tensors
        }
        self.blocks = meta["llama.block_count"]
        self.heads = meta["llama.attention.head_count"]
        self.kv_heads = meta["llama.attention.head_count_kv"]
        self.epsilon = meta["llama.attention.layer_norm_rms_epsilon"]
        dim = meta["llama.rope.dimension_count"]
        inverse = meta["llama.rope.freq_base"] ** -(np.arange(0, dim, 2) / dim)
        angles = np.outer(np.arange(meta["llama.context_length"]), inverse)
        self.cos, self.sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        tokens = meta["tokenizer.ggml.tokens"]
        merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
        self.tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
        self.tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.tokenizer.decoder = decoders.ByteLevel()
        control = [t for t, kind in zip(tokens, meta["tokenizer.ggml.token_type"]) if kind == gguf.TokenType.CONTROL]
        self.tokenizer.add_special_tokens(control)
        self.eos = meta["tokenizer.ggml.eos_token_id"]

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon) * self.w[name]

    def turn(self, x, start):
        """RoPE on x [batch, tokens, heads, dim], pairs interleaved."""
        n = x.shape[1]
        cos, sin = self.cos[start : start + n, None], self.sin[start : start + n, None]
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack((a * cos - b * sin, a * sin + b * cos), -1).reshape(x.shape)

    def step(self, ids, cache):
        """Feeds ids [batch, tokens] after what `cache` holds; the last position's logits [batch, vocab]."""
        x = self.w["token_embd.weight"][ids]
        b, t, _ = x.shape
        for i in range(self.blocks):
            w = lambda name: self.w[f"blk.{i}.{name}.weight"].T
            h = self.norm(x, f"blk.{i}.attn_norm.weight")
            old_k, old_v = cache[i]
            start = old_k.shape[1]
            q = self.turn((h @ w("attn_q")).reshape(b, t, self.heads, -1), start)
            k = self.turn((h @ w("attn_k")).reshape(b, t, self.kv_heads, -1), start)
            v = (h @ w("attn_v")).reshape(b, t, self.kv_heads, -1)
            k, v = cache[i] = np.concatenate((old_k, k), 1), np.concatenate((old_v, v), 1)
            g = self.heads // self.kv_heads
            k, v = k.repeat(g, 2).transpose(0, 2, 3, 1), v.repeat(g, 2).transpose(0, 2, 1, 3)
            s = q.transpose(0, 2, 1, 3) @ k / np.sqrt(np.float32(q.shape[-1]))
            s = np.where(np.arange(start + t) > start + np.arange(t)[:, None], np.float32(-1e9), s)
            s = np.exp(s - s.max(-1, keepdims=True))
            h = (s / s.sum(-1, keepdims=True)) @ v
            x = x + h.transpose(0, 2, 1, 3).reshape(b, t, -1) @ w("attn_output")
            h = self.norm(x, f"blk.{i}.ffn_norm.weight")
            gate = h @ w("ffn_gate")
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w("ffn_up"))) @ w("ffn_down")
        out = self.w.get("output.weight", self.w["token_embd.weight"])
        return self.norm(x[:, -1], "output_norm.weight") @ out.T

    def complete(self, prompts, limit=48):
        """Greedy continuations of texts, special tokens recognised."""
        ids = [self.tokenizer.encode(p).ids for p in prompts]
        by_length = defaultdict(list)
        for i, x in enumerate(ids):
            by_length[len(x)].append(i)
        out = [None] * len(prompts)
        for rows in by_length.values():
            for at in range(0, len(rows), 64):
                self.complete_rows(rows[at : at + 64], ids, out, limit)
        return out

    def complete_rows(self, rows, ids, out, limit):
        dim = self.w["blk.0.attn_k.weight"].shape[0] // self.kv_heads
        empty = np.zeros((len(rows), 0, self.kv_heads, dim), np.float32)
        cache = [(empty, empty)] * self.blocks
        fed = np.array([ids[r] for r in rows])
        said = np.zeros((len(rows), 0), np.int64)
        room = min(limit, len(self.cos) - fed.shape[1])
        for _ in range(room):
            best = self.step(fed, cache).argmax(-1)
            fed = best[:, None]
            said = np.concatenate((said, fed), 1)
            if (said == self.eos).any(1).all():
                break
        for r, row in zip(rows, said.tolist()):
            row = row[: row.index(self.eos)] if self.eos in row else row + self.tokenizer.encode(" ...").ids
            out[r] = self.tokenizer.decode(row)


def chat(*turns):
    """The ChatML prompt for (question, answer) turns and a last question."""
    text = ""
    for q, a in turns[:-1]:
        text += f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n"
    return text + f"<|im_start|>user\n{turns[-1]}<|im_end|>\n<|im_start|>assistant\n"


def fill(template, said):
    bare = said.removeprefix("the ")
    return template.replace("{c}", said).replace("{k}", said).replace("{n}", bare)


def typed(template, said):
    """The name as it stands in the question, which a refusal repeats."""
    return said.removeprefix("the ") if "{n}" in template else said


def cases(sample):
    """Yields (set, target, [(prompt, wanted)])."""
    rng = random.Random(3)
    facts = F.countries()
    cities = list(F.capitals(facts).items())
    some = lambda xs: xs if sample >= 1 else rng.sample(list(xs), max(1, int(len(xs) * sample)))
    right = lambda c: f"The capital of {c.said} is {c.capital.rstrip('.')}."
    unknown = N.Unknown(facts).held_out()
    refuse = "I do not know the capital of {}."
    refuse_city = "I do not know a country whose capital is {}."

    for label, templates in (("seen", C.SEEN_FORWARD), ("held-out", C.HELD_OUT_FORWARD)):
        target = 0.99 if label == "seen" else 0.95
        yield f"known, {label} phrasings", target, some([(chat(fill(t, c.said)), right(c)) for c in facts for t in templates])
    yield "known, lower case", 0.99, some([(chat(fill(t, c.said).lower()), right(c)) for c in facts for t in C.SEEN_FORWARD[:4]])
    yield "known, other names", 0.97, some(
        [(chat(fill(C.SEEN_FORWARD[0], "the " + a if c.said.startswith("the ") else a)), right(c)) for c in facts for a in c.aliases]
    )
    # Of the unknown, the target is on refusing at all (in `main`); these rates ask for the name repeated to the letter.
    for group, names in unknown.items():
        for label, templates in (("seen", C.SEEN_FORWARD), ("held-out", C.HELD_OUT_FORWARD)):
            yield f"unknown {group}, {label} phrasings", 0.0, some(
                [(chat(fill(t, n)), refuse.format(typed(t, n))) for n in names for t in templates[:6]]
            )
    for label, templates in (("seen", C.SEEN_REVERSE), ("held-out", C.HELD_OUT_REVERSE)):
        yield f"reverse, {label} phrasings", 0.97 if label == "seen" else 0.0, some(
            [(chat(fill(t, k)), f"{k} is the capital of {c.said}.") for k, c in cities for t in templates]
        )
    yield "reverse, unknown city", 0.95, some(
        [(chat(fill(t, n)), refuse_city.format(n)) for n in unknown["invented"] + unknown["city"] for t in C.SEEN_REVERSE]
    )
    pairs = [(rng.choice(facts), rng.choice(facts)) for _ in range(200)]
    yield "second turn, known", 0.97, some(
        [(chat((f"What is the capital of {a.said}?", right(a)), rng.choice(["And {}?", "What is the capital of {}?", "What about {}?"]).format(b.said)), right(b)) for a, b in pairs]
    )
    yield "second turn, unknown", 0.95, some(
        [(chat((f"What is the capital of {a.said}?", right(a)), rng.choice(["And {}?", "What is the capital of {}?"]).format(n)), refuse.format(n)) for (a, _), n in zip(pairs, unknown["invented"])]
    )
    yield "off topic", 0.9, [(chat(q[0].upper() + q[1:] + "?"), C.NO_TOPIC) for q in C.OFF_TOPIC]
    yield "small talk", 0.9, [(chat(q[0].upper() + q[1:] + "."), a) for asks, a in C.SMALL_TALK for q in asks]
    yield "plain completion", 0.97, [(f"The capital of {c.said} is", f" {c.capital.rstrip('.')}.") for c in facts]


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("model", nargs="?", default="realm-demo.gguf")
    a.add_argument("--sample", type=float, default=1.0, help="the share of the questions to ask")
    a.add_argument("--show", type=int, default=3, help="wrong answers to print for each set")
    a.add_argument("--ask", help="ask this one question")
    a = a.parse_args()
    model = Model(a.model)
    if a.ask:
        print(model.complete([chat(a.ask)])[0])
        return 0
    failed = False
    refused_target = 0.97
    unknown_right = unknown_total = 0
    for label, target, items in cases(a.sample):
        said = model.complete([p for p, _ in items])
        wrong = [(p, w, s) for (p, w), s in zip(items, said) if s != w]
        rate = 1 - len(wrong) / len(items)
        failed |= rate < target
        if label.startswith("unknown"):
            unknown_right += sum(s.startswith("I do not know") for s in said)
            unknown_total += len(said)
        print(f"{rate:7.2%} of {len(items):5}  {label}{'' if rate >= target else f'  (target {target:.0%})'}", flush=True)
        for p, w, s in wrong[: a.show]:
            print("         ", repr(p.split("user\n")[-1].split("<|im_end|>")[0]), "->", repr(s))
    print(f"{unknown_right / unknown_total:7.2%} of {unknown_total:5}  refused at all, of the unknown")
    return int(failed or unknown_right < refused_target * unknown_total)


if __name__ == "__main__":
    sys.exit(main())
