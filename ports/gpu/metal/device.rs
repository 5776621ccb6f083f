//! Apple's GPUs through Metal 3. Has not run on hardware.
//!
//! Memory is shared with the CPU, so copies are the CPU's wherever nothing is under way that might use what is copied; otherwise the GPU
//! copies, in its turn. What is enqueued goes into one command buffer with one encoder, whose dispatches come one after the other, until a
//! mark commits it; a fence orders encoders.
//!
//! The bindings are objc2-metal's: they are generated from Apple's headers, so that a check of types, all there is to be had without a
//! Mac, says something.

use crate::error::Status;
use crate::gpu::device::{Device, Launch, Result};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::{CStr, c_void};
use core::ptr::{self, NonNull};
use core::slice;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{NSObjectProtocol, ProtocolObject};
use objc2::{Message, sel};
use objc2_foundation::{NSError, NSString, NSURL};
use objc2_metal::*;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// A protocol's object.
type Object<P> = Retained<ProtocolObject<P>>;
type Shared = Object<dyn MTLBuffer>;

/// The kernels as one text.
static SOURCE: &str = include_str!(concat!(env!("OUT_DIR"), "/realm.metal"));

const THREADS: usize = 256;
/// Of a SIMD group: reductions count on it.
const WARP: usize = 32;
/// Metal does not say how many cores there are; so many blocks keep the largest busy.
const BLOCKS: u32 = 640;
unsafe extern "C" {
    /// Of the processor's memory, which is wrapped by pages.
    safe fn getpagesize() -> i32;
}

// MTLCreateSystemDefaultDevice wants it.
#[link(name = "CoreGraphics", kind = "framework")]
unsafe extern "C" {}

/// What a host may bring.
pub struct Options {
    /// An `id<MTLCommandQueue>`; NULL: one of our own.
    pub queue: *mut c_void,
    /// Where a compiled library is; none: the kernels' source is compiled.
    pub library: Option<String>,
    /// Most bytes to allocate; 0: what Metal recommends.
    pub memory_limit: u64,
}

/// Memory, by the address that kernels see.
struct Allocation {
    buffer: Shared,
    bytes: u64,
    /// The host's own, which is not to be written to.
    wrapped: bool,
}

/// What is being encoded, and what has been committed last.
#[derive(Default)]
struct Queue {
    open: Option<(
        Object<dyn MTLCommandBuffer>,
        Object<dyn MTLComputeCommandEncoder>,
    )>,
    last: Option<Object<dyn MTLCommandBuffer>>,
    /// The fence is waited for once somebody has updated it.
    fenced: bool,
    allocations: BTreeMap<u64, Allocation>,
    /// Allocations that the residency set does not know yet are to be committed.
    changed: bool,
    pipelines: Vec<Object<dyn MTLComputePipelineState>>,
    names: BTreeMap<CString, u64>,
    /// Bytes that are ours.
    bytes: u64,
}

// SAFETY: Metal's objects may be used from any thread; encoders and command buffers by one at a time, which the lock sees to.
unsafe impl Send for Queue {}

/// A device.
pub struct Metal {
    device: Object<dyn MTLDevice>,
    commands: Object<dyn MTLCommandQueue>,
    library: Object<dyn MTLLibrary>,
    fence: Object<dyn MTLFence>,
    /// All allocations, where the system is recent enough (macOS 15, iOS 18); none: encoders are told of each.
    resident: Option<Object<dyn MTLResidencySet>>,
    limit: u64,
    queue: Mutex<Queue>,
    begun: Instant,
}

// SAFETY: as above; none of these is changed but under the lock.
unsafe impl Send for Metal {}
// SAFETY: as above.
unsafe impl Sync for Metal {}

/// What captured launches are: Metal has no graphs of dispatches by address, and encoding one takes about a microsecond.
type Graph = (Vec<Launch>, u64, u64);

fn why(what: &str, error: &NSError) -> String {
    format!("Metal: {what}: {}", error.localizedDescription())
}

impl Metal {
    /// Opens the device. The error says what is missing.
    ///
    /// # Safety
    /// `options.queue` is NULL or a command queue.
    pub unsafe fn new(options: &Options) -> core::result::Result<Arc<Self>, String> {
        // SAFETY: the caller's promise.
        let given = unsafe {
            options
                .queue
                .cast::<ProtocolObject<dyn MTLCommandQueue>>()
                .as_ref()
        };
        autoreleasepool(|_| Self::open(given.map(Message::retain), options).map(Arc::new))
    }

    fn open(
        given: Option<Object<dyn MTLCommandQueue>>,
        options: &Options,
    ) -> core::result::Result<Self, String> {
        let device = match &given {
            Some(commands) => commands.device(),
            None => MTLCreateSystemDefaultDevice()
                .ok_or("Metal is not available: there is no device")?,
        };
        if !device.supportsFamily(MTLGPUFamily::Metal3) || !device.hasUnifiedMemory() {
            return Err(format!(
                "Metal is not available: {} has no Metal 3 with memory that it shares with the processor",
                device.name()
            ));
        }
        let none = |what: &str| format!("Metal: there is no {what}");
        let commands = match given {
            Some(commands) => commands,
            None => device
                .newCommandQueue()
                .ok_or_else(|| none("command queue"))?,
        };
        let library = library(&device, options.library.as_deref())?;
        let fence = device.newFence().ok_or_else(|| none("fence"))?;
        let mut resident = None;
        if device.respondsToSelector(sel!(newResidencySetWithDescriptor:error:)) {
            let set = device
                .newResidencySetWithDescriptor_error(&MTLResidencySetDescriptor::new())
                .map_err(|e| why("newResidencySet", &e))?;
            commands.addResidencySet(&set);
            resident = Some(set);
        }
        let limit = match options.memory_limit {
            0 => device.recommendedMaxWorkingSetSize(),
            limit => limit,
        };
        Ok(Self {
            device,
            commands,
            library,
            fence,
            resident,
            limit,
            queue: Mutex::default(),
            begun: Instant::now(),
        })
    }

    fn queue(&self) -> Result<MutexGuard<'_, Queue>> {
        self.queue.lock().map_err(|_| Status::Internal)
    }

    /// Enters memory by its address, which must be as aligned as [`Device::alloc`] says.
    fn enter(&self, queue: &mut Queue, buffer: Shared, bytes: u64, wrapped: bool) -> Result<u64> {
        let address = buffer.gpuAddress();
        if address == 0 || address % 256 != 0 {
            return Err(Status::Backend);
        }
        // What is open was told of memory that was there when it began.
        self.commit(queue);
        if let Some(set) = &self.resident {
            set.addAllocation(ProtocolObject::from_ref(&*buffer));
            queue.changed = true;
        }
        queue.allocations.insert(
            address,
            Allocation {
                buffer,
                bytes,
                wrapped,
            },
        );
        Ok(address)
    }

    fn leave(&self, queue: &mut Queue, address: u64) -> Option<Allocation> {
        let gone = queue.allocations.remove(&address)?;
        if let Some(set) = &self.resident {
            set.removeAllocation(ProtocolObject::from_ref(&*gone.buffer));
            queue.changed = true;
        }
        Some(gone)
    }

    /// The encoder that dispatches go into.
    fn encoder<'q>(
        &self,
        queue: &'q mut Queue,
    ) -> Result<&'q ProtocolObject<dyn MTLComputeCommandEncoder>> {
        if queue.open.is_none() {
            let commands = self.command_buffer(queue)?;
            let encoder = commands.computeCommandEncoder().ok_or(Status::Backend)?;
            if queue.fenced {
                encoder.waitForFence(&self.fence);
            }
            if self.resident.is_none() {
                for a in queue.allocations.values() {
                    let usage = MTLResourceUsage::Read | MTLResourceUsage::Write;
                    encoder.useResource_usage(ProtocolObject::from_ref(&*a.buffer), usage);
                }
            }
            queue.open = Some((commands, encoder));
        }
        queue
            .open
            .as_ref()
            .map(|(_, encoder)| &**encoder)
            .ok_or(Status::Internal)
    }

    fn command_buffer(&self, queue: &mut Queue) -> Result<Object<dyn MTLCommandBuffer>> {
        if let Some(set) = self.resident.as_ref().filter(|_| queue.changed) {
            set.commit();
            queue.changed = false;
        }
        self.commands.commandBuffer().ok_or(Status::NoMemory)
    }

    /// Commits what is open.
    fn commit(&self, queue: &mut Queue) {
        if let Some((commands, encoder)) = queue.open.take() {
            encoder.updateFence(&self.fence);
            encoder.endEncoding();
            commands.commit();
            queue.fenced = true;
            queue.last = Some(commands);
        }
    }

    /// Waits for all that was enqueued. A failure is told by the mark behind what failed.
    fn finish(&self, queue: &mut Queue) {
        self.commit(queue);
        if let Some(last) = queue.last.take() {
            last.waitUntilCompleted();
        }
    }

    /// Whether nothing is under way.
    fn idle(queue: &mut Queue) -> bool {
        if queue.last.as_ref().is_some_and(|l| ended(l) != Ok(false)) {
            queue.last = None;
        }
        queue.open.is_none() && queue.last.is_none()
    }

    /// Copies in the GPU's turn.
    fn blit(
        &self,
        queue: &mut Queue,
        to: &ProtocolObject<dyn MTLBuffer>,
        at: usize,
        data: &[u8],
    ) -> Result<()> {
        let bytes = NonNull::new(data.as_ptr().cast_mut().cast()).ok_or(Status::Internal)?;
        let options = MTLResourceOptions::StorageModeShared;
        // SAFETY: `data` has so many bytes, and they are copied now.
        let staged = unsafe {
            self.device
                .newBufferWithBytes_length_options(bytes, data.len(), options)
        };
        let staged = staged.ok_or(Status::NoMemory)?;
        self.commit(queue);
        let commands = self.command_buffer(queue)?;
        let encoder = commands.blitCommandEncoder().ok_or(Status::Backend)?;
        if queue.fenced {
            encoder.waitForFence(&self.fence);
        }
        // SAFETY: both have so many bytes there; the command buffer holds them until it has ended.
        unsafe {
            encoder.copyFromBuffer_sourceOffset_toBuffer_destinationOffset_size(
                &staged,
                0,
                to,
                at,
                data.len(),
            );
        }
        encoder.updateFence(&self.fence);
        encoder.endEncoding();
        commands.commit();
        queue.fenced = true;
        queue.last = Some(commands);
        Ok(())
    }

    fn encode(&self, queue: &mut Queue, launches: &[Launch], ops: u64, step: u64) -> Result<()> {
        let (records, records_at) = locate(queue, ops)?;
        let (head, head_at) = locate(queue, step)?;
        self.encoder(queue)?;
        let (Some((_, encoder)), pipelines) = (&queue.open, &queue.pipelines) else {
            return Err(Status::Internal);
        };
        // SAFETY: inside these buffers, for the arguments that every kernel has.
        unsafe {
            encoder.setBuffer_offset_atIndex(Some(&records), records_at, 0);
            encoder.setBuffer_offset_atIndex(Some(&head), head_at, 2);
        }
        for l in launches {
            let pipeline = pipelines
                .get((l.kernel as usize).wrapping_sub(1))
                .ok_or(Status::Internal)?;
            encoder.setComputePipelineState(pipeline);
            // SAFETY: four bytes, which are copied.
            unsafe { encoder.setBytes_length_atIndex(NonNull::from(&l.op).cast(), 4, 1) };
            let grid = MTLSize {
                width: l.blocks as usize,
                height: l.steps as usize,
                depth: 1,
            };
            let block = MTLSize {
                width: THREADS,
                height: 1,
                depth: 1,
            };
            encoder.dispatchThreadgroups_threadsPerThreadgroup(grid, block);
        }
        Ok(())
    }
}

/// The kernels, compiled or to be compiled. Nothing may be fused or reordered that the text does not say is.
fn library(
    device: &ProtocolObject<dyn MTLDevice>,
    path: Option<&str>,
) -> core::result::Result<Object<dyn MTLLibrary>, String> {
    if let Some(path) = path {
        let url = NSURL::fileURLWithPath(&NSString::from_str(path));
        return device
            .newLibraryWithURL_error(&url)
            .map_err(|e| why(path, &e));
    }
    let options = MTLCompileOptions::new();
    options.setLanguageVersion(MTLLanguageVersion::Version3_0);
    #[allow(deprecated, reason = "its successor is not there before macOS 15")]
    options.setFastMathEnabled(false);
    device
        .newLibraryWithSource_options_error(&NSString::from_str(SOURCE), Some(&options))
        .map_err(|e| why("the kernels do not compile", &e))
}

/// Whether a command buffer has ended.
fn ended(commands: &ProtocolObject<dyn MTLCommandBuffer>) -> Result<bool> {
    match commands.status() {
        MTLCommandBufferStatus::Completed => Ok(true),
        MTLCommandBufferStatus::Error => Err(match commands.error() {
            Some(e) if e.code() == MTLCommandBufferError::OutOfMemory.0 as isize => {
                Status::NoMemory
            }
            _ => Status::Backend,
        }),
        _ => Ok(false),
    }
}

/// The buffer that an address is in, and where.
fn locate(queue: &Queue, address: u64) -> Result<(Shared, usize)> {
    let (&begin, a) = queue
        .allocations
        .range(..=address)
        .next_back()
        .ok_or(Status::Internal)?;
    Ok((a.buffer.clone(), (address - begin) as usize))
}

/// The same for bytes of it, where the processor sees them. Copies are of the caller's own memory, so they are inside.
fn host(queue: &Queue, address: u64, bytes: usize) -> Result<*mut u8> {
    let (buffer, at) = locate(queue, address)?;
    if at.saturating_add(bytes) > buffer.length() {
        return Err(Status::Internal);
    }
    Ok(buffer.contents().as_ptr().cast::<u8>().wrapping_add(at))
}

impl Device for Metal {
    fn name(&self) -> &'static CStr {
        c"metal"
    }

    fn free_bytes(&self) -> Option<u64> {
        let used = self.queue().ok()?.bytes;
        Some(self.limit.saturating_sub(used))
    }

    fn alloc(&self, bytes: u64) -> Result<u64> {
        autoreleasepool(|_| {
            let mut queue = self.queue()?;
            let all = queue.bytes.saturating_add(bytes);
            let most = self.device.maxBufferLength() as u64;
            if all > self.limit || bytes > most {
                return Err(Status::NoMemory);
            }
            let options = MTLResourceOptions::StorageModeShared
                | MTLResourceOptions::HazardTrackingModeUntracked;
            let buffer = self
                .device
                .newBufferWithLength_options(bytes as usize, options)
                .ok_or(Status::NoMemory)?;
            // SAFETY: a buffer of so many bytes, which nobody else knows.
            unsafe {
                buffer
                    .contents()
                    .as_ptr()
                    .cast::<u8>()
                    .write_bytes(0, bytes as usize)
            };
            let address = self.enter(&mut queue, buffer, bytes, false)?;
            queue.bytes = all;
            Ok(address)
        })
    }

    fn free(&self, address: u64, bytes: u64) {
        autoreleasepool(|_| {
            let Ok(mut queue) = self.queue() else { return };
            self.finish(&mut queue);
            if let Some(gone) = self.leave(&mut queue, address) {
                if !gone.wrapped {
                    // SAFETY: ours alone; what was launched has ended.
                    unsafe {
                        gone.buffer
                            .contents()
                            .as_ptr()
                            .cast::<u8>()
                            .write_bytes(0, gone.bytes as usize)
                    };
                    queue.bytes = queue.bytes.saturating_sub(bytes);
                }
            }
        });
    }

    fn wrap(&self, data: &[u8]) -> Option<u64> {
        let (begin, page) = (data.as_ptr() as usize, getpagesize().max(4096) as usize);
        let (first, end) = (
            begin / page * page,
            begin
                .checked_add(data.len())?
                .checked_next_multiple_of(page)?,
        );
        if begin % 16 != 0 || end - first > self.device.maxBufferLength() {
            return None;
        }
        autoreleasepool(|_| {
            let mut queue = self.queue().ok()?;
            let options = MTLResourceOptions::StorageModeShared
                | MTLResourceOptions::HazardTrackingModeUntracked;
            // SAFETY: pages are mapped as a whole, so all of these are, until `unwrap`; kernels read only what is `data`'s.
            let buffer = unsafe {
                self.device
                    .newBufferWithBytesNoCopy_length_options_deallocator(
                        NonNull::new(ptr::without_provenance_mut(first))?,
                        end - first,
                        options,
                        None,
                    )?
            };
            let address = self
                .enter(&mut queue, buffer, (end - first) as u64, true)
                .ok()?;
            Some(address + (begin - first) as u64)
        })
    }

    fn unwrap(&self, address: u64) {
        autoreleasepool(|_| {
            let Ok(mut queue) = self.queue() else { return };
            self.finish(&mut queue);
            let begin = queue
                .allocations
                .range(..=address)
                .next_back()
                .map(|(&begin, _)| begin);
            begin.and_then(|begin| self.leave(&mut queue, begin));
        });
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        autoreleasepool(|_| {
            let mut queue = self.queue()?;
            let to = host(&queue, address, data.len())?;
            if Self::idle(&mut queue) {
                // SAFETY: inside a buffer that nothing uses now.
                unsafe { ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) };
                return Ok(());
            }
            let (buffer, at) = locate(&queue, address)?;
            self.blit(&mut queue, &buffer, at, data)
        })
    }

    fn read(&self, address: u64, out: &mut [u8], at_once: bool) -> Result<()> {
        autoreleasepool(|_| {
            let mut queue = self.queue()?;
            if !at_once {
                self.finish(&mut queue);
            }
            let from = host(&queue, address, out.len())?;
            // SAFETY: inside a buffer; what wrote it has ended.
            out.copy_from_slice(unsafe { slice::from_raw_parts(from, out.len()) });
            Ok(())
        })
    }

    fn kernel(&self, name: &CStr) -> Result<u64> {
        autoreleasepool(|_| {
            let mut queue = self.queue()?;
            if let Some(&known) = queue.names.get(name) {
                return Ok(known);
            }
            let text = NSString::from_str(&name.to_string_lossy());
            let function = self
                .library
                .newFunctionWithName(&text)
                .ok_or(Status::NotFound)?;
            let pipeline = self
                .device
                .newComputePipelineStateWithFunction_error(&function)
                .map_err(|_| Status::Backend)?;
            if pipeline.maxTotalThreadsPerThreadgroup() < THREADS
                || pipeline.threadExecutionWidth() != WARP
            {
                return Err(Status::Unsupported);
            }
            queue.pipelines.push(pipeline);
            let number = queue.pipelines.len() as u64;
            queue.names.insert(name.to_owned(), number);
            Ok(number)
        })
    }

    fn launch(&self, launches: &[Launch], ops: u64, step: u64) -> Result<()> {
        autoreleasepool(|_| {
            let mut queue = self.queue()?;
            self.encode(&mut queue, launches, ops, step)
        })
    }

    fn capture(&self, launches: &[Launch], ops: u64, step: u64) -> Result<u64> {
        let graph: Graph = (launches.to_vec(), ops, step);
        Ok(Box::into_raw(Box::new(graph)) as u64)
    }

    fn replay(&self, graph: u64) -> Result<()> {
        // SAFETY: made by `capture`.
        let (launches, ops, step) = unsafe { &*(graph as *const Graph) };
        self.launch(launches, *ops, *step)
    }

    fn drop_graph(&self, graph: u64) {
        // SAFETY: made by `capture`.
        drop(unsafe { Box::from_raw(graph as *mut Graph) });
    }

    /// A command buffer behind everything: a mark is what holds it.
    fn mark(&self) -> Result<u64> {
        autoreleasepool(|_| {
            let mut queue = self.queue()?;
            self.encoder(&mut queue)?;
            self.commit(&mut queue);
            let last = queue.last.clone().ok_or(Status::Internal)?;
            Ok(Retained::into_raw(last).cast::<c_void>() as u64)
        })
    }

    fn reached(&self, mark: u64, wait: bool) -> Result<bool> {
        // SAFETY: made by `mark`.
        let commands = unsafe { &*(mark as *const ProtocolObject<dyn MTLCommandBuffer>) };
        autoreleasepool(|_| {
            if wait {
                commands.waitUntilCompleted();
            }
            ended(commands)
        })
    }

    fn forget(&self, mark: u64) {
        // SAFETY: made by `mark`.
        drop(unsafe { Retained::from_raw(mark as *mut ProtocolObject<dyn MTLCommandBuffer>) });
    }

    fn most_blocks(&self) -> u32 {
        BLOCKS
    }

    fn now_ns(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }
}
