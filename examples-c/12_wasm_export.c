/* 12_wasm_export.c - logic of your own as data: a WebAssembly module is loaded, given a function of the program's,
 * and one of its exports is called with text in its memory.
 *
 *     12_wasm_export "Realm"        says: mlaeR
 *
 * The module is an array here; it may as well come from a file or over the air. It can do nothing but what the
 * program links into it, and no more of that than its fuel lasts.
 */
#include <stdio.h>
#include <string.h>

#include "realm.h"

/* (module
 *   (import "host" "say" (func $say (param i32 i32)))
 *   (memory (export "memory") 1)
 *   (func (export "reverse") (param $at i32) (param $bytes i32) (result i32)
 *     ... swaps the bytes from both ends ...
 *     (call $say (local.get $at) (local.get $bytes))
 *     (local.get $bytes))) */
static const uint8_t wasm[] = {
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x0c, 0x02, 0x60, 0x02, 0x7f, 0x7f, 0x00,
    0x60, 0x02, 0x7f, 0x7f, 0x01, 0x7f, 0x02, 0x0c, 0x01, 0x04, 0x68, 0x6f, 0x73, 0x74, 0x03, 0x73,
    0x61, 0x79, 0x00, 0x00, 0x03, 0x02, 0x01, 0x01, 0x05, 0x03, 0x01, 0x00, 0x01, 0x07, 0x14, 0x02,
    0x06, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 0x02, 0x00, 0x07, 0x72, 0x65, 0x76, 0x65, 0x72, 0x73,
    0x65, 0x00, 0x01, 0x0a, 0x52, 0x01, 0x50, 0x01, 0x03, 0x7f, 0x20, 0x00, 0x21, 0x02, 0x20, 0x00,
    0x20, 0x01, 0x6a, 0x41, 0x01, 0x6b, 0x21, 0x03, 0x02, 0x40, 0x03, 0x40, 0x20, 0x02, 0x20, 0x03,
    0x4e, 0x0d, 0x01, 0x20, 0x02, 0x2d, 0x00, 0x00, 0x21, 0x04, 0x20, 0x02, 0x20, 0x03, 0x2d, 0x00,
    0x00, 0x3a, 0x00, 0x00, 0x20, 0x03, 0x20, 0x04, 0x3a, 0x00, 0x00, 0x20, 0x02, 0x41, 0x01, 0x6a,
    0x21, 0x02, 0x20, 0x03, 0x41, 0x01, 0x6b, 0x21, 0x03, 0x0c, 0x00, 0x0b, 0x00, 0x0b, 0x20, 0x00,
    0x20, 0x01, 0x10, 0x00, 0x20, 0x01, 0x0b};

#define LONGEST 1000

/* The module's `host.say`, v(ii): prints text of the module's memory. What it is given is not trusted. */
static int32_t say(void *ctx, realm_wasm_instance *caller, const realm_wasm_value *args,
                   realm_wasm_value *results) {
    char text[LONGEST];
    const uint32_t at = (uint32_t)args[0].of.i32, bytes = (uint32_t)args[1].of.i32;
    (void)ctx, (void)results;
    if (bytes > sizeof text) return REALM_STATUS_LIMIT;
    if (realm_wasm_memory_read(caller, at, text, bytes, NULL) < 0) return REALM_STATUS_INVALID_ARGUMENT;
    printf("%.*s\n", (int)bytes, text);
    return 0;
}

static int failed(const realm_error *error) {
    fprintf(stderr, "12_wasm_export: %s\n", error->message);
    return 1;
}

int main(int argc, char **argv) {
    static const char name[] = "reverse";
    const realm_wasm_import imports[] = {{"host", "say", "v(ii)", say, NULL}};
    const char *text = argc > 1 ? argv[1] : "Realm";
    const size_t bytes = strlen(text);
    realm_wasm_options options = REALM_WASM_OPTIONS_INIT;
    realm_wasm_module *module = NULL;
    realm_wasm_instance *instance = NULL;
    realm_wasm_value args[2] = {{REALM_WASM_I32, 0, {0}}, {REALM_WASM_I32, 0, {0}}};
    realm_wasm_value result;
    realm_error error = {0, ""};
    uint32_t reverse = 0;

    if (bytes > LONGEST) {
        fprintf(stderr, "12_wasm_export: at most %d bytes\n", LONGEST);
        return 1;
    }
    if (realm_wasm_module_load(wasm, sizeof wasm, NULL, &module, &error) < 0) return failed(&error);
    options.imports = imports;
    options.import_count = 1;
    options.fuel = 100000;
    options.max_memory_bytes = 65536;
    if (realm_wasm_instance_create(module, &options, &instance, &error) < 0) return failed(&error);
    if (realm_wasm_find(instance, name, sizeof name - 1, &reverse, &error) < 0) return failed(&error);

    /* Arguments that are more than numbers travel through the module's memory. */
    if (realm_wasm_memory_write(instance, 64, text, bytes, &error) < 0) return failed(&error);
    args[0].of.i32 = 64;
    args[1].of.i32 = (int32_t)bytes;
    if (realm_wasm_call(instance, reverse, args, 2, &result, 1, &error) < 0) return failed(&error);

    realm_wasm_instance_destroy(instance);
    realm_wasm_module_unload(module);
    return result.of.i32 == (int32_t)bytes ? 0 : 1;
}
