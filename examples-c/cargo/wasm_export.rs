//! `12_wasm_export`: see `../12_wasm_export.c`.

mod shim;

unsafe extern "C" {
    fn wasm_export_main(argc: std::ffi::c_int, argv: *mut *mut std::ffi::c_char)
    -> std::ffi::c_int;
}

fn main() {
    shim::run(wasm_export_main)
}
