/* emulated.cpp - the kernels compiled for the host: blocks one after the other, a block's threads as loops. For tests. */
#include "program.h"

/* A kernel, by its name; 0: there is none. */
extern "C" u64 realm_gpu_find(const char *name) {
    for (Entry *e = entries; e; e = e->next)
        if (std::strcmp(e->name, name) == 0) return (u64)(uintptr_t)e;
    return 0;
}

/* Runs it over so many blocks of so many steps. */
extern "C" void realm_gpu_emulate(u64 kernel, u64 ops, u32 index, u64 first, u32 blocks, u32 steps) {
    for (u32 i = 0; i < blocks * steps; i++) {
        alignas(16) float shared[SHARED_FLOATS];
        std::memset(shared, 0xff, sizeof shared); /* what a block finds there is nothing to rely on */
        const Step *step = STEP_OF(ADDRESS(const Step, first), i / blocks);
        ADDRESS(const Entry, kernel)->run(ADDRESS(const Op, ops) + index, step, Block{0, i % blocks, blocks, i / blocks}, shared);
    }
}

/* Interprets launches as the kernel of program.h does: to a barrier, all blocks come before one goes on. */
extern "C" void realm_gpu_interpret(u64 ops, u64 calls, u32 count, u64 first, u32 blocks, u32 steps) {
    for (u32 i = 0; i < count * blocks; i++) {
        alignas(16) float shared[SHARED_FLOATS];
        std::memset(shared, 0xff, sizeof shared);
        const Block b = {0, i % blocks, blocks, 0};
        interpret(ADDRESS(const Op, ops), ADDRESS(const Call, calls) + i / blocks, ADDRESS(const Step, first), steps, b, shared);
    }
}

/* The name of the kernel that has a number there; 0: there is none. */
extern "C" const char *realm_gpu_call_name(u32 number) {
#define X(name) "realm_" #name,
    static const char *const names[CALLS] = {FOR_EACH_CALL(X)};
#undef X
    return number < CALLS ? names[number] : 0;
}

/* Sizes of what the host hands over, for a test of them. */
extern "C" void realm_gpu_sizes(u32 sizes[4]) {
    const u32 all[4] = {sizeof(Operand), sizeof(Op), sizeof(Step), sizeof(Turn)};
    std::memcpy(sizes, all, sizeof all);
}
