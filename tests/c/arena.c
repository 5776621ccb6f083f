/* arena.c - ports/arena: blocks never overlap, come back whole, and an arena of its high-water mark is enough. */
#include "realm_arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define BLOCKS 200
#define STEPS 20000

typedef struct block {
    unsigned char *memory;
    size_t bytes, align;
    unsigned char mark;
} block;

static uint32_t random_state;

static uint32_t random_number(uint32_t below) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

/* The same calls for the same arena size or a larger one; returns how many were refused. */
static size_t churn(realm_arena *arena, unsigned char *memory, size_t bytes) {
    static block blocks[BLOCKS];
    size_t i, step;
    memset(blocks, 0, sizeof blocks);
    random_state = 7;
    realm_arena_init(arena, memory, bytes);
    for (step = 0; step < STEPS; step++) {
        block *b = &blocks[random_number(BLOCKS)];
        const size_t want = random_number(4) == 0 ? random_number(20000) : random_number(200);
        const size_t align = (size_t)1 << random_number(8);
        if (b->memory != NULL) {
            for (i = 0; i < b->bytes; i++) CHECK(b->memory[i] == b->mark);
            realm_arena_free(arena, b->memory, b->bytes, b->align);
            b->memory = NULL;
            continue;
        }
        b->memory = realm_arena_alloc(arena, want, align);
        b->bytes = want;
        b->align = align;
        b->mark = (unsigned char)step;
        if (b->memory == NULL) continue;
        CHECK((uintptr_t)b->memory % align == 0);
        CHECK(b->memory >= memory && b->memory + want <= memory + bytes);
        memset(b->memory, b->mark, want);
    }
    for (i = 0; i < BLOCKS; i++)
        if (blocks[i].memory != NULL) realm_arena_free(arena, blocks[i].memory, blocks[i].bytes, blocks[i].align);
    CHECK(arena->live == 0 && arena->used == 0);
    return arena->refused;
}

int main(void) {
    const size_t bytes = (size_t)4 << 20;
    unsigned char *memory = malloc(bytes + 4096), *begin = (unsigned char *)(((uintptr_t)memory + 4095) & ~(uintptr_t)4095);
    realm_arena arena;
    size_t enough;
    CHECK(memory != NULL);

    CHECK(churn(&arena, begin, bytes) == 0);
    enough = arena.high_water;
    CHECK(enough > 0 && enough < bytes);
    /* All of it is one piece again. */
    CHECK(realm_arena_alloc(&arena, arena.bytes, 1) == arena.memory);
    CHECK(realm_arena_alloc(&arena, 1, 1) == NULL && arena.refused == 1);
    realm_arena_free(&arena, arena.memory, arena.bytes, 1);

    CHECK(churn(&arena, begin, enough) == 0 && arena.high_water == enough);
    CHECK(churn(&arena, begin, enough - 2 * sizeof(void *)) > 0);
    CHECK(churn(&arena, begin + 3, 100000) > 0); /* crooked, and much too small */

    realm_arena_init(&arena, begin, 0);
    CHECK(realm_arena_alloc(&arena, 1, 1) == NULL);
    realm_arena_init(&arena, begin, 4096);
    CHECK(realm_arena_alloc(&arena, SIZE_MAX, 64) == NULL && realm_arena_alloc(&arena, SIZE_MAX - 1, 1) == NULL);
    free(memory);
    return 0;
}
