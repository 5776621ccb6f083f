//! `01_hello`: see `../01_hello.c`.

mod shim;

unsafe extern "C" {
    fn hello_main(argc: std::ffi::c_int, argv: *mut *mut std::ffi::c_char) -> std::ffi::c_int;
}

fn main() {
    shim::run(hello_main)
}
