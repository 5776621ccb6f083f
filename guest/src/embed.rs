//! Embeddings: the input goes in at once, and its last hidden rows become one vector of length 1.

use crate::abi::{self, Result, kind, try_vec};
use crate::num;
use crate::program::{Dim, Operand, Recorder};
use crate::slim::OfAllFamilies;
use alloc::vec::Vec;

/// How rows become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first ("CLS").
    First,
    /// The last.
    Last,
}

impl Pooling {
    /// As a file's `pooling_type` has it; the mean where it says nothing.
    pub fn from_file(value: Option<u32>) -> Result<Self> {
        match value {
            None | Some(0 | 1) => Ok(Self::Mean),
            Some(2) => Ok(Self::First),
            Some(3) => Ok(Self::Last),
            Some(n) => Err(fail!(
                UNSUPPORTED,
                "pooling of type {n} is not known to this guest"
            )),
        }
    }
}

/// Where the rows and their embedding are.
pub struct Embedder {
    _whole: OfAllFamilies,
    pooling: Pooling,
    width: u32,
    /// f32 `[n_batch, width]`.
    hidden: u32,
    /// f32 `[1, width]`, published.
    out: u32,
    /// i32 `[n_batch, 1]`, zeros: ids of the type that all tokens are of.
    pub types: u32,
}

impl Embedder {
    /// Creates and publishes the buffers.
    pub fn new(pooling: Pooling, width: u32, n_batch: u32) -> Result<Self> {
        let _whole = OfAllFamilies::need("embeddings")?;
        let hidden = abi::buffer(kind::F32, width, n_batch)?;
        let out = abi::buffer(kind::F32, width, 1)?;
        let types = abi::buffer(kind::I32, 1, n_batch)?;
        abi::publish_embedding(out)?;
        Ok(Self {
            _whole,
            pooling,
            width,
            hidden,
            out,
            types,
        })
    }

    /// Records that the hidden rows are kept.
    pub fn record(&self, r: &mut Recorder, hidden: Operand, n: Dim) {
        r.copy(Operand::buffer(self.hidden), Dim(0), hidden, Dim(0), n);
    }

    /// Makes the embedding of `n` rows, at least one.
    pub fn pool(&self, n: u32) -> Result<()> {
        let rows = match self.pooling {
            Pooling::Mean => 0..n,
            Pooling::First => 0..1,
            Pooling::Last => n - 1..n,
        };
        let width = self.width as usize;
        let mut row: Vec<f32> = try_vec(width)?;
        row.resize(width, 0.0);
        let mut sum: Vec<f64> = try_vec(width)?;
        sum.resize(width, 0.0);
        for i in rows {
            abi::buffer_read(self.hidden, i * self.width, &mut row)?;
            for (sum, x) in sum.iter_mut().zip(&row) {
                *sum += f64::from(*x);
            }
        }
        // A mean has the direction of the sum, and a length of 1 is all that is left of either.
        let length = num::sqrt(sum.iter().map(|x| x * x).sum());
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        for (to, sum) in row.iter_mut().zip(&sum) {
            *to = (sum * scale) as f32;
        }
        abi::buffer_write(self.out, 0, &row)
    }
}
