//! A registered model: its files, their indices and what is computed from them once.

use super::buffer::Buffer;
use super::digest::{Progress, Sha256Digest, sha256};
use super::lazy::Lazy;
use super::rows;
use crate::bail;
use crate::error::{Result, try_vec};
use crate::gguf::{Gguf, Limits, Metadata, Tensor};
use crate::vocab::Vocab;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The most files a model may be split into.
pub const MAX_PARTS: usize = 65_535;

/// An immutable model, shared by whoever has it open and safe to use from any thread.
///
/// The files' bytes are borrowed until the last `Arc` of it goes.
pub struct Model {
    parts: Vec<File>,
    /// Tensor handles ascending by name; empty where one file's own index does.
    by_name: Vec<u32>,
    tensor_count: u32,
    file_bytes: u64,
    parameter_count: u64,
    digest: Lazy<Sha256Digest>,
    /// Built when first asked for, then shared.
    vocab: Lazy<Vocab>,
}

struct File {
    buffer: Buffer,
    gguf: Gguf,
    /// The handle of the file's first tensor.
    first: u32,
}

/// A tensor of a model. Handles count from 0 through all files in order.
#[derive(Clone, Copy, Debug)]
pub struct TensorInfo<'a> {
    /// The name; unique in the model.
    pub name: &'a str,
    /// The element type, as ggml numbers them.
    pub type_id: u32,
    /// Elements per dimension, fastest first; 1 beyond `n_dims`.
    pub dims: [u64; 4],
    /// Dimensions the file gave, 0 to 4.
    pub n_dims: u32,
    /// The elements as they lie in the file. Its alignment is that of the buffer and of the file.
    pub data: &'a [u8],
    /// The file of the model it is in.
    pub part: u32,
    /// Where `data` begins in that file.
    pub offset: u64,
}

impl TensorInfo<'_> {
    /// Elements in a row.
    pub fn row_len(&self) -> u64 {
        let [n, ..] = self.dims;
        n
    }

    /// Rows: the product of all dimensions but the first. At least 1.
    pub fn rows(&self) -> u64 {
        let [_, rest @ ..] = self.dims;
        rest.iter().fold(1, |n: u64, &d| n.saturating_mul(d))
    }
}

impl Model {
    pub(super) fn new(buffers: Vec<Buffer>, limits: &Limits) -> Result<Self> {
        let mut parts: Vec<File> = try_vec(buffers.len(), "files")?;
        let mut first = 0_u32;
        let mut file_bytes = 0_u64;
        let mut parameter_count = 0_u64;
        for (i, buffer) in buffers.into_iter().enumerate() {
            buffer.check(i)?;
            let gguf = Gguf::parse(buffer.bytes(), limits)?;
            file_bytes = file_bytes.saturating_add(buffer.bytes().len() as u64);
            for t in gguf.tensors() {
                parameter_count = parameter_count.saturating_add(t.elements());
            }
            let next = first as u64 + gguf.tensors().len() as u64;
            if next > limits.tensor_count.min(u64::from(u32::MAX)) {
                bail!(
                    Limit,
                    "{next} tensors in all, over the limit of {} (max_tensor_count)",
                    limits.tensor_count
                );
            }
            parts.push(File {
                buffer,
                gguf,
                first,
            });
            first = next as u32;
        }
        let mut model = Self {
            parts,
            by_name: Vec::new(),
            tensor_count: first,
            file_bytes,
            parameter_count,
            digest: Lazy::new(),
            vocab: Lazy::new(),
        };
        model.check_split()?;
        model.index_names()?;
        Ok(model)
    }

    /// Checks that the files are the parts of one model, in order and all of them.
    fn check_split(&self) -> Result<()> {
        let given = self.parts.len() as u64;
        for (i, file) in self.parts.iter().enumerate() {
            let m = file.gguf.metadata(file.buffer.bytes());
            // Joined files keep the key with a count of 0.
            let count = match m.get("split.count") {
                None => 1,
                Some(v) => match v.as_u64() {
                    Some(n) => n.max(1),
                    None => bail!(Format, "split.count of file {i} is not a count"),
                },
            };
            if count != given {
                bail!(
                    InvalidArgument,
                    "file {i} is of a model of {count} files, {given} were given"
                );
            }
            if count == 1 {
                continue;
            }
            let Some(no) = m.u64("split.no") else {
                bail!(Format, "file {i} of a split model lacks split.no");
            };
            if no != i as u64 {
                bail!(
                    InvalidArgument,
                    "file {i} says that it is number {no}: give them in order"
                );
            }
            let total = u64::from(self.tensor_count);
            if let Some(claimed) = m.get("split.tensors.count")
                && claimed.as_u64() != Some(total)
            {
                bail!(
                    Format,
                    "file {i} claims {claimed:?} tensors in all, there are {total}"
                );
            }
        }
        Ok(())
    }

    /// Sorts the names of all files' tensors together, where there are several.
    fn index_names(&mut self) -> Result<()> {
        if self.parts.len() < 2 {
            return Ok(());
        }
        let mut order = try_vec(self.tensor_count as usize, "tensors")?;
        order.extend(0..self.tensor_count);
        order.sort_unstable_by(|&a, &b| self.name(a).cmp(self.name(b)));
        for pair in order.windows(2) {
            if let &[a, b] = pair
                && self.name(a) == self.name(b)
            {
                bail!(Format, "tensor name '{}' comes in two files", self.name(a));
            }
        }
        self.by_name = order;
        Ok(())
    }

    /// The file a handle is in, and the tensor's record.
    fn locate(&self, handle: u32) -> Option<(usize, &File, &Tensor)> {
        if handle >= self.tensor_count {
            return None;
        }
        // The last file that begins at or before the handle; empty files share a beginning.
        let part = self
            .parts
            .partition_point(|f| f.first <= handle)
            .checked_sub(1)?;
        let file = self.parts.get(part)?;
        let tensor = file.gguf.tensors().get((handle - file.first) as usize)?;
        Some((part, file, tensor))
    }

    fn name(&self, handle: u32) -> &str {
        self.locate(handle)
            .map_or("", |(_, file, t)| t.name(file.buffer.bytes()))
    }

    /// The vocabulary, built by the first caller and shared by all.
    pub fn vocab(&self) -> Result<Arc<Vocab>> {
        self.vocab.get_or_build(|| Vocab::build(self.metadata()))
    }

    /// The metadata: that of the first file.
    pub fn metadata(&self) -> Metadata<'_> {
        self.parts.first().map_or_else(Metadata::default, |file| {
            file.gguf.metadata(file.buffer.bytes())
        })
    }

    /// The number of tensors, and one more than the largest handle.
    pub fn tensor_count(&self) -> u32 {
        self.tensor_count
    }

    /// The tensor of that handle.
    pub fn tensor(&self, handle: u32) -> Option<TensorInfo<'_>> {
        let (part, file, t) = self.locate(handle)?;
        let bytes = file.buffer.bytes();
        Some(TensorInfo {
            name: t.name(bytes),
            type_id: t.type_id,
            dims: t.dims,
            n_dims: t.n_dims,
            data: t.data(bytes),
            part: part as u32,
            offset: t.offset,
        })
    }

    /// The handle of the tensor of that name. O(log n).
    pub fn find_tensor(&self, name: &str) -> Option<u32> {
        if let [file] = self.parts.as_slice() {
            return file.gguf.find_tensor(file.buffer.bytes(), name);
        }
        let at = self
            .by_name
            .binary_search_by(|&h| self.name(h).cmp(name))
            .ok()?;
        self.by_name.get(at).copied()
    }

    /// Dequantizes `row_count` rows from `row_first` on into the front of `dst`, row after row of
    /// `dims[0]` floats.
    ///
    /// # Errors
    /// `NotFound` for the handle, `InvalidArgument` for rows past the end, `BufferTooSmall`,
    /// `Unsupported` for a type that cannot be dequantized.
    pub fn read_tensor_f32(
        &self,
        handle: u32,
        row_first: u64,
        row_count: u64,
        dst: &mut [f32],
    ) -> Result<()> {
        let Some(t) = self.tensor(handle) else {
            bail!(NotFound, "no tensor has the handle {handle}");
        };
        rows::read_f32(&t, row_first, row_count, dst)
    }

    /// The number of files.
    pub fn part_count(&self) -> u32 {
        self.parts.len() as u32
    }

    /// A file's bytes.
    pub fn part(&self, i: u32) -> Option<&[u8]> {
        Some(self.parts.get(i as usize)?.buffer.bytes())
    }

    /// A file's index.
    pub fn gguf(&self, i: u32) -> Option<&Gguf> {
        Some(&self.parts.get(i as usize)?.gguf)
    }

    /// Bytes of all files.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Elements of all tensors.
    pub fn parameter_count(&self) -> u64 {
        self.parameter_count
    }

    /// Whether the files are the store's own copies.
    pub fn is_copied(&self) -> bool {
        self.parts.iter().any(|f| f.buffer.is_copied())
    }

    /// Bytes of heap that the indices hold, the files' bytes not counted.
    pub fn index_bytes(&self) -> usize {
        let files: usize = self.parts.iter().map(|f| f.gguf.index_bytes()).sum();
        files
            + self.parts.capacity() * size_of::<File>()
            + self.by_name.capacity() * size_of::<u32>()
    }

    /// The SHA-256 of all files' bytes in order, if anyone has asked for it yet.
    pub fn known_digest(&self) -> Option<Sha256Digest> {
        self.digest.get().map(|d| *d)
    }

    /// The SHA-256 of all files' bytes in order. Reads all of them the first time.
    ///
    /// # Errors
    /// `Cancelled` if `progress` says so.
    pub fn digest(&self, progress: Option<Progress<'_>>) -> Result<Sha256Digest> {
        let digest = self
            .digest
            .get_or_build(|| sha256(self.parts.iter().map(|f| f.buffer.bytes()), progress))?;
        Ok(*digest)
    }

    /// Whether the files hold the same bytes, found out as cheaply as may be.
    pub(super) fn same_bytes(&self, other: &Self) -> bool {
        let pairs = || self.parts.iter().zip(&other.parts);
        let bytes = |f: &File| (f.buffer.bytes().as_ptr(), f.buffer.bytes().len());
        if self.parts.len() != other.parts.len() || pairs().any(|(a, b)| bytes(a).1 != bytes(b).1) {
            return false;
        }
        if pairs().all(|(a, b)| bytes(a).0 == bytes(b).0) {
            return true;
        }
        match (self.known_digest(), other.known_digest()) {
            (Some(a), Some(b)) => a == b,
            // Comparing reads both once, and stops at the first difference; hashing never stops.
            _ => pairs().all(|(a, b)| a.buffer.bytes() == b.buffer.bytes()),
        }
    }

    /// Replaces borrowed files by the store's own copies, releasing each as soon as it is copied.
    pub(super) fn copy_files(&mut self) -> Result<()> {
        for file in &mut self.parts {
            if !file.buffer.is_copied() {
                file.buffer = file.buffer.copy()?;
            }
        }
        Ok(())
    }
}

impl core::fmt::Debug for Model {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Model")
            .field("files", &self.parts.len())
            .field("file_bytes", &self.file_bytes)
            .field("tensor_count", &self.tensor_count)
            .finish_non_exhaustive()
    }
}
