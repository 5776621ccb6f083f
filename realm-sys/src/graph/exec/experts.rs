//! Operations whose rows are made of parts, or reach back to others: products with the experts that rows name,
//! convolutions and scans.

use super::{BAD_DATA, Bound, direct};
use crate::backend::table::realm_op;
use crate::error::Status;
use crate::graph::kernels::matmul::{self, ActKind, MulMat};
use crate::graph::kernels::{conv, scan};
use crate::graph::op::{Operand, param, param_dim, src};
use crate::quant::GgmlType;
use core::ops::Range;
use core::slice::{from_raw_parts, from_raw_parts_mut};

impl<'a> Bound<'a> {
    /// What a MUL_MAT or MUL_MAT_ID multiplies: elements of a weight's row, and how many such parts a row of its input has.
    pub fn parts(&self, op: &realm_op) -> (usize, usize) {
        let k = self.weight(src(op, 0)).map_or(0, |w| w.ne[0] as usize);
        (k, self.shape(src(op, 1)).0 / k.max(1))
    }

    /// How many experts a row of a MUL_MAT_ID goes through: those it names, or all, in their order.
    pub fn used(&self, op: &realm_op) -> usize {
        match src(op, 2) {
            Operand::None => self.weight(src(op, 0)).map_or(0, |w| w.ne[2] as usize),
            ids => self.shape(ids).0,
        }
    }

    /// The expert that a MUL_MAT_ID's row `i` names in column `slot`; an id that there is none of is bad data.
    ///
    /// # Safety
    /// As [`Self::row`].
    pub unsafe fn expert(
        &self,
        op: &realm_op,
        i: usize,
        slot: usize,
    ) -> core::result::Result<usize, Status> {
        if src(op, 2) == Operand::None {
            return Ok(slot);
        }
        let experts = self.weight(src(op, 0)).map_or(0, |w| w.ne[2]);
        // SAFETY: the caller's promise.
        let ids = unsafe { self.row::<i32>(src(op, 2), i) };
        let id = ids.get(slot).and_then(|&id| u64::try_from(id).ok());
        let id = id.filter(|&id| id < experts).ok_or(BAD_DATA)?;
        Ok(id as usize)
    }

    /// One expert's part of a stack of weights, and of their biases.
    pub fn expert_bytes(
        &self,
        op: &realm_op,
        expert: usize,
    ) -> core::result::Result<(&'a [u8], Option<&'a [u8]>), Status> {
        let part = |operand: Operand, count: u64| {
            let bytes = self.weight_bytes(operand)?;
            let each = bytes.len() / (count as usize).max(1);
            bytes.get(expert * each..(expert + 1) * each)
        };
        let w = self.weight(src(op, 0)).ok_or(Status::Internal)?;
        let weights = part(src(op, 0), w.ne[2]).ok_or(Status::Internal)?;
        Ok((weights, part(src(op, 3), w.ne[2])))
    }
}

/// Products of rows with the experts that they name, for some rows of their weights.
pub fn multiply(
    bound: &Bound<'_>,
    op: &realm_op,
    kind: ActKind,
    units: Range<usize>,
) -> core::result::Result<(), Status> {
    let dst = Operand::of(op.dst);
    let w = bound.weight(src(op, 0)).ok_or(Status::Internal)?;
    let ty = GgmlType::from_id(w.r#type).ok_or(Status::Unsupported)?;
    let (k, parts) = bound.parts(op);
    let (m, used) = (w.ne[1] as usize, bound.used(op));
    let row = matmul::act_row_bytes(kind, k);
    let act = if direct(kind, k) {
        bound.base(src(op, 1)).cast_const()
    } else {
        bound.step.workspace.cast::<u8>().cast_const()
    };
    for i in 0..bound.rows(op) {
        for slot in 0..used {
            // SAFETY: nobody writes the ids meanwhile.
            let expert = unsafe { bound.expert(op, i, slot)? };
            let (weights, bias) = bound.expert_bytes(op, expert)?;
            // One part for all experts, or one for each.
            let part = i * parts + if parts == 1 { 0 } else { slot };
            let args = MulMat {
                ty,
                w: weights,
                k,
                m,
                // SAFETY: a prepared row, or a part of the value's own.
                act: unsafe { from_raw_parts(act.add(part * row), row) },
                n_tok: 1,
                bias,
                // SAFETY: inside the destination's row.
                dst: unsafe { bound.base(dst).cast::<f32>().add((i * used + slot) * m) },
                dst_stride: m,
            };
            // SAFETY: the units own these columns of every part of the destination.
            unsafe { matmul::mul_mat(&args, units.clone()) };
        }
    }
    Ok(())
}

/// Row `i` of a convolution.
pub fn convolve(bound: &Bound<'_>, op: &realm_op, i: usize) -> core::result::Result<(), Status> {
    let dst = Operand::of(op.dst);
    let w = bound.weight_bytes(src(op, 2)).ok_or(Status::Internal)?;
    let taps = bound.weight(src(op, 2)).map_or(1, |w| w.ne[0] as usize);
    // SAFETY: the operands differ; unit `i` owns row `i`, and nobody writes the sources.
    unsafe {
        let to = bound.row_mut::<f32>(dst, i);
        to.fill(0.0);
        for tap in 0..taps {
            // Row `at` of the state's rows with x's behind them.
            let at = i + tap;
            let row = match at.checked_sub(taps - 1) {
                Some(at) => bound.row(src(op, 0), at),
                None => bound.row(src(op, 1), at),
            };
            conv::add_tap(to, row, w, taps, tap);
        }
    }
    Ok(())
}

/// Head `head` of a scan, all rows: its columns of the state after, and of what comes out.
pub fn scan(bound: &Bound<'_>, op: &realm_op, head: usize) -> core::result::Result<(), Status> {
    let number = |i: usize| -> core::result::Result<Option<f32>, Status> {
        let Some(all) = bound.weight_bytes(src(op, i)) else {
            return Ok(None);
        };
        let at = all.as_chunks::<4>().0.get(head).ok_or(Status::Internal)?;
        Ok(Some(f32::from_le_bytes(*at)))
    };
    let (a, d) = (number(4)?.ok_or(Status::Internal)?, number(6)?);
    let (x, dt, dst) = (src(op, 0), src(op, 1), Operand::of(op.dst));
    let ((cols, n), heads) = (bound.shape(x), bound.shape(dt).0.max(1));
    let groups = (param(op, 0) as usize).max(1);
    let rows = bound.shape(src(op, 2)).0 / groups;
    let n = n.min(bound.shape(dst).1.saturating_sub(rows));
    let (width, of_group) = (cols / heads, head * groups / heads * rows);
    // SAFETY: validation found all columns and rows to be there; these columns of the destination are this unit's alone, and nobody
    // writes the sources.
    unsafe {
        let columns = |operand: Operand, row: usize| {
            let base = bound.base(operand).cast::<f32>();
            base.add(row * cols + head * width)
        };
        let row = |i: usize| from_raw_parts_mut(columns(dst, i), width);
        let first = param_dim(op, 1, &bound.registers) as usize;
        let begun = param_dim(op, 2, &bound.registers) != 0;
        for s in 0..rows {
            match begun {
                true => {
                    row(s).copy_from_slice(from_raw_parts(columns(src(op, 5), first + s), width))
                }
                false => row(s).fill(0.0),
            }
        }
        for i in 0..n {
            let x = from_raw_parts(columns(x, i).cast_const(), width);
            let y = row(rows + i);
            match d {
                Some(d) => y.iter_mut().zip(x).for_each(|(y, x)| *y = d * x),
                None => y.fill(0.0),
            }
            let dt = bound.row::<f32>(dt, i).get(head).ok_or(Status::Internal)?;
            let (delta, decay) = scan::rates(*dt, a);
            let part = |operand| {
                bound
                    .row::<f32>(operand, i)
                    .iter()
                    .skip(of_group)
                    .take(rows)
            };
            for (s, (b, c)) in part(src(op, 2)).zip(part(src(op, 3))).enumerate() {
                scan::step(row(s), y, x, [decay, b * delta, *c]);
            }
        }
    }
    Ok(())
}

/// Columns of every group of `from`.
pub fn view(op: &realm_op, to: &mut [f32], from: &[f32]) {
    let group = match param(op, 1) as usize {
        0 => from.len(),
        group => group,
    };
    let first = param(op, 0) as usize;
    let width = to.len() / (from.len() / group.max(1)).max(1);
    let groups = from.chunks_exact(group.max(1));
    for (to, from) in to.chunks_exact_mut(width.max(1)).zip(groups) {
        let from = from.iter().skip(first);
        to.iter_mut().zip(from).for_each(|(t, f)| *t = *f);
    }
}

/// The groups of `a`, each with that of `b` behind it.
pub fn concat(op: &realm_op, to: &mut [f32], a: &[f32], b: &[f32]) {
    let groups = param(op, 0).max(1) as usize;
    let (a_cols, b_cols) = (a.len() / groups, b.len() / groups);
    let parts = a
        .chunks_exact(a_cols.max(1))
        .zip(b.chunks_exact(b_cols.max(1)));
    for (to, (a, b)) in to.chunks_exact_mut((a_cols + b_cols).max(1)).zip(parts) {
        let both = a.iter().chain(b);
        to.iter_mut().zip(both).for_each(|(t, f)| *t = *f);
    }
}

/// The elements of `x` that `ids` name.
pub fn gather(to: &mut [f32], x: &[f32], ids: &[i32]) -> core::result::Result<(), Status> {
    for (to, &id) in to.iter_mut().zip(ids) {
        let id = usize::try_from(id).map_err(|_| BAD_DATA)?;
        *to = *x.get(id).ok_or(BAD_DATA)?;
    }
    Ok(())
}
