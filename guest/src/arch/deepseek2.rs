//! deepseek2 and its kin: attention over one compressed row for all heads ("MLA"), whose queries and results are taken in
//! and out of the compressed space by a matrix for each head, so that only that row is cached; the first layers have a dense
//! feed-forward network, the others experts and one more for all tokens.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::moe::{Ffn, Mixture, Weighing};
use super::parts::{Base, Block, Linear, MAX_DIM, Mlp, Norm, Rotary};
use crate::abi::Result;
use crate::num;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Queries: at once, or by way of fewer columns.
enum Query {
    Direct(Linear),
    Low { a: Linear, norm: Norm, b: Linear },
}

struct Layer {
    attn_norm: Norm,
    query: Query,
    /// `[rank + rope, d]`: the compressed row, and the part of keys that rotates.
    compress: Linear,
    compressed_norm: Norm,
    /// For each head `[rank, nope]` and `[v, rank]`: into the compressed space, and out of it.
    into: Linear,
    out_of: Linear,
    output: Linear,
    ffn_norm: Norm,
    ffn: Ffn,
    shared: Option<Mlp>,
}

struct Deepseek2 {
    base: Base,
    /// Elements of a query that rotate, those that do not, and of a compressed row.
    rope: u32,
    nope: u32,
    rank: u32,
    attention_scale: f32,
    rotary: Rotary,
    layers: Vec<Layer>,
}

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let mut base = Base::read(meta, norm)?;
    // Layers behind the last one predict further tokens, and are not needed.
    let beyond = meta.u32("nextn_predict_layers")?.unwrap_or(0) as usize;
    base.layers
        .truncate(base.layers.len().saturating_sub(beyond));
    let arch = meta.arch.as_str();
    let (Some(key), Some(value)) = (
        meta.u32("attention.key_length_mla")?,
        meta.u32("attention.value_length_mla")?,
    ) else {
        return Err(fail!(
            UNSUPPORTED,
            "{arch}.attention.key_length_mla is missing: the file is of an older kind, which this guest does not know"
        ));
    };
    let rank = meta.need("attention.kv_lora_rank")?;
    let mut rotary = base.rotary(meta, false)?;
    let rope = rotary.rope.n_dims;
    let n_head = base.shape(0).n_head;
    let wide = key.max(value).max(rank).saturating_mul(n_head);
    if rope >= key || wide > MAX_DIM || base.head_k != rank + rope || base.head_v != rank {
        return Err(fail!(
            FORMAT,
            "heads of {key} and {value}, {rope} rotated, compressed to {rank} cannot be right"
        ));
    }
    let nope = key - rope;
    let (d, dense) = (
        base.n_embd,
        meta.u32("leading_dense_block_count")?.unwrap_or(0),
    );
    let weighing = match meta.bool("expert_weights_norm")? {
        Some(true) => Weighing::OfPicked,
        _ => Weighing::OfAll,
    };
    let mixture = Mixture::gated(meta, &base, weighing)?;
    let n_shared = meta.u32("expert_shared_count")?.unwrap_or(0);
    let n_shared = mixture.map_or(0, |m| m.n_ff.saturating_mul(n_shared));
    let q_rank = meta.u32("attention.q_lora_rank")?.unwrap_or(0);
    let layers = base.each_layer(|layer, _| {
        let block = Block { meta, layer };
        let query = if block.has("attn_q_a.weight")? {
            Query::Low {
                a: block.linear("attn_q_a", d, q_rank)?,
                norm: block.norm(norm, "attn_q_a_norm", q_rank)?,
                b: block.linear("attn_q_b", q_rank, n_head * key)?,
            }
        } else {
            Query::Direct(block.linear("attn_q", d, n_head * key)?)
        };
        let mixture = mixture.filter(|_| layer >= dense);
        Ok(Layer {
            attn_norm: block.norm(norm, "attn_norm", d)?,
            query,
            compress: block.linear("attn_kv_a_mqa", d, rank + rope)?,
            compressed_norm: block.norm(norm, "attn_kv_a_norm", rank)?,
            into: block.stack("attn_k_b", nope, rank, n_head)?,
            out_of: block.stack("attn_v_b", rank, value, n_head)?,
            output: block.linear("attn_output", n_head * value, d)?,
            ffn_norm: block.norm(norm, "ffn_norm", d)?,
            ffn: Ffn::read(block, &base, mixture)?,
            shared: match mixture {
                Some(_) if n_shared > 0 => Some(block.shared_mlp(&base, n_shared)?),
                _ => None,
            },
        })
    })?;
    // YaRN's factor is on the scores, not on what rotates. Where files have a multiplier for it, it is of 0.1 already.
    let mut mscale = 1.0;
    if rotary.rope.ext_factor > 0.0 {
        let stretched = num::ln(1.0 / f64::from(rotary.rope.freq_scale));
        let usual = 1.0 + 0.1 * stretched;
        let factor = meta.positive("rope.scaling.attn_factor", 1.0)?;
        mscale = match meta.f32("rope.scaling.yarn_log_multiplier")? {
            Some(by) if by != 0.0 => {
                rotary.rope.attn_factor = factor / usual as f32;
                f64::from(factor) * (1.0 + f64::from(by) * stretched)
            }
            _ => f64::from(factor) * usual,
        };
    }
    Ok(Box::new(Deepseek2 {
        rope,
        nope,
        rank,
        attention_scale: (mscale * mscale / num::sqrt(f64::from(key))) as f32,
        rotary,
        base,
        layers,
    }))
}

impl Family for Deepseek2 {
    fn base(&self) -> &Base {
        &self.base
    }

    fn layer_ops(&self) -> usize {
        38
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let Self {
            rope, nope, rank, ..
        } = *self;
        let mut x = g.embed(&self.base); // [n, d]
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let n_head = self.base.shape(il).n_head;
            let normed = g.norm(&layer.attn_norm, x);
            let q = match &layer.query {
                Query::Direct(q) => g.linear(q, normed),
                Query::Low { a, norm, b } => {
                    let low = g.linear(a, normed);
                    g.norm_in_place(norm, low);
                    g.linear(b, low)
                }
            }; // [n, h·(nope + rope)]
            let plain = g.columns(q, [n_head, nope + rope], 0, nope);
            let turned = g.columns(q, [n_head, nope + rope], nope, rope);
            let compressed = g.linear(&layer.compress, normed);
            let [row, key] = g.split(compressed, [rank, rope]);
            g.norm_in_place(&layer.compressed_norm, row);
            g.rope(&self.rotary, rope, [turned, key]);
            let plain = g.each_head(&layer.into, n_head, plain); // [n, h·rank]
            let q = g.concat(n_head, plain, turned);
            let k = g.concat(1, row, key);
            let heads = Heads {
                scale: self.attention_scale,
                ..Heads::of(&self.base, il)
            };
            let mixed = g.attend(&heads, [q, k, row], *kv); // [n, h·rank]
            let [mixed, rest] = g.wanted(il + 1 == self.layers.len(), [mixed, x]);
            x = rest;
            let mixed = g.each_head(&layer.out_of, n_head, mixed); // [n, h·v]
            let attn = g.linear(&layer.output, mixed);
            g.add(x, attn);
            let normed = g.norm(&layer.ffn_norm, x);
            let ffn = g.ffn(&layer.ffn, normed, Act::SILU);
            if let Some(shared) = &layer.shared {
                let shared = g.mlp(shared, normed, Act::SILU);
                g.add(ffn, shared);
            }
            g.add(x, ffn);
        }
        g.logits(&self.base, x)
    }
}
