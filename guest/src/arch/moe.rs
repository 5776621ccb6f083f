//! Mixtures of experts: a router picks a few feed-forward networks for each token.

use super::graph::Graph;
use super::meta::Meta;
use super::parts::{Base, Block, Linear, MAX_DIM, Mlp};
use crate::abi::{Line, Result};
use crate::program::{Act, Dim, Operand};

/// What the outputs of the picked experts are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighing {
    /// Their probabilities among all experts.
    OfAll,
    /// Their probabilities among themselves.
    OfPicked,
}

/// How many experts there are, and how they are used.
#[derive(Clone, Copy, Debug)]
pub struct Mixture {
    /// All.
    pub count: u32,
    /// Those that a token gets.
    pub used: u32,
    /// Width of each.
    pub n_ff: u32,
    /// What their outputs are multiplied with.
    pub weighing: Weighing,
    /// And that.
    pub scale: f32,
}

/// The experts of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Experts {
    mixture: Mixture,
    router: Linear,
    /// `[count, m, k]` with biases `[count, m]`; the width is m.
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// A feed-forward network of one kind or the other.
#[derive(Clone, Copy, Debug)]
pub enum Ffn {
    /// One for all tokens.
    Dense(Mlp),
    /// Some of many.
    Mixture(Experts),
}

impl Mixture {
    /// Reads the sizes; None for a model without experts.
    #[inline(never)]
    pub fn read(meta: &Meta, base: &Base, weighing: Weighing) -> Result<Option<Self>> {
        let Some(count) = meta.u32("expert_count")?.filter(|n| *n > 0) else {
            return Ok(None);
        };
        let used = meta.need("expert_used_count")?;
        let n_ff = match meta.u32("expert_feed_forward_length")? {
            None | Some(0) => base.shape(0).n_ff,
            Some(n) => n,
        };
        let widest = n_ff.max(base.n_embd).saturating_mul(used);
        if used > count || count > MAX_DIM || n_ff == 0 || widest > MAX_DIM {
            return Err(fail!(
                FORMAT,
                "{used} of {count} experts of width {n_ff} cannot be right"
            ));
        }
        Ok(Some(Self {
            count,
            used,
            n_ff,
            weighing,
            scale: meta.scale("expert_weights_scale", 1.0)?,
        }))
    }
}

impl Ffn {
    /// A layer's network: of experts, if the model has them.
    #[inline(never)]
    pub fn read(block: Block<'_>, base: &Base, mixture: Option<Mixture>) -> Result<Self> {
        Ok(match mixture {
            None => Self::Dense(block.mlp(base)?),
            Some(mixture) => Self::Mixture(Experts::read(block, base, mixture)?),
        })
    }
}

impl Experts {
    /// Reads a layer's router and experts.
    #[inline(never)]
    pub fn read(block: Block<'_>, base: &Base, mixture: Mixture) -> Result<Self> {
        let Mixture { count, n_ff, .. } = mixture;
        let d = base.n_embd;
        let stack = |name: &str, k: u32, m: u32| -> Result<Linear> {
            let name = Line::format(format_args!("blk.{}.{name}", block.layer));
            let (meta, name) = (block.meta, name.text());
            let weight = meta.tensor(format_args!("{name}.weight"), &[k, m, count])?;
            Ok(Linear {
                weight: Operand::weight(weight.handle),
                bias: meta.maybe_matrix(format_args!("{name}.bias"), m, count)?,
                width: m,
            })
        };
        Ok(Self {
            mixture,
            router: block.linear("ffn_gate_inp", d, count)?,
            gate: stack("ffn_gate_exps", d, n_ff)?,
            up: stack("ffn_up_exps", d, n_ff)?,
            down: stack("ffn_down_exps", n_ff, d)?,
        })
    }
}

impl Graph<'_> {
    /// A feed-forward network of x.
    pub fn ffn(&mut self, ffn: &Ffn, x: Operand, act: Act) -> Operand {
        match ffn {
            Ffn::Dense(mlp) => self.mlp(mlp, x, act),
            Ffn::Mixture(experts) => self.experts(experts, x, act),
        }
    }

    /// The weighed sum of the picked experts' outputs for x.
    #[inline(never)]
    pub fn experts(&mut self, experts: &Experts, x: Operand, act: Act) -> Operand {
        let Mixture { used, scale, .. } = experts.mixture;
        let among_all = experts.mixture.weighing == Weighing::OfAll;
        let scores = self.linear(&experts.router, x); // [n, E]
        if among_all {
            self.r.soft_max(scores, scores);
        }
        let (ids, weights) = (self.r.i32(used, self.n), self.value(used));
        self.r.top_k(ids, weights, scores, Dim(used));
        if !among_all {
            // exp(a) / Σ exp over the picked is what dividing their probabilities by their sum gives.
            self.r.soft_max(weights, weights);
        }
        self.scale(weights, scale);
        let gate = self.each_expert(&experts.gate, used, x, ids); // [n, e·ff]
        let up = self.each_expert(&experts.up, used, x, ids);
        self.r.glu(gate, gate, up, act);
        let down = self.each_expert(&experts.down, used, gate, ids); // [n, e·d]
        let out = self.value(experts.down.width);
        self.r.weighted_sum(out, down, weights, ids);
        out
    }

    /// x `[n, k]` or `[n, e·k]` → `[n, e·m]`, by each token's own experts.
    fn each_expert(&mut self, stack: &Linear, used: u32, x: Operand, ids: Operand) -> Operand {
        let out = self.value(used * stack.width);
        self.r.mul_mat_id(out, [stack.weight, stack.bias], x, ids);
        out
    }
}
