//! Tables of models apart from the process-wide one.

use super::error::{realm_error, realm_status};
use super::{Out, drop_handle, guard, new_handle, reference};
use crate::error::Result;
use crate::store::Store;
use alloc::sync::Arc;
use core::ops::Deref;

/// A table of models.
///
/// Most applications use the process-wide one, which is NULL wherever a store is asked for. A store of one's own
/// keeps models of one part of a program out of sight of the others. It can be used from any thread.
pub struct realm_store {
    store: Arc<Store>,
}

/// A store that somebody holds: the process-wide one, or a share of the caller's.
#[derive(Clone)]
pub(crate) enum Held {
    /// The one behind NULL.
    Global,
    /// Lives on after `realm_store_destroy`.
    Own(Arc<Store>),
}

impl Held {
    /// What a handle, or NULL, stands for.
    ///
    /// # Safety
    /// `handle` is NULL, misaligned, or a live store.
    pub unsafe fn new(handle: *const realm_store) -> Result<Self> {
        if handle.is_null() {
            return Ok(Self::Global);
        }
        // SAFETY: handed on.
        let handle = unsafe { reference(handle, "the store") }?;
        Ok(Self::Own(Arc::clone(&handle.store)))
    }
}

impl Deref for Held {
    type Target = Store;

    fn deref(&self) -> &Store {
        match self {
            Self::Global => Store::global(),
            Self::Own(store) => store,
        }
    }
}

/// Makes an empty store.
///
/// **Owns**: the caller has to call `realm_store_destroy`. **Threads**: any, at any time.
/// **Returns** `INVALID_ARGUMENT` if `out` is NULL; `NO_MEMORY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_store_create(
    out: *mut *mut realm_store,
    error: *mut realm_error,
) -> realm_status {
    let body = || {
        // SAFETY: contract of the function.
        let out = unsafe { Out::new(out, "out") }?;
        let store = Arc::new(Store::new());
        out.set(new_handle(realm_store { store }, "a store")?);
        Ok(())
    };
    // SAFETY: contract of the function.
    unsafe { guard(error, body) }
}

/// Destroys a store; NULL is allowed.
///
/// Its models are removed, whatever their registrations. A model that a session has open lives, and is released, with
/// the last such session. A runtime that was made with the store keeps it until that runtime is destroyed.
///
/// **Threads**: any, once no other call is using the handle. Release callbacks may run on this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_store_destroy(store: *mut realm_store) {
    // SAFETY: contract of the function.
    unsafe { drop_handle(store) }
}
