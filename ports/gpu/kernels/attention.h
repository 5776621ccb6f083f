/* attention.h - FLASH_ATTN_EXT over pages of 64 positions, whose layout is realm_port.h's (realm_kv_layer).
 *
 * The order is the reference's: page by page, with the running maximum and sum rescaled at pages only, masked keys skipped.
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

/* Elements of keys, then of values, of all heads. */
template <class E> DEVICE void append_plain(KERNEL_ARGS) {
    const u32 dk = op->src[3].cols, dv = op->src[3].rows, heads = op->src[3].depth, first = dim(step, op->param[0]);
    FOR_EACH(i, ROWS * heads * (dk + dv)) {
        const u32 row = i / (heads * (dk + dv)), head = i / (dk + dv) % heads, d = i % (dk + dv);
        const u32 slot = (first + row) % PAGE;
        const u64 page = page_of(step, op->src[3], (first + row) / PAGE);
        if (!page) {
            fail(step);
            continue;
        }
        const Head<Plain<E> > h = Head<Plain<E> >::of(op, page, head);
        if (d < dk) put(h.keys + (d * PAGE + slot) * E::SIZE, E(), FLOATS(op->src[1])[(row * heads + head) * dk + d]);
        else put(h.values + slot * h.value_bytes + (d - dk) * E::SIZE, E(), FLOATS(op->src[2])[(row * heads + head) * dv + d - dk]);
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

/* A block for each head of each row. Four threads share a key, in quarters of its elements. */
template <class S> DEVICE void attend(KERNEL_ARGS) {
    const u32 dk = op->src[3].cols, dv = op->src[3].rows, heads = op->param[1], first = dim(step, op->param[0]), rows = ROWS;
    const float scale = PARAM_F32(2), cap = PARAM_F32(4);
    const u32 window = op->param[3], quarter = (dk + 3) / 4;
    SHARED float *scores = shared + REDUCE_FLOATS, *parts = scores + PAGE, *query = parts + 4 * PAGE;
    FOR_BLOCKS(u, rows * heads) {
        const u32 head = u % heads, last = first + (op->flags & 1 ? rows - 1 : u / heads);
        const u32 from = window && last + 1 > window ? last + 1 - window : 0;
        const bool sink = op->src[4].kind != NONE;
        GLOBAL const float *q = FLOATS(op->src[0]) + u * dk;
        PRIVATES(float, out, COLUMNS);
        FOR_THREADS(t) {
            for (u32 d = t; d < dk; d += THREADS) query[d] = q[d];
            UNROLL for (u32 c = 0; c < COLUMNS; c++) OF(out, t)[c] = 0.0f;
        }
        BARRIER();
        float most = sink ? FLOATS(op->src[4])[head] : -infinity_(), sum = sink ? 1.0f : 0.0f;
        bool begun = sink;
        for (u32 at = from / PAGE; at <= last / PAGE; at++) {
            const u64 page = page_of(step, op->src[3], at);
            if (!page) continue;
            const Head<S> h = Head<S>::of(op, page, head * op->src[3].depth / heads);
            const u32 lo = from > at * PAGE ? from - at * PAGE : 0, hi = last - at * PAGE < PAGE ? last - at * PAGE + 1 : PAGE;
            FOR_THREADS(t) {
                const u32 slot = t % PAGE, begin = t / PAGE * quarter;
                float s = 0.0f;
                for (u32 d = begin; d < dk && d < begin + quarter; d++) s = fmaf_(query[d], S::key(h.keys, d, slot), s);
                parts[t] = s;
            }
            BARRIER();
            FOR_THREADS(t) if (t < PAGE) {
                float s = (parts[t] + parts[t + PAGE] + parts[t + 2 * PAGE] + parts[t + 3 * PAGE]) * scale;
                if (cap != 0.0f) s = cap * tanh_(s / cap);
                scores[t] = s;
            }
            BARRIER();
            float next = most;
            for (u32 j = lo; j < hi; j++) next = Max::of(next, scores[j]);
            const float shrink = begun ? exp_(most - next) : 0.0f;
            FOR_THREADS(t) if (t < PAGE) parts[t] = t >= lo && t < hi ? exp_(scores[t] - next) : 0.0f;
            BARRIER();
            sum = begun ? sum * shrink : 0.0f;
            for (u32 j = lo; j < hi; j++) sum += parts[j];
            FOR_THREADS(t) UNROLL for (u32 c = 0; c < COLUMNS; c++) {
                const u32 d = t + c * THREADS;
                if (d >= dv) continue;
                float y = begun ? OF(out, t)[c] * shrink : 0.0f;
                for (u32 j = lo; j < hi; j++) y = fmaf_(parts[j], S::value(h.values + j * h.value_bytes, d), y);
                OF(out, t)[c] = y;
            }
            BARRIER();
            most = next;
            begun = true;
        }
        FOR_THREADS(t) UNROLL for (u32 c = 0; c < COLUMNS; c++) {
            const u32 d = t + c * THREADS;
            if (d < dv) FLOATS(op->dst)[u * dv + d] = OF(out, t)[c] / sum;
        }
        BARRIER();
    }
}

KERNEL(attend_f32) { attend<Plain<F32> >(KERNEL_PASS); }
KERNEL(attend_f16) { attend<Plain<F16> >(KERNEL_PASS); }
KERNEL(attend_q8_0) { attend<Blocks>(KERNEL_PASS); }

#endif
