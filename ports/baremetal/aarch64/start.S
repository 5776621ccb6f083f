/* start.S - AArch64 at EL1, from reset to bare_main. Memory is mapped to itself, because without a map it counts as device
 * memory, which is slow and cannot be accessed unaligned. */
    .section .text.start, "ax"
    .globl start
start:
    mrs x0, mpidr_el1
    tst x0, #0xff
    b.ne park
    mov x0, #(3 << 20) /* floating point and vectors */
    msr cpacr_el1, x0
    adrp x0, vectors
    add x0, x0, :lo12:vectors
    msr vbar_el1, x0
    /* Attributes: 0 device, 1 normal and cached. 32 bits of addresses, 4 KiB granules: one table of four gigabytes. */
    mov x0, #0xff00
    msr mair_el1, x0
    mov x0, #0x3520
    msr tcr_el1, x0
    adrp x0, map
    add x0, x0, :lo12:map
    msr ttbr0_el1, x0
    isb
    tlbi vmalle1
    dsb sy
    isb
    mrs x0, sctlr_el1
    mov x1, #0x1005 /* map, data cache, instruction cache */
    orr x0, x0, x1
    msr sctlr_el1, x0
    isb
    ldr x0, =stack_top
    mov sp, x0
    ldr x0, =data_source
    ldr x1, =data_begin
    ldr x2, =data_end
1:  cmp x1, x2
    b.hs 2f
    ldr w3, [x0], #4
    str w3, [x1], #4
    b 1b
2:  ldr x0, =bss_begin
    ldr x1, =bss_end
3:  cmp x0, x1
    b.hs 4f
    str xzr, [x0], #8
    b 3b
4:  bl bare_main
park:
    wfi
    b park

    .balign 2048
vectors:
    .rept 16
    b fault
    .balign 128
    .endr
fault:
    ldr x0, =stack_top
    mov sp, x0
    bl machine_trap

    .section .rodata
    .balign 4096
map:
    .quad 0x00000000 | 0x401 /* devices */
    .quad 0x40000000 | 0x705 /* RAM: normal, shared inside */
    .quad 0, 0
