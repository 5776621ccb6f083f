//! More activation rows: 32 weight rows are expanded to bytes once, then multiplied with all of them.
//!
//! A lane is a weight row, so nothing is ever summed across lanes. Each group of four activations is broadcast to two
//! vectors of 16 rows; with up to six activation rows at once there are 12 sums of a sub-block and 12 of a super-block in
//! registers, and fewer loads than multiplications. A tile has for each super-block, of each of the 32 rows:
//!
//! | bytes             | what |
//! |-------------------|------|
//! | 64 times 128      | four integers each, unsigned |
//! | sub-blocks * 128  | scales, i32 |
//! | sub-blocks * 64   | what sums of activations are multiplied by, pairs of i16: minima, or the scale times -offset |
//! | 2 times 128       | the factors, and those of minima |

use super::act::{RECORD, SCALE, SUMS_16, SUMS_32};
use super::expand::Expand;
use crate::cpu::kernels::Product;
use core::arch::x86_64::*;
use core::array::from_fn;
use core::ops::Range;

/// Weight rows of a tile.
const ROWS: usize = 32;
/// Activation rows at once.
const WIDE: usize = 6;
/// Bytes of a vector's worth of each row.
pub(super) const STEP: usize = 4 * ROWS;

/// Where parts of a super-block begin in a tile.
pub(super) struct At<F>(core::marker::PhantomData<F>);

impl<F: super::Format> At<F> {
    /// Sub-blocks.
    pub const SUBS: usize = 256 / F::SUB;
    /// Scales.
    pub const SCALES: usize = 64 * STEP;
    /// Pairs.
    pub const SIDE: usize = Self::SCALES + Self::SUBS * STEP;
    /// Factors.
    pub const D: usize = Self::SIDE + Self::SUBS / 2 * STEP;
    /// Factors of minima.
    pub const DMIN: usize = Self::D + STEP;
    /// The next super-block.
    pub const END: usize = Self::DMIN + STEP;
}

/// Bytes of a tile.
pub(super) fn bytes<F: super::Format>(k: usize) -> usize {
    (k / 256).saturating_mul(At::<F>::END)
}

/// # Safety
/// As the slot; `rows` is not empty.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
pub(super) unsafe fn rows<F: Expand>(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    let (blocks, n) = (p.k / 256, p.act.len());
    let row_bytes = blocks * F::BYTES;
    let parts = n.div_ceil(WIDE);
    for r in rows.clone().step_by(ROWS) {
        // SAFETY: the caller's promise.
        unsafe {
            let row = |i: usize| p.w.as_ptr().add((r + i).min(rows.end - 1) * row_bytes);
            expand::<F>(from_fn(row), blocks, scratch);
            expand::<F>(from_fn(|i| row(i + 16)), blocks, scratch.add(64));
            let next = row(0).wrapping_add(ROWS * row_bytes);
            for part in 0..parts {
                let t = part * n / parts..(part + 1) * n / parts;
                let to = Out {
                    p,
                    r,
                    mask: !0 >> ROWS.saturating_sub(rows.end - r),
                    next: if part == 0 { next } else { core::ptr::null() },
                };
                match t.len() {
                    1 => multiply::<F, 1>(scratch, blocks, t.start, &to),
                    2 => multiply::<F, 2>(scratch, blocks, t.start, &to),
                    3 => multiply::<F, 3>(scratch, blocks, t.start, &to),
                    4 => multiply::<F, 4>(scratch, blocks, t.start, &to),
                    5 => multiply::<F, 5>(scratch, blocks, t.start, &to),
                    _ => multiply::<F, WIDE>(scratch, blocks, t.start, &to),
                }
            }
        }
    }
}

/// Where results go.
struct Out<'a> {
    p: &'a Product<'a>,
    /// The first weight row.
    r: usize,
    /// Which of the 32 rows to write.
    mask: u32,
    /// Weights to ask for meanwhile; or NULL.
    next: *const u8,
}

/// Four bytes, everywhere.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn word(p: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_set1_epi32(unsafe { p.cast::<i32>().read_unaligned() })
}

/// The tile times the activation rows from `first` on.
///
/// # Safety
/// They are there, and may be written.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
unsafe fn multiply<F: Expand, const T: usize>(
    tile: *const u8,
    blocks: usize,
    first: usize,
    to: &Out<'_>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let x: [*const u8; T] = from_fn(|t| *to.p.act.get_unchecked(first + t));
        let mut y = [[_mm512_setzero_ps(); 2]; T];
        let zero = _mm512_setzero_si512();
        for b in 0..blocks {
            let w = tile.add(b * At::<F>::END);
            let x = x.map(|x| x.add(b * RECORD));
            if !to.next.is_null() {
                for line in (0..ROWS * F::BYTES).step_by(64) {
                    let next = to.next.wrapping_add(b * ROWS * F::BYTES + line);
                    _mm_prefetch::<_MM_HINT_T1>(next.cast());
                }
            }
            let vector = |at: usize, v: usize| _mm512_load_si512(w.add(at + 64 * v).cast());
            // Products of pairs with sums of activations.
            let side = || {
                let mut m = [[zero; 2]; T];
                for c in 0..At::<F>::SUBS / 2 {
                    let at = At::<F>::SIDE + STEP * c;
                    let w = [vector(at, 0), vector(at, 1)];
                    let sums = if F::SUB == 32 { SUMS_32 } else { SUMS_16 };
                    for (m, x) in m.iter_mut().zip(x) {
                        let x = word(x.add(sums + 4 * c));
                        *m = [
                            _mm512_dpwssd_epi32(m[0], w[0], x),
                            _mm512_dpwssd_epi32(m[1], w[1], x),
                        ];
                    }
                }
                m
            };
            let mut isum = if F::MIN { [[zero; 2]; T] } else { side() };
            for s in 0..At::<F>::SUBS {
                let mut sum = [[zero; 2]; T];
                for l in 0..F::SUB / 4 {
                    let l = s * (F::SUB / 4) + l;
                    let w = [vector(STEP * l, 0), vector(STEP * l, 1)];
                    for (sum, x) in sum.iter_mut().zip(x) {
                        let x = word(x.add(4 * l));
                        *sum = [
                            _mm512_dpbusd_epi32(sum[0], w[0], x),
                            _mm512_dpbusd_epi32(sum[1], w[1], x),
                        ];
                    }
                }
                let at = At::<F>::SCALES + STEP * s;
                let scale = [vector(at, 0), vector(at, 1)];
                for (isum, sum) in isum.iter_mut().zip(sum) {
                    for v in 0..2 {
                        isum[v] = _mm512_add_epi32(isum[v], _mm512_mullo_epi32(sum[v], scale[v]));
                    }
                }
            }
            let float = |at: usize, v: usize| _mm512_castsi512_ps(vector(at, v));
            let da: [__m512; T] = from_fn(|t| _mm512_castsi512_ps(word(x[t].add(SCALE))));
            for ((y, isum), da) in y.iter_mut().zip(isum).zip(da) {
                for v in 0..2 {
                    let d = _mm512_mul_ps(float(At::<F>::D, v), da);
                    y[v] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(isum[v]), y[v]);
                }
            }
            if F::MIN {
                for ((y, m), da) in y.iter_mut().zip(side()).zip(da) {
                    for v in 0..2 {
                        let d = _mm512_mul_ps(float(At::<F>::DMIN, v), da);
                        y[v] = _mm512_fnmadd_ps(d, _mm512_cvtepi32_ps(m[v]), y[v]);
                    }
                }
            }
        }
        let masks = [to.mask as u16, (to.mask >> 16) as u16];
        for (y, &dst) in y.into_iter().zip(to.p.dst.iter().skip(first)) {
            for v in 0..2 {
                let r = to.r + 16 * v;
                let y = match to.p.bias {
                    Some(b) => {
                        let b = b.as_ptr().cast::<f32>().wrapping_add(r);
                        _mm512_add_ps(y[v], _mm512_maskz_loadu_ps(masks[v], b))
                    }
                    None => y[v],
                };
                _mm512_mask_storeu_ps(dst.wrapping_add(r), masks[v], y);
            }
        }
    }
}

/// Sixteen rows into their half of a tile.
///
/// # Safety
/// They are there, and the tile is ours.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn expand<F: Expand>(rows: [*const u8; 16], blocks: usize, tile: *mut u8) {
    for b in 0..blocks {
        // SAFETY: the caller's promise.
        unsafe {
            F::expand(
                rows.map(|r| r.add(b * F::BYTES)),
                tile.add(b * At::<F>::END),
            )
        };
    }
}
