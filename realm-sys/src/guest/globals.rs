//! Mutable globals made visible: what a guest keeps outside of its memory.
//!
//! A module's globals cannot be reached from outside unless it exports them, and no compiler exports the stack
//! pointer. So that a session can be saved and forked whatever its guest keeps where, every mutable global gets an export
//! of the host's own before the module is translated. Only the export section changes.
//!
//! The walk trusts nothing and decides nothing: a module that it does not understand is left as it is, for the translator
//! to refuse, and its sessions cannot be saved.

use crate::error::{Result, try_vec};
use crate::wasm::sections;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

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
    let hidden = Exposed {
        bytes: None,
        count: None,
    };
    let Some(globals) = find(wasm) else {
        return Ok(hidden);
    };
    let count = globals.len() as u32;
    if count == 0 {
        return Ok(Exposed {
            bytes: None,
            count: Some(0),
        });
    }
    let mut names = try_vec(globals.len(), "names of globals")?;
    names.extend((0..count).map(name));
    let mut added = try_vec(globals.len(), "exports")?;
    added.extend(
        names
            .iter()
            .zip(&globals)
            .map(|(name, global)| (name.as_str(), 3, *global)),
    );
    Ok(match sections::with_exports(wasm, &added, true)? {
        Some(bytes) => Exposed {
            bytes: Some(bytes),
            count: Some(count),
        },
        None => hidden,
    })
}

/// Indices of mutable globals.
fn find(wasm: &[u8]) -> Option<Vec<u32>> {
    let mut globals = Vec::new();
    for section in sections::sections(wasm) {
        let section = section?;
        if section.id == sections::GLOBALS {
            globals = mutable(&mut section.cursor(wasm)?)?;
        }
    }
    Some(globals)
}

/// Indices of the mutable globals; none if one of them is no number.
fn mutable(c: &mut sections::Cursor<'_>) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for i in 0..c.number()? {
        let ty = c.byte()?;
        let is_mutable = c.byte()? != 0;
        c.constant()?;
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
        assert!(expose(b"").unwrap().bytes.is_none());
    }
}
