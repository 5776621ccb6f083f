//! How tables hash their keys: as hashbrown does, or on a microcontroller in a few instructions, because hashbrown's way takes
//! two kilobytes of flash.
//!
//! Neither resists keys that were chosen to collide, where there is no randomness to begin with: a model whose tokens do is
//! slow to register.

#[cfg(not(target_os = "none"))]
pub use hashbrown::DefaultHashBuilder as State;

#[cfg(target_os = "none")]
pub use small::State;

/// A map with that hasher.
pub type HashMap<K, V> = hashbrown::HashMap<K, V, State>;

#[cfg(any(test, target_os = "none"))]
mod small {
    use core::hash::{BuildHasherDefault, Hasher};

    /// Makes hashers.
    #[cfg_attr(test, allow(dead_code, reason = "tables of tests hash as on a host"))]
    pub type State = BuildHasherDefault<Fnv>;

    /// FNV-1a with 32 bits. Tables look at the lowest and at the highest bits, so that it is used twice.
    pub struct Fnv(u32);

    impl Default for Fnv {
        fn default() -> Self {
            Self(0x811c_9dc5)
        }
    }

    impl Hasher for Fnv {
        fn write(&mut self, bytes: &[u8]) {
            for &b in bytes {
                self.0 = (self.0 ^ u32::from(b)).wrapping_mul(0x0100_0193);
            }
        }

        fn finish(&self) -> u64 {
            u64::from(self.0) << 32 | u64::from(self.0)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn it_is_fnv_1a() {
            let hash = |text: &str| {
                let mut h = Fnv::default();
                h.write(text.as_bytes());
                h.finish() as u32
            };
            // Of the table that its authors publish.
            assert_eq!(hash(""), 0x811c_9dc5);
            assert_eq!(hash("a"), 0xe40c_292c);
            assert_eq!(hash("foobar"), 0xbf9c_f968);
        }
    }
}
