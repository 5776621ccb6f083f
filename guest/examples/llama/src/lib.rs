//! A guest for models of the architecture llama, written to `guest/ABI.md` and `realm_guest.h` alone.
//!
//! It goes on with a text by the most probable tokens, in turns. What it knows is in [`Guest`]: some numbers and the turn's
//! tokens; weights, activations and the cache are the host's. The graph is recorded once, when the session opens
//! (`graph.rs`), and replayed for each step with three numbers.
#![no_std]

mod graph;
mod realm;

use core::cell::UnsafeCell;
use realm::{Failed, Result, fail};

/// Most bytes of a prompt, and most tokens: a text has no more tokens than bytes, but for BOS, EOS and what is owed.
const MOST_BYTES: usize = 8192;
const MOST_TOKENS: usize = MOST_BYTES + 3;
/// Tokens of a prompt that a step takes at most.
const BATCH: usize = 64;
/// The longest context that it has unless it is asked for another.
const DEFAULT_CTX: u32 = 2048;

/// Everything that a session is, beside what the host has of it.
struct Guest {
    graph: graph::Graph,
    /// Tokens whose steps have succeeded.
    position: u32,
    /// A token that was shown, and has yet to enter the context.
    owed: Option<u32>,
    /// The turn's tokens, how many there are, and how many have been submitted.
    feed: [u32; MOST_TOKENS],
    feed_len: usize,
    fed: usize,
    /// Tokens of the step that is under way.
    in_flight: u32,
    /// Tokens that the turn may still make.
    left: u32,
}

struct Slot(UnsafeCell<Guest>);

// SAFETY: an instance has one thread, and the host calls no export while another one runs.
unsafe impl Sync for Slot {}

/// Zeros, all of it: such memory takes no room in the module.
static GUEST: Slot = Slot(UnsafeCell::new(Guest {
    graph: graph::Graph::NONE,
    position: 0,
    owed: None,
    feed: [0; MOST_TOKENS],
    feed_len: 0,
    fed: 0,
    in_flight: 0,
    left: 0,
}));

/// Which ABI this is written for.
#[unsafe(no_mangle)]
pub extern "C" fn realm_guest_abi() -> i32 {
    realm::ABI
}

/// Handles an event.
#[unsafe(no_mangle)]
pub extern "C" fn realm_guest_event(kind: i32, a: i32, b: i32) -> i32 {
    // SAFETY: by `Slot` this is the only reference.
    let guest = unsafe { &mut *GUEST.0.get() };
    let done = match kind {
        realm::OPEN => guest.open(a as u32),
        realm::PROMPT => guest.prompt(a, b as usize),
        realm::STEP => guest.step(a),
        realm::CANCEL => guest.forget().map(|()| realm::CONTINUE),
        realm::REWIND => guest.rewind(a as u32),
        realm::PARAMS => params().map(|_| realm::CONTINUE),
        _ => Err(fail(
            realm::UNSUPPORTED,
            format_args!("event {kind} is not known to this guest"),
        )),
    };
    match done {
        Ok(how) => how,
        Err(Failed(status)) => {
            // A turn that fails is as if it had ended with its last complete step.
            let _ = guest.forget();
            status
        }
    }
}

/// `n_predict`, what a turn may make at most.
fn params() -> Result<u32> {
    realm::only_params(&["ctx", "n_predict"])?;
    match realm::param("n_predict")? {
        None | Some(-1) => Ok(u32::MAX),
        Some(n) => u32::try_from(n).map_err(|_| {
            fail(
                realm::INVALID_ARGUMENT,
                format_args!("n_predict is {n}, from -1 on was expected"),
            )
        }),
    }
}

impl Guest {
    fn open(&mut self, model: u32) -> Result<i32> {
        params()?;
        let ctx = match realm::param("ctx")? {
            None | Some(0) => None,
            Some(n @ 1..) => Some(n as u32),
            Some(n) => {
                return Err(fail(
                    realm::INVALID_ARGUMENT,
                    format_args!("ctx is {n}, from 0 on was expected"),
                ));
            }
        };
        self.graph.open(model, ctx)?;
        Ok(realm::CONTINUE)
    }

    fn prompt(&mut self, kind: i32, bytes: usize) -> Result<i32> {
        self.left = params()?;
        self.feed_len = usize::from(self.owed.is_some());
        self.feed[0] = self.owed.unwrap_or(0);
        let added = match kind {
            realm::TEXT => self.text(bytes)?,
            realm::IDS => self.ids(bytes)?,
            _ => {
                return Err(fail(
                    realm::UNSUPPORTED,
                    format_args!("this guest has no chat: give raw text"),
                ));
            }
        };
        self.feed_len += added;
        let room = self.graph.ctx - self.position;
        if self.feed_len == 0 || self.feed_len > room as usize {
            let n = self.feed_len;
            return Err(fail(
                realm::LIMIT,
                format_args!("{n} tokens, and room for 1 to {room}"),
            ));
        }
        realm::detok_reset();
        self.fed = 0;
        self.submit_prompt()?;
        Ok(realm::CONTINUE)
    }

    /// Tokens of a text, behind what is owed.
    fn text(&mut self, bytes: usize) -> Result<usize> {
        let mut text = [0; MOST_BYTES];
        let Some(text) = text.get_mut(..bytes) else {
            return Err(fail(
                realm::LIMIT,
                format_args!("a prompt has at most {MOST_BYTES} bytes"),
            ));
        };
        realm::input(0, text)?;
        let begins = self.position == 0 && self.feed_len == 0;
        let room = &mut self.feed[self.feed_len..];
        let count = realm::tokenize(self.graph.model, text, begins, room)?;
        if count > room.len() {
            return Err(fail(
                realm::LIMIT,
                format_args!("a prompt has at most {MOST_TOKENS} tokens"),
            ));
        }
        Ok(count)
    }

    /// Tokens as the host has given them.
    fn ids(&mut self, bytes: usize) -> Result<usize> {
        let room = &mut self.feed[self.feed_len..];
        if bytes % 4 != 0 || bytes / 4 > room.len() {
            return Err(fail(
                realm::LIMIT,
                format_args!("{bytes} bytes of ids, 4 each for at most {MOST_TOKENS}"),
            ));
        }
        let mut id = [0; 4];
        for (i, to) in room.iter_mut().take(bytes / 4).enumerate() {
            realm::input(i * 4, &mut id)?;
            *to = u32::from_le_bytes(id);
        }
        Ok(bytes / 4)
    }

    /// Submits the next tokens of the prompt.
    fn submit_prompt(&mut self) -> Result<()> {
        let end = self.feed_len.min(self.fed + BATCH);
        let chunk = &self.feed[self.fed..end];
        self.graph.submit(chunk, self.position)?;
        self.in_flight = chunk.len() as u32;
        self.fed = end;
        Ok(())
    }

    fn step(&mut self, status: i32) -> Result<i32> {
        if status < 0 {
            return Err(Failed(status)); // the host has a message
        }
        self.position += self.in_flight;
        self.in_flight = 0;
        self.owed = None;
        if self.feed_len > 0 {
            realm::progress(self.fed, self.feed_len);
            if self.fed < self.feed_len {
                self.submit_prompt()?;
                return Ok(realm::CONTINUE);
            }
            self.feed_len = 0;
            if self.left == 0 {
                return Ok(realm::END_LENGTH);
            }
        }
        let token = self.graph.chosen()?;
        if realm::is_eog(self.graph.model, token) {
            return Ok(realm::END_EOS);
        }
        realm::emit_token(token)?;
        self.left -= 1;
        if self.left == 0 || self.position == self.graph.ctx {
            self.owed = Some(token);
            return Ok(if self.left == 0 {
                realm::END_LENGTH
            } else {
                realm::END_CONTEXT
            });
        }
        self.graph.submit(&[token], self.position)?;
        self.in_flight = 1;
        Ok(realm::CONTINUE)
    }

    /// Drops the turn. What its complete steps have brought stays.
    fn forget(&mut self) -> Result<()> {
        self.feed_len = 0;
        self.in_flight = 0;
        realm::kv_truncate(self.position)
    }

    fn rewind(&mut self, position: u32) -> Result<i32> {
        if position > self.position {
            return Err(fail(
                realm::STATE,
                format_args!("there are only {} tokens", self.position),
            ));
        }
        self.position = position;
        self.owed = None;
        realm::kv_truncate(position)?;
        Ok(realm::CONTINUE)
    }
}

/// A bug. The host is told where, and the session ends.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    fail(realm::STATE, format_args!("{}", info.message()));
    core::arch::wasm32::unreachable()
}
