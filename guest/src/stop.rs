//! Stop strings across token boundaries.
//!
//! Text is held back as long as it may be the beginning of a stop string, and no longer: what comes
//! out is exactly the text before the first stop string, whatever the tokens' boundaries.

use alloc::string::String;
use alloc::vec::Vec;

/// Watches a stream of text for stop strings.
#[derive(Default)]
pub struct Stops {
    stops: Vec<String>,
    held: Vec<u8>,
    /// Bytes shown since the beginning.
    total: usize,
}

impl Stops {
    /// Watches for these; empty strings are ignored.
    pub fn set(&mut self, stops: &[String]) {
        self.stops = stops.iter().filter(|s| !s.is_empty()).cloned().collect();
        self.held.clear();
        self.total = 0;
    }

    /// The text that is held back, for appending to: push to it, then call [`Stops::advance`].
    pub fn held(&mut self) -> &mut Vec<u8> {
        &mut self.held
    }

    /// Whether text passes as it comes: nothing is watched for, so nothing is ever held back.
    pub fn idle(&self) -> bool {
        self.stops.is_empty()
    }

    /// Looks at the held text: how much of its beginning may be shown now, and whether a stop string
    /// follows right behind that. The caller shows it and calls [`Stops::shown`].
    pub fn advance(&self) -> (usize, bool) {
        let held = self.held.as_slice();
        let found = self
            .stops
            .iter()
            .filter_map(|s| find(held, s.as_bytes()))
            .min();
        if let Some(at) = found {
            return (at, true);
        }
        let hold = self
            .stops
            .iter()
            .map(|s| overlap(held, s.as_bytes()))
            .max()
            .unwrap_or(0);
        (held.len() - hold, false)
    }

    /// Drops the first `count` bytes, which have been shown.
    pub fn shown(&mut self, count: usize) {
        let count = count.min(self.held.len());
        self.held.drain(..count);
        self.total += count;
    }

    /// How many bytes have been shown since [`Stops::set`].
    pub fn total(&self) -> usize {
        self.total
    }

    /// Drops everything held.
    pub fn clear(&mut self) {
        self.held.clear();
    }
}

/// Where `needle` begins in `text`.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|w| w == needle)
}

/// The longest proper prefix of `stop` that `text` ends with.
fn overlap(text: &[u8], stop: &[u8]) -> usize {
    let longest = text.len().min(stop.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|n| stop.get(..*n).is_some_and(|p| text.ends_with(p)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds pieces; returns what was shown, per piece, and whether it stopped.
    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut s = Stops::default();
        s.set(&stops.iter().map(|s| String::from(*s)).collect::<Vec<_>>());
        let mut out = Vec::new();
        for piece in pieces {
            s.held().extend_from_slice(piece.as_bytes());
            let (n, stopped) = s.advance();
            out.push(String::from_utf8(s.held()[..n].to_vec()).unwrap());
            s.shown(n);
            if stopped {
                return (out, true);
            }
        }
        (out, false)
    }

    #[test]
    fn holds_back_only_what_may_stop() {
        assert_eq!(
            run(&["END"], &["a", "bE", "N", "x"]).0,
            ["a", "b", "", "ENx"]
        );
        assert_eq!(
            run(&["END"], &["aE", "EN", "D!"]),
            (["a", "E", ""].map(String::from).to_vec(), true)
        );
        assert_eq!(
            run(&[], &["a", "b"]),
            (["a", "b"].map(String::from).to_vec(), false)
        );
        assert_eq!(
            run(&["bc", "abcd"], &["xab", "c"]),
            (["x", "a"].map(String::from).to_vec(), true)
        );
        assert_eq!(run(&["\n\n"], &["a\n", "b\n\nc"]).0, ["a", "\nb"]);
        assert_eq!(
            run(&["é"], &["aé"]),
            (["a"].map(String::from).to_vec(), true)
        );
    }
}
