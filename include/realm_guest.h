/* realm_guest.h: what a guest written in C imports and exports.
 *
 * A guest is a WebAssembly module that decides policy (architecture, graph, chat format, sampling) for
 * one session; it never holds weights, activations or the KV cache. The contract, with every rule, is
 * guest/ABI.md; this file is its spelling in C99. Version 0.2.
 *
 * Build without a C library:
 *
 *   clang --target=wasm32 -std=c99 -O2 -nostdlib -Wl,--no-entry -o my_guest.wasm my_guest.c
 *
 * The module must export its memory (wasm-ld does) and the two functions at the end of this file.
 *
 * Conventions. Pointers are offsets in the guest's own memory; the host checks each pointer with its
 * length and answers REALM_GUEST_INVALID_ARGUMENT to a bad pair, never with a trap. A function that
 * returns int32_t returns a negative status on failure, else the result its comment names. Text is
 * UTF-8 with a length, without a terminating zero. Functions that give text or bytes of unknown size
 * copy at most the room given and return the full size: call again with more room. All integers in
 * structures are little-endian, as in WebAssembly itself.
 */
#ifndef REALM_GUEST_H
#define REALM_GUEST_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define REALM_GUEST_ABI_MAJOR 0
#define REALM_GUEST_ABI_MINOR 2
#define REALM_GUEST_ABI ((REALM_GUEST_ABI_MAJOR << 16) | REALM_GUEST_ABI_MINOR)

#if defined(__wasm__)
#define REALM_GUEST_IMPORT(name) __attribute__((import_module("realm"), import_name(#name))) extern
#define REALM_GUEST_EXPORT(name) __attribute__((export_name(#name), visibility("default")))
#else
#define REALM_GUEST_IMPORT(name) extern
#define REALM_GUEST_EXPORT(name)
#endif

/* Statuses: the numbers of realm_status in realm.h. */
enum {
    REALM_GUEST_OK = 0,
    REALM_GUEST_INVALID_ARGUMENT = -1,
    REALM_GUEST_NO_MEMORY = -2,
    REALM_GUEST_NOT_FOUND = -3,
    REALM_GUEST_ID_CONFLICT = -4,
    REALM_GUEST_FORMAT = -5,
    REALM_GUEST_UNSUPPORTED = -6,
    REALM_GUEST_LIMIT = -7,
    REALM_GUEST_STATE = -8,
    REALM_GUEST_BUFFER_TOO_SMALL = -12
};

/* Kinds of events; a and b of realm_guest_event in the comments. */
enum {
    REALM_GUEST_EVENT_OPEN = 1,   /* a: model id. Read metadata, create layers, buffers, programs */
    REALM_GUEST_EVENT_PROMPT = 2, /* a: kind of input, b: its length. Read it, submit a step */
    REALM_GUEST_EVENT_STEP = 3,   /* a: status of the step that ended. Read results, emit, go on */
    REALM_GUEST_EVENT_CANCEL = 4, /* forget the turn; completed positions stay */
    REALM_GUEST_EVENT_REWIND = 5, /* a: tokens that the context keeps. Forget the others */
    REALM_GUEST_EVENT_PARAMS = 6  /* between turns: refuse parameters that the next turn would; change nothing */
};

/* Kinds of input. */
enum {
    REALM_GUEST_INPUT_TEXT = 0, /* text to be continued as it stands */
    REALM_GUEST_INPUT_IDS = 1,  /* uint32_t token ids, verbatim; the length counts bytes */
    REALM_GUEST_INPUT_CHAT = 2  /* the content of a user's message */
};

/* What realm_guest_event returns, unless it is a negative status. */
enum {
    REALM_GUEST_CONTINUE = 0, /* a step was submitted, or the guest is idle */
    REALM_GUEST_END_EOS = 1,
    REALM_GUEST_END_STOP = 2,
    REALM_GUEST_END_LENGTH = 3,
    REALM_GUEST_END_CONTEXT = 4
};

/* Types of metadata values (GGUF's numbers). */
enum {
    REALM_GUEST_META_U32 = 4,
    REALM_GUEST_META_I32 = 5,
    REALM_GUEST_META_F32 = 6,
    REALM_GUEST_META_BOOL = 7, /* one byte */
    REALM_GUEST_META_STRING = 8,
    REALM_GUEST_META_ARRAY_LENGTH = 9, /* with index -1: the array's length as uint64_t */
    REALM_GUEST_META_U64 = 10,
    REALM_GUEST_META_I64 = 11,
    REALM_GUEST_META_F64 = 12
};

/* Types of buffers, values and cache layers (ggml's numbers). */
enum {
    REALM_GUEST_F32 = 0,
    REALM_GUEST_F16 = 1,
    REALM_GUEST_Q8_0 = 8,
    REALM_GUEST_I32 = 26
};

/* ---- Structures -------------------------------------------------------------------------------- */

/* Facts about a registered model. 64 bytes. */
typedef struct realm_guest_model_info {
    uint64_t file_bytes;
    uint64_t parameter_count;
    uint32_t tensor_count;
    uint32_t kv_count;
    uint32_t part_count;
    uint32_t flags; /* bit 0: sha256 is valid */
    uint8_t sha256[32];
} realm_guest_model_info;

/* A tensor of a model's directory. 40 bytes. */
typedef struct realm_guest_tensor_info {
    uint32_t type; /* ggml type id */
    uint32_t n_dims;
    uint64_t ne[4]; /* elements per dimension, ne[0] along a row */
} realm_guest_tensor_info;

/* Facts about a vocabulary. 28 bytes. Tokens that do not exist are -1. */
typedef struct realm_guest_vocab_info {
    uint32_t n_tokens;
    int32_t bos;
    int32_t eos;
    int32_t eot;
    int32_t unk;
    int32_t pad;
    uint32_t flags; /* bit 0: adds BOS; bit 1: adds EOS */
} realm_guest_vocab_info;

/* One cache layer, for realm_kv_create. 28 bytes. */
typedef struct realm_guest_kv_desc {
    uint32_t type; /* REALM_GUEST_F32, _F16 or _Q8_0 */
    uint32_t n_head_kv;
    uint32_t head_dim_k;
    uint32_t head_dim_v;
    uint32_t max_positions;
    uint32_t group;  /* layers of a group share a page table */
    uint32_t window; /* attention window in positions; 0: unlimited */
} realm_guest_kv_desc;

/* ---- Programs: header, registers, values, operations, back to back ------------------------------ */

#define REALM_GUEST_PROGRAM_MAGIC 0x47525052u /* "RPRG" */

/* 32 bytes. */
typedef struct realm_guest_program_header {
    uint32_t magic;
    uint16_t major;
    uint16_t minor;
    uint32_t reg_count;
    uint32_t value_count;
    uint32_t op_count;
    uint32_t model_id;
    uint32_t reserved[2];
} realm_guest_program_header;

/* A number that may differ from step to step, within its bounds. 16 bytes. */
typedef struct realm_guest_reg {
    uint32_t min;
    uint32_t max;
    int32_t stride; /* added between repeats of one step */
    uint32_t reserved;
} realm_guest_reg;

/* An intermediate [rows, cols] in memory that the host plans. 16 bytes. */
typedef struct realm_guest_value {
    uint32_t type; /* REALM_GUEST_F32 or _I32 */
    uint32_t cols;
    uint32_t rows; /* a constant, or REALM_GUEST_REG(i) */
    uint32_t flags;
} realm_guest_value;

/* One operation. 128 bytes. */
typedef struct realm_guest_op {
    uint16_t code;
    uint16_t flags;
    uint32_t dst;
    uint32_t src[10];
    uint32_t param[20];
} realm_guest_op;

/* A dimension that is register i. */
#define REALM_GUEST_REG(i) (0x80000000u | (uint32_t)(i))

/* Operands. */
#define REALM_GUEST_NONE 0u
#define REALM_GUEST_WEIGHT(tensor) ((1u << 28) | (uint32_t)(tensor))
#define REALM_GUEST_VALUE(i) ((2u << 28) | (uint32_t)(i))
#define REALM_GUEST_BUFFER(handle) ((3u << 28) | (uint32_t)(handle))
#define REALM_GUEST_KV(handle) ((4u << 28) | (uint32_t)(handle))

/* Codes; sources, parameters and meaning are in guest/ABI.md. */
enum {
    REALM_GUEST_OP_GET_ROWS = 1,
    REALM_GUEST_OP_RMS_NORM = 2,
    REALM_GUEST_OP_NORM = 3,
    REALM_GUEST_OP_MUL_MAT = 4,
    REALM_GUEST_OP_MUL_MAT_ID = 5,
    REALM_GUEST_OP_ROPE = 6,
    REALM_GUEST_OP_FLASH_ATTN_EXT = 7,
    REALM_GUEST_OP_GLU = 8,
    REALM_GUEST_OP_UNARY = 9,
    REALM_GUEST_OP_ADD = 10,
    REALM_GUEST_OP_MUL = 11,
    REALM_GUEST_OP_SCALE = 12,
    REALM_GUEST_OP_SOFTCAP = 13,
    REALM_GUEST_OP_CPY = 14,
    REALM_GUEST_OP_VIEW_COLS = 15,
    REALM_GUEST_OP_ARGMAX = 16,
    REALM_GUEST_OP_TOP_K = 17,
    REALM_GUEST_OP_LOGIT_BIAS = 18,
    REALM_GUEST_OP_PENALTIES = 19,
    REALM_GUEST_OP_MASK = 20,
    REALM_GUEST_OP_LOGSUMEXP = 21,
    REALM_GUEST_OP_SOFT_MAX = 22,
    REALM_GUEST_OP_WEIGHTED_SUM = 23,
    REALM_GUEST_OP_SSM_CONV = 24,
    REALM_GUEST_OP_CONCAT = 25,
    REALM_GUEST_OP_SUM_ROWS = 26,
    REALM_GUEST_OP_DIV = 27,
    REALM_GUEST_OP_GATHER = 28
};

/* ---- Store ------------------------------------------------------------------------------------- */

/* Registers GGUF bytes of guest memory under id (0: derived from their SHA-256) and writes the id to
 * *id_out. The bytes are copied, and counted against the session's model quota. */
REALM_GUEST_IMPORT(realm_store_model)
int32_t realm_store_model(const void *bytes, uint32_t len, uint32_t id, uint32_t *id_out);

/* Takes back one registration that this guest made. */
REALM_GUEST_IMPORT(realm_remove_model)
int32_t realm_remove_model(uint32_t id);

/* Writes at most len bytes of a model's facts. Returns sizeof(realm_guest_model_info). */
REALM_GUEST_IMPORT(realm_get_model_info)
int32_t realm_get_model_info(uint32_t id, realm_guest_model_info *dst, uint32_t len);

/* Dequantizes rows of ne[0] elements to f32; row_count 0: all from row_first. Returns the rows. */
REALM_GUEST_IMPORT(realm_get_tensor)
int32_t realm_get_tensor(uint32_t id, const char *name, uint32_t name_len, uint32_t row_first,
                         uint32_t row_count, float *dst, uint32_t dst_bytes);

/* ---- Model facts ------------------------------------------------------------------------------- */

/* Reads a metadata value as the GGUF type given; index -1: the scalar, else an element of an array.
 * Returns its size in bytes. REALM_GUEST_NOT_FOUND if the key is missing. */
REALM_GUEST_IMPORT(realm_meta_get)
int32_t realm_meta_get(uint32_t id, const char *key, uint32_t key_len, int32_t index, uint32_t type,
                       void *dst, uint32_t dst_bytes);

/* Returns the handle of the tensor of this name. */
REALM_GUEST_IMPORT(realm_tensor_find)
int32_t realm_tensor_find(uint32_t id, const char *name, uint32_t name_len);

/* Writes at most len bytes about a tensor. Returns sizeof(realm_guest_tensor_info). The import is called
 * realm_tensor_info; in C that is the name of a struct of realm.h. */
REALM_GUEST_IMPORT(realm_tensor_info)
int32_t realm_tensor_describe(uint32_t id, uint32_t handle, realm_guest_tensor_info *dst, uint32_t len);

/* Writes at most len bytes about the vocabulary. Returns sizeof(realm_guest_vocab_info). */
REALM_GUEST_IMPORT(realm_vocab_info)
int32_t realm_vocab_info(uint32_t id, realm_guest_vocab_info *dst, uint32_t len);

/* Flags of realm_tokenize. */
enum { REALM_GUEST_ADD_SPECIAL = 1, REALM_GUEST_PARSE_SPECIAL = 2 };

/* Writes at most dst_count ids. Returns how many there are. */
REALM_GUEST_IMPORT(realm_tokenize)
int32_t realm_tokenize(uint32_t id, const char *text, uint32_t len, uint32_t flags, uint32_t *dst,
                       uint32_t dst_count);

/* Returns the token whose stored text is exactly this. */
REALM_GUEST_IMPORT(realm_token_find)
int32_t realm_token_find(uint32_t id, const char *text, uint32_t len);

/* Returns 1 if the token ends a generation, else 0. */
REALM_GUEST_IMPORT(realm_token_is_eog)
int32_t realm_token_is_eog(uint32_t id, uint32_t token);

/* The bytes that the token stands for, which need not be whole characters; none for control tokens. Writes at
 * most dst_bytes. Returns how many there are. Since 0.2. */
REALM_GUEST_IMPORT(realm_token_piece)
int32_t realm_token_piece(uint32_t id, uint32_t token, void *dst, uint32_t dst_bytes);

/* The streaming detokenizer: whole UTF-8 characters only. Each returns the bytes written; with too
 * little room (256 bytes always suffice, unless the token is longer) nothing is consumed. */
REALM_GUEST_IMPORT(realm_detok_reset)
int32_t realm_detok_reset(void);
REALM_GUEST_IMPORT(realm_detok_push)
int32_t realm_detok_push(uint32_t token, char *dst, uint32_t dst_bytes);
REALM_GUEST_IMPORT(realm_detok_flush)
int32_t realm_detok_flush(char *dst, uint32_t dst_bytes);

/* ---- Parameters, input, output ------------------------------------------------------------------ */

/* Copies the text of a parameter. Returns its size. REALM_GUEST_NOT_FOUND if it is not set. */
REALM_GUEST_IMPORT(realm_param_get)
int32_t realm_param_get(const char *key, uint32_t key_len, char *dst, uint32_t dst_bytes);

/* Copies the name of the index-th parameter that is set. Returns its size. */
REALM_GUEST_IMPORT(realm_param_key)
int32_t realm_param_key(uint32_t index, char *dst, uint32_t dst_bytes);

/* Copies from the pending input. Returns the bytes copied. */
REALM_GUEST_IMPORT(realm_input_read)
int32_t realm_input_read(uint32_t offset, void *dst, uint32_t dst_bytes);

/* Hands the host a token (-1: none) and text (may be empty), in order. */
REALM_GUEST_IMPORT(realm_emit)
int32_t realm_emit(int32_t token, const char *text, uint32_t len);

/* realm_detok_push and realm_emit in one: hands the host a token with the text that is complete after
 * it. If it fails, nothing is consumed. */
REALM_GUEST_IMPORT(realm_emit_token)
int32_t realm_emit_token(uint32_t token);

/* Says how probable the token is that is emitted next in this event: the bits of a float, the natural logarithm
 * of the probability that the model gave it. Since 0.2. */
REALM_GUEST_IMPORT(realm_logprob)
int32_t realm_logprob(uint32_t bits);

/* Lets the host read a session buffer; what 1: logits, f32, one row. */
REALM_GUEST_IMPORT(realm_publish)
int32_t realm_publish(uint32_t what, uint32_t buffer);

/* Prefill progress in tokens. */
REALM_GUEST_IMPORT(realm_progress)
int32_t realm_progress(uint32_t done, uint32_t total);

/* level 0 error, 1 warning, 2 information, 3 debug. */
REALM_GUEST_IMPORT(realm_log)
int32_t realm_log(uint32_t level, const char *text, uint32_t len);

/* The message for a negative return of realm_guest_event. */
REALM_GUEST_IMPORT(realm_fail)
int32_t realm_fail(const char *text, uint32_t len);

/* Monotonic nanoseconds; 0 unless the host granted a clock. */
REALM_GUEST_IMPORT(realm_clock_ns)
int64_t realm_clock_ns(void);

/* ---- Compute ------------------------------------------------------------------------------------ */

/* Returns the handle of a zeroed session buffer [rows, cols]. */
REALM_GUEST_IMPORT(realm_buffer_create)
int32_t realm_buffer_create(uint32_t type, uint32_t cols, uint32_t rows);
REALM_GUEST_IMPORT(realm_buffer_write)
int32_t realm_buffer_write(uint32_t handle, uint32_t offset, const void *src, uint32_t len);
REALM_GUEST_IMPORT(realm_buffer_read)
int32_t realm_buffer_read(uint32_t handle, uint32_t offset, void *dst, uint32_t len);

/* Returns the handle of a cache layer. */
REALM_GUEST_IMPORT(realm_kv_create)
int32_t realm_kv_create(const realm_guest_kv_desc *desc, uint32_t len);

/* Bytes that the layers created so far cost for so many positions. */
REALM_GUEST_IMPORT(realm_kv_bytes)
int64_t realm_kv_bytes(uint32_t positions);

/* Forgets keys and values at position and after. */
REALM_GUEST_IMPORT(realm_kv_truncate)
int32_t realm_kv_truncate(uint32_t position);

/* Validates and plans a program. Returns its handle; the bytes are not needed afterwards. */
REALM_GUEST_IMPORT(realm_program_create)
int32_t realm_program_create(const void *bytes, uint32_t len);
REALM_GUEST_IMPORT(realm_program_destroy)
int32_t realm_program_destroy(uint32_t handle);

/* Books the step that the host runs after this event; at most one. repeat is at least 1. */
REALM_GUEST_IMPORT(realm_step_submit)
int32_t realm_step_submit(uint32_t program, const uint32_t *regs, uint32_t reg_count, uint32_t repeat);

/* ---- Exports: the guest defines these ------------------------------------------------------------ */

/* Returns REALM_GUEST_ABI. */
REALM_GUEST_EXPORT(realm_guest_abi)
int32_t realm_guest_abi(void);

/* Handles one event. */
REALM_GUEST_EXPORT(realm_guest_event)
int32_t realm_guest_event(int32_t kind, int32_t a, int32_t b);

#ifdef __cplusplus
}
#endif

#endif /* REALM_GUEST_H */
