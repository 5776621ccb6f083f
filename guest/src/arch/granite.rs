//! granite, and granitemoe with experts: as llama, with four numbers of its own, on embeddings, scores, what is added to
//! the residual stream, and logits.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::moe::{Ffn, Mixture, Weighing};
use super::parts::{Base, Block, Linear, Mlp, Norm, Qkv, Rotary};
use crate::abi::Result;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

struct Layer {
    attn_norm: Norm,
    qkv: Qkv,
    output: Linear,
    ffn_norm: Norm,
    ffn: Ffn,
    /// An expert that all tokens go through.
    shared: Option<Mlp>,
}

struct Granite {
    base: Base,
    embedding_scale: f32,
    attention_scale: f32,
    residual_scale: f32,
    /// What logits are divided by.
    logit_scale: f32,
    /// None where the file says that positions are not learned.
    rotary: Option<Rotary>,
    layers: Vec<Layer>,
}

/// Reads and checks a model of these architectures.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let base = Base::read(meta, norm)?;
    let mixture = Mixture::read(meta, &base, Weighing::OfPicked)?;
    let n_shared = meta
        .u32("expert_shared_feed_forward_length")?
        .filter(|n| *n > 0 && mixture.is_some());
    let d = base.n_embd;
    let layers = base.each_layer(|layer, _| {
        let block = Block { meta, layer };
        Ok(Layer {
            attn_norm: block.norm(norm, "attn_norm", d)?,
            qkv: block.qkv(&base)?,
            output: block.attn_output(&base)?,
            ffn_norm: block.norm(norm, "ffn_norm", d)?,
            ffn: Ffn::read(block, &base, mixture)?,
            shared: match n_shared {
                Some(n) => Some(block.shared_mlp(&base, n)?),
                None => None,
            },
        })
    })?;
    let rotates = meta.bool("rope.scaling.finetuned")?.unwrap_or(true);
    let rotary = base.rotary(meta, false)?;
    Ok(Box::new(Granite {
        embedding_scale: meta.scale("embedding_scale", 1.0)?,
        attention_scale: meta.scale("attention.scale", base.attention_scale())?,
        residual_scale: meta.scale("residual_scale", 1.0)?,
        logit_scale: meta.scale("logit_scale", 1.0)?,
        rotary: rotates.then_some(rotary),
        base,
        layers,
    }))
}

impl Family for Granite {
    fn base(&self) -> &Base {
        &self.base
    }

    fn layer_ops(&self) -> usize {
        match self.layers.first() {
            Some(Layer {
                ffn: Ffn::Mixture(_),
                ..
            }) => 26,
            _ => 16,
        }
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let mut x = g.embed(&self.base); // [n, d]
        g.scale(x, self.embedding_scale);
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let normed = g.norm(&layer.attn_norm, x);
            let [q, k, v] = g.qkv(&layer.qkv, normed);
            if let Some(rotary) = &self.rotary {
                g.rope(rotary, self.base.head_k, [q, k]);
            }
            let heads = Heads {
                scale: self.attention_scale,
                ..Heads::of(&self.base, il)
            };
            let mixed = g.attend(&heads, [q, k, v], *kv);
            let [mixed, rest] = g.wanted(il + 1 == self.layers.len(), [mixed, x]);
            x = rest;
            let attn = g.linear(&layer.output, mixed);
            g.scale(attn, self.residual_scale);
            g.add(x, attn);
            let normed = g.norm(&layer.ffn_norm, x);
            let ffn = g.ffn(&layer.ffn, normed, Act::SILU);
            if let Some(shared) = &layer.shared {
                let shared = g.mlp(shared, normed, Act::SILU);
                g.add(ffn, shared);
            }
            g.scale(ffn, self.residual_scale);
            g.add(x, ffn);
        }
        g.scaled_logits(&self.base, x, 1.0 / self.logit_scale, 0.0)
    }
}
