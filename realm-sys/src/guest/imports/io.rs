//! Parameters, input, output.

use super::super::host::HostState;
use super::{MESSAGE_FUEL, call, call64};
use crate::error::{Error, Status};
use crate::graph::op::{TYPE_F32, TYPE_I32};
use crate::{bail, err};
use wasmi::{Caller, Linker};

type Env<'a> = Caller<'a, HostState>;

/// Longest line of `realm_log`, in bytes.
const MAX_LOG_BYTES: u32 = 4096;
/// What a line of log costs: it leaves the process, so that a flood must be dear.
const LOG_FUEL: u64 = 10_000;
/// What an event for the host costs beside its bytes.
const EMIT_FUEL: u64 = 200;
/// What can be published: logits, or an embedding.
const PUBLISH_LOGITS: u32 = 1;
const PUBLISH_EMBEDDING: u32 = 2;
/// Or a recipe.
const PUBLISH_RECIPE: u32 = 3;

pub(super) fn define(linker: &mut Linker<HostState>) -> Result<(), wasmi::Error> {
    define_input(linker)?;
    define_output(linker)
}

fn define_input(linker: &mut Linker<HostState>) -> Result<(), wasmi::Error> {
    const M: &str = "realm";
    linker.func_wrap(
        M,
        "realm_param_get",
        |env: Env<'_>, key: u32, key_len: u32, dst: u32, len: u32| {
            call(env, |m, h| {
                m.check(dst, len)?;
                let key = m.text(key, key_len)?;
                let Some(value) = h.params.get(key) else {
                    bail!(NotFound, "parameter '{key}' is not set");
                };
                h.cost += value.len() as u64;
                m.put(dst, len, value.as_bytes())
            })
        },
    )?;
    linker.func_wrap(
        M,
        "realm_param_key",
        |env: Env<'_>, index: u32, dst: u32, len: u32| {
            call(env, |m, h| {
                m.check(dst, len)?;
                let Some(key) = h.params.key(index as usize) else {
                    bail!(NotFound, "fewer than {index} parameters are set");
                };
                m.put(dst, len, key.as_bytes())
            })
        },
    )?;
    linker.func_wrap(
        M,
        "realm_input_read",
        |env: Env<'_>, offset: u32, dst: u32, len: u32| {
            call(env, |m, h| {
                m.check(dst, len)?;
                let Some(rest) = h.input.get(offset as usize..) else {
                    bail!(
                        InvalidArgument,
                        "the input has {} bytes, not {offset}",
                        h.input.len()
                    );
                };
                let n = rest.len().min(len as usize);
                let cost = n as u64 / 8;
                let copied = m.put(dst, len, rest.get(..n).unwrap_or(&[]));
                h.charge(cost);
                copied
            })
        },
    )?;
    Ok(())
}

fn define_output(linker: &mut Linker<HostState>) -> Result<(), wasmi::Error> {
    const M: &str = "realm";
    linker.func_wrap(
        M,
        "realm_emit",
        |env: Env<'_>, token: i32, text: u32, len: u32| {
            call(env, |m, h| {
                let text = m.text(text, len)?;
                if token < -1 {
                    bail!(InvalidArgument, "realm_emit: token {token}");
                }
                if !h.in_turn() {
                    bail!(State, "realm_emit: no turn is running");
                }
                h.charge(EMIT_FUEL);
                h.charge_bytes(text.len());
                h.outbox.emit(token, text)?;
                Ok(0)
            })
        },
    )?;
    linker.func_wrap(M, "realm_emit_token", |env: Env<'_>, token: u32| {
        call(env, |_, h| emit_token(h, token))
    })?;
    linker.func_wrap(M, "realm_logprob", |env: Env<'_>, bits: u32| {
        call(env, |_, h| {
            h.outbox.say_logprob(f32::from_bits(bits));
            Ok(0)
        })
    })?;
    linker.func_wrap(
        M,
        "realm_publish",
        |env: Env<'_>, what: u32, buffer: u32| {
            call(env, |_, h| {
                let (ty, name) = match what {
                    PUBLISH_LOGITS | PUBLISH_EMBEDDING => (TYPE_F32, "f32"),
                    PUBLISH_RECIPE => (TYPE_I32, "i32"),
                    _ => bail!(Unsupported, "realm_publish: {what} is unknown"),
                };
                match h.compute.memory.buffer_desc(buffer) {
                    None => bail!(NotFound, "no buffer has the handle {buffer}"),
                    Some(b) if b.r#type != ty => {
                        bail!(
                            InvalidArgument,
                            "realm_publish: what is published is {name}"
                        )
                    }
                    Some(b) if b.rows != 1 => {
                        bail!(
                            InvalidArgument,
                            "realm_publish: what is published is one row"
                        )
                    }
                    Some(_) if what == PUBLISH_RECIPE => h.compute.add_recipe(buffer)?,
                    Some(_) => {
                        h.compute.published = Some(buffer);
                        h.compute.embeds = what == PUBLISH_EMBEDDING;
                    }
                }
                Ok(0)
            })
        },
    )?;
    linker.func_wrap(
        M,
        "realm_progress",
        |env: Env<'_>, done: u32, total: u32| {
            call(env, |_, h| {
                if h.watch.is_some() {
                    // It leaves the library, as a line of log does.
                    h.charge(LOG_FUEL);
                }
                h.note_progress(done.into(), total.into());
                Ok(0)
            })
        },
    )?;
    linker.func_wrap(
        M,
        "realm_log",
        |env: Env<'_>, level: i32, text: u32, len: u32| {
            call(env, |m, h| {
                let text = m.text(text, len)?;
                if !(0..=3).contains(&level) || len > MAX_LOG_BYTES {
                    bail!(InvalidArgument, "realm_log: level {level}, {len} bytes");
                }
                h.charge(LOG_FUEL);
                h.write_log(level, text);
                Ok(0)
            })
        },
    )?;
    linker.func_wrap(M, "realm_fail", |env: Env<'_>, text: u32, len: u32| {
        call(env, |m, h| {
            // Cut to what a message can hold before it is looked at.
            let bytes = m.get(text, len)?;
            let bytes = bytes.get(..bytes.len().min(512)).unwrap_or(bytes);
            h.charge(MESSAGE_FUEL);
            // Who says nothing leaves it to the host to find words.
            h.fail_message = (!bytes.is_empty()).then(|| message(bytes));
            Ok(0)
        })
    })?;
    linker.func_wrap(M, "realm_clock_ns", |env: Env<'_>| {
        call64(env, |_, h| {
            let now = if h.grant_clock {
                h.platform.now_ns().unwrap_or(0)
            } else {
                0
            };
            i64::try_from(now).map_err(|_| err!(Limit, "the clock has run over"))
        })
    })?;
    Ok(())
}

/// Shows a token: once per token, with everything driven out of the caches by the weights, so that
/// the text goes straight to where it waits.
fn emit_token(h: &mut HostState, token: u32) -> crate::error::Result<i32> {
    if !h.in_turn() {
        bail!(State, "realm_emit_token: no turn is running");
    }
    h.charge(EMIT_FUEL);
    let id = i32::try_from(token)
        .map_err(|_| err!(InvalidArgument, "realm_emit_token: token {token}"))?;
    if h.own_vocab.is_none() {
        h.own_vocab = Some(h.vocab(h.models.own.0)?);
    }
    let Some(vocab) = &h.own_vocab else {
        bail!(Internal, "the vocabulary is gone");
    };
    // A copy is worked on, so that nothing is consumed if the text does not fit.
    let mut detokenizer = h.detokenizer.clone();
    let bytes = h
        .outbox
        .emit_with(id, |text| detokenizer.push(vocab, token, text))?;
    h.detokenizer = detokenizer;
    h.charge_bytes(bytes);
    Ok(0)
}

/// A guest's message as an error; its status is set when the event returns one.
fn message(bytes: &[u8]) -> Error {
    struct Lossy<'a>(&'a [u8]);
    impl core::fmt::Display for Lossy<'_> {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            for chunk in self.0.utf8_chunks() {
                f.write_str(chunk.valid())?;
                if !chunk.invalid().is_empty() {
                    f.write_str("?")?;
                }
            }
            Ok(())
        }
    }
    Error::new(Status::Guest, format_args!("{}", Lossy(bytes)))
}
