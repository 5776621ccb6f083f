/* machine.c - a workstation as a machine for firmware.c: the model is a file, the first argument; the second, if there is one,
 * names the instructions to use. */
#include "../machine.h"

#include <stdio.h>
#include <stdlib.h>

#include "realm.h"
#include "realm_posix.h"

#define ARENA_BYTES ((size_t)64 << 20)

unsigned char *machine_memory(size_t *bytes) {
    unsigned char *memory = malloc(ARENA_BYTES);
    *bytes = memory != NULL ? ARENA_BYTES : 0;
    return memory;
}

uint64_t machine_clock_ns(void *ctx) {
    (void)ctx;
    return realm_posix_platform()->clock_ns(NULL);
}

void machine_put(const char *text, size_t bytes) { fwrite(text, 1, bytes, stdout); }

size_t machine_stack_high_water(void) { return 0; }

void machine_exit(int code) { exit(code); }

int main(int argc, char **argv) {
    realm_posix_map file = {NULL, 0};
    realm_error error = {0, ""};
    if (argc < 2 || realm_posix_map_file(argv[1], &file, &error) < 0) {
        fprintf(stderr, "usage: firmware MODEL.gguf [ISA]\n%s\n", error.message);
        return 2;
    }
    return firmware_main(file.data, file.bytes, argc > 2 && argv[2][0] != '\0' ? argv[2] : NULL);
}
