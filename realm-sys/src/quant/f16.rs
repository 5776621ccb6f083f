//! Sixteen-bit floats, converted in integer arithmetic.
//!
//! The `half` crate would do, but for one thing: where a build enables F16C (x86) or FP16 (Arm), or
//! another crate turns on its `std` feature, it uses the hardware's conversions, and those follow
//! the control word of the moment (Arm: flush-to-zero for halves, default NaN). These functions give
//! the same bits in every build. They have no branches, so loops over them become vector code.
//!
//! Rounding is to nearest, ties to even. A NaN stays a NaN of the same sign with the upper bits of
//! its payload, and becomes quiet, which is what F16C does and Arm does by default.

/// The value of an IEEE half.
#[inline]
pub fn f16_to_f32(h: u16) -> f32 {
    let sign = u32::from(h & 0x8000) << 16;
    let magnitude = u32::from(h & 0x7fff) << 13;
    // Exponents are biased by 15 in a half and by 127 in a float; the largest means infinity in both.
    let normal = magnitude + (112 << 23);
    let special = normal + (112 << 23);
    let quiet = u32::from(magnitude > 0x1f << 23) << 22;
    // A subnormal is its mantissa with the exponent of the least normal, less the implied one. The
    // operands and the result are normal floats and the difference is exact: no rounding mode and no
    // flushing of subnormals can change it.
    let least = f32::from_bits(113 << 23);
    let subnormal = (f32::from_bits(magnitude + (113 << 23)) - least).to_bits();
    let bits = if magnitude < 1 << 23 {
        subnormal
    } else if magnitude < 0x1f << 23 {
        normal
    } else {
        special | quiet
    };
    f32::from_bits(sign | bits)
}

/// The half nearest to `x`, ties to even; 65520 and more become infinity.
#[inline]
pub fn f32_to_f16(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    // Adding half of the last place kept, or just less where that is even, carries into the part
    // that is kept exactly when rounding goes up.
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    // Below the least normal half, the sum with a half is rounded at a half's last place, 2^-24.
    let subnormal = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(126 << 23);
    let nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
    let half = if magnitude > 255 << 23 {
        nan
    } else if magnitude >= 143 << 23 {
        0x7c00
    } else if magnitude < 113 << 23 {
        subnormal
    } else {
        normal
    };
    sign | half as u16
}

/// The value of a bfloat16: a float's upper half.
#[inline]
pub fn bf16_to_f32(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

/// The bfloat16 nearest to `x`, ties to even.
#[inline]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let odd = (bits >> 16) & 1;
    let rounded = bits.wrapping_add(0x7fff + odd) >> 16;
    let nan = (bits >> 16) | 0x40;
    let is_nan = bits & 0x7fff_ffff > 255 << 23;
    (if is_nan { nan } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_as_the_half_crate_says() {
        for h in 0..=u16::MAX {
            let ours = f16_to_f32(h).to_bits();
            let theirs = half::f16::from_bits(h).to_f32().to_bits();
            assert_eq!(ours, theirs, "{h:#06x}");
            let theirs = half::bf16::from_bits(h).to_f32().to_bits();
            // half makes a signalling bfloat16 quiet; ggml shifts, and so do we.
            if !half::bf16::from_bits(h).is_nan() {
                assert_eq!(bf16_to_f32(h).to_bits(), theirs, "{h:#06x}");
            }
        }
    }

    #[test]
    fn floats_narrow_as_the_half_crate_says() {
        // Every float whose lower bits are near a rounding boundary, and a sweep of the rest.
        let around = |h: u32| (-2..=2).map(move |d: i32| (h << 12).wrapping_add_signed(d));
        let sweep = (0..=u32::MAX).step_by(4099);
        for bits in (0..1 << 20).flat_map(around).chain(sweep) {
            let x = f32::from_bits(bits);
            let theirs = half::f16::from_f32(x).to_bits();
            assert_eq!(f32_to_f16(x), theirs, "{bits:#010x}");
            let theirs = half::bf16::from_f32(x).to_bits();
            assert_eq!(f32_to_bf16(x), theirs, "{bits:#010x}");
        }
    }

    #[test]
    fn halves_survive_the_round_trip() {
        for h in 0..=u16::MAX {
            let quiet = if h & 0x7fff > 0x7c00 { 0x200 } else { 0 };
            assert_eq!(f32_to_f16(f16_to_f32(h)), h | quiet, "{h:#06x}");
        }
    }
}
