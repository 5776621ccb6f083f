//! Compute: buffers, the KV cache, programs and the step of an event.

use super::super::host::HostState;
use super::super::memory::GuestMemory;
use super::{call, call64, small};
use crate::error::Result;
use crate::graph::memory::KvDesc;
use crate::graph::prepared::Prepared;
use crate::graph::program::MAX_REGISTERS;
use crate::graph::run::Run;
use crate::{bail, err};
use wasmi::{Caller, Error, Linker};

type Env<'a> = Caller<'a, HostState>;

/// 32-bit words of a KV layer's description.
const KV_DESC_WORDS: u32 = 7;

pub(super) fn define(linker: &mut Linker<HostState>) -> core::result::Result<(), Error> {
    define_memory(linker)?;
    define_programs(linker)
}

/// Refuses what would move memory that a booked step has been bound to.
fn settled(h: &HostState) -> Result<()> {
    if h.compute.booked.is_some() {
        bail!(
            State,
            "a step has been submitted: memory stays as it is until the step has ended"
        );
    }
    Ok(())
}

fn define_memory(linker: &mut Linker<HostState>) -> core::result::Result<(), Error> {
    const M: &str = "realm";
    linker.func_wrap(
        M,
        "realm_buffer_create",
        |env: Env<'_>, ty: u32, cols: u32, rows: u32| {
            call(env, |_, h| {
                settled(h)?;
                let bytes = u64::from(cols)
                    .saturating_mul(rows.into())
                    .saturating_mul(4);
                let handle = h.compute.memory.buffer_create(ty, cols, rows)?;
                // Zeroing it.
                h.charge(bytes / 64);
                small(handle)
            })
        },
    )?;
    linker.func_wrap(
        M,
        "realm_buffer_write",
        |env: Env<'_>, handle: u32, offset: u32, src: u32, len: u32| {
            call(env, |m, h| {
                let bytes = m.get(src, len)?;
                h.charge_bytes(bytes.len());
                h.compute
                    .memory
                    .buffer_write(handle, offset.into(), bytes)?;
                Ok(0)
            })
        },
    )?;
    linker.func_wrap(
        M,
        "realm_buffer_read",
        |env: Env<'_>, handle: u32, offset: u32, dst: u32, len: u32| {
            call(env, |m, h| {
                let bytes = m.get_mut(dst, len)?;
                h.charge_bytes(bytes.len());
                h.compute.memory.buffer_read(handle, offset.into(), bytes)?;
                Ok(0)
            })
        },
    )?;
    linker.func_wrap(M, "realm_kv_create", |env: Env<'_>, desc: u32, len: u32| {
        call(env, |m, h| kv_create(m, h, desc, len))
    })?;
    linker.func_wrap(M, "realm_kv_bytes", |env: Env<'_>, positions: u32| {
        call64(env, |_, h| {
            let bytes = h.compute.memory.kv_bytes_for(positions);
            i64::try_from(bytes).map_err(|_| err!(Limit, "more KV than can be counted"))
        })
    })?;
    linker.func_wrap(M, "realm_kv_truncate", |env: Env<'_>, position: u32| {
        call(env, |_, h| {
            settled(h)?;
            h.compute.memory.kv_truncate(position)?;
            Ok(0)
        })
    })?;
    Ok(())
}

fn define_programs(linker: &mut Linker<HostState>) -> core::result::Result<(), Error> {
    const M: &str = "realm";
    linker.func_wrap(
        M,
        "realm_program_create",
        |env: Env<'_>, ptr: u32, len: u32| {
            call(env, |m, h| {
                let bytes = m.get(ptr, len)?;
                settled(h)?;
                // Validated, planned and prepared.
                h.charge_bytes(bytes.len().saturating_mul(64));
                let models = h.models.of_program(bytes)?;
                let program = Prepared::shared(bytes, &models, &mut h.compute.memory)?;
                small(h.compute.add_program(program)?)
            })
        },
    )?;
    linker.func_wrap(M, "realm_program_destroy", |env: Env<'_>, handle: u32| {
        call(env, |_, h| {
            h.compute.program(handle)?;
            if let Some(slot) = h.compute.programs.get_mut(handle as usize) {
                // A booked step keeps what it needs.
                *slot = None;
            }
            Ok(0)
        })
    })?;
    linker.func_wrap(
        M,
        "realm_step_submit",
        |env: Env<'_>, program: u32, regs: u32, count: u32, repeat: u32| {
            call(env, |m, h| submit(m, h, program, (regs, count), repeat))
        },
    )?;
    Ok(())
}

fn kv_create(m: &mut GuestMemory<'_>, h: &mut HostState, desc: u32, len: u32) -> Result<i32> {
    let bytes = m.get(desc, len)?;
    if len != KV_DESC_WORDS * 4 {
        bail!(
            InvalidArgument,
            "a KV layer is described by {} bytes, not {len}",
            KV_DESC_WORDS * 4
        );
    }
    settled(h)?;
    if h.compute.stepped {
        bail!(State, "KV layers are created before the first step");
    }
    let mut words = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|w| u32::from_le_bytes(*w));
    let mut next = || words.next().unwrap_or(0);
    let desc = KvDesc {
        ty: next(),
        n_head_kv: next(),
        head_dim_k: next(),
        head_dim_v: next(),
        max_positions: next(),
        group: next(),
        window: next(),
    };
    small(h.compute.memory.kv_create(desc)?)
}

fn submit(
    m: &mut GuestMemory<'_>,
    h: &mut HostState,
    program: u32,
    (regs, count): (u32, u32),
    repeat: u32,
) -> Result<i32> {
    let bytes = m.items(regs, count, 4)?;
    if count > MAX_REGISTERS {
        bail!(
            InvalidArgument,
            "{count} registers, at most {MAX_REGISTERS}"
        );
    }
    if !h.in_turn() {
        bail!(
            State,
            "a step may only be submitted while a turn is running"
        );
    }
    if h.compute.booked.is_some() {
        bail!(State, "a step has been submitted in this event already");
    }
    let mut values = [0_u32; MAX_REGISTERS as usize];
    for (to, from) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *to = u32::from_le_bytes(*from);
    }
    let values = values.get(..count as usize).unwrap_or(&[]);
    let program = h.compute.program(program)?.clone();
    h.charge(program.check_count());
    h.compute.memory.settle();
    let before = h.compute.memory.usage().kv_bytes;
    let run = Run::new(
        &program,
        values,
        repeat,
        h.compute.thread_count,
        &mut h.compute.memory,
    );
    // Zeroing the pages that were made, also if there was no end to them.
    let made = h.compute.memory.usage().kv_bytes.saturating_sub(before);
    h.charge(made / 64);
    h.compute.booked = Some(run?);
    h.compute.stepped = true;
    Ok(0)
}
