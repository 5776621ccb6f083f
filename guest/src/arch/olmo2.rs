//! olmo2, with olmo3, whose files are olmo2's: norms behind attention and feed-forward network and none before them, and
//! on queries and keys as a whole. Three of four layers of olmo3 look at a window, and do not stretch positions.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::parts::{Base, Block, Linear, Mlp, Norm, Qkv, Rotary};
use crate::abi::Result;
use crate::program::{Act, Operand, Rope};
use alloc::boxed::Box;
use alloc::vec::Vec;

struct Layer {
    window: u32,
    qkv: Qkv,
    /// On whole rows of queries and keys.
    norms: [Norm; 2],
    output: Linear,
    attn_post_norm: Norm,
    mlp: Mlp,
    ffn_post_norm: Norm,
}

struct Olmo2 {
    base: Base,
    /// Of layers that see everything, and of those that see a window.
    rotary: [Rotary; 2],
    layers: Vec<Layer>,
}

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let base = Base::read(meta, norm)?;
    let window = meta.u32("attention.sliding_window")?.unwrap_or(0);
    let d = base.n_embd;
    let layers = base.each_layer(|layer, shape| {
        let block = Block { meta, layer };
        let slides = window > 0 && meta.slides(layer, 4)?;
        Ok(Layer {
            window: if slides { window } else { 0 },
            qkv: block.qkv(&base)?,
            norms: [
                block.norm(norm, "attn_q_norm", shape.n_head * base.head_k)?,
                block.norm(norm, "attn_k_norm", shape.n_head_kv * base.head_k)?,
            ],
            output: block.attn_output(&base)?,
            attn_post_norm: block.norm(norm, "post_attention_norm", d)?,
            mlp: block.mlp(&base)?,
            ffn_post_norm: block.norm(norm, "post_ffw_norm", d)?,
        })
    })?;
    let global = base.rotary(meta, true)?;
    let local = Rotary {
        rope: Rope {
            freq_scale: 1.0,
            ext_factor: 0.0,
            attn_factor: 1.0,
            ..global.rope
        },
        ..global
    };
    Ok(Box::new(Olmo2 {
        rotary: [global, local],
        base,
        layers,
    }))
}

impl Family for Olmo2 {
    fn base(&self) -> &Base {
        &self.base
    }

    fn window(&self, layer: u32) -> u32 {
        self.layers.get(layer as usize).map_or(0, |l| l.window)
    }

    fn layer_ops(&self) -> usize {
        16
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let [global, local] = &self.rotary;
        let mut x = g.embed(&self.base); // [n, d]
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let [q, k, v] = g.qkv(&layer.qkv, x);
            let [on_q, on_k] = &layer.norms;
            g.norm_in_place(on_q, q);
            g.norm_in_place(on_k, k);
            let rotary = if layer.window > 0 { local } else { global };
            g.rope(rotary, self.base.head_k, [q, k]);
            let heads = Heads {
                window: layer.window,
                ..Heads::of(&self.base, il)
            };
            let mixed = g.attend(&heads, [q, k, v], *kv);
            let [mixed, rest] = g.wanted(il + 1 == self.layers.len(), [mixed, x]);
            x = rest;
            let attn = g.linear(&layer.output, mixed);
            g.norm_in_place(&layer.attn_post_norm, attn);
            g.add(x, attn);
            let ffn = g.mlp(&layer.mlp, x, Act::SILU);
            g.norm_in_place(&layer.ffn_post_norm, ffn);
            g.add(x, ffn);
        }
        g.logits(&self.base, x)
    }
}
