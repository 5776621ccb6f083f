//! Which of two schemas says more of a value. `allOf`, and what is beside alternatives, may say two things of one property, and a rule
//! is made of one: where what fits one plainly fits the other, nothing is lost.

use super::all_of::same;
use super::{Converter, Result, Schema, Shape};
use crate::json::{Decimal, Kind, Value};

/// Values of enumerations that are looked at for all properties of a schema together. Beyond, nothing is plain.
const MAX_COMPARED: usize = 1_000_000;
/// Alternatives in one another that are looked into.
const MAX_NESTED: u32 = 4;

/// Types as bits. An integer is a number.
const NULL: u8 = 1;
const BOOLEAN: u8 = 2;
const INTEGER: u8 = 4;
const NUMBER: u8 = INTEGER | 8;
const STRING: u8 = 16;
const ARRAY: u8 = 32;
const OBJECT: u8 = 64;

/// Keywords by which a rule takes less than its type has.
const LIMITS: [&str; 17] = [
    "pattern",
    "format",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "properties",
    "required",
    "additionalProperties",
    "allOf",
    "enum",
];

/// What fits a schema, as far as types tell.
struct Extent<'a> {
    types: u8,
    /// All of these types fits.
    whole: bool,
    /// Nothing else fits.
    values: Option<&'a [Value]>,
    /// It has alternatives, which may each have limits of their own.
    several: bool,
}

impl<'a> Converter<'a> {
    /// Whether what fits `a` plainly fits `b` as well.
    pub(super) fn is_within(&mut self, a: Schema<'a>, b: Schema<'a>) -> Result<bool> {
        if same(a.value, b.value) || a.is_never() {
            return Ok(true);
        }
        if b.is_never() {
            return Ok(false);
        }
        if matches!(b.shape()?, Shape::Any) {
            return Ok(true);
        }
        let (Some(a), Some(b)) = (self.extent(a, 0)?, self.extent(b, 0)?) else {
            return Ok(false);
        };
        Ok(match (a.values, b.values) {
            (Some(some), Some(all)) => {
                self.may_compare(some.len() * all.len())
                    && some.iter().all(|one| all.iter().any(|v| same(v, one)))
            }
            (None, Some(_)) => false,
            (Some(_), None) => a.types & !b.types == 0 && (b.whole || !b.several),
            (None, None) => a.types & !b.types == 0 && b.whole,
        })
    }

    /// What fits a schema; None where types do not tell.
    fn extent(&mut self, schema: Schema<'a>, nested: u32) -> Result<Option<Extent<'a>>> {
        let chain = self.chain(schema)?;
        let target = chain.last().copied().unwrap_or(schema);
        if target.is_never() {
            return Ok(None);
        }
        let mut extent = Extent {
            types: 0,
            whole: !LIMITS.iter().any(|key| chain.iter().any(|s| s.has(key))),
            values: None,
            several: false,
        };
        match target.shape()? {
            Shape::AnyOf(all) => {
                for one in all.into_iter().filter(|one| !one.is_never()) {
                    let one = match nested < MAX_NESTED {
                        true => self.extent(one, nested + 1)?,
                        false => None,
                    };
                    let Some(one) = one else { return Ok(None) };
                    extent.types |= one.types;
                    extent.whole &= one.whole;
                }
                extent.several = true;
            }
            Shape::Const(value) => extent.values = Some(core::slice::from_ref(value)),
            Shape::Enum(values) => extent.values = Some(values),
            Shape::Object => extent.types = OBJECT,
            Shape::Array => extent.types = ARRAY,
            Shape::Text => extent.types = STRING,
            Shape::Integer => extent.types = INTEGER,
            Shape::Primitive("number") => extent.types = NUMBER,
            Shape::Primitive("boolean") => extent.types = BOOLEAN,
            Shape::Primitive(_) => extent.types = NULL,
            Shape::Any | Shape::Ref(_) | Shape::AllOf => return Ok(None),
        }
        if let Some(values) = extent.values {
            if !self.may_compare(values.len()) {
                return Ok(None);
            }
            extent.whole = false;
            extent.types = values.iter().fold(0, |types, v| types | type_of(v));
        }
        Ok(Some(extent))
    }

    /// Whether so many more values may be looked at.
    fn may_compare(&mut self, count: usize) -> bool {
        self.compared = self.compared.saturating_add(count);
        self.compared <= MAX_COMPARED
    }
}

fn type_of(value: &Value) -> u8 {
    match &value.kind {
        Kind::Null => NULL,
        Kind::Bool(_) => BOOLEAN,
        Kind::Number(text) if Decimal::new(text).is_whole() => INTEGER,
        Kind::Number(_) => NUMBER,
        Kind::Text(_) => STRING,
        Kind::Array(_) => ARRAY,
        Kind::Object(_) => OBJECT,
    }
}
