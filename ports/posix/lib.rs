//! Carries the compiled `posix.c` into cargo builds, under the names of `include/realm_posix.h`.
//!
//! rustc exports from a shared library only what is defined in Rust, whatever the linker is told.
//! So the build script compiles `posix.c` with its functions renamed to `…_c`, and the functions
//! here, which forward to them, have the public names. Other builds compile `posix.c` as it is; it
//! needs nothing but `include/`.
//!
//! A crate that wants the functions linked says `use realm_posix as _;`. There is no Rust API.
#![no_std]

use core::ffi::{c_char, c_void};

/// Defines one public function as a call of its renamed C original.
macro_rules! forward {
    ($(fn $name:ident, $original:literal ($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(
            /// See `include/realm_posix.h`.
            ///
            /// # Safety
            /// That of the C function: pointers as the header demands them.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? {
                unsafe extern "C" {
                    #[link_name = $original]
                    fn original($($arg: $type),*) $(-> $result)?;
                }
                // SAFETY: same arguments, same contract.
                unsafe { original($($arg),*) }
            }
        )*
    };
}

forward! {
    fn realm_posix_platform, "realm_posix_platform_c"() -> *const c_void;
    fn realm_posix_pool_create, "realm_posix_pool_create_c"(threads: u32, out: *mut c_void, error: *mut c_void) -> i32;
    fn realm_posix_pool_destroy, "realm_posix_pool_destroy_c"(pool: *mut c_void);
    fn realm_posix_pool_pin, "realm_posix_pool_pin_c"(pool: *mut c_void, cpus: *const u32, count: usize, error: *mut c_void) -> i32;
    fn realm_posix_pool_platform, "realm_posix_pool_platform_c"(pool: *mut c_void) -> *const c_void;
    fn realm_posix_map_file, "realm_posix_map_file_c"(path: *const c_char, out: *mut c_void, error: *mut c_void) -> i32;
    fn realm_posix_move_to_huge, "realm_posix_move_to_huge_c"(map: *const c_void, from: usize, bytes: usize) -> usize;
    fn realm_posix_is_huge, "realm_posix_is_huge_c"(map: *const c_void) -> i32;
    fn realm_posix_unmap, "realm_posix_unmap_c"(map: *mut c_void);
    fn realm_posix_release, "realm_posix_release_c"(ctx: *mut c_void, data: *const c_void, bytes: usize);
}
