//! Values of parameters, read from text; one that will not do is refused with what would.

use super::{CHAIN, Step};
use crate::abi::{Fail, Result};
use crate::chat;
use crate::lora::Asked;
use crate::num;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// More would make every token slow without making any text better.
const MAX_BIASES: usize = 4096;
const MAX_STRINGS: usize = 64;
/// Characters of a refused value that are shown.
const MAX_SHOWN: usize = 40;

/// A value that will not do, and one that would.
#[cold]
#[inline(never)]
pub(super) fn refused(key: &str, value: &str, expected: &dyn fmt::Display) -> Fail {
    let value = start(value);
    fail!(
        INVALID_ARGUMENT,
        "parameter {key} is '{value}', expected {expected}"
    )
}

/// As much of a text as leaves room for what else is to be said.
fn start(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(MAX_SHOWN)
        .map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

/// An integer of this range. A function of its own, as the next: there are many parameters.
#[inline(never)]
pub(super) fn integer(key: &str, value: &str, min: i64, max: i64) -> Result<i64> {
    match num::parse_int(value) {
        Some(n) if n >= min && n <= max => Ok(n),
        _ => Err(refused(
            key,
            value,
            &format_args!("an integer from {min} to {max}"),
        )),
    }
}

/// A finite number for which `ok` holds, as `what` says in words.
#[inline(never)]
pub(super) fn number(key: &str, value: &str, ok: fn(f32) -> bool, what: &str) -> Result<f32> {
    match num::parse_float(value) {
        Some(v) if v.is_finite() && ok(v) => Ok(v),
        _ => Err(refused(key, value, &what)),
    }
}

/// On or off.
pub(super) fn switch(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(refused(key, value, &"0 or 1")),
    }
}

/// A chat template, or the name of a format; None: the model's own template.
pub(super) fn template(value: &str) -> Result<Option<String>> {
    if value.is_empty() || value == "auto" {
        return Ok(None);
    }
    if !["{{", "{%", "{#"].iter().any(|tag| value.contains(tag)) {
        return match chat::named::known(value) {
            true => Ok(Some(String::from(value))),
            false => Err(refused(
                "chat_template",
                value,
                &"auto, a template, or chatml, llama3, zephyr, phi3, gemma, granite, command-r, gpt-oss, llama2, mistral or raw",
            )),
        };
    }
    match realm_jinja::Template::new(value) {
        Ok(_) => chat::copy(value).map(Some),
        Err(error) => Err(chat::failed("parameter chat_template, ", &error)),
    }
}

/// JSON that begins with this sign; nothing is nothing.
pub(super) fn json(key: &str, value: &str, sign: &str) -> Result<String> {
    let text = value.trim();
    // With a byte order mark it is no JSON, and the reader says why.
    if !text.is_empty() && !text.starts_with(sign) && !text.starts_with('\u{feff}') {
        let expected = if sign == "[" {
            "a JSON array"
        } else {
            "a JSON object"
        };
        return Err(refused(key, value, &expected));
    }
    match realm_jinja::parse_json(text, false) {
        Err(error) if !text.is_empty() => {
            Err(chat::failed(&alloc::format!("parameter {key}, "), &error))
        }
        _ => chat::copy(text),
    }
}

/// `id:bias,id:bias`; `-inf` bans a token.
pub(super) fn biases(value: &str) -> Result<Vec<(u32, f32)>> {
    let mut out = Vec::new();
    for item in value.split(',').filter(|item| !item.trim().is_empty()) {
        let pair = item.split_once(':').and_then(|(id, bias)| {
            let id = u32::try_from(num::parse_int(id)?)
                .ok()
                .filter(|id| *id < 1 << 31)?;
            Some((id, num::parse_float(bias).filter(|b| *b < f32::INFINITY)?))
        });
        let Some(pair) = pair else {
            let item = start(item);
            return Err(fail!(
                INVALID_ARGUMENT,
                "parameter logit_bias has '{item}', expected token:bias, with a finite number or -inf, and ',' between them"
            ));
        };
        if out.len() == MAX_BIASES {
            return Err(fail!(
                LIMIT,
                "parameter logit_bias has more than {MAX_BIASES} tokens"
            ));
        }
        out.push(pair);
    }
    Ok(out)
}

/// `id:scale,id:scale`; without a scale it is 1.
pub(super) fn adapters(value: &str) -> Result<Vec<Asked>> {
    let mut out = Vec::new();
    for item in value.split(',').filter(|item| !item.trim().is_empty()) {
        let (id, scale) = item.split_once(':').unwrap_or((item, "1"));
        let id = num::parse_int(id).and_then(|id| u32::try_from(id).ok());
        let scale = num::parse_float(scale).filter(|scale| scale.is_finite());
        match (id, scale) {
            (Some(id @ 1..), Some(scale)) => out.push(Asked { id, scale }),
            _ => {
                let item = start(item);
                return Err(fail!(
                    INVALID_ARGUMENT,
                    "parameter lora has '{item}', expected model:scale, with a model's id and a finite number, and ',' between them"
                ));
            }
        }
    }
    Ok(out)
}

/// Names of samplers between semicolons.
pub(super) fn chain(value: &str) -> Result<Vec<Step>> {
    let mut out = Vec::new();
    for name in value
        .split(';')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let Some((_, step)) = CHAIN.iter().find(|(known, _)| *known == name) else {
            let mut known = String::new();
            let name = start(name);
            for (i, (name, _)) in CHAIN.iter().enumerate() {
                known.push_str(if i > 0 { ", " } else { "" });
                known.push_str(name);
            }
            return Err(fail!(
                INVALID_ARGUMENT,
                "parameter samplers has '{name}', expected names out of {known}, with ';' between them"
            ));
        };
        if out.contains(step) {
            return Err(fail!(
                INVALID_ARGUMENT,
                "parameter samplers has '{name}' twice"
            ));
        }
        out.push(*step);
    }
    Ok(out)
}

/// One string per line; `\n`, `\r`, `\t` and `\\` are escapes, empty lines are ignored, but not if there is nothing else: who
/// writes a line end means one.
pub(super) fn lines(key: &str, value: &str) -> Result<Vec<String>> {
    let mut out = Vec::new();
    if !value.is_empty() && value.bytes().all(|c| c == b'\n') {
        return Err(fail!(
            INVALID_ARGUMENT,
            "parameter {key} has line ends and no text between them; the text of a line end is written \\n"
        ));
    }
    for line in value.split('\n').filter(|line| !line.is_empty()) {
        if out.len() == MAX_STRINGS {
            return Err(fail!(
                LIMIT,
                "parameter {key} has more than {MAX_STRINGS} strings"
            ));
        }
        let mut text = String::with_capacity(line.len());
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match (c, c == '\\') {
                (_, false) => text.push(c),
                _ => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('\\') | None => text.push('\\'),
                    Some(other) => text.extend(['\\', other]),
                },
            }
        }
        out.push(text);
    }
    Ok(out)
}
