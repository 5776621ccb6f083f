/* products.h - rows of a table, and products with weights: the simple kernels, a warp for each row of the weights.
 *
 * The input of a product with quantized weights is rounded to signed bytes first, in the blocks that the reference has
 * (realm-sys/src/graph/kernels/matmul.rs), so a product differs from the reference's by the order of its sum only.
 */
#ifndef REALM_GPU_PRODUCTS_H
#define REALM_GPU_PRODUCTS_H

#include "rows.h"
#include "types.h"

template <class T> DEVICE void get_rows(KERNEL_ARGS) {
    const u32 cols = op->dst.cols, groups = (cols + 7) / 8, first = dim(step, op->param[0]);
    const bool ids = op->src[1].kind != NONE;
    FOR_EACH(i, ROWS * groups) {
        const u32 row = i / groups, g = i % groups;
        const u32 id = ids ? (u32)INTS(op->src[1])[first + row] : first + row;
        if (id >= op->src[0].rows) {
            fail(step);
            continue;
        }
        float y[8];
        Reader<T>::eight(BYTES(op->src[0]) + (u64)id * op->src[0].row_bytes, g, cols, y);
        for (u32 j = 0; j < 8 && 8 * g + j < cols; j++) FLOATS(op->dst)[row * cols + 8 * g + j] = y[j];
    }
}

/* A prepared row: `k` signed bytes, then a float for every 32 of them, also where a block is longer; `op->extra` bytes in all. */
DEVICE GLOBAL u8 *prepared(GLOBAL const Op *op, GLOBAL const Step *step) {
    return ADDRESS(u8, step->workspace + WORKSPACE_HEAD);
}

/* A block of LEN elements to a warp. What cannot be scaled is 0, what is not finite makes the scale a NaN. */
template <u32 LEN> DEVICE void quantize(KERNEL_ARGS) {
    const u32 k = op->src[0].cols, blocks = k / LEN;
    const u32 count = ROWS * (op->src[1].cols / k) * blocks;
    FOR_WARPS(base, count) {
        PRIVATE(u64, top);
        FOR_THREADS(t) {
            const u32 u = (u32)base + t / WARP;
            OF(top, t) = 0;
            if (u < count)
                for (u32 i = t % WARP; i < LEN; i += WARP)
                    OF(top, t) = Best::of(OF(top, t), (u64)(bits_of(FLOATS(op->src[1])[u * LEN + i]) & 0x7fffffffu));
        }
        warp_reduce<Best, u64>(top);
        FOR_THREADS(t) {
            const u32 u = (u32)base + t / WARP;
            if (u >= count) continue;
            GLOBAL u8 *row = prepared(op, step) + (u64)(u / blocks) * op->extra;
            GLOBAL float *scales = (GLOBAL float *)(row + k) + u % blocks * (LEN / 32);
            const u32 most = (u32)OF(top, t);
            const float d = float_of(most) / 127.0f;
            const bool none = most >= 0x7f800000u || d < float_of(0x00800000u);
            const float inverse = none ? 0.0f : 1.0f / d;
            for (u32 i = t % WARP; i < LEN; i += WARP) {
                const float x = FLOATS(op->src[1])[u * LEN + i];
                row[u % blocks * LEN + i] = none ? 0 : (u8)bits_of(x * inverse + ROUND);
            }
            if (t % WARP < LEN / 32) scales[t % WARP] = most >= 0x7f800000u ? nan_() : none ? 0.0f : d;
        }
    }
}

KERNEL(quantize_32) { quantize<32>(KERNEL_PASS); }
KERNEL(quantize_256) { quantize<256>(KERNEL_PASS); }

/* Eight elements of a product's input. */
template <u32 ACTIVATIONS> struct Input {
    DEVICE void eight(GLOBAL const u8 *row, u32 g, u32 k, LOCAL float *x) {
        const float d = ((GLOBAL const float *)(row + k))[g / 4];
        EIGHT x[i] = d * (float)((GLOBAL const i8 *)row)[8 * g + i];
    }
};
template <> struct Input<0> {
    DEVICE void eight(GLOBAL const u8 *row, u32 g, u32 k, LOCAL float *x) {
        EIGHT x[i] = 8 * g + i < k ? ((GLOBAL const float *)row)[8 * g + i] : 0.0f;
    }
};

/* Of one matrix, and rows that are multiplied by it. */
struct Product {
    GLOBAL const u8 *weights;
    GLOBAL const float *bias; /* or 0 */
    GLOBAL const u8 *input;
    GLOBAL float *output;
    u64 input_stride; /* bytes */
    u32 output_stride;
    u32 row_bytes, k, m;
    u32 rows; /* of the input, at most TILE */
};

/* The block's warps do a row of the weights each, from `first` on. */
template <class T, u32 TILE> DEVICE void multiply(Block b, LOCAL const Product &p, u32 first) {
    PRIVATES(float, sums, TILE);
    FOR_THREADS(t) {
        const u32 row = first + t / WARP;
        UNROLL for (u32 j = 0; j < TILE; j++) OF(sums, t)[j] = 0.0f;
        if (row >= p.m) continue;
        GLOBAL const u8 *weights = p.weights + (u64)row * p.row_bytes;
        for (u32 g = t % WARP; g < (p.k + 7) / 8; g += WARP) {
            float w[8], x[8];
            Reader<T>::eight(weights, g, p.k, w);
            UNROLL for (u32 j = 0; j < TILE; j++) {
                if (j >= p.rows) continue;
                Input<T::ACTIVATIONS>::eight(p.input + j * p.input_stride, g, p.k, x);
                EIGHT OF(sums, t)[j] = fmaf_(w[i], x[i], OF(sums, t)[j]);
            }
        }
    }
    UNROLL for (u32 j = 0; j < TILE; j++) {
        if (j >= p.rows) continue;
        PRIVATE(float, sum);
        FOR_THREADS(t) OF(sum, t) = OF(sums, t)[j];
        warp_reduce<Sum, float>(sum);
        FOR_THREADS(t) {
            const u32 row = first + t / WARP;
            if (t % WARP == 0 && row < p.m) p.output[j * p.output_stride + row] = p.bias ? OF(sum, t) + p.bias[row] : OF(sum, t);
        }
    }
}

/* The input of an operation, prepared where weights are quantized. */
template <class T> DEVICE void take_input(GLOBAL const Op *op, GLOBAL const Step *step, LOCAL Product &p) {
    p.k = op->src[0].cols;
    p.m = op->src[0].rows;
    p.row_bytes = op->src[0].row_bytes;
    p.input = T::ACTIVATIONS != 0 ? prepared(op, step) : BYTES(op->src[1]);
    p.input_stride = T::ACTIVATIONS != 0 ? op->extra : (u64)p.k * 4;
}

template <class T, u32 TILE> DEVICE void mul_mat_tiles(KERNEL_ARGS) {
    const u32 rows = ROWS, at_once = (op->src[0].rows + WARPS - 1) / WARPS;
    Product all;
    take_input<T>(op, step, all);
    all.weights = BYTES(op->src[0]);
    all.bias = op->src[2].kind != NONE ? FLOATS(op->src[2]) : 0;
    all.output_stride = op->dst.cols;
    FOR_BLOCKS(u, at_once * ((rows + TILE - 1) / TILE)) {
        const u32 row = u / at_once * TILE;
        Product p = all;
        p.rows = rows - row < TILE ? rows - row : TILE;
        p.input = all.input + row * all.input_stride;
        p.output = FLOATS(op->dst) + row * op->dst.cols;
        multiply<T, TILE>(b, p, u % at_once * WARPS);
    }
}

template <class T> DEVICE void mul_mat(KERNEL_ARGS) {
    if (ROWS == 1) mul_mat_tiles<T, 1>(KERNEL_PASS);
    else mul_mat_tiles<T, 8>(KERNEL_PASS);
}

/* A row's part at a time, by the expert that the row names for it. */
template <class T> DEVICE void mul_mat_id(KERNEL_ARGS) {
    const u32 m = op->src[0].rows, at_once = (m + WARPS - 1) / WARPS, used = op->dst.cols / m;
    const u32 parts = op->src[1].cols / op->src[0].cols;
    Product all;
    take_input<T>(op, step, all);
    all.output_stride = m;
    all.rows = 1;
    FOR_BLOCKS(u, at_once * ROWS * used) {
        const u32 part = u / at_once, row = part / used, slot = part % used;
        const u32 expert = op->src[2].kind == NONE ? slot : (u32)INTS(op->src[2])[part];
        if (expert >= op->src[0].depth) {
            fail(step);
            continue;
        }
        Product p = all;
        p.weights = BYTES(op->src[0]) + (u64)expert * m * p.row_bytes;
        p.bias = op->src[3].kind != NONE ? FLOATS(op->src[3]) + expert * m : 0;
        p.input = all.input + (row * parts + (parts == 1 ? 0 : slot)) * all.input_stride;
        p.output = FLOATS(op->dst) + part * m;
        multiply<T, 1>(b, p, u % at_once * WARPS);
    }
}

#define PRODUCTS(T, name)                                   \
    KERNEL(get_rows_##name) { get_rows<T>(KERNEL_PASS); }   \
    KERNEL(mul_mat_##name) { mul_mat<T>(KERNEL_PASS); }     \
    KERNEL(mul_mat_id_##name) { mul_mat_id<T>(KERNEL_PASS); }
FOR_EACH_TYPE(PRODUCTS)

#endif
