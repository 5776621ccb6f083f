//! Stubs until the graph lands.
#![allow(missing_docs, reason = "stub")]
pub mod stub;
pub mod memory { pub use super::stub::{KvDesc, Memory, MemoryLimits, Usage}; }
pub mod prepared { pub use super::stub::Prepared; }
pub mod run { pub use super::stub::Run; }
