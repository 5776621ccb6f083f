//! The CPU port: the reference's arithmetic, at the machine's speed.
//!
//! Compiled into the core by the feature `cpu`, and reached through the backend table as any other port.
//! Every kernel gives the reference's bits (`realm-sys/src/graph/kernels` defines them), so which level of
//! instructions is used, how work is cut and on how many threads it runs never shows in a result.
//!
//! | file         | what |
//! |--------------|------|
//! | this one     | the backend table |
//! | [`plan`]     | what is fused, and where things lie |
//! | [`experts`]  | products with the weights that rows name |
//! | [`work`]     | the units of phases, for a batch of steps |
//! | [`run`]      | phases over threads, in slices |
//! | [`isa`]      | what the processor can do; forcing a level for tests |
//! | [`kernels`]  | the table of kernels of a level: the one place that chooses |
//! | `scalar`     | the level that is always there: the reference's kernels |
//! | `lanes/`     | attention and append, written once for the levels below |
//! | `avx2/`      | AVX2, and the same with AVX-VNNI |
//! | `avx512/`    | AVX-512 with VNNI |
//! | `neon/`      | NEON, with `sdot` and `smmla` where there are |

pub mod experts;
pub mod isa;
pub mod kernels;
pub mod plan;
pub mod run;
mod scalar;
pub mod work;

#[cfg(any(
    target_arch = "x86_64",
    all(
        target_arch = "aarch64",
        target_feature = "neon",
        target_endian = "little"
    )
))]
mod lanes;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(all(
    target_arch = "aarch64",
    target_feature = "neon",
    target_endian = "little"
))]
mod neon;

#[cfg(test)]
mod conformance;

use crate::backend::table::{realm_backend, realm_cursor, realm_program, realm_step};
use crate::panics::{discard, slot};
use crate::platform::Platform;
use alloc::boxed::Box;
use core::ffi::c_void;
use core::slice::from_raw_parts;

/// The port as a table: the reference's, with plans of its own. `platform` must stay where it is while the table is in use.
pub fn table(platform: &Platform) -> realm_backend {
    realm_backend {
        name: c"cpu".as_ptr(),
        prepare: Some(prepare),
        discard: Some(discard::<plan::Plan>),
        query: Some(query),
        ..crate::graph::reference::table(platform)
    }
}

unsafe extern "C" fn prepare(
    ctx: *mut c_void,
    program: *const realm_program,
    first: u32,
    count: u32,
    out: *mut *mut c_void,
    workspace_bytes: *mut u64,
) -> i32 {
    slot(|| {
        // SAFETY: contract of the slot; `ctx` is the platform of `table`.
        match unsafe { plan::plan(program, first, count, (*ctx.cast::<Platform>()).width()) } {
            Ok(made) => {
                let bytes = made.workspace_bytes as u64;
                let made = Box::new(made);
                // SAFETY: both are valid for writing.
                unsafe {
                    *out = Box::into_raw(made).cast();
                    *workspace_bytes = bytes;
                }
                0
            }
            Err(e) => e.status() as i32,
        }
    })
}

unsafe extern "C" fn query(
    ctx: *mut c_void,
    plan: *mut c_void,
    steps: *const realm_step,
    step_count: u32,
    cursor: *mut realm_cursor,
    quantum_ns: u64,
) -> i32 {
    slot(|| {
        // SAFETY: contract of the slot; `ctx` is the platform of `table`.
        unsafe {
            run::advance(
                &*ctx.cast::<Platform>(),
                &*plan.cast::<plan::Plan>(),
                from_raw_parts(steps, step_count as usize),
                &mut *cursor,
                quantum_ns,
            )
        }
    })
}
