//! Metadata: typed values and arrays, read in place.

use super::read::{Countable, Reader, Span};
use super::{Limits, find};
use crate::bail;
use crate::error::Result;

/// The type of a metadata value, as the format numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names are the format's")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// The type with that number.
    pub fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::Str,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Bytes of one value, if that is fixed.
    pub fn fixed_bytes(self) -> Option<u64> {
        Some(match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Str | Self::Array => return None,
        })
    }
}

/// Where one metadata entry is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kv {
    pub key: Span,
    pub ty: ValueType,
    pub value: Span,
}

impl Kv {
    /// The least bytes an entry takes: a key of one byte and a value of one.
    pub const MIN_BYTES: u64 = 8 + 1 + 4 + 1;

    pub fn read<'a>(r: &mut Reader<'a>, limits: &Limits) -> Result<Self> {
        let (key, name): (Span, &'a str) = r.name(limits.key_bytes, "a metadata key")?;
        let id = r.u32("a metadata type")?;
        let Some(ty) = ValueType::from_id(id) else {
            bail!(Unsupported, "metadata '{name}' has the unknown type {id}");
        };
        let offset = r.position();
        match ty {
            ValueType::Array => skip_array(r, name, limits)?,
            _ => skip_items(r, name, ty, 1, limits)?,
        }
        let bytes = r.position() - offset;
        r.note(name, bytes);
        let value = Span { offset, bytes };
        Ok(Self { key, ty, value })
    }
}

fn skip_array(r: &mut Reader<'_>, key: &str, limits: &Limits) -> Result<()> {
    let id = r.u32("an array's type")?;
    let count = r.u64("an array's length")?;
    let ty = match ValueType::from_id(id) {
        // The format allows nesting; no model uses it, and depth would be the file's to choose.
        Some(ValueType::Array) => bail!(Unsupported, "metadata '{key}' is an array of arrays"),
        Some(ty) => ty,
        None => bail!(
            Unsupported,
            "metadata '{key}' is an array of the unknown type {id}"
        ),
    };
    r.check_count(
        count,
        Countable {
            what: format_args!("elements of metadata '{key}'"),
            limit: limits.array_count,
            field: "max_array_count",
            min_bytes: ty.fixed_bytes().unwrap_or(8),
        },
    )?;
    skip_items(r, key, ty, count, limits)
}

/// Checks and passes over `count` values that are not arrays.
fn skip_items(
    r: &mut Reader<'_>,
    key: &str,
    ty: ValueType,
    count: u64,
    limits: &Limits,
) -> Result<()> {
    let Some(size) = ty.fixed_bytes() else {
        for _ in 0..count {
            r.string(limits.string_bytes, " (max_string_bytes)", key)?;
        }
        return Ok(());
    };
    let Some(bytes) = size.checked_mul(count) else {
        bail!(
            Format,
            "metadata '{key}' has {count} elements, which overflows"
        );
    };
    let taken = r.take(bytes, key)?;
    if ty == ValueType::Bool && taken.iter().any(|&b| b > 1) {
        bail!(
            Format,
            "metadata '{key}' has a boolean that is neither 0 nor 1"
        );
    }
    Ok(())
}

/// A metadata value, borrowed from the file.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are the format's")]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    /// Any bytes: the format says UTF-8, but tokens are often not.
    Str(&'a [u8]),
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// Reads one value from the front of `bytes`, which parsing has checked.
    fn read(ty: ValueType, bytes: &'a [u8]) -> Option<Self> {
        Some(match ty {
            ValueType::U8 => Self::U8(u8::from_le_bytes(*bytes.first_chunk()?)),
            ValueType::I8 => Self::I8(i8::from_le_bytes(*bytes.first_chunk()?)),
            ValueType::U16 => Self::U16(u16::from_le_bytes(*bytes.first_chunk()?)),
            ValueType::I16 => Self::I16(i16::from_le_bytes(*bytes.first_chunk()?)),
            ValueType::U32 => Self::U32(u32::from_le_bytes(*bytes.first_chunk()?)),
            ValueType::I32 => Self::I32(i32::from_le_bytes(*bytes.first_chunk()?)),
            ValueType::U64 => Self::U64(u64::from_le_bytes(*bytes.first_chunk()?)),
            ValueType::I64 => Self::I64(i64::from_le_bytes(*bytes.first_chunk()?)),
            ValueType::F32 => Self::F32(f32::from_le_bytes(*bytes.first_chunk()?)),
            ValueType::F64 => Self::F64(f64::from_le_bytes(*bytes.first_chunk()?)),
            ValueType::Bool => Self::Bool(*bytes.first()? != 0),
            ValueType::Str => Self::Str(split_string(bytes)?.0),
            ValueType::Array => {
                let (id, rest) = bytes.split_first_chunk()?;
                let (len, items) = rest.split_first_chunk()?;
                let ty = ValueType::from_id(u32::from_le_bytes(*id))?;
                let len = u64::from_le_bytes(*len);
                // Again, for the sake of a buffer that changed since it was parsed.
                if len > items.len() as u64 / ty.fixed_bytes().unwrap_or(8) {
                    return None;
                }
                Self::Array(Array { ty, len, items })
            }
        })
    }

    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F32(_) => ValueType::F32,
            Self::F64(_) => ValueType::F64,
            Self::Bool(_) => ValueType::Bool,
            Self::Str(_) => ValueType::Str,
            Self::Array(_) => ValueType::Array,
        }
    }

    /// The integer, whatever its width and sign.
    fn integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U64(v) => v.into(),
            Self::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// An integer of any width, if it fits.
    pub fn as_u32(&self) -> Option<u32> {
        self.integer()?.try_into().ok()
    }

    /// An integer of any width, if it fits.
    pub fn as_i32(&self) -> Option<i32> {
        self.integer()?.try_into().ok()
    }

    /// An integer of any width, if it fits.
    pub fn as_u64(&self) -> Option<u64> {
        self.integer()?.try_into().ok()
    }

    /// An integer of any width, if it fits.
    pub fn as_i64(&self) -> Option<i64> {
        self.integer()?.try_into().ok()
    }

    /// A float; a double is rounded.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// A string's bytes.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Str(v) => Some(v),
            _ => None,
        }
    }

    /// A string, if it is UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        core::str::from_utf8(self.as_bytes()?).ok()
    }

    /// An array.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Self::Array(v) => Some(v),
            _ => None,
        }
    }
}

/// Splits a length-prefixed string off the front.
fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)
}

/// An array of values of one type, none of them arrays, read in place.
///
/// The typed readers answer `None` for an array of another type: an array's length says nothing
/// about how many bytes lie behind it (llama.cpp#26690).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    ty: ValueType,
    len: u64,
    items: &'a [u8],
}

impl<'a> Array<'a> {
    /// The elements' type.
    pub fn element_type(&self) -> ValueType {
        self.ty
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        // Every element takes a byte of the buffer at least, so the cast loses nothing.
        self.len as usize
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements' bytes as they lie in the file, little-endian, at any alignment.
    pub fn raw(&self) -> &'a [u8] {
        self.items
    }

    /// Element `i` in O(1); `None` past the end and for arrays of strings.
    pub fn get(&self, i: usize) -> Option<Value<'a>> {
        let size = usize::try_from(self.ty.fixed_bytes()?).ok()?;
        let start = i.checked_mul(size)?;
        if i >= self.len() {
            return None;
        }
        Value::read(self.ty, self.items.get(start..)?)
    }

    /// The strings, in order; `None` if the elements are something else.
    pub fn strings(&self) -> Option<Strings<'a>> {
        (self.ty == ValueType::Str).then_some(Strings {
            left: self.len(),
            items: self.items,
        })
    }

    /// The floats, in order; `None` if the elements are something else.
    pub fn f32s(&self) -> Option<impl ExactSizeIterator<Item = f32> + Clone + use<'a>> {
        let items = self.fixed(ValueType::F32)?;
        Some(items.iter().map(|b| f32::from_le_bytes(*b)))
    }

    /// The bytes, signed or not; `None` if the elements are something else.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        matches!(self.ty, ValueType::U8 | ValueType::I8).then_some(self.items)
    }

    /// The 32-bit signed integers, in order; `None` if the elements are something else.
    pub fn i32s(&self) -> Option<impl ExactSizeIterator<Item = i32> + Clone + use<'a>> {
        let items = self.fixed(ValueType::I32)?;
        Some(items.iter().map(|b| i32::from_le_bytes(*b)))
    }

    /// The 32-bit unsigned integers, in order; `None` if the elements are something else.
    pub fn u32s(&self) -> Option<impl ExactSizeIterator<Item = u32> + Clone + use<'a>> {
        let items = self.fixed(ValueType::U32)?;
        Some(items.iter().map(|b| u32::from_le_bytes(*b)))
    }

    /// Every element as a value, whatever the type but strings, in order.
    pub fn values(&self) -> impl Iterator<Item = Value<'a>> + Clone + use<'a> {
        let this = *self;
        (0..self.len()).map_while(move |i| this.get(i))
    }

    fn fixed<const N: usize>(&self, ty: ValueType) -> Option<&'a [[u8; N]]> {
        (self.ty == ty).then_some(self.items.as_chunks().0)
    }
}

/// The strings of an array, in order. Made by [`Array::strings`].
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    left: usize,
    items: &'a [u8],
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let Some((string, rest)) = split_string(self.items) else {
            self.left = 0;
            return None;
        };
        self.items = rest;
        Some(string)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}

/// The metadata of one file. The default has no entries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metadata<'a> {
    bytes: &'a [u8],
    kvs: &'a [Kv],
    by_key: &'a [u32],
}

impl<'a> Metadata<'a> {
    pub(super) fn new(bytes: &'a [u8], kvs: &'a [Kv], by_key: &'a [u32]) -> Self {
        Self { bytes, kvs, by_key }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.kvs.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.kvs.is_empty()
    }

    /// The value of a key. O(log n).
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let i = find(self.bytes, self.kvs, self.by_key, |kv: &Kv| kv.key, key)?;
        Some(self.entry(i as usize)?.1)
    }

    /// Entry `i` in the order of the file.
    pub fn entry(&self, i: usize) -> Option<(&'a str, Value<'a>)> {
        let kv = self.kvs.get(i)?;
        let key = core::str::from_utf8(kv.key.of(self.bytes)).ok()?;
        Some((key, Value::read(kv.ty, kv.value.of(self.bytes))?))
    }

    /// All entries in the order of the file.
    pub fn iter(&self) -> MetadataIter<'a> {
        MetadataIter {
            metadata: *self,
            next: 0,
        }
    }

    /// A string that is UTF-8.
    pub fn str(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// An integer of any width that fits.
    pub fn u32(&self, key: &str) -> Option<u32> {
        self.get(key)?.as_u32()
    }

    /// An integer of any width that fits.
    pub fn u64(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    /// An integer of any width that fits.
    pub fn i64(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_i64()
    }

    /// A float; a double is rounded.
    pub fn f32(&self, key: &str) -> Option<f32> {
        self.get(key)?.as_f32()
    }

    /// A boolean.
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    /// An array.
    pub fn array(&self, key: &str) -> Option<Array<'a>> {
        self.get(key)?.as_array()
    }
}

/// Entries in the order of the file. Made by [`Metadata::iter`].
#[derive(Clone, Debug)]
pub struct MetadataIter<'a> {
    metadata: Metadata<'a>,
    next: usize,
}

impl<'a> Iterator for MetadataIter<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.metadata.entry(self.next)?;
        self.next += 1;
        Some(entry)
    }
}
