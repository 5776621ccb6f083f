//! Regular expressions as rules.
//!
//! What a pattern matches is written as JSON writes it: quotes, backslashes and control characters are escaped. The syntax is that of
//! ECMA-262, as far as a grammar has the same; what it has not (looking around, references to groups, edges of words, properties of
//! Unicode) is refused, so that no pattern is taken and then ignored. Only a pattern that is not anchored at both ends makes the string
//! any string, as in llama.cpp.

use super::class::{self, Range};
use super::rules::{Rules, repetition};
use crate::grammar::utf8;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Groups in one another.
const MAX_DEPTH: usize = 100;

/// A pattern that looks around, and one that means the same and does not: pydantic's of every `Decimal`, which wants a digit somewhere.
const KNOWN: [(&str, &str); 1] = [(
    r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$",
    r"^[+-]?(\d+\.?\d*|\.\d+)$",
)];

/// What a pattern has that it may not have, as the end of a sentence.
type Result1<T> = Result<T, String>;

/// Adds the rule of a string of JSON that matches a pattern; the error says what the pattern has that makes it none.
pub fn rule(rules: &mut Rules, pattern: &str, name: &str) -> Result1<String> {
    let known = KNOWN.iter().find(|(known, _)| *known == pattern);
    match anchored(known.map_or(pattern, |(_, same)| same)) {
        Some(inner) => {
            let rule = Reader::new(inner, rules, name).read()?;
            Ok(rules.add(name, format!("\"\\\"\" ({rule}) \"\\\"\"")))
        }
        None => {
            let string = rules.primitive("string");
            Ok(rules.add(name, string))
        }
    }
}

/// What is between `^` and `$`, if a pattern begins and ends with them.
fn anchored(pattern: &str) -> Option<&str> {
    let inner = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let backslashes = inner.bytes().rev().take_while(|c| *c == b'\\').count();
    (backslashes % 2 == 0).then_some(inner)
}

/// A part of a sequence: characters, or what is a rule's text already.
struct Item {
    text: String,
    literal: bool,
    /// It ends with a repetition, and takes no other.
    repeated: bool,
}

impl Item {
    fn rule(self) -> String {
        if self.literal {
            format!("\"{}\"", self.text)
        } else {
            self.text
        }
    }

    /// The line between two alternatives.
    fn parts(&self) -> bool {
        !self.literal && self.text == "|"
    }
}

/// What a backslash and what is behind it stand for.
enum Escape {
    One(u32),
    Class(Vec<Range>),
}

struct Reader<'a> {
    text: &'a str,
    rules: &'a mut Rules,
    name: &'a str,
    /// Rules of what is repeated.
    repeated: BTreeMap<String, String>,
    /// The sequences of the groups that are open.
    open: Vec<Vec<Item>>,
    sequence: Vec<Item>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, rules: &'a mut Rules, name: &'a str) -> Self {
        Self {
            text,
            rules,
            name,
            repeated: BTreeMap::new(),
            open: Vec::new(),
            sequence: Vec::new(),
        }
    }

    fn peek(&self) -> Option<char> {
        self.text.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.text.chars();
        let c = chars.next();
        self.text = chars.as_str();
        c
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.text.strip_prefix(text);
        self.text = rest.unwrap_or(self.text);
        rest.is_some()
    }

    fn push(&mut self, text: impl Into<String>, literal: bool) {
        let text = text.into();
        self.sequence.push(Item {
            text,
            literal,
            repeated: false,
        });
    }

    fn push_class(&mut self, ranges: &[Range]) -> Result1<()> {
        let rule = class::rule(ranges);
        if rule.is_empty() {
            return Err("a class that no character is in".into());
        }
        self.push(rule, false);
        Ok(())
    }

    fn push_character(&mut self, c: u32) -> Result1<()> {
        let c = char::from_u32(c).ok_or("a surrogate, which is no character")?;
        self.push(class::literal(c), true);
        Ok(())
    }

    fn read(mut self) -> Result1<String> {
        while let Some(c) = self.next() {
            match c {
                '.' => {
                    let dot = self.rules.add("dot", class::dot());
                    self.push(dot, false);
                }
                '(' => self.group()?,
                ')' => {
                    let outer = self.open.pop().ok_or("unbalanced parentheses")?;
                    let inner = joined(core::mem::replace(&mut self.sequence, outer));
                    self.push(format!("({inner})"), false);
                }
                '^' | '$' => self.anchor(c)?,
                '[' => {
                    let ranges = self.class()?;
                    self.push_class(&ranges)?;
                }
                '|' => self.push("|", false),
                '*' => self.repeat("*", 0, None)?,
                '+' => self.repeat("+", 1, None)?,
                '?' => self.repeat("?", 0, Some(1))?,
                '{' => self.counts()?,
                '\\' => match self.escape(false)? {
                    Escape::One(c) => self.push_character(c)?,
                    Escape::Class(ranges) => self.push_class(&ranges)?,
                },
                c => self.push_character(u32::from(c))?,
            }
        }
        if !self.open.is_empty() {
            return Err("unbalanced parentheses".into());
        }
        Ok(joined(self.sequence))
    }

    /// An anchor at an end of an alternative says what is so anyway.
    fn anchor(&mut self, c: char) -> Result1<()> {
        let idle = match c {
            '^' => self.sequence.last().is_none_or(Item::parts),
            _ => matches!(self.peek(), None | Some('|')),
        };
        match idle && self.open.is_empty() {
            true => Ok(()),
            false => Err(format!("a '{c}' that is at no end of it: write \\{c}")),
        }
    }

    fn group(&mut self) -> Result1<()> {
        if self.text.starts_with('?') && !self.eat("?:") {
            self.group_name()?;
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} groups in one another"));
        }
        self.open.push(core::mem::take(&mut self.sequence));
        Ok(())
    }

    /// The name of a group, `?<name>`, which changes nothing.
    fn group_name(&mut self) -> Result1<()> {
        let text = self.text;
        let named = self.eat("?<") || self.eat("?P<");
        let end = self.text.split_once('>').filter(|(name, _)| {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            !name.is_empty() && name.chars().all(word)
        });
        match end {
            Some((_, rest)) if named => {
                self.text = rest;
                Ok(())
            }
            _ => {
                let length = if text.starts_with("?<") { 3 } else { 2 };
                let start: String = text.chars().take(length).collect();
                Err(format!("'({start}', which is not known"))
            }
        }
    }

    /// The characters of a class, behind its `[`.
    fn class(&mut self) -> Result1<Vec<Range>> {
        let open = "a class of characters that does not end";
        let negated = self.eat("^");
        let mut ranges: Vec<Range> = Vec::new();
        while !self.eat("]") {
            if self.text.starts_with("[:") && self.text.contains(":]") {
                return Err("'[:', a named class, which is not known".into());
            }
            let first = match self.class_item()?.ok_or(open)? {
                Escape::One(c) => c,
                Escape::Class(more) => {
                    ranges.extend(more);
                    continue;
                }
            };
            let mut last = first;
            if self.text.starts_with('-') && !self.text.starts_with("-]") {
                self.next();
                match self.class_item()?.ok_or(open)? {
                    Escape::One(c) => last = c,
                    // A line before a class such as `\w` is a line.
                    Escape::Class(more) => {
                        ranges.push((u32::from('-'), u32::from('-')));
                        ranges.extend(more);
                    }
                }
            }
            if last < first {
                return Err("a range of characters that descends".into());
            }
            ranges.push((first, last));
        }
        if ranges.is_empty() {
            return Err("a class of characters with none in it".into());
        }
        Ok(if negated {
            utf8::complement(&ranges)
        } else {
            ranges
        })
    }

    fn class_item(&mut self) -> Result1<Option<Escape>> {
        Ok(match self.next() {
            None => None,
            Some('\\') => Some(self.escape(true)?),
            Some(c) => Some(Escape::One(u32::from(c))),
        })
    }

    /// What is behind a backslash, in a class or elsewhere.
    fn escape(&mut self, in_class: bool) -> Result1<Escape> {
        let c = self.next().ok_or("a backslash at the end")?;
        if let Some(ranges) = u8::try_from(c).ok().and_then(class::shorthand) {
            return Ok(Escape::Class(ranges));
        }
        let digit = self.peek().is_some_and(|c| c.is_ascii_digit());
        Ok(Escape::One(match c {
            't' => 0x09,
            'n' => 0x0A,
            'v' => 0x0B,
            'f' => 0x0C,
            'r' => 0x0D,
            'b' if in_class => 0x08,
            '0' if !digit => 0,
            'x' => self.hexadecimal(c, 2)?,
            'u' => self.code_unit()?,
            'U' => self.hexadecimal(c, 8)?,
            c if c.is_ascii_alphanumeric() => {
                return Err(format!("'\\{c}', which is not known"));
            }
            c => u32::from(c),
        }))
    }

    /// `XXXX`, `{X...}` or the two halves of a surrogate pair, behind `\u`.
    fn code_unit(&mut self) -> Result1<u32> {
        if self.text.starts_with('{') {
            let known = self
                .text
                .split_once('}')
                .and_then(|(text, rest)| Some((hexadecimal(text.strip_prefix('{')?)?, rest)));
            let (value, rest) = known.ok_or("'\\u{' without a character's number")?;
            self.text = rest;
            return Ok(value);
        }
        let high = self.hexadecimal('u', 4)?;
        if (0xD800..0xDC00).contains(&high) && self.eat("\\u") {
            let low = self.hexadecimal('u', 4)?;
            if (0xDC00..0xE000).contains(&low) {
                return Ok(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            }
        }
        match high {
            0xD800..0xE000 => Err("half of a surrogate pair".into()),
            high => Ok(high),
        }
    }

    fn hexadecimal(&mut self, letter: char, digits: usize) -> Result1<u32> {
        let value = self.text.get(..digits).and_then(hexadecimal);
        let value = value.ok_or(format!("'\\{letter}' without {digits} hexadecimal digits"))?;
        self.text = self.text.get(digits..).unwrap_or_default();
        Ok(value)
    }

    /// The numbers of a repetition, behind `{`.
    fn counts(&mut self) -> Result1<()> {
        let none = "a '{' that begins no repetition: write \\{";
        let (text, rest) = self.text.split_once('}').ok_or(none)?;
        let (min, max) = match text.split_once(',') {
            None => (count(text).ok_or(none)?, count(text)),
            Some(("", "")) => return Err(none.into()),
            Some((min, max)) => (
                if min.is_empty() { Some(0) } else { count(min) }.ok_or(none)?,
                if max.is_empty() {
                    None
                } else {
                    Some(count(max).ok_or(none)?)
                },
            ),
        };
        if max.is_some_and(|max| max < min) {
            return Err("a repetition whose numbers descend".into());
        }
        self.text = rest;
        self.repeat("{", min, max)
    }

    /// Repeats the last item. Whether as much or as little as possible, the text is the same.
    fn repeat(&mut self, sign: &str, min: u32, max: Option<u32>) -> Result1<()> {
        let last = self.sequence.pop().filter(|last| !last.parts());
        let last = last.ok_or_else(|| format!("nothing to repeat before '{sign}'"))?;
        if last.repeated {
            return Err(format!("'{sign}' behind a repetition, which is not known"));
        }
        self.eat("?");
        let text = if sign == "{" {
            let item = self.named(last);
            repetition(&item, min, max, "")
        } else {
            format!("{}{sign}", last.rule())
        };
        self.sequence.push(Item {
            text,
            literal: false,
            repeated: true,
        });
        Ok(())
    }

    /// What is counted, by its name if it is more than characters.
    fn named(&mut self, item: Item) -> String {
        if item.literal {
            return item.rule();
        }
        if let Some(known) = self.repeated.get(&item.text) {
            return known.clone();
        }
        let number = self.repeated.len() + 1;
        let name = format!("{}-{number}", self.name);
        let name = self.rules.add(&name, item.text.clone());
        self.repeated.insert(item.text, name.clone());
        name
    }
}

fn hexadecimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_hexdigit());
    let value = u32::from_str_radix(text, 16).ok().filter(|_| digits)?;
    (value <= utf8::LAST).then_some(value)
}

fn count(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    let value = text.parse().ok().filter(|_| digits);
    value.filter(|n| *n < i32::MAX as u32)
}

/// A sequence as one text, characters that follow one another in the same quotes.
fn joined(sequence: Vec<Item>) -> String {
    let mut parts: Vec<Item> = Vec::new();
    for item in sequence {
        match parts.last_mut() {
            Some(last) if last.literal && item.literal => last.text.push_str(&item.text),
            _ => parts.push(item),
        }
    }
    let parts: Vec<String> = parts.into_iter().map(Item::rule).collect();
    parts.join(" ").to_string()
}
