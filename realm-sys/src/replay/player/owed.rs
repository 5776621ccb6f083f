//! Behind a stop string: the context is made to hold what was shown, as the guest's `session/owed.rs` does it.

use super::Player;
use crate::error::{Result, try_vec};
use crate::vocab::Vocab;
use alloc::vec::Vec;

impl Player {
    /// A stop string was said, up to and with `token`: the context goes back to what was shown of the turn. Where that ends
    /// inside a token, its rest is owed.
    pub(super) fn unsay(&mut self, token: u32) -> Result<()> {
        let (Some(vocab), Some(turn)) = (&self.vocab, &self.turn) else {
            return Ok(());
        };
        let begin = turn.begin + turn.fed as u32;
        let said = self.context.get(begin as usize..).unwrap_or_default();
        let mut bytes = Vec::new();
        let mut ends = try_vec(said.len() + 1, "tokens of a turn")?;
        for token in said.iter().chain([&token]) {
            vocab.piece(*token, false, &mut bytes)?;
            ends.push(bytes.len());
        }
        let shown = self.stops.shown();
        let same = bytes.iter().zip(shown).take_while(|(a, b)| a == b).count();
        // Not inside a character: there is none of its bytes in what is left, which is text.
        let starts = |at: usize| shown.get(at).is_none_or(|byte| byte & 0xC0 != 0x80);
        let last = ends.iter().rposition(|end| *end <= same && starts(*end));
        let end = last.and_then(|last| ends.get(last)).copied().unwrap_or(0);
        let position = begin + last.map_or(0, |last| last as u32 + 1);
        self.owed = exactly(vocab, shown.get(end..).unwrap_or_default())?;
        if position < self.committed {
            self.context.truncate(position as usize);
            self.host.compute.memory.kv_truncate(position)?;
            self.committed = position;
        }
        Ok(())
    }
}

/// Tokens that stand for this text and nothing else, if there are such. Many vocabularies begin a text with a space of their
/// own; behind a line end they add none.
fn exactly(vocab: &Vocab, text: &[u8]) -> Result<Vec<u32>> {
    let mut tokens = Vec::new();
    if text.is_empty() || core::str::from_utf8(text).is_err() {
        return Ok(tokens);
    }
    for before in [&b"\n"[..], b""] {
        tokens.clear();
        let mut whole = try_vec(before.len() + text.len(), "bytes of a text")?;
        whole.extend_from_slice(before);
        whole.extend_from_slice(text);
        vocab.tokenize(&whole, false, false, &mut tokens)?;
        let mut bytes = Vec::new();
        let mut starts = try_vec(tokens.len(), "tokens of a text")?;
        for token in &tokens {
            starts.push(bytes.len());
            vocab.piece(*token, false, &mut bytes)?;
        }
        let start = bytes.len().wrapping_sub(text.len());
        if let Ok(first) = starts.binary_search(&start)
            && bytes.ends_with(text)
        {
            return Ok(tokens.split_off(first));
        }
    }
    Ok(tokens)
}
