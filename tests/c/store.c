/* store.c - models from C: registration, sharing, release, conflicts, metadata, tensors, refusals. */
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "realm.h"
#include "realm_posix.h"

/* ---- a GGUF file of one string, one number and one 4 x 2 tensor, little-endian ---- */

typedef struct file {
    uint8_t bytes[1024];
    size_t size;
} file;

static void put(file *f, uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        f->bytes[f->size++] = (uint8_t)(value >> (8 * i));
    }
}

static void put_text(file *f, const char *text) {
    put(f, strlen(text), 8);
    memcpy(f->bytes + f->size, text, strlen(text));
    f->size += strlen(text);
}

static void make_file(file *f, float first) {
    uint32_t bits;
    memset(f, 0, sizeof *f);
    put(f, 0x46554747, 4); /* "GGUF" */
    put(f, 3, 4);
    put(f, 1, 8); /* tensors */
    put(f, 2, 8); /* metadata */
    put_text(f, "general.architecture");
    put(f, 8, 4);
    put_text(f, "testament");
    put_text(f, "testament.block_count");
    put(f, 4, 4);
    put(f, 7, 4);
    put_text(f, "table");
    put(f, 2, 4);
    put(f, 4, 8);
    put(f, 2, 8);
    put(f, 0, 4); /* f32 */
    put(f, 0, 8);
    f->size = (f->size + 31) / 32 * 32;
    for (int i = 0; i < 8; i++) {
        const float value = i == 0 ? first : (float)i;
        memcpy(&bits, &value, sizeof bits);
        put(f, bits, 4);
    }
}

static int releases;
static void count_release(void *ctx, const void *data, size_t bytes) {
    CHECK(ctx == &releases && data != NULL && bytes <= sizeof(file));
    releases++;
}

static realm_status add(realm_store *store, const file *f, size_t bytes, uint32_t wanted,
                        uint32_t flags, uint32_t *id, realm_error *error) {
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    const realm_bytes part = {f->bytes, bytes};
    source.parts = &part;
    source.part_count = 1;
    source.id = wanted;
    source.flags = flags;
    source.release = count_release;
    source.ctx = &releases;
    return realm_model_register(store, &source, id, error);
}

static void test_sharing(realm_store *store) {
    realm_error error = {0, ""};
    file one, other;
    uint32_t id = 0, again = 0, ids[4];
    size_t count = 0;
    make_file(&one, 0.5f);
    make_file(&other, 0.25f);
    releases = 0;
    CHECK_OK(add(store, &one, one.size, 0, 0, &id, &error));
    CHECK(id != 0);
    /* The same bytes again: the same id, and the second copy of them is not needed. */
    CHECK_OK(add(store, &one, one.size, 0, 0, &again, &error));
    CHECK(again == id && releases == 1);
    CHECK(add(store, &other, other.size, id, 0, &again, &error) == REALM_STATUS_ID_CONFLICT);
    CHECK(releases == 2 && error.message[0] != '\0');
    CHECK(realm_model_list(store, NULL, 0, &count) == REALM_STATUS_BUFFER_TOO_SMALL && count == 1);
    CHECK_OK(realm_model_list(store, ids, 4, &count));
    CHECK(count == 1 && ids[0] == id);
    CHECK_OK(realm_model_remove(store, id, &error));
    CHECK(releases == 2);
    CHECK_OK(realm_model_remove(store, id, &error));
    CHECK(releases == 3);
    CHECK(realm_model_remove(store, id, &error) == REALM_STATUS_NOT_FOUND);
    /* A copy is released at once. */
    CHECK_OK(add(store, &other, other.size, 9, REALM_MODEL_COPY, &id, &error));
    CHECK(id == 9 && releases == 4);
    memset(&other, 0, sizeof other);
    CHECK_OK(realm_model_remove(store, 9, &error));
    CHECK(releases == 4);
}

static void test_facts(realm_store *store) {
    static const char architecture[] = "general.architecture", blocks[] = "testament.block_count";
    realm_error error = {0, ""};
    realm_model_info info = REALM_MODEL_INFO_INIT;
    realm_tensor_info tensor_info = REALM_TENSOR_INFO_INIT;
    file f;
    uint32_t id = 5, tensor = 99;
    size_t count = 0;
    int64_t number = 0;
    char text[32];
    float values[8];
    make_file(&f, 0.5f);
    CHECK_OK(add(store, &f, f.size, id, 0, &id, &error));
    CHECK_OK(realm_model_get_info(store, id, &info, &error));
    CHECK(info.tensor_count == 1 && info.kv_count == 2 && info.parameter_count == 8);
    CHECK(strcmp(info.architecture, "testament") == 0 && info.digest_known == 0);
    CHECK(realm_model_meta_string(store, id, architecture, sizeof architecture - 1, -1, NULL, 0,
                                  &count, &error) == REALM_STATUS_BUFFER_TOO_SMALL);
    CHECK(count == 9);
    CHECK_OK(realm_model_meta_string(store, id, architecture, sizeof architecture - 1, -1, text,
                                     sizeof text, &count, &error));
    CHECK(count == 9 && memcmp(text, "testament", 9) == 0);
    CHECK_OK(realm_model_meta_int(store, id, blocks, sizeof blocks - 1, -1, &number, &error));
    CHECK(number == 7);
    CHECK(realm_model_meta_int(store, id, "none", 4, -1, &number, &error) ==
          REALM_STATUS_NOT_FOUND);
    CHECK_OK(realm_model_tensor_find(store, id, "table", 5, &tensor, &error));
    CHECK_OK(realm_model_tensor_info(store, id, tensor, &tensor_info, &error));
    CHECK(tensor_info.ne[0] == 4 && tensor_info.ne[1] == 2 && tensor_info.type == 0);
    CHECK(realm_model_tensor_read(store, id, tensor, 1, 1, values, 3, &count, &error) ==
          REALM_STATUS_BUFFER_TOO_SMALL);
    CHECK(count == 4);
    CHECK_OK(realm_model_tensor_read(store, id, tensor, 0, 0, values, 8, &count, &error));
    CHECK(count == 8 && values[0] == 0.5f && values[7] == 7.0f);
    CHECK(realm_model_tensor_read(store, id, tensor, 2, 1, values, 8, &count, &error) < 0);
    CHECK(realm_model_tensor_read(store, id, tensor, UINT64_MAX, 2, values, 8, &count, &error) < 0);
    CHECK_OK(realm_model_remove(store, id, &error));
}

static void test_refusals(realm_store *store) {
    realm_error error = {0, ""};
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    file f;
    uint32_t id = 0;
    make_file(&f, 0.5f);
    /* Every way of ending early: refused, released, never a crash. */
    for (size_t size = 0; size < f.size; size++) {
        releases = 0;
        CHECK(add(store, &f, size, 3, 0, &id, &error) < 0);
        CHECK(error.status < 0 && error.message[0] != '\0' && releases == 1);
    }
    for (size_t at = 4; at < 24; at++) {
        file bad = f;
        bad.bytes[at] ^= 0x80;
        CHECK(add(store, &bad, bad.size, 3, 0, &id, NULL) < 0);
    }
    CHECK(realm_model_register(store, NULL, &id, &error) == REALM_STATUS_INVALID_ARGUMENT);
    CHECK(realm_model_register(store, &source, &id, &error) == REALM_STATUS_INVALID_ARGUMENT);
    source.struct_size = 3;
    CHECK(realm_model_register(store, &source, &id, &error) < 0);
    source.struct_size = sizeof source;
    source.abi_version = 0x7fff0000u;
    CHECK(realm_model_register(store, &source, &id, &error) == REALM_STATUS_UNSUPPORTED);
    CHECK(realm_model_get_info(store, 12345, NULL, &error) < 0);
}

int main(void) {
    realm_store *store = NULL;
    realm_error error = {0, ""};
    CHECK(realm_abi_version() == REALM_ABI_VERSION);
    CHECK(realm_version() != NULL && realm_version()[0] != '\0');
    CHECK(strcmp(realm_status_name(REALM_STATUS_OK), "REALM_STATUS_OK") == 0);
    CHECK(realm_status_name(-999) != NULL);
    CHECK_OK(realm_store_create(&store, &error));
    test_sharing(store);
    test_facts(store);
    test_refusals(store);
    realm_store_destroy(store);
    realm_store_destroy(NULL);
    test_sharing(NULL); /* the process-wide store */
    return 0;
}
