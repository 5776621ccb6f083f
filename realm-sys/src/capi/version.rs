//! Versions.

use crate::platform::REALM_ABI_VERSION;
use core::ffi::c_char;

/// Major version of the library that this header belongs to. Another major is another interface.
pub const REALM_VERSION_MAJOR: u32 = 0;
/// Minor version of the library that this header belongs to. A greater one only adds.
pub const REALM_VERSION_MINOR: u32 = 1;
/// Patch version of the library that this header belongs to. It changes no interface.
pub const REALM_VERSION_PATCH: u32 = 0;

/// The interface version of the library that is running. Programs made for the same major and a minor not above
/// it work with it.
///
/// **Threads**: any, at any time.
///
/// **Returns** `major << 16 | minor`. It does not fail.
#[unsafe(no_mangle)]
pub extern "C" fn realm_abi_version() -> u32 {
    REALM_ABI_VERSION
}

/// The release, such as `"0.1.0"`.
///
/// **Valid until** the library is unloaded.
///
/// **Threads**: any, at any time.
///
/// **Returns** a NUL-terminated text, never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn realm_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ffi::CStr;
    use std::format;

    #[test]
    fn the_header_says_what_cargo_says() {
        let header = format!("{REALM_VERSION_MAJOR}.{REALM_VERSION_MINOR}.{REALM_VERSION_PATCH}");
        assert_eq!(header, env!("CARGO_PKG_VERSION"));
        // SAFETY: NUL-terminated and static.
        let text = unsafe { CStr::from_ptr(realm_version()) };
        assert_eq!(text.to_str(), Ok(env!("CARGO_PKG_VERSION")));
        assert_eq!(
            realm_abi_version(),
            REALM_VERSION_MAJOR << 16 | REALM_VERSION_MINOR
        );
    }
}
