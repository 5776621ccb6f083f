/* 09_arena.c - memory of the host's choosing: one arena, its high-water mark, and what happens when it is too small.
 *
 * A platform gives the library memory and a clock. Caches, buffers and scratch, which grow with the model and the
 * conversation, come from its alloc; small things and the guest (bounded by max_guest_memory_bytes) come from the
 * library's own allocator, which in firmware is realm_firmware_alloc. Weights are borrowed and cost nothing.
 */
#include "example.h"

#define ARENA_BYTES ((size_t)4 << 20)

/* A bump allocator: the simplest thing that works where all memory is given back together, as when a level ends. */
typedef struct arena {
    unsigned char *memory;
    size_t size, used, high_water;
    unsigned live, refused;
} arena;

static void *arena_alloc(void *ctx, size_t bytes, size_t align) {
    arena *a = ctx;
    const uintptr_t start = (uintptr_t)a->memory, free_at = start + a->used;
    const size_t begin = (size_t)(((free_at + align - 1) & ~(uintptr_t)(align - 1)) - start);
    if (begin > a->size || bytes > a->size - begin) {
        a->refused++;
        return NULL; /* never an abort: the call that needed it returns REALM_STATUS_NO_MEMORY */
    }
    a->used = begin + bytes;
    a->high_water = a->used > a->high_water ? a->used : a->high_water;
    a->live++;
    return a->memory + begin;
}

static void arena_free(void *ctx, void *memory, size_t bytes, size_t align) {
    arena *a = ctx;
    (void)align;
    if ((unsigned char *)memory + bytes == a->memory + a->used) a->used -= bytes; /* the last one */
    if (--a->live == 0) a->used = 0;
}

static uint64_t clock_ns(void *ctx) {
    (void)ctx;
    return realm_posix_platform()->clock_ns(NULL); /* a game has its own */
}

int main(int argc, char **argv) {
    const uint32_t model = load_model(argc > 1 ? argv[1] : DEMO_MODEL);
    arena a = {NULL, ARENA_BYTES, 0, 0, 0, 0};
    realm_platform platform = REALM_PLATFORM_INIT;
    realm_session *session = NULL;
    realm_error error = {0, ""};
    char answer[256];

    /* One thread uses this runtime; with several, alloc and free would need a lock. */
    a.memory = malloc(a.size);
    expect(a.memory != NULL, "there is memory for the arena");
    platform.ctx = &a;
    platform.alloc = arena_alloc;
    platform.free = arena_free;
    platform.clock_ns = clock_ns;
    realm_runtime *runtime = make_runtime(&platform);

    must(realm_session_open(runtime, model, NULL, &session, &error), &error);
    printf("opened:   %7zu bytes in use\n", a.used);
    ask(session, "What is the capital of Chile?", answer, sizeof answer);
    printf("answered: %7zu bytes in use, at most %zu of %zu: %s\n", a.used, a.high_water, a.size, answer);
    expect(strstr(answer, "Santiago") != NULL, "the answer is right");
    expect(a.high_water > 0 && a.refused == 0, "the arena was used and sufficed");
    realm_session_close(session);
    session = NULL;
    printf("closed:   %7zu bytes in use\n", a.used);
    expect(a.live == 0, "everything was given back");

    /* Half of what is needed: a status and a line of text, and no harm done. */
    const size_t enough = a.high_water;
    a.size = enough / 2;
    realm_status status = realm_session_open(runtime, model, NULL, &session, &error);
    if (status == REALM_STATUS_OK) {
        realm_event event = REALM_EVENT_INIT;
        must(realm_session_prompt(session, REALM_INPUT_CHAT, "Hello", 5, &error), &error);
        while (status == REALM_STATUS_OK && event.kind != REALM_EVENT_DONE)
            status = realm_session_poll(session, REALM_BUDGET_UNLIMITED, &event, &error);
        realm_session_close(session);
        session = NULL;
    }
    printf("halved:   %s: %s\n", realm_status_name(status), error.message);
    expect(status == REALM_STATUS_NO_MEMORY && a.refused > 0 && a.live == 0, "it fails cleanly");

    a.size = enough;
    must(realm_session_open(runtime, model, NULL, &session, &error), &error);
    ask(session, "What is the capital of Chile?", answer, sizeof answer);
    expect(strstr(answer, "Santiago") != NULL, "and works again with exactly what it needed");
    realm_session_close(session);
    realm_runtime_destroy(runtime);
    free(a.memory);
    return 0;
}
