/* products.h - rows of a table, and products with weights: a warp for each row of the weights, whose lanes read 16 bytes at a time.
 *
 * The input of a product with quantized weights is rounded to signed bytes first, in the blocks that the reference has
 * (realm-sys/src/graph/kernels/matmul.rs), so a product differs from the reference's by the order of its sum only.
 */
#ifndef REALM_GPU_PRODUCTS_H
#define REALM_GPU_PRODUCTS_H

#include "rows.h"
#include "types.h"

template <class T> DEVICE void get_rows(KERNEL_ARGS) {
    typedef Form<T, T::ACTIVATIONS> As;
    const u32 cols = op->dst.cols, vectors = As::vectors(cols), first = dim(step, op->param[0]);
    const bool ids = op->src[1].kind != NONE;
    FOR_EACH(i, ROWS * vectors) {
        const u32 row = i / vectors, v = i % vectors;
        const u32 id = ids ? (u32)INTS(op->src[1])[first + row] : first + row;
        if (id >= op->src[0].rows) {
            fail(step);
            continue;
        }
        typename As::Part part;
        As::load(BYTES(op->src[0]) + (u64)id * op->src[0].row_bytes, v, cols, part);
        As::put(part, FLOATS(op->dst) + row * cols, v, cols);
    }
}

/* A prepared row: `k` signed bytes, then a float for every 32 of them, also where a block is longer; `op->extra` bytes in all. */
DEVICE GLOBAL u8 *prepared(GLOBAL const Op *op, GLOBAL const Step *step) {
    return ADDRESS(u8, step->workspace + WORKSPACE_HEAD);
}

/* Blocks of LEN elements of `x`, one to a warp, from `base` on and before `end`. What cannot be scaled is 0, what is not finite makes the
 * scale a NaN. A lane reads the elements `lane`, `lane + WARP`, … of its warp's block. */
template <u32 LEN> DEVICE void quantize_blocks(KERNEL_ARGS, GLOBAL const float *x, u32 k, u32 base, u32 end) {
    const u32 blocks = k / LEN;
    PRIVATE(u64, top);
    FOR_THREADS(t) {
        const u32 u = base + t / WARP;
        OF(top, t) = 0;
        if (u < end)
            for (u32 i = t % WARP; i < LEN; i += WARP) OF(top, t) = Best::of(OF(top, t), (u64)(bits_of(x[u * LEN + i]) & 0x7fffffffu));
    }
    warp_reduce<Best, u64>(top);
    FOR_THREADS(t) {
        const u32 u = base + t / WARP;
        if (u >= end) continue;
        GLOBAL u8 *row = prepared(op, step) + (u64)(u / blocks) * op->extra;
        GLOBAL float *scales = (GLOBAL float *)(row + k) + u % blocks * (LEN / 32);
        const u32 most = (u32)OF(top, t);
        const float d = float_of(most) / 127.0f;
        const bool none = most >= 0x7f800000u || d < float_of(0x00800000u);
        const float inverse = none ? 0.0f : 1.0f / d;
        for (u32 i = t % WARP; i < LEN; i += WARP)
            row[u % blocks * LEN + i] = none ? 0 : (u8)bits_of(x[u * LEN + i] * inverse + ROUND);
        if (t % WARP < LEN / 32) scales[t % WARP] = most >= 0x7f800000u ? nan_() : none ? 0.0f : d;
    }
}

template <u32 LEN> DEVICE void quantize(KERNEL_ARGS) {
    const u32 k = op->src[0].cols, count = ROWS * (op->src[1].cols / LEN);
    GLOBAL const float *x = FLOATS(op->src[1]);
    FOR_WARPS(base, count) quantize_blocks<LEN>(KERNEL_PASS, x, k, (u32)base, count);
}

KERNEL(quantize_32) { quantize<32>(KERNEL_PASS); }
KERNEL(quantize_256) { quantize<256>(KERNEL_PASS); }

/* Of one matrix, and rows that are multiplied by it. */
struct Product {
    GLOBAL const u8 *weights;
    GLOBAL const float *bias; /* or 0 */
    GLOBAL const u8 *input;
    GLOBAL float *output;
    GLOBAL const float *addend; /* or 0: what the output is added to, and where the sum goes; laid out as the output */
    GLOBAL float *total;
    u64 input_stride; /* bytes */
    u32 output_stride;
    u32 row_bytes, k, m;
    u32 rows; /* of the input, at most TILE */
    /* Of a batch: the operation, and the step of the first row; each row has a step of its own. */
    GLOBAL const Op *op;
    GLOBAL const Step *step;
};

/* The input of an operation, prepared where weights are quantized. */
template <class T> DEVICE GLOBAL const u8 *input_of(GLOBAL const Op *op, GLOBAL const Step *step) {
    return T::ACTIVATIONS != 0 ? (GLOBAL const u8 *)prepared(op, step) : BYTES(op->src[1]);
}

template <class T> DEVICE void take_input(GLOBAL const Op *op, GLOBAL const Step *step, LOCAL Product &p) {
    p.k = op->src[0].cols;
    p.m = op->src[0].rows;
    p.row_bytes = op->src[0].row_bytes;
    p.input = input_of<T>(op, step);
    p.input_stride = T::ACTIVATIONS != 0 ? op->extra : (u64)p.k * 4;
}

/* What is added to a step's product, and where it goes, from `row` on. */
DEVICE void take_output(GLOBAL const Op *op, GLOBAL const Step *step, u32 row, LOCAL Product &p) {
    p.bias = op->src[2].kind != NONE ? FLOATS(op->src[2]) : 0;
    p.output_stride = op->dst.cols;
    p.output = FLOATS(op->dst) + row * op->dst.cols;
    p.addend = 0;
    if (op->src[4].kind != NONE) { /* an ADD behind the product */
        p.addend = FLOATS(op->src[4]) + row * op->dst.cols;
        p.total = FLOATS(op->src[5]) + row * op->dst.cols;
    }
}

/* The block's warps do a row of the weights each, from `first` on. */
template <class T, u32 TILE, bool BATCH> DEVICE void multiply(Block b, LOCAL const Product &p, u32 first) {
    typedef Form<T, T::ACTIVATIONS> As;
    PRIVATES(float, sums, TILE);
    GLOBAL const u8 *inputs[TILE];
    UNROLL for (u32 j = 0; j < TILE; j++) {
        if (BATCH && j < p.rows) inputs[j] = input_of<T>(p.op, STEP_OF(p.step, j));
        else inputs[j] = p.input;
    }
    FOR_THREADS(t) {
        const u32 row = first + t / WARP;
        UNROLL for (u32 j = 0; j < TILE; j++) OF(sums, t)[j] = 0.0f;
        if (row >= p.m) continue;
        GLOBAL const u8 *weights = p.weights + (u64)row * p.row_bytes;
        const u32 vectors = As::vectors(p.k);
        TWICE for (u32 v = t % WARP; v < vectors; v += WARP) {
            typename As::Part part;
            As::load(weights, v, p.k, part);
            UNROLL for (u32 j = 0; j < TILE; j++) {
                GLOBAL const u8 *input = BATCH ? inputs[j] : p.input + j * p.input_stride;
                if (j < p.rows) OF(sums, t)[j] = As::dot(part, input, TILE == 1, v, p.k, OF(sums, t)[j]);
            }
        }
    }
    UNROLL for (u32 j = 0; j < TILE; j++) {
        if (j >= p.rows) continue;
        PRIVATE(float, sum);
        FOR_THREADS(t) OF(sum, t) = OF(sums, t)[j];
        warp_reduce<Sum, float>(sum);
        Product to = p;
        if (BATCH) take_output(p.op, STEP_OF(p.step, j), 0, to);
        FOR_THREADS(t) {
            const u32 row = first + t / WARP;
            if (t % WARP != 0 || row >= p.m) continue;
            const u32 at = BATCH ? row : j * p.output_stride + row;
            const float y = to.bias ? OF(sum, t) + to.bias[row] : OF(sum, t);
            to.output[at] = y;
            if (to.addend) to.total[at] = to.addend[at] + y;
        }
    }
}

/* Products in a row that share their input and type are one launch, so that small ones keep a device busy together: which one a unit is of, and of which rows
 * of it; `unit` becomes its number there. */
DEVICE GLOBAL const Op *product_of(GLOBAL const Op *op, u32 tiles, LOCAL u32 &unit, LOCAL u32 &at_once) {
    at_once = (op->src[0].rows + WARPS - 1) / WARPS;
    while (unit >= at_once * tiles) {
        unit -= at_once * tiles;
        op++;
        at_once = (op->src[0].rows + WARPS - 1) / WARPS;
    }
    return op;
}
DEVICE u32 units_of(GLOBAL const Op *op, u32 tiles) {
    u32 units = 0;
    for (u32 i = 0; i <= op->more; i++) units += (op[i].src[0].rows + WARPS - 1) / WARPS * tiles;
    return units;
}

/* TILE rows of the input to one pass over the weights: of one alone there is a kernel that takes fewer registers, with the same bits. */
template <class T, u32 TILE> DEVICE void mul_mat(KERNEL_ARGS) {
    const u32 rows = ROWS, tiles = (rows + TILE - 1) / TILE, units = units_of(op, tiles);
    FOR_BLOCKS(u, units) {
        u32 unit = u, at_once;
        GLOBAL const Op *one = product_of(op, tiles, unit, at_once);
        const u32 row = unit / at_once * TILE;
        Product p;
        p.op = one, p.step = step;
        take_input<T>(one, step, p);
        take_output(one, step, row, p);
        p.weights = BYTES(one->src[0]);
        p.rows = rows - row < TILE ? rows - row : TILE;
        p.input += row * p.input_stride;
        multiply<T, TILE, false>(b, p, unit % at_once * WARPS);
    }
}

/* The single rows of TILE steps of a batch to one pass over the weights. */
template <class T, u32 TILE> DEVICE void mul_mat_batch(KERNEL_ARGS) {
    const u32 from = b.step * TILE, left = step->steps - from, units = units_of(op, 1);
    GLOBAL const Step *first = STEP_OF(step, from - b.step);
    FOR_BLOCKS(u, units) {
        u32 unit = u, at_once;
        Product p;
        p.op = product_of(op, 1, unit, at_once);
        p.step = first;
        take_input<T>(p.op, first, p);
        take_output(p.op, first, 0, p);
        p.weights = BYTES(p.op->src[0]);
        p.rows = left < TILE ? left : TILE;
        multiply<T, TILE, true>(b, p, unit * WARPS);
    }
}

/* A row's part at a time, by the expert that the row names for it. */
template <class T> DEVICE void mul_mat_id(KERNEL_ARGS) {
    const u32 m = op->src[0].rows, at_once = (m + WARPS - 1) / WARPS, used = op->dst.cols / m;
    const u32 parts = op->src[1].cols / op->src[0].cols;
    Product all;
    all.op = op, all.step = step;
    take_input<T>(op, step, all);
    all.output_stride = m;
    all.rows = 1;
    all.addend = 0;
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
        multiply<T, 1, false>(b, p, u % at_once * WARPS);
    }
}

/* Blocks that share a multiprocessor: four have 64 registers to a thread, of which more are wanted where a vector comes in two parts. */
template <class T> struct Share { enum { BLOCKS = 4 }; };
template <> struct Share<Q3_K> { enum { BLOCKS = 2 }; };
template <> struct Share<Q5_K> { enum { BLOCKS = 3 }; };
template <> struct Share<Q6_K> { enum { BLOCKS = 3 }; };
template <> struct Share<IQ4_XS> { enum { BLOCKS = 3 }; };

#define PRODUCTS(T, name)                                                               \
    KERNEL(get_rows_##name) { get_rows<T>(KERNEL_PASS); }                               \
    LEAN_KERNEL(mul_mat_vec_##name, Share<T>::BLOCKS) { mul_mat<T, 1>(KERNEL_PASS); }   \
    KERNEL(mul_mat_##name) { mul_mat<T, 8>(KERNEL_PASS); }                              \
    KERNEL(mul_mat_batch_##name) { mul_mat_batch<T, 8>(KERNEL_PASS); }                  \
    LEAN_KERNEL(mul_mat_id_##name, Share<T>::BLOCKS) { mul_mat_id<T>(KERNEL_PASS); }
FOR_EACH_TYPE(PRODUCTS)

#endif
