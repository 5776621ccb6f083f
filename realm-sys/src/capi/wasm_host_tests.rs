//! Modules of the application's own: host functions, threads, instances that are linked.

use super::error::*;
use super::wasm::state::*;
use super::wasm::*;
use super::wasm_tests::*;
use core::ffi::{CStr, c_void};
use core::{mem, ptr};
use std::string::String;

/// What a host function of the tests does, in Rust.
type Body = dyn Fn(Handle, &[realm_wasm_value], *mut realm_wasm_value) -> i32;

unsafe extern "C" fn trampoline(
    ctx: *mut c_void,
    caller: Handle,
    args: *const realm_wasm_value,
    results: *mut realm_wasm_value,
) -> i32 {
    // SAFETY: `ctx` is a `Host`, and every host function of these tests has at least one argument.
    unsafe {
        let host = &*ctx.cast::<Host>();
        (host.body)(caller, core::slice::from_raw_parts(args, 1), results)
    }
}

pub(super) struct Host {
    body: std::boxed::Box<Body>,
}

fn import(host: &Host, signature: &'static CStr) -> realm_wasm_import {
    realm_wasm_import {
        module: c"env".as_ptr(),
        name: c"host".as_ptr(),
        signature: signature.as_ptr(),
        call: Some(trampoline),
        ctx: ptr::from_ref(host).cast_mut().cast(),
    }
}

pub(super) fn host(
    body: impl Fn(Handle, &[realm_wasm_value], *mut realm_wasm_value) -> i32 + 'static,
) -> Host {
    Host {
        body: std::boxed::Box::new(body),
    }
}

/// An instance of `wat`, which imports `env.host`.
pub(super) fn hosted(
    wat: &str,
    host: &Host,
    signature: &'static CStr,
) -> Result<Made, (i32, String)> {
    let imports = [import(host, signature)];
    let mut options = options();
    options.imports = imports.as_ptr();
    options.import_count = 1;
    create(&load(wat), &options)
}

pub(super) const ASK: &str = r#"(module (import "env" "host" (func $host (param i32) (result i32)))
    (memory (export "memory") 1 3)
    (func (export "ask") (param i32) (result i32) (call $host (local.get 0)))
    (func (export "grown") (param i32) (result i32)
        (drop (call $host (local.get 0)))
        (i32.store (i32.const 65536) (i32.const 77))
        (i32.load (i32.const 65536))))"#;

#[test]
fn a_host_function_has_arguments_results_and_the_callers_memory() {
    let host = host(|caller, args, results| {
        // SAFETY: `i(i)`.
        unsafe {
            (*results).of.i32 = args[0].of.i32 * 2;
        }
        write(caller, 8, b"hello").unwrap();
        assert_eq!(read(caller, 8, 5).unwrap(), b"hello");
        assert_eq!(
            status(read(caller, 65_536, 1)),
            REALM_STATUS_INVALID_ARGUMENT
        );
        // A destroy of the caller is ignored.
        // SAFETY: the handle is live.
        unsafe { realm_wasm_instance_destroy(caller) };
        assert_eq!(size(caller), Ok(65_536));
        0
    });
    let made = hosted(ASK, &host, c"i(i)").unwrap();
    assert_eq!(call(made.0, "ask", &[21], 1), Ok(42));
    assert_eq!(read(made.0, 8, 5).unwrap(), b"hello");
    let (s, text) = hosted(ASK, &host, c"v(i)").err().unwrap();
    assert!(
        s == REALM_STATUS_FORMAT && text.contains("i(i)") && text.contains("v(i)"),
        "{text}"
    );
    let (s, text) = create(&load(ASK), &options()).err().unwrap();
    assert!(
        s == REALM_STATUS_NOT_FOUND && text.contains("env.host"),
        "{text}"
    );
}

#[test]
fn memory_that_a_host_function_grows_is_there_at_once() {
    let host = host(|caller, _, _| {
        // SAFETY: valid arguments.
        unsafe { realm_wasm_memory_grow(caller, 1, ptr::null_mut(), ptr::null_mut()) }
    });
    let made = hosted(ASK, &host, c"i(i)").unwrap();
    assert_eq!(call(made.0, "grown", &[0], 1), Ok(77));
    assert_eq!(read(made.0, 65_536, 1).unwrap(), [77]);
}

#[test]
fn a_host_function_ends_the_call_with_its_status() {
    let host = host(|_, args, results| {
        // SAFETY: `i(i)`.
        unsafe {
            if args[0].of.i32 == 7 {
                (*results).r#type = REALM_WASM_F64;
                return 0;
            }
            args[0].of.i32
        }
    });
    let made = hosted(ASK, &host, c"i(i)").unwrap();
    let (s, text) = call(made.0, "ask", &[REALM_STATUS_IO], 1).unwrap_err();
    assert!(s == REALM_STATUS_IO && text.contains("env.host"), "{text}");
    let (s, text) = call(made.0, "ask", &[1234], 1).unwrap_err();
    assert!(s == REALM_STATUS_GUEST && text.contains("1234"), "{text}");
    let (s, text) = call(made.0, "ask", &[7], 1).unwrap_err();
    assert!(s == REALM_STATUS_GUEST && text.contains("type"), "{text}");
    assert_eq!(call(made.0, "ask", &[0], 1), Ok(0));
}

#[test]
fn a_host_function_may_not_go_back_in() {
    use std::sync::atomic::{AtomicPtr, Ordering::SeqCst};
    static OWN: AtomicPtr<realm_wasm_instance> = AtomicPtr::new(ptr::null_mut());
    let host = host(|caller, _, _| {
        let own = OWN.load(SeqCst);
        for handle in [own, caller] {
            assert_eq!(status(find(handle, "ask")), REALM_STATUS_STATE);
            // SAFETY: valid arguments.
            let s = unsafe {
                realm_wasm_call(
                    handle,
                    0,
                    i32s(&[1]).as_ptr(),
                    1,
                    i32s(&[0]).as_mut_ptr(),
                    1,
                    ptr::null_mut(),
                )
            };
            assert_eq!(s, REALM_STATUS_STATE);
            let peers = [realm_wasm_peer {
                name: c"x".as_ptr(),
                instance: handle,
            }];
            let mut linked = options();
            linked.peers = peers.as_ptr();
            linked.peer_count = 1;
            assert_ne!(status(create(&load("(module)"), &linked)), 0);
            assert_eq!(size(handle), Ok(65_536));
            // SAFETY: valid arguments.
            let s = unsafe { realm_wasm_add_fuel(handle, 1, ptr::null_mut()) };
            assert_eq!(s, 0);
        }
        // An instance that has nothing to do with it may be called.
        let other = create(&load(PLAIN), &options()).unwrap();
        assert_eq!(call(other.0, "add", &[1, 2], 1), Ok(3));
        // And the handle may be destroyed under the call.
        // SAFETY: not used again.
        unsafe { realm_wasm_instance_destroy(own) };
        assert_eq!(size(caller), Ok(65_536));
        0
    });
    let made = hosted(ASK, &host, c"i(i)").unwrap();
    OWN.store(made.0, SeqCst);
    assert_eq!(call(made.0, "ask", &[1], 1), Ok(0));
    mem::forget(made);
}

#[test]
fn threads_share_a_module() {
    /// A handle that other threads may use, which the header allows for modules.
    struct Shared(Module);
    // SAFETY: modules may be used from any thread.
    unsafe impl Sync for Shared {}
    impl Shared {
        fn module(&self) -> &Module {
            &self.0
        }
    }
    let shared = Shared(load(PLAIN));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shared = &shared;
            scope.spawn(move || {
                for i in 0..50 {
                    let made = create(shared.module(), &options()).unwrap();
                    assert_eq!(call(made.0, "add", &[thread, i], 1), Ok(thread + i));
                    // And others are loaded beside it meanwhile.
                    let mut beside = module_options();
                    beside.beside = shared.module().0;
                    drop(load_with(LIBRARY, &beside).unwrap());
                }
            });
        }
    });
}

/// Two modules that can be linked.
fn family(wats: [&str; 2]) -> (Module, Module) {
    let first = load(wats[0]);
    let mut beside = module_options();
    beside.beside = first.0;
    let second = load_with(wats[1], &beside).unwrap();
    (first, second)
}

fn linked(module: &Module, name: &CStr, peer: &Made) -> Result<Made, (i32, String)> {
    let peers = [realm_wasm_peer {
        name: name.as_ptr(),
        instance: peer.0,
    }];
    let mut options = options();
    options.peers = peers.as_ptr();
    options.peer_count = 1;
    create(module, &options)
}

const LIBRARY: &str = r#"(module (memory (export "memory") 1) (table (export "table") 4 funcref)
    (type $f (func (result i32)))
    (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "at") (param i32) (result i32) (call_indirect (type $f) (local.get 0))))"#;

#[test]
fn instances_share_what_they_export() {
    let (first, second) = family([
        LIBRARY,
        r#"(module (import "lib" "memory" (memory 1)) (import "lib" "peek" (func $peek (param i32) (result i32)))
            (func (export "poke") (param i32 i32) (result i32)
                (i32.store8 (local.get 0) (local.get 1)) (call $peek (local.get 0))))"#,
    ]);
    let library = create(&first, &options()).unwrap();
    let user = linked(&second, c"lib", &library).unwrap();
    assert_eq!(call(user.0, "poke", &[3, 44], 1), Ok(44));
    assert_eq!(read(library.0, 3, 1).unwrap(), [44]);
    assert_eq!(status(size(user.0)), REALM_STATUS_NOT_FOUND); // It imports a memory and exports none.
    // Handles and modules may go in any order.
    drop((first, second, library));
    assert_eq!(call(user.0, "poke", &[3, 45], 1), Ok(45));
}

#[test]
fn an_instance_that_cannot_be_made_leaves_nothing_behind() {
    let (first, second) = family([
        LIBRARY,
        r#"(module (import "lib" "memory" (memory 1)) (import "lib" "table" (table 4 funcref))
            (func $f (result i32) (i32.const 1)) (elem (i32.const 0) $f)
            (data (i32.const 0) "written") (data (i32.const 65535) "too long"))"#,
    ]);
    let library = create(&first, &options()).unwrap();
    let (s, text) = linked(&second, c"lib", &library).err().unwrap();
    assert!(
        s == REALM_STATUS_FORMAT && text.contains("data segment does not fit"),
        "{text}"
    );
    assert_eq!(read(library.0, 0, 7).unwrap(), [0; 7]);
    let (s, text) = call(library.0, "at", &[0], 1).unwrap_err();
    assert!(
        s == REALM_STATUS_GUEST && text.contains("uninitialized"),
        "{text}"
    );
}

#[test]
fn only_what_belongs_together_is_linked() {
    let user = r#"(module (import "lib" "peek" (func (param i32) (result i32))))"#;
    let (first, second) = family([LIBRARY, user]);
    let library = create(&first, &options()).unwrap();
    assert_eq!(
        status(linked(&load(user), c"lib", &library)),
        REALM_STATUS_INVALID_ARGUMENT
    );
    assert_eq!(
        status(linked(&second, c"other", &library)),
        REALM_STATUS_NOT_FOUND
    );
    let other = create(&first, &options()).unwrap();
    let peers = [&library, &other].map(|i| realm_wasm_peer {
        name: c"lib".as_ptr(),
        instance: i.0,
    });
    let mut options = options();
    options.peers = peers.as_ptr();
    options.peer_count = 2;
    assert_eq!(
        status(create(&second, &options)),
        REALM_STATUS_INVALID_ARGUMENT
    );
    options.peer_count = 1;
    options.fuel = 1;
    assert_eq!(
        status(create(&second, &options)),
        REALM_STATUS_INVALID_ARGUMENT
    );
    options.fuel = 0;
    assert!(create(&second, &options).is_ok());
    let wrong = r#"(module (import "lib" "peek" (func (param i64))))"#;
    let mut beside = module_options();
    beside.beside = first.0;
    let wrong = load_with(wrong, &beside).unwrap();
    assert_eq!(
        status(linked(&wrong, c"lib", &library)),
        REALM_STATUS_FORMAT
    );
    beside.flags = REALM_WASM_ONLY_1_1;
    assert_eq!(
        status(load_with(user, &beside)),
        REALM_STATUS_INVALID_ARGUMENT
    );
}
