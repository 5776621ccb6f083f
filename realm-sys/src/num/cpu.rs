//! What the processor can do, and the instances each kernel is compiled in.
//!
//! A kernel is one `#[inline(always)]` generic body over [`Isa`]. The macro `instances!` makes the
//! public function: it runs the body compiled for AVX2 and FMA where the processor has them, else
//! compiled for the target's baseline. Both give the same bits (tests hold them to it), so the choice
//! shows in nothing but time.

#[cfg(any(arm_fma, arm_dsp))]
use super::arm;
use crate::quant::f16::f16_to_f32;
use core::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that the kernels have an instance for, and that this machine has: only this
/// module makes values, so holding one is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(u8);

const UNKNOWN: u8 = 0;
const PORTABLE: u8 = 1;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "an x86 level"))]
const AVX2: u8 = 2;

static DETECTED: AtomicU8 = AtomicU8::new(UNKNOWN);
static FORCED: AtomicU8 = AtomicU8::new(UNKNOWN);

impl Level {
    /// The target's baseline, which always works.
    pub const fn portable() -> Self {
        Self(PORTABLE)
    }

    /// The best this processor and operating system support, whatever [`force_portable`] says.
    pub fn detected() -> Self {
        match DETECTED.load(Ordering::Relaxed) {
            UNKNOWN => {
                let level = detect();
                DETECTED.store(level, Ordering::Relaxed);
                Self(level)
            }
            level => Self(level),
        }
    }

    /// What kernels use now.
    #[inline]
    pub fn current() -> Self {
        if FORCED.load(Ordering::Relaxed) == PORTABLE {
            return Self(PORTABLE);
        }
        Self::detected()
    }

    /// Whether AVX2, FMA, F16C and BMI2 may be executed.
    #[inline]
    pub fn has_avx2(self) -> bool {
        self.0 == AVX2
    }
}

/// Makes every kernel of the process use the portable instance, or lets it choose again: for tests
/// and measurements. Results do not change.
pub fn force_portable(on: bool) {
    let level = if on { PORTABLE } else { UNKNOWN };
    FORCED.store(level, Ordering::Relaxed);
}

/// Which registers the operating system saves (XCR0). Only where CPUID says OSXSAVE.
#[cfg(target_arch = "x86_64")]
pub fn xcr0() -> u64 {
    /// The instruction needs a feature that the baseline lacks.
    #[target_feature(enable = "xsave")]
    fn read() -> u64 {
        // SAFETY: the caller has seen OSXSAVE, so the instruction and the register exist.
        unsafe { core::arch::x86_64::_xgetbv(0) }
    }
    // SAFETY: as above.
    unsafe { read() }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> u8 {
    use core::arch::x86_64::{__cpuid, __cpuid_count};

    const FMA: u32 = 1 << 12;
    const OSXSAVE: u32 = 1 << 27;
    const AVX: u32 = 1 << 28;
    const F16C: u32 = 1 << 29;
    const WANTED_1: u32 = FMA | OSXSAVE | AVX | F16C;
    const BMI1: u32 = 1 << 3;
    const AVX2_BIT: u32 = 1 << 5;
    const BMI2: u32 = 1 << 8;
    const WANTED_7: u32 = BMI1 | AVX2_BIT | BMI2;

    #[allow(
        unused_unsafe,
        reason = "CPUID became a safe function in a later compiler"
    )]
    // SAFETY: every x86-64 has CPUID.
    let (max, leaf1) = unsafe { (__cpuid(0).eax, __cpuid(1).ecx) };
    if max < 7 || leaf1 & WANTED_1 != WANTED_1 {
        return PORTABLE;
    }
    // The operating system must save the upper halves of the registers.
    if xcr0() & 6 != 6 {
        return PORTABLE;
    }
    #[allow(
        unused_unsafe,
        reason = "CPUID became a safe function in a later compiler"
    )]
    // SAFETY: leaf 7 exists.
    let leaf7 = unsafe { __cpuid_count(7, 0).ebx };
    if leaf7 & WANTED_7 == WANTED_7 {
        AVX2
    } else {
        PORTABLE
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> u8 {
    PORTABLE
}

/// The few operations that the language cannot say and machines do differently fast.
///
/// Every method has one exact result; an implementation may only differ in speed.
pub trait Isa: Copy {
    /// `a * b + c`, rounded once.
    fn fma(self, a: f32, b: f32, c: f32) -> f32;

    /// Sixteen floats, the lanes of a sum.
    type Lanes: Copy;

    /// The same number in every lane.
    fn splat(self, x: f32) -> Self::Lanes;

    /// Sixteen little-endian floats.
    fn floats(self, x: &[u8; 64]) -> Self::Lanes;

    /// Sixteen floats in the machine's byte order.
    fn load(self, x: &[f32; 16]) -> Self::Lanes;

    /// The value of an IEEE half.
    #[inline(always)]
    fn half(self, h: u16) -> f32 {
        f16_to_f32(h)
    }

    /// The values of sixteen little-endian IEEE halves.
    fn halves(self, h: &[u8; 32]) -> Self::Lanes;

    /// Sixteen signed bytes as floats.
    fn signed(self, q: &[i8; 16]) -> Self::Lanes;

    /// `a * b`, lane by lane.
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;

    /// `a * b + c`, rounded once, lane by lane.
    fn fmas(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;

    /// The lanes, out of wherever they were.
    fn store(self, x: Self::Lanes) -> [f32; 16];

    /// The values of the low nibbles of 16 bytes, then of the high ones, by a table.
    fn lookup(self, table: &[i8; 16], nibbles: &[u8; 16]) -> [i8; 32];

    /// `(b >> DOWN & MASK) << UP | or`, byte by byte; `MASK` keeps what stays within a byte.
    fn bits<const DOWN: i32, const MASK: u8, const UP: i32>(
        self,
        b: &[u8; 32],
        or: &[u8; 32],
    ) -> [u8; 32];

    /// Every byte twice, as words.
    fn doubled(self, b: &[u8; 8]) -> [i16; 16];

    /// Says that the memory at `p` (which need not exist) will be read soon.
    fn soon(self, p: *const u8);

    /// Eight exact dot products of 32 signed bytes each. `a` is within -127..=127 (activations are
    /// quantized so); `q` is any.
    fn dots32(self, q: &[i8; 256], a: &[i8; 256]) -> [i32; 8];

    /// `sum of scale[i / 16] * q[i] * a[i]`, exact: `scale` is given for every run of 16 and is within
    /// -128..=127, `a` within -127..=127, and the caller's format keeps the sum within an `i32`.
    /// `SIGNED` says that `q` may be negative.
    fn dot256<const SIGNED: bool>(self, q: &[i8; 256], scale: &[i16; 16], a: &[i8; 256]) -> i32;

    /// The lanes of a row's product, `lanes[i % 16] = fma(w[i], x[i], lanes[i % 16])` with little-endian floats `w` and the machine's
    /// own in `x`; `false`, and nothing done, where that is no faster than piece by piece.
    #[inline(always)]
    fn row_f32(self, _w: &[[u8; 64]], _x: &[[u8; 64]], _lanes: &mut [f32; 16]) -> bool {
        false
    }

    /// The same with halves.
    #[inline(always)]
    fn row_f16(self, _w: &[[u8; 32]], _x: &[[u8; 64]], _lanes: &mut [f32; 16]) -> bool {
        false
    }

    /// `acc[i] = fma(w[j][i], x[j][i], acc[i])`, `j` ascending, where `x` is floats in the machine's byte order; `false`, and nothing
    /// done, where that is no faster than sixteen by sixteen.
    #[inline(always)]
    fn add_row(self, _w: &[[f32; 16]], _x: &[[u8; 64]], _acc: &mut Self::Lanes) -> bool {
        false
    }

    /// `lanes[i] = fma(x[j], m[j][i], lanes[i])`, `j` ascending, where row `j` of sixteen little-endian floats begins at byte `j * stride`
    /// of `m`; `false`, and nothing done, where that is no faster than row by row, or `m` is too short.
    #[inline(always)]
    fn add_rows_f32(self, _x: &[f32], _m: &[u8], _stride: usize, _lanes: &mut [f32; 16]) -> bool {
        false
    }

    /// The same with rows of halves.
    #[inline(always)]
    fn add_rows_f16(self, _x: &[f32], _m: &[u8], _stride: usize, _lanes: &mut [f32; 16]) -> bool {
        false
    }

    /// The product of a row of Q8_0 blocks with `q` and its scales `d`, as `dot_q32` defines it.
    #[inline(always)]
    fn row_q8_0(self, _w: &[[u8; 34]], _q: &[[i8; 32]], _d: &[[u8; 4]]) -> Option<f32> {
        None
    }
}

/// Whether `count` rows of `bytes` bytes, `stride` apart, can be read from here as floats, several at a time.
#[cfg(arm_fma)]
fn has_rows(m: &[u8], stride: usize, count: usize, bytes: usize) -> bool {
    let end = count
        .checked_sub(1)
        .and_then(|last| last.checked_mul(stride)?.checked_add(bytes));
    is_aligned(m) && stride.is_multiple_of(4) && end.is_some_and(|end| end <= m.len())
}

/// Whether floats can be loaded from here several at a time.
#[cfg(arm_fma)]
fn is_aligned<T>(p: &[T]) -> bool {
    p.as_ptr().addr().is_multiple_of(4)
}

/// The baseline of the target, with hardware FMA where the baseline has it.
#[derive(Clone, Copy)]
pub struct Native;

impl Isa for Native {
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        // SAFETY: every AArch64 target with floating point has NEON.
        unsafe {
            core::arch::aarch64::vfmas_lane_f32::<0>(c, a, core::arch::aarch64::vdup_n_f32(b))
        }
    }

    #[cfg(arm_fma)]
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        arm::fma(a, b, c)
    }

    #[cfg(target_arch = "s390x")]
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        let mut sum = c;
        // SAFETY: arithmetic on registers, which every such processor has. It says nothing but its result. (QEMU 7.2 gets
        // the portable way wrong, whose products of two floats as doubles are an instruction of their own there.)
        unsafe {
            core::arch::asm!(
                "maebr {sum}, {a}, {b}",
                sum = inout(freg) sum,
                a = in(freg) a,
                b = in(freg) b,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        sum
    }

    #[cfg(not(any(target_arch = "aarch64", target_arch = "s390x", arm_fma)))]
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        super::fma(a, b, c)
    }

    type Lanes = [f32; 16];

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 16] {
        [x; 16]
    }

    #[inline(always)]
    fn floats(self, x: &[u8; 64]) -> [f32; 16] {
        let mut out = [0.0; 16];
        for (out, &x) in out.iter_mut().zip(x.as_chunks::<4>().0) {
            *out = f32::from_le_bytes(x);
        }
        out
    }

    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> [f32; 16] {
        *x
    }

    #[inline(always)]
    fn halves(self, h: &[u8; 32]) -> [f32; 16] {
        let mut out = [0.0; 16];
        for (out, &h) in out.iter_mut().zip(h.as_chunks::<2>().0) {
            *out = self.half(u16::from_le_bytes(h));
        }
        out
    }

    #[cfg(arm_fma)]
    #[inline(always)]
    fn half(self, h: u16) -> f32 {
        arm::half(u32::from(h))
    }

    #[inline(always)]
    fn signed(self, q: &[i8; 16]) -> [f32; 16] {
        let mut out = [0.0; 16];
        for (out, &q) in out.iter_mut().zip(q) {
            *out = f32::from(q);
        }
        out
    }

    #[inline(always)]
    fn mul(self, mut a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        for (a, b) in a.iter_mut().zip(b) {
            *a *= b;
        }
        a
    }

    #[cfg(arm_fma)]
    #[inline(always)]
    fn fmas(self, a: [f32; 16], b: [f32; 16], mut c: [f32; 16]) -> [f32; 16] {
        // SAFETY: three arrays of 16.
        unsafe { arm::fmas(&mut c, &a, &b) };
        c
    }

    #[cfg(not(arm_fma))]
    #[inline(always)]
    fn fmas(self, a: [f32; 16], b: [f32; 16], mut c: [f32; 16]) -> [f32; 16] {
        for ((c, a), b) in c.iter_mut().zip(a).zip(b) {
            *c = self.fma(a, b, *c);
        }
        c
    }

    #[inline(always)]
    fn store(self, x: [f32; 16]) -> [f32; 16] {
        x
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], nibbles: &[u8; 16]) -> [i8; 32] {
        // Always found: a nibble is below 16.
        let value = |n: u8| table.get(usize::from(n & 15)).copied().unwrap_or(0);
        let mut out = [0; 32];
        let (low, high) = out.split_at_mut(16);
        for ((low, high), &b) in low.iter_mut().zip(high).zip(nibbles) {
            (*low, *high) = (value(b), value(b >> 4));
        }
        out
    }

    #[inline(always)]
    fn bits<const DOWN: i32, const MASK: u8, const UP: i32>(
        self,
        b: &[u8; 32],
        or: &[u8; 32],
    ) -> [u8; 32] {
        let mut out = *or;
        for (out, &b) in out
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .zip(b.as_chunks::<8>().0)
        {
            let bits = ((u64::from_le_bytes(b) >> DOWN) & u64::from_le_bytes([MASK; 8])) << UP;
            *out = (bits | u64::from_le_bytes(*out)).to_le_bytes();
        }
        out
    }

    #[inline(always)]
    fn doubled(self, b: &[u8; 8]) -> [i16; 16] {
        let mut out = [0; 16];
        for (out, &b) in out.as_chunks_mut::<2>().0.iter_mut().zip(b) {
            *out = [i16::from(b); 2];
        }
        out
    }

    #[inline(always)]
    fn soon(self, _: *const u8) {}

    #[cfg(arm_dsp)]
    #[inline(always)]
    fn dots32(self, q: &[i8; 256], a: &[i8; 256]) -> [i32; 8] {
        let mut sums = [0; 8];
        // SAFETY: arrays of the lengths it takes.
        unsafe { arm::dots32(&mut sums, q, a) };
        sums
    }

    #[cfg(not(arm_dsp))]
    #[inline(always)]
    fn dots32(self, q: &[i8; 256], a: &[i8; 256]) -> [i32; 8] {
        let mut sums = [0; 8];
        let blocks = q.as_chunks::<32>().0.iter().zip(a.as_chunks::<32>().0);
        for (sum, (q, a)) in sums.iter_mut().zip(blocks) {
            for (&q, &a) in q.iter().zip(a) {
                *sum += i32::from(q) * i32::from(a);
            }
        }
        sums
    }

    #[cfg(arm_dsp)]
    #[inline(always)]
    fn dot256<const SIGNED: bool>(self, q: &[i8; 256], scale: &[i16; 16], a: &[i8; 256]) -> i32 {
        // SAFETY: arrays of the lengths it takes.
        unsafe { arm::dot256(q, scale, a) }
    }

    #[cfg(arm_fma)]
    #[inline(always)]
    fn row_f32(self, w: &[[u8; 64]], x: &[[u8; 64]], lanes: &mut [f32; 16]) -> bool {
        let n = w.len().min(x.len());
        let fits = is_aligned(w) && is_aligned(x);
        if fits {
            // SAFETY: both have that many sixteens of floats and are aligned; Cortex-M is little-endian.
            unsafe { arm::row_f32(w.as_ptr().cast(), x.as_ptr().cast(), n, lanes) };
        }
        fits
    }

    #[cfg(arm_fma)]
    #[inline(always)]
    fn add_row(self, w: &[[f32; 16]], x: &[[u8; 64]], acc: &mut [f32; 16]) -> bool {
        let n = w.len().min(x.len());
        let fits = is_aligned(x);
        if fits {
            // SAFETY: both have that many sixteens of floats and are aligned.
            unsafe { arm::row_f32(w.as_ptr().cast(), x.as_ptr().cast(), n, acc) };
        }
        fits
    }

    #[cfg(arm_fma)]
    #[inline(always)]
    fn row_f16(self, w: &[[u8; 32]], x: &[[u8; 64]], lanes: &mut [f32; 16]) -> bool {
        let n = w.len().min(x.len());
        let fits = is_aligned(w) && is_aligned(x);
        if fits {
            // SAFETY: as above.
            unsafe { arm::row_f16(w.as_ptr().cast(), x.as_ptr().cast(), n, lanes) };
        }
        fits
    }

    #[cfg(arm_fma)]
    #[inline(always)]
    fn add_rows_f32(self, x: &[f32], m: &[u8], stride: usize, lanes: &mut [f32; 16]) -> bool {
        let fits = has_rows(m, stride, x.len(), 64);
        if fits {
            // SAFETY: there are that many rows, at least one, and all is aligned.
            unsafe { arm::add_rows_f32(x.as_ptr(), m.as_ptr(), stride, x.len(), lanes) };
        }
        fits
    }

    #[cfg(arm_fma)]
    #[inline(always)]
    fn add_rows_f16(self, x: &[f32], m: &[u8], stride: usize, lanes: &mut [f32; 16]) -> bool {
        let fits = has_rows(m, stride, x.len(), 32);
        if fits {
            // SAFETY: as above.
            unsafe { arm::add_rows_f16(x.as_ptr(), m.as_ptr(), stride, x.len(), lanes) };
        }
        fits
    }

    #[cfg(all(arm_fma, arm_dsp))]
    #[inline(always)]
    fn row_q8_0(self, w: &[[u8; 34]], q: &[[i8; 32]], d: &[[u8; 4]]) -> Option<f32> {
        let n = w.len().min(q.len()).min(d.len());
        if !is_aligned(d) {
            return None;
        }
        // SAFETY: all have that many blocks, and the scales are aligned.
        Some(unsafe { arm::row_q8_0(w.as_ptr().cast(), q.as_ptr().cast(), d.as_ptr().cast(), n) })
    }

    #[cfg(not(arm_dsp))]
    #[inline(always)]
    fn dot256<const SIGNED: bool>(self, q: &[i8; 256], scale: &[i16; 16], a: &[i8; 256]) -> i32 {
        let mut sum = 0;
        let groups = q.as_chunks::<16>().0.iter().zip(a.as_chunks::<16>().0);
        for (&scale, (q, a)) in scale.iter().zip(groups) {
            let mut group = 0;
            for (&q, &a) in q.iter().zip(a) {
                group += i32::from(q) * i32::from(a);
            }
            sum += i32::from(scale) * group;
        }
        sum
    }
}

/// AVX2, FMA, F16C and BMI2.
///
/// Only the instances made by `instances!` hold one, inside a function compiled for these features
/// and entered with a [`Level`] that proves them.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// # Safety
    /// The processor has the features.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use core::arch::x86_64::*;

    /// The products of 32 bytes, summed in fours, scaled per run of 16 by the words of `scale`.
    ///
    /// `maddubs` multiplies unsigned by signed and saturates at 16 bits: with |q| <= 128 and
    /// |a| <= 127 a pair is at most 32512, so it never does.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn products<const SIGNED: bool>(
        q: &[i8; 32],
        a: &[i8; 32],
        scale: __m256i,
    ) -> __m256i {
        // SAFETY: both are 32 bytes; the loads need no alignment.
        let (q, a) = unsafe {
            (
                _mm256_loadu_si256(q.as_ptr().cast()),
                _mm256_loadu_si256(a.as_ptr().cast()),
            )
        };
        let pairs = if SIGNED {
            _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(a, q))
        } else {
            _mm256_maddubs_epi16(q, a)
        };
        _mm256_madd_epi16(pairs, scale)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn lookup(table: &[i8; 16], nibbles: &[u8; 16]) -> [i8; 32] {
        let mut out = [0; 32];
        // SAFETY: 16 bytes are read from each and 32 written, without need of alignment.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            let b = _mm_loadu_si128(nibbles.as_ptr().cast());
            let n = _mm256_set_m128i(_mm_srli_epi16::<4>(b), b);
            let n = _mm256_and_si256(n, _mm256_set1_epi8(15));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_shuffle_epi8(table, n));
        }
        out
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn dots32(q: &[i8; 256], a: &[i8; 256]) -> [i32; 8] {
        let (q, a) = (q.as_chunks::<32>().0, a.as_chunks::<32>().0);
        let [q0, q1, q2, q3, q4, q5, q6, q7] = q else {
            return [0; 8];
        };
        let [a0, a1, a2, a3, a4, a5, a6, a7] = a else {
            return [0; 8];
        };
        let one = _mm256_set1_epi16(1);
        let s01 = _mm256_hadd_epi32(products::<true>(q0, a0, one), products::<true>(q1, a1, one));
        let s23 = _mm256_hadd_epi32(products::<true>(q2, a2, one), products::<true>(q3, a3, one));
        let s45 = _mm256_hadd_epi32(products::<true>(q4, a4, one), products::<true>(q5, a5, one));
        let s67 = _mm256_hadd_epi32(products::<true>(q6, a6, one), products::<true>(q7, a7, one));
        let lo = _mm256_hadd_epi32(s01, s23);
        let hi = _mm256_hadd_epi32(s45, s67);
        // Each 128-bit half has the sums of its half of the bytes.
        let sums = _mm256_add_epi32(
            _mm256_permute2x128_si256::<0x20>(lo, hi),
            _mm256_permute2x128_si256::<0x31>(lo, hi),
        );
        let mut out = [0; 8];
        // SAFETY: 32 bytes, no alignment needed.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sums) };
        out
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn dot256<const SIGNED: bool>(
        q: &[i8; 256],
        scale: &[i16; 16],
        a: &[i8; 256],
    ) -> i32 {
        let mut sum = _mm256_setzero_si256();
        let blocks = q.as_chunks::<32>().0.iter().zip(a.as_chunks::<32>().0);
        for (&[low, high], (q, a)) in scale.as_chunks::<2>().0.iter().zip(blocks) {
            let scale = _mm256_set_m128i(_mm_set1_epi16(high), _mm_set1_epi16(low));
            sum = _mm256_add_epi32(sum, products::<SIGNED>(q, a, scale));
        }
        let s = _mm_add_epi32(
            _mm256_castsi256_si128(sum),
            _mm256_extracti128_si256::<1>(sum),
        );
        let s = _mm_add_epi32(s, _mm_shuffle_epi32::<0b01_00_11_10>(s));
        _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32::<0b10_11_00_01>(s)))
    }
}

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

#[cfg(target_arch = "x86_64")]
impl Isa for Avx2 {
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        // SAFETY: a value of this type exists only where the processor has FMA. The compiler sees
        // through the vectors: this is its scalar fused operation, which it can vectorise.
        unsafe { _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c))) }
    }

    type Lanes = (__m256, __m256);

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Lanes {
        // SAFETY: a value of this type exists only where the processor has the features.
        unsafe { (_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }

    #[inline(always)]
    fn floats(self, x: &[u8; 64]) -> Self::Lanes {
        // SAFETY: as above; 64 bytes, no alignment needed, and this machine is little-endian.
        unsafe {
            let p = x.as_ptr().cast::<f32>();
            (_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8)))
        }
    }

    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> Self::Lanes {
        // SAFETY: as above; sixteen floats.
        unsafe {
            (
                _mm256_loadu_ps(x.as_ptr()),
                _mm256_loadu_ps(x.as_ptr().add(8)),
            )
        }
    }

    #[inline(always)]
    fn halves(self, h: &[u8; 32]) -> Self::Lanes {
        // SAFETY: as above; 32 bytes, no alignment needed.
        unsafe {
            let p = h.as_ptr().cast::<__m128i>();
            (
                _mm256_cvtph_ps(_mm_loadu_si128(p)),
                _mm256_cvtph_ps(_mm_loadu_si128(p.add(1))),
            )
        }
    }

    #[inline(always)]
    fn signed(self, q: &[i8; 16]) -> Self::Lanes {
        // SAFETY: as above; 16 bytes, no alignment needed.
        unsafe {
            let q = _mm_loadu_si128(q.as_ptr().cast());
            let low = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
            let high = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(q, q)));
            (low, high)
        }
    }

    #[inline(always)]
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: as above.
        unsafe { (_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn fmas(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes {
        // SAFETY: as above.
        unsafe {
            (
                _mm256_fmadd_ps(a.0, b.0, c.0),
                _mm256_fmadd_ps(a.1, b.1, c.1),
            )
        }
    }

    #[inline(always)]
    fn store(self, x: Self::Lanes) -> [f32; 16] {
        // SAFETY: as above; sixteen floats.
        unsafe {
            let mut out = [0.0; 16];
            _mm256_storeu_ps(out.as_mut_ptr(), x.0);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), x.1);
            out
        }
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], nibbles: &[u8; 16]) -> [i8; 32] {
        // SAFETY: as above, AVX2.
        unsafe { avx2::lookup(table, nibbles) }
    }

    #[inline(always)]
    fn bits<const DOWN: i32, const MASK: u8, const UP: i32>(
        self,
        b: &[u8; 32],
        or: &[u8; 32],
    ) -> [u8; 32] {
        let mut out = [0; 32];
        // SAFETY: as above; 32 bytes each, no alignment needed.
        unsafe {
            let b = _mm256_srli_epi16::<DOWN>(_mm256_loadu_si256(b.as_ptr().cast()));
            let b = _mm256_and_si256(b, _mm256_set1_epi8(MASK as i8));
            let or = _mm256_loadu_si256(or.as_ptr().cast());
            let b = _mm256_or_si256(_mm256_slli_epi16::<UP>(b), or);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), b);
        }
        out
    }

    #[inline(always)]
    fn doubled(self, b: &[u8; 8]) -> [i16; 16] {
        let mut out = [0; 16];
        // SAFETY: as above; 8 bytes are read and 32 written, no alignment needed.
        unsafe {
            let b = _mm_loadl_epi64(b.as_ptr().cast());
            let b = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(b, b));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), b);
        }
        out
    }

    #[inline(always)]
    fn soon(self, p: *const u8) {
        // SAFETY: a hint; it does not fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) };
    }

    #[inline(always)]
    fn dots32(self, q: &[i8; 256], a: &[i8; 256]) -> [i32; 8] {
        // SAFETY: as above, AVX2.
        unsafe { avx2::dots32(q, a) }
    }

    #[inline(always)]
    fn dot256<const SIGNED: bool>(self, q: &[i8; 256], scale: &[i16; 16], a: &[i8; 256]) -> i32 {
        // SAFETY: as above, AVX2.
        unsafe { avx2::dot256::<SIGNED>(q, scale, a) }
    }
}

/// Defines `fn name(level, args)`, which runs a generic body compiled for that level.
macro_rules! at_level {
    ($(#[$doc:meta])* $vis:vis fn $at:ident
     ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "one more than the kernel")]
        $vis fn $at(level: $crate::num::cpu::Level, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2")]
                #[allow(clippy::too_many_arguments, reason = "the kernel's")]
                fn wide($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: this function is only entered where the features are.
                    $body(unsafe { $crate::num::cpu::Avx2::new() }, $($arg),*)
                }
                if level.has_avx2() {
                    // SAFETY: the level proves the features.
                    return unsafe { wide($($arg),*) };
                }
            }
            let _ = level;
            $body($crate::num::cpu::Native, $($arg),*)
        }
    };
}

/// Makes a kernel's public function out of its generic body.
///
/// `instances! { /// doc \n pub fn name / name_at(x: &[f32]) -> f32 = body }` defines `name`, which
/// chooses, and `name_at`, which takes the [`Level`] to run at first, for tests.
macro_rules! instances {
    ($(#[$doc:meta])* pub fn $name:ident / $at:ident
     ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$doc])*
        #[inline]
        pub fn $name($($arg: $ty),*) $(-> $ret)? {
            $at($crate::num::cpu::Level::current(), $($arg),*)
        }
        $crate::num::cpu::at_level! {
            /// The same at a given level.
            pub(crate) fn $at($($arg: $ty),*) $(-> $ret)? = $body
        }
    };
}
pub(crate) use {at_level, instances};
