//! What attention computes on one page: scores, and sums of values, for a tile of query vectors.
//!
//! Both are products of small matrices with the page's rows, keys `[dk][64]` and values `[64][dv]`: a tile of `T` query
//! vectors by `N` times 16 columns stays in registers, and each row is read (and turned into floats) once for all
//! `T`. Every sum runs in the reference's order, dimensions or positions ascending.
#![allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "arrays of registers, indexed by constants once unrolled"
)]

use super::Lanes;
use crate::quant::f16::f16_to_f32;
use core::ops::Range;

/// Positions of a page.
pub const PAGE: usize = crate::graph::kernels::attention::PAGE;
/// Query vectors of the largest tile.
pub const TILE: usize = 8;
/// Elements and bytes of a Q8_0 block.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 34;

/// A type of page: how its numbers become floats, exactly as the reference's do.
///
/// # Safety
/// Of all functions: within `enter`; the memory is the keys or values of one head in a page of that type.
pub trait Store {
    /// What `keys` needs for `BLOCK` dimensions from `d` on: scales of the sixteens of positions from `v` on.
    unsafe fn scales<L: Lanes, const N: usize>(keys: *const u8, d: usize, v: usize) -> [L; N];
    /// Dimension `d` of the keys in `N` sixteens of positions from sixteen `v` on.
    unsafe fn keys<L: Lanes, const N: usize>(
        keys: *const u8,
        d: usize,
        v: usize,
        scales: &[L; N],
    ) -> [L; N];
    /// `N` sixteens from sixteen `v` on of the value at position `j`; a single one may have only `part` elements.
    unsafe fn values<L: Lanes, const N: usize>(
        values: *const u8,
        dv: usize,
        j: usize,
        v: usize,
        part: usize,
    ) -> [L; N];
    /// All keys and values as floats, in an F32 page's order.
    unsafe fn widen<L: Lanes>(
        page: (*const u8, *const u8),
        dims: (usize, usize),
        to: (*mut f32, *mut f32),
    );
}

/// Floats, or halves.
pub struct Floats<const HALF: bool>;
pub type F32 = Floats<false>;
pub type F16 = Floats<true>;

impl<const HALF: bool> Floats<HALF> {
    /// Sixteen numbers from number `at` on.
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const u8, at: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe {
            if HALF {
                L::load_halves(from.cast::<u16>().add(at))
            } else {
                L::load(from.cast::<f32>().add(at))
            }
        }
    }

    /// The first `n` of them.
    #[inline(always)]
    unsafe fn load_part<L: Lanes>(from: *const u8, at: usize, n: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe {
            if HALF {
                L::load_halves_part(from.cast::<u16>().add(at), n)
            } else {
                L::load_part(from.cast::<f32>().add(at), n)
            }
        }
    }
}

impl<const HALF: bool> Store for Floats<HALF> {
    #[inline(always)]
    unsafe fn scales<L: Lanes, const N: usize>(_: *const u8, _: usize, _: usize) -> [L; N] {
        // SAFETY: the caller's promise.
        [unsafe { L::splat(0.0) }; N]
    }
    #[inline(always)]
    unsafe fn keys<L: Lanes, const N: usize>(
        keys: *const u8,
        d: usize,
        v: usize,
        s: &[L; N],
    ) -> [L; N] {
        let mut out = *s;
        for (n, out) in out.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *out = unsafe { Self::load(keys, d * PAGE + 16 * (v + n)) };
        }
        out
    }
    #[inline(always)]
    unsafe fn values<L: Lanes, const N: usize>(
        values: *const u8,
        dv: usize,
        j: usize,
        v: usize,
        part: usize,
    ) -> [L; N] {
        let at = j * dv + 16 * v;
        // SAFETY: the caller's promise.
        unsafe {
            let mut out = [L::splat(0.0); N];
            for (n, out) in out.iter_mut().enumerate() {
                *out = if N > 1 || part == 16 {
                    Self::load(values, at + 16 * n)
                } else {
                    Self::load_part(values, at, part)
                };
            }
            out
        }
    }
    #[inline(always)]
    unsafe fn widen<L: Lanes>(
        page: (*const u8, *const u8),
        dims: (usize, usize),
        to: (*mut f32, *mut f32),
    ) {
        // Floats are as wide as they get.
        if !HALF {
            return;
        }
        for (from, d, to) in [(page.0, dims.0, to.0), (page.1, dims.1, to.1)] {
            for i in (0..d * PAGE).step_by(16) {
                // SAFETY: the caller's promise; both have `64 d` elements.
                unsafe { Self::load::<L>(from, i).store(to.add(i)) };
            }
        }
    }
}

/// Q8_0 blocks.
pub struct Q8;
impl Store for Q8 {
    #[inline(always)]
    unsafe fn scales<L: Lanes, const N: usize>(keys: *const u8, d: usize, v: usize) -> [L; N] {
        // SAFETY: the caller's promise.
        unsafe {
            let p = keys.add(d / BLOCK * PAGE * BLOCK_BYTES).cast::<u16>();
            let mut out = [L::splat(0.0); N];
            for (n, out) in out.iter_mut().enumerate() {
                *out = L::load_halves(p.add(16 * (v + n)));
            }
            out
        }
    }
    #[inline(always)]
    unsafe fn keys<L: Lanes, const N: usize>(
        keys: *const u8,
        d: usize,
        v: usize,
        scales: &[L; N],
    ) -> [L; N] {
        let mut out = *scales;
        for (n, out) in out.iter_mut().enumerate() {
            // SAFETY: the caller's promise. Of a block the scales come first.
            *out = unsafe {
                let p = keys.add((d / BLOCK + 1) * 2 * PAGE + d * PAGE + 16 * (v + n));
                out.mul(L::load_bytes(p.cast()))
            };
        }
        out
    }
    #[inline(always)]
    unsafe fn values<L: Lanes, const N: usize>(
        values: *const u8,
        dv: usize,
        j: usize,
        v: usize,
        _: usize,
    ) -> [L; N] {
        // SAFETY: the caller's promise; rows are whole blocks.
        unsafe {
            let row = values.add(j * (dv / BLOCK) * BLOCK_BYTES);
            let mut out = [L::splat(0.0); N];
            for (n, out) in out.iter_mut().enumerate() {
                let block = row.add((v + n) / 2 * BLOCK_BYTES);
                let d = f16_to_f32(block.cast::<u16>().read_unaligned());
                let q = L::load_bytes(block.add(2 + (v + n) % 2 * 16).cast());
                *out = L::splat(d).mul(q);
            }
            out
        }
    }
    #[inline(always)]
    unsafe fn widen<L: Lanes>(
        page: (*const u8, *const u8),
        dims: (usize, usize),
        to: (*mut f32, *mut f32),
    ) {
        // SAFETY: the caller's promise: whole blocks of dimensions.
        unsafe {
            for d in 0..dims.0 {
                let s = Self::scales::<L, 4>(page.0, d, 0);
                for (n, k) in Self::keys::<L, 4>(page.0, d, 0, &s).into_iter().enumerate() {
                    k.store(to.0.add(d * PAGE + 16 * n));
                }
            }
            for b in 0..PAGE * dims.1 / BLOCK {
                let v = Self::values::<L, 2>(page.1.add(b * BLOCK_BYTES), 0, 0, 0, 0);
                v[0].store(to.1.add(b * BLOCK));
                v[1].store(to.1.add(b * BLOCK + 16));
            }
        }
    }
}

/// `out[t][j] = sum of q[t][d] * k[d][j]`, d ascending, for the positions of `N` sixteens from `v` on.
///
/// # Safety
/// As [`Store`]'s; `q` are `dk` floats each, `out` is `[T][PAGE]`.
#[inline(always)]
pub unsafe fn scores<L: Lanes, S: Store, const T: usize, const N: usize>(
    q: &[*const f32; TILE],
    keys: *const u8,
    dk: usize,
    v: usize,
    out: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[L::splat(0.0); N]; T];
        for first in (0..dk).step_by(BLOCK) {
            let scales = S::scales::<L, N>(keys, first, v);
            for d in first..dk.min(first + BLOCK) {
                let k = S::keys::<L, N>(keys, d, v, &scales);
                for t in 0..T {
                    let q = L::splat(*q[t].add(d));
                    for n in 0..N {
                        acc[t][n] = q.fma(k[n], acc[t][n]);
                    }
                }
            }
        }
        for t in 0..T {
            for n in 0..N {
                acc[t][n].store(out.add(t * PAGE + 16 * (v + n)));
            }
        }
    }
}

/// `out[t] = out[t] * c[t]`, then `+ e[t][j] * v[j]` for `j` in `js`, ascending; `N` sixteens from `v` on.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "all in registers")]
unsafe fn add_sixteens<L: Lanes, S: Store, const T: usize, const N: usize>(
    e: *const f32,
    c: *const f32,
    values: *const u8,
    dv: usize,
    js: Range<usize>,
    v: usize,
    part: usize,
    out: &[*mut f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[L::splat(0.0); N]; T];
        for t in 0..T {
            let p = out[t].add(16 * v);
            let c = L::splat(*c.add(t));
            for n in 0..N {
                let old = if N > 1 || part == 16 {
                    L::load(p.add(16 * n))
                } else {
                    L::load_part(p, part)
                };
                acc[t][n] = old.mul(c);
            }
        }
        for j in js {
            let row = S::values::<L, N>(values, dv, j, v, part);
            for t in 0..T {
                let e = L::splat(*e.add(t * PAGE + j));
                for n in 0..N {
                    acc[t][n] = e.fma(row[n], acc[t][n]);
                }
            }
        }
        for t in 0..T {
            let p = out[t].add(16 * v);
            for n in 0..N {
                if N > 1 || part == 16 {
                    acc[t][n].store(p.add(16 * n));
                } else {
                    acc[t][n].store_part(p, part);
                }
            }
        }
    }
}

/// `out[t] = out[t] * c[t]`, then `+ e[t][j] * v[j]` for `j` in `js`, ascending, in all `dv` dimensions.
///
/// # Safety
/// As [`Store`]'s; `out` are `T` times `dv` floats, `e` is `[T][PAGE]`, `c` is `[T]`.
#[inline(always)]
pub unsafe fn add_values<L: Lanes, S: Store, const T: usize, const N: usize>(
    e: *const f32,
    c: *const f32,
    values: *const u8,
    dv: usize,
    js: Range<usize>,
    out: &[*mut f32],
) {
    let whole = dv / 16;
    let mut v = 0;
    // SAFETY: the caller's promise; the last sixteen ends where the row does.
    unsafe {
        while v + N <= whole {
            add_sixteens::<L, S, T, N>(e, c, values, dv, js.clone(), v, 16, out);
            v += N;
        }
        if N == 4 && v + 2 <= whole {
            add_sixteens::<L, S, T, 2>(e, c, values, dv, js.clone(), v, 16, out);
            v += 2;
        }
        // Apart from the last, so that whole ones need not ask.
        while N > 1 && v < whole {
            add_sixteens::<L, S, T, 1>(e, c, values, dv, js.clone(), v, 16, out);
            v += 1;
        }
        if v * 16 < dv {
            add_sixteens::<L, S, T, 1>(e, c, values, dv, js, v, dv % 16, out);
        }
    }
}
