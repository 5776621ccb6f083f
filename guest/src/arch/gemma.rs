//! gemma: embeddings scaled by the root of their width, and GELU in the feed-forward network.
//!
//! (Its norms' weights are kept in files with the 1 that the model adds to them.)

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::parts::{Base, Block, Linear, Mlp, Norm, Qkv, Rotary};
use crate::abi::Result;
use crate::num;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

struct Layer {
    attn_norm: Norm,
    qkv: Qkv,
    output: Linear,
    ffn_norm: Norm,
    mlp: Mlp,
}

struct Gemma {
    base: Base,
    rotary: Rotary,
    layers: Vec<Layer>,
}

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let base = Base::read(meta, norm)?;
    let d = base.n_embd;
    let layers = base.each_layer(|layer, _| {
        let block = Block { meta, layer };
        Ok(Layer {
            attn_norm: block.norm(norm, "attn_norm", d)?,
            qkv: block.qkv(&base)?,
            output: block.attn_output(&base)?,
            ffn_norm: block.norm(norm, "ffn_norm", d)?,
            mlp: block.mlp(&base)?,
        })
    })?;
    Ok(Box::new(Gemma {
        rotary: base.rotary(meta, true)?,
        base,
        layers,
    }))
}

/// What the family multiplies embeddings with.
pub fn embedding_scale(base: &Base) -> f32 {
    num::sqrt(f64::from(base.n_embd)) as f32
}

/// What gemma 2 and 3 multiply scores with. The largest, of 27B, goes by the width of a head's share of the stream, not of a head.
pub fn attention_scale(base: &Base, is_27b: bool) -> f32 {
    if is_27b {
        (1.0 / num::sqrt(f64::from(base.n_embd / base.shape(0).n_head))) as f32
    } else {
        base.attention_scale()
    }
}

impl Family for Gemma {
    fn base(&self) -> &Base {
        &self.base
    }

    fn layer_ops(&self) -> usize {
        14
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let mut x = g.embed(&self.base); // [n, d]
        g.scale(x, embedding_scale(&self.base));
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let normed = g.norm(&layer.attn_norm, x);
            let [q, k, v] = g.qkv(&layer.qkv, normed);
            g.rope(&self.rotary, self.base.head_k, [q, k]);
            let mixed = g.attend(&Heads::of(&self.base, il), [q, k, v], *kv);
            let [mixed, rest] = g.wanted(il + 1 == self.layers.len(), [mixed, x]);
            x = rest;
            let attn = g.linear(&layer.output, mixed);
            g.add(x, attn);
            let normed = g.norm(&layer.ffn_norm, x);
            let ffn = g.mlp(&layer.mlp, normed, Act::GELU_TANH);
            g.add(x, ffn);
        }
        g.logits(&self.base, x)
    }
}
