//! The event loop: a session's state between events, and what each event does to it.
//!
//! A turn is a list of tokens to feed (the prompt, in chunks), then one generated token per step. The
//! work per STEP is constant: read the token the program chose, make its text, show it, write its id,
//! submit. Positions count only when their step has succeeded, so a failed or cancelled step is undone
//! by forgetting everything behind `committed`.

use crate::abi::{self, Fail, KvDesc, Result, Vocab, try_vec};
use crate::arch::graph::query_divisors;
use crate::arch::{self, Architecture, Family};
use crate::chat::Talk;
use crate::embed::Embedder;
use crate::lora::Lora;
use crate::params::Params;
use crate::program::Operand;
use crate::recur::{self, Kept};
use crate::sample::{Key, Sampler};
use crate::slim::{self, DRAFT};
use crate::stop::Stops;
use alloc::boxed::Box;
use alloc::vec::Vec;
use constrain::{Again, Constrained};
use draft::Drafted;
use owed::Owed;

mod constrain;
mod draft;
mod drafter;
mod input;
mod owed;
mod programs;
mod recipe;

/// Context used if neither the parameter nor the model asks for less.
const DEFAULT_CTX: u32 = 4096;

/// What an event ends with, as the host knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
enum Outcome {
    /// Idle, or a step was submitted.
    Continue = 0,
    /// The model ended its text.
    Eos = 1,
    /// A stop string.
    Stop = 2,
    /// `n_predict` tokens.
    Length = 3,
    /// No room for another token.
    Context = 4,
}

/// The kinds of events and inputs.
const OPEN: i32 = 1;
const PROMPT: i32 = 2;
const STEP: i32 = 3;
const CANCEL: i32 = 4;
const REWIND: i32 = 5;
const PARAMS: i32 = 6;
const RECORD: i32 = 7;
const TEXT: i32 = 0;
const IDS: i32 = 1;
const CHAT: i32 = 2;
const MESSAGES: i32 = 3;
const REPLY: i32 = 4;
const PARSE: i32 = 5;

/// A session: one conversation with one model.
pub struct Session {
    model: u32,
    family: Box<dyn Family>,
    vocab: Vocab,
    params: Params,
    ctx: u32,
    n_batch: u32,
    /// Of each layer, its cache or its buffer of kept rows; behind them, of each, its buffer of scanned state, if there are any.
    kv: Vec<u32>,
    kept: Kept,
    /// Of a model that makes embeddings.
    embedder: Option<Embedder>,
    tokens: u32,
    divisors: Operand,
    logits: u32,
    sampler: Sampler,
    /// f32 `[1, 1]`: log-sum-exp of the logits, if it was ever asked for.
    total: Option<u32>,
    lora: Lora,
    /// What adapters there may be for, known from the first program on.
    adaptable: Vec<(Operand, bool)>,
    /// The program, what its sampling depends on, and whether it makes the sum.
    program: Option<(Key, bool, u32)>,
    stops: Stops,
    constrained: Constrained,
    drafted: Drafted,
    /// Positions whose steps succeeded.
    committed: u32,
    turn: Option<Turn>,
    /// What was shown but has not entered the context.
    owed: Owed,
    /// The buffer of the last recipe, and its words.
    recipe: Option<(u32, usize)>,
    /// The chat that the context holds.
    talk: Talk,
    /// Turns begun, for seeding.
    turns: u32,
}

/// The turn in progress.
struct Turn {
    /// Tokens to feed; empty once they are in.
    feed: Vec<u32>,
    /// How many of them have been submitted.
    fed: usize,
    /// Tokens of the step under way.
    in_flight: u32,
    generated: u32,
    /// The prompt is in; from here on every step yields a token.
    decoding: bool,
    /// The position it began at, what the turn before owed, and whether it is a chat turn: a
    /// turn that ends before its first step has completed never happened.
    begin: u32,
    owed: Owed,
    chat: bool,
}

/// Handles one event: see `ABI.md`. The session is created by OPEN, of a model whose architecture is among `more` or this
/// guest's own.
///
/// What a token takes is apart from what a turn takes, in functions that stay functions: it runs
/// once per token, with the caches full of weights, and what it does not touch it need not wait for.
pub fn event(slot: &mut Option<Session>, more: &[Architecture], kind: i32, a: i32, b: i32) -> i32 {
    let result = match slot {
        Some(session) if kind == STEP => session.step(a),
        _ => rare(slot, more, kind, a, b),
    };
    match result {
        Ok(outcome) => outcome as i32,
        Err(fail) => failed(slot, fail),
    }
}

#[cold]
#[inline(never)]
fn rare(
    slot: &mut Option<Session>,
    more: &[Architecture],
    kind: i32,
    a: i32,
    b: i32,
) -> Result<Outcome> {
    match (kind, slot.as_mut()) {
        (OPEN, None) => {
            *slot = Some(Session::open(a as u32, more)?);
            Ok(Outcome::Continue)
        }
        (PROMPT, Some(session)) => session.prompt(a, b as u32),
        (CANCEL, Some(session)) => session.cancel(),
        (REWIND, Some(session)) => session.rewind(a as u32),
        (PARAMS, Some(session)) => session.read_params().map(|_| Outcome::Continue),
        (RECORD, Some(session)) if slim::RECORD => session.publish_recipe(),
        (RECORD, Some(_)) => Err(fail!(UNSUPPORTED, "this slim guest makes no images")),
        _ => Err(fail!(STATE, "event {kind} is not expected now")),
    }
}

#[cold]
#[inline(never)]
fn failed(slot: &mut Option<Session>, Fail(status): Fail) -> i32 {
    if let Some(session) = slot.as_mut() {
        session.abandon();
    }
    // An error that is not negative would be taken for success.
    if status < 0 {
        status
    } else {
        abi::status::INVALID_ARGUMENT
    }
}

impl Session {
    fn open(model: u32, more: &[Architecture]) -> Result<Self> {
        let params = Params::read()?;
        let family = arch::open(model, more)?;
        let facts = family.facts();
        let vocab = abi::vocab(model)?;
        if vocab.n_tokens > facts.n_vocab {
            return Err(fail!(
                FORMAT,
                "the vocabulary has {} tokens, the embedding table {}",
                vocab.n_tokens,
                facts.n_vocab
            ));
        }
        params.biases_below(facts.n_vocab)?;
        let ctx = match params.ctx {
            0 => facts.n_ctx_train.min(DEFAULT_CTX),
            n => n,
        };
        if ctx > facts.n_ctx_max {
            let most = facts.n_ctx_max;
            return Err(fail!(
                INVALID_ARGUMENT,
                "parameter ctx is '{ctx}', more than the {most} positions that the model has"
            ));
        }
        if ctx > facts.n_ctx_train {
            let train = facts.n_ctx_train;
            abi::log(
                1,
                format_args!("context {ctx} is more than the model was trained for ({train})"),
            );
        }
        // Tokens that see one another go in together.
        let encodes = family.pooling().is_some();
        let n_batch = if encodes {
            ctx
        } else {
            params.n_batch.min(ctx)
        };
        let kind = params.kv_type.of(facts.f32_weights);
        let tokens = abi::buffer(abi::kind::I32, 1, n_batch)?;
        let [state_rows, state_cols] = family.state();
        let kept = Kept::new(family.kept_rows(), state_rows);
        let mut kv = try_vec(2 * facts.n_layer as usize)?;
        for layer in 0..facts.n_layer {
            kv.push(match family.kv(layer) {
                Some(desc) => abi::kv_create(&KvDesc {
                    kind,
                    max_positions: ctx,
                    ..desc
                })?,
                None => {
                    let width = family.kept_cols();
                    abi::buffer(abi::kind::F32, width, kept.buffer_rows())?
                }
            });
        }
        if kept.state_rows() > 0 {
            for _ in 0..facts.n_layer {
                kv.push(abi::buffer(abi::kind::F32, state_cols, kept.state_rows())?);
            }
        }
        let divisors = query_divisors(family.as_ref(), ctx)?;
        let (embedder, n_logits) = match params.pooling.or(family.pooling()) {
            Some(pooling) => {
                let (width, head) = (family.base().n_embd, family.head());
                // Behind the context's last position a chunk may still have room.
                let rows = if encodes { ctx } else { ctx - 1 + n_batch };
                let embedder = Embedder::new(pooling, head, width, rows, n_batch)?;
                (Some(embedder), 1)
            }
            None => (None, facts.n_vocab),
        };
        let logits = abi::buffer(abi::kind::F32, n_logits, 1)?;
        if embedder.is_none() {
            abi::publish_logits(logits)?;
        }
        let mut session = Self {
            model,
            family,
            vocab,
            ctx,
            n_batch,
            kv,
            kept,
            embedder,
            tokens,
            divisors,
            logits,
            sampler: Sampler::new(model, facts.n_vocab, tokens),
            total: None,
            lora: Lora::default(),
            adaptable: Vec::new(),
            program: None,
            stops: Stops::default(),
            constrained: Constrained::default(),
            drafted: Drafted::default(),
            committed: 0,
            turn: None,
            owed: Owed::default(),
            recipe: None,
            talk: Talk::default(),
            turns: 0,
            params,
        };
        // Recorded now, so that a model this host cannot run is refused at OPEN.
        let params = session.params.clone();
        session.check_grammar(&params)?;
        session.room_for_drafts(more)?;
        session.ready()?;
        Ok(session)
    }

    /// The parameters as the host has them now, if they will do.
    fn read_params(&mut self) -> Result<Params> {
        let params = Params::read()?;
        let (ctx, n_batch, tokens) = (self.ctx, self.n_batch, self.family.facts().n_vocab);
        params.same_session(&self.params, ctx, n_batch)?;
        self.drafted.check(params.draft_max())?;
        params.biases_below(tokens)?;
        self.check_grammar(&params)?;
        if slim::LORA && !params.lora.is_empty() {
            Lora::read(self.model, &params.lora)?.fit(self.model, &self.adaptable)?;
        }
        Ok(params)
    }

    /// Applies the parameters and records the programs if they ask for other ones.
    fn ready(&mut self) -> Result<()> {
        self.take_grammar()?;
        let key = self
            .sampler
            .configure(&self.params, self.ctx, self.turns == 0)?;
        self.ready_program(key)?;
        self.ready_again()
    }

    fn prompt(&mut self, kind: i32, bytes: u32) -> Result<Outcome> {
        if self.turn.is_some() {
            return Err(fail!(STATE, "a turn is in progress"));
        }
        self.params = self.read_params()?;
        self.ready()?;
        if self.embedder.is_some() {
            // Every input stands alone.
            self.rewind(0)?;
        }
        let kind = match (kind, &self.embedder) {
            (CHAT, Some(_)) => TEXT,
            (MESSAGES | REPLY | PARSE, Some(_)) => {
                return Err(fail!(
                    UNSUPPORTED,
                    "a model that makes embeddings has no conversations"
                ));
            }
            (kind, _) => kind,
        };
        if kind == PARSE && slim::CHAT {
            return self.parse_reply();
        }
        let begin = self.talk.len();
        let feed = self.input(kind, bytes as usize)?;
        let chat = self.talk.len() > begin;
        let (count, room) = (feed.len(), self.ctx - self.committed);
        if count > room as usize {
            if chat {
                self.talk.take_back();
            }
            let ctx = self.ctx;
            return Err(fail!(
                LIMIT,
                "the prompt has {count} tokens, but the context of {ctx} has room for {room}"
            ));
        }
        if let Err(e) = self.begin_grammar(&feed, bytes == 0 && !chat) {
            if chat {
                self.talk.take_back();
            }
            return Err(e);
        }
        self.stops.set(&self.params.stop);
        abi::detok_reset();
        abi::progress(0, count as u32);
        self.turn = Some(Turn {
            feed,
            fed: 0,
            in_flight: 0,
            generated: 0,
            decoding: false,
            begin: self.committed,
            owed: core::mem::take(&mut self.owed),
            chat,
        });
        self.turns += 1;
        self.submit()?;
        Ok(Outcome::Continue)
    }

    /// Submits the next chunk of the turn's tokens.
    #[inline(never)]
    fn submit(&mut self) -> Result<()> {
        let Some(turn) = self.turn.as_mut() else {
            return Err(fail!(STATE, "no turn to continue"));
        };
        let rest = turn.feed.get(turn.fed..).unwrap_or_default();
        let count = rest.len().min(self.n_batch as usize);
        let chunk = rest.get(..count).unwrap_or_default();
        let n_out = u32::from(count == rest.len());
        abi::buffer_write(self.tokens, 0, chunk)?;
        self.sampler.accept(chunk)?;
        turn.fed += count;
        turn.in_flight = count as u32;
        self.book(count as u32, n_out)
    }

    /// Books the step for `n` tokens whose ids are in the buffer, or will be.
    fn book(&mut self, n: u32, n_out: u32) -> Result<()> {
        let Some((_, _, program)) = self.program else {
            return Err(fail!(STATE, "no program to run"));
        };
        if n_out == 1 {
            self.sampler.prepare()?;
        }
        self.submit_step(program, n, n_out)
    }

    /// Submits a step of `n` tokens, of which the last `n_out` get logits.
    fn submit_step(&mut self, program: u32, n: u32, n_out: u32) -> Result<()> {
        let [n_bias, n_penalties, n_dry] = self.sampler.regs();
        let (kept, more) = self.kept.values(n, self.committed);
        let at = self.committed;
        let mut regs = [0; 7 + recur::REGS];
        let first = [n, at, n - n_out.max(1), n_out, n_bias, n_penalties, n_dry];
        for (to, value) in regs.iter_mut().zip(first.into_iter().chain(kept)) {
            *to = value;
        }
        abi::step_submit(program, regs.get(..7 + more).unwrap_or(&regs))
    }

    fn step(&mut self, status: i32) -> Result<Outcome> {
        if status < 0 {
            // The host has the message of what failed; `event` undoes the turn.
            return Err(Fail(status));
        }
        // A second pick is from the logits of the step before.
        let most = match self.constrained.second() {
            Some(Again::Look) => return self.looked(),
            Some(Again::Pick(most)) => most,
            None if self.drafted.picks() => u32::MAX,
            None if self.drafted.guesses() => return self.guessed(),
            None => {
                if let Some(outcome) = self.stepped()? {
                    return Ok(outcome);
                }
                if self.draft_evaluated()? {
                    return Ok(Outcome::Continue);
                }
                u32::MAX
            }
        };
        let token = self.sampler.pick(most)?;
        let eog = !self.params.ignore_eos && abi::is_eog(self.model, token);
        if self.constrained.is_on()
            && let Some(outcome) = self.constrain(token, eog)?
        {
            return Ok(outcome);
        }
        if eog {
            return self.finish(Outcome::Eos);
        }
        self.token(token)
    }

    /// A step of the model has succeeded. None if a token is to be picked.
    fn stepped(&mut self) -> Result<Option<Outcome>> {
        let Some(turn) = self.turn.as_mut() else {
            return Err(fail!(STATE, "a step ended that was never submitted"));
        };
        self.committed += turn.in_flight;
        turn.in_flight = 0;
        self.kept.advance();
        if let Some(embedder) = &self.embedder
            && turn.fed == turn.feed.len()
        {
            embedder.pool(self.committed, self.params.embd_normalize)?;
            return self.finish(Outcome::Length).map(Some);
        }
        if turn.decoding {
            return Ok(None);
        }
        self.prompt_step()
    }

    /// A chunk of the prompt is in. None if it was the last, and a token is to be picked.
    #[cold]
    #[inline(never)]
    fn prompt_step(&mut self) -> Result<Option<Outcome>> {
        let Some(turn) = self.turn.as_mut() else {
            return Err(fail!(STATE, "no turn to continue"));
        };
        abi::progress(turn.fed as u32, turn.feed.len() as u32);
        if turn.fed < turn.feed.len() {
            self.submit()?;
            return Ok(Some(Outcome::Continue));
        }
        turn.decoding = true;
        // The prompt's memory goes back; from here on one token is fed at a time.
        turn.feed = Vec::new();
        if self.params.n_predict == 0 {
            return self.finish(Outcome::Length).map(Some);
        }
        Ok(None)
    }

    /// Shows a generated token, and either feeds it or ends the turn.
    fn token(&mut self, token: u32) -> Result<Outcome> {
        if self.params.logprobs {
            self.logprob(token)?;
        }
        if self.vocab.n_tokens > 0 && self.stops.idle() {
            abi::emit_token(token)?;
        } else if self.show(token)? {
            if slim::CHAT {
                self.unsay(token)?;
            }
            return self.finish(Outcome::Stop);
        }
        let Some(turn) = self.turn.as_mut() else {
            return Err(fail!(STATE, "no turn to continue"));
        };
        turn.generated += 1;
        if u32::try_from(self.params.n_predict).is_ok_and(|n| turn.generated >= n) {
            self.owed.tokens.push(token);
            return self.finish(Outcome::Length);
        }
        if self.committed >= self.ctx {
            self.owed.tokens.push(token);
            return self.finish(Outcome::Context);
        }
        if DRAFT && self.params.draft_max() > 0 && !self.kept.any() {
            if self.draft(token)? {
                return Ok(Outcome::Continue);
            }
        } else {
            self.sampler.accept(&[token])?;
            turn.in_flight = 1;
        }
        if !self.sampler.feeds_back() {
            abi::buffer_write(self.tokens, 0, &[token])?;
        }
        self.book(1, 1)?;
        Ok(Outcome::Continue)
    }

    /// Says how probable the model found a token, whatever the samplers made of that.
    #[cold]
    #[inline(never)]
    fn logprob(&self, token: u32) -> Result<()> {
        let (mut logit, mut total) = ([0f32], [0f32]);
        abi::buffer_read(self.logits, token, &mut logit)?;
        abi::buffer_read(self.total.unwrap_or(0), 0, &mut total)?;
        let ([logit], [total]) = (logit, total);
        abi::logprob(logit - total)
    }

    /// Shows what may be shown after a token; true if a stop string follows.
    #[inline(never)]
    fn show(&mut self, token: u32) -> Result<bool> {
        if self.vocab.n_tokens > 0 {
            abi::detok(Some(token), self.stops.text())?;
        }
        let (free, stopped) = self.stops.advance();
        abi::emit(i32::try_from(token).unwrap_or(-1), free)?;
        let count = free.len();
        self.stops.show(count);
        Ok(stopped)
    }

    /// Ends the turn: shows what was held back, unless a stop string followed.
    #[cold]
    #[inline(never)]
    fn finish(&mut self, outcome: Outcome) -> Result<Outcome> {
        if outcome != Outcome::Stop && self.vocab.n_tokens > 0 {
            abi::detok(None, self.stops.text())?;
            let (free, stopped) = self.stops.advance();
            let text = if stopped { free } else { self.stops.held() };
            if !text.is_empty() {
                abi::emit(-1, text)?;
            }
        }
        self.stops.clear();
        self.forget_draft()?;
        self.turn = None;
        Ok(outcome)
    }

    fn cancel(&mut self) -> Result<Outcome> {
        self.abandon();
        Ok(Outcome::Continue)
    }

    /// The host wants the context to end after its first `position` tokens, as if no more had ever come. Only the random
    /// numbers run on, unless nothing is left.
    fn rewind(&mut self, position: u32) -> Result<Outcome> {
        if self.turn.is_some() || position > self.committed {
            let at = self.committed;
            return Err(fail!(
                STATE,
                "the context cannot go from {at} to {position}"
            ));
        }
        if self.kept.any() && position != 0 && position != self.committed {
            return Err(fail!(
                UNSUPPORTED,
                "a recurrent model goes back to its beginning only, not to {position}"
            ));
        }
        self.cut_at(position)?;
        self.sampler.rewind(position);
        self.constrained.rewind(position);
        self.committed = position;
        self.owed = Owed::default();
        self.talk.rewind(position);
        if position == 0 {
            self.turns = 0;
        }
        Ok(Outcome::Continue)
    }

    /// Forgets the turn; the context keeps the positions of the steps that completed.
    fn abandon(&mut self) {
        self.stops.clear();
        self.constrained.stop();
        let Some(turn) = self.turn.take() else {
            self.drafted.stop();
            return;
        };
        self.sampler.retract(turn.in_flight);
        if self.drafted.picks() {
            // The token that was shown last would be in flight now, had it not been guessed.
            self.sampler.retract(1);
            self.committed -= 1;
        }
        self.drafted.stop();
        let happened = self.committed != turn.begin;
        // What nobody answered was not said.
        match (turn.chat && !turn.decoding, happened) {
            (true, true) => {
                let owed = turn.owed.feed().len() as u32;
                self.talk.give_up(self.committed.min(turn.begin + owed));
            }
            (true, false) => self.talk.take_back(),
            _ => {}
        }
        if !happened {
            self.owed = turn.owed;
        }

        // Nothing to tell anybody if this fails: the session has failed with it.
        let _ = self.cut();
    }

    /// Forgets the keys and values of all steps that do not count.
    fn cut(&mut self) -> Result<()> {
        self.cut_at(self.committed)
    }

    /// Forgets those behind a position.
    fn cut_at(&mut self, position: u32) -> Result<()> {
        abi::kv_truncate(position)?;
        self.drafted.cut(position);
        Ok(())
    }
}

mod talk;
#[cfg(test)]
mod tests;
