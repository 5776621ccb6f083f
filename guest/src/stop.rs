//! Stop strings across token boundaries.
//!
//! Text is held back as long as it may be the beginning of a stop string, and no longer: what comes
//! out is exactly the text before the first stop string, whatever the tokens' boundaries.

use alloc::string::String;
use alloc::vec::Vec;

/// Watches the text of a turn for stop strings.
#[derive(Default)]
pub struct Stops {
    stops: Vec<String>,
    text: Vec<u8>,
    shown: usize,
}

impl Stops {
    /// Watches for these; empty strings are ignored.
    pub fn new(mut stops: Vec<String>) -> Self {
        stops.retain(|s| !s.is_empty());
        Self {
            stops,
            ..Self::default()
        }
    }

    /// Watches for these, in a text that begins here; empty strings are ignored.
    pub fn set(&mut self, stops: &[String]) {
        *self = Self::new(stops.to_vec());
    }

    /// The text, for appending to: push to it, then call [`Stops::advance`].
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Whether text passes as it comes: nothing is watched for, so nothing is ever held back.
    pub fn idle(&self) -> bool {
        self.stops.is_empty()
    }

    /// What is held back.
    pub fn held(&self) -> &[u8] {
        self.text.get(self.shown..).unwrap_or_default()
    }

    /// Looks at the held text: how much of its beginning may be shown now, and whether a stop string
    /// follows right behind that. The caller shows it and calls [`Stops::show`].
    pub fn advance(&self) -> (&[u8], bool) {
        let held = self.held();
        let found = self
            .stops
            .iter()
            .filter_map(|s| find(held, s.as_bytes()))
            .min();
        let hold = match found {
            Some(at) => held.len() - at,
            None => {
                let overlaps = self.stops.iter().map(|s| overlap(held, s.as_bytes()));
                overlaps.max().unwrap_or(0)
            }
        };
        let free = held.get(..held.len() - hold).unwrap_or_default();
        (free, found.is_some())
    }

    /// The first `count` bytes of what was held have been shown.
    pub fn show(&mut self, count: usize) {
        self.shown += count;
    }

    /// The text up to what is held back.
    pub fn shown(&self) -> &[u8] {
        self.text.get(..self.shown).unwrap_or_default()
    }

    /// The text is over.
    pub fn clear(&mut self) {
        self.text = Vec::new();
        self.shown = 0;
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
            s.text().extend_from_slice(piece.as_bytes());
            let (free, stopped) = s.advance();
            let free = String::from_utf8(free.to_vec()).unwrap();
            s.show(free.len());
            out.push(free);
            assert_eq!(s.shown(), out.concat().as_bytes());
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
