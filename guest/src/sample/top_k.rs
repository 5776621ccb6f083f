//! Top-k: an operation of the program; this file has its buffers and reads its results.

use crate::abi::{self, Result, kind};
use crate::program::{Dim, Operand, Recorder};

/// Where the program leaves the candidates.
#[derive(Debug, Default)]
pub struct Buffers {
    capacity: u32,
    /// i32 `[1, capacity]`, descending by logit.
    ids: u32,
    /// f32 `[1, capacity]`.
    values: u32,
    /// f32 `[2, 1]`: log-sum-exp over the vocabulary, plain and tempered.
    sums: Option<u32>,
}

/// Log-sum-exp over the whole vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    /// At temperature 1.
    pub plain: f32,
    /// At the sampling temperature.
    pub tempered: f32,
}

impl Buffers {
    /// Makes room for `k` candidates. The buffers have exactly this width, because an operation's
    /// operands must agree; a host's buffers live as long as the session, so a turn that changes k
    /// costs eight bytes times k.
    pub fn reserve(&mut self, k: u32) -> Result<()> {
        if self.capacity != k {
            self.ids = abi::buffer(kind::I32, k, 1)?;
            self.values = abi::buffer(kind::F32, k, 1)?;
            self.capacity = k;
        }
        if self.sums.is_none() {
            self.sums = Some(abi::buffer(kind::F32, 1, 2)?);
        }
        Ok(())
    }

    /// Appends the operations; `inv_temp` above 0 asks for the sums.
    pub fn record(&self, r: &mut Recorder, logits: Operand, n_out: Dim, k: u32, inv_temp: f32) {
        let (ids, values) = (r.i32(k, n_out), r.f32(k, n_out));
        r.top_k(ids, values, logits, Dim(k));
        r.copy(Operand::buffer(self.ids), Dim(0), ids, Dim(0), n_out);
        r.copy(Operand::buffer(self.values), Dim(0), values, Dim(0), n_out);
        if let Some(sums) = self.sums.filter(|_| inv_temp > 0.0) {
            for (row, scale) in [(0, 1.0), (1, inv_temp)] {
                let sum = r.f32(1, n_out);
                r.logsumexp(sum, logits, scale);
                r.copy(Operand::buffer(sums), Dim(row), sum, Dim(0), n_out);
            }
        }
    }

    /// The buffers of ids, values and sums.
    pub fn handles(&self) -> [u32; 3] {
        [self.ids, self.values, self.sums.unwrap_or(0)]
    }

    /// Logits of the candidates from rank `first`.
    pub fn values(&self, first: u32, out: &mut [f32]) -> Result<()> {
        abi::buffer_read(self.values, first, out)
    }

    /// The token of a rank.
    pub fn id(&self, rank: u32) -> Result<u32> {
        let mut id = [0u32];
        abi::buffer_read(self.ids, rank, &mut id)?;
        let [id] = id;
        Ok(id)
    }

    /// The sums of the last step.
    pub fn sums(&self) -> Result<Sums> {
        let mut out = [0f32; 2];
        if let Some(sums) = self.sums {
            abi::buffer_read(sums, 0, &mut out)?;
        }
        let [plain, tempered] = out;
        Ok(Sums { plain, tempered })
    }
}
