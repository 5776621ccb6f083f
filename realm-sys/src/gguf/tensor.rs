//! Tensor records: shape, type and place, each checked before it is believed.

use super::read::{Reader, Span};
use super::{Limits, MAX_DIMS};
use crate::bail;
use crate::error::{Result, try_vec};
use crate::quant::GgmlType;

/// One tensor of a file.
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    pub(super) name: Span,
    /// Elements per dimension, fastest first (`ne` of ggml); 1 beyond `n_dims`, never 0.
    pub dims: [u64; 4],
    /// Dimensions the file gave, 0 (a scalar) to 4.
    pub n_dims: u32,
    /// The element type, as ggml numbers them; known to this build.
    pub type_id: u32,
    /// Where the data begins, in bytes from the file's start: aligned and inside the file.
    pub offset: u64,
    /// Bytes of data; `offset + bytes` is inside the file.
    pub bytes: u64,
}

impl Tensor {
    /// The least bytes a record takes: a name of one byte and no dimensions.
    pub(super) const MIN_BYTES: u64 = 8 + 1 + 4 + 4 + 8;

    /// The name, read out of the file's bytes.
    pub fn name<'a>(&self, bytes: &'a [u8]) -> &'a str {
        core::str::from_utf8(self.name.of(bytes)).unwrap_or_default()
    }

    /// The data, read out of the file's bytes; empty if those are not the file's.
    pub fn data<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        Span {
            offset: self.offset,
            bytes: self.bytes,
        }
        .of(bytes)
    }

    /// Elements in all. Cannot overflow: parsing checked the product.
    pub fn elements(&self) -> u64 {
        self.dims.iter().fold(1, |n: u64, &d| n.saturating_mul(d))
    }

    /// Rows: the product of all dimensions but the first.
    pub fn rows(&self) -> u64 {
        let [_, rest @ ..] = self.dims;
        rest.iter().fold(1, |n: u64, &d| n.saturating_mul(d))
    }

    /// Reads one record; `offset` is still relative to the data section.
    pub(super) fn read(r: &mut Reader<'_>, limits: &Limits) -> Result<Self> {
        let (name, text) = r.name(limits.name_bytes, "a tensor name")?;
        let n_dims = r.u32("a tensor's dimension count")?;
        if n_dims > MAX_DIMS {
            bail!(
                Format,
                "tensor '{text}' has {n_dims} dimensions, more than {MAX_DIMS}"
            );
        }
        if n_dims > limits.dims {
            bail!(
                Limit,
                "tensor '{text}' has {n_dims} dimensions, over the limit of {}",
                limits.dims
            );
        }
        let mut dims = [1_u64; 4];
        for d in dims.iter_mut().take(n_dims as usize) {
            *d = r.u64("a tensor's dimension")?;
            if *d == 0 {
                bail!(Format, "tensor '{text}' has a dimension of 0");
            }
        }
        let type_id = r.u32("a tensor's type")?;
        let offset = r.u64("a tensor's offset")?;
        let bytes = data_bytes(text, &dims, type_id)?;
        Ok(Self {
            name,
            dims,
            n_dims,
            type_id,
            offset,
            bytes,
        })
    }

    /// Makes `offset` absolute and checks that the data lies in the file.
    pub(super) fn place(&mut self, file: &[u8], data_offset: u64, alignment: u32) -> Result<()> {
        let name = self.name(file);
        if !self.offset.is_multiple_of(u64::from(alignment)) {
            bail!(
                Format,
                "tensor '{name}' at offset {} is not aligned to {alignment}",
                self.offset
            );
        }
        let place = || {
            let start = data_offset.checked_add(self.offset)?;
            let end = start.checked_add(self.bytes)?;
            (end <= file.len() as u64).then_some(start)
        };
        let Some(start) = place() else {
            bail!(
                Format,
                "tensor '{name}' has {} bytes at offset {}, past the end of the file ({} bytes): it is cut short or damaged",
                self.bytes,
                self.offset,
                file.len()
            );
        };
        self.offset = start;
        Ok(())
    }
}

/// Bytes of a tensor's data, or an error that names it.
fn data_bytes(name: &str, dims: &[u64; 4], type_id: u32) -> Result<u64> {
    let Some(ty) = GgmlType::from_id(type_id) else {
        bail!(
            Unsupported,
            "tensor '{name}' has the unknown type {type_id}"
        );
    };
    if let Some(feature) = ty.feature().filter(|_| !ty.is_built()) {
        bail!(
            Unsupported,
            "tensor '{name}' has type {}, which is not part of this build of the library (its feature {feature})",
            ty.name()
        );
    }
    let [row, rest @ ..] = *dims;
    if !row.is_multiple_of(ty.block_len() as u64) {
        bail!(
            Format,
            "tensor '{name}': rows of {row} are not a multiple of {}'s {}",
            ty.name(),
            ty.block_len()
        );
    }
    let bytes = || {
        // Elements are kept below 2^63, as ggml's signed sizes have it.
        let elements = dims.iter().try_fold(1_u64, |n, &d| n.checked_mul(d))?;
        i64::try_from(elements).ok()?;
        rest.iter()
            .try_fold(ty.row_bytes(row)?, |n, &d| n.checked_mul(d))
    };
    match bytes() {
        Some(n) => Ok(n),
        None => bail!(Format, "tensor '{name}': the dimensions {dims:?} overflow"),
    }
}

/// Refuses files whose tensors share bytes: no writer makes them, and a write through one of two
/// aliases (a repacked weight, an adapter) would be a surprise.
pub(super) fn check_overlap(file: &[u8], tensors: &[Tensor]) -> Result<()> {
    let mut order: alloc::vec::Vec<&Tensor> = try_vec(tensors.len(), "tensors")?;
    order.extend(tensors);
    order.sort_unstable_by_key(|t| t.offset);
    for pair in order.windows(2) {
        // `place` has checked that the sum is inside the file.
        if let [a, b] = pair
            && a.offset + a.bytes > b.offset
        {
            bail!(
                Format,
                "tensors '{}' and '{}' overlap",
                a.name(file),
                b.name(file)
            );
        }
    }
    Ok(())
}
