//! How values are written: Python's `str` and `repr`.

use crate::error::{Budget, Res};
use crate::text::{Builder, Text};
use crate::value::{Object, SeqKind, Value};
use alloc::format;
use alloc::string::{String, ToString};

impl Value {
    /// Writes `str(value)`.
    pub(crate) fn show(&self, out: &mut Builder, budget: &Budget) -> Res<()> {
        match self {
            Self::Undefined(_) => Ok(()),
            Self::Str(text) => {
                budget.spend(text.as_str().len() / 16)?;
                out.text(text);
                out.check(budget)
            }
            other => other.repr(out, budget),
        }
    }

    /// `str(value)`.
    pub(crate) fn to_text(&self, budget: &Budget) -> Res<Text> {
        if let Self::Str(text) = self {
            return Ok(text.clone());
        }
        let mut out = Builder::default();
        self.show(&mut out, budget)?;
        out.finish(budget)
    }

    /// Writes `repr(value)`.
    pub(crate) fn repr(&self, out: &mut Builder, budget: &Budget) -> Res<()> {
        budget.spend(1)?;
        match self {
            Self::Undefined(_) => out.str("Undefined"),
            Self::None => out.str("None"),
            Self::Bool(true) => out.str("True"),
            Self::Bool(false) => out.str("False"),
            Self::Int(n) => out.str(&n.to_string()),
            Self::Float(f) => out.str(&float(*f)),
            Self::Str(text) => {
                budget.spend(text.as_str().len() / 4)?;
                quoted(text, out);
            }
            Self::Seq(seq) => {
                let (open, close) = match seq.kind {
                    SeqKind::List => ("[", "]"),
                    SeqKind::Tuple => ("(", ")"),
                    SeqKind::Generator => ("<generator object [", "]>"),
                };
                out.str(open);
                let items = seq.items.borrow();
                for (i, item) in items.iter().enumerate() {
                    out.str(if i > 0 { ", " } else { "" });
                    item.repr(out, budget)?;
                }
                if seq.kind == SeqKind::Tuple && items.len() == 1 {
                    out.str(",");
                }
                out.str(close);
            }
            Self::Dict(dict) => {
                out.str("{");
                for (i, (key, value)) in dict.items().iter().enumerate() {
                    out.str(if i > 0 { ", " } else { "" });
                    key.repr(out, budget)?;
                    out.str(": ");
                    value.repr(out, budget)?;
                }
                out.str("}");
            }
            Self::Object(Object::Namespace(items)) => {
                out.str("<Namespace {");
                for (i, (name, value)) in items.borrow().iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    out.str(&format!("{comma}'{name}': "));
                    // What is in it may be itself.
                    match value {
                        Self::Object(_) => out.str("…"),
                        value => value.repr(out, budget)?,
                    }
                }
                out.str("}>");
            }
            Self::Object(_) => out.str(&format!("<{}>", self.kind())),
        }
        out.check(budget)
    }
}

/// A string with quotes and escapes.
fn quoted(text: &Text, out: &mut Builder) {
    let has = |c| text.as_str().contains(c);
    let quote = if has('\'') && !has('"') { '"' } else { '\'' };
    out.char(quote, false);
    for (c, user) in text.chars() {
        match c {
            '\n' => out.add("\\n", user),
            '\r' => out.add("\\r", user),
            '\t' => out.add("\\t", user),
            '\\' => out.add("\\\\", user),
            c if c == quote => {
                out.add("\\", user);
                out.char(c, user);
            }
            c if printable(c) => out.char(c, user),
            c => match u32::from(c) {
                n @ 0..0x100 => out.add(&format!("\\x{n:02x}"), user),
                n @ 0..0x10000 => out.add(&format!("\\u{n:04x}"), user),
                n => out.add(&format!("\\U{n:08x}"), user),
            },
        }
    }
    out.char(quote, false);
}

/// Whether Python prints it as it is.
pub fn printable(c: char) -> bool {
    let hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}'..='\u{e007f}' | '\u{f0000}'..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || hidden)
}

/// `repr` of a float: the shortest digits that give it back.
pub fn float(f: f64) -> String {
    if f.is_nan() {
        return String::from("nan");
    }
    if f.is_infinite() {
        return String::from(if f > 0.0 { "inf" } else { "-inf" });
    }
    let text = format!("{f:e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    if (-4..16).contains(&power) {
        let text = f.to_string();
        return if text.contains('.') {
            text
        } else {
            text + ".0"
        };
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.unsigned_abs())
}
