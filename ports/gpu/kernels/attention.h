/* attention.h - FLASH_ATTN_EXT over pages of 64 positions, whose layout is realm_port.h's (realm_kv_layer).
 *
 * As in the reference, the running maximum and sum are rescaled at pages only, and masked keys are skipped; but every two pages begin anew and are
 * merged, so that blocks can share a long context.
 */
#ifndef REALM_GPU_ATTENTION_H
#define REALM_GPU_ATTENTION_H

#include "products.h"

#define PAGE 64u

/* How a page keeps the keys and values of a head. */
template <class E> struct Plain {
    DEVICE u32 row_bytes(u32 d) { return d * E::SIZE; }
    DEVICE float key(GLOBAL const u8 *keys, u32 d, u32 slot) { return E::one(keys, d * PAGE + slot); }
    DEVICE float value(GLOBAL const u8 *row, u32 d) { return E::one(row, d); }
};
struct Blocks { /* Q8_0 */
    DEVICE u32 row_bytes(u32 d) { return d / 32 * 34; }
    DEVICE float key(GLOBAL const u8 *keys, u32 d, u32 slot) {
        GLOBAL const u8 *p = keys + d / 32 * (PAGE * 34);
        return half_at(p + 2 * slot) * (float)(i8)p[2 * PAGE + d % 32 * PAGE + slot];
    }
    DEVICE float value(GLOBAL const u8 *row, u32 d) {
        GLOBAL const u8 *p = row + d / 32 * 34;
        return half_at(p) * (float)(i8)p[2 + d % 32];
    }
};

/* What a head has in a page. */
template <class S> struct Head {
    GLOBAL u8 *keys, *values;
    u32 value_bytes; /* of a row */
    DEVICE Head of(GLOBAL const Op *op, u64 page, u32 head) {
        const u32 key_bytes = S::row_bytes(op->src[3].cols) * PAGE;
        Head h;
        h.value_bytes = S::row_bytes(op->src[3].rows);
        h.keys = ADDRESS(u8, page) + head * key_bytes;
        h.values = ADDRESS(u8, page + op->extra) + (u64)head * PAGE * h.value_bytes;
        return h;
    }
};

DEVICE void put(GLOBAL u8 *at, F32, float x) { *(GLOBAL float *)at = x; }
DEVICE void put(GLOBAL u8 *at, F16, float x) { *(GLOBAL u16 *)at = to_half(x); }

/* An element of a row of the keys, or of the values. */
template <class E> DEVICE void append_one(GLOBAL const Op *op, GLOBAL const Step *step, u32 row, bool key, u32 e) {
    const u32 width = key ? op->src[3].cols : op->src[3].rows, head = e / width, d = e % width;
    const u32 at = dim(step, op->param[0]) + row, slot = at % PAGE;
    const u64 page = page_of(step, op->src[3], at / PAGE);
    if (!page) {
        fail(step);
        return;
    }
    const Head<Plain<E> > h = Head<Plain<E> >::of(op, page, head);
    const float x = FLOATS(op->src[key ? 1 : 2])[row * op->src[3].depth * width + e];
    if (key) put(h.keys + (d * PAGE + slot) * E::SIZE, E(), x);
    else put(h.values + slot * h.value_bytes + d * E::SIZE, E(), x);
}

template <class E> DEVICE void append_plain(KERNEL_ARGS) {
    const u32 keys = op->src[3].cols * op->src[3].depth, all = keys + op->src[3].rows * op->src[3].depth;
    FOR_EACH(i, ROWS * all) {
        const u32 row = i / all, e = i % all;
        append_one<E>(op, step, row, e < keys, e < keys ? e : e - keys);
    }
}
KERNEL(append_f32) { append_plain<F32>(KERNEL_PASS); }
KERNEL(append_f16) { append_plain<F16>(KERNEL_PASS); }

/* The nearest integer, halves away from zero, within -127 ..= 127; 0 for a NaN. */
DEVICE i8 round_i8(float v) {
    const float a = magnitude(v), most = is_nan(v) ? 0.0f : a > 127.0f ? 127.0f : a;
    const float shifted = most + 8388608.0f;
    const i32 rounded = (i32)(bits_of(shifted) & 0xffu) + (most - (shifted - 8388608.0f) == 0.5f ? 1 : 0);
    return (i8)(v < 0.0f ? -rounded : rounded);
}

KERNEL(append_q8_0) {
    const u32 dk = op->src[3].cols / 32, dv = op->src[3].rows / 32, heads = op->src[3].depth, first = dim(step, op->param[0]);
    FOR_EACH(i, ROWS * heads * (dk + dv)) {
        const u32 row = i / (heads * (dk + dv)), head = i / (dk + dv) % heads, at = i % (dk + dv);
        const u32 slot = (first + row) % PAGE;
        const u64 page = page_of(step, op->src[3], (first + row) / PAGE);
        if (!page) {
            fail(step);
            continue;
        }
        const Head<Blocks> h = Head<Blocks>::of(op, page, head);
        const bool key = at < dk;
        GLOBAL const float *x = key ? FLOATS(op->src[1]) + ((row * heads + head) * dk + at) * 32
                                    : FLOATS(op->src[2]) + ((row * heads + head) * dv + at - dk) * 32;
        GLOBAL u8 *p = key ? h.keys + at * (PAGE * 34) : h.values + slot * h.value_bytes + (at - dk) * 34;
        float most = 0.0f;
        for (u32 j = 0; j < 32; j++) most = Max::of(most, magnitude(x[j]));
        const float d = most / 127.0f, inverse = d == 0.0f ? 0.0f : 1.0f / d;
        *(GLOBAL u16 *)(key ? p + 2 * slot : p) = to_half(d);
        for (u32 j = 0; j < 32; j++) p[key ? 2 * PAGE + j * PAGE + slot : 2 + j] = (u8)round_i8(x[j] * inverse);
    }
}

/* Columns of the output that a thread has. */
#define COLUMNS 4
/* Pages of a chunk. What a row's head sees is attended to chunk by chunk, from a boundary of the context on, and what comes of
 * each is merged in order: by one block, or by the block that comes after many. */
#define CHUNK 2u

/* One row's head. */
struct Query {
    GLOBAL const float *q;
    u32 head, from, last; /* which positions it sees */
};

DEVICE Query query_of(GLOBAL const Op *op, GLOBAL const Step *step, u32 u) {
    const u32 heads = op->param[1], first = dim(step, op->param[0]), window = op->param[3];
    Query r;
    r.q = FLOATS(op->src[0]) + u * op->src[3].cols;
    r.head = u % heads;
    r.last = first + (op->flags & 1 ? dim(step, op->rows) - 1 : u / heads);
    r.from = window && r.last + 1 > window ? r.last + 1 - window : 0;
    return r;
}

/* The largest score, the sum of what is relative to it, and the output so far, a thread's columns of it. */
struct Softmax {
    float most, sum;
    bool begun;
};

DEVICE Softmax none() {
    Softmax s = {-infinity_(), 0.0f, false};
    return s;
}

/* A sink is a score without a value. */
DEVICE Softmax sink(GLOBAL const Op *op, GLOBAL const Step *step, u32 head) {
    Softmax s = none();
    if (op->src[4].kind != NONE) s.most = FLOATS(op->src[4])[head], s.sum = 1.0f, s.begun = true;
    return s;
}

/* Attends to a chunk's pages. Four threads share a key, in quarters of its elements. The query is in `shared` already. */
template <class S>
DEVICE Softmax attend_chunk(KERNEL_ARGS, LOCAL const Query &r, u32 chunk, PRIVATE_ROWS(float, out, COLUMNS)) {
    const u32 dk = op->src[3].cols, dv = op->src[3].rows, heads = op->param[1], quarter = (dk + 3) / 4;
    const float scale = PARAM_F32(2), cap = PARAM_F32(4);
    SHARED float *scores = shared + REDUCE_FLOATS, *parts = scores + PAGE, *query = parts + 4 * PAGE;
    Softmax s = none();
    FOR_THREADS(t) UNROLL for (u32 c = 0; c < COLUMNS; c++) OF(out, t)[c] = 0.0f;
    for (u32 at = chunk * CHUNK; at < (chunk + 1) * CHUNK && at <= r.last / PAGE; at++) {
        if (at < r.from / PAGE) continue;
        const u64 page = page_of(step, op->src[3], at);
        if (!page) continue;
        const Head<S> h = Head<S>::of(op, page, r.head * op->src[3].depth / heads);
        const u32 lo = r.from > at * PAGE ? r.from - at * PAGE : 0, hi = r.last - at * PAGE < PAGE ? r.last - at * PAGE + 1 : PAGE;
        FOR_THREADS(t) {
            const u32 slot = t % PAGE, begin = t / PAGE * quarter;
            float x = 0.0f;
            for (u32 d = begin; d < dk && d < begin + quarter; d++) x = fmaf_(query[d], S::key(h.keys, d, slot), x);
            parts[t] = x;
        }
        BARRIER();
        FOR_THREADS(t) if (t < PAGE) {
            float x = (parts[t] + parts[t + PAGE] + parts[t + 2 * PAGE] + parts[t + 3 * PAGE]) * scale;
            if (cap != 0.0f) x = cap * tanh_(x / cap);
            scores[t] = x;
        }
        BARRIER();
        float next = s.most;
        for (u32 j = lo; j < hi; j++) next = Max::of(next, scores[j]);
        const float shrink = s.begun ? exp_(s.most - next) : 0.0f;
        FOR_THREADS(t) if (t < PAGE) parts[t] = t >= lo && t < hi ? exp_(scores[t] - next) : 0.0f;
        BARRIER();
        s.sum = s.begun ? s.sum * shrink : 0.0f;
        for (u32 j = lo; j < hi; j++) s.sum += parts[j];
        FOR_THREADS(t) UNROLL for (u32 c = 0; c < COLUMNS; c++) {
            const u32 d = t + c * THREADS;
            if (d >= dv) continue;
            float y = s.begun ? OF(out, t)[c] * shrink : 0.0f;
            for (u32 j = lo; j < hi; j++) y = fmaf_(parts[j], S::value(h.values + j * h.value_bytes, d), y);
            OF(out, t)[c] = y;
        }
        BARRIER();
        s.most = next;
        s.begun = true;
    }
    return s;
}

/* What two outputs are multiplied by before they are added, and their sum's softmax. */
struct Merge {
    Softmax s;
    float left, right;
};
DEVICE Merge merge(LOCAL const Softmax &a, LOCAL const Softmax &z) {
    Merge m = {a, 1.0f, 0.0f};
    if (!z.begun) return m;
    m.s.most = Max::of(a.most, z.most);
    m.left = a.begun ? exp_(a.most - m.s.most) : 0.0f;
    m.right = exp_(z.most - m.s.most);
    m.s.sum = a.begun ? fmaf_(a.sum, m.left, z.sum * m.right) : z.sum * m.right;
    m.s.begun = true;
    return m;
}
DEVICE float merged(LOCAL const Merge &m, bool begun, float a, float z) {
    return begun ? fmaf_(a, m.left, z * m.right) : z * m.right;
}

DEVICE void take_query(KERNEL_ARGS, LOCAL const Query &r) {
    SHARED float *query = shared + REDUCE_FLOATS + 5 * PAGE;
    FOR_THREADS(t) for (u32 d = t; d < op->src[3].cols; d += THREADS) query[d] = r.q[d];
    BARRIER();
}

/* A block for each head of each row. */
template <class S> DEVICE void attend(KERNEL_ARGS) {
    const u32 dv = op->src[3].rows;
    FOR_BLOCKS(u, ROWS * op->param[1]) {
        const Query r = query_of(op, step, u);
        PRIVATES(float, out, COLUMNS);
        PRIVATES(float, part, COLUMNS);
        FOR_THREADS(t) UNROLL for (u32 c = 0; c < COLUMNS; c++) OF(out, t)[c] = 0.0f;
        take_query(KERNEL_PASS, r);
        Softmax all = sink(op, step, r.head);
        for (u32 chunk = r.from / PAGE / CHUNK; chunk <= r.last / PAGE / CHUNK; chunk++) {
            const Softmax s = attend_chunk<S>(KERNEL_PASS, r, chunk, part);
            const Merge m = merge(all, s);
            if (!s.begun) continue;
            FOR_THREADS(t) UNROLL for (u32 c = 0; c < COLUMNS; c++) OF(out, t)[c] = merged(m, all.begun, OF(out, t)[c], OF(part, t)[c]);
            all = m.s;
        }
        FOR_THREADS(t) UNROLL for (u32 c = 0; c < COLUMNS; c++) {
            const u32 d = t + c * THREADS;
            if (d < dv) FLOATS(op->dst)[u * dv + d] = OF(out, t)[c] / all.sum;
        }
        BARRIER();
    }
}

/* The same for few rows: a block for each chunk, whose results lie in the workspace from `op->table` on, then one for each head to merge
 * them. Of a head and a chunk: the largest, the sum, whether there is any, and the output. */
DEVICE GLOBAL float *partial(GLOBAL const Op *op, GLOBAL const Step *step, u32 u, u32 chunk, u32 chunks) {
    return ADDRESS(float, step->workspace + op->table) + (u * chunks + chunk) * (op->src[3].rows + 4);
}
/* Chunks of the longest row. */
DEVICE u32 chunks_of(GLOBAL const Op *op, GLOBAL const Step *step) {
    return (dim(step, op->param[0]) + dim(step, op->rows) - 1) / PAGE / CHUNK + 1;
}

template <class S> DEVICE void attend_part(KERNEL_ARGS) {
    const u32 dv = op->src[3].rows, chunks = chunks_of(op, step);
    FOR_BLOCKS(i, ROWS * op->param[1] * chunks) {
        const u32 u = i / chunks, chunk = i % chunks;
        const Query r = query_of(op, step, u);
        GLOBAL float *to = partial(op, step, u, chunk, chunks);
        PRIVATES(float, part, COLUMNS);
        take_query(KERNEL_PASS, r);
        const Softmax s = attend_chunk<S>(KERNEL_PASS, r, chunk, part);
        FOR_THREADS(t) {
            if (t == 0) to[0] = s.most, to[1] = s.sum, to[2] = s.begun ? 1.0f : 0.0f;
            UNROLL for (u32 c = 0; c < COLUMNS; c++) {
                if (t + c * THREADS < dv) to[4 + t + c * THREADS] = OF(part, t)[c];
            }
        }
        BARRIER();
    }
}

KERNEL(attend_merge) {
    const u32 dv = op->src[3].rows, chunks = chunks_of(op, step);
    FOR_BLOCKS(u, ROWS * op->param[1]) {
        const Query r = query_of(op, step, u);
        PRIVATES(float, out, COLUMNS);
        FOR_THREADS(t) UNROLL for (u32 c = 0; c < COLUMNS; c++) OF(out, t)[c] = 0.0f;
        Softmax all = sink(op, step, r.head);
        for (u32 chunk = r.from / PAGE / CHUNK; chunk <= r.last / PAGE / CHUNK; chunk++) {
            GLOBAL const float *from = partial(op, step, u, chunk, chunks);
            const Softmax s = {from[0], from[1], from[2] != 0.0f};
            const Merge m = merge(all, s);
            if (!s.begun) continue;
            FOR_THREADS(t) UNROLL for (u32 c = 0; c < COLUMNS; c++) {
                const u32 d = t + c * THREADS;
                if (d < dv) OF(out, t)[c] = merged(m, all.begun, OF(out, t)[c], from[4 + d]);
            }
            all = m.s;
        }
        FOR_THREADS(t) UNROLL for (u32 c = 0; c < COLUMNS; c++) {
            const u32 d = t + c * THREADS;
            if (d < dv) FLOATS(op->dst)[u * dv + d] = OF(out, t)[c] / all.sum;
        }
    }
}

#define ATTEND(S, name)                                     \
    KERNEL(attend_##name) { attend<S>(KERNEL_PASS); }       \
    KERNEL(attend_part_##name) { attend_part<S>(KERNEL_PASS); }
ATTEND(Plain<F32>, f32)
ATTEND(Plain<F16>, f16)
ATTEND(Blocks, q8_0)

#endif
