//! Formats that put the question between `[INST]` and `[/INST]`: llama 2 and mistral.

use super::Piece::{Mark, Said};
use super::Writer;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Llama 2 without system messages: the text goes before the question.
    Llama2,
    /// Llama 2 with `<<SYS>>`.
    Llama2Sys,
    /// The same, with BOS before every question.
    Llama2SysBos,
    /// The same, with contents trimmed.
    Llama2SysStrip,
    /// ` [INST] … [/INST]`
    MistralV1,
    /// `[INST] …[/INST]`
    MistralV3,
    /// `[INST]…[/INST]`
    MistralV3Tekken,
    /// `[SYSTEM_PROMPT] …[/SYSTEM_PROMPT][INST] …[/INST]`
    MistralV7,
    /// The same without spaces.
    MistralV7Tekken,
}

impl Kind {
    /// Tells the members apart by what their published templates contain.
    pub fn detect(text: &str) -> Self {
        let has = |s: &str| text.contains(s);
        if has("[SYSTEM_PROMPT]") {
            let spaced = has("[INST] ") || has("[SYSTEM_PROMPT] ");
            return if spaced {
                Self::MistralV7
            } else {
                Self::MistralV7Tekken
            };
        }
        if has("' [INST] ' + system_message") || has("[AVAILABLE_TOOLS]") {
            return match (has(" [INST]"), has("\"[INST]\"")) {
                (true, _) => Self::MistralV1,
                (_, true) => Self::MistralV3Tekken,
                _ => Self::MistralV3,
            };
        }
        if has("content.strip()") {
            Self::Llama2SysStrip
        } else if has("bos_token + '[INST]") {
            Self::Llama2SysBos
        } else if has("<<SYS>>") {
            Self::Llama2Sys
        } else {
            Self::Llama2
        }
    }
}

/// Renders one turn; see [`super::Template::turn`].
pub fn turn(out: &mut Writer, kind: Kind, first: bool, system: &str, user: &str) {
    let strip = kind == Kind::Llama2SysStrip;
    let (system, user) = if strip {
        (system.trim(), user.trim())
    } else {
        (system, user)
    };
    let system = if first { system } else { "" };
    if !first {
        out.eos();
        if kind == Kind::Llama2SysBos {
            out.bos();
        }
    }
    let (open, close) = match kind {
        Kind::MistralV1 => (" [INST] ", " [/INST]"),
        Kind::MistralV3 | Kind::MistralV7 => ("[INST] ", "[/INST]"),
        Kind::MistralV3Tekken | Kind::MistralV7Tekken => ("[INST]", "[/INST]"),
        _ => ("[INST] ", " [/INST]"),
    };
    if system.is_empty() {
        out.text(&[Mark(open), Said(user), Mark(close)]);
        return;
    }
    match kind {
        Kind::MistralV7 => out.text(&[
            Mark("[SYSTEM_PROMPT] "),
            Said(system),
            Mark("[/SYSTEM_PROMPT]"),
            Mark(open),
            Said(user),
        ]),
        Kind::MistralV7Tekken => {
            out.text(&[
                Mark("[SYSTEM_PROMPT]"),
                Said(system),
                Mark("[/SYSTEM_PROMPT]"),
                Mark(open),
                Said(user),
            ]);
        }
        Kind::MistralV1 | Kind::MistralV3 | Kind::MistralV3Tekken => {
            out.text(&[Mark(open), Said(system), Mark("\n\n"), Said(user)]);
        }
        Kind::Llama2 => out.text(&[Mark(open), Said(system), Mark("\n"), Said(user)]),
        Kind::Llama2Sys | Kind::Llama2SysBos | Kind::Llama2SysStrip => {
            out.text(&[
                Mark(open),
                Mark("<<SYS>>\n"),
                Said(system),
                Mark("\n<</SYS>>\n\n"),
                Said(user),
            ]);
        }
    }
    out.text(&[Mark(close)]);
}
