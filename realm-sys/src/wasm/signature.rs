//! Function types as text: results, then parameters in parentheses, one letter each.

use super::MAX_VALUES;
use crate::error::{Result, try_vec};
use crate::{bail, err};
use alloc::vec::Vec;
use core::fmt;
use wasmi::{FuncType, Val, ValType};

fn letter(ty: ValType) -> char {
    match ty {
        ValType::I32 => 'i',
        ValType::I64 => 'I',
        ValType::F32 => 'f',
        ValType::F64 => 'F',
        ValType::V128 => 'V',
        ValType::FuncRef => 'r',
        ValType::ExternRef => 'x',
    }
}

/// A function type as text, such as `i(iI)`; `v(…)` without results.
pub struct Text<'a>(pub &'a FuncType);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.results().is_empty() {
            f.write_str("v")?;
        }
        for ty in self.0.results() {
            write!(f, "{}", letter(*ty))?;
        }
        f.write_str("(")?;
        for ty in self.0.params() {
            write!(f, "{}", letter(*ty))?;
        }
        f.write_str(")")
    }
}

/// The types of arguments as text: `(iI)`.
pub struct Arguments<'a>(pub &'a [Val]);

impl fmt::Display for Arguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for value in self.0 {
            write!(f, "{}", letter(value.ty()))?;
        }
        f.write_str(")")
    }
}

/// A number of results as text.
pub struct Results(pub usize);

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 result"),
            n => write!(f, "{n} results"),
        }
    }
}

/// Whether all values of the type are numbers, which is what can be passed to and from the host.
pub fn is_numeric(ty: &FuncType) -> bool {
    let number =
        |t: &ValType| matches!(t, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64);
    ty.params().iter().chain(ty.results()).all(number)
}

/// The function type that a text names.
///
/// # Errors
/// `InvalidArgument` for other letters than `i I f F`, a missing parenthesis, or more than
/// [`MAX_VALUES`] parameters or results.
pub fn parse(text: &str) -> Result<FuncType> {
    let bad = || {
        err!(
            InvalidArgument,
            "the signature '{text}' is not results (or v), '(', parameters, ')', in the letters i I f F"
        )
    };
    let (results, rest) = text.split_once('(').ok_or_else(bad)?;
    let params = rest.strip_suffix(')').ok_or_else(bad)?;
    let types = |letters: &str| -> Result<Vec<ValType>> {
        if letters.len() > MAX_VALUES {
            bail!(
                InvalidArgument,
                "the signature '{text}' has more than {MAX_VALUES} parameters or results"
            );
        }
        let mut list = try_vec(letters.len(), "types")?;
        for letter in letters.chars() {
            list.push(match letter {
                'i' => ValType::I32,
                'I' => ValType::I64,
                'f' => ValType::F32,
                'F' => ValType::F64,
                _ => return Err(bad()),
            });
        }
        Ok(list)
    };
    let results = match results {
        "v" => Vec::new(),
        "" => return Err(bad()),
        letters => types(letters)?,
    };
    Ok(FuncType::new(types(params)?, results))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn signatures_are_read_as_they_are_written() {
        for text in ["v()", "i(ii)", "F(fFiI)", "iI(f)"] {
            let ty = parse(text).unwrap();
            assert_eq!(format!("{}", Text(&ty)), text);
            assert!(is_numeric(&ty));
        }
        assert!(parse(&format!("v({})", "i".repeat(32))).is_ok());
        let long = format!("v({})", "i".repeat(33));
        for text in [
            "", "v", "i", "()", "v(", "v)", "vi()", "i(v)", "x()", "i(i", "i(i))", &long,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
