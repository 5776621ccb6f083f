//! Behind a stop string: the context is made to hold what was shown, as the guest's `session/owed.rs` does it.

use super::Player;
use crate::error::{Error, Result, try_vec};
use crate::replay::sample::unsay::{Vocabulary, kept};
use crate::vocab::Vocab;
use alloc::vec::Vec;

impl Vocabulary for Vocab {
    type Fail = Error;

    fn piece(&self, token: u32, out: &mut Vec<u8>) -> Result<()> {
        self.piece(token, false, out)
    }

    fn tokenize(&self, before: &str, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let mut whole = try_vec(before.len() + text.len(), "bytes of a text")?;
        whole.extend_from_slice(before.as_bytes());
        whole.extend_from_slice(text.as_bytes());
        self.tokenize(&whole, false, false, out)
    }

    fn list(&self, room: usize) -> Result<Vec<usize>> {
        try_vec(room, "tokens of a turn")
    }
}

impl Player {
    /// A stop string was said, up to and with `token`: the context goes back to what was shown of the turn. Where that ends
    /// inside a token, its rest is owed.
    pub(super) fn unsay(&mut self, token: u32) -> Result<()> {
        let (Some(vocab), Some(turn)) = (&self.vocab, &self.turn) else {
            return Ok(());
        };
        let begin = turn.begin + turn.fed as u32;
        let said = self.context.get(begin as usize..).unwrap_or_default();
        let (count, tokens) = kept(&**vocab, said, token, self.stops.shown())?;
        self.owed = tokens;
        let position = begin + count;
        if position < self.committed {
            self.context.truncate(position as usize);
            self.host.compute.memory.kv_truncate(position)?;
            self.committed = position;
        }
        Ok(())
    }
}
