/* session.c - a conversation from C, with the demo model: turns, budgets, threads, cancelling, limits. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "demo.h"
#include "realm.h"
#include "realm_posix.h"

#define MODEL 1u
#define FURTHER 2u
#define FRANCE "What is the capital of France?"
#define ANSWER "The capital of France is Paris."

static realm_runtime *runtime;

static realm_session *open_session(const realm_session_options *options) {
    realm_session *session = NULL;
    realm_error error = {0, ""};
    CHECK_OK(realm_session_open(runtime, MODEL, options, &session, &error));
    return session;
}

/* Asks, polls to the end with that budget, and returns the reason. `text` gets the answer. */
static uint32_t ask(realm_session *session, const char *question, uint64_t budget_us, char *text,
                    size_t capacity, uint32_t *again) {
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    size_t used = 0;
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_CHAT, question, strlen(question), &error));
    CHECK(realm_session_prompt(session, REALM_INPUT_CHAT, "x", 1, &error) == REALM_STATUS_STATE);
    do {
        CHECK_OK(realm_session_poll(session, budget_us, &event, &error));
        if (event.kind == REALM_EVENT_AGAIN) {
            *again += 1;
        } else if (event.kind == REALM_EVENT_TOKEN) {
            CHECK(used + event.text_bytes < capacity);
            memcpy(text + used, event.text, event.text_bytes);
            used += event.text_bytes;
        }
    } while (event.kind != REALM_EVENT_DONE);
    text[used] = '\0';
    return event.reason;
}

/* The text of a whole turn of any kind. */
static uint32_t turn_of(realm_session *session, uint32_t kind, const char *input, char *text, size_t capacity) {
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    size_t used = 0;
    CHECK_OK(realm_session_prompt(session, kind, input, strlen(input), &error));
    do {
        CHECK_OK(realm_session_poll(session, 0, &event, &error));
        CHECK(used + event.text_bytes < capacity);
        if (event.text_bytes > 0) {
            memcpy(text + used, event.text, event.text_bytes);
        }
        used += event.text_bytes;
    } while (event.kind != REALM_EVENT_DONE);
    text[used] = '\0';
    return event.reason;
}

/* A grammar that is a matter of memory, and not of what is wrong with it; the session goes on. */
static void test_a_grammar_needs_memory(void) {
    enum { RULES = 2000, RULE_BYTES = 24 };
    char *grammar = malloc((RULES + 1) * RULE_BYTES);
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_error error = {0, ""};
    CHECK(grammar != NULL);
    size_t used = (size_t)sprintf(grammar, "root ::= r0\n");
    for (int i = 0; i < RULES; i++) {
        used += (size_t)sprintf(grammar + used, "r%d ::= \"a\" r%d?\n", i, (i + 1) % RULES);
    }
    options.max_guest_memory_bytes = 384 << 10;
    realm_session *session = open_session(&options);
    CHECK(realm_session_set_param(session, "grammar", grammar, &error) == REALM_STATUS_LIMIT);
    CHECK(strstr(error.message, "max_guest_memory_bytes") != NULL);
    CHECK_OK(realm_session_set_param(session, "grammar", "root ::= \"a\"", &error));
    realm_session_close(session);
    options.max_guest_memory_bytes = 2 << 20;
    session = open_session(&options);
    CHECK_OK(realm_session_set_param(session, "grammar", grammar, &error));
    realm_session_close(session);
    free(grammar);
}

/* Conversations in JSON, replies that are begun, and what a reply says. */
static void test_conversations(void) {
    realm_session *session = open_session(NULL);
    realm_error error = {0, ""};
    char text[4096];
    uint32_t before = 0, after = 0;
    static const char asked[] = "[{\"role\": \"user\", \"content\": \"" FRANCE "\"}]";
    static const char begun[] = "[{\"role\": \"user\", \"content\": \"" FRANCE "\"},"
                                " {\"role\": \"assistant\", \"content\": \"The capital of\"}]";
    CHECK(turn_of(session, REALM_INPUT_MESSAGES, asked, text, sizeof text) == REALM_DONE_EOS);
    CHECK(strcmp(text, ANSWER) == 0);
    CHECK_OK(realm_session_position(session, &before, &error));
    CHECK(turn_of(session, REALM_INPUT_PARSE, "", text, sizeof text) == REALM_DONE_EOS);
    CHECK(strcmp(text, "{\"role\": \"assistant\", \"content\": \"" ANSWER "\"}") == 0);
    CHECK_OK(realm_session_position(session, &after, &error));
    CHECK(before == after);
    CHECK(turn_of(session, REALM_INPUT_MESSAGES, begun, text, sizeof text) == REALM_DONE_EOS);
    CHECK(strcmp(text, " France is Paris.") == 0);
    /* The first turn only reads; its reply is begun by hand. */
    CHECK_OK(realm_session_set_param(session, "n_predict", "0", &error));
    CHECK(turn_of(session, REALM_INPUT_MESSAGES, asked, text, sizeof text) == REALM_DONE_LENGTH);
    CHECK_OK(realm_session_set_param(session, "n_predict", NULL, &error));
    CHECK(turn_of(session, REALM_INPUT_REPLY, "The capital of", text, sizeof text) == REALM_DONE_EOS);
    CHECK(strcmp(text, " France is Paris.") == 0);
    CHECK(turn_of(session, REALM_INPUT_PARSE, "", text, sizeof text) == REALM_DONE_EOS);
    CHECK(strstr(text, ANSWER) != NULL);
    CHECK(realm_session_prompt(session, 9, "", 0, &error) == REALM_STATUS_INVALID_ARGUMENT);
    realm_session_close(session);
}

static void test_turns(void) {
    realm_session *session = open_session(NULL);
    realm_session_stats stats = REALM_SESSION_STATS_INIT;
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    char text[4096];
    uint32_t again = 0;
    CHECK(realm_session_poll(session, 0, &event, &error) == REALM_STATUS_STATE);
    CHECK(ask(session, FRANCE, 0, text, sizeof text, &again) == REALM_DONE_EOS);
    CHECK(again == 0 && strcmp(text, ANSWER) == 0);
    /* Turns go on in the same session. */
    (void)ask(session, "And of Italy?", 0, text, sizeof text, &again);
    CHECK(text[0] != '\0');
    CHECK_OK(realm_session_get_stats(session, &stats));
    CHECK(stats.prompt_tokens > 0 && stats.generated_tokens > 0 && stats.kv_bytes > 0);
    CHECK(stats.guest_linear_memory_bytes <= 2u << 20);
    realm_session_close(session);
    realm_session_close(NULL);
}

/* Neither slicing nor threads change the answer. */
static void test_budget_and_threads(void) {
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    char text[4096];
    uint32_t again = 0;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        options.thread_count = threads;
        realm_session *session = open_session(&options);
        CHECK(ask(session, FRANCE, 20, text, sizeof text, &again) == REALM_DONE_EOS);
        CHECK(strcmp(text, ANSWER) == 0);
        realm_session_close(session);
    }
    CHECK(again > 0);
}

static void *cancel_soon(void *session) {
    const struct timespec nap = {0, 20000000};
    (void)nanosleep(&nap, NULL);
    realm_session_cancel((realm_session *)session);
    return NULL;
}

static void test_cancel(void) {
    const realm_param params[] = {{"ignore_eos", "1"}, {"n_predict", "-1"}};
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    pthread_t other;
    char *text = (char *)malloc(1 << 20);
    uint32_t again = 0;
    CHECK(text != NULL);
    options.params = params;
    options.param_count = 2;
    realm_session *session = open_session(&options);
    CHECK(pthread_create(&other, NULL, cancel_soon, session) == 0);
    const uint32_t reason = ask(session, FRANCE, 0, text, 1 << 20, &again);
    /* A very fast machine fills the context first. */
    CHECK(reason == REALM_DONE_CANCELLED || reason == REALM_DONE_CONTEXT);
    CHECK(pthread_join(other, NULL) == 0);
    realm_session_close(session);
    free(text);
}

static void test_limits_and_refusals(void) {
    static const uint8_t not_wasm[] = "\0asm\1\0\0\0 and then nothing sensible";
    const realm_param unknown[] = {{"tmep", "1"}};
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_session *session = NULL;
    realm_guest *guest = NULL;
    realm_error error = {0, ""};
    options.max_guest_memory_bytes = 65536;
    CHECK(realm_session_open(runtime, MODEL, &options, &session, &error) < 0);
    options.max_guest_memory_bytes = 0;
    options.params = unknown;
    options.param_count = 1;
    CHECK(realm_session_open(runtime, MODEL, &options, &session, &error) < 0);
    CHECK(strstr(error.message, "tmep") != NULL);
    options.param_count = 0;
    options.backend = "abacus";
    CHECK(realm_session_open(runtime, MODEL, &options, &session, &error) < 0);
    CHECK(realm_session_open(runtime, 777, NULL, &session, &error) == REALM_STATUS_NOT_FOUND);
    CHECK(realm_session_open(NULL, MODEL, NULL, &session, &error) < 0);
    CHECK(realm_guest_load(not_wasm, sizeof not_wasm, &guest, &error) < 0);
    CHECK(realm_guest_load(NULL, 0, &guest, &error) < 0);
    CHECK(session == NULL && guest == NULL);
}

/* Whether the guest may use the model FURTHER: it looks into it when it is to be an adapter, which it is not. */
static int may_use_further(realm_session *session) {
    realm_error error = {0, ""};
    CHECK(realm_session_set_param(session, "lora", "2", &error) < 0);
    const int may = strstr(error.message, "model 2 is no LoRA adapter") != NULL;
    CHECK(may || strstr(error.message, "parameter lora names adapter 2") != NULL);
    return may;
}

/* Further models: at most 64, of the store, between turns; what is refused leaves those that were granted. */
static void test_further_models(void) {
    uint32_t ids[65];
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_session *session = NULL;
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    (void)add_demo_model(FURTHER);
    for (unsigned i = 0; i < 65; i++) {
        ids[i] = FURTHER;
    }
    options.models = ids;
    options.model_count = 65;
    CHECK(realm_session_open(runtime, MODEL, &options, &session, &error) == REALM_STATUS_LIMIT);
    ids[63] = 777;
    options.model_count = 64;
    CHECK(realm_session_open(runtime, MODEL, &options, &session, &error) == REALM_STATUS_NOT_FOUND);
    options.models = NULL;
    CHECK(realm_session_open(runtime, MODEL, &options, &session, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(session == NULL);
    ids[63] = FURTHER;
    options.models = ids;
    session = open_session(&options);
    CHECK(realm_session_set_models(NULL, ids, 1, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_session_set_models(session, NULL, 1, &error) == REALM_STATUS_INVALID_ARGUMENT);

    CHECK(may_use_further(session));
    CHECK_OK(realm_session_set_models(session, NULL, 0, &error));
    CHECK(!may_use_further(session));
    CHECK_OK(realm_session_set_models(session, ids, 64, &error));
    CHECK(may_use_further(session));
    CHECK(realm_session_set_models(session, ids, 65, &error) == REALM_STATUS_LIMIT);
    ids[1] = 777;
    CHECK(realm_session_set_models(session, ids, 2, &error) == REALM_STATUS_NOT_FOUND);
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_CHAT, FRANCE, strlen(FRANCE), &error));
    CHECK(realm_session_set_models(session, NULL, 0, &error) == REALM_STATUS_STATE);
    CHECK_OK(realm_session_poll(session, 0, &event, &error));
    CHECK(event.kind == REALM_EVENT_TOKEN);
    CHECK(realm_session_set_models(session, NULL, 0, &error) == REALM_STATUS_STATE);
    realm_session_cancel(session);
    do {
        CHECK_OK(realm_session_poll(session, 0, &event, &error));
    } while (event.kind != REALM_EVENT_DONE);
    CHECK(may_use_further(session));
    realm_session_close(session);
    CHECK_OK(realm_model_remove(NULL, FURTHER, &error));
}

static void count_line(void *counts, int32_t level, const char *text, size_t bytes) {
    (void)level, (void)text, (void)bytes;
    ((unsigned *)counts)[0]++;
}

static int32_t count_step(void *counts, uint64_t done, uint64_t total) {
    CHECK(done <= total);
    ((unsigned *)counts)[1]++;
    return 0;
}

/* Options of programs that were compiled when the struct ended earlier: what lies behind is not theirs, and not read. */
static void test_older_options(void) {
    static const size_t ends[] = {
        offsetof(realm_session_options, progress), /* the last is log, the first that ever was */
        offsetof(realm_session_options, models),   /* ... progress */
        sizeof(realm_session_options),
    };
    for (unsigned i = 0; i < 3; i++) {
        unsigned counts[2] = {0, 0};
        uint32_t again = 0;
        char text[4096];
        realm_session_options options = REALM_SESSION_OPTIONS_INIT;
        options.ctx = counts;
        options.log = count_line;
        options.progress = count_step;
        options.struct_size = (uint32_t)ends[i];
        memset((char *)&options + ends[i], 0xa5, sizeof options - ends[i]);
        realm_session *session = open_session(&options);
        CHECK(ask(session, FRANCE, 0, text, sizeof text, &again) == REALM_DONE_EOS);
        CHECK(strcmp(text, ANSWER) == 0);
        CHECK(counts[0] > 0 && (counts[1] > 0) == (i > 0));
        realm_session_close(session);
    }
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_session *session = NULL;
    realm_error error = {0, ""};
    options.struct_size = (uint32_t)offsetof(realm_session_options, log);
    CHECK(realm_session_open(runtime, MODEL, &options, &session, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(session == NULL && strstr(error.message, "realm_session_options") != NULL);
}

/* Objects may be ended in any order: the session keeps runtime and model. */
static void test_order(void) {
    realm_error error = {0, ""};
    char text[4096];
    uint32_t again = 0;
    realm_session *session = open_session(NULL);
    CHECK_OK(realm_model_remove(NULL, MODEL, &error));
    realm_runtime_destroy(runtime);
    CHECK(ask(session, FRANCE, 0, text, sizeof text, &again) == REALM_DONE_EOS);
    CHECK(strcmp(text, ANSWER) == 0);
    realm_session_close(session);
}

/* Texts that are missing, no UTF-8 or too long are called by the argument's name, and leave room for what is wrong. */
static void test_texts(void) {
    static char long_text[3000];
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_param params[2] = {{"temp", "0"}, {NULL, "1"}};
    realm_session *session = NULL;
    realm_error error = {0, ""};
    size_t n = 0;
    memset(long_text, 'a', sizeof long_text - 1);
    options.params = params;
    options.param_count = 2;
#define SAYS(call, expected)                                                           \
    CHECK((call) < 0);                                                                 \
    CHECK(strstr(error.message, expected) != NULL)
    SAYS(realm_session_open(runtime, MODEL, &options, &session, &error), "params[1].key is NULL");
    params[1].key = "\xff";
    SAYS(realm_session_open(runtime, MODEL, &options, &session, &error), "params[1].key is not UTF-8 from byte 0 of 1 on");
    params[1].key = "seed";
    params[1].value = "1\xff";
    SAYS(realm_session_open(runtime, MODEL, &options, &session, &error), "params[1].value ('seed') is not UTF-8 from byte 1 of 2 on");
    params[1].value = NULL;
    SAYS(realm_session_open(runtime, MODEL, &options, &session, &error), "params[1].value ('seed') is NULL");
    params[1].key = long_text;
    params[1].value = "1";
    SAYS(realm_session_open(runtime, MODEL, &options, &session, &error), "its name has 2999 bytes");
    options.param_count = 0;
    options.backend = long_text;
    SAYS(realm_session_open(runtime, MODEL, &options, &session, &error), "...' (there are: cpu, reference)");
    options.backend = NULL;
    session = open_session(&options);
    SAYS(realm_session_prompt(session, REALM_INPUT_TEXT, "abc\xe2\x82", 5, &error), "the prompt is not UTF-8 from byte 3 of 5 on");
    SAYS(realm_session_embedding(session, NULL, 0, &n, &error), "makes text");
    CHECK(error.status == REALM_STATUS_NOT_FOUND);
    SAYS(realm_session_logits(session, NULL, 0, NULL, &error), "count is NULL");
    SAYS(realm_model_tensor_find(NULL, MODEL, long_text, sizeof long_text - 1, &(uint32_t){0}, &error), "no tensor 'aaaa");
    CHECK(strstr(error.message, "...'") != NULL);
    SAYS(realm_model_meta_string(NULL, MODEL, "general.architecture", 20, -1, NULL, 0, NULL, &error), "bytes is NULL");
    SAYS(realm_model_meta_string(NULL, MODEL, "general.architecture", 20, -1, NULL, 1, &n, &error), "text is NULL");
#undef SAYS
    realm_session_close(session);
}

int main(void) {
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_posix_pool *pool = NULL;
    realm_error error = {0, ""};
    (void)alarm(240);
    (void)add_demo_model(MODEL);
    CHECK_OK(realm_posix_pool_create(3, &pool, &error));
    options.platform = realm_posix_pool_platform(pool);
    CHECK_OK(realm_runtime_create(&options, &runtime, &error));
    test_turns();
    test_conversations();
    test_budget_and_threads();
    test_cancel();
    test_limits_and_refusals();
    test_a_grammar_needs_memory();
    test_texts();
    test_further_models();
    test_older_options();
    test_order();
    realm_posix_pool_destroy(pool);
    return 0;
}
