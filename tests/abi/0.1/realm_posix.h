/* realm_posix.h - the hosted port: what a POSIX system, or Windows, gives to Realm.
 *
 * The library's core knows nothing of operating systems; this port fills its platform table from
 * POSIX (or Win32) and adds two things that every hosted program wants: files mapped into memory, and a pool
 * of threads. Nothing here starts a thread unless realm_posix_pool_create is called.
 *
 * A program that brings its own allocator or job system does not need this header. What realm.h says
 * of ownership, threads and errors holds here too.
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
 * Valid until the library is unloaded.
 *
 * Threads: any, at any time.
 *
 * Returns a constant table, never NULL.
 */
const realm_platform *realm_posix_platform(void);

/* A pool of threads that work is spread over. */
typedef struct realm_posix_pool realm_posix_pool;

/* Starts the threads of a pool. Idle ones spin for some microseconds, because the next piece of work
 * usually follows at once, and then sleep until there is work. They block all signals.
 *
 * `thread_count`: 1 to 1024. One thread less is started: that which calls parallel_for is the last.
 * `out` receives the pool. Owns: the caller, until `realm_posix_pool_destroy`.
 *
 * Threads: any, at any time.
 *
 * Returns `INVALID_ARGUMENT` for another count or a NULL, `NO_MEMORY` if a thread cannot be started.
 */
realm_status realm_posix_pool_create(uint32_t thread_count, realm_posix_pool **out,
                                     realm_error *error);

/* Binds the pool's own threads to processors: thread i to cpus[i % cpu_count]. The thread that polls
 * is the program's and is left where it is. May be called again; before work starts it costs least.
 *
 * `pool`: not NULL.
 * `cpus`, `cpu_count`: numbers of processors, as the system counts them, and how many; at least one.
 * Not needed afterwards.
 *
 * Threads: any, at any time.
 *
 * Returns `INVALID_ARGUMENT` for a NULL, an empty list or a processor that this process may not use
 * (some threads may be bound then), `UNSUPPORTED`, whatever the arguments, on systems other than Linux.
 */
realm_status realm_posix_pool_pin(realm_posix_pool *pool, const uint32_t *cpus, size_t cpu_count,
                                  realm_error *error);

/* Stops and joins the pool's threads. No session that was opened through its platform may still exist.
 *
 * `pool`: NULL is fine; nothing happens.
 *
 * Threads: any but the pool's own; no other thread may be using the pool.
 */
void realm_posix_pool_destroy(realm_posix_pool *pool);

/* `realm_posix_platform` with a parallel_for that runs on the pool. Callers on different threads take
 * turns. A task must not call parallel_for itself.
 *
 * `pool`: NULL is fine, and gives `realm_posix_platform`.
 *
 * Valid until the pool is destroyed.
 *
 * Threads: any, at any time.
 *
 * Returns the table, never NULL.
 */
const realm_platform *realm_posix_pool_platform(realm_posix_pool *pool);

/* A file in memory, read-only. */
typedef struct realm_posix_map {
    const void *data; /* The first byte, page-aligned. NULL once unmapped. */
    size_t bytes;     /* The file's size; 0 once unmapped. */
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
 * `path`: NUL-terminated, as the system has it; not needed afterwards.
 * `out` receives the map.
 *
 * Owns: the caller, until `realm_posix_unmap`; or who passes its bytes to `realm_model_register` with
 * `realm_posix_release` no longer unmaps it: the library does when the model's last user is gone, and
 * at once if it has the same bytes already.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND`, `IO` (also for what is no regular file, or empty), `NO_MEMORY`,
 * `INVALID_ARGUMENT` for a NULL.
 */
realm_status realm_posix_map_file(const char *path, realm_posix_map *out, realm_error *error);

/* Whether the file lies in huge pages. Of a file of more than 64 MiB, 2 MiB in each of 16 places are
 * brought in first, so that it can be asked just after mapping; of a smaller one only what has been
 * used counts. Costs a pass over the process's page tables, and reading where the file is not in memory.
 *
 * `map`: a file that is still mapped, or NULL.
 *
 * Threads: any, at any time while the file is mapped.
 *
 * Returns 1 if about all of what is resident of it does; else 0, also for NULL, and where the system
 * does not say: only Linux does.
 */
int realm_posix_map_is_huge(const realm_posix_map *map);

/* Replaces a part of a mapped file by a copy in huge pages at the same addresses: the pages of 2 MiB
 * that begin in the part and do not end behind the file.
 *
 * `map`: a file that is still mapped: what it has been registered as must not be released meanwhile.
 * `from`, `bytes`: where the part begins, 0 for the first, and how long it is; not 0.
 * `next` receives where the next part begins; the file's size when all is done.
 *
 * Pointers into the file stay good, also in other threads that read it meanwhile. The process then
 * has that memory for itself, in huge pages as far as the system has some free. Costs from 0.2 ms
 * per MiB on (more where memory is short or the file is not cached), and one more mapping per call,
 * of which Linux gives a process 65530. So a program may load in no time and move a part between any
 * two tokens.
 *
 * Threads: one at a time for a file.
 *
 * Returns `UNSUPPORTED` if the system has no huge pages of 2 MiB (only Linux does, with transparent huge
 * pages on "madvise" or "always"), `NO_MEMORY`, `INVALID_ARGUMENT`; the file then reads as before.
 */
realm_status realm_posix_map_move_to_huge(const realm_posix_map *map, size_t from, size_t bytes,
                                          size_t *next, realm_error *error);

/* Unmaps a file, and clears the map.
 *
 * `map`: NULL and an already cleared one are fine; nothing happens.
 *
 * Threads: any; no other thread may be using the file.
 */
void realm_posix_unmap(realm_posix_map *map);

/* A `realm_release_fn` that unmaps a file.
 *
 * `ctx`: not used.
 * `data`, `bytes`: what `realm_posix_map_file` gave.
 *
 * Threads: any; no other thread may be using the file.
 */
void realm_posix_release(void *ctx, const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif /* REALM_POSIX_H */
