//! Both block families' ways over the weights: few activation rows, with weights streamed once, and many, with tiles of
//! weights expanded once.
//!
//! In both a lane is a weight row, so that nothing is summed across lanes but integers, and results are stored side by
//! side. What a family does with its blocks is behind two functions of [`Blocks`] for each way.

use crate::cpu::kernels::{Product, ahead};
use core::arch::x86_64::*;
use core::array::from_fn;
use core::ops::Range;

/// Weight rows of a tile.
pub(super) const ROWS: usize = 32;
/// Bytes of a vector's worth of each row in a tile.
pub(super) const STEP: usize = 4 * ROWS;
/// Activation rows that meet a tile at once: with two vectors of weight rows twelve sums, and as many of another kind, fit the
/// registers, and there are fewer loads than multiplications.
const WIDE: usize = 6;
/// How far ahead, at least, few rows' memory is asked for: about what it takes to answer.
pub(super) const AHEAD: usize = 16384;

/// A format of weights in blocks.
pub(super) trait Blocks: Sized {
    /// Elements of a block.
    const LEN: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Bytes of a block of 32 rows in a tile.
    const TILE: usize;
    /// From this many activation rows on, expanding weights pays: 3 or 4.
    const MANY: usize;

    /// The products of four weight rows, a lane each, with activation rows; `ahead` is memory to ask for on the way.
    ///
    /// # Safety
    /// `blocks` blocks are at each of `w`, the last of which ends the soonest before `end`; prepared rows are at `x`. The
    /// level is available, here and below.
    unsafe fn four<const T: usize>(
        w: [*const u8; 4],
        end: *const u8,
        blocks: usize,
        x: [*const u8; T],
        ahead: *const u8,
    ) -> [__m128; T];

    /// Sixteen weight rows into their half of a tile.
    ///
    /// # Safety
    /// `blocks` blocks are at each of `w`; the half tile at `tile` is ours.
    unsafe fn expand(w: [*const u8; 16], blocks: usize, tile: *mut u8, ahead: Ahead);

    /// The products of a tile's rows, sixteen in each of two vectors, with activation rows.
    ///
    /// # Safety
    /// A whole tile is at `tile`, prepared rows are at `x`.
    unsafe fn multiply<const T: usize>(
        tile: *const u8,
        blocks: usize,
        x: [*const u8; T],
        ahead: Ahead,
    ) -> [[__m512; 2]; T];
}

/// Memory to ask for, so much each time.
pub(super) struct Ahead {
    at: *const u8,
    step: usize,
}

impl Ahead {
    /// The same in so many smaller parts: many requests at once keep the first cache from what it is asked for meanwhile.
    pub fn finer(mut self, by: usize) -> Self {
        self.step = self.step.div_ceil(by);
        self
    }

    /// Asks for the next part.
    #[inline(always)]
    pub fn ask(&mut self) {
        for line in (0..self.step).step_by(64) {
            // SAFETY: a hint.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.at.wrapping_add(line).cast()) };
        }
        self.at = self.at.wrapping_add(self.step);
    }
}

/// Scratch bytes of a product.
pub(super) fn scratch_bytes<F: Blocks>(k: usize, tokens: usize) -> usize {
    if tokens < F::MANY {
        return 0;
    }
    (k / F::LEN).saturating_mul(F::TILE)
}

/// A product: the slot, for one format.
///
/// # Safety
/// As the slot.
pub(super) unsafe fn product<F: Blocks>(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    if rows.is_empty() {
        return;
    }
    // SAFETY: the caller's promise; the level has the features.
    unsafe {
        match *p.act {
            [] => {}
            [a] => few::<F, 1>(p, rows, [a]),
            [a, b] => few::<F, 2>(p, rows, [a, b]),
            [a, b, c] if F::MANY > 3 => few::<F, 3>(p, rows, [a, b, c]),
            _ => many::<F>(p, rows, scratch),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
unsafe fn few<F: Blocks, const T: usize>(p: &Product<'_>, rows: Range<usize>, x: [*const u8; T]) {
    let blocks = p.k / F::LEN;
    let row_bytes = blocks * F::BYTES;
    let ahead = ahead(4, row_bytes, AHEAD);
    let end = p.w.as_ptr_range().end;
    for r in rows.clone().step_by(4) {
        // SAFETY: the caller's promise: the rows are there, and may be written in `dst`.
        unsafe {
            let row = |i: usize| p.w.as_ptr().add((r + i).min(rows.end - 1) * row_bytes);
            let y = F::four::<T>(from_fn(row), end, blocks, x, row(0).wrapping_add(ahead));
            let mask = 0xf >> 4usize.saturating_sub(rows.end - r);
            for (y, &dst) in y.into_iter().zip(p.dst) {
                let y = match p.bias {
                    Some(b) => {
                        let b = _mm_maskz_loadu_ps(mask, b.as_ptr().cast::<f32>().add(r));
                        _mm_add_ps(y, b)
                    }
                    None => y,
                };
                _mm_mask_storeu_ps(dst.add(r), mask, y);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
unsafe fn many<F: Blocks>(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    let (blocks, n) = (p.k / F::LEN, p.act.len());
    let row_bytes = blocks * F::BYTES;
    let parts = n.div_ceil(WIDE);
    // The next tile's weights are asked for while this one's two halves are expanded and its first four parts multiplied.
    // A part takes longer than a half: it asks for twice as much.
    let shares = 2 + 2 * parts.min(4);
    let share_bytes = ROWS * F::BYTES / shares + 1;
    for r in rows.clone().step_by(ROWS) {
        // SAFETY: the caller's promise.
        unsafe {
            let row = |i: usize| p.w.as_ptr().add((r + i).min(rows.end - 1) * row_bytes);
            let ahead = |share: usize| Ahead {
                at: row(0).wrapping_add(ROWS * row_bytes + share * blocks * share_bytes),
                step: match share {
                    0 | 1 => share_bytes,
                    _ if share < shares => 2 * share_bytes,
                    _ => 0,
                },
            };
            F::expand(from_fn(row), blocks, scratch, ahead(0));
            F::expand(from_fn(|i| row(i + 16)), blocks, scratch.add(64), ahead(1));
            for part in 0..parts {
                let t = part * n / parts..(part + 1) * n / parts;
                let (first, ahead) = (t.start, ahead(2 + 2 * part));
                let mask = !0 >> ROWS.saturating_sub(rows.end - r);
                match t.len() {
                    1 => part_of::<F, 1>(p, scratch, blocks, first, ahead, r, mask),
                    2 => part_of::<F, 2>(p, scratch, blocks, first, ahead, r, mask),
                    3 => part_of::<F, 3>(p, scratch, blocks, first, ahead, r, mask),
                    4 => part_of::<F, 4>(p, scratch, blocks, first, ahead, r, mask),
                    5 => part_of::<F, 5>(p, scratch, blocks, first, ahead, r, mask),
                    _ => part_of::<F, WIDE>(p, scratch, blocks, first, ahead, r, mask),
                }
            }
        }
    }
}

/// A tile of the weight rows from `r` on, of which `mask` counts, times the activation rows from `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
unsafe fn part_of<F: Blocks, const T: usize>(
    p: &Product<'_>,
    tile: *const u8,
    blocks: usize,
    first: usize,
    ahead: Ahead,
    r: usize,
    mask: u32,
) {
    let masks = [mask as u16, (mask >> 16) as u16];
    // SAFETY: the caller's promise: there are `T` more activation rows, and the columns may be written.
    unsafe {
        let x = from_fn(|t| *p.act.get_unchecked(first + t));
        let y = F::multiply::<T>(tile, blocks, x, ahead);
        for (y, &dst) in y.into_iter().zip(p.dst.iter().skip(first)) {
            for (v, (y, mask)) in y.into_iter().zip(masks).enumerate() {
                let r = r + 16 * v;
                let y = match p.bias {
                    Some(b) => {
                        let b = b.as_ptr().cast::<f32>().wrapping_add(r);
                        _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, b))
                    }
                    None => y,
                };
                _mm512_mask_storeu_ps(dst.wrapping_add(r), mask, y);
            }
        }
    }
}

/// Four bytes, everywhere.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn word(p: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    _mm512_set1_epi32(unsafe { p.cast::<i32>().read_unaligned() })
}

/// Sixteen bytes of each of four places, side by side.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn lanes(p: [*const u8; 4]) -> __m512i {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = p.map(|p| unsafe { _mm_loadu_si128(p.cast()) });
    let v = _mm512_castsi128_si512(a);
    let v = _mm512_inserti32x4::<1>(v, b);
    let v = _mm512_inserti32x4::<2>(v, c);
    _mm512_inserti32x4::<3>(v, d)
}

/// Folds four vectors into one: in each 128-bit lane, element `i` is vector `i`'s four elements there, joined.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn tree(v: [__m512i; 4], join: impl Fn(__m512i, __m512i) -> __m512i) -> __m512i {
    let [a, b, c, d] = v;
    let x = join(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let y = join(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    join(_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y))
}

/// Sixteen bytes of each of sixteen rows, transposed: four bytes of each row in each vector.
///
/// # Safety
/// They are at `at(row)`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn across(at: impl Fn(usize) -> *const u8) -> [__m512i; 4] {
    // Vector i has rows i, 4 + i, 8 + i, 12 + i in its lanes: what is left is a transposition within lanes.
    // SAFETY: the caller's promise.
    within(from_fn(|i| unsafe {
        lanes([at(i), at(4 + i), at(8 + i), at(12 + i)])
    }))
}

/// Transposes four times four words of 32 bits in each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn within([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ef, gh) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ef, gh),
        _mm512_unpackhi_epi64(ef, gh),
    ]
}
