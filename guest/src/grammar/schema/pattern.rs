//! Regular expressions as rules, as far as a grammar has the same.
//!
//! What has no equivalent (classes such as `\w`, looking ahead, patterns that are not anchored at both ends) makes the string any
//! string, as in llama.cpp; what is no regular expression at all is an error.

use super::rules::{Rules, repetition};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Groups in one another.
const MAX_DEPTH: usize = 100;

/// Why there is no rule.
enum Trouble {
    /// A grammar has nothing like it.
    Unsupported,
    /// It is no regular expression.
    Invalid(&'static str),
}

/// Adds the rule of a string of JSON that matches a pattern; the error says why the pattern is none.
pub fn rule(rules: &mut Rules, pattern: &str, name: &str) -> Result<String, &'static str> {
    let count = rules.count();
    let inner = pattern.strip_prefix('^').and_then(|p| p.strip_suffix('$'));
    let made = match inner {
        Some(inner) => Reader::new(inner, rules, name).read(),
        None => Err(Trouble::Unsupported),
    };
    match made {
        Ok(rule) => Ok(rules.add(name, format!("\"\\\"\" ({rule}) \"\\\"\""))),
        Err(Trouble::Invalid(what)) => Err(what),
        Err(Trouble::Unsupported) => {
            rules.keep(count);
            let string = rules.primitive("string");
            Ok(rules.add(name, string))
        }
    }
}

/// A part of a sequence: characters, or what is a rule's text already.
struct Item {
    text: String,
    literal: bool,
}

impl Item {
    fn rule(self) -> String {
        if self.literal {
            format!("\"{}\"", self.text)
        } else {
            self.text
        }
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    rules: &'a mut Rules,
    name: &'a str,
    /// Rules of what is repeated.
    repeated: BTreeMap<String, String>,
    /// The sequences of the groups that are open.
    open: Vec<Vec<Item>>,
    sequence: Vec<Item>,
}

type Result1<T> = Result<T, Trouble>;

impl<'a> Reader<'a> {
    fn new(text: &'a str, rules: &'a mut Rules, name: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            rules,
            name,
            repeated: BTreeMap::new(),
            open: Vec::new(),
            sequence: Vec::new(),
        }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// Takes `count` bytes as they stand.
    fn take(&mut self, count: usize) -> &'a str {
        let taken = self.text.get(self.at..self.at + count).unwrap_or_default();
        self.at += count;
        core::str::from_utf8(taken).unwrap_or_default()
    }

    fn push(&mut self, text: impl Into<String>, literal: bool) {
        let text = text.into();
        self.sequence.push(Item { text, literal });
    }

    fn read(mut self) -> Result1<String> {
        while let Some(c) = self.byte(0) {
            match c {
                b'.' => {
                    self.at += 1;
                    let dot = self.rules.add("dot", String::from("[^\\x0A\\x0D]"));
                    self.push(dot, false);
                }
                b'(' => self.group()?,
                b')' => {
                    self.at += 1;
                    let outer = self
                        .open
                        .pop()
                        .ok_or(Trouble::Invalid("unbalanced parentheses"))?;
                    let inner = joined(core::mem::replace(&mut self.sequence, outer));
                    self.push(format!("({inner})"), false);
                }
                b'^' | b'$' => return Err(Trouble::Unsupported),
                b'[' => self.class()?,
                b'|' => {
                    self.at += 1;
                    self.push("|", false);
                }
                b'*' | b'+' | b'?' => {
                    self.at += 1;
                    let last = self.last()?;
                    self.push(format!("{}{}", last.rule(), char::from(c)), false);
                }
                b'{' => self.counts()?,
                _ => self.literal()?,
            }
        }
        if !self.open.is_empty() {
            return Err(Trouble::Invalid("unbalanced parentheses"));
        }
        Ok(joined(self.sequence))
    }

    fn last(&mut self) -> Result1<Item> {
        self.sequence
            .pop()
            .ok_or(Trouble::Invalid("nothing to repeat"))
    }

    fn group(&mut self) -> Result1<()> {
        self.at += 1;
        if self.byte(0) == Some(b'?') {
            if self.byte(1) != Some(b':') {
                return Err(Trouble::Unsupported);
            }
            self.at += 2;
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Trouble::Unsupported);
        }
        self.open.push(core::mem::take(&mut self.sequence));
        Ok(())
    }

    fn class(&mut self) -> Result1<()> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.byte(0) {
                None => return Err(Trouble::Invalid("a class of characters does not end")),
                Some(b']') => break,
                Some(b'\\') => match self.escape() {
                    0 => return Err(Trouble::Unsupported),
                    length => self.at += length,
                },
                Some(_) => self.at += 1,
            }
        }
        let length = self.at + 1 - start;
        self.at = start;
        let class = self.take(length);
        self.push(class, false);
        Ok(())
    }

    /// The length of the escape here, if it means the same in a grammar; else 0.
    fn escape(&self) -> usize {
        let digits = match self.byte(1) {
            Some(b'x') => 2,
            Some(b'u') => 4,
            Some(b'U') => 8,
            Some(b't' | b'r' | b'n' | b'\\' | b'"' | b'[' | b']' | b'-') => return 2,
            _ => return 0,
        };
        let hexadecimal = |i| self.byte(2 + i).is_some_and(|c| c.is_ascii_hexdigit());
        if (0..digits).all(hexadecimal) {
            2 + digits
        } else {
            0
        }
    }

    fn counts(&mut self) -> Result1<()> {
        self.at += 1;
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|c| *c == b'}')
            .ok_or(Trouble::Unsupported)?;
        let text = self.take(length);
        self.at += 1;
        let (min, max) = match text.split_once(',') {
            None => {
                let count = integer(text)?;
                (count, Some(count))
            }
            Some((_, max)) if max.contains(',') => return Err(Trouble::Unsupported),
            Some((min, max)) => (
                if min.is_empty() { 0 } else { integer(min)? },
                if max.is_empty() {
                    None
                } else {
                    Some(integer(max)?)
                },
            ),
        };
        if max.is_some_and(|max| max < min) {
            return Err(Trouble::Invalid("the numbers of a repetition descend"));
        }
        let last = self.last()?;
        let item = if last.literal {
            last.rule()
        } else {
            let number = self.repeated.len() + 1;
            match self.repeated.get(&last.text) {
                Some(known) => known.clone(),
                None => {
                    let name = self
                        .rules
                        .add(&format!("{}-{number}", self.name), last.text.clone());
                    self.repeated.insert(last.text, name.clone());
                    name
                }
            }
        };
        self.push(repetition(&item, min, max, ""), false);
        Ok(())
    }

    fn literal(&mut self) -> Result1<()> {
        let mut text: Vec<u8> = Vec::new();
        while let Some(c) = self.byte(0) {
            match (c, self.byte(1)) {
                (b'\\', None) => return Err(Trouble::Invalid("a backslash at the end")),
                (b'\\', Some(next)) if b"^$.[]()|{}*+?".contains(&next) => {
                    text.push(next);
                    self.at += 2;
                }
                (b'\\', _) => match self.escape() {
                    0 => return Err(Trouble::Unsupported),
                    length => text.extend(self.take(length).bytes()),
                },
                (b'"', _) => {
                    text.extend(b"\\\"");
                    self.at += 1;
                }
                (c, _) => {
                    // Whole characters, so that a repetition is about all of one.
                    let length = (c.leading_ones() as usize).max(1);
                    let next = self.byte(length);
                    // What a repetition behind it is about is a sequence of its own.
                    let ends = next.is_some_and(|next| next != b'.' && special(next));
                    if special(c) || (ends && !text.is_empty()) {
                        break;
                    }
                    text.extend(self.take(length).bytes());
                }
            }
        }
        if text.is_empty() {
            return Err(Trouble::Unsupported);
        }
        match String::from_utf8(text) {
            Ok(text) => self.push(text, true),
            Err(_) => return Err(Trouble::Unsupported),
        }
        Ok(())
    }
}

fn special(c: u8) -> bool {
    b"|.()[]{}*+?^$".contains(&c)
}

fn integer(text: &str) -> Result1<u32> {
    let text = text.trim_start();
    let text = text.strip_prefix('+').unwrap_or(text);
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    let digits = text.get(..count).unwrap_or_default();
    let value = digits.parse().ok().filter(|n| *n <= i32::MAX as u32);
    value.ok_or(Trouble::Unsupported)
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
