//! Numbers without a standard library: square root, exponential, logarithm, decimal text.
//!
//! Everything here is plain arithmetic in a fixed order, so the same wasm gives the same bits on
//! every host; that is what makes "same seed, same text everywhere" true.

/// √x for x ≥ 0, by Newton's iteration in f64; 0 for anything else.
pub fn sqrt(x: f64) -> f64 {
    if x.is_nan() || x <= 0.0 || x > 1e300 {
        return 0.0;
    }
    // Halving the exponent gives a start within a factor of two.
    let mut y = f64::from_bits((x.to_bits() >> 1) + (1023 << 51));
    for _ in 0..6 {
        y = 0.5 * (y + x / y);
    }
    y
}

/// eˣ in f64, relative error below 1e-13; 0 below -700, +inf above 700.
#[inline(never)]
pub fn exp(x: f64) -> f64 {
    const LN2_HI: f64 = 6.931_471_803_691_238e-1;
    const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
    if x < -700.0 || x.is_nan() {
        return 0.0;
    }
    if x > 700.0 {
        return f64::INFINITY;
    }
    let k = (x * core::f64::consts::LOG2_E + if x < 0.0 { -0.5 } else { 0.5 }) as i32;
    let n = f64::from(k);
    let r = (x - n * LN2_HI) - n * LN2_LO;
    // Taylor to r^11, |r| <= 0.347: the next term is below 1e-14. Written out, because an
    // interpreter pays for every step of a loop.
    let p = 1.0 / 39_916_800.0;
    let p = p * r + 1.0 / 3_628_800.0;
    let p = p * r + 1.0 / 362_880.0;
    let p = p * r + 1.0 / 40_320.0;
    let p = p * r + 1.0 / 5_040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    p * f64::from_bits(((1023 + i64::from(k)) as u64) << 52)
}

/// ln x for normal x > 0, relative error below 1e-14; -inf for anything else.
#[inline(never)]
pub fn ln(x: f64) -> f64 {
    if x.is_nan() || x < f64::MIN_POSITIVE {
        return f64::NEG_INFINITY;
    }
    if x.is_infinite() {
        return x;
    }
    // x = m · 2^k with m within a factor of √2 of 1.
    let bits = x.to_bits();
    let mut k = (bits >> 52) as i32 - 1023;
    let mut m = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if m > core::f64::consts::SQRT_2 {
        m *= 0.5;
        k += 1;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)); the argument is at most 0.172, so the term after the last is below 1e-17.
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut p = 0.0;
    for n in (0..10).rev() {
        p = p * z + 1.0 / f64::from(2 * n + 1);
    }
    f64::from(k) * core::f64::consts::LN_2 + 2.0 * s * p
}

/// A decimal integer with an optional sign; None if anything else is in the text or it overflows.
pub fn parse_int(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut n = 0i64;
    for c in digits.bytes() {
        if !c.is_ascii_digit() {
            return None;
        }
        n = n * 10 + i64::from(c - b'0');
    }
    Some(if negative { -n } else { n })
}

/// A decimal number (`-1.5`, `1e-3`, `.5`, `inf`), correctly rounded for up to 15 digits and
/// exponents within ±22, which covers what people write; None if malformed.
pub fn parse_float(text: &str) -> Option<f32> {
    let text = text.trim();
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let sign = |v: f64| Some(if negative { -v } else { v } as f32);
    if rest == "inf" {
        return sign(f64::INFINITY);
    }
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((m, e)) => (m, parse_int(e)?),
        None => (rest, 0),
    };
    let mut digits = 0u32;
    let mut value = 0f64;
    let mut scale = 0i64;
    let mut point = false;
    for c in mantissa.bytes() {
        match c {
            b'0'..=b'9' => {
                digits += 1;
                scale -= i64::from(point);
                value = value * 10.0 + f64::from(c - b'0');
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    if digits == 0 || digits > 200 {
        return None;
    }
    let scale = (exponent.clamp(-400, 400) + scale).clamp(-400, 400);
    let mut power = 1f64;
    for _ in 0..scale.unsigned_abs() {
        power *= 10.0;
    }
    sign(if scale < 0 {
        value / power
    } else {
        value * power
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_sqrt_are_close_to_the_machine_s() {
        for i in -3000..3000 {
            let x = f64::from(i) * 0.11;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-13, "{x}");
            let y = x * x + 1e-9;
            assert!(
                (ln(y) - y.ln()).abs() <= 1e-14 * y.ln().abs().max(1e-2),
                "{y}"
            );
            assert!((sqrt(y) / y.sqrt() - 1.0).abs() < 1e-15, "{y}");
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(0.0), f64::NEG_INFINITY);
        for x in [1e-6f64, 0.3, 1.0, 1.5, 4.0, 32.0, 1e9] {
            assert!((ln(x) - x.ln()).abs() < 1e-13 * (1.0 + x.ln().abs()), "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
    }

    #[test]
    fn numbers_as_people_write_them() {
        for (text, value) in [
            ("0.8", 0.8f32),
            ("-1", -1.0),
            ("1e-3", 1e-3),
            (".5", 0.5),
            ("40", 40.0),
        ] {
            assert_eq!(parse_float(text), Some(value), "{text}");
        }
        for text in ["", ".", "1.2.3", "0x10", "nan", "1e", "--1", "1 2"] {
            assert_eq!(parse_float(text), None, "{text}");
        }
        assert_eq!(parse_int("-1"), Some(-1));
        assert_eq!(parse_int("12a"), None);
        assert_eq!(parse_int("99999999999999999999"), None);
    }
}
