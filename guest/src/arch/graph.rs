//! Recording a graph: what most decoders' layers are put together from.
//!
//! A [`Graph`] holds the recorder, the registers of a step, and how many rows it works on at this point: all tokens, or,
//! behind the last cache, only those whose logits are wanted. Matrices are written `[rows, columns]`.

use super::Family;
use super::parts::{Base, Linear, Mlp, Norm, Qkv, Rotary};
use crate::abi::{self, Result, try_vec};
use crate::lora::{Lora, Pair};
use crate::program::{Act, Attention, Dim, Operand, Recorder};
use crate::recur::Regs;
use crate::slim;
use alloc::vec::Vec;

/// Registers and buffers that a graph is built over.
#[derive(Clone, Copy, Debug)]
pub struct Io {
    /// i32 ids, one row per token.
    pub tokens: Operand,
    /// Tokens in this step, ≥ 1.
    pub n_tok: Dim,
    /// Position of the first.
    pub pos: Dim,
    /// The row whose logits are wanted.
    pub out_row: Dim,
    /// How many rows of logits are wanted: 0 or 1.
    pub n_out: Dim,
    /// Positions the session has.
    pub ctx: u32,
    /// f32, what queries are divided by at each position of the session, or [`Operand::NONE`].
    pub divisors: Operand,
    /// i32 zeros, one row per token; of a model that makes embeddings.
    pub types: Operand,
    /// Where convolutions keep rows, if the model has any.
    pub kept: Option<Regs>,
    /// The last hidden rows are wanted, of all tokens, and no logits.
    pub hidden: bool,
}

/// A graph being recorded.
pub struct Graph<'a> {
    /// For what has no method here.
    pub r: &'a mut Recorder,
    /// The step.
    pub io: Io,
    /// Rows of values at this point.
    pub n: Dim,
    /// What is added to products.
    lora: &'a Lora,
    /// The matrices that it could be added to, and the tables.
    pub adaptable: Vec<(Operand, bool)>,
}

/// What a selective scan has of the model.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    /// Groups of heads that share B and C.
    pub groups: u32,
    /// A rate for each head.
    pub rates: Operand,
    /// What each head's input is multiplied with, and added.
    pub factors: Operand,
}

/// How a layer attends.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub n_head: u32,
    /// Elements of a value head.
    pub head_v: u32,
    /// Multiplies scores.
    pub scale: f32,
    /// Positions seen; 0: all.
    pub window: u32,
    /// Caps scores; 0: none.
    pub softcap: f32,
    /// Whether a token sees none of those behind it.
    pub causal: bool,
    /// A score per head that attracts attention and has no value, or [`Operand::NONE`].
    pub sinks: Operand,
}

/// A buffer of what queries are divided by at each position, of a model that scales them.
pub fn query_divisors(family: &dyn Family, ctx: u32) -> Result<Operand> {
    const AT_ONCE: usize = 256;
    let plain = |at| family.query_scale(at).is_none_or(|scale| scale == 1.0);
    if family.query_scale(0).is_none() || (0..ctx).all(plain) {
        return Ok(Operand::NONE);
    }
    let buffer = abi::buffer(abi::kind::F32, 1, ctx)?;
    let mut divisors = try_vec(AT_ONCE)?;
    for first in (0..ctx).step_by(AT_ONCE) {
        let positions = (first..ctx).take(AT_ONCE);
        divisors.clear();
        divisors.extend(positions.map(|at| 1.0 / family.query_scale(at).unwrap_or(1.0)));
        abi::buffer_write(buffer, first, &divisors)?;
    }
    Ok(Operand::buffer(buffer))
}

impl Heads {
    /// A layer of this model that sees everything.
    pub fn of(base: &Base, layer: usize) -> Self {
        Self {
            n_head: base.shape(layer).n_head,
            head_v: base.head_v,
            scale: base.attention_scale(),
            window: 0,
            softcap: 0.0,
            causal: true,
            sinks: Operand::NONE,
        }
    }
}

// Out of line, so that families are small.
impl<'a> Graph<'a> {
    /// Begins with all tokens.
    pub fn new(r: &'a mut Recorder, io: Io, lora: &'a Lora) -> Self {
        Self {
            r,
            io,
            n: io.n_tok,
            lora,
            adaptable: Vec::new(),
        }
    }

    /// What adapters there are for a matrix, or for a table.
    fn adapters(&mut self, weight: Operand, table: bool) -> &'a [Pair] {
        if slim::LORA {
            self.adaptable.push((weight, table));
        }
        self.lora.of(weight, table)
    }

    /// A new value with `cols` columns.
    #[inline(never)]
    pub fn value(&mut self, cols: u32) -> Operand {
        self.r.f32(cols, self.n)
    }

    /// The tokens' embeddings `[n, d]`.
    #[inline(never)]
    pub fn embed(&mut self, base: &Base) -> Operand {
        let x = self.value(base.n_embd);
        let tokens = self.io.tokens;
        self.r.get_rows(x, base.token_embd, tokens, Dim(0));
        for pair in self.adapters(base.token_embd, true) {
            let low = self.value(pair.rank);
            self.r.get_rows(low, pair.a, tokens, Dim(0));
            let more = self.value(base.n_embd);
            self.r.scale(low, low, pair.scale, 0.0);
            self.r.mul_mat(more, pair.b, low, Operand::NONE);
            self.add(x, more);
        }
        x
    }

    /// The rows of a table that a list names.
    pub fn rows_of(&mut self, table: Operand, list: Operand, cols: u32) -> Operand {
        let x = self.value(cols);
        self.r.get_rows(x, table, list, Dim(0));
        x
    }

    /// x `[n, k]` → `[n, m]`.
    #[inline(never)]
    pub fn linear(&mut self, linear: &Linear, x: Operand) -> Operand {
        let out = self.value(linear.width);
        self.r.mul_mat(out, linear.weight, x, linear.bias);
        for pair in self.adapters(linear.weight, false) {
            let low = self.value(pair.rank); // [n, r]: scaled here, where columns are few
            self.r.mul_mat(low, pair.a, x, Operand::NONE);
            self.r.scale(low, low, pair.scale, 0.0);
            let more = self.value(linear.width);
            self.r.mul_mat(more, pair.b, low, Operand::NONE);
            self.add(out, more);
        }
        out
    }

    /// x `[n, k]` or `[n, e·k]` → `[n, e·m]`, by the matrices of a stack that each row's e ids name.
    #[inline(never)]
    pub fn linear_id(&mut self, stack: &Linear, x: Operand, ids: Operand) -> Operand {
        let used = self.r.cols(ids);
        let out = self.value(used * stack.width);
        self.r.mul_mat_id(out, [stack.weight, stack.bias], x, ids);
        for pair in self.adapters(stack.weight, false) {
            let (low, none) = (self.value(used * pair.rank), Operand::NONE);
            self.r.mul_mat_id(low, [pair.a, none], x, ids);
            self.r.scale(low, low, pair.scale, 0.0);
            let more = self.value(used * stack.width);
            self.r.mul_mat_id(more, [pair.b, none], low, ids);
            self.add(out, more);
        }
        out
    }

    /// A normalised copy of x.
    #[inline(never)]
    pub fn norm(&mut self, norm: &Norm, x: Operand) -> Operand {
        let out = self.value(self.r.cols(x));
        self.norm_to(out, norm, x);
        out
    }

    /// Normalises x in place.
    #[inline(never)]
    pub fn norm_in_place(&mut self, norm: &Norm, x: Operand) {
        self.norm_to(x, norm, x);
    }

    #[inline(never)]
    fn norm_to(&mut self, dst: Operand, n: &Norm, x: Operand) {
        if n.layer {
            self.r.norm(dst, x, [n.weight, n.bias], n.eps, n.group);
        } else {
            self.r.rms_norm(dst, x, n.weight, n.eps, n.group);
        }
    }

    /// Queries, keys and values of x.
    #[inline(never)]
    pub fn qkv(&mut self, qkv: &Qkv, x: Operand) -> [Operand; 3] {
        match qkv {
            Qkv::Split(parts) => parts.each_ref().map(|part| self.linear(part, x)),
            Qkv::Fused(all, widths) => {
                let all = self.linear(all, x);
                self.split(all, *widths)
            }
        }
    }

    /// The columns of x in parts, from the first.
    #[inline(never)]
    pub fn split<const N: usize>(&mut self, x: Operand, widths: [u32; N]) -> [Operand; N] {
        let mut first = 0;
        widths.map(|width| {
            let part = self.value(width);
            self.r.view_cols(part, x, first, 0);
            first += width;
            part
        })
    }

    /// `width` columns from `first` on of each of x's heads, of which there are so many of so many columns.
    #[inline(never)]
    pub fn columns(
        &mut self,
        x: Operand,
        [heads, of]: [u32; 2],
        first: u32,
        width: u32,
    ) -> Operand {
        let part = self.value(heads * width);
        self.r.view_cols(part, x, first, of);
        part
    }

    /// In each of so many groups, a's columns and b's behind them.
    #[inline(never)]
    pub fn concat(&mut self, groups: u32, a: Operand, b: Operand) -> Operand {
        let both = self.value(self.r.cols(a) + self.r.cols(b));
        self.r.concat(both, a, b, groups);
        both
    }

    /// Each head of x by a matrix of its own: `[n, h·k]` → `[n, h·m]`.
    #[inline(never)]
    pub fn each_head(&mut self, stack: &Linear, n_head: u32, x: Operand) -> Operand {
        let out = self.value(n_head * stack.width);
        let weights = [stack.weight, stack.bias];
        self.r.mul_mat_id(out, weights, x, Operand::NONE);
        out
    }

    /// Turns heads of queries and keys in place.
    #[inline(never)]
    pub fn rope(&mut self, rotary: &Rotary, head: u32, heads: [Operand; 2]) {
        let [long, short] = rotary.long_short;
        let factors = match rotary.factors {
            Operand::NONE if self.io.ctx > rotary.rope.n_ctx_orig => long,
            Operand::NONE => short,
            factors => factors,
        };
        for x in heads {
            self.r.rope(x, factors, self.io.pos, head, &rotary.rope);
        }
    }

    /// Appends keys and values to the cache, and attends: `[n, h·dv]`.
    #[inline(never)]
    pub fn attend(&mut self, heads: &Heads, [q, k, v]: [Operand; 3], kv: u32) -> Operand {
        let out = self.value(heads.n_head * heads.head_v);
        let attention = Attention {
            position: self.io.pos,
            n_head: heads.n_head,
            scale: heads.scale,
            window: heads.window,
            softcap: heads.softcap,
            causal: heads.causal,
        };
        let sources = [q, k, v, Operand::kv(kv), heads.sinks];
        self.r.attention(out, &sources, &attention);
        out
    }

    /// A causal convolution of x by weights `[d, taps]`, with the rows before it from `buffer`, which gets those before the
    /// next step. Nothing of a model that keeps no rows.
    #[inline(never)]
    pub fn short_conv(&mut self, x: Operand, weights: Operand, buffer: u32) -> Operand {
        let cols = self.r.cols(x);
        let out = self.value(cols);
        let (buffer, io) = (Operand::buffer(buffer), self.io);
        if let Some(k) = io.kept {
            let before = self.r.f32(cols, Dim(k.rows));
            self.r.copy(before, Dim(0), buffer, k.from, Dim(k.rows));
            self.r.ssm_conv(out, x, before, weights);
            self.r.copy(buffer, k.to, before, k.fresh, k.stay);
            self.r.copy(buffer, k.fresh_to, x, k.fresh_from, k.fresh);
        }
        out
    }

    /// A selective scan of x, dt, B and C, with the state before it from `buffer`, which gets that before the next step. Nothing of
    /// a model without state.
    #[inline(never)]
    pub fn scan(&mut self, scan: &Scan, [x, dt, b, c]: [Operand; 4], buffer: u32) -> Operand {
        let cols = self.r.cols(x);
        let out = self.value(cols);
        let buffer = Operand::buffer(buffer);
        if let Some(regs) = self.io.kept.and_then(|kept| kept.scan) {
            let both = self.r.f32(cols, regs.all); // the state after, and behind it what comes out
            let sources = [x, dt, b, c, scan.rates, buffer, scan.factors];
            self.r.ssm_scan(both, &sources, scan.groups, regs.from);
            let (none, rows) = (Dim(0), Dim(regs.rows));
            self.r.copy(buffer, regs.to, both, none, rows);
            self.r.copy(out, none, both, rows, self.n);
        }
        out
    }

    /// Behind the last cache append only the rows whose logits are wanted matter: none in all chunks of a prompt but the
    /// last, so those end here. Of other layers than the `last` all rows go on.
    #[inline(never)]
    pub fn wanted<const N: usize>(&mut self, last: bool, values: [Operand; N]) -> [Operand; N] {
        if !last || self.io.hidden {
            return values;
        }
        self.n = self.io.n_out;
        values.map(|x| {
            let kept = self.value(self.r.cols(x));
            let (from, rows) = (self.io.out_row, self.n);
            self.r.copy(kept, Dim(0), x, from, rows);
            kept
        })
    }

    /// x += y.
    #[inline(never)]
    pub fn add(&mut self, x: Operand, y: Operand) {
        self.r.add(x, x, y);
    }

    /// x *= s, unless that changes nothing.
    #[inline(never)]
    pub fn scale(&mut self, x: Operand, s: f32) {
        if s != 1.0 {
            self.r.scale(x, x, s, 0.0);
        }
    }

    /// Scales queries by their positions, in place, if the model does so.
    #[inline(never)]
    pub fn scale_by_position(&mut self, q: Operand) {
        if self.io.divisors != Operand::NONE {
            let own = self.value(1);
            let Io { divisors, pos, .. } = self.io;
            self.r.copy(own, Dim(0), divisors, pos, self.n);
            self.r.div(q, q, own);
        }
    }

    /// Caps x at ± c, unless c is 0.
    #[inline(never)]
    pub fn softcap(&mut self, x: Operand, c: f32) {
        if c != 0.0 {
            self.r.softcap(x, x, c);
        }
    }

    /// down(act(gate(x)) · up(x)).
    #[inline(never)]
    pub fn mlp(&mut self, mlp: &Mlp, x: Operand, act: Act) -> Operand {
        let gate = self.linear(&mlp.gate, x); // [n, ff]
        let up = self.linear(&mlp.up, x);
        self.r.glu(gate, gate, up, act);
        self.linear(&mlp.down, gate)
    }

    /// Logits `[n_out, v]` of the residual stream, or its last hidden rows, if these are wanted.
    pub fn logits(&mut self, base: &Base, x: Operand) -> Operand {
        self.scaled_logits(base, x, 1.0, 0.0)
    }

    /// The same; logits are scaled by `s`, and capped at ± `c`, unless that is 0.
    #[inline(never)]
    pub fn scaled_logits(&mut self, base: &Base, x: Operand, s: f32, c: f32) -> Operand {
        self.norm_in_place(&base.output_norm, x);
        if self.io.hidden {
            return x;
        }
        let logits = self.linear(&base.output, x);
        self.scale(logits, s);
        self.softcap(logits, c);
        logits
    }
}
