//! Recorded programs, from the guest's bytes to arithmetic.
//!
//! | file          | what |
//! |---------------|------|
//! | [`op`]        | operation codes, operands, dims: the wire form of `guest/ABI.md` |
//! | [`program`]   | reading the bytes, sizes checked |
//! | `validate`    | what operations mean: types, shapes, bounds |
//! | `plan`        | scratch memory |
//! | [`prepared`]  | weights bound, operations split over backends |
//! | [`memory`]    | a session's buffers, KV pages and scratch |
//! | [`shared`]    | programs that several sessions use are prepared once |
//! | [`run`]       | one step: registers checked, segments run, sliced by time |
//! | [`batch`]     | steps of several sessions in one pass |
//! | `stage`       | copies both ways for operations that leave a device |
//! | [`reference`] | the reference backend: the kernels behind the common table |
//! | [`exec`]      | operations as tasks over bound memory |
//! | [`kernels`]   | the reference kernels, which define the numerics |

pub mod batch;
pub mod exec;
pub mod kernels;
pub mod memory;
pub mod op;
mod plan;
pub mod prepared;
pub mod program;
pub mod reference;
pub mod run;
pub mod shared;
mod stage;
mod validate;

#[cfg(test)]
mod tests;

#[cfg(all(test, feature = "cpu"))]
mod expert_tests;
#[cfg(all(test, feature = "cpu"))]
mod fuzz_tests;
#[cfg(all(test, feature = "cpu", feature = "gpu-emulation"))]
#[path = "../../../ports/gpu/conformance.rs"]
pub(crate) mod gpu_conformance;
#[cfg(all(test, feature = "cpu", feature = "gpu-emulation"))]
#[path = "../../../ports/gpu/launches.rs"]
mod gpu_launches;
#[cfg(all(test, feature = "cpu"))]
mod scan_tests;
