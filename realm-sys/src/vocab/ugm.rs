//! Unigram (`tokenizer.ggml.model = "t5"`): of all ways to cover the text with tokens, the one whose
//! scores (logarithms of probabilities) have the greatest sum; Kudo 2018,
//! <https://arxiv.org/abs/1804.10959>. It is found by Viterbi's algorithm, in time linear in the text.
//!
//! Before, the text is normalized by a table in the file, SentencePiece's compiled character map: a
//! double-array trie (<https://github.com/s-yata/darts-clone>) from strings to their replacements.

use alloc::vec::Vec;

use super::TokenKind;
use super::prefix::Prefixes;
use super::spm::SPACE;
use super::tokens::Tokens;
use super::utf8::decode;
use crate::bail;
use crate::error::{Result, try_vec};

/// How much less probable than the least probable token a character is that no token covers.
const UNKNOWN_PENALTY: f64 = 10.0;

/// A Unigram vocabulary.
pub(super) struct Ugm {
    pieces: Prefixes,
    scores: Vec<f32>,
    unknown: u32,
    unknown_score: f64,
    map: CharsMap,
    /// Runs of spaces count as one, and those around the text not at all
    /// (`tokenizer.ggml.remove_extra_whitespaces`).
    merge_spaces: bool,
}

/// The best way to reach a place in the text.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    from: u32,
    id: u32,
}

impl Ugm {
    /// Prepares the tables. `scores` may be shorter than the vocabulary: absent ones are 0.
    ///
    /// # Errors
    /// `Format` if a score is not a number, the character map is cut short, or there is no unknown
    /// token; `NoMemory`.
    pub(super) fn build(
        tokens: &Tokens,
        kinds: &[TokenKind],
        scores: &[f32],
        map: &[u8],
        merge_spaces: bool,
        unknown: Option<u32>,
    ) -> Result<Self> {
        let Some(unknown) = unknown else {
            bail!(Format, "the vocabulary has no unknown token");
        };
        let mut all = try_vec(tokens.len() as usize, "token scores")?;
        let mut least = f32::INFINITY;
        for (id, kind) in (0..tokens.len()).zip(kinds) {
            let score = scores.get(id as usize).copied().unwrap_or(0.0);
            if score.is_nan() {
                bail!(Format, "the score of token {id} is not a number");
            }
            if *kind == TokenKind::Normal {
                least = least.min(score);
            }
            // What the user added is to be taken where it fits.
            let added = *kind == TokenKind::UserDefined;
            all.push(if added { 0.0 } else { score });
        }
        let takes = |id: u32| {
            matches!(
                kinds.get(id as usize),
                Some(TokenKind::Normal | TokenKind::UserDefined | TokenKind::Unused)
            )
        };
        Ok(Self {
            pieces: Prefixes::build(tokens, takes)?,
            scores: all,
            unknown,
            unknown_score: f64::from(least) - UNKNOWN_PENALTY,
            map: CharsMap::read(map)?,
            merge_spaces,
        })
    }

    /// Appends the ids of `text`, with a space put before it if `prefix`. Bytes that are not UTF-8
    /// count as U+FFFD.
    ///
    /// # Errors
    /// `Limit` for a text of more than 4 GiB once it is normalized; `NoMemory`.
    pub(super) fn tokenize(
        &self,
        tokens: &Tokens,
        text: &[u8],
        prefix: bool,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let text = self.normalize(text, prefix)?;
        if u32::try_from(text.len()).is_err() {
            bail!(Limit, "a normalized text of {} bytes", text.len());
        }
        let unreached = Best {
            score: f64::NEG_INFINITY,
            from: 0,
            id: self.unknown,
        };
        let mut best: Vec<Best> = try_vec(text.len() + 1, "places in a text")?;
        best.resize(text.len() + 1, unreached);
        if let Some(start) = best.first_mut() {
            start.score = 0.0;
        }
        let mut at = 0;
        while let Some((_, len)) = decode(&text, at) {
            let base = best.get(at).map_or(f64::NEG_INFINITY, |b| b.score);
            let mut reach = |to: usize, id: u32, score: f64| {
                if let Some(best) = best.get_mut(to)
                    && base + score > best.score
                {
                    let from = at as u32;
                    let score = base + score;
                    *best = Best { score, from, id };
                }
            };
            let mut covered = false;
            let rest = text.get(at..).unwrap_or(&[]);
            for (bytes, id) in self.pieces.of(tokens, rest) {
                covered |= bytes == len;
                let score = self.scores.get(id as usize).copied().unwrap_or(0.0);
                reach(at + bytes, id, f64::from(score));
            }
            if !covered {
                reach(at + len, self.unknown, self.unknown_score);
            }
            at += len;
        }
        let before = out.len();
        let mut after_unknown = false;
        while at > 0 {
            let Some(&Best { from, id, .. }) = best.get(at) else {
                break;
            };
            // A run of uncovered characters is one unknown token.
            if id != self.unknown || !after_unknown {
                super::push(out, id)?;
            }
            after_unknown = id == self.unknown;
            at = from as usize;
        }
        if let Some(ids) = out.get_mut(before..) {
            ids.reverse();
        }
        Ok(())
    }

    /// The text with its characters replaced and its spaces marked.
    fn normalize(&self, text: &[u8], prefix: bool) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut put = |bytes: &[u8]| -> Result<()> {
            for &byte in bytes {
                super::push(&mut out, byte)?;
            }
            Ok(())
        };
        if prefix && !self.merge_spaces && !text.is_empty() {
            put(SPACE)?;
        }
        let mut in_word = false;
        let mut is_start = true;
        let mut at = 0;
        while at < text.len() {
            let (replacement, len) = self.map.replace(text, at);
            at += len;
            for &byte in replacement {
                if byte == b' ' {
                    in_word = false;
                    if !self.merge_spaces {
                        put(SPACE)?;
                    }
                    continue;
                }
                // One for each run of spaces, and for the beginning of the text.
                if !in_word && self.merge_spaces && (prefix || !is_start) {
                    put(SPACE)?;
                }
                is_start = false;
                in_word = true;
                put(&[byte])?;
            }
        }
        Ok(out)
    }
}

/// SentencePiece's compiled character map: a count of bytes, so many bytes of 32-bit units, and
/// strings that end in a zero.
///
/// A unit's children are found at `index ^ offset ^ byte`; it holds its offset in bits 10 to 30 (times
/// 256 if bit 9 is set), whether a value follows in bit 8, and the byte that leads to it in bits 0
/// to 7. A unit that is a value has bit 31 set.
#[derive(Default)]
struct CharsMap {
    units: Vec<u32>,
    strings: Vec<u8>,
}

impl CharsMap {
    /// Copies the map out of the file; an empty one replaces nothing.
    fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let parts = bytes
            .split_first_chunk::<4>()
            .and_then(|(count, rest)| rest.split_at_checked(u32::from_le_bytes(*count) as usize));
        let Some((trie, strings)) = parts else {
            bail!(
                Format,
                "tokenizer.ggml.precompiled_charsmap is cut short at {} bytes",
                bytes.len()
            );
        };
        let mut map = Self {
            units: try_vec(trie.len() / 4, "character map units")?,
            strings: try_vec(strings.len(), "bytes of character map")?,
        };
        let (units, _) = trie.as_chunks::<4>();
        map.units
            .extend(units.iter().map(|u| u32::from_le_bytes(*u)));
        map.strings.extend_from_slice(strings);
        Ok(map)
    }

    /// What stands for the text at `at`, and how many of its bytes that replaces: the longest string
    /// of the map, else the character as it is.
    fn replace<'a>(&'a self, text: &'a [u8], at: usize) -> (&'a [u8], usize) {
        // A damaged map leads nowhere or to other strings, never further than its end.
        if let Some((value, len)) = self.longest(text.get(at..).unwrap_or(&[]))
            && let Some(string) = self.strings.get(value as usize..)
        {
            let end = string.iter().position(|&b| b == 0);
            return (string.get(..end.unwrap_or(0)).unwrap_or(&[]), len);
        }
        let len = decode(text, at).map_or(1, |(_, len)| len);
        let as_it_is = text.get(at..at + len).unwrap_or(&[]);
        let valid = core::str::from_utf8(as_it_is).is_ok();
        (
            if valid {
                as_it_is
            } else {
                "\u{fffd}".as_bytes()
            },
            len,
        )
    }

    fn longest(&self, text: &[u8]) -> Option<(u32, usize)> {
        let offset = |unit: u32| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let unit = |index: u32| self.units.get(index as usize).copied();
        let mut index = offset(unit(0)?);
        let mut found = None;
        for (i, &byte) in text.iter().enumerate() {
            index ^= u32::from(byte);
            let Some(node) = unit(index) else { break };
            if byte == 0 || node & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            index ^= offset(node);
            if node & (1 << 8) != 0
                && let Some(value) = unit(index)
            {
                found = Some((value & !(1 << 31), i + 1));
            }
        }
        found
    }
}
