//! What a session holds on its backend: buffers, KV pages and scratch, counted against its limits.
//!
//! KV pages are 64 positions long and hold the parts of all layers of a group, so that fork, rewind and
//! prefix sharing are operations on a short table. A page is zeroed when it is made and when it is freed. Pages
//! are shared with forks of the session until one of them writes: it then gets a copy of its own, before the step.

use super::kernels::attention::KvLayout;
use super::op::{TYPE_F16, TYPE_F32, TYPE_I32};
use super::program::MAX_EXTENT;
use crate::backend::host::{Buffer, Selected};
use crate::backend::table::{
    REALM_KV_PAGE_POSITIONS, realm_buffer, realm_kv_layer, realm_kv_table,
};
use crate::error::{Result, try_vec};
use crate::quant::GgmlType;
use crate::{bail, err};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;

mod journal;

/// Most KV groups, KV layers and buffers of a session.
pub const MAX_KV_GROUPS: u32 = 8;
const MAX_KV_LAYERS: usize = 4096;
const MAX_BUFFERS: usize = 1024;
/// Most heads of a KV layer, and most elements of a key or value.
const KV_EXTENT: u32 = 1 << 16;

/// What a session may hold, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimits {
    /// Session buffers.
    pub buffer_bytes: u64,
    /// KV pages.
    pub kv_bytes: u64,
    /// Scratch and backend workspace.
    pub scratch_bytes: u64,
}

/// What a session holds, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Session buffers.
    pub buffer_bytes: u64,
    /// KV pages.
    pub kv_bytes: u64,
    /// Scratch and backend workspace.
    pub scratch_bytes: u64,
    /// Operations run on the reference because the session's backend does not support them.
    pub fallback_ops: u64,
}

/// A cache layer as a guest asks for it.
#[derive(Clone, Copy, Debug)]
pub struct KvDesc {
    /// ggml type id: f32, f16 or q8_0.
    pub ty: u32,
    /// Heads of K and V.
    pub n_head_kv: u32,
    /// Elements of a K head.
    pub head_dim_k: u32,
    /// Elements of a V head.
    pub head_dim_v: u32,
    /// Most positions.
    pub max_positions: u32,
    /// Which layers share pages.
    pub group: u32,
    /// Reach of attention, 0 for all.
    pub window: u32,
}

impl KvDesc {
    /// As files have it.
    pub fn words(&self) -> [u32; 7] {
        [
            self.ty,
            self.n_head_kv,
            self.head_dim_k,
            self.head_dim_v,
            self.max_positions,
            self.group,
            self.window,
        ]
    }

    /// From what files have.
    pub fn from_words(words: [u32; 7]) -> Self {
        let [
            ty,
            n_head_kv,
            head_dim_k,
            head_dim_v,
            max_positions,
            group,
            window,
        ] = words;
        Self {
            ty,
            n_head_kv,
            head_dim_k,
            head_dim_v,
            max_positions,
            group,
            window,
        }
    }
}

struct Group {
    page_bytes: u64,
    max_positions: u32,
    window: u32,
    pages: Vec<Arc<Buffer>>,
    handles: Vec<*mut c_void>,
}

/// A session's memory.
pub struct Memory {
    pub(super) on: Selected,
    limits: MemoryLimits,
    usage: Usage,
    buffers: Vec<Buffer>,
    buffer_handles: Vec<*mut c_void>,
    buffer_descs: Vec<realm_buffer>,
    kv_layers: Vec<realm_kv_layer>,
    groups: Vec<Option<Group>>,
    tables: Vec<realm_kv_table>,
    /// How far steps have come, in the group that they have come farthest in.
    positions: u32,
    sealed: bool,
    scratch: Option<Buffer>,
    workspace: Option<Buffer>,
    /// Nothing is made, only counted: the scratch and workspace that there would be.
    counted: Option<(u64, u64)>,
    /// What is kept so that it can be had back.
    journal: Option<journal::Journal>,
}

// SAFETY: the raw pointers are handles of the buffers beside them.
unsafe impl Send for Memory {}
// SAFETY: `&Memory` gives no way to write through them.
unsafe impl Sync for Memory {}

fn reserve<T>(v: &mut Vec<T>, more: usize, what: &str) -> Result<()> {
    v.try_reserve(more)
        .map_err(|_| err!(NoMemory, "no memory for {more} more {what}"))
}

fn copied<T: Clone>(from: &[T], what: &str) -> Result<Vec<T>> {
    let mut to = try_vec(from.len(), what)?;
    to.extend_from_slice(from);
    Ok(to)
}

/// The size of a buffer.
fn buffer_bytes(b: &realm_buffer) -> u64 {
    let size = if b.r#type == TYPE_F16 { 2 } else { 4 };
    u64::from(b.cols) * u64::from(b.rows) * size
}

/// How a layer's part of a page is laid out.
pub(super) fn layout(ty: u32, heads: u32, dim_k: u32, dim_v: u32) -> Result<KvLayout> {
    let ty = GgmlType::from_id(ty).ok_or_else(|| err!(Unsupported, "a KV layer of type {ty}"))?;
    KvLayout::new(ty, heads as usize, dim_k as usize, dim_v as usize)
}

impl Memory {
    /// Nothing yet.
    pub fn new(on: Selected, limits: MemoryLimits) -> Self {
        Self {
            on,
            limits,
            usage: Usage::default(),
            buffers: Vec::new(),
            buffer_handles: Vec::new(),
            buffer_descs: Vec::new(),
            kv_layers: Vec::new(),
            groups: Vec::new(),
            tables: Vec::new(),
            positions: 0,
            sealed: false,
            scratch: None,
            workspace: None,
            counted: None,
            journal: None,
        }
    }

    /// Nothing yet, within the same limits on the same backend.
    pub fn empty(&self) -> Self {
        Self::new(self.on.clone(), self.limits)
    }

    /// As [`new`](Self::new), but nothing is made: what is asked for is checked and counted. No step can run in it.
    pub fn counting(on: Selected, limits: MemoryLimits) -> Self {
        Self {
            counted: Some((0, 0)),
            ..Self::new(on, limits)
        }
    }

    /// What is held.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    pub(super) fn count_fallback(&mut self, ops: u64) {
        self.usage.fallback_ops = self.usage.fallback_ops.saturating_add(ops);
    }

    /// A zeroed session buffer `[rows, cols]` of f32, f16 or i32.
    pub fn buffer_create(&mut self, ty: u32, cols: u32, rows: u32) -> Result<u32> {
        let size = match ty {
            TYPE_F32 | TYPE_I32 => 4,
            TYPE_F16 => 2,
            _ => bail!(Unsupported, "a buffer of type {ty}"),
        };
        if cols == 0 || rows == 0 || cols > MAX_EXTENT || rows > MAX_EXTENT {
            bail!(InvalidArgument, "a buffer [{rows}, {cols}]");
        }
        if self.buffer_descs.len() >= MAX_BUFFERS {
            bail!(Limit, "more than {MAX_BUFFERS} buffers");
        }
        let bytes = u64::from(cols) * u64::from(rows) * size;
        let total = self.usage.buffer_bytes + bytes;
        if total > self.limits.buffer_bytes {
            bail!(
                Limit,
                "buffers would take {total} bytes, the session may have {} (max_buffer_bytes)",
                self.limits.buffer_bytes
            );
        }
        reserve(&mut self.buffers, 1, "buffers")?;
        reserve(&mut self.buffer_handles, 1, "buffers")?;
        reserve(&mut self.buffer_descs, 1, "buffers")?;
        let handle = self.buffer_descs.len() as u32;
        if self.counted.is_none() {
            let buffer = self.on.backend.buffer(bytes, "session buffer")?;
            self.buffer_handles.push(buffer.handle());
            self.buffers.push(buffer);
        }
        self.buffer_descs.push(realm_buffer {
            r#type: ty,
            cols,
            rows,
            reserved: 0,
        });
        self.usage.buffer_bytes = total;
        Ok(handle)
    }

    /// A buffer.
    pub fn buffer(&self, handle: u32) -> Result<&Buffer> {
        self.buffers
            .get(handle as usize)
            .ok_or_else(|| err!(NotFound, "there is no buffer {handle}"))
    }

    /// Checks the range of a buffer that is only counted.
    fn counted_range(&self, handle: u32, offset: u64, len: usize) -> Result<()> {
        let Some(b) = self.buffer_desc(handle) else {
            bail!(NotFound, "there is no buffer {handle}");
        };
        let bytes = buffer_bytes(&b);
        if offset.saturating_add(len as u64) > bytes {
            bail!(
                InvalidArgument,
                "{len} bytes at {offset} of a buffer of {bytes}"
            );
        }
        Ok(())
    }

    /// What the offset of a byte in a little-endian number differs in from that in the machine's own, bit by bit.
    fn byte_order(&self, handle: u32) -> u64 {
        match self.buffer_desc(handle) {
            _ if cfg!(target_endian = "little") => 0,
            Some(b) if b.r#type == TYPE_F16 => 1,
            _ => 3,
        }
    }

    /// Copies bytes into a buffer: little-endian numbers, which are the machine's own in there.
    pub fn buffer_write(&mut self, handle: u32, offset: u64, data: &[u8]) -> Result<()> {
        if self.counted.is_some() {
            return self.counted_range(handle, offset, data.len());
        }
        self.note_buffer(handle, offset, data.len());
        let order = self.byte_order(handle);
        let buffer = self
            .buffers
            .get_mut(handle as usize)
            .ok_or_else(|| err!(NotFound, "there is no buffer {handle}"))?;
        if order == 0 || offset.saturating_add(data.len() as u64) > buffer.bytes() {
            return buffer.write(offset, data);
        }
        let mut bytes = (offset..).zip(data);
        bytes.try_for_each(|(at, b)| buffer.write(at ^ order, &[*b]))
    }

    /// Copies bytes out of a buffer, as little-endian numbers.
    pub fn buffer_read(&self, handle: u32, offset: u64, out: &mut [u8]) -> Result<()> {
        if self.counted.is_some() {
            self.counted_range(handle, offset, out.len())?;
            out.fill(0);
            return Ok(());
        }
        let (buffer, order) = (self.buffer(handle)?, self.byte_order(handle));
        if order == 0 || offset.saturating_add(out.len() as u64) > buffer.bytes() {
            return buffer.read(offset, out);
        }
        let mut bytes = (offset..).zip(out.chunks_mut(1));
        bytes.try_for_each(|(at, b)| buffer.read(at ^ order, b))
    }

    /// A buffer's shape.
    pub fn buffer_desc(&self, handle: u32) -> Option<realm_buffer> {
        self.buffer_descs.get(handle as usize).copied()
    }

    /// All buffers' shapes, by handle.
    pub fn buffer_descs(&self) -> &[realm_buffer] {
        &self.buffer_descs
    }

    /// All KV layers, by handle.
    pub fn kv_layers(&self) -> &[realm_kv_layer] {
        &self.kv_layers
    }

    /// Adds a cache layer; refused once a step has run.
    pub fn kv_create(&mut self, d: KvDesc) -> Result<u32> {
        if self.sealed {
            bail!(State, "KV layers are created before the first step");
        }
        // Nobody makes them but when a session opens.
        self.settle();
        let ok = |n: u32, most: u32| n > 0 && n <= most;
        if !ok(d.n_head_kv, KV_EXTENT)
            || !ok(d.head_dim_k, KV_EXTENT)
            || !ok(d.head_dim_v, KV_EXTENT)
            || !ok(d.max_positions, MAX_EXTENT)
            || d.group >= MAX_KV_GROUPS
        {
            bail!(
                InvalidArgument,
                "a KV layer of {} heads with keys of {} and values of {} elements, {} positions, in group {}: each but the group must be at least 1, at most {KV_EXTENT} (positions {MAX_EXTENT}), and the group below {MAX_KV_GROUPS}",
                d.n_head_kv,
                d.head_dim_k,
                d.head_dim_v,
                d.max_positions,
                d.group
            );
        }
        if self.kv_layers.len() >= MAX_KV_LAYERS {
            bail!(Limit, "more than {MAX_KV_LAYERS} KV layers");
        }
        let layout = layout(d.ty, d.n_head_kv, d.head_dim_k, d.head_dim_v)?;
        let (v_offset, bytes) = (layout.values_at() as u64, layout.page_bytes() as u64);
        reserve(&mut self.kv_layers, 1, "KV layers")?;
        let missing = (d.group as usize + 1).saturating_sub(self.groups.len());
        reserve(&mut self.groups, missing, "KV groups")?;
        reserve(&mut self.tables, missing, "KV groups")?;
        for _ in 0..missing {
            self.groups.push(None);
            self.tables.push(realm_kv_table {
                pages: core::ptr::null(),
                page_count: 0,
                reserved: 0,
            });
        }
        let slot = self
            .groups
            .get_mut(d.group as usize)
            .ok_or_else(|| err!(Internal, "KV group {} is gone", d.group))?;
        let group = slot.get_or_insert(Group {
            page_bytes: 0,
            max_positions: d.max_positions,
            window: d.window,
            pages: Vec::new(),
            handles: Vec::new(),
        });
        if group.max_positions != d.max_positions || group.window != d.window {
            bail!(
                InvalidArgument,
                "KV layers of group {} differ in positions or window",
                d.group
            );
        }
        let offset = group.page_bytes;
        group.page_bytes = offset
            .checked_add(bytes.next_multiple_of(64))
            .ok_or_else(|| err!(Limit, "KV pages too large"))?;
        self.kv_layers.push(realm_kv_layer {
            r#type: d.ty,
            n_head_kv: d.n_head_kv,
            head_dim_k: d.head_dim_k,
            head_dim_v: d.head_dim_v,
            group: d.group,
            max_positions: d.max_positions,
            offset,
            v_offset,
        });
        Ok(self.kv_layers.len() as u32 - 1)
    }

    /// What the layers so far cost for so many positions, in bytes.
    pub fn kv_bytes_for(&self, positions: u32) -> u64 {
        let pages = u64::from(positions.div_ceil(REALM_KV_PAGE_POSITIONS));
        self.groups.iter().flatten().fold(0u64, |sum, g| {
            sum.saturating_add(pages.saturating_mul(g.page_bytes))
        })
    }

    /// What the layers cost for so many positions, or for as many as they may have if that is less; in bytes.
    pub fn kv_planned(&self, positions: u32) -> u64 {
        self.groups.iter().flatten().fold(0u64, |sum, g| {
            let pages = positions
                .min(g.max_positions)
                .div_ceil(REALM_KV_PAGE_POSITIONS);
            sum.saturating_add(u64::from(pages).saturating_mul(g.page_bytes))
        })
    }

    /// Positions that have keys and values, or will have when the booked step has run.
    pub fn positions(&self) -> u32 {
        self.positions
    }

    /// Makes pages until a group reaches `positions`, and makes those from position `from` on the session's own, to be written.
    /// Nothing changes on failure but pages made so far.
    pub(super) fn kv_reach(&mut self, group: u32, from: u32, positions: u32) -> Result<()> {
        self.sealed = true;
        let Some(Some(g)) = self.groups.get_mut(group as usize) else {
            bail!(Internal, "KV group {group} does not exist");
        };
        let need = positions.div_ceil(REALM_KV_PAGE_POSITIONS) as usize;
        while g.pages.len() < need {
            let total = self.usage.kv_bytes.saturating_add(g.page_bytes);
            if total > self.limits.kv_bytes {
                bail!(
                    Limit,
                    "the KV cache would take {total} bytes, the session may have {} (max_kv_bytes)",
                    self.limits.kv_bytes
                );
            }
            reserve(&mut g.pages, 1, "KV pages")?;
            reserve(&mut g.handles, 1, "KV pages")?;
            let page = self.on.backend.buffer(g.page_bytes, "KV page")?;
            g.handles.push(page.handle());
            g.pages.push(Arc::new(page));
            self.usage.kv_bytes = total;
        }
        let first = (from / REALM_KV_PAGE_POSITIONS) as usize;
        let written = g.pages.iter_mut().zip(&mut g.handles).take(need);
        for (page, handle) in written.skip(first) {
            if Arc::get_mut(page).is_none() {
                let mut own = self.on.backend.buffer(g.page_bytes, "KV page")?;
                own.copy_from(page)?;
                *handle = own.handle();
                *page = Arc::new(own);
            }
        }
        self.positions = self.positions.max(positions);
        self.refresh(group as usize);
        Ok(())
    }

    /// The table a step sees follows the vector, which may have moved.
    fn refresh(&mut self, group: usize) {
        if let (Some(Some(g)), Some(t)) = (self.groups.get(group), self.tables.get_mut(group)) {
            t.pages = g.handles.as_ptr();
            t.page_count = g.handles.len() as u32;
        }
    }

    /// Forgets keys and values at `position` and after: whole pages are zeroed and freed.
    pub fn kv_truncate(&mut self, position: u32) -> Result<()> {
        let keep = position.div_ceil(REALM_KV_PAGE_POSITIONS) as usize;
        self.positions = self.positions.min(position);
        for i in 0..self.groups.len() {
            if let Some(Some(g)) = self.groups.get_mut(i) {
                let freed = g.pages.len().saturating_sub(keep) as u64;
                self.usage.kv_bytes = self.usage.kv_bytes.saturating_sub(freed * g.page_bytes);
            }
            self.note_pages(i, keep);
            if let Some(Some(g)) = self.groups.get_mut(i) {
                g.pages.truncate(keep);
                g.handles.truncate(keep);
            }
            self.refresh(i);
        }
        Ok(())
    }

    /// The same again, for a fork of the session: buffers are copied, pages shared. Shared pages count against both sessions'
    /// limits, because either may have to have all of them some day.
    pub fn fork(&self) -> Result<Self> {
        let mut m = self.empty();
        for (desc, from) in self.buffer_descs.iter().zip(&self.buffers) {
            let to = m.buffer_create(desc.r#type, desc.cols, desc.rows)?;
            if let Some(to) = m.buffer_mut(to) {
                to.copy_from(from)?;
            }
        }
        m.kv_layers = copied(&self.kv_layers, "KV layers")?;
        m.tables = copied(&self.tables, "KV groups")?;
        m.groups = try_vec(self.groups.len(), "KV groups")?;
        for group in &self.groups {
            m.groups.push(match group {
                Some(g) => Some(Group {
                    page_bytes: g.page_bytes,
                    max_positions: g.max_positions,
                    window: g.window,
                    pages: copied(&g.pages, "KV pages")?,
                    handles: copied(&g.handles, "KV pages")?,
                }),
                None => None,
            });
            m.refresh(m.groups.len() - 1);
        }
        m.usage.kv_bytes = self.usage.kv_bytes;
        m.positions = self.positions;
        m.sealed = self.sealed;
        let has = |b: &Option<Buffer>| b.as_ref().map_or(0, Buffer::bytes);
        m.reserve_scratch(has(&self.scratch), has(&self.workspace))?;
        Ok(m)
    }

    /// A KV layer as it was asked for.
    pub fn kv_desc(&self, layer: &realm_kv_layer) -> KvDesc {
        let group = self.groups.get(layer.group as usize);
        KvDesc {
            ty: layer.r#type,
            n_head_kv: layer.n_head_kv,
            head_dim_k: layer.head_dim_k,
            head_dim_v: layer.head_dim_v,
            max_positions: layer.max_positions,
            group: layer.group,
            window: group.and_then(Option::as_ref).map_or(0, |g| g.window),
        }
    }

    /// How many KV groups there are, with those that have no layer.
    pub fn group_count(&self) -> u32 {
        self.groups.len() as u32
    }

    /// A group's pages and the size of one.
    pub fn pages(&self, group: u32) -> (&[Arc<Buffer>], u64) {
        match self.groups.get(group as usize) {
            Some(Some(g)) => (&g.pages, g.page_bytes),
            _ => (&[], 0),
        }
    }

    /// Reads of a group's page what it holds of the context: zeros where keys and values have been forgotten, or never were.
    pub fn page_read(&self, group: u32, page: usize, at: u64, out: &mut [u8]) -> Result<()> {
        let (pages, _) = self.pages(group);
        let from = pages
            .get(page)
            .ok_or_else(|| err!(Internal, "page {page} of KV group {group} is gone"))?;
        from.read(at, out)?;
        let before = page * REALM_KV_PAGE_POSITIONS as usize;
        let kept = (self.positions as usize).saturating_sub(before);
        if kept >= REALM_KV_PAGE_POSITIONS as usize {
            return Ok(());
        }
        for l in self.kv_layers.iter().filter(|l| l.group == group) {
            let layout = layout(l.r#type, l.n_head_kv, l.head_dim_k, l.head_dim_v)?;
            let (begin, bytes) = (l.offset.saturating_sub(at), layout.page_bytes() as u64);
            let end = (l.offset + bytes).saturating_sub(at);
            let skipped = at.saturating_sub(l.offset) as usize;
            let part = out.iter_mut().take(end as usize).skip(begin as usize);
            for (i, byte) in part.enumerate() {
                if layout.slot(skipped + i) >= kept {
                    *byte = 0;
                }
            }
        }
        Ok(())
    }

    /// A page to be filled, which is made if it is the next.
    pub fn page_restore(&mut self, group: u32, page: u32) -> Result<&mut Buffer> {
        let most = match self.groups.get(group as usize) {
            Some(Some(g)) => g.max_positions,
            _ => 0,
        };
        let from = page.saturating_mul(REALM_KV_PAGE_POSITIONS);
        if from >= most {
            bail!(
                Format,
                "page {page} of KV group {group}, of {most} positions"
            );
        }
        self.kv_reach(group, from, from + 1)?;
        self.pages_mut(group)
            .get_mut(page as usize)
            .and_then(Arc::get_mut)
            .ok_or_else(|| err!(Internal, "page {page} of KV group {group} is gone"))
    }

    /// Says how far the restored pages go, and whether layers may still be added.
    pub fn kv_restored(&mut self, positions: u32, sealed: bool) {
        self.positions = positions;
        self.sealed = sealed;
    }

    /// Makes sure that scratch and workspace are at least this large.
    pub(super) fn reserve_scratch(&mut self, scratch: u64, workspace: u64) -> Result<()> {
        let has = |b: &Option<Buffer>| b.as_ref().map_or(0, Buffer::bytes);
        let there = (has(&self.scratch), has(&self.workspace));
        let there = self.counted.unwrap_or(there);
        let (scratch, workspace) = (scratch.max(there.0), workspace.max(there.1));
        let total = scratch.saturating_add(workspace);
        if total > self.limits.scratch_bytes {
            bail!(
                Limit,
                "scratch memory would take {total} bytes, the session may have {} (max_scratch_bytes)",
                self.limits.scratch_bytes
            );
        }
        if let Some(counted) = &mut self.counted {
            *counted = (scratch, workspace);
            self.usage.scratch_bytes = total;
            return Ok(());
        }
        // The old one goes first, so that both are never there at once. Where the new one cannot be had there is none
        // then, which is why every step comes here before it is bound.
        let mut made = Ok(());
        for (slot, bytes, what) in [
            (&mut self.scratch, scratch, "scratch"),
            (&mut self.workspace, workspace, "workspace"),
        ] {
            if made.is_ok() && bytes > has(slot) {
                *slot = None;
                made = self.on.backend.buffer(bytes, what).map(|b| *slot = Some(b));
            }
        }
        self.usage.scratch_bytes = has(&self.scratch) + has(&self.workspace);
        made
    }

    pub(super) fn scratch_handle(&self) -> *mut c_void {
        self.scratch
            .as_ref()
            .map_or(core::ptr::null_mut(), Buffer::handle)
    }

    pub(super) fn workspace_handle(&self) -> *mut c_void {
        self.workspace
            .as_ref()
            .map_or(core::ptr::null_mut(), Buffer::handle)
    }

    pub(super) fn scratch_mut(&mut self) -> Option<&mut Buffer> {
        self.scratch.as_mut()
    }

    pub(crate) fn buffer_mut(&mut self, handle: u32) -> Option<&mut Buffer> {
        self.buffers.get_mut(handle as usize)
    }

    pub(super) fn pages_mut(&mut self, group: u32) -> &mut [Arc<Buffer>] {
        match self.groups.get_mut(group as usize) {
            Some(Some(g)) => &mut g.pages,
            _ => &mut [],
        }
    }

    pub(super) fn buffer_handles(&self) -> *const *mut c_void {
        self.buffer_handles.as_ptr()
    }

    pub(super) fn kv_tables(&self) -> &[realm_kv_table] {
        &self.tables
    }
}
