/* posix.c - the hosted port (include/realm_posix.h), C99 and POSIX.1-2008, or windows.h beside it.
 *
 * The pool is the only part with a story. A job is published by writing its fields and then
 * `open = 1`; whoever wants to work on it first counts itself into `active` and only then looks at
 * `open`. The caller closes the job (`open = 0`) when no index is left and waits for `active` to
 * fall to 0. Both sides store one variable and then load the other, sequentially consistent, so a
 * thread that wakes late either is seen by the caller and waited for, or sees the job closed and
 * touches none of its fields. A sleeping thread thus never delays a job that others can finish.
 */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 /* pthread_setaffinity_np, mremap */
#endif
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1 /* madvise */
#endif
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif
#ifdef __APPLE__
#define _DARWIN_C_SOURCE 1
#endif

#include "realm_posix.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include "windows.h"
#else
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#ifdef __linux__
#include <sched.h>
#endif
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#endif

#define MAX_THREADS 1024u

/* About 20 to 80 microseconds: longer than the gap between two steps of a program, shorter than
 * what anyone would notice on a battery. */
#define SPIN_TURNS 2000u

/* Workers run kernels, which keep their rows in memory that the core planned. */
#define WORKER_STACK_BYTES (512u * 1024u)

/* C99 has no atomics; gcc's built-ins are what both compilers in question have. */
#define LOAD(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define ADD(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define SUB(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST)

/* Bytes of the well-formed UTF-8 character that a text begins with; 0 for others and for control characters. */
static size_t character(const char *text) {
    const unsigned char *c = (const unsigned char *)text;
    const size_t bytes = c[0] < 0x80 ? 1 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;
    if (c[0] < 0x20 || c[0] == 0x7f || (c[0] >= 0x80 && c[0] < 0xc2) || c[0] > 0xf4) {
        return 0;
    }
    for (size_t i = 1; i < bytes; i++) {
        if ((c[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* Controls; too long for their number; surrogates; beyond Unicode. */
    if ((c[0] == 0xc2 && c[1] < 0xa0) || (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] >= 0xa0) ||
        (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] >= 0x90)) {
        return 0;
    }
    return bytes;
}

static realm_status fail(realm_error *error, realm_status status, const char *format, ...) {
    if (error != NULL) {
        va_list args;
        va_start(args, format);
        error->status = status;
        (void)vsnprintf(error->message, sizeof error->message, format, args);
        va_end(args);
        /* A message is one line of UTF-8, whatever bytes a file name has. */
        for (char *c = error->message; *c != '\0';) {
            const size_t bytes = character(c);
            if (bytes == 0) {
                *c = '?';
            }
            c += bytes > 0 ? bytes : 1;
        }
    }
    return status;
}

/* For a file: "cannot VERB PATH: REASON". Of a long path the end is shown, so that the reason has room. */
static realm_status fail_file(realm_error *error, realm_status status, const char *verb, const char *path,
                              const char *reason) {
    enum { MOST = 120 };
    const size_t bytes = strlen(path);
    const char *shown = bytes > MOST ? path + (bytes - MOST) : path;
    while (shown != path && ((unsigned char)*shown & 0xc0) == 0x80) {
        shown++; /* to the beginning of a character */
    }
    return fail(error, status, "cannot %s %s%s: %s", verb, shown != path ? "..." : "", shown, reason);
}

/* ---- memory, clock, log ------------------------------------------------------------------- */

static void *platform_alloc(void *ctx, size_t bytes, size_t align) {
    void *p = NULL;
    (void)ctx;
    if (align < sizeof(void *)) {
        align = sizeof(void *);
    }
    if (posix_memalign(&p, align, bytes > 0 ? bytes : 1) != 0) {
        return NULL;
    }
    return p;
}

static void platform_free(void *ctx, void *p, size_t bytes, size_t align) {
    (void)ctx;
    (void)bytes;
    (void)align;
#ifdef _WIN32
    _aligned_free(p);
#else
    free(p);
#endif
}

#ifndef _WIN32
static uint64_t monotonic_ns(void) {
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) {
        return 0;
    }
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static long processors_online(void) { return sysconf(_SC_NPROCESSORS_ONLN); }
#endif

static uint64_t platform_clock_ns(void *ctx) {
    (void)ctx;
    return monotonic_ns();
}

static void platform_log(void *ctx, int32_t level, const char *text, size_t bytes) {
    (void)ctx;
    if (level <= 1) {
        const int width = bytes > 4096 ? 4096 : (int)bytes;
        fprintf(stderr, "realm: %s: %.*s\n", level <= 0 ? "error" : "warning", width, text);
    }
}

static const realm_platform posix_platform = {
    .struct_size = (uint32_t)sizeof(realm_platform),
    .abi_version = REALM_ABI_VERSION,
    .alloc = platform_alloc,
    .free = platform_free,
    .clock_ns = platform_clock_ns,
    .log = platform_log,
};

const realm_platform *realm_posix_platform(void) { return &posix_platform; }

/* ---- threads ------------------------------------------------------------------------------ */

struct realm_posix_pool {
    realm_platform platform;
    uint32_t width;   /* threads that work at once, the caller included */
    uint32_t started; /* entries of `threads` to join */
    uint32_t spin_turns;
    pthread_t *threads;

    pthread_mutex_t turn; /* held by the one caller whose job it is */

    /* The job: written while `open` is 0, read only after `open` was seen to be 1. */
    realm_task_fn fn;
    void *task;
    uint32_t count;

    uint32_t next;   /* atomic: first index nobody has claimed */
    uint32_t open;   /* atomic: there is a job to look at */
    uint32_t active; /* atomic: threads that may be looking at it */
    uint32_t epoch;  /* atomic: changes with each job */
    uint32_t stop;   /* atomic */

    pthread_mutex_t sleep;  /* guards the two conditions */
    pthread_cond_t work;    /* epoch or stop changed */
    pthread_cond_t drained; /* active fell to 0 */
    uint32_t sleepers;      /* atomic: threads in, or about to be in, `work` */
    uint32_t caller_waits;  /* atomic: the caller is in, or about to be in, `drained` */
};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static void run_tasks(realm_posix_pool *pool) {
    /* Claiming first and comparing afterwards leaves `next` at most `width` past `count`. */
    uint32_t index = ADD(&pool->next, 1u);
    while (index < pool->count) {
        pool->fn(pool->task, index);
        index = ADD(&pool->next, 1u);
    }
}

static void join_job(realm_posix_pool *pool) {
    (void)ADD(&pool->active, 1u);
    if (LOAD(&pool->open) != 0) {
        run_tasks(pool);
    }
    if (SUB(&pool->active, 1u) == 1u && LOAD(&pool->caller_waits) != 0) {
        (void)pthread_mutex_lock(&pool->sleep);
        (void)pthread_cond_signal(&pool->drained);
        (void)pthread_mutex_unlock(&pool->sleep);
    }
}

static void *worker(void *arg) {
    realm_posix_pool *pool = (realm_posix_pool *)arg;
    uint32_t seen = 0;
    for (;;) {
        uint32_t turns = pool->spin_turns;
        while (turns > 0 && LOAD(&pool->epoch) == seen && LOAD(&pool->stop) == 0) {
            relax();
            turns--;
        }
        if (LOAD(&pool->epoch) == seen && LOAD(&pool->stop) == 0) {
            (void)pthread_mutex_lock(&pool->sleep);
            (void)ADD(&pool->sleepers, 1u);
            while (LOAD(&pool->epoch) == seen && LOAD(&pool->stop) == 0) {
                (void)pthread_cond_wait(&pool->work, &pool->sleep);
            }
            (void)SUB(&pool->sleepers, 1u);
            (void)pthread_mutex_unlock(&pool->sleep);
        }
        if (LOAD(&pool->stop) != 0) {
            return NULL;
        }
        seen = LOAD(&pool->epoch);
        join_job(pool);
    }
}

static void wake_workers(realm_posix_pool *pool) {
    if (LOAD(&pool->sleepers) != 0) {
        (void)pthread_mutex_lock(&pool->sleep);
        (void)pthread_cond_broadcast(&pool->work);
        (void)pthread_mutex_unlock(&pool->sleep);
    }
}

static void wait_until_drained(realm_posix_pool *pool) {
    uint32_t turns = pool->spin_turns;
    while (turns > 0 && LOAD(&pool->active) != 0) {
        relax();
        turns--;
    }
    if (LOAD(&pool->active) == 0) {
        return;
    }
    (void)pthread_mutex_lock(&pool->sleep);
    STORE(&pool->caller_waits, 1u);
    while (LOAD(&pool->active) != 0) {
        (void)pthread_cond_wait(&pool->drained, &pool->sleep);
    }
    STORE(&pool->caller_waits, 0u);
    (void)pthread_mutex_unlock(&pool->sleep);
}

static void pool_parallel_for(void *ctx, uint32_t count, realm_task_fn fn, void *task) {
    realm_posix_pool *pool = (realm_posix_pool *)ctx;
    if (count <= 1 || pool->started == 0) {
        for (uint32_t i = 0; i < count; i++) {
            fn(task, i);
        }
        return;
    }
    (void)pthread_mutex_lock(&pool->turn);
    pool->fn = fn;
    pool->task = task;
    pool->count = count;
    STORE(&pool->next, 0u);
    STORE(&pool->open, 1u);
    (void)ADD(&pool->epoch, 1u);
    wake_workers(pool);
    run_tasks(pool);
    STORE(&pool->open, 0u);
    wait_until_drained(pool);
    (void)pthread_mutex_unlock(&pool->turn);
}

static uint32_t pool_parallel_width(void *ctx) { return ((const realm_posix_pool *)ctx)->width; }

#ifndef _WIN32
/* New threads inherit the creator's signal mask: signals are for the program's own threads. */
static int start_worker(pthread_t *out, size_t stack_bytes, void *arg) {
    sigset_t all, before;
    pthread_attr_t attributes;
    int e = pthread_attr_init(&attributes);
    if (e != 0) {
        return e;
    }
    (void)pthread_attr_setstacksize(&attributes, stack_bytes);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    e = pthread_create(out, &attributes, worker, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return e;
}
#endif

static int start_threads(realm_posix_pool *pool) {
    int e = 0;
    while (e == 0 && pool->started + 1 < pool->width) {
        e = start_worker(&pool->threads[pool->started], WORKER_STACK_BYTES, pool);
        pool->started += e == 0;
    }
    return e;
}

realm_status realm_posix_pool_create(uint32_t thread_count, realm_posix_pool **out,
                                     realm_error *error) {
    realm_posix_pool *pool;
    int e;
    if (out == NULL) {
        return fail(error, REALM_STATUS_INVALID_ARGUMENT, "out must not be NULL");
    }
    if (thread_count == 0 || thread_count > MAX_THREADS) {
        return fail(error, REALM_STATUS_INVALID_ARGUMENT, "a pool has 1 to %u threads, not %u",
                    (unsigned)MAX_THREADS, (unsigned)thread_count);
    }
    pool = (realm_posix_pool *)calloc(1, sizeof *pool);
    if (pool == NULL) {
        return fail(error, REALM_STATUS_NO_MEMORY, "no memory for a thread pool");
    }
    pool->width = thread_count;
    pool->spin_turns = processors_online() > 1 ? SPIN_TURNS : 0;
    pool->platform = posix_platform;
    pool->platform.ctx = pool;
    pool->platform.parallel_for = pool_parallel_for;
    pool->platform.parallel_width = pool_parallel_width;
    (void)pthread_mutex_init(&pool->turn, NULL);
    (void)pthread_mutex_init(&pool->sleep, NULL);
    (void)pthread_cond_init(&pool->work, NULL);
    (void)pthread_cond_init(&pool->drained, NULL);
    pool->threads = (pthread_t *)calloc(thread_count, sizeof *pool->threads);
    e = pool->threads == NULL ? ENOMEM : start_threads(pool);
    if (e != 0) {
        realm_posix_pool_destroy(pool);
        return fail(error, REALM_STATUS_NO_MEMORY, "cannot start %u threads: %s",
                    (unsigned)thread_count, strerror(e));
    }
    *out = pool;
    return REALM_STATUS_OK;
}

void realm_posix_pool_destroy(realm_posix_pool *pool) {
    if (pool == NULL) {
        return;
    }
    STORE(&pool->stop, 1u);
    wake_workers(pool);
    for (uint32_t i = 0; i < pool->started; i++) {
        (void)pthread_join(pool->threads[i], NULL);
    }
    (void)pthread_cond_destroy(&pool->drained);
    (void)pthread_cond_destroy(&pool->work);
    (void)pthread_mutex_destroy(&pool->sleep);
    (void)pthread_mutex_destroy(&pool->turn);
    free(pool->threads);
    free(pool);
}

#ifdef __linux__
realm_status realm_posix_pool_pin(realm_posix_pool *pool, const uint32_t *cpus, size_t cpu_count,
                                  realm_error *error) {
    if (pool == NULL || cpus == NULL || cpu_count == 0) {
        return fail(error, REALM_STATUS_INVALID_ARGUMENT, "pool and cpus must not be NULL or empty");
    }
    for (size_t i = 0; i < cpu_count; i++) {
        if (cpus[i] >= CPU_SETSIZE) {
            return fail(error, REALM_STATUS_INVALID_ARGUMENT, "there is no processor %u",
                        (unsigned)cpus[i]);
        }
    }
    for (uint32_t i = 0; i < pool->started; i++) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpus[i % cpu_count], &set);
        const int e = pthread_setaffinity_np(pool->threads[i], sizeof set, &set);
        if (e != 0) {
            return fail(error, REALM_STATUS_INVALID_ARGUMENT, "cannot use processor %u: %s",
                        (unsigned)cpus[i % cpu_count], strerror(e));
        }
    }
    return REALM_STATUS_OK;
}
#else
realm_status realm_posix_pool_pin(realm_posix_pool *pool, const uint32_t *cpus, size_t cpu_count,
                                  realm_error *error) {
    (void)pool;
    (void)cpus;
    (void)cpu_count;
    return fail(error, REALM_STATUS_UNSUPPORTED, "threads cannot be pinned on this system");
}
#endif

const realm_platform *realm_posix_pool_platform(realm_posix_pool *pool) {
    return pool == NULL ? &posix_platform : &pool->platform;
}

/* ---- files -------------------------------------------------------------------------------- */

#ifndef _WIN32
static realm_status map_open_file(int fd, const char *path, realm_posix_map *out,
                                  realm_error *error) {
    struct stat info;
    void *data;
    if (fstat(fd, &info) != 0) {
        return fail_file(error, REALM_STATUS_IO, "read", path, strerror(errno));
    }
    if (S_ISDIR(info.st_mode)) {
        return fail_file(error, REALM_STATUS_IO, "read", path, "it is a directory");
    }
    if (!S_ISREG(info.st_mode)) {
        return fail_file(error, REALM_STATUS_IO, "map", path, "it is not a regular file");
    }
    if (info.st_size <= 0) {
        return fail_file(error, REALM_STATUS_IO, "map", path, "it is empty");
    }
    if ((uint64_t)info.st_size > (uint64_t)SIZE_MAX / 2) {
        return fail_file(error, REALM_STATUS_NO_MEMORY, "map", path, "it is too large");
    }
    data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        return fail_file(error, errno == ENOMEM ? REALM_STATUS_NO_MEMORY : REALM_STATUS_IO, "map",
                         path, strerror(errno));
    }
    /* A hint: a system that refuses it maps the file all the same. On Linux what is read ahead by
     * MADV_WILLNEED would come in small pages. */
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    (void)madvise(data, (size_t)info.st_size, MADV_HUGEPAGE);
#elif defined(MADV_WILLNEED)
    (void)madvise(data, (size_t)info.st_size, MADV_WILLNEED);
#endif
    out->data = data;
    out->bytes = (size_t)info.st_size;
    return REALM_STATUS_OK;
}

static realm_status map_path(const char *path, realm_posix_map *out, realm_error *error) {
    realm_status status;
    /* O_NONBLOCK: opening a pipe must not wait for a writer before it is refused. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        const int missing = errno == ENOENT || errno == ENOTDIR;
        return fail_file(error, missing ? REALM_STATUS_NOT_FOUND : REALM_STATUS_IO, "open", path,
                         strerror(errno));
    }
    status = map_open_file(fd, path, out, error);
    (void)close(fd);
    return status;
}

static void unmap(void *data, size_t bytes) { (void)munmap(data, bytes); }
#endif

realm_status realm_posix_map_file(const char *path, realm_posix_map *out, realm_error *error) {
    if (path == NULL || out == NULL) {
        return fail(error, REALM_STATUS_INVALID_ARGUMENT, "%s is NULL", path == NULL ? "path" : "out");
    }
    if (path[0] == '\0') {
        return fail(error, REALM_STATUS_NOT_FOUND, "the path of the file is empty");
    }
    return map_path(path, out, error);
}

#ifdef __linux__

#define HUGE_BYTES ((size_t)2 << 20)
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

/* The first line of a small file, or "". */
static void first_line(const char *path, char *line, size_t bytes) {
    FILE *file = fopen(path, "re");
    line[0] = '\0';
    if (file != NULL) {
        if (fgets(line, (int)bytes, file) == NULL) {
            line[0] = '\0';
        }
        (void)fclose(file);
    }
}

/* Whether who asks for huge pages gets some, and of the size that is meant here. */
static int has_huge_pages(void) {
    char enabled[64], bytes[32];
    first_line("/sys/kernel/mm/transparent_hugepage/enabled", enabled, sizeof enabled);
    first_line("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", bytes, sizeof bytes);
    return enabled[0] != '\0' && strstr(enabled, "[never]") == NULL &&
           strtoull(bytes, NULL, 10) == HUGE_BYTES;
}

/* What /proc/self/smaps says of the mappings in [start, end): KiB that are resident, and that lie in
 * huge pages. */
static int huge_and_resident(uintptr_t start, uintptr_t end, double *huge, double *resident) {
    static const char *const names[] = {"FilePmdMapped", "ShmemPmdMapped", "AnonHugePages",
                                        "Shared_Hugetlb", "Private_Hugetlb"};
    char line[512];
    int here = 0;
    FILE *file = fopen("/proc/self/smaps", "re");
    *huge = *resident = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long long from, to, kib;
        char name[32];
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2) {
            here = from < end && start < to;
        } else if (here && sscanf(line, "%31[A-Za-z_]: %llu", name, &kib) == 2) {
            for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
                *huge += strcmp(name, names[i]) == 0 ? (double)kib : 0;
            }
            /* Pages of hugetlbfs are not in Rss. */
            *resident += strcmp(name, "Rss") == 0 || strstr(name, "_Hugetlb") ? (double)kib : 0;
        }
    }
    return file != NULL && fclose(file) == 0;
}

int realm_posix_map_is_huge(const realm_posix_map *map) {
    enum { PLACES = 16 };
    double huge, resident;
    if (map == NULL || map->data == NULL) {
        return 0;
    }
    for (size_t i = 0; i < PLACES; i++) {
        /* Hints as well: where it is refused, what is resident already decides. */
        const uintptr_t place = (uintptr_t)map->data + map->bytes / PLACES * i;
        const uintptr_t start = place - place % HUGE_BYTES;
        if (start >= (uintptr_t)map->data && map->bytes / PLACES > 2 * HUGE_BYTES) {
            (void)madvise((void *)start, HUGE_BYTES, MADV_POPULATE_READ);
        }
    }
    return huge_and_resident((uintptr_t)map->data, (uintptr_t)map->data + map->bytes, &huge,
                             &resident) &&
           resident > 0 && huge >= resident / 8 * 7;
}

/* Memory that begins at a multiple of HUGE_BYTES, in huge pages. */
static void *map_huge(size_t bytes) {
    unsigned char *start = (unsigned char *)mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t before;
    if (start == (unsigned char *)MAP_FAILED) {
        return NULL;
    }
    before = (HUGE_BYTES - (size_t)((uintptr_t)start % HUGE_BYTES)) % HUGE_BYTES;
    if (before > 0) {
        (void)munmap(start, before);
    }
    (void)munmap(start + before + bytes, HUGE_BYTES - before);
    (void)madvise(start + before, bytes, MADV_HUGEPAGE);
    return start + before;
}

/* Puts `copy` in the place of `at`. Both happen, unmapping and moving, under the lock that page
 * faults take: who reads meanwhile waits, and finds the copy. */
static int replace(void *at, void *copy, size_t bytes) {
    unsigned char resident;
    if (mprotect(copy, bytes, PROT_READ) == 0 &&
        mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at) != MAP_FAILED) {
        return 1;
    }
    /* The system unmaps first and moves second: if it failed in between, there is a hole. */
    if (mincore(at, 1, &resident) != 0 && errno == ENOMEM &&
        mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
            MAP_FAILED) {
        memcpy(at, copy, bytes);
        (void)mprotect(at, bytes, PROT_READ);
    }
    (void)munmap(copy, bytes);
    return 0;
}

realm_status realm_posix_map_move_to_huge(const realm_posix_map *map, size_t from, size_t bytes,
                                          size_t *next, realm_error *error) {
    if (map == NULL || map->data == NULL || next == NULL || bytes == 0 || from > map->bytes) {
        return fail(error, REALM_STATUS_INVALID_ARGUMENT,
                    "map and next must not be NULL, bytes not 0, and from not past the end");
    }
    if (!has_huge_pages()) {
        return fail(error, REALM_STATUS_UNSUPPORTED, "this system has no huge pages of 2 MiB");
    }
    const uintptr_t start = (uintptr_t)map->data, end = start + map->bytes;
    /* Whole huge pages that begin in the range; what is before the first and behind the last stays. */
    uintptr_t at = start + from;
    const uintptr_t stop = bytes < end - at ? at + bytes : end;
    at = (at + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
    size_t size = at < stop ? (stop - at + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES : 0;
    if (size > 0 && size > end - at) {
        size -= HUGE_BYTES;
    }
    if (size > 0) {
        void *copy = map_huge(size);
        if (copy == NULL) {
            return fail(error, REALM_STATUS_NO_MEMORY, "no memory for %zu bytes", size);
        }
        memcpy(copy, (const void *)at, size);
        if (!replace((void *)at, copy, size)) {
            return fail(error, REALM_STATUS_NO_MEMORY, "no place for another mapping");
        }
    }
    *next = (size_t)(stop - start);
    return REALM_STATUS_OK;
}

#else

int realm_posix_map_is_huge(const realm_posix_map *map) {
    (void)map;
    return 0;
}

realm_status realm_posix_map_move_to_huge(const realm_posix_map *map, size_t from, size_t bytes,
                                          size_t *next, realm_error *error) {
    (void)map;
    (void)from;
    (void)bytes;
    (void)next;
    return fail(error, REALM_STATUS_UNSUPPORTED, "only Linux has huge pages to move files into");
}

#endif

void realm_posix_unmap(realm_posix_map *map) {
    if (map != NULL && map->data != NULL) {
        realm_posix_release(NULL, map->data, map->bytes);
        map->data = NULL;
        map->bytes = 0;
    }
}

void realm_posix_release(void *ctx, const void *data, size_t bytes) {
    (void)ctx;
    if (data != NULL && bytes > 0) {
        unmap((void *)(uintptr_t)data, bytes);
    }
}
