/* realm_metal.h - Apple's GPUs: a backend whose arithmetic is a device's, in memory that it shares with the processor.
 *
 * These functions are in libraries that were built with it (cargo's feature `metal`, CMake's REALM_METAL). Elsewhere than on Apple's
 * systems they are there too, and creating a backend is an error with a message. What realm.h says of ownership, threads and errors
 * holds here too.
 *
 * It has not run on Apple's hardware yet: ports/gpu/README.md says what has been shown without.
 */
#ifndef REALM_METAL_H
#define REALM_METAL_H

#include "realm.h"
#include "realm_port.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A device, the models' weights for it, and the table of functions that a runtime is given. */
typedef struct realm_metal_backend realm_metal_backend;

/* What the backend is created with. */
typedef struct realm_metal_options {
    /* Size of the caller's struct in bytes. Set by `REALM_METAL_OPTIONS_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_METAL_OPTIONS_INIT`. */
    uint32_t abi_version;
    /* Reserved for extensions; NULL. */
    const void *next;
    /* An `id<MTLCommandQueue>` of the program's, into which all work goes; the backend retains it. NULL: one of the backend's, on the
     * system's default device. */
    void *queue;
    /* Path of a compiled library of the kernels (`.metallib`), UTF-8, `library_path_bytes` long. NULL: the kernels' source, which is in
     * this library, is compiled when the backend is created. */
    const char *library_path;
    /* Bytes of `library_path`. */
    size_t library_path_bytes;
    /* Most bytes of memory for copied weights, caches and intermediates together; above that sessions get `NO_MEMORY`. 0: what Metal
     * recommends for the device. */
    uint64_t memory_limit_bytes;
} realm_metal_options;

/* For a realm_metal_options. */
#define REALM_METAL_OPTIONS_INIT REALM_INIT_(realm_metal_options)

/* Opens a device and loads the kernels.
 *
 * `options`: NULL is the system's default device with everything of the backend's own.
 * `out` receives the backend. Owns: the caller, until `realm_metal_backend_destroy`.
 *
 * Threads: any, at any time.
 *
 * Returns `UNSUPPORTED` if this is not one of Apple's systems, if there is no device with Metal 3 and memory that it shares with the
 * processor, or if the kernels cannot be loaded; `INVALID_ARGUMENT` for a NULL or a path that is not UTF-8.
 */
realm_status realm_metal_backend_create(const realm_metal_options *options, realm_metal_backend **out,
                                        realm_error *error);

/* The backend's table, for `realm_runtime_add_backend`. Its name is "metal".
 *
 * `backend`: NULL gives NULL.
 *
 * Valid until the backend is destroyed.
 *
 * Threads: any, at any time.
 *
 * Returns the table.
 */
const realm_backend *realm_metal_backend_table(const realm_metal_backend *backend);

/* Destroys a backend, after every runtime that has its table.
 *
 * `backend`: NULL does nothing.
 *
 * Threads: any, once no other thread uses it.
 */
void realm_metal_backend_destroy(realm_metal_backend *backend);

#ifdef __cplusplus
}
#endif

#endif /* REALM_METAL_H */
