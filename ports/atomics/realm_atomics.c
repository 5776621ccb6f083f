/* realm_atomics.c - atomic operations for one core without compare-and-swap: Cortex-M0, RV32IMC and their like.
 *
 * A library built for such a core as FIRMWARE.md says calls these by the names that GCC and LLVM have for them. Each is a
 * critical section of a few instructions with interrupts off. Loads and stores of a word are atomic by themselves, and are
 * not here. Where interrupts may not be turned off (an RTOS, a hypervisor) define REALM_CRITICAL_ENTER() and
 * REALM_CRITICAL_LEAVE(state); several cores need a lock between them there.
 */
#include <stdint.h>

#ifndef REALM_CRITICAL_ENTER
#define REALM_CRITICAL_ENTER() interrupts_off()
#define REALM_CRITICAL_LEAVE(state) interrupts_restore(state)

/* What was on before: these nest, and may be called with interrupts off. */
static inline uint32_t interrupts_off(void) {
    uint32_t state;
#if defined(__arm__)
    __asm__ volatile("mrs %0, primask\ncpsid i" : "=r"(state)::"memory");
#elif defined(__riscv)
    __asm__ volatile("csrrci %0, mstatus, 8" : "=r"(state)::"memory");
#else
#error "define REALM_CRITICAL_ENTER and REALM_CRITICAL_LEAVE for this processor"
#endif
    return state;
}

static inline void interrupts_restore(uint32_t state) {
#if defined(__arm__)
    __asm__ volatile("msr primask, %0" ::"r"(state) : "memory");
#else
    __asm__ volatile("csrs mstatus, %0" ::"r"(state & 8) : "memory");
#endif
}
#endif

/* Reads a value, writes what `next` makes of it, and returns the value that was there. */
#define ATOMIC(name, type, next)                             \
    type name(volatile void *at, type operand);              \
    type name(volatile void *at, type operand) {             \
        const uint32_t state = REALM_CRITICAL_ENTER();       \
        const type old = *(volatile type *)at;               \
        *(volatile type *)at = (type)(next);                 \
        REALM_CRITICAL_LEAVE(state);                         \
        return old;                                          \
    }

#define ATOMICS(bytes, type)                                                                     \
    type __sync_val_compare_and_swap_##bytes(volatile void *at, type expected, type wanted);      \
    type __sync_val_compare_and_swap_##bytes(volatile void *at, type expected, type wanted) {     \
        const uint32_t state = REALM_CRITICAL_ENTER();                                           \
        const type old = *(volatile type *)at;                                                   \
        if (old == expected) *(volatile type *)at = wanted;                                      \
        REALM_CRITICAL_LEAVE(state);                                                             \
        return old;                                                                              \
    }                                                                                            \
    ATOMIC(__sync_lock_test_and_set_##bytes, type, operand)                                      \
    ATOMIC(__sync_fetch_and_add_##bytes, type, old + operand)                                    \
    ATOMIC(__sync_fetch_and_sub_##bytes, type, old - operand)                                    \
    ATOMIC(__sync_fetch_and_and_##bytes, type, old & operand)                                    \
    ATOMIC(__sync_fetch_and_or_##bytes, type, old | operand)                                     \
    ATOMIC(__sync_fetch_and_xor_##bytes, type, old ^ operand)                                    \
    ATOMIC(__sync_fetch_and_umax_##bytes, type, old > operand ? old : operand)                   \
    ATOMIC(__sync_fetch_and_umin_##bytes, type, old < operand ? old : operand)

ATOMICS(1, uint8_t)
ATOMICS(2, uint16_t)
ATOMICS(4, unsigned int)
