//! Operation codes, and how operands and dims are packed: the wire form of `guest/ABI.md`.

use crate::backend::table::{
    REALM_OPERAND_BUFFER, REALM_OPERAND_KV, REALM_OPERAND_NONE, REALM_OPERAND_VALUE,
    REALM_OPERAND_WEIGHT, realm_op,
};
use crate::err;
use crate::error::Result;

/// Bytes of an operation on the wire.
pub const OP_BYTES: usize = size_of::<realm_op>();

/// ggml type ids that values and buffers may have.
pub const TYPE_F32: u32 = 0;
/// f16, for buffers.
pub const TYPE_F16: u32 = 1;
/// i32: ids and counts.
pub const TYPE_I32: u32 = 26;

/// Whether all operations are in this build, or only those of a dense llama: what else there is stands behind this in every
/// `match`, so that the compiler leaves it out.
pub const ALL_OPS: bool = cfg!(feature = "ops");

macro_rules! codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        /// An operation this library knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Code {
            $(#[doc = concat!("`", $text, "`")] $name = $code,)*
        }

        impl Code {
            /// The operation with this number.
            pub fn from_u16(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name in `guest/ABI.md`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    GetRows = 1, "GET_ROWS";
    RmsNorm = 2, "RMS_NORM";
    Norm = 3, "NORM";
    MulMat = 4, "MUL_MAT";
    MulMatId = 5, "MUL_MAT_ID";
    Rope = 6, "ROPE";
    FlashAttnExt = 7, "FLASH_ATTN_EXT";
    Glu = 8, "GLU";
    Unary = 9, "UNARY";
    Add = 10, "ADD";
    Mul = 11, "MUL";
    Scale = 12, "SCALE";
    Softcap = 13, "SOFTCAP";
    Cpy = 14, "CPY";
    ViewCols = 15, "VIEW_COLS";
    Argmax = 16, "ARGMAX";
    TopK = 17, "TOP_K";
    LogitBias = 18, "LOGIT_BIAS";
    Penalties = 19, "PENALTIES";
    Mask = 20, "MASK";
    LogSumExp = 21, "LOGSUMEXP";
    SoftMax = 22, "SOFT_MAX";
    WeightedSum = 23, "WEIGHTED_SUM";
    SsmConv = 24, "SSM_CONV";
    Concat = 25, "CONCAT";
    SumRows = 26, "SUM_ROWS";
    Div = 27, "DIV";
    Gather = 28, "GATHER";
    SsmScan = 29, "SSM_SCAN";
}

/// An operand, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Unused slot.
    None,
    /// A tensor of the model.
    Weight(u32),
    /// An intermediate of the program.
    Value(u32),
    /// A session buffer.
    Buffer(u32),
    /// A KV layer.
    Kv(u32),
}

impl Operand {
    /// Unpacks `kind << 28 | index`; unknown kinds are refused.
    pub fn unpack(bits: u32) -> Result<Self> {
        let index = bits & 0x0fff_ffff;
        match bits >> 28 {
            REALM_OPERAND_NONE if index == 0 => Ok(Self::None),
            REALM_OPERAND_WEIGHT => Ok(Self::Weight(index)),
            REALM_OPERAND_VALUE => Ok(Self::Value(index)),
            REALM_OPERAND_BUFFER => Ok(Self::Buffer(index)),
            REALM_OPERAND_KV => Ok(Self::Kv(index)),
            kind => Err(err!(Unsupported, "operand {bits:#010x} has kind {kind}")),
        }
    }

    /// Unpacks an operand of a validated program.
    pub fn of(bits: u32) -> Self {
        Self::unpack(bits).unwrap_or(Self::None)
    }
}

/// A dimension: constant or register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// A fixed number.
    Const(u32),
    /// The value of a register at replay.
    Register(u32),
}

impl Dim {
    /// Unpacks the wire form.
    pub fn unpack(bits: u32) -> Self {
        if bits & 0x8000_0000 == 0 {
            Self::Const(bits)
        } else {
            Self::Register(bits & 0x7fff_ffff)
        }
    }

    /// Its value under these registers; 0 for a register that is not there (validation refuses those).
    pub fn value(self, registers: &[u32]) -> u32 {
        match self {
            Self::Const(n) => n,
            Self::Register(r) => registers.get(r as usize).copied().unwrap_or(0),
        }
    }
}

/// Parameter `i` of an operation.
pub fn param(op: &realm_op, i: usize) -> u32 {
    op.param.get(i).copied().unwrap_or(0)
}

/// Parameter `i` as a float.
pub fn param_f32(op: &realm_op, i: usize) -> f32 {
    f32::from_bits(param(op, i))
}

/// Parameter `i` as a dim under these registers.
pub fn param_dim(op: &realm_op, i: usize, registers: &[u32]) -> u32 {
    Dim::unpack(param(op, i)).value(registers)
}

/// Source operand `i`.
pub fn src(op: &realm_op, i: usize) -> Operand {
    Operand::of(op.src.get(i).copied().unwrap_or(0))
}
