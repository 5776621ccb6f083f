//! Compiles `posix.c` into a static library that travels inside this crate's rlib.

/// The functions that `lib.rs` forwards to.
const FUNCTIONS: [&str; 10] = [
    "realm_posix_platform",
    "realm_posix_pool_create",
    "realm_posix_pool_destroy",
    "realm_posix_pool_pin",
    "realm_posix_pool_platform",
    "realm_posix_map_file",
    "realm_posix_map_move_to_huge",
    "realm_posix_map_is_huge",
    "realm_posix_unmap",
    "realm_posix_release",
];

fn main() {
    println!("cargo:rerun-if-changed=posix.c");
    println!("cargo:rerun-if-changed=windows.h");
    println!("cargo:rerun-if-changed=../../include");
    let mut build = cc::Build::new();
    for name in FUNCTIONS {
        build.define(name, Some(format!("{name}_c").as_str()));
    }
    build
        .file("posix.c")
        .include("../../include")
        .std("c99")
        .warnings(true)
        .extra_warnings(true)
        .compile("realm_posix");
    // pthread_create lives in libpthread before glibc 2.34; Windows has threads of its own.
    if std::env::var("CARGO_CFG_TARGET_FAMILY").as_deref() == Ok("unix") {
        println!("cargo:rustc-link-lib=pthread");
    }
}
