#!/usr/bin/env python3
"""Do today's headers still say what an older version's said?

    tests/abi/compare.py tests/abi/0.1 include

Everything in the old headers must be in the new ones: constants with their values, functions and callbacks with
their types, structs with their fields. A struct that opens with struct_size, or that a guest passes with its length,
may have more fields at its end. Names of parameters may change, and so may the minor and patch versions.
"""
import pathlib
import re
import sys

FREE = {"REALM_VERSION_MINOR", "REALM_VERSION_PATCH", "REALM_ABI_VERSION", "REALM_GUEST_ABI_MINOR"}


def c_lines(text):
    """The lines that a C compiler sees, without comments; `#if`s other than __cplusplus are taken as true."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S).replace("\\\n", " ")
    kept, stack = [], []
    for line in text.splitlines():
        directive = re.match(r"\s*#\s*(if\w*|else|elif|endif)\b(.*)", line)
        if directive is None:
            if all(stack):
                kept.append(line)
        elif directive[1].startswith("if"):
            stack.append("__cplusplus" not in directive[2])
        elif directive[1] == "endif":
            stack.pop()
        else:
            stack[-1] = not stack[-1]
    return kept


def squeeze(text):
    return re.sub(r"\s*([(),;*{}])\s*", r"\1", " ".join(text.split()))


def unnamed(declaration):
    """A function's declaration without its parameters' names."""
    parts = re.fullmatch(r"((?:REALM_GUEST_\w+\(\w+\))?[^()]+)\(([^()]*)\)", declaration)
    if parts is None:
        return declaration
    types = [re.sub(r"(?<=[\s*])\w+(\[\d*\])?$", r"\1", p).strip() for p in parts[2].split(",")]
    return f"{parts[1]}({','.join(types)})"


def read(folder):
    """(constants: name -> value, structs: name -> fields, all other declarations)"""
    constants, structs, declarations = {}, {}, set()
    for header in sorted(pathlib.Path(folder).glob("*.h")):
        body = []
        for line in c_lines(header.read_text()):
            define = re.match(r"\s*#\s*define\s+(\w+)(\([^)]*\))?\s*(.*)", line)
            if define:
                constants[define[1]] = squeeze((define[2] or "") + " " + define[3])
            elif not line.lstrip().startswith("#"):
                body.append(line)
        text = "\n".join(body)
        for found in re.finditer(r"\benum\s*\{(.*?)\}\s*;", text, re.S):
            for item in found[1].split(","):
                if item.strip():
                    name, value = item.split("=")
                    constants[name.strip()] = value.strip()
        for found in re.finditer(r"\btypedef\s+struct\s+\w+\s*\{(.*?)\}\s*(\w+)\s*;", text, re.S):
            structs[found[2]] = [squeeze(field) for field in found[1].split(";") if field.strip()]
        text = re.sub(r"\benum\s*\{.*?\}\s*;|\btypedef\s+struct\s+\w+\s*\{.*?\}\s*\w+\s*;", "", text, flags=re.S)
        text = re.sub(r"\{[^{}]*\}", ";", text)  # bodies of inline functions
        declarations |= {unnamed(squeeze(d)) for d in text.split(";") if d.strip()}
    return constants, structs, declarations


def differences(old, new):
    for name, value in old[0].items():
        if name not in FREE and new[0].get(name) != value:
            yield f"{name} was {value or 'defined'}, is {new[0].get(name, 'gone')}"
    for name, fields in old[1].items():
        now = new[1].get(name, [])
        grows = "uint32_t struct_size" in fields or re.fullmatch(r"realm_guest_\w+_info", name)
        if now[: len(fields)] != fields:
            yield f"{name}: fields are gone, changed or moved"
        elif len(now) > len(fields) and not grows:
            yield f"{name}: has more fields, and nothing tells the library which one a program means"
    for declaration in sorted(old[2] - new[2]):
        yield f"gone or changed: {declaration}"


def main():
    old, new = read(sys.argv[1]), read(sys.argv[2])
    if min(len(part) for part in old) < 10:
        sys.exit(f"{sys.argv[1]}: these headers were not understood")
    found = list(differences(old, new))
    print("\n".join(found) or f"{len(old[0])} constants, {len(old[1])} structs and {len(old[2])} declarations are as they were")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
