/* hostile.c - loads a module that somebody made to break whoever loads it, and calls its "run". For tests/hostile.py.
 *
 *     hostile FILE      says in one line what became of it; exit code 1 if it was refused or stopped
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "realm.h"

#define MOST (64u << 20)

int main(int argc, char **argv) {
    realm_wasm_options options = REALM_WASM_OPTIONS_INIT;
    realm_wasm_module *module = NULL;
    realm_wasm_instance *instance = NULL;
    realm_error error = {0, ""};
    uint32_t run = 0;
    const char *at = "load";
    realm_status status;
    CHECK(argc == 2);
    FILE *file = fopen(argv[1], "rb");
    CHECK(file != NULL);
    unsigned char *wasm = (unsigned char *)malloc(MOST);
    CHECK(wasm != NULL);
    const size_t bytes = fread(wasm, 1, MOST, file);
    fclose(file);
    options.fuel = 20000000;
    status = realm_wasm_module_load(wasm, bytes, NULL, &module, &error);
    free(wasm);
    if (status == REALM_STATUS_OK) {
        at = "create";
        status = realm_wasm_instance_create(module, &options, &instance, &error);
    }
    if (status == REALM_STATUS_OK) {
        at = "find";
        status = realm_wasm_find(instance, "run", 3, &run, &error);
    }
    if (status == REALM_STATUS_OK) {
        at = "call";
        status = realm_wasm_call(instance, run, NULL, 0, NULL, 0, &error);
    }
    realm_wasm_instance_destroy(instance);
    realm_wasm_module_unload(module);
    if (status == REALM_STATUS_OK) {
        fprintf(stderr, "hostile: it ran\n");
        return 0;
    }
    fprintf(stderr, "hostile: %s: %s\n", at, error.message);
    return 1;
}
