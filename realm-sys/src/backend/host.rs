//! What the core makes of a backend table.
pub use crate::graph::stub::{Backend, Backends, Kernel, Selected};
