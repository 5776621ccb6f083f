//! Budgets of polls: a name for none, and what is left of one.

/// A budget for `realm_session_poll` and `realm_poll_many`: none, run to the next TOKEN or DONE however long that takes. It is 0,
/// so what is left of a frame is computed by `realm_budget_left`.
pub const REALM_BUDGET_UNLIMITED: u64 = 0;

/// What is left of a budget.
///
/// `total_us`: the whole of it, in microseconds.
/// `spent_us`: how much has passed already.
///
/// A frame that has used up its time polls for one slice of work more, and not without limit, which a difference of 0, or one
/// that wraps round, would be.
///
/// **Threads**: any, at any time.
///
/// **Returns** the difference, and 1 where that would be 0 or less.
#[unsafe(no_mangle)]
pub extern "C" fn realm_budget_left(total_us: u64, spent_us: u64) -> u64 {
    total_us.saturating_sub(spent_us).max(1)
}
