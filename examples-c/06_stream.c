/* 06_stream.c - text as it is made: whole characters only, and nothing of a stop string.
 *
 * A token is a run of bytes. It may end inside a character, or inside what may become a stop string. The
 * guest holds such text back until it is decided, so what an event brings can be shown at once; some events bring none.
 */
#include "example.h"

/* Whether these are whole characters of UTF-8 (what follows a lead byte is there, and nothing else). */
static int whole(const char *text, size_t bytes) {
    size_t i = 0;
    while (i < bytes) {
        const unsigned char lead = (unsigned char)text[i];
        const size_t more = lead < 0x80 ? 0 : lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if ((lead >= 0x80 && lead < 0xc2) || lead > 0xf4 || bytes - i <= more) return 0;
        for (size_t k = 1; k <= more; k++)
            if (((unsigned char)text[i + k] & 0xc0) != 0x80) return 0;
        i += more + 1;
    }
    return 1;
}

/* What one token is by itself: half a character is shown as U+FFFD. */
static void print_token(uint32_t model, int32_t token) {
    const uint32_t id = (uint32_t)token;
    realm_error error = {0, ""};
    char text[64];
    size_t bytes = 0;
    must(realm_model_detokenize(NULL, model, &id, 1, 0, text, sizeof text, &bytes, &error), &error);
    printf("  %4d  %-12.*s", (int)token, (int)bytes, text);
}

/* Streams an answer into `text`, with a line for each event; returns why it ended. */
static uint32_t stream(realm_session *session, uint32_t model, char *text, size_t room, int *held) {
    static const char question[] = "What is the capital of Z\xc3\xbcrich?";
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    text[0] = '\0';
    *held = 0;
    must(realm_session_prompt(session, REALM_INPUT_CHAT, question, sizeof question - 1, &error), &error);
    for (;;) {
        must(realm_session_poll(session, REALM_BUDGET_UNLIMITED, &event, &error), &error);
        if (event.kind == REALM_EVENT_DONE) break;
        /* Text that was held at the end of a turn comes with token -1. */
        if (event.token >= 0)
            print_token(model, event.token);
        else
            printf("  %4d  %-12s", (int)event.token, "");
        printf(" -> \"%.*s\"\n", (int)event.text_bytes, event.text);
        expect(whole(event.text, event.text_bytes), "an event brings whole characters");
        *held += event.text_bytes == 0;
        append(text, room, &event);
    }
    return event.reason;
}

int main(int argc, char **argv) {
    const uint32_t model = load_model(argc > 1 ? argv[1] : DEMO_MODEL);
    realm_runtime *runtime = make_runtime(realm_posix_platform());
    realm_session *session = NULL;
    realm_error error = {0, ""};
    char text[256];
    int held = 0;

    must(realm_session_open(runtime, model, NULL, &session, &error), &error);
    printf("token, alone -> what may be shown\n");
    expect(stream(session, model, text, sizeof text, &held) == REALM_DONE_EOS, "the model says all it has to say");
    printf("%s\n\n", text);
    expect(strcmp(text, "I do not know the capital of Z\xc3\xbcrich.") == 0, "no byte is lost");
    expect(held > 0, "one of its characters is made of two tokens");
    realm_session_close(session);

    /* Stop strings, one per line. This one is spread over two tokens; its first letter is never shown. */
    const realm_param params[] = {{"stop", "rich\n\\n"}};
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    options.params = params;
    options.param_count = 1;
    must(realm_session_open(runtime, model, &options, &session, &error), &error);
    expect(stream(session, model, text, sizeof text, &held) == REALM_DONE_STOP, "a stop string ends the turn");
    printf("%s\n", text);
    expect(strcmp(text, "I do not know the capital of Z\xc3\xbc") == 0, "and is not shown");

    realm_session_close(session);
    realm_runtime_destroy(runtime);
    return 0;
}
