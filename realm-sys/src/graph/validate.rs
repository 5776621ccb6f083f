//! Validation: what a recorded program may do, checked once, so that kernels can trust it.
//!
//! Shapes and types are checked for the largest registers. What depends on the registers of one replay
//! (a first row, a position) becomes a [`Span`], which [`super::run`] checks before each step. Token ids and
//! other data are checked by the kernels that use them as an index.
//!
//! The number of rows an operation works on is that of its values, which must all agree; a session buffer stands for
//! its first rows, and must have enough of them at any time.

mod experts;

use super::exec::NOT_CAUSAL;
use super::kernels::act::{Act, SWIGLU_OAI};
use super::op::{self, ALL_OPS, Code, Dim, Operand, TYPE_F32, TYPE_I32, param};
use super::program::{MAX_ROPE_DIMS, MAX_ROPE_DIMS_IN_ALL, MODEL_SHIFT, Program, Span, dim_max};
use crate::backend::table::{realm_op, realm_weight};
use crate::error::{Error, Result};
use crate::hash::HashMap;
use crate::quant::GgmlType;
use crate::store::Model;
use crate::{bail, err};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;

/// An operand's type and shape.
#[derive(Clone, Copy)]
struct Shape {
    ty: u32,
    cols: u64,
    rows: Dim,
    /// Whether rows is a value's (exact) rather than a buffer's or weight's (room).
    exact: bool,
}

/// Resolves weights and checks every operation of a program against its models, the session's buffers and KV layers.
pub fn validate(program: &mut Program, models: &[Arc<Model>]) -> Result<()> {
    let mut ops = core::mem::take(&mut program.ops);
    let mut written: Vec<bool> = crate::error::try_vec(program.values.len(), "value flags")?;
    written.resize(program.values.len(), false);
    program
        .spans
        .try_reserve(ops.len() * 2)
        .map_err(|_| err!(NoMemory, "no memory for {} checks", ops.len()))?;
    let mut known = HashMap::default();
    let mut result = Ok(());
    let mut rope_dims = 0;
    for (index, record) in ops.iter_mut().enumerate() {
        let Some(code) = Code::from_u16(record.code) else {
            result = Err(err!(
                Unsupported,
                "program: operation {index} has code {}, which this library does not know",
                record.code
            ));
            break;
        };
        let checked = bind_weights(record, program, models, &mut known).and_then(|()| {
            Check {
                program,
                op: record,
                index: index as u32,
                written: &mut written,
                rope_dims: &mut rope_dims,
            }
            .check(code)
        });
        if let Err(e) = checked {
            result = Err(at(index, code, &e));
            break;
        }
    }
    program.ops = ops;
    result
}

fn at(index: usize, code: Code, e: &Error) -> Error {
    e.at(format_args!("operation {index} ({})", code.name()))
}

/// Replaces the tensor handles of an operation by indices into the program's weights.
fn bind_weights(
    record: &mut realm_op,
    program: &mut Program,
    models: &[Arc<Model>],
    known: &mut HashMap<u32, u32>,
) -> Result<()> {
    for bits in &mut record.src {
        let Operand::Weight(handle) = Operand::unpack(*bits)? else {
            continue;
        };
        let slot = match known.get(&handle) {
            Some(&slot) => slot,
            None => {
                let (model, index) = (handle >> MODEL_SHIFT, handle & ((1 << MODEL_SHIFT) - 1));
                let tensor = models
                    .get(model as usize)
                    .ok_or_else(|| err!(NotFound, "the program has no further model {model}"))?
                    .tensor(index)
                    .ok_or_else(|| err!(NotFound, "the model has no tensor {index}"))?;
                let slot = program.weights.len() as u32;
                if program.weights.try_reserve(1).is_err() || known.try_reserve(1).is_err() {
                    bail!(NoMemory, "no memory for the weight table");
                }
                program.weights.push(realm_weight {
                    r#type: tensor.type_id,
                    n_dims: tensor.n_dims,
                    ne: tensor.dims,
                    data: tensor.data.as_ptr().cast::<c_void>(),
                    bytes: tensor.data.len() as u64,
                    handle: core::ptr::null_mut(),
                    next: core::ptr::null(),
                });
                known.insert(handle, slot);
                slot
            }
        };
        *bits = (*bits & 0xf000_0000) | slot;
    }
    Ok(())
}

struct Check<'a> {
    program: &'a mut Program,
    op: &'a realm_op,
    index: u32,
    written: &'a mut [bool],
    /// Elements turned by the ROPEs so far.
    rope_dims: &'a mut u64,
}

impl Check<'_> {
    fn shape(&self, operand: Operand) -> Result<Shape> {
        Ok(match operand {
            Operand::Value(i) => {
                let v = self
                    .program
                    .values
                    .get(i as usize)
                    .ok_or_else(|| err!(Format, "value {i} is not declared"))?;
                Shape {
                    ty: v.r#type,
                    cols: v.cols.into(),
                    rows: Dim::unpack(v.rows),
                    exact: true,
                }
            }
            Operand::Buffer(i) => {
                let b = self
                    .program
                    .buffers
                    .get(i as usize)
                    .ok_or_else(|| err!(NotFound, "buffer {i} does not exist"))?;
                Shape {
                    ty: b.r#type,
                    cols: b.cols.into(),
                    rows: Dim::Const(b.rows),
                    exact: false,
                }
            }
            Operand::Weight(_) => {
                let w = self.weight(operand)?;
                let [cols, rows, ..] = w.ne;
                Shape {
                    ty: w.r#type,
                    cols,
                    rows: Dim::Const(
                        u32::try_from(rows)
                            .map_err(|_| err!(Limit, "a weight with {rows} rows"))?,
                    ),
                    exact: false,
                }
            }
            Operand::None => bail!(Format, "an operand is missing"),
            Operand::Kv(_) => bail!(Format, "a KV layer where a tensor belongs"),
        })
    }

    fn weight(&self, operand: Operand) -> Result<realm_weight> {
        match operand {
            Operand::Weight(i) => self
                .program
                .weights
                .get(i as usize)
                .copied()
                .ok_or_else(|| err!(Internal, "weight {i} was not bound")),
            _ => bail!(Format, "a weight is needed here"),
        }
    }

    /// A weight vector of f32: norms, biases, factors.
    fn vector(&self, i: usize, len: u64, what: &str) -> Result<()> {
        let w = self.weight(op::src(self.op, i))?;
        if w.r#type != TYPE_F32 || w.ne != [len, 1, 1, 1] {
            bail!(
                Format,
                "{what} is [{}, {}] of type {}, a vector of {len} f32 is needed",
                w.ne[0],
                w.ne[1],
                w.r#type
            );
        }
        Ok(())
    }

    fn max(&self, dim: Dim) -> Result<u32> {
        dim_max(dim, &self.program.registers)
    }

    /// Marks the destination written and gives its shape.
    fn dst(&mut self, ty: u32) -> Result<Shape> {
        let bits = self.op.dst;
        self.write(bits, ty)
    }

    fn write(&mut self, bits: u32, ty: u32) -> Result<Shape> {
        let operand = Operand::unpack(bits)?;
        match operand {
            Operand::Value(i) => {
                if let Some(w) = self.written.get_mut(i as usize) {
                    *w = true;
                }
            }
            Operand::Buffer(_) => {}
            _ => bail!(Format, "only values and buffers can be written"),
        }
        self.typed(operand, ty)
    }

    fn typed(&self, operand: Operand, ty: u32) -> Result<Shape> {
        let s = self.shape(operand)?;
        if s.ty != ty {
            bail!(Format, "an operand has type {}, {ty} is needed", s.ty);
        }
        Ok(s)
    }

    /// A source that is read: a value must have been written before.
    fn source(&self, i: usize, ty: u32) -> Result<Shape> {
        let operand = op::src(self.op, i);
        if let Operand::Value(v) = operand
            && self.written.get(v as usize) != Some(&true)
        {
            bail!(Format, "value {v} is read before it is written");
        }
        if let Operand::Weight(_) = operand {
            bail!(Format, "source {i} cannot be a weight");
        }
        self.typed(operand, ty)
    }

    /// The rows the operation works on: those of its values, which agree; buffers have room for them.
    fn rows(&self, shapes: &[Shape]) -> Result<Dim> {
        let n = shapes
            .iter()
            .find(|s| s.exact)
            .or(shapes.first())
            .map(|s| s.rows)
            .ok_or_else(|| err!(Internal, "no shapes"))?;
        let most = self.max(n)?;
        for s in shapes {
            if (s.exact && s.rows != n) || self.max(s.rows)? < most {
                bail!(Format, "operands differ in rows");
            }
        }
        Ok(n)
    }

    fn span(&mut self, start: Dim, count: Dim, limit: u32, kv_group: Option<u32>) -> Result<()> {
        let most = u64::from(self.max(start)?) + u64::from(self.max(count)?);
        if kv_group.is_none() && most <= u64::from(limit) {
            return Ok(());
        }
        let span = Span {
            start,
            count,
            limit,
            op: self.index,
            kv_group,
        };
        // Layers ask for the same positions one after the other; checking once per step is enough.
        let recent = self.program.spans.iter().rev().take(8);
        if !recent.into_iter().any(|s| Span { op: s.op, ..span } == *s) {
            self.program.spans.push(span);
        }
        Ok(())
    }

    fn dim(&self, i: usize) -> Result<Dim> {
        let dim = Dim::unpack(param(self.op, i));
        self.max(dim)?;
        Ok(dim)
    }

    /// `dst` must not be one of these sources: the kernel reads after it has begun to write.
    fn distinct(&self, sources: &[usize]) -> Result<()> {
        if sources
            .iter()
            .any(|&i| self.op.src.get(i) == Some(&self.op.dst))
        {
            bail!(Format, "the destination is also a source");
        }
        Ok(())
    }

    fn unused(&self, sources: usize, params: usize, flags: u16) -> Result<()> {
        let s = self.op.src.iter().skip(sources).any(|&s| s != 0);
        let p = self.op.param.iter().skip(params).any(|&p| p != 0);
        if s || p || self.op.flags & !flags != 0 {
            bail!(Format, "an unused slot or flag is not zero");
        }
        Ok(())
    }

    fn same_cols(&self, shapes: &[Shape]) -> Result<u64> {
        let cols = shapes.first().map_or(0, |s| s.cols);
        if shapes.iter().any(|s| s.cols != cols) {
            bail!(Format, "operands differ in columns");
        }
        Ok(cols)
    }

    fn finite(&self, i: usize, what: &str) -> Result<f32> {
        let x = op::param_f32(self.op, i);
        if !x.is_finite() {
            bail!(Format, "{what} is not finite");
        }
        Ok(x)
    }

    fn check(&mut self, code: Code) -> Result<()> {
        // In place means source 0 and nothing else.
        self.distinct(&[1, 2, 3, 4, 5, 6, 7, 8, 9])?;
        match code {
            Code::GetRows => self.get_rows(),
            Code::RmsNorm => self.norm(code),
            Code::MulMat => self.mul_mat(),
            Code::Rope => self.rope(),
            Code::FlashAttnExt => self.attention(),
            Code::Glu => self.activation(code),
            Code::Add | Code::Mul => self.binary(),
            Code::Scale => self.scale(code),
            Code::Cpy => self.cpy(),
            Code::Argmax | Code::LogSumExp => self.reduce(code),
            Code::TopK => self.top_k(),
            _ if !ALL_OPS => Err(err!(
                Unsupported,
                "{} is not part of this build of the library (its feature ops)",
                code.name()
            )),
            Code::Norm => self.norm(code),
            Code::MulMatId => self.mul_mat_id(),
            Code::Unary => self.activation(code),
            Code::Softcap | Code::SoftMax => self.scale(code),
            Code::WeightedSum => self.weighted_sum(),
            Code::SsmConv => self.ssm_conv(),
            Code::SsmScan => self.ssm_scan(),
            Code::Concat => self.concat(),
            Code::Div => self.div(),
            Code::Gather => self.gather(),
            Code::ViewCols => self.view_cols(),
            Code::SumRows => self.reduce(code),
            Code::LogitBias => self.logit_bias(),
            Code::Penalties => self.penalties(),
            Code::Mask => self.mask(),
        }
    }

    fn get_rows(&mut self) -> Result<()> {
        self.unused(2, 1, 0)?;
        let table = self.weight(op::src(self.op, 0))?;
        let (ids_cols, rows) = match op::src(self.op, 1) {
            // Without ids: the table's own rows, from the first on.
            Operand::None => (1, self.shape(op::src(self.op, 0))?.rows),
            _ => {
                let ids = self.source(1, TYPE_I32)?;
                (ids.cols, ids.rows)
            }
        };
        let dst = self.dst(TYPE_F32)?;
        if table.ne[0] != dst.cols || ids_cols != 1 || table.ne[2] != 1 || table.ne[3] != 1 {
            bail!(
                Format,
                "table [{}, {}], ids of {ids_cols} columns, destination of {}",
                table.ne[0],
                table.ne[1],
                dst.cols
            );
        }
        let first = self.dim(0)?;
        let limit = self.max(rows)?;
        self.span(first, dst.rows, limit, None)
    }

    fn norm(&mut self, code: Code) -> Result<()> {
        self.unused(3, 2, 0)?;
        let x = self.source(0, TYPE_F32)?;
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, x])?;
        let cols = self.same_cols(&[dst, x])?;
        self.finite(0, "eps")?;
        let group = match param(self.op, 1) {
            0 => cols,
            g => u64::from(g),
        };
        if cols % group != 0 {
            bail!(Format, "{cols} columns in groups of {group}");
        }
        if op::src(self.op, 1) != Operand::None {
            self.vector(1, group, "the norm's weight")?;
        }
        if op::src(self.op, 2) != Operand::None {
            if code == Code::RmsNorm {
                bail!(Format, "RMS_NORM has no bias");
            }
            self.vector(2, group, "the norm's bias")?;
        }
        Ok(())
    }

    fn mul_mat(&mut self) -> Result<()> {
        self.unused(3, 0, 0)?;
        let w = self.weight(op::src(self.op, 0))?;
        let x = self.source(1, TYPE_F32)?;
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, x])?;
        if w.ne != [x.cols, dst.cols, 1, 1] {
            bail!(
                Format,
                "weight [{}, {}] by input of {} columns gives not {}",
                w.ne[0],
                w.ne[1],
                x.cols,
                dst.cols
            );
        }
        if GgmlType::from_id(w.r#type).is_none() {
            bail!(Unsupported, "weight of type {}", w.r#type);
        }
        if op::src(self.op, 2) != Operand::None {
            self.vector(2, dst.cols, "the bias")?;
        }
        Ok(())
    }

    fn rope(&mut self) -> Result<()> {
        self.unused(2, 10, 1)?;
        let x = self.source(0, TYPE_F32)?;
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, x])?;
        let cols = self.same_cols(&[dst, x])?;
        self.dim(0)?;
        let (head_dim, n_dims) = (u64::from(param(self.op, 1)), u64::from(param(self.op, 2)));
        if head_dim == 0
            || cols % head_dim != 0
            || n_dims == 0
            || n_dims % 2 != 0
            || n_dims > head_dim
        {
            bail!(
                Format,
                "{cols} columns, heads of {head_dim}, {n_dims} rotated"
            );
        }
        *self.rope_dims += n_dims;
        if n_dims > u64::from(MAX_ROPE_DIMS) || *self.rope_dims > MAX_ROPE_DIMS_IN_ALL {
            bail!(Limit, "{n_dims} rotated, {} in all so far", self.rope_dims);
        }
        for (i, what) in [
            (3, "freq_base"),
            (4, "freq_scale"),
            (5, "ext_factor"),
            (6, "attn_factor"),
            (7, "beta_fast"),
            (8, "beta_slow"),
        ] {
            self.finite(i, what)?;
        }
        if op::param_f32(self.op, 3) <= 0.0 {
            bail!(Format, "freq_base is not positive");
        }
        if op::src(self.op, 1) != Operand::None {
            self.vector(1, n_dims / 2, "the frequency factors")?;
        }
        Ok(())
    }

    fn attention(&mut self) -> Result<()> {
        self.unused(5, 5, NOT_CAUSAL)?;
        self.distinct(&[0])?;
        if self.op.flags & NOT_CAUSAL != 0 && param(self.op, 3) != 0 {
            bail!(Unsupported, "a window that is not causal");
        }
        let Operand::Kv(layer) = op::src(self.op, 3) else {
            bail!(Format, "source 3 is not a KV layer");
        };
        let kv = *self
            .program
            .kv_layers
            .get(layer as usize)
            .ok_or_else(|| err!(NotFound, "KV layer {layer} does not exist"))?;
        let n_head = u64::from(param(self.op, 1));
        let heads = u64::from(kv.n_head_kv);
        let q = self.source(0, TYPE_F32)?;
        let dst = self.dst(TYPE_F32)?;
        let mut n = self.rows(&[dst, q])?;
        if n_head == 0
            || n_head % heads != 0
            || q.cols != n_head * u64::from(kv.head_dim_k)
            || dst.cols != n_head * u64::from(kv.head_dim_v)
        {
            bail!(
                Format,
                "q of {} and destination of {} columns for {n_head} heads over {heads} of {}/{}",
                q.cols,
                dst.cols,
                kv.head_dim_k,
                kv.head_dim_v
            );
        }
        match (op::src(self.op, 1), op::src(self.op, 2)) {
            (Operand::None, Operand::None) => {}
            _ => {
                let (k, v) = (self.source(1, TYPE_F32)?, self.source(2, TYPE_F32)?);
                // All four: buffers must have room for as many rows as a value among k and v brings.
                n = self.rows(&[dst, q, k, v])?;
                if k.cols != heads * u64::from(kv.head_dim_k)
                    || v.cols != heads * u64::from(kv.head_dim_v)
                {
                    bail!(Format, "k of {} and v of {} columns", k.cols, v.cols);
                }
            }
        }
        if op::src(self.op, 4) != Operand::None {
            self.vector(4, n_head, "the sinks")?;
        }
        self.finite(2, "scale")?;
        self.finite(4, "logit_softcap")?;
        let position = self.dim(0)?;
        self.span(position, n, kv.max_positions, Some(kv.group))
    }

    fn activation(&mut self, code: Code) -> Result<()> {
        let (sources, kinds) = if code == Code::Glu { (2, 5) } else { (1, 7) };
        // The clamped gate has two numbers of its own.
        let clamped = code == Code::Glu && param(self.op, 0) == SWIGLU_OAI;
        self.unused(sources, if clamped { 3 } else { 1 }, 0)?;
        if clamped {
            self.finite(1, "alpha")?;
            self.finite(2, "limit")?;
        }
        let a = self.source(0, TYPE_F32)?;
        let b = if sources == 2 {
            self.source(1, TYPE_F32)?
        } else {
            a
        };
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, a, b])?;
        self.same_cols(&[dst, a, b])?;
        let kind = param(self.op, 0);
        if kind >= kinds && !clamped {
            bail!(Unsupported, "activation {kind}");
        }
        if !ALL_OPS && kind != Act::Silu as u32 {
            bail!(
                Unsupported,
                "activation {kind} is not part of this build of the library (its feature ops)"
            );
        }
        Ok(())
    }

    fn binary(&mut self) -> Result<()> {
        self.unused(2, 0, 0)?;
        let a = self.source(0, TYPE_F32)?;
        if let Operand::Weight(_) = op::src(self.op, 1) {
            // A vector, or a matrix of as many elements: of heads, say.
            let w = self.weight(op::src(self.op, 1))?;
            let [cols, rows, rest @ ..] = w.ne;
            let whole = rest == [1, 1] && cols.checked_mul(rows) == Some(a.cols);
            if !whole || w.r#type != TYPE_F32 {
                self.vector(1, a.cols, "the second operand")?;
            }
            let dst = self.dst(TYPE_F32)?;
            self.rows(&[dst, a])?;
            self.same_cols(&[dst, a])?;
        } else {
            let b = self.source(1, TYPE_F32)?;
            let dst = self.dst(TYPE_F32)?;
            self.rows(&[dst, a, b])?;
            self.same_cols(&[dst, a, b])?;
        }
        Ok(())
    }

    fn scale(&mut self, code: Code) -> Result<()> {
        self.unused(1, if code == Code::Scale { 2 } else { 1 }, 0)?;
        if code == Code::SoftMax {
            self.finite(0, "scale")?;
        }
        let x = self.source(0, TYPE_F32)?;
        let dst = self.dst(TYPE_F32)?;
        self.rows(&[dst, x])?;
        self.same_cols(&[dst, x])?;
        Ok(())
    }

    fn cpy(&mut self) -> Result<()> {
        self.unused(1, 3, 0)?;
        self.distinct(&[0])?;
        let ty = self.shape(op::src(self.op, 0))?.ty;
        let x = self.source(0, ty)?;
        let dst = self.dst(ty)?;
        self.same_cols(&[dst, x])?;
        let (from, to, count) = (self.dim(0)?, self.dim(1)?, self.dim(2)?);
        let (from_limit, to_limit) = (self.max(x.rows)?, self.max(dst.rows)?);
        self.span(from, count, from_limit, None)?;
        self.span(to, count, to_limit, None)
    }

    fn reduce(&mut self, code: Code) -> Result<()> {
        let (params, ty) = match code {
            Code::Argmax => (0, TYPE_I32),
            Code::SumRows => (0, TYPE_F32),
            _ => (1, TYPE_F32),
        };
        self.unused(1, params, 0)?;
        self.distinct(&[0])?;
        let x = self.source(0, TYPE_F32)?;
        let dst = self.dst(ty)?;
        self.rows(&[dst, x])?;
        if dst.cols != 1 {
            bail!(Format, "the destination has {} columns, not 1", dst.cols);
        }
        Ok(())
    }

    fn top_k(&mut self) -> Result<()> {
        self.unused(2, 1, 0)?;
        self.distinct(&[0])?;
        let x = self.source(0, TYPE_F32)?;
        let ids = self.dst(TYPE_I32)?;
        let values_bits = self.op.src.get(1).copied().unwrap_or(0);
        if values_bits == self.op.src.first().copied().unwrap_or(0) {
            bail!(Format, "the values would overwrite the input");
        }
        let values = self.write(values_bits, TYPE_F32)?;
        self.rows(&[ids, x, values])?;
        if ids.cols != values.cols {
            bail!(Format, "{} ids and {} values", ids.cols, values.cols);
        }
        let k = self.dim(0)?;
        let limit = u32::try_from(ids.cols.min(x.cols)).unwrap_or(u32::MAX);
        self.span(k, Dim::Const(0), limit, None)
    }

    /// A list of `count` entries in the first column of source `i`.
    fn list(&mut self, i: usize, ty: u32) -> Result<()> {
        let s = self.source(i, ty)?;
        if s.cols != 1 {
            bail!(Format, "list {i} has {} columns, not 1", s.cols);
        }
        let count = self.dim(0)?;
        let limit = self.max(s.rows)?;
        self.span(Dim::Const(0), count, limit, None)
    }

    fn in_place(&mut self) -> Result<Shape> {
        if self.op.src.first() != Some(&self.op.dst) {
            bail!(Format, "the destination must be source 0");
        }
        self.source(0, TYPE_F32)?;
        self.dst(TYPE_F32)
    }

    fn logit_bias(&mut self) -> Result<()> {
        self.unused(3, 1, 0)?;
        self.in_place()?;
        self.list(1, TYPE_I32)?;
        self.list(2, TYPE_F32)
    }

    fn penalties(&mut self) -> Result<()> {
        self.unused(4, 1, 0)?;
        self.in_place()?;
        self.list(1, TYPE_I32)?;
        self.list(2, TYPE_I32)?;
        let p = self.source(3, TYPE_F32)?;
        if p.cols != 3 || self.max(p.rows)? < 1 {
            bail!(Format, "the penalties are not [1, 3]");
        }
        Ok(())
    }

    fn mask(&mut self) -> Result<()> {
        self.unused(2, 0, 0)?;
        let x = self.in_place()?;
        let bits = self.source(1, TYPE_I32)?;
        if bits.cols != x.cols.div_ceil(32) || self.max(bits.rows)? < 1 {
            bail!(
                Format,
                "a mask of {} words for {} columns",
                bits.cols,
                x.cols
            );
        }
        Ok(())
    }
}
