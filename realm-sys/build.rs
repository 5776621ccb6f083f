//! Finds what the language cannot tell about a target: whether a 32-bit Arm has a floating-point unit with a fused multiply-add,
//! and whether it has the instructions for signal processing, and those for vectors. Compiles the kernels of ports/gpu for the
//! features that want them.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(arm_fma)");
    println!("cargo::rustc-check-cfg=cfg(arm_dsp)");
    println!("cargo::rustc-check-cfg=cfg(arm_mve)");
    println!("cargo::rustc-check-cfg=cfg(realm_cuda_fatbin)");
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
    #[cfg(feature = "gpu-emulation")]
    emulated_kernels();
    #[cfg(feature = "cuda")]
    cuda::kernels();
    #[cfg(feature = "metal")]
    one_text("metal.metal", "realm.metal");
}

/// Kernels as one text in OUT_DIR, for who compiles them when the program runs.
#[cfg(any(feature = "cuda", feature = "metal"))]
fn one_text(name: &str, out: &str) -> std::path::PathBuf {
    println!("cargo::rerun-if-changed=../ports/gpu/kernels");
    let folder = std::path::Path::new("../ports/gpu/kernels");
    let text = flatten(folder, name, &mut Default::default());
    let out = std::path::PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join(out);
    std::fs::write(&out, text).expect("OUT_DIR can be written to");
    out
}

/// A file with what it includes of its folder put in place, each once.
#[cfg(any(feature = "cuda", feature = "metal"))]
fn flatten(
    folder: &std::path::Path,
    name: &str,
    seen: &mut std::collections::BTreeSet<String>,
) -> String {
    if !seen.insert(name.into()) {
        return String::new();
    }
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let line = |line: &str| match line
        .strip_prefix("#include \"")
        .and_then(|l| l.strip_suffix('"'))
    {
        Some(name) => flatten(folder, name, seen),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// The GPU port's kernels for CUDA: one text, and what nvcc makes of it where there is nvcc. (Without, NVRTC compiles it when the program runs.)
#[cfg(feature = "cuda")]
mod cuda {
    use std::env;
    use std::path::PathBuf;
    use std::process::Command;

    pub fn kernels() {
        for name in [
            "REALM_CUDA_FATBIN",
            "REALM_NVCC",
            "CUDA_PATH",
            "CUDA_HOME",
            "PATH",
        ] {
            println!("cargo::rerun-if-env-changed={name}");
        }
        let source = crate::one_text("cuda.cu", "realm.cu");
        if let Some(made) = env::var_os("REALM_CUDA_FATBIN").filter(|n| !n.is_empty()) {
            println!("cargo::rerun-if-changed={}", PathBuf::from(&made).display());
            std::fs::copy(made, source.with_extension("fatbin"))
                .expect("REALM_CUDA_FATBIN names a file");
            println!("cargo::rustc-cfg=realm_cuda_fatbin");
            return;
        }
        let Some(nvcc) = nvcc() else {
            println!(
                "cargo::warning=no nvcc: the CUDA kernels will be compiled by NVRTC when a backend is created (ports/gpu/README.md)"
            );
            return;
        };
        let status = Command::new(&nvcc)
            .args([
                "-fatbin",
                "-std=c++17",
                "-O3",
                "-fmad=false",
                "-diag-suppress=177",
            ])
            .args([
                "-gencode=arch=compute_80,code=[sm_80,compute_80]",
                "-gencode=arch=compute_90,code=sm_90",
                "-o",
            ])
            .arg(source.with_extension("fatbin"))
            .arg(&source)
            .status();
        match status {
            Ok(status) if status.success() => println!("cargo::rustc-cfg=realm_cuda_fatbin"),
            other => panic!(
                "{}: {other:?} (REALM_NVCC=none builds without nvcc)",
                nvcc.display()
            ),
        }
    }

    /// `REALM_NVCC` (`none`: none), else a toolkit's or what PATH has.
    fn nvcc() -> Option<PathBuf> {
        if let Some(named) = env::var_os("REALM_NVCC").filter(|n| !n.is_empty()) {
            return (named != "none").then(|| named.into());
        }
        let toolkits = ["CUDA_PATH", "CUDA_HOME"].iter().filter_map(env::var_os);
        let folders = toolkits.map(|t| PathBuf::from(t).join("bin"));
        let path = env::var_os("PATH").unwrap_or_default();
        let mut all = folders.chain(env::split_paths(&path));
        all.find_map(|folder| {
            let program = folder.join(format!("nvcc{}", env::consts::EXE_SUFFIX));
            program.is_file().then_some(program)
        })
    }
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
