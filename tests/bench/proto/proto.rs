//! AVX-512 VNNI prototypes that follow the reference's definition of Q4_K and Q8_0 products.
//!
//! Decode: one (Q4_K) or two (Q8_0) plain rows at a time. Prefill: 16 rows are unpacked once to bytes,
//! four per row side by side, and multiplied with broadcast activations of eight tokens.

#![allow(
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    clippy::needless_range_loop,
    reason = "intrinsics throughout: every function is entered where `run` was promised the features"
)]

use super::{Big, K, Rng, best, prepared, product, weights};
use realm_sys::quant::GgmlType;
use std::arch::x86_64::*;
use std::hint::black_box;

const SB: usize = K / 256;
const NB: usize = K / 32;

/// Activations of Q8x256 as these kernels like them.
#[derive(Clone)]
#[repr(C, align(64))]
struct ActK {
    /// Per super-block: sub-blocks in the order 0 2 1 3 4 6 5 7, as nibbles are stored.
    mixed: [[i8; 256]; SB],
    plain: [[i8; 256]; SB],
    /// Sums of each 32.
    sums: [[i16; 8]; SB],
    d: [f32; SB],
}

impl ActK {
    fn new(row: &[u8]) -> Self {
        let mut a = Self {
            mixed: [[0; 256]; SB],
            plain: [[0; 256]; SB],
            sums: [[0; 8]; SB],
            d: [0.0; SB],
        };
        for b in 0..SB {
            for (j, from) in [0, 2, 1, 3, 4, 6, 5, 7].into_iter().enumerate() {
                for l in 0..32 {
                    let at = b * 256 + from * 32 + l;
                    a.mixed[b][32 * j + l] = row[at] as i8;
                    a.plain[b][32 * from + l] = row[at] as i8;
                    a.sums[b][from] += i16::from(row[at] as i8);
                }
            }
            let at = K + 4 * b;
            a.d[b] = f32::from_ne_bytes(row[at..at + 4].try_into().unwrap());
        }
        a
    }
}

/// Activations of Q8x32.
#[derive(Clone)]
#[repr(C, align(64))]
struct Act32 {
    q: [i8; K],
    d: [f32; NB],
    /// -128 times the sum: what makes up for weights taken as unsigned.
    bias: [i32; NB],
}

impl Act32 {
    fn new(row: &[u8]) -> Self {
        let mut a = Self {
            q: [0; K],
            d: [0.0; NB],
            bias: [0; NB],
        };
        for i in 0..K {
            a.q[i] = row[i] as i8;
            a.bias[i / 32] -= 128 * i32::from(row[i] as i8);
        }
        for b in 0..NB {
            let at = K + 4 * b;
            a.d[b] = f32::from_ne_bytes(row[at..at + 4].try_into().unwrap());
        }
        a
    }
}

/// Eight scales (low half) and eight minima (high half).
#[inline(always)]
fn six_bits(p: *const u8) -> [u32; 4] {
    // SAFETY: twelve bytes of a block.
    let w = |i| unsafe { u32::from_le(p.cast::<u32>().add(i).read_unaligned()) };
    let (a, b, c) = (w(0), w(1), w(2));
    let (six, low, top) = (0x3f3f3f3f, 0x0f0f0f0f, 0x30303030);
    [
        a & six,
        (c & low) | (a >> 2 & top),
        b & six,
        (c >> 4 & low) | (b >> 2 & top),
    ]
}

const fn scale_bytes(base: i8) -> [i8; 64] {
    let mut x = [-1; 64];
    let mut i = 0;
    while i < 32 {
        x[2 * i] = base + (i / 16) as i8 * 2 + (i / 4 % 2) as i8;
        i += 1;
    }
    x
}
static SH_A: [i8; 64] = scale_bytes(0);
static SH_B: [i8; 64] = scale_bytes(4);

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn q4k_row(w: *const u8, a: &ActK) -> f32 {
    unsafe {
        let m4 = _mm512_set1_epi8(15);
        let (sha, shb) = (
            _mm512_loadu_si512(SH_A.as_ptr().cast()),
            _mm512_loadu_si512(SH_B.as_ptr().cast()),
        );
        let z = _mm512_setzero_si512();
        let mut acc = 0.0f32;
        for b0 in (0..SB).step_by(4) {
            let mut s = [z; 4];
            let mut m = [_mm_setzero_si128(); 4];
            let mut dd = [0i32; 4];
            for i in 0..4 {
                let x = w.add(144 * (b0 + i));
                _mm_prefetch::<_MM_HINT_T0>(x.add(4096).cast());
                _mm_prefetch::<_MM_HINT_T0>(x.add(4160).cast());
                dd[i] = x.cast::<i32>().read_unaligned();
                let sm = six_bits(x.add(4));
                let sm = _mm_loadu_si128(sm.as_ptr().cast());
                let sc = _mm512_broadcast_i32x4(sm);
                let qa = _mm512_loadu_si512(x.add(16).cast());
                let qb = _mm512_loadu_si512(x.add(80).cast());
                let y = a.mixed[b0 + i].as_ptr();
                let act = |n: usize| _mm512_load_si512(y.add(64 * n).cast());
                let p0 = _mm512_dpbusd_epi32(z, _mm512_and_si512(qa, m4), act(0));
                let p1 = _mm512_dpbusd_epi32(
                    z,
                    _mm512_and_si512(_mm512_srli_epi16::<4>(qa), m4),
                    act(1),
                );
                let p2 = _mm512_dpbusd_epi32(z, _mm512_and_si512(qb, m4), act(2));
                let p3 = _mm512_dpbusd_epi32(
                    z,
                    _mm512_and_si512(_mm512_srli_epi16::<4>(qb), m4),
                    act(3),
                );
                // Partial sums of four products fit 16 bits (4 * 15 * 127).
                let t = _mm512_dpwssd_epi32(
                    z,
                    _mm512_packs_epi32(p0, p1),
                    _mm512_shuffle_epi8(sc, sha),
                );
                s[i] = _mm512_dpwssd_epi32(
                    t,
                    _mm512_packs_epi32(p2, p3),
                    _mm512_shuffle_epi8(sc, shb),
                );
                m[i] = _mm_madd_epi16(
                    _mm_cvtepu8_epi16(_mm_unpackhi_epi64(sm, sm)),
                    _mm_loadu_si128(a.sums[b0 + i].as_ptr().cast()),
                );
            }
            let t0 = _mm512_add_epi32(
                _mm512_unpacklo_epi32(s[0], s[1]),
                _mm512_unpackhi_epi32(s[0], s[1]),
            );
            let t1 = _mm512_add_epi32(
                _mm512_unpacklo_epi32(s[2], s[3]),
                _mm512_unpackhi_epi32(s[2], s[3]),
            );
            let t = _mm512_add_epi32(_mm512_unpacklo_epi64(t0, t1), _mm512_unpackhi_epi64(t0, t1));
            let h = _mm256_add_epi32(_mm512_castsi512_si256(t), _mm512_extracti64x4_epi64::<1>(t));
            let isum = _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256::<1>(h));
            let msum = _mm_hadd_epi32(_mm_hadd_epi32(m[0], m[1]), _mm_hadd_epi32(m[2], m[3]));
            let dd = _mm_loadu_si128(dd.as_ptr().cast());
            let order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
            let df = _mm256_cvtph_ps(_mm_shuffle_epi8(dd, order));
            let da = _mm_loadu_ps(a.d.as_ptr().add(b0));
            let d = _mm_mul_ps(_mm256_castps256_ps128(df), da);
            let dm = _mm_mul_ps(_mm256_extractf128_ps::<1>(df), da);
            let (isum, msum) = (_mm_cvtepi32_ps(isum), _mm_cvtepi32_ps(msum));
            let (mut x, mut y, mut u, mut v) = ([0f32; 4], [0f32; 4], [0f32; 4], [0f32; 4]);
            _mm_storeu_ps(x.as_mut_ptr(), d);
            _mm_storeu_ps(y.as_mut_ptr(), isum);
            _mm_storeu_ps(u.as_mut_ptr(), dm);
            _mm_storeu_ps(v.as_mut_ptr(), msum);
            for i in 0..4 {
                acc = x[i].mul_add(y[i], acc);
                acc = (-u[i]).mul_add(v[i], acc);
            }
        }
        acc
    }
}

/// Sums of eight vectors of eight, side by side.
#[inline]
#[target_feature(enable = "avx2")]
fn sum8(p: &[__m256i; 8]) -> __m256i {
    let h = |a, b| _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let g = |a, b| _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    let lo = g(h(p[0], p[1]), h(p[2], p[3]));
    let hi = g(h(p[4], p[5]), h(p[6], p[7]));
    _mm256_add_epi32(
        _mm256_permute2x128_si256::<0x20>(lo, hi),
        _mm256_permute2x128_si256::<0x31>(lo, hi),
    )
}

/// How far ahead of a row's reading position its memory is asked for.
const AHEAD: usize = 34 * NB * 4;

/// `R` plain rows of Q8_0 at once, so that their chains of additions overlap.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn q8_rows<const R: usize>(w: *const u8, a: &Act32) -> [f32; R] {
    unsafe {
        let mut acc = [0.0f32; R];
        let flip = _mm256_set1_epi8(-128);
        for b0 in (0..NB).step_by(8) {
            let mut x = [[0f32; 8]; R];
            let mut y = [[0f32; 8]; R];
            let da = _mm256_loadu_ps(a.d.as_ptr().add(b0));
            let bias = _mm256_loadu_si256(a.bias.as_ptr().add(b0).cast());
            for r in 0..R {
                let w = w.add(34 * (NB * r + b0));
                for line in 0..5 {
                    // Within the row and into the ones after the next.
                    _mm_prefetch::<_MM_HINT_T0>(w.add(AHEAD + 64 * line).cast());
                }
                let mut p = [_mm256_setzero_si256(); 8];
                let mut h = [0u16; 8];
                for i in 0..8 {
                    h[i] = w.add(34 * i).cast::<u16>().read_unaligned();
                    let q = _mm256_xor_si256(_mm256_loadu_si256(w.add(34 * i + 2).cast()), flip);
                    let act = _mm256_load_si256(a.q.as_ptr().add(32 * (b0 + i)).cast());
                    p[i] = _mm256_dpbusd_epi32(p[i], q, act);
                }
                let isum = _mm256_add_epi32(sum8(&p), bias);
                let d = _mm256_cvtph_ps(_mm_loadu_si128(h.as_ptr().cast()));
                _mm256_storeu_ps(x[r].as_mut_ptr(), _mm256_mul_ps(d, da));
                _mm256_storeu_ps(y[r].as_mut_ptr(), _mm256_cvtepi32_ps(isum));
            }
            for i in 0..8 {
                for r in 0..R {
                    acc[r] = x[r][i].mul_add(y[r][i], acc[r]);
                }
            }
        }
        acc
    }
}

/// Sixteen rows of Q4_K as bytes.
#[repr(C, align(64))]
struct TileK {
    /// Per super-block, per four elements: four bytes of each row.
    q: [[[[u8; 4]; 16]; 64]; SB],
    scale: [[[i32; 16]; 8]; SB],
    /// Pairs of minima as 16-bit halves.
    min: [[[[i16; 2]; 16]; 4]; SB],
    d: [[f32; 16]; SB],
    dmin: [[f32; 16]; SB],
}

fn h2f(w: &[u8]) -> f32 {
    realm_sys::quant::f16::f16_to_f32(u16::from_le_bytes([w[0], w[1]]))
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn unpack_k(w: &[u8], t: &mut TileK) {
    for (r, w) in w.chunks_exact(144 * SB).enumerate().take(16) {
        for (b, w) in w.chunks_exact(144).enumerate() {
            (t.d[b][r], t.dmin[b][r]) = (h2f(w), h2f(&w[2..]));
            let s = six_bits(w[4..].as_ptr()).map(u32::to_le_bytes);
            for j in 0..8 {
                t.scale[b][j][r] = i32::from(s[j / 4][j % 4]);
                t.min[b][j / 2][r][j % 2] = i16::from(s[2 + j / 4][j % 4]);
            }
            for c in 0..4 {
                for (l, q) in w[16 + 32 * c..48 + 32 * c]
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .enumerate()
                {
                    let q = u32::from_le_bytes(*q);
                    t.q[b][16 * c + l][r] = (q & 0x0f0f0f0f).to_le_bytes();
                    t.q[b][16 * c + 8 + l][r] = (q >> 4 & 0x0f0f0f0f).to_le_bytes();
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn word(p: *const i8) -> __m512i {
    unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
}

/// Eight tokens times sixteen rows of Q4_K.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile_k(t: &TileK, x: &[ActK], out: &mut [[f32; 16]; 8]) {
    unsafe {
        let z = _mm512_setzero_si512();
        let x: [&ActK; 8] = std::array::from_fn(|i| &x[i]);
        let mut acc = [_mm512_setzero_ps(); 8];
        for b in 0..SB {
            let mut isum = [z; 8];
            for j in 0..8 {
                let mut s = [z; 8];
                for l in 0..8 {
                    let w = _mm512_load_si512(t.q[b][8 * j + l].as_ptr().cast());
                    for i in 0..8 {
                        s[i] = _mm512_dpbusd_epi32(
                            s[i],
                            w,
                            word(x[i].plain[b].as_ptr().add(32 * j + 4 * l)),
                        );
                    }
                }
                let scale = _mm512_load_si512(t.scale[b][j].as_ptr().cast());
                for i in 0..8 {
                    // The upper half of a scale is 0 and a sum fits 16 bits unsigned, not signed.
                    isum[i] = _mm512_add_epi32(isum[i], _mm512_mullo_epi32(s[i], scale));
                }
            }
            let (d, dm) = (
                _mm512_load_ps(t.d[b].as_ptr()),
                _mm512_load_ps(t.dmin[b].as_ptr()),
            );
            for i in 0..8 {
                let da = _mm512_set1_ps(x[i].d[b]);
                let mut m = z;
                for c in 0..4 {
                    let min = _mm512_load_si512(t.min[b][c].as_ptr().cast());
                    m = _mm512_dpwssd_epi32(
                        m,
                        min,
                        word(x[i].sums[b].as_ptr().cast::<i8>().add(4 * c)),
                    );
                }
                acc[i] = _mm512_fmadd_ps(_mm512_mul_ps(d, da), _mm512_cvtepi32_ps(isum[i]), acc[i]);
                acc[i] = _mm512_fnmadd_ps(_mm512_mul_ps(dm, da), _mm512_cvtepi32_ps(m), acc[i]);
            }
        }
        for i in 0..8 {
            _mm512_storeu_ps(out[i].as_mut_ptr(), acc[i]);
        }
    }
}

/// Sixteen rows of Q8_0 as bytes, 128 added.
#[repr(C, align(64))]
struct Tile8 {
    q: [[[[u8; 4]; 16]; 8]; NB],
    d: [[f32; 16]; NB],
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn unpack_8(w: &[u8], t: &mut Tile8) {
    for (r, w) in w.chunks_exact(34 * NB).enumerate().take(16) {
        for (b, w) in w.chunks_exact(34).enumerate() {
            t.d[b][r] = h2f(w);
            for (l, q) in w[2..].as_chunks::<4>().0.iter().enumerate() {
                t.q[b][l][r] = (u32::from_le_bytes(*q) ^ 0x80808080).to_le_bytes();
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile_8(t: &Tile8, x: &[Act32], out: &mut [[f32; 16]; 8]) {
    unsafe {
        let x: [&Act32; 8] = std::array::from_fn(|i| &x[i]);
        let mut acc = [_mm512_setzero_ps(); 8];
        for b in 0..NB {
            let mut s: [__m512i; 8] = std::array::from_fn(|i| _mm512_set1_epi32(x[i].bias[b]));
            for l in 0..8 {
                let w = _mm512_load_si512(t.q[b][l].as_ptr().cast());
                for i in 0..8 {
                    s[i] = _mm512_dpbusd_epi32(s[i], w, word(x[i].q.as_ptr().add(32 * b + 4 * l)));
                }
            }
            let d = _mm512_load_ps(t.d[b].as_ptr());
            for i in 0..8 {
                let d = _mm512_mul_ps(d, _mm512_set1_ps(x[i].d[b]));
                acc[i] = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(s[i]), acc[i]);
            }
        }
        for i in 0..8 {
            _mm512_storeu_ps(out[i].as_mut_ptr(), acc[i]);
        }
    }
}

/// What the machine can do: independent vpdpbusd from registers, Gop/s.
#[target_feature(enable = "avx512f,avx512vnni")]
fn vnni_rate() -> f64 {
    let (a, b) = (
        black_box(_mm512_set1_epi8(3)),
        black_box(_mm512_set1_epi8(5)),
    );
    let n = 20_000_000u64;
    let t = best(|| {
        let mut s = [a; 12];
        for _ in 0..n {
            for s in &mut s {
                *s = _mm512_dpbusd_epi32(*s, a, b);
            }
            for s in &mut s {
                // SAFETY: an empty statement, which keeps the value opaque without spilling it.
                unsafe {
                    std::arch::asm!(
                        "/* {0} */",
                        inout(zmm_reg) * s,
                        options(nomem, nostack, preserves_flags)
                    )
                };
            }
        }
        black_box(s);
    });
    (n * 12 * 128) as f64 / t / 1e9
}

fn boxed<T>() -> Box<T> {
    let layout = std::alloc::Layout::new::<T>();
    // SAFETY: only used for large arrays of numbers, for which zeros are values.
    unsafe { Box::from_raw(std::alloc::alloc_zeroed(layout).cast()) }
}

#[track_caller]
fn check(name: &str, got: &[f32], want: &[f32]) {
    let bad = got
        .iter()
        .zip(want)
        .filter(|(a, b)| a.to_bits() != b.to_bits())
        .count();
    println!(
        "{name}: {bad} of {} results differ from the reference",
        want.len()
    );
    assert_eq!(bad, 0);
}

/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI.
pub(crate) unsafe fn run(r: &mut Rng, big: &mut Big) {
    let (few, tokens) = (256, 128);
    for ty in [GgmlType::Q4_K, GgmlType::Q8_0] {
        let row = ty.row_bytes(K as u64).unwrap() as usize;
        let many = (128 << 20) / row / 2 * 2;
        let w = &mut big.bytes()[..many * row + 16384];
        weights(r, ty, &mut w[..many * row]);
        let act = prepared(r, ty, tokens);
        let rows: Vec<&[u8]> = act.chunks(act.len() / tokens).collect();
        let mut want = vec![0.0; few * tokens];
        product(ty, &w[..few * row], &act, tokens, &mut want);
        let mut got = vec![0.0; many.max(few * tokens)];
        let name = ty.name();
        // SAFETY: the caller's promise; rows are whole, and 16 KiB follow for the prefetches.
        unsafe {
            let ak: Vec<ActK> = if ty == GgmlType::Q4_K {
                rows.iter().map(|a| ActK::new(a)).collect()
            } else {
                vec![]
            };
            let a8: Vec<Act32> = if ty == GgmlType::Q8_0 {
                rows.iter().map(|a| Act32::new(a)).collect()
            } else {
                vec![]
            };
            let p = w.as_ptr();
            let decode = |m: usize, y: &mut [f32]| {
                if ty == GgmlType::Q4_K {
                    for (i, y) in y.iter_mut().enumerate().take(m) {
                        *y = q4k_row(p.add(i * row), &ak[0]);
                    }
                } else {
                    for (i, y) in y.as_chunks_mut::<2>().0.iter_mut().enumerate().take(m / 2) {
                        *y = q8_rows::<2>(p.add(2 * i * row), &a8[0]);
                    }
                }
            };
            decode(few, &mut got);
            check(&format!("{name} decode"), &got[..few], &want[..few]);
            let mem = best(|| decode(many, &mut got));
            let l2 = best(|| (0..50).for_each(|_| decode(few, &mut got)));
            println!(
                "{name} decode, AVX-512 prototype: {:.1} GB/s from memory, {:.1} from L2",
                (many * row) as f64 / mem / 1e9,
                (50 * few * row) as f64 / l2 / 1e9
            );
            let (mut tk, mut t8) = (boxed::<TileK>(), boxed::<Tile8>());
            let mut prefill = |y: &mut [f32]| {
                let mut out = [[0.0; 16]; 8];
                for first in (0..few).step_by(16) {
                    let wt = &w[first * row..(first + 16) * row];
                    if ty == GgmlType::Q4_K {
                        unpack_k(wt, &mut tk)
                    } else {
                        unpack_8(wt, &mut t8)
                    }
                    for tok in (0..tokens).step_by(8) {
                        if ty == GgmlType::Q4_K {
                            tile_k(&tk, &ak[tok..], &mut out);
                        } else {
                            tile_8(&t8, &a8[tok..], &mut out);
                        }
                        for (i, o) in out.iter().enumerate() {
                            y[(tok + i) * few + first..][..16].copy_from_slice(o);
                        }
                    }
                }
            };
            prefill(&mut got);
            check(&format!("{name} prefill"), &got[..few * tokens], &want);
            let t = best(|| (0..10).for_each(|_| prefill(&mut got))) / 10.0;
            let rate = vnni_rate();
            let gops = (2 * few * K * tokens) as f64 / t / 1e9;
            println!(
                "{name} prefill, AVX-512 prototype: {gops:.0} Gop/s, {:.2} of the VNNI rate of {rate:.0}",
                gops / rate
            );
        }
    }
}
