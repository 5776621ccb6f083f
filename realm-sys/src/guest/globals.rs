//! Mutable globals made visible: what a guest keeps outside of its memory.
//!
//! A module's globals cannot be reached from outside unless it exports them, and no compiler exports the stack
//! pointer. So that a session can be saved and forked whatever its guest keeps where, every mutable global gets an export
//! of the host's own before the module is translated. Only the export section changes.
//!
//! The walk trusts nothing and decides nothing: a module that it does not understand is left as it is, for the translator
//! to refuse, and its sessions cannot be saved.

use crate::error::{Result, try_vec};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Sections of the binary format.
const GLOBALS: u8 = 6;
const EXPORTS: u8 = 7;
/// Where sections begin: behind magic and version.
const HEAD_BYTES: usize = 8;
/// Most mutable globals of a guest that can be saved. Compilers make one.
pub const MAX_GLOBALS: usize = 256;

/// A module whose mutable globals are exported.
pub struct Exposed {
    /// The module's new bytes; none if it has no mutable globals, or could not be changed.
    pub bytes: Option<Vec<u8>>,
    /// How many globals are exported, as [`name`] calls them; none: they could not be.
    pub count: Option<u32>,
}

/// The name that the `i`-th mutable global is exported by.
pub fn name(i: u32) -> String {
    format!("realm.global.{i}")
}

/// Exports the mutable globals of a module.
///
/// # Errors
/// `NoMemory`.
pub fn expose(wasm: &[u8]) -> Result<Exposed> {
    let found = match find(wasm) {
        Some(found) => found,
        None => {
            return Ok(Exposed {
                bytes: None,
                count: None,
            });
        }
    };
    let count = found.globals.len() as u32;
    let changed = if count == 0 {
        None
    } else {
        Some(rewrite(wasm, &found)?)
    };
    Ok(Exposed {
        bytes: changed,
        count: Some(count),
    })
}

/// What the walk over the sections has found.
struct Found {
    /// Indices of mutable globals.
    globals: Vec<u32>,
    /// Where the export section begins, its entries begin, and it ends; how many entries there are.
    exports: (usize, usize, usize),
    entries: u32,
}

fn find(wasm: &[u8]) -> Option<Found> {
    let mut c = Cursor {
        bytes: wasm,
        at: HEAD_BYTES,
    };
    let mut found = Found {
        globals: Vec::new(),
        exports: (0, 0, 0),
        entries: 0,
    };
    while c.at < wasm.len() {
        let begin = c.at;
        let id = c.byte()?;
        let bytes = c.number()? as usize;
        let end = c.at.checked_add(bytes).filter(|end| *end <= wasm.len())?;
        if id == GLOBALS {
            found.globals = mutable(&mut c, end)?;
        } else if id == EXPORTS {
            found.entries = c.number()?;
            found.exports = (begin, c.at, end);
        }
        c.at = end;
    }
    // A guest without exports is refused elsewhere.
    (found.exports.2 > 0).then_some(found)
}

/// Indices of the mutable globals; none if one of them is no number.
fn mutable(c: &mut Cursor<'_>, end: usize) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for i in 0..c.number()? {
        let ty = c.byte()?;
        let is_mutable = c.byte()? != 0;
        c.constant()?;
        if c.at > end {
            return None;
        }
        if is_mutable {
            // i32, i64, f32, f64.
            if !(0x7c..=0x7f).contains(&ty) || all.len() >= MAX_GLOBALS {
                return None;
            }
            all.try_reserve(1).ok()?;
            all.push(i);
        } else if !(0x7b..=0x7f).contains(&ty) && ty != 0x70 && ty != 0x6f {
            // A type of several bytes would have been misread.
            return None;
        }
    }
    Some(all)
}

fn rewrite(wasm: &[u8], found: &Found) -> Result<Vec<u8>> {
    let (begin, entries, end) = found.exports;
    let mut added = Vec::new();
    for (i, global) in found.globals.iter().enumerate() {
        let name = name(i as u32);
        put_number(&mut added, name.len() as u32);
        added.extend_from_slice(name.as_bytes());
        added.push(3);
        put_number(&mut added, *global);
    }
    let mut count = Vec::new();
    let all = found.entries.saturating_add(found.globals.len() as u32);
    put_number(&mut count, all);
    let old = wasm.get(entries..end).unwrap_or(&[]);
    let mut out = try_vec(wasm.len() + added.len() + 16, "bytes of guest")?;
    out.extend_from_slice(wasm.get(..begin).unwrap_or(&[]));
    out.push(EXPORTS);
    put_number(&mut out, (count.len() + old.len() + added.len()) as u32);
    out.extend_from_slice(&count);
    out.extend_from_slice(old);
    out.extend_from_slice(&added);
    out.extend_from_slice(wasm.get(end..).unwrap_or(&[]));
    Ok(out)
}

fn put_number(out: &mut Vec<u8>, mut n: u32) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at)?;
        self.at += 1;
        Some(*byte)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    /// An unsigned number of at most 32 bits.
    fn number(&mut self) -> Option<u32> {
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
    fn any_number(&mut self) -> Option<()> {
        for _ in 0..10 {
            if self.byte()? < 0x80 {
                return Some(());
            }
        }
        None
    }

    /// A constant expression.
    fn constant(&mut self) -> Option<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn module(globals: &str) -> Vec<u8> {
        let text = format!(
            "(module (memory (export \"memory\") 1) {globals}
             (func (export \"f\") (result i32) (i32.const 1)) (data (i32.const 0) \"x\"))"
        );
        wat::parse_str(&text).unwrap()
    }

    #[test]
    fn mutable_globals_get_exports() {
        let plain = module("(global i32 (i32.const 7))");
        let e = expose(&plain).unwrap();
        assert!(e.bytes.is_none());
        assert_eq!(e.count, Some(0));
        let several = module(
            "(global (mut i32) (i32.const -70000)) (global i64 (i64.const 5)) (global (mut f64) (f64.const 0.5))
             (global (mut i64) (i64.const -1)) (global (mut f32) (f32.const 2))",
        );
        let e = expose(&several).unwrap();
        assert_eq!(e.count, Some(4));
        let bytes = e.bytes.unwrap();
        let module = wasmi::Module::new(&wasmi::Engine::default(), &bytes).unwrap();
        let mut names: Vec<String> = module.exports().map(|e| e.name().into()).collect();
        names.sort();
        let mut want: Vec<String> = ["memory", "f"].map(Into::into).into();
        want.extend((0..4).map(name));
        // They are listed in no order.
        want.sort();
        assert_eq!(names, want);
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let e = expose(&module("(global (mut funcref) (ref.null func))")).unwrap();
        assert!(e.bytes.is_none() && e.count.is_none());
        let good = module("(global (mut i32) (i32.const 1)) (global (mut i64) (i64.const 2))");
        for i in 0..good.len() {
            let _ = expose(&good[..i]).unwrap();
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[i] ^= 1 << bit;
                let _ = expose(&bad).unwrap();
            }
        }
        assert!(expose(b"").unwrap().count.is_none());
    }
}
