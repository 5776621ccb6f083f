//! A bounds-checked cursor over the untrusted bytes, and the spans it hands out.

use crate::error::{Error, Result};
use crate::{bail, err};
use core::fmt;

/// A range of a file, kept in place of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub offset: u64,
    pub bytes: u64,
}

impl Span {
    /// The bytes, or none if `bytes` is too short to be the file that was parsed.
    pub fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let range = || {
            let start = usize::try_from(self.offset).ok()?;
            let end = start.checked_add(usize::try_from(self.bytes).ok()?)?;
            bytes.get(start..end)
        };
        range().unwrap_or_default()
    }
}

/// Reads little-endian fields from the front of a file; nothing past `limit` bytes is touched.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    pos: usize,
    /// Whether `bytes` was cut short by the caller's limit, which changes the blame.
    cut: bool,
    /// The metadata entry that took most so far, and its bytes: the likely culprit when the limit is passed.
    largest: Option<(&'a str, u64)>,
}

/// How a count is called, how large it may be, and what the caller's limit is called.
#[derive(Clone, Copy)]
pub(super) struct Countable<'t> {
    pub what: fmt::Arguments<'t>,
    pub limit: u64,
    pub field: &'t str,
    /// The least that each item takes in the file.
    pub min_bytes: u64,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8], limit: u64) -> Self {
        let end = usize::try_from(limit).unwrap_or(usize::MAX);
        let cut = end < bytes.len();
        Self {
            bytes: bytes.get(..end).unwrap_or(bytes),
            pos: 0,
            cut,
            largest: None,
        }
    }

    /// Notes what a metadata entry took.
    pub fn note(&mut self, key: &'a str, bytes: u64) {
        if self.largest.is_none_or(|(_, most)| bytes > most) {
            self.largest = Some((key, bytes));
        }
    }

    /// The error for what the caller's limit has cut off.
    fn beyond(&self, what: fmt::Arguments<'_>) -> Error {
        let limit = self.bytes.len();
        match self.largest {
            Some((key, bytes)) => err!(
                Limit,
                "{what} passes the limit of {limit} bytes (max_metadata_bytes); the largest entry before it is '{key}' with {bytes} bytes"
            ),
            None => err!(
                Limit,
                "{what} passes the limit of {limit} bytes (max_metadata_bytes)"
            ),
        }
    }

    pub fn position(&self) -> u64 {
        self.pos as u64
    }

    pub fn remaining(&self) -> u64 {
        (self.bytes.len() - self.pos.min(self.bytes.len())) as u64
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: u64, what: &str) -> Result<&'a [u8]> {
        let range = || {
            let end = self.pos.checked_add(usize::try_from(n).ok()?)?;
            Some((self.bytes.get(self.pos..end)?, end))
        };
        match range() {
            Some((taken, end)) => {
                self.pos = end;
                Ok(taken)
            }
            None if self.cut => Err(self.beyond(format_args!("{what} at byte {}", self.pos))),
            None => bail!(
                Format,
                "{what} at byte {} needs {n} bytes, the file has {} more: it is cut short or damaged",
                self.pos,
                self.remaining()
            ),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let taken = self.take(N as u64, what)?;
        taken
            .first_chunk()
            .copied()
            .ok_or_else(|| err!(Internal, "{what}: a short read"))
    }

    pub fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A length-prefixed string of at most `limit` bytes; `field` is what the caller calls that, in parentheses, or nothing.
    pub fn string(&mut self, limit: u64, field: &str, what: &str) -> Result<Span> {
        let len = self.u64(what)?;
        if len > limit {
            // A length past the end is the file's fault, whatever the limit is.
            if len > self.remaining() && !self.cut {
                self.take(len, what)?;
            }
            bail!(
                Limit,
                "{what} at byte {} has a string of {len} bytes, over the limit of {limit}{field}",
                self.pos
            );
        }
        let offset = self.position();
        self.take(len, what)?;
        Ok(Span { offset, bytes: len })
    }

    /// A string that names something: UTF-8 and not empty.
    pub fn name(&mut self, limit: u64, what: &str) -> Result<(Span, &'a str)> {
        let span = self.string(limit, "", what)?;
        let text = core::str::from_utf8(span.of(self.bytes))
            .map_err(|_| err!(Format, "{what} at byte {} is not UTF-8", span.offset))?;
        if text.is_empty() {
            bail!(Format, "{what} at byte {} is empty", span.offset);
        }
        Ok((span, text))
    }

    /// Checks a claimed count against the caller's limit and against the bytes that are left.
    pub fn check_count(&self, count: u64, of: Countable<'_>) -> Result<usize> {
        let Countable {
            what, limit, field, ..
        } = of;
        let held = self.remaining() / of.min_bytes;
        if count > held && !self.cut {
            bail!(
                Format,
                "the file claims {count} {what}, more than its {} further bytes can hold: it is cut short or damaged",
                self.remaining()
            );
        }
        if count > limit {
            bail!(Limit, "{count} {what}, over the limit of {limit} ({field})");
        }
        if count > held {
            return Err(self.beyond(format_args!("room for {count} {what}")));
        }
        usize::try_from(count).map_err(|_| err!(Limit, "{count} {what}: too many for this machine"))
    }
}
