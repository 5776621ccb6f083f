//! Steps on the device, in slices: a slice is enqueued, a mark set behind it, and nothing waits unless it is asked to.
//!
//! A batch is one grid with a dimension for its steps; products take eight steps at a time to a pass over the weights.
//!
//! Sessions that share a plan share its heads on the device, too: they are written anew for every slice, and whoever does holds the
//! plan's queue until the slice is enqueued. As the device works in order, each slice finds its own.

use super::abi::Step;
use super::device::Result;
use super::plan::Plan;
use crate::backend::table::{REALM_BACKEND_RUNNING, realm_cursor, realm_step};
use crate::error::Status;
use crate::graph::program::MAX_REGISTERS;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::slice::from_raw_parts;
use core::sync::atomic::Ordering;

/// Words of a cursor: the launch and the replay to go on with, the mark behind what is enqueued, launches of that and when it began.
const NEXT: usize = 0;
const REPEAT: usize = 1;
const MARK: usize = 2;
const COUNT: usize = 3;
const BEGUN: usize = 4;

/// Launches of a first slice, before anything is known of how long they take.
const FIRST: usize = 16;

/// What a handle of the backend's buffers stands for.
pub fn address(handle: *mut c_void) -> u64 {
    // SAFETY: handles are made by `buffer_create`, and live.
    unsafe { handle.cast::<super::device::Memory>().as_ref() }.map_or(0, |m| m.address)
}

/// Bytes of a head with so many buffers, page tables and pages.
pub fn head_bytes(buffers: usize, tables: usize, pages: u64) -> u64 {
    let [_, _, at] = offsets(buffers, pages as usize);
    (at + tables * 4) as u64
}

/// Where buffers, pages and page tables begin in a head.
fn offsets(buffers: usize, pages: usize) -> [usize; 3] {
    let first = size_of::<Step>();
    let second = first + buffers * 8;
    [first, second, second + pages * 8]
}

/// The head of a batch's step.
///
/// # Safety
/// The step is one of the plan's program's.
unsafe fn head(
    plan: &Plan,
    step: &realm_step,
    registers: [u32; MAX_REGISTERS as usize],
    index: u64,
    steps: u32,
) -> Vec<u8> {
    let mut pages: Vec<u64> = Vec::new();
    let mut first: Vec<u32> = Vec::new();
    for (i, &most) in plan.tables.iter().enumerate() {
        first.push(pages.len() as u32);
        if (i as u32) < step.kv_table_count {
            // SAFETY: the step has so many tables, each with so many pages.
            let table = unsafe {
                let table = &*step.kv_tables.add(i);
                match table.page_count {
                    0 => &[][..],
                    n => from_raw_parts(table.pages, n as usize),
                }
            };
            pages.extend(table.iter().take(most as usize).map(|&p| address(p)));
        }
    }
    let [buffers_at, pages_at, tables_at] = offsets(plan.buffer_count, pages.len());
    let at = |offset: usize| plan.head.address + index * plan.stride + offset as u64;
    let step_head = Step {
        scratch: address(step.scratch),
        workspace: address(step.workspace),
        buffers: at(buffers_at),
        pages: at(pages_at),
        tables: at(tables_at),
        stride: plan.stride,
        arrived: 0,
        steps,
        registers,
    };
    let mut bytes = bytemuck::bytes_of(&step_head).to_vec();
    for i in 0..plan.buffer_count {
        // SAFETY: the step has every buffer of its program.
        let handle = unsafe { *step.buffers.add(i) };
        bytes.extend(address(handle).to_ne_bytes());
    }
    bytes.extend_from_slice(bytemuck::cast_slice(&pages));
    bytes.extend_from_slice(bytemuck::cast_slice(&first));
    bytes
}

/// The registers of a replay.
///
/// # Safety
/// As [`head`].
unsafe fn registers(plan: &Plan, step: &realm_step, repeat: u64) -> [u32; MAX_REGISTERS as usize] {
    let mut all = [0; MAX_REGISTERS as usize];
    for (i, (to, stride)) in all.iter_mut().zip(&plan.strides).enumerate() {
        // SAFETY: a step has a value for every register of its program.
        let from = unsafe { *step.registers.add(i) };
        *to = from.wrapping_add_signed(stride.wrapping_mul(repeat as i32));
    }
    all
}

/// Enqueues the next launches of a batch, at most `count`. Returns how many.
///
/// # Safety
/// As [`head`].
unsafe fn enqueue(
    plan: &Plan,
    steps: &[realm_step],
    cursor: &mut realm_cursor,
    count: usize,
) -> Result<usize> {
    let [next, repeat, ..] = cursor.words;
    let (mut bytes, mut launches) = (Vec::new(), Vec::new());
    for (i, step) in steps.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let registers = registers(plan, step, repeat);
            if i == 0 {
                launches = plan.launches(next as usize, count, &registers, steps.len() as u32);
            }
            bytes.resize(i * plan.stride as usize, 0);
            bytes.extend(head(plan, step, registers, i as u64, steps.len() as u32));
        }
    }
    let count = count.min(plan.len() - next as usize);
    let mut queue = plan.queue.lock().map_err(|_| Status::Internal)?;
    plan.device.write(plan.head.address, &bytes)?;
    plan.enqueue(launches, count == plan.len(), &mut queue)?;
    drop(queue);
    cursor.words[NEXT] += count as u64;
    if cursor.words[NEXT] >= plan.len() as u64 {
        cursor.words[NEXT] = 0;
        cursor.words[REPEAT] += 1;
    }
    Ok(count)
}

/// Begins: the steps' status is cleared. Steps that are not alike cannot be run together.
///
/// # Safety
/// The steps are of the plan's program.
pub unsafe fn begin(plan: &Plan, steps: &[realm_step]) -> Result<()> {
    // SAFETY: the caller's promise.
    let launches =
        |step: &realm_step| unsafe { plan.launches(0, usize::MAX, &registers(plan, step, 0), 1) };
    if let [first, others @ ..] = steps
        && !others.is_empty()
    {
        let all = launches(first);
        let like = |s: &realm_step| s.repeat == 1 && launches(s) == all;
        if !others.iter().all(like) {
            // The core runs them one at a time then; UNSUPPORTED would have it never ask again.
            return Err(Status::Backend);
        }
    }
    for step in steps {
        let at = address(step.workspace);
        plan.device.write(at, &0u32.to_ne_bytes())?;
    }
    Ok(())
}

/// Works on a batch for about so many nanoseconds; 0: to its end.
///
/// # Safety
/// The steps are of the plan's program, and have begun.
pub unsafe fn advance(
    plan: &Plan,
    steps: &[realm_step],
    cursor: &mut realm_cursor,
    quantum_ns: u64,
) -> Result<i32> {
    let device = &plan.device;
    let repeat = steps.first().map_or(1, |s| u64::from(s.repeat));
    let begun = device.now_ns();
    let left = || quantum_ns.saturating_sub(device.now_ns().saturating_sub(begun));
    loop {
        if cursor.words[MARK] != 0 {
            while !device.reached(cursor.words[MARK], quantum_ns == 0)? {
                if left() == 0 {
                    return Ok(REALM_BACKEND_RUNNING);
                }
                core::hint::spin_loop();
            }
            let took = device.now_ns().saturating_sub(cursor.words[BEGUN]);
            plan.pace
                .store(took / cursor.words[COUNT].max(1), Ordering::Relaxed);
            forget(plan, cursor);
        }
        if cursor.words[REPEAT] >= repeat || plan.len() == 0 {
            for step in steps {
                let mut status = [0; 4];
                device.read(address(step.workspace), &mut status, true)?;
                if u32::from_ne_bytes(status) != 0 {
                    return Err(Status::InvalidArgument);
                }
            }
            return Ok(0);
        }
        if quantum_ns != 0 && left() == 0 {
            return Ok(REALM_BACKEND_RUNNING);
        }
        cursor.words[BEGUN] = device.now_ns();
        // SAFETY: the caller's promise.
        cursor.words[COUNT] = unsafe { slice(plan, steps, cursor, quantum_ns, left())? };
        cursor.words[MARK] = device.mark()?;
    }
}

/// Enqueues what fits into the time that is left, or all there is without a quantum. Returns how many launches.
///
/// # Safety
/// As [`advance`].
unsafe fn slice(
    plan: &Plan,
    steps: &[realm_step],
    cursor: &mut realm_cursor,
    quantum_ns: u64,
    left: u64,
) -> Result<u64> {
    let repeat = steps.first().map_or(1, |s| u64::from(s.repeat));
    let mut most = match (quantum_ns, plan.pace.load(Ordering::Relaxed)) {
        (0, _) => usize::MAX,
        (_, 0) => FIRST,
        (_, pace) => (left / pace).max(1) as usize,
    };
    let mut count = 0;
    while most > 0 && cursor.words[REPEAT] < repeat {
        // SAFETY: the caller's promise.
        let n = unsafe { enqueue(plan, steps, cursor, most.min(plan.len()))? };
        count += n as u64;
        most -= n;
    }
    Ok(count)
}

/// Waits for what is enqueued, and forgets its mark.
pub fn abandon(plan: &Plan, cursor: &mut realm_cursor) {
    if cursor.words[MARK] != 0 {
        // What has failed has ended.
        let _ = plan.device.reached(cursor.words[MARK], true);
        forget(plan, cursor);
    }
}

fn forget(plan: &Plan, cursor: &mut realm_cursor) {
    plan.device.forget(cursor.words[MARK]);
    cursor.words[MARK] = 0;
}
