/* machine.c - the clock of an AArch64 machine, and what happens at a fault. */
#include "../machine.h"

uint64_t machine_clock_ns(void *ctx) {
    uint64_t ticks, hz;
    (void)ctx;
    __asm__ volatile("isb\nmrs %0, cntvct_el0" : "=r"(ticks));
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
    return ticks / hz * 1000000000u + ticks % hz * 1000000000u / hz;
}

void machine_trap(void);

void machine_trap(void) {
    static const char text[] = "fault\n";
    machine_put(text, sizeof text - 1);
    machine_exit(4);
}
