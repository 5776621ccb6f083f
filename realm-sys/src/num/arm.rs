//! What Cortex-M computes faster than a compiler makes of the portable bodies, whatever it optimises for: the same bits.
//!
//! All of it is whole functions, because inline assembly has no names for single-precision registers where there are no
//! double-precision ones. The assembler has to be told of them as well. `build.rs` has found that every processor of the target
//! has the instructions: `arm_fma` a floating-point unit with fused multiply-add and conversions of halves, `arm_dsp` products
//! of two pairs of 16-bit integers, `arm_mve` vectors of 16 bytes and their products. Integers may lie anywhere, as in all code for these
//! processors; floats are loaded several at a time, at multiples of 4.
//!
//! Vectors are for integers only: those of floats always take the smallest numbers for zero (`FPStandard` in the architecture's manual), which
//! is not what the other machines compute.

use core::arch::naked_asm;

/// Tells the assembler of the DSP extension where that is an option.
#[cfg(all(arm_dsp, arm_v8m, not(arm_mve)))]
macro_rules! dsp {
    () => {
        ".cpu cortex-m33"
    };
}
#[cfg(all(arm_dsp, not(arm_v8m)))]
macro_rules! dsp {
    () => {
        ""
    };
}

/// `a * b + c`, in s0, s1 and s2.
#[cfg(arm_fma)]
#[unsafe(naked)]
pub extern "C" fn fma(a: f32, b: f32, c: f32) -> f32 {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        "vfma.f32 s2, s0, s1",
        "vmov.f32 s0, s2",
        "bx lr"
    )
}

/// `c += a * b`, lane by lane. Four at a time: s16 and above would have to be kept for the caller.
///
/// # Safety
/// Pointers to 16 floats each, aligned to 4; `c` overlaps neither of the others.
#[cfg(arm_fma)]
#[unsafe(naked)]
pub unsafe extern "C" fn fmas(c: *mut [f32; 16], a: *const [f32; 16], b: *const [f32; 16]) {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        "movs r3, #4",
        "2:",
        "vldmia r0, {{s0-s3}}",
        "vldmia r1!, {{s4-s7}}",
        "vldmia r2!, {{s8-s11}}",
        "vfma.f32 s0, s4, s8",
        "vfma.f32 s1, s5, s9",
        "vfma.f32 s2, s6, s10",
        "vfma.f32 s3, s7, s11",
        "vstmia r0!, {{s0-s3}}",
        "subs r3, #1",
        "bne 2b",
        "bx lr",
    )
}

/// `lanes[i % 16] += w[i] * x[i]` for `sixteens` times sixteen floats, `i` ascending.
///
/// # Safety
/// So many floats at `w` and `x`, sixteen at `lanes`, all aligned to 4; `lanes` overlaps neither of the others.
#[cfg(arm_fma)]
#[unsafe(naked)]
pub unsafe extern "C" fn row_f32(
    w: *const u8,
    x: *const u8,
    sixteens: usize,
    lanes: *mut [f32; 16],
) {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        "vpush {{s16-s31}}",
        "vldmia r3, {{s0-s15}}",
        "cmp r2, #0",
        "beq 3f",
        "2:",
        "vldmia r0!, {{s16-s23}}",
        "vldmia r1!, {{s24-s31}}",
        "vfma.f32 s0, s16, s24",
        "vfma.f32 s1, s17, s25",
        "vfma.f32 s2, s18, s26",
        "vfma.f32 s3, s19, s27",
        "vfma.f32 s4, s20, s28",
        "vfma.f32 s5, s21, s29",
        "vfma.f32 s6, s22, s30",
        "vfma.f32 s7, s23, s31",
        "vldmia r0!, {{s16-s23}}",
        "vldmia r1!, {{s24-s31}}",
        "vfma.f32 s8, s16, s24",
        "vfma.f32 s9, s17, s25",
        "vfma.f32 s10, s18, s26",
        "vfma.f32 s11, s19, s27",
        "vfma.f32 s12, s20, s28",
        "vfma.f32 s13, s21, s29",
        "vfma.f32 s14, s22, s30",
        "vfma.f32 s15, s23, s31",
        "subs r2, #1",
        "bne 2b",
        "3:",
        "vstmia r3, {{s0-s15}}",
        "vpop {{s16-s31}}",
        "bx lr",
    )
}

/// The same with halves at `w`. Each load of four registers has eight of them, which are spread from the last to the first.
///
/// # Safety
/// As [`row_f32`].
#[cfg(arm_fma)]
#[unsafe(naked)]
pub unsafe extern "C" fn row_f16(
    w: *const u8,
    x: *const u8,
    sixteens: usize,
    lanes: *mut [f32; 16],
) {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        "vpush {{s16-s31}}",
        "vldmia r3, {{s0-s15}}",
        "cmp r2, #0",
        "beq 3f",
        "2:",
        "vldmia r0!, {{s16-s19}}",
        "vldmia r1!, {{s24-s31}}",
        "vcvtt.f32.f16 s23, s19",
        "vcvtb.f32.f16 s22, s19",
        "vcvtt.f32.f16 s21, s18",
        "vcvtb.f32.f16 s20, s18",
        "vcvtt.f32.f16 s19, s17",
        "vcvtb.f32.f16 s18, s17",
        "vcvtt.f32.f16 s17, s16",
        "vcvtb.f32.f16 s16, s16",
        "vfma.f32 s0, s16, s24",
        "vfma.f32 s1, s17, s25",
        "vfma.f32 s2, s18, s26",
        "vfma.f32 s3, s19, s27",
        "vfma.f32 s4, s20, s28",
        "vfma.f32 s5, s21, s29",
        "vfma.f32 s6, s22, s30",
        "vfma.f32 s7, s23, s31",
        "vldmia r0!, {{s16-s19}}",
        "vldmia r1!, {{s24-s31}}",
        "vcvtt.f32.f16 s23, s19",
        "vcvtb.f32.f16 s22, s19",
        "vcvtt.f32.f16 s21, s18",
        "vcvtb.f32.f16 s20, s18",
        "vcvtt.f32.f16 s19, s17",
        "vcvtb.f32.f16 s18, s17",
        "vcvtt.f32.f16 s17, s16",
        "vcvtb.f32.f16 s16, s16",
        "vfma.f32 s8, s16, s24",
        "vfma.f32 s9, s17, s25",
        "vfma.f32 s10, s18, s26",
        "vfma.f32 s11, s19, s27",
        "vfma.f32 s12, s20, s28",
        "vfma.f32 s13, s21, s29",
        "vfma.f32 s14, s22, s30",
        "vfma.f32 s15, s23, s31",
        "subs r2, #1",
        "bne 2b",
        "3:",
        "vstmia r3, {{s0-s15}}",
        "vpop {{s16-s31}}",
        "bx lr",
    )
}

/// `lanes[i] += x[j] * m[j][i]`, `j` ascending, where row `j` of sixteen floats begins at `j * stride` bytes.
///
/// # Safety
/// `count` at least 1, so many floats at `x` and rows at `m`, sixteen floats at `lanes`, all aligned to 4 as is `stride`; `lanes` overlaps
/// neither of the others.
#[cfg(arm_fma)]
#[unsafe(naked)]
pub unsafe extern "C" fn add_rows_f32(
    x: *const f32,
    m: *const u8,
    stride: usize,
    count: usize,
    lanes: *mut [f32; 16],
) {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        "vpush {{s16-s31}}",
        "ldr r12, [sp, #64]",
        "vldmia r12, {{s0-s15}}",
        "subs r2, #64",
        "2:",
        "vldmia r0!, {{s24}}",
        "vldmia r1!, {{s16-s23}}",
        "vfma.f32 s0, s16, s24",
        "vfma.f32 s1, s17, s24",
        "vfma.f32 s2, s18, s24",
        "vfma.f32 s3, s19, s24",
        "vfma.f32 s4, s20, s24",
        "vfma.f32 s5, s21, s24",
        "vfma.f32 s6, s22, s24",
        "vfma.f32 s7, s23, s24",
        "vldmia r1!, {{s16-s23}}",
        "vfma.f32 s8, s16, s24",
        "vfma.f32 s9, s17, s24",
        "vfma.f32 s10, s18, s24",
        "vfma.f32 s11, s19, s24",
        "vfma.f32 s12, s20, s24",
        "vfma.f32 s13, s21, s24",
        "vfma.f32 s14, s22, s24",
        "vfma.f32 s15, s23, s24",
        "add r1, r2",
        "subs r3, #1",
        "bne 2b",
        "vstmia r12, {{s0-s15}}",
        "vpop {{s16-s31}}",
        "bx lr",
    )
}

/// The same with rows of halves.
///
/// # Safety
/// As [`add_rows_f32`].
#[cfg(arm_fma)]
#[unsafe(naked)]
pub unsafe extern "C" fn add_rows_f16(
    x: *const f32,
    m: *const u8,
    stride: usize,
    count: usize,
    lanes: *mut [f32; 16],
) {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        "vpush {{s16-s31}}",
        "ldr r12, [sp, #64]",
        "vldmia r12, {{s0-s15}}",
        "subs r2, #32",
        "2:",
        "vldmia r0!, {{s24}}",
        "vldmia r1!, {{s16-s19}}",
        "vcvtt.f32.f16 s23, s19",
        "vcvtb.f32.f16 s22, s19",
        "vcvtt.f32.f16 s21, s18",
        "vcvtb.f32.f16 s20, s18",
        "vcvtt.f32.f16 s19, s17",
        "vcvtb.f32.f16 s18, s17",
        "vcvtt.f32.f16 s17, s16",
        "vcvtb.f32.f16 s16, s16",
        "vfma.f32 s0, s16, s24",
        "vfma.f32 s1, s17, s24",
        "vfma.f32 s2, s18, s24",
        "vfma.f32 s3, s19, s24",
        "vfma.f32 s4, s20, s24",
        "vfma.f32 s5, s21, s24",
        "vfma.f32 s6, s22, s24",
        "vfma.f32 s7, s23, s24",
        "vldmia r1!, {{s16-s19}}",
        "vcvtt.f32.f16 s23, s19",
        "vcvtb.f32.f16 s22, s19",
        "vcvtt.f32.f16 s21, s18",
        "vcvtb.f32.f16 s20, s18",
        "vcvtt.f32.f16 s19, s17",
        "vcvtb.f32.f16 s18, s17",
        "vcvtt.f32.f16 s17, s16",
        "vcvtb.f32.f16 s16, s16",
        "vfma.f32 s8, s16, s24",
        "vfma.f32 s9, s17, s24",
        "vfma.f32 s10, s18, s24",
        "vfma.f32 s11, s19, s24",
        "vfma.f32 s12, s20, s24",
        "vfma.f32 s13, s21, s24",
        "vfma.f32 s14, s22, s24",
        "vfma.f32 s15, s23, s24",
        "add r1, r2",
        "subs r3, #1",
        "bne 2b",
        "vstmia r12, {{s0-s15}}",
        "vpop {{s16-s31}}",
        "bx lr",
    )
}

/// The value of a half.
#[cfg(arm_fma)]
#[unsafe(naked)]
pub extern "C" fn half(h: u32) -> f32 {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        "vmov s0, r0",
        "vcvtb.f32.f16 s0, s0",
        "bx lr"
    )
}

/// The product of a row of Q8_0 blocks with a prepared row: for each block, ascending, `acc = fma(dw * da, sum, acc)` from 0.
/// In a word of four bytes the even ones are a pair, and the odd ones after a rotation.
///
/// # Safety
/// `blocks` blocks of 34 bytes at `w`, of 32 bytes at `q`, and as many floats at `d`, which is aligned to 4.
#[cfg(all(arm_fma, arm_dsp, not(arm_mve)))]
#[unsafe(naked)]
pub unsafe extern "C" fn row_q8_0(w: *const u8, q: *const i8, d: *const u8, blocks: usize) -> f32 {
    naked_asm!(
        dsp!(),
        ".fpu fpv4-sp-d16",
        "push {{r4-r8, lr}}",
        "movs r4, #0",
        "vmov s0, r4",
        "cmp r3, #0",
        "beq 4f",
        "2:",
        "ldrh r4, [r0], #2",
        "vmov s1, r4",
        "vcvtb.f32.f16 s1, s1",
        "vldmia r2!, {{s2}}",
        "vmul.f32 s1, s1, s2",
        "movs r8, #0",
        "mov lr, #4",
        "3:",
        "ldr r4, [r0], #4",
        "ldr r5, [r1], #4",
        "sxtb16 r6, r4",
        "sxtb16 r7, r5",
        "smlad r8, r6, r7, r8",
        "sxtb16 r6, r4, ror #8",
        "sxtb16 r7, r5, ror #8",
        "smlad r8, r6, r7, r8",
        "ldr r4, [r0], #4",
        "ldr r5, [r1], #4",
        "sxtb16 r6, r4",
        "sxtb16 r7, r5",
        "smlad r8, r6, r7, r8",
        "sxtb16 r6, r4, ror #8",
        "sxtb16 r7, r5, ror #8",
        "smlad r8, r6, r7, r8",
        "subs lr, #1",
        "bne 3b",
        "vmov s2, r8",
        "vcvt.f32.s32 s2, s2",
        "vfma.f32 s0, s1, s2",
        "subs r3, #1",
        "bne 2b",
        "4:",
        "pop {{r4-r8, pc}}",
    )
}

/// The same with vectors. Of these, q4 and above would have to be kept for the caller, and q0 has the floats.
///
/// # Safety
/// As above.
#[cfg(all(arm_fma, arm_mve))]
#[unsafe(naked)]
pub unsafe extern "C" fn row_q8_0(w: *const u8, q: *const i8, d: *const u8, blocks: usize) -> f32 {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, lr}}",
        "movs r4, #0",
        "vmov s0, r4",
        "cmp r3, #0",
        "beq 3f",
        "2:",
        "ldrh r4, [r0], #2",
        "vmov s1, r4",
        "vcvtb.f32.f16 s1, s1",
        "vldmia r2!, {{s2}}",
        "vmul.f32 s1, s1, s2",
        "vldrb.u8 q2, [r0], #16",
        "vldrb.u8 q3, [r1], #16",
        "vmladav.s8 r12, q2, q3",
        "vldrb.u8 q2, [r0], #16",
        "vldrb.u8 q3, [r1], #16",
        "vmladava.s8 r12, q2, q3",
        "vmov s2, r12",
        "vcvt.f32.s32 s2, s2",
        "vfma.f32 s0, s1, s2",
        "subs r3, #1",
        "bne 2b",
        "3:",
        "pop {{r4, pc}}",
    )
}

/// The sums of products of each sixteen bytes of `q` and `a`, multiplied with `scale`: see `Isa::dot256`.
///
/// # Safety
/// 256 bytes at `q` and at `a`, 16 numbers at `scale`.
#[cfg(all(arm_dsp, not(arm_mve)))]
#[unsafe(naked)]
pub unsafe extern "C" fn dot256(
    q: *const [i8; 256],
    scale: *const [i16; 16],
    a: *const [i8; 256],
) -> i32 {
    naked_asm!(
        dsp!(),
        "push {{r4-r8, lr}}",
        "movs r3, #0",
        "mov lr, #16",
        "2:",
        "movs r4, #0",
        "mov r12, #4",
        "3:",
        "ldr r5, [r0], #4",
        "ldr r6, [r2], #4",
        "sxtb16 r7, r5",
        "sxtb16 r8, r6",
        "smlad r4, r7, r8, r4",
        "sxtb16 r7, r5, ror #8",
        "sxtb16 r8, r6, ror #8",
        "smlad r4, r7, r8, r4",
        "subs r12, #1",
        "bne 3b",
        "ldrsh r5, [r1], #2",
        "mla r3, r4, r5, r3",
        "subs lr, #1",
        "bne 2b",
        "mov r0, r3",
        "pop {{r4-r8, pc}}",
    )
}

/// The same with vectors.
///
/// # Safety
/// As above.
#[cfg(arm_mve)]
#[unsafe(naked)]
pub unsafe extern "C" fn dot256(
    q: *const [i8; 256],
    scale: *const [i16; 16],
    a: *const [i8; 256],
) -> i32 {
    naked_asm!(
        ".cpu cortex-m55",
        "push {{r4, lr}}",
        "movs r3, #0",
        "movs r4, #16",
        "2:",
        "vldrb.u8 q0, [r0], #16",
        "vldrb.u8 q1, [r2], #16",
        "vmladav.s8 r12, q0, q1",
        "ldrsh lr, [r1], #2",
        "mla r3, r12, lr, r3",
        "subs r4, #1",
        "bne 2b",
        "mov r0, r3",
        "pop {{r4, pc}}",
    )
}

/// The sums of products of each 32 bytes of `q` and `a`.
///
/// # Safety
/// 256 bytes at `q` and at `a`, 8 numbers at `sums`, aligned to 4.
#[cfg(all(arm_dsp, not(arm_mve)))]
#[unsafe(naked)]
pub unsafe extern "C" fn dots32(sums: *mut [i32; 8], q: *const [i8; 256], a: *const [i8; 256]) {
    naked_asm!(
        dsp!(),
        "push {{r4-r8, lr}}",
        "mov lr, #8",
        "2:",
        "movs r4, #0",
        "mov r12, #8",
        "3:",
        "ldr r5, [r1], #4",
        "ldr r6, [r2], #4",
        "sxtb16 r7, r5",
        "sxtb16 r8, r6",
        "smlad r4, r7, r8, r4",
        "sxtb16 r7, r5, ror #8",
        "sxtb16 r8, r6, ror #8",
        "smlad r4, r7, r8, r4",
        "subs r12, #1",
        "bne 3b",
        "str r4, [r0], #4",
        "subs lr, #1",
        "bne 2b",
        "pop {{r4-r8, pc}}",
    )
}

/// The same with vectors.
///
/// # Safety
/// As above.
#[cfg(arm_mve)]
#[unsafe(naked)]
pub unsafe extern "C" fn dots32(sums: *mut [i32; 8], q: *const [i8; 256], a: *const [i8; 256]) {
    naked_asm!(
        ".cpu cortex-m55",
        "movs r3, #8",
        "2:",
        "vldrb.u8 q0, [r1], #16",
        "vldrb.u8 q1, [r2], #16",
        "vmladav.s8 r12, q0, q1",
        "vldrb.u8 q0, [r1], #16",
        "vldrb.u8 q1, [r2], #16",
        "vmladava.s8 r12, q0, q1",
        "str r12, [r0], #4",
        "subs r3, #1",
        "bne 2b",
        "bx lr",
    )
}
