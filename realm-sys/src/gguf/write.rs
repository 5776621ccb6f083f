//! A small GGUF writer for tests and generators, well-formed by default and hostile on request.
//!
//! Behind the cargo feature `testing`. It allocates and panics freely: no library code uses it.

use super::ValueType;
use alloc::string::String;
use alloc::vec::Vec;

/// A file under construction. Every method returns the writer, so that a file is one expression.
#[derive(Clone, Debug)]
pub struct Writer {
    version: u32,
    alignment: u64,
    kvs: Vec<Vec<u8>>,
    tensors: Vec<TensorRecord>,
    kv_count: Option<u64>,
    tensor_count: Option<u64>,
}

#[derive(Clone, Debug)]
struct TensorRecord {
    name: Vec<u8>,
    dims: Vec<u64>,
    type_id: u32,
    offset: Option<u64>,
    data: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

/// A length-prefixed string.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::from((bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

impl Writer {
    /// An empty file of version 3.
    pub fn new() -> Self {
        Self {
            version: 3,
            alignment: 32,
            kvs: Vec::new(),
            tensors: Vec::new(),
            kv_count: None,
            tensor_count: None,
        }
    }

    /// Another version.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Pads to `alignment` and says so in `general.alignment`.
    pub fn alignment(mut self, alignment: u32) -> Self {
        self.alignment = u64::from(alignment.max(1));
        self.u32("general.alignment", alignment)
    }

    /// Claims another number of metadata entries than there are.
    pub fn claim_kv_count(mut self, count: u64) -> Self {
        self.kv_count = Some(count);
        self
    }

    /// Claims another number of tensors than there are.
    pub fn claim_tensor_count(mut self, count: u64) -> Self {
        self.tensor_count = Some(count);
        self
    }

    /// An entry from a key, a type number and the value's bytes, none of them checked.
    pub fn raw(mut self, key: &[u8], type_id: u32, value: &[u8]) -> Self {
        let mut kv = string(key);
        kv.extend_from_slice(&type_id.to_le_bytes());
        kv.extend_from_slice(value);
        self.kvs.push(kv);
        self
    }

    fn typed(self, key: &str, ty: ValueType, value: &[u8]) -> Self {
        self.raw(key.as_bytes(), ty as u32, value)
    }

    /// A 32-bit unsigned value.
    pub fn u32(self, key: &str, v: u32) -> Self {
        self.typed(key, ValueType::U32, &v.to_le_bytes())
    }

    /// A 64-bit unsigned value.
    pub fn u64(self, key: &str, v: u64) -> Self {
        self.typed(key, ValueType::U64, &v.to_le_bytes())
    }

    /// A 16-bit unsigned value (the type of `split.no` and `split.count`).
    pub fn u16(self, key: &str, v: u16) -> Self {
        self.typed(key, ValueType::U16, &v.to_le_bytes())
    }

    /// A 32-bit signed value.
    pub fn i32(self, key: &str, v: i32) -> Self {
        self.typed(key, ValueType::I32, &v.to_le_bytes())
    }

    /// A 32-bit float.
    pub fn f32(self, key: &str, v: f32) -> Self {
        self.typed(key, ValueType::F32, &v.to_le_bytes())
    }

    /// A boolean.
    pub fn bool(self, key: &str, v: bool) -> Self {
        self.typed(key, ValueType::Bool, &[u8::from(v)])
    }

    /// A string.
    pub fn str(self, key: &str, v: &str) -> Self {
        self.typed(key, ValueType::Str, &string(v.as_bytes()))
    }

    /// An array from an element type number, a length and the elements' bytes, none checked.
    pub fn raw_array(self, key: &str, type_id: u32, len: u64, items: &[u8]) -> Self {
        let mut v = Vec::from(type_id.to_le_bytes());
        v.extend_from_slice(&len.to_le_bytes());
        v.extend_from_slice(items);
        self.typed(key, ValueType::Array, &v)
    }

    /// An array of strings, which may be any bytes.
    pub fn strings<S: AsRef<[u8]>>(self, key: &str, items: &[S]) -> Self {
        let bytes: Vec<u8> = items.iter().flat_map(|s| string(s.as_ref())).collect();
        self.raw_array(key, ValueType::Str as u32, items.len() as u64, &bytes)
    }

    /// An array of floats.
    pub fn f32s(self, key: &str, items: &[f32]) -> Self {
        let bytes: Vec<u8> = items.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.raw_array(key, ValueType::F32 as u32, items.len() as u64, &bytes)
    }

    /// An array of 32-bit signed integers.
    pub fn i32s(self, key: &str, items: &[i32]) -> Self {
        let bytes: Vec<u8> = items.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.raw_array(key, ValueType::I32 as u32, items.len() as u64, &bytes)
    }

    /// A tensor with its data, placed after the ones before it. `dims` is fastest first.
    pub fn tensor(mut self, name: &str, dims: &[u64], type_id: u32, data: &[u8]) -> Self {
        self.tensors.push(TensorRecord {
            name: name.into(),
            dims: dims.into(),
            type_id,
            offset: None,
            data: data.into(),
        });
        self
    }

    /// A tensor of floats.
    pub fn tensor_f32(self, name: &str, dims: &[u64], data: &[f32]) -> Self {
        let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensor(name, dims, 0, &bytes)
    }

    /// A tensor record that claims `offset` and brings no data; the name may be any bytes.
    pub fn tensor_at(mut self, name: &[u8], dims: &[u64], type_id: u32, offset: u64) -> Self {
        self.tensors.push(TensorRecord {
            name: name.into(),
            dims: dims.into(),
            type_id,
            offset: Some(offset),
            data: Vec::new(),
        });
        self
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::from(*b"GGUF");
        out.extend_from_slice(&self.version.to_le_bytes());
        let tensors = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        let kvs = self.kv_count.unwrap_or(self.kvs.len() as u64);
        out.extend_from_slice(&tensors.to_le_bytes());
        out.extend_from_slice(&kvs.to_le_bytes());
        for kv in &self.kvs {
            out.extend_from_slice(kv);
        }
        let mut next = 0_u64;
        for t in &self.tensors {
            out.extend_from_slice(&string(&t.name));
            out.extend_from_slice(&(t.dims.len() as u32).to_le_bytes());
            for d in &t.dims {
                out.extend_from_slice(&d.to_le_bytes());
            }
            out.extend_from_slice(&t.type_id.to_le_bytes());
            out.extend_from_slice(&t.offset.unwrap_or(next).to_le_bytes());
            next = (next + t.data.len() as u64).next_multiple_of(self.alignment);
        }
        for t in &self.tensors {
            if !t.data.is_empty() {
                let padded = (out.len() as u64).next_multiple_of(self.alignment);
                out.resize(padded as usize, 0);
                out.extend_from_slice(&t.data);
            }
        }
        out
    }
}

/// A tiny llama-shaped file: every kind of metadata, three tensors and a few tokens.
pub fn sample() -> Vec<u8> {
    let floats = |n: u8| -> Vec<f32> { (0..n).map(|i| f32::from(i) / 4.0).collect() };
    let tokens: Vec<String> = (0..5).map(|i| alloc::format!("<t{i}>")).collect();
    Writer::new()
        .str("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .bool("tokenizer.ggml.add_bos_token", true)
        .strings("tokenizer.ggml.tokens", &tokens)
        .f32s("tokenizer.ggml.scores", &[0.0, -1.0, -2.0, -3.0, -4.0])
        .i32s("tokenizer.ggml.token_type", &[2, 3, 1, 1, 6])
        .tensor_f32("token_embd.weight", &[8, 5], &floats(40))
        .tensor_f32("output_norm.weight", &[8], &floats(8))
        .tensor("blk.0.attn_q.weight", &[32, 2], 8, &[7; 68])
        .bytes()
}
