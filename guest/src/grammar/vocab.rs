//! Which tokens may come next: a walk over the vocabulary in the order of its bytes.
//!
//! Sorted, a token shares its beginning with the one before, so each of them costs its other bytes only, and what
//! has a refused beginning is passed over. The table is made when it is needed first: about eight bytes a token.

use super::machine::{DEAD, Full, Machine, State};
use crate::abi::{self, Result, try_vec};
use alloc::vec::Vec;

/// Longest token that is ever allowed, in bytes.
pub const MAX_TOKEN: usize = 255;
/// Nothing of the token before was refused.
const NOTHING: u8 = u8::MAX;

/// A token, by its bytes.
#[derive(Clone, Copy)]
struct Token {
    id: u32,
    /// How many bytes it shares with the one before, and how many it has.
    shared: u8,
    len: u8,
}

/// The vocabulary in the order of its bytes.
pub struct Vocabulary {
    tokens: Vec<Token>,
    /// Of each token, the bytes that it does not share.
    tails: Vec<u8>,
    /// For each first byte, where its tokens begin, and their tails.
    firsts: Vec<(u32, u32)>,
    /// Tokens that end a generation.
    ends: Vec<u32>,
}

impl Vocabulary {
    /// Reads the vocabulary of a model.
    pub fn read(model: u32, n_tokens: u32) -> Result<Self> {
        let mut ends = Vec::new();
        let mut bytes: Vec<u8> = Vec::new();
        // Where the bytes of each token begin.
        let mut starts: Vec<u32> = try_vec(n_tokens as usize + 1)?;
        // The first bytes, as a number, and the token: most are told apart by these.
        let mut order: Vec<u64> = try_vec(n_tokens as usize)?;
        starts.push(0);
        for id in 0..n_tokens {
            let before = bytes.len();
            if abi::is_eog(model, id) {
                ends.push(id);
            } else {
                abi::piece(model, id, &mut bytes)?;
                // One that is too long to be read whole is none.
                if bytes.len() - before > MAX_TOKEN {
                    bytes.truncate(before);
                }
            }
            let piece = bytes.get(before..).unwrap_or_default();
            if !piece.is_empty() {
                let head = piece.iter().chain([0; 4].iter()).take(4);
                let head = head.fold(0, |n, byte| n << 8 | u64::from(*byte));
                order.push(head << 32 | u64::from(id));
            }
            starts.push(bytes.len() as u32);
        }
        order.sort_unstable();
        let piece = |key: u64| {
            let id = (key as u32) as usize;
            let range = starts.get(id).zip(starts.get(id + 1));
            let piece = range.and_then(|(a, b)| bytes.get(*a as usize..*b as usize));
            piece.unwrap_or_default()
        };
        for run in order.chunk_by_mut(|a, b| a >> 32 == b >> 32) {
            if run.len() > 1 {
                run.sort_unstable_by(|a, b| piece(*a).cmp(piece(*b)));
            }
        }
        let mut table = Self {
            tokens: try_vec(order.len())?,
            tails: try_vec(bytes.len())?,
            firsts: try_vec(257)?,
            ends,
        };
        let mut before: &[u8] = &[];
        for key in &order {
            let piece = piece(*key);
            table.add(*key as u32, before, piece);
            before = piece;
        }
        table.first_up_to(256);
        Ok(table)
    }

    fn add(&mut self, id: u32, before: &[u8], piece: &[u8]) {
        let shared = before.iter().zip(piece).take_while(|(a, b)| a == b).count();
        if shared == 0 {
            self.first_up_to(piece.first().copied().map_or(0, usize::from));
        }
        self.tokens.push(Token {
            id,
            shared: shared as u8,
            len: piece.len() as u8,
        });
        self.tails
            .extend_from_slice(piece.get(shared..).unwrap_or_default());
    }

    /// The tokens that begin with this byte, and those of the bytes before it that have none, begin here.
    fn first_up_to(&mut self, byte: usize) {
        let here = (self.tokens.len() as u32, self.tails.len() as u32);
        self.firsts.resize(byte + 1, here);
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
        while let Some(token) = self.tokens.get(number) {
            let unshared = usize::from(token.len - token.shared);
            let start = tail;
            tail += unshared;
            number += 1;
            if token.shared > refused {
                continue;
            }
            let mut depth = usize::from(token.shared);
            let mut at = path.get(depth).copied().unwrap_or(DEAD);
            for byte in self.tails.get(start..tail).unwrap_or_default() {
                at = machine.step(at, *byte)?;
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
                if let Some(word) = mask.get_mut((token.id >> 5) as usize) {
                    *word |= 1 << (token.id & 31);
                }
                // Walks over many states make more of them than the bounds are for.
                if machine.is_crowded() {
                    let along = path.get_mut(..=depth).unwrap_or_default();
                    machine.shrink(along)?;
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
