//! The table of tensor types: ggml's numbers and names, and the size of a block of each.
//!
//! Numbers are those of `enum ggml_type` in ggml.h, as they stand in GGUF files. Only live types are
//! here: numbers that ggml has retired (4, 5, 31 to 33, 36 to 38) and numbers it has not given out
//! are unknown to [`GgmlType::from_id`], so that a file which uses them is refused by name.

/// The families of types that are in this build, as the features of the crate say. What is left out is behind these in every
/// `match`, so that the compiler leaves it out.
pub const LEGACY: bool = cfg!(feature = "types-legacy");
/// The same.
pub const K: bool = cfg!(feature = "types-k");
/// The same.
pub const IQ: bool = cfg!(feature = "types-iq");
/// The same.
pub const OTHER: bool = cfg!(feature = "types-other");

/// A tensor type of ggml. The discriminant is the number in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(
    non_camel_case_types,
    reason = "the names are ggml's, and searched for as such"
)]
#[allow(
    missing_docs,
    reason = "each name is the format's name; the layouts are documented at the kernels"
)]
#[repr(u32)]
pub enum GgmlType {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    /// ggml's intermediate form of activations, not meant for files.
    Q8_1 = 9,
    Q2_K = 10,
    Q3_K = 11,
    Q4_K = 12,
    Q5_K = 13,
    Q6_K = 14,
    /// ggml's intermediate form of activations, not meant for files.
    Q8_K = 15,
    IQ2_XXS = 16,
    IQ2_XS = 17,
    IQ3_XXS = 18,
    IQ1_S = 19,
    IQ4_NL = 20,
    IQ3_S = 21,
    IQ2_S = 22,
    IQ4_XS = 23,
    I8 = 24,
    I16 = 25,
    I32 = 26,
    I64 = 27,
    F64 = 28,
    IQ1_M = 29,
    BF16 = 30,
    TQ1_0 = 34,
    TQ2_0 = 35,
    MXFP4 = 39,
    NVFP4 = 40,
    Q1_0 = 41,
    Q2_0 = 42,
}

/// Types that are built or left out together.
enum Family {
    Always,
    Legacy,
    K,
    Iq,
    Other,
}

impl GgmlType {
    /// Every type, in the order of their numbers.
    pub const ALL: [Self; 35] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q8_1,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::Q8_K,
        Self::IQ2_XXS,
        Self::IQ2_XS,
        Self::IQ3_XXS,
        Self::IQ1_S,
        Self::IQ4_NL,
        Self::IQ3_S,
        Self::IQ2_S,
        Self::IQ4_XS,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F64,
        Self::IQ1_M,
        Self::BF16,
        Self::TQ1_0,
        Self::TQ2_0,
        Self::MXFP4,
        Self::NVFP4,
        Self::Q1_0,
        Self::Q2_0,
    ];

    /// The type with this number in a GGUF file; `None` for retired and unknown numbers.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.id() == id)
    }

    /// The type with this name, in any mixture of cases.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|t| t.name().eq_ignore_ascii_case(name))
    }

    /// The number in a GGUF file.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The name as ggml prints it, e.g. `q4_K`.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Elements in a block; 1 for the plain types.
    pub const fn block_len(self) -> usize {
        self.row().1
    }

    /// Bytes in a block.
    pub const fn block_bytes(self) -> usize {
        self.row().2
    }

    /// Whether the numbers are stored as they are, one by one.
    pub const fn is_plain(self) -> bool {
        self.block_len() == 1
    }

    /// Bytes of a row of `n_elems` elements; `None` unless that is a whole number of blocks and the
    /// size fits.
    pub const fn row_bytes(self, n_elems: u64) -> Option<u64> {
        let len = self.block_len() as u64;
        if !n_elems.is_multiple_of(len) {
            return None;
        }
        (n_elems / len).checked_mul(self.block_bytes() as u64)
    }

    /// The feature of this crate that brings what computes with this type; `None`: nothing can leave it out.
    pub const fn feature(self) -> Option<&'static str> {
        match self.family() {
            Family::Always => None,
            Family::Legacy => Some("types-legacy"),
            Family::K => Some("types-k"),
            Family::Iq => Some("types-iq"),
            Family::Other => Some("types-other"),
        }
    }

    const fn family(self) -> Family {
        match self {
            Self::F32 | Self::F16 | Self::BF16 | Self::Q8_0 => Family::Always,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => Family::Legacy,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => Family::K,
            Self::IQ2_XXS | Self::IQ2_XS | Self::IQ2_S | Self::IQ3_XXS | Self::IQ3_S => Family::Iq,
            Self::IQ1_S | Self::IQ1_M | Self::IQ4_NL | Self::IQ4_XS => Family::Iq,
            Self::TQ1_0 | Self::TQ2_0 | Self::MXFP4 | Self::NVFP4 => Family::Other,
            Self::Q1_0 | Self::Q2_0 | Self::Q8_1 | Self::Q8_K | Self::F64 => Family::Other,
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => Family::Other,
        }
    }

    /// Whether this build can compute with the type: a file is refused that has a tensor of another.
    pub const fn is_built(self) -> bool {
        match self.family() {
            Family::Always => true,
            Family::Legacy => LEGACY,
            Family::K => K,
            Family::Iq => IQ,
            Family::Other => OTHER,
        }
    }

    /// The table itself: name, elements per block, bytes per block.
    const fn row(self) -> (&'static str, usize, usize) {
        match self {
            Self::F32 => ("f32", 1, 4),
            Self::F16 => ("f16", 1, 2),
            Self::Q4_0 => ("q4_0", 32, 18),
            Self::Q4_1 => ("q4_1", 32, 20),
            Self::Q5_0 => ("q5_0", 32, 22),
            Self::Q5_1 => ("q5_1", 32, 24),
            Self::Q8_0 => ("q8_0", 32, 34),
            // ggml-common.h: two halves and 32 bytes. (The table of PyPI's gguf says 40, which
            // dates from when they were floats.)
            Self::Q8_1 => ("q8_1", 32, 36),
            Self::Q2_K => ("q2_K", 256, 84),
            Self::Q3_K => ("q3_K", 256, 110),
            Self::Q4_K => ("q4_K", 256, 144),
            Self::Q5_K => ("q5_K", 256, 176),
            Self::Q6_K => ("q6_K", 256, 210),
            Self::Q8_K => ("q8_K", 256, 292),
            Self::IQ2_XXS => ("iq2_xxs", 256, 66),
            Self::IQ2_XS => ("iq2_xs", 256, 74),
            Self::IQ3_XXS => ("iq3_xxs", 256, 98),
            Self::IQ1_S => ("iq1_s", 256, 50),
            Self::IQ4_NL => ("iq4_nl", 32, 18),
            Self::IQ3_S => ("iq3_s", 256, 110),
            Self::IQ2_S => ("iq2_s", 256, 82),
            Self::IQ4_XS => ("iq4_xs", 256, 136),
            Self::I8 => ("i8", 1, 1),
            Self::I16 => ("i16", 1, 2),
            Self::I32 => ("i32", 1, 4),
            Self::I64 => ("i64", 1, 8),
            Self::F64 => ("f64", 1, 8),
            Self::IQ1_M => ("iq1_m", 256, 56),
            Self::BF16 => ("bf16", 1, 2),
            Self::TQ1_0 => ("tq1_0", 256, 54),
            Self::TQ2_0 => ("tq2_0", 256, 66),
            Self::MXFP4 => ("mxfp4", 32, 17),
            Self::NVFP4 => ("nvfp4", 64, 36),
            Self::Q1_0 => ("q1_0", 128, 18),
            Self::Q2_0 => ("q2_0", 64, 18),
        }
    }
}
