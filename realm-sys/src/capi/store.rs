//! Stores: tables of models.
//!
//! Every function that takes a store takes NULL for the process-wide one.

use super::error::{realm_error, realm_status};
use super::{check, guard, new_handle, put};
use crate::store::{Store, StoreRef};
use alloc::boxed::Box;
use alloc::sync::Arc;

/// A table of models, separate from the process-wide one.
pub struct realm_store {
    pub(crate) store: Arc<Store>,
}

/// The store that a pointer means.
///
/// # Safety
/// `store` is NULL or a live store.
pub(crate) unsafe fn store_ref(store: *const realm_store) -> StoreRef {
    if store.is_null() {
        return StoreRef::Global;
    }
    // SAFETY: not NULL, and the caller's promise.
    StoreRef::Own(unsafe { &*store }.store.clone())
}

/// Makes a store of one's own. Most programs need none: NULL is the process-wide store.
///
/// `out` receives the store. **Owns**: the caller, until `realm_store_destroy`.
///
/// **Threads**: any, at any time.
///
/// **Returns** `INVALID_ARGUMENT`, `NO_MEMORY`.
///
/// # Safety
/// `out` points to a pointer; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_store_create(
    out: *mut *mut realm_store,
    error: *mut realm_error,
) -> realm_status {
    guard(error, || {
        check(out, "out")?;
        let store = realm_store {
            store: Arc::new(Store::new()),
        };
        // SAFETY: the caller's promise.
        unsafe { put(out, new_handle(store, "store")?, "out") }
    })
}

/// Destroys a store. Runtimes made with it keep its models alive until they are destroyed, and sessions theirs;
/// the others are released in the call.
///
/// `store`: NULL is fine; nothing happens.
///
/// **Threads**: any; no other thread may be using the handle.
///
/// # Safety
/// `store` is NULL or came from `realm_store_create`, and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_store_destroy(store: *mut realm_store) {
    let _ = guard(core::ptr::null_mut(), || {
        if !store.is_null() {
            // SAFETY: made by `new_handle`, and the caller's promise.
            drop(unsafe { Box::from_raw(store) });
        }
        Ok(())
    });
}
