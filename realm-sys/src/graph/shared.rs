//! Programs that sessions share: the same bytes for the same model on the same backend are validated, planned and
//! prepared once, so that a backend sees one plan and may run steps of several sessions in one pass.
//!
//! The table only remembers: a program lives as long as its last session. What is compared is a digest of all that
//! a program is made from besides the backend, so that nothing of it has to be kept.

use super::prepared::Prepared;
use crate::backend::host::Backend;
use crate::backend::table::{realm_buffer, realm_kv_layer};
use crate::store::Model;
use alloc::sync::{Arc, Weak};
use sha2::{Digest, Sha256};
use spin::Mutex;

/// Programs that are remembered. A runtime has one for each combination of model, context and kind of sampling in use.
const SLOTS: usize = 32;

/// What makes two programs the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Addresses of things that a living program keeps alive, so that nothing else can have them, are part of it: the models'.
    digest: [u8; 32],
    /// As those.
    backend: usize,
    level: u8,
}

impl Key {
    /// Of recorded bytes, and the session's buffers and KV layers that they name.
    pub fn new(
        bytes: &[u8],
        buffers: &[realm_buffer],
        kv_layers: &[realm_kv_layer],
        models: &[Arc<Model>],
        backend: &Arc<Backend>,
    ) -> Self {
        let mut hash = Sha256::new();
        // The counts keep what follows apart.
        for n in [bytes.len(), buffers.len(), kv_layers.len(), models.len()] {
            hash.update((n as u64).to_le_bytes());
        }
        for model in models {
            hash.update((Arc::as_ptr(model).addr() as u64).to_le_bytes());
        }
        hash.update(bytes);
        for b in buffers {
            for word in [b.r#type, b.cols, b.rows] {
                hash.update(word.to_le_bytes());
            }
        }
        for l in kv_layers {
            let words = [
                l.r#type,
                l.n_head_kv,
                l.head_dim_k,
                l.head_dim_v,
                l.group,
                l.max_positions,
            ];
            for word in words {
                hash.update(word.to_le_bytes());
            }
            for word in [l.offset, l.v_offset] {
                hash.update(word.to_le_bytes());
            }
        }
        Self {
            digest: hash.finalize().into(),
            backend: Arc::as_ptr(backend).addr(),
            level: level(),
        }
    }
}

/// The level of instructions that programs are prepared for at present: when another one is forced, new programs are
/// not to be found among the old.
fn level() -> u8 {
    #[cfg(feature = "cpu")]
    let level = crate::cpu::isa::Isa::current() as u8;
    #[cfg(not(feature = "cpu"))]
    let level = 0;
    level
}

struct Entry {
    key: Key,
    program: Weak<Prepared>,
}

struct Table {
    entries: [Option<Entry>; SLOTS],
    /// Which living program is forgotten next, when all are alive.
    next: usize,
}

/// The programs in use that were made with one set of backends and kernels.
pub struct Shared(Mutex<Table>);

impl Shared {
    /// None yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Table {
            entries: [const { None }; SLOTS],
            next: 0,
        }))
    }

    /// The living program of that key.
    pub(super) fn find(&self, key: &Key) -> Option<Arc<Prepared>> {
        let table = self.0.lock();
        let entry = table.entries.iter().flatten().find(|e| e.key == *key)?;
        entry.program.upgrade()
    }

    /// Makes a new program known; returns the one that another thread has made meanwhile, if there is one.
    pub(super) fn publish(&self, key: Key, made: Arc<Prepared>) -> Arc<Prepared> {
        let program = Arc::downgrade(&made);
        let mut table = self.0.lock();
        let same = |e: &Option<Entry>| e.as_ref().is_some_and(|e| e.key == key);
        let free = |e: &Option<Entry>| e.as_ref().is_none_or(|e| e.program.strong_count() == 0);
        let at = match table.entries.iter().position(same) {
            Some(at) => at,
            None => match table.entries.iter().position(free) {
                Some(at) => at,
                None => {
                    table.next = (table.next + 1) % SLOTS;
                    table.next
                }
            },
        };
        let Some(slot) = table.entries.get_mut(at) else {
            return made;
        };
        if let Some(old) = slot.as_ref().filter(|e| e.key == key)
            && let Some(first) = old.program.upgrade()
        {
            // A program is discarded by its backend: not under the lock.
            drop(table);
            drop(made);
            return first;
        }
        let old = slot.replace(Entry { key, program });
        drop(table);
        drop(old);
        made
    }

    /// How many of the remembered programs are alive.
    #[cfg(test)]
    pub(crate) fn alive(&self) -> usize {
        let table = self.0.lock();
        let alive = |e: &&Entry| e.program.strong_count() > 0;
        table.entries.iter().flatten().filter(alive).count()
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}
