/* machine.c - the clock of the RISC-V machines, and what happens at a fault. */
#include "../machine.h"

/* QEMU's `virt` counts 10 million times a second, at this address. */
#define MTIME ((volatile uint32_t *)0x0200bff8u)
#define NS_PER_TICK 100u

uint64_t machine_clock_ns(void *ctx) {
    uint32_t high, low;
    (void)ctx;
    do {
        high = MTIME[1];
        low = MTIME[0];
    } while (high != MTIME[1]);
    return ((uint64_t)high << 32 | low) * NS_PER_TICK;
}

void machine_trap(void);

void machine_trap(void) {
    static const char text[] = "fault\n";
    machine_put(text, sizeof text - 1);
    machine_exit(4);
}
