//! Methods of strings, lists and dicts.

use crate::args::Args;
use crate::error::{Budget, Res, push};
use crate::show::printable;
use crate::text::{Builder, Text, escape, map_chars, pad};
use crate::value::{Dict, Seq, SeqKind, Value};
use alloc::vec::Vec;

const STR: [&str; 42] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];
const LIST: [&str; 11] = [
    "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse",
    "sort",
];
const DICT: [&str; 9] = [
    "clear",
    "copy",
    "get",
    "items",
    "keys",
    "pop",
    "setdefault",
    "update",
    "values",
];

/// Whether strings have this method.
pub fn is_str_method(name: &str) -> bool {
    STR.contains(&name)
}

/// Whether lists have this method.
pub fn is_list_method(name: &str) -> bool {
    LIST.contains(&name)
}

/// Whether dicts have this method.
pub fn is_dict_method(name: &str) -> bool {
    DICT.contains(&name)
}

/// A part of a text as a value.
fn part(text: &Text, part: &str) -> Value {
    Value::Str(text.part(part))
}

/// Calls a method of a string.
pub fn of_text(name: &str, text: &Text, args: &Args, budget: &Budget) -> Res<Value> {
    budget.spend(text.as_str().len() / 16)?;
    let s = text.as_str();
    let one = |at, name: &str| args.text(at, name, "");
    let yes = |b| Ok(Value::Bool(b));
    let mapped = |f: fn(char, &mut dyn FnMut(char))| map_chars(text, budget, f).map(Value::Str);
    match name {
        "upper" => mapped(|c, put| c.to_uppercase().for_each(put)),
        "lower" | "casefold" => mapped(|c, put| c.to_lowercase().for_each(put)),
        "swapcase" => mapped(|c, put| {
            if c.is_uppercase() {
                c.to_lowercase().for_each(put);
            } else {
                c.to_uppercase().for_each(put);
            }
        }),
        "capitalize" => {
            let mut first = true;
            map_chars(text, budget, |c, put| {
                recase(c, core::mem::take(&mut first), put)
            })
            .map(Value::Str)
        }
        "title" => {
            let mut start = true;
            map_chars(text, budget, |c, put| {
                recase(c, start, put);
                start = !c.is_alphabetic();
            })
            .map(Value::Str)
        }
        "title filter" => {
            let mut start = true;
            map_chars(text, budget, |c, put| {
                let between = c.is_whitespace() || "-({[<".contains(c);
                recase(c, start && !between, put);
                start = between;
            })
            .map(Value::Str)
        }
        "strip" | "lstrip" | "rstrip" => strip(name, text, args, budget),
        "startswith" | "endswith" => affix(name, s, args),
        "removeprefix" => Ok(part(
            text,
            s.strip_prefix(one(0, "prefix")?.as_str()).unwrap_or(s),
        )),
        "removesuffix" => Ok(part(
            text,
            s.strip_suffix(one(0, "suffix")?.as_str()).unwrap_or(s),
        )),
        "split" | "rsplit" => split(name == "rsplit", text, args, budget),
        "splitlines" => splitlines(text, args.flag(0, "keepends"), budget),
        "partition" | "rpartition" => {
            let sep = one(0, "sep")?;
            let last = name == "rpartition";
            let found = if last {
                s.rfind(sep.as_str())
            } else {
                s.find(sep.as_str())
            };
            let none = Text::new("");
            let parts = match found {
                _ if sep.as_str().is_empty() => return Err(err!("the separator is empty")),
                Some(at) => {
                    let end = at + sep.as_str().len();
                    [
                        text.slice(0..at),
                        text.slice(at..end),
                        text.slice(end..s.len()),
                    ]
                }
                None if last => [none.clone(), none, text.clone()],
                None => [text.clone(), none.clone(), none],
            };
            Value::seq(SeqKind::Tuple, parts.map(Value::Str).into())
        }
        "replace" => replace(text, args, budget),
        "join" => {
            let list = Args {
                list: [Value::Str(text.clone())].into(),
                ..Args::default()
            };
            let items = args.need(0, "iterable")?;
            let items = crate::access::elements(items, budget)?;
            for item in &items {
                if !matches!(item, Value::Str(_)) {
                    return Err(err!("'join' joins strings, not {}", item.kind()));
                }
            }
            let items = Value::list(items)?;
            crate::filters::filter("join", &items, &list, budget)
        }
        "find" | "rfind" | "index" | "rindex" | "count" => search(name, s, args),
        "center" | "ljust" | "rjust" | "zfill" => justify(name, text, args, budget),
        "format" => crate::format::braces(text, args, budget).map(Value::Str),
        "isalpha" => yes(!s.is_empty() && s.chars().all(char::is_alphabetic)),
        "isalnum" => yes(!s.is_empty() && s.chars().all(char::is_alphanumeric)),
        "isascii" => yes(s.is_ascii()),
        "isdigit" | "isdecimal" => yes(!s.is_empty()
            && s.chars()
                .all(|c| c.is_ascii_digit() || (!c.is_ascii() && c.is_numeric()))),
        "isnumeric" => yes(!s.is_empty() && s.chars().all(char::is_numeric)),
        "isspace" => yes(!s.is_empty() && s.chars().all(char::is_whitespace)),
        "isprintable" => yes(s.chars().all(printable)),
        "isidentifier" => yes(s.starts_with(|c: char| c == '_' || c.is_alphabetic())
            && s.chars().all(|c| c == '_' || c.is_alphanumeric())),
        "isupper" => yes(s.chars().any(char::is_uppercase) && !s.chars().any(char::is_lowercase)),
        "islower" => yes(s.chars().any(char::is_lowercase) && !s.chars().any(char::is_uppercase)),
        "istitle" => {
            let (mut before, mut ok, mut any) = (false, true, false);
            for c in s.chars() {
                ok &= !(if before {
                    c.is_uppercase()
                } else {
                    c.is_lowercase()
                });
                before = c.is_uppercase() || c.is_lowercase();
                any |= before;
            }
            yes(ok && any)
        }
        _ => Err(err!("a string has no method '{name}'")),
    }
}

/// The first letter of a word, or another.
fn recase(c: char, first: bool, put: &mut dyn FnMut(char)) {
    if first {
        c.to_uppercase().for_each(put);
    } else {
        c.to_lowercase().for_each(put);
    }
}

fn strip(name: &str, text: &Text, args: &Args, budget: &Budget) -> Res<Value> {
    let chars = args.optional(0, "chars")?;
    // Each character may be looked for among all of these.
    let looks = chars.as_ref().map_or(0, |chars| chars.as_str().len() / 64);
    budget.spend((text.as_str().len() / 16).saturating_mul(looks))?;
    let goes = |c: char| match &chars {
        Some(chars) => chars.as_str().contains(c),
        // What Python counts besides.
        None => c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c),
    };
    let s = text.as_str();
    Ok(part(
        text,
        match name {
            "strip" => s.trim_matches(goes),
            "lstrip" => s.trim_start_matches(goes),
            _ => s.trim_end_matches(goes),
        },
    ))
}

fn affix(name: &str, s: &str, args: &Args) -> Res<Value> {
    let wanted = args.need(0, "prefix")?;
    let is = |value: &Value| match value {
        Value::Str(affix) if name == "startswith" => Ok(s.starts_with(affix.as_str())),
        Value::Str(affix) => Ok(s.ends_with(affix.as_str())),
        other => Err(err!("'{name}' needs a string, not {}", other.kind())),
    };
    if let Value::Seq(seq) = wanted
        && seq.kind == SeqKind::Tuple
    {
        let mut any = false;
        for item in seq.items.borrow().iter() {
            any |= is(item)?;
        }
        return Ok(Value::Bool(any));
    }
    is(wanted).map(Value::Bool)
}

fn split(from_end: bool, text: &Text, args: &Args, budget: &Budget) -> Res<Value> {
    let most = usize::try_from(args.int(1, "maxsplit", -1)?).unwrap_or(usize::MAX);
    let mut parts: Vec<Value> = Vec::new();
    let mut rest = text.as_str();
    let separator = args.optional(0, "sep")?;
    if separator
        .as_ref()
        .is_some_and(|sep| sep.as_str().is_empty())
    {
        return Err(err!("the separator is empty"));
    }
    if separator.is_none() {
        rest = if from_end {
            rest.trim_end()
        } else {
            rest.trim_start()
        };
    }
    while parts.len() < most {
        budget.spend(1)?;
        let cut = match (&separator, from_end) {
            (Some(sep), false) => rest.split_once(sep.as_str()),
            (Some(sep), true) => rest.rsplit_once(sep.as_str()).map(|(a, b)| (b, a)),
            (None, false) => rest
                .split_once(char::is_whitespace)
                .map(|(a, b)| (a, b.trim_start())),
            (None, true) => rest
                .rsplit_once(char::is_whitespace)
                .map(|(a, b)| (b, a.trim_end())),
        };
        let Some((word, more)) = cut else { break };
        push(&mut parts, part(text, word))?;
        rest = more;
    }
    if separator.is_none() {
        // The limit leaves the white space at the other end.
        let whole = parts.len() < most;
        rest = match (whole, from_end) {
            (false, _) => rest,
            (true, false) => rest.trim_end(),
            (true, true) => rest.trim_start(),
        };
    }
    if separator.is_some() || !rest.is_empty() {
        push(&mut parts, part(text, rest))?;
    }
    if from_end {
        parts.reverse();
    }
    Value::list(parts)
}

fn splitlines(text: &Text, keep: bool, budget: &Budget) -> Res<Value> {
    let mut lines = Vec::new();
    let mut rest = text.as_str();
    let ends = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    while !rest.is_empty() {
        budget.spend(1)?;
        let end = rest.find(ends).unwrap_or(rest.len());
        let (line, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let skip = match tail.chars().next() {
            Some('\r') if tail.starts_with("\r\n") => 2,
            Some(c) => c.len_utf8(),
            None => 0,
        };
        let shown = rest.get(..end + skip).filter(|_| keep).unwrap_or(line);
        push(&mut lines, part(text, shown))?;
        rest = tail.get(skip..).unwrap_or_default();
    }
    Value::list(lines)
}

fn replace(text: &Text, args: &Args, budget: &Budget) -> Res<Value> {
    let arg = |at, name| {
        let arg = args.need(at, name)?.to_text(budget)?;
        match text.is_markup() {
            true => escape(&arg, budget),
            false => Ok(arg),
        }
    };
    let (old, new) = (arg(0, "old")?, arg(1, "new")?);
    let most = usize::try_from(args.int(2, "count", -1)?).unwrap_or(usize::MAX);
    let mut out = Builder::default();
    let mut end = 0;
    for (at, found) in text.as_str().match_indices(old.as_str()).take(most) {
        budget.spend(1)?;
        out.part(text, end..at);
        out.text(&new);
        out.check(budget)?;
        end = at + found.len();
    }
    out.part(text, end..text.as_str().len());
    let replaced = out.finish(budget)?;
    Ok(Value::Str(replaced.with_markup(text.is_markup())))
}

fn search(name: &str, s: &str, args: &Args) -> Res<Value> {
    let what = args.text(0, "sub", "")?;
    let what = what.as_str();
    let byte = |n: usize| s.char_indices().nth(n).map_or(s.len(), |(at, _)| at);
    let bound = |at, name, default: i64| -> Res<usize> {
        let n = args.int(at, name, default)?;
        let n = if n < 0 {
            n.saturating_add(s.chars().count() as i64).max(0)
        } else {
            n
        };
        Ok(usize::try_from(n).unwrap_or(usize::MAX))
    };
    let start = byte(bound(1, "start", 0)?);
    let stop = byte(bound(2, "end", i64::MAX)?);
    let within = s.get(start..stop.max(start)).unwrap_or_default();
    if name == "count" {
        return Ok(Value::Int(within.matches(what).count() as i64));
    }
    let found = if name.starts_with('r') {
        within.rfind(what)
    } else {
        within.find(what)
    };
    match found {
        Some(at) => {
            let before = s.get(..start + at).unwrap_or_default();
            Ok(Value::Int(before.chars().count() as i64))
        }
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => Err(err!("'{what}' is not in the string")),
    }
}

fn justify(name: &str, text: &Text, args: &Args, budget: &Budget) -> Res<Value> {
    let width = usize::try_from(args.int(0, "width", 80)?).unwrap_or(0);
    let room = width.saturating_sub(text.count());
    if name == "zfill" {
        let signed = text.as_str().starts_with(['+', '-']);
        let (sign, digits) = (
            text.slice(0..usize::from(signed)),
            text.slice(usize::from(signed)..text.as_str().len()),
        );
        let digits = pad(&digits, room, 0, ('0', false), budget)?;
        let mut out = Builder::default();
        out.text(&sign);
        out.text(&digits);
        return out.finish(budget).map(Value::Str);
    }
    let fill = args.text(1, "fillchar", " ")?;
    let Some(fill) = fill.chars().next() else {
        return Err(err!("the character to fill with is empty"));
    };
    let (before, after) = match name {
        "ljust" => (0, room),
        "rjust" => (room, 0),
        // Python's rule for the odd one.
        _ => {
            let left = room / 2 + (room & width & 1);
            (left, room - left)
        }
    };
    pad(text, before, after, fill, budget).map(Value::Str)
}

/// Calls a method of a list or tuple.
pub fn of_list(name: &str, seq: &Seq, args: &Args, budget: &Budget) -> Res<Value> {
    let changes = !matches!(name, "count" | "index" | "copy");
    if changes && seq.kind != SeqKind::List {
        return Err(err!("{} has no method '{name}'", seq_name(seq)));
    }
    let len = seq.items.borrow().len();
    budget.spend(len / 8)?;
    match name {
        "append" => seq.insert(len, args.need(0, "object")?, budget)?,
        "insert" => {
            let at = args.int(0, "index", 0)?;
            let at = if at < 0 { (at + len as i64).max(0) } else { at };
            seq.insert(at as usize, args.need(1, "object")?, budget)?;
        }
        "extend" => {
            for item in crate::access::elements(args.need(0, "iterable")?, budget)? {
                seq.insert(usize::MAX, &item, budget)?;
            }
        }
        "pop" => {
            let at = args.int(0, "index", -1)?;
            let at = if at < 0 { at + len as i64 } else { at };
            let at = usize::try_from(at).ok().filter(|at| *at < len);
            return match at {
                Some(at) => Ok(seq.items.borrow_mut().remove(at)),
                None => Err(err!(
                    "'pop' from an array of {len} elements: there is none at that index"
                )),
            };
        }
        "remove" => {
            let item = args.need(0, "value")?;
            let at = seq.items.borrow().iter().position(|v| v.same(item, budget));
            match at {
                Some(at) => drop(seq.items.borrow_mut().remove(at)),
                None => return Err(err!("'remove': the value is not in the array")),
            }
        }
        "clear" => seq.items.borrow_mut().clear(),
        "reverse" => seq.items.borrow_mut().reverse(),
        "sort" => {
            let mut items = seq.take(budget)?;
            let reverse = args.flag(usize::MAX, "reverse");
            crate::sequences::sort(&mut items, |a, b| {
                let order = crate::arith::order(a, b, budget)?;
                Ok(if reverse {
                    order.map(core::cmp::Ordering::reverse)
                } else {
                    order
                })
            })?;
            *seq.items.borrow_mut() = items;
        }
        "copy" => return Value::seq(seq.kind, seq.take(budget)?),
        "count" => {
            let item = args.need(0, "value")?;
            let count = seq
                .items
                .borrow()
                .iter()
                .filter(|v| v.same(item, budget))
                .count();
            return Ok(Value::Int(count as i64));
        }
        "index" => {
            let item = args.need(0, "value")?;
            let at = seq.items.borrow().iter().position(|v| v.same(item, budget));
            return match at {
                Some(at) => Ok(Value::Int(at as i64)),
                None => Err(err!("'index': the value is not in the array")),
            };
        }
        _ => return Err(err!("{} has no method '{name}'", seq_name(seq))),
    }
    Ok(Value::None)
}

fn seq_name(seq: &Seq) -> &'static str {
    match seq.kind {
        SeqKind::List => "list",
        SeqKind::Tuple => "tuple",
        SeqKind::Generator => "generator",
    }
}

/// Calls a method of a dict; None if it has none of that name.
pub fn of_dict(name: &str, dict: &Dict, args: &Args, budget: &Budget) -> Res<Option<Value>> {
    if !matches!(name, "get" | "setdefault" | "pop") {
        budget.list::<[Value; 4]>(dict.len())?;
    }
    let list = |items: Res<Vec<Value>>| Value::list(items?);
    Ok(Some(match name {
        "get" => match dict.get(args.need(0, "key")?, budget) {
            Some(value) => value,
            None => args.get(1, "default").cloned().unwrap_or(Value::None),
        },
        "keys" => list(Ok(dict.items().into_iter().map(|(key, _)| key).collect()))?,
        "values" => list(Ok(dict
            .items()
            .into_iter()
            .map(|(_, value)| value)
            .collect()))?,
        "items" => list(dict.items().into_iter().map(Value::pair).collect())?,
        "copy" => {
            let copy = Dict::default();
            for (key, value) in dict.items() {
                copy.set(key, value, budget)?;
            }
            Value::dict(copy)
        }
        "update" => {
            if let Some(value) = args.get(0, "other") {
                let Value::Dict(other) = value else {
                    return Err(err!("'update' takes an object, not {}", value.kind()));
                };
                for (key, value) in other.items() {
                    dict.put(key, &value, budget)?;
                }
            }
            for (key, value) in &args.named {
                dict.put(Value::text(key), value, budget)?;
            }
            Value::None
        }
        "setdefault" => {
            let key = args.need(0, "key")?;
            if dict.get(key, budget).is_none() {
                let value = args.get(1, "default").cloned().unwrap_or(Value::None);
                dict.put(key.clone(), &value, budget)?;
            }
            dict.get(key, budget).unwrap_or(Value::None)
        }
        "pop" => {
            let key = args.need(0, "key")?;
            match (dict.remove(key, budget), args.get(1, "default")) {
                (Some(value), _) => value,
                (None, Some(default)) => default.clone(),
                (None, None) => return Err(err!("'pop': the key is not in the object")),
            }
        }
        "clear" => {
            dict.clear();
            Value::None
        }
        _ => return Ok(None),
    }))
}
