//! Model families: which one a file is, and what the rest of the guest needs from it.
//!
//! A family is one file with three functions: read hyper-parameters, name tensors, build the graph.
//! To add one, write the file and add its names to [`open`].

pub mod llama;

use crate::abi::{self, KvDesc, Result, Tensor, kind};
use crate::program::{Dim, Operand, Recorder};
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

/// The architectures this guest knows, for messages.
pub const KNOWN: &str = "llama, qwen2, qwen3";

/// Registers and buffers that a graph is built over.
#[derive(Clone, Copy, Debug)]
pub struct Io {
    /// i32 ids, one row per token.
    pub tokens: Operand,
    /// Tokens in this step, ≥ 1.
    pub n_tok: Dim,
    /// Position of the first.
    pub pos: Dim,
    /// The row whose logits are wanted.
    pub out_row: Dim,
    /// How many rows of logits are wanted: 0 or 1.
    pub n_out: Dim,
}

/// Facts about a model that do not depend on its family.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Rows of the logits.
    pub n_vocab: u32,
    /// The context it was trained for.
    pub n_ctx_train: u32,
    /// Transformer layers, each with one cache layer.
    pub n_layer: u32,
    /// The weights are f32, so the cache had better be too.
    pub f32_weights: bool,
}

/// A model of some family, ready to be recorded.
pub trait Family {
    /// What is common to all.
    fn facts(&self) -> Facts;
    /// Geometry of a layer's cache; `kind` and `max_positions` are the caller's.
    fn kv(&self, layer: u32) -> KvDesc;
    /// About how many operations [`Family::build`] records.
    fn op_count(&self) -> usize;
    /// Records the graph over one cache handle per layer; returns f32 logits `[n_out, n_vocab]`.
    fn build(&self, r: &mut Recorder, io: &Io, kv: &[u32]) -> Operand;
}

/// Reads the model's architecture and opens its family.
pub fn open(model: u32) -> Result<Box<dyn Family>> {
    let Some(arch) = abi::meta_string(model, "general.architecture")? else {
        return Err(fail!(
            FORMAT,
            "the model does not say its general.architecture"
        ));
    };
    let meta = Meta { model, arch };
    match meta.arch.as_str() {
        "llama" | "qwen2" | "qwen3" => Ok(Box::new(llama::open(&meta)?)),
        other => Err(fail!(
            UNSUPPORTED,
            "this guest does not know architecture '{other}' (known: {KNOWN})"
        )),
    }
}

/// Metadata under the architecture's prefix, and tensors with the shapes they must have.
pub struct Meta {
    /// The model's id.
    pub model: u32,
    /// `general.architecture`.
    pub arch: String,
}

impl Meta {
    fn key(&self, name: &str) -> abi::Line {
        abi::Line::format(format_args!("{}.{name}", self.arch))
    }

    /// A number; None if absent. A value of another type is refused with the key's name.
    pub fn u32(&self, name: &str) -> Result<Option<u32>> {
        self.explain(name, abi::meta_u32(self.model, self.key(name).text(), -1))
    }

    /// A number that must be there and be at least 1.
    pub fn need(&self, name: &str) -> Result<u32> {
        match self.u32(name)? {
            Some(0) => Err(fail!(FORMAT, "{}.{name} is 0", self.arch)),
            Some(n) => Ok(n),
            None => Err(fail!(FORMAT, "the model has no {}.{name}", self.arch)),
        }
    }

    /// A number that may be given per layer, as an array.
    pub fn u32_at(&self, name: &str, layer: u32) -> Result<Option<u32>> {
        let key = self.key(name);
        // A scalar first: reading an array as one is an argument error, not a missing key.
        match abi::meta_u32(self.model, key.text(), -1) {
            Err(abi::Fail(abi::status::INVALID_ARGUMENT)) => {
                let index = i32::try_from(layer).unwrap_or(i32::MAX);
                self.explain(name, abi::meta_u32(self.model, key.text(), index))
            }
            other => other,
        }
    }

    /// A float; None if absent.
    pub fn f32(&self, name: &str) -> Result<Option<f32>> {
        self.explain(name, abi::meta_f32(self.model, self.key(name).text()))
    }

    /// A string; None if absent.
    pub fn string(&self, name: &str) -> Result<Option<String>> {
        self.explain(name, abi::meta_string(self.model, self.key(name).text()))
    }

    fn explain<T>(&self, name: &str, result: Result<T>) -> Result<T> {
        result.map_err(|e| match e.0 {
            abi::status::INVALID_ARGUMENT => {
                fail!(
                    FORMAT,
                    "{}.{name} is not of the type it should be",
                    self.arch
                )
            }
            _ => e,
        })
    }

    /// A tensor that must be there with exactly this shape (trailing ones may be left out).
    pub fn tensor(&self, name: fmt::Arguments<'_>, shape: &[u32]) -> Result<Tensor> {
        let name = abi::Line::format(name);
        match self.find(name.text(), shape)? {
            Some(tensor) => Ok(tensor),
            None => Err(fail!(FORMAT, "the model has no tensor {}", name.text())),
        }
    }

    /// A tensor that may be missing; if it is there, it must have this shape.
    pub fn maybe(&self, name: fmt::Arguments<'_>, shape: &[u32]) -> Result<Option<Tensor>> {
        self.find(abi::Line::format(name).text(), shape)
    }

    /// A norm's weight, a bias or a table of factors: f32 and one-dimensional.
    pub fn vector(&self, name: fmt::Arguments<'_>, n: u32) -> Result<Operand> {
        let line = abi::Line::format(name);
        match self.maybe_vector(format_args!("{}", line.text()), n)? {
            Operand::NONE => Err(fail!(FORMAT, "the model has no tensor {}", line.text())),
            vector => Ok(vector),
        }
    }

    /// As [`Meta::vector`], or [`Operand::NONE`] if the model has none.
    pub fn maybe_vector(&self, name: fmt::Arguments<'_>, n: u32) -> Result<Operand> {
        let line = abi::Line::format(name);
        match self.find(line.text(), &[n])? {
            None => Ok(Operand::NONE),
            Some(t) if t.kind == kind::F32 => Ok(Operand::weight(t.handle)),
            Some(t) => Err(fail!(
                UNSUPPORTED,
                "tensor {} has type {}, expected f32",
                line.text(),
                t.kind
            )),
        }
    }

    fn find(&self, name: &str, shape: &[u32]) -> Result<Option<Tensor>> {
        let Some(tensor) = abi::tensor(self.model, name)? else {
            return Ok(None);
        };
        let mut expected = [1u64; 4];
        for (e, n) in expected.iter_mut().zip(shape) {
            *e = u64::from(*n);
        }
        if tensor.ne == expected {
            return Ok(Some(tensor));
        }
        let (has, wants) = (Shape(&tensor.ne), Shape(&expected));
        Err(fail!(
            FORMAT,
            "tensor {name} has shape {has}, expected {wants}"
        ))
    }
}

/// Prints `[64, 128]`, without trailing ones.
struct Shape<'a>(&'a [u64; 4]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self
            .0
            .iter()
            .rposition(|n| *n != 1)
            .map_or(1, |last| last + 1);
        for (i, n) in self.0.iter().take(used).enumerate() {
            write!(f, "{}{n}", if i == 0 { "[" } else { ", " })?;
        }
        f.write_str("]")
    }
}
