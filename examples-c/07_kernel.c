/* 07_kernel.c - one kernel of your own: matrix products on Q8_0 weights in C, everything else as before.
 *
 * An accelerator for one operation, or code tuned for one processor, needs no backend: a function is enough. It is
 * called with whole operands in host memory. What an operation computes, to the bit, is defined (guest/ABI.md, and
 * realm-sys/src/graph/kernels); a kernel that keeps to it changes nothing that can be seen, and this one is compared.
 */
#include <math.h>

#include "example.h"

#define MUL_MAT 4u /* codes of operations: guest/ABI.md */
#define Q8_0 8u    /* types are numbered as in GGUF files */
#define BLOCK 32u  /* a block of Q8_0: the scale as a half, then 32 signed bytes */
#define BLOCK_BYTES 34u
#define MAX_COLS 8192u

static float half_to_float(const unsigned char *b) {
    const unsigned bits = b[0] | (unsigned)b[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
    float value = exponent == 0 ? ldexpf((float)fraction, -24) : ldexpf((float)(fraction + 1024), (int)exponent - 25);
    if (exponent == 31) value = fraction != 0 ? NAN : INFINITY;
    return bits >> 15 ? -value : value;
}

/* Activations become bytes too, with one scale for 32 of them: so the sums of products are exact in integers. */
static float quantize(const float *x, signed char *q) {
    float top = 0.0f;
    for (unsigned i = 0; i < BLOCK; i++) {
        if (!isfinite(x[i])) {
            memset(q, 0, BLOCK);
            return NAN;
        }
        top = fmaxf(top, fabsf(x[i]));
    }
    const float scale = top / 127.0f;
    if (scale < 1.17549435e-38f) {
        memset(q, 0, BLOCK);
        return 0.0f;
    }
    const float inverse = 1.0f / scale;
    for (unsigned i = 0; i < BLOCK; i++) q[i] = (signed char)rintf(x[i] * inverse); /* ties to even */
    return scale;
}

/* One weight row times one row of activations. */
static float dot(const unsigned char *w, const signed char *q, const float *scales, unsigned blocks) {
    float sum = 0.0f;
    for (unsigned b = 0; b < blocks; b++, w += BLOCK_BYTES, q += BLOCK) {
        int products = 0;
        for (unsigned i = 0; i < BLOCK; i++) products += (signed char)w[2 + i] * q[i];
        const float scale = half_to_float(w) * scales[b];
        sum = fmaf(scale, (float)products, sum); /* rounded once, in the order of the blocks */
    }
    return sum;
}

/* dst[n, m] = x[n, k] · wᵀ + bias. */
static int32_t mul_mat(void *ctx, const realm_kernel_args *args) {
    const realm_operand *w = &args->src[0], *x = &args->src[1], *bias = &args->src[2], *dst = &args->dst;
    const uint64_t rows = dst->rows < x->rows ? dst->rows : x->rows; /* a session buffer may have more than are meant */
    const unsigned blocks = w->cols / BLOCK;
    signed char q[MAX_COLS];
    float scales[MAX_COLS / BLOCK];
    if (w->cols > MAX_COLS) return REALM_STATUS_UNSUPPORTED;
    for (uint64_t r = 0; r < rows; r++) {
        const float *from = (const float *)x->data + r * x->cols;
        float *to = (float *)dst->data + r * dst->cols;
        for (unsigned b = 0; b < blocks; b++) scales[b] = quantize(from + b * BLOCK, q + b * BLOCK);
        for (uint32_t m = 0; m < dst->cols; m++) {
            to[m] = dot((const unsigned char *)w->data + (size_t)m * blocks * BLOCK_BYTES, q, scales, blocks);
            if (bias->data != NULL) {
                float add; /* weights may lie at any address */
                memcpy(&add, (const unsigned char *)bias->data + 4 * (size_t)m, sizeof add);
                to[m] += add;
            }
        }
    }
    ++*(unsigned long *)ctx; /* one thread polls in this program; with several this would have to be atomic */
    return REALM_STATUS_OK;
}

/* Answers a question and returns the logits of its end, one for each token of the vocabulary. */
static float *answer(realm_runtime *runtime, uint32_t model, char *text, size_t room, size_t *count) {
    realm_session *session = NULL;
    realm_error error = {0, ""};
    must(realm_session_open(runtime, model, NULL, &session, &error), &error);
    ask(session, "What is the capital of France?", text, room);
    (void)realm_session_logits(session, NULL, 0, count, &error); /* how many there are */
    float *logits = malloc(*count * sizeof *logits);
    expect(*count > 0 && logits != NULL, "there are logits");
    must(realm_session_logits(session, logits, *count, count, &error), &error);
    realm_session_close(session);
    return logits;
}

int main(int argc, char **argv) {
    const uint32_t model = load_model(argc > 1 ? argv[1] : DEMO_MODEL);
    realm_runtime *runtime = make_runtime(realm_posix_platform());
    realm_error error = {0, ""};
    unsigned long calls = 0;
    char before[256], after[256];
    size_t count = 0;

    float *want = answer(runtime, model, before, sizeof before, &count);
    must(realm_runtime_add_kernel(runtime, MUL_MAT, Q8_0, mul_mat, &calls, &error), &error);
    float *got = answer(runtime, model, after, sizeof after, &count); /* sessions opened from now on use it */

    printf("%s\n%lu products by the kernel of this file\n", after, calls);
    expect(calls > 0, "the kernel was called");
    expect(strcmp(before, after) == 0, "the answer is the same");
    expect(memcmp(want, got, count * sizeof *got) == 0, "and every bit of the logits");
    free(want);
    free(got);
    realm_runtime_destroy(runtime);
    return 0;
}
