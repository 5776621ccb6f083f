//! Recording a program: registers, values and operations, then the bytes of `ABI.md`, "Programs".
//!
//! Operations are appended as bytes at once; registers and values are few and are put in front at
//! the end, so the peak is one copy of the program.

use crate::abi::{Result, kind, try_vec};
use alloc::vec::Vec;

/// A dimension: a constant below 2³¹ or a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dim(pub u32);

/// What an operation reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operand(pub u32);

impl Operand {
    /// No operand.
    pub const NONE: Self = Self(0);

    /// A tensor of the model.
    pub const fn weight(handle: u32) -> Self {
        Self(1 << 28 | handle)
    }

    /// A tensor of a further model of the program: the first is 1.
    pub const fn weight_of(model: u32, handle: u32) -> Self {
        Self(1 << 28 | model << 24 | handle)
    }

    /// A session buffer.
    pub const fn buffer(handle: u32) -> Self {
        Self(3 << 28 | handle)
    }

    /// A cache layer.
    pub const fn kv(handle: u32) -> Self {
        Self(4 << 28 | handle)
    }
}

/// An activation, as GLU and UNARY take it: its kind, then its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act(u32, [u32; 2]);

impl Act {
    /// max(x, 0).
    pub const RELU: Self = Self(0, [0; 2]);
    /// x · sigmoid(x).
    pub const SILU: Self = Self(2, [0; 2]);
    /// GELU by its usual approximation with tanh.
    pub const GELU_TANH: Self = Self(1, [0; 2]);
    /// gpt-oss's gate, clamped: its sigmoid takes 1.702 x, and both sides are kept within 7.
    pub const SWIGLU_OAI: Self = Self(7, [1.702f32.to_bits(), 7f32.to_bits()]);
    /// GELU by the error function.
    pub const GELU_ERF: Self = Self(3, [0; 2]);
    /// tanh x, for UNARY.
    pub const TANH: Self = Self(5, [0; 2]);
    /// 1 / (1 + exp(-x)), for UNARY.
    pub const SIGMOID: Self = Self(6, [0; 2]);
}

/// How FLASH_ATTN_EXT attends.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Position of row 0.
    pub position: Dim,
    /// Query heads.
    pub n_head: u32,
    /// Multiplies scores.
    pub scale: f32,
    /// Positions seen; 0: all.
    pub window: u32,
    /// Caps scores; 0: none.
    pub softcap: f32,
    /// Whether a row sees none of those behind it.
    pub causal: bool,
}

/// Rotary embedding, as the ROPE operation takes it.
#[derive(Clone, Copy, Debug)]
pub struct Rope {
    /// Pairs (i, i + n_dims/2) instead of (2i, 2i+1).
    pub neox: bool,
    /// Elements of a head that rotate.
    pub n_dims: u32,
    /// Base of the frequencies.
    pub freq_base: f32,
    /// 1 / linear scaling factor.
    pub freq_scale: f32,
    /// YaRN extrapolation mix; 0 turns YaRN off.
    pub ext_factor: f32,
    /// Scale of the rotated values.
    pub attn_factor: f32,
    /// YaRN ramp.
    pub beta_fast: f32,
    /// YaRN ramp.
    pub beta_slow: f32,
    /// Context the model was trained with before scaling.
    pub n_ctx_orig: u32,
}

const MAGIC: u32 = 0x4752_5052;
const VERSION: u32 = 1 << 16; // major 0 in the low half, minor 1 in the high half
const VERSION_2: u32 = 2 << 16; // knows of further models
const OP_BYTES: usize = 128;

/// Records one program.
pub struct Recorder {
    model: u32,
    further: Vec<u32>,
    regs: Vec<[u32; 4]>,
    values: Vec<[u32; 4]>,
    ops: Vec<u8>,
}

impl Recorder {
    /// An empty program for this model, with room for about so many operations.
    pub fn new(model: u32, ops: usize) -> Result<Self> {
        Ok(Self {
            model,
            further: Vec::new(),
            regs: try_vec(8)?,
            values: try_vec(ops)?,
            // Room for the tables that go in front is taken here, so that `finish` need not move.
            ops: try_vec(32 + 8 * 16 + ops * (OP_BYTES + 16))?,
        })
    }

    /// Names further models whose tensors are used, see [`Operand::weight_of`].
    pub fn further(&mut self, models: impl Iterator<Item = u32>) {
        self.further.extend(models);
    }

    /// A register with its bounds.
    pub fn reg(&mut self, min: u32, max: u32) -> Dim {
        self.regs.push([min, max, 0, 0]);
        Dim(0x8000_0000 | (self.regs.len() as u32 - 1))
    }

    /// A new register from 0 to this bound that goes up by one where a step is repeated.
    pub fn counter(&mut self, max: u32) -> Dim {
        self.regs.push([0, max, 1, 0]);
        Dim(0x8000_0000 | (self.regs.len() as u32 - 1))
    }

    fn value(&mut self, kind: u32, cols: u32, rows: Dim) -> Operand {
        self.values.push([kind, cols, rows.0, 0]);
        Operand(2 << 28 | (self.values.len() as u32 - 1))
    }

    /// An f32 intermediate `[rows, cols]`.
    pub fn f32(&mut self, cols: u32, rows: Dim) -> Operand {
        self.value(kind::F32, cols, rows)
    }

    /// An i32 intermediate `[rows, cols]`.
    pub fn i32(&mut self, cols: u32, rows: Dim) -> Operand {
        self.value(kind::I32, cols, rows)
    }

    /// Columns of a value; 0 for what is none.
    pub fn cols(&self, value: Operand) -> u32 {
        let index = (value.0 & 0x0fff_ffff) as usize;
        match self.values.get(index) {
            Some([_, cols, ..]) if value.0 >> 28 == 2 => *cols,
            _ => 0,
        }
    }

    #[inline(never)]
    fn op(&mut self, code: u16, flags: u16, dst: Operand, src: &[Operand], params: &[u32]) {
        let start = self.ops.len();
        let head = u32::from(code) | u32::from(flags) << 16;
        self.ops.extend_from_slice(&head.to_le_bytes());
        self.ops.extend_from_slice(&dst.0.to_le_bytes());
        for i in 0..10 {
            let operand = src.get(i).copied().unwrap_or(Operand::NONE);
            self.ops.extend_from_slice(&operand.0.to_le_bytes());
        }
        for i in 0..20 {
            let param = params.get(i).copied().unwrap_or(0);
            self.ops.extend_from_slice(&param.to_le_bytes());
        }
        debug_assert_eq!(self.ops.len() - start, OP_BYTES);
    }

    /// dst `[n, d]` = rows `ids[first ..]` of a weight; without ids, its rows from `first` on.
    pub fn get_rows(&mut self, dst: Operand, table: Operand, ids: Operand, first: Dim) {
        self.op(1, 0, dst, &[table, ids], &[first.0]);
    }

    /// dst = x / rms(x) · w, per row in groups of `group` columns (0: the row).
    pub fn rms_norm(&mut self, dst: Operand, x: Operand, w: Operand, eps: f32, group: u32) {
        self.op(2, 0, dst, &[x, w], &[eps.to_bits(), group]);
    }

    /// dst = layer norm of x with weight and bias, per row in groups of `group` columns (0: the row).
    pub fn norm(&mut self, dst: Operand, x: Operand, [w, b]: [Operand; 2], eps: f32, group: u32) {
        self.op(3, 0, dst, &[x, w, b], &[eps.to_bits(), group]);
    }

    /// dst `[n, m]` = x · Wᵀ + bias.
    pub fn mul_mat(&mut self, dst: Operand, weight: Operand, x: Operand, bias: Operand) {
        self.op(4, 0, dst, &[weight, x, bias], &[]);
    }

    /// Rotates `x` in place; row 0 is at `position`.
    pub fn rope(&mut self, x: Operand, factors: Operand, position: Dim, head_dim: u32, r: &Rope) {
        let params = [
            position.0,
            head_dim,
            r.n_dims,
            r.freq_base.to_bits(),
            r.freq_scale.to_bits(),
            r.ext_factor.to_bits(),
            r.attn_factor.to_bits(),
            r.beta_fast.to_bits(),
            r.beta_slow.to_bits(),
            r.n_ctx_orig,
        ];
        self.op(6, u16::from(r.neox), x, &[x, factors], &params);
    }

    /// dst `[n, h·dv]`: appends k, v to the cache, then attends; sources are q, k, v, cache, sinks.
    pub fn attention(&mut self, dst: Operand, sources: &[Operand; 5], a: &Attention) {
        let params = [
            a.position.0,
            a.n_head,
            a.scale.to_bits(),
            a.window,
            a.softcap.to_bits(),
        ];
        self.op(7, u16::from(!a.causal), dst, sources, &params);
    }

    /// dst = act(gate) · up.
    pub fn glu(&mut self, dst: Operand, gate: Operand, up: Operand, Act(kind, [a, b]): Act) {
        self.op(8, 0, dst, &[gate, up], &[kind, a, b]);
    }

    /// dst = act(x).
    pub fn unary(&mut self, dst: Operand, x: Operand, act: Act) {
        self.op(9, 0, dst, &[x], &[act.0]);
    }

    /// dst = a + b.
    pub fn add(&mut self, dst: Operand, a: Operand, b: Operand) {
        self.op(10, 0, dst, &[a, b], &[]);
    }

    /// dst = a · b.
    pub fn mul(&mut self, dst: Operand, a: Operand, b: Operand) {
        self.op(11, 0, dst, &[a, b], &[]);
    }

    /// dst = x · s + b.
    pub fn scale(&mut self, dst: Operand, x: Operand, s: f32, b: f32) {
        self.op(12, 0, dst, &[x], &[s.to_bits(), b.to_bits()]);
    }

    /// dst = c · tanh(x / c).
    pub fn softcap(&mut self, dst: Operand, x: Operand, c: f32) {
        self.op(13, 0, dst, &[x], &[c.to_bits()]);
    }

    /// Copies `rows` rows from row `from` of src to row `to` of dst.
    pub fn copy(&mut self, dst: Operand, to: Dim, src: Operand, from: Dim, rows: Dim) {
        self.op(14, 0, dst, &[src], &[from.0, to.0, rows.0]);
    }

    /// dst = the columns of x from `first` on, of each group of `group` columns (0: of all).
    pub fn view_cols(&mut self, dst: Operand, x: Operand, first: u32, group: u32) {
        self.op(15, 0, dst, &[x], &[first, group]);
    }

    /// dst = in each of so many groups of columns, a's and then b's.
    pub fn concat(&mut self, dst: Operand, a: Operand, b: Operand, groups: u32) {
        self.op(25, 0, dst, &[a, b], &[groups]);
    }

    /// dst `[n, 1]` = the sum of each row.
    pub fn sum_rows(&mut self, dst: Operand, x: Operand) {
        self.op(26, 0, dst, &[x], &[]);
    }

    /// dst = a / b, by one number a row if b has one column.
    pub fn div(&mut self, dst: Operand, a: Operand, b: Operand) {
        self.op(27, 0, dst, &[a, b], &[]);
    }

    /// dst = of each row of x, the elements that its ids name.
    pub fn gather(&mut self, dst: Operand, x: Operand, ids: Operand) {
        self.op(28, 0, dst, &[x, ids], &[]);
    }

    /// dst i32 `[n, 1]` = index of the largest of each row.
    pub fn argmax(&mut self, dst: Operand, x: Operand) {
        self.op(16, 0, dst, &[x], &[]);
    }

    /// ids i32 and values f32, both `[n, K]` = the k largest of each row, descending.
    pub fn top_k(&mut self, ids: Operand, values: Operand, x: Operand, k: Dim) {
        self.op(17, 0, ids, &[x, values], &[k.0]);
    }

    /// x[ids[i]] += bias[i] for the first `count`, in place.
    pub fn logit_bias(&mut self, x: Operand, ids: Operand, bias: Operand, count: Dim) {
        self.op(18, 0, x, &[x, ids, bias], &[count.0]);
    }

    /// Repetition penalties on the first `count` ids, in place.
    pub fn penalties(&mut self, x: Operand, ids: Operand, counts: Operand, f: Operand, n: Dim) {
        self.op(19, 0, x, &[x, ids, counts, f], &[n.0]);
    }

    /// x = -inf wherever the bit of the column is not set, in place; bits are i32 `[1, ⌈cols / 32⌉]`.
    pub fn mask(&mut self, x: Operand, bits: Operand) {
        self.op(20, 0, x, &[x, bits], &[]);
    }

    /// dst f32 `[n, 1]` = log Σ exp(x · scale).
    pub fn logsumexp(&mut self, dst: Operand, x: Operand, scale: f32) {
        self.op(21, 0, dst, &[x], &[scale.to_bits()]);
    }

    /// dst = softmax of each row of x.
    pub fn soft_max(&mut self, dst: Operand, x: Operand) {
        self.op(22, 0, dst, &[x], &[1f32.to_bits()]);
    }

    /// dst `[n, e·m]` = x `[n, k]` or `[n, e·k]` · W[id]ᵀ + bias[id], for the e ids of each row; without ids for all.
    pub fn mul_mat_id(&mut self, dst: Operand, [w, b]: [Operand; 2], x: Operand, ids: Operand) {
        self.op(5, 0, dst, &[w, x, ids, b], &[]);
    }

    /// dst `[n, m]` = the sum of the e parts of x `[n, e·m]`, each times its weight, by ascending id.
    pub fn weighted_sum(&mut self, dst: Operand, x: Operand, weights: Operand, ids: Operand) {
        self.op(23, 0, dst, &[x, weights, ids], &[]);
    }

    /// dst `[n, c]` = the convolution of x, with the rows before it, by weights `[c, taps]`.
    pub fn ssm_conv(&mut self, dst: Operand, x: Operand, before: Operand, weights: Operand) {
        self.op(24, 0, dst, &[x, before, weights], &[]);
    }

    /// dst = the state `[N, c]` after a selective scan, and behind it what comes out, `[n, c]`: of x, dt, B and C, with the rates A and
    /// the factors D, from the state in a buffer's rows from `first` on, or, if `begun` is 0, from zeros.
    pub fn ssm_scan(
        &mut self,
        dst: Operand,
        src: &[Operand; 7],
        groups: u32,
        [first, begun]: [Dim; 2],
    ) {
        self.op(29, 0, dst, src, &[groups, first.0, begun.0]);
    }

    /// The codes of the operations so far: bit i is set if one has code i.
    pub fn codes(&self) -> u32 {
        let heads = self.ops.chunks_exact(OP_BYTES).filter_map(|op| op.first());
        heads.fold(0, |all, code| all | 1 << (code & 31))
    }

    /// The program's bytes.
    pub fn finish(self) -> Vec<u8> {
        let Self {
            model,
            further,
            regs,
            values,
            mut ops,
        } = self;
        let (op_count, op_bytes) = (ops.len() / OP_BYTES, ops.len());
        let front = 32 + 16 * (regs.len() + values.len());
        ops.resize(op_bytes + front, 0);
        ops.copy_within(..op_bytes, front);
        let (r, v, o) = (regs.len() as u32, values.len() as u32, op_count as u32);
        let (version, more) = match further.len() as u32 {
            0 => (VERSION, 0),
            more => (VERSION_2, more),
        };
        let head = [MAGIC, version, r, v, o, model, more, 0];
        let words = head
            .iter()
            .chain(regs.iter().flatten())
            .chain(values.iter().flatten());
        for (target, word) in ops.chunks_exact_mut(4).zip(words) {
            target.copy_from_slice(&word.to_le_bytes());
        }
        ops.extend(further.iter().flat_map(|id| id.to_le_bytes()));
        ops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }

    #[test]
    fn bytes_are_as_the_abi_says() {
        let mut r = Recorder::new(7, 2).unwrap_or_else(|_| unreachable!());
        let n = r.reg(1, 128);
        let x = r.f32(64, n);
        let ids = Operand::buffer(3);
        r.get_rows(x, Operand::weight(5), ids, Dim(0));
        r.rms_norm(x, x, Operand::weight(6), 1e-5, 0);
        assert_eq!(r.codes(), 0b110);
        let bytes = r.finish();
        assert_eq!(bytes.len(), 32 + 16 + 16 + 2 * 128);
        assert_eq!(&bytes[..4], b"RPRG");
        assert_eq!(&bytes[4..8], &[0, 0, 1, 0]);
        let counts = [
            word(&bytes, 8),
            word(&bytes, 12),
            word(&bytes, 16),
            word(&bytes, 20),
        ];
        assert_eq!(counts, [1, 1, 2, 7]);
        assert_eq!([word(&bytes, 32), word(&bytes, 36)], [1, 128]);
        assert_eq!(
            [word(&bytes, 48), word(&bytes, 52), word(&bytes, 56)],
            [0, 64, 0x8000_0000]
        );
        let op = 64;
        assert_eq!(word(&bytes, op), 1);
        assert_eq!(word(&bytes, op + 4), 2 << 28);
        assert_eq!(word(&bytes, op + 8), 1 << 28 | 5);
        assert_eq!(word(&bytes, op + 12), 3 << 28 | 3);
        let op = op + 128;
        assert_eq!(word(&bytes, op), 2);
        assert_eq!(word(&bytes, op + 48), 1e-5f32.to_bits());
    }
}
