//! The units of phases: what a plan's phases mean for a batch of steps.

use super::kernels::{Attention, Kernels, Product};
use super::plan::{
    ATTEND_ROWS, BLOCK_ROWS, Epilogue, Group, Heads, Item, Member, Phase, Plan, TILE_ROWS,
};
use crate::backend::table::{REALM_KV_PAGE_POSITIONS, realm_kv_layer, realm_op};
use crate::error::Status;
use crate::graph::exec::{self, Bound};
use crate::graph::kernels::{act, basic, norm, rope};
use crate::graph::op::{Code, Operand, param, param_dim, param_f32, src};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr;
use core::slice::{from_raw_parts, from_raw_parts_mut};

/// What work ends with.
pub type Outcome = Result<(), Status>;

/// Positions of a page.
const PAGE: usize = REALM_KV_PAGE_POSITIONS as usize;

/// Tiles of weight rows in a group.
fn group_tiles(group: &Group) -> usize {
    let tiles = |m: &Member| m.m.div_ceil(TILE_ROWS);
    match group.epilogue {
        Epilogue::Glu(..) => group.members.first().map_or(0, tiles),
        _ => group.members.iter().map(tiles).sum(),
    }
}

/// A thread's own memory.
pub struct Private {
    base: *mut u8,
    /// The group whose single row is prepared here.
    holds: usize,
}

/// A plan bound to the steps of a batch.
pub struct Batch<'a> {
    plan: &'a Plan,
    steps: &'a [Bound<'a>],
}

impl<'a> Batch<'a> {
    /// At least one step, at most [`MAX_STEPS`](super::plan::MAX_STEPS).
    pub fn new(plan: &'a Plan, steps: &'a [Bound<'a>]) -> Self {
        Self { plan, steps }
    }

    /// The most rows that a product has.
    pub fn most_rows(&self) -> usize {
        let rows = self.plan.groups.iter().map(|g| self.all_group_rows(g));
        rows.max().unwrap_or(0)
    }

    /// The steps.
    pub fn steps(&self) -> core::slice::Iter<'a, Bound<'a>> {
        self.steps.iter()
    }

    /// Thread `t`'s own memory.
    pub fn private(&self, t: usize) -> Private {
        let base = self
            .steps()
            .next()
            .map_or(ptr::null_mut(), |b| b.step.workspace.cast::<u8>());
        Private {
            // SAFETY: the workspace has room for as many threads as the plan says; callers ask for no more.
            base: unsafe { base.add(self.plan.private_at + t * self.plan.private_bytes) },
            holds: usize::MAX,
        }
    }

    /// Rows of all steps that an operation has.
    fn rows(&self, op: u32) -> usize {
        let rows = |b: &Bound<'_>| b.ops.get(op as usize).map_or(0, |op| b.rows(op));
        self.steps().map(rows).sum()
    }

    fn group_rows(&self, bound: &Bound<'_>, group: &Group) -> usize {
        let op = group
            .members
            .first()
            .and_then(|m| bound.ops.get(m.op as usize));
        op.map_or(0, |op| bound.rows(op))
    }

    fn all_group_rows(&self, group: &Group) -> usize {
        self.steps().map(|b| self.group_rows(b, group)).sum()
    }

    /// What is computed with.
    pub fn kernels(&self) -> &Kernels {
        &self.plan.kernels
    }

    /// Where a step's prepared rows begin.
    pub fn rows_area(&self, bound: &Bound<'_>) -> *mut u8 {
        // SAFETY: inside the workspace.
        unsafe { bound.step.workspace.cast::<u8>().add(self.plan.rows_at) }
    }

    /// The kernels' scratch of a thread.
    pub fn scratch(&self, private: &Private) -> *mut u8 {
        // SAFETY: inside the thread's own memory.
        unsafe { private.base.add(self.plan.scratch_at) }
    }

    /// The step that a row of all belongs to, and which of its rows it is.
    pub fn locate(
        &self,
        mut row: usize,
        rows: impl Fn(&Bound<'a>) -> usize,
    ) -> Option<(&'a Bound<'a>, usize)> {
        for b in self.steps() {
            let n = rows(b);
            if row < n {
                return Some((b, row));
            }
            row -= n;
        }
        None
    }

    /// Calls `f` for some of the rows of all steps.
    fn each_row(
        &self,
        rows: Range<usize>,
        count: impl Fn(&Bound<'a>) -> usize,
        mut f: impl FnMut(&'a Bound<'a>, usize),
    ) {
        let mut before = 0;
        for b in self.steps() {
            let n = count(b);
            for i in rows.start.max(before)..rows.end.min(before + n) {
                f(b, i - before);
            }
            before += n;
        }
    }

    fn item_op(&self, item: &Item) -> u32 {
        match *item {
            Item::Op(i) | Item::Rope(i, _) => i,
            Item::Angles(a) => self.plan.angles.get(a).map_or(0, |a| a.op),
        }
    }

    /// Whether heads are normalised, rotated, appended and attended by one thread each.
    fn single(&self, heads: &Heads) -> bool {
        let one = |b: &Bound<'_>| {
            b.ops
                .get(heads.op as usize)
                .is_none_or(|op| b.rows(op) <= 1)
        };
        self.steps().all(one)
    }

    fn layer<'b>(
        bound: &'b Bound<'_>,
        heads: &Heads,
    ) -> Option<(&'b realm_op, &'b realm_kv_layer)> {
        let op = bound.ops.get(heads.op as usize)?;
        Some((op, bound.kv_layer(src(op, 3))?))
    }

    fn attend_units(bound: &Bound<'_>, heads: &Heads) -> usize {
        Self::layer(bound, heads).map_or(0, |(op, layer)| {
            bound.rows(op).div_ceil(ATTEND_ROWS) * layer.n_head_kv as usize
        })
    }

    fn append_units(bound: &Bound<'_>, heads: &Heads) -> usize {
        Self::layer(bound, heads).map_or(0, |(op, layer)| {
            if bound.rows(op) == 0 {
                0
            } else {
                layer.n_head_kv as usize
            }
        })
    }

    /// How many units a phase has, and about what one costs in multiply-adds: as much as can be counted, where that is
    /// more than 32 bits hold.
    pub fn units(&self, phase: &Phase) -> (usize, usize) {
        let cols = |op: u32| {
            let b = self.steps().next();
            b.and_then(|b| Some(b.shape(Operand::of(b.ops.get(op as usize)?.dst)).0))
                .unwrap_or(1)
        };
        match phase {
            Phase::Rows(items) => {
                let Some(first) = items.first() else {
                    return (0, 1);
                };
                let cost = |op: u32| {
                    let b = self.steps().next();
                    let cost = b.and_then(|b| Some(exec::row_cost(b, b.ops.get(op as usize)?)));
                    cost.map_or(8, |cost| usize::try_from(cost).unwrap_or(usize::MAX))
                };
                let cost = items
                    .iter()
                    .fold(0usize, |sum, i| sum.saturating_add(cost(self.item_op(i))));
                (self.rows(self.item_op(first)), cost)
            }
            Phase::Prepare(g) => match self.plan.groups.get(*g) {
                Some(g) if g.row_bytes > 0 || g.norm.is_some() => match self.all_group_rows(g) {
                    1 => (0, 1),
                    n => (n, g.k.saturating_mul(4)),
                },
                _ => (0, 1),
            },
            Phase::Product(g) => {
                let Some(g) = self.plan.groups.get(*g) else {
                    return (0, 1);
                };
                let rows = self.all_group_rows(g);
                let twice = 1 + usize::from(matches!(g.epilogue, Epilogue::Glu(..)));
                let each = TILE_ROWS * (rows.min(BLOCK_ROWS) + 1) * twice;
                let cost = g.k.saturating_mul(each);
                (rows.div_ceil(BLOCK_ROWS) * group_tiles(g), cost)
            }
            Phase::PrepareExperts(x) => match self.plan.experts.get(*x) {
                Some(x) => x.prepare_units(self.rows(x.op)),
                None => (0, 1),
            },
            Phase::Experts(x) => match self.plan.experts.get(*x) {
                Some(x) => x.units(self.rows(x.op)),
                None => (0, 1),
            },
            Phase::HeadRows(h) => match self.plan.heads.get(*h) {
                Some(h) if !h.pre.is_empty() && !self.single(h) => {
                    (self.rows(h.op), cols(h.op).saturating_mul(8))
                }
                _ => (0, 1),
            },
            Phase::Append(h) => match self.plan.heads.get(*h) {
                Some(h) if h.appends && !self.single(h) => {
                    let rows = self.rows(h.op);
                    (
                        self.steps().map(|b| Self::append_units(b, h)).sum(),
                        rows.saturating_mul(64),
                    )
                }
                _ => (0, 1),
            },
            Phase::Attend(h) => {
                let Some(h) = self.plan.heads.get(*h) else {
                    return (0, 1);
                };
                let units = self.steps().map(|b| Self::attend_units(b, h)).sum();
                let cost = |b: &Bound<'_>| {
                    let (op, layer) = Self::layer(b, h)?;
                    let keys = param_dim(op, 0, &b.registers) as usize + b.rows(op);
                    let group = param(op, 1) as usize / (layer.n_head_kv as usize).max(1);
                    let dims = (layer.head_dim_k + layer.head_dim_v) as usize;
                    let rows = b.rows(op).min(ATTEND_ROWS);
                    let each = keys.saturating_mul(group).saturating_mul(dims);
                    Some(each.saturating_mul(rows))
                };
                (units, self.steps().filter_map(cost).max().unwrap_or(1))
            }
        }
    }

    /// Does some units of a phase.
    ///
    /// # Safety
    /// Earlier phases are finished, and nobody else does these units or uses `private`.
    pub unsafe fn run(&self, phase: &Phase, units: Range<usize>, private: &mut Private) -> Outcome {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match phase {
                Phase::Rows(items) => {
                    let op = items.first().map_or(0, |i| self.item_op(i));
                    for unit in units {
                        let rows =
                            |b: &Bound<'_>| b.ops.get(op as usize).map_or(0, |op| b.rows(op));
                        let (bound, i) = self.locate(unit, rows).ok_or(Status::Internal)?;
                        for item in items {
                            self.item(bound, item, i)?;
                        }
                    }
                    Ok(())
                }
                Phase::Prepare(g) => {
                    let group = self.plan.groups.get(*g).ok_or(Status::Internal)?;
                    for unit in units {
                        let (bound, i) = self
                            .locate(unit, |b| self.group_rows(b, group))
                            .ok_or(Status::Internal)?;
                        let row = self.prepared(bound, group, i);
                        self.prepare(bound, group, i, private, row)?;
                    }
                    Ok(())
                }
                Phase::Product(g) => self.product(*g, units, private),
                Phase::PrepareExperts(x) => {
                    let experts = self.plan.experts.get(*x).ok_or(Status::Internal)?;
                    self.prepare_experts(experts, units)
                }
                Phase::Experts(x) => {
                    let experts = self.plan.experts.get(*x).ok_or(Status::Internal)?;
                    self.multiply_experts(experts, units, private)
                }
                Phase::HeadRows(h) => {
                    let heads = self.plan.heads.get(*h).ok_or(Status::Internal)?;
                    for unit in units {
                        let rows =
                            |b: &Bound<'_>| b.ops.get(heads.op as usize).map_or(0, |op| b.rows(op));
                        let (bound, i) = self.locate(unit, rows).ok_or(Status::Internal)?;
                        self.pre(bound, heads, i, None)?;
                    }
                    Ok(())
                }
                Phase::Append(h) => {
                    let heads = self.plan.heads.get(*h).ok_or(Status::Internal)?;
                    for unit in units {
                        let (bound, head) = self
                            .locate(unit, |b| Self::append_units(b, heads))
                            .ok_or(Status::Internal)?;
                        self.append(bound, heads, head)?;
                    }
                    Ok(())
                }
                Phase::Attend(h) => {
                    let heads = self.plan.heads.get(*h).ok_or(Status::Internal)?;
                    for unit in units {
                        let (bound, unit) = self
                            .locate(unit, |b| Self::attend_units(b, heads))
                            .ok_or(Status::Internal)?;
                        self.attend(bound, heads, unit, private)?;
                    }
                    Ok(())
                }
            }
        }
    }

    unsafe fn item(&self, bound: &Bound<'a>, item: &Item, i: usize) -> Outcome {
        match *item {
            Item::Op(op) => {
                let op = bound.ops.get(op as usize).ok_or(Status::Internal)?;
                exec::rows(bound, op, i..i + 1)
            }
            Item::Angles(a) => {
                let angles = self.plan.angles.get(a).ok_or(Status::Internal)?;
                let op = bound.ops.get(angles.op as usize).ok_or(Status::Internal)?;
                let position = param_dim(op, 0, &bound.registers).wrapping_add(i as u32);
                // SAFETY: the table has a row for each of the operation's; this thread alone fills this one.
                let row =
                    unsafe { from_raw_parts_mut(self.angles(bound, a, i), angles.params.n_dims) };
                rope::rope_table(&angles.params, &angles.rates, position, row);
                Ok(())
            }
            Item::Rope(op, a) => {
                let op = bound.ops.get(op as usize).ok_or(Status::Internal)?;
                let dst = Operand::of(op.dst);
                // SAFETY: unit `i` owns row `i`; the source is another operand or the same row.
                unsafe {
                    let to = bound.row_mut::<f32>(dst, i);
                    if op.src.first() != Some(&op.dst) {
                        to.copy_from_slice(bound.row::<f32>(src(op, 0), i));
                    }
                    self.rotate(bound, op, a, i, to);
                }
                Ok(())
            }
        }
    }

    fn angles(&self, bound: &Bound<'_>, a: usize, row: usize) -> *mut f32 {
        let angles = self.plan.angles.get(a);
        let at = angles.map_or(0, |a| a.offset + row * a.params.n_dims * 4);
        // SAFETY: inside the workspace.
        unsafe { bound.step.workspace.cast::<u8>().add(at).cast() }
    }

    /// Turns heads of row `i`.
    unsafe fn rotate(
        &self,
        bound: &Bound<'_>,
        op: &realm_op,
        a: usize,
        i: usize,
        heads: &mut [f32],
    ) {
        let dims = self.plan.angles.get(a).map_or(0, |a| a.params.n_dims);
        // SAFETY: filled by an earlier phase.
        let table = unsafe { from_raw_parts(self.angles(bound, a, i).cast_const(), dims) };
        rope::rope_row(heads, param(op, 1) as usize, op.flags & 1 != 0, table);
    }

    /// Where a prepared row of a step is.
    fn prepared(&self, bound: &Bound<'_>, group: &Group, i: usize) -> *mut u8 {
        // SAFETY: inside the workspace.
        unsafe { self.rows_area(bound).add(i * group.row_bytes) }
    }

    /// Normalises and prepares row `i` of a group into `row`.
    unsafe fn prepare(
        &self,
        bound: &Bound<'_>,
        group: &Group,
        i: usize,
        private: &Private,
        row: *mut u8,
    ) -> Outcome {
        // SAFETY: the thread's own memory is as large as planned; the source is not being written.
        unsafe {
            let mut x: &[f32] = bound.row::<f32>(group.source, i);
            if let Some(n) = group.norm {
                let op = bound.ops.get(n as usize).ok_or(Status::Internal)?;
                let to = from_raw_parts_mut(private.base.cast::<f32>(), x.len());
                to.copy_from_slice(x);
                let (w, b) = (
                    bound.weight_bytes(src(op, 1)),
                    bound.weight_bytes(src(op, 2)),
                );
                let size = match param(op, 1) as usize {
                    0 => x.len(),
                    size => size,
                };
                if op.code == Code::RmsNorm as u16 {
                    norm::rms_norm(to, w, size, param_f32(op, 0));
                } else {
                    norm::layer_norm(to, w, b, size, param_f32(op, 0));
                }
                x = to;
            }
            for member in &group.members {
                if let Some(Some(at)) = group.forms.get(member.kind as usize) {
                    let first = group.members.iter().find(|m| m.kind == member.kind);
                    if first.is_some_and(|m| m.op == member.op) {
                        (self.plan.kernels.prepare_act)(member.kind, x, row.add(*at));
                    }
                }
            }
        }
        Ok(())
    }

    unsafe fn product(&self, g: usize, units: Range<usize>, private: &mut Private) -> Outcome {
        let plan = self.plan;
        let group = plan.groups.get(g).ok_or(Status::Internal)?;
        let all = self.all_group_rows(group);
        let single = all == 1;
        if single && private.holds != g && (group.row_bytes > 0 || group.norm.is_some()) {
            let (bound, i) = self
                .locate(0, |b| self.group_rows(b, group))
                .ok_or(Status::Internal)?;
            // SAFETY: as planned, and the caller's promise.
            unsafe { self.prepare(bound, group, i, private, private.base.add(plan.row_at))? };
            private.holds = g;
        }
        let tiles = group_tiles(group).max(1);
        // Units of one block of rows after the other.
        for block in units.start / tiles..units.end.div_ceil(tiles) {
            let first = block * tiles;
            let of_block = units.start.max(first) - first..units.end.min(first + tiles) - first;
            let rows = block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(all);
            // SAFETY: the caller's promise.
            unsafe { self.product_block(group, of_block, rows, private, single)? };
        }
        Ok(())
    }

    /// Tiles of a group for one block of rows.
    unsafe fn product_block(
        &self,
        group: &Group,
        tiles: Range<usize>,
        rows: Range<usize>,
        private: &Private,
        single: bool,
    ) -> Outcome {
        let columns =
            |tiles: Range<usize>, m: usize| tiles.start * TILE_ROWS..(tiles.end * TILE_ROWS).min(m);
        if let Epilogue::Glu(..) = group.epilogue {
            let columns = columns(tiles, group.members.first().map_or(0, |m| m.m));
            for member in &group.members {
                // SAFETY: the caller's promise.
                unsafe {
                    self.multiply(
                        group,
                        member,
                        columns.clone(),
                        rows.clone(),
                        private,
                        single,
                    )?
                };
            }
            return self.epilogue(group, columns, rows);
        }
        let mut before = 0;
        for member in &group.members {
            let own = before..before + member.m.div_ceil(TILE_ROWS);
            let (a, b) = (tiles.start.max(own.start), tiles.end.min(own.end));
            if a < b {
                let columns = columns(a - before..b - before, member.m);
                // SAFETY: the caller's promise.
                unsafe {
                    self.multiply(
                        group,
                        member,
                        columns.clone(),
                        rows.clone(),
                        private,
                        single,
                    )?
                };
                self.epilogue(group, columns, rows.clone())?;
            }
            before = own.end;
        }
        Ok(())
    }

    /// Columns of one product, for some rows of all steps', at most [`BLOCK_ROWS`].
    unsafe fn multiply(
        &self,
        group: &Group,
        member: &Member,
        columns: Range<usize>,
        rows: Range<usize>,
        private: &Private,
        single: bool,
    ) -> Outcome {
        let plan = self.plan;
        let form = group.forms.get(member.kind as usize).copied().flatten();
        let lead = self.steps().next().ok_or(Status::Internal)?;
        let op = lead.ops.get(member.op as usize).ok_or(Status::Internal)?;
        let (dst, cols) = (Operand::of(op.dst), lead.shape(Operand::of(op.dst)).0);
        // Not initialised, because one row is the usual case and this is called for each product of each token.
        let mut from = [MaybeUninit::<*const u8>::uninit(); BLOCK_ROWS];
        let mut to = [MaybeUninit::<*mut f32>::uninit(); BLOCK_ROWS];
        let mut n = 0;
        self.each_row(
            rows,
            |b| self.group_rows(b, group),
            |bound, i| {
                if let (Some(from), Some(to)) = (from.get_mut(n), to.get_mut(n)) {
                    // SAFETY: rows of the source, the workspace, and the destination.
                    unsafe {
                        from.write(match form {
                            None => bound.base(group.source).add(i * group.k * 4).cast_const(),
                            Some(at) if single => private.base.add(plan.row_at + at).cast_const(),
                            Some(at) => self.prepared(bound, group, i).add(at).cast_const(),
                        });
                        to.write(bound.base(dst).cast::<f32>().add(i * cols));
                    }
                    n += 1;
                }
            },
        );
        // SAFETY: the first `n` have been written.
        let (act, dst) = unsafe {
            (
                from_raw_parts(from.as_ptr().cast(), n),
                from_raw_parts(to.as_ptr().cast(), n),
            )
        };
        let product = Product {
            ty: member.ty,
            w: lead.weight_bytes(src(op, 0)).ok_or(Status::Internal)?,
            k: group.k,
            m: member.m,
            act,
            dst,
            bias: lead.weight_bytes(src(op, 2)),
        };
        // SAFETY: rows are prepared, the columns and the scratch are this thread's.
        unsafe { (plan.kernels.product)(&product, columns, self.scratch(private)) };
        Ok(())
    }

    /// What follows on the columns just computed.
    fn epilogue(&self, group: &Group, columns: Range<usize>, rows: Range<usize>) -> Outcome {
        let op = match group.epilogue {
            Epilogue::None => return Ok(()),
            Epilogue::Add(op) | Epilogue::Glu(op, _) | Epilogue::Copy(op) => op,
        };
        let lead = self.steps().next().ok_or(Status::Internal)?;
        let op = lead.ops.get(op as usize).ok_or(Status::Internal)?;
        let cols = lead.shape(Operand::of(op.dst)).0;
        self.each_row(
            rows,
            |b| self.group_rows(b, group),
            |bound, i| {
                let part = |o: Operand| {
                    // SAFETY: inside the value's row.
                    unsafe { bound.base(o).cast::<f32>().add(i * cols + columns.start) }
                };
                if let Epilogue::Copy(_) = group.epilogue {
                    let (to, from) = (part(Operand::of(op.dst)), part(src(op, 0)));
                    // SAFETY: these columns are this thread's; a buffer is no value.
                    unsafe { ptr::copy_nonoverlapping(from, to, columns.len()) };
                    return;
                }
                let (to, a, b) = (
                    part(Operand::of(op.dst)),
                    part(src(op, 0)),
                    part(src(op, 1)),
                );
                // SAFETY: these columns of the three are this thread's; they are the same or apart, as the plan made sure.
                unsafe {
                    if to == b {
                        // x + y is y + x, bit for bit (a NaN stays a NaN). GLU is never planned so.
                        basic::add(
                            from_raw_parts_mut(to, columns.len()),
                            from_raw_parts(a, columns.len()),
                        );
                        return;
                    }
                    if to != a {
                        ptr::copy_nonoverlapping(a, to, columns.len());
                    }
                    let (to, b) = (
                        from_raw_parts_mut(to, columns.len()),
                        from_raw_parts(b, columns.len()),
                    );
                    match group.epilogue {
                        Epilogue::Glu(_, kind) => act::glu(kind, to, b),
                        _ => basic::add(to, b),
                    }
                }
            },
        );
        Ok(())
    }

    /// Norms and rotations of row `i`: of all heads, or of those that belong to one KV head.
    unsafe fn pre(
        &self,
        bound: &Bound<'a>,
        heads: &Heads,
        i: usize,
        one: Option<usize>,
    ) -> Outcome {
        let (attn, layer) = Self::layer(bound, heads).ok_or(Status::Internal)?;
        let (dk, kv) = (layer.head_dim_k as usize, (layer.n_head_kv as usize).max(1));
        let group = param(attn, 1) as usize / kv;
        for pre in &heads.pre {
            let (Item::Op(op) | Item::Rope(op, _)) = pre.item else {
                continue;
            };
            let op = bound.ops.get(op as usize).ok_or(Status::Internal)?;
            let each = if pre.on_k { 1 } else { group } * dk;
            let span = match one {
                Some(head) => head * each..(head + 1) * each,
                None => 0..kv * each,
            };
            let cols = bound.shape(Operand::of(op.dst)).0;
            // SAFETY: these heads of the row are this thread's.
            let part = unsafe {
                let row = bound.base(Operand::of(op.dst)).cast::<f32>().add(i * cols);
                from_raw_parts_mut(row.add(span.start), span.len())
            };
            match pre.item {
                // SAFETY: as above.
                Item::Rope(_, a) => unsafe { self.rotate(bound, op, a, i, part) },
                _ => norm::rms_norm(part, bound.weight_bytes(src(op, 1)), dk, param_f32(op, 0)),
            }
        }
        Ok(())
    }

    /// Appends all rows of one KV head.
    unsafe fn append(&self, bound: &Bound<'_>, heads: &Heads, head: usize) -> Outcome {
        let (op, layer) = Self::layer(bound, heads).ok_or(Status::Internal)?;
        let layout = exec::layout(layer)?;
        let (dk, dv) = layout.head_dims();
        let rows = bound.rows(op);
        let first = param_dim(op, 0, &bound.registers) as usize;
        let (k, v) = (src(op, 1), src(op, 2));
        let (k_cols, v_cols) = (bound.shape(k).0, bound.shape(v).0);
        let mut i = 0;
        while i < rows {
            let (page, slot) = ((first + i) / PAGE, (first + i) % PAGE);
            let count = (PAGE - slot).min(rows - i);
            // SAFETY: the core has made every page that the step writes; this head of them is this thread's.
            unsafe {
                let table = &*bound.step.kv_tables.add(layer.group as usize);
                let page = (*table.pages.add(page)).cast::<u8>();
                if page.is_null() {
                    return Err(Status::Internal);
                }
                (self.plan.kernels.append)(
                    &layout,
                    page.add(layer.offset as usize),
                    slot..slot + count,
                    bound.base(k).cast::<f32>().add(i * k_cols + head * dk),
                    k_cols,
                    bound.base(v).cast::<f32>().add(i * v_cols + head * dv),
                    v_cols,
                    head,
                );
            }
            i += count;
        }
        Ok(())
    }

    unsafe fn attend(
        &self,
        bound: &Bound<'a>,
        heads: &Heads,
        unit: usize,
        private: &Private,
    ) -> Outcome {
        let (op, layer) = Self::layer(bound, heads).ok_or(Status::Internal)?;
        let kv = (layer.n_head_kv as usize).max(1);
        let rows = bound.rows(op);
        // The last rows see the most keys: they go first, so that threads end together.
        let (block, head) = (rows.div_ceil(ATTEND_ROWS) - 1 - unit / kv, unit % kv);
        if self.single(heads) {
            // SAFETY: the caller's promise.
            unsafe {
                self.pre(bound, heads, 0, Some(head))?;
                if heads.appends {
                    self.append(bound, heads, head)?;
                }
            }
        }
        let layout = exec::layout(layer)?;
        // SAFETY: pages up to the last position exist; the table holds their addresses.
        let pages = unsafe {
            let table = &*bound.step.kv_tables.add(layer.group as usize);
            from_raw_parts(table.pages.cast::<*const u8>(), table.page_count as usize)
        };
        let attention = Attention {
            layout: &layout,
            n_head: param(op, 1) as usize,
            scale: param_f32(op, 2),
            window: param(op, 3),
            softcap: param_f32(op, 4),
            sinks: bound.weight_bytes(src(op, 4)),
            pages,
            offset: layer.offset as usize,
            first: param_dim(op, 0, &bound.registers),
            all: (op.flags & exec::NOT_CAUSAL != 0)
                .then(|| param_dim(op, 0, &bound.registers) + rows.saturating_sub(1) as u32),
            q: bound.base(src(op, 0)).cast(),
            dst: bound.base(Operand::of(op.dst)).cast(),
        };
        let block = block * ATTEND_ROWS..((block + 1) * ATTEND_ROWS).min(rows);
        // SAFETY: these heads of these rows, and the scratch, are this thread's; pages are not written now.
        unsafe {
            (self.plan.kernels.attend)(&attention, block, head..head + 1, self.scratch(private));
        }
        Ok(())
    }
}
