//! A program made ready: validated, planned, its weights bound, its operations handed to backends.
//!
//! Operations are grouped into segments: runs that the session's backend supports, runs that fall back to
//! the reference, and single operations that a host's own kernel takes.

use super::batch::Merge;
use super::memory::Memory;
use super::op::{Code, Operand};
use super::plan::plan;
use super::program::{Program, model_ids};
use super::shared::Key;
use super::validate::validate;
use crate::backend::host::{Backend, Kernel, Selected, foreign};
use crate::backend::table::realm_program;
#[cfg(feature = "replay")]
use crate::backend::table::realm_register;
use crate::error::{Result, try_vec};
use crate::platform::REALM_ABI_VERSION;
use crate::store::Model;
use crate::{bail, err};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::{ptr, slice};

/// Who runs a segment.
pub(super) enum Worker {
    /// A backend, by the plan it made.
    Plan {
        /// The session's backend or the reference.
        backend: Arc<Backend>,
        /// What its `prepare` returned.
        plan: *mut c_void,
    },
    /// A host's own kernel.
    Kernel(Kernel),
}

/// Consecutive operations with one worker.
pub(super) struct Segment {
    pub worker: Worker,
    pub first: u32,
    pub count: u32,
    /// It reads and writes host memory, while the session's memory is on a device.
    pub staged: bool,
}

/// A program ready to be replayed on one session's backend.
pub struct Prepared {
    // Dropped in this order: the plans before the program they point into, the model last.
    pub(super) segments: Vec<Segment>,
    pub(super) program: Program,
    /// Boxed, because plans keep its address.
    view: Box<realm_program>,
    pub(super) on: Selected,
    /// Weights that the backend has been told of.
    bound: usize,
    /// Segments whose plans there are.
    planned: usize,
    /// Workspace of a step, the largest any segment wants.
    pub(super) workspace_bytes: u64,
    /// Whether and how its steps may run together with other sessions'.
    pub(super) merge: Option<Merge>,
    /// What it was made of, for saving.
    bytes: Vec<u8>,
    models: Vec<Arc<Model>>,
}

// SAFETY: the raw pointers are to the program and model owned here, and to plans, which backends
// accept from any thread.
unsafe impl Send for Prepared {}
// SAFETY: as above; nothing is changed after construction.
unsafe impl Sync for Prepared {}

impl Prepared {
    /// Validates, plans and prepares bytes recorded for one model. Counts scratch against the session's limits.
    pub fn new(bytes: &[u8], model: &Arc<Model>, memory: &mut Memory) -> Result<Self> {
        Self::of(bytes, slice::from_ref(model), memory)
    }

    /// The same for all the models that the program names, in its order.
    fn of(bytes: &[u8], models: &[Arc<Model>], memory: &mut Memory) -> Result<Self> {
        let mut program = Program::parse(bytes)?;
        copy(&mut program.buffers, memory.buffer_descs(), "buffers")?;
        copy(&mut program.kv_layers, memory.kv_layers(), "KV layers")?;
        validate(&mut program, models)?;
        plan(&mut program, u64::MAX >> 8)?;
        let mut recorded = Vec::new();
        copy(&mut recorded, bytes, "bytes of a program")?;
        let mut kept = try_vec(models.len(), "models")?;
        kept.extend_from_slice(models);
        let on = memory.on.clone();
        let mut prepared = Self {
            segments: Vec::new(),
            view: Box::new(view(&program)),
            program,
            on,
            bound: 0,
            planned: 0,
            workspace_bytes: 0,
            merge: None,
            bytes: recorded,
            models: kept,
        };
        prepared.split()?;
        prepared.merge = Merge::of(&prepared.program, &prepared.segments)?;
        prepared.bind()?;
        prepared.workspace_bytes = prepared.prepare()?;
        memory.reserve_scratch(prepared.program.scratch_bytes, prepared.workspace_bytes)?;
        Ok(prepared)
    }

    /// As [`new`](Self::new), or what another session has made of the same bytes for the same models, backend, buffers
    /// and KV layers. Scratch counts against the session's limits in either case.
    pub fn shared(bytes: &[u8], models: &[Arc<Model>], memory: &mut Memory) -> Result<Arc<Self>> {
        let on = memory.on.clone();
        let (buffers, kv_layers) = (memory.buffer_descs(), memory.kv_layers());
        let key = Key::new(bytes, buffers, kv_layers, models, &on.backend);
        if let Some(found) = on.shared.find(&key) {
            memory.reserve_scratch(found.program.scratch_bytes, found.workspace_bytes)?;
            return Ok(found);
        }
        let made = Arc::new(Self::of(bytes, models, memory)?);
        Ok(on.shared.publish(key, made))
    }

    /// The registers it declares.
    #[cfg(feature = "replay")]
    pub fn registers(&self) -> &[realm_register] {
        &self.program.registers
    }

    /// The bytes it was recorded as.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The models that its weights come from, each with the id that it was recorded with, whatever that stands for by now.
    pub fn models(&self) -> Result<impl Iterator<Item = (u32, &Arc<Model>)>> {
        Ok(model_ids(&self.bytes)?.zip(&self.models))
    }

    /// Scratch memory of one step, without backend workspace.
    pub fn scratch_bytes(&self) -> u64 {
        self.program.scratch_bytes
    }

    /// How much there is to check at each step.
    pub fn check_count(&self) -> u64 {
        self.program.spans.len() as u64
    }

    /// Cuts the operations into segments.
    fn split(&mut self) -> Result<()> {
        let shared = self.on.backend.shares_memory();
        for (i, op) in self.program.ops.iter().enumerate() {
            let i = i as u32;
            let ty = self.source_type(op.src.first().copied().unwrap_or(0));
            if let Some(kernel) = self.on.kernel(op, ty) {
                push(&mut self.segments, Worker::Kernel(kernel), i, !shared)?;
                continue;
            }
            let own = runs(&self.on.backend, &self.view, i);
            if !own && !runs(&self.on.reference, &self.view, i) {
                let name = Code::from_u16(op.code).map_or("?", Code::name);
                bail!(Unsupported, "no backend runs operation {i} ({name})");
            }
            let backend = if own {
                &self.on.backend
            } else {
                &self.on.reference
            };
            if let Some(Segment {
                worker: Worker::Plan { backend: b, .. },
                count,
                ..
            }) = self.segments.last_mut()
                && Arc::ptr_eq(b, backend)
            {
                *count += 1;
                continue;
            }
            let worker = Worker::Plan {
                backend: Arc::clone(backend),
                plan: ptr::null_mut(),
            };
            push(&mut self.segments, worker, i, !own && !shared)?;
        }
        Ok(())
    }

    fn source_type(&self, bits: u32) -> u32 {
        let p = &self.program;
        match Operand::of(bits) {
            Operand::Weight(i) => p.weights.get(i as usize).map(|w| w.r#type),
            Operand::Value(i) => p.values.get(i as usize).map(|v| v.r#type),
            Operand::Buffer(i) => p.buffers.get(i as usize).map(|b| b.r#type),
            Operand::Kv(_) | Operand::None => None,
        }
        .unwrap_or(u32::MAX)
    }

    fn bind(&mut self) -> Result<()> {
        for weight in &mut self.program.weights {
            self.on.backend.bind(weight)?;
            self.bound += 1;
        }
        Ok(())
    }

    /// Hands every segment to its backend; returns the largest workspace any of them wants.
    fn prepare(&mut self) -> Result<u64> {
        let mut most = 0;
        for (i, s) in self.segments.iter_mut().enumerate() {
            let Worker::Plan { backend, plan } = &mut s.worker else {
                continue;
            };
            let t = &backend.table;
            let mut bytes = 0u64;
            let code = match t.prepare {
                // SAFETY: the view points into `self.program`, whose vectors live and stay put until `discard`.
                Some(f) => unsafe {
                    f(
                        t.ctx,
                        &raw const *self.view,
                        s.first,
                        s.count,
                        plan,
                        &raw mut bytes,
                    )
                },
                None => -1,
            };
            if code != 0 {
                return Err(foreign(code, backend.name(), "prepare"));
            }
            self.planned = i + 1;
            most = most.max(bytes);
        }
        Ok(most)
    }

    /// Operations that leave the session's backend.
    pub(super) fn fallback_ops(&self) -> u64 {
        let away = |s: &&Segment| match &s.worker {
            Worker::Plan { backend, .. } => !Arc::ptr_eq(backend, &self.on.backend),
            Worker::Kernel(_) => false,
        };
        self.segments
            .iter()
            .filter(away)
            .map(|s| u64::from(s.count))
            .sum()
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        for s in self.segments.iter().take(self.planned) {
            if let Worker::Plan { backend, plan } = &s.worker
                && let Some(discard) = backend.table.discard
            {
                // SAFETY: made by this backend's `prepare`; no batch of it is running.
                unsafe { discard(backend.table.ctx, *plan) }
            }
        }
        for weight in self.program.weights.iter().take(self.bound) {
            self.on.backend.unbind(weight);
        }
    }
}

fn copy<T: Copy>(to: &mut Vec<T>, from: &[T], what: &str) -> Result<()> {
    *to = try_vec(from.len(), what)?;
    to.extend_from_slice(from);
    Ok(())
}

fn push(segments: &mut Vec<Segment>, worker: Worker, first: u32, staged: bool) -> Result<()> {
    segments
        .try_reserve(1)
        .map_err(|_| err!(NoMemory, "no memory for a program's segments"))?;
    segments.push(Segment {
        worker,
        first,
        count: 1,
        staged,
    });
    Ok(())
}

fn runs(backend: &Backend, view: &realm_program, op: u32) -> bool {
    let t = &backend.table;
    // SAFETY: contract of the table; the view is whole.
    t.supports
        .is_some_and(|f| unsafe { f(t.ctx, view, op) } == 1)
}

fn view(p: &Program) -> realm_program {
    realm_program {
        struct_size: size_of::<realm_program>() as u32,
        abi_version: REALM_ABI_VERSION,
        next: ptr::null(),
        ops: p.ops.as_ptr(),
        values: p.values.as_ptr(),
        registers: p.registers.as_ptr(),
        weights: p.weights.as_ptr(),
        buffers: p.buffers.as_ptr(),
        kv_layers: p.kv_layers.as_ptr(),
        op_count: p.ops.len() as u32,
        value_count: p.values.len() as u32,
        register_count: p.registers.len() as u32,
        weight_count: p.weights.len() as u32,
        buffer_count: p.buffers.len() as u32,
        kv_layer_count: p.kv_layers.len() as u32,
        scratch_bytes: p.scratch_bytes,
    }
}
