//! Versions.

use crate::platform::REALM_ABI_VERSION;
use core::ffi::c_char;

/// The interface version of the library that is running, `major << 16 | minor`. Programs made for
/// the same major and a minor not above it work with it.
#[unsafe(no_mangle)]
pub extern "C" fn realm_abi_version() -> u32 {
    REALM_ABI_VERSION
}

/// The release, such as `"0.1.0"`.
///
/// **Valid until** the library is unloaded.
#[unsafe(no_mangle)]
pub extern "C" fn realm_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
