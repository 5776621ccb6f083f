//! Weights in blocks of 32: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, MXFP4.
//!
//! `vpmaddubsw` makes sums of two products as words. Offset integers stay unsigned and the offset times the block's
//! sum is taken off; signed ones lend their sign to the activation (2 * 128 * 127 fits a word). Where sums of sixteen
//! products still fit a word, rows are folded together as words.

use super::act::Group32;
use super::step::{Step, halves, load, sum8, sum8_words, twice};
use super::tile::{Tile, Weights, ask, dots, interleave};
use crate::quant::float4::{E2M1_DOUBLED, e8m0_halved};
use crate::quant::iq::IQ4_VALUES;
use core::arch::x86_64::*;
use core::marker::PhantomData;

/// A block format.
pub(super) trait Format {
    const BYTES: usize;
    /// Whether there are minima.
    const MIN: bool = false;
    /// What is to be taken off the integers.
    const OFFSET: i32 = 0;
    const SIGNED: bool = false;
    /// Whether |q| <= 15.
    const SMALL: bool = false;

    /// # Safety
    /// Within `enter`; the block is there.
    unsafe fn unpack(w: *const u8) -> __m256i;

    /// # Safety
    /// As `unpack`.
    #[inline(always)]
    unsafe fn scales(w: &[*const u8; 8]) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { halves(w, 0) }
    }
}

/// Low nibbles, then high ones.
#[inline(always)]
unsafe fn nibbles(w: *const u8) -> __m256i {
    // SAFETY: 16 bytes; within `enter`.
    unsafe {
        let x = _mm256_srlv_epi32(twice(w), _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
        _mm256_and_si256(x, _mm256_set1_epi8(15))
    }
}

/// Nibbles with fifth bits.
#[inline(always)]
unsafe fn five(fifth: *const u8, w: *const u8) -> __m256i {
    // SAFETY: four and 16 bytes; within `enter`.
    unsafe {
        let x = _mm256_set1_epi32(fifth.cast::<i32>().read_unaligned());
        let each = _mm256_setr_epi64x(
            0,
            0x0101_0101_0101_0101,
            0x0202_0202_0202_0202,
            0x0303_0303_0303_0303,
        );
        let others = _mm256_set1_epi64x(0x7fbf_dfef_f7fb_fdfe);
        let set = _mm256_or_si256(_mm256_shuffle_epi8(x, each), others);
        let set = _mm256_cmpeq_epi8(set, _mm256_set1_epi8(-1));
        _mm256_or_si256(nibbles(w), _mm256_and_si256(set, _mm256_set1_epi8(16)))
    }
}

/// Nibbles by a table.
#[inline(always)]
unsafe fn lookup(table: &'static [i8; 16], w: *const u8) -> __m256i {
    // SAFETY: 16 bytes; within `enter`.
    unsafe { _mm256_shuffle_epi8(twice(table.as_ptr().cast()), nibbles(w)) }
}

macro_rules! format {
    ($name:ident, $bytes:literal, |$w:ident| $unpack:expr, $($item:item)*) => {
        pub(super) struct $name;
        impl Format for $name {
            const BYTES: usize = $bytes;
            $($item)*
            #[inline(always)]
            unsafe fn unpack($w: *const u8) -> __m256i {
                // SAFETY: the caller's promise.
                unsafe { $unpack }
            }
        }
    };
}

format! { Q4_0, 18, |w| nibbles(w.add(2)),
    const OFFSET: i32 = 8;
    const SMALL: bool = true;
}
format! { Q4_1, 20, |w| nibbles(w.add(4)),
    const MIN: bool = true;
    const SMALL: bool = true;
}
format! { Q5_0, 22, |w| five(w.add(2), w.add(6)),
    const OFFSET: i32 = 16;
}
format! { Q5_1, 24, |w| five(w.add(4), w.add(8)),
    const MIN: bool = true;
}
format! { Q8_0, 34, |w| load(w.add(2)),
    const SIGNED: bool = true;
}
format! { Iq4Nl, 18, |w| lookup(&IQ4_VALUES, w.add(2)),
    const SIGNED: bool = true;
}
format! { Mxfp4, 17, |w| lookup(&E2M1_DOUBLED, w.add(1)),
    const SIGNED: bool = true;
    const SMALL: bool = true;
    #[inline(always)]
    unsafe fn scales(w: &[*const u8; 8]) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(w.map(|w| e8m0_halved(*w)).as_ptr()) }
    }
}

/// The family's formats, as tiles take them.
pub(super) struct Of<F>(PhantomData<F>);

impl<F: Format> Weights for Of<F> {
    const BLOCK: (usize, usize) = (32, F::BYTES);

    #[inline(always)]
    unsafe fn rows<S: Step, const T: usize>(
        w: &[*const u8; 8],
        k: usize,
        act: [*const u8; T],
        ahead: *const u8,
    ) -> [__m256; T] {
        // SAFETY: the caller's promise.
        unsafe {
            let zero = _mm256_setzero_si256();
            let one = _mm256_set1_epi16(1);
            let mut acc = [_mm256_setzero_ps(); T];
            for block in 0..k / 32 {
                let (group, b) = (block / 8, block % 8);
                let act = act.map(|a| a.cast::<Group32>().add(group));
                let w = w.map(|w| w.add(block * F::BYTES));
                let mut sums = [[zero; 8]; T];
                ask(ahead.wrapping_add(8 * block * F::BYTES), 8 * F::BYTES);
                for r in 0..8 {
                    let q = F::unpack(w[r]);
                    for t in 0..T {
                        let a = (&raw const (*act[t]).bytes).cast::<u8>().add(32 * b);
                        let a = _mm256_load_si256(a.cast());
                        let pairs = if F::SIGNED {
                            _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q))
                        } else {
                            _mm256_maddubs_epi16(q, a)
                        };
                        sums[t][r] = if F::SMALL {
                            pairs
                        } else {
                            _mm256_madd_epi16(pairs, one)
                        };
                    }
                }
                let d = F::scales(&w);
                for t in 0..T {
                    let a = &*act[t];
                    let da = _mm256_set1_ps(a.d[b]);
                    let mut sum = if F::SMALL {
                        _mm256_madd_epi16(sum8_words(&sums[t]), one)
                    } else {
                        sum8(&sums[t])
                    };
                    if F::OFFSET != 0 {
                        sum = _mm256_sub_epi32(sum, _mm256_set1_epi32(F::OFFSET * a.sums[b]));
                    }
                    let sum = _mm256_cvtepi32_ps(sum);
                    acc[t] = _mm256_fmadd_ps(_mm256_mul_ps(d, da), sum, acc[t]);
                    if F::MIN {
                        let m = _mm256_mul_ps(halves(&w, 2), da);
                        let sum = _mm256_set1_ps(a.float_sums[b]);
                        acc[t] = _mm256_fmadd_ps(m, sum, acc[t]);
                    }
                }
            }
            acc
        }
    }

    #[inline(always)]
    unsafe fn expand(w: &[*const u8; 8], k: usize, group: usize, tile: *mut Tile, half: usize) {
        let blocks = (k / 32 - 8 * group).min(8);
        // SAFETY: the caller's promise.
        unsafe {
            let mut words = [[0i16; 256]; 8];
            let offset = _mm256_set1_epi16(F::OFFSET as i16);
            for b in 0..blocks {
                let w = w.map(|w| w.add((8 * group + b) * F::BYTES));
                for r in 0..8 {
                    let q = F::unpack(w[r]);
                    let q = [_mm256_castsi256_si128(q), _mm256_extracti128_si256::<1>(q)];
                    for i in 0..2 {
                        let q = _mm256_sub_epi16(_mm256_cvtepi8_epi16(q[i]), offset);
                        let to = words[r].as_mut_ptr().add(32 * b + 16 * i);
                        _mm256_storeu_si256(to.cast(), q);
                    }
                }
                let at = 16 * b + 8 * half;
                _mm256_store_ps((&raw mut (*tile).d).cast::<f32>().add(at), F::scales(&w));
                if F::MIN {
                    let m = (&raw mut (*tile).m).cast::<f32>().add(at);
                    _mm256_store_ps(m, halves(&w, 2));
                }
            }
            interleave(&words, (&raw mut (*tile).w).cast(), half, 2 * blocks);
        }
    }

    #[inline(always)]
    unsafe fn multiply<S: Step, const T: usize>(
        tile: *const Tile,
        k: usize,
        group: usize,
        act: [*const u8; T],
        sums: *mut f32,
    ) {
        let blocks = (k / 32 - 8 * group).min(8);
        // SAFETY: the caller's promise.
        unsafe {
            let act = act.map(|a| a.cast::<Group32>().add(group));
            for b in 0..blocks {
                let words = act.map(|a| (&raw const (*a).words).cast::<i16>().add(32 * b));
                let w = (&raw const (*tile).w).cast::<[i32; 16]>().add(16 * b);
                let acc = dots::<S, T>(w, words, 16);
                for t in 0..T {
                    let a = &*act[t];
                    let da = _mm256_set1_ps(a.d[b]);
                    for h in 0..2 {
                        let d = (&raw const (*tile).d).cast::<f32>().add(16 * b + 8 * h);
                        let y = sums.add(16 * t + 8 * h);
                        let s = _mm256_cvtepi32_ps(acc[t][h]);
                        let d = _mm256_mul_ps(_mm256_load_ps(d), da);
                        let mut sum = _mm256_fmadd_ps(d, s, _mm256_load_ps(y));
                        if F::MIN {
                            let m = (&raw const (*tile).m).cast::<f32>().add(16 * b + 8 * h);
                            let m = _mm256_mul_ps(_mm256_load_ps(m), da);
                            sum = _mm256_fmadd_ps(m, _mm256_set1_ps(a.float_sums[b]), sum);
                        }
                        _mm256_store_ps(y, sum);
                    }
                }
            }
        }
    }
}
