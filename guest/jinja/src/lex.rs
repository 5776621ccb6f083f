//! Cuts a template into text and the tokens of its tags, with the rules of white space around these.

use crate::error::{Place, Res};
use alloc::string::String;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// Text between tags.
    Text(String),
    /// `{{`
    Print,
    /// `}}`
    PrintEnd,
    /// `{%`
    Block,
    /// `%}`
    BlockEnd,
    Name(String),
    Str(String),
    Int(i64),
    Float(f64),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

impl Token {
    /// What a message says of it where something else was expected.
    pub fn found(&self) -> String {
        let text = match self {
            Self::Text(_) => "text",
            Self::Print => "{{",
            Self::PrintEnd => "}}",
            Self::Block => "{%",
            Self::BlockEnd => "%}",
            Self::Name(name) => name,
            Self::Str(_) => "a string",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Sign(sign) => sign,
            Self::End => return String::from("but the template ends"),
        };
        alloc::format!("found '{text}'")
    }
}

/// Longer signs before their beginnings.
const SIGNS: [&str; 27] = [
    "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", ".", ",", ":",
    "|", "(", ")", "[", "]", "{", "}", ";", "!",
];

#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Text,
    Print,
    Block,
}

/// Reads tokens.
pub struct Lexer<'s> {
    rest: &'s str,
    /// Where `rest` begins, and where the latest token or tag did.
    here: Place,
    pub begun: Place,
    inside: Inside,
    /// Brackets that are open in this tag.
    open: usize,
    /// Nothing but white space came in this line before.
    line_start: bool,
    /// White space before the next text goes.
    trim: bool,
    /// The beginning of a tag, behind the text before it.
    begin: Option<Token>,
}

impl<'s> Lexer<'s> {
    /// Line ends of the source are `\n` already.
    pub fn new(source: &'s str) -> Self {
        Self {
            rest: source.strip_suffix('\n').unwrap_or(source),
            here: Place::FIRST,
            begun: Place::FIRST,
            inside: Inside::Text,
            open: 0,
            line_start: true,
            trim: false,
            begin: None,
        }
    }

    /// Takes so many bytes.
    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.here = self.here.behind(taken);
        self.rest = rest;
        taken
    }

    /// The next token.
    pub fn next(&mut self) -> Res<Token> {
        if let Some(token) = self.begin.take() {
            return Ok(token);
        }
        match self.inside {
            Inside::Text => self.text(),
            _ => self.tag(),
        }
    }

    fn text(&mut self) -> Res<Token> {
        if core::mem::take(&mut self.trim) {
            let spaces = self.rest.len() - self.rest.trim_start().len();
            self.line_start |= self.take(spaces).contains('\n');
        }
        self.begun = self.here;
        if self.rest.is_empty() {
            return Ok(Token::End);
        }
        let found = self.rest.match_indices('{').find(|(at, _)| {
            let after = self.rest.as_bytes().get(at + 1);
            matches!(after, Some(b'{' | b'%' | b'#'))
        });
        let Some((at, _)) = found else {
            let text = self.take(usize::MAX);
            return Ok(Token::Text(String::from(text)));
        };
        let text = self.take(at);
        self.begun = self.here;
        let kind = self.take(2);
        let mut text = self.before(text, kind != "{{");
        self.line_start = false;
        if kind == "{#" {
            self.comment()?;
        } else if kind == "{%" && self.raw()? {
            text += &self.raw_text()?;
        } else {
            self.open = 0;
            let (inside, begin) = match kind {
                "{{" => (Inside::Print, Token::Print),
                _ => (Inside::Block, Token::Block),
            };
            self.inside = inside;
            self.begin = Some(begin);
        }
        Ok(Token::Text(text))
    }

    /// The text before a tag, without the white space that its sign takes away.
    fn before(&mut self, text: &str, strips: bool) -> String {
        let sign = self.rest.bytes().next();
        if matches!(sign, Some(b'-' | b'+')) {
            self.take(1);
        }
        let kept = match sign {
            Some(b'-') => text.trim_end(),
            Some(b'+') => text,
            _ if strips => {
                let line = text.rfind('\n').map_or(0, |at| at + 1);
                let blank = text.get(line..).is_some_and(|t| t.trim().is_empty());
                match blank && (line > 0 || self.line_start) {
                    true => text.get(..line).unwrap_or_default(),
                    false => text,
                }
            }
            _ => text,
        };
        String::from(kept)
    }

    /// Behind the end of a tag.
    fn after(&mut self, sign: Option<u8>, trims: bool) {
        self.inside = Inside::Text;
        self.trim = sign == Some(b'-');
        self.line_start = false;
        if trims && sign.is_none() && self.rest.starts_with('\n') {
            self.take(1);
            self.line_start = true;
        }
    }

    fn comment(&mut self) -> Res<()> {
        let Some(end) = self.rest.find("#}") else {
            return Err(err!("expected '#}}' to end this comment"));
        };
        let comment = self.take(end);
        self.take(2);
        let sign = comment.bytes().last().filter(|b| matches!(b, b'-' | b'+'));
        self.after(sign, true);
        Ok(())
    }

    /// Whether this is `{% raw %}`, which is read then.
    fn raw(&mut self) -> Res<bool> {
        let Some(rest) = self.rest.trim_start().strip_prefix("raw") else {
            return Ok(false);
        };
        let rest = rest.trim_start();
        let (sign, end) = match (rest.strip_prefix("-%}"), rest.strip_prefix("%}")) {
            (Some(rest), _) => (Some(b'-'), rest),
            (_, Some(rest)) => (None, rest),
            _ => return Ok(false),
        };
        self.take(self.rest.len() - end.len());
        self.after(sign, false);
        Ok(true)
    }

    fn raw_text(&mut self) -> Res<String> {
        if core::mem::take(&mut self.trim) {
            self.take(self.rest.len() - self.rest.trim_start().len());
        }
        let mut from = 0;
        while let Some(at) = self.rest.get(from..).and_then(|r| r.find("{%")) {
            let at = from + at;
            from = at + 2;
            let tag = self.rest.get(from..).unwrap_or_default();
            let tag = tag.strip_prefix(['-', '+']).unwrap_or(tag).trim_start();
            let Some(end) = tag.strip_prefix("endraw").map(str::trim_start) else {
                continue;
            };
            let signed = end.strip_prefix(['-', '+']).unwrap_or(end);
            let Some(behind) = signed.strip_prefix("%}") else {
                continue;
            };
            let sign = end.bytes().next().filter(|b| matches!(b, b'-' | b'+'));
            let text = self.take(at);
            self.take(2);
            let text = self.before(text, true);
            self.take(self.rest.len() - behind.len());
            self.after(sign, true);
            return Ok(text);
        }
        Err(err!("expected '{{% endraw %}}' to end this 'raw'"))
    }

    fn tag(&mut self) -> Res<Token> {
        let spaces = self.rest.len() - self.rest.trim_start().len();
        self.take(spaces);
        self.begun = self.here;
        let (end, token) = match self.inside {
            Inside::Print => ("}}", Token::PrintEnd),
            _ => ("%}", Token::BlockEnd),
        };
        if self.open == 0 {
            let signed = self.rest.strip_prefix(['-', '+']);
            let signed = signed.filter(|rest| rest.starts_with(end));
            if signed.is_some() || self.rest.starts_with(end) {
                let sign = signed.and(self.rest.bytes().next());
                self.take(end.len() + usize::from(sign.is_some()));
                let block = self.inside == Inside::Block;
                self.after(sign, block);
                return Ok(token);
            }
        }
        let Some(first) = self.rest.chars().next() else {
            return Err(err!("expected '{end}', but the template ends"));
        };
        match first {
            '\'' | '"' => self.string(first),
            '0'..='9' => self.number(),
            c if c == '_' || c.is_alphabetic() => {
                let more = |c: char| c == '_' || c.is_alphanumeric();
                let len = self.rest.find(|c| !more(c)).unwrap_or(self.rest.len());
                Ok(Token::Name(String::from(self.take(len))))
            }
            _ => self.sign(first),
        }
    }

    fn sign(&mut self, first: char) -> Res<Token> {
        let Some(sign) = SIGNS.iter().find(|sign| self.rest.starts_with(**sign)) else {
            return Err(err!("unexpected '{first}'"));
        };
        self.take(sign.len());
        match *sign {
            "(" | "[" | "{" => self.open += 1,
            ")" | "]" | "}" => {
                let Some(open) = self.open.checked_sub(1) else {
                    return Err(err!("unexpected '{sign}'"));
                };
                self.open = open;
            }
            _ => {}
        }
        Ok(Token::Sign(sign))
    }

    fn number(&mut self) -> Res<Token> {
        let digits = |text: &str| {
            let digit = |c: char| c.is_ascii_digit() || c == '_';
            text.find(|c| !digit(c)).unwrap_or(text.len())
        };
        let radix = match self.rest.get(..2) {
            Some("0x" | "0X") => 16,
            Some("0o" | "0O") => 8,
            Some("0b" | "0B") => 2,
            _ => 10,
        };
        if radix != 10 {
            self.take(2);
            let len = self
                .rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let text = self.take(len.unwrap_or(usize::MAX)).replace('_', "");
            return match i64::from_str_radix(&text, radix) {
                Ok(n) => Ok(Token::Int(n)),
                Err(_) => Err(err!("expected a number, found '{text}'")),
            };
        }
        let at = |n: usize| self.rest.get(n..).unwrap_or_default();
        let mut len = digits(self.rest);
        let mut float = false;
        if let Some(fraction) = at(len).strip_prefix('.')
            && fraction.starts_with(|c: char| c.is_ascii_digit())
        {
            len += 1 + digits(fraction);
            float = true;
        }
        if let Some(power) = at(len).strip_prefix(['e', 'E']) {
            let unsigned = power.strip_prefix(['+', '-']).unwrap_or(power);
            if unsigned.starts_with(|c: char| c.is_ascii_digit()) {
                len += 1 + power.len() - unsigned.len() + digits(unsigned);
                float = true;
            }
        }
        let text = self.take(len).replace('_', "");
        let token = match float {
            true => text.parse().ok().map(Token::Float),
            false => text.parse().ok().map(Token::Int),
        };
        token.ok_or_else(|| err!("the number {text} is too large"))
    }

    /// A string, with Python's escapes.
    fn string(&mut self, quote: char) -> Res<Token> {
        self.take(1);
        let mut out = String::new();
        loop {
            let Some(at) = self.rest.find([quote, '\\']) else {
                return Err(err!("expected {quote} to end this string"));
            };
            out.push_str(self.take(at));
            if self.take(1) != "\\" {
                return Ok(Token::Str(out));
            }
            let Some(c) = self.rest.chars().next() else {
                return Err(err!("expected {quote} to end this string"));
            };
            self.take(c.len_utf8());
            let plain = match c {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                '\\' | '\'' | '"' => c,
                '\n' => continue,
                'x' => self.code(2, 16)?,
                'u' => self.code(4, 16)?,
                'U' => self.code(8, 16)?,
                '0'..='7' => self.octal(c)?,
                other => {
                    out.push('\\');
                    other
                }
            };
            out.push(plain);
        }
    }

    /// Up to three octal digits, of which one was taken.
    fn octal(&mut self, first: char) -> Res<char> {
        let mut code = first.to_digit(8).unwrap_or(0);
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else {
                break;
            };
            code = code * 8 + digit;
            self.take(1);
        }
        char::from_u32(code).ok_or_else(|| err!("{code} is not the number of a character"))
    }

    fn code(&mut self, digits: usize, radix: u32) -> Res<char> {
        let text = self.take(digits);
        let code = u32::from_str_radix(text, radix).ok();
        let code = code
            .filter(|_| text.len() == digits)
            .and_then(char::from_u32);
        code.ok_or_else(|| err!("'{text}' is not the number of a character"))
    }
}
