/* types.h - weights as they lie on the device, each type in one function that unpacks a vector of 16 bytes.
 *
 * When a matrix is uploaded (weights.rs) a row's blocks are taken apart: the bytes that hold quants come first, for all blocks, so that
 * they are read as aligned vectors; behind them is the rest of each block, scales mostly, in its order. A row begins at a multiple of 16.
 * Floats stay as they are.
 *
 * A quantized type says what a vector becomes: GROUPS of 16 elements as signed bytes, four to a word, each group with a
 * scale and, if MIN, a minimum; an element is `scale * q - min`, with the bits that realm-sys/src/quant gives. LEN: elements of a block; QUANTS,
 * REST: bytes of its two parts; VECTORS: how many vectors of quants there are to a block. ACTIVATIONS: products take their
 * input as signed bytes with a scale for each so many; 0: as floats. Layouts of blocks: ggml-common.h.
 */
#ifndef REALM_GPU_TYPES_H
#define REALM_GPU_TYPES_H

#include "num.h"

/* ---- words of four signed bytes ---- */

struct Vector {
    u32 x[4];
};

#if defined(__METAL_VERSION__)
DEVICE Vector load16(GLOBAL const u8 *p) {
    const uint4 v = *(GLOBAL const uint4 *)p;
    return Vector{{v.x, v.y, v.z, v.w}};
}
#elif defined(__CUDACC__)
DEVICE Vector load16(GLOBAL const u8 *p) {
    const uint4 v = __ldg((const uint4 *)p);
    return Vector{{v.x, v.y, v.z, v.w}};
}
#else
DEVICE Vector load16(const u8 *p) {
    Vector v;
    std::memcpy(&v, p, 16);
    return v;
}
#endif

/* The same of a product's input. `fresh`: other blocks may have written it since the kernel began (program.h), so the cache for constants is passed by. */
DEVICE Vector input16(GLOBAL const u8 *p, bool fresh) {
#if defined(__CUDACC__)
    if (fresh) {
        const uint4 v = *(const uint4 *)p;
        return Vector{{v.x, v.y, v.z, v.w}};
    }
#endif
    return load16(p);
}

DEVICE i32 byte_of(u32 word, u32 i) { return (i32)(i8)(word >> (8 * i)); }

/* sum + the products of the four bytes. */
DEVICE i32 dot4(u32 a, u32 b, i32 sum) {
#if defined(__CUDACC__)
    return __dp4a((i32)a, (i32)b, sum);
#else
    for (u32 i = 0; i < 4; i++) sum += byte_of(a, i) * byte_of(b, i);
    return sum;
#endif
}

/* Each byte, which is below 128, less `by`. */
DEVICE u32 less(u32 x, u32 by) { return ((x | 0x80808080u) - by * 0x01010101u) ^ 0x80808080u; }

/* Bits 0 to 3 as the lowest of four bytes. */
DEVICE u32 spread(u32 bits) { return (bits & 15u) * 0x00204081u & 0x01010101u; }

/* Four bytes below 16 as entries of a table of signed bytes, which is four words. */
struct Table {
    u32 x[4];
};
DEVICE u32 look_up(u32 at, LOCAL const Table &t) {
#if defined(__CUDACC__)
    const u32 low = at & 0x07070707u;
    const u32 pick = (low & 15u) | (low >> 4 & 0xf0u) | (low >> 8 & 0xf00u) | (low >> 12 & 0xf000u);
    const u32 upper = (at >> 3 & 0x01010101u) * 0xffu;
    return (__byte_perm(t.x[0], t.x[1], pick) & ~upper) | (__byte_perm(t.x[2], t.x[3], pick) & upper);
#else
    u32 word = 0;
    for (u32 i = 0; i < 4; i++) {
        const u32 e = at >> (8 * i) & 15u;
        word |= (t.x[e / 4] >> (e % 4 * 8) & 0xffu) << (8 * i);
    }
    return word;
#endif
}
/* -127 -104 -83 -65, -49 -35 -22 -10, 1 13 25 38, 53 69 89 113. */
DEVICE Table iq4_table() { return Table{{0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u}}; }
/* E2M1 doubled: 0 1 2 3, 4 6 8 12, 0 -1 -2 -3, -4 -6 -8 -12. */
DEVICE Table e2m1_table() { return Table{{0x03020100u, 0x0c080604u, 0xfdfeff00u, 0xf4f8fafcu}}; }

/* ---- quantized types ---- */

/* A vector's elements. */
template <u32 G> struct Unpacked {
    u32 q[4 * G];
    float scale[G], min[G];
};

#define SHAPE(LEN_, QUANTS_, REST_, VECTORS_, GROUPS_, MIN_, ACTIVATIONS_) \
    enum { LEN = LEN_, QUANTS = QUANTS_, REST = REST_, VECTORS = VECTORS_, GROUPS = GROUPS_, MIN = MIN_, ACTIVATIONS = ACTIVATIONS_ };
/* Vector `j` of a block, whose quants are at `q` and whose rest is at `r`. */
#define LOAD DEVICE void load(GLOBAL const u8 *q, GLOBAL const u8 *r, u32 j, LOCAL Unpacked<GROUPS> &to)
/* Where group `g` of vector `j` begins in the block. */
#define AT DEVICE u32 at(u32 j, u32 g)
#define FOUR UNROLL for (u32 i = 0; i < 4; i++)
#define LOW 0x0f0f0f0fu

/* Nibbles: the lower ones are the first half of a block of 32. */
template <class T> DEVICE void both(LOCAL T &to, float scale, float min) {
    to.scale[0] = to.scale[1] = scale;
    to.min[0] = to.min[1] = min;
}

struct Q4_0 {
    SHAPE(32, 16, 2, 1, 2, 0, 32)
    AT { return 16 * g; }
    LOAD {
        const Vector v = load16(q);
        FOUR to.q[i] = less(v.x[i] & LOW, 8), to.q[4 + i] = less(v.x[i] >> 4 & LOW, 8);
        both(to, half_at(r), 0.0f);
    }
};
struct Q4_1 {
    SHAPE(32, 16, 4, 1, 2, 1, 32)
    AT { return 16 * g; }
    LOAD {
        const Vector v = load16(q);
        FOUR to.q[i] = v.x[i] & LOW, to.q[4 + i] = v.x[i] >> 4 & LOW;
        both(to, half_at(r), -half_at(r + 2));
    }
};
DEVICE u32 word_at(GLOBAL const u8 *p) { return (u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24; }
struct Q5_0 {
    SHAPE(32, 16, 6, 1, 2, 0, 32)
    AT { return 16 * g; }
    LOAD {
        const Vector v = load16(q);
        const u32 fifth = word_at(r + 2);
        FOUR {
            to.q[i] = less((v.x[i] & LOW) | spread(fifth >> (4 * i)) << 4, 16);
            to.q[4 + i] = less((v.x[i] >> 4 & LOW) | spread(fifth >> (16 + 4 * i)) << 4, 16);
        }
        both(to, half_at(r), 0.0f);
    }
};
struct Q5_1 {
    SHAPE(32, 16, 8, 1, 2, 1, 32)
    AT { return 16 * g; }
    LOAD {
        const Vector v = load16(q);
        const u32 fifth = word_at(r + 4);
        FOUR {
            to.q[i] = (v.x[i] & LOW) | spread(fifth >> (4 * i)) << 4;
            to.q[4 + i] = (v.x[i] >> 4 & LOW) | spread(fifth >> (16 + 4 * i)) << 4;
        }
        both(to, half_at(r), -half_at(r + 2));
    }
};
struct Q8_0 {
    SHAPE(32, 32, 2, 2, 1, 0, 32)
    AT { return 16 * j; }
    LOAD {
        const Vector v = load16(q + 16 * j);
        FOUR to.q[i] = v.x[i];
        to.scale[0] = half_at(r), to.min[0] = 0.0f;
    }
};
struct IQ4_NL {
    SHAPE(32, 16, 2, 1, 2, 0, 32)
    AT { return 16 * g; }
    LOAD {
        const Vector v = load16(q);
        const Table t = iq4_table();
        FOUR to.q[i] = look_up(v.x[i] & LOW, t), to.q[4 + i] = look_up(v.x[i] >> 4 & LOW, t);
        both(to, half_at(r), 0.0f);
    }
};
struct MXFP4 {
    SHAPE(32, 16, 1, 1, 2, 0, 32)
    AT { return 16 * g; }
    LOAD {
        const Vector v = load16(q);
        const Table t = e2m1_table();
        const u32 e = r[0];
        FOUR to.q[i] = look_up(v.x[i] & LOW, t), to.q[4 + i] = look_up(v.x[i] >> 4 & LOW, t);
        both(to, float_of(e < 2 ? 0x00200000u << e : (e - 1) << 23), 0.0f);
    }
};

/* Two bits of 16 bytes are layers, 32 elements apart. The rest: scales, then d and dmin. */
struct Q2_K {
    SHAPE(256, 64, 20, 4, 4, 1, 256)
    AT { return j / 2 * 128 + 32 * g + j % 2 * 16; }
    LOAD {
        const Vector v = load16(q + 16 * j);
        const float d = half_at(r + 16), dmin = half_at(r + 18);
        UNROLL for (u32 g = 0; g < 4; g++) {
            const u32 s = r[j / 2 * 8 + 2 * g + j % 2];
            FOUR to.q[4 * g + i] = v.x[i] >> (2 * g) & 0x03030303u;
            to.scale[g] = d * (float)(s & 15), to.min[g] = dmin * (float)(s >> 4);
        }
    }
};
/* Quants: third bits (32 bytes, a layer to a bit), then as Q2_K. The rest: packed scales, d. */
struct Q3_K {
    SHAPE(256, 96, 14, 4, 4, 0, 256)
    AT { return j / 2 * 128 + 32 * g + j % 2 * 16; }
    LOAD {
        const Vector v = load16(q + 32 + 16 * j), third = load16(q + 16 * (j % 2));
        const float d = half_at(r + 12);
        UNROLL for (u32 g = 0; g < 4; g++) {
            const u32 sub = j / 2 * 8 + 2 * g + j % 2, layer = j / 2 * 4 + g;
            const u32 low = r[sub % 8] >> (4 * (sub / 8)) & 15, high = r[8 + sub % 4] >> (2 * (sub / 4)) & 3;
            FOUR to.q[4 * g + i] = less((v.x[i] >> (2 * g) & 0x03030303u) | (third.x[i] >> layer & 0x01010101u) << 2, 4);
            to.scale[g] = d * (float)((i32)(low | high << 4) - 32), to.min[g] = 0.0f;
        }
    }
};
/* Scale and minimum of sub-block `j` of 8, six bits each. */
DEVICE void scale_min(GLOBAL const u8 *s, u32 j, LOCAL float &scale, LOCAL float &min) {
    scale = (float)(j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4);
    min = (float)(j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4);
}
/* The two sub-blocks that a vector of nibbles has a half of: lower ones, upper ones. The rest: d, dmin, packed scales. */
template <class T> DEVICE void scale_pair(GLOBAL const u8 *r, u32 pair, LOCAL T &to) {
    UNROLL for (u32 g = 0; g < 2; g++) {
        float scale, min;
        scale_min(r + 4, 2 * pair + g, scale, min);
        to.scale[g] = half_at(r) * scale, to.min[g] = half_at(r + 2) * min;
    }
}
struct Q4_K {
    SHAPE(256, 128, 16, 8, 2, 1, 256)
    AT { return j / 2 * 64 + 32 * g + j % 2 * 16; }
    LOAD {
        const Vector v = load16(q + 16 * j);
        FOUR to.q[i] = v.x[i] & LOW, to.q[4 + i] = v.x[i] >> 4 & LOW;
        scale_pair(r, j / 2, to);
    }
};
/* Quants: fifth bits (32 bytes, a sub-block to a bit), then as Q4_K. */
struct Q5_K {
    SHAPE(256, 160, 16, 8, 2, 1, 256)
    AT { return j / 2 * 64 + 32 * g + j % 2 * 16; }
    LOAD {
        const Vector v = load16(q + 32 + 16 * j), fifth = load16(q + 16 * (j % 2));
        FOUR {
            to.q[i] = (v.x[i] & LOW) | (fifth.x[i] >> (j / 2 * 2) & 0x01010101u) << 4;
            to.q[4 + i] = (v.x[i] >> 4 & LOW) | (fifth.x[i] >> (j / 2 * 2 + 1) & 0x01010101u) << 4;
        }
        scale_pair(r, j / 2, to);
    }
};
/* Quants: nibbles (two halves of 64 bytes, upper ones 64 elements behind), then upper two bits. The rest: scales, d. */
struct Q6_K {
    SHAPE(256, 192, 18, 8, 2, 0, 256)
    AT { return j / 4 * 128 + j % 4 / 2 * 32 + 64 * g + j % 2 * 16; }
    LOAD {
        const u32 layer = j % 4 / 2;
        const Vector v = load16(q + 16 * j), high = load16(q + 128 + j / 4 * 32 + j % 2 * 16);
        const float d = half_at(r + 16);
        FOUR {
            to.q[i] = less((v.x[i] & LOW) | (high.x[i] >> (2 * layer) & 0x03030303u) << 4, 32);
            to.q[4 + i] = less((v.x[i] >> 4 & LOW) | (high.x[i] >> (2 * layer + 4) & 0x03030303u) << 4, 32);
        }
        UNROLL for (u32 g = 0; g < 2; g++) {
            to.scale[g] = d * (float)(i8)r[j / 4 * 8 + 2 * (layer + 2 * g) + j % 2], to.min[g] = 0.0f;
        }
    }
};
/* The rest: d, upper bits of scales, lower bits. */
struct IQ4_XS {
    SHAPE(256, 128, 8, 8, 2, 0, 256)
    AT { return 32 * j + 16 * g; }
    LOAD {
        const Vector v = load16(q + 16 * j);
        const Table t = iq4_table();
        const u32 low = r[4 + j / 2] >> (4 * (j % 2)) & 15, high = (u32)(r[2] | r[3] << 8) >> (2 * j) & 3;
        FOUR to.q[i] = look_up(v.x[i] & LOW, t), to.q[4 + i] = look_up(v.x[i] >> 4 & LOW, t);
        both(to, half_at(r) * (float)((i32)(low | high << 4) - 32), 0.0f);
    }
};

/* ---- floats ---- */

struct F32 {
    enum { SIZE = 4, ACTIVATIONS = 0 };
    DEVICE float one(GLOBAL const u8 *row, u32 e) { return ((GLOBAL const float *)row)[e]; }
    DEVICE void eight(GLOBAL const u8 *row, u32 v, LOCAL float *w) {
        const Vector a = load16(row + 32 * (u64)v), z = load16(row + 32 * (u64)v + 16);
        FOUR w[i] = float_of(a.x[i]), w[4 + i] = float_of(z.x[i]);
    }
};
struct F16 {
    enum { SIZE = 2, ACTIVATIONS = 0 };
    DEVICE float one(GLOBAL const u8 *row, u32 e) { return half_at(row + 2 * (u64)e); }
    DEVICE void eight(GLOBAL const u8 *row, u32 v, LOCAL float *w) {
        const Vector a = load16(row + 16 * (u64)v);
        FOUR w[2 * i] = half_value((u16)a.x[i]), w[2 * i + 1] = half_value((u16)(a.x[i] >> 16));
    }
};
struct BF16 {
    enum { SIZE = 2, ACTIVATIONS = 0 };
    DEVICE float one(GLOBAL const u8 *row, u32 e) { return bf16_value(((GLOBAL const u16 *)row)[e]); }
    DEVICE void eight(GLOBAL const u8 *row, u32 v, LOCAL float *w) {
        const Vector a = load16(row + 16 * (u64)v);
        FOUR w[2 * i] = float_of(a.x[i] << 16), w[2 * i + 1] = float_of(a.x[i] & 0xffff0000u);
    }
};

/* ---- what kernels do with a vector, whatever the type ---- */

/* Quantized: a product sums integers inside a group, and adds one float for it. */
template <class T, u32 ACTIVATIONS> struct Form {
    typedef Unpacked<T::GROUPS> Part;
    DEVICE u32 vectors(u32 k) { return k / T::LEN * T::VECTORS; }
    DEVICE u32 start(u32 v, u32 g) { return v / T::VECTORS * T::LEN + T::at(v % T::VECTORS, g); }
    DEVICE void load(GLOBAL const u8 *row, u32 v, u32 k, LOCAL Part &to) {
        const u32 block = v / T::VECTORS;
        T::load(row + (u64)block * T::QUANTS, row + (u64)(k / T::LEN) * T::QUANTS + block * T::REST, v % T::VECTORS, to);
    }
    /* `x` is a prepared row (products.h). */
    DEVICE float dot(LOCAL const Part &w, GLOBAL const u8 *x, bool fresh, u32 v, u32 k, float sum) {
        UNROLL for (u32 g = 0; g < T::GROUPS; g++) {
            const u32 at = start(v, g);
            const Vector a = input16(x + at, fresh);
            const float d = ((GLOBAL const float *)(x + k))[at / 32];
            i32 products = 0, inputs = 0;
            FOUR products = dot4(w.q[4 * g + i], a.x[i], products);
            sum = fmaf_(w.scale[g] * d, (float)products, sum);
            if (T::MIN) {
                FOUR inputs = dot4(0x01010101u, a.x[i], inputs);
                sum = fmaf_(-(w.min[g] * d), (float)inputs, sum);
            }
        }
        return sum;
    }
    DEVICE void put(LOCAL const Part &w, GLOBAL float *y, u32 v, u32) {
        UNROLL for (u32 g = 0; g < T::GROUPS; g++) {
            UNROLL for (u32 e = 0; e < 16; e++) {
                const float x = w.scale[g] * (float)byte_of(w.q[4 * g + e / 4], e % 4);
                y[start(v, g) + e] = T::MIN ? x - w.min[g] : x;
            }
        }
    }
};

/* Floats: eight of them. A row of another length is read one by one, and what is missing at its end is 0. */
template <class T> struct Form<T, 0> {
    struct Part {
        float w[8];
    };
    DEVICE u32 vectors(u32 k) { return (k + 7) / 8; }
    DEVICE void load(GLOBAL const u8 *row, u32 v, u32 k, LOCAL Part &to) {
        if (k % 8 == 0) T::eight(row, v, to.w);
        else
            for (u32 i = 0; i < 8; i++) to.w[i] = 8 * v + i < k ? T::one(row, 8 * v + i) : 0.0f;
    }
    DEVICE float dot(LOCAL const Part &w, GLOBAL const u8 *x, bool fresh, u32 v, u32 k, float sum) {
        float in[8];
        if (k % 8 == 0) {
            const Vector a = input16(x + 32 * (u64)v, fresh), z = input16(x + 32 * (u64)v + 16, fresh);
            FOUR in[i] = float_of(a.x[i]), in[4 + i] = float_of(z.x[i]);
        } else
            for (u32 i = 0; i < 8; i++) in[i] = 8 * v + i < k ? ((GLOBAL const float *)x)[8 * v + i] : 0.0f;
        UNROLL for (u32 i = 0; i < 8; i++) sum = fmaf_(w.w[i], in[i], sum);
        return sum;
    }
    DEVICE void put(LOCAL const Part &w, GLOBAL float *y, u32 v, u32 k) {
        for (u32 i = 0; i < 8 && 8 * v + i < k; i++) y[8 * v + i] = w.w[i];
    }
};

/* All of them, with ggml's names: kernels for a type are called after it. ops.rs has the same list. */
#define FOR_EACH_TYPE(X)                                                                                                    \
    X(F32, f32) X(F16, f16) X(BF16, bf16) X(Q8_0, q8_0) X(Q4_0, q4_0) X(Q4_1, q4_1) X(Q5_0, q5_0) X(Q5_1, q5_1)             \
    X(IQ4_NL, iq4_nl) X(MXFP4, mxfp4) X(Q2_K, q2_K) X(Q3_K, q3_K) X(Q4_K, q4_K) X(Q5_K, q5_K) X(Q6_K, q6_K) X(IQ4_XS, iq4_xs)

#endif
