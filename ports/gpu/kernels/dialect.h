/* dialect.h - one text for three compilers: CUDA C++, Metal Shading Language, and the host's C++, which emulates a block.
 *
 * A kernel is a function over a block of 256 threads, written as loops over threads with everything between them uniform:
 *
 *     KERNEL(name) {
 *         PRIVATE(float, x);                     one for each thread
 *         FOR_THREADS(t) x_OF(t) ...             on a GPU the one thread that it is; on the host, all of them in turn
 *         BARRIER();                             what was written to `shared` can be read from here on
 *         const float sum = block_sum(b, x, shared);
 *     }
 *
 * so that a barrier needs no fibers on the host: the loop's end is the barrier (pocl turns barriers into such loops, too). Outside of
 * FOR_THREADS every thread of a block must come to the same statements. Reductions add in the same order everywhere, products and
 * sums are fused only where `fmaf_` says so, and functions are our own: emulated and real devices give the same bits, if the
 * compiler keeps its hands off (-fmad=false, -ffp-contract=off, no fast math).
 *
 * A kernel loops over units of work with the number of blocks as its stride: any grid gives the same result.
 */
#ifndef REALM_GPU_DIALECT_H
#define REALM_GPU_DIALECT_H

#define THREADS 256
#define WARP 32
#define WARPS (THREADS / WARP)
/* Floats of shared memory that a block has: first those for reductions, then the kernel's own. */
#define REDUCE_FLOATS 32
#define SHARED_FLOATS 4096

#if defined(__METAL_VERSION__)

#include <metal_stdlib>
using namespace metal;
typedef uchar u8;
typedef ushort u16;
typedef uint u32;
typedef ulong u64;
typedef char i8;
typedef int i32;
typedef long i64;
#define GLOBAL device
#define SHARED threadgroup
#define LOCAL thread
#define DEVICE static inline
#define REALM_GPU 1
#define UNROLL _Pragma("unroll")
#define TWICE _Pragma("unroll 2")

#elif defined(__CUDACC__)

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char i8;
typedef int i32;
typedef long long i64;
#define GLOBAL
#define SHARED
#define LOCAL
#define DEVICE static __device__ __forceinline__
#define REALM_GPU 1
#define UNROLL _Pragma("unroll")
#define TWICE _Pragma("unroll 2")

#else

#include <cmath>
#include <cstdint>
#include <cstring>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t i8;
typedef int32_t i32;
typedef int64_t i64;
#define GLOBAL
#define SHARED
#define LOCAL
#define DEVICE static inline
#define REALM_GPU 0
#define UNROLL
#define TWICE

#endif

/* ---- what the host hands over; ports/gpu/abi.rs has the same structs ---- */

/* Kinds of operands are those of realm_port.h. */
#define NONE 0
#define WEIGHT 1
#define VALUE 2
#define BUFFER 3

struct Operand {
    u64 at; /* WEIGHT: address; VALUE: offset in scratch; BUFFER: index; a KV layer: offset in a page */
    u32 kind;
    u32 type;      /* ggml's number */
    u32 cols;      /* elements of a row; of a KV layer the elements of a key */
    u32 rows;      /* rows, as a dim; of a KV layer the elements of a value */
    u32 depth;     /* ne[2]; of a KV layer its heads */
    u32 row_bytes; /* of a KV layer its page table */
};

struct Op {
    u32 code;
    u32 flags;
    u32 rows; /* that the operation works on, as a dim */
    u32 more; /* how many of the next ones the same launch does: products of one input with weights of one type */
    u64 table; /* ROPE: address of its turns; attention: where in the workspace a row's partial results are */
    u64 extra; /* KV: where values begin in a layer's part of a page; products, and what prepares their input: bytes of a prepared row */
    Operand dst;
    Operand src[7];
    u32 param[20];
};

struct Step {
    u64 scratch;   /* address */
    u64 workspace; /* address; the first word is the step's status */
    u64 buffers;   /* address of their addresses */
    u64 pages;     /* address of the addresses of all page tables' pages */
    u64 tables;    /* address of the first page of each table, in `pages` */
    u64 stride;    /* bytes to the head of the next step of a batch */
    u32 arrived;   /* blocks that have come to a barrier of `program.h`, all barriers together; of a batch the first step's */
    u32 steps;     /* of the batch */
    u32 registers[64];
};

/* Where prepared activations begin in the workspace. */
#define WORKSPACE_HEAD 256

/* A pair's turn of ROPE for each position, in units of 2^-64 of a whole one; and what cosine and sine are multiplied by. */
struct Turn {
    u64 phase;
    float scale;
    u32 reserved;
};

struct Block {
    u32 own; /* the thread that it is; 0 on the host */
    u32 block;
    u32 blocks;
    u32 step; /* of a batch, or of so many eighths of one (mul_mat_batch_…) */
};

/* A grid's second dimension is the steps of a batch, each with a head of its own. */
#define STEP_OF(first, which) ((GLOBAL const Step *)((GLOBAL const u8 *)(first) + (which) * (first)->stride))

#if REALM_GPU
#define FOR_THREADS(t) for (u32 t = b.own, once_ = 1; once_; once_ = 0)
#define PRIVATE(T, name) T name
#define PRIVATES(T, name, count) T name[count]
#define PRIVATE_REF(T) LOCAL T &
#define PRIVATE_ROWS(T, name, count) LOCAL T (&name)[count]
#define OF(name, t) name
#else
#define FOR_THREADS(t) for (u32 t = 0; t < THREADS; t++)
#define PRIVATE(T, name) T name[THREADS]
#define PRIVATES(T, name, count) T name[THREADS][count]
#define PRIVATE_REF(T) T *
#define PRIVATE_ROWS(T, name, count) T (*name)[count]
#define OF(name, t) name[t]
#endif

/* A loop over units of single threads: `for (u32 i = 0; i < count; i++)`, on all threads of all blocks. */
#define FOR_EACH(i, count)                                                                              \
    for (u64 base_ = (u64)b.block * THREADS; base_ < (count); base_ += (u64)b.blocks * THREADS)         \
        FOR_THREADS(t_)                                                                                 \
            for (u32 i = (u32)base_ + t_, end_ = i + 1; i < end_ && i < (count); i++)

/* The same over units of blocks, and of warps: `first` is the unit of the block's first warp. */
#define FOR_BLOCKS(u, count) for (u32 u = b.block; u < (count); u += b.blocks)
#define FOR_WARPS(first, count) for (u64 first = (u64)b.block * WARPS; first < (count); first += (u64)b.blocks * WARPS)

#define KERNEL_ARGS GLOBAL const Op *op, GLOBAL const Step *step, Block b, SHARED float *shared
#define KERNEL_PASS op, step, b, shared

#if defined(__METAL_VERSION__)
#define BARRIER() threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device)
#define KERNEL(name)                                                                                                     \
    DEVICE void name##_body(KERNEL_ARGS);                                                                                \
    kernel void realm_##name(GLOBAL const Op *ops [[buffer(0)]], constant u32 &index [[buffer(1)]],                              \
                     GLOBAL const Step *step [[buffer(2)]], uint thread_ [[thread_position_in_threadgroup]],             \
                     uint2 block_ [[threadgroup_position_in_grid]], uint2 blocks_ [[threadgroups_per_grid]]) {           \
        threadgroup float shared[SHARED_FLOATS];                                                                         \
        Block b = {thread_, block_.x, blocks_.x, block_.y};                                                                        \
        name##_body(ops + index, STEP_OF(step, block_.y), b, shared);                                                    \
    }                                                                                                                    \
    DEVICE void name##_body(KERNEL_ARGS)
#elif defined(__CUDACC__)
#define BARRIER() __syncthreads()
#define KERNEL(name) KERNEL_OF(name, 1)
#define LEAN_KERNEL(name, blocks) KERNEL_OF(name, blocks)
#define KERNEL_OF(name, per_multiprocessor)                                                                              \
    DEVICE void name##_body(KERNEL_ARGS);                                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS, per_multiprocessor)                                            \
        realm_##name(const Op *ops, u32 index, const Step *step) {                                                       \
        __shared__ __align__(16) float shared[SHARED_FLOATS];                                                            \
        const Block b = {threadIdx.x, blockIdx.x, gridDim.x, blockIdx.y};                                                            \
        name##_body(ops + index, STEP_OF(step, blockIdx.y), b, shared);                                                  \
    }                                                                                                                    \
    DEVICE void name##_body(KERNEL_ARGS)
#else
#define BARRIER() ((void)0)
/* A kernel is entered in a list, by its name, as a GPU's module has one. */
typedef void (*KernelFn)(const Op *op, const Step *step, Block b, float *shared);
struct Entry {
    const char *name;
    KernelFn run;
    Entry *next;
};
static Entry *entries;
struct Enter {
    Entry entry;
    Enter(const char *name, KernelFn run) : entry{name, run, entries} { entries = &entry; }
};
#define KERNEL(name)                                   \
    DEVICE void name##_body(KERNEL_ARGS);              \
    static Enter name##_entry("realm_" #name, name##_body);     \
    DEVICE void name##_body(KERNEL_ARGS)
#endif

/* One so many of whose blocks share a multiprocessor: with few enough registers. */
#ifndef LEAN_KERNEL
#define LEAN_KERNEL(name, blocks) KERNEL(name)
#endif

#define ADDRESS(T, bits) ((GLOBAL T *)(bits))

/* ---- where operands are, and how large ---- */

DEVICE u32 dim(GLOBAL const Step *step, u32 bits) {
    return bits & 0x80000000u ? step->registers[bits & 63u] : bits;
}

DEVICE u64 address(GLOBAL const Step *step, GLOBAL const Operand &o) {
    if (o.kind == VALUE) return step->scratch + o.at;
    if (o.kind == BUFFER) return ADDRESS(const u64, step->buffers)[o.at];
    return o.at;
}

#define FLOATS(o) ADDRESS(float, address(step, o))
#define INTS(o) ADDRESS(i32, address(step, o))
#define BYTES(o) ADDRESS(u8, address(step, o))

/* A step fails by its status, which the host reads when it has ended. Whoever finds something writes the same. */
#define BAD_DATA 1
DEVICE void fail(GLOBAL const Step *step) { *ADDRESS(u32, step->workspace) = BAD_DATA; }

/* The part of a layer in a page: of the page with this index in the layer's table. 0: there is none. */
DEVICE u64 page_of(GLOBAL const Step *step, GLOBAL const Operand &kv, u32 page) {
    const u32 first = ADDRESS(const u32, step->tables)[kv.row_bytes];
    const u64 at = ADDRESS(const u64, step->pages)[first + page];
    return at ? at + kv.at : 0;
}

#endif
