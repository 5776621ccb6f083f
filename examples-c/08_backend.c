/* 08_backend.c - a backend: what a port to another processor is, with two operations and nothing else.
 *
 * A backend is a table of functions. The core cuts a program into runs of operations that the backend supports, has
 * each prepared once, and submits steps of it; what is not supported runs on the reference kernels. So a port can begin
 * with what matters. This one works in host memory and is synchronous; tests/c/port.c has memory of its own.
 */
#include <math.h>

#include "example.h"

enum { RMS_NORM = 2, ADD = 10 };

/* A run of operations of one program: what prepare makes and steps are submitted to. */
typedef struct plan {
    const realm_program *program; /* valid until discard */
    uint32_t first, count;
} plan;

static unsigned long operations;

static int is(uint32_t operand, uint32_t kind) { return operand >> 28 == kind; }
static uint32_t index_of(uint32_t operand) { return operand & 0x0fffffffu; }

/* It may be as particular as it likes: here norms of whole rows with a weight, sums of intermediates, nothing else. */
static int32_t supports(void *ctx, const realm_program *program, uint32_t i) {
    const realm_op *op = &program->ops[i];
    (void)ctx;
    if (!is(op->dst, REALM_OPERAND_VALUE) || !is(op->src[0], REALM_OPERAND_VALUE)) return 0;
    return (op->code == RMS_NORM && is(op->src[1], REALM_OPERAND_WEIGHT) && op->param[1] == 0) ||
           (op->code == ADD && is(op->src[1], REALM_OPERAND_VALUE));
}

static int32_t prepare(void *ctx, const realm_program *program, uint32_t first, uint32_t count, void **out,
                       uint64_t *workspace_bytes) {
    (void)ctx;
    plan *p = malloc(sizeof *p); /* a GPU port would compile something here */
    if (p == NULL) return REALM_STATUS_NO_MEMORY;
    p->program = program, p->first = first, p->count = count;
    *out = p;
    *workspace_bytes = 0;
    return REALM_STATUS_OK;
}

static void discard(void *ctx, void *p) {
    (void)ctx;
    free(p);
}

/* The cursor is the port's, zeroed, and remembers where a step is: here the next operation in words[0]. */
static int32_t submit(void *ctx, void *p, const realm_step *steps, uint32_t step_count, realm_cursor *cursor) {
    (void)ctx, (void)p, (void)cursor;
    /* One step at a time, please: batches of several sessions are optional. */
    return step_count == 1 && steps->repeat == 1 ? REALM_STATUS_OK : REALM_STATUS_UNSUPPORTED;
}

/* Intermediates lie in the step's scratch memory, where the core has planned them. */
static float *value(const realm_program *p, const realm_step *step, uint32_t operand) {
    return (float *)(void *)((char *)step->scratch + p->values[index_of(operand)].offset);
}

/* x / sqrt(mean(x^2) + eps) * w, for one row. */
static void rms_norm(const float *x, const void *w, float eps, float *y, uint32_t cols) {
    /* Sixteen sums, then halves onto halves: the order is part of the definition, and what SIMD does anyway. */
    float lane[16] = {0}, weight;
    for (uint32_t i = 0; i < cols; i++) lane[i % 16] = fmaf(x[i], x[i], lane[i % 16]);
    for (uint32_t half = 8; half > 0; half /= 2)
        for (uint32_t i = 0; i < half; i++) lane[i] += lane[i + half];
    const float scale = 1.0f / sqrtf(lane[0] / (float)cols + eps);
    for (uint32_t i = 0; i < cols; i++) {
        memcpy(&weight, (const char *)w + 4 * (size_t)i, sizeof weight); /* weights may lie at any address */
        y[i] = x[i] * scale * weight;
    }
}

static void run(const realm_program *p, const realm_step *step, const realm_op *op) {
    const realm_value *shape = &p->values[index_of(op->dst)];
    /* How many rows there are is a constant, or a register's value in this step. */
    const uint32_t rows = shape->rows & 0x80000000u ? step->registers[shape->rows & 0x7fffffffu] : shape->rows;
    float *dst = value(p, step, op->dst);
    const float *a = value(p, step, op->src[0]);
    if (op->code == RMS_NORM) {
        float eps;
        memcpy(&eps, &op->param[0], sizeof eps);
        for (size_t at = 0; at < (size_t)rows * shape->cols; at += shape->cols)
            rms_norm(a + at, p->weights[index_of(op->src[1])].data, eps, dst + at, shape->cols);
    } else {
        const float *b = value(p, step, op->src[1]);
        for (size_t i = 0; i < (size_t)rows * shape->cols; i++) dst[i] = a[i] + b[i];
    }
    operations++;
}

/* Works for about so long. A pause is possible wherever the cursor can point to; whole operations will do here. */
static int32_t query(void *ctx, void *plan_, const realm_step *steps, uint32_t step_count, realm_cursor *cursor,
                     uint64_t quantum_ns) {
    const realm_platform *platform = ctx;
    const plan *p = plan_;
    const uint64_t start = platform->clock_ns(platform->ctx);
    (void)step_count;
    while (cursor->words[0] < p->count) {
        run(p->program, steps, &p->program->ops[p->first + cursor->words[0]++]);
        if (quantum_ns != 0 && platform->clock_ns(platform->ctx) - start > quantum_ns && cursor->words[0] < p->count)
            return REALM_BACKEND_RUNNING;
    }
    return REALM_STATUS_OK;
}

/* Asks, and returns how many operations ran on the reference kernels for want of better ones. */
static uint64_t answer(realm_runtime *runtime, uint32_t model, const char *backend, char *text, size_t room) {
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_session_stats stats = REALM_SESSION_STATS_INIT;
    realm_session *session = NULL;
    realm_error error = {0, ""};
    options.backend = backend; /* NULL: the one added last */
    must(realm_session_open(runtime, model, &options, &session, &error), &error);
    ask(session, "What is the capital of Italy?", text, room);
    must(realm_session_get_stats(session, &stats), &error);
    realm_session_close(session);
    return stats.fallback_ops;
}

int main(int argc, char **argv) {
    const uint32_t model = load_model(argc > 1 ? argv[1] : DEMO_MODEL);
    realm_runtime *runtime = make_runtime(realm_posix_platform());
    realm_backend backend = REALM_BACKEND_INIT;
    realm_error error = {0, ""};
    char want[256], got[256];

    backend.name = "mine";
    backend.ctx = (void *)(uintptr_t)realm_posix_platform(); /* for its clock */
    backend.flags = REALM_BACKEND_HOST_MEMORY;               /* buffers and weights are where C can reach them */
    backend.supports = supports;
    backend.prepare = prepare;
    backend.discard = discard;
    backend.submit = submit;
    backend.query = query;
    must(realm_runtime_add_backend(runtime, &backend, &error), &error);

    (void)answer(runtime, model, "reference", want, sizeof want);
    expect(operations == 0, "the reference was asked for");
    const uint64_t others = answer(runtime, model, NULL, got, sizeof got);
    printf("%s\n%lu operations here, %llu on the reference kernels\n", got, operations, (unsigned long long)others);
    expect(operations > 0 && others > 0, "both took part");
    expect(strcmp(want, got) == 0 && strstr(got, "Rome") != NULL, "the answer does not depend on it");
    realm_runtime_destroy(runtime);
    return 0;
}
