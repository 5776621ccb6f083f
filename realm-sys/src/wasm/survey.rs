//! What has to be known of a module before it is translated, in one reading of it: where it grows things (`growth`), and
//! that it has none of the shapes for which validation and translation take memory, or native stack, out of all
//! proportion to its bytes. What cannot be read is left for the translator to refuse.

use super::growth::Growth;
use crate::error::Result;
#[cfg(feature = "validate")]
use {
    crate::bail,
    crate::err,
    crate::error::{Error, try_vec},
    alloc::vec::Vec,
    wasmparser::{BlockType, ConstExpr, DataKind, ElementItems, ElementKind, FunctionBody},
    wasmparser::{Operator, Parser, Payload, TypeRef},
};

/// Operators of a constant expression. They are evaluated by recursion, one level for each (wasmi 2.0).
#[cfg(feature = "validate")]
const MAX_CONSTANT: usize = 128;
/// Values that a function's calls and blocks may put on the operand stack, beside one for each of its bytes. Two bytes of
/// code can call a function of a thousand results, and each is noted.
#[cfg(feature = "validate")]
const MAX_SPARE_VALUES: usize = 1 << 16;
/// Locals of a function. More are refused by the validator, which says it better.
#[cfg(feature = "validate")]
const MAX_FUNCTION_LOCALS: usize = 50_000;
/// Locals of all functions together, beside one for each byte of the module: eight bytes can be a function of 50000.
#[cfg(feature = "validate")]
const MAX_SPARE_LOCALS: usize = 1 << 22;

/// Reads a module.
///
/// # Errors
/// `Limit` for one of those shapes; `NoMemory`.
#[cfg(feature = "validate")]
pub fn of(wasm: &[u8]) -> Result<Growth> {
    let mut survey = Survey {
        bytes: wasm.len(),
        ..Survey::default()
    };
    match survey.module(wasm) {
        Err(Stop::Unreadable) | Ok(()) => Ok(survey.growth),
        Err(Stop::Refused(e)) => Err(e),
    }
}

/// Without a validator only the embedded guest runs, which is not asked about.
#[cfg(not(feature = "validate"))]
pub fn of(_: &[u8]) -> Result<Growth> {
    Ok(Growth::default())
}

/// Why reading ends early.
#[cfg(feature = "validate")]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one for a module, and it is not kept"
)]
enum Stop {
    Unreadable,
    Refused(Error),
}

#[cfg(feature = "validate")]
impl From<wasmparser::BinaryReaderError> for Stop {
    fn from(_: wasmparser::BinaryReaderError) -> Self {
        Self::Unreadable
    }
}

#[cfg(feature = "validate")]
impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Refused(e)
    }
}

/// What has been read so far.
#[cfg(feature = "validate")]
#[derive(Default)]
struct Survey {
    growth: Growth,
    /// Parameters and results of each type, in all.
    types: Vec<usize>,
    /// The type of each function.
    functions: Vec<u32>,
    /// Locals of the functions so far.
    locals: usize,
    /// Bytes of the module.
    bytes: usize,
}

#[cfg(feature = "validate")]
impl Survey {
    fn module(&mut self, wasm: &[u8]) -> core::result::Result<(), Stop> {
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    let count = (section.count() as usize).min(wasm.len());
                    self.types = try_vec(count, "types of a module")?;
                    for ty in section.into_iter_err_on_gc_types() {
                        let ty = ty?;
                        self.types.push(ty.params().len() + ty.results().len());
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section {
                        if let TypeRef::Func(ty) = import?.ty {
                            self.function(ty)?;
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        self.function(ty?)?;
                    }
                }
                Payload::GlobalSection(section) => {
                    for global in section {
                        constant(&global?.init_expr)?;
                    }
                }
                Payload::ElementSection(section) => {
                    for element in section {
                        let element = element?;
                        if let ElementKind::Active { offset_expr, .. } = &element.kind {
                            constant(offset_expr)?;
                        }
                        if let ElementItems::Expressions(_, items) = element.items {
                            for item in items {
                                constant(&item?)?;
                            }
                        }
                    }
                }
                Payload::DataSection(section) => {
                    for data in section {
                        if let DataKind::Active { offset_expr, .. } = &data?.kind {
                            constant(offset_expr)?;
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => self.body(&body)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn function(&mut self, ty: u32) -> Result<()> {
        if self.functions.try_reserve(1).is_err() {
            bail!(NoMemory, "no memory for the functions of a module");
        }
        self.functions.push(ty);
        Ok(())
    }

    /// The code of a function.
    fn body(&mut self, body: &FunctionBody<'_>) -> core::result::Result<(), Stop> {
        let before = self.locals;
        for local in body.get_locals_reader()? {
            self.locals = self.locals.saturating_add(local?.0 as usize);
        }
        if self.locals - before > MAX_FUNCTION_LOCALS {
            return Err(Stop::Unreadable);
        }
        if self.locals > self.bytes + MAX_SPARE_LOCALS {
            return Err(err!(
                Limit,
                "the functions have more than {MAX_SPARE_LOCALS} locals and one for each byte of the module"
            )
            .into());
        }
        let mut values = 0;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let ty = match operators.read()? {
                Operator::MemoryGrow { .. } => {
                    self.growth.memory += 1;
                    continue;
                }
                Operator::TableGrow { .. } => {
                    self.growth.table = true;
                    continue;
                }
                Operator::Call { function_index } => {
                    self.functions.get(function_index as usize).copied()
                }
                Operator::CallIndirect { type_index, .. } => Some(type_index),
                Operator::Block { blockty }
                | Operator::Loop { blockty }
                | Operator::If { blockty } => match blockty {
                    BlockType::FuncType(ty) => Some(ty),
                    _ => None,
                },
                _ => None,
            };
            let more = ty.and_then(|ty| self.types.get(ty as usize));
            values += more.copied().unwrap_or(0);
        }
        if values > body.range().len() + MAX_SPARE_VALUES {
            return Err(err!(
                Limit,
                "the calls and blocks of a function have {values} parameters and results; {MAX_SPARE_VALUES} and one for each byte are possible"
            )
            .into());
        }
        Ok(())
    }
}

/// A constant expression.
#[cfg(feature = "validate")]
fn constant(expression: &ConstExpr<'_>) -> core::result::Result<(), Stop> {
    let mut operators = expression.get_operators_reader();
    let mut count = 0;
    while !operators.eof() {
        operators.read()?;
        count += 1;
    }
    if count > MAX_CONSTANT {
        return Err(err!(
            Limit,
            "a constant expression has {count} operators; {MAX_CONSTANT} are possible"
        )
        .into());
    }
    Ok(())
}

#[cfg(all(test, feature = "validate"))]
mod tests {
    use crate::error::{Result, Status};
    use crate::wasm::{Instance, LoadedModule, ModuleOptions, Options, group::Limits};
    use alloc::format;
    use alloc::string::String;
    use alloc::sync::Arc;
    use core::iter::repeat_n;

    fn load_with(text: &str, table_grow: bool) -> Result<Arc<LoadedModule>> {
        let options = ModuleOptions {
            table_grow,
            ..ModuleOptions::default()
        };
        LoadedModule::load(&wat::parse_str(text).unwrap(), &options)
    }

    fn load(text: &str) -> Result<Arc<LoadedModule>> {
        load_with(text, false)
    }

    fn refused(text: &str) -> (Status, String) {
        let e = load(text).err().expect("it is taken");
        (e.status(), format!("{e}"))
    }

    fn instantiate(module: &LoadedModule) -> Result<Instance> {
        let options = Options {
            imports: &[],
            peers: &[],
            limits: Limits::default(),
        };
        Instance::new(module, &options)
    }

    #[test]
    fn constant_expressions_are_short() {
        let sum = |more: usize| -> String {
            let more: String = repeat_n("i32.const 1 i32.add ", more).collect();
            format!("i32.const 1 {more}")
        };
        // Two operators for each addition, the first number, and the end.
        for text in [
            |sum: &str| format!("(module (global i32 {sum}))"),
            |sum: &str| format!("(module (memory 1) (data (offset {sum})))"),
            |sum: &str| format!("(module (table 1 funcref) (elem (offset {sum})))"),
        ] {
            if let Err(e) = load(&text(&sum(63))) {
                panic!("{e}");
            }
            let (status, message) = refused(&text(&sum(64)));
            assert_eq!(status, Status::Limit, "{message}");
        }
    }

    #[test]
    fn calls_give_back_no_more_values_than_there_is_code_for() {
        let many: String = repeat_n("i32 ", 1000).collect();
        let numbers: String = repeat_n("i32.const 0 ", 1000).collect();
        let calls = |n| -> String { repeat_n("call $f ", n).collect() };
        let module = |code: &str| {
            format!(
                "(module (type $t (func (result {many}))) (table 1 funcref)
                 (func $f (type $t) {numbers}) (func {code} unreachable))"
            )
        };
        load(&module(&calls(65))).unwrap();
        for code in [
            calls(66),
            repeat_n("(block (type $t) unreachable)", 66).collect(),
            repeat_n("(call_indirect (type $t) (i32.const 0))", 70).collect(),
        ] {
            let (status, message) = refused(&module(&code));
            assert_eq!(status, Status::Limit, "{message}");
        }
    }

    #[test]
    fn functions_have_no_more_locals_than_there_is_room_for() {
        let locals: String = repeat_n("i32 ", 16_000).collect();
        let module = |n| -> String {
            let functions: String = repeat_n(format!("(func (local {locals}))"), n).collect();
            format!("(module {functions})")
        };
        load(&module(262)).unwrap();
        let (status, message) = refused(&module(264));
        assert_eq!(status, Status::Limit, "{message}");
    }

    #[test]
    fn tables_grow_for_those_who_are_trusted() {
        let text = "(module (table 1 funcref)
            (func (export \"f\") (result i32) (table.grow (ref.null func) (i32.const 3))))";
        let (status, message) = refused(text);
        assert_eq!(status, Status::Unsupported, "{message}");
        let trusted = load_with(text, true).unwrap();
        let instance = instantiate(&trusted).unwrap();
        let f = instance.callable(instance.find("f").unwrap()).unwrap();
        let mut results = [wasmi::Val::I32(9)];
        f.call(&[], &mut results).unwrap();
        assert!(matches!(results, [wasmi::Val::I32(1)]));
        // Those beside it are trusted as it is.
        let options = ModuleOptions {
            beside: Some(&trusted),
            ..ModuleOptions::default()
        };
        LoadedModule::load(&wat::parse_str(text).unwrap(), &options).unwrap();
    }

    #[test]
    fn a_start_function_changes_nothing_that_can_be_seen() {
        // No name is taken, not the one it would be given here.
        for names in [&["s", "ss", "\0start", ""][..], &[][..]] {
            let exports: String = names
                .iter()
                .map(|n| format!("(export \"{}\" (func $f))", n.replace('\0', "\\00")))
                .collect();
            let module = load(&format!("(module (func $f) {exports} (start $f))")).unwrap();
            let instance = instantiate(&module).unwrap();
            for name in ["", "s", "ss", "sss", "ssss", "\0start"] {
                assert_eq!(instance.find(name).is_ok(), names.contains(&name), "{name}");
            }
        }
        // To be referred to, a function has to be declared; to start with it is not to do so.
        let undeclared = "(module (func $f (drop (ref.func $f))) (start $f))";
        let (status, message) = refused(undeclared);
        assert_eq!(status, Status::Format, "{message}");
    }
}
