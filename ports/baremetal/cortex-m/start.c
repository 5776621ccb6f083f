/* start.c - a Cortex-M, with or without a floating-point unit, from reset to bare_main, with a clock from the system timer. */
#include "../machine.h"

extern uint32_t stack_top[], data_begin[], data_end[], bss_begin[], bss_end[];
extern const uint32_t data_source[];

void bare_main(void);
void start(void);

/* ---- the clock ------------------------------------------------------------------------------ */

#ifndef KERNEL_HANDLERS
/* Ticks of the processor clock per second: of the boards that are emulated. */
#ifndef CLOCK_HZ
#define CLOCK_HZ 25000000u
#endif
#define TICKS_PER_MS (CLOCK_HZ / 1000u)
#define NS_PER_TICK (1000000000u / CLOCK_HZ)

#define SYST_CSR (*(volatile uint32_t *)0xe000e010u)
#define SYST_RVR (*(volatile uint32_t *)0xe000e014u)
#define SYST_CVR (*(volatile uint32_t *)0xe000e018u)

static volatile uint32_t milliseconds;

static void start_clock(void) {
    SYST_RVR = TICKS_PER_MS - 1;
    SYST_CVR = 0;
    SYST_CSR = 7; /* on, with interrupt, from the processor's clock */
}

static void tick(void) { milliseconds++; }

uint64_t machine_clock_ns(void *ctx) {
    static uint64_t latest;
    uint32_t ms, ticks;
    uint64_t now;
    (void)ctx;
    do {
        ms = milliseconds;
        ticks = SYST_CVR;
    } while (ms != milliseconds);
    now = (uint64_t)ms * 1000000u + (uint64_t)(TICKS_PER_MS - 1 - ticks) * NS_PER_TICK;
    /* The timer may have started again just before its interrupt was taken. */
    if (now > latest) latest = now;
    return latest;
}
#else
static void start_clock(void) {} /* the kernel does */
#endif

/* ---- vectors -------------------------------------------------------------------------------- */

static void fault(void) {
    static const char text[] = "fault\n";
    machine_put(text, sizeof text - 1);
    machine_exit(4);
}

typedef void (*handler)(void);

/* A kernel has handlers, and a timer, of its own: -DKERNEL_HANDLERS=vPortSVCHandler,fault,0,xPortPendSVHandler,xPortSysTickHandler. */
#ifdef KERNEL_HANDLERS
void vPortSVCHandler(void);
void xPortPendSVHandler(void);
void xPortSysTickHandler(void);
#else
#define KERNEL_HANDLERS fault, fault, 0, fault, tick
#endif

__attribute__((section(".vectors"), used)) static const handler vectors[16] = {
    (handler)(uintptr_t)stack_top, start, fault, fault, fault, fault, fault, fault, 0, 0, 0, KERNEL_HANDLERS,
};

/* Named by unwinding tables, which are left out. Without these the linker would bring the unwinder. */
void __aeabi_unwind_cpp_pr0(void);
void __aeabi_unwind_cpp_pr1(void);
void __aeabi_unwind_cpp_pr0(void) {}
void __aeabi_unwind_cpp_pr1(void) {}

/* ---- reset ---------------------------------------------------------------------------------- */

#define CCR (*(volatile uint32_t *)0xe000ed14u)
#define CPACR (*(volatile uint32_t *)0xe000ed88u)
#define VTOR (*(volatile uint32_t *)0xe000ed08u)

void start(void) {
    uint32_t *to;
    const uint32_t *from;
#ifdef __ARM_FP
    CPACR |= 0xfu << 20; /* the floating-point unit */
#endif
#ifdef __ARM_ARCH_6M__
    CCR |= 1u << 3; /* what is not aligned faults there, and so it does where a larger core runs such code */
#endif
    __asm__ volatile("dsb\nisb" ::: "memory");
    for (to = data_begin, from = data_source; to < data_end;) *to++ = *from++;
    for (to = bss_begin; to < bss_end;) *to++ = 0;
    VTOR = (uint32_t)(uintptr_t)vectors;
    start_clock();
    bare_main();
}
