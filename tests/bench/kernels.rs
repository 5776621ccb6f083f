//! How fast the CPU port's kernels are, beside what the machine could do.
//!
//!     cargo bench -p realm-sys --bench kernels -- [LEVEL...] [TYPE...] [attention]
//!
//! On one thread, for every level of instructions that is available (or those named) and every type of weights (or
//! those named): decode in GB/s of weights, out of memory and out of the second-level cache, and prefill in Gop/s (two
//! operations per multiply-add) by number of tokens; then attention. See README.md beside this file.

use realm_sys::cpu::isa::{self, Isa};
use realm_sys::cpu::kernels::{Attention, Kernels, Product};
use realm_sys::graph::kernels::attention::{KvLayout, kv_append_row};
use realm_sys::graph::kernels::matmul::act_kind;
use realm_sys::num::FpGuard;
use realm_sys::quant::GgmlType;
use std::hint::black_box;
use std::time::Instant;

use GgmlType as T;
const TYPES: [GgmlType; 23] = [
    T::Q4_K,
    T::Q5_K,
    T::Q6_K,
    T::Q2_K,
    T::Q3_K,
    T::IQ4_XS,
    T::Q8_0,
    T::Q4_0,
    T::Q4_1,
    T::Q5_0,
    T::Q5_1,
    T::IQ4_NL,
    T::MXFP4,
    T::F32,
    T::F16,
    T::BF16,
    T::IQ2_XXS,
    T::IQ2_XS,
    T::IQ2_S,
    T::IQ3_XXS,
    T::IQ3_S,
    T::IQ1_S,
    T::IQ1_M,
];

/// Elements of a row.
const K: usize = 2048;
/// Rows per call, as the port cuts its work.
const STEP: usize = 256;

struct Rng(u64);
impl Rng {
    fn u32(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32 ^ (self.0 >> 11) as u32
    }
    fn unit(&mut self) -> f32 {
        self.u32() as i32 as f32 / 2147483648.0
    }
    fn units(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
}

/// Aligned bytes, on huge pages where the system gives them.
struct Big(std::alloc::Layout, *mut u8);
impl Big {
    fn new(bytes: usize) -> Self {
        let layout = std::alloc::Layout::from_size_align(bytes.max(64), 2 << 20).unwrap();
        // SAFETY: the size is not 0.
        let p = unsafe { std::alloc::alloc(layout) };
        assert!(!p.is_null());
        #[cfg(target_os = "linux")]
        {
            unsafe extern "C" {
                fn madvise(p: *mut core::ffi::c_void, len: usize, advice: i32) -> i32;
            }
            // SAFETY: advice (MADV_HUGEPAGE) about memory of ours.
            unsafe { madvise(p.cast(), layout.size(), 14) };
        }
        // SAFETY: just allocated.
        unsafe { p.write_bytes(1, layout.size()) };
        Self(layout, p)
    }
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated and initialised, and borrowed with self.
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
fn best(mut f: impl FnMut()) -> f64 {
    (0..7)
        .map(|_| {
            let t = Instant::now();
            f();
            t.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

/// Random weights with small ordinary scales.
fn weights(r: &mut Rng, ty: GgmlType, w: &mut [u8]) {
    w.chunks_mut(4)
        .for_each(|c| c.copy_from_slice(&r.u32().to_le_bytes()[..c.len()]));
    let scales: &[usize] = match ty {
        T::F32 => {
            w.chunks_exact_mut(4)
                .for_each(|c| c.copy_from_slice(&r.unit().to_le_bytes()));
            return;
        }
        T::F16 | T::BF16 => {
            w.chunks_exact_mut(2)
                .for_each(|b| b[1] = b[1] & 0x83 | 0x30);
            return;
        }
        T::MXFP4 => {
            w.chunks_exact_mut(ty.block_bytes())
                .for_each(|b| b[0] = 120);
            return;
        }
        T::Q4_K | T::Q5_K | T::Q4_1 | T::Q5_1 => &[0, 2],
        T::Q6_K => &[208],
        T::Q2_K => &[80, 82],
        T::Q3_K => &[108],
        T::IQ1_M => &[],
        _ => &[0],
    };
    for b in w.chunks_exact_mut(ty.block_bytes()) {
        for &at in scales {
            b[at + 1] = 0x20 | b[at + 1] & 3;
        }
    }
}

/// GB/s of reading, the fastest way that is known (`ceilings.c` has the same).
fn read_ceiling(b: &[u8]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if Isa::Avx512.available() {
        #[target_feature(enable = "avx512f")]
        fn lines(b: &[u8]) -> u64 {
            use std::arch::x86_64::*;
            let mut s = _mm512_setzero_si512();
            for c in b.chunks_exact(512) {
                for line in c.as_chunks::<64>().0 {
                    let ahead = line.as_ptr().wrapping_add(4096);
                    // SAFETY: a hint, and 64 bytes.
                    s = unsafe {
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        _mm512_xor_si512(s, _mm512_loadu_si512(line.as_ptr().cast()))
                    };
                }
            }
            _mm512_reduce_add_epi64(s) as u64
        }
        // SAFETY: the level is there.
        let t = best(|| _ = black_box(unsafe { lines(b) }));
        return b.len() as f64 / t / 1e9;
    }
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

/// Gop/s of `vpdpbusd`, where there is one.
fn vnni_ceiling() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if Isa::Avx512.available() {
        #[target_feature(enable = "avx512f,avx512vnni")]
        fn run(n: usize) -> f64 {
            use std::arch::x86_64::*;
            let t = best(|| {
                let x = black_box(_mm512_set1_epi8(1));
                let mut a = [_mm512_setzero_si512(); 12];
                for _ in 0..n {
                    for a in &mut a {
                        *a = _mm512_dpbusd_epi32(*a, x, x);
                    }
                }
                black_box(a);
            });
            (n * 12 * 128) as f64 / t / 1e9
        }
        // SAFETY: the level, which includes these features, is available.
        return Some(unsafe { run(1_000_000) });
    }
    None
}

fn products(kernels: &Kernels, r: &mut Rng, ty: GgmlType, big: &mut Big) {
    let row = ty.row_bytes(K as u64).unwrap() as usize;
    let many = (64 << 20) / row / 64 * 64;
    let few = ((300 << 10) / row / 64 * 64).max(64);
    let w = &mut big.bytes()[..many * row];
    weights(r, ty, w);
    let read = read_ceiling(w);
    let kind = act_kind(ty);
    let act_bytes = (kernels.act_row_bytes)(kind, K);
    let tokens = if kernels.isa == Isa::Scalar { 32 } else { 512 };
    let mut acts = Big::new(act_bytes * tokens);
    for act in acts.bytes().chunks_exact_mut(act_bytes).take(tokens) {
        let x = r.units(K);
        // SAFETY: the level is available; rows are multiples of 64 bytes from an aligned start.
        unsafe { (kernels.prepare_act)(kind, &x, act.as_mut_ptr()) };
    }
    let mut dst = vec![0f32; many.max(few * tokens)];
    let mut scratch = Big::new((kernels.product_scratch_bytes)(ty, K, tokens));
    let mut go = |m: usize, n: usize| {
        let acts = acts.bytes();
        let act: Vec<*const u8> = (0..n).map(|t| acts[t * act_bytes..].as_ptr()).collect();
        let dst: Vec<*mut f32> = (0..n).map(|t| dst[t * m..][..m].as_mut_ptr()).collect();
        let p = Product {
            ty,
            w: &w[..m * row],
            k: K,
            m,
            act: &act,
            dst: &dst,
            bias: None,
        };
        for first in (0..m).step_by(STEP) {
            let rows = first..(first + STEP).min(m);
            // SAFETY: the level is available, everything is as large as `p` says, and one thread is at it.
            unsafe { (kernels.product)(&p, rows, scratch.bytes().as_mut_ptr()) };
        }
    };
    let memory = (many * row) as f64 / best(|| go(many, 1)) / 1e9;
    let cache = (50 * few * row) as f64 / best(|| (0..50).for_each(|_| go(few, 1))) / 1e9;
    print!(
        "{:8} {:8} {memory:7.1} {read:7.1} {cache:7.1}",
        kernels.isa.name(),
        ty.name()
    );
    for n in [2, 8, 32, 128, 512] {
        if n <= tokens {
            let t = best(|| go(few, n));
            print!(" {:7.0}", (2 * few * K * n) as f64 / t / 1e9);
        } else {
            print!(" {:>7}", "");
        }
    }
    match vnni_ceiling() {
        Some(rate) => println!(" {rate:7.0}"),
        None => println!(),
    }
}

fn attention(kernels: &Kernels, r: &mut Rng, heads: usize, kv_heads: usize, d: usize) {
    const POSITIONS: usize = 1024;
    const ROWS: usize = 512;
    for ty in [T::F32, T::F16, T::Q8_0] {
        let layout = KvLayout::new(ty, kv_heads, d, d).unwrap();
        let mut pages = vec![vec![0u8; layout.page_bytes()]; POSITIONS / 64];
        for p in 0..POSITIONS {
            let x = r.units(kv_heads * d);
            kv_append_row(&layout, &mut pages[p / 64], p % 64, &x, &x);
        }
        let pages: Vec<*const u8> = pages.iter().map(|p| p.as_ptr()).collect();
        let q = r.units(ROWS * heads * d);
        let mut y = vec![0f32; ROWS * heads * d];
        let mut scratch = Big::new((kernels.attend_scratch_bytes)(&layout, heads, ROWS));
        let mut go = |first: usize, rows: usize| {
            let a = Attention {
                layout: &layout,
                n_head: heads,
                scale: 0.125,
                window: 0,
                softcap: 0.0,
                sinks: None,
                pages: &pages,
                offset: 0,
                first: first as u32,
                all: None,
                q: q.as_ptr(),
                dst: y.as_mut_ptr(),
            };
            // SAFETY: the level is available, everything is as large as `a` says, and one thread is at it.
            unsafe { (kernels.attend)(&a, 0..rows, 0..kv_heads, scratch.bytes().as_mut_ptr()) };
        };
        let one = best(|| go(POSITIONS - 1, 1));
        let many = best(|| go(0, ROWS));
        println!(
            "{:8} {:8} {:>11} {:9.0} {:9.1} {:9.1} {:9.1}",
            kernels.isa.name(),
            ty.name(),
            format!("{heads}/{kv_heads} x {d}"),
            one * 1e6,
            (layout.page_bytes() * pages.len()) as f64 / one / 1e9,
            (4 * heads * d * POSITIONS) as f64 / one / 1e9,
            (4 * heads * d * ROWS * (ROWS + 1) / 2) as f64 / many / 1e9
        );
    }
}

fn main() {
    let _guard = FpGuard::new();
    // cargo adds --bench.
    let mut words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let mut levels: Vec<Isa> = isa::ALL.into_iter().filter(|i| i.available()).collect();
    if levels.iter().any(|i| words.iter().any(|w| w == i.name())) {
        levels.retain(|i| words.iter().any(|w| w == i.name()));
    }
    words.retain(|w| isa::ALL.iter().all(|i| i.name() != w));
    let wanted = |name: &str| words.is_empty() || words.iter().any(|w| w == name);
    let mut r = Rng(1);
    let mut big = Big::new(64 << 20);
    if TYPES.iter().any(|ty| wanted(ty.name())) {
        println!("decode, GB/s of weights; prefill, Gop/s by number of tokens");
        println!(
            "level    type      memory reading   cache       2       8      32     128     512 vpdpbusd"
        );
    }
    for level in &levels {
        let kernels = Kernels::of(*level).unwrap();
        for ty in TYPES.into_iter().filter(|ty| wanted(ty.name())) {
            products(&kernels, &mut r, ty, &mut big);
        }
    }
    if wanted("attention") {
        println!("attention: one row that sees 1024 positions; 512 rows from the start");
        println!("level    keys           heads        us      GB/s   Gflop/s  512 rows");
        for level in &levels {
            let kernels = Kernels::of(*level).unwrap();
            attention(&kernels, &mut r, 32, 4, 64);
            attention(&kernels, &mut r, 16, 8, 128);
        }
    }
}
