//! WordPiece (`tokenizer.ggml.model = "bert"`): the text is normalized and cut into words, and each
//! word is covered from the left by the longest token that fits.
//!
//! Converted vocabularies mark the beginning of a word with U+2581 instead of its continuation with
//! `##`. Normalizing follows BERT's `BasicTokenizer`
//! (<https://github.com/google-research/bert/blob/master/tokenization.py>): control characters
//! are dropped, ideographs and punctuation are words of their own, accents are stripped (what is
//! left of the canonical decomposition without its nonspacing marks), letters are made small. It
//! loses what the model was not to see: the text does not come back as it was.

use alloc::vec::Vec;
use unicode_normalization::char::decompose_canonical;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::prefix::Prefixes;
use super::spm::SPACE;
use super::tokens::Tokens;
use super::unicode::{Class, class};
use super::utf8::decode;
use crate::bail;
use crate::error::{Result, try_vec};

/// What is done to the text first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normalizer {
    /// `tokenizer.ggml.normalizer.lowercase`, true if absent
    pub(super) lowercase: bool,
    /// `tokenizer.ggml.normalizer.strip_accents`, like `lowercase` if absent
    pub(super) strip_accents: bool,
}

/// A WordPiece vocabulary.
pub(super) struct Wpm {
    pieces: Prefixes,
    normalizer: Normalizer,
    unknown: u32,
}

impl Wpm {
    /// # Errors
    /// `Format` without an unknown token, which stands for words that no tokens cover; `NoMemory`.
    pub(super) fn build(
        tokens: &Tokens,
        normalizer: Normalizer,
        unknown: Option<u32>,
    ) -> Result<Self> {
        let Some(unknown) = unknown else {
            bail!(Format, "the vocabulary has no unknown token");
        };
        Ok(Self {
            pieces: Prefixes::build(tokens, |_| true)?,
            normalizer,
            unknown,
        })
    }

    /// Appends the ids of `text`. Bytes that are not UTF-8 are dropped.
    pub(super) fn tokenize(&self, tokens: &Tokens, text: &[u8], out: &mut Vec<u32>) -> Result<()> {
        let mut words = Words {
            wpm: self,
            tokens,
            word: try_vec(SPACE.len(), "a word")?,
            out,
        };
        words.word.extend_from_slice(SPACE);
        let mut at = 0;
        while let Some((c, len)) = decode(text, at) {
            at += len;
            if !self.normalizer.strip_accents || c.is_ascii() {
                words.push(c)?;
                continue;
            }
            let mut result = Ok(());
            decompose_canonical(c, |part| {
                let mark = part.general_category() == GeneralCategory::NonspacingMark;
                if result.is_ok() && !mark {
                    result = words.push(part);
                }
            });
            result?;
        }
        words.finish()
    }
}

/// Collects the characters of a word.
struct Words<'a> {
    wpm: &'a Wpm,
    tokens: &'a Tokens,
    /// The word so far, behind the mark of its beginning.
    word: Vec<u8>,
    out: &'a mut Vec<u32>,
}

impl Words<'_> {
    fn push(&mut self, c: char) -> Result<()> {
        let class = class(c);
        // Of the control characters that are white space, these three count as such.
        let dropped = c.is_control() && !matches!(c, '\t' | '\n' | '\r');
        // What is not assigned yet is an unknown word, as it is to the package `tokenizers`.
        let other = class == Class::Other && c.general_category() != GeneralCategory::Unassigned;
        if dropped || other || c == char::REPLACEMENT_CHARACTER {
            return Ok(());
        }
        if class == Class::Space {
            return self.finish();
        }
        let alone = class == Class::Punctuation || c.is_ascii_punctuation() || is_ideograph(c);
        if alone {
            self.finish()?;
        }
        if self.wpm.normalizer.lowercase {
            for c in c.to_lowercase() {
                self.append(c)?;
            }
        } else {
            self.append(c)?;
        }
        if alone { self.finish() } else { Ok(()) }
    }

    fn append(&mut self, c: char) -> Result<()> {
        let mut utf8 = [0; 4];
        for &byte in c.encode_utf8(&mut utf8).as_bytes() {
            super::push(&mut self.word, byte)?;
        }
        Ok(())
    }

    /// Appends the ids of the word, if there is one, and begins the next.
    fn finish(&mut self) -> Result<()> {
        if self.word.len() == SPACE.len() {
            return Ok(());
        }
        let before = self.out.len();
        let mut at = 0;
        while at < self.word.len() {
            let rest = self.word.get(at..).unwrap_or(&[]);
            let Some((len, id)) = self.wpm.pieces.longest(self.tokens, rest) else {
                // A word that is not covered to its end is unknown as a whole.
                self.out.truncate(before);
                super::push(self.out, self.wpm.unknown)?;
                break;
            };
            super::push(self.out, id)?;
            at += len;
        }
        self.word.truncate(SPACE.len());
        Ok(())
    }
}

/// Characters that are words of their own. BERT's list has U+2B820 where Hugging Face's fast
/// tokenizer, which vocabularies are used with, has U+2B920.
fn is_ideograph(c: char) -> bool {
    matches!(
        c,
        '\u{4e00}'..='\u{9fff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{20000}'..='\u{2a6df}'
            | '\u{2a700}'..='\u{2b73f}'
            | '\u{2b740}'..='\u{2b81f}'
            | '\u{2b920}'..='\u{2ceaf}'
            | '\u{f900}'..='\u{faff}'
            | '\u{2f800}'..='\u{2fa1f}'
    )
}
