//! Mixtures of experts: a router picks a few feed-forward networks for each token.

use super::graph::Graph;
use super::meta::Meta;
use super::parts::{Base, Block, Linear, MAX_DIM, Mlp, linear};
use crate::abi::{Result, try_vec};
use crate::program::{Act, Dim, Operand};
use crate::slim::OfAllFamilies;
use alloc::vec::Vec;

/// How many experts of a group say how good it is: as in DeepSeek-V3 and llama.cpp.
const BEST_OF_GROUP: u32 = 2;
/// Takes what it is multiplied with out of the running, if that is more than nothing.
const FAR: f32 = 1e30;

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
    /// Groups that experts stand in, one behind the other, and how many of these a token's experts may be in; one of one: any.
    pub groups: [u32; 2],
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

/// The experts of a layer in a file of early 2024 or before, which has tensors of its own for each.
#[derive(Clone, Debug)]
pub struct Apart {
    used: u32,
    router: Linear,
    experts: Vec<Mlp>,
}

/// A feed-forward network of one kind or the other.
#[derive(Clone, Debug)]
pub enum Ffn {
    /// One for all tokens.
    Dense(Mlp),
    /// Some of many.
    Mixture(Experts),
    /// The same, in the form of old.
    Apart(Apart),
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
            groups: [1, 1],
        }))
    }
}

impl Mixture {
    /// The same, of models that say how scores become probabilities.
    pub fn gated(meta: &Meta, base: &Base, weighing: Weighing) -> Result<Option<Self>> {
        let Some(mixture) = Self::read(meta, base, weighing)? else {
            return Ok(None);
        };
        let groups = mixture.read_groups(meta)?;
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
        Ok(Some(Self {
            gating,
            groups,
            ..mixture
        }))
    }

    /// The groups of experts, and how many are used.
    fn read_groups(&self, meta: &Meta) -> Result<[u32; 2]> {
        let count = meta.u32("expert_group_count")?.unwrap_or(1).max(1);
        let used = meta.u32("expert_group_used_count")?.unwrap_or(1);
        if count == 1 {
            return Ok([1, 1]);
        }
        // A group is as good as its two best experts.
        let each = self.count / count;
        if !self.count.is_multiple_of(count)
            || each < BEST_OF_GROUP
            || !(1..=count).contains(&used)
            || self.used > used * each
        {
            return Err(fail!(
                FORMAT,
                "{} of {} experts in {used} of {count} groups cannot be right",
                self.used,
                self.count
            ));
        }
        Ok([count, used])
    }
}

impl Ffn {
    /// About how many operations it has.
    pub fn ops(&self) -> usize {
        match self {
            Self::Dense(_) => 4,
            Self::Mixture(_) => 9,
            Self::Apart(apart) => 16 + 7 * apart.experts.len(),
        }
    }

    /// A layer's network: of experts, if the model has them.
    #[inline(never)]
    pub fn read(block: Block<'_>, base: &Base, mixture: Option<Mixture>) -> Result<Self> {
        Ok(match mixture {
            None => Self::Dense(block.mlp(base)?),
            Some(mixture) if block.has("ffn_gate.0.weight")? => {
                Self::Apart(Apart::read(block, base, mixture)?)
            }
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

impl Apart {
    #[inline(never)]
    fn read(block: Block<'_>, base: &Base, mixture: Mixture) -> Result<Self> {
        OfAllFamilies::need("mixtures of experts")?;
        let Mixture { count, n_ff, .. } = mixture;
        if (mixture.gating, mixture.weighing) != (Gating::Softmax, Weighing::OfPicked)
            || mixture.scale != 1.0
        {
            return Err(fail!(
                UNSUPPORTED,
                "experts that are a tensor each are known of mixtral only; convert the model again"
            ));
        }
        let mut experts = try_vec(count as usize)?;
        for i in 0..count {
            let part = |name: &str, k: u32, m: u32| {
                linear(
                    block.meta,
                    format_args!("blk.{}.{name}.{i}", block.layer),
                    k,
                    m,
                )
            };
            experts.push(Mlp {
                gate: part("ffn_gate", base.n_embd, n_ff)?,
                up: part("ffn_up", base.n_embd, n_ff)?,
                down: part("ffn_down", n_ff, base.n_embd)?,
            });
        }
        Ok(Self {
            used: mixture.used,
            router: block.linear("ffn_gate_inp", base.n_embd, count)?,
            experts,
        })
    }
}

impl Graph<'_> {
    /// A feed-forward network of x.
    pub fn ffn(&mut self, ffn: &Ffn, x: Operand, act: Act) -> Operand {
        match ffn {
            Ffn::Dense(mlp) => self.mlp(mlp, x, act),
            Ffn::Mixture(experts) => self.experts(experts, x, act),
            Ffn::Apart(apart) => self.apart(apart, x, act),
        }
    }

    /// The same of experts that no operation can pick from: all are run, and those that are not picked weigh nothing.
    #[inline(never)]
    fn apart(&mut self, apart: &Apart, x: Operand, act: Act) -> Operand {
        let weights = self.linear(&apart.router, x); // [n, E]
        let far = self.far_behind(weights, apart.used);
        self.r.add(weights, weights, far);
        self.r.soft_max(weights, weights);
        let count = apart.experts.len() as u32;
        let mut out = Operand::NONE;
        for (i, expert) in (0..).zip(&apart.experts) {
            let each = self.mlp(expert, x, act);
            let weight = self.columns(weights, [1, count], i, 1);
            let part = self.value(expert.down.width);
            self.r.weighted_sum(part, each, weight, Operand::NONE);
            if i == 0 {
                out = part;
            } else {
                self.add(out, part);
            }
        }
        out
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
            groups,
            ..
        } = experts.mixture;
        let scores = self.linear(&experts.router, x); // [n, E]
        let (ids, weights) = (self.r.i32(used, self.n), self.value(used));
        let favoured = experts.favour != Operand::NONE;
        let grouped = groups[1] < groups[0];
        if gating == Gating::Softmax && weighing == Weighing::OfPicked && !favoured && !grouped {
            // exp(a) / Σ exp over the picked is what dividing their probabilities by their sum gives.
            self.r.top_k(ids, weights, scores, Dim(used));
            self.r.soft_max(weights, weights);
        } else {
            match gating {
                Gating::Softmax => self.r.soft_max(scores, scores),
                Gating::Sigmoid => self.r.unary(scores, scores, Act::SIGMOID),
            }
            let mut picked_by = scores;
            if favoured {
                picked_by = self.value(experts.mixture.count);
                self.r.add(picked_by, scores, experts.favour);
            }
            if grouped {
                picked_by = self.in_best_groups(picked_by, groups);
            }
            self.r.top_k(ids, weights, picked_by, Dim(used));
            if favoured || grouped {
                self.r.gather(weights, scores, ids);
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

    /// What experts are picked by, with those far behind that are not in the best groups. Of groups that are equally good at the
    /// border all stay.
    #[inline(never)]
    fn in_best_groups(&mut self, scores: Operand, [count, used]: [u32; 2]) -> Operand {
        let experts = self.r.cols(scores);
        let each = experts / count;
        let mut of_groups = Operand::NONE; // [n, count]
        for group in 0..count {
            let own = self.columns(scores, [1, experts], group * each, each);
            let best = self.best(own, BEST_OF_GROUP);
            let sum = self.value(1);
            self.r.sum_rows(sum, best);
            of_groups = match group {
                0 => sum,
                _ => self.concat(1, of_groups, sum),
            };
        }
        let far = self.far_behind(of_groups, used);
        let out = self.repeated(far, each); // [n, experts]
        self.r.add(out, out, scores);
        out
    }

    /// For each column nothing if it is among the `used` largest of its row, else a large negative number.
    #[inline(never)]
    fn far_behind(&mut self, x: Operand, used: u32) -> Operand {
        let columns = self.r.cols(x);
        let kept = self.best(x, used);
        let least = self.columns(kept, [1, used], used - 1, 1);
        // The least that is kept less x: more than nothing for the others.
        let far = self.repeated(least, columns);
        let less = self.value(columns);
        self.r.scale(less, x, -1.0, 0.0);
        self.r.add(far, far, less);
        self.r.unary(far, far, Act::RELU);
        self.r.scale(far, far, -FAR, 0.0);
        far
    }

    /// The `k` largest of each row.
    fn best(&mut self, x: Operand, k: u32) -> Operand {
        let (ids, values) = (self.r.i32(k, self.n), self.value(k));
        self.r.top_k(ids, values, x, Dim(k));
        values
    }

    /// Each column so many times, one behind the other.
    fn repeated(&mut self, x: Operand, times: u32) -> Operand {
        let columns = self.r.cols(x);
        if times <= 1 {
            let copy = self.value(columns);
            self.r.copy(copy, Dim(0), x, Dim(0), self.n);
            return copy;
        }
        let half = self.repeated(x, times / 2);
        let twice = self.concat(columns, half, half);
        match times % 2 {
            0 => twice,
            _ => self.concat(columns, twice, x),
        }
    }
}
