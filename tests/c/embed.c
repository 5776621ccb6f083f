/* embed.c - realm_session_embed: what it computes, how much room it wants, and what it refuses. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "demo.h"

#define DEMO 1u
#define WIDTH 16u /* elements of an embedding of the small model */

static realm_runtime *runtime;
static uint32_t model;

static const uint32_t ids[] = {1, 5, 9, 2, 33};
static const char text[] = "30"; /* digits are tokens of its vocabulary */

static realm_posix_map add_small_model(void) {
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_posix_map map = {NULL, 0};
    realm_error error = {0, ""};
    realm_bytes part;
    CHECK_OK(realm_posix_map_file(EMBEDDING_MODEL, &map, &error));
    part.data = map.data;
    part.bytes = map.bytes;
    source.parts = &part;
    source.part_count = 1;
    source.release = realm_posix_release;
    CHECK_OK(realm_model_register(NULL, &source, &model, &error));
    return map;
}

static realm_session *open_session(const realm_session_options *options) {
    realm_session *session = NULL;
    realm_error error = {0, ""};
    CHECK_OK(realm_session_open(runtime, model, options, &session, &error));
    return session;
}

/* The same by hand: a turn, and then what it has left. */
static void by_turns(realm_session *session, uint32_t kind, const void *data, size_t bytes, float *values) {
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    size_t count = 0;
    CHECK_OK(realm_session_prompt(session, kind, data, bytes, &error));
    do {
        CHECK_OK(realm_session_poll(session, 0, &event, &error));
    } while (event.kind != REALM_EVENT_DONE);
    CHECK_OK(realm_session_embedding(session, values, WIDTH, &count, &error));
    CHECK(count == WIDTH);
}

static void test_values(void) {
    realm_session *session = open_session(NULL), *other = open_session(NULL);
    realm_error error = {0, ""};
    float want[WIDTH], got[WIDTH], first[WIDTH];
    double length = 0;
    size_t count = 0;
    by_turns(other, REALM_INPUT_IDS, ids, sizeof ids, first);
    CHECK_OK(realm_session_embed(session, REALM_INPUT_IDS, ids, sizeof ids, got, WIDTH, &count, &error));
    CHECK(count == WIDTH && memcmp(first, got, sizeof got) == 0);
    for (unsigned i = 0; i < WIDTH; i++) {
        length += (double)got[i] * got[i];
    }
    CHECK(fabs(length - 1) < 1e-5); /* embd_normalize is 2 */
    by_turns(other, REALM_INPUT_TEXT, text, strlen(text), want);
    CHECK_OK(realm_session_embed(session, REALM_INPUT_TEXT, text, strlen(text), got, WIDTH, &count, &error));
    CHECK(memcmp(want, got, sizeof got) == 0 && memcmp(first, got, sizeof got) != 0);
    /* No input is added to the one before. */
    CHECK_OK(realm_session_embed(session, REALM_INPUT_IDS, ids, sizeof ids, got, WIDTH, &count, &error));
    CHECK(memcmp(first, got, sizeof got) == 0);
    realm_session_close(other);
    realm_session_close(session);
}

/* Too little room: the size is said, and nothing is written, begun or computed. */
static void test_room(void) {
    realm_session *session = open_session(NULL);
    realm_session_stats stats = REALM_SESSION_STATS_INIT;
    realm_error error = {0, ""};
    float values[WIDTH + 1];
    size_t count = 0;
    CHECK(realm_session_embed(session, REALM_INPUT_IDS, ids, sizeof ids, NULL, 0, &count, &error) ==
          REALM_STATUS_BUFFER_TOO_SMALL);
    CHECK(count == WIDTH);
    values[0] = 77;
    count = 0;
    CHECK(realm_session_embed(session, REALM_INPUT_IDS, ids, sizeof ids, values, WIDTH - 1, &count, &error) ==
          REALM_STATUS_BUFFER_TOO_SMALL);
    CHECK(count == WIDTH && values[0] == 77);
    CHECK_OK(realm_session_get_stats(session, &stats));
    CHECK(stats.prompt_tokens == 0);
    /* Nothing behind the last element. */
    values[WIDTH] = 77;
    CHECK_OK(realm_session_embed(session, REALM_INPUT_IDS, ids, sizeof ids, values, WIDTH + 1, &count, &error));
    CHECK(count == WIDTH && values[WIDTH] == 77);
    realm_session_close(session);
}

static void test_refusals(void) {
    static const uint32_t unknown[] = {1, 64};
    realm_session *session = open_session(NULL), *makes_text = NULL;
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    float values[WIDTH], want[WIDTH], got[WIDTH];
    size_t count = 0;
#define EMBED(s, kind, data, bytes) realm_session_embed(s, kind, data, bytes, values, WIDTH, &count, &error)
    CHECK(EMBED(NULL, REALM_INPUT_IDS, ids, sizeof ids) == REALM_STATUS_INVALID_ARGUMENT);
    for (uint32_t kind = REALM_INPUT_CHAT; kind < 9; kind++) {
        CHECK(EMBED(session, kind, text, strlen(text)) == REALM_STATUS_INVALID_ARGUMENT);
    }
    CHECK(EMBED(session, REALM_INPUT_TEXT, "3\xff", 2) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(EMBED(session, REALM_INPUT_TEXT, NULL, 2) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(EMBED(session, REALM_INPUT_IDS, ids, 6) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(EMBED(session, REALM_INPUT_IDS, unknown, sizeof unknown) < 0 && error.message[0] != '\0');
    CHECK(realm_session_embed(session, REALM_INPUT_IDS, ids, sizeof ids, values, WIDTH, NULL, &error) ==
          REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_session_embed(session, REALM_INPUT_IDS, ids, sizeof ids, NULL, WIDTH, &count, &error) ==
          REALM_STATUS_INVALID_ARGUMENT);

    /* In the midst of a turn, which goes on as if nothing had been asked. */
    by_turns(session, REALM_INPUT_IDS, ids, sizeof ids, want);
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_IDS, ids, sizeof ids, &error));
    CHECK(EMBED(session, REALM_INPUT_TEXT, text, 2) == REALM_STATUS_STATE);
    do {
        CHECK_OK(realm_session_poll(session, 0, &event, &error));
    } while (event.kind != REALM_EVENT_DONE);
    CHECK_OK(realm_session_embedding(session, got, WIDTH, &count, &error));
    CHECK(memcmp(want, got, sizeof got) == 0);
    realm_session_close(session);

    (void)add_demo_model(DEMO);
    CHECK_OK(realm_session_open(runtime, DEMO, NULL, &makes_text, &error));
    CHECK(EMBED(makes_text, REALM_INPUT_TEXT, "a", 1) == REALM_STATUS_NOT_FOUND);
    CHECK(strstr(error.message, "makes text") != NULL);
    realm_session_close(makes_text);
    CHECK_OK(realm_model_remove(NULL, DEMO, &error));
#undef EMBED
}

static int32_t give_up(void *ctx, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    return *(const int32_t *)ctx;
}

/* Who cancels, or gives up in the callback, gets no vector; the next call does. */
static void test_cancel(void) {
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_error error = {0, ""};
    float values[WIDTH] = {0}, want[WIDTH];
    size_t count = 0;
    int32_t answer = 1;
    options.ctx = &answer;
    options.progress = give_up;
    realm_session *session = open_session(&options);
    CHECK(realm_session_embed(session, REALM_INPUT_IDS, ids, sizeof ids, values, WIDTH, &count, &error) ==
          REALM_STATUS_CANCELLED);
    CHECK(error.message[0] != '\0' && values[0] == 0);
    answer = 0;
    /* Before a turn, cancelling does nothing. */
    realm_session_cancel(session);
    CHECK_OK(realm_session_embed(session, REALM_INPUT_IDS, ids, sizeof ids, values, WIDTH, &count, &error));
    by_turns(session, REALM_INPUT_IDS, ids, sizeof ids, want);
    CHECK(memcmp(want, values, sizeof values) == 0);
    realm_session_close(session);
}

int main(void) {
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_error error = {0, ""};
    (void)add_small_model();
    options.platform = realm_posix_platform();
    CHECK_OK(realm_runtime_create(&options, &runtime, &error));
    test_values();
    test_room();
    test_refusals();
    test_cancel();
    realm_runtime_destroy(runtime);
    CHECK_OK(realm_model_remove(NULL, model, &error));
    return 0;
}
