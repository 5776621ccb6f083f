//! Model facts: metadata, the tensor directory, the vocabulary.

use super::super::host::HostState;
use super::super::memory::{GuestMemory, length};
use super::{call, small};
use crate::error::{Result, try_vec};
use crate::gguf::{ValueType, convert};
use crate::{bail, err};
use alloc::vec::Vec;
use wasmi::{Caller, Error, Linker};

type Env<'a> = Caller<'a, HostState>;

/// `realm_tokenize`: add BOS and EOS as the vocabulary says.
const TOKENIZE_ADD_SPECIAL: u32 = 1;
/// `realm_tokenize`: control tokens written in the text become their ids.
const TOKENIZE_PARSE_SPECIAL: u32 = 2;
const TOKENIZE_GOES_ON: u32 = 4;

/// Room that always suffices for what a token yields, unless the token itself is longer.
const DETOK_BYTES: u32 = 256;

pub(super) fn define(linker: &mut Linker<HostState>) -> core::result::Result<(), Error> {
    const M: &str = "realm";
    linker.func_wrap(
        M,
        "realm_meta_get",
        |env: Env<'_>, id: u32, key: u32, key_len: u32, index: i32, ty: u32, dst: u32, len: u32| {
            call(env, |m, h| {
                meta_get(m, h, id, (key, key_len), index, ty, (dst, len))
            })
        },
    )?;
    linker.func_wrap(
        M,
        "realm_tensor_find",
        |env: Env<'_>, id: u32, name: u32, len: u32| {
            call(env, |m, h| {
                let name = m.text(name, len)?;
                match h.models.get(id)?.find_tensor(name) {
                    Some(handle) => small(handle),
                    None => bail!(NotFound, "the model has no tensor '{name}'"),
                }
            })
        },
    )?;
    linker.func_wrap(
        M,
        "realm_tensor_info",
        |env: Env<'_>, id: u32, handle: u32, dst: u32, len: u32| {
            call(env, |m, h| tensor_info(m, h, id, handle, dst, len))
        },
    )?;
    linker.func_wrap(
        M,
        "realm_tensor_name",
        |env: Env<'_>, id: u32, handle: u32, dst: u32, len: u32| {
            call(env, |m, h| {
                m.check(dst, len)?;
                match h.models.get(id)?.tensor(handle) {
                    Some(tensor) => m.put(dst, len, tensor.name.as_bytes()),
                    None => bail!(NotFound, "no tensor has the handle {handle}"),
                }
            })
        },
    )?;
    linker.func_wrap(
        M,
        "realm_vocab_info",
        |env: Env<'_>, id: u32, dst: u32, len: u32| {
            call(env, |m, h| vocab_info(m, h, id, dst, len))
        },
    )?;
    linker.func_wrap(
        M,
        "realm_tokenize",
        |env: Env<'_>, id: u32, text: u32, len: u32, flags: u32, dst: u32, count: u32| {
            call(env, |m, h| {
                tokenize(m, h, id, (text, len), flags, (dst, count))
            })
        },
    )?;
    linker.func_wrap(
        M,
        "realm_token_find",
        |env: Env<'_>, id: u32, text: u32, len: u32| {
            call(env, |m, h| {
                let text = m.get(text, len)?;
                h.charge_bytes(text.len());
                match h.vocab(id)?.find(text) {
                    Some(token) => small(token),
                    None => bail!(NotFound, "no token has that text"),
                }
            })
        },
    )?;
    linker.func_wrap(
        M,
        "realm_token_is_eog",
        |env: Env<'_>, id: u32, token: u32| {
            call(env, |_, h| Ok(i32::from(h.vocab(id)?.is_eog(token))))
        },
    )?;
    linker.func_wrap(
        M,
        "realm_token_piece",
        |env: Env<'_>, id: u32, token: u32, dst: u32, len: u32| {
            call(env, |m, h| {
                m.check(dst, len)?;
                let mut piece = Vec::new();
                h.vocab(id)?.piece(token, false, &mut piece)?;
                h.charge_bytes(piece.len());
                m.put(dst, len, &piece)
            })
        },
    )?;
    linker.func_wrap(M, "realm_detok_reset", |env: Env<'_>| {
        call(env, |_, h| {
            h.detokenizer = crate::vocab::Detokenizer::continuing(false);
            Ok(0)
        })
    })?;
    linker.func_wrap(
        M,
        "realm_detok_push",
        |env: Env<'_>, token: u32, dst: u32, len: u32| {
            call(env, |m, h| detok_push(m, h, token, dst, len))
        },
    )?;
    linker.func_wrap(
        M,
        "realm_detok_flush",
        |env: Env<'_>, dst: u32, len: u32| {
            call(env, |m, h| {
                m.check(dst, len)?;
                let mut detokenizer = h.detokenizer.clone();
                let mut text = Vec::new();
                detokenizer.finish(&mut text)?;
                let n = m.put_all(dst, len, &text)?;
                h.detokenizer = detokenizer;
                Ok(n)
            })
        },
    )?;
    Ok(())
}

fn meta_get(
    m: &mut GuestMemory<'_>,
    h: &mut HostState,
    id: u32,
    key: (u32, u32),
    index: i32,
    ty: u32,
    (dst, len): (u32, u32),
) -> Result<i32> {
    m.check(dst, len)?;
    let key = m.text(key.0, key.1)?;
    let model = h.models.get(id)?.clone();
    let meta = model.metadata();
    let index = match index {
        -1 => None,
        i => Some(u64::try_from(i).map_err(|_| err!(InvalidArgument, "metadata index {i}"))?),
    };
    let ty = ValueType::from_id(ty).ok_or_else(|| err!(InvalidArgument, "metadata type {ty}"))?;
    match (ty, index) {
        (ValueType::Array, None) => {
            let n = convert::array_len(&meta, key)?;
            m.put_all(dst, len, &n.to_le_bytes())
        }
        (ValueType::Array, Some(_)) => bail!(InvalidArgument, "arrays do not nest"),
        _ => {
            let (value, walked) = convert::lookup(&meta, key, index)?;
            h.charge_bytes(walked.saturating_mul(4));
            if ty == ValueType::Str {
                let Some(text) = value.as_bytes() else {
                    bail!(InvalidArgument, "'{key}' is not a string");
                };
                h.charge_bytes(text.len().min(len as usize));
                return m.put(dst, len, text);
            }
            match convert::encode(&value, ty) {
                Some((bytes, n)) => m.put_all(dst, len, bytes.get(..n).unwrap_or(&[])),
                None => bail!(
                    InvalidArgument,
                    "'{key}' is not exactly representable as asked"
                ),
            }
        }
    }
}

fn tensor_info(
    m: &mut GuestMemory<'_>,
    h: &mut HostState,
    id: u32,
    handle: u32,
    dst: u32,
    len: u32,
) -> Result<i32> {
    m.check(dst, len)?;
    let model = h.models.get(id)?;
    let Some(t) = model.tensor(handle) else {
        bail!(NotFound, "no tensor has the handle {handle}");
    };
    let mut info = try_vec::<u8>(40, "bytes of a tensor's description")?;
    info.extend_from_slice(&t.type_id.to_le_bytes());
    info.extend_from_slice(&t.n_dims.to_le_bytes());
    for n in t.dims {
        info.extend_from_slice(&n.to_le_bytes());
    }
    m.put(dst, len, &info)
}

fn vocab_info(
    m: &mut GuestMemory<'_>,
    h: &mut HostState,
    id: u32,
    dst: u32,
    len: u32,
) -> Result<i32> {
    m.check(dst, len)?;
    let v = h.vocab(id)?;
    let token = |t: Option<u32>| t.and_then(|t| i32::try_from(t).ok()).unwrap_or(-1) as u32;
    let flags = u32::from(v.add_bos()) | u32::from(v.add_eos()) << 1;
    let mut info = try_vec::<u8>(28, "bytes of a vocabulary's description")?;
    for word in [
        v.len(),
        token(v.bos()),
        token(v.eos()),
        token(v.eot()),
        token(v.unk()),
        token(v.pad()),
        flags,
    ] {
        info.extend_from_slice(&word.to_le_bytes());
    }
    m.put(dst, len, &info)
}

fn tokenize(
    m: &mut GuestMemory<'_>,
    h: &mut HostState,
    id: u32,
    text: (u32, u32),
    flags: u32,
    (dst, count): (u32, u32),
) -> Result<i32> {
    m.items(dst, count, 4)?;
    let text = m.get(text.0, text.1)?;
    const BOTH: u32 = TOKENIZE_ADD_SPECIAL | TOKENIZE_GOES_ON;
    if flags & !(BOTH | TOKENIZE_PARSE_SPECIAL) != 0 || flags & BOTH == BOTH {
        bail!(InvalidArgument, "realm_tokenize: flags {flags:#x}");
    }
    // A tokenizer looks at every byte many times over.
    h.charge_bytes(text.len().saturating_mul(1024));
    let mut ids = Vec::new();
    let (vocab, parse_special) = (h.vocab(id)?, flags & TOKENIZE_PARSE_SPECIAL != 0);
    match flags & TOKENIZE_GOES_ON {
        0 => {
            let add_special = flags & TOKENIZE_ADD_SPECIAL != 0;
            vocab.tokenize(text, add_special, parse_special, &mut ids)?;
        }
        _ => vocab.tokenize_on(text, parse_special, &mut ids)?,
    }
    let to = m.items(dst, count, 4)?;
    for (to, id) in to.as_chunks_mut::<4>().0.iter_mut().zip(&ids) {
        *to = id.to_le_bytes();
    }
    length(ids.len())
}

fn detok_push(
    m: &mut GuestMemory<'_>,
    h: &mut HostState,
    token: u32,
    dst: u32,
    len: u32,
) -> Result<i32> {
    m.check(dst, len)?;
    let vocab = h.vocab(h.models.own.0)?;
    // A copy is worked on, so that nothing is consumed if the text does not fit.
    let mut detokenizer = h.detokenizer.clone();
    let mut text = core::mem::take(&mut h.text);
    text.clear();
    let pushed = detokenizer.push(&vocab, token, &mut text);
    h.charge_bytes(text.len());
    let result = pushed.and_then(|()| m.put_all(dst, len, &text));
    h.text = text;
    let n = result.map_err(|e| match e.status() {
        crate::error::Status::BufferTooSmall => err!(
            BufferTooSmall,
            "{e}; {DETOK_BYTES} bytes suffice for all but very long tokens"
        ),
        _ => e,
    })?;
    h.detokenizer = detokenizer;
    Ok(n)
}
