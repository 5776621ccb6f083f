//! Weights in super-blocks of 256: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_XS.
//!
//! Scales go from bytes to words in the order "even runs of 16, odd runs of 16", one half of a vector each: then one
//! in-lane shuffle gives the scales of 32 elements, for runs of 16 and of 32 alike. `vpmaddubsw` makes sums of two
//! products as words, which the multiply-accumulate step scales and sums. Where a format's integers are offset, the
//! weights stay unsigned and the offset times the activations' sums is taken off: |2 * 63 * 127| fits a word.

use super::act::Group256;
use super::step::{Step, halves, load, sum8, twice};
use super::tile::{Tile, Weights, ask, dots, interleave};
use core::arch::x86_64::*;
use core::marker::PhantomData;

/// An unpacked super-block.
pub(super) struct Super {
    /// In the order of elements; unsigned unless the format says otherwise.
    q: [__m256i; 8],
    /// Words: runs 0 2 4 .. 14, 1 3 .. 15.
    scale: __m256i,
    /// The same of minima.
    min: __m256i,
}

/// A super-block format.
pub(super) trait Format {
    const BYTES: usize;
    /// Where the factor is.
    const D: usize;
    /// Where the factor of minima is, if there are any.
    const DMIN: Option<usize> = None;
    /// What is to be taken off the integers.
    const OFFSET: i32 = 0;
    /// Whether the integers are signed, and larger than the step's bytes could be when offset.
    const SIGNED: bool = false;

    /// # Safety
    /// Within `enter`; the block is there.
    unsafe fn unpack(w: *const u8) -> Super;
}

/// `x >> n & mask`, or `x << -n & mask`, byte by byte: the mask keeps what stays within a byte.
#[inline(always)]
unsafe fn bits(x: __m256i, n: i32, mask: i8) -> __m256i {
    // SAFETY: within `enter`. Constant counts become immediate ones.
    unsafe {
        let x = if n >= 0 {
            _mm256_srl_epi16(x, _mm_cvtsi32_si128(n))
        } else {
            _mm256_sll_epi16(x, _mm_cvtsi32_si128(-n))
        };
        _mm256_and_si256(x, _mm256_set1_epi8(mask))
    }
}

/// Nibbles: 32 bytes hold two layers of 32 elements.
#[inline(always)]
unsafe fn nibbles(w: *const u8) -> [__m256i; 8] {
    // SAFETY: 128 bytes; within `enter`.
    unsafe {
        let mut q = [_mm256_setzero_si256(); 8];
        for (j, q) in q.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let x = load(w.add(32 * j));
            *q = [bits(x, 0, 15), bits(x, 4, 15)];
        }
        q
    }
}

/// Pairs of bits: 32 bytes hold four layers of 32 elements. Or'ed on, `up` bits higher.
#[inline(always)]
unsafe fn pairs(w: *const u8, up: i32, q: &mut [__m256i; 8]) {
    // SAFETY: 64 bytes; within `enter`.
    unsafe {
        for (h, q) in q.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let x = load(w.add(32 * h));
            for (i, q) in q.iter_mut().enumerate() {
                *q = _mm256_or_si256(*q, bits(x, 2 * i as i32 - up, 3 << up));
            }
        }
    }
}

/// Single bits: 32 bytes hold eight layers of 32 elements. Or'ed on, `up` bits higher.
#[inline(always)]
unsafe fn singles(w: *const u8, up: i32, q: &mut [__m256i; 8]) {
    // SAFETY: 32 bytes; within `enter`.
    unsafe {
        let x = load(w);
        for (j, q) in q.iter_mut().enumerate() {
            *q = _mm256_or_si256(*q, bits(x, j as i32 - up, 1 << up));
        }
    }
}

/// Sixteen signed bytes as words, even ones first.
#[inline(always)]
unsafe fn sixteen(s: __m128i) -> __m256i {
    // SAFETY: within `enter`.
    unsafe {
        let order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
        _mm256_cvtepi8_epi16(_mm_shuffle_epi8(s, order))
    }
}

/// The twelve bytes of Q4_K and Q5_K: eight scales and eight minima of six bits, each for two runs of 16.
#[inline(always)]
unsafe fn scales_mins(w: *const u8) -> (__m256i, __m256i) {
    // SAFETY: twelve bytes; within `enter`.
    unsafe {
        let [a, b, c] = w.cast::<[u32; 3]>().read_unaligned();
        let (six, low, top) = (0x3f3f_3f3f, 0x0f0f_0f0f, 0x3030_3030);
        let s = u64::from(a & six) | u64::from((c & low) | (a >> 2 & top)) << 32;
        let m = u64::from(b & six) | u64::from((c >> 4 & low) | (b >> 2 & top)) << 32;
        let words = |x: u64| {
            let x = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(x as i64));
            _mm256_broadcastsi128_si256(x)
        };
        (words(s), words(m))
    }
}

pub(super) struct Q2K;
impl Format for Q2K {
    const BYTES: usize = 84;
    const D: usize = 80;
    const DMIN: Option<usize> = Some(82);
    #[inline(always)]
    unsafe fn unpack(w: *const u8) -> Super {
        // SAFETY: the caller's promise.
        unsafe {
            let mut q = [_mm256_setzero_si256(); 8];
            pairs(w.add(16), 0, &mut q);
            let s = _mm_loadu_si128(w.cast());
            let low = _mm_set1_epi8(15);
            Super {
                q,
                scale: sixteen(_mm_and_si128(s, low)),
                min: sixteen(_mm_and_si128(_mm_srli_epi16::<4>(s), low)),
            }
        }
    }
}

pub(super) struct Q3K;
impl Format for Q3K {
    const BYTES: usize = 110;
    const D: usize = 108;
    const OFFSET: i32 = 4;
    #[inline(always)]
    unsafe fn unpack(w: *const u8) -> Super {
        // SAFETY: the caller's promise.
        unsafe {
            let mut q = [_mm256_setzero_si256(); 8];
            pairs(w.add(32), 0, &mut q);
            singles(w, 2, &mut q);
            // Four bits in eight bytes, low nibbles first; two more in four bytes.
            let low = w.add(96).cast::<u64>().read_unaligned();
            let high = u64::from(w.add(104).cast::<u32>().read_unaligned());
            let four = 0x0f0f_0f0f_0f0f_0f0f;
            let two = 0x3030_3030_3030_3030;
            let s0 = (low & four) | (((high << 4) | (high >> 2 << 36)) & two);
            let s1 = (low >> 4 & four) | ((high | (high >> 6 << 36)) & two);
            let s = _mm_set_epi64x(s1 as i64, s0 as i64);
            Super {
                q,
                scale: sixteen(_mm_sub_epi8(s, _mm_set1_epi8(32))),
                min: _mm256_setzero_si256(),
            }
        }
    }
}

pub(super) struct Q4K;
impl Format for Q4K {
    const BYTES: usize = 144;
    const D: usize = 0;
    const DMIN: Option<usize> = Some(2);
    #[inline(always)]
    unsafe fn unpack(w: *const u8) -> Super {
        // SAFETY: the caller's promise.
        unsafe {
            let (scale, min) = scales_mins(w.add(4));
            Super {
                q: nibbles(w.add(16)),
                scale,
                min,
            }
        }
    }
}

pub(super) struct Q5K;
impl Format for Q5K {
    const BYTES: usize = 176;
    const D: usize = 0;
    const DMIN: Option<usize> = Some(2);
    #[inline(always)]
    unsafe fn unpack(w: *const u8) -> Super {
        // SAFETY: the caller's promise.
        unsafe {
            let (scale, min) = scales_mins(w.add(4));
            let mut q = nibbles(w.add(48));
            singles(w.add(16), 4, &mut q);
            Super { q, scale, min }
        }
    }
}

pub(super) struct Q6K;
impl Format for Q6K {
    const BYTES: usize = 210;
    const D: usize = 208;
    const OFFSET: i32 = 32;
    #[inline(always)]
    unsafe fn unpack(w: *const u8) -> Super {
        // SAFETY: the caller's promise.
        unsafe {
            let n = nibbles(w);
            // Here 64 bytes hold two layers of 64.
            let mut q = [n[0], n[2], n[1], n[3], n[4], n[6], n[5], n[7]];
            pairs(w.add(128), 4, &mut q);
            Super {
                q,
                scale: sixteen(_mm_loadu_si128(w.add(192).cast())),
                min: _mm256_setzero_si256(),
            }
        }
    }
}

pub(super) struct Iq4Xs;
impl Format for Iq4Xs {
    const BYTES: usize = 136;
    const D: usize = 0;
    const SIGNED: bool = true;
    #[inline(always)]
    unsafe fn unpack(w: *const u8) -> Super {
        // SAFETY: the caller's promise.
        unsafe {
            let table = twice(crate::quant::iq::IQ4_VALUES.as_ptr().cast());
            let mut q = [_mm256_setzero_si256(); 8];
            for (j, q) in q.iter_mut().enumerate() {
                let x = twice(w.add(8 + 16 * j));
                let x = _mm256_srlv_epi32(x, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
                *q = _mm256_shuffle_epi8(table, bits(x, 0, 15));
            }
            // Four bits of each scale in the one, two in the other.
            let high = i32::from(w.add(2).cast::<u16>().read_unaligned());
            let low = w.add(4).cast::<i32>().read_unaligned();
            let at = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
            let low = _mm256_srlv_epi32(_mm256_set1_epi32(low), at);
            let low = _mm256_and_si256(low, _mm256_set1_epi32(15));
            let at = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
            let high = _mm256_srlv_epi32(_mm256_set1_epi32(high), at);
            let high = _mm256_slli_epi32::<4>(_mm256_and_si256(high, _mm256_set1_epi32(3)));
            let s = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
            let s = _mm256_packs_epi32(s, s);
            Super {
                q,
                scale: _mm256_permute4x64_epi64::<0b1000_1000>(s),
                min: _mm256_setzero_si256(),
            }
        }
    }
}

/// Which scales 32 elements take: word `j` of both halves, in every word.
#[inline(always)]
unsafe fn scales(scale: __m256i, j: usize) -> __m256i {
    // SAFETY: within `enter`.
    unsafe { _mm256_shuffle_epi8(scale, _mm256_set1_epi16((0x0100 + 0x0202 * j) as i16)) }
}

/// The family's formats, as tiles take them.
pub(super) struct Of<F>(PhantomData<F>);

impl<F: Format> Weights for Of<F> {
    const BLOCK: (usize, usize) = (256, F::BYTES);

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
            let mut acc = [_mm256_setzero_ps(); T];
            for b in 0..k / 256 {
                let act = act.map(|a| a.cast::<Group256>().add(b));
                let w = w.map(|w| w.add(b * F::BYTES));
                let mut sums = [[zero; 8]; T];
                let mut mins = [[zero; 8]; T];
                for r in 0..8 {
                    ask(ahead.wrapping_add((8 * b + r) * F::BYTES), F::BYTES);
                    let x = F::unpack(w[r]);
                    for t in 0..T {
                        let a = &*act[t];
                        let mut s = [zero; 2];
                        for j in 0..8 {
                            let a = _mm256_load_si256(a.bytes.as_ptr().add(32 * j).cast());
                            let pairs = if F::SIGNED {
                                let a = _mm256_sign_epi8(a, x.q[j]);
                                _mm256_maddubs_epi16(_mm256_abs_epi8(x.q[j]), a)
                            } else {
                                _mm256_maddubs_epi16(x.q[j], a)
                            };
                            s[j % 2] = S::words(s[j % 2], pairs, scales(x.scale, j));
                        }
                        let mut s = _mm256_add_epi32(s[0], s[1]);
                        let runs = _mm256_load_si256(a.sums.as_ptr().cast());
                        if F::OFFSET != 0 {
                            let o = _mm256_madd_epi16(x.scale, runs);
                            let o = _mm256_sll_epi32(
                                o,
                                _mm_cvtsi32_si128(F::OFFSET.trailing_zeros() as i32),
                            );
                            s = _mm256_sub_epi32(s, o);
                        }
                        sums[t][r] = s;
                        if F::DMIN.is_some() {
                            mins[t][r] = _mm256_madd_epi16(x.min, runs);
                        }
                    }
                }
                let d = halves(&w, F::D);
                for t in 0..T {
                    let da = _mm256_set1_ps((*act[t]).d);
                    let sum = _mm256_cvtepi32_ps(sum8(&sums[t]));
                    acc[t] = _mm256_fmadd_ps(_mm256_mul_ps(d, da), sum, acc[t]);
                    if let Some(at) = F::DMIN {
                        let m = _mm256_mul_ps(halves(&w, at), da);
                        let sum = _mm256_cvtepi32_ps(sum8(&mins[t]));
                        acc[t] = _mm256_fnmadd_ps(m, sum, acc[t]);
                    }
                }
            }
            acc
        }
    }

    #[inline(always)]
    unsafe fn expand(w: &[*const u8; 8], _: usize, group: usize, tile: *mut Tile, half: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let w = w.map(|w| w.add(group * F::BYTES));
            let mut words = [[0i16; 256]; 8];
            let mut mins = [[0i16; 16]; 8];
            let offset = _mm256_set1_epi16(F::OFFSET as i16);
            for r in 0..8 {
                let x = F::unpack(w[r]);
                for j in 0..8 {
                    let s = scales(x.scale, j);
                    let s = [
                        _mm256_permute2x128_si256::<0x00>(s, s),
                        _mm256_permute2x128_si256::<0x11>(s, s),
                    ];
                    let q = [
                        _mm256_castsi256_si128(x.q[j]),
                        _mm256_extracti128_si256::<1>(x.q[j]),
                    ];
                    for i in 0..2 {
                        let q = _mm256_sub_epi16(_mm256_cvtepi8_epi16(q[i]), offset);
                        let to = words[r].as_mut_ptr().add(32 * j + 16 * i);
                        _mm256_storeu_si256(to.cast(), _mm256_mullo_epi16(q, s[i]));
                    }
                }
                if F::DMIN.is_some() {
                    _mm256_storeu_si256(mins[r].as_mut_ptr().cast(), x.min);
                }
            }
            interleave(&words, (&raw mut (*tile).w).cast(), half, 16);
            let d = (&raw mut (*tile).d).cast::<f32>().add(8 * half);
            _mm256_store_ps(d, halves(&w, F::D));
            if let Some(at) = F::DMIN {
                interleave(&mins, (&raw mut (*tile).min).cast(), half, 1);
                let m = (&raw mut (*tile).m).cast::<f32>().add(8 * half);
                _mm256_store_ps(m, halves(&w, at));
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply<S: Step, const T: usize>(
        tile: *const Tile,
        _: usize,
        group: usize,
        act: [*const u8; T],
        sums: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let act = act.map(|a| a.cast::<Group256>().add(group));
            let words = act.map(|a| (&raw const (*a).words).cast::<i16>());
            let acc = dots::<S, T>((&raw const (*tile).w).cast(), words, 128);
            for t in 0..T {
                for h in 0..2 {
                    let d = (&raw const (*tile).d).cast::<f32>().add(8 * h);
                    let d = _mm256_mul_ps(_mm256_load_ps(d), _mm256_set1_ps((*act[t]).d));
                    let y = sums.add(16 * t + 8 * h);
                    let s = _mm256_cvtepi32_ps(acc[t][h]);
                    _mm256_store_ps(y, _mm256_fmadd_ps(d, s, _mm256_load_ps(y)));
                }
            }
            if F::DMIN.is_some() {
                let runs = act.map(|a| (&raw const (*a).sums).cast::<i16>());
                let acc = dots::<S, T>((&raw const (*tile).min).cast(), runs, 8);
                for t in 0..T {
                    for h in 0..2 {
                        let m = (&raw const (*tile).m).cast::<f32>().add(8 * h);
                        let m = _mm256_mul_ps(_mm256_load_ps(m), _mm256_set1_ps((*act[t]).d));
                        let y = sums.add(16 * t + 8 * h);
                        let s = _mm256_cvtepi32_ps(acc[t][h]);
                        _mm256_store_ps(y, _mm256_fnmadd_ps(m, s, _mm256_load_ps(y)));
                    }
                }
            }
        }
    }
}
