//! Imports: what a module asks for is looked up among host functions, then among the exports of linked instances.

use super::MAX_VALUES;
use super::group::{Group, State, new_store};
use super::instance::{Instance, instantiation_error};
use super::module::LoadedModule;
use super::signature::Text;
use crate::error::{Result, Short, try_vec};
use crate::panics::caught;
use crate::{bail, err};
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use wasmi::{
    Extern, ExternType, Func, FuncType, Global, Memory, MemoryType, Ref, Store, Table, TableType,
    Val,
};

/// A function of the host's: the instance that calls it, arguments, results (of their types, zero).
pub type HostFunction = Arc<dyn Fn(Instance, &[Val], &mut [Val]) -> Result<()> + Send + Sync>;

/// A host function and the import that it answers.
pub struct Import<'a> {
    /// The import's module.
    pub module: &'a str,
    /// The import's name.
    pub name: &'a str,
    /// Its type.
    pub ty: FuncType,
    /// What is called.
    pub function: HostFunction,
}

/// An instance whose exports can be imported.
pub struct Peer<'a> {
    /// The module that imports call it.
    pub name: &'a str,
    /// The instance.
    pub instance: &'a Instance,
}

/// A copy of a text, fallibly allocated.
fn owned(text: &str) -> Result<String> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len())
        .map_err(|_| err!(NoMemory, "no memory for a name"))?;
    copy.push_str(text);
    Ok(copy)
}

/// Finds everything that a module imports.
pub(super) fn resolve(
    store: &mut Store<State>,
    module: &LoadedModule,
    imports: &[Import<'_>],
    peers: &[Peer<'_>],
) -> Result<Vec<Extern>> {
    let wanted = module.module.imports();
    let mut found = try_vec(wanted.len(), "imports")?;
    for import in wanted {
        let (from, name) = (import.module(), import.name());
        let host = imports.iter().find(|i| i.module == from && i.name == name);
        let peer = || {
            let named = peers.iter().filter(|p| p.name == from);
            named
                .filter_map(|p| p.instance.export(&*store, name))
                .next()
        };
        let item = match (host, import.ty()) {
            (Some(host), ExternType::Func(ty)) if *ty != host.ty => bail!(
                Format,
                "the module imports '{}.{}' as {}, the host's is {}",
                Short(from),
                Short(name),
                Text(ty),
                Text(&host.ty)
            ),
            (Some(host), _) => Extern::Func(define(store, host, module.memory_name())?),
            (None, _) => match peer() {
                Some(item) => item,
                None => bail!(
                    NotFound,
                    "the module imports '{}.{}', which is neither among realm_wasm_options.imports nor an export of its peers",
                    Short(from),
                    Short(name)
                ),
            },
        };
        found.push(item);
    }
    Ok(found)
}

/// Makes a host function for one instance. `memory` is what that instance's module calls its memory.
fn define(store: &mut Store<State>, host: &Import<'_>, memory: Option<&str>) -> Result<Func> {
    if host.ty.params().len().max(host.ty.results().len()) > MAX_VALUES {
        bail!(
            InvalidArgument,
            "'{}' has more than {MAX_VALUES} parameters or results",
            Short(host.name)
        );
    }
    let memory = memory.map(owned).transpose()?;
    let function = Arc::clone(&host.function);
    Ok(Func::new(
        store,
        host.ty.clone(),
        move |mut caller: wasmi::Caller<'_, State>, args, results| {
            // A host function that was exported again is called by who imported it, with that one's memory.
            let memory = memory
                .as_deref()
                .and_then(|name| caller.get_export(name))
                .and_then(Extern::into_memory);
            let mut ended = false;
            let outcome = match caller.data().group.upgrade() {
                // The interpreter cannot unwind, so a panic has to stop before it.
                Some(group) => caught(|| {
                    let instance = Instance::of_caller(Arc::clone(&group), memory);
                    let _running = group.running(&mut caller);
                    let outcome = function(instance, args, results);
                    ended = true;
                    outcome
                }),
                None => Err(err!(Internal, "a host function runs without a group")),
            };
            caller.data_mut().broken |= !ended;
            outcome.map_err(|e| {
                caller.data_mut().failure = Some(e);
                // The error itself waits in the state: this one only unwinds.
                wasmi::Error::i32_exit(1)
            })
        },
    ))
}

/// Tries whether the segments of a module fit into the tables and memories that it imports.
///
/// wasmi writes segments one after the other and stops at the first that does not fit. Others would then
/// see half of them, and a shared table would hold functions of an instance that never came to be, which
/// may not be called. So the module is first instantiated apart from all others, with copies of the right sizes.
pub(super) fn try_segments(
    group: &Group,
    store: &Store<State>,
    module: &LoadedModule,
    externs: &[Extern],
) -> Result<()> {
    let is_shared = |e: &Extern| matches!(e, Extern::Table(_) | Extern::Memory(_));
    if !externs.iter().any(is_shared) {
        return Ok(());
    }
    let mut apart = new_store(&group.engine, group.limits, 0, Weak::new());
    let mut copies = try_vec(externs.len(), "imports")?;
    for item in externs {
        copies.push(
            copy(store, &mut apart, item)
                .map_err(|e| instantiation_error(&e, apart.data(), module.only_1_1))?,
        );
    }
    match wasmi::Instance::new(&mut apart, &module.module, &copies) {
        Ok(_) => Ok(()),
        Err(e) => Err(instantiation_error(&e, apart.data(), module.only_1_1)),
    }
}

/// Something of the same type, size and, if it is a number, value in another store.
fn copy(
    from: &Store<State>,
    to: &mut Store<State>,
    item: &Extern,
) -> core::result::Result<Extern, wasmi::Error> {
    Ok(match item {
        Extern::Func(f) => {
            let stop = |_: wasmi::Caller<'_, State>, _: &[Val], _: &mut [Val]| {
                Err(wasmi::Error::i32_exit(1))
            };
            Extern::Func(Func::new(to, f.ty(from), stop))
        }
        Extern::Global(g) => {
            let value = match g.get(from) {
                // References belong to their store.
                v @ (Val::FuncRef(_) | Val::ExternRef(_)) => Val::default_for_ty(v.ty()),
                v => v,
            };
            Extern::Global(Global::new(to, value, g.ty(from).mutability()))
        }
        Extern::Table(t) => {
            let (ty, size) = (t.ty(from), t.size(from));
            let bits = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
            let copy = TableType::new(ty.element(), bits(size), ty.maximum().map(bits));
            Extern::Table(Table::new(to, copy, Ref::null(ty.element()))?)
        }
        Extern::Memory(m) => {
            let (ty, size) = (m.ty(from), m.size(from));
            let bits = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
            Extern::Memory(Memory::new(
                to,
                MemoryType::new(bits(size), ty.maximum().map(bits)),
            )?)
        }
    })
}
