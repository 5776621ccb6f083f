//! Attributes, elements, parts, and what can be gone over.

use crate::arith::undefined;
use crate::error::{Budget, Res, push};
use crate::methods;
use crate::text::Text;
use crate::value::{Loop, Object, Value};
use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;

/// What is missing, by name.
fn missing(value: &Value, name: &str) -> Value {
    Value::Undefined(Some(Rc::from(format!(
        "{} has no '{name}'; it",
        value.kind()
    ))))
}

/// `value.name`: a method or attribute, else an element.
pub fn attribute(value: &Value, name: &Rc<str>, budget: &Budget) -> Res<Value> {
    match value {
        Value::Undefined(what) => Err(undefined(what.as_deref())),
        Value::Dict(dict) => {
            // Python finds the methods of a dict first.
            if methods::is_dict_method(name) {
                return Ok(Value::Object(Object::Method(name.clone())));
            }
            Ok(dict.get_str(name).unwrap_or_else(|| missing(value, name)))
        }
        Value::Object(Object::Namespace(items)) => {
            let items = items.borrow();
            budget.spend(items.len() / 32)?;
            let found = items.iter().find(|(n, _)| n == name);
            Ok(found.map_or_else(|| missing(value, name), |(_, v)| v.clone()))
        }
        Value::Object(Object::Loop(at)) => {
            Ok(loop_attribute(at, name).unwrap_or_else(|| missing(value, name)))
        }
        Value::Object(Object::Macro(of)) if &**name == "name" => Ok(Value::text(&of.name)),
        Value::Object(Object::Cycler(cycler)) if &**name == "current" => Ok(cycled(cycler)),
        Value::Str(_) if methods::is_str_method(name) => {
            Ok(Value::Object(Object::Method(name.clone())))
        }
        Value::Seq(_) if methods::is_list_method(name) => {
            Ok(Value::Object(Object::Method(name.clone())))
        }
        _ => Ok(missing(value, name)),
    }
}

/// The value a cycler is at.
pub fn cycled(cycler: &(Vec<Value>, core::cell::Cell<usize>)) -> Value {
    let at = cycler.1.get() % cycler.0.len().max(1);
    cycler.0.get(at).cloned().unwrap_or(Value::None)
}

fn loop_attribute(at: &Loop, name: &str) -> Option<Value> {
    let (count, index) = (at.items.len(), at.next.get());
    let number = |n: usize| Some(Value::Int(n as i64));
    let element = |i: Option<usize>| {
        let item = i.and_then(|i| at.items.get(i)).cloned();
        Some(item.unwrap_or(Value::Undefined(None)))
    };
    match name {
        "index" => number(index),
        "index0" => number(index.saturating_sub(1)),
        "revindex" => number((count + 1).saturating_sub(index)),
        "revindex0" => number(count.saturating_sub(index)),
        "first" => Some(Value::Bool(index == 1)),
        "last" => Some(Value::Bool(index == count)),
        "length" => number(count),
        "depth" => number(at.depth0 + 1),
        "depth0" => number(at.depth0),
        "previtem" => element(index.checked_sub(2)),
        "nextitem" => element(Some(index)),
        "cycle" | "changed" => Some(Value::Object(Object::Method(Rc::from(name)))),
        _ => None,
    }
}

/// `value[index]`: an element, else an attribute.
pub fn item(value: &Value, index: &Value, budget: &Budget) -> Res<Value> {
    let found = match (value, index) {
        (Value::Undefined(what), _) => return Err(undefined(what.as_deref())),
        (Value::Dict(dict), _) => {
            budget.spend(1)?;
            dict.get(index, budget)
        }
        (Value::Seq(seq), _) => {
            let items = seq.items.borrow();
            let at = index.as_int().and_then(|n| position(n, items.len()));
            at.and_then(|at| items.get(at).cloned())
        }
        (Value::Str(text), _) => match index.as_int() {
            Some(n) => {
                budget.spend(text.as_str().len() / 16)?;
                let at = position(n, text.count());
                at.and_then(|at| letter(text, at)).map(Value::Str)
            }
            None => None,
        },
        _ => None,
    };
    match (found, index) {
        (Some(found), _) => Ok(found),
        (None, Value::Str(name)) => attribute(value, &Rc::from(name.as_str()), budget),
        (None, _) => {
            let index = index.to_text(budget)?;
            Ok(missing(value, index.as_str()))
        }
    }
}

fn letter(text: &Text, at: usize) -> Option<Text> {
    let (start, c) = text.as_str().char_indices().nth(at)?;
    Some(text.slice(start..start + c.len_utf8()))
}

/// An index from the end if it is negative.
fn position(n: i64, count: usize) -> Option<usize> {
    let n = if n < 0 { n + count as i64 } else { n };
    usize::try_from(n).ok().filter(|n| *n < count)
}

/// `value[start:stop:step]`
pub fn slice(value: &Value, parts: [&Value; 3], budget: &Budget) -> Res<Value> {
    let mut numbers = [None; 3];
    for (number, part) in numbers.iter_mut().zip(parts) {
        *number = match part {
            Value::None => None,
            part => Some(part.as_int().ok_or_else(|| {
                err!("a slice goes from integer to integer, not {}", part.kind())
            })?),
        };
    }
    let count = match value {
        Value::Str(text) => text.count(),
        Value::Seq(seq) => seq.items.borrow().len(),
        Value::Undefined(what) => return Err(undefined(what.as_deref())),
        other => return Err(err!("{} has no parts", other.kind())),
    };
    let [start, stop, step] = numbers;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(err!("the step of a slice is 0"));
    }
    let n = count as i64;
    // In Python's words: clipped to the ends that can be reached.
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let clip = |at: i64| (if at < 0 { at.saturating_add(n) } else { at }).clamp(low, high);
    let start = start.map_or(if step > 0 { low } else { high }, clip);
    let stop = stop.map_or(if step > 0 { high } else { low }, clip);
    budget.spend(count / 8)?;
    match value {
        Value::Str(text) if step == 1 => {
            let byte = |at: i64| {
                let found = text.as_str().char_indices().nth(at as usize);
                found.map_or(text.as_str().len(), |(byte, _)| byte)
            };
            let from = byte(start);
            Ok(Value::Str(text.slice(from..byte(stop).max(from))))
        }
        Value::Str(text) => {
            budget.list::<Text>(count)?;
            let letters: Vec<Text> = text.letters().collect();
            let mut out = crate::text::Builder::default();
            walk(start, stop, step, |at| {
                if let Some(letter) = letters.get(at) {
                    out.text(letter);
                }
                Ok(())
            })?;
            out.finish(budget).map(Value::Str)
        }
        Value::Seq(seq) => {
            let items = seq.items.borrow();
            let mut out = Vec::new();
            walk(start, stop, step, |at| match items.get(at) {
                Some(item) => push(&mut out, item.clone()),
                None => Ok(()),
            })?;
            Value::seq(seq.kind, out)
        }
        _ => Ok(Value::None),
    }
}

fn walk(start: i64, stop: i64, step: i64, mut f: impl FnMut(usize) -> Res<()>) -> Res<()> {
    let mut at = start;
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        f(at as usize)?;
        let Some(next) = at.checked_add(step) else {
            break;
        };
        at = next;
    }
    Ok(())
}

/// The elements of a value, in order: of a dict its keys, of a string its characters.
pub fn elements(value: &Value, budget: &Budget) -> Res<Vec<Value>> {
    let items = match value {
        Value::Seq(seq) => seq.take(budget)?,
        Value::Dict(dict) => {
            budget.list::<[Value; 3]>(dict.len())?;
            dict.items().into_iter().map(|(key, _)| key).collect()
        }
        Value::Str(text) => {
            let mut items = Vec::new();
            for letter in text.letters() {
                budget.spend(1)?;
                push(&mut items, Value::Str(letter))?;
            }
            items
        }
        Value::Undefined(_) => Vec::new(),
        other => return Err(err!("{} has no elements", other.kind())),
    };
    budget.spend(items.len())?;
    Ok(items)
}

/// How many elements.
pub fn length(value: &Value) -> Res<usize> {
    match value {
        Value::Str(text) => Ok(text.count()),
        Value::Seq(seq) => Ok(seq.items.borrow().len()),
        Value::Dict(dict) => Ok(dict.len()),
        Value::Undefined(_) => Ok(0),
        other => Err(err!("{} has no length", other.kind())),
    }
}

/// `value.a.b`, where filters name an attribute by a path or number.
pub fn path(value: &Value, path: &Value, budget: &Budget) -> Res<Value> {
    let Value::Str(names) = path else {
        return item(value, path, budget);
    };
    let mut value = value.clone();
    for name in names.as_str().split('.') {
        let index = match name.parse() {
            Ok(n) => Value::Int(n),
            Err(_) => Value::text(name),
        };
        value = item(&value, &index, budget)?;
    }
    Ok(value)
}
