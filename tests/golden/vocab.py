"""Writes vocab.json: made-up vocabularies and the ids that the reference tokenizers give.

Needs the packages `tokenizers` and `sentencepiece` (with `protobuf`). The byte-level vocabulary is
the 256 characters of the byte alphabet, in order of code point, followed by what the merges make;
the SentencePiece ones are <unk>, <s>, </s>, 256 byte tokens where there is byte fallback, and the pieces.
The WordPiece vocabulary is written as GGUF files have it: U+2581 before words, nothing before what goes on.
"""

import base64
import collections
import io
import json
import pathlib
import sys
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

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
CASED_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-"
    "ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-"
    "ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
CLAUSES = r" ?[^(\s|.,!?…。，、।۔،)]+"
SPLITS = {
    "llama-bpe": [LLAMA3],
    "qwen2": [QWEN2],
    "ufakzeka": [QWEN2.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)|", "")],
    "seed-coder": [QWEN2.replace(r"\p{N}]+[\r\n]*", r"\p{N}\r\n]+")],
    "laguna": [r"[^\n]+|[\n]+", QWEN2],
    "bloom": [CLAUSES],
    "viking": [CLAUSES, r"\p{N}"],
    "deepseek-llm": [
        r"[\r\n]",
        rf"\s?[{CASED_LETTERS}]+",
        "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
        r"\s+$",
        "[一-龥\u0800-一가-\ud7ff]+",
        r"\p{N}+",
    ],
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


def marked_spaces():
    """BPE by characters with byte fallback, as Gemma 4 has it."""
    spaced = CORPUS.replace(" ", "▁")
    words = [w for line in spaced.split("\n") for w in [line] if w]
    merges = [m for m in learn(words, 120)]
    letters = sorted(set("".join(words)) | {"▁", "\n"})
    tokens = [f"<0x{b:02X}>" for b in range(256)] + letters + ["".join(m) for m in merges]
    vocab = {}
    for token in tokens:
        vocab.setdefault(token, len(vocab))
    t = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|[\n]+"), "isolated")
    cases = [{"text": s, "ids": t.encode(s).ids} for s in TEXTS]
    return {
        "tokens": list(vocab),
        "merges": [" ".join(m) for m in merges],
        "cases": cases,
    }


def word_piece():
    letters = sorted(set(CORPUS.lower()) - set(" \n\t")) + list("日本語東京한ᄒ한a`$½")
    starts = "the re realm keep rule thou sand cou straße strasse naive cafe мир hello 1 12".split()
    inner = "er s lm d t sand n ing e a o 2 23 34".split()
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += letters + ["##" + c for c in letters if c.isalnum()] + starts
    tokens += ["##" + c for c in inner]
    tokens = list(dict.fromkeys(tokens))
    vocab = {t: i for i, t in enumerate(tokens)}
    cases = []
    for lower in (True, False):
        t = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=10**9))
        t.normalizer = normalizers.BertNormalizer(lowercase=lower)
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        cases += [{"lowercase": lower, "text": s, "ids": t.encode(s).ids} for s in TEXTS]

    def stored(token):
        if token.startswith("["):
            return token
        return token[2:] if token.startswith("##") else "▁" + token

    return {"tokens": [stored(t) for t in tokens], "cases": cases}


def unigram():
    """Trained on the corpus, with a small character map of its own."""
    rules = {"Ä": "A", "ä": "ae", "ß": "ss", "café": "coffee", "A\u0301": "Á", "\u00a0": " ", "\u3000": " ", "\t": " "}
    rules["\n"] = " "
    rules["½"] = "1/2"
    code = lambda text: " ".join(f"{ord(c):X}" for c in text)
    runs = []
    for merge_spaces in (True, False):
        with tempfile.NamedTemporaryFile("w", suffix=".tsv") as tsv:
            tsv.write("".join(f"{code(a)}\t{code(b)}\n" for a, b in rules.items()))
            tsv.flush()
            model = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(CORPUS.split("\n") * 20),
                model_writer=model,
                model_type="unigram",
                vocab_size=110,
                character_coverage=0.99,
                normalization_rule_tsv=tsv.name,
                remove_extra_whitespaces=merge_spaces,
                hard_vocab_limit=False,
                num_threads=1,
                minloglevel=2,
            )
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(model.getvalue())
        sp = sentencepiece.SentencePieceProcessor()
        sp.LoadFromSerializedProto(model.getvalue())
        texts = [t for t in TEXTS if "\x00" not in t]
        runs.append({
            "pieces": [[p.piece, p.score, p.type] for p in proto.pieces],
            "map": base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode(),
            "merge_spaces": merge_spaces,
            "cases": [{"text": s, "ids": sp.EncodeAsIds(s)} for s in texts],
        })
    return runs


def main():
    target = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).with_suffix(".json")
    vocabularies = {
        "bpe": byte_level(),
        "marked": marked_spaces(),
        "spm": sentence_piece(),
        "ugm": unigram(),
        "wpm": word_piece(),
    }
    text = json.dumps(vocabularies, separators=(",", ":"))
    target.write_text(text.replace("},{", "},\n{") + "\n")


main()
