//! The bounds of what an instance may have wasmi allocate for it.

use wasmi::ResourceLimiter;
use wasmi::errors::{MemoryError, TableError};
use wasmi_core::LimiterError;

/// Table elements in all tables of an instance. A guest of a few thousand functions has as many.
const MAX_TABLE_ELEMENTS: usize = 1 << 16;
/// Tables of an instance.
const MAX_TABLES: usize = 8;

/// Bounds linear memory and tables. Growing past a bound fails as `memory.grow` fails: with -1.
pub struct Limiter {
    memory_bytes: usize,
    table_elements: usize,
    /// The largest linear memory that was refused, for the message.
    pub refused_bytes: usize,
}

impl Limiter {
    /// For a linear memory of at most so many bytes.
    pub fn new(memory_bytes: u64) -> Self {
        Self {
            memory_bytes: usize::try_from(memory_bytes).unwrap_or(usize::MAX),
            table_elements: 0,
            refused_bytes: 0,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        let fits = desired <= self.memory_bytes;
        if !fits {
            self.refused_bytes = desired;
        }
        Ok(fits && maximum.is_none_or(|m| desired <= m))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        let all = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        let fits = all <= MAX_TABLE_ELEMENTS && maximum.is_none_or(|m| desired <= m);
        if fits {
            self.table_elements = all;
        }
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, _: &MemoryError) -> Result<(), LimiterError> {
        Ok(())
    }

    fn table_grow_failed(&mut self, _: &TableError) -> Result<(), LimiterError> {
        Ok(())
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        1
    }
}
