//! Stand-ins behind the signatures of the graph module; deleted when it lands.
#![allow(missing_docs, clippy::all, reason = "stub")]
use crate::backend::table::*;
use crate::error::Result;
use crate::platform::Platform;
use crate::{bail, err, store};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;

pub struct Backend(String);
impl Backend {
    pub unsafe fn from_table(table: *const realm_backend, _p: &Platform) -> Result<Self> {
        if table.is_null() { bail!(InvalidArgument, "backend is NULL"); }
        // SAFETY: stub; the caller's promise.
        let n = unsafe { core::ffi::CStr::from_ptr((*table).name) };
        Ok(Self(n.to_string_lossy().into_owned()))
    }
    pub fn name(&self) -> &str { &self.0 }
}
pub struct Kernel { pub op: u32, pub ty: u32, pub call: realm_kernel_fn, pub ctx: *mut c_void }
// SAFETY: stub.
unsafe impl Send for Kernel {}
// SAFETY: stub.
unsafe impl Sync for Kernel {}
pub struct Backends(Vec<Arc<Backend>>);
#[derive(Clone)]
pub struct Selected;
impl Backends {
    pub fn new(_p: &Platform) -> Result<Self> { Ok(Self(alloc::vec![Arc::new(Backend("reference".into()))])) }
    pub fn add(&mut self, b: Backend) -> Result<()> { self.0.insert(0, Arc::new(b)); Ok(()) }
    pub fn add_kernel(&mut self, _k: Kernel) -> Result<()> { Ok(()) }
    pub fn count(&self) -> usize { self.0.len() }
    pub fn get(&self, i: usize) -> Option<&Arc<Backend>> { self.0.get(i) }
    pub fn select(&self, name: Option<&str>) -> Result<Selected> {
        match name { Some(n) if !self.0.iter().any(|b| b.0 == n) => bail!(NotFound, "no backend is named '{n}'"), _ => Ok(Selected) }
    }
}
pub struct MemoryLimits { pub buffer_bytes: u64, pub kv_bytes: u64, pub scratch_bytes: u64 }
#[derive(Debug, Clone, Copy)]
pub struct KvDesc { pub ty: u32, pub n_head_kv: u32, pub head_dim_k: u32, pub head_dim_v: u32, pub max_positions: u32, pub group: u32, pub window: u32 }
#[derive(Default)]
pub struct Usage { pub buffer_bytes: u64, pub kv_bytes: u64, pub scratch_bytes: u64, pub fallback_ops: u64 }
pub struct Memory { buffers: Vec<(realm_buffer, Vec<u8>)>, limits: MemoryLimits, kv: Vec<KvDesc>, platform: Platform }
impl Memory {
    pub fn new(_s: Selected, p: &Platform, limits: MemoryLimits) -> Self { Self { buffers: Vec::new(), limits, kv: Vec::new(), platform: *p } }
    pub fn buffer_create(&mut self, ty: u32, cols: u32, rows: u32) -> Result<u32> {
        let size = match ty { 0 | 26 => 4, 1 => 2, _ => bail!(InvalidArgument, "buffer type {ty}") };
        let bytes = u64::from(cols) * u64::from(rows);
        let bytes = bytes.checked_mul(size).ok_or_else(|| err!(Limit, "too large"))?;
        if self.usage().buffer_bytes.saturating_add(bytes) > self.limits.buffer_bytes { bail!(Limit, "over max_buffer_bytes"); }
        let mut v = crate::error::try_vec(bytes as usize, "bytes")?;
        v.resize(bytes as usize, 0);
        self.buffers.push((realm_buffer { r#type: ty, cols, rows, reserved: 0 }, v));
        Ok(self.buffers.len() as u32 - 1)
    }
    fn at(&self, h: u32) -> Result<&(realm_buffer, Vec<u8>)> { self.buffers.get(h as usize).ok_or_else(|| err!(NotFound, "no buffer {h}")) }
    pub fn buffer_write(&mut self, h: u32, offset: u64, data: &[u8]) -> Result<()> {
        self.at(h)?;
        let b = self.buffers.get_mut(h as usize).and_then(|b| b.1.get_mut(offset as usize..)).and_then(|b| b.get_mut(..data.len())).ok_or_else(|| err!(InvalidArgument, "past the end"))?;
        b.copy_from_slice(data); Ok(())
    }
    pub fn buffer_read(&self, h: u32, offset: u64, out: &mut [u8]) -> Result<()> {
        let b = self.at(h)?.1.get(offset as usize..).and_then(|b| b.get(..out.len())).ok_or_else(|| err!(InvalidArgument, "past the end"))?;
        out.copy_from_slice(b); Ok(())
    }
    pub fn buffer_desc(&self, h: u32) -> Option<realm_buffer> { self.at(h).ok().map(|b| b.0) }
    pub fn kv_create(&mut self, d: KvDesc) -> Result<u32> { self.kv.push(d); Ok(self.kv.len() as u32 - 1) }
    pub fn kv_bytes_for(&self, p: u32) -> u64 { u64::from(p) * self.kv.len() as u64 }
    pub fn kv_truncate(&mut self, _p: u32) -> Result<()> { Ok(()) }
    pub fn usage(&self) -> Usage { Usage { buffer_bytes: self.buffers.iter().map(|b| b.1.len() as u64).sum(), ..Usage::default() } }
}
pub struct Prepared { _model: Arc<store::Model> }
impl Prepared {
    pub fn new(bytes: &[u8], model: &Arc<store::Model>, _m: &mut Memory) -> Result<Self> {
        if !bytes.starts_with(b"RPRG") { bail!(Format, "not a program"); }
        Ok(Self { _model: model.clone() })
    }
    pub fn model_id_field(bytes: &[u8]) -> Option<u32> { Some(u32::from_le_bytes(bytes.get(20..24)?.try_into().ok()?)) }
}
pub struct Run { left: u32 }
impl Run {
    pub fn new(_p: &Arc<Prepared>, _r: &[u32], repeat: u32, _t: u32, _m: &mut Memory) -> Result<Self> { Ok(Self { left: repeat }) }
    pub fn advance(&mut self, m: &mut Memory, quantum_ns: u64) -> Result<bool> {
        let start = m.platform.now_ns();
        while self.left > 0 {
            self.left -= 1;
            for _ in 0..1000 { core::hint::spin_loop(); }
            if let (Some(s), Some(n)) = (start, m.platform.now_ns()) && quantum_ns > 0 && n - s >= quantum_ns { break; }
        }
        Ok(self.left == 0)
    }
    pub fn cancel(&mut self, _m: &mut Memory) {}
}
