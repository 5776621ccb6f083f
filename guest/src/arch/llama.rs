//! The llama family: llama and mistral (architecture "llama"), qwen2, qwen3.
//!
//! Pre-norm blocks of grouped-query attention and a gated feed-forward network. The members differ in
//! the pairing of the rotary embedding, in biases (qwen2), in norms on queries and keys (qwen3), in
//! rotary factors (llama 3) and in the attention window (mistral).

use super::{Facts, Family, Io, Meta};
use crate::abi::{KvDesc, Result, kind, log, try_vec};
use crate::num;
use crate::program::{Dim, Operand, Recorder, Rope, SILU};
use alloc::vec::Vec;
use core::fmt;

/// Heads and widths of one layer; a file may give them per layer.
struct Shape {
    n_head: u32,
    n_head_kv: u32,
    n_ff: u32,
}

/// Hyper-parameters.
struct Hparams {
    n_embd: u32,
    n_vocab: u32,
    n_ctx_train: u32,
    head_k: u32,
    head_v: u32,
    eps: f32,
    window: u32,
    rope: Rope,
    qk_norm: bool,
    layers: Vec<Shape>,
}

/// A matrix with its bias, if it has one.
struct Linear {
    weight: Operand,
    bias: Operand,
}

struct Layer {
    attn_norm: Operand,
    q: Linear,
    k: Linear,
    v: Linear,
    q_norm: Operand,
    k_norm: Operand,
    output: Linear,
    ffn_norm: Operand,
    gate: Linear,
    up: Linear,
    down: Linear,
}

struct Tensors {
    token_embd: Operand,
    rope_factors: Operand,
    layers: Vec<Layer>,
    output_norm: Operand,
    output: Linear,
    f32_weights: bool,
}

/// A model of the llama family.
pub struct Llama {
    h: Hparams,
    t: Tensors,
}

/// Reads and checks a model whose architecture is of this family.
pub fn open(meta: &Meta) -> Result<Llama> {
    let h = hparams(meta)?;
    let t = tensors(meta, &h)?;
    Ok(Llama { h, t })
}

/// More would be a damaged file (the deepest published models have under 200), and a program too long.
const MAX_LAYERS: u32 = 512;
/// Keeps every product of two sizes within 2³¹, which the program format asks for.
const MAX_DIM: u32 = 1 << 24;

fn hparams(meta: &Meta) -> Result<Hparams> {
    let arch = meta.arch.as_str();
    if let Some(n) = meta.u32("expert_count")?.filter(|n| *n > 0) {
        return Err(fail!(
            UNSUPPORTED,
            "mixture-of-experts models ({arch}.expert_count is {n}) need a newer guest"
        ));
    }
    let n_layer = meta.need("block_count")?;
    let n_embd = meta.need("embedding_length")?;
    if n_layer > MAX_LAYERS || n_embd > MAX_DIM {
        return Err(fail!(
            FORMAT,
            "{n_layer} layers of width {n_embd} cannot be right"
        ));
    }
    let mut layers = try_vec(n_layer as usize)?;
    for il in 0..n_layer {
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
        let n_head_kv = need("attention.head_count_kv", kv)?;
        let n_ff = need(
            "feed_forward_length",
            meta.u32_at("feed_forward_length", il)?,
        )?;
        if !n_head.is_multiple_of(n_head_kv) {
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
    let n_head = layers.first().map_or(1, |l| l.n_head);
    let head_k = meta.u32("attention.key_length")?.unwrap_or(n_embd / n_head);
    let head_v = meta
        .u32("attention.value_length")?
        .unwrap_or(n_embd / n_head);
    let eps = match meta.f32("attention.layer_norm_rms_epsilon")? {
        Some(eps) if (0.0..1.0).contains(&eps) => eps,
        _ => {
            return Err(fail!(
                FORMAT,
                "{arch}.attention.layer_norm_rms_epsilon is missing or bad"
            ));
        }
    };
    let n_ctx_train = meta.need("context_length")?;
    let widest = layers.iter().map(|l| l.n_head).max().unwrap_or(1);
    let width = |head: u32| head > 0 && widest.checked_mul(head).is_some_and(|w| w <= MAX_DIM);
    if !width(head_k) || !width(head_v) {
        return Err(fail!(
            FORMAT,
            "{widest} heads of {head_k} and {head_v} cannot be right"
        ));
    }
    // Only this member's files mean it: qwen2 writes the key for a window it does not use.
    let window = match arch {
        "llama" => meta.u32("attention.sliding_window")?.unwrap_or(0),
        _ => 0,
    };
    Ok(Hparams {
        n_embd,
        n_vocab: vocabulary(meta, n_embd)?,
        n_ctx_train,
        head_k,
        head_v,
        eps,
        window,
        rope: rope(meta, head_k, n_ctx_train)?,
        qk_norm: arch == "qwen3",
        layers,
    })
}

/// Rows of the embedding table: the one size that metadata does not reliably give.
fn vocabulary(meta: &Meta, n_embd: u32) -> Result<u32> {
    let Some(table) = crate::abi::tensor(meta.model, "token_embd.weight")? else {
        return Err(fail!(FORMAT, "the model has no tensor token_embd.weight"));
    };
    let [d, v, ..] = table.ne;
    match u32::try_from(v) {
        Ok(rows) if d == u64::from(n_embd) && rows > 0 && rows <= MAX_DIM => Ok(rows),
        _ => Err(fail!(
            FORMAT,
            "tensor token_embd.weight has shape [{d}, {v}], expected [{n_embd}, vocabulary]"
        )),
    }
}

fn rope(meta: &Meta, head: u32, n_ctx_train: u32) -> Result<Rope> {
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
        Some("none" | "") => factor = 1.0,
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
    let positive = |name: &str, default: f32| match meta.f32(name)?.unwrap_or(default) {
        v if v > 0.0 && v.is_finite() => Ok(v),
        _ => Err(fail!(FORMAT, "{arch}.{name} is not a positive number")),
    };
    if !(factor > 0.0 && factor.is_finite()) {
        return Err(fail!(
            FORMAT,
            "{arch}.rope.scaling.factor is not a positive number"
        ));
    }
    Ok(Rope {
        neox: arch != "llama",
        n_dims,
        freq_base: positive("rope.freq_base", 10000.0)?,
        freq_scale: 1.0 / factor,
        ext_factor,
        attn_factor: positive("rope.scaling.attn_factor", 1.0)?,
        beta_fast: positive("rope.scaling.yarn_beta_fast", 32.0)?,
        beta_slow: positive("rope.scaling.yarn_beta_slow", 1.0)?,
        n_ctx_orig: meta
            .u32("rope.scaling.original_context_length")?
            .unwrap_or(n_ctx_train),
    })
}

fn linear(meta: &Meta, name: fmt::Arguments<'_>, k: u32, m: u32) -> Result<Linear> {
    Ok(Linear {
        weight: Operand::weight(meta.tensor(format_args!("{name}.weight"), &[k, m])?.handle),
        bias: meta.maybe_vector(format_args!("{name}.bias"), m)?,
    })
}

fn tensors(meta: &Meta, h: &Hparams) -> Result<Tensors> {
    let d = h.n_embd;
    let mut layers = try_vec(h.layers.len())?;
    for (il, shape) in h.layers.iter().enumerate() {
        let Shape {
            n_head,
            n_head_kv,
            n_ff,
        } = *shape;
        let (q, k, v) = (
            n_head * h.head_k,
            n_head_kv * h.head_k,
            n_head_kv * h.head_v,
        );
        let norm = |name: &str, n: u32| meta.vector(format_args!("blk.{il}.{name}.weight"), n);
        let matrix =
            |name: &str, k: u32, m: u32| linear(meta, format_args!("blk.{il}.{name}"), k, m);
        let head_norm = |name: &str| match h.qk_norm {
            true => norm(name, h.head_k),
            false => Ok(Operand::NONE),
        };
        layers.push(Layer {
            attn_norm: norm("attn_norm", d)?,
            q: matrix("attn_q", d, q)?,
            k: matrix("attn_k", d, k)?,
            v: matrix("attn_v", d, v)?,
            q_norm: head_norm("attn_q_norm")?,
            k_norm: head_norm("attn_k_norm")?,
            output: matrix("attn_output", n_head * h.head_v, d)?,
            ffn_norm: norm("ffn_norm", d)?,
            gate: matrix("ffn_gate", d, n_ff)?,
            up: matrix("ffn_up", d, n_ff)?,
            down: matrix("ffn_down", n_ff, d)?,
        });
    }
    let table = meta.tensor(format_args!("token_embd.weight"), &[d, h.n_vocab])?;
    // A model without its own output matrix reads the embedding table backwards ("tied").
    let head = meta
        .maybe(format_args!("output.weight"), &[d, h.n_vocab])?
        .unwrap_or(table);
    let factors = meta.maybe_vector(format_args!("rope_freqs.weight"), h.rope.n_dims / 2)?;
    if factors != Operand::NONE {
        log(3, format_args!("rotary factors from rope_freqs.weight"));
    }
    Ok(Tensors {
        token_embd: Operand::weight(table.handle),
        rope_factors: factors,
        layers,
        output_norm: meta.vector(format_args!("output_norm.weight"), d)?,
        output: Linear {
            weight: Operand::weight(head.handle),
            bias: meta.maybe_vector(format_args!("output.bias"), h.n_vocab)?,
        },
        f32_weights: table.kind == kind::F32,
    })
}

impl Family for Llama {
    fn facts(&self) -> Facts {
        Facts {
            n_vocab: self.h.n_vocab,
            n_ctx_train: self.h.n_ctx_train,
            n_layer: self.h.layers.len() as u32,
            f32_weights: self.t.f32_weights,
        }
    }

    fn kv(&self, layer: u32) -> KvDesc {
        KvDesc {
            kind: 0,
            n_head_kv: self.h.layers.get(layer as usize).map_or(1, |l| l.n_head_kv),
            head_dim_k: self.h.head_k,
            head_dim_v: self.h.head_v,
            max_positions: 0,
            group: 0,
            window: self.h.window,
        }
    }

    fn op_count(&self) -> usize {
        let per_layer = if self.h.qk_norm { 16 } else { 14 };
        self.h.layers.len() * per_layer + 5
    }

    fn build(&self, r: &mut Recorder, io: &Io, kv: &[u32]) -> Operand {
        let (h, t) = (&self.h, &self.t);
        let scale = 1.0 / num::sqrt(f64::from(h.head_k)) as f32;
        let mut n = io.n_tok;
        let mut x = r.f32(h.n_embd, n); // [n, d]
        r.get_rows(x, t.token_embd, io.tokens, Dim(0));
        let layers = h.layers.iter().zip(&t.layers).zip(kv);
        for (il, ((shape, layer), kv)) in layers.enumerate() {
            let Shape {
                n_head,
                n_head_kv,
                n_ff,
            } = *shape;
            let normed = r.f32(h.n_embd, n);
            r.rms_norm(normed, x, layer.attn_norm, h.eps, 0);
            let q = apply(r, &layer.q, normed, n_head * h.head_k, n); // [n, h·dk]
            let k = apply(r, &layer.k, normed, n_head_kv * h.head_k, n); // [n, hkv·dk]
            let v = apply(r, &layer.v, normed, n_head_kv * h.head_v, n); // [n, hkv·dv]
            if h.qk_norm {
                r.rms_norm(q, q, layer.q_norm, h.eps, h.head_k);
                r.rms_norm(k, k, layer.k_norm, h.eps, h.head_k);
            }
            r.rope(q, t.rope_factors, io.pos, h.head_k, &h.rope);
            r.rope(k, t.rope_factors, io.pos, h.head_k, &h.rope);
            let mut mixed = r.f32(n_head * h.head_v, n); // [n, h·dv]
            let kv = Operand::kv(*kv);
            r.attention(mixed, q, k, v, kv, io.pos, n_head, scale, h.window);
            if il + 1 == h.layers.len() {
                // Behind the last cache append only the rows whose logits are wanted matter: none
                // in all chunks of a prompt but the last, so those end here.
                let wanted = r.f32(n_head * h.head_v, io.n_out);
                r.copy(wanted, Dim(0), mixed, io.out_row, io.n_out);
                let kept = r.f32(h.n_embd, io.n_out);
                r.copy(kept, Dim(0), x, io.out_row, io.n_out);
                (mixed, x, n) = (wanted, kept, io.n_out);
            }
            let attn_out = apply(r, &layer.output, mixed, h.n_embd, n);
            r.add(x, x, attn_out);
            let normed = r.f32(h.n_embd, n);
            r.rms_norm(normed, x, layer.ffn_norm, h.eps, 0);
            let gate = apply(r, &layer.gate, normed, n_ff, n); // [n, ff]
            let up = apply(r, &layer.up, normed, n_ff, n);
            r.glu(gate, gate, up, SILU);
            let ffn_out = apply(r, &layer.down, gate, h.n_embd, n);
            r.add(x, x, ffn_out);
        }
        r.rms_norm(x, x, t.output_norm, h.eps, 0);
        apply(r, &t.output, x, h.n_vocab, n)
    }
}

/// x `[n, k]` → `[n, m]`.
fn apply(r: &mut Recorder, linear: &Linear, x: Operand, m: u32, n: Dim) -> Operand {
    let out = r.f32(m, n);
    r.mul_mat(out, linear.weight, x, linear.bias);
    out
}
