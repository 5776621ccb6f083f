//! Filters: of strings and numbers here, of sequences in [`crate::sequences`].

use crate::args::Args;
use crate::arith::{floor, truncate};
use crate::error::{Budget, Res};
use crate::json::{self, Style};
use crate::methods;
use crate::sequences;
use crate::text::{Builder, Text, escape, map_chars};
use crate::value::Value;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The names of all filters.
const NAMES: [&str; 51] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "forceescape",
    "format",
    "from_json",
    "fromjson",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
];

/// Whether there is a filter of this name.
pub fn known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Computes `value | name(args)`.
#[inline(never)]
pub fn filter(name: &str, value: &Value, args: &Args, budget: &Budget) -> Res<Value> {
    let text = || value.to_text(budget);
    Ok(match name {
        "tojson" => tojson(value, args, budget)?,
        "trim" | "capitalize" | "upper" | "lower" => {
            return methods::of_text(filter_method(name), &text()?, args, budget);
        }
        "title" | "center" | "replace" => {
            let plain = text()?.with_markup(false);
            return methods::of_text(filter_method(name), &plain, args, budget);
        }
        "default" | "d" => {
            let missing =
                matches!(value, Value::Undefined(_)) || (args.flag(1, "boolean") && !value.truth());
            match (missing, args.get(0, "default_value")) {
                (false, _) => value.clone(),
                (true, Some(default)) => default.clone(),
                (true, None) => Value::text(""),
            }
        }
        "string" => Value::Str(text()?),
        "safe" => Value::Str(text()?.with_markup(true)),
        "escape" | "e" => Value::Str(escape(&text()?, budget)?),
        "forceescape" => Value::Str(escape(&text()?.with_markup(false), budget)?),
        "int" => int(value, args)?,
        "float" => float(value, args),
        "abs" => match value {
            Value::Float(f) => Value::Float(f.abs()),
            _ => match value.as_int().map(i64::checked_abs) {
                Some(Some(n)) => Value::Int(n),
                _ => return Err(err!("'abs' is of a number, not of {}", value.kind())),
            },
        },
        "round" => round(value, args)?,
        "indent" => indent(&text()?, args, budget)?,
        "format" => crate::format::percent(&text()?, &Value::list(args.list.clone())?, budget)
            .map(Value::Str)?,
        "attr" => {
            let name = args.text(0, "name", "")?;
            crate::access::attribute(value, &alloc::rc::Rc::from(name.as_str()), budget)?
        }
        "from_json" | "fromjson" => {
            let text = text()?;
            json::parse(text.as_str(), text.starts_user())?
        }
        "pprint" => {
            let mut out = Builder::default();
            value.repr(&mut out, budget)?;
            Value::Str(out.finish(budget)?)
        }
        "wordcount" => {
            let text = text()?;
            let words = text
                .as_str()
                .split(|c: char| !(c.is_alphanumeric() || c == '_'));
            Value::Int(words.filter(|w| !w.is_empty()).count() as i64)
        }
        "truncate" => shorten(&text()?, args, budget)?,
        "striptags" => striptags(&text()?, budget)?,
        "urlencode" => urlencode(&text()?, budget)?,
        _ => match sequences::filter(name, value, args, budget)? {
            Some(value) => value,
            None => return Err(err!("unknown filter '{name}'")),
        },
    })
}

/// The method that a filter of another name is.
fn filter_method(name: &str) -> &str {
    match name {
        "trim" => "strip",
        "title" => "title filter",
        other => other,
    }
}

/// In lower case.
pub fn lower(text: &Text, budget: &Budget) -> Res<Text> {
    map_chars(text, budget, |c, put| c.to_lowercase().for_each(put))
}

/// As transformers defines it: `ensure_ascii` is off, and nothing is escaped for HTML.
fn tojson(value: &Value, args: &Args, budget: &Budget) -> Res<Value> {
    let named = |name: &str| {
        args.named
            .iter()
            .find(|(n, _)| &**n == name)
            .map(|(_, v)| v)
    };
    // In order they are those of transformers; the one argument of Jinja2's own is `indent`.
    let (first, second) = (args.list.first(), args.list.get(1));
    let indent = match (first, second) {
        (Some(Value::Int(n)), None) => Some(Value::Int(*n)),
        _ => second.or_else(|| named("indent")).cloned(),
    };
    let ascii = match first {
        Some(Value::Bool(ascii)) => *ascii,
        _ => named("ensure_ascii").is_some_and(Value::truth),
    };
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(n) => Some(n.as_int().unwrap_or(0).clamp(0, 16) as usize),
    };
    let mut style = Style {
        indent,
        sort_keys: args
            .list
            .get(3)
            .or_else(|| named("sort_keys"))
            .is_some_and(Value::truth),
        ascii,
        ..Style::default()
    };
    if style.indent.is_some() {
        style.separators.0 = String::from(",");
    }
    if let Some(Value::Seq(pair)) = args.list.get(2).or_else(|| named("separators"))
        && let [Value::Str(item), Value::Str(key)] = pair.items.borrow().as_slice()
    {
        style.separators = (String::from(item.as_str()), String::from(key.as_str()));
    }
    json::dump(value, &style, budget).map(Value::Str)
}

fn int(value: &Value, args: &Args) -> Res<Value> {
    let default = args.get(0, "default").cloned().unwrap_or(Value::Int(0));
    let whole = |f: f64| {
        let f = truncate(f);
        (f > -9.2e18 && f < 9.2e18).then_some(f as i64)
    };
    let number = match value {
        Value::Float(f) => whole(*f),
        Value::Str(text) => {
            let text = text.as_str().trim().replace('_', "");
            let base = args.int(1, "base", 10)?;
            let digits = match base {
                16 => text.strip_prefix("0x").unwrap_or(&text),
                8 => text.strip_prefix("0o").unwrap_or(&text),
                2 => text.strip_prefix("0b").unwrap_or(&text),
                _ => &text,
            };
            let radix = u32::try_from(base)
                .ok()
                .filter(|b| (2..=36).contains(b))
                .unwrap_or(10);
            i64::from_str_radix(digits, radix)
                .ok()
                .or_else(|| number(&text).and_then(whole))
        }
        other => other.as_int(),
    };
    Ok(number.map_or(default, Value::Int))
}

/// A float as Python writes it.
fn number(text: &str) -> Option<f64> {
    // Rust reads words that Python reads too, and some that it does not.
    let word = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let known = matches!(word.as_str(), "inf" | "infinity" | "nan");
    let digits = word.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|_| known || digits)
}

fn float(value: &Value, args: &Args) -> Value {
    let default = args.get(0, "default").cloned().unwrap_or(Value::Float(0.0));
    let number = match value {
        Value::Str(text) => number(&text.as_str().trim().replace('_', "")),
        other => other.as_float(),
    };
    number.map_or(default, Value::Float)
}

fn round(value: &Value, args: &Args) -> Res<Value> {
    let precision = args.int(0, "precision", 0)?.clamp(-300, 300);
    let method = args.text(1, "method", "common")?;
    let Some(f) = value.as_float() else {
        return Err(err!("'round' is of a number, not of {}", value.kind()));
    };
    let mut scale = 1.0;
    for _ in 0..precision.unsigned_abs() {
        scale *= 10.0;
    }
    let scaled = |round: fn(f64) -> f64| match precision {
        0.. => round(f * scale) / scale,
        _ => round(f / scale) * scale,
    };
    Ok(match (method.as_str(), value.as_int()) {
        ("common", Some(n)) if precision >= 0 => Value::Int(n),
        ("common", Some(_)) => Value::Int(scaled(half_even) as i64),
        ("common", None) if precision < 0 => Value::Float(scaled(half_even)),
        ("common", _) => {
            // Exact decimals, rounded half to even, as Python does.
            let text = format!("{f:.*}", precision.min(17) as usize);
            Value::Float(text.parse().unwrap_or(f))
        }
        ("ceil", _) => Value::Float(scaled(|f| -floor(-f))),
        ("floor", _) => Value::Float(scaled(floor)),
        (other, _) => {
            return Err(err!(
                "'round' rounds 'common', 'ceil' or 'floor', not '{other}'"
            ));
        }
    })
}

fn half_even(f: f64) -> f64 {
    let low = floor(f);
    match f - low {
        rest if rest < 0.5 => low,
        rest if rest > 0.5 => low + 1.0,
        _ if truncate(low / 2.0) * 2.0 == low => low,
        _ => low + 1.0,
    }
}

/// Lines behind the first are indented; the first and blank ones if asked for.
fn indent(text: &Text, args: &Args, budget: &Budget) -> Res<Value> {
    let width = match args.get(0, "width") {
        None => Text::new("    "),
        Some(Value::Str(text)) => text.clone(),
        Some(value) => {
            let count = value.as_int().unwrap_or(4).clamp(0, 256) as usize;
            Text::new(&" ".repeat(count))
        }
    };
    let (first, blank) = (args.flag(1, "first"), args.flag(2, "blank"));
    let mut out = Builder::default();
    let mut at = 0;
    for (i, line) in text.as_str().split('\n').enumerate() {
        budget.spend(1)?;
        if i > 0 {
            out.part(text, at - 1..at);
        }
        if if i == 0 {
            first
        } else {
            blank || !line.is_empty()
        } {
            out.text(&width);
        }
        out.part(text, at..at + line.len());
        out.check(budget)?;
        at += line.len() + 1;
    }
    out.finish(budget).map(Value::Str)
}

fn shorten(text: &Text, args: &Args, budget: &Budget) -> Res<Value> {
    let length = args.int(0, "length", 255)?.max(0) as usize;
    let end = args.text(2, "end", "...")?;
    let leeway = args.int(3, "leeway", 5)?.max(0) as usize;
    if text.count() <= length + leeway {
        return Ok(Value::Str(text.clone()));
    }
    let keep = length.saturating_sub(end.count());
    let cut = text
        .as_str()
        .char_indices()
        .nth(keep)
        .map_or(text.as_str().len(), |(at, _)| at);
    let kept = text.as_str().get(..cut).unwrap_or_default();
    let kept = match args.flag(1, "killwords") {
        true => kept,
        false => kept.rsplit_once(' ').map_or(kept, |(words, _)| words),
    };
    let mut out = Builder::default();
    out.part(text, 0..kept.len());
    out.text(&end);
    out.finish(budget).map(Value::Str)
}

/// Without tags and comments of HTML, and with single spaces.
fn striptags(text: &Text, budget: &Budget) -> Res<Value> {
    let mut out = Builder::default();
    let mut rest = text.as_str();
    let mut pieces: Vec<&str> = Vec::new();
    while let Some((before, tag)) = rest.split_once('<') {
        budget.spend(1)?;
        let close = if tag.starts_with("!--") { "-->" } else { ">" };
        let Some((_, after)) = tag.split_once(close) else {
            break;
        };
        pieces.push(before);
        rest = after;
    }
    pieces.push(rest);
    let mut space = false;
    for piece in pieces {
        for (at, c) in piece.char_indices() {
            if c.is_whitespace() {
                space = !out.is_empty();
                continue;
            }
            if core::mem::take(&mut space) {
                out.str(" ");
            }
            let start = piece.as_ptr() as usize - text.as_str().as_ptr() as usize + at;
            out.part(text, start..start + c.len_utf8());
        }
    }
    out.finish(budget).map(Value::Str)
}

fn urlencode(text: &Text, budget: &Budget) -> Res<Value> {
    let mut out = Builder::default();
    for (c, user) in text.chars() {
        if c.is_ascii_alphanumeric() || "_.-~/".contains(c) {
            out.char(c, user);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            out.add(&format!("%{byte:02X}"), user);
        }
    }
    out.finish(budget).map(Value::Str)
}
