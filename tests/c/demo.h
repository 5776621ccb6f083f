/* demo.h - the demo model in the process-wide store, for tests that need one. */
#ifndef DEMO_H
#define DEMO_H

#include "check.h"
#include "realm_posix.h"

/* Registers it under `id`; its bytes stay mapped as long as it is registered. Ends the test as skipped
 * if there is none. */
static inline realm_posix_map add_demo_model(uint32_t id) {
    realm_model_source source = REALM_MODEL_SOURCE_INIT;
    realm_posix_map map = {NULL, 0};
    realm_error error = {0, ""};
    realm_bytes part;
    if (realm_posix_map_file(DEMO_MODEL, &map, &error) == REALM_STATUS_NOT_FOUND) {
        fprintf(stderr, "skipped: %s\n", error.message);
        exit(77);
    }
    part.data = map.data;
    part.bytes = map.bytes;
    source.parts = &part;
    source.part_count = 1;
    source.id = id;
    source.release = realm_posix_release;
    CHECK_OK(realm_model_register(NULL, &source, &id, &error));
    return map;
}

#endif /* DEMO_H */
