//! A host for native builds: the imports over plain Rust collections, one per thread, for unit tests.
//!
//! It knows a tiny random-shaped llama and a byte vocabulary (token = byte, 256 BOS, 257 EOS, written
//! `</s>`), runs no program, and lets a test say which token each step yields, or the model's logits: then what samples is run.
#![allow(
    dead_code,
    missing_docs,
    clippy::missing_safety_doc,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test support: an index out of range is a failed test"
)]

mod sampling;

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

pub const BOS: u32 = 256;
pub const EOS: u32 = 257;

pub enum Meta {
    Text(String),
    U32(u32),
    F32(f32),
    Array(Vec<u32>),
}

#[derive(Default)]
pub struct Host {
    pub meta: BTreeMap<String, Meta>,
    /// Name, type, shape.
    pub tensors: Vec<(String, u32, Vec<u64>)>,
    pub params: Vec<(String, String)>,
    pub input: Vec<u8>,
    /// What the coming steps yield.
    pub script: Vec<u32>,
    /// Token and text of every emit.
    pub emits: Vec<(i32, String)>,
    /// What was said of their probability.
    pub logprobs: Vec<f32>,
    /// Registers of the submitted step, and its tokens.
    pub submitted: Option<(Vec<u32>, Vec<u32>)>,
    /// Its program, and whether that has the operation TOP_K.
    pub running: u32,
    pub top_k: bool,
    /// What the model makes of so many positions, instead of the script; and the buffer that it is copied to.
    pub logits: Option<Box<dyn Fn(usize) -> Vec<f32>>>,
    pub logits_buffer: u32,
    /// Tokens of all steps that completed, by position.
    pub context: Vec<u32>,
    pub steps: usize,
    pub message: String,
    pub programs: Vec<Vec<u8>>,
    /// Kind, cols, rows, content.
    pub buffers: Vec<(u32, u32, u32, Vec<u8>)>,
    pub kv: Vec<[u32; 7]>,
    pub no_vocab: bool,
    /// What tokens stand for, if not for bytes.
    pub pieces: Vec<Vec<u8>>,
    /// Further models, by id; there are no others from [`FURTHER`] on.
    pub models: BTreeMap<u32, Host>,
    /// The beginning of a character, which the next token may complete.
    pub held: Vec<u8>,
}

/// From here on ids are those of further models.
pub const FURTHER: u32 = 100;

std::thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::default());
}

/// Uses the host of this thread.
pub fn host<R>(f: impl FnOnce(&mut Host) -> R) -> R {
    HOST.with(|h| f(&mut h.borrow_mut()))
}

impl Host {
    /// A one-layer llama of width 8 with two heads.
    pub fn tiny(arch: &str) -> Self {
        let mut h = Self::default();
        h.meta
            .insert("general.architecture".into(), Meta::Text(arch.into()));
        for (key, value) in [
            ("block_count", 1),
            ("context_length", 32),
            ("embedding_length", 8),
            ("feed_forward_length", 16),
            ("attention.head_count", 2),
        ] {
            h.meta.insert(format!("{arch}.{key}"), Meta::U32(value));
        }
        h.meta.insert(
            format!("{arch}.attention.head_count_kv"),
            Meta::Array([1].into()),
        );
        h.meta.insert(
            format!("{arch}.attention.layer_norm_rms_epsilon"),
            Meta::F32(1e-5),
        );
        for (name, ne) in [
            ("token_embd", &[8u64, 260][..]),
            ("output_norm", &[8]),
            ("blk.0.attn_norm", &[8]),
            ("blk.0.attn_q", &[8, 8]),
            ("blk.0.attn_k", &[8, 4]),
            ("blk.0.attn_v", &[8, 4]),
            ("blk.0.attn_output", &[8, 8]),
            ("blk.0.ffn_norm", &[8]),
            ("blk.0.ffn_gate", &[8, 16]),
            ("blk.0.ffn_up", &[8, 16]),
            ("blk.0.ffn_down", &[16, 8]),
        ] {
            h.tensors.push((format!("{name}.weight"), 0, ne.to_vec()));
        }
        h
    }

    /// Who knows about a model.
    fn model(&self, id: u32) -> Option<&Self> {
        match id {
            FURTHER.. => self.models.get(&id),
            _ => Some(self),
        }
    }

    pub fn set(&mut self, key: &str, value: &str) {
        self.params.retain(|(k, _)| k != key);
        self.params.push((key.into(), value.into()));
    }

    /// The bytes that a token stands for.
    fn piece(&self, token: u32) -> Vec<u8> {
        match (self.pieces.get(token as usize), u8::try_from(token)) {
            (Some(piece), _) => piece.clone(),
            (None, Ok(byte)) => [byte].into(),
            _ => Vec::new(),
        }
    }

    /// Completes the submitted step.
    pub fn complete(&mut self) {
        let (regs, tokens) = self.submitted.take().unwrap();
        if regs.len() == 3 && self.logits.is_some() {
            return self.sample(self.running, &regs, &[]);
        }
        if regs.len() == 3 {
            // A second pick: greedy, and all logits are equal.
            let (best, masks) = (256, 260u32.div_ceil(32));
            if self.top_k {
                let best = self.buffers.iter_mut().find(|b| b.1 == best).unwrap();
                best.3 = (0u32..256).flat_map(u32::to_le_bytes).collect();
                return;
            }
            let mask = &self.buffers.iter().find(|b| b.1 == masks).unwrap().3;
            let allowed = (0u32..260).find(|t| mask[(t >> 3) as usize] >> (t & 7) & 1 == 1);
            self.buffers[0].3[..4].copy_from_slice(&allowed.unwrap().to_le_bytes());
            return;
        }
        if regs.len() == 4 {
            // A row of a draft.
            return self.yield_token();
        }
        assert_eq!(regs[0] as usize, tokens.len());
        assert_eq!(regs[1] as usize, self.context.len(), "position");
        self.context.extend(tokens);
        self.steps += 1;
        if regs[3] == 1 {
            match self.logits.as_ref().map(|f| f(self.context.len())) {
                Some(logits) => self.sample(self.running, &regs, &logits),
                None => self.yield_token(),
            }
        }
    }

    fn yield_token(&mut self) {
        let token = if self.script.is_empty() {
            EOS
        } else {
            self.script.remove(0)
        };
        // Greedy: the program writes it to the first row of the tokens.
        self.buffers[0].3[..4].copy_from_slice(&token.to_le_bytes());
    }
}

/// The codes of a program's operations.
fn codes(program: &[u8]) -> Vec<u32> {
    let word = |at: usize| u32::from_le_bytes(program[at..at + 4].try_into().unwrap());
    let start = 32 + 16 * (word(8) + word(12)) as usize;
    let ops = program[start..].chunks_exact(128).take(word(16) as usize);
    ops.map(|op| u32::from(u16::from_le_bytes([op[0], op[1]])))
        .collect()
}

unsafe fn text(p: *const u8, n: usize) -> String {
    // SAFETY: the wrappers pass live slices.
    String::from_utf8(unsafe { bytes(p, n) }).unwrap()
}

unsafe fn bytes(p: *const u8, n: usize) -> Vec<u8> {
    // SAFETY: the wrappers pass live slices.
    unsafe { std::slice::from_raw_parts(p, n) }.to_vec()
}

unsafe fn put(src: &[u8], dst: *mut u8, room: usize) -> i32 {
    // SAFETY: the wrappers pass room for `room` bytes.
    unsafe { std::ptr::copy_nonoverlapping(src.as_ptr(), dst, src.len().min(room)) };
    src.len() as i32
}

macro_rules! imports {
    ($($name:ident($h:ident $(, $arg:ident: $ty:ty)*) $body:block)*) => {
        $(pub unsafe fn $name($($arg: $ty),*) -> i32 {
            // SAFETY: pointers come from the wrappers in `abi`, with the sizes they say.
            host(|$h| unsafe { $body })
        })*
    };
}

#[allow(unused_unsafe, unused_variables, reason = "one shape for all imports")]
mod imports {
    use super::*;
    imports! {
        realm_meta_get(h, id: u32, key: *const u8, n: usize, index: i32, kind: u32, dst: *mut u8, room: usize) {
            let key = text(key, n);
            if key == "tokenizer.ggml.tokens" {
                return match index as u32 {
                    BOS => put(b"<s>", dst, room),
                    EOS => put(b"</s>", dst, room),
                    _ => -3,
                };
            }
            let Some(h) = h.model(id) else { return -3 };
            match (h.meta.get(&key), kind, index) {
                (None, ..) => -3,
                (Some(Meta::Text(t)), 8, -1) => put(t.as_bytes(), dst, room),
                (Some(Meta::U32(v)), 4, -1) => put(&v.to_le_bytes(), dst, room),
                (Some(Meta::F32(v)), 6, -1) => put(&v.to_le_bytes(), dst, room),
                (Some(Meta::Array(v)), 4, 0..) => {
                    v.get(index as usize).map_or(-3, |v| put(&v.to_le_bytes(), dst, room))
                }
                _ => -1,
            }
        }
        realm_tensor_find(h, id: u32, name: *const u8, n: usize) {
            let name = text(name, n);
            let Some(h) = h.model(id) else { return -3 };
            h.tensors.iter().position(|t| t.0 == name).map_or(-3, |i| i as i32)
        }
        realm_tensor_info(h, id: u32, handle: u32, dst: *mut u8, room: usize) {
            let Some(h) = h.model(id) else { return -3 };
            let (_, kind, ne) = &h.tensors[handle as usize];
            let mut raw = [kind.to_le_bytes(), (ne.len() as u32).to_le_bytes()].concat();
            raw.extend(ne.iter().flat_map(|n| n.to_le_bytes()));
            raw.resize(40, 0);
            put(&raw, dst, room)
        }
        realm_tensor_name(h, id: u32, handle: u32, dst: *mut u8, room: usize) {
            let Some(h) = h.model(id) else { return -3 };
            put(h.tensors[handle as usize].0.as_bytes(), dst, room)
        }
        realm_get_model_info(h, id: u32, dst: *mut u8, room: usize) {
            let Some(h) = h.model(id) else { return -3 };
            let mut raw = [0; 64];
            raw[16..20].copy_from_slice(&(h.tensors.len() as u32).to_le_bytes());
            put(&raw, dst, room)
        }
        realm_vocab_info(h, id: u32, dst: *mut u8, room: usize) {
            if h.no_vocab {
                return -3;
            }
            let tokens = h.pieces.len().max(260) as u32;
            let words = [tokens, BOS, EOS, u32::MAX, u32::MAX, u32::MAX, 1];
            put(&words.map(u32::to_le_bytes).concat(), dst, room)
        }
        realm_tokenize(h, id: u32, source: *const u8, n: usize, flags: u32, dst: *mut u32, room: usize) {
            let mut ids = if flags & 1 != 0 { vec![BOS] } else { vec![] };
            let text = bytes(source, n);
            let mut rest = text.as_slice();
            while let [byte, after @ ..] = rest {
                match rest.strip_prefix(b"</s>").filter(|_| flags & 2 != 0) {
                    Some(behind) => {
                        ids.push(EOS);
                        rest = behind;
                    }
                    None => {
                        ids.push(u32::from(*byte));
                        rest = after;
                    }
                }
            }
            std::ptr::copy_nonoverlapping(ids.as_ptr(), dst, ids.len().min(room));
            ids.len() as i32
        }
        realm_token_find(h, id: u32, source: *const u8, n: usize) {
            match bytes(source, n).as_slice() {
                b"<s>" => BOS as i32,
                b"</s>" => EOS as i32,
                [byte] => i32::from(*byte),
                _ => -3,
            }
        }
        realm_token_is_eog(h, id: u32, token: u32) { i32::from(token == EOS) }
        realm_token_piece(h, id: u32, token: u32, dst: *mut u8, room: usize) {
            put(&h.piece(token), dst, room)
        }
        realm_detok_reset(h) {
            h.held.clear();
            0
        }
        realm_detok_push(h, token: u32, dst: *mut u8, room: usize) {
            let piece = h.piece(token);
            h.held.extend(piece);
            let whole = std::str::from_utf8(&h.held).map_or_else(|e| e.valid_up_to(), str::len);
            let rest = h.held.split_off(whole);
            put(&std::mem::replace(&mut h.held, rest), dst, room)
        }
        realm_detok_flush(h, dst: *mut u8, room: usize) { 0 }
        realm_param_get(h, key: *const u8, n: usize, dst: *mut u8, room: usize) {
            let key = text(key, n);
            let found = h.params.iter().find(|(k, _)| *k == key);
            found.map_or(-3, |(_, v)| put(v.as_bytes(), dst, room))
        }
        realm_param_key(h, index: u32, dst: *mut u8, room: usize) {
            h.params.get(index as usize).map_or(-3, |(k, _)| put(k.as_bytes(), dst, room))
        }
        realm_input_read(h, offset: u32, dst: *mut u8, room: usize) {
            let rest = &h.input[offset as usize..];
            put(&rest[..rest.len().min(room)], dst, room)
        }
        realm_emit(h, token: i32, source: *const u8, n: usize) {
            h.emits.push((token, text(source, n)));
            0
        }
        realm_emit_token(h, token: u32) {
            let text = u8::try_from(token).map_or(String::new(), |b| String::from(char::from(b)));
            h.emits.push((token as i32, text));
            0
        }
        realm_logprob(h, bits: u32) {
            h.logprobs.push(f32::from_bits(bits));
            0
        }
        realm_publish(h, what: u32, buffer: u32) {
            h.logits_buffer = if what == 1 { buffer } else { h.logits_buffer };
            0
        }
        realm_progress(h, done: u32, total: u32) { 0 }
        realm_log(h, level: u32, source: *const u8, n: usize) { 0 }
        realm_fail(h, source: *const u8, n: usize) {
            h.message = text(source, n);
            0
        }
        realm_buffer_create(h, kind: u32, cols: u32, rows: u32) {
            h.buffers.push((kind, cols, rows, vec![0; 4 * (cols * rows) as usize]));
            h.buffers.len() as i32 - 1
        }
        realm_buffer_write(h, handle: u32, offset: u32, src: *const u8, n: usize) {
            h.buffers[handle as usize].3[offset as usize..][..n].copy_from_slice(&bytes(src, n));
            0
        }
        realm_buffer_read(h, handle: u32, offset: u32, dst: *mut u8, n: usize) {
            put(&h.buffers[handle as usize].3[offset as usize..][..n], dst, n);
            0
        }
        realm_kv_create(h, desc: *const u8, n: usize) {
            let raw = bytes(desc, n);
            let word = |i: usize| u32::from_le_bytes(raw[i * 4..][..4].try_into().unwrap());
            h.kv.push(core::array::from_fn(word));
            h.kv.len() as i32 - 1
        }
        realm_kv_truncate(h, position: u32) {
            h.context.truncate(position as usize);
            0
        }
        realm_program_create(h, src: *const u8, n: usize) {
            h.programs.push(bytes(src, n));
            h.programs.len() as i32 - 1
        }
        realm_program_destroy(h, handle: u32) { 0 }
        realm_step_submit(h, program: u32, regs: *const u32, count: usize, repeat: u32) {
            assert!(h.submitted.is_none(), "one step per event");
            let regs = std::slice::from_raw_parts(regs, count).to_vec();
            let buffer = &h.buffers[0].3; // the session's first buffer holds the tokens
            let words = buffer.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
            let tokens = words.take(regs[0] as usize).collect();
            h.submitted = Some((regs, tokens));
            h.running = program;
            h.top_k = codes(&h.programs[program as usize]).contains(&17);
            0
        }
    }
}
pub use imports::*;
