//! What a slim guest goes without: the features of `Cargo.toml`, as constants that code asks, so that both guests are one source
//! and the compiler leaves out what is never asked for.

use crate::abi::Result;

/// All samplers, penalties and biases, or only greedy, temperature, top-k, top-p and min-p.
pub const SAMPLERS: bool = cfg!(feature = "all-samplers");

/// All model families, and so models that make embeddings.
pub const FAMILIES: bool = cfg!(feature = "all-families");

/// Chat formats, and that behind a stop string the context holds what was shown, which they go on from.
pub const CHAT: bool = cfg!(feature = "chat");

/// Grammars and JSON schemas.
pub const GRAMMAR: bool = cfg!(feature = "grammar");

/// Speculative decoding.
pub const DRAFT: bool = cfg!(feature = "draft");

/// LoRA adapters.
pub const LORA: bool = cfg!(feature = "lora");

/// Recipes, of which images are made.
pub const RECORD: bool = cfg!(feature = "record");

/// What only families have that a slim guest does not know: a struct with such a field cannot be made there, so nothing that is
/// done with one is left.
#[cfg(feature = "all-families")]
#[derive(Clone, Copy, Debug)]
pub struct OfAllFamilies(());

/// As above.
#[cfg(not(feature = "all-families"))]
#[derive(Clone, Copy, Debug)]
pub enum OfAllFamilies {}

impl OfAllFamilies {
    /// Refused by a slim guest; `what` says of what.
    #[cfg(feature = "all-families")]
    pub fn need(_what: &str) -> Result<Self> {
        Ok(Self(()))
    }

    /// As above.
    #[cfg(not(feature = "all-families"))]
    pub fn need(what: &str) -> Result<Self> {
        Err(fail!(
            UNSUPPORTED,
            "{what} are not known to this slim guest"
        ))
    }
}
