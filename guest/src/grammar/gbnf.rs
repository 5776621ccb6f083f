//! GBNF, llama.cpp's notation of grammars (its `grammars/README.md`), read straight into [`Code`].
//!
//! The reader keeps its own stack of open parentheses, so that their depth costs memory and no recursion. Every item
//! is preceded by a free operation, which a repetition behind the item, or an alternative, fills in.

use super::code::{Code, ENDLESS, NOWHERE, Op, Unfit};
use super::{Syntax, check, utf8};
use crate::abi;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Parentheses in parentheses.
const MAX_DEPTH: usize = 1000;
/// Repetitions right behind one another, as in `x+?`.
const MAX_STACKED: u32 = 8;

type Result<T> = core::result::Result<T, Syntax>;

/// The tokens that a grammar may name.
#[derive(Clone, Copy)]
pub struct Tokens {
    /// Whose they are.
    pub model: u32,
    /// How many there are; 0 if none may be named.
    pub count: u32,
}

impl Tokens {
    fn find(self, text: &str) -> Option<u32> {
        let found = (self.count > 0).then(|| abi::token_find(self.model, text));
        found?.ok().flatten()
    }

    /// What is expected of a token that is wanted, if it can never be taken.
    fn never(self, id: u32) -> Option<String> {
        let count = self.count;
        if id >= count {
            return Some(match count {
                0 => "expected no tokens, for there is no vocabulary".into(),
                _ => format!("expected a token from 0 to {}, and {id} is none", count - 1),
            });
        }
        let what = "expected no token that ends a generation: a grammar ends where its text does";
        abi::is_eog(self.model, id).then(|| what.into())
    }
}

/// Compiles a grammar that names no tokens.
pub fn compile(text: &str) -> Result<Code> {
    compile_with(text, Tokens { model: 0, count: 0 })
}

/// Compiles a grammar; its text begins with the rule `root`.
pub fn compile_with(text: &str, tokens: Tokens) -> Result<Code> {
    let mut p = Parser {
        tokens,
        text: text.as_bytes(),
        at: 0,
        code: Code::default(),
        rules: BTreeMap::new(),
        first_use: Vec::new(),
        defined: BTreeMap::new(),
    };
    let unfit = |why| unfit(0, why);
    let root = p.code.target(NOWHERE).map_err(unfit)?;
    p.code.push(Op::Call(root)).map_err(unfit)?;
    p.code.push(Op::Accept).map_err(unfit)?;
    p.rules.insert("root", root);
    p.first_use.push(0);
    if p.text.starts_with("\u{feff}".as_bytes()) {
        return p.fail("expected no byte order mark (U+FEFF) before the grammar");
    }
    p.space(true);
    while p.peek().is_some() {
        p.rule()?;
    }
    p.all_defined()?;
    check::run(&mut p.code).map_err(|target| {
        let named = p.rules.iter().find(|(_, t)| **t == target);
        let name = named.map_or("(a repetition)", |(name, _)| *name);
        Syntax::new(
            p.defined.get(&target).copied().unwrap_or(0),
            format!("rule '{name}' is left recursive: it begins with itself, and would never end"),
        )
    })?;
    p.code.classify();
    Ok(p.code)
}

#[cold]
fn unfit(at: usize, why: Unfit) -> Syntax {
    let most = super::code::MAX_OPS;
    match why {
        Unfit::TooLarge => Syntax::new(
            at,
            format!(
                "the grammar is too large: it has more than {most} elements, or repeats repetitions of most of them"
            ),
        ),
        Unfit::NoMemory => Syntax::no_memory(at),
    }
}

struct Parser<'a> {
    tokens: Tokens,
    text: &'a [u8],
    at: usize,
    code: Code,
    /// Rules by name, as targets of the code.
    rules: BTreeMap<&'a str, u32>,
    /// Where each target was first named; 0 for bodies of repetitions.
    first_use: Vec<usize>,
    /// Where a rule is defined, by its target.
    defined: BTreeMap<u32, usize>,
}

/// An open parenthesis, or the rule itself.
#[derive(Default)]
struct Group {
    /// The free operation before the alternative.
    alternative: u32,
    /// The free operations behind the alternatives that are complete.
    ends: Vec<u32>,
    /// The free operation before the latest item, if there is one in this alternative.
    item: Option<u32>,
    /// How many repetitions that item has.
    stacked: u32,
    /// Where it was opened.
    opened: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fail<T>(&self, expected: impl Into<String>) -> Result<T> {
        Err(Syntax::new(self.at, expected.into()))
    }

    #[inline(never)]
    fn push(&mut self, op: Op) -> Result<u32> {
        let at = self.at;
        self.code.push(op).map_err(|why| unfit(at, why))
    }

    #[inline(never)]
    fn eat(&mut self, text: &[u8]) -> bool {
        let found = self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(text));
        if found {
            self.at += text.len();
        }
        found
    }

    /// Skips blanks and comments.
    #[inline(never)]
    fn space(&mut self, lines: bool) {
        while let Some(c) = self.peek() {
            match c {
                b' ' | b'\t' => self.at += 1,
                b'\n' | b'\r' if lines => self.at += 1,
                b'#' => {
                    while self.peek().is_some_and(|c| c != b'\n' && c != b'\r') {
                        self.at += 1;
                    }
                }
                _ => break,
            }
        }
    }

    #[inline(never)]
    fn name(&mut self) -> Result<&'a str> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let word = |c: &u8| c.is_ascii_alphanumeric() || *c == b'-';
        let len = rest.iter().take_while(|c| word(c)).count();
        let name = rest
            .get(..len)
            .and_then(|name| core::str::from_utf8(name).ok());
        match name.filter(|name| !name.is_empty()) {
            Some(name) => {
                self.at += len;
                self.no_underscore()?;
                Ok(name)
            }
            None => {
                self.no_underscore()?;
                self.fail("expected the name of a rule")
            }
        }
    }

    /// It may be in names elsewhere, and is not here, as it is not in llama.cpp's reader.
    fn no_underscore(&self) -> Result<()> {
        match self.peek() {
            Some(b'_') => {
                self.fail("expected no _ in the name of a rule: it has letters, digits and -")
            }
            _ => Ok(()),
        }
    }

    #[inline(never)]
    fn target(&mut self, name: &'a str, at: usize) -> Result<u32> {
        if let Some(target) = self.rules.get(name) {
            return Ok(*target);
        }
        let target = self.code.target(NOWHERE).map_err(|why| unfit(at, why))?;
        self.rules.insert(name, target);
        self.first_use.resize(target as usize + 1, at);
        Ok(target)
    }

    fn all_defined(&self) -> Result<()> {
        for (name, target) in &self.rules {
            if self.code.start(*target) == NOWHERE {
                let at = self.first_use.get(*target as usize).copied();
                let what = format!("rule '{name}' is not defined");
                return Err(Syntax::new(at.unwrap_or(0), what));
            }
        }
        Ok(())
    }

    fn rule(&mut self) -> Result<()> {
        let at = self.at;
        if self.peek() == Some(b'|') {
            return self.fail("expected the name of a rule: a rule ends with its line, so put this | at the end of the line before");
        }
        let name = self.name()?;
        self.space(false);
        if !self.eat(b"::=") {
            return self.fail("expected ::=");
        }
        self.space(true);
        let target = self.target(name, at)?;
        self.defined.insert(target, at);
        let start = self.code.here();
        // The last definition of a name is the one that counts, as in llama.cpp.
        if let Some(place) = self.code.targets.get_mut(target as usize) {
            *place = start;
        }
        self.body()?;
        self.push(Op::Return)?;
        self.space(false);
        if self.peek().is_some() && !(self.eat(b"\r\n") || self.eat(b"\n") || self.eat(b"\r")) {
            return self.fail("expected a character, a name, ( or the end of the line");
        }
        self.space(true);
        Ok(())
    }

    /// Alternatives, to the end of the rule.
    #[inline(never)]
    fn body(&mut self) -> Result<()> {
        let mut open: Vec<Group> = Vec::new();
        let mut group = self.open(self.at)?;
        loop {
            let nested = !open.is_empty();
            match self.peek() {
                Some(b'(') => {
                    if open.len() >= MAX_DEPTH {
                        return self.fail(format!(
                            "expected at most {MAX_DEPTH} parentheses in one another"
                        ));
                    }
                    let opened = self.at;
                    self.item(&mut group)?;
                    let inner = self.open(opened)?;
                    open.push(core::mem::replace(&mut group, inner));
                    self.space(true);
                    continue;
                }
                Some(b')') if nested => {
                    self.at += 1;
                    self.close(group);
                    group = open.pop().unwrap_or_default();
                }
                Some(b'|') => {
                    self.at += 1;
                    self.alternative(&mut group)?;
                    self.space(true);
                    continue;
                }
                Some(b'"') => self.literal(&mut group)?,
                Some(b'[') => self.class(&mut group)?,
                Some(b'<' | b'!') => self.token(&mut group)?,
                Some(b'.') => {
                    self.item(&mut group)?;
                    self.add_class(Vec::new(), true)?;
                }
                Some(b'*' | b'+' | b'?' | b'{') => self.repetition(&mut group, nested)?,
                Some(c) if c.is_ascii_alphanumeric() || c == b'-' => {
                    let at = self.at;
                    self.item(&mut group)?;
                    self.at = at;
                    let name = self.name()?;
                    let target = self.target(name, at)?;
                    self.push(Op::Call(target))?;
                }
                Some(b'_') => return self.no_underscore(),
                _ if !nested => {
                    self.close(group);
                    return Ok(());
                }
                _ => {
                    let (line, column) = super::position(self.text, group.opened);
                    return self.fail(format!(
                        "expected ) for the ( of line {line}, column {column}"
                    ));
                }
            }
            self.space(!open.is_empty());
        }
    }

    fn open(&mut self, opened: usize) -> Result<Group> {
        Ok(Group {
            opened,
            alternative: self.free()?,
            ..Group::default()
        })
    }

    /// A free operation: it does nothing so far.
    #[inline(never)]
    fn free(&mut self) -> Result<u32> {
        let next = self.code.here() + 1;
        self.push(Op::Goto(next))
    }

    /// Begins an item whose first character is here, and goes past that.
    #[inline(never)]
    fn item(&mut self, group: &mut Group) -> Result<()> {
        self.at += 1;
        group.item = Some(self.free()?);
        group.stacked = 0;
        Ok(())
    }

    #[inline(never)]
    fn alternative(&mut self, group: &mut Group) -> Result<()> {
        let end = self.free()?;
        group.ends.push(end);
        let next = self.free()?;
        let before = Op::Split(group.alternative + 1, next);
        self.code.put(group.alternative, before);
        group.alternative = next;
        group.item = None;
        Ok(())
    }

    #[inline(never)]
    fn close(&mut self, group: Group) {
        let here = self.code.here();
        for end in group.ends {
            self.code.put(end, Op::Goto(here));
        }
    }

    /// `<[id]>`, `<text>`, or either behind a `!`: one token, or any other.
    #[inline(never)]
    fn token(&mut self, group: &mut Group) -> Result<()> {
        let not = self.peek() == Some(b'!');
        self.item(group)?;
        if not && !self.eat(b"<") {
            return self.fail("expected < behind !");
        }
        self.at -= 1;
        let opened = self.at;
        let rest = self.text.get(opened..).unwrap_or_default();
        let len = rest
            .iter()
            .take_while(|c| !matches!(c, b'>' | b'\n'))
            .count()
            + 1;
        let name = rest
            .get(..len)
            .and_then(|name| core::str::from_utf8(name).ok());
        let Some(name) = name.filter(|name| name.ends_with('>')) else {
            return self.fail("expected > to end this token");
        };
        let id = match name.strip_prefix("<[").and_then(|n| n.strip_suffix("]>")) {
            Some(id) => id.parse().ok().filter(|id| *id < i32::MAX as u32),
            None => self.tokens.find(name),
        };
        let Some(id) = id else {
            return self.fail(format!(
                "expected <[id]> or a token of the vocabulary, and {name} is none"
            ));
        };
        if let Some(what) = self.tokens.never(id).filter(|_| !not) {
            return self.fail(what);
        }
        self.at = opened + len;
        self.code.has_tokens = true;
        self.push(if not { Op::NotToken(id) } else { Op::Token(id) })?;
        Ok(())
    }

    #[inline(never)]
    fn literal(&mut self, group: &mut Group) -> Result<()> {
        let opened = self.at;
        self.item(group)?;
        while !self.eat(b"\"") {
            if self.peek().is_none() {
                self.at = opened;
                return self.fail("expected \" to end this text");
            }
            let at = self.at;
            let value = self.character()?;
            let Some(c) = char::from_u32(value) else {
                self.at = at;
                return self.fail("expected a Unicode character");
            };
            utf8::literal(&mut self.code, c).map_err(|why| unfit(at, why))?;
        }
        Ok(())
    }

    #[inline(never)]
    fn class(&mut self, group: &mut Group) -> Result<()> {
        let opened = self.at;
        self.item(group)?;
        let negated = self.eat(b"^");
        let mut ranges = Vec::new();
        while !self.eat(b"]") {
            if self.peek().is_none() {
                self.at = opened;
                return self.fail("expected ] to end these characters");
            }
            let at = self.at;
            let first = self.character()?;
            let mut last = first;
            let rest = self.text.get(self.at..).unwrap_or_default();
            if rest.first() == Some(&b'-') && rest.get(1).is_some_and(|c| *c != b']') {
                self.at += 1;
                last = self.character()?;
            }
            if last < first {
                self.at = at;
                return self.fail("expected a range that ascends");
            }
            ranges.push((first, last));
        }
        if ranges.is_empty() {
            self.at = opened;
            return self.fail("expected characters between [ and ]");
        }
        self.add_class(ranges, negated)
    }

    fn add_class(&mut self, ranges: Vec<(u32, u32)>, negated: bool) -> Result<()> {
        let at = self.at;
        utf8::class(&mut self.code, ranges, negated).map_err(|why| unfit(at, why))
    }

    /// One character of a text or a class, perhaps written as an escape.
    #[inline(never)]
    fn character(&mut self) -> Result<u32> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if let [b'\\', escape, ..] = rest {
            let value = match escape {
                b'x' => return self.hexadecimal(2),
                b'u' => return self.hexadecimal(4),
                b'U' => return self.hexadecimal(8),
                b't' => b'\t',
                b'r' => b'\r',
                b'n' => b'\n',
                b'\\' | b'"' | b'[' | b']' | b'-' => *escape,
                _ => {
                    return self
                        .fail("expected one of \\x \\u \\U \\t \\r \\n \\\\ \\\" \\[ \\] \\-");
                }
            };
            self.at += 2;
            return Ok(u32::from(value));
        }
        // The text was UTF-8, and no step ends inside a character.
        let one = rest.get(..rest.len().min(4)).unwrap_or_default();
        let valid = match core::str::from_utf8(one) {
            Ok(text) => Some(text),
            Err(e) => core::str::from_utf8(one.get(..e.valid_up_to()).unwrap_or_default()).ok(),
        };
        let Some(c) = valid.and_then(|text| text.chars().next()) else {
            return self.fail("expected a character");
        };
        self.at += c.len_utf8();
        Ok(u32::from(c))
    }

    fn hexadecimal(&mut self, digits: usize) -> Result<u32> {
        let text = self.text.get(self.at + 2..self.at + 2 + digits);
        let all = text.filter(|text| text.iter().all(u8::is_ascii_hexdigit));
        let value = all
            .and_then(|text| core::str::from_utf8(text).ok())
            .and_then(|text| u32::from_str_radix(text, 16).ok());
        match value.filter(|value| *value <= utf8::LAST) {
            Some(value) => {
                self.at += 2 + digits;
                Ok(value)
            }
            None => self.fail(format!(
                "expected {digits} hexadecimal digits of a character up to 10FFFF"
            )),
        }
    }

    #[inline(never)]
    fn repetition(&mut self, group: &mut Group, nested: bool) -> Result<()> {
        let at = self.at;
        let (min, max) = match self.peek() {
            Some(b'*') => (0, ENDLESS),
            Some(b'+') => (1, ENDLESS),
            Some(b'?') => (0, 1),
            _ => {
                self.at += 1;
                self.counts(nested)?
            }
        };
        if self.at == at {
            self.at += 1;
        }
        let Some(slot) = group.item else {
            self.at = at;
            return self.fail("expected an item before its repetition");
        };
        group.stacked += 1;
        if group.stacked > MAX_STACKED {
            self.at = at;
            return self.fail(format!(
                "expected at most {MAX_STACKED} repetitions of one item"
            ));
        }
        self.repeat(slot, group.stacked > 1, min, max)
            .map_err(|why| unfit(at, why))
    }

    /// `m}`, `m,}` or `m,n}`.
    fn counts(&mut self, nested: bool) -> Result<(u32, u32)> {
        self.space(nested);
        let min = self.integer()?;
        self.space(nested);
        if self.eat(b"}") {
            return Ok((min, min));
        }
        if !self.eat(b",") {
            return self.fail("expected , or }");
        }
        self.space(nested);
        let mut max = ENDLESS;
        if self.peek().is_some_and(|c| c.is_ascii_digit()) {
            let at = self.at;
            max = self.integer()?;
            if max < min {
                self.at = at;
                return self.fail(format!("expected a number from {min}"));
            }
            self.space(nested);
        }
        if !self.eat(b"}") {
            return self.fail("expected }");
        }
        Ok((min, max))
    }

    fn integer(&mut self) -> Result<u32> {
        let start = self.at;
        let mut value = 0u32;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            let next = value
                .checked_mul(10)
                .and_then(|v| v.checked_add(u32::from(digit - b'0')));
            match next.filter(|v| *v < ENDLESS) {
                Some(next) => value = next,
                None => {
                    self.at = start;
                    return self.fail(format!("expected a number below {ENDLESS}"));
                }
            }
            self.at += 1;
        }
        if self.at == start {
            return self.fail("expected a number");
        }
        Ok(value)
    }

    /// Repeats the item behind `slot`, which is the last one.
    #[inline(never)]
    fn repeat(
        &mut self,
        slot: u32,
        again: bool,
        min: u32,
        max: u32,
    ) -> core::result::Result<(), Unfit> {
        if again {
            // The free operation has been used.
            self.code.insert(slot)?;
            self.code.put(slot, Op::Goto(slot + 1));
        }
        match (min, max) {
            (1, 1) => {}
            (0, 1) => self.code.put(slot, Op::Split(slot + 1, self.code.here())),
            (0 | 1, ENDLESS) => {
                let end = self.code.here();
                self.code.push(Op::Split(slot + 1, end + 1))?;
                if min == 0 {
                    self.code.put(slot, Op::Goto(end));
                }
            }
            _ => {
                self.code.push(Op::Return)?;
                self.code.put(slot, Op::Goto(self.code.here()));
                let body = self.code.target(slot + 1)?;
                self.first_use.resize(body as usize + 1, 0);
                self.code.repeat(body, min, max)?;
            }
        }
        Ok(())
    }
}
