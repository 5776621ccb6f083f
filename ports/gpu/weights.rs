//! Weights on the device: uploaded when a program that is prepared wants them, once for all that use them, gone with the last.

use super::device::{Device, Memory, Result};
use crate::backend::table::realm_weight;
use crate::error::Status;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use core::slice;
use spin::Mutex;

/// A tensor of a model, and its copy on the device if there is one.
pub struct Weight {
    data: usize,
    bytes: u64,
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
        let memory = Memory::new(device, self.bytes)?;
        // SAFETY: the model's bytes, which are valid from bind to release, and a `Weight` is released with the last of these.
        let data = unsafe { slice::from_raw_parts(self.data as *const u8, self.bytes as usize) };
        device.write(memory.address, data)?;
        Ok(copy.insert(memory).address)
    }
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
