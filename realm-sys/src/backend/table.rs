//! The backend table as C sees it: programs, steps, and the functions a port fills in.
//!
//! The binary form of operations is that of `guest/ABI.md`, already validated by the core: a
//! backend may trust shapes, types, operand kinds and bounds.

use core::ffi::{c_char, c_void};

/// No operand. Kinds of operands are the top four bits of an operand, an index the others; here the index is 0.
pub const REALM_OPERAND_NONE: u32 = 0;
/// A tensor of the model; the index is into `realm_program.weights`.
pub const REALM_OPERAND_WEIGHT: u32 = 1;
/// An intermediate; the index is into `realm_program.values`.
pub const REALM_OPERAND_VALUE: u32 = 2;
/// A session buffer; the index is into `realm_program.buffers` and `realm_step.buffers`.
pub const REALM_OPERAND_BUFFER: u32 = 3;
/// A KV cache layer; the index is into `realm_program.kv_layers`.
pub const REALM_OPERAND_KV: u32 = 4;
/// Recurrent state; reserved.
pub const REALM_OPERAND_STATE: u32 = 5;

/// Positions in a KV page and in a block of attention.
pub const REALM_KV_PAGE_POSITIONS: u32 = 64;

/// One operation, 128 bytes, as in `guest/ABI.md`.
///
/// In what a backend is given, the index of a WEIGHT operand is into `realm_program.weights`
/// (the guest's tensor handles have been resolved); everything else is as recorded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct realm_op {
    /// Operation code: the table in `guest/ABI.md`.
    pub code: u16,
    /// Flags of that operation.
    pub flags: u16,
    /// Destination operand.
    pub dst: u32,
    /// Source operands; 0 where unused.
    pub src: [u32; 10],
    /// Parameters: integers, dims, or the bits of an f32, as the operation says.
    pub param: [u32; 20],
}

/// A register's declaration: the values a replay may give it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct realm_register {
    /// Smallest value.
    pub min: u32,
    /// Largest value; memory is planned for it.
    pub max: u32,
    /// Added between the repetitions of one step.
    pub stride: i32,
    /// 0.
    pub reserved: u32,
}

/// An intermediate `[rows, cols]`, row-major and dense, in the step's scratch memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct realm_value {
    /// ggml type id: 0 f32 or 26 i32.
    pub r#type: u32,
    /// Elements in a row.
    pub cols: u32,
    /// Rows: a constant, or `0x80000000 | register`.
    pub rows: u32,
    /// Most rows there can be.
    pub max_rows: u32,
    /// Where it starts in scratch, in bytes, a multiple of 64. Values that are never alive together share memory.
    pub offset: u64,
}

/// A weight tensor, bound to a backend.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct realm_weight {
    /// ggml type id.
    pub r#type: u32,
    /// Dimensions in use.
    pub n_dims: u32,
    /// Elements per dimension, `ne[0]` along a row; 1 where unused.
    pub ne: [u64; 4],
    /// The model's bytes as they lie in the host's buffer: `ne[1]·ne[2]·ne[3]` rows, little-endian, at any
    /// alignment. **Valid until** the program is discarded. NULL if not addressable.
    pub data: *const c_void,
    /// Size in bytes.
    pub bytes: u64,
    /// What `weight_bind` returned; NULL without that slot.
    pub handle: *mut c_void,
    /// Reserved for adapters (base + low rank); NULL.
    pub next: *const c_void,
}

/// A session buffer's shape. Its memory is in `realm_step.buffers`, at the same index.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct realm_buffer {
    /// ggml type id: 0 f32, 1 f16 or 26 i32.
    pub r#type: u32,
    /// Elements in a row.
    pub cols: u32,
    /// Rows.
    pub rows: u32,
    /// 0.
    pub reserved: u32,
}

/// A KV cache layer: where its part of every page is.
///
/// For each group a page is one buffer per 64 positions, which holds the parts of all the group's layers.
/// A layer's part at `offset` holds K then V (`v_offset` bytes after K). For f32 and f16 K is
/// `[n_head_kv][head_dim_k][64]` (transposed: lanes run over positions) and V is `[n_head_kv][64][head_dim_v]`.
/// For q8_0 K is `[n_head_kv][head_dim_k / 32]` of `{ f16 scale[64]; i8 quant[32][64]; }` and V is
/// `[n_head_kv][64]` rows of `block_q8_0`. All numbers are little-endian.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct realm_kv_layer {
    /// ggml type id: 0 f32, 1 f16 or 8 q8_0.
    pub r#type: u32,
    /// Heads of K and V.
    pub n_head_kv: u32,
    /// Elements of a K head.
    pub head_dim_k: u32,
    /// Elements of a V head.
    pub head_dim_v: u32,
    /// Which page table of the step it uses.
    pub group: u32,
    /// Most positions the session may reach.
    pub max_positions: u32,
    /// Where the layer's part starts in a page, in bytes.
    pub offset: u64,
    /// Where V starts after K, in bytes.
    pub v_offset: u64,
}

/// A validated, planned program. Immutable; shared by every step that runs it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct realm_program {
    /// Size of this struct in bytes, as the core has it.
    pub struct_size: u32,
    /// The core's interface version.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// The operations.
    pub ops: *const realm_op,
    /// The values.
    pub values: *const realm_value,
    /// The registers.
    pub registers: *const realm_register,
    /// The weights.
    pub weights: *const realm_weight,
    /// The session buffers that operands may name.
    pub buffers: *const realm_buffer,
    /// The KV layers that operands may name.
    pub kv_layers: *const realm_kv_layer,
    /// Number of operations.
    pub op_count: u32,
    /// Number of values.
    pub value_count: u32,
    /// Number of registers.
    pub register_count: u32,
    /// Number of weights.
    pub weight_count: u32,
    /// Number of session buffers.
    pub buffer_count: u32,
    /// Number of KV layers.
    pub kv_layer_count: u32,
    /// Size of the scratch memory of one step, in bytes.
    pub scratch_bytes: u64,
}

/// A page table: one buffer per 64 positions.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct realm_kv_table {
    /// Memory of page `i`, which holds positions `64·i ..`; NULL where a window has left it behind. A page may be in the tables of
    /// several sessions' steps (forks) as long as all of them only read it: those that a step appends to are its own.
    pub pages: *const *mut c_void,
    /// Number of pages. The core has made sure that every position the step writes has one.
    pub page_count: u32,
    /// 0.
    pub reserved: u32,
}

/// One replay of a program, bound to one session.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct realm_step {
    /// Register values, checked against their declarations.
    pub registers: *const u32,
    /// Scratch memory, `scratch_bytes` of the program.
    pub scratch: *mut c_void,
    /// The backend's own workspace, as large as `prepare` asked for; NULL if it asked for none.
    pub workspace: *mut c_void,
    /// Memory of the session buffers.
    pub buffers: *const *mut c_void,
    /// Page tables, by group.
    pub kv_tables: *const realm_kv_table,
    /// Number of page tables.
    pub kv_table_count: u32,
    /// How often to replay, at least 1; strides are added to the registers in between.
    pub repeat: u32,
    /// Tasks to split work into, at least 1; more than 1 only with a `parallel_for`.
    pub thread_count: u32,
    /// 0.
    pub reserved: u32,
}

/// A port's own notes on a submitted batch: 64 bytes, zeroed by the core before `submit`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct realm_cursor {
    /// For the port to use as it likes.
    pub words: [u64; 8],
}

/// `query`: the batch is still running.
pub const REALM_BACKEND_RUNNING: i32 = 1;

/// `realm_backend.flags`: what the buffer functions return are addresses that the CPU can use,
/// and weights need no binding.
pub const REALM_BACKEND_HOST_MEMORY: u32 = 1;

/// A device or kernel library that runs programs.
///
/// The table is copied at registration; `ctx` and `name` must outlive the runtime and its sessions. No function may call
/// into the library.
///
/// **Threads**: functions are called from any thread that uses a session, at the same time and also for the same plan,
/// which sessions share; calls for one batch never overlap.
///
/// **Returns** 0 or a negative `realm_status`, from each function that does not say otherwise. The session's call then
/// returns it; `REALM_STATUS_BACKEND` for a number that is none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct realm_backend {
    /// Size of the caller's struct in bytes. Set by `REALM_BACKEND_INIT`.
    pub struct_size: u32,
    /// The interface version the caller was compiled for. Set by `REALM_BACKEND_INIT`.
    pub abi_version: u32,
    /// Reserved for extensions; NULL.
    pub next: *const c_void,
    /// First argument of every function below.
    pub ctx: *mut c_void,
    /// Name for `realm_session_options.backend`, NUL-terminated UTF-8 of 1 to 64 bytes. Only the copy of it is shown.
    pub name: *const c_char,
    /// `REALM_BACKEND_HOST_MEMORY`, or 0.
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// (optional) Makes a zeroed buffer. NULL (only with HOST_MEMORY): the core uses the platform's memory.
    ///
    /// `bytes`: its size, never 0.
    /// `buffer` receives what the other functions and steps name it by, not NULL; with HOST_MEMORY its address, a multiple
    /// of 64. **Owns**: the core, until `buffer_destroy`.
    pub buffer_create:
        Option<unsafe extern "C" fn(ctx: *mut c_void, bytes: u64, buffer: *mut *mut c_void) -> i32>,
    /// (optional) Destroys a buffer after overwriting it with zeros. Needed with `buffer_create`.
    ///
    /// `buffer`: what `buffer_create` gave. No batch that uses it is running.
    pub buffer_destroy: Option<unsafe extern "C" fn(ctx: *mut c_void, buffer: *mut c_void)>,
    /// (optional) Copies host bytes into a buffer. Needed without HOST_MEMORY, not called with it.
    ///
    /// `buffer`, `offset`: where the bytes go; they are all inside.
    /// `data`, `bytes`: the host's bytes, valid until the function returns.
    pub buffer_write: Option<
        unsafe extern "C" fn(
            ctx: *mut c_void,
            buffer: *mut c_void,
            offset: u64,
            data: *const c_void,
            bytes: u64,
        ) -> i32,
    >,
    /// (optional) Copies out of a buffer, after all submitted work on it. Needed without HOST_MEMORY, not called with it.
    ///
    /// `buffer`, `offset`: where the bytes are; they are all inside.
    /// `data`, `bytes`: where they go in the host's memory, and how many.
    pub buffer_read: Option<
        unsafe extern "C" fn(
            ctx: *mut c_void,
            buffer: *mut c_void,
            offset: u64,
            data: *mut c_void,
            bytes: u64,
        ) -> i32,
    >,
    /// (optional) Wraps or uploads a weight and sets its `handle`. NULL: `data` is used in place.
    ///
    /// `weight`: its bytes are valid until `weight_release`, the struct until the function returns.
    pub weight_bind:
        Option<unsafe extern "C" fn(ctx: *mut c_void, weight: *mut realm_weight) -> i32>,
    /// (optional) Undoes `weight_bind`.
    ///
    /// `weight`: as `weight_bind` left it. No batch that uses it is running.
    pub weight_release: Option<unsafe extern "C" fn(ctx: *mut c_void, weight: *const realm_weight)>,
    /// Whether an operation can run here. The core runs what cannot on the reference kernels, and copies both ways where
    /// memory is not shared.
    ///
    /// `program`: valid until the function returns; `data` and `handle` of its weights may still be unset.
    /// `op_index`: which of its operations.
    ///
    /// **Returns** 1 if it can, 0 if not.
    pub supports: Option<
        unsafe extern "C" fn(ctx: *mut c_void, program: *const realm_program, op_index: u32) -> i32,
    >,
    /// Prepares a run of a program's operations; a program may have several such runs.
    ///
    /// `program`: valid until `discard`.
    /// `op_first`, `op_count`: the first operation, and how many.
    /// `plan` receives what the other functions name it by. **Owns**: the core, until `discard`.
    /// `workspace_bytes` receives how much memory a step needs besides scratch; it is 0 before.
    pub prepare: Option<
        unsafe extern "C" fn(
            ctx: *mut c_void,
            program: *const realm_program,
            op_first: u32,
            op_count: u32,
            plan: *mut *mut c_void,
            workspace_bytes: *mut u64,
        ) -> i32,
    >,
    /// Forgets a plan.
    ///
    /// `plan`: what `prepare` gave. No batch of it is running.
    pub discard: Option<unsafe extern "C" fn(ctx: *mut c_void, plan: *mut c_void)>,
    /// Starts a batch of steps of one plan. A synchronous port only notes where to begin. If a batch of several fails, the
    /// core runs its steps again, each by itself.
    ///
    /// `plan`: what `prepare` gave.
    /// `steps`, `step_count`: 1 to 64 steps of different sessions, independent of each other. Of several each has a `repeat`
    /// of 1, few rows, and the same `thread_count`; registers differ. They and what they point to are valid until the batch
    /// has ended.
    /// `cursor`: the port's notes on this batch, zeroed. The same for the batch's `query` and `cancel`.
    ///
    /// **Returns** 0 or a negative `realm_status`; `REALM_STATUS_UNSUPPORTED` for more than one step from a port that takes
    /// only one, which gets one at a time then.
    pub submit: Option<
        unsafe extern "C" fn(
            ctx: *mut c_void,
            plan: *mut c_void,
            steps: *const realm_step,
            step_count: u32,
            cursor: *mut realm_cursor,
        ) -> i32,
    >,
    /// Works on, or asks after, a batch.
    ///
    /// `plan`, `steps`, `step_count`, `cursor`: as for `submit`.
    /// `quantum_ns`: for about so many nanoseconds; 0: until it has ended.
    ///
    /// **Returns** 0 when the batch has ended, `REALM_BACKEND_RUNNING` when it has not, a negative `realm_status` when it has
    /// failed.
    pub query: Option<
        unsafe extern "C" fn(
            ctx: *mut c_void,
            plan: *mut c_void,
            steps: *const realm_step,
            step_count: u32,
            cursor: *mut realm_cursor,
            quantum_ns: u64,
        ) -> i32,
    >,
    /// (optional) Abandons a running batch; returns when it touches no memory any more. NULL: not calling `query` again is
    /// enough.
    ///
    /// `plan`, `cursor`: as for `submit`.
    pub cancel: Option<
        unsafe extern "C" fn(ctx: *mut c_void, plan: *mut c_void, cursor: *mut realm_cursor),
    >,
}

/// An operand as a host's own kernel sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct realm_operand {
    /// First element; NULL for an unused operand, and for a KV cache layer. Weights may be at any alignment and may not be
    /// written. Valid until the kernel returns.
    pub data: *mut c_void,
    /// ggml type id; 0 (f32) for an unused operand.
    pub r#type: u32,
    /// Elements in a row; 0 for an unused operand.
    pub cols: u32,
    /// Rows now; 0 for an unused operand.
    pub rows: u64,
}

/// What a host's own kernel is called with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct realm_kernel_args {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// The core's interface version.
    pub abi_version: u32,
    /// The operation, as recorded.
    pub op: *const realm_op,
    /// The destination.
    pub dst: realm_operand,
    /// The sources, in the order of `op->src`.
    pub src: [realm_operand; 10],
    /// Register values, as many as the program has; a dim `0x80000000 | i` of `op` stands for the `i`-th.
    pub registers: *const u32,
}

/// One kernel for one operation, called once per operation with whole operands in host memory. It may not call into the
/// library.
///
/// `ctx`: that of `realm_runtime_add_kernel`.
/// `args`: the operation and its operands, valid until the function returns.
///
/// **Threads**: called on the thread that polls the session; on several at a time for sessions of several.
///
/// **Returns** 0 or a negative `realm_status`, which the session's call then returns.
pub type realm_kernel_fn =
    Option<unsafe extern "C" fn(ctx: *mut c_void, args: *const realm_kernel_args) -> i32>;
