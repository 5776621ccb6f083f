//! Tokens and text that the guest has emitted and the host has not fetched yet.

use crate::err;
use crate::error::{Error, Result};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Events that may wait. A guest emits a few per step; a flood is cut off.
const MAX_EVENTS: usize = 1024;
/// Bytes of text that may wait.
const MAX_TEXT_BYTES: usize = 1 << 20;

#[cold]
fn too_much() -> Error {
    err!(
        Limit,
        "up to {MAX_EVENTS} events and {MAX_TEXT_BYTES} bytes may be emitted in one event"
    )
}

/// An event that waits.
struct Waiting {
    token: i32,
    text_bytes: usize,
    logprob: Option<f32>,
}

/// A queue of events, their text in one run of bytes.
#[derive(Default)]
pub struct Outbox {
    events: VecDeque<Waiting>,
    text: Vec<u8>,
    /// Where the text of the next event begins.
    read: usize,
    /// Where the text of the event last taken begins.
    taken: usize,
    /// What was said of the next token's probability.
    said: Option<f32>,
    /// The same of the token last taken.
    logprob: Option<f32>,
    tokens: u64,
}

impl Outbox {
    /// Nothing waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an event; `token` is -1 if there is only text.
    ///
    /// # Errors
    /// `Limit` if too much waits already; `NoMemory`.
    pub fn emit(&mut self, token: i32, text: &str) -> Result<()> {
        self.emit_with(token, |out| {
            // Before it is copied: `emit_with` sees only what is there.
            if text.len() > MAX_TEXT_BYTES - out.len() {
                return Err(too_much());
            }
            out.try_reserve(text.len())
                .map_err(|_| err!(NoMemory, "no memory for an emitted event"))?;
            out.extend_from_slice(text.as_bytes());
            Ok(())
        })
        .map(|_| ())
    }

    /// Appends an event whose text, valid UTF-8, is what `write` appends to the vector; returns its
    /// length. What is there already is not `write`'s to change.
    ///
    /// # Errors
    /// `Limit` if too much waits already; `NoMemory`; those of `write`. Nothing has happened then.
    pub fn emit_with(
        &mut self,
        token: i32,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<usize> {
        if self.events.is_empty() {
            self.text.clear();
            self.read = 0;
            self.taken = 0;
        }
        if self.events.len() >= MAX_EVENTS {
            return Err(too_much());
        }
        if self.events.try_reserve(1).is_err() {
            return Err(err!(NoMemory, "no memory for an emitted event"));
        }
        let before = self.text.len();
        let mut written = write(&mut self.text);
        if written.is_ok() && self.text.len() > MAX_TEXT_BYTES {
            written = Err(too_much());
        }
        if let Err(e) = written {
            self.text.truncate(before);
            return Err(e);
        }
        let bytes = self.text.len() - before;
        let mut waiting = Waiting {
            token,
            text_bytes: bytes,
            logprob: None,
        };
        if token >= 0 {
            waiting.logprob = self.said.take();
            self.tokens += 1;
        }
        self.events.push_back(waiting);
        Ok(bytes)
    }

    /// Takes the oldest event; its text is [`text`](Self::text) until the next `emit`.
    pub fn take(&mut self) -> Option<i32> {
        let event = self.events.pop_front()?;
        self.taken = self.read;
        self.read += event.text_bytes;
        self.logprob = event.logprob;
        Some(event.token)
    }

    /// Says how probable the token is that is emitted next. What is no logarithm of a probability is not kept.
    pub fn say_logprob(&mut self, value: f32) {
        self.said = (!value.is_nan()).then_some(value.min(0.0));
    }

    /// What was said is of no token.
    pub fn forget_logprob(&mut self) {
        self.said = None;
    }

    /// The logarithm of the probability of the token last taken, if the guest said it.
    pub fn logprob(&self) -> Option<f32> {
        self.logprob
    }

    /// The text of the event last taken.
    pub fn text(&self) -> &str {
        self.text
            .get(self.taken..self.read)
            .and_then(|b| core::str::from_utf8(b).ok())
            .unwrap_or("")
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Tokens ever emitted.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        *self = Self {
            tokens: self.tokens,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_in_order_with_their_text() {
        let mut o = Outbox::new();
        o.emit(1, "a").unwrap();
        o.emit(-1, "").unwrap();
        o.emit(2, "bc").unwrap();
        assert_eq!((o.take(), o.text()), (Some(1), "a"));
        assert_eq!((o.take(), o.text()), (Some(-1), ""));
        assert_eq!((o.take(), o.text()), (Some(2), "bc"));
        assert_eq!(o.take(), None);
        assert_eq!(o.text(), "bc");
        o.emit(3, "d").unwrap();
        assert_eq!((o.take(), o.text(), o.tokens()), (Some(3), "d", 3));
        // What is said is of the next token, once.
        o.say_logprob(-0.5);
        o.emit(-1, "text").unwrap();
        o.emit(4, "").unwrap();
        o.emit(5, "").unwrap();
        let mut all = [0; 3].map(|_| (o.take(), o.logprob()));
        assert_eq!(
            all,
            [(Some(-1), None), (Some(4), Some(-0.5)), (Some(5), None)]
        );
        for (said, kept) in [
            (f32::NAN, None),
            (1e-7, Some(0.0)),
            (f32::NEG_INFINITY, Some(f32::NEG_INFINITY)),
        ] {
            o.say_logprob(said);
            o.emit(6, "").unwrap();
            all[0] = (o.take(), o.logprob());
            assert_eq!(all[0], (Some(6), kept));
        }
    }

    #[test]
    fn a_flood_is_cut_off() {
        let mut o = Outbox::new();
        let n = (0..10_000).take_while(|_| o.emit(0, "x").is_ok()).count();
        assert_eq!(n, MAX_EVENTS);
        let mut o = Outbox::new();
        let big = "x".repeat(MAX_TEXT_BYTES);
        o.emit(0, &big).unwrap();
        assert!(o.emit(0, "x").is_err());
        let push = |out: &mut Vec<u8>| {
            out.push(b'x');
            Ok(())
        };
        assert!(o.emit_with(0, push).is_err());
        assert_eq!(
            (o.tokens(), o.take(), o.text().len()),
            (1, Some(0), big.len())
        );
    }
}
