//! Finds what the language cannot tell about a target: whether a 32-bit Arm has a floating-point unit with a fused multiply-add,
//! and whether it has the instructions for signal processing, and those for vectors.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(arm_fma)");
    println!("cargo::rustc-check-cfg=cfg(arm_dsp)");
    println!("cargo::rustc-check-cfg=cfg(arm_mve)");
    println!("cargo::rustc-check-cfg=cfg(arm_v8m)");
    let target = env::var("TARGET").unwrap_or_default();
    // Cortex-M4F, M7, M33 and later. Those of ARMv7-A and R (VFPv3) do not all have one.
    if ["thumbv7em-", "thumbv8m.main-"]
        .iter()
        .any(|family| target.starts_with(family))
        && target.ends_with("eabihf")
    {
        println!("cargo::rustc-cfg=arm_fma");
    }
    // Part of ARMv7E-M, options of ARMv8-M; those with vectors have both.
    let v8m = target.starts_with("thumbv8m.main-");
    let has = |feature| v8m && env::var_os(feature).is_some();
    if target.starts_with("thumbv7em-") || has("CARGO_FEATURE_ARM_DSP") {
        println!("cargo::rustc-cfg=arm_dsp");
    }
    if v8m {
        println!("cargo::rustc-cfg=arm_v8m");
    }
    if has("CARGO_FEATURE_ARM_MVE") {
        println!("cargo::rustc-cfg=arm_mve");
    }
}
