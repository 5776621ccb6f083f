//! Copies both ways, for operations that leave a device: what a segment reads is brought to host memory
//! before it runs, what it writes is taken back after.
//!
//! Whole operands travel, at their largest. That is slow, and meant to be: a backend that wants speed
//! supports the operation. `realm_session_stats.fallback_ops` shows that it happens.

use super::memory::Memory;
use super::op::{Code, Operand};
use super::prepared::{Prepared, Segment};
use crate::backend::table::{realm_kv_table, realm_step};
use crate::error::{Result, try_vec};
use crate::platform::Block;
use crate::{bail, err};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr;

/// Host mirrors of a session's device memory, for one step.
pub(super) struct Stage {
    scratch: Block,
    workspace: Block,
    buffers: Vec<Block>,
    buffer_handles: Vec<*mut c_void>,
    pages: Vec<Vec<Block>>,
    page_handles: Vec<Vec<*mut c_void>>,
    tables: Vec<realm_kv_table>,
    step: realm_step,
}

impl Stage {
    pub fn new(prepared: &Prepared, memory: &mut Memory) -> Result<Self> {
        let platform = memory.on.platform;
        let p = &prepared.program;
        let size = |bytes: u64| usize::try_from(bytes).map_err(|_| err!(NoMemory, "{bytes} bytes"));
        let workspace = memory.usage().scratch_bytes;
        let mut buffers = try_vec(p.buffers.len(), "mirrors")?;
        let mut buffer_handles = try_vec(p.buffers.len(), "mirrors")?;
        for i in 0..p.buffers.len() as u32 {
            let bytes = memory.buffer_mut(i).map_or(0, |b| b.bytes());
            let block = platform.alloc(size(bytes)?, "a buffer's mirror")?;
            buffer_handles.push(block.as_ptr().cast());
            buffers.push(block);
        }
        let groups = memory.kv_tables().len();
        let mut pages = try_vec(groups, "mirrors")?;
        let mut page_handles = try_vec(groups, "mirrors")?;
        let mut tables = try_vec(groups, "mirrors")?;
        for g in 0..groups as u32 {
            let mut blocks: Vec<Block> = Vec::new();
            let mut handles: Vec<*mut c_void> = Vec::new();
            for page in memory.pages_mut(g) {
                if blocks.try_reserve(1).is_err() || handles.try_reserve(1).is_err() {
                    bail!(NoMemory, "no memory for mirrors of KV pages");
                }
                let block = platform.alloc(size(page.bytes())?, "a KV page's mirror")?;
                handles.push(block.as_ptr().cast());
                blocks.push(block);
            }
            tables.push(realm_kv_table {
                pages: handles.as_ptr(),
                page_count: handles.len() as u32,
                reserved: 0,
            });
            pages.push(blocks);
            page_handles.push(handles);
        }
        Ok(Self {
            scratch: platform.alloc(size(p.scratch_bytes)?, "the scratch mirror")?,
            workspace: platform.alloc(size(workspace)?, "a fallback's workspace")?,
            buffers,
            buffer_handles,
            pages,
            page_handles,
            tables,
            step: realm_step {
                registers: ptr::null(),
                scratch: ptr::null_mut(),
                workspace: ptr::null_mut(),
                buffers: ptr::null(),
                kv_tables: ptr::null(),
                kv_table_count: 0,
                repeat: 1,
                thread_count: 1,
                reserved: 0,
            },
        })
    }

    /// The session's step as the fallback sees it: the same registers over the mirrors.
    pub fn step(&self) -> *const realm_step {
        &raw const self.step
    }

    /// Brings in what the segment reads.
    pub fn load(
        &mut self,
        prepared: &Prepared,
        s: &Segment,
        memory: &mut Memory,
        of: &realm_step,
    ) -> Result<()> {
        self.step = realm_step {
            scratch: self.scratch.as_ptr().cast(),
            workspace: self.workspace.as_ptr().cast(),
            buffers: self.buffer_handles.as_ptr(),
            kv_tables: self.tables.as_ptr(),
            kv_table_count: self.tables.len() as u32,
            ..*of
        };
        self.each(prepared, s, memory, Way::In)
    }

    /// Takes back what the segment wrote.
    pub fn store(&mut self, prepared: &Prepared, s: &Segment, memory: &mut Memory) -> Result<()> {
        self.each(prepared, s, memory, Way::Out)
    }

    fn each(
        &mut self,
        prepared: &Prepared,
        s: &Segment,
        memory: &mut Memory,
        way: Way,
    ) -> Result<()> {
        let p = &prepared.program;
        let ops = p.ops.iter().skip(s.first as usize).take(s.count as usize);
        for op in ops {
            // An operation may write only part of its destination, so destinations are brought in as well.
            let second = op.code == Code::TopK as u16;
            let writes = core::iter::once(&op.dst).chain(op.src.get(1).filter(|_| second));
            let reads = op.src.iter().filter(|_| way == Way::In);
            for &bits in writes.chain(reads) {
                match Operand::of(bits) {
                    Operand::Value(i) => {
                        let bytes = p.value_bytes(i) as usize;
                        let offset = p.values.get(i as usize).map_or(0, |v| v.offset);
                        let Some(device) = memory.scratch_mut() else {
                            continue;
                        };
                        // SAFETY: the plan put the value inside scratch, whose mirror is as large.
                        let host = unsafe {
                            core::slice::from_raw_parts_mut(
                                self.scratch.as_ptr().add(offset as usize),
                                bytes,
                            )
                        };
                        way.copy(device, offset, host)?;
                    }
                    Operand::Buffer(i) => {
                        if let (Some(block), Some(device)) =
                            (self.buffers.get(i as usize), memory.buffer_mut(i))
                        {
                            whole(way, device, block)?;
                        }
                    }
                    Operand::Weight(_) | Operand::Kv(_) | Operand::None => {}
                }
            }
            for &bits in &op.src {
                if let Operand::Kv(i) = Operand::of(bits) {
                    let group = p.kv_layers.get(i as usize).map_or(0, |l| l.group);
                    let mirrors = self.pages.get(group as usize).map_or(&[][..], |v| v);
                    for (block, page) in mirrors.iter().zip(memory.pages_mut(group)) {
                        match way {
                            Way::In => mirror(page, block)?,
                            // A page that is shared was not written.
                            Way::Out => {
                                if let Some(device) = Arc::get_mut(page) {
                                    whole(way, device, block)?;
                                }
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Mirrors hold what the device held: leave nothing behind in the platform's memory.
        let pages = self.pages.iter().flatten();
        for b in pages
            .chain(&self.buffers)
            .chain([&self.scratch, &self.workspace])
        {
            // SAFETY: the block is ours and this long.
            unsafe { ptr::write_bytes(b.as_ptr(), 0, b.len()) }
        }
        self.page_handles.clear();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Way {
    fn copy(
        self,
        device: &mut crate::backend::host::Buffer,
        offset: u64,
        host: &mut [u8],
    ) -> Result<()> {
        match self {
            Self::In => device.read(offset, host),
            Self::Out => device.write(offset, host),
        }
    }
}

fn mirror(device: &crate::backend::host::Buffer, block: &Block) -> Result<()> {
    let bytes = (device.bytes() as usize).min(block.len());
    // SAFETY: the mirror is ours and at least this long.
    let host = unsafe { core::slice::from_raw_parts_mut(block.as_ptr(), bytes) };
    device.read(0, host)
}

fn whole(way: Way, device: &mut crate::backend::host::Buffer, block: &Block) -> Result<()> {
    let bytes = (device.bytes() as usize).min(block.len());
    // SAFETY: the mirror is ours and at least this long.
    let host = unsafe { core::slice::from_raw_parts_mut(block.as_ptr(), bytes) };
    way.copy(device, 0, host)
}
