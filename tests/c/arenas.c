/* arenas.c - two instances, each in an arena of its own: neither notices what the other does, runs out of, or leaves behind; and
 * wherever memory runs out there is a status, and the session goes on when there is some again. */
#include "realm_arena.h"

#include <string.h>

#include "demo.h"

#define MODEL 1u
#define ARENA_BYTES ((size_t)4 << 20)
#define SLICE_US 100u

/* One instance: all that the platform gives it is its arena. */
typedef struct instance {
    unsigned char *memory;
    realm_arena arena;
    realm_runtime *runtime;
    realm_session *session;
    char answer[512];
    size_t length;
    void *hog; /* takes what the arena has left */
    size_t hog_bytes;
} instance;

static realm_error error;

static uint64_t clock_ns(void *ctx) {
    (void)ctx;
    return realm_posix_platform()->clock_ns(NULL);
}

static void begin(instance *i) {
    realm_platform platform = REALM_PLATFORM_INIT;
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    memset(i, 0, sizeof *i);
    i->memory = malloc(ARENA_BYTES);
    CHECK(i->memory != NULL);
    realm_arena_init(&i->arena, i->memory, ARENA_BYTES);
    platform.ctx = &i->arena;
    platform.alloc = realm_arena_alloc;
    platform.free = realm_arena_free;
    platform.clock_ns = clock_ns;
    options.platform = &platform;
    CHECK_OK(realm_runtime_create(&options, &i->runtime, &error));
    CHECK_OK(realm_session_open(i->runtime, MODEL, NULL, &i->session, &error));
}

static void ask(instance *i, const char *question) {
    i->length = 0;
    CHECK_OK(realm_session_prompt(i->session, REALM_INPUT_CHAT, question, strlen(question), &error));
}

/* One slice; 1 as long as the turn goes on, 0 at its end, else the status that it failed with. */
static realm_status step(instance *i) {
    realm_event event = REALM_EVENT_INIT;
    const realm_status status = realm_session_poll(i->session, SLICE_US, &event, &error);
    if (status < 0) return status;
    if (event.kind == REALM_EVENT_TOKEN) {
        CHECK(i->length + event.text_bytes < sizeof i->answer);
        memcpy(i->answer + i->length, event.text, event.text_bytes);
        i->length += event.text_bytes;
    }
    i->answer[i->length] = '\0';
    return event.kind != REALM_EVENT_DONE;
}

static realm_status finish(instance *i) {
    realm_status status;
    do status = step(i);
    while (status > 0);
    return status;
}

/* Fills the arena but for `left` bytes, as far as they are in one piece; `let_go` gives all back. */
static void fill(instance *i, size_t left) {
    for (i->hog_bytes = ARENA_BYTES; i->hog_bytes > 0; i->hog_bytes -= 64)
        if ((i->hog = realm_arena_alloc(&i->arena, i->hog_bytes, 64)) != NULL) break;
    CHECK(i->hog != NULL && i->hog_bytes > left);
    realm_arena_free(&i->arena, i->hog, i->hog_bytes, 64);
    i->hog_bytes -= left;
    CHECK((i->hog = realm_arena_alloc(&i->arena, i->hog_bytes, 64)) != NULL);
}

static void let_go(instance *i) { realm_arena_free(&i->arena, i->hog, i->hog_bytes, 64); }

static void end(instance *i) {
    realm_session_close(i->session);
    realm_runtime_destroy(i->runtime);
    CHECK(i->arena.live == 0 && i->arena.used == 0);
    memset(i->memory, 0xa5, ARENA_BYTES); /* whoever still looks here will notice */
    free(i->memory);
}

int main(void) {
    static const char chile[] = "What is the capital of Chile?", france[] = "What is the capital of France?";
    instance a, b;
    size_t left, failures = 0;
    realm_status ran_a = 1, ran_b = 1;
    add_demo_model(MODEL);

    /* Slice by slice in turns, with different questions. */
    begin(&a);
    begin(&b);
    ask(&a, chile);
    ask(&b, france);
    while (ran_a > 0 || ran_b > 0) {
        if (ran_a > 0) ran_a = step(&a);
        if (ran_b > 0) ran_b = step(&b);
    }
    CHECK(ran_a == 0 && strstr(a.answer, "Santiago") != NULL);
    CHECK(ran_b == 0 && strstr(b.answer, "Paris") != NULL);

    /* One runs out of memory, after more and more of it, until there is enough; the other one is in the midst of an answer each time. */
    for (left = 0;; left += 4096) {
        realm_status ran;
        CHECK_OK(realm_session_rewind(a.session, 0, &error));
        CHECK_OK(realm_session_rewind(b.session, 0, &error));
        ask(&b, france);
        CHECK(step(&b) > 0);
        fill(&a, left);
        ask(&a, chile);
        ran = finish(&a);
        let_go(&a);
        CHECK(finish(&b) == 0 && strstr(b.answer, "Paris") != NULL);
        if (ran == 0) break;
        CHECK(ran == REALM_STATUS_NO_MEMORY && error.status == ran && error.message[0] != '\0');
        failures++;
        /* The same session, where nothing has been lost. */
        CHECK_OK(realm_session_rewind(a.session, 0, &error));
        ask(&a, chile);
        CHECK(finish(&a) == 0 && strstr(a.answer, "Santiago") != NULL);
    }
    CHECK(failures > 0 && strstr(a.answer, "Santiago") != NULL);

    /* One ends and its memory with it; the other one goes on, from where it was. */
    CHECK_OK(realm_session_rewind(b.session, 0, &error));
    ask(&b, france);
    CHECK(step(&b) > 0);
    end(&a);
    CHECK(finish(&b) == 0 && strstr(b.answer, "Paris") != NULL);
    end(&b);
    printf("memory ran out %zu times\n", failures);
    return 0;
}
