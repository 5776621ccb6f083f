//! Filters of sequences.

use crate::access::{self, elements, path};
use crate::args::Args;
use crate::arith::order;
use crate::error::{Budget, Res, push};
use crate::filters;
use crate::tests_of;
use crate::text::{Builder, Text};
use crate::value::{SeqKind, Value};
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Sorts, stably, with a comparison that may fail.
pub fn sort<T>(
    items: &mut [T],
    mut compare: impl FnMut(&T, &T) -> Res<Option<Ordering>>,
) -> Res<()> {
    let mut failed = None;
    items.sort_by(|a, b| match compare(a, b) {
        Ok(order) => order.unwrap_or(Ordering::Equal),
        Err(error) => {
            failed.get_or_insert(error);
            Ordering::Equal
        }
    });
    failed.map_or(Ok(()), Err)
}

/// What elements are compared by: themselves or an attribute, strings without case unless asked for.
fn key(item: &Value, attribute: Option<&Value>, case: bool, budget: &Budget) -> Res<Value> {
    let value = match attribute {
        None | Some(Value::None) => item.clone(),
        Some(attribute) => path(item, attribute, budget)?,
    };
    match value {
        Value::Str(text) if !case => filters::lower(&text, budget).map(Value::Str),
        other => Ok(other),
    }
}

/// Elements with what they are compared by.
fn keyed(
    items: Vec<Value>,
    attribute: Option<&Value>,
    case: bool,
    budget: &Budget,
) -> Res<Vec<(Value, Value)>> {
    let mut out = Vec::new();
    for item in items {
        push(&mut out, (key(&item, attribute, case, budget)?, item))?;
    }
    Ok(out)
}

fn values(keyed: Vec<(Value, Value)>) -> Res<Value> {
    Value::list(keyed.into_iter().map(|(_, item)| item).collect())
}

/// Applies a filter of sequences; None if it is none.
pub fn filter(name: &str, value: &Value, args: &Args, budget: &Budget) -> Res<Option<Value>> {
    let all = || elements(value, budget);
    Ok(Some(match name {
        "list" => Value::list(all()?)?,
        "first" => match value {
            Value::Seq(seq) if seq.kind == SeqKind::Generator => {
                let mut items = seq.items.borrow_mut();
                if items.is_empty() {
                    Value::Undefined(None)
                } else {
                    budget.spend(items.len() / 8)?;
                    items.remove(0)
                }
            }
            _ => all()?.first().cloned().unwrap_or(Value::Undefined(None)),
        },
        "last" => all()?.last().cloned().unwrap_or(Value::Undefined(None)),
        "join" => join(all()?, args, budget)?,
        // Jinja2 goes over what is false as over nothing.
        "map" | "select" | "reject" | "selectattr" | "rejectattr" if !value.truth() => {
            Value::seq(SeqKind::Generator, Vec::new())?
        }
        "map" => map(all()?, args, budget)?,
        "select" | "reject" | "selectattr" | "rejectattr" => select(name, all()?, args, budget)?,
        "sort" => {
            let case = args.flag(1, "case_sensitive");
            let items = keyed(all()?, args.get(2, "attribute"), case, budget)?;
            sorted(items, args.flag(0, "reverse"), budget)?
        }
        "dictsort" => dictsort(value, args, budget)?,
        "unique" => {
            let mut kept: Vec<(Value, Value)> = Vec::new();
            for pair in keyed(
                all()?,
                args.get(1, "attribute"),
                args.flag(0, "case_sensitive"),
                budget,
            )? {
                budget.spend(1)?;
                if !kept.iter().any(|(k, _)| k.same(&pair.0, budget)) {
                    push(&mut kept, pair)?;
                }
            }
            Value::seq(
                SeqKind::Generator,
                kept.into_iter().map(|(_, item)| item).collect(),
            )?
        }
        "min" | "max" => {
            let wanted = if name == "min" {
                Ordering::Less
            } else {
                Ordering::Greater
            };
            let mut best: Option<(Value, Value)> = None;
            for pair in keyed(
                all()?,
                args.get(1, "attribute"),
                args.flag(0, "case_sensitive"),
                budget,
            )? {
                let better = match &best {
                    None => true,
                    Some((key, _)) => order(&pair.0, key, budget)? == Some(wanted),
                };
                if better {
                    best = Some(pair);
                }
            }
            best.map_or(Value::Undefined(None), |(_, item)| item)
        }
        "sum" => {
            let mut sum = args.get(1, "start").cloned().unwrap_or(Value::Int(0));
            for item in all()? {
                let item = match args.get(0, "attribute") {
                    None | Some(Value::None) => item,
                    Some(attribute) => path(&item, attribute, budget)?,
                };
                sum = crate::arith::binary(crate::code::Bin::Add, &sum, &item, budget)?;
            }
            sum
        }
        "reverse" => match value {
            Value::Str(text) => {
                let mut letters: Vec<Text> = Vec::new();
                for letter in text.letters() {
                    budget.spend(1)?;
                    push(&mut letters, letter)?;
                }
                let mut out = Builder::default();
                letters.iter().rev().for_each(|letter| out.text(letter));
                Value::Str(out.finish(budget)?)
            }
            _ => {
                let mut items = all()?;
                items.reverse();
                Value::seq(SeqKind::Generator, items)?
            }
        },
        "batch" => batch(all()?, args, budget)?,
        "slice" => columns(all()?, args, budget)?,
        "groupby" => groups(all()?, args, budget)?,
        "items" => match value {
            Value::Undefined(_) => Value::seq(SeqKind::Generator, Vec::new())?,
            Value::Dict(dict) => {
                let pairs: Res<Vec<_>> = dict.items().into_iter().map(Value::pair).collect();
                Value::seq(SeqKind::Generator, pairs?)?
            }
            other => {
                return Err(err!("'items' goes over an object, not {}", other.kind()));
            }
        },
        "length" | "count" => Value::Int(access::length(value)? as i64),
        _ => return Ok(None),
    }))
}

fn join(items: Vec<Value>, args: &Args, budget: &Budget) -> Res<Value> {
    let between = match args.get(0, "d") {
        None => Text::new(""),
        Some(value) => value.to_text(budget)?,
    };
    let attribute = args.get(1, "attribute");
    let mut out = Builder::default();
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.text(&between);
        }
        match attribute {
            None | Some(Value::None) => item.show(&mut out, budget)?,
            Some(attribute) => path(item, attribute, budget)?.show(&mut out, budget)?,
        }
        budget.spend(1)?;
    }
    out.finish(budget).map(Value::Str)
}

/// The arguments behind the first `count`.
fn rest(args: &Args, count: usize) -> Args {
    Args {
        list: args.list.get(count..).unwrap_or_default().to_vec(),
        named: args.named.clone(),
    }
}

fn map(items: Vec<Value>, args: &Args, budget: &Budget) -> Res<Value> {
    let mut out = Vec::new();
    let name = args.list.first();
    let named = |wanted: &str| {
        args.named
            .iter()
            .find(|(n, _)| &**n == wanted)
            .map(|(_, v)| v)
    };
    let attribute = named("attribute").filter(|_| name.is_none());
    let rest = rest(args, 1);
    for item in &items {
        let value = match (attribute, name) {
            (Some(attribute), _) => match path(item, attribute, budget)? {
                Value::Undefined(what) => {
                    named("default").cloned().unwrap_or(Value::Undefined(what))
                }
                value => value,
            },
            (None, Some(Value::Str(name))) => filters::filter(name.as_str(), item, &rest, budget)?,
            _ => return Err(err!("'map' needs the name of a filter, or attribute=")),
        };
        push(&mut out, value)?;
        budget.spend(1)?;
    }
    Value::seq(SeqKind::Generator, out)
}

fn select(name: &str, items: Vec<Value>, args: &Args, budget: &Budget) -> Res<Value> {
    let by_attribute = name.ends_with("attr");
    let wanted = name.starts_with("select");
    let attribute = match by_attribute {
        true => Some(args.need(0, "attr")?),
        false => None,
    };
    let at = usize::from(by_attribute);
    let test = args.list.get(at);
    let rest = rest(args, at + 1);
    let mut out = Vec::new();
    for item in items {
        budget.spend(1)?;
        let value = match attribute {
            Some(attribute) => path(&item, attribute, budget)?,
            None => item.clone(),
        };
        let is = match test {
            None => value.truth(),
            Some(Value::Str(name)) => tests_of::test(name.as_str(), &value, &rest, budget)?,
            Some(other) => {
                return Err(err!("expected the name of a test, found {}", other.kind()));
            }
        };
        if is == wanted {
            push(&mut out, item)?;
        }
    }
    Value::seq(SeqKind::Generator, out)
}

fn dictsort(value: &Value, args: &Args, budget: &Budget) -> Res<Value> {
    let Value::Dict(dict) = value else {
        return Err(err!("'dictsort' sorts an object, not {}", value.kind()));
    };
    let case = args.flag(0, "case_sensitive");
    let by_value = match args.text(1, "by", "key")?.as_str() {
        "key" => false,
        "value" => true,
        other => {
            return Err(err!(
                "'dictsort' sorts by 'key' or 'value', not by '{other}'"
            ));
        }
    };
    let reverse = args.flag(2, "reverse");
    let mut items = Vec::new();
    for (k, v) in dict.items() {
        let by = key(if by_value { &v } else { &k }, None, case, budget)?;
        push(&mut items, (by, Value::pair((k, v))?))?;
    }
    sorted(items, reverse, budget)
}

/// The values in the order of their keys.
fn sorted(mut items: Vec<(Value, Value)>, reverse: bool, budget: &Budget) -> Res<Value> {
    sort(&mut items, |a, b| {
        let order = order(&a.0, &b.0, budget)?;
        Ok(if reverse {
            order.map(Ordering::reverse)
        } else {
            order
        })
    })?;
    values(items)
}

fn positive(args: &Args, at: usize, name: &str) -> Res<usize> {
    match usize::try_from(args.int(at, name, 0)?) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(err!("argument '{name}' must be above 0")),
    }
}

/// Rows of so many elements; the last is filled up.
fn batch(items: Vec<Value>, args: &Args, budget: &Budget) -> Res<Value> {
    let count = positive(args, 0, "linecount")?;
    let fill = args
        .get(1, "fill_with")
        .filter(|v| !matches!(v, Value::None));
    let mut rows = Vec::new();
    for chunk in items.chunks(count) {
        let mut row = chunk.to_vec();
        if let Some(fill) = fill {
            for _ in row.len()..count {
                budget.spend(1)?;
                push(&mut row, fill.clone())?;
            }
        }
        push(&mut rows, Value::list(row)?)?;
    }
    Value::seq(SeqKind::Generator, rows)
}

/// So many columns, the first ones longer.
fn columns(items: Vec<Value>, args: &Args, budget: &Budget) -> Res<Value> {
    let count = positive(args, 0, "slices")?;
    let fill = args
        .get(1, "fill_with")
        .filter(|v| !matches!(v, Value::None));
    let (each, more) = (items.len() / count, items.len() % count);
    let mut rest = items.into_iter();
    let mut out = Vec::new();
    for i in 0..count {
        budget.spend(1)?;
        let mut column: Vec<Value> = rest.by_ref().take(each + usize::from(i < more)).collect();
        if let Some(fill) = fill.filter(|_| i >= more) {
            column.push(fill.clone());
        }
        push(&mut out, Value::list(column)?)?;
    }
    Value::seq(SeqKind::Generator, out)
}

fn groups(items: Vec<Value>, args: &Args, budget: &Budget) -> Res<Value> {
    let attribute = args.need(0, "attribute")?;
    let default = args.get(1, "default");
    let case = args.flag(2, "case_sensitive");
    let mut pairs: Vec<(Value, Value, Value)> = Vec::new();
    for item in items {
        let value = match (path(&item, attribute, budget)?, default) {
            (Value::Undefined(_), Some(default)) => default.clone(),
            (value, _) => value,
        };
        push(&mut pairs, (key(&value, None, case, budget)?, value, item))?;
    }
    sort(&mut pairs, |a, b| order(&a.0, &b.0, budget))?;
    let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
    for (key, value, item) in pairs {
        match groups.last_mut() {
            Some((last, _, group)) if last.same(&key, budget) => push(group, item)?,
            _ => push(&mut groups, (key, value, [item].into()))?,
        }
    }
    let mut out = Vec::new();
    for (_, value, group) in groups {
        push(&mut out, Value::pair((value, Value::list(group)?))?)?;
    }
    Value::list(out)
}

/// What `range` gives.
pub fn range(args: &Args, budget: &Budget) -> Res<Value> {
    args.at_most(3)?;
    let int = |at: usize| match args.list.get(at) {
        None => Ok(None),
        Some(value) => match value.as_int() {
            Some(n) => Ok(Some(n)),
            None => Err(err!("'range' takes integers, not {}", value.kind())),
        },
    };
    let (start, stop) = match (int(0)?, int(1)?) {
        (Some(stop), None) => (0, stop),
        (Some(start), Some(stop)) => (start, stop),
        _ => return Err(err!("'range' needs an integer")),
    };
    let step = int(2)?.unwrap_or(1);
    if step == 0 {
        return Err(err!("the step of 'range' is 0"));
    }
    // As many as the sandbox of Jinja2 allows.
    const MOST: usize = 100_000;
    let mut items = Vec::new();
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        if items.len() == MOST {
            return Err(err!("'range' has more than {MOST} elements"));
        }
        budget.spend(1)?;
        push(&mut items, Value::Int(at))?;
        let Some(next) = at.checked_add(step) else {
            break;
        };
        at = next;
    }
    Value::list(items)
}
