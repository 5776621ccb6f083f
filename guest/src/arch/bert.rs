//! bert and nomic-bert: encoders, whose tokens see one another in both directions, for embeddings. Norms come after what
//! they norm. bert has learned positions and a plain feed-forward network with GELU, nomic-bert rotates and has a gate.

use super::Family;
use super::graph::{Graph, Heads};
use super::meta::Meta;
use super::parts::{Base, Block, Linear, MAX_DIM, Mlp, Norm, Qkv, Rotary, linear};
use crate::abi::{self, Result};
use crate::embed::{Head, Pooling};
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

enum Positions {
    Learned(Operand),
    Rotated(Rotary),
}

enum Ffn {
    Plain { up: Linear, down: Linear },
    Gated(Mlp),
}

struct Layer {
    qkv: Qkv,
    output: Linear,
    attn_norm: Norm,
    ffn: Ffn,
    ffn_norm: Norm,
}

struct Bert {
    base: Base,
    pooling: Pooling,
    head: Option<Head>,
    /// A row for each type of token; all are of the first.
    token_types: Operand,
    positions: Positions,
    embd_norm: Norm,
    layers: Vec<Layer>,
}

/// Reads and checks a model of these architectures.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::layer(meta)?;
    let base = Base::encoder(meta, norm)?;
    let d = base.n_embd;
    let nomic = meta.arch == "nomic-bert";
    let layers = base.each_layer(|layer, shape| {
        let block = Block { meta, layer };
        Ok(Layer {
            qkv: block.qkv(&base)?,
            output: block.attn_output(&base)?,
            attn_norm: block.norm(norm, "attn_output_norm", d)?,
            ffn: if nomic {
                Ffn::Gated(block.mlp(&base)?)
            } else {
                Ffn::Plain {
                    up: block.linear("ffn_up", d, shape.n_ff)?,
                    down: block.linear("ffn_down", shape.n_ff, d)?,
                }
            },
            ffn_norm: block.norm(norm, "layer_output_norm", d)?,
        })
    })?;
    let token_types = match abi::tensor(meta.model, "token_types.weight")? {
        Some(t) => {
            let [_, rows, ..] = t.ne;
            let rows = u32::try_from(rows).unwrap_or(MAX_DIM);
            Operand::weight(
                meta.tensor(format_args!("token_types.weight"), &[d, rows])?
                    .handle,
            )
        }
        None => Operand::NONE,
    };
    let positions = if nomic {
        Positions::Rotated(base.rotary(meta, true)?)
    } else {
        let table = format_args!("position_embd.weight");
        let table = meta.tensor(table, &[d, base.n_ctx_train])?;
        Positions::Learned(Operand::weight(table.handle))
    };
    Ok(Box::new(Bert {
        head: head(meta, d)?,
        pooling: Pooling::from_file(meta.u32("pooling_type")?)?,
        token_types,
        positions,
        embd_norm: norm.named(meta, format_args!("token_embd_norm"), d)?,
        base,
        layers,
    }))
}

/// What ranks, if there is such a thing.
fn head(meta: &Meta, d: u32) -> Result<Option<Head>> {
    let part = |name: &str| {
        let line = abi::Line::format(format_args!("{name}.weight"));
        let Some(tensor) = abi::tensor(meta.model, line.text())? else {
            return Ok(None);
        };
        let [_, rows, ..] = tensor.ne;
        let rows = u32::try_from(rows).unwrap_or(MAX_DIM);
        linear(meta, format_args!("{name}"), d, rows).map(Some)
    };
    let (dense, output) = (part("cls")?, part("cls.output")?);
    Ok((dense.is_some() || output.is_some()).then_some(Head { dense, output }))
}

impl Family for Bert {
    fn base(&self) -> &Base {
        &self.base
    }

    fn pooling(&self) -> Option<Pooling> {
        Some(self.pooling)
    }

    fn head(&self) -> Option<Head> {
        self.head
    }

    fn n_ctx_max(&self) -> u32 {
        match self.positions {
            Positions::Learned(_) => self.base.n_ctx_train,
            Positions::Rotated(_) => u32::MAX,
        }
    }

    fn layer_ops(&self) -> usize {
        15
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let mut x = g.embed(&self.base); // [n, d]
        if self.token_types != Operand::NONE {
            let types = g.rows_of(self.token_types, g.io.types, self.base.n_embd);
            g.add(x, types);
        }
        if let Positions::Learned(table) = self.positions {
            let positions = g.value(self.base.n_embd);
            g.r.get_rows(positions, table, Operand::NONE, g.io.pos);
            g.add(x, positions);
        }
        g.norm_in_place(&self.embd_norm, x);
        for (il, (layer, kv)) in self.layers.iter().zip(kv).enumerate() {
            let [q, k, v] = g.qkv(&layer.qkv, x);
            if let Positions::Rotated(rotary) = &self.positions {
                g.rope(rotary, self.base.head_k, [q, k]);
            }
            let heads = Heads {
                causal: false,
                ..Heads::of(&self.base, il)
            };
            let mixed = g.attend(&heads, [q, k, v], *kv);
            let attn = g.linear(&layer.output, mixed);
            g.add(attn, x);
            g.norm_in_place(&layer.attn_norm, attn);
            let ffn = match &layer.ffn {
                Ffn::Plain { up, down } => {
                    let up = g.linear(up, attn); // [n, ff]
                    g.r.unary(up, up, Act::GELU_ERF);
                    g.linear(down, up)
                }
                Ffn::Gated(mlp) => g.mlp(mlp, attn, Act::SILU),
            };
            g.add(ffn, attn);
            g.norm_in_place(&layer.ffn_norm, ffn);
            x = ffn;
        }
        x
    }
}
