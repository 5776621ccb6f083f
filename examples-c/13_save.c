/* 13_save.c - a conversation as a file, gone on with later, and from one point in two ways.
 *
 * A state is the guest's memory, parameters and the keys and values so far: some kilobytes, whatever the model weighs. It
 * belongs to the model and guest it was made with. Nothing in a file is trusted: a damaged one is an error.
 */
#include "example.h"

static const char introduction[] = "What is the capital of France?";
static const char question[] = "What is the capital of Japan?";

/* Both callbacks return 0 or a negative status, which the call then returns. */
static int32_t write_to_file(void *ctx, const void *data, size_t bytes) {
    return fwrite(data, 1, bytes, (FILE *)ctx) == bytes ? REALM_STATUS_OK : REALM_STATUS_IO;
}

static int32_t read_from_file(void *ctx, void *data, size_t bytes) {
    return fread(data, 1, bytes, (FILE *)ctx) == bytes ? REALM_STATUS_OK : REALM_STATUS_IO;
}

int main(int argc, char **argv) {
    const uint32_t model = load_model(argc > 1 ? argv[1] : DEMO_MODEL);
    realm_runtime *runtime = make_runtime(realm_posix_platform());
    realm_session *session = NULL, *resumed = NULL, *other = NULL, *none = NULL;
    realm_error error = {0, ""};
    char first[256], second[256], third[256];
    FILE *file = tmpfile();
    expect(file != NULL, "there is a file to write to");

    must(realm_session_open(runtime, model, NULL, &session, &error), &error);
    (void)ask(session, introduction, first, sizeof first);
    must(realm_session_save_to(session, write_to_file, file, &error), &error);
    printf("%s [saved in %ld bytes]\n", first, ftell(file));

    /* A second session from here costs no copy of what both have said: they share pages until one writes to them. */
    must(realm_session_fork(session, &other, &error), &error);
    (void)ask(session, question, first, sizeof first);
    realm_session_close(session);
    (void)ask(other, question, second, sizeof second);
    realm_session_close(other);

    /* In another process this would be the beginning. */
    rewind(file);
    must(realm_session_load_from(runtime, model, NULL, read_from_file, file, &resumed, &error), &error);
    (void)ask(resumed, question, third, sizeof third);
    realm_session_close(resumed);
    printf("%s\n", third);
    expect(strstr(third, "Tokyo") != NULL, "the conversation goes on");
    expect(strcmp(first, second) == 0 && strcmp(first, third) == 0, "it goes on the same way, three times");

    /* One wrong bit, and it is refused. */
    expect(fseek(file, -100, SEEK_END) == 0, "the file is long enough");
    const int byte = fgetc(file);
    expect(fseek(file, -1, SEEK_CUR) == 0 && fputc(byte ^ 1, file) != EOF, "it can be damaged");
    rewind(file);
    const realm_status status = realm_session_load_from(runtime, model, NULL, read_from_file, file, &none, &error);
    printf("damaged: %s\n", error.message);
    expect(status < 0 && none == NULL, "a damaged state is refused");

    fclose(file);
    realm_runtime_destroy(runtime);
    return 0;
}
