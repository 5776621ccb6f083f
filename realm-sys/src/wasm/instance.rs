//! Instances: made, called, looked into.

use super::PAGE_BYTES;
use super::group::{self, Group, Limits, MAX_INSTANCES, Pool, State};
use super::link::{self, Import, Peer};
use super::module::LoadedModule;
use super::signature;
use crate::error::{Error, Result, Short, try_vec};
use crate::num::env::FpGuard;
use crate::{bail, err};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use wasmi::errors::{ErrorKind, GlobalError, InstantiationError};
use wasmi::{AsContext, Extern, Func, FuncType, Global, Memory, TrapCode, Val};

/// What an instance is made with.
pub struct Options<'a> {
    /// Host functions; the first of several for the same import counts.
    pub imports: &'a [Import<'a>],
    /// Instances to link with, which share everything in `limits`.
    pub peers: &'a [Peer<'a>],
    /// Fuel and sizes; the default with peers.
    pub limits: Limits,
}

/// Pages that a memory of 32-bit addresses can have, where it does not say fewer.
const MAX_PAGES: u64 = 1 << 16;

/// What only an instance that the host made can do.
struct Own {
    instance: wasmi::Instance,
    /// Exported functions, in the order of the exports.
    functions: Vec<Func>,
    /// The export that is the library's alone.
    start: Option<Arc<str>>,
}

impl Own {
    fn hides(&self, name: &str) -> bool {
        self.start.as_deref() == Some(name)
    }
}

/// An instance of the host's, or, in a host function, the one that called it.
pub struct Instance {
    group: Arc<Group>,
    memory: Option<Memory>,
    own: Option<Own>,
}

/// What went wrong in code that ran. `failure` is what a host function said, `fuel` what was given in all.
fn trap(e: &wasmi::Error, failure: Option<Error>, fuel: u64) -> Error {
    if let Some(failure) = failure {
        return failure;
    }
    match e.as_trap_code() {
        Some(TrapCode::OutOfFuel) => err!(
            Limit,
            "the fuel is used up: {fuel} in all, by realm_wasm_options.fuel and realm_wasm_add_fuel"
        ),
        // The interpreter's own words end in a number that means nothing.
        Some(TrapCode::IndirectCallToNull) => err!(
            Guest,
            "the module trapped: uninitialized element: an indirect call of an empty place of a table"
        ),
        Some(TrapCode::StackOverflow) => err!(
            Guest,
            "the module trapped: {e}; max_stack_bytes and max_call_depth of realm_wasm_module_options bound it"
        ),
        Some(TrapCode::OutOfSystemMemory) => err!(NoMemory, "the module stopped: {e}"),
        _ => err!(Guest, "the module trapped: {e}"),
    }
}

/// What is wrong with a module that cannot be instantiated in a store, if its start function is not to blame. A segment that does not
/// fit is a trap, but was none in version 1.1. (Where others share what it is written to, it has become code: `segments`.)
pub(super) fn instantiation_error(e: &wasmi::Error, state: &State, only_1_1: bool) -> Error {
    let limiter = &state.limiter;
    let unfit = |what: fmt::Arguments<'_>| match only_1_1 {
        true => err!(Format, "{what}"),
        false => err!(Guest, "the module trapped: {what}"),
    };
    let refused = |pool: &Pool| pool.refusal().unwrap_or_else(|| err!(Limit, "{e}"));
    match e.kind() {
        // The copy of a memory that is imported.
        ErrorKind::Memory(_) if limiter.memory.refusal().is_some() => refused(&limiter.memory),
        ErrorKind::Memory(_) => unfit(format_args!("a data segment does not fit: {e}")),
        ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit {
            table_index,
            len,
            ..
        }) => unfit(format_args!(
            "an elements segment does not fit into its table: out of bounds table access: {len} elements at {table_index}"
        )),
        ErrorKind::Instantiation(InstantiationError::FailedToInstantiateMemory(_)) => {
            refused(&limiter.memory)
        }
        ErrorKind::Instantiation(InstantiationError::FailedToInstantiateTable(_)) => {
            refused(&limiter.tables)
        }
        ErrorKind::Instantiation(
            InstantiationError::TooManyInstances
            | InstantiationError::TooManyTables
            | InstantiationError::TooManyMemories,
        ) => err!(
            Limit,
            "at most {MAX_INSTANCES} instances, tables and memories each can be linked with each other"
        ),
        ErrorKind::Instantiation(mismatch) => {
            err!(
                Format,
                "incompatible import type: {}",
                signature::Mismatch(mismatch)
            )
        }
        _ => err!(Format, "the module cannot be instantiated: {e}"),
    }
}

impl Instance {
    /// Instantiates a module and runs its start function.
    ///
    /// # Errors
    /// `NotFound` for an import that nobody offers; `Format` for one of another type, and for segments that do
    /// not fit (nothing is written then); `Limit`; those of the start function as for [`call`].
    pub fn new(module: &LoadedModule, options: &Options<'_>) -> Result<Self> {
        let group = match options.peers.first() {
            None => Group::new(&module.engine, options.limits),
            Some(first) => {
                let group = &first.instance.group;
                if options
                    .peers
                    .iter()
                    .any(|p| !Arc::ptr_eq(&p.instance.group, group))
                {
                    bail!(InvalidArgument, "the peers are not linked with each other");
                }
                if !Arc::ptr_eq(&group.engine, &module.engine) {
                    bail!(
                        InvalidArgument,
                        "to be linked, modules must be loaded beside one another (realm_wasm_module_options.beside)"
                    );
                }
                if !options.limits.is_default() {
                    bail!(
                        InvalidArgument,
                        "with peers their limits hold: fuel, max_memory_bytes and max_table_elements must be 0"
                    );
                }
                Arc::clone(group)
            }
        };
        let mut store = group.outside()?;
        // As for translation: what is missing is found here, where it can be reported.
        drop(try_vec::<u8>(
            module.instance_bytes,
            "bytes of an instance",
        )?);
        let externs = link::resolve(&mut store, module, options.imports, options.peers)?;
        if !module.deferred {
            link::try_segments(&group, &store, module, &externs)?;
        }
        let environment = FpGuard::new();
        store.data_mut().enter()?;
        store.data_mut().limit_slices(module.slice_fuel);
        store.data_mut().limiter.forget();
        let made = wasmi::Instance::new(&mut *store, &module.module, &externs).and_then(|made| {
            let start = module.start.as_deref();
            if let Some(start) = start.and_then(|name| made.get_func(&*store, name)) {
                group::call(&mut store, start, &[], &mut [])?;
            }
            Ok(made)
        });
        let failure = store.data_mut().leave();
        let fuel = store.data().fuel;
        drop(environment);
        let instance = made.map_err(|e| match (&failure, e.kind()) {
            (None, ErrorKind::Instantiation(_) | ErrorKind::Memory(_) | ErrorKind::Table(_)) => {
                instantiation_error(&e, store.data(), module.only_1_1)
            }
            _ => trap(&e, failure, fuel),
        })?;
        let memory = module
            .memory_name()
            .and_then(|name| instance.get_memory(&*store, name));
        let count = instance.exports(&*store).count();
        let mut functions = try_vec(count, "functions")?;
        let hidden = module.start.as_deref();
        let seen = instance.exports(&*store);
        let seen = seen.filter(|e| Some(e.name()) != hidden);
        functions.extend(seen.filter_map(|e| e.into_func()));
        drop(store);
        Ok(Self {
            group,
            memory,
            own: Some(Own {
                instance,
                functions,
                start: module.start.clone(),
            }),
        })
    }

    /// What a host function gets for the instance that called it.
    pub(super) fn of_caller(group: Arc<Group>, memory: Option<Memory>) -> Self {
        Self {
            group,
            memory,
            own: None,
        }
    }

    /// Whether this stands for the caller of a host function.
    pub fn is_caller(&self) -> bool {
        self.own.is_none()
    }

    fn own(&self) -> Result<&Own> {
        self.own.as_ref().ok_or_else(|| {
            err!(
                State,
                "what a host function is given for its caller has memory and fuel only"
            )
        })
    }

    /// An export, for linking.
    pub(super) fn export(&self, ctx: impl AsContext<Data = State>, name: &str) -> Option<Extern> {
        let own = self.own.as_ref().filter(|own| !own.hides(name))?;
        own.instance.get_export(ctx, name)
    }

    /// The number of an exported function, which is that of every instance of the same module.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` if a parameter or result is not a number; `State` in host functions.
    pub fn find(&self, name: &str) -> Result<u32> {
        let own = self.own()?;
        let store = self.group.outside()?;
        let mut functions = own
            .instance
            .exports(&*store)
            .filter(|e| !own.hides(e.name()))
            .filter_map(|e| Some((e.name(), e.into_func()?)));
        let Some(at) = functions.position(|(n, _)| n == name) else {
            bail!(NotFound, "the module exports no function '{}'", Short(name));
        };
        let number = u32::try_from(at).map_err(|_| err!(Limit, "too many functions"))?;
        let ty = self.function(number)?.ty(&*store);
        if !signature::is_numeric(&ty) {
            bail!(
                Unsupported,
                "'{}' is {}: references and vectors cannot be passed",
                Short(name),
                signature::Text(&ty)
            );
        }
        Ok(number)
    }

    fn function(&self, number: u32) -> Result<Func> {
        let functions = &self.own()?.functions;
        let func = functions.get(number as usize).copied();
        func.ok_or_else(|| err!(NotFound, "the module exports no function number {number}"))
    }

    /// The type of an exported function.
    ///
    /// # Errors
    /// `NotFound`; `State` in host functions.
    pub fn function_type(&self, number: u32) -> Result<FuncType> {
        let func = self.function(number)?;
        Ok(func.ty(&*self.group.outside()?))
    }

    /// Something that can be called for as long as it likes, whatever becomes of the instance's handle.
    ///
    /// # Errors
    /// `NotFound`; `State` for the caller of a host function.
    pub fn callable(&self, number: u32) -> Result<Callable> {
        Ok(Callable {
            func: self.function(number)?,
            group: Arc::clone(&self.group),
        })
    }

    fn global(&self, name: &str) -> Result<Global> {
        let instance = self.own()?.instance;
        self.group.with(|ctx| {
            instance
                .get_global(&ctx, name)
                .ok_or_else(|| err!(NotFound, "the module exports no global '{}'", Short(name)))
        })
    }

    /// The value of an exported global.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get_global(&self, name: &str) -> Result<Val> {
        let global = self.global(name)?;
        self.group.with(|ctx| Ok(global.get(&ctx)))
    }

    /// Gives an exported global another value.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` if it is constant or of another type.
    pub fn set_global(&self, name: &str, value: Val) -> Result<()> {
        let global = self.global(name)?;
        self.group.with(|mut ctx| {
            let (ty, given) = (global.ty(&ctx), value.ty());
            global.set(&mut ctx, value).map_err(|e| {
                let name = Short(name);
                match e {
                    GlobalError::ImmutableWrite => {
                        err!(InvalidArgument, "global '{name}' is constant")
                    }
                    GlobalError::TypeMismatch => err!(
                        InvalidArgument,
                        "global '{name}' is of the type {}, the value of {}",
                        signature::letter(ty.content()),
                        signature::letter(given)
                    ),
                    _ => err!(InvalidArgument, "global '{name}': {e}"),
                }
            })
        })
    }

    fn memory(&self) -> Result<Memory> {
        self.memory
            .ok_or_else(|| err!(NotFound, "the module exports no memory"))
    }

    /// Bytes of the exported memory.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub fn memory_bytes(&self) -> Result<u64> {
        let memory = self.memory()?;
        self.group.with(|ctx| Ok(memory.data_size(&ctx) as u64))
    }

    /// Grows the exported memory by whole pages; gives the bytes it had before.
    ///
    /// # Errors
    /// `NotFound` if there is none; `Limit` if it may not be as large.
    pub fn grow_memory(&self, pages: u64) -> Result<u64> {
        let memory = self.memory()?;
        self.group.with(|mut ctx| {
            ctx.data_mut().limiter.forget();
            let before = memory.grow(&mut ctx, pages).map_err(|_| {
                match ctx.data().limiter.memory.refusal() {
                    Some(refusal) => err!(Limit, "the memory cannot grow: {refusal}"),
                    None => err!(
                        Limit,
                        "the memory cannot grow by {pages} pages: it has {}, and its own maximum is {}",
                        memory.size(&ctx),
                        memory.ty(&ctx).maximum().unwrap_or(MAX_PAGES)
                    ),
                }
            })?;
            Ok(before.saturating_mul(PAGE_BYTES))
        })
    }

    /// Hands a range of the exported memory to `body`, which may change it.
    ///
    /// # Errors
    /// `NotFound` if there is none; `InvalidArgument` for a range that is not inside.
    pub fn with_memory(
        &self,
        offset: u64,
        bytes: usize,
        body: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        let memory = self.memory()?;
        self.group.with(|mut ctx| {
            let all = memory.data_mut(&mut ctx);
            let size = all.len();
            let range = usize::try_from(offset)
                .ok()
                .and_then(|start| all.get_mut(start..)?.get_mut(..bytes))
                .ok_or_else(|| {
                    err!(
                        InvalidArgument,
                        "{bytes} bytes at {offset} are outside of the module's memory of {size} bytes"
                    )
                })?;
            body(range);
            Ok(())
        })
    }

    /// Fuel that is left.
    pub fn fuel(&self) -> Result<u64> {
        self.group.with(|ctx| group::fuel(&ctx))
    }

    /// Adds fuel, up to the largest number.
    pub fn add_fuel(&self, more: u64) -> Result<()> {
        self.group.with(|mut ctx| group::add_fuel(&mut ctx, more))
    }
}

/// An exported function of an instance.
pub struct Callable {
    func: Func,
    group: Arc<Group>,
}

impl Callable {
    /// Calls the function to its end.
    ///
    /// # Errors
    /// `InvalidArgument` for other arguments, or another number of results, than it has; `Guest` for a trap;
    /// `Limit` if the fuel is used up; a host function's own; `State` in host functions.
    pub fn call(&self, args: &[Val], results: &mut [Val]) -> Result<()> {
        let mut store = self.group.outside()?;
        let _environment = FpGuard::new();
        store.data_mut().enter()?;
        let outcome = group::call(&mut store, self.func, args, results);
        let failure = store.data_mut().leave();
        outcome.map_err(|e| match e.kind() {
            ErrorKind::Func(_) => {
                let ty = self.func.ty(&*store);
                err!(
                    InvalidArgument,
                    "the function is {}, called with {} and room for {}",
                    signature::Text(&ty),
                    signature::Arguments(args),
                    signature::Results(results.len())
                )
            }
            _ => trap(&e, failure, store.data().fuel),
        })
    }
}
