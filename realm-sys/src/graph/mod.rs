//! Recorded programs. So far: the reference [`kernels`].

pub mod kernels;
