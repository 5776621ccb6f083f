//! Speculative decoding: several tokens are guessed, one step of the model evaluates them all, and those that the sampler
//! picks as well are kept. What is generated is what would be without, bit for bit.
//!
//! A draft is what a smaller model says ([`drafter`](super::drafter)), or what followed the last time that the last few tokens of
//! the context came up ("prompt lookup"). The step that
//! evaluates it writes a row of logits for each of its tokens to a buffer. A small program of its own then samples from one row after the
//! other, as the model's program would have from its own: penalties see the tokens so far, grammars refuse, random numbers are drawn once a
//! token. At the first token that was not guessed the cache forgets the rest.

use super::drafter::{Drafter, Target};
use super::{Outcome, Session};
use crate::abi::{self, Result, kind, try_vec};
use crate::arch::Architecture;
use crate::program::{Dim, Operand, Recorder};
use crate::sample::Sampler;
use crate::slim::DRAFT;
use alloc::vec::Vec;

/// Where the evaluation of a draft is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// There is none.
    #[default]
    Off,
    /// The draft model guesses so many tokens.
    Guessing(u32),
    /// The model's step is under way.
    Evaluating,
    /// Tokens are picked from its rows.
    Picking,
}

/// The draft of a session, and what it needs, which is made when the session opens.
#[derive(Default)]
pub struct Drafted {
    phase: Phase,
    /// What guesses, if nothing is looked up.
    drafter: Option<Drafter>,
    /// The tokens behind the one that was picked last.
    tokens: Vec<u32>,
    /// How many of them have been picked.
    picked: usize,
    /// f32 `[draft_max + 1, n_vocab]`, its rows and columns.
    rows: Option<(u32, u32, u32)>,
    /// How many of the rows the turn has written.
    written: u32,
    /// The longest draft that there is room for; any, of a model that takes none.
    most: u32,
    /// The model's program with a row of logits for each token, and the one that samples from a row.
    programs: Option<[u32; 2]>,
    /// Tokens guessed in the turn, and those among them that were picked.
    counts: [u32; 2],
}

impl Drafted {
    /// Refuses drafts that are longer than those which the session was opened for.
    pub fn check(&self, draft_max: u32) -> Result<()> {
        match self.most {
            most if draft_max <= most => Ok(()),
            most => Err(fail!(
                INVALID_ARGUMENT,
                "parameter draft_max is '{draft_max}', and the session was opened for drafts of at most {most} tokens"
            )),
        }
    }

    /// A step has ended whose row of logits is to be picked from.
    pub fn picks(&self) -> bool {
        DRAFT && self.phase == Phase::Picking
    }

    /// A step of the draft model is under way.
    pub fn guesses(&self) -> bool {
        DRAFT && matches!(self.phase, Phase::Guessing(_))
    }

    /// The caches have been cut at this position.
    pub fn cut(&mut self, position: u32) {
        if let Some(drafter) = self.drafter.as_mut().filter(|_| DRAFT) {
            drafter.cut(position);
        }
    }

    /// The session's programs are others now.
    pub fn forget_programs(&mut self) {
        for program in self.programs.take().into_iter().flatten().filter(|_| DRAFT) {
            abi::program_destroy(program);
        }
    }

    /// The turn is over. Whether the cache holds more than was picked.
    pub fn stop(&mut self) -> bool {
        let [guessed, picked] = core::mem::take(&mut self.counts);
        if DRAFT && guessed > 0 {
            abi::log(
                3,
                format_args!("of {guessed} drafted tokens {picked} were accepted"),
            );
        }
        self.blank();
        core::mem::take(&mut self.phase) != Phase::Off
    }

    /// Zeros take no room in saved states, and nobody needs the rows any more.
    fn blank(&mut self) {
        const ZEROS: [f32; 1024] = [0.0; 1024];
        let written = core::mem::take(&mut self.written);
        let Some((buffer, _, n_vocab)) = self.rows.filter(|_| DRAFT) else {
            return;
        };
        let mut left = written * n_vocab;
        while left > 0 {
            let n = left.min(ZEROS.len() as u32);
            left -= n;
            let zeros = ZEROS.get(..n as usize).unwrap_or(&ZEROS);
            // What cannot be written stays, and does no harm.
            let _ = abi::buffer_write(buffer, left, zeros);
        }
    }
}

impl Session {
    /// A draft has been evaluated: goes on to its first row. False if the step was none.
    pub(super) fn draft_evaluated(&mut self) -> Result<bool> {
        if !DRAFT || self.drafted.phase != Phase::Evaluating {
            return Ok(false);
        }
        self.drafted.phase = Phase::Picking;
        self.pick_row()?;
        Ok(true)
    }

    /// What comes behind a token that has been picked and shown, if drafts are wanted: another row of the draft, or a draft. The token
    /// is noted, as in flight unless it is in the context already. False if it is to be evaluated by itself.
    pub(super) fn draft(&mut self, token: u32) -> Result<bool> {
        let Some(turn) = self.turn.as_mut() else {
            return Err(fail!(STATE, "no turn to continue"));
        };
        self.sampler.accept(&[token])?;
        turn.in_flight = 1;
        if self.drafted.picks() {
            if self.drafted.tokens.get(self.drafted.picked) == Some(&token) {
                // It was guessed, and is in the context.
                turn.in_flight = 0;
                self.committed += 1;
                self.drafted.picked += 1;
                self.drafted.counts[1] += 1;
                if let Some(drafter) = &mut self.drafted.drafter {
                    drafter.confirm();
                }
                return self.pick_row().map(|()| true);
            }
            self.drafted.phase = Phase::Off;
            self.cut()?;
        }
        let most = self.most_drafted();
        let context = self.sampler.context();
        if most == 0 {
            return Ok(false);
        }
        if let Some(drafter) = &mut self.drafted.drafter {
            self.drafted.phase = Phase::Guessing(most as u32);
            return drafter.advance(context, most as u32).map(|()| true);
        }
        let found = lookup(context, self.params.spec_ngram_size_n as usize);
        if found.is_empty() {
            return Ok(false);
        }
        let mut tokens = try_vec(most)?;
        // What ends with the context goes round and round.
        tokens.extend(found.iter().cycle().take(most));
        self.evaluate(token, tokens).map(|()| true)
    }

    /// A step of the draft model has succeeded: the next one, or that of the model over what was guessed, if only the token in flight.
    #[cold]
    #[inline(never)]
    pub(super) fn guessed(&mut self) -> Result<Outcome> {
        let (Phase::Guessing(most), Some(drafter)) =
            (self.drafted.phase, &mut self.drafted.drafter)
        else {
            return Err(fail!(STATE, "a step ended that was never submitted"));
        };
        let context = self.sampler.context();
        if drafter.advanced(most) {
            let tokens = drafter.guesses()?;
            let token = context.last().copied().unwrap_or_default();
            self.evaluate(token, tokens)?;
        } else {
            drafter.advance(context, most)?;
        }
        Ok(Outcome::Continue)
    }

    /// How many tokens may be guessed: as many as there is room for, and no more than the turn can still use.
    fn most_drafted(&self) -> usize {
        let generated = self.turn.as_ref().map_or(0, |turn| turn.generated);
        let wanted = u32::try_from(self.params.n_predict).map_or(u32::MAX, |n| n - generated);
        let room = self.ctx - self.committed;
        let room = room.min(self.n_batch).min(wanted).saturating_sub(1);
        room.min(self.params.draft_max()) as usize
    }

    /// Books the step of a token and the draft behind it.
    fn evaluate(&mut self, token: u32, draft: Vec<u32>) -> Result<()> {
        self.drafted.counts[0] += draft.len() as u32;
        self.drafted.tokens = draft;
        self.drafted.picked = 0;
        let Some([program, _]) = self.drafted.programs else {
            return Err(fail!(STATE, "no program to evaluate drafts with"));
        };
        abi::buffer_write(self.tokens, 0, &[token])?;
        abi::buffer_write(self.tokens, 1, &self.drafted.tokens)?;
        // Of these, only the first is certain to stay: one is in flight.
        self.drafted.phase = Phase::Evaluating;
        let n = 1 + self.drafted.tokens.len() as u32;
        self.drafted.written = self.drafted.written.max(n);
        self.submit_step(program, n, n)
    }

    /// Books the sampling from the next row.
    fn pick_row(&mut self) -> Result<()> {
        let Some([_, program]) = self.drafted.programs else {
            return Err(fail!(STATE, "no program to pick with"));
        };
        self.sampler.prepare()?;
        let [n_bias, n_penalties, n_dry] = self.sampler.regs();
        let row = self.drafted.picked as u32;
        abi::step_submit(program, &[row, n_bias, n_penalties, n_dry])
    }

    /// Makes the rows, if there are to be drafts, and opens the draft model: with the session, so that a plan has them.
    pub(super) fn room_for_drafts(&mut self, more: &[Architecture]) -> Result<()> {
        let takes_drafts = DRAFT && self.embedder.is_none() && !self.kept.any();
        self.drafted.most = match takes_drafts {
            true => self.params.draft_max(),
            false => u32::MAX,
        };
        if !DRAFT || self.params.draft_max() == 0 {
            return Ok(());
        }
        if takes_drafts {
            let facts = self.family.facts();
            let (n_vocab, rows) = (facts.n_vocab, self.params.draft_max() + 1);
            let buffer = abi::buffer(kind::F32, n_vocab, rows)?;
            self.drafted.rows = Some((buffer, rows, n_vocab));
            let layers = 0..facts.n_layer;
            let target = Target {
                model: self.model,
                ctx: self.ctx,
                n_batch: self.n_batch,
                groups: layers
                    .filter_map(|layer| self.family.kv(layer))
                    .map(|desc| desc.group + 1)
                    .max()
                    .unwrap_or(0),
                n_vocab,
            };
            self.drafted.drafter = Drafter::open(&self.params, &target, more)?;
        } else if self.params.model_draft != 0 {
            return Err(fail!(
                UNSUPPORTED,
                "parameter model_draft: a model that makes embeddings, or whose context cannot go back, takes no drafts"
            ));
        }
        Ok(())
    }

    /// Records the programs of drafts, beside the session's own.
    pub(super) fn record_drafts(&mut self) -> Result<()> {
        let Some((buffer, rows, _)) = self.drafted.rows.filter(|_| DRAFT) else {
            return Ok(());
        };
        let evaluate = self.record_rows(buffer, rows)?;
        match self.record_pick(buffer, rows) {
            Ok(pick) => self.drafted.programs = Some([evaluate, pick]),
            Err(fail) => {
                abi::program_destroy(evaluate);
                return Err(fail);
            }
        }
        Ok(())
    }

    /// The model's program, with as many rows of logits as it has tokens.
    fn record_rows(&mut self, buffer: u32, rows: u32) -> Result<u32> {
        let (mut r, logits, [_, n_out], _) = self.record_model(rows, 1)?;
        r.copy(Operand::buffer(buffer), Dim(0), logits, Dim(0), n_out);
        abi::program_create(&r.finish())
    }

    /// The program that samples from one row.
    fn record_pick(&self, buffer: u32, rows: u32) -> Result<u32> {
        let (n_vocab, one) = (self.family.facts().n_vocab, Dim(1));
        let mut r = Recorder::new(self.model, Sampler::OPS + 4)?;
        let row = r.reg(0, rows - 1);
        let regs = self.sampler.declare(&mut r);
        let logits = r.f32(n_vocab, one);
        r.copy(logits, Dim(0), Operand::buffer(buffer), row, one);
        self.record_sampling(&mut r, &regs, logits, one);
        abi::program_create(&r.finish())
    }

    /// Ends a turn's draft.
    pub(super) fn forget_draft(&mut self) -> Result<()> {
        match self.drafted.stop() {
            true => self.cut(),
            false => Ok(()),
        }
    }
}

/// What followed the last time that the context's last `n` tokens came up, up to the context's end.
fn lookup(context: &[u32], n: usize) -> &[u32] {
    let Some((last, before)) = context.split_last() else {
        return &[];
    };
    let Some(pattern) = context
        .len()
        .checked_sub(n)
        .and_then(|at| context.get(at..))
    else {
        return &[];
    };
    let mut end = before.len();
    // Most places are told by the last token alone.
    while let Some(at) = before
        .get(..end)
        .and_then(|b| b.iter().rposition(|t| t == last))
    {
        let behind = at + 1;
        if before.get(..behind).is_some_and(|b| b.ends_with(pattern)) {
            return context.get(behind..).unwrap_or_default();
        }
        end = at;
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::lookup;
    use crate::fake::host;
    use crate::session::tests::{Chat, context, ids, tiny};
    use crate::session::{STEP, TEXT, event};
    use std::string::String;
    use std::vec::Vec;

    type Told = (Vec<(i32, String)>, [i32; 2], Vec<u32>);

    /// What a turn shows, ends with and leaves in the context, and the next one; and the steps of the model it took.
    fn turns(params: &[(&str, &str)], script: &str) -> (Told, usize) {
        let mut c = Chat::open(tiny(params)).unwrap();
        let first = c.run(TEXT, b"xabcab", &ids(script), 999);
        let shown = host(|h| h.emits.clone());
        let second = c.run(TEXT, b"!", &ids("cab"), 999);
        ((shown, [first, second], context()), host(|h| h.steps))
    }

    #[test]
    fn drafts_change_nothing_but_the_steps() {
        for script in [
            "cabcabcabcabcabcabcabcabcabcabc",
            "cabcabxcabcab",
            "cabc",
            "zzz",
            "",
        ] {
            for more in [
                &[][..],
                &[("n_predict", "7")],
                &[("stop", "bca")],
                &[("logprobs", "1")],
                &[("n_batch", "3")],
                &[("ctx", "16")],
            ] {
                let draft = [more, &[("draft_max", "5")]].concat();
                let (plain, drafted) = (turns(more, script), turns(&draft, script));
                assert_eq!(plain.0, drafted.0, "{script} {more:?}");
                assert!(drafted.1 <= plain.1, "{script} {more:?}");
            }
        }
        let [plain, drafted] = ["0", "8"].map(|n| turns(&[("draft_max", n)], "cabcabcabcab").1);
        assert!(drafted + 5 < plain, "{drafted} steps instead of {plain}");
    }

    #[test]
    fn a_step_that_fails_takes_the_draft_back() {
        // The first step of the turn is the prompt's, the second that of a draft.
        let mut c = Chat::open(tiny(&[("draft_max", "5")])).unwrap();
        c.run(TEXT, b"xabcab", &ids("cabcab"), 1);
        assert_eq!(
            host(|h| h.submitted.clone()).unwrap().0[3],
            6,
            "rows of logits"
        );
        assert!(event(&mut c.0, &[], STEP, -10, 0) < 0);
        host(|h| h.submitted = None);
        assert_eq!(context().len(), 7);
        // And one that is cut off while rows are picked.
        c.run(TEXT, b"", &ids("cabcab"), 4);
        assert!(context().len() > 8);
        assert_eq!(event(&mut c.0, &[], 4, 0, 0), 0);
        host(|h| h.submitted = None);
        let kept = context().len();
        assert_eq!(c.run(TEXT, b"!", &ids("q"), 99), 1);
        assert_eq!(context()[kept], u32::from(b'!'));
    }

    #[test]
    fn a_draft_is_what_followed_the_last_time() {
        assert_eq!(lookup(&[1, 2, 3, 4, 1, 2], 2), [3, 4, 1, 2]);
        assert_eq!(lookup(&[1, 2, 3, 1, 2, 4, 1, 2], 2), [4, 1, 2]);
        assert_eq!(lookup(&[5, 2, 3, 4, 1, 2], 2), [0u32; 0]);
        assert_eq!(lookup(&[7, 7, 7, 7], 3), [7]);
        assert_eq!(lookup(&[7, 7], 3), [0u32; 0]);
        assert_eq!(lookup(&[], 1), [0u32; 0]);
    }
}
