//! Characters as the pre-tokenizers' regular expressions see them: general categories, white space,
//! and decoding that survives invalid UTF-8.
//!
//! The expressions come from tokenizer files written for Oniguruma, so `\s` is the `White_Space`
//! property (U+0085 and U+00A0 included), `\p{L}` and friends are general categories, and nothing
//! is locale dependent.

use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// What an expression may ask about one character; the classes are disjoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `\p{L}`
    Letter,
    /// `\p{M}`
    Mark,
    /// `\p{N}`
    Number,
    /// `\p{P}`
    Punctuation,
    /// `\p{S}`
    Symbol,
    /// `\s`
    Space,
    /// Control, format, private and unassigned characters.
    Other,
}

/// The class of a character.
pub(super) fn class(c: char) -> Class {
    match c {
        'a'..='z' | 'A'..='Z' => return Class::Letter,
        ' ' | '\t'..='\r' => return Class::Space,
        '0'..='9' => return Class::Number,
        // Hangul and the common ideographs, to spare long texts the table search.
        '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' => return Class::Letter,
        _ => {}
    }
    if c.is_whitespace() {
        return Class::Space;
    }
    match c.general_category_group() {
        GeneralCategoryGroup::Letter => Class::Letter,
        GeneralCategoryGroup::Mark => Class::Mark,
        GeneralCategoryGroup::Number => Class::Number,
        GeneralCategoryGroup::Punctuation => Class::Punctuation,
        GeneralCategoryGroup::Symbol => Class::Symbol,
        GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other => Class::Other,
    }
}

/// How a character counts where upper and lower case are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// `[\p{Lu}\p{Lt}]`
    Upper,
    /// `\p{Ll}`
    Lower,
    /// `[\p{Lm}\p{Lo}\p{M}]`: counts as either.
    Either,
}

/// The case of a letter or mark; `None` for anything else.
pub(super) fn case(c: char) -> Option<Case> {
    use GeneralCategory as G;
    match c {
        'a'..='z' => return Some(Case::Lower),
        'A'..='Z' => return Some(Case::Upper),
        '\0'..='\u{7f}' => return None,
        _ => {}
    }
    match c.general_category() {
        G::UppercaseLetter | G::TitlecaseLetter => Some(Case::Upper),
        G::LowercaseLetter => Some(Case::Lower),
        G::ModifierLetter
        | G::OtherLetter
        | G::NonspacingMark
        | G::SpacingMark
        | G::EnclosingMark => Some(Case::Either),
        _ => None,
    }
}

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

    #[test]
    fn spaces_are_the_white_space_property() {
        for c in [
            '\u{85}', '\u{a0}', '\u{1680}', '\u{2028}', '\u{202f}', '\u{3000}', '\u{b}',
        ] {
            assert_eq!(class(c), Class::Space, "{c:?}");
        }
        for c in ['\u{200b}', '\u{180e}', '\u{feff}', '\u{1c}'] {
            assert_eq!(class(c), Class::Other, "{c:?}");
        }
    }

    #[test]
    fn shortcuts_agree_with_the_tables() {
        for c in '\0'..=char::MAX {
            let group = c.general_category_group();
            let want = match class(c) {
                Class::Letter => group == GeneralCategoryGroup::Letter,
                Class::Number => group == GeneralCategoryGroup::Number,
                Class::Space => c.is_whitespace(),
                _ => true,
            };
            assert!(want, "{c:?}");
        }
    }

    /// Every character was once compared with Oniguruma's classes; the counts notice a table of
    /// another Unicode version.
    #[test]
    fn the_tables_are_those_of_unicode_16() {
        let count = |want| ('\0'..=char::MAX).filter(|&c| class(c) == want).count();
        assert_eq!(count(Class::Letter), 141_028);
        assert_eq!(count(Class::Number), 1_911);
        assert_eq!(count(Class::Mark), 2_501);
        assert_eq!(count(Class::Space), 25);
    }
}
