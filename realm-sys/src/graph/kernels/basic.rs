//! Sums and products, element by element: one IEEE operation each. `scale` is `x * s`, rounded, then
//! `+ b`, rounded, also when `b` is zero (which turns -0 into 0).
//!
//! The second operand may be a weight: little-endian floats at any alignment.

/// `a = a + b`.
pub fn add(a: &mut [f32], b: &[f32]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// `a = a * b`.
pub fn mul(a: &mut [f32], b: &[f32]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a *= b;
    }
}

/// `a = a + b`, `b` little-endian floats of a weight.
pub fn add_weight(a: &mut [f32], b: &[u8]) {
    for (a, &b) in a.iter_mut().zip(b.as_chunks::<4>().0) {
        *a += f32::from_le_bytes(b);
    }
}

/// `a = a * b`, `b` little-endian floats of a weight.
pub fn mul_weight(a: &mut [f32], b: &[u8]) {
    for (a, &b) in a.iter_mut().zip(b.as_chunks::<4>().0) {
        *a *= f32::from_le_bytes(b);
    }
}

/// `x = x * s + b`, both operations rounded.
pub fn scale(x: &mut [f32], s: f32, b: f32) {
    for x in x {
        *x = *x * s + b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basics() {
        let mut x = [1.0, 2.0, 3.0];
        add(&mut x, &[1.0, 1.0, 1.0]);
        mul(&mut x, &[2.0, 3.0, 4.0]);
        assert_eq!(x, [4.0, 9.0, 16.0]);
        // An odd address.
        let bytes = [9, 0, 0, 128, 63, 0, 0, 0, 64];
        add_weight(&mut x, &bytes[1..]);
        mul_weight(&mut x, &bytes[1..]);
        assert_eq!(x, [5.0, 22.0, 16.0]);
        scale(&mut x, 0.5, 1.0);
        assert_eq!(x, [3.5, 12.0, 9.0]);
        // Not fused: the product overflows its 24 bits and is rounded first.
        let mut y = [1.0 + f32::EPSILON];
        let product = y[0] * y[0];
        scale(&mut y, 1.0 + f32::EPSILON, -1.0);
        assert_eq!(y[0], product - 1.0);
    }
}
