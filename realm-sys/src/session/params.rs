//! A session's parameters: names and values that the host sets and the guest reads.
//!
//! The core gives them no meaning; `guest/README.md` lists those of the guest that comes with the
//! library.

use crate::bail;
use crate::err;
use crate::error::{Result, try_vec};
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
                "parameter '{key}': names have up to {MAX_KEY_BYTES} bytes, values up to {MAX_VALUE_BYTES}"
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

    /// Forgets a parameter; it may be one that was never set.
    pub fn unset(&mut self, key: &str) {
        self.0.retain(|p| p.0 != key);
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
        p.unset("temp");
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
