/* consumer.c - a program from outside, C and C++ at once: is what was linked what the headers say, and does it answer?
 *
 *     consumer model.gguf
 */
#include <stdio.h>
#include <string.h>

#include "realm.h"
#include "realm_posix.h"

static const char question[] = "What is the capital of France?";

static int failed(const realm_error *error) {
    fprintf(stderr, "%s\n", error->message);
    return 1;
}

int main(int argc, char **argv) {
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_event event = REALM_EVENT_INIT;
    realm_runtime *runtime = NULL;
    realm_session *session = NULL;
    realm_posix_map file = {NULL, 0};
    realm_bytes part;
    realm_error error = {0, ""};
    char version[32];
    uint32_t model = 0;

    (void)snprintf(version, sizeof version, "%d.%d.%d", REALM_VERSION_MAJOR, REALM_VERSION_MINOR,
                   REALM_VERSION_PATCH);
    if (strcmp(version, realm_version()) != 0 || realm_abi_version() != REALM_ABI_VERSION) {
        fprintf(stderr, "headers of %s, library %s\n", version, realm_version());
        return 1;
    }
    if (argc != 2) return 1;
    if (realm_posix_map_file(argv[1], &file, &error) < 0) return failed(&error);
    part.data = file.data;
    part.bytes = file.bytes;
    source.parts = &part;
    source.part_count = 1;
    source.release = realm_posix_release;
    if (realm_model_register(NULL, &source, &model, &error) < 0) return failed(&error);
    options.platform = realm_posix_platform();
    if (realm_runtime_create(&options, &runtime, &error) < 0) return failed(&error);
    if (realm_session_open(runtime, model, NULL, &session, &error) < 0) return failed(&error);
    if (realm_session_prompt(session, REALM_INPUT_CHAT, question, sizeof question - 1, &error) < 0)
        return failed(&error);
    while (event.kind != REALM_EVENT_DONE) {
        if (realm_session_poll(session, 0, &event, &error) < 0) return failed(&error);
        if (event.kind == REALM_EVENT_TOKEN) (void)fwrite(event.text, 1, event.text_bytes, stdout);
    }
    realm_session_close(session);
    realm_runtime_destroy(runtime);
    return 0;
}
