//! Phases over threads, in slices.
//!
//! Threads claim pieces of the present phase from one word that holds the phase and its next unclaimed unit. Whoever
//! finishes a phase's last unit opens the next. So nobody waits for a thread that has not come, whatever the host's
//! `parallel_for` does with its tasks: run one after another they give the same result, the first doing all of the
//! work. Pieces shrink towards a phase's end, which keeps cores of different speed, or busy with something else, together.

use super::plan::{MAX_STEPS, Phase, Plan};
use super::work::Batch;
use crate::backend::table::{REALM_BACKEND_RUNNING, realm_cursor, realm_step};
use crate::graph::exec::Bound;
use crate::num::FpGuard;
use crate::platform::Platform;
use core::mem::MaybeUninit;
use core::slice::from_raw_parts;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

/// Phases below this cost, in multiply-adds, are one piece: handing part of them over would take longer.
const SMALL: usize = 1 << 15;
/// Smallest piece worth claiming, and largest where time is watched.
const LEAST: usize = 1 << 17;
const MOST: usize = 1 << 24;
/// Steps below this cost are one thread's: waking another, and handing it parts of phases, would take longer.
const ALONE: u64 = 1 << 20;
/// How often to look for work before leaving it to the others: some milliseconds.
const PATIENCE: u32 = 100_000;

/// The word: phase, which of two places its size is in, next unclaimed unit.
const PHASE_SHIFT: u32 = 48;
const PLACE_SHIFT: u32 = 47;
const UNIT_MASK: u64 = (1 << PLACE_SHIFT) - 1;

/// State that threads share, a line for what is written.
#[repr(align(128))]
struct Shared<'a> {
    plan: &'a Plan,
    batch: &'a Batch<'a>,
    platform: &'a Platform,
    deadline: Option<u64>,
    threads: usize,
    open: Open,
}

#[repr(align(128))]
struct Open {
    /// Phase and next unclaimed unit.
    at: AtomicU64,
    /// Units of the phase, and the cost of one. The next phase's are written to the other place before it is opened: who
    /// still has the present word must not see them.
    sizes: [(AtomicUsize, AtomicUsize); 2],
    /// Units finished.
    done: AtomicUsize,
    stop: AtomicBool,
    failed: AtomicI32,
}

// SAFETY: the plan and the program it points to are only read; what steps point to is written in disjoint parts.
unsafe impl Sync for Shared<'_> {}

impl Shared<'_> {
    /// Opens the first phase from `phase` on that has anything to do, at `unit`.
    fn open(&self, phase: usize, unit: usize) {
        let place = 1 - (self.open.at.load(Ordering::Relaxed) >> PLACE_SHIFT & 1);
        let (mut phase, mut unit) = (phase, unit);
        while let Some(p) = self.plan.phases.get(phase) {
            let (units, cost) = self.batch.units(p);
            if units > unit {
                if let Some((to_units, to_cost)) = self.open.sizes.get(place as usize) {
                    to_units.store(units, Ordering::Relaxed);
                    to_cost.store(cost.max(1), Ordering::Relaxed);
                }
                self.open.done.store(unit, Ordering::Relaxed);
                break;
            }
            (phase, unit) = (phase + 1, 0);
        }
        let at = (phase as u64) << PHASE_SHIFT | place << PLACE_SHIFT | unit as u64;
        self.open.at.store(at, Ordering::Release);
    }

    fn piece(&self, phase: &Phase, rest: usize, units: usize, cost: usize) -> usize {
        if self.threads == 1 && self.deadline.is_none() || units.saturating_mul(cost) <= SMALL {
            return rest;
        }
        let mut size = rest;
        if self.threads > 1 {
            // Half of an even share, but not less than is worth it.
            size = (rest / (2 * self.threads)).max(LEAST / cost);
        }
        if self.deadline.is_some() {
            size = size.min(MOST / cost);
        }
        if let Phase::Product(_) = phase {
            // Kernels take two tiles at once.
            size = size.next_multiple_of(2);
        }
        size.clamp(1, rest)
    }

    /// Works until there is nothing left, the deadline, or a failure.
    fn work(&self, thread: usize) {
        let _fp = FpGuard::new();
        let o = &self.open;
        let mut private = self.batch.private(thread);
        let mut idle = 0u32;
        loop {
            let at = o.at.load(Ordering::Acquire);
            let (index, next) = ((at >> PHASE_SHIFT) as usize, (at & UNIT_MASK) as usize);
            let Some(phase) = self.plan.phases.get(index) else {
                return;
            };
            if o.stop.load(Ordering::Relaxed) {
                return;
            }
            let place = o.sizes.get((at >> PLACE_SHIFT & 1) as usize);
            let (units, cost) = place.map_or((0, 1), |(units, cost)| {
                (units.load(Ordering::Relaxed), cost.load(Ordering::Relaxed))
            });
            if next >= units {
                idle += 1;
                if idle > PATIENCE {
                    return;
                }
                core::hint::spin_loop();
                continue;
            }
            let size = self.piece(phase, units - next, units, cost);
            // Fails if the phase is over by now: its number never comes again.
            if o.at
                .compare_exchange_weak(at, at + size as u64, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            idle = 0;
            // SAFETY: the phase is open, so those before are finished; these units were claimed.
            if let Err(e) = unsafe { self.batch.run(phase, next..next + size, &mut private) } {
                o.failed.store(e as i32, Ordering::Relaxed);
                o.stop.store(true, Ordering::Relaxed);
                return;
            }
            if o.done.fetch_add(size, Ordering::AcqRel) + size == units {
                self.open(index + 1, 0);
            }
            if let (Some(deadline), Some(now)) = (
                self.deadline,
                self.deadline.and_then(|_| self.platform.now_ns()),
            ) && now >= deadline
            {
                o.stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// How many steps from the front are computed together.
fn together(steps: &[realm_step]) -> usize {
    match steps.first() {
        Some(first) if first.repeat == 1 => steps
            .iter()
            .take(MAX_STEPS)
            .take_while(|s| s.repeat == 1)
            .count(),
        Some(_) => 1,
        None => 0,
    }
}

/// Works on a batch from where the cursor stands: the table's `query`.
pub fn advance(
    platform: &Platform,
    plan: &Plan,
    steps: &[realm_step],
    cursor: &mut realm_cursor,
    quantum: u64,
) -> i32 {
    let deadline = match platform.now_ns() {
        Some(now) if quantum != 0 => Some(now.saturating_add(quantum)),
        _ => None,
    };
    let late = || matches!((deadline, deadline.and_then(|_| platform.now_ns())), (Some(d), Some(now)) if now >= d);
    // [first step of the group, repetition, phase, unit]
    let [mut first, mut repeat, mut phase, mut unit, ..] = cursor.words;
    let code = loop {
        let rest = steps.get(first as usize..).unwrap_or(&[]);
        let count = together(rest);
        let Some(lead) = rest.first() else { break 0 };
        if repeat >= u64::from(lead.repeat) {
            (first, repeat) = (first + count as u64, 0);
            continue;
        }
        // Not initialised: a bound step is large, and one is the usual case.
        let mut bound = [const { MaybeUninit::<Bound<'_>>::uninit() }; MAX_STEPS];
        for (to, step) in bound.iter_mut().zip(rest.iter().take(count)) {
            // SAFETY: the core binds steps to the program they are submitted for.
            to.write(unsafe { Bound::step(plan.program, step, repeat as u32) });
        }
        // SAFETY: the first `count` were written just now; there are no more steps than places.
        let bound = unsafe { from_raw_parts(bound.as_ptr().cast::<Bound<'_>>(), count) };
        let batch = Batch::new(plan, bound);
        let mut threads =
            (lead.thread_count.min(platform.width()).max(1) as usize).min(plan.threads);
        if plan.row_cost.saturating_mul(batch.most_rows() as u64) < ALONE {
            threads = 1;
        }
        let shared = Shared {
            plan,
            batch: &batch,
            platform,
            deadline,
            threads,
            open: Open {
                at: AtomicU64::new(0),
                sizes: Default::default(),
                done: AtomicUsize::new(0),
                stop: AtomicBool::new(false),
                failed: AtomicI32::new(0),
            },
        };
        shared.open(phase as usize, unit as usize);
        if threads > 1 {
            platform.parallel_for(threads as u32, &|t| shared.work(t as usize));
        } else {
            shared.work(0);
        }
        match shared.open.failed.load(Ordering::Relaxed) {
            0 => {}
            code => break code,
        }
        let at = shared.open.at.load(Ordering::Acquire);
        (phase, unit) = (at >> PHASE_SHIFT, at & UNIT_MASK);
        if (phase as usize) < plan.phases.len() {
            break REALM_BACKEND_RUNNING;
        }
        (repeat, phase, unit) = (repeat + 1, 0, 0);
        let more = repeat < u64::from(lead.repeat) || steps.len() > first as usize + count;
        if more && late() {
            break REALM_BACKEND_RUNNING;
        }
    };
    cursor.words = [first, repeat, phase, unit, 0, 0, 0, 0];
    code
}
