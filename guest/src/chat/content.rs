//! What messages contain: a string, null, or parts, as OpenAI writes them, and what of these a template can take.

use super::put;
use crate::abi::Result;
use alloc::string::String;
use alloc::vec::Vec;
use realm_jinja::{Dict, Text, Value};

/// Refuses a message of which no template could make anything; `index` says which it is.
pub fn check(index: usize, message: &Value) -> Result<()> {
    let wrong = |key: &str, value: &Value, expected: &str| {
        let kind = value.kind();
        Err(fail!(
            INVALID_ARGUMENT,
            "messages: element {index}: \"{key}\" is {kind}, expected {expected}"
        ))
    };
    let Value::Dict(message) = message else {
        let kind = message.kind();
        return Err(fail!(
            INVALID_ARGUMENT,
            "messages: element {index} is {kind}, expected an object with a \"role\""
        ));
    };
    let role = match message.get_str("role") {
        Some(Value::Str(role)) => role,
        Some(other) => return wrong("role", &other, "a string"),
        None => {
            return Err(fail!(
                INVALID_ARGUMENT,
                "messages: element {index} has no \"role\", expected one that is a string"
            ));
        }
    };
    // Any other is the template's affair: there are those that know "ipython" or "tool_response".
    if role.as_str().is_empty() {
        return Err(fail!(
            INVALID_ARGUMENT,
            "messages: element {index}: \"role\" is empty, expected one such as \"user\""
        ));
    }
    for key in ["name", "tool_call_id", "reasoning_content"] {
        match message.get_str(key) {
            None | Some(Value::None | Value::Str(_)) => {}
            Some(other) => return wrong(key, &other, "a string or null"),
        }
    }
    match message.get_str("tool_calls") {
        None | Some(Value::None | Value::Seq(_)) => {}
        Some(other) => return wrong("tool_calls", &other, "an array or null"),
    }
    match message.get_str("content") {
        Some(Value::None | Value::Str(_)) => Ok(()),
        None if role.as_str() == "assistant" && calls(message) => Ok(()),
        None => Err(fail!(
            INVALID_ARGUMENT,
            "messages: element {index} has no \"content\", which only an assistant's message with \"tool_calls\" can do without"
        )),
        Some(Value::Seq(parts)) => {
            for (number, part) in parts.items.borrow().iter().enumerate() {
                if part_text(part).is_none() {
                    return Err(fail!(
                        INVALID_ARGUMENT,
                        "messages: element {index}: part {number} of \"content\" is not of the only type that is known, {{\"type\": \"text\", \"text\": \"…\"}}"
                    ));
                }
            }
            Ok(())
        }
        Some(other) => wrong("content", &other, "a string, null or an array of parts"),
    }
}

/// Whether the message calls something.
pub fn calls(message: &Dict) -> bool {
    let calls = message.get_str("tool_calls");
    calls.is_some_and(|calls| calls.truth())
}

/// The text of a part.
fn part_text(part: &Value) -> Option<Text> {
    let Value::Dict(part) = part else { return None };
    let kind = part.get_str("type")?;
    match (kind.as_text()?.as_str(), part.get_str("text")?) {
        ("text", Value::Str(text)) => Some(text),
        _ => None,
    }
}

/// The content of a message as one text: parts are joined by line ends, as llama.cpp joins them. None if there is none.
pub fn text(message: &Value) -> Option<String> {
    let Value::Dict(message) = message else {
        return None;
    };
    match message.get_str("content")? {
        Value::Str(text) => Some(String::from(text.as_str())),
        Value::Seq(parts) => {
            let parts = parts.items.borrow();
            let texts: Vec<Text> = parts.iter().filter_map(part_text).collect();
            let texts: Vec<&str> = texts.iter().map(Text::as_str).collect();
            Some(texts.join("\n"))
        }
        _ => None,
    }
}

/// Whether the content is in parts.
pub fn in_parts(message: &Value) -> bool {
    matches!(message, Value::Dict(message) if matches!(message.get_str("content"), Some(Value::Seq(_))))
}

/// Whether there is no content.
pub fn is_missing(message: &Value) -> bool {
    matches!(message, Value::Dict(message) if matches!(message.get_str("content"), None | Some(Value::None)))
}

/// The same message with this content, which is the data's.
pub fn with(message: &Value, content: &str) -> Result<Value> {
    match message {
        Value::Dict(message) => replaced(message, "content", Value::Str(Text::user(content))),
        other => Ok(other.clone()),
    }
}

/// A copy with another value of a key.
pub fn replaced(dict: &Dict, key: &str, value: Value) -> Result<Value> {
    super::room(dict.len() * size_of::<(Value, Value)>())?;
    let copy = Dict::default();
    for (name, old) in dict.items() {
        put(&copy, name.as_text().map_or("", Text::as_str), old)?;
    }
    put(&copy, key, value)?;
    Ok(Value::dict(copy))
}
