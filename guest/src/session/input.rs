//! The tokens of what the host has given: text, ids, a message, or nothing.

use super::{CHAT, IDS, MESSAGES, REPLY, Session, TEXT};
use crate::abi::{self, Result, try_vec};
use crate::slim;
use alloc::string::String;
use alloc::vec::Vec;

impl Session {
    /// The tokens of the pending input, behind what is owed to the context.
    pub(super) fn input(&mut self, kind: i32, bytes: usize) -> Result<Vec<u32>> {
        let raw = abi::input(bytes)?;
        if kind == IDS {
            return self.ids(&raw);
        }
        let Ok(text) = String::from_utf8(raw) else {
            return Err(fail!(INVALID_ARGUMENT, "the prompt is not UTF-8"));
        };
        if self.vocab.n_tokens == 0 {
            return Err(fail!(
                UNSUPPORTED,
                "the model has no vocabulary; give token ids"
            ));
        }
        if kind != TEXT && !slim::CHAT {
            return Err(fail!(
                UNSUPPORTED,
                "chat formats are not known to this slim guest; give text"
            ));
        }
        let feed = match kind {
            TEXT => {
                let mut feed = try_vec(1 + text.len() / 4)?;
                feed.extend(self.owed.feed());
                self.tokenize(&text, abi::PARSE_SPECIAL, &mut feed)?;
                feed
            }
            CHAT | MESSAGES if slim::CHAT => self.converse(kind == MESSAGES, &text)?,
            REPLY if slim::CHAT => self.go_on(&text)?,
            _ => {
                return Err(fail!(
                    UNSUPPORTED,
                    "input kind {kind} is not known to this guest"
                ));
            }
        };
        self.never_empty(feed)
    }

    /// Token ids as the host gave them.
    fn ids(&mut self, raw: &[u8]) -> Result<Vec<u32>> {
        if !raw.len().is_multiple_of(4) {
            return Err(fail!(
                INVALID_ARGUMENT,
                "token ids are 4 bytes each, not {} bytes",
                raw.len()
            ));
        }
        let mut feed = try_vec(1 + raw.len() / 4)?;
        feed.extend(self.owed.feed());
        let n_vocab = self.family.facts().n_vocab;
        for chunk in raw.chunks_exact(4) {
            let id = chunk.try_into().map_or(u32::MAX, u32::from_le_bytes);
            if id >= n_vocab {
                return Err(fail!(
                    INVALID_ARGUMENT,
                    "token {id} is not in the vocabulary of {n_vocab}"
                ));
            }
            feed.push(id);
        }
        self.never_empty(feed)
    }

    /// An empty input continues: from the last token, evaluated again, or from BOS at the very start.
    fn never_empty(&mut self, mut feed: Vec<u32>) -> Result<Vec<u32>> {
        if !feed.is_empty() {
            return Ok(feed);
        }
        if self.committed == 0 {
            let bos = u32::try_from(self.vocab.bos)
                .ok()
                .filter(|_| self.vocab.add_bos);
            let Some(bos) = bos else {
                return Err(fail!(
                    INVALID_ARGUMENT,
                    "the prompt is empty and nothing came before it"
                ));
            };
            feed.push(bos);
        } else if self.kept.any() {
            return Err(fail!(
                UNSUPPORTED,
                "the prompt is empty, and this model cannot evaluate its last token again"
            ));
        } else if let Some(last) = self.sampler.last() {
            self.committed -= 1;
            self.sampler.retract(1);
            self.cut()?;
            feed.push(last);
            // Until it is in again.
            self.owed.tokens.push(last);
        } else {
            return Err(fail!(INVALID_ARGUMENT, "the prompt is empty"));
        }
        Ok(feed)
    }

    /// Appends text; at the start of an empty context with what the vocabulary adds there.
    pub(super) fn tokenize(&self, text: &str, flags: u32, feed: &mut Vec<u32>) -> Result<()> {
        self.tokens_of(text, flags, self.committed == 0, feed)
    }

    /// The same for a text that begins where the context is empty, or not.
    pub(super) fn tokens_of(
        &self,
        text: &str,
        flags: u32,
        empty: bool,
        feed: &mut Vec<u32>,
    ) -> Result<()> {
        let start = empty && feed.is_empty();
        let special = if start { abi::ADD_SPECIAL } else { 0 };
        abi::tokenize(self.model, text, special | flags, feed)?;
        // A vocabulary that adds EOS would end the text that is to be continued.
        if start && self.vocab.add_eos && feed.len() > 1 && self.embedder.is_none() {
            feed.pop_if(|last| i32::try_from(*last) == Ok(self.vocab.eos));
        }
        Ok(())
    }
}
