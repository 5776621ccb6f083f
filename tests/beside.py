"""Beside llama.cpp: the same files and ids, in one process through `llama-cpp-python` and in realm-run. For tests/e2e.py.

`pip install llama-cpp-python` into the Python that runs the tests is what this needs; without it, it is skipped. Prompts are drawn, so that
they are not those of the oracles. REALM_BESIDE_MODELS: more files, separated by colons.
"""

import ctypes
import os
import random
from pathlib import Path

import large

ARCH = Path(__file__).resolve().parent / "golden" / "arch"
TOKENS = 16
# Largest differences of logits, to the largest logit. llama.cpp's GELU is a table of halves, and its products round activations in other blocks.
FLOATS, GELU, QUANTIZED = 1e-4, 1e-3, 5e-2
F32 = 0  # ggml's number


class Llama:
    """One model in llama.cpp, on one thread, with keys and values in f32."""

    def __init__(self, lib, path):
        self.lib = lib
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = lib.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise ValueError(f"llama.cpp does not load {path}")
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.size = lib.llama_vocab_n_tokens(self.vocab)

    def close(self):
        self.lib.llama_model_free(self.model)

    def facts(self, key):
        room = ctypes.create_string_buffer(256)
        n = self.lib.llama_model_meta_val_str(self.model, key.encode(), room, len(room))
        return room.value.decode() if n >= 0 else ""

    def generate(self, ids, count=TOKENS, room=256):
        """The logits behind these, then the best tokens, and what each was better by than the second best."""
        lib = self.lib
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = room, room, 256
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = F32
        if hasattr(params, "flash_attn_type"):
            params.flash_attn_type = 0
        context = lib.llama_init_from_model(self.model, params)
        if not context:
            raise ValueError("llama.cpp makes no context")
        first, tokens, margins = None, [], []
        try:
            while len(tokens) < count:
                batch = (lib.llama_token * len(ids))(*ids)
                if lib.llama_decode(context, lib.llama_batch_get_one(batch, len(ids))) != 0:
                    raise ValueError("llama.cpp does not decode")
                logits = lib.llama_get_logits_ith(context, -1)[: self.size]
                first = first or logits
                best, second = sorted(range(self.size), key=lambda i: (-logits[i], i))[:2]
                tokens.append(best)
                margins.append(logits[best] - logits[second])
                ids = [best]
        finally:
            lib.llama_free(context)
        return first, tokens, margins


def tolerance(llama):
    if llama.facts("general.file_type") not in ("", "0"):
        return QUANTIZED
    arch = llama.facts("general.architecture")
    return GELU if arch.startswith(("gemma", "gpt2", "starcoder")) else FLOATS


def compare(lib, tools, must, path, rng):
    llama = Llama(lib, path)
    try:
        allowed = tolerance(llama)
        for length in (1, 7, 40):
            ids = [rng.randrange(3, llama.size) for _ in range(length)]
            want, tokens, margins = llama.generate(ids)
            got = tools.logits(path, ids, "--kv-type", "f32")
            most = max(map(abs, want))
            worst = max(abs(a - b) for a, b in zip(got, want)) / most
            must(len(got) == len(want) and worst <= allowed, f"{length} ids: {worst:.3g} of the largest logit, allowed {allowed}")
            ours = tools.greedy(path, ids, TOKENS, "--kv-type", "f32")
            for i, (a, b) in enumerate(zip(ours, tokens)):
                if a != b:
                    # Nearly a tie: from here on the texts are others.
                    must(margins[i] <= 2 * allowed * most, f"{length} ids: token {i} is {a} instead of {b}, which is better by {margins[i]:.3g}")
                    break
            must(len(ours) == len(tokens), f"{len(ours)} tokens instead of {len(tokens)}")
    finally:
        llama.close()


def compare_long(lib, tools, must):
    """More than 32768 positions, and a thousand times the original context."""
    path, ids = ARCH / "mistral3-long.gguf", large.ids_of(large.POSITIONS)
    llama = Llama(lib, path)
    try:
        want, _, _ = llama.generate(ids, 1, large.POSITIONS + 8)
    finally:
        llama.close()
    got = tools.logits(path, ids, "-c", large.POSITIONS + 8, "--kv-type", "f32")
    worst = max(abs(a - b) for a, b in zip(got, want)) / max(map(abs, want))
    must(worst <= FLOATS, f"{worst:.3g} of the largest logit, allowed {FLOATS}")


def files(data):
    # Those that make text, but for what only the guest in guest/examples knows, and what llama.cpp no longer does.
    found = [p for p in sorted(ARCH.glob("*.gguf")) if "bert" not in p.name and p.stem not in ("starcoder2", "mixtral-apart")]
    for folder in ["logits", "logits_quant"]:
        found += sorted((data / folder).rglob("*.gguf"))
    return found + [Path(p) for p in os.environ.get("REALM_BESIDE_MODELS", "").split(":") if p]


def run(tools, check, must, report, data):
    try:
        import llama_cpp as lib
    except ImportError as e:
        report("skipped", "BESIDE LLAMA.CPP", f"{e} (pip install llama-cpp-python)")
        return
    quiet = lib.llama_log_callback(lambda level, text, user: None)
    lib.llama_log_set(quiet, None)
    lib.llama_backend_init()
    check(f"beside llama.cpp: {large.POSITIONS} positions", compare_long, lib, tools, must)
    for path in files(data):
        check(f"beside llama.cpp: {path.stem}", compare, lib, tools, must, path, random.Random(path.stem))
