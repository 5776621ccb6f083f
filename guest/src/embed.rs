//! Embeddings: the last hidden rows of an input become one vector, or the scores of a ranker. Encoders take the input at once, models
//! that could make text in chunks.

use crate::abi::{self, Result, kind, try_vec};
use crate::arch::parts::Linear;
use crate::num;
use crate::program::{Act, Dim, Operand, Recorder};
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
    /// What a head makes of the first: scores of how well a text answers a question.
    Rank,
}

impl Pooling {
    /// As a file's `pooling_type` has it; the mean where it says nothing.
    pub fn from_file(value: Option<u32>) -> Result<Self> {
        match value {
            None | Some(0 | 1) => Ok(Self::Mean),
            Some(2) => Ok(Self::First),
            Some(3) => Ok(Self::Last),
            Some(4) => Ok(Self::Rank),
            Some(n) => Err(fail!(
                UNSUPPORTED,
                "pooling of type {n} is not known to this guest"
            )),
        }
    }
}

/// What makes scores of a row: a layer with tanh, and another behind it; one of them may be missing.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// `[d, d]`
    pub dense: Option<Linear>,
    /// `[scores, d]`
    pub output: Option<Linear>,
}

impl Head {
    /// How many scores there are.
    fn width(&self) -> u32 {
        self.output.or(self.dense).map_or(0, |last| last.width)
    }

    /// Scores `[1, n]` of the first of the hidden rows.
    fn record(&self, r: &mut Recorder, hidden: Operand) -> Operand {
        let one = Dim(1);
        let mut x = r.f32(r.cols(hidden), one);
        r.copy(x, Dim(0), hidden, Dim(0), one);
        for (layer, is_last) in [(self.dense, false), (self.output, true)] {
            let Some(layer) = layer else { continue };
            let out = r.f32(layer.width, one);
            r.mul_mat(out, layer.weight, x, layer.bias);
            if !is_last {
                r.unary(out, out, Act::TANH);
            }
            x = out;
        }
        x
    }
}

/// Where the rows and their embedding are.
pub struct Embedder {
    _whole: OfAllFamilies,
    pooling: Pooling,
    /// Of a ranker.
    head: Option<Head>,
    width: u32,
    /// f32 `[rows, width]`, by position.
    hidden: u32,
    /// f32 `[1, width]`, published.
    out: u32,
    /// i32 `[n_batch, 1]`, zeros: ids of the type that all tokens are of.
    pub types: u32,
}

impl Embedder {
    /// Creates and publishes the buffers, for so many hidden rows. Ranking needs a head.
    pub fn new(
        pooling: Pooling,
        head: Option<Head>,
        width: u32,
        rows: u32,
        n_batch: u32,
    ) -> Result<Self> {
        let _whole = OfAllFamilies::need("embeddings")?;
        let head = match pooling {
            Pooling::Rank if head.is_none() => {
                return Err(fail!(
                    UNSUPPORTED,
                    "the model has no head that ranks (cls.weight, cls.output.weight), which pooling 'rank' needs"
                ));
            }
            Pooling::Rank => head,
            _ => None,
        };
        let hidden = abi::buffer(kind::F32, width, rows)?;
        let out = abi::buffer(kind::F32, head.map_or(width, |head| head.width()), 1)?;
        let types = abi::buffer(kind::I32, 1, n_batch)?;
        abi::publish_embedding(out)?;
        Ok(Self {
            _whole,
            pooling,
            head,
            width,
            hidden,
            out,
            types,
        })
    }

    /// Records that `n` hidden rows are kept, from row `first` on, or what a head makes of them.
    pub fn record(&self, r: &mut Recorder, hidden: Operand, first: Dim, n: Dim) {
        if let Some(head) = &self.head {
            let scores = head.record(r, hidden);
            return r.copy(Operand::buffer(self.out), Dim(0), scores, Dim(0), Dim(1));
        }
        r.copy(Operand::buffer(self.hidden), first, hidden, Dim(0), n);
    }

    /// Makes the embedding of `n` rows, at least one, and scales it: see [`scale`]. Scores stay as they are.
    pub fn pool(&self, n: u32, normalize: i32) -> Result<()> {
        let rows = match self.pooling {
            Pooling::Rank => return Ok(()),
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
        let count = match self.pooling {
            Pooling::Mean => f64::from(n),
            _ => 1.0,
        };
        sum.iter_mut().for_each(|x| *x /= count);
        let scale = scale(&sum, normalize);
        for (to, sum) in row.iter_mut().zip(&sum) {
            *to = (sum * scale) as f32;
        }
        abi::buffer_write(self.out, 0, &row)
    }
}

/// What a vector is multiplied with, as llama.cpp's `--embd-normalize` has it: -1: 1; 0: so that the largest element is 32760; p: so
/// that its p-norm is 1 (2: its length).
fn scale(x: &[f64], normalize: i32) -> f64 {
    let most = x.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let size = match normalize {
        ..=-1 => return 1.0,
        0 => most / 32760.0,
        _ if most == 0.0 => 0.0,
        2 => num::sqrt(x.iter().map(|x| x * x).sum()),
        p => {
            // Of the largest, which a power neither makes nothing nor infinite.
            let power = |x: &f64| (1..p).fold(x.abs() / most, |y, _| y * x.abs() / most);
            let sum: f64 = x.iter().map(power).sum();
            most * num::exp(num::ln(sum) / f64::from(p))
        }
    };
    if size > 0.0 { 1.0 / size } else { 0.0 }
}
