//! Modules of your own: any WebAssembly, sandboxed, apart from models and sessions.
//!
//! ```text
//! realm_wasm_module_load → realm_wasm_instance_create → realm_wasm_find → realm_wasm_call … → destroy → unload
//! ```

pub mod state;

use super::error::{realm_error, realm_status};
use super::{
    check, check_room, guard, new_handle, null, put, put_text, read_struct, slice, text, text_of,
};
use crate::error::{Error, Result, Short, Status, try_vec};
use crate::panics::unless_provoked;
use crate::platform::no_extension;
use crate::wasm::signature::{self, Text};
use crate::wasm::{
    HostFunction, Import, Instance, Limits, LoadedModule, MAX_VALUES, ModuleOptions, Options, Peer,
};
use crate::{bail, err};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::ffi::{c_char, c_void};
use core::fmt::Write;
use core::mem::{offset_of, size_of};
use core::{array, ptr};
use wasmi::{FuncType, Val, ValType};

/// A validated and translated module, shared by any number of instances.
///
/// What is run: WebAssembly 2.0 without SIMD (1.0 with mutable globals, sign extension, saturating conversions, several results, bulk
/// memory and reference types, these not as arguments or results in C), and tail calls and extended constants. Not 64-bit or several
/// memories, threads, exceptions, typed function references, garbage collection.
pub struct realm_wasm_module {
    module: Arc<LoadedModule>,
}

/// An instance of a module: its memory, globals and tables.
pub struct realm_wasm_instance {
    instance: Instance,
}

/// `realm_wasm_value.type`: a 32-bit integer, `i` in signatures.
pub const REALM_WASM_I32: u32 = 1;
/// `realm_wasm_value.type`: a 64-bit integer, `I` in signatures.
pub const REALM_WASM_I64: u32 = 2;
/// `realm_wasm_value.type`: a 32-bit float, `f` in signatures.
pub const REALM_WASM_F32: u32 = 3;
/// `realm_wasm_value.type`: a 64-bit float, `F` in signatures.
pub const REALM_WASM_F64: u32 = 4;

/// `realm_wasm_module_options.flags`: refuse what came after draft 1.1 of the specification, which is 1.0 with
/// mutable globals, sign extension, saturating conversions and several results.
pub const REALM_WASM_ONLY_1_1: u32 = 1;
/// `realm_wasm_module_options.flags`: take a module that has `table.grow`. Each one that runs leaves some 200 bytes on the
/// thread's stack until the call ends, so a module that loops over it on purpose overflows the stack: only for modules that are
/// trusted. Without it they are refused. (Builds whose interpreter is a loop, as for microcontrollers, take them anyway.)
pub const REALM_WASM_TABLE_GROW: u32 = 2;

/// The most parameters, or results, of a function that is called or given from C.
pub const REALM_WASM_MAX_VALUES: u32 = 32;

/// The number in a `realm_wasm_value`. Signedness is the reader's affair, as in WebAssembly.
#[repr(C)]
#[derive(Clone, Copy)]
pub union realm_wasm_number {
    /// With `REALM_WASM_I32`.
    pub i32: i32,
    /// With `REALM_WASM_I64`.
    pub i64: i64,
    /// With `REALM_WASM_F32`.
    pub f32: f32,
    /// With `REALM_WASM_F64`.
    pub f64: f64,
}

/// A value of a WebAssembly type.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_wasm_value {
    /// `REALM_WASM_I32`, `_I64`, `_F32` or `_F64`.
    pub r#type: u32,
    /// 0.
    pub reserved: u32,
    /// The number.
    pub of: realm_wasm_number,
}

/// A function of the application's that a module imports.
///
/// `ctx`: that of the `realm_wasm_import`.
/// `caller`: stands for the instance that calls, until the function returns. It, or the instance itself, may be given to the
/// functions for memory and fuel, and the instance also to those for globals. What finds or calls functions, or creates an
/// instance that is linked with this one, returns `STATE`. Instances that are not linked with it may be used freely.
/// `args`: as many values as the signature has parameters; valid until the function returns.
/// `results`: as many as it has results; zeros of the right types, of which only `of` is to be written.
///
/// It may not unwind or `longjmp`.
///
/// **Threads**: called on the thread that calls the module.
///
/// **Returns** 0, or another number to end the call: a `REALM_STATUS_` is what `realm_wasm_call` then returns; for any other
/// number it returns `GUEST` with the number in its message.
pub type realm_wasm_host_fn = Option<
    unsafe extern "C" fn(
        ctx: *mut c_void,
        caller: *mut realm_wasm_instance,
        args: *const realm_wasm_value,
        results: *mut realm_wasm_value,
    ) -> i32,
>;

/// A host function and the import it answers. The texts are not needed after the call that takes them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_wasm_import {
    /// The import's module, NUL-terminated UTF-8.
    pub module: *const c_char,
    /// The import's name, NUL-terminated UTF-8.
    pub name: *const c_char,
    /// Results, or `v` for none, then parameters in parentheses, one letter each: `i(iI)` takes a 32-bit and a
    /// 64-bit integer and returns a 32-bit one. NUL-terminated. At most `REALM_WASM_MAX_VALUES` of each.
    pub signature: *const c_char,
    /// What is called.
    pub call: realm_wasm_host_fn,
    /// First argument of `call`. What it points to must live as long as the instance and those linked with it.
    pub ctx: *mut c_void,
}

/// An instance whose exports another may import.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_wasm_peer {
    /// The module that imports call it, NUL-terminated UTF-8; not needed after the call that takes it.
    pub name: *const c_char,
    /// The instance. Its handle may be destroyed before the new one's.
    pub instance: *const realm_wasm_instance,
}

/// What a module is loaded with. Zero is the default for every field but the first two.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_wasm_module_options {
    /// Size of the caller's struct in bytes. Set by `REALM_WASM_MODULE_OPTIONS_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_WASM_MODULE_OPTIONS_INIT`.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// Reserved; NULL.
    pub ctx: *mut c_void,
    /// (optional) A module whose instances are to be linked with this one's. The two share stack limits and flags,
    /// which must be 0 here, and their translated code is freed when both are gone. NULL: a module on its own.
    pub beside: *const realm_wasm_module,
    /// Bytes of the module at most. 0: 16 MiB.
    pub max_module_bytes: u64,
    /// Bytes that locals and operands of nested calls may take, 4 KiB to 1 GiB; more is a trap. 0: 1 MiB.
    pub max_stack_bytes: u64,
    /// Nested calls at most, up to 1000000; more is a trap. Each takes some 32 bytes beside its locals and operands. 0: 10000.
    pub max_call_depth: u32,
    /// `REALM_WASM_ONLY_1_1` and `REALM_WASM_TABLE_GROW`, or'ed; 0.
    pub flags: u32,
}

const MODULE_OPTIONS_MIN: usize = offset_of!(realm_wasm_module_options, flags) + size_of::<u32>();

/// What an instance is created with. Zero is the default for every field but the first two.
///
/// Fuel and limits are those of all instances that are linked with each other, together: with peers they
/// must be 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_wasm_options {
    /// Size of the caller's struct in bytes. Set by `REALM_WASM_OPTIONS_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_WASM_OPTIONS_INIT`.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// Reserved; NULL.
    pub ctx: *mut c_void,
    /// Host functions; more than the module imports are fine. The array is not needed after the call.
    pub imports: *const realm_wasm_import,
    /// How many there are.
    pub import_count: usize,
    /// Instances whose exports may be imported; all linked with each other already. Asked after `imports`. The array is not
    /// needed after the call.
    pub peers: *const realm_wasm_peer,
    /// How many there are.
    pub peer_count: usize,
    /// Fuel to begin with, about one per instruction, and per 64 bytes of segments that are written to what a peer offers. 0: 4000000000,
    /// some seconds. `UINT64_MAX` lasts for centuries.
    pub fuel: u64,
    /// Bytes of linear memory at most. 0: 16 MiB.
    pub max_memory_bytes: u64,
    /// Elements of tables at most. 0: 65536.
    pub max_table_elements: u64,
}

const OPTIONS_MIN: usize = offset_of!(realm_wasm_options, max_table_elements) + size_of::<u64>();

/// The C form of a value; `None` for references and vectors.
fn to_c(value: &Val) -> Option<realm_wasm_value> {
    // All eight bytes are written, so that C may copy any of them.
    let mut of = realm_wasm_number { i64: 0 };
    let r#type = match value {
        Val::I32(v) => {
            of.i32 = *v;
            REALM_WASM_I32
        }
        Val::I64(v) => {
            of.i64 = *v;
            REALM_WASM_I64
        }
        Val::F32(v) => {
            of.f32 = f32::from_bits(v.to_bits());
            REALM_WASM_F32
        }
        Val::F64(v) => {
            of.f64 = f64::from_bits(v.to_bits());
            REALM_WASM_F64
        }
        _ => return None,
    };
    Some(realm_wasm_value {
        r#type,
        reserved: 0,
        of,
    })
}

/// A value from C; `None` for an unknown type.
fn from_c(value: &realm_wasm_value) -> Option<Val> {
    // SAFETY: any bits are a number of any of these types, and the struct is initialised.
    unsafe {
        Some(match value.r#type {
            REALM_WASM_I32 => Val::I32(value.of.i32),
            REALM_WASM_I64 => Val::I64(value.of.i64),
            REALM_WASM_F32 => Val::F32(wasmi::F32::from_bits(value.of.f32.to_bits())),
            REALM_WASM_F64 => Val::F64(wasmi::F64::from_bits(value.of.f64.to_bits())),
            _ => return None,
        })
    }
}

const ZERO: realm_wasm_value = realm_wasm_value {
    r#type: 0,
    reserved: 0,
    of: realm_wasm_number { i64: 0 },
};

/// The first items of `values`, converted, in a fixed array: nothing is allocated for a call.
fn all_to_c(values: &[Val]) -> Option<[realm_wasm_value; MAX_VALUES]> {
    let mut out = [ZERO; MAX_VALUES];
    for (i, value) in values.iter().enumerate() {
        *out.get_mut(i)? = to_c(value)?;
    }
    Some(out)
}

/// A host function of C's.
struct HostCall {
    call: unsafe extern "C" fn(
        *mut c_void,
        *mut realm_wasm_instance,
        *const realm_wasm_value,
        *mut realm_wasm_value,
    ) -> i32,
    ctx: *mut c_void,
    /// `module.name`, for messages.
    name: String,
}

// SAFETY: it is called on whatever thread calls the module; the header says so.
unsafe impl Send for HostCall {}
// SAFETY: as above.
unsafe impl Sync for HostCall {}

impl HostCall {
    fn run(&self, instance: Instance, args: &[Val], results: &mut [Val]) -> Result<()> {
        let unknown = || err!(Internal, "a host function with values that are no numbers");
        let c_args = all_to_c(args).ok_or_else(unknown)?;
        let mut c_results = all_to_c(results).ok_or_else(unknown)?;
        let mut caller = realm_wasm_instance { instance };
        // SAFETY: the contract of `realm_wasm_host_fn`; everything lives until it returns.
        let code = unsafe {
            (self.call)(
                self.ctx,
                &raw mut caller,
                c_args.as_ptr(),
                c_results.as_mut_ptr(),
            )
        };
        if code != 0 {
            return Err(unless_provoked(match Status::from_code(code) {
                Some(status) => Error::new(
                    status,
                    format_args!("the host function '{}' failed: {status}", Short(&self.name)),
                ),
                None => err!(
                    Guest,
                    "the host function '{}' returned {code}",
                    Short(&self.name)
                ),
            }));
        }
        for (to, from) in results.iter_mut().zip(&c_results) {
            match from_c(from) {
                Some(value) if value.ty() == to.ty() => *to = value,
                _ => bail!(
                    Guest,
                    "the host function '{}' changed the type of a result",
                    Short(&self.name)
                ),
            }
        }
        Ok(())
    }
}

/// Checks a host function, which is `realm_wasm_options.imports[index]`, and gives it its Rust form.
///
/// # Safety
/// The texts are NULL or valid for `'a`, and `call` keeps its contract.
unsafe fn import_of<'a>(import: &realm_wasm_import, index: usize) -> Result<Import<'a>> {
    // SAFETY: the caller's promise.
    let (module, name, letters) = unsafe {
        (
            text(import.module, format_args!("imports[{index}].module"))?,
            text(import.name, format_args!("imports[{index}].name"))?,
            text(import.signature, format_args!("imports[{index}].signature"))?,
        )
    };
    let call = import
        .call
        .ok_or_else(|| null(format_args!("imports[{index}].call")))?;
    let ty: FuncType = signature::parse(letters)?;
    let mut full = String::new();
    full.try_reserve_exact(module.len() + name.len() + 1)
        .map_err(|_| err!(NoMemory, "no memory for a name"))?;
    let _ = write!(full, "{module}.{name}");
    let host = HostCall {
        call,
        ctx: import.ctx,
        name: full,
    };
    let function: HostFunction =
        Arc::new(move |instance, args, results| host.run(instance, args, results));
    Ok(Import {
        module,
        name,
        ty,
        function,
    })
}

/// The instance behind a handle.
///
/// # Safety
/// `instance` is NULL or a live handle.
unsafe fn instance_ref<'a>(instance: *const realm_wasm_instance) -> Result<&'a Instance> {
    check(instance, "instance")?;
    // SAFETY: not NULL, and the caller's promise.
    Ok(unsafe { &(*instance).instance })
}

/// Validates and translates a module.
///
/// A call of a module takes a few KiB of the calling thread's stack, up to 192 KiB more if the module has `memory.grow`. It may
/// have that in at most 256 places of its code, and is then interpreted in short slices, up to half as fast. Constant expressions
/// have at most 128 operators; calls, blocks and branches move at most as many values, in all, as the module has bytes, and 131072
/// more; all functions have at most as many locals as the module has bytes, and 4194304 more.
///
/// `wasm`, `bytes`: the module in binary form; not needed afterwards.
/// `options`: NULL is the default.
/// `out` receives the module. **Owns**: the caller, until `realm_wasm_module_unload`.
///
/// **Threads**: any, at any time. Takes some milliseconds per 100 KB.
///
/// **Returns** `FORMAT` for what is malformed, invalid, or uses what this build or `REALM_WASM_ONLY_1_1` leaves out;
/// `UNSUPPORTED` for `table.grow` without `REALM_WASM_TABLE_GROW`; `LIMIT`, `NO_MEMORY`, `INVALID_ARGUMENT`.
///
/// # Safety
/// `wasm` points to `bytes` bytes, `options` to its `struct_size` bytes or is NULL, `out` to a pointer; `error` is
/// NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_module_load(
    wasm: *const c_void,
    bytes: usize,
    options: *const realm_wasm_module_options,
    out: *mut *mut realm_wasm_module,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(out, "out")?;
        // SAFETY: the caller's promise.
        let wasm = unsafe { slice(wasm.cast::<u8>(), bytes, "wasm") }?;
        let mut wanted = ModuleOptions::default();
        if !options.is_null() {
            const WHAT: &str = "realm_wasm_module_options";
            // SAFETY: the caller's promise; zeros are valid in every field.
            let options = unsafe { read_struct(options, WHAT, MODULE_OPTIONS_MIN) }?;
            no_extension(options.next, WHAT)?;
            if options.flags & !(REALM_WASM_ONLY_1_1 | REALM_WASM_TABLE_GROW) != 0 {
                bail!(
                    InvalidArgument,
                    "{WHAT}: unknown flags {:#x} (known: REALM_WASM_ONLY_1_1, REALM_WASM_TABLE_GROW)",
                    options.flags
                );
            }
            wanted = ModuleOptions {
                // SAFETY: NULL or a live module, by the caller's promise.
                beside: unsafe { options.beside.as_ref() }.map(|m| &*m.module),
                max_module_bytes: options.max_module_bytes,
                max_stack_bytes: options.max_stack_bytes,
                max_call_depth: options.max_call_depth,
                only_1_1: options.flags & REALM_WASM_ONLY_1_1 != 0,
                table_grow: options.flags & REALM_WASM_TABLE_GROW != 0,
            };
        }
        let module = LoadedModule::load(wasm, &wanted)?;
        // SAFETY: the caller's promise.
        unsafe {
            put(
                out,
                new_handle(realm_wasm_module { module }, "module")?,
                "out",
            )
        }
    })
}

/// Gives a module back. Its instances go on.
///
/// `module`: NULL is fine; nothing happens.
///
/// **Threads**: any; no other thread may be using the handle.
///
/// # Safety
/// `module` is NULL or came from `realm_wasm_module_load`, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_module_unload(module: *mut realm_wasm_module) {
    let _ = guard(ptr::null_mut(), || {
        if !module.is_null() {
            // SAFETY: made by `new_handle`, and the caller's promise.
            drop(unsafe { Box::from_raw(module) });
        }
        Ok(())
    });
}

/// Makes an instance of a module: looks up its imports, writes its segments, runs its start function.
///
/// `module`: what is instantiated; the handle may be unloaded afterwards.
/// `options`: NULL is the default, for a module that imports nothing.
/// `out` receives the instance. **Owns**: the caller, until `realm_wasm_instance_destroy`.
///
/// **Threads**: any, several at a time also for one module; with peers one at a time for all that are linked with them.
///
/// **Returns** `NOT_FOUND` for an import that nobody offers; `FORMAT` if it is offered with another type (nothing has been written
/// then); `LIMIT`; what `realm_wasm_call` returns, for the start function, and `GUEST` for a segment that is too long for its table or
/// memory: what is before it has been written, to those of peers too. (With `REALM_WASM_ONLY_1_1` that is `FORMAT`, and nothing has
/// been written.) `STATE` from a host function of a peer; `NO_MEMORY`, `INVALID_ARGUMENT`.
///
/// # Safety
/// `module` is live, `options` NULL or readable as its sizes say; `out` points to a pointer; `error` is NULL or
/// points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_instance_create(
    module: *const realm_wasm_module,
    options: *const realm_wasm_options,
    out: *mut *mut realm_wasm_instance,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(module, "module")?;
        check(out, "out")?;
        // SAFETY: not NULL, and the caller's promise.
        let module = Arc::clone(unsafe { &(*module).module });
        let mut imports = try_vec(0, "imports")?;
        let mut peers = try_vec(0, "peers")?;
        let mut limits = Limits::default();
        if !options.is_null() {
            const WHAT: &str = "realm_wasm_options";
            // SAFETY: the caller's promise; zeros are valid in every field.
            let options = unsafe { read_struct(options, WHAT, OPTIONS_MIN) }?;
            no_extension(options.next, WHAT)?;
            // SAFETY: the caller's promise.
            let given = unsafe { slice(options.imports, options.import_count, "imports") }?;
            imports = try_vec(given.len(), "imports")?;
            for (i, import) in given.iter().enumerate() {
                // SAFETY: the caller's promise.
                imports.push(unsafe { import_of(import, i) }?);
            }
            // SAFETY: the caller's promise.
            let given = unsafe { slice(options.peers, options.peer_count, "peers") }?;
            peers = try_vec(given.len(), "peers")?;
            for (i, peer) in given.iter().enumerate() {
                check(peer.instance, format_args!("peers[{i}].instance"))?;
                // SAFETY: not NULL, and the caller's promise.
                let instance = unsafe { &(*peer.instance).instance };
                // SAFETY: as above.
                let name = unsafe { text(peer.name, format_args!("peers[{i}].name")) }?;
                peers.push(Peer { name, instance });
            }
            limits = Limits {
                fuel: options.fuel,
                memory_bytes: options.max_memory_bytes,
                table_elements: options.max_table_elements,
            };
        }
        let options = Options {
            imports: &imports,
            peers: &peers,
            limits,
        };
        let instance = Instance::new(&module, &options)?;
        // SAFETY: the caller's promise.
        unsafe {
            put(
                out,
                new_handle(realm_wasm_instance { instance }, "instance")?,
                "out",
            )
        }
    })
}

/// Destroys an instance. Memory is freed with the last of the instances that are linked with each other.
///
/// `instance`: NULL is fine; so is the `caller` of a host function, which is left as it is.
///
/// **Threads**: one at a time for instances that are linked with each other.
///
/// # Safety
/// `instance` is NULL or came from `realm_wasm_instance_create`, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_instance_destroy(instance: *mut realm_wasm_instance) {
    let _ = guard(ptr::null_mut(), || {
        // SAFETY: NULL or live, by the caller's promise.
        let caller = unsafe { instance.as_ref() }.is_none_or(|i| i.instance.is_caller());
        if !caller {
            // SAFETY: made by `new_handle`, and the caller's promise. A call that is running keeps what it needs.
            drop(unsafe { Box::from_raw(instance) });
        }
        Ok(())
    });
}

/// Finds an exported function.
///
/// `name`, `name_bytes`: its name in UTF-8, not terminated.
/// `function` receives its number, which is the same in all instances of a module.
///
/// **Threads**: one at a time for instances that are linked with each other.
///
/// **Returns** `NOT_FOUND`; `UNSUPPORTED` if it takes or returns references or vectors; `STATE` from a host
/// function; `INVALID_ARGUMENT`.
///
/// # Safety
/// `instance` is live, `name` points to `name_bytes` bytes, `function` to a `uint32_t`; `error` is NULL or points to a
/// `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_find(
    instance: *const realm_wasm_instance,
    name: *const c_char,
    name_bytes: usize,
    function: *mut u32,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(function, "function")?;
        // SAFETY: the caller's promise.
        let number = unsafe { instance_ref(instance)?.find(text_of(name, name_bytes, "name")?) }?;
        // SAFETY: the caller's promise.
        unsafe { put(function, number, "function") }
    })
}

/// The signature of an exported function, as in `realm_wasm_import`, in two calls.
///
/// `function`: what `realm_wasm_find` gave.
/// `dst`, `capacity`: where the text goes, and for how many bytes there is room.
/// `bytes` receives its length, also if it does not fit; without the terminating zero that is added where there is room.
///
/// **Threads**: one at a time for instances that are linked with each other.
///
/// **Returns** `BUFFER_TOO_SMALL`, `NOT_FOUND`, `INVALID_ARGUMENT`; `STATE` from a host function.
///
/// # Safety
/// `instance` is live, `dst` points to `capacity` bytes or is NULL with 0, `bytes` to a `size_t`; `error` is NULL or
/// points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_signature(
    instance: *const realm_wasm_instance,
    function: u32,
    dst: *mut c_char,
    capacity: usize,
    bytes: *mut usize,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(bytes, "bytes")?;
        // SAFETY: the caller's promise.
        let ty = unsafe { instance_ref(instance) }?.function_type(function)?;
        let mut text = String::new();
        text.try_reserve_exact(ty.params().len() + ty.results().len() + 3)
            .map_err(|_| err!(NoMemory, "no memory for a signature"))?;
        let _ = write!(text, "{}", Text(&ty));
        // SAFETY: the caller's promise.
        unsafe { put_text(text.as_bytes(), (dst, "dst"), capacity, bytes) }
    })
}

/// Calls an exported function, to its end.
///
/// `function`: what `realm_wasm_find` gave.
/// `args`, `arg_count`: as many as it has parameters, of their types.
/// `results`, `result_count`: receives as many as it has, with their types. It may be the array of `args`.
///
/// **Threads**: one at a time for instances that are linked with each other. Host functions are called on this thread.
///
/// **Returns** `GUEST` for a trap: the message says which. There is no backtrace, as the interpreter keeps none. The
/// instance may be called again, in whatever state the trap left it. `LIMIT` if the fuel is used up: the call is
/// lost, and later ones need `realm_wasm_add_fuel`. What a host function ended the call with. `INVALID_ARGUMENT`
/// for other arguments or counts than the function has. `STATE` from a host function of this instance or one that is
/// linked with it. `NOT_FOUND`, `NO_MEMORY`.
///
/// # Safety
/// `instance` is live; the arrays are as long as their counts say, or NULL with 0; `error` is NULL or points to a
/// `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_wasm_call(
    instance: *const realm_wasm_instance,
    function: u32,
    args: *const realm_wasm_value,
    arg_count: usize,
    results: *mut realm_wasm_value,
    result_count: usize,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // What is called keeps its own hold: a host function may destroy the handle.
        // SAFETY: the caller's promise.
        let callable = unsafe { instance_ref(instance) }?.callable(function)?;
        check_room(results, result_count, "results")?;
        // SAFETY: the caller's promise.
        let given = unsafe { slice(args, arg_count, "args") }?;
        if given.len() > MAX_VALUES || result_count > MAX_VALUES {
            bail!(
                InvalidArgument,
                "{arg_count} arguments and {result_count} results; {MAX_VALUES} are possible"
            );
        }
        let mut vals: [Val; MAX_VALUES] = array::from_fn(|_| Val::default_for_ty(ValType::I32));
        let mut outs: [Val; MAX_VALUES] = array::from_fn(|_| Val::default_for_ty(ValType::I32));
        for (i, (to, from)) in vals.iter_mut().zip(given).enumerate() {
            *to = from_c(from).ok_or_else(|| {
                err!(
                    InvalidArgument,
                    "argument {i} has the unknown type {}, expected REALM_WASM_I32, _I64, _F32 or _F64 (1 to 4)",
                    from.r#type
                )
            })?;
        }
        let vals = vals.get(..given.len()).unwrap_or_default();
        let outs = outs.get_mut(..result_count).unwrap_or_default();
        callable.call(vals, outs)?;
        let Some(converted) = all_to_c(outs) else {
            bail!(Unsupported, "the function returns what is not a number");
        };
        if result_count > 0 {
            // SAFETY: not NULL and room for them, as checked; the source is ours.
            unsafe { ptr::copy_nonoverlapping(converted.as_ptr(), results, result_count) };
        }
        Ok(())
    })
}
