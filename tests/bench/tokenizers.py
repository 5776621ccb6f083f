#!/usr/bin/env python3
"""Times Realm's tokenizers beside the package `tokenizers` (pip install tokenizers gguf), one thread each.

    tests/bench/tokenizers.py LIBREALM.a VOCAB.gguf...

For each vocabulary of byte-level BPE, SentencePiece BPE or WordPiece a `tokenizers.Tokenizer` is built of the same tokens and merges; both read the same megabyte of this
repository's documents and sources and of other alphabets, and must give the same ids. Prints a table: the median of rounds.
"""
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# This file has the package's name.
sys.path.pop(0)
import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

ROOT = Path(__file__).resolve().parent.parent.parent
BYTES, ROUNDS = 1_000_000, 7
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {"llama-bpe": LLAMA3, "qwen2": LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"), "gpt-2": None}
# In turns, so that no cache of words has it all in its first kilobytes.
OTHERS = """Съешь же ещё этих мягких французских булок, да выпей чаю. Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.
天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。いろはにほへと ちりぬるを わかよたれそ つねならむ 키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.
الحب كل الحب بلا سبب 🌍🚀✨ 3.14159 0xDEADBEEF {"key": [1, 22, 333]} https://example.org/a?b=c&d=%20
"""


def text():
    """A megabyte: every document and source of the repository, from the first on, with other alphabets in between."""
    files = sorted(p for folder in ("guest", "realm-sys", "examples-c", "ports", "tests") for kind in ("*.md", "*.rs", "*.c", "*.py")
                   for p in (ROOT / folder).rglob(kind) if "target" not in p.parts)
    out = ""
    while len(out.encode()) < BYTES:
        for p in files:
            out += p.read_text(encoding="utf-8", errors="replace")[:20000] + OTHERS
    return out.encode()[:BYTES].decode(errors="ignore")


def field(reader, key, default=None):
    found = reader.fields.get("tokenizer.ggml." + key)
    return default if found is None else found.contents()


def merges_of(tokens, scores):
    """A SentencePiece vocabulary's merges: every way to put a token together, in the order of the tokens' scores."""
    rank = {t: i for i, t in enumerate(tokens)}
    found = []
    for i, t in enumerate(tokens):
        found += [(scores[i], i, (t[:k], t[k:])) for k in range(1, len(t)) if t[:k] in rank and t[k:] in rank]
    # As transformers converts them: by score, then by where the two parts are.
    found.sort(key=lambda m: (-m[0], rank[m[2][0]], rank[m[2][1]]))
    return [m[2] for m in found]


def theirs(path):
    """The same vocabulary as the package has it, or why not."""
    reader = gguf.GGUFReader(path)
    kind, pre = field(reader, "model"), field(reader, "pre", "default")
    tokens = field(reader, "tokens")
    ids = {t: i for i, t in enumerate(tokens)}
    if kind == "gpt2" and pre in SPLITS:
        merges = [tuple(m.split(" ", 1)) for m in field(reader, "merges")]
        made = Tokenizer(models.BPE(ids, merges, ignore_merges=pre == "llama-bpe"))
        if SPLITS[pre] is None:
            made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        else:
            made.pre_tokenizer = pre_tokenizers.Sequence([
                pre_tokenizers.Split(Regex(SPLITS[pre]), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        return made
    if kind == "llama":
        made = Tokenizer(models.BPE(ids, merges_of(tokens, field(reader, "scores")), byte_fallback=True, fuse_unk=True, unk_token=tokens[0]))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        return made
    if kind == "bert":
        # The package writes what goes on "##x", llama.cpp what begins "▁x".
        words = {(t[1:] if t.startswith("▁") else t if t.startswith("[") and len(t) > 2 else "##" + t): i for t, i in ids.items()}
        made = Tokenizer(models.WordPiece(words, unk_token="[UNK]", max_input_chars_per_word=10**6))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return made
    raise ValueError(f"{kind}, {pre}: not built here")


def main():
    library, paths = sys.argv[1], sys.argv[2:]
    data = text()
    print(f"{len(data.encode())} bytes, one thread, median of {ROUNDS} rounds\n")
    print("| vocabulary | tokens | tokenizers, ms | Realm, ms | Realm takes | ids that differ |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "text").write_text(data, encoding="utf-8")
        own = folder / "tokenize"
        subprocess.run(["cc", "-O2", f"-I{ROOT / 'include'}", ROOT / "tests/bench/tokenize.c", library, "-o", own, "-lpthread", "-ldl", "-lm"], check=True)
        for path in paths:
            name = Path(path).stem.removeprefix("ggml-vocab-")
            try:
                tokenizer = theirs(path)
            except ValueError as e:
                print(f"skipped: {name}: {e}", file=sys.stderr)
                continue
            took = []
            for _ in range(ROUNDS + 1):
                start = time.perf_counter()
                ids = tokenizer.encode(data, add_special_tokens=False)
                took.append(1e3 * (time.perf_counter() - start))
            ids = ids.ids
            done = subprocess.run([own, path, folder / "text", str(ROUNDS), folder / "ids"], check=True, capture_output=True, text=True)
            raw = (folder / "ids").read_bytes()
            ours = struct.unpack(f"<{len(raw) // 4}I", raw)
            a, b = statistics.median(took[1:]), statistics.median(map(float, done.stdout.split()))
            differ = sum(x != y for x, y in zip(ids, ours)) + abs(len(ids) - len(ours))
            print(f"| {name} | {len(ours)} | {a:.0f} | {b:.0f} | {b / a:.2f} of the time | {differ} |", flush=True)


if __name__ == "__main__":
    main()
