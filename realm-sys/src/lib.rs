//! Realm: language models in a host application, on the host's terms.
//!
//! The map, from the outside in:
//!
//! | module      | what it is |
//! |-------------|------------|
//! | [`capi`]    | the C functions, one file per noun of `include/realm.h` |
//! | [`session`] | a pollable conversation: guest, programs, KV pages and limits of one tenant |
//! | [`guest`]   | what runs guests: the wasmi host with its engines, imports, fuel and memory limits |
//! | `replay`    | images: what a guest has decided, recorded, and played without an interpreter |
//! | `wasm`      | modules of the application's own: any WebAssembly, its imports given by the host |
//! | [`graph`]   | recorded programs: operations, validation, planning, reference kernels |
//! | [`backend`] | the function-pointer tables that arithmetic is plugged in by |
//! | `cpu`       | the CPU port, `ports/cpu` (feature `cpu`): the same bits, at the machine's speed |
//! | `gpu`       | the port for GPUs, `ports/gpu` (features `cuda`, `metal`, `gpu-emulation`) |
//! | [`store`]   | the shared, spin-locked table of models |
//! | [`vocab`]   | tokenizers, one file per algorithm |
//! | [`quant`]   | the block formats of ggml: dequantization and integer dot products |
//! | [`gguf`]    | the file format, parsed without trust |
//! | [`platform`]| what the core needs from the machine: memory, clock, log |
//! | [`hash`]    | how tables hash their keys |
//! | [`num`]     | arithmetic that gives the same bits everywhere |
//! | [`error`]   | statuses and messages |
//! | [`panics`]  | where a bug in the library becomes one |
#![no_std]
#![allow(
    non_camel_case_types,
    reason = "the types of the C interface carry their C names"
)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(
    clippy::result_large_err,
    reason = "an error carries its message inline, because nothing may be allocated for it"
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test may fail"
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "hosted", feature = "gpu"))]
extern crate std;

pub mod backend;
pub mod capi;
#[cfg(feature = "cpu")]
#[path = "../../ports/cpu/mod.rs"]
pub mod cpu;
pub mod error;
pub mod gguf;
#[cfg(feature = "gpu")]
#[path = "../../ports/gpu/mod.rs"]
pub mod gpu;
pub mod graph;
pub mod guest;
pub mod hash;
pub mod num;
pub mod panics;
pub mod platform;
pub mod quant;
#[cfg(feature = "replay")]
pub mod replay;
pub mod session;
pub mod store;
pub mod vocab;
#[cfg(feature = "interpreter")]
pub mod wasm;
