//! AArch64: NEON, NEON with `sdot`, and NEON with `smmla`.
//!
//! | file     | what |
//! |----------|------|
//! | `dot`    | dot products of bytes at each level; instructions without stable intrinsics |
//! | `tiles`  | how a product is cut, and where results go |
//! | `q8x32`  | products of weights in blocks of 32 |
//! | `q8x256` | products of weights in super-blocks of 256 |
//! | `float`  | products of weights that are floats, or dequantized to floats |
//! | `lanes`  | sixteen floats, of which attention is made |
//!
//! Prepared rows are the reference's. Little-endian targets with NEON in their baseline only,
//! which are all but the soft-float and big-endian ones.

#![allow(
    clippy::indexing_slicing,
    reason = "arrays of registers, whose indices are constants once loops are unrolled"
)]

use super::isa::Isa;
use super::kernels::{Kernels, Product};
use super::lanes::attention;
use super::scalar;
use crate::graph::kernels::matmul::{ActKind, act_kind, act_row_bytes};
use core::ops::Range;

mod dot;
mod float;
mod lanes;
mod q8x256;
mod q8x32;
mod tiles;

/// The table of the baseline.
pub const NEON: Kernels = table::<dot::Baseline>(Isa::Neon);
/// The table of `sdot`.
pub const DOT: Kernels = table::<dot::Sdot>(Isa::NeonDot);
/// The table of `smmla`.
pub const I8MM: Kernels = table::<dot::Smmla>(Isa::NeonI8mm);

const fn table<D: dot::Dot>(isa: Isa) -> Kernels {
    Kernels {
        isa,
        act_row_bytes,
        prepare_act: scalar::prepare_act,
        product_scratch_bytes: |_, _, _| 0,
        product: product::<D>,
        // Through the lanes some Q8_0 scales come out otherwise than the reference's.
        append: scalar::append,
        attend_scratch_bytes: attention::scratch_bytes,
        attend: attention::attend::<lanes::Four>,
    }
}

unsafe fn product<D: dot::Dot>(p: &Product<'_>, rows: Range<usize>, _: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match act_kind(p.ty) {
            ActKind::F32 => float::product(p, rows),
            ActKind::Q8x32 => q8x32::product::<D>(p, rows),
            ActKind::Q8x256 => q8x256::product::<D>(p, rows),
        }
    }
}
