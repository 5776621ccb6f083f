//! Constrained output: what the model says must match a grammar.
//!
//! [`gbnf`] reads a grammar into [`code`], [`machine`] runs that over bytes, [`vocab`] finds which tokens may come next.
//! Here is what a session has of it: the grammar in force, and where in it the turn is.
//!
//! As in llama.cpp, what the sampler picked is looked at first. When the grammar refuses it the sampler picks once more from what
//! fits. Where a grammar allows much, enough of the most probable tokens fit, and no others need be looked at; where it allows
//! little, the walk through the whole vocabulary is short.

pub mod check;
pub mod code;
pub mod gbnf;
mod index;
pub mod machine;
pub mod schema;
#[cfg(test)]
mod tests;
mod trigger;
mod utf8;
pub mod vocab;

use crate::abi::{self, Fail, Result, try_vec};
use crate::params::Params;
use alloc::string::String;
use alloc::vec::Vec;
use gbnf::Tokens;
use machine::{DEAD, Full, Machine, State};
use trigger::Triggers;
use vocab::{MAX_TOKEN, Vocabulary};

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// The byte it begins at.
    pub at: usize,
    /// What was expected there, or what is wrong.
    pub what: String,
    /// Nothing is: from there on there is no memory to read it.
    pub no_memory: bool,
}

impl Syntax {
    fn new(at: usize, what: String) -> Self {
        let no_memory = false;
        Self {
            at,
            what,
            no_memory,
        }
    }

    fn no_memory(at: usize) -> Self {
        Self {
            at,
            what: String::new(),
            no_memory: true,
        }
    }
}

/// Line and column of a byte, both from 1; a column is a character.
pub fn position(text: &[u8], at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or_default();
    let line = before.iter().filter(|c| **c == b'\n').count() + 1;
    let start = before
        .iter()
        .rposition(|c| *c == b'\n')
        .map_or(0, |n| n + 1);
    let tail = before.get(start..).unwrap_or_default();
    let column = tail.iter().filter(|c| **c & 0xC0 != 0x80).count() + 1;
    (line, column)
}

/// What is to be matched, as the parameters say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// GBNF; none if empty.
    pub grammar: String,
    /// A JSON schema; none if empty.
    pub json_schema: String,
    /// Only from a trigger on.
    pub lazy: bool,
    /// Texts with which it begins, if it is lazy.
    pub triggers: Vec<String>,
}

impl Source {
    /// Whether anything is to be matched.
    pub fn is_some(&self) -> bool {
        !self.grammar.is_empty() || !self.json_schema.is_empty()
    }

    /// A machine for it, with the tokens of a model; the error says what is wrong and where.
    fn compile(&self, model: u32) -> Result<Machine> {
        let count = abi::vocab(model)?.n_tokens;
        let code = match (self.grammar.as_str(), self.json_schema.as_str()) {
            (grammar, "") => gbnf::compile_with(grammar, Tokens { model, count })
                .map_err(|e| refused("grammar", grammar, &e))?,
            ("", schema) => {
                let gbnf =
                    schema::to_gbnf(schema).map_err(|e| refused("json_schema", schema, &e))?;
                // What it became is nothing its author has seen.
                gbnf::compile(&gbnf).map_err(|e| match e.no_memory {
                    true => full(Full::MEMORY),
                    false => fail!(
                        INVALID_ARGUMENT,
                        "parameter json_schema makes a bad grammar: {}",
                        e.what
                    ),
                })?
            }
            _ => {
                return Err(fail!(
                    INVALID_ARGUMENT,
                    "parameters grammar and json_schema exclude each other; set one of them to nothing"
                ));
            }
        };
        let mut machine = Machine::new(code).map_err(full)?;
        if machine.start().map_err(full)? == DEAD {
            return Err(fail!(
                INVALID_ARGUMENT,
                "the grammar matches no text at all"
            ));
        }
        Ok(machine)
    }
}

#[cold]
fn refused(key: &str, text: &str, error: &Syntax) -> Fail {
    if error.no_memory {
        return full(Full::MEMORY);
    }
    let (line, column) = position(text.as_bytes(), error.at);
    let what = &error.what;
    fail!(
        INVALID_ARGUMENT,
        "parameter {key}, line {line}, column {column}: {what}"
    )
}

#[cold]
fn full(Full(what): Full) -> Fail {
    fail!(LIMIT, "{what}")
}

/// What a grammar says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may come next.
    Allowed,
    /// It may not.
    Refused,
    /// The text is complete, and nothing may follow.
    Ended,
}

/// The grammar in force in a session.
pub struct Constraint {
    source: Source,
    model: u32,
    machine: Machine,
    state: State,
    triggers: Triggers,
    /// The position of the first token that it is about; None before the first turn.
    begin: Option<u32>,
    /// The bytes of the token that is looked at.
    piece: Vec<u8>,
    mask: Vec<u32>,
    /// How often the next token was refused.
    refusals: u32,
}

/// A grammar that was looked at, and its machine: what was found good when it was set costs the turn nothing.
pub type Prepared = Option<(Source, Machine)>;

impl Constraint {
    /// Whether the parameters would do, if they differ from what is in force or `prepared`.
    pub fn check(
        now: Option<&Self>,
        prepared: &mut Prepared,
        params: &Params,
        model: u32,
    ) -> Result<()> {
        let source = &params.constraint;
        let same = now.is_some_and(|now| now.source == *source);
        let ready = prepared.as_ref().is_some_and(|(ready, _)| ready == source);
        if !ready {
            *prepared = None;
        }
        if source.is_some() && !same && !ready {
            *prepared = Some((source.clone(), source.compile(model)?));
        }
        Ok(())
    }

    /// Takes over the parameters of a turn, which were checked.
    pub fn configure(
        now: &mut Option<Self>,
        prepared: &mut Prepared,
        params: &Params,
        model: u32,
    ) -> Result<()> {
        let source = &params.constraint;
        if !source.is_some() {
            *now = None;
        } else if now.as_ref().is_none_or(|now| now.source != *source) {
            let ready = prepared.take().filter(|(ready, _)| ready == source);
            *now = Some(Self {
                machine: match ready {
                    Some((_, machine)) => machine,
                    None => source.compile(model)?,
                },
                triggers: Triggers::new(model, source)?,
                source: source.clone(),
                model,
                state: DEAD,
                begin: None,
                piece: Vec::new(),
                mask: Vec::new(),
                refusals: 0,
            });
        }
        Ok(())
    }

    /// Begins a turn whose answer comes behind these tokens; if it `goes_on`, with the text that was matched before.
    pub fn begin(&mut self, tokens: [&[u32]; 2], goes_on: bool) -> Result<()> {
        if self.source.lazy && self.source.triggers.is_empty() {
            return Err(fail!(
                INVALID_ARGUMENT,
                "parameter grammar_lazy is 1, but grammar_triggers has none to wait for"
            ));
        }
        let [old, new] = tokens;
        let end = (old.len() + new.len()) as u32;
        let begin = self.begin.filter(|begin| goes_on && *begin <= end);
        self.restart(begin.unwrap_or(end))?;
        if begin.is_some_and(|begin| begin < end) {
            for token in old.iter().chain(new).skip(begin.unwrap_or(end) as usize) {
                let next = self.behind(*token)?;
                self.accept(next);
            }
            if self.state == DEAD {
                // Something else came in between: a text of its own begins.
                self.restart(end)?;
            }
        }
        Ok(())
    }

    fn restart(&mut self, begin: u32) -> Result<()> {
        self.begin = Some(begin);
        self.refusals = 0;
        self.triggers.restart();
        self.machine.rest(&mut []).map_err(full)?;
        self.state = self.machine.start().map_err(full)?;
        Ok(())
    }

    /// The context ends at `position`: a text that began behind it has not begun.
    pub fn rewind(&mut self, position: u32) {
        self.begin = self.begin.filter(|begin| *begin <= position);
    }

    /// What the grammar says of a token that was picked, which comes next if it is allowed; `eog` if it ends a generation.
    pub fn take(&mut self, token: u32, eog: bool) -> Result<Verdict> {
        if self.triggers.waiting() {
            if eog {
                return Ok(Verdict::Allowed);
            }
        } else if self.machine.is_end(self.state) {
            return Ok(Verdict::Ended);
        } else if eog {
            let allowed = self.machine.accepts(self.state);
            return Ok(if allowed {
                Verdict::Allowed
            } else {
                Verdict::Refused
            });
        }
        match self.behind(token)? {
            Some(DEAD) => return Ok(Verdict::Refused),
            next => self.accept(next),
        }
        Ok(Verdict::Allowed)
    }

    /// The state behind a token; None if no trigger has come by then.
    fn behind(&mut self, token: u32) -> Result<Option<State>> {
        self.rest()?;
        self.reach(token)
    }

    /// The same, as a part of the work under way.
    fn reach(&mut self, token: u32) -> Result<Option<State>> {
        self.piece.clear();
        abi::piece(self.model, token, &mut self.piece)?;
        let text = if self.triggers.waiting() {
            match self.triggers.find(token, &self.piece) {
                Some(text) => text,
                None => return Ok(None),
            }
        } else {
            self.piece.as_slice()
        };
        let mut state = match text.is_empty() || self.piece.len() > MAX_TOKEN {
            true => DEAD,
            false => self.state,
        };
        for byte in text {
            state = self.machine.step(state, *byte).map_err(full)?;
        }
        // One that brings a trigger is its text.
        if !self.triggers.waiting() {
            state = self.machine.token(self.state, token, state).map_err(full)?;
        }
        Ok(Some(state))
    }

    fn rest(&mut self) -> Result<()> {
        let mut kept = [self.state];
        self.machine.rest(&mut kept).map_err(full)?;
        [self.state] = kept;
        Ok(())
    }

    fn shrink(&mut self) -> Result<()> {
        let mut kept = [self.state];
        self.machine.shrink(&mut kept).map_err(full)?;
        [self.state] = kept;
        Ok(())
    }

    /// The token that was looked at comes next, and leads there.
    fn accept(&mut self, next: Option<State>) {
        self.refusals = 0;
        match next {
            Some(state) => {
                self.state = state;
                self.triggers.found();
            }
            None => self.triggers.push(&self.piece),
        }
    }

    /// Whether the tokens that fit are those that the grammar lets through, and not all but one.
    pub fn is_strict(&self) -> bool {
        !self.triggers.waiting()
    }

    /// The tokens that were let through, as bits.
    pub fn mask(&self) -> &[u32] {
        &self.mask
    }

    /// After a refusal: lets through the first `wanted` of these candidates that may come next. False if there are not so many. `eog`: those
    /// that end a generation are among them, if the text is complete.
    pub fn first_allowed(
        &mut self,
        candidates: impl Iterator<Item = u32>,
        wanted: u32,
        n_vocab: u32,
        eog: bool,
    ) -> Result<bool> {
        self.clear_mask(n_vocab)?;
        self.rest()?;
        let complete = eog && self.machine.accepts(self.state);
        let mut left = wanted;
        for id in candidates {
            if self.machine.is_crowded() {
                self.shrink()?;
            }
            let fits = match abi::is_eog(self.model, id) {
                true => complete,
                false => self.reach(id)? != Some(DEAD),
            };
            if !fits {
                continue;
            }
            let_through(&mut self.mask, id);
            left -= 1;
            if left == 0 {
                self.refusals += 1;
                return if self.refusals > 1 {
                    Err(nothing())
                } else {
                    Ok(true)
                };
            }
        }
        Ok(false)
    }

    fn clear_mask(&mut self, n_vocab: u32) -> Result<()> {
        if self.mask.is_empty() {
            let words = n_vocab.div_ceil(32) as usize;
            self.mask = try_vec(words)?;
            self.mask.resize(words, 0);
        }
        self.mask.fill(0);
        Ok(())
    }

    /// After a refusal of `token`: lets through all tokens that may come next, and says how many there are. `eog`: those that end a
    /// generation as well, if the text is complete.
    pub fn allowed(
        &mut self,
        token: u32,
        vocabulary: &Vocabulary,
        n_vocab: u32,
        eog: bool,
    ) -> Result<u32> {
        self.rest()?;
        if self.refusals == 0 || self.is_strict() {
            self.clear_mask(n_vocab)?;
        }
        self.refusals += 1;
        if self.triggers.waiting() {
            // It alone: it brings a trigger, and what the grammar does not want behind it.
            if self.refusals == 1 {
                self.mask.fill(u32::MAX);
            }
            if let Some(word) = self.mask.get_mut((token >> 5) as usize) {
                *word &= !(1 << (token & 31));
            }
            return match n_vocab.saturating_sub(self.refusals) {
                left if left > 0 && self.refusals <= MAX_REFUSALS => Ok(left),
                _ => Err(nothing()),
            };
        }
        let count = vocabulary.allowed(&mut self.machine, &mut self.state, &mut self.mask);
        let mut count = count.map_err(full)?;
        let (mask, ends) = (&mut self.mask, vocabulary.ends());
        self.machine
            .each_token(self.state, vocabulary.n_tokens(), |id| {
                if !ends.contains(&id) {
                    count += let_through(mask, id);
                }
            });
        if eog && self.machine.accepts(self.state) {
            for id in vocabulary.ends() {
                count += let_through(&mut self.mask, *id);
            }
        }
        if count == 0 || self.refusals > 1 {
            return Err(nothing());
        }
        Ok(count)
    }
}

/// Sets a token's bit; how many more tokens are let through now.
fn let_through(mask: &mut [u32], id: u32) -> u32 {
    match mask.get_mut((id >> 5) as usize) {
        Some(word) if *word >> (id & 31) & 1 == 0 => {
            *word |= 1 << (id & 31);
            1
        }
        _ => 0,
    }
}

/// Refusals of one token's candidates while a trigger is waited for.
const MAX_REFUSALS: u32 = 256;

#[cold]
fn nothing() -> Fail {
    fail!(
        STATE,
        "no token of the vocabulary fits the grammar here, or logit_bias bans all that do"
    )
}
