//! Types as text; those of functions as results, then parameters in parentheses, one letter each.

use super::MAX_VALUES;
use crate::error::{Result, Short, try_vec};
use crate::{bail, err};
use alloc::vec::Vec;
use core::fmt;
use wasmi::errors::InstantiationError;
use wasmi::{Extern, ExternType, FuncType, Mutability, RefType, Val, ValType};

/// The letter of a type.
pub(super) fn letter(ty: ValType) -> char {
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

/// What a module imports, and what it was offered instead.
pub struct Mismatch<'a>(pub &'a InstantiationError);

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use InstantiationError as E;
        let (name, wanted, offered) = match self.0 {
            E::ImportTypeMismatch {
                name,
                expected,
                actual,
            } => {
                let kind = match actual {
                    Extern::Global(_) => "a global",
                    Extern::Table(_) => "a table",
                    Extern::Memory(_) => "a memory",
                    Extern::Func(_) => "a function",
                };
                (name, expected.clone(), Err(kind))
            }
            E::GlobalTypeMismatch {
                name,
                expected,
                actual,
            } => (name, (*expected).into(), Ok((*actual).into())),
            E::FuncTypeMismatch {
                name,
                expected,
                actual,
            } => (name, expected.clone().into(), Ok(actual.clone().into())),
            E::TableTypeMismatch {
                name,
                expected,
                actual,
            } => (name, (*expected).into(), Ok((*actual).into())),
            E::MemoryTypeMismatch {
                name,
                expected,
                actual,
            } => (name, (*expected).into(), Ok((*actual).into())),
            other => return write!(f, "{other}"),
        };
        let (from, name) = (Short(name.module()), Short(name.name()));
        write!(f, "the module imports '{from}.{name}' as ")?;
        write_type(f, &wanted)?;
        f.write_str(", what is there is ")?;
        match offered {
            Ok(ty) => write_type(f, &ty),
            Err(kind) => f.write_str(kind),
        }
    }
}

fn write_type(f: &mut fmt::Formatter<'_>, ty: &ExternType) -> fmt::Result {
    let (what, unit, minimum, maximum) = match ty {
        ExternType::Func(ty) => return write!(f, "a function {}", Text(ty)),
        ExternType::Global(ty) => {
            let kind = match ty.mutability() {
                Mutability::Const => "constant",
                Mutability::Var => "mutable",
            };
            return write!(f, "a {kind} global {}", letter(ty.content()));
        }
        ExternType::Memory(ty) => ("a memory", "pages", ty.minimum(), ty.maximum()),
        ExternType::Table(ty) => {
            let unit = match ty.element() {
                RefType::Func => "funcref",
                RefType::Extern => "externref",
            };
            ("a table", unit, ty.minimum(), ty.maximum())
        }
    };
    match maximum {
        Some(maximum) => write!(f, "{what} of {minimum} to {maximum} {unit}"),
        None => write!(f, "{what} of {minimum} or more {unit}"),
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
            "the signature '{}' is not results (or v), '(', parameters, ')', in the letters i I f F",
            Short(text)
        )
    };
    let (results, rest) = text.split_once('(').ok_or_else(bad)?;
    let params = rest.strip_suffix(')').ok_or_else(bad)?;
    let types = |letters: &str| -> Result<Vec<ValType>> {
        if letters.len() > MAX_VALUES {
            bail!(
                InvalidArgument,
                "the signature '{}' has more than {MAX_VALUES} parameters or results",
                Short(text)
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
