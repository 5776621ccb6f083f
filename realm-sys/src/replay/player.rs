//! Stands in for a guest: handles its events as the recipe says.
//!
//! What it does is what the library's guest does with text and ids (`guest/src/session.rs`), event by event, so that a turn and all
//! that may befall it — chunks, end tokens, stop strings, a full context, a failed step, a cancellation, a rewind — end in the same
//! state with the same tokens.

use super::image::Image;
use super::recipe::{Recipe, Register};
use super::sample::{draw, no_numbers, rng::Rng, stop::Stops};
use crate::error::{Error, Result, Status, try_vec, utf8};
use crate::graph::program::MAX_REGISTERS;
use crate::graph::run::Run;
use crate::guest::{HostState, Slice, event};
use crate::session::{DoneReason, InputKind};
use crate::vocab::{Detokenizer, Vocab};
use crate::{bail, err};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

mod owed;

/// What an event returns where no turn has ended.
const CONTINUE: i32 = 0;
/// What ARGMAX finds where there are no numbers.
const NO_INDEX: u32 = u32::MAX;

/// The parameters that a session with an image has.
#[derive(Clone, Copy)]
struct Settings {
    n_predict: i32,
    seed: u32,
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
    /// The prompt is in: from here on every step yields a token.
    decoding: bool,
    /// The position it began at, and what the turn before owed: a turn that ends before its first step never happened.
    begin: u32,
    owed: Vec<u32>,
    /// The last token of the context, if it was taken back to be evaluated again: behind `begin`, and owed nothing before it.
    taken: Option<u32>,
}

/// The player of one session.
pub struct Player {
    host: HostState,
    recipe: Arc<Recipe>,
    vocab: Option<Arc<Vocab>>,
    /// The event that no slice has handled yet.
    announced: Option<(u32, u32, u32)>,
    settings: Settings,
    rng: Rng,
    /// Turns begun, for seeding.
    turns: u32,
    stops: Stops,
    /// The tokens of the context, and of the step under way.
    context: Vec<u32>,
    /// Positions whose steps succeeded.
    committed: u32,
    turn: Option<Turn>,
    /// Tokens that were shown but have not entered the context.
    owed: Vec<u32>,
}

impl Player {
    /// Makes what the image has in a session's host.
    ///
    /// # Errors
    /// `InvalidArgument` for an image of another model; what validation says of its program; `Limit`, `NoMemory`, `Backend`.
    pub fn new(image: &Image, mut host: HostState) -> Result<Self> {
        let model = Arc::clone(&host.models.own.1);
        let program = image.make(&model, &mut host.compute.memory)?;
        host.compute.add_program(program)?;
        host.compute.published = Some(image.logits());
        let recipe = Arc::clone(image.recipe());
        let vocab = match recipe.vocabulary {
            true => Some(model.vocab()?),
            false => None,
        };
        Ok(Self {
            host,
            settings: Settings {
                n_predict: recipe.n_predict,
                seed: recipe.seed,
            },
            stops: Stops::new(copies(&recipe.stops)?),
            recipe,
            vocab,
            announced: None,
            rng: Rng::new(0),
            turns: 0,
            context: Vec::new(),
            committed: 0,
            turn: None,
            owed: Vec::new(),
        })
    }

    /// What it works on.
    pub fn host(&self) -> &HostState {
        &self.host
    }

    /// What it works on.
    pub fn host_mut(&mut self) -> &mut HostState {
        &mut self.host
    }

    /// Announces an event.
    pub fn begin(&mut self, kind: u32, a: u32, b: u32, _fuel: u64) {
        self.announced = Some((kind, a, b));
        self.host.begin_event(kind);
    }

    /// Takes back an event that has not been handled. False if there is none.
    pub fn withdraw(&mut self) -> bool {
        self.announced.take().is_some()
    }

    /// Handles the event, in one piece.
    ///
    /// # Errors
    /// A bug in the library.
    pub fn run(&mut self, _fuel: u64) -> Result<Slice> {
        let Some((kind, a, b)) = self.announced.take() else {
            bail!(Internal, "no event is to be handled");
        };
        let value = match self.event(kind, a, b) {
            Ok(value) if value >= 0 => value,
            Ok(status) => {
                self.abandon();
                status
            }
            Err(e) if e.status() == Status::Internal => return Err(e),
            Err(e) => {
                self.abandon();
                let status = e.status() as i32;
                self.host.fail_message = Some(e);
                status
            }
        };
        Ok(Slice::Returned(value))
    }

    fn event(&mut self, kind: u32, a: u32, b: u32) -> Result<i32> {
        match kind {
            event::OPEN | event::PARAMS => self.read_params().map(|_| CONTINUE),
            event::PROMPT => self.prompt(a),
            event::STEP => self.step(a as i32),
            event::CANCEL => {
                self.abandon();
                Ok(CONTINUE)
            }
            event::REWIND => self.rewind(a),
            event::RECORD => bail!(Unsupported, "the session's guest is an image already"),
            _ => bail!(Internal, "event {kind}, {a}, {b}"),
        }
    }

    /// The parameters as the host has them now, if they will do.
    fn read_params(&self) -> Result<Settings> {
        let mut settings = Settings {
            n_predict: self.recipe.n_predict,
            seed: self.recipe.seed,
        };
        for (key, value) in self.host.params.iter() {
            match key {
                "n_predict" => settings.n_predict = integer(key, value, i32::MAX.into())? as i32,
                // As the guest has it, -1 is 0.
                "seed" => settings.seed = integer(key, value, u32::MAX.into())?.max(0) as u32,
                _ => bail!(
                    InvalidArgument,
                    "parameter {key}: an image has the parameters that it was recorded with, and only n_predict and seed can be set"
                ),
            }
        }
        Ok(settings)
    }

    fn prompt(&mut self, kind: u32) -> Result<i32> {
        if self.turn.is_some() {
            bail!(State, "a turn is in progress");
        }
        let settings = self.read_params()?;
        if self.turns == 0 || settings.seed != self.settings.seed {
            self.rng = Rng::new(settings.seed.into());
        }
        self.settings = settings;
        // Room for the token that the turn may come to owe.
        let owed = try_vec(1, "tokens of a turn")?;
        let (feed, taken) = self.input(kind)?;
        let (count, room) = (feed.len(), self.recipe.ctx - self.committed);
        if count > room as usize {
            bail!(
                Limit,
                "the prompt has {count} tokens, but the context of {} has room for {room}",
                self.recipe.ctx
            );
        }
        self.stops.clear();
        self.host.detokenizer = Detokenizer::continuing(false);
        self.host.note_progress(0, count as u64);
        self.turn = Some(Turn {
            feed,
            fed: 0,
            in_flight: 0,
            generated: 0,
            decoding: false,
            begin: self.committed,
            owed: core::mem::replace(&mut self.owed, owed),
            taken,
        });
        self.turns = self.turns.saturating_add(1);
        self.submit()?;
        Ok(CONTINUE)
    }

    /// The tokens of the pending input, behind what is owed to the context; and that which was taken from there for it.
    fn input(&mut self, kind: u32) -> Result<(Vec<u32>, Option<u32>)> {
        // At least the one that stands in for an empty input.
        let mut feed = try_vec(
            self.owed.len() + self.host.input.len() / 4 + 1,
            "tokens of a prompt",
        )?;
        feed.extend_from_slice(&self.owed);
        if kind == InputKind::Ids as u32 {
            let n_vocab = self.recipe.n_vocab;
            for word in self.host.input.as_chunks::<4>().0 {
                let id = u32::from_le_bytes(*word);
                if id >= n_vocab {
                    bail!(
                        InvalidArgument,
                        "token {id} is not in the vocabulary of {n_vocab}"
                    );
                }
                feed.push(id);
            }
            return self.never_empty(feed);
        }
        let Some(vocab) = &self.vocab else {
            bail!(Unsupported, "the model has no vocabulary; give token ids");
        };
        if kind != InputKind::Text as u32 {
            bail!(
                Unsupported,
                "an image has no chat formats; give text or token ids"
            );
        }
        let start = self.committed == 0 && feed.is_empty();
        vocab.tokenize(&self.host.input, start, true, &mut feed)?;
        // A vocabulary that adds EOS would end the text that is to be continued.
        if start && vocab.add_eos() && feed.len() > 1 {
            feed.pop_if(|last| Some(*last) == vocab.eos());
        }
        self.never_empty(feed)
    }

    /// An empty input continues: from the last token, taken back and evaluated again, or from BOS at the very start.
    fn never_empty(&mut self, mut feed: Vec<u32>) -> Result<(Vec<u32>, Option<u32>)> {
        if !feed.is_empty() {
            return Ok((feed, None));
        }
        if self.committed == 0 {
            let bos = self.vocab.as_ref().filter(|v| v.add_bos());
            let Some(bos) = bos.and_then(|v| v.bos()) else {
                bail!(
                    InvalidArgument,
                    "the prompt is empty and nothing came before it"
                );
            };
            feed.push(bos);
            return Ok((feed, None));
        }
        let taken = self.context.last().copied();
        if let Some(last) = taken {
            self.host.compute.memory.kv_truncate(self.committed - 1)?;
            self.context.pop();
            self.committed -= 1;
            feed.push(last);
        }
        Ok((feed, taken))
    }

    fn turn(&mut self) -> Result<&mut Turn> {
        self.turn
            .as_mut()
            .ok_or_else(|| err!(Internal, "no turn to continue"))
    }

    /// Submits the next chunk of the turn's tokens.
    fn submit(&mut self) -> Result<()> {
        let Some(turn) = &mut self.turn else {
            bail!(Internal, "no turn to continue");
        };
        let rest = turn.feed.get(turn.fed..).unwrap_or(&[]);
        let count = rest.len().min(self.recipe.n_batch as usize);
        let chunk = rest.get(..count).unwrap_or(&[]);
        let last = count == rest.len();
        accept(&mut self.context, chunk)?;
        let memory = &mut self.host.compute.memory;
        for (i, id) in chunk.iter().enumerate() {
            memory.buffer_write(self.recipe.tokens, 4 * i as u64, &id.to_le_bytes())?;
        }
        turn.fed += count;
        turn.in_flight = count as u32;
        self.book(count as u32, u32::from(last))
    }

    /// Books the step for `n` tokens whose ids are in the buffer, or will be.
    fn book(&mut self, n: u32, outputs: u32) -> Result<()> {
        let mut values = [0; MAX_REGISTERS as usize];
        for (value, register) in values.iter_mut().zip(&self.recipe.registers) {
            *value = match *register {
                Register::Constant(value) => value,
                Register::Tokens => n,
                Register::Position => self.committed,
                Register::LastRow => n - 1,
                Register::Outputs => outputs,
            };
        }
        let values = values.get(..self.recipe.registers.len()).unwrap_or(&[]);
        let compute = &mut self.host.compute;
        let program = Arc::clone(compute.program(0)?);
        let threads = compute.thread_count;
        compute.booked = Some(Run::new(&program, values, 1, threads, &mut compute.memory)?);
        compute.stepped = true;
        Ok(())
    }

    fn step(&mut self, status: i32) -> Result<i32> {
        if status < 0 {
            // The session has the message of what failed.
            return Ok(status);
        }
        let turn = self.turn()?;
        let stepped = core::mem::take(&mut turn.in_flight);
        let decoding = turn.decoding;
        self.committed += stepped;
        if !decoding && let Some(ended) = self.prompt_step()? {
            return Ok(ended);
        }
        let token = self.pick()?;
        if let Some(vocab) = &self.vocab
            && !self.recipe.ignore_eos
            && vocab.is_eog(token)
        {
            return self.finish(DoneReason::Eos);
        }
        self.token(token)
    }

    /// A chunk of the prompt is in. None if it was the last, and a token is to be picked.
    fn prompt_step(&mut self) -> Result<Option<i32>> {
        let turn = self.turn()?;
        let (fed, all) = (turn.fed, turn.feed.len());
        if fed >= all {
            turn.decoding = true;
            // The prompt's memory goes back; from here on one token is fed at a time.
            turn.feed = Vec::new();
        }
        self.host.note_progress(fed as u64, all as u64);
        if fed < all {
            self.submit()?;
            return Ok(Some(CONTINUE));
        }
        if self.settings.n_predict == 0 {
            return self.finish(DoneReason::Length).map(Some);
        }
        Ok(None)
    }

    /// Picks the token after a step whose logits were wanted.
    fn pick(&mut self) -> Result<u32> {
        let memory = &self.host.compute.memory;
        let word = |buffer: u32, at: u32| -> Result<u32> {
            let mut bytes = [0; 4];
            memory.buffer_read(buffer, 4 * u64::from(at), &mut bytes)?;
            Ok(u32::from_le_bytes(bytes))
        };
        let token = match &self.recipe.sampling {
            None => match word(self.recipe.tokens, 0)? {
                NO_INDEX => return Err(no_numbers()),
                token => token,
            },
            Some(s) => {
                let number = |buffer, at| word(buffer, at).map(f32::from_bits);
                let sums = match s.sums {
                    Some(sums) => Some([number(sums, 0)?, number(sums, 1)?]),
                    None => None,
                };
                let mut fetch = |first: u32, out: &mut [f32]| {
                    let at = |(i, to): (usize, &mut f32)| {
                        *to = number(s.values, first + i as u32)?;
                        Ok(())
                    };
                    out.iter_mut().enumerate().try_for_each(at)
                };
                let rank = draw(s, sums, &mut fetch, &mut self.rng)?;
                word(s.ids, rank)?
            }
        };
        Ok(token)
    }

    /// Shows a generated token, and either feeds it or ends the turn.
    fn token(&mut self, token: u32) -> Result<i32> {
        if self.show(token)? {
            self.unsay(token)?;
            return self.finish(DoneReason::Stop);
        }
        let limit = u32::try_from(self.settings.n_predict).ok();
        let turn = self.turn()?;
        turn.generated += 1;
        if limit.is_some_and(|n| turn.generated >= n) {
            self.owed.push(token);
            return self.finish(DoneReason::Length);
        }
        if self.committed >= self.recipe.ctx {
            self.owed.push(token);
            return self.finish(DoneReason::Context);
        }
        if self.recipe.sampling.is_some() {
            let memory = &mut self.host.compute.memory;
            memory.buffer_write(self.recipe.tokens, 0, &token.to_le_bytes())?;
        }
        accept(&mut self.context, &[token])?;
        self.turn()?.in_flight = 1;
        self.book(1, 1)?;
        Ok(CONTINUE)
    }

    /// Shows what may be shown after a token; true if a stop string follows.
    fn show(&mut self, token: u32) -> Result<bool> {
        let id = i32::try_from(token).unwrap_or(-1);
        let host = &mut self.host;
        let Some(vocab) = &self.vocab else {
            host.outbox.emit(id, "")?;
            return Ok(false);
        };
        if self.stops.idle() {
            let detokenizer = &mut host.detokenizer;
            host.outbox
                .emit_with(id, |text| detokenizer.push(vocab, token, text))?;
            return Ok(false);
        }
        host.detokenizer.push(vocab, token, self.stops.text())?;
        let (free, stopped) = self.stops.advance();
        host.outbox.emit(id, utf8(free, "a token's text")?)?;
        let count = free.len();
        self.stops.show(count);
        Ok(stopped)
    }

    /// Ends the turn: shows what was held back, unless a stop string followed.
    fn finish(&mut self, reason: DoneReason) -> Result<i32> {
        if reason != DoneReason::Stop && self.vocab.is_some() {
            self.host.detokenizer.finish(self.stops.text())?;
            let (free, stopped) = self.stops.advance();
            let text = if stopped { free } else { self.stops.held() };
            if !text.is_empty() {
                self.host.outbox.emit(-1, utf8(text, "a turn's text")?)?;
            }
        }
        self.stops.clear();
        self.turn = None;
        Ok(reason as i32)
    }

    /// The context ends after its first `position` tokens, as if no more had ever come. Only the random numbers run on, unless
    /// nothing is left.
    fn rewind(&mut self, position: u32) -> Result<i32> {
        let at = self.committed;
        if self.turn.is_some() || position > at {
            bail!(State, "the context cannot go from {at} to {position}");
        }
        self.host.compute.memory.kv_truncate(position)?;
        self.context.truncate(position as usize);
        self.committed = position;
        self.owed = Vec::new();
        if position == 0 {
            self.turns = 0;
        }
        Ok(CONTINUE)
    }

    /// Forgets the turn; the context keeps the positions of the steps that completed.
    fn abandon(&mut self) {
        self.stops.clear();
        let Some(turn) = self.turn.take() else { return };
        self.context.truncate(self.committed as usize);
        if self.committed == turn.begin {
            // What was taken is owed: then nothing else was, and there is room for it.
            match turn.taken {
                Some(token) => self.owed.push(token),
                None => self.owed = turn.owed,
            }
        }
        // Nothing to tell anybody if this fails: the session has failed with it.
        let _ = self.host.compute.memory.kv_truncate(self.committed);
    }
}

/// Copies of texts.
fn copies(texts: &[String]) -> Result<Vec<String>> {
    let mut all = try_vec(texts.len(), "stop strings")?;
    for text in texts {
        let mut copy = String::new();
        copy.try_reserve_exact(text.len())
            .map_err(|_| err!(NoMemory, "no memory for a stop string"))?;
        copy.push_str(text);
        all.push(copy);
    }
    Ok(all)
}

/// Notes tokens that are about to enter the context.
fn accept(context: &mut Vec<u32>, tokens: &[u32]) -> Result<()> {
    context
        .try_reserve(tokens.len())
        .map_err(|_| err!(NoMemory, "no memory for the tokens of the context"))?;
    context.extend_from_slice(tokens);
    Ok(())
}

/// An integer from -1 on.
fn integer(key: &str, value: &str, most: i64) -> Result<i64> {
    let bad = || -> Error {
        err!(
            InvalidArgument,
            "parameter {key} is '{value}', expected an integer from -1 to {most}"
        )
    };
    let n: i64 = value.trim().parse().map_err(|_| bad())?;
    match (-1..=most).contains(&n) {
        true => Ok(n),
        false => Err(bad()),
    }
}
