//! One submitted step: register values checked, memory made, segments run in order, sliced by time.

use super::batch::Batch;
use super::memory::Memory;
use super::op::Operand;
use super::prepared::{Prepared, Segment, Worker};
use super::program::MAX_REGISTERS;
use super::stage::Stage;
use crate::backend::host::{Kernel, foreign};
use crate::backend::table::{
    REALM_BACKEND_RUNNING, realm_cursor, realm_kernel_args, realm_op, realm_operand, realm_step,
};
use crate::error::Result;
use crate::platform::REALM_ABI_VERSION;
use crate::{bail, err};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr;

/// Most replays of one step. Without a clock nothing can interrupt them.
pub const MAX_REPEAT: u32 = 1 << 16;

/// A step in flight.
pub struct Run {
    prepared: Arc<Prepared>,
    flight: Box<Flight>,
    stage: Option<Stage>,
    /// Replays left after the present one; the backend counts them itself when there is one segment.
    repeats_left: u32,
    segment: usize,
    started: bool,
    /// The batch that the step is part of, with other sessions' steps.
    batch: Option<Arc<Batch>>,
    /// What a batch may overwrite that a second run has to find.
    pub(super) undo: Vec<u8>,
    /// A batch with it has failed: whose fault it was shows when each runs by itself.
    alone: bool,
}

/// What a backend sees of a step, where it stays while the step runs: one allocation, because a step is made for every
/// token and whatever it touches has been driven out of the caches by the weights.
struct Flight {
    step: realm_step,
    cursor: realm_cursor,
    registers: [u32; MAX_REGISTERS as usize],
}

// SAFETY: the raw pointers are to memory owned here and by the session that owns the run.
unsafe impl Send for Run {}

impl Run {
    /// Checks register values for every repetition, and makes the KV pages that the step will write.
    pub fn new(
        prepared: &Arc<Prepared>,
        registers: &[u32],
        repeat: u32,
        thread_count: u32,
        memory: &mut Memory,
    ) -> Result<Self> {
        let p = &prepared.program;
        if registers.len() != p.registers.len() {
            bail!(
                InvalidArgument,
                "{} register values, the program has {}",
                registers.len(),
                p.registers.len()
            );
        }
        if !(1..=MAX_REPEAT).contains(&repeat) {
            bail!(
                InvalidArgument,
                "a step cannot be repeated {repeat} times, only 1 to {MAX_REPEAT}"
            );
        }
        let mut first = [0; MAX_REGISTERS as usize];
        let mut last = first;
        let ends = first.iter_mut().zip(&mut last);
        for (i, ((&value, r), (first, last))) in
            registers.iter().zip(&p.registers).zip(ends).enumerate()
        {
            let end = i64::from(value) + i64::from(r.stride) * i64::from(repeat - 1);
            let range = i64::from(r.min)..=i64::from(r.max);
            if !range.contains(&i64::from(value)) || !range.contains(&end) {
                bail!(
                    InvalidArgument,
                    "register {i} would go from {value} to {end}, outside {}..={}",
                    r.min,
                    r.max
                );
            }
            (*first, *last) = (value, end as u32);
        }
        // Registers change linearly, so a sum of two is largest at one of the ends.
        for s in &p.spans {
            let end =
                |regs: &[u32]| u64::from(s.start.value(regs)) + u64::from(s.count.value(regs));
            let most = end(&first).max(end(&last));
            if most > u64::from(s.limit) {
                bail!(
                    InvalidArgument,
                    "operation {}: rows or positions up to {most}, there are {}",
                    s.op,
                    s.limit
                );
            }
            let idle = s.count.value(&first) == 0 && s.count.value(&last) == 0;
            if let (Some(group), false) = (s.kv_group, idle) {
                let from = s.start.value(&first).min(s.start.value(&last));
                memory.kv_reach(group, from, most as u32)?;
            }
        }
        // There already, unless a larger program wanted more since and did not get it.
        memory.reserve_scratch(p.scratch_bytes, prepared.workspace_bytes)?;
        // A backend counts replays itself, a host's kernel does not.
        let single = matches!(
            prepared.segments.as_slice(),
            [Segment {
                worker: Worker::Plan { .. },
                ..
            }]
        );
        // Nothing, however often, is done at once.
        let repeat = if prepared.segments.is_empty() {
            1
        } else {
            repeat
        };
        let stage = if prepared.segments.iter().any(|s| s.staged) {
            Some(Stage::new(prepared, memory)?)
        } else {
            None
        };
        memory.count_fallback(prepared.fallback_ops().saturating_mul(repeat.into()));
        let flight = Box::new(Flight {
            step: realm_step {
                registers: ptr::null(),
                scratch: memory.scratch_handle(),
                workspace: memory.workspace_handle(),
                buffers: memory.buffer_handles(),
                kv_tables: memory.kv_tables().as_ptr(),
                kv_table_count: memory.kv_tables().len() as u32,
                repeat: if single { repeat } else { 1 },
                thread_count: thread_count.max(1),
                reserved: 0,
            },
            cursor: realm_cursor::default(),
            registers: first,
        });
        Ok(Self {
            prepared: Arc::clone(prepared),
            flight,
            stage,
            repeats_left: if single { 0 } else { repeat - 1 },
            segment: 0,
            started: false,
            batch: None,
            undo: Vec::new(),
            alone: false,
        })
    }

    /// Works for about `quantum_ns` (0: to the end). Returns true when the step is complete.
    pub fn advance(&mut self, memory: &mut Memory, quantum_ns: u64) -> Result<bool> {
        self.settle(memory)?;
        let platform = memory.on.platform;
        let started = platform.now_ns();
        let left = || match started {
            Some(t0) if quantum_ns != 0 => {
                let spent = platform.now_ns().unwrap_or(t0).saturating_sub(t0);
                quantum_ns.saturating_sub(spent).max(1)
            }
            _ => 0,
        };
        let prepared = Arc::clone(&self.prepared);
        loop {
            let Some(s) = prepared.segments.get(self.segment) else {
                if self.repeats_left == 0 {
                    return Ok(true);
                }
                self.repeats_left -= 1;
                self.segment = 0;
                let values = &mut self.flight.registers;
                for (value, r) in values.iter_mut().zip(&prepared.program.registers) {
                    *value = value.wrapping_add_signed(r.stride);
                }
                continue;
            };
            if !self.segment_advance(s, memory, left())? {
                return Ok(false);
            }
            self.segment += 1;
            self.started = false;
            if left() == 1 && (self.segment < prepared.segments.len() || self.repeats_left > 0) {
                return Ok(false);
            }
        }
    }

    fn segment_advance(&mut self, s: &Segment, memory: &mut Memory, quantum: u64) -> Result<bool> {
        self.flight.step.registers = self.flight.registers.as_ptr();
        if !self.started
            && s.staged
            && let Some(stage) = &mut self.stage
        {
            stage.load(&self.prepared, s, memory, &self.flight.step)?;
        }
        let step: *const realm_step = match (&self.stage, s.staged) {
            (Some(stage), true) => stage.step(),
            _ => &raw const self.flight.step,
        };
        let done = match &s.worker {
            Worker::Kernel(kernel) => {
                let op = self.prepared.program.ops.get(s.first as usize);
                let op = op.ok_or_else(|| err!(Internal, "operation {} is gone", s.first))?;
                // SAFETY: `step` is valid and its memory is on the host.
                unsafe { self.call(kernel, op, &*step)? };
                true
            }
            Worker::Plan { backend, plan } => {
                let t = &backend.table;
                if !self.started {
                    self.flight.cursor = realm_cursor::default();
                    let code = match t.submit {
                        // SAFETY: the step and what it names live until the batch has ended or is cancelled.
                        Some(f) => unsafe { f(t.ctx, *plan, step, 1, &raw mut self.flight.cursor) },
                        None => -1,
                    };
                    if code != 0 {
                        return Err(foreign(code, backend.name(), "submit"));
                    }
                    self.started = true;
                }
                let code = match t.query {
                    // SAFETY: as above; calls for one batch do not overlap because `self` is borrowed mutably.
                    Some(f) => unsafe {
                        f(t.ctx, *plan, step, 1, &raw mut self.flight.cursor, quantum)
                    },
                    None => -1,
                };
                match code {
                    0 => true,
                    REALM_BACKEND_RUNNING => false,
                    code => {
                        self.started = false;
                        return Err(foreign(code, backend.name(), "a step"));
                    }
                }
            }
        };
        if done
            && s.staged
            && let Some(stage) = &mut self.stage
        {
            stage.store(&self.prepared, s, memory)?;
        }
        Ok(done)
    }

    /// Calls a host's kernel on whole operands.
    ///
    /// # Safety
    /// `step` is bound to this program and its memory is addressable.
    unsafe fn call(&self, kernel: &Kernel, op: &realm_op, step: &realm_step) -> Result<()> {
        let operand = |bits: u32| -> realm_operand {
            // SAFETY: forwarded from the caller.
            unsafe { self.operand(bits, step) }
        };
        let args = realm_kernel_args {
            struct_size: size_of::<realm_kernel_args>() as u32,
            abi_version: REALM_ABI_VERSION,
            op,
            dst: operand(op.dst),
            src: op.src.map(operand),
            registers: self.flight.registers.as_ptr(),
        };
        // SAFETY: contract of `realm_kernel_fn`.
        let code = kernel
            .call
            .map_or(-1, |f| unsafe { f(kernel.ctx, &raw const args) });
        if code == 0 {
            Ok(())
        } else {
            Err(foreign(code, "the host's kernel", "an operation"))
        }
    }

    unsafe fn operand(&self, bits: u32, step: &realm_step) -> realm_operand {
        let p = &self.prepared.program;
        let found = match Operand::of(bits) {
            Operand::Weight(i) => p.weights.get(i as usize).map(|w| realm_operand {
                data: w.data.cast_mut(),
                r#type: w.r#type,
                cols: w.ne[0] as u32,
                rows: w.ne[1] * w.ne[2] * w.ne[3],
            }),
            Operand::Value(i) => p.values.get(i as usize).map(|v| realm_operand {
                // SAFETY: the planned offset lies in scratch.
                data: unsafe { step.scratch.cast::<u8>().add(v.offset as usize) }.cast::<c_void>(),
                r#type: v.r#type,
                cols: v.cols,
                rows: super::op::Dim::unpack(v.rows)
                    .value(&self.flight.registers)
                    .into(),
            }),
            Operand::Buffer(i) => p.buffers.get(i as usize).map(|b| realm_operand {
                // SAFETY: the step has every buffer the program was validated against.
                data: unsafe { *step.buffers.add(i as usize) },
                r#type: b.r#type,
                cols: b.cols,
                rows: b.rows.into(),
            }),
            Operand::Kv(_) | Operand::None => None,
        };
        found.unwrap_or(realm_operand {
            data: ptr::null_mut(),
            r#type: 0,
            cols: 0,
            rows: 0,
        })
    }

    /// Its program.
    pub fn prepared(&self) -> &Arc<Prepared> {
        &self.prepared
    }

    /// The step as a backend sees it; valid as long as the run and its session's memory.
    pub(super) fn step(&self) -> realm_step {
        realm_step {
            registers: self.flight.registers.as_ptr(),
            ..self.flight.step
        }
    }

    /// Whether it may run in one batch with others: small, not begun, and not one of a batch that failed.
    pub fn may_merge(&self) -> bool {
        let registers = self
            .flight
            .registers
            .get(..self.prepared.program.registers.len());
        let fits = self.prepared.merge.as_ref().zip(registers);
        !self.started
            && !self.alone
            && self.batch.is_none()
            && self.flight.step.repeat == 1
            && fits.is_some_and(|(merge, registers)| merge.fits(registers))
    }

    /// Whether [`may_merge`](Self::may_merge) holds for both, and with each other.
    pub fn merges_with(&self, other: &Self) -> bool {
        self.may_merge()
            && other.may_merge()
            && Arc::ptr_eq(&self.prepared, &other.prepared)
            && self.threads() == other.threads()
    }

    /// Tasks it is split into.
    pub fn threads(&self) -> u32 {
        self.flight.step.thread_count
    }

    /// The batch it is part of.
    pub fn batch(&self) -> Option<&Arc<Batch>> {
        self.batch.as_ref()
    }

    /// Makes it part of a batch that has taken it in.
    pub fn join(&mut self, batch: &Arc<Batch>) {
        self.batch = Some(Arc::clone(batch));
    }

    /// The batch it is part of has ended well, and the step with it.
    pub fn complete(&mut self) {
        self.batch = None;
    }

    /// The batch it is part of has failed: the step will be run again, alone.
    pub fn retry_alone(&mut self, memory: &mut Memory) -> Result<()> {
        self.alone = true;
        self.settle(memory)
    }

    /// Takes the step out of a batch that has not ended well, or will not be waited for: back to its beginning.
    pub fn settle(&mut self, memory: &mut Memory) -> Result<()> {
        let Some(batch) = self.batch.take() else {
            return Ok(());
        };
        batch.leave();
        let undo = core::mem::take(&mut self.undo);
        match &self.prepared.merge {
            Some(merge) => merge.restore(memory, &undo),
            None => Ok(()),
        }
    }

    /// Abandons the step; its writes so far stay.
    pub fn cancel(&mut self) {
        if let Some(batch) = self.batch.take() {
            batch.leave();
        }
        if let Some(Segment {
            worker: Worker::Plan { backend, plan },
            ..
        }) = self.prepared.segments.get(self.segment)
            && self.started
            && let Some(cancel) = backend.table.cancel
        {
            // SAFETY: contract of the table; the batch was submitted and has not ended.
            unsafe { cancel(backend.table.ctx, *plan, &raw mut self.flight.cursor) }
        }
        self.started = false;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.cancel();
    }
}
