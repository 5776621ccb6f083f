/* poll_many.c - several sessions polled in one call: every token and every logit is what it is alone, with any budget and
 * any number of threads, and whatever becomes of the others. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <string.h>
#include <unistd.h>

#include "check.h"
#include "demo.h"
#include "realm.h"
#include "realm_posix.h"

#define SESSIONS 8u
#define TOKENS_MAX 64u
#define MODEL 1u
#define SAME_MODEL_AGAIN 2u

static realm_runtime *runtime;

/* What a turn brought: token ids, a digest of the logits at each, and the end. */
typedef struct turn {
    uint32_t count;
    int32_t token[TOKENS_MAX];
    uint64_t logits[TOKENS_MAX];
    int ended;
    uint32_t reason;
    realm_status status;
} turn;

static const char *const question[SESSIONS] = {
    "What is the capital of France?",
    "What is the capital of Italy?",
    "Hello",
    "And what do you know of the capital of Norway? I should like to hear all of it, please.",
    "What is the capital of Japan?",
    "Spain?",
    "What is the capital of Kenya?",
    "Peru",
};

static realm_session *open_session(uint32_t i, uint32_t thread_count, uint64_t max_kv_bytes) {
    char seed[2] = {(char)('0' + i), '\0'}, length[3] = {'1', (char)('0' + i), '\0'};
    const realm_param params[] = {{"ctx", "256"},
                                  {"seed", seed},
                                  {"n_predict", length},
                                  {"ignore_eos", i % 3 == 2 ? "1" : "0"},
                                  {"temp", i % 4 == 1 ? "0.9" : "0"}};
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_session *session = NULL;
    realm_error error = {0, ""};
    options.params = params;
    options.param_count = sizeof params / sizeof params[0];
    options.thread_count = thread_count;
    options.max_kv_bytes = max_kv_bytes;
    CHECK_OK(realm_session_open(runtime, i == 4 ? SAME_MODEL_AGAIN : MODEL, &options, &session,
                                &error));
    return session;
}

static void ask(realm_session *session, uint32_t i) {
    realm_error error = {0, ""};
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_CHAT, question[i], strlen(question[i]),
                                  &error));
}

static void note(turn *t, realm_session *session, const realm_event *event) {
    static float logits[1 << 18];
    realm_error error = {0, ""};
    size_t count = 0;
    if (event->kind == REALM_EVENT_DONE) {
        t->ended = 1;
        t->reason = event->reason;
    } else if (event->kind == REALM_EVENT_TOKEN) {
        uint64_t digest = 0;
        CHECK(t->count < TOKENS_MAX);
        CHECK_OK(realm_session_logits(session, logits, sizeof logits / sizeof logits[0], &count,
                                      &error));
        for (size_t i = 0; i < count; i++) {
            uint32_t bits;
            memcpy(&bits, &logits[i], sizeof bits);
            digest = digest * 31 + bits;
        }
        t->token[t->count] = event->token;
        t->logits[t->count++] = digest;
    }
}

static turn alone(uint32_t i) {
    static const turn nothing;
    turn t = nothing;
    realm_session *session = open_session(i, 1, 0);
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    ask(session, i);
    while (!t.ended) {
        CHECK_OK(realm_session_poll(session, 0, &event, &error));
        note(&t, session, &event);
    }
    realm_session_close(session);
    CHECK(t.count > 3);
    return t;
}

static int same(const turn *a, const turn *b) {
    return a->count == b->count && a->reason == b->reason &&
           memcmp(a->token, b->token, a->count * sizeof a->token[0]) == 0 &&
           memcmp(a->logits, b->logits, a->count * sizeof a->logits[0]) == 0;
}

/* One call for the sessions whose turn is running; returns how many those are. */
static size_t poll_once(realm_session *const *sessions, turn *turns, size_t count, uint64_t budget_us) {
    realm_session *running[SESSIONS] = {NULL};
    realm_event events[SESSIONS];
    realm_error errors[SESSIONS], error = {0, ""};
    size_t place[SESSIONS], n = 0;
    const realm_event init = REALM_EVENT_INIT;
    for (size_t i = 0; i < count; i++) {
        if (!turns[i].ended) {
            place[n] = i;
            events[n] = init;
            errors[n].status = 99;
            running[n++] = sessions[i];
        }
    }
    CHECK_OK(realm_poll_many(running, n, budget_us, events, errors, &error));
    for (size_t k = 0; k < n; k++) {
        turn *t = &turns[place[k]];
        if (errors[k].status == REALM_STATUS_OK) {
            CHECK(errors[k].message[0] == '\0');
            CHECK(budget_us > 0 || events[k].kind != REALM_EVENT_AGAIN);
            note(t, running[k], &events[k]);
        } else {
            CHECK(errors[k].status < 0 && errors[k].message[0] != '\0');
            t->ended = 1;
            t->status = errors[k].status;
        }
    }
    return n;
}

static void test_same_bits(const turn *want) {
    static const uint64_t budgets[] = {0, 1, 200, 2000};
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        for (uint32_t count = 1; count <= SESSIONS; count += 1 + count / 3) {
            for (size_t b = 0; b < sizeof budgets / sizeof budgets[0]; b++) {
                realm_session *sessions[SESSIONS];
                turn turns[SESSIONS];
                memset(turns, 0, sizeof turns);
                for (uint32_t i = 0; i < count; i++) {
                    sessions[i] = open_session(i, threads, 0);
                    ask(sessions[i], i);
                }
                while (poll_once(sessions, turns, count, budgets[b]) > 0) {
                }
                for (uint32_t i = 0; i < count; i++) {
                    CHECK(turns[i].status == REALM_STATUS_OK && same(&turns[i], &want[i]));
                    realm_session_close(sessions[i]);
                }
            }
        }
    }
}

/* One over its limit, one cancelled, one without a turn, one closed midway: the others do not notice. */
static void test_trouble(const turn *want) {
    realm_session *sessions[6];
    turn turns[6];
    size_t calls = 0;
    memset(turns, 0, sizeof turns);
    for (uint32_t i = 0; i < 6; i++) {
        sessions[i] = open_session(i, 1, i == 3 ? 1 : 0);
        if (i != 1) {
            ask(sessions[i], i);
        }
    }
    while (poll_once(sessions, turns, 6, 50) > 0) {
        if (++calls == 40) {
            realm_session_cancel(sessions[2]);
            realm_session_close(sessions[5]);
            turns[5].ended = 1;
        }
    }
    CHECK(calls > 40);
    CHECK(turns[1].status == REALM_STATUS_STATE);
    CHECK(turns[2].reason == REALM_DONE_CANCELLED && turns[2].count < want[2].count);
    CHECK(turns[3].status == REALM_STATUS_LIMIT);
    CHECK(same(&turns[0], &want[0]) && same(&turns[4], &want[4]));
    for (uint32_t i = 0; i < 5; i++) {
        realm_session_close(sessions[i]);
    }
}

static void test_refusals(void) {
    realm_event events[2] = {REALM_EVENT_INIT, REALM_EVENT_INIT};
    realm_error errors[2], error = {0, ""};
    realm_session *one = open_session(0, 1, 0), *sessions[2] = {one, one};
    ask(one, 0);
    CHECK_OK(realm_poll_many(NULL, 0, 0, NULL, NULL, &error));
    CHECK(realm_poll_many(sessions, 2, 0, events, errors, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "session 1") != NULL);
    sessions[0] = NULL;
    CHECK(realm_poll_many(sessions, 2, 0, events, errors, &error) == REALM_STATUS_INVALID_ARGUMENT);
    sessions[0] = one;
    CHECK(realm_poll_many(NULL, 1, 0, events, errors, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_poll_many(sessions, 1, 0, NULL, errors, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_poll_many(sessions, 1, 0, events, NULL, &error) == REALM_STATUS_INVALID_ARGUMENT);
    events[0].struct_size = 8;
    CHECK(realm_poll_many(sessions, 1, 0, events, errors, &error) == REALM_STATUS_INVALID_ARGUMENT);
    events[0].struct_size = sizeof events[0];
    sessions[1] = open_session(1, 1, 0);
    events[1].struct_size += 8;
    CHECK(realm_poll_many(sessions, 2, 0, events, errors, &error) == REALM_STATUS_INVALID_ARGUMENT);
    events[1].struct_size -= 8;
    /* Nothing has happened so far. */
    CHECK_OK(realm_poll_many(sessions, 2, 0, events, errors, NULL));
    CHECK(errors[0].status == REALM_STATUS_OK && events[0].kind == REALM_EVENT_TOKEN);
    CHECK(errors[1].status == REALM_STATUS_STATE);
    realm_session_close(one);
    realm_session_close(sessions[1]);
}

int main(void) {
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_posix_pool *pool = NULL;
    realm_error error = {0, ""};
    turn want[SESSIONS];
    (void)alarm(240);
    (void)add_demo_model(MODEL);
    (void)add_demo_model(SAME_MODEL_AGAIN);
    CHECK_OK(realm_posix_pool_create(3, &pool, &error));
    options.platform = realm_posix_pool_platform(pool);
    CHECK_OK(realm_runtime_create(&options, &runtime, &error));
    for (uint32_t i = 0; i < SESSIONS; i++) {
        want[i] = alone(i);
    }
    test_same_bits(want);
    test_trouble(want);
    test_refusals();
    realm_runtime_destroy(runtime);
    CHECK_OK(realm_model_remove(NULL, MODEL, &error));
    CHECK_OK(realm_model_remove(NULL, SAME_MODEL_AGAIN, &error));
    realm_posix_pool_destroy(pool);
    return 0;
}
