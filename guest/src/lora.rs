//! LoRA: low-rank adapters in GGUF files, as llama.cpp has them. Where an adapter has a pair A, B for a matrix W, the product
//! x·Wᵀ becomes x·Wᵀ + s·(x·Aᵀ)·Bᵀ, with s = scale · alpha / rank. Weights stay as they are, and shared.
//!
//! An adapter is a model of its own in the host's store, which the host lets the session use; the parameter `lora` says which
//! and how much. Its tensors are named after those they adapt: `NAME.lora_a` and `NAME.lora_b`.

use crate::abi::{self, Fail, Line, Result, Tensor};
use crate::program::Operand;
use crate::slim;
use alloc::string::String;
use alloc::vec::Vec;

/// Further models that a program may name.
pub const MAX_ADAPTERS: usize = 15;

/// An adapter that is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    /// Its model's id.
    pub id: u32,
    /// How much of it.
    pub scale: f32,
}

/// What an adapter adds to one matrix.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The matrix it belongs to.
    pub weight: Operand,
    /// `[rank, k]`, of experts `[E, rank, k]`; of a table of embeddings `[n_vocab, rank]`.
    pub a: Operand,
    /// `[m, rank]`, of experts `[E, m, rank]`.
    pub b: Operand,
    /// Columns between the two.
    pub rank: u32,
    /// What they are multiplied with.
    pub scale: f32,
    /// Of a table that rows are taken from.
    pub table: bool,
    /// Whose it is.
    adapter: u32,
}

/// The adapters in use.
#[derive(Default)]
pub struct Lora {
    asked: Vec<Asked>,
    pairs: Vec<Pair>,
}

impl Lora {
    /// Reads and checks adapters for a model.
    pub fn read(model: u32, asked: &[Asked]) -> Result<Self> {
        let mut lora = Self::default();
        if asked.len() > MAX_ADAPTERS {
            return Err(fail!(
                LIMIT,
                "parameter lora has {} adapters, at most {MAX_ADAPTERS} are taken",
                asked.len()
            ));
        }
        for (i, adapter) in asked.iter().enumerate() {
            lora.asked.push(*adapter);
            let Ok(count) = abi::tensor_count(adapter.id) else {
                return Err(fail!(
                    NOT_FOUND,
                    "parameter lora names adapter {}, which is none of the session's models (realm_session_options.models; realm-run: --lora FILE)",
                    adapter.id
                ));
            };
            let alpha = alpha(model, adapter.id)?;
            lora.add(model, i, adapter, (count, alpha))?;
        }
        lora.pairs.sort_by_key(|pair| pair.weight.0);
        Ok(lora)
    }

    /// What was asked for.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }

    /// The ids of the models that a program with these adapters names beside its own.
    pub fn models(&self) -> impl Iterator<Item = u32> {
        self.asked.iter().map(|adapter| adapter.id)
    }

    /// About how many operations they add.
    pub fn ops(&self) -> usize {
        4 * self.pairs.len()
    }

    /// What there is for a matrix or a table, in the order in which adapters were named.
    pub fn of(&self, weight: Operand, table: bool) -> &[Pair] {
        if !slim::LORA {
            return &[];
        }
        let from = self.pairs.partition_point(|p| p.weight.0 < weight.0);
        let rest = self.pairs.get(from..).unwrap_or_default();
        let is_its = |p: &Pair| p.weight == weight && p.table == table;
        rest.split(|p| !is_its(p)).next().unwrap_or_default()
    }

    /// Refuses adapters of tensors that are not among the matrices and tables that a graph takes adapters for.
    pub fn fit(&self, model: u32, adapted: &[(Operand, bool)]) -> Result<()> {
        let alien = |pair: &&Pair| !adapted.contains(&(pair.weight, pair.table));
        let Some(pair) = self.pairs.iter().find(alien) else {
            return Ok(());
        };
        let name = abi::tensor_name(model, pair.weight.0 & 0x0fff_ffff)?;
        let id = pair.adapter;
        Err(fail!(
            UNSUPPORTED,
            "adapter {id} changes tensor {name}, for which this guest takes no adapters"
        ))
    }

    /// Adds the pairs of the `index`-th adapter, of so many tensors and with this alpha. What adds nothing is left out, so that it changes
    /// no bit.
    fn add(
        &mut self,
        model: u32,
        index: usize,
        adapter: &Asked,
        (count, alpha): (u32, f32),
    ) -> Result<()> {
        let id = adapter.id;
        let mut found = 0;
        for handle in 0..count {
            let name = abi::tensor_name(id, handle)?;
            let Some(base) = name.strip_suffix(".lora_a") else {
                half(id, &name)?;
                continue;
            };
            let Some(weight) = abi::tensor(model, base)? else {
                return Err(fail!(
                    FORMAT,
                    "adapter {id} has tensor {name}, but the model has no tensor {base}: it was made for another model"
                ));
            };
            let (a, b) = (of(id, base, "lora_a")?, of(id, base, "lora_b")?);
            let table = base == "token_embd.weight";
            let rank =
                rank(&weight, &a, &b, table).ok_or_else(|| misfit(id, base, &weight, &a, &b))?;
            found += 1;
            if adapter.scale == 0.0 {
                continue;
            }
            let operand = |t: &Tensor| Operand::weight_of(1 + index as u32, t.handle);
            if self.pairs.try_reserve(1).is_err() {
                return Err(fail!(
                    NO_MEMORY,
                    "the guest's memory limit (max_guest_memory_bytes) is too small for the tensors of adapter {id}"
                ));
            }
            self.pairs.push(Pair {
                weight: Operand::weight(weight.handle),
                a: operand(&a),
                b: operand(&b),
                rank,
                scale: match alpha {
                    0.0 => adapter.scale,
                    alpha => adapter.scale * alpha / rank as f32,
                },
                table,
                adapter: id,
            });
        }
        match found {
            0 => Err(fail!(FORMAT, "adapter {id} has no tensors NAME.lora_a")),
            _ => Ok(()),
        }
    }
}

/// What an adapter says of itself, if it is one for this model: its alpha.
fn alpha(model: u32, id: u32) -> Result<f32> {
    let text =
        |key: &str| -> Result<String> { Ok(abi::meta_string(id, key, -1)?.unwrap_or_default()) };
    let arch = text("general.architecture")?;
    if arch == "controlvector" {
        return Err(fail!(
            UNSUPPORTED,
            "model {id} is a control vector, which this guest does not know; a LoRA adapter is expected"
        ));
    }
    for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        let found = text(key)?;
        if found != expected {
            return Err(fail!(
                FORMAT,
                "model {id} is no LoRA adapter: its {key} is '{found}', expected '{expected}'"
            ));
        }
    }
    let expected = abi::meta_string(model, "general.architecture", -1)?.unwrap_or_default();
    if arch != expected {
        return Err(fail!(
            FORMAT,
            "adapter {id} is for the architecture '{arch}', the model's is '{expected}'"
        ));
    }
    if abi::meta_u32(id, "adapter.alora.invocation_tokens", 0)?.is_some() {
        return Err(fail!(
            UNSUPPORTED,
            "adapter {id} is an activated LoRA (it has adapter.alora.invocation_tokens), which this guest does not know"
        ));
    }
    match abi::meta_f32(id, "adapter.lora.alpha")? {
        Some(alpha) if alpha.is_finite() => Ok(alpha),
        _ => Err(fail!(
            FORMAT,
            "adapter {id} has no adapter.lora.alpha, or it is no number"
        )),
    }
}

/// A tensor of an adapter that is not the first of a pair: the second, or a norm, which is left alone as in llama.cpp.
fn half(id: u32, name: &str) -> Result<()> {
    if let Some(base) = name.strip_suffix(".lora_b") {
        return of(id, base, "lora_a").map(drop);
    }
    if name.ends_with("_norm.weight") {
        abi::log(1, format_args!("adapter {id}: tensor {name} is not used"));
        return Ok(());
    }
    Err(fail!(
        FORMAT,
        "adapter {id} has tensor {name}, expected names that end in .lora_a or .lora_b"
    ))
}

/// One of a pair.
fn of(id: u32, base: &str, which: &str) -> Result<Tensor> {
    let name = Line::format(format_args!("{base}.{which}"));
    match abi::tensor(id, name.text())? {
        Some(tensor) => Ok(tensor),
        None => Err(fail!(
            FORMAT,
            "adapter {id} has no tensor {}, which belongs to another that it has",
            name.text()
        )),
    }
}

/// The columns between A and B, if these are a pair for the matrix.
fn rank(weight: &Tensor, a: &Tensor, b: &Tensor, table: bool) -> Option<u32> {
    let [k, m, count, one] = weight.ne;
    let [rank, ..] = b.ne;
    let fits = match table {
        true => a.ne == [rank, m, 1, 1] && b.ne == [rank, k, 1, 1],
        false => a.ne == [k, rank, count, one] && b.ne == [rank, m, count, one],
    };
    // Heads times columns stay within what a program can say.
    u32::try_from(rank)
        .ok()
        .filter(|rank| fits && (1..1 << 16).contains(rank))
}

#[cold]
fn misfit(id: u32, base: &str, weight: &Tensor, a: &Tensor, b: &Tensor) -> Fail {
    let ([k, m, ..], [ak, am, ..], [bk, bm, ..]) = (weight.ne, a.ne, b.ne);
    fail!(
        FORMAT,
        "adapter {id}: {base} is [{k}, {m}], its lora_a is [{ak}, {am}] and its lora_b [{bk}, {bm}], which do not go together"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FURTHER, Host, Meta, host};
    use crate::session;
    use std::vec;

    /// An adapter for the tiny llama: of one matrix, and of its table.
    fn adapter() -> Host {
        let mut h = Host::default();
        for (key, value) in [
            ("general.type", "adapter"),
            ("general.architecture", "llama"),
            ("adapter.type", "lora"),
        ] {
            h.meta.insert(key.into(), Meta::Text(value.into()));
        }
        h.meta.insert("adapter.lora.alpha".into(), Meta::F32(6.0));
        for (name, ne) in [
            ("blk.0.attn_q.weight.lora_a", vec![8, 3]),
            ("blk.0.attn_q.weight.lora_b", vec![3, 8]),
            ("token_embd.weight.lora_a", vec![2, 260]),
            ("token_embd.weight.lora_b", vec![2, 8]),
            ("blk.0.attn_norm.weight", vec![8]),
        ] {
            h.tensors.push((name.into(), 0, ne));
        }
        h
    }

    /// What opening a session with this adapter says.
    fn opened(change: impl FnOnce(&mut Host)) -> core::result::Result<(), String> {
        let mut further = adapter();
        change(&mut further);
        host(|h| {
            *h = Host::tiny("llama");
            h.models.insert(FURTHER, further);
            h.set("lora", "100:0.5");
        });
        match session::event(&mut None, &[], 1, 1, 0) {
            0 => Ok(()),
            _ => Err(host(|h| h.message.clone())),
        }
    }

    fn drop_tensor(h: &mut Host, name: &str) {
        h.tensors.retain(|t| t.0 != name);
    }

    #[test]
    fn what_an_adapter_adds_is_recorded() {
        assert_eq!(opened(|_| ()), Ok(()));
        let program = host(|h| h.programs[0].clone());
        let word = |at: usize| u32::from_le_bytes(program[at..][..4].try_into().unwrap());
        // Version 0.2, one further model, whose id is at the end.
        assert_eq!([word(4), word(24)], [2 << 16, 1]);
        assert_eq!(word(program.len() - 4), FURTHER);
        let uses = |of: u32| {
            let ops = program
                .chunks_exact(4)
                .map(|b| u32::from_le_bytes(b.try_into().unwrap()));
            ops.filter(|w| w >> 24 == 0x10 | of && w & 0xff_ffff < 5)
                .count()
        };
        assert_eq!(uses(1), 4, "each of its matrices once");
        // Twice as much of alpha / rank = 2 and 3.
        for scale in [1.0f32, 1.5] {
            let bits = scale.to_bits().to_le_bytes();
            assert!(program.windows(4).any(|w| w == bits), "{scale}");
        }
    }

    #[test]
    fn without_adapters_a_program_is_what_it_was() {
        let mut programs = ["", "100:0"].map(|lora| {
            host(|h| {
                *h = Host::tiny("llama");
                h.models.insert(FURTHER, adapter());
                h.set("lora", lora);
            });
            assert_eq!(session::event(&mut None, &[], 1, 1, 0), 0);
            host(|h| h.programs[0].clone())
        });
        // One of which nothing is wanted is only named.
        let [plain, named] = &mut programs;
        named.truncate(plain.len());
        named[6] = plain[6];
        named[24] = plain[24];
        assert_eq!(plain, named);
    }

    #[test]
    fn adapters_that_do_not_fit_are_refused() {
        let text = |key: &'static str, value: &'static str| {
            move |h: &mut Host| drop(h.meta.insert(key.into(), Meta::Text(value.into())))
        };
        let said = |change: &dyn Fn(&mut Host)| opened(change).unwrap_err();
        assert_eq!(
            said(&text("general.architecture", "qwen3")),
            "adapter 100 is for the architecture 'qwen3', the model's is 'llama'"
        );
        assert!(said(&text("general.type", "model")).contains("expected 'adapter'"));
        assert!(said(&text("adapter.type", "ia3")).contains("adapter.type is 'ia3'"));
        assert!(said(&text("general.architecture", "controlvector")).contains("control vector"));
        assert!(
            said(&|h| drop(h.meta.remove("adapter.lora.alpha"))).contains("no adapter.lora.alpha")
        );
        assert!(
            said(&|h| drop(h.meta.insert(
                "adapter.alora.invocation_tokens".into(),
                Meta::Array(vec![1])
            )))
            .contains("activated LoRA")
        );
        for half in ["a", "b"] {
            let other = std::format!("blk.0.attn_q.weight.lora_{half}");
            assert!(said(&|h| drop_tensor(h, &other)).contains(&other), "{half}");
        }
        let rename = |to: &'static str| {
            move |h: &mut Host| {
                for t in &mut h.tensors[..2] {
                    t.0 = t.0.replace("blk.0.attn_q.weight", to);
                }
            }
        };
        assert!(
            said(&rename("blk.7.attn_q.weight"))
                .contains("the model has no tensor blk.7.attn_q.weight")
        );
        // Vectors have no products.
        assert!(
            said(&|h| {
                rename("output_norm.weight")(h);
                h.tensors[1].2 = vec![3, 1];
            })
            .contains("output_norm.weight, for which this guest takes no adapters")
        );
        assert!(said(&|h| h.tensors[1].2 = vec![2, 8]).contains("which do not go together"));
        assert!(
            said(&|h| h.tensors[4].0 = "blk.0.attn_q.bias".into())
                .contains("expected names that end in")
        );
        assert!(said(&|h| h.tensors.truncate(0)).contains("no tensors NAME.lora_a"));
    }

    #[test]
    fn adapters_come_and_go_between_turns() {
        const PROMPT: i32 = 2;
        assert_eq!(opened(|_| ()), Ok(()));
        let mut slot = None;
        host(|h| {
            h.programs.clear();
            h.set("lora", "");
        });
        assert_eq!(session::event(&mut slot, &[], 1, 1, 0), 0);
        let turn = |slot: &mut Option<session::Session>, lora: &str| {
            host(|h| {
                h.set("lora", lora);
                h.set("n_predict", "0");
                h.input = b"x".to_vec();
            });
            let began = session::event(slot, &[], PROMPT, 0, 1);
            if began == 0 {
                host(Host::complete);
                assert_eq!(session::event(slot, &[], 3, 0, 0), 3);
            }
            host(|h| (began, h.programs.len(), h.programs.last().unwrap().len()))
        };
        let (_, one, plain) = turn(&mut slot, "");
        let (_, two, adapted) = turn(&mut slot, "100");
        assert!(one == 1 && two == 2 && adapted > plain);
        assert_eq!(turn(&mut slot, "100:1").1, 2, "the same");
        let (_, three, stacked) = turn(&mut slot, "100:1,100:-0.5");
        assert!(three == 3 && stacked > adapted);
        // One that is not there is refused, and all is as it was.
        assert!(turn(&mut slot, "101").0 < 0);
        assert_eq!(turn(&mut slot, ""), (0, 4, plain));
    }
}
