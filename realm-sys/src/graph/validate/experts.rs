//! Checks of operations whose rows are made of parts, or reach back to others: experts, weighted sums, convolutions, scans.

use super::super::op::{self, Dim, Operand, TYPE_F32, TYPE_I32, param};
use super::Check;
use crate::bail;
use crate::error::Result;
use crate::quant::GgmlType;

/// Most parts of a row: experts that a row names, what a weighted sum adds, rows that a convolution sees.
const MAX_PARTS: u64 = 1024;

impl Check<'_> {
    pub(super) fn mul_mat_id(&mut self) -> Result<()> {
        self.unused(4, 0, 0)?;
        let w = self.weight(op::src(self.op, 0))?;
        let x = self.source(1, TYPE_F32)?;
        let [k, m, experts, _] = w.ne;
        let ids = match op::src(self.op, 2) {
            // Without ids: all, in their order.
            Operand::None => x,
            _ => self.source(2, TYPE_I32)?,
        };
        let used = match op::src(self.op, 2) {
            Operand::None => experts,
            _ => ids.cols,
        };
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, x, ids])?;
        if used > MAX_PARTS {
            bail!(Limit, "{used} experts for a row, at most {MAX_PARTS}");
        }
        if w.ne[3] != 1
            || (x.cols != k && Some(x.cols) != k.checked_mul(used))
            || Some(dst.cols) != m.checked_mul(used)
        {
            bail!(
                Format,
                "{experts} weights [{k}, {m}] by input of {} columns, {used} for a row, gives not {}",
                x.cols,
                dst.cols
            );
        }
        if GgmlType::from_id(w.r#type).is_none() {
            bail!(Unsupported, "weight of type {}", w.r#type);
        }
        if op::src(self.op, 3) != Operand::None {
            let bias = self.weight(op::src(self.op, 3))?;
            if bias.r#type != TYPE_F32 || bias.ne != [m, experts, 1, 1] {
                bail!(
                    Format,
                    "the biases are [{}, {}] of type {}, [{m}, {experts}] f32 is needed",
                    bias.ne[0],
                    bias.ne[1],
                    bias.r#type
                );
            }
        }
        Ok(())
    }

    pub(super) fn weighted_sum(&mut self) -> Result<()> {
        self.unused(3, 0, 0)?;
        self.distinct(&[0])?;
        let (x, weights) = (self.source(0, TYPE_F32)?, self.source(1, TYPE_F32)?);
        let ids = match op::src(self.op, 2) {
            Operand::None => weights,
            _ => self.source(2, TYPE_I32)?,
        };
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, x, weights, ids])?;
        if weights.cols > MAX_PARTS {
            bail!(
                Limit,
                "a sum of {} parts, at most {MAX_PARTS}",
                weights.cols
            );
        }
        if ids.cols != weights.cols || Some(x.cols) != dst.cols.checked_mul(weights.cols) {
            bail!(
                Format,
                "{} columns in {} parts of {}, and {} ids",
                x.cols,
                weights.cols,
                dst.cols,
                ids.cols
            );
        }
        Ok(())
    }

    pub(super) fn ssm_conv(&mut self) -> Result<()> {
        self.unused(3, 0, 0)?;
        self.distinct(&[0])?;
        let (x, state) = (self.source(0, TYPE_F32)?, self.source(1, TYPE_F32)?);
        let w = self.weight(op::src(self.op, 2))?;
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, x])?;
        let [taps, ..] = w.ne;
        if w.r#type != TYPE_F32 || w.ne != [taps, dst.cols, 1, 1] || x.cols != dst.cols {
            bail!(
                Format,
                "weights [{taps}, {}] for {} columns from {}",
                w.ne[1],
                dst.cols,
                x.cols
            );
        }
        if taps > MAX_PARTS {
            bail!(Limit, "a convolution over {taps} rows, at most {MAX_PARTS}");
        }
        let Dim::Const(rows) = state.rows else {
            bail!(
                Format,
                "the rows before the first are not a constant number"
            );
        };
        if state.cols != dst.cols || u64::from(rows) + 1 < taps || taps == 0 {
            bail!(
                Format,
                "{rows} rows of {} columns before the first, {taps} weights",
                state.cols
            );
        }
        Ok(())
    }

    pub(super) fn ssm_scan(&mut self) -> Result<()> {
        self.unused(7, 3, 0)?;
        self.distinct(&[0])?;
        let (x, dt) = (self.source(0, TYPE_F32)?, self.source(1, TYPE_F32)?);
        let (b, c) = (self.source(2, TYPE_F32)?, self.source(3, TYPE_F32)?);
        if !x.exact {
            bail!(Format, "what is scanned is not a value");
        }
        let n = self.rows(&[x, dt, b, c])?;
        let (heads, groups) = (dt.cols, u64::from(param(self.op, 0)));
        let whole = |n: u64, parts: u64| parts > 0 && n.is_multiple_of(parts);
        if !whole(heads, groups)
            || !whole(x.cols, heads)
            || !whole(b.cols, groups)
            || b.cols != c.cols
        {
            bail!(
                Format,
                "{} columns in {heads} heads, and {} and {} in {groups} groups",
                x.cols,
                b.cols,
                c.cols
            );
        }
        let rows = b.cols / groups.max(1);
        if rows > MAX_PARTS {
            bail!(Limit, "a state of {rows} rows, at most {MAX_PARTS}");
        }
        for (i, what) in [(4, "rates"), (6, "factors")] {
            if i == 6 && op::src(self.op, i) == Operand::None {
                continue;
            }
            let w = self.weight(op::src(self.op, i))?;
            let [a, b, rest @ ..] = w.ne;
            if w.r#type != TYPE_F32 || rest != [1, 1] || a.checked_mul(b) != Some(heads) {
                bail!(
                    Format,
                    "the {what} are [{a}, {b}] of type {}, {heads} f32 are needed",
                    w.r#type
                );
            }
        }
        let Operand::Buffer(_) = op::src(self.op, 5) else {
            bail!(Format, "the state is not a buffer");
        };
        let state = self.source(5, TYPE_F32)?;
        let (first, limit) = (self.dim(1)?, self.max(state.rows)?);
        self.dim(2)?;
        let dst = self.dst(TYPE_F32)?;
        self.same_cols(&[dst, x, state])?;
        let need = rows.saturating_add(self.max(n)?.into());
        if u64::from(self.max(dst.rows)?) < need {
            bail!(Format, "{need} rows do not fit into the destination");
        }
        self.span(first, Dim::Const(rows as u32), limit, None)
    }

    pub(super) fn view_cols(&mut self) -> Result<()> {
        self.unused(1, 2, 0)?;
        self.distinct(&[0])?;
        let x = self.source(0, TYPE_F32)?;
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, x])?;
        let first = u64::from(param(self.op, 0));
        let group = match param(self.op, 1) {
            0 => x.cols,
            group => group.into(),
        };
        let groups = x.cols / group;
        if x.cols % group != 0 || dst.cols % groups != 0 || first + dst.cols / groups > group {
            bail!(
                Format,
                "columns from {first} on of groups of {group}, {} from {}",
                dst.cols,
                x.cols
            );
        }
        Ok(())
    }

    pub(super) fn concat(&mut self) -> Result<()> {
        self.unused(2, 1, 0)?;
        self.distinct(&[0])?;
        let (a, b) = (self.source(0, TYPE_F32)?, self.source(1, TYPE_F32)?);
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, a, b])?;
        let groups = u64::from(param(self.op, 0).max(1));
        if a.cols % groups != 0 || b.cols % groups != 0 || a.cols + b.cols != dst.cols {
            bail!(
                Format,
                "{} and {} columns in {groups} groups make not {}",
                a.cols,
                b.cols,
                dst.cols
            );
        }
        Ok(())
    }

    pub(super) fn div(&mut self) -> Result<()> {
        self.unused(2, 0, 0)?;
        let (a, b) = (self.source(0, TYPE_F32)?, self.source(1, TYPE_F32)?);
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, a, b])?;
        if a.cols != dst.cols || (b.cols != a.cols && b.cols != 1) {
            bail!(
                Format,
                "{} columns by {} gives not {}",
                a.cols,
                b.cols,
                dst.cols
            );
        }
        Ok(())
    }

    pub(super) fn gather(&mut self) -> Result<()> {
        self.unused(2, 0, 0)?;
        self.distinct(&[0])?;
        let (x, ids) = (self.source(0, TYPE_F32)?, self.source(1, TYPE_I32)?);
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, x, ids])?;
        if ids.cols != dst.cols {
            bail!(Format, "{} ids for {} columns", ids.cols, dst.cols);
        }
        Ok(())
    }
}
