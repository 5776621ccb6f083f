//! Dequantizing rows of a tensor: the store's only touch with arithmetic.

use super::model::TensorInfo;
use crate::bail;
use crate::error::Result;

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
    dequantize(t, src, dst)
}

/// All of `src`, whole rows, to as many floats.
fn dequantize(t: &TensorInfo<'_>, src: &[u8], dst: &mut [f32]) -> Result<()> {
    match t.type_id {
        0 => {
            for (to, from) in dst.iter_mut().zip(src.as_chunks().0) {
                *to = f32::from_le_bytes(*from);
            }
        }
        1 => {
            for (to, from) in dst.iter_mut().zip(src.as_chunks().0) {
                *to = half::f16::from_le_bytes(*from).to_f32();
            }
        }
        id => bail!(
            Unsupported,
            "tensor '{}': type {id} cannot be dequantized yet",
            t.name
        ),
    }
    Ok(())
}
