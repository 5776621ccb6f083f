//! From floats to the types that activations and the KV cache are kept in.
//!
//! Like everything that rounds, this gives the same bits on every machine. For finite input they are
//! ggml's bits: those of its `quantize_row_q8_0_ref`, `ggml_fp32_to_fp16_row` and
//! `ggml_fp32_to_bf16_row`.

use super::{GgmlType, check_row, f16};
use crate::{bail, error::Result};

/// Stores a row of floats as `ty`, one of F32, F16, BF16 and Q8_0, little-endian.
///
/// `src` is a whole number of blocks and `dst` exactly their bytes.
///
/// # Errors
/// `InvalidArgument` if the lengths do not fit one another, `Unsupported` for other types.
pub fn quantize_row(ty: GgmlType, src: &[f32], dst: &mut [u8]) -> Result<()> {
    check_row(ty, src.len(), dst.len())?;
    match ty {
        GgmlType::F32 => each(src, dst, |&[x], y| *y = x.to_le_bytes()),
        GgmlType::F16 => each(src, dst, |&[x], y| *y = f16::f32_to_f16(x).to_le_bytes()),
        GgmlType::BF16 => each(src, dst, |&[x], y| *y = f16::f32_to_bf16(x).to_le_bytes()),
        GgmlType::Q8_0 => each(src, dst, q8_0),
        _ => bail!(Unsupported, "no quantizer for the type {}", ty.name()),
    }
    Ok(())
}

/// Stores a row of floats as blocks of Q8_0: per 32 elements, a half `d` and 32 signed bytes.
///
/// `d` is the largest magnitude over 127; elements are rounded to nearest, halves away from zero.
/// The bytes are in -127..=127 whatever the input. An element that is a NaN, or that is infinite,
/// becomes 0; with an infinite element, or one beyond what a half can scale (127 * 65504), `d` is
/// infinite, so that reading the block back gives no finite number: the overflow is not hidden.
///
/// # Errors
/// `InvalidArgument` unless `src` is a whole number of blocks and `dst` exactly their bytes.
pub fn quantize_row_q8_0(src: &[f32], dst: &mut [u8]) -> Result<()> {
    quantize_row(GgmlType::Q8_0, src, dst)
}

/// Runs `f` over the blocks of both sides, whose lengths have been checked.
#[inline]
fn each<const N: usize, const B: usize>(
    src: &[f32],
    dst: &mut [u8],
    f: impl Fn(&[f32; N], &mut [u8; B]),
) {
    let (src, _) = src.as_chunks::<N>();
    let (dst, _) = dst.as_chunks_mut::<B>();
    for (x, y) in src.iter().zip(dst) {
        f(x, y);
    }
}

fn q8_0(x: &[f32; 32], y: &mut [u8; 34]) {
    let [d0, d1, quants @ ..] = y;
    // In eight lanes: the largest is the same in any order, and a comparison is false for a NaN.
    let mut lanes = [0.0f32; 8];
    for x in x.as_chunks::<8>().0 {
        for (lane, x) in lanes.iter_mut().zip(x) {
            let a = f32::from_bits(x.to_bits() & 0x7fff_ffff);
            *lane = if a > *lane { a } else { *lane };
        }
    }
    let largest = lanes.iter().fold(0.0, |m, &a| if a > m { a } else { m });

    let d = largest / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    [*d0, *d1] = f16::f32_to_f16(d).to_le_bytes();
    for (q, x) in quants.iter_mut().zip(x) {
        *q = round_i8(x * inverse) as u8;
    }
}

/// The nearest integer, halves away from zero, within -127..=127; 0 for a NaN.
#[inline]
fn round_i8(v: f32) -> i8 {
    /// Floats from here on are integers, with the last place in the lowest bit.
    const INTEGERS: f32 = 8_388_608.0;
    const LIMIT: u32 = 127.0f32.to_bits();
    // The bits of magnitudes are in the order of the magnitudes, infinity and then NaN last.
    let magnitude = v.to_bits() & 0x7fff_ffff;
    let clamped = if magnitude > LIMIT { LIMIT } else { magnitude };
    let a = f32::from_bits(if magnitude > 255 << 23 { 0 } else { clamped });
    // The sum rounds halves to even; a half that was rounded down is 0.5 more than the result.
    let shifted = a + INTEGERS;
    let down = a - (shifted - INTEGERS) == 0.5;
    let rounded = (shifted.to_bits() & 0xff) as i32 + i32::from(down);
    (if v < 0.0 { -rounded } else { rounded }) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_roundf_within_the_range() {
        let mut v = -130.0f32;
        while v < 130.0 {
            for v in [v.next_down(), v, v.next_up()] {
                let want = libm::roundf(v).clamp(-127.0, 127.0) as i8;
                assert_eq!(round_i8(v), want, "{v}");
            }
            v += 0.25;
        }
        assert_eq!(round_i8(f32::NAN), 0);
        assert_eq!(round_i8(f32::INFINITY), 127);
        assert_eq!(round_i8(f32::NEG_INFINITY), -127);
    }

    #[test]
    fn q8_0_of_extreme_rows() {
        let mut x = [0.0f32; 32];
        let mut y = [0xAAu8; 34];
        quantize_row_q8_0(&x, &mut y).unwrap();
        assert_eq!(y, [0; 34]);

        // So small that the inverse of the scale overflows.
        x[3] = f32::from_bits(191);
        quantize_row_q8_0(&x, &mut y).unwrap();
        assert_eq!((y[0], y[1], y[5], y[6]), (0, 0, 127, 0));

        x[3] = f32::NAN;
        x[4] = -2.0;
        quantize_row_q8_0(&x, &mut y).unwrap();
        assert_eq!((y[5], y[6] as i8), (0, -127));

        x[3] = f32::INFINITY;
        quantize_row_q8_0(&x, &mut y).unwrap();
        assert_eq!((y[0], y[1], y[5], y[6]), (0x00, 0x7c, 0, 0));
    }
}
