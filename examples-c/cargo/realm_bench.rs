//! `realm-bench`: see `../realm_bench.c`.

mod shim;

unsafe extern "C" {
    fn realm_bench_main(argc: std::ffi::c_int, argv: *mut *mut std::ffi::c_char)
    -> std::ffi::c_int;
}

fn main() {
    shim::run(realm_bench_main)
}
