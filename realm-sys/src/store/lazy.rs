//! A value that is built when first wanted and then shared.

use crate::error::Result;
use alloc::sync::Arc;
use spin::Once;

/// A slot that is filled at most once.
///
/// The value is built without any lock: threads that come at the same time may each build one, and
/// the first to finish wins. Spinning for the length of a vocabulary's construction would be worse,
/// in particular where a low-priority thread is the one that builds.
pub struct Lazy<T>(Once<Arc<T>>);

impl<T> Lazy<T> {
    /// An empty slot.
    pub const fn new() -> Self {
        Self(Once::new())
    }

    /// The value, if it has been built.
    pub fn get(&self) -> Option<Arc<T>> {
        self.0.get().cloned()
    }

    /// The value, built now if need be. A failure leaves the slot empty.
    pub fn get_or_build(&self, build: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let built = Arc::new(build()?);
        // Cloned outside the closure, so that what runs under the lock is one move.
        let kept = Arc::clone(&built);
        Ok(Arc::clone(self.0.call_once(|| kept)))
    }
}

impl<T> Default for Lazy<T> {
    fn default() -> Self {
        Self::new()
    }
}
