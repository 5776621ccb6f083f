#!/usr/bin/env python3
"""Counts the instructions of some kernels under callgrind and compares them with what is recorded.

    tests/bench/counts.py             compare: 3 % either way is the same
    tests/bench/counts.py --update    record what is counted now, in counts.json

Times differ from run to run on a busy machine, counts do not. They do differ between compilers, so the record names
the one it was made with, and under another one nothing is compared: exit code 77, as the steps of tests/run have it.
"""
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("counts.json")
BAND = 0.03
FEATURES = "own-std,cpu,embedded-guest,vocabularies,types,ops"


def skip(why):
    print(f"NOT COUNTED: {why}")
    sys.exit(77)


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def program():
    """Builds the cases, upon the library as librealm.a has it; returns the path of the program."""
    build = ["cargo", "bench", "--locked", "-p", "realm-sys", "--no-default-features", "--features", FEATURES, "--bench", "counts",
             "--no-run", "--message-format=json"]
    for line in output(*build).splitlines():
        made = json.loads(line)
        if made.get("reason") == "compiler-artifact" and made["target"]["name"] == "counts":
            return made["executable"]
    sys.exit("cargo made no program")


def count(path, case):
    scratch = Path(path).parent / "counts.callgrind"
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={scratch}", "--toggle-collect=realm_counted_call", path, case],
        capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"valgrind failed on {case}:\n{done.stderr}")
    return int(found[1])


def main():
    if not shutil.which("valgrind"):
        skip("valgrind is not here")
    compiler = output("rustc", "--version").strip()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"compiler": None, "counts": {}}
    update = "--update" in sys.argv[1:]
    if not update and record["compiler"] != compiler:
        skip(f"recorded with {record['compiler']}, this is {compiler}")
    path = program()
    # The levels are what valgrind's processor shows, not this machine's.
    cases = output("valgrind", "-q", "--tool=none", path).splitlines()
    if not update and not set(cases) & set(record["counts"]):
        skip(f"nothing is recorded for this processor: {cases[0]}")
    counts, wrong = {}, 0
    for case in cases:
        now, then = count(path, case), record["counts"].get(case)
        counts[case] = now
        change = f"{100 * (now / then - 1):+.1f} %" if then else "not recorded"
        bad = then is None or abs(now / then - 1) > BAND
        wrong += bad
        print(f"{case:28} {now:10}  {change}{'' if update or not bad else '  <-- tests/bench/counts.py --update if it is meant'}")
    for case in [] if update else sorted(set(record["counts"]) - set(cases)):
        print(f"{case:28} is recorded and was not counted")
        wrong += 1
    if update:
        RECORD.write_text(json.dumps({"compiler": compiler, "counts": counts}, indent=1) + "\n")
    elif wrong:
        sys.exit(f"{wrong} of {len(cases)} changed")


if __name__ == "__main__":
    main()
