//! starcoder2: layer norms, biases everywhere, grouped queries that rotate, and a feed-forward network of two matrices
//! without a gate.
//!
//! Sampling, chat, sessions and all else come from `realm_guest`, which is extended by what is in this file. The graph is that
//! of the paper (<https://arxiv.org/abs/2402.19173>, section 5), with the tensor names of GGUF files.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;
use realm_guest::abi::Result;
use realm_guest::arch::Family;
use realm_guest::arch::graph::{Graph, Heads};
use realm_guest::arch::meta::Meta;
use realm_guest::arch::parts::{Base, Block, Linear, Norm, Qkv, Rotary};
use realm_guest::program::{Act, Operand};

realm_guest::export!(("starcoder2", open));

struct Layer {
    attn_norm: Norm,
    qkv: Qkv,
    output: Linear,
    ffn_norm: Norm,
    up: Linear,
    down: Linear,
}

struct Starcoder2 {
    base: Base,
    rotary: Rotary,
    layers: Vec<Layer>,
}

/// Reads and checks a model. What is missing, or of another shape, is refused by name.
fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::layer(meta)?;
    let base = Base::read(meta, norm)?;
    let d = base.n_embd;
    let layers = base.each_layer(|layer, shape| {
        let block = Block { meta, layer };
        // Biases are read with the matrix or the norm that they belong to.
        Ok(Layer {
            attn_norm: block.norm(norm, "attn_norm", d)?,
            qkv: block.qkv(&base)?,
            output: block.attn_output(&base)?,
            ffn_norm: block.norm(norm, "ffn_norm", d)?,
            up: block.linear("ffn_up", d, shape.n_ff)?,
            down: block.linear("ffn_down", shape.n_ff, d)?,
        })
    })?;
    Ok(Box::new(Starcoder2 {
        rotary: base.rotary(meta, true)?,
        base,
        layers,
    }))
}

impl Family for Starcoder2 {
    fn base(&self) -> &Base {
        &self.base
    }

    /// Only so that room for them is taken at once.
    fn layer_ops(&self) -> usize {
        13
    }

    /// Records what a step computes. Values are `[rows, columns]`, with a row for each of the step's n tokens.
    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let mut x = g.embed(&self.base); // [n, d]
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let normed = g.norm(&layer.attn_norm, x);
            let [q, k, v] = g.qkv(&layer.qkv, normed); // [n, h·dk], [n, hkv·dk], [n, hkv·dv]
            g.rope(&self.rotary, self.base.head_k, [q, k]);
            let mixed = g.attend(&Heads::of(&self.base, il), [q, k, v], *kv); // [n, h·dv]
            // Behind the last cache only the row whose logits are wanted goes on.
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
