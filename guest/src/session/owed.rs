//! What was shown and what the context holds: where the two differ when a turn ends, and how a stop string makes them agree.

use super::Session;
use crate::abi::{self, Fail, Result, try_vec};
use crate::unsay::{Vocabulary, kept};
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

/// The session's vocabulary, by the id of its model.
struct Words(u32);

impl Vocabulary for Words {
    type Fail = Fail;

    fn piece(&self, token: u32, out: &mut Vec<u8>) -> Result<()> {
        abi::piece(self.0, token, out)
    }

    fn tokenize(&self, before: &str, text: &str, out: &mut Vec<u32>) -> Result<()> {
        abi::tokenize(self.0, &[before, text].concat(), 0, out)
    }

    fn list(&self, room: usize) -> Result<Vec<usize>> {
        try_vec(room)
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
        let (count, tokens) = kept(&Words(self.model), said, token, self.stops.shown())?;
        let position = begin + count;
        self.owed = Owed {
            tokens,
            unseen: self.committed - position,
        };
        if self.owed.unseen > 0 && !self.kept.any() {
            self.sampler.rewind(position);
            self.cut_at(position)?;
            self.committed = position;
            self.owed.unseen = 0;
        }
        Ok(())
    }
}
