//! Memory and panics of a library without an operating system.
//!
//! The firmware defines, in C:
//!
//! ```c
//! // `bytes` > 0, `align` a power of two; NULL when there is no memory. Any thread that uses Realm.
//! void *realm_firmware_alloc(size_t bytes, size_t align);
//! // `p` came from realm_firmware_alloc with the same `bytes` and `align`.
//! void realm_firmware_free(void *p, size_t bytes, size_t align);
//! // A bug in the library was met; must not return. `text` names the place, not NUL-terminated.
//! void realm_firmware_panic(const char *text, size_t bytes);
//! ```
//!
//! This memory serves the library's own small objects and the guest interpreter; everything large
//! (scratch memory, KV pages, buffers) comes from the platform table of the runtime.

use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_char, c_void};
use core::panic::PanicInfo;

unsafe extern "C" {
    fn realm_firmware_alloc(bytes: usize, align: usize) -> *mut c_void;
    fn realm_firmware_free(p: *mut c_void, bytes: usize, align: usize);
    fn realm_firmware_panic(text: *const c_char, bytes: usize);
}

struct Firmware;

// SAFETY: the contract above is that of `GlobalAlloc`, word for word; the default
// `realloc` and `alloc_zeroed` are built on these two.
unsafe impl GlobalAlloc for Firmware {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the layout has a non-zero size, as the caller of `alloc` guarantees.
        unsafe { realm_firmware_alloc(layout.size(), layout.align()).cast() }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: `p` came from `alloc` with this layout, as the caller guarantees.
        unsafe { realm_firmware_free(p.cast(), layout.size(), layout.align()) }
    }
}

#[global_allocator]
static FIRMWARE: Firmware = Firmware;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // The file name is enough to find the bug, and needs no formatting code in the image.
    let place = info.location().map_or("realm", |l| l.file());
    // SAFETY: a valid pointer and its length.
    unsafe { realm_firmware_panic(place.as_ptr().cast(), place.len()) };
    loop {
        core::hint::spin_loop();
    }
}
