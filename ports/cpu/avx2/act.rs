//! Prepared activations: the reference's integers and scales, arranged for this level.
//!
//! A row is one structure per 256 elements. Each holds the integers twice: as bytes for decoding, where they meet the
//! weights' bytes, and as words for tiles, where they meet weights expanded to words.

use crate::cpu::scalar;
use crate::graph::kernels::matmul::ActKind;

/// 256 elements of `Q8x256`.
#[repr(C, align(64))]
pub(super) struct Group256 {
    pub bytes: [i8; 256],
    pub words: [i16; 256],
    /// Sums of each 16: the even ones, then the odd ones.
    pub sums: [i16; 16],
    pub d: f32,
}

/// Up to eight blocks of `Q8x32`.
#[repr(C, align(64))]
pub(super) struct Group32 {
    pub bytes: [i8; 256],
    pub words: [i16; 256],
    pub d: [f32; 8],
    pub sums: [i32; 8],
    pub float_sums: [f32; 8],
}

pub(super) fn row_bytes(kind: ActKind, k: usize) -> usize {
    let groups = k.div_ceil(256);
    match kind {
        ActKind::F32 => k.saturating_mul(4).div_ceil(64).saturating_mul(64),
        ActKind::Q8x32 => groups.saturating_mul(size_of::<Group32>()),
        ActKind::Q8x256 => groups.saturating_mul(size_of::<Group256>()),
    }
}

/// The reference's form of 256 elements: bytes, scales, sums.
#[repr(C, align(64))]
struct Plain([u8; 320]);

impl Plain {
    fn new(kind: ActKind, x: &[f32]) -> Self {
        let mut plain = Self([0; 320]);
        // SAFETY: for up to 256 elements the reference's row is 320 bytes long, of either kind.
        unsafe { scalar::prepare_act(kind, x, plain.0.as_mut_ptr()) };
        plain
    }

    fn part<const N: usize>(&self, at: usize) -> [u8; N] {
        let part = self.0.get(at..).and_then(|p| p.first_chunk());
        part.copied().unwrap_or([0; N])
    }

    fn bytes(&self) -> [i8; 256] {
        self.part::<256>(0).map(|b| b as i8)
    }
}

/// # Safety
/// `dst` is 64-byte aligned and `row_bytes` long.
pub(super) unsafe fn prepare(kind: ActKind, x: &[f32], dst: *mut u8) {
    if kind == ActKind::F32 {
        // SAFETY: the caller's promise; the reference's form is as long.
        return unsafe { scalar::prepare_act(kind, x, dst) };
    }
    for (i, x) in x.chunks(256).enumerate() {
        let plain = Plain::new(kind, x);
        let bytes = plain.bytes();
        let words = bytes.map(i16::from);
        if kind == ActKind::Q8x32 {
            let mut d = [0.0; 8];
            for (d, &b) in d.iter_mut().zip(plain.part::<32>(256).as_chunks::<4>().0) {
                *d = f32::from_ne_bytes(b);
            }
            let mut sums = [0; 8];
            for (sum, b) in sums.iter_mut().zip(bytes.as_chunks::<32>().0) {
                *sum = b.iter().map(|&b| i32::from(b)).sum();
            }
            let group = Group32 {
                bytes,
                words,
                d,
                sums,
                float_sums: sums.map(|s| s as f32),
            };
            // SAFETY: the row has a group for every 256 elements begun.
            unsafe { dst.cast::<Group32>().add(i).write(group) };
        } else {
            let mut sums = [0; 16];
            for (n, b) in bytes.as_chunks::<16>().0.iter().enumerate() {
                if let Some(sum) = sums.get_mut(n / 2 + 8 * (n % 2)) {
                    *sum = b.iter().map(|&b| i16::from(b)).sum();
                }
            }
            let d = f32::from_ne_bytes(plain.part(256));
            let group = Group256 {
                bytes,
                words,
                sums,
                d,
            };
            // SAFETY: as above.
            unsafe { dst.cast::<Group256>().add(i).write(group) };
        }
    }
}
