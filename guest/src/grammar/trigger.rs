//! Lazy grammars: the text is free until a trigger has been said, and matches the grammar from the trigger's beginning on.

use super::Source;
use crate::abi::{self, Result};
use alloc::string::String;
use alloc::vec::Vec;

/// What is waited for.
#[derive(Default)]
pub struct Triggers {
    texts: Vec<String>,
    /// Of texts that are control tokens, which have no bytes: the token, and which text.
    tokens: Vec<(u32, usize)>,
    lazy: bool,
    waiting: bool,
    /// The end of what was said so far, shorter than any trigger that it might be the beginning of.
    tail: Vec<u8>,
    /// The tail and the token that is looked at.
    window: Vec<u8>,
}

impl Triggers {
    /// Those of a grammar; none if it is not lazy.
    pub fn new(model: u32, source: &Source) -> Result<Self> {
        let mut triggers = Self::default();
        if source.lazy {
            triggers.lazy = true;
            triggers.texts.clone_from(&source.triggers);
            for (i, text) in source.triggers.iter().enumerate() {
                let mut piece = Vec::new();
                if let Some(token) = abi::token_find(model, text)? {
                    abi::piece(model, token, &mut piece)?;
                    if piece.is_empty() {
                        triggers.tokens.push((token, i));
                    }
                }
            }
        }
        Ok(triggers)
    }

    /// A text begins.
    pub fn restart(&mut self) {
        self.waiting = self.lazy;
        self.tail.clear();
    }

    /// Whether the text is still free.
    pub fn waiting(&self) -> bool {
        self.waiting
    }

    /// If the token brings a trigger: the text from there to the token's end.
    pub fn find(&mut self, token: u32, piece: &[u8]) -> Option<&[u8]> {
        if let Some((_, text)) = self.tokens.iter().find(|(id, _)| *id == token) {
            return self.texts.get(*text).map(|text| text.as_bytes());
        }
        self.window.clear();
        self.window.extend_from_slice(&self.tail);
        self.window.extend_from_slice(piece);
        let window = self.window.as_slice();
        let at = |text: &String| {
            window
                .windows(text.len().max(1))
                .position(|w| w == text.as_bytes())
        };
        let first = self.texts.iter().filter_map(at).min()?;
        window.get(first..)
    }

    /// A trigger has been said.
    pub fn found(&mut self) {
        self.waiting = false;
    }

    /// More has been said, and no trigger.
    pub fn push(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        let longest = self.texts.iter().map(String::len).max().unwrap_or(0);
        let extra = self.tail.len().saturating_sub(longest.saturating_sub(1));
        self.tail.drain(..extra);
    }
}
