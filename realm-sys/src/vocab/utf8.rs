//! Decoding that survives invalid UTF-8.

/// Bytes that a lead byte announces; 1 for bytes that cannot lead.
fn announced(lead: u8) -> usize {
    match lead {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

/// The character at byte `at` and its length; `None` past the end.
///
/// A byte that begins no valid character counts as U+FFFD of length 1, so that positions keep
/// meaning bytes of the input and nothing is lost.
pub(super) fn decode(text: &[u8], at: usize) -> Option<(char, usize)> {
    let lead = *text.get(at)?;
    if lead < 0x80 {
        return Some((char::from(lead), 1));
    }
    let len = announced(lead);
    let decoded = text
        .get(at..at + len)
        .and_then(|b| core::str::from_utf8(b).ok())
        .and_then(|s| s.chars().next());
    Some(match decoded {
        Some(c) => (c, len),
        None => (char::REPLACEMENT_CHARACTER, 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_keeps_its_place_on_invalid_bytes() {
        let text = b"a\xc3\xa9\xff\xe2\x82\xf0\x9f\x98\x80\xc3";
        let mut at = 0;
        let mut got = std::vec::Vec::new();
        while let Some((c, n)) = decode(text, at) {
            got.push((c, n));
            at += n;
        }
        let bad = ('\u{fffd}', 1);
        assert_eq!(got, [('a', 1), ('é', 2), bad, bad, bad, ('😀', 4), bad]);
    }
}
