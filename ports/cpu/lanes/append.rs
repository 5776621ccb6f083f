//! Keys and values into a page, rounded as `crate::quant::quantize_row` rounds.
//!
//! Values lie as they come. Keys lie across, so where many positions are appended, sixteen of them are transposed in
//! registers and a run of slots is written at once; few are written slot by slot.
#![allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "arrays of registers, indexed by constants once unrolled"
)]

use super::{Job, Lanes};
use crate::graph::kernels::attention::{KvLayout, PAGE};
use crate::quant::GgmlType;
use crate::quant::f16::f32_to_f16;
use core::ops::Range;

/// Elements and bytes of a Q8_0 block.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 34;
/// From so many positions on, keys are transposed.
const MANY: usize = 4;

/// Rows of one head, and where they go: its keys or its values in the page.
struct Rows {
    x: *const f32,
    stride: usize,
    /// Elements of a row.
    d: usize,
    slots: Range<usize>,
    page: *mut u8,
}

impl Rows {
    /// Element `d` of row `i`.
    #[inline(always)]
    unsafe fn at(&self, i: usize, d: usize) -> *const f32 {
        // SAFETY: the caller's promise.
        unsafe { self.x.add(i * self.stride + d) }
    }
}

/// Sixteen floats, or as many as a row still has.
#[inline(always)]
unsafe fn load<L: Lanes>(p: *const f32, n: usize) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        if n >= 16 {
            L::load(p)
        } else {
            L::load_part(p, n)
        }
    }
}

/// Up to sixteen floats, or halves, to element `at` of the page.
#[inline(always)]
unsafe fn store<L: Lanes, const HALF: bool>(x: L, page: *mut u8, at: usize, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match (HALF, n >= 16) {
            (true, true) => x.store_halves(page.cast::<u16>().add(at)),
            (true, false) => x.store_halves_part(page.cast::<u16>().add(at), n),
            (false, true) => x.store(page.cast::<f32>().add(at)),
            (false, false) => x.store_part(page.cast::<f32>().add(at), n),
        }
    }
}

/// Keys of floats or halves.
struct Keys<const HALF: bool>(Rows);

impl<const HALF: bool> Job for Keys<HALF> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Rows {
            d: dk,
            ref slots,
            page,
            ..
        } = self.0;
        let n = slots.len();
        // SAFETY: the caller's promise.
        unsafe {
            if n < MANY {
                for (i, slot) in slots.clone().enumerate() {
                    for d in (0..dk).step_by(16) {
                        let x = load::<L>(self.0.at(i, d), dk - d);
                        let (mut f, mut h) = ([0.0f32; 16], [0u16; 16]);
                        if HALF {
                            x.store_halves(h.as_mut_ptr());
                        } else {
                            x.store(f.as_mut_ptr());
                        }
                        for j in 0..16.min(dk - d) {
                            let at = (d + j) * PAGE + slot;
                            if HALF {
                                page.cast::<u16>().add(at).write_unaligned(h[j]);
                            } else {
                                page.cast::<f32>().add(at).write_unaligned(f[j]);
                            }
                        }
                    }
                }
                return;
            }
            for first in (0..n).step_by(16) {
                for d in (0..dk).step_by(16) {
                    let mut x = [L::splat(0.0); 16];
                    for (i, x) in x.iter_mut().enumerate().take(n - first) {
                        *x = load::<L>(self.0.at(first + i, d), dk - d);
                    }
                    L::transpose(&mut x);
                    for (j, &x) in x.iter().enumerate().take(dk - d) {
                        let at = (d + j) * PAGE + slots.start + first;
                        store::<L, HALF>(x, page, at, n - first);
                    }
                }
            }
        }
    }
}

/// Values of floats or halves.
struct Values<const HALF: bool>(Rows);

impl<const HALF: bool> Job for Values<HALF> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let dv = self.0.d;
        for (i, slot) in self.0.slots.clone().enumerate() {
            for d in (0..dv).step_by(16) {
                // SAFETY: the caller's promise.
                unsafe {
                    let x = load::<L>(self.0.at(i, d), dv - d);
                    store::<L, HALF>(x, self.0.page, slot * dv + d, dv - d);
                }
            }
        }
    }
}

/// One block as `quantize_row` makes it: the scale and 32 signed bytes.
#[inline(always)]
unsafe fn quantize<L: Lanes>(x: *const f32) -> (u16, [[i8; 16]; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        let x = [L::load(x), L::load(x.add(16))];
        let top = x[0].abs().larger(L::splat(0.0));
        let largest = x[1].abs().larger(top).largest();
        let d = largest / 127.0;
        let inverse = L::splat(if d == 0.0 { 0.0 } else { 1.0 / d });
        let q = [x[0].mul(inverse).to_bytes(), x[1].mul(inverse).to_bytes()];
        (f32_to_f16(d), q)
    }
}

/// Keys in Q8_0.
struct KeysQ8(Rows);

impl Job for KeysQ8 {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for (i, slot) in self.0.slots.clone().enumerate() {
            for b in 0..self.0.d / BLOCK {
                // SAFETY: the caller's promise.
                unsafe {
                    let (d, q) = quantize::<L>(self.0.at(i, b * BLOCK));
                    let page = self.0.page.add(b * PAGE * BLOCK_BYTES);
                    page.cast::<u16>().add(slot).write_unaligned(d);
                    for (j, q) in q.into_iter().flatten().enumerate() {
                        page.add((2 + j) * PAGE + slot).cast::<i8>().write(q);
                    }
                }
            }
        }
    }
}

/// Values in Q8_0.
struct ValuesQ8(Rows);

impl Job for ValuesQ8 {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let blocks = self.0.d / BLOCK;
        for (i, slot) in self.0.slots.clone().enumerate() {
            for b in 0..blocks {
                // SAFETY: the caller's promise.
                unsafe {
                    let (d, q) = quantize::<L>(self.0.at(i, b * BLOCK));
                    let to = self.0.page.add((slot * blocks + b) * BLOCK_BYTES);
                    to.cast::<u16>().write_unaligned(d);
                    to.add(2).cast::<[[i8; 16]; 2]>().write(q);
                }
            }
        }
    }
}

/// The slot of a level.
///
/// # Safety
/// As the slot.
#[allow(clippy::too_many_arguments, reason = "the slot's")]
pub unsafe fn append<L: Lanes>(
    layout: &KvLayout,
    page: *mut u8,
    slots: Range<usize>,
    k: *const f32,
    k_stride: usize,
    v: *const f32,
    v_stride: usize,
    head: usize,
) {
    let (dk, dv) = layout.head_dims();
    let (keys, values) = layout.head_parts(head);
    // SAFETY: the caller's promise.
    unsafe {
        let keys = Rows {
            x: k,
            stride: k_stride,
            d: dk,
            slots: slots.clone(),
            page: page.add(keys.start),
        };
        let values = Rows {
            x: v,
            stride: v_stride,
            d: dv,
            slots,
            page: page.add(values.start),
        };
        match layout.ty() {
            GgmlType::F16 => {
                L::enter(Keys::<true>(keys));
                L::enter(Values::<true>(values));
            }
            GgmlType::Q8_0 => {
                L::enter(KeysQ8(keys));
                L::enter(ValuesQ8(values));
            }
            _ => {
                L::enter(Keys::<false>(keys));
                L::enter(Values::<false>(values));
            }
        }
    }
}
