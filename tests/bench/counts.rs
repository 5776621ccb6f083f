//! One call of one kernel of the CPU port, for counting its instructions: see `counts.py`.
//!
//! `counts` lists the cases, `counts CASE` runs one. Only what happens inside of `realm_counted_call` is meant to be
//! counted. Valgrind has no AVX-512, so the best level that it shows is AVX2.

use realm_sys::cpu::kernels::{Attention, Kernels, Product};
use realm_sys::graph::kernels::attention::{KvLayout, kv_append_row};
use realm_sys::graph::kernels::matmul::act_kind;
use realm_sys::quant::GgmlType as T;
use std::hint::black_box;

const K: usize = 1024;
const ROWS: usize = 64;
const TYPES: [T; 6] = [T::Q4_K, T::Q6_K, T::Q8_0, T::Q4_0, T::F16, T::F32];

#[unsafe(no_mangle)]
#[inline(never)]
fn realm_counted_call(f: &dyn Fn()) {
    black_box(f)();
}

/// Memory on a 64-byte boundary.
fn aligned(bytes: usize) -> *mut u8 {
    let words = vec![0u64; bytes / 8 + 16].leak();
    let p = words.as_mut_ptr().cast::<u8>();
    p.wrapping_add(p.align_offset(64))
}

fn product(kernels: &Kernels, ty: T, n: usize) {
    // What the weights are makes no difference: there are no branches on them.
    let w = vec![0x2du8; ty.row_bytes(K as u64).unwrap() as usize * ROWS];
    let kind = act_kind(ty);
    let x: Vec<f32> = (0..K).map(|i| (i % 7) as f32 - 3.0).collect();
    let act: Vec<*const u8> = (0..n)
        .map(|_| {
            let row = aligned((kernels.act_row_bytes)(kind, K));
            // SAFETY: the level is this machine's, the row as long as asked for.
            unsafe { (kernels.prepare_act)(kind, &x, row) };
            row.cast_const()
        })
        .collect();
    let dst: Vec<*mut f32> = (0..n).map(|_| aligned(ROWS * 4).cast()).collect();
    let scratch = aligned((kernels.product_scratch_bytes)(ty, K, n));
    let p = Product {
        ty,
        w: &w,
        k: K,
        m: ROWS,
        act: &act,
        dst: &dst,
        bias: None,
    };
    // SAFETY: as the slot asks.
    realm_counted_call(&|| unsafe { (kernels.product)(&p, 0..ROWS, scratch) });
}

fn attention(kernels: &Kernels, rows: usize) {
    let (heads, kv, dim, positions) = (8, 2, 64, 256);
    let layout = KvLayout::new(T::F16, kv, dim, dim).unwrap();
    let mut pages = vec![vec![0u8; layout.page_bytes()]; positions / 64];
    let x: Vec<f32> = (0..kv * dim).map(|i| (i % 5) as f32 / 4.0).collect();
    for p in 0..positions {
        kv_append_row(&layout, &mut pages[p / 64], p % 64, &x, &x);
    }
    let pages: Vec<*const u8> = pages.iter().map(|p| p.as_ptr()).collect();
    let q = vec![0.5f32; rows * heads * dim];
    let mut dst = vec![0f32; rows * heads * dim];
    let scratch = aligned((kernels.attend_scratch_bytes)(&layout, heads, rows));
    let a = Attention {
        layout: &layout,
        n_head: heads,
        scale: 0.125,
        window: 0,
        softcap: 0.0,
        sinks: None,
        pages: &pages,
        offset: 0,
        first: (positions - rows) as u32,
        all: None,
        q: q.as_ptr(),
        dst: dst.as_mut_ptr(),
    };
    // SAFETY: as the slot asks.
    realm_counted_call(&|| unsafe { (kernels.attend)(&a, 0..rows, 0..kv, scratch) });
}

fn main() {
    let kernels = Kernels::current();
    // cargo adds `--bench` when it runs this itself.
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    for n in [1, 16] {
        for ty in TYPES {
            let name = format!("{} {} x{n}", kernels.isa.name(), ty.name());
            match &wanted {
                None => println!("{name}"),
                Some(w) if *w == name => product(&kernels, ty, n),
                Some(_) => {}
            }
        }
        let name = format!("{} attention x{n}", kernels.isa.name());
        match &wanted {
            None => println!("{name}"),
            Some(w) if *w == name => attention(&kernels, n),
            Some(_) => {}
        }
    }
}
