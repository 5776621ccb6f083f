//! Dequantizing rows of a tensor: the store's only touch with arithmetic.

use super::model::TensorInfo;
use crate::bail;
use crate::error::Result;
use crate::quant::{GgmlType, dequantize_row};

/// Writes rows `first .. first + count` of `t` to the front of `dst` as floats.
pub(super) fn read_f32(t: &TensorInfo<'_>, first: u64, count: u64, dst: &mut [f32]) -> Result<()> {
    let rows = t.rows();
    let Some(end) = first.checked_add(count).filter(|&end| end <= rows) else {
        bail!(
            InvalidArgument,
            "tensor '{}' has {rows} rows, not {count} from {first} on",
            t.name
        );
    };
    let wanted = || {
        let row_bytes = t.data.len() as u64 / rows;
        let from = usize::try_from(first.checked_mul(row_bytes)?).ok()?;
        let to = usize::try_from(end.checked_mul(row_bytes)?).ok()?;
        let floats = usize::try_from(count.checked_mul(t.row_len())?).ok()?;
        Some((t.data.get(from..to)?, floats))
    };
    let Some((src, floats)) = wanted() else {
        bail!(
            Limit,
            "tensor '{}': {count} rows do not fit this machine's memory",
            t.name
        );
    };
    let have = dst.len();
    let Some(dst) = dst.get_mut(..floats) else {
        bail!(
            BufferTooSmall,
            "tensor '{}': {floats} floats needed, room for {have}",
            t.name
        );
    };
    let Some(ty) = GgmlType::from_id(t.type_id) else {
        // Parsing has refused such files.
        bail!(
            Internal,
            "tensor '{}' has the unknown type {}",
            t.name,
            t.type_id
        );
    };
    dequantize_row(ty, src, dst)
}
