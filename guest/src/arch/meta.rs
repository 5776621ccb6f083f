//! Reading a model's facts: metadata under the architecture's prefix, tensors with the shapes they must have.

use crate::abi::{self, Result, Tensor, kind};
use crate::program::Operand;
use alloc::string::String;
use core::fmt;

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
    #[inline(never)]
    pub fn u32(&self, name: &str) -> Result<Option<u32>> {
        self.explain(name, abi::meta_u32(self.model, self.key(name).text(), -1))
    }

    /// A number that must be there and be at least 1.
    #[inline(never)]
    pub fn need(&self, name: &str) -> Result<u32> {
        match self.u32(name)? {
            Some(0) => Err(fail!(FORMAT, "{}.{name} is 0", self.arch)),
            Some(n) => Ok(n),
            None => Err(fail!(FORMAT, "the model has no {}.{name}", self.arch)),
        }
    }

    /// A number that may be given per layer, as an array.
    #[inline(never)]
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
    #[inline(never)]
    pub fn f32(&self, name: &str) -> Result<Option<f32>> {
        self.explain(name, abi::meta_f32(self.model, self.key(name).text()))
    }

    /// A string; None if absent.
    #[inline(never)]
    pub fn string(&self, name: &str) -> Result<Option<String>> {
        self.explain(
            name,
            abi::meta_string(self.model, self.key(name).text(), -1),
        )
    }

    /// Whether `name` says yes; None if absent.
    #[inline(never)]
    pub fn bool(&self, name: &str) -> Result<Option<bool>> {
        self.explain(name, abi::meta_bool(self.model, self.key(name).text(), -1))
    }

    /// Whether a layer's attention slides: what the file says per layer, or its period, or `period`. In a period of n all
    /// layers slide but the last; a period of 0 means all, of 1 none.
    #[inline(never)]
    pub fn slides(&self, layer: u32, period: u32) -> Result<bool> {
        let name = "attention.sliding_window_pattern";
        let key = self.key(name);
        let index = i32::try_from(layer).unwrap_or(i32::MAX);
        if let Ok(Some(says)) = abi::meta_bool(self.model, key.text(), index) {
            return Ok(says);
        }
        let period = self.u32(name)?.unwrap_or(period);
        Ok(period == 0 || layer % period < period - 1)
    }

    /// A number that must be positive, with a default.
    #[inline(never)]
    pub fn positive(&self, name: &str, default: f32) -> Result<f32> {
        match self.f32(name)?.unwrap_or(default) {
            v if v > 0.0 && v.is_finite() => Ok(v),
            _ => Err(fail!(
                FORMAT,
                "{}.{name} is not a positive number",
                self.arch
            )),
        }
    }

    /// A scale: finite, and `default` where the file has none or 0.
    #[inline(never)]
    pub fn scale(&self, name: &str, default: f32) -> Result<f32> {
        match self.f32(name)? {
            None | Some(0.0) => Ok(default),
            Some(v) if v.is_finite() => Ok(v),
            Some(_) => Err(fail!(FORMAT, "{}.{name} is not a number", self.arch)),
        }
    }

    #[inline(never)]
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
    #[inline(never)]
    pub fn tensor(&self, name: fmt::Arguments<'_>, shape: &[u32]) -> Result<Tensor> {
        let name = abi::Line::format(name);
        match self.find(name.text(), shape)? {
            Some(tensor) => Ok(tensor),
            None => Err(fail!(FORMAT, "the model has no tensor {}", name.text())),
        }
    }

    /// A tensor that may be missing; if it is there, it must have this shape.
    #[inline(never)]
    pub fn maybe(&self, name: fmt::Arguments<'_>, shape: &[u32]) -> Result<Option<Tensor>> {
        self.find(abi::Line::format(name).text(), shape)
    }

    /// As [`Meta::vector`], with `rows` rows.
    #[inline(never)]
    pub fn matrix(&self, name: fmt::Arguments<'_>, n: u32, rows: u32) -> Result<Operand> {
        let line = abi::Line::format(name);
        match self.maybe_matrix(format_args!("{}", line.text()), n, rows)? {
            Operand::NONE => Err(fail!(FORMAT, "the model has no tensor {}", line.text())),
            matrix => Ok(matrix),
        }
    }

    /// A norm's weight, a bias or a table of factors: f32 and one-dimensional.
    #[inline(never)]
    pub fn vector(&self, name: fmt::Arguments<'_>, n: u32) -> Result<Operand> {
        self.matrix(name, n, 1)
    }

    /// As [`Meta::vector`], or [`Operand::NONE`] if the model has none.
    #[inline(never)]
    pub fn maybe_vector(&self, name: fmt::Arguments<'_>, n: u32) -> Result<Operand> {
        self.maybe_matrix(name, n, 1)
    }

    /// As [`Meta::maybe_vector`], with `rows` rows.
    #[inline(never)]
    pub fn maybe_matrix(&self, name: fmt::Arguments<'_>, n: u32, rows: u32) -> Result<Operand> {
        let line = abi::Line::format(name);
        match self.find(line.text(), &[n, rows])? {
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

    #[inline(never)]
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
