//! `realm_guest.h` in Rust: the imports that this guest needs, behind safe functions, and the structures of a program.

use core::fmt;

/// `major << 16 | minor` of the ABI.
pub const ABI: i32 = 2;

// Kinds of events.
pub const OPEN: i32 = 1;
pub const PROMPT: i32 = 2;
pub const STEP: i32 = 3;
pub const CANCEL: i32 = 4;
pub const REWIND: i32 = 5;
pub const PARAMS: i32 = 6;

// Kinds of input.
pub const TEXT: i32 = 0;
pub const IDS: i32 = 1;

// What an event ends with, unless it is a negative status.
pub const CONTINUE: i32 = 0;
pub const END_EOS: i32 = 1;
pub const END_LENGTH: i32 = 3;
pub const END_CONTEXT: i32 = 4;

// Statuses.
pub const INVALID_ARGUMENT: i32 = -1;
pub const NOT_FOUND: i32 = -3;
pub const UNSUPPORTED: i32 = -6;
pub const LIMIT: i32 = -7;
pub const STATE: i32 = -8;

// Types of buffers, values and cache layers.
pub const F32: u32 = 0;
pub const I32: u32 = 26;

/// A negative status. What it means in words, the host has been told, or knows itself.
#[derive(Clone, Copy)]
pub struct Failed(pub i32);
pub type Result<T> = core::result::Result<T, Failed>;

mod import {
    #[link(wasm_import_module = "realm")]
    unsafe extern "C" {
        pub fn realm_meta_get(
            id: u32,
            key: *const u8,
            key_len: usize,
            index: i32,
            kind: u32,
            dst: *mut u8,
            room: usize,
        ) -> i32;
        pub fn realm_tensor_find(id: u32, name: *const u8, name_len: usize) -> i32;
        pub fn realm_tensor_info(id: u32, handle: u32, dst: *mut u8, len: usize) -> i32;
        pub fn realm_tokenize(
            id: u32,
            text: *const u8,
            len: usize,
            flags: u32,
            dst: *mut u32,
            room: usize,
        ) -> i32;
        pub fn realm_token_is_eog(id: u32, token: u32) -> i32;
        pub fn realm_detok_reset() -> i32;
        pub fn realm_emit_token(token: u32) -> i32;
        pub fn realm_param_get(key: *const u8, key_len: usize, dst: *mut u8, room: usize) -> i32;
        pub fn realm_param_key(index: u32, dst: *mut u8, room: usize) -> i32;
        pub fn realm_input_read(offset: u32, dst: *mut u8, room: usize) -> i32;
        pub fn realm_publish(what: u32, buffer: u32) -> i32;
        pub fn realm_progress(done: u32, total: u32) -> i32;
        pub fn realm_fail(text: *const u8, len: usize) -> i32;
        pub fn realm_buffer_create(kind: u32, cols: u32, rows: u32) -> i32;
        pub fn realm_buffer_write(handle: u32, offset: u32, src: *const u8, len: usize) -> i32;
        pub fn realm_buffer_read(handle: u32, offset: u32, dst: *mut u8, len: usize) -> i32;
        pub fn realm_kv_create(desc: *const KvDesc, len: usize) -> i32;
        pub fn realm_kv_truncate(position: u32) -> i32;
        pub fn realm_program_create(bytes: *const u8, len: usize) -> i32;
        pub fn realm_step_submit(program: u32, regs: *const u32, count: usize, repeat: u32) -> i32;
    }
    use super::KvDesc;
}

/// Calls an import.
macro_rules! host {
    ($name:ident($($argument:expr),*)) => {
        // SAFETY: every pointer that this file passes is that of a live object, with its length; the host writes no further,
        // and keeps none of them.
        unsafe { import::$name($($argument),*) }
    };
}

fn check(result: i32) -> Result<u32> {
    u32::try_from(result).map_err(|_| Failed(result))
}

fn found(result: i32) -> Result<Option<u32>> {
    if result == NOT_FOUND {
        Ok(None)
    } else {
        check(result).map(Some)
    }
}

// ---- text ---------------------------------------------------------------------------------------

/// A line of text in the guest's memory. What is over 240 bytes is cut off, as the host would.
pub struct Line {
    bytes: [u8; 240],
    len: usize,
}

impl Line {
    pub fn new(args: fmt::Arguments<'_>) -> Self {
        let mut line = Self {
            bytes: [0; 240],
            len: 0,
        };
        let _ = fmt::write(&mut line, args);
        line
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let end = self.len + c.len_utf8();
            let Some(room) = self.bytes.get_mut(self.len..end) else {
                break;
            };
            c.encode_utf8(room);
            self.len = end;
        }
        Ok(())
    }
}

/// Tells the host why, and gives what is to be returned.
pub fn fail(status: i32, why: fmt::Arguments<'_>) -> Failed {
    let line = Line::new(why);
    host!(realm_fail(line.bytes().as_ptr(), line.bytes().len()));
    Failed(status)
}

// ---- the model ----------------------------------------------------------------------------------

const META_U32: u32 = 4;
const META_F32: u32 = 6;
const META_STRING: u32 = 8;

fn meta(id: u32, key: &str, kind: u32, dst: &mut [u8]) -> Result<Option<u32>> {
    found(host!(realm_meta_get(
        id,
        key.as_ptr(),
        key.len(),
        -1,
        kind,
        dst.as_mut_ptr(),
        dst.len()
    )))
}

/// A number of the metadata; None if there is no such entry.
pub fn meta_u32(id: u32, key: &str) -> Result<Option<u32>> {
    let mut n = [0; 4];
    Ok(meta(id, key, META_U32, &mut n)?.map(|_| u32::from_le_bytes(n)))
}

/// A float of the metadata; None if there is no such entry.
pub fn meta_f32(id: u32, key: &str) -> Result<Option<f32>> {
    let mut n = [0; 4];
    Ok(meta(id, key, META_F32, &mut n)?.map(|_| f32::from_le_bytes(n)))
}

/// Whether an entry of the metadata is this text; None if there is none.
pub fn meta_is(id: u32, key: &str, text: &str) -> Result<Option<bool>> {
    let mut room = [0; 64];
    let size = meta(id, key, META_STRING, &mut room)?;
    Ok(size.map(|size| room.get(..size as usize) == Some(text.as_bytes())))
}

/// A tensor's handle, and its rows: `ne[1]`. A row has `ne[0]` elements.
#[derive(Clone, Copy)]
pub struct Tensor {
    pub handle: u32,
    pub rows: u32,
}

/// Finds a tensor by its name; None if the model has none.
pub fn tensor(id: u32, name: &Line) -> Result<Option<Tensor>> {
    let name = name.bytes();
    let Some(handle) = found(host!(realm_tensor_find(id, name.as_ptr(), name.len())))? else {
        return Ok(None);
    };
    // u32 type, u32 n_dims, u64 ne[4].
    let mut info = [0; 40];
    check(host!(realm_tensor_info(
        id,
        handle,
        info.as_mut_ptr(),
        info.len()
    )))?;
    let rows = u32::from_le_bytes([info[16], info[17], info[18], info[19]]);
    Ok(Some(Tensor { handle, rows }))
}

/// Writes the tokens of a text to `dst`; how many there are, which may be more.
pub fn tokenize(id: u32, text: &[u8], add_special: bool, dst: &mut [u32]) -> Result<usize> {
    let flags = if add_special { 3 } else { 2 };
    let count = host!(realm_tokenize(
        id,
        text.as_ptr(),
        text.len(),
        flags,
        dst.as_mut_ptr(),
        dst.len()
    ));
    Ok(check(count)? as usize)
}

/// Whether a token ends the text.
pub fn is_eog(id: u32, token: u32) -> bool {
    host!(realm_token_is_eog(id, token)) == 1
}

// ---- the host -----------------------------------------------------------------------------------

/// A parameter that is a number; None if it is not set.
pub fn param(key: &str) -> Result<Option<i32>> {
    let mut text = [0; 16];
    let size = found(host!(realm_param_get(
        key.as_ptr(),
        key.len(),
        text.as_mut_ptr(),
        text.len()
    )))?;
    let Some(size) = size else { return Ok(None) };
    let text = text
        .get(..size as usize)
        .and_then(|t| core::str::from_utf8(t).ok());
    match text.and_then(|t| t.parse().ok()) {
        Some(n) => Ok(Some(n)),
        None => Err(fail(
            INVALID_ARGUMENT,
            format_args!("parameter {key}: a whole number was expected"),
        )),
    }
}

/// Refuses parameters that are set but not among these.
pub fn only_params(known: &[&str]) -> Result<()> {
    let mut name = [0; 64];
    for index in 0.. {
        let Some(size) = found(host!(realm_param_key(index, name.as_mut_ptr(), name.len())))?
        else {
            break;
        };
        let name = name.get(..size as usize).unwrap_or_default();
        if !known.iter().any(|k| k.as_bytes() == name) {
            let name = core::str::from_utf8(name).unwrap_or_default();
            return Err(fail(
                INVALID_ARGUMENT,
                format_args!("this guest has no parameter '{name}'"),
            ));
        }
    }
    Ok(())
}

/// Copies bytes of the input from this one on.
pub fn input(offset: usize, dst: &mut [u8]) -> Result<()> {
    check(host!(realm_input_read(
        offset as u32,
        dst.as_mut_ptr(),
        dst.len()
    )))
    .map(drop)
}

/// Begins to show text anew.
pub fn detok_reset() {
    host!(realm_detok_reset());
}

/// Hands the host a token, and the text that is complete with it.
pub fn emit_token(token: u32) -> Result<()> {
    check(host!(realm_emit_token(token))).map(drop)
}

/// Lets the host read the logits.
pub fn publish_logits(buffer: u32) -> Result<()> {
    check(host!(realm_publish(1, buffer))).map(drop)
}

/// Says how far the prompt is.
pub fn progress(done: usize, total: usize) {
    host!(realm_progress(done as u32, total as u32));
}

// ---- memory of the host -------------------------------------------------------------------------

/// A buffer of the session `[rows, cols]`.
pub fn buffer(kind: u32, cols: u32, rows: u32) -> Result<u32> {
    check(host!(realm_buffer_create(kind, cols, rows)))
}

/// Writes numbers to a buffer, from its first on.
pub fn write(buffer: u32, numbers: &[u32]) -> Result<()> {
    check(host!(realm_buffer_write(
        buffer,
        0,
        numbers.as_ptr().cast(),
        size_of_val(numbers)
    )))
    .map(drop)
}

/// Reads a buffer's first number.
pub fn read(buffer: u32) -> Result<u32> {
    let mut n = [0; 4];
    check(host!(realm_buffer_read(buffer, 0, n.as_mut_ptr(), n.len())))?;
    Ok(u32::from_le_bytes(n))
}

/// A cache layer.
#[repr(C)]
pub struct KvDesc {
    pub kind: u32,
    pub n_head_kv: u32,
    pub head_dim_k: u32,
    pub head_dim_v: u32,
    pub max_positions: u32,
    pub group: u32,
    pub window: u32,
}

/// Makes a cache layer.
pub fn kv_create(desc: &KvDesc) -> Result<u32> {
    check(host!(realm_kv_create(desc, size_of::<KvDesc>())))
}

/// Forgets keys and values at `position` and after.
pub fn kv_truncate(position: u32) -> Result<()> {
    check(host!(realm_kv_truncate(position))).map(drop)
}

// ---- programs -----------------------------------------------------------------------------------

/// What a program begins with.
#[repr(C)]
pub struct Header {
    pub magic: u32,
    pub major: u16,
    pub minor: u16,
    pub reg_count: u32,
    pub value_count: u32,
    pub op_count: u32,
    pub model_id: u32,
    pub reserved: [u32; 2],
}

/// A number that differs from step to step, within its bounds.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Reg {
    pub min: u32,
    pub max: u32,
    pub stride: i32,
    pub reserved: u32,
}

/// An intermediate.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Value {
    pub kind: u32,
    pub cols: u32,
    pub rows: u32,
    pub flags: u32,
}

/// An operation.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Op {
    pub code: u16,
    pub flags: u16,
    pub dst: u32,
    pub src: [u32; 10],
    pub param: [u32; 20],
}

impl Header {
    pub const ZERO: Self = Self {
        magic: 0,
        major: 0,
        minor: 0,
        reg_count: 0,
        value_count: 0,
        op_count: 0,
        model_id: 0,
        reserved: [0; 2],
    };
}

impl Reg {
    /// From `min` to `max`.
    pub const fn new(min: u32, max: u32) -> Self {
        Self {
            min,
            max,
            stride: 0,
            reserved: 0,
        }
    }
}

impl Value {
    /// f32 `[rows, cols]`.
    pub const fn new(rows: u32, cols: u32) -> Self {
        Self {
            kind: F32,
            cols,
            rows,
            flags: 0,
        }
    }
}

impl Op {
    pub const ZERO: Self = Self {
        code: 0,
        flags: 0,
        dst: 0,
        src: [0; 10],
        param: [0; 20],
    };

    /// With sources and parameters from the first on.
    pub fn new<const S: usize, const P: usize>(
        code: u16,
        dst: u32,
        src: [u32; S],
        param: [u32; P],
    ) -> Self {
        let mut op = Self {
            code,
            dst,
            ..Self::ZERO
        };
        op.src[..S].copy_from_slice(&src);
        op.param[..P].copy_from_slice(&param);
        op
    }
}

/// "RPRG".
pub const MAGIC: u32 = 0x4752_5052;

// Dimensions and operands.
pub const fn register(i: u32) -> u32 {
    0x8000_0000 | i
}
pub const NONE: u32 = 0;
pub const fn weight(tensor: Tensor) -> u32 {
    1 << 28 | tensor.handle
}
pub const fn value(i: u32) -> u32 {
    2 << 28 | i
}
pub const fn session_buffer(handle: u32) -> u32 {
    3 << 28 | handle
}
pub const fn kv(handle: u32) -> u32 {
    4 << 28 | handle
}

// Codes of operations.
pub const GET_ROWS: u16 = 1;
pub const RMS_NORM: u16 = 2;
pub const MUL_MAT: u16 = 4;
pub const ROPE: u16 = 6;
pub const FLASH_ATTN_EXT: u16 = 7;
pub const GLU: u16 = 8;
pub const ADD: u16 = 10;
pub const CPY: u16 = 14;
pub const ARGMAX: u16 = 16;

/// Has the host validate and plan the first `len` bytes of a program, which begins with its header.
pub fn program_create<T>(program: &T, len: usize) -> Result<u32> {
    let len = len.min(size_of::<T>());
    check(host!(realm_program_create(
        (&raw const *program).cast(),
        len
    )))
}

/// Books a step.
pub fn submit(program: u32, regs: &[u32]) -> Result<()> {
    check(host!(realm_step_submit(
        program,
        regs.as_ptr(),
        regs.len(),
        1
    )))
    .map(drop)
}
