//! Shared libraries that are opened when the program runs, so that it starts without them.

use alloc::format;
use core::ffi::{CStr, c_char, c_void};
use std::ffi::CString;

#[cfg(unix)]
unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: i32) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}
#[cfg(windows)]
unsafe extern "system" {
    fn LoadLibraryA(name: *const c_char) -> *mut c_void;
    fn GetProcAddress(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// An open library. It stays open: drivers do not like to be closed.
#[derive(Clone, Copy)]
pub struct Library(*mut c_void);

// SAFETY: a handle of the loader's, which any thread may use.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    /// The first of these that is there.
    pub fn open(names: &[&str]) -> Option<Self> {
        names.iter().find_map(|name| {
            let name = CString::new(*name).ok()?;
            // SAFETY: a terminated name.
            #[cfg(unix)]
            let handle = unsafe { dlopen(name.as_ptr(), 2) }; // RTLD_NOW
            // SAFETY: a terminated name.
            #[cfg(windows)]
            let handle = unsafe { LoadLibraryA(name.as_ptr()) };
            #[cfg(not(any(unix, windows)))]
            let handle: *mut c_void = {
                let _ = name;
                core::ptr::null_mut()
            };
            (!handle.is_null()).then_some(Self(handle))
        })
    }

    /// A function, as an address.
    fn symbol(self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: an open library and a terminated name.
        #[cfg(unix)]
        let at = unsafe { dlsym(self.0, name.as_ptr()) };
        // SAFETY: as above.
        #[cfg(windows)]
        let at = unsafe { GetProcAddress(self.0, name.as_ptr()) };
        #[cfg(not(any(unix, windows)))]
        let at: *mut c_void = {
            let _ = name;
            core::ptr::null_mut()
        };
        (!at.is_null()).then_some(at)
    }

    /// A function of type `F`.
    ///
    /// # Safety
    /// `F` is the type of a pointer to the function of this name.
    pub unsafe fn function<F: Copy>(self, name: &CStr) -> Result<F, alloc::string::String> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let at = self
            .symbol(name)
            .ok_or_else(|| format!("it has no function {}", name.to_string_lossy()))?;
        // SAFETY: the caller's promise; both are pointers.
        Ok(unsafe { core::mem::transmute_copy(&at) })
    }
}

/// Declares a table of a library's functions, each called by its name there.
macro_rules! functions {
    ($(#[$doc:meta])* $table:ident { $($field:ident = $name:literal ($($arg:ty),*);)* }) => {
        $(#[$doc])*
        pub struct $table { $(pub $field: unsafe extern "C" fn($($arg),*) -> i32,)* }
        impl $table {
            /// All of them, or the one that is missing.
            pub fn load(library: $crate::gpu::cuda::library::Library) -> Result<Self, alloc::string::String> {
                // SAFETY: the types are those of the library's headers.
                unsafe { Ok(Self { $($field: library.function($name)?,)* }) }
            }
        }
    };
}
pub(super) use functions;
