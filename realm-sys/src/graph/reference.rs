//! The reference backend: the kernels that define the numerics, behind the same table as any port.
//!
//! `prepare` turns operations into tasks, each a number of independent units (rows, or rows times heads).
//! `query` runs units in slices: over threads if the host gave some, and until the quantum is spent if there
//! is one. How units are cut never shows in a result, because no kernel mixes rows.

use super::exec::{Bound, Task, tasks};
use crate::backend::table::{
    REALM_BACKEND_HOST_MEMORY, REALM_BACKEND_RUNNING, realm_backend, realm_cursor, realm_program,
    realm_step,
};
use crate::error::Status;
use crate::num::FpGuard;
use crate::panics::{caught, discard, slot};
use crate::platform::{Platform, REALM_ABI_VERSION};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicI32, Ordering};

/// Work below which a task is not worth spreading over threads, and what the first slice holds when time is watched, in
/// multiply-adds: a few to some tens of microseconds.
const GRAIN: u64 = if cfg!(target_os = "none") {
    1 << 13
} else {
    1 << 16
};
/// Slices grow until they take this long, so that looking at the clock and waking threads do not show, and shrink
/// above four times as much, so that a quantum is kept.
const SLICE_NS: u64 = 100_000;

struct Plan {
    program: *const realm_program,
    tasks: Vec<Task>,
}

/// The reference as a table. `platform` must stay where it is while the table is in use.
pub fn table(platform: &Platform) -> realm_backend {
    realm_backend {
        struct_size: size_of::<realm_backend>() as u32,
        abi_version: REALM_ABI_VERSION,
        next: ptr::null(),
        ctx: ptr::from_ref(platform).cast_mut().cast(),
        name: c"reference".as_ptr(),
        flags: REALM_BACKEND_HOST_MEMORY,
        reserved: 0,
        buffer_create: None,
        buffer_destroy: None,
        buffer_write: None,
        buffer_read: None,
        weight_bind: None,
        weight_release: None,
        supports: Some(supports),
        prepare: Some(prepare),
        discard: Some(discard::<Plan>),
        submit: Some(submit),
        query: Some(query),
        cancel: None,
    }
}

unsafe extern "C" fn supports(_: *mut c_void, program: *const realm_program, op: u32) -> i32 {
    let answer = caught(|| {
        // SAFETY: contract of the slot.
        let bound = unsafe { Bound::program(program) };
        let op = bound.ops.get(op as usize);
        Ok(op.is_some_and(super::exec::supports))
    });
    i32::from(answer.unwrap_or(false))
}

unsafe extern "C" fn prepare(
    _: *mut c_void,
    program: *const realm_program,
    first: u32,
    count: u32,
    plan: *mut *mut c_void,
    workspace_bytes: *mut u64,
) -> i32 {
    slot(|| {
        // SAFETY: contract of the slot.
        let bound = unsafe { Bound::program(program) };
        match tasks(&bound, first, count) {
            Ok((tasks, bytes)) => {
                let made = Box::new(Plan { program, tasks });
                // SAFETY: both are valid for writing.
                unsafe {
                    *plan = Box::into_raw(made).cast();
                    *workspace_bytes = bytes;
                }
                0
            }
            Err(e) => e.status() as i32,
        }
    })
}

unsafe extern "C" fn submit(
    _: *mut c_void,
    _: *mut c_void,
    _: *const realm_step,
    _: u32,
    _: *mut realm_cursor,
) -> i32 {
    0 // the zeroed cursor is the beginning
}

/// Where a batch has got to, kept in the cursor's words.
#[derive(Clone, Copy)]
struct Place {
    step: u64,
    repeat: u64,
    task: u64,
    unit: u64,
}

unsafe extern "C" fn query(
    ctx: *mut c_void,
    plan: *mut c_void,
    steps: *const realm_step,
    step_count: u32,
    cursor: *mut realm_cursor,
    quantum_ns: u64,
) -> i32 {
    // SAFETY: contract of the slot; `ctx` is the platform of `table`.
    let (platform, plan, steps, cursor) = unsafe {
        (
            &*ctx.cast::<Platform>(),
            &*plan.cast::<Plan>(),
            core::slice::from_raw_parts(steps, step_count as usize),
            &mut *cursor,
        )
    };
    let [step, repeat, task, unit, ..] = cursor.words;
    let mut at = Place {
        step,
        repeat,
        task,
        unit,
    };
    let code = slot(|| advance(platform, plan, steps, &mut at, quantum_ns));
    let Place {
        step,
        repeat,
        task,
        unit,
    } = at;
    cursor.words = [step, repeat, task, unit, 0, 0, 0, 0];
    code
}

fn advance(
    platform: &Platform,
    plan: &Plan,
    steps: &[realm_step],
    at: &mut Place,
    quantum: u64,
) -> i32 {
    let _fp = FpGuard::new();
    let deadline = match platform.now_ns() {
        Some(now) if quantum != 0 => Some(now.saturating_add(quantum)),
        _ => None,
    };
    // What a slice holds: learnt apart for products and for the rest, whose estimates of cost differ in kind.
    let (mut products, mut others) = (GRAIN, GRAIN);
    while let Some(step) = steps.get(at.step as usize) {
        while at.repeat < u64::from(step.repeat) {
            // SAFETY: the core binds steps to the program they are submitted for.
            let bound = unsafe { Bound::step(plan.program, step, at.repeat as u32) };
            while let Some(task) = plan.tasks.get(at.task as usize) {
                let grain = if task.is_product() {
                    &mut products
                } else {
                    &mut others
                };
                match run(platform, task, &bound, at, deadline, grain) {
                    0 => {}
                    code => return code,
                }
                at.task += 1;
                at.unit = 0;
            }
            at.task = 0;
            at.repeat += 1;
            // Tasks look at the clock when they have done something; there may be nothing to do, very often.
            if at.repeat < u64::from(step.repeat) && late(platform, deadline) {
                return REALM_BACKEND_RUNNING;
            }
        }
        at.repeat = 0;
        at.step += 1;
    }
    0
}

/// Runs a task from `at.unit` to its end, or until the deadline.
fn run(
    platform: &Platform,
    task: &Task,
    bound: &Bound<'_>,
    at: &mut Place,
    deadline: Option<u64>,
    grain: &mut u64,
) -> i32 {
    let units = task.units(bound);
    let cost = task.unit_cost(bound).max(1);
    let threads = u64::from(bound.step.thread_count.min(platform.width()).max(1));
    let failed = AtomicI32::new(0);
    while at.unit < units {
        let rest = units - at.unit;
        // Without a deadline all that is left is one slice; with one, a grain, and a unit for each thread.
        let slice = match deadline {
            None => rest,
            Some(_) => (*grain / cost).max(threads).min(rest),
        };
        let begun = deadline.and_then(|_| platform.now_ns());
        let parts = (slice.saturating_mul(cost) / GRAIN + 1)
            .min(threads)
            .min(slice);
        let start = at.unit;
        let body = |i: u32| {
            let (i, from) = (u64::from(i), start);
            let (a, b) = (from + slice * i / parts, from + slice * (i + 1) / parts);
            let _fp = FpGuard::new();
            if let Err(e) = task.run(bound, a as usize..b as usize) {
                failed.store(e as i32, Ordering::Relaxed);
            }
        };
        if parts > 1 {
            platform.parallel_for(parts as u32, &body);
        } else {
            body(0);
        }
        at.unit += slice;
        match failed.load(Ordering::Relaxed) {
            0 => {}
            code => return code,
        }
        if let (Some(deadline), Some(begun), Some(now)) = (deadline, begun, platform.now_ns()) {
            if now >= deadline {
                return REALM_BACKEND_RUNNING;
            }
            let took = now.saturating_sub(begun);
            if took < SLICE_NS && slice < rest {
                *grain = grain.saturating_mul(2);
            } else if took > 4 * SLICE_NS {
                *grain = (*grain / 2).max(GRAIN);
            }
        }
    }
    0
}

fn late(platform: &Platform, deadline: Option<u64>) -> bool {
    matches!((deadline, platform.now_ns()), (Some(deadline), Some(now)) if now >= deadline)
}

/// The status of a task whose data were out of range, e.g. a token id past the vocabulary.
pub(super) const BAD_DATA: Status = Status::InvalidArgument;
