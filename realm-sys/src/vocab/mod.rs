//! Vocabularies: text to token ids and back, built once per model and shared by its sessions.
//!
//! | file            | what it is |
//! |-----------------|------------|
//! | `parts`         | the metadata a vocabulary is built from |
//! | `tokens`        | token strings, and ids by string |
//! | `roles`         | BOS, EOS, end of generation: stated ids and well-known names |
//! | `special`       | finding control and user-defined tokens in a text |
//! | `spm`           | `llama`: SentencePiece BPE by score, with byte fallback |
//! | `bpe`           | `gpt2`: byte-level BPE by merge list; `gemma4`: by characters; with the feature `bpe`, for Unicode's categories |
//! | `pretokenize`   | cutting a text into words for `bpe` |
//! | `merge`         | the joining loop of both |
//! | `wpm`           | `bert`: WordPiece; with the feature `wpm`, for it needs Unicode's decompositions |
//! | `ugm`           | `t5`: Unigram; with the feature `ugm` |
//! | `rwkv`          | `rwkv`: the longest token first; with the feature `ugm` |
//! | `prefix`        | the tokens that a text begins with, for these three |
//! | `detok`         | streaming detokenizer |
//!
//! A further algorithm is one more file and one more arm of `Algorithm`.
//!
//! For `llama` and `gpt2` a file states no normalizer: texts are tokenized as they are, without NFC or
//! NFKC.

#[cfg(feature = "bpe")]
mod bpe;
mod detok;
mod merge;
mod parts;
#[cfg(any(feature = "ugm", feature = "wpm"))]
mod prefix;
#[cfg(feature = "bpe")]
mod pretokenize;
mod roles;
#[cfg(feature = "ugm")]
mod rwkv;
mod special;
mod spm;
mod tokens;
#[cfg(feature = "ugm")]
mod ugm;
#[cfg(any(feature = "bpe", feature = "wpm"))]
mod unicode;
mod utf8;
#[cfg(feature = "wpm")]
mod wpm;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub use detok::Detokenizer;

use crate::error::Result;
#[cfg(feature = "ugm")]
use crate::error::try_vec;
use crate::gguf::Metadata;
use crate::{bail, err};
#[cfg(feature = "bpe")]
use bpe::Bpe;
use parts::{Ids, Parts};
#[cfg(feature = "bpe")]
use pretokenize::Pre;
use roles::{Defaults, Roles};
#[cfg(feature = "ugm")]
use rwkv::Rwkv;
use special::Specials;
use spm::Spm;
use tokens::Tokens;
#[cfg(feature = "ugm")]
use ugm::Ugm;
#[cfg(feature = "wpm")]
use wpm::Wpm;

/// The algorithms, for messages.
const KNOWN: &str = "llama, gpt2, gemma4, t5, rwkv, bert";

/// The feature that brings an algorithm, if this build goes without it.
fn left_out(model: &str) -> Option<&'static str> {
    match model {
        "gpt2" | "gemma4" if cfg!(not(feature = "bpe")) => Some("bpe"),
        "t5" | "rwkv" if cfg!(not(feature = "ugm")) => Some("ugm"),
        "bert" if cfg!(not(feature = "wpm")) => Some("wpm"),
        _ => None,
    }
}

/// Longer texts are refused, so that positions fit 32 bits with room to spare.
const MAX_TEXT_BYTES: usize = 1 << 28;

/// What a token is, as the file says; see [`Vocab::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Stands for what the vocabulary lacks.
    Unknown,
    /// Structure (BOS, end of turn, …): only made from text when special tokens are parsed, only
    /// shown when asked for.
    Control,
    /// Added text: always recognised as a whole, always shown.
    UserDefined,
    /// Not in use: never shown.
    Unused,
    /// One byte, written `<0xXX>`.
    Byte,
}

impl TokenKind {
    /// From the number in `tokenizer.ggml.token_type`; undefined ones count as unused.
    fn from_number(n: i32) -> Self {
        match n {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            6 => Self::Byte,
            _ => Self::Unused,
        }
    }
}

/// A model's vocabulary; immutable, and independent of the bytes it was built from.
pub struct Vocab {
    tokens: Tokens,
    kinds: Vec<TokenKind>,
    roles: Roles,
    specials: Specials,
    algorithm: Algorithm,
    add_space_prefix: bool,
    /// White space after a control token is swallowed (Phi-3).
    strip_after_special: bool,
}

enum Algorithm {
    Spm(Spm),
    #[cfg(feature = "bpe")]
    Bpe(Bpe),
    #[cfg(feature = "ugm")]
    Ugm(Ugm),
    #[cfg(feature = "ugm")]
    Rwkv(Rwkv),
    #[cfg(feature = "wpm")]
    Wpm(Wpm),
}

impl Vocab {
    /// Builds the tables from a model file's metadata.
    ///
    /// Tolerated, because files with it exist: token ids outside the vocabulary (dropped),
    /// repeated tokens (the first is found), empty tokens (never found), merges of missing tokens
    /// (dropped), scores and types beyond the last token (ignored), no token types (all normal).
    ///
    /// # Errors
    /// `Unsupported`, by name, for an unknown `tokenizer.ggml.model` or `tokenizer.ggml.pre`;
    /// `Format` for missing or inconsistent arrays and scores that are no numbers; `NoMemory`.
    pub fn build(meta: Metadata<'_>) -> Result<Self> {
        Self::from_parts(Parts::read(meta)?)
    }

    fn from_parts(mut parts: Parts<'_>) -> Result<Self> {
        let mut kinds = core::mem::take(&mut parts.kinds);
        let tokens = match parts.model {
            #[cfg(feature = "ugm")]
            "rwkv" => unescaped(&parts.tokens)?,
            _ => Tokens::build(&parts.tokens)?,
        };
        let mut settle = |defaults| Roles::settle(&tokens, &mut kinds, &parts, defaults);
        let (algorithm, roles) = match parts.model {
            "llama" => {
                let roles = settle(Defaults {
                    ids: Ids {
                        bos: Some(1),
                        eos: Some(2),
                        unknown: Some(0),
                        ..Ids::default()
                    },
                    add_bos: true,
                    ..Defaults::default()
                })?;
                let spm = Spm::build(&tokens, &kinds, &parts.scores, roles.ids.unknown)?;
                (Algorithm::Spm(spm), roles)
            }
            #[cfg(feature = "bpe")]
            model @ ("gpt2" | "gemma4") => {
                let pre = Pre::by_name(if model == "gpt2" { parts.pre } else { model })?;
                let roles = settle(Defaults {
                    add_bos: pre.add_bos,
                    ..Defaults::default()
                })?;
                let bpe = Bpe::build(&tokens, &parts.merges, &pre)?;
                (Algorithm::Bpe(bpe), roles)
            }
            #[cfg(feature = "ugm")]
            "t5" => {
                let roles = settle(Defaults {
                    ids: Ids {
                        eos: Some(1),
                        unknown: Some(2),
                        padding: Some(0),
                        ..Ids::default()
                    },
                    add_eos: true,
                    ..Defaults::default()
                })?;
                let (map, merge) = (parts.chars_map, parts.merge_spaces.unwrap_or(false));
                let unknown = roles.ids.unknown;
                let ugm = Ugm::build(&tokens, &kinds, &parts.scores, map, merge, unknown)?;
                (Algorithm::Ugm(ugm), roles)
            }
            #[cfg(feature = "ugm")]
            "rwkv" => {
                let roles = settle(Defaults::default())?;
                (
                    Algorithm::Rwkv(Rwkv::build(&tokens, roles.ids.unknown)?),
                    roles,
                )
            }
            #[cfg(feature = "wpm")]
            "bert" => {
                let mut roles = settle(Defaults {
                    ids: Ids {
                        bos: Some(101),
                        unknown: Some(100),
                        separator: Some(102),
                        padding: Some(0),
                        mask: Some(103),
                        ..Ids::default()
                    },
                    ..Defaults::default()
                })?;
                // Whatever the file says: these models see all texts between the two.
                roles.add_bos = true;
                roles.add_eos = true;
                roles.ids.eos = roles.ids.separator;
                let lowercase = parts.lowercase.unwrap_or(true);
                let normalizer = wpm::Normalizer {
                    lowercase,
                    strip_accents: parts.strip_accents.unwrap_or(lowercase),
                };
                let wpm = Wpm::build(&tokens, normalizer, roles.ids.unknown)?;
                (Algorithm::Wpm(wpm), roles)
            }
            other => match left_out(other) {
                Some(feature) => bail!(
                    Unsupported,
                    "tokenizer model '{other}' is not part of this build of the library (its feature {feature})"
                ),
                None => bail!(
                    Unsupported,
                    "tokenizer model '{other}' is not supported (known: {KNOWN})"
                ),
            },
        };
        let is_phi3 = ["phi-3", "phi3"].iter().any(|phi| {
            let mut windows = parts.name.as_bytes().windows(phi.len());
            windows.any(|w| w.eq_ignore_ascii_case(phi.as_bytes()))
        });
        let add_space_prefix = match algorithm {
            Algorithm::Spm(_) => parts.add_space_prefix.unwrap_or(true),
            #[cfg(feature = "ugm")]
            Algorithm::Ugm(_) => parts.add_space_prefix.unwrap_or(false),
            #[cfg(feature = "bpe")]
            Algorithm::Bpe(_) => false,
            #[cfg(feature = "ugm")]
            Algorithm::Rwkv(_) => false,
            // The mark of the first word.
            #[cfg(feature = "wpm")]
            Algorithm::Wpm(_) => true,
        };
        Ok(Self {
            specials: Specials::build(&tokens, &kinds)?,
            add_space_prefix,
            strip_after_special: is_phi3,
            tokens,
            kinds,
            roles,
            algorithm,
        })
    }

    /// How many tokens there are; ids are below it.
    #[allow(clippy::len_without_is_empty, reason = "a vocabulary is never empty")]
    pub fn len(&self) -> u32 {
        self.tokens.len()
    }

    /// A token's string as the file stores it (RWKV's without their escapes); see [`Vocab::piece`] for the text it stands for.
    pub fn token_bytes_raw(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(id)
    }

    /// What a token is. Well-known control tokens that a file wrongly declares as text are
    /// corrected.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    /// The token with exactly this stored string; the lowest id if several have it.
    pub fn find(&self, bytes: &[u8]) -> Option<u32> {
        self.tokens.find(bytes)
    }

    /// Appends the ids of `text` to `out`; on error `out` is as before.
    ///
    /// With `add_special`, BOS and EOS are added where the vocabulary wants them. With
    /// `parse_special`, control tokens written out in the text become their ids; without, they are
    /// ordinary text. User-defined tokens are recognised either way.
    ///
    /// Any bytes are accepted. Those that are not UTF-8 become the tokens of the single bytes.
    ///
    /// # Errors
    /// `Limit` for texts over 256 MiB; `NoMemory`.
    pub fn tokenize(
        &self,
        text: &[u8],
        add_special: bool,
        parse_special: bool,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        let before = out.len();
        let prefix = self.add_space_prefix;
        let result = self.tokenize_parts(text, prefix, add_special, parse_special, out);
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    /// The same for a text that goes on where another has ended: nothing is put before it.
    ///
    /// # Errors
    /// As for [`tokenize`](Self::tokenize).
    pub fn tokenize_on(&self, text: &[u8], parse_special: bool, out: &mut Vec<u32>) -> Result<()> {
        let before = out.len();
        let result = self.tokenize_parts(text, false, false, parse_special, out);
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    fn tokenize_parts(
        &self,
        text: &[u8],
        mut prefix: bool,
        add_special: bool,
        parse_special: bool,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        if text.len() > MAX_TEXT_BYTES {
            bail!(
                Limit,
                "a text of {} bytes; the limit is {MAX_TEXT_BYTES}",
                text.len()
            );
        }
        if add_special
            && self.roles.add_bos
            && let Some(bos) = self.roles.ids.bos
        {
            push(out, bos)?;
        }
        let mut at = 0;
        while at < text.len() {
            let found = self.specials.find(text, at, parse_special);
            let end = found.map_or(text.len(), |m| m.start);
            if let Some(plain) = text.get(at..end)
                && !plain.is_empty()
            {
                match &self.algorithm {
                    Algorithm::Spm(spm) => spm.tokenize(&self.tokens, plain, prefix, out)?,
                    #[cfg(feature = "bpe")]
                    Algorithm::Bpe(bpe) => bpe.tokenize(&self.tokens, &self.kinds, plain, out)?,
                    #[cfg(feature = "ugm")]
                    Algorithm::Ugm(ugm) => ugm.tokenize(&self.tokens, plain, prefix, out)?,
                    #[cfg(feature = "ugm")]
                    Algorithm::Rwkv(rwkv) => rwkv.tokenize(&self.tokens, plain, out)?,
                    #[cfg(feature = "wpm")]
                    Algorithm::Wpm(wpm) => wpm.tokenize(&self.tokens, plain, out)?,
                }
            }
            let Some(found) = found else {
                break;
            };
            push(out, found.id)?;
            prefix = self.add_space_prefix;
            at = found.end;
            if self.strips_after(found.id) {
                let rest = text.get(at..).unwrap_or(&[]);
                let blank = |b: &&u8| matches!(b, b' ' | b'\t'..=b'\r');
                at += rest.iter().take_while(blank).count();
            }
        }
        if add_special
            && self.roles.add_eos
            && let Some(eos) = self.roles.ids.eos
        {
            push(out, eos)?;
        }
        Ok(())
    }

    fn strips_after(&self, id: u32) -> bool {
        self.strip_after_special
            && !matches!(
                self.tokens.get(id),
                Some(b"<unk>" | b"<s>" | b"<|endoftext|>")
            )
    }

    /// Appends the bytes that a token stands for, which need not be valid UTF-8.
    ///
    /// Control and unknown tokens yield their stored string with `special` and nothing without;
    /// user-defined tokens yield their stored string; unused tokens yield nothing.
    ///
    /// # Errors
    /// `NotFound` for an id outside the vocabulary; `NoMemory`.
    pub fn piece(&self, id: u32, special: bool, out: &mut Vec<u8>) -> Result<()> {
        let (Some(text), Some(kind)) = (self.tokens.get(id), self.kind(id)) else {
            bail!(
                NotFound,
                "token {id} is not in the vocabulary of {}",
                self.len()
            );
        };
        match kind {
            TokenKind::Control | TokenKind::Unknown if !special => return Ok(()),
            TokenKind::Unused => return Ok(()),
            _ => {}
        }
        out.try_reserve(text.len())
            .map_err(|_| err!(NoMemory, "no memory for a token's text"))?;
        match kind {
            TokenKind::Normal => match &self.algorithm {
                #[cfg(feature = "bpe")]
                Algorithm::Bpe(bpe) if !bpe.spaces_marked() => bpe::decode_token(text, out)?,
                #[cfg(feature = "ugm")]
                Algorithm::Rwkv(_) => out.extend_from_slice(text),
                _ => unescape_spaces(text, out),
            },
            TokenKind::Byte => match byte_of(text) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(text),
            },
            _ => out.extend_from_slice(text),
        }
        Ok(())
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.roles.ids.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.roles.ids.eos
    }

    /// The token that ends a turn of a conversation.
    pub fn eot(&self) -> Option<u32> {
        self.roles.ids.eot
    }

    /// The token that ends a message to which a tool replies.
    pub fn eom(&self) -> Option<u32> {
        self.roles.ids.eom
    }

    /// The token for what the vocabulary lacks.
    pub fn unk(&self) -> Option<u32> {
        self.roles.ids.unknown
    }

    /// The separator token.
    pub fn sep(&self) -> Option<u32> {
        self.roles.ids.separator
    }

    /// The padding token.
    pub fn pad(&self) -> Option<u32> {
        self.roles.ids.padding
    }

    /// The mask token.
    pub fn mask(&self) -> Option<u32> {
        self.roles.ids.mask
    }

    /// Whether a token ends generation: EOS, end of turn, end of message, and the well-known names.
    pub fn is_eog(&self, id: u32) -> bool {
        self.roles.ends.binary_search(&id).is_ok()
    }

    /// All tokens that end generation, ascending.
    pub fn eog(&self) -> &[u32] {
        &self.roles.ends
    }

    /// Whether a text begins with the BOS token when special tokens are added.
    pub fn add_bos(&self) -> bool {
        self.roles.add_bos
    }

    /// Whether a text ends with the EOS token when special tokens are added.
    pub fn add_eos(&self) -> bool {
        self.roles.add_eos
    }

    /// Whether a space is put before a text, and taken off again by [`Detokenizer`].
    pub fn add_space_prefix(&self) -> bool {
        self.add_space_prefix
    }
}

/// RWKV's tokens, whose strings files write with escapes.
#[cfg(feature = "ugm")]
fn unescaped(list: &[&[u8]]) -> Result<Tokens> {
    let mut strings: Vec<Vec<u8>> = try_vec(list.len(), "tokens")?;
    for text in list {
        strings.push(rwkv::unescape(text)?);
    }
    let mut slices: Vec<&[u8]> = try_vec(list.len(), "tokens")?;
    slices.extend(strings.iter().map(Vec::as_slice));
    Tokens::build(&slices)
}

/// Appends one item, or fails with `NoMemory`.
fn push<T>(list: &mut Vec<T>, item: T) -> Result<()> {
    if list.len() == list.capacity() {
        list.try_reserve(1)
            .map_err(|_| err!(NoMemory, "no memory for {} tokens", list.len()))?;
    }
    list.push(item);
    Ok(())
}

/// The byte that `<0xXX>` stands for.
fn byte_of(text: &[u8]) -> Option<u8> {
    let hex = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let &[high, low] = hex else {
        return None;
    };
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Appends a piece with U+2581 turned into spaces; there must be room for it.
fn unescape_spaces(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some((&byte, rest)) = text.split_first() {
        match text.strip_prefix(spm::SPACE) {
            Some(rest) => {
                out.push(b' ');
                text = rest;
            }
            None => {
                out.push(byte);
                text = rest;
            }
        }
    }
}
