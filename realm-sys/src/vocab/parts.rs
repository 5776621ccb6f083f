//! What a vocabulary is built from, gathered from a model file's metadata and checked for
//! consistency.

use alloc::vec::Vec;

use super::TokenKind;
use crate::bail;
use crate::error::{Result, try_vec};
use crate::gguf::Metadata;

/// The tokenizer's part of the metadata, still borrowing the file's strings.
#[derive(Default)]
#[cfg_attr(
    not(all(feature = "bpe", feature = "ugm")),
    allow(dead_code, reason = "read by those that are left out")
)]
pub(super) struct Parts<'a> {
    /// `tokenizer.ggml.model`
    pub(super) model: &'a str,
    /// `tokenizer.ggml.pre`, empty if absent
    pub(super) pre: &'a str,
    /// `general.name`, empty if absent
    pub(super) name: &'a str,
    pub(super) tokens: Vec<&'a [u8]>,
    /// Empty, or at least as many as tokens.
    pub(super) scores: Vec<f32>,
    /// As many as tokens.
    pub(super) kinds: Vec<TokenKind>,
    pub(super) merges: Vec<&'a [u8]>,
    pub(super) ids: Ids,
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
    pub(super) add_space_prefix: Option<bool>,
    #[cfg(feature = "wpm")]
    pub(super) lowercase: Option<bool>,
    #[cfg(feature = "wpm")]
    pub(super) strip_accents: Option<bool>,
    pub(super) merge_spaces: Option<bool>,
    /// `tokenizer.ggml.precompiled_charsmap`, empty if absent
    pub(super) chars_map: &'a [u8],
}

/// Token ids that the file states; those outside the vocabulary are dropped.
#[derive(Clone, Copy, Default)]
pub(super) struct Ids {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) eot: Option<u32>,
    pub(super) eom: Option<u32>,
    pub(super) unknown: Option<u32>,
    pub(super) separator: Option<u32>,
    pub(super) padding: Option<u32>,
    pub(super) mask: Option<u32>,
    pub(super) fim_pad: Option<u32>,
    pub(super) fim_repo: Option<u32>,
    pub(super) fim_file: Option<u32>,
}

impl<'a> Parts<'a> {
    /// Reads the metadata.
    ///
    /// # Errors
    /// `Format` if the token list is missing or empty, an array has the wrong type, or scores or
    /// types are fewer than tokens.
    pub(super) fn read(meta: Metadata<'a>) -> Result<Self> {
        let Some(model) = meta.str("tokenizer.ggml.model") else {
            bail!(Format, "the file has no tokenizer.ggml.model");
        };
        let tokens = strings(meta, "tokenizer.ggml.tokens")?;
        if tokens.is_empty() {
            bail!(Format, "the file has no tokenizer.ggml.tokens");
        }
        let count = tokens.len();
        let id = |key: &str| {
            let id = meta.u32(key)?;
            ((id as usize) < count).then_some(id)
        };
        let ids = Ids {
            bos: id("tokenizer.ggml.bos_token_id"),
            eos: id("tokenizer.ggml.eos_token_id"),
            eot: id("tokenizer.ggml.eot_token_id"),
            eom: id("tokenizer.ggml.eom_token_id"),
            unknown: id("tokenizer.ggml.unknown_token_id"),
            // The key is misspelt in the format.
            separator: id("tokenizer.ggml.seperator_token_id"),
            padding: id("tokenizer.ggml.padding_token_id"),
            mask: id("tokenizer.ggml.mask_token_id"),
            fim_pad: id("tokenizer.ggml.fim_pad_token_id"),
            fim_repo: id("tokenizer.ggml.fim_rep_token_id"),
            fim_file: id("tokenizer.ggml.fim_sep_token_id"),
        };
        Ok(Self {
            model,
            pre: meta.str("tokenizer.ggml.pre").unwrap_or(""),
            name: meta.str("general.name").unwrap_or(""),
            scores: scores(meta, count)?,
            kinds: kinds(meta, count)?,
            tokens,
            merges: strings(meta, "tokenizer.ggml.merges")?,
            ids,
            add_bos: meta.bool("tokenizer.ggml.add_bos_token"),
            add_eos: meta.bool("tokenizer.ggml.add_eos_token"),
            add_space_prefix: meta.bool("tokenizer.ggml.add_space_prefix"),
            #[cfg(feature = "wpm")]
            lowercase: meta.bool("tokenizer.ggml.normalizer.lowercase"),
            #[cfg(feature = "wpm")]
            strip_accents: meta.bool("tokenizer.ggml.normalizer.strip_accents"),
            merge_spaces: meta.bool("tokenizer.ggml.remove_extra_whitespaces"),
            chars_map: bytes(meta, "tokenizer.ggml.precompiled_charsmap")?,
        })
    }
}

/// An array of strings; empty if absent.
fn strings<'a>(meta: Metadata<'a>, key: &str) -> Result<Vec<&'a [u8]>> {
    if meta.get(key).is_none() {
        return Ok(Vec::new());
    }
    let Some(array) = meta.array(key) else {
        bail!(Format, "{key} is not an array");
    };
    let Some(items) = array.strings() else {
        bail!(Format, "{key} is not an array of strings");
    };
    let mut list = try_vec(array.len(), "strings")?;
    list.extend(items);
    Ok(list)
}

/// An array of bytes; empty if absent.
fn bytes<'a>(meta: Metadata<'a>, key: &str) -> Result<&'a [u8]> {
    if meta.get(key).is_none() {
        return Ok(&[]);
    }
    match meta.array(key).and_then(|a| a.bytes()) {
        Some(bytes) => Ok(bytes),
        None => bail!(Format, "{key} is not an array of bytes"),
    }
}

fn scores(meta: Metadata<'_>, count: usize) -> Result<Vec<f32>> {
    const KEY: &str = "tokenizer.ggml.scores";
    if meta.get(KEY).is_none() {
        return Ok(Vec::new());
    }
    let Some(array) = meta.array(KEY) else {
        bail!(Format, "{KEY} is not an array");
    };
    if array.len() < count {
        bail!(Format, "{} scores for {count} tokens", array.len());
    }
    let mut list = try_vec(count, "scores")?;
    if let Some(floats) = array.f32s() {
        list.extend(floats.take(count));
    } else if let Some(integers) = array.i32s() {
        list.extend(integers.take(count).map(|s| s as f32));
    } else {
        bail!(Format, "{KEY} is not an array of numbers");
    }
    Ok(list)
}

fn kinds(meta: Metadata<'_>, count: usize) -> Result<Vec<TokenKind>> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let mut list = try_vec(count, "token types")?;
    if meta.get(KEY).is_none() {
        list.resize(count, TokenKind::Normal);
        return Ok(list);
    }
    let Some(types) = meta.array(KEY).and_then(|a| a.i32s()) else {
        bail!(Format, "{KEY} is not an array of 32-bit integers");
    };
    if types.len() < count {
        bail!(Format, "{} token types for {count} tokens", types.len());
    }
    list.extend(types.take(count).map(TokenKind::from_number));
    Ok(list)
}
