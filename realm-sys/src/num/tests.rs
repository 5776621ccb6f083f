//! The arithmetic against double precision, and its instances against each other.

use super::cpu::{Isa, Level, instances};
use super::*;
use std::vec::Vec;

/// A small generator (PCG), so that the same cases run everywhere.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub(crate) fn u32(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as u32) ^ ((self.0 >> 11) as u32)
    }
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.u32() as u64 * n as u64) >> 32) as usize
    }
    /// In -1..1.
    pub(crate) fn unit(&mut self) -> f32 {
        self.u32() as i32 as f32 / 2_147_483_648.0
    }
    /// Bell-shaped, variance about 1.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..3).map(|_| self.unit()).sum()
    }
    pub(crate) fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

/// Compares bits, NaNs being alike.
#[track_caller]
pub(crate) fn same(a: f32, b: f32, what: &str) {
    assert!(
        a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan(),
        "{what}: {a:e} ({:08x}) is not {b:e} ({:08x})",
        a.to_bits(),
        b.to_bits()
    );
}

#[track_caller]
pub(crate) fn same_all(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (&a, &b)) in a.iter().zip(b).enumerate() {
        same(a, b, &std::format!("{what} [{i}]"));
    }
}

/// FNV-1a over the bits: a golden value, so that a change of any order is noticed.
pub(crate) fn hash(x: &[f32]) -> u64 {
    x.iter()
        .flat_map(|v| v.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        })
}

#[inline(always)]
fn fma_body<I: Isa>(i: I, x: &mut [f32], y: &[f32], z: &[f32]) {
    for ((x, &y), &z) in x.iter_mut().zip(y).zip(z) {
        *x = i.fma(*x, y, z);
    }
}
instances! { pub fn fma_slice / fma_slice_at(x: &mut [f32], y: &[f32], z: &[f32]) = fma_body }

/// Triples that round badly: halfway cases with a distant tail, cancellation, subnormals, extremes.
fn hard_triples(n: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let mut r = Rng::new(7);
    let (mut x, mut y, mut z) = (Vec::new(), Vec::new(), Vec::new());
    for k in 0..n {
        let exp = |r: &mut Rng, lo: u32, hi: u32| (lo + r.below((hi - lo) as usize) as u32) << 23;
        let bits = |r: &mut Rng, e: u32| f32::from_bits(e | r.u32() & 0x807f_ffff);
        let few = |r: &mut Rng, e: u32| f32::from_bits(e | r.u32() & 0x8078_0003);
        let (a, b, c) = match k % 8 {
            // Anything at all.
            0 => (
                f32::from_bits(r.u32()),
                f32::from_bits(r.u32()),
                f32::from_bits(r.u32()),
            ),
            // Of like size.
            1 => (
                bits(&mut r, 127 << 23),
                bits(&mut r, 127 << 23),
                bits(&mut r, 127 << 23),
            ),
            // The addend just above or below what the product reaches.
            2 => {
                let (a, b) = (few(&mut r, 127 << 23), few(&mut r, 127 << 23));
                let e = exp(&mut r, 127 - 60, 127 + 60);
                (a, b, few(&mut r, e))
            }
            // Near-total cancellation.
            3 => {
                let (a, b) = (bits(&mut r, 127 << 23), bits(&mut r, 127 << 23));
                (
                    a,
                    b,
                    f32::from_bits((-(a * b)).to_bits().wrapping_add(r.below(3) as u32)),
                )
            }
            // Subnormal results and addends.
            4 => {
                let (ea, eb) = (exp(&mut r, 30, 70), exp(&mut r, 30, 70));
                (
                    bits(&mut r, ea),
                    few(&mut r, eb),
                    f32::from_bits(r.u32() & 0x80ff_ffff),
                )
            }
            // A tie at the last subnormal place, and a tail far below.
            5 => {
                let (ea, eb) = (exp(&mut r, 37, 39), exp(&mut r, 65, 68));
                (
                    few(&mut r, ea),
                    few(&mut r, eb),
                    f32::from_bits(r.u32() & 0x8000_00ff),
                )
            }
            // Overflow.
            6 => {
                let (ea, eb) = (exp(&mut r, 180, 200), exp(&mut r, 180, 195));
                (bits(&mut r, ea), bits(&mut r, eb), bits(&mut r, 254 << 23))
            }
            // Exact ties of the sum with a sticky bit far away.
            _ => {
                let e = exp(&mut r, 60, 110);
                let c = f32::from_bits(127 << 23 | r.u32() & 0x7f_ffff);
                let s = if r.u32() & 1 == 0 { 1.0 } else { -1.0 };
                let tiny = f32::from_bits(e);
                // (1 + t)(2^-24) is half of the last place of c, and a little.
                (
                    s * f32::from_bits((127 - 24) << 23),
                    1.0 + tiny.max(1.0 / 8_388_608.0),
                    c,
                )
            }
        };
        x.push(a);
        y.push(b);
        z.push(c);
    }
    (x, y, z)
}

#[test]
fn software_fma_is_the_fused_one() {
    let (x, y, z) = hard_triples(if cfg!(miri) { 1000 } else { 4_000_000 });
    for ((&a, &b), &c) in x.iter().zip(&y).zip(&z) {
        // std's goes to the C library or the machine: an independent implementation.
        same(
            fma(a, b, c),
            a.mul_add(b, c),
            &std::format!("fma({a:e}, {b:e}, {c:e})"),
        );
    }
    let (mut p, mut w) = (x.clone(), x);
    fma_slice_at(Level::portable(), &mut p, &y, &z);
    fma_slice_at(Level::detected(), &mut w, &y, &z);
    same_all(&p, &w, "portable and detected");
    golden("fma", &p, GOLDEN_FMA);
    fma_slice(&mut p, &y, &z);
}
const GOLDEN_FMA: u64 = 0xe4e3_7035_a3c7_8911;

#[test]
fn the_tree_is_the_tree() {
    let x: [f32; 16] = core::array::from_fn(|i| 1.0 + 0.1 * (i * i) as f32);
    let mut v = x.to_vec();
    while v.len() > 1 {
        let h = v.len() / 2;
        v = (0..h).map(|i| v[i] + v[i + h]).collect();
    }
    same(tree(&x), v[0], "tree");
}

macro_rules! map {
    ($name:ident, $at:ident, $body:ident, $f:path) => {
        #[inline(always)]
        fn $body<I: Isa>(i: I, x: &mut [f32]) {
            for x in x {
                *x = $f(i, *x);
            }
        }
        instances! { pub fn $name / $at(x: &mut [f32]) = $body }
    };
}
map!(m_exp, exp_at, exp_body, math::exp);
map!(m_sigmoid, sigmoid_at, sigmoid_body, math::sigmoid);
map!(m_tanh, tanh_at, tanh_body, math::tanh);
map!(m_silu, silu_at, silu_body, math::silu);
map!(m_gelu_tanh, gelu_tanh_at, gelu_tanh_body, math::gelu_tanh);
map!(
    m_gelu_quick,
    gelu_quick_at,
    gelu_quick_body,
    math::gelu_quick
);
map!(m_gelu_erf, gelu_erf_at, gelu_erf_body, math::gelu_erf);

/// Runs a function over a sweep of its domain at both levels, and returns the worst error in units
/// of the last place of the true result (of 2^-126 where that is smaller).
fn sweep(
    name: &str,
    at: fn(Level, &mut [f32]),
    chosen: fn(&mut [f32]),
    truth: fn(f64) -> f64,
    range: core::ops::Range<f32>,
    want_hash: u64,
) -> f64 {
    let mut x: Vec<f32> = (0..1_000_003)
        .map(|k| range.start + (range.end - range.start) * (k as f32 / 1e6))
        .collect();
    // And logarithmically, both signs.
    x.extend(
        (0..0x7f80_0000u32)
            .step_by(9973)
            .flat_map(|b| [f32::from_bits(b), -f32::from_bits(b)])
            .filter(|v| range.contains(v)),
    );
    let (mut p, mut w, mut c) = (x.clone(), x.clone(), x.clone());
    at(Level::portable(), &mut p);
    at(Level::detected(), &mut w);
    chosen(&mut c);
    same_all(&p, &w, name);
    same_all(&p, &c, name);
    let mut worst = (0.0, 0.0);
    for (&x, &got) in x.iter().zip(&p) {
        let want = truth(f64::from(x));
        let magnitude = (want.abs() as f32).clamp(f32::MIN_POSITIVE, f32::MAX.next_down());
        let ulp = f64::from(magnitude.next_up()) - f64::from(magnitude);
        let error = (f64::from(got) - want).abs() / ulp;
        // Where the result is flushed to zero the error is at most the least normal number.
        if want.abs() >= f64::from(f32::MIN_POSITIVE)
            && (want.abs() as f32).is_finite()
            && error > worst.0
        {
            worst = (error, x);
        }
    }
    std::println!("{name}: {:.3} ulp at {:e}", worst.0, worst.1);
    golden(name, &p, want_hash);
    worst.0
}

#[test]
fn functions_against_double_precision() {
    let sig = |x: f64| 1.0 / (1.0 + libm::exp(-x));
    let e = sweep(
        "exp",
        exp_at,
        m_exp,
        libm::exp,
        -87.3..88.7,
        0x7eb6_10b4_33ec_7af6,
    );
    assert!(e < 1.0, "{e}");
    let e = sweep(
        "sigmoid",
        sigmoid_at,
        m_sigmoid,
        sig,
        -87.0..100.0,
        0xaaa1_6e85_e186_9919,
    );
    assert!(e < 2.5, "{e}");
    let e = sweep(
        "tanh",
        tanh_at,
        m_tanh,
        libm::tanh,
        -20.0..20.0,
        0x62ac_9917_46da_a449,
    );
    assert!(e < 2.5, "{e}");
    let e = sweep(
        "silu",
        silu_at,
        m_silu,
        |x| x / (1.0 + libm::exp(-x)),
        -85.0..1000.0,
        0x6dc7_1120_f55e_028f,
    );
    assert!(e < 3.0, "{e}");
    // The argument of exp is rounded, which costs |argument| / 2 ulp of the result in the tail.
    let gelu = |x: f64| {
        let y = (2.0 / core::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        x / (1.0 + libm::exp(-2.0 * y))
    };
    let e = sweep(
        "gelu_tanh",
        gelu_tanh_at,
        m_gelu_tanh,
        gelu,
        -3.0..50.0,
        0xf611_6d35_f802_d3de,
    );
    assert!(e < 25.0, "{e}");
    let e = sweep(
        "gelu_quick",
        gelu_quick_at,
        m_gelu_quick,
        |x| x / (1.0 + libm::exp(-1.702 * x)),
        -10.0..50.0,
        0x9280_376d_192a_60a4,
    );
    assert!(e < 25.0, "{e}");
    let erf = |x: f64| 0.5 * x * libm::erfc(-x / core::f64::consts::SQRT_2);
    let e = sweep(
        "gelu_erf",
        gelu_erf_at,
        m_gelu_erf,
        erf,
        -5.0..50.0,
        0x478a_e7b9_e039_7a66,
    );
    assert!(e < 25.0, "{e}");
}

#[test]
fn functions_at_the_edges() {
    let one = |at: fn(Level, &mut [f32]), x: f32| {
        let mut v = [x];
        at(Level::portable(), &mut v);
        v[0]
    };
    let inf = f32::INFINITY;
    same(one(exp_at, 0.0), 1.0, "exp 0");
    same(one(exp_at, -0.0), 1.0, "exp -0");
    same(one(exp_at, inf), inf, "exp inf");
    same(one(exp_at, 1e30), inf, "exp 1e30");
    same(one(exp_at, 88.73), inf, "exp 88.73");
    assert!(one(exp_at, 88.72).is_finite());
    same(one(exp_at, -inf), 0.0, "exp -inf");
    same(one(exp_at, -87.34), 0.0, "exp -87.34");
    assert!(one(exp_at, -87.336_5).is_normal());
    for at in [
        exp_at,
        sigmoid_at,
        tanh_at,
        silu_at,
        gelu_tanh_at,
        gelu_quick_at,
        gelu_erf_at,
    ] {
        assert!(one(at, f32::NAN).is_nan());
    }
    same(one(sigmoid_at, -inf), 0.0, "sigmoid -inf");
    same(one(sigmoid_at, inf), 1.0, "sigmoid inf");
    same(one(sigmoid_at, 0.0), 0.5, "sigmoid 0");
    same(one(tanh_at, inf), 1.0, "tanh inf");
    same(one(tanh_at, -inf), -1.0, "tanh -inf");
    same(one(tanh_at, -0.0), -0.0, "tanh -0");
    for at in [silu_at, gelu_tanh_at, gelu_quick_at, gelu_erf_at] {
        same(one(at, 0.0), 0.0, "act 0");
        same(one(at, inf), inf, "act inf");
        same(one(at, 100.0), 100.0, "act 100");
        assert_eq!(one(at, -100.0), 0.0);
    }
    let x = f32::from_bits(0x00ff_ffff);
    same(one(tanh_at, x), x, "tanh of a tiny number");
}

/// Compares a hash with the golden one; `REALM_GOLDEN` shows instead of failing.
#[track_caller]
pub(crate) fn golden(name: &str, x: &[f32], want: u64) {
    let clean: Vec<f32> = x
        .iter()
        .map(|&v| if v.is_nan() { f32::NAN } else { v })
        .collect();
    let got = hash(&clean);
    if std::env::var_os("REALM_GOLDEN").is_some() {
        std::println!("GOLDEN {name}: {got:#018x}");
    } else {
        assert_eq!(got, want, "{name}: the bits changed, now {got:#018x}");
    }
}
