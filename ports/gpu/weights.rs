//! Weights on the device: uploaded when a program that is prepared wants them, once for all that use them, gone with the last.
//!
//! Quantized rows are laid out anew on the way, so that kernels read aligned vectors: see `kernels/types.h`, which reads what
//! [`Layout`] writes.

use super::device::{Device, Memory, Result};
use crate::backend::table::realm_weight;
use crate::error::Status;
use crate::quant::GgmlType;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use core::ops::Range;
use core::slice;
use spin::Mutex;

/// Bytes that are laid out and copied at once, about.
const CHUNK: usize = 1 << 20;

/// How a quantized row lies on the device: the quants of all blocks, then the rest of each.
#[derive(Clone, Debug)]
pub struct Layout {
    block: usize,
    blocks: usize,
    /// Where a block has its quants.
    quants: Range<usize>,
}

impl Layout {
    /// Of rows of `k` elements; none for types that stay as they are.
    pub fn new(ty: GgmlType, k: u64) -> Option<Self> {
        use GgmlType as T;
        let quants = match ty {
            T::Q4_0 | T::Q8_0 | T::IQ4_NL => 2..ty.block_bytes(),
            T::Q4_1 => 4..20,
            T::Q5_0 => 6..22,
            T::Q5_1 => 8..24,
            T::MXFP4 => 1..17,
            T::Q2_K => 16..80,
            T::Q3_K => 0..96,
            T::Q4_K => 16..144,
            T::Q5_K => 16..176,
            T::Q6_K => 0..192,
            T::IQ4_XS => 8..136,
            _ => return None,
        };
        Some(Self {
            block: ty.block_bytes(),
            blocks: usize::try_from(k).ok()? / ty.block_len(),
            quants,
        })
    }

    /// Bytes of a row on the device.
    pub fn row_bytes(&self) -> usize {
        (self.block * self.blocks).next_multiple_of(16)
    }

    /// Writes a row.
    fn lay(&self, from: &[u8], to: &mut [u8]) {
        let (quants, rest) = to.split_at_mut(self.quants.len() * self.blocks);
        let quants = quants.chunks_exact_mut(self.quants.len());
        let rest = rest.chunks_exact_mut(self.block - self.quants.len());
        for ((block, quants), rest) in from.chunks_exact(self.block).zip(quants).zip(rest) {
            let (before, after) = block.split_at(self.quants.start);
            let (middle, after) = after.split_at(self.quants.len());
            quants.copy_from_slice(middle);
            let (first, last) = rest.split_at_mut(before.len());
            first.copy_from_slice(before);
            last.copy_from_slice(after);
        }
    }
}

/// Bytes of a row of a weight on the device.
pub fn row_bytes(ty: GgmlType, k: u64) -> Option<u64> {
    match Layout::new(ty, k) {
        Some(layout) => Some(layout.row_bytes() as u64),
        None => ty.row_bytes(k),
    }
}

/// Bytes of a weight on the device, with what its memory may be rounded up by.
pub fn device_bytes(ty: GgmlType, w: &realm_weight) -> u64 {
    let [k, rows @ ..] = w.ne;
    let bytes = match Layout::new(ty, k) {
        Some(layout) => rows
            .iter()
            .fold(layout.row_bytes() as u64, |n, &r| n.saturating_mul(r)),
        None => w.bytes,
    };
    bytes.next_multiple_of(256)
}

/// A tensor of a model, and its copy on the device if there is one.
pub struct Weight {
    data: usize,
    bytes: u64,
    layout: Option<Layout>,
    copy: std::sync::Mutex<Option<Memory>>,
}

impl Weight {
    /// The address of the copy, which is made if there is none. Whoever comes meanwhile waits for it.
    pub fn address(&self, device: &Arc<dyn Device>) -> Result<u64> {
        let mut copy = self.copy.lock().map_err(|_| Status::Internal)?;
        if let Some(copy) = &*copy {
            return Ok(copy.address);
        }
        if self.data == 0 {
            return Err(Status::Unsupported);
        }
        // SAFETY: the model's bytes, which are valid from bind to release, and a `Weight` is released with the last of these.
        let data = unsafe { slice::from_raw_parts(self.data as *const u8, self.bytes as usize) };
        let memory = match &self.layout {
            Some(layout) => upload(device, data, layout)?,
            None => Memory::of(device, data)?,
        };
        Ok(copy.insert(memory).address)
    }
}

/// Copies rows, some at a time.
fn upload(device: &Arc<dyn Device>, data: &[u8], layout: &Layout) -> Result<Memory> {
    let (from, to) = (layout.block * layout.blocks, layout.row_bytes());
    let rows = data.len() / from.max(1);
    let memory = Memory::new(device, rows as u64 * to as u64)?;
    let at_once = (CHUNK / to.max(1)).max(1);
    let mut laid = vec![0; at_once.min(rows) * to];
    for (i, chunk) in data.chunks(at_once * from.max(1)).enumerate() {
        let rows = chunk.chunks_exact(from).zip(laid.chunks_exact_mut(to));
        rows.for_each(|(from, to)| layout.lay(from, to));
        let bytes = laid
            .get(..chunk.len() / from * to)
            .ok_or(Status::Internal)?;
        device.write(memory.address + (i * at_once * to) as u64, bytes)?;
    }
    Ok(memory)
}

/// The tensors that sessions have bound, by where their bytes are.
#[derive(Default)]
pub struct Weights(Mutex<BTreeMap<(usize, u64), Weak<Weight>>>);

impl Weights {
    /// Shares what is there, and sets the handle.
    pub fn bind(&self, weight: &mut realm_weight) {
        let key = (weight.data as usize, weight.bytes);
        let new = Arc::new(Weight {
            data: key.0,
            bytes: key.1,
            layout: GgmlType::from_id(weight.r#type).and_then(|ty| Layout::new(ty, weight.ne[0])),
            copy: std::sync::Mutex::new(None),
        });
        let mut all = self.0.lock();
        let found = all.get(&key).and_then(Weak::upgrade);
        let bound = found.unwrap_or_else(|| {
            all.insert(key, Arc::downgrade(&new));
            new
        });
        weight.handle = Arc::into_raw(bound).cast_mut().cast();
    }

    /// Whether the bytes of a tensor, bound or not, are on the device already.
    pub fn is_there(&self, weight: &realm_weight) -> bool {
        let found = self
            .0
            .lock()
            .get(&(weight.data as usize, weight.bytes))
            .and_then(Weak::upgrade);
        found.is_some_and(|w| w.copy.lock().is_ok_and(|copy| copy.is_some()))
    }

    /// Undoes [`Self::bind`].
    ///
    /// # Safety
    /// `weight` is as it left it.
    pub unsafe fn release(&self, weight: &realm_weight) {
        // SAFETY: made by `bind`.
        let bound = unsafe { Arc::from_raw(weight.handle.cast::<Weight>()) };
        let key = (bound.data, bound.bytes);
        let mut all = self.0.lock();
        // Nobody else can come to it now but through the lock.
        if Arc::strong_count(&bound) == 1 {
            all.remove(&key);
        }
        drop(all);
        drop(bound);
    }
}

/// What a bound weight's handle stands for.
///
/// # Safety
/// The weight is bound.
pub unsafe fn of(weight: &realm_weight) -> Option<&Weight> {
    // SAFETY: the caller's promise.
    unsafe { weight.handle.cast::<Weight>().as_ref() }
}
