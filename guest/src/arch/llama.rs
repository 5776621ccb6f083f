//! llama, with mistral (an attention window) and mixtral (experts), whose files are llama's, and mistral3.
//!
//! Pre-norm blocks of grouped-query attention and a gated feed-forward network; neighbouring elements of a head turn
//! together, and llama 3's files bring factors for it.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::moe::{Ffn, Mixture, Weighing};
use super::parts::{Base, Block, Linear, Norm, Qkv, Rotary};
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
    ffn: Ffn,
}

struct Llama {
    base: Base,
    window: u32,
    /// Of mistral3: how far queries grow with each further original context; 0: not at all.
    temperature: f32,
    rotary: Rotary,
    layers: Vec<Layer>,
}

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let base = Base::read(meta, norm)?;
    let mixture = Mixture::read(meta, &base, Weighing::OfPicked)?;
    let d = base.n_embd;
    let layers = base.each_layer(|layer, _| {
        let block = Block { meta, layer };
        Ok(Layer {
            attn_norm: block.norm(norm, "attn_norm", d)?,
            qkv: block.qkv(&base)?,
            output: block.attn_output(&base)?,
            ffn_norm: block.norm(norm, "ffn_norm", d)?,
            ffn: Ffn::read(block, &base, mixture)?,
        })
    })?;
    let rotary = base.rotary(meta, false)?;
    let temperature = meta.scale("attention.temperature_scale", 0.0)?;
    if temperature != 0.0 && rotary.rope.n_ctx_orig == 0 {
        return Err(fail!(
            FORMAT,
            "attention.temperature_scale needs rope.scaling.original_context_length, which is missing"
        ));
    }
    Ok(Box::new(Llama {
        temperature,
        window: meta.u32("attention.sliding_window")?.unwrap_or(0),
        rotary,
        base,
        layers,
    }))
}

impl Family for Llama {
    fn base(&self) -> &Base {
        &self.base
    }

    fn window(&self, _: u32) -> u32 {
        self.window
    }

    fn query_scale(&self, position: u32) -> Option<f32> {
        let contexts = position.checked_div(self.rotary.rope.n_ctx_orig)?;
        let grown = f64::from(self.temperature) * num::ln(f64::from(contexts) + 1.0);
        (self.temperature != 0.0).then_some((1.0 + grown) as f32)
    }

    fn layer_ops(&self) -> usize {
        10 + self.layers.first().map_or(0, |layer| layer.ffn.ops())
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let mut x = g.embed(&self.base); // [n, d]
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let normed = g.norm(&layer.attn_norm, x);
            let [q, k, v] = g.qkv(&layer.qkv, normed);
            g.rope(&self.rotary, self.base.head_k, [q, k]);
            g.scale_by_position(q);
            let heads = Heads {
                window: self.window,
                ..Heads::of(&self.base, il)
            };
            let mixed = g.attend(&heads, [q, k, v], *kv);
            let [mixed, rest] = g.wanted(il + 1 == self.layers.len(), [mixed, x]);
            x = rest;
            let attn = g.linear(&layer.output, mixed);
            g.add(x, attn);
            let normed = g.norm(&layer.ffn_norm, x);
            let ffn = g.ffn(&layer.ffn, normed, Act::SILU);
            g.add(x, ffn);
        }
        g.logits(&self.base, x)
    }
}
