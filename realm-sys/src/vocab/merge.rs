//! The loop that SentencePiece BPE and byte-level BPE share: join the best neighbouring pair until
//! no pair can be joined.
//!
//! "Best" is the lowest rank, then the leftmost. Short sequences are scanned, long ones use a heap
//! with lazily discarded entries, so the cost is O(n log n) whatever the text is.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::err;
use crate::error::{Error, Result};

/// Marks the absence of an id or of a neighbour.
pub(super) const NONE: u32 = u32::MAX;

/// Up to this many symbols, scanning for the minimum beats the heap.
const SCAN_MAX: usize = 24;

/// A stretch of the text and the token it has become, if any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// First byte in the text.
    pub(super) start: u32,
    /// Bytes; 0 once it was joined to its left neighbour.
    pub(super) len: u32,
    /// The token, or [`NONE`].
    pub(super) id: u32,
    prev: u32,
    next: u32,
    /// What it and its right neighbour become; used by the heap only. [`NONE`] as a rank if they
    /// do not join.
    join: Join,
}

/// What a pair of neighbours becomes, and how soon.
#[derive(Clone, Copy, Debug)]
pub(super) struct Join {
    /// Lower joins first; below [`NONE`].
    pub(super) rank: u32,
    /// The token made.
    pub(super) id: u32,
}

const NO_JOIN: Join = Join {
    rank: NONE,
    id: NONE,
};

/// The algorithm's table of pairs.
pub(super) trait Pairs {
    /// What `left` and its right neighbour `right` become, if anything.
    fn join(&self, left: &Symbol, right: &Symbol) -> Option<Join>;
}

/// Scratch memory for merging, reused between words.
#[derive(Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    joins: Vec<Option<Join>>,
    /// Rank and index of the left symbol, packed so that comparing is one instruction.
    heap: BinaryHeap<Reverse<u64>>,
}

fn no_memory() -> Error {
    err!(NoMemory, "no memory to tokenize")
}

impl Merger {
    /// Forgets the word before.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
    }

    /// Appends a symbol; `len` is not 0.
    pub(super) fn push(&mut self, start: u32, len: u32, id: u32) -> Result<()> {
        self.symbols.try_reserve(1).map_err(|_| no_memory())?;
        let i = self.symbols.len() as u32;
        self.symbols.push(Symbol {
            start,
            len,
            id,
            prev: i.wrapping_sub(1),
            next: i + 1,
            join: NO_JOIN,
        });
        Ok(())
    }

    /// Joins pairs until none is left.
    pub(super) fn run(&mut self, pairs: &impl Pairs) -> Result<()> {
        self.run_with(pairs, SCAN_MAX)
    }

    fn run_with(&mut self, pairs: &impl Pairs, scan_max: usize) -> Result<()> {
        if self.symbols.len() <= scan_max {
            self.scan(pairs)
        } else {
            self.heap(pairs)
        }
    }

    /// What is left, in order.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|s| s.len != 0)
    }

    /// Appends the ids of what is left. A part of `text` that is no token becomes those of its bytes, of which `bytes` has one
    /// for each or [`NONE`], and a run of bytes without one becomes one unknown token, if there is such a thing. `after_unknown`
    /// says that `out` ends with it, from call to call.
    pub(super) fn emit(
        &self,
        text: &[u8],
        bytes: &[u32],
        unknown: Option<u32>,
        after_unknown: &mut bool,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        for s in self.symbols() {
            if s.id != NONE {
                super::push(out, s.id)?;
                *after_unknown = false;
                continue;
            }
            let start = s.start as usize;
            for &byte in text.get(start..start + s.len as usize).unwrap_or(&[]) {
                let id = bytes.get(usize::from(byte)).copied().unwrap_or(NONE);
                if id != NONE {
                    super::push(out, id)?;
                    *after_unknown = false;
                } else if let Some(unknown) = unknown
                    && !*after_unknown
                {
                    super::push(out, unknown)?;
                    *after_unknown = true;
                }
            }
        }
        Ok(())
    }

    fn scan(&mut self, pairs: &impl Pairs) -> Result<()> {
        let symbols = &mut self.symbols;
        let joins = &mut self.joins;
        joins.clear();
        joins.try_reserve(symbols.len()).map_err(|_| no_memory())?;
        joins.extend(
            symbols
                .iter()
                .zip(symbols.iter().skip(1))
                .map(|(l, r)| pairs.join(l, r)),
        );
        loop {
            let mut best: Option<(usize, Join)> = None;
            for (i, join) in joins.iter().enumerate() {
                if let Some(j) = *join
                    && best.is_none_or(|(_, b)| j.rank < b.rank)
                {
                    best = Some((i, j));
                }
            }
            let Some((i, join)) = best else {
                return Ok(());
            };
            // `joins[i]` is about `symbols[i]` and `symbols[i + 1]`.
            let right = symbols.remove(i + 1);
            joins.remove(i);
            let Some(left) = symbols.get_mut(i) else {
                return Ok(());
            };
            left.len += right.len;
            left.id = join.id;
            let left = *left;
            if let (Some(slot), Some(right)) = (joins.get_mut(i), symbols.get(i + 1)) {
                *slot = pairs.join(&left, right);
            }
            if let Some(before) = i.checked_sub(1)
                && let (Some(slot), Some(l)) = (joins.get_mut(before), symbols.get(before))
            {
                *slot = pairs.join(l, &left);
            }
        }
    }

    fn heap(&mut self, pairs: &impl Pairs) -> Result<()> {
        if let Some(last) = self.symbols.last_mut() {
            last.next = NONE;
        }
        self.heap.clear();
        for left in 0..(self.symbols.len() as u32).saturating_sub(1) {
            self.consider(pairs, left, left + 1)?;
        }
        while let Some(Reverse(entry)) = self.heap.pop() {
            let (rank, at) = ((entry >> 32) as u32, entry as u32);
            let Some(left) = self.symbols.get(at as usize).copied() else {
                continue;
            };
            // The pair may have changed since it was queued; then its new state is queued too.
            if left.len == 0 || left.join.rank != rank {
                continue;
            }
            let Some(right) = self.symbols.get_mut(left.next as usize) else {
                continue;
            };
            let (right_len, after) = (right.len, right.next);
            right.len = 0;
            if let Some(s) = self.symbols.get_mut(after as usize) {
                s.prev = at;
            }
            if let Some(s) = self.symbols.get_mut(at as usize) {
                s.len += right_len;
                s.id = left.join.id;
                s.next = after;
                s.join = NO_JOIN;
            }
            self.consider(pairs, left.prev, at)?;
            self.consider(pairs, at, after)?;
        }
        Ok(())
    }

    /// Notes what a pair becomes, and queues it if it is anything.
    fn consider(&mut self, pairs: &impl Pairs, left: u32, right: u32) -> Result<()> {
        let (Some(l), Some(r)) = (
            self.symbols.get(left as usize),
            self.symbols.get(right as usize),
        ) else {
            return Ok(());
        };
        let join = pairs.join(l, r).unwrap_or(NO_JOIN);
        if let Some(l) = self.symbols.get_mut(left as usize) {
            l.join = join;
        }
        if join.rank != NONE {
            self.heap.try_reserve(1).map_err(|_| no_memory())?;
            self.heap
                .push(Reverse(u64::from(join.rank) << 32 | u64::from(left)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins any pair of ids whose sum is in the table's range, by a scrambled rank.
    struct Toy;
    impl Pairs for Toy {
        fn join(&self, l: &Symbol, r: &Symbol) -> Option<Join> {
            let id = l.id * 7 + r.id * 3 + 1;
            (id < 400 && !id.is_multiple_of(5)).then_some(Join {
                rank: id.wrapping_mul(2_654_435_761) >> 28,
                id,
            })
        }
    }

    #[test]
    fn scan_and_heap_agree() {
        let mut seed = 1u64;
        for n in 0..200u32 {
            let mut ids = Vec::new();
            for _ in 0..n {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ids.push((seed >> 60) as u32);
            }
            let mut results = Vec::new();
            for scan_max in [0, 1000] {
                let mut m = Merger::default();
                for (i, &id) in ids.iter().enumerate() {
                    m.push(i as u32, 1, id).unwrap();
                }
                m.run_with(&Toy, scan_max).unwrap();
                let out: Vec<_> = m.symbols().map(|s| (s.start, s.len, s.id)).collect();
                assert_eq!(out.iter().map(|s| s.1).sum::<u32>(), n);
                results.push(out);
            }
            assert_eq!(results[0], results[1]);
        }
    }
}
