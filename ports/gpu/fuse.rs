//! What operations in a row have in common: launches that do several of them, with the bits of each alone.
//!
//! | in a row | one launch |
//! |----------|------------|
//! | products of one input with weights of one type | `mul_mat_…`, `mul_mat_vec_…` |
//! | a product and the sum of its result | the same |
//! | RMS_NORM of whole rows, or GLU, and the rounding of its result for a product | `rms_norm_quantize_…`, `glu_quantize_…` |
//! | ROPE of queries and of keys | `rope` |
//! | these, and keys and values into a cache of floats | `rope_append_…` |
//!
//! All results are written, as somebody may want them.

use super::abi::Op;
use super::device::Result;
use super::ops::{Kernel, MOST, WARPS, rows_of};
use super::persist;
use super::plan::Builder;
use crate::backend::table::realm_op;
use crate::error::Status;
use crate::graph::kernels::act::SWIGLU_OAI;
use crate::graph::op::{Code, Operand, param, src};
use crate::quant::GgmlType;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// An operand's memory: of scratch, so many bytes; or a buffer.
type Extent = (Operand, Range<u64>);

fn apart((o, a): &Extent, (p, b): &Extent) -> bool {
    o != p || a.end <= b.start || b.end <= a.start
}

/// Products that one launch does, because they have their input and type in common.
pub struct Group {
    /// Input, rows and type.
    of: (u32, u32, u32),
    /// What the last of them writes.
    dst: u32,
    /// The first one's record, and the launches: of one row, of several.
    first: usize,
    launches: Range<usize>,
    /// Where they write.
    extents: Vec<Extent>,
}

/// The operation just before, if the next one may have its launch.
pub struct Last {
    code: Code,
    rows: u32,
    /// What it writes; of two rotations both.
    written: Vec<u32>,
    /// Its record and its launch; of two rotations the first one's record.
    record: usize,
    launch: usize,
}

fn group_of(op: &realm_op, record: &Op) -> (u32, u32, u32) {
    let [weight, ..] = record.src;
    (op.src.get(1).copied().unwrap_or(0), record.rows, weight.ty)
}

impl Builder<'_> {
    fn extent(&self, bits: u32) -> Extent {
        let o = Operand::of(bits);
        match self.bound.value(o) {
            Some(v) => {
                let bytes = u64::from(v.max_rows) * u64::from(v.cols) * 4;
                (Operand::Value(0), v.offset..v.offset + bytes)
            }
            None => (o, 0..u64::MAX),
        }
    }

    /// What is behind an operation whose record comes next, and whose launches are the last ones.
    pub fn remember(&mut self, op: &realm_op, record: &Op, code: Option<Code>) {
        let launch = self.launches.len().wrapping_sub(1);
        self.group = (code == Some(Code::MulMat)).then(|| Group {
            of: group_of(op, record),
            dst: op.dst,
            first: self.records.len(),
            launches: launch.saturating_sub(1)..launch + 1,
            extents: vec![self.extent(op.dst)],
        });
        let whole = match code {
            Some(Code::RmsNorm) => [0, record.dst.cols].contains(&param(op, 1)),
            Some(Code::Glu) => param(op, 0) != SWIGLU_OAI,
            Some(Code::Rope) => true,
            _ => false,
        };
        self.last = code.filter(|_| whole).map(|code| Last {
            code,
            rows: record.rows,
            written: vec![op.dst],
            record: self.records.len(),
            launch,
        });
    }

    /// Whatever came before, nothing goes on from it.
    pub fn forget(&mut self) {
        self.group = None;
        self.last = None;
    }

    /// Adds a product to the launch of those before it, if it is one of them. What it writes must not lie where they write, though nobody may
    /// read that: they would run at the same time.
    pub fn join_product(&mut self, op: &realm_op, record: &Op) -> bool {
        let extent = self.extent(op.dst);
        let of = group_of(op, record);
        let Some(group) = self.group.as_mut().filter(|g| g.of == of) else {
            return false;
        };
        if !group.extents.iter().all(|e| apart(e, &extent)) {
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

    /// The same for a second rotation.
    pub fn join_rotation(&mut self, op: &realm_op, record: &Op) -> bool {
        let fits =
            |l: &&Last| l.code == Code::Rope && l.rows == record.rows && l.written.len() == 1;
        let Some(last) = self.last.as_ref().filter(fits) else {
            return false;
        };
        let aside = |x: u32| self.aside(&last.written, x);
        let few = self.few([last.written.first().copied().unwrap_or(0), op.dst]);
        if !aside(op.dst) || !aside(op.src[0]) || !few {
            return false;
        }
        let (launch, first) = (last.launch, last.record);
        let (Some(launch), Some(first), Some(last)) = (
            self.launches.get_mut(launch),
            self.records.get_mut(first),
            self.last.as_mut(),
        ) else {
            return false;
        };
        first.more = 1;
        launch.work.each += u64::from(record.dst.cols);
        last.written.push(op.dst);
        true
    }

    /// Has two rotations append to the cache what attention, which comes next, would: its keys and values.
    pub fn join_append(&mut self, op: &realm_op, record: &Op) -> Result<bool> {
        let [_, keys, values, ..] = op.src;
        let fits = |l: &&Last| {
            l.code == Code::Rope && l.rows == record.rows && l.written.get(1) == Some(&keys)
        };
        let Some((last, kv)) = self
            .last
            .as_ref()
            .filter(fits)
            .zip(self.bound.kv_layer(src(op, 3)))
        else {
            return Ok(false);
        };
        let ty = match GgmlType::from_id(kv.r#type) {
            Some(ty @ (GgmlType::F32 | GgmlType::F16)) => ty.name(),
            _ => return Ok(false),
        };
        let (launch, second) = (last.launch, last.record + 1);
        let Some(&queries) = last.written.first() else {
            return Ok(false);
        };
        let cols = |n: u32| n.checked_mul(kv.n_head_kv);
        let whole = self.records.get(second).map(|r| r.dst.cols) == cols(kv.head_dim_k);
        if !whole || !self.aside(&last.written, values) || !self.few([queries, keys, values]) {
            return Ok(false);
        }
        let name = format!("realm_rope_append_{ty}");
        let kernel = self.kernel(&name)?;
        let launch = self.launches.get_mut(launch).ok_or(Status::Internal)?;
        launch.kernel = kernel;
        launch.number = persist::number(&name);
        launch.work.each += cols(kv.head_dim_v).map_or(0, u64::from);
        Ok(true)
    }

    /// Has the operation just before round its result, which is a product's input of `k` elements: what `kernel` would do, into prepared rows of so many bytes.
    pub fn absorb(
        &mut self,
        kernel: &Kernel,
        (x, rows, k): (u32, u32, u64),
        bytes: u64,
    ) -> Result<bool> {
        let fits = |l: &&Last| l.rows == rows && l.written == [x];
        let Some(last) = self.last.as_ref().filter(fits) else {
            return Ok(false);
        };
        let prefix = match last.code {
            Code::RmsNorm => "realm_rms_norm_",
            Code::Glu => "realm_glu_",
            _ => return Ok(false),
        };
        let (record, launch, code) = (last.record, last.launch, last.code);
        let name = kernel.name.replace("realm_", prefix);
        let fused = self.kernel(&name)?;
        let record = self.records.get_mut(record).ok_or(Status::Internal)?;
        let launch = self.launches.get_mut(launch).ok_or(Status::Internal)?;
        if u64::from(record.dst.cols) != k {
            return Ok(false);
        }
        record.extra = bytes;
        launch.kernel = fused;
        launch.number = persist::number(&name);
        if code == Code::Glu {
            launch.work = kernel.work;
        }
        Ok(true)
    }

    /// Whether an operand lies elsewhere than these.
    fn aside(&self, written: &[u32], x: u32) -> bool {
        let extent = self.extent(x);
        written.iter().all(|&w| apart(&self.extent(w), &extent))
    }

    /// Whether a kernel can count the elements of all of these.
    fn few<const N: usize>(&self, all: [u32; N]) -> bool {
        let elements = |x: u32| {
            let o = Operand::of(x);
            self.bound
                .max_rows(o)
                .saturating_mul(self.bound.shape(o).0 as u64)
        };
        all.into_iter().map(elements).fold(0, u64::saturating_add) <= MOST
    }

    /// Gives an ADD to the product just before it, whose result is one of its terms, if that is one by itself: who has computed an element adds it. Its
    /// result is written too, as somebody may want it.
    pub fn join_sum(&mut self, op: &realm_op) -> Result<bool> {
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
        let apart = |x: u32, y: u32| apart(&self.extent(x), &self.extent(y));
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
        self.forget();
        Ok(true)
    }
}
