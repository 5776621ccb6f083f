/* carried.c - a state that another build saved, of another system or for another processor, and one with a flipped bit.
 *
 *     carried             saves, loads, flips bits
 *     carried save FILE   saves a session that has answered once
 *     carried load FILE   loads it, asks again, and compares with a session that was never saved
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"

#define MODEL 5u
#define ANSWER_MAX 256
/* All bits of so many bytes at the start, where the state says what it is, and of some everywhere. */
#define HEAD 256u
#define PLACES 2000u

static realm_runtime *runtime;

static realm_session *talk(realm_session *session, const char *question, char *answer) {
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    size_t bytes = 0;
    if (session == NULL) {
        CHECK_OK(realm_session_open(runtime, MODEL, NULL, &session, &error));
    }
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_CHAT, question, strlen(question), &error));
    do {
        CHECK_OK(realm_session_poll(session, 0, &event, &error));
        if (event.kind == REALM_EVENT_TOKEN) {
            CHECK(bytes + event.text_bytes < ANSWER_MAX);
            memcpy(answer + bytes, event.text, event.text_bytes);
            bytes += event.text_bytes;
        }
    } while (event.kind != REALM_EVENT_DONE);
    answer[bytes] = '\0';
    return session;
}

/* malloc'ed, of *bytes bytes. */
static unsigned char *save(realm_session *session, size_t *bytes) {
    realm_error error = {0, ""};
    unsigned char *state;
    CHECK(realm_session_save(session, NULL, 0, bytes, &error) == REALM_STATUS_BUFFER_TOO_SMALL);
    state = (unsigned char *)malloc(*bytes);
    CHECK(state != NULL);
    CHECK_OK(realm_session_save(session, state, *bytes, bytes, &error));
    return state;
}

/* It goes on as the one that was never saved. */
static void load(const unsigned char *state, size_t bytes) {
    char want[ANSWER_MAX], got[ANSWER_MAX];
    realm_error error = {0, ""};
    realm_session *loaded = NULL, *whole = talk(NULL, "What is the capital of France?", want);
    (void)talk(whole, "And of Italy?", want);
    CHECK_OK(realm_session_load(runtime, MODEL, NULL, state, bytes, &loaded, &error));
    (void)talk(loaded, "And of Italy?", got);
    CHECK(want[0] != '\0' && strcmp(want, got) == 0);

    /* To the bit: what both would save now is the same. */
    size_t want_bytes, got_bytes;
    unsigned char *want_state = save(whole, &want_bytes), *got_state = save(loaded, &got_bytes);
    CHECK(want_bytes == got_bytes && memcmp(want_state, got_state, want_bytes) == 0);
    free(want_state);
    free(got_state);
    realm_session_close(whole);
    realm_session_close(loaded);
}

static void flip(unsigned char *state, size_t bytes) {
    for (size_t i = 0; i < HEAD + PLACES; i++) {
        const size_t at = i < HEAD ? i : HEAD + (bytes - HEAD - 1) / (PLACES - 1) * (i - HEAD);
        for (unsigned bit = i % 3; bit < 8; bit += i < HEAD ? 1 : 3) {
            realm_error error = {0, ""};
            realm_session *loaded = NULL;
            state[at] ^= (unsigned char)(1u << bit);
            CHECK(realm_session_load(runtime, MODEL, NULL, state, bytes, &loaded, &error) != REALM_STATUS_OK);
            CHECK(loaded == NULL && error.message[0] != '\0');
            state[at] ^= (unsigned char)(1u << bit);
        }
    }
}

static FILE *open_file(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    CHECK(file != NULL);
    return file;
}

int main(int argc, char **argv) {
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_error error = {0, ""};
    unsigned char *state = NULL;
    size_t bytes = 0;
    (void)add_demo_model(MODEL);
    options.platform = realm_posix_platform();
    CHECK_OK(realm_runtime_create(&options, &runtime, &error));
    if (argc == 3 && strcmp(argv[1], "load") == 0) {
        FILE *file = open_file(argv[2], "rb");
        state = (unsigned char *)malloc(64u << 20);
        CHECK(state != NULL);
        bytes = fread(state, 1, 64u << 20, file);
        fclose(file);
        load(state, bytes);
    } else {
        char answer[ANSWER_MAX];
        realm_session *session = talk(NULL, "What is the capital of France?", answer);
        state = save(session, &bytes);
        realm_session_close(session);
        if (argc == 3 && strcmp(argv[1], "save") == 0) {
            FILE *file = open_file(argv[2], "wb");
            CHECK(fwrite(state, 1, bytes, file) == bytes && fclose(file) == 0);
        } else {
            load(state, bytes);
            flip(state, bytes);
            load(state, bytes); /* all bits are back */
        }
    }
    printf("a state of %zu bytes\n", bytes);
    free(state);
    realm_runtime_destroy(runtime);
    CHECK_OK(realm_model_remove(NULL, MODEL, &error));
    return 0;
}
