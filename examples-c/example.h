/* example.h - what the examples after the first have in common, so that each shows one thing only. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "realm.h"
#include "realm_posix.h"

/* Examples are run from the top of the tree. */
#ifndef DEMO_MODEL
#define DEMO_MODEL "examples-c/demo/realm-demo.gguf"
#endif

/* Ends the program if a call has failed. An application would rather show the line and go on. */
static inline void must(realm_status status, const realm_error *error) {
    if (status != REALM_STATUS_OK) {
        fprintf(stderr, "%s: %s\n", realm_status_name(status), error->message);
        exit(1);
    }
}

/* Examples are tests as well: what they claim is checked. */
static inline void expect(int truth, const char *claim) {
    if (!truth) {
        fprintf(stderr, "not so: %s\n", claim);
        exit(1);
    }
}

/* Registers a file in the process-wide store, as 01_hello.c does step by step. */
static inline uint32_t load_model(const char *path) {
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_posix_map file = {NULL, 0};
    realm_error error = {0, ""};
    realm_bytes part;
    uint32_t id = 0;
    must(realm_posix_map_file(path, &file, &error), &error);
    part.data = file.data;
    part.bytes = file.bytes;
    source.parts = &part;
    source.part_count = 1;
    source.release = realm_posix_release;
    must(realm_model_register(NULL, &source, &id, &error), &error);
    return id;
}

/* A runtime on this platform. */
static inline realm_runtime *make_runtime(const realm_platform *platform) {
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_runtime *runtime = NULL;
    realm_error error = {0, ""};
    options.platform = platform;
    must(realm_runtime_create(&options, &runtime, &error), &error);
    return runtime;
}

/* Puts an event's text behind what is in `text`, if there is room. The event's own is good until the next call. */
static inline void append(char *text, size_t room, const realm_event *event) {
    const size_t used = strlen(text);
    if (event->kind == REALM_EVENT_TOKEN && event->text_bytes > 0 && event->text_bytes < room - used) {
        memcpy(text + used, event->text, event->text_bytes);
        text[used + event->text_bytes] = '\0';
    }
}

/* Puts in something of this kind and waits for the whole answer. Returns why it ended. */
static inline uint32_t turn(realm_session *session, uint32_t kind, const char *input, char *text, size_t room) {
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    text[0] = '\0';
    must(realm_session_prompt(session, kind, input, strlen(input), &error), &error);
    do {
        must(realm_session_poll(session, REALM_BUDGET_UNLIMITED, &event, &error), &error);
        append(text, room, &event);
    } while (event.kind != REALM_EVENT_DONE);
    return event.reason;
}

/* Asks and waits for the whole answer. Returns why it ended. */
static inline uint32_t ask(realm_session *session, const char *question, char *text, size_t room) {
    return turn(session, REALM_INPUT_CHAT, question, text, room);
}

#endif /* EXAMPLE_H */
