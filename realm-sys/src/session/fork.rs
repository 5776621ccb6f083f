//! A second session that goes on from where one is.
//!
//! What is large is shared: the KV pages until either session writes to one, the programs for good. The guest's memory and
//! the session buffers are copied.

use super::{Origin, Session};
use crate::bail;
use crate::error::Result;
use crate::guest::Instance;
use crate::guest::host::HostState;

impl Session {
    /// A session that is in this one's state, and from here on a separate one. Its statistics begin anew.
    ///
    /// # Errors
    /// `State` while a turn is running; `Unsupported` for a guest that has registered models, or keeps what cannot be copied;
    /// `Limit`, `NoMemory`; `Guest` if the guest fails when it is instantiated.
    pub fn fork(&self) -> Result<Self> {
        self.check()?;
        self.portable()?;
        let host = self.instance.host();
        let params = host.params.try_clone()?;
        let memory = host.compute.memory.fork()?;
        let parts = host.parts(self.limits, memory, params)?;
        let mut instance = Instance::new(self.instance.guest(), HostState::new(parts))?;
        let from = self.instance.memory();
        instance
            .memory_grown(from.len() as u64)?
            .copy_from_slice(from);
        for (i, (ty, bits)) in self.instance.globals()?.into_iter().enumerate() {
            instance.set_global(i, ty, bits)?;
        }
        let to = instance.host_mut();
        to.compute.share(&host.compute)?;
        to.detokenizer = host.detokenizer.clone();
        to.progress = host.progress;
        let mut fork = Self::of(
            instance,
            Origin {
                limits: self.limits,
                rewound: self.rewound,
            },
        );
        fork.unasked = self.unasked;
        Ok(fork)
    }

    /// Refuses what cannot be taken out of the session: a turn half done, models of the guest's own.
    pub(super) fn portable(&self) -> Result<()> {
        self.between_turns()?;
        self.instance.portable()?;
        if self.instance.host().models.has_registered() {
            bail!(
                Unsupported,
                "the guest has registered models of its own: its session can be neither saved nor forked"
            );
        }
        Ok(())
    }
}
