//! Every level against the scalar one, bit for bit: types, odd sizes, batches, slices, alignments, windows.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::single_range_in_vec_init,
    reason = "a test may fail, and slices of ranges are meant"
)]

use super::isa::{ALL, Isa};
use super::kernels::{Attention, Kernels, Product};
use crate::graph::kernels::attention::{KvLayout, kv_append_row};
use crate::graph::kernels::matmul::act_kind;
use crate::quant::GgmlType;
use core::ops::Range;
use std::vec;
use std::vec::Vec;

pub struct Rng(pub u64);
impl Rng {
    pub fn u32(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32 ^ (self.0 >> 11) as u32
    }
    pub fn below(&mut self, n: usize) -> usize {
        self.u32() as usize % n
    }
    /// About normal.
    pub fn normal(&mut self) -> f32 {
        (0..4)
            .map(|_| self.u32() as i32 as f32 / 2147483648.0)
            .sum()
    }
}

/// Bytes on a 64-byte boundary, with a guard behind.
pub struct Aligned(Vec<u8>, usize, usize);
impl Aligned {
    pub fn new(bytes: usize) -> Self {
        let v = vec![0xA5u8; bytes + 128 + 64];
        let at = v.as_ptr().align_offset(64);
        Self(v, at, bytes)
    }
    pub fn ptr(&mut self) -> *mut u8 {
        let at = self.1;
        self.0[at..].as_mut_ptr()
    }
    /// Nothing was written past the end.
    pub fn check(&self, what: &str) {
        assert!(
            self.0[self.1 + self.2..].iter().all(|&b| b == 0xA5),
            "{what}: written past the end"
        );
    }
}

/// Where a block keeps halves that should be ordinary numbers.
fn halves(ty: GgmlType) -> &'static [usize] {
    use GgmlType as T;
    match ty {
        T::Q4_0 | T::Q5_0 | T::Q8_0 | T::IQ4_NL | T::IQ4_XS => &[0],
        T::Q4_1 | T::Q5_1 | T::Q4_K | T::Q5_K => &[0, 2],
        T::Q2_K => &[80, 82],
        T::Q3_K => &[108],
        T::Q6_K => &[208],
        T::IQ2_XXS | T::IQ3_XXS | T::IQ1_S => &[0],
        _ => &[],
    }
}

/// Random weights; scales are ordinary unless `wild`.
pub fn weights(r: &mut Rng, ty: GgmlType, m: usize, k: usize, wild: bool) -> Vec<u8> {
    let bytes = ty.row_bytes(k as u64).unwrap() as usize;
    let mut w: Vec<u8> = (0..m * bytes).map(|_| r.u32() as u8).collect();
    if wild {
        return w;
    }
    for b in w.chunks_exact_mut(ty.block_bytes()) {
        for &at in halves(ty) {
            b[at + 1] = b[at + 1] & 0x83 | 0x24;
        }
    }
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

/// Types that have kernels of their own.
pub const TYPES: [GgmlType; 17] = {
    use GgmlType as T;
    [
        T::Q4_0,
        T::Q4_1,
        T::Q5_0,
        T::Q5_1,
        T::Q8_0,
        T::IQ4_NL,
        T::MXFP4,
        T::Q2_K,
        T::Q3_K,
        T::Q4_K,
        T::Q5_K,
        T::Q6_K,
        T::IQ4_XS,
        T::F32,
        T::F16,
        T::BF16,
        T::IQ2_XXS,
    ]
};

pub struct Case {
    pub ty: GgmlType,
    pub k: usize,
    pub m: usize,
    pub w: Vec<u8>,
    /// Where the weights begin in `w`.
    pub shift: usize,
    pub x: Vec<f32>,
    pub bias: Option<Vec<u8>>,
}

impl Case {
    pub fn new(r: &mut Rng, ty: GgmlType, k: usize, m: usize, n: usize, wild: bool) -> Self {
        // The weights start at an odd address now and then, and always end where their memory does.
        let shift = r.below(2);
        let mut w = vec![0xA5; shift];
        w.extend(weights(r, ty, m, k, wild));
        let mut x: Vec<f32> = (0..n * k).map(|_| r.normal()).collect();
        // Whole blocks of zeros, one large element, and where wild an infinity.
        if n > 1 {
            x[..k.min(256)].fill(0.0);
            x[k + k / 2] = 1e4;
        }
        if wild && n > 2 {
            x[2 * k] = f32::INFINITY;
        }
        let bias =
            (r.below(2) == 0).then(|| (0..m).flat_map(|_| r.normal().to_le_bytes()).collect());
        Self {
            ty,
            k,
            m,
            w,
            shift,
            x,
            bias,
        }
    }

    /// Prepares, multiplies by row ranges, and returns `[n][m]`.
    pub fn run(
        &self,
        kernels: &Kernels,
        ranges: &[Range<usize>],
        tokens: Range<usize>,
    ) -> Vec<f32> {
        let kind = act_kind(self.ty);
        let bytes = (kernels.act_row_bytes)(kind, self.k);
        assert_eq!(bytes % 64, 0);
        let mut acts: Vec<Aligned> = Vec::new();
        for t in tokens.clone() {
            let mut a = Aligned::new(bytes);
            // SAFETY: the level is available, the memory as long as asked for.
            unsafe { (kernels.prepare_act)(kind, &self.x[t * self.k..(t + 1) * self.k], a.ptr()) };
            a.check("prepared row");
            acts.push(a);
        }
        let act: Vec<*const u8> = acts.iter_mut().map(|a| a.ptr().cast_const()).collect();
        let mut out = vec![vec![f32::from_bits(0x7fc0_1234); self.m + 2]; act.len()];
        let dst: Vec<*mut f32> = out.iter_mut().map(|o| o[1..].as_mut_ptr()).collect();
        let mut scratch = Aligned::new((kernels.product_scratch_bytes)(self.ty, self.k, act.len()));
        let p = Product {
            ty: self.ty,
            w: &self.w[self.shift..],
            k: self.k,
            m: self.m,
            act: &act,
            dst: &dst,
            bias: self.bias.as_deref(),
        };
        for range in ranges {
            // SAFETY: as above.
            unsafe { (kernels.product)(&p, range.clone(), scratch.ptr()) };
        }
        scratch.check("scratch");
        let guard = 0x7fc0_1234;
        for o in &out {
            assert_eq!(
                (o[0].to_bits(), o[self.m + 1].to_bits()),
                (guard, guard),
                "written beside the row"
            );
        }
        out.iter().flat_map(|o| o[1..=self.m].to_vec()).collect()
    }
}

pub fn same_all(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        assert!(
            a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
            "{what}: element {i}: {a:e} is not {b:e}"
        );
    }
}

fn levels() -> impl Iterator<Item = Kernels> {
    ALL.into_iter()
        .filter(|&i| i != Isa::Scalar)
        .filter_map(Kernels::of)
}

/// Whether the next case is one of those to try: all, or every n-th where `REALM_CONFORMANCE_EVERY` is n, for
/// machines that are emulated. Only attention's cases are many enough to need it.
fn turn(count: &mut usize) -> bool {
    let every = std::env::var("REALM_CONFORMANCE_EVERY");
    let every = every.ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    *count += 1;
    count.is_multiple_of(every)
}

#[test]
fn products_equal_the_reference() {
    let scalar = Kernels::of(Isa::Scalar).unwrap();
    for ty in TYPES {
        let mut r = Rng(ty as u64 + 7);
        let len = ty.block_len();
        let ks: &[usize] = match len {
            // The last goes through a first, a middle and a last piece of the float kernels.
            1 => &[1, 7, 16, 64, 100, 172, 256, 288, 320, 1040, 2064],
            32 => &[32, 64, 96, 160, 256, 288, 320, 544, 576, 608, 768, 1056],
            _ => &[256, 512, 768, 1280, 2048],
        };
        for &k in ks {
            for (m, n) in [
                (1, 1),
                (3, 1),
                (16, 1),
                (37, 1),
                (64, 1),
                (5, 2),
                (37, 2),
                (33, 3),
                (16, 4),
                (35, 5),
                (70, 6),
                (17, 7),
                (48, 8),
                (33, 9),
                (19, 13),
                (64, 16),
                (50, 17),
                (33, 35),
            ] {
                let wild = r.below(6) == 0;
                let case = Case::new(&mut r, ty, k, m, n, wild);
                let want = case.run(&scalar, &[0..m], 0..n);
                for kernels in levels() {
                    let what =
                        std::format!("{} {} k {k} m {m} n {n}", kernels.isa.name(), ty.name());
                    same_all(&case.run(&kernels, &[0..m], 0..n), &want, &what);
                    // In slices, out of order.
                    let (a, b) = (r.below(m + 1), r.below(m + 1));
                    let (a, b) = (a.min(b), a.max(b));
                    same_all(&case.run(&kernels, &[b..m, 0..a, a..b], 0..n), &want, &what);
                    // One token at a time.
                    let t = r.below(n);
                    same_all(
                        &case.run(&kernels, &[0..m], t..t + 1),
                        &want[t * m..(t + 1) * m],
                        &what,
                    );
                }
            }
        }
    }
}

pub struct Cache {
    pub layout: KvLayout,
    pub pages: Vec<Vec<u8>>,
}

impl Cache {
    pub fn new(
        r: &mut Rng,
        ty: GgmlType,
        hkv: usize,
        dk: usize,
        dv: usize,
        n: usize,
        offset: usize,
    ) -> Self {
        let layout = KvLayout::new(ty, hkv, dk, dv).unwrap();
        // Slots that were never written hold NaNs.
        let mut pages = vec![vec![0xFF; offset + layout.page_bytes()]; n.div_ceil(64)];
        for p in 0..n {
            let k: Vec<f32> = (0..hkv * dk).map(|_| r.normal()).collect();
            let v: Vec<f32> = (0..hkv * dv).map(|_| r.normal()).collect();
            kv_append_row(&layout, &mut pages[p / 64][offset..], p % 64, &k, &v);
        }
        Self { layout, pages }
    }
}

#[allow(clippy::too_many_arguments, reason = "a test's")]
fn attend(
    kernels: &Kernels,
    c: &Cache,
    n_head: usize,
    window: u32,
    softcap: f32,
    sinks: Option<&[u8]>,
    first: usize,
    q: &[f32],
    cut: usize,
    offset: usize,
) -> Vec<f32> {
    let (dk, dv) = c.layout.head_dims();
    let rows = q.len() / (n_head * dk);
    let mut dst = vec![f32::NAN; rows * n_head * dv];
    let pages: Vec<*const u8> = c.pages.iter().map(|p| p.as_ptr()).collect();
    let a = Attention {
        layout: &c.layout,
        n_head,
        scale: 0.3,
        window,
        softcap,
        sinks,
        pages: &pages,
        offset,
        first: first as u32,
        all: (sinks.is_some() && window == 0).then(|| (first + rows - 1) as u32),
        q: q.as_ptr(),
        dst: dst.as_mut_ptr(),
    };
    let mut scratch = Aligned::new((kernels.attend_scratch_bytes)(&c.layout, n_head, rows));
    let heads = c.layout.n_head_kv();
    // SAFETY: as the slots ask.
    unsafe {
        if cut == 0 {
            (kernels.attend)(&a, 0..rows, 0..heads, scratch.ptr());
        } else {
            for h in (0..heads).rev() {
                (kernels.attend)(&a, 0..cut.min(rows), h..h + 1, scratch.ptr());
                (kernels.attend)(&a, cut.min(rows)..rows, h..h + 1, scratch.ptr());
            }
        }
    }
    scratch.check("attention scratch");
    dst
}

#[test]
fn attention_equals_the_reference() {
    let scalar = Kernels::of(Isa::Scalar).unwrap();
    let mut count = 0;
    for kernels in levels() {
        for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Q8_0] {
            let mut r = Rng(3);
            for (hkv, group, dk, dv) in [
                (2, 2, 8, 8),
                (1, 1, 48, 48),
                (2, 4, 64, 64),
                (1, 8, 128, 128),
                (1, 3, 80, 96),
                (1, 2, 256, 256),
                (1, 1, 20, 12),
            ] {
                if ty == GgmlType::Q8_0 && (dk % 32 != 0 || dv % 32 != 0) {
                    continue;
                }
                let offset = 64 * r.below(3);
                let c = Cache::new(&mut r, ty, hkv, dk, dv, 300, offset);
                for (first, rows) in [
                    (0, 1),
                    (63, 1),
                    (64, 1),
                    (299, 1),
                    (0, 7),
                    (60, 9),
                    (0, 130),
                    (100, 200),
                    (250, 50),
                ] {
                    for (window, cap) in [(0, 0.0), (70, 0.0), (1, 0.0), (0, 2.0), (130, 1.5)] {
                        if !turn(&mut count) {
                            continue;
                        }
                        let heads = hkv * group;
                        let mut q: Vec<f32> = (0..rows * heads * dk).map(|_| r.normal()).collect();
                        if r.below(8) == 0 {
                            q[r.below(rows * heads * dk)] = f32::NAN;
                        }
                        let floats: Vec<u8> =
                            (0..heads).flat_map(|_| r.normal().to_le_bytes()).collect();
                        let sinks = (r.below(2) == 0).then_some(&floats[..]);
                        let what = std::format!(
                            "{} attention {} {hkv}x{group} {dk}/{dv} at {first} rows {rows} window {window} cap {cap}",
                            kernels.isa.name(),
                            ty.name()
                        );
                        let want =
                            attend(&scalar, &c, heads, window, cap, sinks, first, &q, 0, offset);
                        same_all(
                            &attend(
                                &kernels, &c, heads, window, cap, sinks, first, &q, 0, offset,
                            ),
                            &want,
                            &what,
                        );
                        same_all(
                            &attend(
                                &kernels,
                                &c,
                                heads,
                                window,
                                cap,
                                sinks,
                                first,
                                &q,
                                1 + r.below(rows),
                                offset,
                            ),
                            &want,
                            &what,
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn appending_equals_the_reference() {
    const WILD: [u32; 10] = [
        0x7f80_0000,
        0xff80_0000,
        0x7f80_0001,
        0xffc1_2345,
        0x477f_f000,
        0x477f_efff,
        0x0000_0001,
        0x8000_0000,
        0x3300_0001,
        0x7e00_0000,
    ];
    for kernels in levels() {
        let mut r = Rng(11);
        for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Q8_0] {
            for (hkv, dk, dv) in [
                (1, 8, 8),
                (2, 64, 96),
                (3, 128, 64),
                (2, 20, 50),
                (1, 256, 256),
            ] {
                if ty == GgmlType::Q8_0 && (dk % 32 != 0 || dv % 32 != 0) {
                    continue;
                }
                let layout = KvLayout::new(ty, hkv, dk, dv).unwrap();
                for (slot, n) in [
                    (0, 1),
                    (63, 1),
                    (5, 3),
                    (0, 64),
                    (17, 40),
                    (30, 16),
                    (1, 63),
                ] {
                    let mut x = |len: usize| -> Vec<f32> {
                        let scale = [1e-7, 1.0, 300.0, 1e5][r.below(4)];
                        let mut x: Vec<f32> = (0..len).map(|_| r.normal() * scale).collect();
                        for _ in 0..len / 64 * r.below(2) {
                            x[r.below(len)] = f32::from_bits(WILD[r.below(10)]);
                        }
                        x
                    };
                    let (k, v) = (x(n * hkv * dk), x(n * hkv * dv));
                    let mut want = vec![0x5A; layout.page_bytes()];
                    for i in 0..n {
                        let (k, v) = (&k[i * hkv * dk..], &v[i * hkv * dv..]);
                        kv_append_row(&layout, &mut want, slot + i, &k[..hkv * dk], &v[..hkv * dv]);
                    }
                    let mut got = vec![0x5A; layout.page_bytes()];
                    for h in 0..hkv {
                        // SAFETY: the level is available, the slots are in the page.
                        unsafe {
                            (kernels.append)(
                                &layout,
                                got.as_mut_ptr(),
                                slot..slot + n,
                                k[h * dk..].as_ptr(),
                                hkv * dk,
                                v[h * dv..].as_ptr(),
                                hkv * dv,
                                h,
                            );
                        }
                    }
                    let at = want.iter().zip(&got).position(|(a, b)| a != b);
                    assert_eq!(
                        at,
                        None,
                        "{} append {} {hkv}x{dk}/{dv} at {slot} rows {n}",
                        kernels.isa.name(),
                        ty.name()
                    );
                }
            }
        }
    }
}
