//! What was shown and what the context holds: where the two differ when a turn ends, and how a stop string makes them agree.

use super::Session;
use crate::abi::{self, Result, try_vec};
use alloc::vec::Vec;

/// How what a turn has shown differs from what the context holds at its end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// Tokens that were shown and are not in the context.
    pub tokens: Vec<u32>,
    /// Tokens at the context's end that were not shown: where a stop string began, in a model that cannot go back.
    pub unseen: u32,
}

impl Owed {
    /// What goes in before all else. Behind what was not shown nothing does: it has that text in it.
    pub fn feed(&self) -> &[u32] {
        match self.unseen {
            0 => &self.tokens,
            _ => &[],
        }
    }
}

impl Session {
    /// A stop string was said, up to and with `token`: the context goes back to what was shown of the turn, so that whoever
    /// goes on, or asks what was said, finds what was seen. Where that ends inside a token, its rest is owed.
    #[cold]
    #[inline(never)]
    pub(super) fn unsay(&mut self, token: u32) -> Result<()> {
        let Some(turn) = &self.turn else {
            return Ok(());
        };
        let begin = turn.begin + turn.fed as u32;
        let said = self.sampler.context().get(begin as usize..);
        let said = said.unwrap_or_default();
        let mut bytes = Vec::new();
        let mut ends = try_vec(said.len() + 1)?;
        for token in said.iter().chain([&token]) {
            abi::piece(self.model, *token, &mut bytes)?;
            ends.push(bytes.len());
        }
        let shown = self.stops.shown();
        let same = bytes.iter().zip(shown).take_while(|(a, b)| a == b).count();
        // Not inside a character: there is none of its bytes in what is left, which is text.
        let starts = |at: usize| shown.get(at).is_none_or(|byte| byte & 0xC0 != 0x80);
        let last = ends.iter().rposition(|end| *end <= same && starts(*end));
        let end = last.and_then(|last| ends.get(last)).copied().unwrap_or(0);
        let rest = core::str::from_utf8(shown.get(end..).unwrap_or_default());
        let position = begin + last.map_or(0, |last| last as u32 + 1);
        self.owed = Owed {
            tokens: self.exactly(rest.unwrap_or_default())?,
            unseen: self.committed - position,
        };
        if self.owed.unseen > 0 && !self.kept.any() {
            self.sampler.rewind(position);
            abi::kv_truncate(position)?;
            self.committed = position;
            self.owed.unseen = 0;
        }
        Ok(())
    }

    /// Tokens that stand for this text and nothing else, if there are such. Many vocabularies begin a text with a space of their
    /// own; behind a line end they add none.
    fn exactly(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        if text.is_empty() {
            return Ok(tokens);
        }
        for before in ["\n", ""] {
            tokens.clear();
            abi::tokenize(self.model, &[before, text].concat(), 0, &mut tokens)?;
            let (mut bytes, mut starts) = (Vec::new(), try_vec(tokens.len())?);
            for token in &tokens {
                starts.push(bytes.len());
                abi::piece(self.model, *token, &mut bytes)?;
            }
            let start = bytes.len().wrapping_sub(text.len());
            if let Ok(first) = starts.binary_search(&start)
                && bytes.ends_with(text.as_bytes())
            {
                return Ok(tokens.split_off(first));
            }
        }
        Ok(tokens)
    }
}
