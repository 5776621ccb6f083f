//! A program's tables with the memory of one step: where an operand is, and what shape it has in this replay.

use crate::backend::table::{
    realm_buffer, realm_kv_layer, realm_op, realm_program, realm_register, realm_step, realm_value,
    realm_weight,
};
use crate::graph::op::{Code, Dim, Operand, param_dim, src};
use crate::graph::program::MAX_REGISTERS;
use core::slice::{from_raw_parts, from_raw_parts_mut};

/// A program's tables, and the step they are bound to.
pub struct Bound<'a> {
    /// The operations.
    pub ops: &'a [realm_op],
    /// The step.
    pub step: &'a realm_step,
    values: &'a [realm_value],
    weights: &'a [realm_weight],
    pub(super) buffers: &'a [realm_buffer],
    kv_layers: &'a [realm_kv_layer],
    /// Register values of this replay.
    pub registers: [u32; MAX_REGISTERS as usize],
}

// SAFETY: the tables are immutable, and the memory behind the step is written in disjoint parts.
unsafe impl Sync for Bound<'_> {}

static NO_STEP: SyncStep = SyncStep(realm_step {
    registers: core::ptr::null(),
    scratch: core::ptr::null_mut(),
    workspace: core::ptr::null_mut(),
    buffers: core::ptr::null(),
    kv_tables: core::ptr::null(),
    kv_table_count: 0,
    repeat: 0,
    thread_count: 1,
    reserved: 0,
});

struct SyncStep(realm_step);
// SAFETY: all its pointers are null.
unsafe impl Sync for SyncStep {}

unsafe fn table<'a, T>(p: *const T, count: u32) -> &'a [T] {
    if count == 0 {
        return &[];
    }
    // SAFETY: forwarded from the caller.
    unsafe { from_raw_parts(p, count as usize) }
}

impl<'a> Bound<'a> {
    /// A program without a step, for `supports` and `prepare`.
    ///
    /// # Safety
    /// `program` is whole and outlives the result.
    pub unsafe fn program(program: *const realm_program) -> Self {
        // SAFETY: forwarded from the caller.
        unsafe { Self::step(program, &NO_STEP.0, 0) }
    }

    /// A program bound to a step, at its `repeat`-th replay.
    ///
    /// # Safety
    /// Both are whole and outlive the result; the step was made for the program.
    pub unsafe fn step(program: *const realm_program, step: &'a realm_step, repeat: u32) -> Self {
        // SAFETY: forwarded from the caller.
        let (p, declared) = unsafe {
            let p = &*program;
            (p, table::<realm_register>(p.registers, p.register_count))
        };
        let mut registers = [0; MAX_REGISTERS as usize];
        if !step.registers.is_null() {
            // SAFETY: a step has a value for every register of its program.
            let values = unsafe { table(step.registers, p.register_count) };
            for ((to, &from), r) in registers.iter_mut().zip(values).zip(declared) {
                *to = from.wrapping_add_signed(r.stride.wrapping_mul(repeat as i32));
            }
        }
        // SAFETY: forwarded from the caller.
        unsafe {
            Self {
                ops: table(p.ops, p.op_count),
                values: table(p.values, p.value_count),
                weights: table(p.weights, p.weight_count),
                buffers: table(p.buffers, p.buffer_count),
                kv_layers: table(p.kv_layers, p.kv_layer_count),
                step,
                registers,
            }
        }
    }

    /// The intermediate that an operand names.
    pub fn value(&self, operand: Operand) -> Option<&realm_value> {
        match operand {
            Operand::Value(i) => self.values.get(i as usize),
            _ => None,
        }
    }

    /// The weight that an operand names.
    pub fn weight(&self, operand: Operand) -> Option<&realm_weight> {
        match operand {
            Operand::Weight(i) => self.weights.get(i as usize),
            _ => None,
        }
    }

    /// A weight's bytes, as they lie in the model.
    pub fn weight_bytes(&self, operand: Operand) -> Option<&'a [u8]> {
        let w = self.weight(operand)?;
        // SAFETY: the model's bytes, borrowed while the program lives.
        Some(unsafe { from_raw_parts(w.data.cast(), w.bytes as usize) })
    }

    /// The KV layer that an operand names.
    pub fn kv_layer(&self, operand: Operand) -> Option<&realm_kv_layer> {
        match operand {
            Operand::Kv(i) => self.kv_layers.get(i as usize),
            _ => None,
        }
    }

    /// The type of a session buffer's elements.
    #[cfg(feature = "gpu")]
    pub fn buffer_type(&self, buffer: u32) -> u32 {
        self.buffers.get(buffer as usize).map_or(0, |b| b.r#type)
    }

    /// Columns and current rows of a value or buffer.
    pub fn shape(&self, operand: Operand) -> (usize, usize) {
        match operand {
            Operand::Value(_) => self.value(operand).map_or((0, 0), |v| {
                let rows = Dim::unpack(v.rows).value(&self.registers);
                (v.cols as usize, rows as usize)
            }),
            Operand::Buffer(i) => self
                .buffers
                .get(i as usize)
                .map_or((0, 0), |b| (b.cols as usize, b.rows as usize)),
            Operand::Weight(_) => self
                .weight(operand)
                .map_or((0, 0), |w| (w.ne[0] as usize, w.ne[1] as usize)),
            Operand::None | Operand::Kv(_) => (0, 0),
        }
    }

    /// Most rows that a value or buffer can have.
    pub fn max_rows(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Buffer(i) => self.buffers.get(i as usize).map_or(0, |b| b.rows.into()),
            _ => self.value(operand).map_or(0, |v| v.max_rows.into()),
        }
    }

    /// First byte of a value or buffer.
    pub fn base(&self, operand: Operand) -> *mut u8 {
        match operand {
            Operand::Value(_) => {
                let offset = self.value(operand).map_or(0, |v| v.offset as usize);
                // SAFETY: the plan put the value inside scratch.
                unsafe { self.step.scratch.cast::<u8>().add(offset) }
            }
            // SAFETY: the step has every buffer of its program.
            Operand::Buffer(i) => unsafe { *self.step.buffers.add(i as usize) }.cast(),
            _ => core::ptr::null_mut(),
        }
    }

    /// Row `i` of a value or buffer of 4-byte elements, for reading.
    ///
    /// # Safety
    /// No thread writes the row meanwhile, and `i` is within the operand's bound.
    pub unsafe fn row<T>(&self, operand: Operand, i: usize) -> &'a [T] {
        let (cols, _) = self.shape(operand);
        // SAFETY: within the operand; scratch and buffers are 64-byte aligned.
        unsafe { from_raw_parts(self.base(operand).cast::<T>().add(i * cols), cols) }
    }

    /// Row `i`, for writing.
    ///
    /// # Safety
    /// As [`Self::row`], and no other reference to the row is in use.
    #[allow(
        clippy::mut_from_ref,
        reason = "threads own disjoint rows of a shared operand"
    )]
    pub unsafe fn row_mut<T>(&self, operand: Operand, i: usize) -> &'a mut [T] {
        let (cols, _) = self.shape(operand);
        // SAFETY: as above.
        unsafe { from_raw_parts_mut(self.base(operand).cast::<T>().add(i * cols), cols) }
    }

    /// The first `count` entries of a one-column list.
    ///
    /// # Safety
    /// Validation bounded `count` by the list's rows, and nobody writes them meanwhile.
    pub unsafe fn list<T>(&self, operand: Operand, count: usize) -> &'a [T] {
        // SAFETY: validation bounded `count` by the list's rows.
        unsafe { from_raw_parts(self.base(operand).cast::<T>(), count) }
    }

    /// The rows that a MUL_MAT works on, as a packed dim.
    pub fn row_dim(&self, op: &realm_op) -> u32 {
        let dst = Operand::of(op.dst);
        match self.value(dst).or_else(|| self.value(src(op, 1))) {
            Some(v) => v.rows,
            None => self.shape(dst).1 as u32,
        }
    }

    /// The rows an operation works on.
    pub fn rows(&self, op: &realm_op) -> usize {
        let code = Code::from_u16(op.code);
        let dst = Operand::of(op.dst);
        match code {
            Some(Code::Cpy) => param_dim(op, 2, &self.registers) as usize,
            Some(Code::GetRows | Code::LogitBias | Code::Penalties | Code::Mask) => {
                self.shape(dst).1
            }
            // Heads, also if there are no rows: they follow one another.
            Some(Code::SsmScan) => self.shape(src(op, 1)).0,
            // Its second source has rows of its own.
            Some(Code::SsmConv) => {
                let value = self.value(dst).map_or(src(op, 0), |_| dst);
                match value {
                    Operand::Value(_) => self.shape(value).1,
                    _ => self.shape(dst).1,
                }
            }
            _ => {
                let all = [dst, src(op, 0), src(op, 1), src(op, 2)];
                let exact = all.into_iter().find(|o| matches!(o, Operand::Value(_)));
                self.shape(exact.unwrap_or(dst)).1
            }
        }
    }
}
