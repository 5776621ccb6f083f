//! Chats: the messages so far, and what the model's template makes of them.
//!
//! Every turn renders the whole conversation and compares the text with what is in the context: usually that is how it
//! begins, and only the rest is fed. A template that writes its past anew (without old thoughts, say) makes the session go
//! back to where the two part.

mod content;
pub mod named;
pub mod reply;

use crate::abi::{Fail, Result};
use alloc::string::String;
use alloc::vec::Vec;
use realm_jinja::{Cause, Dict, Error, Limits, Template, Text, Value, parse_json};

/// What a template may take. A step is up to some thousand instructions, and a session has 4 billion of fuel for an event unless
/// its host says otherwise: the template's own limit comes first, because its message says where.
const LIMITS: Limits = Limits {
    steps: 1_000_000,
    output_bytes: 8 << 20,
};
/// What it may take when it is run once more, with the same messages in another form, and with one short message.
const AGAIN: Limits = Limits {
    steps: 500_000,
    ..LIMITS
};
const SHORT: Limits = Limits {
    steps: 50_000,
    ..LIMITS
};

/// What `strftime_now` reads where nobody said what time it is: 2025-01-01 00:00:00.
pub const NOW: i64 = 1_735_689_600;

/// What a conversation is rendered with.
pub struct Style<'a> {
    /// A name of [`named`], or a template.
    pub template: &'a str,
    /// JSON: tools, and variables of the template; empty: none.
    pub tools: &'a str,
    /// As above.
    pub kwargs: &'a str,
    /// Seconds since 1970, UTC.
    pub now: i64,
    /// How BOS and EOS are written.
    pub bos: &'a str,
    /// As above.
    pub eos: &'a str,
}

/// A turn of a chat in the context.
#[derive(Clone, Copy)]
struct Turn {
    /// How many messages came before it, and before the reply of the turn before.
    messages: usize,
    /// The length of the text that was rendered before, if what was rendered for this turn begins with it.
    before: Option<usize>,
    /// Where its reply begins: a position.
    reply: u32,
}

/// The chat of a session.
#[derive(Default)]
pub struct Talk {
    messages: Vec<Value>,
    turns: Vec<Turn>,
    /// Where in the context it begins.
    base: Option<u32>,
    /// The text of the context from there to the last turn's reply, if it is known.
    rendered: Option<String>,
    /// Where the last reply ends, if a turn behind it was given up and has left something in the context.
    end: Option<u32>,
}

/// A turn that is about to begin.
pub struct Next {
    /// All messages but the reply that is asked for.
    pub messages: Vec<Value>,
    /// What the assistant is to go on with, or nothing.
    pub prefill: String,
    /// Messages to fall back to if the turn comes to nothing.
    kept: usize,
}

impl Talk {
    /// Where in the context the chat begins.
    pub fn base(&self) -> Option<u32> {
        self.base
    }

    /// Where the last reply begins.
    pub fn reply(&self) -> Option<u32> {
        self.turns.last().map(|turn| turn.reply)
    }

    /// The text of the context that was rendered, if it is known; the reply follows.
    pub fn rendered(&self) -> Option<&str> {
        self.rendered.as_deref().filter(|_| !self.turns.is_empty())
    }

    /// A user's message, behind what was said so far: the last reply and, at the beginning, a system message.
    pub fn say(&self, system: &str, reply: &reply::Said, text: &str, tools: bool) -> Result<Next> {
        let mut messages = self.messages.clone();
        if self.turns.is_empty() {
            messages.clear();
            if !system.is_empty() {
                messages.push(message("system", system)?);
            }
        } else {
            messages.push(reply::message(reply, tools)?);
        }
        messages.push(message("user", text)?);
        Ok(Next {
            messages,
            prefill: String::new(),
            kept: self.messages.len(),
        })
    }

    /// All messages, in JSON. One of an assistant's at the end is to be gone on with.
    pub fn replace(&self, system: &str, json: &str) -> Result<Next> {
        let list = match parse_json(json, true) {
            Ok(Value::Seq(list)) => list,
            Ok(other) => {
                let kind = other.kind();
                return Err(fail!(
                    INVALID_ARGUMENT,
                    "messages: expected a JSON array, found {kind}"
                ));
            }
            Err(error) => return Err(failed("messages: ", &error)),
        };
        let mut messages = list.items.take();
        room(messages.len() * size_of::<Value>() * 4)?;
        let mut prefill = String::new();
        let role = |value: Option<&Value>| match value {
            Some(Value::Dict(dict)) => dict
                .get_str("role")
                .and_then(|v| Some(String::from(v.as_text()?.as_str()))),
            _ => None,
        };
        for (index, message) in messages.iter().enumerate() {
            content::check(index, message)?;
        }
        let first = role(messages.first());
        if first.is_none() {
            return Err(fail!(INVALID_ARGUMENT, "messages: the array is empty"));
        }
        if !system.is_empty() && !matches!(first.as_deref(), Some("system" | "developer")) {
            messages.insert(0, message("system", system)?);
        }
        if let Some(message @ Value::Dict(last)) = messages.last()
            && role(messages.last()).as_deref() == Some("assistant")
            && !content::calls(last)
        {
            // It is in the text, which must not be doubled without asking.
            room(2 * json.len())?;
            prefill = content::text(message).unwrap_or_default();
            messages.pop();
        }
        Ok(Next {
            messages,
            prefill,
            kept: 0,
        })
    }

    /// A turn has begun: its text, from which byte on it is new, where the chat begins and where the reply will.
    pub fn begin(
        &mut self,
        next: Next,
        rendered: String,
        new: Option<usize>,
        base: u32,
        reply: u32,
    ) {
        let before = new.and_then(|_| self.rendered.as_ref().map(String::len));
        self.turns.push(Turn {
            messages: next.kept,
            before,
            reply,
        });
        self.messages = next.messages;
        self.base = Some(base);
        self.end = None;
        self.rendered = Some(rendered);
    }

    /// The last turn never happened.
    pub fn take_back(&mut self) {
        if !crate::slim::CHAT {
            return;
        }
        let Some(turn) = self.turns.pop() else { return };
        self.messages.truncate(turn.messages);
        match (turn.before, &mut self.rendered) {
            (Some(length), Some(text)) => text.truncate(length),
            _ => self.rendered = None,
        }
        if self.turns.is_empty() {
            self.messages.clear();
            self.base = None;
        }
    }

    /// Where the last reply ends, if the context goes on behind it.
    pub fn end(&self) -> Option<u32> {
        self.end
    }

    /// The last turn was given up before its prompt was in; it left what is behind this position.
    pub fn give_up(&mut self, position: u32) {
        if !crate::slim::CHAT {
            return;
        }
        let base = self.base;
        self.take_back();
        self.base = base;
        self.end = Some(position);
    }

    /// The context ends at this position now.
    pub fn rewind(&mut self, position: u32) {
        if !crate::slim::CHAT {
            return;
        }
        let base = self.base;
        self.end = self.end.filter(|end| *end < position);
        while self.reply().is_some_and(|reply| reply > position) {
            self.take_back();
        }
        self.base = base;
        if self.base.is_some_and(|base| base >= position) {
            *self = Self::default();
        }
    }

    /// Turns in the context.
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

/// A message of a role that is not the data's.
fn message(role: &str, content: &str) -> Result<Value> {
    let content = Value::user(content).map_err(|error| template(&error))?;
    message_of(role, content)
}

fn message_of(role: &str, content: Value) -> Result<Value> {
    let dict = Dict::default();
    put(&dict, "role", Value::text(role))?;
    put(&dict, "content", content)?;
    Ok(Value::dict(dict))
}

/// Sets a key.
fn put(dict: &Dict, key: &str, value: Value) -> Result<()> {
    dict.set_str(key, value).map_err(|error| template(&error))
}

/// Sees that there is memory for so many bytes and all that is small: most things are allocated without asking.
pub fn room(bytes: usize) -> Result<()> {
    realm_jinja::room(bytes.saturating_add(realm_jinja::CUSHION)).map_err(|_| no_memory())
}

/// A text of its own.
pub fn copy(text: &str) -> Result<String> {
    let mut copy = String::new();
    if copy.try_reserve_exact(text.len()).is_err() {
        return Err(no_memory());
    }
    copy.push_str(text);
    Ok(copy)
}

/// A template's error is the host's to know.
#[cold]
fn template(error: &Error) -> Fail {
    failed("chat template, ", error)
}

/// What went wrong with a template or JSON, behind what says with which.
#[cold]
pub fn failed(what: &str, error: &Error) -> Fail {
    match error.cause {
        Cause::Wrong => fail!(INVALID_ARGUMENT, "{what}{error}"),
        Cause::Limit => fail!(LIMIT, "{what}{error}"),
        Cause::Memory => no_memory(),
    }
}

/// Nobody knows who took the memory: it may be the template, the messages, or all that the session has.
#[cold]
fn no_memory() -> Fail {
    fail!(
        LIMIT,
        "the guest's memory limit (max_guest_memory_bytes) is too small for this conversation"
    )
}

/// Renders messages up to where the assistant begins to speak.
pub fn render(style: &Style<'_>, messages: &[Value]) -> Result<Text> {
    let context = Dict::default();
    let mut source = style.template;
    if let Some((template, variables)) = named::template(source) {
        source = template;
        for (name, value) in variables {
            put(&context, name, value)?;
        }
    }
    put(&context, "add_generation_prompt", Value::Bool(true))?;
    put(&context, "bos_token", Value::text(style.bos))?;
    put(&context, "eos_token", Value::text(style.eos))?;
    put(&context, "tools", read(style.tools)?)?;
    if let Value::Dict(kwargs) = read(style.kwargs)? {
        for (name, value) in kwargs.items() {
            put(&context, name.as_text().map_or("", Text::as_str), value)?;
        }
    }
    let compiled = Template::new(source).map_err(|error| template(&error))?;
    let renderer = Renderer {
        template: compiled,
        context,
        now: style.now,
    };
    // This list, and those that the template gets.
    room(size_of_val(messages) * 4)?;
    let mut messages = messages.to_vec();
    if messages.iter().any(content::in_parts) && !renderer.wants_parts()? {
        for message in messages.iter_mut().filter(|m| content::in_parts(m)) {
            let text = content::text(message).unwrap_or_default();
            *message = content::with(message, &text)?;
        }
    }
    let result = renderer.render(&messages, LIMITS)?;
    // To many templates null is nothing; others fail, or write Python's word for it.
    let nones = |text: &Text| text.as_str().matches("None").count();
    let taken = matches!(&result, Ok(text) if nones(text) == 0);
    if taken || !messages.iter().any(content::is_missing) {
        return result.map_err(|error| template(&error));
    }
    for message in messages.iter_mut().filter(|m| content::is_missing(m)) {
        *message = content::with(message, "")?;
    }
    match (result, renderer.render(&messages, AGAIN)?) {
        (Ok(text), Ok(again)) if nones(&text) <= nones(&again) => Ok(text),
        (_, Ok(again)) => Ok(again),
        (result, Err(_)) => result.map_err(|error| template(&error)),
    }
}

/// A template, and what it is rendered with beside the messages.
struct Renderer {
    template: Template,
    context: Dict,
    now: i64,
}

impl Renderer {
    /// What the template makes of messages. Arguments of calls are objects to most templates, and text to the others.
    fn render(
        &self,
        messages: &[Value],
        limits: Limits,
    ) -> Result<core::result::Result<Text, Error>> {
        let once = |objects: bool, limits: Limits| {
            let messages: Result<Vec<Value>> = messages
                .iter()
                .map(|m| reply::with_arguments(m, objects))
                .collect();
            let messages = Value::list(messages?).map_err(|error| template(&error))?;
            put(&self.context, "messages", messages)?;
            Ok(self.template.render(&self.context, self.now, limits))
        };
        let again = Limits {
            steps: limits.steps.min(AGAIN.steps),
            ..limits
        };
        match once(true, limits)? {
            Ok(text) => Ok(Ok(text)),
            Err(error) => Ok(once(false, again)?.map_err(|_| error)),
        }
    }

    /// Whether the template sees nothing in a content that is a string, and shows one that is in parts: so llama.cpp finds out.
    fn wants_parts(&self) -> Result<bool> {
        const NEEDLE: &str = "<needle>";
        let part = Dict::default();
        put(&part, "type", Value::text("text"))?;
        put(&part, "text", Value::text(NEEDLE))?;
        let parts = Value::list([Value::dict(part)].into()).map_err(|error| template(&error))?;
        let shows = |content: Value| -> Result<bool> {
            let shown = self.render(&[message_of("user", content)?], SHORT)?;
            Ok(shown.is_ok_and(|text| text.as_str().contains(NEEDLE)))
        };
        Ok(!shows(Value::text(NEEDLE))? && shows(parts)?)
    }
}

/// JSON that was looked at when it was set.
fn read(json: &str) -> Result<Value> {
    if json.is_empty() {
        return Ok(Value::None);
    }
    parse_json(json, true).map_err(|error| template(&error))
}

#[cfg(test)]
mod tests;
