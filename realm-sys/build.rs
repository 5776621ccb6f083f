//! Finds what the language cannot tell about a target: whether a 32-bit Arm has a floating-point unit with a fused multiply-add,
//! and whether it has the instructions for signal processing.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(arm_fma)");
    println!("cargo::rustc-check-cfg=cfg(arm_dsp)");
    let target = env::var("TARGET").unwrap_or_default();
    // Cortex-M4F, M7, M33 and later. Those of ARMv7-A and R (VFPv3) do not all have one.
    if ["thumbv7em-", "thumbv8m.main-"]
        .iter()
        .any(|family| target.starts_with(family))
        && target.ends_with("eabihf")
    {
        println!("cargo::rustc-cfg=arm_fma");
    }
    // Part of ARMv7E-M, an option of ARMv8-M.
    if target.starts_with("thumbv7em-") {
        println!("cargo::rustc-cfg=arm_dsp");
    }
    #[cfg(feature = "gpu-emulation")]
    emulated_kernels();
}

/// The GPU port's kernels for the host. Nothing may be fused or taken for finite that the text does not say is.
#[cfg(feature = "gpu-emulation")]
fn emulated_kernels() {
    println!("cargo::rerun-if-changed=../ports/gpu/kernels");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .file("../ports/gpu/kernels/emulated.cpp")
        .flag_if_supported("-ffp-contract=off")
        .flag_if_supported("-fno-strict-aliasing")
        .flag_if_supported("-Wno-unused-parameter")
        .opt_level(2)
        .warnings(true)
        .extra_warnings(true)
        .compile("realm_gpu_emulated");
}
