//! Behind a stop string: which of a turn's tokens were shown whole, and tokens for what was shown of the one after. The library,
//! which replays images without a guest, compiles this file too.

use alloc::vec::Vec;

/// What tokens and texts are to one another.
pub trait Vocabulary {
    /// Why something could not be done.
    type Fail;

    /// Appends the bytes that a token stands for.
    fn piece(&self, token: u32, out: &mut Vec<u8>) -> Result<(), Self::Fail>;

    /// Appends the tokens of a text, given in two parts.
    fn tokenize(&self, before: &str, text: &str, out: &mut Vec<u32>) -> Result<(), Self::Fail>;

    /// An empty list with room for so many numbers.
    fn list(&self, room: usize) -> Result<Vec<usize>, Self::Fail>;
}

/// Of a turn's tokens, with `token` as the last, and all that was `shown` of their text: how many were shown whole, and tokens for
/// what was shown behind those.
pub fn kept<V: Vocabulary>(
    vocab: &V,
    said: &[u32],
    token: u32,
    shown: &[u8],
) -> Result<(u32, Vec<u32>), V::Fail> {
    let mut bytes = Vec::new();
    let mut ends = vocab.list(said.len() + 1)?;
    for token in said.iter().chain([&token]) {
        vocab.piece(*token, &mut bytes)?;
        ends.push(bytes.len());
    }
    let same = bytes.iter().zip(shown).take_while(|(a, b)| a == b).count();
    // Not inside a character: there is none of its bytes in what is left, which is text.
    let starts = |at: usize| shown.get(at).is_none_or(|byte| byte & 0xC0 != 0x80);
    let last = ends.iter().rposition(|end| *end <= same && starts(*end));
    let end = last.and_then(|last| ends.get(last)).copied().unwrap_or(0);
    let rest = core::str::from_utf8(shown.get(end..).unwrap_or_default());
    let count = last.map_or(0, |last| last as u32 + 1);
    Ok((count, exactly(vocab, rest.unwrap_or_default())?))
}

/// Tokens that stand for this text and nothing else, if there are such. Many vocabularies begin a text with a space of their
/// own; behind a line end they add none.
fn exactly<V: Vocabulary>(vocab: &V, text: &str) -> Result<Vec<u32>, V::Fail> {
    let mut tokens = Vec::new();
    if text.is_empty() {
        return Ok(tokens);
    }
    for before in ["\n", ""] {
        tokens.clear();
        vocab.tokenize(before, text, &mut tokens)?;
        let mut bytes = Vec::new();
        let mut starts = vocab.list(tokens.len())?;
        for token in &tokens {
            starts.push(bytes.len());
            vocab.piece(*token, &mut bytes)?;
        }
        let start = bytes.len().wrapping_sub(text.len());
        if let Ok(first) = starts.binary_search(&start)
            && bytes.ends_with(text.as_bytes())
        {
            return Ok(tokens.split_off(first));
        }
    }
    Ok(tokens)
}
