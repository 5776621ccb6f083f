//! RWKV's vocabulary (`tokenizer.ggml.model = "rwkv"`): from the left, always the longest token
//! that the text begins with.
//!
//! Its tokens are byte strings. Files write them with escapes, `\n`, `\t`, `\r`, `\xHH` and a
//! backslash before any other character; that is undone once, when the vocabulary is built.

use alloc::vec::Vec;

use super::prefix::Prefixes;
use super::tokens::Tokens;
use crate::error::{Result, try_vec};

/// The tokens by their beginning.
pub(super) struct Rwkv {
    pieces: Prefixes,
    unknown: Option<u32>,
}

impl Rwkv {
    pub(super) fn build(tokens: &Tokens, unknown: Option<u32>) -> Result<Self> {
        Ok(Self {
            pieces: Prefixes::build(tokens, |_| true)?,
            unknown,
        })
    }

    /// Appends the ids of `text`. A byte that begins no token becomes the unknown token, or is dropped
    /// if there is none; every vocabulary seen has all 256 bytes.
    pub(super) fn tokenize(&self, tokens: &Tokens, text: &[u8], out: &mut Vec<u32>) -> Result<()> {
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let (len, id) = match self.pieces.longest(tokens, rest) {
                Some((len, id)) => (len, Some(id)),
                None => (1, self.unknown),
            };
            if let Some(id) = id {
                super::push(out, id)?;
            }
            at += len;
        }
        Ok(())
    }
}

/// The bytes that a token's string in the file stands for.
pub(super) fn unescape(text: &[u8]) -> Result<Vec<u8>> {
    let mut out = try_vec(text.len(), "bytes of token text")?;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'x') => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                if let (Some(high), Some(low)) = (digit(), digit()) {
                    out.push((high * 16 + low) as u8);
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let is = |text: &[u8], want: &[u8]| assert_eq!(unescape(text).unwrap(), want);
        is(br"a\n\t\r\\\'\x00\xfF", b"a\n\t\r\\'\0\xff");
        is("é".as_bytes(), "é".as_bytes());
        // What no file has: nothing is made up.
        is(br"\xg0a\", b"a");
    }
}
