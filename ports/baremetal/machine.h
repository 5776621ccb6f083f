/* machine.h - what firmware.c needs from a machine. Each machine is a folder beside this file: its start-up code, where its
 * memory is (a linker script) and these functions. `host/` is one too: the same program on a workstation.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include <stddef.h>
#include <stdint.h>

/* The memory that is left for Realm. */
unsigned char *machine_memory(size_t *bytes);

/* Monotonic nanoseconds: `realm_platform.clock_ns`. */
uint64_t machine_clock_ns(void *ctx);

/* Shows `bytes` bytes of text. */
void machine_put(const char *text, size_t bytes);

/* Most bytes of stack that were in use since the start; 0: not known. */
size_t machine_stack_high_water(void);

/* Ends the program; 0 is success. */
void machine_exit(int code);

/* The program, called by the start-up code when memory is ready: a model in memory that can be read, and in which name of
 * instructions to use (NULL: what there is). Returns the exit code. */
int firmware_main(const void *model, size_t model_bytes, const char *isa);

#endif /* MACHINE_H */
