//! The functions of `crate::num::math` that attention needs, operation by operation, so that every lane has the
//! reference's bits. What follows from their arguments being bounded is left out.

use super::Lanes;

/// As `num::math`'s.
const ROUND: f32 = 12_582_912.0;

/// `num::math::exp` of numbers up to 88.
///
/// # Safety
/// Within `enter`.
#[inline(always)]
pub unsafe fn exp<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        // The reference first raises what is below -88, whose result is 0 in any case.
        let t = x.fma(L::splat(core::f32::consts::LOG2_E), L::splat(ROUND));
        let n = t.sub(L::splat(ROUND));
        let r = n.fma(L::splat(-0.693_145_75), x);
        let r = n.fma(L::splat(-1.428_606_8e-6), r);
        let q = r.fma(L::splat(0.001_395_06), L::splat(0.008_368_954));
        let q = q.fma(r, L::splat(0.041_666_206));
        let q = q.fma(r, L::splat(0.166_665_18));
        let q = q.fma(r, L::splat(0.5));
        let p = q.fma(r, L::splat(1.0)).fma(r, L::splat(1.0));
        // The reference multiplies by two halves of 2^n. The first product is exact, so both round once: the same
        // number as this one.
        p.scale(n, t).zero_below(x, -87.336_54)
    }
}

/// `num::math::tanh`.
///
/// # Safety
/// Within `enter`.
#[inline(always)]
pub unsafe fn tanh<L: Lanes>(x: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let a = x.abs();
        let u = x.mul(x);
        let q = u.fma(L::splat(-0.005_905_860_6), L::splat(0.020_805_378));
        let q = q.fma(u, L::splat(-0.053_786_68));
        let q = q.fma(u, L::splat(0.133_319_59));
        let q = q.fma(u, L::splat(-0.333_333));
        let small = q.mul(u).fma(a, a);
        // From far below 88 on the result is 1 whatever exp says.
        let e = exp(a.add(a).smaller(L::splat(88.0)));
        let large = L::splat(2.0).div(e.add(L::splat(1.0)));
        let large = L::splat(1.0).sub(large);
        small.where_below(a, 0.6, large).signs_of(x)
    }
}
