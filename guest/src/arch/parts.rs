//! Reading what most decoders have: sizes, norms, matrices, and the tensors at both ends.
//!
//! Nothing here knows an architecture's name: a family says what it has, and these find and check it.

use super::meta::Meta;
use crate::abi::{self, Result, kind, log, try_vec};
use crate::num;
use crate::program::{Operand, Rope};
use alloc::vec::Vec;
use core::fmt;

/// More would be a damaged file (the deepest published models have under 200), and a program too long.
const MAX_LAYERS: u32 = 512;
/// Keeps every product of two sizes within 2³¹, which the program format asks for.
pub const MAX_DIM: u32 = 1 << 24;

/// Heads and widths of one layer; a file may give them per layer.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Query heads.
    pub n_head: u32,
    /// Key/value heads: a divisor of the query heads; 0 where a layer does not attend.
    pub n_head_kv: u32,
    /// Width of the feed-forward network; 0 where experts have one of their own.
    pub n_ff: u32,
}

/// A norm: of which kind, with its tensors.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Layer norm instead of RMS norm.
    pub layer: bool,
    /// Added to the mean square.
    pub eps: f32,
    /// Columns in a group; 0: all of a row.
    pub group: u32,
    /// f32, or [`Operand::NONE`].
    pub weight: Operand,
    /// f32, or [`Operand::NONE`].
    pub bias: Operand,
}

/// A matrix with its bias, if it has one.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// `[m, k]`
    pub weight: Operand,
    /// `[m]`, or [`Operand::NONE`].
    pub bias: Operand,
    /// m.
    pub width: u32,
}

/// Queries, keys and values: three matrices, or one whose columns are split.
#[derive(Clone, Copy, Debug)]
pub enum Qkv {
    /// One of each.
    Split([Linear; 3]),
    /// One, and the widths of its parts.
    Fused(Linear, [u32; 3]),
}

/// A gated feed-forward network.
#[derive(Clone, Copy, Debug)]
pub struct Mlp {
    /// What is activated.
    pub gate: Linear,
    /// What it is multiplied with.
    pub up: Linear,
    /// Back to the model's width.
    pub down: Linear,
}

/// Rotary embedding with the factors that a file may have for it.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// Its parameters.
    pub rope: Rope,
    /// Factors for any context, or [`Operand::NONE`].
    pub factors: Operand,
    /// Factors for contexts beyond the original, and for those within.
    pub long_short: [Operand; 2],
}

/// Which layers attend.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layers {
    Attend,
    Mixed,
    Recur,
}

/// Sizes, and the tensors at both ends.
pub struct Base {
    /// Width of the residual stream.
    pub n_embd: u32,
    /// Rows of the embedding table.
    pub n_vocab: u32,
    /// Context it was trained for.
    pub n_ctx_train: u32,
    /// Elements of a key head.
    pub head_k: u32,
    /// Elements of a value head.
    pub head_v: u32,
    /// By layer.
    pub layers: Vec<Shape>,
    /// `[n_vocab, n_embd]`
    pub token_embd: Operand,
    /// Before the output matrix.
    pub output_norm: Norm,
    /// The table read backwards ("tied") where a file has no output matrix.
    pub output: Linear,
    /// The embedding table is f32, and so is the rest, most likely.
    pub f32_weights: bool,
}

impl Norm {
    /// RMS norms as the file says, without tensors yet.
    pub fn rms(meta: &Meta) -> Result<Self> {
        Self::of(meta, false, "attention.layer_norm_rms_epsilon")
    }

    /// Layer norms as the file says, without tensors yet.
    pub fn layer(meta: &Meta) -> Result<Self> {
        Self::of(meta, true, "attention.layer_norm_epsilon")
    }

    #[inline(never)]
    fn of(meta: &Meta, layer: bool, key: &str) -> Result<Self> {
        match meta.f32(key)? {
            Some(eps) if (0.0..1.0).contains(&eps) => Ok(Self {
                layer,
                eps,
                group: 0,
                weight: Operand::NONE,
                bias: Operand::NONE,
            }),
            _ => Err(fail!(FORMAT, "{}.{key} is missing or bad", meta.arch)),
        }
    }

    /// Of this kind, with the tensors of this name: the weight must be there, a layer norm's bias may.
    #[inline(never)]
    pub fn named(self, meta: &Meta, name: fmt::Arguments<'_>, n: u32) -> Result<Self> {
        let bias = match self.layer {
            true => meta.maybe_vector(format_args!("{name}.bias"), n)?,
            false => Operand::NONE,
        };
        Ok(Self {
            weight: meta.vector(format_args!("{name}.weight"), n)?,
            bias,
            ..self
        })
    }

    /// The same in groups of `n` columns: heads.
    pub fn per_head(self, n: u32) -> Self {
        Self { group: n, ..self }
    }
}

/// Reads a matrix `[m, k]` and its bias, if there is one.
#[inline(never)]
pub fn linear(meta: &Meta, name: fmt::Arguments<'_>, k: u32, m: u32) -> Result<Linear> {
    Ok(Linear {
        weight: Operand::weight(meta.tensor(format_args!("{name}.weight"), &[k, m])?.handle),
        bias: meta.maybe_vector(format_args!("{name}.bias"), m)?,
        width: m,
    })
}

impl Base {
    /// Reads and checks what the keys and tensors of nearly every decoder say. `norm` is the kind of the last one.
    pub fn read(meta: &Meta, norm: Norm) -> Result<Self> {
        Self::of(meta, norm, Some("output_norm"), Layers::Attend)
    }

    /// The same of a model whose layers do not all attend (these have no key/value heads), and whose last norm has this
    /// name.
    pub fn hybrid(meta: &Meta, norm: Norm, norm_name: &str) -> Result<Self> {
        Self::of(meta, norm, Some(norm_name), Layers::Mixed)
    }

    /// The same of a model without attention: no heads.
    pub fn recurrent(meta: &Meta, norm: Norm) -> Result<Self> {
        Self::of(meta, norm, Some("output_norm"), Layers::Recur)
    }

    /// The same of a model without an output: no last norm.
    pub fn encoder(meta: &Meta, norm: Norm) -> Result<Self> {
        Self::of(meta, norm, None, Layers::Attend)
    }

    #[inline(never)]
    fn of(meta: &Meta, norm: Norm, norm_name: Option<&str>, kind: Layers) -> Result<Self> {
        let arch = meta.arch.as_str();
        let n_layer = meta.need("block_count")?;
        let n_embd = meta.need("embedding_length")?;
        if n_layer > MAX_LAYERS || n_embd > MAX_DIM {
            return Err(fail!(
                FORMAT,
                "{n_layer} layers of width {n_embd} cannot be right"
            ));
        }
        let layers = shapes(meta, n_layer, kind)?;
        let n_head = layers.first().map_or(1, |l| l.n_head);
        let head = |name: &str| Ok(meta.u32(name)?.unwrap_or(n_embd / n_head));
        let (head_k, head_v) = (
            head("attention.key_length")?,
            head("attention.value_length")?,
        );
        let widest = layers.iter().map(|l| l.n_head).max().unwrap_or(1);
        let width = |head: u32| head > 0 && widest.checked_mul(head).is_some_and(|w| w <= MAX_DIM);
        if !width(head_k) || !width(head_v) {
            return Err(fail!(
                FORMAT,
                "{widest} heads of {head_k} and {head_v} cannot be right"
            ));
        }
        let Some(table) = abi::tensor(meta.model, "token_embd.weight")? else {
            return Err(fail!(FORMAT, "the model has no tensor token_embd.weight"));
        };
        // The one size that metadata does not reliably give.
        let [d, v, ..] = table.ne;
        let n_vocab = match u32::try_from(v) {
            Ok(rows) if d == u64::from(n_embd) && rows > 0 && rows <= MAX_DIM => rows,
            _ => {
                return Err(fail!(
                    FORMAT,
                    "tensor token_embd.weight has shape [{d}, {v}], expected [{n_embd}, vocabulary] ({arch})"
                ));
            }
        };
        let output = meta.maybe(format_args!("output.weight"), &[n_embd, n_vocab])?;
        Ok(Self {
            n_embd,
            n_vocab,
            n_ctx_train: meta.need("context_length")?,
            head_k,
            head_v,
            layers,
            token_embd: Operand::weight(table.handle),
            output_norm: match norm_name {
                Some(name) => norm.named(meta, format_args!("{name}"), n_embd)?,
                None => norm,
            },
            output: Linear {
                weight: Operand::weight(output.unwrap_or(table).handle),
                bias: meta.maybe_vector(format_args!("output.bias"), n_vocab)?,
                width: n_vocab,
            },
            f32_weights: table.kind == kind::F32,
        })
    }

    /// A layer's shape.
    pub fn shape(&self, layer: usize) -> Shape {
        let none = Shape {
            n_head: 1,
            n_head_kv: 1,
            n_ff: 0,
        };
        self.layers.get(layer).copied().unwrap_or(none)
    }

    /// What scores are multiplied with where a family says nothing else.
    pub fn attention_scale(&self) -> f32 {
        (1.0 / num::sqrt(f64::from(self.head_k))) as f32
    }

    /// Rotary embedding as the file says. `neox`: pairs are half the turned elements apart, not neighbours.
    #[inline(never)]
    pub fn rotary(&self, meta: &Meta, neox: bool) -> Result<Rotary> {
        let rope = rope(meta, neox, self.head_k, self.n_ctx_train)?;
        let factors =
            |name: &str| meta.maybe_vector(format_args!("rope_{name}.weight"), rope.n_dims / 2);
        let rotary = Rotary {
            rope,
            factors: factors("freqs")?,
            long_short: [factors("factors_long")?, factors("factors_short")?],
        };
        if rotary.factors != Operand::NONE {
            log(3, format_args!("rotary factors from rope_freqs.weight"));
        }
        Ok(rotary)
    }

    /// Reads a value for each layer.
    pub fn each_layer<T>(&self, mut read: impl FnMut(u32, Shape) -> Result<T>) -> Result<Vec<T>> {
        let mut layers = try_vec(self.layers.len())?;
        for (il, shape) in self.layers.iter().enumerate() {
            layers.push(read(il as u32, *shape)?);
        }
        Ok(layers)
    }
}

#[inline(never)]
fn shapes(meta: &Meta, n_layer: u32, kind: Layers) -> Result<Vec<Shape>> {
    let arch = meta.arch.as_str();
    let experts = meta.u32("expert_count")?.is_some_and(|n| n > 0);
    let mut layers = try_vec(n_layer as usize)?;
    for il in 0..n_layer {
        if kind == Layers::Recur {
            layers.push(Shape {
                n_head: 1,
                n_head_kv: 0,
                n_ff: 0,
            });
            continue;
        }
        let need = |name: &str, value: Option<u32>| match value {
            Some(n) if n > 0 && n <= MAX_DIM => Ok(n),
            _ => Err(fail!(
                FORMAT,
                "{arch}.{name} is missing or out of range for layer {il}"
            )),
        };
        let n_head = need(
            "attention.head_count",
            meta.u32_at("attention.head_count", il)?,
        )?;
        let kv = meta.u32_at("attention.head_count_kv", il)?.or(Some(n_head));
        let n_head_kv = match kv {
            Some(0) if kind == Layers::Mixed => 0,
            kv => need("attention.head_count_kv", kv)?,
        };
        let n_ff = match meta.u32_at("feed_forward_length", il)? {
            None | Some(0) if experts => 0,
            other => need("feed_forward_length", other)?,
        };
        if n_head_kv > 0 && !n_head.is_multiple_of(n_head_kv) {
            return Err(fail!(
                FORMAT,
                "{n_head} heads cannot share {n_head_kv} key/value heads"
            ));
        }
        layers.push(Shape {
            n_head,
            n_head_kv,
            n_ff,
        });
    }
    Ok(layers)
}

#[inline(never)]
fn rope(meta: &Meta, neox: bool, head: u32, n_ctx_train: u32) -> Result<Rope> {
    let arch = meta.arch.as_str();
    let n_dims = meta.u32("rope.dimension_count")?.unwrap_or(head);
    if n_dims == 0 || n_dims > head || n_dims % 2 != 0 {
        return Err(fail!(
            FORMAT,
            "{arch}.rope.dimension_count is {n_dims} for heads of {head}"
        ));
    }
    let scaling = meta.string("rope.scaling.type")?;
    let legacy = meta.f32("rope.scale_linear")?;
    let (mut factor, mut ext_factor) = (meta.f32("rope.scaling.factor")?.unwrap_or(1.0), 0.0);
    match scaling.as_deref() {
        // Files from before the type was written have a factor alone, or the old key.
        None | Some("linear") => factor = legacy.filter(|_| factor == 1.0).unwrap_or(factor),
        // The factors of a long rope are tensors.
        Some("none" | "" | "longrope") => factor = 1.0,
        Some("yarn") => ext_factor = 1.0,
        Some(other) => {
            return Err(fail!(
                UNSUPPORTED,
                "rope scaling '{other}' is not known to this guest"
            ));
        }
    }
    if factor == 0.0 {
        factor = 1.0;
    }
    if !(factor > 0.0 && factor.is_finite()) {
        return Err(fail!(
            FORMAT,
            "{arch}.rope.scaling.factor is not a positive number"
        ));
    }
    let mut attn_factor = meta.positive("rope.scaling.attn_factor", 1.0)?;
    let all = meta.f32("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
    if ext_factor > 0.0 && factor > 1.0 && all != 0.0 {
        // What YaRN multiplies turned values with, 1 + 0.1 ln factor, is meant to be taken back from all of them.
        attn_factor /= 1.0 + 0.1 * all * num::ln(f64::from(factor)) as f32;
    }
    Ok(Rope {
        neox,
        n_dims,
        freq_base: meta.positive("rope.freq_base", 10000.0)?,
        freq_scale: 1.0 / factor,
        ext_factor,
        attn_factor,
        beta_fast: meta.positive("rope.scaling.yarn_beta_fast", 32.0)?,
        beta_slow: meta.positive("rope.scaling.yarn_beta_slow", 1.0)?,
        n_ctx_orig: meta
            .u32("rope.scaling.original_context_length")?
            .unwrap_or(n_ctx_train),
    })
}

/// The tensors of one layer.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// Where they are.
    pub meta: &'a Meta,
    /// Which layer.
    pub layer: u32,
}

impl Block<'_> {
    /// A norm `blk.N.name`.
    #[inline(never)]
    pub fn norm(&self, norm: Norm, name: &str, n: u32) -> Result<Norm> {
        let il = self.layer;
        norm.named(self.meta, format_args!("blk.{il}.{name}"), n)
    }

    /// A matrix `blk.N.name`.
    #[inline(never)]
    pub fn linear(&self, name: &str, k: u32, m: u32) -> Result<Linear> {
        let il = self.layer;
        linear(self.meta, format_args!("blk.{il}.{name}"), k, m)
    }

    /// Matrices `blk.N.name` for each of `count`, with their biases `[count, m]`, if there are any; the width is m.
    #[inline(never)]
    pub fn stack(&self, name: &str, k: u32, m: u32, count: u32) -> Result<Linear> {
        let name = abi::Line::format(format_args!("blk.{}.{name}", self.layer));
        let (meta, name) = (self.meta, name.text());
        let weight = meta.tensor(format_args!("{name}.weight"), &[k, m, count])?;
        Ok(Linear {
            weight: Operand::weight(weight.handle),
            bias: meta.maybe_matrix(format_args!("{name}.bias"), m, count)?,
            width: m,
        })
    }

    /// Whether there is a tensor `blk.N.name`.
    #[inline(never)]
    pub fn has(&self, name: &str) -> Result<bool> {
        let line = abi::Line::format(format_args!("blk.{}.{name}", self.layer));
        Ok(abi::tensor(self.meta.model, line.text())?.is_some())
    }

    /// Queries, keys and values, in whichever form the file has them.
    #[inline(never)]
    pub fn qkv(&self, base: &Base) -> Result<Qkv> {
        let shape = base.shape(self.layer as usize);
        let widths = [
            shape.n_head * base.head_k,
            shape.n_head_kv * base.head_k,
            shape.n_head_kv * base.head_v,
        ];
        if self.has("attn_qkv.weight")? {
            let fused = self.linear("attn_qkv", base.n_embd, widths.iter().sum())?;
            return Ok(Qkv::Fused(fused, widths));
        }
        let [q, k, v] = widths;
        Ok(Qkv::Split([
            self.linear("attn_q", base.n_embd, q)?,
            self.linear("attn_k", base.n_embd, k)?,
            self.linear("attn_v", base.n_embd, v)?,
        ]))
    }

    /// What attention's result goes through.
    #[inline(never)]
    pub fn attn_output(&self, base: &Base) -> Result<Linear> {
        let n_head = base.shape(self.layer as usize).n_head;
        self.linear("attn_output", n_head * base.head_v, base.n_embd)
    }

    /// The feed-forward network `ffn_gate`, `ffn_up`, `ffn_down`.
    #[inline(never)]
    pub fn mlp(&self, base: &Base) -> Result<Mlp> {
        let (d, ff) = (base.n_embd, base.shape(self.layer as usize).n_ff);
        Ok(Mlp {
            gate: self.linear("ffn_gate", d, ff)?,
            up: self.linear("ffn_up", d, ff)?,
            down: self.linear("ffn_down", ff, d)?,
        })
    }

    /// The expert that all tokens go through, `ff` wide: `ffn_gate_shexp` and so on.
    #[inline(never)]
    pub fn shared_mlp(&self, base: &Base, ff: u32) -> Result<Mlp> {
        let d = base.n_embd;
        Ok(Mlp {
            gate: self.linear("ffn_gate_shexp", d, ff)?,
            up: self.linear("ffn_up_shexp", d, ff)?,
            down: self.linear("ffn_down_shexp", ff, d)?,
        })
    }
}
