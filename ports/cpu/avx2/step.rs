//! What every product here is made of: a multiply-accumulate step, sums across registers, transposes.
//!
//! The step comes in variants: `vpmaddwd` and an addition, or the `vpdpwssd` of AVX-VNNI, which is exactly these two
//! in one. A [`Job`] is compiled for each, inside a function that has the features (`enter`), because code compiled
//! outside of one would call its intrinsics instead of being made of them.

use core::arch::x86_64::*;

/// Work to be compiled for a level.
pub(super) trait Job {
    /// # Safety
    /// Called within [`Step::enter`] only; the rest is the implementor's.
    unsafe fn run<S: Step>(self);
}

/// A level's step.
pub(super) trait Step {
    /// `acc[i] + a[2i] * b[2i] + a[2i + 1] * b[2i + 1]`: eight sums of products of words.
    ///
    /// # Safety
    /// The processor has the level's features.
    unsafe fn words(acc: __m256i, a: __m256i, b: __m256i) -> __m256i;

    /// Runs a job, compiled for the level.
    ///
    /// # Safety
    /// The processor has the level's features, and what the job asks for.
    unsafe fn enter<J: Job>(job: J);
}

/// AVX2.
pub(super) struct Madd;

impl Step for Madd {
    #[inline(always)]
    unsafe fn words(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)) }
    }

    #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2")]
    unsafe fn enter<J: Job>(job: J) {
        // SAFETY: the caller's promise.
        unsafe { job.run::<Self>() }
    }
}

/// AVX-VNNI, encoded with VEX.
pub(super) struct Vnni;

impl Step for Vnni {
    #[inline(always)]
    unsafe fn words(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_dpwssd_avx_epi32(acc, a, b) }
    }

    #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,avxvnni")]
    unsafe fn enter<J: Job>(job: J) {
        // SAFETY: the caller's promise.
        unsafe { job.run::<Self>() }
    }
}

/// Sums of eight vectors of eight numbers, side by side.
#[inline(always)]
pub(super) unsafe fn sum8(p: &[__m256i; 8]) -> __m256i {
    // SAFETY: within `enter`.
    unsafe {
        let h = |a, b| _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let g = |a, b| _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        let lo = g(h(p[0], p[1]), h(p[2], p[3]));
        let hi = g(h(p[4], p[5]), h(p[6], p[7]));
        _mm256_add_epi32(
            _mm256_permute2x128_si256::<0x20>(lo, hi),
            _mm256_permute2x128_si256::<0x31>(lo, hi),
        )
    }
}

/// The same of words, whose sums fit words: pairs of words, one pair of each vector.
#[inline(always)]
pub(super) unsafe fn sum8_words(p: &[__m256i; 8]) -> __m256i {
    // SAFETY: within `enter`.
    unsafe {
        let h = |a, b| _mm256_add_epi16(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let g = |a, b| _mm256_add_epi16(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        let lo = g(h(p[0], p[1]), h(p[2], p[3]));
        let hi = g(h(p[4], p[5]), h(p[6], p[7]));
        _mm256_add_epi16(
            _mm256_permute2x128_si256::<0x20>(lo, hi),
            _mm256_permute2x128_si256::<0x31>(lo, hi),
        )
    }
}

/// Vector `i` of the result holds number `i` of every vector.
#[inline(always)]
pub(super) unsafe fn transpose8(p: &[__m256i; 8]) -> [__m256i; 8] {
    // SAFETY: within `enter`.
    unsafe {
        let (a0, a1) = (
            _mm256_unpacklo_epi32(p[0], p[1]),
            _mm256_unpackhi_epi32(p[0], p[1]),
        );
        let (a2, a3) = (
            _mm256_unpacklo_epi32(p[2], p[3]),
            _mm256_unpackhi_epi32(p[2], p[3]),
        );
        let (a4, a5) = (
            _mm256_unpacklo_epi32(p[4], p[5]),
            _mm256_unpackhi_epi32(p[4], p[5]),
        );
        let (a6, a7) = (
            _mm256_unpacklo_epi32(p[6], p[7]),
            _mm256_unpackhi_epi32(p[6], p[7]),
        );
        let (b0, b1) = (_mm256_unpacklo_epi64(a0, a2), _mm256_unpackhi_epi64(a0, a2));
        let (b2, b3) = (_mm256_unpacklo_epi64(a1, a3), _mm256_unpackhi_epi64(a1, a3));
        let (b4, b5) = (_mm256_unpacklo_epi64(a4, a6), _mm256_unpackhi_epi64(a4, a6));
        let (b6, b7) = (_mm256_unpacklo_epi64(a5, a7), _mm256_unpackhi_epi64(a5, a7));
        [
            _mm256_permute2x128_si256::<0x20>(b0, b4),
            _mm256_permute2x128_si256::<0x20>(b1, b5),
            _mm256_permute2x128_si256::<0x20>(b2, b6),
            _mm256_permute2x128_si256::<0x20>(b3, b7),
            _mm256_permute2x128_si256::<0x31>(b0, b4),
            _mm256_permute2x128_si256::<0x31>(b1, b5),
            _mm256_permute2x128_si256::<0x31>(b2, b6),
            _mm256_permute2x128_si256::<0x31>(b3, b7),
        ]
    }
}

/// The halves at the same place of eight blocks, as floats.
#[inline(always)]
pub(super) unsafe fn halves(w: &[*const u8; 8], at: usize) -> __m256 {
    // SAFETY: the caller's blocks; within `enter`.
    unsafe {
        let h = |i: usize| w[i].add(at).cast::<i16>().read_unaligned();
        _mm256_cvtph_ps(_mm_setr_epi16(
            h(0),
            h(1),
            h(2),
            h(3),
            h(4),
            h(5),
            h(6),
            h(7),
        ))
    }
}

/// 32 bytes at any alignment.
#[inline(always)]
pub(super) unsafe fn load(p: *const u8) -> __m256i {
    // SAFETY: the caller's memory; within `enter`.
    unsafe { _mm256_loadu_si256(p.cast()) }
}

/// 16 bytes at any alignment, in both halves.
#[inline(always)]
pub(super) unsafe fn twice(p: *const u8) -> __m256i {
    // SAFETY: the caller's memory; within `enter`.
    unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(p.cast())) }
}
