//! Metadata values as the number types that callers ask for: exactly, or not at all.

use super::{Array, Metadata, Value, ValueType};
use crate::error::{Result, Short};
use crate::{bail, err};

/// What no integer of the format reaches: 2^64.
const ABOVE: f64 = 18_446_744_073_709_551_616.0;

/// A number of any type of the format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Any integer: below 2^64 in magnitude.
    Int(i128),
    /// Either float.
    Float(f64),
}

impl Number {
    /// The number that a value is; booleans, strings and arrays are none.
    pub fn of(value: &Value<'_>) -> Option<Self> {
        Some(match *value {
            Value::U8(v) => Self::Int(v.into()),
            Value::I8(v) => Self::Int(v.into()),
            Value::U16(v) => Self::Int(v.into()),
            Value::I16(v) => Self::Int(v.into()),
            Value::U32(v) => Self::Int(v.into()),
            Value::I32(v) => Self::Int(v.into()),
            Value::U64(v) => Self::Int(v.into()),
            Value::I64(v) => Self::Int(v.into()),
            Value::F32(v) => Self::Float(v.into()),
            Value::F64(v) => Self::Float(v),
            _ => return None,
        })
    }

    /// The integer, if it is one: a float must have no fraction.
    pub fn int(self) -> Option<i128> {
        match self {
            Self::Int(v) => Some(v),
            Self::Float(f) => {
                // The cast saturates, and gives 0 for NaN; both fail a comparison.
                let size = f.abs() as u64;
                let exact = f.abs() < ABOVE && size as f64 == f.abs();
                let v = i128::from(size);
                exact.then_some(if f < 0.0 { -v } else { v })
            }
        }
    }

    /// The double, if no bit is lost.
    pub fn f64(self) -> Option<f64> {
        match self {
            Self::Float(f) => Some(f),
            Self::Int(v) => {
                let size = u64::try_from(v.unsigned_abs()).ok()?;
                let f = size as f64;
                let exact = f < ABOVE && f as u64 == size;
                exact.then_some(if v < 0 { -f } else { f })
            }
        }
    }

    /// The float: an integer if no bit is lost, a double rounded.
    pub fn f32(self) -> Option<f32> {
        let f = self.f64()?;
        let rounded = f as f32;
        match self {
            Self::Float(_) => Some(rounded),
            Self::Int(_) => (f64::from(rounded) == f).then_some(rounded),
        }
    }
}

/// Looks a value up: the scalar with no index, else element `index` of an array.
///
/// Also says how many bytes of the file had to be walked, which for strings in arrays grows with
/// the index.
///
/// # Errors
/// `NotFound` for a missing key or an index past the end; `InvalidArgument` for an index into a
/// scalar, or none into an array.
pub fn lookup<'a>(
    meta: &Metadata<'a>,
    key: &str,
    index: Option<u64>,
) -> Result<(Value<'a>, usize)> {
    let value = meta
        .get(key)
        .ok_or_else(|| err!(NotFound, "the model has no metadata '{}'", Short(key)))?;
    let Some(index) = index else {
        if value.as_array().is_some() {
            bail!(InvalidArgument, "'{key}' is an array: an index is needed");
        }
        return Ok((value, 0));
    };
    let Some(array) = value.as_array() else {
        bail!(InvalidArgument, "'{key}' is not an array");
    };
    element(&array, index).ok_or_else(|| err!(NotFound, "'{key}' has {} elements", array.len()))
}

fn element<'a>(array: &Array<'a>, index: u64) -> Option<(Value<'a>, usize)> {
    let i = usize::try_from(index).ok()?;
    match array.strings() {
        None => Some((array.get(i)?, 0)),
        Some(mut strings) if i < array.len() => {
            Some((Value::Str(strings.nth(i)?), i.saturating_mul(8)))
        }
        Some(_) => None,
    }
}

/// The length of an array.
///
/// # Errors
/// `NotFound` for a missing key, `InvalidArgument` if it is not an array.
pub fn array_len(meta: &Metadata<'_>, key: &str) -> Result<u64> {
    let value = meta
        .get(key)
        .ok_or_else(|| err!(NotFound, "the model has no metadata '{}'", Short(key)))?;
    match value.as_array() {
        Some(array) => Ok(array.len() as u64),
        None => bail!(InvalidArgument, "'{key}' is not an array"),
    }
}

/// The little-endian bytes of a number or boolean as a type of the format; their count.
pub fn encode(value: &Value<'_>, ty: ValueType) -> Option<([u8; 8], usize)> {
    if ty == ValueType::Bool {
        return value.as_bool().map(|b| pad([u8::from(b)]));
    }
    let n = Number::of(value)?;
    Some(match ty {
        ValueType::U32 => pad(u32::try_from(n.int()?).ok()?.to_le_bytes()),
        ValueType::I32 => pad(i32::try_from(n.int()?).ok()?.to_le_bytes()),
        ValueType::U64 => pad(u64::try_from(n.int()?).ok()?.to_le_bytes()),
        ValueType::I64 => pad(i64::try_from(n.int()?).ok()?.to_le_bytes()),
        ValueType::F32 => pad(n.f32()?.to_le_bytes()),
        ValueType::F64 => pad(n.f64()?.to_le_bytes()),
        _ => return None,
    })
}

fn pad<const N: usize>(bytes: [u8; N]) -> ([u8; 8], usize) {
    let mut all = [0; 8];
    for (to, from) in all.iter_mut().zip(bytes) {
        *to = from;
    }
    (all, N)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_convert_exactly_or_not_at_all() {
        let int = |v: Value<'_>| Number::of(&v).unwrap().int();
        assert_eq!(int(Value::F32(3.0)), Some(3));
        assert_eq!(int(Value::F32(3.5)), None);
        assert_eq!(int(Value::F64(f64::NAN)), None);
        assert_eq!(int(Value::F64(f64::INFINITY)), None);
        assert_eq!(int(Value::U64(u64::MAX)), Some(u64::MAX.into()));
        assert_eq!(int(Value::F64(-0.0)), Some(0));
        assert_eq!(int(Value::F64(-ABOVE / 2.0)), Some(i64::MIN.into()));
        assert_eq!(int(Value::F64(ABOVE / 2.0)), Some(1 << 63));
        assert_eq!(int(Value::F64(ABOVE)), None);
        let d = |v: Value<'_>| Number::of(&v).unwrap().f64();
        assert_eq!(d(Value::I64(i64::MIN)), Some(-ABOVE / 2.0));
        assert_eq!(d(Value::U64(u64::MAX)), None);
        assert_eq!(d(Value::I64(-3)), Some(-3.0));
        assert_eq!(d(Value::I64((1 << 53) + 1)), None);
        let f = |v: Value<'_>| Number::of(&v).unwrap().f32();
        assert_eq!(f(Value::U32(1 << 24)), Some(16_777_216.0));
        assert_eq!(f(Value::U32((1 << 24) + 1)), None);
        assert_eq!(f(Value::U64(u64::MAX)), None);
        assert_eq!(f(Value::I32(-(1 << 24))), Some(-16_777_216.0));
        assert_eq!(f(Value::F64(0.1)), Some(0.1));
        assert!(Number::of(&Value::Bool(true)).is_none());
        assert_eq!(encode(&Value::I32(-1), ValueType::U32), None);
        assert_eq!(
            encode(&Value::U8(7), ValueType::I64),
            Some(([7, 0, 0, 0, 0, 0, 0, 0], 8))
        );
        assert_eq!(
            encode(&Value::Bool(true), ValueType::Bool),
            Some(([1, 0, 0, 0, 0, 0, 0, 0], 1))
        );
    }
}
