/* start.S - RISC-V in machine mode, 32 or 64 bits, from reset to bare_main. The image is loaded where it runs. */
#if __riscv_xlen == 64
#define STORE sd
#define WORD 8
#else
#define STORE sw
#define WORD 4
#endif
    .section .text.start, "ax"
    .globl start
start:
    csrr t0, mhartid
    bnez t0, park
    la t0, trap
    csrw mtvec, t0
    li t0, 0x2000 /* mstatus.FS: the floating-point unit, where there is one */
    csrs mstatus, t0
    la sp, stack_top
    la t0, data_source
    la t1, data_begin
    la t2, data_end
1:  bgeu t1, t2, 2f
    lw t3, 0(t0)
    sw t3, 0(t1)
    addi t0, t0, 4
    addi t1, t1, 4
    j 1b
2:  la t0, bss_begin
    la t1, bss_end
3:  bgeu t0, t1, 4f
    STORE zero, 0(t0)
    addi t0, t0, WORD
    j 3b
4:  call bare_main
park:
    wfi
    j park

    .balign 4
trap:
    la sp, stack_top
    call machine_trap
