//! What a reply says: its text, its thoughts, and the tools that it calls, out of the notations that models use.
//!
//! Notations are rows of tables: what opens and closes a call, and how it is written in between. A reply whose calls cannot
//! be read is text, unchanged.

use super::content::replaced;
use super::put;
use crate::abi::Result;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use realm_jinja::{Dict, Text, Value, parse_json, write_json};

/// What stands around thoughts.
const THOUGHTS: [(&str, &str); 6] = [
    ("<think>", "</think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<reasoning>", "</reasoning>"),
];

/// How a call is written.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// An object with a name and arguments, or an array of them.
    Json,
    /// A name, this text, and an object; several with `between` of the table.
    Named(&'static str),
    /// Tags: `<function=NAME><parameter=KEY>VALUE</parameter></function>`, or with `name="…"`, or `<arg_key>` and `<arg_value>`.
    Tags,
    /// `name(key=value, …)`, perhaps in a list.
    Python,
}

/// A row of the table.
type Notation = (&'static str, &'static str, &'static [Form]);

/// What opens calls, what closes them (empty: the end of the reply), and the forms they may have.
const CALLS: [Notation; 17] = [
    // Hermes, Qwen; Qwen3-Coder; GLM.
    ("<tool_call>", "</tool_call>", &[Form::Json, Form::Tags]),
    ("<minimax:tool_call>", "</minimax:tool_call>", &[Form::Tags]),
    ("<seed:tool_call>", "</seed:tool_call>", &[Form::Tags]),
    ("<function_calls>", "</function_calls>", &[Form::Tags]),
    // Mistral: an array, or a name, [ARGS] and an object.
    (
        "[TOOL_CALLS]",
        "[TOOL_CALLS]",
        &[Form::Json, Form::Named("[ARGS]"), Form::Named("")],
    ),
    // DeepSeek R1 and V3; V3.1.
    (
        "<｜tool▁call▁begin｜>",
        "<｜tool▁call▁end｜>",
        &[Form::Named("\n```json\n"), Form::Named("<｜tool▁sep｜>")],
    ),
    (
        "<|tool_call_begin|>",
        "<|tool_call_end|>",
        &[Form::Named("<|tool_call_argument_begin|>")],
    ),
    (
        "<|tool_call_start|>",
        "<|tool_call_end|>",
        &[Form::Json, Form::Python],
    ),
    ("<|START_ACTION|>", "<|END_ACTION|>", &[Form::Json]),
    ("<TOOLCALL>", "</TOOLCALL>", &[Form::Json]),
    ("<|tool_calls|>", "<|/tool_calls|>", &[Form::Json]),
    // Granite, phi 4.
    ("<|tool_call|>", "<|/tool_call|>", &[Form::Json]),
    // Llama 3.
    ("<|python_tag|>", "", &[Form::Json, Form::Python]),
    // Functionary.
    (">>>", ">>>", &[Form::Named("\n")]),
    ("functools", "", &[Form::Json]),
    ("<function=", "</function>", &[Form::Tags, Form::Named(">")]),
    ("<invoke ", "</invoke>", &[Form::Tags]),
];

/// Marks that frame a reply or its calls, and say nothing.
const MARKS: [&str; 14] = [
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|START_RESPONSE|>",
    "<|END_RESPONSE|>",
    "<|START_TEXT|>",
    "<|END_TEXT|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|im_end|>",
    "<|call|>",
    "<|return|>",
    "<|end|>",
];

/// A call: name, arguments, and the id that the model gave it.
type Call = (String, Value, Option<String>);

/// What the model generated.
#[derive(Default)]
pub struct Said {
    /// The text, with the names of control tokens in it: notations are made of them.
    pub text: String,
    /// Where these names are, ascending and apart: they were not shown.
    pub marks: Vec<(usize, usize)>,
}

impl Said {
    /// What was shown of a part of the text.
    fn shown(&self, part: &str) -> String {
        let start = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let end = start + part.len();
        let mut out = String::new();
        let mut at = start;
        for (from, to) in self.marks.iter().filter(|mark| mark.1 > start) {
            if *from >= end {
                break;
            }
            out.push_str(self.text.get(at..*from).unwrap_or_default());
            at = *to;
        }
        out.push_str(self.text.get(at..end).unwrap_or_default());
        out
    }

    /// A beginning of the text without the mark that it ends with, if it does.
    fn unframed<'t>(&self, beginning: &'t str) -> Option<&'t str> {
        let start = (beginning.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        let shorter = MARKS.iter().find_map(|mark| beginning.strip_suffix(mark))?;
        // What only looks like one was said.
        let mark = (start + shorter.len(), start + beginning.len());
        self.marks.binary_search(&mark).is_ok().then_some(shorter)
    }
}

/// What a reply says.
#[derive(Default)]
struct Reply {
    content: String,
    reasoning: String,
    calls: Vec<Call>,
}

/// The reply as a message for templates.
pub fn message(said: &Said, tools: bool) -> Result<Value> {
    let text = said.text.as_str();
    let mut reply = parse(said, tools);
    let plain = reply.calls.is_empty() && reply.reasoning.is_empty();
    if plain && !is_harmony(text) {
        // To the letter, so that what the context holds is what the template writes: it ends the message itself.
        reply.content = String::from(said.unframed(text).unwrap_or(text));
    }
    build(&reply, &|text| Value::Str(Text::user(text)), true)
}

/// The reply as a message in OpenAI's JSON: arguments are text, calls have ids.
pub fn json(said: &Said, tools: bool) -> Result<String> {
    let message = build(&parse(said, tools), &Value::text, false)?;
    let text = write_json(&message).map_err(|error| super::template(&error))?;
    Ok(String::from(text.as_str()))
}

fn build(reply: &Reply, text: &dyn Fn(&str) -> Value, objects: bool) -> Result<Value> {
    let message = Dict::default();
    put(&message, "role", Value::text("assistant"))?;
    let silent = reply.content.is_empty() && !reply.calls.is_empty();
    let content = if silent && !objects {
        Value::None
    } else {
        text(&reply.content)
    };
    put(&message, "content", content)?;
    if !reply.reasoning.is_empty() {
        put(&message, "reasoning_content", text(&reply.reasoning))?;
    }
    if reply.calls.is_empty() {
        return Ok(Value::dict(message));
    }
    let mut calls = Vec::new();
    for (i, (name, arguments, id)) in reply.calls.iter().enumerate() {
        let function = Dict::default();
        put(&function, "name", text(name))?;
        let arguments = if objects {
            arguments.clone()
        } else {
            as_text(arguments)?
        };
        put(&function, "arguments", arguments)?;
        let call = Dict::default();
        let id = id.clone().unwrap_or_else(|| format!("call_{i}"));
        put(&call, "id", text(&id))?;
        put(&call, "type", Value::text("function"))?;
        put(&call, "function", Value::dict(function))?;
        calls.push(Value::dict(call));
    }
    let calls = Value::list(calls).map_err(|error| super::template(&error))?;
    put(&message, "tool_calls", calls)?;
    Ok(Value::dict(message))
}

fn as_text(arguments: &Value) -> Result<Value> {
    match arguments {
        Value::Str(_) => Ok(arguments.clone()),
        other => write_json(other)
            .map(Value::Str)
            .map_err(|error| super::template(&error)),
    }
}

/// A message whose calls have their arguments as objects, or as text.
pub fn with_arguments(message: &Value, objects: bool) -> Result<Value> {
    let Value::Dict(dict) = message else {
        return Ok(message.clone());
    };
    let Some(Value::Seq(calls)) = dict.get_str("tool_calls") else {
        return Ok(message.clone());
    };
    let mut out = Vec::new();
    for call in calls.items.borrow().iter() {
        let mut call = call.clone();
        if let Value::Dict(outer) = &call
            && let Some(Value::Dict(function)) = outer.get_str("function")
        {
            let arguments = match function.get_str("arguments") {
                Some(Value::Str(text)) if objects => match parse_json(text.as_str(), true) {
                    Ok(object @ Value::Dict(_)) => object,
                    _ => Value::Str(text),
                },
                Some(value @ Value::Dict(_)) if !objects => as_text(&value)?,
                Some(value) => value,
                None => Value::None,
            };
            let function = replaced(&function, "arguments", arguments)?;
            call = replaced(outer, "function", function)?;
        }
        out.push(call);
    }
    let calls = Value::list(out).map_err(|error| super::template(&error))?;
    replaced(dict, "tool_calls", calls)
}

fn is_harmony(text: &str) -> bool {
    text.contains("<|channel|>") || text.contains("<|message|>")
}

/// Takes a reply apart. JSON without a sign may be a call only where there are `tools`; else it is what was said.
fn parse(said: &Said, tools: bool) -> Reply {
    let text = said.text.as_str();
    if is_harmony(text) {
        return harmony(said);
    }
    let (reasoning, rest) = thoughts(text);
    let mut rest = rest;
    while let Some(shorter) = said.unframed(rest.trim_end()) {
        rest = shorter;
    }
    let mut reply = Reply {
        reasoning: said.shown(reasoning.trim()),
        ..Reply::default()
    };
    let mut content = String::new();
    let read = (tools && bare(rest.trim(), &mut reply.calls))
        || calls(said, rest, &mut content, &mut reply.calls);
    if !read {
        reply.calls.clear();
        content = said.shown(rest);
    }
    let touched = !reply.calls.is_empty() || !reply.reasoning.is_empty();
    reply.content = if touched {
        String::from(content.trim())
    } else {
        content
    };
    reply
}

/// The thoughts before a reply, and the rest.
fn thoughts(text: &str) -> (&str, &str) {
    for (open, close) in THOUGHTS {
        if let Some((before, rest)) = text.split_once(close) {
            // The prompt may have opened them.
            let thought = before.trim_start();
            let thought = thought.strip_prefix(open).unwrap_or(thought);
            if !thought.contains(open) {
                return (thought, rest);
            }
        } else if let Some(thought) = text.trim_start().strip_prefix(open) {
            return (thought, "");
        }
    }
    ("", text)
}

/// Takes the calls out of a text; what is around them is content. False if one cannot be read.
fn calls(said: &Said, text: &str, content: &mut String, out: &mut Vec<Call>) -> bool {
    let mut rest = text;
    while let Some((at, (open, close, forms))) = first(rest, content.is_empty() && out.is_empty()) {
        let (before, behind) = rest.split_at(at);
        content.push_str(&said.shown(before));
        let inner = behind.get(open.len()..).unwrap_or_default();
        // What tags begin with belongs to them.
        let tagged = open.starts_with("<function=") || open.starts_with("<invoke");
        let end = match close {
            "" => None,
            close => inner.find(close),
        };
        let body = inner.get(..end.unwrap_or(inner.len())).unwrap_or_default();
        let whole = behind.get(..open.len() + body.len()).unwrap_or_default();
        let read = forms.iter().any(|form| {
            let body = if tagged && *form == Form::Tags {
                whole
            } else {
                body
            };
            one(*form, body.trim(), out)
        });
        if !read && open == ">>>" {
            let body = body.split_once('\n').map_or(body, |(_, text)| text);
            content.push_str(&said.shown(body));
        } else if !read {
            return false;
        }
        let next = end.map_or(inner.len(), |end| {
            if close == open {
                end
            } else {
                end + close.len()
            }
        });
        rest = inner.get(next..).unwrap_or_default();
    }
    content.push_str(&said.shown(rest));
    true
}

/// The row whose opening comes first.
fn first(text: &str, start: bool) -> Option<(usize, Notation)> {
    let found = CALLS.iter().filter_map(|row| {
        let at = text.find(row.0)?;
        // Words and signs that are also said in other ways open a reply only.
        let common = matches!(row.0, ">>>" | "functools");
        (!common
            || (start && text.trim_start().starts_with(row.0))
            || (!start && row.0 == ">>>" && at == 0))
            .then_some((at, *row))
    });
    found.min_by_key(|(at, _)| *at)
}

/// A reply that is nothing but calls, without a sign (llama 3), or with a name before them (functionary's first).
fn bare(text: &str, out: &mut Vec<Call>) -> bool {
    if text.starts_with(['{', '[']) && text.ends_with(['}', ']']) {
        return one(Form::Json, text, out);
    }
    false
}

/// Reads a body in one form; nothing is added if it has another.
fn one(form: Form, body: &str, out: &mut Vec<Call>) -> bool {
    let before = out.len();
    let read = match form {
        Form::Json => read_json(body, out),
        Form::Named(sign) => named(body, sign, out),
        Form::Tags => tags(body, out),
        Form::Python => python(body, out),
    };
    let added = out.get(before..).unwrap_or_default();
    let read = read.is_some() && !added.is_empty() && added.iter().all(|call| finite(&call.1));
    if !read {
        out.truncate(before);
    }
    read
}

/// Whether it has only numbers that JSON can say: it has no word for what is too large for a float.
fn finite(value: &Value) -> bool {
    match value {
        Value::Float(number) => number.is_finite(),
        Value::Seq(list) => list.items.borrow().iter().all(finite),
        Value::Dict(dict) => dict.items().iter().all(|(_, value)| finite(value)),
        _ => true,
    }
}

/// Reads arguments; what JSON cannot say again is no such thing.
fn arguments_of(text: &str) -> Option<Value> {
    parse_json(text, true).ok().filter(finite)
}

fn string(dict: &Dict, keys: &[&str]) -> Option<String> {
    let value = keys.iter().find_map(|key| dict.get_str(key))?;
    value.as_text().map(|text| String::from(text.as_str()))
}

fn read_json(body: &str, out: &mut Vec<Call>) -> Option<()> {
    let body = body.trim_start_matches("```json").trim_matches('`').trim();
    // Several objects may follow one another.
    let value = parse_json(body, true).or_else(|_| {
        let list = body
            .replace("}\n{", "},{")
            .replace("}; {", "},{")
            .replace("};{", "},{");
        parse_json(&format!("[{list}]"), true)
    });
    let items = match value.ok()? {
        Value::Seq(list) => list.items.take(),
        other => [other].into(),
    };
    for item in items {
        let Value::Dict(item) = item else { return None };
        let function = match item.get_str("function") {
            Some(Value::Dict(function)) => function,
            _ => item.clone(),
        };
        let name = string(&function, &["name", "tool_name", "function"])?;
        let arguments = ["arguments", "parameters", "args"]
            .iter()
            .find_map(|key| function.get_str(key))?;
        let arguments = match arguments {
            Value::Str(text) => arguments_of(text.as_str()).unwrap_or(Value::Str(text)),
            other => other,
        };
        out.push((name, arguments, string(&item, &["id", "tool_call_id"])));
    }
    Some(())
}

/// `name SIGN {…}`
fn named(body: &str, sign: &str, out: &mut Vec<Call>) -> Option<()> {
    let at = if sign.is_empty() {
        body.find('{')?
    } else {
        body.find(sign)?
    };
    let (head, rest) = body.split_at(at);
    let json = rest
        .get(sign.len()..)?
        .trim()
        .trim_end_matches("```")
        .trim();
    let arguments = if json.is_empty() {
        Value::dict(Dict::default())
    } else {
        parse_json(json, true).ok()?
    };
    let Value::Dict(_) = arguments else {
        return None;
    };
    // DeepSeek: a kind before it. Mistral: an id behind it. Kimi: `functions.name:0`, which is also the id.
    let head = head
        .rsplit_once("<｜tool▁sep｜>")
        .map_or(head, |(_, name)| name)
        .trim();
    let (head, mut id) = match head.split_once("[CALL_ID]") {
        Some((name, id)) => (name, Some(String::from(id))),
        None => (head, None),
    };
    let mut name = head;
    if let Some(kimi) = head.strip_prefix("functions.") {
        id = Some(String::from(head));
        name = kimi.split_once(':').map_or(kimi, |(name, _)| name);
    }
    let word = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || !name.chars().all(word) {
        return None;
    }
    out.push((String::from(name), arguments, id));
    Some(())
}

/// A value in a tag: JSON if it is any, else text.
fn tag_value(text: &str) -> Value {
    let text = text.strip_prefix('\n').unwrap_or(text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    match arguments_of(text.trim()) {
        Some(Value::Str(_)) | None => Value::Str(Text::user(text)),
        Some(value) => value,
    }
}

/// The name in `<tag=NAME>` or `<tag name="NAME">`, and what follows; `text` begins behind `<tag`.
fn tag_name(text: &str) -> Option<(&str, &str)> {
    let (head, rest) = text.split_once('>')?;
    let head = match head.split_once("name=") {
        Some((_, value)) => value.split_whitespace().next().unwrap_or(value),
        None => head.strip_prefix('=')?,
    };
    Some((head.trim().trim_matches(['"', '\'']), rest))
}

fn tags(body: &str, out: &mut Vec<Call>) -> Option<()> {
    if let Some((name, mut rest)) = body.split_once("<arg_key>") {
        let arguments = Dict::default();
        loop {
            let (key, after) = rest.split_once("</arg_key>")?;
            let (value, after) = after
                .split_once("<arg_value>")?
                .1
                .split_once("</arg_value>")?;
            put(&arguments, key.trim(), tag_value(value)).ok()?;
            let Some((_, next)) = after.split_once("<arg_key>") else {
                break;
            };
            rest = next;
        }
        out.push((String::from(name.trim()), Value::dict(arguments), None));
        return Some(());
    }
    let (tag, inner, end) = [
        ("<function", "<parameter", "</parameter>"),
        ("<invoke", "<parameter", "</parameter>"),
    ]
    .into_iter()
    .find(|(tag, _, _)| body.contains(tag))?;
    for call in body.split(tag).skip(1) {
        let (name, mut rest) = tag_name(call)?;
        let arguments = Dict::default();
        while let Some((_, parameter)) = rest.split_once(inner) {
            let (key, after) = tag_name(parameter)?;
            // The last end tag is forgotten at times.
            let (value, after) = after
                .split_once(end)
                .unwrap_or_else(|| after.split_once("</function>").unwrap_or((after, "")));
            put(&arguments, key, tag_value(value)).ok()?;
            rest = after;
        }
        if arguments.is_empty() && rest.trim_start().starts_with('{') {
            return None;
        }
        out.push((String::from(name), Value::dict(arguments), None));
    }
    Some(())
}

/// `[name(key=value, …), …]`
fn python(body: &str, out: &mut Vec<Call>) -> Option<()> {
    let mut rest = body.trim().trim_start_matches('[').trim_end_matches(']');
    loop {
        let (name, mut after) = rest.split_once('(')?;
        let name = name.trim().trim_start_matches(',').trim();
        if name.is_empty()
            || !name
                .chars()
                .all(|c| c.is_alphanumeric() || "_.".contains(c))
        {
            return None;
        }
        let arguments = Dict::default();
        loop {
            after = after.trim_start().trim_start_matches(',').trim_start();
            if let Some(behind) = after.strip_prefix(')') {
                after = behind;
                break;
            }
            let (key, value) = after.split_once('=')?;
            let end = value_end(value)?;
            let (value, next) = value.split_at(end);
            put(&arguments, key.trim(), literal(value.trim())?).ok()?;
            after = next;
        }
        out.push((String::from(name), Value::dict(arguments), None));
        rest = after.trim();
        if rest.is_empty() {
            return Some(());
        }
    }
}

/// Where a value of Python's ends: before a comma or bracket that is not its own.
fn value_end(text: &str) -> Option<usize> {
    let (mut open, mut quote, mut escaped) = (0i32, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, ',' | ')') if open == 0 => return Some(at),
            (None, '[' | '{' | '(') => open += 1,
            (None, ']' | '}' | ')') => open -= 1,
            _ => {}
        }
    }
    None
}

/// A literal of Python's, by way of the template language, which has the same ones.
fn literal(text: &str) -> Option<Value> {
    let plain = match text {
        "True" => "true",
        "False" => "false",
        "None" => "null",
        text => text,
    };
    if let Ok(value) = parse_json(plain, true) {
        return Some(value);
    }
    let inner = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
    if let Some(inner) = inner {
        let text = inner
            .replace("\\'", "'")
            .replace("\\n", "\n")
            .replace("\\\\", "\\");
        return Some(Value::Str(Text::user(&text)));
    }
    parse_json(
        &text
            .replace('\'', "\"")
            .replace("True", "true")
            .replace("False", "false")
            .replace("None", "null"),
        true,
    )
    .ok()
}

/// gpt-oss: messages with a channel each.
fn harmony(said: &Said) -> Reply {
    let mut reply = Reply::default();
    for part in said.text.split("<|start|>") {
        for part in part.split("<|end|>") {
            let Some((head, body)) = part.split_once("<|message|>") else {
                continue;
            };
            let body = body
                .trim_end_matches("<|call|>")
                .trim_end_matches("<|return|>");
            let to = head.split_once("to=").map(|(_, to)| to);
            let to = to.and_then(|to| to.split(['<', ' ', '\n']).next());
            match to.filter(|to| *to != "user") {
                Some(name) => {
                    let name = name.strip_prefix("functions.").unwrap_or(name);
                    let arguments =
                        arguments_of(body).unwrap_or_else(|| Value::Str(Text::user(body)));
                    reply.calls.push((String::from(name), arguments, None));
                }
                None if head.contains("analysis") => {
                    if !reply.reasoning.is_empty() {
                        reply.reasoning.push('\n');
                    }
                    reply.reasoning.push_str(&said.shown(body));
                }
                None => reply.content.push_str(&said.shown(body)),
            }
        }
    }
    reply
}
