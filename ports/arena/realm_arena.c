/* realm_arena.c - see realm_arena.h. */
#include "realm_arena.h"

#include <stdint.h>

/* A free place, described by its own first bytes. */
typedef struct realm_arena_gap {
    struct realm_arena_gap *next;
    size_t bytes;
} gap;

/* Every block and every gap is a multiple of this long and begins at one, so that a gap has room for its description. */
#define GRAIN sizeof(gap)

static uintptr_t round_up(uintptr_t n, size_t to) { return (n + to - 1) & ~(uintptr_t)(to - 1); }

void realm_arena_init(realm_arena *arena, void *memory, size_t bytes) {
    const uintptr_t at = round_up((uintptr_t)memory, GRAIN);
    const size_t lost = (size_t)(at - (uintptr_t)memory);
    arena->memory = (unsigned char *)memory + lost;
    arena->bytes = bytes > lost ? (bytes - lost) & ~(GRAIN - 1) : 0;
    arena->used = arena->high_water = arena->live = arena->refused = 0;
    arena->gaps = NULL;
    if (arena->bytes > 0) {
        arena->gaps = (gap *)(void *)arena->memory;
        arena->gaps->next = NULL;
        arena->gaps->bytes = arena->bytes;
    }
}

void *realm_arena_alloc(void *ctx, size_t bytes, size_t align) {
    realm_arena *arena = (realm_arena *)ctx;
    gap **link = &arena->gaps;
    if (align < GRAIN) align = GRAIN;
    if (bytes == 0) bytes = 1;
    if (bytes > arena->bytes) {
        arena->refused++;
        return NULL;
    }
    bytes = (size_t)round_up(bytes, GRAIN);
    for (; *link != NULL; link = &(*link)->next) {
        gap *here = *link;
        unsigned char *begin = (unsigned char *)here;
        const size_t before = (size_t)(round_up((uintptr_t)here, align) - (uintptr_t)here);
        size_t after, end;
        if (here->bytes < before || here->bytes - before < bytes) continue;
        /* What is left before and behind stays free. */
        after = here->bytes - before - bytes;
        begin += before;
        if (after > 0) {
            gap *rest = (gap *)(void *)(begin + bytes);
            rest->next = here->next;
            rest->bytes = after;
            here->next = rest;
        }
        if (before > 0) {
            here->bytes = before;
        } else {
            *link = here->next;
        }
        arena->used += bytes;
        arena->live++;
        end = (size_t)(begin - arena->memory) + bytes;
        if (end > arena->high_water) arena->high_water = end;
        return begin;
    }
    arena->refused++;
    return NULL;
}

void realm_arena_free(void *ctx, void *memory, size_t bytes, size_t align) {
    realm_arena *arena = (realm_arena *)ctx;
    gap *made = (gap *)memory, *before = NULL, *behind = arena->gaps;
    (void)align;
    bytes = (size_t)round_up(bytes == 0 ? 1 : bytes, GRAIN);
    while (behind != NULL && (uintptr_t)behind < (uintptr_t)made) {
        before = behind;
        behind = behind->next;
    }
    made->bytes = bytes;
    made->next = behind;
    if (behind != NULL && (unsigned char *)made + bytes == (unsigned char *)behind) {
        made->bytes += behind->bytes;
        made->next = behind->next;
    }
    if (before == NULL) {
        arena->gaps = made;
    } else if ((unsigned char *)before + before->bytes == (unsigned char *)made) {
        before->bytes += made->bytes;
        before->next = made->next;
    } else {
        before->next = made;
    }
    arena->used -= bytes;
    arena->live--;
}
