/* realm_port.h - what a port implements: memory and clock of a platform, arithmetic of a backend.
 *
 * A plain user of the library never needs to look in here; ports/README.md is the place to start
 * for who wants to write a port. Tables are copied when they are registered. A slot whose comment
 * starts with (optional) may be NULL, and then does what the comment says. REALM_..._INIT fills in
 * the first two fields of a table; fields are only ever added at the end.
 */

#ifndef REALM_PORT_H
#define REALM_PORT_H

/* Generated from documented Rust by tests/headers/generate: edit it there. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ============================================================================================
 * What the core needs from the machine: memory, a clock, a log, and optionally threads.
 * ============================================================================================ */

/* The version of this library's C interface: `major << 16 | minor`.
 *
 * A table or options struct of another major is refused; older minors are accepted.
 */
#define REALM_ABI_VERSION 1

/* One task of a parallel loop.
 *
 * `task`: what `parallel_for` was given.
 * `index`: the task's number, below the `count` of `parallel_for`.
 *
 * Threads: any thread of the port's, or the one that called `parallel_for`; several tasks at the same time.
 */
typedef void (*realm_task_fn)(void *task, uint32_t index);

/* What the library needs from the machine.
 *
 * The table is copied when a runtime is created; what `ctx` points to must outlive every runtime and session that
 * uses it. No slot may call back into the library.
 *
 * Threads: slots are called from every thread that calls into the library, at the same time.
 */
typedef struct realm_platform {
    /* Size of the caller's struct in bytes. Set by `REALM_PLATFORM_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_PLATFORM_INIT`. */
    uint32_t abi_version;
    /* Reserved for extensions; NULL. */
    const void *next;
    /* First argument of every function below. */
    void *ctx;
    /* Gives memory, of undefined contents. Asked for: buffers, KV pages, scratch and workspaces, which is what grows with
     * models and contexts. Small objects and the memory of guests come from the process's heap (in firmware, from
     * `realm_firmware_alloc`); where that has nothing left, the interpreter aborts.
     *
     * `bytes`: how much; never 0.
     * `align`: a power of two, at most 4096.
     *
     * Owns: the library, until `free`.
     *
     * Returns the address, a multiple of `align`; NULL if there is no memory.
     */
    void *(*alloc)(void *ctx, size_t bytes, size_t align);
    /* Takes back what `alloc` gave.
     *
     * `memory`, `bytes`, `align`: what `alloc` returned, and what it was asked for.
     */
    void (*free)(void *ctx, void *memory, size_t bytes, size_t align);
    /* (optional) Monotonic time. NULL: time budgets are ignored and every poll runs to the next event.
     *
     * Returns nanoseconds, from any beginning.
     */
    uint64_t (*clock_ns)(void *ctx);
    /* (optional) Takes one line of text. NULL: nothing is logged.
     *
     * `level`: 0 error, 1 warning, 2 information, 3 for debugging.
     * `text`, `bytes`: UTF-8, not terminated, valid until the slot returns.
     */
    void (*log)(void *ctx, int32_t level, const char *text, size_t bytes);
    /* (optional) Calls `run(task, i)` for every `i` below `count`, on any threads and in any order, and returns when all
     * calls have returned. NULL: the calling thread does the work.
     *
     * `count`: how many calls.
     * `run`, `task`: what is called, and its first argument.
     */
    void (*parallel_for)(void *ctx, uint32_t count, realm_task_fn run, void *task);
    /* (optional) How many tasks of `parallel_for` run at the same time. NULL: 1.
     *
     * Returns the number, at least 1.
     */
    uint32_t (*parallel_width)(void *ctx);
} realm_platform;

/* ============================================================================================
 * The backend table as C sees it: programs, steps, and the functions a port fills in.
 * ============================================================================================ */

/* No operand. Kinds of operands are the top four bits of an operand, an index the others; here the index is 0. */
#define REALM_OPERAND_NONE 0

/* A tensor of the model; the index is into `realm_program.weights`. */
#define REALM_OPERAND_WEIGHT 1

/* An intermediate; the index is into `realm_program.values`. */
#define REALM_OPERAND_VALUE 2

/* A session buffer; the index is into `realm_program.buffers` and `realm_step.buffers`. */
#define REALM_OPERAND_BUFFER 3

/* A KV cache layer; the index is into `realm_program.kv_layers`. */
#define REALM_OPERAND_KV 4

/* Recurrent state; reserved. */
#define REALM_OPERAND_STATE 5

/* Positions in a KV page and in a block of attention. */
#define REALM_KV_PAGE_POSITIONS 64

/* `query`: the batch is still running. */
#define REALM_BACKEND_RUNNING 1

/* `realm_backend.flags`: what the buffer functions return are addresses that the CPU can use,
 * and weights need no binding.
 */
#define REALM_BACKEND_HOST_MEMORY 1

/* One operation, 128 bytes, as in `guest/ABI.md`.
 *
 * In what a backend is given, the index of a WEIGHT operand is into `realm_program.weights`
 * (the guest's tensor handles have been resolved); everything else is as recorded.
 */
typedef struct realm_op {
    /* Operation code: the table in `guest/ABI.md`. */
    uint16_t code;
    /* Flags of that operation. */
    uint16_t flags;
    /* Destination operand. */
    uint32_t dst;
    /* Source operands; 0 where unused. */
    uint32_t src[10];
    /* Parameters: integers, dims, or the bits of an f32, as the operation says. */
    uint32_t param[20];
} realm_op;

/* A register's declaration: the values a replay may give it. */
typedef struct realm_register {
    /* Smallest value. */
    uint32_t min;
    /* Largest value; memory is planned for it. */
    uint32_t max;
    /* Added between the repetitions of one step. */
    int32_t stride;
    /* 0. */
    uint32_t reserved;
} realm_register;

/* An intermediate `[rows, cols]`, row-major and dense, in the step's scratch memory. */
typedef struct realm_value {
    /* ggml type id: 0 f32 or 26 i32. */
    uint32_t type;
    /* Elements in a row. */
    uint32_t cols;
    /* Rows: a constant, or `0x80000000 | register`. */
    uint32_t rows;
    /* Most rows there can be. */
    uint32_t max_rows;
    /* Where it starts in scratch, in bytes, a multiple of 64. Values that are never alive together share memory. */
    uint64_t offset;
} realm_value;

/* A weight tensor, bound to a backend. */
typedef struct realm_weight {
    /* ggml type id. */
    uint32_t type;
    /* Dimensions in use. */
    uint32_t n_dims;
    /* Elements per dimension, `ne[0]` along a row; 1 where unused. */
    uint64_t ne[4];
    /* The model's bytes as they lie in the host's buffer: `ne[1]·ne[2]·ne[3]` rows, little-endian, at any
     * alignment. Valid until the program is discarded. NULL if not addressable.
     */
    const void *data;
    /* Size in bytes. */
    uint64_t bytes;
    /* What `weight_bind` returned; NULL without that slot. */
    void *handle;
    /* Reserved for adapters (base + low rank); NULL. */
    const void *next;
} realm_weight;

/* A session buffer's shape. Its memory is in `realm_step.buffers`, at the same index. */
typedef struct realm_buffer {
    /* ggml type id: 0 f32, 1 f16 or 26 i32. */
    uint32_t type;
    /* Elements in a row. */
    uint32_t cols;
    /* Rows. */
    uint32_t rows;
    /* 0. */
    uint32_t reserved;
} realm_buffer;

/* A KV cache layer: where its part of every page is.
 *
 * For each group a page is one buffer per 64 positions, which holds the parts of all the group's layers.
 * A layer's part at `offset` holds K then V (`v_offset` bytes after K). For f32 and f16 K is
 * `[n_head_kv][head_dim_k][64]` (transposed: lanes run over positions) and V is `[n_head_kv][64][head_dim_v]`.
 * For q8_0 K is `[n_head_kv][head_dim_k / 32]` of `{ f16 scale[64]; i8 quant[32][64]; }` and V is
 * `[n_head_kv][64]` rows of `block_q8_0`. All numbers are little-endian.
 */
typedef struct realm_kv_layer {
    /* ggml type id: 0 f32, 1 f16 or 8 q8_0. */
    uint32_t type;
    /* Heads of K and V. */
    uint32_t n_head_kv;
    /* Elements of a K head. */
    uint32_t head_dim_k;
    /* Elements of a V head. */
    uint32_t head_dim_v;
    /* Which page table of the step it uses. */
    uint32_t group;
    /* Most positions the session may reach. */
    uint32_t max_positions;
    /* Where the layer's part starts in a page, in bytes. */
    uint64_t offset;
    /* Where V starts after K, in bytes. */
    uint64_t v_offset;
} realm_kv_layer;

/* A validated, planned program. Immutable; shared by every step that runs it. */
typedef struct realm_program {
    /* Size of this struct in bytes, as the core has it. */
    uint32_t struct_size;
    /* The core's interface version. */
    uint32_t abi_version;
    /* Reserved for extensions; NULL. */
    const void *next;
    /* The operations. */
    const realm_op *ops;
    /* The values. */
    const realm_value *values;
    /* The registers. */
    const realm_register *registers;
    /* The weights. */
    const realm_weight *weights;
    /* The session buffers that operands may name. */
    const realm_buffer *buffers;
    /* The KV layers that operands may name. */
    const realm_kv_layer *kv_layers;
    /* Number of operations. */
    uint32_t op_count;
    /* Number of values. */
    uint32_t value_count;
    /* Number of registers. */
    uint32_t register_count;
    /* Number of weights. */
    uint32_t weight_count;
    /* Number of session buffers. */
    uint32_t buffer_count;
    /* Number of KV layers. */
    uint32_t kv_layer_count;
    /* Size of the scratch memory of one step, in bytes. */
    uint64_t scratch_bytes;
} realm_program;

/* A page table: one buffer per 64 positions. */
typedef struct realm_kv_table {
    /* Memory of page `i`, which holds positions `64·i ..`; NULL where a window has left it behind. A page may be in the tables of
     * several sessions' steps (forks) as long as all of them only read it: those that a step appends to are its own.
     */
    void *const *pages;
    /* Number of pages. The core has made sure that every position the step writes has one. */
    uint32_t page_count;
    /* 0. */
    uint32_t reserved;
} realm_kv_table;

/* One replay of a program, bound to one session. */
typedef struct realm_step {
    /* Register values, checked against their declarations. */
    const uint32_t *registers;
    /* Scratch memory, `scratch_bytes` of the program. */
    void *scratch;
    /* The backend's own workspace, as large as `prepare` asked for; NULL if it asked for none. */
    void *workspace;
    /* Memory of the session buffers. */
    void *const *buffers;
    /* Page tables, by group. */
    const realm_kv_table *kv_tables;
    /* Number of page tables. */
    uint32_t kv_table_count;
    /* How often to replay, at least 1; strides are added to the registers in between. */
    uint32_t repeat;
    /* Tasks to split work into, at least 1; more than 1 only with a `parallel_for`. */
    uint32_t thread_count;
    /* 0. */
    uint32_t reserved;
} realm_step;

/* A port's own notes on a submitted batch: 64 bytes, zeroed by the core before `submit`. */
typedef struct realm_cursor {
    /* For the port to use as it likes. */
    uint64_t words[8];
} realm_cursor;

/* A device or kernel library that runs programs.
 *
 * The table is copied at registration; `ctx` and `name` must outlive the runtime and its sessions. No function may call
 * into the library.
 *
 * Threads: functions are called from any thread that uses a session, at the same time and also for the same plan,
 * which sessions share; calls for one batch never overlap.
 *
 * Returns 0 or a negative `realm_status`, from each function that does not say otherwise. The session's call then
 * returns it; `REALM_STATUS_BACKEND` for a number that is none.
 */
typedef struct realm_backend {
    /* Size of the caller's struct in bytes. Set by `REALM_BACKEND_INIT`. */
    uint32_t struct_size;
    /* The interface version the caller was compiled for. Set by `REALM_BACKEND_INIT`. */
    uint32_t abi_version;
    /* Reserved for extensions; NULL. */
    const void *next;
    /* First argument of every function below. */
    void *ctx;
    /* Name for `realm_session_options.backend`, NUL-terminated UTF-8 of 1 to 64 bytes. Only the copy of it is shown. */
    const char *name;
    /* `REALM_BACKEND_HOST_MEMORY`, or 0. */
    uint32_t flags;
    /* 0. */
    uint32_t reserved;
    /* (optional) Makes a zeroed buffer. NULL (only with HOST_MEMORY): the core uses the platform's memory.
     *
     * `bytes`: its size, never 0.
     * `buffer` receives what the other functions and steps name it by, not NULL; with HOST_MEMORY its address, a multiple
     * of 64. Owns: the core, until `buffer_destroy`.
     */
    int32_t (*buffer_create)(void *ctx, uint64_t bytes, void **buffer);
    /* (optional) Destroys a buffer after overwriting it with zeros. Needed with `buffer_create`.
     *
     * `buffer`: what `buffer_create` gave. No batch that uses it is running.
     */
    void (*buffer_destroy)(void *ctx, void *buffer);
    /* (optional) Copies host bytes into a buffer. Needed without HOST_MEMORY, not called with it.
     *
     * `buffer`, `offset`: where the bytes go; they are all inside.
     * `data`, `bytes`: the host's bytes, valid until the function returns.
     */
    int32_t (*buffer_write)(void *ctx,
                            void *buffer,
                            uint64_t offset,
                            const void *data,
                            uint64_t bytes);
    /* (optional) Copies out of a buffer, after all submitted work on it. Needed without HOST_MEMORY, not called with it.
     *
     * `buffer`, `offset`: where the bytes are; they are all inside.
     * `data`, `bytes`: where they go in the host's memory, and how many.
     */
    int32_t (*buffer_read)(void *ctx, void *buffer, uint64_t offset, void *data, uint64_t bytes);
    /* (optional) Wraps or uploads a weight and sets its `handle`. NULL: `data` is used in place.
     *
     * `weight`: its bytes are valid until `weight_release`, the struct until the function returns.
     */
    int32_t (*weight_bind)(void *ctx, realm_weight *weight);
    /* (optional) Undoes `weight_bind`.
     *
     * `weight`: as `weight_bind` left it. No batch that uses it is running.
     */
    void (*weight_release)(void *ctx, const realm_weight *weight);
    /* Whether an operation can run here. The core runs what cannot on the reference kernels, and copies both ways where
     * memory is not shared.
     *
     * `program`: valid until the function returns; `data` and `handle` of its weights may still be unset.
     * `op_index`: which of its operations.
     *
     * Returns 1 if it can, 0 if not.
     */
    int32_t (*supports)(void *ctx, const realm_program *program, uint32_t op_index);
    /* Prepares a run of a program's operations; a program may have several such runs.
     *
     * `program`: valid until `discard`.
     * `op_first`, `op_count`: the first operation, and how many.
     * `plan` receives what the other functions name it by. Owns: the core, until `discard`.
     * `workspace_bytes` receives how much memory a step needs besides scratch; it is 0 before.
     */
    int32_t (*prepare)(void *ctx,
                       const realm_program *program,
                       uint32_t op_first,
                       uint32_t op_count,
                       void **plan,
                       uint64_t *workspace_bytes);
    /* Forgets a plan.
     *
     * `plan`: what `prepare` gave. No batch of it is running.
     */
    void (*discard)(void *ctx, void *plan);
    /* Starts a batch of steps of one plan. A synchronous port only notes where to begin. If a batch of several fails, the
     * core runs its steps again, each by itself.
     *
     * `plan`: what `prepare` gave.
     * `steps`, `step_count`: 1 to 64 steps of different sessions, independent of each other. Of several each has a `repeat`
     * of 1, few rows, and the same `thread_count`; registers differ. They and what they point to are valid until the batch
     * has ended.
     * `cursor`: the port's notes on this batch, zeroed. The same for the batch's `query` and `cancel`.
     *
     * Returns 0 or a negative `realm_status`; `REALM_STATUS_UNSUPPORTED` for more than one step from a port that takes
     * only one, which gets one at a time then.
     */
    int32_t (*submit)(void *ctx,
                      void *plan,
                      const realm_step *steps,
                      uint32_t step_count,
                      realm_cursor *cursor);
    /* Works on, or asks after, a batch.
     *
     * `plan`, `steps`, `step_count`, `cursor`: as for `submit`.
     * `quantum_ns`: for about so many nanoseconds; 0: until it has ended.
     *
     * Returns 0 when the batch has ended, `REALM_BACKEND_RUNNING` when it has not, a negative `realm_status` when it has
     * failed.
     */
    int32_t (*query)(void *ctx,
                     void *plan,
                     const realm_step *steps,
                     uint32_t step_count,
                     realm_cursor *cursor,
                     uint64_t quantum_ns);
    /* (optional) Abandons a running batch; returns when it touches no memory any more. NULL: not calling `query` again is
     * enough.
     *
     * `plan`, `cursor`: as for `submit`.
     */
    void (*cancel)(void *ctx, void *plan, realm_cursor *cursor);
} realm_backend;

/* An operand as a host's own kernel sees it. */
typedef struct realm_operand {
    /* First element; NULL for an unused operand, and for a KV cache layer. Weights may be at any alignment and may not be
     * written. Valid until the kernel returns.
     */
    void *data;
    /* ggml type id; 0 (f32) for an unused operand. */
    uint32_t type;
    /* Elements in a row; 0 for an unused operand. */
    uint32_t cols;
    /* Rows now; 0 for an unused operand. */
    uint64_t rows;
} realm_operand;

/* What a host's own kernel is called with. */
typedef struct realm_kernel_args {
    /* Size of this struct in bytes. */
    uint32_t struct_size;
    /* The core's interface version. */
    uint32_t abi_version;
    /* The operation, as recorded. */
    const realm_op *op;
    /* The destination. */
    realm_operand dst;
    /* The sources, in the order of `op->src`. */
    realm_operand src[10];
    /* Register values, as many as the program has; a dim `0x80000000 | i` of `op` stands for the `i`-th. */
    const uint32_t *registers;
} realm_kernel_args;

/* One kernel for one operation, called once per operation with whole operands in host memory. It may not call into the
 * library.
 *
 * `ctx`: that of `realm_runtime_add_kernel`.
 * `args`: the operation and its operands, valid until the function returns.
 *
 * Threads: called on the thread that polls the session; on several at a time for sessions of several.
 *
 * Returns 0 or a negative `realm_status`, which the session's call then returns.
 */
typedef int32_t (*realm_kernel_fn)(void *ctx, const realm_kernel_args *args);

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
/* For a realm_platform. */
#define REALM_PLATFORM_INIT REALM_INIT_(realm_platform)
/* For a realm_program. */
#define REALM_PROGRAM_INIT REALM_INIT_(realm_program)
/* For a realm_backend. */
#define REALM_BACKEND_INIT REALM_INIT_(realm_backend)
/* For a realm_kernel_args. */
#define REALM_KERNEL_ARGS_INIT REALM_INIT_(realm_kernel_args)

#ifdef __cplusplus
}
#endif

#endif /* REALM_PORT_H */
