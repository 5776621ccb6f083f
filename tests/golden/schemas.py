#!/usr/bin/env python3
"""Draws JSON schemas, and documents that they describe and that they do not, for the guest's converter of schemas.

    schemas.py 1 120 4 >schemas.jsonl
    schemas.py SEED COUNT DOCUMENTS >FILE         (pip install jsonschema)
    REALM_SCHEMA_CASES=FILE cargo test own_schemas      in guest/

A line is {"schema", "valid": [...], "invalid": [...]}, the documents as text. Only what guest/README.md says is enforced is drawn, and a document is
invalid in one place. The package jsonschema has the last word on both. If llama-cpp-python is there, a line also has "gbnf", the grammar that it makes: what
that takes of the valid documents, ours must take.
"""
import copy
import json
import random
import re
import string
import sys

import jsonschema

try:
    from llama_cpp.llama_grammar import json_schema_to_gbnf
except ImportError:
    json_schema_to_gbnf = None

NAMES = ["a", "ab", "abc", "b", "id", "name", "näme", "the value", 'q"uote', "back\\slash", "x-y", "_", "type", "items", "0", "日本"]
# A pattern, and what draws a text of it.
PATTERNS = [
    (r"^[a-z]+$", lambda r: letters(r, 1, 9)),
    (r"^\d{3}-\d{4}$", lambda r: f"{r.randrange(1000):03}-{r.randrange(10000):04}"),
    (r"^(yes|no|maybe)$", lambda r: r.choice(["yes", "no", "maybe"])),
    (r"^[A-Z][a-z]{1,5}( [A-Z][a-z]{1,5})?$", lambda r: " ".join(letters(r, 2, 6).capitalize() for _ in range(r.randint(1, 2)))),
    (r"^#[0-9a-fA-F]{6}$", lambda r: f"#{r.randrange(1 << 24):06x}"),
    (r"^[^\"\\]{0,4}$", lambda r: "".join(r.choice("aé\n'/ 日🌍") for _ in range(r.randint(0, 4)))),
    (r"^v\d+\.\d+(\.\d+)?$", lambda r: "v" + ".".join(str(r.randrange(40)) for _ in range(r.randint(2, 3)))),
    (r"^\w+@\w+\.(com|org)$", lambda r: f"{letters(r, 1, 5)}_{r.randrange(9)}@{letters(r, 1, 5)}.{r.choice(['com', 'org'])}"),
    (r"^(?:ab?){2,3}\"\s*$", lambda r: "".join(r.choice(["a", "ab"]) for _ in range(r.randint(2, 3))) + '"' + " \t\n"[: r.randint(0, 3)]),
]
FORMATS = {
    "date": lambda r: f"{r.randrange(1000, 3000)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}",
    "time": lambda r: f"{r.randrange(24):02}:{r.randrange(60):02}:{r.randrange(60):02}{r.choice(['Z', '+02:00', '.123Z'])}",
    "uuid": lambda r: "-".join("".join(r.choice("0123456789abcdef") for _ in range(n)) for n in (8, 4, 4, 4, 12)),
}
FORMATS["date-time"] = lambda r: FORMATS["date"](r) + "T" + FORMATS["time"](r)


def letters(r, least, most):
    return "".join(r.choice(string.ascii_lowercase) for _ in range(r.randint(least, most)))


def text(r, least=0, most=12):
    return "".join(r.choice("abc XYZ09 é\n\t\"\\/ß日🌍\u2028") for _ in range(r.randint(least, most)))


def number(r):
    return r.choice([r.randint(-999, 999), round(r.uniform(-1e3, 1e3), r.randint(1, 6)), 0, -0.5, 1e-3, 123456789.25])


def anything(r, depth=2):
    kinds = [lambda: None, lambda: r.random() < 0.5, lambda: number(r), lambda: text(r)]
    if depth:
        kinds += [lambda: [anything(r, depth - 1) for _ in range(r.randint(0, 3))],
                  lambda: {k: anything(r, depth - 1) for k in r.sample(NAMES, r.randint(0, 3))}]
    return r.choice(kinds)()


# Each of these draws a schema, what draws a document of it, and what draws one that it refuses (or None).

def other(r, *kinds):
    """A value of none of these types."""
    values = {"null": None, "boolean": True, "number": 1.5, "integer": 7, "string": "x", "array": [], "object": {}}
    return lambda: r.choice([copy.deepcopy(v) for k, v in values.items() if k not in kinds])


def integers(r, depth, defs):
    schema, low, high = {"type": "integer"}, -10**6, 10**6
    at = r.choice([0, 5, 100, -100, 12345, 10**15, -(10**12)])
    if r.random() < 0.6:
        low = at - r.choice([0, 1, 9, 1000])
        schema.update(r.choice([{"minimum": low}, {"exclusiveMinimum": low - 1}]))
    if r.random() < 0.6:
        high = max(low if len(schema) > 1 else -10**16, at + r.choice([0, 1, 13, 4321]))
        schema.update(r.choice([{"maximum": high}, {"exclusiveMaximum": high + 1}]))
    has_low, has_high = (any(k.endswith(e) for k in schema) for e in ("inimum", "aximum"))
    if not has_low:
        low = high - 5000
    if not has_high:
        high = low + 5000

    def bad():
        ways = [other(r, "integer", "number")]
        ways += [lambda: low - r.choice([1, 2, 77])] * has_low + [lambda: high + r.choice([1, 3, 99])] * has_high
        return r.choice(ways)()
    return schema, lambda: r.choice([low, high, r.randint(low, high)]), bad


def strings(r, depth, defs):
    kind = r.randrange(4)
    if kind == 0:
        pattern, draw = r.choice(PATTERNS)

        def bad():
            found = draw(r) + r.choice(["!", "", "\u00fc?", "§§§§§§"])
            return found if not re.search(pattern, found) else 3
        return {"type": "string", "pattern": pattern}, lambda: draw(r), bad
    if kind == 1:
        name = r.choice(list(FORMATS))
        return {"type": "string", "format": name}, lambda: FORMATS[name](r), other(r, "string")
    if kind == 2:
        least, more = r.randint(0, 4), r.randint(0, 5)
        schema = {"type": "string", "minLength": least, "maxLength": least + more}
        bad = lambda: text(r, least + more + 1, least + more + 5) if r.random() < 0.5 or not least else text(r, 0, least - 1)
        return schema, lambda: text(r, least, least + more), bad
    return {"type": "string"}, lambda: text(r), other(r, "string")


def plain(r, depth, defs):
    name = r.choice(["null", "boolean", "number"])
    draw = {"null": lambda: None, "boolean": lambda: r.random() < 0.5, "number": lambda: number(r)}[name]
    return {"type": name}, draw, other(r, name, *["integer"] * (name == "number"))


def several(r, depth, defs):
    names = r.sample(["null", "boolean", "integer", "string"], r.randint(2, 3))
    draw = {"null": lambda: None, "boolean": lambda: True, "integer": lambda: r.randint(-99, 99), "string": lambda: text(r)}
    bad = other(r, *names, *["number"] * ("integer" in names))
    return {"type": names}, lambda: draw[r.choice(names)](), bad


def choices(r, depth, defs):
    # Lists and objects among them are taken as JSON without blanks, so there are none.
    values = [anything(r, 0) for _ in range(r.randint(1, 4))]
    bad = lambda: r.choice(["neither", 31337, [[]], {"no": "such"}])
    if r.random() < 0.3:
        return {"const": values[0]}, lambda: values[0], bad
    return {"enum": values}, lambda: r.choice(values), bad


def arrays(r, depth, defs):
    if r.random() < 0.3:
        parts = [draw(r, depth - 1, defs) for _ in range(r.randint(1, 3))]
        schema = {"type": "array", "prefixItems": [p[0] for p in parts], "items": False, "minItems": len(parts)}
        good = lambda: [p[1]() for p in parts]

        def bad():
            at = r.randrange(len(parts) + 1)
            made = good()
            return made + [1] if at == len(parts) else made[:at] + [parts[at][2]()] + made[at + 1:]
        # Our rule takes all of prefixItems and nothing behind them: `items` false and `minItems` say so to jsonschema.
        return schema, good, bad
    item, good, bad = draw(r, depth - 1, defs)
    least, more = r.randint(0, 2), r.randint(0, 3)
    schema = {"type": "array", "items": item}
    if least or r.random() < 0.5:
        schema["minItems"] = least
    bounded = r.random() < 0.6
    if bounded:
        schema["maxItems"] = least + more

    def wrong():
        made = [good() for _ in range(least + more)]
        if made and r.random() < 0.6:
            made[r.randrange(len(made))] = bad()
            return made
        if bounded:
            return made + [good()]
        return made[: least - 1] if least else {}
    return schema, lambda: [good() for _ in range(r.randint(least, least + more))], wrong


def objects(r, depth, defs):
    names = r.sample(NAMES, r.randint(1, 4))
    parts = {n: draw(r, depth - 1, defs) for n in names}
    required = [n for n in names if r.random() < 0.5]
    schema = {"type": "object", "properties": {n: p[0] for n, p in parts.items()}, "required": required, "additionalProperties": False}
    order = required + [n for n in names if n not in required]
    more = None
    if r.random() < 0.3:
        more = draw(r, 0, defs)
        schema["additionalProperties"] = more[0]

    def good():
        made = {n: parts[n][1]() for n in order if n in required or r.random() < 0.6}
        for k in range(r.randint(0, 2) if more else 0):
            made[f"more {k}"] = more[1]()
        return made

    def bad():
        made, way = good(), r.randrange(3)
        if way == 0 and required:
            del made[r.choice(required)]
        elif way == 1 and not more:
            made["none of these"] = 1
        elif more and made and list(made)[-1].startswith("more "):
            made[list(made)[-1]] = more[2]()
        else:
            n = r.choice(names)
            made = {k: parts[k][2]() if k == n else made[k] for k in order if k in made or k == n} | {k: v for k, v in made.items() if k not in names}
        return made
    return schema, good, bad


def unions(r, depth, defs):
    parts = [draw(r, depth - 1, defs) for _ in range(r.randint(2, 3))]
    return {r.choice(["anyOf", "oneOf"]): [p[0] for p in parts]}, lambda: r.choice(parts)[1](), lambda: r.choice(parts)[2]()


def references(r, depth, defs):
    name = f"d{len(defs)}"
    defs[name] = None
    item, good, bad = draw(r, depth - 1, defs)
    if r.random() < 0.4:
        # A list that leads to itself.
        node = {"type": "object", "properties": {"value": item, "next": {"$ref": f"#/$defs/{name}"}}, "required": ["value"], "additionalProperties": False}
        defs[name] = node

        def chain(last, length):
            made = {"value": last()}
            for _ in range(length):
                made = {"value": good(), "next": made}
            return made
        return {"$ref": f"#/$defs/{name}"}, lambda: chain(good, r.randint(0, 4)), lambda: chain(bad, r.randint(0, 3))
    defs[name] = item
    return {"$ref": f"#/$defs/{name}"}, good, bad


def merged(r, depth, defs):
    """allOf of objects: all their properties, in their order."""
    names = r.sample(NAMES, 4)
    parts = {n: draw(r, 0, defs) for n in names}
    halves = [{"type": "object", "properties": {n: parts[n][0] for n in half}, "required": half[:1]} for half in (names[:2], names[2:])]
    must = [names[0], names[2]]

    def bad():
        made = {n: parts[n][1]() for n in names}
        n = r.choice(must)
        if r.random() < 0.5:
            del made[n]
        else:
            made[n] = parts[n][2]()
        return made
    # The README: properties that members name must all be there.
    return {"allOf": halves}, lambda: {n: parts[n][1]() for n in names}, bad


def draw(r, depth, defs):
    leaves = [integers, strings, plain, several, choices]
    return r.choice(leaves + [arrays, objects, objects, unions, references, merged] * (depth > 0))(r, depth, defs)


def written(r, value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":") if r.random() < 0.5 else (", ", ": "))


def case(r, documents):
    defs = {}
    schema, good, bad = r.choice([objects, arrays, draw, unions, merged])(r, r.randint(1, 3), defs)
    if defs:
        schema = {**schema, "$defs": defs}
    judge = jsonschema.Draft202012Validator(schema)
    # That only one of oneOf fits is not enforced.
    lenient = jsonschema.Draft202012Validator(json.loads(json.dumps(schema).replace('"oneOf"', '"anyOf"')))
    valid = [d for d in (good() for _ in range(documents)) if judge.is_valid(d)]
    invalid = [d for d in (bad() for _ in range(documents)) if not lenient.is_valid(d)]
    found = {"schema": json.dumps(schema, ensure_ascii=False), "valid": [written(r, d) for d in valid], "invalid": [written(r, d) for d in invalid]}
    if json_schema_to_gbnf:
        try:
            found["gbnf"] = json_schema_to_gbnf(found["schema"])
        except Exception:  # what it does not know
            pass
    return found


def main():
    seed, count, documents = map(int, sys.argv[1:])
    r = random.Random(seed)
    for _ in range(count):
        print(json.dumps(case(r, documents), ensure_ascii=False))


if __name__ == "__main__":
    main()
