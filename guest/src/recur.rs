//! What recurrent layers keep from step to step, in session buffers: the last rows that a short convolution has seen, and the
//! state of a scan.
//!
//! A convolution's buffer has three slots of as many rows as are kept: two that the steps write by turns, and one of zeros for the
//! beginning. A step reads one slot and writes the other, and which is which changes only when it has succeeded: a
//! step that failed or was abandoned leaves the state as it was. Older states are gone, so a context of such a model can
//! only be wound back to its beginning. A scan's buffer has two slots, of as many rows as the state has; that it begins with
//! zeros is told by a register.

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
    /// Of a model with scans.
    pub scan: Option<ScanRegs>,
}

/// Registers of a step, for scans.
#[derive(Clone, Copy, Debug)]
pub struct ScanRegs {
    /// Rows of a state.
    pub rows: u32,
    /// First row of the slot that is read, and whether there is anything in it.
    pub from: [Dim; 2],
    /// First row of the slot that is written.
    pub to: Dim,
    /// Rows of a state, and tokens.
    pub all: Dim,
}

/// Where the state of a session is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept {
    /// Rows kept; 0: the model keeps none.
    rows: u32,
    /// Rows of a scan's state; 0: there are none.
    state: u32,
    slot: u32,
}

/// Registers at most.
pub const REGS: usize = 10;

impl Kept {
    /// For a model that keeps so many rows per convolution, and has scans with so many rows of state.
    pub fn new(rows: u32, state: u32) -> Self {
        Self {
            rows,
            state,
            slot: 0,
        }
    }

    /// Whether the model keeps any.
    pub fn any(self) -> bool {
        self.rows > 0
    }

    /// Rows of a convolution's buffer.
    pub fn buffer_rows(self) -> u32 {
        SLOTS * self.rows
    }

    /// Rows of a scan's buffer; 0: there is none.
    pub fn state_rows(self) -> u32 {
        2 * self.state
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
            scan: (self.state > 0).then(|| ScanRegs {
                rows: self.state,
                from: [r.reg(0, self.state), r.reg(0, 1)],
                to: r.reg(0, self.state),
                all: r.reg(self.state + 1, self.state + n_batch),
            }),
        })
    }

    /// Their values for a step of `n` tokens at `position`; as many as were declared.
    pub fn values(self, n: u32, position: u32) -> ([u32; REGS], usize) {
        let (rows, state) = (self.rows, self.state);
        let from = if position == 0 { ZERO } else { self.slot };
        let to = (1 - self.slot) * rows;
        let fresh = n.min(rows);
        let stay = rows - fresh;
        let (a, b) = (self.slot * state, (1 - self.slot) * state);
        let begun = u32::from(position > 0);
        let conv = [from * rows, to, fresh, stay, to + stay, n - fresh];
        let [c, d, e, f, g, h] = conv;
        let values = [c, d, e, f, g, h, a, begun, b, state + n];
        let count = match (rows, state) {
            (0, _) => 0,
            (_, 0) => conv.len(),
            _ => REGS,
        };
        (values, count)
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
        let mut kept = Kept::new(3, 0);
        let mut buffer = [[-1i32; 3]; 3];
        let mut position = 0;
        for n in [1, 1, 2, 5, 3, 1, 1, 1, 4, 2] {
            let ([from, to, fresh, stay, fresh_to, fresh_from, ..], count) =
                kept.values(n, position);
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
        assert_eq!(Kept::new(0, 0).values(5, 1).1, 0);
    }

    #[test]
    fn a_state_is_read_where_the_step_before_wrote_it() {
        let mut kept = Kept::new(3, 16);
        let (mut written, mut position) = (None, 0);
        for n in [5, 1, 1, 7] {
            let (values, count) = kept.values(n, position);
            let [.., from, begun, to, all] = values;
            assert_eq!((count, all, begun == 1), (REGS, 16 + n, written.is_some()));
            assert!(written.is_none_or(|at| at == from) && from != to && from + to == 16);
            written = Some(to);
            position += n;
            kept.advance();
        }
    }
}
