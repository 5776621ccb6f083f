//! Scratch memory: values that are never alive together share it.
//!
//! A value lives from the first operation that writes it to the last that names it. Offsets are
//! given in program order from a list of free holes, first fit, which for a feed-forward graph
//! finds the obvious ping-pong; it is linear in the program for the graphs people record and
//! bounded by `MAX_RECORDS` squared for those they do not.

use super::op::Operand;
use super::program::Program;
use crate::error::{Result, try_vec};
use crate::{bail, err};
use alloc::vec::Vec;

const ALIGN: u64 = 64;

#[derive(Clone, Copy)]
struct Hole {
    start: u64,
    end: u64,
}

/// Gives every value its offset and the program its scratch size, at most `limit` bytes.
pub fn plan(program: &mut Program, limit: u64) -> Result<()> {
    let count = program.values.len();
    let mut first = try_vec(count, "value lifetimes")?;
    first.resize(count, usize::MAX);
    let mut last = try_vec(count, "value lifetimes")?;
    last.resize(count, 0usize);
    for (i, op) in program.ops.iter().enumerate() {
        for &bits in core::iter::once(&op.dst).chain(&op.src) {
            if let Operand::Value(v) = Operand::of(bits) {
                let v = v as usize;
                if let (Some(f), Some(l)) = (first.get_mut(v), last.get_mut(v)) {
                    *f = (*f).min(i);
                    *l = i;
                }
            }
        }
    }
    // Values in the order they end, so that space is freed as the scan passes their last use.
    let mut by_first: Vec<u32> = try_vec(count, "values")?;
    let mut by_last: Vec<u32> = try_vec(count, "values")?;
    for v in 0..count as u32 {
        if first.get(v as usize) != Some(&usize::MAX) {
            by_first.push(v);
            by_last.push(v);
        }
    }
    by_first.sort_unstable_by_key(|&v| (first.get(v as usize).copied(), v));
    by_last.sort_unstable_by_key(|&v| (last.get(v as usize).copied(), v));

    let mut holes: Vec<Hole> = try_vec(count + 1, "scratch holes")?;
    let mut top = 0u64;
    let mut ended = by_last.iter().peekable();
    for &v in &by_first {
        let begins = first.get(v as usize).copied().unwrap_or(0);
        while let Some(&&old) = ended.peek() {
            if last.get(old as usize).is_none_or(|&l| l >= begins) {
                break;
            }
            ended.next();
            let offset = program.values.get(old as usize).map_or(0, |x| x.offset);
            release(&mut holes, offset, offset + padded(program, old));
        }
        let size = padded(program, v);
        let offset = match holes.iter().position(|h| h.end - h.start >= size) {
            Some(i) => take(&mut holes, i, size),
            None => {
                // The hole at the very top can be grown instead of left behind.
                let start = match holes.last() {
                    Some(h) if h.end == top => {
                        let start = h.start;
                        holes.pop();
                        start
                    }
                    _ => top,
                };
                top = start + size;
                start
            }
        };
        if top > limit {
            bail!(
                Limit,
                "program: needs more than {limit} bytes of scratch memory (max_scratch_bytes)"
            );
        }
        let value = program
            .values
            .get_mut(v as usize)
            .ok_or_else(|| err!(Internal, "plan: value {v} is gone"))?;
        value.offset = offset;
    }
    program.scratch_bytes = top;
    Ok(())
}

fn padded(program: &Program, v: u32) -> u64 {
    program.value_bytes(v).max(1).next_multiple_of(ALIGN)
}

fn take(holes: &mut Vec<Hole>, i: usize, size: u64) -> u64 {
    let Some(h) = holes.get_mut(i) else { return 0 };
    let start = h.start;
    h.start += size;
    if h.start == h.end {
        holes.remove(i);
    }
    start
}

/// Puts a span back, joined with its neighbours. Capacity was reserved: at most one hole per value.
fn release(holes: &mut Vec<Hole>, start: u64, end: u64) {
    let i = holes.partition_point(|h| h.start < start);
    let joins_next = holes.get(i).is_some_and(|h| h.start == end);
    let joins_previous = i > 0 && holes.get(i - 1).is_some_and(|h| h.end == start);
    match (joins_previous, joins_next) {
        (true, true) => {
            let end = holes.remove(i).end;
            if let Some(h) = holes.get_mut(i - 1) {
                h.end = end;
            }
        }
        (true, false) => {
            if let Some(h) = holes.get_mut(i - 1) {
                h.end = end;
            }
        }
        (false, true) => {
            if let Some(h) = holes.get_mut(i) {
                h.start = start;
            }
        }
        (false, false) => holes.insert(i, Hole { start, end }),
    }
}
