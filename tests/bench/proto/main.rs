//! How fast the reference kernels are, and how fast their definition lets a port be.
//!
//! Measures plain reading, the reference at both levels, and prototypes for AVX-512 VNNI (`proto.rs`)
//! that are first checked to give the reference's bits. See README.md beside this file.

#[cfg(target_arch = "x86_64")]
mod proto;

use realm_sys::graph::kernels::attention::{Attend, KvLayout, attend_row, kv_append_row};
use realm_sys::graph::kernels::matmul::{MulMat, act_kind, act_row_bytes, mul_mat, prepare_act};
use realm_sys::num::{FpGuard, cpu};
use realm_sys::quant::GgmlType;
use std::hint::black_box;
use std::time::Instant;

pub(crate) struct Rng(pub(crate) u64);
impl Rng {
    pub(crate) fn u32(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32 ^ (self.0 >> 11) as u32
    }
    pub(crate) fn unit(&mut self) -> f32 {
        self.u32() as i32 as f32 / 2147483648.0
    }
}

/// Page-aligned bytes, on huge pages where the system gives them.
pub(crate) struct Big(std::alloc::Layout, *mut u8);
impl Big {
    pub(crate) fn new(bytes: usize) -> Self {
        let layout = std::alloc::Layout::from_size_align(bytes, 2 << 20).unwrap();
        // SAFETY: bytes is not 0.
        let p = unsafe { std::alloc::alloc(layout) };
        assert!(!p.is_null());
        #[cfg(target_os = "linux")]
        {
            unsafe extern "C" {
                fn madvise(p: *mut core::ffi::c_void, len: usize, advice: i32) -> i32;
            }
            // SAFETY: advice (MADV_HUGEPAGE) about memory of ours.
            unsafe { madvise(p.cast(), bytes, 14) };
        }
        // SAFETY: just allocated.
        unsafe { p.write_bytes(1, bytes) };
        Self(layout, p)
    }
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated and initialised.
        unsafe { std::slice::from_raw_parts_mut(self.1, self.0.size()) }
    }
}
impl Drop for Big {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.1, self.0) }
    }
}

/// The best of a few runs, in seconds.
pub(crate) fn best(mut f: impl FnMut()) -> f64 {
    (0..5)
        .map(|_| {
            let t = Instant::now();
            f();
            t.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

/// Random weights with small ordinary scales.
pub(crate) fn weights(r: &mut Rng, ty: GgmlType, w: &mut [u8]) {
    w.chunks_mut(4)
        .for_each(|c| c.copy_from_slice(&r.u32().to_le_bytes()[..c.len()]));
    let at: &[usize] = match ty {
        GgmlType::Q4_K | GgmlType::Q5_K | GgmlType::Q4_1 => &[0, 2],
        GgmlType::Q6_K => &[208],
        GgmlType::Q2_K => &[80, 82],
        GgmlType::Q3_K => &[108],
        GgmlType::F16 => &[0],
        _ => &[0],
    };
    if matches!(ty, GgmlType::F32 | GgmlType::BF16) {
        w.chunks_exact_mut(4)
            .for_each(|c| c.copy_from_slice(&r.unit().to_le_bytes()));
        return;
    }
    for b in w.chunks_exact_mut(ty.block_bytes()) {
        for &a in at {
            b[a + 1] = 0x20 | b[a + 1] & 3;
        }
    }
}

fn read_bandwidth(b: &[u8]) -> f64 {
    let t = best(|| {
        let mut s = [0u64; 32];
        for c in b.chunks_exact(256) {
            for (s, c) in s.iter_mut().zip(c.as_chunks::<8>().0) {
                *s = s.wrapping_add(u64::from_ne_bytes(*c));
            }
        }
        black_box(s);
    });
    b.len() as f64 / t / 1e9
}

const K: usize = 2048;

pub(crate) fn prepared(r: &mut Rng, ty: GgmlType, n: usize) -> Vec<u8> {
    let bytes = act_row_bytes(act_kind(ty), K);
    let mut act = vec![0; bytes * n];
    for a in act.chunks_mut(bytes) {
        let x: Vec<f32> = (0..K).map(|_| r.unit()).collect();
        prepare_act(act_kind(ty), &x, a);
    }
    act
}

pub(crate) fn product(ty: GgmlType, w: &[u8], act: &[u8], n_tok: usize, dst: &mut [f32]) {
    let m = w.len() / ty.row_bytes(K as u64).unwrap() as usize;
    assert!(dst.len() >= m * n_tok);
    let a = MulMat {
        ty,
        w,
        k: K,
        m,
        act,
        n_tok,
        bias: None,
        dst: dst.as_mut_ptr(),
        dst_stride: m,
    };
    // SAFETY: dst is as large as asserted.
    unsafe { mul_mat(&a, 0..m) };
}

fn main() {
    let _guard = FpGuard::new();
    let mut r = Rng(1);
    let mut big = Big::new(256 << 20);
    println!("reading {:.1} GB/s", read_bandwidth(big.bytes()));
    use GgmlType as T;
    println!("reference, one thread: decode GB/s from memory (from L2), prefill Gop/s (64 tokens)");
    for ty in [
        T::Q4_K,
        T::Q6_K,
        T::Q5_K,
        T::Q3_K,
        T::Q2_K,
        T::IQ4_XS,
        T::Q8_0,
        T::Q4_0,
        T::Q5_1,
        T::IQ4_NL,
        T::F32,
        T::F16,
        T::BF16,
        T::IQ2_XS,
    ] {
        let wanted: Vec<String> = std::env::args()
            .skip(1)
            .filter(|a| !a.starts_with('-'))
            .collect();
        if !wanted.is_empty() && !wanted.iter().any(|a| a == ty.name()) {
            continue;
        }
        let row = ty.row_bytes(K as u64).unwrap() as usize;
        let many = (64 << 20) / row;
        let few = (300 << 10) / row;
        let w = &mut big.bytes()[..many * row];
        weights(&mut r, ty, w);
        let act = prepared(&mut r, ty, 64);
        let one = &act[..act.len() / 64];
        let mut dst = vec![0.0; many.max(few * 64)];
        print!("{:8}", ty.name());
        for portable in [false, true] {
            cpu::force_portable(portable);
            let mem = best(|| product(ty, w, one, 1, &mut dst));
            let l2 = best(|| (0..50).for_each(|_| product(ty, &w[..few * row], one, 1, &mut dst)));
            let pre = best(|| product(ty, &w[..few * row], &act, 64, &mut dst));
            print!(
                "  {} {:5.1} ({:5.1})  {:5.0}",
                if portable { "portable" } else { "detected" },
                (many * row) as f64 / mem / 1e9,
                (50 * few * row) as f64 / l2 / 1e9,
                (2 * few * K * 64) as f64 / pre / 1e9
            );
        }
        cpu::force_portable(false);
        println!();
    }
    attention(&mut r);
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512vnni")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vl")
    {
        // SAFETY: the features are there.
        unsafe { proto::run(&mut r, &mut big) };
    }
}

fn attention(r: &mut Rng) {
    let (heads, hkv, d, n) = (32, 4, 64, 1024);
    for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Q8_0] {
        let layout = KvLayout::new(ty, hkv, d, d).unwrap();
        let mut pages = vec![vec![0u8; layout.page_bytes()]; n / 64];
        for p in 0..n {
            let k: Vec<f32> = (0..hkv * d).map(|_| r.unit()).collect();
            kv_append_row(&layout, &mut pages[p / 64], p % 64, &k, &k);
        }
        let pages: Vec<_> = pages.iter().map(|p| p.as_ptr()).collect();
        let q: Vec<f32> = (0..heads * d).map(|_| r.unit()).collect();
        let mut y = vec![0.0; heads * d];
        let a = Attend {
            layout: &layout,
            n_head: heads,
            scale: 0.125,
            window: 0,
            softcap: 0.0,
            pages: &pages,
            offset: 0,
        };
        let t = best(|| {
            (0..20).for_each(|_| {
                // SAFETY: `a` describes the pages above.
                unsafe { attend_row(&a, n as u32 - 1, &q, 0..heads, &mut y) }
            })
        }) / 20.0;
        println!(
            "attention {}: {:.0} us for {heads} heads of {d} over {n} positions, {:.1} Gflop/s",
            ty.name(),
            t * 1e6,
            (4 * heads * d * n) as f64 / t / 1e9
        );
    }
}
