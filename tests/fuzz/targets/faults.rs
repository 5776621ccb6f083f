//! A platform and backends that fail when they are told to, and count what they gave.
//!
//! libFuzzer runs inputs on one thread; the state is that thread's.

use realm_sys::backend::table::*;
use realm_sys::graph::reference;
use realm_sys::platform::{Platform, REALM_ABI_VERSION, realm_platform};
use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

/// How the clock goes: on, not at all, backwards, far ahead.
#[derive(Clone, Copy, PartialEq)]
pub enum Clock {
    On,
    Still,
    Back,
    Leaps,
}

thread_local! {
    /// Each so-manieth allocation of the platform fails; 0: none.
    static ALLOC_EVERY: Cell<u32> = const { Cell::new(0) };
    /// Likewise the calls of the backends that can fail.
    static BACKEND_EVERY: Cell<u32> = const { Cell::new(0) };
    static COUNT: Cell<u32> = const { Cell::new(0) };
    static CLOCK: Cell<Clock> = const { Cell::new(Clock::On) };
    static NOW: Cell<u64> = const { Cell::new(1 << 40) };
    static LIVE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    static MOST: Cell<u64> = const { Cell::new(0) };
}

/// Sets which allocations and which calls of backends fail.
pub fn fail(alloc_every: u32, backend_every: u32) {
    ALLOC_EVERY.set(alloc_every);
    BACKEND_EVERY.set(backend_every);
    COUNT.set(0);
}

/// Whether anything can fail at present.
pub fn are_on() -> bool {
    ALLOC_EVERY.get() != 0 || BACKEND_EVERY.get() != 0
}

pub fn set_clock(clock: Clock) {
    CLOCK.set(clock);
}

/// Blocks and bytes of the platform and the backends that are in use.
pub fn live() -> (u64, u64) {
    LIVE.get()
}

/// The most bytes since this was asked last.
pub fn most() -> u64 {
    MOST.replace(LIVE.get().1)
}

fn is_due(every: u32) -> bool {
    COUNT.set(COUNT.get().wrapping_add(1));
    every != 0 && COUNT.get().is_multiple_of(every)
}

fn layout(bytes: usize, align: usize) -> Layout {
    assert!(bytes > 0 && align.is_power_of_two() && align <= 4096);
    Layout::from_size_align(bytes, align).expect("a size that can be")
}

unsafe extern "C" fn platform_alloc(_: *mut c_void, bytes: usize, align: usize) -> *mut c_void {
    // As a small machine would say, so that nothing is made that is only counted.
    if is_due(ALLOC_EVERY.get()) || bytes > 256 << 20 {
        return null_mut();
    }
    let (blocks, all) = LIVE.get();
    LIVE.set((blocks + 1, all + bytes as u64));
    MOST.set(MOST.get().max(all + bytes as u64));
    // SAFETY: the size is not zero.
    unsafe { alloc(layout(bytes, align)) }.cast()
}

unsafe extern "C" fn platform_free(_: *mut c_void, p: *mut c_void, bytes: usize, align: usize) {
    let (blocks, all) = LIVE.get();
    LIVE.set((blocks - 1, all - bytes as u64));
    // SAFETY: made by `platform_alloc` with the same layout, or the sanitizer says so.
    unsafe { dealloc(p.cast(), layout(bytes, align)) }
}

unsafe extern "C" fn clock(_: *mut c_void) -> u64 {
    let now = NOW.get();
    let next = match CLOCK.get() {
        Clock::On => now + 20_000,
        Clock::Still => now,
        Clock::Back => now.saturating_sub(50_000),
        Clock::Leaps => now.wrapping_mul(3).wrapping_add(1 << 41),
    };
    NOW.set(next);
    next
}

unsafe extern "C" fn log(_: *mut c_void, level: i32, text: *const i8, bytes: usize) {
    assert!((0..=3).contains(&level));
    // SAFETY: the contract of the slot.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), bytes) };
    assert!(std::str::from_utf8(text).is_ok());
}

/// The tasks one after the other, the last first.
unsafe extern "C" fn parallel_for(
    _: *mut c_void,
    count: u32,
    run: realm_sys::platform::realm_task_fn,
    task: *mut c_void,
) {
    let run = run.expect("a task");
    for i in (0..count).rev() {
        // SAFETY: the contract of the slot.
        unsafe { run(task, i) }
    }
}

unsafe extern "C" fn parallel_width(_: *mut c_void) -> u32 {
    3
}

/// The table.
pub fn platform() -> realm_platform {
    realm_platform {
        struct_size: size_of::<realm_platform>() as u32,
        abi_version: REALM_ABI_VERSION,
        next: std::ptr::null(),
        ctx: null_mut(),
        alloc: Some(platform_alloc),
        free: Some(platform_free),
        clock_ns: Some(clock),
        log: Some(log),
        parallel_for: Some(parallel_for),
        parallel_width: Some(parallel_width),
    }
}

/// The reference's table, to whose functions those below pass on.
fn inner() -> &'static realm_backend {
    struct Table(realm_backend);
    // SAFETY: it is only read.
    unsafe impl Sync for Table {}
    // SAFETY: as above.
    unsafe impl Send for Table {}
    static PLATFORM: OnceLock<Platform> = OnceLock::new();
    static TABLE: OnceLock<Table> = OnceLock::new();
    // SAFETY: the table keeps its contract.
    let platform =
        PLATFORM.get_or_init(|| unsafe { Platform::from_table(&platform()) }.expect("a table"));
    &TABLE.get_or_init(|| Table(reference::table(platform))).0
}

/// What a backend says that fails: statuses, and numbers that are none.
fn answer() -> Option<i32> {
    const CODES: [i32; 6] = [-10, -2, -7, -99, 77, -1];
    let due = is_due(BACKEND_EVERY.get());
    due.then(|| CODES[COUNT.get() as usize % CODES.len()])
}

unsafe extern "C" fn supports(ctx: *mut c_void, program: *const realm_program, op: u32) -> i32 {
    // SAFETY: passed on.
    i32::from(unsafe { inner().supports.expect("there")(ctx, program, op) } != 0 && op % 5 != 3)
}

unsafe extern "C" fn prepare(
    ctx: *mut c_void,
    program: *const realm_program,
    first: u32,
    count: u32,
    plan: *mut *mut c_void,
    workspace_bytes: *mut u64,
) -> i32 {
    if let Some(code) = answer() {
        return code;
    }
    // SAFETY: passed on.
    unsafe { inner().prepare.expect("there")(ctx, program, first, count, plan, workspace_bytes) }
}

unsafe extern "C" fn submit(
    ctx: *mut c_void,
    plan: *mut c_void,
    steps: *const realm_step,
    count: u32,
    cursor: *mut realm_cursor,
) -> i32 {
    if let Some(code) = answer() {
        return code;
    }
    // SAFETY: passed on.
    unsafe { inner().submit.expect("there")(ctx, plan, steps, count, cursor) }
}

unsafe extern "C" fn query(
    ctx: *mut c_void,
    plan: *mut c_void,
    steps: *const realm_step,
    count: u32,
    cursor: *mut realm_cursor,
    quantum_ns: u64,
) -> i32 {
    if let Some(code) = answer() {
        return code;
    }
    // SAFETY: passed on.
    unsafe { inner().query.expect("there")(ctx, plan, steps, count, cursor, quantum_ns) }
}

/// Before a buffer of the pretended device: its size.
const HEAD: usize = 64;

unsafe extern "C" fn buffer_create(_: *mut c_void, bytes: u64, out: *mut *mut c_void) -> i32 {
    if let Some(code) = answer() {
        return code;
    }
    // SAFETY: a size that is not zero; the size is noted in front.
    unsafe {
        let p = platform_alloc(null_mut(), bytes as usize + HEAD, 64).cast::<u8>();
        if p.is_null() {
            return -2;
        }
        p.write_bytes(0, bytes as usize + HEAD);
        p.cast::<u64>().write(bytes);
        *out = p.add(HEAD).cast();
    }
    0
}

unsafe extern "C" fn buffer_destroy(_: *mut c_void, buffer: *mut c_void) {
    // SAFETY: made above.
    unsafe {
        let p = buffer.cast::<u8>().sub(HEAD);
        let bytes = p.cast::<u64>().read() as usize;
        platform_free(null_mut(), p.cast(), bytes + HEAD, 64);
    }
}

/// Whether so many bytes are in a buffer of the device.
unsafe fn inside(buffer: *mut c_void, offset: u64, bytes: u64) -> bool {
    // SAFETY: made above.
    let size = unsafe { buffer.cast::<u8>().sub(HEAD).cast::<u64>().read() };
    offset.checked_add(bytes).is_some_and(|end| end <= size)
}

unsafe extern "C" fn buffer_write(
    _: *mut c_void,
    buffer: *mut c_void,
    offset: u64,
    data: *const c_void,
    bytes: u64,
) -> i32 {
    if let Some(code) = answer() {
        return code;
    }
    // SAFETY: checked.
    unsafe {
        assert!(inside(buffer, offset, bytes));
        let to = buffer.cast::<u8>().add(offset as usize);
        data.cast::<u8>().copy_to_nonoverlapping(to, bytes as usize);
    }
    0
}

unsafe extern "C" fn buffer_read(
    _: *mut c_void,
    buffer: *mut c_void,
    offset: u64,
    data: *mut c_void,
    bytes: u64,
) -> i32 {
    if let Some(code) = answer() {
        return code;
    }
    // SAFETY: checked.
    unsafe {
        assert!(inside(buffer, offset, bytes));
        let from = buffer.cast::<u8>().add(offset as usize);
        from.copy_to_nonoverlapping(data.cast(), bytes as usize);
    }
    0
}

/// Names of the backends below.
pub const FAULTY: &CStr = c"faulty";
pub const DEVICE: &CStr = c"device";

/// The reference with all of its operations, which may fail.
pub fn backend() -> realm_backend {
    realm_backend {
        name: FAULTY.as_ptr(),
        prepare: Some(prepare),
        submit: Some(submit),
        query: Some(query),
        ..*inner()
    }
}

/// The same with memory of its own, and without some of the operations.
pub fn device() -> realm_backend {
    realm_backend {
        name: DEVICE.as_ptr(),
        flags: 0,
        buffer_create: Some(buffer_create),
        buffer_destroy: Some(buffer_destroy),
        buffer_write: Some(buffer_write),
        buffer_read: Some(buffer_read),
        supports: Some(supports),
        ..backend()
    }
}
