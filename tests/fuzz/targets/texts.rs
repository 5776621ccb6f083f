//! Texts that others write and the built-in guest reads: grammars, JSON schemas, chat templates, and replies of models.
//!
//! It is the guest's own code, compiled for this machine: under the sanitizer, and without an interpreter in between. What time and
//! memory they may take is bounded by the guest itself; the runner's bounds are wider.

use realm_guest::chat::reply::{self, Said};
use realm_guest::chat::{NOW, Style, Talk, render};
use realm_guest::grammar::machine::{DEAD, Full, Machine, State};
use realm_guest::grammar::{Syntax, gbnf, schema};
use realm_guest::json;
use std::borrow::Cow;

/// Bytes of a text that a schema's grammar is made to say.
const SAID: usize = 512;
/// Where one text ends and the next begins.
const SEPARATOR: u8 = 0;

/// The input's first part and the rest, as text.
fn parts(data: &[u8]) -> (Cow<'_, str>, &[u8]) {
    let end = data.iter().position(|byte| *byte == SEPARATOR);
    let (first, rest) = data.split_at(end.unwrap_or(data.len()));
    let rest = rest.strip_prefix(&[SEPARATOR]).unwrap_or_default();
    (String::from_utf8_lossy(first), rest)
}

/// A refusal says what is wrong, and where in the text.
fn explained(text: &str, error: &Syntax) {
    assert!(error.at <= text.len() && !error.what.is_empty() && !error.no_memory);
}

/// Whether a text matches: for each byte whether it may end behind it, until it cannot go on.
fn follow(machine: &mut Machine, start: State, text: &[u8]) -> Result<Vec<bool>, Full> {
    let mut ends = vec![machine.accepts(start)];
    let mut state = start;
    for byte in text {
        state = machine.step(state, *byte)?;
        if state == DEAD {
            break;
        }
        ends.push(machine.accepts(state));
    }
    Ok(ends)
}

/// The same where everything is forgotten after every byte but what is needed.
fn follow_forgetting(machine: &mut Machine, text: &[u8]) -> Result<Vec<bool>, Full> {
    let mut kept = [machine.start()?];
    let mut ends = vec![machine.accepts(kept[0])];
    for byte in text {
        kept[0] = machine.step(kept[0], *byte)?;
        if kept[0] == DEAD {
            break;
        }
        ends.push(machine.accepts(kept[0]));
        machine.rest(&mut kept)?;
        machine.shrink(&mut kept)?;
    }
    Ok(ends)
}

/// A grammar, and a text that may match: what a machine remembers is what it would find again.
pub fn grammar(data: &[u8]) {
    let (grammar, text) = parts(data);
    let code = match gbnf::compile(&grammar) {
        Ok(code) => code,
        Err(error) => return explained(&grammar, &error),
    };
    let Ok(mut machine) = Machine::new(code) else {
        return;
    };
    let Ok(start) = machine.start() else { return };
    let Ok(found) = follow(&mut machine, start, text) else {
        return;
    };
    assert_eq!(follow(&mut machine, start, text).as_ref(), Ok(&found));
    if let Ok(again) = follow_forgetting(&mut machine, text) {
        assert_eq!(again, found);
    }
}

/// A schema, and what chooses among the bytes that its grammar leaves: what comes of it is JSON.
pub fn schema(data: &[u8]) {
    let (schema, choices) = parts(data);
    let grammar = match schema::to_gbnf(&schema) {
        Ok(grammar) => grammar,
        Err(error) => return explained(&schema, &error),
    };
    let code = match gbnf::compile(&grammar) {
        Ok(code) => code,
        Err(error) => {
            assert!(error.what.contains("too large"), "{grammar}\n{error:?}");
            return;
        }
    };
    if let Ok(Some(text)) = said(code, choices) {
        let text = std::str::from_utf8(&text).expect("a grammar of characters");
        assert!(json::parse(text).is_ok(), "{text}\n{grammar}");
    }
}

/// A text that the grammar takes, if one is found: among the bytes that may come next the choice falls round about where
/// the choices say, and in the order of bytes when these have run out, so that texts end.
fn said(code: realm_guest::grammar::code::Code, choices: &[u8]) -> Result<Option<Vec<u8>>, Full> {
    let mut machine = Machine::new(code)?;
    let mut kept = [machine.start()?];
    let mut text = Vec::new();
    let mut choices = choices.iter();
    while text.len() < SAID {
        let choice = choices.next();
        if machine.accepts(kept[0]) && choice.is_none() {
            return Ok(Some(text));
        }
        let first = choice.copied().unwrap_or(b'"');
        let mut next = DEAD;
        for byte in (first..=u8::MAX).chain(0..first) {
            next = machine.step(kept[0], byte)?;
            if next != DEAD {
                text.push(byte);
                break;
            }
        }
        if next == DEAD {
            return Ok(machine.accepts(kept[0]).then_some(text));
        }
        kept[0] = next;
        machine.rest(&mut kept)?;
    }
    Ok(None)
}

const MESSAGES: &str = r#"[{"role":"system","content":"Be brief."},{"role":"user","content":" Hi <|im_end|>\n"},
{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":{"a":[1,2.5,"x"]}}}]},
{"role":"tool","tool_call_id":"c1","name":"f","content":"{\"t\": 21}"},{"role":"user","content":[{"type":"text","text":"two"}]}]"#;
const TOOLS: &str = r#"[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"a":{"type":"array"}}}}}]"#;

/// A chat template, or a format's name, and the messages in JSON, if there are any: it ends, and what is people's can be told.
pub fn template(data: &[u8]) {
    let (template, rest) = parts(data);
    let messages = match rest {
        [] => Cow::Borrowed(MESSAGES),
        rest => String::from_utf8_lossy(rest),
    };
    let style = Style {
        template: &template,
        tools: TOOLS,
        kwargs: r#"{"enable_thinking": true}"#,
        now: NOW,
        bos: "<s>",
        eos: "</s>",
    };
    let Ok(next) = Talk::default().replace("", &messages) else {
        return;
    };
    let Ok(text) = render(&style, &next.messages) else {
        return;
    };
    let mut end = 0;
    for run in text.user_runs() {
        assert!(end <= run.0 && run.0 < run.1, "{:?}", text.user_runs());
        assert!(text.as_str().get(run.0..run.1).is_some());
        end = run.1;
    }
}

/// What a model said, where all that looks like a control token is one if the first byte is even: it becomes a message.
pub fn reply(data: &[u8]) {
    let Some((&first, text)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(text).into_owned();
    let marks = match first & 1 {
        0 => controls(&text),
        _ => Vec::new(),
    };
    let said = Said { text, marks };
    for tools in [false, true] {
        let Ok(message) = reply::json(&said, tools) else {
            continue;
        };
        assert!(json::parse(&message).is_ok(), "{message}");
        let _ = reply::message(&said, tools);
    }
}

/// Where `<|…|>` are.
fn controls(text: &str) -> Vec<(usize, usize)> {
    let mut marks = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find("<|").map(|found| at + found) {
        let Some(end) = text[start..].find("|>").map(|found| start + found + 2) else {
            break;
        };
        marks.push((start, end));
        at = end;
    }
    marks
}
