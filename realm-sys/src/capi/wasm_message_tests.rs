//! Modules of the application's own: what is said when something is refused. It names the option or argument, what that is, and what
//! would have been needed, in the words of `realm.h`.

use super::error::*;
use super::wasm::state::*;
use super::wasm::*;
use super::wasm_tests::{
    Made, Module, checked, create, find, load, load_with, module_options, options,
};
use core::cell::Cell;
use core::ffi::{CStr, c_char, c_void};
use core::{mem, ptr};
use std::string::String;
use std::vec::Vec;

/// The message of a failure.
fn said<T>(result: Result<T, (i32, String)>) -> String {
    match result {
        Ok(_) => panic!("it was taken"),
        Err((_, text)) => text,
    }
}

#[track_caller]
fn says<T>(result: Result<T, (i32, String)>, parts: &[&str]) {
    let text = said(result);
    for part in parts {
        assert!(text.contains(part), "'{text}' lacks '{part}'");
    }
    for word in ["Io", "resource limiter", "MemoryType", "Some(", "FuncType"] {
        assert!(!text.contains(word), "'{text}' is Rust's");
    }
}

#[test]
fn limits_are_named_with_their_values() {
    let mut limited = options();
    limited.max_memory_bytes = 65_536;
    limited.max_table_elements = 9;
    says(
        create(&load("(module (memory 2))"), &limited),
        &[
            "131072 bytes of memory",
            "65536 are left",
            "max_memory_bytes",
        ],
    );
    says(
        create(&load("(module (memory 1) (table 10 funcref))"), &limited),
        &["10 elements of tables", "9 are left", "max_table_elements"],
    );
    says(
        create(&load("(module (memory 257))"), &options()),
        &["16842752 bytes", "16777216"],
    );
    let grow = |wat: &str, pages| {
        let made = create(&load(wat), &limited).unwrap();
        // SAFETY: valid arguments.
        checked(|e| unsafe { realm_wasm_memory_grow(made.0, pages, ptr::null_mut(), e) })
    };
    let one = r#"(module (memory (export "memory") 1))"#;
    says(
        grow(one, 1),
        &["65536 bytes", "0 are left", "max_memory_bytes"],
    );
    says(grow(one, 65_536), &["by 65536 pages", "has 1", "65536"]);
    says(
        grow(r#"(module (memory (export "memory") 1 3))"#, 3),
        &["by 3 pages", "has 1", "maximum is 3"],
    );
    let mut small = module_options();
    small.max_call_depth = 5;
    let made = create(
        &load_with(r#"(module (func $f (export "f") (call $f)))"#, &small).unwrap(),
        &options(),
    )
    .unwrap();
    says(
        call(&made, "f"),
        &["call stack exhausted", "max_stack_bytes", "max_call_depth"],
    );
    let base = load("(module)");
    small.beside = base.0;
    says(
        load_with("(module)", &small),
        &["max_stack_bytes", "max_call_depth", "flags"],
    );
    small.beside = ptr::null();
    small.flags = 64;
    says(
        load_with("(module)", &small),
        &["0x40", "REALM_WASM_ONLY_1_1", "REALM_WASM_TABLE_GROW"],
    );
}

/// Calls a function without parameters and results.
fn call(made: &Made, name: &str) -> Result<(), (i32, String)> {
    let function = find(made.0, name)?;
    // SAFETY: valid arguments.
    checked(|e| unsafe { realm_wasm_call(made.0, function, ptr::null(), 0, ptr::null_mut(), 0, e) })
}

#[test]
fn imports_of_another_type_are_described() {
    let base = load(
        r#"(module (memory (export "m") 1) (table (export "t") 3 4 funcref) (global (export "g") i32 (i32.const 1))
            (func (export "f") (param i32)))"#,
    );
    let made = create(&base, &options()).unwrap();
    let mut beside = module_options();
    beside.beside = base.0;
    let peer = realm_wasm_peer {
        name: c"p".as_ptr(),
        instance: made.0,
    };
    let mut linked = options();
    linked.peers = &raw const peer;
    linked.peer_count = 1;
    for (import, parts) in [
        (
            r#""p" "m" (memory 2 5)"#,
            [
                "'p.m'",
                "a memory of 2 to 5 pages",
                "a memory of 1 or more pages",
            ],
        ),
        (
            r#""p" "t" (table 9 funcref)"#,
            [
                "'p.t'",
                "a table of 9 or more funcref",
                "a table of 3 to 4 funcref",
            ],
        ),
        (
            r#""p" "g" (global (mut i64))"#,
            ["'p.g'", "a mutable global I", "a constant global i"],
        ),
        (
            r#""p" "f" (func (result f32))"#,
            ["'p.f'", "a function f()", "a function v(i)"],
        ),
        (
            r#""p" "f" (memory 1)"#,
            ["'p.f'", "a memory of 1 or more pages", "a function"],
        ),
        (r#""q" "x" (func)"#, ["'q.x'", "imports", "peers"]),
    ] {
        let module = load_with(&std::format!("(module (import {import}))"), &beside).unwrap();
        says(create(&module, &linked), &parts);
    }
    linked.fuel = 1;
    says(
        create(&load_with("(module)", &beside).unwrap(), &linked),
        &["fuel", "max_memory_bytes", "max_table_elements"],
    );
}

extern "C" fn give_back(
    ctx: *mut c_void,
    _: *mut realm_wasm_instance,
    _: *const realm_wasm_value,
    _: *mut realm_wasm_value,
) -> i32 {
    // SAFETY: points to a number, below.
    unsafe { *ctx.cast::<i32>() }
}

fn with_import(import: &realm_wasm_import) -> Result<(), (i32, String)> {
    let module = load(r#"(module (import "env" "f" (func)) (func (export "run") (call 0)))"#);
    let mut given = options();
    let imports = [*import, *import];
    (given.imports, given.import_count) = (imports.as_ptr(), 2);
    call(&create(&module, &given)?, "run")
}

#[test]
fn host_functions_are_named_and_their_statuses_are_those_of_the_header() {
    let code = Cell::new(0);
    let good = realm_wasm_import {
        module: c"env".as_ptr(),
        name: c"f".as_ptr(),
        signature: c"v()".as_ptr(),
        call: Some(give_back),
        ctx: code.as_ptr().cast(),
    };
    with_import(&good).unwrap();
    for (returned, status, text) in [
        (REALM_STATUS_IO, REALM_STATUS_IO, "REALM_STATUS_IO"),
        (REALM_STATUS_LIMIT, REALM_STATUS_LIMIT, "REALM_STATUS_LIMIT"),
        (7, REALM_STATUS_GUEST, "returned 7"),
        (-99, REALM_STATUS_GUEST, "returned -99"),
    ] {
        code.set(returned);
        let failure = with_import(&good);
        assert_eq!(failure.as_ref().unwrap_err().0, status);
        says(failure, &["'env.f'", text]);
    }
    let long: Vec<u8> = [b'a'; 3000].into_iter().chain([0]).collect();
    let long: *const c_char = long.as_ptr().cast();
    let with = |change: &dyn Fn(&mut realm_wasm_import)| {
        let mut import = good;
        change(&mut import);
        with_import(&import)
    };
    says(
        with(&|i| i.module = ptr::null()),
        &["imports[0].module is NULL"],
    );
    says(
        with(&|i| i.name = ptr::null()),
        &["imports[0].name is NULL"],
    );
    says(with(&|i| i.call = None), &["imports[0].call is NULL"]);
    says(
        with(&|i| i.name = c"f\xff".as_ptr()),
        &["imports[0].name is not UTF-8 from byte 1 of 2 on"],
    );
    says(with(&|i| i.signature = long), &["aaaa...'", "parameters"]);
    says(
        with(&|i| i.signature = c"i()".as_ptr()),
        &["'env.f'", "as v()", "i()"],
    );
}

#[test]
fn what_is_no_module_that_is_run_is_said_to_be_so() {
    let bytes = |wasm: &[u8]| {
        let mut module = ptr::null_mut();
        // SAFETY: valid arguments.
        checked(|e| unsafe {
            realm_wasm_module_load(
                wasm.as_ptr().cast(),
                wasm.len(),
                ptr::null(),
                &raw mut module,
                e,
            )
        })
        .map(|()| Module(module))
    };
    says(bytes(b"MZ"), &["not a WebAssembly module"]);
    says(bytes(b"\0asm\x0d\0\x01\0"), &["a WebAssembly component"]);
    says(
        load_with("(module (memory i64 1))", &module_options()),
        &["not among the WebAssembly that is run", "memory64"],
    );
    let made = create(
        &load(
            r#"(module (table 1 funcref) (global (export "c") i32 (i32.const 1)) (global (export "m") (mut i32) (i32.const 1))
                (func (export "f") (call_indirect (i32.const 0))))"#,
        ),
        &options(),
    )
    .unwrap();
    let text = said(call(&made, "f"));
    assert!(text.contains("uninitialized element:"), "{text}");
    let set = |name: &CStr, r#type| {
        // SAFETY: zeros are valid.
        let mut value: realm_wasm_value = unsafe { mem::zeroed() };
        value.r#type = r#type;
        let bytes = name.to_bytes();
        // SAFETY: valid arguments.
        checked(|e| unsafe {
            realm_wasm_global_set(
                made.0,
                bytes.as_ptr().cast(),
                bytes.len(),
                &raw const value,
                e,
            )
        })
    };
    says(set(c"c", REALM_WASM_I32), &["'c' is constant"]);
    says(set(c"m", REALM_WASM_F64), &["'m'", "the type i", "of F"]);
    says(set(c"m", 9), &["type 9", "REALM_WASM_I32"]);
}
