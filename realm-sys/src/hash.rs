//! How tables hash their keys: as hashbrown does, or on a microcontroller in a few instructions, because hashbrown's way takes
//! two kilobytes of flash.
//!
//! Neither promises anything for keys that were chosen to collide. The small one has no secret at all, and 32 bits: whoever
//! writes a model can find tokens that share a bucket, and the time that registering it takes then grows with the square of
//! their number. For keys that nobody chose it spreads well.

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

    /// FNV-1a with 32 bits, and a last mix, without which the lowest bits would be made of the keys' lowest bits only. Tables
    /// look at the lowest and at the highest bits, so that it is used twice.
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
            let mixed = (self.0 ^ self.0 >> 15).wrapping_mul(0x9e37_79b9);
            let mixed = u64::from(mixed ^ mixed >> 16);
            mixed << 32 | mixed
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
                h.0
            };
            // Of the table that its authors publish.
            assert_eq!(hash(""), 0x811c_9dc5);
            assert_eq!(hash("a"), 0xe40c_292c);
            assert_eq!(hash("foobar"), 0xbf9c_f968);
        }

        #[test]
        fn what_differs_in_high_bits_is_spread() {
            // Keys that differ in the highest bits of their bytes only, by the lowest and the highest bits of the hash.
            let mut buckets = [[false; 128]; 2];
            for key in 0..256_u32 {
                let mut h = Fnv::default();
                h.write(&core::array::from_fn::<u8, 8, _>(|i| {
                    ((key >> i & 1) << 7) as u8
                }));
                let hash = h.finish();
                buckets[0][(hash & 127) as usize] = true;
                buckets[1][(hash >> 57) as usize] = true;
            }
            // By chance it would be 111 of 128.
            for used in buckets.map(|b| b.iter().filter(|used| **used).count()) {
                assert!(used > 80, "{used} buckets");
            }
        }
    }
}
