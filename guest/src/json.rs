//! JSON: a reader that knows where everything stood, and a writer in nlohmann's compact form.
//!
//! Numbers stay text: what they mean is up to whoever asks, and no floating point is linked in for them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Arrays and objects in one another.
const MAX_DEPTH: u32 = 128;
/// Values in one text: each takes some fifty bytes, of a memory that may have 16 MiB.
const MAX_VALUES: u32 = 1 << 16;

/// A value and the byte at which it began.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Where it stood.
    pub at: usize,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as it was written.
    Number(Box<str>),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Value>),
    /// An object, in the order it was written; of equal names the last value counts, in the place of the first.
    Object(Vec<(String, Value)>),
}

/// What is wrong, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The byte.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl Value {
    /// The value of this name, if this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Kind::Object(items) = &self.kind else {
            return None;
        };
        items.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The values of an array.
    pub fn array(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::Array(values) => Some(values),
            _ => None,
        }
    }

    /// The names and values of an object.
    pub fn object(&self) -> Option<&[(String, Self)]> {
        match &self.kind {
            Kind::Object(items) => Some(items),
            _ => None,
        }
    }

    /// The number as it was written.
    pub fn number(&self) -> Option<&str> {
        match &self.kind {
            Kind::Number(text) => Some(text),
            _ => None,
        }
    }

    /// Appends it without any blanks.
    pub fn write(&self, out: &mut String) {
        match &self.kind {
            Kind::Null => out.push_str("null"),
            Kind::Bool(true) => out.push_str("true"),
            Kind::Bool(false) => out.push_str("false"),
            Kind::Number(text) => write_number(text, out),
            Kind::Text(text) => write_text(text, out),
            Kind::Array(values) => {
                out.push('[');
                for (i, value) in values.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    value.write(out);
                }
                out.push(']');
            }
            Kind::Object(items) => {
                out.push('{');
                for (i, (name, value)) in items.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    write_text(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Appends a string in its quotes.
pub fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' => {
                out.push_str("\\u00");
                for digit in [u32::from(c) >> 4, u32::from(c) & 15] {
                    out.extend(char::from_digit(digit, 16));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number as written: ± 0.DIGITS · 10^exponent, without zeros at either end of the digits.
pub struct Decimal {
    /// Below 0.
    pub negative: bool,
    /// None if it is 0.
    pub digits: String,
    /// See above.
    pub exponent: i64,
    /// Without `.` and exponent.
    pub integer: bool,
}

impl Decimal {
    /// Reads a number that [`parse`] took.
    pub fn new(text: &str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let integer = text.bytes().all(|c| c.is_ascii_digit());
        let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // Powers that do not fit are beyond everything in any case.
        let beyond = if power.starts_with('-') {
            -1 << 32
        } else {
            1 << 32
        };
        let power: i64 = power.trim_start_matches('+').parse().unwrap_or(beyond);
        let mut digits = String::from(whole);
        digits.push_str(fraction);
        let zeros = digits.bytes().take_while(|c| *c == b'0').count();
        let kept = digits.trim_matches('0').into();
        Self {
            negative,
            exponent: whole.len() as i64 - zeros as i64 + power.clamp(-1 << 32, 1 << 32),
            digits: kept,
            integer,
        }
    }

    /// Whether there is nothing behind the point, however it is written: 5.0 is whole.
    pub fn is_whole(&self) -> bool {
        self.digits.is_empty() || self.digits.len() as i64 <= self.exponent
    }

    /// The integer next to it, above or below; as near as an i128 comes.
    pub fn round(&self, up: bool) -> i128 {
        let mut whole: i128 = 0;
        let mut digits = self.digits.bytes();
        for _ in 0..self.exponent.clamp(0, 40) {
            let digit = digits.next().map_or(0, |c| i128::from(c - b'0'));
            whole = whole.saturating_mul(10);
            whole = if self.negative {
                whole.saturating_sub(digit)
            } else {
                whole.saturating_add(digit)
            };
        }
        let more = digits.next().is_some();
        match (more, up, self.negative) {
            (true, true, false) => whole.saturating_add(1),
            (true, false, true) => whole.saturating_sub(1),
            _ => whole,
        }
    }
}

fn write_number(text: &str, out: &mut String) {
    let n = Decimal::new(text);
    if n.integer {
        out.push_str(if text == "-0" { "0" } else { text });
        return;
    }
    out.push_str(if n.negative { "-" } else { "" });
    let count = n.digits.len() as i64;
    let zeros = |out: &mut String, count: i64| out.extend((0..count).map(|_| '0'));
    if count == 0 {
        out.push_str("0.0");
    } else if count <= n.exponent && n.exponent <= 15 {
        out.push_str(&n.digits);
        zeros(out, n.exponent - count);
        out.push_str(".0");
    } else if 0 < n.exponent && n.exponent <= 15 {
        let (whole, fraction) = n.digits.split_at(n.exponent as usize);
        out.extend([whole, ".", fraction]);
    } else if -4 < n.exponent && n.exponent <= 0 {
        out.push_str("0.");
        zeros(out, -n.exponent);
        out.push_str(&n.digits);
    } else {
        let (first, rest) = n.digits.split_at(1);
        out.extend([first, if rest.is_empty() { "" } else { "." }, rest, "e"]);
        let power = n.exponent - 1;
        out.push(if power < 0 { '-' } else { '+' });
        let _ = core::fmt::Write::write_fmt(out, format_args!("{:02}", power.unsigned_abs()));
    }
}

/// Reads a text that is one value.
pub fn parse(text: &str) -> Result<Value, Error> {
    let mut p = Parser {
        text: text.as_bytes(),
        at: 0,
        depth: 0,
        count: 0,
    };
    if text.starts_with('\u{feff}') {
        return Err(p.fail("expected no byte order mark (U+FEFF) before the JSON"));
    }
    let value = p.value()?;
    p.space();
    match p.peek() {
        None => Ok(value),
        Some(_) => Err(p.fail("expected the end of the text")),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
    count: u32,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fail(&self, expected: &'static str) -> Error {
        Error {
            at: self.at,
            expected,
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found = rest.starts_with(text.as_bytes());
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn value(&mut self) -> Result<Value, Error> {
        self.space();
        let at = self.at;
        if self.depth > MAX_DEPTH {
            return Err(self.fail("expected at most 128 arrays and objects in one another"));
        }
        self.count += 1;
        if self.count > MAX_VALUES {
            return Err(self.fail("expected at most 65536 values"));
        }
        self.depth += 1;
        let kind = match self.peek() {
            Some(b'{') => self.object()?,
            Some(b'[') => self.array()?,
            Some(b'"') => Kind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ if self.eat("null") => Kind::Null,
            _ if self.eat("true") => Kind::Bool(true),
            _ if self.eat("false") => Kind::Bool(false),
            _ => return Err(self.fail("expected a value")),
        };
        self.depth -= 1;
        Ok(Value { at, kind })
    }

    fn object(&mut self) -> Result<Kind, Error> {
        self.at += 1;
        let mut items: Vec<(String, Value)> = Vec::new();
        // Where each name is, so that many names take no time squared.
        let mut places = alloc::collections::BTreeMap::new();
        self.space();
        if self.eat("}") {
            return Ok(Kind::Object(items));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.fail("expected a name in quotes"));
            }
            let name = self.string()?;
            self.space();
            if !self.eat(":") {
                return Err(self.fail("expected :"));
            }
            let value = self.value()?;
            let place = *places.entry(name.clone()).or_insert(items.len());
            match items.get_mut(place) {
                Some((_, old)) => *old = value,
                None => items.push((name, value)),
            }
            self.space();
            if self.eat("}") {
                return Ok(Kind::Object(items));
            }
            if !self.eat(",") {
                return Err(self.fail("expected , or }"));
            }
        }
    }

    fn array(&mut self) -> Result<Kind, Error> {
        self.at += 1;
        let mut values = Vec::new();
        self.space();
        if self.eat("]") {
            return Ok(Kind::Array(values));
        }
        loop {
            values.push(self.value()?);
            self.space();
            if self.eat("]") {
                return Ok(Kind::Array(values));
            }
            if !self.eat(",") {
                return Err(self.fail("expected , or ]"));
            }
        }
    }

    fn number(&mut self) -> Result<Kind, Error> {
        let start = self.at;
        self.eat("-");
        if !self.eat("0") {
            self.digits()?;
        }
        if self.eat(".") {
            self.digits()?;
        }
        if self.eat("e") || self.eat("E") {
            let _ = self.eat("+") || self.eat("-");
            self.digits()?;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let text = core::str::from_utf8(text).unwrap_or_default();
        Ok(Kind::Number(text.into()))
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.fail("expected a digit"));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String, Error> {
        let opened = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while self
                .peek()
                .is_some_and(|c| c >= b' ' && c != b'"' && c != b'\\')
            {
                self.at += 1;
            }
            let plain = self.text.get(start..self.at).unwrap_or_default();
            out.push_str(core::str::from_utf8(plain).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => {
                    return Err(self.fail("expected an escape instead of a control character"));
                }
                None => {
                    self.at = opened;
                    return Err(self.fail("expected \" to end this text"));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let escape = self.text.get(self.at + 1).copied();
        let c = match escape {
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'u') => return self.unicode(),
            _ => return Err(self.fail("expected one of \\n \\r \\t \\b \\f \\u \\\" \\\\ \\/")),
        };
        self.at += 2;
        Ok(c)
    }

    fn unicode(&mut self) -> Result<char, Error> {
        let opened = self.at;
        let high = self.unit()?;
        let mut code = high;
        if (0xD800..0xDC00).contains(&high) {
            let start = self.at;
            let rest = self.text.get(start..).unwrap_or_default();
            let low = match rest.starts_with(b"\\u") {
                true => self.unit()?,
                false => 0,
            };
            if !(0xDC00..0xE000).contains(&low) {
                self.at = start;
                return Err(self.fail(
                    "expected the second half of a surrogate pair here, \\uDC00 to \\uDFFF",
                ));
            }
            code = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        }
        char::from_u32(code).ok_or_else(|| {
            self.at = opened;
            self.fail("expected the first half of a surrogate pair, \\uD800 to \\uDBFF, before this second one")
        })
    }

    /// `\uXXXX`.
    fn unit(&mut self) -> Result<u32, Error> {
        let digits = self.text.get(self.at + 2..self.at + 6);
        let digits = digits.filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|d| core::str::from_utf8(d).ok());
        let value = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
        match value.filter(|_| self.eat("\\u")) {
            Some(value) => {
                self.at += 4;
                Ok(value)
            }
            None => Err(self.fail("expected \\u and four hexadecimal digits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &str) -> String {
        let mut out = String::new();
        parse(text)
            .unwrap_or_else(|e| panic!("{text}: {e:?}"))
            .write(&mut out);
        out
    }

    #[test]
    fn what_is_read_is_written() {
        for (text, same) in [
            (
                " { \"a\" : [ 1 , true, null ,{}] } ",
                r#"{"a":[1,true,null,{}]}"#,
            ),
            (r#""\u00e9\ud83d\ude00\n\u0001\/""#, "\"é😀\\n\\u0001/\""),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
            (
                "[1.0,1.50,-0.001,1e5,1e20,1.25E-9,-0,0.0,123456789012345678]",
                "[1.0,1.5,-0.001,100000.0,1e+20,1.25e-09,0,0.0,123456789012345678]",
            ),
        ] {
            assert_eq!(again(text), same);
        }
        for (text, at, expected) in [
            ("", 0, "expected a value"),
            ("{\"a\" 1}", 5, "expected :"),
            (
                "\u{feff}{}",
                0,
                "expected no byte order mark (U+FEFF) before the JSON",
            ),
            ("[1 2]", 3, "expected , or ]"),
            ("{\"a\":1,}", 7, "expected a name in quotes"),
            ("\"abc", 0, "expected \" to end this text"),
            ("\"\\u12\"", 1, "expected \\u and four hexadecimal digits"),
            (
                "\"\\ud800x\"",
                7,
                "expected the second half of a surrogate pair here, \\uDC00 to \\uDFFF",
            ),
            (
                "\"\\ud83d\"",
                7,
                "expected the second half of a surrogate pair here, \\uDC00 to \\uDFFF",
            ),
            (
                "\"\\ud83d\\ud83d\"",
                7,
                "expected the second half of a surrogate pair here, \\uDC00 to \\uDFFF",
            ),
            (
                "\"\\udd35\"",
                1,
                "expected the first half of a surrogate pair, \\uD800 to \\uDBFF, before this second one",
            ),
            ("01", 1, "expected the end of the text"),
            ("1.", 2, "expected a digit"),
            (
                "\"\n\"",
                1,
                "expected an escape instead of a control character",
            ),
        ] {
            assert_eq!(parse(text), Err(Error { at, expected }), "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&alloc::format!("[{}0]", "0,".repeat(65_534))).is_ok());
        assert!(parse(&alloc::format!("[{}0]", "0,".repeat(65_535))).is_err());
    }

    #[test]
    fn numbers_round_to_either_side() {
        for (text, down, up) in [
            ("1.5", 1, 2),
            ("-1.5", -2, -1),
            ("0.001", 0, 1),
            ("-1e-3", -1, 0),
            ("12e2", 1200, 1200),
            ("-0.0", 0, 0),
            ("18446744073709551615.5", (1 << 64) - 1, 1 << 64),
            ("1e40", i128::MAX, i128::MAX),
            ("-1e40", i128::MIN, i128::MIN),
            ("1e-99999999999999999999", 0, 1),
        ] {
            let n = Decimal::new(text);
            assert_eq!((n.round(false), n.round(true)), (down, up), "{text}");
        }
    }
}
