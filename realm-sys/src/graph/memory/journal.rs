//! Taking back what an event has done to a session's memory: what it overwrites and drops is kept until the event is over.
//!
//! Between two events nothing is kept, nor behind a submitted step: from there on things have happened.

use super::{Memory, reserve};
use crate::backend::host::Buffer;
use crate::bail;
use crate::error::{Result, try_vec};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Most bytes of buffers that are kept: what overwrites more than an event of input does is not taken back.
const MOST_KEPT: usize = 1 << 20;

/// How things were, and what they were made of.
pub(super) struct Journal {
    buffers: usize,
    positions: u32,
    /// What was overwritten in buffers that were there: which buffer, from where on. The last was overwritten last.
    written: Vec<(u32, u64, Vec<u8>)>,
    /// Bytes of it.
    kept: usize,
    /// Pages that were dropped, by group; the last were dropped last.
    dropped: Vec<(usize, Vec<Arc<Buffer>>)>,
}

impl Memory {
    /// From here on everything can be taken back.
    pub fn watch(&mut self) {
        self.journal = Some(Journal {
            buffers: self.buffer_descs.len(),
            positions: self.positions,
            written: Vec::new(),
            kept: 0,
            dropped: Vec::new(),
        });
    }

    /// What has been done is done.
    pub fn settle(&mut self) {
        self.journal = None;
    }

    /// Keeps what a buffer holds where it is about to be written to. Where there is no room for that, things are settled.
    pub(super) fn note_buffer(&mut self, handle: u32, offset: u64, bytes: usize) {
        let Some(mut journal) = self.journal.take() else {
            return;
        };
        if (handle as usize) < journal.buffers {
            journal.kept = journal.kept.saturating_add(bytes);
            match self.held(handle, offset, bytes) {
                Ok(held)
                    if journal.kept <= MOST_KEPT
                        && reserve(&mut journal.written, 1, "writes").is_ok() =>
                {
                    journal.written.push((handle, offset, held));
                }
                _ => return,
            }
        }
        self.journal = Some(journal);
    }

    fn held(&self, handle: u32, offset: u64, bytes: usize) -> Result<Vec<u8>> {
        let mut held = try_vec(bytes.min(MOST_KEPT), "bytes of a buffer")?;
        held.resize(bytes.min(MOST_KEPT), 0);
        self.buffer_read(handle, offset, &mut held)?;
        Ok(held)
    }

    /// Keeps the pages of a group from the `keep`-th on, which are about to be dropped, likewise.
    pub(super) fn note_pages(&mut self, group: usize, keep: usize) {
        let Some(Some(g)) = self.groups.get_mut(group) else {
            return;
        };
        let Some(mut journal) = self.journal.take() else {
            return;
        };
        if keep < g.pages.len() {
            match try_vec(g.pages.len() - keep, "KV pages") {
                Ok(mut pages) if reserve(&mut journal.dropped, 1, "KV groups").is_ok() => {
                    pages.extend(g.pages.drain(keep..));
                    journal.dropped.push((group, pages));
                }
                _ => return,
            }
        }
        self.journal = Some(journal);
    }

    /// Takes back what has been done since [`watch`](Self::watch).
    ///
    /// # Errors
    /// `State` if it is settled; those of the backend that buffers are written to: not all of it is taken back then.
    pub fn undo(&mut self) -> Result<()> {
        let Some(mut journal) = self.journal.take() else {
            bail!(State, "there is nothing that could be taken back");
        };
        for desc in self.buffer_descs.drain(journal.buffers..) {
            self.usage.buffer_bytes -= super::buffer_bytes(&desc);
        }
        self.buffers.truncate(journal.buffers);
        self.buffer_handles.truncate(journal.buffers);
        while let Some((handle, offset, held)) = journal.written.pop() {
            self.buffer_write(handle, offset, &held)?;
        }
        while let Some((at, pages)) = journal.dropped.pop() {
            if let Some(Some(g)) = self.groups.get_mut(at) {
                reserve(&mut g.pages, pages.len(), "KV pages")?;
                reserve(&mut g.handles, pages.len(), "KV pages")?;
                self.usage.kv_bytes += pages.len() as u64 * g.page_bytes;
                g.handles.extend(pages.iter().map(|page| page.handle()));
                g.pages.extend(pages);
            }
            self.refresh(at);
        }
        self.positions = journal.positions;
        Ok(())
    }
}
