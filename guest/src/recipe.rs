//! Numbers of recipes (`ABI.md`, "Recipes"). The library compiles this file, too, so that both sides have the same.

/// The version of recipes.
pub const VERSION: u32 = 1;

/// End tokens do not end a turn.
pub const FLAG_IGNORE_EOS: u32 = 1;
/// The model has a vocabulary.
pub const FLAG_VOCABULARY: u32 = 2;

/// What a register is given: always the constant that follows.
pub const REGISTER_CONSTANT: u32 = 0;
/// Tokens in the step.
pub const REGISTER_TOKENS: u32 = 1;
/// The position of the first of them.
pub const REGISTER_POSITION: u32 = 2;
/// The row of the last of them.
pub const REGISTER_LAST_ROW: u32 = 3;
/// 1 if a token is picked after the step, else 0.
pub const REGISTER_OUTPUTS: u32 = 4;

/// Keeps so many candidates.
pub const SAMPLER_TOP_K: u32 = 1;
/// Keeps the most probable up to this sum, as the bits of an f32; so are the settings of the rest.
pub const SAMPLER_TOP_P: u32 = 2;
/// Keeps those at least this probable relative to the best.
pub const SAMPLER_MIN_P: u32 = 3;
/// Divides logits by this.
pub const SAMPLER_TEMPERATURE: u32 = 4;

/// Most samplers in a chain.
pub const MAX_SAMPLERS: u32 = 16;
/// Most stop strings.
pub const MAX_STOPS: u32 = 64;
/// Most bytes of one.
pub const MAX_STOP_BYTES: u32 = 4096;
