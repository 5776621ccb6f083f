/* rows.h - operations that reduce a row: a block for each, or for each group of columns. */
#ifndef REALM_GPU_ROWS_H
#define REALM_GPU_ROWS_H

#include "elements.h"

#define FOR_COLS(t, c, cols) FOR_THREADS(t) for (u32 c = t; c < (cols); c += THREADS)
#define GROUP (op->param[1] ? op->param[1] : op->dst.cols)
#define ROWS dim(step, op->rows)

/* A group of columns of a row. */
DEVICE void rms_norm_group(KERNEL_ARGS, u32 u) {
    const u32 group = GROUP;
    GLOBAL const float *x = FLOATS(op->src[0]) + u * group;
    GLOBAL float *y = FLOATS(op->dst) + u * group;
    PRIVATE(float, squares);
    FOR_THREADS(t) OF(squares, t) = 0.0f;
    FOR_COLS(t, c, group) OF(squares, t) = fmaf_(x[c], x[c], OF(squares, t));
    const float s = block_reduce<Sum, float>(b, squares, shared);
    const float scale = 1.0f / sqrtf_(s / (float)group + PARAM_F32(0));
    const bool weight = op->src[1].kind != NONE;
    FOR_COLS(t, c, group) y[c] = weight ? x[c] * scale * FLOATS(op->src[1])[c] : x[c] * scale;
}

KERNEL(rms_norm) {
    const u32 groups = op->dst.cols / GROUP;
    FOR_BLOCKS(u, ROWS * groups) rms_norm_group(KERNEL_PASS, u);
}

KERNEL(norm) {
    const u32 group = GROUP, groups = op->dst.cols / group;
    FOR_BLOCKS(u, ROWS * groups) {
        GLOBAL const float *x = FLOATS(op->src[0]) + u * group;
        GLOBAL float *y = FLOATS(op->dst) + u * group;
        PRIVATE(float, part);
        FOR_THREADS(t) OF(part, t) = 0.0f;
        FOR_COLS(t, c, group) OF(part, t) += x[c];
        const float mean = block_reduce<Sum, float>(b, part, shared) / (float)group;
        FOR_THREADS(t) OF(part, t) = 0.0f;
        FOR_COLS(t, c, group) OF(part, t) = fmaf_(x[c] - mean, x[c] - mean, OF(part, t));
        const float s = block_reduce<Sum, float>(b, part, shared);
        const float scale = 1.0f / sqrtf_(s / (float)group + PARAM_F32(0));
        const bool weight = op->src[1].kind != NONE, bias = op->src[2].kind != NONE;
        FOR_COLS(t, c, group) {
            const float z = (x[c] - mean) * scale, w = weight ? FLOATS(op->src[1])[c] : 1.0f;
            y[c] = bias ? fmaf_(z, w, FLOATS(op->src[2])[c]) : z * w;
        }
    }
}

KERNEL(sum_rows) {
    FOR_BLOCKS(row, ROWS) {
        const u32 cols = op->src[0].cols;
        GLOBAL const float *x = FLOATS(op->src[0]) + row * cols;
        PRIVATE(float, part);
        FOR_THREADS(t) OF(part, t) = 0.0f;
        FOR_COLS(t, c, cols) OF(part, t) += x[c];
        const float s = block_reduce<Sum, float>(b, part, shared);
        FOR_THREADS(t) {
            if (t == 0) FLOATS(op->dst)[row] = s;
        }
    }
}

/* The largest of a row times `scale`; 0 where it is not finite. */
DEVICE float largest(Block b, SHARED float *shared, GLOBAL const float *x, u32 cols, float scale) {
    PRIVATE(float, part);
    FOR_THREADS(t) OF(part, t) = -infinity_();
    FOR_COLS(t, c, cols) OF(part, t) = Max::of(OF(part, t), x[c] * scale);
    const float m = block_reduce<Max, float>(b, part, shared);
    return is_finite(m) ? m : 0.0f;
}

KERNEL(soft_max) {
    const u32 cols = op->dst.cols;
    const float scale = PARAM_F32(0);
    FOR_BLOCKS(row, ROWS) {
        GLOBAL const float *x = FLOATS(op->src[0]) + row * cols;
        GLOBAL float *y = FLOATS(op->dst) + row * cols;
        const float m = largest(b, shared, x, cols, scale);
        PRIVATE(float, part);
        FOR_THREADS(t) OF(part, t) = 0.0f;
        FOR_COLS(t, c, cols) {
            y[c] = exp_(fmaf_(x[c], scale, -m));
            OF(part, t) += y[c];
        }
        const float s = block_reduce<Sum, float>(b, part, shared);
        FOR_COLS(t, c, cols) y[c] /= s;
    }
}

KERNEL(logsumexp) {
    const u32 cols = op->src[0].cols;
    const float scale = PARAM_F32(0);
    FOR_BLOCKS(row, ROWS) {
        GLOBAL const float *x = FLOATS(op->src[0]) + row * cols;
        const float m = largest(b, shared, x, cols, scale);
        PRIVATE(float, part);
        FOR_THREADS(t) OF(part, t) = 0.0f;
        FOR_COLS(t, c, cols) OF(part, t) += exp_(fmaf_(x[c], scale, -m));
        const float s = block_reduce<Sum, float>(b, part, shared);
        FOR_THREADS(t) {
            if (t == 0) FLOATS(op->dst)[row] = m + logf_(s);
        }
    }
}

/* The best element of a row that is behind `after` in the order. */
DEVICE u64 best_below(Block b, SHARED float *shared, GLOBAL const float *x, u32 cols, u64 after) {
    PRIVATE(u64, best);
    FOR_THREADS(t) OF(best, t) = 0;
    FOR_COLS(t, c, cols) {
        const u64 r = rank_of(x[c], c);
        if (r < after) OF(best, t) = Best::of(OF(best, t), r);
    }
    return block_reduce<Best, u64>(b, best, shared);
}

KERNEL(argmax) {
    FOR_BLOCKS(row, ROWS) {
        const u32 cols = op->src[0].cols;
        const u64 best = best_below(b, shared, FLOATS(op->src[0]) + row * cols, cols, ~(u64)0);
        FOR_THREADS(t) {
            if (t == 0) INTS(op->dst)[row] = best >> 32 ? (i32)(u32)~best : -1;
        }
    }
}

/* Candidates that a block has room for in shared memory, behind what reductions take. */
#define CANDIDATES ((SHARED_FLOATS - REDUCE_FLOATS) / 2 - 8)

/* All elements that are no worse than the k-th best of the threads' own best ones are candidates: the k best are among them. Returns how many there are,
 * in no order; more than CANDIDATES: they are not all there. `k` is at most THREADS. */
DEVICE u32 candidates(Block b, SHARED float *shared, GLOBAL const float *x, u32 cols, u32 k, SHARED u64 *found) {
    SHARED u32 *count = (SHARED u32 *)(found + CANDIDATES);
    FOR_THREADS(t) {
        u64 best = 0;
        for (u32 c = t; c < cols; c += THREADS) best = Best::of(best, rank_of(x[c], c));
        found[t] = best;
        if (t == 0) *count = 0;
    }
    BARRIER();
    PRIVATE(u64, least);
    FOR_THREADS(t) { /* of the k best, each thread looks at how many are better than its own */
        u32 better = 0;
        for (u32 i = 0; i < THREADS; i++) better += found[i] > found[t] ? 1 : 0;
        OF(least, t) = better < k ? ~found[t] : 0;
    }
    const u64 bar = ~block_reduce<Best, u64>(b, least, shared);
    FOR_THREADS(t) for (u32 c = t; c < cols; c += THREADS) {
        const u64 r = rank_of(x[c], c);
        if (r < bar) continue;
        const u32 at = next_of(count);
        if (at < CANDIDATES) found[at] = r;
    }
    BARRIER();
    return *count;
}

KERNEL(top_k) {
    FOR_BLOCKS(row, ROWS) {
        const u32 cols = op->src[0].cols, k = dim(step, op->param[0]);
        GLOBAL const float *x = FLOATS(op->src[0]) + row * cols;
        SHARED u64 *found = (SHARED u64 *)(shared + REDUCE_FLOATS);
        const u32 count = k <= THREADS ? candidates(b, shared, x, cols, k, found) : ~0u;
        if (count <= CANDIDATES) { /* a candidate's place is how many are better */
            FOR_THREADS(t) for (u32 i = t; i < count; i += THREADS) {
                u32 better = 0;
                for (u32 j = 0; j < count; j++) better += found[j] > found[i] ? 1 : 0;
                if (better >= k) continue;
                const u32 id = (u32)~found[i];
                INTS(op->dst)[row * op->dst.cols + better] = (i32)id;
                FLOATS(op->src[1])[row * op->src[1].cols + better] = x[id];
            }
            BARRIER();
            continue;
        }
        BARRIER();
        u64 last = ~(u64)0;
        for (u32 i = 0; i < k; i++) { /* one after the other */
            last = best_below(b, shared, x, cols, last);
            FOR_THREADS(t) {
                if (t == 0) {
                    const u32 id = (u32)~last;
                    INTS(op->dst)[row * op->dst.cols + i] = (i32)id;
                    FLOATS(op->src[1])[row * op->src[1].cols + i] = x[id];
                }
            }
        }
    }
}

/* An id's thread is the only one to change its element, in the order of the list: ids may repeat. */
KERNEL(logit_bias) {
    const u32 cols = op->dst.cols, count = dim(step, op->param[0]);
    FOR_BLOCKS(row, ROWS) FOR_THREADS(t) for (u32 i = 0; i < count; i++) {
        const u32 id = (u32)INTS(op->src[1])[i];
        if (id < cols && id % THREADS == t) FLOATS(op->dst)[row * cols + id] += FLOATS(op->src[2])[i];
    }
}

KERNEL(penalties) {
    const u32 cols = op->dst.cols, count = dim(step, op->param[0]);
    GLOBAL const float *p = FLOATS(op->src[3]); /* repeat, frequency, presence */
    FOR_BLOCKS(row, ROWS) FOR_THREADS(t) for (u32 i = 0; i < count; i++) {
        const u32 id = (u32)INTS(op->src[1])[i];
        if (id >= cols || id % THREADS != t) continue;
        GLOBAL float *x = FLOATS(op->dst) + row * cols + id;
        const float y = *x > 0.0f ? *x / p[0] : *x * p[0];
        *x = y - ((float)INTS(op->src[2])[i] * p[1] + p[2]);
    }
}

/* A block for each head, a thread for each of its columns, which carries the column's state from row to row. */
KERNEL(ssm_scan) {
    const u32 cols = op->src[0].cols, heads = op->src[1].cols, width = cols / heads, groups = op->param[0];
    const u32 states = op->src[2].cols / groups, behind = dim(step, op->dst.rows) - states;
    const u32 have = dim(step, op->src[0].rows), n = have < behind ? have : behind;
    const u32 first = dim(step, op->param[1]);
    const bool begun = dim(step, op->param[2]) != 0, skips = op->src[6].kind != NONE;
    FOR_BLOCKS(head, heads) {
        const u32 of_group = head * groups / heads * states;
        const float rate = FLOATS(op->src[4])[head], factor = skips ? FLOATS(op->src[6])[head] : 0.0f;
        FOR_COLS(t, c, width) {
            const u32 at = head * width + c;
            GLOBAL float *state = FLOATS(op->dst) + at;
            for (u32 s = 0; s < states; s++) state[s * cols] = begun ? FLOATS(op->src[5])[(first + s) * cols + at] : 0.0f;
            for (u32 i = 0; i < n; i++) {
                const float x = FLOATS(op->src[0])[i * cols + at];
                const float delta = softplus_(FLOATS(op->src[1])[i * heads + head]), decay = exp_(delta * rate);
                GLOBAL const float *in = FLOATS(op->src[2]) + i * op->src[2].cols + of_group;
                GLOBAL const float *out = FLOATS(op->src[3]) + i * op->src[3].cols + of_group;
                float y = skips ? factor * x : 0.0f;
                for (u32 s = 0; s < states; s++) {
                    const float next = fmaf_(in[s] * delta, x, state[s * cols] * decay);
                    state[s * cols] = next;
                    y = fmaf_(out[s], next, y);
                }
                state[(states + i) * cols] = y;
            }
        }
    }
}

#endif
