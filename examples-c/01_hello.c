/* 01_hello.c - the whole of Realm in one page: a model file and a question in, text out.
 *
 *     01_hello model.gguf "What is the capital of France?"
 *
 * Without arguments it is asked to answer with the demo model of this folder.
 */
#include <stdio.h>
#include <string.h>

#include "realm.h"
#include "realm_posix.h"

static int failed(const realm_error *error) {
    fprintf(stderr, "01_hello: %s\n", error->message);
    return 1;
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "examples-c/demo/realm-demo.gguf";
    const char *question = argc > 2 ? argv[2] : "What is the capital of France?";
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_event event = REALM_EVENT_INIT;
    realm_runtime *runtime = NULL;
    realm_session *session = NULL;
    realm_posix_map file = {NULL, 0};
    realm_bytes part;
    realm_error error = {0, ""};
    uint32_t model = 0;

    /* The model: the mapped file is borrowed, and unmapped when its last user is gone. */
    if (realm_posix_map_file(path, &file, &error) < 0) return failed(&error);
    part.data = file.data, part.bytes = file.bytes;
    source.parts = &part, source.part_count = 1, source.release = realm_posix_release;
    if (realm_model_register(NULL, &source, &model, &error) < 0) return failed(&error);

    /* A session: one conversation with one model. */
    options.platform = realm_posix_platform();
    if (realm_runtime_create(&options, &runtime, &error) < 0) return failed(&error);
    if (realm_session_open(runtime, model, NULL, &session, &error) < 0) return failed(&error);

    /* One turn of it. */
    if (realm_session_prompt(session, REALM_INPUT_CHAT, question, strlen(question), &error) < 0)
        return failed(&error);
    while (event.kind != REALM_EVENT_DONE) {
        if (realm_session_poll(session, REALM_BUDGET_UNLIMITED, &event, &error) < 0) return failed(&error);
        if (event.kind == REALM_EVENT_TOKEN) fwrite(event.text, 1, event.text_bytes, stdout);
        fflush(stdout);
    }
    putchar('\n');

    realm_session_close(session);
    realm_runtime_destroy(runtime);
    realm_model_remove(NULL, model, NULL);
    return 0;
}
