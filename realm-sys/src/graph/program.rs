//! A recorded program, read from the guest's bytes: counts and sizes are checked here, meaning in `validate`.

use super::op::{Dim, OP_BYTES, TYPE_F32, TYPE_I32};
use crate::backend::table::{
    realm_buffer, realm_kv_layer, realm_op, realm_register, realm_value, realm_weight,
};
use crate::error::{Result, try_vec};
use crate::guest::{ABI_MAJOR, ABI_MINOR};
use crate::{bail, err};
use alloc::vec::Vec;

const MAGIC: u32 = 0x4752_5052;
const HEADER_BYTES: usize = 32;
const REGISTER_BYTES: usize = 16;
const VALUE_BYTES: usize = 16;

/// Most registers a program may declare.
pub const MAX_REGISTERS: u32 = 64;
/// Most values, and most operations.
pub const MAX_RECORDS: u32 = 16384;
/// Most models beside the first that a program's weights may come from.
pub const MAX_FURTHER_MODELS: u32 = 15;
/// In a WEIGHT operand's index, where the number of the model begins: 0 the first, then the further ones. Below it is the tensor.
pub const MODEL_SHIFT: u32 = 24;
/// Longest program that is read from a file: more than the most that can be recorded.
pub const MAX_PROGRAM_BYTES: u32 = 4 << 20;
/// Largest number of elements in a row, or rows, of anything that is not a weight.
pub const MAX_EXTENT: u32 = 1 << 28;

/// Largest number of elements that a ROPE turns in a head: angles are computed and kept when a program is made.
pub const MAX_ROPE_DIMS: u32 = 1 << 16;
/// The same, summed over the operations of a program. Large models come to some ten thousand.
pub const MAX_ROPE_DIMS_IN_ALL: u64 = 1 << 20;

/// A span of rows that a step touches: `start + count` must stay within `limit` at every replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First row or position.
    pub start: Dim,
    /// How many.
    pub count: Dim,
    /// One past the last that there is.
    pub limit: u32,
    /// The operation it belongs to.
    pub op: u32,
    /// The KV group whose pages must reach `start + count`, if it is positions.
    pub kv_group: Option<u32>,
}

/// A program after reading; `validate` fills the weights and spans, `plan` the offsets.
pub struct Program {
    /// The operations, WEIGHT operands resolved to indices into `weights` by validation.
    pub ops: Vec<realm_op>,
    /// Intermediates.
    pub values: Vec<realm_value>,
    /// Registers.
    pub registers: Vec<realm_register>,
    /// Weights in use, each once.
    pub weights: Vec<realm_weight>,
    /// The session's buffers when the program was made.
    pub buffers: Vec<realm_buffer>,
    /// The session's KV layers when the program was made.
    pub kv_layers: Vec<realm_kv_layer>,
    /// What must be checked at each replay.
    pub spans: Vec<Span>,
    /// Scratch memory of a step, in bytes.
    pub scratch_bytes: u64,
}

/// Reads little-endian words off the front of a slice.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn u32(&mut self) -> Result<u32> {
        let (word, rest) = self
            .0
            .split_first_chunk::<4>()
            .ok_or_else(|| err!(Format, "program: ends early"))?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*word))
    }
}

/// The ids of the models that a program's weights come from: that in its header, and the further ones at its end.
pub fn model_ids(bytes: &[u8]) -> Result<impl Iterator<Item = u32>> {
    let word = |at: usize| {
        let word = bytes.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*word))
    };
    let (Some(first), Some(further)) = (word(20), word(24)) else {
        bail!(Format, "a program of {} bytes has no header", bytes.len());
    };
    let ids = bytes
        .len()
        .checked_sub(4 * further.min(MAX_FURTHER_MODELS) as usize)
        .and_then(|at| bytes.get(at..))
        .unwrap_or_default();
    let further = ids.as_chunks::<4>().0.iter().copied();
    Ok(core::iter::once(first).chain(further.map(u32::from_le_bytes)))
}

/// Largest value of a dim.
pub fn dim_max(dim: Dim, registers: &[realm_register]) -> Result<u32> {
    match dim {
        Dim::Const(n) => Ok(n),
        Dim::Register(r) => registers
            .get(r as usize)
            .map(|r| r.max)
            .ok_or_else(|| err!(Format, "program: register {r} is not declared")),
    }
}

impl Program {
    /// Reads the bytes a guest recorded. Sizes are checked before anything is allocated.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut w = Words(bytes);
        if w.u32()? != MAGIC {
            bail!(Format, "program: wrong magic");
        }
        let version = w.u32()?;
        let (major, minor) = (version & 0xffff, version >> 16);
        if major != ABI_MAJOR || minor > ABI_MINOR {
            bail!(
                Unsupported,
                "program: version {major}.{minor}, this library knows {ABI_MAJOR}.{ABI_MINOR}"
            );
        }
        let (reg_count, value_count, op_count) = (w.u32()?, w.u32()?, w.u32()?);
        // The models' ids are `model_ids`' affair.
        let (_, further, reserved) = (w.u32()?, w.u32()?, w.u32()?);
        if reserved != 0 || (further != 0 && minor < 2) {
            bail!(Format, "program: reserved words are not zero");
        }
        if further > MAX_FURTHER_MODELS {
            bail!(
                Limit,
                "program: {further} further models, at most {MAX_FURTHER_MODELS}"
            );
        }
        if reg_count > MAX_REGISTERS || value_count > MAX_RECORDS || op_count > MAX_RECORDS {
            bail!(
                Limit,
                "program: {reg_count} registers, {value_count} values, {op_count} operations; at most {MAX_REGISTERS}, {MAX_RECORDS}, {MAX_RECORDS}"
            );
        }
        let (reg_count, value_count, op_count) =
            (reg_count as usize, value_count as usize, op_count as usize);
        // No overflow: each count is bounded above.
        let need = HEADER_BYTES
            + reg_count * REGISTER_BYTES
            + value_count * VALUE_BYTES
            + op_count * OP_BYTES
            + further as usize * 4;
        if bytes.len() != need {
            bail!(
                Format,
                "program: {} bytes, its header says {need}",
                bytes.len()
            );
        }
        let mut registers = try_vec(reg_count, "registers")?;
        for i in 0..reg_count {
            let r = realm_register {
                min: w.u32()?,
                max: w.u32()?,
                stride: w.u32()? as i32,
                reserved: w.u32()?,
            };
            if r.min > r.max || r.max > MAX_EXTENT || r.reserved != 0 {
                bail!(
                    Format,
                    "program: register {i} has bounds {}..{}",
                    r.min,
                    r.max
                );
            }
            registers.push(r);
        }
        let mut values = try_vec(value_count, "values")?;
        for i in 0..value_count {
            let v = realm_value {
                r#type: w.u32()?,
                cols: w.u32()?,
                rows: w.u32()?,
                max_rows: 0,
                offset: 0,
            };
            if v.r#type != TYPE_F32 && v.r#type != TYPE_I32 {
                bail!(Unsupported, "program: value {i} has type {}", v.r#type);
            }
            let max_rows = dim_max(Dim::unpack(v.rows), &registers)?;
            if w.u32()? != 0 || v.cols == 0 || v.cols > MAX_EXTENT || max_rows > MAX_EXTENT {
                bail!(Format, "program: value {i} is [{max_rows}, {}]", v.cols);
            }
            values.push(realm_value { max_rows, ..v });
        }
        let mut ops = try_vec(op_count, "operations")?;
        for _ in 0..op_count {
            let head = w.u32()?;
            let mut op = realm_op {
                code: (head & 0xffff) as u16,
                flags: (head >> 16) as u16,
                dst: w.u32()?,
                src: [0; 10],
                param: [0; 20],
            };
            for s in &mut op.src {
                *s = w.u32()?;
            }
            for p in &mut op.param {
                *p = w.u32()?;
            }
            ops.push(op);
        }
        Ok(Self {
            ops,
            values,
            registers,
            weights: Vec::new(),
            buffers: Vec::new(),
            kv_layers: Vec::new(),
            spans: Vec::new(),
            scratch_bytes: 0,
        })
    }

    /// Size of a value in bytes, at its largest.
    pub fn value_bytes(&self, index: u32) -> u64 {
        self.values
            .get(index as usize)
            .map_or(0, |v| u64::from(v.cols) * u64::from(v.max_rows) * 4)
    }
}
