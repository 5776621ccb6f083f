/* tokenize.c - times the tokenizing of a text, for tokenizers.py.
 *
 *   tokenize MODEL.gguf TEXT ROUNDS IDS
 *
 * Prints how many milliseconds each round took, on one thread, after one that builds the vocabulary's tables; writes the ids to
 * the file IDS (u32, little-endian). What a session does with a prompt is the same call, from the guest's import.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "realm.h"
#include "realm_posix.h"

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

int main(int argc, char **argv) {
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_posix_map file, text;
    realm_bytes part;
    realm_error error = {0, ""};
    uint32_t model = 0, *ids = NULL;
    size_t count = 0;
    FILE *out;

    if (argc != 5) {
        fprintf(stderr, "tokenize MODEL.gguf TEXT ROUNDS IDS\n");
        return 2;
    }
    if (realm_posix_map_file(argv[1], &file, &error) < 0 || realm_posix_map_file(argv[2], &text, &error) < 0) goto failed;
    part.data = file.data;
    part.bytes = file.bytes;
    source.parts = &part;
    source.part_count = 1;
    if (realm_model_register(NULL, &source, &model, &error) < 0) goto failed;
    ids = malloc((text.bytes + 2) * sizeof *ids);
    if (ids == NULL) return 1;
    for (int i = atoi(argv[3]); i >= 0; i--) {
        const double start = now_ms();
        if (realm_model_tokenize(NULL, model, text.data, text.bytes, 0, ids, text.bytes + 2, &count, &error) < 0) goto failed;
        const double took = now_ms() - start;
        if (i < atoi(argv[3])) printf("%.3f\n", took);
    }
    out = fopen(argv[4], "wb");
    if (out == NULL || fwrite(ids, sizeof *ids, count, out) != count || fclose(out) != 0) {
        fprintf(stderr, "cannot write %s\n", argv[4]);
        return 1;
    }
    free(ids);
    return 0;
failed:
    fprintf(stderr, "%s\n", error.message);
    return 1;
}
