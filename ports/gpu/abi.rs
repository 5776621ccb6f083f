//! What kernels are handed, as `kernels/dialect.h` declares it: an operation with its operands, and a step with its memory.

use bytemuck::{Pod, Zeroable};

/// Bytes before prepared activations in a workspace. The first four are the step's status.
pub const WORKSPACE_HEAD: u64 = 256;

/// An operand: where it is and how large.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, Pod, Zeroable)]
pub struct Operand {
    /// WEIGHT: address; VALUE: offset in scratch; BUFFER: index; a KV layer: offset in a page.
    pub at: u64,
    /// As in `realm_port.h`.
    pub kind: u32,
    /// ggml's number.
    pub ty: u32,
    /// Elements of a row; of a KV layer the elements of a key.
    pub cols: u32,
    /// Rows, as a dim; of a KV layer the elements of a value.
    pub rows: u32,
    /// `ne[2]`; of a KV layer its heads.
    pub depth: u32,
    /// Of a weight; of a KV layer its page table.
    pub row_bytes: u32,
}

/// An operation.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, Pod, Zeroable)]
pub struct Op {
    pub code: u32,
    pub flags: u32,
    /// That it works on, as a dim.
    pub rows: u32,
    /// How many of the next ones the same launch does.
    pub more: u32,
    /// Address of ROPE's turns; where in the workspace attention has partial results.
    pub table: u64,
    /// KV: where values begin in a layer's part of a page. Products, and what prepares their input: bytes of a prepared row.
    pub extra: u64,
    pub dst: Operand,
    pub src: [Operand; 7],
    pub param: [u32; 20],
}

/// A step's head. Behind it lie what it has the addresses of.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Step {
    pub scratch: u64,
    pub workspace: u64,
    pub buffers: u64,
    pub pages: u64,
    pub tables: u64,
    /// Bytes to the head of the next step of a batch.
    pub stride: u64,
    /// Blocks that have come to a barrier of the kernel that interprets launches: 0.
    pub arrived: u32,
    /// Of the batch.
    pub steps: u32,
    pub registers: [u32; 64],
}

/// A launch for the kernel that interprets them: the number of its kernel, and the operation.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, Pod, Zeroable)]
pub struct Call {
    pub kernel: u32,
    pub op: u32,
}

/// A pair's turn of ROPE for each position, in units of 2^-64 of a whole one, and a factor.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, Pod, Zeroable)]
pub struct Turn {
    pub phase: u64,
    pub scale: f32,
    pub reserved: u32,
}
