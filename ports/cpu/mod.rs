//! The CPU port: the reference's arithmetic, at the machine's speed.
//!
//! Compiled into the core by the feature `cpu`, and reached through the backend table as any other port.
//! Every kernel gives the reference's bits (`realm-sys/src/graph/kernels` defines them), so which level of
//! instructions is used, how work is cut and on how many threads it runs never shows in a result.
//!
//! | file         | what |
//! |--------------|------|
//! | [`isa`]      | what the processor can do; forcing a level for tests |
//! | [`kernels`]  | the table of kernels of a level: the one place that chooses |
//! | `scalar`     | the level that is always there: the reference's kernels |
//! | `avx2/`      | AVX2, and the same with AVX-VNNI |
//! | `avx512/`    | AVX-512 with VNNI |

pub mod isa;
pub mod kernels;
mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(test)]
mod conformance;
