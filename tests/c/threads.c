/* threads.c - what the header's chapter on threads allows, done by many threads at once.
 *
 * Three parts: sixteen threads that register, share, read, use and remove the same models; sessions that no two polls in a row
 * see on the same thread; several runtimes, each on a thread of its own. tests/tsan/run has all of it watched by
 * ThreadSanitizer. `threads race` breaks the rules on purpose, so that it can be seen that this would be noticed.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "demo.h"
#include "realm.h"
#include "realm_posix.h"

/* Things that each of the sixteen threads does. */
#ifndef ROUNDS
#define ROUNDS 60u
#endif
#define THREADS 16u
#define DEMO 1u

/* C99 has no atomics; gcc's built-ins are what both compilers in question have. */
#define COUNT(p) ((void)__atomic_fetch_add((p), 1u, __ATOMIC_RELAXED))
#define READ(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define WRITE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

static realm_posix_map demo;
static realm_runtime *runtime;

/* Runs `body` on `count` threads, which get the elements of an array, and waits for all. */
static void on_threads(uint32_t count, void *(*body)(void *), void *args, size_t arg_bytes) {
    pthread_t thread[THREADS];
    CHECK(count <= THREADS);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(pthread_create(&thread[i], NULL, body, (char *)args + i * arg_bytes) == 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
}

/* ---- the store ---------------------------------------------------------------------------------- */

#define CONTENTS 4u
#define FIRST_ID 100u

static uint32_t handed_over, given_back; /* atomic: parts */
static uint32_t derived[CONTENTS];
static uint8_t digests[CONTENTS][32];
static realm_wasm_module *adder;

/* Every part is a copy of its own, which is freed: reading it later would be seen by any sanitizer. */
static void give_back(void *ctx, const void *data, size_t bytes) {
    CHECK(ctx == &given_back && data != NULL && bytes > 0);
    free((void *)(uintptr_t)data);
    COUNT(&given_back);
}

/* A GGUF file with nothing but a tensor "t" of one row of four floats, the first of which is `content`. */
static void *make_file(uint32_t content, size_t *bytes) {
    static const unsigned char head[] = "GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" /* version 3, 1 tensor, no metadata */
                                        "\1\0\0\0\0\0\0\0t\1\0\0\0\4\0\0\0\0\0\0\0"   /* its name, 1 dimension of 4 */
                                        "\0\0\0\0\0\0\0\0\0\0\0\0";                   /* f32, at 0 */
    const float row[4] = {(float)content, 1.0f, 2.0f, 3.0f};
    unsigned char *file = (unsigned char *)calloc(1, 64 + sizeof row);
    CHECK(file != NULL && sizeof head - 1 <= 64);
    memcpy(file, head, sizeof head - 1);
    memcpy(file + 64, row, sizeof row);
    *bytes = 64 + sizeof row;
    return file;
}

static realm_status add(uint32_t content, uint32_t wanted, uint32_t flags, uint32_t *id) {
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_bytes part;
    part.data = make_file(content, &part.bytes);
    source.parts = &part;
    source.part_count = 1;
    source.id = wanted;
    source.flags = flags;
    source.release = give_back;
    source.ctx = &given_back;
    COUNT(&handed_over);
    return realm_model_register(NULL, &source, id, NULL);
}

static void take_back(uint32_t id) {
    realm_error error = {0, ""};
    CHECK_OK(realm_model_remove(NULL, id, &error));
}

/* The model of `id`, of which this thread holds a registration. */
static void read_model(uint32_t id, uint32_t content) {
    realm_model_info info = REALM_MODEL_INFO_INIT;
    realm_error error = {0, ""};
    float row[4];
    size_t count = 0;
    uint32_t tensor = 9;
    CHECK_OK(realm_model_get_info(NULL, id, &info, &error));
    CHECK(info.id == id && info.registration_count >= 1 && info.tensor_count == 1);
    CHECK_OK(realm_model_tensor_find(NULL, id, "t", 1, &tensor, &error));
    CHECK_OK(realm_model_tensor_read(NULL, id, tensor, 0, 0, row, 4, &count, &error));
    CHECK(count == 4 && row[0] == (float)content && row[3] == 3.0f);
}

/* Under an id of the caller's, which other threads give to the same bytes and sometimes to others. */
static void use_caller_id(uint32_t dice) {
    const uint32_t content = dice % CONTENTS, wanted = FIRST_ID + (dice / 7 % 3 == 0 ? 0 : content);
    uint32_t id = 0;
    const realm_status status = add(content, wanted, dice / 64 % 2 ? REALM_MODEL_COPY : 0, &id);
    if (status != REALM_STATUS_ID_CONFLICT) {
        CHECK(status == REALM_STATUS_OK && id == wanted);
        read_model(id, content);
        take_back(id);
    }
}

static void use_derived_id(uint32_t dice) {
    const uint32_t content = dice % CONTENTS;
    realm_error error = {0, ""};
    uint8_t sha256[32];
    uint32_t id = 0, again = 0;
    CHECK(add(content, 0, 0, &id) == REALM_STATUS_OK && id == derived[content]);
    CHECK(add(content, 0, 0, &again) == REALM_STATUS_OK && again == id);
    take_back(id);
    CHECK_OK(realm_model_digest(NULL, id, sha256, &error));
    CHECK(memcmp(sha256, digests[content], sizeof sha256) == 0);
    read_model(id, content);
    take_back(id);
}

/* What is listed may be gone when it is asked for, but nothing else may happen. */
static void look_around(void) {
    uint32_t ids[64];
    size_t count = 0;
    CHECK(realm_model_list(NULL, ids, 64, &count) == REALM_STATUS_OK);
    for (size_t i = 0; i < count; i++) {
        realm_model_info info = REALM_MODEL_INFO_INIT;
        const realm_status status = realm_model_get_info(NULL, ids[i], &info, NULL);
        CHECK(i == 0 || ids[i - 1] < ids[i]);
        CHECK(status == REALM_STATUS_NOT_FOUND || (status == REALM_STATUS_OK && info.id == ids[i]));
    }
}

/* The demo model, registered once more; its bytes stay mapped throughout. */
static uint32_t share_demo(uint32_t wanted) {
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    const realm_bytes part = {demo.data, demo.bytes};
    realm_error error = {0, ""};
    uint32_t id = 0;
    source.parts = &part;
    source.part_count = 1;
    source.id = wanted;
    CHECK_OK(realm_model_register(NULL, &source, &id, &error));
    return id;
}

static void use_vocabulary(uint32_t dice) {
    const uint32_t id = share_demo(DEMO + 1 + dice % 2);
    realm_error error = {0, ""};
    uint32_t tokens[16];
    char text[64];
    size_t count = 0, bytes = 0;
    CHECK_OK(realm_model_tokenize(NULL, id, "Paris and Rome", 14, 0, tokens, 16, &count, &error));
    CHECK_OK(realm_model_detokenize(NULL, id, tokens, count, 0, text, sizeof text, &bytes, &error));
    CHECK(strstr(text, "Paris and Rome") != NULL);
    take_back(id);
}

/* Opened, polled a little, closed in the midst of its turn; the model's name is gone before. */
static void use_session(uint32_t dice) {
    const uint32_t id = share_demo(DEMO + 1 + dice % 2);
    realm_session *session = NULL;
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    CHECK_OK(realm_session_open(runtime, id, NULL, &session, &error));
    take_back(id);
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_TEXT, "Hello", 5, &error));
    for (uint32_t i = 0; i <= dice / 16 % 4; i++) {
        CHECK_OK(realm_session_poll(session, i % 2 ? 0 : 50, &event, &error));
        if (event.kind == REALM_EVENT_DONE) {
            break;
        }
    }
    realm_session_close(session);
}

/* An instance of a module that all threads share. */
static void use_module(uint32_t dice) {
    realm_wasm_instance *instance = NULL;
    realm_wasm_value args[2] = {{REALM_WASM_I32, 0, {0}}, {REALM_WASM_I32, 0, {0}}}, sum;
    realm_error error = {0, ""};
    uint32_t function = 9;
    args[0].of.i32 = (int32_t)(dice % 1000);
    args[1].of.i32 = 5;
    CHECK_OK(realm_wasm_instance_create(adder, NULL, &instance, &error));
    CHECK_OK(realm_wasm_find(instance, "add", 3, &function, &error));
    CHECK_OK(realm_wasm_call(instance, function, args, 2, &sum, 1, &error));
    CHECK(sum.of.i32 == (int32_t)(dice % 1000) + 5);
    realm_wasm_instance_destroy(instance);
}

static void *store_thread(void *arg) {
    uint32_t dice = *(uint32_t *)arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        dice = dice * 1664525u + 1013904223u;
        switch (dice >> 28) {
        case 0:
            use_session(dice >> 8);
            break;
        case 1:
            use_vocabulary(dice >> 8);
            break;
        case 2:
        case 3:
            use_module(dice >> 8);
            break;
        case 4:
        case 5:
            look_around();
            break;
        case 6:
        case 7:
        case 8:
        case 9:
            use_derived_id(dice >> 8);
            break;
        default:
            use_caller_id(dice >> 8);
        }
    }
    return NULL;
}

static void test_store(void) {
    static const unsigned char wasm[] = "\0asm\1\0\0\0\1\7\1\140\2\177\177\1\177\3\2\1\0" /* (i32, i32) -> i32 */
                                        "\7\7\1\3add\0\0\12\11\1\7\0\40\0\40\1\152\13";
    uint32_t seed[THREADS], id = 0;
    realm_error error = {0, ""};
    size_t count = 0;
    CHECK_OK(realm_wasm_module_load(wasm, sizeof wasm - 1, NULL, &adder, &error));
    for (uint32_t i = 0; i < CONTENTS; i++) {
        CHECK(add(i, 0, 0, &derived[i]) == REALM_STATUS_OK);
        CHECK_OK(realm_model_digest(NULL, derived[i], digests[i], &error));
        take_back(derived[i]);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        seed[i] = i * 2654435761u + 1;
    }
    on_threads(THREADS, store_thread, seed, sizeof seed[0]);
    realm_wasm_module_unload(adder);
    /* Every part came back exactly once, and only the model that main registered is left. */
    CHECK(READ(&handed_over) == READ(&given_back) && handed_over > ROUNDS);
    CHECK(realm_model_list(NULL, &id, 1, &count) == REALM_STATUS_OK && count == 1 && id == DEMO);
}

/* ---- sessions that move ------------------------------------------------------------------------- */

#define SESSIONS 5u
#define MOVERS 4u
#define TEXT_MAX 1024u

typedef struct talk {
    realm_session *session;
    uint32_t last; /* which thread polled it, from 1; 0: none yet */
    int busy, ended;
    uint32_t polls;
    char text[TEXT_MAX];
    size_t used;
} talk;

static const char *const question[SESSIONS] = {
    "What is the capital of France?", "And of Norway?", "Hello", "What is the capital of Kenya?", "Peru",
};

static talk talks[SESSIONS];
static pthread_mutex_t talks_lock = PTHREAD_MUTEX_INITIALIZER;

static void begin(talk *t, realm_runtime *in, uint32_t i, uint32_t thread_count) {
    static const realm_param params[] = {{"n_predict", "24"}, {"ignore_eos", "1"}, {"temp", "0.8"}, {"seed", "7"}};
    static const talk nothing;
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_error error = {0, ""};
    *t = nothing;
    options.params = params;
    options.param_count = 4;
    options.thread_count = thread_count;
    CHECK_OK(realm_session_open(in, DEMO, &options, &t->session, &error));
    CHECK_OK(realm_session_prompt(t->session, REALM_INPUT_CHAT, question[i], strlen(question[i]), &error));
}

static void poll_once(talk *t, uint64_t budget_us) {
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    CHECK_OK(realm_session_poll(t->session, budget_us, &event, &error));
    t->polls++;
    t->ended = event.kind == REALM_EVENT_DONE;
    if (event.kind == REALM_EVENT_TOKEN) {
        CHECK(t->used + event.text_bytes < TEXT_MAX);
        memcpy(t->text + t->used, event.text, event.text_bytes);
        t->used += event.text_bytes;
    }
}

static void finish(talk *t) {
    while (!t->ended) {
        poll_once(t, 0);
    }
    realm_session_close(t->session);
}

/* A session that was last polled by another thread and by nobody now; NULL if there is none at the moment. */
static talk *take_talk(uint32_t me, int *any_left) {
    talk *found = NULL;
    *any_left = 0;
    CHECK(pthread_mutex_lock(&talks_lock) == 0);
    for (uint32_t i = 0; i < SESSIONS; i++) {
        talk *t = &talks[(i + me) % SESSIONS];
        *any_left |= !t->ended;
        if (found == NULL && !t->busy && !t->ended && t->last != me) {
            found = t;
            t->busy = 1;
            t->last = me;
        }
    }
    CHECK(pthread_mutex_unlock(&talks_lock) == 0);
    return found;
}

static void *mover(void *arg) {
    const uint32_t me = *(const uint32_t *)arg;
    int any_left = 1;
    while (any_left) {
        talk *t = take_talk(me, &any_left);
        if (t == NULL) {
            const struct timespec nap = {0, 100000};
            (void)nanosleep(&nap, NULL);
            continue;
        }
        /* This thread alone has the session now, and may do with it what one thread may. */
        talk mine = *t;
        poll_once(&mine, 200);
        CHECK(pthread_mutex_lock(&talks_lock) == 0);
        mine.busy = 0;
        *t = mine;
        CHECK(pthread_mutex_unlock(&talks_lock) == 0);
    }
    return NULL;
}

static void test_moving(void) {
    uint32_t name[MOVERS];
    talk alone[SESSIONS];
    for (uint32_t i = 0; i < SESSIONS; i++) {
        begin(&alone[i], runtime, i, 1);
        finish(&alone[i]);
        CHECK(alone[i].used > 0);
        begin(&talks[i], runtime, i, 1 + i % 3);
    }
    for (uint32_t i = 0; i < MOVERS; i++) {
        name[i] = i + 1;
    }
    on_threads(MOVERS, mover, name, sizeof name[0]);
    for (uint32_t i = 0; i < SESSIONS; i++) {
        CHECK(talks[i].polls > 10);
        CHECK(talks[i].used == alone[i].used && memcmp(talks[i].text, alone[i].text, alone[i].used) == 0);
        realm_session_close(talks[i].session);
    }
}

/* Cancelling is for any thread at any time, with nothing in common with the one that polls. */
static void *cancel_all(void *arg) {
    realm_session *const *session = (realm_session *const *)arg;
    const struct timespec nap = {0, 3000000};
    (void)nanosleep(&nap, NULL);
    for (uint32_t i = 0; i < SESSIONS; i++) {
        realm_session_cancel(session[i]);
    }
    return NULL;
}

static void test_cancel(void) {
    realm_session *session[SESSIONS];
    pthread_t other;
    talk t[SESSIONS];
    for (uint32_t i = 0; i < SESSIONS; i++) {
        begin(&t[i], runtime, i, 1);
        session[i] = t[i].session;
    }
    CHECK(pthread_create(&other, NULL, cancel_all, session) == 0);
    for (uint32_t i = 0; i < SESSIONS; i++) {
        while (!t[i].ended) {
            poll_once(&t[i], 100);
        }
    }
    CHECK(pthread_join(other, NULL) == 0);
    for (uint32_t i = 0; i < SESSIONS; i++) {
        realm_session_close(session[i]);
    }
}

/* ---- several runtimes --------------------------------------------------------------------------- */

#define RUNTIMES 5u

typedef struct place {
    uint32_t kind;
    const realm_platform *platform;
    const talk *want;
} place;

/* A runtime of its own, of one of several kinds, with two sessions in it. */
static void *runtime_thread(void *arg) {
    const place *p = (const place *)arg;
    for (uint32_t round = 0; round < 1 + ROUNDS / 20; round++) {
        realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
        realm_posix_pool *pool = NULL;
        realm_runtime *mine = NULL;
        realm_error error = {0, ""};
        talk first, second;
        options.platform = p->platform;
        if (p->kind == 1) {
            CHECK_OK(realm_posix_pool_create(2, &pool, &error));
            options.platform = realm_posix_pool_platform(pool);
        }
        CHECK_OK(realm_runtime_create(&options, &mine, &error));
        begin(&first, mine, 0, 1 + p->kind % 3);
        begin(&second, mine, 1, 1);
        poll_once(&second, 50);
        realm_runtime_destroy(mine); /* the sessions keep what they need */
        finish(&first);
        finish(&second);
        CHECK(first.used == p->want[0].used && memcmp(first.text, p->want[0].text, first.used) == 0);
        CHECK(second.used == p->want[1].used && memcmp(second.text, p->want[1].text, second.used) == 0);
        realm_posix_pool_destroy(pool);
    }
    return NULL;
}

/* The processor's level may be changed at any time, and shows in nothing. */
static void *level_thread(void *stop) {
    const struct timespec nap = {0, 500000};
    while (READ((uint32_t *)stop) == 0) {
        CHECK(realm_cpu_force_isa("scalar", 6, NULL) == REALM_STATUS_OK);
        CHECK(realm_cpu_isa() != NULL);
        (void)nanosleep(&nap, NULL);
        CHECK(realm_cpu_force_isa(NULL, 0, NULL) == REALM_STATUS_OK);
        (void)nanosleep(&nap, NULL);
    }
    return NULL;
}

static void test_runtimes(const realm_platform *shared_pool) {
    place places[RUNTIMES];
    talk want[2];
    pthread_t levels;
    uint32_t stop = 0;
    const int has_levels = realm_cpu_isa() != NULL;
    for (uint32_t i = 0; i < 2; i++) {
        begin(&want[i], runtime, i, 1);
        finish(&want[i]);
    }
    for (uint32_t i = 0; i < RUNTIMES; i++) {
        const place p = {i, i == 0 ? NULL : i < 3 ? realm_posix_platform() : shared_pool, want};
        places[i] = p;
    }
    if (has_levels) {
        CHECK(pthread_create(&levels, NULL, level_thread, &stop) == 0);
    }
    on_threads(RUNTIMES, runtime_thread, places, sizeof places[0]);
    WRITE(&stop, 1u);
    if (has_levels) {
        CHECK(pthread_join(levels, NULL) == 0);
    }
}

/* ---- a deliberate race -------------------------------------------------------------------------- */

static void *read_stats(void *session) {
    realm_session_stats stats = REALM_SESSION_STATS_INIT;
    for (uint32_t i = 0; i < 2000; i++) {
        CHECK(realm_session_get_stats((const realm_session *)session, &stats) == REALM_STATUS_OK);
    }
    return NULL;
}

/* One session on two threads at a time: what the header forbids. */
static void race(void) {
    talk t;
    pthread_t other;
    begin(&t, runtime, 0, 1);
    CHECK(pthread_create(&other, NULL, read_stats, t.session) == 0);
    for (uint32_t i = 0; i < 5 && !t.ended; i++) {
        poll_once(&t, 0);
    }
    CHECK(pthread_join(other, NULL) == 0);
    realm_session_close(t.session);
}

int main(int argc, char **argv) {
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_posix_pool *pool = NULL;
    realm_error error = {0, ""};
    (void)alarm(240); /* a lost wake-up must fail, not hang */
    demo = add_demo_model(DEMO);
    CHECK_OK(realm_posix_pool_create(3, &pool, &error));
    options.platform = realm_posix_pool_platform(pool);
    CHECK_OK(realm_runtime_create(&options, &runtime, &error));
    if (argc > 1 && strcmp(argv[1], "race") == 0) {
        race();
    } else {
        test_store();
        test_moving();
        test_cancel();
        test_runtimes(realm_posix_pool_platform(pool));
    }
    realm_runtime_destroy(runtime);
    take_back(DEMO);
    realm_posix_pool_destroy(pool);
    return 0;
}
