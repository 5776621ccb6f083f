//! A session's parameters: names and values that the host sets and the guest reads.
//!
//! The core gives them no meaning; `guest/README.md` lists those of the guest that comes with the
//! library.

use crate::bail;
use crate::err;
use crate::error::{Result, Short, try_vec};
use alloc::string::String;
use alloc::vec::Vec;

/// Longest name, in bytes.
pub const MAX_KEY_BYTES: usize = 64;
/// Longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// Parameters of a session.
pub const MAX_PARAMS: usize = 128;

/// Names with values, in the order in which they were first set.
#[derive(Default)]
pub struct Params(Vec<(String, String)>);

/// What a change was from.
pub enum Before {
    /// Nothing changed.
    Same,
    /// The entry there was not.
    Added(usize),
    /// The entry had this value.
    Replaced(usize, String),
    /// This entry was there.
    Removed(usize, (String, String)),
}

fn copy(text: &str) -> Result<String> {
    let mut s = String::new();
    s.try_reserve_exact(text.len()).map_err(|_| {
        err!(
            NoMemory,
            "no memory for a parameter of {} bytes",
            text.len()
        )
    })?;
    s.push_str(text);
    Ok(s)
}

impl Params {
    /// None set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a parameter, in place of an earlier value.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name, `Limit`, `NoMemory`; nothing has changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        if key.is_empty() {
            bail!(InvalidArgument, "a parameter needs a name");
        }
        if key.len() > MAX_KEY_BYTES || value.len() > MAX_VALUE_BYTES {
            bail!(
                Limit,
                "parameter '{}': its name has {} bytes, its value {}; up to {MAX_KEY_BYTES} and {MAX_VALUE_BYTES} are possible",
                Short(key),
                key.len(),
                value.len()
            );
        }
        let value = copy(value)?;
        if let Some(present) = self.0.iter_mut().find(|p| p.0 == key) {
            present.1 = value;
            return Ok(());
        }
        if self.0.len() >= MAX_PARAMS {
            bail!(Limit, "a session has up to {MAX_PARAMS} parameters");
        }
        self.0
            .try_reserve(1)
            .map_err(|_| err!(NoMemory, "no memory for a parameter"))?;
        self.0.push((copy(key)?, value));
        Ok(())
    }

    /// Sets a parameter, or forgets it with `None`; it may be one that was never set. Gives what undoes that.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub fn set_or_unset(&mut self, key: &str, value: Option<&str>) -> Result<Before> {
        let at = self.0.iter().position(|p| p.0 == key);
        let Some(value) = value else {
            return Ok(at.map_or(Before::Same, |at| Before::Removed(at, self.0.remove(at))));
        };
        let old = match at.and_then(|at| self.0.get(at)) {
            Some(present) => Some(copy(&present.1)?),
            None => None,
        };
        self.set(key, value)?;
        let at = at.unwrap_or(self.0.len().saturating_sub(1));
        Ok(old.map_or(Before::Added(at), |old| Before::Replaced(at, old)))
    }

    /// Takes back what [`set_or_unset`](Self::set_or_unset) did last. It needs no memory.
    pub fn undo(&mut self, before: Before) {
        match before {
            Before::Same => {}
            Before::Added(at) => self.0.truncate(at),
            Before::Replaced(at, old) => {
                if let Some(present) = self.0.get_mut(at) {
                    present.1 = old;
                }
            }
            // There is room: it was there before.
            Before::Removed(at, entry) => self.0.insert(at.min(self.0.len()), entry),
        }
    }

    /// A copy.
    ///
    /// # Errors
    /// `NoMemory`.
    pub fn try_clone(&self) -> Result<Self> {
        let mut to = Self(try_vec(self.0.len(), "parameters")?);
        for (key, value) in self.iter() {
            to.0.push((copy(key)?, copy(value)?));
        }
        Ok(to)
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|p| (p.0.as_str(), p.1.as_str()))
    }

    /// The value of a parameter.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|p| p.0 == key).map(|p| p.1.as_str())
    }

    /// The name of the `i`-th parameter that is set.
    pub fn key(&self, i: usize) -> Option<&str> {
        self.0.get(i).map(|p| p.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_replace_and_limits_hold() {
        let mut p = Params::new();
        p.set("temp", "0").unwrap();
        p.set("seed", "1").unwrap();
        p.set("temp", "0.7").unwrap();
        assert_eq!(
            (p.get("temp"), p.key(0), p.key(2)),
            (Some("0.7"), Some("temp"), None)
        );
        // Every change can be taken back, order and all.
        for (key, value) in [
            ("temp", Some("9")),
            ("temp", None),
            ("top_k", Some("1")),
            ("none", None),
        ] {
            let before = p.set_or_unset(key, value).unwrap();
            assert_eq!(p.get(key), value);
            p.undo(before);
            let all: std::vec::Vec<_> = p.iter().collect();
            assert_eq!(all, [("temp", "0.7"), ("seed", "1")]);
        }
        p.set_or_unset("temp", None).unwrap();
        assert_eq!((p.get("temp"), p.key(0)), (None, Some("seed")));
        assert!(p.set("", "x").is_err());
        assert!(p.set(&"k".repeat(65), "x").is_err());
        for i in 0..MAX_PARAMS - 1 {
            p.set(&std::format!("p{i}"), "").unwrap();
        }
        assert!(p.set("one more", "").is_err());
        p.set("seed", "still replaces").unwrap();
    }
}
