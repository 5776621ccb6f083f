//! A module's sections, as far as they are changed before it is translated: exports of the host's own are added.
//!
//! Nothing here trusts the bytes, and nothing decides about them: what is not understood is `None`, and left for the translator
//! to refuse.

use crate::error::{Result, try_vec};
use alloc::vec::Vec;

/// Where sections begin: behind magic and version.
const HEAD_BYTES: usize = 8;
/// Sections of the binary format.
pub const GLOBALS: u8 = 6;
const EXPORTS: u8 = 7;
pub const START: u8 = 8;
pub const CODE: u8 = 10;

/// One section: where it begins, where its content does, and where it ends.
#[derive(Clone, Copy)]
pub struct Section {
    pub id: u8,
    begin: usize,
    content: usize,
    end: usize,
}

impl Section {
    /// Bytes of its content.
    pub fn bytes(&self) -> usize {
        self.end - self.content
    }

    /// Its content, to be read.
    pub fn cursor<'a>(&self, wasm: &'a [u8]) -> Option<Cursor<'a>> {
        let bytes = wasm.get(..self.end)?;
        Some(Cursor {
            bytes,
            at: self.content,
        })
    }
}

/// The sections in their order.
pub fn sections(wasm: &[u8]) -> impl Iterator<Item = Option<Section>> {
    let mut c = Cursor {
        bytes: wasm,
        at: HEAD_BYTES,
    };
    core::iter::from_fn(move || {
        if c.at >= wasm.len() {
            return None;
        }
        let section = next(&mut c);
        c.at = section.map_or(wasm.len(), |s| s.end);
        Some(section)
    })
}

fn next(c: &mut Cursor<'_>) -> Option<Section> {
    let begin = c.at;
    let id = c.byte()?;
    let bytes = c.number()? as usize;
    let end =
        c.at.checked_add(bytes)
            .filter(|end| *end <= c.bytes.len())?;
    Some(Section {
        id,
        begin,
        content: c.at,
        end,
    })
}

/// An export that is added: its name, the kind of what it names (0 functions, 3 globals) and the index of that.
pub type Added<'a> = (&'a str, u8, u32);

/// The module with more exports, and without its start section if `start` is false. None if it is not understood.
///
/// # Errors
/// `NoMemory`.
pub fn with_exports(wasm: &[u8], more: &[Added<'_>], start: bool) -> Result<Option<Vec<u8>>> {
    let (mut exports, mut place, mut entries) = (None, HEAD_BYTES, 0_u32);
    for section in sections(wasm) {
        let Some(section) = section else {
            return Ok(None);
        };
        if section.id == EXPORTS {
            let Some(count) = section.cursor(wasm).and_then(|mut c| c.number()) else {
                return Ok(None);
            };
            (exports, entries) = (Some(section), count);
        } else if (1..EXPORTS).contains(&section.id) {
            place = section.end;
        }
    }
    let names: usize = more.iter().map(|(name, ..)| name.len() + 12).sum();
    let mut out = try_vec(wasm.len() + names + 16, "bytes of a module")?;
    let old_bytes = exports.map_or(0, |old| old.bytes());
    let mut body = try_vec(old_bytes + names + 16, "bytes of a module")?;
    put_number(&mut body, entries.saturating_add(more.len() as u32));
    if let Some(old) = exports {
        let old = old.cursor(wasm).and_then(|mut c| {
            c.number()?;
            c.bytes.get(c.at..)
        });
        body.extend_from_slice(old.unwrap_or(&[]));
    }
    for (name, kind, index) in more {
        put_number(&mut body, name.len() as u32);
        body.extend_from_slice(name.as_bytes());
        body.push(*kind);
        put_number(&mut body, *index);
    }
    let put_exports = |out: &mut Vec<u8>| {
        out.push(EXPORTS);
        put_number(out, body.len() as u32);
        out.extend_from_slice(&body);
    };
    out.extend_from_slice(wasm.get(..HEAD_BYTES).unwrap_or(&[]));
    if exports.is_none() && place == HEAD_BYTES {
        put_exports(&mut out);
    }
    for section in sections(wasm).flatten() {
        if section.id == EXPORTS {
            put_exports(&mut out);
        } else if start || section.id != START {
            out.extend_from_slice(wasm.get(section.begin..section.end).unwrap_or(&[]));
        }
        if exports.is_none() && section.end == place {
            put_exports(&mut out);
        }
    }
    Ok(Some(out))
}

/// An unsigned number as the format has them.
pub fn put_number(out: &mut Vec<u8>, mut n: u32) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A place in bytes that may be anything.
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// What has not been read.
    #[cfg(feature = "validate")]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }

    pub fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at)?;
        self.at += 1;
        Some(*byte)
    }

    pub fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    /// An unsigned number of at most 32 bits.
    pub fn number(&mut self) -> Option<u32> {
        let mut n = 0_u64;
        for i in 0..5 {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return u32::try_from(n).ok();
            }
        }
        None
    }

    /// A number of whatever length, whose value does not matter.
    pub fn any_number(&mut self) -> Option<()> {
        for _ in 0..10 {
            if self.byte()? < 0x80 {
                return Some(());
            }
        }
        None
    }

    /// A constant expression.
    pub fn constant(&mut self) -> Option<()> {
        loop {
            match self.byte()? {
                // end
                0x0b => return Some(()),
                // i32.const, i64.const, global.get, ref.func
                0x41 | 0x42 | 0x23 | 0xd2 => self.any_number()?,
                // f32.const, f64.const
                0x43 => self.skip(4)?,
                0x44 => self.skip(8)?,
                // ref.null of a type of one byte
                0xd0 => self.skip(1)?,
                // i32 and i64: add, sub, mul
                0x6a..=0x6c | 0x7c..=0x7e => {}
                _ => return None,
            }
        }
    }
}
