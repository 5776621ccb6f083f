/* realm_tokenize.c - realm-tokenize: text to token ids, with a model's vocabulary.
 *
 * Needs no session and no weights: a GGUF file that holds only a vocabulary will do.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define MODEL_ID 1u

static const char *const help[] = {
    "-m MODEL.gguf (-p TEXT | -f FILE) [--ids] [--no-bos] [--no-special]\n"
    "\n"
    "  -m, --model FILE   a GGUF file; one with only a vocabulary will do\n"
    "  -p, --prompt TEXT  the text\n"
    "  -f, --file FILE    the content of FILE, byte for byte (-: stdin)\n"
    "      --ids          print the ids on one line, separated by spaces; otherwise each token\n"
    "                     has a line with its id, a tab and its text as a JSON string, in which\n"
    "                     <0xE2> is a byte that is no character by itself\n"
    "      --no-bos       add no begin or end token, whatever the vocabulary says\n"
    "      --no-special   read special tokens in the text, like <|im_end|>, as plain text\n"
    "  -h, --help   --version\n", NULL};

static const char *model_path, *text_arg, *file_arg;
static int ids_only, no_bos, no_special;

static const tool_option options[] = {
    {"--model", "-m", TOOL_NAME, &model_path, 0, 0},
    {"--prompt", "-p", TOOL_TEXT, &text_arg, 0, 0},
    {"--file", "-f", TOOL_NAME, &file_arg, 0, 0},
    {"--ids", NULL, TOOL_FLAG, &ids_only, 0, 0},
    {"--no-bos", NULL, TOOL_FLAG, &no_bos, 0, 0},
    {"--no-special", NULL, TOOL_FLAG, &no_special, 0, 0},
};

static uint32_t *tokenize(const char *text, size_t bytes, size_t *count) {
    const uint32_t flags = (no_bos ? 0 : REALM_TOKENIZE_ADD_SPECIAL) |
                           (no_special ? 0 : REALM_TOKENIZE_PARSE_SPECIAL);
    realm_error error = {0, ""};
    realm_status status =
        realm_model_tokenize(NULL, MODEL_ID, text, bytes, flags, NULL, 0, count, &error);
    if (status != REALM_STATUS_BUFFER_TOO_SMALL) {
        tool_check(status, &error);
    }
    uint32_t *tokens = (uint32_t *)calloc(*count > 0 ? *count : 1, sizeof *tokens);
    if (tokens == NULL) {
        tool_die("no memory for %zu tokens", *count);
    }
    tool_check(realm_model_tokenize(NULL, MODEL_ID, text, bytes, flags, tokens, *count, count,
                                    &error),
               &error);
    return tokens;
}

/* The byte that a character of a byte-level vocabulary's texts stands for; -1 for none. GPT-2 gave visible bytes their own
 * characters, and the others those from U+0100 on, in order. */
static int byte_of(unsigned long point) {
    unsigned long hidden = 0x100;
    for (int byte = 0; byte < 256; byte++) {
        const int visible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
        if (point == (visible ? (unsigned long)byte : hidden)) {
            return byte;
        }
        hidden += !visible;
    }
    return -1;
}

/* Adds a byte, as it is if it is an ASCII character, else as SentencePiece's vocabularies write it: <0xE2>. */
static size_t add_byte(char *text, size_t capacity, size_t used, int byte) {
    const int n = snprintf(text + used, capacity - used, byte >= 0x20 && byte < 0x7f ? "%c" : "<0x%02X>", (unsigned)byte);
    return used + (size_t)n < capacity ? used + (size_t)n : used;
}

/* A token of bytes that are no whole characters has no text. Its bytes are in how the vocabulary writes it: <0xE2>, or one
 * character for each. Returns 0 if it is written otherwise. */
static int bytes_of_token(uint32_t token, char *text, size_t capacity) {
    static const char key[] = "tokenizer.ggml.tokens";
    char stored[256];
    size_t bytes = 0, used = 0;
    if (realm_model_meta_string(NULL, MODEL_ID, key, sizeof key - 1, token, stored, sizeof stored - 1, &bytes, NULL) < 0) {
        return 0;
    }
    stored[bytes] = '\0';
    if (bytes == 6 && strncmp(stored, "<0x", 3) == 0 && stored[5] == '>') {
        memcpy(text, stored, bytes + 1);
        return 1;
    }
    for (const unsigned char *c = (const unsigned char *)stored; *c != '\0';) {
        /* Its characters have one or two bytes of UTF-8. */
        const int two = (*c & 0xe0) == 0xc0 && (c[1] & 0xc0) == 0x80;
        const int byte = two ? byte_of((*c & 0x1fu) << 6 | (c[1] & 0x3fu)) : *c < 0x80 ? byte_of(*c) : -1;
        if (byte < 0) {
            return 0;
        }
        used = add_byte(text, capacity, used, byte);
        c += two ? 2 : 1;
    }
    return used > 0;
}

/* A token's text as a JSON string, so that line feeds and stray bytes stay readable. */
static void print_token(uint32_t token) {
    char text[1024];
    size_t bytes = 0;
    realm_error error = {0, ""};
    tool_check(realm_model_detokenize(NULL, MODEL_ID, &token, 1, REALM_DETOKENIZE_SPECIAL, text,
                                      sizeof text - 1, &bytes, &error),
               &error);
    text[bytes] = '\0';
    if (strstr(text, "\xef\xbf\xbd") != NULL) {
        (void)bytes_of_token(token, text, sizeof text);
    }
    printf("%" PRIu32 "\t", token);
    tool_json_string(stdout, text);
    putchar('\n');
}

int main(int argc, char **argv) {
    size_t bytes = 0, count = 0;
    const char *text = NULL;
    tool_parse(argc, argv, "realm-tokenize", help, options, sizeof options / sizeof options[0]);
    if (model_path == NULL) {
        tool_misuse("no model: give -m");
    }
    if (text_arg == NULL && file_arg == NULL) {
        tool_misuse("no text: give -p or -f");
    }
    if (text_arg != NULL && file_arg != NULL) {
        tool_misuse("-p and -f exclude each other");
    }
    tool_model_load(model_path, MODEL_ID);
    if (file_arg != NULL) {
        text = tool_read_file(file_arg, &bytes);
    } else {
        text = text_arg;
        bytes = strlen(text_arg);
    }
    uint32_t *tokens = tokenize(text, bytes, &count);
    for (size_t i = 0; i < count; i++) {
        if (ids_only) {
            printf(i > 0 ? " %" PRIu32 : "%" PRIu32, tokens[i]);
        } else {
            print_token(tokens[i]);
        }
    }
    if (ids_only) {
        putchar('\n');
    }
    free(tokens);
    (void)realm_model_remove(NULL, MODEL_ID, NULL);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        tool_die("cannot write to stdout");
    }
    return 0;
}
