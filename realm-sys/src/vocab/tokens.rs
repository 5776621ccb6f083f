//! The token strings: one arena, offsets, and a hash index from bytes to id.
//!
//! The strings are copied out of the file (about 1.5 MB for 150,000 tokens), so that a vocabulary
//! does not hold on to the model's bytes.

use alloc::vec::Vec;
use core::hash::BuildHasher;
use hashbrown::HashTable;

use crate::error::{Result, try_vec};
use crate::hash::State;
use crate::{bail, err};

/// Strings by id and ids by string.
pub(super) struct Tokens {
    bytes: Vec<u8>,
    /// Where token `i` ends; it starts where the one before it ends.
    ends: Vec<u32>,
    index: HashTable<u32>,
    hasher: State,
    longest: usize,
}

impl Tokens {
    /// Copies the strings and indexes them.
    ///
    /// Of equal strings the lowest id is found by [`Tokens::find`]; the others can still be turned
    /// into text. Empty strings are kept and never found.
    pub(super) fn build(list: &[&[u8]]) -> Result<Self> {
        let total: u64 = list.iter().map(|t| t.len() as u64).sum();
        if total > u64::from(u32::MAX) || list.len() >= u32::MAX as usize {
            bail!(Limit, "the vocabulary's strings exceed 4 GiB");
        }
        let mut tokens = Self {
            bytes: try_vec(total as usize, "bytes of token text")?,
            ends: try_vec(list.len(), "tokens")?,
            index: HashTable::new(),
            hasher: State::default(),
            longest: 0,
        };
        let hasher = tokens.hasher.clone();
        tokens
            .index
            .try_reserve(list.len(), |_| 0)
            .map_err(|_| err!(NoMemory, "no memory for {} tokens", list.len()))?;
        for (id, text) in (0u32..).zip(list) {
            tokens.bytes.extend_from_slice(text);
            tokens.ends.push(tokens.bytes.len() as u32);
            if text.is_empty() || tokens.find(text).is_some() {
                continue;
            }
            tokens.longest = tokens.longest.max(text.len());
            // Room was reserved, so the rehash closure is never called.
            tokens
                .index
                .insert_unique(hasher.hash_one(*text), id, |_| 0);
        }
        Ok(tokens)
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    /// The longest string that can be found, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The string of a token, as stored in the file.
    pub(super) fn get(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)? as usize;
        let start = match id.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.bytes.get(start..end)
    }

    /// The token with exactly this string.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        self.index
            .find(self.hasher.hash_one(text), |&id| self.get(id) == Some(text))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_strings_wins() {
        let t = Tokens::build(&[b"a", b"", b"bc", b"a", b"\xff"]).unwrap();
        assert_eq!(t.len(), 5);
        assert_eq!(t.find(b"a"), Some(0));
        assert_eq!(t.find(b"bc"), Some(2));
        assert_eq!(t.find(b"\xff"), Some(4));
        assert_eq!(t.find(b""), None);
        assert_eq!(t.get(1), Some(&b""[..]));
        assert_eq!(t.get(3), Some(&b"a"[..]));
        assert_eq!(t.get(5), None);
        assert_eq!(t.longest(), 2);
    }
}
