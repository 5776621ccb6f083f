/* program.h - one kernel that interprets a step's launches: blocks stay, and a barrier over all of them stands where one launch ends and the next
 * begins. For steps of one row, whose launches are short. It wants all of its blocks to be resident (a cooperative launch), which Metal does not
 * have.
 */
#ifndef REALM_GPU_PROGRAM_H
#define REALM_GPU_PROGRAM_H

#include "fused.h"

#if !defined(__METAL_VERSION__)

/* Those that it knows, in the order of their numbers; persist.rs has the same list. The products of several rows, and what several rows attend
 * with, would take the registers that the others need. */
#define FOR_EACH_CALL(X)                                                                                                        \
    X(add) X(mul) X(div) X(scale) X(softcap) X(unary) X(glu) X(swiglu_oai) X(mask) X(cpy) X(view_cols) X(concat) X(gather)      \
    X(weighted_sum) X(ssm_conv) X(rope) X(rms_norm) X(norm) X(sum_rows) X(soft_max) X(logsumexp) X(argmax) X(top_k)             \
    X(logit_bias) X(penalties) X(ssm_scan) X(quantize_32) X(quantize_256) X(append_f32) X(append_f16) X(append_q8_0)            \
    X(attend_merge) X(rms_norm_quantize_32) X(rms_norm_quantize_256) X(glu_quantize_32) X(glu_quantize_256)                     \
    X(rope_append_f32) X(rope_append_f16) X(attend_part_f32) X(attend_part_f16) X(attend_part_q8_0)                             \
    FOR_EACH_TYPE(CALLS_OF_TYPE)
#define CALLS_OF_TYPE(T, name) X(get_rows_##name) X(mul_mat_vec_##name) X(mul_mat_id_##name)

enum {
#define X(name) CALL_##name,
    FOR_EACH_CALL(X)
#undef X
    CALLS
};

struct Call {
    u32 kernel, op;
};

/* Functions that are called, each with registers of its own: all of them in one, the compiler would spill. */
#if defined(__CUDACC__)
#define X(name) \
    static __device__ __noinline__ void name##_called(KERNEL_ARGS) { name##_body(KERNEL_PASS); }
#else
#define X(name) \
    static void name##_called(KERNEL_ARGS) { name##_body(KERNEL_PASS); }
#endif
FOR_EACH_CALL(X)
#undef X

DEVICE void call(u32 kernel, KERNEL_ARGS) {
    switch (kernel) {
#define X(name) \
    case CALL_##name: name##_called(KERNEL_PASS); break;
        FOR_EACH_CALL(X)
#undef X
    }
}

/* A launch, by one block: the steps of a batch one after the other. */
DEVICE void interpret(const Op *ops, const Call *one, const Step *first, u32 steps, Block b, float *shared) {
    for (u32 i = 0; i < steps; i++) {
        call(one->kernel, ops + one->op, STEP_OF(first, i), b, shared);
        BARRIER();
    }
}

#if defined(__CUDACC__)
/* All blocks have come here `turns` times, and what they have written is seen by all. */
DEVICE void all_blocks(const Step *first, u32 turns) {
    __syncthreads();
    if (threadIdx.x == 0) {
        u32 *arrived = (u32 *)&first->arrived, seen;
        __threadfence();
        atomicAdd(arrived, 1u);
        do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(arrived) : "memory");
        while (seen < turns * gridDim.x);
        __threadfence();
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    realm_program(const Op *ops, const Call *calls, u32 count, const Step *first, u32 steps) {
    __shared__ __align__(16) float shared[SHARED_FLOATS];
    const Block b = {threadIdx.x, blockIdx.x, gridDim.x, 0};
    for (u32 i = 0; i < count; i++) {
        if (i > 0) all_blocks(first, i);
        interpret(ops, calls + i, first, steps, b, shared);
    }
}
#endif

#endif
#endif
