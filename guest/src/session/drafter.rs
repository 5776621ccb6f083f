//! A draft model: a smaller one with the same tokens, which guesses how a text goes on.
//!
//! It has a cache of its own beside the model's, in KV groups behind those of the model. Before it guesses it is fed what the context
//! has and its cache has not; then one step, repeated, takes the most probable token again and again, without coming back to the
//! guest. What it guesses is what the model would have said or is forgotten, so nothing it does can be seen in the text.

use crate::abi::{self, KvDesc, Result, kind, try_vec};
use crate::arch::graph::{Graph, Io, query_divisors};
use crate::arch::{self, Architecture, Family};
use crate::lora::Lora;
use crate::params::Params;
use crate::program::{Dim, Operand, Recorder};
use alloc::vec::Vec;

/// How far two vocabularies may differ in size, and the tokens at their beginning that need not be the same: as in llama.cpp.
const PADDING: u32 = 128;
const FIRST_COMPARED: u32 = 5;

/// What the model has whose text is guessed.
pub struct Target {
    /// Its id.
    pub model: u32,
    /// Positions of the session, and tokens per step.
    pub ctx: u32,
    /// As above.
    pub n_batch: u32,
    /// Its KV groups.
    pub groups: u32,
    /// Rows of its logits.
    pub n_vocab: u32,
}

/// A draft model, opened.
pub struct Drafter {
    program: u32,
    /// i32, a row for each token of a step; and one for each guess.
    tokens: u32,
    guesses: u32,
    n_batch: u32,
    /// Tokens that the other model has.
    n_vocab: u32,
    /// Positions of the context that its cache has.
    fed: u32,
    /// How many are behind them in the cache since it guessed: guesses, each but the last.
    ahead: u32,
    /// How many guesses there are.
    guessed: u32,
    /// What these become when the step under way has succeeded.
    coming: [u32; 2],
}

impl Drafter {
    /// Opens the model that the parameters name, if they name one.
    pub fn open(params: &Params, target: &Target, more: &[Architecture]) -> Result<Option<Self>> {
        let model = params.model_draft;
        if model == 0 || params.draft_max() == 0 {
            return Ok(None);
        }
        if abi::tensor_count(model).is_err() {
            return Err(fail!(
                NOT_FOUND,
                "parameter model_draft names model {model}, which is none of the session's models (realm_session_options.models; realm-run: --model-draft FILE)"
            ));
        }
        let family = arch::open(model, more)?;
        let facts = family.facts();
        if family.pooling().is_some() || family.kept_rows() > 0 {
            return Err(fail!(
                UNSUPPORTED,
                "the draft model must make text, and be one whose context can go back; one for embeddings, with convolutions or with recurrent state will not do"
            ));
        }
        if facts.n_ctx_max < target.ctx {
            let (most, ctx) = (facts.n_ctx_max, target.ctx);
            return Err(fail!(
                UNSUPPORTED,
                "the draft model has {most} positions, fewer than the context of {ctx}"
            ));
        }
        same_tokens(target, model, facts.n_vocab)?;
        let kv = caches(family.as_ref(), params, target)?;
        let tokens = abi::buffer(kind::I32, 1, target.n_batch)?;
        let guesses = abi::buffer(kind::I32, 1, params.draft_max())?;
        let program = record(
            model,
            family.as_ref(),
            target,
            &kv,
            params.draft_max(),
            [tokens, guesses],
        )?;
        Ok(Some(Self {
            program,
            tokens,
            guesses,
            n_batch: target.n_batch,
            n_vocab: target.n_vocab,
            fed: 0,
            ahead: 0,
            guessed: 0,
            coming: [0, 0],
        }))
    }

    /// Books the next step towards `most` guesses of what follows `context`, which is what its cache has and more.
    pub fn advance(&mut self, context: &[u32], most: u32) -> Result<()> {
        let rest = context.get(self.fed as usize..).unwrap_or_default();
        let count = rest.len().min(self.n_batch as usize) as u32;
        // Tokens, position of the first, row of the last, whether it guesses, and the guess's place: the step's registers.
        let (regs, repeat) = if count == 0 {
            let at = self.fed + self.guessed - 1;
            // The last guess is where the step before it put it.
            ([1, at, 0, 1, self.guessed], most - self.guessed)
        } else {
            abi::buffer_write(
                self.tokens,
                0,
                rest.get(..count as usize).unwrap_or_default(),
            )?;
            let last = u32::from(count as usize == rest.len());
            // A step of one token is repeated with the next.
            let repeat = if last == 1 && count == 1 { most } else { 1 };
            ([count, self.fed, count - 1, last, 0], repeat)
        };
        let [_, _, _, guesses, first] = regs;
        self.coming = [self.fed + count, first + guesses * repeat];
        abi::step_repeat(self.program, &regs, repeat)
    }

    /// The step has succeeded. Whether there are as many guesses as are wanted.
    pub fn advanced(&mut self, most: u32) -> bool {
        [self.fed, self.guessed] = self.coming;
        self.guessed >= most
    }

    /// The guesses, up to one that is no token of the other model.
    pub fn guesses(&mut self) -> Result<Vec<u32>> {
        let mut tokens = try_vec(self.guessed as usize)?;
        tokens.resize(self.guessed as usize, 0);
        abi::buffer_read(self.guesses, 0, &mut tokens)?;
        let known = tokens.iter().take_while(|id| **id < self.n_vocab).count();
        tokens.truncate(known);
        self.ahead = self.guessed.saturating_sub(1);
        self.guessed = 0;
        Ok(tokens)
    }

    /// The first guess that was not yet confirmed is what the model said.
    pub fn confirm(&mut self) {
        if self.ahead > 0 {
            self.ahead -= 1;
            self.fed += 1;
        }
    }

    /// The caches have been cut at this position.
    pub fn cut(&mut self, position: u32) {
        self.fed = self.fed.min(position);
        self.ahead = 0;
        self.guessed = 0;
    }
}

/// Refuses a draft model whose tokens are others.
fn same_tokens(target: &Target, model: u32, n_vocab: u32) -> Result<()> {
    if n_vocab.abs_diff(target.n_vocab) > PADDING {
        let other = target.n_vocab;
        return Err(fail!(
            UNSUPPORTED,
            "the draft model has {n_vocab} tokens, the model {other}: at most {PADDING} may be more or fewer"
        ));
    }
    let texts = abi::vocab(target.model)?
        .n_tokens
        .min(abi::vocab(model)?.n_tokens);
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for id in FIRST_COMPARED..texts {
        own.clear();
        other.clear();
        abi::piece(model, id, &mut own)?;
        abi::piece(target.model, id, &mut other)?;
        if own != other {
            return Err(fail!(
                UNSUPPORTED,
                "token {id} of the draft model is another text than the model's: their vocabularies must be the same"
            ));
        }
    }
    Ok(())
}

/// The draft model's caches, in groups of their own.
fn caches(family: &dyn Family, params: &Params, target: &Target) -> Result<Vec<u32>> {
    let facts = family.facts();
    let mut kv = try_vec(facts.n_layer as usize)?;
    for layer in 0..facts.n_layer {
        let Some(desc) = family.kv(layer) else {
            return Err(fail!(
                UNSUPPORTED,
                "layer {layer} of the draft model has no cache"
            ));
        };
        kv.push(abi::kv_create(&KvDesc {
            kind: params.kv_type.of(facts.f32_weights),
            max_positions: target.ctx,
            group: target.groups + desc.group,
            ..desc
        })?);
    }
    Ok(kv)
}

/// The program of its steps. A step that is repeated takes its own guess, one position on.
fn record(
    model: u32,
    family: &dyn Family,
    target: &Target,
    kv: &[u32],
    draft_max: u32,
    [tokens, guesses]: [u32; 2],
) -> Result<u32> {
    let mut r = Recorder::new(model, family.op_count() + 3)?;
    let tokens = Operand::buffer(tokens);
    let io = Io {
        tokens,
        n_tok: r.reg(1, target.n_batch),
        pos: r.counter(target.ctx - 1),
        out_row: r.reg(0, target.n_batch - 1),
        n_out: r.reg(0, 1),
        ctx: target.ctx,
        divisors: query_divisors(family, target.ctx)?,
        types: Operand::NONE,
        kept: None,
        hidden: false,
    };
    let place = r.counter(draft_max - 1);
    let none = Lora::default();
    let mut graph = Graph::new(&mut r, io, &none);
    let logits = family.build(&mut graph, kv);
    let guess = r.i32(1, io.n_out);
    r.argmax(guess, logits);
    r.copy(tokens, Dim(0), guess, Dim(0), io.n_out);
    r.copy(Operand::buffer(guesses), place, guess, Dim(0), io.n_out);
    abi::program_create(&r.finish())
}
