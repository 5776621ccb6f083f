//! The parameters' names, and which was meant by one that is none.

use crate::abi::Fail;

/// All parameters, for whoever mistypes one; the tests compare them with `README.md`.
pub(super) const NAMES: [&str; 48] = [
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

#[cold]
pub(super) fn unknown(key: &str) -> Fail {
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
