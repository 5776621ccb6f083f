//! Calls a C `main` from a Rust one, so that cargo can build and run C programs.

// Linked for their C functions.
use realm_posix as _;
use realm_sys as _;

use std::ffi::{CString, c_char, c_int};
use std::os::unix::ffi::OsStringExt;

/// Hands the arguments to `main` and ends the process with its result.
pub fn run(main: unsafe extern "C" fn(c_int, *mut *mut c_char) -> c_int) -> ! {
    // Arguments come from C strings, so none contains a zero byte.
    let args: Vec<*mut c_char> = std::env::args_os()
        .filter_map(|arg| CString::new(arg.into_vec()).ok())
        .map(CString::into_raw)
        .collect();
    let count = args.len() as c_int;
    let mut argv = args;
    argv.push(std::ptr::null_mut());
    // SAFETY: `argv` is what C promises a `main`: `count` writable strings, then a null pointer;
    // they stay alive as long as the process.
    let code = unsafe { main(count, argv.as_mut_ptr()) };
    std::process::exit(code)
}
