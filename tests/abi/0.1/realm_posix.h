/* realm_posix.h - the hosted port: what a POSIX system, or Windows, gives to Realm.
 *
 * The library's core knows nothing of operating systems; this port fills its platform table from
 * POSIX (or Win32) and adds two things that every hosted program wants: files mapped into memory, and a pool
 * of threads. Nothing here starts a thread unless realm_posix_pool_create is called.
 *
 * A program that brings its own allocator or job system does not need this header.
 */
#ifndef REALM_POSIX_H
#define REALM_POSIX_H

#include "realm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The calling process's platform: aligned memory from the C library, CLOCK_MONOTONIC, and a log
 * that writes errors and warnings to stderr, one line each. It has no parallel_for, so all work
 * is done by the thread that polls.
 *
 * Owns: nothing; the table is constant. Threads: any.
 */
const realm_platform *realm_posix_platform(void);

/* A pool of threads that work is spread over. */
typedef struct realm_posix_pool realm_posix_pool;

/* Starts `thread_count` - 1 threads; the thread that calls parallel_for is the last one.
 *
 * `thread_count` is 1 to 1024. Idle threads spin for some microseconds, because the next piece of
 * work usually follows at once, and then sleep until there is work. They block all signals.
 *
 * Owns: the caller destroys *out. Threads: any.
 * Returns: REALM_STATUS_INVALID_ARGUMENT for another count or a NULL, or REALM_STATUS_NO_MEMORY if
 * a thread cannot be started.
 */
realm_status realm_posix_pool_create(uint32_t thread_count, realm_posix_pool **out,
                                     realm_error *error);

/* Binds the pool's own threads to processors: thread i to cpus[i % cpu_count]. The thread that polls
 * is the program's and is left where it is. May be called again; before work starts it costs least.
 *
 * Threads: any. Returns: REALM_STATUS_INVALID_ARGUMENT for a NULL, an empty list or a processor that
 * this process may not use (some threads may be bound then), REALM_STATUS_UNSUPPORTED, whatever the
 * arguments, on systems other than Linux. `cpus` is not needed afterwards.
 */
realm_status realm_posix_pool_pin(realm_posix_pool *pool, const uint32_t *cpus, size_t cpu_count,
                                  realm_error *error);

/* Stops and joins the pool's threads. NULL is allowed. No session that was opened through its
 * platform may still exist. */
void realm_posix_pool_destroy(realm_posix_pool *pool);

/* realm_posix_platform() with a parallel_for that runs on the pool; without one for NULL.
 *
 * Callers on different threads take turns. A task must not call parallel_for itself.
 *
 * Valid until: the pool is destroyed. Threads: any.
 */
const realm_platform *realm_posix_pool_platform(realm_posix_pool *pool);

/* A file in memory, read-only. */
typedef struct realm_posix_map {
    const void *data; /* page-aligned */
    size_t bytes;     /* never 0 */
} realm_posix_map;

/* Maps a regular, non-empty file read-only.
 *
 * Costs no memory of the process's own, starts at once, and is shared with other processes. What the
 * system keeps of the file in small pages is read more slowly than from huge ones, by up to a third,
 * and decoding is mostly reading: realm_posix_map_is_huge tells, realm_posix_map_move_to_huge helps.
 * (Linux has huge pages of a file that it reads from now on, if the file system can; not of one that
 * has just been written.)
 *
 * The file must not be truncated while it is mapped: reading past its new end raises SIGBUS.
 *
 * Owns: the caller unmaps *out, or passes its bytes to realm_model_register with realm_posix_release
 * and then no longer unmaps it: the library does when the model's last user is gone, and at once if
 * it has the same bytes already. Threads: any. Returns: REALM_STATUS_NOT_FOUND, REALM_STATUS_IO,
 * REALM_STATUS_NO_MEMORY, or REALM_STATUS_INVALID_ARGUMENT for a NULL.
 */
realm_status realm_posix_map_file(const char *path, realm_posix_map *out, realm_error *error);

/* Whether the file lies in huge pages: 1 if about all of what is resident of it does. Of a file of
 * more than 64 MiB, 2 MiB in each of 16 places are brought in first, so that it can be asked just
 * after mapping; of a smaller one only what has been used counts. 0 also for NULL, and where the
 * system does not say: only Linux does.
 *
 * Costs a pass over the process's page tables, and reading where the file is not in memory. Valid
 * while the file is mapped. Threads: any.
 */
int realm_posix_map_is_huge(const realm_posix_map *map);

/* Replaces a part of a mapped file, from byte `from` on, by a copy in huge pages at the same
 * addresses: the pages of 2 MiB that begin in the next `bytes` bytes (not 0) and do not end behind
 * the file. `*next` is where the next part begins; the file's size when all is done.
 *
 * Pointers into the file stay good, also in other threads that read it meanwhile. The process then
 * has that memory for itself, in huge pages as far as the system has some free. Costs from 0.2 ms
 * per MiB on (more where memory is short or the file is not cached), and one more mapping per call,
 * of which Linux gives a process 65530. So a program may load in no time and move a part between any
 * two tokens.
 *
 * Valid while the file is mapped: what it has been registered as must not be released meanwhile.
 * Threads: any, one at a time for a file. Returns: REALM_STATUS_UNSUPPORTED if the system has no huge
 * pages of 2 MiB (only Linux does, with transparent huge pages on "madvise" or "always"),
 * REALM_STATUS_NO_MEMORY, REALM_STATUS_INVALID_ARGUMENT; the file then reads as before.
 */
realm_status realm_posix_map_move_to_huge(const realm_posix_map *map, size_t from, size_t bytes,
                                          size_t *next, realm_error *error);

/* Unmaps and clears *map. NULL and an already cleared map are allowed. */
void realm_posix_unmap(realm_posix_map *map);

/* A realm_release_fn that unmaps `data`; `ctx` is not used. */
void realm_posix_release(void *ctx, const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif /* REALM_POSIX_H */
