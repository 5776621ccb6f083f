//! An image: a session that has not begun, in one piece of bytes.
//!
//! ```text
//! head      "RealmImg" · u32 version · u32 bytes in all · u8 model[32] · u32 page positions · u32 logits' buffer + 1 ·
//!           u32 layers · u32 buffers · u32 bytes of the program · u32 packed · u32 bytes of the recipe
//! layers    u32 type, heads, key dim, value dim, positions, group, window
//! buffers   u32 type, cols, rows, bytes · what is in it (0 bytes: zeros)
//! program   as it was recorded, packed: most of it is zero. For each eight words a byte, whose bits say which of them are not
//!           zero, the lowest bit the first; then those
//! recipe    as the guest published it
//! end       SHA-256 of everything before it
//! ```
//!
//! All numbers are little-endian. Nothing that is read is trusted: the checksum finds damage, and what is made from an image goes the
//! way of what a guest asks for, under the session's limits, its program validated as any.

use super::recipe::Recipe;
use crate::backend::table::{REALM_KV_PAGE_POSITIONS, realm_buffer};
use crate::error::{Result, try_vec};
use crate::graph::memory::{KvDesc, Memory};
use crate::graph::op::TYPE_F32;
use crate::graph::prepared::Prepared;
use crate::graph::program::{MAX_PROGRAM_BYTES, Program};
use crate::store::{Model, Sha256Digest, sha256};
use crate::{bail, err};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

/// The first bytes of an image.
pub(super) const MAGIC: [u8; 8] = *b"RealmImg";
/// The version that is written, and the only one that is read.
pub(super) const VERSION: u32 = 1;
/// Words that describe a layer, and a buffer.
const LAYER_WORDS: usize = 7;
const BUFFER_WORDS: usize = 4;
/// Bytes that one byte of a packed program says something of.
pub(super) const PACKED_BYTES: usize = 32;

/// Whether bytes begin as an image does.
pub fn is_image(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// An image that was read.
pub struct Image {
    bytes: Vec<u8>,
    digest: Sha256Digest,
    model: Sha256Digest,
    logits: u32,
    layers: Vec<KvDesc>,
    buffers: Vec<realm_buffer>,
    /// Where in `bytes` the content of each buffer is, and the program.
    contents: Vec<Range<usize>>,
    program: Range<usize>,
    /// Bytes of the program when it is unpacked.
    program_bytes: u32,
    recipe: Arc<Recipe>,
}

/// Reads off the front, and knows where it is.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8]> {
        let end = self.at.saturating_add(bytes);
        let Some(part) = self.bytes.get(self.at..end) else {
            bail!(Format, "image: it is cut short");
        };
        self.at = end;
        Ok(part)
    }

    fn words<const N: usize>(&mut self) -> Result<[u32; N]> {
        let mut out = [0; N];
        let (words, _) = self.take(4 * N)?.as_chunks::<4>();
        for (to, word) in out.iter_mut().zip(words) {
            *to = u32::from_le_bytes(*word);
        }
        Ok(out)
    }

    fn skip(&mut self, bytes: u32) -> Result<Range<usize>> {
        let start = self.at;
        self.take(bytes as usize)?;
        Ok(start..self.at)
    }

    /// Room for so many entries of at least `words` words, which must be there.
    fn room<T>(&self, count: u32, words: usize, what: &str) -> Result<Vec<T>> {
        let rest = self.bytes.len() - self.at;
        if (count as usize).saturating_mul(4 * words) > rest {
            bail!(Format, "image: it is cut short");
        }
        try_vec(count as usize, what)
    }
}

impl Image {
    /// Reads an image; the bytes are copied.
    ///
    /// # Errors
    /// `Format` for a damaged one, `Unsupported` for one of another version or with what this build does not know, `NoMemory`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader { bytes, at: 0 };
        if !is_image(r.take(MAGIC.len())?) {
            bail!(Format, "this is no image of a guest");
        }
        let [version, all] = r.words()?;
        if version != VERSION {
            bail!(
                Unsupported,
                "the image is of version {version}, this library replays {VERSION}"
            );
        }
        if all as usize != bytes.len() {
            bail!(
                Format,
                "image: {} bytes, its head says {all}: it is cut short, or something is behind it",
                bytes.len()
            );
        }
        let Some((body, sum)) = bytes.split_last_chunk::<32>() else {
            bail!(Format, "image: it is cut short");
        };
        if sha256([body].into_iter(), None)? != *sum {
            bail!(Format, "image: it is damaged (its checksum is another)");
        }
        r.bytes = body;
        let mut model = [0; 32];
        model.copy_from_slice(r.take(32)?);
        let [page, logits, layers, buffers, program_bytes, packed, recipe] = r.words()?;
        if page != REALM_KV_PAGE_POSITIONS {
            bail!(
                Unsupported,
                "the image was recorded with pages of {page} positions, this library has {REALM_KV_PAGE_POSITIONS}"
            );
        }
        if program_bytes > MAX_PROGRAM_BYTES {
            bail!(Format, "image: a program of {program_bytes} bytes");
        }
        let layers = read_layers(&mut r, layers)?;
        let (buffers, contents) = read_buffers(&mut r, buffers)?;
        let program = r.skip(packed)?;
        let recipe = Recipe::parse(r.take(recipe as usize)?, &buffers)?;
        if r.at != body.len() {
            bail!(Format, "image: {} bytes too many", body.len() - r.at);
        }
        let logits = logits.wrapping_sub(1);
        let published = buffers.get(logits as usize);
        if published.is_none_or(|b| b.r#type != TYPE_F32 || b.rows != 1) {
            bail!(Format, "image: it has no logits");
        }
        let mut copy = try_vec(bytes.len(), "bytes of an image")?;
        copy.extend_from_slice(bytes);
        Ok(Self {
            bytes: copy,
            digest: sha256([bytes].into_iter(), None)?,
            model,
            logits,
            layers,
            buffers,
            contents,
            program,
            program_bytes,
            recipe: Arc::new(recipe),
        })
    }

    /// The SHA-256 of its bytes.
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// How steps are made and tokens picked.
    pub(super) fn recipe(&self) -> &Arc<Recipe> {
        &self.recipe
    }

    /// The buffer of the logits.
    pub(super) fn logits(&self) -> u32 {
        self.logits
    }

    /// Makes layers, buffers and the program, as if a guest had asked for them.
    ///
    /// # Errors
    /// `InvalidArgument` for another model; what validation says; `Limit`, `NoMemory`, `Backend`.
    pub(super) fn make(&self, model: &Arc<Model>, memory: &mut Memory) -> Result<Arc<Prepared>> {
        let digest = model.digest(None)?;
        if digest != self.model {
            let start = |d: &Sha256Digest| {
                let [a, b, c, d, ..] = *d;
                u32::from_be_bytes([a, b, c, d])
            };
            bail!(
                InvalidArgument,
                "the image was recorded with another model, whose SHA-256 begins with {:08x}; that of this one with {:08x}",
                start(&self.model),
                start(&digest)
            );
        }
        for layer in &self.layers {
            memory.kv_create(*layer)?;
        }
        for (b, content) in self.buffers.iter().zip(&self.contents) {
            let handle = memory.buffer_create(b.r#type, b.cols, b.rows)?;
            let content = self.bytes.get(content.clone()).unwrap_or(&[]);
            if !content.is_empty() {
                memory.buffer_write(handle, 0, content)?;
            }
        }
        let packed = self.bytes.get(self.program.clone()).unwrap_or(&[]);
        let bytes = unpack(packed, self.program_bytes as usize)?;
        // Before anything is planned for what registers may be.
        self.recipe.fits(&Program::parse(&bytes)?.registers)?;
        Prepared::shared(&bytes, core::slice::from_ref(model), memory)
    }
}

/// What was packed from so many bytes.
fn unpack(packed: &[u8], bytes: usize) -> Result<Vec<u8>> {
    let bad = || err!(Format, "image: its program is packed in another way");
    if bytes.div_ceil(PACKED_BYTES) > packed.len() {
        return Err(bad());
    }
    let mut out = try_vec(bytes.next_multiple_of(PACKED_BYTES), "bytes of a program")?;
    let mut rest = packed;
    while out.len() < bytes {
        let (mask, words) = rest.split_first().ok_or_else(bad)?;
        rest = words;
        for bit in 0..PACKED_BYTES / 4 {
            if mask >> bit & 1 == 0 {
                out.extend_from_slice(&[0; 4]);
                continue;
            }
            let (word, behind) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
            out.extend_from_slice(word);
            rest = behind;
        }
    }
    out.truncate(bytes);
    match rest.is_empty() {
        true => Ok(out),
        false => Err(bad()),
    }
}

fn read_layers(r: &mut Reader<'_>, count: u32) -> Result<Vec<KvDesc>> {
    let mut layers = r.room(count, LAYER_WORDS, "KV layers of an image")?;
    for _ in 0..count {
        layers.push(KvDesc::from_words(r.words()?));
    }
    Ok(layers)
}

fn read_buffers(r: &mut Reader<'_>, count: u32) -> Result<(Vec<realm_buffer>, Vec<Range<usize>>)> {
    let mut buffers = r.room(count, BUFFER_WORDS, "buffers of an image")?;
    let mut contents = r.room(count, BUFFER_WORDS, "buffers of an image")?;
    for _ in 0..count {
        let [ty, cols, rows, bytes] = r.words()?;
        buffers.push(realm_buffer {
            r#type: ty,
            cols,
            rows,
            reserved: 0,
        });
        contents.push(r.skip(bytes)?);
    }
    Ok((buffers, contents))
}
