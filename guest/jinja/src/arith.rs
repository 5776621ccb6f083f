//! Operators.

use crate::code::{Bin, Cmp};
use crate::error::{Budget, Error, Res};
use crate::text::{Builder, Text, escape};
use crate::value::{SeqKind, Value};
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Computes `a op b`.
pub fn binary(op: Bin, a: &Value, b: &Value, budget: &Budget) -> Res<Value> {
    match (op, a, b) {
        (_, Value::Undefined(name), _) | (_, _, Value::Undefined(name)) => {
            Err(undefined(name.as_deref()))
        }
        (Bin::Add, Value::Str(a), Value::Str(b)) => {
            let mut out = Builder::default();
            let markup = a.is_markup() || b.is_markup();
            for part in [a, b] {
                match markup {
                    true => out.text(&escape(part, budget)?),
                    false => out.text(part),
                }
            }
            Ok(Value::Str(out.finish(budget)?.with_markup(markup)))
        }
        (Bin::Add, Value::Seq(x), Value::Seq(y)) if x.kind == y.kind => {
            let mut items = x.take(budget)?;
            let more = y.take(budget)?;
            for item in more {
                crate::error::push(&mut items, item)?;
            }
            Value::seq(x.kind, items)
        }
        (Bin::Mod, Value::Str(format), args) => {
            crate::format::percent(format, args, budget).map(Value::Str)
        }
        (Bin::Mul, Value::Str(text), n) | (Bin::Mul, n, Value::Str(text)) => {
            let n = n.as_int().ok_or_else(|| mismatch(op, a, b))?;
            repeat(text, n, budget)
        }
        (Bin::Mul, Value::Seq(seq), n) | (Bin::Mul, n, Value::Seq(seq)) => {
            let n = n.as_int().ok_or_else(|| mismatch(op, a, b))?.max(0);
            let once = seq.take(budget)?;
            let mut items = Vec::new();
            for _ in 0..n {
                budget.spend(once.len() + 1)?;
                for item in &once {
                    crate::error::push(&mut items, item.clone())?;
                }
            }
            Value::seq(seq.kind, items)
        }
        _ => numbers(op, a, b),
    }
}

fn repeat(text: &Text, n: i64, budget: &Budget) -> Res<Value> {
    let mut out = Builder::default();
    for _ in 0..n {
        if text.as_str().is_empty() {
            break;
        }
        budget.spend(1)?;
        out.text(text);
        out.check(budget)?;
    }
    let repeated = out.finish(budget)?;
    Ok(Value::Str(repeated.with_markup(text.is_markup())))
}

fn numbers(op: Bin, a: &Value, b: &Value) -> Res<Value> {
    if let (Some(x), Some(y)) = (a.as_int(), b.as_int()) {
        return integers(op, x, y);
    }
    let (Some(x), Some(y)) = (a.as_float(), b.as_float()) else {
        return Err(mismatch(op, a, b));
    };
    if y == 0.0 && matches!(op, Bin::Div | Bin::FloorDiv | Bin::Mod) {
        return Err(err!("division by zero"));
    }
    Ok(Value::Float(match op {
        Bin::Add => x + y,
        Bin::Sub => x - y,
        Bin::Mul => x * y,
        Bin::Div => x / y,
        Bin::FloorDiv => floor(x / y),
        Bin::Mod => {
            let rest = x % y;
            if rest != 0.0 && (rest < 0.0) != (y < 0.0) {
                rest + y
            } else {
                rest
            }
        }
        Bin::Pow => power(x, y)?,
    }))
}

fn integers(op: Bin, x: i64, y: i64) -> Res<Value> {
    if y == 0 && matches!(op, Bin::Div | Bin::FloorDiv | Bin::Mod) {
        return Err(err!("division by zero"));
    }
    let result = match op {
        Bin::Add => x.checked_add(y),
        Bin::Sub => x.checked_sub(y),
        Bin::Mul => x.checked_mul(y),
        Bin::Div => return Ok(Value::Float(x as f64 / y as f64)),
        Bin::FloorDiv => x.checked_div(y).map(|q| {
            let inexact = x.wrapping_rem(y) != 0;
            if inexact && (x < 0) != (y < 0) {
                q - 1
            } else {
                q
            }
        }),
        Bin::Mod => {
            let rest = x.wrapping_rem(y);
            Some(if rest != 0 && (rest < 0) != (y < 0) {
                rest + y
            } else {
                rest
            })
        }
        Bin::Pow if y < 0 => return power(x as f64, y as f64).map(Value::Float),
        Bin::Pow => match u32::try_from(y) {
            Ok(y) => x.checked_pow(y),
            Err(_) => None,
        },
    };
    result
        .map(Value::Int)
        .ok_or_else(|| err!("the number is too large"))
}

/// `x ** y` for integral `y`.
fn power(x: f64, y: f64) -> Res<f64> {
    let n = y as i32;
    if f64::from(n) != y || n.unsigned_abs() > 100_000 {
        return Err(err!(
            "'**' with a float is only known for small whole numbers"
        ));
    }
    let mut result = 1.0;
    let (mut base, mut n) = (x, n.unsigned_abs());
    while n > 0 {
        if n & 1 == 1 {
            result *= base;
        }
        base *= base;
        n >>= 1;
    }
    Ok(if y < 0.0 { 1.0 / result } else { result })
}

/// The largest whole number that is not above.
pub fn floor(x: f64) -> f64 {
    let whole = truncate(x);
    if whole > x { whole - 1.0 } else { whole }
}

/// Without the fraction.
pub fn truncate(x: f64) -> f64 {
    // Beyond 2^53 there are no fractions.
    if x > -9e15 && x < 9e15 {
        (x as i64) as f64
    } else {
        x
    }
}

/// `-a`, `+a`.
pub fn sign(minus: bool, a: &Value) -> Res<Value> {
    match (a, a.as_int()) {
        (Value::Float(f), _) => Ok(Value::Float(if minus { -f } else { *f })),
        (_, Some(n)) if minus => n
            .checked_neg()
            .map(Value::Int)
            .ok_or_else(|| err!("the number is too large")),
        (_, Some(n)) => Ok(Value::Int(n)),
        (Value::Undefined(name), _) => Err(undefined(name.as_deref())),
        _ => Err(err!("{} has no sign", a.kind())),
    }
}

fn mismatch(op: Bin, a: &Value, b: &Value) -> Error {
    let sign = match op {
        Bin::Add => "+",
        Bin::Sub => "-",
        Bin::Mul => "*",
        Bin::Div => "/",
        Bin::FloorDiv => "//",
        Bin::Mod => "%",
        Bin::Pow => "**",
    };
    err!("'{sign}' does not work on {} and {}", a.kind(), b.kind())
}

/// Something was used that is not there.
pub fn undefined(name: Option<&str>) -> Error {
    match name {
        Some(name) => err!("{name} is undefined"),
        None => err!("a value is undefined"),
    }
}

/// Computes `a cmp b`.
pub fn compare(cmp: Cmp, a: &Value, b: &Value, budget: &Budget) -> Res<bool> {
    let result = match cmp {
        Cmp::Eq => a.same(b, budget),
        Cmp::Ne => !a.same(b, budget),
        Cmp::In => contains(b, a, budget)?,
        Cmp::NotIn => !contains(b, a, budget)?,
        Cmp::Lt => order(a, b, budget)? == Some(Ordering::Less),
        Cmp::Le => matches!(order(a, b, budget)?, Some(Ordering::Less | Ordering::Equal)),
        Cmp::Gt => order(a, b, budget)? == Some(Ordering::Greater),
        Cmp::Ge => matches!(
            order(a, b, budget)?,
            Some(Ordering::Greater | Ordering::Equal)
        ),
    };
    // A comparison that ran out of budget did not compare.
    budget.spend(1)?;
    Ok(result)
}

/// Whether `item in whole`.
pub fn contains(whole: &Value, item: &Value, budget: &Budget) -> Res<bool> {
    match whole {
        Value::Str(text) => match item {
            Value::Str(part) => {
                budget.spend(text.as_str().len() / 16)?;
                Ok(text.as_str().contains(part.as_str()))
            }
            other => Err(err!("{} cannot be in a string", other.kind())),
        },
        Value::Seq(seq) if seq.kind == SeqKind::Generator => {
            Ok(seq.take(budget)?.iter().any(|v| v.same(item, budget)))
        }
        Value::Seq(seq) => Ok(seq.items.borrow().iter().any(|v| v.same(item, budget))),
        Value::Dict(dict) => Ok(dict.get(item, budget).is_some()),
        Value::Undefined(_) => Ok(false),
        other => Err(err!("nothing can be in {}", other.kind())),
    }
}

/// Python's order; nothing with NaN.
pub fn order(a: &Value, b: &Value, budget: &Budget) -> Res<Option<Ordering>> {
    budget.spend(1)?;
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => {
            budget.spend(a.as_str().len().min(b.as_str().len()) / 64)?;
            return Ok(Some(a.as_str().cmp(b.as_str())));
        }
        (Value::Seq(x), Value::Seq(y)) if x.kind == y.kind => {
            let (x, y) = (x.items.borrow(), y.items.borrow());
            for (a, b) in x.iter().zip(y.iter()) {
                if !a.same(b, budget) {
                    return order(a, b, budget);
                }
            }
            return Ok(Some(x.len().cmp(&y.len())));
        }
        (Value::Undefined(name), _) | (_, Value::Undefined(name)) => {
            return Err(undefined(name.as_deref()));
        }
        _ => {}
    }
    if let (Some(x), Some(y)) = (a.as_int(), b.as_int()) {
        return Ok(Some(x.cmp(&y)));
    }
    match (a.as_float(), b.as_float()) {
        (Some(x), Some(y)) => Ok(x.partial_cmp(&y)),
        _ => Err(err!("{} and {} have no order", a.kind(), b.kind())),
    }
}
