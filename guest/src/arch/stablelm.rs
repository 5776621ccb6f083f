//! stablelm: layer norms, and part of a head rotates. StableLM 2 12B has a norm of its own for each head of queries and
//! keys, and no norm before the feed-forward network, which reads what attention reads.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::parts::{Base, Block, Linear, Mlp, Norm, Qkv, Rotary};
use crate::abi::Result;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Norms of heads, each with a row of weights.
struct HeadNorms {
    norm: Norm,
    q: Operand,
    k: Operand,
}

struct Layer {
    attn_norm: Norm,
    qkv: Qkv,
    head_norms: Option<HeadNorms>,
    output: Linear,
    ffn_norm: Option<Norm>,
    mlp: Mlp,
}

struct Stablelm {
    base: Base,
    rotary: Rotary,
    layers: Vec<Layer>,
}

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::layer(meta)?;
    let base = Base::read(meta, norm)?;
    let (d, head) = (base.n_embd, base.head_k);
    let layers = base.each_layer(|layer, shape| {
        let block = Block { meta, layer };
        let heads = |part: char, n: u32| {
            let name = format_args!("blk.{layer}.attn_{part}_norm.weight");
            meta.maybe_matrix(name, head, n)
        };
        let (q, k) = (heads('q', shape.n_head)?, heads('k', shape.n_head_kv)?);
        Ok(Layer {
            attn_norm: block.norm(norm, "attn_norm", d)?,
            qkv: block.qkv(&base)?,
            head_norms: (q != Operand::NONE && k != Operand::NONE).then_some(HeadNorms {
                norm: norm.per_head(head),
                q,
                k,
            }),
            output: block.attn_output(&base)?,
            ffn_norm: match block.has("ffn_norm.weight")? {
                true => Some(block.norm(norm, "ffn_norm", d)?),
                false => None,
            },
            mlp: block.mlp(&base)?,
        })
    })?;
    Ok(Box::new(Stablelm {
        rotary: base.rotary(meta, true)?,
        base,
        layers,
    }))
}

impl Family for Stablelm {
    fn base(&self) -> &Base {
        &self.base
    }

    fn layer_ops(&self) -> usize {
        18
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let mut x = g.embed(&self.base); // [n, d]
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let normed = g.norm(&layer.attn_norm, x);
            let [q, k, v] = g.qkv(&layer.qkv, normed);
            if let Some(norms) = &layer.head_norms {
                for (x, weight) in [(q, norms.q), (k, norms.k)] {
                    g.norm_in_place(&norms.norm, x);
                    g.r.mul(x, x, weight);
                }
            }
            g.rope(&self.rotary, self.base.head_k, [q, k]);
            let mixed = g.attend(&Heads::of(&self.base, il), [q, k, v], *kv);
            let last = il + 1 == self.layers.len();
            let [mixed, rest, normed] = g.wanted(last, [mixed, x, normed]);
            x = rest;
            let attn = g.linear(&layer.output, mixed);
            g.add(x, attn);
            let normed = match &layer.ffn_norm {
                Some(norm) => g.norm(norm, x),
                None => normed,
            };
            let ffn = g.mlp(&layer.mlp, normed, Act::SILU);
            g.add(x, ffn);
        }
        g.logits(&self.base, x)
    }
}
