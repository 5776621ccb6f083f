"""What only large files and long contexts reach: offsets beyond 32 bits, and more than 32768 positions. For tests/e2e.py."""

import random
import struct
from pathlib import Path

ARCH = Path(__file__).resolve().parent / "golden" / "arch"
# Of a tensor that nothing uses, f32: 4.3 GB, of which a file system that knows holes stores nothing.
HUGE = [1 << 16, 16400]
POSITIONS = 33000


class Reader:
    """As much of GGUF as it takes to find the tensors' entries."""

    SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values[0]

    def text(self):
        length = self.take("Q")
        self.at += length
        return self.data[self.at - length : self.at]

    def skip(self, kind):
        if kind == 8:
            self.text()
        elif kind == 9:
            item, count = self.take("I"), self.take("Q")
            for _ in range(count):
                self.skip(item)
        else:
            self.at += self.SIZES[kind]


def with_huge_tensor(path, out):
    """The same model behind a tensor that puts all others beyond 4 GiB."""
    r = Reader(path.read_bytes())
    r.at = 8
    tensors, pairs = r.take("Q"), r.take("Q")
    for _ in range(pairs):
        r.text()
        r.skip(r.take("I"))
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors + 1, pairs) + r.data[24 : r.at]
    size = 4 * HUGE[0] * HUGE[1]
    name = b"unused.weight"
    head += struct.pack("<Q", len(name)) + name + struct.pack("<IQQIQ", 2, *HUGE, 0, 0)
    for _ in range(tensors):
        name = r.text()
        dims = [r.take("Q") for _ in range(r.take("I"))]
        kind, offset = r.take("I"), r.take("Q")
        head += struct.pack("<Q", len(name)) + name + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset + size)
    start = -(-len(head) // 32) * 32
    with open(out, "wb") as file:
        file.write(head)
        file.seek(start + size)
        file.write(r.data[-(-r.at // 32) * 32 :])
    return start + size


def beyond_4_gib(tools, must):
    ids = [1, 5, 9, 2, 33, 7]
    for name in ["olmo3", "mixtral-apart"]:
        plain = ARCH / f"{name}.gguf"
        large = tools.scratch / "large.gguf"
        try:
            tensors_at = with_huge_tensor(plain, large)
            must(tensors_at > 1 << 32, "the file is too small to show anything")
            # Mapped as it is: in huge pages it would be stored in memory, holes and all.
            for options in [["--mmap"], ["--mmap", "--backend", "reference"], ["--mmap", "-t", 2]]:
                must(tools.logits(large, ids, *options) == tools.logits(plain, ids), f"{name}, {options}: other logits")
        finally:
            large.unlink(missing_ok=True)


def ids_of(count):
    return random.Random(count).choices(range(64), k=count)


def long_context(tools, must):
    """The same bits for chunks and threads of any number; what came first counts. (beside.py has what llama.cpp makes of it.)"""
    ids = ids_of(POSITIONS)
    for name in ["mistral3-long", "mamba2"]:
        model = ARCH / f"{name}.gguf"
        options = ["-c", POSITIONS + 8]
        plain = tools.logits(model, ids, *options, "--param", "n_batch=512")
        must(tools.logits(model, ids, *options, "-t", 2, "--param", "n_batch=1000") == plain, f"{name}: chunks or threads change bits")
        if name != "mamba2":  # which forgets
            other = tools.logits(model, [ids[0] ^ 1] + ids[1:], *options, "--param", "n_batch=512")
            must(other != plain, f"{name}: the first token is forgotten")


def run(tools, check, must, report):
    holes = tools.scratch / "holes"
    with open(holes, "wb") as file:
        file.seek(1 << 30)
        file.write(b"x")
    stored = holes.stat().st_blocks * 512 if hasattr(holes.stat(), "st_blocks") else 1 << 30
    holes.unlink()
    if stored > 1 << 24:
        report("skipped", "FILES BEYOND 4 GIB", "this file system stores holes, which would take 4.3 GB")
    else:
        check("a file beyond 4 GiB", beyond_4_gib, tools, must)
    check(f"{POSITIONS} positions", long_context, tools, must)
