//! What the port asks of a device: memory, copies, launches, and whether they have ended.
//!
//! A device does what it is told in order, as if there were one queue. Addresses are numbers: only the emulated device's
//! are of use to this process.

use crate::error::Status;
use alloc::sync::Arc;
use core::ffi::CStr;

/// A result of a device.
pub type Result<T> = core::result::Result<T, Status>;

/// A kernel over a number of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// What [`Device::kernel`] gave.
    pub kernel: u64,
    /// The operation it works on.
    pub op: u32,
    /// How many blocks, for each of so many steps.
    pub blocks: u32,
    /// As above.
    pub steps: u32,
}

/// A device. Functions are called from any thread.
pub trait Device: Send + Sync {
    /// The backend's name.
    fn name(&self) -> &'static CStr;
    /// Bytes that can still be allocated, about; none: nobody knows, or as many as anybody wants.
    fn free_bytes(&self) -> Option<u64>;
    /// Zeroed memory, at a multiple of 256.
    fn alloc(&self, bytes: u64) -> Result<u64>;
    /// Overwrites memory with zeros and gives it back, once what was launched has ended.
    fn free(&self, address: u64, bytes: u64);
    /// The host's bytes as memory that kernels can read, without a copy: for a device that shares the host's memory. They stay as they are until
    /// [`Device::unwrap`]. None: they have to be copied.
    fn wrap(&self, _data: &[u8]) -> Option<u64> {
        None
    }
    /// Undoes [`Device::wrap`], once what was launched has ended.
    fn unwrap(&self, _address: u64) {}
    /// Copies to the device, behind what was launched. `data` may go when this returns.
    fn write(&self, address: u64, data: &[u8]) -> Result<()>;
    /// Copies from the device: after all that was launched, or at once, where the caller knows that what wrote it has ended.
    fn read(&self, address: u64, out: &mut [u8], at_once: bool) -> Result<()>;
    /// A kernel, by its name.
    fn kernel(&self, name: &CStr) -> Result<u64>;
    /// Enqueues kernels over operations and steps, which begin at these addresses.
    fn launch(&self, launches: &[Launch], ops: u64, step: u64) -> Result<()>;
    /// Makes one thing of launches, to be given to [`Device::drop_graph`]; never 0.
    fn capture(&self, launches: &[Launch], ops: u64, step: u64) -> Result<u64>;
    /// Enqueues what was captured.
    fn replay(&self, graph: u64) -> Result<()>;
    /// Destroys what was captured.
    fn drop_graph(&self, graph: u64);
    /// Whether one kernel can interpret launches, because all of its blocks are there at the same time.
    fn interprets(&self) -> bool {
        false
    }
    /// Enqueues that kernel over so many calls, which begin at this address, and so many steps.
    fn interpret(
        &self,
        _calls: u64,
        _count: u32,
        _ops: u64,
        _step: u64,
        _steps: u32,
    ) -> Result<()> {
        Err(Status::Unsupported)
    }
    /// A mark behind all that was launched, to be given to [`Device::forget`]; never 0.
    fn mark(&self) -> Result<u64>;
    /// Whether all before a mark has ended; waits for it, if asked to.
    fn reached(&self, mark: u64, wait: bool) -> Result<bool>;
    /// Destroys a mark.
    fn forget(&self, mark: u64);
    /// Most blocks that are worth launching: kernels loop over what is left.
    fn most_blocks(&self) -> u32;
    /// Nanoseconds since any beginning.
    fn now_ns(&self) -> u64;
}

/// Memory of a device with an owner.
pub struct Memory {
    device: Arc<dyn Device>,
    /// Where it begins.
    pub address: u64,
    /// None: the host's, wrapped.
    bytes: Option<u64>,
}

impl Memory {
    /// Zeroed.
    pub fn new(device: &Arc<dyn Device>, bytes: u64) -> Result<Self> {
        Ok(Self {
            device: Arc::clone(device),
            address: device.alloc(bytes.max(1))?,
            bytes: Some(bytes.max(1)),
        })
    }

    /// With these contents: the host's own bytes where the device can read them, else a copy of them.
    pub fn of(device: &Arc<dyn Device>, data: &[u8]) -> Result<Self> {
        if let Some(address) = device.wrap(data) {
            return Ok(Self {
                device: Arc::clone(device),
                address,
                bytes: None,
            });
        }
        let memory = Self::new(device, data.len() as u64)?;
        device.write(memory.address, data)?;
        Ok(memory)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        match self.bytes {
            Some(bytes) => self.device.free(self.address, bytes),
            None => self.device.unwrap(self.address),
        }
    }
}
