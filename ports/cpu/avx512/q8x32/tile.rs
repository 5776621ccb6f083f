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
use super::format::{Format, dwords, nibbles, scales};
use crate::cpu::avx512::walk::{Ahead, ROWS, across, within, word};
use core::arch::x86_64::*;
use core::array::from_fn;

/// Bytes of a block's integers in a tile: of each four elements, four bytes of each row.
const INTEGERS: usize = 32 * ROWS;
/// Bytes of a float of each row.
const FLOATS: usize = 4 * ROWS;

/// Bytes of a block in a tile.
pub(super) const fn block<F: Format>() -> usize {
    INTEGERS + FLOATS + if F::MIN { FLOATS } else { 0 }
}

/// The tile times activation rows.
///
/// # Safety
/// They are there.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
pub(super) unsafe fn multiply<F: Format, const T: usize>(
    tile: *const u8,
    blocks: usize,
    x: [*const u8; T],
    mut ahead: Ahead,
) -> [[__m512; 2]; T] {
    // SAFETY: the caller's promise.
    unsafe {
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
        y
    }
}

/// Sixteen rows into their half of a tile.
///
/// # Safety
/// They are there, and the tile is ours.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
pub(super) unsafe fn expand<F: Format>(
    rows: [*const u8; 16],
    blocks: usize,
    tile: *mut u8,
    mut ahead: Ahead,
) {
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

/// [`across`] of 32 bytes.
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
