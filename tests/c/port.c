/* A port written in C: a pretend device whose memory the CPU cannot address through its handles, and which runs one
 * operation, RMS_NORM. The core runs everything else on the reference kernels and copies both ways. The text and
 * the bits of the logits must be those of the reference alone: the numerics are a contract that a port in any language can keep.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "realm.h"
#include "realm_posix.h"

#define RMS_NORM 2u

static unsigned long norms_run;

struct memory {
    uint64_t bytes;
    unsigned char *data;
};

static int32_t buffer_create(void *ctx, uint64_t bytes, void **out)
{
    (void)ctx;
    struct memory *m = malloc(sizeof *m);
    if (!m)
        return REALM_STATUS_NO_MEMORY;
    m->bytes = bytes;
    m->data = malloc((size_t)bytes);
    if (!m->data) {
        free(m);
        return REALM_STATUS_NO_MEMORY;
    }
    memset(m->data, 0, (size_t)bytes);
    *out = m;
    return REALM_STATUS_OK;
}

static void buffer_destroy(void *ctx, void *buffer)
{
    (void)ctx;
    struct memory *m = buffer;
    memset(m->data, 0, (size_t)m->bytes);
    free(m->data);
    free(m);
}

static int32_t buffer_write(void *ctx, void *buffer, uint64_t offset, const void *data, uint64_t bytes)
{
    (void)ctx;
    struct memory *m = buffer;
    if (offset > m->bytes || bytes > m->bytes - offset)
        return REALM_STATUS_INVALID_ARGUMENT;
    memcpy(m->data + offset, data, (size_t)bytes);
    return REALM_STATUS_OK;
}

static int32_t buffer_read(void *ctx, void *buffer, uint64_t offset, void *data, uint64_t bytes)
{
    (void)ctx;
    struct memory *m = buffer;
    if (offset > m->bytes || bytes > m->bytes - offset)
        return REALM_STATUS_INVALID_ARGUMENT;
    memcpy(data, m->data + offset, (size_t)bytes);
    return REALM_STATUS_OK;
}

static int32_t supports(void *ctx, const realm_program *program, uint32_t op)
{
    (void)ctx;
    return program->ops[op].code == RMS_NORM;
}

struct plan {
    const realm_program *program;
    uint32_t first, count;
};

static int32_t prepare(void *ctx, const realm_program *program, uint32_t first, uint32_t count, void **out, uint64_t *workspace)
{
    (void)ctx;
    struct plan *plan = malloc(sizeof *plan);
    if (!plan)
        return REALM_STATUS_NO_MEMORY;
    plan->program = program;
    plan->first = first;
    plan->count = count;
    *out = plan;
    *workspace = 0;
    return REALM_STATUS_OK;
}

static void discard(void *ctx, void *plan)
{
    (void)ctx;
    free(plan);
}

static int32_t submit(void *ctx, void *plan, const realm_step *steps, uint32_t count, realm_cursor *cursor)
{
    (void)ctx, (void)plan, (void)steps, (void)count, (void)cursor;
    return REALM_STATUS_OK;
}

/* The address, columns and present rows of a value or buffer. */
static float *operand(const realm_program *p, const realm_step *s, uint32_t bits, uint32_t *cols, uint32_t *rows)
{
    uint32_t index = bits & 0x0fffffffu;
    if (bits >> 28 == REALM_OPERAND_VALUE) {
        const realm_value *v = &p->values[index];
        *cols = v->cols;
        *rows = v->rows & 0x80000000u ? s->registers[v->rows & 0x7fffffffu] : v->rows;
        return (float *)(void *)(((struct memory *)s->scratch)->data + v->offset);
    }
    *cols = p->buffers[index].cols;
    *rows = p->buffers[index].rows;
    return (float *)(void *)((struct memory *)s->buffers[index])->data;
}

/* x / sqrt(mean(x^2) + eps) * w, the sum in sixteen lanes of fused multiply-adds folded by halves. */
static void rms_norm(float *x, const unsigned char *w, uint32_t n, float eps)
{
    float lane[16] = {0};
    for (uint32_t i = 0; i < n; i++)
        lane[i % 16] = fmaf(x[i], x[i], lane[i % 16]);
    for (uint32_t half = 8; half; half /= 2)
        for (uint32_t i = 0; i < half; i++)
            lane[i] = lane[i] + lane[i + half];
    float scale = 1.0f / sqrtf(lane[0] / (float)n + eps);
    for (uint32_t i = 0; i < n; i++) {
        float weight;
        memcpy(&weight, w + 4 * i, 4);
        x[i] = x[i] * scale;
        x[i] = x[i] * weight;
    }
}

static int32_t query(void *ctx, void *plan_, const realm_step *steps, uint32_t count, realm_cursor *cursor, uint64_t quantum)
{
    (void)ctx, (void)cursor, (void)quantum;
    const struct plan *plan = plan_;
    const realm_program *p = plan->program;
    for (uint32_t s = 0; s < count; s++) {
        if (steps[s].repeat != 1)
            return REALM_STATUS_UNSUPPORTED;
        for (uint32_t i = plan->first; i < plan->first + plan->count; i++) {
            const realm_op *op = &p->ops[i];
            uint32_t cols, rows, from_cols, from_rows;
            float *x = operand(p, &steps[s], op->dst, &cols, &rows);
            const float *from = operand(p, &steps[s], op->src[0], &from_cols, &from_rows);
            const realm_weight *w = &p->weights[op->src[1] & 0x0fffffffu];
            uint32_t group = op->param[1] ? op->param[1] : cols;
            float eps;
            memcpy(&eps, &op->param[0], 4);
            if (from_rows < rows)
                rows = from_rows;
            if (from != x)
                memcpy(x, from, (size_t)rows * cols * sizeof *x);
            for (uint32_t at = 0; at < rows * cols; at += group)
                rms_norm(x + at, w->data, group, eps);
            norms_run++;
        }
    }
    return REALM_STATUS_OK;
}

static void fail(const char *what, const realm_error *error)
{
    fprintf(stderr, "port: %s: %s\n", what, error ? error->message : "");
    exit(1);
}

struct result {
    char text[2048];
    size_t text_bytes;
    float *logits;
    size_t logit_count;
    uint64_t fallback_ops;
};

static struct result generate(realm_runtime *runtime, const char *backend)
{
    static const realm_param params[] = {{"temp", "0"}, {"n_predict", "24"}};
    const char *prompt = "What is the capital of France?";
    realm_error error;
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_session *session = NULL;
    struct result r = {0};
    options.backend = backend;
    options.params = params;
    options.param_count = 2;
    if (realm_session_open(runtime, 1, &options, &session, &error))
        fail("open", &error);
    if (realm_session_prompt(session, REALM_INPUT_CHAT, prompt, strlen(prompt), &error))
        fail("prompt", &error);
    for (;;) {
        realm_event event = REALM_EVENT_INIT;
        if (realm_session_poll(session, 0, &event, &error))
            fail("poll", &error);
        if (event.text_bytes && r.text_bytes + event.text_bytes < sizeof r.text) {
            memcpy(r.text + r.text_bytes, event.text, event.text_bytes);
            r.text_bytes += event.text_bytes;
        }
        if (event.kind == REALM_EVENT_DONE)
            break;
    }
    if (realm_session_logits(session, NULL, 0, &r.logit_count, &error) != REALM_STATUS_BUFFER_TOO_SMALL)
        fail("the size of the logits", &error);
    r.logits = malloc(r.logit_count * sizeof *r.logits);
    if (!r.logits || realm_session_logits(session, r.logits, r.logit_count, &r.logit_count, &error))
        fail("logits", &error);
    realm_session_stats stats = REALM_SESSION_STATS_INIT;
    if (realm_session_get_stats(session, &stats))
        fail("stats", NULL);
    r.fallback_ops = stats.fallback_ops;
    realm_session_close(session);
    return r;
}

int main(void)
{
    realm_error error;
    realm_posix_map map;
    if (realm_posix_map_file(DEMO_MODEL, &map, &error))
        fail(DEMO_MODEL, &error);

    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_runtime *runtime = NULL;
    options.platform = realm_posix_platform();
    if (realm_runtime_create(&options, &runtime, &error))
        fail("runtime", &error);

    realm_bytes part = {map.data, map.bytes};
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    uint32_t id = 0;
    source.parts = &part;
    source.part_count = 1;
    source.id = 1;
    source.release = realm_posix_release;
    if (realm_model_register(NULL, &source, &id, &error))
        fail("register", &error);

    realm_backend device = REALM_BACKEND_INIT;
    device.name = "pretend";
    device.buffer_create = buffer_create;
    device.buffer_destroy = buffer_destroy;
    device.buffer_write = buffer_write;
    device.buffer_read = buffer_read;
    device.supports = supports;
    device.prepare = prepare;
    device.discard = discard;
    device.submit = submit;
    device.query = query;
    if (realm_runtime_add_backend(runtime, &device, &error))
        fail("add_backend", &error);

    struct result want = generate(runtime, "reference");
    if (norms_run)
        fail("the reference was asked for", NULL);
    struct result got = generate(runtime, "pretend");
    printf("%.*s\n%lu norms on the port, %llu operations fell back\n", (int)got.text_bytes, got.text, norms_run,
           (unsigned long long)got.fallback_ops);
    int same = want.text_bytes == got.text_bytes && !memcmp(want.text, got.text, got.text_bytes) && want.logit_count == got.logit_count
               && !memcmp(want.logits, got.logits, got.logit_count * sizeof *got.logits);
    if (!norms_run || !got.fallback_ops || want.fallback_ops || !got.text_bytes || !same) {
        fprintf(stderr, "port: the port and the reference differ\n");
        return 1;
    }
    free(want.logits);
    free(got.logits);
    realm_runtime_destroy(runtime);
    if (realm_model_remove(NULL, id, &error))
        fail("remove", &error);
    return 0;
}
