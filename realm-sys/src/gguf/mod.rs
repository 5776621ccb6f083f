//! The GGUF file format, versions 2 and 3, parsed without trust.
//!
//! [`Gguf::parse`] walks a borrowed buffer once and keeps *where* things are, never what they are:
//! a vocabulary of 150 000 strings costs one index entry. Every count, length, offset, alignment,
//! dimension product and type id is checked against the buffer and against the caller's [`Limits`]
//! before anything is allocated, so that the memory an index takes is bounded by the smaller of
//! the two. There is no recursion, and the time is O(bytes of metadata × log entries).
//!
//! An index is separate from the bytes it describes; each accessor takes them again. Handing it
//! other bytes gives nonsense or nothing, but never undefined behaviour.
//!
//! ```text
//! magic "GGUF" | version u32 | tensor count u64 | kv count u64
//! kv:      key string | type u32 | value          string: u64 length + bytes
//! tensor:  name string | n_dims u32 | ne u64 × n_dims | type u32 | offset u64
//! padding to general.alignment, then the tensors' data
//! ```

pub mod convert;
mod read;
mod tensor;
mod value;

#[cfg(any(test, feature = "testing"))]
pub mod write;

#[cfg(test)]
mod tests;

pub use tensor::Tensor;
pub use value::{Array, Metadata, MetadataIter, Strings, Value, ValueType};

use crate::bail;
use crate::error::{Result, try_vec};
use alloc::vec::Vec;
use read::{Countable, Reader, Span};
use value::Kv;

/// The alignment of tensor data where a file does not say.
pub const DEFAULT_ALIGNMENT: u32 = 32;

/// The most dimensions the format's tensors have, whatever [`Limits::dims`] says.
pub const MAX_DIMS: u32 = 4;

/// What a caller lets a file claim. Over a limit, parsing ends with `Limit` before allocating.
///
/// The defaults pass every published model and bound an index to a few megabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Metadata entries. Default 65 536; real files have under 100.
    pub kv_count: u64,
    /// Tensors in one file. Default 65 536; real files have up to a few thousand.
    pub tensor_count: u64,
    /// Bytes of a metadata key. Default 65 535, the format's own bound.
    pub key_bytes: u64,
    /// Bytes of a tensor's name. Default 1024; the format says 64.
    pub name_bytes: u64,
    /// Bytes of one string value, in an array or not. Default 64 MiB.
    pub string_bytes: u64,
    /// Elements of one metadata array. Default 2^24; vocabularies have up to about 2^18.
    pub array_count: u64,
    /// Dimensions of a tensor. Default and most 4.
    pub dims: u32,
    /// Bytes of everything before the tensor data. Default 512 MiB.
    pub metadata_bytes: u64,
    /// `general.alignment`. Default 1 MiB.
    pub alignment: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            kv_count: 1 << 16,
            tensor_count: 1 << 16,
            key_bytes: 65_535,
            name_bytes: 1024,
            string_bytes: 64 << 20,
            array_count: 1 << 24,
            dims: MAX_DIMS,
            metadata_bytes: 512 << 20,
            alignment: 1 << 20,
        }
    }
}

/// The index of one GGUF file: where its metadata and tensors are.
#[derive(Debug)]
pub struct Gguf {
    version: u32,
    alignment: u32,
    data_offset: u64,
    kvs: Vec<Kv>,
    /// Indices into `kvs`, ascending by key.
    by_key: Vec<u32>,
    tensors: Vec<Tensor>,
    /// Indices into `tensors`, ascending by name.
    by_name: Vec<u32>,
}

impl Gguf {
    /// Indexes a file. `bytes` is all of it.
    ///
    /// # Errors
    /// `Format` if the bytes are not a well-formed GGUF file, `Unsupported` for another version,
    /// byte order, tensor or value type, `Limit` over one of `limits`, `NoMemory`.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self> {
        let mut r = Reader::new(bytes, limits.metadata_bytes);
        let version = read_version(&mut r)?;
        let tensor_count = r.u64("the tensor count")?;
        let kv_count = r.u64("the metadata count")?;
        let entries = Countable {
            what: format_args!("metadata entries"),
            limit: limits.kv_count,
            field: "max_kv_count",
            min_bytes: Kv::MIN_BYTES,
        };
        let tensors = Countable {
            what: format_args!("tensors"),
            limit: limits.tensor_count,
            field: "max_tensor_count",
            min_bytes: Tensor::MIN_BYTES,
        };
        let kv_len = r.check_count(kv_count, entries)?;
        r.check_count(tensor_count, tensors)?;

        let mut kvs = try_vec(kv_len, "metadata entries")?;
        for _ in 0..kv_len {
            kvs.push(Kv::read(&mut r, limits)?);
        }
        let by_key = sorted(bytes, &kvs, |kv: &Kv| kv.key, "metadata key")?;
        let metadata = Metadata::new(bytes, &kvs, &by_key);
        let alignment = read_alignment(metadata, limits)?;

        // Checked a second time: the entries have eaten most of the bytes there were.
        let tensor_len = r.check_count(tensor_count, tensors)?;
        let mut tensors = try_vec(tensor_len, "tensors")?;
        for _ in 0..tensor_len {
            tensors.push(Tensor::read(&mut r, limits)?);
        }
        let data_offset = r.position().next_multiple_of(u64::from(alignment));
        for t in &mut tensors {
            t.place(bytes, data_offset, alignment)?;
        }
        let by_name = sorted(bytes, &tensors, |t: &Tensor| t.name, "tensor name")?;
        tensor::check_overlap(bytes, &tensors)?;
        Ok(Self {
            version,
            alignment,
            data_offset,
            kvs,
            by_key,
            tensors,
            by_name,
        })
    }

    /// The metadata, read out of the bytes this index was made from.
    pub fn metadata<'a>(&'a self, bytes: &'a [u8]) -> Metadata<'a> {
        Metadata::new(bytes, &self.kvs, &self.by_key)
    }

    /// The format's version: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The alignment of tensor data within the file, a power of two.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// Where tensor data begins, in bytes from the file's start. May lie past the end of a file
    /// without tensors.
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// The tensors, in the order of the file.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The number of metadata entries.
    pub fn kv_count(&self) -> usize {
        self.kvs.len()
    }

    /// The index into [`tensors`](Self::tensors) of the tensor of that name. O(log n).
    pub fn find_tensor(&self, bytes: &[u8], name: &str) -> Option<u32> {
        find(
            bytes,
            &self.tensors,
            &self.by_name,
            |t: &Tensor| t.name,
            name,
        )
    }

    /// Bytes of heap this index holds.
    pub fn index_bytes(&self) -> usize {
        self.kvs.capacity() * size_of::<Kv>()
            + self.tensors.capacity() * size_of::<Tensor>()
            + (self.by_key.capacity() + self.by_name.capacity()) * size_of::<u32>()
    }
}

/// Reads magic and version, naming the near misses.
fn read_version(r: &mut Reader<'_>) -> Result<u32> {
    let magic = r.take(4, "the magic")?;
    match magic {
        b"GGUF" => {}
        b"FUGG" => bail!(
            Unsupported,
            "a big-endian GGUF file: convert it to little-endian"
        ),
        b"lmgg" | b"fmgg" | b"tjgg" | b"algg" => {
            bail!(Unsupported, "an old GGML file from before GGUF: convert it")
        }
        _ => bail!(
            Format,
            "not a GGUF file: it begins with \"{}\", not \"GGUF\"",
            magic.escape_ascii()
        ),
    }
    let version = r.u32("the version")?;
    match version {
        2 | 3 => Ok(version),
        0 => bail!(Format, "GGUF version 0 does not exist"),
        1 => bail!(
            Unsupported,
            "GGUF version 1: only 2 and 3 are known, convert the file"
        ),
        // The magic is the same bytes in either order; the version tells.
        v if v.swap_bytes() <= 0xffff => {
            bail!(
                Unsupported,
                "a big-endian GGUF file: convert it to little-endian"
            )
        }
        v => bail!(Unsupported, "GGUF version {v}: only 2 and 3 are known"),
    }
}

fn read_alignment(metadata: Metadata<'_>, limits: &Limits) -> Result<u32> {
    const KEY: &str = "general.alignment";
    let Some(value) = metadata.get(KEY) else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    let Some(alignment) = value.as_u32() else {
        bail!(Format, "{KEY} is not a 32-bit unsigned number");
    };
    if !alignment.is_power_of_two() {
        bail!(Format, "{KEY} is {alignment}, not a power of two");
    }
    if alignment > limits.alignment {
        bail!(
            Limit,
            "{KEY} is {alignment}, over the limit of {}",
            limits.alignment
        );
    }
    Ok(alignment)
}

/// Sorts indices of `items` by name; a name that comes twice is an error.
///
/// A sorted index and not a hash table: nothing that a file chooses can make it slow.
fn sorted<T>(bytes: &[u8], items: &[T], name: fn(&T) -> Span, what: &str) -> Result<Vec<u32>> {
    let text = |i: u32| items.get(i as usize).map_or(&[][..], |t| name(t).of(bytes));
    let mut order = try_vec(items.len(), what)?;
    order.extend((0..items.len()).map(|i| i as u32));
    order.sort_unstable_by(|&a, &b| text(a).cmp(text(b)));
    for pair in order.windows(2) {
        if let &[a, b] = pair
            && text(a) == text(b)
        {
            let twice = core::str::from_utf8(text(a)).unwrap_or("?");
            bail!(Format, "{what} '{twice}' comes twice");
        }
    }
    Ok(order)
}

fn find<T>(
    bytes: &[u8],
    items: &[T],
    order: &[u32],
    name: fn(&T) -> Span,
    wanted: &str,
) -> Option<u32> {
    let text = |i: u32| items.get(i as usize).map_or(&[][..], |t| name(t).of(bytes));
    let at = order
        .binary_search_by(|&i| text(i).cmp(wanted.as_bytes()))
        .ok()?;
    order.get(at).copied()
}
