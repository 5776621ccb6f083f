//! The programs of a session's steps: recorded when it opens, and anew when sampling or adapters have changed.

use super::Session;
use crate::abi::{self, Result};
use crate::arch::graph::{Graph, Io};
use crate::lora::Lora;
use crate::program::{Dim, Operand, Recorder};
use crate::sample::{Key, Regs, Sampler};
use crate::slim;
use core::fmt::Write;

impl Session {
    /// Records the program of the model's steps, and those of drafts, if there is none of this key.
    pub(super) fn ready_program(&mut self, key: Key) -> Result<()> {
        let logprobs = self.params.logprobs;
        let adapted = !slim::LORA || self.params.lora == self.lora.asked();
        if !adapted {
            self.lora = Lora::read(self.model, &self.params.lora)?;
        }
        if let Some((old, sums, handle)) = self.program {
            if old == key && sums == logprobs && adapted {
                return Ok(());
            }
            abi::program_destroy(handle);
            self.program = None;
            self.constrained.forget_program();
            self.drafted.forget_programs();
        }
        if logprobs && self.total.is_none() {
            self.total = Some(abi::buffer(abi::kind::F32, 1, 1)?);
        }
        let handle = self.record()?;
        self.program = Some((key, logprobs, handle));
        self.record_drafts()
    }

    fn record(&mut self) -> Result<u32> {
        let (mut r, logits, [first, n_out], regs) = self.record_model(1, 3 + Sampler::OPS)?;
        if let Some(embedder) = &self.embedder {
            embedder.record(&mut r, logits, first, n_out);
        } else {
            self.record_sampling(&mut r, &regs, logits, n_out);
        }
        abi::program_create(&r.finish())
    }

    /// Begins a program with the model, of which up to so many rows of logits are wanted, and room for as many operations behind it.
    /// Gives the logits, or the hidden rows that embeddings are made of, which rows of a turn's they are (the first, and how many), and the
    /// sampler's registers.
    pub(super) fn record_model(
        &mut self,
        rows: u32,
        more: usize,
    ) -> Result<(Recorder, Operand, [Dim; 2], Regs)> {
        let ops = self.family.op_count() + self.lora.ops() + more;
        let mut r = Recorder::new(self.model, ops)?;
        if slim::LORA {
            r.further(self.lora.models());
        }
        let mut io = Io {
            tokens: Operand::buffer(self.tokens),
            n_tok: r.reg(1, self.n_batch),
            pos: r.reg(0, self.ctx - 1),
            out_row: r.reg(0, self.n_batch - 1),
            n_out: r.reg(0, rows),
            ctx: self.ctx,
            divisors: self.divisors,
            types: Operand::NONE,
            kept: None,
            hidden: self.embedder.is_some(),
        };
        if let Some(embedder) = &self.embedder {
            io.types = Operand::buffer(embedder.types);
        }
        let regs = self.sampler.declare(&mut r);
        io.kept = self.kept.declare(&mut r, self.n_batch);
        let mut graph = Graph::new(&mut r, io, &self.lora);
        let logits = self.family.build(&mut graph, &self.kv);
        self.adaptable = graph.adaptable;
        if slim::LORA {
            self.lora.fit(self.model, &self.adaptable)?;
        }
        log_codes(r.codes());
        let rows = match self.embedder {
            // An encoder's are all of them.
            Some(_) if self.family.pooling().is_some() => [Dim(0), io.n_tok],
            Some(_) => [io.pos, io.n_tok],
            None => [Dim(0), io.n_out],
        };
        Ok((r, logits, rows, regs))
    }

    /// Samples from logits of at most one row.
    pub(super) fn record_sampling(&self, r: &mut Recorder, regs: &Regs, logits: Operand, n: Dim) {
        let none = Dim(0);
        // The host's copy is taken before any sampler touches the logits.
        r.copy(Operand::buffer(self.logits), none, logits, none, n);
        if let Some(total) = self.total.filter(|_| self.params.logprobs) {
            let sum = r.f32(1, n);
            r.logsumexp(sum, logits, 1.0);
            r.copy(Operand::buffer(total), none, sum, none, n);
        }
        self.sampler.record(r, regs, logits, n);
    }
}

/// Says which operations the model takes, by their codes.
fn log_codes(codes: u32) {
    let mut line = abi::Line::default();
    let _ = write!(line, "operations of the model:");
    for code in (0..32).filter(|code| codes >> code & 1 == 1) {
        let _ = write!(line, " {code}");
    }
    abi::log(3, format_args!("{}", line.text()));
}
