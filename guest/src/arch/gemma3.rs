//! gemma3: five layers that look at a window to one that looks at everything, each kind with rotary frequencies of its
//! own, norms on the heads of queries and keys, and gemma2's norms behind attention and feed-forward network.

use super::Family;
use super::gemma::{attention_scale, embedding_scale};
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::parts::{Base, Block, Linear, Mlp, Norm, Qkv, Rotary};
use crate::abi::Result;
use crate::program::{Act, Operand, Rope};
use alloc::boxed::Box;
use alloc::vec::Vec;

struct Layer {
    window: u32,
    attn_norm: Norm,
    qkv: Qkv,
    head_norms: [Norm; 2],
    output: Linear,
    attn_post_norm: Norm,
    ffn_norm: Norm,
    mlp: Mlp,
    ffn_post_norm: Norm,
}

struct Gemma3 {
    base: Base,
    attention_scale: f32,
    /// On logits; 0: none.
    softcap: f32,
    /// Of layers that see everything, and of those that see a window.
    rotary: [Rotary; 2],
    layers: Vec<Layer>,
}

/// Layers of the one size (27B) that scales scores by the width of a head's share of the stream, not of a head. Files
/// do not say so.
const LAYERS_27B: usize = 62;

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let base = Base::read(meta, norm)?;
    let window = meta.u32("attention.sliding_window")?.unwrap_or(0);
    let (d, head) = (base.n_embd, base.head_k);
    let layers = base.each_layer(|layer, _| {
        let block = Block { meta, layer };
        let head_norm = |name| Ok(block.norm(norm, name, head)?.per_head(head));
        Ok(Layer {
            window: if meta.slides(layer, 6)? { window } else { 0 },
            attn_norm: block.norm(norm, "attn_norm", d)?,
            qkv: block.qkv(&base)?,
            head_norms: [head_norm("attn_q_norm")?, head_norm("attn_k_norm")?],
            output: block.attn_output(&base)?,
            attn_post_norm: block.norm(norm, "post_attention_norm", d)?,
            ffn_norm: block.norm(norm, "ffn_norm", d)?,
            mlp: block.mlp(&base)?,
            ffn_post_norm: block.norm(norm, "post_ffw_norm", d)?,
        })
    })?;
    let attention_scale = attention_scale(&base, layers.len() == LAYERS_27B);
    let global = base.rotary(meta, true)?;
    // Positions are never stretched within a window.
    let local = Rotary {
        rope: Rope {
            freq_base: meta.positive("rope.freq_base_swa", 10000.0)?,
            freq_scale: 1.0,
            ext_factor: 0.0,
            ..global.rope
        },
        ..global
    };
    Ok(Box::new(Gemma3 {
        attention_scale,
        softcap: meta.f32("final_logit_softcapping")?.unwrap_or(0.0),
        rotary: [global, local],
        base,
        layers,
    }))
}

impl Family for Gemma3 {
    fn base(&self) -> &Base {
        &self.base
    }

    fn window(&self, layer: u32) -> u32 {
        self.layers.get(layer as usize).map_or(0, |l| l.window)
    }

    fn layer_ops(&self) -> usize {
        18
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let [global, local] = &self.rotary;
        let mut x = g.embed(&self.base); // [n, d]
        g.scale(x, embedding_scale(&self.base));
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let normed = g.norm(&layer.attn_norm, x);
            let [q, k, v] = g.qkv(&layer.qkv, normed);
            let [on_q, on_k] = &layer.head_norms;
            g.norm_in_place(on_q, q);
            g.norm_in_place(on_k, k);
            let rotary = if layer.window > 0 { local } else { global };
            g.rope(rotary, self.base.head_k, [q, k]);
            let heads = Heads {
                scale: self.attention_scale,
                window: layer.window,
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
        g.scaled_logits(&self.base, x, 1.0, self.softcap)
    }
}
