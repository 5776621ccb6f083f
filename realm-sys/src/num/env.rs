//! The floating-point control word: rounding to nearest, subnormals kept.
//!
//! Applications (audio engines above all) set flush-to-zero, and C code may have changed the rounding
//! direction. Every entry into computation holds an [`FpGuard`], so that neither changes a result, and
//! the caller gets the word back as it was.

/// Sets the thread's floating-point environment to the one the numerics are defined in, and puts the
/// former one back when dropped.
///
/// x86 (SSE), AArch64, and Cortex-M with a floating-point unit. Elsewhere it does nothing: RISC-V instructions that the
/// compiler emits round as `frm` says, and nothing but `fesetround` changes that; of other 32-bit Arm targets it is not
/// known that they have the register.
///
/// **Threads**: the guard belongs to the thread that made it.
#[must_use = "the environment is restored as soon as the guard is dropped"]
pub struct FpGuard {
    saved: u64,
    // The control word belongs to a thread, so the guard must not leave it.
    _thread: core::marker::PhantomData<*const ()>,
}

impl FpGuard {
    /// Saves the control word and sets the defined one.
    #[inline]
    #[allow(clippy::new_without_default, reason = "it has a side effect")]
    pub fn new() -> Self {
        let saved = read();
        let wanted = wanted();
        if saved != wanted {
            write(wanted);
        }
        Self {
            saved,
            _thread: core::marker::PhantomData,
        }
    }
}

impl Drop for FpGuard {
    fn drop(&mut self) {
        if self.saved != wanted() {
            // Status flags raised meanwhile are lost with it, which is what the caller saw before.
            write(self.saved);
        }
    }
}

#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "x86", target_feature = "sse2")
))]
mod word {
    use core::arch::asm;

    /// All exceptions masked, to nearest, no FTZ, no DAZ; status flags clear.
    pub(super) const fn wanted() -> u64 {
        0x1f80
    }

    pub(super) fn read() -> u64 {
        let mut word = 0u32;
        // SAFETY: stores MXCSR to a local.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        // The low six bits are sticky status, not settings.
        u64::from(word & !0x3f)
    }

    pub(super) fn write(word: u64) {
        let word = word as u32;
        // SAFETY: loads MXCSR with either the default or a value it held before, so no reserved bit.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod word {
    use core::arch::asm;

    /// To nearest, no FZ, no FZ16, no alternative half format, no default NaN, no traps.
    pub(super) const fn wanted() -> u64 {
        0
    }

    pub(super) fn read() -> u64 {
        let word: u64;
        // SAFETY: reads FPCR, which user code may.
        unsafe { asm!("mrs {}, fpcr", out(reg) word, options(nomem, nostack, preserves_flags)) };
        word
    }

    pub(super) fn write(word: u64) {
        // SAFETY: writes zero or a value that FPCR held before.
        unsafe { asm!("msr fpcr, {}", in(reg) word, options(nomem, nostack, preserves_flags)) };
    }
}

#[cfg(arm_fma)]
mod word {
    use core::arch::asm;

    /// To nearest, no FZ, no FZ16, no alternative half format, no default NaN; status flags clear.
    pub(super) const fn wanted() -> u64 {
        0
    }

    /// The bits that are settings: AHP, DN, FZ, RMode, FZ16.
    const SETTINGS: u32 = 0x07c8_0000;

    pub(super) fn read() -> u64 {
        let word: u32;
        // SAFETY: reads FPSCR, which is there (`build.rs`).
        unsafe { asm!("vmrs {}, fpscr", out(reg) word, options(nomem, nostack, preserves_flags)) };
        u64::from(word & SETTINGS)
    }

    pub(super) fn write(word: u64) {
        // What is no setting stays: the loop counter of vector instructions is there, too.
        // SAFETY: reads and writes FPSCR, with settings that are zero or were there before.
        unsafe {
            asm!("vmrs {word}, fpscr", "bic {word}, {word}, {mask}", "orr {word}, {word}, {new}", "vmsr fpscr, {word}",
                word = out(reg) _, mask = in(reg) SETTINGS, new = in(reg) word as u32,
                options(nomem, nostack));
        };
    }
}

#[cfg(not(any(
    target_arch = "x86_64",
    all(target_arch = "x86", target_feature = "sse2"),
    target_arch = "aarch64",
    arm_fma
)))]
mod word {
    pub(super) const fn wanted() -> u64 {
        0
    }
    pub(super) fn read() -> u64 {
        0
    }
    pub(super) fn write(_: u64) {}
}

use word::{read, wanted, write};

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_set_and_put_back() {
        write(0x9fc0); // flush to zero, denormals are zero
        let tiny = core::hint::black_box(f32::from_bits(2));
        assert_eq!(
            core::hint::black_box(tiny) * core::hint::black_box(0.5),
            0.0
        );
        {
            let _guard = FpGuard::new();
            assert_eq!(
                core::hint::black_box(tiny) * core::hint::black_box(0.5),
                f32::from_bits(1)
            );
        }
        assert_eq!(read(), 0x9fc0);
        write(0x1f80);
    }
}
