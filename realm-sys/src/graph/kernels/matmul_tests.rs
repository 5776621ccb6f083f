//! Products against a naive evaluation of their definitions, bit for bit, and against double precision;
//! and the invariances: levels, batches, slices, alignment.

#![allow(
    clippy::single_range_in_vec_init,
    clippy::needless_range_loop,
    reason = "slices of ranges are meant, and the naive evaluations are written with indices"
)]

use super::*;
use crate::num::tests::{Rng, golden, same, same_all};
use crate::quant::dequantize_row;
use std::vec;
use std::vec::Vec;

/// Where a block keeps its scale and its minimum, as halves.
fn halves(ty: GgmlType) -> (Option<usize>, Option<usize>) {
    use GgmlType as T;
    match ty {
        T::Q4_0 | T::Q5_0 | T::Q8_0 | T::IQ4_NL | T::IQ4_XS => (Some(0), None),
        T::Q4_1 | T::Q5_1 | T::Q4_K | T::Q5_K => (Some(0), Some(2)),
        T::Q2_K => (Some(80), Some(82)),
        T::Q3_K | T::TQ1_0 | T::TQ2_0 => (None, None),
        T::Q6_K => (Some(208), None),
        _ => (None, None),
    }
}

fn at(ty: GgmlType) -> (Option<usize>, Option<usize>) {
    if ty == GgmlType::Q3_K {
        (Some(108), None)
    } else {
        halves(ty)
    }
}

fn put(w: &mut [u8], ty: GgmlType, at: Option<usize>, v: impl Fn(usize) -> u16) {
    if let Some(at) = at {
        for (i, b) in w.chunks_exact_mut(ty.block_bytes()).enumerate() {
            b[at..at + 2].copy_from_slice(&v(i).to_le_bytes());
        }
    }
}

/// Random rows whose scales are ordinary numbers.
fn weights(r: &mut Rng, ty: GgmlType, m: usize, k: usize) -> Vec<u8> {
    let bytes = ty.row_bytes(k as u64).unwrap() as usize;
    let mut w: Vec<u8> = (0..m * bytes).map(|_| r.u32() as u8).collect();
    let signs: Vec<u16> = (0..64)
        .map(|_| (r.u32() & 0x83ff) as u16 | 0x2400)
        .collect();
    let (d, min) = at(ty);
    put(&mut w, ty, d, |i| signs[i % 64]);
    put(&mut w, ty, min, |i| signs[(i + 7) % 64]);
    match ty {
        GgmlType::MXFP4 => w.chunks_exact_mut(17).for_each(|b| b[0] = 118 + b[0] % 10),
        GgmlType::F32 => w
            .chunks_exact_mut(4)
            .for_each(|b| b.copy_from_slice(&r.normal().to_le_bytes())),
        GgmlType::F16 => w
            .chunks_exact_mut(2)
            .for_each(|b| b[1] = b[1] & 0x87 | 0x30),
        GgmlType::BF16 => w
            .chunks_exact_mut(2)
            .for_each(|b| b[1] = b[1] & 0x80 | 0x3e),
        _ => {}
    }
    w
}

struct Case {
    ty: GgmlType,
    k: usize,
    m: usize,
    n: usize,
    w: Vec<u8>,
    x: Vec<f32>,
    bias: Option<Vec<u8>>,
}

impl Case {
    fn act(&self, level: Level) -> Vec<u8> {
        let kind = act_kind(self.ty);
        let bytes = act_row_bytes(kind, self.k);
        let mut act = vec![0xAA; bytes * self.n];
        for (x, a) in self.x.chunks(self.k).zip(act.chunks_mut(bytes)) {
            prepare_act_at(level, kind, x, a);
        }
        act
    }

    fn run(&self, level: Level, act: &[u8], ranges: &[Range<usize>]) -> Vec<f32> {
        let n_tok = act.len() / act_row_bytes(act_kind(self.ty), self.k);
        let mut dst = vec![f32::NAN; n_tok * (self.m + 3)];
        let a = MulMat {
            ty: self.ty,
            w: &self.w,
            k: self.k,
            m: self.m,
            act,
            n_tok,
            bias: self.bias.as_deref(),
            dst: dst.as_mut_ptr(),
            dst_stride: self.m + 3,
        };
        for r in ranges {
            // SAFETY: dst has n_tok rows of m + 3.
            unsafe { mul_mat_at(level, &a, r.clone()) };
        }
        dst.chunks(self.m + 3)
            .flat_map(|r| r[..self.m].to_vec())
            .collect()
    }
}

fn floats(w: &[u8], ty: GgmlType, k: usize) -> Vec<f32> {
    let mut y = vec![0.0; w.len() / ty.block_bytes() * ty.block_len()];
    dequantize_row(ty, w, &mut y).unwrap();
    assert_eq!(y.len() % k, 0);
    y
}

/// The definition, element by element, with integers read off the dequantizer by setting scales to 1.
fn naive(c: &Case) -> Vec<f32> {
    let ty = c.ty;
    let (d, min) = at(ty);
    let block = match act_kind(ty) {
        ActKind::F32 => 0,
        ActKind::Q8x32 => 32,
        ActKind::Q8x256 => 256,
    };
    let full = floats(&c.w, ty, c.k);
    let mut ints = c.w.clone();
    put(&mut ints, ty, d, |_| 0x3c00);
    put(&mut ints, ty, min, |_| 0);
    if ty == GgmlType::MXFP4 {
        ints.chunks_exact_mut(17).for_each(|b| b[0] = 128);
    }
    let ints = floats(&ints, ty, c.k);
    let mut mins = c.w.clone();
    put(&mut mins, ty, d, |_| 0);
    put(&mut mins, ty, min, |_| 0x3c00);
    let mins = floats(&mins, ty, c.k);
    let half = |w: &[u8], at: Option<usize>, i: usize| {
        let b = &w[i * ty.block_bytes()..];
        let at = at.unwrap();
        crate::quant::f16::f16_to_f32(u16::from_le_bytes([b[at], b[at + 1]]))
    };
    let mut y = Vec::new();
    for x in c.x.chunks(c.k) {
        for r in 0..c.m {
            let mut acc = 0.0f32;
            if block == 0 {
                let mut lanes = [0.0f32; 16];
                for i in 0..c.k {
                    lanes[i % 16] = full[r * c.k + i].mul_add(x[i], lanes[i % 16]);
                }
                acc = crate::num::tree(&lanes);
            } else {
                for (b, x) in x.chunks(block).enumerate() {
                    let top = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                    let da = top / 127.0;
                    let id = if da == 0.0 { 0.0 } else { 1.0 / da };
                    let q: Vec<i64> = x
                        .iter()
                        .map(|v| (v * id).round_ties_even().clamp(-127.0, 127.0) as i64)
                        .collect();
                    let at = r * c.k + b * block;
                    let n = at / block;
                    let isum: i64 = (0..block).map(|i| ints[at + i] as i64 * q[i]).sum();
                    let dw = if ty == GgmlType::MXFP4 {
                        crate::quant::float4::e8m0_halved(c.w[n * 17])
                    } else {
                        half(&c.w, d, n)
                    };
                    acc = (dw * da).mul_add(i32::try_from(isum).unwrap() as f32, acc);
                    if min.is_some() {
                        let m = half(&c.w, min, n);
                        let msum: i64 = (0..block).map(|i| mins[at + i] as i64 * q[i]).sum();
                        // In the K types the dequantizer subtracts, so the sum has the sign already.
                        acc = (m * da).mul_add(msum as f32, acc);
                    }
                }
            }
            if let Some(b) = &c.bias {
                acc += f32::from_le_bytes(b[4 * r..4 * r + 4].try_into().unwrap());
            }
            y.push(acc);
        }
    }
    y
}

#[test]
fn every_type_follows_its_definition_at_every_level_and_batch() {
    let mut r = Rng::new(21);
    let mut all = Vec::new();
    for ty in GgmlType::ALL {
        let odd = if ty.is_plain() { 13 } else { 0 };
        for (k, m, n) in [
            (256 + odd, 5, 1),
            (512, 37, 18),
            (768 + odd, 3, 35),
            (32, 2, 3),
            (1056, 3, 2),
        ] {
            if k % ty.block_len() != 0 {
                continue;
            }
            let mut c = Case {
                ty,
                k,
                m,
                n,
                w: weights(&mut r, ty, m, k),
                x: r.normals(n * k),
                bias: (n % 2 == 0).then(|| (0..m).flat_map(|i| (i as f32).to_le_bytes()).collect()),
            };
            if n > 2 {
                c.x[..k].fill(0.0);
                c.x[k + 1] = 1e-40;
            }
            let act = c.act(Level::portable());
            assert!(act == c.act(Level::detected()), "prepared rows differ");
            let y = c.run(Level::portable(), &act, core::slice::from_ref(&(0..m)));
            let what = std::format!("{} k={k} m={m} n={n}", ty.name());
            same_all(&naive(&c), &y, &what);
            same_all(&y, &c.run(Level::detected(), &act, &[0..m]), &what);
            same_all(
                &y,
                &c.run(Level::detected(), &act, &[1..2, 2..m, 0..1]),
                &what,
            );
            // One at a time.
            for (t, a) in act.chunks(act_row_bytes(act_kind(ty), k)).enumerate() {
                let one = c.run(Level::detected(), a, &[0..m]);
                same_all(&y[t * m..(t + 1) * m], &one, &what);
            }
            // At an odd address.
            let aligned = c.w.clone();
            let mut shifted = vec![0; aligned.len() + 1];
            shifted[1..].copy_from_slice(&aligned);
            let view = MulMat {
                ty,
                w: &shifted[1..],
                k,
                m,
                act: &act,
                n_tok: n,
                bias: c.bias.as_deref(),
                dst: core::ptr::null_mut(),
                dst_stride: m,
            };
            let mut dst = vec![0.0; m * n];
            // SAFETY: dst has n rows of m.
            unsafe {
                mul_mat(
                    &MulMat {
                        dst: dst.as_mut_ptr(),
                        ..view
                    },
                    0..m,
                )
            };
            same_all(&y, &dst, &what);
            all.extend(y);
        }
    }
    golden("matmul", &all, 0x70b8_f151_dc94_8f1f);
}

#[test]
fn quantized_products_are_near_the_true_ones() {
    let mut r = Rng::new(22);
    for ty in GgmlType::ALL {
        let (k, m) = (1024, 8);
        if at(ty).0.is_none() && act_kind(ty) != ActKind::F32 && ty != GgmlType::MXFP4 {
            continue;
        }
        let c = Case {
            ty,
            k,
            m,
            n: 1,
            w: weights(&mut r, ty, m, k),
            x: r.normals(k),
            bias: None,
        };
        let y = c.run(Level::current(), &c.act(Level::current()), &[0..m]);
        let w = floats(&c.w, ty, k);
        for (w, y) in w.chunks(k).zip(y) {
            if w.iter().any(|v| !v.is_finite() || v.abs() > 1e18) {
                continue;
            }
            let dot: f64 = w
                .iter()
                .zip(&c.x)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum();
            let size: f64 = w.iter().map(|&a| f64::from(a).powi(2)).sum::<f64>().sqrt();
            // Rounding to int8 errs by at most half a step of top / 127, randomly.
            let step = if act_kind(ty) == ActKind::F32 {
                1e-5
            } else {
                3.0 / 127.0 * 2.0
            };
            assert!(
                (f64::from(y) - dot).abs() <= step * size,
                "{}: {y} {dot} {size}",
                ty.name()
            );
        }
    }
}

#[test]
fn blocks_that_cannot_be_scaled() {
    let kind = ActKind::Q8x32;
    let mut act = vec![0; act_row_bytes(kind, 64)];
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = [1.0f32; 64];
        x[33] = bad;
        prepare_act(kind, &x, &mut act);
        let c = Case {
            ty: GgmlType::Q8_0,
            k: 64,
            m: 1,
            n: 1,
            w: weights(&mut Rng::new(1), GgmlType::Q8_0, 1, 64),
            x: x.to_vec(),
            bias: None,
        };
        let y = c.run(Level::detected(), &act, &[0..1]);
        assert!(y[0].is_nan());
    }
    same(f32::MAX / 127.0 * 127.0, f32::MAX / 127.0 * 127.0, "");
    let x = [f32::MAX; 64];
    prepare_act(kind, &x, &mut act);
    assert!(act[..64].iter().all(|&q| q == 127));
}

#[test]
fn short_buffers_write_nothing_and_do_not_panic() {
    for ty in [
        GgmlType::Q4_K,
        GgmlType::Q8_0,
        GgmlType::F16,
        GgmlType::IQ2_S,
    ] {
        let mut dst = [7.0f32; 4];
        let a = MulMat {
            ty,
            w: &[0; 3],
            k: 256,
            m: 4,
            act: &[0; 9],
            n_tok: 1,
            bias: Some(&[]),
            dst: dst.as_mut_ptr(),
            dst_stride: 4,
        };
        // SAFETY: dst has one row of 4.
        unsafe { mul_mat(&a, 0..9) };
        assert_eq!(dst, [7.0; 4]);
    }
}
