//! Operations as tasks over bound memory: where validated programs meet the kernels.
//!
//! Everything here trusts the validator: operand kinds, shapes and offsets are right. Pointers are
//! used because threads write to disjoint rows and columns of the same operand at the same time.

mod bound;
mod experts;

pub use bound::Bound;

use super::kernels::act::{self, Act};
use super::kernels::attention::{Attend, KvLayout, attend_row, kv_append_row};
use super::kernels::matmul::{self, ActKind, MulMat};
use super::kernels::rope::{RopeParams, rope_rates, rope_row, rope_table};
use super::kernels::{basic, norm, select, softmax};
use super::op::{ALL_OPS, Code, Operand, TYPE_F16, param, param_dim, param_f32, src};
use super::reference::BAD_DATA;
use crate::backend::table::{realm_kv_layer, realm_op};
use crate::error::{Result, Status, try_vec};
use crate::panics::unless_provoked;
use crate::quant::{self, GgmlType};
use crate::{bail, err};
use alloc::vec::Vec;
use core::ops::Range;
use core::slice::{from_raw_parts, from_raw_parts_mut};

/// FLASH_ATTN_EXT's flag: rows see those behind them too.
pub const NOT_CAUSAL: u16 = 1;

/// Positions in a KV page.
const PAGE: usize = crate::backend::table::REALM_KV_PAGE_POSITIONS as usize;

/// What part of an operation a task does.
enum Kind {
    /// All of it, by rows.
    Rows,
    /// ROPE, with its angles per position.
    Rope(Vec<f64>),
    /// Quantizes the input rows of a MUL_MAT into the workspace.
    Activations(ActKind),
    /// Multiplies, by weight rows.
    Multiply(ActKind),
    /// Multiplies by the experts that each row names, by weight rows.
    MultiplyId(ActKind),
    /// Appends k and v.
    Append,
    /// Attends, by row and head.
    Attend,
}

/// A part of an operation, cut into independent units.
pub struct Task {
    op: u32,
    kind: Kind,
}

/// Whether the reference runs this operation.
pub fn supports(op: &realm_op) -> bool {
    Code::from_u16(op.code).is_some()
}

/// Tasks for a run of operations, and the workspace a step of them needs.
pub fn tasks(bound: &Bound<'_>, first: u32, count: u32) -> Result<(Vec<Task>, u64)> {
    let mut tasks = try_vec(count as usize * 2, "tasks")?;
    let mut workspace = 0u64;
    // What the workspace holds: products of the same input (q, k, v; gate, up) share it.
    // The rows are part of it: of a buffer, each product prepares only as many as it works on.
    let mut held: Option<(u32, ActKind, u32, usize)> = None;
    for i in first..first.saturating_add(count) {
        let op = bound
            .ops
            .get(i as usize)
            .ok_or_else(|| err!(InvalidArgument, "operation {i} is not in the program"))?;
        match Code::from_u16(op.code) {
            Some(code @ (Code::MulMat | Code::MulMatId)) => {
                let (x, w) = (src(op, 1), src(op, 0));
                let ty = bound.weight(w).and_then(|w| GgmlType::from_id(w.r#type));
                let ty = ty.ok_or_else(|| err!(Unsupported, "a weight of unknown type"))?;
                let kind = matmul::act_kind(ty);
                let input = op.src.get(1).copied().unwrap_or(0);
                let (k, parts) = bound.parts(op);
                let rows = bound.row_dim(op);
                if !direct(kind, k) && held != Some((input, kind, rows, k)) {
                    let row = matmul::act_row_bytes(kind, k) as u64;
                    let rows_in_all = bound.max_rows(x).saturating_mul(parts as u64);
                    workspace = workspace.max(row.saturating_mul(rows_in_all));
                    tasks.push(Task {
                        op: i,
                        kind: Kind::Activations(kind),
                    });
                    held = Some((input, kind, rows, k));
                }
                let multiply = match code {
                    Code::MulMatId => Kind::MultiplyId(kind),
                    _ => Kind::Multiply(kind),
                };
                tasks.push(Task {
                    op: i,
                    kind: multiply,
                });
            }
            Some(Code::FlashAttnExt) => {
                if src(op, 1) != Operand::None {
                    tasks.push(Task {
                        op: i,
                        kind: Kind::Append,
                    });
                }
                tasks.push(Task {
                    op: i,
                    kind: Kind::Attend,
                });
            }
            Some(Code::Rope) => {
                let p = rope_params(op);
                let mut rates = try_vec(p.n_dims / 2, "angles")?;
                rates.resize(p.n_dims / 2, 0.0);
                rope_rates(&p, bound.weight_bytes(src(op, 1)), &mut rates);
                tasks.push(Task {
                    op: i,
                    kind: Kind::Rope(rates),
                });
            }
            None => bail!(Unsupported, "operation {i}"),
            Some(_) => tasks.push(Task {
                op: i,
                kind: Kind::Rows,
            }),
        }
        // Whatever else writes to the input makes what the workspace holds stale.
        let second = op
            .src
            .get(1)
            .copied()
            .filter(|_| op.code == Code::TopK as u16);
        if held.is_some_and(|(input, ..)| op.dst == input || second == Some(input)) {
            held = None;
        }
        // An input is also overwritten when another value takes its place in scratch: the plan reuses memory only after
        // the last use, so the operand's number cannot come up again.
    }
    Ok((tasks, workspace))
}

/// Whether rows of floats can be multiplied where they are.
fn direct(kind: ActKind, k: usize) -> bool {
    kind == ActKind::F32 && matmul::act_row_bytes(kind, k) == k * 4
}

/// What a ROPE operation says.
pub fn rope_params(op: &realm_op) -> RopeParams {
    RopeParams {
        n_dims: param(op, 2) as usize,
        freq_base: param_f32(op, 3),
        freq_scale: param_f32(op, 4),
        ext_factor: param_f32(op, 5),
        attn_factor: param_f32(op, 6),
        beta_fast: param_f32(op, 7),
        beta_slow: param_f32(op, 8),
        n_ctx_orig: param(op, 9),
    }
}

/// Row `i` of the destination, holding source 0's row: a copy, where the destination is another operand, so that kernels can work in place.
fn moved<'a>(bound: &Bound<'a>, op: &realm_op, i: usize) -> &'a mut [f32] {
    let dst = Operand::of(op.dst);
    // SAFETY: unit `i` owns row `i` of the destination, and the source is another operand or the same row.
    unsafe {
        if op.src.first() != Some(&op.dst) {
            let from = bound.row::<f32>(src(op, 0), i);
            let to = bound.row_mut::<f32>(dst, i);
            to.copy_from_slice(from);
            return to;
        }
        bound.row_mut(dst, i)
    }
}

impl Task {
    fn op<'a>(&self, bound: &Bound<'a>) -> Option<&'a realm_op> {
        bound.ops.get(self.op as usize)
    }

    /// Whether it multiplies by weights.
    pub fn is_product(&self) -> bool {
        matches!(self.kind, Kind::Multiply(_) | Kind::MultiplyId(_))
    }

    /// How many independent units there are at these registers.
    pub fn units(&self, bound: &Bound<'_>) -> u64 {
        let Some(op) = self.op(bound) else { return 0 };
        let rows = bound.rows(op) as u64;
        match self.kind {
            Kind::Multiply(_) | Kind::MultiplyId(_) if rows > 0 => {
                bound.weight(src(op, 0)).map_or(0, |w| w.ne[1])
            }
            Kind::Multiply(_) | Kind::MultiplyId(_) => 0,
            Kind::Activations(_) => rows * bound.parts(op).1 as u64,
            Kind::Append => rows.min(1),
            Kind::Attend => rows * u64::from(param(op, 1)),
            _ => rows,
        }
    }

    /// Roughly what a unit costs, in multiply-adds.
    pub fn unit_cost(&self, bound: &Bound<'_>) -> u64 {
        let Some(op) = self.op(bound) else { return 1 };
        let cols = bound.shape(Operand::of(op.dst)).0 as u64;
        match self.kind {
            Kind::Multiply(_) => {
                let k = bound.weight(src(op, 0)).map_or(1, |w| w.ne[0]);
                // A weight row is unpacked once for all tokens.
                k * (bound.rows(op) as u64 + 1)
            }
            Kind::MultiplyId(_) => {
                let k = bound.weight(src(op, 0)).map_or(1, |w| w.ne[0]);
                let used = bound.used(op) as u64;
                k.saturating_mul(bound.rows(op) as u64).saturating_mul(used)
            }
            Kind::Attend => {
                let keys = u64::from(param_dim(op, 0, &bound.registers)) + bound.rows(op) as u64;
                let kv = bound.kv_layer(src(op, 3));
                let dim = kv.map_or(1, |k| u64::from(k.head_dim_k) + u64::from(k.head_dim_v));
                match u64::from(param(op, 3)) {
                    0 => keys * dim,
                    window => keys.min(window) * dim,
                }
            }
            Kind::Append => cols * bound.rows(op) as u64,
            _ => row_cost(bound, op),
        }
    }

    /// Does some units.
    pub fn run(&self, bound: &Bound<'_>, units: Range<usize>) -> core::result::Result<(), Status> {
        let op = self.op(bound).ok_or(Status::Internal)?;
        match &self.kind {
            Kind::Rows => rows(bound, op, units),
            Kind::Rope(rates) => {
                let p = rope_params(op);
                let first = param_dim(op, 0, &bound.registers);
                let neox = op.flags & 1 != 0;
                let mut table = try_vec(p.n_dims, "angles").map_err(|e| e.status())?;
                table.resize(p.n_dims, 0.0);
                for i in units {
                    rope_table(&p, rates, first.wrapping_add(i as u32), &mut table);
                    rope_row(moved(bound, op, i), param(op, 1) as usize, neox, &table);
                }
                Ok(())
            }
            Kind::Activations(kind) => {
                let (k, _) = bound.parts(op);
                let row = matmul::act_row_bytes(*kind, k);
                for i in units {
                    // SAFETY: rows are dense, so their parts are as rows of `k`; the workspace was sized for all of
                    // them, and unit `i` owns row `i` of it.
                    unsafe {
                        let from = bound.base(src(op, 1)).cast::<f32>().add(i * k);
                        let to = bound.step.workspace.cast::<u8>().add(i * row);
                        let from = from_raw_parts(from, k);
                        matmul::prepare_act(*kind, from, from_raw_parts_mut(to, row));
                    }
                }
                Ok(())
            }
            Kind::Multiply(kind) => multiply(bound, op, *kind, units),
            Kind::MultiplyId(kind) if ALL_OPS => experts::multiply(bound, op, *kind, units),
            Kind::MultiplyId(_) => Err(Status::Unsupported),
            Kind::Append => append(bound, op),
            Kind::Attend => attend(bound, op, units),
        }
    }
}

/// Roughly what a unit of [`rows`] costs, in multiply-adds.
pub fn row_cost(bound: &Bound<'_>, op: &realm_op) -> u64 {
    let cols = bound.shape(Operand::of(op.dst)).0 as u64;
    if op.code == Code::SsmScan as u16 {
        // All tokens of a head; the destination has a row for each, and for each of the state.
        let (n, heads) = (bound.shape(src(op, 0)).1, bound.shape(src(op, 1)).0);
        let rows = bound.shape(src(op, 2)).0 / (param(op, 0) as usize).max(1);
        let head = cols / (heads as u64).max(1);
        return head.saturating_mul((n as u64 + 1).saturating_mul(2 * rows as u64));
    }
    // exp and friends cost some ten times a multiply-add.
    cols * 8
}

fn multiply(
    bound: &Bound<'_>,
    op: &realm_op,
    kind: ActKind,
    units: Range<usize>,
) -> core::result::Result<(), Status> {
    let (weight, x, dst) = (src(op, 0), src(op, 1), Operand::of(op.dst));
    let w = bound.weight(weight).ok_or(Status::Internal)?;
    let ty = GgmlType::from_id(w.r#type).ok_or(Status::Unsupported)?;
    let n_tok = bound.rows(op);
    let k = w.ne[0] as usize;
    let row = matmul::act_row_bytes(kind, k);
    let act = if direct(kind, k) {
        bound.base(x).cast_const()
    } else {
        bound.step.workspace.cast::<u8>().cast_const()
    };
    let args = MulMat {
        ty,
        w: bound.weight_bytes(weight).ok_or(Status::Internal)?,
        k,
        m: w.ne[1] as usize,
        // SAFETY: that many prepared rows, or rows of the value itself.
        act: unsafe { from_raw_parts(act, row * n_tok) },
        n_tok,
        bias: bound.weight_bytes(src(op, 2)),
        dst: bound.base(dst).cast(),
        dst_stride: bound.shape(dst).0,
    };
    // SAFETY: the units own columns `units` of every row of the destination.
    unsafe { matmul::mul_mat(&args, units) };
    Ok(())
}

/// The memory of a layer's part of a page; null where a window has left it behind.
///
/// # Safety
/// The step has a page of this index.
unsafe fn page(bound: &Bound<'_>, layer: &realm_kv_layer, index: usize) -> *mut u8 {
    // SAFETY: the core has made every page that a step's positions reach.
    unsafe {
        let table = &*bound.step.kv_tables.add(layer.group as usize);
        let page = (*table.pages.add(index)).cast::<u8>();
        if page.is_null() {
            return page;
        }
        page.add(layer.offset as usize)
    }
}

/// The layout of a layer's part of a page.
pub fn layout(layer: &realm_kv_layer) -> core::result::Result<KvLayout, Status> {
    let (k, v) = (layer.head_dim_k, layer.head_dim_v);
    super::memory::layout(layer.r#type, layer.n_head_kv, k, v).map_err(|e| e.status())
}

/// Appends all rows: one unit, because rows of a page are not apart in memory.
fn append(bound: &Bound<'_>, op: &realm_op) -> core::result::Result<(), Status> {
    let layer = bound.kv_layer(src(op, 3)).ok_or(Status::Internal)?;
    let layout = layout(layer)?;
    let first = param_dim(op, 0, &bound.registers) as usize;
    for i in 0..bound.rows(op) {
        let position = first + i;
        // SAFETY: this task alone writes the layer's part of the page.
        unsafe {
            let page = page(bound, layer, position / PAGE);
            if page.is_null() {
                return Err(Status::Internal);
            }
            let page = from_raw_parts_mut(page, layout.page_bytes());
            let (k, v) = (bound.row(src(op, 1), i), bound.row(src(op, 2), i));
            kv_append_row(&layout, page, position % PAGE, k, v);
        }
    }
    Ok(())
}

fn attend(
    bound: &Bound<'_>,
    op: &realm_op,
    units: Range<usize>,
) -> core::result::Result<(), Status> {
    let layer = bound.kv_layer(src(op, 3)).ok_or(Status::Internal)?;
    let layout = layout(layer)?;
    let n_head = param(op, 1) as usize;
    let first = param_dim(op, 0, &bound.registers) as usize;
    // Not causal: every row sees what the last one does.
    let all = (op.flags & NOT_CAUSAL != 0).then(|| first + bound.rows(op).saturating_sub(1));
    // SAFETY: the core has made every page that a step's positions reach; the table holds their addresses.
    let pages = unsafe {
        let table = &*bound.step.kv_tables.add(layer.group as usize);
        from_raw_parts(table.pages.cast::<*const u8>(), table.page_count as usize)
    };
    let args = Attend {
        layout: &layout,
        n_head,
        scale: param_f32(op, 2),
        window: param(op, 3),
        softcap: param_f32(op, 4),
        sinks: bound.weight_bytes(src(op, 4)),
        pages,
        offset: layer.offset as usize,
    };
    let dim_v = layout.head_dims().1;
    let (mut unit, end) = (units.start, units.end);
    while unit < end {
        // As many heads of one row as there are.
        let (i, head) = (unit / n_head, unit % n_head);
        let heads = head..n_head.min(head + (end - unit));
        unit += heads.len();
        // SAFETY: these units own these heads of row `i` of the destination; nobody writes pages or queries now.
        unsafe {
            let out = bound.base(Operand::of(op.dst)).cast::<f32>();
            let out = out.add((i * n_head + head) * dim_v);
            let out = from_raw_parts_mut(out, heads.len() * dim_v);
            let q = bound.row(src(op, 0), i);
            let position = all.unwrap_or(first + i);
            attend_row(&args, position as u32, q, heads, out);
        }
    }
    Ok(())
}

/// Does rows `units` of an operation that works row by row (all but products, ROPE and attention).
pub fn rows(
    bound: &Bound<'_>,
    op: &realm_op,
    units: Range<usize>,
) -> core::result::Result<(), Status> {
    let code = Code::from_u16(op.code).ok_or(Status::Unsupported)?;
    let dst = Operand::of(op.dst);
    for i in units {
        match code {
            Code::GetRows => get_row(bound, op, i)?,
            Code::RmsNorm | Code::Norm => {
                let group = match param(op, 1) as usize {
                    0 => bound.shape(dst).0,
                    g => g,
                };
                let (w, b) = (
                    bound.weight_bytes(src(op, 1)),
                    bound.weight_bytes(src(op, 2)),
                );
                let x = moved(bound, op, i);
                if code == Code::RmsNorm || !ALL_OPS {
                    norm::rms_norm(x, w, group, param_f32(op, 0));
                } else {
                    norm::layer_norm(x, w, b, group, param_f32(op, 0));
                }
            }
            Code::Glu => {
                // SAFETY: source 1 is not the destination.
                let up = unsafe { bound.row(src(op, 1), i) };
                let gate = moved(bound, op, i);
                if ALL_OPS && param(op, 0) == act::SWIGLU_OAI {
                    act::swiglu_oai([param_f32(op, 1), param_f32(op, 2)], gate, up);
                } else {
                    let kind = Act::from_id(param(op, 0)).ok_or(Status::Unsupported)?;
                    act::glu(kind, gate, up);
                }
            }
            Code::Add | Code::Mul => {
                let x = moved(bound, op, i);
                match (bound.weight_bytes(src(op, 1)), code) {
                    (Some(w), Code::Add) => basic::add_weight(x, w),
                    (Some(w), _) => basic::mul_weight(x, w),
                    // SAFETY: source 1 is not the destination.
                    (None, Code::Add) => basic::add(x, unsafe { bound.row(src(op, 1), i) }),
                    // SAFETY: as above.
                    (None, _) => basic::mul(x, unsafe { bound.row(src(op, 1), i) }),
                }
            }
            Code::Scale => basic::scale(moved(bound, op, i), param_f32(op, 0), param_f32(op, 1)),
            Code::Cpy => cpy(bound, op, i),
            // SAFETY: the operands differ; unit `i` owns row `i`.
            Code::Argmax => unsafe {
                let id = select::argmax(bound.row(src(op, 0), i));
                bound.row_mut::<i32>(dst, i).fill(id as i32);
            },
            // SAFETY: as above.
            Code::LogSumExp => unsafe {
                let x = select::logsumexp(bound.row(src(op, 0), i), param_f32(op, 0));
                bound.row_mut::<f32>(dst, i).fill(x);
            },
            // SAFETY: the three operands differ; unit `i` owns row `i` of both results.
            Code::TopK => unsafe {
                let k = param_dim(op, 0, &bound.registers) as usize;
                let ids = bound.row_mut::<i32>(dst, i);
                let values = bound.row_mut::<f32>(src(op, 1), i);
                if let (Some(ids), Some(values)) = (ids.get_mut(..k), values.get_mut(..k)) {
                    select::top_k(bound.row(src(op, 0), i), ids, values);
                }
            },
            // Programs are refused that have others.
            _ if !ALL_OPS => return Err(Status::Unsupported),
            Code::Unary => {
                let kind = Act::from_id(param(op, 0)).ok_or(Status::Unsupported)?;
                act::unary(kind, moved(bound, op, i));
            }
            Code::Softcap => act::softcap(param_f32(op, 0), moved(bound, op, i)),
            // SAFETY: the operands differ; unit `i` owns row `i`.
            Code::ViewCols => unsafe {
                let to = bound.row_mut::<f32>(dst, i);
                experts::view(op, to, bound.row(src(op, 0), i));
            },
            // SAFETY: as above.
            Code::Concat => unsafe {
                let (a, b) = (bound.row(src(op, 0), i), bound.row(src(op, 1), i));
                experts::concat(op, bound.row_mut(dst, i), a, b);
            },
            // SAFETY: as above.
            Code::SumRows => unsafe {
                let sum = basic::sum(bound.row(src(op, 0), i));
                bound.row_mut::<f32>(dst, i).fill(sum);
            },
            // SAFETY: source 1 is not the destination.
            Code::Div => basic::div(moved(bound, op, i), unsafe { bound.row(src(op, 1), i) }),
            // SAFETY: the operands differ; unit `i` owns row `i`.
            Code::Gather => unsafe {
                let (x, ids) = (bound.row(src(op, 0), i), bound.row(src(op, 1), i));
                experts::gather(bound.row_mut(dst, i), x, ids)?;
            },
            // SAFETY: lists are not the destination; their lengths were checked for this step.
            Code::LogitBias => unsafe {
                let n = param_dim(op, 0, &bound.registers) as usize;
                let (ids, bias) = (bound.list(src(op, 1), n), bound.list(src(op, 2), n));
                select::logit_bias(bound.row_mut(dst, i), ids, bias);
            },
            // SAFETY: as above.
            Code::Penalties => unsafe {
                let n = param_dim(op, 0, &bound.registers) as usize;
                let (ids, counts) = (bound.list(src(op, 1), n), bound.list(src(op, 2), n));
                if let &[repeat, frequency, presence] = bound.row::<f32>(src(op, 3), 0) {
                    let p = select::Penalties {
                        repeat,
                        frequency,
                        presence,
                    };
                    select::penalties(bound.row_mut(dst, i), ids, counts, p);
                }
            },
            // SAFETY: as above.
            Code::Mask => unsafe {
                select::mask(bound.row_mut(dst, i), bound.row(src(op, 1), 0));
            },
            Code::SoftMax => softmax::soft_max(moved(bound, op, i), param_f32(op, 0)),
            // SAFETY: the operands differ; unit `i` owns row `i`.
            Code::WeightedSum => unsafe {
                let ids = match src(op, 2) {
                    Operand::None => None,
                    ids => Some(bound.row::<i32>(ids, i)),
                };
                let (x, weights) = (bound.row(src(op, 0), i), bound.row(src(op, 1), i));
                basic::weighted_sum(bound.row_mut(dst, i), x, weights, ids);
            },
            Code::SsmConv => experts::convolve(bound, op, i)?,
            // A unit is a head.
            Code::SsmScan => experts::scan(bound, op, i)?,
            Code::MulMat | Code::MulMatId | Code::Rope | Code::FlashAttnExt => {
                return Err(Status::Internal);
            }
        }
    }
    Ok(())
}

fn get_row(bound: &Bound<'_>, op: &realm_op, i: usize) -> core::result::Result<(), Status> {
    let w = bound.weight(src(op, 0)).ok_or(Status::Internal)?;
    let ty = GgmlType::from_id(w.r#type).ok_or(Status::Unsupported)?;
    let first = param_dim(op, 0, &bound.registers) as usize;
    let id = match src(op, 1) {
        Operand::None => Some((first + i) as u64),
        list => {
            // SAFETY: `first + i` was checked against the list's rows; nobody writes it meanwhile.
            let id = unsafe { bound.row::<i32>(list, first + i) };
            id.first().and_then(|&id| u64::try_from(id).ok())
        }
    };
    let id = id
        .filter(|&id| id < w.ne[1])
        .ok_or_else(|| unless_provoked(BAD_DATA))?;
    let bytes = ty.row_bytes(w.ne[0]).ok_or(Status::Internal)?;
    let table = bound.weight_bytes(src(op, 0)).ok_or(Status::Internal)?;
    let start = (id * bytes) as usize;
    let row = table
        .get(start..start + bytes as usize)
        .ok_or(Status::Internal)?;
    // SAFETY: unit `i` owns row `i` of the destination.
    let to = unsafe { bound.row_mut(Operand::of(op.dst), i) };
    quant::dequantize_row(ty, row, to).map_err(|e| e.status())
}

fn cpy(bound: &Bound<'_>, op: &realm_op, i: usize) {
    let (from, to) = (src(op, 0), Operand::of(op.dst));
    let size = match from {
        Operand::Buffer(b)
            if bound
                .buffers
                .get(b as usize)
                .is_some_and(|b| b.r#type == TYPE_F16) =>
        {
            2
        }
        _ => 4,
    };
    let row = bound.shape(from).0 * size;
    let first = param_dim(op, 0, &bound.registers) as usize + i;
    let target = param_dim(op, 1, &bound.registers) as usize + i;
    // SAFETY: both row spans were checked for this step, and the operands differ.
    unsafe {
        core::ptr::copy_nonoverlapping(
            bound.base(from).add(first * row),
            bound.base(to).add(target * row),
            row,
        );
    }
}
