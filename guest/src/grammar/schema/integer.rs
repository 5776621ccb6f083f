//! Integers within bounds, digit by digit.

use super::{Result, Schema, wrong};
use crate::json::Decimal;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;

/// Most digits of an integer without an upper bound, as in llama.cpp.
const MAX_DIGITS: usize = 16;
/// From here on such integers go to the last of 64 bits instead.
const LARGE: i128 = 1_000_000_000_000_000;
/// The furthest from 0 that a bound may be.
const FURTHEST: i128 = u64::MAX as i128;

/// The rule of an integer; None if it has no bounds.
pub fn rule(schema: Schema<'_>) -> Result<Option<String>> {
    let min = match bound(schema, "minimum", true)? {
        Some(min) => Some(min),
        None => bound(schema, "exclusiveMinimum", false)?.map(|n| n.saturating_add(1)),
    };
    let max = match bound(schema, "maximum", false)? {
        Some(max) => Some(max),
        None => bound(schema, "exclusiveMaximum", true)?.map(|n| n.saturating_sub(1)),
    };
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return wrong(
            schema.value,
            format!("the least is {min} and the most is {max}: nothing fits"),
        );
    }
    // Whatever is made is within bounds so far off.
    let min = min.filter(|n| *n >= -FURTHEST);
    let max = max.filter(|n| *n <= FURTHEST);
    if min.is_some_and(|n| n > FURTHEST) || max.is_some_and(|n| n < -FURTHEST) {
        return wrong(
            schema.value,
            "expected bounds that integers of 64 bits reach",
        );
    }
    if min.is_none() && max.is_none() {
        return Ok(None);
    }
    let mut out = String::from("(");
    between(min, max, &mut out, MAX_DIGITS, true);
    out.push(')');
    Ok(Some(out))
}

fn bound(schema: Schema<'_>, key: &str, up: bool) -> Result<Option<i128>> {
    match schema.get(key) {
        None => Ok(None),
        Some(value) => match value.number() {
            Some(text) => Ok(Some(Decimal::new(text).round(up))),
            None => wrong(value, format!("expected {key} to be a number")),
        },
    }
}

fn digit(c: u8) -> char {
    char::from(c)
}

/// One digit of a range.
fn digits(from: u8, to: u8, out: &mut String) {
    let _ = match from == to {
        true => write!(out, "[{}]", digit(from)),
        false => write!(out, "[{}-{}]", digit(from), digit(to)),
    };
}

/// So many digits.
fn any_digits(min: usize, max: usize, out: &mut String) {
    let _ = match (min, max) {
        (1, 1) => write!(out, "[0-9]"),
        _ if min == max => write!(out, "[0-9]{{{min}}}"),
        _ => write!(out, "[0-9]{{{min},{max}}}"),
    };
}

/// Numbers of as many digits as both of these have, from the one to the other.
fn uniform(from: &str, to: &str, out: &mut String) {
    let shared = from
        .bytes()
        .zip(to.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    if shared > 0 {
        let _ = write!(out, "\"{}\"", from.get(..shared).unwrap_or_default());
    }
    let (Some(a), Some(b)) = (
        from.as_bytes().get(shared).copied(),
        to.as_bytes().get(shared).copied(),
    ) else {
        return;
    };
    out.push_str(if shared > 0 { " " } else { "" });
    let behind = from.len() - shared - 1;
    if behind == 0 {
        let _ = write!(out, "[{}-{}]", digit(a), digit(b));
        return;
    }
    let from_rest = from.get(shared + 1..).unwrap_or_default();
    let to_rest = to.get(shared + 1..).unwrap_or_default();
    let (zeros, nines) = ("0".repeat(behind), "9".repeat(behind));
    let mut reached = false;
    out.push('(');
    if from_rest == zeros {
        digits(a, b - 1, out);
        out.push(' ');
        any_digits(behind, behind, out);
    } else {
        let _ = write!(out, "[{}] (", digit(a));
        uniform(from_rest, &nines, out);
        out.push(')');
        if a + 1 < b {
            out.push_str(" | ");
            reached = to_rest == nines;
            digits(a + 1, if reached { b } else { b - 1 }, out);
            out.push(' ');
            any_digits(behind, behind, out);
        }
    }
    if !reached {
        out.push_str(" | ");
        digits(b, b, out);
        out.push(' ');
        uniform(&zeros, to_rest, out);
    }
    out.push(')');
}

/// Integers from `min` to `max`, of which one may be missing. At the `top` a number begins, else it goes on, and may begin with 0.
fn between(min: Option<i128>, max: Option<i128>, out: &mut String, left: usize, top: bool) {
    match (min, max) {
        (Some(min), Some(max)) => both(min, max, out),
        (Some(min), None) => from(min, out, left, top),
        (None, Some(max)) => {
            let fewer = left.saturating_sub(1).max(1);
            if max < 0 {
                out.push_str("\"-\" (");
                from(max.saturating_neg(), out, left, true);
                out.push(')');
                return;
            }
            if top {
                out.push_str("\"-\" [1-9] ");
                any_digits(0, fewer, out);
                out.push_str(" | ");
            }
            both(0, max, out);
        }
        (None, None) => {}
    }
}

fn both(mut min: i128, max: i128, out: &mut String) {
    if min < 0 && max < 0 {
        out.push_str("\"-\" (");
        both(max.saturating_neg(), min.saturating_neg(), out);
        out.push(')');
        return;
    }
    if min < 0 {
        out.push_str("\"-\" (");
        both(0, min.saturating_neg(), out);
        out.push_str(") | ");
        min = 0;
    }
    let (mut low, high) = (min.to_string(), max.to_string());
    for count in low.len()..high.len() {
        uniform(&low, &"9".repeat(count), out);
        low = format!("1{}", "0".repeat(count));
        out.push_str(" | ");
    }
    uniform(&low, &high, out);
}

/// The last integer of 64 bits, with a sign if that is enough.
fn last(min: i128) -> i128 {
    let signed = i128::from(i64::MAX);
    if min <= signed { signed } else { FURTHEST }
}

fn from(min: i128, out: &mut String, left: usize, top: bool) {
    let fewer = left.saturating_sub(1).max(1);
    if min < 0 {
        out.push_str("\"-\" (");
        between(None, Some(min.saturating_neg()), out, left, false);
        out.push_str(") | [0] | [1-9] ");
        any_digits(0, left.saturating_sub(1), out);
    } else if min >= LARGE {
        both(min, last(min), out);
    } else if min == 0 && top {
        out.push_str("[0] | [1-9] ");
        any_digits(0, fewer, out);
    } else if min == 0 {
        any_digits(1, left, out);
    } else {
        let text = min.to_string();
        let count = text.len();
        let first = text.as_bytes().first().copied().unwrap_or(b'0');
        let least = if top { b'1' } else { b'0' };
        // Of more digits, unless it is all that is left.
        if first > if count == 1 { least } else { b'1' } {
            digits(least, first - 1, out);
            out.push(' ');
            any_digits(count, fewer, out);
            out.push_str(" | ");
        }
        if count == 1 {
            digits(first, b'9', out);
            out.push(' ');
            any_digits(0, fewer, out);
            return;
        }
        digits(first, first, out);
        out.push_str(" (");
        let rest = text
            .get(1..)
            .and_then(|rest| rest.parse().ok())
            .unwrap_or(0);
        from(rest, out, fewer, false);
        out.push(')');
        if first < b'9' {
            out.push_str(" | ");
            digits(first + 1, b'9', out);
            out.push(' ');
            any_digits(count - 1, fewer, out);
        }
    }
}
