//! Instruction set levels: detected once, overridable downwards. On x86-64 CPUID tells; on AArch64 the standard
//! library where there is one (feature `hosted`), else what the code was compiled for.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU8, Ordering};

/// A set of instructions that kernels are written for, in ascending order of preference within an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// The reference's own kernels, compiled for the target (and for AVX2 where the processor has it).
    Scalar = 1,
    /// AVX2, FMA, F16C, BMI2.
    Avx2 = 2,
    /// The same with AVX-VNNI.
    AvxVnni = 3,
    /// AVX-512 F, BW, DQ, VL and VNNI, with all of AVX2's.
    Avx512 = 4,
    /// AArch64's baseline.
    Neon = 5,
    /// NEON with `sdot`.
    NeonDot = 6,
    /// NEON with `smmla`.
    NeonI8mm = 7,
}

/// All levels.
pub const ALL: [Isa; 7] = [
    Isa::Scalar,
    Isa::Avx2,
    Isa::AvxVnni,
    Isa::Avx512,
    Isa::Neon,
    Isa::NeonDot,
    Isa::NeonI8mm,
];

/// Held by tests that force a level: it is the whole process's.
#[cfg(test)]
pub static FORCING: spin::Mutex<()> = spin::Mutex::new(());

static DETECTED: AtomicU8 = AtomicU8::new(0);
static FORCED: AtomicU8 = AtomicU8::new(0);

impl Isa {
    /// Its name in messages and for `realm_cpu_force_isa`.
    pub fn name(self) -> &'static str {
        self.c_name().to_str().unwrap_or("")
    }

    /// The same for C.
    pub fn c_name(self) -> &'static CStr {
        match self {
            Self::Scalar => c"scalar",
            Self::Avx2 => c"avx2",
            Self::AvxVnni => c"avxvnni",
            Self::Avx512 => c"avx512",
            Self::Neon => c"neon",
            Self::NeonDot => c"neon-dotprod",
            Self::NeonI8mm => c"neon-i8mm",
        }
    }

    fn from_u8(n: u8) -> Option<Self> {
        ALL.into_iter().find(|&i| i as u8 == n)
    }

    /// Whether this machine can run it.
    pub fn available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 | Self::AvxVnni | Self::Avx512 => {
                cfg!(target_arch = "x86_64")
                    && self <= Self::detected()
                    && (self != Self::AvxVnni || has_avx_vnni())
            }
            _ => cfg!(target_arch = "aarch64") && self <= Self::detected(),
        }
    }

    /// The best of this machine.
    pub fn detected() -> Self {
        match Self::from_u8(DETECTED.load(Ordering::Relaxed)) {
            Some(isa) => isa,
            None => {
                let isa = detect();
                DETECTED.store(isa as u8, Ordering::Relaxed);
                isa
            }
        }
    }

    /// What plans that are made now use.
    pub fn current() -> Self {
        Self::from_u8(FORCED.load(Ordering::Relaxed)).unwrap_or_else(Self::detected)
    }
}

/// Makes the process use this level from the next prepared program on, or the detected one again: for tests and
/// measurements. False where the machine does not have it. Results do not change.
pub fn force(isa: Option<Isa>) -> bool {
    match isa {
        Some(isa) if !isa.available() => return false,
        Some(isa) => FORCED.store(isa as u8, Ordering::Relaxed),
        None => FORCED.store(0, Ordering::Relaxed),
    }
    true
}

#[cfg(target_arch = "x86_64")]
fn leaf(n: u32, sub: u32) -> core::arch::x86_64::CpuidResult {
    #[allow(
        unused_unsafe,
        reason = "CPUID became a safe function in a later compiler"
    )]
    // SAFETY: every x86-64 has CPUID.
    unsafe {
        core::arch::x86_64::__cpuid_count(n, sub)
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx_vnni() -> bool {
    leaf(0, 0).eax >= 7 && leaf(7, 0).eax >= 1 && leaf(7, 1).eax & (1 << 4) != 0
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx_vnni() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    // AVX2, FMA, F16C, BMI and the operating system's support for the registers.
    if !crate::num::cpu::Level::detected().has_avx2() {
        return Isa::Scalar;
    }
    const F: u32 = 1 << 16;
    const DQ: u32 = 1 << 17;
    const BW: u32 = 1 << 30;
    const VL: u32 = 1 << 31;
    const ALL_512: u32 = F | DQ | BW | VL;
    const VNNI: u32 = 1 << 11;
    let l = leaf(7, 0);
    // Opmask and both halves of the 512-bit registers, saved by the operating system.
    if l.ebx & ALL_512 == ALL_512 && l.ecx & VNNI != 0 && crate::num::cpu::xcr0() & 0xe0 == 0xe0 {
        return Isa::Avx512;
    }
    if has_avx_vnni() {
        Isa::AvxVnni
    } else {
        Isa::Avx2
    }
}

/// What the target promises. Reading the identification registers (`mrs`) traps outside Linux, and asking the
/// operating system is not the core's business, so this is all there is without a standard library: compile for the
/// processor (`-C target-feature=+dotprod,+i8mm`) to have more.
#[cfg(target_arch = "aarch64")]
const FLOOR: Isa = if !cfg!(all(target_feature = "neon", target_endian = "little")) {
    Isa::Scalar
} else if !cfg!(target_feature = "dotprod") {
    Isa::Neon
} else if !cfg!(target_feature = "i8mm") {
    Isa::NeonDot
} else {
    Isa::NeonI8mm
};

/// With a standard library: what it found out from the operating system.
#[cfg(all(target_arch = "aarch64", any(test, feature = "hosted")))]
fn detect() -> Isa {
    use std::arch::is_aarch64_feature_detected as has;
    if FLOOR == Isa::Scalar || !has!("dotprod") {
        FLOOR
    } else if !has!("i8mm") {
        FLOOR.max(Isa::NeonDot)
    } else {
        Isa::NeonI8mm
    }
}

#[cfg(all(target_arch = "aarch64", not(any(test, feature = "hosted"))))]
fn detect() -> Isa {
    FLOOR
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> Isa {
    Isa::Scalar
}
