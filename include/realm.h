/* realm.h - language models in your program, on your program's terms.
 *
 * A model (a GGUF file's bytes) is registered once in a store and shared. A guest, a sandboxed
 * WebAssembly module, knows the model's architecture, chat format and sampling; one is built in.
 * A session is one conversation: give it a prompt, poll it for tokens.
 *
 *
 * Ownership
 *
 * What a _create, _open or _load function returns belongs to the caller, who ends it with the
 * matching _destroy, _close or _unload; these accept NULL. Objects keep alive what they use, so
 * they may be ended in any order. Memory passed in is borrowed for the length of the call; the one
 * exception is a model's bytes, which are borrowed until the model's last user is gone, and then
 * given back through the release callback (or are copied, with REALM_MODEL_COPY). Ownership never
 * depends on whether a call succeeds. Pointers that the library hands out say how long they are
 * valid. Outputs are written only on success, unless a function says otherwise.
 *
 * Where a function fills a caller's array, it may be called twice: with too small a capacity (0 and
 * NULL are allowed) it stores the needed size and returns REALM_STATUS_BUFFER_TOO_SMALL.
 *
 *
 * Threads
 *
 * The library starts no thread. Stores, models, guests and runtimes may be used from any thread at
 * any time. A session is used by one thread at a time, and may move between threads; the one
 * exception is realm_session_cancel, which may be called from any thread and from a signal handler.
 * Callbacks run on the thread that called the library, except the tasks of a parallel_for, and may
 * not call back into the library. No lock is held across a callback.
 *
 *
 * Errors
 *
 * Functions that can fail return a realm_status: 0 is success, errors are negative, and numbers
 * are never reused. Their last argument, a realm_error of the caller's, may be NULL; on failure it
 * gets the status and one line of text. Nothing is thread-local and reporting allocates nothing.
 * No input (file, guest, prompt, argument) makes the library abort; a pointer that is
 * not what it should be is the one mistake it cannot catch.
 *
 *
 * Versions
 *
 * Structs that may grow open with struct_size and abi_version: start from their REALM_..._INIT
 * macro and fill in what you need; zero means the default. The library reads and writes
 * only what struct_size covers, so old programs work with new libraries and the other way round.
 * Only another major version is refused. Fields are only ever added at the end.
 */

#ifndef REALM_H
#define REALM_H

/* Generated from documented Rust by tests/headers/generate: edit it there. */

#include <stddef.h>
#include <stdint.h>

#include "realm_port.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ============================================================================================
 * Versions: of the library, and of the interface it was built with.
 * ============================================================================================ */

/* Major version of the library this header belongs to. Another major is another interface. */
#define REALM_VERSION_MAJOR 0

/* Minor version of the library this header belongs to. A greater one only adds. */
#define REALM_VERSION_MINOR 1

/* Patch version of the library this header belongs to. It changes no interface. */
#define REALM_VERSION_PATCH 0

/* The interface version of the library that is linked: `major << 16 | minor`.
 *
 * Compare it with `REALM_ABI_VERSION`, the version of the header that was compiled: the same major is needed, and
 * a minor at least as great.
 *
 * Threads: any, at any time.
 */
uint32_t realm_abi_version(void);

/* The version of the library that is linked, such as `"0.1.0"`.
 *
 * Valid until the process ends. Threads: any, at any time. Returns never NULL.
 */
const char *realm_version(void);

/* ============================================================================================
 * Statuses as C sees them, and the caller's error struct.
 * ============================================================================================ */

/* Success. */
#define REALM_STATUS_OK 0

/* An argument is NULL, misaligned, out of range, or inconsistent with another. */
#define REALM_STATUS_INVALID_ARGUMENT (-1)

/* Memory could not be had, from the platform or within the caller's quota. */
#define REALM_STATUS_NO_MEMORY (-2)

/* Nothing has that name, id or index. */
#define REALM_STATUS_NOT_FOUND (-3)

/* The id already names other bytes. */
#define REALM_STATUS_ID_CONFLICT (-4)

/* The bytes are not a well-formed file, module or program of the expected format. */
#define REALM_STATUS_FORMAT (-5)

/* Well-formed, but a version, type, operation, extension or architecture that this build does not know. */
#define REALM_STATUS_UNSUPPORTED (-6)

/* A limit (memory, counts, KV, fuel) would be exceeded. */
#define REALM_STATUS_LIMIT (-7)

/* The call is not allowed in the object's present state. */
#define REALM_STATUS_STATE (-8)

/* The guest trapped or broke the guest interface. */
#define REALM_STATUS_GUEST (-9)

/* A backend reported a failure. */
#define REALM_STATUS_BACKEND (-10)

/* The work was cancelled. */
#define REALM_STATUS_CANCELLED (-11)

/* The caller's buffer is too small. The needed size has been written to the count. */
#define REALM_STATUS_BUFFER_TOO_SMALL (-12)

/* Reading a file or a device failed. */
#define REALM_STATUS_IO (-13)

/* A bug in the library, caught before it reached the caller. Objects that the call used can still be destroyed. */
#define REALM_STATUS_INTERNAL (-14)

/* Bytes of `realm_error.message`, the terminating NUL included. */
#define REALM_ERROR_MESSAGE_BYTES 252

/* What a call came to: 0 is OK, errors are negative. Numbers are never reused; treat one you do not know as an error.
 */
typedef int32_t realm_status;

/* A status with one line of text that says what, where and which limit.
 *
 * The caller owns it, and every call that is given one writes it: on success `status` is `REALM_STATUS_OK` and
 * `message` empty. It needs no initialisation. Wherever a function takes one, NULL is allowed.
 */
typedef struct realm_error {
    /* What the call returned. */
    realm_status status;
    /* UTF-8 without line breaks, NUL-terminated, cut between characters if need be. Empty on success. */
    char message[252];
} realm_error;

/* The name of a status, such as `"REALM_STATUS_NO_MEMORY"`.
 *
 * Valid until the process ends. Threads: any, at any time. Returns never NULL: for a number that this
 * version does not know, `"REALM_STATUS_UNKNOWN"`.
 */
const char *realm_status_name(realm_status status);

/* NAME x = NAME_INIT; everything is zero but the size and the version. */
#ifndef REALM_INIT_
#ifdef __cplusplus
extern "C++" {
template <class T> inline T realm_init_() {
    T value = T();
    value.struct_size = static_cast<uint32_t>(sizeof(T));
    value.abi_version = REALM_ABI_VERSION;
    return value;
}
}
#define REALM_INIT_(type) realm_init_<type>()
#else
#define REALM_INIT_(type) {.struct_size = (uint32_t)sizeof(type), .abi_version = REALM_ABI_VERSION}
#endif
#endif

#ifdef __cplusplus
}
#endif

#endif /* REALM_H */
