/* bare.c - what the bare machines of this folder have in common: memory as the linker script laid it out, and semihosting, by
 * which a debugger or an emulator shows text and takes an exit code. A board would use its UART instead.
 */
#include "machine.h"

/* Placed by sections.ld and model.S. */
extern unsigned char arena_begin[], arena_end[];
extern uint32_t stack_limit[], stack_top[];
extern const unsigned char firmware_model[], firmware_model_end[];

/* ---- semihosting ---------------------------------------------------------------------------- */

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20, STOPPED_APPLICATION_EXIT = 0x20026 };

/* The debugger finds an operation and its argument in two registers. */
static void semihosting(uintptr_t operation, uintptr_t argument) {
#if defined(__aarch64__)
    register uintptr_t a __asm__("x0") = operation;
    register uintptr_t b __asm__("x1") = argument;
    __asm__ volatile("hlt #0xf000" : "+r"(a) : "r"(b) : "memory");
#elif defined(__arm__)
    register uintptr_t a __asm__("r0") = operation;
    register uintptr_t b __asm__("r1") = argument;
    __asm__ volatile("bkpt #0xab" : "+r"(a) : "r"(b) : "memory");
#elif defined(__riscv)
    register uintptr_t a __asm__("a0") = operation;
    register uintptr_t b __asm__("a1") = argument;
    /* The three instructions are the mark, so none may be compressed, and all are on one page. */
    __asm__ volatile(".balign 16\n.option push\n.option norvc\nslli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
                     : "+r"(a)
                     : "r"(b)
                     : "memory");
#endif
}

void machine_put(const char *text, size_t bytes) {
    while (bytes > 0) {
        char line[64];
        size_t n = 0;
        for (; n < bytes && n < sizeof line - 1; n++) line[n] = text[n];
        line[n] = '\0';
        semihosting(SYS_WRITE0, (uintptr_t)line);
        text += n;
        bytes -= n;
    }
}

void machine_exit(int code) {
    const uintptr_t how[2] = {STOPPED_APPLICATION_EXIT, (uintptr_t)code};
    semihosting(SYS_EXIT_EXTENDED, (uintptr_t)how);
    for (;;) {}
}

/* ---- memory --------------------------------------------------------------------------------- */

#define PAINT 0xc5c5c5c5u
#define WORDS_IN_USE 64 /* of this function and its caller, generously */

unsigned char *machine_memory(size_t *bytes) {
    *bytes = (size_t)(arena_end - arena_begin);
    return arena_begin;
}

size_t machine_stack_high_water(void) {
    const uint32_t *word = stack_limit;
    while (word < stack_top && *word == PAINT) word++;
    return (size_t)((const unsigned char *)stack_top - (const unsigned char *)word);
}

void bare_main(void);

/* Where the start-up code of every machine goes on, in C. */
void bare_main(void) {
    uint32_t here;
    volatile uint32_t *word = stack_limit;
    while (word + WORDS_IN_USE < &here) *word++ = PAINT;
    machine_exit(firmware_main(firmware_model, (size_t)(firmware_model_end - firmware_model), NULL));
}
