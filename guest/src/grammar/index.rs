//! A hash index over things that are kept elsewhere and numbered.

use super::machine::{Full, push};
use alloc::vec::Vec;

const FREE: u32 = u32::MAX;

/// Finds the number of a thing by its hash. Nothing is ever removed but all.
#[derive(Default)]
pub struct Index {
    /// Hash and number; a power of two of them, at most half of them used.
    slots: Vec<(u32, u32)>,
    used: usize,
}

impl Index {
    /// The number of the thing with this hash that is the `same`, or else `new`, which it is from now on.
    pub fn find(&mut self, hash: u32, new: u32, same: impl Fn(u32) -> bool) -> Result<u32, Full> {
        if self.used * 2 >= self.slots.len() {
            self.grow()?;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.1 == FREE {
                *slot = (hash, new);
                self.used += 1;
                break;
            }
            if slot.0 == hash && same(slot.1) {
                return Ok(slot.1);
            }
            at = (at + 1) & mask;
        }
        Ok(new)
    }

    /// Forgets everything, and keeps what memory is not too much to go through again.
    pub fn clear(&mut self) {
        self.slots.truncate(256);
        self.slots.fill((0, FREE));
        self.used = 0;
    }

    fn grow(&mut self) -> Result<(), Full> {
        let size = (self.slots.len() * 2).max(64);
        let mut slots = Vec::new();
        slots.try_reserve_exact(size).map_err(|_| Full::MEMORY)?;
        slots.resize(size, (0, FREE));
        for (hash, number) in self.slots.iter().filter(|slot| slot.1 != FREE) {
            let mut at = *hash as usize & (size - 1);
            while slots
                .get(at)
                .is_some_and(|slot: &(u32, u32)| slot.1 != FREE)
            {
                at = (at + 1) & (size - 1);
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = (*hash, *number);
            }
        }
        self.slots = slots;
        Ok(())
    }
}

/// Lists of things, each list kept once.
pub struct Lists<T> {
    items: Vec<T>,
    /// Where each list ends.
    ends: Vec<u32>,
    index: Index,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            ends: Vec::new(),
            index: Index::default(),
        }
    }
}

impl<T: Copy + Eq + Words> Lists<T> {
    /// How many lists there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// How many things are in all of them.
    pub fn size(&self) -> usize {
        self.items.len()
    }

    /// A list by its number.
    pub fn get(&self, number: u32) -> &[T] {
        get(&self.items, &self.ends, number)
    }

    /// The number of a list.
    pub fn add(&mut self, list: &[T]) -> Result<u32, Full> {
        let new = self.count() as u32;
        let (items, ends) = (&self.items, &self.ends);
        let same = |number| get(items, ends, number) == list;
        let number = self.index.find(hash(list), new, same)?;
        if number == new {
            self.items
                .try_reserve(list.len())
                .map_err(|_| Full::MEMORY)?;
            self.items.extend_from_slice(list);
            push(&mut self.ends, self.items.len() as u32)?;
        }
        Ok(number)
    }

    /// Forgets all lists.
    pub fn clear(&mut self) {
        self.items.clear();
        self.ends.clear();
        self.index.clear();
    }
}

fn get<'a, T>(items: &'a [T], ends: &[u32], number: u32) -> &'a [T] {
    let before = (number as usize).checked_sub(1);
    let start = before.and_then(|n| ends.get(n)).copied().unwrap_or(0);
    let end = ends.get(number as usize).copied().unwrap_or(start);
    items.get(start as usize..end as usize).unwrap_or_default()
}

/// What is hashed word by word.
pub trait Words {
    /// Its words.
    fn words(&self) -> [u32; 3];
}

/// FNV-1a, by words.
pub fn hash<T: Words>(list: &[T]) -> u32 {
    let words = list.iter().flat_map(Words::words);
    words.fold(0x811C_9DC5, mixed)
}

/// A hash with one more word in it.
pub fn mixed(hash: u32, word: u32) -> u32 {
    let hash = (hash ^ word).wrapping_mul(0x0100_0193);
    hash ^ hash >> 15
}
