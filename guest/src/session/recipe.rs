//! What replaying a session takes beside its program: how steps are made and tokens picked, in words (`ABI.md`, "Recipes").

use super::{Outcome, Session};
use crate::abi::{self, Result, try_vec};
use crate::recipe as codes;
use alloc::vec::Vec;

/// What the registers are given that depend on the step, in the order in which `record_model` makes them.
const BY_STEP: [[u32; 2]; 4] = [
    [codes::REGISTER_TOKENS, 0],
    [codes::REGISTER_POSITION, 0],
    [codes::REGISTER_LAST_ROW, 0],
    [codes::REGISTER_OUTPUTS, 0],
];

impl Session {
    /// Publishes the recipe of the session as its parameters are now.
    pub(super) fn publish_recipe(&mut self) -> Result<Outcome> {
        self.params = self.read_params()?;
        self.ready()?;
        let refused = [
            (self.embedder.is_some(), "embeddings"),
            (self.kept.any(), "models that keep rows or a state"),
            (self.constrained.is_on(), "grammars"),
            (self.params.logprobs, "logprobs"),
            (!self.lora.asked().is_empty(), "adapters"),
        ];
        if let Some((_, what)) = refused.iter().find(|(is_so, _)| *is_so) {
            return Err(fail!(UNSUPPORTED, "images do not know {what}"));
        }
        let words = self.recipe()?;
        let buffer = match self.recipe {
            Some((buffer, count)) if count == words.len() => buffer,
            _ => abi::buffer(abi::kind::I32, words.len() as u32, 1)?,
        };
        self.recipe = Some((buffer, words.len()));
        abi::buffer_write(buffer, 0, words.as_slice())?;
        abi::publish_recipe(buffer)?;
        Ok(Outcome::Continue)
    }

    fn recipe(&self) -> Result<Vec<u32>> {
        let Some((_, _, program)) = self.program else {
            return Err(fail!(STATE, "no program to describe"));
        };
        let flag = |is_on: bool, bit: u32| if is_on { bit } else { 0 };
        let constants = self.sampler.regs();
        let chain = self.sampler.chain()?;
        let stops = self.params.stop.iter().filter(|stop| !stop.is_empty());
        let mut words = try_vec(64)?;
        words.extend([
            codes::VERSION,
            program,
            self.tokens,
            self.n_batch,
            self.ctx,
            self.family.facts().n_vocab,
            flag(self.params.ignore_eos, codes::FLAG_IGNORE_EOS)
                | flag(self.vocab.n_tokens > 0, codes::FLAG_VOCABULARY),
            self.params.n_predict as u32,
            self.params.seed,
        ]);
        words.extend(self.sampler.candidates());
        words.extend([
            (BY_STEP.len() + constants.len()) as u32,
            chain.len() as u32 / 2,
            stops.clone().count() as u32,
            0,
        ]);
        words.extend(BY_STEP.as_flattened());
        for value in constants {
            words.extend([codes::REGISTER_CONSTANT, value]);
        }
        words.extend(chain);
        for stop in stops {
            words.push(stop.len() as u32);
            for part in stop.as_bytes().chunks(4) {
                let mut word = [0; 4];
                word.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
                words.push(u32::from_le_bytes(word));
            }
        }
        Ok(words)
    }
}
