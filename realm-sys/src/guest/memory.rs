//! Guest pointers: the only way from a pair of integers to bytes.

use crate::error::Result;
use crate::{bail, err};
use core::cell::Cell;

/// A guest's linear memory for the length of one import. It cannot move or grow meanwhile.
pub struct GuestMemory<'a>(&'a mut [u8], Cell<usize>);

fn bad(ptr: u32, len: u32) -> crate::error::Error {
    err!(
        InvalidArgument,
        "guest pointer {ptr:#x} + {len} is outside of the guest's memory"
    )
}

impl<'a> GuestMemory<'a> {
    /// All of the memory.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes, Cell::new(0))
    }

    /// Bytes that were looked at to see whether they are text, for which the guest pays.
    pub fn examined(&self) -> usize {
        self.1.get()
    }

    /// Whether the pair is inside.
    pub fn check(&self, ptr: u32, len: u32) -> Result<()> {
        self.get(ptr, len).map(|_| ())
    }

    /// The bytes of a pair.
    pub fn get(&self, ptr: u32, len: u32) -> Result<&[u8]> {
        self.0
            .get(ptr as usize..)
            .and_then(|b| b.get(..len as usize))
            .ok_or_else(|| bad(ptr, len))
    }

    /// The bytes of a pair, to be written.
    pub fn get_mut(&mut self, ptr: u32, len: u32) -> Result<&mut [u8]> {
        self.0
            .get_mut(ptr as usize..)
            .and_then(|b| b.get_mut(..len as usize))
            .ok_or_else(|| bad(ptr, len))
    }

    /// The text of a pair.
    pub fn text(&self, ptr: u32, len: u32) -> Result<&str> {
        let bytes = self.get(ptr, len)?;
        self.1.set(self.1.get().saturating_add(bytes.len()));
        core::str::from_utf8(bytes)
            .map_err(|_| err!(InvalidArgument, "text at {ptr:#x} is not UTF-8"))
    }

    /// The pair for `count` items of `size` bytes each.
    pub fn items(&mut self, ptr: u32, count: u32, size: u32) -> Result<&mut [u8]> {
        let len = count.checked_mul(size).ok_or_else(|| {
            err!(
                InvalidArgument,
                "{count} items of {size} bytes are more than a guest's memory"
            )
        })?;
        self.get_mut(ptr, len)
    }

    /// Copies as much of `data` as fits in the pair; returns the length of all of it.
    pub fn put(&mut self, ptr: u32, len: u32, data: &[u8]) -> Result<i32> {
        let to = self.get_mut(ptr, len)?;
        for (to, from) in to.iter_mut().zip(data) {
            *to = *from;
        }
        length(data.len())
    }

    /// Copies all of `data` to the pair, or nothing.
    pub fn put_all(&mut self, ptr: u32, len: u32, data: &[u8]) -> Result<i32> {
        let to = self.get_mut(ptr, len)?;
        match to.get_mut(..data.len()) {
            Some(to) => to.copy_from_slice(data),
            None => bail!(
                BufferTooSmall,
                "{} bytes needed, room for {len}",
                data.len()
            ),
        }
        length(data.len())
    }
}

/// A length as the result of an import.
pub fn length(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| err!(Limit, "{n} is more than an import can return"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_outside_are_refused_without_overflow() {
        let mut bytes = [7_u8; 16];
        let mut m = GuestMemory::new(&mut bytes);
        assert_eq!(m.get(0, 16).unwrap().len(), 16);
        assert_eq!(m.get(16, 0).unwrap().len(), 0);
        for (ptr, len) in [
            (0, 17),
            (17, 0),
            (16, 1),
            (u32::MAX, 1),
            (1, u32::MAX),
            (u32::MAX, u32::MAX),
        ] {
            assert!(m.check(ptr, len).is_err(), "{ptr} {len}");
        }
        assert!(m.items(0, u32::MAX, 4).is_err());
        assert_eq!(m.put(14, 2, &[1, 2, 3]).unwrap(), 3);
        assert!(m.put_all(14, 2, &[1, 2, 3]).is_err());
        assert_eq!(bytes[13..], [7, 1, 2]);
    }
}
