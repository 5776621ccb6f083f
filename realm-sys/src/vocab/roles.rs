//! Which tokens begin, end and separate: from the file's ids, and from well-known names where files
//! are known to be wrong or silent.
//!
//! The names and overrides are those that GGUF files in circulation were made for (llama.cpp's).
//! One default is not taken over: a byte-level vocabulary without stated ids has no BOS and EOS,
//! rather than token 11.

use alloc::vec::Vec;

use super::TokenKind;
use super::parts::{Ids, Parts};
use super::tokens::Tokens;
use crate::error::{Result, try_vec};

/// Names that end a turn, tried in this order if the file states no end-of-turn token.
const END_OF_TURN: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

/// Names that end generation, besides those above.
const END: &[&str] = &[
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "</s>",
    "<|eom_id|>",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
];

/// Fill-in-the-middle padding, repository and file separators also end generation.
const FIM_PAD: &[&str] = &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const FIM_REPO: &[&str] = &[
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
];
const FIM_FILE: &[&str] = &["<|file_sep|>"];

/// Other fill-in-the-middle names: control tokens, whatever the file says.
const FIM: &[&str] = &[
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];

/// Channel markers that are shown even where control tokens are not.
const SHOWN: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// The special tokens of a vocabulary and what is added to a text.
pub(super) struct Roles {
    pub(super) ids: Ids,
    /// Sorted.
    pub(super) ends: Vec<u32>,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
}

/// What holds for an algorithm where the file is silent.
#[derive(Default)]
pub(super) struct Defaults {
    pub(super) ids: Ids,
    pub(super) add_bos: bool,
    pub(super) add_eos: bool,
}

impl Roles {
    /// Settles the roles; may correct `kinds`.
    pub(super) fn settle(
        tokens: &Tokens,
        kinds: &mut [TokenKind],
        parts: &Parts<'_>,
        defaults: Defaults,
    ) -> Result<Self> {
        let mut ids = parts.ids;
        let fill = |stated: &mut Option<u32>, default: Option<u32>| {
            *stated = stated.or(default.filter(|&id| id < tokens.len()));
        };
        fill(&mut ids.bos, defaults.ids.bos);
        fill(&mut ids.eos, defaults.ids.eos);
        fill(&mut ids.unknown, defaults.ids.unknown);
        fill(&mut ids.separator, defaults.ids.separator);
        fill(&mut ids.padding, defaults.ids.padding);
        fill(&mut ids.mask, defaults.ids.mask);

        let mut named = |stated: &mut Option<u32>, names: &[&str]| {
            if stated.is_none() {
                *stated = names.iter().find_map(|n| tokens.find(n.as_bytes()));
                if let Some(id) = *stated {
                    set(kinds, id, TokenKind::Control);
                }
            }
        };
        named(&mut ids.eot, END_OF_TURN);
        named(&mut ids.eom, &["<|eom_id|>"]);
        named(&mut ids.fim_pad, FIM_PAD);
        named(&mut ids.fim_repo, FIM_REPO);
        named(&mut ids.fim_file, FIM_FILE);
        for name in FIM.iter().chain(END_OF_TURN).chain(END) {
            if let Some(id) = tokens.find(name.as_bytes()) {
                set(kinds, id, TokenKind::Control);
            }
        }
        for name in SHOWN {
            if let Some(id) = tokens.find(name.as_bytes()) {
                set(kinds, id, TokenKind::UserDefined);
            }
        }

        let stated = [
            ids.eos,
            ids.eot,
            ids.eom,
            ids.fim_pad,
            ids.fim_repo,
            ids.fim_file,
        ];
        let names = END_OF_TURN.iter().chain(END);
        let mut ends: Vec<u32> = try_vec(stated.len() + END_OF_TURN.len() + END.len(), "ids")?;
        ends.extend(stated.into_iter().flatten());
        ends.extend(names.filter_map(|n| tokens.find(n.as_bytes())));

        let has = |ends: &[u32], name: &str| {
            tokens
                .find(name.as_bytes())
                .is_some_and(|id| ends.contains(&id))
        };
        let mut exempt = |ends: &mut Vec<u32>, name: &str, kind| {
            if let Some(id) = tokens.find(name.as_bytes()) {
                ends.retain(|&e| e != id);
                set(kinds, id, kind);
            }
        };
        // With the channels of harmony and its kin, "<|end|>" ends a message and not the answer.
        let calls = has(&ends, "<|call|>") || has(&ends, "<|calls|>");
        if calls && (has(&ends, "<|return|>") || has(&ends, "<|flush|>")) && has(&ends, "<|end|>") {
            exempt(&mut ends, "<|end|>", TokenKind::UserDefined);
        }
        // Gemma 4 and PLaMo have an ordinary "</s>".
        if has(&ends, "<|tool_response>") || has(&ends, "<|plamo:eos|>") {
            exempt(&mut ends, "</s>", TokenKind::Normal);
        }
        ends.sort_unstable();
        ends.dedup();
        Ok(Self {
            ids,
            ends,
            add_bos: parts.add_bos.unwrap_or(defaults.add_bos),
            add_eos: parts.add_eos.unwrap_or(defaults.add_eos),
        })
    }
}

fn set(kinds: &mut [TokenKind], id: u32, kind: TokenKind) {
    if let Some(slot) = kinds.get_mut(id as usize) {
        *slot = kind;
    }
}
