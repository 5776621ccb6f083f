//! qwen2 (biases on queries, keys and values), qwen3 (norms on the heads of queries and keys), and their mixtures of
//! experts: qwen2moe, whose experts are weighed as the router says and joined by one for all tokens, and qwen3moe.
//!
//! The text halves of qwen2vl, qwen3vl and qwen3vlmoe are the same: of text, the three positions that they rotate by are one.
//!
//! Pre-norm blocks as llama's, but elements half a head apart turn together.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::moe::{Ffn, Mixture, Weighing};
use super::parts::{Base, Block, Linear, Mlp, Norm, Qkv, Rotary};
use crate::abi::Result;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The expert that all tokens go through, and what says how much of it they get.
struct Shared {
    gate: Linear,
    mlp: Mlp,
}

struct Layer {
    attn_norm: Norm,
    qkv: Qkv,
    /// On the heads of queries and keys.
    head_norms: Option<[Norm; 2]>,
    output: Linear,
    ffn_norm: Norm,
    ffn: Ffn,
    shared: Option<Shared>,
}

struct Qwen {
    base: Base,
    rotary: Rotary,
    layers: Vec<Layer>,
}

/// Reads and checks a model of these architectures.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let base = Base::read(meta, norm)?;
    let arch = meta.arch.as_str();
    let has_head_norms = arch.starts_with("qwen3");
    let weighing = match has_head_norms {
        true => Weighing::OfPicked,
        false => Weighing::OfAll,
    };
    let mixture = Mixture::read(meta, &base, weighing)?;
    if mixture.is_some() != arch.ends_with("moe") {
        return Err(fail!(
            FORMAT,
            "{arch}.expert_count does not belong to the architecture"
        ));
    }
    let n_shared = match arch {
        "qwen2moe" => Some(meta.need("expert_shared_feed_forward_length")?),
        _ => None,
    };
    let d = base.n_embd;
    let layers = base.each_layer(|layer, _| {
        let block = Block { meta, layer };
        let head_norm = |name: &str| {
            let norm = block.norm(norm, name, base.head_k)?;
            Ok(norm.per_head(base.head_k))
        };
        Ok(Layer {
            attn_norm: block.norm(norm, "attn_norm", d)?,
            qkv: block.qkv(&base)?,
            head_norms: match has_head_norms {
                true => Some([head_norm("attn_q_norm")?, head_norm("attn_k_norm")?]),
                false => None,
            },
            output: block.attn_output(&base)?,
            ffn_norm: block.norm(norm, "ffn_norm", d)?,
            ffn: Ffn::read(block, &base, mixture)?,
            shared: match n_shared {
                Some(n) => Some(Shared {
                    gate: block.linear("ffn_gate_inp_shexp", d, 1)?,
                    mlp: block.shared_mlp(&base, n)?,
                }),
                None => None,
            },
        })
    })?;
    Ok(Box::new(Qwen {
        rotary: base.rotary(meta, true)?,
        base,
        layers,
    }))
}

impl Family for Qwen {
    fn base(&self) -> &Base {
        &self.base
    }

    fn layer_ops(&self) -> usize {
        let Some(layer) = self.layers.first() else {
            return 0;
        };
        let mixture = matches!(layer.ffn, Ffn::Mixture(_));
        14 + 2 * usize::from(layer.head_norms.is_some())
            + 5 * usize::from(mixture)
            + 8 * usize::from(layer.shared.is_some())
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let mut x = g.embed(&self.base); // [n, d]
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let normed = g.norm(&layer.attn_norm, x);
            let [q, k, v] = g.qkv(&layer.qkv, normed);
            if let Some([on_q, on_k]) = &layer.head_norms {
                g.norm_in_place(on_q, q);
                g.norm_in_place(on_k, k);
            }
            g.rope(&self.rotary, self.base.head_k, [q, k]);
            let mixed = g.attend(&Heads::of(&self.base, il), [q, k, v], *kv);
            let [mixed, rest] = g.wanted(il + 1 == self.layers.len(), [mixed, x]);
            x = rest;
            let attn = g.linear(&layer.output, mixed);
            g.add(x, attn);
            let normed = g.norm(&layer.ffn_norm, x);
            if let Some(shared) = &layer.shared {
                let ffn = g.mlp(&shared.mlp, normed, Act::SILU);
                let gate = g.linear(&shared.gate, normed); // [n, 1]
                g.r.unary(gate, gate, Act::SIGMOID);
                let part = g.value(self.base.n_embd);
                g.r.weighted_sum(part, ffn, gate, Operand::NONE);
                g.add(x, part);
            }
            let ffn = g.ffn(&layer.ffn, normed, Act::SILU);
            g.add(x, ffn);
        }
        g.logits(&self.base, x)
    }
}
