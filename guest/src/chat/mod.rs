//! Chat formats: which one a model uses, and how one turn of it reads.
//!
//! A turn is rendered onto the kept context: the first with the system message, later ones behind the
//! end of the assistant's last message, which the model's own end token did not enter. A template in
//! a file is a Jinja program; it is recognised by what it contains, not run.

pub mod inst;
pub mod roles;

use crate::abi::Result;
use Piece::{Mark, Said};
use alloc::string::String;
use alloc::vec::Vec;

/// A piece of a rendered turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text in which special tokens are recognised.
    Text(String),
    /// Text that stands for itself, whatever is in it.
    Plain(String),
    /// The vocabulary's beginning-of-text token, whatever it is called.
    Bos,
    /// The vocabulary's end-of-text token.
    Eos,
}

/// A known chat format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// Marked messages with a role each: ChatML, llama 3, zephyr, phi 3, gemma, granite, command-r, gpt-oss.
    Roles(roles::Kind),
    /// Questions between `[INST]` and `[/INST]`: llama 2 and mistral.
    Inst(inst::Kind),
    /// No format: the message as it stands.
    Raw,
}

/// The names of the parameter `chat_template`.
const NAMES: [(&str, Template); 20] = [
    ("chatml", Template::Roles(roles::Kind::ChatMl)),
    ("llama3", Template::Roles(roles::Kind::Llama3)),
    ("zephyr", Template::Roles(roles::Kind::Zephyr)),
    ("phi3", Template::Roles(roles::Kind::Phi3)),
    ("gemma", Template::Roles(roles::Kind::Gemma)),
    ("granite", Template::Roles(roles::Kind::Granite)),
    ("command-r", Template::Roles(roles::Kind::CommandR)),
    ("gpt-oss", Template::Roles(roles::Kind::GptOss)),
    ("llama2", Template::Inst(inst::Kind::Llama2)),
    ("llama2-sys", Template::Inst(inst::Kind::Llama2Sys)),
    ("llama2-sys-bos", Template::Inst(inst::Kind::Llama2SysBos)),
    (
        "llama2-sys-strip",
        Template::Inst(inst::Kind::Llama2SysStrip),
    ),
    ("mistral", Template::Inst(inst::Kind::MistralV3)),
    ("mistral-v1", Template::Inst(inst::Kind::MistralV1)),
    ("mistral-v3", Template::Inst(inst::Kind::MistralV3)),
    (
        "mistral-v3-tekken",
        Template::Inst(inst::Kind::MistralV3Tekken),
    ),
    ("mistral-v7", Template::Inst(inst::Kind::MistralV7)),
    (
        "mistral-v7-tekken",
        Template::Inst(inst::Kind::MistralV7Tekken),
    ),
    ("raw", Template::Raw),
    ("none", Template::Raw),
];

impl Template {
    /// The value of the parameter: `auto` (None), a name, or the text of a template to recognise.
    pub fn from_param(value: &str) -> Result<Option<Self>> {
        if value.is_empty() || value == "auto" {
            return Ok(None);
        }
        let named = NAMES
            .iter()
            .find(|(name, _)| *name == value)
            .map(|(_, t)| *t);
        match named.or_else(|| {
            if value.contains('{') {
                Self::detect(value)
            } else {
                None
            }
        }) {
            Some(template) => Ok(Some(template)),
            None => Err(fail!(
                INVALID_ARGUMENT,
                "unknown chat_template '{value}' (known: auto, chatml, llama3, zephyr, phi3, gemma, granite, command-r, gpt-oss, llama2, mistral, raw)"
            )),
        }
    }

    /// Recognises the text of a model's template; None if it is none of the known formats.
    pub fn detect(text: &str) -> Option<Self> {
        let has = |s: &str| text.contains(s);
        if has("<|im_start|>") {
            // Two formats borrow ChatML's opening and nothing else of it.
            let impostor = has("<|im_sep|>") || has("<end_of_utterance>");
            return (!impostor).then_some(Self::Roles(roles::Kind::ChatMl));
        }
        for (mark, second, kind) in [
            ("<start_of_turn>", "<end_of_turn>", roles::Kind::Gemma),
            ("<|start_of_role|>", "<|end_of_text|>", roles::Kind::Granite),
            (
                "<|START_OF_TURN_TOKEN|>",
                "<|USER_TOKEN|>",
                roles::Kind::CommandR,
            ),
            ("<|start|>assistant", "<|message|>", roles::Kind::GptOss),
        ] {
            // Later command models frame the text once more.
            if has(mark) && has(second) && !has("<|START_TEXT|>") {
                return Some(Self::Roles(kind));
            }
        }
        if has("[INST]") {
            return Some(Self::Inst(inst::Kind::detect(text)));
        }
        if has("<|assistant|>") && has("<|end|>") {
            return Some(Self::Roles(roles::Kind::Phi3));
        }
        if has("<|user|>") && has("<|assistant|>") && !has("[gMASK]") {
            // Others close a user's message with a line break only; this one with the end token.
            let user = text.split("<|user|>").skip(1);
            let closes = |s: &str| {
                s.split("<|")
                    .next()
                    .is_some_and(|s| s.contains("eos_token"))
            };
            if has("<|endoftext|>") || user.into_iter().any(closes) {
                return Some(Self::Roles(roles::Kind::Zephyr));
            }
        }
        if has("<|start_header_id|>") && has("<|end_header_id|>") {
            return Some(Self::Roles(roles::Kind::Llama3));
        }
        None
    }

    /// Renders a user's message up to where the assistant begins to speak. `first`: nothing of the
    /// chat is in the context yet, and `system`, unless empty, goes before it. `apart`: what is said is kept apart from the
    /// marks, as plain text, because it contains what would be taken for marks.
    pub fn turn(self, first: bool, system: &str, user: &str, apart: bool) -> Vec<Part> {
        let mut out = Writer {
            apart,
            ..Writer::default()
        };
        match self {
            Self::Roles(kind) => roles::turn(&mut out, kind, first, system, user),
            Self::Inst(kind) => inst::turn(&mut out, kind, first, system, user),
            Self::Raw => {
                if first && !system.is_empty() {
                    out.text(&[Said(system), Mark("\n\n")]);
                }
                out.text(&[Said(user)]);
            }
        }
        out.parts
    }
}

/// Text of a turn, by who wrote it.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// The format.
    Mark(&'a str),
    /// Those who speak.
    Said(&'a str),
}

/// Collects parts, joining neighbouring text, so that it is tokenized as one.
#[derive(Default)]
pub struct Writer {
    parts: Vec<Part>,
    apart: bool,
}

impl Writer {
    /// Appends text.
    pub fn text(&mut self, pieces: &[Piece<'_>]) {
        for piece in pieces {
            let text = match piece {
                Mark("") | Said("") => continue,
                Said(text) if self.apart => {
                    self.parts.push(Part::Plain(String::from(*text)));
                    continue;
                }
                Mark(text) | Said(text) => text,
            };
            if let Some(Part::Text(last)) = self.parts.last_mut() {
                last.push_str(text);
            } else {
                self.parts.push(Part::Text(String::from(*text)));
            }
        }
    }

    /// Appends BOS.
    pub fn bos(&mut self) {
        self.parts.push(Part::Bos);
    }

    /// Appends EOS.
    pub fn eos(&mut self) {
        self.parts.push(Part::Eos);
    }
}

#[cfg(test)]
mod tests;
