//! Products with the weights that each row names: MUL_MAT_ID.
//!
//! Rows that name the same expert are multiplied with it together, wherever they lie, so that its weights are read once
//! for all of them. A unit is some of an expert's weight rows for all that name it, or, where fewer parts of rows than
//! experts are in play (one token, most often), for one part of a row.

use super::kernels::{Kernels, Product};
use super::plan::{BLOCK_ROWS, TILE_ROWS};
use super::work::{Batch, Outcome, Private};
use crate::backend::table::realm_op;
use crate::error::{Result, Status};
use crate::graph::exec::Bound;
use crate::graph::kernels::matmul::{ActKind, act_kind};
use crate::graph::op::{Operand, src};
use crate::quant::GgmlType;
use crate::{bail, err};
use core::ops::Range;
use core::slice::from_raw_parts;

/// One such operation.
pub struct Experts {
    /// Which.
    pub op: u32,
    ty: GgmlType,
    kind: ActKind,
    /// Elements of a weight row, rows of an expert, experts.
    k: usize,
    m: usize,
    count: usize,
    /// Experts that a row names, and parts of an input row: as many, or one for all.
    used: usize,
    parts: usize,
    /// Bytes of a prepared part; 0 if they are used where they are.
    row_bytes: usize,
}

impl Experts {
    /// Plans an operation.
    pub fn new(bound: &Bound<'_>, kernels: &Kernels, index: u32, op: &realm_op) -> Result<Self> {
        let w = bound.weight(src(op, 0));
        let known = w.and_then(|w| Some((GgmlType::from_id(w.r#type)?, w.ne)));
        let Some((ty, [k, m, count, _])) = known else {
            bail!(Unsupported, "a weight of unknown type");
        };
        let kind = act_kind(ty);
        let (k, m, count) = (k as usize, m as usize, count as usize);
        let direct = kind == ActKind::F32
            && (k * 4).is_multiple_of(64)
            && matches!(src(op, 1), Operand::Value(_));
        Ok(Self {
            op: index,
            ty,
            kind,
            k,
            m,
            count,
            used: bound.used(op),
            parts: bound.parts(op).1,
            row_bytes: if direct {
                0
            } else {
                (kernels.act_row_bytes)(kind, k)
            },
        })
    }

    /// Bytes of prepared rows in a step's workspace, if there are at most so many rows.
    pub fn prepared_bytes(&self, rows: u64) -> Result<usize> {
        usize::try_from(rows)
            .ok()
            .and_then(|rows| rows.checked_mul(self.parts)?.checked_mul(self.row_bytes))
            .ok_or_else(|| err!(NoMemory, "too many prepared rows"))
    }

    /// Bytes of a thread's scratch memory.
    pub fn scratch_bytes(&self, kernels: &Kernels) -> usize {
        (kernels.product_scratch_bytes)(self.ty, self.k, BLOCK_ROWS)
    }

    /// Multiply-adds for one row.
    pub fn row_cost(&self) -> u64 {
        (self.m as u64)
            .saturating_mul(self.k as u64)
            .saturating_mul(self.used as u64)
    }

    fn tiles(&self) -> usize {
        self.m.div_ceil(TILE_ROWS)
    }

    /// Whether parts of rows are multiplied one by one.
    fn one_by_one(&self, rows: usize) -> bool {
        rows.saturating_mul(self.used) <= self.count
    }

    /// How many parts there are to prepare for so many rows, and what one costs.
    pub fn prepare_units(&self, rows: usize) -> (usize, usize) {
        match self.row_bytes {
            0 => (0, 1),
            _ => (rows * self.parts, self.k.saturating_mul(4)),
        }
    }

    /// How many units there are for so many rows, and about what one costs.
    pub fn units(&self, rows: usize) -> (usize, usize) {
        let products = rows.saturating_mul(self.used);
        let (groups, each) = match self.one_by_one(rows) {
            true => (products, 1),
            false => (self.count, products.div_ceil(self.count.max(1))),
        };
        let cost = self
            .k
            .saturating_mul(TILE_ROWS * (each.min(BLOCK_ROWS) + 1));
        (groups * self.tiles(), cost)
    }
}

/// Rows that are multiplied together.
struct Rows {
    act: [*const u8; BLOCK_ROWS],
    dst: [*mut f32; BLOCK_ROWS],
    n: usize,
}

impl Batch<'_> {
    fn experts_rows(bound: &Bound<'_>, x: &Experts) -> usize {
        bound.ops.get(x.op as usize).map_or(0, |op| bound.rows(op))
    }

    /// Where a part of an input row is, as the product takes it.
    fn part(&self, bound: &Bound<'_>, x: &Experts, part: usize) -> *mut u8 {
        let op = bound.ops.get(x.op as usize);
        // SAFETY: inside the workspace, or the value.
        unsafe {
            match (x.row_bytes, op) {
                (0, Some(op)) => bound.base(src(op, 1)).add(part * x.k * 4),
                (bytes, _) => self.rows_area(bound).add(part * bytes),
            }
        }
    }

    /// Prepares parts of rows.
    ///
    /// # Safety
    /// As [`Batch::run`].
    pub unsafe fn prepare_experts(&self, x: &Experts, units: Range<usize>) -> Outcome {
        for unit in units {
            let (bound, part) = self
                .locate(unit, |b| Self::experts_rows(b, x) * x.parts)
                .ok_or(Status::Internal)?;
            let op = bound.ops.get(x.op as usize).ok_or(Status::Internal)?;
            // SAFETY: rows are dense, so their parts are as rows of `k`; the source is not being written, and this part
            // of the workspace is this unit's.
            unsafe {
                let from = bound.base(src(op, 1)).cast::<f32>().add(part * x.k);
                let to = self.part(bound, x, part);
                (self.kernels().prepare_act)(x.kind, from_raw_parts(from, x.k), to);
            }
        }
        Ok(())
    }

    /// Multiplies.
    ///
    /// # Safety
    /// As [`Batch::run`].
    pub unsafe fn multiply_experts(
        &self,
        x: &Experts,
        units: Range<usize>,
        private: &Private,
    ) -> Outcome {
        let rows = self.steps().map(|b| Self::experts_rows(b, x)).sum();
        let (one_by_one, tiles) = (x.one_by_one(rows), x.tiles().max(1));
        let mut unit = units.start;
        while unit < units.end {
            let (group, first) = (unit / tiles, unit % tiles);
            let last = tiles.min(first + (units.end - unit));
            unit += last - first;
            let columns = first * TILE_ROWS..(last * TILE_ROWS).min(x.m);
            // SAFETY: the caller's promise.
            unsafe {
                if one_by_one {
                    self.one_part(x, group, columns, private)?;
                } else {
                    self.all_of_expert(x, group, columns, private)?;
                }
            }
        }
        Ok(())
    }

    /// The product that part `index` of all rows' asks for.
    unsafe fn one_part(
        &self,
        x: &Experts,
        index: usize,
        columns: Range<usize>,
        private: &Private,
    ) -> Outcome {
        let (row, slot) = (index / x.used.max(1), index % x.used.max(1));
        let (bound, i) = self
            .locate(row, |b| Self::experts_rows(b, x))
            .ok_or(Status::Internal)?;
        let op = bound.ops.get(x.op as usize).ok_or(Status::Internal)?;
        let mut rows = Rows::new();
        // SAFETY: nobody writes the ids now; the rest is the caller's promise.
        unsafe {
            let expert = bound.expert(op, i, slot)?;
            self.push(&mut rows, x, bound, op, i, slot);
            self.flush(&mut rows, x, expert, columns, private)
        }
    }

    /// The products of an expert with all rows that name it.
    unsafe fn all_of_expert(
        &self,
        x: &Experts,
        expert: usize,
        columns: Range<usize>,
        private: &Private,
    ) -> Outcome {
        let mut rows = Rows::new();
        for bound in self.steps() {
            let op = bound.ops.get(x.op as usize).ok_or(Status::Internal)?;
            for i in 0..bound.rows(op) {
                for slot in 0..x.used {
                    // SAFETY: as above. Every id is looked at, so that one that there is no expert of is noticed.
                    unsafe {
                        if bound.expert(op, i, slot)? != expert {
                            continue;
                        }
                        self.push(&mut rows, x, bound, op, i, slot);
                        if rows.n == BLOCK_ROWS {
                            self.flush(&mut rows, x, expert, columns.clone(), private)?;
                        }
                    }
                }
            }
        }
        // SAFETY: as above.
        unsafe { self.flush(&mut rows, x, expert, columns, private) }
    }

    /// # Safety
    /// Row `i` and `slot` are the step's.
    unsafe fn push(
        &self,
        rows: &mut Rows,
        x: &Experts,
        bound: &Bound<'_>,
        op: &realm_op,
        i: usize,
        slot: usize,
    ) {
        let part = i * x.parts + if x.parts == 1 { 0 } else { slot };
        if let (Some(act), Some(dst)) = (rows.act.get_mut(rows.n), rows.dst.get_mut(rows.n)) {
            *act = self.part(bound, x, part).cast_const();
            // SAFETY: inside the destination's row.
            *dst = unsafe {
                let dst = bound.base(Operand::of(op.dst)).cast::<f32>();
                dst.add((i * x.used + slot) * x.m)
            };
            rows.n += 1;
        }
    }

    unsafe fn flush(
        &self,
        rows: &mut Rows,
        x: &Experts,
        expert: usize,
        columns: Range<usize>,
        private: &Private,
    ) -> Outcome {
        let n = core::mem::take(&mut rows.n);
        let (Some(act), Some(dst)) = (rows.act.get(..n), rows.dst.get(..n)) else {
            return Err(Status::Internal);
        };
        if n == 0 {
            return Ok(());
        }
        let lead = self.steps().next().ok_or(Status::Internal)?;
        let op = lead.ops.get(x.op as usize).ok_or(Status::Internal)?;
        let (w, bias) = lead.expert_bytes(op, expert)?;
        let product = Product {
            ty: x.ty,
            w,
            k: x.k,
            m: x.m,
            act,
            dst,
            bias,
        };
        // SAFETY: rows are prepared, the columns and the scratch are this thread's.
        unsafe { (self.kernels().product)(&product, columns, self.scratch(private)) };
        Ok(())
    }
}

impl Rows {
    fn new() -> Self {
        Self {
            act: [core::ptr::null(); BLOCK_ROWS],
            dst: [core::ptr::null_mut(); BLOCK_ROWS],
            n: 0,
        }
    }
}
