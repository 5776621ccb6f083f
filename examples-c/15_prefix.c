/* 15_prefix.c - a system prompt that is read once, for any number of conversations.
 *
 * A session that has read it is forked for each conversation. A fork shares the cache's pages until it writes to one, so that it costs
 * neither the time nor the memory of what was read; a whole conversation is then given as messages, of which only what is not there
 * is evaluated. Every bit is that of a session that has read everything by itself.
 */
#include "example.h"

#define SYSTEM                                                                                                                     \
    "{\"role\": \"system\", \"content\": \"You are a guide who knows the capitals of the world, and who answers in one sentence, " \
    "as short as can be. Whoever asks for anything else is told that you know nothing else. You never ask back, you do not guess, " \
    "and you make no lists.\"}"
#define QUESTION(country) "[" SYSTEM ", {\"role\": \"user\", \"content\": \"What is the capital of " country "?\"}]"

/* Tokens that have been evaluated for the turns of a session. */
static unsigned evaluated(const realm_session *session) {
    realm_session_stats stats = REALM_SESSION_STATS_INIT;
    return realm_session_get_stats(session, &stats) == REALM_STATUS_OK ? (unsigned)stats.prompt_tokens : 0;
}

static float *logits_of(realm_session *session, size_t *count) {
    realm_error error = {0, ""};
    (void)realm_session_logits(session, NULL, 0, count, &error);
    float *logits = (float *)calloc(*count, sizeof *logits);
    if (logits == NULL) exit(1);
    must(realm_session_logits(session, logits, *count, count, &error), &error);
    return logits;
}

int main(int argc, char **argv) {
    static const char *const questions[] = {QUESTION("France"), QUESTION("Peru"), QUESTION("Norway")};
    const uint32_t model = load_model(argc > 1 ? argv[1] : DEMO_MODEL);
    realm_runtime *runtime = make_runtime(realm_posix_platform());
    realm_session *prepared = NULL;
    realm_error error = {0, ""};
    char text[2][512];

    /* Nothing is to be said yet: the system prompt is only read. */
    must(realm_session_open(runtime, model, NULL, &prepared, &error), &error);
    must(realm_session_set_param(prepared, "n_predict", "0", &error), &error);
    turn(prepared, REALM_INPUT_MESSAGES, "[" SYSTEM "]", text[0], sizeof text[0]);
    must(realm_session_set_param(prepared, "n_predict", NULL, &error), &error);
    printf("read once: %u tokens\n", evaluated(prepared));

    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        realm_session *session[2] = {NULL, NULL}; /* a fork, and one that reads everything */
        float *logits[2];
        size_t count[2] = {0, 0};
        must(realm_session_fork(prepared, &session[0], &error), &error);
        must(realm_session_open(runtime, model, NULL, &session[1], &error), &error);
        for (int k = 0; k < 2; k++) {
            turn(session[k], REALM_INPUT_MESSAGES, questions[i], text[k], sizeof text[k]);
            logits[k] = logits_of(session[k], &count[k]);
        }
        printf("%u tokens instead of %u: %s\n", evaluated(session[0]), evaluated(session[1]), text[0]);
        expect(evaluated(session[0]) + evaluated(prepared) <= evaluated(session[1]) + 16, "what is there is not evaluated again");
        expect(strcmp(text[0], text[1]) == 0, "the same answer");
        expect(count[0] == count[1] && memcmp(logits[0], logits[1], count[0] * sizeof(float)) == 0, "the same bits");
        for (int k = 0; k < 2; k++) {
            free(logits[k]);
            realm_session_close(session[k]);
        }
    }

    realm_session_close(prepared);
    realm_runtime_destroy(runtime);
    must(realm_model_remove(NULL, model, &error), &error);
    return 0;
}
