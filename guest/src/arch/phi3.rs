//! phi3: one matrix for queries, keys and values, and one for gate and up projection. Models for long contexts bring two
//! tables of rotary factors, of which the session's context picks one.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::parts::{Base, Block, Linear, Norm, Qkv, Rotary};
use crate::abi::Result;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

struct Layer {
    attn_norm: Norm,
    qkv: Qkv,
    output: Linear,
    ffn_norm: Norm,
    /// `[2·ff, d]`: gate, then up.
    gate_up: Linear,
    down: Linear,
}

struct Phi3 {
    base: Base,
    rotary: Rotary,
    layers: Vec<Layer>,
}

/// Reads and checks a model of this architecture. Its window is not used, as in the programs the files are made for: what
/// converters wrote for it is not to be relied on.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let base = Base::read(meta, norm)?;
    let d = base.n_embd;
    let layers = base.each_layer(|layer, shape| {
        let block = Block { meta, layer };
        Ok(Layer {
            attn_norm: block.norm(norm, "attn_norm", d)?,
            qkv: block.qkv(&base)?,
            output: block.attn_output(&base)?,
            ffn_norm: block.norm(norm, "ffn_norm", d)?,
            gate_up: block.linear("ffn_up", d, 2 * shape.n_ff)?,
            down: block.linear("ffn_down", shape.n_ff, d)?,
        })
    })?;
    Ok(Box::new(Phi3 {
        rotary: base.rotary(meta, true)?,
        base,
        layers,
    }))
}

impl Family for Phi3 {
    fn base(&self) -> &Base {
        &self.base
    }

    fn layer_ops(&self) -> usize {
        16
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let mut x = g.embed(&self.base); // [n, d]
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
            let both = g.linear(&layer.gate_up, normed); // [n, 2·ff]
            let n_ff = layer.gate_up.width / 2;
            let [gate, up] = g.split(both, [n_ff, n_ff]);
            g.r.glu(gate, gate, up, Act::SILU);
            let ffn = g.linear(&layer.down, gate);
            g.add(x, ffn);
        }
        g.logits(&self.base, x)
    }
}
