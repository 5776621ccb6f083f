//! What the core makes of a backend table: a checked copy, buffers with an owner, and the set a
//! runtime offers.

use super::table::{
    REALM_BACKEND_HOST_MEMORY, realm_backend, realm_kernel_fn, realm_op, realm_weight,
};
use crate::error::{Error, List, Result, Short, Status};
use crate::graph::shared::Shared;
use crate::platform::{Block, Platform, check_head, no_extension};
use crate::{bail, err, panics};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::{CStr, c_void};
use core::mem::{offset_of, size_of};
use core::ptr;

/// The smallest backend table accepted: the end of the last field of version 0.1.
const BACKEND_MIN_BYTES: usize = offset_of!(realm_backend, cancel) + size_of::<*const c_void>();

/// A status that came back from a table's function.
pub fn foreign(code: i32, who: &str, what: &str) -> Error {
    if code == Status::Internal as i32
        && let Some(e) = panics::said()
    {
        return e;
    }
    let said = Status::from_code(code);
    let mut e = match said {
        Some(status) => err!(Backend, "{who}: {what} failed with {status}"),
        None => err!(Backend, "{who}: {what} failed with status {code}"),
    };
    // A backend speaks for itself: neither the guest nor this library is at fault, whatever it says.
    if let Some(status) = said.filter(|s| !matches!(s, Status::Guest | Status::Internal)) {
        e.set_status(status);
    }
    e
}

/// A registered backend.
pub struct Backend {
    pub(crate) table: realm_backend,
    name: String,
    platform: Platform,
    /// What a built-in table has as its `ctx`.
    _keep: Option<Arc<Platform>>,
}

// SAFETY: the contract of `realm_backend` is that its functions may be called from any thread.
unsafe impl Send for Backend {}
// SAFETY: as above.
unsafe impl Sync for Backend {}

impl Backend {
    /// Copies and checks a caller's table.
    ///
    /// # Safety
    /// `table` is NULL or points to `struct_size` readable bytes; its functions keep the contract of
    /// [`realm_backend`], and `name` is NUL-terminated.
    pub unsafe fn from_table(table: *const realm_backend, platform: &Platform) -> Result<Self> {
        if table.is_null() {
            bail!(InvalidArgument, "realm_backend: NULL");
        }
        // SAFETY: every table is at least as long as its two-word head.
        let (size, version) = unsafe { ((*table).struct_size, (*table).abi_version) };
        check_head("realm_backend", size, version, BACKEND_MIN_BYTES)?;
        // SAFETY: the size covers every field this version knows.
        let t = unsafe { *table };
        no_extension(t.next, "realm_backend")?;
        if t.name.is_null() {
            bail!(InvalidArgument, "realm_backend: it has no name");
        }
        // SAFETY: NUL-terminated by contract.
        let bytes = unsafe { CStr::from_ptr(t.name) }.to_bytes();
        let text = core::str::from_utf8(bytes)
            .ok()
            .filter(|n| !n.is_empty() && n.len() <= 64)
            .ok_or_else(|| {
                err!(
                    InvalidArgument,
                    "realm_backend: a name is 1 to 64 bytes of UTF-8"
                )
            })?;
        let mut name = String::new();
        name.try_reserve_exact(text.len())
            .map_err(|_| err!(NoMemory, "no memory for a backend's name"))?;
        name.push_str(text);
        if t.supports.is_none()
            || t.prepare.is_none()
            || t.discard.is_none()
            || t.submit.is_none()
            || t.query.is_none()
        {
            bail!(
                InvalidArgument,
                "realm_backend '{name}': supports, prepare, discard, submit and query are needed"
            );
        }
        let own = t.buffer_create.is_some() && t.buffer_destroy.is_some();
        let shared = t.flags & REALM_BACKEND_HOST_MEMORY != 0;
        let copies = t.buffer_read.is_some() && t.buffer_write.is_some();
        if !(shared || own && copies) {
            bail!(
                InvalidArgument,
                "realm_backend '{name}': without HOST_MEMORY the four buffer functions are needed"
            );
        }
        Ok(Self {
            table: t,
            name,
            platform: *platform,
            _keep: None,
        })
    }

    /// A backend of the library's own, from the function that makes its table.
    fn built_in(platform: &Platform, table: fn(&Platform) -> realm_backend) -> Result<Arc<Self>> {
        let keep = Arc::new(*platform);
        let table = table(&keep);
        // SAFETY: a table of the library's own, whose `ctx` is kept beside it.
        let mut backend = unsafe { Self::from_table(&raw const table, platform) }?;
        backend._keep = Some(keep);
        Ok(Arc::new(backend))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether buffers are plain addresses.
    pub fn shares_memory(&self) -> bool {
        self.table.flags & REALM_BACKEND_HOST_MEMORY != 0
    }

    /// A zeroed buffer of the backend.
    pub fn buffer(self: &Arc<Self>, bytes: u64, what: &str) -> Result<Buffer> {
        let size = usize::try_from(bytes)
            .map_err(|_| err!(NoMemory, "{bytes} bytes of {what} cannot be addressed"))?;
        let (handle, block) = match self.table.buffer_create {
            Some(create) => {
                let mut handle = ptr::null_mut();
                // SAFETY: contract of the table.
                let code = unsafe { create(self.table.ctx, bytes.max(1), &raw mut handle) };
                if code != 0 || handle.is_null() {
                    return Err(foreign(code, &self.name, "buffer_create"));
                }
                (handle, None)
            }
            None => {
                let block = self.platform.alloc(size, what)?;
                (block.as_ptr().cast(), Some(block))
            }
        };
        Ok(Buffer {
            backend: Arc::clone(self),
            handle,
            bytes,
            block,
        })
    }

    /// Binds a weight, if the backend wants to.
    pub fn bind(&self, weight: &mut realm_weight) -> Result<()> {
        if let Some(bind) = self.table.weight_bind {
            // SAFETY: contract of the table.
            let code = unsafe { bind(self.table.ctx, weight) };
            if code != 0 {
                return Err(foreign(code, &self.name, "weight_bind"));
            }
        }
        Ok(())
    }

    /// Undoes [`Self::bind`].
    pub fn unbind(&self, weight: &realm_weight) {
        if let Some(release) = self.table.weight_release {
            // SAFETY: contract of the table.
            unsafe { release(self.table.ctx, weight) }
        }
    }
}

/// Memory of a backend, zeroed and given back on drop.
pub struct Buffer {
    backend: Arc<Backend>,
    handle: *mut c_void,
    bytes: u64,
    /// The platform's memory behind it, when the backend makes no buffers of its own.
    block: Option<Block>,
}

// SAFETY: a buffer is memory with one owner; the backend's functions may be called from any thread.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// What the backend knows it by; an address if it shares memory.
    pub fn handle(&self) -> *mut c_void {
        self.handle
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies all of another buffer of the same backend and size.
    pub fn copy_from(&mut self, other: &Self) -> Result<()> {
        if self.backend.shares_memory() {
            // SAFETY: addressable, and not written during `&other`.
            let bytes = unsafe {
                core::slice::from_raw_parts(other.handle.cast::<u8>(), other.bytes as usize)
            };
            return self.write(0, bytes);
        }
        let mut part = [0_u8; 4096];
        let mut at = 0;
        while at < other.bytes {
            let n = (other.bytes - at).min(part.len() as u64) as usize;
            let part = part.get_mut(..n).unwrap_or(&mut []);
            other.read(at, part)?;
            self.write(at, part)?;
            at += n as u64;
        }
        Ok(())
    }

    fn check(&self, offset: u64, len: usize) -> Result<()> {
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > self.bytes)
        {
            bail!(
                InvalidArgument,
                "{len} bytes at {offset} of a buffer of {}",
                self.bytes
            );
        }
        Ok(())
    }

    /// Copies host bytes in.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.check(offset, data.len())?;
        if self.backend.shares_memory() {
            // SAFETY: within the buffer, which is ours alone and addressable.
            unsafe {
                let to = self.handle.cast::<u8>().add(offset as usize);
                ptr::copy_nonoverlapping(data.as_ptr(), to, data.len());
            }
            return Ok(());
        }
        let t = &self.backend.table;
        let code = match t.buffer_write {
            // SAFETY: contract of the table; bounds checked.
            Some(f) => unsafe {
                f(
                    t.ctx,
                    self.handle,
                    offset,
                    data.as_ptr().cast(),
                    data.len() as u64,
                )
            },
            None => -1,
        };
        if code == 0 {
            Ok(())
        } else {
            Err(foreign(code, self.backend.name(), "buffer_write"))
        }
    }

    /// Copies bytes out.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.check(offset, out.len())?;
        if self.backend.shares_memory() {
            // SAFETY: within the buffer, which is addressable and not written during `&self`.
            unsafe {
                let from = self.handle.cast::<u8>().add(offset as usize);
                ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len());
            }
            return Ok(());
        }
        let t = &self.backend.table;
        let code = match t.buffer_read {
            // SAFETY: contract of the table; bounds checked.
            Some(f) => unsafe {
                f(
                    t.ctx,
                    self.handle,
                    offset,
                    out.as_mut_ptr().cast(),
                    out.len() as u64,
                )
            },
            None => -1,
        };
        if code == 0 {
            Ok(())
        } else {
            Err(foreign(code, self.backend.name(), "buffer_read"))
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match &self.block {
            // SAFETY: the block is ours and this long. What a conversation left must not reach the next owner.
            Some(b) => unsafe { ptr::write_bytes(b.as_ptr(), 0, b.len()) },
            None => {
                if let Some(destroy) = self.backend.table.buffer_destroy {
                    // SAFETY: contract of the table; made by `buffer_create`.
                    unsafe { destroy(self.backend.table.ctx, self.handle) }
                }
            }
        }
    }
}

/// A host's own kernel for one operation and, if not `u32::MAX`, one type of source 0.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// Operation code.
    pub op: u32,
    /// ggml type id of source 0, or `u32::MAX` for any.
    pub ty: u32,
    /// The function.
    pub call: realm_kernel_fn,
    /// Its first argument.
    pub ctx: *mut c_void,
}

// SAFETY: the contract of `realm_kernel_fn` is that it may be called from any thread.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

/// The backends and kernels of a runtime, the reference last.
pub struct Backends {
    platform: Platform,
    reference: Arc<Backend>,
    others: Vec<Arc<Backend>>,
    kernels: Vec<Kernel>,
    /// Replaced when there is another kernel, which programs are made with.
    shared: Arc<Shared>,
}

/// What a session runs on: fixed when it was opened.
#[derive(Clone)]
pub struct Selected {
    /// The backend of choice.
    pub backend: Arc<Backend>,
    /// For what the backend of choice does not support.
    pub reference: Arc<Backend>,
    /// The host's kernels, the last registered first.
    pub kernels: Arc<[Kernel]>,
    /// Memory, clock and threads.
    pub platform: Platform,
    /// Programs of all sessions with these backends and kernels.
    pub shared: Arc<Shared>,
}

impl Selected {
    /// The host's kernel for an operation on this type, if there is one.
    pub fn kernel(&self, op: &realm_op, ty: u32) -> Option<Kernel> {
        let fits = |k: &&Kernel| k.op == u32::from(op.code) && (k.ty == ty || k.ty == u32::MAX);
        self.kernels.iter().find(fits).copied()
    }
}

impl Backends {
    /// What the library has itself: the CPU port, where it is compiled in, and the reference.
    pub fn new(platform: &Platform) -> Result<Self> {
        #[allow(unused_mut, reason = "without the CPU port nothing is added")]
        let mut backends = Self {
            platform: *platform,
            reference: Backend::built_in(platform, crate::graph::reference::table)?,
            others: Vec::new(),
            kernels: Vec::new(),
            shared: Arc::new(Shared::new()),
        };
        #[cfg(feature = "cpu")]
        backends.insert(Backend::built_in(platform, crate::cpu::table)?)?;
        Ok(backends)
    }

    /// Puts a backend first.
    fn insert(&mut self, backend: Arc<Backend>) -> Result<()> {
        self.others
            .try_reserve(1)
            .map_err(|_| err!(NoMemory, "no memory for a backend"))?;
        self.others.insert(0, backend);
        Ok(())
    }

    /// Adds a backend, which becomes the preferred one. A name is taken once.
    pub fn add(&mut self, backend: Backend) -> Result<()> {
        if self.find(backend.name()).is_some() {
            bail!(
                InvalidArgument,
                "there is a backend '{}' already",
                backend.name()
            );
        }
        self.insert(Arc::new(backend))
    }

    /// Adds a kernel, which is preferred over earlier ones and over every backend.
    pub fn add_kernel(&mut self, kernel: Kernel) -> Result<()> {
        if u16::try_from(kernel.op)
            .ok()
            .and_then(crate::graph::op::Code::from_u16)
            .is_none()
        {
            bail!(Unsupported, "there is no operation {}", kernel.op);
        }
        if kernel.call.is_none() {
            bail!(InvalidArgument, "the kernel is NULL");
        }
        self.kernels
            .try_reserve(1)
            .map_err(|_| err!(NoMemory, "no memory for a kernel"))?;
        self.kernels.insert(0, kernel);
        self.shared = Arc::new(Shared::new());
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// The `i`-th, in order of preference.
    pub fn get(&self, i: usize) -> Option<&Arc<Backend>> {
        match i.checked_sub(self.others.len()) {
            None => self.others.get(i),
            Some(0) => Some(&self.reference),
            Some(_) => None,
        }
    }

    fn find(&self, name: &str) -> Option<&Arc<Backend>> {
        (0..self.count())
            .filter_map(|i| self.get(i))
            .find(|b| b.name() == name)
    }

    /// The named backend, or the preferred one.
    pub fn select(&self, name: Option<&str>) -> Result<Selected> {
        let backend = match name {
            Some(name) => self.find(name).ok_or_else(|| {
                let names = (0..self.count())
                    .filter_map(|i| self.get(i))
                    .map(|b| b.name());
                err!(
                    NotFound,
                    "there is no backend '{}' (there are: {})",
                    Short(name),
                    List(names)
                )
            })?,
            None => self.others.first().unwrap_or(&self.reference),
        };
        Ok(Selected {
            backend: Arc::clone(backend),
            reference: Arc::clone(&self.reference),
            kernels: self.kernels.as_slice().into(),
            platform: self.platform,
            shared: Arc::clone(&self.shared),
        })
    }
}
