//! Mixtures of experts: a router picks a few feed-forward networks for each token.

use super::graph::Graph;
use super::meta::Meta;
use super::parts::{Base, Block, Linear, MAX_DIM, Mlp};
use crate::abi::Result;
use crate::program::{Act, Dim, Operand};
use crate::slim::OfAllFamilies;

/// What the outputs of the picked experts are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighing {
    /// Their probabilities among all experts.
    OfAll,
    /// Their probabilities among themselves.
    OfPicked,
}

/// What the router's scores become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gating {
    /// Probabilities: they sum to 1.
    Softmax,
    /// Each a probability by itself.
    Sigmoid,
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
    /// What scores become.
    pub gating: Gating,
    /// What their outputs are multiplied with.
    pub weighing: Weighing,
    /// And that.
    pub scale: f32,
}

/// The experts of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Experts {
    _whole: OfAllFamilies,
    mixture: Mixture,
    router: Linear,
    /// f32 `[count]`, added to what experts are picked by and to nothing else, or [`Operand::NONE`].
    favour: Operand,
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
            gating: Gating::Softmax,
            weighing,
            scale: meta.scale("expert_weights_scale", 1.0)?,
        }))
    }
}

impl Mixture {
    /// The same, of models that say how scores become probabilities.
    pub fn gated(meta: &Meta, base: &Base, weighing: Weighing) -> Result<Option<Self>> {
        let Some(mixture) = Self::read(meta, base, weighing)? else {
            return Ok(None);
        };
        if let Some(n) = meta.u32("expert_group_count")?.filter(|n| *n > 1) {
            return Err(fail!(
                UNSUPPORTED,
                "experts in {n} groups are not known to this guest"
            ));
        }
        let gating = match meta.u32("expert_gating_func")?.unwrap_or(0) {
            0 | 1 => Gating::Softmax,
            2 => Gating::Sigmoid,
            n => {
                return Err(fail!(
                    UNSUPPORTED,
                    "experts that are gated by function {n} are not known to this guest"
                ));
            }
        };
        Ok(Some(Self { gating, ..mixture }))
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
        let _whole = OfAllFamilies::need("mixtures of experts")?;
        let Mixture { count, n_ff, .. } = mixture;
        let d = base.n_embd;
        let bias = format_args!("blk.{}.exp_probs_b.bias", block.layer);
        Ok(Self {
            _whole,
            mixture,
            router: block.linear("ffn_gate_inp", d, count)?,
            favour: block.meta.maybe_vector(bias, count)?,
            gate: block.stack("ffn_gate_exps", d, n_ff, count)?,
            up: block.stack("ffn_up_exps", d, n_ff, count)?,
            down: block.stack("ffn_down_exps", n_ff, d, count)?,
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
        let (ids, weights) = self.pick(experts, x); // [n, e]
        let gate = self.linear_id(&experts.gate, x, ids); // [n, e·ff]
        let up = self.linear_id(&experts.up, x, ids);
        self.r.glu(gate, gate, up, act);
        let down = self.linear_id(&experts.down, gate, ids); // [n, e·d]
        let out = self.value(experts.down.width);
        self.r.weighted_sum(out, down, weights, ids);
        out
    }

    /// The experts that each row of x gets, and the weights of their outputs.
    #[inline(never)]
    fn pick(&mut self, experts: &Experts, x: Operand) -> (Operand, Operand) {
        let Mixture {
            used,
            scale,
            gating,
            weighing,
            ..
        } = experts.mixture;
        let scores = self.linear(&experts.router, x); // [n, E]
        let (ids, weights) = (self.r.i32(used, self.n), self.value(used));
        let favoured = experts.favour != Operand::NONE;
        if gating == Gating::Softmax && weighing == Weighing::OfPicked && !favoured {
            // exp(a) / Σ exp over the picked is what dividing their probabilities by their sum gives.
            self.r.top_k(ids, weights, scores, Dim(used));
            self.r.soft_max(weights, weights);
        } else {
            match gating {
                Gating::Softmax => self.r.soft_max(scores, scores),
                Gating::Sigmoid => self.r.unary(scores, scores, Act::SIGMOID),
            }
            if favoured {
                let picked_by = self.value(experts.mixture.count);
                self.r.add(picked_by, scores, experts.favour);
                self.r.top_k(ids, weights, picked_by, Dim(used));
                self.r.gather(weights, scores, ids);
            } else {
                self.r.top_k(ids, weights, scores, Dim(used));
            }
            if weighing == Weighing::OfPicked {
                let sum = self.value(1);
                self.r.sum_rows(sum, weights);
                self.r.div(weights, weights, sum);
            }
        }
        self.scale(weights, scale);
        (ids, weights)
    }
}
