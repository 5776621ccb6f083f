//! Numbers of recipes (`ABI.md`, "Recipes"). The library compiles this file, too, so that both sides have the same.

/// The version of recipes.
pub const VERSION: u32 = 1;

/// End tokens do not end a turn.
pub const FLAG_IGNORE_EOS: u32 = 1;
/// The model has a vocabulary.
pub const FLAG_VOCABULARY: u32 = 2;

/// A register's value: a constant, which follows.
pub const REGISTER_CONSTANT: u32 = 0;
/// Tokens in the step.
pub const REGISTER_TOKENS: u32 = 1;
/// The position of the first of them.
pub const REGISTER_POSITION: u32 = 2;
/// The row of the last of them.
pub const REGISTER_LAST_ROW: u32 = 3;
/// 1 if a token is picked after the step, else 0.
pub const REGISTER_OUTPUTS: u32 = 4;

/// A sampler, and behind it how many candidates it keeps.
pub const SAMPLER_TOP_K: u32 = 1;
/// The rest are followed by the bits of an f32.
pub const SAMPLER_TOP_P: u32 = 2;
/// Relative to the most probable.
pub const SAMPLER_MIN_P: u32 = 3;
/// Divides logits.
pub const SAMPLER_TEMPERATURE: u32 = 4;

/// Most samplers in a chain.
pub const MAX_SAMPLERS: u32 = 16;
/// Most stop strings.
pub const MAX_STOPS: u32 = 64;
/// Most bytes of one.
pub const MAX_STOP_BYTES: u32 = 4096;
