//! The port for GPUs: a recorded program as launches over memory of a device.
//!
//! Reached through the backend table as any other port; `README.md` beside this says how it is designed.
//!
//! | file         | what |
//! |--------------|------|
//! | this one     | the backend table |
//! | `ops`        | which kernels an operation is, and their work |
//! | `plan`       | a program's operations as launches |
//! | `fuse`       | what operations in a row have a launch in common |
//! | `persist`    | launches that one kernel interprets |
//! | `room`       | which weights are put on the device, if there is not room for all |
//! | `run`        | steps, in slices |
//! | `weights`    | uploads, shared by sessions |
//! | `abi`        | what kernels are handed |
//! | [`device`]   | what is asked of a device |
//! | `emulated`   | the kernels on the host, for tests (feature `gpu-emulation`) |
//! | `cuda`       | NVIDIA's driver, loaded at run time (feature `cuda`) |
//! | `metal`      | Apple's GPUs (feature `metal`) |
//! | `kernels/`   | one text for CUDA C++, Metal's language and the host's C++ |

mod abi;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
#[cfg(feature = "gpu-emulation")]
pub mod emulated;
mod fuse;
#[cfg(feature = "metal")]
pub mod metal;
mod ops;
mod persist;
mod plan;
mod room;
mod run;
mod weights;

use crate::backend::table::{realm_backend, realm_cursor, realm_program, realm_step, realm_weight};
use crate::panics::{caught, discard, slot};
use crate::platform::REALM_ABI_VERSION;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ffi::c_void;
use core::{ptr, slice};
use device::{Device, Memory, Result};
use plan::Plan;
use weights::Weights;

/// Names of the kernels that are interpreted, for a test.
#[cfg(all(test, feature = "gpu-emulation"))]
pub(crate) use persist::names as interpreted_names;

/// Sizes of what kernels are handed, for a test.
#[cfg(all(test, feature = "gpu-emulation"))]
pub(crate) const SIZES: [u32; 4] = [
    size_of::<abi::Operand>() as u32,
    size_of::<abi::Op>() as u32,
    size_of::<abi::Step>() as u32,
    size_of::<abi::Turn>() as u32,
];

/// A device with the weights that are on it: the `ctx` of a table.
pub struct Gpu {
    device: Arc<dyn Device>,
    weights: Weights,
}

impl Gpu {
    /// The port over a device.
    pub fn new(device: Arc<dyn Device>) -> Box<Self> {
        Box::new(Self {
            device,
            weights: Weights::default(),
        })
    }

    /// The port as a table. It has to stay where it is while the table is in use.
    pub fn table(&self) -> realm_backend {
        realm_backend {
            struct_size: size_of::<realm_backend>() as u32,
            abi_version: REALM_ABI_VERSION,
            next: ptr::null(),
            ctx: ptr::from_ref(self).cast_mut().cast(),
            name: self.device.name().as_ptr(),
            flags: 0,
            reserved: 0,
            buffer_create: Some(buffer_create),
            buffer_destroy: Some(discard::<Memory>),
            buffer_write: Some(buffer_write),
            buffer_read: Some(buffer_read),
            weight_bind: Some(weight_bind),
            weight_release: Some(weight_release),
            supports: Some(supports),
            prepare: Some(prepare),
            discard: Some(discard::<Plan>),
            submit: Some(submit),
            query: Some(query),
            cancel: Some(cancel),
        }
    }
}

/// Runs the body of a slot over what `ctx` stands for.
///
/// # Safety
/// `ctx` is a table's.
unsafe fn on(ctx: *mut c_void, body: impl FnOnce(&Gpu) -> Result<i32>) -> i32 {
    // SAFETY: the caller's promise; a `Gpu` stays where it is.
    let gpu = unsafe { &*ctx.cast::<Gpu>() };
    slot(|| body(gpu).unwrap_or_else(|status| status as i32))
}

unsafe extern "C" fn buffer_create(ctx: *mut c_void, bytes: u64, out: *mut *mut c_void) -> i32 {
    // SAFETY: contract of the slot.
    unsafe {
        on(ctx, |gpu| {
            let memory = Box::new(Memory::new(&gpu.device, bytes)?);
            *out = Box::into_raw(memory).cast();
            Ok(0)
        })
    }
}

unsafe extern "C" fn buffer_write(
    ctx: *mut c_void,
    buffer: *mut c_void,
    offset: u64,
    data: *const c_void,
    bytes: u64,
) -> i32 {
    // SAFETY: contract of the slot.
    unsafe {
        on(ctx, |gpu| {
            let data = slice::from_raw_parts(data.cast::<u8>(), bytes as usize);
            gpu.device.write(run::address(buffer) + offset, data)?;
            Ok(0)
        })
    }
}

unsafe extern "C" fn buffer_read(
    ctx: *mut c_void,
    buffer: *mut c_void,
    offset: u64,
    data: *mut c_void,
    bytes: u64,
) -> i32 {
    // SAFETY: contract of the slot.
    unsafe {
        on(ctx, |gpu| {
            let data = slice::from_raw_parts_mut(data.cast::<u8>(), bytes as usize);
            gpu.device
                .read(run::address(buffer) + offset, data, false)?;
            Ok(0)
        })
    }
}

unsafe extern "C" fn weight_bind(ctx: *mut c_void, weight: *mut realm_weight) -> i32 {
    // SAFETY: contract of the slot.
    unsafe {
        on(ctx, |gpu| {
            gpu.weights.bind(&mut *weight);
            Ok(0)
        })
    }
}

unsafe extern "C" fn weight_release(ctx: *mut c_void, weight: *const realm_weight) {
    // SAFETY: contract of the slot.
    let _ = unsafe {
        on(ctx, |gpu| {
            gpu.weights.release(&*weight);
            Ok(0)
        })
    };
}

unsafe extern "C" fn supports(ctx: *mut c_void, program: *const realm_program, op: u32) -> i32 {
    // SAFETY: contract of the slot; a `Gpu` stays where it is.
    let answer = caught(|| unsafe {
        let gpu = &*ctx.cast::<Gpu>();
        Ok(ops::supports(program, op) && gpu.has_room(program, op))
    });
    i32::from(answer.unwrap_or(false))
}

unsafe extern "C" fn prepare(
    ctx: *mut c_void,
    program: *const realm_program,
    first: u32,
    count: u32,
    out: *mut *mut c_void,
    workspace_bytes: *mut u64,
) -> i32 {
    // SAFETY: contract of the slot.
    unsafe {
        on(ctx, |gpu| {
            let plan = Box::new(Plan::new(&gpu.device, program, first, count)?);
            *workspace_bytes = plan.workspace_bytes;
            *out = Box::into_raw(plan).cast();
            Ok(0)
        })
    }
}

unsafe extern "C" fn submit(
    ctx: *mut c_void,
    plan: *mut c_void,
    steps: *const realm_step,
    step_count: u32,
    _: *mut realm_cursor,
) -> i32 {
    // SAFETY: contract of the slot.
    unsafe {
        on(ctx, |_| {
            let steps = slice::from_raw_parts(steps, step_count as usize);
            run::begin(&*plan.cast::<Plan>(), steps)?;
            Ok(0)
        })
    }
}

unsafe extern "C" fn query(
    ctx: *mut c_void,
    plan: *mut c_void,
    steps: *const realm_step,
    step_count: u32,
    cursor: *mut realm_cursor,
    quantum_ns: u64,
) -> i32 {
    // SAFETY: contract of the slot.
    unsafe {
        on(ctx, |_| {
            let (plan, cursor) = (&*plan.cast::<Plan>(), &mut *cursor);
            let steps = slice::from_raw_parts(steps, step_count as usize);
            let result = run::advance(plan, steps, cursor, quantum_ns);
            if result.is_err() {
                run::abandon(plan, cursor);
            }
            result
        })
    }
}

unsafe extern "C" fn cancel(ctx: *mut c_void, plan: *mut c_void, cursor: *mut realm_cursor) {
    // SAFETY: contract of the slot.
    unsafe {
        on(ctx, |_| {
            run::abandon(&*plan.cast::<Plan>(), &mut *cursor);
            Ok(0)
        })
    };
}
