/* main.c - llama2.c on a machine of ports/baremetal: what tests/firmware/llama2c/run counts the instructions of.
 *
 * Compile with -I of a checkout, -DPROGRAM='"runq.c"' or '"run.c"', and -DPROMPT_IDS=1,2,3. The checkpoint is the machine's model,
 * and stays in read-only memory. It reads the prompt, makes TOKENS tokens from there, each the likeliest, and prints them with the
 * mean time of a token: of those that firmware.c takes it of, at the same positions.
 */
#define TESTING /* leaves out its main */
#include PROGRAM

#include "machine.h"

#ifndef TOKENS
#define TOKENS 64
#endif
#define WARM 3 /* as in firmware.c */

/* ---- what newlib asks for ----------------------------------------------------------------------- */

void *_sbrk(ptrdiff_t bytes);
void *_sbrk(ptrdiff_t bytes) {
    static size_t used;
    size_t size;
    unsigned char *memory = machine_memory(&size);
    if (bytes < 0 || (size_t)bytes > size - used) return (void *)-1;
    used += (size_t)bytes;
    return memory + used - bytes;
}

void _exit(int code) {
    machine_exit(code);
    for (;;) {}
}

/* ---- the program -------------------------------------------------------------------------------- */

/* What read_checkpoint does with a file. */
static void place(Transformer *t, const unsigned char *data) {
#ifdef QUANTIZED
    const unsigned char *config = data + 8, *shared = config + sizeof t->config, *weights = data + 256;
    memcpy(&t->config, config, sizeof t->config);
    memcpy(&GS, shared + 1, sizeof GS);
    memory_map_weights(&t->weights, &t->config, (void *)weights, *shared);
#else
    int shared;
    memcpy(&t->config, data, sizeof t->config);
    shared = t->config.vocab_size > 0;
    t->config.vocab_size = abs(t->config.vocab_size);
    memory_map_weights(&t->weights, &t->config, (float *)(data + sizeof t->config), shared);
#endif
    malloc_run_state(&t->state, &t->config);
}

int firmware_main(const void *data, size_t bytes, const char *isa) {
    static const int prompt[] = {PROMPT_IDS};
    static Transformer t;
    const int read = (int)(sizeof prompt / sizeof prompt[0]);
    char line[32];
    uint64_t busy = 0;
    int pos, token = prompt[0];
    (void)bytes, (void)isa;
    place(&t, data);
    for (pos = 0; pos < read + TOKENS - 1; pos++) {
        const uint64_t start = machine_clock_ns(NULL);
        const int next = sample_argmax(forward(&t, token, pos), t.config.vocab_size);
        if (pos + 1 >= read + WARM) busy += machine_clock_ns(NULL) - start;
        token = pos + 1 < read ? prompt[pos + 1] : next;
        if (pos + 1 >= read) machine_put(line, (size_t)snprintf(line, sizeof line, "%d ", token));
    }
    machine_put(line, (size_t)snprintf(line, sizeof line, "\ntoken ns: %lu\n", (unsigned long)(busy / (TOKENS - WARM))));
    return 0;
}
