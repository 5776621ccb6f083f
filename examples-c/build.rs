//! Compiles the C programs for cargo: each `main` gets a name of its own and is called by a shim.

use std::path::Path;

/// C source and what its `main` is called in the shims of `cargo/`.
const PROGRAMS: [(&str, &str); 5] = [
    ("realm_run.c", "realm_run_main"),
    ("realm_tokenize.c", "realm_tokenize_main"),
    ("realm_bench.c", "realm_bench_main"),
    ("01_hello.c", "hello_main"),
    ("12_wasm_export.c", "wasm_export_main"),
];

fn c_build() -> cc::Build {
    let mut build = cc::Build::new();
    build
        .include("../include")
        .std("c99")
        .warnings(true)
        .extra_warnings(true);
    build
}

fn main() {
    println!("cargo:rerun-if-changed=.");
    println!("cargo:rerun-if-changed=../include");
    for (source, main) in PROGRAMS {
        c_build().file(source).define("main", main).compile(main);
    }
    let mut tool = c_build();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/realm-demo.gguf");
    if demo.is_file() {
        tool.define(
            "REALM_DEMO_GGUF",
            Some(format!("\"{}\"", demo.display()).as_str()),
        );
    } else {
        println!("cargo:warning=there is no {}", demo.display());
    }
    if std::env::var_os("CARGO_FEATURE_CUDA").is_some() {
        tool.define("REALM_CUDA", None);
    }
    if std::env::var_os("CARGO_FEATURE_METAL").is_some() {
        tool.define("REALM_METAL", None);
    }
    tool.files(["tool.c", "demo_model.c", "chat.c"])
        .compile("realm_tool");
    println!("cargo:rustc-link-lib=m");
}
