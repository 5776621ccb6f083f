/* turns.c - a guest of somebody else's beside the library's own, which must not be told apart.
 *
 *     turns [MODEL GUEST]
 *
 * Without arguments it is the library's own, beside itself, with the demo model.
 *
 * Both are asked to go on with the same text, in the same turns: cut short, cancelled, rewound, forked, up to the end of the
 * context. The tokens and the context's length must be the same; so must the logits, bit by bit. GUEST must know raw text
 * and the parameters `ctx` and `n_predict`, choose the most probable token, and keep its cache in f32.
 */
#include "../../examples-c/example.h"
#include "check.h"

#define CTX 160
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define MOST 256 /* tokens of a turn */

static realm_session *ours, *theirs;
static realm_error error;

/* A turn; after `stop` tokens it is cancelled. Its tokens go to `tokens`, and its reason behind them. */
static size_t take_turn(realm_session *session, const char *text, size_t stop, int32_t *tokens) {
    realm_event event = REALM_EVENT_INIT;
    size_t count = 0;
    CHECK_OK(realm_session_prompt(session, REALM_INPUT_TEXT, text, strlen(text), &error));
    do {
        CHECK_OK(realm_session_poll(session, REALM_BUDGET_UNLIMITED, &event, &error));
        if (event.kind == REALM_EVENT_TOKEN && event.token >= 0) {
            CHECK(count < MOST);
            tokens[count++] = event.token;
            if (count == stop) realm_session_cancel(session);
        }
    } while (event.kind != REALM_EVENT_DONE);
    /* What had been computed when the turn was cancelled is either's own affair. */
    if (event.reason == REALM_DONE_CANCELLED) count = stop;
    tokens[count] = (int32_t)event.reason;
    return count;
}

static uint32_t position(realm_session *session) {
    uint32_t at = 0;
    CHECK_OK(realm_session_position(session, &at, &error));
    return at;
}

static void same_logits(void) {
    static float a[65536], b[65536];
    size_t na = 0, nb = 0;
    CHECK_OK(realm_session_logits(ours, a, 65536, &na, &error));
    CHECK_OK(realm_session_logits(theirs, b, 65536, &nb, &error));
    CHECK(na == nb && na > 0 && memcmp(a, b, na * sizeof *a) == 0);
}

/* The same turn in both; its reason. */
static uint32_t same_turn(const char *text, size_t stop) {
    int32_t a[MOST + 1], b[MOST + 1];
    const size_t count = take_turn(ours, text, stop, a);
    CHECK(take_turn(theirs, text, stop, b) == count && memcmp(a, b, (count + 1) * sizeof *a) == 0);
    CHECK(position(ours) == position(theirs));
    if (a[count] != REALM_DONE_CANCELLED) same_logits();
    return (uint32_t)a[count];
}

static void set(const char *n_predict) {
    CHECK_OK(realm_session_set_param(ours, "n_predict", n_predict, &error));
    CHECK_OK(realm_session_set_param(theirs, "n_predict", n_predict, &error));
}

static void rewind_to(uint32_t at) {
    CHECK_OK(realm_session_rewind(ours, at, &error));
    CHECK_OK(realm_session_rewind(theirs, at, &error));
}

static void compare(void) {
    /* More tokens than a step takes. */
    static const char alphabet[] = "a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K L M N";
    realm_session *old_ours = ours, *old_theirs = theirs;
    uint32_t at;

    set("3");
    CHECK(same_turn("The capital of France", SIZE_MAX) == REALM_DONE_LENGTH);
    at = position(ours);
    set("5"); /* the third token enters with this turn */
    CHECK(same_turn(" and that of Norway", SIZE_MAX) != REALM_DONE_CANCELLED);
    rewind_to(at);
    CHECK(same_turn(" and that of Japan", 1) == REALM_DONE_CANCELLED);
    CHECK(same_turn(" or of Italy", SIZE_MAX) != REALM_DONE_CANCELLED);

    CHECK_OK(realm_session_fork(old_ours, &ours, &error));
    CHECK_OK(realm_session_fork(old_theirs, &theirs, &error));
    rewind_to(at / 2);
    CHECK(same_turn(" is", SIZE_MAX) != REALM_DONE_CANCELLED);
    realm_session_close(ours);
    realm_session_close(theirs);
    ours = old_ours;
    theirs = old_theirs;

    rewind_to(0);
    set("0");
    CHECK(same_turn(alphabet, SIZE_MAX) == REALM_DONE_LENGTH);
    set("-1");
    rewind_to(0);
    CHECK(same_turn("a b c", SIZE_MAX) == REALM_DONE_CONTEXT); /* of which neither model sees an end */
    CHECK(position(ours) == CTX);
}

/* What it does not know or cannot take it refuses, and goes on. */
static void refuse(void) {
    realm_event event = REALM_EVENT_INIT;
    char much[1024];
    CHECK(realm_session_set_param(theirs, "tmep", "1", &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(strstr(error.message, "tmep") != NULL);
    CHECK(realm_session_set_param(theirs, "n_predict", "many", &error) == REALM_STATUS_INVALID_ARGUMENT);
    memset(much, 'z', sizeof much - 1);
    much[sizeof much - 1] = '\0';
    CHECK_OK(realm_session_prompt(theirs, REALM_INPUT_TEXT, much, strlen(much), &error));
    CHECK(realm_session_poll(theirs, REALM_BUDGET_UNLIMITED, &event, &error) == REALM_STATUS_LIMIT);
    rewind_to(0);
    set("2");
    CHECK(same_turn("The", SIZE_MAX) == REALM_DONE_LENGTH);
}

static realm_session *open_session(realm_runtime *runtime, uint32_t model, const realm_guest *guest, const char *kv_type) {
    const realm_param params[] = {{"ctx", TEXT(CTX)}, {"kv_type", kv_type}};
    realm_session_options options = REALM_SESSION_OPTIONS_INIT;
    realm_session *session = NULL;
    options.guest = guest;
    options.params = params;
    options.param_count = kv_type ? 2 : 1;
    CHECK_OK(realm_session_open(runtime, model, &options, &session, &error));
    return session;
}

int main(int argc, char **argv) {
    const realm_platform *platform = realm_posix_platform();
    realm_guest *guest = NULL;
    realm_posix_map wasm = {NULL, 0};
    realm_runtime *runtime;
    uint32_t id;

    CHECK(argc == 1 || argc == 3);
    id = load_model(argc == 3 ? argv[1] : DEMO_MODEL);
    runtime = make_runtime(platform);
    if (argc == 3) {
        CHECK_OK(realm_posix_map_file(argv[2], &wasm, &error));
        CHECK_OK(realm_guest_load(wasm.data, wasm.bytes, &guest, &error));
        realm_posix_unmap(&wasm); /* it has been translated */
    }
    ours = open_session(runtime, id, NULL, "f32");
    theirs = open_session(runtime, id, guest, guest ? NULL : "f32");
    realm_guest_unload(guest);
    compare();
    refuse();
    realm_session_close(ours);
    realm_session_close(theirs);
    realm_runtime_destroy(runtime);
    puts("the same");
    return 0;
}
