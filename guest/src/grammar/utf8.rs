//! Sets of characters as what they are in UTF-8.

use super::code::{Code, Op, Set, Unfit, range};
use alloc::vec::Vec;

/// The last character.
pub const LAST: u32 = 0x10_FFFF;

/// Appends the bytes of a character.
pub fn literal(code: &mut Code, c: char) -> Result<(), Unfit> {
    let mut buffer = [0; 4];
    for byte in c.encode_utf8(&mut buffer).bytes() {
        code.bytes(range(byte, byte))?;
    }
    Ok(())
}

/// Sorts ranges and joins those that touch.
fn joined(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let number = |(first, last): &(u32, u32)| u64::from(*first) << 32 | u64::from(*last);
    // As numbers, which the vocabulary sorts as well: one copy of that code is enough.
    let mut numbers: Vec<u64> = ranges.iter().map(number).collect();
    numbers.sort_unstable();
    let mut out: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
    for number in numbers {
        let (first, last) = ((number >> 32) as u32, number as u32);
        match out.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => out.push((first, last)),
        }
    }
    out
}

/// All characters but those of these ranges.
pub fn complement(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    others(&joined(ranges))
}

/// All characters but those, which are in order.
fn others(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut out = Vec::with_capacity(ranges.len() + 1);
    let mut next = 0;
    for (first, last) in ranges {
        if next < *first {
            out.push((next, *first - 1));
        }
        next = last + 1;
    }
    if next <= LAST {
        out.push((next, LAST));
    }
    out
}

/// Ranges of first, second, ... bytes: any of the first, then any of the second, and so on.
type Sequence = Vec<(u8, u8)>;

/// What a range of characters is in bytes (Russ Cox, "Regular Expression Matching in the Wild", 2010).
#[inline(never)]
fn sequences(first: u32, last: u32, out: &mut Vec<Sequence>) {
    let mut todo = alloc::vec![(first, last)];
    while let Some((first, last)) = todo.pop() {
        // No range crosses a change of length, nor the surrogates, which are no characters.
        let edges = [0x7F, 0x7FF, 0xD7FF, 0xDFFF, 0xFFFF];
        if let Some(edge) = edges.into_iter().find(|e| first <= *e && *e < last) {
            todo.extend([(edge + 1, last), (first, edge)]);
            continue;
        }
        let (Some(low), Some(high)) = (char::from_u32(first), char::from_u32(last)) else {
            continue;
        };
        // What varies at the end must vary over all of its bits, or there is only one of what is before.
        let cut = (1..low.len_utf8() as u32).find_map(|n| {
            let mask = (1 << (6 * n)) - 1;
            if first & !mask == last & !mask {
                None
            } else if first & mask != 0 {
                Some((first | mask, (first | mask) + 1))
            } else if last & mask != mask {
                Some(((last & !mask) - 1, last & !mask))
            } else {
                None
            }
        });
        if let Some((end, begin)) = cut {
            todo.extend([(begin, last), (first, end)]);
            continue;
        }
        let (mut a, mut b) = ([0; 4], [0; 4]);
        let (a, b) = (low.encode_utf8(&mut a), high.encode_utf8(&mut b));
        out.push(a.bytes().zip(b.bytes()).collect());
    }
}

/// Appends what takes one character of these ranges, or one of all the others.
#[inline(never)]
pub fn class(code: &mut Code, ranges: Vec<(u32, u32)>, negated: bool) -> Result<(), Unfit> {
    let ranges = if negated {
        complement(&ranges)
    } else {
        joined(&ranges)
    };
    let mut all = Vec::new();
    for (first, last) in ranges {
        sequences(first, last, &mut all);
    }
    // First bytes with the same bytes behind them are one set.
    let mut groups: Vec<(Set, Sequence)> = Vec::new();
    for sequence in all {
        let Some(((low, high), tail)) = sequence.split_first() else {
            continue;
        };
        let more = range(*low, *high);
        match groups.iter_mut().find(|(_, known)| *known == tail) {
            Some((set, _)) => set.iter_mut().zip(more).for_each(|(a, b)| *a |= b),
            None => groups.push((more, tail.to_vec())),
        }
    }
    if groups.is_empty() {
        // Nothing is in it: no byte will do.
        return code.bytes([0; 8]).map(drop);
    }
    let count = groups.len();
    let mut ends = Vec::with_capacity(count);
    for (i, (set, tail)) in groups.into_iter().enumerate() {
        let slot = if i + 1 < count {
            Some(code.push(Op::Return)?)
        } else {
            None
        };
        code.bytes(set)?;
        for (low, high) in tail {
            code.bytes(range(low, high))?;
        }
        if let Some(slot) = slot {
            ends.push(code.push(Op::Return)?);
            code.put(slot, Op::Split(slot + 1, code.here()));
        }
    }
    for end in ends {
        code.put(end, Op::Goto(code.here()));
    }
    Ok(())
}
