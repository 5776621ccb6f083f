//! Any bytes as a module of the application's own: loaded, instantiated with a host function for every import that can have one,
//! every export called, within limits and fuel.
//!
//! The first byte chooses limits; an odd one has the rest make a valid module (wasm-smith), an even one takes it as it is.

use crate::world::{checked, init};
use realm_sys::capi::error::*;
use realm_sys::capi::wasm::state::*;
use realm_sys::capi::wasm::*;
use std::ffi::{CString, c_void};
use std::ptr::{null, null_mut};
use wasm_smith::{Config, Module};

const MEMORY_LIMIT: u64 = 4 << 20;

fn config() -> Config {
    Config {
        max_memories: 1,
        max_memory32_bytes: 1 << 22,
        max_imports: 6,
        max_funcs: 12,
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        tail_call_enabled: true,
        simd_enabled: false,
        relaxed_simd_enabled: false,
        memory64_enabled: false,
        threads_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        multi_value_enabled: true,
        allow_start_export: true,
        export_everything: true,
        ..Config::default()
    }
}

/// Does to its caller what a host function may, and what it may not.
unsafe extern "C" fn host(
    ctx: *mut c_void,
    caller: *mut realm_wasm_instance,
    _: *const realm_wasm_value,
    _: *mut realm_wasm_value,
) -> i32 {
    let (mut bytes, mut fuel, mut function) = (0, 0, 0);
    let mut room = [0_u8; 16];
    // SAFETY: `ctx` is a count of calls; the caller is live while this runs.
    unsafe {
        let calls = &mut *ctx.cast::<u32>();
        *calls += 1;
        checked(|e| realm_wasm_memory_size(caller, &mut bytes, e));
        checked(|e| {
            realm_wasm_memory_read(
                caller,
                bytes.wrapping_sub(8),
                room.as_mut_ptr().cast(),
                16,
                e,
            )
        });
        checked(|e| realm_wasm_memory_grow(caller, u64::from(*calls % 3), null_mut(), e));
        assert_eq!(checked(|e| realm_wasm_fuel(caller, &mut fuel, e)), 0);
        let name = b"f".as_ptr().cast();
        assert_eq!(
            checked(|e| realm_wasm_find(caller, name, 1, &mut function, e)),
            REALM_STATUS_STATE
        );
        realm_wasm_instance_destroy(caller);
        if *calls % 5 == 0 {
            [7, -3, -77][*calls as usize % 3]
        } else {
            0
        }
    }
}

/// Host functions for what a module imports, as far as the parser can say: names and signatures.
struct Imports {
    texts: Vec<[CString; 3]>,
}

impl Imports {
    fn of(wasm: &[u8]) -> Self {
        let mut texts = Vec::new();
        let engine = wasmi::Engine::default();
        if let Ok(module) = wasmi::Module::new(&engine, wasm) {
            for import in module.imports() {
                let wasmi::ExternType::Func(ty) = import.ty() else {
                    continue;
                };
                let signature = realm_sys::wasm::signature::Text(ty).to_string();
                let all = [import.module(), import.name(), &signature].map(CString::new);
                if let [Ok(a), Ok(b), Ok(c)] = all {
                    texts.push([a, b, c]);
                }
            }
        }
        Self { texts }
    }

    fn list(&self, calls: *mut u32) -> Vec<realm_wasm_import> {
        let one = |t: &[CString; 3]| realm_wasm_import {
            module: t[0].as_ptr(),
            name: t[1].as_ptr(),
            signature: t[2].as_ptr(),
            call: Some(host),
            ctx: calls.cast(),
        };
        self.texts.iter().map(one).collect()
    }
}

fn value(letter: u8) -> realm_wasm_value {
    let (r#type, bits) = match letter {
        b'i' => (REALM_WASM_I32, 7),
        b'I' => (REALM_WASM_I64, -1),
        b'f' => (REALM_WASM_F32, 0x7fc0_0001),
        _ => (REALM_WASM_F64, 0x3ff0_0000_0000_0000),
    };
    realm_wasm_value {
        r#type,
        reserved: 0,
        of: realm_wasm_number { i64: bits },
    }
}

/// Calls the export of that number.
///
/// # Safety
/// `instance` is live.
unsafe fn call(instance: *mut realm_wasm_instance, number: u32) -> bool {
    let (mut text, mut bytes) = ([0_u8; 1100], 0);
    // SAFETY: the caller's promise.
    unsafe {
        let to = text.as_mut_ptr().cast();
        if checked(|e| realm_wasm_signature(instance, number, to, text.len(), &mut bytes, e)) != 0 {
            return bytes > text.len();
        }
        let text = &text[..bytes];
        let open = text.iter().position(|&c| c == b'(').expect("a signature");
        let results = if text[0] == b'v' { 0 } else { open };
        let args: Vec<_> = text[open + 1..bytes - 1]
            .iter()
            .map(|&c| value(c))
            .collect();
        let mut out = vec![value(b'i'); results];
        checked(|e| {
            realm_wasm_call(
                instance,
                number,
                args.as_ptr(),
                args.len(),
                out.as_mut_ptr(),
                results,
                e,
            )
        });
    }
    true
}

/// One input.
pub fn run(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let made;
    let wasm = if choice & 1 == 0 {
        rest
    } else {
        let mut bytes = arbitrary::Unstructured::new(rest);
        match Module::new(config(), &mut bytes) {
            Ok(module) => made = module.to_bytes(),
            Err(_) => return,
        }
        &made
    };
    let mut options: realm_wasm_module_options = init();
    options.max_stack_bytes = if choice & 2 == 0 { 0 } else { 4096 };
    options.max_call_depth = if choice & 4 == 0 { 0 } else { 8 };
    options.flags = u32::from(choice >> 3 & 1);
    let (mut module, mut instance, mut other) = (null_mut(), null_mut(), null_mut());
    let mut calls = 0;
    // SAFETY: valid pointers; handles come from the library and are given back once.
    unsafe {
        let (p, n) = (wasm.as_ptr().cast(), wasm.len());
        if checked(|e| realm_wasm_module_load(p, n, &options, &mut module, e)) != 0 {
            return;
        }
        let imports = Imports::of(wasm);
        let list = imports.list(&mut calls);
        let mut options: realm_wasm_options = init();
        options.imports = list.as_ptr();
        options.import_count = list.len();
        options.fuel = 300_000;
        options.max_memory_bytes = MEMORY_LIMIT;
        options.max_table_elements = 1000;
        if checked(|e| realm_wasm_instance_create(module, &options, &mut instance, e)) == 0 {
            // One that is linked with it, if it can be.
            let peer = realm_wasm_peer {
                name: c"env".as_ptr(),
                instance,
            };
            let mut linked: realm_wasm_options = init();
            (linked.imports, linked.import_count) = (list.as_ptr(), list.len());
            (linked.peers, linked.peer_count) = (&peer, 1);
            checked(|e| realm_wasm_instance_create(module, &linked, &mut other, e));
            for number in 0..24 {
                if !call(instance, number) {
                    break;
                }
            }
            let (mut bytes, mut fuel) = (0, 0);
            if checked(|e| realm_wasm_memory_size(instance, &mut bytes, e)) == 0 {
                assert!(bytes <= MEMORY_LIMIT);
            }
            checked(|e| realm_wasm_fuel(instance, &mut fuel, e));
            assert!(fuel <= 300_000);
            checked(|e| realm_wasm_add_fuel(instance, 1000, e));
            call(instance, 0);
            let mut global = value(b'i');
            let name = b"g".as_ptr().cast();
            checked(|e| realm_wasm_global_get(instance, name, 1, &mut global, e));
        }
        realm_wasm_module_unload(module);
        realm_wasm_instance_destroy(instance);
        realm_wasm_instance_destroy(other);
        assert_eq!(
            checked(|e| realm_wasm_fuel(null(), &mut 0, e)),
            REALM_STATUS_INVALID_ARGUMENT
        );
    }
}
