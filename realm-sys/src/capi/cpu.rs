//! The CPU port: which instructions it uses.

use super::error::{realm_error, realm_status};
use super::{guard, text_of};
use crate::err;
use core::ffi::c_char;

/// The level of instructions that the backend `"cpu"` uses in programs prepared from now on: `"scalar"`, `"avx2"`,
/// `"avxvnni"`, `"avx512"`, `"neon"`, `"neon-dotprod"` or `"neon-i8mm"`. NULL in a library built without it.
///
/// **Valid until** the library is unloaded. **Threads**: any.
#[unsafe(no_mangle)]
pub extern "C" fn realm_cpu_isa() -> *const c_char {
    #[cfg(feature = "cpu")]
    return crate::cpu::isa::Isa::current().c_name().as_ptr();
    #[cfg(not(feature = "cpu"))]
    return core::ptr::null();
}

/// Makes the whole process use another level, for tests and measurements: results do not change, only speed does.
/// Sessions that are open keep what they have until their guest records its next program.
///
/// `name`: a level, `name_bytes` long; 0 bytes: the best of this machine again.
///
/// **Threads**: any.
///
/// **Returns** `NOT_FOUND` for a name that is not a level, `UNSUPPORTED` where the machine or the library does not have it.
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
                return Err(err!(NotFound, "'{name}' is not a level of instructions"));
            }
            if !isa::force(wanted) {
                return Err(err!(Unsupported, "this machine or build has no '{name}'"));
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
