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
 * valid. Outputs are written only on success, unless a function says otherwise; a caller's array may
 * have been overwritten after a failure.
 *
 * Where a function fills a caller's array "in two calls", it may be called twice: with too small a
 * capacity (0 and NULL are allowed) it stores the needed size and returns
 * REALM_STATUS_BUFFER_TOO_SMALL.
 *
 * Arguments of these names mean the same everywhere, unless a function says otherwise. `session`,
 * `runtime`, `instance`: the object that the call is for; not NULL. `store`: NULL is the process-wide
 * store. `id`: a model registered there; `model_id`: one registered in the runtime's store. `error`: as
 * in the chapter on errors. What is "(optional)" may be NULL.
 *
 *
 * Threads
 *
 * The library starts no thread. Stores, models, guests and modules of your own may be used from any
 * thread at any time. A runtime is set up by one thread (realm_runtime_add_backend, _add_kernel); sessions may
 * then be opened in it from any. A session is used by one thread at a time, and may move between threads;
 * the one exception is realm_session_cancel, which may be called from any thread and from a signal
 * handler. Instances of modules are used likewise, all together that are linked with each other.
 * Callbacks run on the thread that called the library, except the tasks of a parallel_for, and may
 * not call back into the library, but for release callbacks and the host functions of modules of your
 * own (see there). No lock that another call would wait for is held
 * across a callback.
 *
 *
 * Errors
 *
 * Functions that can fail return a realm_status: 0 is success, errors are negative, and numbers
 * are never reused. Functions list those that say something of the call, without the prefix:
 * `NOT_FOUND` is REALM_STATUS_NOT_FOUND. Besides, any may return `INVALID_ARGUMENT` for a pointer that
 * is NULL or misaligned, `UNSUPPORTED` for a struct of another major version or with a `next`,
 * `NO_MEMORY` and `INTERNAL`.
 *
 * The last argument of all but the simplest is a realm_error of the caller's. It
 * may be NULL; on failure it gets the status and one line of text. Nothing is thread-local and
 * reporting allocates nothing. No input (file, guest, prompt, argument) makes the library abort; modules of
 * your own are less well guarded (realm_wasm_module_load). Two mistakes it cannot catch: a pointer that is not
 * what it should be (objects must be live, arrays as long as their count says, with NULL for a count of 0, and
 * structs that open with struct_size readable that far), and two threads in one session at a time. Callbacks
 * return: they may neither throw nor longjmp.
 *
 * A bug in the library is a REALM_STATUS_INTERNAL whose text says what and where. The session, or the
 * linked instances of modules, that met it can only be closed; everything else goes on. Nothing is printed. This
 * holds for hosted builds. In firmware realm_firmware_panic is called, and a build with panic = "abort" ends the
 * process, as a fault of the interpreter itself does everywhere.
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
 * Versions.
 * ============================================================================================ */

/* Major version of the library that this header belongs to. Another major is another interface. */
#define REALM_VERSION_MAJOR 0

/* Minor version of the library that this header belongs to. A greater one only adds. */
#define REALM_VERSION_MINOR 1

/* Patch version of the library that this header belongs to. It changes no interface. */
#define REALM_VERSION_PATCH 0

/* The interface version of the library that is running. Programs made for the same major and a minor not above
 * it work with it.
 *
 * Threads: any, at any time.
 *
 * Returns `major << 16 | minor`. It does not fail.
 */
uint32_t realm_abi_version(void);

/* The release, such as `"0.1.0"`.
 *
 * Valid until the library is unloaded.
 *
 * Threads: any, at any time.
 *
 * Returns a NUL-terminated text, never NULL.
 */
const char *realm_version(void);

/* ============================================================================================
 * Statuses and messages.
 * ============================================================================================ */

/* Success. */
#define REALM_STATUS_OK 0

/* An argument is NULL, out of range, or inconsistent with another. */
#define REALM_STATUS_INVALID_ARGUMENT (-1)

/* Memory could not be had from the platform. */
#define REALM_STATUS_NO_MEMORY (-2)

/* Nothing has that name, id or index. */
#define REALM_STATUS_NOT_FOUND (-3)

/* The id already names other bytes. */
#define REALM_STATUS_ID_CONFLICT (-4)

/* The bytes are not a well-formed file, module or program of the expected format. */
#define REALM_STATUS_FORMAT (-5)

/* Well-formed, but a version, type, operation or architecture that this build does not know. */
#define REALM_STATUS_UNSUPPORTED (-6)

/* A limit that the caller set would be exceeded. */
#define REALM_STATUS_LIMIT (-7)

/* The call is not allowed in the object's present state. */
#define REALM_STATUS_STATE (-8)

/* The guest trapped or broke the guest ABI; its session is of no more use. Or a module of your own trapped. (A guest that runs out
 * of memory or fuel while a session is opened, or while it reads a prompt or a parameter, is a `REALM_STATUS_LIMIT`, and its session
 * goes on, where that can be taken back: see `max_guest_memory_bytes`.)
 */
#define REALM_STATUS_GUEST (-9)

/* A backend reported a failure. */
#define REALM_STATUS_BACKEND (-10)

/* The work was cancelled. */
#define REALM_STATUS_CANCELLED (-11)

/* The caller's buffer is too small; the size needed has been reported. */
#define REALM_STATUS_BUFFER_TOO_SMALL (-12)

/* Reading a file or device failed. */
#define REALM_STATUS_IO (-13)

/* A bug in the library, caught at the boundary. What met it (a session, linked instances of modules) is of no more use, everything
 * else goes on.
 */
#define REALM_STATUS_INTERNAL (-14)

/* The result of a call: 0 (`REALM_STATUS_OK`) or a negative number. Numbers are never reused. */
typedef int32_t realm_status;

/* What went wrong, in a struct of the caller's: nothing is allocated and nothing is global.
 *
 * Written on failure only, and NULL may be passed wherever one is asked for, but not for the array of
 * `realm_poll_many`, where each session has one.
 */
typedef struct realm_error {
    /* The status that the call returned. */
    realm_status status;
    /* One line of UTF-8 without a newline, NUL-terminated. */
    char message[252];
} realm_error;

/* The name of a status: `"REALM_STATUS_NO_MEMORY"`.
 *
 * `status`: any number.
 *
 * Valid until the library is unloaded.
 *
 * Threads: any, at any time.
 *
 * Returns a NUL-terminated text, never NULL; `"REALM_STATUS_UNKNOWN"` for a number that is no status.
 */
const char *realm_status_name(realm_status status);

/* ============================================================================================
 * Stores: tables of models.
 * ============================================================================================ */

/* A table of models, separate from the process-wide one. */
typedef struct realm_store realm_store;

/* Makes a store of one's own. Most programs need none: NULL is the process-wide store.
 *
 * `out` receives the store. Owns: the caller, until `realm_store_destroy`.
 *
 * Threads: any, at any time.
 *
 * Returns `INVALID_ARGUMENT`, `NO_MEMORY`.
 */
realm_status realm_store_create(realm_store **out, realm_error *error);

/* Destroys a store. Runtimes made with it keep its models alive until they are destroyed, and sessions theirs;
 * the others are released in the call.
 *
 * `store`: NULL is fine; nothing happens.
 *
 * Threads: any; no other thread may be using the handle.
 */
void realm_store_destroy(realm_store *store);

/* ============================================================================================
 * Models: registration in a store, and what is known of them.
 * ============================================================================================ */

/* `realm_model_source.flags`: copy the parts; they are released before the call returns. */
#define REALM_MODEL_COPY 1

/* Bytes of the caller's. */
typedef struct realm_bytes {
    /* The first byte. Any alignment; 64 lets every backend use weights in place. */
    const void *data;
    /* How many there are. */
    size_t bytes;
} realm_bytes;

/* Tells the application that the library is finished with a part of a model.
 *
 * `ctx`: that of the `realm_model_source`.
 * `data`, `bytes`: the part, as it was given.
 *
 * It may call the library, unlike other callbacks. It may not unwind.
 *
 * Threads: called on any thread that uses the library, from `realm_model_register`, `realm_model_remove`, and
 * what closes or destroys a session, runtime or store.
 */
typedef void (*realm_release_fn)(void *ctx, const void *data, size_t bytes);

/* What a model file may claim before it is refused with `LIMIT`. Zero is the default for every
 * field but the first two.
 */
typedef struct realm_model_limits {
    /* Size of the caller's struct in bytes. Set by `REALM_MODEL_LIMITS_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_MODEL_LIMITS_INIT`. */
    uint32_t abi_version;
    /* Reserved for extensions; NULL. */
    const void *next;
    /* Reserved; NULL. */
    void *ctx;
    /* Bytes of everything before the tensors. 0: 512 MiB. */
    uint64_t max_metadata_bytes;
    /* Tensors in all parts. 0: 65536. */
    uint64_t max_tensor_count;
    /* Metadata entries. 0: 65536. */
    uint64_t max_kv_count;
    /* Elements of a metadata array. 0: 16777216. */
    uint64_t max_array_count;
    /* Bytes of a string. 0: 64 MiB. */
    uint64_t max_string_bytes;
} realm_model_limits;

/* Told how far a long call is; may end it.
 *
 * `ctx`: that of the options or of the call that it was given with.
 * `done`, `total`: bytes or tokens, as whoever takes it says.
 *
 * It may not use the object that the call is for.
 *
 * Threads: called on the thread of that call, every few milliseconds while bytes are hashed.
 *
 * Returns 0 to go on, another number to give the work up.
 */
typedef int32_t (*realm_progress_fn)(void *ctx, uint64_t done, uint64_t total);

/* A model to be registered. */
typedef struct realm_model_source {
    /* Size of the caller's struct in bytes. Set by `REALM_MODEL_SOURCE_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_MODEL_SOURCE_INIT`. */
    uint32_t abi_version;
    /* Reserved for extensions; NULL. */
    const void *next;
    /* First argument of `release` and `progress`. */
    void *ctx;
    /* The bytes of a GGUF file, or of all files of a split one in order. The array itself is not
     * needed after the call; the bytes are valid until `release` has been called for them.
     */
    const realm_bytes *parts;
    /* How many parts there are, 1 to 65535. */
    size_t part_count;
    /* The id to register the model under. 0: derived from the SHA-256 of all bytes, which reads
     * them all; with an id nothing but the metadata is read.
     */
    uint32_t id;
    /* `REALM_MODEL_COPY`, or 0: the bytes are used where they are, and never changed. */
    uint32_t flags;
    /* (optional) Called exactly once for each part when the library is finished with it, also if
     * the registration fails. NULL: the bytes live as long as the process, or their owner knows.
     */
    realm_release_fn release;
    /* (optional) Bounds for the parser, not needed after the call. NULL: the defaults. */
    const realm_model_limits *limits;
    /* (optional) Told how many bytes have been hashed, if `id` is 0. Giving up is `CANCELLED`. NULL: nobody is told. */
    realm_progress_fn progress;
} realm_model_source;

/* What is known of a model. */
typedef struct realm_model_info {
    /* Size of the caller's struct in bytes. Set by `REALM_MODEL_INFO_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_MODEL_INFO_INIT`. */
    uint32_t abi_version;
    /* Bytes of all parts. */
    uint64_t file_bytes;
    /* Elements of all tensors. */
    uint64_t parameter_count;
    /* The id it was asked for by. */
    uint32_t id;
    /* Parts it was registered from. */
    uint32_t part_count;
    /* Tensors in all parts. */
    uint32_t tensor_count;
    /* Metadata entries of the first part. */
    uint32_t kv_count;
    /* Registrations under this id that have not been removed. */
    uint32_t registration_count;
    /* References that sessions, their programs and calls in progress hold; 0 if nothing uses it. Not a
     * number of sessions: one session holds several.
     */
    uint32_t user_count;
    /* GGUF version of the first part: 2 or 3. */
    uint32_t gguf_version;
    /* 1 if `sha256` is there; `realm_model_digest` computes it. */
    uint32_t digest_known;
    /* SHA-256 of all bytes in order; zeros if not known. */
    uint8_t sha256[32];
    /* `general.architecture`, cut to fit, NUL-terminated; empty if missing. */
    char architecture[64];
    /* `general.name`, likewise. */
    char name[128];
} realm_model_info;

/* Registers a model: its bytes are borrowed, not copied, and shared by everything that opens it.
 *
 * Registering the same bytes under the same id again counts one registration more; the new parts are then
 * released at once.
 *
 * `source`: the parts and what is wanted; the struct is not needed after the call.
 * `id` (optional) receives the id.
 *
 * Owns: each part goes to the library, whatever the result, and comes back by `release` exactly once. (Only if
 * `source` itself is NULL, too short or of another interface major, or `parts` is NULL, is nothing called.)
 *
 * Threads: any, at any time.
 *
 * Returns `FORMAT`, `UNSUPPORTED` or `LIMIT` for what the parser refuses, `ID_CONFLICT` if the id names other
 * bytes, `CANCELLED` if `progress` says so, `NO_MEMORY`, `INVALID_ARGUMENT`.
 */
realm_status realm_model_register(realm_store *store,
                                  const realm_model_source *source,
                                  uint32_t *id,
                                  realm_error *error);

/* Takes back one registration. With the last one the id is free at once; the bytes are released when the last
 * session that uses them is closed, or in this call.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND`.
 */
realm_status realm_model_remove(realm_store *store,
                                uint32_t id,
                                realm_error *error);

/* Lists the ids of a store in ascending order, in two calls.
 *
 * `ids`, `capacity`: where they go, and for how many there is room.
 * `count` receives how many there are, also if they do not fit.
 *
 * Threads: any, at any time; others may change the store between two calls.
 *
 * Returns `BUFFER_TOO_SMALL`, `INVALID_ARGUMENT`, `NO_MEMORY`.
 */
realm_status realm_model_list(realm_store *store, uint32_t *ids, size_t capacity, size_t *count);

/* Writes what is known of a model.
 *
 * `info`: receives it; its `struct_size` and `abi_version` are set by the caller.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND`, `INVALID_ARGUMENT`.
 */
realm_status realm_model_get_info(realm_store *store,
                                  uint32_t id,
                                  realm_model_info *info,
                                  realm_error *error);

/* Computes the SHA-256 of all of a model's bytes in order. The first call reads them all; later ones, and
 * `realm_model_get_info`, know it.
 *
 * `sha256` receives 32 bytes.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND`, `INVALID_ARGUMENT`.
 */
realm_status realm_model_digest(realm_store *store,
                                uint32_t id,
                                uint8_t *sha256,
                                realm_error *error);

/* As `realm_model_digest`, with a way to see how far it is and to give up.
 *
 * `progress`, `ctx`: (optional) told how many bytes have been hashed; `ctx` is its first argument. Not called if
 * the digest is known. What was hashed when it gives up is hashed again the next time.
 * `sha256` receives 32 bytes.
 *
 * Threads: any, at any time. Two calls for the same model at a time both hash.
 *
 * Returns `CANCELLED` if `progress` says so, `NOT_FOUND`, `INVALID_ARGUMENT`.
 */
realm_status realm_model_digest_watched(realm_store *store,
                                        uint32_t id,
                                        realm_progress_fn progress,
                                        void *ctx,
                                        uint8_t *sha256,
                                        realm_error *error);

/* ============================================================================================
 * Metadata of a model: keys and typed values.
 * ============================================================================================ */

/* The key and type of a metadata entry, in two calls.
 *
 * `index`: from 0, in the order of the file, below `realm_model_info.kv_count`.
 * `key`, `capacity`: where the key goes, and for how many bytes there is room.
 * `bytes` receives the key's length, also if it does not fit; without the terminating zero that is added where
 * there is room.
 * `type` (optional) receives, with the key, the GGUF value type: 0 u8, 1 i8, 2 u16, 3 i16, 4 u32, 5 i32, 6 f32,
 * 7 bool, 8 string, 9 array, 10 u64, 11 i64, 12 f64.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND` for the model or past the last entry, `BUFFER_TOO_SMALL`, `INVALID_ARGUMENT`.
 */
realm_status realm_model_meta_key(realm_store *store,
                                  uint32_t id,
                                  size_t index,
                                  char *key,
                                  size_t capacity,
                                  size_t *bytes,
                                  uint32_t *type,
                                  realm_error *error);

/* A string, or a string of an array, in two calls. It may hold any bytes, zeros included.
 *
 * `key`, `key_bytes`: the key and its length; no terminating zero is needed.
 * `index`: -1 for an entry that is no array, else the element, from 0. An element takes time in proportion to its
 * index.
 * `text`, `capacity`: where the string goes, and for how many bytes there is room.
 * `bytes` receives its length, also if it does not fit; without the terminating zero that is added where there is
 * room.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND` for the model, the key or the index, `INVALID_ARGUMENT` for what is no string, for an index
 * into what is no array and for none into what is one, `BUFFER_TOO_SMALL`.
 */
realm_status realm_model_meta_string(realm_store *store,
                                     uint32_t id,
                                     const char *key,
                                     size_t key_bytes,
                                     int64_t index,
                                     char *text,
                                     size_t capacity,
                                     size_t *bytes,
                                     realm_error *error);

/* An integer of any type, a float without a fraction, or a boolean (0 or 1).
 *
 * `key`, `key_bytes`, `index`: as for `realm_model_meta_string`.
 * `value` receives the number.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND` for the model, the key or the index, `INVALID_ARGUMENT` for what is no integer or does not fit.
 */
realm_status realm_model_meta_int(realm_store *store,
                                  uint32_t id,
                                  const char *key,
                                  size_t key_bytes,
                                  int64_t index,
                                  int64_t *value,
                                  realm_error *error);

/* A float of either type, or an integer that a double holds exactly.
 *
 * `key`, `key_bytes`, `index`: as for `realm_model_meta_string`.
 * `value` receives the number.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND` for the model, the key or the index, `INVALID_ARGUMENT` for what is no such number.
 */
realm_status realm_model_meta_float(realm_store *store,
                                    uint32_t id,
                                    const char *key,
                                    size_t key_bytes,
                                    int64_t index,
                                    double *value,
                                    realm_error *error);

/* The number of elements of an array.
 *
 * `key`, `key_bytes`: the key and its length; no terminating zero is needed.
 * `count` receives the number.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND` for the model or the key, `INVALID_ARGUMENT` for what is no array.
 */
realm_status realm_model_meta_count(realm_store *store,
                                    uint32_t id,
                                    const char *key,
                                    size_t key_bytes,
                                    uint64_t *count,
                                    realm_error *error);

/* ============================================================================================
 * Tensors of a model: the directory, and values as floats. All safe from any thread.
 * ============================================================================================ */

/* What is known of a tensor. */
typedef struct realm_tensor_info {
    /* Size of the caller's struct in bytes. Set by `REALM_TENSOR_INFO_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_TENSOR_INFO_INIT`. */
    uint32_t abi_version;
    /* Elements per dimension, `ne[0]` along a row; 1 where unused. */
    uint64_t ne[4];
    /* Its size in the file, in bytes. */
    uint64_t bytes;
    /* The element type, as ggml numbers them. */
    uint32_t type;
    /* Dimensions in use, 0 to 4. */
    uint32_t n_dims;
    /* The name, cut to fit, NUL-terminated. */
    char name[128];
    /* The type's name, such as `"q4_K"`. */
    char type_name[16];
} realm_tensor_info;

/* Finds a tensor by name.
 *
 * `name`, `name_bytes`: the name in UTF-8 and its length; no terminating zero is needed.
 * `tensor` receives its index, which counts from 0 through all parts.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND` for the model or the name, `INVALID_ARGUMENT`.
 */
realm_status realm_model_tensor_find(realm_store *store,
                                     uint32_t id,
                                     const char *name,
                                     size_t name_bytes,
                                     uint32_t *tensor,
                                     realm_error *error);

/* Writes what is known of a tensor.
 *
 * `tensor`: its index, below `realm_model_info.tensor_count`.
 * `info`: receives it; its `struct_size` and `abi_version` are set by the caller.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND` for the model or past the last tensor, `INVALID_ARGUMENT`.
 */
realm_status realm_model_tensor_info(realm_store *store,
                                     uint32_t id,
                                     uint32_t tensor,
                                     realm_tensor_info *info,
                                     realm_error *error);

/* Dequantizes rows of a tensor to floats, in two calls. A row has `ne[0]` of them.
 *
 * `tensor`: its index, below `realm_model_info.tensor_count`.
 * `row_first`, `row_count`: which rows, of `ne[1]·ne[2]·ne[3]`. A count of 0: all from the first on.
 * `values`, `capacity`: where the floats go, and for how many there is room.
 * `count` receives how many floats that is, also if they do not fit.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND` for the model or the tensor, `INVALID_ARGUMENT` for rows past the end, `BUFFER_TOO_SMALL`,
 * `UNSUPPORTED` for a type that cannot be dequantized, `LIMIT` for more floats than can be addressed.
 */
realm_status realm_model_tensor_read(realm_store *store,
                                     uint32_t id,
                                     uint32_t tensor,
                                     uint64_t row_first,
                                     uint64_t row_count,
                                     float *values,
                                     size_t capacity,
                                     size_t *count,
                                     realm_error *error);

/* ============================================================================================
 * Text to token ids and back, by a model's vocabulary. All safe from any thread.
 * ============================================================================================ */

/* Add BOS and EOS as the vocabulary says. */
#define REALM_TOKENIZE_ADD_SPECIAL 1

/* Control tokens that are written out in the text become their ids; without, they are text. */
#define REALM_TOKENIZE_PARSE_SPECIAL 2

/* Control tokens appear as they are written in the vocabulary; without, they yield nothing. */
#define REALM_DETOKENIZE_SPECIAL 1

/* Turns text into token ids, in two calls.
 *
 * `text`, `text_bytes`: any bytes; those that are not UTF-8 become the tokens of single bytes.
 * `flags`: `REALM_TOKENIZE_...`, or 0.
 * `tokens`, `capacity`: where the ids go, and for how many there is room.
 * `count` receives how many there are, also if they do not fit.
 *
 * Threads: any, at any time. The first call for a model builds tables, for some tens of milliseconds and megabytes
 * with a large vocabulary; all that use the model share them.
 *
 * Returns `NOT_FOUND`, `BUFFER_TOO_SMALL`, `UNSUPPORTED` for a vocabulary this build does not know, `FORMAT` for a
 * broken one, `LIMIT` for more than 256 MiB of text, `NO_MEMORY`, `INVALID_ARGUMENT`.
 */
realm_status realm_model_tokenize(realm_store *store,
                                  uint32_t id,
                                  const char *text,
                                  size_t text_bytes,
                                  uint32_t flags,
                                  uint32_t *tokens,
                                  size_t capacity,
                                  size_t *count,
                                  realm_error *error);

/* Turns token ids into text, always valid UTF-8, in two calls.
 *
 * `tokens`, `count`: the ids, and how many there are.
 * `flags`: `REALM_DETOKENIZE_SPECIAL`, or 0.
 * `text`, `capacity`: where the text goes, and for how many bytes there is room.
 * `bytes` receives its length, also if it does not fit; without the terminating zero that is added where there is
 * room.
 *
 * Threads: any, at any time; the first call for a model as with `realm_model_tokenize`.
 *
 * Returns `NOT_FOUND` for the model or an id that is none, `BUFFER_TOO_SMALL`, `UNSUPPORTED`, `FORMAT`, `NO_MEMORY`,
 * `INVALID_ARGUMENT`.
 */
realm_status realm_model_detokenize(realm_store *store,
                                    uint32_t id,
                                    const uint32_t *tokens,
                                    size_t count,
                                    uint32_t flags,
                                    char *text,
                                    size_t capacity,
                                    size_t *bytes,
                                    realm_error *error);

/* ============================================================================================
 * Guests: the WebAssembly modules that decide what a session does, and images of what they have decided.
 * ============================================================================================ */

/* A loaded guest, shared by any number of sessions. */
typedef struct realm_guest realm_guest;

/* Loads a guest: validates and translates a WebAssembly module as described in `guest/ABI.md`, or reads an image that
 * `realm_session_record` has written, which takes no interpreter.
 *
 * A session with an image does, bit for bit, what the one did of which it was recorded, with any text or token ids as input; it
 * has no chat formats (`REALM_INPUT_CHAT` and what follows it), takes no parameters but `n_predict` and `seed`, and can be
 * neither saved nor forked. It opens with the model of the image only, whose digest is computed if it is not known.
 *
 * A guest that grows its memory (`memory.grow`, in at most 256 places of its code) is interpreted in short slices, so that
 * growing takes no more than 192 KiB of the polling thread's stack: about half as fast as one whose memory is as large as it
 * needs from the start.
 *
 * `data`, `bytes`: the module, at most 4 MiB, or the image; not needed afterwards.
 * `out` receives the guest. Owns: the caller, until `realm_guest_unload`.
 *
 * Threads: any, at any time. Takes some milliseconds per 100 KB.
 *
 * Returns `FORMAT` for what is no module or cannot be a guest (the message names an unknown import or missing
 * export), and for a damaged image; `UNSUPPORTED` for an image of another version, and for what the build has nothing to run with;
 * `LIMIT`, `NO_MEMORY`, `INVALID_ARGUMENT`.
 */
realm_status realm_guest_load(const void *data,
                              size_t bytes,
                              realm_guest **out,
                              realm_error *error);

/* Gives a guest back. Sessions opened with it go on; its memory is freed with the last of them.
 *
 * `guest`: NULL is fine; nothing happens.
 *
 * Threads: any; no other thread may be using the handle.
 */
void realm_guest_unload(realm_guest *guest);

/* ============================================================================================
 * Runtimes: a platform, a store and the backends that sessions choose from.
 * ============================================================================================ */

/* A platform, a store and backends: what sessions are opened in. */
typedef struct realm_runtime realm_runtime;

/* What a runtime is created with. Zero is the default for every field but the first two. */
typedef struct realm_runtime_options {
    /* Size of the caller's struct in bytes. Set by `REALM_RUNTIME_OPTIONS_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_RUNTIME_OPTIONS_INIT`. */
    uint32_t abi_version;
    /* Reserved for extensions; NULL. */
    const void *next;
    /* Reserved; NULL. */
    void *ctx;
    /* What the library needs from the machine; copied. NULL: the library's own allocator, no
     * clock (budgets are ignored), no threads. On hosted systems pass `realm_posix_platform()`.
     */
    const realm_platform *platform;
    /* The store that sessions find their models in; kept alive by the runtime. NULL: the
     * process-wide store.
     */
    realm_store *store;
} realm_runtime_options;

/* Creates a runtime, with the library's own backends in it: `"cpu"`, where it was built with the CPU port, and
 * `"reference"`.
 *
 * `options`: NULL for the defaults.
 * `out` receives the runtime. Owns: the caller, until `realm_runtime_destroy`.
 *
 * Threads: any, at any time.
 *
 * Returns `INVALID_ARGUMENT`, `UNSUPPORTED` for another interface major, `NO_MEMORY`.
 */
realm_status realm_runtime_create(const realm_runtime_options *options,
                                  realm_runtime **out,
                                  realm_error *error);

/* Destroys a runtime. Sessions keep what they need and may be closed later. What the platform and the backends
 * point to must live until the last of them is closed.
 *
 * `runtime`: NULL is fine; nothing happens.
 *
 * Threads: any; no other thread may be using the handle.
 */
void realm_runtime_destroy(realm_runtime *runtime);

/* Adds a backend. Of several the one added last is preferred by sessions that name none.
 *
 * `backend`: the table, which is copied; its `ctx` must outlive the runtime and its sessions.
 *
 * Threads: any, but not while another uses the runtime.
 *
 * Returns `INVALID_ARGUMENT` for a table that lacks what it needs or has the name of one that is there,
 * `UNSUPPORTED` for another interface major.
 */
realm_status realm_runtime_add_backend(realm_runtime *runtime,
                                       const realm_backend *backend,
                                       realm_error *error);

/* Adds one kernel of the host's own, for one operation on one weight type: used instead of the backend's by
 * sessions that are opened later. Of several for the same the one added last is used.
 *
 * `op`: the operation's code in `guest/ABI.md`.
 * `type`: the ggml type of its first source, `UINT32_MAX` for any. For a type that never comes up it is never called.
 * `kernel`, `ctx`: the function and its first argument, which must outlive the runtime and its sessions.
 *
 * Threads: any, but not while another uses the runtime.
 *
 * Returns `INVALID_ARGUMENT`, `UNSUPPORTED` for an unknown operation.
 */
realm_status realm_runtime_add_kernel(realm_runtime *runtime,
                                      uint32_t op,
                                      uint32_t type,
                                      realm_kernel_fn kernel,
                                      void *ctx,
                                      realm_error *error);

/* The number of backends.
 *
 * `runtime`: NULL is fine.
 *
 * Threads: any, but not while another adds to the runtime.
 *
 * Returns at least 1; 0 for NULL.
 */
size_t realm_runtime_backend_count(const realm_runtime *runtime);

/* The name of a backend, the preferred first, `"cpu"` and `"reference"` last.
 *
 * `runtime`: NULL is fine.
 * `index`: from 0, below `realm_runtime_backend_count`.
 *
 * Valid until the runtime is destroyed.
 *
 * Threads: any, but not while another adds to the runtime.
 *
 * Returns a NUL-terminated text; NULL past the last, and for a NULL.
 */
const char *realm_runtime_backend_name(const realm_runtime *runtime, size_t index);

/* ============================================================================================
 * Sessions: one conversation with one model, driven by polling.
 * ============================================================================================ */

/* `realm_session_options.flags`: the guest may read the platform's clock. */
#define REALM_SESSION_GRANT_CLOCK 1

/* Input: text to be continued as it stands. */
#define REALM_INPUT_TEXT 0

/* Input: token ids, verbatim: an array of `uint32_t`, `bytes` = 4 · count. */
#define REALM_INPUT_IDS 1

/* Input: a user's message, which the guest puts into the model's chat format. */
#define REALM_INPUT_CHAT 2

/* Input: a whole conversation, as a JSON array of messages in OpenAI's form. Only what the context does not hold is evaluated; an
 * assistant's message at the end is gone on with.
 */
#define REALM_INPUT_MESSAGES 3

/* Input: what the assistant is made to say, in the reply that the last chat turn asked for; the model goes on behind it.
 */
#define REALM_INPUT_REPLY 4

/* Input: none. Instead of generating, the guest tells what the last reply says, in one text event without a token: a message in
 * OpenAI's JSON, with `content`, `reasoning_content` and `tool_calls`. Nothing enters the context. Where the session has no `tools`,
 * JSON that only looks like a call is content.
 */
#define REALM_INPUT_PARSE 5

/* The budget is spent; poll again. */
#define REALM_EVENT_AGAIN 0

/* A token, text, or both. */
#define REALM_EVENT_TOKEN 1

/* The turn has ended. */
#define REALM_EVENT_DONE 2

/* The model ended its answer. */
#define REALM_DONE_EOS 1

/* A stop string came up. */
#define REALM_DONE_STOP 2

/* As many tokens as were asked for. */
#define REALM_DONE_LENGTH 3

/* The context is full. */
#define REALM_DONE_CONTEXT 4

/* The turn was cancelled. */
#define REALM_DONE_CANCELLED 5

/* A budget for `realm_session_poll` and `realm_poll_many`: none, run to the next TOKEN or DONE however long that takes. It is 0,
 * so what is left of a frame is computed by `realm_budget_left`.
 */
#define REALM_BUDGET_UNLIMITED 0

/* A conversation. */
typedef struct realm_session realm_session;

/* A parameter for the guest. */
typedef struct realm_param {
    /* Its name, NUL-terminated UTF-8 of 1 to 64 bytes. */
    const char *key;
    /* Its value as text, NUL-terminated UTF-8 of at most 1 MiB. */
    const char *value;
} realm_param;

/* Takes a line of a guest's log.
 *
 * `ctx`: that of the `realm_session_options`.
 * `level`: 0 error, 1 warning, 2 information, 3 for debugging.
 * `text`, `bytes`: UTF-8, not terminated, valid until the function returns.
 *
 * It may not use the session.
 *
 * Threads: called on the thread that calls the library for the session, or `realm_plan`.
 */
typedef void (*realm_log_fn)(void *ctx, int32_t level, const char *text, size_t bytes);

/* What a session is opened with. Zero is the default for every field but the first two. */
typedef struct realm_session_options {
    /* Size of the caller's struct in bytes. Set by `REALM_SESSION_OPTIONS_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_SESSION_OPTIONS_INIT`. */
    uint32_t abi_version;
    /* Reserved for extensions; NULL. */
    const void *next;
    /* First argument of `log` and `progress`. */
    void *ctx;
    /* The guest; it may be unloaded afterwards. NULL: the one that comes with the library, `UNSUPPORTED` in a build without.
     */
    const realm_guest *guest;
    /* The name of a backend, NUL-terminated; not needed afterwards. NULL: the preferred one: that added last, else `"cpu"`,
     * else `"reference"`.
     */
    const char *backend;
    /* The guest's parameters, copied: `temp`, `top_k`, `seed`, `n_predict`, `ctx`, … (`guest/README.md`). */
    const realm_param *params;
    /* How many there are, at most 128. */
    size_t param_count;
    /* Most linear memory of the guest, in bytes. 0: 16 MiB. A session for which it does not suffice is not opened:
     * `REALM_STATUS_LIMIT`. A prompt or parameter for which it does not suffice is refused with that status, and the session is as it
     * was before: the library keeps a copy of that memory while such input is read, and needs another one to go back. Where it cannot
     * (in firmware, without memory for these, with a guest that cannot be forked), and for what needs more after the first step of a
     * turn, the session ends with `REALM_STATUS_GUEST`. Lost is what it was, its context and the turn; models, the runtime, other sessions
     * and states that were saved before are not. Who cannot lose a conversation has a fork of it from before the turn
     * (`realm_session_fork`), and goes on with that. Linear memory grows and never shrinks: what a large prompt or parameter took is
     * the guest's to use again, for whatever replaces it, and given back when the session is closed.
     */
    uint64_t max_guest_memory_bytes;
    /* Most session buffers, in bytes. 0: 256 MiB. */
    uint64_t max_buffer_bytes;
    /* Most KV cache, in bytes. 0: unlimited, so that the guest's context length decides. */
    uint64_t max_kv_bytes;
    /* Most scratch memory of a step, in bytes. 0: unlimited. */
    uint64_t max_scratch_bytes;
    /* Most bytes of models that the guest registers itself. 0: none. */
    uint64_t max_guest_model_bytes;
    /* Most fuel for one event of the guest, about one per instruction. 0: 4000000000, some seconds. Opening is one event, and so is
     * a long prompt: leave room for reading it. Where it does not suffice: as above.
     */
    uint64_t fuel_per_event;
    /* `REALM_SESSION_GRANT_CLOCK`, or 0. */
    uint32_t flags;
    /* Most tasks to split a step into, through the platform's `parallel_for`; no more are used than its
     * `parallel_width`, and small steps are not split. 0 or 1: the polling thread does all work itself.
     * Results do not depend on it.
     */
    uint32_t thread_count;
    /* (optional) Takes the guest's log. NULL: the platform's log does. */
    realm_log_fn log;
    /* (optional) Told while a prompt is evaluated how many of its tokens are in, after each of the guest's steps. Called on the
     * thread that polls the session, which it may not use. Giving up ends the turn as `realm_session_cancel` does.
     */
    realm_progress_fn progress;
    /* (optional) Further models of the runtime's store that the guest may use, by their ids: adapters, for instance. What for, a
     * parameter says. `realm_session_set_models` replaces them later. The ids are not needed afterwards.
     */
    const uint32_t *models;
    /* How many there are, at most 64. */
    size_t model_count;
} realm_session_options;

/* What a poll brought. */
typedef struct realm_event {
    /* Size of the caller's struct in bytes. Set by `REALM_EVENT_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_EVENT_INIT`. */
    uint32_t abi_version;
    /* `REALM_EVENT_...`. */
    uint32_t kind;
    /* With DONE: `REALM_DONE_...`; else 0. */
    uint32_t reason;
    /* With TOKEN: the token's id, -1 for text alone; else -1. */
    int32_t token;
    /* 0. */
    uint32_t reserved;
    /* With TOKEN: whole characters of UTF-8, not terminated, perhaps none; else NULL.
     * Valid until the next call for the session.
     */
    const char *text;
    /* Bytes of `text`. */
    size_t text_bytes;
    /* Tokens of the input that have been evaluated; 0 until the guest knows. */
    uint64_t progress_done;
    /* Tokens of the input in all. */
    uint64_t progress_total;
    /* With TOKEN and `logprob_known`: the natural logarithm of the probability that the model gave the token, at most 0,
     * before bias, penalties, temperature and other samplers; else 0. The library's guest says it if its parameter `logprobs` is 1.
     */
    float logprob;
    /* 1 if `logprob` is there. */
    uint32_t logprob_known;
} realm_event;

/* What a session has cost. Times are nanoseconds, 0 without a platform clock. */
typedef struct realm_session_stats {
    /* Size of the caller's struct in bytes. Set by `REALM_SESSION_STATS_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_SESSION_STATS_INIT`. */
    uint32_t abi_version;
    /* Linear memory of the guest now, in bytes. */
    uint64_t guest_linear_memory_bytes;
    /* What the interpreter holds besides, in bytes; 0 if it does not tell. */
    uint64_t guest_engine_bytes;
    /* KV cache now, in bytes. */
    uint64_t kv_bytes;
    /* Scratch memory now, in bytes. */
    uint64_t scratch_bytes;
    /* Session buffers now, in bytes. */
    uint64_t buffer_bytes;
    /* Tokens of all ended turns' inputs. */
    uint64_t prompt_tokens;
    /* Tokens that ended turns have generated. */
    uint64_t generated_tokens;
    /* Time in the interpreter, imports included, steps not. */
    uint64_t guest_ns;
    /* Events the guest has handled. */
    uint64_t guest_events;
    /* Time in the backend. */
    uint64_t step_ns;
    /* Time polled (interpreter and backend) from the beginning of a turn to its first token. */
    uint64_t prefill_ns;
    /* Time polled from there to the turn's end. */
    uint64_t decode_ns;
    /* Operations that ran on the reference kernels because the backend has none for them. */
    uint64_t fallback_ops;
    /* The part of `guest_ns` that is in `decode_ns`. */
    uint64_t guest_decode_ns;
    /* Generated tokens but the first of each turn: what `decode_ns` was spent on. */
    uint64_t decode_tokens;
} realm_session_stats;

/* What a session will hold, in bytes. */
typedef struct realm_memory_plan {
    /* Size of the caller's struct in bytes. Set by `REALM_MEMORY_PLAN_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_MEMORY_PLAN_INIT`. */
    uint32_t abi_version;
    /* Linear memory of the guest when the session has been opened. Turns may let it grow. */
    uint64_t guest_linear_memory_bytes;
    /* The most that it may grow to: `max_guest_memory_bytes`. */
    uint64_t guest_linear_memory_limit;
    /* Session buffers. */
    uint64_t buffer_bytes;
    /* Scratch memory of a step. */
    uint64_t scratch_bytes;
    /* KV cache with as many positions as were asked about. */
    uint64_t kv_bytes;
    /* What 64 positions more of KV cache take; it grows by so much. */
    uint64_t kv_page_bytes;
    /* The sum of limit, buffers, scratch and KV: what the session can come to. */
    uint64_t total_bytes;
    /* Most positions (tokens in the context). */
    uint32_t max_positions;
    /* 0. */
    uint32_t reserved;
} realm_memory_plan;

/* Takes the next bytes of a saved session, or of an image. It may not use the session.
 *
 * `ctx`: that of `realm_session_save_to` or `realm_session_record`.
 * `data`, `bytes`: the bytes, valid until the function returns.
 *
 * Threads: called on the thread that saves or records.
 *
 * Returns 0; else it ends with that status, `REALM_STATUS_IO` if it is none that a callback can say.
 */
typedef int32_t (*realm_write_fn)(void *ctx, const void *data, size_t bytes);

/* Gives the next bytes of a saved session.
 *
 * `ctx`: that of `realm_session_load_from`.
 * `data`, `bytes`: to be filled with exactly so many bytes.
 *
 * Threads: called on the thread that loads.
 *
 * Returns 0; else loading ends with that status, `REALM_STATUS_IO` if it is none that a callback can say: `REALM_STATUS_FORMAT` where there
 * are no more, for instance.
 */
typedef int32_t (*realm_read_fn)(void *ctx, void *data, size_t bytes);

/* Opens a session with a model of the runtime's store. The guest reads the model's metadata and records its
 * programs in the call.
 *
 * `options`: NULL for the defaults.
 * `out` receives the session. Owns: the caller, until `realm_session_close`.
 *
 * Threads: any, at any time; the session may then be used by any one thread at a time.
 *
 * Returns `NOT_FOUND` for the model or the backend, `UNSUPPORTED` for a model or a guest that this build does not
 * know, `LIMIT` (for the guest's memory and fuel, too), `NO_MEMORY`, `GUEST` if the guest fails, `INVALID_ARGUMENT`, and what else
 * the guest says.
 */
realm_status realm_session_open(realm_runtime *runtime,
                                uint32_t model_id,
                                const realm_session_options *options,
                                realm_session **out,
                                realm_error *error);

/* Closes a session at any point. KV and buffers are zeroed and freed.
 *
 * `session`: NULL is fine; nothing happens.
 *
 * Threads: any; no other thread may be using it, nor cancel it.
 */
void realm_session_close(realm_session *session);

/* Sets a parameter of the guest, which reads it when the next turn begins.
 *
 * `key`: NUL-terminated UTF-8 of 1 to 64 bytes.
 * `value`: NUL-terminated UTF-8 of at most 1 MiB, copied. NULL takes the parameter away.
 *
 * Between turns the guest is asked in the call whether it will do, and what it refuses leaves the parameter as it was. While a turn
 * is running, from `realm_session_prompt` on, the guest cannot be asked. It reads the parameters in a turn's first poll: what is set
 * before that counts for this turn, what is set later for the next, and that turn fails with what the guest says of it. A parameter
 * that it would refuse then has to be repaired or taken away first: until it is, others are taken as during a turn.
 *
 * Threads: one at a time for a session.
 *
 * Returns `INVALID_ARGUMENT` for a name that the guest does not know (unless it is to be taken away) or a value that it does not take (the message has the
 * nearest name or what is expected), `LIMIT` for what is too long or for more than 128 parameters, `NO_MEMORY`, `GUEST` if the
 * guest fails, what else the guest says, and the first failure of a session that has failed.
 */
realm_status realm_session_set_param(realm_session *session,
                                     const char *key,
                                     const char *value,
                                     realm_error *error);

/* Begins a turn; `realm_session_poll` runs it. What earlier turns put into the KV cache stays.
 *
 * `kind`: `REALM_INPUT_...`.
 * `data`, `bytes`: the input, copied; below 2 GiB. Text must be UTF-8.
 *
 * Threads: one at a time for a session.
 *
 * Returns `STATE` while a turn is running, `INVALID_ARGUMENT`, `LIMIT` for 2 GiB, `NO_MEMORY`, and the first failure
 * of a session that has failed.
 */
realm_status realm_session_prompt(realm_session *session,
                                  uint32_t kind,
                                  const void *data,
                                  size_t bytes,
                                  realm_error *error);

/* Runs the turn on, and returns with the next event.
 *
 * `budget_us`: return with AGAIN after about so many microseconds; a first slice of work is always done. A prompt is made
 * into tokens in one slice, some 10 ms for each 100 KB of it.
 * `REALM_BUDGET_UNLIMITED`, or a platform without a clock: run to the next TOKEN or DONE. What is left of a frame:
 * `realm_budget_left`.
 * `event`: receives it; its `struct_size` and `abi_version` are set by the caller.
 *
 * After DONE, and after an error but one of the arguments, no turn is running. An error of the turn (`LIMIT` where the KV cache would grow too
 * large, say) leaves the session usable: its next turn begins after the last step that succeeded. After `GUEST` and
 * `INTERNAL` every call returns the same error, and all that is left is to close it.
 *
 * Threads: one at a time for a session. The backend and the platform are called from this thread.
 *
 * Returns `STATE` if no turn is running, `LIMIT`, `NO_MEMORY`, `BACKEND`, `GUEST`, `INVALID_ARGUMENT`, and what else
 * the guest says.
 */
realm_status realm_session_poll(realm_session *session,
                                uint64_t budget_us,
                                realm_event *event,
                                realm_error *error);

/* Asks for the running turn to end. A poll in progress notices at the next slice of a step (of several sessions: see
 * `realm_poll_many`), within milliseconds; what the guest does in an event it does to its end, which takes some 10 ms for each 100 KB
 * of a prompt and is bounded by `fuel_per_event`. The turn then ends with DONE and `REALM_DONE_CANCELLED`, after events that
 * were there already, or with the error that the event ended with. Without a running turn nothing happens.
 *
 * `session`: NULL is fine; nothing happens.
 *
 * Threads: any, and a signal handler, at any time before `realm_session_close`.
 */
void realm_session_cancel(realm_session *session);

/* Writes what the session has cost so far.
 *
 * `stats`: receives it; its `struct_size` and `abi_version` are set by the caller.
 *
 * Threads: one at a time for a session.
 *
 * Returns `INVALID_ARGUMENT`. A session that has failed has statistics too.
 */
realm_status realm_session_get_stats(const realm_session *session,
                                     realm_session_stats *stats);

/* What is left of a budget.
 *
 * `total_us`: the whole of it, in microseconds.
 * `spent_us`: how much has passed already.
 *
 * A frame that has used up its time polls for one slice of work more, and not without limit, which a difference of 0, or one
 * that wraps round, would be.
 *
 * Threads: any, at any time.
 *
 * Returns the difference, and 1 where that would be 0 or less.
 */
uint64_t realm_budget_left(uint64_t total_us,
                           uint64_t spent_us);

/* Runs the turns of several sessions on, until each has an event or the budget is spent. Where sessions have
 * come to steps of the same program (the same guest, model, backend and kind of sampling, the same `ctx`, `n_batch`,
 * `kv_type` and `thread_count`) and the steps are small, as those that make a token are, the backend gets them as one
 * batch and reads the weights once for all. What a session computes is bit for bit what it computes alone.
 *
 * `sessions`, `session_count`: the sessions, each at most once; those of different runtimes take turns, but share no batch. 0: nothing happens.
 * `budget_us`: as for `realm_session_poll`, for all sessions together, by the clock of the first that has one.
 * Sessions take turns within it and from call to call. The call may return before it is spent, with AGAIN for a session
 * whose step can run together with others' in the next. `REALM_BUDGET_UNLIMITED`: until every session has a TOKEN or DONE, however long
 * the slowest takes.
 * `events`: one for each session, as an array whose elements are `struct_size` of the first apart; `struct_size` and
 * `abi_version` of all are set and the same. Written where the session's status is 0.
 * `errors`: one for each session: 0 and an empty line, or what `realm_session_poll` would return for it.
 * Always written. A session that fails leaves the others as they are; those without a turn get `STATE`.
 *
 * A session that is cancelled while its step is part of a batch ends its turn when the batch has ended, within one
 * step. Sessions that were left with AGAIN may be polled alone or with others next, or closed: a batch that was half done
 * is abandoned then, and its steps run again from their beginning. A batch's time is shared equally among its sessions in
 * `realm_session_get_stats`.
 *
 * Threads: this one uses all of the sessions. Backends and platforms are called from it.
 *
 * Returns `INVALID_ARGUMENT` for NULL, for a session that is named twice, and for structs that are not as described;
 * `NO_MEMORY`. Nothing has been polled or written then.
 */
realm_status realm_poll_many(realm_session *const *sessions,
                             size_t session_count,
                             uint64_t budget_us,
                             realm_event *events,
                             realm_error *errors,
                             realm_error *error);

/* Replaces the further models that the guest may use: those of `realm_session_options.models`, or of the last such call.
 *
 * What they are used for, a parameter says: with the library's guest `lora`. Grant a model before the parameter names it, and take
 * the parameter back before the model. A model that was granted stays in use until a turn begins without it; until then its id cannot
 * be granted for other bytes: `ID_CONFLICT`.
 *
 * `ids`, `count`: their ids in the runtime's store, at most 64; not needed afterwards. NULL with 0: none.
 *
 * Threads: one at a time for a session.
 *
 * Returns `NOT_FOUND` for an id, `ID_CONFLICT` as above, `STATE` while a turn is running, `LIMIT`, `INVALID_ARGUMENT`,
 * `NO_MEMORY`, and the first failure of a session that has failed. The models are what they were then.
 */
realm_status realm_session_set_models(realm_session *session,
                                      const uint32_t *ids,
                                      size_t count,
                                      realm_error *error);

/* Says what a session that is opened with these options will hold, without making it: `realm_session_get_stats` will show
 * the same buffers, scratch and KV cache, to the byte, as long as no parameter changes in between or later.
 *
 * The guest does what it does when a session is opened, in the call, and the backend prepares its programs, for which a device
 * may need memory meanwhile. Not counted: while a turn begins, and a parameter is set, a copy of the guest's linear memory as it was
 * before and up to 1 MiB of its buffers, so that what fails can be taken back, which takes another copy for a moment (not in firmware,
 * where such a failure ends the session); some hundred KiB of the library's own objects, the loaded guest, the model and its
 * vocabulary, which sessions share.
 *
 * `options`: as for `realm_session_open`.
 * `positions`: tokens in the context; more than there may be count as that many. `UINT32_MAX`: as many as there may be.
 * `plan`: its `struct_size` and `abi_version` are set.
 *
 * Threads: any.
 *
 * Returns what `realm_session_open` would: `LIMIT` where a limit of the options is too small, for instance, but for the KV
 * cache, which is not there when a session has been opened.
 */
realm_status realm_plan(realm_runtime *runtime,
                        uint32_t model_id,
                        const realm_session_options *options,
                        uint32_t positions,
                        realm_memory_plan *plan,
                        realm_error *error);

/* Writes an image: what the session's guest has decided for its model and parameters, to be replayed by a library that has no
 * interpreter, as in small firmware. `realm_guest_load` takes it in place of the guest.
 *
 * The session has just been opened. The image holds its program, the sizes of its caches and buffers, and the settings by which
 * tokens are picked; not the model, whose digest it names, and whose vocabulary the replaying library reads from the model. A
 * version and a SHA-256 are in it. The model's digest is computed if it is not known, which reads the whole model.
 *
 * What images know: text and token ids as input, greedy picking, temperature, top-k, top-p, min-p, biases, stop strings, end tokens. Not:
 * chat formats, penalties of repetitions, other samplers, grammars, log-probabilities, adapters, embeddings and recurrent models.
 *
 * `write`, `ctx`: takes the bytes, in order; `ctx` is its first argument.
 *
 * Threads: one at a time for a session.
 *
 * Returns `STATE` once the session has begun a turn; `UNSUPPORTED` for what images do not know, for a guest that is older than guest
 * ABI 0.2 or an image itself, and in builds that cannot record; what `write` returns if that is a status; `NO_MEMORY`, `BACKEND`,
 * `INVALID_ARGUMENT`, and what else the guest says.
 */
realm_status realm_session_record(realm_session *session,
                                  realm_write_fn write,
                                  void *ctx,
                                  realm_error *error);

/* Says how many tokens are in the session's context: what `realm_session_rewind` takes. While a turn is running, those of
 * the step under way are counted. A token that was shown last and that the next turn begins with (as after
 * `REALM_DONE_LENGTH`) is not.
 *
 * `position` receives the number.
 *
 * Threads: one at a time for a session.
 *
 * Returns `INVALID_ARGUMENT`, and the first failure of a session that has failed.
 */
realm_status realm_session_position(realm_session *session,
                                    uint32_t *position,
                                    realm_error *error);

/* Takes the context back to its first `position` tokens, between turns: another question after the same introduction,
 * another answer to the same question. Given the same tokens, what follows is bit for bit what follows in a session that
 * never went further; only the random numbers of sampling run on, unless `position` is 0. Whole pages of the KV cache
 * that are not needed any more are zeroed and freed.
 *
 * `position`: at most `realm_session_position`. What was shown behind it, and has not entered the context, is forgotten too.
 *
 * The guest is told in the call. Until a step has run again there are no logits.
 *
 * Threads: one at a time for a session.
 *
 * Returns `STATE` while a turn is running, `INVALID_ARGUMENT`, `UNSUPPORTED` if the guest is older than guest ABI 0.2,
 * and what else the guest says; the context is as it was then. `GUEST` if the guest fails.
 */
realm_status realm_session_rewind(realm_session *session,
                                  uint32_t position,
                                  realm_error *error);

/* Opens a second session that goes on from where this one is, between turns: several answers to one question, several
 * characters after one introduction. From here on neither can notice the other.
 *
 * The KV cache is shared, page by page, until one of the two writes to a page (64 positions) and gets a copy of its own;
 * the guest's memory and the session buffers are copied. Shared pages count against both sessions' limits and in both
 * sessions' statistics. Limits, parameters, callbacks, clock and threads are the first one's, statistics begin anew.
 *
 * `out` receives the session. Owns: the caller, until `realm_session_close`; in any order.
 *
 * Threads: one at a time for a session; the two may then be used by two threads.
 *
 * Returns `STATE` while a turn is running, `UNSUPPORTED` for a guest that has registered models of its own or has mutable
 * globals that are no numbers, `LIMIT`, `NO_MEMORY`, `BACKEND`.
 */
realm_status realm_session_fork(realm_session *session,
                                realm_session **out,
                                realm_error *error);

/* Writes the session's state to the caller's buffer, between turns, in two calls. In the midst of one a session cannot be
 * saved: poll until DONE first, or `realm_session_cancel` and poll until DONE, which comes soon and keeps in the
 * context what had entered it.
 *
 * It is what `realm_session_load` goes on from, in any process with the same model and guest, on any processor: the guest's
 * memory, session buffers, parameters and the KV cache so far, little-endian, with a version and a SHA-256. What is zero is
 * left out. It holds what was said in the session, and is not encrypted. Of what was rewound, or guessed in vain, keys and values are
 * left out; but nothing else is erased that nobody reads any more: token ids, the last logits, leftovers of the guest's stack and heap,
 * also of a parameter before. So a session that is opened anew has nothing of another, and one that is rewound may have.
 *
 * The same calls make the same bytes, on any CPU and under any budget. Sessions that came to the same conversation in
 * other ways, with drafts and without, say, go on equally, and their states differ in such leftovers.
 *
 * The first time a model's digest is needed it is computed, which reads the whole model (`realm_model_digest`).
 *
 * `data`, `capacity`: where the state goes, and for how many bytes there is room.
 * `bytes` receives its size, also if it does not fit.
 *
 * Threads: one at a time for a session.
 *
 * Returns `BUFFER_TOO_SMALL`, `STATE` while a turn is running, `UNSUPPORTED` for a guest that has registered models of its
 * own or has mutable globals that are no numbers, `BACKEND`, `NO_MEMORY`, `INVALID_ARGUMENT`.
 */
realm_status realm_session_save(realm_session *session,
                                void *data,
                                size_t capacity,
                                size_t *bytes,
                                realm_error *error);

/* As `realm_session_save`, to a callback, which is called with up to some thousand bytes at a time.
 *
 * `write`, `ctx`: takes the bytes, in order; `ctx` is its first argument.
 *
 * Threads: one at a time for a session.
 *
 * Returns what `write` returns if that is a status, and what `realm_session_save` returns.
 */
realm_status realm_session_save_to(realm_session *session,
                                   realm_write_fn write,
                                   void *ctx,
                                   realm_error *error);

/* Opens a session in a saved state: what follows is bit for bit what would have followed in the session that was saved.
 *
 * `options`: as for `realm_session_open`, with the guest that the state was saved with. Parameters in them replace those of
 * the state, if the guest takes them; those that are fixed when a session opens (`ctx`, …) may not differ. Limits hold for what
 * the state asks for.
 * `data`, `bytes`: the state, not needed afterwards. Nothing in it is trusted: a damaged or made-up one gives an error, or a
 * session that can do no more than any other.
 * `out` receives the session. Owns: the caller, until `realm_session_close`.
 *
 * The model may have another id than when it was saved, and so may further models that were in use (adapters), which have to be among
 * those of `options`. Statistics begin anew.
 *
 * Threads: any, at any time; the session may then be used by any one thread at a time.
 *
 * Returns `FORMAT` for what is no state, is cut short or damaged; `INVALID_ARGUMENT` for the state of another model or guest;
 * `NOT_FOUND` if a further model that was in use is not given, `ID_CONFLICT` if its id of then is given for another one;
 * `UNSUPPORTED` for one of another version of the format or another page layout; and what `realm_session_open` returns.
 */
realm_status realm_session_load(realm_runtime *runtime,
                                uint32_t model_id,
                                const realm_session_options *options,
                                const void *data,
                                size_t bytes,
                                realm_session **out,
                                realm_error *error);

/* As `realm_session_load`, from a callback. What comes behind the state is not asked for. Damage is found at the end, unless
 * it shows before, and may then be called something else than `FORMAT`.
 *
 * `options`: as for `realm_session_load`.
 * `read`, `ctx`: gives the bytes, in order; `ctx` is its first argument.
 * `out` receives the session. Owns: the caller, until `realm_session_close`.
 *
 * Threads: any, at any time; the session may then be used by any one thread at a time.
 *
 * Returns what `read` returns if that is a status, and what `realm_session_load` returns.
 */
realm_status realm_session_load_from(realm_runtime *runtime,
                                     uint32_t model_id,
                                     const realm_session_options *options,
                                     realm_read_fn read,
                                     void *ctx,
                                     realm_session **out,
                                     realm_error *error);

/* Copies the raw logits of the last evaluated position, one float per token of the vocabulary, in two calls. Zeros
 * before the first.
 *
 * `values`, `capacity`: where they go, and for how many there is room.
 * `count` receives how many there are, also if they do not fit.
 *
 * Threads: one at a time for a session.
 *
 * Returns `NOT_FOUND` if the guest has published none, `STATE` while a step is half done (after AGAIN) and after a
 * rewind until a step has run, `BUFFER_TOO_SMALL`, `INVALID_ARGUMENT`, and the first failure of a session that has
 * failed.
 */
realm_status realm_session_logits(realm_session *session,
                                  float *values,
                                  size_t capacity,
                                  size_t *count,
                                  realm_error *error);

/* Says which tokens the model finds most probable behind the last evaluated position, best first, and how probable: the natural
 * logarithm, at most 0, before bias, penalties, temperature and other samplers, as `realm_event.logprob` is. Right behind a TOKEN they
 * are what that token was chosen among, unless `draft_max` or a stop string has tokens come later than they are evaluated.
 *
 * `ids`, `logprobs`, `capacity`: where they go, and for how many there is room in each.
 * `count` receives how many there are: `capacity`, or all of the vocabulary.
 *
 * Threads: one at a time for a session.
 *
 * Returns `NO_MEMORY` for a copy of the logits, and what `realm_session_logits` does but `BUFFER_TOO_SMALL`.
 */
realm_status realm_session_top_logprobs(realm_session *session,
                                        int32_t *ids,
                                        float *logprobs,
                                        size_t capacity,
                                        size_t *count,
                                        realm_error *error);

/* Copies the embedding of the last turn's input, in two calls, of a model that makes embeddings instead of text, or is asked to by the
 * parameter `pooling` of the library's guest: such a turn ends with LENGTH and has no tokens, and its input replaces the one before.
 * Zeros before the first.
 *
 * `values`, `capacity`: where its elements go, and for how many there is room.
 * `count` receives how many there are, also if they do not fit.
 *
 * Threads: one at a time for a session.
 *
 * Returns what `realm_session_logits` does; and `STATE` from the beginning of a turn on, and after a rewind, until a turn has
 * come to its end: one that was cancelled or failed leaves none, not even that of the input before.
 */
realm_status realm_session_embedding(realm_session *session,
                                     float *values,
                                     size_t capacity,
                                     size_t *count,
                                     realm_error *error);

/* Makes the embedding of an input, in one call: begins a turn with it as `realm_session_prompt` does, polls to the turn's end, and
 * copies what `realm_session_embedding` would. For models that make embeddings. Parameters of the library's guest say how rows are
 * pooled and how the vector is scaled: `pooling`, with which any model makes embeddings, and `embd_normalize`.
 *
 * `kind`: `REALM_INPUT_TEXT` or `REALM_INPUT_IDS`.
 * `data`, `bytes`: the input.
 * `values`, `capacity`: where the elements go, and for how many there is room; written when all has gone well, and as it was if
 * not. It may be the memory that `data` is in.
 * `count` receives how many there are, also if they do not fit; nothing is computed then, so that a capacity of 0 asks for it.
 *
 * Threads: one at a time for a session. `realm_session_cancel` ends it.
 *
 * Returns `INVALID_ARGUMENT` for another kind, `NOT_FOUND` if the model makes no embeddings, `BUFFER_TOO_SMALL`, `CANCELLED`,
 * and what `realm_session_prompt` and `realm_session_poll` do. Without OK, `realm_session_embedding` has none either once the turn
 * has begun.
 */
realm_status realm_session_embed(realm_session *session,
                                 uint32_t kind,
                                 const void *data,
                                 size_t bytes,
                                 float *values,
                                 size_t capacity,
                                 size_t *count,
                                 realm_error *error);

/* ============================================================================================
 * The CPU port: which instructions it uses.
 * ============================================================================================ */

/* The level of instructions that the backend `"cpu"` uses in programs prepared from now on.
 *
 * Valid until the library is unloaded.
 *
 * Threads: any, at any time.
 *
 * Returns `"scalar"`, `"avx2"`, `"avxvnni"`, `"avx512"`, `"neon"`, `"neon-dotprod"` or `"neon-i8mm"`, NUL-terminated; NULL
 * in a library without the CPU port.
 */
const char *realm_cpu_isa(void);

/* Makes the whole process use another level, for tests and measurements: results do not change, only speed does. Sessions
 * that are open keep what they have until their guest records its next program.
 *
 * `name`, `name_bytes`: a level that `realm_cpu_isa` knows, without a terminating zero; 0 bytes: the best of this machine.
 *
 * Threads: any, at any time.
 *
 * Returns `NOT_FOUND` for a name that is not a level, `UNSUPPORTED` where the machine does not have it and, for every
 * name, in a library without the CPU port, `INVALID_ARGUMENT` for NULL with a length or what is not UTF-8.
 */
realm_status realm_cpu_force_isa(const char *name,
                                 size_t name_bytes,
                                 realm_error *error);

/* ============================================================================================
 * Modules of your own: any WebAssembly, sandboxed, apart from models and sessions.
 * ============================================================================================ */

/* `realm_wasm_value.type`: a 32-bit integer, `i` in signatures. */
#define REALM_WASM_I32 1

/* `realm_wasm_value.type`: a 64-bit integer, `I` in signatures. */
#define REALM_WASM_I64 2

/* `realm_wasm_value.type`: a 32-bit float, `f` in signatures. */
#define REALM_WASM_F32 3

/* `realm_wasm_value.type`: a 64-bit float, `F` in signatures. */
#define REALM_WASM_F64 4

/* `realm_wasm_module_options.flags`: refuse what came after draft 1.1 of the specification, which is 1.0 with
 * mutable globals, sign extension, saturating conversions and several results.
 */
#define REALM_WASM_ONLY_1_1 1

/* `realm_wasm_module_options.flags`: take a module that has `table.grow`. Each one that runs leaves some 200 bytes on the
 * thread's stack until the call ends, so a module that loops over it on purpose overflows the stack: only for modules that are
 * trusted. Without it they are refused. (Builds whose interpreter is a loop, as for microcontrollers, take them anyway.)
 */
#define REALM_WASM_TABLE_GROW 2

/* The most parameters, or results, of a function that is called or given from C. */
#define REALM_WASM_MAX_VALUES 32

/* An instance of a module: its memory, globals and tables. */
typedef struct realm_wasm_instance realm_wasm_instance;

/* A validated and translated module, shared by any number of instances.
 *
 * What is run: WebAssembly 2.0 without SIMD (1.0 with mutable globals, sign extension, saturating conversions, several results, bulk
 * memory and reference types, these not as arguments or results in C), and tail calls and extended constants. Not 64-bit or several
 * memories, threads, exceptions, typed function references, garbage collection.
 */
typedef struct realm_wasm_module realm_wasm_module;

/* What a module is loaded with. Zero is the default for every field but the first two. */
typedef struct realm_wasm_module_options {
    /* Size of the caller's struct in bytes. Set by `REALM_WASM_MODULE_OPTIONS_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_WASM_MODULE_OPTIONS_INIT`. */
    uint32_t abi_version;
    /* Reserved for extensions; NULL. */
    const void *next;
    /* Reserved; NULL. */
    void *ctx;
    /* (optional) A module whose instances are to be linked with this one's. The two share stack limits and flags,
     * which must be 0 here, and their translated code is freed when both are gone. NULL: a module on its own.
     */
    const realm_wasm_module *beside;
    /* Bytes of the module at most. 0: 16 MiB. */
    uint64_t max_module_bytes;
    /* Bytes that locals and operands of nested calls may take, 4 KiB to 1 GiB; more is a trap. 0: 1 MiB. */
    uint64_t max_stack_bytes;
    /* Nested calls at most, up to 1000000; more is a trap. Each takes some 32 bytes beside its locals and operands. 0: 10000.
     */
    uint32_t max_call_depth;
    /* `REALM_WASM_ONLY_1_1` and `REALM_WASM_TABLE_GROW`, or'ed; 0. */
    uint32_t flags;
} realm_wasm_module_options;

/* The number in a `realm_wasm_value`. Signedness is the reader's affair, as in WebAssembly. */
typedef union realm_wasm_number {
    /* With `REALM_WASM_I32`. */
    int32_t i32;
    /* With `REALM_WASM_I64`. */
    int64_t i64;
    /* With `REALM_WASM_F32`. */
    float f32;
    /* With `REALM_WASM_F64`. */
    double f64;
} realm_wasm_number;

/* A value of a WebAssembly type. */
typedef struct realm_wasm_value {
    /* `REALM_WASM_I32`, `_I64`, `_F32` or `_F64`. */
    uint32_t type;
    /* 0. */
    uint32_t reserved;
    /* The number. */
    realm_wasm_number of;
} realm_wasm_value;

/* A function of the application's that a module imports.
 *
 * `ctx`: that of the `realm_wasm_import`.
 * `caller`: stands for the instance that calls, until the function returns. It, or the instance itself, may be given to the
 * functions for memory and fuel, and the instance also to those for globals. What finds or calls functions, or creates an
 * instance that is linked with this one, returns `STATE`. Instances that are not linked with it may be used freely.
 * `args`: as many values as the signature has parameters; valid until the function returns.
 * `results`: as many as it has results; zeros of the right types, of which only `of` is to be written.
 *
 * It may not unwind or `longjmp`.
 *
 * Threads: called on the thread that calls the module.
 *
 * Returns 0, or another number to end the call: a `REALM_STATUS_` is what `realm_wasm_call` then returns; for any other
 * number it returns `GUEST` with the number in its message.
 */
typedef int32_t (*realm_wasm_host_fn)(void *ctx,
                                      realm_wasm_instance *caller,
                                      const realm_wasm_value *args,
                                      realm_wasm_value *results);

/* A host function and the import it answers. The texts are not needed after the call that takes them. */
typedef struct realm_wasm_import {
    /* The import's module, NUL-terminated UTF-8. */
    const char *module;
    /* The import's name, NUL-terminated UTF-8. */
    const char *name;
    /* Results, or `v` for none, then parameters in parentheses, one letter each: `i(iI)` takes a 32-bit and a
     * 64-bit integer and returns a 32-bit one. NUL-terminated. At most `REALM_WASM_MAX_VALUES` of each.
     */
    const char *signature;
    /* What is called. */
    realm_wasm_host_fn call;
    /* First argument of `call`. What it points to must live as long as the instance and those linked with it. */
    void *ctx;
} realm_wasm_import;

/* An instance whose exports another may import. */
typedef struct realm_wasm_peer {
    /* The module that imports call it, NUL-terminated UTF-8; not needed after the call that takes it. */
    const char *name;
    /* The instance. Its handle may be destroyed before the new one's. */
    const realm_wasm_instance *instance;
} realm_wasm_peer;

/* What an instance is created with. Zero is the default for every field but the first two.
 *
 * Fuel and limits are those of all instances that are linked with each other, together: with peers they
 * must be 0.
 */
typedef struct realm_wasm_options {
    /* Size of the caller's struct in bytes. Set by `REALM_WASM_OPTIONS_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_WASM_OPTIONS_INIT`. */
    uint32_t abi_version;
    /* Reserved for extensions; NULL. */
    const void *next;
    /* Reserved; NULL. */
    void *ctx;
    /* Host functions; more than the module imports are fine. The array is not needed after the call. */
    const realm_wasm_import *imports;
    /* How many there are. */
    size_t import_count;
    /* Instances whose exports may be imported; all linked with each other already. Asked after `imports`. The array is not
     * needed after the call.
     */
    const realm_wasm_peer *peers;
    /* How many there are. */
    size_t peer_count;
    /* Fuel to begin with, about one per instruction, and per 64 bytes of segments that are written to what a peer offers. 0: 4000000000,
     * some seconds. `UINT64_MAX` lasts for centuries.
     */
    uint64_t fuel;
    /* Bytes of linear memory at most. 0: 16 MiB. */
    uint64_t max_memory_bytes;
    /* Elements of tables at most. 0: 65536. */
    uint64_t max_table_elements;
} realm_wasm_options;

/* Validates and translates a module.
 *
 * A call of a module takes a few KiB of the calling thread's stack, up to 192 KiB more if the module has `memory.grow`. It may
 * have that in at most 256 places of its code, and is then interpreted in short slices, up to half as fast. Constant expressions
 * have at most 128 operators; calls, blocks and branches move at most as many values, in all, as the module has bytes, and 131072
 * more; all functions have at most as many locals as the module has bytes, and 4194304 more.
 *
 * `wasm`, `bytes`: the module in binary form; not needed afterwards.
 * `options`: NULL is the default.
 * `out` receives the module. Owns: the caller, until `realm_wasm_module_unload`.
 *
 * Threads: any, at any time. Takes some milliseconds per 100 KB.
 *
 * Returns `FORMAT` for what is malformed, invalid, or uses what this build or `REALM_WASM_ONLY_1_1` leaves out;
 * `UNSUPPORTED` for `table.grow` without `REALM_WASM_TABLE_GROW`; `LIMIT`, `NO_MEMORY`, `INVALID_ARGUMENT`.
 */
realm_status realm_wasm_module_load(const void *wasm,
                                    size_t bytes,
                                    const realm_wasm_module_options *options,
                                    realm_wasm_module **out,
                                    realm_error *error);

/* Gives a module back. Its instances go on.
 *
 * `module`: NULL is fine; nothing happens.
 *
 * Threads: any; no other thread may be using the handle.
 */
void realm_wasm_module_unload(realm_wasm_module *module);

/* Makes an instance of a module: looks up its imports, writes its segments, runs its start function.
 *
 * `module`: what is instantiated; the handle may be unloaded afterwards.
 * `options`: NULL is the default, for a module that imports nothing.
 * `out` receives the instance. Owns: the caller, until `realm_wasm_instance_destroy`.
 *
 * Threads: any, several at a time also for one module; with peers one at a time for all that are linked with them.
 *
 * Returns `NOT_FOUND` for an import that nobody offers; `FORMAT` if it is offered with another type (nothing has been written
 * then); `LIMIT`; what `realm_wasm_call` returns, for the start function, and `GUEST` for a segment that is too long for its table or
 * memory: what is before it has been written, to those of peers too. (With `REALM_WASM_ONLY_1_1` that is `FORMAT`, and nothing has
 * been written.) `STATE` from a host function of a peer; `NO_MEMORY`, `INVALID_ARGUMENT`.
 */
realm_status realm_wasm_instance_create(const realm_wasm_module *module,
                                        const realm_wasm_options *options,
                                        realm_wasm_instance **out,
                                        realm_error *error);

/* Destroys an instance. Memory is freed with the last of the instances that are linked with each other.
 *
 * `instance`: NULL is fine; so is the `caller` of a host function, which is left as it is.
 *
 * Threads: one at a time for instances that are linked with each other.
 */
void realm_wasm_instance_destroy(realm_wasm_instance *instance);

/* Finds an exported function.
 *
 * `name`, `name_bytes`: its name in UTF-8, not terminated.
 * `function` receives its number, which is the same in all instances of a module.
 *
 * Threads: one at a time for instances that are linked with each other.
 *
 * Returns `NOT_FOUND`; `UNSUPPORTED` if it takes or returns references or vectors; `STATE` from a host
 * function; `INVALID_ARGUMENT`.
 */
realm_status realm_wasm_find(const realm_wasm_instance *instance,
                             const char *name,
                             size_t name_bytes,
                             uint32_t *function,
                             realm_error *error);

/* The signature of an exported function, as in `realm_wasm_import`, in two calls.
 *
 * `function`: what `realm_wasm_find` gave.
 * `dst`, `capacity`: where the text goes, and for how many bytes there is room.
 * `bytes` receives its length, also if it does not fit; without the terminating zero that is added where there is room.
 *
 * Threads: one at a time for instances that are linked with each other.
 *
 * Returns `BUFFER_TOO_SMALL`, `NOT_FOUND`, `INVALID_ARGUMENT`; `STATE` from a host function.
 */
realm_status realm_wasm_signature(const realm_wasm_instance *instance,
                                  uint32_t function,
                                  char *dst,
                                  size_t capacity,
                                  size_t *bytes,
                                  realm_error *error);

/* Calls an exported function, to its end.
 *
 * `function`: what `realm_wasm_find` gave.
 * `args`, `arg_count`: as many as it has parameters, of their types.
 * `results`, `result_count`: receives as many as it has, with their types. It may be the array of `args`.
 *
 * Threads: one at a time for instances that are linked with each other. Host functions are called on this thread.
 *
 * Returns `GUEST` for a trap: the message says which. There is no backtrace, as the interpreter keeps none. The
 * instance may be called again, in whatever state the trap left it. `LIMIT` if the fuel is used up: the call is
 * lost, and later ones need `realm_wasm_add_fuel`. What a host function ended the call with. `INVALID_ARGUMENT`
 * for other arguments or counts than the function has. `STATE` from a host function of this instance or one that is
 * linked with it. `NOT_FOUND`, `NO_MEMORY`.
 */
realm_status realm_wasm_call(const realm_wasm_instance *instance,
                             uint32_t function,
                             const realm_wasm_value *args,
                             size_t arg_count,
                             realm_wasm_value *results,
                             size_t result_count,
                             realm_error *error);

/* Reads an exported global.
 *
 * `name`, `name_bytes`: its name in UTF-8, not terminated.
 * `value` receives its type and number.
 *
 * Threads: one at a time for instances that are linked with each other.
 *
 * Returns `NOT_FOUND`; `UNSUPPORTED` if it is a reference; `STATE` for a host function's `caller`; `INVALID_ARGUMENT`.
 */
realm_status realm_wasm_global_get(const realm_wasm_instance *instance,
                                   const char *name,
                                   size_t name_bytes,
                                   realm_wasm_value *value,
                                   realm_error *error);

/* Writes an exported global.
 *
 * `name`, `name_bytes`: its name in UTF-8, not terminated.
 * `value`: the number, of the global's type.
 *
 * Threads: one at a time for instances that are linked with each other.
 *
 * Returns `NOT_FOUND`; `INVALID_ARGUMENT` if it is constant or of another type; `STATE` for a host function's
 * `caller`.
 */
realm_status realm_wasm_global_set(const realm_wasm_instance *instance,
                                   const char *name,
                                   size_t name_bytes,
                                   const realm_wasm_value *value,
                                   realm_error *error);

/* The size of an instance's memory: of the export `memory`, else of the first export that is a memory.
 *
 * `bytes` receives it.
 *
 * Threads: one at a time for instances that are linked with each other.
 *
 * Returns `NOT_FOUND` if it exports none; `INVALID_ARGUMENT`.
 */
realm_status realm_wasm_memory_size(const realm_wasm_instance *instance,
                                    uint64_t *bytes,
                                    realm_error *error);

/* Copies bytes out of an instance's memory (`realm_wasm_memory_size` says which), all or none.
 *
 * `offset`: where they begin.
 * `dst`, `bytes`: where they go, and how many; 0 is fine, within the memory.
 *
 * Threads: one at a time for instances that are linked with each other.
 *
 * Returns `INVALID_ARGUMENT` if they are not all inside; `NOT_FOUND` if it exports no memory.
 */
realm_status realm_wasm_memory_read(const realm_wasm_instance *instance,
                                    uint64_t offset,
                                    void *dst,
                                    size_t bytes,
                                    realm_error *error);

/* Copies bytes into an instance's memory (`realm_wasm_memory_size` says which), all or none.
 *
 * `offset`: where they go.
 * `src`, `bytes`: the bytes, and how many; 0 is fine, within the memory.
 *
 * Threads: one at a time for instances that are linked with each other.
 *
 * Returns `INVALID_ARGUMENT` if they do not all fit; `NOT_FOUND` if it exports no memory.
 */
realm_status realm_wasm_memory_write(const realm_wasm_instance *instance,
                                     uint64_t offset,
                                     const void *src,
                                     size_t bytes,
                                     realm_error *error);

/* Grows an instance's memory (`realm_wasm_memory_size` says which). What is added is zero.
 *
 * `pages`: how many pages of 64 KiB are added; 0 is fine.
 * `old_bytes` (optional) receives the size before.
 *
 * Threads: one at a time for instances that are linked with each other.
 *
 * Returns `LIMIT` if it would be larger than its own maximum, `max_memory_bytes`, or what the system gives;
 * `NOT_FOUND` if it exports no memory.
 */
realm_status realm_wasm_memory_grow(const realm_wasm_instance *instance,
                                    uint64_t pages,
                                    uint64_t *old_bytes,
                                    realm_error *error);

/* The fuel that an instance, and those linked with it, have left.
 *
 * `fuel` receives it; about one per instruction.
 *
 * Threads: one at a time for instances that are linked with each other.
 *
 * Returns `INVALID_ARGUMENT` for a NULL, `STATE` while another thread calls one of them.
 */
realm_status realm_wasm_fuel(const realm_wasm_instance *instance,
                             uint64_t *fuel,
                             realm_error *error);

/* Gives an instance, and those linked with it, more fuel; the sum ends at `UINT64_MAX`.
 *
 * `more`: about one per instruction; 0 is fine.
 *
 * Threads: one at a time for instances that are linked with each other.
 *
 * Returns what `realm_wasm_fuel` does.
 */
realm_status realm_wasm_add_fuel(const realm_wasm_instance *instance,
                                 uint64_t more,
                                 realm_error *error);

/* ============================================================================================
 * Initialisers: `NAME x = NAME_INIT;`, all zero but the size and the version.
 * ============================================================================================ */

#ifndef REALM_INIT_
#ifdef __cplusplus
extern "C++" {
/* What REALM_INIT_ stands for in C++. */
template <class T> inline T realm_init_() {
    T value = T();
    value.struct_size = static_cast<uint32_t>(sizeof(T));
    value.abi_version = REALM_ABI_VERSION;
    return value;
}
}
/* For the macros below. */
#define REALM_INIT_(type) realm_init_<type>()
#else
/* For the macros below. */
#define REALM_INIT_(type) {.struct_size = (uint32_t)sizeof(type), .abi_version = REALM_ABI_VERSION}
#endif
#endif
/* For a realm_model_limits. */
#define REALM_MODEL_LIMITS_INIT REALM_INIT_(realm_model_limits)
/* For a realm_model_source. */
#define REALM_MODEL_SOURCE_INIT REALM_INIT_(realm_model_source)
/* For a realm_model_info. */
#define REALM_MODEL_INFO_INIT REALM_INIT_(realm_model_info)
/* For a realm_tensor_info. */
#define REALM_TENSOR_INFO_INIT REALM_INIT_(realm_tensor_info)
/* For a realm_runtime_options. */
#define REALM_RUNTIME_OPTIONS_INIT REALM_INIT_(realm_runtime_options)
/* For a realm_session_options. */
#define REALM_SESSION_OPTIONS_INIT REALM_INIT_(realm_session_options)
/* For a realm_event. */
#define REALM_EVENT_INIT REALM_INIT_(realm_event)
/* For a realm_session_stats. */
#define REALM_SESSION_STATS_INIT REALM_INIT_(realm_session_stats)
/* For a realm_memory_plan. */
#define REALM_MEMORY_PLAN_INIT REALM_INIT_(realm_memory_plan)
/* For a realm_wasm_module_options. */
#define REALM_WASM_MODULE_OPTIONS_INIT REALM_INIT_(realm_wasm_module_options)
/* For a realm_wasm_options. */
#define REALM_WASM_OPTIONS_INIT REALM_INIT_(realm_wasm_options)

#ifdef __cplusplus
}
#endif

#endif /* REALM_H */
