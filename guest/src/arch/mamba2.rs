//! mamba2: no attention. Every layer is a gated selective scan behind a short convolution, and what it remembers is a state of
//! fixed size.

use super::Family;
use super::graph::{Graph, Scan};
use super::meta::Meta;
use super::parts::{Base, Block, Linear, MAX_DIM, Norm};
use crate::abi::Result;
use crate::program::{Act, Operand};
use alloc::boxed::Box;
use alloc::vec::Vec;

struct Layer {
    norm: Norm,
    /// What gates the output, what is convolved (the input, B and C), and the steps.
    input: Linear,
    /// `[columns, taps]`
    kernel: Operand,
    kernel_bias: Operand,
    step_bias: Operand,
    scan: Scan,
    /// `[groups, columns of a group]`
    gated_norm: Operand,
    output: Linear,
}

struct Mamba2 {
    base: Base,
    /// Positions that a convolution sees.
    taps: u32,
    /// Columns of the scan, and heads that they are.
    inner: u32,
    heads: u32,
    /// Columns of B, and of C: rows of the state for each group.
    mixed: u32,
    state: u32,
    /// Over each group, without a weight.
    group_norm: Norm,
    layers: Vec<Layer>,
}

/// Reads and checks a model of this architecture.
pub fn open(meta: &Meta) -> Result<Box<dyn Family>> {
    let norm = Norm::rms(meta)?;
    let base = Base::recurrent(meta, norm)?;
    let d = base.n_embd;
    let (taps, inner) = (meta.need("ssm.conv_kernel")?, meta.need("ssm.inner_size")?);
    let (state, heads) = (
        meta.need("ssm.state_size")?,
        meta.need("ssm.time_step_rank")?,
    );
    let groups = meta.need("ssm.group_count")?;
    let fits = [taps, state].iter().all(|n| (1..=1024).contains(n)) && taps > 1;
    let divides = inner % heads == 0 && heads % groups == 0;
    if !fits || !divides || inner > MAX_DIM / 4 || groups > MAX_DIM / 4 / state {
        return Err(fail!(
            FORMAT,
            "scans of {inner} in {heads} heads and {groups} groups, with {state} rows of state behind {taps} positions, cannot be right"
        ));
    }
    let mixed = groups * state;
    let convolved = inner + 2 * mixed;
    let layers = base.each_layer(|layer, _| {
        let block = Block { meta, layer };
        let matrix = |name: &str, n, rows| meta.matrix(format_args!("blk.{layer}.{name}"), n, rows);
        Ok(Layer {
            norm: block.norm(norm, "attn_norm", d)?,
            input: block.linear("ssm_in", d, inner + convolved + heads)?,
            kernel: matrix("ssm_conv1d.weight", taps, convolved)?,
            kernel_bias: matrix("ssm_conv1d.bias", convolved, 1)?,
            step_bias: matrix("ssm_dt.bias", heads, 1)?,
            scan: Scan {
                groups,
                rates: matrix("ssm_a", 1, heads)?,
                factors: matrix("ssm_d", 1, heads)?,
            },
            gated_norm: matrix("ssm_norm.weight", inner / groups, groups)?,
            output: block.linear("ssm_out", inner, d)?,
        })
    })?;
    Ok(Box::new(Mamba2 {
        base,
        taps,
        inner,
        heads,
        mixed,
        state,
        group_norm: norm.per_head(inner / groups),
        layers,
    }))
}

impl Family for Mamba2 {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kept_rows(&self) -> u32 {
        self.taps - 1
    }

    fn kept_cols(&self) -> u32 {
        self.inner + 2 * self.mixed
    }

    fn state(&self) -> [u32; 2] {
        [self.state, self.inner]
    }

    fn layer_ops(&self) -> usize {
        24
    }

    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand {
        let (rows, states) = kv.split_at(self.layers.len().min(kv.len()));
        let mut x = g.embed(&self.base); // [n, d]
        let buffers = rows.iter().zip(states);
        for (il, (layer, (rows, state))) in self.layers.iter().zip(buffers).enumerate() {
            let normed = g.norm(&layer.norm, x);
            let all = g.linear(&layer.input, normed);
            let [gate, mixed, dt] = g.split(all, [self.inner, self.kept_cols(), self.heads]);
            let mixed = g.short_conv(mixed, layer.kernel, *rows);
            g.add(mixed, layer.kernel_bias);
            g.r.unary(mixed, mixed, Act::SILU);
            let [input, b, c] = g.split(mixed, [self.inner, self.mixed, self.mixed]);
            g.add(dt, layer.step_bias);
            let y = g.scan(&layer.scan, [input, dt, b, c], *state); // [n, inner]
            g.r.glu(gate, gate, y, Act::SILU);
            let [y, rest] = g.wanted(il + 1 == self.layers.len(), [gate, x]);
            x = rest;
            g.norm_in_place(&self.group_norm, y);
            g.r.mul(y, y, layer.gated_norm);
            let out = g.linear(&layer.output, y);
            g.add(x, out);
        }
        g.logits(&self.base, x)
    }
}
