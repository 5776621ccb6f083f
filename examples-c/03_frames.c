/* 03_frames.c - a game's loop: two milliseconds of every frame for the model, and what that does to frame times.
 *
 * A budget pauses the work inside an operation, so it holds for any model: a larger one only takes more
 * frames. What is generated does not depend on it. Nothing else happens in these frames; their time is the model's.
 */
#include <time.h>

#include "example.h"

#define BUDGET_US 2000u
#define BUCKET_US 250u
#define BUCKETS 24u
#define CHARACTERS 12u

static const char *const questions[] = {
    "What is the capital of France?",  "What is the capital of Peru?",  "What is the capital of Kenya?",
    "What is the capital of Iceland?", "What is the capital of Japan?", "What is the capital of Cuba?",
};
static const char *const answers[] = {"Paris", "Lima", "Nairobi", "Reykjavik", "Tokyo", "Havana"};
#define QUESTIONS (sizeof questions / sizeof questions[0])

static uint64_t now_us(void) {
    const realm_platform *platform = realm_posix_platform();
    return platform->clock_ns(platform->ctx) / 1000;
}

typedef struct dialogue {
    realm_session *session;
    size_t next, right;
    int running;
    char text[512];
} dialogue;

/* One event of the conversation. */
static void take(dialogue *d, const realm_event *event) {
    append(d->text, sizeof d->text, event);
    if (event->kind == REALM_EVENT_DONE) {
        d->right += strstr(d->text, answers[d->next - 1]) != NULL;
        d->running = 0;
    }
}

/* The model's part of a frame: poll until the budget is spent. A token may come long before that, so poll again. */
static void think(dialogue *d) {
    const uint64_t begun = now_us();
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    for (uint64_t spent; (spent = now_us() - begun) < BUDGET_US && (d->running || d->next < QUESTIONS);) {
        if (!d->running) {
            const char *question = questions[d->next++];
            must(realm_session_prompt(d->session, REALM_INPUT_CHAT, question, strlen(question), &error), &error);
            d->text[0] = '\0';
            d->running = 1;
        }
        must(realm_session_poll(d->session, realm_budget_left(BUDGET_US, spent), &event, &error), &error);
        take(d, &event);
    }
}

int main(int argc, char **argv) {
    const uint32_t model = load_model(argc > 1 ? argv[1] : DEMO_MODEL);
    realm_runtime *runtime = make_runtime(realm_posix_platform()); /* budgets need its clock */
    realm_error error = {0, ""};
    static dialogue all[CHARACTERS];
    uint32_t histogram[BUCKETS] = {0}, frames = 0, ours = 0, within = 0, most = 1;
    size_t right = 0;

    /* Opening a session reads metadata and records the model's graph in one go: a matter for the loading screen. */
    for (dialogue *d = all; d < all + CHARACTERS; d++)
        must(realm_session_open(runtime, model, NULL, &d->session, &error), &error);
    for (dialogue *d = all; d < all + CHARACTERS; d++) {
        while (d->running || d->next < QUESTIONS) {
            const uint64_t start = now_us();
            const clock_t ran = clock();
            think(d);
            const uint64_t took = now_us() - start, bucket = took / BUCKET_US;
            histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
            frames++;
            /* In some frames another program had the processor, so those cannot be held to it. */
            if ((double)(clock() - ran) / CLOCKS_PER_SEC * 1e6 < 0.9 * (double)took) continue;
            within += took < BUDGET_US + BUDGET_US / 2;
            ours++;
        }
        realm_session_close(d->session);
        right += d->right;
    }
    realm_runtime_destroy(runtime);

    for (uint32_t i = 0; i < BUCKETS; i++)
        most = histogram[i] > most ? histogram[i] : most;
    printf("\n%u frames\n", (unsigned)frames);
    for (uint32_t i = 0; i < BUCKETS; i++) {
        if (histogram[i] == 0) continue;
        printf("%5.2f ms %4u ", (double)(i * BUCKET_US) / 1000, (unsigned)histogram[i]);
        for (uint32_t n = 0; n < (histogram[i] * 50 + most - 1) / most; n++) putchar('#');
        printf("%s\n", i == BUCKETS - 1 ? " and above" : "");
    }
    expect(right == CHARACTERS * QUESTIONS, "every answer is right, however it was sliced");
    expect(within * 2 >= ours, "most frames kept to about 2 ms");
    return 0;
}
