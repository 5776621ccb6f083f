//! The reference kernels: pure functions over slices that **define the numerics**.
//!
//! For each operation and type the `//!` of its file states the integer arithmetic and the order of
//! every float operation. Ports must give the same bits (CPU) or stay within bounds (GPU); what is
//! not stated there is nobody's to choose. The foundations (lanes, tree, fused multiply-add, exp) are
//! in [`crate::num`].
//!
//! | file          | what |
//! |---------------|------|
//! | [`matmul`]    | matrix products: types, activation rows, the entry points |
//! | `dot_f32`     | rows of floats, and of types that are dequantized |
//! | `dot_q32`     | rows of 32-element blocks |
//! | `dot_k`       | rows of 256-element super-blocks |
//! | [`norm`]      | RMS and layer norm |
//! | [`rope`]      | rotary embedding |
//! | [`attention`] | the KV page and attention over it |
//! | [`act`]       | activations, gated and plain, soft cap |
//! | [`basic`]     | add, multiply, scale, weighted sums |
//! | [`softmax`]   | softmax of a row |
//! | [`conv`]      | short causal convolution |
//! | [`scan`]      | selective scan |
//! | [`select`]    | argmax, top-k, and what changes logits before them |
//!
//! **Rows are independent**: no kernel mixes rows (but the scan, whose rows follow one another in every batch alike), so batch size, slicing and threads cannot show in
//! the result. Element-wise kernels work in place; a caller with another destination copies first.
//! Slices that must agree in length are cut to the shorter: the program's validation is where
//! lengths are checked, and nothing here can leave its slices.
//!
//! Callers hold a [`crate::num::FpGuard`].

pub mod act;
pub mod attention;
pub mod basic;
pub mod conv;
mod dot_f32;
mod dot_k;
mod dot_q32;
pub mod matmul;
pub mod norm;
pub mod rope;
pub mod scan;
pub mod select;
pub mod softmax;
