//! Steps of several sessions, handed to a backend as one batch: a port then reads the weights once for all of them.
//!
//! A batch may be half done when its sessions are polled apart, cancelled or closed. It is abandoned then, and every step
//! of it runs alone, from its beginning. So only steps that can be run twice are merged ([`Merge::of`]), and what
//! they read and then overwrite is kept until they have ended.

use super::memory::Memory;
use super::op::{Code, Dim, Operand};
use super::prepared::{Prepared, Segment, Worker};
use super::program::Program;
use super::run::Run;
use crate::backend::host::foreign;
use crate::backend::table::{REALM_BACKEND_RUNNING, realm_cursor, realm_op, realm_step};
use crate::error::{Result, Status, try_vec};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Most rows of a step that is merged. Beyond, a step is bound by arithmetic, not by the weights' way through memory:
/// there is nothing to gain, and the others would wait.
pub const MAX_ROWS: u32 = 8;
/// Most steps of a batch; `realm_backend.submit` promises it.
pub const MAX_STEPS: usize = 64;
/// Most bytes of session buffers that are kept per step, so that it can be run again.
const MAX_UNDO_BYTES: u64 = 1 << 16;

/// What makes a program's steps fit to be merged with others'.
pub(super) struct Merge {
    /// Registers that give a number of rows, a bit for each, and the largest constant one.
    row_registers: u64,
    fixed_rows: u32,
    /// Session buffers that are read as well as written, and their size in all.
    undo: Vec<u32>,
    undo_bytes: usize,
    /// The backend has said that it takes one step at a time.
    refused: AtomicBool,
}

impl Merge {
    /// None if the program must run alone: operations leave its backend, or running it twice would not be the same as
    /// running it once.
    pub fn of(p: &Program, segments: &[Segment]) -> Result<Option<Self>> {
        let [
            Segment {
                worker: Worker::Plan { .. },
                staged: false,
                ..
            },
        ] = segments
        else {
            return Ok(None);
        };
        if !appends_once(p)? {
            return Ok(None);
        }
        let mut merge = Self {
            row_registers: 0,
            fixed_rows: 0,
            undo: try_vec(p.buffers.len(), "buffers")?,
            undo_bytes: 0,
            refused: AtomicBool::new(false),
        };
        for v in &p.values {
            match Dim::unpack(v.rows) {
                Dim::Const(n) => merge.fixed_rows = merge.fixed_rows.max(n),
                Dim::Register(r) => merge.row_registers |= 1_u64.checked_shl(r).unwrap_or(0),
            }
        }
        let rows = |bits: u32| match Operand::of(bits) {
            Operand::Buffer(i) => p.buffers.get(i as usize).map_or(0, |b| b.rows),
            _ => 0,
        };
        let valued = |op: &realm_op| {
            core::iter::once(&op.dst)
                .chain(&op.src)
                .any(|&o| matches!(Operand::of(o), Operand::Value(_)))
        };
        // Without a value it is the destination that says how many rows there are.
        for op in p.ops.iter().filter(|op| !valued(op)) {
            merge.fixed_rows = merge.fixed_rows.max(rows(op.dst));
        }
        let mut bytes = 0;
        for i in 0..p.buffers.len() as u32 {
            if p.ops.iter().any(|op| reads(op, i)) && p.ops.iter().any(|op| writes(op, i)) {
                // At most 4 bytes an element.
                bytes += p.buffers.get(i as usize).map_or(0, |b| {
                    u64::from(b.rows) * u64::from(b.cols) * if b.r#type == 1 { 2 } else { 4 }
                });
                merge.undo.push(i);
            }
        }
        if bytes > MAX_UNDO_BYTES {
            return Ok(None);
        }
        merge.undo_bytes = bytes as usize;
        Ok(Some(merge))
    }

    /// Whether a step with these register values is worth merging.
    pub fn fits(&self, registers: &[u32]) -> bool {
        let listed = |i: usize| self.row_registers >> i & 1 == 1;
        let few = |(i, &value): (usize, &u32)| !listed(i) || value <= MAX_ROWS;
        self.fixed_rows <= MAX_ROWS
            && !self.refused.load(Ordering::Relaxed)
            && registers.iter().enumerate().all(few)
    }

    /// Copies what a step will overwrite.
    fn save(&self, memory: &Memory) -> Result<Vec<u8>> {
        let mut kept = try_vec(self.undo_bytes, "bytes of a step's inputs")?;
        kept.resize(self.undo_bytes, 0);
        let mut rest = kept.as_mut_slice();
        for &i in &self.undo {
            let (part, after) = rest
                .split_at_mut_checked(buffer_bytes(memory, i))
                .unwrap_or_default();
            memory.buffer_read(i, 0, part)?;
            rest = after;
        }
        Ok(kept)
    }

    /// Puts it back.
    pub fn restore(&self, memory: &mut Memory, kept: &[u8]) -> Result<()> {
        let mut rest = kept;
        for &i in &self.undo {
            let (part, after) = rest
                .split_at_checked(buffer_bytes(memory, i))
                .unwrap_or_default();
            memory.buffer_write(i, 0, part)?;
            rest = after;
        }
        Ok(())
    }
}

fn buffer_bytes(memory: &Memory, i: u32) -> usize {
    memory.buffer_desc(i).map_or(0, |b| {
        b.rows as usize * b.cols as usize * if b.r#type == 1 { 2 } else { 4 }
    })
}

/// The second source of TOP_K is written.
fn is_output(op: &realm_op, source: usize) -> bool {
    op.code == Code::TopK as u16 && source == 1
}

fn reads(op: &realm_op, buffer: u32) -> bool {
    let mut sources = op.src.iter().enumerate();
    sources.any(|(k, &o)| Operand::of(o) == Operand::Buffer(buffer) && !is_output(op, k))
}

fn writes(op: &realm_op, buffer: u32) -> bool {
    let mut sources = op.src.iter().enumerate();
    Operand::of(op.dst) == Operand::Buffer(buffer)
        || sources.any(|(k, &o)| Operand::of(o) == Operand::Buffer(buffer) && is_output(op, k))
}

/// Whether each KV layer is appended to by one operation at most, and read by none before it: then a second run
/// appends what the first did and finds what the first found.
fn appends_once(p: &Program) -> Result<bool> {
    let mut used = try_vec(p.kv_layers.len(), "KV layers")?;
    used.resize(p.kv_layers.len(), false);
    for op in &p.ops {
        let appends = op
            .src
            .get(1)
            .is_some_and(|&k| Operand::of(k) != Operand::None);
        for &o in &op.src {
            if let Operand::Kv(layer) = Operand::of(o)
                && let Some(used) = used.get_mut(layer as usize)
            {
                if appends && *used {
                    return Ok(false);
                }
                *used = true;
            }
        }
    }
    Ok(true)
}

/// Not submitted yet, or submitted and not ended.
const ALIVE: u8 = 0;
/// Some thread is taking it back from the backend.
const LEAVING: u8 = 1;
/// It has ended in some way; the backend knows nothing of it any more.
const OVER: u8 = 2;

/// Steps of one program, run as one.
pub struct Batch {
    prepared: Arc<Prepared>,
    /// Copies, with pointers into the runs and the memory of the sessions that they belong to.
    steps: Vec<realm_step>,
    cursor: UnsafeCell<realm_cursor>,
    submitted: AtomicBool,
    state: AtomicU8,
}

// SAFETY: the raw pointers are to memory of sessions, which may move between threads.
unsafe impl Send for Batch {}
// SAFETY: the cursor is used only by `advance`, whose caller has every member to itself, and by the one thread that
// has changed the state to LEAVING. A thread that has a member to itself excludes `advance`.
unsafe impl Sync for Batch {}

impl Batch {
    /// An empty batch of the program of `run`, with room for so many steps.
    pub fn new(run: &Run, room: usize) -> Result<Self> {
        Ok(Self {
            prepared: Arc::clone(run.prepared()),
            steps: try_vec(room.min(MAX_STEPS), "steps of a batch")?,
            cursor: UnsafeCell::new(realm_cursor::default()),
            submitted: AtomicBool::new(false),
            state: AtomicU8::new(ALIVE),
        })
    }

    /// Takes a step in, unless the batch is full; the run must then be told ([`Run::join`]).
    pub fn add(&mut self, run: &mut Run, memory: &Memory) -> Result<bool> {
        let Some(merge) = &self.prepared.merge else {
            return Ok(false);
        };
        if self.steps.len() == self.steps.capacity() || self.steps.len() == MAX_STEPS {
            return Ok(false);
        }
        run.undo = merge.save(memory)?;
        self.steps.push(run.step());
        Ok(true)
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether it runs `prepared`.
    pub fn is_of(&self, prepared: &Arc<Prepared>) -> bool {
        Arc::ptr_eq(&self.prepared, prepared)
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        self.state.load(Ordering::Acquire) == ALIVE
    }

    /// Works for about `quantum_ns` (0: to the end). Returns true when every step is complete. On an error
    /// nothing is known of any step.
    ///
    /// # Safety
    /// The caller has exclusive use of every session whose step is in the batch, and all of them hold it.
    pub unsafe fn advance(&self, quantum_ns: u64) -> Result<bool> {
        let Some(Segment {
            worker: Worker::Plan { backend, plan },
            ..
        }) = self.prepared.segments.first()
        else {
            return Ok(true);
        };
        let t = &backend.table;
        let (steps, count) = (self.steps.as_ptr(), self.steps.len() as u32);
        if !self.submitted.swap(true, Ordering::Relaxed) {
            let code = match t.submit {
                // SAFETY: the steps and what they name live until the batch has ended or been left: a session that
                // lets go of its run leaves the batch first.
                Some(f) => unsafe { f(t.ctx, *plan, steps, count, self.cursor.get()) },
                None => -1,
            };
            if code != 0 {
                if code == Status::Unsupported as i32
                    && let Some(merge) = &self.prepared.merge
                {
                    merge.refused.store(true, Ordering::Relaxed);
                }
                self.state.store(OVER, Ordering::Release);
                return Err(foreign(code, backend.name(), "submit"));
            }
        }
        let code = match t.query {
            // SAFETY: as above; calls do not overlap, because every call needs all members.
            Some(f) => unsafe { f(t.ctx, *plan, steps, count, self.cursor.get(), quantum_ns) },
            None => -1,
        };
        if code == REALM_BACKEND_RUNNING {
            return Ok(false);
        }
        self.state.store(OVER, Ordering::Release);
        match code {
            0 => Ok(true),
            code => Err(foreign(code, backend.name(), "a batch")),
        }
    }

    /// Abandons the batch, if it has not ended: the backend touches nothing of it when this returns.
    pub(super) fn leave(&self) {
        let state = &self.state;
        match state.compare_exchange(ALIVE, LEAVING, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                if let Some(Segment {
                    worker: Worker::Plan { backend, plan },
                    ..
                }) = self.prepared.segments.first()
                    && let Some(cancel) = backend.table.cancel
                    && self.submitted.load(Ordering::Relaxed)
                {
                    // SAFETY: submitted and not ended; nobody else uses the cursor, see above.
                    unsafe { cancel(backend.table.ctx, *plan, self.cursor.get()) }
                }
                state.store(OVER, Ordering::Release);
            }
            // The one place where a thread waits for another's callback: what a device may still be writing to cannot
            // be given back.
            Err(_) => {
                while state.load(Ordering::Acquire) == LEAVING {
                    spin_loop();
                }
            }
        }
    }
}
