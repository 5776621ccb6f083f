//! Attention against a naive evaluation of its definition, against double precision, and its
//! invariances.

#![allow(
    clippy::single_range_in_vec_init,
    clippy::needless_range_loop,
    reason = "slices of ranges are meant, and the naive evaluations are written with indices"
)]

use super::*;
use crate::num::cpu::Native;
use crate::num::tests::{Rng, golden, same_all};
use crate::quant::dequantize_row;
use std::vec;
use std::vec::Vec;

struct Cache {
    layout: KvLayout,
    pages: Vec<Vec<u8>>,
    /// Rows as they read back.
    k: Vec<Vec<f32>>,
    v: Vec<Vec<f32>>,
}

impl Cache {
    fn new(r: &mut Rng, ty: GgmlType, hkv: usize, dk: usize, dv: usize, n: usize) -> Self {
        let layout = KvLayout::new(ty, hkv, dk, dv).unwrap();
        // Slots that were never written hold NaNs.
        let mut pages = vec![vec![0xFF; layout.page_bytes()]; n.div_ceil(PAGE)];
        let (mut ks, mut vs) = (Vec::new(), Vec::new());
        let read_back = |x: &[f32], d: usize| -> Vec<f32> {
            x.chunks(d)
                .flat_map(|x| {
                    let mut b = vec![0; ty.row_bytes(d as u64).unwrap() as usize];
                    quantize_row(ty, x, &mut b).unwrap();
                    let mut y = vec![0.0; d];
                    dequantize_row(ty, &b, &mut y).unwrap();
                    y
                })
                .collect()
        };
        for p in 0..n {
            let (k, v) = (r.normals(hkv * dk), r.normals(hkv * dv));
            kv_append_row(&layout, &mut pages[p / PAGE], p % PAGE, &k, &v);
            ks.push(read_back(&k, dk));
            vs.push(read_back(&v, dv));
        }
        Self {
            layout,
            pages,
            k: ks,
            v: vs,
        }
    }

    fn pointers(&self) -> Vec<*const u8> {
        self.pages.iter().map(|p| p.as_ptr()).collect()
    }
}

/// The definition, read literally.
/// The sink of a head, if there are any.
fn sink(a: &Attend<'_>, h: usize) -> Option<f32> {
    a.sinks
        .map(|s| f32::from_le_bytes(s[4 * h..4 * h + 4].try_into().unwrap()))
}

fn naive(c: &Cache, a: &Attend<'_>, p: usize, q: &[f32]) -> Vec<f32> {
    let (dk, dv) = c.layout.head_dims();
    let first = if a.window == 0 {
        0
    } else {
        (p + 1).saturating_sub(a.window as usize)
    };
    let mut out = Vec::new();
    for h in 0..a.n_head {
        let g = h / (a.n_head / c.layout.n_head_kv());
        let q = &q[h * dk..(h + 1) * dk];
        let sink = sink(a, h);
        let mut acc = vec![0.0f32; dv];
        let (mut m, mut l) = sink.map_or((f32::NEG_INFINITY, 0.0f32), |sink| (sink, 1.0));
        let mut start = first / 64 * 64;
        while start <= p {
            let visible: Vec<usize> = (start..start + 64)
                .filter(|j| (first..=p).contains(j))
                .collect();
            let s: Vec<f32> = visible
                .iter()
                .map(|&j| {
                    let s =
                        (0..dk).fold(0.0f32, |s, d| q[d].mul_add(c.k[j][g * dk + d], s)) * a.scale;
                    if a.softcap == 0.0 {
                        s
                    } else {
                        a.softcap * math::tanh(Native, s / a.softcap)
                    }
                })
                .collect();
            let new = s.iter().copied().fold(m, f32::max);
            if start > first || sink.is_some() {
                let c = math::exp(Native, m - new);
                l *= c;
                acc.iter_mut().for_each(|a| *a *= c);
            }
            m = new;
            let mut lanes = [0.0f32; 16];
            for (&j, &s) in visible.iter().zip(&s) {
                let e = math::exp(Native, s - m);
                lanes[j % 16] += e;
                for d in 0..dv {
                    acc[d] = e.mul_add(c.v[j][g * dv + d], acc[d]);
                }
            }
            l += tree(&lanes);
            start += 64;
        }
        out.extend(acc.iter().map(|a| a / l));
    }
    out
}

fn exact(c: &Cache, a: &Attend<'_>, p: usize, q: &[f32]) -> Vec<f64> {
    let (dk, dv) = c.layout.head_dims();
    let first = if a.window == 0 {
        0
    } else {
        (p + 1).saturating_sub(a.window as usize)
    };
    let mut out = Vec::new();
    for h in 0..a.n_head {
        let g = h / (a.n_head / c.layout.n_head_kv());
        let mut acc = vec![0.0; dv];
        let mut l = sink(a, h).map_or(0.0, |sink| f64::from(sink).exp());
        for j in first..=p {
            let s: f64 = (0..dk)
                .map(|d| f64::from(q[h * dk + d]) * f64::from(c.k[j][g * dk + d]))
                .sum();
            let s = s * f64::from(a.scale);
            let cap = f64::from(a.softcap);
            let e = if cap == 0.0 {
                s
            } else {
                cap * (s / cap).tanh()
            }
            .exp();
            l += e;
            for d in 0..dv {
                acc[d] += e * f64::from(c.v[j][g * dv + d]);
            }
        }
        out.extend(acc.iter().map(|a| a / l));
    }
    out
}

/// Every byte of a page is a slot's, and what is appended to a slot is in its bytes alone.
#[test]
fn bytes_of_a_page_know_their_slot() {
    let mut r = Rng::new(3);
    for (ty, hkv, dk, dv) in [
        (GgmlType::F32, 2, 3, 5),
        (GgmlType::F16, 3, 4, 7),
        (GgmlType::Q8_0, 2, 64, 32),
    ] {
        let layout = KvLayout::new(ty, hkv, dk, dv).unwrap();
        let (k, v) = (r.normals(hkv * dk), r.normals(hkv * dv));
        let mut counts = [0; PAGE];
        (0..layout.page_bytes()).for_each(|at| counts[layout.slot(at)] += 1);
        assert_eq!(counts, [layout.page_bytes() / PAGE; PAGE]);
        for slot in [0, 1, 31, 63] {
            for empty in [0, 0xFF] {
                let mut page = vec![empty; layout.page_bytes()];
                kv_append_row(&layout, &mut page, slot, &k, &v);
                let written = page.iter().enumerate().filter(|(_, b)| **b != empty);
                assert!(written.clone().all(|(at, _)| layout.slot(at) == slot));
                assert!(written.count() > layout.page_bytes() / PAGE / 2);
            }
        }
    }
}

#[test]
fn attention_follows_its_definition() {
    let mut r = Rng::new(31);
    let mut all = Vec::new();
    for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Q8_0] {
        for (n_head, hkv, dk, dv, window, softcap) in [
            (4, 2, 64, 64, 0, 0.0),
            (3, 1, 32, 96, 100, 0.0),
            (2, 2, 128, 32, 64, 30.0),
            (6, 3, 8, 24, 7, 0.0),
        ] {
            if ty == GgmlType::Q8_0 && dk % 32 != 0 {
                assert!(KvLayout::new(ty, hkv, dk, dv).is_err());
                continue;
            }
            let n = 200;
            let c = Cache::new(&mut r, ty, hkv, dk, dv, n);
            let pages = c.pointers();
            let a = Attend {
                layout: &c.layout,
                n_head,
                scale: 1.0 / (dk as f32).sqrt(),
                window,
                softcap,
                sinks: None,
                pages: &pages,
                offset: 0,
            };
            for p in [0, 1, 62, 63, 64, 127, 128, 199] {
                let q: Vec<f32> = r.normals(n_head * dk);
                let run = |level, a: &Attend<'_>| {
                    let mut y = vec![f32::NAN; n_head * dv];
                    // SAFETY: the cache's pages.
                    unsafe { attend_row_at(level, a, p as u32, &q, 0..n_head, &mut y) };
                    y
                };
                let y = run(Level::portable(), &a);
                let what = std::format!("{} {n_head}/{hkv} {dk}/{dv} w{window} p{p}", ty.name());
                same_all(&naive(&c, &a, p, &q), &y, &what);
                same_all(&y, &run(Level::detected(), &a), &what);
                for (got, want) in y.iter().zip(exact(&c, &a, p, &q)) {
                    assert!(
                        (f64::from(*got) - want).abs() < 3e-6,
                        "{what}: {got} {want}"
                    );
                }
                // Sinks: what goes to them is missing from the rest.
                let sinks: Vec<u8> = (0..n_head)
                    .flat_map(|h| (h as f32 - 1.5).to_le_bytes())
                    .collect();
                let with = Attend {
                    sinks: Some(&sinks),
                    ..a
                };
                let sunk = run(Level::portable(), &with);
                same_all(&naive(&c, &with, p, &q), &sunk, &what);
                same_all(&sunk, &run(Level::detected(), &with), &what);
                for (got, want) in sunk.iter().zip(exact(&c, &with, p, &q)) {
                    assert!((f64::from(*got) - want).abs() < 3e-6, "{what}, sinks");
                }
                // Head by head.
                let mut one = vec![0.0; n_head * dv];
                for h in 0..n_head {
                    // SAFETY: the cache's pages.
                    unsafe {
                        attend_row(&a, p as u32, &q, h..h + 1, &mut one[h * dv..(h + 1) * dv])
                    };
                }
                same_all(&y, &one, &what);
                // Pages that the window has left behind may be gone.
                if window > 0 {
                    let mut fewer = pages.clone();
                    let first = (p + 1).saturating_sub(window as usize);
                    fewer[..first / PAGE].fill(core::ptr::null());
                    same_all(
                        &y,
                        &run(Level::detected(), &Attend { pages: &fewer, ..a }),
                        &what,
                    );
                }
                all.extend(y);
            }
        }
    }
    golden("attention", &all, 0x2979_8f4d_0854_0bbb);
}

#[test]
fn layouts_are_checked() {
    let size = |ty, h, dk, dv| KvLayout::new(ty, h, dk, dv).map(|l| l.page_bytes());
    assert_eq!(size(GgmlType::F16, 4, 64, 64), Ok(64 * 4 * 64 * 4));
    assert_eq!(size(GgmlType::Q8_0, 4, 64, 32), Ok(64 * 4 * 34 * 3));
    assert!(size(GgmlType::Q4_0, 4, 64, 64).is_err());
    assert!(size(GgmlType::F16, 0, 64, 64).is_err());
    assert!(size(GgmlType::F16, 4, 0, 64).is_err());
    assert!(size(GgmlType::F32, usize::MAX / 2, 64, 64).is_err());
    assert!(size(GgmlType::F32, 1, usize::MAX, 64).is_err());
}
