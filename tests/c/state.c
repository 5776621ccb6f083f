/* state.c - a session's state as a whole, from C: where it is and back, saved and loaded, recorded, forked. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "demo.h"
#include "realm.h"
#include "realm_posix.h"

#define MODEL 1u
#define FRANCE "What is the capital of France?"
#define PARIS "The capital of France is Paris."

static realm_runtime *runtime;

static realm_session *open_session(void) {
    realm_session *session = NULL;
    realm_error error = {0, ""};
    CHECK_OK(realm_session_open(runtime, MODEL, NULL, &session, &error));
    return session;
}

/* Asks, and compares the answer; any will do if it is NULL. */
static void ask(realm_session *session, const char *question, const char *answer) {
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    char text[4096];
    size_t used = 0;
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_CHAT, question, strlen(question), &error));
    while (event.kind != REALM_EVENT_DONE) {
        CHECK_OK(realm_session_poll(session, 0, &event, &error));
        CHECK(used + event.text_bytes < sizeof text);
        if (event.text_bytes > 0) {
            memcpy(text + used, event.text, event.text_bytes);
        }
        used += event.text_bytes;
    }
    text[used] = '\0';
    CHECK(used > 0);
    CHECK(answer == NULL || strcmp(text, answer) == 0);
}

static uint32_t position(realm_session *session) {
    realm_error error = {0, ""};
    uint32_t at = 0;
    CHECK_OK(realm_session_position(session, &at, &error));
    return at;
}

static void test_rewind(void) {
    realm_session *session = open_session();
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    CHECK(position(session) == 0);
    ask(session, FRANCE, PARIS);
    const uint32_t at = position(session);
    CHECK(at > 0);
    ask(session, "And of Italy?", NULL);
    CHECK(position(session) > at);
    CHECK_OK(realm_session_rewind(session, at, &error));
    CHECK(position(session) == at);
    CHECK(realm_session_rewind(session, at + 1, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_session_rewind(NULL, 0, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_session_position(session, NULL, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_CHAT, FRANCE, strlen(FRANCE), &error));
    CHECK(realm_session_rewind(session, 0, &error) == REALM_STATUS_STATE);
    realm_session_cancel(session);
    CHECK_OK(realm_session_poll(session, 0, &event, &error));
    CHECK(event.kind == REALM_EVENT_DONE && event.reason == REALM_DONE_CANCELLED);
    CHECK_OK(realm_session_rewind(session, 0, &error));
    ask(session, FRANCE, PARIS);
    CHECK(position(session) == at);
    realm_session_close(session);
}

/* A file in memory, as a callback sees it. */
typedef struct file {
    unsigned char *bytes;
    size_t size;
    size_t at;
    size_t capacity;
} file;

static int32_t write_file(void *ctx, const void *data, size_t bytes) {
    file *f = (file *)ctx;
    if (bytes > f->capacity - f->size) {
        return REALM_STATUS_IO;
    }
    memcpy(f->bytes + f->size, data, bytes);
    f->size += bytes;
    return 0;
}

static int32_t read_file(void *ctx, void *data, size_t bytes) {
    file *f = (file *)ctx;
    if (bytes > f->size - f->at) {
        return REALM_STATUS_FORMAT;
    }
    memcpy(data, f->bytes + f->at, bytes);
    f->at += bytes;
    return 0;
}

static void test_save_and_load(void) {
    realm_session *session = open_session();
    realm_session *loaded = NULL;
    realm_error error = {0, ""};
    file f = {NULL, 0, 0, 0};
    unsigned char *state;
    size_t need = 0;
    ask(session, FRANCE, PARIS);
    CHECK(realm_session_save(session, NULL, 0, &need, &error) == REALM_STATUS_BUFFER_TOO_SMALL);
    CHECK(need > 1000);
    state = (unsigned char *)malloc(need);
    f.bytes = (unsigned char *)malloc(need);
    CHECK(state != NULL && f.bytes != NULL);
    CHECK(realm_session_save(session, state, need - 1, &need, &error) == REALM_STATUS_BUFFER_TOO_SMALL);
    CHECK_OK(realm_session_save(session, state, need, &need, &error));
    f.capacity = need - 1;
    CHECK(realm_session_save_to(session, write_file, &f, &error) == REALM_STATUS_IO);
    f.capacity = need;
    f.size = 0;
    CHECK_OK(realm_session_save_to(session, write_file, &f, &error));
    CHECK(f.size == need && memcmp(f.bytes, state, need) == 0);
    ask(session, "And of Italy?", NULL);
    const uint32_t at = position(session);

    CHECK_OK(realm_session_load(runtime, MODEL, NULL, state, need, &loaded, &error));
    ask(loaded, "And of Italy?", NULL);
    CHECK(position(loaded) == at);
    realm_session_close(loaded);
    CHECK_OK(realm_session_load_from(runtime, MODEL, NULL, read_file, &f, &loaded, &error));
    CHECK(f.at == need);
    ask(loaded, "And of Italy?", NULL);
    CHECK(position(loaded) == at);
    realm_session_close(loaded);

    loaded = NULL;
    f.at = 1;
    CHECK(realm_session_load_from(runtime, MODEL, NULL, read_file, &f, &loaded, &error) == REALM_STATUS_FORMAT);
    CHECK(realm_session_load(runtime, MODEL, NULL, state, need - 1, &loaded, &error) == REALM_STATUS_FORMAT);
    CHECK(realm_session_load(runtime, MODEL, NULL, NULL, 0, &loaded, &error) == REALM_STATUS_FORMAT);
    CHECK(realm_session_load(runtime, 777, NULL, state, need, &loaded, &error) == REALM_STATUS_NOT_FOUND);
    state[need / 2] ^= 1;
    CHECK(realm_session_load(runtime, MODEL, NULL, state, need, &loaded, &error) == REALM_STATUS_FORMAT);
    CHECK(realm_session_save_to(session, NULL, NULL, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_session_load_from(runtime, MODEL, NULL, NULL, NULL, &loaded, &error) ==
          REALM_STATUS_INVALID_ARGUMENT);
    CHECK(loaded == NULL);
    realm_session_close(session);
    free(state);
    free(f.bytes);
}

/* The tokens that follow a text. */
static size_t follow(realm_session *session, const char *text, int32_t *tokens, size_t room) {
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    size_t count = 0;
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_TEXT, text, strlen(text), &error));
    while (event.kind != REALM_EVENT_DONE) {
        CHECK_OK(realm_session_poll(session, 0, &event, &error));
        if (event.kind == REALM_EVENT_TOKEN && event.token >= 0) {
            CHECK(count < room);
            tokens[count++] = event.token;
        }
    }
    return count;
}

static void test_record(void) {
    static const realm_param params[] = {{"n_predict", "12"}, {"temp", "0.9"}, {"seed", "3"}};
    static unsigned char bytes[1 << 20];
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_session *session = NULL, *replayed = NULL;
    realm_guest *image = NULL, *none = NULL;
    realm_error error = {0, ""};
    int32_t wanted[64], tokens[64];
    file f = {bytes, 0, 0, 100};
    options.params = params;
    options.param_count = 3;
    CHECK_OK(realm_session_open(runtime, MODEL, &options, &session, &error));
    CHECK(realm_session_record(session, NULL, NULL, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_session_record(session, write_file, &f, &error) == REALM_STATUS_IO);
    f.size = 0;
    f.capacity = sizeof bytes;
    CHECK_OK(realm_session_record(session, write_file, &f, &error));
    CHECK_OK(realm_guest_load(f.bytes, f.size, &image, &error));

    options.guest = image;
    CHECK(realm_session_open(runtime, MODEL, &options, &replayed, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "temp") != NULL && replayed == NULL);
    options.param_count = 0;
    CHECK_OK(realm_session_open(runtime, MODEL, &options, &replayed, &error));
    for (int turn = 0; turn < 2; turn++) {
        const size_t count = follow(session, FRANCE, wanted, 64);
        CHECK(count > 0 && follow(replayed, FRANCE, tokens, 64) == count);
        CHECK(memcmp(wanted, tokens, count * sizeof *tokens) == 0);
    }
    CHECK(realm_session_record(session, write_file, &f, &error) == REALM_STATUS_STATE);
    realm_session_close(replayed);
    realm_session_close(session);
    realm_guest_unload(image);

    f.bytes[f.size / 2] ^= 1;
    CHECK(realm_guest_load(f.bytes, f.size, &none, &error) == REALM_STATUS_FORMAT && none == NULL);
}

static void test_fork(void) {
    realm_session *session = open_session();
    realm_session *fork = NULL;
    realm_error error = {0, ""};
    ask(session, "What is the capital of Italy?", NULL);
    const uint32_t at = position(session);
    CHECK_OK(realm_session_fork(session, &fork, &error));
    CHECK(position(fork) == at);
    ask(session, FRANCE, NULL);
    CHECK(position(fork) == at && position(session) > at);
    const uint32_t then = position(session);
    realm_session_close(session);
    ask(fork, FRANCE, NULL);
    CHECK(position(fork) == then);
    CHECK(realm_session_fork(fork, NULL, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_session_fork(NULL, &session, &error) == REALM_STATUS_INVALID_ARGUMENT);
    realm_session_close(fork);
}

/* What a token was chosen among: at temperature 0 it is the first of them. */
static void check_alternatives(realm_session *session, const realm_event *event) {
    enum { MOST = 5 };
    int32_t ids[MOST];
    float logprobs[MOST];
    realm_error error = {0, ""};
    size_t count = 0;
    CHECK_OK(realm_session_top_logprobs(session, ids, logprobs, MOST, &count, &error));
    CHECK(count == MOST && ids[0] == event->token && logprobs[0] == event->logprob);
    for (size_t i = 1; i < count; i++) CHECK(ids[i] != ids[0] && logprobs[i] <= logprobs[i - 1]);
}

/* All of them are a probability of 1. */
static void check_all_alternatives(realm_session *session) {
    realm_error error = {0, ""};
    size_t count = 0, most = 0;
    double sum = 0;
    int32_t *ids;
    float *logprobs;
    CHECK(realm_session_logits(session, NULL, 0, &most, &error) == REALM_STATUS_BUFFER_TOO_SMALL);
    ids = malloc((most + 1) * sizeof *ids);
    logprobs = malloc((most + 1) * sizeof *logprobs);
    CHECK(ids && logprobs);
    CHECK_OK(realm_session_top_logprobs(session, ids, logprobs, most + 1, &count, &error));
    CHECK(count == most);
    for (size_t i = 0; i < count; i++) sum += exp((double)logprobs[i]);
    CHECK(sum > 0.9999 && sum < 1.0001);
    free(ids);
    free(logprobs);
    CHECK_OK(realm_session_top_logprobs(session, NULL, NULL, 0, &count, &error));
    CHECK(count == 0);
    CHECK(realm_session_top_logprobs(session, NULL, NULL, 1, &count, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_session_top_logprobs(session, NULL, NULL, 0, NULL, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_session_top_logprobs(NULL, NULL, NULL, 0, &count, &error) == REALM_STATUS_INVALID_ARGUMENT);
}

static void test_logprob(void) {
    realm_session *session = open_session();
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    int tokens = 0;
    CHECK_OK(realm_session_set_param(session, "logprobs", "1", &error));
    CHECK_OK(realm_session_set_param(session, "temp", "0", &error));
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_CHAT, FRANCE, strlen(FRANCE), &error));
    while (event.kind != REALM_EVENT_DONE) {
        CHECK_OK(realm_session_poll(session, 0, &event, &error));
        if (event.kind == REALM_EVENT_TOKEN && event.token >= 0) {
            /* The demo model is sure of its answer. */
            CHECK(event.logprob_known == 1 && event.logprob <= 0.0f && event.logprob > -5.0f);
            check_alternatives(session, &event);
            tokens++;
        } else {
            CHECK(event.logprob_known == 0);
        }
    }
    CHECK(tokens > 0);
    check_all_alternatives(session);
    realm_session_close(session);
}

static void test_plan(void) {
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_memory_plan plan = REALM_MEMORY_PLAN_INIT;
    realm_session_stats stats = REALM_SESSION_STATS_INIT;
    realm_session *session = open_session();
    realm_error error = {0, ""};
    ask(session, FRANCE, NULL);
    CHECK_OK(realm_plan(runtime, MODEL, NULL, position(session), &plan, &error));
    CHECK_OK(realm_session_get_stats(session, &stats));
    CHECK(plan.kv_bytes == stats.kv_bytes && plan.buffer_bytes == stats.buffer_bytes);
    CHECK(plan.scratch_bytes == stats.scratch_bytes && plan.scratch_bytes > 0);
    CHECK(plan.total_bytes > plan.kv_bytes && plan.kv_page_bytes > 0 && plan.max_positions > 0);
    options.max_scratch_bytes = 1000;
    CHECK(realm_plan(runtime, MODEL, &options, 1, &plan, &error) == REALM_STATUS_LIMIT);
    CHECK(realm_plan(runtime, MODEL, NULL, 1, NULL, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_plan(runtime, 777, NULL, 1, &plan, &error) == REALM_STATUS_NOT_FOUND);
    CHECK(realm_plan(NULL, MODEL, NULL, 1, &plan, &error) < 0);
    realm_session_close(session);
}

typedef struct watched {
    uint64_t done;
    uint64_t total;
    uint64_t give_up;
} watched;

static int32_t watch(void *ctx, uint64_t done, uint64_t total) {
    watched *w = (watched *)ctx;
    CHECK(done >= w->done && done <= total);
    w->done = done;
    w->total = total;
    return done >= w->give_up;
}

static void test_progress(const realm_posix_map *map) {
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_event event = REALM_EVENT_INIT;
    realm_session *session = NULL;
    realm_error error = {0, ""};
    uint8_t digest[32];
    uint32_t id = 0;
    realm_bytes part;
    watched w = {0, 0, 1};
    part.data = map->data;
    part.bytes = map->bytes;
    source.parts = &part;
    source.part_count = 1;
    source.ctx = &w;
    source.progress = watch;
    CHECK(realm_model_register(NULL, &source, &id, &error) == REALM_STATUS_CANCELLED);
    CHECK(id == 0 && w.total == map->bytes);
    w.done = 0;
    w.give_up = UINT64_MAX;
    CHECK_OK(realm_model_register(NULL, &source, &id, &error));
    CHECK(id != 0 && w.done == map->bytes);
    CHECK_OK(realm_model_remove(NULL, id, &error));

    /* Saving has made the session's model's digest known. */
    w.done = 0;
    CHECK_OK(realm_model_digest_watched(NULL, MODEL, watch, &w, digest, &error));
    CHECK(w.done == 0);

    w.give_up = 10;
    options.ctx = &w;
    options.progress = watch;
    CHECK_OK(realm_session_open(runtime, MODEL, &options, &session, &error));
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_CHAT, FRANCE, strlen(FRANCE), &error));
    while (event.kind != REALM_EVENT_DONE) {
        CHECK_OK(realm_session_poll(session, 0, &event, &error));
    }
    CHECK(event.reason == REALM_DONE_CANCELLED && w.done >= 10);
    realm_session_close(session);
}

int main(void) {
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_error error = {0, ""};
    (void)alarm(240);
    const realm_posix_map map = add_demo_model(MODEL);
    options.platform = realm_posix_platform();
    CHECK_OK(realm_runtime_create(&options, &runtime, &error));
    test_rewind();
    test_save_and_load();
    test_record();
    test_fork();
    test_logprob();
    test_plan();
    test_progress(&map);
    realm_runtime_destroy(runtime);
    return 0;
}
