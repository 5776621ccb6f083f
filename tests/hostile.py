#!/usr/bin/env python3
"""Models, guests, modules and prompts made to break whoever reads them, as they broke others: each is refused in one line, or does no harm.

    tests/hostile.py REALM_RUN DEMO.gguf GUEST.wasm HOSTILE

GUEST is a guest that works, HOSTILE the program of tests/c/hostile.c, which modules are given to.

Each case names where it was seen: an advisory (CVE, GHSA) of another project, or its issue or pull request; the files are made here, from
the demo model, by what those texts say. A case fails if the program is ended by a signal, needs more than 10 s or 512 MiB of address space,
is accepted where it must be refused, or is refused in other than one line. The last line counts.
"""
import re
import resource
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

RUN, DEMO, GUEST, HOSTILE = sys.argv[1], Path(sys.argv[2]).read_bytes(), sys.argv[3], sys.argv[4]
SECONDS, BYTES = 10, 512 << 20
U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(value)) + value


class Model:
    """A GGUF file taken apart: .keys {name: [type, bytes of the value]}, .tensors {name: [dims, type, offset]}, .data."""

    def __init__(self, file=DEMO):
        self.file, self.at = file, 8
        self.keys, self.tensors, self.version = {}, {}, 3
        self.tensor_count = self.key_count = None  # what the header claims, if not the truth
        tensors, keys = self.take("QQ")
        for _ in range(keys):
            name, kind = self.string(), self.take("I")[0]
            start = self.at
            self.skip(kind)
            self.keys[name] = [kind, file[start : self.at]]
        for _ in range(tensors):
            name = self.string()
            dims = list(self.take("Q" * self.take("I")[0]))
            self.tensors[name] = [dims, *self.take("IQ")]
        self.data = file[(self.at + 31) // 32 * 32 :]

    def take(self, what):
        values = struct.unpack_from("<" + what, self.file, self.at)
        self.at += struct.calcsize("<" + what)
        return values

    def string(self):
        (size,) = self.take("Q")
        self.at += size
        return self.file[self.at - size : self.at].decode()

    def skip(self, kind):
        if kind == STR:
            self.string()
        elif kind == ARR:
            inner, count = self.take("IQ")
            for _ in range(count):
                self.skip(inner)
        else:
            self.take(FORMATS[kind])

    def set(self, name, kind, value):
        self.keys[name] = [kind, text(value) if kind == STR else struct.pack("<" + FORMATS[kind], value)]
        return self

    def raw(self, name, kind, value):
        self.keys[name] = [kind, value]
        return self

    def without(self, name):
        del self.keys[name]
        return self

    def texts(self, name, change):
        """Changes the list of strings that is the array `name`."""
        inner, count = struct.unpack_from("<IQ", self.keys[name][1])
        values, at, data = [], 12, self.keys[name][1]
        for _ in range(count):
            (size,) = struct.unpack_from("<Q", data, at)
            values.append(data[at + 8 : at + 8 + size])
            at += 8 + size
        values = change(values)
        self.keys[name][1] = struct.pack("<IQ", inner, len(values)) + b"".join(text(v) for v in values)
        return self

    def shape(self, name, dims=None, kind=None, offset=None):
        t = self.tensors[name]
        t[0], t[1], t[2] = dims or t[0], t[1] if kind is None else kind, t[2] if offset is None else offset
        return self

    def bytes(self):
        out = b"GGUF" + struct.pack(
            "<IQQ", self.version, len(self.tensors) if self.tensor_count is None else self.tensor_count,
            len(self.keys) if self.key_count is None else self.key_count)
        for name, (kind, value) in self.keys.items():
            out += text(name) + struct.pack("<I", kind) + value
        for name, (dims, kind, offset) in self.tensors.items():
            out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, offset)
        return out + b"\0" * (-len(out) % 32) + self.data

    def claims(self, tensors=None, keys=None):
        self.tensor_count, self.key_count = tensors, keys
        return self


# ---- WebAssembly ----------------------------------------------------------------------------------


def leb(n):
    out = b""
    while True:
        n, low = n >> 7, n & 0x7F
        out += bytes([low | (0x80 if n else 0)])
        if not n:
            return out


def section(number, *items):
    body = leb(len(items)) + b"".join(items)
    return bytes([number]) + leb(len(body)) + body


def code(body, local_groups=b"\0"):
    body = local_groups + body + b"\x0b"
    return leb(len(body)) + body


def name(value):
    return leb(len(value)) + value.encode()


def wasm(body, pages=1, imports=(), local_groups=b"\0", more=b"", types=(), first=False):
    """A guest that does `body` (no result) when something happens to it, or, if `first`, already when it is asked what it is. Function types:
    0 ()->i32, 1 (i32,i32,i32)->i32, from 2 on `types`."""
    abi = b"\x41" + leb(2)  # REALM_GUEST_ABI, 0.2
    own = len(imports)
    return (b"\0asm\1\0\0\0" + section(1, b"\x60\0\1\x7f", b"\x60\3\x7f\x7f\x7f\1\x7f", *types)
            + (section(2, *imports) if imports else b"") + section(3, b"\0", b"\1") + section(5, b"\0" + leb(pages))
            + section(7, name("memory") + b"\2\0", name("realm_guest_abi") + b"\0" + leb(own), name("realm_guest_event") + b"\0" + leb(own + 1))
            + section(10, code((body if first else b"") + abi), code(body + b"\x41\0", local_groups)) + more)


# ---- the cases ------------------------------------------------------------------------------------
# (where it was seen, what it is, the file, what the refusal says or None if it may also run)

A = "tokenizer.ggml.tokens"
ARCH = "llama"
any_tensor = next(iter(Model().tensors))
wide = [n for n, t in Model().tensors.items() if len(t[0]) == 2][0]
far = 2**63


def models():
    m = Model
    yield "CVE-2024-23496", "a string longer than any file", m().raw("general.name", STR, struct.pack("<Q", 2**64 - 1) + b"x"), "cut short"
    yield "CVE-2024-21802", "a tensor of 2^32-1 dimensions", DEMO.replace(
        text(any_tensor) + struct.pack("<I", len(m().tensors[any_tensor][0])), text(any_tensor) + b"\xff\xff\xff\xff", 1), "dimension"
    yield "CVE-2024-21825", "an array of 2^63 strings", m().raw(A, ARR, struct.pack("<IQ", STR, far)), "cut short"
    yield "CVE-2024-21825", "an array whose size wraps to 0", m().raw("x", ARR, struct.pack("<IQ", U64, 2**61)), "cut short"
    yield "CVE-2024-23605", "2^63 keys", m().claims(keys=far), "metadata entries"
    yield "CVE-2024-21836", "2^63 tensors", m().claims(tensors=far), "tensor"
    yield "llama.cpp#15711", "as many tensors as fit 64 bits of descriptions", m().claims(tensors=2**63 // 96), "tensor"
    yield "CVE-2024-32878", "more keys than there are, and then nothing", m().bytes()[:2000], "past|end|cut|short"
    yield "CVE-2024-39720", "four bytes", b"GGUF", "short|end|GGUF"
    yield "CVE-2024-41130", "no tensors and no keys", b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "architecture|missing|tensor"
    yield "CVE-2025-53630", "sizes whose sum wraps", m().shape(wide, [2**32, 2**29]), "past|large|many|size|end"
    yield "CVE-2026-27940", "one tensor of nearly 2^64 bytes", m().shape(wide, [2**61 - 32, 1]), "past|large|many|size|end|row"
    yield "llama.cpp#18674", "a row count that wraps", m().shape(wide, [m().tensors[wide][0][0], 2**42 + 1]), "past|large|many|size|end"
    yield "CVE-2026-7482", "a tensor that begins behind the file", m().shape(any_tensor, offset=len(DEMO) // 32 * 32 + 2**20), "past|end"
    yield "CVE-2026-7482", "an offset that wraps", m().shape(any_tensor, offset=2**64 - 32), "past|end"
    yield "CVE-2024-12055", "a tensor of a type that is none", m().shape(any_tensor, kind=0x7FFFFFFF), "type"
    yield "CVE-2024-42477", "a tensor of a type below 0", m().shape(any_tensor, kind=0xFFFFFFFF), "type"
    yield "llama.cpp#26318", "an alignment that is a text", m().set("general.alignment", STR, "32"), "alignment"
    yield "llama.cpp#24997", "an alignment of 2 GiB", m().set("general.alignment", U32, 2**31), None
    yield "CVE-2025-0317", "an alignment of 0", m().set("general.alignment", U32, 0), "alignment"
    yield "gguf-py nested arrays", "arrays in arrays, a thousand deep", m().raw("x", ARR, struct.pack("<IQ", ARR, 1) * 1000 + struct.pack("<IQ", U8, 0)), "array"
    yield "CVE-2025-0317", "no heads to divide by", m().set(f"{ARCH}.attention.head_count", U32, 0), "head"
    yield "CVE-2025-0317", "no key heads to divide by", m().set(f"{ARCH}.attention.head_count_kv", U32, 0), "head"
    yield "llama.cpp#25821", "2^32-1 layers", m().set(f"{ARCH}.block_count", U32, 2**32 - 1), "block|layer|tensor"
    yield "llama.cpp#25821", "600 layers", m().set(f"{ARCH}.block_count", U32, 600), "blk|block|layer|tensor"
    yield "CVE-2025-0315", "a context of 2^32-1 tokens", m().set(f"{ARCH}.context_length", U32, 2**32 - 1), None
    yield "CVE-2025-0315", "an embedding of 2^31 numbers", m().set(f"{ARCH}.embedding_length", U32, 2**31), "width"
    yield "-", "rope over more dimensions than a head has", m().set(f"{ARCH}.rope.dimension_count", U32, 4096), "rope|dimension"
    yield "-", "rope over an odd number of dimensions", m().set(f"{ARCH}.rope.dimension_count", U32, 7), "rope|dimension"
    yield "-", "a rope base that is no number", m().set(f"{ARCH}.rope.freq_base", F32, float("nan")), None
    yield "-", "an epsilon that is no number", m().set(f"{ARCH}.attention.layer_norm_rms_epsilon", F32, float("nan")), None
    yield "-", "an architecture that is a megabyte", m().set("general.architecture", STR, "a" * (1 << 20)), "architecture"
    yield "-", "an architecture with line breaks and an escape", m().set("general.architecture", STR, "a\nb\x1b[2J"), "architecture"
    yield "CVE-2025-49847", "a token of 16 MiB", m().texts(A, lambda t: [*t[:-1], b"x" * (16 << 20)]), None
    yield "llama.cpp#25969", "a byte token <0x-1>", m().texts(A, lambda t: [*t[:-1], b"<0x-1>"]), None
    yield "llama.cpp#25969", "a byte token <0xZZ>", m().texts(A, lambda t: [*t[:-1], b"<0xZZ>"]), None
    yield "-", "every token the same", m().texts(A, lambda t: [b"a"] * len(t)), None
    yield "-", "every token empty", m().texts(A, lambda t: [b""] * len(t)), None
    yield "-", "no tokens", m().texts(A, lambda t: []), "tokenizer.ggml.tokens"
    yield "-", "more tokens than embeddings", m().texts(A, lambda t: t + [b"more%d" % i for i in range(5000)]), None
    yield "-", "an end token behind the vocabulary", m().set("tokenizer.ggml.eos_token_id", U32, 2**32 - 1), None
    yield "-", "a start token behind the vocabulary", m().set("tokenizer.ggml.bos_token_id", U32, 2**31), None
    yield "-", "a vocabulary that nobody knows", m().set("tokenizer.ggml.model", STR, "%s%n"), "tokenizer model '%s%n'"
    yield "CVE-2024-34359", "a chat template that would run a program", m().set(
        "tokenizer.chat_template", STR,
        "{% for x in ().__class__.__base__.__subclasses__() %}{{ x.__init__.__globals__['os'].system('kill -9 $PPID') }}{% endfor %}"), None
    yield "CVE-2024-34359", "a chat template that never ends", m().set(
        "tokenizer.chat_template", STR, "{% for a in range(99999999) %}{% for b in range(99999999) %}{{ b }}{% endfor %}{% endfor %}"), None
    yield "CVE-2024-34359", "a chat template of a megabyte of brackets", m().set("tokenizer.chat_template", STR, "{{" + "(" * (1 << 20) + "}}"), None
    yield "-", "weights that are no numbers", no_numbers(), "no numbers"


def no_numbers():
    m = Model()
    m.data = b"\xff\xff\xff\x7f" * (len(m.data) // 4)
    return m


def guests():
    loop, again = b"\x03\x40\x0c\0\x0b", b"\x41\0\x41\0\x41\0\x10\1\x1a"
    yield "-", "a loop without end, before it has said what it is", wasm(loop, first=True), "fuel"
    yield "-", "a loop without end", wasm(loop), "fuel"
    yield "-", "calls itself without end", wasm(again), "stack"
    yield "-", "4 GiB of memory to begin with", wasm(b"", pages=65536), "memory"
    yield "-", "asks for all the memory there is, again and again", wasm(b"\x03\x40\x41\x80\x80\x04\x40\0\x1a\x41\1\x40\0\x1a\x0c\0\x0b"), "fuel"
    yield "-", "divides by zero", wasm(b"\x41\1\x41\0\x6d\x1a"), "zero"
    yield "-", "reads behind its memory", wasm(b"\x41\x7f\x28\2\0\x1a"), "memory"
    yield "-", "2^32-1 locals", wasm(b"", local_groups=b"\1\xff\xff\xff\xff\x0f\x7f"), "locals"
    many = b"\x02\2" + b"\x41\0" * 32 + b"\x41\0\x0d\0" * 900000 + b"\0\x0b" + b"\x1a" * 32
    yield "-", "900000 branches, each with 32 numbers", wasm(many, types=(b"\x60\0\x20" + b"\x7f" * 32,)), "values"
    yield "-", "50000 locals and three parameters", wasm(b"", local_groups=b"\1\xd0\x86\3\x7f"), "locals"
    yield "CVE-2021-45929", "blocks a hundred thousand deep", wasm(b"\x02\x40" * 100000 + b"\x0b" * 100000), None
    yield "CVE-2021-45947", "a data segment behind the memory", wasm(b"", more=section(11, b"\0\x41\xff\xff\xff\xff\7\x0b\1x")), "instantiated"
    yield "CVE-2024-28123", "a host function of 200 parameters", wasm(b"", imports=(name("realm") + name("realm_log") + b"\0\2",), types=(b"\x60\xc8\1" + b"\x7f" * 200 + b"\0",)), "param"
    yield "-", "a host function that there is not", wasm(b"", imports=(name("realm") + name("system") + b"\0\0",)), "system"
    yield "-", "a section that claims 4 GiB", b"\0asm\1\0\0\0\1\xff\xff\xff\xff\x0f", "end-of-file"
    yield "-", "a code section of no functions", b"\0asm\1\0\0\0\x0a\2\0\0", "no code"
    yield "-", "a module of nothing", b"\0asm\1\0\0\0", "memory"
    yield "-", "no module", b"\0" * 100, "not a WebAssembly module"


def module(body=b"", types=(), functions=(), more={}, results=b""):
    """A module that exports `run`, the first function, of no parameters. Sections of the numbers in `more` come in their places."""
    made = {1: section(1, b"\x60\0" + (leb(1) + results if results else b"\0"), *types), 3: section(3, b"\0", *[t for t, _ in functions]),
            7: section(7, name("run") + b"\0\0"), 10: section(10, code(body), *[c for _, c in functions])}
    made.update(more)
    return b"\0asm\1\0\0\0" + b"".join(made[i] for i in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11, 0) if i in made)


def modules():
    """`run` is called once, with fuel for some tens of milliseconds."""
    forever, memory, table = lambda body: b"\x03\x40" + body + b"\x0c\0\x0b", {5: section(5, b"\0\1")}, {4: section(4, b"\x70\0\1")}
    sum_of = lambda n: b"\x41\1" + b"\x41\1\x6a" * n + b"\x0b"
    yield "-", "nothing hostile, the control", module(b"\x41\1\x1a"), None
    yield "-", "a loop without end", module(forever(b"")), "fuel"
    yield "-", "a start function without end", module(forever(b""), more={8: b"\x08\1\0"}), "fuel"
    yield "-", "calls itself without end", module(b"\x10\0"), "stack"
    yield "-", "calls itself at the end of itself, without end", module(b"\x12\0"), "fuel"
    yield "wasmi 2.0", "grows its memory by nothing, without end", module(forever(b"\x41\0\x40\0\x1a"), more=memory), "fuel"
    yield "wasmi 2.0", "grows its memory in 300 places", module(b"\x41\0\x40\0\x1a" * 300, more=memory), "places"
    yield "wasmi 2.0", "grows a table by nothing, without end", module(forever(b"\xd0\x70\x41\0\xfc\x0f\0\x1a"), more=table), "table.grow"
    for where, sections in [
        ("global", {6: section(6, b"\x7f\0" + sum_of(500000))}),
        ("place of data", {**memory, 11: section(11, b"\0" + sum_of(500000) + b"\0")}),
        ("place of elements", {**table, 9: section(9, b"\0" + sum_of(500000) + b"\0")}),
    ]:
        yield "wasmi 2.0", f"a sum of 500001 numbers for the {where}", module(more=sections), "constant expression"
    thousand = b"\x60\0" + leb(1000) + b"\x7f" * 1000
    nothing = code(b"\0")
    yield "CVE-2026-34943", "400000 calls that give back a thousand numbers each", module(b"\x10\1" * 400000 + b"\0", [thousand], [(b"\1", nothing)]), "values"
    yield "-", "400000 blocks that give back a thousand numbers each", module(b"\x02\1\0\x0b" * 400000 + b"\0", [thousand]), "values"
    yield "-", "a block that is left a thousand times", module((b"\x02\x40\0\x0b") * 1000, [thousand], [(b"\1", nothing)]), "unreachable"
    branches = lambda end, n: module(b"\x02\1" + b"\x41\0" * 1000 + end * n + b"\0\x0b" + b"\x1a" * 1000, [thousand])
    yield "-", "20000 branches, each with a thousand numbers", branches(b"\x41\0\x0d\0", 20000), "values"
    yield "-", "60000 places to branch to, with a thousand numbers", branches(b"\x41\0\x0e" + leb(60000) + b"\0" * 60001, 1), "values"
    yield "-", "30000 functions of 50000 locals", module(functions=[(b"\0", code(b"", b"\1\xd0\x86\3\x7f"))] * 30000), "locals"
    yield "-", "2^32-1 locals", module(functions=[(b"\0", code(b"", b"\1\xff\xff\xff\xff\x0f\x7f"))]), "locals"
    yield "CVE-2021-45929", "blocks 300000 deep", module(b"\x02\x40" * 300000 + b"\x0b" * 300000), None
    yield "-", "a br_table of a million places", module(b"\x02\x40\x41\0\x0e" + leb(1000000) + b"\0" * 1000001 + b"\x0b"), None
    yield "-", "a million types", module(types=[b"\x60\0\0"] * 1000000), None
    yield "-", "a million functions", module(functions=[(b"\0", b"\2\0\x0b")] * 1000000), None
    yield "-", "a hundred thousand exports of one letter more each", module(more={7: section(7, name("run") + b"\0\0", *[name("x%d" % i) + b"\0\0" for i in range(100000)])}), None
    yield "-", "the same export twice", module(more={7: section(7, name("run") + b"\0\0", name("run") + b"\0\0")}), "export"
    yield "-", "an import of a megabyte's name", module(more={2: section(2, name("m" * (1 << 20)) + name("n") + b"\0\0")}), "string size"
    yield "-", "4 GiB of memory to begin with", module(more={5: section(5, b"\0\x80\x80\4")}), "memory"
    yield "-", "a table of 2^32-1 to begin with", module(more={4: section(4, b"\x70\0\xff\xff\xff\xff\x0f")}), "table"
    yield "-", "a hundred tables of 65536", module(more={4: section(4, *[b"\x70\0\x80\x80\4"] * 100)}), "table"
    yield "CVE-2021-45947", "a data segment behind the memory", module(more={**memory, 11: section(11, b"\0\x41\xff\xff\xff\xff\7\x0b\1x")}), "data segment"
    yield "-", "fills all its memory, without end", module(forever(b"\x41\0\x41\7\x41\x80\x80\4\xfc\x0b\0"), more=memory), "fuel"
    yield "-", "fills beyond its memory", module(b"\x41\1\x41\7\x41\x80\x80\4\xfc\x0b\0", more=memory), "memory"
    yield "-", "calls what has another type, through a table", module(
        b"\x41\0\x11\1\0\x1a", [b"\x60\0\1\x7f"], more={**table, 9: section(9, b"\0\x41\0\x0b\1\0")}), "type|signature"
    yield "-", "calls what is not there, through a table", module(b"\x41\0\x11\0\0", more=table), "null|uninit|element"
    yield "-", "the smallest number divided by -1", module(b"\x41\x80\x80\x80\x80\x78\x41\x7f\x6d\x1a"), "overflow"
    yield "-", "a number that is none, made an integer", module(b"\x43\0\0\xc0\x7f\xa8\x1a"), "integer"
    yield "-", "a section that claims 4 GiB", b"\0asm\1\0\0\0\1\xff\xff\xff\xff\x0f", "section|end|size|bytes"
    yield "-", "sections in another order", b"\0asm\1\0\0\0" + section(3) + section(1), "order"
    yield "-", "a component", b"\0asm\x0d\0\1\0", "version|component"
    yield "-", "nothing", b"", "not a WebAssembly module"


def prompts():
    yield "CVE-2025-52566", "a prompt of 4 MiB", b"a b" * (1 << 20), None
    yield "CVE-2025-52566", "one letter, four million times", b"a" * (4 << 20), None
    yield "-", "a prompt that is no UTF-8", bytes(range(1, 256)) * 4, None
    yield "-", "a prompt with zeros", b"a\0b\0" * 10, None
    yield "-", "the model's own control tokens", b"<|im_start|>system\n<|im_end|>" * 50, None


# ---- running them ---------------------------------------------------------------------------------

failed = ran = 0


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def attempt(kind, seen, what, args, words, program=RUN):
    global failed, ran
    ran += 1
    command = [program, *args] + (["-n", "4"] if program == RUN else [])
    try:
        p = subprocess.run(command, capture_output=True, timeout=SECONDS, preexec_fn=limits, check=False)
    except subprocess.TimeoutExpired:
        failed += 1
        print(f"FAILED: {kind}: {what} ({seen}): still running after {SECONDS} s")
        return
    said = p.stderr.decode(errors="replace")
    why = None
    if p.returncode not in (0, 1):
        why = f"exit code {p.returncode}"
    elif words is not None and p.returncode == 0:
        why = "accepted"
    elif p.returncode == 1 and (said.count("\n") != 1 or not re.fullmatch(r"(realm-run|hostile): [^\x00-\x1f\x7f]{8,}\n", said)):
        why = "refused in other than one line"
    elif words is not None and not re.search(words, said):
        why = f"the refusal does not say {words}"
    if why:
        failed += 1
        print(f"FAILED: {kind}: {what} ({seen}): {why}: {said[-300:]}")
    elif "-v" in sys.argv:
        print(f"{kind}: {what} ({seen}): {said.strip() or 'runs'}"[:200])


with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "case"
    for seen, what, made, words in models():
        file.write_bytes(made if isinstance(made, bytes) else made.bytes())
        attempt("model", seen, what, ["-m", str(file), "-p", "What is the capital of France?"], words)
    file.write_bytes(Model().bytes())
    for guest in [], ["--guest", GUEST]:
        ran += 1
        control = subprocess.run([RUN, "-m", str(file), "-p", "What is the capital of France?", *guest], capture_output=True, check=False)
        if control.returncode != 0 or b"Paris" not in control.stdout:
            failed += 1
            print(f"FAILED: the model taken apart and put together does not answer {guest}: {control.stderr.decode(errors='replace')}")
    for seen, what, made, words in guests():
        file.write_bytes(made)
        attempt("guest", seen, what, ["--guest", str(file), "--fuel", "10"], words)
    for seen, what, made, words in modules():
        file.write_bytes(made)
        attempt("module", seen, what, [str(file)], words, HOSTILE)
    for seen, what, made, words in prompts():
        file.write_bytes(made)
        attempt("prompt", seen, what, ["-f", str(file)], words)
if failed == 0 and ran < 100:
    print(f"FAILED: only {ran} cases")
    failed = 1
print(f"{ran - failed} passed, {failed} failed")
sys.exit(failed != 0)
