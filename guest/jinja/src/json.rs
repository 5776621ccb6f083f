//! JSON to values and back.

use crate::error::{Budget, Limits, MAX_DEPTH, Place, Res, push};
use crate::show;
use crate::text::{Builder, Text};
use crate::value::{Dict, SeqKind, Value};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Most values in a text.
/// They may come in several texts, which all have to be read with the fuel of one event.
const MAX_VALUES: u32 = 1 << 14;

/// What some editors put at the beginning of a file, and JSON does not have there.
const BOM: char = '\u{feff}';

/// Reads JSON text; its strings come from the data if `user`.
///
/// # Errors
/// Text that is no JSON, with the place; data nested more than 60 deep, or of more than 16384 values.
pub fn parse(text: &str, user: bool) -> Result<Value, crate::Error> {
    let mut parser = Parser {
        text,
        at: 0,
        user,
        values: 0,
        budget: Budget::new(Limits::default()),
    };
    let result = parser.value(0).and_then(|value| {
        parser.spaces();
        match parser.rest() {
            "" => Ok(value),
            _ => Err(parser.unexpected("the end")),
        }
    });
    result.map_err(|error| error.at(Place::FIRST.behind(text.get(..parser.at).unwrap_or_default())))
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    user: bool,
    values: u32,
    budget: Budget,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn accept(&mut self, token: &str) -> bool {
        let is = self.rest().starts_with(token);
        self.at += if is { token.len() } else { 0 };
        is
    }

    fn unexpected(&self, expected: &str) -> crate::Error {
        match self.rest().chars().next() {
            Some(BOM) => {
                err!("JSON: expected {expected}, found a byte order mark (U+FEFF)")
            }
            Some(c) if c.is_control() => {
                err!("JSON: expected {expected}, found U+{:04X}", u32::from(c))
            }
            Some(c) => err!("JSON: expected {expected}, found '{c}'"),
            None => err!("JSON: expected {expected}, but the text ends"),
        }
    }

    fn value(&mut self, depth: u8) -> Res<Value> {
        if depth > MAX_DEPTH {
            return Err(err!("JSON: nested more than {MAX_DEPTH} deep"));
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(limit!("JSON: expected at most {MAX_VALUES} values"));
        }
        self.budget.spend(1)?;
        self.spaces();
        match self.rest().bytes().next() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::Str),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in [
                    ("true", Value::Bool(true)),
                    ("false", Value::Bool(false)),
                    ("null", Value::None),
                ] {
                    if self.accept(word) {
                        return Ok(value);
                    }
                }
                Err(self.unexpected("a value"))
            }
        }
    }

    fn object(&mut self, depth: u8) -> Res<Value> {
        self.at += 1;
        let dict = Dict::default();
        self.spaces();
        if self.accept("}") {
            return Ok(Value::dict(dict));
        }
        loop {
            self.spaces();
            if !self.rest().starts_with('"') {
                return Err(self.unexpected("a string as key"));
            }
            let key = Value::Str(self.string()?);
            self.spaces();
            if !self.accept(":") {
                return Err(self.unexpected("':'"));
            }
            let value = self.value(depth + 1)?;
            dict.set(key, value, &self.budget)?;
            self.spaces();
            if self.accept("}") {
                return Ok(Value::dict(dict));
            }
            if !self.accept(",") {
                return Err(self.unexpected("',' or '}'"));
            }
        }
    }

    fn array(&mut self, depth: u8) -> Res<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.spaces();
        if self.accept("]") {
            return Value::list(items);
        }
        loop {
            let item = self.value(depth + 1)?;
            push(&mut items, item)?;
            self.spaces();
            if self.accept("]") {
                return Value::list(items);
            }
            if !self.accept(",") {
                return Err(self.unexpected("',' or ']'"));
            }
        }
    }

    /// So many digits.
    fn digits(text: &str) -> usize {
        text.bytes().take_while(u8::is_ascii_digit).count()
    }

    fn number(&mut self) -> Res<Value> {
        let rest = self.rest();
        let behind = |n: usize| rest.get(n..).unwrap_or_default();
        let sign = usize::from(rest.starts_with('-'));
        let whole = Self::digits(behind(sign));
        let mut len = sign + whole;
        let mut good = whole > 0 && (whole == 1 || !behind(sign).starts_with('0'));
        if let Some(fraction) = behind(len).strip_prefix('.') {
            let digits = Self::digits(fraction);
            good &= digits > 0;
            len += 1 + digits;
        }
        if let Some(power) = behind(len).strip_prefix(['e', 'E']) {
            let unsigned = power.strip_prefix(['+', '-']).unwrap_or(power);
            let digits = Self::digits(unsigned);
            good &= digits > 0;
            len += 1 + power.len() - unsigned.len() + digits;
        }
        let text = rest.get(..len).unwrap_or_default();
        // An integer that is none of ours is a number all the same.
        let int = text.parse().ok().filter(|_| len == sign + whole);
        let value = int
            .map(Value::Int)
            .or_else(|| text.parse().ok().map(Value::Float));
        match value.filter(|_| good) {
            Some(value) => {
                self.at += len;
                Ok(value)
            }
            None => Err(self.unexpected("a number")),
        }
    }

    fn string(&mut self) -> Res<Text> {
        let opened = self.at;
        self.at += 1;
        let mut out = Builder::default();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find(['"', '\\']) else {
                self.at = opened;
                return Err(err!("JSON: expected '\"' to end this string"));
            };
            let plain = rest.get(..end).unwrap_or_default();
            if let Some(at) = plain.bytes().position(|b| b < 0x20) {
                self.at += at;
                return Err(self.unexpected("an escape, such as \\n"));
            }
            out.add(plain, self.user);
            self.at += end;
            if self.accept("\"") {
                return out.finish(&self.budget);
            }
            self.at += 1;
            let c = self.escape()?;
            out.char(c, self.user);
        }
    }

    /// What a backslash, which is taken, begins.
    fn escape(&mut self) -> Res<char> {
        let Some(c) = self.rest().chars().next() else {
            return Err(self.unexpected("an escape"));
        };
        let plain = match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                self.at += 1;
                let high = self.hex()?;
                if !(0xd800..0xdc00).contains(&high) || !self.rest().starts_with("\\u") {
                    return Ok(char::from_u32(high).unwrap_or('\u{fffd}'));
                }
                let back = self.at;
                self.at += 2;
                let low = self.hex()?;
                if (0xdc00..0xe000).contains(&low) {
                    let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
                }
                self.at = back;
                return Ok('\u{fffd}');
            }
            _ => return Err(self.unexpected("an escape")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn hex(&mut self) -> Res<u32> {
        let digits = self.rest().get(..4).unwrap_or_default();
        let code = u32::from_str_radix(digits, 16).ok();
        let Some(code) = code.filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit())) else {
            return Err(self.unexpected("four hexadecimal digits"));
        };
        self.at += 4;
        Ok(code)
    }
}

/// How JSON is written.
pub struct Style {
    /// Spaces per level; None: on one line.
    pub indent: Option<usize>,
    /// Between elements, and between key and value.
    pub separators: (String, String),
    pub sort_keys: bool,
    pub ascii: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            indent: None,
            separators: (String::from(", "), String::from(": ")),
            sort_keys: false,
            ascii: false,
        }
    }
}

/// Writes a value as JSON, on one line, as Python's `json.dumps` does.
///
/// # Errors
/// A value that JSON does not have.
pub fn write(value: &Value) -> Result<Text, crate::Error> {
    dump(value, &Style::default(), &Budget::new(Limits::default()))
}

/// Writes a value as JSON.
pub fn dump(value: &Value, style: &Style, budget: &Budget) -> Res<Text> {
    let mut out = Builder::default();
    write_value(value, style, 0, &mut out, budget)?;
    out.finish(budget)
}

fn write_value(
    value: &Value,
    style: &Style,
    level: usize,
    out: &mut Builder,
    budget: &Budget,
) -> Res<()> {
    budget.spend(1)?;
    match value {
        Value::None => out.str("null"),
        Value::Bool(b) => out.str(if *b { "true" } else { "false" }),
        Value::Int(n) => out.str(&n.to_string()),
        Value::Float(f) => out.str(&float(*f)),
        Value::Str(text) => write_string(text, style, out),
        Value::Seq(seq) if seq.kind != SeqKind::Generator => {
            let items = seq.take(budget)?;
            out.str("[");
            for (i, item) in items.iter().enumerate() {
                separate(style, i > 0, level + 1, out);
                write_value(item, style, level + 1, out, budget)?;
            }
            close(style, items.is_empty(), level, "]", out);
        }
        Value::Dict(dict) => {
            let mut items = dict.items();
            if style.sort_keys {
                crate::sequences::sort(&mut items, |a, b| crate::arith::order(&a.0, &b.0, budget))?;
            }
            out.str("{");
            for (i, (key, value)) in items.iter().enumerate() {
                separate(style, i > 0, level + 1, out);
                match key {
                    Value::Str(key) => write_string(key, style, out),
                    Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                        out.str("\"");
                        write_value(key, style, 0, out, budget)?;
                        out.str("\"");
                    }
                    _ => return Err(err!("{} cannot be a key in JSON", key.kind())),
                }
                out.str(&style.separators.1);
                write_value(value, style, level + 1, out, budget)?;
            }
            close(style, items.is_empty(), level, "}", out);
        }
        Value::Undefined(name) => return Err(crate::arith::undefined(name.as_deref())),
        other => return Err(err!("{} cannot be written as JSON", other.kind())),
    }
    out.check(budget)
}

fn float(f: f64) -> String {
    match show::float(f).as_str() {
        "inf" => String::from("Infinity"),
        "-inf" => String::from("-Infinity"),
        "nan" => String::from("NaN"),
        text => String::from(text),
    }
}

fn line(indent: usize, out: &mut Builder) {
    out.str("\n");
    for _ in 0..indent {
        out.str(" ");
    }
}

fn separate(style: &Style, comma: bool, level: usize, out: &mut Builder) {
    if comma {
        out.str(&style.separators.0);
    }
    if let Some(indent) = style.indent {
        line(indent * level, out);
    }
}

fn close(style: &Style, empty: bool, level: usize, sign: &str, out: &mut Builder) {
    if let (Some(indent), false) = (style.indent, empty) {
        line(indent * level, out);
    }
    out.str(sign);
}

fn write_string(text: &Text, style: &Style, out: &mut Builder) {
    out.str("\"");
    for (c, user) in text.chars() {
        match c {
            '"' => out.add("\\\"", user),
            '\\' => out.add("\\\\", user),
            '\n' => out.add("\\n", user),
            '\r' => out.add("\\r", user),
            '\t' => out.add("\\t", user),
            '\u{8}' => out.add("\\b", user),
            '\u{c}' => out.add("\\f", user),
            c if c < ' ' || (style.ascii && !c.is_ascii()) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.add(&format!("\\u{unit:04x}"), user);
                }
            }
            c => out.char(c, user),
        }
    }
    out.str("\"");
}
