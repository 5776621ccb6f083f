"""Writes vocab.json: two made-up vocabularies and the ids that the reference tokenizers give.

Needs the packages `tokenizers` and `sentencepiece` (with `protobuf`). The byte-level vocabulary is
the 256 characters of the byte alphabet, in order of code point, followed by what the merges make;
the SentencePiece one is <unk>, <s>, </s>, 256 byte tokens, and the pieces.
"""

import collections
import json
import pathlib
import sys

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

CORPUS = """The little realm had a thousand rules, and the realm's keeper knew them all.
"Don't you think there's one too many?" they'd ask; he'd answer: "I'll count them: 1, 2, 3 ... 1000."
  for (i = 0; i < 10; i++) {\n    total += values[i];\n    }\n\treturn total;\n
Die Straße über die Brücke; мир приветствует; 你好世界, 你好; café, naïve.
""" * 3

TEXTS = [
    "the realm",
    " the  realm   ",
    "The realm's rules, they'd ASK'D I'LL don't 'sa '",
    "1 12 123 1234 12345678 3.14 ½² Ⅳ ٣٤٥",
    "    for (i = 0;\n\n\n        i < 10)\r\n\t\t}\n",
    "a\u00a0b\u0085c\u2028d\u3000e\u200bf\u180eg",
    " \n \n\t \r\n x",
    "\n\n  \n",
    "   ",
    "Straße über café cafe\u0301 naïve \u0301\u0327x",
    "мир приветствует МИР'S 'ſ",
    "你好世界，你好 東京タワー 한국어",
    "😀👨\u200d👩\u200d👧🇩🇪 👍🏽!",
    "...!!! ?? $5+3=8 <a href='x'>`~^|</a>\n---\n",
    "הם हिन्दी ไทย العربية",
    "\x00\x01\x7f\ufffd\ue000",
    "thethethethethetherealmrealmrealmtotaltotaltotalthethethethethethe",
    "           = = = == === ==== ========",
    "HTTPServer camelCase'S ǅungla 日本ABC ʰX/ a//\n/ A\u0301B",
    "<s></s><unk><0x0A><|im_end|>",
]

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CASE = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+C|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*C|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"""
    r""" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
SPLITS = {
    "llama-bpe": [LLAMA3],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
    "gpt-4o": [CASED.replace("+C|", "+" + CASE + "|").replace("*C|", "*" + CASE + "|")],
    "tekken": [CASED.replace("C|", "|").replace("{1,3}", "")],
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3],
}


def pre_tokenizer(name):
    steps = [pre_tokenizers.Split(Regex(r), "isolated") for r in SPLITS[name]]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    return pre_tokenizers.Sequence(steps)


def learn(words, count):
    """The plainest BPE training: the most frequent pair, ties to the smaller."""
    words = {tuple(w): n for w, n in collections.Counter(words).items()}
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for w, n in words.items():
            for pair in zip(w, w[1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        joined = {}
        for w, n in words.items():
            out = []
            for c in w:
                if out and (out[-1], c) == best:
                    out[-1] += c
                else:
                    out.append(c)
            joined[tuple(out)] = n
        words = joined
    return merges


def byte_level():
    words = [w for w, _ in pre_tokenizer("gpt-2").pre_tokenize_str(CORPUS)]
    merges = learn(words, 120)
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(m) for m in merges]
    vocab = {t: i for i, t in enumerate(tokens)}
    cases = []
    for name in SPLITS:
        whole = name in ("llama-bpe", "tekken")
        t = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=whole))
        t.pre_tokenizer = pre_tokenizer(name)
        cases += [{"pre": name, "text": s, "ids": t.encode(s).ids} for s in TEXTS]
    return {"merges": [" ".join(m) for m in merges], "cases": cases}


def sentence_piece():
    spaced = CORPUS.replace(" ", "▁").replace("\n", "")
    words = ["▁" + w for w in spaced.split("▁") if w]
    letters = sorted(set(spaced) | {"▁"})
    pieces = ["".join(m) for m in learn(words, 120)] + letters
    pieces = [[p, float(-i)] for i, p in enumerate(pieces)]
    model = sentencepiece_model_pb2.ModelProto()

    def add(piece, score, kind):
        p = model.pieces.add()
        p.piece, p.score, p.type = piece, score, kind

    add("<unk>", 0, 2)
    add("<s>", 0, 3)
    add("</s>", 0, 3)
    for b in range(256):
        add(f"<0x{b:02X}>", 0, 6)
    for piece, score in pieces:
        add(piece, score, 1)
    model.trainer_spec.model_type = 2
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.vocab_size = len(model.pieces)
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.remove_extra_whitespaces = False
    sp = sentencepiece.SentencePieceProcessor()
    sp.LoadFromSerializedProto(model.SerializeToString())
    texts = [t for t in TEXTS if "\x00" not in t]
    return {"pieces": pieces, "cases": [{"text": s, "ids": sp.EncodeAsIds(s)} for s in texts]}


def main():
    target = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).with_suffix(".json")
    text = json.dumps({"bpe": byte_level(), "spm": sentence_piece()}, separators=(",", ":"))
    target.write_text(text.replace("},{", "},\n{") + "\n")


main()
