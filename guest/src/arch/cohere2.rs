//! cohere2: attention and feed-forward network read the same normalised row and are added together; three of four layers
//! look at a window and rotate, the fourth looks at everything and does not.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::parts::{Base, Block, Linear, Mlp, Norm, Qkv, Rotary};
use crate::abi::Result;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

struct Layer {
    window: u32,
    norm: Norm,
    qkv: Qkv,
    output: Linear,
    mlp: Mlp,
}

struct Cohere2 {
    base: Base,
    /// What logits are multiplied with.
    logit_scale: f32,
    rotary: Rotary,
    layers: Vec<Layer>,
}

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::layer(meta)?;
    let base = Base::read(meta, norm)?;
    let window = meta.need("attention.sliding_window")?;
    let layers = base.each_layer(|layer, _| {
        let block = Block { meta, layer };
        Ok(Layer {
            window: if meta.slides(layer, 4)? { window } else { 0 },
            norm: block.norm(norm, "attn_norm", base.n_embd)?,
            qkv: block.qkv(&base)?,
            output: block.attn_output(&base)?,
            mlp: block.mlp(&base)?,
        })
    })?;
    Ok(Box::new(Cohere2 {
        logit_scale: meta.scale("logit_scale", 1.0)?,
        rotary: base.rotary(meta, false)?,
        base,
        layers,
    }))
}

impl Family for Cohere2 {
    fn base(&self) -> &Base {
        &self.base
    }

    fn window(&self, layer: u32) -> u32 {
        self.layers.get(layer as usize).map_or(0, |l| l.window)
    }

    fn layer_ops(&self) -> usize {
        13
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let mut x = g.embed(&self.base); // [n, d]
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let normed = g.norm(&layer.norm, x);
            let [q, k, v] = g.qkv(&layer.qkv, normed);
            if layer.window > 0 {
                g.rope(&self.rotary, self.base.head_k, [q, k]);
            }
            let heads = Heads {
                window: layer.window,
                ..Heads::of(&self.base, il)
            };
            let mixed = g.attend(&heads, [q, k, v], *kv);
            let last = il + 1 == self.layers.len();
            let [mixed, rest, normed] = g.wanted(last, [mixed, x, normed]);
            x = rest;
            let ffn = g.mlp(&layer.mlp, normed, Act::SILU);
            g.add(x, ffn);
            let attn = g.linear(&layer.output, mixed);
            g.add(x, attn);
        }
        g.scaled_logits(&self.base, x, self.logit_scale, 0.0)
    }
}
