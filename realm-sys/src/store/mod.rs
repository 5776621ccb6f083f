//! The shared table of models, safe from any thread.
//!
//! A model is registered from the caller's buffers under a non-zero `u32` and **borrowed**: nothing
//! is copied, and the caller's release callback runs when the last user is gone. The same id with
//! the same bytes is one entry with one registration more; with other bytes it is a conflict. Ids
//! belong to who registered them: equal bytes may be registered under several.
//!
//! The locks spin, so they guard a few loads and stores only: parsing, hashing, comparing,
//! allocating, dropping and calling back all happen outside. Whatever was decided outside is
//! checked again inside, and done over if the table has changed.

mod buffer;
mod digest;
mod lazy;
mod model;
mod rows;

#[cfg(test)]
mod tests;

pub use buffer::{Part, Release};
pub use digest::{Progress, Sha256Digest, derived_id, sha256};
pub use lazy::Lazy;
pub use model::{MAX_PARTS, Model, TensorInfo};

use crate::error::{Result, try_vec};
use crate::gguf::Limits;
use crate::{bail, err};
use alloc::sync::Arc;
use alloc::vec::Vec;
use buffer::Buffer;
use spin::RwLock;

/// Whether the store uses the caller's memory or its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reads the caller's bytes where they are, until they are released.
    Borrow,
    /// Copies them, and releases them before `register` returns.
    Copy,
}

/// A table of models.
pub struct Store {
    /// Ascending by id.
    entries: RwLock<Vec<Entry>>,
}

struct Entry {
    id: u32,
    registrations: u32,
    model: Arc<Model>,
}

/// What [`Store::info`] knows of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// The id asked for.
    pub id: u32,
    /// Registrations that have not been removed.
    pub registrations: u32,
    /// References held beside the store's own: sessions, and whoever called [`Store::open`].
    pub users: u32,
    /// Files.
    pub part_count: u32,
    /// Tensors in all files.
    pub tensor_count: u32,
    /// Metadata entries of the first file.
    pub kv_count: u32,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Elements of all tensors.
    pub parameter_count: u64,
    /// Bytes of heap that the indices hold.
    pub index_bytes: u64,
    /// Whether the store holds its own copy.
    pub copied: bool,
    /// The SHA-256 of all files' bytes in order, where it has been computed.
    pub digest: Option<Sha256Digest>,
}

/// The process-wide store, or one of a runtime's own.
#[derive(Clone)]
pub enum StoreRef {
    /// [`Store::global`].
    Global,
    /// Another, kept alive by this.
    Own(Arc<Store>),
}

impl core::ops::Deref for StoreRef {
    type Target = Store;

    fn deref(&self) -> &Store {
        match self {
            Self::Global => Store::global(),
            Self::Own(store) => store,
        }
    }
}

static GLOBAL: Store = Store::new();

impl Store {
    /// An empty store.
    pub const fn new() -> Self {
        Self {
            entries: RwLock::new(Vec::new()),
        }
    }

    /// The process-wide store.
    pub fn global() -> &'static Self {
        &GLOBAL
    }

    /// Registers a model and returns its id: `id`, or the derived one if that is 0.
    ///
    /// `parts` are the model's files in order. With an `id` the bytes are not hashed, and only the
    /// metadata is read, unless that id is taken and the bytes must be compared. Id 0 hashes them
    /// (see [`derived_id`]) and tells `progress`, which may cancel.
    ///
    /// **Owns**: takes over each part whatever the result, and calls `release` exactly once for
    /// each when the library is finished with it; see [`Release`]. A part that is registered twice
    /// is released twice.
    ///
    /// # Errors
    /// `IdConflict` if the id names other bytes; `Format`, `Unsupported`, `Limit` as for
    /// [`Gguf::parse`](crate::gguf::Gguf::parse); `InvalidArgument` for null or missing parts;
    /// `Cancelled`; `NoMemory`.
    ///
    /// # Safety
    /// Each part's `data`, unless null, is valid for reads of `bytes` bytes that nobody changes
    /// until `release` has been called for it (without a `release`: for as long as the process
    /// runs; with [`Mode::Copy`]: until this returns). `release` may be called from any thread.
    pub unsafe fn register(
        &self,
        parts: &[Part],
        id: u32,
        mode: Mode,
        limits: &Limits,
        release: Option<Release>,
        progress: Option<Progress<'_>>,
    ) -> Result<u32> {
        let buffers = match try_vec(parts.len(), "files") {
            Ok(mut buffers) => {
                // SAFETY: the caller's promise, handed on.
                buffers.extend(parts.iter().map(|p| unsafe { Buffer::borrow(*p, release) }));
                buffers
            }
            Err(e) => {
                for part in parts {
                    // SAFETY: as above.
                    unsafe { Buffer::release_now(*part, release) };
                }
                return Err(e);
            }
        };
        // From here on the buffers' own `drop` releases them, on every way out.
        if buffers.is_empty() || buffers.len() > MAX_PARTS {
            bail!(
                InvalidArgument,
                "a model has 1 to {MAX_PARTS} files, not {}",
                buffers.len()
            );
        }
        let model = Model::new(buffers, limits)?;
        let id = match id {
            0 => derived_id(&model.digest(progress)?),
            id => id,
        };
        self.insert(id, model, mode)
    }

    /// Registers copies of byte slices: [`register`](Self::register) without the `unsafe`.
    ///
    /// # Errors
    /// As for [`register`](Self::register).
    pub fn register_copy(&self, parts: &[&[u8]], id: u32, limits: &Limits) -> Result<u32> {
        let mut list = try_vec(parts.len(), "files")?;
        list.extend(parts.iter().map(|p| Part::new(p)));
        // SAFETY: the slices are valid until this returns, which is all that copying asks.
        unsafe { self.register(&list, id, Mode::Copy, limits, None, None) }
    }

    /// Registers bytes that are there for ever, such as a part of the program's image.
    ///
    /// # Errors
    /// As for [`register`](Self::register).
    pub fn register_static(&self, bytes: &'static [u8], id: u32, limits: &Limits) -> Result<u32> {
        // SAFETY: `'static` and shared, so valid and unchanged until the process ends.
        unsafe { self.register(&[Part::new(bytes)], id, Mode::Borrow, limits, None, None) }
    }

    /// Puts the model under `id`, or adds a registration to the same bytes there.
    fn insert(&self, id: u32, mut model: Model, mode: Mode) -> Result<u32> {
        loop {
            if let Some(present) = self.get(id) {
                if !present.same_bytes(&model) {
                    bail!(IdConflict, "id {id} is taken by another model");
                }
                // What is dropped at the end of this iteration is dropped without a lock:
                // `present` may have become the last reference, and `model` is to be released.
                match self.count_registration(id, &present)? {
                    true => return Ok(id),
                    false => continue,
                }
            }
            if mode == Mode::Copy {
                // Only now is it known that the bytes are not there yet.
                model.copy_files()?;
            }
            model = match self.try_insert(id, Arc::new(model))? {
                None => return Ok(id),
                Some(back) => back,
            };
        }
    }

    /// One registration more for `id` if it still names `model`.
    fn count_registration(&self, id: u32, model: &Arc<Model>) -> Result<bool> {
        let mut entries = self.entries.write();
        let at = entries.binary_search_by_key(&id, |e| e.id);
        match at.ok().and_then(|i| entries.get_mut(i)) {
            Some(e) if Arc::ptr_eq(&e.model, model) => {
                e.registrations = e
                    .registrations
                    .checked_add(1)
                    .ok_or_else(|| err!(Limit, "id {id} has too many registrations"))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Makes a new entry; gives the model back if someone else has made one meanwhile.
    fn try_insert(&self, id: u32, model: Arc<Model>) -> Result<Option<Model>> {
        // Room is made outside the lock, and given back outside it when a larger one comes.
        let mut room: Vec<Entry> = Vec::new();
        loop {
            let mut entries = self.entries.write();
            let at = match entries.binary_search_by_key(&id, |e| e.id) {
                Err(at) => at,
                Ok(_) => {
                    drop(entries);
                    // Nobody else has seen the model: it is given back whole.
                    let back = Arc::into_inner(model);
                    return match back {
                        Some(model) => Ok(Some(model)),
                        None => bail!(Internal, "an unregistered model is shared"),
                    };
                }
            };
            if entries.len() == entries.capacity() {
                let wanted = entries.len() + 1;
                if room.capacity() < wanted {
                    drop(entries);
                    room = try_vec(wanted.saturating_mul(2).max(8), "models")?;
                    continue;
                }
                room.append(&mut entries);
                core::mem::swap(&mut *entries, &mut room);
            }
            entries.insert(
                at,
                Entry {
                    id,
                    registrations: 1,
                    model,
                },
            );
            drop(entries);
            return Ok(None);
        }
    }

    /// The model of that id; a reference, taken under the lock and nothing else.
    fn get(&self, id: u32) -> Option<Arc<Model>> {
        let entries = self.entries.read();
        let at = entries.binary_search_by_key(&id, |e| e.id).ok()?;
        Some(Arc::clone(&entries.get(at)?.model))
    }

    /// Opens a model: it lives until the reference is dropped, removed or not.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn open(&self, id: u32) -> Result<Arc<Model>> {
        self.get(id)
            .ok_or_else(|| err!(NotFound, "no model has the id {id}"))
    }

    /// Takes back one registration. With the last the name is gone at once; the bytes are released
    /// with the last user, before this returns if there is none.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove(&self, id: u32) -> Result<()> {
        // The table goes with its last entry: the process-wide store is never dropped, and a library
        // that is unloaded must leave no memory behind. It is freed after the lock, like the entry.
        let mut table: Vec<Entry> = Vec::new();
        let removed = {
            let mut entries = self.entries.write();
            let found = entries.binary_search_by_key(&id, |e| e.id);
            match found.ok().and_then(|at| Some((at, entries.get_mut(at)?))) {
                None => None,
                Some((_, entry)) if entry.registrations > 1 => {
                    entry.registrations -= 1;
                    Some(None)
                }
                Some((at, _)) => {
                    let entry = entries.remove(at);
                    if entries.is_empty() {
                        core::mem::swap(&mut table, &mut *entries);
                    }
                    Some(Some(entry))
                }
            }
        };
        // The entry, and with it perhaps the model, is dropped here, after the lock.
        match removed {
            Some(entry) => {
                drop(entry);
                Ok(())
            }
            None => bail!(NotFound, "no model has the id {id}"),
        }
    }

    /// Writes as many ids as fit to `dst`, ascending, and returns how many there are in all.
    ///
    /// Call it with an empty slice for the count; other threads may change it in between.
    pub fn ids(&self, dst: &mut [u32]) -> usize {
        let entries = self.entries.read();
        for (to, e) in dst.iter_mut().zip(entries.iter()) {
            *to = e.id;
        }
        entries.len()
    }

    /// Counts and sizes of a model.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn info(&self, id: u32) -> Result<ModelInfo> {
        let found = {
            let entries = self.entries.read();
            let at = entries.binary_search_by_key(&id, |e| e.id);
            at.ok()
                .and_then(|at| entries.get(at))
                .map(|e| (Arc::clone(&e.model), e.registrations))
        };
        let Some((model, registrations)) = found else {
            bail!(NotFound, "no model has the id {id}");
        };
        // The store's own reference and the one just taken do not count.
        let users = Arc::strong_count(&model).saturating_sub(2);
        Ok(ModelInfo {
            id,
            registrations,
            users: u32::try_from(users).unwrap_or(u32::MAX),
            part_count: model.part_count(),
            tensor_count: model.tensor_count(),
            kv_count: model.metadata().len() as u32,
            file_bytes: model.file_bytes(),
            parameter_count: model.parameter_count(),
            index_bytes: model.index_bytes() as u64,
            copied: model.is_copied(),
            digest: model.known_digest(),
        })
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}
