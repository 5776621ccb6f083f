//! A device that is none: the kernels compiled for the host (`kernels/emulated.cpp`), memory of its own that is only reached by copies.
//!
//! For tests, behind the feature `gpu-emulation`. It shows what kernels compute and what the port makes of a program, not how fast.

use super::device::{Device, Launch, Result};
use crate::error::Status;
use alloc::alloc::{alloc_zeroed, dealloc};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::{ptr, slice};

unsafe extern "C" {
    fn realm_gpu_find(name: *const c_char) -> u64;
    fn realm_gpu_interpret(ops: u64, calls: u64, count: u32, step: u64, blocks: u32, steps: u32);
    fn realm_gpu_emulate(kernel: u64, ops: u64, index: u32, step: u64, blocks: u32, steps: u32);
}

/// The device, and what it counts for tests.
#[derive(Default)]
pub struct Emulated {
    /// Bytes allocated now.
    pub bytes: AtomicU64,
    /// Most bytes that may be; 0: any number.
    pub limit: AtomicU64,
    /// Bytes copied to the device and from it.
    pub copied: AtomicU64,
    /// Kernels launched.
    pub launched: AtomicU64,
    /// Captures alive, and how often they were replayed.
    pub graphs: AtomicU64,
    /// As above.
    pub replayed: AtomicU64,
    /// Whether one kernel interprets launches, and how often it did.
    pub interprets: AtomicBool,
    /// As above.
    pub interpreted: AtomicU64,
    /// Whether kernels read the host's memory, and how many pieces of it they do now.
    pub unified: AtomicBool,
    /// As above.
    pub wrapped: AtomicU64,
}

/// What is captured: launches and the two addresses.
type Graph = (Vec<Launch>, u64, u64);

impl Emulated {
    /// A device.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn layout(bytes: u64) -> Result<Layout> {
        let size = usize::try_from(bytes).map_err(|_| Status::NoMemory)?;
        Layout::from_size_align(size.max(1), 256).map_err(|_| Status::NoMemory)
    }
}

impl Device for Emulated {
    fn name(&self) -> &'static CStr {
        c"gpu-emulated"
    }

    fn free_bytes(&self) -> Option<u64> {
        let limit = self.limit.load(Ordering::Relaxed);
        (limit != 0).then(|| limit.saturating_sub(self.bytes.load(Ordering::Relaxed)))
    }

    fn alloc(&self, bytes: u64) -> Result<u64> {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit != 0 && self.bytes.load(Ordering::Relaxed).saturating_add(bytes) > limit {
            return Err(Status::NoMemory);
        }
        // SAFETY: the size is not 0.
        let memory = unsafe { alloc_zeroed(Self::layout(bytes)?) };
        if memory.is_null() {
            return Err(Status::NoMemory);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(memory as u64)
    }

    fn free(&self, address: u64, bytes: u64) {
        let Ok(layout) = Self::layout(bytes) else {
            return;
        };
        let memory = address as *mut u8;
        // SAFETY: made by `alloc` with this size.
        unsafe {
            memory.write_bytes(0, layout.size());
            dealloc(memory, layout);
        }
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn wrap(&self, data: &[u8]) -> Option<u64> {
        let address = data.as_ptr() as u64;
        if !self.unified.load(Ordering::Relaxed) || !address.is_multiple_of(16) {
            return None;
        }
        self.wrapped.fetch_add(1, Ordering::Relaxed);
        Some(address)
    }

    fn unwrap(&self, _address: u64) {
        self.wrapped.fetch_sub(1, Ordering::Relaxed);
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<()> {
        self.copied.fetch_add(data.len() as u64, Ordering::Relaxed);
        // SAFETY: inside what the caller has allocated.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), address as *mut u8, data.len()) };
        Ok(())
    }

    fn read(&self, address: u64, out: &mut [u8], _at_once: bool) -> Result<()> {
        self.copied.fetch_add(out.len() as u64, Ordering::Relaxed);
        // SAFETY: inside what the caller has allocated.
        out.copy_from_slice(unsafe { slice::from_raw_parts(address as *const u8, out.len()) });
        Ok(())
    }

    fn kernel(&self, name: &CStr) -> Result<u64> {
        // SAFETY: a function of emulated.cpp, which wants a terminated name.
        match unsafe { realm_gpu_find(name.as_ptr()) } {
            0 => Err(Status::NotFound),
            kernel => Ok(kernel),
        }
    }

    fn launch(&self, launches: &[Launch], ops: u64, step: u64) -> Result<()> {
        for l in launches {
            self.launched.fetch_add(1, Ordering::Relaxed);
            // SAFETY: a kernel that was found, over the operations of a plan and a step that was written for it.
            unsafe { realm_gpu_emulate(l.kernel, ops, l.op, step, l.blocks, l.steps) };
        }
        Ok(())
    }

    fn capture(&self, launches: &[Launch], ops: u64, step: u64) -> Result<u64> {
        self.graphs.fetch_add(1, Ordering::Relaxed);
        let graph: Graph = (launches.to_vec(), ops, step);
        Ok(Box::into_raw(Box::new(graph)) as u64)
    }

    fn replay(&self, graph: u64) -> Result<()> {
        self.replayed.fetch_add(1, Ordering::Relaxed);
        // SAFETY: made by `capture`.
        let (launches, ops, step) = unsafe { &*(graph as *const Graph) };
        self.launch(launches, *ops, *step)
    }

    fn drop_graph(&self, graph: u64) {
        self.graphs.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: made by `capture`.
        drop(unsafe { Box::from_raw(graph as *mut Graph) });
    }

    fn interprets(&self) -> bool {
        self.interprets.load(Ordering::Relaxed)
    }

    fn interpret(&self, calls: u64, count: u32, ops: u64, step: u64, steps: u32) -> Result<()> {
        self.interpreted.fetch_add(1, Ordering::Relaxed);
        self.launched.fetch_add(1, Ordering::Relaxed);
        // SAFETY: a list of a plan's launches, its operations, and steps that were written for it.
        unsafe { realm_gpu_interpret(ops, calls, count, step, self.most_blocks(), steps) };
        Ok(())
    }

    fn mark(&self) -> Result<u64> {
        Ok(1)
    }

    fn reached(&self, _mark: u64, _wait: bool) -> Result<bool> {
        Ok(true)
    }

    fn forget(&self, _mark: u64) {}

    fn most_blocks(&self) -> u32 {
        // Few, so that kernels loop over their units.
        7
    }

    fn now_ns(&self) -> u64 {
        // Time passes with work, so that slices are the same in each run.
        self.launched.load(Ordering::Relaxed) * 1000
    }
}
