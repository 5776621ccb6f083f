/* types.h - the block formats of ggml, each as one function that gives eight neighbouring elements of a row.
 *
 * Layouts: ggml-common.h; the order of operations is that of realm-sys/src/quant, so the elements have its bits. Eight elements never
 * cross a sub-block. ACTIVATIONS is the form that products take their input in: 0 floats, else signed bytes with a scale for each so many.
 */
#ifndef REALM_GPU_TYPES_H
#define REALM_GPU_TYPES_H

#include "num.h"

#define EIGHT for (u32 i = 0; i < 8; i++)
/* Blocks of LEN elements in SIZE bytes: `p` is the block of group `g` of eight, `o` where the group begins in it. */
#define BLOCK_OF(LEN_, SIZE_)                                     \
    enum { LEN = LEN_, SIZE = SIZE_ };                            \
    DEVICE GLOBAL const u8 *block(GLOBAL const u8 *row, u32 g) {  \
        return row + (u64)(g / (LEN / 8)) * SIZE;                 \
    }

struct F32 {
    enum { LEN = 1, SIZE = 4, ACTIVATIONS = 0 };
    DEVICE float one(GLOBAL const u8 *row, u32 e) { return ((GLOBAL const float *)row)[e]; }
};
struct F16 {
    enum { LEN = 1, SIZE = 2, ACTIVATIONS = 0 };
    DEVICE float one(GLOBAL const u8 *row, u32 e) { return half_at(row + 2 * (u64)e); }
};
struct BF16 {
    enum { LEN = 1, SIZE = 2, ACTIVATIONS = 0 };
    DEVICE float one(GLOBAL const u8 *row, u32 e) { return bf16_value(((GLOBAL const u16 *)row)[e]); }
};

/* Elements of a plain type may end inside a group: what is missing is 0. */
template <class T> DEVICE void plain_eight(GLOBAL const u8 *row, u32 g, u32 k, LOCAL float *y) {
    EIGHT y[i] = 8 * g + i < k ? T::one(row, 8 * g + i) : 0.0f;
}

/* A nibble of the formats where byte j holds elements j and j + 16. */
DEVICE u32 nibble(GLOBAL const u8 *q, u32 o, u32 i) { return q[o % 16 + i] >> (o / 16 * 4) & 15; }

struct Q4_0 {
    BLOCK_OF(32, 18)
    enum { ACTIVATIONS = 32 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const float d = half_at(p);
        EIGHT y[i] = d * (float)((i32)nibble(p + 2, g % 4 * 8, i) - 8);
    }
};
struct Q4_1 {
    BLOCK_OF(32, 20)
    enum { ACTIVATIONS = 32 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const float d = half_at(p), m = half_at(p + 2);
        EIGHT y[i] = d * (float)nibble(p + 4, g % 4 * 8, i) + m;
    }
};
DEVICE u32 fifth(GLOBAL const u8 *bits, u32 e) { return (u32)(bits[e / 8] >> (e % 8) & 1) << 4; }
struct Q5_0 {
    BLOCK_OF(32, 22)
    enum { ACTIVATIONS = 32 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const u32 o = g % 4 * 8;
        const float d = half_at(p);
        EIGHT y[i] = d * (float)((i32)(nibble(p + 6, o, i) | fifth(p + 2, o + i)) - 16);
    }
};
struct Q5_1 {
    BLOCK_OF(32, 24)
    enum { ACTIVATIONS = 32 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const u32 o = g % 4 * 8;
        const float d = half_at(p), m = half_at(p + 2);
        EIGHT y[i] = d * (float)(nibble(p + 8, o, i) | fifth(p + 4, o + i)) + m;
    }
};
struct Q8_0 {
    BLOCK_OF(32, 34)
    enum { ACTIVATIONS = 32 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const float d = half_at(p);
        EIGHT y[i] = d * (float)(i8)p[2 + g % 4 * 8 + i];
    }
};

CONSTANT i8 IQ4_VALUES[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
CONSTANT i8 E2M1_DOUBLED[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

struct IQ4_NL {
    BLOCK_OF(32, 18)
    enum { ACTIVATIONS = 32 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const float d = half_at(p);
        EIGHT y[i] = d * (float)IQ4_VALUES[nibble(p + 2, g % 4 * 8, i)];
    }
};
struct MXFP4 {
    BLOCK_OF(32, 17)
    enum { ACTIVATIONS = 32 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const u32 e = p[0];
        const float d = float_of(e < 2 ? 0x00200000u << e : (e - 1) << 23);
        EIGHT y[i] = d * (float)E2M1_DOUBLED[nibble(p + 1, g % 4 * 8, i)];
    }
};

struct Q2_K {
    BLOCK_OF(256, 84)
    enum { ACTIVATIONS = 256 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const u32 o = g % 32 * 8, sub = o / 16, shift = sub / 2 % 4 * 2;
        GLOBAL const u8 *q = p + 16 + 32 * (sub / 8) + o % 32;
        const float scale = half_at(p + 80) * (float)(p[sub] & 15), min = half_at(p + 82) * (float)(p[sub] >> 4);
        EIGHT y[i] = scale * (float)(q[i] >> shift & 3) - min;
    }
};
struct Q3_K {
    BLOCK_OF(256, 110)
    enum { ACTIVATIONS = 256 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const u32 o = g % 32 * 8, sub = o / 16, shift = sub / 2 % 4 * 2, bit = sub / 2;
        const u32 low = p[96 + sub % 8] >> (4 * (sub / 8)) & 15, high = p[104 + sub % 4] >> (2 * (sub / 4)) & 3;
        const float scale = half_at(p + 108) * (float)((i32)(low | high << 4) - 32);
        GLOBAL const u8 *q = p + 32 + 32 * (sub / 8) + o % 32, *mask = p + o % 32;
        EIGHT y[i] = scale * (float)((i32)((q[i] >> shift & 3) | (mask[i] >> bit & 1) << 2) - 4);
    }
};

/* Scale and minimum of sub-block `j` of 8, six bits each. */
DEVICE void scale_min(GLOBAL const u8 *s, u32 j, LOCAL float &scale, LOCAL float &min) {
    scale = (float)(j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4);
    min = (float)(j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4);
}
struct Q4_K {
    BLOCK_OF(256, 144)
    enum { ACTIVATIONS = 256 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const u32 o = g % 32 * 8, sub = o / 32, shift = 4 * (sub % 2);
        GLOBAL const u8 *q = p + 16 + 32 * (sub / 2) + o % 32;
        float scale, min;
        scale_min(p + 4, sub, scale, min);
        scale = half_at(p) * scale, min = half_at(p + 2) * min;
        EIGHT y[i] = scale * (float)(q[i] >> shift & 15) - min;
    }
};
struct Q5_K {
    BLOCK_OF(256, 176)
    enum { ACTIVATIONS = 256 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const u32 o = g % 32 * 8, sub = o / 32, shift = 4 * (sub % 2);
        GLOBAL const u8 *q = p + 48 + 32 * (sub / 2) + o % 32, *high = p + 16 + o % 32;
        float scale, min;
        scale_min(p + 4, sub, scale, min);
        scale = half_at(p) * scale, min = half_at(p + 2) * min;
        EIGHT y[i] = scale * (float)((q[i] >> shift & 15) | (high[i] >> sub & 1) << 4) - min;
    }
};
struct Q6_K {
    BLOCK_OF(256, 210)
    enum { ACTIVATIONS = 256 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const u32 o = g % 32 * 8, sub = o / 16, n = sub / 8, layer = sub / 2 % 4;
        GLOBAL const u8 *low = p + 64 * n + 32 * (layer % 2) + o % 32, *high = p + 128 + 32 * n + o % 32;
        const float scale = half_at(p + 208) * (float)(i8)p[192 + sub];
        EIGHT y[i] = scale * (float)((i32)((low[i] >> (4 * (layer / 2)) & 15) | (high[i] >> (2 * layer) & 3) << 4) - 32);
    }
};
struct IQ4_XS {
    BLOCK_OF(256, 136)
    enum { ACTIVATIONS = 256 };
    DEVICE void eight(GLOBAL const u8 *row, u32 g, LOCAL float *y) {
        GLOBAL const u8 *p = block(row, g);
        const u32 o = g % 32 * 8, sub = o / 32;
        const u32 low = p[4 + sub / 2] >> (4 * (sub % 2)) & 15, high = (u32)(p[2] | p[3] << 8) >> (2 * sub) & 3;
        const float d = half_at(p) * (float)((i32)(low | high << 4) - 32);
        EIGHT y[i] = d * (float)IQ4_VALUES[nibble(p + 8 + 16 * sub, o % 32, i)];
    }
};

/* Group `g` of a row of `k` elements. */
template <class T> struct Reader {
    DEVICE void eight(GLOBAL const u8 *row, u32 g, u32, LOCAL float *y) { T::eight(row, g, y); }
};
#define PLAIN(T)                                                                      \
    template <> struct Reader<T> {                                                    \
        DEVICE void eight(GLOBAL const u8 *row, u32 g, u32 k, LOCAL float *y) {       \
            plain_eight<T>(row, g, k, y);                                             \
        }                                                                             \
    };
PLAIN(F32)
PLAIN(F16)
PLAIN(BF16)

/* All of them, with ggml's names: kernels for a type are called after it. plan.rs has the same list. */
#define FOR_EACH_TYPE(X)                                                                                                    \
    X(F32, f32) X(F16, f16) X(BF16, bf16) X(Q8_0, q8_0) X(Q4_0, q4_0) X(Q4_1, q4_1) X(Q5_0, q5_0) X(Q5_1, q5_1)             \
    X(IQ4_NL, iq4_nl) X(MXFP4, mxfp4) X(Q2_K, q2_K) X(Q3_K, q3_K) X(Q4_K, q4_K) X(Q5_K, q5_K) X(Q6_K, q6_K) X(IQ4_XS, iq4_xs)

#endif
