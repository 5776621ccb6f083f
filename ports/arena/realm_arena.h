/* realm_arena.h - one buffer as all the memory that Realm gets: for firmware, and for hosts that budget to the byte.
 *
 *     static realm_arena arena;
 *     realm_arena_init(&arena, memory, sizeof memory);
 *     platform.ctx = &arena;
 *     platform.alloc = realm_arena_alloc;
 *     platform.free = realm_arena_free;
 *
 * The library says the size of what it gives back, so blocks need no headers: what is asked for is what is used, but for
 * rounding up to two words. Of the free places the lowest that fits is taken. So an arena of `high_water` bytes, aligned alike, would
 * have been enough for the same sequence of calls, and nothing that happened would have been different.
 *
 * An arena has no lock. One that several threads use is wrapped in the host's lock; one that interrupt handlers use too is
 * a mistake, because a call takes as long as there are free places before the one that fits.
 */
#ifndef REALM_ARENA_H
#define REALM_ARENA_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An arena. Fields are for reading. */
typedef struct realm_arena {
    unsigned char *memory; /* where it begins, aligned to two words */
    size_t bytes;          /* its size from there on */
    size_t used;           /* bytes in use, rounding included */
    size_t high_water;     /* the end of the highest byte that was ever in use, from `memory` on */
    size_t live;           /* blocks in use */
    size_t refused;        /* calls that got NULL */
    struct realm_arena_gap *gaps; /* free places, by ascending address */
} realm_arena;

/* Makes an arena of `bytes` bytes at `memory`, which is the arena's until nothing is live any more. Any alignment; what the
 * first allocations' alignment skips is lost to others only where it is less than two words. */
void realm_arena_init(realm_arena *arena, void *memory, size_t bytes);

/* `realm_platform.alloc`: `arena` is the arena, `align` a power of two. NULL if there is no place that fits. */
void *realm_arena_alloc(void *arena, size_t bytes, size_t align);

/* `realm_platform.free`: with the same `bytes` as were asked for. */
void realm_arena_free(void *arena, void *memory, size_t bytes, size_t align);

#ifdef __cplusplus
}
#endif

#endif /* REALM_ARENA_H */
