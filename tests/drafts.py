"""Speculative decoding: drafts change nothing but how soon a text is there. For tests/e2e.py."""

import pathlib
import re
import tempfile

# A toy that knows one kind of sentence, asked so that it has said before what it will say.
PROMPT = "The capital of France is Paris. The capital of Peru is Lima. The capital of France is Paris. The capital of"


def said(tools, succeed, model, *options):
    """Text and ids of an answer, whether the context was full (3), and what the log says of drafts."""
    asked = ["-m", model, "-p", PROMPT, "--raw", "--ignore-eos", *tools.options]
    done = succeed(tools.run, *asked, "-v", *options, codes=(0, 3))
    ids = succeed(tools.run, *asked, "--ids-out", *options, codes=(done.returncode,)).stdout
    found = re.search(r"of (\d+) drafted tokens (\d+) were accepted", done.stderr.decode(errors="replace"))
    return (done.stdout, ids, done.returncode), tuple(map(int, found.groups())) if found else (0, 0)


def same(tools, must, succeed, model):
    for options in [
        [],
        ["--temp", 0.8, "--seed", 3],
        ["--temp", 1.2, "--seed", 4, "--top-k", 0],
        ["--temp", 0.7, "--seed", 5, "--repeat-penalty", 1.1, "--frequency-penalty", 0.2],
        ["--dry-multiplier", 0.8, "--temp", 0.9, "--seed", 6],
        ["--mirostat", 2, "--temp", 1, "--seed", 7],
        ["--grammar", 'root ::= (" " [A-Z] [a-z]+ | [a-z .])*'],
        ["--param", "logprobs=1", "--param", "logit_bias=300:2"],
        ["--stop", "Lima"],
        ["--kv-type", "q8_0"],
        ["-t", 3],
    ]:
        plain, none = said(tools, succeed, model, "-n", 40, *options)
        must(none == (0, 0), f"{options}: drafts that nobody asked for")
        for draft in [["--draft-max", 1], ["--draft", 7], ["--draft-max", 16, "--spec-ngram-size-n", 1]]:
            got, counts = said(tools, succeed, model, "-n", 40, *options, *draft)
            must(got == plain, f"{options}, {draft}: {got} instead of {plain}")
            # A turn that stops at the third word has hardly begun to repeat what was said.
            must(counts[1] > 0 or "--stop" in options, f"{options}, {draft}: no draft was accepted, of {counts[0]} tokens")


def ends(tools, must, succeed, model):
    """Wherever a turn ends, and whatever the context's size."""
    for options in [["-n", n] for n in range(1, 12)] + [["-c", c] for c in range(45, 60, 3)]:
        plain, _ = said(tools, succeed, model, *options)
        got, _ = said(tools, succeed, model, *options, "--draft-max", 5, "--spec-ngram-size-n", 2)
        must(got == plain, f"{options}: {got} instead of {plain}")


def by_models(tools, must, succeed, model):
    """A second model guesses: the same one, and one that lacks half of its last norm, which is right and wrong by turns."""
    with tempfile.TemporaryDirectory() as folder:
        worse = pathlib.Path(folder) / "emo.gguf"
        data = model.read_bytes()
        worse.write_bytes(data[:-384] + bytes(384))
        for options in [
            [],
            ["-n", 1],
            ["-c", 47],
            ["--temp", 0.8, "--seed", 3, "--repeat-penalty", 1.1],
            ["--grammar", 'root ::= (" " [A-Z] [a-z]+ | [a-z .])*', "-t", 3],
            ["--stop", "Lima", "--kv-type", "q8_0"],
            ["--budget-us", 50],
        ]:
            plain, _ = said(tools, succeed, model, "-n", 30, *options)
            for draft in [["-md", model], ["--model-draft", worse, "--draft-max", 5], ["-md", model, "--draft-max", 1]]:
                got, counts = said(tools, succeed, model, "-n", 30, *options, *draft)
                must(got == plain, f"{options}, {draft}: {got} instead of {plain}")
                must("-n" in options or counts[0] > 0, f"{options}, {draft}: nothing was drafted")
                must(worse in draft or counts[0] == counts[1] or "--temp" in options or "--grammar" in options or "--stop" in options,
                     f"{options}, {draft}: {counts[1]} of {counts[0]} accepted, of what the model itself guessed")


def run(tools, check, must, succeed, demo):
    check("drafts change nothing", same, tools, must, succeed, demo)
    check("drafts end where texts do", ends, tools, must, succeed, demo)
    check("drafts by a model change nothing", by_models, tools, must, succeed, demo)
