//! `'%s' % x` and `'{}'.format(x)`.

use crate::access::{attribute, item};
use crate::args::Args;
use crate::error::{Budget, Res};
use crate::show;
use crate::text::{Builder, Text, escape, pad};
use crate::value::{SeqKind, Value};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// How one value is written.
#[derive(Default)]
struct Spec {
    fill: Option<(char, bool)>,
    align: Option<char>,
    plus: bool,
    zero: bool,
    width: usize,
    comma: bool,
    precision: Option<usize>,
    kind: Option<char>,
}

/// A width or precision longer than this is an error.
const MOST: usize = 1 << 16;

/// Reads digits.
fn digits(
    chars: &mut core::iter::Peekable<impl Iterator<Item = (char, bool)>>,
) -> Res<Option<usize>> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|(c, _)| c.to_digit(10)) {
        chars.next();
        let n = number.unwrap_or(0) * 10 + digit as usize;
        if n > MOST {
            return Err(err!("a width in a format is above {MOST}"));
        }
        number = Some(n);
    }
    Ok(number)
}

/// `format % args`
pub fn percent(format: &Text, args: &Value, budget: &Budget) -> Res<Text> {
    let mut items: Vec<Value> = match args {
        Value::Seq(seq) => seq.take(budget)?,
        other => [other.clone()].into(),
    };
    if format.is_markup() {
        for item in &mut items {
            if let Value::Str(text) = item {
                *text = escape(text, budget)?;
            }
        }
    }
    let mut next = items.into_iter();
    let mut out = Builder::default();
    let mut chars = format.chars().peekable();
    while let Some((c, user)) = chars.next() {
        if c != '%' {
            out.char(c, user);
            continue;
        }
        let mut key = None;
        if chars.next_if(|(c, _)| *c == '(').is_some() {
            let mut name = String::new();
            for (c, _) in chars.by_ref() {
                if c == ')' {
                    break;
                }
                name.push(c);
            }
            key = Some(name);
        }
        let mut spec = Spec::default();
        while let Some((flag, _)) = chars.next_if(|(c, _)| "-+ 0#".contains(*c)) {
            match flag {
                '-' => spec.align = Some('<'),
                '+' => spec.plus = true,
                '0' => spec.zero = true,
                _ => {}
            }
        }
        spec.width = digits(&mut chars)?.unwrap_or(0);
        if chars.next_if(|(c, _)| *c == '.').is_some() {
            spec.precision = Some(digits(&mut chars)?.unwrap_or(0));
        }
        let Some((kind, _)) = chars.next() else {
            return Err(err!("the format ends behind '%'"));
        };
        if kind == '%' {
            out.char('%', user);
            continue;
        }
        let value = match (key, args) {
            (Some(key), Value::Dict(dict)) => dict.get_str(&key),
            (Some(_), _) => {
                return Err(err!("the format needs an object, not {}", args.kind()));
            }
            (None, _) => next.next(),
        };
        let Some(value) = value else {
            return Err(err!("the format has more places than there are values"));
        };
        spec.align = spec.align.or(Some('>'));
        let text = match kind {
            's' | 'r' => {
                let text = written(&value, kind == 'r', budget)?;
                let cut = spec
                    .precision
                    .take()
                    .map_or(usize::MAX, |most| byte(&text, most));
                text.slice(0..cut.min(text.as_str().len()))
            }
            'd' | 'i' | 'u' => {
                let n = value
                    .as_float()
                    .ok_or_else(|| err!("'%{kind}' writes a number, not {}", value.kind()))?;
                let n = value.as_int().unwrap_or(n as i64);
                number(&Value::Int(n), &spec)?
            }
            'f' | 'F' | 'e' | 'E' | 'g' | 'G' | 'x' | 'X' | 'o' | 'c' => {
                spec.kind = Some(kind);
                number(&value, &spec)?
            }
            other => return Err(err!("unknown format '%{other}'")),
        };
        out.text(&aligned(&text, &spec, budget)?);
        budget.spend(1)?;
        out.check(budget)?;
    }
    Ok(out.finish(budget)?.with_markup(format.is_markup()))
}

fn written(value: &Value, repr: bool, budget: &Budget) -> Res<Text> {
    if !repr {
        return value.to_text(budget);
    }
    let mut out = Builder::default();
    value.repr(&mut out, budget)?;
    out.finish(budget)
}

fn byte(text: &Text, chars: usize) -> usize {
    let found = text.as_str().char_indices().nth(chars);
    found.map_or(text.as_str().len(), |(at, _)| at)
}

/// A number in digits, zeros before it included.
fn number(value: &Value, spec: &Spec) -> Res<Text> {
    let kind = spec.kind.unwrap_or('d');
    let precision = spec.precision.unwrap_or(6).min(MOST);
    let f = value.as_float();
    let mut text = match (kind, value.as_int(), f) {
        ('d' | 'n', Some(n), _) => n.to_string(),
        ('x', Some(n), _) => signed(n, &format!("{:x}", n.unsigned_abs())),
        ('X', Some(n), _) => signed(n, &format!("{:X}", n.unsigned_abs())),
        ('o', Some(n), _) => signed(n, &format!("{:o}", n.unsigned_abs())),
        ('b', Some(n), _) => signed(n, &format!("{:b}", n.unsigned_abs())),
        ('c', Some(n), _) => {
            let c = u32::try_from(n).ok().and_then(char::from_u32);
            return c
                .map(|c| Text::new(c.encode_utf8(&mut [0; 4])))
                .ok_or_else(|| err!("{n} is not the number of a character"));
        }
        ('f' | 'F', _, Some(f)) => format!("{f:.precision$}"),
        ('%', _, Some(f)) => format!("{:.precision$}%", f * 100.0),
        ('e' | 'E', _, Some(f)) => {
            let text = exponent(&format!("{f:.precision$e}"));
            if kind == 'E' {
                text.to_uppercase()
            } else {
                text
            }
        }
        ('g' | 'G', _, Some(f)) => general(f, precision.max(1)),
        _ => return Err(err!("'{kind}' does not write {}", value.kind())),
    };
    if spec.comma {
        text = thousands(&text);
    }
    if spec.plus && !text.starts_with('-') {
        text.insert(0, '+');
    }
    if spec.zero && spec.align != Some('<') {
        let sign = usize::from(text.starts_with(['+', '-']));
        while text.len() < spec.width {
            text.insert(sign, '0');
        }
    }
    Ok(Text::new(&text))
}

fn signed(n: i64, digits: &str) -> String {
    let sign = if n < 0 { "-" } else { "" };
    format!("{sign}{digits}")
}

/// With at least two digits of exponent, and its sign.
fn exponent(text: &str) -> String {
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.unsigned_abs())
}

fn general(f: f64, precision: usize) -> String {
    let text = format!("{f:.*e}", precision - 1);
    let power: i32 = text
        .split_once('e')
        .and_then(|(_, p)| p.parse().ok())
        .unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => String::from(text.trim_end_matches('0').trim_end_matches('.')),
        false => String::from(text),
    };
    if power < -4 || power >= precision as i32 {
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return exponent(&format!("{}e{power}", trim(digits)));
    }
    let decimals = (precision as i32 - 1 - power).max(0) as usize;
    trim(&format!("{f:.decimals$}"))
}

fn thousands(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let sign = usize::from(whole.starts_with('-'));
    let mut out = String::new();
    for (i, c) in whole.chars().enumerate() {
        if i > sign && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out + rest
}

fn aligned(text: &Text, spec: &Spec, budget: &Budget) -> Res<Text> {
    let room = spec.width.saturating_sub(text.count());
    if room == 0 {
        return Ok(text.clone());
    }
    let (before, after) = match spec.align {
        Some('>' | '=') => (room, 0),
        Some('^') => (room / 2, room - room / 2),
        _ => (0, room),
    };
    pad(
        text,
        before,
        after,
        spec.fill.unwrap_or((' ', false)),
        budget,
    )
}

/// `format.format(args)`
pub fn braces(format: &Text, args: &Args, budget: &Budget) -> Res<Text> {
    let mut out = Builder::default();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    while let Some((c, user)) = chars.next() {
        match c {
            '{' if chars.next_if(|(c, _)| *c == '{').is_some() => out.char('{', user),
            '}' if chars.next_if(|(c, _)| *c == '}').is_some() => out.char('}', user),
            '}' => return Err(err!("the format has a '}}' without '{{'")),
            '{' => {
                let mut field = Builder::default();
                let mut open = 1;
                for (c, user) in chars.by_ref() {
                    open += i32::from(c == '{') - i32::from(c == '}');
                    if open == 0 {
                        break;
                    }
                    field.char(c, user);
                }
                if open > 0 {
                    return Err(err!("the format has a '{{' without '}}'"));
                }
                let field = field.finish(budget)?;
                out.text(&replaced(&field, args, &mut next, budget)?);
            }
            c => out.char(c, user),
        }
        budget.spend(1)?;
        out.check(budget)?;
    }
    out.finish(budget)
}

/// What stands between braces: `name.attribute[index]!r:spec`.
fn replaced(field: &Text, args: &Args, next: &mut usize, budget: &Budget) -> Res<Text> {
    budget.spend(args.named.len() / 32)?;
    let s = field.as_str();
    let (place, spec) = s.split_once(':').unwrap_or((s, ""));
    let (place, conversion) = place.split_once('!').unwrap_or((place, ""));
    let name_end = place.find(['.', '[']).unwrap_or(place.len());
    let (name, mut rest) = place.split_at(name_end);
    let found = match name.parse::<usize>() {
        Ok(n) => args.list.get(n),
        Err(_) if name.is_empty() => {
            *next += 1;
            args.list.get(*next - 1)
        }
        Err(_) => args
            .named
            .iter()
            .find(|(n, _)| &**n == name)
            .map(|(_, v)| v),
    };
    let Some(mut value) = found.cloned() else {
        return Err(err!("the format has no value for '{{{name}}}'"));
    };
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, more) = after.split_at(end);
            value = attribute(&value, &Rc::from(name), budget)?;
            rest = more;
        } else {
            let Some((index, more)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) else {
                return Err(err!("expected ']' in a format"));
            };
            let index = index
                .parse()
                .map_or_else(|_| Value::text(index), Value::Int);
            value = item(&value, &index, budget)?;
            rest = more;
        }
    }
    let spec_at = field.part(spec);
    let spec = parse_spec(&spec_at, args, next, budget)?;
    let text = match (conversion, &value) {
        ("r" | "a", _) => written(&value, true, budget)?,
        ("s", _) => value.to_text(budget)?,
        (_, Value::Int(_) | Value::Float(_))
            if spec.kind.is_some() || spec.comma || spec.zero || spec.plus =>
        {
            let plain = spec.kind.is_none() && matches!(value, Value::Float(_));
            match plain {
                true => Text::new(&show::float(value.as_float().unwrap_or(0.0))),
                false => number(&value, &spec)?,
            }
        }
        (_, Value::Float(_)) if spec.precision.is_some() => number(
            &value,
            &Spec {
                kind: Some('g'),
                precision: spec.precision,
                ..Spec::default()
            },
        )?,
        (_, Value::Seq(seq)) if seq.kind == SeqKind::Generator => {
            return Err(err!("a generator has no format"));
        }
        _ => {
            let text = value.to_text(budget)?;
            let cut = spec.precision.map_or(usize::MAX, |most| byte(&text, most));
            text.slice(0..cut.min(text.as_str().len()))
        }
    };
    let number = matches!(value, Value::Int(_) | Value::Float(_));
    let align = spec.align.or(Some(if number { '>' } else { '<' }));
    aligned(&text, &Spec { align, ..spec }, budget)
}

fn parse_spec(text: &Text, args: &Args, next: &mut usize, budget: &Budget) -> Res<Spec> {
    if text.as_str().contains('{') {
        // A width that is an argument itself.
        let (before, rest) = text.as_str().split_once('{').unwrap_or_default();
        let (name, after) = rest.split_once('}').unwrap_or((rest, ""));
        if name.contains('{') {
            return Err(err!("the format is too complicated"));
        }
        let inner = replaced(&Text::new(name), args, next, budget)?;
        let whole = format!("{before}{}{after}", inner.as_str());
        if whole.contains('{') {
            return Err(err!("the format is too complicated"));
        }
        return parse_spec(&Text::new(&whole), args, next, budget);
    }
    let mut spec = Spec::default();
    let mut chars = text.chars().peekable();
    let second = text.chars().nth(1);
    if second.is_some_and(|(c, _)| "<>^=".contains(c)) {
        spec.fill = chars.next();
    }
    spec.align = chars.next_if(|(c, _)| "<>^=".contains(*c)).map(|(c, _)| c);
    if let Some((sign, _)) = chars.next_if(|(c, _)| "+- ".contains(*c)) {
        spec.plus = sign == '+';
    }
    chars.next_if(|(c, _)| *c == '#');
    spec.zero = chars.next_if(|(c, _)| *c == '0').is_some() && spec.align.is_none();
    spec.width = digits(&mut chars)?.unwrap_or(0);
    spec.comma = chars.next_if(|(c, _)| ",_".contains(*c)).is_some();
    if chars.next_if(|(c, _)| *c == '.').is_some() {
        spec.precision = digits(&mut chars)?;
    }
    spec.kind = chars.next().map(|(c, _)| c).filter(|c| *c != 's');
    match chars.next() {
        None => Ok(spec),
        Some(_) => Err(err!("unknown format ':{}'", text.as_str())),
    }
}
