//! Chat formats by name, for models without a template: small templates of our own, after those that llama.cpp builds in
//! under these names.

use alloc::vec::Vec;
use realm_jinja::{Dict, Value};

/// Messages that are marked with their roles and closed the same way: how a system message, a user's and an assistant's begin,
/// how they end, whether the end token comes before that, and whether contents are trimmed.
struct Roles(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    bool,
);

/// Their template. Without a mark of its own a system message goes before the first question, in the same message. A developer's is
/// one; what has another role is shown as a user's.
const ROLES: &str = "{%- set ns = namespace(head='') -%}
{%- for m in messages -%}
{%- set text = m.content | trim if trims and m.role != 'assistant' else m.content -%}
{%- if m.role in ['system', 'developer'] and not marks.system -%}{%- set ns.head = text ~ '\n\n' -%}
{%- else -%}
{{- marks[m.role] or marks.user }}{{ ns.head ~ text }}{{ (eos_token if eos else '') ~ close }}{%- set ns.head = '' -%}
{%- endif -%}
{%- endfor -%}
{{- marks.assistant if add_generation_prompt }}";

/// Questions between `[INST]` and `[/INST]`: llama 2 and mistral.
const INST: &str = "{%- set ns = namespace(head='') -%}
{%- for m in messages -%}
{%- set text = m.content | trim if trims and m.role != 'assistant' else m.content -%}
{%- if m.role in ['system', 'developer'] -%}
{%- if apart %}{{ head ~ text ~ tail }}{% else %}{% set ns.head = head ~ text ~ tail %}{% endif -%}
{%- elif m.role == 'assistant' -%}{{ text ~ eos_token }}{{ bos_token if bos and not loop.last }}
{%- else -%}{{ open ~ ns.head ~ text ~ close }}{%- set ns.head = '' -%}
{%- endif -%}
{%- endfor -%}";

/// What comes before and behind a system message and a question; whether a system message stands apart; whether contents are
/// trimmed; whether BOS comes before every question.
struct Inst(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    bool,
    bool,
);

const SYS: (&str, &str) = ("<<SYS>>\n", "\n<</SYS>>\n\n");

enum Kind {
    Roles(Roles),
    Inst(Inst),
    Text(&'static str),
}

/// The names of the parameter `chat_template`.
const NAMES: [(&str, Kind); 19] = [
    (
        "chatml",
        Kind::Roles(Roles(
            "<|im_start|>system\n",
            "<|im_start|>user\n",
            "<|im_start|>assistant\n",
            "<|im_end|>\n",
            false,
            false,
        )),
    ),
    (
        "llama3",
        Kind::Roles(Roles(
            "<|start_header_id|>system<|end_header_id|>\n\n",
            "<|start_header_id|>user<|end_header_id|>\n\n",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            "<|eot_id|>",
            false,
            true,
        )),
    ),
    (
        "zephyr",
        Kind::Roles(Roles(
            "<|system|>\n",
            "<|user|>\n",
            "<|assistant|>\n",
            "\n",
            true,
            false,
        )),
    ),
    (
        "phi3",
        Kind::Roles(Roles(
            "<|system|>\n",
            "<|user|>\n",
            "<|assistant|>\n",
            "<|end|>\n",
            false,
            false,
        )),
    ),
    (
        "gemma",
        Kind::Roles(Roles(
            "",
            "<start_of_turn>user\n",
            "<start_of_turn>model\n",
            "<end_of_turn>\n",
            false,
            true,
        )),
    ),
    (
        "granite",
        Kind::Roles(Roles(
            "<|start_of_role|>system<|end_of_role|>",
            "<|start_of_role|>user<|end_of_role|>",
            "<|start_of_role|>assistant<|end_of_role|>",
            "<|end_of_text|>\n",
            false,
            false,
        )),
    ),
    (
        "command-r",
        Kind::Roles(Roles(
            "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>",
            "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>",
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
            "<|END_OF_TURN_TOKEN|>",
            false,
            true,
        )),
    ),
    (
        "gpt-oss",
        Kind::Roles(Roles(
            "<|start|>system<|message|>",
            "<|start|>user<|message|>",
            "<|start|>assistant",
            "<|end|>",
            false,
            false,
        )),
    ),
    (
        "llama2",
        Kind::Inst(Inst("", "\n", "[INST] ", " [/INST]", false, false, false)),
    ),
    (
        "llama2-sys",
        Kind::Inst(Inst(
            SYS.0, SYS.1, "[INST] ", " [/INST]", false, false, false,
        )),
    ),
    (
        "llama2-sys-bos",
        Kind::Inst(Inst(
            SYS.0, SYS.1, "[INST] ", " [/INST]", false, false, true,
        )),
    ),
    (
        "llama2-sys-strip",
        Kind::Inst(Inst(
            SYS.0, SYS.1, "[INST] ", " [/INST]", false, true, false,
        )),
    ),
    (
        "mistral",
        Kind::Inst(Inst("", "\n\n", "[INST] ", "[/INST]", false, false, false)),
    ),
    (
        "mistral-v1",
        Kind::Inst(Inst(
            "", "\n\n", " [INST] ", " [/INST]", false, false, false,
        )),
    ),
    (
        "mistral-v3",
        Kind::Inst(Inst("", "\n\n", "[INST] ", "[/INST]", false, false, false)),
    ),
    (
        "mistral-v3-tekken",
        Kind::Inst(Inst("", "\n\n", "[INST]", "[/INST]", false, false, false)),
    ),
    (
        "mistral-v7",
        Kind::Inst(Inst(
            "[SYSTEM_PROMPT] ",
            "[/SYSTEM_PROMPT]",
            "[INST] ",
            "[/INST]",
            true,
            false,
            false,
        )),
    ),
    (
        "mistral-v7-tekken",
        Kind::Inst(Inst(
            "[SYSTEM_PROMPT]",
            "[/SYSTEM_PROMPT]",
            "[INST]",
            "[/INST]",
            true,
            false,
            false,
        )),
    ),
    (
        "raw",
        Kind::Text(
            "{% for m in messages %}{{ m.content }}{{ '\\n\\n' if m.role in ['system', 'developer'] }}{% endfor %}",
        ),
    ),
];

/// The name for messages as they stand.
pub const RAW: &str = "raw";

fn find(name: &str) -> Option<&'static Kind> {
    let name = if name == "none" { RAW } else { name };
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, kind)| kind)
}

/// Whether there is a format of this name.
pub fn known(name: &str) -> bool {
    find(name).is_some()
}

/// The template of a name, and the variables that it reads.
pub fn template(name: &str) -> Option<(&'static str, Vec<(&'static str, Value)>)> {
    let text = Value::text;
    match find(name)? {
        Kind::Text(source) => Some((source, Vec::new())),
        Kind::Roles(Roles(system, user, assistant, close, eos, trims)) => {
            let marks = Dict::default();
            for (role, mark) in [
                ("system", system),
                ("developer", system),
                ("user", user),
                ("assistant", assistant),
            ] {
                marks.set_str(role, text(mark)).ok()?;
            }
            let variables = [
                ("marks", Value::dict(marks)),
                ("close", text(close)),
                ("eos", Value::Bool(*eos)),
                ("trims", Value::Bool(*trims)),
            ];
            Some((ROLES, variables.into()))
        }
        Kind::Inst(Inst(head, tail, open, close, apart, trims, bos)) => {
            let variables = [
                ("head", text(head)),
                ("tail", text(tail)),
                ("open", text(open)),
                ("close", text(close)),
                ("apart", Value::Bool(*apart)),
                ("trims", Value::Bool(*trims)),
                ("bos", Value::Bool(*bos)),
            ];
            Some((INST, variables.into()))
        }
    }
}
