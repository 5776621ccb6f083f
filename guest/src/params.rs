//! The session's parameters: names, defaults, ranges. The table is in `README.md`.
//!
//! Unknown names and malformed values are refused by name: a typing error that silently falls back
//! to a default costs its author an evening.

use crate::abi::{self, Result};
use crate::chat;
use crate::embed::Pooling;
use crate::grammar::Source;
use crate::lora::Asked;
use crate::sample::{Settings, mirostat};
use crate::slim::{CHAT, DRAFT, FAMILIES, GRAMMAR, LORA, SAMPLERS};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use names::unknown;
use value::{adapters, biases, chain, integer, json, lines, number, refused, switch, template};

mod names;
#[cfg(test)]
mod tests;
mod value;

/// Type of the key/value cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// f32 for models whose weights are f32, else f16.
    Auto,
    /// A ggml type id.
    Fixed(u32),
}

impl KvType {
    /// The ggml type id, for a model whose weights are f32 or not.
    pub fn of(self, f32_weights: bool) -> u32 {
        match self {
            Self::Fixed(kind) => kind,
            Self::Auto if f32_weights => abi::kind::F32,
            Self::Auto => abi::kind::F16,
        }
    }
}

/// A sampler of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Repetition, frequency and presence penalties.
    Penalties,
    /// DRY.
    Dry,
    /// Top-nσ.
    TopNSigma,
    /// Top-k.
    TopK,
    /// Locally typical.
    Typical,
    /// Top-p.
    TopP,
    /// Min-p.
    MinP,
    /// XTC.
    Xtc,
    /// Temperature.
    Temperature,
}

impl Step {
    /// Whether this guest has it; one that a slim guest does not have has no effect.
    pub fn known(self) -> bool {
        SAMPLERS
            || matches!(
                self,
                Self::TopK | Self::TopP | Self::MinP | Self::Temperature
            )
    }
}

/// The chain as it is if nobody says otherwise, with the names that llama.cpp gives to samplers.
const CHAIN: [(&str, Step); 9] = [
    ("penalties", Step::Penalties),
    ("dry", Step::Dry),
    ("top_n_sigma", Step::TopNSigma),
    ("top_k", Step::TopK),
    ("typ_p", Step::Typical),
    ("top_p", Step::TopP),
    ("min_p", Step::MinP),
    ("xtc", Step::Xtc),
    ("temperature", Step::Temperature),
];

/// What DRY looks for, and how much it takes off.
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// Penalty of a repetition of the allowed length; 0: off.
    pub multiplier: f32,
    /// By how much each further token multiplies it.
    pub base: f32,
    /// The shortest repetition that is penalized.
    pub allowed_length: u32,
    /// How many recent tokens are looked at; -1: the whole context.
    pub last_n: i32,
    /// Texts that repetitions do not reach across, none of them empty.
    pub breakers: Vec<Vec<u8>>,
}

impl Default for Dry {
    fn default() -> Self {
        Self {
            multiplier: 0.0,
            base: 1.75,
            allowed_length: 2,
            last_n: -1,
            breakers: ["\n", ":", "\"", "*"]
                .map(|b| b.as_bytes().to_vec())
                .to_vec(),
        }
    }
}

/// Everything the host may set, read at OPEN and again at every PROMPT.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// Tokens to generate per turn; -1: until the context is full.
    pub n_predict: i32,
    /// Context size in positions; 0: the model's, at most 4096. Fixed at OPEN.
    pub ctx: u32,
    /// Tokens per prefill step. Fixed at OPEN.
    pub n_batch: u32,
    /// Cache type. Fixed at OPEN.
    pub kv_type: KvType,
    /// How tokens are chosen.
    pub sampling: Settings,
    /// Divide or multiply the logits of recent tokens; 1: off.
    pub repeat_penalty: f32,
    /// How many recent tokens the penalties look at; -1: the whole context.
    pub repeat_last_n: i32,
    /// Subtract this per occurrence; 0: off.
    pub frequency_penalty: f32,
    /// Subtract this once; 0: off.
    pub presence_penalty: f32,
    /// Penalties of repetitions.
    pub dry: Dry,
    /// Seed of the sampler.
    pub seed: u32,
    /// Added to logits: (token, bias).
    pub logit_bias: Vec<(u32, f32)>,
    /// Strings that end the turn; not shown.
    pub stop: Vec<String>,
    /// System message of a chat.
    pub system: String,
    /// A template, or the name of a format; None: the model's own.
    pub chat_template: Option<String>,
    /// JSON: the tools that a template is told of, and variables of its own; empty: none.
    pub tools: String,
    /// As above.
    pub chat_template_kwargs: String,
    /// What a template takes for the time, in seconds since 1970, UTC.
    pub chat_time: i64,
    /// Recognise special tokens in what is said in a chat, not only in its marks.
    pub chat_special: bool,
    /// Go on after an end token.
    pub ignore_eos: bool,
    /// Say how probable each token was.
    pub logprobs: bool,
    /// What the text must match.
    pub constraint: Source,
    /// How a model that makes embeddings makes them; None: as the file says. Fixed at OPEN.
    pub pooling: Option<Pooling>,
    /// How the vector is scaled: -1 not, 0 to a largest element of 32760, p to a p-norm of 1.
    pub embd_normalize: i32,
    /// See [`Params::draft_max`].
    draft_max: Option<u32>,
    /// The id of a model that makes them; 0: they are looked up. Fixed at OPEN.
    pub model_draft: u32,
    /// Tokens that drafts are looked up by.
    pub spec_ngram_size_n: u32,
    /// Adapters that are added to the model's matrices.
    pub lora: Vec<Asked>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            n_predict: -1,
            ctx: 0,
            n_batch: 128,
            kv_type: KvType::Auto,
            sampling: Settings {
                temp: 0.0,
                top_k: 40,
                top_p: 0.95,
                min_p: 0.05,
                typical_p: 1.0,
                top_n_sigma: -1.0,
                xtc_probability: 0.0,
                xtc_threshold: 0.1,
                dynatemp_range: 0.0,
                dynatemp_exponent: 1.0,
                mirostat: mirostat::Settings {
                    version: 0,
                    tau: 5.0,
                    eta: 0.1,
                },
                samplers: CHAIN.map(|(_, step)| step).to_vec(),
            },
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            dry: Dry::default(),
            seed: 0,
            logit_bias: Vec::new(),
            stop: Vec::new(),
            system: String::new(),
            chat_template: None,
            tools: String::new(),
            chat_template_kwargs: String::new(),
            chat_time: chat::NOW,
            chat_special: false,
            ignore_eos: false,
            logprobs: false,
            constraint: Source::default(),
            pooling: None,
            embd_normalize: 2,
            draft_max: None,
            model_draft: 0,
            spec_ngram_size_n: 3,
            lora: Vec::new(),
        }
    }
}

/// Longest context and largest batch that are believed.
const MAX_CTX: i64 = 1 << 24;
const MAX_BATCH: i64 = 4096;
/// Each token of a draft takes a row of logits.
const MAX_DRAFT: i64 = 64;
/// So many where a model makes them and nobody says how many; as in llama.cpp.
const DRAFT_BY_MODEL: u32 = 16;
/// The last second of the year 9999.
const MAX_TIME: i64 = 253_402_300_799;

/// Types of the cache, by name.
const KV_TYPES: [(&str, KvType); 4] = [
    ("auto", KvType::Auto),
    ("f32", KvType::Fixed(abi::kind::F32)),
    ("f16", KvType::Fixed(abi::kind::F16)),
    ("q8_0", KvType::Fixed(abi::kind::Q8_0)),
];

/// Ways to pool, by name.
const POOLINGS: [(&str, Option<Pooling>); 5] = [
    ("auto", None),
    ("mean", Some(Pooling::Mean)),
    ("cls", Some(Pooling::First)),
    ("last", Some(Pooling::Last)),
    ("rank", Some(Pooling::Rank)),
];

impl Params {
    /// Reads all parameters that are set; the others have their defaults.
    pub fn read() -> Result<Self> {
        let mut params = Self::default();
        let mut index = 0;
        while let Some(key) = abi::param_key(index)? {
            let value = abi::param(&key)?.unwrap_or_default();
            params.set(&key, &value)?;
            index += 1;
        }
        Ok(params)
    }

    /// Most tokens of a draft; 0: no speculative decoding.
    pub fn draft_max(&self) -> u32 {
        let default = if self.model_draft == 0 {
            0
        } else {
            DRAFT_BY_MODEL
        };
        self.draft_max.unwrap_or(default)
    }

    /// Refuses another value than at OPEN for what is fixed there; `ctx` and `n_batch` are what came of these.
    pub fn same_session(&self, open: &Self, ctx: u32, n_batch: u32) -> Result<()> {
        let fixed = |key: &str, value: &dyn fmt::Display| {
            Err(fail!(
                INVALID_ARGUMENT,
                "parameter {key} is fixed when a session opens, here at {value}"
            ))
        };
        if self.ctx != open.ctx {
            return fixed("ctx", &ctx);
        }
        if self.n_batch != open.n_batch {
            return fixed("n_batch", &n_batch);
        }
        if self.model_draft != open.model_draft {
            return fixed("model_draft", &open.model_draft);
        }
        if self.pooling != open.pooling {
            let same = |(_, pooling): &&(_, Option<Pooling>)| *pooling == open.pooling;
            return fixed(
                "pooling",
                &POOLINGS.iter().find(same).map_or("auto", |p| p.0),
            );
        }
        if self.kv_type != open.kv_type {
            let (name, _) = KV_TYPES
                .iter()
                .find(|(_, kind)| *kind == open.kv_type)
                .unwrap_or(&KV_TYPES[0]);
            return fixed("kv_type", name);
        }
        Ok(())
    }

    /// Refuses biases of tokens that a vocabulary of so many does not have.
    pub fn biases_below(&self, tokens: u32) -> Result<()> {
        match self.logit_bias.iter().find(|(id, _)| *id >= tokens) {
            None => Ok(()),
            Some((id, _)) => Err(fail!(
                INVALID_ARGUMENT,
                "parameter logit_bias has token {id}, expected one from 0 to {}",
                tokens.saturating_sub(1)
            )),
        }
    }

    /// Sets one parameter from text; refuses unknown names and malformed or senseless values.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let int = |min, max| integer(key, value, min, max);
        let float = |ok: fn(f32) -> bool, what: &str| number(key, value, ok, what);
        let any = || float(|_| true, "a number");
        let positive = || float(|v| v >= 0.0, "a number from 0");
        let share = || float(|v| (0.0..=1.0).contains(&v), "a number from 0 to 1");
        match key {
            "n_predict" => self.n_predict = int(-1, i64::from(i32::MAX))? as i32,
            "ctx" => self.ctx = int(0, MAX_CTX)? as u32,
            "n_batch" => self.n_batch = int(1, MAX_BATCH)? as u32,
            "kv_type" => match KV_TYPES.iter().find(|(name, _)| *name == value) {
                Some((_, kind)) => self.kv_type = *kind,
                None => return Err(refused(key, value, &"auto, f32, f16 or q8_0")),
            },
            "temp" => self.sampling.temp = positive()?,
            // A k below 1 means all, as people are used to.
            "top_k" => {
                self.sampling.top_k = int(i64::from(i32::MIN), i64::from(i32::MAX))?.max(0) as u32
            }
            "top_p" => self.sampling.top_p = share()?,
            "min_p" => self.sampling.min_p = share()?,
            "repeat_penalty" if SAMPLERS => {
                self.repeat_penalty = float(|v| v > 0.0, "a number above 0")?
            }
            "repeat_last_n" if SAMPLERS => self.repeat_last_n = int(-1, MAX_CTX)? as i32,
            "frequency_penalty" if SAMPLERS => self.frequency_penalty = any()?,
            "presence_penalty" if SAMPLERS => self.presence_penalty = any()?,
            "typical_p" if SAMPLERS => self.sampling.typical_p = share()?,
            "top_n_sigma" if SAMPLERS => self.sampling.top_n_sigma = any()?,
            "xtc_probability" if SAMPLERS => self.sampling.xtc_probability = share()?,
            "xtc_threshold" if SAMPLERS => self.sampling.xtc_threshold = share()?,
            "dynatemp_range" if SAMPLERS => self.sampling.dynatemp_range = positive()?,
            "dynatemp_exponent" if SAMPLERS => self.sampling.dynatemp_exponent = positive()?,
            "dry_multiplier" if SAMPLERS => self.dry.multiplier = positive()?,
            "dry_base" if SAMPLERS => self.dry.base = positive()?,
            "dry_allowed_length" if SAMPLERS => self.dry.allowed_length = int(1, MAX_CTX)? as u32,
            "dry_penalty_last_n" if SAMPLERS => self.dry.last_n = int(-1, MAX_CTX)? as i32,
            "dry_sequence_breakers" if SAMPLERS => {
                let lines = lines(key, value)?;
                self.dry.breakers = lines.into_iter().map(String::into_bytes).collect();
            }
            "mirostat" if SAMPLERS => self.sampling.mirostat.version = int(0, 2)? as u32,
            "mirostat_tau" if SAMPLERS => self.sampling.mirostat.tau = positive()?,
            "mirostat_eta" if SAMPLERS => self.sampling.mirostat.eta = positive()?,
            "samplers" => self.sampling.samplers = chain(value)?,
            "grammar" if GRAMMAR => self.constraint.grammar = String::from(value),
            "json_schema" if GRAMMAR => self.constraint.json_schema = String::from(value),
            "grammar_lazy" if GRAMMAR => self.constraint.lazy = switch(key, value)?,
            "grammar_triggers" if GRAMMAR => self.constraint.triggers = lines(key, value)?,
            "seed" => self.seed = int(-1, i64::from(u32::MAX))?.max(0) as u32,
            "logit_bias" if SAMPLERS => self.logit_bias = biases(value)?,
            "stop" => self.stop = lines(key, value)?,
            "system" if CHAT => self.system = String::from(value),
            "chat_template" if CHAT => self.chat_template = template(value)?,
            "chat_template_kwargs" if CHAT => self.chat_template_kwargs = json(key, value, "{")?,
            "tools" if CHAT => self.tools = json(key, value, "[")?,
            "chat_time" if CHAT => self.chat_time = int(0, MAX_TIME)?,
            "chat_special" if CHAT => self.chat_special = switch(key, value)?,
            "ignore_eos" => self.ignore_eos = switch(key, value)?,
            "pooling" if FAMILIES => match POOLINGS.iter().find(|(name, _)| *name == value) {
                Some((_, pooling)) => self.pooling = *pooling,
                None => return Err(refused(key, value, &"auto, mean, cls, last or rank")),
            },
            "embd_normalize" if FAMILIES => self.embd_normalize = int(-1, 64)? as i32,
            "draft_max" if DRAFT => self.draft_max = Some(int(0, MAX_DRAFT)? as u32),
            "model_draft" if DRAFT => self.model_draft = int(0, i64::from(u32::MAX))? as u32,
            "spec_ngram_size_n" if DRAFT => self.spec_ngram_size_n = int(1, 32)? as u32,
            "lora" if LORA => self.lora = adapters(value)?,
            "logprobs" => self.logprobs = switch(key, value)?,
            _ => return Err(unknown(key)),
        }
        Ok(())
    }
}
