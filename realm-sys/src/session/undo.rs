//! An event in which the guest has run out of memory or fuel is taken back: it becomes a refusal, and the session goes on as if
//! it had never been asked.
//!
//! Schemas, templates and conversations are other people's data, and a guest that reads them in its own memory cannot know
//! beforehand whether that suffices. Before an event that may be such a reading its memory is copied; host objects are taken
//! back by what [`Memory`](crate::graph::memory::Memory) keeps meanwhile. What a guest does after it has submitted a step is
//! not taken back, nor anything on firmware, which may not have the room, nor what a guest with a bug has come to.

use super::Session;
use crate::error::{Error, Result, Status, try_vec};
use crate::graph::prepared::Prepared;
use crate::guest::{HostState, Instance, event};
use crate::session::params::Params;
use crate::vocab::Detokenizer;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A guest as it was before an event, and what of its host it can change.
pub(super) struct Before {
    memory: Vec<u8>,
    globals: Vec<(u32, u64)>,
    programs: Vec<Option<Arc<Prepared>>>,
    published: Option<u32>,
    embeds: bool,
    recipe: Option<u32>,
    recipes: usize,
    progress: (u64, u64),
    detokenizer: Detokenizer,
}

impl Session {
    /// Notes how things are before an event that only reads what others have written. Where there is no room for it, the event
    /// is one that cannot be taken back.
    pub(super) fn remember(&mut self, kind: u32) {
        self.forget();
        let reads = matches!(
            kind,
            event::PROMPT | event::REWIND | event::PARAMS | event::RECORD
        );
        if cfg!(target_os = "none") || !reads || self.instance.portable().is_err() {
            return;
        }
        self.before = self.as_it_is().ok();
        if self.before.is_some() {
            self.instance.host_mut().compute.memory.watch();
        }
    }

    /// What has happened has happened.
    pub(super) fn forget(&mut self) {
        self.before = None;
        self.instance.host_mut().compute.memory.settle();
    }

    fn as_it_is(&self) -> Result<Before> {
        let (from, host) = (self.instance.memory(), self.instance.host());
        let compute = &host.compute;
        let mut memory = try_vec(from.len(), "bytes of a guest's memory")?;
        memory.extend_from_slice(from);
        let mut programs = try_vec(compute.programs.len(), "programs")?;
        programs.extend_from_slice(&compute.programs);
        Ok(Before {
            memory,
            globals: self.instance.globals()?,
            programs,
            published: compute.published,
            embeds: compute.embeds,
            recipe: compute.recipe,
            recipes: compute.recipes.len(),
            progress: host.progress,
            detokenizer: host.detokenizer.clone(),
        })
    }

    /// Takes the present event back, if it broke because memory or fuel ran out: what the guest would have said, could it
    /// have said so. Otherwise what it broke with.
    pub(super) fn take_back(&mut self, broken: Error) -> Result<i32> {
        let (Some(before), Some(lacking)) = (self.before.take(), self.instance.lacking()) else {
            return Err(broken);
        };
        if broken.status() == Status::Internal || self.restore(before).is_err() {
            return Err(broken);
        }
        let status = lacking.status();
        self.instance.host_mut().fail_message = Some(lacking);
        Ok(status as i32)
    }

    fn restore(&mut self, before: Before) -> Result<()> {
        let host = self.instance.host();
        let parts = host.parts(self.limits, host.compute.memory.empty(), Params::new())?;
        let mut anew = Instance::new(self.instance.guest(), HostState::new(parts))?;
        anew.memory_grown(before.memory.len() as u64)?
            .copy_from_slice(&before.memory);
        for (i, (ty, bits)) in before.globals.into_iter().enumerate() {
            anew.set_global(i, ty, bits)?;
        }
        let host = self.instance.host_mut();
        host.compute.memory.undo()?;
        host.compute.programs = before.programs;
        (host.compute.published, host.compute.embeds) = (before.published, before.embeds);
        host.compute.recipe = before.recipe;
        host.compute.recipes.truncate(before.recipes);
        (host.progress, host.detokenizer) = (before.progress, before.detokenizer);
        host.outbox.clear();
        anew.take_host(&mut self.instance);
        self.instance = anew;
        Ok(())
    }
}
