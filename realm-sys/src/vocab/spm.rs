//! SentencePiece BPE (`tokenizer.ggml.model = "llama"`): spaces become U+2581, then neighbouring
//! pieces are joined in order of the score of the piece they make; what no piece covers becomes
//! `<0xXX>` byte tokens.

use alloc::vec::Vec;

use super::TokenKind;
use super::merge::{Join, Merger, NONE, Pairs, Symbol};
use super::tokens::Tokens;
use super::utf8::decode;
use crate::error::{Result, try_vec};
use crate::{bail, err};

/// U+2581, which stands for a space inside pieces.
pub(super) const SPACE: &[u8] = "\u{2581}".as_bytes();

/// Longer pieces never result from joining. It bounds the cost of looking a pair up; real pieces
/// stay below 400 bytes.
const MAX_PIECE_BYTES: usize = 1024;

/// The joining order and the byte fallback of one vocabulary.
pub(super) struct Spm {
    /// Per token: its rank as the result of joining, or [`NONE`] if it never is one.
    ranks: Vec<u32>,
    /// Per byte: its token, or [`NONE`].
    bytes: Vec<u32>,
    unknown: Option<u32>,
    longest: usize,
    /// Whether a word boundary (a space after something else) lies inside no piece, so that words
    /// can be worked on one by one.
    by_word: bool,
}

impl Spm {
    /// Prepares the tables. `scores` may be shorter than the vocabulary: absent ones are 0.
    ///
    /// # Errors
    /// `Format` if a score is not a number, or if no token can stand for a character that the
    /// vocabulary lacks.
    pub(super) fn build(
        tokens: &Tokens,
        kinds: &[TokenKind],
        scores: &[f32],
        unknown: Option<u32>,
    ) -> Result<Self> {
        let mut spm = Self {
            ranks: try_vec(tokens.len() as usize, "token scores")?,
            bytes: try_vec(256, "byte tokens")?,
            unknown,
            longest: tokens.longest().min(MAX_PIECE_BYTES),
            by_word: true,
        };
        for (id, kind) in (0..tokens.len()).zip(kinds) {
            let score = scores.get(id as usize).copied().unwrap_or(0.0);
            if score.is_nan() {
                bail!(Format, "the score of token {id} is not a number");
            }
            // As in SentencePiece, typing "</s>" or "<0x0A>" makes no control or byte token.
            let joins = !matches!(
                kind,
                TokenKind::Control | TokenKind::Unknown | TokenKind::Byte
            );
            spm.ranks.push(if joins { rank(score) } else { NONE });
            if joins && let Some(text) = tokens.get(id) {
                spm.by_word &= !spans_words(text);
            }
        }
        for byte in 0..=255u8 {
            let id = tokens.find(&byte_name(byte));
            let id = id.or_else(|| tokens.find(&[byte]));
            spm.bytes.push(id.unwrap_or(NONE));
        }
        if unknown.is_none() && spm.bytes.contains(&NONE) {
            bail!(
                Format,
                "the vocabulary has neither all byte tokens nor an unknown token"
            );
        }
        Ok(spm)
    }

    /// Appends the ids of `text`, with a space put before it if `prefix`.
    ///
    /// Bytes that are not UTF-8 become their byte tokens one by one. Without byte tokens, a run of
    /// uncovered characters becomes one unknown token, as in SentencePiece.
    pub(super) fn tokenize(
        &self,
        tokens: &Tokens,
        text: &[u8],
        prefix: bool,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let mut escaped = Vec::new();
        if prefix {
            mark_spaces(b" ", &mut escaped)?;
        }
        mark_spaces(text, &mut escaped)?;
        let mut merger = Merger::default();
        let mut after_unknown = false;
        let mut rest = escaped.as_slice();
        while !rest.is_empty() {
            let end = if self.by_word {
                word_end(rest)
            } else {
                rest.len()
            };
            let (word, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            rest = after;
            self.word(tokens, word, &mut merger, &mut after_unknown, out)?;
        }
        Ok(())
    }

    fn word(
        &self,
        tokens: &Tokens,
        word: &[u8],
        merger: &mut Merger,
        after_unknown: &mut bool,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        merger.clear();
        let pieces = Pieces {
            spm: self,
            tokens,
            word,
        };
        let mut at = 0;
        while let Some((_, len)) = decode(word, at) {
            let id = pieces.find(at, len).map_or(NONE, |j| j.id);
            merger.push(at as u32, len as u32, id)?;
            at += len;
        }
        merger.run(&pieces)?;
        merger.emit(word, &self.bytes, self.unknown, after_unknown, out)
    }
}

/// Appends a text with U+2581 for its spaces.
pub(super) fn mark_spaces(text: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let spaces = text.iter().filter(|&&b| b == b' ').count();
    out.try_reserve(text.len() + (SPACE.len() - 1) * spaces)
        .map_err(|_| err!(NoMemory, "no memory for {} bytes of text", text.len()))?;
    for &b in text {
        match b {
            b' ' => out.extend_from_slice(SPACE),
            b => out.push(b),
        }
    }
    Ok(())
}

/// How files write the token of one byte: `<0xXX>`.
pub(super) fn byte_name(byte: u8) -> [u8; 6] {
    let digit = |n: u8| if n < 10 { b'0' + n } else { b'A' + n - 10 };
    [b'<', b'0', b'x', digit(byte >> 4), digit(byte & 15), b'>']
}

/// Maps a score to a rank that sorts the other way round; never [`NONE`] for a number.
fn rank(score: f32) -> u32 {
    // Adding zero turns -0.0 into 0.0, which must rank the same.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    !ascending
}

/// Where the first word of `text` ends: before the first space that follows something else.
fn word_end(text: &[u8]) -> usize {
    let mut at = 0;
    let mut in_spaces = true;
    while at < text.len() {
        if text.get(at..).is_some_and(|t| t.starts_with(SPACE)) {
            if !in_spaces {
                return at;
            }
            at += SPACE.len();
        } else {
            in_spaces = false;
            at += 1;
        }
    }
    at
}

/// Whether a piece has a space after something else.
fn spans_words(piece: &[u8]) -> bool {
    word_end(piece) < piece.len()
}

/// The pairs of one word.
struct Pieces<'a> {
    spm: &'a Spm,
    tokens: &'a Tokens,
    word: &'a [u8],
}

impl Pieces<'_> {
    fn find(&self, start: usize, len: usize) -> Option<Join> {
        if len > self.spm.longest {
            return None;
        }
        let id = self.tokens.find(self.word.get(start..start + len)?)?;
        let rank = *self.spm.ranks.get(id as usize)?;
        (rank != NONE).then_some(Join { rank, id })
    }
}

impl Pairs for Pieces<'_> {
    fn join(&self, left: &Symbol, right: &Symbol) -> Option<Join> {
        self.find(left.start as usize, (left.len + right.len) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_rank_lower() {
        let scores = [
            f32::INFINITY,
            3.5,
            0.0,
            -1e-30,
            -1.0,
            -1e30,
            f32::NEG_INFINITY,
        ];
        for pair in scores.windows(2) {
            assert!(rank(pair[0]) < rank(pair[1]));
        }
        assert_eq!(rank(0.0), rank(-0.0));
        assert!(rank(f32::NEG_INFINITY) < NONE);
    }

    #[test]
    fn words_begin_with_their_spaces() {
        assert_eq!(word_end("▁▁ab▁c".as_bytes()), 8);
        assert_eq!(word_end("ab".as_bytes()), 2);
        assert!(spans_words("a▁".as_bytes()));
        assert!(!spans_words("▁▁a".as_bytes()));
        assert!(!spans_words("▁".as_bytes()));
    }
}
