//! Byte-level BPE (`tokenizer.ggml.model = "gpt2"`): the text is split into words, each byte of a
//! word is a symbol, and neighbouring symbols are joined in the order of the merge list.
//!
//! Vocabulary files write the 256 bytes as 256 printable characters (a space is `Ġ`). That alphabet
//! is undone once, when the tables are built; tokenizing works on bytes and ids.
//!
//! Gemma 4 and a few others (`"gemma4"`) join characters instead of bytes, with U+2581 for spaces,
//! and fall back to `<0xXX>` tokens for characters that are no token, as SentencePiece does.

use crate::hash::HashMap;
use alloc::vec::Vec;

use super::TokenKind;
use super::merge::{Join, Merger, NONE, Pairs, Symbol};
use super::pretokenize::{Pre, Splitter};
use super::spm;
use super::tokens::Tokens;
use super::utf8::decode;
use crate::err;
use crate::error::{Result, try_vec};

/// The merge table of one vocabulary.
pub(super) struct Bpe {
    /// (left id, right id) -> rank and joined id.
    merges: HashMap<(u32, u32), (u32, u32)>,
    /// Per byte: its token, or [`NONE`].
    bytes: Vec<u32>,
    splitter: Splitter,
    /// A word that is a token as a whole is taken as it is.
    whole_words: bool,
    /// Symbols are characters, and spaces are written as U+2581.
    spaces_marked: bool,
}

impl Bpe {
    /// Prepares the tables from merges written `"left right"`.
    ///
    /// Merges whose parts or result are no tokens can never apply and are dropped, and of equal
    /// pairs the first counts. A byte without a token is dropped from texts, as Hugging Face's
    /// tokenizers do where there is no unknown token.
    pub(super) fn build(tokens: &Tokens, merges: &[&[u8]], pre: &Pre) -> Result<Self> {
        let mut bpe = Self {
            merges: HashMap::default(),
            bytes: try_vec(256, "byte tokens")?,
            splitter: pre.splitter,
            whole_words: pre.whole_words,
            spaces_marked: pre.spaces_marked,
        };
        for byte in 0..=255 {
            let mut utf8 = [0; 4];
            let id = if pre.spaces_marked {
                tokens.find(&spm::byte_name(byte))
            } else {
                tokens.find(to_char(byte).encode_utf8(&mut utf8).as_bytes())
            };
            bpe.bytes.push(id.unwrap_or(NONE));
        }
        let no_memory = || err!(NoMemory, "no memory for {} merges", merges.len());
        bpe.merges
            .try_reserve(merges.len())
            .map_err(|_| no_memory())?;
        let mut joined = Vec::new();
        for (rank, merge) in (0u32..).zip(merges) {
            // The left part may itself begin with a space.
            let Some(space) = merge.iter().skip(1).position(|&b| b == b' ') else {
                continue;
            };
            let (left, right) = merge.split_at(space + 1);
            let right = right.get(1..).unwrap_or(&[]);
            joined.clear();
            joined.try_reserve(merge.len()).map_err(|_| no_memory())?;
            joined.extend_from_slice(left);
            joined.extend_from_slice(right);
            if let (Some(l), Some(r), Some(id)) =
                (tokens.find(left), tokens.find(right), tokens.find(&joined))
            {
                bpe.merges.entry((l, r)).or_insert((rank, id));
            }
        }
        Ok(bpe)
    }

    /// Appends the ids of `text`. Bytes that are not UTF-8 are symbols like any other byte; the
    /// splitter sees U+FFFD in their place.
    pub(super) fn tokenize(
        &self,
        tokens: &Tokens,
        kinds: &[TokenKind],
        text: &[u8],
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let mut merger = Merger::default();
        let mut name = Vec::new();
        let ends = self.splitter.split(text)?;
        let mut start = 0;
        for end in ends {
            let word = text.get(start..end).unwrap_or(&[]);
            start = end;
            if self.whole_words && word.len() <= tokens.longest() {
                name.clear();
                name.try_reserve(2 * word.len())
                    .map_err(|_| err!(NoMemory, "no memory to tokenize"))?;
                for &b in word {
                    let mut utf8 = [0; 4];
                    name.extend_from_slice(to_char(b).encode_utf8(&mut utf8).as_bytes());
                }
                if let Some(id) = tokens.find(&name)
                    && kinds.get(id as usize) == Some(&TokenKind::Normal)
                {
                    super::push(out, id)?;
                    continue;
                }
            }
            merger.clear();
            if self.spaces_marked {
                self.characters(tokens, word, &mut name, &mut merger, out)?;
                continue;
            }
            for (i, &b) in (0u32..).zip(word) {
                let id = self.bytes.get(usize::from(b)).copied().unwrap_or(NONE);
                if id != NONE {
                    merger.push(i, 1, id)?;
                }
            }
            merger.run(self)?;
            for s in merger.symbols() {
                super::push(out, s.id)?;
            }
        }
        Ok(())
    }

    /// One word whose symbols are characters; `marked` is scratch.
    fn characters(
        &self,
        tokens: &Tokens,
        word: &[u8],
        marked: &mut Vec<u8>,
        merger: &mut Merger,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        marked.clear();
        spm::mark_spaces(word, marked)?;
        let mut at = 0;
        while let Some((_, len)) = decode(marked, at) {
            let text = marked.get(at..at + len).unwrap_or(&[]);
            let id = tokens.find(text).unwrap_or(NONE);
            merger.push(at as u32, len as u32, id)?;
            at += len;
        }
        merger.run(self)?;
        merger.emit(marked, &self.bytes, None, &mut false, out)
    }

    /// Whether tokens are written with U+2581 for spaces instead of in GPT-2's alphabet.
    pub(super) fn spaces_marked(&self) -> bool {
        self.spaces_marked
    }
}

impl Pairs for Bpe {
    fn join(&self, left: &Symbol, right: &Symbol) -> Option<Join> {
        let &(rank, id) = self.merges.get(&(left.id, right.id))?;
        Some(Join { rank, id })
    }
}

/// The printable character that vocabulary files write for a byte.
fn to_char(byte: u8) -> char {
    // 68 bytes are unprintable or blank; they are numbered in order from U+0100.
    let shifted = match byte {
        0..=0x20 => u32::from(byte),
        0x7f..=0xa0 => u32::from(byte) - 0x7f + 33,
        0xad => 67,
        _ => return char::from(byte),
    };
    char::from_u32(0x100 + shifted).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that a character of that alphabet stands for.
fn to_byte(c: char) -> Option<u8> {
    match u32::from(c) {
        n @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(n as u8),
        n @ 0x100..=0x120 => Some((n - 0x100) as u8),
        n @ 0x121..=0x142 => Some((n - 0x121) as u8 + 0x7f),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// Appends the bytes that a token's string stands for; a string that is not written in the alphabet
/// is taken literally, as Hugging Face's decoder does.
pub(super) fn decode_token(text: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.try_reserve(text.len())
        .map_err(|_| err!(NoMemory, "no memory for a token's text"))?;
    let start = out.len();
    let decoded = core::str::from_utf8(text).is_ok_and(|text| {
        text.chars().all(|c| match to_byte(c) {
            Some(b) => {
                out.push(b);
                true
            }
            None => false,
        })
    });
    if !decoded {
        out.truncate(start);
        out.extend_from_slice(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_a_bijection() {
        for b in 0..=255 {
            assert_eq!(to_byte(to_char(b)), Some(b));
        }
        assert_eq!(to_char(b' '), 'Ġ');
        assert_eq!(to_char(b'\n'), 'Ċ');
        assert_eq!(to_char(0xad), '\u{143}');
        assert_eq!(
            (0..0x3000)
                .filter_map(char::from_u32)
                .filter_map(to_byte)
                .count(),
            256
        );
    }

    #[test]
    fn strings_outside_the_alphabet_are_literal() {
        let mut out = Vec::new();
        decode_token("Ġa".as_bytes(), &mut out).unwrap();
        decode_token("日Ġ".as_bytes(), &mut out).unwrap();
        decode_token(b"\xff", &mut out).unwrap();
        assert_eq!(out, [" a".as_bytes(), "日Ġ".as_bytes(), b"\xff"].concat());
    }
}
