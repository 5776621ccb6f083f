//! All targets in one program, which is the one that it is called by the name of: what they are linked with takes minutes to
//! compile, and is the same for all.
#![no_main]

mod capi;
mod faults;
mod gguf;
mod guest;
mod states;
mod texts;
mod tiny;
mod tokenizer;
mod wasm;
mod world;

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::OnceLock;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn named(program: &str) -> fn(&[u8]) {
    match Path::new(program).file_name().and_then(|n| n.to_str()) {
        Some("capi") => capi::run,
        Some("gguf") => gguf::run,
        Some("grammar") => texts::grammar,
        Some("guest") => guest::run,
        Some("reply") => texts::reply,
        Some("schema") => texts::schema,
        Some("states") => states::run,
        Some("template") => texts::template,
        Some("tokenizer") => tokenizer::run,
        Some("wasm") => wasm::run,
        _ => panic!(
            "{program}: call it capi, gguf, grammar, guest, reply, schema, states, template, tokenizer or wasm (a link will do)"
        ),
    }
}

fuzz_target!(
    init: {
        TARGET.get_or_init(|| named(&std::env::args().next().unwrap_or_default()));
    },
    |data: &[u8]| {
        TARGET.get().expect("chosen at the start")(data);
    }
);
