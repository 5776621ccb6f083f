//! Tests: what may follow `is`.

use crate::args::Args;
use crate::arith::{compare, contains};
use crate::code::Cmp;
use crate::error::{Budget, Res};
use crate::filters;
use crate::value::{Object, SeqKind, Value};

/// The names of all tests.
const NAMES: [&str; 39] = [
    "defined",
    "undefined",
    "none",
    "boolean",
    "true",
    "false",
    "integer",
    "float",
    "number",
    "string",
    "mapping",
    "iterable",
    "sequence",
    "callable",
    "odd",
    "even",
    "divisibleby",
    "sameas",
    "lower",
    "upper",
    "escaped",
    "filter",
    "test",
    "in",
    "eq",
    "==",
    "equalto",
    "ne",
    "!=",
    "lt",
    "<",
    "lessthan",
    "le",
    "<=",
    "gt",
    ">",
    "greaterthan",
    "ge",
    ">=",
];

/// Whether there is a test of this name.
pub fn known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether `value is name(args)`.
pub fn test(name: &str, value: &Value, args: &Args, budget: &Budget) -> Res<bool> {
    let compared = |cmp| compare(cmp, value, args.need(0, "other")?, budget);
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined(_)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.as_float().is_some(),
        "string" => matches!(value, Value::Str(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "iterable" => matches!(
            value,
            Value::Str(_)
                | Value::Seq(_)
                | Value::Dict(_)
                | Value::Undefined(_)
                | Value::Object(Object::Loop(_))
        ),
        "sequence" => match value {
            Value::Seq(seq) => seq.kind != SeqKind::Generator,
            Value::Str(_) | Value::Dict(_) | Value::Undefined(_) => true,
            _ => false,
        },
        "callable" => {
            matches!(value, Value::Object(object) if !matches!(object, Object::Namespace(_)))
                || matches!(value, Value::Undefined(_))
        }
        "odd" | "even" => {
            let n = value
                .as_int()
                .ok_or_else(|| err!("'{name}' is a test of an integer, not of {}", value.kind()))?;
            (n.rem_euclid(2) == 1) == (name == "odd")
        }
        "divisibleby" => match (value.as_int(), args.need(0, "num")?.as_int()) {
            (Some(_), Some(0)) => return Err(err!("division by zero")),
            (Some(n), Some(by)) => n.wrapping_rem(by) == 0,
            _ => {
                return Err(err!(
                    "'divisibleby' is a test of an integer, not of {}",
                    value.kind()
                ));
            }
        },
        "sameas" => same_object(value, args.need(0, "other")?, budget),
        "lower" | "upper" => {
            let text = value.to_text(budget)?;
            let (mut cased, mut all) = (false, true);
            for c in text.as_str().chars() {
                let (low, up) = (c.is_lowercase(), c.is_uppercase());
                cased |= low || up;
                all &= if name == "lower" { !up } else { !low };
            }
            cased && all
        }
        "escaped" => matches!(value, Value::Str(text) if text.is_markup()),
        "filter" => filters::known(value.to_text(budget)?.as_str()),
        "test" => known(value.to_text(budget)?.as_str()),
        "in" => contains(args.need(0, "seq")?, value, budget)?,
        "eq" | "==" | "equalto" => compared(Cmp::Eq)?,
        "ne" | "!=" => compared(Cmp::Ne)?,
        "lt" | "<" | "lessthan" => compared(Cmp::Lt)?,
        "le" | "<=" => compared(Cmp::Le)?,
        "gt" | ">" | "greaterthan" => compared(Cmp::Gt)?,
        "ge" | ">=" => compared(Cmp::Ge)?,
        _ => return Err(err!("unknown test '{name}'")),
    })
}

/// Python's `is`, as far as it can be told.
fn same_object(a: &Value, b: &Value, budget: &Budget) -> bool {
    match (a, b) {
        (Value::Seq(a), Value::Seq(b)) => alloc::rc::Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => alloc::rc::Rc::ptr_eq(a, b),
        _ => a.kind() == b.kind() && a.same(b, budget),
    }
}
