//! A run of operations as launches, and the records that kernels read.
//!
//! There are fewer launches than operations. What is taken together: the rounding of an input that several products have; products of
//! one input and type; a product and the sum behind it.

use super::abi::{Op, Operand as DeviceOperand, Turn, WORKSPACE_HEAD};
use super::device::{Device, Launch, Memory, Result};
use super::ops::{WARPS, When, Work, kernels_of, partial_bytes, prepared_bytes, rows_of};
use super::run::head_bytes;
use super::weights;
use crate::backend::table::{
    REALM_OPERAND_BUFFER, REALM_OPERAND_KV, REALM_OPERAND_VALUE, REALM_OPERAND_WEIGHT,
    realm_kv_layer, realm_op, realm_program,
};
use crate::error::Status;
use crate::graph::exec::{Bound, rope_params};
use crate::graph::kernels::rope::rope_rates;
use crate::graph::op::{Code, Operand, param, src};
use crate::quant::GgmlType;
use alloc::ffi::CString;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::AtomicU64;

/// Steps of a batch, at most.
const MOST_STEPS: u64 = 64;

/// A kernel, resolved.
#[derive(Clone, Copy)]
struct Prepared {
    kernel: u64,
    op: u32,
    work: Work,
    when: When,
}

/// A run of operations, prepared.
pub struct Plan {
    pub device: Arc<dyn Device>,
    launches: Vec<Prepared>,
    /// The operations' records, ROPE's turns behind them.
    records: Memory,
    /// The heads of a batch's steps. Whoever launches writes them first.
    pub head: Memory,
    /// Bytes from one to the next: as large as one can get.
    pub stride: u64,
    pub buffer_count: usize,
    /// Pages that each page table can have.
    pub tables: Vec<u32>,
    /// What is added to each register between replays.
    pub strides: Vec<i32>,
    pub workspace_bytes: u64,
    /// Nanoseconds that a launch has taken of late.
    pub pace: AtomicU64,
    /// Held from the writing of the head to the last launch that reads it.
    pub queue: std::sync::Mutex<Captured>,
}

/// The launches of the last whole replay, and what was made of them when they came a second time: decoding, they always do.
#[derive(Default)]
pub struct Captured {
    launches: Vec<Launch>,
    graph: Option<u64>,
}

impl Plan {
    /// Prepares operations of a program.
    ///
    /// # Safety
    /// `program` is whole and its weights are bound.
    pub unsafe fn new(
        device: &Arc<dyn Device>,
        program: *const realm_program,
        first: u32,
        count: u32,
    ) -> Result<Self> {
        // SAFETY: the caller's promise.
        let (bound, p) = unsafe { (Bound::program(program), &*program) };
        let ops = bound
            .ops
            .get(first as usize..)
            .and_then(|o| o.get(..count as usize));
        let ops = ops.ok_or(Status::InvalidArgument)?;
        let mut made = Builder {
            device,
            bound: &bound,
            records: Vec::new(),
            turns: Vec::new(),
            launches: Vec::new(),
            workspace_bytes: WORKSPACE_HEAD,
            partial_bytes: 0,
            held: None,
            group: None,
        };
        for op in ops {
            made.add(op)?;
        }
        let turns_at = (made.records.len() * size_of::<Op>()) as u64;
        let bytes = turns_at + (made.turns.len() * size_of::<Turn>()) as u64;
        let records = Memory::new(device, bytes)?;
        let partial_at = made.workspace_bytes.next_multiple_of(256);
        for op in &mut made.records {
            op.table = match op.code == Code::FlashAttnExt as u32 {
                true => partial_at,
                false => op.table + records.address + turns_at,
            };
        }
        device.write(records.address, bytemuck::cast_slice(&made.records))?;
        device.write(
            records.address + turns_at,
            bytemuck::cast_slice(&made.turns),
        )?;
        let tables = tables(&bound, p.kv_layer_count);
        let buffer_count = p.buffer_count as usize;
        let strides = (0..p.register_count as usize)
            // SAFETY: the program has so many.
            .map(|i| unsafe { (*p.registers.add(i)).stride })
            .collect();
        let pages: u64 = tables.iter().map(|&n| u64::from(n)).sum();
        let stride = head_bytes(buffer_count, tables.len(), pages).next_multiple_of(64);
        Ok(Self {
            device: Arc::clone(device),
            launches: made.launches,
            records,
            head: Memory::new(device, stride * MOST_STEPS)?,
            stride,
            buffer_count,
            tables,
            strides,
            workspace_bytes: partial_at + made.partial_bytes,
            pace: AtomicU64::new(0),
            queue: std::sync::Mutex::default(),
        })
    }

    /// How many launches there are.
    pub fn len(&self) -> usize {
        self.launches.len()
    }

    /// The launches from `first` on, at most so many, of so many steps, of which one has these registers.
    pub fn launches(
        &self,
        first: usize,
        count: usize,
        registers: &[u32],
        steps: u32,
    ) -> Vec<Launch> {
        let most = self.device.most_blocks();
        let some = self.launches.iter().skip(first).take(count);
        some.filter(|l| match l.when {
            When::Always => true,
            When::Single => l.work.rows(registers) == 1,
            When::Several => l.work.rows(registers) != 1,
        })
        .map(|l| Launch {
            kernel: l.kernel,
            op: l.op,
            blocks: l.work.blocks(registers, most),
            steps,
        })
        .filter(|l| l.blocks > 0)
        .collect()
    }

    /// Enqueues launches; `whole` ones, which are all there are, as one thing when they come again. The head has been written under `queue`.
    pub fn enqueue(&self, launches: Vec<Launch>, whole: bool, queue: &mut Captured) -> Result<()> {
        let (ops, head) = (self.records.address, self.head.address);
        if !whole || launches.is_empty() {
            return self.device.launch(&launches, ops, head);
        }
        if launches != queue.launches {
            if let Some(graph) = queue.graph.take() {
                self.device.drop_graph(graph);
            }
            queue.launches = launches;
            return self.device.launch(&queue.launches, ops, head);
        }
        let graph = match queue.graph {
            Some(graph) => graph,
            None => *queue
                .graph
                .insert(self.device.capture(&launches, ops, head)?),
        };
        self.device.replay(graph)
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        let captured = self.queue.get_mut().map(|q| q.graph.take());
        if let Ok(Some(graph)) = captured {
            self.device.drop_graph(graph);
        }
    }
}

/// Most pages of each table that the layers use.
fn tables(bound: &Bound<'_>, layers: u32) -> Vec<u32> {
    let mut tables = Vec::new();
    for layer in (0..layers).filter_map(|i| bound.kv_layer(Operand::Kv(i))) {
        let group = layer.group as usize;
        if tables.len() <= group {
            tables.resize(group + 1, 0);
        }
        if let Some(pages) = tables.get_mut(group) {
            *pages = layer.max_positions.div_ceil(64).max(*pages);
        }
    }
    tables
}

/// A plan in the making.
struct Builder<'a> {
    device: &'a Arc<dyn Device>,
    bound: &'a Bound<'a>,
    records: Vec<Op>,
    turns: Vec<Turn>,
    launches: Vec<Prepared>,
    workspace_bytes: u64,
    /// Of attention's partial results, which lie behind prepared inputs.
    partial_bytes: u64,
    /// What the workspace holds: an input, the kernel that prepared it, its rows and their elements. Products of one input share it.
    held: Option<(u32, u64, u32, u64)>,
    /// The products that came last, if nothing else came since.
    group: Option<Group>,
}

/// Products that one launch does, because they have their input and type in common.
struct Group {
    /// Input, rows and type.
    of: (u32, u32, u32),
    /// What the last of them writes.
    dst: u32,
    /// The first one's record, and the launches: of one row, of several.
    first: usize,
    launches: Range<usize>,
    /// Where they write.
    extents: Vec<(Operand, Range<u64>)>,
}

impl Builder<'_> {
    /// Where an operand is: its memory, in bytes of scratch, or a buffer.
    fn extent(&self, bits: u32) -> (Operand, Range<u64>) {
        let o = Operand::of(bits);
        match self.bound.value(o) {
            Some(v) => {
                let bytes = u64::from(v.max_rows) * u64::from(v.cols) * 4;
                (Operand::Value(0), v.offset..v.offset + bytes)
            }
            None => (o, 0..u64::MAX),
        }
    }

    /// Adds a product to the launch of those before it, if it is one of them. What it writes must not lie where they write, though nobody
    /// may read that: they would run at the same time.
    fn join(&mut self, op: &realm_op, record: &Op) -> bool {
        let extent = self.extent(op.dst);
        let of = group_of(op, record);
        let Some(group) = self.group.as_mut().filter(|g| g.of == of) else {
            return false;
        };
        let apart = |(o, r): &(Operand, Range<u64>)| {
            *o != extent.0 || r.end <= extent.1.start || extent.1.end <= r.start
        };
        if !group.extents.iter().all(apart) {
            return false;
        }
        let launches = self.launches.get_mut(group.launches.clone());
        let first = self.records.get_mut(group.first);
        let (Some(launches), Some(first)) = (launches, first) else {
            return false;
        };
        first.more += 1;
        for launch in launches {
            launch.work.each += u64::from(record.src[0].rows).div_ceil(WARPS);
        }
        group.extents.push(extent);
        group.dst = op.dst;
        true
    }

    fn add(&mut self, op: &realm_op) -> Result<()> {
        let kernels = kernels_of(self.bound, op).ok_or(Status::Unsupported)?;
        let index = self.records.len() as u32;
        let mut record = Op {
            code: op.code.into(),
            flags: op.flags.into(),
            rows: rows_of(self.bound, op),
            dst: self.operand(op.dst)?,
            param: op.param,
            ..Op::default()
        };
        for (to, &bits) in record.src.iter_mut().zip(&op.src) {
            *to = self.operand(bits)?;
        }
        let code = Code::from_u16(op.code);
        if code == Some(Code::Rope) {
            record.table = (self.turns.len() * size_of::<Turn>()) as u64;
            self.turn(op);
        }
        if let Some(kv) = self.bound.kv_layer(src(op, 3)) {
            record.extra = kv.v_offset;
            self.partial_bytes = self.partial_bytes.max(partial_bytes(kv, param(op, 1)));
        }
        let mut input = None;
        if matches!(code, Some(Code::MulMat | Code::MulMatId)) {
            let w = self.bound.weight(src(op, 0)).ok_or(Status::Internal)?;
            let ty = GgmlType::from_id(w.r#type).ok_or(Status::Internal)?;
            record.extra = prepared_bytes(ty, w.ne[0]);
            let x = op.src.get(1).copied().unwrap_or(0);
            if record.extra != 0 {
                let rows = self.bound.max_rows(src(op, 1)) * self.bound.parts(op).1 as u64;
                let bytes = rows.checked_mul(record.extra).ok_or(Status::NoMemory)?;
                self.workspace_bytes = self.workspace_bytes.max(WORKSPACE_HEAD + bytes);
                input = Some((x, record.rows, w.ne[0]));
            }
        }
        if code == Some(Code::Add) && self.fuse(op)? {
            return Ok(());
        }
        if code == Some(Code::MulMat) && self.join(op, &record) {
            self.records.push(record);
            return Ok(());
        }
        self.group = None;
        for kernel in kernels {
            let name = CString::new(kernel.name).map_err(|_| Status::Internal)?;
            let id = self.device.kernel(&name)?;
            if let Some((x, rows, k)) = input.take() {
                // The first kernel of such a product prepares its input.
                if self.held == Some((x, id, rows, k)) {
                    continue;
                }
                self.held = Some((x, id, rows, k));
            }
            self.launches.push(Prepared {
                kernel: id,
                op: index,
                work: kernel.work,
                when: kernel.when,
            });
        }
        if code == Some(Code::MulMat) {
            let end = self.launches.len();
            self.group = Some(Group {
                of: group_of(op, &record),
                dst: op.dst,
                first: self.records.len(),
                launches: end - 2..end,
                extents: vec![self.extent(op.dst)],
            });
        }
        self.records.push(record);
        // Whatever else writes to the input makes what the workspace holds stale.
        let second = op.src.get(1).filter(|_| code == Some(Code::TopK));
        if self
            .held
            .is_some_and(|(x, ..)| op.dst == x || second == Some(&x))
        {
            self.held = None;
        }
        Ok(())
    }

    /// Gives an ADD to the product just before it, whose result is one of its terms, if that is one by itself: who has computed an element adds it. Its
    /// result is written too, as somebody may want it.
    fn fuse(&mut self, op: &realm_op) -> Result<bool> {
        let [a, b, ..] = op.src;
        let Some(group) = self.group.as_ref().filter(|g| g.extents.len() == 1) else {
            return Ok(false);
        };
        let (dst, first, (input, rows, _)) = (group.dst, group.first, group.of);
        let addend = if a == dst { b } else { a };
        let plain = matches!(Operand::of(addend), Operand::Value(_) | Operand::Buffer(_));
        if (a != dst && b != dst) || addend == dst || !plain || rows_of(self.bound, op) != rows {
            return Ok(false);
        }
        let apart = |x: u32, y: u32| {
            let ((o, r), (p, q)) = (self.extent(x), self.extent(y));
            o != p || r.end <= q.start || q.end <= r.start
        };
        // Others read the input, and the addend's elements, while some write the sum.
        let in_place = |x: u32| x == op.dst || apart(x, op.dst);
        if !apart(input, op.dst) || !in_place(addend) || !in_place(dst) || !apart(addend, dst) {
            return Ok(false);
        }
        let both = (self.operand(addend)?, self.operand(op.dst)?);
        let record = self.records.get_mut(first).ok_or(Status::Internal)?;
        let [_, _, _, _, from, to, ..] = &mut record.src;
        (*from, *to) = both;
        if self.held.is_some_and(|(x, ..)| x == op.dst) {
            self.held = None;
        }
        self.group = None;
        Ok(true)
    }

    fn operand(&self, bits: u32) -> Result<DeviceOperand> {
        let o = Operand::of(bits);
        let (cols, rows) = self.bound.shape(o);
        let plain = DeviceOperand {
            cols: cols as u32,
            rows: rows as u32,
            ..DeviceOperand::default()
        };
        Ok(match o {
            Operand::None => DeviceOperand::default(),
            Operand::Weight(_) => {
                let w = self.bound.weight(o).ok_or(Status::Internal)?;
                // SAFETY: weights are bound before a program is prepared.
                let bound = unsafe { weights::of(w) }.ok_or(Status::Internal)?;
                let ty = GgmlType::from_id(w.r#type).ok_or(Status::Internal)?;
                DeviceOperand {
                    at: bound.address(self.device)?,
                    kind: REALM_OPERAND_WEIGHT,
                    ty: w.r#type,
                    depth: w.ne[2] as u32,
                    row_bytes: weights::row_bytes(ty, w.ne[0]).ok_or(Status::Internal)? as u32,
                    ..plain
                }
            }
            Operand::Value(_) => {
                let v = self.bound.value(o).ok_or(Status::Internal)?;
                DeviceOperand {
                    at: v.offset,
                    kind: REALM_OPERAND_VALUE,
                    ty: v.r#type,
                    rows: v.rows,
                    ..plain
                }
            }
            Operand::Buffer(i) => DeviceOperand {
                at: i.into(),
                kind: REALM_OPERAND_BUFFER,
                ty: self.bound.buffer_type(i),
                ..plain
            },
            Operand::Kv(_) => kv_operand(self.bound.kv_layer(o).ok_or(Status::Internal)?),
        })
    }

    /// Angles in turns, exact to 2^-64 of one, so that kernels need no double precision at any position.
    fn turn(&mut self, op: &realm_op) {
        let p = rope_params(op);
        let mut rates = vec![0.0; p.n_dims / 2];
        rope_rates(&p, self.bound.weight_bytes(src(op, 1)), &mut rates);
        let mut scale = f64::from(p.attn_factor);
        if p.ext_factor != 0.0 {
            scale *= 1.0 + 0.1 * libm::log(1.0 / f64::from(p.freq_scale));
        }
        self.turns.extend(rates.iter().map(|&rate| {
            let turns = rate / (2.0 * core::f64::consts::PI);
            let part = turns - libm::floor(turns);
            Turn {
                // 2^64 turns to 0 in the conversion's end, and is as good as none.
                phase: (part * 18_446_744_073_709_551_616.0) as u64,
                scale: if rate.is_finite() {
                    scale as f32
                } else {
                    f32::NAN
                },
                reserved: 0,
            }
        }));
    }
}

fn group_of(op: &realm_op, record: &Op) -> (u32, u32, u32) {
    let [weight, ..] = record.src;
    (op.src.get(1).copied().unwrap_or(0), record.rows, weight.ty)
}

fn kv_operand(layer: &realm_kv_layer) -> DeviceOperand {
    DeviceOperand {
        at: layer.offset,
        kind: REALM_OPERAND_KV,
        ty: layer.r#type,
        cols: layer.head_dim_k,
        rows: layer.head_dim_v,
        depth: layer.n_head_kv,
        row_bytes: layer.group,
    }
}
