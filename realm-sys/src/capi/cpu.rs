//! The CPU port: which instructions it uses.

use super::error::{realm_error, realm_status};
use super::{guard, text_of};
use crate::err;
#[cfg(feature = "cpu")]
use crate::error::{List, Short};
use core::ffi::c_char;

/// The level of instructions that the backend `"cpu"` uses in programs prepared from now on.
///
/// **Valid until** the library is unloaded.
///
/// **Threads**: any, at any time.
///
/// **Returns** `"scalar"`, `"avx2"`, `"avxvnni"`, `"avx512"`, `"neon"`, `"neon-dotprod"` or `"neon-i8mm"`, NUL-terminated; NULL
/// in a library without the CPU port.
#[unsafe(no_mangle)]
pub extern "C" fn realm_cpu_isa() -> *const c_char {
    #[cfg(feature = "cpu")]
    return crate::cpu::isa::Isa::current().c_name().as_ptr();
    #[cfg(not(feature = "cpu"))]
    return core::ptr::null();
}

/// Makes the whole process use another level, for tests and measurements: results do not change, only speed does. Sessions
/// that are open keep what they have until their guest records its next program.
///
/// `name`, `name_bytes`: a level that `realm_cpu_isa` knows, without a terminating zero; 0 bytes: the best of this machine.
///
/// **Threads**: any, at any time.
///
/// **Returns** `NOT_FOUND` for a name that is not a level, `UNSUPPORTED` where the machine does not have it and, for every
/// name, in a library without the CPU port, `INVALID_ARGUMENT` for NULL with a length or what is not UTF-8.
///
/// # Safety
/// `name` has `name_bytes` readable bytes; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_cpu_force_isa(
    name: *const c_char,
    name_bytes: usize,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        // SAFETY: the caller's promise.
        let name = unsafe { text_of(name, name_bytes, "name") }?;
        #[cfg(feature = "cpu")]
        {
            use crate::cpu::isa;
            let wanted = isa::ALL.into_iter().find(|i| i.name() == name);
            if wanted.is_none() && !name.is_empty() {
                return Err(err!(
                    NotFound,
                    "there is no level of instructions '{}' (known: {})",
                    Short(name),
                    List(isa::ALL.into_iter().map(isa::Isa::name))
                ));
            }
            if !isa::force(wanted) {
                let here = isa::ALL.into_iter().filter(|i| i.available());
                return Err(err!(
                    Unsupported,
                    "this machine or build has no '{name}' (it has {})",
                    List(here.map(isa::Isa::name))
                ));
            }
            Ok(())
        }
        #[cfg(not(feature = "cpu"))]
        Err(err!(
            Unsupported,
            "this library was built without the CPU port, so '{name}' cannot be chosen"
        ))
    })
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::super::error::{
        REALM_STATUS_INVALID_ARGUMENT, REALM_STATUS_NOT_FOUND, REALM_STATUS_OK,
        REALM_STATUS_UNSUPPORTED,
    };
    use super::*;
    use core::ffi::CStr;
    use core::ptr;

    fn force(name: &[u8]) -> realm_status {
        // SAFETY: a slice's pointer and length.
        unsafe { realm_cpu_force_isa(name.as_ptr().cast(), name.len(), ptr::null_mut()) }
    }

    #[test]
    fn levels_are_chosen_by_name() {
        let _forcing = crate::cpu::isa::FORCING.lock();
        assert_eq!(force(b"sse9"), REALM_STATUS_NOT_FOUND);
        assert_eq!(force(b"\xff"), REALM_STATUS_INVALID_ARGUMENT);
        // SAFETY: NULL is an argument like another.
        let null = unsafe { realm_cpu_force_isa(ptr::null(), 3, ptr::null_mut()) };
        assert_eq!(null, REALM_STATUS_INVALID_ARGUMENT);
        let elsewhere: &[u8] = if cfg!(target_arch = "aarch64") {
            b"avx2"
        } else {
            b"neon"
        };
        assert_eq!(force(elsewhere), REALM_STATUS_UNSUPPORTED);
        // SAFETY: NUL-terminated and static.
        let name = || unsafe { CStr::from_ptr(realm_cpu_isa()) };
        assert_eq!(force(b"scalar"), REALM_STATUS_OK);
        assert_eq!(name(), c"scalar");
        assert_eq!(force(b""), REALM_STATUS_OK);
        assert_eq!(name(), crate::cpu::isa::Isa::detected().c_name());
    }
}
