//! Model families: which one a file is, and what the rest of the guest needs from it.
//!
//! A family is one file with three functions: read hyper-parameters, name tensors, build the graph. What many of them
//! have in common is in [`parts`] (reading), [`graph`] (recording) and [`moe`] (mixtures of experts); these know no
//! architecture. To add a family, write its file and add it to [`FAMILIES`].

pub mod graph;
pub mod meta;
pub mod moe;
pub mod parts;

#[cfg(feature = "all-families")]
mod bert;
#[cfg(feature = "all-families")]
mod cohere2;
#[cfg(feature = "all-families")]
mod deepseek2;
#[cfg(feature = "all-families")]
mod gemma;
#[cfg(feature = "all-families")]
mod gemma2;
#[cfg(feature = "all-families")]
mod gemma3;
#[cfg(feature = "all-families")]
mod gpt2;
#[cfg(feature = "all-families")]
mod gpt_oss;
#[cfg(feature = "all-families")]
mod granite;
#[cfg(feature = "all-families")]
mod lfm2;
mod llama;
#[cfg(feature = "all-families")]
mod mamba2;
#[cfg(feature = "all-families")]
mod olmo2;
#[cfg(feature = "all-families")]
mod phi3;
#[cfg(feature = "all-families")]
mod qwen;
#[cfg(feature = "all-families")]
mod smollm3;
#[cfg(feature = "all-families")]
mod stablelm;

use crate::abi::{self, Fail, KvDesc, Line, Result};
use crate::embed::{Head, Pooling};
use crate::program::Operand;
use alloc::boxed::Box;
use core::fmt::Write;
use graph::Graph;
use meta::Meta;
use parts::Base;

/// Reads and checks a model, and makes what records it.
pub type Open = fn(&Meta) -> Result<Box<dyn Family>>;

/// An architecture, as `general.architecture` has it, and what opens a model of it.
pub type Architecture = (&'static str, Open);

/// The architectures this guest knows.
#[cfg(not(feature = "all-families"))]
const FAMILIES: [Architecture; 2] = [("llama", llama::open), ("mistral3", llama::open)];

/// For people.
#[cfg(not(feature = "all-families"))]
const KNOWN: &str = "llama mistral3, being slim";

/// The architectures this guest knows.
#[cfg(feature = "all-families")]
const FAMILIES: [Architecture; 27] = [
    ("llama", llama::open),
    ("mistral3", llama::open),
    ("qwen2", qwen::open),
    ("qwen3", qwen::open),
    ("qwen2vl", qwen::open),
    ("qwen3vl", qwen::open),
    ("qwen2moe", qwen::open),
    ("qwen3moe", qwen::open),
    ("qwen3vlmoe", qwen::open),
    ("gemma", gemma::open),
    ("gemma2", gemma2::open),
    ("gemma3", gemma3::open),
    ("phi3", phi3::open),
    ("smollm3", smollm3::open),
    ("granite", granite::open),
    ("granitemoe", granite::open),
    ("olmo2", olmo2::open),
    ("stablelm", stablelm::open),
    ("gpt2", gpt2::open),
    ("cohere2", cohere2::open),
    ("gpt-oss", gpt_oss::open),
    ("lfm2", lfm2::open),
    ("lfm2moe", lfm2::open),
    ("deepseek2", deepseek2::open),
    ("mamba2", mamba2::open),
    ("bert", bert::open),
    ("nomic-bert", bert::open),
];

/// The same for people: `gemma/2/3` are gemma, gemma2 and gemma3.
#[cfg(feature = "all-families")]
const KNOWN: &str = "llama mistral3 qwen2/vl/moe qwen3/vl/moe/vlmoe gemma/2/3 phi3 smollm3 granite/moe olmo2 stablelm gpt2 \
                     cohere2 gpt-oss lfm2/moe deepseek2 mamba2 bert nomic-bert";

/// Facts about a model that do not depend on its family.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Rows of the logits.
    pub n_vocab: u32,
    /// The context it was trained for.
    pub n_ctx_train: u32,
    /// The longest context it can have at all.
    pub n_ctx_max: u32,
    /// Layers, each with one cache layer or a buffer of kept rows.
    pub n_layer: u32,
    /// The weights are f32, so the cache had better be too.
    pub f32_weights: bool,
}

/// A model of some family, ready to be recorded.
pub trait Family {
    /// Sizes, and the tensors at both ends.
    fn base(&self) -> &Base;

    /// Positions that a layer's attention sees; 0: all.
    fn window(&self, _layer: u32) -> u32 {
        0
    }

    /// How a model that makes nothing but embeddings makes them; None for one that makes text.
    fn pooling(&self) -> Option<Pooling> {
        None
    }

    /// What ranks texts, of a model that can.
    fn head(&self) -> Option<Head> {
        None
    }

    /// Rows that a convolution keeps from step to step; 0 for a model without.
    fn kept_rows(&self) -> u32 {
        0
    }

    /// Their columns.
    fn kept_cols(&self) -> u32 {
        self.base().n_embd
    }

    /// Rows and columns of the state that a layer's scan carries on; zeros for a model without.
    fn state(&self) -> [u32; 2] {
        [0, 0]
    }

    /// The longest context there can be: of learned positions, as many as there are.
    fn n_ctx_max(&self) -> u32 {
        u32::MAX
    }

    /// What queries at a position are multiplied with; None for a model that does not do so.
    fn query_scale(&self, _position: u32) -> Option<f32> {
        None
    }

    /// About how many operations a layer has.
    fn layer_ops(&self) -> usize;

    /// Records the graph over one handle per layer, of its cache or of its buffer of kept rows, and behind those one per layer of its
    /// buffer of state, if there are any; returns f32 logits `[n_out, n_vocab]`, or, where
    /// embeddings are made, the last hidden rows `[n_tok, n_embd]`.
    fn build(&self, g: &mut Graph<'_>, kv: &[u32]) -> Operand;

    /// What is common to all.
    fn facts(&self) -> Facts {
        let base = self.base();
        Facts {
            n_vocab: base.n_vocab,
            n_ctx_train: base.n_ctx_train,
            n_ctx_max: self.n_ctx_max(),
            n_layer: base.layers.len() as u32,
            f32_weights: base.f32_weights,
        }
    }

    /// Geometry of a layer's cache; `kind` and `max_positions` are the caller's. None for a convolution.
    fn kv(&self, layer: u32) -> Option<KvDesc> {
        let base = self.base();
        let window = self.window(layer);
        let n_head_kv = base.shape(layer as usize).n_head_kv;
        (n_head_kv > 0).then_some(KvDesc {
            kind: 0,
            n_head_kv,
            head_dim_k: base.head_k,
            head_dim_v: base.head_v,
            max_positions: 0,
            // Layers of a group share pages, so those with another window are another group.
            group: u32::from(window != self.window(0)),
            window,
        })
    }

    /// About how many operations [`Family::build`] records.
    fn op_count(&self) -> usize {
        self.base().layers.len() * self.layer_ops() + 8
    }
}

/// Reads the model's architecture and opens its family, which is looked for in `more` first.
pub fn open(model: u32, more: &[Architecture]) -> Result<Box<dyn Family>> {
    let Some(arch) = abi::meta_string(model, "general.architecture", -1)? else {
        return Err(fail!(
            FORMAT,
            "the model does not say its general.architecture"
        ));
    };
    let meta = Meta { model, arch };
    let mut known = more.iter().chain(&FAMILIES);
    match known.find(|(name, _)| *name == meta.arch) {
        Some((_, open)) => open(&meta),
        None => Err(unknown(&meta.arch, more)),
    }
}

#[cold]
fn unknown(arch: &str, more: &[Architecture]) -> Fail {
    let mut known = Line::new();
    for (name, _) in more {
        let _ = write!(known, "{name} ");
    }
    let known = known.text();
    fail!(
        UNSUPPORTED,
        "unknown architecture '{arch}'; this guest knows {known}{KNOWN}"
    )
}

#[cfg(all(test, feature = "all-families"))]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    #[test]
    fn those_that_people_are_told_are_those_that_are_known() {
        let mut told: Vec<String> = Vec::new();
        for word in KNOWN.split(' ') {
            let mut parts = word.split('/');
            let base = parts.next().unwrap_or_default();
            told.push(base.into());
            told.extend(parts.map(|rest| std::format!("{base}{rest}")));
        }
        let mut known: Vec<String> = FAMILIES.iter().map(|f| f.0.into()).collect();
        told.sort();
        known.sort();
        assert_eq!(told, known);
    }
}
