//! A session's state as bytes, and back.
//!
//! ```text
//! head      "RealmSes" · u32 version · u32 flags · u8 model[32] · u8 guest[32] · u32 model_id · u32 page positions ·
//!           u64 guest memory bytes · u32 position · u32 published buffer + 1 · u32 counts[6] · u8 detokenizer[8] · u64 progress[2]
//! params    (u32 bytes · u32 bytes · key · value) × counts[0]
//! models    u32 count, 0 · (u32 id, 0 · u8 sha256[32]) × count; only with the flag 8: further models that programs name
//! layers    (u32 type, heads, key dim, value dim, positions, group, window) × counts[1]
//! buffers   (u32 type, cols, rows, 0 · blocks) × counts[2]
//! programs  (u32 bytes, 0 if the handle is free · the bytes) × counts[3]
//! globals   (u32 type, 0 · u64 bits) × counts[4]
//! guest     blocks
//! pages     (u32 pages, 0 · u64 bytes of a page · blocks of each page) × counts[5], by group
//! end       SHA-256 of everything before it
//! ```
//!
//! All numbers are little-endian, whatever the processor. Blocks are runs of 4096 bytes (the last perhaps shorter), each behind a
//! byte: 0 if all of it is zero and left out, else 1. Pages are zero where the context has been taken back. What is in buffers, pages and programs is little-endian by its own contracts.
//!
//! Nothing that is read is trusted: what is made from it goes the way of what a guest asks for, under the session's limits, and
//! programs are validated anew. The session is handed out when the checksum at the end has been found right.

use super::params::{MAX_KEY_BYTES, MAX_PARAMS, MAX_VALUE_BYTES, Params};
use super::{Options, Origin, Session};
use crate::backend::table::REALM_KV_PAGE_POSITIONS;
use crate::error::{Result, try_vec};
use crate::graph::memory::{KvDesc, Memory};
use crate::graph::op::TYPE_F32;
use crate::graph::prepared::Prepared;
use crate::graph::program::{MAX_FURTHER_MODELS, MAX_PROGRAM_BYTES};
use crate::guest::host::{HostState, MAX_PROGRAMS};
use crate::store::Model;
use crate::vocab::Detokenizer;
use crate::{bail, err};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use sha2::{Digest, Sha256};

/// The first bytes of a state.
const MAGIC: [u8; 8] = *b"RealmSes";
/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;
const BLOCK: usize = 4096;

/// A step has run: no KV layers may be added.
const FLAG_STEPPED: u32 = 1;
/// The logits are a later position's.
const FLAG_REWOUND: u32 = 2;
/// What is published is an embedding.
const FLAG_EMBEDS: u32 = 4;

/// Programs name further models.
const FLAG_FURTHER: u32 = 8;

/// Takes bytes of a state, in order.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;
/// Fills all of a slice with the next bytes of a state.
pub type Source<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<()>;

struct Writer<'a> {
    sink: Sink<'a>,
    /// None where only the length matters.
    hash: Option<Sha256>,
    /// Small pieces are collected, so that the sink is not called for every number.
    room: [u8; BLOCK],
    used: usize,
}

impl<'a> Writer<'a> {
    fn flush(&mut self) -> Result<()> {
        let bytes = self.room.get(..self.used).unwrap_or(&[]);
        if let Some(hash) = &mut self.hash {
            hash.update(bytes);
        }
        self.used = 0;
        if bytes.is_empty() {
            return Ok(());
        }
        (self.sink)(bytes)
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.used == BLOCK {
                self.flush()?;
            }
            let n = bytes.len().min(BLOCK - self.used);
            let (now, later) = bytes.split_at_checked(n).unwrap_or((bytes, &[]));
            if let Some(to) = self.room.get_mut(self.used..self.used + n) {
                to.copy_from_slice(now);
            }
            self.used += n;
            bytes = later;
        }
        Ok(())
    }

    fn words(&mut self, words: &[u32]) -> Result<()> {
        words.iter().try_for_each(|w| self.put(&w.to_le_bytes()))
    }

    fn long(&mut self, n: u64) -> Result<()> {
        self.put(&n.to_le_bytes())
    }

    /// A block that is at most as long as one may be.
    fn block(&mut self, bytes: &[u8]) -> Result<()> {
        let data = bytes.iter().any(|b| *b != 0);
        self.put(&[u8::from(data)])?;
        if data { self.put(bytes) } else { Ok(()) }
    }

    /// So many bytes, which `read` gives from an offset on.
    fn blocks(&mut self, bytes: u64, read: impl Fn(u64, &mut [u8]) -> Result<()>) -> Result<()> {
        let mut room = [0_u8; BLOCK];
        let mut at = 0;
        while at < bytes {
            let n = (bytes - at).min(BLOCK as u64) as usize;
            let part = room.get_mut(..n).unwrap_or(&mut []);
            read(at, part)?;
            self.block(part)?;
            at += n as u64;
        }
        Ok(())
    }

    /// Writes the checksum, if there is to be one.
    fn end(mut self) -> Result<()> {
        self.flush()?;
        match self.hash.take() {
            Some(hash) => {
                let digest: [u8; 32] = hash.finalize().into();
                (self.sink)(&digest)
            }
            None => (self.sink)(&[0; 32]),
        }
    }
}

struct Reader<'a> {
    source: Source<'a>,
    hash: Sha256,
}

impl Reader<'_> {
    fn fill(&mut self, out: &mut [u8]) -> Result<()> {
        if !out.is_empty() {
            (self.source)(out)?;
            self.hash.update(out);
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    fn word(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn words<const N: usize>(&mut self) -> Result<[u32; N]> {
        let mut out = [0; N];
        for w in &mut out {
            *w = self.word()?;
        }
        Ok(out)
    }

    fn long(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn block(&mut self, out: &mut [u8]) -> Result<()> {
        match self.bytes::<1>()? {
            [0] => {
                out.fill(0);
                Ok(())
            }
            [1] => self.fill(out),
            [n] => bail!(Format, "saved state: a block that begins with {n}"),
        }
    }

    /// So many bytes, which `write` takes at an offset.
    fn blocks(
        &mut self,
        bytes: u64,
        mut write: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut room = [0_u8; BLOCK];
        let mut at = 0;
        while at < bytes {
            let n = (bytes - at).min(BLOCK as u64) as usize;
            let part = room.get_mut(..n).unwrap_or(&mut []);
            self.block(part)?;
            write(at, part)?;
            at += n as u64;
        }
        Ok(())
    }

    fn text(&mut self, bytes: u32, most: usize) -> Result<String> {
        if bytes as usize > most {
            bail!(Format, "saved state: a text of {bytes} bytes");
        }
        let mut text = try_vec(bytes as usize, "bytes of a parameter")?;
        text.resize(bytes as usize, 0);
        self.fill(&mut text)?;
        String::from_utf8(text).map_err(|_| err!(Format, "saved state: text that is not UTF-8"))
    }

    /// Compares the checksum.
    fn end(self) -> Result<()> {
        let mut there = [0; 32];
        (self.source)(&mut there)?;
        let digest: [u8; 32] = self.hash.finalize().into();
        if digest != there {
            bail!(
                Format,
                "saved state: it is damaged (its checksum is another)"
            );
        }
        Ok(())
    }
}

/// The fixed part of a state.
struct Head {
    flags: u32,
    model_id: u32,
    memory_bytes: u64,
    position: u32,
    logits: u32,
    params: u32,
    layers: u32,
    buffers: u32,
    programs: u32,
    globals: u32,
    groups: u32,
    detokenizer: [u8; 8],
    progress: (u64, u64),
}

impl Head {
    /// Reads it, and refuses states of other formats, models and guests.
    fn read(r: &mut Reader<'_>, options: &Options) -> Result<Self> {
        if r.bytes::<8>()? != MAGIC {
            bail!(Format, "this is no saved session");
        }
        let [version, flags] = r.words()?;
        if version != VERSION {
            bail!(
                Unsupported,
                "the session was saved in version {version} of the format, this library reads {VERSION}"
            );
        }
        if r.bytes::<32>()? != options.model.digest(None)? {
            bail!(InvalidArgument, "the session was saved with another model");
        }
        if r.bytes::<32>()? != options.guest.digest() {
            bail!(InvalidArgument, "the session was saved with another guest");
        }
        let [model_id, page] = r.words()?;
        if page != REALM_KV_PAGE_POSITIONS {
            bail!(
                Unsupported,
                "the session was saved with pages of {page} positions, this library has {REALM_KV_PAGE_POSITIONS}"
            );
        }
        let memory_bytes = r.long()?;
        let [position, logits] = r.words()?;
        let [params, layers, buffers, programs, globals, groups] = r.words()?;
        if flags & !(FLAG_STEPPED | FLAG_REWOUND | FLAG_EMBEDS | FLAG_FURTHER) != 0
            || model_id == 0
            || params as usize > MAX_PARAMS
            || programs as usize > MAX_PROGRAMS
        {
            bail!(Format, "saved state: the head makes no sense");
        }
        Ok(Self {
            flags,
            model_id,
            memory_bytes,
            position,
            logits,
            params,
            layers,
            buffers,
            programs,
            globals,
            groups,
            detokenizer: r.bytes()?,
            progress: (r.long()?, r.long()?),
        })
    }
}

impl Session {
    /// How many bytes [`save`](Self::save) writes.
    ///
    /// # Errors
    /// As for it.
    pub fn saved_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        self.write(None, &mut |part| {
            bytes += part.len() as u64;
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Writes the session's state.
    ///
    /// # Errors
    /// `State` while a turn is running; `Unsupported` for a guest that has registered models, or keeps what cannot be read;
    /// those of `sink` and of the backend that the pages are read from.
    pub fn save(&self, sink: Sink<'_>) -> Result<()> {
        self.write(Some(Sha256::new()), sink)
    }

    fn write(&self, hash: Option<Sha256>, sink: Sink<'_>) -> Result<()> {
        self.check()?;
        self.portable()?;
        let host = self.instance.host();
        let (compute, memory) = (&host.compute, &host.compute.memory);
        let id = host.models.own.0;
        let programs = compute.programs.as_slice();
        let further = further_models(id, programs)?;
        let mut w = Writer {
            sink,
            hash,
            room: [0; BLOCK],
            used: 0,
        };
        let flags = |set: bool, flag: u32| if set { flag } else { 0 };
        w.put(&MAGIC)?;
        w.words(&[
            VERSION,
            flags(compute.stepped, FLAG_STEPPED)
                | flags(self.rewound, FLAG_REWOUND)
                | flags(compute.embeds, FLAG_EMBEDS)
                | flags(!further.is_empty(), FLAG_FURTHER),
        ])?;
        w.put(&host.models.own.1.digest(None)?)?;
        w.put(&self.instance.guest().digest())?;
        w.words(&[id, REALM_KV_PAGE_POSITIONS])?;
        w.long(self.instance.memory_bytes())?;
        w.words(&[
            memory.positions(),
            compute
                .published
                .map_or(0, |buffer| buffer.saturating_add(1)),
            host.params.len() as u32,
            memory.kv_layers().len() as u32,
            memory.buffer_descs().len() as u32,
            programs.len() as u32,
            self.instance.global_count() as u32,
            memory.group_count(),
        ])?;
        w.put(&host.detokenizer.to_bytes())?;
        w.long(host.progress.0)?;
        w.long(host.progress.1)?;
        for (key, value) in host.params.iter() {
            w.words(&[key.len() as u32, value.len() as u32])?;
            w.put(key.as_bytes())?;
            w.put(value.as_bytes())?;
        }
        if !further.is_empty() {
            w.words(&[further.len() as u32, 0])?;
        }
        for (id, model) in &further {
            w.words(&[*id, 0])?;
            w.put(&model.digest(None)?)?;
        }
        for layer in memory.kv_layers() {
            w.words(&memory.kv_desc(layer).words())?;
        }
        for (i, b) in memory.buffer_descs().iter().enumerate() {
            w.words(&[b.r#type, b.cols, b.rows, 0])?;
            let bytes = memory.buffer(i as u32)?.bytes();
            w.blocks(bytes, |at, part| memory.buffer_read(i as u32, at, part))?;
        }
        for program in programs {
            let bytes = program.as_ref().map_or(&[][..], |p| p.bytes());
            w.words(&[bytes.len() as u32])?;
            w.put(bytes)?;
        }
        for (ty, bits) in self.instance.globals()? {
            w.words(&[ty, 0])?;
            w.long(bits)?;
        }
        for block in self.instance.memory().chunks(BLOCK) {
            w.block(block)?;
        }
        for group in 0..memory.group_count() {
            let (pages, bytes) = memory.pages(group);
            w.words(&[pages.len() as u32, 0])?;
            w.long(bytes)?;
            for page in 0..pages.len() {
                w.blocks(bytes, |at, part| memory.page_read(group, page, at, part))?;
            }
        }
        w.end()
    }

    /// Opens a session in a saved state, as it was when [`save`](Self::save) wrote it. The guest is not told, but asked whether
    /// the parameters that `options` has, instead of those of then, will do. Its model's id, to the guest, is that of then.
    ///
    /// # Errors
    /// `Format` for what is no state, or a damaged one; `InvalidArgument` for one of another model or guest; `NotFound` without
    /// a further model that it uses, `IdConflict` for another one with its id; `Unsupported` for one of another version of the format; `Limit`,
    /// `NoMemory`, `Backend`; `Guest` if the guest fails when it is instantiated; those of `source`.
    pub fn load(mut options: Options, source: Source<'_>) -> Result<Self> {
        let mut r = Reader {
            source,
            hash: Sha256::new(),
        };
        let head = Head::read(&mut r, &options)?;
        let limits = options.limits;
        options.model_id = head.model_id;
        let given = core::mem::replace(&mut options.params, Params::new());
        for _ in 0..head.params {
            let [key, value] = r.words()?;
            let key = r.text(key, MAX_KEY_BYTES)?;
            let value = r.text(value, MAX_VALUE_BYTES)?;
            options.params.set(&key, &value)?;
        }
        if head.flags & FLAG_FURTHER != 0 {
            options.granted = read_further(&mut r, options.granted)?;
        }
        let mut changed = false;
        for (key, value) in given.iter() {
            changed |= options.params.get(key) != Some(value);
            options.params.set(key, value)?;
        }
        let mut instance = options.instantiate(Memory::new)?;
        read_compute(&mut r, &head, instance.host_mut())?;
        if head.globals as usize != instance.global_count() {
            bail!(Format, "saved state: {} globals", head.globals);
        }
        for i in 0..instance.global_count() {
            let [ty, _] = r.words()?;
            instance.set_global(i, ty, r.long()?)?;
        }
        for block in instance.memory_grown(head.memory_bytes)?.chunks_mut(BLOCK) {
            r.block(block)?;
        }
        read_pages(&mut r, &head, &mut instance.host_mut().compute.memory)?;
        r.end()?;
        let rewound = head.flags & FLAG_REWOUND != 0;
        let mut session = Self::of(instance, Origin { limits, rewound });
        // Whether they were asked about is not in the state.
        session.unasked = true;
        if changed {
            session.check_params()?;
        }
        Ok(session)
    }
}

impl Session {
    /// [`load`](Self::load) from memory, where damage can be told from the beginning.
    ///
    /// # Errors
    /// As for it; `Format` for a state that is cut short, or has something behind it.
    pub fn load_bytes(options: Options, bytes: &[u8]) -> Result<Self> {
        let Some((body, sum)) = bytes.split_last_chunk::<32>() else {
            bail!(Format, "{} bytes are no saved session", bytes.len());
        };
        if !body.starts_with(&MAGIC) {
            bail!(Format, "this is no saved session");
        }
        let digest: [u8; 32] = Sha256::digest(body).into();
        if digest != *sum {
            bail!(Format, "the saved session is damaged or cut short");
        }
        let mut rest = bytes;
        let session = Self::load(options, &mut |out| {
            let Some((part, later)) = rest.split_at_checked(out.len()) else {
                bail!(Format, "saved state: it is cut short");
            };
            out.copy_from_slice(part);
            rest = later;
            Ok(())
        })?;
        if !rest.is_empty() {
            bail!(Format, "saved state: {} bytes too many", rest.len());
        }
        Ok(session)
    }
}

/// The models that programs use beside the session's own, each once. They need not be granted any more.
fn further_models(own: u32, programs: &[Option<Arc<Prepared>>]) -> Result<Vec<(u32, &Arc<Model>)>> {
    let mut further: Vec<(u32, &Arc<Model>)> = Vec::new();
    for program in programs.iter().flatten() {
        for (id, model) in program.models()? {
            if id == own || further.iter().any(|f| f.0 == id) {
                continue;
            }
            further
                .try_reserve(1)
                .map_err(|_| err!(NoMemory, "no memory for the models of a session"))?;
            further.push((id, model));
        }
    }
    Ok(further)
}

/// The further models that the guest may use: those that it used, by the ids of then, found among the given ones by their bytes,
/// and behind them all that are given.
fn read_further(
    r: &mut Reader<'_>,
    given: Vec<(u32, Arc<Model>)>,
) -> Result<Vec<(u32, Arc<Model>)>> {
    let [count, _] = r.words()?;
    if count as usize > MAX_PROGRAMS * MAX_FURTHER_MODELS as usize {
        bail!(Format, "saved state: {count} further models");
    }
    let mut granted = try_vec(count as usize + given.len(), "models")?;
    for _ in 0..count {
        let [id, _] = r.words()?;
        let digest = r.bytes::<32>()?;
        let mut found = None;
        for (now, model) in &given {
            if model.digest(None)? == digest {
                found = found.or(Some(Arc::clone(model)));
            } else if *now == id {
                bail!(
                    IdConflict,
                    "the session was saved with another further model with the id {id}: give the new one another id"
                );
            }
        }
        match found {
            Some(model) => granted.push((id, model)),
            None => bail!(
                NotFound,
                "the session was saved with a further model (id {id} then) that is not among those given"
            ),
        }
    }
    granted.extend(given);
    Ok(granted)
}

/// KV layers, buffers and programs, made as if the guest had asked for them.
fn read_compute(r: &mut Reader<'_>, head: &Head, host: &mut HostState) -> Result<()> {
    let memory = &mut host.compute.memory;
    for _ in 0..head.layers {
        memory.kv_create(KvDesc::from_words(r.words()?))?;
    }
    for _ in 0..head.buffers {
        let [ty, cols, rows, _] = r.words()?;
        let handle = memory.buffer_create(ty, cols, rows)?;
        let bytes = memory.buffer(handle)?.bytes();
        r.blocks(bytes, |at, part| memory.buffer_write(handle, at, part))?;
    }
    if let Some(handle) = head.logits.checked_sub(1) {
        let desc = memory.buffer_desc(handle);
        if desc.is_none_or(|b| b.r#type != TYPE_F32 || b.rows != 1) {
            bail!(Format, "saved state: buffer {handle} cannot be published");
        }
        host.compute.published = Some(handle);
        host.compute.embeds = head.flags & FLAG_EMBEDS != 0;
    }
    for _ in 0..head.programs {
        let len = r.word()?;
        if len > MAX_PROGRAM_BYTES {
            bail!(Format, "saved state: a program of {len} bytes");
        }
        let mut bytes: Vec<u8> = try_vec(len as usize, "bytes of a program")?;
        bytes.resize(len as usize, 0);
        r.fill(&mut bytes)?;
        let program = match len {
            0 => None,
            _ => {
                let models = host.models.of_program(&bytes)?;
                Some(Prepared::shared(&bytes, &models, &mut host.compute.memory)?)
            }
        };
        host.compute.restore_program(program)?;
    }
    host.compute.stepped = head.flags & FLAG_STEPPED != 0;
    host.progress = head.progress;
    host.detokenizer = Detokenizer::from_bytes(head.detokenizer)
        .ok_or_else(|| err!(Format, "saved state: the detokenizer's makes no sense"))?;
    Ok(())
}

fn read_pages(r: &mut Reader<'_>, head: &Head, memory: &mut Memory) -> Result<()> {
    let most = memory.kv_layers().iter().map(|l| l.max_positions).max();
    if head.groups != memory.group_count() || head.position > most.unwrap_or(0) {
        bail!(
            Format,
            "saved state: position {} in {} KV groups",
            head.position,
            head.groups
        );
    }
    for group in 0..head.groups {
        let [count, _] = r.words()?;
        let bytes = r.long()?;
        if bytes != memory.pages(group).1 {
            bail!(
                Unsupported,
                "the session was saved with KV pages of {bytes} bytes, here they have {}",
                memory.pages(group).1
            );
        }
        if count > head.position.div_ceil(REALM_KV_PAGE_POSITIONS) {
            bail!(
                Format,
                "saved state: {count} pages for {} positions",
                head.position
            );
        }
        for page in 0..count {
            let page = memory.page_restore(group, page)?;
            r.blocks(page.bytes(), |at, part| page.write(at, part))?;
        }
    }
    memory.kv_restored(head.position, head.flags & FLAG_STEPPED != 0);
    Ok(())
}
