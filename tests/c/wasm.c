/* wasm.c - modules of the application's own, from C: values, host functions, memory, fuel, traps, limits, refusals. */
#include <string.h>

#include "check.h"
#include "realm.h"
#include "wasm_module.h"

static int sums = 0;

/* i(ii): adds, leaves the sum at address 16, and tries what it may not do. */
static int32_t sum(void *ctx, realm_wasm_instance *caller, const realm_wasm_value *args,
                   realm_wasm_value *results) {
    const int32_t result = args[0].of.i32 + args[1].of.i32;
    uint32_t function = 0;
    realm_error error = {0, ""};
    CHECK(ctx == &sums && args[0].type == REALM_WASM_I32 && results[0].type == REALM_WASM_I32);
    CHECK_OK(realm_wasm_memory_write(caller, 16, &result, sizeof result, &error));
    CHECK(realm_wasm_find(caller, "ask", 3, &function, &error) == REALM_STATUS_STATE);
    CHECK(realm_wasm_call(caller, 0, NULL, 0, NULL, 0, &error) == REALM_STATUS_STATE);
    results[0].of.i32 = result;
    sums++;
    return 0;
}

/* v(i): ends the call with what it is given. */
static int32_t stop(void *ctx, realm_wasm_instance *caller, const realm_wasm_value *args,
                    realm_wasm_value *results) {
    (void)ctx, (void)caller, (void)results;
    return args[0].of.i32;
}

static realm_wasm_value i32_of(int32_t number) {
    realm_wasm_value value = {REALM_WASM_I32, 0, {0}};
    value.of.i32 = number;
    return value;
}

static uint32_t find(realm_wasm_instance *instance, const char *name) {
    uint32_t function = 0;
    realm_error error = {0, ""};
    CHECK_OK(realm_wasm_find(instance, name, strlen(name), &function, &error));
    return function;
}

int main(void) {
    const realm_wasm_import imports[] = {
        {"env", "stop", "v(i)", stop, NULL},
        {"env", "sum", "i(ii)", sum, &sums},
    };
    realm_wasm_options options = REALM_WASM_OPTIONS_INIT;
    realm_wasm_module_options module_options = REALM_WASM_MODULE_OPTIONS_INIT;
    realm_wasm_module *module = NULL;
    realm_wasm_instance *instance = NULL;
    realm_wasm_value args[3], result = i32_of(0);
    realm_error error = {0, ""};
    char signature[8];
    size_t bytes = 0;
    uint64_t number = 0;
    int32_t in_memory = 0;

    CHECK(realm_wasm_module_load(wasm, sizeof wasm - 1, NULL, &module, &error) == REALM_STATUS_FORMAT);
    CHECK(realm_wasm_module_load("text", 4, NULL, &module, &error) == REALM_STATUS_FORMAT);
    CHECK(realm_wasm_module_load(NULL, 4, NULL, &module, &error) == REALM_STATUS_INVALID_ARGUMENT);
    module_options.max_module_bytes = 100;
    CHECK(realm_wasm_module_load(wasm, sizeof wasm, &module_options, &module, &error) == REALM_STATUS_LIMIT);
    CHECK(module == NULL);
    module_options.max_module_bytes = 0;
    module_options.flags = REALM_WASM_ONLY_1_1;
    CHECK_OK(realm_wasm_module_load(wasm, sizeof wasm, &module_options, &module, &error));

    options.imports = imports;
    options.import_count = 1;
    CHECK(realm_wasm_instance_create(module, &options, &instance, &error) == REALM_STATUS_NOT_FOUND);
    CHECK(strstr(error.message, "env.sum") != NULL);
    options.import_count = 2;
    options.max_memory_bytes = 65535;
    CHECK(realm_wasm_instance_create(module, &options, &instance, &error) == REALM_STATUS_LIMIT);
    CHECK(instance == NULL);
    options.max_memory_bytes = 131072;
    options.fuel = 100000;
    CHECK_OK(realm_wasm_instance_create(module, &options, &instance, &error));
    realm_wasm_module_unload(module); /* the instance goes on */

    args[0].type = REALM_WASM_I64, args[0].of.i64 = -2;
    args[1].type = REALM_WASM_F32, args[1].of.f32 = 0.5f;
    args[2].type = REALM_WASM_F64, args[2].of.f64 = 0.25;
    CHECK_OK(realm_wasm_call(instance, find(instance, "mix"), args, 3, &result, 1, &error));
    CHECK(result.type == REALM_WASM_F64 && result.of.f64 == -1.25);
    CHECK_OK(realm_wasm_signature(instance, find(instance, "mix"), signature, sizeof signature, &bytes, &error));
    CHECK(bytes == 6 && strcmp(signature, "F(IfF)") == 0);

    args[0] = i32_of(40), args[1] = i32_of(2);
    CHECK_OK(realm_wasm_call(instance, find(instance, "ask"), args, 2, &result, 1, &error));
    CHECK(sums == 1 && result.of.i32 == 42);
    CHECK_OK(realm_wasm_memory_read(instance, 16, &in_memory, sizeof in_memory, &error));
    CHECK(in_memory == 42);
    CHECK(realm_wasm_call(instance, find(instance, "ask"), args, 1, &result, 1, &error) ==
          REALM_STATUS_INVALID_ARGUMENT);
    CHECK(strcmp(error.message, "the function is i(ii), called with (i) and room for 1 result") == 0);
    CHECK(realm_wasm_call(instance, find(instance, "ask"), args, 2, NULL, 0, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(strcmp(error.message, "the function is i(ii), called with (ii) and room for 0 results") == 0);
    args[1].type = REALM_WASM_F64;
    CHECK(realm_wasm_call(instance, find(instance, "ask"), args, 2, &result, 1, &error) ==
          REALM_STATUS_INVALID_ARGUMENT);
    CHECK(strcmp(error.message, "the function is i(ii), called with (iF) and room for 1 result") == 0);
    args[1].type = 9;
    CHECK(realm_wasm_call(instance, find(instance, "ask"), args, 2, &result, 1, &error) ==
          REALM_STATUS_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "argument 1 has the unknown type 9, expected REALM_WASM_I32") != NULL);
    args[0] = i32_of(REALM_STATUS_CANCELLED);
    CHECK(realm_wasm_call(instance, find(instance, "stop"), args, 1, NULL, 0, &error) == REALM_STATUS_CANCELLED);
    args[0] = i32_of(99);
    CHECK(realm_wasm_call(instance, find(instance, "stop"), args, 1, NULL, 0, &error) == REALM_STATUS_GUEST);
    CHECK(strstr(error.message, "99") != NULL);

    CHECK_OK(realm_wasm_memory_size(instance, &number, &error));
    CHECK(number == 65536);
    CHECK(realm_wasm_memory_read(instance, 65533, &in_memory, 4, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_wasm_memory_write(instance, UINT64_MAX, &in_memory, 4, &error) == REALM_STATUS_INVALID_ARGUMENT);
    args[0] = i32_of(2); /* over max_memory_bytes, not over its own maximum */
    CHECK_OK(realm_wasm_call(instance, find(instance, "grow"), args, 1, &result, 1, &error));
    CHECK(result.of.i32 == -1);
    CHECK(realm_wasm_memory_grow(instance, 2, NULL, &error) == REALM_STATUS_LIMIT);
    CHECK_OK(realm_wasm_memory_grow(instance, 1, &number, &error));
    CHECK(number == 65536);

    CHECK_OK(realm_wasm_global_get(instance, "count", 5, &result, &error));
    CHECK(result.type == REALM_WASM_I32 && result.of.i32 == 7);
    result.of.i32 = 8;
    CHECK_OK(realm_wasm_global_set(instance, "count", 5, &result, &error));

    CHECK(realm_wasm_call(instance, find(instance, "trap"), NULL, 0, NULL, 0, &error) == REALM_STATUS_GUEST);
    CHECK(strstr(error.message, "unreachable") != NULL);
    CHECK(realm_wasm_call(instance, find(instance, "spin"), NULL, 0, NULL, 0, &error) == REALM_STATUS_LIMIT);
    CHECK(strstr(error.message, "the fuel is used up: 100000 in all") != NULL);
    CHECK_OK(realm_wasm_add_fuel(instance, 1000, &error));
    CHECK_OK(realm_wasm_fuel(instance, &number, &error));
    CHECK(number >= 1000 && number < 1100);
    args[0] = i32_of(1), args[1] = i32_of(2);
    CHECK_OK(realm_wasm_call(instance, find(instance, "ask"), args, 2, &result, 1, &error));
    CHECK(result.of.i32 == 3);

    CHECK(realm_wasm_call(NULL, 0, NULL, 0, NULL, 0, NULL) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_wasm_memory_size(instance, NULL, NULL) == REALM_STATUS_INVALID_ARGUMENT);
    realm_wasm_instance_destroy(instance);
    realm_wasm_instance_destroy(NULL);
    realm_wasm_module_unload(NULL);
    return 0;
}
