//! What has to be known of a module before it is translated, in one reading of it: where it grows things (`growth`), and
//! that it has none of the shapes for which validation and translation take memory, or native stack, out of all
//! proportion to its bytes. What cannot be read is left for the translator to refuse.

use super::growth::Growth;
use crate::error::{Error, Result};
use crate::{bail, err};
#[cfg(feature = "validate")]
use {
    crate::error::{Status, try_vec},
    alloc::vec::Vec,
    wasmparser::{BlockType, ConstExpr, DataKind, ElementItems, ElementKind, FunctionBody},
    wasmparser::{Operator, Parser, Payload, TypeRef},
};

/// Operators of a constant expression. They are evaluated by recursion, one level for each (wasmi 2.0).
#[cfg(feature = "validate")]
const MAX_CONSTANT: usize = 128;
/// Values that calls, blocks and branches may move, beside one for each byte of the module. Each is noted or copied by an
/// instruction of its own: two bytes can call a function of a thousand results, four branch with as many values.
#[cfg(feature = "validate")]
const MAX_SPARE_VALUES: usize = 1 << 17;
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

/// Refuses what does not begin as a module does. The parser's own words for it are a page long.
///
/// # Errors
/// `Format`.
pub fn check_head(what: &str, wasm: &[u8]) -> Result<()> {
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    if !wasm.starts_with(b"\0asm") {
        bail!(Format, "{what} is refused: it is not a WebAssembly module");
    }
    if wasm.starts_with(COMPONENT) {
        bail!(
            Format,
            "{what} is refused: it is a WebAssembly component, not a module (as Rust's wasm32-unknown-unknown makes them)"
        );
    }
    Ok(())
}

/// How the validator speaks of proposals that are off.
#[cfg(feature = "validate")]
const OFF: [&str; 5] = [
    "enabled",
    "multiple memories",
    "without the",
    "function references required",
    "require the function-references proposal",
];

/// What the interpreter says of a module that it does not take.
#[cfg(feature = "validate")]
pub fn refusal(what: &str, e: &wasmi::Error) -> Error {
    use wasmi::errors::ErrorKind;
    let mut said = err!(Format, "{what} is refused: {e}");
    if OFF.iter().any(|words| said.message().contains(words)) {
        said = err!(
            Format,
            "{what} is refused, since it uses what is not among the WebAssembly that is run: {e}"
        );
    }
    match e.kind() {
        // Which it does not tell by anything but its words.
        ErrorKind::Translation(_) if said.message().contains("system memory") => {
            said.set_status(Status::NoMemory);
        }
        ErrorKind::Translation(_) if said.message().contains("disallows") => {}
        ErrorKind::Translation(_) | ErrorKind::ImplementationLimits(_) => {
            said.set_status(Status::Limit);
        }
        _ => {}
    }
    said
}

/// The same without a validator, where modules are such as have been seen to load: what their code does not find then is memory.
#[cfg(not(feature = "validate"))]
pub fn refusal(what: &str, e: &wasmi::Error) -> Error {
    match e.kind() {
        wasmi::errors::ErrorKind::Translation(_) => {
            err!(NoMemory, "{what} is refused: no memory for its code")
        }
        _ => err!(Format, "{what} is refused"),
    }
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
    types: Vec<Signature>,
    /// The type of each function, those that are imported first.
    functions: Vec<u32>,
    /// How many are imported, and of how many others the code has been read.
    imports: usize,
    bodies: usize,
    /// Values that branches to the blocks around take along, the innermost last.
    labels: Vec<usize>,
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
                        self.types.push(Signature {
                            params: ty.params().len(),
                            results: ty.results().len(),
                        });
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section {
                        match import?.ty {
                            TypeRef::Func(ty) => {
                                self.function(ty)?;
                                self.imports += 1;
                            }
                            TypeRef::Table(_) | TypeRef::Memory(_) => self.growth.shares = true,
                            _ => {}
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
        self.growth.functions += 1;
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
                "the functions have more locals than can be: {MAX_SPARE_LOCALS}, and one for each byte of the module"
            )
            .into());
        }
        let ty = self.functions.get(self.imports + self.bodies).copied();
        let own = self.signature(ty).results;
        self.bodies += 1;
        // How many values a branch to each of the blocks around takes along.
        self.labels.clear();
        self.enter(own)?;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let values = match operators.read()? {
                Operator::MemoryGrow { .. } => {
                    self.growth.memory += 1;
                    0
                }
                Operator::TableGrow { .. } => {
                    self.growth.table = true;
                    0
                }
                Operator::Call { function_index } => {
                    let ty = self.functions.get(function_index as usize).copied();
                    self.signature(ty).values()
                }
                Operator::CallIndirect { type_index, .. } => {
                    self.signature(Some(type_index)).values()
                }
                Operator::Block { blockty } | Operator::If { blockty } => {
                    let ty = self.block(blockty);
                    self.enter(ty.results)?;
                    ty.values()
                }
                Operator::Loop { blockty } => {
                    let ty = self.block(blockty);
                    self.enter(ty.params)?;
                    ty.values()
                }
                Operator::End => self.labels.pop().unwrap_or(0),
                Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => {
                    self.label(relative_depth)
                }
                Operator::BrTable { targets } => {
                    let each = self.label(targets.default());
                    each.saturating_mul(targets.len() as usize + 1)
                }
                Operator::Return => own,
                _ => 0,
            };
            self.growth.values = self.growth.values.saturating_add(values);
            if self.growth.values > self.bytes + MAX_SPARE_VALUES {
                return Err(err!(
                    Limit,
                    "calls, blocks and branches move more values than can be: {MAX_SPARE_VALUES}, and one for each byte of the module"
                )
                .into());
            }
        }
        Ok(())
    }

    /// A block begins, and a branch to it takes along so many values.
    fn enter(&mut self, values: usize) -> Result<()> {
        if self.labels.try_reserve(1).is_err() {
            bail!(NoMemory, "no memory for the blocks of a function");
        }
        self.labels.push(values);
        Ok(())
    }

    /// Values that a branch takes along.
    fn label(&self, depth: u32) -> usize {
        let mut outwards = self.labels.iter().rev();
        outwards.nth(depth as usize).copied().unwrap_or(0)
    }

    fn signature(&self, ty: Option<u32>) -> Signature {
        let ty = ty.and_then(|ty| self.types.get(ty as usize));
        ty.copied().unwrap_or_default()
    }

    fn block(&self, ty: BlockType) -> Signature {
        match ty {
            BlockType::Empty => Signature::default(),
            BlockType::Type(_) => Signature {
                params: 0,
                results: 1,
            },
            BlockType::FuncType(ty) => self.signature(Some(ty)),
        }
    }
}

/// How many values something takes and gives.
#[cfg(feature = "validate")]
#[derive(Clone, Copy, Default)]
struct Signature {
    params: usize,
    results: usize,
}

#[cfg(feature = "validate")]
impl Signature {
    fn values(self) -> usize {
        self.params + self.results
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
        load(&module(&calls(60))).unwrap();
        let branch = |each: &str, n| -> String {
            let code: String = repeat_n(each, n).collect();
            format!("(block (type $t) {numbers} {code} unreachable)")
        };
        load(&module(&branch("(br_if 0 (i32.const 0))", 5))).unwrap();
        let places: String = repeat_n("0 ", 140).collect();
        for code in [
            calls(150),
            repeat_n("(block (type $t) unreachable)", 75).collect(),
            repeat_n("(call_indirect (type $t) (i32.const 0))", 150).collect(),
            branch("(br_if 0 (i32.const 0))", 150),
            branch(&format!("(br_table {places} (i32.const 0))"), 1),
            repeat_n(branch("(br 0)", 1), 75).collect(),
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
