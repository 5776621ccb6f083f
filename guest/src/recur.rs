//! Rows that short convolutions keep from step to step, in session buffers.
//!
//! A buffer has three slots of as many rows as are kept: two that the steps write by turns, and one of zeros for the
//! beginning. A step reads one slot and writes the other, and which is which changes only when it has succeeded: a
//! step that failed or was abandoned leaves the state as it was. Older states are gone, so a context of such a model can
//! only be wound back to its beginning.

use crate::program::{Dim, Recorder};

/// Slots of a buffer.
const SLOTS: u32 = 3;
/// The one that stays zero.
const ZERO: u32 = 2;

/// Registers of a step.
#[derive(Clone, Copy, Debug)]
pub struct Regs {
    /// Rows kept.
    pub rows: u32,
    /// First row of the slot that is read.
    pub from: Dim,
    /// First row of the slot that is written.
    pub to: Dim,
    /// Rows that come from the step's own input, and how many of the old stay.
    pub fresh: Dim,
    /// See `fresh`.
    pub stay: Dim,
    /// Where the fresh ones go.
    pub fresh_to: Dim,
    /// Which row of the input is the first fresh one.
    pub fresh_from: Dim,
}

/// Where the state of a session is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    /// Rows kept; 0: the model keeps none.
    rows: u32,
    slot: u32,
}

impl Kept {
    /// For a model that keeps so many rows per convolution.
    pub fn new(rows: u32) -> Self {
        Self { rows, slot: 0 }
    }

    /// Whether the model keeps any.
    pub fn any(self) -> bool {
        self.rows > 0
    }

    /// Rows of a buffer.
    pub fn buffer_rows(self) -> u32 {
        SLOTS * self.rows
    }

    /// Declares the registers, behind all others.
    pub fn declare(self, r: &mut Recorder, n_batch: u32) -> Option<Regs> {
        let rows = self.rows;
        if rows == 0 {
            return None;
        }
        Some(Regs {
            rows,
            from: r.reg(0, ZERO * rows),
            to: r.reg(0, rows),
            fresh: r.reg(1, rows),
            stay: r.reg(0, rows - 1),
            fresh_to: r.reg(0, 2 * rows - 1),
            fresh_from: r.reg(0, n_batch - 1),
        })
    }

    /// Their values for a step of `n` tokens at `position`; as many as were declared.
    pub fn values(self, n: u32, position: u32) -> ([u32; 6], usize) {
        let rows = self.rows;
        let from = if position == 0 { ZERO } else { self.slot };
        let to = (1 - self.slot) * rows;
        let fresh = n.min(rows);
        let stay = rows - fresh;
        let values = [from * rows, to, fresh, stay, to + stay, n - fresh];
        (values, if rows == 0 { 0 } else { 6 })
    }

    /// A step has succeeded.
    pub fn advance(&mut self) {
        self.slot = 1 - self.slot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_before_the_next_step() {
        // Runs the copies on a list of positions: after any steps, the slot holds the last three.
        let mut kept = Kept::new(3);
        let mut buffer = [[-1i32; 3]; 3];
        let mut position = 0;
        for n in [1, 1, 2, 5, 3, 1, 1, 1, 4, 2] {
            let ([from, to, fresh, stay, fresh_to, fresh_from], count) = kept.values(n, position);
            assert_eq!(count, 6);
            let old = buffer[from as usize / 3];
            let last = position as i32 - 1;
            assert_eq!(
                old,
                [last - 2, last - 1, last].map(|p| p.max(-1)),
                "at {position}"
            );
            let slot = to as usize / 3;
            assert!(slot < 2 && slot != from as usize / 3);
            for i in 0..stay as usize {
                buffer[slot][i] = old[fresh as usize + i];
            }
            for i in 0..fresh {
                let at = (fresh_to - to + i) as usize;
                buffer[slot][at] = (position + fresh_from + i) as i32;
            }
            position += n;
            kept.advance();
        }
        assert_eq!(Kept::new(0).values(5, 1).1, 0);
    }
}
