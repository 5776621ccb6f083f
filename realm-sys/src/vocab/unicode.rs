//! Characters as the pre-tokenizers' regular expressions see them: general categories and white space.
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

/// Whether DeepSeek LLM's expression takes a character for a letter.
pub(super) fn is_cased_letter(c: char) -> bool {
    let after = CASED_LETTERS.partition_point(|&(from, _)| from <= c);
    let range = after.checked_sub(1).and_then(|i| CASED_LETTERS.get(i));
    range.is_some_and(|&(_, to)| c <= to)
}

/// The letters that DeepSeek LLM's expression lists: those with upper and lower case, as of an
/// older Unicode.
const CASED_LETTERS: &[(char, char)] = &[
    ('A', 'Z'),
    ('a', 'z'),
    ('\u{b5}', '\u{b5}'),
    ('\u{c0}', '\u{d6}'),
    ('\u{d8}', '\u{f6}'),
    ('\u{f8}', '\u{1ba}'),
    ('\u{1bc}', '\u{1bf}'),
    ('\u{1c4}', '\u{293}'),
    ('\u{295}', '\u{2af}'),
    ('\u{370}', '\u{373}'),
    ('\u{376}', '\u{376}'),
    ('\u{377}', '\u{377}'),
    ('\u{37b}', '\u{37d}'),
    ('\u{37f}', '\u{37f}'),
    ('\u{386}', '\u{386}'),
    ('\u{388}', '\u{38a}'),
    ('\u{38c}', '\u{38c}'),
    ('\u{38e}', '\u{3a1}'),
    ('\u{3a3}', '\u{3f5}'),
    ('\u{3f7}', '\u{481}'),
    ('\u{48a}', '\u{52f}'),
    ('\u{531}', '\u{556}'),
    ('\u{10a0}', '\u{10c5}'),
    ('\u{13a0}', '\u{13f5}'),
    ('\u{13f8}', '\u{13fd}'),
    ('\u{1c90}', '\u{1cba}'),
    ('\u{1cbd}', '\u{1cbf}'),
    ('\u{1d00}', '\u{1d2b}'),
    ('\u{1d6b}', '\u{1d77}'),
    ('\u{1d79}', '\u{1d9a}'),
    ('\u{1e00}', '\u{1f15}'),
    ('\u{1f18}', '\u{1f1d}'),
    ('\u{1f20}', '\u{1f45}'),
    ('\u{1f48}', '\u{1f4d}'),
    ('\u{1f50}', '\u{1f57}'),
    ('\u{1f59}', '\u{1f59}'),
    ('\u{1f5b}', '\u{1f5b}'),
    ('\u{1f5d}', '\u{1f5d}'),
    ('\u{1f5f}', '\u{1f7d}'),
    ('\u{1f80}', '\u{1fb4}'),
    ('\u{1fb6}', '\u{1fbc}'),
    ('\u{1fbe}', '\u{1fbe}'),
    ('\u{1fc2}', '\u{1fc4}'),
    ('\u{1fc6}', '\u{1fcc}'),
    ('\u{1fd0}', '\u{1fd3}'),
    ('\u{1fd6}', '\u{1fdb}'),
    ('\u{1fe0}', '\u{1fec}'),
    ('\u{1ff2}', '\u{1ff4}'),
    ('\u{1ff6}', '\u{1ffc}'),
    ('\u{2102}', '\u{2102}'),
    ('\u{2107}', '\u{2107}'),
    ('\u{210a}', '\u{2113}'),
    ('\u{2115}', '\u{2115}'),
    ('\u{2119}', '\u{211d}'),
    ('\u{2124}', '\u{2124}'),
    ('\u{2126}', '\u{2126}'),
    ('\u{2128}', '\u{2128}'),
    ('\u{212a}', '\u{212d}'),
    ('\u{212f}', '\u{2134}'),
    ('\u{2139}', '\u{2139}'),
    ('\u{213c}', '\u{213f}'),
    ('\u{2145}', '\u{2149}'),
    ('\u{214e}', '\u{214e}'),
    ('\u{2183}', '\u{2183}'),
    ('\u{2184}', '\u{2184}'),
    ('\u{2c00}', '\u{2c7b}'),
    ('\u{2c7e}', '\u{2ce4}'),
    ('\u{2ceb}', '\u{2cee}'),
    ('\u{2cf2}', '\u{2cf2}'),
    ('\u{2cf3}', '\u{2cf3}'),
    ('\u{a640}', '\u{a66d}'),
    ('\u{a680}', '\u{a69b}'),
    ('\u{a722}', '\u{a76f}'),
    ('\u{a771}', '\u{a787}'),
    ('\u{a78b}', '\u{a78e}'),
    ('\u{ab70}', '\u{abbf}'),
    ('\u{fb00}', '\u{fb06}'),
    ('\u{fb13}', '\u{fb17}'),
    ('\u{ff21}', '\u{ff3a}'),
    ('\u{ff41}', '\u{ff5a}'),
    ('\u{10400}', '\u{1044f}'),
    ('\u{104b0}', '\u{104d3}'),
    ('\u{104d8}', '\u{104fb}'),
    ('\u{10c80}', '\u{10cb2}'),
    ('\u{10cc0}', '\u{10cf2}'),
    ('\u{118a0}', '\u{118df}'),
    ('\u{1e900}', '\u{1e943}'),
];

#[cfg(test)]
mod tests {
    use super::*;

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
