//! What attention computes on one page: scores, and sums of values, for a tile of query vectors.
//!
//! Both are products of small matrices with the page's rows, keys `[dk][64]` and values `[64][dv]`: a tile of `T` query
//! vectors by `N` vectors of 16 columns stays in registers, and each row is read (and turned into floats) once for all
//! `T`. Every sum runs in the reference's order, dimensions or positions ascending.
#![allow(
    clippy::indexing_slicing,
    clippy::needless_range_loop,
    reason = "arrays of registers, indexed by constants once unrolled"
)]

use core::arch::x86_64::*;
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
/// Of all functions: AVX-512 F, BW, DQ, VL; the memory is the keys or values of one head in a page of that type.
pub trait Store {
    /// What `keys` needs for `BLOCK` dimensions from `d` on: scales of the vectors of positions from `v` on.
    unsafe fn scales<const N: usize>(keys: *const u8, d: usize, v: usize) -> [__m512; N];
    /// Dimension `d` of the keys in `N` vectors of positions from vector `v` on.
    unsafe fn keys<const N: usize>(
        keys: *const u8,
        d: usize,
        v: usize,
        scales: &[__m512; N],
    ) -> [__m512; N];
    /// `N` vectors from vector `v` on of the value at position `j`; one vector may be cut by `mask`.
    unsafe fn values<const N: usize>(
        values: *const u8,
        dv: usize,
        j: usize,
        v: usize,
        mask: u16,
    ) -> [__m512; N];
    /// All keys and values as floats, in an F32 page's order.
    unsafe fn widen(page: (*const u8, *const u8), dims: (usize, usize), to: (*mut f32, *mut f32));
}

/// Floats.
pub struct F32;
impl Store for F32 {
    #[inline(always)]
    unsafe fn scales<const N: usize>(_: *const u8, _: usize, _: usize) -> [__m512; N] {
        // SAFETY: the caller's promise.
        [unsafe { _mm512_setzero_ps() }; N]
    }
    #[inline(always)]
    unsafe fn keys<const N: usize>(
        keys: *const u8,
        d: usize,
        v: usize,
        s: &[__m512; N],
    ) -> [__m512; N] {
        let mut out = *s;
        for (n, out) in out.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *out = unsafe { _mm512_loadu_ps(keys.cast::<f32>().add(d * PAGE + 16 * (v + n))) };
        }
        out
    }
    #[inline(always)]
    unsafe fn values<const N: usize>(
        values: *const u8,
        dv: usize,
        j: usize,
        v: usize,
        mask: u16,
    ) -> [__m512; N] {
        // SAFETY: the caller's promise.
        unsafe {
            let p = values.cast::<f32>().add(j * dv + 16 * v);
            let mut out = [_mm512_setzero_ps(); N];
            for (n, out) in out.iter_mut().enumerate() {
                *out = if N == 1 {
                    _mm512_maskz_loadu_ps(mask, p)
                } else {
                    _mm512_loadu_ps(p.add(16 * n))
                };
            }
            out
        }
    }
    unsafe fn widen(_: (*const u8, *const u8), _: (usize, usize), _: (*mut f32, *mut f32)) {}
}

/// Halves.
pub struct F16;
impl Store for F16 {
    #[inline(always)]
    unsafe fn scales<const N: usize>(_: *const u8, _: usize, _: usize) -> [__m512; N] {
        // SAFETY: the caller's promise.
        [unsafe { _mm512_setzero_ps() }; N]
    }
    #[inline(always)]
    unsafe fn keys<const N: usize>(
        keys: *const u8,
        d: usize,
        v: usize,
        s: &[__m512; N],
    ) -> [__m512; N] {
        let mut out = *s;
        for (n, out) in out.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *out = unsafe {
                let p = keys.cast::<u16>().add(d * PAGE + 16 * (v + n));
                _mm512_cvtph_ps(_mm256_loadu_si256(p.cast()))
            };
        }
        out
    }
    #[inline(always)]
    unsafe fn values<const N: usize>(
        values: *const u8,
        dv: usize,
        j: usize,
        v: usize,
        mask: u16,
    ) -> [__m512; N] {
        // SAFETY: the caller's promise.
        unsafe {
            let p = values.cast::<i16>().add(j * dv + 16 * v);
            let mut out = [_mm512_setzero_ps(); N];
            for (n, out) in out.iter_mut().enumerate() {
                *out = _mm512_cvtph_ps(if N == 1 {
                    _mm256_maskz_loadu_epi16(mask, p)
                } else {
                    _mm256_loadu_si256(p.add(16 * n).cast())
                });
            }
            out
        }
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn widen(page: (*const u8, *const u8), dims: (usize, usize), to: (*mut f32, *mut f32)) {
        for (from, d, to) in [(page.0, dims.0, to.0), (page.1, dims.1, to.1)] {
            for i in (0..d * PAGE).step_by(16) {
                // SAFETY: the caller's promise; both have `64 d` elements.
                unsafe {
                    let h = _mm256_loadu_si256(from.cast::<u16>().add(i).cast());
                    _mm512_storeu_ps(to.add(i), _mm512_cvtph_ps(h));
                }
            }
        }
    }
}

/// Q8_0 blocks.
pub struct Q8;

/// Sixteen signed bytes as floats.
#[inline(always)]
unsafe fn signed(p: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
}

/// A half in all lanes.
#[inline(always)]
unsafe fn half(p: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let h = p.cast::<u16>().read_unaligned();
        _mm512_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(h))))
    }
}

impl Store for Q8 {
    #[inline(always)]
    unsafe fn scales<const N: usize>(keys: *const u8, d: usize, v: usize) -> [__m512; N] {
        // SAFETY: the caller's promise.
        unsafe {
            let p = keys.add(d / BLOCK * PAGE * BLOCK_BYTES + 32 * v);
            let mut out = [_mm512_setzero_ps(); N];
            for (n, out) in out.iter_mut().enumerate() {
                *out = _mm512_cvtph_ps(_mm256_loadu_si256(p.add(32 * n).cast()));
            }
            out
        }
    }
    #[inline(always)]
    unsafe fn keys<const N: usize>(
        keys: *const u8,
        d: usize,
        v: usize,
        scales: &[__m512; N],
    ) -> [__m512; N] {
        let mut out = *scales;
        for (n, out) in out.iter_mut().enumerate() {
            // SAFETY: the caller's promise. Of a block the scales come first.
            *out = unsafe {
                let p = keys.add((d / BLOCK + 1) * 2 * PAGE + d * PAGE + 16 * (v + n));
                _mm512_mul_ps(*out, signed(p))
            };
        }
        out
    }
    #[inline(always)]
    unsafe fn values<const N: usize>(
        values: *const u8,
        dv: usize,
        j: usize,
        v: usize,
        _: u16,
    ) -> [__m512; N] {
        // SAFETY: the caller's promise; rows are whole blocks.
        unsafe {
            let row = values.add(j * (dv / BLOCK) * BLOCK_BYTES);
            let mut out = [_mm512_setzero_ps(); N];
            for (n, out) in out.iter_mut().enumerate() {
                let block = row.add((v + n) / 2 * BLOCK_BYTES);
                *out = _mm512_mul_ps(half(block), signed(block.add(2 + (v + n) % 2 * 16)));
            }
            out
        }
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn widen(page: (*const u8, *const u8), dims: (usize, usize), to: (*mut f32, *mut f32)) {
        // SAFETY: the caller's promise: whole blocks of dimensions.
        unsafe {
            for d in 0..dims.0 {
                let s = Self::scales::<4>(page.0, d, 0);
                for (n, k) in Self::keys::<4>(page.0, d, 0, &s).into_iter().enumerate() {
                    _mm512_storeu_ps(to.0.add(d * PAGE + 16 * n), k);
                }
            }
            for b in 0..PAGE * dims.1 / BLOCK {
                let v = Self::values::<2>(page.1.add(b * BLOCK_BYTES), 0, 0, 0, 0);
                _mm512_storeu_ps(to.1.add(b * BLOCK), v[0]);
                _mm512_storeu_ps(to.1.add(b * BLOCK + 16), v[1]);
            }
        }
    }
}

/// `out[t][j] = sum of q[t][d] * k[d][j]`, d ascending, for the positions of `N` vectors from `v` on.
///
/// # Safety
/// As [`Store`]'s; `q` are `dk` floats each, `out` is `[T][PAGE]`.
#[inline(always)]
pub unsafe fn scores<S: Store, const T: usize, const N: usize>(
    q: &[*const f32; TILE],
    keys: *const u8,
    dk: usize,
    v: usize,
    out: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); N]; T];
        for first in (0..dk).step_by(BLOCK) {
            let scales = S::scales::<N>(keys, first, v);
            for d in first..dk.min(first + BLOCK) {
                let k = S::keys::<N>(keys, d, v, &scales);
                for t in 0..T {
                    let q = _mm512_set1_ps(*q[t].add(d));
                    for n in 0..N {
                        acc[t][n] = _mm512_fmadd_ps(q, k[n], acc[t][n]);
                    }
                }
            }
        }
        for t in 0..T {
            for n in 0..N {
                _mm512_storeu_ps(out.add(t * PAGE + 16 * (v + n)), acc[t][n]);
            }
        }
    }
}

/// `out[t] = out[t] * c[t]`, then `+ e[t][j] * v[j]` for `j` in `js`, ascending; `N` vectors from `v` on.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "all in registers")]
unsafe fn add_vectors<S: Store, const T: usize, const N: usize>(
    e: *const f32,
    c: *const f32,
    values: *const u8,
    dv: usize,
    js: Range<usize>,
    v: usize,
    mask: u16,
    out: &[*mut f32],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); N]; T];
        for t in 0..T {
            let p = out[t].add(16 * v);
            let c = _mm512_set1_ps(*c.add(t));
            for n in 0..N {
                let old = if N == 1 {
                    _mm512_maskz_loadu_ps(mask, p)
                } else {
                    _mm512_loadu_ps(p.add(16 * n))
                };
                acc[t][n] = _mm512_mul_ps(old, c);
            }
        }
        for j in js {
            let row = S::values::<N>(values, dv, j, v, mask);
            for t in 0..T {
                let e = _mm512_set1_ps(*e.add(t * PAGE + j));
                for n in 0..N {
                    acc[t][n] = _mm512_fmadd_ps(e, row[n], acc[t][n]);
                }
            }
        }
        for t in 0..T {
            let p = out[t].add(16 * v);
            for n in 0..N {
                if N == 1 {
                    _mm512_mask_storeu_ps(p, mask, acc[t][n]);
                } else {
                    _mm512_storeu_ps(p.add(16 * n), acc[t][n]);
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
pub unsafe fn add_values<S: Store, const T: usize, const N: usize>(
    e: *const f32,
    c: *const f32,
    values: *const u8,
    dv: usize,
    js: Range<usize>,
    out: &[*mut f32],
) {
    let whole = dv / 16;
    let mut v = 0;
    // SAFETY: the caller's promise; the last vector is cut where the row ends.
    unsafe {
        while v + N <= whole {
            add_vectors::<S, T, N>(e, c, values, dv, js.clone(), v, !0, out);
            v += N;
        }
        if N == 4 && v + 2 <= whole {
            add_vectors::<S, T, 2>(e, c, values, dv, js.clone(), v, !0, out);
            v += 2;
        }
        while v * 16 < dv {
            let mask = if v < whole { !0 } else { (1 << (dv % 16)) - 1 };
            add_vectors::<S, T, 1>(e, c, values, dv, js.clone(), v, mask, out);
            v += 1;
        }
    }
}
