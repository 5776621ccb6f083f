//! Cutting a text into words before byte-level BPE, by the name in `tokenizer.ggml.pre`.
//!
//! Each name stands for a list of regular expressions, applied one after the other: what an
//! expression matches is isolated, and the next one sees each part as if it were the whole text.
//! The expressions are written out by hand here, each as a function from a position to the next
//! match. They never look further ahead than the end of the match plus one run of white space, so
//! a pass is linear in the text.

use alloc::vec::Vec;

use super::unicode::{Case, Class, case, class, is_cased_letter};
use super::utf8::decode;
use crate::bail;
use crate::error::{Result, try_vec};

/// What a name implies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pre {
    /// How words are cut.
    pub(super) splitter: Splitter,
    /// A word that is a token as a whole is not put together from merges (`ignore_merges`).
    pub(super) whole_words: bool,
    /// Whether a text begins with the BOS token unless the file says otherwise.
    pub(super) add_bos: bool,
    /// The tokens are UTF-8 with U+2581 for spaces, as SentencePiece writes them, not bytes in
    /// GPT-2's alphabet.
    pub(super) spaces_marked: bool,
}

/// One expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// GPT-2: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
    Gpt2,
    /// Llama 3 and Qwen 2, with `{1,digits}`:
    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|`
    /// ` ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
    /// with `marks`, `[\p{L}\p{M}]` takes the place of `\p{L}`.
    Words(Words),
    /// GPT-4o and Tekken, with U = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]` and
    /// L = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`:
    /// `[^\r\n\p{L}\p{N}]?U*L+C?|[^\r\n\p{L}\p{N}]?U+L*C?|\p{N}{1,3}|`
    /// ` ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    /// where C is `(?i:'s|'t|'re|'ve|'m|'ll|'d)` with `contractions`.
    CasedWords { digits: usize, contractions: bool },
    /// `\p{N}{1,n}`
    Numbers(usize),
    /// `[0-9][0-9][0-9]`
    ThreeDigits,
    /// ``[\p{P}$+<=>^~|`]+``, the backtick only with `true`
    Punctuation(bool),
    /// `[\r\n]`
    Newline,
    /// `[^\n]+|[\n]+`
    Lines,
    /// `\s?` and one or more of the letters of `is_cased_letter`.
    SpacedCased,
    /// ``\s?[!-/:-~！-／：-～‘-‟　-。]+``
    SpacedPrintable,
    /// `\s+$`
    TrailingSpace,
    /// ` ?[^(\s|.,!?…。，、।۔،)]+`
    Clauses,
    /// `\s?\p{L}+`
    SpacedLetters,
    /// `\s?\p{P}+`
    SpacedPunctuation,
    /// `[一-龥ࠀ-一가-퟿]+`
    Cjk,
    /// `[一-龥぀-ゟ゠-ヿ]+`
    HanKana,
    /// DeepSeek V3: `[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|`
    /// ` ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
    DeepSeek3,
}

/// What the expressions of the Llama 3 kind differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Words {
    digits: usize,
    marks: bool,
    /// Without, apostrophes are signs like others.
    contractions: bool,
    /// Whether line ends belong to the signs before them: `[\r\n]*`.
    line_ends: bool,
}

/// The expressions of one name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Splitter {
    passes: &'static [Pass],
}

const WORDS: Words = Words {
    digits: 1,
    marks: false,
    contractions: true,
    line_ends: true,
};
const LLAMA3: &[Pass] = &[Pass::Words(Words { digits: 3, ..WORDS })];
const QWEN2: &[Pass] = &[Pass::Words(WORDS)];
const QWEN35: &[Pass] = &[Pass::Words(Words {
    marks: true,
    ..WORDS
})];
const MINICPM5: &[Pass] = &[
    Pass::Numbers(3),
    Pass::Words(Words {
        digits: usize::MAX,
        ..WORDS
    }),
];
const UFAKZEKA: &[Pass] = &[Pass::Words(Words {
    contractions: false,
    ..WORDS
})];
const SEED_CODER: &[Pass] = &[Pass::Words(Words {
    line_ends: false,
    ..WORDS
})];
const LAGUNA: &[Pass] = &[Pass::Lines, Pass::Words(WORDS)];
const LINES: &[Pass] = &[Pass::Lines];
const WHOLE: &[Pass] = &[];
const BLOOM: &[Pass] = &[Pass::Clauses];
const VIKING: &[Pass] = &[Pass::Clauses, Pass::Numbers(1)];
const DEEPSEEK_LLM: &[Pass] = &[
    Pass::Newline,
    Pass::SpacedCased,
    Pass::SpacedPrintable,
    Pass::TrailingSpace,
    Pass::Cjk,
    Pass::Numbers(usize::MAX),
];
const GPT4O: &[Pass] = &[Pass::CasedWords {
    digits: 3,
    contractions: true,
}];
const TEKKEN: &[Pass] = &[Pass::CasedWords {
    digits: 1,
    contractions: false,
}];
const GPT2: &[Pass] = &[Pass::Gpt2];
const SMOLLM: &[Pass] = &[Pass::Numbers(1), Pass::Gpt2];
const DEFAULT: &[Pass] = &[
    Pass::Punctuation(false),
    Pass::Gpt2,
    Pass::Numbers(usize::MAX),
    Pass::ThreeDigits,
];
const FALCON: &[Pass] = &[Pass::Punctuation(true), Pass::Gpt2, Pass::ThreeDigits];
const DEEPSEEK_CODER: &[Pass] = &[
    Pass::Newline,
    Pass::SpacedLetters,
    Pass::SpacedPunctuation,
    Pass::Cjk,
    Pass::Numbers(1),
];
const DEEPSEEK3: &[Pass] = &[Pass::Numbers(3), Pass::HanKana, Pass::DeepSeek3];

impl Pre {
    /// The meaning of a `tokenizer.ggml.pre` name; a file without one means `default`.
    ///
    /// # Errors
    /// `Unsupported`, with the name, if this build does not know it.
    pub(super) fn by_name(name: &str) -> Result<Self> {
        let (passes, whole_words, add_bos) = match name {
            "default" | "" => (DEFAULT, false, false),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral"
            | "midm-2.0" | "lfm2" | "jina-v5-nano" => (LLAMA3, true, true),
            "dbrx" | "smaug-bpe" | "chatglm-bpe" => (LLAMA3, false, false),
            "glm4" | "glm5" => (LLAMA3, true, false),
            "minicpm5" => (MINICPM5, true, false),
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "megrez" | "stablelm2"
            | "hunyuan" | "solar-open" | "grok-2" | "bailingmoe" | "bailingmoe2" | "llada-moe" => {
                (QWEN2, false, false)
            }
            "ufakzeka" => (UFAKZEKA, false, false),
            "seed-coder" => (SEED_CODER, false, false),
            "laguna" => (LAGUNA, false, false),
            "gemma4" | "granite-embed-multi-311m" => (LINES, false, false),
            "sarvam-moe" => (WHOLE, false, false),
            "bloom" | "poro-chat" | "gpt3-finnish" => (BLOOM, false, false),
            "viking" => (VIKING, false, false),
            "deepseek-llm" => (DEEPSEEK_LLM, false, false),
            "qwen35" => (QWEN35, false, false),
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling"
            | "exaone4" | "jina-es" | "jina-de" | "jina-v1-en" | "jina-v2-es" | "jina-v2-de"
            | "jina-v2-code" | "roberta-bpe" | "gigachat" | "a.x-4.0" | "mellum"
            | "modern-bert" => (GPT2, false, false),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone"
            | "minerva-7b" | "mellum2" => (SMOLLM, false, false),
            "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => (GPT4O, false, false),
            "tekken" => (TEKKEN, true, true),
            "falcon" => (FALCON, false, false),
            "deepseek-coder" => (DEEPSEEK_CODER, false, false),
            "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => (DEEPSEEK3, false, false),
            _ => bail!(Unsupported, "pre-tokenizer '{name}' is not supported"),
        };
        Ok(Self {
            splitter: Splitter { passes },
            whole_words,
            add_bos,
            spaces_marked: matches!(name, "gemma4" | "granite-embed-multi-311m" | "sarvam-moe"),
        })
    }
}

impl Splitter {
    /// Where the words of `text` end, in ascending order; the last is the end of the text.
    pub(super) fn split(&self, text: &[u8]) -> Result<Vec<usize>> {
        let mut ends: Vec<usize> = try_vec(usize::from(!text.is_empty()), "words")?;
        if !text.is_empty() {
            ends.push(text.len());
        }
        let mut finer: Vec<usize> = Vec::new();
        for pass in self.passes {
            finer.clear();
            let mut start = 0;
            for &end in &ends {
                let part = text.get(start..end).unwrap_or(&[]);
                let mut at = 0;
                while at < part.len() {
                    let (from, to) = pass.find(part, at);
                    if from > at {
                        super::push(&mut finer, start + from)?;
                    }
                    if to > from {
                        super::push(&mut finer, start + to)?;
                    }
                    at = to;
                }
                start = end;
            }
            core::mem::swap(&mut ends, &mut finer);
        }
        Ok(ends)
    }
}

impl Pass {
    /// The first match at or after `at`, as a range; at the end of the text if there is none.
    fn find(self, text: &[u8], at: usize) -> (usize, usize) {
        let mut from = at;
        while let Some((_, len)) = decode(text, from) {
            let end = self.matches(text, from);
            if end > from {
                return (from, end);
            }
            from += len;
        }
        (from, from)
    }

    /// Where the match that begins at `at` ends; `at` if there is none.
    fn matches(self, text: &[u8], at: usize) -> usize {
        let Some(first) = Char::at(text, at) else {
            return at;
        };
        match self {
            Self::Gpt2 => gpt2(text, first),
            Self::Words(kind) => words(text, first, kind),
            Self::CasedWords {
                digits,
                contractions,
            } => cased_words(text, first, digits, contractions),
            Self::Numbers(most) => run(text, at, most, |c| c.class == Class::Number),
            Self::ThreeDigits => match text.get(at..at + 3) {
                Some(t) if t.iter().all(u8::is_ascii_digit) => at + 3,
                _ => at,
            },
            Self::Punctuation(backtick) => run(text, at, usize::MAX, |c| {
                c.class == Class::Punctuation
                    || matches!(c.char, '$' | '+' | '<' | '=' | '>' | '^' | '~' | '|')
                    || (backtick && c.char == '`')
            }),
            Self::Newline => run(text, at, 1, Char::is_newline),
            Self::Lines => {
                let is_end = first.char == '\n';
                run(text, at, usize::MAX, |c| (c.char == '\n') == is_end)
            }
            Self::SpacedLetters => spaced(text, first, |c| c.class == Class::Letter),
            Self::SpacedPunctuation => spaced(text, first, |c| c.class == Class::Punctuation),
            Self::SpacedCased => spaced(text, first, |c| is_cased_letter(c.char)),
            Self::SpacedPrintable => spaced(
                text,
                first,
                |c| matches!(c.char, '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '‘'..='‟' | '\u{3000}'..='。'),
            ),
            Self::TrailingSpace => {
                let end = run(text, at, usize::MAX, |c| c.class == Class::Space);
                if end == text.len() { end } else { at }
            }
            Self::Clauses => {
                let body = match (first.char, first.next(text)) {
                    (' ', Some(next)) => next,
                    _ => first,
                };
                let end = run(text, body.start, usize::MAX, |c| {
                    c.class != Class::Space && !"(|.,!?…。，、।۔،)".contains(c.char)
                });
                if end > body.start { end } else { at }
            }
            Self::Cjk => run(
                text,
                at,
                usize::MAX,
                |c| matches!(c.char, '\u{800}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7ff}'),
            ),
            Self::HanKana => run(
                text,
                at,
                usize::MAX,
                |c| matches!(c.char, '\u{4e00}'..='\u{9fa5}' | '\u{3040}'..='\u{30ff}'),
            ),
            Self::DeepSeek3 => deepseek3(text, first),
        }
    }
}

/// A character of the text.
#[derive(Clone, Copy)]
struct Char {
    char: char,
    class: Class,
    start: usize,
    /// Where the next one starts.
    end: usize,
}

impl Char {
    fn at(text: &[u8], at: usize) -> Option<Self> {
        let (char, len) = decode(text, at)?;
        Some(Self {
            char,
            class: class(char),
            start: at,
            end: at + len,
        })
    }

    fn next(&self, text: &[u8]) -> Option<Self> {
        Self::at(text, self.end)
    }

    fn is_newline(self) -> bool {
        matches!(self.char, '\r' | '\n')
    }

    /// `[^\s\p{L}\p{N}]`
    fn is_rest(self) -> bool {
        !matches!(self.class, Class::Space | Class::Letter | Class::Number)
    }
}

/// The end of the longest run, of at most `most` characters, that satisfies the condition.
fn run(text: &[u8], mut at: usize, most: usize, condition: impl Fn(Char) -> bool) -> usize {
    let mut count = 0;
    while count < most
        && let Some(c) = Char::at(text, at)
        && condition(c)
    {
        at = c.end;
        count += 1;
    }
    at
}

/// `'s|'t|'re|'ve|'m|'ll|'d`; without regard to case, Oniguruma also takes U+017F for an s.
fn contraction(text: &[u8], first: Char, any_case: bool) -> Option<usize> {
    if first.char != '\'' {
        return None;
    }
    let fold = |c: Char| match c.char {
        'ſ' if any_case => 's',
        c if any_case => c.to_ascii_lowercase(),
        c => c,
    };
    let one = first.next(text)?;
    let a = fold(one);
    if matches!(a, 's' | 't' | 'm' | 'd') {
        return Some(one.end);
    }
    let two = one.next(text)?;
    matches!((a, fold(two)), ('r' | 'v', 'e') | ('l', 'l')).then_some(two.end)
}

/// `\s+(?!\S)|\s+`, and before them `\s*[\r\n]+` if `newlines`.
fn white(text: &[u8], at: usize, newlines: bool) -> usize {
    let mut end = at;
    let mut last = at;
    let mut after_newline = None;
    while let Some(c) = Char::at(text, end)
        && c.class == Class::Space
    {
        last = end;
        end = c.end;
        if c.is_newline() {
            after_newline = Some(end);
        }
    }
    match after_newline {
        Some(end) if newlines => end,
        // The last space of several belongs to the word that follows.
        _ if end < text.len() && last > at => last,
        _ => end,
    }
}

fn gpt2(text: &[u8], first: Char) -> usize {
    if let Some(end) = contraction(text, first, false) {
        return end;
    }
    let body = match first.char {
        ' ' => first.next(text).unwrap_or(first),
        _ => first,
    };
    match body.class {
        Class::Space => white(text, first.start, false),
        Class::Letter | Class::Number => run(text, body.end, usize::MAX, |c| c.class == body.class),
        _ => run(text, body.end, usize::MAX, Char::is_rest),
    }
}

fn words(text: &[u8], first: Char, kind: Words) -> usize {
    let Words { digits, marks, .. } = kind;
    if kind.contractions
        && let Some(end) = contraction(text, first, true)
    {
        return end;
    }
    let is_letter = |c: Char| c.class == Class::Letter || (marks && c.class == Class::Mark);
    if is_letter(first) {
        return run(text, first.end, usize::MAX, is_letter);
    }
    if first.class == Class::Number {
        return run(text, first.start, digits, |c| c.class == Class::Number);
    }
    let next = first.next(text);
    if !first.is_newline()
        && let Some(next) = next
        && is_letter(next)
    {
        return run(text, next.end, usize::MAX, is_letter);
    }
    let is_rest = |c: Char| c.is_rest() && !is_letter(c);
    let body = match (first.char, next) {
        (' ', Some(next)) => next,
        _ => first,
    };
    if is_rest(body) {
        let end = run(text, body.end, usize::MAX, is_rest);
        let line_ends = if kind.line_ends { usize::MAX } else { 0 };
        return run(text, end, line_ends, Char::is_newline);
    }
    white(text, first.start, true)
}

/// `U*L+` from `at`: all of a run of U if lower case follows it, which is then taken too; else up
/// to its last character that is an L as well.
fn ends_lower(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    let mut last_either = None;
    while let Some(c) = Char::at(text, end) {
        match case(c.char) {
            Some(Case::Upper) => {}
            Some(Case::Either) => last_either = Some(c.end),
            Some(Case::Lower) => {
                let is_lower = |c: Char| matches!(case(c.char), Some(Case::Lower | Case::Either));
                return Some(run(text, c.end, usize::MAX, is_lower));
            }
            None => break,
        }
        end = c.end;
    }
    last_either
}

/// `U+L*` from `at`, where `U*L+` has failed, so that no L follows.
fn upper(text: &[u8], at: usize) -> Option<usize> {
    let is_upper = |c: Char| matches!(case(c.char), Some(Case::Upper | Case::Either));
    let end = run(text, at, usize::MAX, is_upper);
    (end > at).then_some(end)
}

fn cased_words(text: &[u8], first: Char, digits: usize, contractions: bool) -> usize {
    if first.class == Class::Number {
        return run(text, first.start, digits, |c| c.class == Class::Number);
    }
    // The optional character before a word; the expression tries with it first.
    let prefixed = first.class != Class::Letter && !first.is_newline();
    let after = first.end;
    let word = None
        .or_else(|| prefixed.then(|| ends_lower(text, after))?)
        .or_else(|| ends_lower(text, first.start))
        .or_else(|| prefixed.then(|| upper(text, after))?)
        .or_else(|| upper(text, first.start));
    if let Some(end) = word {
        let suffix = Char::at(text, end).filter(|_| contractions);
        return suffix
            .and_then(|c| contraction(text, c, true))
            .unwrap_or(end);
    }
    let body = match (first.char, first.next(text)) {
        (' ', Some(next)) => next,
        _ => first,
    };
    if body.is_rest() {
        let end = run(text, body.end, usize::MAX, Char::is_rest);
        return run(text, end, usize::MAX, |c| c.is_newline() || c.char == '/');
    }
    white(text, first.start, true)
}

/// `\s?` and then a run of what satisfies the condition.
fn spaced(text: &[u8], first: Char, condition: impl Fn(Char) -> bool) -> usize {
    // The expression tries with the space first; some conditions hold for spaces too.
    if first.class == Class::Space {
        let end = run(text, first.end, usize::MAX, &condition);
        if end > first.end {
            return end;
        }
    }
    run(text, first.start, usize::MAX, condition)
}

fn deepseek3(text: &[u8], first: Char) -> usize {
    let is_letter = |c: Char| matches!(c.class, Class::Letter | Class::Mark);
    let is_sign = |c: Char| matches!(c.class, Class::Punctuation | Class::Symbol);
    let next = first.next(text);
    if first.char.is_ascii_punctuation() {
        let end = run(text, first.end, usize::MAX, |c| {
            c.char.is_ascii_alphabetic()
        });
        if end > first.end {
            return end;
        }
    }
    if is_letter(first) {
        return run(text, first.end, usize::MAX, is_letter);
    }
    if !first.is_newline()
        && !is_sign(first)
        && let Some(next) = next
        && is_letter(next)
    {
        return run(text, next.end, usize::MAX, is_letter);
    }
    let body = match (first.char, next) {
        (' ', Some(next)) => next,
        _ => first,
    };
    if is_sign(body) {
        let end = run(text, body.end, usize::MAX, is_sign);
        return run(text, end, usize::MAX, Char::is_newline);
    }
    white(text, first.start, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split<'a>(pre: &str, text: &'a str) -> Vec<&'a str> {
        let ends = Pre::by_name(pre).unwrap().splitter.split(text.as_bytes());
        let mut start = 0;
        let cut = |end| {
            let word = &text[start..end];
            start = end;
            word
        };
        ends.unwrap().into_iter().map(cut).collect()
    }

    #[test]
    fn gpt2_keeps_a_space_with_its_word() {
        assert_eq!(
            split("gpt-2", "I'll  say 'S 12a\u{a0}b \t\n x!? "),
            [
                "I", "'ll", " ", " say", " '", "S", " 12", "a", "\u{a0}", "b", " \t\n", " x", "!?",
                " "
            ]
        );
    }

    #[test]
    fn llama3_groups_digits_and_newlines() {
        assert_eq!(
            split("llama3", "I'LL 12345 \r\n\n  x\ty...\n\n=a'ſ"),
            [
                "I", "'LL", " ", "123", "45", " \r\n\n", " ", " x", "\ty", "...\n\n", "=a", "'ſ"
            ]
        );
    }

    #[test]
    fn qwen2_takes_digits_one_by_one() {
        assert_eq!(split("qwen2", "a12 ½"), ["a", "1", "2", " ", "½"]);
        assert_eq!(split("qwen2", "e\u{301}a"), ["e", "\u{301}a"]);
        assert_eq!(split("qwen35", "e\u{301}a"), ["e\u{301}a"]);
    }

    #[test]
    fn smollm_isolates_digits_first() {
        assert_eq!(split("smollm", "a 12 b"), ["a", " ", "1", "2", " b"]);
    }

    #[test]
    fn a_pass_without_a_match_changes_nothing() {
        assert_eq!(
            split("deepseek-v3", "\u{1}123\u{200b}"),
            ["\u{1}", "123", "\u{200b}"]
        );
        assert_eq!(split("default", "$12345 a"), ["$", "123", "45", " a"]);
        assert!(split("llama3", "").is_empty());
    }

    #[test]
    fn an_unknown_name_is_named() {
        let e = Pre::by_name("nonesuch").unwrap_err();
        assert!(e.message().contains("nonesuch"));
        assert_eq!(e.status(), crate::error::Status::Unsupported);
    }
}
