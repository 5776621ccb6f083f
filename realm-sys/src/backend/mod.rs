//! Backends: what arithmetic is plugged in by.
//!
//! `table` is the C form (`include/realm_port.h`), `host` what the core makes of it: a validated
//! copy with every optional slot resolved. The reference kernels are reached through the same
//! table as any port (`crate::graph::reference`).

pub mod host;
pub mod table;
