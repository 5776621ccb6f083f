/* realm_guest.h: what a guest written in C imports and exports.
 *
 * A guest is a WebAssembly module that decides policy (architecture, graph, chat format, sampling) for
 * one session; it never holds weights, activations or the KV cache. The contract, with every rule, is
 * guest/ABI.md; this file is its spelling in C99. Version 0.2.
 *
 * Build without a C library:
 *
 *   clang --target=wasm32 -std=c99 -O2 -ffreestanding -c my_guest.c
 *   wasm-ld --no-entry -o my_guest.wasm my_guest.o        (Debian calls it wasm-ld-19)
 *
 * The module must export its memory (wasm-ld does) and the two functions at the end of this file.
 *
 * Conventions. Pointers are offsets in the guest's own memory; the host checks each pointer with its
 * length and answers REALM_GUEST_INVALID_ARGUMENT to a bad pair, never with a trap. What is passed is
 * not needed after the call; nothing that the host gives has to be given back. A function that
 * returns int32_t returns a negative status on failure, else the result its comment names; besides the
 * statuses that are named there, any may return REALM_GUEST_INVALID_ARGUMENT, REALM_GUEST_NOT_FOUND
 * for an id or handle that is none, and REALM_GUEST_NO_MEMORY. Text is UTF-8 with a length, without a
 * terminating zero. Functions that give text or bytes of unknown size copy at most the room given and
 * return the full size: call again with more room. All integers in structures are little-endian, as in
 * WebAssembly itself.
 *
 * `id` is the session's model, which REALM_GUEST_EVENT_OPEN names, one that the host has granted the
 * session (a parameter says which), or one that the guest has registered itself. Handles (of tensors,
 * buffers, cache layers, programs) are small numbers from 0 on, per kind and per session; they stay
 * until the session ends, but for programs that are destroyed.
 *
 * A guest has one thread: its functions may be called whenever one of its events is being handled, and
 * at no other time. Each call costs fuel, and so do the bytes it moves.
 */
#ifndef REALM_GUEST_H
#define REALM_GUEST_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Major version of the guest ABI; a host with another one refuses the guest. */
#define REALM_GUEST_ABI_MAJOR 0

/* Minor version of the guest ABI; a host with a smaller one refuses the guest. */
#define REALM_GUEST_ABI_MINOR 2

/* What realm_guest_abi returns: major << 16 | minor. */
#define REALM_GUEST_ABI ((REALM_GUEST_ABI_MAJOR << 16) | REALM_GUEST_ABI_MINOR)

#if defined(__wasm__)
/* Declares an import from the module realm; for other compilers than those for WebAssembly a function of elsewhere. */
#define REALM_GUEST_IMPORT(name) __attribute__((import_module("realm"), import_name(#name))) extern
/* Exports what is defined after it. */
#define REALM_GUEST_EXPORT(name) __attribute__((export_name(#name), visibility("default")))
#else
/* Declares an import from the module realm; for other compilers than those for WebAssembly a function of elsewhere. */
#define REALM_GUEST_IMPORT(name) extern
/* Exports what is defined after it. */
#define REALM_GUEST_EXPORT(name)
#endif

/* Statuses: the numbers of realm_status in realm.h. A step may end with others of them, such as -10 for a backend that
 * failed. */
enum {
    REALM_GUEST_OK = 0,                /* Success. */
    REALM_GUEST_INVALID_ARGUMENT = -1, /* A pointer, length or number that cannot be. */
    REALM_GUEST_NO_MEMORY = -2,        /* The host has no memory for it. */
    REALM_GUEST_NOT_FOUND = -3,        /* Nothing has that name, id, handle or index. */
    REALM_GUEST_ID_CONFLICT = -4,      /* The id already names another model. */
    REALM_GUEST_FORMAT = -5,           /* Not a well-formed model or program. */
    REALM_GUEST_UNSUPPORTED = -6,      /* Well-formed, and nothing that this host knows. */
    REALM_GUEST_LIMIT = -7,            /* A limit of the session's would be exceeded. */
    REALM_GUEST_STATE = -8,            /* Not allowed now: no turn is running, or a step has been submitted. */
    REALM_GUEST_BUFFER_TOO_SMALL = -12 /* Too little room for what is given whole or not at all. */
};

/* Kinds of events: what realm_guest_event is called with. a and b are 0 where nothing is said of them. */
enum {
    REALM_GUEST_EVENT_OPEN = 1,   /* a: model id. Read metadata and parameters, create layers, buffers, programs. */
    REALM_GUEST_EVENT_PROMPT = 2, /* a: kind of input, b: its length in bytes. Read it, submit a step. */
    REALM_GUEST_EVENT_STEP = 3,   /* a: 0, or the status that the step failed with. Read results, emit, go on. */
    REALM_GUEST_EVENT_CANCEL = 4, /* Forget the turn; the positions of the steps that completed stay. */
    REALM_GUEST_EVENT_REWIND = 5, /* a: tokens that the context keeps. Forget the others. Since 0.2. */
    REALM_GUEST_EVENT_PARAMS = 6, /* Between turns: refuse parameters that the next turn would; change nothing. Since 0.2. */
    REALM_GUEST_EVENT_RECORD = 7  /* Before the first turn: publish a recipe, or refuse. Since 0.2. */
};

/* Kinds of input: a of REALM_GUEST_EVENT_PROMPT. */
enum {
    REALM_GUEST_INPUT_TEXT = 0, /* UTF-8 to be continued as it stands. */
    REALM_GUEST_INPUT_IDS = 1,  /* uint32_t token ids, verbatim; the length counts bytes. */
    REALM_GUEST_INPUT_CHAT = 2, /* UTF-8, the content of a user's message. */
    REALM_GUEST_INPUT_MESSAGES = 3, /* UTF-8, a conversation: a JSON array of messages. */
    REALM_GUEST_INPUT_REPLY = 4, /* UTF-8, what the assistant says next. */
    REALM_GUEST_INPUT_PARSE = 5  /* Nothing: tell what the last reply says. */
};

/* What realm_guest_event returns, unless it is a negative status. After OPEN and REWIND only 0 will do. */
enum {
    REALM_GUEST_CONTINUE = 0,   /* The submitted step runs; without one a running turn ends as with REALM_GUEST_END_STOP. */
    REALM_GUEST_END_EOS = 1,    /* The turn has ended: the model ended its answer. No step was submitted. */
    REALM_GUEST_END_STOP = 2,   /* The turn has ended: a stop string came up. No step was submitted. */
    REALM_GUEST_END_LENGTH = 3, /* The turn has ended: as many tokens as were asked for. No step was submitted. */
    REALM_GUEST_END_CONTEXT = 4 /* The turn has ended: the context is full. No step was submitted. */
};

/* Types that realm_meta_get takes (GGUF's numbers): what is written to guest memory. */
enum {
    REALM_GUEST_META_U32 = 4,          /* uint32_t. */
    REALM_GUEST_META_I32 = 5,          /* int32_t. */
    REALM_GUEST_META_F32 = 6,          /* float; a double is rounded. */
    REALM_GUEST_META_BOOL = 7,         /* One byte, 0 or 1. */
    REALM_GUEST_META_STRING = 8,       /* Bytes, without a terminating zero. */
    REALM_GUEST_META_ARRAY_LENGTH = 9, /* With index -1: the array's length as uint64_t. */
    REALM_GUEST_META_U64 = 10,         /* uint64_t. */
    REALM_GUEST_META_I64 = 11,         /* int64_t. */
    REALM_GUEST_META_F64 = 12          /* double. */
};

/* Types of buffers, values and cache layers (ggml's numbers). */
enum {
    REALM_GUEST_F32 = 0,  /* 32-bit float. */
    REALM_GUEST_F16 = 1,  /* 16-bit float; buffers and cache layers only. */
    REALM_GUEST_Q8_0 = 8, /* Blocks of 32 8-bit integers with a scale; cache layers only. */
    REALM_GUEST_I32 = 26  /* 32-bit integer; buffers and values only. */
};

/* ---- Structures -------------------------------------------------------------------------------- */

/* Facts about a registered model. 64 bytes. */
typedef struct realm_guest_model_info {
    uint64_t file_bytes;      /* Bytes of all parts. */
    uint64_t parameter_count; /* Elements of all tensors. */
    uint32_t tensor_count;    /* Tensors in all parts. */
    uint32_t kv_count;        /* Metadata entries of the first part. */
    uint32_t part_count;      /* Files it was registered from. */
    uint32_t flags;           /* Bit 0: sha256 is valid. */
    uint8_t sha256[32];       /* SHA-256 of all bytes in order; zeros if not known. */
} realm_guest_model_info;

/* A tensor of a model's directory. 40 bytes. */
typedef struct realm_guest_tensor_info {
    uint32_t type;   /* ggml type id. */
    uint32_t n_dims; /* Dimensions in use, 0 to 4. */
    uint64_t ne[4];  /* Elements per dimension, ne[0] along a row; 1 where unused. */
} realm_guest_tensor_info;

/* Facts about a vocabulary. 28 bytes. Tokens that do not exist are -1. */
typedef struct realm_guest_vocab_info {
    uint32_t n_tokens; /* How many there are; ids are below. */
    int32_t bos;       /* The token that begins a text. */
    int32_t eos;       /* The token that ends a text. */
    int32_t eot;       /* The token that ends a turn. */
    int32_t unk;       /* The token for what is unknown. */
    int32_t pad;       /* The token for padding. */
    uint32_t flags;    /* Bit 0: REALM_GUEST_ADD_SPECIAL adds BOS; bit 1: it adds EOS. */
} realm_guest_vocab_info;

/* One cache layer, for realm_kv_create. 28 bytes. Layers of a group share a page table, and must agree in max_positions
 * and window. */
typedef struct realm_guest_kv_desc {
    uint32_t type;          /* REALM_GUEST_F32, REALM_GUEST_F16 or REALM_GUEST_Q8_0. */
    uint32_t n_head_kv;     /* Heads of K and V, 1 to 65536. */
    uint32_t head_dim_k;    /* Elements of a K head, 1 to 65536; for q8_0 a multiple of 32. */
    uint32_t head_dim_v;    /* Elements of a V head, likewise. */
    uint32_t max_positions; /* Most positions (tokens in the context), 1 to 2^28. */
    uint32_t group;         /* Which group the layer belongs to, 0 to 7. */
    uint32_t window;        /* Attention window in positions; 0: unlimited. */
} realm_guest_kv_desc;

/* ---- Programs: header, registers, values, operations, back to back ------------------------------ */

/* The first four bytes of a program: "RPRG". */
#define REALM_GUEST_PROGRAM_MAGIC 0x47525052u

/* What a program begins with. 32 bytes. After it come the registers, the values, the operations and the ids of further models
 * (uint32_t), without gaps. */
typedef struct realm_guest_program_header {
    uint32_t magic;       /* REALM_GUEST_PROGRAM_MAGIC. */
    uint16_t major;       /* REALM_GUEST_ABI_MAJOR. */
    uint16_t minor;       /* REALM_GUEST_ABI_MINOR, or a smaller one from 1 on if that has all that is used. */
    uint32_t reg_count;   /* Registers, at most 64. */
    uint32_t value_count; /* Values, at most 16384. */
    uint32_t op_count;    /* Operations, at most 16384. */
    uint32_t model_id;    /* The model whose tensors are named. */
    uint32_t model_count; /* Further models whose tensors are named, at most 15. Since 0.2. */
    uint32_t reserved;    /* 0. */
} realm_guest_program_header;

/* A number that may differ from step to step, within its bounds. 16 bytes. */
typedef struct realm_guest_reg {
    uint32_t min;      /* Smallest value. */
    uint32_t max;      /* Largest value, at most 2^28; memory is planned for it. */
    int32_t stride;    /* Added between the repetitions of one step. */
    uint32_t reserved; /* 0. */
} realm_guest_reg;

/* An intermediate [rows, cols], row-major and dense, in memory that the host plans. 16 bytes. */
typedef struct realm_guest_value {
    uint32_t type;  /* REALM_GUEST_F32 or REALM_GUEST_I32. */
    uint32_t cols;  /* Elements in a row. */
    uint32_t rows;  /* A constant, or REALM_GUEST_REG(i). */
    uint32_t flags; /* 0. */
} realm_guest_value;

/* One operation. 128 bytes. */
typedef struct realm_guest_op {
    uint16_t code;      /* REALM_GUEST_OP_.... */
    uint16_t flags;     /* Flags of the operation; 0 if it has none. */
    uint32_t dst;       /* Where the result goes: REALM_GUEST_VALUE(i) or REALM_GUEST_BUFFER(handle). */
    uint32_t src[10];   /* Operands, as the operation wants them; REALM_GUEST_NONE where unused. */
    uint32_t param[20]; /* Integers, dimensions, or the bits of a float, as the operation wants them; 0 where unused. */
} realm_guest_op;

/* A dimension that is register i; others are constants below 2^31. */
#define REALM_GUEST_REG(i) (0x80000000u | (uint32_t)(i))

/* No operand. */
#define REALM_GUEST_NONE 0u
/* The operand that is a tensor of the model: its handle. */
#define REALM_GUEST_WEIGHT(tensor) ((1u << 28) | (uint32_t)(tensor))
/* The operand that is a tensor of a further model of the program, of which the first is 1. Since 0.2. */
#define REALM_GUEST_WEIGHT_OF(model, tensor) ((1u << 28) | ((uint32_t)(model) << 24) | (uint32_t)(tensor))
/* The operand that is the i-th value of the program. */
#define REALM_GUEST_VALUE(i) ((2u << 28) | (uint32_t)(i))
/* The operand that is a session buffer: its handle. */
#define REALM_GUEST_BUFFER(handle) ((3u << 28) | (uint32_t)(handle))
/* The operand that is a cache layer: its handle. */
#define REALM_GUEST_KV(handle) ((4u << 28) | (uint32_t)(handle))

/* Codes of operations. Shapes, sources, parameters, flags and what exactly is computed are in the table of guest/ABI.md,
 * also since which version there is one. */
enum {
    REALM_GUEST_OP_GET_ROWS = 1,       /* Rows of a tensor, by ids or one after the other, as floats. */
    REALM_GUEST_OP_RMS_NORM = 2,       /* Each row divided by the root of its mean square, times a weight. */
    REALM_GUEST_OP_NORM = 3,           /* Layer norm of each row. */
    REALM_GUEST_OP_MUL_MAT = 4,        /* Rows times a tensor, plus a bias. */
    REALM_GUEST_OP_MUL_MAT_ID = 5,     /* The same with a tensor of each row's choice: experts. */
    REALM_GUEST_OP_ROPE = 6,           /* Rotary embedding of positions. */
    REALM_GUEST_OP_FLASH_ATTN_EXT = 7, /* Appends to a cache layer, and attends to it. */
    REALM_GUEST_OP_GLU = 8,            /* An activation of one source, times the other. */
    REALM_GUEST_OP_UNARY = 9,          /* An activation. */
    REALM_GUEST_OP_ADD = 10,           /* a + b. */
    REALM_GUEST_OP_MUL = 11,           /* a * b. */
    REALM_GUEST_OP_SCALE = 12,         /* x * s + b, with two numbers. */
    REALM_GUEST_OP_SOFTCAP = 13,       /* c * tanh(x / c). */
    REALM_GUEST_OP_CPY = 14,           /* Copies rows. */
    REALM_GUEST_OP_VIEW_COLS = 15,     /* Copies columns. */
    REALM_GUEST_OP_ARGMAX = 16,        /* The index of each row's largest element. */
    REALM_GUEST_OP_TOP_K = 17,         /* The indices and values of each row's largest elements, descending. */
    REALM_GUEST_OP_LOGIT_BIAS = 18,    /* Adds to chosen columns. */
    REALM_GUEST_OP_PENALTIES = 19,     /* Repeat, frequency and presence penalties of chosen columns. */
    REALM_GUEST_OP_MASK = 20,          /* Columns whose bit is 0 become minus infinity. */
    REALM_GUEST_OP_LOGSUMEXP = 21,     /* The logarithm of each row's sum of exponentials. */
    REALM_GUEST_OP_SOFT_MAX = 22,      /* Each row's exponentials, divided by their sum. */
    REALM_GUEST_OP_WEIGHTED_SUM = 23,  /* The sum of each row's parts, times weights: what experts have said. */
    REALM_GUEST_OP_SSM_CONV = 24,      /* A short causal convolution along rows. */
    REALM_GUEST_OP_CONCAT = 25,        /* Columns of two sources beside each other. */
    REALM_GUEST_OP_SUM_ROWS = 26,      /* The sum of each row. */
    REALM_GUEST_OP_DIV = 27,           /* a / b. */
    REALM_GUEST_OP_GATHER = 28,        /* Elements of each row, by ids. */
    REALM_GUEST_OP_SSM_SCAN = 29       /* A selective scan along rows, from a state to the next. */
};

/* ---- Store ------------------------------------------------------------------------------------- */

/* Registers a GGUF file in guest memory as a model of the guest's own. The bytes are copied, and counted against the
 * session's quota for it, which is 0 unless the host has given one.
 *
 * `bytes`, `len`: the file, and its size in bytes.
 * `id`: what to register it under; 0: derived from the bytes' SHA-256.
 * `id_out` receives the id; may not be NULL.
 *
 * Returns 0; REALM_GUEST_LIMIT over the quota, REALM_GUEST_ID_CONFLICT, REALM_GUEST_FORMAT, REALM_GUEST_UNSUPPORTED. */
REALM_GUEST_IMPORT(realm_store_model)
int32_t realm_store_model(const void *bytes, uint32_t len, uint32_t id, uint32_t *id_out);

/* Takes back one registration that this guest made. It counts against the quota as long as a program uses the model.
 *
 * `id`: what realm_store_model gave.
 *
 * Returns 0; REALM_GUEST_NOT_FOUND for what others registered. */
REALM_GUEST_IMPORT(realm_remove_model)
int32_t realm_remove_model(uint32_t id);

/* Writes facts about a model.
 *
 * `id`: the model.
 * `dst`, `len`: where they go; at most so many bytes are written.
 *
 * Returns sizeof(realm_guest_model_info). */
REALM_GUEST_IMPORT(realm_get_model_info)
int32_t realm_get_model_info(uint32_t id, realm_guest_model_info *dst, uint32_t len);

/* Dequantizes rows of a tensor to f32. A row has ne[0] elements.
 *
 * `id`: the model.
 * `name`, `name_len`: the tensor's name.
 * `row_first`, `row_count`: which rows, of ne[1] * ne[2] * ne[3]. A count of 0: all from the first on.
 * `dst`, `dst_bytes`: where they go, and the room there in bytes.
 *
 * Returns the number of rows; REALM_GUEST_BUFFER_TOO_SMALL, REALM_GUEST_UNSUPPORTED for a type that cannot be
 * dequantized. */
REALM_GUEST_IMPORT(realm_get_tensor)
int32_t realm_get_tensor(uint32_t id, const char *name, uint32_t name_len, uint32_t row_first,
                         uint32_t row_count, float *dst, uint32_t dst_bytes);

/* ---- Model facts ------------------------------------------------------------------------------- */

/* Reads a metadata value as the type asked for. Numbers convert if the value is exactly representable, any float to
 * f32 by rounding.
 *
 * `id`: the model.
 * `key`, `key_len`: the entry's name.
 * `index`: -1: the entry itself, which is no array; else an element of an array, from 0.
 * `type`: REALM_GUEST_META_....
 * `dst`, `dst_bytes`: where it goes, and the room there. Of a string as much as fits is written.
 *
 * Returns the value's size in bytes; REALM_GUEST_NOT_FOUND for the key or the index, REALM_GUEST_INVALID_ARGUMENT for what
 * does not convert, REALM_GUEST_BUFFER_TOO_SMALL for a number without the room. */
REALM_GUEST_IMPORT(realm_meta_get)
int32_t realm_meta_get(uint32_t id, const char *key, uint32_t key_len, int32_t index, uint32_t type,
                       void *dst, uint32_t dst_bytes);

/* Finds a tensor by name.
 *
 * `id`: the model.
 * `name`, `name_len`: the tensor's name.
 *
 * Returns its handle; REALM_GUEST_NOT_FOUND. */
REALM_GUEST_IMPORT(realm_tensor_find)
int32_t realm_tensor_find(uint32_t id, const char *name, uint32_t name_len);

/* Writes facts about a tensor. The import is called realm_tensor_info; in C that is the name of a struct of realm.h.
 *
 * `id`: the model.
 * `handle`: the tensor's.
 * `dst`, `len`: where they go; at most so many bytes are written.
 *
 * Returns sizeof(realm_guest_tensor_info). */
REALM_GUEST_IMPORT(realm_tensor_info)
int32_t realm_tensor_describe(uint32_t id, uint32_t handle, realm_guest_tensor_info *dst, uint32_t len);

/* Writes a tensor's name. Handles go from 0 to the number of tensors, which realm_get_model_info gives. Since 0.2.
 *
 * `id`: the model.
 * `handle`: the tensor's.
 * `dst`, `dst_bytes`: where it goes; at most so many bytes are written.
 *
 * Returns its length in bytes. */
REALM_GUEST_IMPORT(realm_tensor_name)
int32_t realm_tensor_name(uint32_t id, uint32_t handle, char *dst, uint32_t dst_bytes);

/* Writes facts about the vocabulary.
 *
 * `id`: the model.
 * `dst`, `len`: where they go; at most so many bytes are written.
 *
 * Returns sizeof(realm_guest_vocab_info); REALM_GUEST_UNSUPPORTED for a vocabulary that the host does not know,
 * REALM_GUEST_FORMAT for a broken one. So do all functions below that use it. */
REALM_GUEST_IMPORT(realm_vocab_info)
int32_t realm_vocab_info(uint32_t id, realm_guest_vocab_info *dst, uint32_t len);

/* Flags of realm_tokenize. */
enum {
    REALM_GUEST_ADD_SPECIAL = 1,  /* Add BOS and EOS as the vocabulary says. */
    REALM_GUEST_PARSE_SPECIAL = 2, /* Control tokens that are written out in the text become their ids. */
    REALM_GUEST_GOES_ON = 4 /* (since 0.2) The text goes on where another has ended: nothing is put before it. */
};

/* Turns text into token ids.
 *
 * `id`: the model.
 * `text`, `len`: any bytes; those that are not UTF-8 become the tokens of single bytes.
 * `flags`: REALM_GUEST_PARSE_SPECIAL, and REALM_GUEST_ADD_SPECIAL or REALM_GUEST_GOES_ON; or 0.
 * `dst`, `dst_count`: where the ids go, and for how many there is room; at most so many are written.
 *
 * Returns how many there are. */
REALM_GUEST_IMPORT(realm_tokenize)
int32_t realm_tokenize(uint32_t id, const char *text, uint32_t len, uint32_t flags, uint32_t *dst,
                       uint32_t dst_count);

/* Finds the token whose stored text is exactly this.
 *
 * `id`: the model.
 * `text`, `len`: the text, as the vocabulary has it.
 *
 * Returns its id; REALM_GUEST_NOT_FOUND. */
REALM_GUEST_IMPORT(realm_token_find)
int32_t realm_token_find(uint32_t id, const char *text, uint32_t len);

/* Says whether a token ends a generation: EOS, EOT and the well-known ends of turns.
 *
 * `id`: the model.
 * `token`: any number.
 *
 * Returns 1 if it does; else 0, also for what is no token. */
REALM_GUEST_IMPORT(realm_token_is_eog)
int32_t realm_token_is_eog(uint32_t id, uint32_t token);

/* The bytes that a token stands for, which need not be whole characters; none for control tokens. Since 0.2.
 *
 * `id`: the model.
 * `token`: its id.
 * `dst`, `dst_bytes`: where they go; at most so many are written.
 *
 * Returns how many there are. */
REALM_GUEST_IMPORT(realm_token_piece)
int32_t realm_token_piece(uint32_t id, uint32_t token, void *dst, uint32_t dst_bytes);

/* Begins the session's streaming detokenizer anew. It gives text that follows other text (a leading space stays), in
 * whole UTF-8 characters only, by the vocabulary of the session's model.
 *
 * Returns 0. */
REALM_GUEST_IMPORT(realm_detok_reset)
int32_t realm_detok_reset(void);

/* Gives the detokenizer a token, and takes the text that is complete after it; perhaps none.
 *
 * `token`: its id.
 * `dst`, `dst_bytes`: where the text goes, and the room there. 256 bytes always suffice, unless the token is longer.
 *
 * Returns the bytes written. If it fails, with REALM_GUEST_BUFFER_TOO_SMALL for instance, nothing is consumed. */
REALM_GUEST_IMPORT(realm_detok_push)
int32_t realm_detok_push(uint32_t token, char *dst, uint32_t dst_bytes);

/* Takes what the detokenizer still has: the beginning of a character that never ended becomes U+FFFD.
 *
 * `dst`, `dst_bytes`: where the text goes, and the room there. 3 bytes always suffice.
 *
 * Returns the bytes written. If it fails nothing is consumed. */
REALM_GUEST_IMPORT(realm_detok_flush)
int32_t realm_detok_flush(char *dst, uint32_t dst_bytes);

/* ---- Parameters, input, output ------------------------------------------------------------------ */

/* Copies the text of a parameter, as the host has given it. Parameters may change from turn to turn.
 *
 * `key`, `key_len`: its name.
 * `dst`, `dst_bytes`: where the text goes; at most so many bytes are written.
 *
 * Returns its size in bytes; REALM_GUEST_NOT_FOUND if it is not set. */
REALM_GUEST_IMPORT(realm_param_get)
int32_t realm_param_get(const char *key, uint32_t key_len, char *dst, uint32_t dst_bytes);

/* Copies the name of a parameter that is set, so that a guest can refuse those it does not know.
 *
 * `index`: from 0, in the order in which they were first set.
 * `dst`, `dst_bytes`: where the name goes; at most so many bytes are written. 64 always suffice.
 *
 * Returns its size in bytes; REALM_GUEST_NOT_FOUND past the last. */
REALM_GUEST_IMPORT(realm_param_key)
int32_t realm_param_key(uint32_t index, char *dst, uint32_t dst_bytes);

/* Copies from the input of the turn, in any of its events.
 *
 * `offset`: where to begin, in bytes; at most the input's length.
 * `dst`, `dst_bytes`: where the bytes go; at most so many are written.
 *
 * Returns the bytes copied; 0 at the end. */
REALM_GUEST_IMPORT(realm_input_read)
int32_t realm_input_read(uint32_t offset, void *dst, uint32_t dst_bytes);

/* Hands the host a token and text, in order: each call becomes one event of realm_session_poll.
 *
 * `token`: its id; -1: none.
 * `text`, `len`: UTF-8, whole characters; may be empty.
 *
 * Returns 0; REALM_GUEST_STATE outside of a turn, REALM_GUEST_LIMIT for what the host has not taken: over 1024 events or
 * 1 MiB of text. */
REALM_GUEST_IMPORT(realm_emit)
int32_t realm_emit(int32_t token, const char *text, uint32_t len);

/* realm_detok_push and realm_emit in one: hands the host a token with the text that is complete after it.
 *
 * `token`: its id.
 *
 * Returns 0; what those return on failure, and then nothing is consumed. */
REALM_GUEST_IMPORT(realm_emit_token)
int32_t realm_emit_token(uint32_t token);

/* Says how probable the token is that is emitted next in this event. Since 0.2.
 *
 * `bits`: those of a float, the natural logarithm of the probability that the model gave it. Above 0 is 0, NaN is nothing.
 *
 * Returns 0. */
REALM_GUEST_IMPORT(realm_logprob)
int32_t realm_logprob(uint32_t bits);

/* Lets the host read a session buffer. The last call counts.
 *
 * `what`: 1: logits of the last evaluated position; 2 (since 0.2): an embedding of the last turn's input; 3 (since 0.2): a recipe
 * (ABI.md).
 * `buffer`: its handle; f32, one row; of a recipe i32.
 *
 * Returns 0; REALM_GUEST_UNSUPPORTED for another `what`. */
REALM_GUEST_IMPORT(realm_publish)
int32_t realm_publish(uint32_t what, uint32_t buffer);

/* Says how far the evaluation of the input is.
 *
 * `done`, `total`: tokens.
 *
 * Returns 0. */
REALM_GUEST_IMPORT(realm_progress)
int32_t realm_progress(uint32_t done, uint32_t total);

/* Writes a line of log.
 *
 * `level`: 0 error, 1 warning, 2 information, 3 for debugging.
 * `text`, `len`: the line, at most 4096 bytes.
 *
 * Returns 0. */
REALM_GUEST_IMPORT(realm_log)
int32_t realm_log(uint32_t level, const char *text, uint32_t len);

/* Sets the message for a negative return of realm_guest_event. Without it the host keeps the message of the import or
 * step of this event that failed with that status.
 *
 * `text`, `len`: one line; what is over some 240 bytes is cut off.
 *
 * Returns 0. */
REALM_GUEST_IMPORT(realm_fail)
int32_t realm_fail(const char *text, uint32_t len);

/* Monotonic time.
 *
 * Returns nanoseconds from any beginning; 0 unless the host has a clock and granted it. */
REALM_GUEST_IMPORT(realm_clock_ns)
int64_t realm_clock_ns(void);

/* ---- Compute ------------------------------------------------------------------------------------ */

/* Makes a zeroed session buffer [rows, cols], which programs and the guest read and write. It counts against the
 * session's limit for buffers. Not while a step is submitted.
 *
 * `type`: REALM_GUEST_F32, REALM_GUEST_F16 or REALM_GUEST_I32.
 * `cols`, `rows`: elements in a row, and rows; 1 to 2^28 each.
 *
 * Returns its handle; REALM_GUEST_LIMIT, also for more than 1024 buffers; REALM_GUEST_UNSUPPORTED for another type,
 * REALM_GUEST_STATE. */
REALM_GUEST_IMPORT(realm_buffer_create)
int32_t realm_buffer_create(uint32_t type, uint32_t cols, uint32_t rows);

/* Copies bytes into a session buffer, all or none.
 *
 * `handle`: the buffer's.
 * `offset`: where they go, in bytes.
 * `src`, `len`: the bytes, and how many.
 *
 * Returns 0. */
REALM_GUEST_IMPORT(realm_buffer_write)
int32_t realm_buffer_write(uint32_t handle, uint32_t offset, const void *src, uint32_t len);

/* Copies bytes out of a session buffer, all or none.
 *
 * `handle`: the buffer's.
 * `offset`: where they are, in bytes.
 * `dst`, `len`: where they go, and how many.
 *
 * Returns 0. */
REALM_GUEST_IMPORT(realm_buffer_read)
int32_t realm_buffer_read(uint32_t handle, uint32_t offset, void *dst, uint32_t len);

/* Makes a cache layer. All are made before the first step. The memory comes with the positions, in pages of 64.
 *
 * `desc`, `len`: what it is like, and sizeof(realm_guest_kv_desc).
 *
 * Returns its handle; REALM_GUEST_STATE after the first step, REALM_GUEST_LIMIT for more than 4096. */
REALM_GUEST_IMPORT(realm_kv_create)
int32_t realm_kv_create(const realm_guest_kv_desc *desc, uint32_t len);

/* What the layers made so far cost.
 *
 * `positions`: with so many positions in the context.
 *
 * Returns bytes; a negative status on failure. */
REALM_GUEST_IMPORT(realm_kv_bytes)
int64_t realm_kv_bytes(uint32_t positions);

/* Forgets keys and values at a position and after, in every group. Whole pages are zeroed and freed.
 *
 * `position`: how many positions stay; more than there are is fine.
 *
 * Returns 0; REALM_GUEST_STATE while a step is submitted. */
REALM_GUEST_IMPORT(realm_kv_truncate)
int32_t realm_kv_truncate(uint32_t position);

/* Validates and plans a program, and has the backend prepare it. Not while a step is submitted.
 *
 * `bytes`, `len`: header, registers, values and operations.
 *
 * Returns its handle; REALM_GUEST_FORMAT or REALM_GUEST_INVALID_ARGUMENT for what is not as guest/ABI.md has it,
 * REALM_GUEST_UNSUPPORTED for an operation or type that this host does not know, REALM_GUEST_LIMIT, also for more than 16
 * programs at a time, REALM_GUEST_STATE. */
REALM_GUEST_IMPORT(realm_program_create)
int32_t realm_program_create(const void *bytes, uint32_t len);

/* Forgets a program. A step of it that is submitted runs nevertheless. Its handle may be given to another one.
 *
 * `handle`: the program's.
 *
 * Returns 0. */
REALM_GUEST_IMPORT(realm_program_destroy)
int32_t realm_program_destroy(uint32_t handle);

/* Books the step that the host runs after this event, and reports with REALM_GUEST_EVENT_STEP; at most one per event.
 *
 * `program`: its handle.
 * `regs`, `reg_count`: a value for each register of the program, within its bounds.
 * `repeat`: how often to replay the program, 1 to 65536; registers grow by their strides in between.
 *
 * Returns 0; REALM_GUEST_STATE outside of a turn or for a second step, REALM_GUEST_LIMIT if the cache would grow too
 * large. */
REALM_GUEST_IMPORT(realm_step_submit)
int32_t realm_step_submit(uint32_t program, const uint32_t *regs, uint32_t reg_count, uint32_t repeat);

/* ---- Exports: the guest defines these ------------------------------------------------------------ */

/* Says which ABI the guest is written for.
 *
 * Returns REALM_GUEST_ABI. */
REALM_GUEST_EXPORT(realm_guest_abi)
int32_t realm_guest_abi(void);

/* Handles one event: the whole life of a guest. Between events its memory and globals stay, and the host may save, load
 * or copy them between turns. A trap, or more fuel than the session allows for an event, ends the session; but where it is for
 * want of memory or fuel, in PROMPT (before a step), REWIND, PARAMS or RECORD, a host that can puts everything back and refuses the event.
 *
 * `kind`: REALM_GUEST_EVENT_....
 * `a`, `b`: what the kind says.
 *
 * Returns REALM_GUEST_CONTINUE, REALM_GUEST_END_..., or a negative status with which the turn fails (OPEN: the session
 * cannot be opened; REWIND: it stays as it was, and nothing may have changed). */
REALM_GUEST_EXPORT(realm_guest_event)
int32_t realm_guest_event(int32_t kind, int32_t a, int32_t b);

#ifdef __cplusplus
}
#endif

#endif /* REALM_GUEST_H */
