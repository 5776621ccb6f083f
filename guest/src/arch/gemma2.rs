//! gemma2: as gemma, with norms behind attention and feed-forward network too, every other layer looking at a window
//! only, and caps on scores and logits.

use super::Family;
use super::gemma::{attention_scale, embedding_scale};
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::parts::{Base, Block, Linear, Mlp, Norm, Qkv, Rotary};
use crate::abi::Result;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

struct Layer {
    window: u32,
    attn_norm: Norm,
    qkv: Qkv,
    output: Linear,
    attn_post_norm: Norm,
    ffn_norm: Norm,
    mlp: Mlp,
    ffn_post_norm: Norm,
}

struct Gemma2 {
    base: Base,
    attention_scale: f32,
    /// On scores and on logits; 0: none.
    softcaps: [f32; 2],
    rotary: Rotary,
    layers: Vec<Layer>,
}

/// Layers of the one size (27B) that scales scores by the width of a head's share of the stream, not of a head. Files
/// do not say so.
const LAYERS_27B: usize = 46;
/// The published window, where a file has none.
const WINDOW: u32 = 4096;

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let base = Base::read(meta, norm)?;
    let window = meta.u32("attention.sliding_window")?.unwrap_or(WINDOW);
    let d = base.n_embd;
    let layers = base.each_layer(|layer, _| {
        let block = Block { meta, layer };
        Ok(Layer {
            window: if meta.slides(layer, 2)? { window } else { 0 },
            attn_norm: block.norm(norm, "attn_norm", d)?,
            qkv: block.qkv(&base)?,
            output: block.attn_output(&base)?,
            attn_post_norm: block.norm(norm, "post_attention_norm", d)?,
            ffn_norm: block.norm(norm, "ffn_norm", d)?,
            mlp: block.mlp(&base)?,
            ffn_post_norm: block.norm(norm, "post_ffw_norm", d)?,
        })
    })?;
    let attention_scale = attention_scale(&base, layers.len() == LAYERS_27B);
    Ok(Box::new(Gemma2 {
        attention_scale,
        softcaps: [
            meta.f32("attn_logit_softcapping")?.unwrap_or(50.0),
            meta.f32("final_logit_softcapping")?.unwrap_or(30.0),
        ],
        rotary: base.rotary(meta, true)?,
        base,
        layers,
    }))
}

impl Family for Gemma2 {
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
        let [score_cap, logit_cap] = self.softcaps;
        let mut x = g.embed(&self.base); // [n, d]
        g.scale(x, embedding_scale(&self.base));
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let normed = g.norm(&layer.attn_norm, x);
            let [q, k, v] = g.qkv(&layer.qkv, normed);
            g.rope(&self.rotary, self.base.head_k, [q, k]);
            let heads = Heads {
                scale: self.attention_scale,
                window: layer.window,
                softcap: score_cap,
                ..Heads::of(&self.base, il)
            };
            let mixed = g.attend(&heads, [q, k, v], *kv);
            let [mixed, rest] = g.wanted(il + 1 == self.layers.len(), [mixed, x]);
            x = rest;
            let attn = g.linear(&layer.output, mixed);
            g.norm_in_place(&layer.attn_post_norm, attn);
            g.add(x, attn);
            let normed = g.norm(&layer.ffn_norm, x);
            let ffn = g.mlp(&layer.mlp, normed, Act::GELU_TANH);
            g.norm_in_place(&layer.ffn_post_norm, ffn);
            g.add(x, ffn);
        }
        g.scaled_logits(&self.base, x, 1.0, logit_cap)
    }
}
