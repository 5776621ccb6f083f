//! What a module must look like to be loaded, and guests that mean harm.
//!
//! The helpers build small guests in WAT; `session::tests` uses them too.

use super::LoadedGuest;
use super::imports::SIGNATURES;
use crate::error::Status;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// All imports, by their names.
pub fn imports() -> String {
    let ty = |c: char| if c == 'I' { "i64" } else { "i32" };
    SIGNATURES
        .iter()
        .map(|(name, params, result)| {
            let params: String = params.chars().map(|c| format!(" {}", ty(c))).collect();
            let result: String = result.chars().map(ty).collect();
            format!(
                "(import \"realm\" \"{name}\" (func ${name} (param{params}) (result {result})))\n"
            )
        })
        .collect()
}

/// A guest with every import, two pages of memory, and this body of `realm_guest_event`, whose
/// parameters are `$kind $a $b`.
pub fn wat(more: &str, body: &str) -> Vec<u8> {
    let text = format!(
        "(module {} (memory (export \"memory\") 2)
           (func (export \"realm_guest_abi\") (result i32) (i32.const 1))
           {more}
           (func (export \"realm_guest_event\") (param $kind i32) (param $a i32) (param $b i32) (result i32)
             (local $i i32) (local $n i32)
             {body}))",
        imports()
    );
    wat::parse_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// A loaded guest from [`wat`].
pub fn guest(more: &str, body: &str) -> Arc<LoadedGuest> {
    LoadedGuest::load(&wat(more, body)).unwrap()
}

fn refused(text: &str) -> (Status, String) {
    let bytes = wat::parse_str(text).unwrap();
    let e = LoadedGuest::load(&bytes).err().expect("refused");
    (e.status(), e.message().into())
}

const EVENT: &str =
    "(func (export \"realm_guest_event\") (param i32 i32 i32) (result i32) (i32.const 0))";
const ABI: &str = "(func (export \"realm_guest_abi\") (result i32) (i32.const 1))";
const MEMORY: &str = "(memory (export \"memory\") 1)";

#[test]
fn the_signature_table_is_what_is_linked() {
    // Opening a session links all of them; loading compares the table with the imports.
    guest("", "(i32.const 0)");
    assert_eq!(SIGNATURES.len(), 36);
}

#[test]
fn modules_that_cannot_be_guests_are_refused_by_name() {
    for (text, status, part) in [
        (format!("(module {ABI} {EVENT})"), Status::Format, "memory"),
        (
            format!("(module {MEMORY} {EVENT})"),
            Status::Format,
            "realm_guest_abi",
        ),
        (
            format!("(module {MEMORY} {ABI})"),
            Status::Format,
            "realm_guest_event",
        ),
        (
            format!(
                "(module {MEMORY} {ABI} (func (export \"realm_guest_event\") (param i64 i32 i32) (result i32) (i32.const 0)))"
            ),
            Status::Format,
            "signature",
        ),
        (
            format!("(module (import \"realm\" \"realm_rm_rf\" (func)) {MEMORY} {ABI} {EVENT})"),
            Status::Format,
            "realm.realm_rm_rf",
        ),
        (
            format!(
                "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func)) {MEMORY} {ABI} {EVENT})"
            ),
            Status::Format,
            "wasi_snapshot_preview1",
        ),
        (
            format!(
                "(module (import \"realm\" \"realm_fail\" (func (param i32))) {MEMORY} {ABI} {EVENT})"
            ),
            Status::Format,
            "realm.realm_fail",
        ),
        (
            format!("(module (import \"realm\" \"realm_fail\" (memory 1)) {ABI} {EVENT})"),
            Status::Format,
            "realm.realm_fail",
        ),
        (
            format!("(module {MEMORY} {ABI} {EVENT} (func $s) (start $s))"),
            Status::Format,
            "start",
        ),
        (
            format!("(module {MEMORY} (memory 1) {ABI} {EVENT})"),
            Status::Format,
            "refused",
        ),
    ] {
        let (got, message) = refused(&text);
        assert_eq!(got, status, "{text}: {message}");
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn bytes_that_are_no_module_are_refused() {
    let good = wat("", "(i32.const 0)");
    let status = |bytes: &[u8]| LoadedGuest::load(bytes).err().map(|e| e.status());
    assert_eq!(status(b""), Some(Status::Format));
    assert_eq!(status(b"\0asm"), Some(Status::Format));
    assert_eq!(status(&[0xff; 100]), Some(Status::Format));
    // A module that only lacks the names of its functions, which come last, is whole.
    let whole = (0..good.len()).filter(|n| match status(&good[..*n]) {
        None => true,
        Some(e) => {
            assert_eq!(e, Status::Format, "cut at {n}");
            false
        }
    });
    assert!(whole.count() <= 1);
    let big = alloc::vec![0; super::engine::MAX_MODULE_BYTES + 1];
    assert_eq!(status(&big), Some(Status::Limit));
}

#[test]
fn flipped_bits_do_no_harm() {
    let good = wat("", "(i32.const 0)");
    for i in 0..good.len() {
        for bit in [0, 3, 7] {
            let mut bad = good.clone();
            bad[i] ^= 1 << bit;
            let _ = LoadedGuest::load(&bad);
        }
    }
}
