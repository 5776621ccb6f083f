#!/usr/bin/env python3
"""Writes golden.json: what Jinja2 makes of the templates in cases.txt (pip install jinja2).

The environment is the one that transformers renders chat templates with, but for lists and dicts, which may be changed
here. A case that Jinja2 refuses must be refused.
"""
import datetime
import json
import pathlib
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


def rendered(env, template):
    try:
        return env.from_string(template).render(**json.loads(json.dumps(CONTEXT)))
    except Exception as error:  # whatever it is: it is refused
        return {"error": str(error)}


def main():
    env = environment()
    cases = (HERE / "cases.txt").read_bytes().decode().split("\n====\n")
    out = [[case, rendered(env, case)] for case in cases if case]
    lines = ",\n".join(json.dumps(pair, ensure_ascii=False) for pair in out)
    context = json.dumps(json.dumps(CONTEXT, ensure_ascii=False))
    (HERE / "golden.json").write_text('{"context": %s,\n"cases": [\n%s\n]}\n' % (context, lines))
    print(len(out), "cases,", sum(isinstance(o, dict) for _, o in out), "of them refused")


if __name__ == "__main__":
    main()
