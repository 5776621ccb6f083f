/* 04_characters.c - characters that share one model, each with limits of its own.
 *
 * The weights are there once, however many sessions there are; what a session has for itself is its cache, some
 * buffers and its guest's memory. Each can be bounded. Who comes to a limit gets an error; the others do not notice.
 */
#include "example.h"

enum { GUIDE, TERSE, FORGETFUL, CHARACTERS };

static const char *const name[CHARACTERS] = {"guide", "terse", "forgetful"};

int main(int argc, char **argv) {
    static const char question[] = "What is the capital of Norway?";
    const uint32_t model = load_model(argc > 1 ? argv[1] : DEMO_MODEL);
    realm_runtime *runtime = make_runtime(realm_posix_platform());
    realm_session *session[CHARACTERS];
    realm_event event[CHARACTERS];
    realm_error errors[CHARACTERS], error = {0, ""};
    char text[CHARACTERS][256] = {"", "", ""};
    uint32_t reason[CHARACTERS] = {0, 0, 0};

    /* What the guest understands is a parameter (guest/README.md); what the host enforces is a field of the options. */
    const realm_param five_tokens[] = {{"n_predict", "5"}};
    realm_session_options options[CHARACTERS] = {REALM_SESSION_OPTIONS_INIT, REALM_SESSION_OPTIONS_INIT,
                                                 REALM_SESSION_OPTIONS_INIT};
    options[TERSE].params = five_tokens;
    options[TERSE].param_count = 1;
    options[TERSE].max_guest_memory_bytes = 1u << 20;
    options[TERSE].fuel_per_event = 50000000; /* instructions of the guest between two steps */
    options[FORGETFUL].max_kv_bytes = 1; /* no memory for a single position */

    for (int i = 0; i < CHARACTERS; i++) {
        const realm_event init = REALM_EVENT_INIT;
        event[i] = init;
        must(realm_session_open(runtime, model, &options[i], &session[i], &error), &error);
        must(realm_session_prompt(session[i], REALM_INPUT_CHAT, question, sizeof question - 1, &error), &error);
    }

    /* One call for all: steps of several are computed together, and the weights read once for them. */
    for (int running = CHARACTERS; running > 0;) {
        realm_session *list[CHARACTERS];
        int who[CHARACTERS], count = 0;
        for (int i = 0; i < CHARACTERS; i++)
            if (reason[i] == 0) list[count] = session[i], who[count++] = i;
        must(realm_poll_many(list, (size_t)count, 2000, event, errors, &error), &error);
        for (int k = 0; k < count; k++) {
            const int i = who[k];
            if (errors[k].status != REALM_STATUS_OK) {
                printf("%-10s %s: %s\n", name[i], realm_status_name(errors[k].status), errors[k].message);
                reason[i] = UINT32_MAX;
                expect(errors[k].status == REALM_STATUS_LIMIT, "it is the limit");
            } else {
                append(text[i], sizeof text[i], &event[k]);
                reason[i] = event[k].reason; /* 0 until the turn is done */
            }
            running -= reason[i] != 0;
        }
    }

    for (int i = 0; i < CHARACTERS; i++) {
        realm_session_stats stats = REALM_SESSION_STATS_INIT;
        must(realm_session_get_stats(session[i], &stats), &error);
        printf("%-10s \"%s\"; cache %llu KiB, scratch %llu KiB, buffers %llu KiB, guest %llu KiB\n", name[i], text[i],
               (unsigned long long)stats.kv_bytes >> 10, (unsigned long long)stats.scratch_bytes >> 10,
               (unsigned long long)stats.buffer_bytes >> 10, (unsigned long long)stats.guest_linear_memory_bytes >> 10);
    }
    expect(reason[GUIDE] == REALM_DONE_EOS && strstr(text[GUIDE], "Oslo") != NULL, "one answers as if alone");
    expect(reason[TERSE] == REALM_DONE_LENGTH && strstr(text[TERSE], "Oslo") == NULL, "one is cut off");
    expect(reason[FORGETFUL] == UINT32_MAX && text[FORGETFUL][0] == '\0', "one fails");

    /* All three were the same bytes, held until the last is closed. */
    for (int i = 0; i < CHARACTERS; i++) realm_session_close(session[i]);
    realm_runtime_destroy(runtime);
    must(realm_model_remove(NULL, model, &error), &error);
    return 0;
}
