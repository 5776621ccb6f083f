/* realm_run.c - realm-run: a model answers a prompt.
 *
 * The text goes to stdout as it is made, with a line end behind it if it has none, and nothing else does. Every session needs the same six
 * calls as in 01_hello.c; the rest of this file is options, measurements and manners.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "chat.h"
#include "tool.h"

/* Naming the id ourselves spares the library from hashing the file to find one. */
#define MODEL_ID 1u

/* Adapters have the ids behind it. */
#define ADAPTERS_MAX 15

/* How often the progress bar moves while a long prompt is read. */
#define BAR_BUDGET_US 100000u

static const char *const help[] = {
    "[-m MODEL.gguf] [-p TEXT | -f FILE | --ids \"1 2 3\"] [options]\n"
    "Without -m the built-in demo model is asked; it alone needs no prompt, and then answers\n"
    "\"What is the capital of France?\".\n"
    "\n"
    "  -m, --model FILE         a GGUF file; FILE-00001-of-0000N.gguf stands for all N parts\n"
    "  -p, --prompt TEXT        the prompt\n"
    "  -f, --file FILE          the prompt is the content of FILE, byte for byte (-: stdin)\n"
    "      --ids \"1 2 3\"        the prompt as token ids, taken as they are\n"
    "      --raw                the prompt is text to be continued\n"
    "      --chat               the prompt is a user's message in the model's chat format\n"
    "                           (the default where the model has a chat template, else --raw);\n"
    "                           without a prompt: a conversation, with /save, /load, /reset, /help\n"
    "  -n, --n-predict N        at most N tokens (0: only read the prompt, -1: no limit)\n"
    "  -c, --ctx N              room for N tokens, prompt included (default 0: the guest's, which is\n"
    "                           what the model was trained for, at most 4096)\n"
    "      --stop STR           end the answer before STR, which is not shown; \\n in it is a line end;\n"
    "                           may be repeated\n"
    "      --system TEXT        system message of the chat\n"
    "                           (what a chat template takes for the time is now, unless --param\n"
    "                           chat_time=SECONDS says otherwise; not with --guest)\n",
    "  -t, --threads N          threads to use (default 1)\n"
    "      --temp T             temperature (the built-in guest: 0, always the likeliest token)\n"
    "      --top-k K  --top-p P  --min-p P  --repeat-penalty R\n"
    "      --typical P  --top-nsigma N  --xtc-probability P  --xtc-threshold P  --dynatemp-range R\n"
    "      --dynatemp-exp E  --mirostat 1|2  --mirostat-ent TAU  --mirostat-lr ETA\n"
    "      --repeat-last-n N  --frequency-penalty F  --presence-penalty F\n"
    "      --dry-multiplier M  --dry-base B  --dry-allowed-length N  --dry-penalty-last-n N\n"
    "                           further samplers (guest/README.md); --param samplers=... orders them\n"
    "      --grammar GBNF  --grammar-file FILE\n"
    "  -j, --json-schema JSON  --json-schema-file FILE\n"
    "                           the answer matches a grammar, or is JSON that a schema describes\n"
    "                           ('{}': any JSON)\n"
    "      --seed S             what random choices begin with (default 0; -1: another one each time,\n"
    "                           which is printed to stderr so that it can be given again)\n"
    "      --ignore-eos         do not stop at the end token\n"
    "      --draft-max, --draft N\n"
    "                           guess up to N tokens ahead, of what the text repeats; the same text, sooner\n"
    "                           (default 0: do not; with -md 16)\n"
    "      --model-draft, -md FILE\n"
    "                           a smaller GGUF model of the same vocabulary, which guesses instead\n"
    "      --spec-ngram-size-n N\n"
    "                           tokens that must have come up before, for a guess (default 3)\n",
    "      --lora FILE[,...]    add a LoRA adapter (GGUF) to the model; may be repeated\n"
    "      --lora-scaled FILE:SCALE[,...]\n"
    "                           the same, so much of it; may be repeated\n"
    "      --kv-type TYPE       f32, f16, q8_0 or auto: how keys and values are kept\n"
    "      --param KEY=VALUE    any parameter of the guest (guest/README.md); may be repeated\n"
    "      --backend NAME       which backend computes (default: the best there is)\n"
    "      --isa NAME           instructions the CPU backend uses: scalar, avx2, avx512, neon, ...\n"
    "      --mmap               leave the file mapped as it is (default: move it into huge pages bit\n"
    "                           by bit, where the system keeps it in small ones)\n"
    "      --no-mmap            move it into huge pages before the prompt\n"
    "      --guest FILE         a guest module in place of the built-in one, or an image, which knows no chat:\n"
    "                           with --raw or --ids where the model has a chat template\n"
    "      --record FILE        instead of asking, write an image of the guest for this model and these\n"
    "                           parameters, which --guest and firmware replay without interpreter\n"
    "      --fuel N             most fuel for one event of the guest, in millions (fuel_per_event; 0: 4000)\n"
    "      --guest-memory MIB   most memory of the guest: raise it for large schemas, grammars, conversations\n"
    "                           (max_guest_memory_bytes; 0: 16)\n"
    "      --buffer-memory MIB  most of its buffers in the host: drafts, pooling, recurrent state\n"
    "                           (max_buffer_bytes; 0: 256)\n"
    "      --budget-us N        return from each poll after about N microseconds\n"
    "      --hash               print the model's SHA-256 and derived id to stderr\n"
    "      --logits-out FILE    write the logits of the last prompt position (f32, little-endian)\n"
    "      --embedding          print the embedding of the prompt, as a JSON array (models that make embeddings,\n"
    "                           which do so unless another output is asked for; with --pooling any model)\n"
    "      --pooling TYPE       mean, cls, last, rank or auto: how rows become one (default: as the model says)\n"
    "      --embd-normalize N   -1: not at all, 0: to a largest element of 32760, p: to a p-norm of 1 (default 2)\n"
    "      --embedding-out FILE write the embedding of the prompt (likewise)\n"
    "      --ids-out            print the generated token ids instead of text\n"
    "  -v, --verbose            the guest's log on stderr, debug messages too\n"
    "      --stats json         measurements as the last line on stderr\n"
    "  -h, --help   --version\n"
    "\n"
    "The exit code is 0 if the text came to its end, 3 if the context was full before (-c gives more\n"
    "room), 130 if Ctrl-C ended it, 1 if something failed (of a --chat without a terminal: anything),\n"
    "2 if the arguments make no sense.\n", NULL};

/* See above, and chat.h. */
#define EXIT_CANCELLED 130

static const char *model_path, *draft_path, *prompt_text, *prompt_file, *prompt_ids, *backend, *guest_path, *isa;
static const char *record_path, *logits_path, *embedding_path, *stats_format, *kv_type, *grammar_file, *schema_file;
static int raw, chat, ignore_eos, ids_out, hash, verbose, embedding;
static tool_names loras, scaled_loras;
/* Models beside the model: adapters, and the one that drafts. */
static uint32_t further[ADAPTERS_MAX + 1];
static size_t adapter_count, further_count;
static int talk; /* a conversation instead of a prompt */
static uint32_t thread_count = 1, budget_us = 0, fuel_millions = 0, guest_memory_mib = 0, buffer_memory_mib = 0;

/* Moved between two tokens: a few milliseconds. */
#define SETTLE_BYTES ((size_t)16 << 20)

static const tool_option options[] = {
    {"--model", "-m", TOOL_NAME, &model_path, 0, 0},
    {"--prompt", "-p", TOOL_TEXT, &prompt_text, 0, 0},
    {"--file", "-f", TOOL_NAME, &prompt_file, 0, 0},
    {"--ids", NULL, TOOL_TEXT, &prompt_ids, 0, 0},
    {"--raw", NULL, TOOL_FLAG, &raw, 0, 0},
    {"--chat", NULL, TOOL_FLAG, &chat, 0, 0},
    {"--n-predict", "-n", TOOL_WHOLE_PARAM, "n_predict", -1, 2147483647},
    {"--ctx", "-c", TOOL_WHOLE_PARAM, "ctx", 0, 16777216},
    {"--stop", NULL, TOOL_LINES_PARAM, "stop", 0, 0},
    {"--system", NULL, TOOL_TEXT_PARAM, "system", 0, 0},
    {"--threads", "-t", TOOL_COUNT, &thread_count, 1, 1024},
    {"--temp", NULL, TOOL_PARAM, "temp", 0, 1000},
    {"--top-k", NULL, TOOL_WHOLE_PARAM, "top_k", 0, 2147483647},
    {"--top-p", NULL, TOOL_PARAM, "top_p", 0, 1},
    {"--min-p", NULL, TOOL_PARAM, "min_p", 0, 1},
    {"--repeat-penalty", NULL, TOOL_PARAM, "repeat_penalty", 0.001, 1000},
    {"--typical", NULL, TOOL_PARAM, "typical_p", 0, 1},
    {"--top-nsigma", NULL, TOOL_PARAM, "top_n_sigma", -1, 1000},
    {"--xtc-probability", NULL, TOOL_PARAM, "xtc_probability", 0, 1},
    {"--xtc-threshold", NULL, TOOL_PARAM, "xtc_threshold", 0, 1},
    {"--dynatemp-range", NULL, TOOL_PARAM, "dynatemp_range", 0, 1000},
    {"--dynatemp-exp", NULL, TOOL_PARAM, "dynatemp_exponent", 0, 1000},
    {"--mirostat", NULL, TOOL_WHOLE_PARAM, "mirostat", 0, 2},
    {"--mirostat-ent", NULL, TOOL_PARAM, "mirostat_tau", 0, 1000},
    {"--mirostat-lr", NULL, TOOL_PARAM, "mirostat_eta", 0, 1000},
    {"--repeat-last-n", NULL, TOOL_WHOLE_PARAM, "repeat_last_n", -1, 16777216},
    {"--frequency-penalty", NULL, TOOL_PARAM, "frequency_penalty", -1000, 1000},
    {"--presence-penalty", NULL, TOOL_PARAM, "presence_penalty", -1000, 1000},
    {"--dry-multiplier", NULL, TOOL_PARAM, "dry_multiplier", 0, 1000},
    {"--dry-base", NULL, TOOL_PARAM, "dry_base", 0, 1000},
    {"--dry-allowed-length", NULL, TOOL_WHOLE_PARAM, "dry_allowed_length", 1, 16777216},
    {"--dry-penalty-last-n", NULL, TOOL_WHOLE_PARAM, "dry_penalty_last_n", -1, 16777216},
    {"--grammar", NULL, TOOL_TEXT_PARAM, "grammar", 0, 0},
    {"--grammar-file", NULL, TOOL_NAME, &grammar_file, 0, 0},
    {"--json-schema", "-j", TOOL_TEXT_PARAM, "json_schema", 0, 0},
    {"--json-schema-file", NULL, TOOL_NAME, &schema_file, 0, 0},
    {"--seed", "-s", TOOL_WHOLE_PARAM, "seed", -1, 4294967295.0},
    {"--ignore-eos", NULL, TOOL_FLAG, &ignore_eos, 0, 0},
    {"--draft-max", "--draft", TOOL_WHOLE_PARAM, "draft_max", 0, 64},
    {"--model-draft", "-md", TOOL_NAME, &draft_path, 0, 0},
    {"--spec-ngram-size-n", NULL, TOOL_WHOLE_PARAM, "spec_ngram_size_n", 1, 32},
    {"--lora", NULL, TOOL_NAMES, &loras, 0, 0},
    {"--lora-scaled", NULL, TOOL_NAMES, &scaled_loras, 0, 0},
    {"--kv-type", NULL, TOOL_NAME, &kv_type, 0, 0},
    {"--param", NULL, TOOL_PAIR, NULL, 0, 0},
    {"--backend", NULL, TOOL_NAME, &backend, 0, 0},
    {"--isa", NULL, TOOL_NAME, &isa, 0, 0},
    TOOL_MMAP_OPTIONS,
    {"--guest", NULL, TOOL_NAME, &guest_path, 0, 0},
    {"--record", NULL, TOOL_NAME, &record_path, 0, 0},
    {"--fuel", NULL, TOOL_COUNT, &fuel_millions, 0, 4294967295.0},
    {"--guest-memory", NULL, TOOL_COUNT, &guest_memory_mib, 0, 4096},
    {"--buffer-memory", NULL, TOOL_COUNT, &buffer_memory_mib, 0, 4294967295.0},
    {"--budget-us", NULL, TOOL_COUNT, &budget_us, 0, 4294967295.0},
    {"--hash", NULL, TOOL_FLAG, &hash, 0, 0},
    {"--logits-out", NULL, TOOL_NAME, &logits_path, 0, 0},
    {"--embedding", NULL, TOOL_FLAG, &embedding, 0, 0},
    {"--pooling", NULL, TOOL_TEXT_PARAM, "pooling", 0, 0},
    {"--embd-normalize", NULL, TOOL_WHOLE_PARAM, "embd_normalize", -1, 64},
    {"--embedding-out", NULL, TOOL_NAME, &embedding_path, 0, 0},
    {"--ids-out", NULL, TOOL_FLAG, &ids_out, 0, 0},
    {"--verbose", "-v", TOOL_FLAG, &verbose, 0, 0},
    {"--stats", NULL, TOOL_NAME, &stats_format, 0, 0},
};

/* What --stats reports and the library does not count. */
static struct {
    double load_ms, hash_ms;
    uint64_t tokens; /* events that carried a token */
    char last_byte;  /* of the text; 0 as long as there is none */
} measured;

/* Takes the guest's log with --verbose. */
static void guest_log(void *ctx, int32_t level, const char *text, size_t bytes) {
    static const char *const names[] = {"error", "warning", "info", "debug"};
    (void)ctx;
    fprintf(stderr, "realm-run: %s: %.*s\n", names[level < 0 || level > 3 ? 3 : level], (int)bytes, text);
}

/* ---- Ctrl-C ---- */

static realm_session *volatile running;

static void on_interrupt(int signal_number) {
    realm_session *session = running;
    (void)signal(signal_number, SIG_DFL); /* the second Ctrl-C ends the program */
    if (session != NULL) {
        realm_session_cancel(session);
    }
}

/* ---- the prompt ---- */

typedef struct prompt {
    uint32_t kind;
    const void *data;
    size_t bytes;
} prompt;

/* "1 2 3", and also "[1, 2, 3]", because that is how other tools print ids. */
static prompt parse_ids(const char *text) {
    prompt p = {REALM_INPUT_IDS, NULL, 0};
    uint32_t *ids = (uint32_t *)calloc(strlen(text) / 2 + 1, sizeof *ids);
    size_t count = 0;
    if (ids == NULL) {
        tool_die("no memory for the token ids");
    }
    for (text += strspn(text, " \t\n,[]"); *text != '\0'; text += strspn(text, " \t\n,[]")) {
        char *end = NULL;
        errno = 0;
        const unsigned long long id = *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
        if (end == NULL || errno != 0 || id > UINT32_MAX || strchr(" \t\n,[]", *end) == NULL) {
            tool_misuse("--ids: '%.20s' is not a token id", text);
        }
        ids[count++] = (uint32_t)id;
        text = end;
    }
    if (count == 0) {
        tool_misuse("--ids: there is no token id");
    }
    p.data = ids;
    p.bytes = count * sizeof *ids;
    return p;
}

static int has_chat_template(void) {
    static const char key[] = "tokenizer.chat_template";
    size_t bytes = 0;
    const realm_status status =
        realm_model_meta_string(NULL, MODEL_ID, key, sizeof key - 1, -1, NULL, 0, &bytes, NULL);
    return status == REALM_STATUS_OK || status == REALM_STATUS_BUFFER_TOO_SMALL;
}

/* What the arguments say, before the model is there to ask. */
static prompt read_prompt(void) {
    prompt p = {REALM_INPUT_TEXT, NULL, 0};
    if (prompt_ids != NULL) {
        return parse_ids(prompt_ids);
    }
    if (prompt_file != NULL) {
        p.data = tool_read_file(prompt_file, &p.bytes);
    } else {
        p.data = prompt_text != NULL ? prompt_text : "What is the capital of France?";
        p.bytes = strlen((const char *)p.data);
    }
    return p;
}

/* ---- the parts of a run ---- */

static void param_from_file(const char *key, const char *path) {
    size_t bytes = 0;
    const char *text = tool_read_file(path, &bytes);
    if (strlen(text) != bytes) {
        tool_die("%s is no text: it has zero bytes", path);
    }
    tool_param_set(key, text);
}

static void check_options(void) {
    const int prompts = (prompt_text != NULL) + (prompt_file != NULL) + (prompt_ids != NULL);
    if (record_path != NULL && (prompts > 0 || chat)) {
        tool_misuse("--record asks nothing: there is no prompt to it");
    }
    if (prompts > 1) {
        tool_misuse("-p, -f and --ids exclude each other");
    }
    if (raw && chat) {
        tool_misuse("--raw and --chat exclude each other");
    }
    if (prompts == 0 && !chat && record_path == NULL && (model_path != NULL || raw)) {
        tool_misuse("no prompt: give -p, -f or --ids, or --chat for a conversation");
    }
    talk = chat && prompts == 0;
    if (talk && (ids_out || logits_path != NULL || embedding || embedding_path != NULL || stats_format != NULL)) {
        tool_misuse("a conversation is only text: --ids-out, --logits-out, --embedding, --embedding-out and --stats need a prompt");
    }
    if (stats_format != NULL && strcmp(stats_format, "json") != 0) {
        tool_misuse("--stats: '%s' is not a format, 'json' is", stats_format);
    }
    if (ignore_eos) {
        tool_param_set("ignore_eos", "1");
    }
    if (kv_type != NULL) {
        tool_param_set("kv_type", kv_type);
    }
    if (grammar_file != NULL) {
        param_from_file("grammar", grammar_file);
    }
    if (schema_file != NULL) {
        param_from_file("json_schema", schema_file);
    }
}

/* A seed of -1 asks for one that nobody chose, as elsewhere. A guest has no randomness of its own, so it is drawn here, and
 * told, because a text that cannot be had again is of little use. */
static void draw_seed(void) {
    static char text[16];
    for (size_t i = 0; i < tool_param_count; i++) {
        if (strcmp(tool_params[i].key, "seed") == 0 && strtod(tool_params[i].value, NULL) == -1) {
            uint64_t bits = (uint64_t)time(NULL) << 32 ^ (uint64_t)(tool_now_ms() * 1e6) ^ (uint64_t)getpid() << 16;
            bits *= 0x9e3779b97f4a7c15u; /* so that each of them shows in the upper half */
            (void)snprintf(text, sizeof text, "%" PRIu32, (uint32_t)(bits >> 32));
            fprintf(stderr, "realm-run: seed %s\n", text);
            tool_params[i].value = text;
        }
    }
}

static void register_demo(void) {
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_error error = {0, ""};
    const realm_bytes demo = tool_demo_model();
    uint32_t id = MODEL_ID;
    if (demo.bytes == 0) {
        tool_die("this build has no demo model: name a model with -m");
    }
    source.parts = &demo;
    source.part_count = 1;
    source.id = id;
    tool_check(realm_model_register(NULL, &source, &id, &error), &error);
}

/* Registers a model beside the model. */
static uint32_t load_further(const char *path) {
    const uint32_t id = MODEL_ID + 1 + (uint32_t)further_count;
    tool_model_load(path, id);
    further[further_count++] = id;
    return id;
}

/* Registers the model that drafts, and sets the parameter. */
static void load_draft(void) {
    static char id[12];
    if (draft_path == NULL) {
        return;
    }
    (void)snprintf(id, sizeof id, "%" PRIu32, load_further(draft_path));
    tool_param_set("model_draft", id);
}

/* Registers an adapter, and adds it to the parameter. */
static void load_adapter(const char *path, const char *scale) {
    static char param[ADAPTERS_MAX * 48];
    char *end = NULL;
    (void)strtod(scale, &end);
    if (end == scale || *end != '\0' || strlen(scale) > 32) {
        tool_misuse("--lora-scaled: '%s' is not a scale, which FILE:SCALE ends with", scale);
    }
    if (adapter_count == ADAPTERS_MAX) {
        tool_misuse("at most %d adapters are taken", ADAPTERS_MAX);
    }
    const uint32_t id = load_further(path);
    adapter_count++;
    (void)snprintf(param + strlen(param), sizeof param - strlen(param), "%" PRIu32 ":%s,", id, scale);
    tool_param_set("lora", param);
}

static void load_adapters(void) {
    for (size_t i = 0; i < loras.count; i++) {
        load_adapter(loras.text[i], "1");
    }
    for (size_t i = 0; i < scaled_loras.count; i++) {
        char *path = strdup(scaled_loras.text[i]);
        char *colon = path != NULL ? strrchr(path, ':') : NULL;
        if (colon == NULL) {
            tool_misuse("--lora-scaled: '%s' is not FILE:SCALE", scaled_loras.text[i]);
        }
        *colon = '\0';
        load_adapter(path, colon + 1);
        free(path);
    }
}

static void print_hash(void) {
    uint8_t sha256[32];
    realm_error error = {0, ""};
    const double start = tool_now_ms();
    if (tool_bar_visible()) {
        fputs("hashing ...", stderr);
    }
    const realm_status status = realm_model_digest(NULL, MODEL_ID, sha256, &error);
    if (tool_bar_visible()) {
        fputs("\r\033[K", stderr);
    }
    tool_check(status, &error);
    measured.hash_ms = tool_now_ms() - start;
    fputs("sha256 ", stderr);
    for (size_t i = 0; i < sizeof sha256; i++) {
        fprintf(stderr, "%02x", sha256[i]);
    }
    uint32_t id = (uint32_t)sha256[0] | (uint32_t)sha256[1] << 8 | (uint32_t)sha256[2] << 16 |
                  (uint32_t)sha256[3] << 24;
    fprintf(stderr, " id %" PRIu32 "\n", id != 0 ? id : 1u);
}

static realm_guest *load_guest(void) {
    realm_guest *guest = NULL;
    realm_error error = {0, ""};
    if (guest_path != NULL) {
        size_t bytes = 0;
        char *wasm = tool_read_file(guest_path, &bytes);
        if (realm_guest_load(wasm, bytes, &guest, &error) < 0) {
            tool_die("%s: %s", guest_path, error.message);
        }
        free(wasm);
    }
    return guest;
}

static realm_session_options options_of(const realm_guest *guest) {
    realm_session_options session_options = REALM_SESSION_OPTIONS_INIT;
    session_options.guest = guest;
    session_options.fuel_per_event = (uint64_t)fuel_millions * 1000000u;
    session_options.max_guest_memory_bytes = (uint64_t)guest_memory_mib << 20;
    session_options.max_buffer_bytes = (uint64_t)buffer_memory_mib << 20;
    session_options.backend = backend;
    session_options.params = tool_params;
    session_options.param_count = tool_param_count;
    session_options.thread_count = thread_count;
    session_options.models = further;
    session_options.model_count = further_count;
    if (verbose) {
        session_options.log = guest_log;
    }
    return session_options;
}

/* Some chat templates tell the model what day it is. Guests of others may not know the parameter. */
static void tell_time(void) {
    static char now[24];
    for (size_t i = 0; i < tool_param_count; i++) {
        if (strcmp(tool_params[i].key, "chat_time") == 0) {
            return;
        }
    }
    if (guest_path == NULL) {
        (void)snprintf(now, sizeof now, "%" PRIu64, (uint64_t)time(NULL));
        tool_param_set("chat_time", now);
    }
}

static void settle(void) { tool_model_settle(SETTLE_BYTES); }

/* What realm_session_logits and realm_session_embedding have in common. */
typedef realm_status (*read_floats)(realm_session *, float *, size_t, size_t *, realm_error *);

static float *floats_of(realm_session *session, read_floats read, size_t *count) {
    realm_error error = {0, ""};
    realm_status status = read(session, NULL, 0, count, &error);
    if (status != REALM_STATUS_BUFFER_TOO_SMALL) {
        tool_check(status, &error);
    }
    float *values = (float *)calloc(*count > 0 ? *count : 1, sizeof *values);
    if (values == NULL) {
        tool_die("no memory for %zu numbers", *count);
    }
    tool_check(read(session, values, *count, count, &error), &error);
    return values;
}

static int makes_embeddings(realm_session *session) {
    size_t count = 0;
    return realm_session_embedding(session, NULL, 0, &count, NULL) == REALM_STATUS_BUFFER_TOO_SMALL;
}

/* Nine digits tell all floats apart. */
static void print_embedding(realm_session *session) {
    size_t count = 0;
    float *values = floats_of(session, realm_session_embedding, &count);
    for (size_t i = 0; i < count; i++) {
        printf("%s%.9g", i > 0 ? ", " : "[", (double)values[i]);
    }
    measured.last_byte = ']';
    putchar(']');
    free(values);
}

static void write_floats(realm_session *session, read_floats read, const char *path) {
    size_t count = 0;
    float *values = floats_of(session, read, &count);
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        tool_die("cannot open %s: %s", path, strerror(errno));
    }
    size_t written = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        const uint8_t bytes[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                                  (uint8_t)(bits >> 24)};
        written += fwrite(bytes, sizeof bytes, 1, file);
    }
    if (fclose(file) != 0 || written != count) {
        tool_die("cannot write %s", path);
    }
    free(values);
}

static int32_t write_to_file(void *file, const void *data, size_t bytes) {
    return fwrite(data, 1, bytes, (FILE *)file) == bytes ? REALM_STATUS_OK : REALM_STATUS_IO;
}

/* Nothing is left behind of an image that could not be written. */
static void record(realm_session *session, const char *path) {
    realm_error error = {0, ""};
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        tool_die("cannot open %s: %s", path, strerror(errno));
    }
    const realm_status status = realm_session_record(session, write_to_file, file, &error);
    if (fclose(file) != 0 || status < 0) {
        (void)remove(path);
        tool_check(status, &error);
        tool_die("cannot write %s", path);
    }
}

/* The first token, or the end if there is none: the last prompt position was evaluated, and
 * nothing after it. */
static void at_end_of_prompt(realm_session *session) {
    tool_bar("prompt", 1, 1);
    if (logits_path != NULL) {
        write_floats(session, realm_session_logits, logits_path);
    }
    if (embedding) {
        print_embedding(session);
    }
    if (embedding_path != NULL) {
        write_floats(session, realm_session_embedding, embedding_path);
    }
}

static void print_token(const realm_event *event) {
    if (event->token >= 0) {
        if (ids_out) {
            printf(measured.tokens > 0 ? " %" PRId32 : "%" PRId32, event->token);
        }
        measured.tokens++;
    }
    if (!ids_out && event->text_bytes > 0) {
        (void)fwrite(event->text, 1, event->text_bytes, stdout);
        measured.last_byte = event->text[event->text_bytes - 1];
    }
    if (fflush(stdout) != 0) {
        tool_die("cannot write to stdout: %s", strerror(errno));
    }
}

/* Polls until the turn ends and returns the reason. */
static uint32_t run_turn(realm_session *session) {
    int prompt_done = 0;
    for (;;) {
        realm_event event = REALM_EVENT_INIT;
        realm_error error = {0, ""};
        uint64_t budget = budget_us;
        if (budget == 0 && !prompt_done && tool_bar_visible()) {
            budget = BAR_BUDGET_US;
        }
        tool_check(realm_session_poll(session, budget, &event, &error), &error);
        if (event.kind == REALM_EVENT_AGAIN) {
            if (!prompt_done) {
                tool_bar("prompt", event.progress_done, event.progress_total);
            }
            continue;
        }
        if (!prompt_done && event.reason != REALM_DONE_CANCELLED) {
            at_end_of_prompt(session);
            prompt_done = 1;
        }
        print_token(&event);
        if (event.kind == REALM_EVENT_DONE) {
            return event.reason;
        }
        tool_model_settle(SETTLE_BYTES);
    }
}

static double per_second(uint64_t count, uint64_t ns) {
    return ns > 0 ? (double)count * 1e9 / (double)ns : 0;
}

static void print_stats(const realm_session *session) {
    realm_session_stats stats = REALM_SESSION_STATS_INIT;
    const realm_status status = realm_session_get_stats(session, &stats);
    if (status < 0) {
        tool_die("no statistics: %s", realm_status_name(status));
    }
    fprintf(stderr,
            "{\"load_ms\": %.3f, \"hash_ms\": %.3f, \"prompt_tokens\": %" PRIu64
            ", \"prefill_tok_s\": %.3f, \"generated_tokens\": %" PRIu64
            ", \"decode_tok_s\": %.3f, \"guest_linear_memory_bytes\": %" PRIu64
            ", \"guest_engine_bytes\": %" PRIu64 ", \"kv_bytes\": %" PRIu64
            ", \"scratch_bytes\": %" PRIu64 ", \"buffer_bytes\": %" PRIu64
            ", \"peak_rss_bytes\": %" PRIu64 ", \"interpreter_us_per_token\": %.3f"
            ", \"guest_events\": %" PRIu64 ", \"fallback_ops\": %" PRIu64 "}\n",
            measured.load_ms, measured.hash_ms, stats.prompt_tokens,
            per_second(stats.prompt_tokens, stats.prefill_ns), stats.generated_tokens,
            per_second(stats.decode_tokens, stats.decode_ns), stats.guest_linear_memory_bytes,
            stats.guest_engine_bytes, stats.kv_bytes, stats.scratch_bytes, stats.buffer_bytes,
            tool_peak_rss_bytes(),
            stats.decode_tokens > 0
                ? (double)stats.guest_decode_ns / 1e3 / (double)stats.decode_tokens
                : 0.0,
            stats.guest_events, stats.fallback_ops);
}

/* A model's text rarely ends with a line end, and a text file or a shell wants one. No text stays none. */
static void end_output(void) {
    if (ids_out || (measured.last_byte != '\0' && measured.last_byte != '\n')) {
        putchar('\n');
    }
    if (fflush(stdout) != 0) {
        tool_die("cannot write to stdout: %s", strerror(errno));
    }
}

static void end_session(realm_runtime *runtime, realm_guest *guest, realm_session *session) {
    realm_session_close(session);
    realm_guest_unload(guest);
    realm_runtime_destroy(runtime);
    (void)realm_model_remove(NULL, MODEL_ID, NULL);
    for (size_t i = 0; i < further_count; i++) {
        (void)realm_model_remove(NULL, further[i], NULL);
    }
}

int main(int argc, char **argv) {
    realm_error error = {0, ""};
    tool_parse(argc, argv, "realm-run", help, options, sizeof options / sizeof options[0]);
    check_options();
    prompt p = read_prompt();
    /* A reader that goes away is an error to report, not a signal to die of. */
#ifdef SIGPIPE
    (void)signal(SIGPIPE, SIG_IGN);
#endif

    const double start = tool_now_ms();
    load_adapters(); /* these before the model, which the tool then moves while it works */
    load_draft();
    if (model_path != NULL) {
        tool_model_load(model_path, MODEL_ID);
    } else {
        register_demo();
    }
    measured.load_ms = tool_now_ms() - start;
    if (hash) {
        print_hash();
    }
    if (record_path == NULL && p.kind == REALM_INPUT_TEXT && (chat || (!raw && has_chat_template()))) {
        p.kind = REALM_INPUT_CHAT;
        tell_time();
        if (p.bytes == 0) {
            tool_misuse("the prompt is empty, and a chat begins with a message (--raw begins with nothing)");
        }
    }
    if (p.kind != REALM_INPUT_CHAT) {
        const char *const why = record_path != NULL            ? "images know no chat (--record)"
                                : p.kind == REALM_INPUT_IDS ? "this prompt is token ids"
                                : raw                       ? "this prompt is raw text"
                                                            : "this prompt is raw text (the model has no chat template; --chat makes it a message)";
        for (size_t i = 0; i < tool_param_count; i++) {
            if (strcmp(tool_params[i].key, "system") == 0) {
                tool_misuse("a system message belongs to a chat, and %s", why);
            }
        }
    }
    draw_seed();
    tool_isa(isa);
    realm_runtime *runtime = tool_runtime(thread_count);
    realm_guest *guest = load_guest();
    const realm_session_options session_options = options_of(guest);
    realm_session *session = NULL;
    tool_check(realm_session_open(runtime, MODEL_ID, &session_options, &session, &error), &error);
    if (record_path != NULL) {
        record(session, record_path);
        end_session(runtime, guest, session);
        return 0;
    }
    if (talk) {
        if (makes_embeddings(session)) {
            tool_die("this model makes embeddings, and has no conversations: give a prompt");
        }
        int code = 0;
        end_session(runtime, guest, chat_run(runtime, MODEL_ID, &session_options, session, settle, &code));
        return code;
    }
    /* A model that makes embeddings has nothing else to show. */
    embedding |= logits_path == NULL && embedding_path == NULL && makes_embeddings(session);
    running = session;
    (void)signal(SIGINT, on_interrupt);

    tool_check(realm_session_prompt(session, p.kind, p.data, p.bytes, &error), &error);
    const uint32_t reason = run_turn(session);
    end_output();
    if (reason == REALM_DONE_CONTEXT) {
        fputs("realm-run: the context is full (-c gives more room)\n", stderr);
    }
    if (stats_format != NULL) {
        print_stats(session);
    }
    running = NULL;
    end_session(runtime, guest, session);
    return reason == REALM_DONE_CANCELLED ? EXIT_CANCELLED : reason == REALM_DONE_CONTEXT ? EXIT_CONTEXT : 0;
}
