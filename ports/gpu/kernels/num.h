/* num.h - numbers: halves, functions of one variable, reductions.
 *
 * The functions are those of realm-sys/src/num/math.rs, operation for operation.
 */
#ifndef REALM_GPU_NUM_H
#define REALM_GPU_NUM_H

#include "dialect.h"

#if defined(__METAL_VERSION__)
#define fmaf_(a, b, c) fma(a, b, c)
#define sqrtf_(x) sqrt(x)
#define logf_(x) log(x)
DEVICE u32 bits_of(float x) { return as_type<u32>(x); }
DEVICE float float_of(u32 x) { return as_type<float>(x); }
DEVICE float half_value(u16 h) { return float(as_type<half>(h)); }
DEVICE float half_at(GLOBAL const u8 *p) { return half_value(*(GLOBAL const u16 *)p); }
DEVICE u16 to_half(float x) { return as_type<u16>(half(x)); }
#define SHUFFLE_XOR(x, by) simd_shuffle_xor(x, by)
#elif defined(__CUDACC__)
#define fmaf_(a, b, c) __fmaf_rn(a, b, c)
#define sqrtf_(x) __fsqrt_rn(x)
#define logf_(x) logf(x)
DEVICE u32 bits_of(float x) { return __float_as_uint(x); }
DEVICE float float_of(u32 x) { return __uint_as_float(x); }
DEVICE float half_value(u16 h) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}
DEVICE float half_at(GLOBAL const u8 *p) { return half_value(*(GLOBAL const u16 *)p); }
DEVICE u16 to_half(float x) {
    u16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
#define SHUFFLE_XOR(x, by) __shfl_xor_sync(0xffffffffu, x, by)
#else
#define fmaf_(a, b, c) __builtin_fmaf(a, b, c)
#define sqrtf_(x) std::sqrt(x)
#define logf_(x) std::log(x)
DEVICE u32 bits_of(float x) {
    u32 b;
    std::memcpy(&b, &x, 4);
    return b;
}
DEVICE float float_of(u32 b) {
    float x;
    std::memcpy(&x, &b, 4);
    return x;
}
/* As realm-sys/src/quant/f16.rs has them. */
DEVICE float half_value(u16 h) {
    const u32 sign = (u32)(h & 0x8000) << 16, magnitude = (u32)(h & 0x7fff) << 13;
    const u32 normal = magnitude + (112u << 23);
    if (magnitude < 1u << 23) return float_of(sign | bits_of(float_of(magnitude + (113u << 23)) - float_of(113u << 23)));
    if (magnitude < 0x1fu << 23) return float_of(sign | normal);
    return float_of(sign | (normal + (112u << 23)) | (magnitude > 0x1fu << 23 ? 1u << 22 : 0));
}
DEVICE float half_at(const u8 *p) { return half_value((u16)(p[0] | p[1] << 8)); }
DEVICE u16 to_half(float x) {
    const u32 bits = bits_of(x), magnitude = bits & 0x7fffffffu;
    const u16 sign = (u16)((bits >> 16) & 0x8000);
    if (magnitude > 255u << 23) return (u16)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 143u << 23) return (u16)(sign | 0x7c00);
    if (magnitude < 113u << 23) return (u16)(sign | (bits_of(float_of(magnitude) + 0.5f) - (126u << 23)));
    return (u16)(sign | (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13);
}
#endif

DEVICE float bf16_value(u16 h) { return float_of((u32)h << 16); }
DEVICE float infinity_() { return float_of(0x7f800000u); }
DEVICE float nan_() { return float_of(0x7fc00000u); }
DEVICE bool is_nan(float x) { return (bits_of(x) & 0x7fffffffu) > 0x7f800000u; }
DEVICE bool is_finite(float x) { return (bits_of(x) & 0x7fffffffu) < 0x7f800000u; }
DEVICE float magnitude(float x) { return float_of(bits_of(x) & 0x7fffffffu); }

#define ROUND 12582912.0f

DEVICE float exp_(float x) {
    float y = x > 89.0f ? 89.0f : x;
    y = y < -88.0f ? -88.0f : y;
    const float t = fmaf_(y, 1.44269504088896340736f, ROUND);
    const float n = t - ROUND;
    float r = fmaf_(n, -0.69314575f, y);
    r = fmaf_(n, -1.4286068e-6f, r);
    float q = fmaf_(r, 0.00139506f, 0.008368954f);
    q = fmaf_(q, r, 0.041666206f);
    q = fmaf_(q, r, 0.16666518f);
    q = fmaf_(q, r, 0.5f);
    const float p = fmaf_(fmaf_(q, r, 1.0f), r, 1.0f);
    const i32 whole = (i32)(bits_of(t) - bits_of(ROUND)), part = whole >> 1;
    const float e = p * float_of((u32)(part + 127) << 23) * float_of((u32)(whole - part + 127) << 23);
    return x < -87.33654f ? 0.0f : e;
}

DEVICE float sigmoid_(float x) { return 1.0f / (1.0f + exp_(-x)); }
DEVICE float silu_(float x) { return x / (1.0f + exp_(-x)); }
DEVICE float gelu_tanh_(float x) { return x / (1.0f + exp_(fmaf_(x * x, -0.07135481f, -1.5957692f) * x)); }
DEVICE float gelu_quick_(float x) { return x / (1.0f + exp_(-1.702f * x)); }

DEVICE float tanh_(float x) {
    const float a = magnitude(x), u = x * x;
    float q = fmaf_(u, -0.0059058606f, 0.020805378f);
    q = fmaf_(q, u, -0.05378668f);
    q = fmaf_(q, u, 0.13331959f);
    q = fmaf_(q, u, -0.333333f);
    const float small = fmaf_(q * u, a, a), large = 1.0f - 2.0f / (exp_(a + a) + 1.0f);
    return float_of(bits_of(a < 0.6f ? small : large) | (bits_of(x) & 0x80000000u));
}

DEVICE float gelu_erf_(float x) {
    const float a = magnitude(x), u = x * x;
    float q = fmaf_(u, -7.5303055e-6f, 0.000113143644f);
    q = fmaf_(q, u, -0.0011859847f);
    q = fmaf_(q, u, 0.009973171f);
    q = fmaf_(q, u, -0.06649033f);
    q = fmaf_(q, u, 0.3989423f);
    const float small = fmaf_(q, x, 0.5f), t = 1.0f / fmaf_(a, 0.4f, 1.0f);
    float p = fmaf_(t, 0.06812105f, -0.18642707f);
    p = fmaf_(p, t, 0.10536208f);
    p = fmaf_(p, t, 0.055541217f);
    p = fmaf_(p, t, 0.13900209f);
    p = fmaf_(p, t, 0.15910003f);
    p = fmaf_(p, t, 0.15959579f);
    const float tail = exp_(-0.5f * u) * (t * p), large = x < 0.0f ? tail : 1.0f - tail;
    return x * (a < 1.0f ? small : large);
}

/* Kinds of GLU and UNARY. */
DEVICE float activate(u32 kind, float x) {
    switch (kind) {
    case 0: return x > 0.0f ? x : 0.0f;
    case 1: return gelu_tanh_(x);
    case 2: return silu_(x);
    case 3: return gelu_erf_(x);
    case 4: return gelu_quick_(x);
    case 5: return tanh_(x);
    default: return sigmoid_(x);
    }
}

/* ln(1 + e^x), with the logarithm's series in one division: no double precision, which not every GPU has. */
DEVICE float softplus_(float x) {
    const float u = exp_(-magnitude(x)), s = u / (2.0f + u), q = s * s;
    float sum = 0.0f;
    for (int odd = 15; odd >= 3; odd -= 2) sum = (sum + 1.0f / (float)odd) * q;
    return (x > 0.0f ? x : 0.0f) + 2.0f * fmaf_(s, sum, s);
}

/* Cosine and sine of `phase / 2^64` turns: a quarter, and the rest of it in radians. Polynomials: Cephes' sinf and cosf. */
DEVICE void cos_sin(u64 phase, LOCAL float &c, LOCAL float &s) {
    const u64 quarter = (phase + ((u64)1 << 61)) >> 62;
    const i64 rest = (i64)(phase - (quarter << 62));
    const float x = (float)rest * 3.40612158e-19f, z = x * x; /* 2 pi / 2^64 */
    float p = fmaf_(z, -1.9515295891e-4f, 8.3321608736e-3f);
    p = fmaf_(p, z, -1.6666654611e-1f);
    const float sine = fmaf_(p * z, x, x);
    float q = fmaf_(z, 2.443315711809948e-5f, -1.388731625493765e-3f);
    q = fmaf_(q, z, 4.166664568298827e-2f);
    const float cosine = fmaf_(q * z, z, fmaf_(-0.5f, z, 1.0f));
    const bool swap = quarter & 1;
    const float c0 = swap ? sine : cosine, s0 = swap ? cosine : sine;
    c = ((quarter + 1) & 2) ? -c0 : c0;
    s = (quarter & 2) ? -s0 : s0;
}

/* What a counter in shared memory was before it is one more. */
DEVICE u32 next_of(SHARED u32 *count) {
#if defined(__METAL_VERSION__)
    return atomic_fetch_add_explicit((SHARED atomic_uint *)count, 1u, memory_order_relaxed);
#elif defined(__CUDACC__)
    return atomicAdd(count, 1u);
#else
    return (*count)++;
#endif
}

/* The order of ARGMAX and TOP_K as one number: larger is better; a NaN is last; of equals the lower index. */
DEVICE u64 rank_of(float x, u32 index) {
    const u32 bits = bits_of(x);
    u32 key = bits >> 31 ? ~bits : bits | 0x80000000u;
    if (x == 0.0f) key = 0x80000000u;
    if (is_nan(x)) key = 0;
    return (u64)key << 32 | (u32)~index;
}

/* ---- reductions: butterflies inside a warp, then the warps in order ---- */

struct Sum {
    DEVICE float of(float a, float b) { return a + b; }
};
struct Max { /* passes over a NaN */
    DEVICE float of(float a, float b) { return b > a ? b : a; }
};
struct Best {
    DEVICE u64 of(u64 a, u64 b) { return b > a ? b : a; }
};

#if REALM_GPU
#if defined(__METAL_VERSION__)
DEVICE u64 shuffle_xor(u64 x, u32 by) {
    return (u64)simd_shuffle_xor((u32)(x >> 32), by) << 32 | simd_shuffle_xor((u32)x, by);
}
#else
DEVICE u64 shuffle_xor(u64 x, u32 by) { return SHUFFLE_XOR(x, by); }
#endif
DEVICE float shuffle_xor(float x, u32 by) { return SHUFFLE_XOR(x, by); }

template <class With, class T> DEVICE void warp_reduce(PRIVATE_REF(T) x) {
    for (u32 by = WARP / 2; by > 0; by /= 2) x = With::of(x, shuffle_xor(x, by));
}
#else
template <class With, class T> DEVICE void warp_reduce(T *x) {
    for (u32 by = WARP / 2; by > 0; by /= 2) {
        T y[THREADS];
        for (u32 t = 0; t < THREADS; t++) y[t] = With::of(x[t], x[t ^ by]);
        std::memcpy(x, y, sizeof y);
    }
}
#endif

/* Over all threads of a block, the same for all. `shared` is the kernel's; `x` is used up. */
template <class With, class T> DEVICE T block_reduce(Block b, PRIVATE_REF(T) x, SHARED float *shared) {
    SHARED T *part = (SHARED T *)shared;
    warp_reduce<With, T>(x);
    FOR_THREADS(t) {
        if (t % WARP == 0) part[t / WARP] = OF(x, t);
    }
    BARRIER();
    T all = part[0];
    for (u32 w = 1; w < WARPS; w++) all = With::of(all, part[w]);
    BARRIER();
    return all;
}

#endif
