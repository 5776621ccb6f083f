/* posix.c - the hosted port: every index runs exactly once, whoever calls and however often. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 /* sched_getcpu */
#endif
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <pthread.h>
#ifdef __linux__
#include <sched.h>
#endif
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "realm_posix.h"

#define INDICES 257u

typedef struct job {
    uint32_t runs[INDICES]; /* one byte per index would hide lost updates of neighbours */
} job;

static void count_run(void *task, uint32_t index) {
    job *j = (job *)task;
    (void)__atomic_fetch_add(&j->runs[index], 1u, __ATOMIC_RELAXED);
}

static void run_jobs(const realm_platform *platform, uint32_t jobs) {
    static const uint32_t counts[] = {0, 1, 2, 3, 16, INDICES};
    for (uint32_t i = 0; i < jobs; i++) {
        job j;
        const uint32_t count = counts[i % (sizeof counts / sizeof counts[0])];
        memset(&j, 0, sizeof j);
        platform->parallel_for(platform->ctx, count, count_run, &j);
        for (uint32_t k = 0; k < INDICES; k++) {
            CHECK(j.runs[k] == (k < count ? 1u : 0u));
        }
        if (i % 500 == 499) {
            /* Long enough for the workers to fall asleep. */
            const struct timespec nap = {0, 2000000};
            (void)nanosleep(&nap, NULL);
        }
    }
}

static void *run_jobs_thread(void *platform) {
    run_jobs((const realm_platform *)platform, 3000);
    return NULL;
}

static void test_pool(uint32_t width) {
    realm_posix_pool *pool = NULL;
    realm_error error = {0, ""};
    pthread_t other;
    CHECK_OK(realm_posix_pool_create(width, &pool, &error));
    const realm_platform *platform = realm_posix_pool_platform(pool);
    CHECK(platform->parallel_width(platform->ctx) == width);
    const uint32_t nowhere = UINT32_MAX, first = 0;
#ifdef __linux__
    /* One that this process may use: the pool then has all its threads on it, which must do no harm. */
    const int here = sched_getcpu();
    const uint32_t cpu = here < 0 ? 0 : (uint32_t)here;
    CHECK_OK(realm_posix_pool_pin(pool, &cpu, 1, &error));
#endif
    CHECK(realm_posix_pool_pin(pool, NULL, 1, NULL) < 0);
    CHECK(realm_posix_pool_pin(pool, &first, 0, NULL) < 0);
    CHECK(realm_posix_pool_pin(pool, &nowhere, 1, &error) < 0);
    CHECK(error.status == REALM_STATUS_INVALID_ARGUMENT || error.status == REALM_STATUS_UNSUPPORTED);
    run_jobs(platform, 3000);
    CHECK(pthread_create(&other, NULL, run_jobs_thread, (void *)(uintptr_t)platform) == 0);
    run_jobs(platform, 3000);
    CHECK(pthread_join(other, NULL) == 0);
    realm_posix_pool_destroy(pool);
}

static void test_platform(void) {
    const realm_platform *platform = realm_posix_platform();
    CHECK(platform->struct_size == sizeof *platform);
    CHECK(platform->abi_version == REALM_ABI_VERSION);
    CHECK(platform->parallel_for == NULL);
    for (size_t align = 1; align <= 4096; align *= 2) {
        void *p = platform->alloc(platform->ctx, align * 3 + 1, align);
        CHECK(p != NULL && (uintptr_t)p % align == 0);
        memset(p, 0xaa, align * 3 + 1);
        platform->free(platform->ctx, p, align * 3 + 1, align);
    }
    CHECK(platform->alloc(platform->ctx, SIZE_MAX / 2, 64) == NULL);
    const uint64_t first = platform->clock_ns(platform->ctx);
    CHECK(first > 0 && platform->clock_ns(platform->ctx) >= first);
}

enum { MOVED_BYTES = (11 << 20) + 12345 };

typedef struct moving {
    const unsigned char *data;
    uint32_t stop, wrong;
} moving;

static unsigned char moved_byte(size_t i) { return (unsigned char)(i * 2654435761u >> 13); }

static void *read_meanwhile(void *arg) {
    moving *m = (moving *)arg;
    for (size_t i = 0; __atomic_load_n(&m->stop, __ATOMIC_ACQUIRE) == 0; i += 4093) {
        const size_t at = i % MOVED_BYTES;
        m->wrong += m->data[at] != moved_byte(at);
    }
    return NULL;
}

/* A file of odd size, moved piece by piece, keeps its bytes and its address, also for who reads it
 * meanwhile. */
static void test_moving(void) {
    char path[] = "/tmp/realm-posix-XXXXXX";
    const int fd = mkstemp(path);
    unsigned char *bytes = (unsigned char *)malloc(MOVED_BYTES);
    realm_posix_map map = {NULL, 0};
    realm_error error = {0, ""};
    pthread_t reader;
    size_t from = 0;
    CHECK(fd >= 0 && bytes != NULL);
    for (size_t i = 0; i < MOVED_BYTES; i++) {
        bytes[i] = moved_byte(i);
    }
    CHECK(write(fd, bytes, MOVED_BYTES) == MOVED_BYTES && close(fd) == 0);
    CHECK_OK(realm_posix_map_file(path, &map, &error));
    CHECK(unlink(path) == 0);
    const void *address = map.data;
    moving m = {(const unsigned char *)map.data, 0, 0};
    CHECK(pthread_create(&reader, NULL, read_meanwhile, &m) == 0);
    CHECK(realm_posix_map_move_to_huge(NULL, 0, 1, &from, NULL) < 0);
    CHECK(realm_posix_map_move_to_huge(&map, 0, 1, NULL, NULL) < 0);
    realm_status status = REALM_STATUS_OK;
    for (int step = 1; from < map.bytes && status == REALM_STATUS_OK; step++) {
        status = realm_posix_map_move_to_huge(&map, from, 3u << 20, &from, &error);
        CHECK(status == REALM_STATUS_UNSUPPORTED || status == REALM_STATUS_OK);
        CHECK(status < 0 || from == (step < 4 ? (size_t)step * (3u << 20) : map.bytes));
        CHECK(memcmp(map.data, bytes, MOVED_BYTES) == 0);
    }
    if (status < 0) {
        printf("skipped: moving a file: %s\n", error.message);
    } else {
        CHECK(realm_posix_map_move_to_huge(&map, map.bytes, 1, &from, NULL) == 0 && from == map.bytes);
        CHECK(realm_posix_map_move_to_huge(&map, map.bytes + 1, 1, &from, NULL) < 0);
        CHECK(realm_posix_map_move_to_huge(&map, 0, 0, &from, NULL) < 0);
    }
    __atomic_store_n(&m.stop, 1u, __ATOMIC_RELEASE);
    CHECK(pthread_join(reader, NULL) == 0);
    CHECK(m.wrong == 0);
    CHECK(map.data == address && memcmp(map.data, bytes, MOVED_BYTES) == 0);
    (void)realm_posix_map_is_huge(&map);
    realm_posix_unmap(&map);
    free(bytes);
}

/* What is said of a file that cannot be mapped: one line of UTF-8 with the path's end and the reason. */
static void test_messages(void) {
    static const char directory[] = "/tmp/realm-posix-\xc3\xa9\xff\xe2\x82";
    realm_posix_map map = {NULL, 0};
    realm_error error = {0, ""};
    char path[3000];
    CHECK(realm_posix_map_file("", &map, &error) == REALM_STATUS_NOT_FOUND);
    CHECK(strstr(error.message, "path") != NULL && strstr(error.message, "empty") != NULL);
    CHECK(realm_posix_map_file(NULL, &map, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(strcmp(error.message, "path is NULL") == 0);
    CHECK(realm_posix_map_file("a", NULL, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(strcmp(error.message, "out is NULL") == 0);
    /* What is not UTF-8, or a control character of it, is shown as '?'. */
    CHECK(realm_posix_map_file(directory, &map, &error) == REALM_STATUS_NOT_FOUND);
#ifndef _WIN32
    CHECK(strncmp(error.message, "cannot open /tmp/realm-posix-\xc3\xa9???: ", 36) == 0);
#endif
    CHECK(realm_posix_map_file("/no\xc2\x85\xed\xa0\x80\xf0\x90\x80\x80such", &map, &error) == REALM_STATUS_NOT_FOUND);
#ifndef _WIN32
    CHECK(strncmp(error.message, "cannot open /no?????\xf0\x90\x80\x80such: ", 28) == 0);
    CHECK(realm_posix_map_file("/dev/null/x", &map, &error) == REALM_STATUS_NOT_FOUND);
#endif
    /* Of a long path the end is there, from the beginning of a character on, and what is wrong with it. */
    for (size_t bytes = 100; bytes < sizeof path - 3; bytes += bytes < 300 ? 1 : 271) {
        memset(path, '\xc3', bytes);
        for (size_t i = 2; i < bytes; i += 2) {
            path[i] = '\xa4';
        }
        memcpy(path, "/", 1);
        memcpy(path + bytes - bytes % 2 - 1, "/x", 3);
        CHECK(realm_posix_map_file(path, &map, &error) < 0 && map.data == NULL);
        const char *end = strstr(error.message, "/x: ");
        CHECK(end != NULL && strlen(end) > 8 && strlen(error.message) + 1 < sizeof error.message);
        CHECK(strchr(error.message, '?') == NULL);
        CHECK((strstr(error.message, "...\xc3\xa4") != NULL) == (strlen(path) > 120));
    }
}

static void test_files(const char *self) {
    realm_posix_map map = {NULL, 0};
    realm_error error = {0, ""};
    CHECK_OK(realm_posix_map_file(self, &map, &error));
#ifdef _WIN32
    CHECK(map.bytes > 2 && memcmp(map.data, "MZ", 2) == 0);
#else
    CHECK(map.bytes > 4 && memcmp(map.data, "\177ELF", 4) == 0);
#endif
    realm_posix_unmap(&map);
    CHECK(map.data == NULL && map.bytes == 0);
    realm_posix_unmap(&map);
    realm_posix_unmap(NULL);
    CHECK(realm_posix_map_file("/no/such\nfile", &map, &error) == REALM_STATUS_NOT_FOUND);
    CHECK(error.status == REALM_STATUS_NOT_FOUND && strchr(error.message, '\n') == NULL);
    CHECK(realm_posix_map_file("/", &map, &error) == REALM_STATUS_IO);
    CHECK(realm_posix_map_file("/dev/null", &map, NULL) == REALM_STATUS_IO);
    CHECK(realm_posix_map_file(NULL, &map, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(map.data == NULL);
    CHECK(realm_posix_map_is_huge(NULL) == 0 && realm_posix_map_is_huge(&map) == 0);
    test_messages();
    test_moving();
}

int main(int argc, char **argv) {
    realm_posix_pool *pool = NULL;
    (void)argc;
    (void)alarm(120); /* a lost wake-up must fail, not hang */
    test_platform();
    test_files(argv[0]);
    CHECK(realm_posix_pool_create(0, &pool, NULL) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_posix_pool_create(1u << 20, &pool, NULL) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(pool == NULL);
    realm_posix_pool_destroy(NULL);
    test_pool(1);
    test_pool(2);
    test_pool(5);
    return 0;
}
