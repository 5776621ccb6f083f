#!/usr/bin/env python3
"""Compiles every C, C++ and Rust snippet of the project's documents, and runs those that are programs.

    tests/snippets.py LIBRARY_DIR REALM_RUN COMPILER:C++_COMPILER...

LIBRARY_DIR holds librealm.so. The documents are the Markdown files that git knows. The convention for who writes one:

- A block that is fenced as ```c or ```cpp is a whole file: no "...", no fragment. It is compiled as C99 or C++17 (without
  exceptions and RTTI), with every compiler, every warning an error.
- With a `main` it is linked and run from the top of the tree, must end with status 0, and print what a comment before
  the block says, if there is one (Markdown does not show it):    <!-- prints: some text -->
- With `realm_guest.h` it is a guest: compiled to WebAssembly, and run by realm-run with a prompt, which the comment gives:
  <!-- asked: a prompt
       prints: some text -->
- A block that is fenced as ```rust is a guest as well: the src/lib.rs of a crate like guest/examples/llama.
- C under another name ("C", "h", or none) is an error, so that nothing gets past this.

Sizes of the two guests in the documents (SIZES) must be those of the files.

Says "skipped" where there is no compiler for WebAssembly. The last line counts.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WARNINGS = "-O1 -Wall -Wextra -Wpedantic -Werror -Iinclude".split()
DIALECTS = {"c": ["-std=c99"], "cpp": ["-std=c++17", "-fno-exceptions", "-fno-rtti"]}
# KB of the slim guest instead of the whole one's, and of the whole one alone.
SIZES = re.compile(r"(?P<slim>\d+) KB instead of (?P<whole>\d+)\b|the guest, whose (?P<alone>\d+) KB")
COMMENT = re.compile(r"<!--\s*(?:asked:\s*(?P<asked>[^\n]*?)\s+)?prints:\s*(?P<prints>[^\n]*?)\s*-->\s*$")


class Snippet:
    def __init__(self, where, language, text, before):
        self.where, self.language, self.text = where, language, text
        told = COMMENT.search(before)
        self.asked, self.prints = (told["asked"], told["prints"]) if told else (None, None)
        self.is_guest = language == "rust" or '"realm_guest.h"' in text
        self.is_program = re.search(r"^int main\(", text, re.MULTILINE) is not None


def documents():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\n") if name]
    # An unpacked archive.
    return [path for path in ROOT.rglob("*.md") if not {"target", "build", "venv"} & set(path.relative_to(ROOT).parts)]


def snippets(path):
    text = path.read_text()
    for found in re.finditer(r"^```([^\n]*)\n(.*?)^```[ \t]*$", text, re.MULTILINE | re.DOTALL):
        where = f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}"
        if found[1] in DIALECTS or found[1] == "rust":
            yield Snippet(where, found[1], found[2], text[: found.start()])
        elif "#include" in found[2] or re.match(r"(?i)(c|h|cc|cxx|hpp|c\+\+)\b", found[1]):
            sys.exit(f"{where}: C that is not fenced as ```c or ```cpp")


def sizes():
    """The sizes of guests in the documents: where, and whether it is right within a twentieth (a new guest need not be written down)."""
    files = {"slim": "realm_guest_slim.wasm", "whole": "realm_guest.wasm", "alone": "realm_guest.wasm"}
    for path in documents():
        text = path.read_text()
        for found in SIZES.finditer(text):
            said = {files[which]: int(kb) for which, kb in found.groupdict().items() if kb}
            where = f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}: {found[0]}"
            yield where, all(abs((ROOT / "guest" / name).stat().st_size / 1000 / kb - 1) < 0.05 for name, kb in said.items())


def done(*command, **options):
    """Runs a command; its output, or None (and says why) if it failed."""
    try:
        ended = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True, timeout=120, **options)
    except (OSError, subprocess.TimeoutExpired) as e:
        print(f"  {command[0]}: {e}")
        return None
    if ended.returncode != 0:
        print(f"  exit status {ended.returncode}: {' '.join(map(str, command))}\n{ended.stdout}{ended.stderr}")
        return None
    return ended.stdout


def says(snippet, output):
    if output is None:
        return False
    if snippet.prints and snippet.prints not in output:
        print(f"  it does not print: {snippet.prints}\n  but: {output}")
        return False
    return True


def test_guest(snippet, scratch, realm_run):
    linker = shutil.which("wasm-ld-19") or shutil.which("wasm-ld")
    if not shutil.which("clang") or not linker:
        return None
    source, module = scratch / "guest.c", scratch / "guest.wasm"
    source.write_text(snippet.text)
    flags = "--target=wasm32 -std=c99 -Os -Wall -Wextra -Wpedantic -Werror -ffreestanding -Iinclude".split()
    return (
        done("clang", *flags, "-c", source, "-o", scratch / "guest.o") is not None
        and done(linker, *"--no-entry --strip-all --stack-first -z stack-size=16384".split(), scratch / "guest.o", "-o", module) is not None
        and says(snippet, done(realm_run, "--guest", module, "-p", snippet.asked or "x"))
    )


def test_guest_in_rust(snippet, scratch, realm_run):
    """None if this machine cannot compile it."""
    crate, like = scratch / "crate", ROOT / "guest" / "examples" / "llama"
    for name in ["src", ".cargo"]:
        (crate / name).mkdir(parents=True, exist_ok=True)
    (crate / "Cargo.toml").write_text((like / "Cargo.toml").read_text().replace('"llama"', '"snippet"'))
    (crate / ".cargo" / "config.toml").write_text((like / ".cargo" / "config.toml").read_text())
    (crate / "src" / "lib.rs").write_text("#![deny(warnings)]\n" + snippet.text)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "guests"
    command = [ROOT / "tests" / "guests" / "cargo", "build", "--release", "--quiet", "--target-dir", target]
    # The first may compile Rust's core as well.
    built = subprocess.run(command, cwd=crate, capture_output=True, text=True, timeout=1200)
    if built.returncode == 77:
        return None
    if built.returncode != 0:
        print(built.stderr)
        return False
    module = target / "wasm32-unknown-unknown" / "release" / "snippet.wasm"
    return says(snippet, done(realm_run, "--guest", module, "-p", snippet.asked or "x"))


def test_native(snippet, scratch, library, pair):
    c, cpp = pair.split(":")
    compiler = c if snippet.language == "c" else cpp
    source, program = scratch / f"snippet.{snippet.language}", scratch / "program"
    source.write_text(snippet.text)
    command = [compiler, *DIALECTS[snippet.language], *WARNINGS, source, "-o", program]
    if not snippet.is_program:
        return done(*command, "-c") is not None
    linked = done(*command, f"-L{library}", "-lrealm", f"-Wl,-rpath,{library}", "-lm")
    return linked is not None and says(snippet, done(program))


def main():
    library, realm_run, pairs = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3:]
    counts = {True: 0, False: 0, None: 0}
    wrong = [where for where, is_right in sizes() if not is_right]
    for where in wrong:
        print(f"FAILED {where}: the file has another size")
    with tempfile.TemporaryDirectory() as scratch:
        for path in documents():
            for snippet in snippets(path):
                if snippet.language == "rust":
                    results = {"wasm32": test_guest_in_rust(snippet, Path(scratch), realm_run)}
                elif snippet.is_guest:
                    results = {"wasm32": test_guest(snippet, Path(scratch), realm_run)}
                else:
                    results = {pair: test_native(snippet, Path(scratch), library, pair) for pair in pairs}
                for how, result in results.items():
                    counts[result] += 1
                    print(f"{ {True: 'passed', False: 'FAILED', None: 'skipped, no compiler for WebAssembly:'}[result]} {snippet.where} {how}", flush=True)
    print(f"{counts[True]} passed, {counts[False]} failed, {counts[None]} skipped")
    return 1 if counts[False] or wrong or not counts[True] else 77 if counts[None] else 0


if __name__ == "__main__":
    sys.exit(main())
