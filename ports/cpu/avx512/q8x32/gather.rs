//! Four blocks of nibbles of each of four rows, gathered by permutations of words.
//!
//! Four blocks have 68 to 96 bytes, which two overlapping loads cover. One permutation of their words brings the
//! nibbles together, another one the scales; a load for each part and shuffles to put them side by side would take
//! three times as many. (Permutations of bytes would be VBMI, which the level does not ask for.)

#![allow(
    clippy::indexing_slicing,
    reason = "arrays that stand for registers, constant indices"
)]

use super::format::{Format, nibbles, power};
use core::arch::x86_64::*;
use core::array::from_fn;

/// The word at this byte of four blocks, among those of the two loads.
const fn word<F: Format>(byte: usize) -> i16 {
    let [a, b] = F::LOADS;
    if byte >= a && byte + 2 <= a + 64 && (byte - a).is_multiple_of(2) {
        return ((byte - a) / 2) as i16;
    }
    assert!(byte >= b && byte + 2 <= b + 64 && (byte - b).is_multiple_of(2));
    ((byte - b) / 2 + 32) as i16
}

/// Where words come from, for a format.
struct Words<F>(core::marker::PhantomData<F>);

impl<F: Format> Words<F> {
    /// The nibbles: a block in each lane.
    const QUANTS: [i16; 32] = {
        let mut t = [0; 32];
        let mut i = 0;
        while i < 32 && F::NIBBLES {
            t[i] = word::<F>(i / 8 * F::BYTES + F::QUANTS + i % 8 * 2);
            i += 1;
        }
        t
    };

    /// The scales, `4 * block + row`, and after them the minima.
    const SCALES: [i16; 32] = {
        let mut t = [0; 32];
        let mut i = 0;
        while i < 32 && F::NIBBLES {
            let byte = i % 16 / 4 * F::BYTES;
            t[i] = match F::POWER {
                true => (byte / 2) as i16,
                false => word::<F>(byte + if i < 16 { 0 } else { 2 }),
            };
            i += 1;
        }
        t
    };

    /// Fifth bits of each row: those of the first halves of the four blocks, then those of the second halves.
    const BITS: [i16; 32] = {
        let mut t = [0; 32];
        let mut i = 0;
        while i < 32 && F::FIFTH {
            t[i] = word::<F>(i % 4 * F::BYTES + F::QUANTS - 4 + i / 4 % 2 * 2);
            i += 1;
        }
        t
    };
}

/// Of each row the first halves and the second halves of the blocks; then scales and minima, a block to a lane.
///
/// # Safety
/// Four blocks are at each of `w`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,f16c")]
pub(super) unsafe fn four<F: Format>(w: [*const u8; 4]) -> ([[__m512i; 2]; 4], __m512, __m512) {
    // SAFETY: the caller's promise; tables are as long as a vector.
    unsafe {
        let table = |t: &[i16; 32]| _mm512_loadu_si512(t.as_ptr().cast());
        let v: [[__m512i; 2]; 4] =
            w.map(|w| F::LOADS.map(|at| _mm512_loadu_si512(w.add(at).cast())));
        let order = table(const { &Words::<F>::QUANTS });
        let mut q = v.map(|[a, b]| nibbles::<F>(_mm512_permutex2var_epi16(a, order, b)));
        if F::FIFTH {
            // Every row's words take the place of their indices.
            let mut bits = table(const { &Words::<F>::BITS });
            for (r, [a, b]) in v.into_iter().enumerate() {
                bits = _mm512_mask2_permutex2var_epi16(a, bits, 0xff << (8 * r), b);
            }
            let mut masks = [0u64; 8];
            _mm512_storeu_si512(masks.as_mut_ptr().cast(), bits);
            let sixteen = _mm512_set1_epi8(16);
            for (q, masks) in q.iter_mut().zip(masks.as_chunks::<2>().0) {
                *q = from_fn(|i| _mm512_mask_add_epi8(q[i], masks[i], q[i], sixteen));
            }
        }
        if F::POWER {
            // Blocks of 17 bytes: the odd ones' scales are the upper halves of words.
            let mut e = table(const { &Words::<F>::SCALES });
            for (r, w) in w.into_iter().enumerate() {
                let own = 0x1111_1111 << r;
                e = _mm512_mask_permutexvar_epi16(e, own, e, _mm512_loadu_si512(w.cast()));
            }
            let e = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(e));
            let e = _mm512_srlv_epi32(
                e,
                _mm512_setr_epi32(0, 0, 0, 0, 8, 8, 8, 8, 0, 0, 0, 0, 8, 8, 8, 8),
            );
            let e = _mm512_and_si512(e, _mm512_set1_epi32(0xff));
            return (q, power(e), _mm512_setzero_ps());
        }
        let mut d = table(const { &Words::<F>::SCALES });
        for (r, [a, b]) in v.into_iter().enumerate() {
            let own = 0x1111_1111 << r;
            d = _mm512_mask2_permutex2var_epi16(a, d, own, b);
        }
        let m = _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(d));
        (q, _mm512_cvtph_ps(_mm512_castsi512_si256(d)), m)
    }
}
