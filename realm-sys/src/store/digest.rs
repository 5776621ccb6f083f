//! SHA-256 over a model's files, with a way to watch it and to stop it.

use crate::bail;
use crate::error::Result;
use sha2::{Digest, Sha256};

/// The SHA-256 of all parts' bytes, one after another.
pub type Sha256Digest = [u8; 32];

/// Told how far a long computation is: bytes done, bytes in all. `false` cancels.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// Bytes between two calls of the progress function: a few milliseconds' worth.
const CHUNK: usize = 4 << 20;

/// Hashes `parts` in order, as if they were one buffer.
pub fn sha256<'a>(
    parts: impl Iterator<Item = &'a [u8]> + Clone,
    progress: Option<Progress<'_>>,
) -> Result<Sha256Digest> {
    let total = parts
        .clone()
        .fold(0_u64, |n, p| n.saturating_add(p.len() as u64));
    let mut done = 0_u64;
    let mut progress = progress;
    let mut hash = Sha256::new();
    for chunk in parts.flat_map(|p| p.chunks(CHUNK)) {
        hash.update(chunk);
        done += chunk.len() as u64;
        if let Some(report) = &mut progress
            && !report(done, total)
        {
            bail!(
                Cancelled,
                "hashing was cancelled after {done} of {total} bytes"
            );
        }
    }
    Ok(hash.finalize().into())
}

/// The id a digest stands for: its first four bytes, little-endian, bumped past 0.
pub fn derived_id(digest: &Sha256Digest) -> u32 {
    let [a, b, c, d, ..] = *digest;
    u32::from_le_bytes([a, b, c, d]).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn parts_are_hashed_as_one_buffer() {
        let abc = sha256([&b"a"[..], b"", b"bc"].into_iter(), None).unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(abc[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(derived_id(&abc), 0xbf16_78ba);
        assert_eq!(derived_id(&[0; 32]), 1);
    }

    #[test]
    fn progress_ends_at_the_total_and_may_cancel() {
        let big = vec![0; CHUNK + 1];
        let mut seen = vec![];
        let mut watch = |done, total| {
            seen.push((done, total));
            true
        };
        sha256([&big[..]].into_iter(), Some(&mut watch)).unwrap();
        let total = big.len() as u64;
        assert_eq!(seen, [(CHUNK as u64, total), (total, total)]);
        assert!(sha256([&big[..]].into_iter(), Some(&mut |_, _| false)).is_err());
    }
}
