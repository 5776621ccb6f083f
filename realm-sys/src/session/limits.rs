//! What a session may take.

/// Bounds of one session. Over a bound the call that wanted more fails, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of the guest, in bytes. Default 16 MiB (the guest that comes with the library
    /// uses under 2).
    pub guest_memory_bytes: u64,
    /// Session buffers, in bytes. Default 256 MiB.
    pub buffer_bytes: u64,
    /// KV pages, in bytes. Default unlimited (`u64::MAX`): the guest's context length bounds it.
    pub kv_bytes: u64,
    /// Scratch memory of a step, in bytes. Default unlimited.
    pub scratch_bytes: u64,
    /// Models that the guest registers itself, in bytes. Default 0: none.
    pub guest_model_bytes: u64,
    /// Fuel for handling one event; about one per executed instruction. Default 4·10⁹, some
    /// seconds.
    pub fuel_per_event: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            guest_memory_bytes: 16 << 20,
            buffer_bytes: 256 << 20,
            kv_bytes: u64::MAX,
            scratch_bytes: u64::MAX,
            guest_model_bytes: 0,
            fuel_per_event: 4_000_000_000,
        }
    }
}
