//! What a guest's memory and tables may grow to, and whether that was too little for it.

use crate::err;
use crate::error::Error;
use wasmi::ResourceLimiter;
use wasmi::errors::MemoryError;
use wasmi_core::LimiterError;

/// Table elements of one table; a guest of a few thousand functions has as many.
const MAX_TABLE_ELEMENTS: usize = 1 << 14;
/// Tables of an instance.
const MAX_TABLES: usize = 4;

/// Bounds of one instance.
pub struct Limiter {
    memory_bytes: usize,
    refused: Option<Refused>,
}

#[derive(Clone, Copy)]
enum Refused {
    /// By the limit.
    Limit,
    /// By the machine.
    Machine,
}

impl Limiter {
    pub fn new(memory_bytes: u64) -> Self {
        Self {
            memory_bytes: usize::try_from(memory_bytes).unwrap_or(usize::MAX),
            refused: None,
        }
    }

    /// A new event: it has not asked for anything.
    pub fn forget(&mut self) {
        self.refused = None;
    }

    /// Why memory that the present event asked for was not to be had, if one was not.
    pub fn refusal(&self) -> Option<Error> {
        self.refused.map(|refused| match refused {
            Refused::Limit => err!(
                Limit,
                "the guest needs more memory for it than it may have, {} bytes (max_guest_memory_bytes)",
                self.memory_bytes
            ),
            Refused::Machine => err!(NoMemory, "the machine has no memory for the guest"),
        })
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        let granted = desired <= self.memory_bytes;
        if !granted {
            self.refused = Some(Refused::Limit);
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }

    fn memory_grow_failed(&mut self, error: &MemoryError) -> Result<(), LimiterError> {
        // Also said where a slice of fuel ends at the instruction, which is then tried again.
        if matches!(error, MemoryError::OutOfSystemMemory) {
            self.refused = Some(Refused::Machine);
        }
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
