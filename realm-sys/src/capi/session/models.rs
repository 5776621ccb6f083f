//! Further models that a session's guest may use.

use super::super::error::{realm_error, realm_status};
use super::super::slice;
use super::{realm_session, with};
use crate::bail;
use crate::error::Result;
use crate::session::{MAX_GRANTED, Session};
use crate::store::{Model, StoreRef};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The models of these ids.
pub(super) fn opened(store: &StoreRef, ids: &[u32]) -> Result<Vec<(u32, Arc<Model>)>> {
    if ids.len() > MAX_GRANTED {
        bail!(
            Limit,
            "{} further models, at most {MAX_GRANTED} are taken",
            ids.len()
        );
    }
    let mut models = crate::error::try_vec(ids.len(), "models")?;
    for id in ids {
        models.push((*id, store.open(*id)?));
    }
    Ok(models)
}

/// Replaces the further models that the guest may use: those of `realm_session_options.models`, or of the last such call.
///
/// What they are used for, a parameter says: with the library's guest `lora`. Grant a model before the parameter names it, and take
/// the parameter back before the model. A model that was granted stays in use until a turn begins without it; until then its id cannot
/// be granted for other bytes: `ID_CONFLICT`.
///
/// `ids`, `count`: their ids in the runtime's store, at most 64; not needed afterwards. NULL with 0: none.
///
/// **Threads**: one at a time for a session.
///
/// **Returns** `NOT_FOUND` for an id, `ID_CONFLICT` as above, `STATE` while a turn is running, `LIMIT`, `INVALID_ARGUMENT`,
/// `NO_MEMORY`, and the first failure of a session that has failed. The models are what they were then.
///
/// # Safety
/// `session` is live; `ids` points to `count` numbers; `error` is NULL or points to a `realm_error`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_session_set_models(
    session: *mut realm_session,
    ids: *const u32,
    count: usize,
    error: *mut realm_error,
) -> realm_status {
    let body = |session: &mut Session| {
        // SAFETY: the caller's promise.
        let ids = unsafe { slice(ids, count, "ids") }?;
        let models = opened(session.store(), ids)?;
        session.grant(models)
    };
    // SAFETY: the caller's promise.
    unsafe { with(session, error, body) }
}
