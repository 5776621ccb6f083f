/* 02_memory.c - a model that is in memory already: used where it lies, given back by a callback.
 *
 * Asset packs, flash, downloads: whatever holds the bytes of a GGUF file keeps them, and the library borrows. It copies
 * no weight, and says when the last user is gone. Until then the bytes must stay and must not change.
 */
#include "example.h"

/* Stands for the program's own keeper of assets. */
typedef struct assets {
    size_t lent_bytes;
} assets;

/* Comes from the call that ends the last use: here from realm_session_close. */
static void give_back(void *ctx, const void *data, size_t bytes) {
    assets *keeper = ctx;
    keeper->lent_bytes -= bytes;
    free((void *)(uintptr_t)data);
}

static void *read_all(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    void *data = NULL;
    long size = 0;
    expect(file != NULL, "the demo model is there");
    if (fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) > 0 && fseek(file, 0, SEEK_SET) == 0)
        data = malloc((size_t)size);
    expect(data != NULL && fread(data, 1, (size_t)size, file) == (size_t)size, "it can be read");
    fclose(file);
    *bytes = (size_t)size;
    return data;
}

int main(int argc, char **argv) {
    assets keeper = {0};
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_model_info info = REALM_MODEL_INFO_INIT;
    realm_session *session = NULL;
    realm_error error = {0, ""};
    realm_bytes part;
    uint32_t id = 0;
    char answer[256];

    part.data = read_all(argc > 1 ? argv[1] : DEMO_MODEL, &part.bytes);
    keeper.lent_bytes = part.bytes;
    source.parts = &part; /* the files of a split model are several parts */
    source.part_count = 1;
    source.release = give_back;
    source.ctx = &keeper;
    source.id = 7; /* with an id of one's own nothing but the metadata is read */
    /* From here on the bytes are the library's, also if it refuses them: then they come back in this call. */
    must(realm_model_register(NULL, &source, &id, &error), &error);
    must(realm_model_get_info(NULL, id, &info, &error), &error);
    printf("model %u: %s, %llu parameters, %llu bytes\n", (unsigned)id, info.name,
           (unsigned long long)info.parameter_count, (unsigned long long)info.file_bytes);

    realm_runtime *runtime = make_runtime(realm_posix_platform());
    must(realm_session_open(runtime, id, NULL, &session, &error), &error);

    /* Removing takes the name away at once. The session goes on with the bytes. */
    must(realm_model_remove(NULL, id, &error), &error);
    expect(realm_model_get_info(NULL, id, &info, NULL) == REALM_STATUS_NOT_FOUND, "the id is free");
    expect(keeper.lent_bytes == part.bytes, "the bytes are still in use");
    ask(session, "What is the capital of France?", answer, sizeof answer);
    printf("%s\n", answer);
    expect(strstr(answer, "Paris") != NULL, "the session has its model");

    realm_runtime_destroy(runtime); /* in any order */
    expect(keeper.lent_bytes == part.bytes, "the session keeps them");
    realm_session_close(session);
    expect(keeper.lent_bytes == 0, "the last user gave them back");
    printf("given back\n");
    return 0;
}
