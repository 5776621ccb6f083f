//! Models larger than the device: which weights are put there, and which stay where they are, whose products the core then leaves to the
//! reference.
//!
//! Weights go to the device in the order in which a program uses them, as long as there is room beside what its session needs; a later program finds those of
//! an earlier one there. Caches and attention are the device's in any case, so that activations are all that goes back and forth.

use super::Gpu;
use super::weights;
use crate::backend::table::{realm_op, realm_program, realm_weight};
use crate::graph::exec::Bound;
use crate::graph::op::Operand;
use crate::quant::GgmlType;
use alloc::collections::BTreeMap;

/// Of what is free, one part in so many is for operations' records and workspaces.
const ASIDE: u64 = 32;

impl Gpu {
    /// Whether the weights of an operation are on the device or have room there.
    ///
    /// # Safety
    /// `program` is whole.
    pub unsafe fn has_room(&self, program: *const realm_program, op: u32) -> bool {
        let Some(free) = self.device.free_bytes() else {
            return true;
        };
        // SAFETY: the caller's promise.
        let (bound, program) = unsafe { (Bound::program(program), &*program) };
        let needs =
            cache_bytes(&bound, program.kv_layer_count).saturating_add(program.scratch_bytes);
        let mut room = (free - free / ASIDE).saturating_sub(needs);
        let mut there = BTreeMap::new();
        let mut fits = true;
        for op in bound.ops.iter().take(op as usize + 1) {
            fits = weights_of(op).all(|index| {
                let Some(w) = bound.weight(Operand::Weight(index)) else {
                    return true;
                };
                *there.entry(index).or_insert_with(|| {
                    let rest = room.checked_sub(self.missing(w));
                    room = rest.unwrap_or(room);
                    rest.is_some()
                })
            });
        }
        fits
    }

    /// Bytes that a weight would take, if it is not there yet.
    fn missing(&self, w: &realm_weight) -> u64 {
        match self.weights.is_there(w) {
            true => 0,
            false => GgmlType::from_id(w.r#type).map_or(w.bytes, |ty| weights::device_bytes(ty, w)),
        }
    }
}

fn weights_of(op: &realm_op) -> impl Iterator<Item = u32> {
    op.src.iter().filter_map(|&bits| match Operand::of(bits) {
        Operand::Weight(i) => Some(i),
        _ => None,
    })
}

/// What all layers' caches can grow to, about: scales of rows are left out.
fn cache_bytes(bound: &Bound<'_>, layers: u32) -> u64 {
    let layers = (0..layers).filter_map(|i| bound.kv_layer(Operand::Kv(i)));
    layers
        .map(|l| {
            let row = u64::from(l.n_head_kv) * (u64::from(l.head_dim_k) + u64::from(l.head_dim_v));
            let bits = GgmlType::from_id(l.r#type)
                .map_or(32, |ty| 8 * ty.block_bytes() as u64 / ty.block_len() as u64);
            u64::from(l.max_positions) * row * bits / 8
        })
        .sum()
}
