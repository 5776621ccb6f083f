//! From a session to an image of what its guest has decided.

use super::Session;
use crate::bail;
use crate::error::{Result, try_vec};
use crate::graph::program::model_ids;
use crate::guest::event;
use crate::replay::{Parts, Recipe, write};
use alloc::vec::Vec;

/// The minor number of the guest ABI from which on guests handle RECORD.
const RECORD_MINOR: u32 = 2;

impl Session {
    /// The image of the session: its guest's decisions, for this model and these parameters, to be replayed without the guest.
    ///
    /// # Errors
    /// `State` once a step has run; `Unsupported` for a guest that cannot say how it works, or works in ways that images do not
    /// know; `NoMemory`; what else the guest says.
    pub fn record(&mut self) -> Result<Vec<u8>> {
        self.check()?;
        self.between_turns()?;
        if self.instance.host().compute.stepped {
            bail!(
                State,
                "the session has run: an image is recorded of one that has just been opened"
            );
        }
        let minor = self.instance.abi_minor();
        if minor < RECORD_MINOR {
            bail!(
                Unsupported,
                "the guest is written for guest ABI 0.{minor}; recording takes 0.{RECORD_MINOR}"
            );
        }
        self.instance.host_mut().compute.recipe = None;
        self.ask(event::RECORD, "RECORD")?;
        let host = self.instance.host();
        let (compute, own) = (&host.compute, &host.models.own);
        let (Some(recipe), Some(logits)) = (compute.recipe, compute.published) else {
            bail!(
                Unsupported,
                "the guest makes no images: it has published no recipe, or no logits"
            );
        };
        // Recipes are not what steps work on. Behind all else they are left out, so that recording changes no later image.
        let is_recipe = |buffer: usize| compute.recipes.contains(&(buffer as u32));
        let mut buffers = compute.memory.buffer_descs();
        while let Some((_, rest)) = buffers.split_last()
            && is_recipe(rest.len())
        {
            buffers = rest;
        }
        let bytes = compute.memory.buffer(recipe)?.bytes();
        let mut words: Vec<u8> = try_vec(bytes as usize, "bytes of a recipe")?;
        words.resize(bytes as usize, 0);
        compute.memory.buffer_read(recipe, 0, &mut words)?;
        // What would not be replayed is not recorded.
        let parsed = Recipe::parse(&words, buffers)?;
        let program = compute.program(parsed.program)?;
        parsed.fits(program.registers())?;
        if model_ids(program.bytes())?.any(|id| id != own.0) {
            bail!(
                Unsupported,
                "the guest's program has weights of further models, such as adapters, which images do not know"
            );
        }
        let parts = Parts {
            model: own.1.digest(None)?,
            logits,
            buffers,
            is_recipe: &is_recipe,
            program: program.bytes(),
            recipe: &words,
        };
        write(&parts, &compute.memory)
    }
}
