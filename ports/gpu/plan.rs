//! A run of operations as launches, and the records that kernels read.
//!
//! There are fewer launches than operations: an input that several products have is rounded once, and `fuse.rs` says what has a launch in
//! common.

use super::abi::{Op, Operand as DeviceOperand, Turn, WORKSPACE_HEAD};
use super::device::{Device, Launch, Memory, Result};
use super::fuse::{Group, Last};
use super::ops::{Kernel, TILE, When, Work, kernels_of, partial_bytes, prepared_bytes, rows_of};
use super::persist::{self, Calls};
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
use core::sync::atomic::AtomicU64;

/// Steps of a batch, at most.
const MOST_STEPS: u64 = 64;

/// A kernel, resolved.
#[derive(Clone, Copy)]
pub struct Prepared {
    pub kernel: u64,
    /// Its number where one kernel interprets all, if it has one.
    pub number: Option<u32>,
    op: u32,
    pub work: Work,
    when: When,
    /// For batches: the one that does so many steps at once.
    batch: Option<u64>,
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
    made: Option<Made>,
}

/// What is made of launches that come again.
enum Made {
    Graph(u64),
    Calls(Calls),
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
            last: None,
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
        .map(|l| {
            let batch = l.batch.filter(|_| steps > 1);
            Launch {
                kernel: batch.unwrap_or(l.kernel),
                op: l.op,
                blocks: l.work.blocks(registers, most),
                steps: batch.map_or(steps, |_| steps.div_ceil(TILE as u32)),
            }
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
            if let Some(Made::Graph(graph)) = queue.made.take() {
                self.device.drop_graph(graph);
            }
            queue.launches = launches;
            return self.device.launch(&queue.launches, ops, head);
        }
        let steps = launches.first().map_or(1, |l| l.steps);
        let made = match &mut queue.made {
            Some(made) => made,
            none => none.insert(self.make(&launches)?),
        };
        match made {
            Made::Graph(graph) => self.device.replay(*graph),
            Made::Calls(calls) => calls.enqueue(&*self.device, ops, head, steps),
        }
    }

    /// One thing of launches: a list for the kernel that interprets them, or else a graph.
    fn make(&self, launches: &[Launch]) -> Result<Made> {
        let number = |kernel| self.launches.iter().find(|l| l.kernel == kernel)?.number;
        if let Some(calls) = Calls::new(&self.device, launches, number)? {
            return Ok(Made::Calls(calls));
        }
        let (ops, head) = (self.records.address, self.head.address);
        Ok(Made::Graph(self.device.capture(launches, ops, head)?))
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        let made = self.queue.get_mut().map(|q| q.made.take());
        if let Ok(Some(Made::Graph(graph))) = made {
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
pub struct Builder<'a> {
    device: &'a Arc<dyn Device>,
    pub bound: &'a Bound<'a>,
    pub records: Vec<Op>,
    turns: Vec<Turn>,
    pub launches: Vec<Prepared>,
    workspace_bytes: u64,
    /// Of attention's partial results, which lie behind prepared inputs.
    partial_bytes: u64,
    /// What the workspace holds: an input, the kernel that prepared it, its rows and their elements. Products of one input share it.
    pub held: Option<(u32, u64, u32, u64)>,
    /// The products that came last, if nothing else came since.
    pub group: Option<Group>,
    /// The operation that came last, if the next one may have its launch.
    pub last: Option<Last>,
}

impl Builder<'_> {
    fn add(&mut self, op: &realm_op) -> Result<()> {
        let kernels = kernels_of(self.bound, op).ok_or(Status::Unsupported)?;
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
        if code == Some(Code::Add) && self.join_sum(op)? {
            return Ok(());
        }
        let joined = match code {
            Some(Code::MulMat) => self.join_product(op, &record),
            Some(Code::Rope) => self.join_rotation(op, &record),
            _ => false,
        };
        if !joined {
            let appended = code == Some(Code::FlashAttnExt) && self.join_append(op, &record)?;
            for kernel in kernels.into_iter().skip(appended.into()) {
                self.launch(kernel, &record, input.take())?;
            }
            self.remember(op, &record, code);
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

    pub fn operand(&self, bits: u32) -> Result<DeviceOperand> {
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

    /// A kernel of the operation whose record comes next. `input`: the first one of a product prepares that, if it is not prepared yet.
    fn launch(
        &mut self,
        kernel: Kernel,
        record: &Op,
        input: Option<(u32, u32, u64)>,
    ) -> Result<()> {
        let id = self.kernel(&kernel.name)?;
        if let Some((x, rows, k)) = input {
            let held = Some((x, id, rows, k));
            if self.held == held {
                return Ok(());
            }
            self.held = held;
            if self.absorb(&kernel, (x, rows, k), record.extra)? {
                return Ok(());
            }
        }
        let batch = match kernel.name.contains("_mul_mat_vec_") {
            true => Some(self.kernel(&kernel.name.replace("_vec_", "_batch_"))?),
            false => None,
        };
        self.launches.push(Prepared {
            kernel: id,
            batch,
            number: persist::number(&kernel.name),
            op: self.records.len() as u32,
            work: kernel.work,
            when: kernel.when,
        });
        Ok(())
    }

    pub fn kernel(&self, name: &str) -> Result<u64> {
        let name = CString::new(name).map_err(|_| Status::Internal)?;
        self.device.kernel(&name)
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
