//! A guest of either kind, loaded and running: a module that is interpreted, or an image that is replayed.

use super::HostState;
#[cfg(feature = "interpreter")]
use super::engine::WasmGuest;
#[cfg(feature = "interpreter")]
use super::instance::WasmInstance;
#[cfg(feature = "replay")]
use crate::bail;
#[cfg(feature = "interpreter")]
use crate::error::try_vec;
use crate::error::{Error, Result};
#[cfg(feature = "replay")]
use crate::replay::{Image, Player, is_image};
use crate::store::Sha256Digest;
use alloc::sync::Arc;
use alloc::vec::Vec;

#[cfg(not(any(feature = "interpreter", feature = "replay")))]
compile_error!(
    "nothing is there that could run a guest: choose the feature `interpreter`, `replay` or both"
);

/// How far a slice brought an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// The guest has returned this.
    Returned(i32),
    /// The slice is used up; the event goes on with the next.
    More,
}

/// A guest that sessions can be opened with, from any thread.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one of them for each guest"
)]
pub enum LoadedGuest {
    /// WebAssembly.
    #[cfg(feature = "interpreter")]
    Module(WasmGuest),
    /// What such a guest has recorded.
    #[cfg(feature = "replay")]
    Image(Image),
}

impl LoadedGuest {
    /// Loads a module or an image, by what the bytes begin with. They are not needed afterwards.
    ///
    /// # Errors
    /// Those of [`WasmGuest::load`](super::engine::WasmGuest::load) and [`Image::parse`](crate::replay::Image::parse);
    /// `Unsupported` for what the build has nothing to run with.
    pub fn load(bytes: &[u8]) -> Result<Arc<Self>> {
        #[cfg(feature = "replay")]
        if is_image(bytes) {
            return Ok(Arc::new(Self::Image(Image::parse(bytes)?)));
        }
        #[cfg(feature = "interpreter")]
        return Ok(Arc::new(Self::Module(WasmGuest::load(bytes)?)));
        #[cfg(not(feature = "interpreter"))]
        bail!(
            Unsupported,
            "this is no image of a guest, and this build has nothing to run others with (its feature interpreter)"
        )
    }

    /// The guest that comes with the library.
    ///
    /// # Errors
    /// `NoMemory`.
    #[cfg(feature = "embedded-guest")]
    pub fn embedded() -> Result<Arc<Self>> {
        Ok(Arc::new(Self::Module(WasmGuest::embedded()?)))
    }

    /// The SHA-256 of the guest's bytes.
    pub fn digest(&self) -> Sha256Digest {
        match self {
            #[cfg(feature = "interpreter")]
            Self::Module(module) => module.digest(),
            #[cfg(feature = "replay")]
            Self::Image(image) => image.digest(),
        }
    }
}

/// One session's running guest.
pub struct Instance {
    running: Running,
    guest: Arc<LoadedGuest>,
}

#[allow(
    clippy::large_enum_variant,
    reason = "there is one of them for each session"
)]
enum Running {
    #[cfg(feature = "interpreter")]
    Module(WasmInstance),
    #[cfg(feature = "replay")]
    Image(Player),
}

/// The same for a guest of either kind.
macro_rules! each {
    ($running:expr, $it:ident => $do:expr) => {
        match $running {
            #[cfg(feature = "interpreter")]
            Running::Module($it) => $do,
            #[cfg(feature = "replay")]
            Running::Image($it) => $do,
        }
    };
}

/// The first for a module; the second for an image.
macro_rules! module_or {
    ($running:expr, $it:ident => $do:expr, $image:expr) => {
        match $running {
            #[cfg(feature = "interpreter")]
            Running::Module($it) => $do,
            #[cfg(feature = "replay")]
            Running::Image(_) => $image,
        }
    };
}

impl Instance {
    /// A guest with a host of its own, before any event.
    ///
    /// # Errors
    /// Those of [`WasmInstance::new`](super::instance::WasmInstance::new); `InvalidArgument` for an image of another model.
    pub fn new(guest: &Arc<LoadedGuest>, host: HostState) -> Result<Self> {
        Ok(Self {
            running: match &**guest {
                #[cfg(feature = "interpreter")]
                LoadedGuest::Module(module) => Running::Module(WasmInstance::new(module, host)?),
                #[cfg(feature = "replay")]
                LoadedGuest::Image(image) => Running::Image(Player::new(image, host)?),
            },
            guest: Arc::clone(guest),
        })
    }

    /// What the guest works on.
    pub fn host(&self) -> &HostState {
        each!(&self.running, it => it.host())
    }

    /// What the guest works on.
    pub fn host_mut(&mut self) -> &mut HostState {
        each!(&mut self.running, it => it.host_mut())
    }

    /// The guest.
    pub fn guest(&self) -> &Arc<LoadedGuest> {
        &self.guest
    }

    /// The minor number of the ABI that the guest was written for.
    pub fn abi_minor(&self) -> u32 {
        module_or!(&self.running, it => it.abi_minor(), super::ABI_MINOR)
    }

    /// Announces an event, which may burn `fuel` in all.
    pub fn begin(&mut self, kind: u32, a: u32, b: u32, fuel: u64) {
        each!(&mut self.running, it => it.begin(kind, a, b, fuel));
    }

    /// Takes back an event that no slice has run of. False if there is none.
    pub fn withdraw(&mut self) -> bool {
        each!(&mut self.running, it => it.withdraw())
    }

    /// Runs the event on for about `fuel`.
    ///
    /// # Errors
    /// `Guest` if the guest breaks; it must not be called again then.
    pub fn run(&mut self, fuel: u64) -> Result<Slice> {
        each!(&mut self.running, it => it.run(fuel))
    }

    /// What the present event has run out of, if it has: why it broke, if it did.
    pub fn lacking(&self) -> Option<Error> {
        module_or!(&self.running, it => it.lacking(), None)
    }

    /// Goes on with the host of another instance of the same guest, if it is a module.
    pub fn take_host(&mut self, from: &mut Self) {
        match (&mut self.running, &mut from.running) {
            #[cfg(feature = "interpreter")]
            (Running::Module(to), Running::Module(from)) => to.take_host(from),
            #[cfg(feature = "replay")]
            _ => {}
        }
    }

    /// Refuses what has no memory that could be saved or copied.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn portable(&self) -> Result<()> {
        module_or!(&self.running, _it => Ok(()), no_memory())
    }

    /// Bytes of linear memory.
    pub fn memory_bytes(&self) -> u64 {
        module_or!(&self.running, it => it.memory_bytes(), 0)
    }

    /// Linear memory.
    pub fn memory(&self) -> &[u8] {
        module_or!(&self.running, it => it.memory(), &[])
    }

    /// Linear memory, grown to `bytes`.
    ///
    /// # Errors
    /// `Format` for a size that it cannot have; `Limit` if it may not grow so far.
    pub fn memory_grown(&mut self, bytes: u64) -> Result<&mut [u8]> {
        module_or!(&mut self.running, it => it.memory_grown(bytes), {
            let _ = bytes;
            no_memory()
        })
    }

    /// Its mutable globals: each one's type (0 i32, 1 i64, 2 f32, 3 f64) and bits.
    ///
    /// # Errors
    /// `Unsupported` if it has some that cannot be read.
    pub fn globals(&self) -> Result<Vec<(u32, u64)>> {
        module_or!(&self.running, it => {
            let mut all = try_vec(it.global_count(), "globals of a guest")?;
            all.extend(it.globals()?);
            Ok(all)
        }, Ok(Vec::new()))
    }

    /// How many there are.
    pub fn global_count(&self) -> usize {
        module_or!(&self.running, it => it.global_count(), 0)
    }

    /// Sets the `i`-th of them.
    ///
    /// # Errors
    /// `Format` if it is of another type, or not there.
    pub fn set_global(&mut self, i: usize, ty: u32, bits: u64) -> Result<()> {
        module_or!(&mut self.running, it => it.set_global(i, ty, bits), {
            let _ = (i, ty, bits);
            no_memory()
        })
    }
}

#[cfg(feature = "replay")]
fn no_memory<T>() -> Result<T> {
    bail!(
        Unsupported,
        "a session that replays an image can be neither saved nor forked"
    )
}
