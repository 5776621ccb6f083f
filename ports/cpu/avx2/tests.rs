//! The algorithm of AVX-VNNI where only AVX-512's encoding of the same instruction is at hand.
//!
//! `vpdpwssd` encoded with VEX and with EVEX computes the same. What stays untested on a machine without AVX-VNNI is
//! the encoding alone; where it exists, the port's conformance test covers the level itself.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "slices of ranges are meant"
)]

use super::step::{Job, Step};
use super::{Isa, table};
use crate::cpu::conformance::{Case, Rng, TYPES, same_all};
use crate::cpu::kernels::Kernels;
use core::arch::x86_64::*;
use std::format;

struct Evex;

impl Step for Evex {
    #[inline(always)]
    unsafe fn words(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_dpwssd_epi32(acc, a, b) }
    }

    #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,avx512f,avx512vl,avx512vnni")]
    unsafe fn enter<J: Job>(job: J) {
        // SAFETY: the caller's promise.
        unsafe { job.run::<Self>() }
    }
}

#[test]
fn vnni_equals_the_reference() {
    let (Some(scalar), true) = (Kernels::of(Isa::Scalar), Isa::Avx512.available()) else {
        std::eprintln!("NOT TESTED: AVX-VNNI's step needs AVX-512");
        return;
    };
    let vnni = table::<Evex>(Isa::AvxVnni);
    for ty in TYPES {
        let mut r = Rng(ty as u64 + 70);
        for (k, m, n) in [(256, 37, 1), (1280, 33, 3), (768, 35, 6), (512, 16, 17)] {
            let wild = r.below(4) == 0;
            let case = Case::new(&mut r, ty, k, m, n, wild);
            let want = case.run(&scalar, &[0..m], 0..n);
            let got = case.run(&vnni, &[0..m], 0..n);
            same_all(&got, &want, &format!("{} k {k} m {m} n {n}", ty.name()));
        }
    }
}
