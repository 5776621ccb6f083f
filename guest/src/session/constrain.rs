//! What a grammar adds to a turn: a look at every token that was picked, and a second pick where it is refused.
//!
//! The second pick is a step of its own, without the model: a small program takes the logits that the host keeps,
//! bans what the grammar does not allow, and samples as the first did. A step before it gives the best candidates: as soon as as many of
//! them fit as the sampler looks at, no other token can be picked, and the rest of the vocabulary is banned unseen.

use super::{Outcome, Session};
use crate::abi::{self, Result, kind};
use crate::grammar::vocab::Vocabulary;
use crate::grammar::{Constraint, Prepared, Verdict};
use crate::params::Params;
use crate::program::{Dim, Operand, Recorder};
use crate::sample::{Regs, Sampler};
use crate::slim::GRAMMAR;

/// Candidates of the step before a second pick.
const CANDIDATES: u32 = 256;

/// A step of a second pick that is under way.
#[derive(Clone, Copy)]
pub enum Again {
    /// What the best candidates are.
    Look,
    /// The pick, among so many tokens.
    Pick(u32),
}

/// The grammar of a session, and what second picks need.
#[derive(Default)]
pub struct Constrained {
    grammar: Option<Constraint>,
    prepared: Prepared,
    /// Read when it is needed first.
    vocabulary: Option<Vocabulary>,
    /// i32 `[1, ⌈n_vocab / 32⌉]`: a bit for each token that is allowed.
    mask: Option<u32>,
    program: Option<u32>,
    /// i32 `[1, CANDIDATES]`, or as many as there are tokens: the buffer, and how many they are.
    candidates: Option<(u32, u32)>,
    /// The program that writes them, where the sampler looks at no more.
    look: Option<u32>,
    again: Option<Again>,
}

impl Constrained {
    /// Whether there is a grammar.
    pub fn is_on(&self) -> bool {
        GRAMMAR && self.grammar.is_some()
    }

    /// The turn is over.
    pub fn stop(&mut self) {
        self.again = None;
    }

    /// The step of a second pick that was under way, if one was.
    pub fn second(&mut self) -> Option<Again> {
        self.again.take().filter(|_| GRAMMAR)
    }

    /// The context ends at `position`.
    pub fn rewind(&mut self, position: u32) {
        if let Some(grammar) = self.grammar.as_mut().filter(|_| GRAMMAR) {
            grammar.rewind(position);
        }
    }

    /// The sampler's operations are others now.
    pub fn forget_program(&mut self) {
        for program in [self.program.take(), self.look.take()]
            .into_iter()
            .flatten()
        {
            abi::program_destroy(program);
        }
    }
}

impl Session {
    /// Refuses a grammar that will not do.
    pub(super) fn check_grammar(&mut self, params: &Params) -> Result<()> {
        if params.constraint.is_some() && self.vocab.n_tokens == 0 {
            return Err(fail!(
                UNSUPPORTED,
                "the model has no vocabulary; parameters grammar and json_schema need one"
            ));
        }
        match GRAMMAR {
            true => {
                let Constrained {
                    grammar, prepared, ..
                } = &mut self.constrained;
                Constraint::check(grammar.as_ref(), prepared, params, self.model)
            }
            false => Ok(()),
        }
    }

    /// Takes over the grammar of a turn.
    pub(super) fn take_grammar(&mut self) -> Result<()> {
        match GRAMMAR {
            true => {
                let Constrained {
                    grammar, prepared, ..
                } = &mut self.constrained;
                Constraint::configure(grammar, prepared, &self.params, self.model)
            }
            false => Ok(()),
        }
    }

    /// Makes the buffers and programs of second picks, if there is a grammar: when the session opens, so that a plan has them, or when
    /// the first turn with one begins, and not within it.
    pub(super) fn ready_again(&mut self) -> Result<()> {
        if !self.constrained.is_on() || self.embedder.is_some() {
            return Ok(());
        }
        let n_vocab = self.family.facts().n_vocab;
        if self.constrained.program.is_none() {
            let mask = match self.constrained.mask {
                Some(mask) => mask,
                None => abi::buffer(kind::I32, n_vocab.div_ceil(32), 1)?,
            };
            self.constrained.mask = Some(mask);
            self.constrained.program = Some(self.record_again(mask, n_vocab)?);
        }
        let few = matches!(self.sampler.looks_at(), Some(1..=CANDIDATES));
        if few && self.constrained.look.is_none() {
            let count = CANDIDATES.min(n_vocab);
            let buffer = match self.constrained.candidates {
                Some((buffer, _)) => buffer,
                None => abi::buffer(kind::I32, count, 1)?,
            };
            self.constrained.candidates = Some((buffer, count));
            self.constrained.look = Some(self.record_look(buffer, count)?);
        }
        Ok(())
    }

    /// Begins the text behind these tokens. An empty input goes on with the text that was begun.
    pub(super) fn begin_grammar(&mut self, feed: &[u32], goes_on: bool) -> Result<()> {
        match &mut self.constrained.grammar {
            Some(grammar) if GRAMMAR => grammar.begin([self.sampler.context(), feed], goes_on),
            _ => Ok(()),
        }
    }

    /// What the grammar makes of the token that was picked; None if it comes next.
    #[inline(never)]
    pub(super) fn constrain(&mut self, token: u32, eog: bool) -> Result<Option<Outcome>> {
        let Some(grammar) = self.constrained.grammar.as_mut().filter(|_| GRAMMAR) else {
            return Ok(None);
        };
        match grammar.take(token, eog)? {
            Verdict::Allowed => Ok(None),
            Verdict::Ended => self.finish(Outcome::Eos).map(Some),
            Verdict::Refused => self.pick_again(token).map(|()| Some(Outcome::Continue)),
        }
    }

    /// Begins a second pick, because the grammar refuses `token`.
    #[cold]
    fn pick_again(&mut self, token: u32) -> Result<()> {
        let grammar = self.constrained.grammar.as_ref();
        let strict = grammar.is_some_and(Constraint::is_strict);
        match self.constrained.look.filter(|_| strict) {
            Some(program) => {
                self.constrained.again = Some(Again::Look);
                abi::step_submit(program, &self.sampler.regs())
            }
            None => self.walk(token),
        }
    }

    /// The best candidates are known: lets through what fits.
    #[cold]
    pub(super) fn looked(&mut self) -> Result<Outcome> {
        let (Some(grammar), Some((buffer, count)), Some(wanted)) = (
            &mut self.constrained.grammar,
            self.constrained.candidates,
            self.sampler.looks_at(),
        ) else {
            return Err(fail!(STATE, "no candidates to look at"));
        };
        let mut ids = [0u32; CANDIDATES as usize];
        let ids = ids.get_mut(..count as usize).unwrap_or_default();
        abi::buffer_read(buffer, 0, ids)?;
        let (n_vocab, n_tokens) = (self.family.facts().n_vocab, self.vocab.n_tokens);
        // A model may have more logits than its vocabulary has tokens.
        let ids = ids.iter().copied().filter(|id| *id < n_tokens);
        if grammar.first_allowed(ids, wanted, n_vocab, !self.params.ignore_eos)? {
            self.submit_again(wanted)?;
        } else {
            self.walk(abi::NO_INDEX)?;
        }
        Ok(Outcome::Continue)
    }

    /// Lets through what fits of the whole vocabulary, after a refusal of `token`.
    fn walk(&mut self, token: u32) -> Result<()> {
        let n_vocab = self.family.facts().n_vocab;
        if self.constrained.vocabulary.is_none() {
            self.constrained.vocabulary = Some(Vocabulary::read(self.model, self.vocab.n_tokens)?);
        }
        let (Some(grammar), Some(vocabulary)) =
            (&mut self.constrained.grammar, &self.constrained.vocabulary)
        else {
            return Err(fail!(STATE, "no grammar to pick by"));
        };
        let count = grammar.allowed(token, vocabulary, n_vocab, !self.params.ignore_eos)?;
        self.submit_again(count)
    }

    /// Submits the second pick, among the `count` tokens that were let through.
    fn submit_again(&mut self, count: u32) -> Result<()> {
        let (Some(grammar), Some(mask), Some(program)) = (
            &self.constrained.grammar,
            self.constrained.mask,
            self.constrained.program,
        ) else {
            return Err(fail!(STATE, "no program to pick again with"));
        };
        abi::buffer_write(mask, 0, grammar.mask())?;
        self.constrained.again = Some(Again::Pick(count));
        abi::step_submit(program, &self.sampler.regs())
    }

    /// The program that finds the best candidates.
    fn record_look(&self, buffer: u32, count: u32) -> Result<u32> {
        let n_vocab = self.family.facts().n_vocab;
        let (mut r, regs, logits) = self.kept_logits(n_vocab)?;
        self.sampler.record_changes(&mut r, &regs, logits);
        let (ids, values) = (r.i32(count, Dim(1)), r.f32(count, Dim(1)));
        r.top_k(ids, values, logits, Dim(count));
        r.copy(Operand::buffer(buffer), Dim(0), ids, Dim(0), Dim(1));
        abi::program_create(&r.finish())
    }

    /// The program of a second pick.
    fn record_again(&self, mask: u32, n_vocab: u32) -> Result<u32> {
        let (mut r, regs, logits) = self.kept_logits(n_vocab)?;
        r.mask(logits, Operand::buffer(mask));
        self.sampler.record(&mut r, &regs, logits, Dim(1));
        abi::program_create(&r.finish())
    }

    /// The beginning of both: the sampler's registers, and the logits that are kept.
    fn kept_logits(&self, n_vocab: u32) -> Result<(Recorder, Regs, Operand)> {
        let mut r = Recorder::new(self.model, Sampler::OPS + 2)?;
        let regs = self.sampler.declare(&mut r);
        let (logits, one) = (r.f32(n_vocab, Dim(1)), Dim(1));
        r.copy(logits, Dim(0), Operand::buffer(self.logits), Dim(0), one);
        Ok((r, regs, logits))
    }
}

#[cfg(test)]
mod tests;
