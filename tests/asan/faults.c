/* faults.c - mistakes of a host that the sanitizers must find inside the library or at its leaks: shows that they watch. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "realm_posix.h"

static realm_status add(const void *data, size_t bytes) {
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_bytes part;
    uint32_t id = 7;
    part.data = data;
    part.bytes = bytes;
    source.parts = &part;
    source.part_count = 1;
    source.id = id;
    return realm_model_register(NULL, &source, &id, NULL);
}

int main(int argc, char **argv) {
    const char *fault = argc > 1 ? argv[1] : "";
    void (*volatile forget)(void *) = free; /* which the compiler does not see through */
    unsigned char *bytes = malloc(24);
    CHECK(bytes != NULL);
    memset(bytes, 0, 24);
    memcpy(bytes, "GGUF\3\0\0", 8);
    bytes[16] = 1; /* one key, which would be behind the end */
    if (strcmp(fault, "overread") == 0) { /* says that there is more than there is */
        return add(bytes, 64) == REALM_STATUS_OK;
    }
    if (strcmp(fault, "freed") == 0) { /* a model that is gone when it is read */
        forget(bytes);
        return add(bytes, 24) == REALM_STATUS_OK;
    }
    if (strcmp(fault, "leak") == 0) { /* a runtime that nobody closes */
        realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
        realm_runtime *runtime = NULL;
        CHECK(realm_runtime_create(&options, &runtime, NULL) == REALM_STATUS_OK);
        runtime = NULL;
        free(bytes);
        return runtime != NULL;
    }
    if (strcmp(fault, "overflow") == 0) {
        volatile int most = INT_MAX;
        free(bytes);
        return most + argc < 0;
    }
    free(bytes);
    return 1;
}
