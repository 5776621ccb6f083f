/* 10_guest.c - a guest of your own: model logic as data, in a sandbox.
 *
 *     10_guest nearest.wasm Norway
 *
 * The guest that comes with the library generates text. This one, 10_guest/nearest.c, does something else with the same
 * model: it asks which tokens have the most similar embeddings. It is 1 KB of WebAssembly that can be loaded any day.
 */
#include "example.h"

#define GUEST "examples-c/10_guest/nearest.wasm"
#define WASM_MAX 65536

static realm_guest *load_guest(const char *path) {
    static unsigned char wasm[WASM_MAX];
    realm_guest *guest = NULL;
    realm_error error = {0, ""};
    FILE *file = fopen(path, "rb");
    expect(file != NULL, "the guest's file is there");
    const size_t bytes = fread(wasm, 1, sizeof wasm, file);
    fclose(file);
    /* Validated and translated; the bytes are not needed afterwards. */
    must(realm_guest_load(wasm, bytes, &guest, &error), &error);
    return guest;
}

int main(int argc, char **argv) {
    const char *word = argc > 2 ? argv[2] : "Norway";
    const uint32_t model = load_model(DEMO_MODEL);
    realm_runtime *runtime = make_runtime(realm_posix_platform());
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_session_stats stats = REALM_SESSION_STATS_INIT;
    realm_event event = REALM_EVENT_INIT;
    realm_session *session = NULL;
    realm_error error = {0, ""};
    realm_guest *guest = load_guest(argc > 1 ? argv[1] : GUEST);
    uint32_t found = 0;

    options.guest = guest;
    options.max_guest_memory_bytes = 256 << 10;
    must(realm_session_open(runtime, model, &options, &session, &error), &error);
    realm_guest_unload(guest); /* the session keeps it */

    /* What an input means is the guest's affair: to this one a text is a word. */
    must(realm_session_prompt(session, REALM_INPUT_TEXT, word, strlen(word), &error), &error);
    while (event.kind != REALM_EVENT_DONE) {
        must(realm_session_poll(session, REALM_BUDGET_UNLIMITED, &event, &error), &error);
        if (event.kind != REALM_EVENT_TOKEN) continue;
        printf("%.*s\n", (int)event.text_bytes, event.text);
        if (found++ == 0)
            expect(strncmp(event.text, word, event.text_bytes) == 0 && event.text_bytes == strlen(word),
                   "nothing is nearer to a token than itself");
    }
    expect(found == 4, "it names four");

    /* What the guest refuses is an error of the turn, with the guest's own words. */
    must(realm_session_prompt(session, REALM_INPUT_TEXT, "Norwayish", 9, &error), &error);
    const realm_status status = realm_session_poll(session, REALM_BUDGET_UNLIMITED, &event, &error);
    printf("%s: %s\n", realm_status_name(status), error.message);
    expect(status == REALM_STATUS_NOT_FOUND, "it is not a token");

    must(realm_session_get_stats(session, &stats), &error);
    printf("%llu events, %llu KiB of memory\n", (unsigned long long)stats.guest_events,
           (unsigned long long)stats.guest_linear_memory_bytes >> 10);
    realm_session_close(session);
    realm_runtime_destroy(runtime);
    return 0;
}
