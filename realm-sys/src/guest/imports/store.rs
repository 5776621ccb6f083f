//! The store: a guest registers models of its own and looks at those it may name.

use super::super::host::HostState;
use super::super::memory::GuestMemory;
use super::{call, small};
use crate::error::{Result, try_vec};
use crate::{bail, err};
use wasmi::{Caller, Error, Linker};

type Env<'a> = Caller<'a, HostState>;

/// Bytes of `realm_guest_model_info`.
const INFO_BYTES: usize = 64;

pub(super) fn define(linker: &mut Linker<HostState>) -> core::result::Result<(), Error> {
    const M: &str = "realm";
    linker.func_wrap(
        M,
        "realm_store_model",
        |env: Env<'_>, ptr: u32, len: u32, id: u32, out: u32| {
            call(env, |m, h| store_model(m, h, ptr, len, id, out))
        },
    )?;
    linker.func_wrap(M, "realm_remove_model", |env: Env<'_>, id: u32| {
        call(env, |_, h| h.models.remove(id).map(|()| 0))
    })?;
    linker.func_wrap(
        M,
        "realm_get_model_info",
        |env: Env<'_>, id: u32, dst: u32, len: u32| {
            call(env, |m, h| model_info(m, h, id, dst, len))
        },
    )?;
    linker.func_wrap(
        M,
        "realm_get_tensor",
        |env: Env<'_>,
         id: u32,
         name: u32,
         name_len: u32,
         first: u32,
         count: u32,
         dst: u32,
         bytes: u32| {
            call(env, |m, h| {
                get_tensor(m, h, id, (name, name_len), (first, count), (dst, bytes))
            })
        },
    )?;
    Ok(())
}

fn store_model(
    m: &mut GuestMemory<'_>,
    h: &mut HostState,
    ptr: u32,
    len: u32,
    id: u32,
    out: u32,
) -> Result<i32> {
    m.check(out, 4)?;
    let bytes = m.get(ptr, len)?;
    // Copied, compared or hashed, and parsed: several times the price of a copy.
    h.charge_bytes(bytes.len().saturating_mul(16));
    let id = h.models.register(bytes, id)?;
    m.put_all(out, 4, &id.to_le_bytes())?;
    Ok(0)
}

fn model_info(
    m: &mut GuestMemory<'_>,
    h: &mut HostState,
    id: u32,
    dst: u32,
    len: u32,
) -> Result<i32> {
    m.check(dst, len)?;
    let model = h.models.get(id)?;
    let digest = model.known_digest();
    let mut info = try_vec::<u8>(INFO_BYTES, "bytes of a model's description")?;
    info.extend_from_slice(&model.file_bytes().to_le_bytes());
    info.extend_from_slice(&model.parameter_count().to_le_bytes());
    info.extend_from_slice(&model.tensor_count().to_le_bytes());
    info.extend_from_slice(&(model.metadata().len() as u32).to_le_bytes());
    info.extend_from_slice(&model.part_count().to_le_bytes());
    info.extend_from_slice(&u32::from(digest.is_some()).to_le_bytes());
    info.extend_from_slice(&digest.unwrap_or([0; 32]));
    m.put(dst, len, &info)
}

fn get_tensor(
    m: &mut GuestMemory<'_>,
    h: &mut HostState,
    id: u32,
    name: (u32, u32),
    (first, count): (u32, u32),
    (dst, bytes): (u32, u32),
) -> Result<i32> {
    m.check(dst, bytes)?;
    let name = m.text(name.0, name.1)?;
    let model = h.models.get(id)?.clone();
    let (handle, tensor) = model
        .find_tensor(name)
        .and_then(|t| Some((t, model.tensor(t)?)))
        .ok_or_else(|| err!(NotFound, "the model has no tensor '{name}'"))?;
    let rows = tensor.rows();
    let count = match count {
        0 => rows.saturating_sub(u64::from(first)),
        n => u64::from(n),
    };
    let needed = tensor
        .row_len()
        .checked_mul(4)
        .and_then(|row| row.checked_mul(count));
    if needed.is_none_or(|n| n > u64::from(bytes)) {
        bail!(
            BufferTooSmall,
            "{count} rows of {} floats do not fit {bytes} bytes",
            tensor.row_len()
        );
    }
    if u64::from(first).saturating_add(count) > rows {
        bail!(
            InvalidArgument,
            "'{name}' has {rows} rows, not {count} from {first} on"
        );
    }
    let row_len = tensor.row_len() as usize;
    if row_len == 0 || count == 0 {
        return small(u32::try_from(count).unwrap_or(u32::MAX));
    }
    h.charge_bytes((bytes as usize).saturating_mul(8));
    // Guest memory has no alignment, so rows go through a buffer of their own.
    let mut row = try_vec::<f32>(row_len, "floats of a row")?;
    row.resize(row_len, 0.0);
    let to = m.get_mut(dst, bytes)?;
    let mut chunks = to.as_chunks_mut::<4>().0.iter_mut();
    for i in 0..count {
        model.read_tensor_f32(handle, u64::from(first) + i, 1, &mut row)?;
        for (x, to) in row.iter().zip(&mut chunks) {
            *to = x.to_le_bytes();
        }
    }
    small(u32::try_from(count).unwrap_or(u32::MAX))
}
