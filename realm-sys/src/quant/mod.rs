//! The block formats of ggml: tensor types and their sizes, dequantization, and the quantizers that
//! activations and the KV cache need.
//!
//! | file         | types |
//! |--------------|-------|
//! | [`types`]    | [`GgmlType`]: numbers, names, block sizes |
//! | `plain`      | F32, F16, BF16, F64, I8, I16, I32, I64 |
//! | `legacy`     | Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, Q1_0, Q2_0 |
//! | `k`          | Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K |
//! | `iq`         | IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_NL, IQ4_XS (tables in `iq_grids`) |
//! | `ternary`    | TQ1_0, TQ2_0 |
//! | `float4`     | MXFP4, NVFP4 |
//! | [`f16`]      | sixteen-bit floats, without the hardware's help |
//! | [`quantize`] | floats to F32, F16, BF16, Q8_0 |
//!
//! **Exactness.** For every block whose scales are finite, [`dequantize_row`] gives bit for bit what
//! ggml's `dequantize_row_*` and `gguf.quants.dequantize` of its Python package give: the formulas are
//! evaluated in the same order, in single precision, and nothing is fused. Bytes are read as
//! little-endian, whatever the machine. `tests/golden/quant` holds vectors and their generator.
//!
//! **Any bytes are valid.** No kernel has an index, a shift or a size that depends on data beyond
//! what a mask or a type bounds, so hostile weights give strange numbers, never a panic. A NaN or
//! infinite scale makes NaN or infinite elements.
//!
//! **Every type dequantizes**, also Q8_1 and Q8_K, which are ggml's intermediate forms of
//! activations: a GGUF file may legally name them. (ggml itself refuses to dequantize Q8_1.)
//!
//! A kernel takes one block as an array and gives its elements as an array, so lengths are checked
//! once per row and the loops become vector code. [`block_kernel`] hands a kernel out for those who
//! work tile by tile.

pub mod f16;
pub mod float4;
pub mod iq;
mod iq_grids;
mod k;
mod legacy;
mod plain;
pub mod quantize;
mod ternary;
#[cfg(test)]
mod tests;
pub mod types;

pub use quantize::{quantize_row, quantize_row_q8_0};
pub use types::GgmlType;

use crate::{bail, error::Result};

/// Turns a row, or any run of whole blocks, of type `ty` into floats.
///
/// `dst` is a whole number of blocks of elements and `src` exactly their bytes; both may be empty.
/// `src` need not be aligned.
///
/// # Errors
/// `InvalidArgument` if the lengths do not fit one another, `Unsupported` for a type that this build leaves out.
pub fn dequantize_row(ty: GgmlType, src: &[u8], dst: &mut [f32]) -> Result<()> {
    check_built(ty)?;
    check_row(ty, dst.len(), src.len())?;
    block_kernel(ty)(src, dst);
    Ok(())
}

/// The loop behind [`dequantize_row`], for callers that have settled the type and the lengths once
/// for many tiles. It converts as many whole blocks as both slices hold.
pub fn block_kernel(ty: GgmlType) -> fn(&[u8], &mut [f32]) {
    use GgmlType as T;
    match ty {
        T::F32 => |s, d| each(s, d, plain::f32),
        T::F16 => |s, d| each(s, d, plain::f16),
        T::BF16 => |s, d| each(s, d, plain::bf16),
        T::F64 if types::OTHER => |s, d| each(s, d, plain::f64),
        T::I8 if types::OTHER => |s, d| each(s, d, plain::i8),
        T::I16 if types::OTHER => |s, d| each(s, d, plain::i16),
        T::I32 if types::OTHER => |s, d| each(s, d, plain::i32),
        T::I64 if types::OTHER => |s, d| each(s, d, plain::i64),
        T::Q4_0 if types::LEGACY => |s, d| each(s, d, legacy::q4_0),
        T::Q4_1 if types::LEGACY => |s, d| each(s, d, legacy::q4_1),
        T::Q5_0 if types::LEGACY => |s, d| each(s, d, legacy::q5_0),
        T::Q5_1 if types::LEGACY => |s, d| each(s, d, legacy::q5_1),
        T::Q8_0 => |s, d| each(s, d, legacy::q8_0),
        T::Q8_1 if types::OTHER => |s, d| each(s, d, legacy::q8_1),
        T::Q1_0 if types::OTHER => |s, d| each(s, d, legacy::q1_0),
        T::Q2_0 if types::OTHER => |s, d| each(s, d, legacy::q2_0),
        T::Q2_K if types::K => |s, d| each(s, d, k::q2_k),
        T::Q3_K if types::K => |s, d| each(s, d, k::q3_k),
        T::Q4_K if types::K => |s, d| each(s, d, k::q4_k),
        T::Q5_K if types::K => |s, d| each(s, d, k::q5_k),
        T::Q6_K if types::K => |s, d| each(s, d, k::q6_k),
        T::Q8_K if types::OTHER => |s, d| each(s, d, k::q8_k),
        T::IQ2_XXS if types::IQ => |s, d| each(s, d, iq::iq2_xxs),
        T::IQ2_XS if types::IQ => |s, d| each(s, d, iq::iq2_xs),
        T::IQ2_S if types::IQ => |s, d| each(s, d, iq::iq2_s),
        T::IQ3_XXS if types::IQ => |s, d| each(s, d, iq::iq3_xxs),
        T::IQ3_S if types::IQ => |s, d| each(s, d, iq::iq3_s),
        T::IQ1_S if types::IQ => |s, d| each(s, d, iq::iq1_s),
        T::IQ1_M if types::IQ => |s, d| each(s, d, iq::iq1_m),
        T::IQ4_NL if types::IQ => |s, d| each(s, d, iq::iq4_nl),
        T::IQ4_XS if types::IQ => |s, d| each(s, d, iq::iq4_xs),
        T::TQ1_0 if types::OTHER => |s, d| each(s, d, ternary::tq1_0),
        T::TQ2_0 if types::OTHER => |s, d| each(s, d, ternary::tq2_0),
        T::MXFP4 if types::OTHER => |s, d| each(s, d, float4::mxfp4),
        T::NVFP4 if types::OTHER => |s, d| each(s, d, float4::nvfp4),
        // No model is let in that has them.
        _ => |_, d| d.fill(f32::NAN),
    }
}

/// Refuses a type that this build leaves out.
///
/// # Errors
/// `Unsupported`, with the name of the feature.
pub fn check_built(ty: GgmlType) -> Result<()> {
    if let Some(feature) = ty.feature().filter(|_| !ty.is_built()) {
        bail!(
            Unsupported,
            "type {} is not part of this build of the library (its feature {feature})",
            ty.name()
        );
    }
    Ok(())
}

/// Refuses lengths that are not the same whole number of blocks.
fn check_row(ty: GgmlType, elems: usize, bytes: usize) -> Result<()> {
    if ty.row_bytes(elems as u64) != Some(bytes as u64) {
        bail!(
            InvalidArgument,
            "{elems} elements of type {} (blocks of {}) are not {bytes} bytes",
            ty.name(),
            ty.block_len()
        );
    }
    Ok(())
}

/// Runs a kernel over the blocks of both sides.
#[inline]
fn each<const B: usize, const N: usize>(
    src: &[u8],
    dst: &mut [f32],
    kernel: impl Fn(&[u8; B], &mut [f32; N]),
) {
    let (src, _) = src.as_chunks::<B>();
    let (dst, _) = dst.as_chunks_mut::<N>();
    for (b, y) in src.iter().zip(dst) {
        kernel(b, y);
    }
}

/// The half at byte `at` of a block.
#[inline]
#[allow(
    clippy::indexing_slicing,
    reason = "an offset of the layout, constant after inlining"
)]
fn half_at<const B: usize>(b: &[u8; B], at: usize) -> f32 {
    f16::f16_to_f32(u16::from_le_bytes([b[at], b[at + 1]]))
}
