/* unload.c - the shared library is loaded, used and unloaded again and again, and nothing is left of it: no mapping, thread,
 * file or byte of heap. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 /* mallinfo2 */
#endif

#include "check.h"

#if !defined(__GLIBC__) || !__GLIBC_PREREQ(2, 33)

int main(void) {
    fprintf(stderr, "skipped: only glibc (2.33 on) tells what is allocated\n");
    return 77;
}

#else

#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "realm.h"
#include "realm_posix.h"

#define ANSWER "The capital of France is Paris."
#define WARM_UP 3
#define ROUNDS 20

/* The functions that are used, by the names of the header. */
#define FUNCTIONS(X)                                                                                   \
    X(realm_posix_map_file) X(realm_posix_release) X(realm_posix_pool_create)                          \
    X(realm_posix_pool_platform) X(realm_posix_pool_destroy) X(realm_model_register)                   \
    X(realm_model_remove) X(realm_runtime_create) X(realm_runtime_destroy) X(realm_session_open)       \
    X(realm_session_prompt) X(realm_session_poll) X(realm_session_close) X(realm_status_name)

typedef struct library {
    void *handle;
#define MEMBER(name) __typeof__(name) *name;
    FUNCTIONS(MEMBER)
} library;

static void load(library *lib) {
    lib->handle = dlopen(LIBREALM, RTLD_NOW | RTLD_LOCAL);
    if (lib->handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
    }
    CHECK(lib->handle != NULL);
    /* The way POSIX recommends to get from an object pointer to a function. */
#define FIND(name) CHECK((*(void **)&lib->name = dlsym(lib->handle, #name)) != NULL);
    FUNCTIONS(FIND)
}

typedef struct turn {
    const library *lib;
    realm_session *session;
    char text[256];
    size_t used;
} turn;

static realm_event poll_once(turn *t) {
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    CHECK_OK(t->lib->realm_session_poll(t->session, 0, &event, &error));
    if (event.kind == REALM_EVENT_TOKEN) {
        CHECK(t->used + event.text_bytes < sizeof t->text);
        memcpy(t->text + t->used, event.text, event.text_bytes);
        t->used += event.text_bytes;
    }
    return event;
}

static void *finish(void *arg) {
    while (poll_once((turn *)arg).kind != REALM_EVENT_DONE) {
    }
    return NULL;
}

/* Everything that may leave something: a pool, a file, a failure, a session on two threads. */
static void use(const library *lib) {
    static const char question[] = "What is the capital of France?";
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_session_options session_options = REALM_SESSION_OPTIONS_INIT;
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_runtime *runtime = NULL;
    realm_posix_pool *pool = NULL;
    realm_posix_map map = {NULL, 0};
    realm_error error = {0, ""};
    realm_bytes part = {question, sizeof question};
    pthread_t other;
    turn t;
    uint32_t id = 0;
    memset(&t, 0, sizeof t);
    t.lib = lib;
    if (lib->realm_posix_map_file(DEMO_MODEL, &map, &error) == REALM_STATUS_NOT_FOUND) {
        fprintf(stderr, "skipped: %s\n", error.message);
        exit(77);
    }
    source.parts = &part;
    source.part_count = 1;
    CHECK(lib->realm_model_register(NULL, &source, &id, &error) == REALM_STATUS_FORMAT);
    part.data = map.data;
    part.bytes = map.bytes;
    source.release = lib->realm_posix_release;
    CHECK_OK(lib->realm_model_register(NULL, &source, &id, &error));
    CHECK_OK(lib->realm_posix_pool_create(3, &pool, &error));
    options.platform = lib->realm_posix_pool_platform(pool);
    session_options.thread_count = 3;
    CHECK_OK(lib->realm_runtime_create(&options, &runtime, &error));
    CHECK_OK(lib->realm_session_open(runtime, id, &session_options, &t.session, &error));
    CHECK_OK(lib->realm_session_prompt(t.session, REALM_INPUT_CHAT, question, sizeof question - 1, &error));
    (void)poll_once(&t);
    CHECK(pthread_create(&other, NULL, finish, &t) == 0 && pthread_join(other, NULL) == 0);
    CHECK(strcmp(t.text, ANSWER) == 0);
    lib->realm_session_close(t.session);
    lib->realm_runtime_destroy(runtime);
    CHECK_OK(lib->realm_model_remove(NULL, id, &error));
    lib->realm_posix_pool_destroy(pool);
}

/* What this process has. */
typedef struct holdings {
    size_t heap_bytes, mappings, mapped_bytes, threads, files;
} holdings;

static size_t entries(const char *folder) {
    DIR *dir = opendir(folder);
    size_t count = 0;
    CHECK(dir != NULL);
    while (readdir(dir) != NULL) {
        count++;
    }
    (void)closedir(dir);
    return count;
}

static holdings measure(void) {
    holdings h = {0, 0, 0, 0, 0};
    const struct mallinfo2 heap = mallinfo2();
    FILE *maps;
    char line[1024];
    h.heap_bytes = heap.uordblks + heap.hblkhd;
    h.threads = entries("/proc/self/task");
    h.files = entries("/proc/self/fd");
    maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        unsigned long from = 0, to = 0;
        CHECK(strstr(line, "librealm") == NULL && strstr(line, ".gguf") == NULL);
        CHECK(sscanf(line, "%lx-%lx", &from, &to) == 2);
        h.mappings++;
        h.mapped_bytes += to - from;
    }
    CHECK(fclose(maps) == 0);
    return h;
}

static void show(const char *when, const holdings *h) {
    printf("%s: %zu bytes of heap, %zu mappings of %zu bytes, %zu threads, %zu files\n", when, h->heap_bytes, h->mappings,
           h->mapped_bytes, h->threads - 2, h->files - 2);
}

static pthread_barrier_t all_there;

static void *be_there(void *arg) {
    (void)pthread_barrier_wait(&all_there);
    return arg;
}

/* A stack that is kept also keeps what thread-local variables of the library its last thread has touched, until it is used again:
 * which of a pool's threads got work is chance. So all of them are used, by more threads at once than a round has, of the
 * pool's size: the C library gives a thread a stack of up to four times what it asks for. */
static void clear_stacks(void) {
    pthread_attr_t as_in_a_pool;
    pthread_t thread[12];
    const size_t count = sizeof thread / sizeof *thread;
    CHECK(pthread_attr_init(&as_in_a_pool) == 0 && pthread_attr_setstacksize(&as_in_a_pool, 512u << 10) == 0);
    CHECK(pthread_barrier_init(&all_there, NULL, (unsigned)count) == 0);
    for (size_t i = 0; i < count; i++) {
        CHECK(pthread_create(&thread[i], &as_in_a_pool, be_there, NULL) == 0);
    }
    for (size_t i = 0; i < count; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    CHECK(pthread_barrier_destroy(&all_there) == 0 && pthread_attr_destroy(&as_in_a_pool) == 0);
}

int main(int argc, char **argv) {
    holdings before = {0, 0, 0, 0, 0};
    (void)argc;
    /* What a thread has freed and keeps for itself counts as allocated: malloc is told at its start not to do that. */
    if (getenv("GLIBC_TUNABLES") == NULL) {
        /* Stacks of threads that have ended are kept for the next ones, up to 40 MiB. As many as there are at once
         * must fit, or it is chance how many are left at the end. New threads get this much. */
        struct rlimit stack;
        CHECK(getrlimit(RLIMIT_STACK, &stack) == 0);
        stack.rlim_cur = 1u << 20;
        CHECK(setrlimit(RLIMIT_STACK, &stack) == 0);
        CHECK(setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1) == 0);
        (void)execv("/proc/self/exe", argv);
        CHECK(!"the program could be started again");
    }
    (void)alarm(240);
    /* One arena, so that all that is allocated is counted. */
    (void)mallopt(M_ARENA_MAX, 1);
    (void)setvbuf(stdout, NULL, _IOLBF, 1024);
    printf("loading %s\n", LIBREALM);
    for (int round = 0; round < WARM_UP + ROUNDS; round++) {
        library lib;
        load(&lib);
        use(&lib);
        CHECK(dlclose(lib.handle) == 0);
        CHECK(dlopen(LIBREALM, RTLD_NOW | RTLD_NOLOAD) == NULL);
        if (round + 1 == WARM_UP) {
            /* The first times the C library keeps something for itself: stacks of threads that have ended, names. */
            clear_stacks();
            (void)malloc_trim(0); /* What is free is no holding. */
            before = measure();
            show("before", &before);
        }
    }
    clear_stacks();
    (void)malloc_trim(0);
    const holdings after = measure();
    show("after", &after);
    CHECK(after.threads - 2 == 1 && before.threads == after.threads);
    CHECK(after.heap_bytes == before.heap_bytes);
    CHECK(after.mappings == before.mappings && after.mapped_bytes == before.mapped_bytes);
    CHECK(after.files == before.files);
    return 0;
}

#endif
