/* realm_bench.c - realm-bench: how fast a model reads and writes.
 *
 * Columns and protocol are those of llama-bench, so that the two can be compared: `ppN` reads a
 * prompt of N random tokens into an empty context, `tgN` makes N tokens after the begin token. Each
 * test runs once to warm up and then -r times; opening a session is not counted. `ppN @ dD` and
 * `tgN @ dD` first fill the context with D tokens, which is not counted either. `tgN npM` makes N
 * tokens in each of M sessions that are polled together, and counts them all.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool.h"

#define MODEL_ID 1u
#define REPETITIONS_MAX 1000u

static const char *const help[] = {
    "-m MODEL.gguf [-p N,...] [-n N,...] [-d N,...] [-np N,...] [-t N,...] [-r N] [-o md|json]\n"
    "\n"
    "  -m, --model FILE      a GGUF file; FILE-00001-of-0000N.gguf stands for all N parts\n"
    "  -p, --n-prompt N,...  tokens to read (default 512; 0: no such test)\n"
    "  -n, --n-gen N,...     tokens to make (default 128; 0: no such test)\n"
    "  -d, --n-depth N,...   tokens that are in the context before (default 0)\n"
    " -np, --parallel N,...  sessions that make tokens together (default 1)\n"
    "  -t, --threads N,...   threads (default 1)\n"
    "  -r, --repetitions N   measured runs of each test (default 5)\n"
    "      --backend NAME    which backend computes (default: the best there is)\n"
    "      --isa NAME        instructions the CPU backend uses: scalar, avx2, avx512, neon, ...\n"
    "      --mmap, --no-mmap leave the file mapped as it is, or move it into huge pages first\n"
    "                        (default: where the system keeps it in small ones)\n"
    "  -o, --output FORMAT   md (default) or json\n"
    "  -h, --help   --version\n", NULL};

static const char *model_path, *backend, *isa, *output = "md";
static tool_counts prompts = {{512}, 1}, gens = {{128}, 1}, threads = {{1}, 1},
                   parallels = {{1}, 1}, depths = {{0}, 1};
static uint32_t repetitions = 5;

static const tool_option options[] = {
    {"--model", "-m", TOOL_NAME, &model_path, 0, 0},
    {"--n-prompt", "-p", TOOL_COUNTS, &prompts, 0, 1 << 24},
    {"--n-gen", "-n", TOOL_COUNTS, &gens, 0, 1 << 24},
    {"--n-depth", "-d", TOOL_COUNTS, &depths, 0, 1 << 24},
    {"--parallel", "-np", TOOL_COUNTS, &parallels, 1, 1024},
    {"--threads", "-t", TOOL_COUNTS, &threads, 1, 1024},
    {"--repetitions", "-r", TOOL_COUNT, &repetitions, 1, REPETITIONS_MAX},
    {"--backend", NULL, TOOL_NAME, &backend, 0, 0},
    {"--isa", NULL, TOOL_NAME, &isa, 0, 0},
    TOOL_MMAP_OPTIONS,
    {"--output", "-o", TOOL_NAME, &output, 0, 0},
};

/* ---- the model ---- */

static struct {
    char type[192]; /* "llama 1.1B Q4_K - Medium", as llama-bench names it */
    uint64_t bytes, parameters;
    uint32_t vocab_count, first_token;
} model;

static int meta_int(const char *key, int64_t *value) {
    return realm_model_meta_int(NULL, MODEL_ID, key, strlen(key), -1, value, NULL) ==
           REALM_STATUS_OK;
}

/* The names that go with general.file_type. */
static const char *file_type_name(void) {
    static const struct {
        int64_t number;
        const char *name;
    } names[] = {{0, "all F32"},        {1, "F16"},           {2, "Q4_0"},
                 {3, "Q4_1"},           {7, "Q8_0"},          {8, "Q5_0"},
                 {9, "Q5_1"},           {10, "Q2_K - Medium"}, {11, "Q3_K - Small"},
                 {12, "Q3_K - Medium"}, {13, "Q3_K - Large"}, {14, "Q4_K - Small"},
                 {15, "Q4_K - Medium"}, {16, "Q5_K - Small"}, {17, "Q5_K - Medium"},
                 {18, "Q6_K"},          {25, "IQ4_NL - 4.5 bpw"}, {30, "IQ4_XS - 4.25 bpw"},
                 {32, "BF16"},          {38, "MXFP4 MoE"}};
    int64_t type = -1;
    if (meta_int("general.file_type", &type)) {
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            if (names[i].number == type) {
                return names[i].name;
            }
        }
    }
    return "unknown type";
}

static void read_model(void) {
    realm_model_info info = REALM_MODEL_INFO_INIT;
    realm_tensor_info tensor = REALM_TENSOR_INFO_INIT;
    realm_error error = {0, ""};
    char label[32] = "";
    size_t label_bytes = 0;
    int64_t bos = 0;
    uint32_t embedding = 0;
    tool_check(realm_model_get_info(NULL, MODEL_ID, &info, &error), &error);
    if (realm_model_meta_string(NULL, MODEL_ID, "general.size_label", 18, -1, label,
                                sizeof label - 1, &label_bytes, NULL) == REALM_STATUS_OK) {
        label[label_bytes] = '\0';
    } else {
        const double n = (double)info.parameter_count;
        (void)snprintf(label, sizeof label, n < 1e6 ? "%.0fK" : n < 1e9 ? "%.0fM" : "%.1fB",
                       n / (n < 1e6 ? 1e3 : n < 1e9 ? 1e6 : 1e9));
    }
    (void)snprintf(model.type, sizeof model.type, "%s %s %s", info.architecture, label,
                   file_type_name());
    model.parameters = info.parameter_count;
    for (uint32_t i = 0; i < info.tensor_count; i++) {
        tool_check(realm_model_tensor_info(NULL, MODEL_ID, i, &tensor, &error), &error);
        model.bytes += tensor.bytes;
    }
    tool_check(realm_model_tensor_find(NULL, MODEL_ID, "token_embd.weight", 17, &embedding,
                                       &error),
               &error);
    tool_check(realm_model_tensor_info(NULL, MODEL_ID, embedding, &tensor, &error), &error);
    model.vocab_count = (uint32_t)tensor.ne[1];
    if (model.vocab_count == 0) {
        tool_die("the model has no vocabulary");
    }
    if (meta_int("tokenizer.ggml.bos_token_id", &bos) && bos >= 0 && bos < model.vocab_count) {
        model.first_token = (uint32_t)bos;
    }
}

/* ---- one test ---- */

typedef struct test {
    uint32_t thread_count, n_prompt, n_gen, n_depth, parallel;
    char backend[64];
    uint64_t ns[REPETITIONS_MAX];
    time_t started;
} test;

/* Always the same "random" tokens: what is read does not change the work, but results should be
 * repeatable. */
static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* What the guest warns of is said once, and not for each of the sessions. */
static void log_once(void *ctx, int32_t level, const char *text, size_t bytes) {
    static char said[512];
    (void)ctx;
    if (level <= 1 && (strlen(said) != bytes || memcmp(said, text, bytes) != 0)) {
        (void)snprintf(said, sizeof said, "%.*s", (int)bytes, text);
        fprintf(stderr, "realm-bench: %s: %s\n", level <= 0 ? "error" : "warning", said);
    }
}

static realm_session *open_session(realm_runtime *runtime, const test *t) {
    const int filled = t->n_depth > 0;
    char n_predict[16], ctx[16];
    const realm_param params[] = {
        {"ignore_eos", "1"}, {"n_predict", n_predict}, {"ctx", ctx}, {"temp", "0"}};
    realm_session_options session_options = REALM_SESSION_OPTIONS_INIT;
    realm_session *session = NULL;
    realm_error error = {0, ""};
    /* With a filled context one more token is made, before the clock starts. */
    (void)snprintf(n_predict, sizeof n_predict, "%" PRIu32,
                   t->n_gen + (filled && t->n_gen > 0 ? 1 : 0));
    (void)snprintf(ctx, sizeof ctx, "%" PRIu32, t->n_depth + t->n_prompt + t->n_gen + 2);
    session_options.params = params;
    session_options.param_count = sizeof params / sizeof params[0];
    session_options.backend = backend;
    session_options.thread_count = t->thread_count;
    session_options.log = log_once;
    tool_check(realm_session_open(runtime, MODEL_ID, &session_options, &session, &error), &error);
    return session;
}

/* Hands the session `count` tokens: the begin token and "random" ones. */
static void prompt(realm_session *session, uint32_t count) {
    uint32_t *ids = (uint32_t *)calloc(count, sizeof *ids), state = 1;
    realm_error error = {0, ""};
    if (ids == NULL) {
        tool_die("no memory for %" PRIu32 " tokens", count);
    }
    for (uint32_t i = 1; i < count; i++) {
        ids[i] = next_random(&state) % model.vocab_count;
    }
    ids[0] = model.first_token;
    tool_check(realm_session_prompt(session, REALM_INPUT_IDS, ids, count * sizeof *ids, &error),
               &error);
    free(ids);
}

/* Polls until the session has made a token or ended its turn; 1: it made one. */
static int next_token(realm_session *session) {
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    while (event.kind != REALM_EVENT_DONE) {
        tool_check(realm_session_poll(session, REALM_BUDGET_UNLIMITED, &event, &error), &error);
        if (event.kind == REALM_EVENT_TOKEN && event.token >= 0) {
            return 1;
        }
    }
    return 0;
}

/* Puts D tokens into the context, untimed. Where tokens are to be made, one more is read and answered, so
 * that the clock starts at a step of one token. */
static void fill(realm_session *session, const test *t) {
    if (t->n_depth == 0) {
        return;
    }
    prompt(session, t->n_depth + (t->n_gen > 0 ? 1 : 0));
    if (next_token(session) != (t->n_gen > 0)) {
        tool_die("the context cannot be filled with %" PRIu32 " tokens", t->n_depth);
    }
}

/* What is timed begins with this, unless the filling has begun it already. */
static void begin(realm_session *session, const test *t) {
    if (t->n_prompt > 0 || t->n_depth == 0) {
        prompt(session, t->n_prompt > 0 ? t->n_prompt : 1);
    }
}

/* Runs the test once and returns the nanoseconds from the prompt to the end of the turn. */
static uint64_t run_once(realm_runtime *runtime, const test *t) {
    realm_session *session = open_session(runtime, t);
    uint32_t made = 0;
    fill(session, t);
    const double start = tool_now_ms();
    begin(session, t);
    while (next_token(session)) {
        made++;
    }
    const double ms = tool_now_ms() - start;
    realm_session_close(session);
    if (made < t->n_gen) {
        tool_die("the model made %" PRIu32 " tokens of %" PRIu32, made, t->n_gen);
    }
    return (uint64_t)(ms * 1e6);
}

/* The same for `t->parallel` sessions from the begin token on, polled together until all have ended. */
static uint64_t run_together(realm_runtime *runtime, const test *t) {
    const size_t count = t->parallel;
    realm_session **sessions = (realm_session **)calloc(2 * count, sizeof *sessions);
    realm_session **running = sessions + count;
    realm_event *events = (realm_event *)calloc(count, sizeof *events);
    realm_error *errors = (realm_error *)calloc(count, sizeof *errors), error = {0, ""};
    const realm_event init = REALM_EVENT_INIT;
    uint64_t made = 0;
    size_t n = count;
    if (sessions == NULL || events == NULL || errors == NULL) {
        tool_die("no memory for %" PRIu32 " sessions", t->parallel);
    }
    for (size_t i = 0; i < count; i++) {
        sessions[i] = running[i] = open_session(runtime, t);
        events[i] = init;
        fill(sessions[i], t);
    }
    const double start = tool_now_ms();
    for (size_t i = 0; i < count; i++) {
        begin(sessions[i], t);
    }
    while (n > 0) {
        size_t left = 0;
        tool_check(realm_poll_many(running, n, REALM_BUDGET_UNLIMITED, events, errors, &error), &error);
        for (size_t i = 0; i < n; i++) {
            tool_check(errors[i].status, &errors[i]);
            made += events[i].kind == REALM_EVENT_TOKEN && events[i].token >= 0;
            if (events[i].kind != REALM_EVENT_DONE) {
                running[left++] = running[i];
            }
        }
        n = left;
    }
    const double ms = tool_now_ms() - start;
    for (size_t i = 0; i < count; i++) {
        realm_session_close(sessions[i]);
    }
    free(sessions);
    free(events);
    free(errors);
    if (made < (uint64_t)t->n_gen * count) {
        tool_die("the model made %" PRIu64 " tokens of %" PRIu64, made, (uint64_t)t->n_gen * count);
    }
    return (uint64_t)(ms * 1e6);
}

static void run_test(realm_runtime *runtime, test *t) {
    uint64_t (*const run)(realm_runtime *, const test *) = t->parallel > 1 ? run_together : run_once;
    const char *name = realm_runtime_backend_name(runtime, 0);
    test warm_up = *t;
    (void)snprintf(t->backend, sizeof t->backend, "%s", backend != NULL ? backend : name);
    t->started = time(NULL);
    warm_up.n_depth = 0;
    if (warm_up.n_gen > 1) {
        warm_up.n_gen = 1;
    }
    (void)run(runtime, &warm_up);
    for (uint32_t i = 0; i < repetitions; i++) {
        tool_bar(t->n_prompt > 0 ? "pp" : "tg", i, repetitions);
        t->ns[i] = run(runtime, t);
    }
    tool_bar("", 1, 1);
}

/* ---- results ---- */

typedef struct spread {
    double mean, deviation;
} spread;

/* Mean and sample standard deviation, of nanoseconds or (tokens > 0) of tokens per second. */
static spread spread_of(const test *t, uint32_t tokens) {
    spread s = {0, 0};
    double squares = 0;
    for (uint32_t i = 0; i < repetitions; i++) {
        const double ns = (double)t->ns[i], x = tokens > 0 ? tokens * 1e9 / ns : ns;
        s.mean += x / repetitions;
        squares += x * x;
    }
    if (repetitions > 1) {
        const double n = repetitions, rest = squares / (n - 1) - s.mean * s.mean * n / (n - 1);
        s.deviation = rest > 0 ? sqrt(rest) : 0;
    }
    return s;
}

static void print_samples(const char *name, const test *t, uint32_t tokens) {
    printf("    \"%s\": [", name);
    for (uint32_t i = 0; i < repetitions; i++) {
        const double ns = (double)t->ns[i];
        printf(tokens > 0 ? "%s %.6g" : "%s %.0f", i > 0 ? "," : "", tokens > 0 ? tokens * 1e9 / ns : ns);
    }
    printf(" ]");
}

static void print_json(const test *t, int first) {
    const uint32_t tokens = (t->n_prompt + t->n_gen) * t->parallel;
    const spread ns = spread_of(t, 0), ts = spread_of(t, tokens);
    char when[32] = "";
    struct tm utc;
    if (gmtime_r(&t->started, &utc) != NULL) {
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    }
    printf("%s  {\n    \"build_version\": \"%s\",\n    \"backends\": ", first ? "[\n" : ",\n",
           realm_version());
    tool_json_string(stdout, t->backend);
    printf(",\n    \"model_filename\": ");
    tool_json_string(stdout, model_path);
    printf(",\n    \"model_type\": ");
    tool_json_string(stdout, model.type);
    printf(",\n    \"model_size\": %" PRIu64 ",\n    \"model_n_params\": %" PRIu64
           ",\n    \"n_threads\": %" PRIu32 ",\n    \"use_mmap\": %s,\n    \"cpu_isa\": \"%s\""
           ",\n    \"n_prompt\": %" PRIu32 ",\n    \"n_gen\": %" PRIu32 ",\n    \"n_depth\": %" PRIu32
           ",\n    \"n_parallel\": %" PRIu32
           ",\n    \"test_time\": \"%s\",\n    \"avg_ns\": %.0f,\n    \"stddev_ns\": %.0f"
           ",\n    \"avg_ts\": %.6f,\n    \"stddev_ts\": %.6f,\n",
           model.bytes, model.parameters, t->thread_count, tool_mmap ? "true" : "false",
           realm_cpu_isa(), t->n_prompt, t->n_gen, t->n_depth, t->parallel,
           when, ns.mean, ns.deviation, ts.mean, ts.deviation);
    print_samples("samples_ns", t, 0);
    printf(",\n");
    print_samples("samples_ts", t, tokens);
    printf("\n  }");
}

static void print_row(const test *t, int first) {
    const spread ts = spread_of(t, (t->n_prompt + t->n_gen) * t->parallel);
    char size[32], params[32], name[32], speed[64];
    const double gib = 1024.0 * 1024.0 * 1024.0, bytes = (double)model.bytes;
    const double parameters = (double)model.parameters;
    if (first) {
        printf("| %-30s | %10s | %10s | %-10s | %7s | %13s | %20s |\n", "model", "size", "params",
               "backend", "threads", "test", "t/s");
        printf("| ------------------------------ | ---------: | ---------: | ---------- | "
               "------: | ------------: | -------------------: |\n");
    }
    if (bytes < gib) {
        (void)snprintf(size, sizeof size, "%.2f MiB", bytes / 1024.0 / 1024.0);
    } else {
        (void)snprintf(size, sizeof size, "%.2f GiB", bytes / gib);
    }
    if (parameters < 1e9) {
        (void)snprintf(params, sizeof params, "%.2f M", parameters / 1e6);
    } else {
        (void)snprintf(params, sizeof params, "%.2f B", parameters / 1e9);
    }
    (void)snprintf(name, sizeof name, "%s%" PRIu32, t->n_prompt > 0 ? "pp" : "tg",
                   t->n_prompt + t->n_gen);
    if (t->n_depth > 0) {
        const size_t used = strlen(name);
        (void)snprintf(name + used, sizeof name - used, " @ d%" PRIu32, t->n_depth);
    }
    if (t->parallel > 1) {
        const size_t used = strlen(name);
        (void)snprintf(name + used, sizeof name - used, " np%" PRIu32, t->parallel);
    }
    (void)snprintf(speed, sizeof speed, "%.2f ± %.2f", ts.mean, ts.deviation);
    /* The sign ± is one column and two bytes. */
    printf("| %-30s | %10s | %10s | %-10s | %7" PRIu32 " | %13s | %21s |\n", model.type, size,
           params, t->backend, t->thread_count, name, speed);
}

static int run_and_print(realm_runtime *runtime, uint32_t thread_count, uint32_t n_prompt,
                         uint32_t n_gen, uint32_t n_depth, uint32_t parallel, int first) {
    static test t;
    if (n_prompt == 0 && n_gen == 0) {
        return first;
    }
    t.thread_count = thread_count;
    t.n_prompt = n_prompt;
    t.n_gen = n_gen;
    t.n_depth = n_depth;
    t.parallel = parallel;
    run_test(runtime, &t);
    if (strcmp(output, "json") == 0) {
        print_json(&t, first);
    } else {
        print_row(&t, first);
    }
    if (fflush(stdout) != 0) {
        tool_die("cannot write to stdout: %s", strerror(errno));
    }
    return 0;
}

static int all_zero(const tool_counts *counts) {
    for (size_t i = 0; i < counts->count; i++) {
        if (counts->value[i] != 0) {
            return 0;
        }
    }
    return 1;
}

int main(int argc, char **argv) {
    int first = 1;
    tool_parse(argc, argv, "realm-bench", help, options, sizeof options / sizeof options[0]);
    if (model_path == NULL) {
        tool_misuse("no model: give -m");
    }
    if (all_zero(&prompts) && all_zero(&gens)) {
        tool_misuse("nothing to measure: -p and -n are both 0");
    }
    if (strcmp(output, "md") != 0 && strcmp(output, "json") != 0) {
        tool_misuse("--output: '%s' is not a format, 'md' and 'json' are", output);
    }
    tool_model_load(model_path, MODEL_ID);
    tool_model_settle(SIZE_MAX);
    read_model();
    for (size_t t = 0; t < threads.count; t++) {
        tool_isa(isa);
        realm_runtime *runtime = tool_runtime(threads.value[t]);
        for (size_t d = 0; d < depths.count; d++) {
            const uint32_t depth = depths.value[d];
            for (size_t i = 0; i < prompts.count; i++) {
                first = run_and_print(runtime, threads.value[t], prompts.value[i], 0, depth, 1,
                                      first);
            }
            for (size_t i = 0; i < gens.count; i++) {
                for (size_t k = 0; k < parallels.count; k++) {
                    first = run_and_print(runtime, threads.value[t], 0, gens.value[i], depth,
                                          parallels.value[k], first);
                }
            }
        }
        realm_runtime_destroy(runtime);
    }
    if (strcmp(output, "json") == 0) {
        printf(first ? "[]\n" : "\n]\n");
    }
    (void)realm_model_remove(NULL, MODEL_ID, NULL);
    if (fflush(stdout) != 0) {
        tool_die("cannot write to stdout: %s", strerror(errno));
    }
    return 0;
}
