//! `realm-tokenize`: see `../realm_tokenize.c`.

mod shim;

unsafe extern "C" {
    fn realm_tokenize_main(
        argc: std::ffi::c_int,
        argv: *mut *mut std::ffi::c_char,
    ) -> std::ffi::c_int;
}

fn main() {
    shim::run(realm_tokenize_main)
}
