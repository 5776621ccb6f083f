/* template.c - ports/template as it is, on the machine that runs the tests: argv[1] is a model. */
#include <stdio.h>
#include <string.h>

#include "realm_posix.h"
#include "realm_template.h"

static int tokens;

static int on_event(void *ctx, realm_status status, const realm_event *event, const realm_error *error) {
    (void)ctx;
    if (status < 0) {
        fprintf(stderr, "%s\n", error->message);
        return 0;
    }
    tokens += event->kind == REALM_EVENT_TOKEN;
    return event->kind != REALM_EVENT_DONE;
}

int main(int argc, char **argv) {
    static const realm_param params[] = {{"n_predict", "8"}, {"ctx", "64"}};
    realm_posix_map file = {NULL, 0};
    realm_platform platform;
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_session_options settings = REALM_SESSION_OPTIONS_INIT;
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_template_job job = {NULL, 200, on_event, NULL};
    realm_error error = {0, ""};
    realm_runtime *runtime = NULL;
    realm_bytes part;
    if (argc < 2 || realm_posix_map_file(argv[1], &file, &error) < 0) goto failed;
    part.data = file.data;
    part.bytes = file.bytes;
    source.parts = &part;
    source.part_count = 1;
    source.id = 1;
    realm_template_platform(&platform);
    options.platform = &platform;
    settings.params = params;
    settings.param_count = 2;
    if (realm_model_register(NULL, &source, NULL, &error) < 0 || realm_runtime_create(&options, &runtime, &error) < 0 ||
        realm_session_open(runtime, 1, &settings, &job.session, &error) < 0 ||
        realm_session_prompt(job.session, REALM_INPUT_TEXT, "Once", 4, &error) < 0)
        goto failed;
    while (realm_template_poll(&job)) {}
    realm_session_close(job.session);
    realm_runtime_destroy(runtime);
    printf("template: %d tokens\n", tokens);
    return tokens == 8 ? 0 : 1;
failed:
    fprintf(stderr, "%s\n", error.message);
    return 1;
}
