/* 05_cancel.c - Ctrl-C ends the answer, not the program; and the context goes back to before the question.
 *
 * realm_session_cancel may be called from any thread and from a signal handler, whether a poll is running or not. The
 * turn then ends as turns do, with DONE, and the session goes on. Try it: 05_cancel --wait, then Ctrl-C.
 */
#include <signal.h>

#include "example.h"

static realm_session *session;

static void on_interrupt(int signal_number) {
    (void)signal(signal_number, on_interrupt);
    realm_session_cancel(session); /* only raises a flag */
}

int main(int argc, char **argv) {
    static const char question[] = "What is the capital of France?";
    /* Goes on when the model has said all: until the context is full, if nobody interrupts. */
    const realm_param params[] = {{"ignore_eos", "1"}};
    const int wait = argc > 1 && strcmp(argv[1], "--wait") == 0;
    const uint32_t model = load_model(argc > 1 && !wait ? argv[1] : DEMO_MODEL);
    realm_runtime *runtime = make_runtime(realm_posix_platform());
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    char answer[256];
    uint32_t tokens = 0, before = 0;

    options.params = params;
    options.param_count = 1;
    must(realm_session_open(runtime, model, &options, &session, &error), &error);
    (void)signal(SIGINT, on_interrupt);

    must(realm_session_position(session, &before, &error), &error);
    must(realm_session_prompt(session, REALM_INPUT_CHAT, question, sizeof question - 1, &error), &error);
    while (event.kind != REALM_EVENT_DONE) {
        must(realm_session_poll(session, REALM_BUDGET_UNLIMITED, &event, &error), &error);
        if (event.kind == REALM_EVENT_TOKEN) {
            fwrite(event.text, 1, event.text_bytes, stdout);
            fflush(stdout);
            /* Nobody is at the keyboard when this runs as a test. */
            if (++tokens == 4 && !wait) (void)raise(SIGINT);
        }
    }
    printf(" [%s after %u tokens]\n", event.reason == REALM_DONE_CANCELLED ? "cancelled" : "context full",
           (unsigned)tokens);
    if (!wait) {
        expect(event.reason == REALM_DONE_CANCELLED, "the turn was cancelled");
        expect(tokens < 8, "it ended soon"); /* what had been computed already may still come */
    }

    /* What was said so far would stay in the context. Back to before the question, as if it had not been asked. */
    must(realm_session_rewind(session, before, &error), &error);
    must(realm_session_set_param(session, "ignore_eos", "0", &error), &error);
    const uint32_t reason = ask(session, "What is the capital of Japan?", answer, sizeof answer);
    printf("%s\n", answer);
    if (!wait) expect(reason == REALM_DONE_EOS && strstr(answer, "Tokyo") != NULL, "the session goes on");

    /* Cancelling when nothing runs does nothing. */
    realm_session_cancel(session);
    realm_session_close(session);
    realm_runtime_destroy(runtime);
    return 0;
}
