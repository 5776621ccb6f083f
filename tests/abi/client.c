/* client.c - a program of version 0.1: compiled with that version's headers, linked with today's library.
 *
 * Nothing in here may change when the library does. It uses each struct that may grow, and behind those that
 * the library writes lie bytes that it must not touch, however much larger its own struct has become.
 *
 * Until 0.1 is tagged its headers, in 0.1/, follow include/ (CMakeLists.txt), so that structs are as long here as there:
 * what shorter ones bring is tried in tests/c/session.c.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <string.h>
#include <unistd.h>

#include "../c/check.h"
#include "realm.h"
#include "realm_posix.h"

#if REALM_VERSION_MAJOR != 0 || REALM_VERSION_MINOR != 1
#error "compile this with the headers in tests/abi/0.1"
#endif

#define MODEL 11u

/* A struct as this program knows it, with a fence behind. */
#define FENCED(type, name, init)                                                       \
    struct {                                                                           \
        type it;                                                                       \
        unsigned char fence[256];                                                      \
    } name;                                                                            \
    memset(&name, 0xA5, sizeof name);                                                  \
    {                                                                                  \
        const type fresh = init;                                                       \
        name.it = fresh;                                                               \
    }

#define CHECK_FENCE(name) check_fence(name.fence, sizeof name.fence)

static void check_fence(const unsigned char *fence, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        CHECK(fence[i] == 0xA5);
    }
}

static void test_model(void) {
    FENCED(realm_model_info, info, REALM_MODEL_INFO_INIT)
    FENCED(realm_tensor_info, tensor, REALM_TENSOR_INFO_INIT)
    realm_error error = {0, ""};
    CHECK_OK(realm_model_get_info(NULL, MODEL, &info.it, &error));
    CHECK(info.it.id == MODEL && info.it.tensor_count > 0 && info.it.registration_count == 1);
    CHECK(strcmp(info.it.architecture, "llama") == 0);
    CHECK_FENCE(info);
    CHECK_OK(realm_model_tensor_info(NULL, MODEL, 0, &tensor.it, &error));
    CHECK(tensor.it.n_dims > 0 && tensor.it.ne[0] > 0 && tensor.it.name[0] != '\0');
    CHECK_FENCE(tensor);
}

/* One turn, with options, by `realm_session_poll` or by `realm_poll_many`. */
static void test_turn(realm_runtime *runtime, int many) {
    static const char question[] = "What is the capital of France?";
    const realm_param params[] = {{"temp", "0"}, {"n_predict", "64"}};
    FENCED(realm_event, event, REALM_EVENT_INIT)
    FENCED(realm_session_stats, stats, REALM_SESSION_STATS_INIT)
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_session *session = NULL;
    realm_error error = {0, ""};
    realm_error own = {0, ""};
    char text[256] = "";
    size_t used = 0;
    uint64_t tokens = 0;
    options.params = params;
    options.param_count = 2;
    options.max_guest_memory_bytes = 8u << 20;
    CHECK_OK(realm_session_open(runtime, MODEL, &options, &session, &error));
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_CHAT, question, sizeof question - 1, &error));
    do {
        if (many) {
            CHECK_OK(realm_poll_many(&session, 1, 1000, &event.it, &own, &error));
            CHECK(own.status == REALM_STATUS_OK);
        } else {
            CHECK_OK(realm_session_poll(session, 1000, &event.it, &error));
        }
        CHECK_FENCE(event);
        CHECK(event.it.struct_size == sizeof event.it && event.it.abi_version == REALM_ABI_VERSION);
        if (event.it.kind == REALM_EVENT_TOKEN) {
            CHECK(used + event.it.text_bytes < sizeof text);
            memcpy(text + used, event.it.text, event.it.text_bytes);
            used += event.it.text_bytes;
            tokens++;
        }
    } while (event.it.kind != REALM_EVENT_DONE);
    CHECK(event.it.reason == REALM_DONE_EOS);
    CHECK(strcmp(text, "The capital of France is Paris.") == 0);
    CHECK_OK(realm_session_get_stats(session, &stats.it));
    CHECK(stats.it.prompt_tokens > 0 && stats.it.generated_tokens >= tokens && stats.it.kv_bytes > 0);
    CHECK_FENCE(stats);
    realm_session_close(session);
}

/* Structs of a version before this one, which were shorter, and of another major, which are refused. */
static void test_sizes(void) {
    FENCED(realm_model_info, info, REALM_MODEL_INFO_INIT)
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_runtime *runtime = NULL;
    realm_error error = {0, ""};
    options.abi_version += 1u << 16;
    CHECK(realm_runtime_create(&options, &runtime, &error) == REALM_STATUS_UNSUPPORTED);
    CHECK(runtime == NULL && error.status == REALM_STATUS_UNSUPPORTED && error.message[0] != '\0');
    info.it.struct_size = 8;
    CHECK(realm_model_get_info(NULL, MODEL, &info.it, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(info.it.struct_size == 8 && info.it.tensor_count == 0);
}

#ifdef _WIN32
#define alarm(seconds) 0u /* there is none; CTest ends what hangs */
#endif

int main(int argc, char **argv) {
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_model_limits limits = REALM_MODEL_LIMITS_INIT;
    realm_runtime *runtime = NULL;
    realm_posix_map map = {NULL, 0};
    realm_error error = {0, ""};
    realm_bytes part;
    uint32_t id = 0;
    (void)alarm(120);
    CHECK(argc == 2);
    CHECK(realm_abi_version() >> 16 == REALM_VERSION_MAJOR);
    CHECK((realm_abi_version() & 0xffffu) >= REALM_VERSION_MINOR);
    if (realm_posix_map_file(argv[1], &map, &error) == REALM_STATUS_NOT_FOUND) {
        fprintf(stderr, "skipped: %s\n", error.message);
        return 77;
    }
    CHECK(map.data != NULL);
    part.data = map.data;
    part.bytes = map.bytes;
    limits.max_tensor_count = 10000;
    source.parts = &part;
    source.part_count = 1;
    source.id = MODEL;
    source.release = realm_posix_release;
    source.limits = &limits;
    CHECK_OK(realm_model_register(NULL, &source, &id, &error));
    CHECK(id == MODEL);
    test_model();
    test_sizes();
    options.platform = realm_posix_platform();
    CHECK_OK(realm_runtime_create(&options, &runtime, &error));
    test_turn(runtime, 0);
    test_turn(runtime, 1);
    realm_runtime_destroy(runtime);
    CHECK_OK(realm_model_remove(NULL, MODEL, &error));
    return 0;
}
