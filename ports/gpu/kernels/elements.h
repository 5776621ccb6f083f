/* elements.h - operations whose elements are independent of one another. */
#ifndef REALM_GPU_ELEMENTS_H
#define REALM_GPU_ELEMENTS_H

#include "num.h"

#define PARAM_F32(i) float_of(op->param[i])
#define COUNT (dim(step, op->rows) * op->dst.cols)

/* Element i of a second source: of the same shape, or a weight for the columns. */
DEVICE float second(GLOBAL const Op *op, GLOBAL const Step *step, u32 i) {
    return FLOATS(op->src[1])[op->src[1].kind == WEIGHT ? i % op->dst.cols : i];
}

KERNEL(add) {
    FOR_EACH(i, COUNT) FLOATS(op->dst)[i] = FLOATS(op->src[0])[i] + second(op, step, i);
}

KERNEL(mul) {
    FOR_EACH(i, COUNT) FLOATS(op->dst)[i] = FLOATS(op->src[0])[i] * second(op, step, i);
}

KERNEL(div) {
    const u32 cols = op->src[1].cols == 1 ? op->dst.cols : 1; /* that share a divisor */
    FOR_EACH(i, COUNT) FLOATS(op->dst)[i] = FLOATS(op->src[0])[i] / FLOATS(op->src[1])[i / cols];
}

KERNEL(scale) {
    FOR_EACH(i, COUNT) FLOATS(op->dst)[i] = FLOATS(op->src[0])[i] * PARAM_F32(0) + PARAM_F32(1);
}

KERNEL(softcap) {
    FOR_EACH(i, COUNT) FLOATS(op->dst)[i] = PARAM_F32(0) * tanh_(FLOATS(op->src[0])[i] / PARAM_F32(0));
}

KERNEL(unary) {
    FOR_EACH(i, COUNT) FLOATS(op->dst)[i] = activate(op->param[0], FLOATS(op->src[0])[i]);
}

KERNEL(glu) {
    FOR_EACH(i, COUNT) FLOATS(op->dst)[i] = activate(op->param[0], FLOATS(op->src[0])[i]) * FLOATS(op->src[1])[i];
}

KERNEL(swiglu_oai) {
    const float alpha = PARAM_F32(1), limit = PARAM_F32(2);
    FOR_EACH(i, COUNT) {
        const float g = FLOATS(op->src[0])[i], u = FLOATS(op->src[1])[i];
        const float x = g < limit ? g : limit;
        float y = u < limit ? u : limit;
        y = y > -limit ? y : -limit;
        FLOATS(op->dst)[i] = x * sigmoid_(alpha * x) * (1.0f + y);
    }
}

KERNEL(mask) {
    const u32 cols = op->dst.cols;
    FOR_EACH(i, COUNT) {
        const u32 c = i % cols, word = c / 32;
        const u32 bits = word < op->src[1].cols ? (u32)INTS(op->src[1])[word] : 0;
        if (!(bits >> (c % 32) & 1)) FLOATS(op->dst)[i] = -infinity_();
    }
}

/* Rows move as they are, in words or in halves of them. */
KERNEL(cpy) {
    const u32 cols = op->dst.cols, from = dim(step, op->param[0]) * cols, to = dim(step, op->param[1]) * cols;
    const bool halves = op->dst.type == 1;
    FOR_EACH(i, dim(step, op->param[2]) * cols) {
        if (halves) ADDRESS(u16, address(step, op->dst))[to + i] = ADDRESS(u16, address(step, op->src[0]))[from + i];
        else INTS(op->dst)[to + i] = INTS(op->src[0])[from + i];
    }
}

KERNEL(view_cols) {
    const u32 cols = op->dst.cols, all = op->src[0].cols, group = op->param[1] ? op->param[1] : all;
    const u32 width = cols / (all / group);
    FOR_EACH(i, COUNT) {
        const u32 row = i / cols, c = i % cols;
        FLOATS(op->dst)[i] = FLOATS(op->src[0])[row * all + c / width * group + op->param[0] + c % width];
    }
}

KERNEL(concat) {
    const u32 cols = op->dst.cols, groups = op->param[0] ? op->param[0] : 1;
    const u32 a = op->src[0].cols / groups, c = op->src[1].cols / groups;
    FOR_EACH(i, COUNT) {
        const u32 row = i / cols, group = i % cols / (a + c), at = i % cols % (a + c);
        FLOATS(op->dst)[i] = at < a ? FLOATS(op->src[0])[row * op->src[0].cols + group * a + at]
                                    : FLOATS(op->src[1])[row * op->src[1].cols + group * c + at - a];
    }
}

KERNEL(gather) {
    FOR_EACH(i, COUNT) {
        const u32 row = i / op->dst.cols, id = (u32)INTS(op->src[1])[i];
        if (id < op->src[0].cols) FLOATS(op->dst)[i] = FLOATS(op->src[0])[row * op->src[0].cols + id];
        else fail(step);
    }
}

/* Parts are added by ascending ids, the earlier first where two are equal; without ids as they come. */
KERNEL(weighted_sum) {
    const u32 cols = op->dst.cols, parts = op->src[1].cols;
    const bool ids = op->src[2].kind != NONE;
    FOR_EACH(i, COUNT) {
        const u32 row = i / cols, c = i % cols;
        GLOBAL const float *x = FLOATS(op->src[0]) + row * op->src[0].cols + c;
        float sum = 0.0f;
        i64 last = -((i64)1 << 62);
        for (u32 turn = 0; turn < parts; turn++) {
            u32 slot = turn;
            if (ids) {
                i64 next = (i64)1 << 62;
                for (u32 s = 0; s < parts; s++) {
                    const i64 key = (i64)INTS(op->src[2])[row * parts + s] * 1024 + s;
                    if (key > last && key < next) next = key, slot = s;
                }
                last = next;
            }
            sum = fmaf_(FLOATS(op->src[1])[row * parts + slot], x[slot * cols], sum);
        }
        FLOATS(op->dst)[i] = sum;
    }
}

KERNEL(ssm_conv) {
    const u32 cols = op->dst.cols, taps = op->src[2].cols;
    FOR_EACH(i, COUNT) {
        const u32 row = i / cols, c = i % cols;
        float y = 0.0f;
        for (u32 tap = 0; tap < taps; tap++) {
            const u32 at = row + tap;
            const float x = at + 1 >= taps ? FLOATS(op->src[0])[(at + 1 - taps) * cols + c] : FLOATS(op->src[1])[at * cols + c];
            y = fmaf_(FLOATS(op->src[2])[c * taps + tap], x, y);
        }
        FLOATS(op->dst)[i] = y;
    }
}

/* Elements of a row that one unit of ROPE has written. */
struct Turned {
    u32 count, at[2];
};

/* The first half of a head's elements that turn stand for their pairs, those behind them stay. */
DEVICE Turned turn(GLOBAL const Op *op, GLOBAL const Step *step, u32 i) {
    const u32 cols = op->dst.cols, head = op->param[1], dims = op->param[2], pairs = dims / 2;
    const u32 row = i / cols, e = i % cols % head;
    const bool neox = op->flags & 1;
    GLOBAL const float *x = FLOATS(op->src[0]) + (i - e);
    GLOBAL float *y = FLOATS(op->dst) + (i - e);
    Turned done = {0, {i % cols, 0}};
    if (e >= dims) {
        y[e] = x[e];
        done.count = 1;
    } else if (e < pairs) {
        const u32 a = neox ? e : 2 * e, z = neox ? e + pairs : 2 * e + 1;
        const Turn pace = ADDRESS(const Turn, op->table)[e];
        float c, s;
        cos_sin(pace.phase * (u64)(dim(step, op->param[0]) + row), c, s);
        c *= pace.scale, s *= pace.scale;
        const float x0 = x[a], x1 = x[z];
        y[a] = fmaf_(x0, c, -(x1 * s));
        y[z] = fmaf_(x0, s, x1 * c);
        done.count = 2;
        done.at[0] = i % cols - e + a, done.at[1] = i % cols - e + z;
    }
    return done;
}

/* Of two in a row, mostly queries and keys, by one launch. */
KERNEL(rope) {
    const u32 first = COUNT, all = op->more ? first + dim(step, op[1].rows) * op[1].dst.cols : first;
    FOR_EACH(i, all) {
        if (i < first) turn(op, step, i);
        else turn(op + 1, step, i - first);
    }
}

#endif
