//! AVX2 with FMA and F16C, and the same with AVX-VNNI.
//!
//! | file     | what |
//! |----------|------|
//! | `step`   | the multiply-accumulate step, with and without AVX-VNNI; folding of vectors |
//! | `act`    | prepared activations |
//! | `tile`   | the loops over rows that both block families share |
//! | `q8x32`  | weights in blocks of 32 |
//! | `q8x256` | weights in super-blocks of 256 |
//! | `float`  | weights that are floats |
//! | `lanes`  | sixteen floats, of which attention and append are made |
//!
//! Weights that are dequantized to floats are still the reference's kernels, which are compiled for AVX2. AVX-VNNI's encoding of the step has not been executed by its authors: `tests` runs the same code with
//! AVX-512's encoding of the same instruction.

#![allow(
    clippy::indexing_slicing,
    reason = "arrays of registers, indexed by loops over their lengths"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "loops over several arrays of registers at once"
)]

use super::isa::Isa;
use super::kernels::{Kernels, Product};
use super::lanes::{append::append, attention};
use super::scalar;
use crate::graph::kernels::matmul::{ActKind, act_kind};
use crate::quant::GgmlType;
use core::marker::PhantomData;
use core::ops::Range;
use step::{Madd, Step, Vnni};
use tile::{Run, Weights};

mod act;
mod float;
mod lanes;
mod q8x256;
mod q8x32;
mod step;
#[cfg(test)]
mod tests;
mod tile;

/// The table of AVX2.
pub const KERNELS: Kernels = table::<Madd>(Isa::Avx2);
/// The table of AVX-VNNI.
pub const KERNELS_VNNI: Kernels = table::<Vnni>(Isa::AvxVnni);

const fn table<S: Step>(isa: Isa) -> Kernels {
    Kernels {
        isa,
        act_row_bytes: act::row_bytes,
        prepare_act: act::prepare,
        product_scratch_bytes,
        product: product::<S>,
        append: append::<lanes::Two>,
        attend_scratch_bytes: attention::scratch_bytes,
        attend: attention::attend::<lanes::Two>,
    }
}

fn product_scratch_bytes(ty: GgmlType, _: usize, tokens: usize) -> usize {
    match act_kind(ty) {
        ActKind::F32 => 0,
        ActKind::Q8x32 | ActKind::Q8x256 => tile::scratch_bytes(tokens),
    }
}

unsafe fn product<S: Step>(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    unsafe fn run<S: Step, W: Weights>(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { S::enter(Run::<W>(p, rows, scratch, PhantomData)) }
    }
    use GgmlType as T;
    use q8x32::Of;
    if rows.is_empty() || p.act.is_empty() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        match p.ty {
            T::Q4_0 => run::<S, Of<q8x32::Q4_0>>(p, rows, scratch),
            T::Q4_1 => run::<S, Of<q8x32::Q4_1>>(p, rows, scratch),
            T::Q5_0 => run::<S, Of<q8x32::Q5_0>>(p, rows, scratch),
            T::Q5_1 => run::<S, Of<q8x32::Q5_1>>(p, rows, scratch),
            T::Q8_0 => run::<S, Of<q8x32::Q8_0>>(p, rows, scratch),
            T::IQ4_NL => run::<S, Of<q8x32::Iq4Nl>>(p, rows, scratch),
            T::MXFP4 => run::<S, Of<q8x32::Mxfp4>>(p, rows, scratch),
            T::Q2_K => run::<S, q8x256::Of<q8x256::Q2K>>(p, rows, scratch),
            T::Q3_K => run::<S, q8x256::Of<q8x256::Q3K>>(p, rows, scratch),
            T::Q4_K => run::<S, q8x256::Of<q8x256::Q4K>>(p, rows, scratch),
            T::Q5_K => run::<S, q8x256::Of<q8x256::Q5K>>(p, rows, scratch),
            T::Q6_K => run::<S, q8x256::Of<q8x256::Q6K>>(p, rows, scratch),
            T::IQ4_XS => run::<S, q8x256::Of<q8x256::Iq4Xs>>(p, rows, scratch),
            T::F32 => S::enter(float::Run::<float::F32>(p, rows, PhantomData)),
            T::F16 => S::enter(float::Run::<float::F16>(p, rows, PhantomData)),
            T::BF16 => S::enter(float::Run::<float::Bf16>(p, rows, PhantomData)),
            _ => scalar::product(p, rows, scratch),
        }
    }
}
