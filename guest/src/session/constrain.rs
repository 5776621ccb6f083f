//! What a grammar adds to a turn: a look at every token that was picked, and a second pick where it is refused.
//!
//! The second pick is a step of its own, without the model: a small program takes the logits that the host keeps,
//! bans what the grammar does not allow, and samples as the first did.

use super::{Outcome, Session};
use crate::abi::{self, Result, kind};
use crate::grammar::vocab::Vocabulary;
use crate::grammar::{Constraint, Prepared, Verdict};
use crate::params::Params;
use crate::program::{Dim, Operand, Recorder};
use crate::sample::Sampler;
use crate::slim::GRAMMAR;

/// The grammar of a session, and what second picks need. All but the grammar is made when it is needed first.
#[derive(Default)]
pub struct Constrained {
    grammar: Option<Constraint>,
    prepared: Prepared,
    vocabulary: Option<Vocabulary>,
    /// i32 `[1, ⌈n_vocab / 32⌉]`: a bit for each token that is allowed.
    mask: Option<u32>,
    program: Option<u32>,
    /// A second pick is under way, among so many tokens.
    again: Option<u32>,
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

    /// If a second pick is under way: among how many tokens. It is not any more.
    pub fn second(&mut self) -> Option<u32> {
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
        if let Some(program) = self.program.take() {
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
                Constraint::check(grammar.as_ref(), prepared, params)
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

    /// Submits a second pick, because the grammar refuses `token`.
    #[cold]
    fn pick_again(&mut self, token: u32) -> Result<()> {
        let n_vocab = self.family.facts().n_vocab;
        let mask = match self.constrained.mask {
            Some(mask) => mask,
            None => abi::buffer(kind::I32, n_vocab.div_ceil(32), 1)?,
        };
        self.constrained.mask = Some(mask);
        if self.constrained.vocabulary.is_none() {
            self.constrained.vocabulary = Some(Vocabulary::read(self.model, self.vocab.n_tokens)?);
        }
        let program = match self.constrained.program {
            Some(program) => program,
            None => self.record_again(mask, n_vocab)?,
        };
        self.constrained.program = Some(program);
        let (Some(grammar), Some(vocabulary)) =
            (&mut self.constrained.grammar, &self.constrained.vocabulary)
        else {
            return Ok(());
        };
        let (bits, count) = grammar.allowed(token, vocabulary, n_vocab, !self.params.ignore_eos)?;
        abi::buffer_write(mask, 0, bits)?;
        self.constrained.again = Some(count);
        abi::step_submit(program, &self.sampler.regs())
    }

    /// The program of a second pick.
    fn record_again(&self, mask: u32, n_vocab: u32) -> Result<u32> {
        let mut r = Recorder::new(self.model, Sampler::OPS + 2)?;
        let regs = self.sampler.declare(&mut r);
        let one = Dim(1);
        let logits = r.f32(n_vocab, one);
        r.copy(logits, Dim(0), Operand::buffer(self.logits), Dim(0), one);
        r.mask(logits, Operand::buffer(mask));
        self.sampler.record(&mut r, &regs, logits, one);
        abi::program_create(&r.finish())
    }
}
