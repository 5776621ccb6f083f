//! Modules of the application's own: calls, globals, memory, limits, traps, and wrong arguments.

use super::error::*;
use super::wasm::state::*;
use super::wasm::*;
use crate::platform::REALM_ABI_VERSION;
use core::ffi::{CStr, c_char};
use core::{mem, ptr};
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

pub(super) type Handle = *mut realm_wasm_instance;

pub(super) fn checked(call: impl FnOnce(*mut realm_error) -> i32) -> Result<(), (i32, String)> {
    let mut error = realm_error {
        status: 0,
        message: [0; 252],
    };
    let status = call(&raw mut error);
    // SAFETY: terminated by the library, or empty.
    let text = unsafe { CStr::from_ptr(error.message.as_ptr()) };
    match status {
        0 => Ok(()),
        status => Err((status, text.to_string_lossy().to_string())),
    }
}

pub(super) fn module_options() -> realm_wasm_module_options {
    // SAFETY: zeros are valid.
    let mut options: realm_wasm_module_options = unsafe { mem::zeroed() };
    options.struct_size = size_of::<realm_wasm_module_options>() as u32;
    options.abi_version = REALM_ABI_VERSION;
    options
}

pub(super) fn options() -> realm_wasm_options {
    // SAFETY: zeros are valid.
    let mut options: realm_wasm_options = unsafe { mem::zeroed() };
    options.struct_size = size_of::<realm_wasm_options>() as u32;
    options.abi_version = REALM_ABI_VERSION;
    options
}

/// A module, unloaded at the end.
pub(super) struct Module(pub(super) *mut realm_wasm_module);

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: made by the API.
        unsafe { realm_wasm_module_unload(self.0) }
    }
}

pub(super) fn load_with(
    wat: &str,
    options: &realm_wasm_module_options,
) -> Result<Module, (i32, String)> {
    let wasm = wat::parse_str(wat).unwrap();
    let mut module = ptr::null_mut();
    // SAFETY: valid arguments.
    checked(|e| unsafe {
        realm_wasm_module_load(
            wasm.as_ptr().cast(),
            wasm.len(),
            options,
            &raw mut module,
            e,
        )
    })?;
    Ok(Module(module))
}

pub(super) fn load(wat: &str) -> Module {
    load_with(wat, &module_options()).unwrap()
}

/// An instance, destroyed at the end.
pub(super) struct Made(pub(super) Handle);

impl Drop for Made {
    fn drop(&mut self) {
        // SAFETY: made by the API.
        unsafe { realm_wasm_instance_destroy(self.0) }
    }
}

pub(super) fn create(module: &Module, options: &realm_wasm_options) -> Result<Made, (i32, String)> {
    let mut instance = ptr::null_mut();
    // SAFETY: valid arguments.
    checked(|e| unsafe { realm_wasm_instance_create(module.0, options, &raw mut instance, e) })?;
    Ok(Made(instance))
}

pub(super) fn i32s(values: &[i32]) -> Vec<realm_wasm_value> {
    let one = |v: &i32| realm_wasm_value {
        r#type: REALM_WASM_I32,
        reserved: 0,
        of: realm_wasm_number { i32: *v },
    };
    values.iter().map(one).collect()
}

pub(super) fn find(instance: Handle, name: &str) -> Result<u32, (i32, String)> {
    let mut function = 0;
    // SAFETY: valid arguments.
    checked(|e| unsafe {
        realm_wasm_find(
            instance,
            name.as_ptr().cast(),
            name.len(),
            &raw mut function,
            e,
        )
    })?;
    Ok(function)
}

/// Calls a function of 32-bit integers with at most one result.
pub(super) fn call(
    instance: Handle,
    name: &str,
    args: &[i32],
    results: usize,
) -> Result<i32, (i32, String)> {
    let function = find(instance, name)?;
    let args = i32s(args);
    let mut result = i32s(&[0]);
    // SAFETY: valid arguments.
    checked(|e| unsafe {
        let out = result.as_mut_ptr();
        realm_wasm_call(
            instance,
            function,
            args.as_ptr(),
            args.len(),
            out,
            results,
            e,
        )
    })?;
    // SAFETY: an i32, or as it was.
    Ok(unsafe { result[0].of.i32 })
}

pub(super) fn size(instance: Handle) -> Result<u64, (i32, String)> {
    let mut bytes = 0;
    // SAFETY: valid arguments.
    checked(|e| unsafe { realm_wasm_memory_size(instance, &raw mut bytes, e) })?;
    Ok(bytes)
}

pub(super) fn read(instance: Handle, offset: u64, bytes: usize) -> Result<Vec<u8>, (i32, String)> {
    let mut data = vec![0_u8; bytes];
    // SAFETY: valid arguments.
    checked(|e| unsafe {
        realm_wasm_memory_read(instance, offset, data.as_mut_ptr().cast(), bytes, e)
    })?;
    Ok(data)
}

pub(super) fn write(instance: Handle, offset: u64, data: &[u8]) -> Result<(), (i32, String)> {
    // SAFETY: valid arguments.
    checked(|e| unsafe {
        realm_wasm_memory_write(instance, offset, data.as_ptr().cast(), data.len(), e)
    })
}

pub(super) fn status<T>(r: Result<T, (i32, String)>) -> i32 {
    r.err().map_or(0, |e| e.0)
}

pub(super) const PLAIN: &str = r#"(module
    (memory (export "mem") 1 4)
    (global (export "fixed") i64 (i64.const -5))
    (global (export "count") (mut f32) (f32.const 1.5))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "swap") (param i64 f64) (result f64 i64) (local.get 1) (local.get 0))
    (func (export "ref") (param funcref))
    (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
    (func (export "spin") (loop (br 0)))
    (func $down (export "deep") (call $down))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;

#[test]
fn functions_are_found_and_called_with_values() {
    let module = load(PLAIN);
    let made = create(&module, &options()).unwrap();
    drop(module); // Instances go on.
    assert_eq!(call(made.0, "add", &[40, 2], 1), Ok(42));
    let swap = find(made.0, "swap").unwrap();
    let mut text = [0 as c_char; 16];
    let mut bytes = 0;
    // SAFETY: valid arguments.
    unsafe {
        let e = ptr::null_mut();
        let small = realm_wasm_signature(made.0, swap, ptr::null_mut(), 0, &raw mut bytes, e);
        assert_eq!((small, bytes), (REALM_STATUS_BUFFER_TOO_SMALL, 6));
        assert_eq!(
            realm_wasm_signature(made.0, swap, text.as_mut_ptr(), 16, &raw mut bytes, e),
            0
        );
        assert_eq!(CStr::from_ptr(text.as_ptr()), c"FI(IF)");
        // Arguments and results in one array.
        let mut both = [
            realm_wasm_value {
                r#type: REALM_WASM_I64,
                reserved: 0,
                of: realm_wasm_number { i64: -3 },
            },
            realm_wasm_value {
                r#type: REALM_WASM_F64,
                reserved: 0,
                of: realm_wasm_number { f64: 0.25 },
            },
        ];
        let p = both.as_mut_ptr();
        assert_eq!(realm_wasm_call(made.0, swap, p, 2, p, 2, e), 0);
        assert_eq!((both[0].r#type, both[0].of.f64), (REALM_WASM_F64, 0.25));
        assert_eq!((both[1].r#type, both[1].of.i64), (REALM_WASM_I64, -3));
    }
    let add = find(made.0, "add").unwrap();
    for (types, results) in [
        (vec![1], 1),
        (vec![1, 2], 1),
        (vec![1, 9], 1),
        (vec![1, 1], 0),
        (vec![1; 40], 1),
    ] {
        let mut args = i32s(&vec![0; types.len()]);
        args.iter_mut().zip(&types).for_each(|(a, t)| a.r#type = *t);
        let mut out = i32s(&[5]);
        let (n, o) = (args.len(), out.as_mut_ptr());
        // SAFETY: valid pointers.
        let s =
            unsafe { realm_wasm_call(made.0, add, args.as_ptr(), n, o, results, ptr::null_mut()) };
        assert_eq!(s, REALM_STATUS_INVALID_ARGUMENT, "{types:?}");
        // SAFETY: an i32.
        assert_eq!(unsafe { out[0].of.i32 }, 5);
    }
    assert_eq!(status(find(made.0, "ref")), REALM_STATUS_UNSUPPORTED);
    assert_eq!(status(find(made.0, "count")), REALM_STATUS_NOT_FOUND);
    let (s, text) = find(made.0, "nothing").unwrap_err();
    assert!(s == REALM_STATUS_NOT_FOUND && text.contains("nothing"));
    // SAFETY: a wrong number.
    let s = unsafe {
        realm_wasm_call(
            made.0,
            99,
            ptr::null(),
            0,
            ptr::null_mut(),
            0,
            ptr::null_mut(),
        )
    };
    assert_eq!(s, REALM_STATUS_NOT_FOUND);
}

#[test]
fn globals_are_read_and_written() {
    let made = create(&load(PLAIN), &options()).unwrap();
    let get = |name: &str| {
        let mut value = i32s(&[0])[0];
        // SAFETY: valid arguments.
        let s = unsafe {
            realm_wasm_global_get(
                made.0,
                name.as_ptr().cast(),
                name.len(),
                &raw mut value,
                ptr::null_mut(),
            )
        };
        (s, value)
    };
    let set = |name: &str, value: realm_wasm_value| {
        // SAFETY: valid arguments.
        unsafe {
            realm_wasm_global_set(
                made.0,
                name.as_ptr().cast(),
                name.len(),
                &raw const value,
                ptr::null_mut(),
            )
        }
    };
    let (s, v) = get("fixed");
    // SAFETY: the type says i64.
    assert_eq!((s, v.r#type, unsafe { v.of.i64 }), (0, REALM_WASM_I64, -5));
    let float = |f| realm_wasm_value {
        r#type: REALM_WASM_F32,
        reserved: 0,
        of: realm_wasm_number { f32: f },
    };
    assert_eq!(set("count", float(2.5)), 0);
    // SAFETY: the type says f32.
    assert_eq!(unsafe { get("count").1.of.f32 }, 2.5);
    assert_eq!(set("count", i32s(&[1])[0]), REALM_STATUS_INVALID_ARGUMENT);
    assert_eq!(set("fixed", float(1.0)), REALM_STATUS_INVALID_ARGUMENT);
    assert_eq!(set("add", float(1.0)), REALM_STATUS_NOT_FOUND);
    assert_eq!(get("mem").0, REALM_STATUS_NOT_FOUND);
}

#[test]
fn memory_is_reached_within_its_bounds() {
    // The first exported memory, whatever it is called.
    let made = create(&load(PLAIN), &options()).unwrap();
    assert_eq!(size(made.0), Ok(65_536));
    write(made.0, 65_530, b"abcdef").unwrap();
    assert_eq!(read(made.0, 65_530, 6).unwrap(), b"abcdef");
    assert_eq!(read(made.0, 65_536, 0).unwrap(), b"");
    for (offset, bytes) in [
        (65_531, 6),
        (65_536, 1),
        (65_537, 0),
        (u64::MAX, 1),
        (u64::MAX, 0),
        (1 << 32, 1),
    ] {
        assert_eq!(
            status(read(made.0, offset, bytes)),
            REALM_STATUS_INVALID_ARGUMENT,
            "{offset}"
        );
        assert_eq!(
            status(write(made.0, offset, &vec![0; bytes])),
            REALM_STATUS_INVALID_ARGUMENT
        );
    }
    assert_eq!(read(made.0, 65_530, 6).unwrap(), b"abcdef");
    let mut old = 0;
    let grow = |pages, old| {
        // SAFETY: valid arguments.
        unsafe { realm_wasm_memory_grow(made.0, pages, old, ptr::null_mut()) }
    };
    assert_eq!((grow(2, &raw mut old), old), (0, 65_536));
    assert_eq!(size(made.0), Ok(3 * 65_536));
    assert_eq!(grow(2, ptr::null_mut()), REALM_STATUS_LIMIT); // Its own maximum.
    assert_eq!(grow(u64::MAX, ptr::null_mut()), REALM_STATUS_LIMIT);
    assert_eq!(size(made.0), Ok(3 * 65_536));
    let none = create(&load("(module)"), &options()).unwrap();
    assert_eq!(status(size(none.0)), REALM_STATUS_NOT_FOUND);
}

#[test]
fn traps_are_errors_and_not_the_end() {
    let made = create(&load(PLAIN), &options()).unwrap();
    let (s, text) = call(made.0, "div", &[1, 0], 1).unwrap_err();
    assert!(
        s == REALM_STATUS_GUEST && text.contains("integer divide by zero"),
        "{text}"
    );
    let (s, text) = call(made.0, "deep", &[], 0).unwrap_err();
    assert!(
        s == REALM_STATUS_GUEST && text.contains("call stack exhausted"),
        "{text}"
    );
    assert_eq!(call(made.0, "div", &[6, 3], 1), Ok(2));
    let start = load("(module (func $f unreachable) (start $f))");
    let (s, text) = create(&start, &options()).err().unwrap();
    assert!(
        s == REALM_STATUS_GUEST && text.contains("unreachable"),
        "{text}"
    );
}

#[test]
fn fuel_ends_a_call_and_can_be_added() {
    let mut limited = options();
    limited.fuel = 10_000;
    let made = create(&load(PLAIN), &limited).unwrap();
    let fuel = || {
        let mut left = 0;
        // SAFETY: valid arguments.
        checked(|e| unsafe { realm_wasm_fuel(made.0, &raw mut left, e) }).unwrap();
        left
    };
    assert_eq!(fuel(), 10_000);
    let (s, text) = call(made.0, "spin", &[], 0).unwrap_err();
    assert!(s == REALM_STATUS_LIMIT && text.contains("fuel"), "{text}");
    assert!(fuel() < 100);
    // SAFETY: valid arguments.
    unsafe {
        assert_eq!(realm_wasm_add_fuel(made.0, 1000, ptr::null_mut()), 0);
        assert_eq!(call(made.0, "add", &[1, 1], 1), Ok(2));
        assert_eq!(realm_wasm_add_fuel(made.0, u64::MAX, ptr::null_mut()), 0);
    }
    assert_eq!(fuel(), u64::MAX);
}

#[test]
fn memory_and_tables_are_limited_together() {
    let mut limited = options();
    limited.max_memory_bytes = 3 * 65_536;
    let made = create(&load(PLAIN), &limited).unwrap();
    assert_eq!(call(made.0, "grow", &[3], 1), Ok(-1));
    assert_eq!(call(made.0, "grow", &[2], 1), Ok(1));
    assert_eq!(call(made.0, "grow", &[1], 1), Ok(-1));
    limited.max_memory_bytes = 65_535;
    assert_eq!(status(create(&load(PLAIN), &limited)), REALM_STATUS_LIMIT);
    limited.max_memory_bytes = 0;
    let tables = load("(module (table 10 funcref) (table 10 funcref))");
    limited.max_table_elements = 20;
    assert!(create(&tables, &limited).is_ok());
    limited.max_table_elements = 19;
    assert_eq!(status(create(&tables, &limited)), REALM_STATUS_LIMIT);
    let mut small = module_options();
    small.max_module_bytes = 20;
    assert_eq!(status(load_with(PLAIN, &small)), REALM_STATUS_LIMIT);
    small.max_module_bytes = 0;
    small.max_call_depth = 4;
    let recursive = r#"(module (func $f (export "f") (param i32) (result i32)
        (if (result i32) (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (i32.const 9)))))"#;
    let made = create(&load_with(recursive, &small).unwrap(), &options()).unwrap();
    assert_eq!(call(made.0, "f", &[2], 1), Ok(9));
    assert_eq!(status(call(made.0, "f", &[9], 1)), REALM_STATUS_GUEST);
    for bytes in [1, 4095, u64::MAX] {
        small.max_stack_bytes = bytes;
        assert_eq!(
            status(load_with(PLAIN, &small)),
            REALM_STATUS_INVALID_ARGUMENT
        );
    }
}

#[test]
fn bad_modules_are_refused() {
    let bytes = |wasm: &[u8]| {
        let mut module = ptr::null_mut();
        // SAFETY: valid arguments.
        let s = status(checked(|e| unsafe {
            realm_wasm_module_load(
                wasm.as_ptr().cast(),
                wasm.len(),
                ptr::null(),
                &raw mut module,
                e,
            )
        }));
        drop(Module(module));
        s
    };
    let good = wat::parse_str(PLAIN).unwrap();
    assert_eq!(bytes(&good), 0);
    // Cut anywhere: between two sections a prefix may be a module, so that only crashes would be seen there.
    let refused = (0..good.len())
        .filter(|n| bytes(&good[..*n]) == REALM_STATUS_FORMAT)
        .count();
    assert!(refused > good.len() / 2);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let s = bytes(&bad);
            assert!(s == 0 || s == REALM_STATUS_FORMAT, "{at}.{bit}: {s}");
        }
    }
    // Counts far beyond the bytes are no reason to ask for memory.
    assert_eq!(
        bytes(b"\0asm\x01\0\0\0\x03\x05\xff\xff\xff\xff\x0f"),
        REALM_STATUS_FORMAT
    );
    let mut only = module_options();
    only.flags = REALM_WASM_ONLY_1_1;
    let bulk =
        r#"(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))"#;
    assert!(load_with(bulk, &module_options()).is_ok());
    assert_eq!(status(load_with(bulk, &only)), REALM_STATUS_FORMAT);
    only.flags = 4;
    assert_eq!(
        status(load_with(bulk, &only)),
        REALM_STATUS_INVALID_ARGUMENT
    );
}

#[test]
fn nulls_are_refused() {
    let bad = REALM_STATUS_INVALID_ARGUMENT;
    let made = create(&load(PLAIN), &options()).unwrap();
    let module = load(PLAIN);
    let (e, name) = (ptr::null_mut(), c"add".as_ptr());
    let mut out = ptr::null_mut();
    let mut instance = ptr::null_mut();
    let value = i32s(&[1]);
    // SAFETY: NULL is what is tried; everything else is valid.
    unsafe {
        assert_eq!(
            realm_wasm_module_load(ptr::null(), 8, ptr::null(), &raw mut out, e),
            bad
        );
        assert_eq!(
            realm_wasm_module_load(ptr::null(), 0, ptr::null(), &raw mut out, e),
            REALM_STATUS_FORMAT
        );
        assert_eq!(
            realm_wasm_module_load(name.cast(), 3, ptr::null(), ptr::null_mut(), e),
            bad
        );
        assert_eq!(
            realm_wasm_instance_create(ptr::null(), ptr::null(), &raw mut instance, e),
            bad
        );
        assert_eq!(
            realm_wasm_instance_create(module.0, ptr::null(), ptr::null_mut(), e),
            bad
        );
        let mut o = options();
        o.import_count = 1;
        assert_eq!(
            realm_wasm_instance_create(module.0, &raw const o, &raw mut instance, e),
            bad
        );
        let empty: realm_wasm_import = mem::zeroed();
        o.imports = &raw const empty;
        assert_eq!(
            realm_wasm_instance_create(module.0, &raw const o, &raw mut instance, e),
            bad
        );
        let no_call = realm_wasm_import {
            module: name,
            name,
            signature: c"v()".as_ptr(),
            ..empty
        };
        o.imports = &raw const no_call;
        assert_eq!(
            realm_wasm_instance_create(module.0, &raw const o, &raw mut instance, e),
            bad
        );
        o.import_count = 0;
        o.peer_count = 1;
        assert_eq!(
            realm_wasm_instance_create(module.0, &raw const o, &raw mut instance, e),
            bad
        );
        let peer: realm_wasm_peer = mem::zeroed();
        o.peers = &raw const peer;
        assert_eq!(
            realm_wasm_instance_create(module.0, &raw const o, &raw mut instance, e),
            bad
        );
        o.peer_count = 0;
        o.next = name.cast();
        assert_eq!(
            realm_wasm_instance_create(module.0, &raw const o, &raw mut instance, e),
            REALM_STATUS_UNSUPPORTED
        );
        assert!(out.is_null() && instance.is_null());
        let (i, null) = (made.0, ptr::null_mut());
        assert_eq!(realm_wasm_find(ptr::null(), name, 3, &mut 0_u32, e), bad);
        assert_eq!(realm_wasm_find(i, ptr::null(), 3, &mut 0_u32, e), bad);
        assert_eq!(realm_wasm_find(i, name, 3, ptr::null_mut(), e), bad);
        assert_eq!(
            realm_wasm_signature(i, 0, ptr::null_mut(), 0, ptr::null_mut(), e),
            bad
        );
        let add = find(i, "add").unwrap();
        assert_eq!(
            realm_wasm_call(ptr::null(), add, value.as_ptr(), 1, ptr::null_mut(), 0, e),
            bad
        );
        assert_eq!(
            realm_wasm_call(i, add, ptr::null(), 2, ptr::null_mut(), 0, e),
            bad
        );
        assert_eq!(
            realm_wasm_call(i, add, value.as_ptr(), 1, ptr::null_mut(), 1, e),
            bad
        );
        assert_eq!(realm_wasm_global_get(i, name, 3, ptr::null_mut(), e), bad);
        assert_eq!(realm_wasm_global_set(i, name, 3, ptr::null(), e), bad);
        assert_eq!(realm_wasm_memory_size(i, ptr::null_mut(), e), bad);
        assert_eq!(realm_wasm_memory_size(null, &mut 0_u64, e), bad);
        assert_eq!(realm_wasm_memory_read(i, 0, ptr::null_mut(), 1, e), bad);
        assert_eq!(realm_wasm_memory_read(i, 0, ptr::null_mut(), 0, e), 0);
        assert_eq!(realm_wasm_memory_write(i, 0, ptr::null(), 1, e), bad);
        assert_eq!(realm_wasm_memory_grow(null, 1, ptr::null_mut(), e), bad);
        assert_eq!(realm_wasm_fuel(i, ptr::null_mut(), e), bad);
        assert_eq!(realm_wasm_add_fuel(null, 1, e), bad);
        realm_wasm_instance_destroy(ptr::null_mut());
        realm_wasm_module_unload(ptr::null_mut());
    }
}
