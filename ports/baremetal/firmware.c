/* firmware.c - a language model in a super-loop: one arena, no operating system, no C library.
 *
 * It continues a prompt, and prints the text, what it took, and a hash of every logit it saw. The hash is the same on every machine,
 * whatever the instructions, the budget of a poll and the size of a batch: tests/firmware/run compares them.
 */
#include "machine.h"
#include "realm.h"
#include "realm_arena.h"

/* What is asked; -D changes it. */
#ifndef PROMPT
#define PROMPT "Once upon a time"
#endif
/* Or REALM_INPUT_CHAT. */
#ifndef INPUT
#define INPUT REALM_INPUT_TEXT
#endif
#ifndef TOKENS
#define TOKENS "64"
#endif
#ifndef CONTEXT
#define CONTEXT "256"
#endif
/* Prompt tokens per step. More are faster and take more scratch memory; the results are the same. */
#ifndef BATCH
#define BATCH "8"
#endif
/* How long a poll may take, in microseconds, before the loop does something else. */
#ifndef BUDGET_US
#define BUDGET_US 1000
#endif
/* -DIMAGE: a guest that was recorded, instead of one that is interpreted. What it was recorded with is not asked again. */
#ifdef IMAGE
extern const unsigned char firmware_image[], firmware_image_end[];
#define SETTINGS {"n_predict", TOKENS}
#else
#define SETTINGS {"n_predict", TOKENS}, {"ctx", CONTEXT}, {"n_batch", BATCH}, {"ignore_eos", "1"}
#endif
/* So many tokens come before what is measured: all of the guest that makes tokens has been translated by then. */
#define WARM 3
/* The largest vocabulary whose logits are hashed. */
#define MAX_VOCABULARY 4096

/* ---- text ----------------------------------------------------------------------------------- */

static void put(const char *text) {
    size_t bytes = 0;
    while (text[bytes] != '\0') bytes++;
    machine_put(text, bytes);
}

static void put_number(uint64_t n) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    machine_put(digits + at, sizeof digits - at);
}

static void put_hash(uint64_t n) {
    char digits[16];
    size_t i;
    for (i = 0; i < sizeof digits; i++) digits[i] = "0123456789abcdef"[(n >> (60 - 4 * i)) & 15];
    machine_put(digits, sizeof digits);
}

static void put_count(const char *what, uint64_t n) {
    put(what);
    put_number(n);
    put("\n");
}

/* ---- memory --------------------------------------------------------------------------------- */

/* All memory: the library's small objects and the guest through realm_firmware_alloc, caches and scratch through the platform.
 * A hosted library has an allocator of its own and calls the second only. */
static realm_arena arena;

void *realm_firmware_alloc(size_t bytes, size_t align);
void realm_firmware_free(void *memory, size_t bytes, size_t align);
void realm_firmware_panic(const char *text, size_t bytes);

void *realm_firmware_alloc(size_t bytes, size_t align) { return realm_arena_alloc(&arena, bytes, align); }
void realm_firmware_free(void *memory, size_t bytes, size_t align) { realm_arena_free(&arena, memory, bytes, align); }

/* A bug in the library, or no memory where it cannot be told. A product would restart here. */
void realm_firmware_panic(const char *text, size_t bytes) {
    put("panic: ");
    machine_put(text, bytes);
    put("\n");
    machine_exit(3);
}

/* ---- the model ------------------------------------------------------------------------------ */

static float logits[MAX_VOCABULARY];

/* FNV-1a over the bits of all logits, in an order of bytes that does not depend on the machine's. */
static uint64_t hash_logits(uint64_t hash, size_t count) {
    size_t i;
    int shift;
    for (i = 0; i < count; i++) {
        union {
            float number;
            uint32_t bits;
        } each;
        each.number = logits[i];
        for (shift = 0; shift < 32; shift += 8) {
            hash ^= (each.bits >> shift) & 0xff;
            hash *= UINT64_C(0x100000001b3);
        }
    }
    return hash;
}

static int failed(const char *what, realm_status status, const realm_error *error) {
    put(what);
    put(": ");
    put(realm_status_name(status));
    put(": ");
    put(error->message);
    put("\n");
    return 1;
}

int firmware_main(const void *model_data, size_t model_bytes, const char *isa) {
    static const char prompt[] = PROMPT;
    static const realm_param params[] = {SETTINGS};
    realm_platform platform = REALM_PLATFORM_INIT;
    realm_runtime_options options = REALM_RUNTIME_OPTIONS_INIT;
    realm_session_options settings = REALM_SESSION_OPTIONS_INIT;
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_event event = REALM_EVENT_INIT;
    realm_error error = {0, ""};
    realm_runtime *runtime = NULL;
    realm_session *session = NULL;
    realm_guest *guest = NULL;
    realm_bytes part;
    realm_status status;
    uint32_t model = 0;
    uint64_t hash = UINT64_C(0xcbf29ce484222325), polls = 0, tokens = 0, longest = 0, begun, first = 0;
    uint64_t later = 0, busy = 0;
    size_t count = 0, bytes = 0, opened;
    unsigned char *memory = machine_memory(&bytes);

    realm_arena_init(&arena, memory, bytes);
    platform.ctx = &arena;
    platform.alloc = realm_arena_alloc;
    platform.free = realm_arena_free;
    platform.clock_ns = machine_clock_ns;
    options.platform = &platform;
    if (isa != NULL) {
        for (count = 0; isa[count] != '\0'; count++) {}
        if ((status = realm_cpu_force_isa(isa, count, &error)) < 0) return failed(isa, status, &error);
    }

    /* The model stays where it is, in read-only memory. With an id nothing but its metadata is read. */
    part.data = model_data;
    part.bytes = model_bytes;
    source.parts = &part;
    source.part_count = 1;
    source.id = 1;
    if ((status = realm_model_register(NULL, &source, &model, &error)) < 0) return failed("model", status, &error);
    if ((status = realm_runtime_create(&options, &runtime, &error)) < 0) return failed("runtime", status, &error);
    settings.params = params;
    settings.param_count = sizeof params / sizeof params[0];
#ifdef IMAGE
    if ((status = realm_guest_load(firmware_image, (size_t)(firmware_image_end - firmware_image), &guest, &error)) < 0)
        return failed("image", status, &error);
    settings.guest = guest;
#endif
    begun = machine_clock_ns(NULL);
    if ((status = realm_session_open(runtime, model, &settings, &session, &error)) < 0)
        return failed("session", status, &error);
    put_count("open us:      ", (machine_clock_ns(NULL) - begun) / 1000);
    opened = arena.used;

    if ((status = realm_session_prompt(session, INPUT, prompt, sizeof prompt - 1, &error)) < 0)
        return failed("prompt", status, &error);
    put("text:         " PROMPT);
    begun = machine_clock_ns(NULL);
    do { /* the super-loop */
        const uint64_t start = machine_clock_ns(NULL);
        uint64_t took;
        status = realm_session_poll(session, BUDGET_US, &event, &error);
        took = machine_clock_ns(NULL) - start;
        longest = took > longest ? took : longest;
        if (tokens >= WARM) {
            later = took > later ? took : later;
            busy += took;
        }
        polls++;
        if (status < 0) return failed("poll", status, &error);
        if (event.kind == REALM_EVENT_TOKEN && event.token >= 0) {
            if (tokens++ == 0) first = machine_clock_ns(NULL);
            status = realm_session_logits(session, logits, MAX_VOCABULARY, &count, &error);
            if (status < 0) return failed("logits", status, &error);
            hash = hash_logits(hash, count);
            hash = (hash ^ (uint32_t)event.token) * UINT64_C(0x100000001b3);
        }
        if (event.kind == REALM_EVENT_TOKEN) machine_put(event.text, event.text_bytes);
        /* Here the machine does everything else that it is for. */
    } while (event.kind != REALM_EVENT_DONE);

    put("\n");
    put_count("tokens:       ", tokens);
    put("hash:         ");
    put_hash(hash);
    put("\n");
    put_count("arena opened: ", opened);
    put_count("arena used:   ", arena.used);
    put_count("arena most:   ", arena.high_water);
    put_count("stack most:   ", machine_stack_high_water());
    put_count("polls:        ", polls);
    put_count("longest ns:   ", longest); /* of all polls, and of those behind the first tokens */
    put_count("later ns:     ", later);
    put_count("first ns:     ", first - begun);
    if (tokens > WARM) put_count("token ns:     ", busy / (tokens - WARM));

    realm_session_close(session);
    realm_guest_unload(guest);
    realm_runtime_destroy(runtime);
    if ((status = realm_model_remove(NULL, model, &error)) < 0) return failed("removal", status, &error);
    put_count("arena left:   ", arena.used);
    return 0;
}
