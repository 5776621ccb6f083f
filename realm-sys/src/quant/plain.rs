//! The types that store numbers one by one, little-endian: floats of four widths and integers.
//!
//! An `f64` or an integer too wide for a float's mantissa is rounded to nearest, ties to even.

use super::f16;

pub(super) fn f32(b: &[u8; 4], y: &mut [f32; 1]) {
    *y = [f32::from_le_bytes(*b)];
}

pub(super) fn f16(b: &[u8; 2], y: &mut [f32; 1]) {
    *y = [f16::f16_to_f32(u16::from_le_bytes(*b))];
}

pub(super) fn bf16(b: &[u8; 2], y: &mut [f32; 1]) {
    *y = [f16::bf16_to_f32(u16::from_le_bytes(*b))];
}

pub(super) fn f64(b: &[u8; 8], y: &mut [f32; 1]) {
    *y = [f64::from_le_bytes(*b) as f32];
}

pub(super) fn i8(b: &[u8; 1], y: &mut [f32; 1]) {
    *y = [f32::from(i8::from_le_bytes(*b))];
}

pub(super) fn i16(b: &[u8; 2], y: &mut [f32; 1]) {
    *y = [f32::from(i16::from_le_bytes(*b))];
}

pub(super) fn i32(b: &[u8; 4], y: &mut [f32; 1]) {
    *y = [i32::from_le_bytes(*b) as f32];
}

pub(super) fn i64(b: &[u8; 8], y: &mut [f32; 1]) {
    *y = [i64::from_le_bytes(*b) as f32];
}
