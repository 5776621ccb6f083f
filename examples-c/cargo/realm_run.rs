//! `realm-run`: see `../realm_run.c`.

mod shim;

unsafe extern "C" {
    fn realm_run_main(argc: std::ffi::c_int, argv: *mut *mut std::ffi::c_char) -> std::ffi::c_int;
}

fn main() {
    shim::run(realm_run_main)
}
