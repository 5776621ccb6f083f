//! What the core needs from the machine: memory, a clock, a log, and optionally threads.
//!
//! One table, filled by a port (`ports/posix`, `ports/baremetal`) and copied when a runtime is
//! created. Large and input-sized memory (KV cache, scratch, buffers, weights that a guest brings)
//! is taken from here; the library's own small structures use its global allocator.

use crate::error::Result;
use crate::{bail, err, panics};
use alloc::alloc::{Layout, alloc, dealloc};
use core::ffi::{c_char, c_void};
use core::mem::{offset_of, size_of};
use core::ptr::{self, NonNull};

/// The version of this library's C interface: `major << 16 | minor`.
///
/// A table or options struct of another major is refused; older minors are accepted.
pub const REALM_ABI_VERSION: u32 = 1;

/// One task of a parallel loop.
///
/// `task`: what `parallel_for` was given.
/// `index`: the task's number, below the `count` of `parallel_for`.
///
/// **Threads**: any thread of the port's, or the one that called `parallel_for`; several tasks at the same time.
pub type realm_task_fn = Option<unsafe extern "C" fn(task: *mut c_void, index: u32)>;

/// What the library needs from the machine.
///
/// The table is copied when a runtime is created; what `ctx` points to must outlive every runtime and session that
/// uses it. No slot may call back into the library.
///
/// **Threads**: slots are called from every thread that calls into the library, at the same time.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_platform {
    /// Size of the caller's struct in bytes. Set by `REALM_PLATFORM_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_PLATFORM_INIT`.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// First argument of every function below.
    pub ctx: *mut c_void,
    /// Gives memory, of undefined contents. Asked for: buffers, KV pages, scratch and workspaces, which is what grows with
    /// models and contexts. Small objects and the memory of guests come from the process's heap (in firmware, from
    /// `realm_firmware_alloc`); where that has nothing left, the interpreter aborts.
    ///
    /// `bytes`: how much; never 0.
    /// `align`: a power of two, at most 4096.
    ///
    /// **Owns**: the library, until `free`.
    ///
    /// **Returns** the address, a multiple of `align`; NULL if there is no memory.
    pub alloc:
        Option<unsafe extern "C" fn(ctx: *mut c_void, bytes: usize, align: usize) -> *mut c_void>,
    /// Takes back what `alloc` gave.
    ///
    /// `memory`, `bytes`, `align`: what `alloc` returned, and what it was asked for.
    pub free: Option<
        unsafe extern "C" fn(ctx: *mut c_void, memory: *mut c_void, bytes: usize, align: usize),
    >,
    /// (optional) Monotonic time. NULL: time budgets are ignored and every poll runs to the next event.
    ///
    /// **Returns** nanoseconds, from any beginning.
    pub clock_ns: Option<unsafe extern "C" fn(ctx: *mut c_void) -> u64>,
    /// (optional) Takes one line of text. NULL: nothing is logged.
    ///
    /// `level`: 0 error, 1 warning, 2 information, 3 for debugging.
    /// `text`, `bytes`: UTF-8, not terminated, valid until the slot returns.
    pub log: Option<
        unsafe extern "C" fn(ctx: *mut c_void, level: i32, text: *const c_char, bytes: usize),
    >,
    /// (optional) Calls `run(task, i)` for every `i` below `count`, on any threads and in any order, and returns when all
    /// calls have returned. NULL: the calling thread does the work.
    ///
    /// `count`: how many calls.
    /// `run`, `task`: what is called, and its first argument.
    pub parallel_for: Option<
        unsafe extern "C" fn(ctx: *mut c_void, count: u32, run: realm_task_fn, task: *mut c_void),
    >,
    /// (optional) How many tasks of `parallel_for` run at the same time. NULL: 1.
    ///
    /// **Returns** the number, at least 1.
    pub parallel_width: Option<unsafe extern "C" fn(ctx: *mut c_void) -> u32>,
}

/// The smallest platform table accepted: the end of the last field of version 0.1.
const PLATFORM_MIN_BYTES: usize =
    offset_of!(realm_platform, parallel_width) + size_of::<*const c_void>();

/// A validated copy of the caller's table.
#[derive(Clone, Copy)]
pub struct Platform {
    table: realm_platform,
}

// SAFETY: the contract of `realm_platform` is that its functions may be called from any thread.
unsafe impl Send for Platform {}
// SAFETY: as above.
unsafe impl Sync for Platform {}

unsafe extern "C" fn default_alloc(_: *mut c_void, bytes: usize, align: usize) -> *mut c_void {
    match Layout::from_size_align(bytes, align) {
        // SAFETY: the size is not zero (contract of the slot).
        Ok(layout) if bytes > 0 => unsafe { alloc(layout) }.cast(),
        _ => ptr::null_mut(),
    }
}

unsafe extern "C" fn default_free(_: *mut c_void, p: *mut c_void, bytes: usize, align: usize) {
    if let Ok(layout) = Layout::from_size_align(bytes, align) {
        // SAFETY: the caller passes what `default_alloc` was given.
        unsafe { dealloc(p.cast(), layout) }
    }
}

impl Default for Platform {
    /// The library's own allocator, no clock, no threads.
    fn default() -> Self {
        Self {
            table: realm_platform {
                struct_size: size_of::<realm_platform>() as u32,
                abi_version: REALM_ABI_VERSION,
                next: ptr::null(),
                ctx: ptr::null_mut(),
                alloc: Some(default_alloc),
                free: Some(default_free),
                clock_ns: None,
                log: None,
                parallel_for: None,
                parallel_width: None,
            },
        }
    }
}

/// Refuses extensions: one that is silently ignored would be worse than an error.
///
/// # Errors
/// `Unsupported`.
pub fn no_extension(next: *const c_void, what: &str) -> Result<()> {
    if !next.is_null() {
        bail!(
            Unsupported,
            "{what}: this version knows no extensions, next must be NULL"
        );
    }
    Ok(())
}

/// Checks the head that every table and options struct opens with.
pub fn check_head(what: &str, struct_size: u32, abi_version: u32, min: usize) -> Result<()> {
    if (struct_size as usize) < min {
        bail!(
            InvalidArgument,
            "{what}: struct_size is {struct_size}, at least {min} is needed (use its REALM_..._INIT)"
        );
    }
    if abi_version >> 16 != REALM_ABI_VERSION >> 16 {
        bail!(
            Unsupported,
            "{what}: made for interface version {}.{}, this library has {}.{}",
            abi_version >> 16,
            abi_version & 0xffff,
            REALM_ABI_VERSION >> 16,
            REALM_ABI_VERSION & 0xffff
        );
    }
    Ok(())
}

impl Platform {
    /// Copies and checks a caller's table; NULL gives the default.
    ///
    /// # Safety
    /// `table` is NULL or points to `struct_size` readable bytes, and its functions keep the
    /// contract of [`realm_platform`].
    pub unsafe fn from_table(table: *const realm_platform) -> Result<Self> {
        if table.is_null() {
            return Ok(Self::default());
        }
        // SAFETY: every table is at least as long as its two-word head.
        let (size, version) = unsafe { ((*table).struct_size, (*table).abi_version) };
        check_head("realm_platform", size, version, PLATFORM_MIN_BYTES)?;
        // SAFETY: the size covers every field this version knows.
        let table = unsafe { *table };
        no_extension(table.next, "realm_platform")?;
        if table.alloc.is_none() || table.free.is_none() {
            bail!(InvalidArgument, "realm_platform: alloc and free are needed");
        }
        Ok(Self { table })
    }

    /// Monotonic nanoseconds, if the platform has a clock.
    pub fn now_ns(&self) -> Option<u64> {
        // SAFETY: contract of the table.
        self.table.clock_ns.map(|f| unsafe { f(self.table.ctx) })
    }

    /// Passes one line to the platform's log.
    pub fn log(&self, level: i32, text: &str) {
        if let Some(f) = self.table.log {
            // SAFETY: contract of the table; the text lives through the call.
            unsafe { f(self.table.ctx, level, text.as_ptr().cast(), text.len()) }
        }
    }

    /// How many tasks can run at once.
    pub fn width(&self) -> u32 {
        match (self.table.parallel_for, self.table.parallel_width) {
            // SAFETY: contract of the table.
            (Some(_), Some(f)) => unsafe { f(self.table.ctx) }.max(1),
            _ => 1,
        }
    }

    /// Runs `body(0..count)`, in parallel if the platform can and `count` is more than one. A panic in one of them goes on
    /// here when all have ended.
    pub fn parallel_for<F: Fn(u32) + Sync>(&self, count: u32, body: &F) {
        type Body<'a> = &'a (dyn Fn(u32) + Sync);
        unsafe extern "C" fn run(task: *mut c_void, index: u32) {
            // SAFETY: `task` is the address of the body below, which outlives the loop.
            unsafe { (*task.cast_const().cast::<Body<'_>>())(index) }
        }
        match self.table.parallel_for {
            Some(f) if count > 1 => panics::tasks(body, |body: Body<'_>| {
                let task = ptr::from_ref(&body).cast_mut().cast();
                // SAFETY: the slot returns only after every call has returned.
                unsafe { f(self.table.ctx, count, Some(run), task) }
            }),
            _ => (0..count).for_each(body),
        }
    }

    /// Zeroed memory from the platform.
    pub fn alloc(&self, bytes: usize, what: &str) -> Result<Block> {
        const ALIGN: usize = 64;
        let bytes = bytes.max(1);
        let p = match self.table.alloc {
            // SAFETY: contract of the table; the size is not zero.
            Some(f) => unsafe { f(self.table.ctx, bytes, ALIGN) },
            None => ptr::null_mut(),
        };
        let p = NonNull::new(p.cast::<u8>())
            .ok_or_else(|| err!(NoMemory, "no memory for {bytes} bytes of {what}"))?;
        // SAFETY: freshly allocated, `bytes` long.
        unsafe { ptr::write_bytes(p.as_ptr(), 0, bytes) };
        Ok(Block {
            platform: *self,
            p,
            bytes,
            align: ALIGN,
        })
    }
}

/// Memory of the platform, given back on drop. Not zeroed on drop: owners of secrets do that.
pub struct Block {
    platform: Platform,
    p: NonNull<u8>,
    bytes: usize,
    align: usize,
}

// SAFETY: a block is plain memory with one owner.
unsafe impl Send for Block {}
// SAFETY: shared access only reads.
unsafe impl Sync for Block {}

impl Block {
    /// The first byte, 64-byte aligned.
    pub fn as_ptr(&self) -> *mut u8 {
        self.p.as_ptr()
    }

    /// Size in bytes (1 for an empty request).
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Never true: an empty request gives one byte.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(f) = self.platform.table.free {
            // SAFETY: the same pointer, size and alignment that `alloc` was called with.
            unsafe {
                f(
                    self.platform.table.ctx,
                    self.p.as_ptr().cast(),
                    self.bytes,
                    self.align,
                )
            }
        }
    }
}
