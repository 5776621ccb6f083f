"""Trains the demo model from nothing and writes realm-demo.gguf. See README.md for the command."""

import argparse
import random
import time

import gguf
import torch
import torch.nn.functional as F

import export
import vocabulary as V
from corpus import Corpus
from model import Llama, Shape

IGNORE = -100


def encode(tokenizer, corpus, raw):
    """One sample: its token ids and, for each, whether the model is to learn to predict it."""
    ids, learn = [], []

    def add(text, wanted):
        new = tokenizer.encode(text).ids
        ids.extend(new)
        learn.extend([wanted] * len(new))

    if raw:
        add(corpus.raw() + "<|im_end|>", True)
        return ids, learn
    system, turns = corpus.conversation()
    if system:
        add(f"<|im_start|>system\n{system}<|im_end|>\n", False)
    for i, (question, answer) in enumerate(turns):
        add(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", False)
        add(f"{answer}<|im_end|>", True)
        if i + 1 < len(turns):
            add("\n", False)
    return ids, learn


def batches(tokenizer, corpus, shape, tokens, seed):
    """Endless batches (ids [b, t], targets [b, t]) of about `tokens` tokens, of samples of similar length."""
    rng = random.Random(seed)
    while True:
        pool = []
        while len(pool) < 2000:
            sample = encode(tokenizer, corpus, raw=rng.random() < 0.04)
            if len(sample[0]) <= shape.context:
                pool.append(sample)
        pool.sort(key=lambda s: len(s[0]))
        cut, group = [], []
        for sample in pool:
            if group and (len(group) + 1) * len(sample[0]) > tokens:
                cut.append(group)
                group = []
            group.append(sample)
        cut.append(group)
        rng.shuffle(cut)
        for group in cut:
            width = max(len(ids) for ids, _ in group)
            x = torch.full((len(group), width), V.ENDOFTEXT)
            y = torch.full((len(group), width), IGNORE)
            for row, (ids, learn) in enumerate(group):
                n = len(ids)
                x[row, :n] = torch.tensor(ids)
                targets = torch.tensor([t if w else IGNORE for t, w in zip(ids[1:], learn[1:])])
                y[row, : n - 1] = targets
            yield x, y


def save(path, model, pieces, merges):
    """Exports the model; parameter names are already those of the GGUF."""
    weights = {n: p.detach().float().numpy() for n, p in model.state_dict().items()}
    export.write(path, model.shape, weights, pieces, merges)


def load(path, model):
    """Puts the (dequantized) weights of a GGUF into the model."""
    tensors = gguf.GGUFReader(path).tensors
    model.load_state_dict({t.name: torch.tensor(gguf.quants.dequantize(t.data, t.tensor_type)) for t in tensors})


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--out", default="realm-demo.gguf")
    a.add_argument("--start", help="the second stage: go on from this GGUF, with the wide corpus")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--steps", type=int, default=1900)
    a.add_argument("--decay", type=int, default=800, help="the steps at the end in which the learning rate falls to nothing")
    a.add_argument("--tokens", type=int, default=4096, help="tokens per step, padding included")
    a.add_argument("--lr", type=float, default=3e-3)
    a.add_argument("--threads", type=int, default=1)
    a.add_argument("--keep-every", type=int, default=0, help="also write the GGUF every so many steps")
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    torch.use_deterministic_algorithms(True)

    shape = Shape()
    corpus = Corpus(a.seed)
    tokenizer, pieces, merges = V.build(corpus, shape.vocab, a.seed)
    model = Llama(shape)
    seed = a.seed
    if a.start:
        load(a.start, model)
        seed += 1
        corpus = Corpus(seed, wide=True)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    hidden_matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "blk" in n]
    others = [p for n, p in model.named_parameters() if p.dim() == 1 or "blk" not in n]
    optimizers = [
        torch.optim.Muon(hidden_matrices, lr=a.lr, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=a.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    warm, began, recent = 100, time.time(), 0.0
    for step, (x, y) in zip(range(1, a.steps + 1), batches(tokenizer, corpus, shape, a.tokens, seed)):
        lr = a.lr * min(step / warm, 1.0, (a.steps + 1 - step) / a.decay)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model(x)
            wanted = y != IGNORE
            logits = model.logits(hidden[wanted])
        loss = F.cross_entropy(logits.float(), y[wanted])
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        recent += loss.item()
        if step % 50 == 0:
            print(f"step {step} loss {recent / 50:.4f} lr {lr:.2e} {time.time() - began:.0f} s", flush=True)
            recent = 0.0
        if a.keep_every and step % a.keep_every == 0:
            save(a.out, model, pieces, merges)
    save(a.out, model, pieces, merges)


if __name__ == "__main__":
    main()
