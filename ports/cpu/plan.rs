//! From recorded operations to phases: what is fused, and where things lie in the workspace.
//!
//! A phase is a number of units that may run in any order and on any thread; between phases everything is finished.
//! Fusing never changes an operation's arithmetic, only where its inputs are when it runs:
//!
//! - products that read the same value are one phase (q, k, v; gate, up), and the norm before them is computed by
//!   whoever needs it: once per thread for one row, by a phase of its own for many;
//! - `act(gate) * up` and the addition of the residual are done on the columns just computed;
//! - norms and rotations of q and k, the append to the cache and attention are one phase for one row: KV heads are
//!   independent;
//! - row-wise operations in a row are one phase, row by row;
//! - angles are computed once per position and step, not per layer.
//!
//! Values that die share memory, so a fused operation could overwrite what another thread still reads; [`Memory`] is
//! asked before anything is fused.

use super::experts::Experts;
use super::kernels::Kernels;
use crate::backend::table::{realm_op, realm_program};
use crate::error::{Result, try_vec};
use crate::graph::exec::{self, Bound};
use crate::graph::kernels::act::Act;
use crate::graph::kernels::matmul::{ActKind, act_kind};
use crate::graph::kernels::rope::{RopeParams, rope_rates};
use crate::graph::op::{Code, Operand, TYPE_F32, param, src};
use crate::quant::GgmlType;
use crate::{bail, err};
use alloc::vec::Vec;

/// Weight rows in a unit of a product: what a register tile of the widest level computes.
pub const TILE_ROWS: usize = 16;
/// Steps of a batch that are computed together.
pub const MAX_STEPS: usize = 16;
/// Activation rows that weights are multiplied with at once: what stays in a core's second cache while weights pass by,
/// and many enough that unpacking the weights again for the next does not show.
pub const BLOCK_ROWS: usize = 128;
/// Query rows in a unit of attention.
pub const ATTEND_ROWS: usize = 64;

/// What a thread does between two synchronisations.
pub enum Phase {
    /// Row-wise operations, one after another on each row. Unit: a row.
    Rows(Vec<Item>),
    /// Prepares the rows that a group multiplies, where there are several. Unit: a row.
    Prepare(usize),
    /// Products. Unit: `TILE_ROWS` weight rows.
    Product(usize),
    /// Prepares what a MUL_MAT_ID multiplies. Unit: a part of a row.
    PrepareExperts(usize),
    /// A MUL_MAT_ID. Unit: see [`super::experts`].
    Experts(usize),
    /// Norms and rotations of q and k, where there are several rows. Unit: a row.
    HeadRows(usize),
    /// Appends to the cache, where there are several rows. Unit: a KV head.
    Append(usize),
    /// Attention. Unit: a block of rows and a KV head.
    Attend(usize),
}

/// A row-wise operation.
#[derive(Clone, Copy)]
pub enum Item {
    /// The reference's.
    Op(u32),
    /// Fills a row of a table of angles.
    Angles(usize),
    /// Rotation by a table.
    Rope(u32, usize),
}

/// A table of angles, `[rows][n_dims]` in the workspace: cosines, then sines.
pub struct Angles {
    /// The first operation that uses it: rows and positions are taken from it.
    pub op: u32,
    /// Its parameters.
    pub params: RopeParams,
    /// Radians per position.
    pub rates: Vec<f64>,
    /// Where it is in the workspace.
    pub offset: usize,
    rows: u32,
}

/// One product of a group.
pub struct Member {
    /// The operation.
    pub op: u32,
    /// Type of its weights.
    pub ty: GgmlType,
    /// Form of its activations.
    pub kind: ActKind,
    /// Rows of its weights.
    pub m: usize,
}

/// What is done to the columns just computed.
#[derive(Clone, Copy)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// This ADD.
    Add(u32),
    /// This GLU, of the two members.
    Glu(u32, Act),
    /// This CPY, of the product's rows to another operand's first.
    Copy(u32),
}

/// Products of one input.
pub struct Group {
    /// The norm that makes the input, if it is computed here.
    pub norm: Option<u32>,
    /// What is read: the norm's input, or the products'.
    pub source: Operand,
    /// Elements of a row of it.
    pub k: usize,
    /// Where each form lies in a prepared row, by `kind as usize`.
    pub forms: [Option<usize>; 3],
    /// Bytes of a prepared row; 0 if rows are used where they are.
    pub row_bytes: usize,
    /// The products.
    pub members: Vec<Member>,
    /// What follows.
    pub epilogue: Epilogue,
}

/// An operation on the heads of q or k before attention.
pub struct Pre {
    /// What.
    pub item: Item,
    /// Whether on k.
    pub on_k: bool,
}

/// Attention and what precedes it.
pub struct Heads {
    /// The operation.
    pub op: u32,
    /// Norms and rotations, in order.
    pub pre: Vec<Pre>,
    /// Whether it appends.
    pub appends: bool,
}

/// A plan.
pub struct Plan {
    /// What was planned.
    pub program: *const realm_program,
    /// What it is computed with.
    pub kernels: Kernels,
    /// In order.
    pub phases: Vec<Phase>,
    /// By index in [`Phase::Product`].
    pub groups: Vec<Group>,
    /// By index in [`Phase::Experts`].
    pub experts: Vec<Experts>,
    /// Multiply-adds with weights for one row.
    pub row_cost: u64,
    /// By index in [`Phase::Attend`].
    pub heads: Vec<Heads>,
    /// By index in [`Item::Angles`].
    pub angles: Vec<Angles>,
    /// Where prepared rows begin in the workspace.
    pub rows_at: usize,
    /// Where threads' own memory begins, and how much each has: a normalised row, a prepared row, then the kernels'.
    pub private_at: usize,
    /// Bytes of each thread's.
    pub private_bytes: usize,
    /// Where the kernels' scratch begins in it.
    pub scratch_at: usize,
    /// Where the prepared row begins in it.
    pub row_at: usize,
    /// Threads that there is memory for.
    pub threads: usize,
    /// All of it.
    pub workspace_bytes: usize,
}

/// Where values lie, to see what shares memory.
struct Memory<'a>(&'a Bound<'a>);

impl Memory<'_> {
    fn span(&self, o: Operand) -> Option<(u64, u64)> {
        let v = self.0.value(o)?;
        let bytes = u64::from(v.max_rows) * u64::from(v.cols) * 4;
        Some((v.offset, v.offset + bytes))
    }

    /// Whether two different operands may share memory.
    fn overlap(&self, a: Operand, b: Operand) -> bool {
        match (a, b) {
            (Operand::Value(_), Operand::Value(_)) => match (self.span(a), self.span(b)) {
                (Some((a0, a1)), Some((b0, b1))) => a != b && a0 < b1 && b0 < a1,
                _ => true,
            },
            (Operand::Buffer(a), Operand::Buffer(b)) => a == b,
            _ => false,
        }
    }
}

/// What an operation reads and writes besides weights and caches.
fn operands(op: &realm_op) -> (impl Iterator<Item = Operand> + '_, [Operand; 2]) {
    let second = if op.code == Code::TopK as u16 {
        src(op, 1)
    } else {
        Operand::None
    };
    let reads = op.src.iter().map(|&bits| Operand::of(bits));
    let reads = reads.filter(|o| matches!(o, Operand::Value(_) | Operand::Buffer(_)));
    (reads, [Operand::of(op.dst), second])
}

/// Tables of angles that a ROPE may share, row-wise operations of a phase, and products of a group: far more than models
/// have, and few enough that planning takes a time proportional to the program.
const RECENT_TABLES: usize = 32;
const MAX_ITEMS: usize = 64;
const MAX_MEMBERS: usize = 64;

struct Planner<'a> {
    bound: &'a Bound<'a>,
    kernels: Kernels,
    plan: Plan,
    /// ROPEs in order, and the table of each.
    tables: Vec<(u32, u32)>,
    /// Largest prepared row times rows, and what a thread needs.
    rows_bytes: usize,
    norm_bytes: usize,
    row_bytes: usize,
    scratch_bytes: usize,
}

fn push<T>(to: &mut Vec<T>, item: T) -> Result<()> {
    to.try_reserve(1)
        .map_err(|_| err!(NoMemory, "no memory for a plan"))?;
    to.push(item);
    Ok(())
}

fn round(bytes: usize) -> Result<usize> {
    bytes
        .checked_next_multiple_of(128)
        .ok_or_else(|| err!(NoMemory, "a workspace that cannot be addressed"))
}

/// Plans `count` operations from `first` on, for at most `threads` threads.
///
/// # Safety
/// `program` is whole and outlives the plan.
pub unsafe fn plan(
    program: *const realm_program,
    first: u32,
    count: u32,
    threads: u32,
) -> Result<Plan> {
    // SAFETY: the caller's promise.
    let bound = unsafe { Bound::program(program) };
    let kernels = Kernels::current();
    let mut p = Planner {
        bound: &bound,
        kernels,
        plan: Plan {
            program,
            kernels,
            phases: Vec::new(),
            groups: Vec::new(),
            experts: Vec::new(),
            row_cost: 0,
            heads: Vec::new(),
            angles: Vec::new(),
            rows_at: 0,
            private_at: 0,
            private_bytes: 0,
            scratch_at: 0,
            row_at: 0,
            threads: threads.max(1) as usize,
            workspace_bytes: 0,
        },
        tables: Vec::new(),
        rows_bytes: 0,
        norm_bytes: 0,
        row_bytes: 0,
        scratch_bytes: 0,
    };
    p.all(first as usize, first.saturating_add(count) as usize)?;
    p.lay_out()?;
    Ok(p.plan)
}

impl Planner<'_> {
    fn op(&self, i: usize) -> Result<&realm_op> {
        self.bound
            .ops
            .get(i)
            .ok_or_else(|| err!(InvalidArgument, "operation {i} is not in the program"))
    }

    fn code(&self, i: usize) -> Option<Code> {
        Code::from_u16(self.bound.ops.get(i)?.code)
    }

    fn all(&mut self, first: usize, end: usize) -> Result<()> {
        // Angles depend on registers alone, so all tables are made at the beginning.
        for i in first..end {
            if self.code(i) == Some(Code::Rope) {
                self.table(i)?;
            }
        }
        for index in 0..self.plan.angles.len() {
            self.row_item(Item::Angles(index), None)?;
        }
        let mut i = first;
        while i < end {
            i = match self.code(i) {
                Some(Code::RmsNorm | Code::Norm) if self.norm_fuses(i, end)? => {
                    self.products(Some(i), i + 1, end)?
                }
                Some(Code::MulMat) => self.products(None, i, end)?,
                Some(Code::RmsNorm | Code::Rope | Code::FlashAttnExt) => {
                    match self.attention(i, end)? {
                        Ok(next) => next,
                        // Whoever begins in between finds the same in the way.
                        Err(stop) => {
                            for j in i..stop {
                                self.row_op(j)?;
                            }
                            self.row_op(stop)?
                        }
                    }
                }
                Some(Code::MulMatId) => self.experts(i)?,
                None => bail!(Unsupported, "operation {i}"),
                Some(_) => self.row_op(i)?,
            }
        }
        Ok(())
    }

    /// The table of angles of a ROPE, made if there is none yet.
    fn table(&mut self, i: usize) -> Result<usize> {
        let known = self.tables.binary_search_by_key(&(i as u32), |t| t.0);
        if let Some(&(_, table)) = known.ok().and_then(|at| self.tables.get(at)) {
            return Ok(table as usize);
        }
        let op = *self.op(i)?;
        let params = exec::rope_params(&op);
        let rows = self.rope_rows(&op);
        // All that angles depend on, bit for bit: position, parameters (but the length of a head), factors.
        let angles = |o: &realm_op| {
            let [first, _, rest @ ..] = o.param;
            (first, rest, o.src.get(1).copied())
        };
        let bound = self.bound;
        let same = |a: &Angles| {
            let other = bound.ops.get(a.op as usize);
            a.rows == rows && other.is_some_and(|o| angles(o) == angles(&op))
        };
        // Models have a few tables. Looking at no more keeps a program of nothing but rotations from taking long.
        let recent = self.plan.angles.len().saturating_sub(RECENT_TABLES);
        let found = self.plan.angles.iter().skip(recent).position(same);
        if let Some(found) = found {
            push(&mut self.tables, (i as u32, (recent + found) as u32))?;
            return Ok(recent + found);
        }
        let mut rates = try_vec(params.n_dims / 2, "angles")?;
        rates.resize(params.n_dims / 2, 0.0);
        rope_rates(&params, bound.weight_bytes(src(&op, 1)), &mut rates);
        let angles = Angles {
            op: i as u32,
            params,
            rates,
            offset: 0,
            rows,
        };
        let index = self.plan.angles.len();
        push(&mut self.plan.angles, angles)?;
        push(&mut self.tables, (i as u32, index as u32))?;
        Ok(index)
    }

    /// The rows that a ROPE works on, as a packed dim: without a value, its destination's.
    fn rope_rows(&self, op: &realm_op) -> u32 {
        let dst = Operand::of(op.dst);
        let value = self
            .bound
            .value(dst)
            .or_else(|| self.bound.value(src(op, 0)));
        value.map_or_else(|| self.bound.shape(dst).1 as u32, |v| v.rows)
    }

    /// An operation by itself, joined with the row-wise ones before it where that is safe.
    fn row_op(&mut self, i: usize) -> Result<usize> {
        let item = match self.code(i) {
            Some(Code::Rope) => Item::Rope(i as u32, self.table(i)?),
            _ => Item::Op(i as u32),
        };
        self.row_item(item, Some(i))?;
        Ok(i + 1)
    }

    fn row_item(&mut self, item: Item, op: Option<usize>) -> Result<()> {
        let rows = |item: &Item| match *item {
            Item::Op(i) | Item::Rope(i, _) => self.rows_key(i as usize),
            Item::Angles(a) => self
                .plan
                .angles
                .get(a)
                .and_then(|a| self.rows_key(a.op as usize)),
        };
        let key = rows(&item);
        let joins = match self.plan.phases.last() {
            Some(Phase::Rows(before)) => {
                key.is_some()
                    && before.len() < MAX_ITEMS
                    && before.iter().all(|b| rows(b) == key)
                    && op.is_none_or(|i| before.iter().all(|b| self.independent(b, i)))
                    && before
                        .iter()
                        .all(|b| !matches!((b, &item), (Item::Angles(_), Item::Rope(..))))
            }
            _ => false,
        };
        match self.plan.phases.last_mut() {
            Some(Phase::Rows(before)) if joins => push(before, item),
            _ => {
                let mut items = Vec::new();
                push(&mut items, item)?;
                push(&mut self.plan.phases, Phase::Rows(items))
            }
        }
    }

    /// What decides how many rows an operation has, as a packed dim; none where two of them are not to be joined.
    fn rows_key(&self, i: usize) -> Option<u32> {
        let op = self.bound.ops.get(i)?;
        match Code::from_u16(op.code)? {
            Code::Cpy => Some(param(op, 2)),
            // A convolution reads the rows before its own, so those must be whole.
            Code::TopK | Code::LogitBias | Code::Penalties | Code::Mask => None,
            // A scan's units are no rows.
            Code::SsmConv | Code::SsmScan => None,
            Code::GetRows => self.bound.value(Operand::of(op.dst)).map(|v| v.rows),
            _ => {
                let all = [Operand::of(op.dst), src(op, 0), src(op, 1), src(op, 2)];
                let value = all.into_iter().find_map(|o| self.bound.value(o));
                value.map(|v| v.rows)
            }
        }
    }

    /// Whether row `r` of operation `i` may run as soon as row `r` of `before` has.
    fn independent(&self, before: &Item, i: usize) -> bool {
        let Item::Op(b) = *before else {
            return !matches!(before, Item::Rope(..));
        };
        let (Some(first), Some(second)) = (self.bound.ops.get(b as usize), self.bound.ops.get(i))
        else {
            return false;
        };
        let moves = |op: &realm_op| matches!(Code::from_u16(op.code), Some(Code::Cpy));
        let gathers = |op: &realm_op| matches!(Code::from_u16(op.code), Some(Code::GetRows));
        let memory = Memory(self.bound);
        let (reads1, writes1) = operands(first);
        let reads1: [Option<Operand>; 10] = {
            let mut all = [None; 10];
            all.iter_mut().zip(reads1).for_each(|(to, o)| *to = Some(o));
            all
        };
        let (reads2, writes2) = operands(second);
        let shifted = moves(first) || moves(second);
        // Rows of one operand stay in step, unless one of the two moves rows or gathers from a list.
        let clash = |a: Operand, b: Operand| {
            memory.overlap(a, b)
                || a == b && a != Operand::None && (shifted || !matches!(a, Operand::Value(_)))
        };
        // Which rows of a list are read is up to a register: the list must be whole before, and stay until after.
        let lists = |op: &realm_op, writes: &[Operand; 2]| {
            let list = src(op, 1);
            gathers(op)
                && list != Operand::None
                && writes.iter().any(|&w| w == list || memory.overlap(w, list))
        };
        if lists(second, &writes1) || lists(first, &writes2) {
            return false;
        }
        let mut raw = false;
        for r in reads2 {
            raw |= writes1.iter().any(|&w| w != Operand::None && clash(w, r));
        }
        let war = |w: Operand| {
            w != Operand::None
                && (reads1.iter().flatten().any(|&r| clash(r, w))
                    || writes1.iter().any(|&v| v != Operand::None && clash(v, w)))
        };
        !raw && !writes2.iter().any(|&w| war(w))
    }

    /// Whether the norm at `i` is read by the products right behind it and by nobody else.
    fn norm_fuses(&self, i: usize, end: usize) -> Result<bool> {
        let op = self.op(i)?;
        let made = Operand::of(op.dst);
        if !matches!(made, Operand::Value(_)) || !matches!(src(op, 0), Operand::Value(_)) {
            return Ok(false);
        }
        let last = self.members_end(i + 1, end);
        if last == i + 1 || self.op(i + 1)?.src.get(1) != Some(&op.dst) {
            return Ok(false);
        }
        let mut later = self.bound.ops.iter().skip(last);
        Ok(!later.any(|op| {
            op.dst == self.bound.ops.get(i).map_or(0, |n| n.dst)
                || op.src.iter().any(|&s| Operand::of(s) == made)
        }))
    }

    /// One past the products from `i` on that read the same rows, as far as they make one group.
    fn members_end(&self, i: usize, end: usize) -> usize {
        let key = |i: usize| -> Option<(u32, u32)> {
            let op = self.bound.ops.get(i)?;
            (op.code == Code::MulMat as u16)
                .then(|| (op.src.get(1).copied().unwrap_or(0), self.bound.row_dim(op)))
        };
        let Some(first) = key(i) else { return i };
        let end = end.min(i + MAX_MEMBERS);
        (i..end).find(|&j| key(j) != Some(first)).unwrap_or(end)
    }

    /// A group of products from `i` on, behind its norm; returns what comes next.
    fn products(&mut self, norm: Option<usize>, i: usize, end: usize) -> Result<usize> {
        let mut last = self.members_end(i, end);
        let first = *self.op(i)?;
        let input = src(&first, 1);
        let source = match norm {
            Some(n) => src(self.op(n)?, 0),
            None => input,
        };
        let memory = Memory(self.bound);
        let free = |written: Operand| !memory.overlap(written, source) && written != source;
        // A destination over the source, or over another's destination, ends the group before it.
        let mut members: Vec<Member> = try_vec(last - i, "products")?;
        for j in i..last {
            let op = self.op(j)?;
            let ty = self
                .bound
                .weight(src(op, 0))
                .and_then(|w| Some((GgmlType::from_id(w.r#type)?, w.ne[1])));
            let (ty, m) = ty.ok_or_else(|| err!(Unsupported, "a weight of unknown type"))?;
            let dst = Operand::of(op.dst);
            let others = || {
                members
                    .iter()
                    .filter_map(|m| self.bound.ops.get(m.op as usize))
                    .map(|o| Operand::of(o.dst))
            };
            if j > i && (!free(dst) || others().any(|o| o == dst || memory.overlap(o, dst))) {
                last = j;
                break;
            }
            members.push(Member {
                op: j as u32,
                ty,
                kind: act_kind(ty),
                m: m as usize,
            });
        }
        let first_free = free(Operand::of(first.dst));
        if let Some(n) = norm
            && (!first_free || last < self.members_end(i, end))
        {
            // The norm cannot be put off: it runs where it stands, and the products read its result.
            self.row_op(n)?;
            return self.products(None, i, end);
        }
        let k = self.bound.shape(input).0;
        let rows = self.bound.max_rows(input).min(self.group_rows(&first)) as usize;
        // Rows that a product is given at once: of all steps of a batch.
        let together = rows.max(1).saturating_mul(MAX_STEPS).min(BLOCK_ROWS);
        // One product whose destination shares memory with its input cannot be: both are alive.
        let epilogue = self.epilogue(&members, last, end, source)?;
        let mut forms = [None; 3];
        let mut row_bytes = 0usize;
        for m in &members {
            let direct = m.kind == ActKind::F32
                && norm.is_none()
                && (k * 4).is_multiple_of(64)
                && matches!(source, Operand::Value(_));
            if let Some(form) = forms.get_mut(m.kind as usize)
                && form.is_none()
                && !direct
            {
                *form = Some(row_bytes);
                row_bytes = row_bytes.saturating_add((self.kernels.act_row_bytes)(m.kind, k));
            }
            let cost = (m.m as u64).saturating_mul(k as u64);
            self.plan.row_cost = self.plan.row_cost.saturating_add(cost);
            let scratch = (self.kernels.product_scratch_bytes)(m.ty, k, together);
            self.scratch_bytes = self.scratch_bytes.max(scratch);
        }
        if norm.is_some() {
            self.norm_bytes = self.norm_bytes.max(k.saturating_mul(4));
        }
        self.row_bytes = self.row_bytes.max(row_bytes);
        let all = rows
            .checked_mul(row_bytes)
            .ok_or_else(|| err!(NoMemory, "too many prepared rows"))?;
        self.rows_bytes = self.rows_bytes.max(all);
        let group = Group {
            norm: norm.map(|n| n as u32),
            source,
            k,
            forms,
            row_bytes,
            members,
            epilogue,
        };
        let index = self.plan.groups.len();
        push(&mut self.plan.groups, group)?;
        push(&mut self.plan.phases, Phase::Prepare(index))?;
        push(&mut self.plan.phases, Phase::Product(index))?;
        Ok(match epilogue {
            Epilogue::None => last,
            Epilogue::Add(op) | Epilogue::Glu(op, _) | Epilogue::Copy(op) => op as usize + 1,
        })
    }

    /// A MUL_MAT_ID; returns what comes next.
    fn experts(&mut self, i: usize) -> Result<usize> {
        let op = *self.op(i)?;
        let experts = Experts::new(self.bound, &self.kernels, i as u32, &op)?;
        let prepared = experts.prepared_bytes(self.bound.max_rows(src(&op, 1)))?;
        self.rows_bytes = self.rows_bytes.max(prepared);
        self.scratch_bytes = self.scratch_bytes.max(experts.scratch_bytes(&self.kernels));
        self.plan.row_cost = self.plan.row_cost.saturating_add(experts.row_cost());
        let index = self.plan.experts.len();
        push(&mut self.plan.experts, experts)?;
        push(&mut self.plan.phases, Phase::PrepareExperts(index))?;
        push(&mut self.plan.phases, Phase::Experts(index))?;
        Ok(i + 1)
    }

    fn group_rows(&self, op: &realm_op) -> u64 {
        let dst = Operand::of(op.dst);
        match self.bound.value(dst) {
            Some(v) => v.max_rows.into(),
            None => self.bound.max_rows(src(op, 1)),
        }
    }

    /// What can be done to columns as soon as they are there.
    fn epilogue(
        &self,
        members: &[Member],
        next: usize,
        end: usize,
        source: Operand,
    ) -> Result<Epilogue> {
        if next >= end {
            return Ok(Epilogue::None);
        }
        let op = self.op(next)?;
        if let (Some(Code::Cpy), [m]) = (Code::from_u16(op.code), members) {
            return Ok(self
                .copies(op, m, source)
                .map_or(Epilogue::None, |()| Epilogue::Copy(next as u32)));
        }
        let out = |m: &Member| {
            self.bound
                .ops
                .get(m.op as usize)
                .map_or(Operand::None, |o| Operand::of(o.dst))
        };
        let dst = Operand::of(op.dst);
        let (a, b) = (src(op, 0), src(op, 1));
        let memory = Memory(self.bound);
        let values = [dst, a, b].iter().all(|o| matches!(o, Operand::Value(_)));
        let rows = |o: Operand| self.bound.value(o).map(|v| (v.rows, v.cols));
        let like = rows(dst).is_some() && rows(dst) == rows(a) && rows(a) == rows(b);
        // Nothing that another thread may still read or write, but the same columns of the same value.
        let safe = |with: Operand| dst == with || !memory.overlap(dst, with);
        if !values || !like || dst == source || memory.overlap(dst, source) || !safe(a) || !safe(b)
        {
            return Ok(Epilogue::None);
        }
        Ok(match (Code::from_u16(op.code), members) {
            (Some(Code::Add), [m]) if (a == out(m)) != (b == out(m)) => Epilogue::Add(next as u32),
            (Some(Code::Glu), [x, y]) if a == out(x) && b == out(y) && x.m == y.m && a != b => {
                match Act::from_id(param(op, 0)) {
                    Some(act) => Epilogue::Glu(next as u32, act),
                    None => Epilogue::None,
                }
            }
            _ => Epilogue::None,
        })
    }

    /// Whether a CPY takes all of a product's rows, in their order and from the first, to a buffer: logits, most often,
    /// which are still in the nearest cache just after they were computed.
    fn copies(&self, op: &realm_op, m: &Member, source: Operand) -> Option<()> {
        let product = self.bound.ops.get(m.op as usize)?;
        let value = self.bound.value(Operand::of(product.dst))?;
        let whole = op.src.first() == Some(&product.dst) && param(op, 0) == 0 && param(op, 1) == 0;
        let to = Operand::of(op.dst);
        let apart = matches!(to, Operand::Buffer(_)) && to != source;
        (whole && apart && param(op, 2) == value.rows && value.r#type == TYPE_F32).then_some(())
    }

    /// Norms and rotations of q and k up to an attention, if that is what stands at `i`; returns what comes next, or
    /// up to which operation each is by itself.
    fn attention(&mut self, i: usize, end: usize) -> Result<core::result::Result<usize, usize>> {
        let is_attention = |j: &usize| self.code(*j) == Some(Code::FlashAttnExt);
        let between = |j: &usize| matches!(self.code(*j), Some(Code::RmsNorm | Code::Rope));
        let next = (i..end).find(|j| !between(j));
        let Some(at) = next.filter(is_attention) else {
            // The last may be the norm of products.
            return Ok(Err(next.unwrap_or(end).saturating_sub(2).max(i)));
        };
        let attn = *self.op(at)?;
        let (q, k) = (attn.src.first().copied(), attn.src.get(1).copied());
        let Some(layer) = self.bound.kv_layer(src(&attn, 3)).copied() else {
            bail!(Internal, "attention without a cache");
        };
        let mut pre = Vec::new();
        for j in i..at {
            let op = *self.op(j)?;
            let on_k = Some(op.dst) == k && k != Some(0);
            let in_place =
                op.src.first() == Some(&op.dst) && matches!(Operand::of(op.dst), Operand::Value(_));
            // ROPE's heads, or the norm's groups.
            let per_head = param(&op, 1) == layer.head_dim_k;
            if !in_place || !per_head || !(on_k || Some(op.dst) == q) || q == k {
                return Ok(Err(j));
            }
            let item = match Code::from_u16(op.code) {
                Some(Code::Rope) => Item::Rope(j as u32, self.table(j)?),
                _ => Item::Op(j as u32),
            };
            push(&mut pre, Pre { item, on_k })?;
        }
        let layout = exec::layout(&layer)
            .map_err(|e| err!(Unsupported, "a KV layer: status {}", e as i32))?;
        let rows = self.bound.max_rows(src(&attn, 0)).min(ATTEND_ROWS as u64) as usize;
        let scratch = (self.kernels.attend_scratch_bytes)(&layout, param(&attn, 1) as usize, rows);
        self.scratch_bytes = self.scratch_bytes.max(scratch);
        let heads = Heads {
            op: at as u32,
            pre,
            appends: src(&attn, 1) != Operand::None,
        };
        let index = self.plan.heads.len();
        push(&mut self.plan.heads, heads)?;
        for phase in [
            Phase::HeadRows(index),
            Phase::Append(index),
            Phase::Attend(index),
        ] {
            push(&mut self.plan.phases, phase)?;
        }
        Ok(Ok(at + 1))
    }

    fn lay_out(&mut self) -> Result<()> {
        let plan = &mut self.plan;
        let mut at = 0usize;
        for a in &mut plan.angles {
            a.offset = at;
            let rows = self
                .bound
                .ops
                .get(a.op as usize)
                .map_or(0, |op| self.bound.max_rows(Operand::of(op.dst)));
            at = round(
                (rows as usize)
                    .saturating_mul(a.params.n_dims * 4)
                    .saturating_add(at),
            )?;
        }
        plan.rows_at = at;
        plan.private_at = round(at.saturating_add(self.rows_bytes))?;
        plan.row_at = round(self.norm_bytes)?;
        plan.scratch_at = round(plan.row_at.saturating_add(self.row_bytes))?;
        // Apart by more than a line: neighbours prefetch in pairs.
        plan.private_bytes = round(plan.scratch_at.saturating_add(self.scratch_bytes))?;
        plan.workspace_bytes = plan
            .private_bytes
            .checked_mul(plan.threads)
            .and_then(|b| b.checked_add(plan.private_at))
            .ok_or_else(|| err!(NoMemory, "a workspace that cannot be addressed"))?;
        Ok(())
    }
}
