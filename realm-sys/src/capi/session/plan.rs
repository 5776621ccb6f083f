//! What a session will hold, before it is opened.

use super::super::error::{realm_error, realm_status};
use super::super::runtime::realm_runtime;
use super::super::{null, read_struct, write_struct};
use super::{realm_session_options, with_options};
use crate::session::{Options, Session};
use core::mem::{offset_of, size_of};

/// What a session will hold, in bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_memory_plan {
    /// Size of the caller's struct in bytes. Set by `REALM_MEMORY_PLAN_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_MEMORY_PLAN_INIT`.
    pub abi_version: u32,
    /// Linear memory of the guest when the session has been opened. Turns may let it grow.
    pub guest_linear_memory_bytes: u64,
    /// The most that it may grow to: `max_guest_memory_bytes`.
    pub guest_linear_memory_limit: u64,
    /// Session buffers.
    pub buffer_bytes: u64,
    /// Scratch memory of a step.
    pub scratch_bytes: u64,
    /// KV cache with as many positions as were asked about.
    pub kv_bytes: u64,
    /// What 64 positions more of KV cache take; it grows by so much.
    pub kv_page_bytes: u64,
    /// The sum of limit, buffers, scratch and KV: what the session can come to.
    pub total_bytes: u64,
    /// Most positions (tokens in the context).
    pub max_positions: u32,
    /// 0.
    pub reserved: u32,
}

const PLAN_MIN: usize = offset_of!(realm_memory_plan, reserved) + size_of::<u32>();

/// Says what a session that is opened with these options will hold, without making it: `realm_session_get_stats` will show
/// the same buffers, scratch and KV cache, to the byte, as long as no parameter changes in between or later.
///
/// The guest does what it does when a session is opened, in the call, and the backend prepares its programs, for which a device
/// may need memory meanwhile. Not counted: while a turn begins, and a parameter is set, a copy of the guest's linear memory as it was
/// before and up to 1 MiB of its buffers, so that what fails can be taken back, which takes another copy for a moment (not in firmware,
/// where such a failure ends the session); some hundred KiB of the library's own objects, the loaded guest, the model and its
/// vocabulary, which sessions share.
///
/// `options`: as for `realm_session_open`.
/// `positions`: tokens in the context; more than there may be count as that many. `UINT32_MAX`: as many as there may be.
/// `plan`: its `struct_size` and `abi_version` are set.
///
/// **Threads**: any.
///
/// **Returns** what `realm_session_open` would: `LIMIT` where a limit of the options is too small, for instance, but for the KV
/// cache, which is not there when a session has been opened.
///
/// # Safety
/// As for `realm_session_open`; `plan` is a struct as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realm_plan(
    runtime: *mut realm_runtime,
    model_id: u32,
    options: *const realm_session_options,
    positions: u32,
    plan: *mut realm_memory_plan,
    error: *mut realm_error,
) -> realm_status {
    let body = |options: Options| {
        if plan.is_null() {
            return Err(null("plan"));
        }
        // Checked before there is work to do.
        // SAFETY: the caller's promise.
        unsafe { read_struct(plan.cast_const(), "realm_memory_plan", PLAN_MIN) }?;
        let p = Session::plan(options, positions)?;
        let value = realm_memory_plan {
            struct_size: 0,
            abi_version: 0,
            guest_linear_memory_bytes: p.guest_linear_memory_bytes,
            guest_linear_memory_limit: p.guest_linear_memory_limit,
            buffer_bytes: p.buffer_bytes,
            scratch_bytes: p.scratch_bytes,
            kv_bytes: p.kv_bytes,
            kv_page_bytes: p.kv_page_bytes,
            total_bytes: p
                .guest_linear_memory_limit
                .saturating_add(p.buffer_bytes)
                .saturating_add(p.scratch_bytes)
                .saturating_add(p.kv_bytes),
            max_positions: p.max_positions,
            reserved: 0,
        };
        // SAFETY: the caller's promise.
        unsafe { write_struct(plan, "realm_memory_plan", PLAN_MIN, &value) }
    };
    // SAFETY: the caller's promise.
    unsafe { with_options(runtime, model_id, options, error, body) }
}
