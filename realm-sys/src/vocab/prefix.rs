//! All tokens that a text begins with at some place, for the algorithms that choose among them.

use alloc::vec::Vec;

use super::tokens::Tokens;
use crate::error::{Result, try_vec};

/// Longer tokens are not looked for, which bounds the work per byte of text; real ones stay below
/// 400 bytes.
const MAX_BYTES: usize = 1024;

/// Tokens in the order of their bytes: a trie that needs four bytes a token.
pub(super) struct Prefixes {
    sorted: Vec<u32>,
    /// Per byte: where the tokens that begin with it start in `sorted`; one more for the end.
    first: Vec<u32>,
}

impl Prefixes {
    /// Collects the tokens for which `takes` holds. Of equal strings the lowest id counts.
    ///
    /// # Errors
    /// `NoMemory`.
    pub(super) fn build(tokens: &Tokens, takes: impl Fn(u32) -> bool) -> Result<Self> {
        let text = |id: u32| tokens.get(id).unwrap_or(&[]);
        let mut sorted = try_vec(tokens.len() as usize, "tokens")?;
        let wanted = |&id: &u32| takes(id) && (1..=MAX_BYTES).contains(&text(id).len());
        sorted.extend((0..tokens.len()).filter(wanted));
        sorted.sort_unstable_by(|&a, &b| text(a).cmp(text(b)).then(a.cmp(&b)));
        sorted.dedup_by(|later, earlier| text(*later) == text(*earlier));
        let mut first = try_vec(257, "first bytes")?;
        let mut at = 0;
        for byte in 0..=256u32 {
            let before = |&&id: &&u32| text(id).first().is_some_and(|&b| u32::from(b) < byte);
            at += sorted.iter().skip(at).take_while(before).count();
            first.push(at as u32);
        }
        Ok(Self { sorted, first })
    }

    /// The tokens that begin `text`, as (bytes, id), shorter ones first.
    pub(super) fn of<'a>(
        &'a self,
        tokens: &'a Tokens,
        text: &'a [u8],
    ) -> impl Iterator<Item = (usize, u32)> + 'a {
        let bound = |byte: usize| self.first.get(byte).map_or(0, |&at| at as usize);
        let byte = text.first().map(|&b| usize::from(b));
        let range = byte.map_or(0..0, |b| bound(b)..bound(b + 1));
        // Those that agree with the text in the first `depth` bytes, and have at least so many.
        let mut left = self.sorted.get(range).unwrap_or(&[]);
        let mut depth = 1;
        core::iter::from_fn(move || {
            while let Some(&shortest) = left.first() {
                let found = tokens.get(shortest).is_some_and(|t| t.len() == depth);
                let here = depth;
                if found {
                    left = left.get(1..).unwrap_or(&[]);
                }
                let next = text.get(depth).copied();
                let byte = |id: u32| tokens.get(id).and_then(|t| t.get(depth)).copied();
                let start = left.partition_point(|&id| byte(id) < next);
                let rest = left.get(start..).unwrap_or(&[]);
                let end = rest.partition_point(|&id| byte(id) == next);
                left = match next {
                    Some(_) => rest.get(..end).unwrap_or(&[]),
                    None => &[],
                };
                depth += 1;
                if found {
                    return Some((here, shortest));
                }
            }
            None
        })
    }

    /// The longest token that begins `text`.
    pub(super) fn longest(&self, tokens: &Tokens, text: &[u8]) -> Option<(usize, u32)> {
        self.of(tokens, text).last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn prefixes_come_from_short_to_long() {
        let list: &[&[u8]] = &[b"b", b"abc", b"", b"a", b"abd", b"ab", b"a", b"\xff\xff"];
        let tokens = Tokens::build(list).unwrap();
        let all = Prefixes::build(&tokens, |_| true).unwrap();
        let of = |text: &[u8]| all.of(&tokens, text).collect::<Vec<_>>();
        assert_eq!(of(b"abcd"), [(1, 3), (2, 5), (3, 1)]);
        assert_eq!(of(b"abe"), [(1, 3), (2, 5)]);
        assert_eq!(of(b"ab"), [(1, 3), (2, 5)]);
        assert_eq!(of(b"\xff\xff\xff"), [(2, 7)]);
        assert_eq!(of(b"\xff"), []);
        assert_eq!(of(b"c"), []);
        assert_eq!(of(b""), []);
        assert_eq!(all.longest(&tokens, b"abdabd"), Some((3, 4)));
        let some = Prefixes::build(&tokens, |id| id != 5).unwrap();
        assert_eq!(some.longest(&tokens, b"abx"), Some((1, 3)));
    }

    /// Against looking every prefix up.
    #[test]
    fn the_same_as_looking_up_every_prefix() {
        let mut seed = 7u32;
        let mut random = |n: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % n
        };
        let mut word = |most: u32| -> Vec<u8> {
            let len = random(most);
            (0..len).map(|_| b'a' + random(3) as u8).collect()
        };
        let list: Vec<Vec<u8>> = (0..400).map(|_| word(7)).collect();
        let slices: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
        let tokens = Tokens::build(&slices).unwrap();
        let all = Prefixes::build(&tokens, |_| true).unwrap();
        for _ in 0..1000 {
            let text = word(10);
            let want: Vec<_> = (1..=text.len())
                .filter_map(|n| Some((n, tokens.find(&text[..n])?)))
                .collect();
            assert_eq!(all.of(&tokens, &text).collect::<Vec<_>>(), want);
        }
    }
}
