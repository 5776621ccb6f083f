//! Which tokens may come next: a walk over the vocabulary in the order of its bytes.
//!
//! Sorted, a token shares its beginning with the one before, so each of them costs its other bytes only, and what
//! has a refused beginning is passed over. The table is made when it is needed first: about eight bytes a token.

use super::machine::{DEAD, Full, Machine, State, UNKNOWN};
use crate::abi::{self, Result, try_vec};
use alloc::vec::Vec;

/// Longest token that is ever allowed, in bytes.
pub const MAX_TOKEN: usize = 255;
/// How many tokens are walked between two looks at how many states there are.
const CHECKED: usize = 64;
/// Nothing of the token before was refused.
const NOTHING: u8 = u8::MAX;

/// The vocabulary in the order of its bytes.
pub struct Vocabulary {
    n_tokens: u32,
    ids: Vec<u32>,
    /// How many bytes each token shares with the one before, and how many it has.
    shared: Vec<u8>,
    lens: Vec<u8>,
    /// Of each token, the bytes that it does not share.
    tails: Vec<u8>,
    /// For each first byte, where its tokens begin, and their tails.
    firsts: Vec<(u32, u32)>,
    /// Tokens that end a generation.
    ends: Vec<u32>,
}

/// The bytes of all tokens that have some, by their ids.
struct Pieces {
    bytes: Vec<u8>,
    /// Where each begins, and the last ends.
    starts: Vec<u32>,
}

impl Pieces {
    /// Reads them; `ends` receives the tokens that end a generation, which have none here.
    fn read(model: u32, n_tokens: u32, ends: &mut Vec<u32>) -> Result<Self> {
        let count = n_tokens as usize;
        let mut all = Self {
            // Most tokens are short.
            bytes: try_vec(count * 8)?,
            starts: try_vec(count + 1)?,
        };
        all.starts.push(0);
        for id in 0..n_tokens {
            let before = all.bytes.len();
            if abi::is_eog(model, id) {
                ends.push(id);
            } else {
                abi::piece(model, id, &mut all.bytes)?;
                // One that is too long to be read whole is none.
                if all.bytes.len() - before > MAX_TOKEN {
                    all.bytes.truncate(before);
                }
            }
            all.starts.push(all.bytes.len() as u32);
        }
        Ok(all)
    }

    fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let range = self.starts.get(id).zip(self.starts.get(id + 1));
        let piece = range.and_then(|(a, b)| self.bytes.get(*a as usize..*b as usize));
        piece.unwrap_or_default()
    }

    /// Four bytes of a token from `depth` on, as a number above the token.
    fn key(&self, id: u32, depth: usize) -> u64 {
        let tail = self.get(id).get(depth..).unwrap_or_default();
        let head = match tail.first_chunk::<4>() {
            Some(four) => u32::from_be_bytes(*four),
            None => {
                let padded = tail.iter().chain([0; 4].iter()).take(4);
                padded.fold(0, |n, byte| n << 8 | u32::from(*byte))
            }
        };
        u64::from(head) << 32 | u64::from(id)
    }

    /// The tokens in the order of their bytes, in the lower halves.
    fn sorted(&self) -> Result<Vec<u64>> {
        let count = self.starts.len().saturating_sub(1);
        let mut order = try_vec(count)?;
        let ids = (0..count as u32).filter(|id| !self.get(*id).is_empty());
        order.extend(ids.map(|id| self.key(id, 0)));
        // Four bytes at a time: numbers are compared faster than slices. What is left to sort is alike up to a depth.
        let mut todo = alloc::vec![(0, order.len(), 0)];
        while let Some((start, end, depth)) = todo.pop() {
            let Some(part) = order.get_mut(start..end) else {
                continue;
            };
            part.sort_unstable();
            let mut at = start;
            for run in part.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
                let next = depth + 4;
                let goes_on = |key: &u64| self.get(*key as u32).len() > next;
                if run.len() > 1 && run.iter().any(goes_on) {
                    // Those that end here come first, whatever zeros they were padded with.
                    for key in &mut *run {
                        *key = self.key(*key as u32, next);
                    }
                    todo.push((at, at + run.len(), next));
                }
                at += run.len();
            }
        }
        Ok(order)
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Vocabulary {
    /// Reads the vocabulary of a model.
    pub fn read(model: u32, n_tokens: u32) -> Result<Self> {
        let mut ends = Vec::new();
        let pieces = Pieces::read(model, n_tokens, &mut ends)?;
        let order = pieces.sorted()?;
        let mut all = Self {
            n_tokens,
            ids: try_vec(order.len())?,
            shared: try_vec(order.len())?,
            lens: try_vec(order.len())?,
            tails: Vec::new(),
            firsts: try_vec(257)?,
            ends,
        };
        let (mut before, mut size): (&[u8], usize) = (&[], 0);
        for key in order {
            let piece = pieces.get(key as u32);
            let shared = common(before, piece);
            all.ids.push(key as u32);
            all.shared.push(shared as u8);
            all.lens.push(piece.len() as u8);
            size += piece.len() - shared;
            before = piece;
        }
        all.tails = try_vec(size)?;
        for number in 0..all.ids.len() {
            let id = all.ids.get(number).copied().unwrap_or(0);
            let shared = all.shared.get(number).copied().map_or(0, usize::from);
            let piece = pieces.get(id);
            if shared == 0 {
                all.first_up_to(piece.first().copied().map_or(0, usize::from), number);
            }
            all.tails
                .extend_from_slice(piece.get(shared..).unwrap_or_default());
        }
        all.first_up_to(256, all.ids.len());
        Ok(all)
    }

    /// The tokens that begin with this byte, and those of the bytes before it that have none, begin here.
    fn first_up_to(&mut self, byte: usize, number: usize) {
        let here = (number as u32, self.tails.len() as u32);
        self.firsts.resize(byte + 1, here);
    }

    /// All tokens, those without bytes as well.
    pub fn n_tokens(&self) -> u32 {
        self.n_tokens
    }

    /// Tokens that end a generation.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Sets the bit of each token that may come next, and returns how many there are.
    pub fn allowed(
        &self,
        machine: &mut Machine,
        state: &mut State,
        mask: &mut [u32],
    ) -> core::result::Result<u32, Full> {
        mask.fill(0);
        // The states along the token; that behind `n` bytes is `path[n]`.
        let mut path = [DEAD; MAX_TOKEN + 1];
        path[0] = *state;
        let mut refused = NOTHING;
        let (mut number, mut tail) = (0usize, 0usize);
        let mut count = 0;
        while let (Some(shared), Some(len)) = (self.shared.get(number), self.lens.get(number)) {
            let start = tail;
            tail += usize::from(len - shared);
            number += 1;
            if *shared > refused {
                continue;
            }
            let mut depth = usize::from(*shared);
            if number % CHECKED == 0 && machine.is_crowded() {
                machine.shrink(path.get_mut(..=depth).unwrap_or_default())?;
            }
            let mut at = path.get(depth).copied().unwrap_or(DEAD);
            for byte in self.tails.get(start..tail).unwrap_or_default() {
                let next = machine.known(at, *byte);
                at = if next == UNKNOWN {
                    machine.step(at, *byte)?
                } else {
                    next
                };
                if at == DEAD {
                    break;
                }
                depth += 1;
                if let Some(place) = path.get_mut(depth) {
                    *place = at;
                }
            }
            if at != DEAD {
                refused = NOTHING;
                count += 1;
                let id = self.ids.get(number - 1).copied().unwrap_or(0);
                if let Some(word) = mask.get_mut((id >> 5) as usize) {
                    *word |= 1 << (id & 31);
                }
                continue;
            }
            refused = depth as u8;
            if depth == 0 {
                // Nor do others that begin with this byte.
                let first = self.tails.get(start).copied().map_or(0, usize::from);
                if let Some((next, its_tail)) = self.firsts.get(first + 1) {
                    (number, tail) = (*next as usize, *its_tail as usize);
                }
            }
        }
        *state = path[0];
        Ok(count)
    }
}
