//! Active segments as code.
//!
//! Since version 2.0 of the specification a segment that does not fit is a trap: those before it have been written, and the
//! functions that they have put into somebody else's table can be called. The interpreter (wasmi 2.0) writes segments before
//! there is an instance, so those could not be called. A module that shares tables or memories is therefore changed before it is
//! translated: its active segments become passive ones, and one function more writes them, when there is an instance, and then
//! calls the start function.

use super::sections::{CODE, Cursor, START, Section, put_number, sections};
use crate::error::{Result, try_vec};
use alloc::vec::Vec;

const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const ELEMENTS: u8 = 9;
const DATA: u8 = 11;
const DATA_COUNT: u8 = 12;
/// The sections that are kept, in the order of the format: all but custom ones and the start.
const ORDER: [u8; 11] = [
    TYPES, 2, FUNCTIONS, 4, 5, 6, 7, ELEMENTS, DATA_COUNT, CODE, DATA,
];
/// The validator takes no larger functions. More segments than that are written by the interpreter, all or none.
const MAX_FUNCTION_BYTES: usize = 128 << 10;
/// Bytes of code for one segment, at most: its offset has a bounded number of operators (`survey`).
const SEGMENT_BYTES: usize = 4096;
/// A function's type: no parameters, no results.
const TYPE: [u8; 3] = [0x60, 0, 0];

/// A valid module with its active segments, and its start function, as one function more, behind the others. None if it has no active
/// segment or too many, or is not understood.
///
/// # Errors
/// `NoMemory`.
pub fn as_function(wasm: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut found: [Option<Section>; 16] = [None; 16];
    for section in sections(wasm) {
        let Some(section) = section else {
            return Ok(None);
        };
        if let Some(place) = found.get_mut(usize::from(section.id)) {
            *place = Some(section);
        }
    }
    let cursor = |id: u8| found.get(usize::from(id)).copied().flatten()?.cursor(wasm);
    // How many items a section has, and their bytes.
    let items = |id| {
        let mut c = cursor(id)?;
        Some((c.number()?, c.rest()))
    };
    let count = |id| items(id).map_or(0, |(count, _)| count);
    let buffer = |bytes| try_vec::<u8>(bytes, "bytes of a module");
    // A passive segment may have a byte more than an active one.
    let copy = |id| buffer(items(id).map_or(0, |(n, bytes)| n as usize + bytes.len()));
    let (mut elements, mut data) = (copy(ELEMENTS)?, copy(DATA)?);
    let mut code = buffer(MAX_FUNCTION_BYTES + SEGMENT_BYTES)?;
    code.push(0); // no locals
    let none = code.len();
    if passive(cursor(ELEMENTS), &mut elements, &mut code, element).is_none()
        || passive(cursor(DATA), &mut data, &mut code, datum).is_none()
        || code.len() == none
    {
        return Ok(None);
    }
    if let Some(start) = cursor(START).and_then(|mut c| c.number()) {
        code.push(0x10); // call
        put_number(&mut code, start);
    }
    code.push(0x0b); // end
    if code.len() > MAX_FUNCTION_BYTES {
        return Ok(None);
    }
    let (mut ty, mut body, mut data_count) = (buffer(8)?, buffer(code.len() + 8)?, buffer(8)?);
    put_number(&mut ty, count(TYPES));
    put_number(&mut body, code.len() as u32);
    body.extend_from_slice(&code);
    put_number(&mut data_count, count(DATA));

    let grown = (count(ELEMENTS) as usize).saturating_add(count(DATA) as usize);
    let mut out = buffer(wasm.len() + grown + body.len() + 128)?;
    out.extend_from_slice(wasm.get(..8).unwrap_or_default());
    for id in ORDER {
        let (old, bytes) = items(id).unwrap_or_default();
        match id {
            TYPES => put_section(&mut out, id, Some(old + 1), &[bytes, &TYPE]),
            FUNCTIONS => put_section(&mut out, id, Some(old + 1), &[bytes, &ty]),
            CODE => put_section(&mut out, id, Some(old + 1), &[bytes, &body]),
            DATA_COUNT => put_section(&mut out, id, None, &[&data_count]),
            _ if cursor(id).is_none() => {}
            ELEMENTS => put_section(&mut out, id, Some(old), &[&elements]),
            DATA => put_section(&mut out, id, Some(old), &[&data]),
            _ => put_section(&mut out, id, Some(old), &[bytes]),
        }
    }
    Ok(Some(out))
}

/// A section of so many items, or of something else than items.
fn put_section(out: &mut Vec<u8>, id: u8, count: Option<u32>, parts: &[&[u8]]) {
    let number = |n: u32| (n | 1).ilog2() as usize / 7 + 1;
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    out.push(id);
    put_number(out, (count.map_or(0, number) + bytes) as u32);
    if let Some(count) = count {
        put_number(out, count);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Copies the segments of a section, with `one` for each, which makes it passive and adds what it did to the code.
fn passive(
    section: Option<Cursor<'_>>,
    out: &mut Vec<u8>,
    code: &mut Vec<u8>,
    one: impl Fn(&mut Cursor<'_>, u32, &mut Vec<u8>, &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    let Some(mut c) = section else {
        return Some(());
    };
    for index in 0..c.number()? {
        one(&mut c, index, out, code)?;
        if code.len() > MAX_FUNCTION_BYTES {
            return None;
        }
    }
    Some(())
}

/// The bits of what an element segment begins with.
const NOT_ACTIVE: u32 = 1;
const NAMES_TABLE: u32 = 2;
const EXPRESSIONS: u32 = 4;

fn element(c: &mut Cursor<'_>, index: u32, out: &mut Vec<u8>, code: &mut Vec<u8>) -> Option<()> {
    let flags = c.number()?;
    let is_active = flags & NOT_ACTIVE == 0;
    let mut table = 0;
    if is_active {
        if flags & NAMES_TABLE != 0 {
            table = c.number()?;
        }
        offset(c, code)?;
    }
    // Functions, or references of a type; those of the first forms are not said to be so.
    let kind = match (flags & (NOT_ACTIVE | NAMES_TABLE), flags & EXPRESSIONS) {
        (0, 0) => 0,
        (0, _) => 0x70,
        _ => c.byte()?,
    };
    put_number(
        out,
        if is_active {
            flags & EXPRESSIONS | NOT_ACTIVE
        } else {
            flags
        },
    );
    out.push(kind);
    let rest = c.rest();
    let count = c.number()?;
    for _ in 0..count {
        match flags & EXPRESSIONS {
            0 => c.any_number()?,
            _ => c.constant()?,
        }
    }
    out.extend_from_slice(rest.get(..rest.len() - c.rest().len())?);
    if is_active {
        // table.init, elem.drop
        put_copy(code, count, [(12, Some(table)), (13, None)], index);
    }
    Some(())
}

fn datum(c: &mut Cursor<'_>, index: u32, out: &mut Vec<u8>, code: &mut Vec<u8>) -> Option<()> {
    let flags = c.number()?;
    let is_active = flags & NOT_ACTIVE == 0;
    let mut memory = 0;
    if is_active {
        if flags & NAMES_TABLE != 0 {
            memory = c.number()?;
        }
        offset(c, code)?;
    }
    out.push(1);
    let rest = c.rest();
    let count = c.number()?;
    c.skip(count as usize)?;
    out.extend_from_slice(rest.get(..rest.len() - c.rest().len())?);
    if is_active {
        // memory.init, data.drop
        put_copy(code, count, [(8, Some(memory)), (9, None)], index);
    }
    Some(())
}

/// An offset becomes code, without the end of the expression.
fn offset(c: &mut Cursor<'_>, code: &mut Vec<u8>) -> Option<()> {
    let rest = c.rest();
    c.constant()?;
    let bytes = rest.len() - c.rest().len();
    code.extend_from_slice(rest.get(..bytes - 1)?);
    Some(())
}

/// Behind the offset: all of a segment is copied to it, and the segment dropped.
fn put_copy(code: &mut Vec<u8>, count: u32, operators: [(u32, Option<u32>); 2], segment: u32) {
    code.extend_from_slice(&[0x41, 0, 0x41]); // i32.const 0, i32.const count
    put_signed(code, i64::from(count.cast_signed()));
    for (operator, to) in operators {
        code.push(0xfc);
        put_number(code, operator);
        put_number(code, segment);
        if let Some(to) = to {
            put_number(code, to);
        }
    }
}

fn put_signed(out: &mut Vec<u8>, mut n: i64) {
    while !(-0x40..0x40).contains(&n) {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8 & 0x7f);
}
