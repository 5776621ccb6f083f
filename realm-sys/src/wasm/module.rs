//! Loading a module: bounded, validated, translated, ready to be instantiated from any thread.
//!
//! wasmi keeps translated code until its engine is dropped, so a module has an engine of its own.
//! Instances can only be linked with each other if their modules share one: such modules are
//! loaded "beside" one another, and their code is freed with the last of them.

#[cfg(feature = "validate")]
use super::segments;
use super::{growth, growth::Growth, sections, survey};
use crate::bail;
#[cfg(feature = "validate")]
use crate::err;
use crate::error::{Result, try_vec};
use alloc::string::String;
use alloc::sync::Arc;
use wasmi::{CompilationMode, Config, Engine, ExternType, Module};

/// The largest module that is loaded unless the caller says otherwise.
const MAX_MODULE_BYTES: u64 = 16 << 20;
/// Bytes of heap that translation takes per byte of code, rounded up from measurements.
const TRANSLATION_FACTOR: usize = 6;
/// And per item that a section declares: a function of three bytes takes as much.
const ITEM_BYTES: usize = 256;
/// And per value that calls, blocks and branches move.
const VALUE_BYTES: usize = 32;
/// And in any case.
const BASE_BYTES: usize = 256 << 10;

/// Bytes of values (locals and operands) that nested calls may take, unless the caller says otherwise.
const MAX_STACK_BYTES: u64 = 1 << 20;
/// What every call starts with, and the least that can be asked for.
const MIN_STACK_BYTES: u64 = 4 << 10;
/// The most that can be asked for.
const STACK_BYTES_BOUND: u64 = 1 << 30;
/// Nested calls, unless the caller says otherwise.
const MAX_CALL_DEPTH: u32 = 10_000;
/// The most that can be asked for. The interpreter takes some 32 bytes for each, infallibly.
const CALL_DEPTH_BOUND: u32 = 1_000_000;

/// What a module is loaded with. Zero is the default.
#[derive(Default)]
pub struct ModuleOptions<'a> {
    /// The module whose engine is shared.
    pub beside: Option<&'a LoadedModule>,
    /// Bytes of the module at most.
    pub max_module_bytes: u64,
    /// Bytes of the value stack at most.
    pub max_stack_bytes: u64,
    /// Nested calls at most.
    pub max_call_depth: u32,
    /// Refuses what came after draft 1.1 of the specification: that is 1.0 with mutable globals, sign extension,
    /// saturating conversions and several results.
    pub only_1_1: bool,
    /// Takes modules that have `table.grow`, which only those who are trusted may ([`growth`]).
    pub table_grow: bool,
}

/// A module that instances can be made of.
pub struct LoadedModule {
    pub(super) module: Module,
    pub(super) engine: Arc<Engine>,
    /// Bytes of heap that an instance may take beside its memory and tables.
    pub(super) instance_bytes: usize,
    /// Fuel that its code may be given at once.
    pub(super) slice_fuel: u64,
    /// The export that its start function became, so that it can be run like any other function. Nobody else can find it.
    pub(super) start: Option<Arc<str>>,
    /// What it was loaded with.
    table_grow: bool,
    pub(super) only_1_1: bool,
    /// Its active segments are written by what is called as its start function.
    pub(super) deferred: bool,
}

fn config(options: &ModuleOptions<'_>) -> Result<Config> {
    let or = |value: u64, default| if value == 0 { default } else { value };
    let stack = or(options.max_stack_bytes, MAX_STACK_BYTES);
    if !(MIN_STACK_BYTES..=STACK_BYTES_BOUND).contains(&stack) {
        bail!(
            InvalidArgument,
            "max_stack_bytes is {stack}; {MIN_STACK_BYTES} to {STACK_BYTES_BOUND} are possible"
        );
    }
    let depth = or(u64::from(options.max_call_depth), u64::from(MAX_CALL_DEPTH));
    if depth > u64::from(CALL_DEPTH_BOUND) {
        bail!(
            InvalidArgument,
            "max_call_depth is {depth}; 1 to {CALL_DEPTH_BOUND} are possible"
        );
    }
    #[cfg(feature = "validate")]
    let later = !options.only_1_1;
    let mut config = Config::default();
    config
        .consume_fuel(true)
        // What a call costs must not depend on whether it is the first.
        .compilation_mode(CompilationMode::Eager)
        .ignore_custom_sections(true)
        .set_max_cached_stacks(1);
    // Without a validator nothing is loaded, so nothing needs to be refused.
    #[cfg(feature = "validate")]
    config
        // One memory each: the functions that read and write it need not name it.
        .wasm_multi_memory(false)
        .wasm_mutable_global(true)
        .wasm_sign_extension(true)
        .wasm_saturating_float_to_int(true)
        .wasm_multi_value(true)
        .wasm_bulk_memory(later)
        .wasm_reference_types(later)
        .wasm_tail_call(later)
        .wasm_extended_const(later);
    config
        .set_min_stack_height(MIN_STACK_BYTES as usize)
        .set_max_stack_height(stack as usize)
        .set_max_recursion_depth(depth as usize);
    Ok(config)
}

/// How many items the sections declare, as far as there are bytes for them. wasmi allocates
/// infallibly, and much more for an item than the byte or two that it may take in a module.
fn declared_items(wasm: &[u8]) -> usize {
    let count = |s: sections::Section| {
        // Custom sections are skipped; start and data count are single numbers; code repeats the functions.
        if matches!(s.id, 0 | 8 | 10 | 12) {
            return 0;
        }
        let count = s.cursor(wasm).and_then(|mut c| c.number()).unwrap_or(0) as usize;
        count.min(s.bytes())
    };
    let items = sections::sections(wasm).flatten().map(count);
    items.fold(0, usize::saturating_add).min(wasm.len())
}

/// Translates a module, without its start section if it has one, which the interpreter would run to its end at one go, but with the
/// function it names as an export, of the name that is given. `deferred`: and its active segments ([`segments`]); the last result
/// says whether it had some.
#[cfg(feature = "validate")]
fn translate(
    engine: &Engine,
    wasm: &[u8],
    growth: &Growth,
    deferred: bool,
) -> Result<(Module, Option<String>, bool)> {
    let refused = |e| survey::refusal("the module", &e);
    let mut sections = sections::sections(wasm).flatten();
    let start = sections.find(|s| s.id == sections::START);
    if start.is_none() && !deferred {
        return Ok((Module::new(engine, wasm).map_err(refused)?, None, false));
    }
    // As it is, before anything is changed: an export more makes some things valid that are not.
    Module::validate(engine, wasm).map_err(refused)?;
    let rewritten = match deferred {
        true => segments::as_function(wasm)?,
        false => None,
    };
    let index = match (&rewritten, start) {
        (Some(_), _) => growth.functions,
        (None, Some(start)) => start
            .cursor(wasm)
            .and_then(|mut c| c.number())
            .ok_or_else(|| err!(Internal, "a start section is gone"))?,
        (None, None) => return Ok((Module::new(engine, wasm).map_err(refused)?, None, false)),
    };
    let name = free_name(wasm)?;
    let added = [(name.as_str(), 0, index)];
    let whole = rewritten.as_deref().unwrap_or(wasm);
    let changed = sections::with_exports(whole, &added, false)?
        .ok_or_else(|| err!(Internal, "the sections of a module are gone"))?;
    let module = Module::new(engine, &*changed).map_err(refused)?;
    Ok((module, Some(name), rewritten.is_some()))
}

/// A name that no export of a valid module has: one of a length that none has.
#[cfg(feature = "validate")]
fn free_name(wasm: &[u8]) -> Result<String> {
    use wasmparser::{Parser, Payload};
    // Names of every length up to this one would be longer than the module.
    let longest = wasm.len().saturating_mul(2).isqrt() + 1;
    let mut taken = try_vec(longest, "lengths of names")?;
    taken.resize(longest, false);
    for payload in Parser::new(0).parse_all(wasm).flatten() {
        if let Payload::ExportSection(section) = payload {
            for export in section.into_iter().flatten() {
                if let Some(taken) = taken.get_mut(export.name.len()) {
                    *taken = true;
                }
            }
        }
    }
    let free = taken.iter().position(|taken| !taken).unwrap_or(longest);
    let mut name = String::new();
    name.try_reserve_exact(free)
        .map_err(|_| err!(NoMemory, "no memory for a name"))?;
    name.extend(core::iter::repeat_n('s', free));
    Ok(name)
}

#[cfg(not(feature = "validate"))]
fn translate(_: &Engine, _: &[u8], _: &Growth, _: bool) -> Result<(Module, Option<String>, bool)> {
    bail!(
        Unsupported,
        "this build has no validator, so it runs no modules"
    )
}

impl LoadedModule {
    /// Validates and translates a module. The bytes are not needed afterwards.
    ///
    /// # Errors
    /// `Format` for bytes that are no valid WebAssembly module, or use a proposal that is off;
    /// `Limit` if there are too many; `NoMemory`; `InvalidArgument` for options out of range.
    /// `Unsupported` in a build without a validator.
    pub fn load(wasm: &[u8], options: &ModuleOptions<'_>) -> Result<Arc<Self>> {
        let most = match options.max_module_bytes {
            0 => MAX_MODULE_BYTES,
            bytes => bytes,
        };
        if wasm.len() as u64 > most {
            bail!(
                Limit,
                "the module has {} bytes, max_module_bytes is {most}",
                wasm.len()
            );
        }
        survey::check_head("the module", wasm)?;
        let engine = match options.beside {
            None => Arc::new(Engine::new(&config(options)?)),
            Some(other) => {
                let flags = options.only_1_1 || options.table_grow;
                if options.max_stack_bytes != 0 || options.max_call_depth != 0 || flags {
                    bail!(
                        InvalidArgument,
                        "beside another module its limits hold: max_stack_bytes, max_call_depth and flags must be 0"
                    );
                }
                Arc::clone(&other.engine)
            }
        };
        let growth = survey::of(wasm)?;
        // Found missing here, memory can be reported; inside of wasmi it would abort.
        let items = declared_items(wasm).saturating_mul(ITEM_BYTES);
        let likely = (wasm.len().saturating_mul(TRANSLATION_FACTOR))
            .saturating_add(items)
            .saturating_add(growth.values.saturating_mul(VALUE_BYTES))
            .saturating_add(BASE_BYTES);
        drop(try_vec::<u8>(likely, "bytes of translated module")?);
        let table_grow = options
            .beside
            .map_or(options.table_grow, |other| other.table_grow);
        let only_1_1 = options
            .beside
            .map_or(options.only_1_1, |other| other.only_1_1);
        let slice_fuel = growth.slice_fuel()?;
        let deferred = growth.shares && !only_1_1;
        let (module, start, deferred) = translate(&engine, wasm, &growth, deferred)?;
        if growth.table && !table_grow && !growth::DISPATCHES_BY_A_LOOP {
            bail!(
                Unsupported,
                "the module has table.grow, which can fill the native stack: REALM_WASM_TABLE_GROW takes those that are trusted"
            );
        }
        Ok(Arc::new(Self {
            module,
            engine,
            slice_fuel,
            start: start.map(Arc::from),
            table_grow,
            only_1_1,
            deferred,
            // Functions and globals once more, and the passive segments.
            instance_bytes: items.saturating_add(wasm.len()),
        }))
    }

    /// The export that is this module's memory: `memory`, else the first that is one.
    pub(super) fn memory_name(&self) -> Option<&str> {
        let is_memory = |ty: &ExternType| matches!(ty, ExternType::Memory(_));
        if self
            .module
            .get_export("memory")
            .as_ref()
            .is_some_and(is_memory)
        {
            return Some("memory");
        }
        let mut exports = self.module.exports();
        exports.find(|e| is_memory(e.ty())).map(|e| e.name())
    }
}
