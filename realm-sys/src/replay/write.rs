//! Writes images, where guests run.

use super::image::{MAGIC, PACKED_BYTES, VERSION};
use crate::backend::table::{REALM_KV_PAGE_POSITIONS, realm_buffer};
use crate::err;
use crate::error::{Result, try_vec};
use crate::graph::memory::Memory;
use crate::store::{Sha256Digest, sha256};
use alloc::vec::Vec;

/// What an image is written from.
pub(crate) struct Parts<'a> {
    /// Of its files.
    pub model: Sha256Digest,
    /// The buffer of the logits.
    pub logits: u32,
    /// All buffers.
    pub buffers: &'a [realm_buffer],
    /// Of which these are written as empty.
    pub is_recipe: &'a dyn Fn(usize) -> bool,
    /// As it was recorded.
    pub program: &'a [u8],
    /// In words.
    pub recipe: &'a [u8],
}

/// Writes an image of what is in `memory`.
pub(crate) fn write(parts: &Parts<'_>, memory: &Memory) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let put = |out: &mut Vec<u8>, bytes: &[u8]| -> Result<()> {
        out.try_reserve(bytes.len())
            .map_err(|_| err!(NoMemory, "no memory for an image"))?;
        out.extend_from_slice(bytes);
        Ok(())
    };
    let words = |out: &mut Vec<u8>, words: &[u32]| {
        words.iter().try_for_each(|w| put(out, &w.to_le_bytes()))
    };
    let packed = pack(parts.program)?;
    put(&mut out, &MAGIC)?;
    words(&mut out, &[VERSION, 0])?;
    put(&mut out, &parts.model)?;
    words(
        &mut out,
        &[
            REALM_KV_PAGE_POSITIONS,
            parts.logits + 1,
            memory.kv_layers().len() as u32,
            parts.buffers.len() as u32,
            parts.program.len() as u32,
            packed.len() as u32,
            parts.recipe.len() as u32,
        ],
    )?;
    for layer in memory.kv_layers() {
        words(&mut out, &memory.kv_desc(layer).words())?;
    }
    for (i, b) in parts.buffers.iter().enumerate() {
        let bytes = memory.buffer(i as u32)?.bytes();
        let mut content: Vec<u8> = try_vec(bytes as usize, "bytes of a buffer")?;
        content.resize(bytes as usize, 0);
        memory.buffer_read(i as u32, 0, &mut content)?;
        if (parts.is_recipe)(i) || content.iter().all(|byte| *byte == 0) {
            content.clear();
        }
        words(&mut out, &[b.r#type, b.cols, b.rows, content.len() as u32])?;
        put(&mut out, &content)?;
    }
    put(&mut out, &packed)?;
    put(&mut out, parts.recipe)?;
    let all = u32::try_from(out.len() + 32)
        .map_err(|_| err!(Limit, "an image of {} bytes", out.len()))?;
    if let Some(length) = out.get_mut(12..16) {
        length.copy_from_slice(&all.to_le_bytes());
    }
    let sum = sha256([&out[..]].into_iter(), None)?;
    put(&mut out, &sum)?;
    Ok(out)
}

/// A program without its zeros.
fn pack(program: &[u8]) -> Result<Vec<u8>> {
    let groups = program.chunks(PACKED_BYTES);
    let mut packed = try_vec(program.len() + groups.len(), "bytes of a program")?;
    for group in groups {
        let at = packed.len();
        packed.push(0);
        for (bit, word) in group.chunks(4).enumerate() {
            if word.iter().any(|byte| *byte != 0) {
                packed.extend_from_slice(word);
                if let Some(mask) = packed.get_mut(at) {
                    *mask |= 1 << bit;
                }
            }
        }
    }
    Ok(packed)
}
