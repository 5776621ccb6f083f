//! More activation rows: 32 weight rows are expanded to bytes once, then multiplied with all of them.
//!
//! A lane is a weight row, so nothing is ever summed across lanes. Each group of four activations is broadcast
//! to two vectors of 16 rows; with up to six activation rows at once there are 12 integer sums and 12 chains of
//! floats in registers, and fewer loads than multiplications.

#![allow(
    clippy::indexing_slicing,
    reason = "arrays that stand for registers, constant indices"
)]

use super::act::{LESS_128, RECORD, SCALES, SUMS};
use super::format::{Format, dwords, lanes, nibbles, scales};
use crate::cpu::kernels::Product;
use core::arch::x86_64::*;
use core::array::from_fn;
use core::ops::Range;

/// Weight rows of a tile.
const ROWS: usize = 32;
/// Activation rows at once.
const WIDE: usize = 6;
/// Bytes of a block's integers in a tile: of each four elements, four bytes of each row.
const INTEGERS: usize = 32 * ROWS;
/// Bytes of a float of each row.
const FLOATS: usize = 4 * ROWS;

/// Bytes of a block in a tile.
const fn block<F: Format>() -> usize {
    INTEGERS + FLOATS + if F::MIN { FLOATS } else { 0 }
}

/// Bytes of a tile.
pub(super) fn bytes<F: Format>(k: usize) -> usize {
    (k / 32).saturating_mul(block::<F>())
}

/// # Safety
/// As the slot; `rows` is not empty.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c,fma")]
pub(super) unsafe fn rows<F: Format>(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8) {
    let (blocks, n) = (p.k / 32, p.act.len());
    let row_bytes = blocks * F::BYTES;
    let parts = n.div_ceil(WIDE);
    // The next tile's weights are asked for in equal shares, while this one is expanded and first multiplied.
    let shares = 2 + parts.min(4);
    let step = ROWS * F::BYTES / shares + 1;
    for r in rows.clone().step_by(ROWS) {
        // SAFETY: the caller's promise.
        unsafe {
            let row = |i: usize| p.w.as_ptr().add((r + i).min(rows.end - 1) * row_bytes);
            let ahead = |share: usize| Ahead {
                at: row(0).wrapping_add(ROWS * row_bytes + share * blocks * step),
                step: if share < shares { step } else { 0 },
            };
            expand::<F>(from_fn(row), blocks, scratch, ahead(0));
            expand::<F>(from_fn(|i| row(i + 16)), blocks, scratch.add(64), ahead(1));
            for part in 0..parts {
                let t = part * n / parts..(part + 1) * n / parts;
                let to = Out {
                    p,
                    r,
                    mask: !0 >> ROWS.saturating_sub(rows.end - r),
                };
                match t.len() {
                    1 => multiply::<F, 1>(scratch, blocks, t.start, &to, ahead(2 + part)),
                    2 => multiply::<F, 2>(scratch, blocks, t.start, &to, ahead(2 + part)),
                    3 => multiply::<F, 3>(scratch, blocks, t.start, &to, ahead(2 + part)),
                    4 => multiply::<F, 4>(scratch, blocks, t.start, &to, ahead(2 + part)),
                    5 => multiply::<F, 5>(scratch, blocks, t.start, &to, ahead(2 + part)),
                    _ => multiply::<F, WIDE>(scratch, blocks, t.start, &to, ahead(2 + part)),
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
}

/// Memory to ask for, so much at each block.
struct Ahead {
    at: *const u8,
    step: usize,
}

impl Ahead {
    #[inline(always)]
    fn ask(&mut self) {
        for line in (0..self.step).step_by(64) {
            // SAFETY: a hint.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.at.wrapping_add(line).cast()) };
        }
        self.at = self.at.wrapping_add(self.step);
    }
}

/// The tile times the activation rows from `first` on.
///
/// # Safety
/// They are there, and may be written.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
unsafe fn multiply<F: Format, const T: usize>(
    tile: *const u8,
    blocks: usize,
    first: usize,
    to: &Out<'_>,
    mut ahead: Ahead,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let x: [*const u8; T] = from_fn(|t| *p_act(to.p, first + t));
        let mut y = [[_mm512_setzero_ps(); 2]; T];
        for b in 0..blocks {
            let w = tile.add(b * block::<F>());
            ahead.ask();
            let (record, b) = (b / 4 * RECORD, b % 4);
            let mut s = [[_mm512_setzero_si512(); 2]; T];
            if F::OFFSET != 0 {
                for (s, x) in s.iter_mut().zip(x) {
                    let less = word(x.add(record + LESS_128 + 4 * b));
                    *s = [match F::OFFSET {
                        8 => _mm512_srai_epi32::<4>(less),
                        16 => _mm512_srai_epi32::<3>(less),
                        _ => less,
                    }; 2];
                }
            }
            for l in 0..8 {
                let w: [__m512i; 2] =
                    from_fn(|v| _mm512_load_si512(w.add(128 * l + 64 * v).cast()));
                for (s, x) in s.iter_mut().zip(x) {
                    let x = word(x.add(record + 32 * b + 4 * l));
                    *s = [
                        _mm512_dpbusd_epi32(s[0], w[0], x),
                        _mm512_dpbusd_epi32(s[1], w[1], x),
                    ];
                }
            }
            let d: [__m512; 2] = from_fn(|v| _mm512_load_ps(w.add(INTEGERS + 64 * v).cast()));
            for ((s, x), y) in s.into_iter().zip(x).zip(&mut y) {
                let da = _mm512_castsi512_ps(word(x.add(record + SCALES + 4 * b)));
                for v in 0..2 {
                    y[v] = _mm512_fmadd_ps(_mm512_mul_ps(d[v], da), _mm512_cvtepi32_ps(s[v]), y[v]);
                }
                if F::MIN {
                    let sum = _mm512_castsi512_ps(word(x.add(record + SUMS + 4 * b)));
                    for (v, y) in y.iter_mut().enumerate() {
                        let m = _mm512_load_ps(w.add(INTEGERS + FLOATS + 64 * v).cast());
                        *y = _mm512_fmadd_ps(_mm512_mul_ps(m, da), sum, *y);
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

/// # Safety
/// There are more than `t` activation rows.
#[inline]
unsafe fn p_act<'a>(p: &'a Product<'_>, t: usize) -> &'a *const u8 {
    // SAFETY: the caller's promise.
    unsafe { p.act.get_unchecked(t) }
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

/// Sixteen rows into their half of a tile.
///
/// # Safety
/// They are there, and the tile is ours.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
unsafe fn expand<F: Format>(rows: [*const u8; 16], blocks: usize, tile: *mut u8, mut ahead: Ahead) {
    for b in 0..blocks {
        // SAFETY: the caller's promise.
        unsafe {
            ahead.ask();
            let to = tile.add(b * block::<F>());
            let store = |l: usize, v| _mm512_store_si512(to.add(128 * l).cast(), v);
            let at = |i: usize| rows[i].add(b * F::BYTES);
            let (d, m) = scales::<F>(at);
            _mm512_store_ps(to.add(INTEGERS).cast(), d);
            if F::MIN {
                _mm512_store_ps(to.add(INTEGERS + FLOATS).cast(), m);
            }
            if !F::NIBBLES {
                let flip = _mm512_set1_epi8(-128);
                let q = across32(|i| at(i).add(F::QUANTS));
                for (l, q) in q.into_iter().enumerate() {
                    store(l, _mm512_xor_si512(q, flip));
                }
                continue;
            }
            let q = across(|i| at(i).add(F::QUANTS)).map(|v| nibbles::<F>(v));
            let bits = if F::FIFTH {
                dwords(|i| at(i).add(F::QUANTS - 4))
            } else {
                _mm512_setzero_si512()
            };
            for l in 0..8 {
                let q = q[l % 4][l / 4];
                store(l, if F::FIFTH { fifth(q, bits, l) } else { q });
            }
        }
    }
}

/// Puts on the fifth bits of elements `4 l` and following of each row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn fifth(q: __m512i, bits: __m512i, l: usize) -> __m512i {
    // The byte that has them, to all four bytes of a row.
    let byte = (l / 2) as i32 * 0x0101_0101;
    let which = _mm512_add_epi32(
        _mm512_set1_epi32(byte),
        _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c)),
    );
    let bits = _mm512_shuffle_epi8(bits, which);
    let each = _mm512_set1_epi32(if l.is_multiple_of(2) {
        0x0804_0201
    } else {
        0x8040_2010u32 as i32
    });
    let set = _mm512_test_epi8_mask(bits, each);
    _mm512_mask_add_epi8(q, set, q, _mm512_set1_epi8(16))
}

/// Sixteen bytes of each of sixteen rows, transposed: four bytes of each row in each vector.
///
/// # Safety
/// They are at `at(row)`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn across(at: impl Fn(usize) -> *const u8) -> [__m512i; 4] {
    // Vector i has rows i, 4 + i, 8 + i, 12 + i in its lanes: what is left is a transposition within lanes.
    // SAFETY: the caller's promise.
    within(from_fn(|i| unsafe {
        lanes([at(i), at(4 + i), at(8 + i), at(12 + i)])
    }))
}

/// The same of 32 bytes.
///
/// # Safety
/// They are at `at(row)`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn across32(at: impl Fn(usize) -> *const u8) -> [__m512i; 8] {
    // Vectors have rows i and 4 + i, or those and eight, in their halves: halves of rows are then put together.
    let [a, b] = [0, 8].map(|from| {
        within(from_fn(|i| {
            // SAFETY: the caller's promise.
            let half = |i: usize| unsafe { _mm256_loadu_si256(at(from + i).cast()) };
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(half(i)), half(4 + i))
        }))
    });
    from_fn(|l| {
        let (a, b) = (a[l % 4], b[l % 4]);
        match l / 4 {
            0 => _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
            _ => _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
        }
    })
}

/// Transposes four times four words of 32 bits in each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn within([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (ef, gh) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ef, gh),
        _mm512_unpackhi_epi64(ef, gh),
    ]
}
