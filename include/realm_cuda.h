/* realm_cuda.h - NVIDIA's GPUs: a backend whose memory and arithmetic are a device's.
 *
 * These functions are in libraries that were built with it (cargo's feature `cuda`, CMake's REALM_CUDA). Such a library needs
 * nothing of NVIDIA's to be linked or started: the driver is opened when a backend is created, and where there is none, that is an error
 * with a message. What realm.h says of ownership, threads and errors holds here too.
 *
 * It has not run on hardware yet: ports/gpu/README.md says what has been shown without.
 */
#ifndef REALM_CUDA_H
#define REALM_CUDA_H

#include "realm.h"
#include "realm_port.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A device, the models' weights on it, and the table of functions that a runtime is given. */
typedef struct realm_cuda_backend realm_cuda_backend;

/* What the backend is created with. */
typedef struct realm_cuda_options {
    /* Size of the caller's struct in bytes. Set by `REALM_CUDA_OPTIONS_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_CUDA_OPTIONS_INIT`. */
    uint32_t abi_version;
    /* Reserved for extensions; NULL. */
    const void *next;
    /* Which device, as CUDA counts them, if there is no `context`. */
    int32_t device;
    /* 0. */
    uint32_t reserved;
    /* A `CUcontext` of the program's, which outlives the backend. NULL: the device's primary context. */
    void *context;
    /* A `CUstream` of `context`, which outlives the backend, and into which all work goes. NULL: a stream of the backend's. */
    void *stream;
    /* Most bytes of device memory for weights, caches and intermediates together; above that sessions get `NO_MEMORY`. 0: no limit. */
    uint64_t memory_limit_bytes;
} realm_cuda_options;

/* For a realm_cuda_options. */
#define REALM_CUDA_OPTIONS_INIT REALM_INIT_(realm_cuda_options)

/* Opens the driver and a device, and loads the kernels.
 *
 * `options`: NULL is the first device with everything of the backend's own.
 * `out` receives the backend. Owns: the caller, until `realm_cuda_backend_destroy`.
 *
 * Threads: any, at any time.
 *
 * Returns `UNSUPPORTED` if there is no driver, no such device, or nothing to compile the kernels with in a library that was
 * built without nvcc; `INVALID_ARGUMENT` for a NULL or a stream without its context.
 */
realm_status realm_cuda_backend_create(const realm_cuda_options *options, realm_cuda_backend **out,
                                       realm_error *error);

/* The backend's table, for `realm_runtime_add_backend`. Its name is "cuda".
 *
 * `backend`: NULL gives NULL.
 *
 * Valid until the backend is destroyed.
 *
 * Threads: any, at any time.
 *
 * Returns the table.
 */
const realm_backend *realm_cuda_backend_table(const realm_cuda_backend *backend);

/* Destroys a backend, after every runtime that has its table.
 *
 * `backend`: NULL does nothing.
 *
 * Threads: any, once no other thread uses it.
 */
void realm_cuda_backend_destroy(realm_cuda_backend *backend);

#ifdef __cplusplus
}
#endif

#endif /* REALM_CUDA_H */
