//! gpt2: learned positions, layer norms, biases everywhere, GELU without a gate.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::parts::{Base, Block, Linear, Norm, Qkv};
use crate::abi::Result;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

struct Layer {
    attn_norm: Norm,
    qkv: Qkv,
    output: Linear,
    ffn_norm: Norm,
    up: Linear,
    down: Linear,
}

struct Gpt2 {
    base: Base,
    /// `[n_ctx_train, d]`
    position_embd: Operand,
    layers: Vec<Layer>,
}

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::layer(meta)?;
    let base = Base::read(meta, norm)?;
    let d = base.n_embd;
    let layers = base.each_layer(|layer, shape| {
        let block = Block { meta, layer };
        Ok(Layer {
            attn_norm: block.norm(norm, "attn_norm", d)?,
            qkv: block.qkv(&base)?,
            output: block.attn_output(&base)?,
            ffn_norm: block.norm(norm, "ffn_norm", d)?,
            up: block.linear("ffn_up", d, shape.n_ff)?,
            down: block.linear("ffn_down", shape.n_ff, d)?,
        })
    })?;
    let positions = meta.tensor(format_args!("position_embd.weight"), &[d, base.n_ctx_train])?;
    Ok(Box::new(Gpt2 {
        position_embd: Operand::weight(positions.handle),
        base,
        layers,
    }))
}

impl Family for Gpt2 {
    fn base(&self) -> &Base {
        &self.base
    }

    fn n_ctx_max(&self) -> u32 {
        self.base.n_ctx_train
    }

    fn layer_ops(&self) -> usize {
        14
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let mut x = g.embed(&self.base); // [n, d]
        let positions = g.value(self.base.n_embd);
        g.r.get_rows(positions, self.position_embd, Operand::NONE, g.io.pos);
        g.add(x, positions);
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let normed = g.norm(&layer.attn_norm, x);
            let qkv = g.qkv(&layer.qkv, normed);
            let mixed = g.attend(&Heads::of(&self.base, il), qkv, *kv);
            let [mixed, rest] = g.wanted(il + 1 == self.layers.len(), [mixed, x]);
            x = rest;
            let attn = g.linear(&layer.output, mixed);
            g.add(x, attn);
            let normed = g.norm(&layer.ffn_norm, x);
            let up = g.linear(&layer.up, normed); // [n, ff]
            g.r.unary(up, up, Act::GELU_TANH);
            let ffn = g.linear(&layer.down, up);
            g.add(x, ffn);
        }
        g.logits(&self.base, x)
    }
}
