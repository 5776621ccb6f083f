//! lfm2, and lfm2moe with experts in all but the first layers: most layers are gated short convolutions over the last few positions instead of attention; the others are
//! attention with norms on the heads of queries and keys.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::moe::{Ffn, Mixture, Weighing};
use super::parts::{Base, Block, Linear, MAX_DIM, Norm, Qkv, Rotary};
use crate::abi::Result;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

enum Mixer {
    Attention {
        qkv: Qkv,
        head_norms: [Norm; 2],
        output: Linear,
    },
    Convolution {
        /// `[3·d, d]`: what gates the input, what gates the output, the input.
        input: Linear,
        /// `[d, taps]`
        kernel: Operand,
        output: Linear,
    },
}

struct Layer {
    norm: Norm,
    mixer: Mixer,
    ffn_norm: Norm,
    ffn: Ffn,
}

struct Lfm2 {
    base: Base,
    window: u32,
    /// Positions that a convolution sees.
    taps: u32,
    rotary: Rotary,
    layers: Vec<Layer>,
}

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let base = Base::hybrid(meta, norm, "token_embd_norm")?;
    let (d, head) = (base.n_embd, base.head_k);
    let taps = meta.need("shortconv.l_cache")?;
    if !(2..=256).contains(&taps) || d > MAX_DIM / 3 {
        return Err(fail!(
            FORMAT,
            "convolutions over {taps} positions of {d} cannot be right"
        ));
    }
    let mixture = Mixture::gated(meta, &base, Weighing::OfPicked)?;
    let dense = meta.u32("leading_dense_block_count")?.unwrap_or(0);
    let layers = base.each_layer(|layer, shape| {
        let block = Block { meta, layer };
        let head_norm = |name| Ok(block.norm(norm, name, head)?.per_head(head));
        let mixer = if shape.n_head_kv > 0 {
            Mixer::Attention {
                qkv: block.qkv(&base)?,
                head_norms: [head_norm("attn_q_norm")?, head_norm("attn_k_norm")?],
                output: block.attn_output(&base)?,
            }
        } else {
            let kernel = format_args!("blk.{layer}.shortconv.conv.weight");
            Mixer::Convolution {
                input: block.linear("shortconv.in_proj", d, 3 * d)?,
                kernel: meta.matrix(kernel, taps, d)?,
                output: block.linear("shortconv.out_proj", d, d)?,
            }
        };
        Ok(Layer {
            norm: block.norm(norm, "attn_norm", d)?,
            mixer,
            ffn_norm: block.norm(norm, "ffn_norm", d)?,
            ffn: Ffn::read(block, &base, mixture.filter(|_| layer >= dense))?,
        })
    })?;
    Ok(Box::new(Lfm2 {
        window: meta.u32("attention.sliding_window")?.unwrap_or(0),
        taps,
        rotary: base.rotary(meta, true)?,
        base,
        layers,
    }))
}

impl Family for Lfm2 {
    fn base(&self) -> &Base {
        &self.base
    }

    fn window(&self, _: u32) -> u32 {
        self.window
    }

    fn kept_rows(&self) -> u32 {
        self.taps - 1
    }

    fn layer_ops(&self) -> usize {
        24
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let d = self.base.n_embd;
        let mut x = g.embed(&self.base); // [n, d]
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let last = il + 1 == self.layers.len();
            let normed = g.norm(&layer.norm, x);
            let (mixed, output) = match &layer.mixer {
                Mixer::Attention {
                    qkv,
                    head_norms: [on_q, on_k],
                    output,
                } => {
                    let [q, k, v] = g.qkv(qkv, normed);
                    g.norm_in_place(on_q, q);
                    g.norm_in_place(on_k, k);
                    g.rope(&self.rotary, self.base.head_k, [q, k]);
                    let heads = Heads {
                        window: self.window,
                        ..Heads::of(&self.base, il)
                    };
                    (g.attend(&heads, [q, k, v], *kv), output)
                }
                Mixer::Convolution {
                    input,
                    kernel,
                    output,
                } => {
                    let all = g.linear(input, normed); // [n, 3·d]
                    let [gate_in, gate_out, x] = g.split(all, [d, d, d]);
                    g.r.mul(x, x, gate_in);
                    let mixed = g.short_conv(x, *kernel, *kv);
                    g.r.mul(mixed, mixed, gate_out);
                    (mixed, output)
                }
            };
            let [mixed, rest] = g.wanted(last, [mixed, x]);
            x = rest;
            let mixed = g.linear(output, mixed);
            g.add(x, mixed);
            let normed = g.norm(&layer.ffn_norm, x);
            let ffn = g.ffn(&layer.ffn, normed, Act::SILU);
            g.add(x, ffn);
        }
        g.logits(&self.base, x)
    }
}
