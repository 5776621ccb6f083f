//! What a session has cost.

/// Counters and sizes; times are 0 without a platform clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Linear memory of the guest, in bytes.
    pub guest_linear_memory_bytes: u64,
    /// KV pages held, in bytes.
    pub kv_bytes: u64,
    /// Scratch memory held, in bytes.
    pub scratch_bytes: u64,
    /// Session buffers, in bytes.
    pub buffer_bytes: u64,
    /// Tokens of all turns' inputs, as the guest reported them by `realm_progress`.
    pub prompt_tokens: u64,
    /// Tokens emitted.
    pub generated_tokens: u64,
    /// Those of them that were not the first of their turn: what `decode_ns` was spent on.
    pub decode_tokens: u64,
    /// Time inside the guest, imports included and steps not.
    pub guest_ns: u64,
    /// The part of it in events that began after the first token of their turn.
    pub guest_decode_ns: u64,
    /// Events the guest has handled.
    pub guest_events: u64,
    /// Time in the backend.
    pub step_ns: u64,
    /// Guest and backend time from the beginning of a turn to its first token.
    pub prefill_ns: u64,
    /// Guest and backend time after it.
    pub decode_ns: u64,
    /// Operations that ran on the reference kernels because the backend has none for them.
    pub fallback_ops: u64,
}
