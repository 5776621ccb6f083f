//! NVIDIA's GPUs through the driver API, which is opened when a backend is created: a machine without it gets an error, not a
//! program that does not start.
//!
//! Everything goes into one stream, the host's or one of our own. Not yet run on hardware.

mod capi;
mod driver;
pub(super) mod library;
#[cfg(any(test, not(realm_cuda_fatbin)))]
mod nvrtc;

use super::device::{Device, Launch, Result};
use crate::error::Status;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::ffi::{CStr, c_char, c_void};
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};
use driver::{Driver, Handle};
use library::Library;
use std::sync::Mutex;
use std::time::Instant;

pub use capi::{realm_cuda_backend, realm_cuda_options};

/// The kernels as one text.
#[cfg(any(test, not(realm_cuda_fatbin)))]
pub const SOURCE: &str = include_str!(concat!(env!("OUT_DIR"), "/realm.cu"));

/// The kernels for sm_80, sm_90 and, as PTX, later ones.
#[cfg(realm_cuda_fatbin)]
static FATBIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/realm.fatbin"));

const THREADS: u32 = 256;
/// Blocks for each multiprocessor: as many as fit with 2048 threads.
const BLOCKS: u32 = 8;

/// What a host may bring.
#[derive(Clone, Copy)]
pub struct Options {
    /// Which device, where no context is given.
    pub device: i32,
    /// A `CUcontext`; NULL: the device's primary one.
    pub context: Handle,
    /// A `CUstream` of that context; NULL: one of our own.
    pub stream: Handle,
    /// Most bytes to allocate; 0: any number.
    pub memory_limit: u64,
}

impl Default for Options {
    /// The first device, everything of our own.
    fn default() -> Self {
        Self {
            device: 0,
            context: ptr::null_mut(),
            stream: ptr::null_mut(),
            memory_limit: 0,
        }
    }
}

/// A device.
pub struct Cuda {
    driver: Driver,
    context: Handle,
    /// The device whose primary context this is, to be released.
    retained: Option<i32>,
    stream: Handle,
    owns_stream: bool,
    /// For reading what is known to have ended, and for capturing.
    side: Mutex<Side>,
    module: Handle,
    limit: u64,
    bytes: AtomicU64,
    multiprocessors: u32,
    /// The kernel that interprets launches, and the blocks of it that are resident together; NULL: there is none.
    program: (Handle, u32),
    begun: Instant,
}

/// A stream that nothing waits on.
struct Side(Handle);

// SAFETY: handles of the driver, whose functions may be called from any thread.
unsafe impl Send for Cuda {}
// SAFETY: as above.
unsafe impl Sync for Cuda {}
// SAFETY: as above.
unsafe impl Send for Side {}

fn status(code: i32) -> Result<()> {
    match code {
        0 => Ok(()),
        driver::OUT_OF_MEMORY => Err(Status::NoMemory),
        _ => Err(Status::Backend),
    }
}

/// The context is current for this thread as long as this is there.
struct Current<'a>(&'a Driver);

impl<'a> Current<'a> {
    fn new(driver: &'a Driver, context: Handle) -> Result<Self> {
        // SAFETY: a live context.
        status(unsafe { (driver.context_push)(context) })?;
        Ok(Self(driver))
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        let mut context = ptr::null_mut();
        // SAFETY: pushed by `new`.
        unsafe { (self.0.context_pop)(&raw mut context) };
    }
}

impl Cuda {
    /// Opens the driver and a device. The error says what is missing.
    pub fn new(options: Options) -> core::result::Result<Arc<Self>, String> {
        let library = Library::open(&["libcuda.so.1", "nvcuda.dll"]).ok_or(
            "CUDA is not available: there is no libcuda.so.1 or nvcuda.dll (NVIDIA's driver)",
        )?;
        let driver = Driver::load(library)
            .map_err(|e| format!("CUDA is not available: the driver is too old: {e}"))?;
        let check = |code: i32, what: &str| match code {
            0 => Ok(()),
            code => Err(format!(
                "CUDA is not available: {what}: {}",
                describe(&driver, code)
            )),
        };
        // SAFETY: functions of cuda.h with what they ask for.
        unsafe { check((driver.init)(0), "cuInit")? };
        let (mut context, mut retained, mut device) = (options.context, None, options.device);
        if context.is_null() {
            // SAFETY: as above.
            unsafe {
                check(
                    (driver.device_get)(&raw mut device, options.device),
                    "cuDeviceGet",
                )?;
                check(
                    (driver.context_retain)(&raw mut context, device),
                    "cuDevicePrimaryCtxRetain",
                )?;
            }
            retained = Some(device);
        }
        let mut cuda = Self {
            context,
            retained,
            stream: options.stream,
            owns_stream: false,
            side: Mutex::new(Side(ptr::null_mut())),
            module: ptr::null_mut(),
            limit: options.memory_limit,
            bytes: AtomicU64::new(0),
            multiprocessors: 1,
            program: (ptr::null_mut(), 0),
            begun: Instant::now(),
            driver,
        };
        // From here on dropping it gives back what there is.
        cuda.set_up()?;
        Ok(Arc::new(cuda))
    }

    fn set_up(&mut self) -> core::result::Result<(), String> {
        let d = &self.driver;
        let check = |code: i32, what: &str| match code {
            0 => Ok(()),
            code => Err(format!("CUDA: {what}: {}", describe(d, code))),
        };
        let _current = Current::new(d, self.context)
            .map_err(|_| "CUDA: the context cannot be made current")?;
        let (mut device, mut side) = (0, ptr::null_mut());
        let (mut count, mut major, mut minor) = (0, 0, 0);
        // SAFETY: functions of cuda.h with what they ask for.
        unsafe {
            check((d.context_device)(&raw mut device), "cuCtxGetDevice")?;
            check(
                (d.device_attribute)(&raw mut count, driver::MULTIPROCESSOR_COUNT, device),
                "cuDeviceGetAttribute",
            )?;
            check(
                (d.device_attribute)(&raw mut major, driver::COMPUTE_CAPABILITY_MAJOR, device),
                "cuDeviceGetAttribute",
            )?;
            check(
                (d.device_attribute)(&raw mut minor, driver::COMPUTE_CAPABILITY_MINOR, device),
                "cuDeviceGetAttribute",
            )?;
            if self.stream.is_null() {
                check(
                    (d.stream_create)(&raw mut self.stream, driver::NON_BLOCKING),
                    "cuStreamCreate",
                )?;
                self.owns_stream = true;
            }
            check(
                (d.stream_create)(&raw mut side, driver::NON_BLOCKING),
                "cuStreamCreate",
            )?;
        }
        self.side = Mutex::new(Side(side));
        self.multiprocessors = count.max(1) as u32;
        let image = image(10 * major + minor)?;
        // SAFETY: a fatbin or a cubin, which says itself how long it is.
        unsafe {
            check(
                (d.module_load)(&raw mut self.module, image.as_ptr().cast()),
                "cuModuleLoadData",
            )?;
        }
        let (mut cooperative, mut program, mut resident) = (0, ptr::null_mut(), 0);
        // SAFETY: functions of cuda.h with what they ask for.
        unsafe {
            check(
                (d.device_attribute)(&raw mut cooperative, driver::COOPERATIVE_LAUNCH, device),
                "cuDeviceGetAttribute",
            )?;
            check(
                (d.module_function)(&raw mut program, self.module, c"realm_program".as_ptr()),
                "cuModuleGetFunction",
            )?;
            check(
                (d.occupancy)(&raw mut resident, program, THREADS as i32, 0),
                "cuOccupancyMaxActiveBlocksPerMultiprocessor",
            )?;
        }
        if cooperative != 0 && resident > 0 {
            self.program = (program, resident as u32 * self.multiprocessors);
        }
        Ok(())
    }

    fn current(&self) -> Result<Current<'_>> {
        Current::new(&self.driver, self.context)
    }

    /// Kernels into a stream.
    fn enqueue(&self, launches: &[Launch], ops: u64, step: u64, stream: Handle) -> Result<()> {
        for l in launches {
            let (mut ops, mut op, mut step) = (ops, l.op, step);
            let mut args: [*mut c_void; 3] = [
                (&raw mut ops).cast(),
                (&raw mut op).cast(),
                (&raw mut step).cast(),
            ];
            // SAFETY: a kernel of the module, whose three arguments these are.
            status(unsafe {
                (self.driver.launch)(
                    l.kernel as Handle,
                    l.blocks,
                    l.steps,
                    1,
                    THREADS,
                    1,
                    1,
                    0,
                    stream,
                    args.as_mut_ptr(),
                    ptr::null_mut(),
                )
            })?;
        }
        Ok(())
    }
}

fn describe(driver: &Driver, code: i32) -> String {
    let mut text: *const c_char = ptr::null();
    // SAFETY: the driver's own text, which stays.
    unsafe {
        if (driver.error_string)(code, &raw mut text) != 0 || text.is_null() {
            return format!("error {code}");
        }
        format!("{} ({code})", CStr::from_ptr(text).to_string_lossy())
    }
}

/// What the driver loads.
#[cfg(realm_cuda_fatbin)]
fn image(_capability: i32) -> core::result::Result<Cow<'static, [u8]>, String> {
    Ok(Cow::Borrowed(FATBIN))
}

/// What the driver loads.
#[cfg(not(realm_cuda_fatbin))]
fn image(capability: i32) -> core::result::Result<Cow<'static, [u8]>, String> {
    nvrtc::compile(SOURCE, capability).map(Cow::Owned)
}

impl Drop for Cuda {
    fn drop(&mut self) {
        let side = self.side.get_mut().map_or(ptr::null_mut(), |s| s.0);
        // SAFETY: all are ours, and nothing runs any more: who uses the device holds it.
        unsafe {
            if (self.driver.context_push)(self.context) == 0 {
                if !self.module.is_null() {
                    (self.driver.stream_synchronize)(self.stream);
                    (self.driver.module_unload)(self.module);
                }
                if !side.is_null() {
                    (self.driver.stream_destroy)(side);
                }
                if self.owns_stream {
                    (self.driver.stream_destroy)(self.stream);
                }
                let mut context = ptr::null_mut();
                (self.driver.context_pop)(&raw mut context);
            }
            if let Some(device) = self.retained {
                (self.driver.context_release)(device);
            }
        }
    }
}

impl Device for Cuda {
    fn name(&self) -> &'static CStr {
        c"cuda"
    }

    fn free_bytes(&self) -> Option<u64> {
        let _current = self.current().ok()?;
        let (mut free, mut all) = (0, 0);
        // SAFETY: a function of cuda.h with what it asks for.
        status(unsafe { (self.driver.memory)(&raw mut free, &raw mut all) }).ok()?;
        let ours = match self.limit {
            0 => u64::MAX,
            limit => limit.saturating_sub(self.bytes.load(Ordering::Relaxed)),
        };
        Some(ours.min(free as u64))
    }

    fn alloc(&self, bytes: u64) -> Result<u64> {
        let size = usize::try_from(bytes).map_err(|_| Status::NoMemory)?;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let made = || {
            if self.limit != 0 && before.saturating_add(bytes) > self.limit {
                return Err(Status::NoMemory);
            }
            let _current = self.current()?;
            let mut address = 0;
            // SAFETY: functions of cuda.h with what they ask for.
            unsafe {
                status((self.driver.alloc)(&raw mut address, size))?;
                status((self.driver.set)(address, 0, size, self.stream))?;
            }
            Ok(address)
        };
        made().inspect_err(|_| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    fn free(&self, address: u64, bytes: u64) {
        if let Ok(_current) = self.current() {
            // SAFETY: made by `alloc`; nothing uses it that is not in the stream before.
            unsafe {
                (self.driver.set)(address, 0, bytes as usize, self.stream);
                (self.driver.stream_synchronize)(self.stream);
                (self.driver.free)(address);
            }
        }
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<()> {
        let _current = self.current()?;
        // SAFETY: inside what is allocated. Pageable memory is staged before the function returns.
        status(unsafe {
            (self.driver.to_device)(address, data.as_ptr().cast(), data.len(), self.stream)
        })
    }

    fn read(&self, address: u64, out: &mut [u8], at_once: bool) -> Result<()> {
        let _current = self.current()?;
        let side = match at_once {
            true => Some(self.side.lock().map_err(|_| Status::Internal)?),
            false => None,
        };
        let stream = side.as_ref().map_or(self.stream, |side| side.0);
        // SAFETY: inside what is allocated, and waited for.
        unsafe {
            status((self.driver.to_host)(
                out.as_mut_ptr().cast(),
                address,
                out.len(),
                stream,
            ))?;
            status((self.driver.stream_synchronize)(stream))
        }
    }

    fn kernel(&self, name: &CStr) -> Result<u64> {
        let _current = self.current()?;
        let mut function = ptr::null_mut();
        // SAFETY: a terminated name.
        status(unsafe {
            (self.driver.module_function)(&raw mut function, self.module, name.as_ptr())
        })?;
        Ok(function as u64)
    }

    fn launch(&self, launches: &[Launch], ops: u64, step: u64) -> Result<()> {
        let _current = self.current()?;
        self.enqueue(launches, ops, step, self.stream)
    }

    fn capture(&self, launches: &[Launch], ops: u64, step: u64) -> Result<u64> {
        let _current = self.current()?;
        let side = self.side.lock().map_err(|_| Status::Internal)?;
        let (mut graph, mut ready) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: a stream that nobody else uses while it is locked; what was begun is ended in any case.
        unsafe {
            status((self.driver.capture_begin)(side.0, driver::CAPTURE_RELAXED))?;
            let enqueued = self.enqueue(launches, ops, step, side.0);
            let ended = status((self.driver.capture_end)(side.0, &raw mut graph));
            let made = enqueued
                .and(ended)
                .and_then(|()| status((self.driver.graph_instantiate)(&raw mut ready, graph, 0)));
            if !graph.is_null() {
                (self.driver.graph_destroy)(graph);
            }
            made?;
        }
        Ok(ready as u64)
    }

    fn replay(&self, graph: u64) -> Result<()> {
        let _current = self.current()?;
        // SAFETY: made by `capture`.
        status(unsafe { (self.driver.graph_launch)(graph as Handle, self.stream) })
    }

    fn drop_graph(&self, graph: u64) {
        if let Ok(_current) = self.current() {
            // SAFETY: made by `capture`; the driver keeps what is still running.
            unsafe { (self.driver.graph_exec_destroy)(graph as Handle) };
        }
    }

    fn interprets(&self) -> bool {
        !self.program.0.is_null()
    }

    fn interpret(&self, calls: u64, count: u32, ops: u64, step: u64, steps: u32) -> Result<()> {
        let _current = self.current()?;
        let (program, blocks) = self.program;
        let (mut ops, mut calls, mut count, mut step, mut steps) = (ops, calls, count, step, steps);
        let mut args: [*mut c_void; 5] = [
            (&raw mut ops).cast(),
            (&raw mut calls).cast(),
            (&raw mut count).cast(),
            (&raw mut step).cast(),
            (&raw mut steps).cast(),
        ];
        // SAFETY: the kernel of program.h, whose five arguments these are; so many blocks of it are resident together.
        status(unsafe {
            (self.driver.launch_cooperative)(
                program,
                blocks,
                1,
                1,
                THREADS,
                1,
                1,
                0,
                self.stream,
                args.as_mut_ptr(),
            )
        })
    }

    fn mark(&self) -> Result<u64> {
        let _current = self.current()?;
        let mut event = ptr::null_mut();
        // SAFETY: functions of cuda.h with what they ask for.
        unsafe {
            status((self.driver.event_create)(
                &raw mut event,
                driver::DISABLE_TIMING,
            ))?;
            let recorded = status((self.driver.event_record)(event, self.stream));
            if recorded.is_err() {
                (self.driver.event_destroy)(event);
            }
            recorded?;
        }
        Ok(event as u64)
    }

    fn reached(&self, mark: u64, wait: bool) -> Result<bool> {
        let _current = self.current()?;
        // SAFETY: an event of `mark`.
        let code = unsafe {
            match wait {
                true => (self.driver.event_synchronize)(mark as Handle),
                false => (self.driver.event_query)(mark as Handle),
            }
        };
        match code {
            driver::NOT_READY => Ok(false),
            code => status(code).map(|()| true),
        }
    }

    fn forget(&self, mark: u64) {
        if let Ok(_current) = self.current() {
            // SAFETY: an event of `mark`.
            unsafe { (self.driver.event_destroy)(mark as Handle) };
        }
    }

    fn most_blocks(&self) -> u32 {
        self.multiprocessors * BLOCKS
    }

    fn now_ns(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine without a GPU the message is what there is to see; on one with, the device opens.
    #[test]
    fn a_device_opens_or_says_why_not() {
        match Cuda::new(Options::default()) {
            Ok(cuda) => assert!(cuda.kernel(c"realm_add").is_ok()),
            Err(e) => assert!(e.starts_with("CUDA"), "{e}"),
        }
    }
}
