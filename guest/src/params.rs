//! The session's parameters: names, defaults, ranges. The table is in `README.md`.
//!
//! Unknown names and malformed values are refused by name: a typing error that silently falls back
//! to a default costs its author an evening.

use crate::abi::{self, Fail, Result};
use crate::chat;
use crate::embed::Pooling;
use crate::grammar::Source;
use crate::lora::Asked;
use crate::num;
use crate::sample::{Settings, mirostat};
use crate::slim::{CHAT, DRAFT, FAMILIES, GRAMMAR, LORA, SAMPLERS};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

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
/// More would make every token slow without making any text better.
const MAX_BIASES: usize = 4096;
const MAX_STRINGS: usize = 64;
/// Characters of a refused value that are shown.
const MAX_SHOWN: usize = 40;

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

/// All parameters, for whoever mistypes one; the tests compare them with `README.md`.
const NAMES: [&str; 48] = [
    "ctx",
    "n_batch",
    "kv_type",
    "n_predict",
    "temp",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "top_n_sigma",
    "xtc_probability",
    "xtc_threshold",
    "dynatemp_range",
    "dynatemp_exponent",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "repeat_penalty",
    "frequency_penalty",
    "presence_penalty",
    "repeat_last_n",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "samplers",
    "logit_bias",
    "grammar",
    "json_schema",
    "grammar_lazy",
    "grammar_triggers",
    "seed",
    "ignore_eos",
    "logprobs",
    "stop",
    "system",
    "chat_special",
    "chat_template",
    "chat_template_kwargs",
    "tools",
    "chat_time",
    "lora",
    "pooling",
    "embd_normalize",
    "draft_max",
    "model_draft",
    "spec_ngram_size_n",
];
/// More in one name are no slips.
const MAX_SLIPS: usize = 3;

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

/// A value that will not do, and one that would.
#[cold]
#[inline(never)]
fn refused(key: &str, value: &str, expected: &dyn fmt::Display) -> Fail {
    let value = start(value);
    fail!(
        INVALID_ARGUMENT,
        "parameter {key} is '{value}', expected {expected}"
    )
}

/// As much of a text as leaves room for what else is to be said.
fn start(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(MAX_SHOWN)
        .map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

#[cold]
fn unknown(key: &str) -> Fail {
    match nearest(key) {
        Some(known) if known == key => {
            fail!(
                UNSUPPORTED,
                "parameter {key} is not known to this slim guest"
            )
        }
        Some(known) => fail!(
            INVALID_ARGUMENT,
            "unknown parameter '{key}'; did you mean '{known}'?"
        ),
        None => fail!(
            INVALID_ARGUMENT,
            "unknown parameter '{key}'; guest/README.md has a table of them"
        ),
    }
}

/// The known name that a name is most likely a slip for.
#[cold]
fn nearest(key: &str) -> Option<&'static str> {
    let key = &key.to_ascii_lowercase();
    let most = (1 + key.len() / 4).min(MAX_SLIPS);
    let slip = (0..=most).find_map(|slips| {
        let near = |name: &&&str| within(slips, key.as_bytes(), name.as_bytes());
        NAMES.iter().find(near).copied()
    });
    // Some are known elsewhere by their full names.
    slip.or_else(|| NAMES.iter().find(|name| key.starts_with(**name)).copied())
}

/// Whether so many bytes added, dropped, replaced or swapped with their neighbours make one name of the other.
fn within(slips: usize, a: &[u8], b: &[u8]) -> bool {
    match (a, b) {
        ([x, a @ ..], [y, b @ ..]) if x == y => within(slips, a, b),
        ([], []) => true,
        _ if slips == 0 => false,
        ([x, y, a @ ..], [z, w, b @ ..]) if x == w && y == z && within(slips - 1, a, b) => true,
        _ => {
            let a_less = a.get(1..).unwrap_or_default();
            let b_less = b.get(1..).unwrap_or_default();
            within(slips - 1, a_less, b_less)
                || within(slips - 1, a_less, b)
                || within(slips - 1, a, b_less)
        }
    }
}

/// An integer of this range. A function of its own, as the next: there are many parameters.
#[inline(never)]
fn integer(key: &str, value: &str, min: i64, max: i64) -> Result<i64> {
    match num::parse_int(value) {
        Some(n) if n >= min && n <= max => Ok(n),
        _ => Err(refused(
            key,
            value,
            &format_args!("an integer from {min} to {max}"),
        )),
    }
}

/// A finite number for which `ok` holds, as `what` says in words.
#[inline(never)]
fn number(key: &str, value: &str, ok: fn(f32) -> bool, what: &str) -> Result<f32> {
    match num::parse_float(value) {
        Some(v) if v.is_finite() && ok(v) => Ok(v),
        _ => Err(refused(key, value, &what)),
    }
}

/// On or off.
fn switch(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(refused(key, value, &"0 or 1")),
    }
}

/// A chat template, or the name of a format; None: the model's own template.
fn template(value: &str) -> Result<Option<String>> {
    if value.is_empty() || value == "auto" {
        return Ok(None);
    }
    if !["{{", "{%", "{#"].iter().any(|tag| value.contains(tag)) {
        return match chat::named::known(value) {
            true => Ok(Some(String::from(value))),
            false => Err(refused(
                "chat_template",
                value,
                &"auto, a template, or chatml, llama3, zephyr, phi3, gemma, granite, command-r, gpt-oss, llama2, mistral or raw",
            )),
        };
    }
    match realm_jinja::Template::new(value) {
        Ok(_) => chat::copy(value).map(Some),
        Err(error) => Err(chat::failed("parameter chat_template, ", &error)),
    }
}

/// JSON that begins with this sign; nothing is nothing.
fn json(key: &str, value: &str, sign: &str) -> Result<String> {
    let text = value.trim();
    // With a byte order mark it is no JSON, and the reader says why.
    if !text.is_empty() && !text.starts_with(sign) && !text.starts_with('\u{feff}') {
        let expected = if sign == "[" {
            "a JSON array"
        } else {
            "a JSON object"
        };
        return Err(refused(key, value, &expected));
    }
    match realm_jinja::parse_json(text, false) {
        Err(error) if !text.is_empty() => {
            Err(chat::failed(&alloc::format!("parameter {key}, "), &error))
        }
        _ => chat::copy(text),
    }
}

/// `id:bias,id:bias`; `-inf` bans a token.
fn biases(value: &str) -> Result<Vec<(u32, f32)>> {
    let mut out = Vec::new();
    for item in value.split(',').filter(|item| !item.trim().is_empty()) {
        let pair = item.split_once(':').and_then(|(id, bias)| {
            let id = u32::try_from(num::parse_int(id)?)
                .ok()
                .filter(|id| *id < 1 << 31)?;
            Some((id, num::parse_float(bias).filter(|b| *b < f32::INFINITY)?))
        });
        let Some(pair) = pair else {
            let item = start(item);
            return Err(fail!(
                INVALID_ARGUMENT,
                "parameter logit_bias has '{item}', expected token:bias, with a finite number or -inf, and ',' between them"
            ));
        };
        if out.len() == MAX_BIASES {
            return Err(fail!(
                LIMIT,
                "parameter logit_bias has more than {MAX_BIASES} tokens"
            ));
        }
        out.push(pair);
    }
    Ok(out)
}

/// `id:scale,id:scale`; without a scale it is 1.
fn adapters(value: &str) -> Result<Vec<Asked>> {
    let mut out = Vec::new();
    for item in value.split(',').filter(|item| !item.trim().is_empty()) {
        let (id, scale) = item.split_once(':').unwrap_or((item, "1"));
        let id = num::parse_int(id).and_then(|id| u32::try_from(id).ok());
        let scale = num::parse_float(scale).filter(|scale| scale.is_finite());
        match (id, scale) {
            (Some(id @ 1..), Some(scale)) => out.push(Asked { id, scale }),
            _ => {
                let item = start(item);
                return Err(fail!(
                    INVALID_ARGUMENT,
                    "parameter lora has '{item}', expected model:scale, with a model's id and a finite number, and ',' between them"
                ));
            }
        }
    }
    Ok(out)
}

/// Names of samplers between semicolons.
fn chain(value: &str) -> Result<Vec<Step>> {
    let mut out = Vec::new();
    for name in value
        .split(';')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        let Some((_, step)) = CHAIN.iter().find(|(known, _)| *known == name) else {
            let mut known = String::new();
            let name = start(name);
            for (i, (name, _)) in CHAIN.iter().enumerate() {
                known.push_str(if i > 0 { ", " } else { "" });
                known.push_str(name);
            }
            return Err(fail!(
                INVALID_ARGUMENT,
                "parameter samplers has '{name}', expected names out of {known}, with ';' between them"
            ));
        };
        if out.contains(step) {
            return Err(fail!(
                INVALID_ARGUMENT,
                "parameter samplers has '{name}' twice"
            ));
        }
        out.push(*step);
    }
    Ok(out)
}

/// One string per line; `\n`, `\r`, `\t` and `\\` are escapes, empty lines are ignored, but not if there is nothing else: who
/// writes a line end means one.
fn lines(key: &str, value: &str) -> Result<Vec<String>> {
    let mut out = Vec::new();
    if !value.is_empty() && value.bytes().all(|c| c == b'\n') {
        return Err(fail!(
            INVALID_ARGUMENT,
            "parameter {key} has line ends and no text between them; the text of a line end is written \\n"
        ));
    }
    for line in value.split('\n').filter(|line| !line.is_empty()) {
        if out.len() == MAX_STRINGS {
            return Err(fail!(
                LIMIT,
                "parameter {key} has more than {MAX_STRINGS} strings"
            ));
        }
        let mut text = String::with_capacity(line.len());
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match (c, c == '\\') {
                (_, false) => text.push(c),
                _ => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('\\') | None => text.push('\\'),
                    Some(other) => text.extend(['\\', other]),
                },
            }
        }
        out.push(text);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Fail, status};
    use crate::fake::{Host, host};

    #[test]
    fn values_are_read_and_refused() {
        let mut p = Params::default();
        for (key, value) in [
            ("temp", "0.8"),
            ("top_k", "-1"),
            ("seed", "4294967295"),
            ("logit_bias", "5:-inf, 7:+1.5"),
            ("stop", "a\\nb\n\n</s>"),
            ("chat_template", "chatml"),
            ("kv_type", "q8_0"),
            ("ignore_eos", "1"),
            ("samplers", "top_p; temperature"),
            ("dry_sequence_breakers", "\\n\n###"),
        ] {
            assert_eq!(p.set(key, value), Ok(()), "{key}");
        }
        assert_eq!(
            (p.sampling.temp, p.sampling.top_k, p.seed),
            (0.8, 0, u32::MAX)
        );
        assert_eq!(p.logit_bias, [(5, f32::NEG_INFINITY), (7, 1.5)]);
        assert_eq!(p.stop, ["a\nb", "</s>"]);
        assert_eq!(p.sampling.samplers, [Step::TopP, Step::Temperature]);
        assert_eq!(p.dry.breakers, [&b"\n"[..], b"###"]);
        for (key, value) in [
            ("temp", "hot"),
            ("temp", "-1"),
            ("temp", "inf"),
            ("n_predict", "1.5"),
            ("n_predict", ""),
            ("logit_bias", "5"),
            ("logit_bias", "x:1"),
            ("chat_template", "foo"),
            ("tmep", "1"),
            ("samplers", "top_k;nonsense"),
            ("samplers", "top_k;top_k"),
            ("mirostat", "3"),
            ("dry_allowed_length", "0"),
            ("min_p", "-1"),
            ("top_p", "2"),
            ("typical_p", "1.01"),
            ("xtc_probability", "-0.1"),
            ("dry_multiplier", "-1"),
            ("mirostat_eta", "-1"),
            ("logit_bias", "5:inf"),
            ("logit_bias", "5:nan"),
            ("logit_bias", "5:1;6:1"),
            ("logit_bias", "-5:1"),
            ("stop", "\n"),
            ("stop", "\n\n"),
        ] {
            assert_eq!(
                p.set(key, value),
                Err(Fail(status::INVALID_ARGUMENT)),
                "{key} {value}"
            );
        }
    }

    /// The names in the table of `README.md`, with what is said of each.
    fn documented() -> Vec<(&'static str, &'static str)> {
        let text = include_str!("../README.md");
        let (_, table) = text.split_once("## Parameters").unwrap();
        let (table, _) = table.split_once("Samplers run").unwrap();
        let row = |line: &'static str| line.strip_prefix("| `")?.split_once("` | ");
        table.lines().filter_map(row).collect()
    }

    #[test]
    fn what_is_known_is_what_is_documented() {
        let names: Vec<_> = documented().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, NAMES);
        for name in NAMES {
            host(|h| *h = Host::tiny("llama"));
            let _ = Params::default().set(name, "no value \u{0}");
            assert!(!host(|h| h.message.contains("unknown parameter")), "{name}");
        }
    }

    fn message(key: &str, value: &str) -> String {
        host(|h| *h = Host::tiny("llama"));
        assert!(Params::default().set(key, value).is_err(), "{key} {value}");
        host(|h| h.message.clone())
    }

    #[test]
    fn refusals_say_what_would_do() {
        let long = "9".repeat(1000);
        for (key, value, said) in [
            (
                "tmep",
                "1",
                "unknown parameter 'tmep'; did you mean 'temp'?",
            ),
            (
                "Temperature",
                "1",
                "unknown parameter 'Temperature'; did you mean 'temp'?",
            ),
            (
                "TOP_K",
                "1",
                "unknown parameter 'TOP_K'; did you mean 'top_k'?",
            ),
            (
                "top-k",
                "1",
                "unknown parameter 'top-k'; did you mean 'top_k'?",
            ),
            (
                "temperature",
                "1",
                "unknown parameter 'temperature'; did you mean 'temp'?",
            ),
            (
                "max_new_tokens",
                "1",
                "unknown parameter 'max_new_tokens'; guest/README.md has a table of them",
            ),
            (
                "npredict",
                "1",
                "unknown parameter 'npredict'; did you mean 'n_predict'?",
            ),
            (
                "repeatpenalty",
                "1",
                "unknown parameter 'repeatpenalty'; did you mean 'repeat_penalty'?",
            ),
            (
                "min_p",
                "-1",
                "parameter min_p is '-1', expected a number from 0 to 1",
            ),
            (
                "temp",
                "-0.5",
                "parameter temp is '-0.5', expected a number from 0",
            ),
            (
                "n_predict",
                "x",
                "parameter n_predict is 'x', expected an integer from -1 to 2147483647",
            ),
            (
                "kv_type",
                "q4",
                "parameter kv_type is 'q4', expected auto, f32, f16 or q8_0",
            ),
        ] {
            assert_eq!(message(key, value), said);
        }
        let said = message("top_p", &long);
        assert!(
            said.ends_with("9', expected a number from 0 to 1") && said.len() < 120,
            "{said}"
        );
        assert!(message("stop", "\n").ends_with("is written \\n"));
        assert_eq!(
            message("chat_template", "a {# b"),
            "parameter chat_template, line 1, column 3: expected '#}' to end this comment"
        );
        assert_eq!(
            message("tools", "[\n{\"a\" 1}]"),
            "parameter tools, line 2, column 6: JSON: expected ':', found '1'"
        );
        assert!(message("tools", "\u{feff}[]").contains("byte order mark"));
        assert!(message("logit_bias", "1:inf").contains("or -inf"));
        // Nothing is near to what is far from everything.
        assert!(
            message("", "1").contains("''") && !message("zzzzzzzz", "1").contains("did you mean")
        );
    }
}
