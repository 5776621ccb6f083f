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
    family_with(0, wats)
}

fn family_with(flags: u32, wats: [&str; 2]) -> (Module, Module) {
    let mut beside = module_options();
    beside.flags = flags;
    let first = load_with(wats[0], &beside).unwrap();
    beside.flags = 0;
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

/// Writes to both that it shares before it comes to what does not fit.
const UNFIT: &str = r#"(module (import "lib" "memory" (memory 1)) (import "lib" "table" (table 4 funcref))
    (func $f (result i32) (i32.const 1)) (elem (i32.const 0) $f)
    (data (i32.const 0) "written") (data (i32.const 65535) "too long"))"#;

#[test]
fn in_version_1_1_an_instance_that_cannot_be_made_leaves_nothing_behind() {
    let (first, second) = family_with(REALM_WASM_ONLY_1_1, [LIBRARY, UNFIT]);
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
fn since_version_2_a_segment_that_does_not_fit_is_a_trap_behind_those_that_do() {
    let (first, second) = family([LIBRARY, UNFIT]);
    let library = create(&first, &options()).unwrap();
    let (s, text) = linked(&second, c"lib", &library).err().unwrap();
    assert!(
        s == REALM_STATUS_GUEST && text.contains("out of bounds memory access"),
        "{text}"
    );
    assert_eq!(read(library.0, 0, 8).unwrap(), *b"written\0");
    // Its function is there, though the instance never came to be.
    assert_eq!(call(library.0, "at", &[0], 1), Ok(1));
    let alone = r#"(module (memory 1) (data (i32.const 65535) "ab"))"#;
    assert_eq!(status(create(&load(alone), &options())), REALM_STATUS_GUEST);
    let alone = "(module (table 1 funcref) (elem (i32.const 1) 0) (func))";
    assert_eq!(status(create(&load(alone), &options())), REALM_STATUS_GUEST);
    let mut old = module_options();
    old.flags = REALM_WASM_ONLY_1_1;
    assert_eq!(
        status(create(&load_with(alone, &old).unwrap(), &options())),
        REALM_STATUS_FORMAT
    );
}

#[test]
fn segments_of_all_forms_are_written_to_what_is_shared() {
    let library = r#"(module (memory (export "memory") 1) (table (export "table") 9 funcref) (global (export "two") i32 (i32.const 2))
        (type $f (func (result i32)))
        (func (export "at") (param i32) (result i32) (call_indirect (type $f) (local.get 0))))"#;
    let user = r#"(module (import "lib" "memory" (memory 1)) (import "lib" "table" (table $t 9 funcref))
        (import "lib" "two" (global $two i32)) (table $own 3 funcref)
        (func $a (result i32) (i32.const 10)) (func $b (result i32) (i32.const 20)) (func $c (result i32) (i32.const 30))
        (elem (i32.const 0) $a $b)
        (elem (table $t) (global.get $two) func $c)
        (elem (table $t) (i32.add (global.get $two) (i32.const 1)) funcref (ref.func $a) (ref.null func) (item (ref.func $b)))
        (elem (table $own) (i32.const 1) funcref (ref.func $c))
        (elem $passive func $a) (elem declare func $b)
        (data (i32.const 7) "seven") (data $passive "passive") (data (global.get $two) "") (data (i32.const 65536) "")
        (func (export "own") (result i32) (call_indirect $own (result i32) (i32.const 1)))
        (func $start (table.init $t $passive (i32.const 8) (i32.const 0) (i32.const 1)) (data.drop $passive)
            (memory.init $late (i32.const 100) (i32.const 0) (i32.const 0)) (i32.store8 (i32.const 7) (i32.const 83)))
        (data $late (i32.const 20) "twenty")
        (start $start))"#;
    let (first, second) = family([library, user]);
    let library = create(&first, &options()).unwrap();
    let user = linked(&second, c"lib", &library).unwrap();
    assert_eq!(read(library.0, 6, 7).unwrap(), *b"\0Seven\0");
    assert_eq!(read(library.0, 20, 7).unwrap(), *b"twenty\0");
    for (at, value) in [(0, 10), (1, 20), (2, 30), (3, 10), (5, 20), (8, 10)] {
        assert_eq!(call(library.0, "at", &[at], 1), Ok(value), "{at}");
    }
    for nothing in [4, 6, 7] {
        assert!(call(library.0, "at", &[nothing], 1).is_err());
    }
    assert_eq!(call(user.0, "own", &[], 1), Ok(30));
    // What runs the segments is nobody's to call.
    assert_eq!(status(find(user.0, "s")), REALM_STATUS_NOT_FOUND);
    drop(library);
    assert_eq!(call(user.0, "own", &[], 1), Ok(30));
}

#[test]
fn more_segments_than_a_function_has_room_for_are_written_all_or_none() {
    let many = |last: &str| {
        let data = r#"(data (i32.const 9) "x")"#.repeat(9000);
        std::format!(r#"(module (import "lib" "memory" (memory 1)) {data} {last})"#)
    };
    for (last, fits) in [("", true), (r#"(data (i32.const 65536) "y")"#, false)] {
        let (first, second) = family([LIBRARY, &many(last)]);
        let library = create(&first, &options()).unwrap();
        let made = linked(&second, c"lib", &library);
        assert_eq!(made.is_ok(), fits);
        assert_eq!(
            read(library.0, 9, 1).unwrap()[0],
            if fits { b'x' } else { 0 }
        );
        if let Err((s, text)) = made {
            assert!(
                s == REALM_STATUS_GUEST && text.contains("out of bounds"),
                "{text}"
            );
        }
    }
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
