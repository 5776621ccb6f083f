/* fused.h - what several operations in a row are, where one launch does them (fuse.rs says when). Each gives the bits of the operations alone, and
 * writes all that they write.
 */
#ifndef REALM_GPU_FUSED_H
#define REALM_GPU_FUSED_H

#include "attention.h"

/* RMS_NORM of whole rows, and their rounding for the products behind it, whose prepared rows have `op->extra` bytes. */
template <u32 LEN> DEVICE void rms_norm_quantize(KERNEL_ARGS) {
    const u32 k = op->dst.cols, blocks = k / LEN;
    FOR_BLOCKS(row, ROWS) {
        rms_norm_group(KERNEL_PASS, row);
        BARRIER();
        GLOBAL const float *y = FLOATS(op->dst);
        for (u32 base = 0; base < blocks; base += WARPS) quantize_blocks<LEN>(KERNEL_PASS, y, k, row * blocks + base, (row + 1) * blocks);
    }
}
KERNEL(rms_norm_quantize_32) { rms_norm_quantize<32>(KERNEL_PASS); }
KERNEL(rms_norm_quantize_256) { rms_norm_quantize<256>(KERNEL_PASS); }

/* GLU, and the rounding of its result. A lane rounds the elements that it has computed. */
template <u32 LEN> DEVICE void glu_quantize(KERNEL_ARGS) {
    const u32 k = op->dst.cols, count = ROWS * (k / LEN);
    FOR_WARPS(base, count) {
        FOR_THREADS(t) {
            const u32 u = (u32)base + t / WARP;
            if (u < count)
                for (u32 i = u * LEN + t % WARP; i < (u + 1) * LEN; i += WARP)
                    FLOATS(op->dst)[i] = activate(op->param[0], FLOATS(op->src[0])[i]) * FLOATS(op->src[1])[i];
        }
        GLOBAL const float *y = FLOATS(op->dst);
        quantize_blocks<LEN>(KERNEL_PASS, y, k, (u32)base, count);
    }
}
KERNEL(glu_quantize_32) { glu_quantize<32>(KERNEL_PASS); }
KERNEL(glu_quantize_256) { glu_quantize<256>(KERNEL_PASS); }

/* ROPE of queries and of keys, and the keys and values into the cache: three records. Whoever has turned a key's elements appends them. */
template <class E> DEVICE void rope_append(KERNEL_ARGS) {
    GLOBAL const Op *keys = op + 1, *kv = op + 2;
    const u32 rows = ROWS, values = kv->src[3].depth * kv->src[3].rows;
    const u32 first = rows * op->dst.cols, second = first + rows * keys->dst.cols;
    FOR_EACH(i, second + rows * values) {
        if (i < first) turn(op, step, i);
        else if (i < second) {
            const Turned done = turn(keys, step, i - first);
            for (u32 j = 0; j < done.count; j++) append_one<E>(kv, step, (i - first) / keys->dst.cols, true, done.at[j]);
        } else append_one<E>(kv, step, (i - second) / values, false, (i - second) % values);
    }
}
KERNEL(rope_append_f32) { rope_append<F32>(KERNEL_PASS); }
KERNEL(rope_append_f16) { rope_append<F16>(KERNEL_PASS); }

#endif
