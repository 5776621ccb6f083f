//! The level that is always there: the reference's kernels behind the port's table.

use super::isa::Isa;
use super::kernels::{Attention, Kernels, Product};
use crate::graph::kernels::attention::{Attend, KvLayout, attend_row, kv_append_head};
use crate::graph::kernels::matmul::{self, ActKind, MulMat, act_kind, act_row_bytes};
use core::ops::Range;
use core::slice::{from_raw_parts, from_raw_parts_mut};

/// The table.
pub const KERNELS: Kernels = Kernels {
    isa: Isa::Scalar,
    act_row_bytes,
    prepare_act,
    product_scratch_bytes: |_, _, _| 0,
    product,
    append,
    attend_scratch_bytes: |_, _, _| 0,
    attend,
};

/// # Safety
/// As the slot.
pub unsafe fn prepare_act(kind: ActKind, x: &[f32], dst: *mut u8) {
    // SAFETY: the caller's promise.
    let dst = unsafe { from_raw_parts_mut(dst, act_row_bytes(kind, x.len())) };
    matmul::prepare_act(kind, x, dst);
}

/// # Safety
/// As the slot.
pub unsafe fn product(p: &Product<'_>, rows: Range<usize>, _: *mut u8) {
    let bytes = act_row_bytes(act_kind(p.ty), p.k);
    let mut rest = (p.act, p.dst);
    while let ((&[act, ..], &[dst, ..]), n) = (rest, evenly(rest.0, rest.1, bytes)) {
        // SAFETY: the caller's promise; `evenly` found this many rows one behind the other.
        unsafe {
            let args = MulMat {
                ty: p.ty,
                w: p.w,
                k: p.k,
                m: p.m,
                act: from_raw_parts(act, bytes * n),
                n_tok: n,
                bias: p.bias,
                dst,
                dst_stride: match rest.1.get(1) {
                    Some(&next) if n > 1 => next.offset_from(dst) as usize,
                    _ => 0,
                },
            };
            matmul::mul_mat(&args, rows.clone());
        }
        rest = (
            rest.0.get(n..).unwrap_or(&[]),
            rest.1.get(n..).unwrap_or(&[]),
        );
    }
}

/// How many rows from the first on lie one behind the other.
fn evenly(act: &[*const u8], dst: &[*mut f32], bytes: usize) -> usize {
    let stride = match dst {
        [a, b, ..] => (*b as usize).wrapping_sub(*a as usize),
        _ => return dst.len(),
    };
    let next = |(a, d): (&[*const u8], &[*mut f32])| {
        matches!((a, d), ([a0, a1], [d0, d1])
            if (*a1 as usize).wrapping_sub(*a0 as usize) == bytes
                && (*d1 as usize).wrapping_sub(*d0 as usize) == stride && stride < isize::MAX as usize)
    };
    1 + act
        .windows(2)
        .zip(dst.windows(2))
        .take_while(|&w| next(w))
        .count()
}

/// # Safety
/// As the slot.
pub unsafe fn attend(a: &Attention<'_>, rows: Range<usize>, heads: Range<usize>, _: *mut u8) {
    let (dk, dv) = a.layout.head_dims();
    let group = a.n_head / a.layout.n_head_kv().max(1);
    let heads = heads.start * group..heads.end * group;
    for i in rows {
        let position = a.all.unwrap_or(a.first + i as u32);
        let args = Attend {
            layout: a.layout,
            n_head: a.n_head,
            scale: a.scale,
            window: a.window,
            softcap: a.softcap,
            sinks: a.sinks,
            pages: a.pages,
            offset: a.offset,
        };
        // SAFETY: the caller's promise.
        unsafe {
            let q = from_raw_parts(a.q.add(i * a.n_head * dk), a.n_head * dk);
            let dst = a.dst.add((i * a.n_head + heads.start) * dv);
            attend_row(
                &args,
                position,
                q,
                heads.clone(),
                from_raw_parts_mut(dst, heads.len() * dv),
            );
        }
    }
}

/// # Safety
/// As the slot.
#[allow(clippy::too_many_arguments, reason = "the slot's")]
pub unsafe fn append(
    layout: &KvLayout,
    page: *mut u8,
    slots: Range<usize>,
    k: *const f32,
    k_stride: usize,
    v: *const f32,
    v_stride: usize,
    head: usize,
) {
    let (dk, dv) = layout.head_dims();
    let (keys, values) = layout.head_parts(head);
    // SAFETY: the caller's promise: the head's parts are this thread's.
    let (keys, values) = unsafe {
        (
            from_raw_parts_mut(page.add(keys.start), keys.len()),
            from_raw_parts_mut(page.add(values.start), values.len()),
        )
    };
    for (i, slot) in slots.enumerate() {
        // SAFETY: as above.
        let (k, v) = unsafe {
            (
                from_raw_parts(k.add(i * k_stride), dk),
                from_raw_parts(v.add(i * v_stride), dv),
            )
        };
        kv_append_head(layout, keys, values, slot, k, v);
    }
}
