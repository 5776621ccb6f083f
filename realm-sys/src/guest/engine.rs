//! A loaded module: a translated guest and the engine it lives in.
//!
//! Each guest has an engine of its own, because translated code is freed with its engine and not
//! before: unloading gives the memory back.
//!
//! wasmi allocates infallibly while it parses and translates. So the module's size and shape are
//! bounded first, and the memory that translation can be expected to take is reserved and given
//! back, so that a lack of memory is found where it can be reported.

use super::globals::{self, Exposed};
use super::host::HostState;
use super::imports;
use crate::error::{Result, try_vec};
use crate::store::{Sha256Digest, sha256};
use crate::wasm::{sections, survey};
use crate::{bail, err};
use wasmi::{
    CompilationMode, Config, CustomFuelCosts, EnforcedLimits, Engine, ExternType, Linker, Module,
    ValType,
};

/// The largest module that is loaded, in bytes. The guest that comes with the library has less than a fifth of that.
pub const MAX_MODULE_BYTES: usize = 4 << 20;

/// What the interpreter may take.
struct Sizes {
    /// Bytes of heap that translation takes per byte of module, rounded up from measurements.
    translation_factor: usize,
    /// Bytes of heap that it takes besides.
    translation_bytes: usize,
    /// Nested calls of wasm functions.
    max_recursion: usize,
    /// Bytes of a guest's value stack (locals and operands; what the guest's language calls its stack
    /// is in linear memory).
    max_stack_bytes: usize,
    /// Bytes of it that every call starts with.
    min_stack_bytes: usize,
    mode: CompilationMode,
}

/// All of the module is translated when it is loaded (3.2 bytes per byte for one of 700 KB).
#[cfg(not(feature = "lazy-guest"))]
const SIZES: Sizes = Sizes {
    translation_factor: 6,
    translation_bytes: 256 << 10,
    max_recursion: 1000,
    max_stack_bytes: 512 << 10,
    min_stack_bytes: 8 << 10,
    mode: CompilationMode::Eager,
};

/// Functions are translated when they are called first. Their code is copied meanwhile.
#[cfg(feature = "lazy-guest")]
const SIZES: Sizes = Sizes {
    translation_factor: 2,
    translation_bytes: 32 << 10,
    max_recursion: 128,
    max_stack_bytes: 32 << 10,
    min_stack_bytes: 2 << 10,
    mode: CompilationMode::LazyTranslation,
};

/// A module that sessions can be opened with, from any thread.
pub struct WasmGuest {
    module: Module,
    linker: Linker<HostState>,
    engine: Engine,
    digest: Sha256Digest,
    /// Fuel that it may be given at once.
    slice_fuel: u64,
    /// Mutable globals that can be read and set; none: not all of them can.
    globals: Option<u32>,
}

fn config() -> Config {
    let mut config = Config::default();
    config
        .consume_fuel(true)
        .compilation_mode(SIZES.mode)
        // Running out of fuel cannot be resumed while a function is translated, so translating costs none: it happens once.
        .fuel_cost(CustomFuelCosts {
            fuel_per_bytes_translated: 0,
            fuel_per_bytes_validated: 0,
            // wasmi's own.
            bytes_copied_per_fuel: 64,
        })
        .enforced_limits(EnforcedLimits::strict())
        .ignore_custom_sections(true)
        // A start function would run before limits and fuel are in place.
        .allow_start_fn(false)
        .set_max_cached_stacks(1);
    #[cfg(feature = "validate")]
    config
        .wasm_multi_memory(false)
        // Evaluated by recursion, one level for each operator.
        .wasm_extended_const(false);
    config
        .set_min_stack_height(SIZES.min_stack_bytes)
        .set_max_stack_height(SIZES.max_stack_bytes)
        .set_max_recursion_depth(SIZES.max_recursion);
    config
}

impl WasmGuest {
    /// Validates and translates a module. The bytes are not needed afterwards.
    ///
    /// # Errors
    /// `Format` for bytes that are no WebAssembly module, or not one that can be a guest: a start
    /// function, imports that this host does not have (the message names the first), missing or
    /// mistyped exports. `Limit` for more than [`MAX_MODULE_BYTES`]. `NoMemory`.
    /// `Unsupported` in a build without a validator, unless the guest's digest was pinned when it was built.
    pub fn load(wasm: &[u8]) -> Result<Self> {
        #[cfg(not(feature = "validate"))]
        if !is_pinned(PINNED, &sha256([wasm].into_iter(), None)?) {
            bail!(
                Unsupported,
                "this build has no validator: it runs the guest that it was built with and those whose digests it was built with, and no other"
            );
        }
        // wasmi 2.0 divides by the number of functions.
        let no_code = |s: sections::Section| {
            s.id == sections::CODE && s.cursor(wasm).and_then(|mut c| c.number()) == Some(0)
        };
        if sections::sections(wasm).flatten().any(no_code) {
            bail!(Format, "the guest is refused: it has no code");
        }
        let growth = survey::of(wasm)?;
        if growth.table {
            bail!(
                Format,
                "the guest is refused: it has table.grow, which guests may not use"
            );
        }
        Self::translate(wasm, growth.slice_fuel()?)
    }

    /// The guest that comes with the library. It is validated whenever the library is tested, so builds without a validator
    /// run it, too. It grows its memory by what it takes and not in vain, so it needs no slices for the native stack's sake.
    ///
    /// # Errors
    /// `NoMemory`.
    #[cfg(feature = "embedded-guest")]
    pub fn embedded() -> Result<Self> {
        #[cfg(not(feature = "slim-guest"))]
        let wasm = include_bytes!("../../../guest/realm_guest.wasm");
        #[cfg(feature = "slim-guest")]
        let wasm = include_bytes!("../../../guest/realm_guest_slim.wasm");
        Self::translate(wasm, u64::MAX)
    }

    fn translate(wasm: &[u8], slice_fuel: u64) -> Result<Self> {
        if wasm.len() > MAX_MODULE_BYTES {
            bail!(
                Limit,
                "the guest has {} bytes, at most {MAX_MODULE_BYTES} are loaded",
                wasm.len()
            );
        }
        survey::check_head("the guest", wasm)?;
        drop(try_vec::<u8>(
            wasm.len() * SIZES.translation_factor + SIZES.translation_bytes,
            "bytes of translated guest",
        )?);
        let Exposed { bytes, count } = globals::expose(wasm)?;
        let engine = Engine::new(&config());
        let exposed = bytes.as_deref().unwrap_or(wasm);
        #[cfg(feature = "validate")]
        let module = Module::new(&engine, exposed);
        // SAFETY: it is the guest that the library was built with, or one whose digest was (`load` refuses all others): who
        // builds has seen that these are valid.
        #[cfg(not(feature = "validate"))]
        let module = unsafe { Module::new_unchecked(&engine, exposed) };
        let module = module.map_err(|e| survey::refusal("the guest", &e))?;
        check_imports(&module)?;
        check_exports(&module)?;
        let mut linker = Linker::new(&engine);
        imports::define(&mut linker)
            .map_err(|e| err!(Internal, "defining imports: {}", said(e)))?;
        Ok(Self {
            module,
            linker,
            engine,
            digest: sha256([wasm].into_iter(), None)?,
            slice_fuel,
            globals: count,
        })
    }

    /// Fuel that it may be given at once, for the sake of the native stack.
    pub(super) fn slice_fuel(&self) -> u64 {
        self.slice_fuel
    }

    /// Bytes of linear memory that an instance starts with.
    pub(super) fn initial_memory_bytes(&self) -> u64 {
        match self.module.get_export("memory") {
            Some(ExternType::Memory(ty)) => ty.minimum().saturating_mul(65_536),
            _ => 0,
        }
    }

    /// The SHA-256 of the module's bytes.
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// Mutable globals, as [`globals::name`] calls their exports; none: they cannot be had.
    pub(super) fn globals(&self) -> Option<u32> {
        self.globals
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn module(&self) -> &Module {
        &self.module
    }

    pub(super) fn linker(&self) -> &Linker<HostState> {
        &self.linker
    }
}

/// SHA-256 digests in hexadecimal, with commas between them, of the guests that a build without a validator runs besides its
/// own: those who build it have validated them.
#[cfg(not(feature = "validate"))]
const PINNED: &str = match option_env!("REALM_GUEST_SHA256") {
    Some(digests) => digests,
    None => "",
};

/// Whether a digest is in such a list.
#[cfg(any(test, not(feature = "validate")))]
fn is_pinned(list: &str, digest: &Sha256Digest) -> bool {
    list.split(',').any(|hex| {
        let (pairs, rest) = hex.trim().as_bytes().as_chunks::<2>();
        let digit = |c: u8| char::from(c).to_digit(16);
        let byte = |&[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
        rest.is_empty()
            && pairs
                .iter()
                .map(byte)
                .eq(digest.iter().map(|b| Some(u32::from(*b))))
    })
}

/// What the interpreter says of an error.
#[cfg(feature = "validate")]
pub(super) fn said(e: impl Into<wasmi::Error>) -> impl core::fmt::Display {
    e.into()
}

/// The same without a validator: guests are such as have been seen to load, so of its words only those of traps are linked.
#[cfg(not(feature = "validate"))]
pub(super) fn said(e: impl Into<wasmi::Error>) -> impl core::fmt::Display {
    use wasmi::errors::ErrorKind;
    let e = e.into();
    match (e.as_trap_code(), e.kind()) {
        (Some(trap), _) => trap.trap_message(),
        (_, ErrorKind::Memory(_) | ErrorKind::Translation(_)) => "out of memory",
        _ => "the interpreter refuses it",
    }
}

/// One letter per value type, as in [`imports::SIGNATURES`].
fn letter(ty: ValType) -> char {
    match ty {
        ValType::I32 => 'i',
        ValType::I64 => 'I',
        _ => '?',
    }
}

fn is_func(ty: &ExternType, params: &str, result: &str) -> bool {
    match ty {
        ExternType::Func(f) => {
            f.params().iter().map(|t| letter(*t)).eq(params.chars())
                && f.results().iter().map(|t| letter(*t)).eq(result.chars())
        }
        _ => false,
    }
}

fn check_imports(module: &Module) -> Result<()> {
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        if from != "realm" {
            bail!(
                Format,
                "the guest imports '{name}' from '{from}'; guests may only import from 'realm'"
            );
        }
        let Some((_, params, result)) = imports::SIGNATURES.iter().find(|s| s.0 == name) else {
            bail!(
                Format,
                "the guest imports 'realm.{name}', which this host does not have"
            );
        };
        if !is_func(import.ty(), params, result) {
            bail!(
                Format,
                "the guest imports 'realm.{name}' with another signature than the guest ABI's"
            );
        }
    }
    Ok(())
}

fn check_exports(module: &Module) -> Result<()> {
    match module.get_export("memory") {
        Some(ExternType::Memory(_)) => {}
        _ => bail!(Format, "the guest does not export its memory as 'memory'"),
    }
    for (name, params) in [("realm_guest_abi", ""), ("realm_guest_event", "iii")] {
        match module.get_export(name) {
            None => bail!(Format, "the guest does not export '{name}'"),
            Some(ty) if !is_func(&ty, params, "i") => bail!(
                Format,
                "the guest exports '{name}' with another signature than the guest ABI's"
            ),
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod pinned_tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    #[test]
    fn a_digest_is_pinned_whole_or_not_at_all() {
        let digest: Sha256Digest = core::array::from_fn(|i| 7 * i as u8);
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        assert!(is_pinned(&hex, &digest));
        assert!(is_pinned(&format!("00ff, {}", hex.to_uppercase()), &digest));
        for list in [
            "",
            ",",
            &hex[..62],
            &hex[1..],
            &format!("{hex}00"),
            &hex.replace('0', "g"),
        ] {
            assert!(!is_pinned(list, &digest), "{list}");
        }
    }
}
