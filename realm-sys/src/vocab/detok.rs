//! From ids back to text, one token at a time, never cutting a character in two.

use alloc::vec::Vec;

use super::Vocab;
use crate::err;
use crate::error::Result;

/// Turns a stream of ids into a stream of valid UTF-8.
///
/// Tokens may end in the middle of a character; its bytes are held back (at most three) until the
/// rest arrives. Bytes that can no longer become valid UTF-8 turn into U+FFFD, one for each
/// maximal ill-formed part, as browsers and `String::from_utf8_lossy` do. For the exact bytes of
/// a token use [`Vocab::piece`].
///
/// A SentencePiece vocabulary that puts a space before every text has that one space taken off
/// again, from the first token that yields any text; tokens that are not shown, such as the one
/// that begins a text, do not count.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    held: [u8; 4],
    held_len: u8,
    special: bool,
    at_start: bool,
}

impl Detokenizer {
    /// For a whole text. With `special`, control and unknown tokens appear as they are written in
    /// the vocabulary; without, they yield nothing.
    pub fn new(special: bool) -> Self {
        Self {
            held: [0; 4],
            held_len: 0,
            special,
            at_start: true,
        }
    }

    /// For text that follows other text, as a model's answer follows its prompt: no leading space
    /// is taken off.
    pub fn continuing(special: bool) -> Self {
        Self {
            at_start: false,
            ..Self::new(special)
        }
    }

    /// What it holds, for saving.
    pub fn to_bytes(&self) -> [u8; 8] {
        let [a, b, c, d] = self.held;
        let flags = u8::from(self.special) | u8::from(self.at_start) << 1;
        [a, b, c, d, self.held_len, flags, 0, 0]
    }

    /// What [`to_bytes`](Self::to_bytes) gave; none for what it cannot have given.
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        let [a, b, c, d, held_len, flags, 0, 0] = bytes else {
            return None;
        };
        (held_len < 4 && flags < 4).then_some(Self {
            held: [a, b, c, d],
            held_len,
            special: flags & 1 != 0,
            at_start: flags & 2 != 0,
        })
    }

    /// Appends the text that is complete after this token, perhaps none; what is appended is
    /// always valid UTF-8.
    ///
    /// # Errors
    /// `NotFound` for an id outside the vocabulary, which changes nothing; `NoMemory`.
    pub fn push(&mut self, vocab: &Vocab, id: u32, out: &mut Vec<u8>) -> Result<()> {
        // Most tokens are whole characters, follow whole characters, and stand as they are.
        let start = out.len();
        vocab.piece(id, self.special, out)?;
        let appended = out.get(start..).unwrap_or(&[]);
        let plain = self.held_len == 0 && !self.at_start;
        if appended.is_empty() || (plain && core::str::from_utf8(appended).is_ok()) {
            return Ok(());
        }
        let mut piece = Vec::new();
        let room = piece.try_reserve_exact(appended.len());
        if room.is_ok() {
            piece.extend_from_slice(appended);
        }
        out.truncate(start);
        room.map_err(|_| err!(NoMemory, "no memory for text"))?;
        let mut bytes = piece.as_slice();
        // Three bytes may be held back, and every byte may turn into the three of U+FFFD.
        out.try_reserve(3 * (bytes.len() + 3))
            .map_err(|_| err!(NoMemory, "no memory for text"))?;
        if self.at_start {
            self.at_start = false;
            if vocab.add_space_prefix() {
                bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            }
        }
        // First complete what is held, byte by byte, then take the rest in one go.
        while self.held_len > 0 {
            let Some((&byte, rest)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = rest;
            if let Some(slot) = self.held.get_mut(usize::from(self.held_len)) {
                *slot = byte;
                self.held_len += 1;
            }
            let held = self.held;
            let len = usize::from(core::mem::take(&mut self.held_len));
            self.take(held.get(..len).unwrap_or(&[]), out);
        }
        self.take(bytes, out);
        Ok(())
    }

    /// Appends what can be, and holds back an incomplete end. Nothing is held on entry.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for chunk in bytes.utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let is_last = invalid.as_ptr_range().end == bytes.as_ptr_range().end;
            let incomplete =
                is_last && core::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none());
            if let Some(held) = self.held.get_mut(..invalid.len())
                && incomplete
            {
                held.copy_from_slice(invalid);
                self.held_len = invalid.len() as u8;
            } else {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }

    /// Ends the text: held bytes that never became a character turn into one U+FFFD. The
    /// detokenizer then continues as after [`Detokenizer::continuing`].
    ///
    /// # Errors
    /// `NoMemory`.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if self.held_len > 0 {
            out.try_reserve(3)
                .map_err(|_| err!(NoMemory, "no memory for text"))?;
            out.extend_from_slice("\u{fffd}".as_bytes());
            self.held_len = 0;
        }
        self.at_start = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    /// Feeds bytes in pieces of the given sizes.
    fn stream(bytes: &[u8], mut cut: impl FnMut() -> usize) -> Vec<u8> {
        let vocab = super::super::tests::byte_vocab();
        let mut d = Detokenizer::new(false);
        let mut out = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + cut());
            for &b in &bytes[at..end] {
                d.push(&vocab, u32::from(b), &mut out).unwrap();
                assert!(core::str::from_utf8(&out).is_ok());
            }
            at = end;
        }
        d.finish(&mut out).unwrap();
        out
    }

    #[test]
    fn matches_the_lossy_conversion_of_the_whole() {
        let mut seed = 7u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as usize
        };
        let interesting =
            b"a \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xff\xc0\xed\xa0\x80\xf4\x90\xf5\x80";
        for _ in 0..3000 {
            let n = random() % 12;
            let bytes: Vec<u8> = (0..n)
                .map(|_| interesting[random() % interesting.len()])
                .collect();
            let want = String::from_utf8_lossy(&bytes);
            assert_eq!(stream(&bytes, || 1), want.as_bytes(), "{bytes:x?}");
        }
    }

    #[test]
    fn whole_pieces_are_taken_at_once() {
        let mut d = Detokenizer::new(false);
        let mut out = Vec::new();
        d.take(b"\xe2\x82\xacx\xe2\x82", &mut out);
        assert_eq!(out, "€x".as_bytes());
        assert_eq!(d.held_len, 2);
        d.finish(&mut out).unwrap();
        assert_eq!(out, "€x\u{fffd}".as_bytes());
    }
}
