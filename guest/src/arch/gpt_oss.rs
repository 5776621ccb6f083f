//! gpt-oss: experts with biases and a clamped gate, a sink for each head's attention, and every other layer looking at a
//! window.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::moe::{Experts, Mixture, Weighing};
use super::parts::{Base, Block, Linear, Norm, Qkv, Rotary};
use crate::abi::Result;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

struct Layer {
    window: u32,
    attn_norm: Norm,
    qkv: Qkv,
    sinks: Operand,
    output: Linear,
    ffn_norm: Norm,
    experts: Experts,
}

struct GptOss {
    base: Base,
    rotary: Rotary,
    layers: Vec<Layer>,
}

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let base = Base::read(meta, norm)?;
    let Some(mixture) = Mixture::read(meta, &base, Weighing::OfPicked)? else {
        return Err(fail!(FORMAT, "the model has no {}.expert_count", meta.arch));
    };
    let window = meta.need("attention.sliding_window")?;
    let layers = base.each_layer(|layer, shape| {
        let block = Block { meta, layer };
        let sinks = format_args!("blk.{layer}.attn_sinks.weight");
        Ok(Layer {
            window: if meta.slides(layer, 2)? { window } else { 0 },
            attn_norm: block.norm(norm, "attn_norm", base.n_embd)?,
            qkv: block.qkv(&base)?,
            sinks: meta.vector(sinks, shape.n_head)?,
            output: block.attn_output(&base)?,
            // Named for where it stands; it is the feed-forward network's.
            ffn_norm: block.norm(norm, "post_attention_norm", base.n_embd)?,
            experts: Experts::read(block, &base, mixture)?,
        })
    })?;
    Ok(Box::new(GptOss {
        rotary: base.rotary(meta, true)?,
        base,
        layers,
    }))
}

impl Family for GptOss {
    fn base(&self) -> &Base {
        &self.base
    }

    fn window(&self, layer: u32) -> u32 {
        self.layers.get(layer as usize).map_or(0, |l| l.window)
    }

    fn layer_ops(&self) -> usize {
        19
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let mut x = g.embed(&self.base); // [n, d]
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let normed = g.norm(&layer.attn_norm, x);
            let [q, k, v] = g.qkv(&layer.qkv, normed);
            g.rope(&self.rotary, self.base.head_k, [q, k]);
            let heads = Heads {
                window: layer.window,
                sinks: layer.sinks,
                ..Heads::of(&self.base, il)
            };
            let mixed = g.attend(&heads, [q, k, v], *kv);
            let [mixed, rest] = g.wanted(il + 1 == self.layers.len(), [mixed, x]);
            x = rest;
            let attn = g.linear(&layer.output, mixed);
            g.add(x, attn);
            let normed = g.norm(&layer.ffn_norm, x);
            let ffn = g.experts(&layer.experts, normed, Act::SWIGLU_OAI);
            g.add(x, ffn);
        }
        g.logits(&self.base, x)
    }
}
