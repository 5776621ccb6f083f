//! What an operation is on a device: its kernels and how much work each has.
//!
//! The one place that says what is supported ([`kernels_of`]): an operation without kernels here is the reference's.

use crate::backend::table::{realm_kv_layer, realm_op, realm_program};
use crate::graph::exec::Bound;
use crate::graph::kernels::act::SWIGLU_OAI;
use crate::graph::kernels::matmul::{ActKind, act_kind};
use crate::graph::op::{Code, Dim, Operand, param, src};
use crate::quant::GgmlType;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

/// Threads of a block, rows of weights that a block does at once, and rows of the input that one pass over them takes.
const THREADS: u64 = 256;
pub const WARPS: u64 = 8;
pub const TILE: u64 = 8;
/// Positions of a chunk of attention.
const CHUNK: u64 = 128;
/// Elements that an operand may have: kernels count them in 32 bits.
pub const MOST: u64 = 1 << 31;
/// Elements of a key and of a value that attention has room for.
const MOST_KEY: u32 = 2048;
const MOST_VALUE: u32 = 1024;

/// How many units of work there are in a step: rows (a dim), so many of them at once, times what each of those has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    rows: u32,
    tile: u64,
    pub each: u64,
    /// Units that a block does at once.
    per_block: u64,
}

impl Work {
    pub fn rows(&self, registers: &[u32]) -> u64 {
        Dim::unpack(self.rows).value(registers).into()
    }

    /// Blocks that a step with these registers can keep busy, at most `most`.
    pub fn blocks(&self, registers: &[u32], most: u32) -> u32 {
        let rows = self.rows(registers);
        let tiles = if rows == 1 {
            1
        } else {
            rows.div_ceil(self.tile)
        };
        let blocks = tiles.saturating_mul(self.each).div_ceil(self.per_block);
        blocks.min(u64::from(most)) as u32
    }
}

/// A kernel's name and its work. One of single rows may have a sister that does those of [`TILE`] steps of a batch: `mul_mat_vec_…` has `mul_mat_batch_…`.
pub struct Kernel {
    pub name: String,
    pub work: Work,
    pub when: When,
}

/// For which steps a kernel is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    /// One row: those that spread it over the device.
    Single,
    /// Any other number.
    Several,
}

/// The name that kernels of a type have, if there are any.
fn type_name(ty: GgmlType) -> Option<&'static str> {
    use GgmlType as T;
    Some(match ty {
        T::IQ4_NL => "iq4_nl",
        T::IQ4_XS => "iq4_xs",
        T::MXFP4 => "mxfp4",
        T::F32 | T::F16 | T::BF16 | T::Q8_0 | T::Q4_0 | T::Q4_1 | T::Q5_0 | T::Q5_1 => ty.name(),
        T::Q2_K | T::Q3_K | T::Q4_K | T::Q5_K | T::Q6_K => ty.name(),
        _ => return None,
    })
}

fn kv_name(ty: u32) -> Option<&'static str> {
    let ty = GgmlType::from_id(ty)?;
    let kept = matches!(ty, GgmlType::F32 | GgmlType::F16 | GgmlType::Q8_0);
    kept.then(|| ty.name())
}

/// The rows that an operation works on, as a dim: as [`Bound::rows`] has it, before there are registers.
pub fn rows_of(bound: &Bound<'_>, op: &realm_op) -> u32 {
    let dst = Operand::of(op.dst);
    let dim = |o: Operand| match bound.value(o) {
        Some(v) => v.rows,
        None => bound.shape(o).1 as u32,
    };
    match Code::from_u16(op.code) {
        Some(Code::Cpy) => param(op, 2),
        Some(Code::GetRows | Code::LogitBias | Code::Penalties | Code::Mask) => dim(dst),
        Some(Code::SsmScan) => bound.shape(src(op, 1)).0 as u32,
        Some(Code::SsmConv) => match (dst, src(op, 0)) {
            (Operand::Value(_), _) => dim(dst),
            (_, x @ Operand::Value(_)) => dim(x),
            _ => dim(dst),
        },
        _ => {
            let all = [dst, src(op, 0), src(op, 1), src(op, 2)];
            let exact = all.into_iter().find(|o| matches!(o, Operand::Value(_)));
            dim(exact.unwrap_or(dst))
        }
    }
}

/// The kernels of an operation, in order; none if it is not for this device.
pub fn kernels_of(bound: &Bound<'_>, op: &realm_op) -> Option<Vec<Kernel>> {
    let code = Code::from_u16(op.code)?;
    let operands = [Operand::of(op.dst)]
        .into_iter()
        .chain((0..op.src.len()).map(|i| src(op, i)));
    for o in operands {
        let elements = (bound.shape(o).0 as u64).checked_mul(bound.max_rows(o))?;
        if !matches!(o, Operand::Weight(_)) && elements > MOST {
            return None;
        }
    }
    let rows = rows_of(bound, op);
    let cols = bound.shape(Operand::of(op.dst)).0 as u64;
    let work = |tile, each, per_block| Work {
        rows,
        tile,
        each,
        per_block,
    };
    let one = |name: &str, work| {
        Some(vec![Kernel {
            name: format!("realm_{name}"),
            work,
            when: When::Always,
        }])
    };
    let elements = work(1, cols, THREADS);
    let groups = match param(op, 1) {
        0 => 1,
        group => cols / u64::from(group),
    };
    match code {
        Code::GetRows => {
            let ty = type_name(GgmlType::from_id(bound.weight(src(op, 0))?.r#type)?)?;
            one(
                &format!("get_rows_{ty}"),
                work(1, cols.div_ceil(8), THREADS),
            )
        }
        Code::RmsNorm => one("rms_norm", work(1, groups, 1)),
        Code::Norm => one("norm", work(1, groups, 1)),
        Code::MulMat | Code::MulMatId => product(bound, op, code, rows),
        Code::Rope => one("rope", elements),
        Code::FlashAttnExt => attention(bound, op, rows),
        Code::Glu if param(op, 0) == SWIGLU_OAI => one("swiglu_oai", elements),
        Code::Glu => one("glu", elements),
        Code::Unary => one("unary", elements),
        Code::Add => one("add", elements),
        Code::Mul => one("mul", elements),
        Code::Div => one("div", elements),
        Code::Scale => one("scale", elements),
        Code::Softcap => one("softcap", elements),
        Code::Cpy => one("cpy", elements),
        Code::ViewCols => one("view_cols", elements),
        Code::Concat => one("concat", elements),
        Code::Gather => one("gather", elements),
        Code::Mask => one("mask", elements),
        Code::WeightedSum => one("weighted_sum", elements),
        Code::SsmConv => one("ssm_conv", elements),
        Code::Argmax => one("argmax", work(1, 1, 1)),
        Code::TopK => one("top_k", work(1, 1, 1)),
        Code::LogitBias => one("logit_bias", work(1, 1, 1)),
        Code::Penalties => one("penalties", work(1, 1, 1)),
        Code::LogSumExp => one("logsumexp", work(1, 1, 1)),
        Code::SoftMax => one("soft_max", work(1, 1, 1)),
        Code::SumRows => one("sum_rows", work(1, 1, 1)),
        Code::SsmScan => one("ssm_scan", work(1, 1, 1)),
    }
}

/// Bytes of a row that a product's input is prepared as; 0: it is used as it is.
pub fn prepared_bytes(ty: GgmlType, k: u64) -> u64 {
    match act_kind(ty) {
        ActKind::F32 => 0,
        _ => (k + k / 32 * 4).next_multiple_of(16),
    }
}

fn product(bound: &Bound<'_>, op: &realm_op, code: Code, rows: u32) -> Option<Vec<Kernel>> {
    let w = bound.weight(src(op, 0))?;
    let ty = GgmlType::from_id(w.r#type)?;
    let name = type_name(ty)?;
    let (k, parts) = bound.parts(op);
    if w.ne[0] > MOST || w.ne[1] > MOST || w.ne[2] > MOST || w.bytes / w.ne[1].max(1) > MOST {
        return None;
    }
    let quantize = match act_kind(ty) {
        ActKind::F32 => None,
        ActKind::Q8x32 => Some(("realm_quantize_32", 32)),
        ActKind::Q8x256 => Some(("realm_quantize_256", 256)),
    };
    let mut kernels = Vec::new();
    if let Some((name, block)) = quantize {
        let work = Work {
            rows,
            tile: 1,
            each: (parts * k / block) as u64,
            per_block: WARPS,
        };
        kernels.push(Kernel {
            name: name.into(),
            work,
            when: When::Always,
        });
    }
    let at_once = w.ne[1].div_ceil(WARPS);
    let (prefix, tile, each) = match code {
        Code::MulMatId => ("mul_mat_id", 1, at_once * bound.used(op) as u64),
        _ => ("mul_mat", TILE, at_once),
    };
    let work = Work {
        rows,
        tile,
        each,
        per_block: 1,
    };
    let when = match code {
        Code::MulMatId => When::Always,
        _ => When::Several,
    };
    if when == When::Several {
        kernels.push(Kernel {
            name: format!("realm_mul_mat_vec_{name}"),
            work,
            when: When::Single,
        });
    }
    kernels.push(Kernel {
        name: format!("realm_{prefix}_{name}"),
        work,
        when,
    });
    Some(kernels)
}

fn attention(bound: &Bound<'_>, op: &realm_op, rows: u32) -> Option<Vec<Kernel>> {
    let kv = bound.kv_layer(src(op, 3))?;
    let ty = kv_name(kv.r#type)?;
    if kv.head_dim_k > MOST_KEY || kv.head_dim_v > MOST_VALUE {
        return None;
    }
    let work = |each, per_block| Work {
        rows,
        tile: 1,
        each,
        per_block,
    };
    let kernel = |name: &str, each, per_block, when| Kernel {
        name: format!("realm_{name}"),
        work: work(each, per_block),
        when,
    };
    let mut kernels = Vec::new();
    if src(op, 1) != Operand::None {
        let elements =
            u64::from(kv.n_head_kv) * (u64::from(kv.head_dim_k) + u64::from(kv.head_dim_v));
        let each = if ty == "q8_0" {
            elements / 32
        } else {
            elements
        };
        let name = format!("append_{ty}");
        kernels.push(kernel(&name, each, THREADS, When::Always));
    }
    let heads = u64::from(param(op, 1));
    let name = format!("attend_{ty}");
    kernels.push(kernel(&name, heads, 1, When::Several));
    // As many blocks as the longest context has chunks for, so that launches are the same at any position.
    let name = format!("attend_part_{ty}");
    kernels.push(kernel(&name, heads * chunks(kv), 1, When::Single));
    kernels.push(kernel("attend_merge", heads, 1, When::Single));
    Some(kernels)
}

/// Chunks of pages that a layer's context can have.
fn chunks(kv: &realm_kv_layer) -> u64 {
    u64::from(kv.max_positions).div_ceil(CHUNK).max(1)
}

/// Bytes of the partial results of one row's attention: an output and four numbers more for each head and chunk.
pub fn partial_bytes(kv: &realm_kv_layer, heads: u32) -> u64 {
    u64::from(heads) * chunks(kv) * (u64::from(kv.head_dim_v) + 4) * 4
}

/// Whether the device runs an operation.
///
/// # Safety
/// `program` is whole.
pub unsafe fn supports(program: *const realm_program, index: u32) -> bool {
    // SAFETY: the caller's promise.
    let bound = unsafe { Bound::program(program) };
    let op = bound.ops.get(index as usize);
    op.is_some_and(|op| kernels_of(&bound, op).is_some())
}
