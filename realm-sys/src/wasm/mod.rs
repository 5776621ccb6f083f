//! Modules of the application's own: any WebAssembly module, its imports given by the host.
//!
//! | file        | what it is |
//! |-------------|------------|
//! | `module`    | loading: bounds, validation, translation |
//! | `group`     | what linked instances share: the wasmi store, fuel, limits, and who may touch it when |
//! | `link`      | imports: host functions, exports of linked instances; segments tried before anything is written |
//! | `instance`  | instances: calls, globals, memory |
//! | `signature` | function types as text, `i(iI)` |
//! | `sections`  | a module's bytes: exports of the host's own, for guests as well |
//! | `segments`  | active segments of modules that share tables or memories, as code |
//! | `survey`    | the one reading of a module before it is translated, for guests as well |
//! | `growth`    | how far growing code may run before the native stack is unwound, for guests as well |
//!
//! Guests (`crate::guest`) are hosted apart from this: they are written to the guest ABI, resumable,
//! and refused if they are unusual. Here everything that wasmi can run is run, and a call runs to its end.

pub mod group;
pub(crate) mod growth;
pub mod instance;
mod link;
pub mod module;
pub(crate) mod sections;
#[cfg(feature = "validate")]
mod segments;
pub mod signature;
pub(crate) mod survey;

pub use group::Limits;
pub use instance::{Instance, Options};
pub use link::{HostFunction, Import, Peer};
pub use module::{LoadedModule, ModuleOptions};

/// Parameters of a function that is called from the host or given by it, and likewise results.
pub const MAX_VALUES: usize = 32;

/// Bytes of a page of linear memory.
pub const PAGE_BYTES: u64 = 65_536;
