#!/usr/bin/env python3
"""Runs the tools as a user would and compares with what others computed.

    tests/e2e.py BIN_DIR [--data DIR] [--write-table]
    tests/e2e.py BIN_DIR --guest NAME=WASM [--write-table]

BIN_DIR holds realm-run and realm-tokenize. DIR (default $REALM_TEST_DATA, else ../shared/data beside
the repository) holds the oracles; without it only the tests that need none are run. Needs nothing but
Python's standard library. The last line counts: `N passed, N failed, N skipped`.

The second form runs the models in tests/golden/arch that are the guest NAME's, and nothing else.

The tables of architectures in guest/README.md are what this finds; --write-table writes them, otherwise one that is not
current is a failure.
"""

import argparse
import json
import math
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import adapters
import beside
import drafts
import embeddings
import large
import terminal

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
# Vocabularies the core knows.
VOCABULARIES = ["llama-spm", "llama-bpe", "gpt-2", "qwen2"]
counts = {"passed": 0, "failed": 0, "skipped": 0}


def report(result, what, why=""):
    counts[result] += 1
    if result != "passed":
        print(f"{result}: {what}: {why}", flush=True)


class Mismatch(Exception):
    """A test's result is not what it should be."""


def check(what, test, *args):
    result = None
    try:
        result = test(*args)
    except Mismatch as e:
        report("failed", what, e)
    except (subprocess.TimeoutExpired, OSError, ValueError, KeyError) as e:
        report("failed", what, repr(e))
    else:
        report("passed", what)
    return result


def must(condition, message):
    if not condition:
        raise Mismatch(message)


def run(*args, timeout=120):
    return subprocess.run(
        [str(a) for a in args], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout
    )


def succeed(*args, codes=(0,)):
    done = run(*args)
    must(done.returncode in codes, f"exit code {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return done


def read_floats(path):
    data = Path(path).read_bytes()
    return struct.unpack(f"<{len(data) // 4}f", data)


def ids_text(ids):
    return " ".join(map(str, ids))


class Tools:
    def __init__(self, bin_dir, scratch):
        self.run = bin_dir / "realm-run"
        self.tokenize = bin_dir / "realm-tokenize"
        self.bench = bin_dir / "realm-bench"
        names = ["scalar", "avx2", "avxvnni", "avx512", "neon", "neon-dotprod", "neon-i8mm"]
        # Those that this machine has. Another failure than not having it is a failure.
        self.levels, self.broken = [], []
        for name in names:
            done = run(self.run, "--isa", name, "-n", 1)
            said = done.stderr.decode(errors="replace")
            if done.returncode == 0:
                self.levels.append(name)
            elif name == "scalar" or f"has no '{name}'" not in said:
                self.broken.append(f"--isa {name}: exit code {done.returncode}: {said.strip()}")
        self.scratch = scratch
        # What realm-run is given in any case.
        self.options = []

    def logits(self, model, ids, *options):
        out = self.scratch / "logits.f32"
        out.unlink(missing_ok=True)
        done = succeed(
            self.run, "-m", model, "--ids", ids_text(ids), "-n", 0, "--logits-out", out, *self.options, *options
        )
        must(done.stdout == b"", "-n 0 printed something")
        return read_floats(out)

    def embedding(self, model, ids, *options):
        out = self.scratch / "embedding.f32"
        out.unlink(missing_ok=True)
        done = succeed(self.run, "-m", model, "--ids", ids_text(ids), "--embedding-out", out, *options)
        must(done.stdout == b"", "an embedding's turn printed something")
        return read_floats(out)

    def greedy(self, model, ids, n, *options):
        done = succeed(
            self.run, "-m", model, "--ids", ids_text(ids), "-n", n, "--temp", 0, "--ignore-eos", "--ids-out", *self.options, *options
        )
        return [int(x) for x in done.stdout.split()]


# ---- oracles ----------------------------------------------------------------------------------


def last_row(folder, case):
    rows = read_floats(folder / case["logits_file"])
    width = case.get("shape", [0, len(rows)])[1]
    return rows[-width:]


def compare_logits(tools, model, case, folder, tolerance):
    """Differences are relative to the largest logit. Returns the largest."""
    want = last_row(folder, case)
    got = tools.logits(model, case["prompt_ids"])
    must(len(got) == len(want), f"{len(got)} logits, {len(want)} expected")
    worst = max(abs(a - b) for a, b in zip(got, want)) / max(map(abs, want))
    must(worst <= tolerance, f"largest difference {worst:.3g} of the largest logit, allowed {tolerance}")
    return worst


def compare_greedy(tools, model, case):
    want = case["greedy_ids"]
    got = tools.greedy(model, case["prompt_ids"], len(want))
    must(got == want, f"{got} instead of {want}")


def compare_band(tools, model, case, folder):
    """Quantized weights: int8 activations may cost what they cost llama.cpp, and no more."""
    want = last_row(folder, case)
    got = tools.logits(model, case["prompt_ids"])
    differences = [a - b for a, b in zip(got, want)]
    rms = math.sqrt(sum(d * d for d in differences) / len(differences))
    worst = max(map(abs, differences))
    must(rms <= 0.065 and worst <= 0.2, f"rms {rms:.3g}, largest {worst:.3g}")


def compare_embedding(tools, model, case, folder, tolerance):
    """Embeddings have length 1. Returns the largest difference."""
    want = read_floats(folder / case["embedding_file"])
    got = tools.embedding(model, case["prompt_ids"])
    must(len(got) == len(want), f"{len(got)} elements, {len(want)} expected")
    worst = max(abs(a - b) for a, b in zip(got, want))
    must(worst <= tolerance, f"largest difference {worst:.3g}, allowed {tolerance}")
    return worst


def compare_exactness(evaluate, tools, model, ids):
    """Slicing, threads, the size of prefill steps, the backend and its instructions must not change a bit."""
    plain = evaluate(model, ids)
    variants = [["--budget-us", 50], ["-t", 3], ["--param", "n_batch=1"], ["-t", 2, "--budget-us", 200]]
    variants += [["--mmap"], ["--no-mmap", "-t", 2], ["--backend", "reference"]] + [["--isa", name, "-t", 2] for name in tools.levels]
    for options in variants:
        must(evaluate(model, ids, *options) == plain, f"other bits with {options}")


def architecture(tools, model, name, folder, expected, tolerance):
    """Compares a model with its oracle; returns its row of the table in guest/README.md, or None after a failure."""
    cases, failed = expected["cases"], counts["failed"]
    worst, embeds = 0.0, "embedding_file" in cases[0]
    for i, case in enumerate(cases):
        if embeds:
            found = check(f"{name} case {i} embedding", compare_embedding, tools, model, case, folder, tolerance)
        else:
            found = check(f"{name} case {i} logits", compare_logits, tools, model, case, folder, tolerance)
            check(f"{name} case {i} greedy", compare_greedy, tools, model, case)
        worst = max(worst, found or 0)
    evaluate = tools.embedding if embeds else tools.logits
    check(f"{name} exactness", compare_exactness, evaluate, tools, model, cases[-1]["prompt_ids"])
    said = check(f"{name} operations", operations, tools, model)
    if counts["failed"] > failed:
        return None
    reference = re.match(r"[\w.]+( \([^)]*\)| [0-9.]+)?", expected["reference"]).group()
    digits = f"{10 ** math.ceil(math.log10(worst)):.0e}".replace("e-0", "e-")
    prompts, tokens = len(cases), sum(len(case.get("greedy_ids", [])) for case in cases) or "embedding"
    return f"| {name} | {said[0]} | {reference}, {prompts} prompts: below {digits} | {tokens} | {said[1]} |"


def operations(tools, model):
    """The architecture that a file says it is of, and the operations that the guest uses for it, by name."""
    said = succeed(tools.run, "-m", model, "--ids", "1", "-n", 0, "--verbose", *tools.options).stderr.decode()
    codes = re.search(r"operations of the model:((?: \d+)+)", said)
    must(codes, "the guest does not say which operations it uses")
    abi = (ROOT / "guest" / "ABI.md").read_text()
    names = dict(re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", abi, re.M))
    key = string(b"general.architecture") + struct.pack("<I", 8)
    data = model.read_bytes()
    at = data.index(key) + len(key)
    (length,) = struct.unpack_from("<Q", data, at)
    return data[at + 8 : at + 8 + length].decode(), " ".join(names[code] for code in codes.group(1).split())


def architecture_tests(tools, data):
    """Everything in the shared data, and what tests/golden/arch has beside it; returns the table."""
    rows = []
    for folder in sorted((data / "logits").iterdir()):
        if folder.is_dir():
            expected = json.loads((folder / "expected.json").read_text())
            model = folder / f"{folder.name}.gguf"
            rows.append(architecture(tools, model, folder.name, folder, expected, 1e-4))
    return rows + golden_architectures(tools)


def golden_architectures(tools, guest=None):
    """Those of the guest that comes with the library, or of another one."""
    folder = GOLDEN / "arch"
    all = json.loads((folder / "expected.json").read_text())
    its = [(n, e) for n, e in sorted(all.items()) if e.get("guest") == guest]
    return [architecture(tools, folder / f"{n}.gguf", n, folder, e, e["tolerance"]) for n, e in its]


def table_is_current(rows, write, options=""):
    path = ROOT / "guest" / "README.md"
    text = path.read_text()
    begin, end = f"<!-- written by tests/e2e.py {options}--write-table -->\n", "<!-- end -->\n"
    head = "| model | architecture | logits or embedding | tokens | operations |\n|---|---|---|---|---|\n"
    table = head + "".join(f"{row}\n" for row in rows)
    before, rest = text.split(begin)
    old, after = rest.split(end, 1)
    if write:
        path.write_text(before + begin + table + end + after)
        return
    must(old == table, "guest/README.md's table is not what was found: tests/e2e.py BIN_DIR --write-table")


def third_party(tools, name, wasm, write):
    """A guest of somebody else's runs what the library's own refuses, and all else as that does."""
    model = GOLDEN / "arch" / f"{name}.gguf"
    strange = tools.scratch / "strange.gguf"
    strange.write_bytes(model.read_bytes().replace(name.encode(), b"x" * len(name)))
    for file, options, begins in [
        (model, [], f"unknown architecture '{name}'; this guest knows llama "),
        (strange, ["--guest", wasm], f"unknown architecture '{'x' * len(name)}'; this guest knows {name} llama "),
    ]:
        done = run(tools.run, "-m", file, "-p", "x", *options)
        said = done.stderr.decode(errors="replace")
        check(f"refuses what it does not know, {options}", must, done.returncode == 1 and begins in said, said)
    tools.options = ["--guest", wasm]
    rows = golden_architectures(tools, name)
    check(f"a model of {name}", must, rows, "there is none in tests/golden/arch")
    if None not in rows:
        check(f"table of {name}", table_is_current, rows, write, f"--guest {name}=... ")
    done = run(tools.run, "--guest", wasm)
    check("the demo model", must, done.stdout == b"The capital of France is Paris.\n", done)


def oracle_tests(tools, data):
    folder = data / "models" / "stories260K"
    cases = json.loads((folder / "expected.json").read_text())["cases"]
    for i, case in enumerate(cases):
        model = folder / "stories260K-F32.gguf"
        check(f"stories260K case {i} logits", compare_logits, tools, model, case, folder, 1e-4)
        check(f"stories260K case {i} greedy", compare_greedy, tools, model, case)
    check("grammars and schemas, a trained model", constrained, tools, folder / "stories260K-F32.gguf")
    folder = data / "logits_quant"
    for name, entry in json.loads((folder / "expected.json").read_text())["results"].items():
        for i, case in enumerate(entry["cases"]):
            check(f"{name} case {i} band", compare_band, tools, folder / f"{name}.gguf", case, folder)
        ids = entry["cases"][-1]["prompt_ids"]
        check(f"{name} exactness", compare_exactness, tools.logits, tools, folder / f"{name}.gguf", ids)


def compare_vocabulary(tools, model, texts, expected):
    path = tools.scratch / "text"
    for text, want in zip(texts, expected):
        path.write_bytes(text)
        done = succeed(tools.tokenize, "-m", model, "-f", path, "--ids", "--no-bos", "--no-special")
        got = [int(x) for x in done.stdout.split()]
        must(got == want, f"{text[:40]!r}: {got[:12]} instead of {want[:12]}")


def vocabulary_tests(tools, data):
    for name in VOCABULARIES:
        model = data / "vocab" / f"ggml-vocab-{name}.gguf"
        texts = Path(f"{model}.inp").read_bytes().split(b"\n__ggml_vocab_test__\n")
        lines = Path(f"{model}.out").read_text().split("\n")
        expected = [[int(x) for x in line.split()] for line in lines]
        check(f"vocabulary {name}", compare_vocabulary, tools, model, texts, expected)


# ---- what needs no oracle -----------------------------------------------------------------------


def demo_answers(tools):
    done = succeed(tools.run)
    must(done.stdout.decode().strip() == "The capital of France is Paris.", repr(done.stdout))
    must(done.stderr == b"", f"on stderr: {done.stderr!r}")


def demo_stats(tools):
    done = succeed(tools.run, "--stats", "json", "-t", 2)
    stats = json.loads(done.stderr.decode().splitlines()[-1])
    for key in (
        "load_ms hash_ms prompt_tokens prefill_tok_s generated_tokens decode_tok_s guest_linear_memory_bytes "
        "kv_bytes scratch_bytes peak_rss_bytes interpreter_us_per_token"
    ).split():
        must(key in stats, f"no {key}")
    must(stats["generated_tokens"] > 0 and stats["prompt_tokens"] > 0, f"nothing counted: {stats}")
    must(0 < stats["guest_linear_memory_bytes"] <= 2 << 20, "guest memory above 2 MiB")


def seeded_runs_repeat(tools):
    options = ["--temp", 1.5, "--top-k", 0, "--top-p", 1, "--min-p", 0, "-n", 24, "--ignore-eos"]
    first = succeed(tools.run, *options, "--seed", 7).stdout
    must(succeed(tools.run, *options, "--seed", 7, "-t", 2).stdout == first, "same seed, other text")
    texts = {succeed(tools.run, *options, "--seed", seed).stdout for seed in range(1, 6)}
    must(len(texts) > 1, "five seeds, one text")


def samplers_act(tools):
    plain = ["-n", 24, "--ignore-eos", "--top-k", 0, "--top-p", 1, "--min-p", 0, "--temp", 1.5]
    greedy = ["-n", 40, "--ignore-eos"]
    for base, options in [
        (plain, ["--typical", 0.3]),
        (plain, ["--top-nsigma", 1]),
        (plain, ["--xtc-probability", 1, "--xtc-threshold", 0.02]),
        (plain, ["--dynatemp-range", 1.4]),
        (plain, ["--mirostat", 1, "--mirostat-ent", 1]),
        (plain, ["--mirostat", 2, "--mirostat-ent", 1]),
        (plain, ["--param", "top_k=2", "--param", "samplers=temperature;top_k"]),
        (greedy, ["--dry-multiplier", 5, "--dry-allowed-length", 1]),
        (greedy, ["--presence-penalty", 5]),
    ]:
        texts = []
        for seed in range(3):
            without = succeed(tools.run, *base, "--seed", seed).stdout
            text = succeed(tools.run, *base, *options, "--seed", seed).stdout
            must(succeed(tools.run, *base, *options, "--seed", seed, "-t", 2).stdout == text, f"{options}: other text")
            texts.append((without, text))
        must(any(a != b for a, b in texts), f"{options} has no effect")
    # What the chain does not name is off.
    off = ["--param", "samplers=temperature"]
    filtered = ["--typical", 0.3, "--xtc-probability", 1, "--presence-penalty", 5, "--dry-multiplier", 5]
    must(succeed(tools.run, *plain, *off).stdout == succeed(tools.run, *plain, *off, *filtered).stdout, "not off")


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "height": {"type": "number"},
        "tags": {"type": "array", "items": {"enum": ["a", "b", 3, None]}, "minItems": 1, "maxItems": 3},
        "born": {"type": "string", "format": "date"},
        "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
        "friend": {"anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/friend"}]},
    },
    "required": ["name", "age", "tags", "born", "code", "friend"],
    "additionalProperties": False,
    "$defs": {"friend": {"type": "object", "properties": {"n": {"const": "x"}}, "required": ["n"], "additionalProperties": False}},
}


def is_person(p):
    friend = p.get("friend")
    return (
        {"name", "age", "tags", "born", "code", "friend"} <= set(p) <= set(PERSON["properties"])
        and isinstance(p["name"], str) and 1 <= len(p["name"]) <= 12
        and type(p["age"]) is int and 0 <= p["age"] <= 150
        and type(p.get("height", 0)) in (int, float)
        and 1 <= len(p["tags"]) <= 3 and all(tag in ("a", "b", 3, None) for tag in p["tags"])
        and re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", p["born"])
        and re.fullmatch(r"[A-Z]{2}-\d{3}", p["code"])
        and (type(friend) is bool or friend == {"n": "x"})
    )


def constrained(tools, model):
    """Whatever a model wants to say, it comes out as the grammar or the schema has it, and threads change nothing."""
    asked = ["-m", model, "-p", "Once", "--raw"]
    schema, grammar = tools.scratch / "person.json", tools.scratch / "answer.gbnf"
    schema.write_text(json.dumps(PERSON, indent=1))
    grammar.write_text('root ::= answer ("," answer){2}\nanswer ::= "yes" | "no" | "perhaps"\n')
    texts = set()
    for seed, temp in [(1, 0), (1, 1), (2, 1.5), (3, 5), (4, 100)]:
        options = [*asked, "--temp", temp, "--top-k", 0, "--seed", seed, "-n", 400]
        text = succeed(tools.run, *options, "--json-schema-file", schema).stdout
        must(is_person(json.loads(text)), f"seed {seed}: {text!r}")
        must(succeed(tools.run, *options, "-j", json.dumps(PERSON), "-t", 2).stdout == text, "other text with two threads")
        texts.add(text)
        said = succeed(tools.run, *options, "--grammar-file", grammar).stdout.decode().strip()
        must(re.fullmatch("(yes|no|perhaps)(,(yes|no|perhaps)){2}", said), repr(said))
        # Any JSON is JSON as far as it got.
        text = succeed(tools.run, *options, "-j", "{}").stdout.decode()
        must(text.strip()[:1] in set('{["-0123456789tfn'), repr(text))
    must(len(texts) > 2, "five seeds, hardly any texts")
    words = [*asked, "-n", 60, "--param", "grammar_lazy=1", "--param", "grammar_triggers= was\n he"]
    free = succeed(tools.run, *asked, "-n", 60).stdout
    bound = succeed(tools.run, *words, "--grammar", 'root ::= " was" [^a]* | " he" "!"').stdout
    at = min(i for i in (free.find(b" was"), free.find(b" he"), len(free)) if i >= 0)
    must(bound[:at] == free[:at] and b"a" not in bound[at + 4 :], f"{free!r}, {bound!r}")


def bad_grammars(tools):
    for want, *args in [
        ("parameter grammar, line 2, column 7: expected ] to end these characters", "--grammar", "root ::= x\nx ::= [a"),
        ("parameter json_schema, line 1, column 10: unknown type 'objekt', expected object, array, string, integer, number, boolean or null", "-j", '{"type": "objekt"}'),
        ("parameter json_schema, line 2, column 1: expected a name in quotes", "-j", "{\n}"[:2] + "x"),
        ("parameters grammar and json_schema exclude each other; set one of them to nothing", "--grammar", 'root ::= "a"', "-j", "{}"),
    ]:
        check(f"realm-run tells: {want[:40]}", tells, tools.run, 1, want, "-p", "x", *args)


def large_grammars(tools, model):
    """What is large costs no session: it works, or is refused in a sentence."""
    file = tools.scratch / "large"
    asked = ["-m", model, "-p", "Once", "--raw", "--ignore-eos", "--temp", 1, "--seed", 1, "-n", 8]

    def words(count):
        return [f"{i * 7919 % 99991:05}" for i in range(count)]

    strings = {name: {"type": "string"} for name in words(3000)}
    for option, text, want in [
        ("json-schema", json.dumps({"type": "object", "properties": strings}), None),
        ("json-schema", json.dumps({"enum": words(10000)}), None),
        ("json-schema", json.dumps({"anyOf": [{"const": {"k": i}} for i in range(3000)]}), None),
        ("json-schema", '{"enum": [' + "0," * 400_000 + "0]}", "column 131079: expected at most 65536 values"),
        ("grammar", "root ::= [" + "".join(chr(0x100 + 2 * i) for i in range(20000)) + "]+", None),
        ("grammar", "root ::= " + " ".join(f"[{chr(48 + i % 40)}-{chr(200 + i)}]" for i in range(3000)), None),
        ("grammar", "root ::= " + "(" * 20 + "[a-z]" + "{0,1000})" * 20, None),
    ]:
        file.write_text(text)
        done = run(tools.run, *asked, f"--{option}-file", file)
        said = done.stderr.decode(errors="replace").strip()
        must("fuel" not in said, f"{text[:40]}: {said}")
        must(want in said if want else done.returncode == 0, f"{text[:40]}: {said}")


def refused(tools, code, *args):
    done = run(tools.run, *args, timeout=60)
    lines = done.stderr.decode(errors="replace").splitlines()
    must(done.returncode == code, f"exit code {done.returncode}, {code} expected; {lines[-1:]}")
    must(len(lines) == 1 and lines[0].startswith("realm-run: "), f"not one line: {lines}")
    must(done.stdout == b"", "something on stdout")


def refusals(tools):
    scratch = tools.scratch
    (scratch / "empty.gguf").write_bytes(b"")
    (scratch / "text.gguf").write_bytes(b"This is not a model.\n" * 100)
    for name in ["missing.gguf", "empty.gguf", "text.gguf", "."]:
        check(f"refuses {name}", refused, tools, 1, "-m", scratch / name, "-p", "x")
    check("refuses a bad guest", refused, tools, 1, "--guest", scratch / "text.gguf", "-p", "x")
    check("refuses a missing guest", refused, tools, 1, "--guest", scratch / "missing.wasm", "-p", "x")
    check("refuses an unknown backend", refused, tools, 1, "--backend", "abacus", "-p", "x")
    check("refuses a huge token id", refused, tools, 1, "--ids", "4294967295")
    check("a full context has an exit code of its own", full, tools)
    check("limits of the guest are options", guest_limits, tools)
    check("refuses an unknown parameter", refused, tools, 1, "--param", "tmep=1", "-p", "x")
    misuses = [
        ["--frobnicate"], ["-n"], ["-n", "many"], ["-n", "1.5"], ["--temp", "nan"], ["--temp", "0x1"], ["-t", "0"],
        ["--ids", "1 x"], ["--ids", ""], ["-p", "a", "--ids", "1"], ["--raw", "--chat"], ["--stats", "xml"],
        ["--raw=1"], ["-m", "model.gguf"], ["stray"],
    ]
    for args in misuses:
        check(f"misuse {args}", refused, tools, 2, *args)


def guest_limits(tools):
    """What does not suffice is named, and has an option that makes it suffice."""
    schema = tools.scratch / "large.json"
    schema.write_text(json.dumps({"type": "object", "properties": {f"{i * 7919 % 99991:05}": {"type": "string"} for i in range(3000)}}))
    for few, enough, named, args in [
        (["--guest-memory", "1"], ["--guest-memory", "64"], "max_guest_memory_bytes", ["-n", "2", "--json-schema-file", schema]),
        (["--fuel", "1"], ["--fuel", "9999"], "fuel_per_event", ["-n", "2", "--json-schema-file", schema]),
        (["--buffer-memory", "1"], [], "max_buffer_bytes", ["-c", "65536", "--pooling", "mean"]),
    ]:
        done = run(tools.run, "-p", "Hi", *args, *few, timeout=60)
        must(done.returncode == 1 and named in done.stderr.decode(), f"{few}: exit code {done.returncode}: {done.stderr!r}")
        must(done.stdout == b"", "something on stdout")
        succeed(tools.run, "-p", "Hi", *args, *enough)


def full(tools):
    """A text that is cut short because the context is full ends with a code of its own."""
    done = run(tools.run, "-c", "24", "-n", "-1", "--ignore-eos", "-p", "What is the capital of France?", timeout=60)
    must(done.returncode == 3 and b"the context is full" in done.stderr, f"exit code {done.returncode}: {done.stderr!r}")
    must(done.stdout.startswith(b"The capital"), f"{done.stdout!r}")


def tells(tool, code, want, *args):
    """A wrong call ends with this code and one line, which says what was wrong and what was expected."""
    done = run(tool, *args, timeout=60)
    got = done.stderr.decode(errors="replace")
    must(done.returncode == code and got == f"{tool.name}: {want}\n", f"exit code {done.returncode}: {got!r}, expected {want!r}")
    must(done.stdout == b"", "something on stdout")


def messages(tools, demo):
    text, cut = tools.scratch / "text.gguf", tools.scratch / "cut.gguf"
    text.write_bytes(b"This is not a model.\n" * 100)
    cut.write_bytes(demo.read_bytes()[:1000000])
    missing = tools.scratch / "missing.gguf"
    levels = "scalar, avx2, avxvnni, avx512, neon, neon-dotprod, neon-i8mm"
    for tool in [tools.run, tools.tokenize, tools.bench]:
        prompt = [] if tool == tools.bench else ["-p", "x"]
        for code, want, *args in [
            (1, f"cannot open {missing}: No such file or directory", "-m", missing),
            (1, f"cannot read {tools.scratch}: it is a directory", "-m", tools.scratch),
            (1, f'{text}: not a GGUF file: it begins with "This", not "GGUF"', "-m", text),
            (2, "--model: the value is empty", "-m", ""),
            (2, "unknown option '--frobnicate' (see --help)", "--frobnicate"),
        ]:
            check(f"{tool.name} tells: {want}", tells, tool, code, want, *args, *prompt)
        check(f"{tool.name} tells what is missing", tells, tool, 2, "-m needs a value", "-m")
    for tool, code, want, *args in [
        (tools.run, 2, "--n-predict: 'abc' is not a whole number from -1 to 2147483647", "-n", "abc"),
        (tools.run, 2, "--n-predict: '-5' is not a whole number from -1 to 2147483647", "-n", "-5"),
        (tools.run, 2, "--n-predict: '5x' is not a whole number from -1 to 2147483647", "-n5x"),
        (tools.run, 2, "--ctx: '16777217' is not a whole number from 0 to 16777216", "-c", "16777217"),
        (tools.run, 2, "--stop: the value is empty", "--stop", ""),
        (tools.run, 2, "a system message belongs to a chat, and this prompt is raw text", "--raw", "-p", "x", "--system", "y"),
        (tools.run, 2, "a system message belongs to a chat, and this prompt is token ids", "--ids", "1", "--system", "y"),
        (tools.run, 2, "a system message belongs to a chat, and images know no chat (--record)", "--record", tools.scratch / "no.image", "--system", "y"),
        (tools.run, 1, "unknown parameter 'tmep'; did you mean 'temp'?", "--param", "tmep=1"),
        (tools.run, 1, "unknown parameter 'TOP_K'; did you mean 'top_k'?", "--param", "TOP_K=1"),
        (tools.run, 1, "parameter min_p is '-1', expected a number from 0 to 1", "--param", "min_p=-1"),
        (tools.bench, 2, "nothing to measure: -p and -n are both 0", "-m", demo, "-p", "0", "-n", "0,0"),
        (tools.run, 2, "--temp: 'hot' is not a number from 0 to 1000", "--temp", "hot"),
        (tools.run, 2, "--seed: '-2' is not a whole number from -1 to 4294967295", "--seed", "-2"),
        (tools.run, 2, "--raw and --chat exclude each other", "--raw", "--chat"),
        (tools.run, 2, "the prompt is empty, and a chat begins with a message (--raw begins with nothing)", "-p", ""),
        (tools.run, 1, f"there is no level of instructions 'sse9' (known: {levels})", "--isa", "sse9"),
        (tools.run, 1, "there is no backend 'abacus' (there are: cpu, reference)", "--backend", "abacus"),
        (tools.run, 1, f"{text}: the guest is refused: it is not a WebAssembly module", "--guest", text),
        (tools.bench, 2, "no model: give -m"),
        (tools.bench, 2, "-np needs a value", "-m", demo, "-np"),
        (tools.bench, 2, "--parallel: '1,x' is not a whole number from 1 to 1024, or several with commas between them", "-np", "1,x"),
        (tools.bench, 2, "--output: 'xml' is not a format, 'md' and 'json' are", "-m", demo, "-o", "xml"),
        (tools.tokenize, 2, "no text: give -p or -f", "-m", demo),
        (tools.tokenize, 2, "-p and -f exclude each other", "-m", demo, "-p", "a", "-f", "b"),
    ]:
        check(f"{tool.name} tells: {want}", tells, tool, code, want, *args)
    done = run(tools.run, "-m", cut, "-p", "x")
    check("a file cut short", must, b"it is cut short or damaged" in done.stderr, done.stderr)


def conveniences(tools, demo):
    """What a hand types: values attached to flags, several stop strings, a system message; and what it gets to see."""
    said = lambda *args: succeed(tools.run, *args).stdout
    france = b"The capital of France is Paris.\n"
    must(said() == france, "no line end, or more than one")
    must(said("-n5") == said("-n", 5) != france and said("-n-1", "-c0", "-t2") == france, "attached values")
    must(said("-n0") == b"", "a line end without a line")
    must(said("--stop", " of France") == b"The capital\n", "a stop string")
    must(said("--stop", "Paris", "--stop=is", "--stop", "capital") == b"The \n", "several stop strings")
    must(said("--param", "stop=France", "--stop", " of") == b"The capital\n", "a stop string and the parameter")
    # A line end, as the shell or as the escape writes it.
    found = succeed(tools.tokenize, "-m", demo, "-p", "\n", "--ids", "--no-bos").stdout.decode().strip()
    ragged = ["-n", 40, "--ignore-eos", "--temp", 2, "--min-p", 0, "--top-k", 0, "--param", f"logit_bias={found}:12"]
    first, *others = said(*ragged).split(b"\n")
    must(first and len(others) > 1, "the text has one line")
    for written in ["\\n", "\n"]:
        must(said(*ragged, "--stop", written) == first + b"\n", f"not the first line, {first!r}")
    # The system message is read: more tokens, and other logits.
    tokens = lambda *args: json.loads(succeed(tools.run, "--stats", "json", *args).stderr.decode().splitlines()[-1])["prompt_tokens"]
    must(tokens("--system", "You know the capitals of the world.") > tokens() + 5, "no system message")
    # Bytes that are no characters.
    text = succeed(tools.tokenize, "-m", demo, "-p", "\u00e9\u20ac").stdout.decode()
    shown = [line.split("\t")[1] for line in text.splitlines()]
    must(shown == ['"\u00e9"', '"<0xE2>"', '"<0x82>"', '"<0xAC>"'], f"{shown}")
    done = succeed(tools.bench, "-m", demo, "-p0", "-n4", "-np2", "-r1").stdout.decode()
    must("tg4 np2" in done and " pp" not in done, done)


def drawn_seed(tools):
    """--seed -1 draws one and tells it; given again, it gives the same text."""
    options = ["--temp", 1.5, "--top-k", 0, "--top-p", 1, "--min-p", 0, "-n", 24, "--ignore-eos"]
    first, second = (succeed(tools.run, *options, "--seed", -1) for _ in range(2))
    told = first.stderr.decode()
    must(told.startswith("realm-run: seed ") and told != second.stderr.decode(), f"{told!r} and {second.stderr!r}")
    again = succeed(tools.run, *options, "--seed", told.split()[-1])
    must(again.stdout == first.stdout and again.stderr == b"", "the seed that was told gives another text")


def survives(tools, path):
    """A damaged file may still be a model; what counts is an orderly end."""
    done = run(tools.run, "-m", path, "-p", "x", "-n", 2, "-c", 64, timeout=60)
    lines = done.stderr.decode(errors="replace").splitlines()
    must(done.returncode in (0, 1), f"exit code {done.returncode}: {lines[-2:]}")
    if done.returncode == 1:
        must(len(lines) == 1 and lines[0].startswith("realm-run: "), f"not one line: {lines}")


def damaged_files(tools, model):
    good = model.read_bytes()
    rng = random.Random(1)
    path = tools.scratch / "damaged.gguf"
    for size in [1, 3, 4, 8, 16, 23, 24, 25, 64, 1000, len(good) // 2, len(good) - 1]:
        path.write_bytes(good[:size])
        check(f"{model.name} cut to {size} bytes", refused, tools, 1, "-m", path, "-p", "x")
    # Counts and lengths are what parsers trust; most of them are in the first kilobytes.
    for i in range(60):
        bad = bytearray(good)
        for _ in range(rng.choice([1, 1, 2, 8])):
            at = rng.randrange(4, min(len(bad) - 8, rng.choice([32, 400, 20000])))
            if rng.random() < 0.5:
                bad[at] = rng.randrange(256)
            else:
                value = rng.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, 2**61, 12])
                bad[at : at + 8] = struct.pack("<Q", value)
        path.write_bytes(bad)
        check(f"{model.name} damage {i}", survives, tools, path)


def string(text):
    return struct.pack("<Q", len(text)) + text


def advisory_files():
    """Files like those behind advisories of other parsers, each with its name."""
    header = lambda tensors, kvs: b"GGUF" + struct.pack("<IQQ", 3, tensors, kvs)
    entry = lambda key, type, value: string(key) + struct.pack("<I", type) + value
    array = lambda type, items: struct.pack("<IQ", type, len(items)) + b"".join(items)
    number = lambda key, value: entry(b"llama." + key, 4, struct.pack("<I", value))
    arch = entry(b"general.architecture", 8, string(b"llama"))
    # Whole enough that each file is refused for what the advisory is about, or for want of tensors after it.
    shape = lambda blocks: (
        arch
        + number(b"block_count", blocks)
        + number(b"context_length", 64)
        + number(b"embedding_length", 32)
        + number(b"feed_forward_length", 32)
        + number(b"attention.head_count", 1)
        + entry(b"llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5))
    )
    vocab = lambda tokens: entry(b"tokenizer.ggml.model", 8, string(b"llama")) + entry(
        b"tokenizer.ggml.tokens", 9, array(8, [string(t) for t in tokens])
    )
    scores = entry(b"tokenizer.ggml.scores", 9, array(0, [b"\1"] * 4))
    yield "llama.cpp#26690", header(0, 10) + shape(1) + vocab([b"a", b"b", b"c", b"d"]) + scores
    yield "llama.cpp#25969", header(0, 9) + shape(1) + vocab([b"<0x-1>", b"<0xZZ>", b"<0x", b"<0xFF>"])
    tensor = string(b"token_embd.weight") + struct.pack("<IQQIQ", 2, 1152, 2**42 + 1, 8, 0)
    yield "llama.cpp#18674", header(1, 1) + arch + tensor + bytes(4096)
    for blocks in [0, 513, 2**32 - 1]:
        yield f"llama.cpp#25821 {blocks}", header(0, 9) + shape(blocks) + vocab([b"a", b"b"])
    yield "ggml#1516 string", header(0, 1) + string(b"k") + struct.pack("<IQ", 8, 2**30)
    yield "ggml#1516 array", header(0, 1) + string(b"k") + struct.pack("<IIQ", 9, 8, 2**30)
    yield "ggml#1516 alignment", header(0, 1) + entry(b"general.alignment", 4, struct.pack("<I", 2**30))


def advisories(tools):
    path = tools.scratch / "advisory.gguf"
    for name, content in advisory_files():
        path.write_bytes(content)
        check(f"refuses {name}", refused, tools, 1, "-m", path, "-p", "x", "--raw")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin_dir", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--guest", metavar="NAME=WASM")
    parser.add_argument("--write-table", action="store_true")
    args = parser.parse_args()
    data = args.data or Path(os.environ.get("REALM_TEST_DATA") or ROOT.parent / "shared" / "data")
    with tempfile.TemporaryDirectory() as scratch:
        tools = Tools(args.bin_dir.resolve(), Path(scratch))
        for why in tools.broken:
            report("failed", "levels of instructions", why)
        if args.guest:
            name, wasm = args.guest.split("=", 1)
            third_party(tools, name, Path(wasm).resolve(), args.write_table)
            return conclude()
        refusals(tools)
        advisories(tools)
        adapters.run(tools, check, must, tells)
        demo = ROOT / "examples-c" / "demo" / "realm-demo.gguf"
        if demo.is_file():
            check("demo model answers", demo_answers, tools)
            check("demo model statistics", demo_stats, tools)
            check("same seed, same text", seeded_runs_repeat, tools)
            check("a seed that is drawn", drawn_seed, tools)
            messages(tools, demo)
            drafts.run(tools, check, must, succeed, demo)
            embeddings.run(tools, check, must, succeed, tells, demo)
            check("every sampler acts", samplers_act, tools)
            check("grammars and schemas", constrained, tools, demo)
            bad_grammars(tools)
            check("large grammars", large_grammars, tools, demo)
            check("conveniences", conveniences, tools, demo)
            check("a conversation on a terminal", terminal.conversation, tools)
            check("a reply is interrupted", terminal.interrupted, tools)
            check("a conversation through pipes", terminal.piped, tools)
            damaged_files(tools, demo)
        else:
            report("failed", "demo model", f"there is no {demo}")
        if data.is_dir():
            rows = architecture_tests(tools, data)
            if None not in rows:
                check("table of architectures", table_is_current, rows, args.write_table)
            oracle_tests(tools, data)
            vocabulary_tests(tools, data)
            damaged_files(tools, data / "logits" / "llama" / "llama.gguf")
        else:
            golden_architectures(tools)
            report("skipped", "ORACLE TESTS", f"there is no {data} (set REALM_TEST_DATA)")
        large.run(tools, check, must, report)
        beside.run(tools, check, must, report, data)
    return conclude()


def conclude():
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
