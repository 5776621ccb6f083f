//! Finding control and user-defined tokens in a text before it is tokenized.
//!
//! The leftmost match is taken, and of those the longest, as SentencePiece and Hugging Face's
//! tokenizers do. A trie over the strings keeps it linear in the text.

use crate::hash::HashMap;
use alloc::vec::Vec;

use super::TokenKind;
use super::tokens::Tokens;
use crate::err;
use crate::error::{Error, Result, try_vec};

/// Longer strings are not looked for, which bounds the work per byte of text.
const MAX_BYTES: usize = 256;

/// A token found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// First byte.
    pub(super) start: usize,
    /// One past the last byte.
    pub(super) end: usize,
    /// The token.
    pub(super) id: u32,
}

/// The trie; node 0 is the root.
pub(super) struct Specials {
    edges: HashMap<(u32, u8), u32>,
    /// Per node: the token that ends here.
    ends: Vec<Option<End>>,
    /// Whether any string begins with the byte.
    first: [bool; 256],
}

#[derive(Clone, Copy)]
struct End {
    id: u32,
    user_defined: bool,
}

fn no_memory() -> Error {
    err!(NoMemory, "no memory for special tokens")
}

impl Specials {
    /// Collects the control, unknown and user-defined tokens.
    pub(super) fn build(tokens: &Tokens, kinds: &[TokenKind]) -> Result<Self> {
        let mut trie = Self {
            edges: HashMap::default(),
            ends: try_vec(1, "special tokens")?,
            first: [false; 256],
        };
        trie.ends.push(None);
        for (id, kind) in (0..tokens.len()).zip(kinds) {
            let user_defined = match kind {
                TokenKind::UserDefined => true,
                TokenKind::Control | TokenKind::Unknown => false,
                _ => continue,
            };
            let text = tokens.get(id).unwrap_or(&[]);
            let Some(&first) = text.first() else {
                continue;
            };
            if text.len() > MAX_BYTES {
                continue;
            }
            if let Some(slot) = trie.first.get_mut(usize::from(first)) {
                *slot = true;
            }
            let mut node = 0;
            for &byte in text {
                node = trie.child(node, byte)?;
            }
            if let Some(end) = trie.ends.get_mut(node as usize)
                && end.is_none()
            {
                *end = Some(End { id, user_defined });
            }
        }
        Ok(trie)
    }

    fn child(&mut self, node: u32, byte: u8) -> Result<u32> {
        if let Some(&child) = self.edges.get(&(node, byte)) {
            return Ok(child);
        }
        self.edges.try_reserve(1).map_err(|_| no_memory())?;
        self.ends.try_reserve(1).map_err(|_| no_memory())?;
        let child = self.ends.len() as u32;
        self.edges.insert((node, byte), child);
        self.ends.push(None);
        Ok(child)
    }

    /// The first token in `text` at or after byte `from`. User-defined ones are always looked for,
    /// control and unknown ones only with `all`.
    pub(super) fn find(&self, text: &[u8], from: usize, all: bool) -> Option<Match> {
        let candidates = text.iter().enumerate().skip(from);
        for (start, &byte) in candidates {
            if !self.first.get(usize::from(byte)).is_some_and(|&f| f) {
                continue;
            }
            let mut node = 0;
            let mut found = None;
            for (at, &byte) in text.iter().enumerate().skip(start) {
                let Some(&child) = self.edges.get(&(node, byte)) else {
                    break;
                };
                node = child;
                if let Some(Some(end)) = self.ends.get(node as usize)
                    && (all || end.user_defined)
                {
                    found = Some(Match {
                        start,
                        end: at + 1,
                        id: end.id,
                    });
                }
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftmost_then_longest() {
        let list: [&[u8]; 5] = [b"ab", b"abcd", b"bcdefg", b"<s>", b"x"];
        let tokens = Tokens::build(&list).unwrap();
        let kinds = [
            TokenKind::UserDefined,
            TokenKind::UserDefined,
            TokenKind::UserDefined,
            TokenKind::Control,
            TokenKind::Normal,
        ];
        let s = Specials::build(&tokens, &kinds).unwrap();
        let found = |text: &str, from, all| s.find(text.as_bytes(), from, all);
        let m = |start, end, id| Some(Match { start, end, id });
        assert_eq!(found("abcdefg", 0, false), m(0, 4, 1));
        assert_eq!(found("abce", 0, false), m(0, 2, 0));
        assert_eq!(found("abce", 1, false), None);
        assert_eq!(found("x<s>ab", 0, false), m(4, 6, 0));
        assert_eq!(found("x<s>ab", 0, true), m(1, 4, 3));
        assert_eq!(found("<s", 0, true), None);
        assert_eq!(found("", 0, true), None);
        assert_eq!(found("ab", 9, true), None);
    }
}
