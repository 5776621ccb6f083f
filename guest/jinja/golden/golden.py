#!/usr/bin/env python3
"""Writes golden.json: what Jinja2 makes of the templates in cases.txt (pip install jinja2).

    golden.py                   golden.json
    golden.py DIR... >FILE      the same for the *.jinja of directories, over conversations with tools, calls, thoughts and images;
                                `REALM_JINJA_CASES=FILE cargo test own_cases` compares

The environment is the one that transformers renders chat templates with, but for lists and dicts, which may be changed
here. A case that Jinja2 refuses must be refused.
"""
import datetime
import functools
import json
import pathlib
import sys
import jinja2
import jinja2.ext
from jinja2.sandbox import SandboxedEnvironment

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2025, 1, 2, 3, 4, 5)
CONTEXT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "  Hi \"you\" & <me>\n"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 3, "x": 1.5}}}]},
        {"role": "tool", "tool_call_id": "call_1", "name": "get_weather", "content": "{\"t\": 21}"},
        {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "image"}]},
    ],
    "tools": [{"type": "function", "function": {"name": "get_weather", "description": "It's the weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": ["integer", "null"], "default": 1}}, "required": ["city"]}}}],
    "add_generation_prompt": True,
    "bos_token": "<s>", "eos_token": "</s>",
    "n": 7, "f": 2.5, "s": "Hello World", "e": "", "nothing": None, "yes": True, "no": False,
    "l": [3, 1, 2], "words": ["banana", "Apple", "cherry", "apple"], "d": {"b": 1, "a": 2, "C": 3},
    "nested": {"a": {"b": [{"c": 1}, {"c": 2}]}}, "u": "naïve ☃ 漢字",
}


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols", "jinja2.ext.do"])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: NOW.strftime(format)
    return env


CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}}
SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hi <there> & \"you\"\n"}
CALLING = [SYSTEM, USER, {"role": "assistant", "content": "", "tool_calls": [CALL]},
           {"role": "tool", "tool_call_id": "call_1", "name": "get_weather", "content": "{\"t\": 21}"}]
CONVERSATIONS = [
    [USER],
    [SYSTEM, USER],
    [SYSTEM, USER, {"role": "assistant", "content": " Hello. "}, {"role": "user", "content": "Bye"}],
    [USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"}, {"role": "user", "content": "Bye"}],
    [USER, {"role": "assistant", "content": "Hello", "reasoning_content": "hm"}, {"role": "user", "content": "Bye"}],
    [{"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image"}, {"type": "text", "text": "this"}]}],
    CALLING,
    CALLING + [{"role": "assistant", "content": "It is warm."}, {"role": "user", "content": "Thanks"}],
    CALLING[:2] + [{"role": "assistant", "content": None, "tool_calls": [CALL, dict(CALL, id="call_2")]}, CALLING[3],
                   dict(CALLING[3], tool_call_id="call_2")],
    [{"role": "developer", "content": "Dev"}, USER, {"role": "assistant", "content": "partial"}],
    [USER, USER],
    [{"role": "assistant", "content": "first"}, USER],
]
VARIABLES = [
    {}, {"tools": CONTEXT["tools"]}, {"tools": CONTEXT["tools"], "enable_thinking": False, "documents": None, "builtin_tools": ["browser"]},
    {"tools": None, "enable_thinking": True, "reasoning_effort": "high", "thinking": True, "date_string": "1 Jan 2024"},
    {"add_generation_prompt": False, "tools": []}, {"documents": [{"title": "T", "text": "words"}], "custom_tools": CONTEXT["tools"], "tools_in_user_message": False},
]


def of_directories(env, directories):
    """Templates, contexts, and what Jinja2 makes of them, each on its own."""
    out = []
    for path in sorted(p for d in directories for p in pathlib.Path(d).glob("*.jinja")):
        source = path.read_bytes().decode()
        for messages in CONVERSATIONS:
            for variables in VARIABLES:
                context = {"messages": messages, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", **variables}
                out.append([path.name, source, json.dumps(context, ensure_ascii=False), rendered(env, source, context)])
    return out


@functools.cache
def compiled(env, template):
    return env.from_string(template)


def rendered(env, template, context=CONTEXT):
    try:
        return compiled(env, template).render(**json.loads(json.dumps(context)))
    except Exception as error:  # whatever it is: it is refused
        return {"error": str(error)}


def main():
    env = environment()
    if len(sys.argv) > 1:
        json.dump(of_directories(env, sys.argv[1:]), sys.stdout, ensure_ascii=False)
        return
    cases = (HERE / "cases.txt").read_bytes().decode().split("\n====\n")
    out = [[case, rendered(env, case)] for case in cases if case]
    lines = ",\n".join(json.dumps(pair, ensure_ascii=False) for pair in out)
    context = json.dumps(json.dumps(CONTEXT, ensure_ascii=False))
    (HERE / "golden.json").write_text('{"context": %s,\n"cases": [\n%s\n]}\n' % (context, lines))
    print(len(out), "cases,", sum(isinstance(o, dict) for _, o in out), "of them refused")


if __name__ == "__main__":
    main()
