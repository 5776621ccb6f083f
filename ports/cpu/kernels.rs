//! The kernels of a level, as a table of functions.

use super::isa::Isa;
use super::scalar;
use crate::graph::kernels::attention::KvLayout;
use crate::graph::kernels::matmul::ActKind;
use crate::quant::GgmlType;
use core::ops::Range;

/// Matrix product `dst[t][r] = dot(w[r], act[t]) + bias[r]`, over activation rows that may lie anywhere.
///
/// The meaning of every bit is that of `crate::graph::kernels::matmul`.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// Type of the weights.
    pub ty: GgmlType,
    /// `m` rows of `k` elements, as they lie in the model's file: little-endian, any alignment.
    pub w: &'a [u8],
    /// Elements of a row: whole blocks of the type.
    pub k: usize,
    /// Rows of the weights.
    pub m: usize,
    /// Prepared rows, in the level's own form of the type's [`ActKind`], 64-byte aligned.
    pub act: &'a [*const u8],
    /// Where each output row begins: as many as `act`. Any alignment of a float.
    pub dst: &'a [*mut f32],
    /// `m` little-endian floats at any alignment.
    pub bias: Option<&'a [u8]>,
}

/// Attention of consecutive positions over one layer's pages. Meaning: `crate::graph::kernels::attention`.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// What a page holds.
    pub layout: &'a KvLayout,
    /// Query heads, a multiple of the KV heads; `n_head / n_head_kv` consecutive ones share a KV head.
    pub n_head: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Positions that a query sees, itself included; 0 for all.
    pub window: u32,
    /// Caps the scores; 0 for none.
    pub softcap: f32,
    /// A score per query head that has no value, little-endian floats at any alignment.
    pub sinks: Option<&'a [u8]>,
    /// The page table; NULL entries where a window has left pages behind.
    pub pages: &'a [*const u8],
    /// Where the layer's part of a page starts, in bytes.
    pub offset: usize,
    /// Position of row 0; row `i` is at `first + i`.
    pub first: u32,
    /// Where attention is not causal: the last position that every row sees.
    pub all: Option<u32>,
    /// Query rows `[rows][n_head * dk]`, dense.
    pub q: *const f32,
    /// Results `[rows][n_head * dv]`, dense.
    pub dst: *mut f32,
}

/// How far ahead of rows that are read side by side their memory is asked for, at least `least` bytes: whole groups of so
/// many rows further on, or within long rows, because memory is best asked for in its order.
#[cfg(target_arch = "x86_64")]
pub fn ahead(rows: usize, row_bytes: usize, least: usize) -> usize {
    if row_bytes > least {
        return least;
    }
    let group = rows * row_bytes;
    group * least.div_ceil(group)
}

/// What a level computes with. Every function gives the reference's bits.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// The level.
    pub isa: Isa,
    /// Bytes of a prepared activation row of `k` elements: a multiple of 64.
    pub act_row_bytes: fn(kind: ActKind, k: usize) -> usize,
    /// Prepares one row. `dst` is `act_row_bytes` long and 64-byte aligned.
    ///
    /// # Safety
    /// The level is available; `dst` is not otherwise in use.
    pub prepare_act: unsafe fn(kind: ActKind, x: &[f32], dst: *mut u8),
    /// Scratch bytes that one thread needs to compute any rows of such a product: a multiple of 64.
    pub product_scratch_bytes: fn(ty: GgmlType, k: usize, tokens: usize) -> usize,
    /// Computes the outputs of the weight rows in `rows` for all activation rows.
    ///
    /// # Safety
    /// The level is available; pointers are good for what `Product` says; nobody else touches columns `rows` of the
    /// destination meanwhile; `scratch` is 64-byte aligned, as long as asked for, and nobody else's.
    pub product: unsafe fn(p: &Product<'_>, rows: Range<usize>, scratch: *mut u8),
    /// Scratch bytes that one thread needs to attend `rows` rows at once.
    pub attend_scratch_bytes: fn(layout: &KvLayout, n_head: usize, rows: usize) -> usize,
    /// Attends the rows in `rows`, for all query heads of the KV heads in `heads`.
    ///
    /// # Safety
    /// As `product`: pages that hold visible positions are initialised and nobody writes them.
    pub attend:
        unsafe fn(a: &Attention<'_>, rows: Range<usize>, heads: Range<usize>, scratch: *mut u8),
    /// Appends the positions in `slots` of one page, for one KV head: what `kv_append_row` writes. `k` and `v` point at
    /// that head's part of the first position's row; strides are floats from one row to the next.
    ///
    /// # Safety
    /// The level is available; `slots` are below 64; `page` is the layer's part of the page, where nobody else touches
    /// these slots of this head meanwhile.
    pub append: unsafe fn(
        layout: &KvLayout,
        page: *mut u8,
        slots: Range<usize>,
        k: *const f32,
        k_stride: usize,
        v: *const f32,
        v_stride: usize,
        head: usize,
    ),
}

impl Kernels {
    /// The kernels of a level, where it is available.
    pub fn of(isa: Isa) -> Option<Self> {
        if !isa.available() {
            return None;
        }
        Some(match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => super::avx512::KERNELS,
            #[cfg(all(
                target_arch = "aarch64",
                target_feature = "neon",
                target_endian = "little"
            ))]
            Isa::Neon => super::neon::NEON,
            #[cfg(all(
                target_arch = "aarch64",
                target_feature = "neon",
                target_endian = "little"
            ))]
            Isa::NeonDot => super::neon::DOT,
            #[cfg(all(
                target_arch = "aarch64",
                target_feature = "neon",
                target_endian = "little"
            ))]
            Isa::NeonI8mm => super::neon::I8MM,
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => super::avx2::KERNELS_VNNI,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => super::avx2::KERNELS,
            _ => scalar::KERNELS,
        })
    }

    /// The best there is, or what was forced.
    pub fn current() -> Self {
        Self::of(Isa::current()).unwrap_or(scalar::KERNELS)
    }
}
