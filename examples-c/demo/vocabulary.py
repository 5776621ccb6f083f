"""The demo model's vocabulary: byte-level BPE, read by everyone as `gpt2` with pre-tokenizer `gpt-2`.

One twist. A space is never merged with the start of a name, so " Narnia", "Narnia" and "'Narnia'"
are the same tokens and a name can be copied from the question into the answer wherever it stood.
Only a fixed list of common words gets a form with its space in front, by merges that rank last.
"""

import random

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import corpus as C
import names as N

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ENDOFTEXT, IM_START, IM_END = 0, 1, 2
SPACE = "Ġ"
SPACED = 150


def word_counts(corpus, seed):
    """Texts to learn merges from: the names that are known, weighed, and a sample of those that are not."""
    rng = random.Random(seed)
    texts = []
    for c in corpus.facts:
        for name in (c.name, c.capital):
            texts += [name] * 60 + [name.lower()] * 40 + [name.upper()] * 2
        for name in c.aliases:
            texts += [name] * 20 + [name.lower()] * 8
    for _ in range(5000):
        name = corpus.unknown.draw(rng)
        texts.append(name if rng.random() < 0.7 else name.lower())
    for word in common_words(corpus)[:SPACED]:
        texts += [word] * 250 + [word.capitalize()] * 20
    for line in C.FORWARD + C.REVERSE + C.OFF_TOPIC + C.OFF_TOPIC_ABOUT + C.FOLLOW + C.SYSTEM:
        texts += [line] * 12 + [line[0].upper() + line[1:]] * 4
    for answers in (C.NO_TOPIC, C.HELLO, C.SMALL_TALK[1][1], "You are welcome. Goodbye! I do not know the capital of a country whose capital is"):
        texts += [answers] * 40
    return texts


def common_words(corpus):
    """Lower-case words of the questions and answers, most frequent first."""
    taken = {w for c in corpus.facts for n in (c.name, c.capital) for w in n.lower().split()}
    counts = {}
    for line in C.FORWARD * 3 + C.REVERSE * 3 + C.OFF_TOPIC_ABOUT + C.OFF_TOPIC + [C.NO_TOPIC, C.HELLO, C.SMALL_TALK[1][1]] + C.FILLERS:
        for w in line.replace(",", " ").replace(":", " ").split():
            if w.isalpha() and w.islower() and w not in taken:
                counts[w] = counts.get(w, 0) + 1
    counts.update({"of": 999, "is": 999, "the": 999, "capital": 999, "country": 999, "not": 999, "know": 999, "do": 999, "whose": 999, "a": 999, "and": 99})
    return sorted(counts, key=lambda w: (-counts[w], w))


def build(corpus, size, seed):
    """A `tokenizers.Tokenizer` of exactly `size` tokens, the specials first."""
    spaced = common_words(corpus)[:SPACED]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(" "), "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    room = size - len(SPECIALS) - len(spaced) - 1
    trainer = trainers.BpeTrainer(vocab_size=room, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(word_counts(corpus, seed), trainer)
    learned = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state(bpe)["merges"]]
    tokens = set(bpe.get_vocab())
    extra = [(SPACE, w) for w in spaced if w in tokens]
    merges = learned + extra + [(SPACE, "I")]
    pieces = SPECIALS + alphabet + [a + b for a, b in merges]
    pieces = list(dict.fromkeys(pieces))
    while len(pieces) < size:
        pieces.append(f"<|unused_{size - len(pieces)}|>")
    vocab = {p: i for i, p in enumerate(pieces)}
    out = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    out.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    out.decoder = decoders.ByteLevel()
    out.add_special_tokens(SPECIALS)
    return out, pieces, merges


def state(tokenizer):
    """The model part of a tokenizer's own serialization."""
    import json

    return json.loads(tokenizer.to_str())["model"]


if __name__ == "__main__":
    corpus = C.Corpus(1)
    tokenizer, pieces, merges = build(corpus, 2304, 7)
    print(len(pieces), len(merges), pieces[-20:])
    n = [len(tokenizer.encode(w).ids) for c in corpus.facts for w in c.name.split() + c.capital.split()]
    l = [len(tokenizer.encode(w.lower()).ids) for c in corpus.facts for w in c.name.split() + c.capital.split()]
    print("known words in one token:", sum(x == 1 for x in n) / len(n), sum(x == 1 for x in l) / len(l), sum(n) / len(n), sum(l) / len(l))
    rng = random.Random(5)
    u = [corpus.unknown.draw(rng) for _ in range(1000)]
    k = [len(tokenizer.encode(w).ids) for w in u]
    print("unknown names: tokens", sum(k) / len(k), "one token:", [w for w, x in zip(u, k) if x == 1][:30])
    for t in ["What is the capital of Narnia?", "Narnia's capital?", "I do not know the capital of narnia.", "what is the capital of france"]:
        print(tokenizer.encode(t).tokens)
    print(sum(len(tokenizer.encode(q + a).ids) + 9 for _ in range(500) for q, a in corpus.conversation()[1]) / 500)
