//! Biases of single tokens: added by the program; this file keeps their table on the host.

use crate::abi::{self, Result, kind, try_vec};
use crate::program::{Dim, Operand, Recorder};
use alloc::vec::Vec;

/// The table of biases.
#[derive(Debug, Default)]
pub struct Bias {
    table: Vec<(u32, f32)>,
    capacity: u32,
    ids: u32,
    values: u32,
}

impl Bias {
    /// Takes over a table and writes it to the host if it changed. True if there is any.
    pub fn configure(&mut self, table: &[(u32, f32)]) -> Result<bool> {
        if self.table == table {
            return Ok(!table.is_empty());
        }
        self.reserve(table.len() as u32)?;
        let mut ids = try_vec(table.len())?;
        ids.extend(table.iter().map(|(id, _)| *id));
        let mut values = try_vec(table.len())?;
        values.extend(table.iter().map(|(_, bias)| *bias));
        if !table.is_empty() {
            abi::buffer_write(self.ids, 0, ids.as_slice())?;
            abi::buffer_write(self.values, 0, values.as_slice())?;
        }
        self.table = table.to_vec();
        Ok(!table.is_empty())
    }

    /// Makes room for so many tokens.
    pub fn reserve(&mut self, count: u32) -> Result<()> {
        if count > self.capacity {
            // Doubling bounds what the turns of a session can add up to.
            self.capacity = count.next_power_of_two().max(16);
            self.ids = abi::buffer(kind::I32, 1, self.capacity)?;
            self.values = abi::buffer(kind::F32, 1, self.capacity)?;
            self.table.clear();
        }
        Ok(())
    }

    /// Rows of the buffers.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Rows in use.
    pub fn count(&self) -> u32 {
        self.table.len() as u32
    }

    /// Appends the operation.
    pub fn record(&self, r: &mut Recorder, logits: Operand, count: Dim) {
        r.logit_bias(
            logits,
            Operand::buffer(self.ids),
            Operand::buffer(self.values),
            count,
        );
    }
}
